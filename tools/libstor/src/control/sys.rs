// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The only unsafe code of user space: ioctls, each behind a safe function that fills in its pointers from slices.

use crate::reservation::{Held, Key, Reservations, Step, Style};
use nix::errno::Errno;
use nix::{ioctl_read, ioctl_read_bad, ioctl_readwrite, ioctl_write_ptr, ioctl_write_ptr_bad};
use std::ffi::c_int;
use std::fs::File;
use std::os::fd::AsRawFd;
use stor_pure::abi::uapi::*;

type Answer = super::Answer<()>;

mod raw {
    use super::*;
    // `STOR_IOC_MAGIC` and the numbers fit u8: both are 8-bit fields of an ioctl command.
    const MAGIC: u8 = STOR_IOC_MAGIC as u8;
    ioctl_readwrite!(version, MAGIC, STOR_NR_VERSION, stor_version);
    ioctl_readwrite!(create, MAGIC, STOR_NR_CREATE, stor_create);
    ioctl_readwrite!(remove, MAGIC, STOR_NR_REMOVE, stor_volume_ref);
    ioctl_readwrite!(suspend, MAGIC, STOR_NR_SUSPEND, stor_volume_ref);
    ioctl_readwrite!(resume, MAGIC, STOR_NR_RESUME, stor_volume_ref);
    ioctl_readwrite!(reload, MAGIC, STOR_NR_RELOAD, stor_reload);
    ioctl_readwrite!(list, MAGIC, STOR_NR_LIST, stor_list);
    ioctl_readwrite!(status, MAGIC, STOR_NR_STATUS, stor_status);
    ioctl_readwrite!(set, MAGIC, STOR_NR_SET, stor_set);
    ioctl_readwrite!(rename, MAGIC, STOR_NR_RENAME, stor_rename);
    ioctl_readwrite!(engine_list, MAGIC, STOR_NR_ENGINE_LIST, stor_engine_list);
    ioctl_readwrite!(engine_switch, MAGIC, STOR_NR_ENGINE_SWITCH, stor_engine_switch);
    ioctl_readwrite!(pool_create, MAGIC, STOR_NR_POOL_CREATE, stor_pool_create);
    ioctl_readwrite!(pool_remove, MAGIC, STOR_NR_POOL_REMOVE, stor_volume_ref);
    ioctl_readwrite!(pool_reload, MAGIC, STOR_NR_POOL_RELOAD, stor_pool_reload);
    ioctl_readwrite!(pool_list, MAGIC, STOR_NR_POOL_LIST, stor_pool_list);
    ioctl_readwrite!(pool_status, MAGIC, STOR_NR_POOL_STATUS, stor_pool_status);
    ioctl_readwrite!(pool_change, MAGIC, STOR_NR_POOL_CHANGE, stor_pool_change);
    ioctl_readwrite!(pool_device, MAGIC, STOR_NR_POOL_DEVICE, stor_pool_device);
    ioctl_readwrite!(replica_status, MAGIC, STOR_NR_REPLICA_STATUS, stor_replica_status);
    ioctl_readwrite!(replica_verify, MAGIC, STOR_NR_REPLICA_VERIFY, stor_replica_verify);
    ioctl_readwrite!(insert, MAGIC, STOR_NR_INSERT, stor_insert);
    // linux/fs.h. The first two are misnumbered there for good: the kernel writes an int.
    ioctl_read_bad!(block_read_only, nix::request_code_none!(0x12, 94), c_int);
    ioctl_read_bad!(block_logical_size, nix::request_code_none!(0x12, 104), c_int);
    ioctl_read_bad!(block_optimal_size, nix::request_code_none!(0x12, 121), c_int);
    ioctl_read!(block_size, 0x12, 114, u64);
    ioctl_write_ptr_bad!(block_discard, nix::request_code_none!(0x12, 119), [u64; 2]);
    // linux/pr.h
    ioctl_write_ptr!(pr_register, b'p', 200, Registration);
    ioctl_write_ptr!(pr_reserve, b'p', 201, Reservation);
    ioctl_write_ptr!(pr_release, b'p', 202, Reservation);
    ioctl_write_ptr!(pr_preempt, b'p', 203, Preemption);
    ioctl_write_ptr!(pr_preempt_abort, b'p', 204, Preemption);
    ioctl_readwrite!(pr_read_keys, b'p', 206, ReadKeys);
    ioctl_read!(pr_read_reservation, b'p', 207, ReadReservation);
}

