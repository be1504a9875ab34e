// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Memory from the heap, for whatever is not the kernel: [`Memory`](crate::pure::thin::store::Memory) is made of it.

use crate::pure::thin::block::{Block, BLOCK_SIZE};
use crate::pure::thin::store::{Array, NoMemory};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

/// An array.
#[derive(Debug)]
pub struct Heap<T>(Vec<T>);

impl<T: Clone> Heap<T> {
    /// So many times an element.
    ///
    /// # Errors
    ///
    /// There was no memory.
    pub fn filled(element: T, length: usize) -> Result<Self, NoMemory> {
        let mut array = Vec::new();
        array.try_reserve_exact(length).map_err(|_| NoMemory)?;
        array.resize(length, element);
        Ok(Self(array))
    }
}

impl<T> Default for Heap<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Deref for Heap<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for Heap<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T> Array<T> for Heap<T> {
    fn push(&mut self, element: T) -> Result<(), NoMemory> {
        self.0.try_reserve(1).map_err(|_| NoMemory)?;
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

/// A metadata block of zeros.
pub fn frame() -> Box<Block> {
    Box::new([0; BLOCK_SIZE])
}
