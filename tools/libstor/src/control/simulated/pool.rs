// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Pools of a simulated kernel. Their metadata is real: each call opens it, changes it, and commits.

use super::{errno, Recorded, Simulated, State, Volume, MAJOR};
use crate::control::pool::{
    Changed, PoolCreate, PoolDevice, PoolFacts, PoolInfo, PoolStatus, PoolTable, Pools, Transaction,
};
use crate::control::{Answer, Table};
use crate::device::{Number, Plain};
use crate::pool::area::{Area, Part};
use crate::pool::config::{self, Config};
use crate::volume::Lower;
use crate::{Bytes, Uuid};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use stor_pure::abi::uapi::*;
use stor_pure::pure::text;
use stor_pure::pure::thin::device::Deletion;
use stor_pure::pure::thin::error::Error as Cause;
use stor_pure::pure::thin::pool::{Options, Pool as Engine};
use stor_pure::pure::thin::superblock::{Refusal, LAST_TIME};
use stor_pure::pure::units::{VirtualBlock, SECTOR_SIZE};

const OPTIONS: Options = Options { frames: 256, streams: 1, passdown: false };
/// Mappings that a step of a deletion gives up.
const STEP: u64 = 10_000;
const BLOCK: u64 = 4096;

/// A pool.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pool {
    pub(super) name: String,
    pub(super) uuid: Uuid,
    pub(super) engine: Option<String>,
    pub(super) lowers: Vec<Number>,
    read_only: bool,
    config: Config,
    /// Devices that are to be deleted.
    deleting: Vec<u64>,
    commits: u64,
}

/// What a volume has in its pool.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Thin {
    pub(super) pool: Uuid,
    #[serde(with = "crate::linear::raw")]
    pub(super) size: Bytes,
    pub(super) config: config::Thin,
    /// What somebody has written and the pool has not mapped yet: begins and lengths. Set by whoever tries something out.
    wrote: Vec<(u64, u64)>,
    /// Since when writes wait for room.
    pub(super) stuck: Option<u64>,
}

/// What the kernel says of an error of the engine.
fn why(cause: Cause) -> Errno {
    match cause {
        Cause::NoDevice(_) | Cause::NotHeld => Errno::ENOENT,
        Cause::DeviceExists(_) | Cause::Held(_) => Errno::EEXIST,
        Cause::DeviceId(_) => Errno::EINVAL,
        Cause::TransactionId(_) => Errno::ESTALE,
        Cause::MetadataFull | Cause::DataFull | Cause::ClockEnd => Errno::ENOSPC,
        Cause::NeedsCheck | Cause::ReadOnly => Errno::EROFS,
        Cause::Refused(Refusal::Magic(_)) => Errno::EILSEQ,
        Cause::Refused(Refusal::ReadOnly(_)) => Errno::EROFS,
        Cause::Refused(_) => Errno::EPROTO,
        Cause::Damaged(..) | Cause::Truncated { .. } => Errno::EUCLEAN,
        _ => Errno::EIO,
    }
}

