// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Trees made from their entries in order, bottom up: each node is written once, when it is full.
//!
//! Two nodes of each level are in memory: the one that is being filled and the one before it, which gives it entries if
//! it ends with too few. Blocks are taken one after the other. A block that does not fit the device is counted and not
//! written, so that in the end it is known how many there would have to be.

use super::block::{self, Block, Kind, BLOCK_SIZE};
use super::error::{Damage, Error};
use super::node::{self, NodeMut, Value, INTERNAL, LEAF};
use super::store::{Array, Memory, Store};
use crate::pure::units::MetadataBlock;
use core::mem;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, IntoBytes};

/// Blocks that are written at a time.
const BATCH: usize = 64;

/// Where blocks go, and how many references each has.
pub(super) struct Output<S: Store> {
    pub(super) store: S,
    /// Those of the device.
    pub(super) blocks: u64,
    /// References to the blocks that were taken.
    pub(super) counts: S::Array<u32>,
    /// Whether anything is written.
    write: bool,
    batch: S::Array<(MetadataBlock, S::Frame)>,
    /// Of them, those that wait.
    waiting: usize,
    /// Internal nodes of devices' trees, by what they hold: two devices may have the same. A table, half full at most.
    known: S::Array<(u64, u64)>,
    knows: usize,
}

/// The block that a value of eight bytes names.
fn child<V: Value>(value: &V) -> MetadataBlock {
    MetadataBlock(U64::read_from_prefix(value.as_bytes()).map_or(0, |(block, _)| block.get()))
}

/// Keys and values that will be a node, in order.
pub(super) struct Entries<S: Memory, V> {
    pub(super) keys: S::Array<U64>,
    pub(super) values: S::Array<V>,
}

