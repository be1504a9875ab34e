// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Metadata blocks: 4 KiB, each with a checksum over all but itself and with its own location.
//!
//! The location is stamped and the checksum computed when a block is written, and both are verified when it is read
//! first. The checksum's seed tells the kinds apart, and a block of one kind is never taken for one of another.

use super::crc::Crc;
use crate::pure::units::MetadataBlock;
use core::fmt;
use zerocopy::little_endian::{U32, U64};
use zerocopy::FromBytes;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a metadata block.
pub const BLOCK_SIZE: usize = 4096;

/// The bytes of a metadata block.
pub type Block = [u8; BLOCK_SIZE];

/// What a metadata block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Block 0, and the copy of it that is a metadata snapshot.
    Superblock,
    /// A node of any B-tree.
    Node,
    /// Reference counts of 16,320 blocks.
    Bitmap,
    /// Where the bitmaps of the metadata device are.
    Index,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Superblock, Self::Node, Self::Bitmap, Self::Index];

    /// What the register is xored with.
    const fn seed(self) -> u32 {
        match self {
            Self::Superblock => 160_774,
            Self::Node => 121_107,
            Self::Bitmap => 240_779,
            Self::Index => 160_478,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Superblock => "superblock",
            Self::Node => "B-tree node",
            Self::Bitmap => "bitmap",
            Self::Index => "index block",
        })
    }
}

/// The first 16 bytes of every block.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Over bytes 4 to 4095.
    pub checksum: U32,
    /// Their meaning is the kind's.
    pub flags: U32,
    /// Where the block lies.
    pub location: U64,
}

const _: () = assert!(size_of::<Header>() == 16);

/// What a block's frame can have wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// All its bytes are zero.
    Empty,
    /// The checksum is not that of its contents, as a block of any kind.
    Checksum,
    /// It is a sound block of another kind.
    Kind(Kind),
    /// It says that it lies elsewhere.
    Location(MetadataBlock),
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("nothing but zeros"),
            Self::Checksum => f.write_str("the checksum does not fit the contents"),
            Self::Kind(kind) => write!(f, "this is a {kind}"),
            Self::Location(at) => write!(f, "this says that it is block {}", at.0),
        }
    }
}

/// The block's header.
#[inline]
pub fn header(block: &Block) -> Header {
    // A block is longer than a header.
    Header::read_from_prefix(block).map_or_else(|_| zerocopy::FromZeros::new_zeroed(), |(header, _)| header)
}

/// The checksum of a block of this kind with these contents.
pub fn checksum<C: Crc>(block: &Block, kind: Kind) -> u32 {
    let (_, covered) = block.split_at(size_of::<U32>());
    C::crc32c(covered) ^ kind.seed()
}

/// The kind of block whose checksum this one carries.
pub fn kind<C: Crc>(block: &Block) -> Option<Kind> {
    let seed = header(block).checksum.get() ^ checksum::<C>(block, Kind::Node) ^ Kind::Node.seed();
    Kind::ALL.into_iter().find(|kind| kind.seed() == seed)
}

/// Makes a block ready to be written there.
pub fn stamp<C: Crc>(block: &mut Block, kind: Kind, at: MetadataBlock) {
    if let Ok((header, _)) = Header::mut_from_prefix(block) {
        header.location = at.0.into();
    }
    let sum = checksum::<C>(block, kind);
    if let Ok((header, _)) = Header::mut_from_prefix(block) {
        header.checksum = sum.into();
    }
}

/// Whether a block that was read from there is a sound one of this kind.
///
/// # Errors
///
/// The first thing that is wrong.
pub fn verify<C: Crc>(block: &Block, want: Kind, at: MetadataBlock) -> Result<(), Frame> {
    let header = header(block);
    if header.checksum.get() != checksum::<C>(block, want) {
        return Err(match kind::<C>(block) {
            Some(kind) => Frame::Kind(kind),
            None if block.iter().all(|&byte| byte == 0) => Frame::Empty,
            None => Frame::Checksum,
        });
    }
    match header.location.get() {
        location if location == at.0 => Ok(()),
        location => Err(Frame::Location(MetadataBlock(location))),
    }
}
