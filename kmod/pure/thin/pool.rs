// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The metadata of an open pool: making it, opening it, and giving up a transaction.
//!
//! A transaction begins with the first change after a commit. It ends with [`Pool::commit`](super::commit), which makes all
//! of it durable, or with [`Pool::abort`], after which nothing of it has been. After an error that may have left it half
//! changed only `abort` is possible.

use super::block::Kind;
use super::blocks::{Core, MetadataSpace};
use super::cache::Cache;
use super::data::{DataIndex, DataSpace, Overflow};
use super::error::{Damage, Error};
use super::mapping::{DeviceDetails, Devices};
use super::mutant::{breaks, Mutant};
use super::node::Node;
use super::space::{self, IndexBlock, IndexEntry, BITMAP_ENTRIES, METADATA_MAX, OVERFLOW};
use super::store::{Array, Store};
use super::superblock::{self, RootArea, Superblock};
use super::tree;
use super::value::Details;
use crate::pure::units::{DataBlock, MetadataBlock};
use zerocopy::FromZeros;

/// How a pool is opened or made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Metadata blocks kept in memory.
    pub frames: usize,
    /// Streams of writes that get windows of their own.
    pub streams: usize,
    /// Data blocks that are given up are to be discarded on the data device ([`Pool::next_discard`]).
    pub passdown: bool,
}

/// A device of which the transaction knows more than its trees.
#[derive(Clone, Copy, Debug)]
pub(super) struct Device {
    pub(super) id: u64,
    pub(super) root: MetadataBlock,
    pub(super) details: Details,
    /// The trees do not have it so yet. The way to its place in the tree of devices is this transaction's own.
    pub(super) changed: bool,
}

/// The metadata of an open pool.
pub struct Pool<S: Store> {
    pub(super) core: Core<S>,
    /// As it will be; what follows from other fields is filled in when it is written.
    pub(super) superblock: Superblock,
    /// Where the bitmaps of the metadata device are.
    pub(super) index: S::Array<IndexEntry>,
    pub(super) index_block: MetadataBlock,
    pub(super) overflow_root: MetadataBlock,
    /// Devices that were asked for, by id.
    pub(super) devices: S::Array<Device>,
    /// How many of them changed.
    pub(super) changed_devices: u64,
    /// Something differs from the last transaction.
    pub(super) changed: bool,
    /// A change was not finished.
    pub(super) broken: bool,
    /// Nothing may be changed.
    read_only: bool,
    options: Options,
    /// For the superblock, which is not in the cache.
    pub(super) scratch: S::Frame,
}

impl<S: Store> Pool<S> {
    /// Reads the metadata that is there. If it [has to be checked](Self::needs_check), or has features that are not known and that
    /// allow no more, it can be read and not changed.
    ///
    /// # Errors
    ///
    /// It cannot be read, is not understood, or is damaged where it had to be read.
    pub fn open(store: S, options: Options) -> Result<Self, Error> {
        let superblock = Superblock::new_zeroed();
        let mut pool = Self::around(store, superblock, 0, options)?;
        pool.load()?;
        Ok(pool)
    }

