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
use super::cache::{Cache, Frame};
use super::data::DataSpace;
use super::error::{Damage, Error};
use super::mutant::{breaks, Mutant};
use super::node::{self, Node, NodeMut, Value, LEAF};
use super::space::{self, BITMAP_ENTRIES, METADATA_MAX, OVERFLOW};
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

    /// The first that is set, from `begin` on and before `end`.
    pub fn find_set(&self, begin: u64, end: u64) -> Option<u64> {
        let mut index = begin;
        while index < end {
            let word = self.words.get((index / 64) as usize)? & (u64::MAX << (index % 64));
            if word != 0 {
                let found = index / 64 * 64 + u64::from(word.trailing_zeros());
                return (found < end).then_some(found);
            }
            index = (index / 64 + 1) * 64;
        }
        None
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

/// What a bitmap says is made anew for so many blocks at once: a word of [`Bits`] stands for them.
const GROUP: u64 = 64;
/// Groups of a bitmap.
const GROUPS: u64 = BITMAP_ENTRIES / GROUP;

const _: () = assert!(GROUPS * GROUP == BITMAP_ENTRIES);

/// The counts of the metadata blocks.
pub struct MetadataSpace<S: Memory> {
    /// How many references each block has.
    counts: S::Array<u32>,
    /// Cannot be taken: in use, or in use by the last committed transaction.
    busy: Bits<S>,
    /// Made by this transaction.
    fresh: Bits<S>,
    /// Groups of which a bitmap says other than the counts; and only their blocks can be fresh, or busy and free.
    stale: Bits<S>,
    /// Blocks whose count changed, and is or was one that does not fit a bitmap,
    pub(super) overflowed: Bits<S>,
    /// and how many they are.
    pub(super) overflows: u64,
    /// Where the search for a free block begins.
    cursor: u64,
    /// Blocks that can be taken.
    free: u64,
    /// Blocks whose count is not 0.
    pub(super) allocated: u64,
    /// Counts of each bitmap that are 0, those behind the end of the device too.
    unused: S::Array<u32>,
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
            stale: Bits::new(METADATA_MAX / GROUP)?,
            overflowed: Bits::new(blocks)?,
            overflows: 0,
            cursor: 0,
            free: blocks,
            allocated: 0,
            unused: S::array(BITMAP_ENTRIES as u32, blocks.div_ceil(BITMAP_ENTRIES) as usize)?,
        })
    }

    /// The same again, for so many blocks. Takes no memory if they are as many as before.
    ///
    /// # Errors
    ///
    /// There was no memory.
    pub(super) fn reset(&mut self, blocks: u64) -> Result<(), Error> {
        let blocks = blocks.min(METADATA_MAX);
        if self.blocks() != blocks {
            *self = Self::new(blocks)?;
        }
        self.counts.fill(0);
        for bits in [&mut self.busy, &mut self.fresh, &mut self.stale, &mut self.overflowed] {
            bits.words.fill(0);
        }
        self.unused.fill(BITMAP_ENTRIES as u32);
        (self.cursor, self.free, self.allocated, self.overflows) = (0, blocks, 0, 0);
        Ok(())
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
                self.use_in_bitmap(block, is);
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
        self.overflowed.grow(blocks)?;
        while self.blocks() < blocks {
            self.counts.push(0)?;
            self.free += 1;
        }
        while (self.unused.len() as u64) < blocks.div_ceil(BITMAP_ENTRIES) {
            self.unused.push(BITMAP_ENTRIES as u32)?;
        }
        Ok(())
    }

    fn change(&mut self, block: u64, count: u32) -> Result<(), Error> {
        let place = self
            .counts
            .get_mut(block as usize)
            .ok_or(Error::Damaged(MetadataBlock(block), Damage::Child(MetadataBlock(block))))?;
        let old = *place;
        if old.max(count) >= OVERFLOW && !self.overflowed.get(block) {
            self.overflowed.set(block, true);
            self.overflows += 1;
        }
        if old.min(OVERFLOW) != count.min(OVERFLOW) {
            self.stale.set(block / GROUP, true);
        }
        *place = count;
        if (old > 0) != (count > 0) {
            self.use_in_bitmap(block, count > 0);
        }
        Ok(())
    }

    fn use_in_bitmap(&mut self, block: u64, used: bool) {
        if let Some(unused) = self.unused.get_mut((block / BITMAP_ENTRIES) as usize) {
            *unused = if used { unused.saturating_sub(1) } else { unused.saturating_add(1) };
        }
    }

    /// Counts of a bitmap that are 0, those behind the end of the device too.
    pub(super) fn unused(&self, bitmap: usize) -> u32 {
        self.unused.get(bitmap).copied().unwrap_or(0)
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

    /// Whether a bitmap says other than the counts.
    pub(super) fn is_stale(&self, bitmap: u64) -> bool {
        self.stale.find_set(bitmap * GROUPS, (bitmap + 1) * GROUPS).is_some()
    }

    /// All that a bitmap says has to be made anew.
    pub(super) fn spoil(&mut self, bitmap: u64) {
        for group in bitmap * GROUPS..(bitmap + 1) * GROUPS {
            self.stale.set(group, true);
        }
    }

    /// Makes anew what is stale of a bitmap, which is still taken to be stale.
    pub(super) fn fill(&self, bitmap: u64, block: &mut Block) {
        let (mut next, end) = (bitmap * GROUPS, (bitmap + 1) * GROUPS);
        while let Some(group) = self.stale.find_set(next, end) {
            space::set_counts(block, (group * GROUP % BITMAP_ENTRIES) as u32, self.group(group));
            next = group + 1;
        }
    }

    /// The counts of a group, without those behind the end of the device.
    fn group(&self, group: u64) -> &[u32] {
        let rest = self.counts.get((group * GROUP) as usize..).unwrap_or_default();
        rest.get(..GROUP as usize).unwrap_or(rest)
    }

    /// The transaction is durable: what it made is as good as all else, what it gave up can be taken.
    pub(super) fn committed(&mut self) {
        let mut next = 0;
        while let Some(group) = self.stale.find_set(next, METADATA_MAX / GROUP) {
            let used = self.group(group).iter().rev().fold(0, |used, &count| (used << 1) | u64::from(count > 0));
            if let (Some(busy), Some(fresh)) =
                (self.busy.words.get_mut(group as usize), self.fresh.words.get_mut(group as usize))
            {
                self.free += u64::from((*busy & !used).count_ones());
                (*busy, *fresh) = (used, 0);
            }
            self.stale.set(group, false);
            next = group + 1;
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
        let frame = self.frame::<V>(at)?;
        Ok(self.cache.block(frame))
    }

    /// The same, as the cache has it: to be looked at again, as long as few others are asked for.
    #[inline]
    pub(super) fn frame<V: Value>(&mut self, at: MetadataBlock) -> Result<Frame, Error> {
        let frame = self.cache.read(at, Kind::Node, |block| node::check::<V>(block).map_err(Damage::Node))?;
        let block = self.cache.block(frame);
        // It may have been read as a node of another tree.
        let size = if node::is_internal(block) { size_of::<U64>() } else { size_of::<V>() };
        match node::value_size(block) {
            found if found == size => Ok(frame),
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
        Ok(self.copy(at, original)?.0)
    }

    /// A copy of a block, which has one reference less.
    fn copy(&mut self, at: MetadataBlock, original: Frame) -> Result<(MetadataBlock, Frame), Error> {
        let copy = MetadataBlock(self.space.take()?);
        let frame = self.cache.duplicate(original, copy)?;
        self.space.remove(at.0)?;
        Ok((copy, frame))
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
        Ok(self.shadow_frame::<T>(at)?.0)
    }

    /// The same, and as the cache has it.
    pub(super) fn shadow_frame<T: Tree>(&mut self, at: MetadataBlock) -> Result<(MetadataBlock, Frame), Error> {
        let original = self.frame::<T::Value>(at)?;
        if self.is_own(at) {
            return Ok((at, original));
        }
        let shared = self.count(at)? > 1;
        let (copy, frame) = self.copy(at, original)?;
        if !shared {
            return Ok((copy, frame));
        }
        let block = self.cache.block(frame);
        if node::is_internal(block) {
            for child in Node::<U64>::of(block).values {
                self.space.add(child.get())?;
            }
            return Ok((copy, frame));
        }
        T::hold(self, copy)?;
        Ok((copy, self.frame::<T::Value>(copy)?))
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

    /// A node to be changed that was just made this transaction's own.
    pub(super) fn frame_mut<V: Value>(&mut self, frame: Frame) -> Result<NodeMut<'_, V>, Error> {
        self.cache.block_mut(frame).and_then(NodeMut::of).ok_or(Error::Memory)
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
