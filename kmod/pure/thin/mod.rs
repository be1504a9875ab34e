// SPDX-License-Identifier: GPL-2.0 OR MIT

//! dm-thin metadata, version 2: the same bytes that the kernel's dm-thin and the thin-provisioning-tools read and write.
//!
//! Format, each file one structure, zero-copy: [`block`] (frame and checksum of all blocks), [`superblock`], [`node`]
//! (B-trees), [`value`] (what their leaves hold), [`space`] (reference counts). All numbers are little-endian.

pub mod block;
pub mod blocks;
pub mod build;
mod bulk;
pub mod cache;
pub mod census;
pub mod check;
pub mod commit;
pub mod cover;
pub mod crc;
pub mod data;
pub mod delta;
pub mod device;
pub mod error;
pub mod held;
pub mod mapping;
pub mod mutant;
pub mod node;
pub mod pool;
pub mod reader;
mod room;
mod sequence;
pub mod size;
pub mod space;
pub mod store;
pub mod superblock;
mod tally;
pub mod tree;
pub mod value;
