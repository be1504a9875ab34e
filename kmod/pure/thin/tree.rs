// SPDX-License-Identifier: GPL-2.0 OR MIT

//! B-trees: lookup, insert, removal of ranges.
//!
//! A node is changed in place only if the current transaction made it and nothing else refers to it; otherwise it is
//! shadowed: copied to a new block, to which its parent, shadowed before it, then points. A copy of a node that stays in
//! use refers to all that the original refers to, which is counted once more ([`Tree::hold`]).
//!
//! Insert makes the way down to the leaf its own. If the leaf is full, it splits the highest of the full nodes above it and
//! goes down again, until there is room: only what has to be split is split. A full node first gives entries to a neighbour
//! that the transaction owns, so that sequential inserts leave full nodes behind. Removal cuts the range out, whole
//! subtrees at once, and then goes down the two edges of the cut to fill up the nodes that became too small.

use super::block::Kind;
use super::blocks::Core;
use super::cache::Frame;
use super::error::{Damage, Error};
use super::node::{self, Node, NodeMut, Value, INTERNAL, LEAF};
use super::store::Store;
use crate::pure::units::MetadataBlock;
use zerocopy::little_endian::U64;
use zerocopy::IntoBytes;

/// No tree is deeper: 84 children a node and 2^64 keys make 11 levels.
pub const DEPTH_MAX: usize = 16;

/// Trees of less than 84^6 entries are not deeper, unless others made them so.
pub const DEPTH_USUAL: u64 = 6;

/// A kind of tree: what its leaves hold, and what that refers to.
pub trait Tree {
    /// What stands beside a key in a leaf.
    type Value: Value;

    /// The leaf at `leaf` was copied, and both are in use: what its values refer to has one reference more.
    ///
    /// # Errors
    ///
    /// A count could not be changed.
    fn hold<S: Store>(_core: &mut Core<S>, _leaf: MetadataBlock) -> Result<(), Error> {
        Ok(())
    }

    /// The values of the leaf at `leaf` from one index on and before another are about to go: what they refer to has one
    /// reference less.
    ///
    /// # Errors
    ///
    /// A count could not be changed.
    fn release<S: Store>(_core: &mut Core<S>, _leaf: MetadataBlock, _from: usize, _to: usize) -> Result<(), Error> {
        Ok(())
    }

    /// A value of the leaf at `leaf` is about to be replaced by another.
    ///
    /// # Errors
    ///
    /// A count could not be changed.
    fn replace<S: Store>(
        core: &mut Core<S>,
        leaf: MetadataBlock,
        index: usize,
        _value: Self::Value,
    ) -> Result<(), Error> {
        Self::release(core, leaf, index, index + 1)
    }
}

/// A node on the way down, and the entry through which the way goes on.
#[derive(Clone, Copy, Debug)]
struct Step {
    at: MetadataBlock,
    index: usize,
}

/// The way from a root to the parent of a leaf, and the leaf.
struct Path {
    steps: [Step; DEPTH_MAX],
    depth: usize,
    leaf: MetadataBlock,
    frame: Frame,
    /// The first key that belongs into the leaf behind it.
    upper: Option<u64>,
}

/// A leaf, and the key before which its entries end; `None` in the last leaf.
#[derive(Clone, Copy, Debug)]
pub struct Leaf {
    /// Where it is.
    pub at: MetadataBlock,
    /// The same, in memory.
    pub frame: Frame,
    /// The first key that may be in the leaf behind it.
    pub upper: Option<u64>,
}

/// The leaf in which `key` is, or would be.
///
/// # Errors
///
/// A block on the way cannot be read or is damaged.
#[inline]
pub fn leaf<T: Tree, S: Store>(core: &mut Core<S>, root: MetadataBlock, key: u64) -> Result<Leaf, Error> {
    let (mut at, mut upper) = (root, None);
    for _ in 0..DEPTH_MAX + 1 {
        let frame = core.frame::<T::Value>(at)?;
        let block = core.cache.block(frame);
        if !node::is_internal(block) {
            return Ok(Leaf { at, frame, upper });
        }
        let node = Node::<U64>::of(block);
        let index = node.floor(key).unwrap_or(0);
        upper = node.key(index + 1).or(upper);
        at = node.child(index).ok_or(Error::Damaged(at, Damage::Depth))?;
    }
    Err(Error::Damaged(at, Damage::Depth))
}

