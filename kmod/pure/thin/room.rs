// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How many metadata blocks an operation can need at most, so that it is refused before it begins and not given up half done.
//!
//! An operation copies the nodes that it changes, each once in a transaction. A leaf that is shared counts its 252 data
//! blocks once more when it is copied, and these may lie in as many bitmaps. What bounds all that in a small pool is how many
//! bitmaps and nodes there can be. Deletions, and what a commit writes, may use a reserve that other operations leave alone.

use super::error::Error;
use super::node::Value;
use super::pool::Pool;
use super::space::{IndexEntry, BITMAP_ENTRIES};
use super::store::Store;
use super::tree::DEPTH_USUAL;
use zerocopy::little_endian::{U32, U64};

impl<S: Store> Pool<S> {
    /// Blocks that only deletions and commits may use.
    pub fn reserve(&self) -> u64 {
        4096.min(self.metadata_blocks() / 10)
    }

    /// To count so many data blocks once more or less.
    fn for_data(&self, changes: u64) -> u64 {
        let bitmaps = self.data_blocks().div_ceil(BITMAP_ENTRIES);
        let index = bitmaps / <IndexEntry as Value>::MIN as u64 + DEPTH_USUAL;
        // All large counts there can be stand in so many nodes, each of which is copied or split.
        let large = 2 * (self.data_used() / <U32 as Value>::MIN as u64) + DEPTH_USUAL;
        changes.min(bitmaps) + (2 * changes).min(index) + (DEPTH_USUAL * changes).min(large)
    }

    /// To make the nodes to so many neighbouring leaves this transaction's own, if they are shared.
    fn for_leaves(&self, leaves: u64) -> u64 {
        // The way to the device's root, and on from there.
        2 * DEPTH_USUAL + leaves + self.for_data(leaves * <U64 as Value>::MAX as u64)
    }

    /// What a commit will write that is not written yet.
    pub(super) fn for_commit(&self) -> u64 {
        let changed = self.devices.iter().filter(|device| device.changed).count() as u64;
        let bitmaps = self.index.len() as u64;
        let counts = self.core.space.overflowed.len() as u64;
        let large = 2 * (self.core.space.allocated / <U32 as Value>::MIN as u64) + DEPTH_USUAL;
        1 + bitmaps + (DEPTH_USUAL * counts).min(large) + 2 * DEPTH_USUAL * changed
    }

    /// To map so many blocks in a row.
    pub(super) fn for_insert(&self, length: u64) -> u64 {
        let leaves = length / <U64 as Value>::MIN as u64 + 2;
        // Each may be split, and what is above them.
        self.for_leaves(leaves) + leaves + leaves / <U64 as Value>::MIN as u64 + DEPTH_USUAL + self.for_data(2 * length)
    }

    /// To unmap so many blocks: both edges of what is cut out, and their neighbours.
    pub(super) fn for_remove(&self, mappings: u64) -> u64 {
        self.for_leaves(4) + 4 * DEPTH_USUAL + self.for_data(mappings)
    }

    /// Whether there is room for an operation.
    ///
    /// # Errors
    ///
    /// There is not; [`Error::CommitFirst`] if there may be when what was given up can be used.
    pub(super) fn room(&self, blocks: u64, may_use_reserve: bool) -> Result<(), Error> {
        let kept = if may_use_reserve { 0 } else { self.reserve() };
        if self.metadata_free() >= blocks + self.for_commit() + kept {
            return Ok(());
        }
        // A commit gives back what the transaction replaced.
        let after = self.metadata_blocks() - self.core.space.allocated;
        if self.changed && after >= blocks + self.for_commit() + kept {
            return Err(Error::CommitFirst);
        }
        Err(Error::MetadataFull)
    }
}
