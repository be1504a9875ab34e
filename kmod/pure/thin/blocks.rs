// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The metadata blocks of an open pool: which are in use, which may be changed, and where a changed one goes.
//!
//! The counts of all blocks are in memory, four bytes each; what is on the device is made from them when a transaction is
//! committed ([`commit`](super::commit)). That ends the recursion of a space map that describes the blocks it is made
//! of: to change a count needs no block.
//!
//! A block may be taken if it is free now and was free when the last transaction was committed: until the next superblock
//! is durable a crash leads back to the blocks of the last one.

use super::block::{Block, Kind};
use super::cache::Cache;
use super::data::DataSpace;
use super::error::{Damage, Error};
use super::mutant::{breaks, Mutant};
use super::node::{self, Node, NodeMut, Value, LEAF};
use super::space::{BITMAP_ENTRIES, METADATA_MAX, OVERFLOW};
use super::store::{Array, Memory, Store};
use super::tree::Tree;
use crate::pure::units::MetadataBlock;
use core::mem::size_of;
use zerocopy::little_endian::U64;

/// One bit for each block.
pub struct Bits<S: Memory> {
    words: S::Array<u64>,
}

impl<S: Memory> Bits<S> {
    /// None of so many is set.
    ///
    /// # Errors
    ///
    /// There was no memory.
    pub fn new(length: u64) -> Result<Self, Error> {
        Ok(Self { words: S::array(0, length.div_ceil(64) as usize)? })
    }

    /// Room for so many; those that are new are not set.
    ///
    /// # Errors
    ///
    /// There was no memory.
    pub fn grow(&mut self, length: u64) -> Result<(), Error> {
        while (self.words.len() as u64) < length.div_ceil(64) {
            self.words.push(0)?;
        }
        Ok(())
    }

    /// Whether it is set.
    pub fn get(&self, index: u64) -> bool {
        self.words.get((index / 64) as usize).is_some_and(|word| (word >> (index % 64)) & 1 == 1)
    }

    /// Sets or clears it.
    pub fn set(&mut self, index: u64, value: bool) {
        if let Some(word) = self.words.get_mut((index / 64) as usize) {
            *word = (*word & !(1 << (index % 64))) | (u64::from(value) << (index % 64));
        }
    }

    /// The first that is clear, from `begin` on and before `end`.
    pub fn find_clear(&self, begin: u64, end: u64) -> Option<u64> {
        let mut index = begin;
        while index < end {
            let word = self.words.get((index / 64) as usize)? | ((1 << (index % 64)) - 1);
            if word != u64::MAX {
                let found = index / 64 * 64 + u64::from((!word).trailing_zeros());
                return (found < end).then_some(found);
            }
            index = (index / 64 + 1) * 64;
        }
        None
    }
}

/// The counts of the metadata blocks.
pub struct MetadataSpace<S: Memory> {
    /// How many references each block has.
    counts: S::Array<u32>,
    /// Cannot be taken: in use, or in use by the last committed transaction.
    busy: Bits<S>,
    /// Made by this transaction.
    fresh: Bits<S>,
    /// Bitmaps that have to be made anew.
    pub(super) stale: Bits<S>,
    /// Blocks whose count changed, and is or was one that does not fit a bitmap; each may be named more than once.
    pub(super) overflowed: S::Array<u64>,
    /// Where the search for a free block begins.
    cursor: u64,
    /// Blocks that can be taken.
    free: u64,
    /// Blocks whose count is not 0.
    pub(super) allocated: u64,
}

impl<S: Memory> MetadataSpace<S> {
    /// The counts of so many blocks, all 0.
    ///
    /// # Errors
    ///
    /// There was no memory.
    pub fn new(blocks: u64) -> Result<Self, Error> {
        let blocks = blocks.min(METADATA_MAX);
        Ok(Self {
            counts: S::array(0, blocks as usize)?,
            busy: Bits::new(blocks)?,
            fresh: Bits::new(blocks)?,
            stale: Bits::new(METADATA_MAX / BITMAP_ENTRIES)?,
            overflowed: S::Array::default(),
            cursor: 0,
            free: blocks,
            allocated: 0,
        })
    }

    /// How many blocks there are.
    pub fn blocks(&self) -> u64 {
        self.counts.len() as u64
    }

    /// How many can be taken.
    pub fn free(&self) -> u64 {
        self.free
    }

    /// The count of a block.
    pub fn count(&self, block: u64) -> u32 {
        self.counts.get(block as usize).copied().unwrap_or(0)
    }

