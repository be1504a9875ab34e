// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The superblock: block 0, the only block that is written in place.
//!
//! Its 364 bytes lie in one 512-byte sector and the rest of the block never changes, so that a torn write leaves the old
//! one or the new one.

use super::block::{self, Block, Header, Kind, BLOCK_SIZE};
use super::error::{Damage, Error};
use super::space::{Root, BITMAP_ENTRIES, METADATA_MAX};
use super::store::Store;
use super::value::LAST_DATA_BLOCK;
use crate::pure::units::MetadataBlock;
use core::fmt;
use core::mem::offset_of;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, IntoBytes};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `THIN_SUPERBLOCK_MAGIC`.
pub const MAGIC: u64 = 27_022_010;
/// The one version there is.
pub const VERSION: u32 = 2;
/// In [`Header::flags`]: the metadata has to be checked before it is written again.
pub const NEEDS_CHECK: u32 = 1;
/// Sectors of a metadata block.
pub const METADATA_BLOCK_SECTORS: u32 = 8;
/// Data block sizes are multiples of this many sectors, and at least that,
pub const DATA_BLOCK_UNIT: u32 = 128;
/// and at most this many.
pub const DATA_BLOCK_MAX: u32 = 2_097_152;
/// The clock's last value: a mapping has 24 bits for it.
pub const LAST_TIME: u32 = (1 << 24) - 1;

/// `struct thin_disk_superblock`, `drivers/md/dm-thin-metadata.c`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Superblock {
    /// As every block has.
    pub header: Header,
    /// Unused, zero.
    pub uuid: [u8; 16],
    /// [`MAGIC`].
    pub magic: U64,
    /// [`VERSION`].
    pub version: U32,
    /// How many snapshots have been made.
    pub time: U32,
    /// Belongs to whoever manages the pool.
    pub transaction_id: U64,
    /// The metadata snapshot's copy of the superblock, or 0.
    pub held_root: U64,
    /// Space map of the data device.
    pub data_space: RootArea,
    /// Space map of the metadata device.
    pub metadata_space: RootArea,
    /// Root of the mapping tree.
    pub mapping_root: U64,
    /// Root of the details tree.
    pub details_root: U64,
    /// Sectors of a data block.
    pub data_block_size: U32,
    /// [`METADATA_BLOCK_SECTORS`].
    pub metadata_block_size: U32,
    /// Blocks of the metadata device when it was formatted.
    pub metadata_blocks: U64,
    /// Features that whoever does not know them may ignore.
    pub compat_flags: U32,
    /// Features that whoever does not know them must not write.
    pub compat_ro_flags: U32,
    /// Features that whoever does not know them must not open.
    pub incompat_flags: U32,
}

/// The room that the superblock has for the root of a space map. What is behind the root is unspecified.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RootArea {
    /// The root.
    pub root: Root,
    /// Not read; written as zeros.
    pub rest: [u8; 96],
}

const _: () = assert!(size_of::<Superblock>() == 364 && offset_of!(Superblock, data_space) == 64);
const _: () = assert!(offset_of!(Superblock, mapping_root) == 320 && offset_of!(Superblock, incompat_flags) == 360);

/// Why a superblock is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No dm-thin metadata.
    Magic(u64),
    /// Another version of the format.
    Version(u32),
    /// Features that have to be known.
    Features(u32),
    /// Metadata blocks of another size.
    MetadataBlockSize(u32),
    /// A data block size that the format does not have.
    DataBlockSize(u32),
    /// The clock is behind its end.
    Time(u32),
    /// Flags or features that have to be known by whoever writes.
    ReadOnly(u32),
}

impl Refusal {
    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Magic(_) => "name the metadata device of a pool, or repair it",
            Self::Version(_) | Self::Features(_) => "use a newer version of this program",
            Self::ReadOnly(_) => "use a newer version of this program, or only read",
            Self::MetadataBlockSize(_) | Self::Time(_) => "repair it, or use what wrote it",
            Self::DataBlockSize(_) => "choose such a size, or repair it",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic(magic) => write!(f, "no dm-thin metadata: the magic number is {magic}, not {MAGIC}"),
            Self::Version(version) => write!(f, "metadata version {version} is not known, only {VERSION}"),
            Self::Features(flags) => write!(f, "unknown features {flags:#x}"),
            Self::MetadataBlockSize(size) => {
                write!(f, "metadata blocks of {size} sectors are not known, only of {METADATA_BLOCK_SECTORS}")
            }
            Self::DataBlockSize(size) => write!(
                f,
                "a data block of {size} sectors: must be a multiple of {DATA_BLOCK_UNIT} from there to {DATA_BLOCK_MAX}"
            ),
            Self::Time(time) => write!(f, "the snapshot clock is at {time}, behind its last value {LAST_TIME}"),
            Self::ReadOnly(flags) => write!(f, "unknown features {flags:#x}, with which it must not be changed"),
        }
    }
}

