// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The counts of the data blocks, and which of them can be taken.
//!
//! A block may be taken if it is free now, was free when the last transaction was committed (its old contents are what a
//! crash leads back to), and is not pinned. A pin is in memory only: a block that was taken is pinned until it is mapped,
//! and one that is being discarded until that is done, so that a crash loses track of none. The committed counts need
//! no copy: the bitmaps of the last transaction are still where they were.
//!
//! Each stream of writes takes from a window of its own, a run of free blocks, so that what it writes in order lies in order.

use super::block::{Block, Kind};
use super::blocks::Core;
use super::error::{Damage, Error};
use super::mutant::{breaks, Mutant};
use super::space::{self, IndexEntry, BITMAP_ENTRIES, OVERFLOW};
use super::store::{Array, Memory, Store};
use super::tree::{self, Tree};
use crate::pure::units::{DataBlock, MetadataBlock};
use core::ops::Range;
use zerocopy::little_endian::U32;

/// Blocks of a window: 4 MiB of the smallest data blocks.
pub const WINDOW: u64 = 64;

/// Runs of blocks that wait to be discarded, or are being discarded, at most. What is given up beyond is not discarded.
pub const DISCARDS_MAX: usize = 4096;

/// The tree of the data bitmaps' index entries.
#[derive(Clone, Copy, Debug)]
pub struct DataIndex;

impl Tree for DataIndex {
    type Value = IndexEntry;
}

/// The tree of the counts that do not fit a bitmap.
#[derive(Clone, Copy, Debug)]
pub struct Overflow;

impl Tree for Overflow {
    type Value = U32;
}

/// Data blocks in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// The first.
    pub begin: u64,
    /// Behind the last.
    pub end: u64,
}

impl Run {
    /// How many blocks.
    pub const fn len(&self) -> u64 {
        self.end.saturating_sub(self.begin)
    }

    /// Whether it has none.
    pub const fn is_empty(&self) -> bool {
        self.begin >= self.end
    }
}

/// The space map of the data device.
pub struct DataSpace<S: Memory> {
    /// Blocks of the device.
    pub(super) blocks: u64,
    /// Blocks whose count is not 0.
    pub(super) allocated: u64,
    pub(super) index_root: MetadataBlock,
    pub(super) overflow_root: MetadataBlock,
    /// As they were in the last committed transaction.
    pub(super) committed_index_root: MetadataBlock,
    pub(super) committed_blocks: u64,
    /// Blocks that this transaction gave up, and that cannot be taken before the next.
    pub(super) freed: u64,
    /// Whether what is given up is kept from being taken until it was discarded.
    passdown: bool,
    /// What this transaction gave up; after the commit, what is to be discarded.
    given_up: S::Array<Run>,
    to_discard: S::Array<Run>,
    /// Runs that are being discarded.
    discarding: usize,
    /// Blocks that were given up when too many runs waited.
    pub(super) not_discarded: u64,
    /// Sorted, apart from each other.
    pins: S::Array<Run>,
    /// What is left of each stream's window; pinned.
    windows: S::Array<Run>,
    cursor: u64,
}

impl<S: Memory> DataSpace<S> {
    /// The map with these roots, for so many streams.
    ///
    /// # Errors
    ///
    /// There was no memory.
    pub fn new(root: &space::Root, streams: usize, passdown: bool) -> Result<Self, Error> {
        let (index_root, blocks) = (MetadataBlock(root.bitmap_root.get()), root.blocks.get());
        Ok(Self {
            blocks,
            allocated: root.allocated.get(),
            index_root,
            overflow_root: MetadataBlock(root.overflow_root.get()),
            committed_index_root: index_root,
            committed_blocks: blocks,
            freed: 0,
            passdown,
            given_up: S::Array::default(),
            to_discard: S::Array::default(),
            discarding: 0,
            not_discarded: 0,
            pins: S::Array::default(),
            windows: S::array(Run::default(), streams.max(1))?,
            cursor: 0,
        })
    }

    /// The root to be written to the superblock.
    pub fn root(&self) -> space::Root {
        space::Root {
            blocks: self.blocks.into(),
            allocated: self.allocated.into(),
            bitmap_root: self.index_root.0.into(),
            overflow_root: self.overflow_root.0.into(),
        }
    }

