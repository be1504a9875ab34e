// SPDX-License-Identifier: GPL-2.0 OR MIT

//! This machine's pools: ioctls on `/dev/stor-control`.

use super::{descriptors, field, header, listed, lower, reference, string, Machine, ROOM};
use crate::control::pool::{
    Changed, PoolCreate, PoolDevice, PoolFacts, PoolInfo, PoolStatus, PoolTable, Pools, Transaction,
};
use crate::control::{sys, Answer};
use crate::{Bytes, Uuid};
use std::time::Duration;
use stor_pure::abi::uapi::*;
use zerocopy::FromZeros;

fn info(raw: &stor_pool_info) -> PoolInfo {
    PoolInfo {
        uuid: Uuid::from_bytes(raw.uuid),
        name: string(&raw.name),
        target: string(&raw.target),
        engine: Some(string(&raw.engine)).filter(|engine| !engine.is_empty()),
        state: raw.state,
        volumes: raw.volumes,
        lower_count: raw.lower_count,
    }
}

fn facts(raw: &stor_pool_facts) -> PoolFacts {
    PoolFacts {
        mode: raw.mode,
        flags: raw.flags,
        data_size: Bytes(raw.data_size),
        data_used: Bytes(raw.data_used),
        metadata_size: Bytes(raw.metadata_size),
        metadata_used: Bytes(raw.metadata_used),
        metadata_reserve: Bytes(raw.metadata_reserve),
        transaction: raw.transaction,
        held_root: raw.held_root,
        snapshots_left: raw.snapshots_left,
        deleting: raw.deleting,
        waiting: raw.waiting,
        wait_since: raw.wait_since,
        memory: Bytes(raw.memory),
        commits: raw.commits,
        wait: raw.wait,
        last_error: raw.last_error,
    }
}

impl Pools for Machine {
    fn pool_create(&self, create: &PoolCreate<'_>) -> Answer<()> {
        let flags = if create.read_only { STOR_POOL_READ_ONLY } else { 0 };
        let mut argument = stor_pool_create {
            header: header::<stor_pool_create>(flags),
            uuid: create.uuid.into_bytes(),
            name: field(create.name),
            target: field(create.target),
            ..FromZeros::new_zeroed()
        };
        sys::pool_create(&self.control, &mut argument, &descriptors(create.table.lowers), create.table.config)
    }

    fn pool_remove(&self, uuid: Uuid) -> Answer<()> {
        sys::pool_remove(&self.control, &mut reference(uuid))
    }

    fn pool_reload(&self, uuid: Uuid, table: &PoolTable<'_>) -> Answer<()> {
        let mut argument = stor_pool_reload {
            header: header::<stor_pool_reload>(0),
            uuid: uuid.into_bytes(),
            ..FromZeros::new_zeroed()
        };
        sys::pool_reload(&self.control, &mut argument, &descriptors(table.lowers), table.config)
    }

    fn pool_list(&self) -> Answer<Vec<PoolInfo>> {
        let entries = listed(ROOM, |entries: &mut [stor_pool_info]| {
            let mut argument = stor_pool_list { header: header::<stor_pool_list>(0), ..FromZeros::new_zeroed() };
            sys::pool_list(&self.control, &mut argument, entries)?;
            Ok(argument.count)
        })?;
        Ok(entries.iter().map(info).collect())
    }

    fn pool_status(&self, uuid: Uuid) -> Answer<PoolStatus> {
        // The ABI bounds both, so there is always room.
        let mut lowers = vec![stor_lower_status::new_zeroed(); STOR_MAX_LOWERS as usize];
        let mut config = vec![0; STOR_MAX_CONFIG as usize];
        let mut raw = stor_pool_status {
            header: header::<stor_pool_status>(0),
            uuid: uuid.into_bytes(),
            ..FromZeros::new_zeroed()
        };
        sys::pool_status(&self.control, &mut raw, &mut lowers, &mut config)?;
        lowers.truncate(raw.info.lower_count as usize);
        config.truncate(raw.config_len as usize);
        let lowers = lowers.iter().map(lower).collect();
        Ok(PoolStatus { info: info(&raw.info), facts: facts(&raw.facts), lowers, config })
    }

    fn pool_change(&self, uuid: Uuid, transaction: &Transaction<'_>) -> Answer<Changed> {
        let item = |item: &super::super::pool::Item| stor_pool_item { device: item.device, origin: item.origin };
        let items: Vec<_> = transaction.items.iter().map(item).collect();
        let mut argument = stor_pool_change {
            header: header::<stor_pool_change>(0),
            uuid: uuid.into_bytes(),
            change: transaction.change,
            transaction_old: transaction.old,
            transaction_new: transaction.new,
            ..FromZeros::new_zeroed()
        };
        sys::pool_change(&self.control, &mut argument, &items)?;
        Ok(Changed { held_root: argument.held_root, pause: Duration::from_nanos(argument.pause) })
    }

    fn pool_device(&self, uuid: Uuid, device: u64, exclusive: bool) -> Answer<PoolDevice> {
        let flags = if exclusive { STOR_POOL_DEVICE_EXCLUSIVE } else { 0 };
        let mut argument = stor_pool_device {
            header: header::<stor_pool_device>(flags),
            uuid: uuid.into_bytes(),
            device,
            ..FromZeros::new_zeroed()
        };
        sys::pool_device(&self.control, &mut argument)?;
        Ok(PoolDevice {
            mapped: Bytes(argument.mapped),
            exclusive: Bytes(argument.exclusive),
            transaction: argument.transaction,
            created: argument.created,
            snapshotted: argument.snapshotted,
            no_room: argument.state & STOR_POOL_DEVICE_NO_ROOM != 0,
        })
    }
}
