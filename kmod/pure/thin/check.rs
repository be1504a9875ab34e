// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The strict checker: everything that must be true of a pool's metadata, looked at from the outside.
//!
//! It shares the formats with the engine and nothing else, reads each leaf once, and goes on after what it finds. Trees are
//! walked from their roots; the leaves of mappings have been looked at before ([`ahead`]). A node that several parents have
//! is read once; what the others must know of it (its range of keys, how many entries are below, the youngest mapping) is
//! kept. The references that were met are then compared with the counts on the device ([`counts`]).
//!
//! Beyond what thin_check looks at: the totals in the roots and index entries, hints, flags and versions, unused room,
//! and the clocks: a mapping that two devices have must be older than the last snapshot of both, or one of them will write to
//! what the other reads.
//!
//! Memory: 4 bytes for each metadata block, 32 more for each that is in use (and its neighbours), one for each data block.

mod ahead;
mod counts;
mod finding;

use super::block::{self, Block, Kind, BLOCK_SIZE};
use super::error::{Damage, Error};
use super::node::{self, Node, Value};
use super::store::{Array, Store};
use super::superblock::{self, Superblock, LAST_TIME, NEEDS_CHECK};
use super::tally::Tally;
use super::tree::DEPTH_MAX;
use super::value::{Details, Mapping, LAST_DEVICE};
use crate::pure::units::{DataBlock, MetadataBlock};
use ahead::Ahead;
use core::mem;
pub use finding::{Finding, Space};
use zerocopy::little_endian::U64;

/// What was met in a sound pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Devices.
    pub devices: u64,
    /// Mappings, shared ones once.
    pub mappings: u64,
    /// Data blocks in use.
    pub data: u64,
    /// Metadata blocks in use.
    pub metadata: u64,
    /// How much was found.
    pub findings: u64,
}

/// What is known of a node that was walked, and of all below it.
#[derive(Clone, Copy)]
struct Known {
    /// The smallest key and the largest; the first is larger if there is none.
    first: u64,
    last: u64,
    entries: u64,
    /// The youngest mapping.
    time: u32,
}

const NOTHING: Known = Known { first: u64::MAX, last: 0, entries: 0, time: 0 };

/// Blocks of which something is remembered together.
const CHUNK: usize = 128;

/// The range in which a node's keys must be: from the first on, and before the second.
type Keys = (u64, Option<u64>);

/// The checker's state.
struct Checker<'a, S: Store> {
    store: &'a mut S,
    report: &'a mut dyn FnMut(Finding),
    superblock: Superblock,
    /// References met to each metadata block,
    metadata: S::Array<u32>,
    /// and what its node holds: a chunk is there once one of its blocks was walked.
    known: S::Array<S::Array<Known>>,
    ahead: Ahead<S>,
    /// References met to each data block. Those that only one leaf may name are marked; later those whose count stands in
    /// the tree.
    data: Tally<S>,
    /// A block for each level of a tree,
    frames: S::Array<S::Frame>,
    /// and one for the leaf that is looked at.
    spare: Option<S::Frame>,
    summary: Summary,
}

/// A kind of tree, to be walked.
trait Walk<S: Store> {
    type Value: Value;

