// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Reading metadata that nobody is to change: that of a pool at rest, or the metadata snapshot of one that runs.

use super::block::{Block, BLOCK_SIZE};
use super::blocks::{Core, MetadataSpace};
use super::cache::Cache;
use super::data::DataSpace;
use super::error::{Damage, Error};
use super::mapping::{DeviceDetails, Devices};
use super::node::{is_internal, Node};
use super::store::Store;
use super::superblock::{self, Superblock};
use super::tree;
use super::value::{Details, Mapping};
use crate::pure::units::{MetadataBlock, VirtualBlock};
use core::ops::ControlFlow;
use zerocopy::little_endian::U64;
use zerocopy::FromZeros;

/// A device, and where its tree is.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    /// Its id.
    pub id: u64,
    /// The root of its tree.
    pub root: MetadataBlock,
    /// What is known of it.
    pub details: Details,
}

/// Metadata to be read.
pub struct Reader<S: Store> {
    core: Core<S>,
    superblock: Superblock,
}

impl<S: Store> Reader<S> {
    /// Reads the superblock, or what the metadata snapshot has of it.
    ///
    /// # Errors
    ///
    /// It cannot be read or is not understood; or there is no metadata snapshot.
    pub fn open(store: S, frames: usize, held: bool) -> Result<Self, Error> {
        let nothing = Superblock::new_zeroed();
        let data = DataSpace::new(&nothing.data_space.root, 1, false)?;
        let core = Core { cache: Cache::new(store, frames)?, space: MetadataSpace::new(0)?, data };
        let mut reader = Self { core, superblock: nothing };
        let mut bytes: Block = [0; BLOCK_SIZE];
        let superblock = superblock::read(reader.core.cache.store(), MetadataBlock(0), &mut bytes)?;
        superblock.check_size(reader.core.cache.store().metadata_blocks())?;
        reader.superblock = superblock;
        if held {
            let at = MetadataBlock(superblock.held_root.get());
            if at.0 == 0 {
                return Err(Error::NotHeld);
            }
            let copy = superblock::read(reader.core.cache.store(), at, &mut bytes)?;
            // The sizes of the areas are the pool's; the copy does not have them.
            reader.superblock =
                Superblock { data_space: superblock.data_space, metadata_space: superblock.metadata_space, ..copy };
        }
        Ok(reader)
    }

    pub(super) fn core(&mut self) -> &mut Core<S> {
        &mut self.core
    }

    /// The superblock.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Tells the devices, in order, until told to stop.
    ///
    /// # Errors
    ///
    /// Metadata cannot be read or is damaged; or a device has mappings and no details.
    pub fn devices(&mut self, tell: &mut dyn FnMut(Device) -> ControlFlow<()>) -> Result<(), Error> {
        let mapping = MetadataBlock(self.superblock.mapping_root.get());
        let details = MetadataBlock(self.superblock.details_root.get());
        let mut next = 0;
        while let Some((id, root)) = tree::first::<Devices, S>(&mut self.core, mapping, next)? {
            let known = tree::lookup::<DeviceDetails, S>(&mut self.core, details, id)?;
            let known = known.ok_or(Error::NoDevice(id))?;
            if tell(Device { id, root: MetadataBlock(root.get()), details: known }).is_break() {
                break;
            }
            let Some(more) = id.checked_add(1) else { break };
            next = more;
        }
        Ok(())
    }

    /// Tells where the leaves of a device's tree are, in order. Does not read them, but for the first.
    ///
    /// # Errors
    ///
    /// Metadata cannot be read or is damaged.
    pub fn leaves(&mut self, root: MetadataBlock, tell: &mut dyn FnMut(MetadataBlock)) -> Result<(), Error> {
        let (mut at, mut height) = (root, 0);
        while let Some(child) = Self::child(self.core.node::<U64>(at)?, 0) {
            if height == tree::DEPTH_MAX {
                return Err(Error::Damaged(at, Damage::Depth));
            }
            (at, height) = (child, height + 1);
        }
        let mut visits = tree::Visits::of(self.superblock.metadata_space.root.blocks.get());
        self.leaves_below(root, height, tell, &mut visits)
    }

    fn child(block: &Block, index: usize) -> Option<MetadataBlock> {
        is_internal(block).then(|| Node::<U64>::of(block).child(index)).flatten()
    }

    fn leaves_below(
        &mut self,
        at: MetadataBlock,
        height: usize,
        tell: &mut dyn FnMut(MetadataBlock),
        visits: &mut tree::Visits,
    ) -> Result<(), Error> {
        visits.come(at, 0)?;
        let Some(below) = height.checked_sub(1) else {
            tell(at);
            return Ok(());
        };
        let block = self.core.node::<U64>(at)?;
        if below == 0 && is_internal(block) {
            for child in Node::<U64>::of(block).values {
                tell(MetadataBlock(child.get()));
            }
            return Ok(());
        }
        let mut index = 0;
        while let Some(child) = Self::child(self.core.node::<U64>(at)?, index) {
            self.leaves_below(child, below, tell, visits)?;
            index += 1;
        }
        if index == 0 {
            return Err(Error::Damaged(at, Damage::Depth));
        }
        Ok(())
    }

    /// Tells the mappings of a leaf, in order.
    ///
    /// # Errors
    ///
    /// It cannot be read, is damaged, or is no leaf.
    pub fn leaf(&mut self, at: MetadataBlock, tell: &mut dyn FnMut(VirtualBlock, Mapping)) -> Result<(), Error> {
        let block = self.core.node::<U64>(at)?;
        if is_internal(block) {
            return Err(Error::Damaged(at, Damage::Depth));
        }
        let node = Node::<U64>::of(block);
        for (key, value) in node.keys.iter().zip(node.values) {
            tell(VirtualBlock(key.get()), Mapping::unpack(*value));
        }
        Ok(())
    }
}
