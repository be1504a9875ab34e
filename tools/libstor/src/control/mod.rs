// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The control ABI (`kmod/uapi/stor.h`) as a trait: one method per ioctl, 1:1 apart from types.
//!
//! Errors are the kernel's errnos; what they mean to an operator is said by the operations above
//! ([`crate::volume`], [`crate::engine`]). Text, counts and pointers are handled here and nowhere else.

mod both;
mod machine;
pub(crate) mod mapper;
pub mod pool;
pub mod replica;
mod simulated;
#[allow(unsafe_code)]
mod sys;

pub use both::{for_replicas, is_fallback, local};
use machine::no_mdadm;
pub use machine::Machine;
pub use mapper::Mapper;
pub use pool::Pools;
pub use replica::{Repair, ReplicaFacts, Verified};
pub use simulated::Simulated;

use crate::device::{Device, Host, Number};
use crate::engine::Engine;
use crate::event::Event;
use crate::volume::{Info, Status};
use crate::{Bytes, Result, Uuid};
use nix::errno::Errno;
use std::time::Duration;

/// A kernel with Stor in it and the devices it can reach.
pub trait System: Control + Pools + Host {}

impl<T: Control + Pools + Host> System for T {}

/// What `STOR_IOC_VERSION` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Front {
    /// The lowest control ABI that the module speaks.
    pub abi_min: u32,
    /// The highest.
    pub abi_max: u32,
    /// Its ABI towards engines.
    pub engine_abi: u32,
    /// Its version.
    pub version: String,
}

/// What a volume is made of, for `STOR_IOC_CREATE` and `STOR_IOC_RELOAD`.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    /// Size of the volume.
    pub size: Bytes,
    /// The devices below it.
    pub lowers: &'a [Device],
    /// The target's configuration.
    pub config: &'a [u8],
}

/// A new volume.
#[derive(Clone, Copy, Debug)]
pub struct Create<'a> {
    /// Its UUID, not nil.
    pub uuid: Uuid,
    /// Its name.
    pub name: &'a str,
    /// The kind of volume.
    pub target: &'a str,
    /// Whether it refuses writes.
    pub read_only: bool,
    /// What it is made of.
    pub table: Table<'a>,
    /// The pool that it is a volume of.
    pub pool: Option<Uuid>,
}

/// A volume that is to go on as another target, on what it was until then.
#[derive(Clone, Copy, Debug)]
pub struct Insert<'a> {
    /// Its UUID.
    pub uuid: Uuid,
    /// UUID and name of the volume that is what this one was.
    pub below: (Uuid, &'a str),
    /// Those of the volume that stands on the `table`'s lowers and, as the last of them, on that.
    pub joined: (Uuid, &'a str),
    /// The kind of that volume.
    pub joined_target: &'a str,
    /// What that volume is made of.
    pub table: Table<'a>,
    /// What this one goes on as, with the joined volume as its only lower,
    pub target: &'a str,
    /// and with this configuration.
    pub config: &'a [u8],
}

/// The node of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// N of `/dev/storN`.
    pub index: u32,
    /// Its device number.
    pub number: Number,
}

/// What happened to a volume in an engine switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switched {
    /// Which volume.
    pub uuid: Uuid,
    /// `STOR_SWITCH_*`.
    pub outcome: u32,
    /// Why it did not move.
    pub error: Option<Errno>,
    /// How long its I/O was held.
    pub pause: Duration,
}

/// What a call of the control ABI returns.
pub type Answer<T> = std::result::Result<T, Errno>;

/// The control ABI.
pub trait Control {
    /// `STOR_IOC_VERSION`
    fn version(&self) -> Answer<Front>;
    /// `STOR_IOC_CREATE`
    fn create(&self, create: &Create<'_>) -> Answer<Node>;
    /// `STOR_IOC_REMOVE`
    fn remove(&self, uuid: Uuid) -> Answer<()>;
    /// Whether a volume that was open is closed soon: udev and others open each disk for a moment.
    fn closes(&self, _uuid: Uuid) -> bool {
        false
    }
    /// `STOR_IOC_SUSPEND`
    fn suspend(&self, uuid: Uuid) -> Answer<()>;
    /// `STOR_IOC_RESUME`
    fn resume(&self, uuid: Uuid) -> Answer<()>;
    /// `STOR_IOC_RELOAD`
    fn reload(&self, uuid: Uuid, table: &Table<'_>, shrink: bool) -> Answer<()>;
    /// `STOR_IOC_INSERT`
    fn insert(&self, insert: &Insert<'_>) -> Answer<()>;
    /// `STOR_IOC_LIST`
    fn list(&self) -> Answer<Vec<Info>>;
    /// `STOR_IOC_STATUS`
    fn status(&self, uuid: Uuid) -> Answer<Status>;
    /// `STOR_IOC_SET`: whether the volume refuses writes.
    fn set_read_only(&self, uuid: Uuid, read_only: bool) -> Answer<()>;
    /// `STOR_IOC_RENAME`
    fn rename(&self, uuid: Uuid, name: &str) -> Answer<()>;
    /// `STOR_IOC_REPLICA_STATUS`
    fn replica_status(&self, uuid: Uuid) -> Answer<ReplicaFacts>;
    /// `STOR_IOC_REPLICA_VERIFY`, from the first byte up to the second.
    fn replica_verify(&self, uuid: Uuid, range: (Bytes, Bytes), repair: Repair) -> Answer<Verified>;
    /// `STOR_IOC_ENGINE_LIST`
    fn engine_list(&self) -> Answer<Vec<Engine>>;
    /// `STOR_IOC_ENGINE_SWITCH`: the call's own answer, and what it tells of each volume either way.
    fn engine_switch(&self, version: &str) -> (Answer<()>, Vec<Switched>);
    /// Opens the stream of events: those that come from now on.
    fn events(&self) -> Result<Box<dyn Events + '_>>;
}

/// A stream of events.
pub trait Events {
    /// The next event, or `None` if none came in time; without a limit it waits.
    fn next(&mut self, timeout: Option<Duration>) -> Answer<Option<Event>>;
}