    /// Looks at a leaf, which is met for the first time.
    fn leaf(&mut self, checker: &mut Checker<'_, S>, at: MetadataBlock, block: &Block) -> Result<Known, Error>;

    /// What the walk comes to, for the first time or not.
    fn met(&mut self, _: &mut Checker<'_, S>, _: MetadataBlock, _: Known) {}
}

/// Checks the metadata on a store, and tells what is found. Of a store that is in use, only what a metadata snapshot holds
/// can be checked ([`check_held`]).
///
/// # Errors
///
/// There is no memory. All else is a finding.
pub fn check<S: Store>(store: &mut S, report: &mut dyn FnMut(Finding)) -> Result<Summary, Error> {
    let mut bytes: Block = [0; BLOCK_SIZE];
    let sound = superblock::read(store, MetadataBlock(0), &mut bytes);
    let superblock = Superblock::of(&bytes);
    if let Err(error) = sound.and_then(|superblock| superblock.check_size(store.metadata_blocks())) {
        report(Finding::Block(error));
        return Ok(Summary { findings: 1, ..Summary::default() });
    }
    let mut checker = Checker::new(store, report, superblock)?;
    checker.superblock_fields(&bytes);
    checker.all()?;
    Ok(checker.summary)
}

/// Checks what the metadata snapshot on a store holds, and tells what is found: its trees and their clocks, but no reference
/// counts, which belong to the pool. The pool may be in use.
///
/// # Errors
///
/// There is no memory, or no metadata snapshot. All else is a finding.
pub fn check_held<S: Store>(store: &mut S, report: &mut dyn FnMut(Finding)) -> Result<Summary, Error> {
    let mut bytes: Block = [0; BLOCK_SIZE];
    let read = superblock::read(store, MetadataBlock(0), &mut bytes).and_then(|superblock| {
        let at = MetadataBlock(superblock.held_root.get());
        if at.0 == 0 {
            return Err(Error::NotHeld);
        }
        superblock.check_size(store.metadata_blocks())?;
        let copy = superblock::read(store, at, &mut bytes)?;
        // The sizes of the areas are the pool's; the copy does not have them.
        Ok(Superblock { data_space: superblock.data_space, metadata_space: superblock.metadata_space, ..copy })
    });
    let superblock = match read {
        Ok(superblock) => superblock,
        Err(Error::NotHeld) => return Err(Error::NotHeld),
        Err(error) => {
            report(Finding::Block(error));
            return Ok(Summary { findings: 1, ..Summary::default() });
        }
    };
    let mut checker = Checker::new(store, report, superblock)?;
    checker.trees(superblock.mapping_root.get(), superblock.details_root.get(), true)?;
    checker.summary.data = checker.data.counted();
    checker.summary.metadata = checker.metadata.iter().filter(|&&count| count > 0).count() as u64;
    Ok(checker.summary)
}

impl<'a, S: Store> Checker<'a, S> {
    fn new(store: &'a mut S, report: &'a mut dyn FnMut(Finding), superblock: Superblock) -> Result<Self, Error> {
        let mut frames = S::Array::default();
        for _ in 0..=DEPTH_MAX {
            frames.push(S::frame()?)?;
        }
        let blocks = superblock.metadata_space.root.blocks.get() as usize;
        let mut known = S::Array::default();
        for _ in 0..blocks.div_ceil(CHUNK) {
            known.push(S::Array::default())?;
        }
        Ok(Self {
            store,
            report,
            superblock,
            metadata: S::array(0, blocks)?,
            known,
            ahead: Ahead::new(blocks as u64)?,
            data: Tally::new(superblock.data_space.root.blocks.get() as usize)?,
            frames,
            spare: Some(S::frame()?),
            summary: Summary::default(),
        })
    }
}

impl<S: Store> Checker<'_, S> {
    fn find(&mut self, finding: Finding) {
        self.summary.findings += 1;
        (self.report)(finding);
    }

    /// Reports what came of reading; memory is another matter.
    fn found<T>(&mut self, result: Result<T, Error>) -> Result<Option<T>, Error> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Error::Memory) => Err(Error::Memory),
            Err(error) => {
                self.find(Finding::Block(error));
                Ok(None)
            }
        }
    }

    fn superblock_fields(&mut self, bytes: &Block) {
        let flags = self.superblock.header.flags.get();
        if self.superblock.needs_check() {
            self.find(Finding::NeedsCheck);
        }
        let unknown =
            (flags & !NEEDS_CHECK) | self.superblock.compat_flags.get() | self.superblock.compat_ro_flags.get();
        if unknown != 0 {
            self.find(Finding::Flags(unknown));
        }
        // It may have grown since.
        let (said, blocks) = (self.superblock.metadata_blocks.get(), self.superblock.metadata_space.root.blocks.get());
        if said > blocks || said == 0 {
            self.find(Finding::Formatted { said, blocks });
        }
        let (_, rest) = bytes.split_at(size_of::<Superblock>());
        if rest.iter().any(|&byte| byte != 0) {
            self.find(Finding::Trailing);
        }
    }

    fn all(&mut self) -> Result<(), Error> {
        self.refer(MetadataBlock(0));
        let superblock = self.superblock;
        self.trees(superblock.mapping_root.get(), superblock.details_root.get(), true)?;
        let held = MetadataBlock(superblock.held_root.get());
        if held.0 != 0 {
            self.refer(held);
            let read = self.read(0, held, Kind::Superblock);
            if self.found(read)?.is_some() {
                let copy = self.frames.first().map_or(superblock, |frame| Superblock::of(frame));
                self.trees(copy.mapping_root.get(), copy.details_root.get(), false)?;
            }
        }
        self.space_maps()
    }

    /// One reference more to a block; whether it is the first. Blocks that do not exist have none.
    fn refer(&mut self, at: MetadataBlock) -> bool {
        match self.metadata.get_mut(at.0 as usize) {
            Some(count) => {
                *count = count.saturating_add(1);
                *count == 1
            }
            None => true,
        }
    }

    /// What is known of a node.
    fn known(&self, at: MetadataBlock) -> Known {
        let at = at.0 as usize;
        self.known.get(at / CHUNK).and_then(|chunk| chunk.get(at % CHUNK)).copied().unwrap_or(NOTHING)
    }

    fn remember(&mut self, at: MetadataBlock, known: Known) -> Result<(), Error> {
        let at = at.0 as usize;
        let Some(chunk) = self.known.get_mut(at / CHUNK) else { return Ok(()) };
        if chunk.is_empty() {
            *chunk = S::array(NOTHING, CHUNK)?;
        }
        if let Some(place) = chunk.get_mut(at % CHUNK) {
            *place = known;
        }
        Ok(())
    }

    /// Reads a block into the frame of a level.
    fn read(&mut self, level: usize, at: MetadataBlock, kind: Kind) -> Result<(), Error> {
        if at.0 >= self.metadata.len() as u64 {
            return Err(Error::Damaged(at, Damage::Child(at)));
        }
        let frame = self.frames.get_mut(level).ok_or(Error::Damaged(at, Damage::Depth))?;
        self.store.read(at, frame).map_err(|_| Error::Read(at))?;
        block::verify::<S>(frame, kind, at).map_err(|what| Error::Damaged(at, Damage::Frame(kind, what)))
    }

    /// Walks a tree; what is known of it, if it could be read.
    fn walk<W: Walk<S>>(
        &mut self,
        walk: &mut W,
        at: MetadataBlock,
        keys: Keys,
        level: usize,
    ) -> Result<Option<Known>, Error> {
        let first = self.refer(at);
        let known = if first && !self.ahead.is_done(at) {
            let read = self.read(level, at, Kind::Node).and_then(|()| {
                let frame = self.frames.get(level).ok_or(Error::Memory)?;
                node::check::<W::Value>(frame).map_err(|malformed| Error::Damaged(at, Damage::Node(malformed)))
            });
            if self.found(read)?.is_none() {
                return Ok(None);
            }
            let Some(known) = self.node(walk, at, level)? else { return Ok(None) };
            self.remember(at, known)?;
            known
        } else {
            let known = self.known(at);
            if first {
                self.fill(at, level, known.entries, W::Value::MIN);
            }
            known
        };
        let fits = known.first >= keys.0 && keys.1.is_none_or(|end| known.last < end);
        if known.entries > 0 && !fits {
            self.find(Finding::Range(at));
        }
        walk.met(self, at, known);
        Ok(Some(known))
    }

    /// A node other than a root must have so many entries.
    fn fill(&mut self, at: MetadataBlock, level: usize, entries: u64, min: usize) {
        if level > 0 && entries < min as u64 {
            self.find(Finding::Underfull(at, entries as u32));
        }
    }

    /// Takes the frame of a level out, and leaves the spare one there. It is to be the spare one after that.
    fn take(&mut self, level: usize) -> Option<S::Frame> {
        let mut frame = self.spare.take()?;
        if let Some(place) = self.frames.get_mut(level) {
            mem::swap(place, &mut frame);
        }
        Some(frame)
    }

    /// Looks at a node that was read into the frame of its level, and at what is below it.
    fn node<W: Walk<S>>(&mut self, walk: &mut W, at: MetadataBlock, level: usize) -> Result<Option<Known>, Error> {
        let Some(frame) = self.frames.get(level) else { return Ok(None) };
        let entries = Node::<U64>::of(frame).len();
        let internal = node::is_internal(frame);
        let min = if internal { <U64 as Value>::MIN } else { <W::Value as Value>::MIN };
        self.fill(at, level, entries as u64, min);
        if !internal {
            // The walk borrows the checker, so the leaf is taken out of it for that time.
            let Some(leaf) = self.take(level) else { return Err(Error::Memory) };
            let known = walk.leaf(self, at, &leaf);
            self.spare = Some(leaf);
            return self.found(known);
        }
        let mut sum = NOTHING;
        for index in 0..entries {
            let Some(frame) = self.frames.get(level) else { break };
            let node = Node::<U64>::of(frame);
            let (Some(key), Some(child), next) = (node.key(index), node.child(index), node.key(index + 1)) else {
                break;
            };
            if let Some(known) = self.walk(walk, child, (key, next), level + 1)? {
                sum.first = sum.first.min(known.first);
                sum.last = sum.last.max(known.last);
                sum.entries = sum.entries.saturating_add(known.entries);
                sum.time = sum.time.max(known.time);
            }
        }
        Ok(Some(sum))
    }

    /// The trees of the pool, or those of its metadata snapshot.
    fn trees(&mut self, mapping: u64, details: u64, now: bool) -> Result<(), Error> {
        let mut known = Collect::<S, Details> { entries: S::Array::default() };
        self.walk(&mut known, MetadataBlock(details), (0, None), 0)?;
        let mut roots = Collect::<S, U64> { entries: S::Array::default() };
        self.walk(&mut roots, MetadataBlock(mapping), (0, None), 0)?;
        // A metadata snapshot shares leaves with the pool: what they refer to has been counted, but is its own, too.
        let new = roots.entries;
        let mut all = Collect::<S, U64> { entries: S::Array::default() };
        if now {
            for &entry in new.iter() {
                all.entries.push(entry)?;
            }
        } else {
            known.entries.truncate(0);
            self.gather(&mut known, MetadataBlock(details), (0, None), 0)?;
            self.gather(&mut all, MetadataBlock(mapping), (0, None), 0)?;
        }
        for &(device, root) in new.iter() {
            let index = known.entries.binary_search_by_key(&device, |(other, _)| *other);
            let details = index.ok().and_then(|index| known.entries.get(index)).map(|(_, details)| *details);
            self.find_leaves(MetadataBlock(root.get()), Self::snapshotted(details, now))?;
        }
        self.leaves()?;
        let mut described = known.entries.iter().peekable();
        for &(device, root) in all.entries.iter() {
            while let Some(&&(other, _)) = described.peek() {
                if other >= device {
                    break;
                }
                self.find(Finding::Half(other));
                described.next();
            }
            let details = described.next_if(|(other, _)| *other == device).map(|(_, details)| *details);
            if device > LAST_DEVICE {
                self.find(Finding::DeviceId(device));
            }
            if details.is_none() {
                self.find(Finding::Half(device));
            }
            let counted = new.binary_search_by_key(&device, |(other, _)| *other).is_err();
            self.device(device, MetadataBlock(root.get()), details, now, counted)?;
        }
        for &(other, _) in described {
            self.find(Finding::Half(other));
        }
        if now {
            self.summary.devices = new.len() as u64;
            self.guards(&new, &known.entries)?;
        }
        Ok(())
    }

    /// Younger mappings must be the device's own; of devices that a metadata snapshot keeps there are none.
    fn snapshotted(details: Option<Details>, now: bool) -> u32 {
        details.filter(|_| now).map_or(if now { 0 } else { u32::MAX }, |details| details.snapshotted_time.get())
    }

    /// Takes the entries of a tree that was walked, without counting it once more. What belongs elsewhere is left out.
    fn gather<V: Value>(
        &mut self,
        into: &mut Collect<S, V>,
        at: MetadataBlock,
        keys: Keys,
        level: usize,
    ) -> Result<(), Error> {
        let known = self.known(at);
        let fits = known.first >= keys.0 && keys.1.is_none_or(|end| known.last < end);
        // What could not be read has been told.
        if known.entries == 0 || !fits || self.read(level, at, Kind::Node).is_err() {
            return Ok(());
        }
        let Some(frame) = self.frames.get(level).filter(|frame| node::check::<V>(frame).is_ok()) else { return Ok(()) };
        if !node::is_internal(frame) {
            let node = Node::<V>::of(frame);
            for (key, value) in node.keys.iter().zip(node.values) {
                into.entries.push((key.get(), *value))?;
            }
            return Ok(());
        }
        for index in 0..Node::<U64>::of(frame).len() {
            let node = self.frames.get(level).map(|frame| Node::<U64>::of(frame));
            let Some((Some(key), Some(child), next)) =
                node.map(|node| (node.key(index), node.child(index), node.key(index + 1)))
            else {
                break;
            };
            self.gather(into, child, (key, next), level + 1)?;
        }
        Ok(())
    }

    /// Looks at a device; `counted` if what its root refers to has been.
    fn device(
        &mut self,
        id: u64,
        root: MetadataBlock,
        details: Option<Details>,
        now: bool,
        counted: bool,
    ) -> Result<(), Error> {
        let clock = self.superblock.time.get();
        let snapshotted = details.map_or(0, |details| details.snapshotted_time.get());
        if details.is_some_and(|details| details.creation_time.get() > clock) || snapshotted > clock {
            self.find(Finding::DeviceTime(id));
        }
        let mut mappings = Mappings { snapshotted: Self::snapshotted(details, now), clock };
        let known = if counted {
            (root.0 < self.metadata.len() as u64).then(|| self.known(root))
        } else {
            self.walk(&mut mappings, root, (0, None), 0)?
        };
        let Some(known) = known else { return Ok(()) };
        match details.map(|details| details.mapped_blocks.get()) {
            Some(said) if said != known.entries => {
                self.find(Finding::Mapped { device: id, said, found: known.entries });
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether what devices share is older than their last snapshots. Only the pool's own devices have been walked yet.
    fn guards(&mut self, roots: &[(u64, U64)], details: &[(u64, Details)]) -> Result<(), Error> {
        for &(device, root) in roots {
            let Ok(index) = details.binary_search_by_key(&device, |(other, _)| *other) else { continue };
            let snapshotted = details.get(index).map_or(0, |(_, details)| details.snapshotted_time.get());
            self.guard(device, MetadataBlock(root.get()), snapshotted, 0)?;
        }
        let mut next = 0;
        while let Some(block) = self.data.next_marked(next) {
            self.find(Finding::UnguardedBlock(DataBlock(block as u64)));
            next = block + 1;
        }
        Ok(())
    }

    fn guard(&mut self, device: u64, at: MetadataBlock, snapshotted: u32, level: usize) -> Result<(), Error> {
        let known = self.known(at);
        if known.entries == 0 || known.time < snapshotted {
            return Ok(());
        }
        if self.metadata.get(at.0 as usize).is_some_and(|&count| count > 1) {
            self.find(Finding::Unguarded { device, node: at });
            return Ok(());
        }
        // Leaves of its own have been looked at block by block.
        if self.read(level, at, Kind::Node).is_err() {
            return Ok(());
        }
        let Some(frame) = self.frames.get(level) else { return Ok(()) };
        if !node::is_internal(frame) {
            return Ok(());
        }
        for index in 0..Node::<U64>::of(frame).len() {
            let child = self.frames.get(level).and_then(|frame| Node::<U64>::of(frame).child(index));
            if let Some(child) = child {
                self.guard(device, child, snapshotted, level + 1)?;
            }
        }
        Ok(())
    }
}

/// Takes all entries of a small tree.
struct Collect<S: Store, V> {
    entries: S::Array<(u64, V)>,
}

impl<S: Store, V: Value> Walk<S> for Collect<S, V> {
    type Value = V;

    fn leaf(&mut self, _: &mut Checker<'_, S>, _: MetadataBlock, block: &Block) -> Result<Known, Error> {
        let node = Node::<V>::of(block);
        for (key, value) in node.keys.iter().zip(node.values) {
            self.entries.push((key.get(), *value))?;
        }
        Ok(range(&node))
    }
}

/// What is known of a leaf, but for times.
fn range<V: Value>(node: &Node<'_, V>) -> Known {
    Known {
        first: node.key(0).unwrap_or(u64::MAX),
        last: node.keys.last().map_or(0, |key| key.get()),
        entries: node.len() as u64,
        time: 0,
    }
}

/// Counts the data blocks of a device.
struct Mappings {
    /// Younger mappings must be the device's own.
    snapshotted: u32,
    clock: u32,
}

impl<S: Store> Walk<S> for Mappings {
    type Value = U64;

    fn leaf(&mut self, checker: &mut Checker<'_, S>, at: MetadataBlock, block: &Block) -> Result<Known, Error> {
        let node = Node::<U64>::of(block);
        let mut known = range(&node);
        for value in node.values {
            let mapping = Mapping::unpack(*value);
            known.time = known.time.max(mapping.time);
            if !checker.data.add(mapping.block.0, mapping.time >= self.snapshotted)? {
                checker.find(Finding::Data(at, mapping.block));
            }
        }
        checker.summary.mappings += known.entries;
        if known.time > self.clock.min(LAST_TIME) {
            checker.find(Finding::MappingTime(at, known.time));
        }
        Ok(known)
    }
}
