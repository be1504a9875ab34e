// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A pool that a command works on: its devices locked, its catalog read, in step with what the kernel or the metadata says.

use super::area::{Area, Part};
use super::catalog::{Catalog, Record};
use super::config::Config;
use super::member::{self, Seen};
use super::scan::{scan, Group};
use super::slots::{self, Mending, Slots};
use crate::control::pool::{Changed, Item, PoolStatus, PoolTable, Transaction};
use crate::device::{Access, Content, Device};
use crate::error::Context;
use crate::linear::Segment;
use crate::{Bytes, Error, Kind, Result, Stor, Uuid};
use nix::errno::Errno;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};
use stor_pure::abi::uapi::*;
use stor_pure::pure::catalog::record::DELETING;
use stor_pure::pure::catalog::{Policy, NO_PASSDOWN, NO_ZERO};
use stor_pure::pure::label::members::{Misfit, Pool as Members};
use stor_pure::pure::label::{self, Label};
use stor_pure::pure::thin::block::BLOCK_SIZE;
use stor_pure::pure::thin::superblock;
use stor_pure::pure::units::{MetadataBlock, SECTOR_SIZE};

/// How often somebody else may change the pool between a look at it and the lock.
const TRIES: usize = 10;
/// How long is waited for devices to go that a crash has left.
const PATIENCE: Duration = Duration::from_secs(30);

/// A device of an open pool.
pub(crate) struct Opened {
    pub(crate) seen: Seen,
    pub(crate) content: Rc<dyn Content>,
}

/// An open pool.
pub(crate) struct Open<'a> {
    pub(crate) stor: &'a Stor,
    pub(crate) uuid: Uuid,
    pub(crate) name: String,
    /// By their index.
    pub(crate) devices: Vec<Device>,
    /// The same.
    pub(crate) members: Vec<Opened>,
    /// What the kernel says, if it has the pool.
    pub(crate) status: Option<PoolStatus>,
    pub(crate) slots: Slots,
    /// What counts.
    pub(crate) catalog: Catalog,
    /// Devices that a change may have left that was not carried out; `None` when everything is in order.
    pub(crate) mending: Option<Mending>,
}

/// A group as an error, if it is not a pool.
pub(crate) fn fit(group: &Group) -> Result<()> {
    let Some(misfit) = group.misfit else { return Ok(()) };
    let kind = match misfit {
        Misfit::First | Misfit::Missing(_) => Kind::NotFound,
        _ => Kind::Unfit,
    };
    let text = misfit.to_string();
    Err(match text.rsplit_once(": ") {
        Some((cause, help)) => Error::new(kind, cause).help(help),
        None => Error::new(kind, text),
    })
}

impl Stor {
    /// Opens a pool by name or UUID, to look at it ([`Access::Read`]) or to change it ([`Access::Claim`]).
    pub(crate) fn open_pool(&self, name: &str, devices: &[PathBuf], access: Access) -> Result<Open<'_>> {
        let mut open = self.lock_pool(name, devices, access)?;
        open.load()?;
        Ok(open)
    }

    /// Finds and locks a pool; its catalog is still to be [loaded](Open::load).
    pub(crate) fn lock_pool(&self, name: &str, devices: &[PathBuf], access: Access) -> Result<Open<'_>> {
        for _ in 0..TRIES {
            let group = scan(self.system.as_ref(), devices)?.find(name)?;
            fit(&group)?;
            if let Some(open) = self.lock(group, access)? {
                return Ok(open);
            }
        }
        Err(Error::new(Kind::Busy, "other commands keep changing the pool").help("run it again"))
    }

    /// Locks the devices of a pool; `None` if somebody has changed something meanwhile.
    pub(crate) fn lock(&self, group: Group, access: Access) -> Result<Option<Open<'_>>> {
        let active = self.is_active(group.uuid)?;
        // The kernel has claimed what is active.
        let access = if active && access == Access::Claim { Access::Share } else { access };
        let name = group.name();
        let (mut devices, mut members) = (Vec::new(), Vec::new());
        for member in group.members {
            let content = self.system.content(&member.device, access)?;
            let Ok(seen) = member::read(&member.device, content.as_ref())? else { return Ok(None) };
            if seen.label.generation != member.seen.label.generation {
                return Ok(None);
            }
            devices.push(member.device);
            members.push(Opened { seen, content });
        }
        if self.is_active(group.uuid)? != active {
            return Ok(None);
        }
        let status = if active { Some(self.system.pool_status(group.uuid)?) } else { None };
        let slots = Slots::new(Area::default(), *group.uuid.as_bytes());
        let (catalog, mending) = (Catalog::default(), None);
        let mut open = Open { stor: self, uuid: group.uuid, name, devices, members, status, slots, catalog, mending };
        open.slots = Slots::new(open.area(label::Area::Catalog)?, *group.uuid.as_bytes());
        Ok(Some(open))
    }

    /// Whether the kernel has a pool.
    pub(crate) fn is_active(&self, uuid: Uuid) -> Result<bool> {
        Ok(self.system.pool_list()?.iter().any(|pool| pool.uuid == uuid))
    }
}

