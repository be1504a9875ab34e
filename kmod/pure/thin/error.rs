// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What can go wrong, and in which block.

use super::block::{Frame, Kind};
use super::node::Malformed;
use super::store::NoMemory;
use super::superblock::{Refusal, LAST_TIME};
use super::value::LAST_DEVICE;
use crate::pure::units::{DataBlock, MetadataBlock};
use core::fmt;

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// There was no memory.
    Memory,
    /// The metadata device could not read a block.
    Read(MetadataBlock),
    /// The metadata device could not write.
    Write,
    /// The metadata device could not flush.
    Flush,
    /// The data device could not flush.
    FlushData,
    /// A block is not what it should be.
    Damaged(MetadataBlock, Damage),
    /// The superblock cannot be used.
    Refused(Refusal),
    /// There is no room for more metadata.
    MetadataFull,
    /// There is no room for more data.
    DataFull,
    /// There is no room for more data now; there will be after a commit.
    CommitFirst,
    /// A change was not finished: the transaction has to be aborted.
    Broken,
    /// The metadata is of more blocks than the device has.
    Truncated {
        /// What the superblock says.
        blocks: u64,
        /// What there is.
        device: u64,
    },
    /// A device cannot become smaller.
    Shrink {
        /// Its blocks.
        now: u64,
        /// The blocks that were wanted.
        wanted: u64,
    },
    /// The transaction id is another.
    TransactionId(u64),
    /// There is a metadata snapshot already.
    Held(MetadataBlock),
    /// There is no metadata snapshot.
    NotHeld,
    /// There is no device with this id.
    NoDevice(u64),
    /// There is a device with this id already.
    DeviceExists(u64),
    /// Not a device id.
    DeviceId(u64),
    /// No more snapshots can be taken in this pool.
    ClockEnd,
}

/// What a block has wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// It is no sound block of this kind.
    Frame(Kind, Frame),
    /// It is no node of its tree.
    Node(Malformed),
    /// It was needed as a block of this kind, having been used as one of another.
    Kind(Kind),
    /// A key of it belongs elsewhere in the tree.
    Key(u64),
    /// It names a block that the metadata device does not have.
    Child(MetadataBlock),
    /// It names a block that the data device does not have.
    Data(DataBlock),
    /// It was about to be changed, but the last transaction needs it: a mistake of this program, not of the metadata.
    NotOwn,
    /// It stands deeper in a tree than any tree is, or in two places of one.
    Depth,
    /// A block has references, but its count is 0.
    Unreferenced(u64),
    /// A count of 3 and more is in the bitmap only.
    Overflow(u64),
}

impl From<NoMemory> for Error {
    fn from(_: NoMemory) -> Self {
        Self::Memory
    }
}

impl core::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("out of memory"),
            Self::Read(at) => write!(f, "metadata block {} cannot be read", at.0),
            Self::Write => f.write_str("the metadata device cannot be written"),
            Self::Flush => f.write_str("the metadata device cannot be flushed"),
            Self::FlushData => f.write_str("the data device cannot be flushed"),
            Self::Damaged(at, damage) => write!(f, "metadata block {}: {damage}", at.0),
            Self::Refused(refusal) => write!(f, "superblock: {refusal}"),
            Self::MetadataFull => f.write_str("the metadata device is full: extend it, or remove snapshots"),
            Self::DataFull => f.write_str("the data device is full: extend it, or discard what is not needed"),
            Self::CommitFirst => f.write_str("what was given up can be used after a commit"),
            Self::Broken => f.write_str("a change was not finished: abort the transaction"),
            Self::Truncated { blocks, device } => {
                write!(f, "the metadata has {blocks} blocks, but the device only {device}: give it back its size")
            }
            Self::Shrink { now, wanted } => write!(f, "cannot go from {now} data blocks to {wanted}"),
            Self::TransactionId(id) => write!(f, "the transaction id is {id}: somebody else changed the pool"),
            Self::Held(at) => write!(f, "there is a metadata snapshot already, at block {}: release it first", at.0),
            Self::NotHeld => f.write_str("there is no metadata snapshot"),
            Self::NoDevice(id) => write!(f, "there is no thin device {id}"),
            Self::DeviceExists(id) => write!(f, "there is a thin device {id} already"),
            Self::DeviceId(id) => write!(f, "{id} is no device id: they end at {LAST_DEVICE}"),
            Self::ClockEnd => write!(f, "{LAST_TIME} snapshots have been taken in this pool: it cannot take more"),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(kind, frame) => write!(f, "no sound {kind}: {frame}"),
            Self::Node(malformed) => malformed.fmt(f),
            Self::Kind(kind) => write!(f, "wanted as a {kind}, but it is in use as something else"),
            Self::Key(key) => write!(f, "key {key} does not belong here"),
            Self::Child(child) => write!(f, "names block {}, which is past the end of the metadata device", child.0),
            Self::Data(block) => write!(f, "names data block {}, which is past the end of the data device", block.0),
            Self::NotOwn => f.write_str("about to be changed, but still needed: please report this"),
            Self::Depth => f.write_str("the tree is deeper than it can be, or a loop"),
            Self::Unreferenced(block) => write!(f, "block {block} is in use, but its reference count is 0"),
            Self::Overflow(block) => write!(f, "block {block} has a large reference count that is not in the tree"),
        }
    }
}
