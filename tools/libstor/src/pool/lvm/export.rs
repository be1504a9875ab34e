// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Export: LVM gets back a pool that was its own, or dmsetup the tables of any. Everything is looked at before anything is
//! written.

use super::give::{give, Pool, Thin};
use super::report::report;
use super::text::Section;
use super::{area, backup, erase, group, record, restore};
use crate::device::{Access, Host};
use crate::error::Context;
use crate::pool::activate::uuid;
use crate::pool::check::devices;
use crate::pool::member::failed;
use crate::pool::open::Open;
use crate::pool::view::PoolChange;
use crate::{Bytes, Error, Kind, Result, Stor};
use nix::errno::Errno;
use serde::Deserialize;
use std::ops::Range;
use stor_pure::pure::catalog::record::{DELETING, MANUAL, NO_ORIGIN, READ_ONLY};
use stor_pure::pure::label;
use stor_pure::pure::thin::block::BLOCK_SIZE;
use stor_pure::pure::thin::superblock;
use stor_pure::pure::units::MetadataBlock;

/// Where LVM has a logical volume.
#[derive(Clone, Debug, Default, Deserialize)]
struct Place {
    vg_name: String,
    lv_name: String,
}

#[derive(Deserialize)]
struct Places {
    lv: Vec<Place>,
}

#[derive(Deserialize)]
struct Whole {
    report: Vec<Places>,
}

/// Where LVM has the volume of this id.
fn place(host: &(impl Host + ?Sized), id: &str) -> Result<Option<Place>> {
    let only = format!("lv_uuid={id}");
    let printed = host.lvm(&["lvs", "--reportformat", "json", "-o", "vg_name,lv_name", "-S", &only])?;
    let read: Whole = serde_json::from_str(&printed)
        .map_err(|error| Error::new(Kind::Failure, format!("what lvm2 reports cannot be understood: {error}")))?;
    Ok(read.report.into_iter().flat_map(|all| all.lv).next())
}

impl Stor {
    /// Gives a pool back to LVM, whose it was.
    pub fn export_pool(&self, name: &str) -> Result<PoolChange> {
        self.try_export(name).context(|| format!("cannot export pool {name}"))
    }

    fn try_export(&self, name: &str) -> Result<PoolChange> {
        let host = self.system.as_ref();
        let mut open = self.open_pool(name, &[], Access::Claim)?;
        let (name, pool_uuid) = (open.name.clone(), open.uuid);
        open.at_rest()?;
        let kept = open.kept()?;
        let id = group::id(&pool_uuid.simple().to_string());
        let moved = || {
            Error::new(Kind::NotFound, "LVM has no volume of this pool's id")
                .help("see that its volume group is there: vgs")
        };
        let place = place(host, &id)?.ok_or_else(moved)?;
        let (vg, lv) = (place.vg_name.as_str(), format!("{}/{}", place.vg_name, place.lv_name));
        let pool = open.for_lvm(id)?;
        let report = report(host, vg)?;
        report.check()?;
        let given = give(&backup(host, vg)?, &kept, &pool)?;
        let what = format!("{vg}/{}, with {} volumes", kept.text("pool").unwrap_or("?"), pool.thins.len());
        if self.dry_run {
            let text = format!("pool {name} would be given back to LVM as {what}");
            return Ok(PoolChange { changed: true, dry_run: true, pool: None, text });
        }
        open.mend()?;
        // LVM is to have the device for itself.
        drop(open);
        host.lvm(&["lvchange", "-an", &lv])?;
        if let Err(error) = restore(host, vg, &given.text) {
            // What counts is why LVM did not take it.
            let _ = host.lvm(&["lvchange", "-ay", &lv]);
            return Err(error);
        }
        let head = area(host, &given.text, &report, &given.head, Access::Share)?;
        erase(&head).map_err(|error| {
            Error::new(Kind::Failure, format!("LVM has it, but the label could not be erased: {error}"))
        })?;
        let text = format!("pool {name} given back to LVM as {what}; activate it: lvchange -ay {vg}/VOLUME");
        Ok(PoolChange { changed: true, dry_run: false, pool: None, text })
    }

    /// The tables with which dmsetup makes a pool and its volumes: one command a line.
    pub fn pool_tables(&self, name: &str) -> Result<String> {
        let tables = || -> Result<String> {
            let open = self.open_pool(name, &[], Access::Read)?;
            let config = open.config()?;
            let mut lines = String::new();
            let volumes = open.catalog.records.values().filter(|record| !record.name.is_empty());
            let volumes = volumes.map(|record| {
                let name = crate::pool::name::kernel(&open.name, &record.name, uuid(record));
                let origin = record.external().map(|(path, _)| path.display().to_string());
                (name, Bytes(record.fixed.size.get()), u64::from(record.device()), origin)
            });
            for (device, table) in crate::control::mapper::tables(&open.name, &config, &open.devices, volumes) {
                lines += &format!("dmsetup create {device} --table '{table}'\n");
            }
            Ok(lines.trim_end().into())
        };
        tables().context(|| format!("cannot tell the tables of pool {name}"))
    }
}