/// Whether something else refers to a node on the way to the leaf of `key`, and so to all that is below it.
///
/// # Errors
///
/// A block on the way cannot be read or is damaged.
pub fn is_shared<T: Tree, S: Store>(core: &mut Core<S>, root: MetadataBlock, key: u64) -> Result<bool, Error> {
    let mut at = root;
    for _ in 0..=DEPTH_MAX {
        if core.count(at)? > 1 {
            return Ok(true);
        }
        let block = core.node::<T::Value>(at)?;
        if !node::is_internal(block) {
            return Ok(false);
        }
        let node = Node::<U64>::of(block);
        at = node.child(node.floor(key).unwrap_or(0)).ok_or(Error::Damaged(at, Damage::Depth))?;
    }
    Err(Error::Damaged(at, Damage::Depth))
}

/// The value of a key.
///
/// # Errors
///
/// A block on the way cannot be read or is damaged.
pub fn lookup<T: Tree, S: Store>(core: &mut Core<S>, root: MetadataBlock, key: u64) -> Result<Option<T::Value>, Error> {
    let leaf = leaf::<T, S>(core, root, key)?;
    Ok(Node::<T::Value>::of(core.cache.block(leaf.frame)).find(key))
}

/// The first entry whose key is `key` or larger.
///
/// # Errors
///
/// A block on the way cannot be read or is damaged.
pub fn first<T: Tree, S: Store>(
    core: &mut Core<S>,
    root: MetadataBlock,
    mut key: u64,
) -> Result<Option<(u64, T::Value)>, Error> {
    loop {
        let leaf = leaf::<T, S>(core, root, key)?;
        let node = Node::<T::Value>::of(core.cache.block(leaf.frame));
        let index = node.lower_bound(key);
        if let (Some(key), Some(value)) = (node.key(index), node.value(index)) {
            return Ok(Some((key, value)));
        }
        match leaf.upper {
            Some(upper) => key = upper,
            None => return Ok(None),
        }
    }
}

/// Makes an empty tree.
///
/// # Errors
///
/// There is no room for its one node.
pub fn create<T: Tree, S: Store>(core: &mut Core<S>) -> Result<MetadataBlock, Error> {
    let at = core.allocate(Kind::Node)?;
    NodeMut::<T::Value>::format(core.block_mut(at)?, LEAF);
    Ok(at)
}

/// Sets the value of a key; gives the root that the tree has then, and whether the key is new. What the value refers to has
/// been counted; what an old one referred to is released, unless it is the same.
///
/// # Errors
///
/// The tree may be half changed: the transaction is to be aborted.
pub fn insert<T: Tree, S: Store>(
    core: &mut Core<S>,
    root: MetadataBlock,
    key: u64,
    value: T::Value,
) -> Result<(MetadataBlock, bool), Error> {
    let (root, added) = insert_run::<T, S>(core, root, key, 1, &|_| value)?;
    Ok((root, added > 0))
}

