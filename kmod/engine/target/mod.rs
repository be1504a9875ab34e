// SPDX-License-Identifier: GPL-2.0

//! Targets: what a volume can be. [`linear`] is the one to copy for a new one; [`thin`] is one with pools, [`replica`] one that spreads.

mod epoch;
pub mod linear;
mod memory;
pub mod replica;
pub mod thin;

use super::edge::{pool_of, table_of, Listener, Prepare, PreparePool};
use crate::abi::engine::{Op, Piece, SPREAD_MAX};
use crate::abi::uapi::{
    stor_pool_change, stor_pool_device, stor_pool_facts, stor_pool_item, stor_replica_facts, stor_replica_verify,
};
use crate::block::deferred::Ask;
use crate::block::io::Device;
use crate::block::status::Status;
use kernel::prelude::*;
use kernel::sync::atomic::Atomic;
use kernel::sync::Arc;

/// A device below.
#[derive(Clone, Copy)]
pub struct Lower {
    /// Bytes.
    pub size: u64,
    /// Logical block size in bytes.
    pub logical_block: u32,
    /// For I/O of the engine's own.
    pub device: Device,
    /// It may only be read.
    pub read_only: bool,
}

/// What an object is to be made of.
pub struct Config<'a> {
    /// Size of the volume in bytes.
    pub size: u64,
    /// The devices below it.
    pub lowers: &'a [Lower],
    /// The target's configuration, as it came from user space.
    pub bytes: &'a [u8],
    /// Nothing is to be written.
    pub read_only: bool,
    /// A device that a volume of a pool is read from where it has nothing of its own.
    pub origin: Option<Lower>,
    /// Who is told what happens to it.
    pub listener: Listener,
}

/// Where the beginning of a range is.
pub enum Mapped {
    /// On a lower device.
    At(Piece),
    /// On each of several, which is for what writes only.
    Spread(Piece),
    /// On a lower device, to which zeros are to be written; at most [`ZEROS_MAX`](crate::abi::engine::ZEROS_MAX) sectors.
    Zeros(Piece),
    /// So many sectors, at least one, are nowhere: they read as zeros, and there is nothing to discard.
    Nowhere(u64),
    /// The target has kept the request.
    Deferred,
}

/// What is to be done for a flush.
pub enum Flush {
    /// The lower devices with these bits are to be flushed.
    Lowers(u64),
    /// The target has kept the request.
    Deferred,
}

/// How a request ends.
pub enum Settled {
    /// With this status.
    With(Status),
    /// The target has kept the request.
    Kept,
}

