// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Checking a pool: its metadata, and whether metadata and catalog have the same volumes.
//!
//! Of an active pool what a metadata snapshot holds is checked, which is taken for that and given up again.

use super::area::{Area, Part};
use super::catalog::Catalog;
use super::open::{refused, Open};
use crate::control::pool::Transaction;
use crate::device::Access;
use crate::error::Context;
use crate::metadata::{failure, Checked};
use crate::{Error, Kind, Result, Stor};
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use stor_pure::abi::uapi::*;
use stor_pure::pure::catalog::record::DELETING;
use stor_pure::pure::label;
use stor_pure::pure::thin::cache::FRAMES_MIN;
use stor_pure::pure::thin::check::{check, check_held};
use stor_pure::pure::thin::pool::{Options, Pool as Engine};
use stor_pure::pure::thin::reader::Reader;
use stor_pure::pure::thin::value::Details;

/// Findings that are told.
const TOLD: usize = 1000;

impl Stor {
    /// Checks a pool. If nothing is wrong, and `clear` is given, takes back that its metadata has to be checked.
    pub fn check_pool(&self, name: &str, clear: bool) -> Result<Checked> {
        let check = || -> Result<Checked> {
            let mut open = self.lock_pool(name, &[], if clear { Access::Claim } else { Access::Read })?;
            let catalog = open.load();
            let checked = if open.status.is_some() { open.check_active() } else { open.check_inactive() };
            let (mut checked, devices) = checked?;
            let wrong = match catalog {
                Ok(()) => differences(&open.catalog, &devices),
                Err(error) => vec![error.to_string()],
            };
            checked.count += wrong.len() as u64;
            checked.findings.extend(wrong);
            if checked.count == 0 && clear && !self.dry_run {
                open.checked()?;
            }
            Ok(checked)
        };
        check().context(|| format!("cannot check pool {name}"))
    }
}

/// Volumes that only the catalog has, or only the metadata.
fn differences(catalog: &Catalog, devices: &BTreeMap<u64, Details>) -> Vec<String> {
    let named = catalog.records.values().filter(|record| !record.is(DELETING));
    let lost = named.filter(|record| !devices.contains_key(&u64::from(record.device())));
    let lost = lost.map(|record| format!("volume {}: the metadata has no device {}", record.name, record.device()));
    let known = |id: &u64| u32::try_from(*id).is_ok_and(|id| catalog.records.contains_key(&id));
    let strange = devices.keys().filter(|id| !known(id));
    lost.chain(strange.map(|id| format!("device {id} of the metadata has no volume in the catalog"))).collect()
}

/// Checks metadata, and tells the devices that there are.
pub(super) fn check_area(mut area: Area, held: bool) -> Result<(Checked, BTreeMap<u64, Details>)> {
    let mut checked = Checked::default();
    let with = if held { check_held } else { check };
    let summary = with(&mut area, &mut |finding| {
        if checked.findings.len() < TOLD {
            checked.findings.push(finding.to_string());
        }
    });
    let summary = summary.map_err(failure)?;
    checked.count = summary.findings;
    (checked.devices, checked.mappings) = (summary.devices, summary.mappings);
    (checked.data_blocks, checked.metadata_blocks) = (summary.data, summary.metadata);
    Ok((checked, devices(area, held).unwrap_or_default()))
}

/// The devices in metadata.
pub(super) fn devices(area: Area, held: bool) -> Result<BTreeMap<u64, Details>> {
    let mut devices = BTreeMap::new();
    let mut reader = Reader::open(area, FRAMES_MIN, held).map_err(failure)?;
    let told = reader.devices(&mut |device| {
        devices.insert(device.id, device.details);
        ControlFlow::Continue(())
    });
    told.map_err(failure)?;
    Ok(devices)
}

impl Open<'_> {
    /// Lets other commands change the pool.
    fn unlock(&mut self) {
        self.members.clear();
        self.slots = super::slots::Slots::new(Area::default(), *self.uuid.as_bytes());
    }

    fn check_inactive(&self) -> Result<(Checked, BTreeMap<u64, Details>)> {
        check_area(self.area(label::Area::Metadata)?, false)
    }

    fn check_active(&mut self) -> Result<(Checked, BTreeMap<u64, Details>)> {
        self.held(|area| check_area(area, true))
    }

    /// Does something with the metadata as a metadata snapshot has it, which is taken for that and given up again.
    pub(super) fn held<T>(&mut self, read: impl FnOnce(Area) -> Result<T>) -> Result<T> {
        let id = self.active()?.facts.transaction;
        let (system, uuid, name) = (self.stor.system.as_ref(), self.uuid, self.name.clone());
        let hold = |change| system.pool_change(uuid, &Transaction { change, items: &[], old: id, new: id });
        hold(STOR_POOL_CHANGE_HOLD).map_err(|errno| match errno {
            Errno::EEXIST => Error::new(Kind::Exists, "there is a metadata snapshot already")
                .help("wait for whoever reads it, or deactivate the pool first")
                .errno(errno),
            errno => refused(&name, errno),
        })?;
        let area = self.fresh_area();
        // What is held does not change: nobody has to wait.
        self.unlock();
        let answer = area.and_then(read);
        hold(STOR_POOL_CHANGE_RELEASE).map_err(|errno| refused(&name, errno))?;
        answer
    }

    /// The metadata, without what the page cache had of it before.
    fn fresh_area(&self) -> Result<Area> {
        let part = |segment: &crate::linear::Segment| {
            let device = self.devices.get(segment.lower as usize).ok_or_else(|| super::scan::missing(&self.name))?;
            let content = self.stor.system.content(device, Access::Look)?;
            Ok(Part { content, start: segment.lower_start.0, length: segment.length.0 })
        };
        Ok(Area::new(self.segments(label::Area::Metadata)?.iter().map(part).collect::<Result<_>>()?))
    }

    /// It has been checked.
    fn checked(&mut self) -> Result<()> {
        if let Some(status) = &self.status {
            if status.facts.flags & STOR_POOL_NEEDS_CHECK == 0 {
                return Ok(());
            }
            let id = status.facts.transaction;
            let transaction = Transaction { change: STOR_POOL_CHANGE_CHECKED, items: &[], old: id, new: id };
            self.stor.system.pool_change(self.uuid, &transaction).map_err(|errno| self.refused(errno))?;
            return Ok(());
        }
        let options = Options { frames: FRAMES_MIN, streams: 1, passdown: false };
        let mut engine = Engine::open(self.area(label::Area::Metadata)?, options).map_err(failure)?;
        if engine.needs_check() {
            engine.set_needs_check(false).map_err(failure)?;
        }
        Ok(())
    }
}
