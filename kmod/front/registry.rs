// SPDX-License-Identifier: GPL-2.0

//! Engines and volumes, and every change to them. All of it runs under the state lock, which `&mut State` proves.
//!
//! A change that fails has changed nothing: everything is made first, in locals that undo themselves when dropped.

use super::edge::{show_disk, Engine, Object, Version};
use super::notice::{Label, Notices};
use super::volume::{Live, Lowers, Volume};
use super::{Front, DRAIN_MS};
use crate::abi::engine::{LowerInfo, ObjectConfig, TEXT};
use crate::abi::{errno, uapi};
use crate::block::bdev::Lower;
use crate::block::clock;
use crate::block::gendisk::Disk;
use crate::block::queue_limits::QueueLimits;
use crate::pure::control::check_resize;
use kernel::prelude::*;
use kernel::str::CString;
use kernel::sync::Arc;

/// What stands below a volume and how it is laid out, as it came from user space.
pub struct Table {
    pub size: u64,
    pub fds: KVec<i32>,
    pub config: KVVec<u8>,
}

/// What a volume is to be.
pub struct Creation {
    pub uuid: [u8; 16],
    pub name: [u8; uapi::STOR_NAME_LEN as usize],
    pub target: [u8; uapi::STOR_TARGET_LEN as usize],
    pub read_only: bool,
    pub table: Table,
}

/// A volume in the registry.
pub struct Entry {
    pub disk: Disk<Volume>,
    /// N of /dev/storN.
    pub index: u32,
    pub size: u64,
    pub read_only: bool,
    pub config: KVVec<u8>,
    pub lowers: Lowers,
    /// Version of the engine that drives it; `None` if it is dead.
    pub engine: Option<Version>,
    pub suspended_since: u64,
    block_sizes: (u32, u32),
}

/// Everything the state lock protects.
pub struct State {
    volumes: KVec<Entry>,
    engines: KVec<Engine>,
    /// Version of the engine that new volumes start on.
    active: Option<Version>,
    generation: u64,
}

/// An engine as the list shows it.
pub struct EngineRow {
    pub version: Version,
    pub active: bool,
    pub volumes: u32,
}

impl Default for State {
    fn default() -> Self {
        Self { volumes: KVec::new(), engines: KVec::new(), active: None, generation: 0 }
    }
}

impl State {
    /// In order of creation.
    pub fn volumes(&self) -> &[Entry] {
        &self.volumes
    }