/// Whether a pool may have data blocks of so many sectors.
pub const fn is_data_block_size(sectors: u32) -> bool {
    sectors >= DATA_BLOCK_UNIT && sectors <= DATA_BLOCK_MAX && sectors % DATA_BLOCK_UNIT == 0
}

/// Reads the superblock, or a copy of it, into `bytes`.
///
/// # Errors
///
/// It cannot be read, is damaged, or is not understood.
pub fn read<S: Store>(store: &mut S, at: MetadataBlock, bytes: &mut Block) -> Result<Superblock, Error> {
    if at.0 >= store.metadata_blocks() {
        return Err(Error::Read(at));
    }
    store.read(at, bytes).map_err(|_| Error::Read(at))?;
    block::verify::<S>(bytes, Kind::Superblock, at)
        .map_err(|what| Error::Damaged(at, Damage::Frame(Kind::Superblock, what)))?;
    let superblock = Superblock::of(bytes);
    superblock.check().map_err(Error::Refused)?;
    Ok(superblock)
}

impl Superblock {
    /// What a block holds, if it is a superblock. Its frame is verified by [`verify`](super::block::verify).
    pub fn of(block: &Block) -> Self {
        // A block is longer than a superblock.
        Self::read_from_prefix(block).map_or_else(|_| zerocopy::FromZeros::new_zeroed(), |(superblock, _)| superblock)
    }

    /// Puts it into a block that is zero behind it.
    pub fn write(&self, block: &mut Block) {
        *block = [0; BLOCK_SIZE];
        let _ = self.write_to_prefix(block); // a block is longer
    }

    /// Whether it can be understood, for reading.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.magic.get() != MAGIC {
            return Err(Refusal::Magic(self.magic.get()));
        }
        if self.version.get() != VERSION {
            return Err(Refusal::Version(self.version.get()));
        }
        if self.incompat_flags.get() != 0 {
            return Err(Refusal::Features(self.incompat_flags.get()));
        }
        if self.metadata_block_size.get() != METADATA_BLOCK_SECTORS {
            return Err(Refusal::MetadataBlockSize(self.metadata_block_size.get()));
        }
        if !is_data_block_size(self.data_block_size.get()) {
            return Err(Refusal::DataBlockSize(self.data_block_size.get()));
        }
        if self.time.get() > LAST_TIME {
            return Err(Refusal::Time(self.time.get()));
        }
        Ok(())
    }

    /// Whether it can be understood, for writing.
    ///
    /// # Errors
    ///
    /// Why not: features that are not known, or a check that was asked for.
    pub fn check_write(&self) -> Result<(), Error> {
        match (self.header.flags.get() & !NEEDS_CHECK) | self.compat_ro_flags.get() {
            0 if self.needs_check() => Err(Error::NeedsCheck),
            0 => Ok(()),
            flags => Err(Error::Refused(Refusal::ReadOnly(flags))),
        }
    }

    /// Whether the space maps can be on a metadata device of so many blocks.
    ///
    /// # Errors
    ///
    /// The device is too small; or there are more data blocks than there can be bitmaps.
    pub fn check_size(&self, device: u64) -> Result<(), Error> {
        let blocks = self.metadata_space.root.blocks.get();
        if blocks > METADATA_MAX || blocks > device {
            return Err(Error::Truncated { blocks, device });
        }
        let data = self.data_space.root.blocks.get();
        if data > LAST_DATA_BLOCK + 1 || data > blocks.saturating_mul(BITMAP_ENTRIES) {
            return Err(Error::Damaged(MetadataBlock(0), Damage::DataBlocks(data)));
        }
        Ok(())
    }

    /// Whether somebody asked for a check before the next write.
    pub fn needs_check(&self) -> bool {
        self.header.flags.get() & NEEDS_CHECK != 0
    }
}
