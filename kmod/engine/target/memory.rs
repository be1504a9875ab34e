// SPDX-License-Identifier: GPL-2.0

//! Memory and checksums of the kernel, as [`crate::pure`] asks for them.

use crate::block::crc::crc32c;
use crate::pure::thin::block::Block;
use crate::pure::thin::crc::Crc;
use crate::pure::thin::store::{Array, Memory, NoMemory};
use core::ops::{Deref, DerefMut};
use kernel::prelude::*;

/// An array.
pub(super) struct KernelArray<T>(KVVec<T>);

impl<T> Default for KernelArray<T> {
    fn default() -> Self {
        Self(KVVec::new())
    }
}

impl<T> Deref for KernelArray<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for KernelArray<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T> Array<T> for KernelArray<T> {
    fn push(&mut self, element: T) -> Result<(), NoMemory> {
        self.0.push(element, GFP_KERNEL).map_err(|_| NoMemory)
    }

    fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    fn truncate(&mut self, length: usize) {
        self.0.truncate(length);
    }
}

/// The kernel's memory.
pub(super) enum Kernel {}

impl Memory for Kernel {
    type Array<T> = KernelArray<T>;
    type Frame = KBox<Block>;

    /// Of its own size, so of the kernel's linear mapping, and aligned to it.
    fn frame() -> Result<KBox<Block>, NoMemory> {
        KBox::init(pin_init::init_zeroed(), GFP_KERNEL).map_err(|_: Error| NoMemory)
    }

    fn array<T: Clone>(element: T, length: usize) -> Result<KernelArray<T>, NoMemory> {
        KVVec::from_elem(element, length, GFP_KERNEL).map(KernelArray).map_err(|_| NoMemory)
    }
}

impl Crc for Kernel {
    fn crc32c(bytes: &[u8]) -> u32 {
        crc32c(bytes)
    }
}