/// A kind of volume. One value drives one volume.
///
/// The order of calls is `prepare`, then `load`, then `map` and others as often as there is I/O, then `close`, after
/// which it may be loaded again or dropped. `load` and `close` run with the volume's I/O held, and must not
/// allocate memory in a way that waits for I/O.
pub trait Target: Sized + Send + Sync + 'static {
    /// Its name in the control ABI.
    const NAME: &'static str;

    /// The pools that its volumes are in; [`NoPool`] if they are in none.
    type Pool: PoolTarget;

    /// Whether it says how requests end: those that were spread, flushes, and what has failed.
    const SETTLES: bool = false;

    /// Makes an object; checks everything that user space can get wrong.
    fn prepare(config: &Config<'_>, pool: Option<Arc<Self::Pool>>) -> Result<KBox<Self>>;

    /// Reads its state from the devices.
    fn load(&self) -> Result {
        Ok(())
    }

    /// Writes its state to the devices.
    fn close(&self) -> Result {
        Ok(())
    }

    /// Where the beginning of a range lies. Must not sleep.
    fn map(&self, ask: Ask) -> Result<Mapped, Status>;

    /// A piece with a token has ended; it was these sectors (first, count) of the volume. If it was spread, it has ended
    /// everywhere, and `failed` are the lower devices that failed it. Any context.
    fn unpin(&self, _token: u32, _status: Status, _failed: u32, _range: (u64, u64)) {}

    /// Where its part of each lower device begins, if it spreads: changed in `load` only.
    fn starts(&self) -> Option<&[Atomic<u64>; SPREAD_MAX]> {
        None
    }

    /// A lower device has failed its part of what was spread, or a flush. Any context.
    fn lost(&self, _lower: u32, _op: Op, _status: Status) {}

    /// All of a request has ended; `status` is that of a piece that failed, `lost` has the lower devices that lack some of it. If it is
    /// kept, all of it begins anew with [`retry`](crate::block::deferred::Deferred::retry). Any context.
    fn settle(&self, _ask: Ask, status: Status, _lost: u32) -> Settled {
        Settled::With(status)
    }

    /// Says how a replica is.
    fn facts(&self, _facts: &mut stor_replica_facts) -> Result {
        Err(crate::abi::errno::EOPNOTSUPP.into())
    }

    /// Compares the legs of a replica.
    fn verify(&self, _ask: &mut stor_replica_verify) -> Result {
        Err(crate::abi::errno::EOPNOTSUPP.into())
    }

    /// How many sectors from this one on, of so many, are known to be zeros that take no space.
    fn hole(&self, _sector: u64, _sectors: u64) -> u64 {
        0
    }

    /// What is to be done for a flush. Must not sleep.
    fn flush(&self, _ask: Ask) -> Result<Flush, Status> {
        Ok(Flush::Lowers(u64::MAX))
    }

    /// Takes a new size and configuration while requests are live; EOPNOTSUPP if they have to be held for that.
    fn change(&self, _config: &Config<'_>) -> Result {
        Err(crate::abi::errno::EOPNOTSUPP.into())
    }
}

/// A kind of pool: what volumes have in common. The order of calls is as of a [`Target`]; all may sleep.
pub trait PoolTarget: Sized + Send + Sync + 'static {
    /// Its name in the control ABI.
    const NAME: &'static str;

    /// Makes a pool; checks everything that user space can get wrong.
    fn prepare(config: &Config<'_>) -> Result<Arc<Self>>;

    /// Reads its state from the devices.
    fn load(&self) -> Result;

    /// Writes its state to the devices.
    fn close(&self) -> Result;

    /// Writes most of its state while requests are live, so that `close` has little to do.
    fn settle(&self);

    /// Takes more lower devices and another configuration, with requests of its volumes live.
    fn reload(&self, config: &Config<'_>) -> Result;

    /// Does what `STOR_IOC_POOL_CHANGE` asks for.
    fn change(&self, change: &mut stor_pool_change, items: &[stor_pool_item]) -> Result;

    /// Says how it is.
    fn facts(&self, facts: &mut stor_pool_facts) -> Result;

    /// Says what a device has.
    fn device(&self, device: &mut stor_pool_device) -> Result;

    /// The lower devices that data is on, a bit for each, and the bytes of a data block.
    fn geometry(&self) -> (u64, u32);
}

/// Of targets without pools. There is none.
pub enum NoPool {}

impl PoolTarget for NoPool {
    const NAME: &'static str = "";

    fn prepare(_: &Config<'_>) -> Result<Arc<Self>> {
        Err(EINVAL)
    }

    fn load(&self) -> Result {
        match *self {}
    }

    fn close(&self) -> Result {
        match *self {}
    }

    fn settle(&self) {
        match *self {}
    }

    fn reload(&self, _: &Config<'_>) -> Result {
        match *self {}
    }

    fn change(&self, _: &mut stor_pool_change, _: &[stor_pool_item]) -> Result {
        match *self {}
    }

    fn facts(&self, _: &mut stor_pool_facts) -> Result {
        match *self {}
    }

    fn device(&self, _: &mut stor_pool_device) -> Result {
        match *self {}
    }

    fn geometry(&self) -> (u64, u32) {
        match *self {}
    }
}

/// The targets, by name.
pub static TARGETS: &[(&str, Prepare)] =
    &[table_of::<linear::Linear>(), table_of::<replica::Replica>(), table_of::<thin::Thin>()];

/// The kinds of pools, by name.
pub static POOLS: &[(&str, PreparePool)] = &[pool_of::<thin::ThinPool>()];