impl State {
    /// The file with what a device holds.
    pub(super) fn backing(&self, number: Number) -> Answer<PathBuf> {
        let number = self.first_lower(number).unwrap_or(number);
        let device = self.devices.get(number.minor as usize).filter(|_| number.major == MAJOR - 1);
        let device = device.ok_or(Errno::EOPNOTSUPP)?;
        let failed = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32));
        fs::create_dir_all(&self.folder).map_err(failed)?;
        let path = self.folder.join(number.minor.to_string());
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() != device.size {
            file.set_len(device.size).map_err(failed)?;
        }
        Ok(path)
    }

    fn find_pool(&self, uuid: Uuid) -> Answer<&Pool> {
        self.pools.iter().find(|pool| pool.uuid == uuid).ok_or(Errno::ENXIO)
    }

    fn pool_mut(&mut self, uuid: Uuid) -> Answer<&mut Pool> {
        self.pools.iter_mut().find(|pool| pool.uuid == uuid).ok_or(Errno::ENXIO)
    }

    /// Does something with the metadata of a pool.
    fn engine<T>(
        &self,
        pool: &Pool,
        call: impl FnOnce(&mut Engine<Area>) -> std::result::Result<T, Cause>,
    ) -> Answer<T> {
        let part = |segment: &crate::linear::Segment| {
            let lower = pool.lowers.get(segment.lower as usize).ok_or(Errno::EINVAL)?;
            let file = OpenOptions::new().read(true).write(true).open(self.backing(*lower)?);
            let content = Rc::new(Plain::Free(file.map_err(|_| Errno::EIO)?));
            Ok(Part { content, start: segment.lower_start.0, length: segment.length.0 })
        };
        let area = Area::new(pool.config.metadata.iter().map(part).collect::<Answer<_>>()?);
        let open = if pool.read_only { Engine::open_read_only } else { Engine::open };
        let mut engine = open(area, OPTIONS).map_err(why)?;
        if u64::from(engine.data_block_size()) * SECTOR_SIZE != u64::from(pool.config.data_block_size) {
            return Err(Errno::EILSEQ);
        }
        call(&mut engine).map_err(why)
    }

    /// What a pool is made of, checked as the kernel does.
    fn pool_table(&self, table: &PoolTable<'_>, read_only: bool, of: Option<Uuid>) -> Answer<(Vec<Number>, Config)> {
        if table.lowers.len() > STOR_MAX_LOWERS as usize || table.config.len() > STOR_MAX_CONFIG as usize {
            return Err(Errno::E2BIG);
        }
        let config = Config::decode(table.config).ok_or(Errno::EINVAL)?;
        for lower in table.lowers {
            let device = self.device(lower.number).ok_or(Errno::EBADF)?;
            if self.gone(device.number) {
                return Err(Errno::ENODEV);
            }
            if self.user(device.number, of).is_some() {
                return Err(Errno::EBUSY);
            }
            if device.read_only && !read_only {
                return Err(Errno::EROFS);
            }
        }
        for list in [&config.metadata, &config.data] {
            let mut next = 0;
            for segment in list {
                let lower = table.lowers.get(segment.lower as usize).ok_or(Errno::EINVAL)?;
                if segment.start.0 != next || segment.length.0 == 0 {
                    return Err(Errno::EINVAL);
                }
                next = next.checked_add(segment.length.0).ok_or(Errno::EINVAL)?;
                let end = segment.lower_start.0.checked_add(segment.length.0).ok_or(Errno::EINVAL)?;
                if self.device(lower.number).is_none_or(|device| end > device.size.0) {
                    return Err(Errno::ENOSPC);
                }
            }
            if list.is_empty() {
                return Err(Errno::EINVAL);
            }
        }
        Ok((table.lowers.iter().map(|lower| lower.number).collect(), config))
    }

    /// Takes in what the devices of a pool have become larger by.
    fn grow(&self, pool: &Pool) -> Answer<()> {
        self.engine(pool, |engine| {
            let blocks = config::length(&pool.config.data).0 / u64::from(pool.config.data_block_size).max(1);
            if pool.read_only || engine.needs_check() {
                return Ok(());
            }
            match blocks.cmp(&engine.data_blocks()) {
                Ordering::Greater => engine.grow_data(blocks)?,
                Ordering::Less => return Err(Cause::Truncated { blocks: engine.data_blocks(), device: blocks }),
                Ordering::Equal => {}
            }
            match engine.grow_metadata() {
                Ok(()) | Err(Cause::MetadataFull) => {}
                Err(error) => return Err(error),
            }
            engine.commit()
        })
    }

    /// What a volume is to be in its pool.
    pub(super) fn thin(&self, pool: Uuid, table: &Table<'_>, of: Option<&Volume>) -> Answer<Thin> {
        let pool = self.find_pool(pool)?;
        let config = config::Thin::decode(table.config).ok_or(Errno::EINVAL)?;
        // One to be read where it has nothing of its own; a table that changes has none.
        if table.lowers.len() > usize::from(of.is_none()) {
            return Err(Errno::EINVAL);
        }
        for lower in table.lowers {
            if self.gone(lower.number) {
                return Err(Errno::ENODEV);
            }
            let plain = self.volumes.iter().any(|other| other.thin.is_none() && other.lowers.contains(&lower.number));
            if plain || self.pools.iter().any(|pool| pool.lowers.contains(&lower.number)) {
                return Err(Errno::EBUSY);
            }
        }
        let same = |other: &&Volume| {
            let thin = other.thin.as_ref();
            thin.is_some_and(|thin| thin.pool == pool.uuid && thin.config.device == config.device)
        };
        let other = self.volumes.iter().find(same).filter(|other| of.is_none_or(|of| of.uuid != other.uuid));
        if other.is_some() || pool.deleting.contains(&config.device) {
            return Err(Errno::EBUSY);
        }
        self.engine(pool, |engine| engine.details(config.device))?;
        let old = of.and_then(|volume| volume.thin.clone());
        let (wrote, stuck) = old.map_or((Vec::new(), None), |thin| (thin.wrote, thin.stuck));
        Ok(Thin { pool: pool.uuid, size: table.size, config, wrote, stuck })
    }

    pub(super) fn rename_pool(&mut self, uuid: Uuid, name: &str) -> Answer<()> {
        if self.pools.iter().any(|other| other.name == name && other.uuid != uuid) {
            return Err(Errno::EEXIST);
        }
        self.pool_mut(uuid)?.name = name.into();
        self.pool_event(STOR_EVENT_RENAMED, 0, uuid);
        Ok(())
    }

    fn pool_event(&mut self, kind: u32, value: u64, uuid: Uuid) {
        self.now += 1_000_000;
        let sequence = self.events.last().map_or(1, |event| event.sequence + 1);
        let name = self.find_pool(uuid).map(|pool| pool.name.clone()).unwrap_or_default();
        self.events.push(Recorded { sequence, time: self.now, kind, value, uuid, name });
    }

    /// Does what a kernel does in the background: maps what was written, deletes devices.
    pub(super) fn settle(&mut self) {
        for index in 0..self.volumes.len() {
            let Some(Volume { thin: Some(thin), .. }) = self.volumes.get(index) else { continue };
            let (thin, pool) = (thin.clone(), self.find_pool(thin.pool).cloned());
            let Ok(pool) = pool else { continue };
            if thin.wrote.is_empty() {
                continue;
            }
            let full = self.engine(&pool, |engine| map(engine, &thin));
            self.now += 1_000_000;
            let now = self.now;
            if let Some(Volume { thin: Some(thin), .. }) = self.volumes.get_mut(index) {
                match full {
                    Ok(false) => (thin.wrote, thin.stuck) = (Vec::new(), None),
                    _ => thin.stuck = thin.stuck.or(Some(now)),
                }
            }
        }
        if self.no_deletion {
            return;
        }
        for pool in self.pools.clone() {
            for device in &pool.deleting {
                let deleted = self.engine(&pool, |engine| {
                    while engine.delete(*device, STEP)? == Deletion::Unfinished {
                        engine.commit()?;
                    }
                    engine.commit()
                });
                if matches!(deleted, Ok(()) | Err(Errno::ENOENT)) {
                    if let Ok(pool) = self.pool_mut(pool.uuid) {
                        pool.deleting.retain(|other| other != device);
                    }
                    self.pool_event(STOR_EVENT_POOL_DELETED, *device, pool.uuid);
                }
            }
        }
    }

    /// Unmaps whole blocks of an active volume.
    pub(super) fn discard(&mut self, path: &Path, begin: u64, end: u64) -> Answer<()> {
        let node = |volume: &&Volume| Path::new(&format!("/dev/stor{}", volume.index)) == path;
        let volume = self.volumes.iter().find(node).ok_or(Errno::ENXIO)?;
        let thin = volume.thin.clone().ok_or(Errno::EOPNOTSUPP)?;
        let pool = self.find_pool(thin.pool)?.clone();
        self.engine(&pool, |engine| {
            let block = u64::from(engine.data_block_size()) * SECTOR_SIZE;
            let mut next = Some(VirtualBlock(begin.div_ceil(block)));
            while let Some(first) = next.filter(|first| first.0 < end / block) {
                next = engine.remove(thin.config.device, first, VirtualBlock(end / block), STEP)?.next;
                engine.commit()?;
            }
            Ok(())
        })
    }

    fn facts(&self, pool: &Pool) -> Answer<PoolFacts> {
        let stuck = |volume: &Volume| volume.thin.as_ref().filter(|thin| thin.pool == pool.uuid)?.stuck;
        let stuck: Vec<u64> = self.volumes.iter().filter_map(stuck).collect();
        self.engine(pool, |engine| {
            let block = u64::from(pool.config.data_block_size);
            let full = engine.data_used() >= engine.data_blocks();
            let needs_check = engine.needs_check();
            let flags = [(STOR_POOL_NEEDS_CHECK, needs_check), (STOR_POOL_OPENED_READ_ONLY, pool.read_only)];
            Ok(PoolFacts {
                mode: match (pool.read_only || needs_check, full) {
                    (true, _) => STOR_POOL_STUCK,
                    (false, true) => STOR_POOL_DATA_FULL,
                    (false, false) => STOR_POOL_WRITE,
                },
                flags: flags.iter().filter(|(_, set)| *set).fold(0, |all, (flag, _)| all | flag),
                data_size: Bytes(engine.data_blocks() * block),
                data_used: Bytes(engine.data_used() * block),
                metadata_size: Bytes(engine.metadata_blocks() * BLOCK),
                metadata_used: Bytes((engine.metadata_blocks() - engine.metadata_free()) * BLOCK),
                metadata_reserve: Bytes(engine.reserve() * BLOCK),
                transaction: engine.transaction_id(),
                held_root: engine.held_root().map_or(0, |at| at.0),
                snapshots_left: u64::from(LAST_TIME.saturating_sub(engine.time())),
                deleting: pool.deleting.len() as u64,
                waiting: stuck.len() as u64,
                wait_since: stuck.iter().copied().min().unwrap_or(0),
                memory: Bytes(256 * BLOCK),
                commits: pool.commits,
                wait: if stuck.is_empty() { STOR_WAIT_NONE } else { STOR_WAIT_DATA_FULL },
                last_error: 0,
            })
        })
    }

    fn pool_info(&self, pool: &Pool) -> PoolInfo {
        let bits = [
            (STOR_STATE_DEAD, pool.engine.is_none()),
            (STOR_STATE_READ_ONLY, pool.read_only),
            (STOR_STATE_LOWER_GONE, pool.lowers.iter().any(|&lower| self.gone(lower))),
        ];
        let volumes =
            self.volumes.iter().filter(|volume| volume.thin.as_ref().is_some_and(|thin| thin.pool == pool.uuid));
        PoolInfo {
            uuid: pool.uuid,
            name: pool.name.clone(),
            target: "thin".into(),
            engine: pool.engine.clone(),
            state: bits.iter().filter(|(_, set)| *set).fold(0, |state, (bit, _)| state | bit),
            volumes: volumes.count() as u32,
            lower_count: pool.lowers.len() as u32,
        }
    }
}

