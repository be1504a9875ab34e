// SPDX-License-Identifier: GPL-2.0 OR MIT

//! md metadata, version 1.2, of RAID1: the same bytes that the kernel's md and mdadm read and write.
//!
//! Each file is one structure, zero-copy, little-endian: [`superblock`] (with the roles of all legs), [`bitmap`] (the
//! write-intent bitmap), [`badblock`] (the bad-block log); [`layout`] says where they lie on a leg, [`create`] makes the superblocks
//! of a new array. What is refused: other
//! levels, arrays that are clustered, journalled, reshaped or have a PPL, and every feature that is not known.

pub mod badblock;
pub mod bitmap;
pub mod create;
pub mod layout;
pub mod superblock;

/// 4 KiB: the room of a superblock, a page of a bitmap, a bad-block log, a copy of a membership record.
pub const PAGE_SIZE: usize = 4096;
/// The same in sectors.
pub const PAGE_SECTORS: u64 = 8;

/// The bytes of one of these.
pub type Page = [u8; PAGE_SIZE];
