// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Commit: the order in which a transaction becomes durable.
//!
//! 1. the data device is flushed: what is about to be referred to is there;
//! 2. the devices that changed are put into their trees;
//! 3. the counts of the metadata blocks are put onto the device. Each bitmap that changed moves to a new block, which changes
//!    counts, perhaps in another bitmap: this goes on until none is left;
//! 4. all blocks are written, and the metadata device is flushed;
//! 5. the superblock is written, and the metadata device is flushed;
//! 6. only now may be reused what the transaction gave up.

use super::block::{self, Kind, BLOCK_SIZE};
use super::blocks::Core;
use super::data::Overflow;
use super::error::Error;
use super::mapping::{DeviceDetails, Devices};
use super::mutant::{breaks, Mutant};
use super::pool::Pool;
use super::space::{self, BITMAP_ENTRIES, OVERFLOW};
use super::store::Store;
use super::superblock::NEEDS_CHECK;
use super::tree;
use crate::pure::units::MetadataBlock;
use core::mem;
use zerocopy::IntoBytes;

impl<S: Store> Pool<S> {
    /// Makes all changes durable; does nothing if there are none.
    ///
    /// # Errors
    ///
    /// The transaction is to be aborted. If it was the superblock's write or flush that failed, whether it is durable shows
    /// when it is read again.
    pub fn commit(&mut self) -> Result<(), Error> {
        if !self.changed && !self.broken {
            return Ok(());
        }
        self.usable()?;
        self.change(Self::commit_all)
    }

    fn commit_all(&mut self) -> Result<(), Error> {
        self.store().flush_data().map_err(|_| Error::FlushData)?;
        self.put_devices()?;
        self.put_counts()?;
        self.core.cache.write()?;
        if !breaks(Mutant::CommitOrder) {
            self.store().flush().map_err(|_| Error::Flush)?;
        }
        self.superblock.data_space = Self::area(self.core.data.root());
        self.superblock.metadata_space = Self::area(space::Root {
            blocks: self.core.space.blocks().into(),
            allocated: self.core.space.allocated.into(),
            bitmap_root: self.index_block.0.into(),
            overflow_root: self.overflow_root.0.into(),
        });
        self.put_superblock()?;
        self.core.space.committed();
        self.changed = false;
        self.core.data.committed()
    }

    /// Writes the superblock as it is, durably.
    fn put_superblock(&mut self) -> Result<(), Error> {
        let (at, bytes) = (MetadataBlock(0), &mut *self.scratch);
        self.superblock.write(bytes);
        block::stamp::<S>(bytes, Kind::Superblock, at);
        let store = self.core.cache.store();
        store.write(&mut [(at, &*bytes)].into_iter()).map_err(|_| Error::Write)?;
        store.flush().map_err(|_| Error::Flush)
    }

    /// Says in the superblock, durably, whether the metadata has to be checked before it is changed. To be called after
    /// [`abort`](Self::abort) or a commit: it writes nothing else. With the mark nothing can be changed; whoever takes it off has
    /// checked the metadata.
    ///
    /// # Errors
    ///
    /// The superblock could not be written; or there are changes.
    pub fn set_needs_check(&mut self, needed: bool) -> Result<(), Error> {
        match self.usable() {
            Ok(()) | Err(Error::NeedsCheck) => {}
            Err(error) => return Err(error),
        }
        if self.changed {
            return Err(Error::CommitFirst);
        }
        let flags = self.superblock.header.flags.get();
        self.superblock.header.flags = if needed { flags | NEEDS_CHECK } else { flags & !NEEDS_CHECK }.into();
        self.change(Self::put_superblock)
    }

    /// Puts the devices that changed into their trees.
    pub(super) fn put_devices(&mut self) -> Result<(), Error> {
        for index in 0..self.devices.len() {
            let Some(device) = self.devices.get(index).copied().filter(|device| device.changed) else { continue };
            let (mapping, details) = (self.mapping_root(), self.details_root());
            let (mapping, _) = tree::insert::<Devices, S>(&mut self.core, mapping, device.id, device.root.0.into())?;
            let (details, _) = tree::insert::<DeviceDetails, S>(&mut self.core, details, device.id, device.details)?;
            self.superblock.mapping_root = mapping.0.into();
            self.superblock.details_root = details.0.into();
            if let Some(device) = self.devices.get_mut(index) {
                device.changed = false;
                self.changed_devices -= 1;
            }
        }
        Ok(())
    }