/// Blocks that are mapped in one go.
const RUN: u64 = 1024;

/// Maps what was written to a volume; whether there was no room for some of it.
fn map(engine: &mut Engine<Area>, thin: &Thin) -> std::result::Result<bool, Cause> {
    let (block, id) = (u64::from(engine.data_block_size()) * SECTOR_SIZE, thin.config.device);
    if thin.stuck.is_some() && engine.data_used() >= engine.data_blocks() {
        return Ok(true);
    }
    for &(begin, length) in &thin.wrote {
        let end = begin.saturating_add(length).min(thin.size.0).div_ceil(block);
        let mut at = begin / block;
        while at < end {
            let mut free = 0;
            while free < RUN && at + free < end {
                if engine.lookup(id, VirtualBlock(at + free))?.is_some_and(|run| !run.shared) {
                    break;
                }
                free += 1;
            }
            if free == 0 {
                at += 1;
                continue;
            }
            let run = match engine.take_data(0, free) {
                Err(Cause::CommitFirst) => {
                    engine.commit()?;
                    engine.take_data(0, free)
                }
                run => run,
            };
            match run {
                Ok(run) => {
                    engine.insert(id, VirtualBlock(at), run)?;
                    at += run.len();
                }
                Err(Cause::DataFull) => {
                    engine.commit()?;
                    return Ok(true);
                }
                Err(error) => return Err(error),
            }
        }
    }
    engine.commit()?;
    Ok(false)
}

