// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a check can find, in words that name the block or device.

use crate::pure::thin::error::Error;
use crate::pure::units::{DataBlock, MetadataBlock};
use core::fmt;

/// Whose counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// The data device's.
    Data,
    /// The metadata device's.
    Metadata,
}

/// Something that is not as it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A block cannot be read, or is not what its place wants.
    Block(Error),
    /// The superblock asks for a check.
    NeedsCheck,
    /// Flags that nobody knows.
    Flags(u32),
    /// The superblock has something behind its fields.
    Trailing,
    /// The superblock says that the metadata device was formatted with more blocks than it has.
    Formatted {
        /// In the superblock.
        said: u64,
        /// In the space map.
        blocks: u64,
    },
    /// A node other than the root has too few entries.
    Underfull(MetadataBlock, u32),
    /// A node's keys are not in the range that its parent gives it.
    Range(MetadataBlock),
    /// A device with mappings but without details, or the other way round.
    Half(u64),
    /// Not a device id.
    DeviceId(u64),
    /// A device has another number of mappings than its details say.
    Mapped {
        /// Which.
        device: u64,
        /// What its details say.
        said: u64,
        /// How many there are.
        found: u64,
    },
    /// A clock that is ahead of the superblock's: a device's.
    DeviceTime(u64),
    /// The same: a mapping's.
    MappingTime(MetadataBlock, u32),
    /// A mapping that is shared, and younger than the device's last snapshot: a write would change the other's data.
    Unguarded {
        /// The device that would write.
        device: u64,
        /// The node that is shared.
        node: MetadataBlock,
    },
    /// The same, with leaves of their own.
    UnguardedBlock(DataBlock),
    /// A mapping to a block that the data device does not have.
    Data(MetadataBlock, DataBlock),
    /// A block has another count than it has references.
    Count {
        /// Whose.
        space: Space,
        /// Which block.
        block: u64,
        /// On the device.
        said: u32,
        /// What was met.
        found: u32,
    },
    /// A count stands in the tree, but should not: it is below 3, or not in the bitmap.
    NeedlessOverflow(Space, u64),
    /// The root says that another number of blocks is in use.
    Allocated {
        /// Whose.
        space: Space,
        /// In the root.
        said: u64,
        /// In the bitmaps.
        found: u64,
    },
    /// An index entry says that another number of blocks is free.
    Free {
        /// Whose.
        space: Space,
        /// Which bitmap.
        bitmap: u64,
        /// In the entry.
        said: u32,
        /// In the bitmap.
        found: u32,
    },
    /// A free block stands before where the index entry says that none does: it would never be used.
    Hint(Space, u64),
    /// A bitmap is missing, or there is one too many.
    Bitmaps(Space, u64),
    /// Something that is not zero past the end of a device.
    PastEnd(Space, u64),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(error) => error.what().fmt(f),
            Self::NeedsCheck => f.write_str("superblock: a check was asked for"),
            Self::Flags(flags) => write!(f, "superblock: unknown flags {flags:#x}"),
            Self::Trailing => f.write_str("superblock: not zero behind its fields"),
            Self::Formatted { said, blocks } => {
                write!(f, "superblock: formatted with {said} metadata blocks, but there are {blocks}")
            }
            Self::Underfull(at, entries) => write!(f, "metadata block {}: only {entries} entries in a node", at.0),
            Self::Range(at) => write!(f, "metadata block {}: keys that belong elsewhere in the tree", at.0),
            Self::Half(device) => write!(f, "device {device}: details without mappings, or mappings without details"),
            Self::DeviceId(device) => write!(f, "device {device}: no device id"),
            Self::Mapped { device, said, found } => {
                write!(f, "device {device}: {found} mapped blocks, but its details say {said}")
            }
            Self::DeviceTime(device) => write!(f, "device {device}: its times are ahead of the snapshot clock"),
            Self::MappingTime(at, time) => {
                write!(f, "metadata block {}: mapped at {time}, ahead of the snapshot clock", at.0)
            }
            Self::Unguarded { device, node } => write!(
                f,
                "device {device}: shares metadata block {} without a snapshot that says so: writes would go through",
                node.0
            ),
            Self::UnguardedBlock(block) => write!(
                f,
                "data block {}: shared by devices without a snapshot that says so: writes would go through",
                block.0
            ),
            Self::Data(at, block) => {
                write!(f, "metadata block {}: maps data block {}, which the device does not have", at.0, block.0)
            }
            Self::Count { space, block, said, found } => {
                write!(f, "{space} block {block}: counted {said}, but there are {found} references")
            }
            Self::NeedlessOverflow(space, block) => write!(f, "{space} block {block}: counted in tree and bitmap"),
            Self::Allocated { space, said, found } => {
                write!(f, "{space} space map: {found} blocks in use, but its root says {said}")
            }
            Self::Free { space, bitmap, said, found } => {
                write!(f, "{space} bitmap {bitmap}: {found} blocks free, but its index entry says {said}")
            }
            Self::Hint(space, bitmap) => write!(f, "{space} bitmap {bitmap}: free blocks that its index entry hides"),
            Self::Bitmaps(space, bitmap) => write!(f, "{space} bitmap {bitmap}: missing, or one too many"),
            Self::PastEnd(space, bitmap) => write!(f, "{space} bitmap {bitmap}: counts past the end of the device"),
        }
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Data => "data",
            Self::Metadata => "metadata",
        })
    }
}
