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
    /// There is no room now; there will be after a commit.
    CommitFirst,
    /// There is no room now; there will be when what was given up has been discarded.
    DiscardFirst,
    /// The metadata has to be checked before it is changed.
    NeedsCheck,
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
    /// The pool was opened for reading only.
    ReadOnly,
    /// There is no metadata snapshot.
    NotHeld,
    /// There is no device with this id.
    NoDevice(u64),
    /// There is a device with this id already.
    DeviceExists(u64),
    /// Not a device id.
    DeviceId(u64),
    /// Virtual blocks behind the last that there can be; the first of them.
    Range(u64),
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
    /// A count is larger than any can be, or smaller than 0.
    Count(u64),
    /// The superblock says that the data device has so many blocks: more than metadata of its size can describe.
    DataBlocks(u64),
}

impl From<NoMemory> for Error {
    fn from(_: NoMemory) -> Self {
        Self::Memory
    }
}

impl core::error::Error for Error {}

/// An error without the advice.
#[derive(Clone, Copy, Debug)]
pub struct What<'a>(&'a Error);

impl fmt::Display for What<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Error::Memory => f.write_str("out of memory"),
            Error::Read(at) => write!(f, "metadata block {} cannot be read", at.0),
            Error::Write => f.write_str("the metadata device cannot be written"),
            Error::Flush => f.write_str("the metadata device cannot be flushed"),
            Error::FlushData => f.write_str("the data device cannot be flushed"),
            Error::Damaged(at, damage) => write!(f, "metadata block {}: {damage}", at.0),
            Error::Refused(refusal) => write!(f, "superblock: {refusal}"),
            Error::MetadataFull => f.write_str("the metadata device is full"),
            Error::DataFull => f.write_str("the data device is full"),
            Error::CommitFirst => f.write_str("there is no room before a commit"),
            Error::DiscardFirst => f.write_str("there is no room before what was given up is discarded"),
            Error::NeedsCheck => f.write_str("superblock: the metadata has to be checked before it is changed"),
            Error::Broken => f.write_str("a change was not finished"),
            Error::ReadOnly => f.write_str("the pool is open for reading only"),
            Error::Truncated { blocks, device } => {
                write!(f, "superblock: the metadata has {blocks} blocks, but the device only {device}")
            }
            Error::Shrink { now, wanted } => {
                write!(f, "cannot go from {now} data blocks to {wanted}: a pool does not become smaller")
            }
            Error::TransactionId(id) => write!(f, "the transaction id is {id}: somebody else changed the pool"),
            Error::Held(at) => write!(f, "there is a metadata snapshot already, at block {}", at.0),
            Error::NotHeld => f.write_str("there is no metadata snapshot"),
            Error::NoDevice(id) => write!(f, "there is no thin device {id}"),
            Error::DeviceExists(id) => write!(f, "there is a thin device {id} already"),
            Error::DeviceId(id) => write!(f, "{id} is no device id: they end at {LAST_DEVICE}"),
            Error::Range(block) => write!(f, "there is no virtual block {block}"),
            Error::ClockEnd => write!(f, "{LAST_TIME} snapshots have been taken in this pool: it cannot take more"),
        }
    }
}

impl Error {
    /// What is wrong, without what to do about it.
    pub const fn what(&self) -> What<'_> {
        What(self)
    }

    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Memory => "free some and try again",
            Self::Read(_) | Self::Write | Self::Flush => "see to the metadata device, then open the pool again",
            Self::FlushData => "see to the data device, then open the pool again",
            Self::Damaged(_, Damage::NotOwn) => "abort the transaction, and report this",
            Self::Damaged(MetadataBlock(0), Damage::Frame(..)) => "name the metadata device of a pool, or repair it",
            Self::Damaged(..) => "check the metadata and repair it",
            Self::Refused(refusal) => refusal.advice(),
            Self::MetadataFull => "extend it, or delete snapshots",
            Self::DataFull => "extend it, or discard what is not needed",
            Self::CommitFirst => "commit and try again",
            Self::DiscardFirst => "discard that and try again",
            Self::NeedsCheck => "check it, repair it if need be, and clear the mark",
            Self::Broken => "abort the transaction",
            Self::ReadOnly => "open it for writing",
            Self::Truncated { .. } => "give the device back its size",
            Self::Shrink { .. } => "copy its volumes to a smaller one",
            Self::TransactionId(_) => "read its state again",
            Self::Held(_) => "release it first",
            Self::NotHeld => "reserve one first",
            Self::NoDevice(_) => "name one that there is",
            Self::DeviceExists(_) => "choose another id, or delete it first",
            Self::DeviceId(_) => "choose a smaller one",
            Self::Range(_) => "stay before it",
            Self::ClockEnd => "copy its volumes to a new one",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what(), self.advice())
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
            Self::NotOwn => f.write_str("about to be changed, but still needed: a mistake of this program"),
            Self::Depth => f.write_str("the tree is deeper than it can be, or a loop"),
            Self::Unreferenced(block) => write!(f, "block {block} is in use, but its reference count is 0"),
            Self::Count(number) => write!(f, "the count of {number} cannot be what it is"),
            Self::DataBlocks(blocks) => write!(f, "says {blocks} data blocks, more than its metadata can describe"),
            Self::Overflow(block) => write!(f, "block {block} has a large reference count that is not in the tree"),
        }
    }
}
