// SPDX-License-Identifier: GPL-2.0

//! A metadata device in memory, and a ledger of the memory that the engine asks for.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use stor_pure::pure::thin::block::{Block, BLOCK_SIZE};
use stor_pure::pure::thin::crc::{Crc, Portable};
use stor_pure::pure::thin::store::{Array, Failed, Memory, NoMemory, Store};
use stor_pure::pure::units::MetadataBlock;

/// Bytes that the engine has, and the most it ever had.
static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Checksums without the processor's instruction.
pub(crate) static PORTABLE: AtomicBool = AtomicBool::new(false);

fn grow(bytes: usize) {
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(now, Ordering::Relaxed);
}

/// The most bytes that the engine had.
pub(crate) fn peak() -> usize {
    PEAK.load(Ordering::Relaxed)
}

/// The bytes that the engine has.
pub(crate) fn now() -> usize {
    NOW.load(Ordering::Relaxed)
}

/// An array whose room is in the ledger.
pub(crate) struct Counted<T>(Vec<T>);

impl<T> Default for Counted<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        NOW.fetch_sub(self.0.capacity() * size_of::<T>(), Ordering::Relaxed);
    }
}

impl<T> Deref for Counted<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for Counted<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T> Array<T> for Counted<T> {
    fn push(&mut self, element: T) -> Result<(), NoMemory> {
        let before = self.0.capacity();
        self.0.push(element);
        if self.0.capacity() != before {
            // The old one is there until its contents have moved.
            grow(self.0.capacity() * size_of::<T>());
            NOW.fetch_sub(before * size_of::<T>(), Ordering::Relaxed);
        }
        Ok(())
    }

    fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    fn truncate(&mut self, length: usize) {
        self.0.truncate(length);
    }
}

/// A block whose room is in the ledger.
pub(crate) struct Frame(Box<Block>);

impl Drop for Frame {
    fn drop(&mut self) {
        NOW.fetch_sub(BLOCK_SIZE, Ordering::Relaxed);
    }
}

impl Deref for Frame {
    type Target = Block;

    fn deref(&self) -> &Block {
        &self.0
    }
}

impl DerefMut for Frame {
    fn deref_mut(&mut self) -> &mut Block {
        &mut self.0
    }
}

/// A metadata device.
pub(crate) struct Device {
    pub(crate) bytes: Vec<u8>,
    /// Blocks that were written.
    pub(crate) written: u64,
}

impl Device {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, written: 0 }
    }

    fn block(&mut self, at: MetadataBlock) -> Result<&mut Block, Failed> {
        let begin = at.0 as usize * BLOCK_SIZE;
        self.bytes.get_mut(begin..).and_then(|rest| rest.first_chunk_mut()).ok_or(Failed)
    }
}

impl Memory for Device {
    type Array<T> = Counted<T>;
    type Frame = Frame;

    fn frame() -> Result<Frame, NoMemory> {
        grow(BLOCK_SIZE);
        Ok(Frame(Box::new([0; BLOCK_SIZE])))
    }

    fn array<T: Clone>(element: T, length: usize) -> Result<Counted<T>, NoMemory> {
        grow(length * size_of::<T>());
        Ok(Counted(vec![element; length]))
    }
}

impl Crc for Device {
    fn crc32c(bytes: &[u8]) -> u32 {
        if PORTABLE.load(Ordering::Relaxed) {
            Portable::crc32c(bytes)
        } else {
            // The library inverts the register at the end.
            !crc32c::crc32c(bytes)
        }
    }
}

impl Store for Device {
    fn metadata_blocks(&self) -> u64 {
        (self.bytes.len() / BLOCK_SIZE) as u64
    }

    fn read(&mut self, at: MetadataBlock, into: &mut Block) -> Result<(), Failed> {
        into.copy_from_slice(self.block(at)?);
        Ok(())
    }

    fn write(&mut self, blocks: &mut dyn Iterator<Item = (MetadataBlock, &Block)>) -> Result<(), Failed> {
        for (at, block) in blocks {
            self.block(at)?.copy_from_slice(block);
            self.written += 1;
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