    pub fn volumes_mut(&mut self) -> &mut [Entry] {
        &mut self.volumes
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn changed(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    pub fn take_volumes(&mut self) -> KVec<Entry> {
        core::mem::take(&mut self.volumes)
    }

    // Engines.

    pub fn add_engine(&mut self, engine: Engine) -> Result {
        let version = engine.version();
        if self.engine(&version).is_some() {
            return Err(EEXIST);
        }
        self.engines.push(engine, GFP_KERNEL)?;
        self.active.get_or_insert(version);
        self.changed();
        Ok(())
    }

    pub fn remove_engine(&mut self, is_it: impl Fn(&Engine) -> bool) -> Option<Engine> {
        let index = self.engines.iter().position(is_it)?;
        let engine = self.engines.remove(index).ok()?;
        if self.active == Some(engine.version()) {
            self.active = self.engines.last().map(Engine::version);
        }
        self.changed();
        Some(engine)
    }

    pub fn engine(&self, version: &Version) -> Option<&Engine> {
        self.engines.iter().find(|engine| engine.version() == *version)
    }

    /// Makes new volumes start on this engine.
    pub fn activate(&mut self, version: Version) {
        self.active = Some(version);
        self.changed();
    }

    /// In order of registration.
    pub fn engine_rows(&self) -> impl Iterator<Item = EngineRow> + '_ {
        self.engines.iter().map(|engine| {
            let version = engine.version();
            let driven = self.volumes.iter().filter(|entry| entry.engine == Some(version)).count();
            EngineRow { version, active: self.active == Some(version), volumes: driven as u32 }
        })
    }

    // Volumes.

    fn position(&self, uuid: &[u8; 16]) -> Result<usize> {
        self.volumes.iter().position(|entry| entry.uuid() == *uuid).ok_or(ENXIO)
    }

    pub fn find(&self, uuid: &[u8; 16]) -> Result<&Entry> {
        self.volumes.get(self.position(uuid)?).ok_or(ENXIO)
    }

    fn find_mut(&mut self, uuid: &[u8; 16]) -> Result<&mut Entry> {
        let index = self.position(uuid)?;
        self.volumes.get_mut(index).ok_or(ENXIO)
    }

    fn check_name(&self, name: &[u8; uapi::STOR_NAME_LEN as usize]) -> Result {
        match self.volumes.iter().any(|entry| entry.label().name == *name) {
            true => Err(EEXIST),
            false => Ok(()),
        }
    }

    /// The lowest number that no disk has.
    fn free_index(&self) -> u32 {
        let taken = |index: &u32| self.volumes.iter().any(|entry| entry.index == *index);
        (0..uapi::STOR_MAX_VOLUMES).find(|index| !taken(index)).unwrap_or(u32::MAX)
    }

    pub fn create(&mut self, front: &'static Front, creation: Creation) -> Result<&Entry> {
        if self.volumes.len() >= uapi::STOR_MAX_VOLUMES as usize {
            return Err(E2BIG);
        }
        self.check_name(&creation.name)?;
        if self.position(&creation.uuid).is_ok() {
            return Err(EEXIST);
        }
        self.volumes.reserve(1, GFP_KERNEL)?;
        let version = self.active.ok_or(ENODEV)?;
        let label = Label { name: creation.name, engine: version };
        let notices = Notices::new(creation.uuid, creation.target, label)?;
        let table = &creation.table;
        let lowers = open_lowers(&table.fds, !creation.read_only, &notices)?;
        let limits = QueueLimits::stack(&lowers);
        let engine = self.engine(&version).ok_or(ENODEV)?;
        let mut object = prepare(engine, &notices, table.size, &table.config, &lowers)?;
        object.load()?;
        let index = self.free_index();
        let live = Live { object: Some(object), lowers: lowers.clone() };
        let name = CString::try_from_fmt(kernel::prelude::fmt!("stor{index}"))?;
        let mut disk = Disk::new(&front.operations, &limits, &name, Volume::new(notices)?, live)?;
        if creation.read_only {
            disk.set_read_only(true);
        }
        // From here on somebody may have the node open; until this is settled he waits.
        let shown = show_disk(&mut disk, table.size / 512).and_then(|()| link(&mut disk, &lowers));
        disk.driver().settle(shown.is_ok());
        shown?;
        let entry = Entry {
            disk,
            index,
            size: table.size,
            read_only: creation.read_only,
            config: creation.table.config,
            lowers,
            engine: Some(version),
            suspended_since: 0,
            block_sizes: limits.block_sizes(),
        };
        entry.emit(uapi::STOR_EVENT_CREATED, entry.size);
        self.volumes.push(entry, GFP_KERNEL)?;
        self.changed();
        self.volumes.last().ok_or(ENOMEM)
    }

    /// EBUSY if it is open, ETIMEDOUT if I/O of earlier openers does not end.
    pub fn remove(&mut self, uuid: &[u8; 16]) -> Result {
        let index = self.position(uuid)?;
        let entry = self.volumes.get(index).ok_or(ENXIO)?;
        let volume = entry.disk.driver();
        volume.close_door()?;
        // Removing the disk waits for its I/O without a limit; make sure that there is none to wait for.
        if let Err(error) = entry.disk.freeze(DRAIN_MS) {
            volume.settle(true);
            return Err(error);
        }
        let entry = self.volumes.remove(index).map_err(|_| ENXIO)?;
        let notices = entry.notices().clone();
        drop(entry);
        notices.emit(uapi::STOR_EVENT_REMOVED, 0);
        self.changed();
        Ok(())
    }

    pub fn suspend(&mut self, uuid: &[u8; 16]) -> Result {
        let entry = self.find_mut(uuid)?;
        entry.disk.hold(DRAIN_MS)?;
        entry.suspended_since = clock::now();
        entry.emit(uapi::STOR_EVENT_SUSPENDED, 0);
        self.changed();
        Ok(())
    }

    pub fn resume(&mut self, uuid: &[u8; 16]) -> Result {
        let entry = self.find_mut(uuid)?;
        entry.disk.release()?;
        entry.suspended_since = 0;
        entry.emit(uapi::STOR_EVENT_RESUMED, 0);
        self.changed();
        Ok(())
    }

    pub fn rename(&mut self, uuid: &[u8; 16], name: [u8; uapi::STOR_NAME_LEN as usize]) -> Result {
        let index = self.position(uuid)?;
        self.check_name(&name)?;
        let entry = self.volumes.get(index).ok_or(ENXIO)?;
        entry.notices().set_label(Label { name, ..entry.label() });
        entry.disk.changed();
        entry.emit(uapi::STOR_EVENT_RENAMED, 0);
        self.changed();
        Ok(())
    }

    /// EBUSY to make an open volume read-only, EROFS to make one writable whose lower devices are not.
    pub fn set_read_only(&mut self, uuid: &[u8; 16], read_only: bool) -> Result {
        let entry = self.find_mut(uuid)?;
        if read_only == entry.read_only {
            return Ok(());
        }
        if read_only && entry.disk.driver().open_count() > 0 {
            return Err(EBUSY);
        }
        if !read_only && !entry.lowers.iter().all(Lower::is_writable) {
            return Err(EROFS);
        }
        entry.disk.set_read_only(read_only);
        entry.read_only = read_only;
        entry.emit(uapi::STOR_EVENT_READ_ONLY, u64::from(read_only));
        self.changed();
        Ok(())
    }

    /// Replaces size, lowers and configuration.
    pub fn reload(&mut self, uuid: &[u8; 16], table: Table, shrink: bool) -> Result {
        let index = self.position(uuid)?;
        let entry = self.volumes.get(index).ok_or(ENXIO)?;
        let open = entry.disk.driver().open_count() > 0;
        check_resize(entry.size, table.size, shrink, open).map_err(|error| error.errno())?;
        let version = entry.engine.ok_or(ENODEV)?;
        let lowers = open_lowers(&table.fds, !entry.read_only, entry.notices())?;
        self.check_loop(entry, &lowers)?;
        let limits = QueueLimits::stack(&lowers);
        if open && limits.block_sizes().0 != entry.block_sizes.0 {
            return Err(EBUSY);
        }
        let engine = self.engine(&version).ok_or(ENODEV)?;
        let object = prepare(engine, entry.notices(), table.size, &table.config, &lowers)?;
        let entry = self.volumes.get_mut(index).ok_or(ENXIO)?;
        let old_links = entry.disk.links();
        let swapped = link(&mut entry.disk, &lowers).and_then(|()| entry.swap(object, &lowers, &limits, table.size));
        match swapped {
            Ok(old) => drop(old),
            Err(error) => {
                let new_links = entry.disk.links();
                entry.disk.unlink(old_links, new_links);
                return Err(error);
            }
        }
        entry.disk.unlink(0, old_links);
        entry.lowers = lowers;
        entry.config = table.config;
        entry.block_sizes = limits.block_sizes();
        entry.size = table.size;
        entry.emit(uapi::STOR_EVENT_RELOADED, table.size);
        self.changed();
        Ok(())
    }

    /// ELOOP if the volume would stand on itself through other volumes.
    fn check_loop(&self, entry: &Entry, lowers: &[Lower]) -> Result {
        let own = entry.disk.device();
        let mut pending = KVec::new();
        for lower in lowers {
            pending.push(lower.device(), GFP_KERNEL)?;
        }
        while let Some(device) = pending.pop() {
            if device == own {
                return Err(errno::ELOOP.into());
            }
            for other in self.volumes.iter().filter(|other| other.disk.device() == device) {
                for lower in other.lowers.iter() {
                    pending.push(lower.device(), GFP_KERNEL)?;
                }
            }
        }
        Ok(())
    }
}

impl Entry {
    pub fn notices(&self) -> &Arc<Notices> {
        &self.disk.driver().notices
    }

