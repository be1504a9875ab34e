// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Volumes of a pool: made, cloned, activated, deactivated and shown. What makes or copies a device is one transaction of pool
//! and catalog.

use super::activate::uuid;
use super::catalog::{Catalog, Record};
use super::name;
use super::open::Open;
use super::resolve::Meant;
use super::settings::{check_room, Policy, VolumeSettings};
use crate::control::pool::Item;
use crate::device::Access;
use crate::error::Context;
use crate::linear::exact;
use crate::size::{bytes, Iec};
use crate::volume::{ago, Change, Detail, Info, Wait};
use crate::{Bytes, Error, Kind, Result, Stor, Uuid};
use nix::errno::Errno;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use stor_pure::abi::uapi::*;
use stor_pure::pure::catalog::record::{Fixed, MANUAL, NO_ORIGIN, READ_ONLY};
use stor_pure::pure::units::SECTOR_SIZE;

/// The largest size of a volume: what the kernel can count in bytes, as a multiple of a page.
const SIZE_MAX: u64 = (i64::MAX as u64) / 4096 * 4096;

/// A volume of a pool to make.
#[derive(Clone, Debug, Default)]
pub struct NewThin {
    /// Its name.
    pub name: String,
    /// The pool, by name or UUID.
    pub pool: String,
    /// Its size; that of its external origin if not given.
    pub size: Option<Bytes>,
    /// Its UUID; a random one if not given.
    pub uuid: Option<Uuid>,
    /// Its settings.
    pub settings: VolumeSettings,
    /// Whether the same volume may be there already.
    pub if_missing: bool,
    /// Whether it is not to be activated.
    pub inactive: bool,
    /// A device that is read where the volume has nothing of its own.
    pub origin: Option<PathBuf>,
}

/// A copy to make of a volume.
#[derive(Clone, Debug, Default)]
pub struct NewClone {
    /// Of what.
    pub of: String,
    /// Its name.
    pub name: String,
    /// Its settings.
    pub settings: VolumeSettings,
    /// Whether it is not to be activated.
    pub inactive: bool,
}

/// What only a volume of a pool has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ThinDetail {
    /// The id in the pool's metadata.
    pub device_id: u32,
    /// What happens when the pool is full.
    pub policy: Policy,
    /// Seconds that a write waits for room, if the policy is its own.
    pub timeout_s: u32,
    /// What of the pool nobody else gets.
    #[serde(serialize_with = "bytes")]
    pub reservation: Bytes,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// Whether it is activated with its pool.
    pub auto: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What only it has, which its deletion would free; known if the pool is active.
    pub exclusive: Option<u64>,
    /// What others have, too.
    pub shared: Option<u64>,
}

/// Whether a volume can have this size.
pub(crate) fn check_size(size: Bytes) -> Result<()> {
    if size.0 == 0 {
        return Err(Error::new(Kind::Usage, "the size may not be 0"));
    }
    if size.0 > SIZE_MAX {
        return Err(Error::new(Kind::Usage, format!("{} is too large", exact(size)))
            .help(format!("a volume has at most {}", exact(Bytes(SIZE_MAX)))));
    }
    if size.0 % SECTOR_SIZE != 0 {
        return Err(Error::new(Kind::Usage, format!("{} is no multiple of {SECTOR_SIZE} bytes", exact(size)))
            .help(format!("take {} bytes", size.0.next_multiple_of(SECTOR_SIZE))));
    }
    Ok(())
}

/// A name is taken.
pub(crate) fn taken(pool: &str, name: &str) -> Error {
    Error::new(Kind::Exists, format!("a volume of name {pool}/{name} exists")).errno(Errno::EEXIST)
}

