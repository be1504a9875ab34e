// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the metadata engine needs of its surroundings: memory that may run out, and the metadata device.

use super::block::Block;
use super::crc::Crc;
use crate::pure::units::MetadataBlock;
use core::ops::{Deref, DerefMut};

/// There was no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

/// A growable array whose growth may fail.
pub trait Array<T>: Deref<Target = [T]> + DerefMut + Default {
    /// Adds an element at the end.
    ///
    /// # Errors
    ///
    /// There was no memory; nothing is changed.
    fn push(&mut self, element: T) -> Result<(), NoMemory>;
    /// Takes the last element.
    fn pop(&mut self) -> Option<T>;
    /// Drops what is behind the first `length` elements.
    fn truncate(&mut self, length: usize);
}

/// Where memory comes from.
pub trait Memory {
    /// An array.
    type Array<T>: Array<T>;
    /// The memory of a metadata block, aligned as the device wants it.
    type Frame: Deref<Target = Block> + DerefMut;

    /// A frame with zeros.
    ///
    /// # Errors
    ///
    /// There was no memory.
    fn frame() -> Result<Self::Frame, NoMemory>;

    /// An array of `length` times this element.
    ///
    /// # Errors
    ///
    /// There was no memory.
    fn array<T: Clone>(element: T, length: usize) -> Result<Self::Array<T>, NoMemory> {
        let mut array = Self::Array::default();
        for _ in 0..length {
            array.push(element.clone())?;
        }
        Ok(array)
    }
}

/// A device failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

/// The devices of a pool.
///
/// A block that was written may be lost in a crash, or not, until a flush has returned. Of the superblock's first 512
/// bytes all are written or none.
pub trait Store: Memory + Crc {
    /// How many blocks the metadata device has now.
    fn metadata_blocks(&self) -> u64;

    /// Reads a block.
    ///
    /// # Errors
    ///
    /// The device could not.
    fn read(&mut self, at: MetadataBlock, into: &mut Block) -> Result<(), Failed>;

    /// Writes blocks, in any order; all of them have been written when it returns.
    ///
    /// # Errors
    ///
    /// The device could not write one of them; the others may have been written or not.
    fn write(&mut self, blocks: &mut dyn Iterator<Item = (MetadataBlock, &Block)>) -> Result<(), Failed>;

    /// Makes what was written to the metadata device durable.
    ///
    /// # Errors
    ///
    /// What was written since the last flush may be lost or not.
    fn flush(&mut self) -> Result<(), Failed>;

    /// Makes what was written to the data device durable.
    ///
    /// # Errors
    ///
    /// What was written since the last flush may be lost or not.
    fn flush_data(&mut self) -> Result<(), Failed>;
}