    pub fn uuid(&self) -> [u8; 16] {
        self.notices().uuid()
    }

    pub fn label(&self) -> Label {
        self.notices().label()
    }

    pub fn emit(&self, kind: u32, value: u64) {
        self.notices().emit(kind, value);
    }

    /// Logical and physical block size in bytes.
    pub fn block_sizes(&self) -> (u32, u32) {
        self.block_sizes
    }

    /// `STOR_STATE_*`.
    pub fn state(&self) -> u32 {
        let flag = |set: bool, bit: u32| if set { bit } else { 0 };
        flag(self.read_only, uapi::STOR_STATE_READ_ONLY)
            | flag(self.disk.is_held(), uapi::STOR_STATE_SUSPENDED)
            | flag(self.engine.is_none(), uapi::STOR_STATE_DEAD)
            | flag(self.lowers.iter().any(Lower::is_gone), uapi::STOR_STATE_LOWER_GONE)
    }

    /// Makes an object for this volume on an engine.
    pub fn prepare(&self, engine: &Engine) -> Result<Object> {
        prepare(engine, self.notices(), self.size, &self.config, &self.lowers)
    }

    /// Notes which engine drives the volume now, or that none does.
    pub fn set_engine(&mut self, engine: Option<Version>) {
        self.engine = engine;
        self.notices().set_label(Label { engine: engine.unwrap_or_default(), ..self.label() });
        self.disk.changed();
    }

