// SPDX-License-Identifier: GPL-2.0

//! The ioctls of pools.

use super::below::{read_fds, Below};
use super::{check_text, read_array, read_bytes, write_array, Call};
use crate::abi::uapi;
use crate::front::pool::{Creation, Entry};
use crate::front::Front;
use kernel::prelude::*;
use zerocopy::FromZeros;

pub(super) fn create(front: &'static Front, call: &Call) -> Result {
    let argument = call.admin::<uapi::stor_pool_create>(uapi::STOR_POOL_READ_ONLY)?;
    check_text(&argument.name)?;
    check_text(&argument.target)?;
    if argument.uuid == [0; 16] {
        return Err(EINVAL);
    }
    let creation = Creation {
        uuid: argument.uuid,
        name: argument.name,
        target: argument.target,
        read_only: argument.header.flags & uapi::STOR_POOL_READ_ONLY != 0,
        fds: read_fds(argument.lowers, argument.lower_count)?,
        config: read_config(argument.config, argument.config_len)?,
    };
    front.lock().create_pool(creation)
}

fn read_config(config: u64, length: u32) -> Result<KVVec<u8>> {
    if length > uapi::STOR_MAX_CONFIG {
        return Err(E2BIG);
    }
    read_bytes(config, length as usize)
}

pub(super) fn remove(front: &'static Front, call: &Call) -> Result {
    let argument = call.admin::<uapi::stor_volume_ref>(0)?;
    front.lock().remove_pool(&argument.uuid)
}

pub(super) fn reload(front: &'static Front, call: &Call) -> Result {
    let argument = call.admin::<uapi::stor_pool_reload>(0)?;
    let fds = read_fds(argument.lowers, argument.lower_count)?;
    let config = read_config(argument.config, argument.config_len)?;
    front.lock().reload_pool(&argument.uuid, &fds, config)
}

fn info(front_volumes: u32, entry: &Entry) -> uapi::stor_pool_info {
    let label = entry.label();
    uapi::stor_pool_info {
        uuid: entry.uuid(),
        name: label.name,
        target: entry.notices.target(),
        engine: label.engine,
        state: entry.state(),
        volumes: front_volumes,
        lower_count: entry.lowers.count() as u32,
        reserved: 0,
    }
}

pub(super) fn list(front: &'static Front, call: &Call) -> Result {
    let mut argument = call.user::<uapi::stor_pool_list>(0)?;
    let mut rows = KVVec::new();
    {
        let state = front.lock();
        for entry in state.pools.iter() {
            rows.push(info(state.volumes_of(&entry.uuid()), entry), GFP_KERNEL)?;
        }
        argument.generation = state.generation();
    }
    argument.count = rows.len() as u32;
    write_array(argument.entries, argument.capacity, &rows)?;
    call.write(&argument)
}

pub(super) fn status(front: &'static Front, call: &Call) -> Result {
    let mut argument = call.admin::<uapi::stor_pool_status>(0)?;
    if argument.reserved != 0 {
        return Err(EINVAL);
    }
    let (below, object);
    {
        let state = front.lock();
        let entry = state.find_pool(&argument.uuid)?;
        below = Below::of(entry.lowers.iter(), &entry.config)?;
        argument.config_len = entry.config.len() as u32;
        argument.info = info(state.volumes_of(&argument.uuid), entry);
        argument.facts = FromZeros::new_zeroed();
        object = entry.object.clone();
    }
    if let Some(object) = object {
        object.facts(&mut argument.facts)?;
    }
    below.write((argument.lowers, argument.lower_capacity), (argument.config, argument.config_capacity))?;
    call.write(&argument)
}

pub(super) fn change(front: &'static Front, call: &Call) -> Result {
    let mut argument = call.admin::<uapi::stor_pool_change>(0)?;
    if argument.item_count > uapi::STOR_MAX_ITEMS {
        return Err(E2BIG);
    }
    let items = read_array::<uapi::stor_pool_item>(argument.items, argument.item_count as usize)?;
    // The answer must have a place to go before anything is done.
    call.write(&argument)?;
    // It may take long, and wait for a volume below to be resumed: without the lock.
    let object = front.lock().find_pool(&argument.uuid)?.object()?.clone();
    object.change(&mut argument, &items)?;
    call.write(&argument)
}

pub(super) fn device(front: &'static Front, call: &Call) -> Result {
    let mut argument = call.admin::<uapi::stor_pool_device>(uapi::STOR_POOL_DEVICE_EXCLUSIVE)?;
    let object = front.lock().find_pool(&argument.uuid)?.object()?.clone();
    object.device(&mut argument)?;
    call.write(&argument)
}
