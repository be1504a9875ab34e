// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Leaves of the devices' trees in the order of their blocks, before the trees are walked.
//!
//! Leaves are nearly all of the metadata, and in the order of their keys they lie anywhere. So the nodes above them are read
//! first, which tell where they are, and then the leaves from the first block to the last, so that a store can read many at
//! once. What is wrong with a block is not reported here: the walk that follows meets it again.

use super::{Checker, Mappings, Walk};
use crate::pure::thin::block::Kind;
use crate::pure::thin::blocks::Bits;
use crate::pure::thin::error::{Damage, Error};
use crate::pure::thin::node::{self, Node};
use crate::pure::thin::store::{Array, Store};
use crate::pure::thin::tree::DEPTH_MAX;
use crate::pure::units::MetadataBlock;
use zerocopy::little_endian::U64;

/// A leaf, and the clock of the first device that has it.
#[derive(Clone, Copy)]
struct Leaf {
    at: u64,
    snapshotted: u32,
}

/// The leaves that are to be read.
pub(super) struct Ahead<S: Store> {
    leaves: S::Array<Leaf>,
    /// Nodes that have been met on the way to them, and the leaves.
    met: Bits<S>,
    /// Leaves that have been looked at.
    done: Bits<S>,
}

impl<S: Store> Ahead<S> {
    pub(super) fn new(blocks: u64) -> Result<Self, Error> {
        Ok(Self { leaves: S::Array::default(), met: Bits::new(blocks)?, done: Bits::new(blocks)? })
    }

    /// Whether a leaf has been looked at, and what is known of it remembered.
    pub(super) fn is_done(&self, at: MetadataBlock) -> bool {
        self.done.get(at.0)
    }

    /// Whether this is the first time that a block is met.
    fn meet(&mut self, at: u64, blocks: u64) -> bool {
        let first = at < blocks && !self.met.get(at);
        self.met.set(at, true);
        first
    }
}

impl<S: Store> Checker<'_, S> {
    /// Finds the leaves of a device's tree that no earlier device has.
    pub(super) fn find_leaves(&mut self, root: MetadataBlock, snapshotted: u32) -> Result<(), Error> {
        let (mut at, mut height) = (root, 0);
        while height <= DEPTH_MAX {
            if self.read_node(0, at).is_err() {
                return Ok(());
            }
            match self.child(0, 0) {
                Some(child) => (at, height) = (child, height + 1),
                None => return self.find_below(root, height, 0, snapshotted),
            }
        }
        Ok(())
    }

    fn find_below(&mut self, at: MetadataBlock, height: usize, level: usize, snapshotted: u32) -> Result<(), Error> {
        let blocks = self.metadata.len() as u64;
        if !self.ahead.meet(at.0, blocks) {
            return Ok(());
        }
        let Some(below) = height.checked_sub(1) else {
            self.ahead.leaves.push(Leaf { at: at.0, snapshotted })?;
            return Ok(());
        };
        if self.read_node(level, at).is_err() {
            return Ok(());
        }
        let mut index = 0;
        while let Some(child) = self.child(level, index) {
            self.find_below(child, below, level + 1, snapshotted)?;
            index += 1;
        }
        Ok(())
    }

    /// A child of the node in a level's frame, if that is an internal node.
    fn child(&self, level: usize, index: usize) -> Option<MetadataBlock> {
        let frame = self.frames.get(level).filter(|frame| node::is_internal(frame))?;
        Node::<U64>::of(frame).child(index)
    }

    fn read_node(&mut self, level: usize, at: MetadataBlock) -> Result<(), Error> {
        self.read(level, at, Kind::Node)?;
        let frame = self.frames.get(level).ok_or(Error::Memory)?;
        node::check::<U64>(frame).map_err(|malformed| Error::Damaged(at, Damage::Node(malformed)))
    }

    /// Looks at the leaves that were found.
    pub(super) fn leaves(&mut self) -> Result<(), Error> {
        let mut leaves = core::mem::take(&mut self.ahead.leaves);
        leaves.sort_unstable_by_key(|leaf| leaf.at);
        for &Leaf { at, snapshotted } in leaves.iter() {
            let at = MetadataBlock(at);
            if self.read_node(0, at).is_err() || self.child(0, 0).is_some() {
                continue;
            }
            let clock = self.superblock.time.get();
            let Some(leaf) = self.take(0) else { return Err(Error::Memory) };
            let known = Mappings { snapshotted, clock }.leaf(self, at, &leaf);
            self.spare = Some(leaf);
            self.remember(at, known?)?;
            self.ahead.done.set(at.0, true);
        }
        Ok(())
    }
}