/// What a transaction does, without its commit.
fn change(engine: &mut Engine<Area>, transaction: &Transaction<'_>) -> std::result::Result<Changed, Cause> {
    let mut changed = Changed::default();
    // Before it, the id has to be right; what goes wrong then is never committed.
    engine.set_transaction_id(transaction.old, transaction.new)?;
    match transaction.change {
        STOR_POOL_CHANGE_CREATE => {
            transaction.items.iter().try_for_each(|item| engine.create_thin(item.device))?;
        }
        STOR_POOL_CHANGE_SNAPSHOT => {
            let pairs: Vec<_> = transaction.items.iter().map(|item| (item.device, item.origin)).collect();
            engine.create_snapshots(&pairs)?;
            changed.pause = Duration::from_micros(700);
        }
        STOR_POOL_CHANGE_HOLD => changed.held_root = engine.reserve_snapshot()?.0,
        STOR_POOL_CHANGE_RELEASE => engine.release_snapshot()?,
        _ => {}
    }
    engine.commit()?;
    Ok(changed)
}

impl Pools for Simulated {
    fn pool_create(&self, create: &PoolCreate<'_>) -> Answer<()> {
        self.call("pool_create", |state| {
            text::check(create.name.as_bytes(), STOR_NAME_LEN as usize).map_err(|error| errno(error.errno()))?;
            if create.uuid.is_nil() {
                return Err(Errno::EINVAL);
            }
            if create.target != "thin" {
                return Err(Errno::EOPNOTSUPP);
            }
            let active = state.engines.iter().find(|engine| engine.active).ok_or(Errno::ENODEV)?;
            let engine = Some(active.version.clone());
            if state.pools.iter().any(|other| other.name == create.name) || !state.is_free(create.uuid) {
                return Err(Errno::EEXIST);
            }
            let (lowers, config) = state.pool_table(&create.table, create.read_only, None)?;
            let pool = Pool {
                name: create.name.into(),
                uuid: create.uuid,
                engine,
                lowers,
                read_only: create.read_only,
                config,
                deleting: Vec::new(),
                commits: 0,
            };
            state.grow(&pool)?;
            state.pools.push(pool);
            state.pool_event(STOR_EVENT_POOL_CREATED, 0, create.uuid);
            Ok(())
        })
    }