    /// The first run of pins that ends behind `block`.
    fn pin_at(&self, block: u64) -> usize {
        self.pins.partition_point(|run| run.end <= block)
    }

    /// The end of the pins that `block` is among.
    fn pinned(&self, block: u64) -> Option<u64> {
        if breaks(Mutant::Pin) {
            return None;
        }
        self.pins.get(self.pin_at(block)).filter(|run| run.begin <= block).map(|run| run.end)
    }

    /// Pins blocks, none of which is.
    ///
    /// # Errors
    ///
    /// There was no memory; nothing is changed.
    pub fn pin(&mut self, run: Run) -> Result<(), Error> {
        let index = self.pin_at(run.begin);
        let joins_next = self.pins.get(index).is_some_and(|next| next.begin == run.end);
        let before =
            index.checked_sub(1).and_then(|index| self.pins.get_mut(index)).filter(|last| last.end == run.begin);
        match (before, joins_next) {
            (Some(last), false) => last.end = run.end,
            (Some(last), true) => {
                let begin = last.begin;
                if let Some(next) = self.pins.get_mut(index) {
                    next.begin = begin;
                }
                self.remove_pin(index - 1);
            }
            (None, true) => {
                if let Some(next) = self.pins.get_mut(index) {
                    next.begin = run.begin;
                }
            }
            (None, false) => {
                self.pins.push(run)?;
                if let Some(behind) = self.pins.get_mut(index..) {
                    behind.rotate_right(1);
                }
            }
        }
        Ok(())
    }

    /// A block lost its last reference. It is pinned at once: one that this transaction had taken could be taken again before
    /// the commit, and must not be discarded then.
    fn give_up(&mut self, block: u64) -> Result<(), Error> {
        if !self.passdown {
            return Ok(());
        }
        let joins = self.given_up.last().is_some_and(|last| last.end == block);
        if !joins && self.discards() >= DISCARDS_MAX {
            self.not_discarded = self.not_discarded.saturating_add(1);
            return Ok(());
        }
        self.pin(Run { begin: block, end: block + 1 })?;
        if breaks(Mutant::DiscardOrder) {
            return Ok(self.to_discard.push(Run { begin: block, end: block + 1 })?);
        }
        match self.given_up.last_mut() {
            Some(last) if joins => last.end += 1,
            _ => self.given_up.push(Run { begin: block, end: block + 1 })?,
        }
        Ok(())
    }

    /// Runs that wait to be discarded, or are being discarded.
    fn discards(&self) -> usize {
        self.given_up.len() + self.to_discard.len() + self.discarding
    }

    /// How many blocks can be given up, at least one, and all of them be discarded.
    ///
    /// # Errors
    ///
    /// Not one, before a commit or a discard.
    pub(super) fn discards_left(&self) -> Result<u64, Error> {
        match DISCARDS_MAX.saturating_sub(self.discards()) as u64 {
            _ if !self.passdown => Ok(u64::MAX),
            0 => Err(self.discards_full()),
            left => Ok(left),
        }
    }

    /// What has to be done before more can be given up.
    pub(super) fn discards_full(&self) -> Error {
        if self.to_discard.is_empty() && self.discarding == 0 {
            Error::CommitFirst
        } else {
            Error::DiscardFirst
        }
    }

    /// The next run to be discarded.
    pub(super) fn next_discard(&mut self) -> Option<Run> {
        let run = self.to_discard.pop()?;
        self.discarding += 1;
        Some(run)
    }

    /// It has been.
    pub(super) fn discarded(&mut self, run: Run) -> Result<(), Error> {
        self.unpin(run)?;
        self.discarding = self.discarding.saturating_sub(1);
        Ok(())
    }

    /// The transaction is durable: what it gave up can be discarded.
    pub(super) fn committed(&mut self) -> Result<(), Error> {
        while let Some(run) = self.given_up.pop() {
            self.to_discard.push(run)?;
        }
        self.committed_index_root = self.index_root;
        self.committed_blocks = self.blocks;
        self.freed = 0;
        Ok(())
    }