/// `struct pr_registration`
#[repr(C)]
struct Registration {
    old_key: u64,
    new_key: u64,
    flags: u32,
    pad: u32,
}

/// `struct pr_reservation`
#[repr(C)]
struct Reservation {
    key: u64,
    style: u32,
    flags: u32,
}

/// `struct pr_preempt`, whose names for the keys are `old_key` and `new_key`
#[repr(C)]
struct Preemption {
    own: u64,
    other: u64,
    style: u32,
    flags: u32,
}

/// `struct pr_read_keys`
#[repr(C)]
struct ReadKeys {
    generation: u32,
    num_keys: u32,
    keys: u64,
}

/// `struct pr_read_reservation`
#[repr(C)]
#[derive(Default)]
struct ReadReservation {
    key: u64,
    generation: u32,
    style: u32,
}

const _: () = assert!(size_of::<Registration>() == 24 && size_of::<Reservation>() == 16);
const _: () = assert!(size_of::<Preemption>() == 24 && size_of::<ReadKeys>() == 16);
const _: () = assert!(size_of::<ReadReservation>() == 16);

/// `PR_KEYS_MAX`
const KEYS_MAX: u32 = 1 << 16;
/// `PR_STS_RESERVATION_CONFLICT`
const CONFLICT: c_int = 0x18;

fn pointer<T>(slice: &[T]) -> u64 {
    slice.as_ptr() as u64
}

fn pointer_mut<T>(slice: &mut [T]) -> u64 {
    slice.as_mut_ptr() as u64
}

/// How many entries a slice has, for a capacity or count; no slice here comes near the limit.
fn count<T>(slice: &[T]) -> u32 {
    u32::try_from(slice.len()).unwrap_or(u32::MAX)
}

macro_rules! plain {
    ($($name:ident: $argument:ty;)*) => {
        $(pub(super) fn $name(file: &File, argument: &mut $argument) -> Answer {
            // SAFETY: the argument is valid for reads and writes, any bytes are a value of its type, and it holds no
            // pointers.
            unsafe { raw::$name(file.as_raw_fd(), argument) }.map(drop)
        })*
    };
}

plain! {
    version: stor_version;
    remove: stor_volume_ref;
    suspend: stor_volume_ref;
    resume: stor_volume_ref;
    set: stor_set;
    rename: stor_rename;
    pool_remove: stor_volume_ref;
    pool_device: stor_pool_device;
    replica_status: stor_replica_status;
    replica_verify: stor_replica_verify;
}

pub(super) fn create(file: &File, argument: &mut stor_create, lowers: &[stor_lower], config: &[u8]) -> Answer {
    (argument.lowers, argument.lower_count) = (pointer(lowers), count(lowers));
    (argument.config, argument.config_len) = (pointer(config), count(config));
    // SAFETY: the kernel only reads behind the pointers, as far as the counts say, and the slices outlive the call.
    unsafe { raw::create(file.as_raw_fd(), argument) }.map(drop)
}

pub(super) fn reload(file: &File, argument: &mut stor_reload, lowers: &[stor_lower], config: &[u8]) -> Answer {
    (argument.lowers, argument.lower_count) = (pointer(lowers), count(lowers));
    (argument.config, argument.config_len) = (pointer(config), count(config));
    // SAFETY: the kernel only reads behind the pointers, as far as the counts say, and the slices outlive the call.
    unsafe { raw::reload(file.as_raw_fd(), argument) }.map(drop)
}

pub(super) fn insert(
    file: &File,
    argument: &mut stor_insert,
    lowers: &[stor_lower],
    joined: &[u8],
    config: &[u8],
) -> Answer {
    (argument.lowers, argument.lower_count) = (pointer(lowers), count(lowers));
    (argument.joined_config, argument.joined_config_len) = (pointer(joined), count(joined));
    (argument.config, argument.config_len) = (pointer(config), count(config));
    // SAFETY: the kernel only reads behind the pointers, as far as the counts say, and the slices outlive the call.
    unsafe { raw::insert(file.as_raw_fd(), argument) }.map(drop)
}