impl Open<'_> {
    /// Refuses what cannot be changed now.
    pub(crate) fn changeable(&self) -> Result<()> {
        let facts = &self.active()?.facts;
        if facts.mode < STOR_POOL_STUCK && facts.flags & STOR_POOL_OPENED_READ_ONLY == 0 {
            return Ok(());
        }
        let why = match (facts.flags & STOR_POOL_NEEDS_CHECK != 0, facts.flags & STOR_POOL_OPENED_READ_ONLY != 0) {
            (true, _) => format!("its metadata has to be checked; run 'storctl pool check {}'", self.name),
            (_, true) => "it was activated read-only; deactivate it, and activate it without --read-only".into(),
            _ => format!("see 'storctl pool status {} --why'", self.name),
        };
        Err(Error::new(Kind::Unfit, format!("pool {} cannot be changed", self.name)).help(why).errno(Errno::EROFS))
    }

    /// A new record.
    pub(crate) fn new_record(&self, next: &mut Catalog, name: &str, size: Bytes, id: Option<Uuid>) -> Result<Record> {
        name::check(name)?;
        if next.find(name).is_some() {
            return Err(taken(&self.name, name).help("choose another name"));
        }
        if id.is_some_and(|id| id.is_nil()) {
            return Err(Error::new(Kind::Usage, "the UUID may not be all zero"));
        }
        if let Some(other) = next.records.values().find(|record| Some(uuid(record)) == id) {
            return Err(Error::new(Kind::Exists, format!("its UUID is that of volume {}", other.name)));
        }
        let device = next.free_devices(1)?.first().copied().unwrap_or_default();
        let id = id.unwrap_or_else(|| self.stor.system.uuid());
        let fixed = Fixed {
            device: device.into(),
            size: size.0.into(),
            created: self.stor.system.time().into(),
            uuid: *id.as_bytes(),
            origin: NO_ORIGIN.into(),
            ..Fixed::default()
        };
        Ok(Record { fixed, name: name.into(), labels: BTreeMap::new() })
    }

    /// What an operation on a volume answers.
    pub(crate) fn volume_changed(&self, wanted: Uuid, changed: bool, text: String) -> Result<Change> {
        let info = self.info(wanted)?;
        let volume = self.record(wanted).ok().map(|record| self.entry(record, info.as_ref()));
        Ok(Change { changed, dry_run: self.stor.dry_run, volume, text })
    }

    /// Activates what was just made, if that is wanted; where it is then.
    pub(crate) fn activate_new(&self, record: &Record, inactive: bool) -> Result<String> {
        if inactive {
            return Ok("not active".into());
        }
        self.activate(record).map_err(|error| Error {
            cause: format!("it was made, but cannot be activated: {}", error.cause),
            ..error
        })?;
        Ok(self.info(uuid(record))?.map_or_else(|| "not active".into(), |info| info.path()))
    }

    /// Refuses a volume that is open.
    pub(crate) fn closed(&self, info: Option<&Info>) -> Result<()> {
        match info.filter(|info| self.stor.stays_open(info)) {
            Some(info) => Err(self.stor.not_closed(info, Errno::EBUSY)),
            None => Ok(()),
        }
    }
}

impl Stor {
    /// The pool of a volume, opened, and the volume's UUID.
    pub(crate) fn open_of(&self, meant: &Meant, access: Access) -> Result<(Open<'_>, Uuid)> {
        match meant {
            Meant::Thin { pool, uuid, .. } => Ok((self.open_pool(&pool.to_string(), &[], access)?, *uuid)),
            Meant::Plain(info) => Err(Error::new(Kind::Usage, format!("volume {} is not one of a pool", info.name))),
        }
    }

    /// Makes a volume in a pool.
    pub fn create_thin(&self, new: &NewThin) -> Result<Change> {
        self.try_create_thin(new).context(|| format!("cannot create volume {}", new.name))
    }

