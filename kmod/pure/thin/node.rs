// SPDX-License-Identifier: GPL-2.0 OR MIT

//! B-tree nodes (`struct btree_node`, `drivers/md/persistent-data/dm-btree-internal.h`).
//!
//! A node has room for a number of keys that follows from the size of its values; behind that room lie the values, in
//! the same order. In an internal node a value is the block of a child, and its key a lower bound of the child's keys.

use super::block::{Block, Header, BLOCK_SIZE};
use crate::pure::units::MetadataBlock;
use core::fmt;
use core::mem::size_of;
use core::ops::Range;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// In [`Header::flags`]: the values are children.
pub const INTERNAL: u32 = 1;
/// In [`Header::flags`]: the values are those of the tree.
pub const LEAF: u32 = 2;

/// The first 32 bytes of a node.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct NodeHeader {
    /// As every block has; its flags are [`INTERNAL`] or [`LEAF`].
    pub header: Header,
    /// How many there are.
    pub entries: U32,
    /// How many there may be.
    pub max_entries: U32,
    /// Bytes of a value.
    pub value_size: U32,
    /// Zero.
    pub padding: U32,
}

const _: () = assert!(size_of::<NodeHeader>() == 32);

/// What stands in a node beside a key.
pub trait Value: Copy + FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned {
    /// How many of them, with their keys, a node has room for: a multiple of 3.
    const MAX: usize = (BLOCK_SIZE - size_of::<NodeHeader>()) / (size_of::<U64>() + size_of::<Self>()) / 3 * 3;
    /// A node that is not the root has at least so many.
    const MIN: usize = Self::MAX / 3;
}

impl Value for U64 {}
impl Value for U32 {}

const _: () = assert!(<U64 as Value>::MAX == 252 && <U64 as Value>::MIN == 84 && <U32 as Value>::MAX == 336);

/// What a node can have wrong with it, once its frame is known to be sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Neither internal nor a leaf, or something unknown.
    Flags(u32),
    /// Room for another number of entries than its kind of values gives.
    Room(u32),
    /// Values of another size.
    ValueSize(u32),
    /// More entries than it has room for.
    Entries(u32),
    /// A key is not larger than the one before it; the entry's index.
    Order(u32),
    /// An internal node without children.
    Childless,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flags(flags) => write!(f, "node flags {flags:#x}: must be {INTERNAL} (internal) or {LEAF} (leaf)"),
            Self::Room(max) => write!(f, "a node with room for {max} entries, which its values do not give"),
            Self::ValueSize(size) => write!(f, "a node with values of {size} bytes, which this tree does not have"),
            Self::Entries(entries) => write!(f, "a node with {entries} entries, more than it has room for"),
            Self::Order(index) => write!(f, "key {index} is not larger than the one before it"),
            Self::Childless => f.write_str("an internal node without children"),
        }
    }
}

/// Whether a block is an internal node. Whatever is no leaf counts as one until [`check`] has looked.
#[inline]
pub fn is_internal(block: &Block) -> bool {
    super::block::header(block).flags.get() & LEAF == 0
}

/// Bytes of the values that a node says it has.
#[inline]
pub fn value_size(block: &Block) -> usize {
    NodeHeader::ref_from_prefix(block).map_or(0, |(header, _)| header.value_size.get() as usize)
}

/// Whether a block, whose frame is sound, is a node of a tree whose leaves have values of type `V`.
///
/// # Errors
///
/// The first thing that is wrong.
pub fn check<V: Value>(block: &Block) -> Result<(), Malformed> {
    match super::block::header(block).flags.get() {
        INTERNAL => {
            well_formed::<U64>(block)?;
            if Node::<U64>::of(block).is_empty() {
                return Err(Malformed::Childless);
            }
            Ok(())
        }
        LEAF => well_formed::<V>(block),
        flags => Err(Malformed::Flags(flags)),
    }
}

fn well_formed<V: Value>(block: &Block) -> Result<(), Malformed> {
    let (header, keys, _) = parts::<V>(block);
    if header.value_size.get() as usize != size_of::<V>() {
        return Err(Malformed::ValueSize(header.value_size.get()));
    }
    if header.max_entries.get() as usize != V::MAX {
        return Err(Malformed::Room(header.max_entries.get()));
    }
    let Some(keys) = keys.get(..header.entries.get() as usize) else {
        return Err(Malformed::Entries(header.entries.get()));
    };
    // Most nodes are in order: not to look for the place is faster.
    let pairs = || keys.iter().zip(keys.get(1..).unwrap_or_default());
    if pairs().fold(true, |sorted, (a, b)| sorted & (a.get() < b.get())) {
        return Ok(());
    }
    let index = pairs().position(|(a, b)| a.get() >= b.get()).unwrap_or_default();
    Err(Malformed::Order(index as u32 + 1))
}

