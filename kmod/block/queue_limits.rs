// SPDX-License-Identifier: GPL-2.0

//! `struct queue_limits`: what a disk announces, stacked from what lies below.

use super::bdev::Lower;
use super::ffi;
use kernel::bindings;
use kernel::str::CStrExt as _;

/// Limits for a new or changed disk.
#[derive(Clone, Copy)]
pub struct QueueLimits(pub(super) bindings::queue_limits);

impl QueueLimits {
    /// The limits of a disk on these devices.
    ///
    /// Block sizes, I/O hints, alignment, write cache, FUA, rotational and stable pages come from below. Size limits
    /// of one request do not: the lower device splits what is too big for it, and a split here would only be paid
    /// twice. Discard is offered if every device has it, write zeroes likewise (`min` of the kernel's own stacking).
    pub fn stack<'a>(lowers: impl Iterator<Item = &'a Lower>) -> Self {
        let mut limits: bindings::queue_limits = pin_init::zeroed();
        // SAFETY: Plain data.
        unsafe { bindings::blk_set_stacking_limits(&mut limits) };
        let mut discard = true;
        for lower in lowers {
            // SAFETY: The device is open; the prefix ends with NUL.
            unsafe { bindings::queue_limits_stack_bdev(&mut limits, lower.as_ptr(), 0, c"stor".as_char_ptr()) };
            // SAFETY: An open device has a disk and a queue.
            discard &= unsafe { (*(*(*lower.as_ptr()).bd_disk).queue).limits.max_discard_sectors } != 0;
        }
        if !discard {
            limits.max_hw_discard_sectors = 0;
            limits.discard_granularity = 0;
            limits.discard_alignment = 0;
        }
        limits.max_hw_sectors = u32::MAX;
        limits.max_dev_sectors = u32::MAX;
        limits.max_sectors = u32::MAX;
        limits.max_user_sectors = 0;
        // A request that discards several ranges would have to be mapped range by range.
        limits.max_discard_segments = 1;
        limits.max_secure_erase_sectors = 0;
        limits.features &=
            ffi::BLK_FEAT_WRITE_CACHE | ffi::BLK_FEAT_FUA | ffi::BLK_FEAT_ROTATIONAL | ffi::BLK_FEAT_STABLE_WRITES;
        // The kernel sets these two for a new blk-mq disk; an update must keep them.
        limits.features |= ffi::BLK_FEAT_IO_STAT | ffi::BLK_FEAT_NOWAIT;
        Self(limits)
    }

    /// The same for a volume of a pool with data blocks of so many bytes: it has a write cache, as what was written last
    /// may be nowhere after a crash; what is discarded in whole blocks goes back to the pool, whatever the devices can.
    pub fn of_pool(mut self, block_size: u32) -> Self {
        let limits = &mut self.0;
        limits.features |= ffi::BLK_FEAT_WRITE_CACHE;
        limits.features &= !ffi::BLK_FEAT_FUA;
        limits.io_opt = limits.io_opt.max(block_size);
        limits.max_hw_discard_sectors = u32::MAX / block_size.max(512) * (block_size / 512).max(1);
        limits.max_user_discard_sectors = u32::MAX;
        limits.discard_granularity = block_size;
        limits.discard_alignment = 0;
        limits.max_write_zeroes_sectors = u32::MAX;
        limits.max_hw_wzeroes_unmap_sectors = 0;
        self
    }

    /// The same for a disk whose writes are spread over devices, which must not differ: what is in a page must not change while it is read
    /// more than once, and discards go to them as [zeros](super::request), so they must have a command for these.
    pub fn spread(mut self) -> Self {
        let limits = &mut self.0;
        limits.features |= ffi::BLK_FEAT_STABLE_WRITES;
        if limits.max_write_zeroes_sectors == 0 {
            limits.max_hw_discard_sectors = 0;
            limits.discard_granularity = 0;
            limits.discard_alignment = 0;
        }
        self
    }

    /// Logical and physical block size in bytes.
    pub fn block_sizes(&self) -> (u32, u32) {
        (self.0.logical_block_size, self.0.physical_block_size)
    }
}
