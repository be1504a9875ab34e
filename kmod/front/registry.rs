// SPDX-License-Identifier: GPL-2.0

//! Engines and volumes, and every change to them. All of it runs under the state lock, which `&mut State` proves.
//!
//! A change that fails has changed nothing: everything is made first, in locals that undo themselves when dropped.

use super::edge::{show_disk, Engine, Object, Pool, Version};
use super::notice::{Claim, Label, Notices};
use super::pool;
use super::volume::{Live, Lowers, Settled, Volume};
use super::{Front, DRAIN_MS};
use crate::abi::engine::{LowerInfo, ObjectConfig, TEXT};
use crate::abi::{errno, uapi};
use crate::block::bdev::{device_of, Holder, Lower, LowerSet};
use crate::block::clock;
use crate::block::gendisk::{Disk, Pinned};
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
    /// The pool that it is a volume of, or zero.
    pub pool: [u8; 16],
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
    /// Who holds them, if they are its own.
    pub claim: Arc<Claim>,
    /// What is below it besides, see [`Live::origin`].
    pub origin: Lowers,
    /// Version of the engine that drives it; `None` if it is dead.
    pub engine: Option<Version>,
    pub suspended_since: u64,
    /// The pool that it is a volume of, or zero.
    pub pool: [u8; 16],
    /// Where it stands in the order of creation of everything.
    pub sequence: u64,
    pub(super) block_sizes: (u32, u32),
}

/// What is no volume's pool.
pub const NO_POOL: [u8; 16] = [0; 16];

/// Everything the state lock protects.
pub struct State {
    pub(super) volumes: KVec<Entry>,
    pub pools: KVec<pool::Entry>,
    sequence: u64,
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
        Self {
            volumes: KVec::new(),
            pools: KVec::new(),
            sequence: 0,
            engines: KVec::new(),
            active: None,
            generation: 0,
        }
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

    /// Volumes and their pools, to be dropped in that order.
    pub fn take_all(&mut self) -> (KVec<Entry>, KVec<pool::Entry>) {
        (core::mem::take(&mut self.volumes), core::mem::take(&mut self.pools))
    }

    pub fn volumes_and_pools_mut(&mut self) -> (&mut [Entry], &mut [pool::Entry]) {
        (&mut self.volumes, &mut self.pools)
    }

    /// The next place in the order of creation.
    pub fn next_sequence(&mut self) -> u64 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
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

