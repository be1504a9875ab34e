// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Import: a thin pool of LVM becomes one of Stor. Everything is looked at before anything is written.

use super::adopt::{adopt, Adopted};
use super::report::{report, Lv, Report};
use super::text::Section;
use super::{area, backup, erase, give, group, path, record, restore};
use crate::device::{Access, Device, Number};
use crate::error::Context;
use crate::pool::activate::Activate;
use crate::pool::area::{Area, Part};
use crate::pool::catalog::{Catalog, Record};
use crate::pool::check::devices;
use crate::pool::create::{blank, set_segments, LOW_WATER, TIMEOUT};
use crate::pool::layout::segment;
use crate::pool::settings::Policy;
use crate::pool::slots::Slots;
use crate::pool::view::PoolChange;
use crate::pool::{name, scan};
use crate::size::Iec;
use crate::{Bytes, Error, Kind, Result, Stor, Uuid};
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::rc::Rc;
use stor_pure::pure::catalog::handshake::Stamp;
use stor_pure::pure::catalog::record::{MANUAL, NO_ORIGIN, READ_ONLY, SNAPSHOT};
use stor_pure::pure::catalog::{NO_PASSDOWN, SLOT_MAX, SLOT_MIN};
use stor_pure::pure::label::copies::{FIRST, IN_HEAD};
use stor_pure::pure::label::{self, Label, LABEL_SIZE, SIGNPOST};
use stor_pure::pure::thin::block::BLOCK_SIZE;
use stor_pure::pure::thin::superblock::{self, is_data_block_size};
use stor_pure::pure::thin::value::Details;
use stor_pure::pure::units::{MetadataBlock, SECTOR_SIZE};
use zerocopy::IntoBytes;

const MIB: u64 = 1 << 20;

/// A thin pool to take over.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// `VG/POOL`
    pub source: String,
    /// Its name with Stor; that of the logical volume if not given.
    pub name: Option<String>,
    /// Whether it is not to be activated.
    pub inactive: bool,
}

/// What is to be written.
struct Head {
    uuid: Uuid,
    label: Label,
    catalog: Catalog,
    record: Vec<u8>,
}

impl Stor {
    /// Takes over a thin pool of LVM, in place.
    pub fn import_pool(&self, import: &Import) -> Result<PoolChange> {
        self.try_import(import).context(|| format!("cannot import {}", import.source))
    }

    fn try_import(&self, import: &Import) -> Result<PoolChange> {
        let host = self.system.as_ref();
        let source = import.source.strip_prefix("/dev/").unwrap_or(&import.source);
        let parts = source.split_once('/').filter(|(vg, lv)| {
            ![vg, lv].iter().any(|part| part.is_empty() || part.starts_with('-') || part.contains('/'))
        });
        let (vg, lv) = parts.ok_or_else(|| {
            Error::new(Kind::Usage, format!("'{}' names no thin pool of LVM", import.source)).help("write VG/POOL")
        })?;
        let name = import.name.as_deref().unwrap_or(lv);
        name::check(name).map_err(|error| {
            if import.name.is_none() {
                error.help("give it another by --name")
            } else {
                error
            }
        })?;
        if scan::scan(host, &[])?.pools.iter().any(|group| group.name() == name) {
            return Err(Error::new(Kind::Exists, format!("a pool of the name {name} exists"))
                .help("give it another by --name")
                .errno(Errno::EEXIST));
        }
        let report = report(host, vg)?;
        report.check()?;
        let text = backup(host, vg)?;
        let uuid = host.uuid();
        let pv_of = |id: &str| {
            let all = group::group(&text).ok()?.section("physical_volumes")?;
            all.sections().find(|pv| pv.text("id") == Some(id)).map(|pv| pv.name.clone())
        };
        let adopted = adopt(&text, lv, &group::id(&uuid.simple().to_string()), &report.free(pv_of))?;
        let ours = |volume: &Lv| adopted.kept.section(&volume.lv_name).is_some();
        let active = report.active(ours);
        if !active.is_empty() {
            // Its parts go with it, unless somebody has activated them alone.
            let part = |name: &&&str| name.ends_with("_tdata") || name.ends_with("_tmeta");
            let parts = active.iter().filter(part).count();
            let named = active.iter().filter(|name| parts == active.len() || !part(name));
            let volumes: Vec<_> = named.map(|volume| format!("{vg}/{volume}")).collect();
            return Err(Error::new(Kind::Busy, format!("LVM has it active: {}", active.join(", ")))
                .help(format!("unmount what is mounted of it, then: lvchange -an {}", volumes.join(" ")))
                .errno(Errno::EBUSY));
        }
        let thins = self.check_devices(&text, &report, &adopted, lv)?;
        let head = self.head(name, uuid, &adopted, &report, lv, &thins)?;
        let extent = adopted.extent.0;
        let size = |runs: &[group::Run]| Iec(Bytes(group::extents(runs).saturating_mul(extent)));
        let what = format!(
            "{vg}/{lv}: {} volumes, {} for data, {} for metadata; LVM has it as a linear volume now",
            head.catalog.records.len(),
            size(&adopted.data),
            size(&adopted.metadata)
        );
        if self.dry_run {
            let text = format!("pool {name} would be imported from {}", what.replace(" now", " then"));
            return Ok(PoolChange { changed: true, dry_run: true, pool: None, text });
        }
        {
            let area = area(host, &text, &report, &adopted.head, Access::Share)?;
            let begun = head.write(&area);
            let done = begun.and_then(|()| restore(host, vg, &adopted.text));
            if let Err(error) = done {
                // What counts is why LVM did not take it.
                let _ = erase(&area);
                return Err(error);
            }
        }
        host.lvm(&["lvchange", "-ay", "-K", &format!("{vg}/{lv}")])?;
        let mut text = format!("pool {name} imported from {what}");
        if import.inactive {
            text += "; not active";
        } else {
            let how = Activate { devices: vec![path(vg, lv)], ..Activate::default() };
            self.activate_pool(&uuid.to_string(), &how).map_err(|error| Error {
                cause: format!("it was imported, but cannot be activated: {}", error.cause),
                context: String::new(),
                ..error
            })?;
        }
        Ok(PoolChange { changed: true, dry_run: false, pool: self.view_pool(&uuid.to_string()).ok(), text })
    }