pub(super) fn pool_create(
    file: &File,
    argument: &mut stor_pool_create,
    lowers: &[stor_lower],
    config: &[u8],
) -> Answer {
    (argument.lowers, argument.lower_count) = (pointer(lowers), count(lowers));
    (argument.config, argument.config_len) = (pointer(config), count(config));
    // SAFETY: the kernel only reads behind the pointers, as far as the counts say, and the slices outlive the call.
    unsafe { raw::pool_create(file.as_raw_fd(), argument) }.map(drop)
}

pub(super) fn pool_reload(
    file: &File,
    argument: &mut stor_pool_reload,
    lowers: &[stor_lower],
    config: &[u8],
) -> Answer {
    (argument.lowers, argument.lower_count) = (pointer(lowers), count(lowers));
    (argument.config, argument.config_len) = (pointer(config), count(config));
    // SAFETY: the kernel only reads behind the pointers, as far as the counts say, and the slices outlive the call.
    unsafe { raw::pool_reload(file.as_raw_fd(), argument) }.map(drop)
}

pub(super) fn pool_change(file: &File, argument: &mut stor_pool_change, items: &[stor_pool_item]) -> Answer {
    (argument.items, argument.item_count) = (pointer(items), count(items));
    // SAFETY: the kernel only reads behind the pointer, as far as the count says, and the slice outlives the call.
    unsafe { raw::pool_change(file.as_raw_fd(), argument) }.map(drop)
}

pub(super) fn pool_list(file: &File, argument: &mut stor_pool_list, entries: &mut [stor_pool_info]) -> Answer {
    (argument.entries, argument.capacity) = (pointer_mut(entries), count(entries));
    // SAFETY: the kernel writes at most `capacity` entries, and any bytes are a value of their type.
    unsafe { raw::pool_list(file.as_raw_fd(), argument) }.map(drop)
}

pub(super) fn pool_status(
    file: &File,
    argument: &mut stor_pool_status,
    lowers: &mut [stor_lower_status],
    config: &mut [u8],
) -> Answer {
    (argument.lowers, argument.lower_capacity) = (pointer_mut(lowers), count(lowers));
    (argument.config, argument.config_capacity) = (pointer_mut(config), count(config));
    // SAFETY: the kernel writes at most as much as the capacities say, and any bytes are a value of the types.
    unsafe { raw::pool_status(file.as_raw_fd(), argument) }.map(drop)
}

pub(super) fn list(file: &File, argument: &mut stor_list, entries: &mut [stor_volume_info]) -> Answer {
    (argument.entries, argument.capacity) = (pointer_mut(entries), count(entries));
    // SAFETY: the kernel writes at most `capacity` entries, and any bytes are a value of their type.
    unsafe { raw::list(file.as_raw_fd(), argument) }.map(drop)
}

pub(super) fn status(
    file: &File,
    argument: &mut stor_status,
    lowers: &mut [stor_lower_status],
    config: &mut [u8],
) -> Answer {
    (argument.lowers, argument.lower_capacity) = (pointer_mut(lowers), count(lowers));
    (argument.config, argument.config_capacity) = (pointer_mut(config), count(config));
    // SAFETY: the kernel writes at most as much as the capacities say, and any bytes are a value of the types.
    unsafe { raw::status(file.as_raw_fd(), argument) }.map(drop)
}

pub(super) fn engine_list(file: &File, argument: &mut stor_engine_list, entries: &mut [stor_engine_info]) -> Answer {
    (argument.entries, argument.capacity) = (pointer_mut(entries), count(entries));
    // SAFETY: the kernel writes at most `capacity` entries, and any bytes are a value of their type.
    unsafe { raw::engine_list(file.as_raw_fd(), argument) }.map(drop)
}

pub(super) fn engine_switch(
    file: &File,
    argument: &mut stor_engine_switch,
    results: &mut [stor_switch_result],
) -> Answer {
    (argument.results, argument.capacity) = (pointer_mut(results), count(results));
    // SAFETY: the kernel writes at most `capacity` results, and any bytes are a value of their type.
    unsafe { raw::engine_switch(file.as_raw_fd(), argument) }.map(drop)
}

