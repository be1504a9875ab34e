// SPDX-License-Identifier: GPL-2.0

//! `struct gendisk`: a disk, its queue, and holding its I/O still.

use super::bdev::Lower;
use super::module::this_module;
use super::noio::NoIo;
use super::queue_limits::QueueLimits;
use super::tag_set::{InFlight, TagSet};
use super::{clock, ffi, Driver};
use crate::abi::errno;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::error::{from_err_ptr, to_result};
use kernel::prelude::*;
use kernel::sync::atomic::{ordering::Full, Atomic};
use kernel::sync::Arc;
use kernel::time::msecs_to_jiffies;

/// What the queue carries.
///
/// It stays until the last opener has closed the disk, which may be after the disk was removed; `live` goes with the disk.
pub(super) struct Shared<D: Driver> {
    pub(super) driver: D,
    live: UnsafeCell<MaybeUninit<D::Live>>,
    /// Whether a [`Frozen`] exists: there is only one at a time.
    frozen: Atomic<i32>,
}

// SAFETY: `live` is shared between requests as `&Live`, which is `Sync`, and changed only through the one `Frozen`.
unsafe impl<D: Driver> Sync for Shared<D> {}

impl<D: Driver> Shared<D> {
    /// What live requests use; not to be touched when none is and there is no [`Frozen`].
    pub(super) fn live(&self) -> *mut D::Live {
        // It is transparent.
        self.live.get().cast()
    }
}

/// A disk. Dropping it removes it, as if it were pulled out if somebody has it open.
///
/// # Invariants
///
/// `disk` was allocated on `tags` and its queue carries `shared`; `added` says whether it is registered.
/// `links` are devices with a holder link to it.
pub struct Disk<D: Driver> {
    disk: NonNull<bindings::gendisk>,
    added: bool,
    held: bool,
    links: KVec<NonNull<bindings::block_device>>,
    shared: Arc<Shared<D>>,
    tags: TagSet<D>,
}

// SAFETY: A disk may be used from any thread, and `D` and `D::Live` are `Send`.
unsafe impl<D: Driver> Send for Disk<D> {}
// SAFETY: As above.
unsafe impl<D: Driver> Sync for Disk<D> {}

struct Operations<D>(PhantomData<D>);

impl<D: Driver> Operations<D> {
    fn table() -> bindings::block_device_operations {
        bindings::block_device_operations {
            open: Some(Self::open),
            release: Some(Self::release),
            free_disk: Some(Self::free),
            owner: this_module(),
            ..pin_init::zeroed()
        }
    }

    /// # Safety
    ///
    /// `disk` belongs to a `Disk<D>`.
    unsafe fn driver<'a>(disk: *mut bindings::gendisk) -> &'a D {
        // SAFETY: By contract its private data is a `Shared<D>`, which outlives every opener.
        unsafe { Disk::<D>::driver_of((*disk).private_data.cast()) }
    }

    /// # Safety
    ///
    /// Called by the kernel for a disk of a `Disk<D>`.
    unsafe extern "C" fn open(disk: *mut bindings::gendisk, _mode: bindings::blk_mode_t) -> i32 {
        // SAFETY: Called for a disk of a `Disk<D>`.
        match unsafe { Self::driver(disk) }.open() {
            Ok(()) => 0,
            Err(error) => error.to_errno(),
        }
    }

    /// # Safety
    ///
    /// Called by the kernel for a disk of a `Disk<D>`.
    unsafe extern "C" fn release(disk: *mut bindings::gendisk) {
        // SAFETY: Called for a disk of a `Disk<D>`.
        unsafe { Self::driver(disk) }.release();
    }

    /// # Safety
    ///
    /// Called by the kernel for a disk of a `Disk<D>` that was added, when nobody has it any more.
    unsafe extern "C" fn free(disk: *mut bindings::gendisk) {
        // SAFETY: `Disk::add` left this there.
        drop(unsafe { Arc::from_raw((*disk).private_data.cast::<Shared<D>>().cast_const()) });
    }
}

/// The operations of all disks of one kind; made once, as `owner` is known only at run time.
pub struct DiskOperations<D: Driver>(KBox<bindings::block_device_operations>, PhantomData<D>);

// SAFETY: Never changed.
unsafe impl<D: Driver> Send for DiskOperations<D> {}
// SAFETY: As above.
unsafe impl<D: Driver> Sync for DiskOperations<D> {}

impl<D: Driver> DiskOperations<D> {
    /// Makes the table. It must outlive every disk made with it.
    pub fn new() -> Result<Self> {
        Ok(Self(KBox::new(Operations::<D>::table(), GFP_KERNEL)?, PhantomData))
    }

