// SPDX-License-Identifier: GPL-2.0

//! The ioctls of volumes.

use super::below::{read_fds, Below};
use super::{check_text, read_bytes, write_array, Call};
use crate::abi::uapi;
use crate::block::bdev::major_minor;
use crate::front::insert::Insertion;
use crate::front::registry::{Creation, Entry, Table, NO_POOL};
use crate::front::Front;
use kernel::prelude::*;

/// Reads what stands below a volume from where an argument says it is.
fn read_table(size: u64, lowers: (u64, u32), config: (u64, u32)) -> Result<Table> {
    if size == 0 || size % 512 != 0 || i64::try_from(size).is_err() {
        return Err(EINVAL);
    }
    if lowers.1 > uapi::STOR_MAX_LOWERS || config.1 > uapi::STOR_MAX_CONFIG {
        return Err(E2BIG);
    }
    let fds = read_fds(lowers.0, lowers.1)?;
    Ok(Table { size, fds, config: read_bytes(config.0, config.1 as usize)? })
}

pub(super) fn create(front: &'static Front, call: &Call) -> Result {
    let mut argument = call.admin::<uapi::stor_create>(uapi::STOR_CREATE_READ_ONLY)?;
    check_text(&argument.name)?;
    check_text(&argument.target)?;
    if argument.uuid == [0; 16] || argument.reserved != 0 {
        return Err(EINVAL);
    }
    if argument.lower_count == 0 && argument.pool == NO_POOL {
        return Err(EINVAL);
    }
    let creation = Creation {
        uuid: argument.uuid,
        pool: argument.pool,
        name: argument.name,
        target: argument.target,
        read_only: argument.header.flags & uapi::STOR_CREATE_READ_ONLY != 0,
        table: read_table(
            argument.size,
            (argument.lowers, argument.lower_count),
            (argument.config, argument.config_len),
        )?,
    };
    // The answer must have a place to go before anything is made.
    call.write(&argument)?;
    {
        let mut state = front.lock();
        let entry = state.create(front, creation)?;
        argument.index = entry.index;
        (argument.major, argument.minor) = major_minor(entry.disk.device());
    }
    call.write(&argument).inspect_err(|_| {
        // The caller took that place away meanwhile. If someone was quick enough to open the volume, it stays.
        let _ = front.lock().remove(&argument.uuid);
    })
}

/// The volume a command with nothing else refers to.
fn named(call: &Call) -> Result<[u8; 16]> {
    Ok(call.admin::<uapi::stor_volume_ref>(0)?.uuid)
}

pub(super) fn remove(front: &'static Front, call: &Call) -> Result {
    let uuid = named(call)?;
    front.lock().remove(&uuid)
}

pub(super) fn suspend(front: &'static Front, call: &Call) -> Result {
    let uuid = named(call)?;
    front.lock().suspend(&uuid)
}

pub(super) fn resume(front: &'static Front, call: &Call) -> Result {
    let uuid = named(call)?;
    front.lock().resume(&uuid)
}

pub(super) fn reload(front: &'static Front, call: &Call) -> Result {
    let argument = call.admin::<uapi::stor_reload>(uapi::STOR_RELOAD_SHRINK)?;
    let table =
        read_table(argument.size, (argument.lowers, argument.lower_count), (argument.config, argument.config_len))?;
    let shrink = argument.header.flags & uapi::STOR_RELOAD_SHRINK != 0;
    front.lock().reload(&argument.uuid, table, shrink)
}

pub(super) fn insert(front: &'static Front, call: &Call) -> Result {
    let argument = call.large::<uapi::stor_insert>(0)?;
    for text in [&argument.below_name[..], &argument.joined_name, &argument.joined_target, &argument.target] {
        check_text(text)?;
    }
    if argument.below_uuid == [0; 16] || argument.joined_uuid == [0; 16] || argument.reserved != 0 {
        return Err(EINVAL);
    }
    if argument.lower_count == 0 {
        return Err(EINVAL);
    }
    // What is below is one more.
    if argument.lower_count >= uapi::STOR_MAX_LOWERS || argument.config_len > uapi::STOR_MAX_CONFIG {
        return Err(E2BIG);
    }
    let insertion = Insertion {
        uuid: argument.uuid,
        below: (argument.below_uuid, argument.below_name),
        joined: (argument.joined_uuid, argument.joined_name, argument.joined_target),
        table: read_table(
            argument.joined_size,
            (argument.lowers, argument.lower_count),
            (argument.joined_config, argument.joined_config_len),
        )?,
        target: argument.target,
        config: read_bytes(argument.config, argument.config_len as usize)?,
    };
    front.lock().insert(front, insertion)
}

