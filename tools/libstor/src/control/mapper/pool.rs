// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Pools by dm-linear and dm-thin-pool.

use super::dmsetup::{list, pool_line, run, Mapped};
use super::{ids, Mapper, ENGINE, PREFIX};
use crate::control::pool::{
    Changed, PoolCreate, PoolDevice, PoolFacts, PoolInfo, PoolStatus, PoolTable, Pools, Transaction,
};
use crate::control::Answer;
use crate::device::Device;
use crate::linear::Segment;
use crate::metadata::FileStore;
use crate::pool::config::{length, Config};
use crate::{Bytes, Uuid};
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;
use stor_pure::abi::uapi::*;
use stor_pure::pure::thin::block::BLOCK_SIZE;
use stor_pure::pure::thin::cache::FRAMES_MIN;
use stor_pure::pure::thin::reader::Reader;
use stor_pure::pure::thin::superblock::LAST_TIME;
use stor_pure::pure::thin::value::Details;
use stor_pure::pure::units::SECTOR_SIZE;

/// The parts of a pool, lower ones first.
const PARTS: [&str; 3] = ["meta", "data", "pool"];

/// The name of a part. That of a volume has a hyphen that is not one of two; a part's has none, so they are never the same.
fn name(pool: &str, part: &str) -> String {
    format!("{}_t{part}", pool.replace('-', "--"))
}

fn uuid(pool: Uuid, part: &str) -> String {
    format!("{PREFIX}{}-{part}", pool.simple())
}

/// The table of an area.
fn linear(segments: &[Segment], table: &PoolTable<'_>) -> Answer<String> {
    let mut lines = String::new();
    for segment in segments {
        let lower = table.lowers.get(segment.lower as usize).ok_or(Errno::EINVAL)?;
        let [start, length, from] =
            [segment.start, segment.length, segment.lower_start].map(|size| size.0 / SECTOR_SIZE);
        lines += &format!("{start} {length} linear {} {from}\n", lower.number);
    }
    Ok(lines)
}

/// The table of the pool itself.
fn thin_pool(config: &Config, read_only: bool, meta: &str, data: &str) -> String {
    let block = u64::from(config.data_block_size).max(SECTOR_SIZE);
    let sectors = length(&config.data).0 / block * block / SECTOR_SIZE;
    let mut features = Vec::new();
    if config.flags & STOR_POOL_NO_ZERO != 0 {
        features.push("skip_block_zeroing");
    }
    if config.flags & STOR_POOL_NO_PASSDOWN != 0 {
        features.push("no_discard_passdown");
    }
    if matches!(config.policy, STOR_POLICY_ERROR | STOR_POLICY_READ_ONLY) {
        features.push("error_if_no_space");
    }
    if read_only {
        features.push("read_only");
    }
    let (block_sectors, low_water) = (block / SECTOR_SIZE, config.low_water / block);
    let (count, features) = (features.len(), features.join(" "));
    format!("0 {sectors} thin-pool {meta} {data} {block_sectors} {low_water} {count} {features}\n")
}

/// Mapped devices by name, with their tables in which devices are paths: those of a pool, then its volumes, of which name, size
/// and device id are given.
pub(crate) fn tables(
    pool: &str,
    config: &Config,
    devices: &[Device],
    volumes: impl Iterator<Item = (String, Bytes, u64, Option<String>)>,
) -> Vec<(String, String)> {
    let part = |part: &str| format!("/dev/mapper/{}", name(pool, part));
    let mut tables = Vec::new();
    for (part, segments) in [("meta", &config.metadata), ("data", &config.data)] {
        let line = |segment: &Segment| {
            let device = devices.get(segment.lower as usize)?.path.display();
            let [start, length, from] =
                [segment.start, segment.length, segment.lower_start].map(|size| size.0 / SECTOR_SIZE);
            Some(format!("{start} {length} linear {device} {from}"))
        };
        tables.push((name(pool, part), segments.iter().filter_map(line).collect::<Vec<_>>().join("\n")));
    }
    tables.push((name(pool, "pool"), thin_pool(config, false, &part("meta"), &part("data")).trim_end().into()));
    for (volume, size, device, origin) in volumes {
        let origin = origin.map(|origin| format!(" {origin}")).unwrap_or_default();
        tables.push((volume, format!("0 {} thin {} {device}{origin}", size.0 / SECTOR_SIZE, part("pool"))));
    }
    tables
}