    fn pool_remove(&self, uuid: Uuid) -> Answer<()> {
        self.call("pool_remove", |state| {
            let pool = state.find_pool(uuid)?.clone();
            if state.pool_info(&pool).volumes > 0 {
                return Err(Errno::EBUSY);
            }
            state.pool_event(STOR_EVENT_POOL_REMOVED, 0, uuid);
            state.pools.retain(|other| other.uuid != uuid);
            Ok(())
        })
    }

    fn pool_reload(&self, uuid: Uuid, table: &PoolTable<'_>) -> Answer<()> {
        self.call("pool_reload", |state| {
            let pool = state.find_pool(uuid)?.clone();
            let (lowers, config) = state.pool_table(table, pool.read_only, Some(uuid))?;
            let longer = |old: &[crate::linear::Segment], new: &[crate::linear::Segment]| {
                let fits = |(old, new): (&crate::linear::Segment, &crate::linear::Segment)| {
                    (old.start, old.lower, old.lower_start) == (new.start, new.lower, new.lower_start)
                        && new.length >= old.length
                };
                new.len() >= old.len() && old.iter().zip(new).all(fits)
            };
            let same = config.data_block_size == pool.config.data_block_size && lowers.starts_with(&pool.lowers);
            if !same || !longer(&pool.config.metadata, &config.metadata) || !longer(&pool.config.data, &config.data) {
                return Err(Errno::ERANGE);
            }
            let pool = Pool { lowers, config, ..pool };
            state.grow(&pool)?;
            *state.pool_mut(uuid)? = pool;
            state.pool_event(STOR_EVENT_POOL_RELOADED, 0, uuid);
            Ok(())
        })
    }

