// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What differs between two devices of a pool: their trees are walked side by side, from the lowest key on.
//!
//! A block that both trees have is the same node in both, and so is all that is below it: it is passed over, unread. What
//! is read is therefore what lies beside the differences, not the devices. To meet such a block in both trees at once, the side
//! whose next key is smaller goes on alone; at equal keys the higher of the two subtrees is opened.

use super::block::{self, Block, Kind};
use super::error::{Damage, Error};
use super::mapping::Devices;
use super::node::{self, Node};
use super::reader::Reader;
use super::store::{Array, Store};
use super::tree::{self, DEPTH_MAX};
use super::value::Mapping;
use crate::pure::units::{MetadataBlock, VirtualBlock};
use core::ops::ControlFlow;
use zerocopy::little_endian::U64;

/// How two devices compare in a range of virtual blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// Mapped in both, to different data blocks.
    Changed,
    /// Mapped in the second only.
    Added,
    /// Mapped in the first only.
    Removed,
    /// Mapped in both to the same data blocks.
    Same,
}

/// Virtual blocks in a row that compare alike. What neither device maps is in no range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first.
    pub begin: VirtualBlock,
    /// How many.
    pub length: u64,
    /// How they compare.
    pub difference: Difference,
}

impl<S: Store> Reader<S> {
    /// Tells what differs between device `from` and device `to`, in order of virtual blocks and in the longest ranges that
    /// there are, until told to stop; with `same` also what does not, at the cost of reading it.
    ///
    /// # Errors
    ///
    /// There is no such device; or metadata cannot be read or is damaged. What was told until then holds.
    pub fn delta(
        &mut self,
        from: u64,
        to: u64,
        same: bool,
        tell: &mut dyn FnMut(Range) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let top = MetadataBlock(self.superblock().mapping_root.get());
        let mut roots = [MetadataBlock(0); 2];
        for (root, id) in roots.iter_mut().zip([from, to]) {
            let found = tree::lookup::<Devices, S>(self.core(), top, id)?.ok_or(Error::NoDevice(id))?;
            *root = MetadataBlock(found.get());
        }
        let [left, right] = roots;
        if left == right && !same {
            return Ok(());
        }
        let store = self.core().cache.store();
        let (mut left, mut right) = (Side::new(store, left)?, Side::new(store, right)?);
        let mut ranges = Ranges { last: None, stopped: false, tell };
        while !ranges.stopped && step(store, &mut left, &mut right, same, &mut ranges)? {}
        ranges.finish();
        Ok(())
    }
}

/// Puts ranges together.
struct Ranges<'a> {
    last: Option<Range>,
    stopped: bool,
    tell: &'a mut dyn FnMut(Range) -> ControlFlow<()>,
}

impl Ranges<'_> {
    /// One block more, behind all that have been put.
    #[inline]
    fn put(&mut self, key: u64, difference: Difference) {
        match &mut self.last {
            Some(last) if last.difference == difference && key.wrapping_sub(last.begin.0) == last.length => {
                last.length += 1;
            }
            _ => {
                self.finish();
                self.last = Some(Range { begin: VirtualBlock(key), length: 1, difference });
            }
        }
    }

    fn finish(&mut self) {
        if let Some(range) = self.last.take() {
            self.stopped = self.stopped || (self.tell)(range).is_break();
        }
    }
}

/// What comes next in a tree.
#[derive(Clone, Copy)]
enum Head {
    /// A node that has not been read, so high above the leaves, whose keys begin at `key` or later.
    Tree { at: MetadataBlock, height: usize, key: u64 },
    /// An entry of the leaf that was read.
    Entry { at: MetadataBlock, index: usize, key: u64 },
    /// Nothing.
    End,
}

/// A place in a tree, and the nodes above it.
struct Side<S: Store> {
    /// By height; leaves have the height 0.
    levels: S::Array<Level<S>>,
    head: Head,
}

struct Level<S: Store> {
    frame: S::Frame,
    /// The entry of the node below which the head is.
    index: usize,
    /// All keys below that entry are smaller, or those of the leaf.
    upper: Option<u64>,
}