    fn remove_pin(&mut self, index: usize) {
        if let Some(behind) = self.pins.get_mut(index..) {
            behind.rotate_left(1);
            self.pins.pop();
        }
    }

    /// Takes pins off; what is not pinned stays so.
    ///
    /// # Errors
    ///
    /// There was no memory to break a run of pins in two; nothing is changed.
    pub fn unpin(&mut self, run: Run) -> Result<(), Error> {
        let mut index = self.pin_at(run.begin);
        while let Some(pins) = self.pins.get_mut(index).filter(|pins| pins.begin < run.end) {
            let old = *pins;
            match (old.begin < run.begin, old.end > run.end) {
                (false, false) => {
                    self.remove_pin(index);
                    continue;
                }
                (true, false) => pins.end = run.begin,
                (false, true) => pins.begin = run.end,
                (true, true) => {
                    self.pins.push(Run { begin: run.end, end: old.end })?;
                    if let Some(pins) = self.pins.get_mut(index) {
                        pins.end = run.begin;
                    }
                    if let Some(behind) = self.pins.get_mut(index + 1..) {
                        behind.rotate_right(1);
                    }
                }
            }
            index += 1;
        }
        Ok(())
    }
}

fn any(_: &Block) -> Result<(), Damage> {
    Ok(())
}

impl<S: Store> Core<S> {
    fn data_entry(&mut self, root: MetadataBlock, bitmap: u64) -> Result<IndexEntry, Error> {
        let entry = tree::lookup::<DataIndex, S>(self, root, bitmap)?;
        entry.ok_or(Error::Damaged(root, Damage::Key(bitmap)))
    }

    fn bitmap(&mut self, at: MetadataBlock) -> Result<&Block, Error> {
        let frame = self.cache.read(at, Kind::Bitmap, any)?;
        Ok(self.cache.block(frame))
    }

    /// How many references a data block has.
    ///
    /// # Errors
    ///
    /// A block of metadata cannot be read or is damaged.
    pub fn data_count(&mut self, block: DataBlock) -> Result<u32, Error> {
        let (bitmap, entry) = space::place(block.0);
        let at = self.data_entry(self.data.index_root, bitmap)?.block.get();
        match space::count(self.bitmap(MetadataBlock(at))?, entry) {
            OVERFLOW => self.overflow_count(block.0),
            count => Ok(count),
        }
    }

    /// How many of these data blocks have one reference.
    ///
    /// # Errors
    ///
    /// A block of metadata cannot be read or is damaged.
    pub fn single_data(&mut self, run: Run) -> Result<u64, Error> {
        let (mut begin, mut single) = (run.begin, 0);
        while begin < run.end {
            let (bitmap, first) = space::place(begin);
            let last = BITMAP_ENTRIES.min((run.end - begin).saturating_add(u64::from(first))) as u32;
            let at = self.data_entry(self.data.index_root, bitmap)?.block.get();
            let counts = self.bitmap(MetadataBlock(at))?;
            single += (first..last).filter(|&entry| space::count(counts, entry) == 1).count() as u64;
            begin += u64::from(last - first);
        }
        Ok(single)
    }

    fn overflow_count(&mut self, block: u64) -> Result<u32, Error> {
        let root = self.data.overflow_root;
        let count = tree::lookup::<Overflow, S>(self, root, block)?.map(U32::get);
        count.filter(|&count| count >= OVERFLOW).ok_or(Error::Damaged(root, Damage::Overflow(block)))
    }

    /// One reference more to each of these data blocks.
    ///
    /// # Errors
    ///
    /// Some may have been counted: the transaction is to be aborted.
    pub fn hold_data(&mut self, run: Run) -> Result<(), Error> {
        self.change_data(run, true)
    }

    /// One reference less to each of these data blocks.
    ///
    /// # Errors
    ///
    /// Some may have been counted: the transaction is to be aborted.
    pub fn release_data(&mut self, run: Run) -> Result<(), Error> {
        self.change_data(run, false)
    }