/// Sets the values of `count` keys in a row; `value` gives that of each key. Gives the root that the tree has then, and how
/// many keys are new. Goes down once for each leaf.
///
/// # Errors
///
/// The tree may be half changed: the transaction is to be aborted.
pub fn insert_run<T: Tree, S: Store>(
    core: &mut Core<S>,
    mut root: MetadataBlock,
    begin: u64,
    count: u64,
    value: &dyn Fn(u64) -> T::Value,
) -> Result<(MetadataBlock, u64), Error> {
    let (mut key, end, mut added) = (begin, begin.saturating_add(count), 0);
    let mut tries = 0;
    while key < end {
        let path;
        (root, path) = shadow_path::<T, S>(core, root, key)?;
        let end = end.min(path.upper.unwrap_or(end));
        let before = key;
        let mut frame = path.frame;
        while key < end {
            let node = Node::<T::Value>::of(core.cache.block(frame));
            let index = node.lower_bound(key);
            if node.key(index) == Some(key) {
                let new = value(key);
                if node.value(index).is_some_and(|old| old.as_bytes() != new.as_bytes()) {
                    T::replace(core, path.leaf, index, new)?;
                    frame = core.frame::<T::Value>(path.leaf)?;
                    core.frame_mut::<T::Value>(frame)?.set_value(index, new);
                }
                key += 1;
                continue;
            }
            let gap = node.key(index).map_or(end, |next| next.min(end)) - key;
            let fit = gap.min((<T::Value as Value>::MAX - node.len()) as u64);
            if fit == 0 {
                break;
            }
            let mut leaf = core.frame_mut::<T::Value>(frame)?;
            if !leaf.open(index, fit as usize) {
                return Err(Error::Damaged(path.leaf, Damage::Key(key)));
            }
            for offset in 0..fit as usize {
                leaf.set_key(index + offset, key);
                leaf.set_value(index + offset, value(key));
                key += 1;
            }
            added += fit;
        }
        if key != before {
            tries = 0;
            continue;
        }
        // Each level is split once, and one is added.
        tries += 1;
        if tries > 2 * DEPTH_MAX {
            return Err(Error::Damaged(path.leaf, Damage::Depth));
        }
        root = relieve::<T, S>(core, root, &path, key)?;
    }
    Ok((root, added))
}

/// Shadows all nodes on the way to the leaf of `key`, and sees to it that no key on it is larger.
fn shadow_path<T: Tree, S: Store>(
    core: &mut Core<S>,
    root: MetadataBlock,
    key: u64,
) -> Result<(MetadataBlock, Path), Error> {
    let (root, mut frame) = core.shadow_frame::<T>(root)?;
    let mut path = Path { steps: [Step { at: root, index: 0 }; DEPTH_MAX], depth: 0, leaf: root, frame, upper: None };
    let mut at = root;
    while node::is_internal(core.cache.block(frame)) {
        let node = Node::<U64>::of(core.cache.block(frame));
        let index = node.floor(key);
        let old = node.child(index.unwrap_or(0)).ok_or(Error::Damaged(at, Damage::Depth))?;
        path.upper = node.key(index.unwrap_or(0) + 1).or(path.upper);
        let child;
        (child, frame) = core.shadow_frame::<T>(old)?;
        if child != old || index.is_none() {
            let mut node = core.internal_mut(at)?;
            node.set_value(index.unwrap_or(0), child.0.into());
            if index.is_none() {
                node.set_key(0, key);
            }
        }
        let step = path.steps.get_mut(path.depth).ok_or(Error::Damaged(at, Damage::Depth))?;
        *step = Step { at, index: index.unwrap_or(0) };
        path.depth += 1;
        at = child;
    }
    (path.leaf, path.frame) = (at, frame);
    Ok((root, path))
}

/// Where the value of a key is that a tree has, in a leaf of this transaction's own.
#[derive(Clone, Copy, Debug)]
pub struct Place<V> {
    /// The leaf.
    pub leaf: MetadataBlock,
    /// The index in it.
    pub index: usize,
    /// The value.
    pub value: V,
}

/// Makes the way to the value of a key this transaction's own; gives the root that the tree has then, and the place.
///
/// # Errors
///
/// The tree does not have the key; or may be half changed: the transaction is to be aborted.
pub fn shadow_place<T: Tree, S: Store>(
    core: &mut Core<S>,
    root: MetadataBlock,
    key: u64,
) -> Result<(MetadataBlock, Place<T::Value>), Error> {
    let (root, path) = shadow_path::<T, S>(core, root, key)?;
    let node = Node::<T::Value>::of(core.cache.block(path.frame));
    let index = node.lower_bound(key);
    let value = node.value(index).filter(|_| node.key(index) == Some(key));
    let value = value.ok_or(Error::Damaged(path.leaf, Damage::Key(key)))?;
    Ok((root, Place { leaf: path.leaf, index, value }))
}