impl<S: Memory, V: Value> Entries<S, V> {
    pub(super) fn new() -> Self {
        Self { keys: S::Array::default(), values: S::Array::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(super) fn push(&mut self, key: u64, value: V) -> Result<(), Error> {
        self.keys.push(key.into())?;
        Ok(self.values.push(value)?)
    }

    pub(super) fn clear(&mut self) {
        self.keys.truncate(0);
        self.values.truncate(0);
    }

    pub(super) fn first(&self) -> u64 {
        self.keys.first().map_or(0, |key| key.get())
    }

    /// Moves entries between two neighbours, so that both have enough or the right one has none.
    pub(super) fn balance(left: &mut Self, right: &mut Self) -> Result<(), Error> {
        let total = left.len() + right.len();
        let count = if total <= V::MAX { total } else { total.div_ceil(2) };
        let (mut keys, mut values) = (S::Array::default(), S::Array::default());
        if count >= left.len() {
            let moved = count - left.len();
            for (index, (key, value)) in right.keys.iter().zip(right.values.iter()).enumerate() {
                if index < moved {
                    left.push(key.get(), *value)?;
                } else {
                    keys.push(*key)?;
                    values.push(*value)?;
                }
            }
        } else {
            for (key, value) in left.keys.iter().zip(left.values.iter()).skip(count) {
                keys.push(*key)?;
                values.push(*value)?;
            }
            for (key, value) in right.keys.iter().zip(right.values.iter()) {
                keys.push(*key)?;
                values.push(*value)?;
            }
            left.keys.truncate(count);
            left.values.truncate(count);
        }
        (right.keys, right.values) = (keys, values);
        Ok(())
    }
}

impl<S: Store> Output<S> {
    pub(super) fn new(store: S, blocks: u64, write: bool) -> Result<Self, Error> {
        let batch = S::Array::default();
        let known = S::Array::default();
        let mut output = Self { store, blocks, counts: S::Array::default(), write, batch, waiting: 0, known, knows: 0 };
        // Block 0 is the superblock's.
        output.counts.push(1)?;
        for _ in 0..BATCH {
            output.batch.push((MetadataBlock(0), S::frame()?))?;
        }
        Ok(output)
    }

    /// Blocks that were taken.
    pub(super) fn taken(&self) -> u64 {
        self.counts.len() as u64
    }

    /// Takes a block, to which nothing refers yet.
    pub(super) fn take(&mut self) -> Result<MetadataBlock, Error> {
        let at = self.taken();
        self.counts.push(0)?;
        Ok(MetadataBlock(at))
    }

    pub(super) fn refer(&mut self, at: MetadataBlock) {
        if let Some(count) = self.counts.get_mut(at.0 as usize) {
            *count = count.saturating_add(1);
        }
    }

    pub(super) fn count(&self, at: MetadataBlock) -> u32 {
        self.counts.get(at.0 as usize).copied().unwrap_or(0)
    }

    /// Whether nothing is written.
    pub(super) fn is_dry(&self) -> bool {
        !self.write
    }

    /// Whether a block that was taken is written, and can be read again.
    fn is_there(&self, at: MetadataBlock) -> bool {
        self.write && at.0 < self.blocks
    }

    /// Writes a block, all of it zero but for what `fill` puts there.
    pub(super) fn put(
        &mut self,
        at: MetadataBlock,
        kind: Kind,
        fill: &mut dyn FnMut(&mut Block) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if !self.is_there(at) {
            // It is filled all the same: what comes of that is asked for.
            return fill(&mut [0; BLOCK_SIZE]);
        }
        if self.waiting == self.batch.len() {
            self.flush()?;
        }
        let (place, frame) = self.batch.get_mut(self.waiting).ok_or(Error::Memory)?;
        *place = at;
        **frame = [0; BLOCK_SIZE];
        fill(frame)?;
        block::stamp::<S>(frame, kind, at);
        self.waiting += 1;
        Ok(())
    }

    /// Writes what waits.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        let waiting = self.batch.get(..self.waiting).unwrap_or_default();
        self.waiting = 0;
        if waiting.is_empty() {
            return Ok(());
        }
        self.store.write(&mut waiting.iter().map(|(at, frame)| (*at, &**frame))).map_err(|_| Error::Write)
    }

    /// Reads a leaf of mappings that was written; false if it was only counted.
    pub(super) fn read(&mut self, at: MetadataBlock, into: &mut Block) -> Result<bool, Error> {
        if !self.is_there(at) {
            return Ok(false);
        }
        self.flush()?;
        self.store.read(at, into).map_err(|_| Error::Read(at))?;
        block::verify::<S>(into, Kind::Node, at).map_err(|what| Error::Damaged(at, Damage::Frame(Kind::Node, what)))?;
        node::check::<U64>(into).map_err(|what| Error::Damaged(at, Damage::Node(what)))?;
        Ok(true)
    }

    /// Writes a node; its first key, and where it is. If its values are blocks, they are referred to.
    pub(super) fn node<V: Value>(
        &mut self,
        flags: u32,
        refers: bool,
        entries: &Entries<S, V>,
    ) -> Result<(u64, MetadataBlock), Error> {
        let first = entries.first();
        let known = if flags == INTERNAL { self.same(entries)? } else { None };
        if let Some(at) = known {
            return Ok((first, at));
        }
        let at = self.take()?;
        if refers || flags == INTERNAL {
            for value in entries.values.iter() {
                self.refer(child(value));
            }
        }
        self.put(at, Kind::Node, &mut |block| {
            NodeMut::<V>::format(block, flags);
            let mut node = NodeMut::<V>::of(block).ok_or(Error::Memory)?;
            node.fill(&entries.keys, &entries.values);
            Ok(())
        })?;
        if flags == INTERNAL {
            self.remember(Self::hash(entries), at.0)?;
        }
        Ok((first, at))
    }

    fn hash<V: Value>(entries: &Entries<S, V>) -> u64 {
        let (keys, values) = (S::crc32c(entries.keys.as_bytes()), S::crc32c(entries.values.as_bytes()));
        (u64::from(keys) << 32) | u64::from(values)
    }

    /// An internal node with just these entries. There can be one only if something refers to each of its children.
    fn same<V: Value>(&mut self, entries: &Entries<S, V>) -> Result<Option<MetadataBlock>, Error> {
        if !entries.values.iter().all(|value| self.count(child(value)) > 0) {
            return Ok(None);
        }
        let hash = Self::hash(entries);
        let mut place = hash as usize;
        for _ in 0..self.known.len() {
            place &= self.known.len() - 1;
            let Some(&(found, at)) = self.known.get(place) else { break };
            if at == 0 {
                break;
            }
            let mut bytes: Block = [0; BLOCK_SIZE];
            if found == hash {
                let at = MetadataBlock(at);
                if !self.read(at, &mut bytes)? {
                    return Ok(Some(at));
                }
                let node = node::Node::<V>::of(&bytes);
                if node.keys == &entries.keys[..] && node.values.as_bytes() == entries.values.as_bytes() {
                    return Ok(Some(at));
                }
            }
            place += 1;
        }
        Ok(None)
    }

    fn remember(&mut self, hash: u64, at: u64) -> Result<(), Error> {
        if self.knows * 2 >= self.known.len() {
            let length = (self.known.len() * 2).max(64);
            let former = mem::replace(&mut self.known, S::array((0, 0), length)?);
            for &(hash, at) in former.iter().filter(|(_, at)| *at != 0) {
                self.enter(hash, at);
            }
        }
        self.knows += 1;
        self.enter(hash, at);
        Ok(())
    }

    fn enter(&mut self, hash: u64, at: u64) {
        let mut place = hash as usize;
        for _ in 0..self.known.len() {
            place &= self.known.len() - 1;
            match self.known.get_mut(place) {
                Some(free) if free.1 == 0 => {
                    *free = (hash, at);
                    return;
                }
                _ => place += 1,
            }
        }
    }
}

/// The nodes of one level of a tree, while they are made.
pub(super) struct Level<S: Memory, V> {
    pub(super) before: Entries<S, V>,
    pub(super) now: Entries<S, V>,
}

/// A node that was written: its first key, and where it is.
pub(super) type Written = (u64, MetadataBlock);

impl<S: Store, V: Value> Level<S, V> {
    pub(super) fn new() -> Self {
        Self { before: Entries::new(), now: Entries::new() }
    }

