// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Stor from user space: what `storctl` does, as a library.
//!
//! [`Stor`] is the entry: it is connected to a [`System`], which is either this machine ([`Machine`], ioctls on
//! `/dev/stor-control`; or [`Mapper`], its device-mapper) or a kernel kept in a file ([`Simulated`]), and has one method per thing an operator wants
//! done. Whatever is refused comes back as an [`Error`]: what was tried, why it failed, what to do, and a [`Kind`]
//! that decides the exit code.
//!
//! - [`control`]: the control ABI as a trait, one method per ioctl, and its two implementations
//! - [`device`]: block devices and who uses them
//! - [`linear`]: tables of target `linear`: planned, encoded, compared
//! - [`volume`], [`engine`], [`event`]: the operations
//! - [`pool`]: thin pools, their volumes and snapshots
//! - [`replica`]: volumes on several legs
//! - [`reservation`]: persistent reservations of devices
//! - [`metadata`]: dm-thin metadata in files and on devices
//! - [`doctor`]: why Stor does not work here
//! - [`size`]: sizes as people write them
#![deny(unsafe_code)]

pub mod control;
pub mod device;
pub mod doctor;
pub mod engine;
pub mod error;
pub mod event;
pub mod linear;
pub mod metadata;
pub mod pool;
pub mod replica;
pub mod reservation;
pub mod size;
mod stor;
pub mod udev;
pub mod volume;

pub use control::{Control, Machine, Mapper, Simulated, System};
pub use error::{Error, Kind, Result};
pub use stor::{Module, Stor, Version};
pub use stor_pure::pure::units::Bytes;
pub use uuid::Uuid;