    /// The same, of a pool in which nothing is to be changed: whatever would is refused, and the store is never written to.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn open_read_only(store: S, options: Options) -> Result<Self, Error> {
        let pool = Self::open(store, options)?;
        Ok(Self { read_only: true, ..pool })
    }

    /// A pool that was not opened yet, with all the memory that it needs for that; [`abort`](Self::abort) opens it.
    ///
    /// # Errors
    ///
    /// There was no memory.
    #[inline(never)]
    pub fn closed(store: S, options: Options, read_only: bool) -> Result<Self, Error> {
        let blocks = store.metadata_blocks().min(METADATA_MAX);
        let mut pool = Self::around(store, Superblock::new_zeroed(), blocks, options)?;
        (pool.read_only, pool.broken) = (read_only, true);
        Ok(pool)
    }

    /// A pool over a metadata device with so many blocks, none of which is used.
    fn around(store: S, superblock: Superblock, blocks: u64, options: Options) -> Result<Self, Error> {
        let core = Core {
            cache: Cache::new(store, options.frames)?,
            space: MetadataSpace::new(blocks)?,
            data: DataSpace::new(&superblock.data_space.root, options.streams, options.passdown)?,
        };
        Ok(Self {
            core,
            superblock,
            index: S::Array::default(),
            index_block: MetadataBlock(0),
            overflow_root: MetadataBlock(0),
            devices: S::Array::default(),
            changed_devices: 0,
            changed: false,
            broken: false,
            read_only: false,
            options,
            scratch: S::frame()?,
        })
    }

    /// Makes the metadata of a pool without devices. What the store holds is lost, once [`commit`](Self::commit) was called.
    ///
    /// # Errors
    ///
    /// The store is too small; or there is no memory.
    pub fn format(store: S, options: Options, data_block_size: u32, data_blocks: u64) -> Result<Self, Error> {
        if !superblock::is_data_block_size(data_block_size) {
            return Err(Error::Refused(superblock::Refusal::DataBlockSize(data_block_size)));
        }
        let blocks = store.metadata_blocks().min(METADATA_MAX);
        let mut superblock = Superblock::new_zeroed();
        superblock.magic = superblock::MAGIC.into();
        superblock.version = superblock::VERSION.into();
        superblock.data_block_size = data_block_size.into();
        superblock.metadata_block_size = superblock::METADATA_BLOCK_SECTORS.into();
        superblock.metadata_blocks = blocks.into();
        let mut pool = Self::around(store, superblock, blocks, options)?;
        let core = &mut pool.core;
        // The first one that is taken is block 0, which is the superblock's.
        core.space.take()?;
        core.data.index_root = tree::create::<DataIndex, S>(core)?;
        core.data.committed_index_root = core.data.index_root;
        core.data.overflow_root = tree::create::<Overflow, S>(core)?;
        pool.superblock.mapping_root = tree::create::<Devices, S>(core)?.0.into();
        pool.superblock.details_root = tree::create::<DeviceDetails, S>(core)?.0.into();
        pool.overflow_root = tree::create::<Overflow, S>(core)?;
        pool.index_block = core.allocate(Kind::Index)?;
        for bitmap in 0..blocks.div_ceil(BITMAP_ENTRIES) {
            let at = pool.core.allocate(Kind::Bitmap)?;
            // Those of which nothing is used have an index entry too.
            pool.core.space.spoil(bitmap);
            pool.index.push(IndexEntry { block: at.0.into(), ..IndexEntry::default() })?;
        }
        pool.changed = true;
        pool.grow_data(data_blocks)?;
        Ok(pool)
    }

    /// Forgets what the transaction changed, and reads what the last one left.
    ///
    /// # Errors
    ///
    /// It cannot be read: the pool is of no use any more.
    pub fn abort(&mut self) -> Result<(), Error> {
        self.broken = true;
        self.core.cache.clear();
        self.load()
    }

    /// Reads everything from the superblock on.
    fn load(&mut self) -> Result<(), Error> {
        // What is read may be in the device's cache only: a superblock whose flush failed, or whose writer died before. What it
        // gave up must not be used again while a crash may lead back to the one before it.
        if !breaks(Mutant::Reopen) {
            self.store().flush().map_err(|_| Error::Flush)?;
        }
        let superblock = superblock::read(self.core.cache.store(), MetadataBlock(0), &mut self.scratch)?;
        superblock.check_size(self.core.cache.store().metadata_blocks())?;
        let root = superblock.metadata_space.root;
        let blocks = root.blocks.get();
        let data = superblock.data_space.root;
        if data.allocated.get() > data.blocks.get() {
            return Err(Error::Damaged(MetadataBlock(0), Damage::Count(data.allocated.get())));
        }
        let Options { streams, passdown, .. } = self.options;
        self.core.data = DataSpace::new(&superblock.data_space.root, streams, passdown)?;
        self.core.space.reset(blocks)?;
        self.index_block = MetadataBlock(root.bitmap_root.get());
        self.overflow_root = MetadataBlock(root.overflow_root.get());
        self.load_counts(blocks)?;
        self.devices.truncate(0);
        self.changed_devices = 0;
        self.superblock = superblock;
        (self.changed, self.broken) = (false, false);
        Ok(())
    }

    fn load_counts(&mut self, blocks: u64) -> Result<(), Error> {
        self.index.truncate(0);
        for bitmap in 0..blocks.div_ceil(BITMAP_ENTRIES) {
            let frame = self.core.cache.read(self.index_block, Kind::Index, |_| Ok(()))?;
            let Some(entry) = IndexBlock::entry(self.core.cache.block(frame), bitmap as usize) else { break };
            self.index.push(entry)?;
            let at = MetadataBlock(entry.block.get());
            let frame = self.core.cache.read(at, Kind::Bitmap, |_| Ok(()))?;
            let block = self.core.cache.block(frame);
            let begin = bitmap * BITMAP_ENTRIES;
            for number in begin..(begin + BITMAP_ENTRIES).min(blocks) {
                self.core.space.load(number, space::count(block, (number - begin) as u32));
            }
        }
        let mut next = Some(0);
        while let Some(from) = next {
            let leaf = tree::leaf::<Overflow, S>(&mut self.core, self.overflow_root, from)?;
            let frame = self.core.cache.read(leaf.at, Kind::Node, |_| Ok(()))?;
            let node = Node::<zerocopy::little_endian::U32>::of(self.core.cache.block(frame));
            for (key, count) in node.keys.iter().zip(node.values) {
                if self.core.space.count(key.get()) != OVERFLOW || count.get() < OVERFLOW {
                    return Err(Error::Damaged(leaf.at, Damage::Overflow(key.get())));
                }
                self.core.space.load(key.get(), count.get());
            }
            next = leaf.upper;
        }
        Ok(())
    }

    /// Sectors of a data block.
    pub fn data_block_size(&self) -> u32 {
        self.superblock.data_block_size.get()
    }

    /// Data blocks of the pool, those included that can be used after the next commit.
    pub fn data_blocks(&self) -> u64 {
        self.core.data.blocks
    }

    /// Data blocks that are in use.
    pub fn data_used(&self) -> u64 {
        self.core.data.allocated
    }

    /// Metadata blocks of the pool.
    pub fn metadata_blocks(&self) -> u64 {
        self.core.space.blocks()
    }

    /// Metadata blocks that can be taken.
    pub fn metadata_free(&self) -> u64 {
        self.core.space.free()
    }

    /// The number that belongs to whoever manages the pool.
    pub fn transaction_id(&self) -> u64 {
        self.superblock.transaction_id.get()
    }

    /// The snapshot clock.
    pub fn time(&self) -> u32 {
        self.superblock.time.get()
    }

    /// Snapshots, or groups of them, that can still be taken in this pool.
    pub fn snapshots_left(&self) -> u64 {
        u64::from(superblock::LAST_TIME.saturating_sub(self.time()))
    }

    /// The store.
    pub fn store(&mut self) -> &mut S {
        self.core.cache.store()
    }

    /// The store; what was not committed is lost.
    pub fn close(self) -> S {
        self.core.cache.close()
    }

    /// Changes the transaction id, if it is `old`.
    ///
    /// # Errors
    ///
    /// It is another; nothing is changed.
    pub fn set_transaction_id(&mut self, old: u64, new: u64) -> Result<(), Error> {
        self.usable()?;
        if self.transaction_id() != old {
            return Err(Error::TransactionId(self.transaction_id()));
        }
        self.superblock.transaction_id = new.into();
        self.changed = true;
        Ok(())
    }

    /// Adds data blocks at the end; they can be used after the next commit.
    ///
    /// # Errors
    ///
    /// Fewer than there are; or there is no room for what describes them.
    pub fn grow_data(&mut self, blocks: u64) -> Result<(), Error> {
        self.usable()?;
        let old = self.core.data.blocks;
        if blocks < old || blocks > super::value::LAST_DATA_BLOCK + 1 {
            return Err(Error::Shrink { now: old, wanted: blocks });
        }
        let (first, last) = (old.div_ceil(BITMAP_ENTRIES), blocks.div_ceil(BITMAP_ENTRIES));
        self.room_to_grow(last - first)?;
        self.changed = true;
        self.change(|pool| {
            for bitmap in first..last {
                let at = pool.core.allocate(Kind::Bitmap)?;
                let entry =
                    IndexEntry { block: at.0.into(), free: (BITMAP_ENTRIES as u32).into(), none_free_before: 0.into() };
                let root = pool.core.data.index_root;
                (pool.core.data.index_root, _) = tree::insert::<DataIndex, S>(&mut pool.core, root, bitmap, entry)?;
            }
            pool.core.data.blocks = blocks;
            Ok(())
        })
    }

    /// Takes in what the metadata device has become larger by.
    ///
    /// # Errors
    ///
    /// It is smaller than it was; or has so little more that there is no room for what describes it; or there is no memory.
    pub fn grow_metadata(&mut self) -> Result<(), Error> {
        self.usable()?;
        let (old, device) = (self.metadata_blocks(), self.store().metadata_blocks());
        if device < old {
            return Err(Error::Truncated { blocks: old, device });
        }
        let blocks = device.min(METADATA_MAX);
        let bitmaps = blocks.div_ceil(BITMAP_ENTRIES) - self.index.len() as u64;
        if blocks == old || self.metadata_free() + (blocks - old) < self.for_growth(bitmaps)? {
            return if blocks == old { Ok(()) } else { Err(Error::MetadataFull) };
        }
        self.changed = true;
        self.change(|pool| {
            pool.core.space.grow(blocks)?;
            // Whatever its bitmap said of what was behind the end.
            pool.core.space.spoil(old / BITMAP_ENTRIES);
            while (pool.index.len() as u64) < blocks.div_ceil(BITMAP_ENTRIES) {
                let at = pool.core.allocate(Kind::Bitmap)?;
                let bitmap = pool.index.len() as u64;
                pool.index.push(IndexEntry { block: at.0.into(), ..IndexEntry::default() })?;
                pool.core.space.spoil(bitmap);
            }
            Ok(())
        })
    }

    /// Whether nothing differs from the last transaction.
    pub fn is_clean(&self) -> bool {
        !self.changed && !self.broken
    }

    /// Whether the superblock says that the metadata has to be checked before it is changed.
    pub fn needs_check(&self) -> bool {
        self.superblock.needs_check()
    }

    /// Whether something can be read.
    pub(super) fn readable(&self) -> Result<(), Error> {
        if self.broken {
            Err(Error::Broken)
        } else {
            Ok(())
        }
    }

    /// Whether something can be changed.
    pub(super) fn usable(&self) -> Result<(), Error> {
        self.readable()?;
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        self.superblock.check_write()
    }

    /// Does a change that may fail half done.
    pub(super) fn change<T>(&mut self, change: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        let result = change(self);
        self.broken |= result.is_err();
        result
    }

    /// Which data blocks can be written to: takes up to `want` in a row. They are pinned until they are mapped or given back.
    ///
    /// # Errors
    ///
    /// There are none: [`Error::CommitFirst`] or [`Error::DiscardFirst`] if there will be after that. Then the caller does it, once,
    /// and asks again: a commit is never hidden in here, because what it makes durable is the caller's.
    pub fn take_data(&mut self, stream: usize, want: u64) -> Result<super::data::Run, Error> {
        self.usable()?;
        self.core.take_data(stream, want)
    }

    /// Gives back data blocks that were taken and not mapped.
    ///
    /// # Errors
    ///
    /// There was no memory.
    pub fn give_back(&mut self, run: super::data::Run) -> Result<(), Error> {
        self.core.data.unpin(run)
    }

    /// Data blocks to be discarded: a committed transaction gave them up, and nobody can take them before
    /// [`discarded`](Self::discarded) is called for them. They are remembered up to [`DISCARDS_MAX`](super::data::DISCARDS_MAX) runs.
    pub fn next_discard(&mut self) -> Option<super::data::Run> {
        self.core.data.next_discard()
    }

    /// What [`next_discard`](Self::next_discard) gave has been discarded, or could not be, and can be taken.
    ///
    /// # Errors
    ///
    /// There was no memory.
    pub fn discarded(&mut self, run: super::data::Run) -> Result<(), Error> {
        self.core.data.discarded(run)
    }

    /// Data blocks that were given up and will not be discarded, because too many others wait for it.
    pub fn not_discarded(&self) -> u64 {
        self.core.data.not_discarded
    }

    /// How many references a data block has.
    ///
    /// # Errors
    ///
    /// A block of metadata cannot be read or is damaged.
    pub fn data_count(&mut self, block: DataBlock) -> Result<u32, Error> {
        self.readable()?;
        self.core.data_count(block)
    }

    /// How many references a metadata block has.
    pub fn metadata_count(&self, at: MetadataBlock) -> u32 {
        self.core.space.count(at.0)
    }

    /// The space for the root of a space map in the superblock.
    pub(super) fn area(root: space::Root) -> RootArea {
        RootArea { root, rest: [0; 96] }
    }
}
