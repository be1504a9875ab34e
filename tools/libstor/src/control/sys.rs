// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The only unsafe code of user space: ioctls, each behind a safe function that fills in its pointers from slices.

use nix::{ioctl_read, ioctl_read_bad, ioctl_readwrite};
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
    // linux/fs.h. The first two are misnumbered there for good: the kernel writes an int.
    ioctl_read_bad!(block_read_only, nix::request_code_none!(0x12, 94), c_int);
    ioctl_read_bad!(block_logical_size, nix::request_code_none!(0x12, 104), c_int);
    ioctl_read!(block_size, 0x12, 114, u64);
}

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

/// Size in bytes, logical block size and read-only state of a block device.
pub(super) fn block_device(file: &File) -> super::Answer<(u64, u32, bool)> {
    let (mut size, mut logical, mut read_only) = (0u64, 0 as c_int, 0 as c_int);
    // SAFETY: each call writes one value of the type it is given.
    unsafe {
        raw::block_size(file.as_raw_fd(), &mut size)?;
        raw::block_logical_size(file.as_raw_fd(), &mut logical)?;
        raw::block_read_only(file.as_raw_fd(), &mut read_only)?;
    }
    Ok((size, u32::try_from(logical).unwrap_or(512), read_only != 0))
}