    /// [Pins](Disk::pin) the disk that a device is, if that is one of these and is not frozen.
    ///
    /// # Safety
    ///
    /// The device is open as long as the result is used.
    pub unsafe fn pin(&self, bdev: *mut bindings::block_device) -> Option<Pinned<D>> {
        // SAFETY: By contract; an open device has a disk and a queue.
        let (disk, queue) = unsafe { ((*bdev).bd_disk, (*(*bdev).bd_disk).queue) };
        // SAFETY: As above.
        if !core::ptr::eq(unsafe { (*disk).fops }, &*self.0) || !unsafe { ffi::stor_queue_enter(queue) } {
            return None;
        }
        // SAFETY: A disk with this table was made by `Disk::new`, which has left this there.
        let live = unsafe { (*(*disk).private_data.cast::<Shared<D>>()).live() };
        // INVARIANT: Just entered.
        Some(Pinned { queue, live, _driver: PhantomData })
    }
}

impl<D: Driver> Disk<D> {
    /// Makes a disk that is not yet visible. `live` is what its first requests will use.
    pub fn new(
        operations: &'static DiskOperations<D>,
        limits: &QueueLimits,
        name: &CStr,
        driver: D,
        live: D::Live,
    ) -> Result<Self> {
        let tags = TagSet::new()?;
        let empty = UnsafeCell::new(MaybeUninit::uninit());
        let shared = Arc::new(Shared { driver, live: empty, frozen: Atomic::new(0) }, GFP_KERNEL)?;
        let data = Arc::as_ptr(&shared).cast_mut().cast();
        let mut limits = limits.0;
        // SAFETY: The tag set is allocated; `shared` stays where it is until the disk is gone.
        let disk = from_err_ptr(unsafe { ffi::stor_alloc_disk(tags.as_ptr(), &mut limits, data) })?;
        let disk = NonNull::new(disk).ok_or(ENOMEM)?;
        // SAFETY: A new disk, which nobody else knows; no request is live before it is added.
        unsafe {
            (*shared.live.get()).write(live);
            let disk = &mut *disk.as_ptr();
            disk.fops = &*operations.0;
            disk.private_data = data;
            // No partition scan: what guests write into a volume is not the host's business, and no I/O is done
            // before the disk is asked for.
            disk.flags |= bindings::GENHD_FL_NO_PART as i32;
            let room = disk.disk_name.len().saturating_sub(1);
            for (to, from) in disk.disk_name.iter_mut().take(room).zip(name.to_bytes()) {
                *to = *from;
            }
        }
        // Throttling of writeback belongs to the device below, which knows its latencies; here it would only cost.
        // SAFETY: A new disk's queue, not yet registered.
        unsafe {
            bindings::blk_queue_flag_set(bindings::QUEUE_FLAG_DISABLE_WBT_DEF, (*disk.as_ptr()).queue);
        }
        // INVARIANT: As made above.
        Ok(Self { disk, added: false, held: false, links: KVec::new(), shared, tags })
    }

    fn queue(&self) -> *mut bindings::request_queue {
        // SAFETY: A disk has a queue.
        unsafe { (*self.disk.as_ptr()).queue }
    }

    /// The driver's part.
    pub fn driver(&self) -> &D {
        &self.shared.driver
    }

    /// The driver behind a disk's private data.
    ///
    /// # Safety
    ///
    /// `shared` is the private data of a disk made by [`Disk::new`], which stays while the result is used.
    pub unsafe fn driver_of<'a>(shared: *mut core::ffi::c_void) -> &'a D {
        // SAFETY: By contract.
        unsafe { &(*shared.cast::<Shared<D>>()).driver }
    }

    /// Makes the disk visible: its node exists when this returns.
    ///
    /// # Safety
    ///
    /// `groups` is null or a null-terminated list of attribute groups that live as long as this module.
    pub unsafe fn add(&mut self, sectors: u64, groups: *mut *const bindings::attribute_group) -> Result {
        // SAFETY: The disk is complete and not registered; `groups` by contract.
        unsafe {
            bindings::set_capacity(self.disk.as_ptr(), sectors);
            to_result(bindings::device_add_disk(core::ptr::null_mut(), self.disk.as_ptr(), groups))?;
        }
        // Openers may keep it: see `Operations::free`.
        let _ = Arc::into_raw(self.shared.clone());
        self.added = true;
        Ok(())
    }

    /// Shows the disk as the holder of a device that it has open, in sysfs.
    pub fn link(&mut self, lower: &Lower) -> Result {
        let bdev = NonNull::new(lower.as_ptr()).ok_or(ENODEV)?;
        self.links.reserve(1, GFP_KERNEL)?;
        // SAFETY: The disk is registered, and the device is claimed by whoever made the disk.
        to_result(unsafe { bindings::bd_link_disk_holder(bdev.as_ptr(), self.disk.as_ptr()) })?;
        self.links.push(bdev, GFP_KERNEL)?;
        Ok(())
    }