impl<S: Store> Side<S> {
    /// The beginning of a tree. Reads its first nodes down to a leaf, to know how high it is.
    fn new(store: &mut S, root: MetadataBlock) -> Result<Self, Error> {
        let mut levels = S::Array::default();
        let mut at = root;
        let mut frame = S::frame()?;
        loop {
            levels.push(Level { frame: S::frame()?, index: 0, upper: None })?;
            read(store, at, &mut frame)?;
            if !node::is_internal(&frame) {
                break;
            }
            if levels.len() > DEPTH_MAX {
                return Err(Error::Damaged(at, Damage::Depth));
            }
            at = Node::<U64>::of(&frame).child(0).ok_or(Error::Damaged(at, Damage::Depth))?;
        }
        let head = Head::Tree { at: root, height: levels.len() - 1, key: 0 };
        Ok(Self { levels, head })
    }

    fn key(&self) -> Option<u64> {
        match self.head {
            Head::Tree { key, .. } | Head::Entry { key, .. } => Some(key),
            Head::End => None,
        }
    }

    /// How high above the entries the head is.
    fn height(&self) -> usize {
        match self.head {
            Head::Tree { height, .. } => height + 1,
            _ => 0,
        }
    }

    /// The node of which nothing has been used.
    fn whole(&self) -> Option<MetadataBlock> {
        match self.head {
            Head::Tree { at, .. } | Head::Entry { at, index: 0, .. } => Some(at),
            _ => None,
        }
    }

    /// The end of the keys of that node.
    fn upper(&self) -> Option<u64> {
        match self.head {
            // The level above knows the end of its entry's keys; nothing is above the root.
            Head::Tree { height, .. } => self.levels.get(height + 1).and_then(|level| level.upper),
            _ => self.levels.get(1).and_then(|level| level.upper),
        }
    }

    /// Reads the head's node, and goes to the first that is below it.
    fn open(&mut self, store: &mut S) -> Result<(), Error> {
        let Head::Tree { at, height, key: lower } = self.head else { return Ok(()) };
        let (upper, is_root) = (self.upper(), height + 1 == self.levels.len());
        let level = self.levels.get_mut(height).ok_or(Error::Damaged(at, Damage::Depth))?;
        read(store, at, &mut level.frame)?;
        if node::is_internal(&level.frame) != (height > 0) {
            return Err(Error::Damaged(at, Damage::Depth));
        }
        let node = Node::<U64>::of(&level.frame);
        let (Some(first), Some(last)) = (node.key(0), node.keys.last()) else {
            if !is_root {
                return Err(Error::Damaged(at, Damage::Key(lower)));
            }
            self.head = Head::End;
            return Ok(());
        };
        // Without this a loop would not end.
        for key in [first, last.get()] {
            if key < lower || upper.is_some_and(|upper| key >= upper) {
                return Err(Error::Damaged(at, Damage::Key(key)));
            }
        }
        if height == 0 {
            self.head = Head::Entry { at, index: 0, key: first };
            return Ok(());
        }
        self.enter(height, 0, upper)
    }

    /// Goes to a child of the node at a height, whose own keys end before `end`.
    fn enter(&mut self, height: usize, index: usize, end: Option<u64>) -> Result<(), Error> {
        let Some(level) = self.levels.get_mut(height) else { return Ok(()) };
        let node = Node::<U64>::of(&level.frame);
        if let (Some(key), Some(at)) = (node.key(index), node.child(index)) {
            (level.index, level.upper) = (index, node.key(index + 1).or(end));
            self.head = Head::Tree { at, height: height - 1, key };
        }
        Ok(())
    }

    /// Goes to what is behind the head's node.
    fn pass(&mut self) -> Result<(), Error> {
        let mut height = self.height().max(1);
        while let Some(level) = self.levels.get(height) {
            let next = level.index + 1;
            if next < Node::<U64>::of(&level.frame).len() {
                let end = self.levels.get(height + 1).and_then(|level| level.upper);
                return self.enter(height, next, end);
            }
            height += 1;
        }
        self.head = Head::End;
        Ok(())
    }

