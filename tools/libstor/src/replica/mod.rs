// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Replicas: volumes on several legs, each with md's metadata and all of the data; made, found, started, looked at.
//!
//! A replica is what [`scan`] finds on devices, as a pool is: no file has to name its legs. Who has the data is planned here by the
//! same code as in the kernel ([`stor_pure::pure::replica::assemble`]), so that a refusal is a sentence with names of devices; the
//! kernel plans again from what is on the legs. The volume has the array's name and UUID.
//!
//! - [`leg`], [`tie_break`]: what a device has of a replica
//! - [`scan`], [`refuse`]: found, put together, planned, refused
//! - [`create`], [`draft`], [`assemble`], [`activate`], [`rejoin`], [`change`]: what is done
//! - [`members`], [`spare`]: who comes and goes
//! - [`convert`], [`joint`]: a volume that becomes a replica, and its leg, whose metadata are elsewhere
//! - [`array`], [`fallback`], [`steps`]: the kernel's own md in place of Stor's modules
//! - [`import`], [`export`]: what was md's, and what becomes md's again
//! - [`reserve`]: other machines are kept out
//! - [`verify`]: whether the legs are equal
//! - [`list`], [`view`]: what is shown

mod activate;
pub mod array;
mod assemble;
mod change;
pub mod config;
mod convert;
mod create;
mod draft;
mod export;
mod fallback;
mod import;
pub(crate) mod joint;
pub(crate) mod leg;
mod list;
mod members;
mod refuse;
mod rejoin;
mod reserve;
pub(crate) mod scan;
mod spare;
pub(crate) mod steps;
pub(crate) mod tie_break;
mod verify;
mod view;

pub use assemble::Assemble;
pub use change::Settings;
pub use convert::Convert;
pub use create::NewReplica;
pub use import::Import;
pub use reserve::Reserve;
pub use stor_pure::abi::uapi::STOR_REPLICA_NEVER;
pub use verify::{Checksum, Comparison, Difference, Verify};
pub(crate) use view::stop_word;
pub use view::{waits_for, FoundLeg, LegView, Md, Rebuild, ReplicaChange, ReplicaView, Running};

/// The kind of volume.
pub(crate) const REPLICA: &str = "replica";
