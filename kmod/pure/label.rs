// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The label of a device that belongs to a pool: whose it is, and which part of it is what.
//!
//! A label is 4 KiB, and stands twice in the device's head: behind its first 4 KiB, which are left to boot loaders and
//! partition tables, and in its last 4 KiB. The copies are written one after the other, each with a flush, so that one is always
//! sound; the one with the higher sequence counts. All areas are plain slices of the device: dm-linear over them gives dm-thin
//! the metadata and data devices that it wants.

use super::thin::crc::Crc;
use super::units::Bytes;
use core::fmt;
use core::mem::{offset_of, size_of};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, IntoBytes};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a label.
pub const LABEL_SIZE: usize = 4096;
/// Where the first copy is.
pub const FIRST: Bytes = Bytes(4096);
/// The first bytes of a label behind its checksum and version.
pub const MAGIC: [u8; 8] = *b"StorPool";
/// The version that this code writes, and the only one that it reads.
pub const VERSION: u32 = 1;
/// Areas begin and end at multiples of this.
pub const UNIT: Bytes = Bytes(1 << 20);
/// Bytes of a pool's name with at least one zero at its end.
pub const NAME_LEN: usize = 64;

/// A part of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Area {
    /// Its first byte.
    pub start: U64,
    /// How long it is; 0 if the device has none.
    pub length: U64,
}

impl Area {
    /// Behind its last byte.
    pub fn end(&self) -> Option<u64> {
        self.start.get().checked_add(self.length.get())
    }
}

/// A label.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Label {
    /// CRC-32C of bytes 4 to 4,095, as the library function of that name gives it.
    pub checksum: U32,
    /// [`VERSION`].
    pub version: U32,
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// Rises with each change.
    pub sequence: U64,
    /// Where this copy is.
    pub location: U64,
    /// The pool's UUID.
    pub pool: [u8; 16],
    /// The device's own.
    pub device: [u8; 16],
    /// Bytes of the device that the pool uses.
    pub size: U64,
    /// Features that whoever does not know them must not open.
    pub features: U32,
    /// Sectors of a data block, as in the metadata's superblock.
    pub data_block_size: U32,
    /// Which of the pool's devices this is, and how many there are.
    pub index: U32,
    /// Devices of the pool.
    pub devices: U32,
    /// What the labels stand in.
    pub head: Area,
    /// Two slots of the catalog, of the same length, one after the other.
    pub catalog: Area,
    /// dm-thin metadata.
    pub metadata: Area,
    /// Data blocks.
    pub data: Area,
    /// Data blocks of the pool before this device's.
    pub first_block: U64,
    /// The pool's name.
    pub name: [u8; NAME_LEN],
}

const _: () = assert!(size_of::<Label>() == 224 && offset_of!(Label, pool) == 32);
const _: () = assert!(offset_of!(Label, head) == 88 && offset_of!(Label, name) == 160);

/// Why a label is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is none.
    Magic,
    /// It is damaged.
    Checksum,
    /// It was copied here from elsewhere.
    Location(u64),
    /// Written by something newer.
    Version(u32),
    /// Features that have to be known.
    Features(u32),
    /// An area that is not in the device, or in another.
    Area,
    /// The device is smaller than it was.
    Truncated {
        /// What the label says.
        size: u64,
        /// What there is.
        device: u64,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("no pool label"),
            Self::Checksum => f.write_str("the pool label's checksum does not fit its contents"),
            Self::Location(at) => write!(f, "the pool label was written for byte {at} of a device: this is a copy"),
            Self::Version(version) => write!(f, "pool label version {version} is not known, only {VERSION}"),
            Self::Features(flags) => write!(f, "the pool has unknown features {flags:#x}: use a newer version"),
            Self::Area => f.write_str("the pool label names areas that overlap or leave the device"),
            Self::Truncated { size, device } => {
                write!(f, "the pool uses {size} bytes of the device, which has only {device}: give it back its size")
            }
        }
    }
}

impl Label {
    /// Where the second copy is.
    pub fn second(&self) -> Option<u64> {
        self.head.end()?.checked_sub(LABEL_SIZE as u64)
    }

    /// As it is written to one of its places.
    pub fn to_bytes<C: Crc>(mut self, location: u64) -> [u8; LABEL_SIZE] {
        let mut bytes = [0; LABEL_SIZE];
        self.location = location.into();
        let _ = self.write_to_prefix(&mut bytes); // a label's place is larger
        let (sum, covered) = bytes.split_at_mut(size_of::<U32>());
        sum.copy_from_slice(&(!C::crc32c(covered)).to_le_bytes());
        bytes
    }

    /// Reads a copy that was found at `location` on a device of `device` bytes.
    ///
    /// # Errors
    ///
    /// Why it cannot be used.
    pub fn from_bytes<C: Crc>(bytes: &[u8; LABEL_SIZE], location: u64, device: u64) -> Result<Self, Refusal> {
        let (label, _) = Self::read_from_prefix(bytes).map_err(|_| Refusal::Magic)?;
        if label.magic != MAGIC {
            return Err(Refusal::Magic);
        }
        let (_, covered) = bytes.split_at(size_of::<U32>());
        if label.checksum.get() != !C::crc32c(covered) {
            return Err(Refusal::Checksum);
        }
        if label.version.get() != VERSION {
            return Err(Refusal::Version(label.version.get()));
        }
        if label.location.get() != location {
            return Err(Refusal::Location(label.location.get()));
        }
        if label.features.get() != 0 {
            return Err(Refusal::Features(label.features.get()));
        }
        if label.size.get() > device {
            return Err(Refusal::Truncated { size: label.size.get(), device });
        }
        label.areas()?;
        Ok(label)
    }

    /// Whether the areas are in the device, in order, and at whole units.
    fn areas(&self) -> Result<(), Refusal> {
        let mut end = 0;
        for area in [self.head, self.catalog, self.metadata, self.data] {
            if area.length.get() == 0 {
                continue;
            }
            let whole = area.start.get() % UNIT.0 == 0 && area.length.get() % UNIT.0 == 0;
            if !whole || area.start.get() < end {
                return Err(Refusal::Area);
            }
            end = area.end().ok_or(Refusal::Area)?;
        }
        if end > self.size.get() || self.head.start.get() != 0 || self.head.length.get() == 0 {
            return Err(Refusal::Area);
        }
        Ok(())
    }
}

/// The label of a device, of the copies that were found: the newer of those that can be used.
///
/// # Errors
///
/// None can be used: why the first cannot, or the second if there is no label at the first's place.
pub fn newest(first: Result<Label, Refusal>, second: Result<Label, Refusal>) -> Result<Label, Refusal> {
    match (first, second) {
        (Ok(first), Ok(second)) if second.sequence.get() > first.sequence.get() => Ok(second),
        (Ok(label), _) | (Err(_), Ok(label)) => Ok(label),
        (Err(Refusal::Magic), second) => second,
        (first, _) => first,
    }
}