impl Open<'_> {
    fn labels(&self) -> Vec<&Label> {
        self.members.iter().map(|member| &*member.seen.label).collect()
    }

    /// The first device's label, which speaks for the pool.
    pub(crate) fn first(&self) -> Result<&Label> {
        self.members.first().map(|member| &*member.seen.label).ok_or_else(|| super::scan::missing(&self.name))
    }

    /// Bytes of a data block.
    pub(crate) fn data_block(&self) -> u64 {
        self.first().map_or(SECTOR_SIZE, |label| u64::from(label.data_block_size.get()) * SECTOR_SIZE)
    }

    /// The segments of an area, with the indices of their devices.
    pub(crate) fn segments(&self, area: label::Area) -> Result<Vec<Segment>> {
        let labels = self.labels();
        let pool = Members::of(&labels).map_err(|misfit| Error::new(Kind::Unfit, misfit.to_string()))?;
        let segment = |(label, segment): (&Label, label::Segment)| Segment {
            start: Bytes(segment.at.get()),
            length: Bytes(segment.length.get()),
            lower: label.index.get(),
            lower_start: Bytes(segment.start.get()),
        };
        Ok(pool.segments(area).map(segment).collect())
    }

    /// An area, to be read and written.
    pub(crate) fn area(&self, area: label::Area) -> Result<Area> {
        let part = |segment: &Segment| {
            let member = self.members.get(segment.lower as usize)?;
            Some(Part { content: member.content.clone(), start: segment.lower_start.0, length: segment.length.0 })
        };
        Ok(Area::new(self.segments(area)?.iter().filter_map(part).collect()))
    }

    /// The pool's transaction id: what the kernel says, or the metadata if the kernel does not have it.
    fn transaction(&self) -> Result<u64> {
        if let Some(status) = self.status.as_ref().filter(|status| status.info.engine.is_some()) {
            if status.facts.mode < STOR_POOL_FAILED {
                return Ok(status.facts.transaction);
            }
        }
        let mut bytes = [0; BLOCK_SIZE];
        let superblock = superblock::read(&mut self.area(label::Area::Metadata)?, MetadataBlock(0), &mut bytes);
        let superblock = superblock.map_err(crate::metadata::failure);
        Ok(superblock.context(|| format!("the metadata of pool {}", self.name))?.transaction_id.get())
    }

    /// Reads the catalog that counts.
    pub(crate) fn load(&mut self) -> Result<()> {
        let transaction = self.transaction()?;
        let (catalog, mending) = self.slots.load(transaction)?;
        (self.catalog, self.mending) = (catalog, mending);
        Ok(())
    }

    /// Whether the kernel has the pool, and can change it.
    pub(crate) fn active(&self) -> Result<&PoolStatus> {
        let inactive = || {
            Error::new(Kind::NotFound, format!("pool {} is not active", self.name))
                .help(format!("activate it: storctl pool activate {}", self.name))
        };
        let status = self.status.as_ref().ok_or_else(inactive)?;
        if status.info.engine.is_none() {
            return Err(Error::new(Kind::NoModule, format!("no engine drives pool {}", self.name))
                .help("see 'storctl engine list', and switch to one that does"));
        }
        Ok(status)
    }

    /// What the pool is made of, for the kernel.
    pub(crate) fn config(&self) -> Result<Config> {
        let settings = &self.catalog.settings;
        let block = self.data_block();
        Ok(Config {
            flags: [(NO_PASSDOWN, STOR_POOL_NO_PASSDOWN), (NO_ZERO, STOR_POOL_NO_ZERO)]
                .into_iter()
                .filter(|(flag, _)| settings.flags.get() & flag != 0)
                .fold(0, |flags, (_, flag)| flags | flag),
            metadata: self.segments(label::Area::Metadata)?,
            data: self.segments(label::Area::Data)?,
            data_block_size: u32::try_from(block).unwrap_or(u32::MAX),
            policy: match Policy::of(settings.policy.get()) {
                Some(Policy::Error) => STOR_POLICY_ERROR,
                Some(Policy::ReadOnly) => STOR_POLICY_READ_ONLY,
                _ => STOR_POLICY_QUEUE,
            },
            timeout: settings.timeout.get(),
            commit_interval: settings.commit_interval.get(),
            low_water: settings.low_water.get().saturating_mul(block),
            reserve: settings.reserve.get().saturating_mul(block),
        })
    }

    /// Tells the kernel what the pool is made of now.
    pub(crate) fn reload(&self) -> Result<()> {
        let config = self.config()?.encode();
        let table = PoolTable { lowers: &self.devices, config: &config };
        self.stor.system.pool_reload(self.uuid, &table).map_err(|errno| self.refused(errno))
    }

    /// Makes good what a crash has left, so that something can be changed: labels, what a change made that was not carried
    /// out, the other slot.
    pub(crate) fn mend(&mut self) -> Result<()> {
        for (device, member) in self.devices.iter().zip(&mut self.members) {
            member::mend(device, member.content.as_ref(), &mut member.seen)?;
        }
        let Some(mending) = self.mending.take() else { return Ok(()) };
        let mended = self.undo(&mending.undo).and_then(|()| self.slots.copy(&self.catalog));
        if mended.is_err() {
            self.mending = Some(mending);
        }
        mended
    }

    /// Removes devices that no catalog has, where there are any.
    fn undo(&self, devices: &[u32]) -> Result<()> {
        if devices.is_empty() {
            return Ok(());
        }
        self.active()?;
        let left = |device: &u32| !matches!(self.device(*device, false), Err(Errno::ENOENT));
        let left: Vec<u32> = devices.iter().copied().filter(left).collect();
        if left.is_empty() {
            return Ok(());
        }
        self.delete(&left)?;
        // Only when they are gone may be forgotten which they were.
        let begun = Instant::now();
        while left.iter().any(|device| self.device(*device, false) != Err(Errno::ENOENT)) {
            if begun.elapsed() > PATIENCE {
                return Err(Error::new(
                    Kind::Timeout,
                    "devices that an interrupted command left are still being deleted",
                )
                .help("run it again later"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// What a device has.
    pub(crate) fn device(
        &self,
        device: u32,
        exclusive: bool,
    ) -> crate::control::Answer<crate::control::pool::PoolDevice> {
        self.stor.system.pool_device(self.uuid, device.into(), exclusive)
    }

    /// Begins the deletion of devices, in a transaction that changes no id.
    pub(crate) fn delete(&self, devices: &[u32]) -> Result<()> {
        let id = self.catalog.stamp.transaction.get();
        for some in devices.chunks(STOR_MAX_ITEMS as usize) {
            let items: Vec<_> = some.iter().map(|device| Item { device: (*device).into(), origin: 0 }).collect();
            let transaction = Transaction { change: STOR_POOL_CHANGE_DELETE, items: &items, old: id, new: id };
            self.stor.system.pool_change(self.uuid, &transaction).map_err(|errno| self.refused(errno))?;
        }
        Ok(())
    }

    /// Forgets what has been deleted wholly. What is still there is begun again, in case a crash has stopped it.
    fn reap(&self, next: &mut Catalog) -> Result<()> {
        let deleting = |catalog: &Catalog| -> Vec<u32> {
            catalog.records.values().filter(|record| record.is(DELETING)).map(Record::device).collect()
        };
        if self.status.is_none() {
            return Ok(());
        }
        for device in deleting(&self.catalog) {
            if self.device(device, false) == Err(Errno::ENOENT) {
                next.records.remove(&device);
            }
        }
        Ok(())
    }

    /// Deletes what is marked for it and was not begun, or forgets it.
    pub(crate) fn go_on_deleting(&mut self) -> Result<()> {
        let marked = self.catalog.records.values().filter(|record| record.is(DELETING)).count();
        if marked == 0 {
            return Ok(());
        }
        let mut next = self.catalog.clone();
        self.reap(&mut next)?;
        let left: Vec<u32> = next.records.values().filter(|record| record.is(DELETING)).map(Record::device).collect();
        if next.records.len() < self.catalog.records.len() {
            self.change_alone(next)?;
        }
        self.delete(&left)
    }

    /// Changes the catalog alone.
    pub(crate) fn change_alone(&mut self, mut next: Catalog) -> Result<()> {
        self.mend()?;
        self.reap(&mut next)?;
        next.stamp = slots::next(self.catalog.stamp, false)?;
        let written = self.slots.intend(&next);
        self.undone_if_failed(written)?;
        self.slots.carried_out(&next)?;
        self.catalog = next;
        Ok(())
    }

    /// Changes the catalog and the pool, in one transaction: after a crash both have changed or neither.
    pub(crate) fn change(&mut self, mut next: Catalog, change: u32, items: &[Item]) -> Result<Changed> {
        self.mend()?;
        self.reap(&mut next)?;
        let old = self.catalog.stamp.transaction.get();
        next.stamp = slots::next(self.catalog.stamp, true)?;
        let written = self.slots.intend(&next);
        self.undone_if_failed(written)?;
        let transaction = Transaction { change, items, old, new: next.stamp.transaction.get() };
        let changed = self.stor.system.pool_change(self.uuid, &transaction);
        let changed = match changed {
            Ok(changed) => changed,
            // It says that it has changed nothing. If that can be read to be so, the intent is taken back.
            Err(errno) => {
                let status = self.stor.system.pool_status(self.uuid);
                if status.is_ok_and(|status| status.facts.transaction == old) {
                    self.slots.copy(&self.catalog)?;
                }
                return Err(self.refused(errno));
            }
        };
        self.slots.carried_out(&next)?;
        self.catalog = next;
        Ok(changed)
    }

    /// If an intent could not be written, it is overwritten, lest half of it is left.
    fn undone_if_failed(&self, written: Result<()>) -> Result<()> {
        if written.is_err() {
            // If this fails too, the next command mends it.
            let _ = self.slots.copy(&self.catalog);
        }
        written
    }

    /// What the kernel's refusal means.
    pub(crate) fn refused(&self, errno: Errno) -> Error {
        refused(&self.name, errno)
    }
}

/// What the kernel's refusal of something about a pool means.
pub(crate) fn refused(name: &str, errno: Errno) -> Error {
    let error = match errno {
        Errno::EEXIST => Error::new(Kind::Exists, "the name, UUID or device id is taken already"),
        Errno::ENOENT => Error::new(Kind::NotFound, "the pool does not have the device that its catalog says")
            .help(format!("run 'storctl pool check {name}'")),
        Errno::ESTALE => {
            Error::new(Kind::Failure, "something else has changed the pool meanwhile").help("run it again")
        }
        Errno::EROFS => {
            Error::new(Kind::Unfit, "the pool can be read only").help(format!("see 'storctl pool status {name} --why'"))
        }
        Errno::ENOSPC => Error::new(Kind::Unfit, "the pool has no room for metadata")
            .help(format!("delete snapshots, or extend it: storctl pool extend {name} --metadata SIZE")),
        Errno::EIO => Error::new(Kind::Failure, "the change failed, and the pool is read-only now")
            .help(format!("see 'storctl pool status {name} --why'")),
        Errno::EUCLEAN => Error::new(Kind::Failure, "the metadata is damaged")
            .help(format!("run 'storctl pool check {name}', then 'storctl pool repair {name}'")),
        Errno::EILSEQ => Error::new(Kind::Failure, "what is in the metadata area is not this pool's metadata")
            .help(format!("see that its devices are not mixed up; then run 'storctl pool repair {name}'")),
        Errno::EPROTO => Error::new(Kind::Unfit, "the metadata has features that the engine does not know")
            .help("use a newer engine"),
        Errno::EOPNOTSUPP => Error::new(Kind::Unfit, "the engine has no target thin, or a device is zoned")
            .help("load an engine that has it"),
        Errno::ERANGE => Error::new(Kind::Usage, "it would have less than it has now"),
        Errno::ELOOP => Error::new(Kind::Usage, "a device stands on the pool itself"),
        Errno::E2BIG => Error::new(Kind::Usage, "there are too many pools, volumes or devices"),
        Errno::EBUSY => Error::new(Kind::Busy, "it is in use"),
        Errno::ENXIO => Error::new(Kind::NotFound, format!("pool {name} was deactivated meanwhile")),
        errno => return errno.into(),
    };
    error.errno(errno)
}