    /// Sets the count that a block has on the device.
    pub(super) fn load(&mut self, block: u64, count: u32) {
        if let Some(place) = self.counts.get_mut(block as usize) {
            let (was, is) = (*place > 0, count > 0);
            *place = count;
            if was != is {
                self.busy.set(block, is);
                (self.free, self.allocated) =
                    if is { (self.free - 1, self.allocated + 1) } else { (self.free + 1, self.allocated - 1) };
            }
        }
    }

    /// More blocks.
    pub(super) fn grow(&mut self, blocks: u64) -> Result<(), Error> {
        let blocks = blocks.min(METADATA_MAX);
        self.busy.grow(blocks)?;
        self.fresh.grow(blocks)?;
        while self.blocks() < blocks {
            self.counts.push(0)?;
            self.free += 1;
        }
        Ok(())
    }

    fn change(&mut self, block: u64, count: u32) -> Result<(), Error> {
        let place = self
            .counts
            .get_mut(block as usize)
            .ok_or(Error::Damaged(MetadataBlock(block), Damage::Child(MetadataBlock(block))))?;
        let old = *place;
        if old.max(count) >= OVERFLOW {
            self.overflowed.push(block)?;
        }
        if old.min(OVERFLOW) != count.min(OVERFLOW) {
            self.stale.set(block / BITMAP_ENTRIES, true);
        }
        *place = count;
        Ok(())
    }

    /// Takes a free block; its count is 1.
    pub(super) fn take(&mut self) -> Result<u64, Error> {
        let found = self.busy.find_clear(self.cursor, self.blocks()).or_else(|| self.busy.find_clear(0, self.cursor));
        let block = found.ok_or(Error::MetadataFull)?;
        self.change(block, 1)?;
        self.busy.set(block, true);
        self.fresh.set(block, true);
        (self.cursor, self.free, self.allocated) = (block + 1, self.free - 1, self.allocated + 1);
        Ok(block)
    }

    fn add(&mut self, block: u64) -> Result<(), Error> {
        match self.count(block) {
            0 => Err(Error::Damaged(MetadataBlock(block), Damage::Unreferenced(block))),
            count => self.change(block, count.checked_add(1).ok_or(Error::MetadataFull)?),
        }
    }

    /// Gives up a reference; whether it was the last.
    fn remove(&mut self, block: u64) -> Result<bool, Error> {
        let count = self.count(block);
        let left = count.checked_sub(1).ok_or(Error::Damaged(MetadataBlock(block), Damage::Unreferenced(block)))?;
        self.change(block, left)?;
        if left > 0 {
            return Ok(false);
        }
        self.allocated -= 1;
        if breaks(Mutant::ReuseMetadata) {
            self.fresh.set(block, true);
            self.cursor = block;
        }
        if self.fresh.get(block) {
            // Nobody knew of it: it can be taken at once.
            self.fresh.set(block, false);
            self.busy.set(block, false);
            self.free += 1;
        }
        Ok(true)
    }

    /// The transaction is durable: what it made is as good as all else, what it gave up can be taken.
    pub(super) fn committed(&mut self, bitmap: u64) {
        let begin = bitmap * BITMAP_ENTRIES;
        for block in begin..(begin + BITMAP_ENTRIES).min(self.blocks()) {
            self.fresh.set(block, false);
            if self.count(block) == 0 && self.busy.get(block) {
                self.busy.set(block, false);
                self.free += 1;
            }
        }
    }
}

/// The metadata of an open pool, as blocks.
pub struct Core<S: Store> {
    pub(super) cache: Cache<S>,
    pub(super) space: MetadataSpace<S>,
    pub(super) data: DataSpace<S>,
}

impl<S: Store> Core<S> {
    /// The node at `at`, of a tree whose leaves have values of type `V`.
    ///
    /// # Errors
    ///
    /// It cannot be read or is damaged.
    pub fn node<V: Value>(&mut self, at: MetadataBlock) -> Result<&Block, Error> {
        let frame = self.cache.read(at, Kind::Node, |block| node::check::<V>(block).map_err(Damage::Node))?;
        let block = self.cache.block(frame);
        // It may have been read as a node of another tree.
        let size = if node::is_internal(block) { size_of::<U64>() } else { size_of::<V>() };
        match node::value_size(block) {
            found if found == size => Ok(block),
            found => Err(Error::Damaged(at, Damage::Node(node::Malformed::ValueSize(found as u32)))),
        }
    }

    /// How many references a block has: at least one.
    ///
    /// # Errors
    ///
    /// It has none.
    pub fn count(&self, at: MetadataBlock) -> Result<u32, Error> {
        match self.space.count(at.0) {
            0 => Err(Error::Damaged(at, Damage::Unreferenced(at.0))),
            count => Ok(count),
        }
    }