    /// The leaf that is read.
    fn leaf(&self) -> Node<'_, U64> {
        static NOTHING: Block = [0; block::BLOCK_SIZE];
        Node::of(self.levels.first().map_or(&NOTHING, |level| &level.frame))
    }

    /// Goes to an entry of that leaf, or behind it.
    fn seek(&mut self, index: usize) -> Result<(), Error> {
        let Head::Entry { at, .. } = self.head else { return Ok(()) };
        match self.leaf().key(index) {
            Some(key) => self.head = Head::Entry { at, index, key },
            None => self.pass()?,
        }
        Ok(())
    }

    /// Tells everything that is before `end` of the head's node or leaf, or opens it.
    fn alone(
        &mut self,
        store: &mut S,
        end: Option<u64>,
        difference: Difference,
        ranges: &mut Ranges<'_>,
    ) -> Result<(), Error> {
        let Head::Entry { index, .. } = self.head else { return self.open(store) };
        let leaf = self.leaf();
        let until = end.map_or(leaf.len(), |end| leaf.lower_bound(end)).max(index + 1);
        for key in leaf.keys.get(index..until).unwrap_or_default() {
            ranges.put(key.get(), difference);
        }
        self.seek(until)
    }
}

fn read<S: Store>(store: &mut S, at: MetadataBlock, frame: &mut Block) -> Result<(), Error> {
    if at.0 >= store.metadata_blocks() {
        return Err(Error::Damaged(at, Damage::Child(at)));
    }
    store.read(at, frame).map_err(|_| Error::Read(at))?;
    block::verify::<S>(frame, Kind::Node, at).map_err(|what| Error::Damaged(at, Damage::Frame(Kind::Node, what)))?;
    node::check::<U64>(frame).map_err(|malformed| Error::Damaged(at, Damage::Node(malformed)))
}

/// Goes on by an entry, a leaf or a subtree; false if both trees are at their ends.
fn step<S: Store>(
    store: &mut S,
    left: &mut Side<S>,
    right: &mut Side<S>,
    same: bool,
    ranges: &mut Ranges<'_>,
) -> Result<bool, Error> {
    match (left.key(), right.key()) {
        (None, None) => return Ok(false),
        (Some(l), Some(r)) if l == r => {}
        (Some(l), r) if r.is_none_or(|r| l < r) => {
            left.alone(store, r, Difference::Removed, ranges)?;
            return Ok(true);
        }
        (l, _) => {
            right.alone(store, l, Difference::Added, ranges)?;
            return Ok(true);
        }
    }
    if left.whole().is_some() && left.whole() == right.whole() {
        right.pass()?;
        if !same {
            left.pass()?;
            return Ok(true);
        }
        let upper = left.upper();
        while left.key().is_some_and(|key| upper.is_none_or(|upper| key < upper)) && !ranges.stopped {
            left.alone(store, upper, Difference::Same, ranges)?;
        }
        return Ok(true);
    }
    let (Head::Entry { index: mut l, .. }, Head::Entry { index: mut r, .. }) = (left.head, right.head) else {
        if left.height() >= right.height() {
            left.open(store)?;
        } else {
            right.open(store)?;
        }
        return Ok(true);
    };
    // Two leaves: entry by entry, as long as both have the same keys.
    let (lefts, rights) = (left.leaf(), right.leaf());
    while let (Some(key), Some(other)) = (lefts.key(l), rights.key(r)) {
        if key != other {
            break;
        }
        let [one, other] =
            [lefts.value(l), rights.value(r)].map(|value| value.map(|value| Mapping::unpack(value).block));
        if one != other {
            ranges.put(key, Difference::Changed);
        } else if same {
            ranges.put(key, Difference::Same);
        }
        (l, r) = (l + 1, r + 1);
    }
    left.seek(l)?;
    right.seek(r)?;
    Ok(true)
}