/// Makes room in, or nearer to, the full leaf of a path that was shadowed: splits the highest of the full nodes above
/// it whose parent has room. Gives the root.
fn relieve<T: Tree, S: Store>(
    core: &mut Core<S>,
    root: MetadataBlock,
    path: &Path,
    key: u64,
) -> Result<MetadataBlock, Error> {
    let steps = path.steps.get(..path.depth).unwrap_or_default();
    for (level, step) in steps.iter().enumerate().rev() {
        if Node::<U64>::of(core.node::<T::Value>(step.at)?).len() == <U64 as Value>::MAX {
            continue;
        }
        if level + 1 == steps.len() {
            divide::<T, T::Value, S>(core, *step, key)?;
        } else {
            divide::<T, U64, S>(core, *step, key)?;
        }
        return Ok(root);
    }
    // All are full: a root above the root.
    let first = Node::<U64>::of(core.node::<T::Value>(root)?).key(0);
    let above = core.allocate(Kind::Node)?;
    NodeMut::<U64>::format(core.block_mut(above)?, INTERNAL);
    if !core.internal_mut(above)?.insert(0, first.unwrap_or(key), root.0.into()) {
        return Err(Error::Damaged(above, Damage::Depth));
    }
    Ok(above)
}

/// Makes room for `key` in the child of a step, which is full, while the step's node is not: by a neighbour that
/// has room, or else by another node.
fn divide<T: Tree, V: Value, S: Store>(core: &mut Core<S>, step: Step, key: u64) -> Result<(), Error> {
    let parent = Node::<U64>::of(core.node::<T::Value>(step.at)?);
    let child = parent.child(step.index).ok_or(Error::Damaged(step.at, Damage::Depth))?;
    let left = step.index.checked_sub(1).and_then(|index| parent.child(index));
    let right = parent.child(step.index + 1);
    let node = Node::<V>::of(core.node::<T::Value>(child)?);
    // What comes in order goes on coming: it leaves full nodes behind.
    let last = node.key(node.len().saturating_sub(1)).is_some_and(|last| key > last);
    if let Some(left) = left.filter(|&at| core.is_own(at)) {
        let lefts = Node::<V>::of(core.node::<T::Value>(left)?).len();
        if lefts + 8 <= V::MAX {
            let want = if last { V::MAX } else { (lefts + V::MAX) / 2 };
            return balance::<V, S>(core, Step { at: step.at, index: step.index - 1 }, left, child, want);
        }
    }
    if let Some(right) = right.filter(|&at| core.is_own(at)) {
        let rights = Node::<V>::of(core.node::<T::Value>(right)?).len();
        if rights + 8 <= V::MAX {
            return balance::<V, S>(core, step, child, right, (V::MAX + rights) / 2);
        }
    }
    let flags = if node::is_internal(core.node::<T::Value>(child)?) { INTERNAL } else { LEAF };
    let new = core.allocate(Kind::Node)?;
    NodeMut::<V>::format(core.block_mut(new)?, flags);
    // Its key is set with the entries that move there.
    if !core.internal_mut(step.at)?.insert(step.index + 1, 0, new.0.into()) {
        return Err(Error::Damaged(step.at, Damage::Depth));
    }
    balance::<V, S>(core, step, child, new, if last { V::MAX - V::MIN } else { V::MAX / 2 })
}

