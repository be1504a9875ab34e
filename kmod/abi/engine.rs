// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The ABI between the front (`stor.ko`) and an engine (`stor_engine_<version>.ko`).
//!
//! The engine decides, the front acts: [`ObjectOps::map`] says where a request lies, the front clones, submits
//! and completes it, and calls [`ObjectOps::end`] before it ends the request. No request is ever ended by engine
//! code, so a request in flight pins the engine through its queue's usage count and an engine can be unloaded the
//! moment its last object has left it (docs/adr/0002).
//!
//! Life of an object: `prepare` (allocates; its queue may be running) → `load` (reads state; the queue is frozen)
//! → `map`/`end` … → `close` (writes state; frozen) → `load` again, if a switch failed, or `free`.
//!
//! Everything here is `repr(C)` and carries [`ENGINE_ABI`]: a front refuses any other number, so that a change
//! of layout or meaning is a change of this number.

use core::ffi::{c_int, c_void};

/// Number of this ABI.
pub const ENGINE_ABI: u32 = 1;

/// Bytes of a version or target name, with the NUL.
pub const TEXT: usize = 32;

/// What [`ObjectOps::map`] is asked about. Values are those of `enum req_op`.
pub type Op = u32;

/// A range of a request: `sectors` from `sector` of the volume.
#[repr(C)]
pub struct MapRequest {
    /// What is to be done: `REQ_OP_READ`, `_WRITE`, `_DISCARD` or `_WRITE_ZEROES`.
    pub op: Op,
    /// Zero.
    pub reserved: u32,
    /// First sector in the volume.
    pub sector: u64,
    /// How many.
    pub sectors: u64,
}

/// Where the beginning of a range lies: `sectors` of it, never 0, from `sector` of a lower device.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Piece {
    /// First sector on the lower device.
    pub sector: u64,
    /// How far that holds; may be more than was asked for.
    pub sectors: u64,
    /// Index of the lower device.
    pub lower: u32,
    /// Zero.
    pub reserved: u32,
}

/// A lower device as an engine sees it; the front keeps the handle.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LowerInfo {
    /// Size in bytes.
    pub size: u64,
    /// Logical block size in bytes.
    pub logical_block: u32,
    /// Zero.
    pub reserved: u32,
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
    /// How many lower devices.
    pub lower_count: u32,
    /// Bytes of configuration.
    pub config_len: u32,
}

/// An object of an engine: its context and what can be done with it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Object {
    /// Passed to every function of `ops`.
    pub context: *mut c_void,
    /// Lives as long as the engine's module.
    pub ops: *const ObjectOps,
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
    /// Says where the beginning of a range lies: 0 and `piece` is filled, or a `blk_status_t`. Must not sleep.
    pub map: unsafe extern "C" fn(context: *mut c_void, request: *const MapRequest, piece: *mut Piece) -> u32,
    /// Settles a request that ended with `status`, a `blk_status_t`. Called in any context. May be missing.
    pub end: Option<unsafe extern "C" fn(context: *mut c_void, status: u32)>,
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
}