    /// The devices in the metadata, which have to be those that LVM knows, in the same transaction.
    fn check_devices(
        &self,
        text: &Section,
        report: &Report,
        adopted: &Adopted,
        lv: &str,
    ) -> Result<BTreeMap<u64, Details>> {
        let metadata = || area(self.system.as_ref(), text, report, &adopted.metadata, Access::Look);
        let mut bytes = [0; BLOCK_SIZE];
        let superblock = superblock::read(&mut metadata()?, MetadataBlock(0), &mut bytes);
        let superblock =
            superblock.map_err(crate::metadata::failure).context(|| "the pool's metadata cannot be used".into())?;
        let repair = format!("run 'lvconvert --repair' for {lv} first");
        let (is, said) = (superblock.transaction_id.get(), adopted.transaction);
        if is != said {
            return Err(
                Error::new(Kind::Unfit, format!("the pool's transaction id is {is}, and LVM has {said}")).help(repair)
            );
        }
        let (block, chunk) = (u64::from(superblock.data_block_size.get()), adopted.chunk);
        if block != chunk || !is_data_block_size(superblock.data_block_size.get()) {
            let cause = format!("the pool's data blocks have {block} sectors, and LVM's chunks {chunk}");
            return Err(Error::new(Kind::Unfit, cause).help(repair));
        }
        if superblock.needs_check() {
            return Err(Error::new(Kind::Unfit, "the pool's metadata has to be checked").help(repair));
        }
        let there = devices(metadata()?, false)?;
        let known: Vec<u64> = report.thins(lv).filter_map(|volume| volume.thin_id.parse().ok()).collect();
        if let Some(strange) = there.keys().find(|device| !known.contains(device)) {
            let cause = format!("the pool's metadata has device {strange}, of which LVM does not know");
            return Err(
                Error::new(Kind::Unfit, cause).help("delete it by 'dmsetup message' while LVM has the pool active")
            );
        }
        if let Some(lost) = known.iter().find(|device| !there.contains_key(device)) {
            return Err(Error::new(Kind::Unfit, format!("the pool's metadata has no device {lost}")).help(repair));
        }
        Ok(there)
    }

    /// Label, catalog and record of a pool.
    fn head(
        &self,
        name: &str,
        uuid: Uuid,
        adopted: &Adopted,
        report: &Report,
        lv: &str,
        thins: &BTreeMap<u64, Details>,
    ) -> Result<Head> {
        let bytes = |runs: &[group::Run]| group::extents(runs).checked_mul(adopted.extent.0);
        let sizes = (bytes(&adopted.head), bytes(&adopted.metadata), bytes(&adopted.data));
        let (Some(head), Some(metadata), Some(data)) = sizes else {
            return Err(Error::new(Kind::Unfit, "the pool is too large"));
        };
        let block = adopted.chunk.saturating_mul(SECTOR_SIZE).max(1);
        let data = data / block * block;
        let slot = ((head - MIB) / 2 / SLOT_MIN as u64 * SLOT_MIN as u64).min(SLOT_MAX as u64);
        let size = Bytes(head.saturating_add(metadata).saturating_add(data));
        let device = Device {
            path: path("", lv),
            number: Number::default(),
            size,
            logical_block: Bytes(SECTOR_SIZE),
            optimal: Bytes(0),
            read_only: false,
            file: None,
        };
        let sectors = u32::try_from(adopted.chunk).unwrap_or(0);
        let mut label = blank(name, uuid, sectors, &device, &[*self.system.uuid().as_bytes()], 0);
        label.other = IN_HEAD.into();
        set_segments(
            &mut label,
            &[
                segment(label::Area::Catalog, MIB, slot * 2, 0),
                segment(label::Area::Metadata, head, metadata, 0),
                segment(label::Area::Data, head + metadata, data, 0),
            ],
        )?;
        let catalog = catalog(adopted, report, lv, thins, data / block, self.system.time())?;
        // If there is no room for it that is to be known now.
        catalog.encode(uuid.as_bytes(), 0, usize::try_from(slot).unwrap_or(0))?;
        Ok(Head { uuid, label, catalog, record: record::encode(&adopted.kept, uuid.as_bytes())? })
    }
}

