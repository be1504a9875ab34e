// SPDX-License-Identifier: GPL-2.0

//! Pools in the registry: what volumes have in common, without a disk of their own. As of volumes, a change that fails has
//! changed nothing.

use super::edge::{Engine, Pool, Version};
use super::notice::{Label, Notices};
use super::registry::{config_of, none, open_lowers, Below, State};
use super::volume::Lowers;
use crate::abi::uapi;
use crate::block::bdev::Lower;
use kernel::prelude::*;
use kernel::sync::Arc;

/// What a pool is to be.
pub struct Creation {
    pub uuid: [u8; 16],
    pub name: [u8; uapi::STOR_NAME_LEN as usize],
    pub target: [u8; uapi::STOR_TARGET_LEN as usize],
    pub read_only: bool,
    pub fds: KVec<i32>,
    pub config: KVVec<u8>,
}

/// A pool in the registry.
pub struct Entry {
    pub notices: Arc<Notices>,
    pub read_only: bool,
    pub config: KVVec<u8>,
    pub lowers: Lowers,
    /// Version of the engine that drives it; `None` if it is dead.
    pub engine: Option<Version>,
    /// A call that takes long has it without the state lock.
    pub object: Option<Arc<Pool>>,
    /// Where it stands in the order of creation of everything.
    pub sequence: u64,
}

impl Entry {
    pub fn uuid(&self) -> [u8; 16] {
        self.notices.uuid()
    }

    pub fn label(&self) -> Label {
        self.notices.label()
    }

    /// The engine's part. ENODEV if the pool is dead.
    pub fn object(&self) -> Result<&Arc<Pool>> {
        self.object.as_ref().ok_or(ENODEV)
    }

    /// `STOR_STATE_*`.
    pub fn state(&self) -> u32 {
        let flag = |set: bool, bit: u32| if set { bit } else { 0 };
        flag(self.read_only, uapi::STOR_STATE_READ_ONLY)
            | flag(self.engine.is_none(), uapi::STOR_STATE_DEAD)
            | flag(self.lowers.iter().any(Lower::is_gone), uapi::STOR_STATE_LOWER_GONE)
    }

    /// Makes an object for this pool on an engine.
    pub fn prepare(&self, engine: &Engine) -> Result<Arc<Pool>> {
        prepare(engine, &self.notices, &self.config, &self.lowers, self.read_only)
    }

    /// Notes which engine drives the pool now, or that none does.
    pub fn set_engine(&mut self, engine: Option<Version>) {
        self.engine = engine;
        self.notices.set_label(Label { engine: engine.unwrap_or_default(), ..self.label() });
    }
}

fn prepare(
    engine: &Engine,
    notices: &Arc<Notices>,
    config: &[u8],
    lowers: &Lowers,
    read_only: bool,
) -> Result<Arc<Pool>> {
    let below = Below { lowers, origin: &*none()? };
    config_of(notices, 0, config, &below, read_only, core::ptr::null_mut(), |config| {
        Ok(Arc::new(engine.prepare_pool(config, notices)?, GFP_KERNEL)?)
    })
}

impl State {
    fn pool_position(&self, uuid: &[u8; 16]) -> Result<usize> {
        self.pools.iter().position(|pool| pool.uuid() == *uuid).ok_or(ENXIO)
    }

    pub fn find_pool(&self, uuid: &[u8; 16]) -> Result<&Entry> {
        self.pools.get(self.pool_position(uuid)?).ok_or(ENXIO)
    }

    pub fn create_pool(&mut self, creation: Creation) -> Result {
        if self.pools.len() >= uapi::STOR_MAX_POOLS as usize {
            return Err(E2BIG);
        }
        if self.pools.iter().any(|pool| pool.label().name == creation.name) || self.is_uuid_taken(&creation.uuid) {
            return Err(EEXIST);
        }
        self.pools.reserve(1, GFP_KERNEL)?;
        let version = self.active().ok_or(ENODEV)?;
        let label = Label { name: creation.name, engine: version, target: creation.target };
        let notices = Notices::new(creation.uuid, label)?;
        let room = uapi::STOR_MAX_LOWERS as usize;
        let lowers = open_lowers(&creation.fds, !creation.read_only, &notices, room)?;
        let engine = self.engine(&version).ok_or(ENODEV)?;
        self.check_awake(&lowers)?;
        let object = prepare(engine, &notices, &creation.config, &lowers, creation.read_only)?;
        object.load()?;
        let sequence = self.next_sequence();
        let entry = Entry {
            notices,
            read_only: creation.read_only,
            config: creation.config,
            lowers,
            engine: Some(version),
            object: Some(object),
            sequence,
        };
        entry.notices.emit(uapi::STOR_EVENT_POOL_CREATED, 0);
        self.pools.push(entry, GFP_KERNEL)?;
        self.changed();
        Ok(())
    }

    /// EBUSY if it has volumes; what the engine says if it cannot write its state.
    pub fn remove_pool(&mut self, uuid: &[u8; 16]) -> Result {
        let index = self.pool_position(uuid)?;
        if self.volumes().iter().any(|volume| volume.pool == *uuid) {
            return Err(EBUSY);
        }
        self.check_awake(&self.pools.get(index).ok_or(ENXIO)?.lowers)?;
        let entry = self.pools.remove(index).map_err(|_| ENXIO)?;
        let notices = entry.notices.clone();
        drop(entry);
        notices.emit(uapi::STOR_EVENT_POOL_REMOVED, 0);
        self.changed();
        Ok(())
    }

    /// More lowers, and another configuration.
    pub fn reload_pool(&mut self, uuid: &[u8; 16], fds: &[i32], config: KVVec<u8>) -> Result {
        let index = self.pool_position(uuid)?;
        let entry = self.pools.get(index).ok_or(ENXIO)?;
        let object = entry.object()?.clone();
        // The same holder may open a device again: so it shows which of them are those that the pool has.
        let given = open_lowers(fds, !entry.read_only, &entry.notices, fds.len())?;
        let had = entry.lowers.count();
        if given.count() < had || entry.lowers.iter().zip(given.iter()).any(|(old, new)| old.device() != new.device()) {
            return Err(ERANGE);
        }
        if given.count() > uapi::STOR_MAX_LOWERS as usize {
            return Err(E2BIG);
        }
        for lower in given.iter().skip(had) {
            self.check_depends(lower.device(), uuid)?;
        }
        drop(given);
        let entry = self.pools.get_mut(index).ok_or(ENXIO)?;
        // Should the engine refuse, a device that was added stays open until the pool goes, and is used by nothing.
        for &fd in fds.get(had..).unwrap_or_default() {
            entry.lowers.push(Lower::open(fd, !entry.read_only, &entry.notices)?)?;
        }
        let below = Below { lowers: &entry.lowers, origin: &*none()? };
        config_of(&entry.notices, 0, &config, &below, entry.read_only, core::ptr::null_mut(), |config| {
            object.reload(config)
        })?;
        entry.config = config;
        entry.notices.emit(uapi::STOR_EVENT_POOL_RELOADED, 0);
        self.changed();
        Ok(())
    }

    pub fn rename_pool(&mut self, uuid: &[u8; 16], name: [u8; uapi::STOR_NAME_LEN as usize]) -> Result {
        let index = self.pool_position(uuid)?;
        if self.pools.iter().any(|pool| pool.label().name == name) {
            return Err(EEXIST);
        }
        let entry = self.pools.get(index).ok_or(ENXIO)?;
        entry.notices.set_label(Label { name, ..entry.label() });
        entry.notices.emit(uapi::STOR_EVENT_RENAMED, 0);
        self.changed();
        Ok(())
    }
}