    /// Puts a new table in the place of the old one with the volume's I/O held, and gives the old one back. If the
    /// volume ends up without any, its engine is noted as gone.
    fn swap(&mut self, new: Object, lowers: &Lowers, limits: &QueueLimits, size: u64) -> Result<Live> {
        if size < self.size {
            self.disk.set_capacity(size / 512);
        }
        let swapped = self.swap_held(new, lowers, limits);
        self.disk.set_capacity(if swapped.is_ok() { size } else { self.size } / 512);
        swapped
    }

    fn swap_held(&mut self, new: Object, lowers: &Lowers, limits: &QueueLimits) -> Result<Live> {
        let update = self.disk.start_limits();
        let mut frozen = self.disk.freeze(DRAIN_MS)?;
        let live = frozen.live();
        let done = hand_over(&mut live.object, new);
        let dead = live.object.is_none();
        let swapped = done.and_then(|old| match update.commit(&frozen, limits) {
            Ok(()) => Ok(Live { object: old, lowers: core::mem::replace(&mut frozen.live().lowers, lowers.clone()) }),
            Err(error) => {
                if let Some(old) = old {
                    drop(hand_over(&mut frozen.live().object, old));
                }
                Err(error)
            }
        });
        drop(frozen);
        if dead {
            self.set_engine(None);
        }
        swapped
    }
}

/// Moves a volume whose I/O is held from the object in `place` to `new`, and gives the old one back.
///
/// The old one writes its state before the new one reads it. If either refuses, the old one reads its state again
/// and goes on; if it cannot, `place` is left empty and the volume answers every request with an I/O error.
pub fn hand_over(place: &mut Option<Object>, mut new: Object) -> Result<Option<Object>> {
    let Some(mut old) = place.take() else {
        new.load()?;
        *place = Some(new);
        return Ok(None);
    };
    match old.close().and_then(|()| new.load()) {
        Ok(()) => {
            *place = Some(new);
            Ok(Some(old))
        }
        Err(error) => {
            if old.load().is_ok() {
                *place = Some(old);
            }
            Err(error)
        }
    }
}

fn open_lowers(fds: &[i32], writable: bool, notices: &Arc<Notices>) -> Result<Lowers> {
    let mut lowers = KVec::with_capacity(fds.len(), GFP_KERNEL)?;
    for &fd in fds {
        let lower = Lower::open(fd, writable, notices)?;
        if lowers.iter().any(|other: &Lower| other.device() == lower.device()) {
            return Err(EINVAL);
        }
        lowers.push(lower, GFP_KERNEL)?;
    }
    Ok(Arc::new(lowers, GFP_KERNEL)?)
}

fn link(disk: &mut Disk<Volume>, lowers: &[Lower]) -> Result {
    lowers.iter().try_for_each(|lower| disk.link(lower))
}

fn prepare(engine: &Engine, notices: &Notices, size: u64, config: &[u8], lowers: &[Lower]) -> Result<Object> {
    let mut infos = KVec::with_capacity(lowers.len(), GFP_KERNEL)?;
    for lower in lowers {
        let geometry = lower.geometry();
        let info = LowerInfo { size: geometry.size, logical_block: geometry.logical_block, reserved: 0 };
        infos.push(info, GFP_KERNEL)?;
    }
    let mut target = [0; TEXT];
    for (to, from) in target.iter_mut().zip(notices.target()) {
        *to = from;
    }
    engine.prepare(&ObjectConfig {
        uuid: notices.uuid(),
        target,
        size,
        lowers: infos.as_ptr(),
        config: config.as_ptr(),
        lower_count: infos.len() as u32,
        config_len: config.len() as u32,
    })
}