/// The catalog with LVM's volumes.
fn catalog(
    adopted: &Adopted,
    report: &Report,
    lv: &str,
    thins: &BTreeMap<u64, Details>,
    blocks: u64,
    now: u64,
) -> Result<Catalog> {
    let stamp = Stamp { generation: 1.into(), transaction: adopted.transaction.into() };
    let mut catalog = Catalog { stamp, ..Catalog::default() };
    catalog.settings.policy = if adopted.error { Policy::Error } else { Policy::Queue }.number().into();
    catalog.settings.timeout = TIMEOUT.into();
    catalog.settings.low_water = (blocks / LOW_WATER).into();
    catalog.settings.flags = if adopted.passdown { 0 } else { NO_PASSDOWN }.into();
    let device = |volume: &Lv| volume.thin_id.parse::<u32>().ok();
    let ids: BTreeMap<&str, u32> =
        report.thins(lv).filter_map(|volume| Some((volume.lv_name.as_str(), device(volume)?))).collect();
    for volume in report.thins(lv) {
        name::check(&volume.lv_name).map_err(|error| error.help("rename it first: lvrename"))?;
        let (Some(id), Ok(size)) = (device(volume), volume.lv_size.parse::<u64>()) else {
            return Err(Error::new(
                Kind::Failure,
                format!("what lvm2 reports of {} cannot be understood", volume.lv_name),
            ));
        };
        let origin = ids.get(volume.origin.as_str()).copied();
        let mut record = Record { name: volume.lv_name.clone(), ..Record::default() };
        record.fixed.device = id.into();
        record.fixed.size = size.into();
        record.fixed.created = volume.lv_time.parse().unwrap_or(now).into();
        record.fixed.uuid = give::uuid(&volume.lv_uuid).into_bytes();
        record.fixed.origin = origin.unwrap_or(NO_ORIGIN).into();
        record.set(SNAPSHOT, origin.is_some());
        record.set(READ_ONLY, volume.lv_permissions.starts_with("read-only"));
        record.set(MANUAL, !volume.lv_skip_activation.is_empty());
        catalog.records.insert(id, record);
    }
    let last = thins.keys().last().and_then(|last| u32::try_from(*last).ok());
    catalog.settings.next_device = last.map_or(0, |last| last.saturating_add(1)).into();
    Ok(catalog)
}

impl Head {
    /// Writes it, the label last.
    fn write(&self, area: &Area) -> Result<()> {
        let failed = |error: std::io::Error| {
            Error::new(Kind::Failure, format!("label and catalog cannot be written: {error}"))
                .help("see the kernel log for the devices' errors")
        };
        let mut first = [0; LABEL_SIZE];
        first.iter_mut().zip(SIGNPOST).for_each(|(to, from)| *to = *from);
        area.write(0, &first).and_then(|()| area.write(record::AT, &self.record)).map_err(failed)?;
        let catalog = self.label.segments().first().copied().unwrap_or_default();
        let part = Part { content: Rc::new(area.clone()), start: catalog.start.get(), length: catalog.length.get() };
        Slots::new(Area::new(vec![part]), *self.uuid.as_bytes()).create(&self.catalog)?;
        area.flush().map_err(failed)?;
        for at in [IN_HEAD, FIRST] {
            let mut copy = self.label.clone();
            copy.stamp::<Area>(at).map_err(|refusal| Error::new(Kind::Failure, refusal.to_string()))?;
            area.write(at, copy.as_bytes()).and_then(|()| area.flush()).map_err(failed)?;
        }
        Ok(())
    }
}

impl Report {
    /// The volumes of a thin pool.
    fn thins<'a>(&'a self, pool: &'a str) -> impl Iterator<Item = &'a Lv> {
        self.volumes.iter().filter(move |volume| volume.pool_lv == pool && !volume.thin_id.is_empty())
    }
}
