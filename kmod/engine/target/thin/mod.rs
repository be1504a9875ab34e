// SPDX-License-Identifier: GPL-2.0

//! Target `thin`: volumes and snapshots that share a pool, on dm-thin's metadata ([`crate::pure::thin`]).
//!
//! - [`volume`]: a volume, and the way of its I/O while everything is known
//! - [`map`]: what is known of the mappings; [`epoch`](super::epoch): what is on its way to the devices
//! - [`worker`]: everything else; [`young`]: blocks that are written to and not mapped yet; [`fill`]: what of them was not written;
//!   [`commit`]: flushes; [`room`]: who gets what is free, and what becomes of those for whom there is none
//! - [`pool`]: a pool and its life; [`change`]: what user space changes in it
//! - [`hole`]: where a volume has nothing
//! - [`layout`], [`store`]: where things are, and what the metadata engine needs of the kernel
//!
//! The rules of `docs/adr/0009`:
//!
//! - a data block is on its way to be somebody's in this order: taken from the pool (in memory only); written to, or copied to;
//!   zeroed where it was not; mapped in the metadata; the data devices flushed; the metadata committed;
//! - a block that is given up is anybody's only after I/O to it has ended, the commit is durable, and it was discarded below;
//! - a flush is answered after the commit of the transaction in which its volume last changed.
//!
//! # Locks, outermost first
//!
//! 1. the pool's state ([`pool::Inner::state`]), a mutex: the metadata, and every change of a mapping. Held across I/O of the pool's own.
//! 2. the list of deferred requests; a shard of the young blocks. Spin locks; nothing is taken under them.
//!
//! Mapped I/O takes none. It enters an [epoch](super::epoch), reads the [`map`], and leaves when it has ended.

mod change;
mod commit;
mod fill;
mod hole;
mod layout;
mod map;
mod pool;
mod room;
mod store;
mod volume;
mod worker;
mod young;

pub use pool::ThinPool;
pub use volume::Thin;