    /// Puts the counts of the metadata blocks into their tree and bitmaps.
    fn put_counts(&mut self) -> Result<(), Error> {
        // Nodes of that tree have counts of 1: to change it adds nothing to what is left to do.
        let mut next = 0;
        while self.core.space.overflows > 0 {
            let Some(block) = self.core.space.overflowed.find_set(next, self.core.space.blocks()) else { break };
            self.core.space.overflowed.set(block, false);
            self.core.space.overflows -= 1;
            let (root, count) = (self.overflow_root, self.core.space.count(block));
            self.overflow_root = if count >= OVERFLOW {
                tree::insert::<Overflow, S>(&mut self.core, root, block, count.into())?.0
            } else {
                tree::remove::<Overflow, S>(&mut self.core, root, block, block + 1)?.0
            };
            next = block + 1;
        }
        self.index_block = self.move_block(self.index_block, Kind::Index)?;
        while self.move_bitmaps()? {}
        for index in 0..self.index.len() {
            if self.core.space.is_stale(index as u64) {
                self.fill_bitmap(index)?;
            }
        }
        let block = self.core.own_mut(self.index_block, Kind::Index)?;
        *block = [0; BLOCK_SIZE];
        let (_, entries) = block.split_at_mut(mem::size_of::<block::Header>());
        for (place, entry) in entries.chunks_exact_mut(mem::size_of::<space::IndexEntry>()).zip(self.index.iter()) {
            place.copy_from_slice(entry.as_bytes());
        }
        Ok(())
    }

    /// A block of this transaction's own instead of one whose contents will be made anew.
    fn move_block(&mut self, at: MetadataBlock, kind: Kind) -> Result<MetadataBlock, Error> {
        if self.core.is_own(at) {
            return Ok(at);
        }
        let new = self.core.allocate(kind)?;
        self.core.release(at)?;
        Ok(new)
    }

    /// Moves the bitmaps that changed and did not move yet; whether there were any.
    fn move_bitmaps(&mut self) -> Result<bool, Error> {
        let mut moved = false;
        for index in 0..self.index.len() {
            let Some(entry) = self.index.get(index).copied() else { break };
            let at = MetadataBlock(entry.block.get());
            if self.core.space.is_stale(index as u64) && !self.core.is_own(at) {
                let at = if self.core.cache.has(at) {
                    self.core.shadow_block(at, Kind::Bitmap)?
                } else {
                    // To make it anew takes longer, but needs no reading.
                    self.core.space.spoil(index as u64);
                    self.move_block(at, Kind::Bitmap)?
                };
                if let Some(entry) = self.index.get_mut(index) {
                    entry.block = at.0.into();
                }
                moved = true;
            }
        }
        Ok(moved)
    }

    fn fill_bitmap(&mut self, index: usize) -> Result<(), Error> {
        let Some(at) = self.index.get(index).map(|entry| MetadataBlock(entry.block.get())) else { return Ok(()) };
        let Core { cache, space, .. } = &mut self.core;
        let frame = cache.read(at, Kind::Bitmap, |_| Ok(()))?;
        let block = cache.block_mut(frame).ok_or(Error::Memory)?;
        space.fill(index as u64, block);
        let (free, first) = (space.unused(index), space::find_free(block, 0, BITMAP_ENTRIES as u32));
        if let Some(entry) = self.index.get_mut(index) {
            entry.free = free.into();
            entry.none_free_before = first.unwrap_or(BITMAP_ENTRIES as u32).into();
        }
        Ok(())
    }

    pub(super) fn mapping_root(&self) -> MetadataBlock {
        MetadataBlock(self.superblock.mapping_root.get())
    }

    pub(super) fn details_root(&self) -> MetadataBlock {
        MetadataBlock(self.superblock.details_root.get())
    }
}
