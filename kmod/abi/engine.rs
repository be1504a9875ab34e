// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The ABI between the front (`stor.ko`) and an engine (`stor_engine_<version>.ko`).
//!
//! The engine decides, the front acts: [`ObjectOps::map`] says where a request lies, the front clones, submits
//! and completes it, and calls [`ObjectOps::end`] before it ends the request. No request is ever ended by engine
//! code, so a request in flight pins the engine through its queue's usage count and an engine can be unloaded the
//! moment its last object has left it (docs/adr/0002).
//!
//! A request that the engine cannot map at once it keeps, as a [`Deferral`], and gives back once: with
//! `stor_request_retry`, whereupon it is asked again, or with `stor_request_end`: the range
//! that it was asked about is done, or has failed. Whatever else an engine does by itself
//! (workers, metadata) it has finished when `close` returns.
//!
//! A range may be [spread](SPREAD) over several lower devices. Then the engine judges: it is told of each device that [fails](ObjectOps::lost)
//! its part, and asked when the whole request has ended ([`ObjectOps::settle`]), as of a read that has failed.
//!
//! Life of an object: `prepare` (allocates; its queue may be running) → `load` (reads state; the queue is frozen)
//! → `map`/`unpin` … → `close` (writes state; frozen) → `load` again, if a switch failed, or `free`. A pool is loaded before its
//! volumes and closed after them.
//!
//! Everything here is `repr(C)` and carries [`ENGINE_ABI`]: a front refuses any other number, so that a change
//! of layout or meaning is a change of this number.

use super::uapi::{
    stor_pool_change, stor_pool_device, stor_pool_facts, stor_pool_item, stor_replica_facts, stor_replica_verify,
};
use core::ffi::{c_int, c_void};

/// Number of this ABI.
pub const ENGINE_ABI: u32 = 6;

/// Bytes of a version or target name, with the NUL.
pub const TEXT: usize = 32;

/// What [`ObjectOps::map`] is asked about. Values are those of `enum req_op`.
pub type Op = u32;

/// A range of a request that is to be mapped, in a place that stays until the request is given back. If the engine
/// defers it, it is the engine's until then.
#[repr(C)]
pub struct Deferral {
    /// For lists of the engine's.
    pub next: *mut Deferral,
    /// For the engine: 0 when it is asked about a request for the first time, and what it has left there after that.
    pub owner: u32,
    /// What is to be done: `REQ_OP_READ`, `_WRITE`, `_DISCARD`, `_WRITE_ZEROES`, which may have `REQ_NOUNMAP` with it, or `_FLUSH`.
    pub op: Op,
    /// First sector in the volume.
    pub sector: u64,
    /// How many.
    pub sectors: u64,
    /// When the engine took it.
    pub since: u64,
}

/// Where the beginning of a range lies: `sectors` of it, never 0, from `sector` of a lower device.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Piece {
    /// First sector on the lower device.
    pub sector: u64,
    /// How far that holds; may be more than was asked for.
    pub sectors: u64,
    /// Index of the lower device, or [`ORIGIN`]. If it is [`SPREAD`], a bit for each.
    pub lower: u32,
    /// Not 0: the engine is to be told when the piece has ended.
    pub token: u32,
}

/// In place of the index of a lower device: the volume's [origin](ObjectConfig::origin).
pub const ORIGIN: u32 = u32::MAX;

/// Answer of [`ObjectOps::map`] and [`ObjectOps::flush`], besides each `blk_status_t`: the engine keeps the request.
pub const DEFERRED: u32 = 0x100;
/// Answer of [`ObjectOps::map`]: the first `sectors` of [`Piece`] read as zeros, and nothing is to be done for a discard.
pub const NOTHING: u32 = 0x101;
/// Answer of [`ObjectOps::map`]: what is to be written goes to several lower devices, to the sector of [`Piece`] behind where the object's part
/// of each [begins](Object::starts).
pub const SPREAD: u32 = 0x102;

