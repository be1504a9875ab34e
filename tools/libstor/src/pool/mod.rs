// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Thin pools: made, found, activated, looked at, grown, checked; their volumes and snapshots.
//!
//! A pool is a set of devices with [labels](member), which [`scan`] finds and puts together. [`layout`] plans what lies where.
//! The first device has the [catalog]: names, sizes and settings of volumes, in two [slots] that change together
//! with the pool. [`open`] is a pool that a command works on: locked against other commands, and mended where a crash has
//! left something half done. Above that are the operations, each a method of [`Stor`](crate::Stor).
//!
//! The kernel is told where metadata and data are and which volumes there are, and nothing of labels and catalogs:
//! these are of user space alone.

mod activate;
pub mod area;
pub(crate) mod below;
mod catalog;
mod change;
mod check;
pub mod config;
mod create;
mod diff;
mod extend;
mod external;
mod layout;
mod list;
mod lvm;
pub(crate) mod member;
pub(crate) mod name;
mod open;
mod remove;
mod repair;
pub(crate) mod resolve;
pub(crate) mod scan;
mod settings;
pub(crate) mod signature;
mod slots;
mod snapshot;
mod view;
mod volume;

pub use activate::Activate;
pub use create::NewPool;
pub use extend::Extend;
pub use lvm::Import;
pub use repair::{RepairPool, Repaired};
pub use settings::{Policy, PoolSettings, VolumeSettings};
pub use snapshot::{NewSnapshot, Rollback, SnapshotChange, GROUP};
pub use view::{ActiveView, DeviceView, Found, Growth, PoolChange, PoolDetail, PoolView, Waiting};
pub use volume::{since, NewClone, NewThin, ThinDetail};