    /// Whether this transaction made a block, and nothing else refers to it: it may be changed.
    pub fn is_own(&self, at: MetadataBlock) -> bool {
        self.space.fresh.get(at.0) && self.space.count(at.0) == 1
    }

    /// Takes a free block, all zeros.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn allocate(&mut self, kind: Kind) -> Result<MetadataBlock, Error> {
        let at = MetadataBlock(self.space.take()?);
        self.cache.create(at, kind)?;
        Ok(at)
    }

    /// One reference more to a block.
    ///
    /// # Errors
    ///
    /// It had none.
    pub fn hold(&mut self, at: MetadataBlock) -> Result<(), Error> {
        self.space.add(at.0)
    }

    /// One reference less to a block.
    ///
    /// # Errors
    ///
    /// It had none.
    pub fn release(&mut self, at: MetadataBlock) -> Result<(), Error> {
        if self.space.remove(at.0)? {
            self.cache.forget(at);
        }
        Ok(())
    }

    /// A block that may be changed, to whose parent this is about to be made known: the same if that is so already, else
    /// a copy.
    ///
    /// # Errors
    ///
    /// It cannot be read or is damaged, or there is no room for a copy.
    pub fn shadow_block(&mut self, at: MetadataBlock, kind: Kind) -> Result<MetadataBlock, Error> {
        if self.is_own(at) {
            return Ok(at);
        }
        let original = self.cache.read(at, kind, |_| Ok(()))?;
        let copy = MetadataBlock(self.space.take()?);
        self.cache.duplicate(original, copy)?;
        self.space.remove(at.0)?;
        Ok(copy)
    }

    /// The same of a node. If the original stays in use, what it refers to has one reference more.
    ///
    /// # Errors
    ///
    /// It cannot be read or is damaged, or there is no room for a copy.
    pub fn shadow<T: Tree>(&mut self, at: MetadataBlock) -> Result<MetadataBlock, Error> {
        if self.is_own(at) {
            return Ok(at);
        }
        let shared = self.count(at)? > 1;
        self.node::<T::Value>(at)?;
        let copy = self.shadow_block(at, Kind::Node)?;
        if shared {
            let block = self.node::<T::Value>(copy)?;
            if !node::is_internal(block) {
                T::hold(self, copy)?;
            } else {
                for index in 0..Node::<U64>::of(block).len() {
                    let child = Node::<U64>::of(self.node::<T::Value>(copy)?).child(index);
                    self.hold(child.ok_or(Error::Damaged(at, Damage::Depth))?)?;
                }
            }
        }
        Ok(copy)
    }

    /// A block to be changed, which must be this transaction's own.
    ///
    /// # Errors
    ///
    /// It is not, which is a mistake in here; or it cannot be read again.
    pub fn block_mut(&mut self, at: MetadataBlock) -> Result<&mut Block, Error> {
        self.own_mut(at, Kind::Node)
    }

    pub(super) fn own_mut(&mut self, at: MetadataBlock, kind: Kind) -> Result<&mut Block, Error> {
        if !self.is_own(at) {
            return Err(Error::Damaged(at, Damage::NotOwn));
        }
        let frame = self.cache.read(at, kind, |_| Ok(()))?;
        self.cache.block_mut(frame).ok_or(Error::Memory)
    }

    /// Two nodes to be changed.
    ///
    /// # Errors
    ///
    /// As for one; or they are the same.
    pub fn two_mut(&mut self, one: MetadataBlock, other: MetadataBlock) -> Result<(&mut Block, &mut Block), Error> {
        if !self.is_own(one) || !self.is_own(other) || one == other {
            return Err(Error::Damaged(one, Damage::NotOwn));
        }
        let first = self.cache.read(one, Kind::Node, |_| Ok(()))?;
        let second = self.cache.read(other, Kind::Node, |_| Ok(()))?;
        self.cache.two_mut(first, second).ok_or(Error::Memory)
    }

    /// An internal node to be changed.
    ///
    /// # Errors
    ///
    /// It is a leaf; or as for every block.
    pub fn internal_mut(&mut self, at: MetadataBlock) -> Result<NodeMut<'_, U64>, Error> {
        let block = self.block_mut(at)?;
        if !node::is_internal(block) {
            return Err(Error::Damaged(at, Damage::Node(node::Malformed::Flags(LEAF))));
        }
        NodeMut::of(block).ok_or(Error::Damaged(at, Damage::Depth))
    }

    /// A leaf to be changed.
    ///
    /// # Errors
    ///
    /// As for every block.
    pub fn leaf_mut<V: Value>(&mut self, at: MetadataBlock) -> Result<NodeMut<'_, V>, Error> {
        NodeMut::of(self.block_mut(at)?).ok_or(Error::Damaged(at, Damage::Depth))
    }
}