/// Answer of [`ObjectOps::map`] for what is to be zeros: they are to be written to [`Piece`], which has at most [`ZEROS_MAX`] sectors, whether the
/// lower device has a command for that or not.
pub const ZEROS: u32 = 0x103;
/// Sectors of zeros that are written at once: what one bio has room for.
pub const ZEROS_MAX: u64 = 2048;

/// How many lower devices something can be spread over.
pub const SPREAD_MAX: usize = 32;

/// A lower device as an engine sees it; the front keeps the handle.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LowerInfo {
    /// Size in bytes.
    pub size: u64,
    /// `struct block_device *`, open as long as an object stands on it.
    pub bdev: *mut c_void,
    /// Logical block size in bytes.
    pub logical_block: u32,
    /// Not 0: it may only be read.
    pub read_only: u32,
}

/// What an object is to be made of.
#[repr(C)]
pub struct ObjectConfig {
    /// The volume's UUID.
    pub uuid: [u8; 16],
    /// Name of the target, NUL-padded.
    pub target: [u8; TEXT],
    /// Size of the volume in bytes.
    pub size: u64,
    /// The lower devices.
    pub lowers: *const LowerInfo,
    /// The target's configuration, as it came through the control ABI.
    pub config: *const u8,
    /// Context of the object of its pool, or null.
    pub pool: *mut c_void,
    /// Of a volume of a pool: a device that is read where the volume has nothing of its own, and never written to; or null.
    pub origin: *const LowerInfo,
    /// How many lower devices.
    pub lower_count: u32,
    /// Bytes of configuration.
    pub config_len: u32,
    /// Passed to `stor_event`.
    pub listener: *mut c_void,
    /// Not 0: nothing is to be written.
    pub read_only: u32,
    /// Zero.
    pub reserved: u32,
}

/// An object of an engine: its context and what can be done with it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Object {
    /// Passed to every function of `ops`.
    pub context: *mut c_void,
    /// Lives as long as the engine's module.
    pub ops: *const ObjectOps,
    /// Of an object that spreads: the sectors at which its part of each lower device begins, [`SPREAD_MAX`] of them, which change
    /// in `load` only; else null.
    pub starts: *const u64,
}

/// Operations of an object. Functions that return `c_int` answer 0 or a negative errno.
#[repr(C)]
pub struct ObjectOps {
    /// Reads the object's state. May sleep, allocates without I/O.
    pub load: unsafe extern "C" fn(context: *mut c_void) -> c_int,
    /// Writes the object's state; `load` or `free` comes next. May sleep, allocates without I/O.
    pub close: unsafe extern "C" fn(context: *mut c_void) -> c_int,
    /// Frees the object. May sleep.
    pub free: unsafe extern "C" fn(context: *mut c_void),
    /// Says where the beginning of a range lies: 0 and `piece` is filled, [`NOTHING`], [`DEFERRED`], or a `blk_status_t`. May
    /// be called again for the same request. Must not sleep.
    pub map: unsafe extern "C" fn(context: *mut c_void, range: *mut Deferral, piece: *mut Piece) -> u32,
    /// A piece with a token has ended with `status`, a `blk_status_t`; it was these sectors of the volume. Of one that was
    /// spread, on all devices, and `failed` are those that failed it. Any context.
    pub unpin:
        unsafe extern "C" fn(context: *mut c_void, token: u32, status: u32, failed: u32, sector: u64, sectors: u64),
    /// Asks for a flush: 0 and a bit for each lower device that is to be flushed, [`DEFERRED`], or a `blk_status_t`. Missing: all
    /// are. Must not sleep.
    pub flush: Option<unsafe extern "C" fn(context: *mut c_void, range: *mut Deferral, lowers: *mut u64) -> u32>,
    /// Takes a new size and configuration while requests are live. -EOPNOTSUPP: they have to be held for that. May be missing.
    pub change: Option<unsafe extern "C" fn(context: *mut c_void, config: *const ObjectConfig) -> c_int>,
    /// A lower device has failed what was spread to it, or a flush, with `status`. Any context. There if `settle` is.
    pub lost: Option<unsafe extern "C" fn(context: *mut c_void, lower: u32, op: Op, status: u32)>,
    /// All pieces of a request have ended that was spread, was a flush, or has failed; `status` is that of one that has, `lost` has the lower
    /// devices that lack some of it. How the request ends: 0 or a `blk_status_t`; or [`DEFERRED`]: after `stor_request_retry` all
    /// of it begins anew, after `stor_request_end` it has ended so. Any context. Missing: it ends with `status`.
    pub settle: Option<unsafe extern "C" fn(context: *mut c_void, range: *mut Deferral, status: u32, lost: u32) -> u32>,
    /// Says how a replica is. EOPNOTSUPP it is none. May sleep. May be missing.
    pub facts: Option<unsafe extern "C" fn(context: *mut c_void, facts: *mut stor_replica_facts) -> c_int>,
    /// Compares the legs of a replica, as STOR_IOC_REPLICA_VERIFY says. EOPNOTSUPP it is none. May sleep. May be missing.
    pub verify: Option<unsafe extern "C" fn(context: *mut c_void, ask: *mut stor_replica_verify) -> c_int>,
    /// How many sectors from `sector` on, of `sectors`, are known to read as zeros and to take no space. May sleep. Missing: 0.
    pub hole: Option<unsafe extern "C" fn(context: *mut c_void, sector: u64, sectors: u64) -> u64>,
    /// Settles a request that ended with `status`, a `blk_status_t`. Called in any context. May be missing.
    pub end: Option<unsafe extern "C" fn(context: *mut c_void, status: u32)>,
}

