// SPDX-License-Identifier: GPL-2.0

//! A metadata device in memory: blocks that are shared by all runs, and those that a run has changed.

use super::Fast;
use std::collections::BTreeMap;
use stor_pure::heap::{self, Heap};
use stor_pure::pure::thin::block::Block;
use stor_pure::pure::thin::crc::Crc;
use stor_pure::pure::thin::store::{Failed, Memory, NoMemory, Store};
use stor_pure::pure::units::MetadataBlock;

#[derive(Clone)]
pub(crate) struct Device {
    base: &'static [Block],
    pub(crate) changed: BTreeMap<u64, Box<Block>>,
    pub(crate) blocks: u64,
}

impl Device {
    pub(crate) fn new(base: &'static [Block]) -> Self {
        Self { base, changed: BTreeMap::new(), blocks: base.len() as u64 }
    }

    pub(crate) fn block(&self, at: u64) -> Option<&Block> {
        let below = (at < self.blocks).then_some(at)?;
        self.changed.get(&below).map(|block| &**block).or_else(|| self.base.get(below as usize))
    }

    pub(crate) fn block_mut(&mut self, at: u64) -> Option<&mut Block> {
        let old = *self.block(at)?;
        Some(self.changed.entry(at).or_insert_with(|| Box::new(old)))
    }

    pub(crate) fn into_blocks(self) -> Vec<Block> {
        (0..self.blocks).filter_map(|at| self.block(at).copied()).collect()
    }
}

impl Memory for Device {
    type Array<T> = Heap<T>;
    type Frame = Box<Block>;

    fn frame() -> Result<Box<Block>, NoMemory> {
        Ok(heap::frame())
    }

    fn array<T: Clone>(element: T, length: usize) -> Result<Heap<T>, NoMemory> {
        Heap::filled(element, length)
    }
}

impl Crc for Device {
    fn crc32c(bytes: &[u8]) -> u32 {
        Fast::crc32c(bytes)
    }
}

impl Store for Device {
    fn metadata_blocks(&self) -> u64 {
        self.blocks
    }

    fn read(&mut self, at: MetadataBlock, into: &mut Block) -> Result<(), Failed> {
        *into = *self.block(at.0).ok_or(Failed)?;
        Ok(())
    }

    fn write(&mut self, blocks: &mut dyn Iterator<Item = (MetadataBlock, &Block)>) -> Result<(), Failed> {
        for (at, block) in blocks {
            *self.block_mut(at.0).ok_or(Failed)? = *block;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failed> {
        Ok(())
    }

    fn flush_data(&mut self) -> Result<(), Failed> {
        Ok(())
    }
}