/// The header, the room for keys, and the room for values.
fn parts<V: Value>(block: &Block) -> (&NodeHeader, &[U64], &[V]) {
    let parts = NodeHeader::ref_from_prefix(block).ok().and_then(|(header, rest)| {
        let (keys, rest) = <[U64]>::ref_from_prefix_with_elems(rest, V::MAX).ok()?;
        let (values, _) = <[V]>::ref_from_prefix_with_elems(rest, V::MAX).ok()?;
        Some((header, keys, values))
    });
    // By the definition of `Value::MAX` they fit.
    parts.unwrap_or((&NOTHING, &[], &[]))
}

static NOTHING: NodeHeader = NodeHeader {
    header: Header { checksum: U32::ZERO, flags: U32::ZERO, location: U64::ZERO },
    entries: U32::ZERO,
    max_entries: U32::ZERO,
    value_size: U32::ZERO,
    padding: U32::ZERO,
};

fn parts_mut<V: Value>(block: &mut Block) -> Option<(&mut NodeHeader, &mut [U64], &mut [V])> {
    let (header, rest) = NodeHeader::mut_from_prefix(block).ok()?;
    let (keys, rest) = <[U64]>::mut_from_prefix_with_elems(rest, V::MAX).ok()?;
    let (values, _) = <[V]>::mut_from_prefix_with_elems(rest, V::MAX).ok()?;
    Some((header, keys, values))
}

/// The entries of a node that [`check`] accepted.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a, V> {
    /// In increasing order.
    pub keys: &'a [U64],
    /// As many.
    pub values: &'a [V],
}

impl<'a, V: Value> Node<'a, V> {
    /// Views a block as a node with values of type `V`.
    pub fn of(block: &'a Block) -> Self {
        let (header, keys, values) = parts::<V>(block);
        let entries = (header.entries.get() as usize).min(keys.len());
        Self { keys: keys.get(..entries).unwrap_or_default(), values: values.get(..entries).unwrap_or_default() }
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The index of the first entry whose key is at least `key`; the number of entries if there is none.
    pub fn lower_bound(&self, key: u64) -> usize {
        rank(self.keys, |other| other < key)
    }

    /// The index of the last entry whose key is at most `key`.
    pub fn floor(&self, key: u64) -> Option<usize> {
        rank(self.keys, |other| other <= key).checked_sub(1)
    }

    /// The key of an entry.
    pub fn key(&self, index: usize) -> Option<u64> {
        self.keys.get(index).map(|key| key.get())
    }

    /// The value of an entry.
    pub fn value(&self, index: usize) -> Option<V> {
        self.values.get(index).copied()
    }

    /// The value of exactly this key.
    pub fn find(&self, key: u64) -> Option<V> {
        let index = self.lower_bound(key);
        (self.key(index) == Some(key)).then(|| self.value(index)).flatten()
    }
}

/// How many keys are before, which all stand in front of those that are not: a step for each bit of that number.
///
/// Does half of what `partition_point` does, because no node has 512 entries.
#[inline]
fn rank(keys: &[U64], before: impl Fn(u64) -> bool) -> usize {
    let mut rank = 0;
    for step in [256, 128, 64, 32, 16, 8, 4, 2, 1] {
        let next = rank + step;
        rank = if keys.get(next - 1).is_some_and(|key| before(key.get())) { next } else { rank };
    }
    rank
}

const _: () = assert!(BLOCK_SIZE / size_of::<U64>() <= 512);

impl Node<'_, U64> {
    /// The child at an index of an internal node.
    pub fn child(&self, index: usize) -> Option<MetadataBlock> {
        self.value(index).map(|child| MetadataBlock(child.get()))
    }
}

/// A node to be changed. Room that is not used stays zero.
#[derive(Debug)]
pub struct NodeMut<'a, V> {
    header: &'a mut NodeHeader,
    keys: &'a mut [U64],
    values: &'a mut [V],
}