    fn try_create_thin(&self, new: &NewThin) -> Result<Change> {
        name::check(&new.name)?;
        let external = new.origin.as_deref().map(|path| self.new_external(path)).transpose()?;
        let wanted = new.size.or(external.as_ref().map(|device| device.size));
        let wanted = wanted.ok_or_else(|| Error::new(Kind::Usage, "it needs a size").help("give --size"))?;
        check_size(wanted)?;
        let mut open = self.open_pool(&new.pool, &[], Access::Claim)?;
        if let Some(record) = open.catalog.find(&new.name).filter(|_| new.if_missing) {
            let size = Bytes(record.fixed.size.get());
            let differs = |what: String| {
                Err(Error::new(Kind::Exists, format!("a volume of this name exists and differs: {what}"))
                    .help("change it by 'storctl volume resize' or 'set', or remove it first"))
            };
            if size != wanted {
                return differs(format!("its size is {}, asked for is {}", exact(size), exact(wanted)));
            }
            let has = record.external().map(|(path, _)| path);
            if has != new.origin.as_deref() {
                return differs(
                    has.map_or("it has no origin".into(), |path| format!("its origin is {}", path.display())),
                );
            }
            if new.uuid.is_some_and(|wanted| wanted != uuid(record)) {
                return differs(format!("its UUID is {}", uuid(record)));
            }
            let (record, id) = (record.clone(), uuid(record));
            let idle = !new.inactive && !self.dry_run && open.info(id)?.is_none();
            if idle {
                open.active()?;
                open.activate(&record)?;
            }
            return open.volume_changed(id, idle, format!("volume {}/{} exists already", open.name, new.name));
        }
        open.changeable()?;
        let mut next = open.catalog.clone();
        let mut record = open.new_record(&mut next, &new.name, wanted, new.uuid)?;
        new.settings.apply(&mut record)?;
        if let Some(device) = &external {
            open.check_external(device)?;
            record.set_external(device)?;
        }
        let (device, id) = (record.device(), uuid(&record));
        next.records.insert(device, record.clone());
        check_room(&open, &next)?;
        let what = format!("volume {}/{}", open.name, new.name);
        if self.dry_run {
            let text = format!("{what} would be created: {}", exact(wanted));
            return Ok(Change { changed: true, dry_run: true, volume: None, text });
        }
        open.change(next, STOR_POOL_CHANGE_CREATE, &[Item { device: device.into(), origin: 0 }])?;
        let place = open.activate_new(&record, new.inactive)?;
        open.volume_changed(id, true, format!("{what} created: {place}, {}", Iec(wanted)))
    }

    /// Makes a volume that has what another has now.
    pub fn clone_volume(&self, new: &NewClone) -> Result<Change> {
        let clone = || -> Result<Change> {
            let meant = self.the(&new.of)?;
            let (mut open, of) = self.open_of(&meant, Access::Claim)?;
            open.changeable()?;
            let origin = open.record(of)?.clone();
            let mut next = open.catalog.clone();
            let mut record = open.new_record(&mut next, &new.name, Bytes(origin.fixed.size.get()), None)?;
            record.fixed.origin = origin.fixed.device;
            record.external_of(&origin);
            (record.fixed.policy, record.fixed.timeout) = (origin.fixed.policy, origin.fixed.timeout);
            new.settings.apply(&mut record)?;
            let (device, id) = (record.device(), uuid(&record));
            next.records.insert(device, record.clone());
            check_room(&open, &next)?;
            let what = format!("volume {}/{}", open.name, new.name);
            if self.dry_run {
                let text = format!("{what} would be made of {}", origin.name);
                return Ok(Change { changed: true, dry_run: true, volume: None, text });
            }
            let item = Item { device: device.into(), origin: origin.device().into() };
            open.change(next, STOR_POOL_CHANGE_SNAPSHOT, &[item])?;
            let place = open.activate_new(&record, new.inactive)?;
            open.volume_changed(id, true, format!("{what} made of {}: {place}", origin.name))
        };
        clone().context(|| format!("cannot clone volume {}", new.of))
    }