impl Open<'_> {
    /// Refuses a pool that somebody has open, of which something is not done, or that LVM would not know all of.
    fn at_rest(&self) -> Result<()> {
        let name = &self.name;
        if let Some(volume) = self.catalog.records.values().find(|record| record.external().is_some()) {
            return Err(Error::new(Kind::Unfit, format!("volume {} has an origin outside of the pool", volume.name))
                .help("remove it, or copy it to another volume"));
        }
        if self.status.is_some() {
            return Err(Error::new(Kind::Busy, "it is active")
                .help(format!("deactivate it first: storctl pool deactivate {name}"))
                .errno(Errno::EBUSY));
        }
        let owner = self.first()?.owner;
        if owner != [0; 16] && owner != self.stor.system.machine() {
            return Err(Error::new(Kind::Busy, "another machine has it open").help("deactivate it there"));
        }
        if self.mending.as_ref().is_some_and(|mending| !mending.undo.is_empty()) {
            return Err(Error::new(Kind::Busy, "a command on it was interrupted")
                .help(format!("activate it, which mends that: storctl pool activate {name}")));
        }
        Ok(())
    }

    /// What was kept of LVM.
    fn kept(&self) -> Result<Section> {
        let (Some(device), Some(member)) = (self.devices.first(), self.members.first()) else {
            return Err(crate::pool::scan::missing(&self.name));
        };
        let kept = record::read(member.content.as_ref(), self.uuid.as_bytes());
        let kept = kept.map_err(|error| failed(device, "read", &error))?;
        let kept = kept.ok_or_else(|| {
            Error::new(Kind::Unfit, "it was never LVM's").help(format!(
                "for dmsetup: storctl pool export {} --tables; or activate it with --fallback",
                self.name
            ))
        })?;
        if self.devices.len() > 1 {
            let more: Vec<_> = self.devices.iter().skip(1).map(|device| device.path.display().to_string()).collect();
            let cause = format!("it is on devices that LVM never had: {}", more.join(", "));
            return Err(Error::new(Kind::Unfit, cause).help("it can stay with Stor"));
        }
        Ok(kept)
    }

    /// What LVM is to know of it.
    fn for_lvm(&self, id: String) -> Result<Pool> {
        let mut bytes = [0; BLOCK_SIZE];
        let superblock = superblock::read(&mut self.area(label::Area::Metadata)?, MetadataBlock(0), &mut bytes);
        let superblock = superblock.map_err(crate::metadata::failure)?;
        if superblock.needs_check() {
            return Err(Error::new(Kind::Unfit, "its metadata has to be checked")
                .help(format!("run 'storctl pool check {} --clear', or 'pool repair'", self.name)));
        }
        let there = devices(self.area(label::Area::Metadata)?, false)?;
        let records = &self.catalog.records;
        let known = |device: &u64| u32::try_from(*device).ok().and_then(|device| records.get(&device));
        for device in there.keys() {
            match known(device) {
                Some(record) if record.is(DELETING) => {
                    return Err(Error::new(Kind::Busy, "something in it is still being deleted").help(format!(
                        "activate it, wait until 'storctl pool show {}' has 'deleting 0', and deactivate it",
                        self.name
                    )));
                }
                Some(_) => {}
                None => {
                    return Err(Error::new(
                        Kind::Unfit,
                        format!("its metadata has device {device}, and its catalog has not"),
                    )
                    .help(format!("run 'storctl pool check {}'", self.name)));
                }
            }
        }
        let mut pool = Pool { id, transaction: superblock.transaction_id.get(), ..Pool::default() };
        for record in records.values().filter(|record| !record.name.is_empty()) {
            let details = there.get(&u64::from(record.device())).ok_or_else(|| {
                Error::new(Kind::Unfit, format!("volume {} is not in its metadata", record.name))
                    .help(format!("run 'storctl pool check {}'", self.name))
            })?;
            let origin = Some(record.fixed.origin.get()).filter(|origin| *origin != NO_ORIGIN && record.is_snapshot());
            let origin = origin.and_then(|origin| records.get(&origin)).filter(|origin| !origin.name.is_empty());
            pool.thins.push(Thin {
                name: record.name.clone(),
                uuid: uuid(record),
                device: record.device(),
                size: Bytes(record.fixed.size.get()),
                transaction: details.transaction_id.get(),
                origin: origin.map(|origin| origin.name.clone()),
                read_only: record.is(READ_ONLY),
                manual: record.is(MANUAL),
                created: record.fixed.created.get(),
            });
        }
        let ranges = |area| -> Result<Vec<Range<u64>>> {
            let segments = self.segments(area)?;
            let range = |segment: &crate::linear::Segment| {
                segment.lower_start.0..segment.lower_start.0.saturating_add(segment.length.0)
            };
            Ok(segments.iter().map(range).collect())
        };
        (pool.metadata, pool.data) = (ranges(label::Area::Metadata)?, ranges(label::Area::Data)?);
        Ok(pool)
    }
}