/// What a block device says of itself.
pub(super) struct BlockDevice {
    /// Bytes.
    pub(super) size: u64,
    /// Bytes of a logical block.
    pub(super) logical: u32,
    /// Bytes that requests are best a multiple of, or 0.
    pub(super) optimal: u32,
    pub(super) read_only: bool,
}

/// Discards a range of a block device, in bytes.
pub(super) fn block_discard(file: &File, begin: u64, length: u64) -> super::Answer<()> {
    // SAFETY: the call reads two numbers.
    unsafe { raw::block_discard(file.as_raw_fd(), &[begin, length])? };
    Ok(())
}

/// Asks a block device for what it is.
pub(super) fn block_device(file: &File) -> super::Answer<BlockDevice> {
    let (mut size, mut logical, mut optimal, mut read_only) = (0u64, 0 as c_int, 0 as c_int, 0 as c_int);
    // SAFETY: each call writes one value of the type it is given.
    unsafe {
        raw::block_size(file.as_raw_fd(), &mut size)?;
        raw::block_logical_size(file.as_raw_fd(), &mut logical)?;
        raw::block_optimal_size(file.as_raw_fd(), &mut optimal)?;
        raw::block_read_only(file.as_raw_fd(), &mut read_only)?;
    }
    let [logical, optimal] = [(logical, 512), (optimal, 0)].map(|(size, or)| u32::try_from(size).unwrap_or(or));
    Ok(BlockDevice { size, logical, optimal, read_only: read_only != 0 })
}

/// What a call of `linux/pr.h` answers: an errno, or how the device took it.
fn taken(answer: nix::Result<c_int>) -> Answer {
    match answer? {
        0 => Ok(()),
        CONFLICT => Err(Errno::EBADE),
        _ => Err(Errno::EIO),
    }
}

/// Asks a block device for its keys and its reservation.
pub(super) fn reservations(file: &File) -> super::Answer<Reservations> {
    let mut keys = vec![0u64; 64];
    loop {
        let mut argument = ReadKeys { generation: 0, num_keys: count(&keys), keys: pointer_mut(&mut keys) };
        // SAFETY: the kernel writes at most `num_keys` keys, and any bytes are one.
        taken(unsafe { raw::pr_read_keys(file.as_raw_fd(), &mut argument) })?;
        let found = argument.num_keys.min(KEYS_MAX) as usize;
        if found <= keys.len() {
            keys.truncate(found);
            break;
        }
        keys.resize(found, 0);
    }
    let mut held = ReadReservation::default();
    // SAFETY: the call writes one value of the type it is given.
    taken(unsafe { raw::pr_read_reservation(file.as_raw_fd(), &mut held) })?;
    let held = (held.style != 0).then_some(Held { key: Key(held.key), style: Style(held.style) });
    Ok(Reservations { keys: keys.into_iter().map(Key).collect(), held })
}

/// Does one step of a reservation.
pub(super) fn reserve(file: &File, own: Key, step: Step) -> Answer {
    let fd = file.as_raw_fd();
    let style = Style::REGISTRANTS.0;
    let registration = |old_key, new_key| Registration { old_key, new_key, flags: 0, pad: 0 };
    let reservation = |style| Reservation { key: own.0, style, flags: 0 };
    // Documentation/block/pr.rst has it the other way round; the drivers, and nfsd, take the first for the caller's key.
    let preemption = |other: Key| Preemption { own: own.0, other: other.0, style, flags: 0 };
    // SAFETY: each call reads one value of the type it is given, which holds no pointers.
    let answer = unsafe {
        match step {
            Step::Register => raw::pr_register(fd, &registration(0, own.0)),
            Step::Unregister => raw::pr_register(fd, &registration(own.0, 0)),
            Step::Reserve => raw::pr_reserve(fd, &reservation(style)),
            Step::Release(Style(style)) => raw::pr_release(fd, &reservation(style)),
            Step::Preempt(other) => match raw::pr_preempt_abort(fd, &preemption(other)) {
                Err(Errno::EOPNOTSUPP | Errno::EINVAL) => raw::pr_preempt(fd, &preemption(other)),
                answer => answer,
            },
            // Nothing is aborted: the request itself would be among it.
            Step::PreemptSelf => raw::pr_preempt(fd, &preemption(own)),
        }
    };
    taken(answer)
}