    /// The engine that new volumes start on.
    pub fn active(&self) -> Option<Version> {
        self.active
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

    /// How many a pool has.
    pub fn volumes_of(&self, pool: &[u8; 16]) -> u32 {
        self.volumes.iter().filter(|entry| entry.pool == *pool).count() as u32
    }

    pub(super) fn position(&self, uuid: &[u8; 16]) -> Result<usize> {
        self.volumes.iter().position(|entry| entry.uuid() == *uuid).ok_or(ENXIO)
    }

    /// Whether a volume or a pool has it.
    pub fn is_uuid_taken(&self, uuid: &[u8; 16]) -> bool {
        self.position(uuid).is_ok() || self.find_pool(uuid).is_ok()
    }

    pub fn find(&self, uuid: &[u8; 16]) -> Result<&Entry> {
        self.volumes.get(self.position(uuid)?).ok_or(ENXIO)
    }

    fn find_mut(&mut self, uuid: &[u8; 16]) -> Result<&mut Entry> {
        let index = self.position(uuid)?;
        self.volumes.get_mut(index).ok_or(ENXIO)
    }

    pub(super) fn check_name(&self, name: &[u8; uapi::STOR_NAME_LEN as usize]) -> Result {
        match self.volumes.iter().any(|entry| entry.label().name == *name) {
            true => Err(EEXIST),
            false => Ok(()),
        }
    }

    /// The lowest number that no disk has, and that is not this one.
    pub(super) fn free_index(&self, not: u32) -> u32 {
        let taken = |index: &u32| *index == not || self.volumes.iter().any(|entry| entry.index == *index);
        (0..uapi::STOR_MAX_VOLUMES).find(|index| !taken(index)).unwrap_or(u32::MAX)
    }

    pub fn create(&mut self, front: &'static Front, creation: Creation) -> Result<&Entry> {
        if self.volumes.len() >= uapi::STOR_MAX_VOLUMES as usize {
            return Err(E2BIG);
        }
        self.check_name(&creation.name)?;
        if self.is_uuid_taken(&creation.uuid) {
            return Err(EEXIST);
        }
        self.volumes.reserve(1, GFP_KERNEL)?;
        let pool = match creation.pool {
            NO_POOL => None,
            uuid => Some(self.find_pool(&uuid)?),
        };
        // A pool and its volumes are on one engine.
        let version = pool.map_or(self.active, |pool| pool.engine).ok_or(ENODEV)?;
        let label = Label { name: creation.name, engine: version, target: creation.target };
        let notices = Notices::new(creation.uuid, label)?;
        let claim = Claim::new(&notices)?;
        let table = &creation.table;
        let engine = self.engine(&version).ok_or(ENODEV)?;
        let (lowers, origin, limits) = match pool {
            None => {
                let lowers = open_lowers(&table.fds, !creation.read_only, &claim, table.fds.len())?;
                let limits = QueueLimits::stack(lowers.iter());
                (lowers, none()?, limits)
            }
            Some(pool) => {
                if pool.read_only && !creation.read_only {
                    return Err(EROFS);
                }
                let lowers = pool.lowers.clone();
                self.check_awake(&lowers)?;
                let origin = self.open_origin(&table.fds, &creation.pool, &claim)?;
                let limits = pool_limits(pool.object()?, &lowers, &origin);
                (lowers, origin, limits)
            }
        };
        let below = Below { lowers: &lowers, origin: &origin };
        let pool = pool.map(pool::Entry::object).transpose()?.map(|pool| &**pool);
        let plan = Plan { notices: &notices, size: table.size, config: &table.config, read_only: creation.read_only };
        let mut object = plan.prepare(engine, &below, pool)?;
        object.load()?;
        let limits = if object.spreads() { limits.spread() } else { limits };
        let index = self.free_index(u32::MAX);
        let live = Live { object: Some(object), lowers: lowers.clone(), origin: origin.clone() };
        let disk = plan.show(front, index, &limits, live, Some(&below), Settled::Open)?;
        let entry = Entry {
            disk,
            index,
            size: table.size,
            read_only: creation.read_only,
            config: creation.table.config,
            lowers,
            claim,
            origin,
            engine: Some(version),
            suspended_since: 0,
            pool: creation.pool,
            sequence: self.next_sequence(),
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
        if entry.pool != NO_POOL {
            self.check_awake(&entry.lowers)?;
        }
        let volume = entry.disk.driver();
        volume.close_door()?;
        // Removing the disk waits for its I/O without a limit; make sure that there is none to wait for.
        if let Err(error) = entry.disk.freeze(DRAIN_MS) {
            volume.settle(Settled::Open);
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
        let entry = self.find(uuid)?;
        if !read_only && entry.pool != NO_POOL {
            // It may have become so by its policy, of which only the engine knows.
            self.change_live(entry, entry.size, &entry.config)?;
        }
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
        if entry.pool != NO_POOL {
            return self.reload_in_pool(index, table);
        }
        if table.fds.is_empty() {
            return Err(EINVAL);
        }
        let lowers = open_lowers(&table.fds, !entry.read_only, &entry.claim, table.fds.len())?;
        self.check_loop(entry, &lowers)?;
        let limits = QueueLimits::stack(lowers.iter());
        if open && limits.block_sizes().0 != entry.block_sizes.0 {
            return Err(EBUSY);
        }
        let engine = self.engine(&version).ok_or(ENODEV)?;
        let below = Below { lowers: &lowers, origin: &entry.origin.clone() };
        let (notices, read_only) = (entry.notices(), entry.read_only);
        let plan = Plan { notices, size: table.size, config: &table.config, read_only };
        let object = plan.prepare(engine, &below, None)?;
        let limits = if object.spreads() { limits.spread() } else { limits };
        let entry = self.volumes.get_mut(index).ok_or(ENXIO)?;
        let old_links = entry.disk.links();
        let swapped = link(&mut entry.disk, &below).and_then(|()| entry.swap(object, &lowers, &limits, table.size));
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

    /// The same of a volume of a pool: I/O goes on.
    fn reload_in_pool(&mut self, index: usize, table: Table) -> Result {
        if !table.fds.is_empty() {
            return Err(EINVAL);
        }
        let entry = self.volumes.get(index).ok_or(ENXIO)?;
        let size = table.size;
        let (smaller, old) = (size < entry.size, entry.size);
        if smaller {
            entry.disk.set_capacity(size / 512);
        }
        match self.change_live(entry, size, &table.config) {
            Ok(true) => {}
            refused => {
                if smaller {
                    entry.disk.set_capacity(old / 512);
                }
                refused?;
                return Err(errno::EOPNOTSUPP.into());
            }
        }
        let entry = self.volumes.get_mut(index).ok_or(ENXIO)?;
        if size != old {
            entry.disk.set_capacity(size / 512);
        }
        entry.config = table.config;
        entry.size = size;
        entry.emit(uapi::STOR_EVENT_RELOADED, size);
        self.changed();
        Ok(())
    }

    /// Changes the object of a volume of a pool in place; whether it can be.
    fn change_live(&self, entry: &Entry, size: u64, config: &[u8]) -> Result<bool> {
        let pool = self.find_pool(&entry.pool)?.object()?.context();
        config_of(entry.notices(), size, config, &entry.below(), entry.read_only, pool, |config| {
            // Its disk's queue keeps it there.
            entry.disk.with_live(|live| live.object.as_ref().ok_or(ENODEV)?.change(config))
        })
    }

    /// What a replica says of itself. EOPNOTSUPP it is none, ENODEV no engine drives it.
    pub fn replica_facts(&self, uuid: &[u8; 16], facts: &mut uapi::stor_replica_facts) -> Result {
        self.find(uuid)?.disk.with_live(|live| live.object.as_ref().ok_or(ENODEV)?.facts(facts))
    }

    /// A volume's object, for what takes so long that the state lock cannot be held meanwhile.
    pub fn pin(&self, uuid: &[u8; 16]) -> Result<Pinned<Volume>> {
        self.find(uuid)?.disk.pin()
    }

    /// EBUSY if I/O to these devices would wait for the state lock, because a volume that they are is suspended.
    pub fn check_awake(&self, lowers: &LowerSet) -> Result {
        let mut pending = KVec::new();
        for lower in lowers.iter() {
            pending.push(lower.device(), GFP_KERNEL)?;
        }
        while let Some(device) = pending.pop() {
            for below in self.volumes.iter().filter(|below| below.disk.device() == device) {
                if below.disk.is_held() {
                    return Err(EBUSY);
                }
                for lower in below.below().iter() {
                    pending.push(lower.device(), GFP_KERNEL)?;
                }
            }
        }
        Ok(())
    }

    /// Opens the device that a volume of a pool is to be read from where it has nothing of its own, if there is one. Volumes may
    /// share it: they only read. It tells the first of them that it is gone.
    fn open_origin(&self, fds: &[i32], pool: &[u8; 16], claim: &Arc<Claim>) -> Result<Lowers> {
        let &[fd] = fds else { return if fds.is_empty() { none() } else { Err(EINVAL) } };
        let device = device_of(fd)?;
        self.check_depends(device, pool)?;
        let shared = |entry: &Entry| entry.origin.get(0).is_some_and(|origin| origin.device() == device);
        match self.volumes.iter().find(|entry| shared(entry)) {
            Some(entry) => Ok(entry.origin.clone()),
            None => open_lowers(fds, false, claim, 1),
        }
    }

    /// ELOOP if I/O to this device might wait for this pool, which is to use it while others wait for the pool.
    pub fn check_depends(&self, device: u32, pool: &[u8; 16]) -> Result {
        let (mut pending, mut pools) = (KVec::new(), KVec::new());
        pending.push(device, GFP_KERNEL)?;
        while let Some(device) = pending.pop() {
            let Some(entry) = self.volumes.iter().find(|entry| entry.disk.device() == device) else { continue };
            for lower in entry.below().iter() {
                pending.push(lower.device(), GFP_KERNEL)?;
            }
            if entry.pool == *pool {
                return Err(errno::ELOOP.into());
            }
            if entry.pool != NO_POOL && !pools.contains(&entry.pool) {
                pools.push(entry.pool, GFP_KERNEL)?;
                for origin in self.volumes.iter().filter(|other| other.pool == entry.pool).flat_map(|v| v.origin.iter())
                {
                    pending.push(origin.device(), GFP_KERNEL)?;
                }
            }
        }
        Ok(())
    }

    /// ELOOP if the volume would stand on itself through other volumes.
    pub(super) fn check_loop(&self, entry: &Entry, lowers: &LowerSet) -> Result {
        let own = entry.disk.device();
        let mut pending = KVec::new();
        for lower in lowers.iter() {
            pending.push(lower.device(), GFP_KERNEL)?;
        }
        while let Some(device) = pending.pop() {
            if device == own {
                return Err(errno::ELOOP.into());
            }
            for other in self.volumes.iter().filter(|other| other.disk.device() == device) {
                for lower in other.below().iter() {
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
            | flag(self.below().iter().any(Lower::is_gone), uapi::STOR_STATE_LOWER_GONE)
    }

    /// The devices below it.
    pub fn below(&self) -> Below<'_> {
        Below { lowers: &self.lowers, origin: &self.origin }
    }

    /// Makes an object for this volume on an engine.
    pub fn prepare(&self, engine: &Engine, pool: Option<&Pool>) -> Result<Object> {
        let plan = Plan { notices: self.notices(), size: self.size, config: &self.config, read_only: self.read_only };
        plan.prepare(engine, &self.below(), pool)
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
            Ok(()) => Ok(Live {
                object: old,
                lowers: core::mem::replace(&mut frozen.live().lowers, lowers.clone()),
                origin: frozen.live().origin.clone(),
            }),
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

/// Moves a pool and its volumes, whose I/O is held, to new objects, and gives the old ones back in the others' places.
///
/// The old ones write their state before the new ones read it. If any refuses, the old ones read their state again and
/// go on; what cannot is left out, and answers every request with an I/O error. `volumes` and `new` are of the same volumes.
pub fn hand_over_pool(
    pool: &mut Option<Arc<Pool>>,
    new_pool: &mut Option<Arc<Pool>>,
    volumes: &mut [&mut Option<Object>],
    new: &mut [Option<Object>],
) -> Result {
    let mut result = Ok(());
    for old in volumes.iter_mut().filter_map(|place| place.as_mut()) {
        result = result.and(old.close());
    }
    if let Some(old) = pool {
        result = result.and(old.close());
    }
    result = result.and_then(|()| new_pool.as_ref().ok_or(ENODEV)?.load());
    for object in new.iter_mut() {
        result = result.and_then(|()| object.as_mut().ok_or(ENODEV)?.load());
    }
    if result.is_ok() {
        core::mem::swap(pool, new_pool);
        for (place, object) in volumes.iter_mut().zip(new) {
            core::mem::swap(*place, object);
        }
        return Ok(());
    }
    for object in new.iter_mut() {
        *object = None;
    }
    *new_pool = None;
    let alive = pool.as_ref().is_some_and(|pool| pool.load().is_ok());
    for (place, object) in volumes.iter_mut().zip(new) {
        if !alive || place.as_mut().is_some_and(|old| old.load().is_err()) {
            core::mem::swap(*place, object);
        }
    }
    if !alive {
        core::mem::swap(pool, new_pool);
    }
    result
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

/// Opens lower devices, with room for so many.
pub fn open_lowers<H: Holder>(fds: &[i32], writable: bool, holder: &Arc<H>, room: usize) -> Result<Lowers> {
    let lowers = LowerSet::with_capacity(room.max(fds.len()))?;
    for &fd in fds {
        let lower = Lower::open(fd, writable, holder)?;
        if lowers.iter().any(|other| other.device() == lower.device()) {
            return Err(EINVAL);
        }
        lowers.push(lower)?;
    }
    Ok(Arc::new(lowers, GFP_KERNEL)?)
}

/// No lower devices.
pub fn none() -> Result<Lowers> {
    Ok(Arc::new(LowerSet::with_capacity(0)?, GFP_KERNEL)?)
}

pub(super) fn link(disk: &mut Disk<Volume>, below: &Below<'_>) -> Result {
    below.iter().try_for_each(|lower| disk.link(lower))
}

/// What is below a volume or a pool.
#[derive(Clone, Copy)]
pub struct Below<'a> {
    pub lowers: &'a LowerSet,
    pub origin: &'a LowerSet,
}

impl<'a> Below<'a> {
    /// All of it.
    pub fn iter(&self) -> impl Iterator<Item = &'a Lower> {
        core::iter::Iterator::chain(self.lowers.iter(), self.origin.iter())
    }

    /// How many devices.
    pub fn count(&self) -> usize {
        self.lowers.count().saturating_add(self.origin.count())
    }
}

/// The limits of a volume of a pool.
pub(super) fn pool_limits(pool: &Pool, lowers: &LowerSet, origin: &LowerSet) -> QueueLimits {
    let data = lowers.iter().enumerate().filter(|(index, _)| pool.data & (1 << (index % 64)) != 0);
    let all = core::iter::Iterator::chain(data.map(|(_, lower)| lower), origin.iter());
    QueueLimits::stack(all).of_pool(pool.block_size)
}

/// What a volume is to be.
pub(super) struct Plan<'a> {
    pub(super) notices: &'a Arc<Notices>,
    pub(super) size: u64,
    pub(super) config: &'a [u8],
    pub(super) read_only: bool,
}

impl Plan<'_> {
    /// Makes its object.
    pub(super) fn prepare(&self, engine: &Engine, below: &Below<'_>, pool: Option<&Pool>) -> Result<Object> {
        self.prepare_as(engine, &self.notices.target(), below, pool)
    }

    /// The same of another target than what the volume is yet.
    pub(super) fn prepare_as(
        &self,
        engine: &Engine,
        target: &[u8; uapi::STOR_TARGET_LEN as usize],
        below: &Below<'_>,
        pool: Option<&Pool>,
    ) -> Result<Object> {
        let pool = pool.map_or(core::ptr::null_mut(), Pool::context);
        config_as(self.notices, target, self.size, self.config, below, self.read_only, pool, |config| {
            engine.prepare(config, self.notices)
        })
    }

    /// Makes its disk, shows it, and links it to what is `below`. Somebody may have the node open then: he waits until that is done.
    pub(super) fn show(
        &self,
        front: &'static Front,
        index: u32,
        limits: &QueueLimits,
        live: Live,
        below: Option<&Below<'_>>,
        then: Settled,
    ) -> Result<Disk<Volume>> {
        let name = CString::try_from_fmt(kernel::prelude::fmt!("stor{index}"))?;
        let mut disk = Disk::new(&front.operations, limits, &name, Volume::new(self.notices.clone())?, live)?;
        if self.read_only {
            disk.set_read_only(true);
        }
        let mut shown = show_disk(&mut disk, self.size / 512);
        if let Some(below) = below {
            shown = shown.and_then(|()| link(&mut disk, below));
        }
        disk.driver().settle(if shown.is_ok() { then } else { Settled::Removed });
        shown.map(|()| disk)
    }
}

/// Tells `with` what an object is to be made of.
pub fn config_of<T>(
    notices: &Arc<Notices>,
    size: u64,
    config: &[u8],
    below: &Below<'_>,
    read_only: bool,
    pool: *mut core::ffi::c_void,
    with: impl FnOnce(&ObjectConfig) -> Result<T>,
) -> Result<T> {
    config_as(notices, &notices.target(), size, config, below, read_only, pool, with)
}

/// The same of another target than what the volume is yet.
#[allow(clippy::too_many_arguments)]
fn config_as<T>(
    notices: &Arc<Notices>,
    name: &[u8; uapi::STOR_TARGET_LEN as usize],
    size: u64,
    config: &[u8],
    below: &Below<'_>,
    read_only: bool,
    pool: *mut core::ffi::c_void,
    with: impl FnOnce(&ObjectConfig) -> Result<T>,
) -> Result<T> {
    let info = |lower: &Lower| {
        let geometry = lower.geometry();
        LowerInfo {
            size: geometry.size,
            bdev: lower.as_ptr().cast(),
            logical_block: geometry.logical_block,
            read_only: u32::from(!lower.is_writable()),
        }
    };
    let mut infos = KVec::with_capacity(below.lowers.count(), GFP_KERNEL)?;
    for lower in below.lowers.iter() {
        infos.push(info(lower), GFP_KERNEL)?;
    }
    let origin = below.origin.get(0).map(info);
    let mut target = [0; TEXT];
    for (to, from) in target.iter_mut().zip(name) {
        *to = *from;
    }
    with(&ObjectConfig {
        uuid: notices.uuid(),
        target,
        size,
        lowers: infos.as_ptr(),
        config: config.as_ptr(),
        pool,
        origin: origin.as_ref().map_or(core::ptr::null(), |origin| origin),
        lower_count: infos.len() as u32,
        config_len: config.len() as u32,
        listener: Arc::as_ptr(notices).cast_mut().cast(),
        read_only: u32::from(read_only),
        reserved: 0,
    })
}