    fn change_data(&mut self, run: Run, more: bool) -> Result<(), Error> {
        if run.end > self.data.blocks {
            let block = DataBlock(run.end.saturating_sub(1));
            return Err(Error::Damaged(self.data.index_root, Damage::Data(block)));
        }
        let mut begin = run.begin;
        while begin < run.end {
            let (bitmap, first) = space::place(begin);
            let last = BITMAP_ENTRIES.min(u64::from(first) + run.end - begin) as u32;
            self.change_bitmap(bitmap, first, last, more)?;
            begin += u64::from(last - first);
        }
        Ok(())
    }

    /// Counts the entries from `first` on and before `last` of a bitmap.
    fn change_bitmap(&mut self, bitmap: u64, first: u32, last: u32, more: bool) -> Result<(), Error> {
        let (root, place) = tree::shadow_place::<DataIndex, S>(self, self.data.index_root, bitmap)?;
        self.data.index_root = root;
        let at = self.shadow_block(MetadataBlock(place.value.block.get()), Kind::Bitmap)?;
        let mut new = IndexEntry { block: at.0.into(), ..place.value };
        let mut entry = first;
        while entry < last {
            entry = self.change_small(bitmap, at, entry..last, more, &mut new)?;
            if entry < last {
                self.change_large(bitmap, at, entry, more)?;
                entry += 1;
            }
        }
        if new != place.value {
            self.leaf_mut::<IndexEntry>(place.leaf)?.set_value(place.index, new);
        }
        Ok(())
    }

    /// Counts entries as long as their counts fit the bitmap before and after; where that ends.
    fn change_small(
        &mut self,
        bitmap: u64,
        at: MetadataBlock,
        range: Range<u32>,
        more: bool,
        index: &mut IndexEntry,
    ) -> Result<u32, Error> {
        let Self { cache, data, .. } = self;
        let frame = cache.read(at, Kind::Bitmap, any)?;
        let counts = cache.block_mut(frame).ok_or(Error::Memory)?;
        let (mut free, mut none_before) = (index.free.get(), index.none_free_before.get());
        let mut entry = range.start;
        while entry < range.end {
            let block = bitmap * BITMAP_ENTRIES + u64::from(entry);
            let count = match (space::count(counts, entry), more) {
                (0, true) => {
                    free = free.checked_sub(1).ok_or(Error::Damaged(at, Damage::Unreferenced(block)))?;
                    none_before += u32::from(none_before == entry);
                    data.allocated += 1;
                    1
                }
                (1, true) => 2,
                (2, false) => 1,
                (1, false) => {
                    free = free.checked_add(1).ok_or(Error::Damaged(at, Damage::Count(block)))?;
                    none_before = none_before.min(entry);
                    data.allocated = data.allocated.saturating_sub(1);
                    data.freed += 1;
                    data.give_up(block)?;
                    0
                }
                (0, false) => return Err(Error::Damaged(at, Damage::Unreferenced(block))),
                _ => break,
            };
            space::set_count(counts, entry, count);
            entry += 1;
        }
        (index.free, index.none_free_before) = (free.into(), none_before.into());
        Ok(entry)
    }

    /// Counts an entry whose count stands in the tree before or after.
    fn change_large(&mut self, bitmap: u64, at: MetadataBlock, entry: u32, more: bool) -> Result<(), Error> {
        let block = bitmap * BITMAP_ENTRIES + u64::from(entry);
        let stored = match space::count(self.own_mut(at, Kind::Bitmap)?, entry) {
            OVERFLOW => self.overflow_count(block)?,
            count => count,
        };
        let count = if more { stored.checked_add(1) } else { stored.checked_sub(1) };
        let count = count.ok_or(Error::Damaged(at, Damage::Unreferenced(block)))?;
        space::set_count(self.own_mut(at, Kind::Bitmap)?, entry, count);
        let root = self.data.overflow_root;
        (self.data.overflow_root, _) = if count >= OVERFLOW {
            let (root, _) = tree::insert::<Overflow, S>(self, root, block, count.into())?;
            (root, 0)
        } else {
            tree::remove::<Overflow, S>(self, root, block, block + 1)?
        };
        Ok(())
    }

