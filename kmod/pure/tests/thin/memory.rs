// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A metadata device in memory.
#![allow(dead_code)] // each test uses some of it

use stor_pure::heap::{self, Heap};
use stor_pure::pure::thin::block::{Block, BLOCK_SIZE};
use stor_pure::pure::thin::crc::{Crc, Portable};
use stor_pure::pure::thin::store::{Failed, Memory, NoMemory, Store};
use stor_pure::pure::units::MetadataBlock;

/// The blocks.
pub(crate) struct Device {
    pub(crate) blocks: Vec<Block>,
}

impl Device {
    pub(crate) fn new(blocks: usize) -> Self {
        Self { blocks: vec![[0; BLOCK_SIZE]; blocks] }
    }
}

impl Memory for Device {
    type Array<T> = Heap<T>;
    type Frame = Box<Block>;

    fn frame() -> Result<Box<Block>, NoMemory> {
        Ok(heap::frame())
    }
}

impl Crc for Device {
    fn crc32c(bytes: &[u8]) -> u32 {
        Portable::crc32c(bytes)
    }
}

impl Store for Device {
    fn metadata_blocks(&self) -> u64 {
        self.blocks.len() as u64
    }

    fn read(&mut self, at: MetadataBlock, into: &mut Block) -> Result<(), Failed> {
        *into = *self.blocks.get(at.0 as usize).ok_or(Failed)?;
        Ok(())
    }

    fn write(&mut self, blocks: &mut dyn Iterator<Item = (MetadataBlock, &Block)>) -> Result<(), Failed> {
        for (at, block) in blocks {
            *self.blocks.get_mut(at.0 as usize).ok_or(Failed)? = *block;
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
