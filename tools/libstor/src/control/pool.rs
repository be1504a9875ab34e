// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The part of the control ABI that is about pools: one method per ioctl, 1:1 apart from types.

use super::Answer;
use crate::device::Device;
use crate::volume::Lower;
use crate::{Bytes, Uuid};
use std::time::Duration;

/// What a pool is made of, for `STOR_IOC_POOL_CREATE` and `STOR_IOC_POOL_RELOAD`.
#[derive(Clone, Copy, Debug)]
pub struct PoolTable<'a> {
    /// The devices below it.
    pub lowers: &'a [Device],
    /// Its configuration.
    pub config: &'a [u8],
}

/// A pool that is to be opened.
#[derive(Clone, Copy, Debug)]
pub struct PoolCreate<'a> {
    /// Its UUID, not nil.
    pub uuid: Uuid,
    /// Its name.
    pub name: &'a str,
    /// The kind of pool.
    pub target: &'a str,
    /// Whether nothing in it may be changed.
    pub read_only: bool,
    /// What it is made of.
    pub table: PoolTable<'a>,
}

/// A pool, as `STOR_IOC_POOL_LIST` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolInfo {
    /// Its UUID.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// What kind it is.
    pub target: String,
    /// The engine that drives it; none if it is dead.
    pub engine: Option<String>,
    /// `STOR_STATE_*`
    pub state: u32,
    /// How many volumes it has in the kernel.
    pub volumes: u32,
    /// How many devices are below it.
    pub lower_count: u32,
}

/// What a pool's target says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolFacts {
    /// `STOR_POOL_WRITE` and what is worse.
    pub mode: u32,
    /// `STOR_POOL_NEEDS_CHECK` and others.
    pub flags: u32,
    /// Room for data.
    pub data_size: Bytes,
    /// How much of it is used.
    pub data_used: Bytes,
    /// Room for metadata.
    pub metadata_size: Bytes,
    /// How much of it is used.
    pub metadata_used: Bytes,
    /// How much of it only deletions and commits may use.
    pub metadata_reserve: Bytes,
    /// The transaction id.
    pub transaction: u64,
    /// The block of the metadata snapshot, or 0.
    pub held_root: u64,
    /// Snapshots that can still be taken.
    pub snapshots_left: u64,
    /// Devices that are being deleted.
    pub deleting: u64,
    /// Requests that wait for the pool.
    pub waiting: u64,
    /// Since when the first of them does, in nanoseconds since boot, or 0.
    pub wait_since: u64,
    /// Bytes of kernel memory.
    pub memory: Bytes,
    /// Commits since it was opened.
    pub commits: u64,
    /// `STOR_WAIT_*` of the first that waits.
    pub wait: u32,
    /// The error that made it read-only, or 0.
    pub last_error: i32,
}

/// What `STOR_IOC_POOL_STATUS` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolStatus {
    /// What a listing shows.
    pub info: PoolInfo,
    /// What its target says; all zero if it is dead.
    pub facts: PoolFacts,
    /// The devices below.
    pub lowers: Vec<Lower>,
    /// Its configuration.
    pub config: Vec<u8>,
}

/// A device in a [`Transaction`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its id.
    pub device: u64,
    /// Of which it is made a snapshot; else 0.
    pub origin: u64,
}

/// One transaction of a pool.
#[derive(Clone, Copy, Debug)]
pub struct Transaction<'a> {
    /// `STOR_POOL_CHANGE_*`
    pub change: u32,
    /// Which devices.
    pub items: &'a [Item],
    /// The transaction id before it,
    pub old: u64,
    /// and after it.
    pub new: u64,
}

/// What a transaction tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The block of the metadata snapshot, if one was made.
    pub held_root: u64,
    /// How long writes to the origins of snapshots were held.
    pub pause: Duration,
}

/// What a device of a pool has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolDevice {
    /// What it maps.
    pub mapped: Bytes,
    /// What its deletion would free, if that was asked for.
    pub exclusive: Bytes,
    /// The transaction id when it was made.
    pub transaction: u64,
    /// The snapshot clock then.
    pub created: u32,
    /// The snapshot clock when it was last an origin.
    pub snapshotted: u32,
    /// Whether its writes fail since there was no room for one.
    pub no_room: bool,
}

/// The control ABI for pools.
pub trait Pools {
    /// `STOR_IOC_POOL_CREATE`
    fn pool_create(&self, create: &PoolCreate<'_>) -> Answer<()>;
    /// `STOR_IOC_POOL_REMOVE`
    fn pool_remove(&self, uuid: Uuid) -> Answer<()>;
    /// `STOR_IOC_POOL_RELOAD`
    fn pool_reload(&self, uuid: Uuid, table: &PoolTable<'_>) -> Answer<()>;
    /// `STOR_IOC_POOL_LIST`
    fn pool_list(&self) -> Answer<Vec<PoolInfo>>;
    /// `STOR_IOC_POOL_STATUS`
    fn pool_status(&self, uuid: Uuid) -> Answer<PoolStatus>;
    /// `STOR_IOC_POOL_CHANGE`
    fn pool_change(&self, uuid: Uuid, transaction: &Transaction<'_>) -> Answer<Changed>;
    /// `STOR_IOC_POOL_DEVICE`
    fn pool_device(&self, uuid: Uuid, device: u64, exclusive: bool) -> Answer<PoolDevice>;
}