    /// Takes back the links from the `first` up to but not the `end`th, in the order they were made.
    pub fn unlink(&mut self, first: usize, end: usize) {
        for _ in first..end {
            let Ok(bdev) = self.links.remove(first) else { return };
            // SAFETY: Linked in `link`; the device is still open.
            unsafe { bindings::bd_unlink_disk_holder(bdev.as_ptr(), self.disk.as_ptr()) };
        }
    }

    /// How many links there are.
    pub fn links(&self) -> usize {
        self.links.len()
    }

    /// Device number, as the kernel keeps it.
    pub fn device(&self) -> u32 {
        // SAFETY: A disk has its whole-disk device.
        unsafe { (*(*self.disk.as_ptr()).part0).bd_dev }
    }

    /// Looks at what live requests use. EBUSY while it is frozen.
    pub fn with_live<T>(&self, look: impl FnOnce(&D::Live) -> Result<T>) -> Result<T> {
        if self.shared.frozen.xchg(1, Full) != 0 {
            return Err(EBUSY);
        }
        // SAFETY: It is changed only through a `Frozen`, and there is none.
        let seen = look(unsafe { &*self.shared.live() });
        self.shared.frozen.store(0, kernel::sync::atomic::ordering::Release);
        seen
    }

    /// Keeps what live requests use there as long as one that is live does: whoever freezes the disk waits. EBUSY while it is frozen.
    pub fn pin(&self) -> Result<Pinned<D>> {
        // SAFETY: A registered disk has a queue.
        let queue = unsafe { (*self.disk.as_ptr()).queue };
        // SAFETY: As above.
        if !unsafe { ffi::stor_queue_enter(queue) } {
            return Err(EBUSY);
        }
        // INVARIANT: Just entered.
        Ok(Pinned { queue, live: self.shared.live(), _driver: PhantomData })
    }

    /// Requests that were started and have not ended.
    pub fn in_flight(&self) -> InFlight {
        self.tags.in_flight()
    }

    /// Changes the size, and tells user space.
    pub fn set_capacity(&self, sectors: u64) {
        // SAFETY: A registered disk.
        unsafe { bindings::set_capacity_and_notify(self.disk.as_ptr(), sectors) };
    }

    /// Makes the disk read-only, or writable.
    pub fn set_read_only(&self, read_only: bool) {
        // SAFETY: A disk.
        unsafe { bindings::set_disk_ro(self.disk.as_ptr(), read_only) };
    }

    /// Sends a `change` uevent, so that udev looks at the disk's attributes again.
    pub fn changed(&self) {
        // SAFETY: A registered disk; no environment is given.
        unsafe {
            let device = &raw mut (*(*self.disk.as_ptr()).part0).bd_device;
            bindings::kobject_uevent_env(
                &raw mut (*device).kobj,
                bindings::kobject_action_KOBJ_CHANGE,
                core::ptr::null_mut(),
            );
        }
    }

    /// Drains the queue and keeps it still until the guard is dropped, within `milliseconds`.
    ///
    /// When this returns no request is live, none is inside the driver, and memory allocations of this task start
    /// no I/O: they could wait for this very disk. Errors: ETIMEDOUT, EBUSY if it is frozen already.
    pub fn freeze(&self, milliseconds: u32) -> Result<Frozen<'_, D>> {
        self.start_freeze()?.wait(milliseconds)
    }

    /// Begins to drain the queue: no new request enters it. Several queues drain in the time of one if all are begun
    /// before any is waited for. Errors: EBUSY if it is frozen already.
    pub fn start_freeze(&self) -> Result<Freezing<'_, D>> {
        if self.shared.frozen.xchg(1, Full) != 0 {
            return Err(EBUSY);
        }
        let since = clock::now();
        let noio = NoIo::enter();
        // SAFETY: A disk's queue. Freeze first and wait after it; never quiesce first: that would keep queued
        // requests from draining.
        unsafe { bindings::blk_freeze_queue_start(self.queue()) };
        // INVARIANT: Just started; dropping it undoes it.
        Ok(Freezing { disk: self, since, _noio: noio })
    }

    /// Drains the queue and keeps it still until [`Disk::release`], by whichever task.
    pub fn hold(&mut self, milliseconds: u32) -> Result {
        if self.held {
            return Err(errno::EALREADY.into());
        }
        // SAFETY: A disk's queue.
        let left = unsafe {
            bindings::blk_freeze_queue_start_non_owner(self.queue());
            bindings::blk_mq_freeze_queue_wait_timeout(self.queue(), msecs_to_jiffies(milliseconds))
        };
        self.held = true;
        if left == 0 {
            self.release()?;
            return Err(ETIMEDOUT);
        }
        Ok(())
    }

    /// Ends [`Disk::hold`].
    pub fn release(&mut self) -> Result {
        if !self.held {
            return Err(errno::EALREADY.into());
        }
        self.held = false;
        // SAFETY: Frozen in `hold`.
        unsafe { bindings::blk_mq_unfreeze_queue_non_owner(self.queue()) };
        Ok(())
    }

    /// Whether [`Disk::hold`] is in force.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Begins a change of limits; to be called before [`Disk::freeze`].
    pub fn start_limits(&self) -> LimitsUpdate<'_, D> {
        // SAFETY: A disk's queue; the lock is given back by the guard.
        unsafe { ffi::stor_limits_start(self.queue()) };
        LimitsUpdate { disk: self, done: false }
    }
}