    fn is_empty(&self) -> bool {
        self.before.is_empty() && self.now.is_empty()
    }

    /// Adds an entry; the node that is finished by that.
    fn push(
        &mut self,
        output: &mut Output<S>,
        flags: u32,
        refers: bool,
        entry: (u64, V),
    ) -> Result<Option<Written>, Error> {
        let mut closed = None;
        if self.now.len() == V::MAX {
            closed = self.close(output, flags, refers)?;
        }
        self.now.push(entry.0, entry.1)?;
        Ok(closed)
    }

    /// Writes the node before this one, if there is one. This one is then the one before the next.
    pub(super) fn close(&mut self, output: &mut Output<S>, flags: u32, refers: bool) -> Result<Option<Written>, Error> {
        let closed = if self.before.is_empty() { None } else { Some(output.node(flags, refers, &self.before)?) };
        self.before.clear();
        mem::swap(&mut self.before, &mut self.now);
        Ok(closed)
    }

    /// Sees to it that the last node has enough entries, if there is another to take them from.
    pub(super) fn settle(&mut self) -> Result<(), Error> {
        if self.now.len() < V::MIN && !self.before.is_empty() {
            Entries::balance(&mut self.before, &mut self.now)?;
        }
        Ok(())
    }

    /// Writes what is left.
    fn finish(&mut self, output: &mut Output<S>, flags: u32, refers: bool) -> Result<[Option<Written>; 2], Error> {
        self.settle()?;
        Ok([self.close(output, flags, refers)?, self.close(output, flags, refers)?])
    }
}

/// The nodes above leaves.
pub(super) struct Stem<S: Store> {
    levels: S::Array<Level<S, U64>>,
}

impl<S: Store> Stem<S> {
    pub(super) fn new() -> Self {
        Self { levels: S::Array::default() }
    }

    /// Adds a leaf, or a node of the level below.
    pub(super) fn add(&mut self, output: &mut Output<S>, level: usize, node: Written) -> Result<(), Error> {
        let (mut level, mut next) = (level, Some(node));
        while let Some((key, at)) = next {
            if self.levels.len() <= level {
                self.levels.push(Level::new())?;
            }
            let place = self.levels.get_mut(level).ok_or(Error::Memory)?;
            next = place.push(output, INTERNAL, true, (key, at.0.into()))?;
            level += 1;
        }
        Ok(())
    }

    /// The root, once everything has been added; `None` if nothing was. It can then be used again.
    pub(super) fn finish(&mut self, output: &mut Output<S>) -> Result<Option<MetadataBlock>, Error> {
        let mut level = 0;
        loop {
            let alone = self.levels.iter().skip(level + 1).all(Level::is_empty);
            let Some(place) = self.levels.get_mut(level) else { return Ok(None) };
            if alone && place.before.is_empty() && place.now.len() <= 1 {
                let root = place.now.values.first().map(child);
                place.now.clear();
                return Ok(root);
            }
            level += 1;
            for node in place.finish(output, INTERNAL, true)?.into_iter().flatten() {
                self.add(output, level, node)?;
            }
        }
    }
}

/// A tree whose entries come in order.
pub(super) struct Tree<S: Store, V> {
    leaves: Level<S, V>,
    stem: Stem<S>,
    /// Whether its values are blocks, to which they refer.
    refers: bool,
}

impl<S: Store, V: Value> Tree<S, V> {
    pub(super) fn new(refers: bool) -> Self {
        Self { leaves: Level::new(), stem: Stem::new(), refers }
    }

    pub(super) fn push(&mut self, output: &mut Output<S>, key: u64, value: V) -> Result<(), Error> {
        match self.leaves.push(output, LEAF, self.refers, (key, value))? {
            Some(leaf) => self.stem.add(output, 0, leaf),
            None => Ok(()),
        }
    }

    /// The root; something refers to it now.
    pub(super) fn finish(mut self, output: &mut Output<S>) -> Result<MetadataBlock, Error> {
        for leaf in self.leaves.finish(output, LEAF, self.refers)?.into_iter().flatten() {
            self.stem.add(output, 0, leaf)?;
        }
        let root = match self.stem.finish(output)? {
            Some(root) => root,
            None => output.node::<V>(LEAF, false, &Entries::new())?.1,
        };
        output.refer(root);
        Ok(root)
    }
}