impl<'a, V: Value> NodeMut<'a, V> {
    /// Makes a block an empty node; `flags` is [`INTERNAL`] or [`LEAF`].
    pub fn format(block: &mut Block, flags: u32) {
        *block = [0; BLOCK_SIZE];
        if let Some((header, ..)) = parts_mut::<V>(block) {
            header.header.flags = flags.into();
            header.max_entries = (V::MAX as u32).into();
            header.value_size = (size_of::<V>() as u32).into();
        }
    }

    /// A node that [`check`] accepted; `None` for what can be none.
    pub fn of(block: &'a mut Block) -> Option<Self> {
        let (header, keys, values) = parts_mut::<V>(block)?;
        (header.entries.get() as usize <= V::MAX).then_some(Self { header, keys, values })
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.header.entries.get() as usize
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its entries.
    pub fn view(&self) -> Node<'_, V> {
        let entries = self.len();
        Node {
            keys: self.keys.get(..entries).unwrap_or_default(),
            values: self.values.get(..entries).unwrap_or_default(),
        }
    }

    /// Replaces the key of an entry.
    pub fn set_key(&mut self, index: usize, key: u64) {
        if let Some(old) = self.keys.get_mut(index) {
            *old = key.into();
        }
    }

    /// Replaces the value of an entry.
    pub fn set_value(&mut self, index: usize, value: V) {
        if let Some(old) = self.values.get_mut(index) {
            *old = value;
        }
    }

    /// Makes room for `count` entries at `index`, to be set; false, and nothing is done, if there is not so much.
    #[must_use]
    pub fn open(&mut self, index: usize, count: usize) -> bool {
        let entries = self.len();
        if index > entries || count > V::MAX - entries {
            return false;
        }
        self.keys.copy_within(index..entries, index + count);
        self.values.copy_within(index..entries, index + count);
        self.header.entries = ((entries + count) as u32).into();
        true
    }

    /// Puts entries into an empty node: as many as it has room for.
    pub fn fill(&mut self, keys: &[U64], values: &[V]) {
        let count = keys.len().min(values.len()).min(V::MAX);
        copy(self.keys, 0, keys, 0, count);
        copy(self.values, 0, values, 0, count);
        self.header.entries = (count as u32).into();
    }

    /// Puts an entry at `index`; false if the node is full.
    #[must_use]
    pub fn insert(&mut self, index: usize, key: u64, value: V) -> bool {
        let opened = self.open(index, 1);
        if opened {
            self.set_key(index, key);
            self.set_value(index, value);
        }
        opened
    }

    /// Takes entries out.
    pub fn remove(&mut self, range: Range<usize>) {
        let entries = self.len();
        let (start, end) = (range.start.min(entries), range.end.min(entries));
        if start >= end {
            return;
        }
        self.keys.copy_within(end..entries, start);
        self.values.copy_within(end..entries, start);
        let left = entries - (end - start);
        self.header.entries = (left as u32).into();
        for key in self.keys.get_mut(left..entries).unwrap_or_default() {
            *key = U64::ZERO;
        }
        self.values.get_mut(left..entries).unwrap_or_default().as_mut_bytes().fill(0);
    }

    /// Moves entries between two neighbours so that the left one has `count` in the end; false, and nothing is done, if
    /// that cannot be.
    #[must_use]
    pub fn balance(left: &mut Self, right: &mut Self, count: usize) -> bool {
        let (lefts, rights) = (left.len(), right.len());
        let Some(rest) = (lefts + rights).checked_sub(count) else { return false };
        if count > V::MAX || rest > V::MAX {
            return false;
        }
        if count > lefts {
            let moved = count - lefts;
            if left.open(lefts, moved) {
                copy(left.keys, lefts, right.keys, 0, moved);
                copy(left.values, lefts, right.values, 0, moved);
                right.remove(0..moved);
            }
        } else {
            let moved = lefts - count;
            if right.open(0, moved) {
                copy(right.keys, 0, left.keys, count, moved);
                copy(right.values, 0, left.values, count, moved);
                left.remove(count..lefts);
            }
        }
        true
    }
}

fn copy<T: Copy>(to: &mut [T], at: usize, from: &[T], start: usize, count: usize) {
    if let (Some(to), Some(from)) = (to.get_mut(at..at + count), from.get(start..start + count)) {
        to.copy_from_slice(from);
    }
}