    fn pool_list(&self) -> Answer<Vec<PoolInfo>> {
        self.with(|state| Ok(state.pools.iter().map(|pool| state.pool_info(pool)).collect()))
    }

    fn pool_status(&self, uuid: Uuid) -> Answer<PoolStatus> {
        self.call("pool_status", |state| {
            let pool = state.find_pool(uuid)?;
            let lower = |&number: &Number| {
                let device = state.device(number)?;
                let disk = device.path.file_name()?.to_string_lossy().into_owned();
                Some(Lower { disk, number, size: device.size, gone: state.gone(number) })
            };
            Ok(PoolStatus {
                info: state.pool_info(pool),
                facts: state.facts(pool)?,
                lowers: pool.lowers.iter().filter_map(lower).collect(),
                config: pool.config.encode(),
            })
        })
    }

    fn pool_change(&self, uuid: Uuid, transaction: &Transaction<'_>) -> Answer<Changed> {
        self.call("pool_change", |state| {
            let pool = state.find_pool(uuid)?.clone();
            if transaction.items.len() > STOR_MAX_ITEMS as usize {
                return Err(Errno::E2BIG);
            }
            if transaction.change > STOR_POOL_CHANGE_CHECKED {
                return Err(Errno::EINVAL);
            }
            let used = |device: u64| {
                let is = |thin: &Thin| thin.pool == uuid && thin.config.device == device;
                state.volumes.iter().any(|volume| volume.thin.as_ref().is_some_and(is))
            };
            let deletes = transaction.change == STOR_POOL_CHANGE_DELETE;
            if deletes && transaction.items.iter().any(|item| used(item.device)) {
                return Err(Errno::EBUSY);
            }
            if transaction.change == STOR_POOL_CHANGE_CHECKED {
                state.engine(&pool, |engine| engine.set_needs_check(false))?;
                return Ok(Changed::default());
            }
            let changed = state.engine(&pool, |engine| change(engine, transaction))?;
            let pool = state.pool_mut(uuid)?;
            pool.commits += 1;
            if deletes {
                pool.deleting.extend(transaction.items.iter().map(|item| item.device));
            }
            state.settle();
            Ok(changed)
        })
    }

    fn pool_device(&self, uuid: Uuid, device: u64, exclusive: bool) -> Answer<PoolDevice> {
        self.call("pool_device", |state| {
            let pool = state.find_pool(uuid)?;
            let block = u64::from(pool.config.data_block_size);
            state.engine(pool, |engine| {
                let details = engine.details(device)?;
                let only = if exclusive { engine.exclusive(device)? } else { 0 };
                Ok(PoolDevice {
                    mapped: Bytes(details.mapped_blocks.get() * block),
                    exclusive: Bytes(only * block),
                    transaction: details.transaction_id.get(),
                    created: details.creation_time.get(),
                    snapshotted: details.snapshotted_time.get(),
                    no_room: false,
                })
            })
        })
    }
}