/// Moves entries between the child of a step and the one behind it, so that the left one has `want`.
fn balance<V: Value, S: Store>(
    core: &mut Core<S>,
    step: Step,
    left: MetadataBlock,
    right: MetadataBlock,
    want: usize,
) -> Result<(), Error> {
    let internal = node::is_internal(core.node::<V>(left)?);
    if node::is_internal(core.node::<V>(right)?) != internal {
        return Err(Error::Damaged(right, Damage::Depth));
    }
    let (one, other) = core.two_mut(left, right)?;
    let (Some(mut one), Some(mut other)) = (NodeMut::<V>::of(one), NodeMut::<V>::of(other)) else {
        return Err(Error::Damaged(left, Damage::Depth));
    };
    if !NodeMut::balance(&mut one, &mut other, want) {
        return Err(Error::Damaged(left, Damage::Depth));
    }
    let first = other.view().key(0);
    let mut parent = core.internal_mut(step.at)?;
    match first {
        Some(first) => parent.set_key(step.index + 1, first),
        // All of it went to the left.
        None => {
            parent.remove(step.index + 1..step.index + 2);
            core.release(right)?;
        }
    }
    Ok(())
}

/// Removes all keys from `begin` on and before `end`; gives the root that the tree has then, and how many they were.
///
/// # Errors
///
/// The tree may be half changed: the transaction is to be aborted.
pub fn remove<T: Tree, S: Store>(
    core: &mut Core<S>,
    root: MetadataBlock,
    begin: u64,
    end: u64,
) -> Result<(MetadataBlock, u64), Error> {
    if begin >= end || first::<T, S>(core, root, begin)?.is_none_or(|(key, _)| key >= end) {
        return Ok((root, 0));
    }
    let mut root = core.shadow::<T>(root)?;
    let removed = cut::<T, S>(core, root, begin, end, u64::MAX, 0)?;
    if node::is_internal(core.node::<T::Value>(root)?) && Node::<U64>::of(core.node::<T::Value>(root)?).is_empty() {
        NodeMut::<T::Value>::format(core.block_mut(root)?, LEAF);
    }
    for edge in [begin.saturating_sub(1), end] {
        loop {
            let changed;
            (root, changed) = mend::<T, S>(core, root, edge)?;
            if !changed {
                break;
            }
        }
    }
    Ok((root, removed))
}

/// Removes what is in the range from a node that was shadowed, and from what is below it. `upper` is behind all of
/// the node's keys. May leave nodes with too few entries, and the node itself with none.
fn cut<T: Tree, S: Store>(
    core: &mut Core<S>,
    at: MetadataBlock,
    begin: u64,
    end: u64,
    upper: u64,
    depth: usize,
) -> Result<u64, Error> {
    if depth > DEPTH_MAX {
        return Err(Error::Damaged(at, Damage::Depth));
    }
    if !node::is_internal(core.node::<T::Value>(at)?) {
        let node = Node::<T::Value>::of(core.node::<T::Value>(at)?);
        let (from, to) = (node.lower_bound(begin), node.lower_bound(end));
        T::release(core, at, from, to)?;
        core.leaf_mut::<T::Value>(at)?.remove(from..to);
        return Ok((to - from) as u64);
    }
    let mut removed = 0;
    let mut index = Node::<U64>::of(core.node::<T::Value>(at)?).floor(begin).unwrap_or(0);
    loop {
        let node = Node::<U64>::of(core.node::<T::Value>(at)?);
        let (Some(key), Some(old)) = (node.key(index), node.child(index)) else { break };
        if key >= end {
            break;
        }
        let next = node.key(index + 1).unwrap_or(upper);
        let gone = if key >= begin && next <= end {
            removed += take_down::<T, S>(core, old, depth + 1, true)?;
            true
        } else {
            let child = core.shadow::<T>(old)?;
            core.internal_mut(at)?.set_value(index, child.0.into());
            removed += cut::<T, S>(core, child, begin, end, next, depth + 1)?;
            let empty = Node::<U64>::of(core.node::<T::Value>(child)?).is_empty();
            if empty {
                core.release(child)?;
            }
            empty
        };
        if gone {
            core.internal_mut(at)?.remove(index..index + 1);
        } else {
            index += 1;
        }
    }
    Ok(removed)
}

/// Nodes that a walk may still come to: one that comes to more than there are blocks goes in circles.
#[derive(Debug)]
pub struct Visits(u64);

impl Visits {
    /// For metadata of so many blocks.
    pub const fn of(blocks: u64) -> Self {
        Self(blocks)
    }

