// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Metadata made from nothing but what it is to hold: bottom up, each block written once, the superblock last.
//!
//! Devices come one after the other, their mappings in order. Mappings that several devices have are told once, as a group,
//! and the devices refer to it: its leaves are shared, and so are the nodes above them where devices have the same. Nodes
//! are as full as they can be. Reference counts are kept in memory, and the space maps made of them at the end.
//!
//! Memory: 4 bytes for each metadata block in use, 1 byte (4 if it is mapped 255 times) for each data block in a bitmap with
//! anything mapped, 32 bytes for a leaf in a group, 48 for a device, and 300 KiB.
//!
//! Nothing that was written can be opened before [`Builder::commit`] has succeeded, if block 0 did not hold a superblock before.

use super::block::{Block, Header, Kind, BLOCK_SIZE};
use super::blocks::Bits;
use super::bulk::{Output, Stem, Tree};
use super::census::{self, Census, Filled};
use super::data::Run;
use super::error::Error;
use super::node::{Node, Value};
use super::sequence::{Ground, Leaf, Sequence};
use super::space::{IndexEntry, Root, BITMAP_ENTRIES, METADATA_MAX, OVERFLOW};
use super::store::{Array, Store};
use super::superblock::{self, RootArea, Superblock, LAST_TIME};
use super::value::{Details, Mapping, LAST_DATA_BLOCK, LAST_DEVICE};
use crate::pure::units::MetadataBlock;
use core::fmt;
use core::mem::size_of;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromZeros, IntoBytes};

/// Why something cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Of the metadata device, or of memory.
    Engine(Error),
    /// Blocks are not in order.
    Order {
        /// What came,
        key: u64,
        /// and what had come before.
        last: u64,
    },
    /// A run of no blocks, or of more than there can be.
    Length,
    /// More data blocks than a pool can have.
    DataBlocks(u64),
    /// A mapping to a data block that the pool does not have.
    Data {
        /// Which.
        block: u64,
        /// How many there are.
        blocks: u64,
    },
    /// A time ahead of the snapshot clock.
    Time {
        /// The time,
        time: u32,
        /// and the clock.
        clock: u32,
    },
    /// The metadata device has too few blocks.
    Small {
        /// How many it would need.
        needed: u64,
        /// How many it has.
        blocks: u64,
    },
    /// More metadata than the format has room for.
    Large {
        /// Metadata blocks that it would take.
        needed: u64,
    },
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl core::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(error) => error.fmt(f),
            Self::Order { key, last } => write!(f, "block {key} comes after block {last}: blocks must be in order"),
            Self::Length => f.write_str("a run of no blocks, or of more than a device can have"),
            Self::DataBlocks(blocks) => {
                write!(f, "{blocks} data blocks: a pool has 1 to {}", LAST_DATA_BLOCK + 1)
            }
            Self::Data { block, blocks } => {
                write!(f, "data block {block}: the pool has {blocks}, and they are counted from 0")
            }
            Self::Time { time, clock } => write!(f, "time {time} is ahead of the pool's, which is {clock}"),
            Self::Small { needed, blocks } => {
                write!(f, "{needed} metadata blocks ({} KiB) are needed, and there are {blocks}", needed * 4)
            }
            Self::Large { needed } => {
                write!(f, "{needed} metadata blocks would be needed, and the format has room for {METADATA_MAX}")
            }
        }
    }
}

/// What is known of a pool apart from its devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// The snapshot clock.
    pub time: u32,
    /// Belongs to whoever manages the pool.
    pub transaction_id: u64,
    /// Sectors of a data block.
    pub data_block_size: u32,
    /// Data blocks.
    pub data_blocks: u64,
}

impl Geometry {
    /// Whether a pool can be like that.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(&self) -> Result<(), Refusal> {
        if !superblock::is_data_block_size(self.data_block_size) {
            return Err(Error::Refused(superblock::Refusal::DataBlockSize(self.data_block_size)).into());
        }
        if self.time > LAST_TIME {
            return Err(Error::Refused(superblock::Refusal::Time(self.time)).into());
        }
        if self.data_blocks == 0 || self.data_blocks > LAST_DATA_BLOCK + 1 {
            return Err(Refusal::DataBlocks(self.data_blocks));
        }
        Ok(())
    }
}