    /// Activates a volume of an active pool.
    pub fn activate_volume(&self, name: &str) -> Result<Change> {
        let activate = || -> Result<Change> {
            let (open, id) = self.open_of(&self.the(name)?, Access::Claim)?;
            open.active()?;
            let what = format!("volume {}/{}", open.name, open.record(id)?.name);
            if let Some(info) = open.info(id)? {
                return open.volume_changed(id, false, format!("{what} is active already: {}", info.path()));
            }
            if self.dry_run {
                return open.volume_changed(id, true, format!("{what} would be activated"));
            }
            open.activate(open.record(id)?)?;
            let place = open.info(id)?.map(|info| info.path()).unwrap_or_default();
            open.volume_changed(id, true, format!("{what} activated: {place}"))
        };
        activate().context(|| format!("cannot activate volume {name}"))
    }

    /// Takes a volume of a pool from the kernel. Nothing is lost.
    pub fn deactivate_volume(&self, name: &str) -> Result<Change> {
        let deactivate = || -> Result<Change> {
            let (open, id) = self.open_of(&self.the(name)?, Access::Claim)?;
            let what = format!("volume {}/{}", open.name, open.record(id)?.name);
            let Some(info) = open.info(id)? else {
                return open.volume_changed(id, false, format!("{what} is not active"));
            };
            open.closed(Some(&info))?;
            if self.dry_run {
                return open.volume_changed(id, true, format!("{what} would be deactivated"));
            }
            self.system.remove(id).map_err(|errno| self.not_closed(&info, errno))?;
            open.volume_changed(id, true, format!("{what} deactivated"))
        };
        deactivate().context(|| format!("cannot deactivate volume {name}"))
    }

    /// Everything about a volume.
    pub fn show(&self, name: &str) -> Result<Detail> {
        let context = || format!("cannot show volume {name}");
        match self.the(name).context(context)? {
            Meant::Plain(_) => self.show_active(name),
            meant => self.show_thin(&meant).context(context),
        }
    }

    fn show_thin(&self, meant: &Meant) -> Result<Detail> {
        let (open, id) = self.open_of(meant, Access::Read)?;
        let record = open.record(id)?;
        let info = open.info(id)?;
        let status = info.as_ref().map(|info| self.system.status(info.uuid)).transpose()?;
        let usage = open.status.as_ref().and_then(|_| open.device(record.device(), true).ok());
        let thin = ThinDetail {
            device_id: record.device(),
            policy: Policy::of(record.fixed.policy.get()),
            timeout_s: record.fixed.timeout.get(),
            reservation: Bytes(record.fixed.reservation.get()),
            created: record.fixed.created.get(),
            auto: !record.is(MANUAL),
            labels: record.labels.clone(),
            exclusive: usage.map(|usage| usage.exclusive.0),
            shared: usage.map(|usage| usage.mapped.0.saturating_sub(usage.exclusive.0)),
        };
        let mut entry = open.entry(record, info.as_ref());
        if record.is(READ_ONLY) && info.is_none() && !entry.state.contains(&"read-only") {
            entry.state.push("read-only");
        }
        let now = self.system.boottime();
        Ok(Detail {
            entry,
            logical_block_size: status.as_ref().map(|status| status.logical_block),
            physical_block_size: status.as_ref().map(|status| status.physical_block),
            wait: status.as_ref().and_then(|status| Wait::new(status, now)),
            in_flight: status.as_ref().map_or(0, |status| status.in_flight),
            errors: status.as_ref().map_or(0, |status| status.errors),
            last_error: status.as_ref().and_then(|status| super::view::errno_name(status.last_error)),
            lowers: status.map(|status| status.lowers).unwrap_or_default(),
            segments: Vec::new(),
            thin: Some(thin),
        })
    }
}

/// How long ago something was, for people.
pub fn since(created: u64, now: u64) -> String {
    ago(now.saturating_sub(created).saturating_mul(1_000_000_000))
}