    /// The walk comes to a node, so far below the root.
    ///
    /// # Errors
    ///
    /// It is too deep, or one too many.
    pub fn come(&mut self, at: MetadataBlock, depth: usize) -> Result<(), Error> {
        match self.0.checked_sub(1).filter(|_| depth <= DEPTH_MAX) {
            Some(left) => self.0 = left,
            None => return Err(Error::Damaged(at, Damage::Depth)),
        }
        Ok(())
    }
}

/// How many entries the leaves of a tree have.
fn count<T: Tree, S: Store>(
    core: &mut Core<S>,
    at: MetadataBlock,
    depth: usize,
    visits: &mut Visits,
) -> Result<u64, Error> {
    visits.come(at, depth)?;
    let block = core.node::<T::Value>(at)?;
    if !node::is_internal(block) {
        return Ok(Node::<T::Value>::of(block).len() as u64);
    }
    let mut sum = 0;
    for index in 0..Node::<U64>::of(block).len() {
        let child = Node::<U64>::of(core.node::<T::Value>(at)?).child(index);
        sum += count::<T, S>(core, child.ok_or(Error::Damaged(at, Damage::Depth))?, depth + 1, visits)?;
    }
    Ok(sum)
}

/// Gives up one reference to a tree: if it was the last, to all that the tree refers to, too.
///
/// # Errors
///
/// Half of it may be gone: the transaction is to be aborted.
pub fn drop_tree<T: Tree, S: Store>(core: &mut Core<S>, at: MetadataBlock, depth: usize) -> Result<(), Error> {
    take_down::<T, S>(core, at, depth, false).map(|_| ())
}

/// The same; if they are to be counted, tells how many entries the tree has, and reads what others keep for that, too.
fn take_down<T: Tree, S: Store>(
    core: &mut Core<S>,
    at: MetadataBlock,
    depth: usize,
    counted: bool,
) -> Result<u64, Error> {
    if depth > DEPTH_MAX {
        return Err(Error::Damaged(at, Damage::Depth));
    }
    let mut sum = 0;
    if core.count(at)? == 1 {
        let block = core.node::<T::Value>(at)?;
        if node::is_internal(block) {
            for index in 0..Node::<U64>::of(block).len() {
                let child = Node::<U64>::of(core.node::<T::Value>(at)?).child(index);
                let child = child.ok_or(Error::Damaged(at, Damage::Depth))?;
                sum += take_down::<T, S>(core, child, depth + 1, counted)?;
            }
        } else {
            let entries = Node::<T::Value>::of(block).len();
            T::release(core, at, 0, entries)?;
            sum = entries as u64;
        }
    } else if counted {
        let mut visits = Visits::of(core.space.blocks());
        sum = count::<T, S>(core, at, depth, &mut visits)?;
    }
    core.release(at)?;
    Ok(sum)
}

/// The `count`th key from `begin` on and before `end`, or the last if there are fewer; `None` if there is none.
///
/// # Errors
///
/// A block cannot be read or is damaged.
pub fn nth<T: Tree, S: Store>(
    core: &mut Core<S>,
    root: MetadataBlock,
    begin: u64,
    end: u64,
    mut count: u64,
) -> Result<Option<u64>, Error> {
    let (mut key, mut found) = (begin, None);
    while key < end {
        let leaf = leaf::<T, S>(core, root, key)?;
        let node = Node::<T::Value>::of(core.cache.block(leaf.frame));
        let (from, to) = (node.lower_bound(key), node.lower_bound(end));
        let here = ((to - from) as u64).min(count);
        if here > 0 {
            found = node.key(from + here as usize - 1);
            count -= here;
        }
        match leaf.upper {
            Some(upper) if count > 0 && upper > key => key = upper,
            _ => break,
        }
    }
    Ok(found)
}

/// The key before which a tree has at least `budget` entries in leaves to which only this tree refers; `None` if it has
/// fewer. Subtrees that something else refers to are passed over, unread.
///
/// # Errors
///
/// A block cannot be read or is damaged.
pub fn own_part<T: Tree, S: Store>(
    core: &mut Core<S>,
    root: MetadataBlock,
    mut budget: u64,
) -> Result<Option<u64>, Error> {
    let mut visits = Visits::of(core.space.blocks());
    own_part_below::<T, S>(core, root, u64::MAX, &mut budget, 0, &mut visits)
}

