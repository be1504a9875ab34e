// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Units as types. Conversions live here and nowhere else.

/// Bytes per sector of the Linux block layer (`SECTOR_SIZE`, `include/linux/blk_types.h`).
pub const SECTOR_SIZE: u64 = 512;

/// A count of bytes, or an offset in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// A count of 512-byte sectors, or an offset in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sectors(pub u64);

impl Bytes {
    /// Whole sectors, or `None` if this is not a multiple of 512.
    pub const fn sectors(self) -> Option<Sectors> {
        if self.0 % SECTOR_SIZE == 0 {
            Some(Sectors(self.0 / SECTOR_SIZE))
        } else {
            None
        }
    }

    /// Whether this is a multiple of `unit`; nothing is a multiple of 0.
    pub const fn is_multiple_of(self, unit: Bytes) -> bool {
        match self.0.checked_rem(unit.0) {
            Some(rest) => rest == 0,
            None => false,
        }
    }

    /// Sum, or `None` on overflow.
    pub const fn checked_add(self, other: Bytes) -> Option<Bytes> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Bytes(sum)),
            None => None,
        }
    }
}

impl Sectors {
    /// The same length in bytes, or `None` on overflow.
    pub const fn bytes(self) -> Option<Bytes> {
        match self.0.checked_mul(SECTOR_SIZE) {
            Some(bytes) => Some(Bytes(bytes)),
            None => None,
        }
    }
}

/// The number of a 4 KiB block on a pool's metadata device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetadataBlock(pub u64);

/// The number of a block on a pool's data device, in the pool's data block size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataBlock(pub u64);

/// The number of a block in a thin volume, in its pool's data block size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualBlock(pub u64);