impl Mapper {
    fn part(&self, pool: Uuid, part: &str) -> Answer<Mapped> {
        let uuid = uuid(pool, part);
        list(&uuid)?.into_iter().find(|one| one.uuid == uuid).ok_or(Errno::ENXIO)
    }

    /// The mapped device of a pool.
    pub(super) fn mapped(&self, pool: Uuid) -> Answer<Mapped> {
        self.part(pool, "pool")
    }

    fn message(&self, pool: &str, message: &str) -> Answer<()> {
        run(&["message", pool, "0", message], "").map(drop)
    }

    fn pool_info(&self, one: &Mapped, all: &[Mapped]) -> Answer<PoolInfo> {
        let id = one.uuid.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix("-pool"));
        let id = id.and_then(|id| Uuid::try_parse(id).ok()).ok_or(Errno::EIO)?;
        let name = one.name.strip_suffix("_tpool").unwrap_or(&one.name).replace("--", "-");
        let volumes = all.iter().filter(|other| ids(&other.uuid).is_some_and(|(pool, _)| pool == id)).count();
        Ok(PoolInfo {
            uuid: id,
            name,
            target: "thin".into(),
            engine: Some(ENGINE.into()),
            state: if one.suspended { STOR_STATE_SUSPENDED } else { 0 },
            volumes: u32::try_from(volumes).unwrap_or(u32::MAX),
            lower_count: 2,
        })
    }

    /// Removes what there is of a pool, upper parts first.
    fn take_down(&self, pool: Uuid) -> Answer<()> {
        for part in PARTS.iter().rev() {
            match self.part(pool, part) {
                Ok(one) => run(&["remove", "--retry", &one.name], "").map(drop)?,
                Err(Errno::ENXIO) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn build(&self, create: &PoolCreate<'_>, config: &Config) -> Answer<()> {
        for (part, segments) in [("meta", &config.metadata), ("data", &config.data)] {
            let table = linear(segments, &create.table)?;
            run(&["create", &name(create.name, part), "--uuid", &uuid(create.uuid, part)], &table)?;
        }
        let (meta, data) = (self.part(create.uuid, "meta")?, self.part(create.uuid, "data")?);
        let [meta, data] = [meta, data].map(|part| part.number.to_string());
        let table = thin_pool(config, create.read_only, &meta, &data);
        run(&["create", &name(create.name, "pool"), "--uuid", &uuid(create.uuid, "pool")], &table).map(drop)
    }

    /// The devices of a pool, from a metadata snapshot that is taken for that.
    fn devices(&self, pool: Uuid) -> Answer<BTreeMap<u64, Details>> {
        if let Some(known) = self.known.borrow().get(&pool) {
            return Ok(known.clone());
        }
        let (one, meta) = (self.mapped(pool)?, self.part(pool, "meta")?);
        self.message(&one.name, "reserve_metadata_snap")?;
        let read = || -> Option<BTreeMap<u64, Details>> {
            let store = FileStore::open(Path::new(&format!("/dev/mapper/{}", meta.name)), false).ok()?;
            let mut devices = BTreeMap::new();
            let mut reader = Reader::open(store, FRAMES_MIN, true).ok()?;
            reader
                .devices(&mut |device| {
                    devices.insert(device.id, device.details);
                    ControlFlow::Continue(())
                })
                .ok()?;
            Some(devices)
        };
        let devices = read();
        self.message(&one.name, "release_metadata_snap")?;
        let devices = devices.ok_or(Errno::EIO)?;
        self.known.borrow_mut().insert(pool, devices.clone());
        Ok(devices)
    }

    /// Makes snapshots with their origins suspended, so that all are of one instant.
    fn snapshots(&self, pool: &Mapped, id: Uuid, transaction: &Transaction<'_>) -> Answer<Changed> {
        let mut origins = Vec::new();
        for one in list(PREFIX)?.into_iter().filter(|one| ids(&one.uuid).is_some_and(|(of, _)| of == id)) {
            let device = self.table(&one.name)?.1;
            if !one.suspended && transaction.items.iter().any(|item| item.origin == device) {
                origins.push(one.name);
            }
        }
        let begun = Instant::now();
        let mut done = origins.iter().try_for_each(|name| run(&["suspend", name], "").map(drop));
        if done.is_ok() {
            done = self.make(pool, transaction, |item| format!("create_snap {} {}", item.device, item.origin));
        }
        for name in &origins {
            let resumed = run(&["resume", name], "").map(drop);
            done = done.and(resumed);
        }
        let pause = if origins.is_empty() { std::time::Duration::ZERO } else { begun.elapsed() };
        done.map(|()| Changed { held_root: 0, pause })
    }

    /// Makes devices, all or none.
    fn make(
        &self,
        pool: &Mapped,
        transaction: &Transaction<'_>,
        message: impl Fn(&crate::control::pool::Item) -> String,
    ) -> Answer<()> {
        for (index, item) in transaction.items.iter().enumerate() {
            let Err(errno) = self.message(&pool.name, &message(item)) else { continue };
            for made in transaction.items.get(..index).unwrap_or_default() {
                // What stays is removed by the next command: the intent names it.
                let _ = self.message(&pool.name, &format!("delete {}", made.device));
            }
            return Err(errno);
        }
        Ok(())
    }
}

impl Pools for Mapper {
    fn pool_create(&self, create: &PoolCreate<'_>) -> Answer<()> {
        let config = Config::decode(create.table.config).ok_or(Errno::EINVAL)?;
        self.build(create, &config).inspect_err(|_| {
            // What counts is why it could not be made.
            let _ = self.take_down(create.uuid);
        })
    }

    fn pool_remove(&self, uuid: Uuid) -> Answer<()> {
        self.take_down(uuid)
    }

    fn pool_reload(&self, uuid: Uuid, table: &PoolTable<'_>) -> Answer<()> {
        let config = Config::decode(table.config).ok_or(Errno::EINVAL)?;
        let (meta, data, pool) = (self.part(uuid, "meta")?, self.part(uuid, "data")?, self.mapped(uuid)?);
        for (one, segments) in [(&meta, &config.metadata), (&data, &config.data)] {
            run(&["load", &one.name], &linear(segments, table)?)?;
            run(&["resume", &one.name], "")?;
        }
        let [meta, data] = [meta, data].map(|part| part.number.to_string());
        run(&["load", &pool.name], &thin_pool(&config, pool.read_only, &meta, &data))?;
        run(&["resume", &pool.name], "").map(drop)
    }

    fn pool_list(&self) -> Answer<Vec<PoolInfo>> {
        let all = list(PREFIX)?;
        all.iter().filter(|one| one.uuid.ends_with("-pool")).map(|one| self.pool_info(one, &all)).collect()
    }

    fn pool_status(&self, uuid: Uuid) -> Answer<PoolStatus> {
        let one = self.mapped(uuid)?;
        let line = pool_line(&run(&["status", &one.name], "")?).ok_or(Errno::EIO)?;
        let table = run(&["table", &one.name], "")?;
        // Start, length, target, metadata, data, sectors of a block.
        let block =
            table.split_whitespace().nth(5).and_then(|sectors| sectors.parse::<u64>().ok()).ok_or(Errno::EIO)?;
        let data = |blocks: u64| Bytes(blocks.saturating_mul(block).saturating_mul(SECTOR_SIZE));
        let metadata = |blocks: u64| Bytes(blocks.saturating_mul(BLOCK_SIZE as u64));
        let asked = table.split_whitespace().any(|word| word == "read_only");
        let flags = [(STOR_POOL_NEEDS_CHECK, line.needs_check), (STOR_POOL_OPENED_READ_ONLY, asked)];
        let facts = PoolFacts {
            mode: match (line.failed, line.read_only, line.out_of_data) {
                (true, ..) => STOR_POOL_FAILED,
                (_, true, _) => STOR_POOL_STUCK,
                (_, _, true) => STOR_POOL_DATA_FULL,
                _ => STOR_POOL_WRITE,
            },
            flags: flags.iter().filter(|(_, set)| *set).fold(0, |all, (flag, _)| all | flag),
            data_size: data(line.data.1),
            data_used: data(line.data.0),
            metadata_size: metadata(line.metadata.1),
            metadata_used: metadata(line.metadata.0),
            transaction: line.transaction,
            held_root: line.held_root,
            snapshots_left: u64::from(LAST_TIME),
            ..PoolFacts::default()
        };
        let info = self.pool_info(&one, &list(PREFIX)?)?;
        Ok(PoolStatus { info, facts, lowers: Vec::new(), config: Vec::new() })
    }

    fn pool_change(&self, uuid: Uuid, transaction: &Transaction<'_>) -> Answer<Changed> {
        let one = self.mapped(uuid)?;
        let status = self.pool_status(uuid)?;
        if status.facts.mode >= STOR_POOL_STUCK {
            return Err(Errno::EROFS);
        }
        if status.facts.transaction != transaction.old {
            return Err(Errno::ESTALE);
        }
        self.known.borrow_mut().remove(&uuid);
        let mut changed = Changed::default();
        match transaction.change {
            STOR_POOL_CHANGE_COMMIT => {}
            STOR_POOL_CHANGE_CREATE => self.make(&one, transaction, |item| format!("create_thin {}", item.device))?,
            STOR_POOL_CHANGE_SNAPSHOT => changed = self.snapshots(&one, uuid, transaction)?,
            STOR_POOL_CHANGE_DELETE => {
                for item in transaction.items {
                    match self.message(&one.name, &format!("delete {}", item.device)) {
                        Ok(()) | Err(Errno::ENOENT) => {}
                        Err(errno) => return Err(errno),
                    }
                }
            }
            STOR_POOL_CHANGE_HOLD => {
                self.message(&one.name, "reserve_metadata_snap").map_err(|errno| match errno {
                    Errno::EBUSY => Errno::EEXIST,
                    errno => errno,
                })?;
                changed.held_root = self.pool_status(uuid)?.facts.held_root;
            }
            STOR_POOL_CHANGE_RELEASE => self.message(&one.name, "release_metadata_snap")?,
            _ => return Err(Errno::EOPNOTSUPP),
        }
        if transaction.new != transaction.old {
            // Each message is a commit of its own: with the last, all of it counts.
            self.message(&one.name, &format!("set_transaction_id {} {}", transaction.old, transaction.new))?;
        }
        Ok(changed)
    }

    fn pool_device(&self, uuid: Uuid, device: u64, exclusive: bool) -> Answer<PoolDevice> {
        if exclusive {
            return Err(Errno::EOPNOTSUPP);
        }
        let table = run(&["table", &self.mapped(uuid)?.name], "")?;
        let block =
            table.split_whitespace().nth(5).and_then(|sectors| sectors.parse::<u64>().ok()).ok_or(Errno::EIO)?;
        let details = self.devices(uuid)?.get(&device).copied().ok_or(Errno::ENOENT)?;
        Ok(PoolDevice {
            mapped: Bytes(details.mapped_blocks.get().saturating_mul(block).saturating_mul(SECTOR_SIZE)),
            exclusive: Bytes(0),
            transaction: details.transaction_id.get(),
            created: details.creation_time.get(),
            snapshotted: details.snapshotted_time.get(),
            no_room: false,
        })
    }
}
