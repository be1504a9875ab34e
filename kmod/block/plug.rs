// SPDX-License-Identifier: GPL-2.0

//! `current->plug`: where blk-mq gathers what a task submits.
//!
//! A disk of ours submits while blk-mq is handing it requests, and that may be out of the task's plug. What it submits then must not go
//! into the plug that is being emptied: blk-mq would issue it under the locks of our queue and not its own, without the lower disk's
//! scheduler, and a plug that was thus filled and emptied counts requests that it has not (`blk_add_rq_to_plug` then takes the last
//! of none). So there is no plug meanwhile, as there is none in a disk that leaves its work to another task.

use super::ffi;
use core::marker::PhantomData;
use kernel::bindings;

/// The scope without a plug. It nests, and belongs to one task.
pub(super) struct Unplugged {
    plug: *mut bindings::blk_plug,
    _not_send: PhantomData<*mut ()>,
}

impl Unplugged {
    /// Enters the scope.
    #[inline]
    pub(super) fn enter() -> Self {
        Self { plug: ffi::stor_unplug(), _not_send: PhantomData }
    }
}

impl Drop for Unplugged {
    #[inline]
    fn drop(&mut self) {
        if !self.plug.is_null() {
            // SAFETY: It was this task's, and its owner has not returned meanwhile.
            unsafe { ffi::stor_replug(self.plug) };
        }
    }
}
