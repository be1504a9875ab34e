// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the leaves of the mapping and details trees hold.

use super::mutant::{breaks, Mutant};
use super::node::Value;
use super::superblock::LAST_TIME;
use crate::pure::units::DataBlock;
use core::mem::size_of;
use zerocopy::little_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The largest device id: they have 24 bits.
pub const LAST_DEVICE: u64 = (1 << 24) - 1;
/// The largest data block number that a mapping can name: it has 40 bits for it.
pub const LAST_DATA_BLOCK: u64 = (1 << 40) - 1;

/// A virtual block's data block, and the snapshot clock when it was mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Where the data is.
    pub block: DataBlock,
    /// When it was mapped.
    pub time: u32,
}

impl Mapping {
    /// As a leaf holds it.
    pub fn pack(self) -> U64 {
        (((self.block.0 & LAST_DATA_BLOCK) << 24) | u64::from(self.time & LAST_TIME)).into()
    }

    /// As a leaf held it.
    pub fn unpack(packed: U64) -> Self {
        Self { block: DataBlock(packed.get() >> 24), time: packed.get() as u32 & LAST_TIME }
    }
}

/// What is known of a thin device (`struct disk_device_details`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Details {
    /// How many virtual blocks are mapped.
    pub mapped_blocks: U64,
    /// The pool's transaction id when the device was made.
    pub transaction_id: U64,
    /// The snapshot clock when the device was made.
    pub creation_time: U32,
    /// The snapshot clock when the last snapshot of it was taken: older mappings may be shared.
    pub snapshotted_time: U32,
}

const _: () = assert!(size_of::<Details>() == 24 && <Details as Value>::MAX == 126);

impl Value for Details {}

impl Details {
    /// Whether a mapping of this device may be another device's too, so that it must not be written to.
    pub fn shares(&self, mapping: Mapping) -> bool {
        self.snapshotted_time.get() > mapping.time + u32::from(breaks(Mutant::Share))
    }
}
