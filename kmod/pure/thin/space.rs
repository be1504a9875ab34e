// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Space maps: reference counts of blocks (`drivers/md/persistent-data/dm-space-map-common.h`).
//!
//! A count takes two bits in a bitmap; one of 3 or more says so there and stands in a B-tree. Where the bitmaps are stands
//! in index entries: those of the data device in a B-tree, those of the metadata device in one index block.

use super::block::{Block, Header, BLOCK_SIZE};
use super::node::Value;
use core::mem::size_of;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Blocks whose counts one bitmap has.
pub const BITMAP_ENTRIES: u64 = ((BLOCK_SIZE - size_of::<Header>()) * 4) as u64;
/// Bitmaps that the metadata device can have.
pub const INDEX_ENTRIES: usize = 255;
/// Blocks that the metadata device can have; what is behind them is not used.
pub const METADATA_MAX: u64 = INDEX_ENTRIES as u64 * BITMAP_ENTRIES;
/// Counts from here on stand in the tree.
pub const OVERFLOW: u32 = 3;

const _: () = assert!(BITMAP_ENTRIES == 16_320 && METADATA_MAX == 4_161_600);

/// The root of a space map (`struct disk_sm_root`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Root {
    /// Blocks of the device.
    pub blocks: U64,
    /// Blocks whose count is not 0.
    pub allocated: U64,
    /// Root of the tree of index entries, or the index block.
    pub bitmap_root: U64,
    /// Root of the tree of counts from [`OVERFLOW`] on.
    pub overflow_root: U64,
}

/// Where a bitmap is, and what is known of it (`struct disk_index_entry`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct IndexEntry {
    /// The bitmap's block.
    pub block: U64,
    /// Counts in it that are 0, those past the end of the device too.
    pub free: U32,
    /// No count before this is 0. May be too low, never too high.
    pub none_free_before: U32,
}

const _: () = assert!(size_of::<Root>() == 32 && size_of::<IndexEntry>() == 16 && <IndexEntry as Value>::MAX == 168);

impl Value for IndexEntry {}

/// The bitmap and the entry in it of a block.
pub const fn place(block: u64) -> (u64, u32) {
    (block / BITMAP_ENTRIES, (block % BITMAP_ENTRIES) as u32)
}

/// The index block of the metadata device (`struct disk_metadata_index`).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct IndexBlock {
    /// As every block has.
    pub header: Header,
    /// One for each bitmap; the rest is zero.
    pub entries: [IndexEntry; INDEX_ENTRIES],
}

const _: () = assert!(size_of::<IndexBlock>() == BLOCK_SIZE);

impl IndexBlock {
    /// Views a block as an index block.
    pub fn of(block: &Block) -> Self {
        Self::read_from_bytes(block).unwrap_or_else(|_| Self::new_zeroed())
    }

    /// One entry of a block, without a copy of the others.
    pub fn entry(block: &Block, index: usize) -> Option<IndexEntry> {
        let at = size_of::<Header>().checked_add(index.checked_mul(size_of::<IndexEntry>())?)?;
        IndexEntry::read_from_prefix(block.get(at..)?).ok().map(|(entry, _)| entry)
    }
}

/// A count as a bitmap has it: 3 stands for [`OVERFLOW`] and more.
///
/// The pair's lower bit is the count's higher one.
pub fn count(bitmap: &Block, entry: u32) -> u32 {
    let byte = bitmap.get(size_of::<Header>() + entry as usize / 4).copied().unwrap_or_default();
    let pair = u32::from(byte) >> (2 * (entry % 4));
    ((pair & 1) << 1) | ((pair >> 1) & 1)
}

/// The 32 counts from `first` on, as they stand in a bitmap; `first` is a multiple of 4.
pub fn word(bitmap: &Block, first: u32) -> u64 {
    let at = size_of::<Header>() + first as usize / 4;
    bitmap.get(at..at + 8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// Sets a count, of which 3 and more are the same to a bitmap.
pub fn set_count(bitmap: &mut Block, entry: u32, count: u32) {
    let shift = 2 * (entry % 4);
    if let Some(byte) = bitmap.get_mut(size_of::<Header>() + entry as usize / 4) {
        *byte = (*byte & !(3 << shift)) | (pair(count) << shift);
    }
}

/// Sets counts in a row from `entry` on, a multiple of 4, as [`set_count`] does; if they end within a byte, the rest of it is 0.
pub fn set_counts(bitmap: &mut Block, entry: u32, counts: &[u32]) {
    let bytes = bitmap.get_mut(size_of::<Header>() + entry as usize / 4..).unwrap_or_default();
    for (byte, counts) in bytes.iter_mut().zip(counts.chunks(4)) {
        *byte = counts.iter().rev().fold(0, |pairs, &count| (pairs << 2) | pair(count));
    }
}

/// As a bitmap has a count.
fn pair(count: u32) -> u8 {
    let count = count.min(OVERFLOW) as u8;
    ((count & 1) << 1) | (count >> 1)
}

/// The first entry from `begin` on, and before `end`, whose count is 0.
pub fn find_free(bitmap: &Block, begin: u32, end: u32) -> Option<u32> {
    let mut entry = begin;
    while entry < end {
        // Thirty-two counts at a time, where that can be.
        let at = size_of::<Header>() + entry as usize / 4;
        if entry % 32 == 0 && end - entry >= 32 {
            if let Some(Ok(word)) = bitmap.get(at..at + 8).map(<[u8; 8]>::try_from) {
                let word = u64::from_le_bytes(word);
                let used = (word | (word >> 1)) & 0x5555_5555_5555_5555;
                if used == 0x5555_5555_5555_5555 {
                    entry += 32;
                    continue;
                }
                return Some(entry + (!used & 0x5555_5555_5555_5555).trailing_zeros() / 2);
            }
        }
        if count(bitmap, entry) == 0 {
            return Some(entry);
        }
        entry += 1;
    }
    None
}
