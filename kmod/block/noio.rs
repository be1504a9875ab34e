// SPDX-License-Identifier: GPL-2.0

//! `memalloc_noio_save`: while it exists, memory that this task allocates is not made free by doing I/O, which
//! might be on the very disk that the task keeps still.

use super::ffi;
use core::marker::PhantomData;

/// The scope. It nests, and belongs to one task.
pub struct NoIo {
    flags: u32,
    _not_send: PhantomData<*mut ()>,
}

impl NoIo {
    /// Enters the scope.
    pub fn enter() -> Self {
        Self { flags: ffi::stor_noio_save(), _not_send: PhantomData }
    }
}

impl Drop for NoIo {
    fn drop(&mut self) {
        ffi::stor_noio_restore(self.flags);
    }
}