/// A pool: what volumes have in common. It has no requests of its own.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Pool {
    /// Passed to every function of `ops`, and in [`ObjectConfig::pool`] to its volumes.
    pub context: *mut c_void,
    /// Lives as long as the engine's module.
    pub ops: *const PoolOps,
    /// The lower devices that data is on, a bit for each: what its volumes' limits follow from.
    pub data: u64,
    /// Bytes of a data block: what a discard gives back at least.
    pub block_size: u32,
    /// Zero.
    pub reserved: u32,
}

/// Operations of a pool. All may sleep, and answer 0 or a negative errno.
#[repr(C)]
pub struct PoolOps {
    /// As of an object.
    pub load: unsafe extern "C" fn(context: *mut c_void) -> c_int,
    /// As of an object.
    pub close: unsafe extern "C" fn(context: *mut c_void) -> c_int,
    /// Writes most of its state, while requests are live, so that `close` has little to do. May be given up at any point.
    pub settle: unsafe extern "C" fn(context: *mut c_void),
    /// As of an object; its volumes were freed before.
    pub free: unsafe extern "C" fn(context: *mut c_void),
    /// Takes more lower devices and another configuration, with requests of its volumes live.
    pub reload: unsafe extern "C" fn(context: *mut c_void, config: *const ObjectConfig) -> c_int,
    /// Does what `STOR_IOC_POOL_CHANGE` asks for.
    pub change: unsafe extern "C" fn(
        context: *mut c_void,
        change: *mut stor_pool_change,
        items: *const stor_pool_item,
        count: usize,
    ) -> c_int,
    /// Says how it is.
    pub facts: unsafe extern "C" fn(context: *mut c_void, facts: *mut stor_pool_facts) -> c_int,
    /// Says what a device has; `exclusive` is counted if the flag says so.
    pub device: unsafe extern "C" fn(context: *mut c_void, device: *mut stor_pool_device) -> c_int,
}

/// What an engine registers. Lives as long as its module.
#[repr(C)]
pub struct EngineOps {
    /// [`ENGINE_ABI`] of the engine.
    pub abi: u32,
    /// `size_of::<EngineOps>()` there.
    pub size: u32,
    /// Version, NUL-padded.
    pub version: [u8; TEXT],
    /// `struct module *` of the engine.
    pub module: *mut c_void,
    /// Makes an object. May sleep.
    pub prepare: unsafe extern "C" fn(config: *const ObjectConfig, object: *mut Object) -> c_int,
    /// Makes a pool. May sleep.
    pub prepare_pool: unsafe extern "C" fn(config: *const ObjectConfig, pool: *mut Pool) -> c_int,
}
