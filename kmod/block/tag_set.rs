// SPDX-License-Identifier: GPL-2.0

//! `struct blk_mq_tag_set`: the requests of a disk.

use super::request::{self, Pdu};
use super::{clock, ffi, Driver};
use core::marker::PhantomData;
use core::mem::size_of;
use kernel::bindings;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::sync::LockClassKey;
use kernel::types::Opaque;

/// Requests per hardware queue. Each takes about 450 bytes.
const DEPTH: u32 = 128;

/// The requests of one disk: one hardware queue per CPU.
///
/// # Invariants
///
/// Allocated, and does not move: it is in a box that is never opened.
pub struct TagSet<D: Driver> {
    set: KBox<Opaque<bindings::blk_mq_tag_set>>,
    /// Of this disk's flush locks. A flush of ours ends where that of the lower device does, under its lock: with a
    /// class for all disks, lockdep would take that for a deadlock.
    _flush_lock: Pin<KBox<LockClassKey>>,
    /// Of the SRCU under which requests are handed to this disk, for the same reason: it hands them to the one below under its own.
    _srcu: Pin<KBox<LockClassKey>>,
    driver: PhantomData<D>,
}

// SAFETY: A tag set is made for concurrent use.
unsafe impl<D: Driver> Send for TagSet<D> {}
// SAFETY: As above.
unsafe impl<D: Driver> Sync for TagSet<D> {}

impl<D: Driver> TagSet<D> {
    const OPS: bindings::blk_mq_ops = bindings::blk_mq_ops {
        queue_rq: Some(request::queue_rq::<D>),
        init_hctx: Some(init_hctx),
        ..pin_init::zeroed()
    };

    /// Allocates the requests.
    ///
    /// BLOCKING, because a lower blk-mq device may make the submitter wait for a tag. No scheduler by default: the
    /// lower device has one if it wants one. No timeout handler: blk-mq then just waits on, as it is not for us to
    /// say that a lower device is too slow.
    pub fn new() -> Result<Self> {
        let flush_lock = KBox::pin_init(LockClassKey::new_dynamic(), GFP_KERNEL)?;
        let set = bindings::blk_mq_tag_set {
            ops: &Self::OPS,
            driver_data: flush_lock.as_ptr().cast(),
            nr_hw_queues: ffi::stor_online_cpus(),
            queue_depth: DEPTH,
            cmd_size: size_of::<Pdu>() as u32,
            numa_node: bindings::NUMA_NO_NODE,
            flags: bindings::BLK_MQ_F_BLOCKING | bindings::BLK_MQ_F_NO_SCHED_BY_DEFAULT | bindings::BLK_MQ_F_STACKING,
            ..pin_init::zeroed()
        };
        let set = KBox::new(Opaque::new(set), GFP_KERNEL)?;
        let srcu = KBox::pin_init(LockClassKey::new_dynamic(), GFP_KERNEL)?;
        // SAFETY: Memory that stays where it is, filled as the function asks for.
        to_result(unsafe { bindings::blk_mq_alloc_tag_set(set.get()) })?;
        // SAFETY: Just allocated and not in use; the key lives as long as it.
        unsafe { ffi::stor_tag_set_class(set.get(), srcu.as_ptr()) };
        // INVARIANT: Just allocated.
        Ok(Self { set, _flush_lock: flush_lock, _srcu: srcu, driver: PhantomData })
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::blk_mq_tag_set {
        self.set.get()
    }

    /// Waits until no CPU is inside the driver's `queue`. Its queues must be frozen, or they may enter again.
    pub(super) fn wait_quiesce_done(&self) {
        // SAFETY: Allocated by the type invariant.
        unsafe { bindings::blk_mq_wait_quiesce_done(self.as_ptr()) };
    }

    /// Requests that were started and have not ended.
    pub fn in_flight(&self) -> InFlight {
        /// # Safety
        ///
        /// `request` is a request that has a tag, `found` points to an `InFlight`.
        unsafe extern "C" fn count(request: *mut bindings::request, found: *mut kernel::ffi::c_void) -> bool {
            // SAFETY: By the function's contract. The time is written before the request is started.
            let (found, start) = unsafe { (&mut *found.cast::<InFlight>(), (*request).start_time_ns) };
            found.count = found.count.saturating_add(1);
            // 0: a request that nobody counts the time of.
            if start != 0 && (found.oldest == 0 || start < found.oldest) {
                found.oldest = start;
            }
            true
        }
        let mut found = InFlight { count: 0, oldest: 0 };
        // SAFETY: Allocated by the type invariant; `found` outlives the call.
        unsafe { bindings::blk_mq_tagset_busy_iter(self.as_ptr(), Some(count), (&raw mut found).cast()) };
        if found.oldest != 0 {
            found.oldest = clock::from_monotonic(found.oldest);
        }
        found
    }
}

/// # Safety
///
/// Called by blk-mq for a new hardware queue of a [`TagSet`], with its `driver_data`.
unsafe extern "C" fn init_hctx(
    queue: *mut bindings::blk_mq_hw_ctx,
    flush_lock: *mut kernel::ffi::c_void,
    _: kernel::ffi::c_uint,
) -> kernel::ffi::c_int {
    // SAFETY: The key lives as long as the tag set does, which is longer than its queues.
    unsafe { bindings::blk_mq_hctx_set_fq_lock_class(queue, flush_lock.cast()) };
    0
}

/// What a disk has given to its driver.
pub struct InFlight {
    /// So many requests.
    pub count: u32,
    /// When the oldest came, on the clock of [`clock::now`]; 0 if that is not known.
    pub oldest: u64,
}

impl<D: Driver> Drop for TagSet<D> {
    fn drop(&mut self) {
        // SAFETY: Allocated by the type invariant; the disk that used it is gone.
        unsafe { bindings::blk_mq_free_tag_set(self.as_ptr()) };
    }
}