    /// Takes up to `want` data blocks in a row for a stream, and pins them.
    ///
    /// # Errors
    ///
    /// There is none: [`Error::CommitFirst`] or [`Error::DiscardFirst`] if there will be after that.
    pub fn take_data(&mut self, stream: usize, want: u64) -> Result<Run, Error> {
        if self.window(stream).is_empty() {
            let found = match self.find_free(self.data.cursor, want.max(WINDOW))? {
                None => {
                    // What the other streams have set aside is all there is.
                    self.close_windows()?;
                    self.find_free(0, want)?
                }
                found => found,
            };
            let run = match found {
                Some(run) => run,
                None if self.data.freed > 0 || self.data.blocks > self.data.committed_blocks => {
                    return Err(Error::CommitFirst)
                }
                None if self.data.discards() > 0 => return Err(self.data.discards_full()),
                None => return Err(Error::DataFull),
            };
            self.data.pin(run)?;
            self.data.cursor = run.end;
            self.set_window(stream, run);
        }
        let window = self.window(stream);
        let taken = Run { begin: window.begin, end: window.end.min(window.begin.saturating_add(want)) };
        self.set_window(stream, Run { begin: taken.end, end: window.end });
        Ok(taken)
    }

    fn window(&self, stream: usize) -> Run {
        let streams = self.data.windows.len();
        self.data.windows.get(stream % streams).copied().unwrap_or_default()
    }

    fn set_window(&mut self, stream: usize, run: Run) {
        let streams = self.data.windows.len();
        if let Some(window) = self.data.windows.get_mut(stream % streams) {
            *window = run;
        }
    }

    /// Gives back what the streams have set aside.
    ///
    /// # Errors
    ///
    /// There was no memory.
    pub fn close_windows(&mut self) -> Result<(), Error> {
        for stream in 0..self.data.windows.len() {
            let window = self.window(stream);
            self.data.unpin(window)?;
            self.set_window(stream, Run::default());
        }
        Ok(())
    }

    /// The first run of blocks that can be taken, from `cursor` on and then from 0, of at most `want`.
    fn find_free(&mut self, cursor: u64, want: u64) -> Result<Option<Run>, Error> {
        let end = self.data.committed_blocks.min(self.data.blocks);
        match self.find_free_between(cursor.min(end), end, want)? {
            None => self.find_free_between(0, cursor.min(end), want),
            found => Ok(found),
        }
    }

    fn find_free_between(&mut self, begin: u64, end: u64, want: u64) -> Result<Option<Run>, Error> {
        let mut block = begin;
        while block < end {
            let (bitmap, first) = space::place(block);
            let base = bitmap * BITMAP_ENTRIES;
            let last = BITMAP_ENTRIES.min(end - base) as u32;
            let entry = self.data_entry(self.data.index_root, bitmap)?;
            let now = MetadataBlock(entry.block.get());
            let mut first = first.max(entry.none_free_before.get());
            let before = self.data_entry(self.data.committed_index_root, bitmap)?;
            let before = MetadataBlock(before.block.get());
            while entry.free.get() > 0 && first < last {
                let Some(found) = space::find_free(self.bitmap(now)?, first, last) else { break };
                let was = if before == now || breaks(Mutant::ReuseData) {
                    found
                } else {
                    space::find_free(self.bitmap(before)?, found, last).unwrap_or(last)
                };
                if was != found {
                    first = was;
                    continue;
                }
                if let Some(pinned) = self.data.pinned(base + u64::from(found)) {
                    first = pinned.saturating_sub(base).min(u64::from(last)) as u32;
                    continue;
                }
                let mut run = Run { begin: base + u64::from(found), end: base + u64::from(found) + 1 };
                let pinned = self.data.pins.get(self.data.pin_at(run.begin)).map_or(u64::MAX, |run| run.begin);
                let stop = (base + u64::from(last)).min(pinned).min(run.begin.saturating_add(want));
                while run.end < stop && {
                    let entry = (run.end - base) as u32;
                    space::count(self.bitmap(now)?, entry) == 0
                        && (before == now || space::count(self.bitmap(before)?, entry) == 0)
                } {
                    run.end += 1;
                }
                return Ok(Some(run));
            }
            block = base + BITMAP_ENTRIES;
        }
        Ok(None)
    }
}