fn own_part_below<T: Tree, S: Store>(
    core: &mut Core<S>,
    at: MetadataBlock,
    upper: u64,
    budget: &mut u64,
    depth: usize,
    visits: &mut Visits,
) -> Result<Option<u64>, Error> {
    visits.come(at, depth)?;
    if core.count(at)? > 1 {
        return Ok(None);
    }
    let block = core.node::<T::Value>(at)?;
    let entries = Node::<U64>::of(block).len();
    if !node::is_internal(block) {
        *budget = budget.saturating_sub(entries as u64);
        return Ok((*budget == 0).then_some(upper));
    }
    for index in 0..entries {
        let node = Node::<U64>::of(core.node::<T::Value>(at)?);
        let child = node.child(index).ok_or(Error::Damaged(at, Damage::Depth))?;
        let upper = node.key(index + 1).unwrap_or(upper);
        if let Some(key) = own_part_below::<T, S>(core, child, upper, budget, depth + 1, visits)? {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// Goes down to the leaf of `key` and fills up nodes that have too few entries from their neighbours; gives the root, and
/// whether there was something to do.
///
/// A neighbour that is filled up or used up may leave its parent with too few, so this is done until nothing changes.
fn mend<T: Tree, S: Store>(
    core: &mut Core<S>,
    mut root: MetadataBlock,
    key: u64,
) -> Result<(MetadataBlock, bool), Error> {
    let mut changed = false;
    let mut at = root;
    let mut depth = 0;
    // A node that the transaction did not make has had nothing taken out below it.
    while core.is_own(at) && node::is_internal(core.node::<T::Value>(at)?) {
        let node = Node::<U64>::of(core.node::<T::Value>(at)?);
        let (entries, index) = (node.len(), node.floor(key).unwrap_or(0));
        let child = node.child(index).ok_or(Error::Damaged(at, Damage::Depth))?;
        if entries == 1 && at == root {
            // Its only child is the root now, and keeps its reference.
            core.release(root)?;
            (root, at, changed) = (child, child, true);
            continue;
        }
        let block = core.node::<T::Value>(child)?;
        let internal = node::is_internal(block);
        let min = if internal { <U64 as Value>::MIN } else { <T::Value as Value>::MIN };
        if Node::<U64>::of(block).len() < min && entries > 1 {
            changed = true;
            let left = if index > 0 { index - 1 } else { 0 };
            let step = Step { at, index: left };
            if internal {
                join::<T, U64, S>(core, step)?;
            } else {
                join::<T, T::Value, S>(core, step)?;
            }
            // Once more from here: it may be still too small, or this node have one child.
            continue;
        }
        (at, depth) = (child, depth + 1);
        if depth > DEPTH_MAX {
            return Err(Error::Damaged(at, Damage::Depth));
        }
    }
    Ok((root, changed))
}

/// Makes one of two neighbours, or two of the same size.
fn join<T: Tree, V: Value, S: Store>(core: &mut Core<S>, step: Step) -> Result<(), Error> {
    let mut pair = [MetadataBlock(0); 2];
    for (place, index) in pair.iter_mut().zip([step.index, step.index + 1]) {
        let old = Node::<U64>::of(core.node::<T::Value>(step.at)?).child(index);
        let old = old.ok_or(Error::Damaged(step.at, Damage::Depth))?;
        *place = core.shadow::<T>(old)?;
        if *place != old {
            core.internal_mut(step.at)?.set_value(index, place.0.into());
        }
    }
    let [left, right] = pair;
    let total = Node::<V>::of(core.node::<T::Value>(left)?).len() + Node::<V>::of(core.node::<T::Value>(right)?).len();
    balance::<V, S>(core, step, left, right, if total <= V::MAX { total } else { total / 2 })
}