pub(super) fn set(front: &'static Front, call: &Call) -> Result {
    let argument = call.admin::<uapi::stor_set>(0)?;
    if argument.mask & !uapi::STOR_SET_READ_ONLY != 0 || argument.value & !argument.mask != 0 {
        return Err(EINVAL);
    }
    if argument.mask == 0 {
        return front.lock().find(&argument.uuid).map(|_| ());
    }
    front.lock().set_read_only(&argument.uuid, argument.value & uapi::STOR_SET_READ_ONLY != 0)
}

pub(super) fn rename(front: &'static Front, call: &Call) -> Result {
    let argument = call.admin::<uapi::stor_rename>(0)?;
    check_text(&argument.name)?;
    let mut state = front.lock();
    match state.find_pool(&argument.uuid) {
        Ok(_) => state.rename_pool(&argument.uuid, argument.name),
        Err(_) => state.rename(&argument.uuid, argument.name),
    }
}

fn info(entry: &Entry) -> uapi::stor_volume_info {
    let label = entry.label();
    let (major, minor) = major_minor(entry.disk.device());
    uapi::stor_volume_info {
        uuid: entry.uuid(),
        name: label.name,
        target: entry.notices().target(),
        engine: label.engine,
        pool: entry.pool,
        size: entry.size,
        index: entry.index,
        major,
        minor,
        state: entry.state(),
        open_count: entry.disk.driver().open_count(),
        lower_count: entry.below().count() as u32,
    }
}

pub(super) fn list(front: &'static Front, call: &Call) -> Result {
    let mut argument = call.user::<uapi::stor_list>(0)?;
    let mut rows = KVVec::new();
    {
        let state = front.lock();
        for entry in state.volumes() {
            rows.push(info(entry), GFP_KERNEL)?;
        }
        argument.generation = state.generation();
    }
    argument.count = rows.len() as u32;
    write_array(argument.entries, argument.capacity, &rows)?;
    call.write(&argument)
}

pub(super) fn status(front: &'static Front, call: &Call) -> Result {
    let mut argument = call.admin::<uapi::stor_status>(0)?;
    let below;
    {
        let state = front.lock();
        let entry = state.find(&argument.uuid)?;
        below = Below::of(entry.below().iter(), &entry.config)?;
        fill(&mut argument, entry);
    }
    below.write((argument.lowers, argument.lower_capacity), (argument.config, argument.config_capacity))?;
    call.write(&argument)
}

fn fill(argument: &mut uapi::stor_status, entry: &Entry) {
    argument.info = info(entry);
    (argument.logical_block_size, argument.physical_block_size) = entry.block_sizes();
    let in_flight = entry.disk.in_flight();
    argument.in_flight = in_flight.count;
    (argument.wait, argument.wait_since) = match (entry.disk.is_held(), in_flight.count) {
        (true, _) => (uapi::STOR_WAIT_SUSPENDED, entry.suspended_since),
        (false, 0) => (uapi::STOR_WAIT_NONE, 0),
        (false, _) => (uapi::STOR_WAIT_LOWER, in_flight.oldest),
    };
    (argument.errors, argument.last_error) = entry.notices().errors();
    argument.config_len = entry.config.len() as u32;
}

pub(super) fn replica_status(front: &'static Front, call: &Call) -> Result {
    let mut argument = call.large::<uapi::stor_replica_status>(0)?;
    let uapi::stor_replica_status { uuid, facts, .. } = &mut *argument;
    front.lock().replica_facts(uuid, facts)?;
    call.write(&*argument)
}

pub(super) fn replica_verify(front: &'static Front, call: &Call) -> Result {
    let mut argument = call.large::<uapi::stor_replica_verify>(uapi::STOR_VERIFY_REPAIR)?;
    let uuid = argument.uuid;
    // The legs are read without the state lock, which others want when one of them does not answer.
    let volume = front.lock().pin(&uuid)?;
    volume.live().object.as_ref().ok_or(ENODEV)?.verify(&mut argument)?;
    drop(volume);
    call.write(&*argument)
}
