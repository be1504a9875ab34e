// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The logic of Stor: what decides, and never acts.
//!
//! The same files are compiled into the kernel modules, the tools, the tests and the fuzzers. Nothing here
//! chooses its memory, locks, sleeps, reads a clock, logs, or is `unsafe`; callers pass slices in and act on the answer.
//! Refusals are values with an errno ([`crate::abi::errno`]) for the kernel and a sentence for people.
//!
//! - [`units`]: bytes and sectors, and the only conversions between them
//! - [`text`]: names, versions and UUIDs that cross the control ABI
//! - [`control`]: what every ioctl argument must satisfy
//! - [`label`]: what is at the head of a pool's devices: whose they are, and which part is what
//! - [`catalog`]: what a pool knows of its volumes: names, sizes, policies
//! - [`linear`]: the table of target `linear`
//! - [`thin`]: dm-thin metadata
//! - [`md`]: md metadata 1.2 of RAID1: superblock, bitmap, bad-block log
//! - [`replica`]: who of a volume's legs has its data: the membership record, and the planners

pub mod catalog;
pub mod control;
pub mod label;
pub mod linear;
pub mod md;
pub mod mutant;
pub mod replica;
pub mod text;
pub mod thin;
pub mod units;

pub use crate::abi::errno;
