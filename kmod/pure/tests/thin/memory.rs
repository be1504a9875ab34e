// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A metadata device in memory.
#![allow(dead_code)] // each test uses some of it

use std::ops::{Deref, DerefMut};
use stor_pure::pure::thin::block::{Block, BLOCK_SIZE};
use stor_pure::pure::thin::crc::{Crc, Portable};
use stor_pure::pure::thin::store::{Array, Failed, Memory, NoMemory, Store};
use stor_pure::pure::units::MetadataBlock;

/// An array on the heap.
pub(crate) struct HeapArray<T>(Vec<T>);

impl<T> Default for HeapArray<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Deref for HeapArray<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for HeapArray<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T> Array<T> for HeapArray<T> {
    fn push(&mut self, element: T) -> Result<(), NoMemory> {
        self.0.push(element);
        Ok(())
    }

    fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    fn truncate(&mut self, length: usize) {
        self.0.truncate(length);
    }
}

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
    type Array<T> = HeapArray<T>;
    type Frame = Box<Block>;

    fn frame() -> Result<Box<Block>, NoMemory> {
        Ok(Box::new([0; BLOCK_SIZE]))
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