/// What was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Built {
    /// Devices.
    pub devices: u64,
    /// Mappings of all devices; shared ones as often as they are.
    pub mappings: u64,
    /// Data blocks in use.
    pub data: u64,
    /// Metadata blocks in use, or that would be.
    pub metadata: u64,
    /// Metadata blocks that the device has to have at least.
    pub needed: u64,
    /// Leaves that more than one device has, or one more than once.
    pub shared: u64,
}

/// Mappings that devices can refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    begin: usize,
    end: usize,
}

/// Metadata that is being built.
pub struct Builder<S: Store> {
    ground: Ground<S>,
    geometry: Geometry,
    group: Sequence<S>,
    device: Sequence<S>,
    stem: Stem<S>,
    /// The leaves of all groups.
    leaves: S::Array<Leaf>,
    /// Each with the root of its tree.
    devices: S::Array<(u64, MetadataBlock, Details)>,
    /// The largest id of a device.
    largest: Option<u64>,
    mappings: u64,
}

impl<S: Store> Builder<S> {
    /// Begins. Without `write` nothing is written, and in the end it is known what would have been.
    ///
    /// # Errors
    ///
    /// There can be no such pool; or there is no memory.
    pub fn new(store: S, geometry: Geometry, write: bool) -> Result<Self, Refusal> {
        geometry.check()?;
        let blocks = store.metadata_blocks().min(METADATA_MAX);
        Ok(Self {
            ground: Ground { output: Output::new(store, blocks, write)?, census: Census::default(), guessed: 0 },
            geometry,
            group: Sequence::new(),
            device: Sequence::new(),
            stem: Stem::new(),
            leaves: S::Array::default(),
            devices: S::Array::default(),
            largest: None,
            mappings: 0,
        })
    }

    fn check(&self, run: Run, time: u32) -> Result<(), Refusal> {
        let Geometry { data_blocks, time: clock, .. } = self.geometry;
        if run.end > data_blocks || run.begin >= data_blocks {
            return Err(Refusal::Data { block: run.end.saturating_sub(1).max(run.begin), blocks: data_blocks });
        }
        if time > clock {
            return Err(Refusal::Time { time, clock });
        }
        Ok(())
    }

    /// Adds mappings in a row to the group that is being told. Groups and devices may be told in turns.
    ///
    /// # Errors
    ///
    /// They do not come in order, or cannot be; or a block cannot be written.
    pub fn group_run(&mut self, begin: u64, run: Run, time: u32) -> Result<(), Refusal> {
        self.check(run, time)?;
        self.group.run(&mut self.ground, begin, run, time)
    }

    /// Adds a former group to the one that is being told.
    ///
    /// # Errors
    ///
    /// As for mappings.
    pub fn group_refer(&mut self, group: Group) -> Result<(), Refusal> {
        for leaf in self.leaves.get(group.begin..group.end).unwrap_or_default() {
            self.group.refer(&mut self.ground, *leaf)?;
        }
        Ok(())
    }

    /// The group that was told.
    ///
    /// # Errors
    ///
    /// A block cannot be written, or there is no memory.
    pub fn end_group(&mut self) -> Result<Group, Refusal> {
        self.group.finish(&mut self.ground)?;
        let begin = self.leaves.len();
        for leaf in self.group.closed.iter() {
            self.leaves.push(*leaf).map_err(Error::from)?;
        }
        self.group.closed.truncate(0);
        Ok(Group { begin, end: self.leaves.len() })
    }

    /// Adds mappings in a row to the device that is being told.
    ///
    /// # Errors
    ///
    /// They do not come in order, or cannot be; or a block cannot be written.
    pub fn run(&mut self, begin: u64, run: Run, time: u32) -> Result<(), Refusal> {
        self.check(run, time)?;
        self.device.run(&mut self.ground, begin, run, time)?;
        self.take_leaves()
    }

    /// Adds a group to the device that is being told.
    ///
    /// # Errors
    ///
    /// As for mappings.
    pub fn refer(&mut self, group: Group) -> Result<(), Refusal> {
        for index in group.begin..group.end {
            let Some(leaf) = self.leaves.get(index).copied() else { break };
            self.device.refer(&mut self.ground, leaf)?;
            self.take_leaves()?;
        }
        Ok(())
    }

    fn take_leaves(&mut self) -> Result<(), Refusal> {
        for leaf in self.device.closed.iter() {
            self.stem.add(&mut self.ground.output, 0, (leaf.first, leaf.at))?;
        }
        self.device.closed.truncate(0);
        Ok(())
    }

