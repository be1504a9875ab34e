// SPDX-License-Identifier: GPL-2.0

//! Metadata in a file, block by block, to be changed in ways that no engine would.

use crate::rng::Rng;
use crate::Fault;
use libstor::metadata::FileStore;
use std::path::Path;
use stor_pure::pure::thin::block::{self, Block, Kind, BLOCK_SIZE};
use stor_pure::pure::thin::node::{is_internal, Node};
use stor_pure::pure::thin::store::Store;
use stor_pure::pure::thin::superblock::Superblock;
use stor_pure::pure::units::MetadataBlock;
use zerocopy::little_endian::U64;

/// The file.
#[derive(Debug)]
pub struct Image {
    store: FileStore,
}

/// A node on the way down a tree, and the entry below which the way goes on.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The node.
    pub at: u64,
    /// The entry.
    pub index: usize,
}

impl Image {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// It cannot be.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        Ok(Self { store: FileStore::open(path, true)? })
    }

    /// A block.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn read(&mut self, at: u64) -> Result<Block, Fault> {
        let mut block = [0; BLOCK_SIZE];
        self.store.read(MetadataBlock(at), &mut block).map_err(|_| format!("block {at} cannot be read"))?;
        Ok(block)
    }

    /// Replaces a block, as it is.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn write(&mut self, at: u64, block: &Block) -> Result<(), Fault> {
        let mut blocks = [(MetadataBlock(at), block)].into_iter();
        self.store.write(&mut blocks).map_err(|_| format!("block {at} cannot be written").into())
    }

    /// Changes a block, and makes its checksum right again.
    ///
    /// # Errors
    ///
    /// It cannot be read or written, or is no block of a known kind.
    pub fn change(&mut self, at: u64, change: impl FnOnce(&mut Block)) -> Result<(), Fault> {
        let mut block = self.read(at)?;
        let kind = block::kind::<FileStore>(&block).ok_or_else(|| format!("block {at} is of no kind"))?;
        change(&mut block);
        self.stamp(at, block, kind)
    }

    /// Writes a block as one of a kind.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn stamp(&mut self, at: u64, mut block: Block, kind: Kind) -> Result<(), Fault> {
        block::stamp::<FileStore>(&mut block, kind, MetadataBlock(at));
        self.write(at, &block)
    }

    /// The superblock.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn superblock(&mut self) -> Result<Superblock, Fault> {
        Ok(Superblock::of(&self.read(0)?))
    }

    /// The way down to some leaf of a tree, which is the last step.
    ///
    /// # Errors
    ///
    /// A node cannot be read.
    pub fn descend(&mut self, root: u64, rng: &mut Rng) -> Result<Vec<Step>, Fault> {
        let (mut at, mut steps) = (root, Vec::new());
        loop {
            let block = self.read(at)?;
            let node = Node::<U64>::of(&block);
            let index = rng.below(node.len() as u64) as usize;
            steps.push(Step { at, index });
            match node.child(index) {
                Some(child) if is_internal(&block) => at = child.0,
                _ => return Ok(steps),
            }
        }
    }

    /// The root of the tree of the device that comes at an index.
    ///
    /// # Errors
    ///
    /// There are not so many devices, or the tree of devices is more than a leaf.
    pub fn device_root(&mut self, index: usize) -> Result<u64, Fault> {
        let top = self.superblock()?.mapping_root.get();
        let block = self.read(top)?;
        let node = Node::<U64>::of(&block);
        match node.value(index) {
            Some(root) if !is_internal(&block) => Ok(root.get()),
            _ => Err(format!("no device is at index {index} of the tree of devices").into()),
        }
    }
}

/// The number at an offset.
pub fn get(block: &Block, offset: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&block[offset..offset + 8]);
    u64::from_le_bytes(bytes)
}

/// Changes the number of `N` bytes at an offset.
pub fn put<const N: usize>(block: &mut Block, offset: usize, bytes: [u8; N]) {
    block[offset..offset + N].copy_from_slice(&bytes);
}