impl<D: Driver> Drop for Disk<D> {
    fn drop(&mut self) {
        let _ = self.release();
        let links = self.links.len();
        self.unlink(0, links);
        // SAFETY: The disk is ours. Once it is unregistered no request is live, and after the wait none is inside
        // the driver; then what they used may go, and `tags`.
        unsafe {
            if self.added {
                bindings::del_gendisk(self.disk.as_ptr());
                self.tags.wait_quiesce_done();
            }
            (*self.shared.live.get()).assume_init_drop();
            bindings::put_disk(self.disk.as_ptr());
        }
    }
}

/// What live requests use, as if one were live.
///
/// # Invariants
///
/// The queue was entered, which keeps it and what it carries there and unchanged.
pub struct Pinned<D: Driver> {
    queue: *mut bindings::request_queue,
    live: *const D::Live,
    _driver: PhantomData<D>,
}

impl<D: Driver> Pinned<D> {
    /// What live requests use.
    pub fn live(&self) -> &D::Live {
        // SAFETY: By the type invariant.
        unsafe { &*self.live }
    }
}

impl<D: Driver> Drop for Pinned<D> {
    fn drop(&mut self) {
        // SAFETY: Entered, by the type invariant.
        unsafe { ffi::stor_queue_exit(self.queue) };
    }
}

/// A disk whose I/O is held still.
///
/// # Invariants
///
/// The only one of its disk. Its queue's freeze was started, and memory allocations start no I/O.
pub struct Frozen<'a, D: Driver>(Freezing<'a, D>);

impl<D: Driver> Frozen<'_, D> {
    /// What live requests will use.
    pub fn live(&mut self) -> &mut D::Live {
        // SAFETY: The queue is frozen and quiet, so no request is live; this is the only `Frozen`.
        unsafe { &mut *self.0.disk.shared.live() }
    }

    /// For how long I/O has been held, in nanoseconds.
    pub fn pause(&self) -> u64 {
        clock::now().saturating_sub(self.0.since)
    }
}

/// A queue that drains; dropping it lets requests in again.
///
/// # Invariants
///
/// Its freeze was started by this task, and it is the only one of its disk.
pub struct Freezing<'a, D: Driver> {
    disk: &'a Disk<D>,
    since: u64,
    _noio: NoIo,
}

impl<'a, D: Driver> Freezing<'a, D> {
    /// Waits until it is still. Errors: ETIMEDOUT.
    pub fn wait(self, milliseconds: u32) -> Result<Frozen<'a, D>> {
        // SAFETY: Started, by the type invariant.
        let left =
            unsafe { bindings::blk_mq_freeze_queue_wait_timeout(self.disk.queue(), msecs_to_jiffies(milliseconds)) };
        if left == 0 {
            return Err(ETIMEDOUT);
        }
        self.disk.tags.wait_quiesce_done();
        Ok(Frozen(self))
    }
}

impl<D: Driver> Drop for Freezing<'_, D> {
    fn drop(&mut self) {
        // SAFETY: The freeze was started by this task.
        unsafe { bindings::blk_mq_unfreeze_queue_nomemrestore(self.disk.queue()) };
        self.disk.shared.frozen.store(0, kernel::sync::atomic::ordering::Release);
    }
}

/// A change of a disk's limits, begun; it ends with [`LimitsUpdate::commit`] or changes nothing.
pub struct LimitsUpdate<'a, D: Driver> {
    disk: &'a Disk<D>,
    done: bool,
}

impl<D: Driver> LimitsUpdate<'_, D> {
    /// Makes the new limits hold.
    pub fn commit(mut self, _frozen: &Frozen<'_, D>, limits: &QueueLimits) -> Result {
        self.done = true;
        let mut limits = limits.0;
        // SAFETY: The update was started; this ends it, whatever it answers.
        to_result(unsafe { bindings::queue_limits_commit_update(self.disk.queue(), &mut limits) })
    }
}

impl<D: Driver> Drop for LimitsUpdate<'_, D> {
    fn drop(&mut self) {
        if !self.done {
            // SAFETY: The update was started and not ended.
            unsafe { ffi::stor_limits_cancel(self.disk.queue()) };
        }
    }
}