    /// The device that was told is this one; how many mappings it has, which is what its details will say.
    ///
    /// # Errors
    ///
    /// There is one with that id already, or there can be none; or its times are ahead of the pool's; or a block cannot be
    /// written.
    pub fn end_device(&mut self, id: u64, details: Details) -> Result<u64, Refusal> {
        self.check_device(id, &details)?;
        let mapped = self.device.finish(&mut self.ground)?;
        self.take_leaves()?;
        let root = match self.stem.finish(&mut self.ground.output)? {
            Some(root) => root,
            None => self.ground.output.node::<U64>(super::node::LEAF, false, &super::bulk::Entries::new())?.1,
        };
        let details = Details { mapped_blocks: mapped.into(), ..details };
        self.devices.push((id, root, details)).map_err(Error::from)?;
        self.largest = self.largest.max(Some(id));
        self.mappings = self.mappings.saturating_add(mapped);
        Ok(mapped)
    }

    /// Whether there can be one more device like this.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check_device(&self, id: u64, details: &Details) -> Result<(), Refusal> {
        if id > LAST_DEVICE {
            return Err(Error::DeviceId(id).into());
        }
        // Mostly they come in order.
        if self.largest.is_some_and(|largest| largest >= id) && self.devices.iter().any(|(other, ..)| *other == id) {
            return Err(Error::DeviceExists(id).into());
        }
        let (time, clock) = (details.creation_time.get().max(details.snapshotted_time.get()), self.geometry.time);
        if time > clock {
            return Err(Refusal::Time { time, clock });
        }
        Ok(())
    }

    /// Makes the space maps, writes what is left, and last the superblock.
    ///
    /// # Errors
    ///
    /// There are not enough blocks; or one cannot be written. There is no superblock then.
    pub fn commit(mut self) -> Result<Built, Refusal> {
        self.devices.sort_unstable_by_key(|(id, ..)| *id);
        let mut mapping = Tree::<S, U64>::new(true);
        let mut details = Tree::<S, Details>::new(false);
        for (id, root, known) in self.devices.iter() {
            mapping.push(&mut self.ground.output, *id, root.0.into())?;
            details.push(&mut self.ground.output, *id, *known)?;
        }
        let mapping_root = mapping.finish(&mut self.ground.output)?;
        let details_root = details.finish(&mut self.ground.output)?;
        let shared = self.settle_groups()?;
        let data = self.data_space()?;
        let (metadata, needed) = self.metadata_space()?;
        let built = Built {
            devices: self.devices.len() as u64,
            mappings: self.mappings,
            data: data.allocated.get(),
            metadata: metadata.allocated.get(),
            needed,
            shared,
        };
        let area = |root| RootArea { root, rest: [0; 96] };
        let superblock = Superblock {
            magic: superblock::MAGIC.into(),
            version: superblock::VERSION.into(),
            time: self.geometry.time.into(),
            transaction_id: self.geometry.transaction_id.into(),
            data_space: area(data),
            metadata_space: area(metadata),
            mapping_root: mapping_root.0.into(),
            details_root: details_root.0.into(),
            data_block_size: self.geometry.data_block_size.into(),
            metadata_block_size: superblock::METADATA_BLOCK_SECTORS.into(),
            metadata_blocks: metadata.blocks,
            ..Superblock::new_zeroed()
        };
        let output = &mut self.ground.output;
        output.flush()?;
        if output.is_dry() {
            return Ok(built);
        }
        output.store.flush().map_err(|_| Error::Flush)?;
        output.put(MetadataBlock(0), Kind::Superblock, &mut |block| {
            superblock.write(block);
            Ok(())
        })?;
        output.flush()?;
        output.store.flush().map_err(|_| Error::Flush)?;
        Ok(built)
    }

    /// What leaves in groups map that nobody refers to in the end is not in use. How many have more than one user.
    fn settle_groups(&mut self) -> Result<u64, Refusal> {
        let mut shared = 0;
        let mut bytes: Block = [0; BLOCK_SIZE];
        // A leaf may be in several groups.
        let mut seen = Bits::<S>::new(self.ground.output.taken())?;
        for leaf in self.leaves.iter() {
            if seen.get(leaf.at.0) {
                continue;
            }
            seen.set(leaf.at.0, true);
            let count = self.ground.output.count(leaf.at);
            shared += u64::from(count > 1);
            if count == 0 && self.ground.output.read(leaf.at, &mut bytes)? {
                for value in Node::<U64>::of(&bytes).values {
                    self.ground.census.remove(Mapping::unpack(*value).block.0);
                }
            }
        }
        Ok(shared)
    }

    /// Writes the space map of the data device.
    fn data_space(&mut self) -> Result<Root, Refusal> {
        let Ground { output, census, .. } = &mut self.ground;
        let blocks = self.geometry.data_blocks;
        let bitmaps = blocks.div_ceil(BITMAP_ENTRIES);
        if bitmaps > METADATA_MAX {
            return Err(Refusal::Large { needed: bitmaps });
        }
        let mut index = Tree::<S, IndexEntry>::new(false);
        let mut overflow = Tree::<S, U32>::new(false);
        let mut allocated = 0;
        for bitmap in 0..bitmaps {
            let at = output.take()?;
            output.refer(at);
            let mut filled = Filled { free: 0, first_free: 0 };
            output.put(at, Kind::Bitmap, &mut |block| {
                filled = census.fill(bitmap, block);
                Ok(())
            })?;
            allocated += BITMAP_ENTRIES - u64::from(filled.free);
            index.push(output, bitmap, entry(at, filled))?;
            census.large(bitmap, &mut |block, count| overflow.push(output, block, count.into()))?;
        }
        let bitmap_root = index.finish(output)?.0.into();
        let overflow_root = overflow.finish(output)?.0.into();
        Ok(Root { blocks: blocks.into(), allocated: u64::into(allocated), bitmap_root, overflow_root })
    }

    /// Writes the space map of the metadata device, if all fits there; how many blocks it has to have at least.
    fn metadata_space(&mut self) -> Result<(Root, u64), Refusal> {
        let output = &mut self.ground.output;
        let mut overflow = Tree::<S, U32>::new(false);
        for block in 0..output.taken() {
            // Of the blocks that this takes each has one reference.
            let count = output.count(MetadataBlock(block));
            if count >= OVERFLOW {
                overflow.push(output, block, count.into())?;
            }
        }
        let overflow_root = overflow.finish(output)?.0.into();
        let index_block = output.take()?;
        output.refer(index_block);
        let needed = Self::needed(output.taken(), self.ground.guessed);
        if needed > METADATA_MAX {
            return Err(Refusal::Large { needed });
        }
        let blocks = output.blocks;
        if needed > blocks {
            return Err(Refusal::Small { needed, blocks });
        }
        let first = output.taken();
        for _ in 0..blocks.div_ceil(BITMAP_ENTRIES) {
            let at = output.take()?;
            output.refer(at);
        }
        let counts = core::mem::take(&mut output.counts);
        let mut entries: Block = [0; BLOCK_SIZE];
        let mut allocated = 0;
        let (_, places) = entries.split_at_mut(size_of::<Header>());
        for (bitmap, place) in
            (0..blocks.div_ceil(BITMAP_ENTRIES)).zip(places.chunks_exact_mut(size_of::<IndexEntry>()))
        {
            let at = MetadataBlock(first + bitmap);
            let mut filled = Filled { free: 0, first_free: 0 };
            output.put(at, Kind::Bitmap, &mut |block| {
                let begin = (bitmap * BITMAP_ENTRIES) as usize;
                filled = census::fill(block, counts.iter().skip(begin).take(BITMAP_ENTRIES as usize).copied());
                Ok(())
            })?;
            allocated += BITMAP_ENTRIES - u64::from(filled.free);
            place.copy_from_slice(entry(at, filled).as_bytes());
        }
        output.put(index_block, Kind::Index, &mut |block| {
            *block = entries;
            Ok(())
        })?;
        let root = Root {
            blocks: blocks.into(),
            allocated: u64::into(allocated),
            bitmap_root: index_block.0.into(),
            overflow_root,
        };
        Ok((root, needed))
    }

    /// How many blocks a device has to have for so many, with the bitmaps that they need.
    fn needed(taken: u64, guessed: u64) -> u64 {
        let slack = if guessed == 0 { 0 } else { guessed / <U32 as Value>::MIN as u64 + 1 };
        let mut blocks = taken + slack;
        while blocks < taken + slack + blocks.div_ceil(BITMAP_ENTRIES) {
            blocks = taken + slack + blocks.div_ceil(BITMAP_ENTRIES);
        }
        blocks
    }
}

fn entry(at: MetadataBlock, filled: Filled) -> IndexEntry {
    IndexEntry { block: at.0.into(), free: filled.free.into(), none_free_before: filled.first_free.into() }
}

impl fmt::Display for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { devices, mappings, data, metadata, .. } = self;
        write!(f, "{devices} devices, {mappings} mappings, {data} data blocks and {metadata} metadata blocks in use")
    }
}
