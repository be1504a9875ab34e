// SPDX-License-Identifier: GPL-2.0

//! `struct block_device`: a lower device, opened exclusively for a volume, which shows as its holder.

use super::ffi;
use crate::abi::errno;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::error::from_err_ptr;
use kernel::fs::file::LocalFile;
use kernel::prelude::*;
use kernel::sync::atomic::{ordering::Acquire, ordering::Relaxed, ordering::Release, Atomic};
use kernel::sync::{Arc, SetOnce};

/// Who holds lower devices. Its address is the kernel's mark of ownership: one holder may open a device again.
pub trait Holder: Send + Sync + 'static {
    /// The device with this number was removed. Called under a lock of the device: must not wait for it.
    fn gone(&self, device: u32);
}

/// An open lower device.
///
/// # Invariants
///
/// `file` is open and claimed for `holder`; `bdev` is its block device.
pub struct Lower {
    file: NonNull<bindings::file>,
    bdev: NonNull<bindings::block_device>,
    writable: bool,
    _holder: NonNull<c_void>,
    drop_holder: fn(NonNull<c_void>),
}

// SAFETY: A block device and its file may be used from any thread.
unsafe impl Send for Lower {}
// SAFETY: As above.
unsafe impl Sync for Lower {}

struct Operations<H>(PhantomData<H>);

impl<H: Holder> Operations<H> {
    const OPS: bindings::blk_holder_ops =
        bindings::blk_holder_ops { mark_dead: Some(Self::mark_dead), ..pin_init::zeroed() };

    /// # Safety
    ///
    /// Called by the kernel for a device that was opened with a holder of type `H`.
    unsafe extern "C" fn mark_dead(bdev: *mut bindings::block_device, _surprise: bool) {
        // SAFETY: Called with `bd_holder_lock` held, so that the holder that was given at open is still there.
        let (holder, device) = unsafe { ((*bdev).bd_holder.cast::<H>(), (*bdev).bd_dev) };
        // SAFETY: As above; a `Lower` keeps its holder alive until it has given up the claim.
        if let Some(holder) = unsafe { holder.as_ref() } {
            holder.gone(device);
        }
        // SAFETY: The contract of `mark_dead` is to release the lock.
        unsafe { ffi::stor_holder_unlock(bdev) };
    }
}

/// The number of the block device behind a file descriptor of the calling process. EBADF, ENOTBLK.
pub fn device_of(fd: i32) -> Result<u32> {
    let file = LocalFile::fget(u32::try_from(fd).map_err(|_| EBADF)?).map_err(|_| EBADF)?;
    // SAFETY: The file is held; its inode and the two fields do not change.
    let (mode, device) = unsafe {
        let inode = (*file.as_ptr()).f_inode;
        ((*inode).i_mode, (*inode).i_rdev)
    };
    match u32::from(mode) & bindings::S_IFMT {
        bindings::S_IFBLK => Ok(device),
        _ => Err(ENOTBLK),
    }
}

/// Sizes that tables are checked against.
#[derive(Clone, Copy)]
pub struct Geometry {
    /// Size in bytes.
    pub size: u64,
    /// Logical block size in bytes.
    pub logical_block: u32,
}

impl Lower {
    /// Opens the block device behind a file descriptor of the calling process.
    ///
    /// Errors: EBADF, ENOTBLK, EBUSY (somebody else holds it), EROFS, EOPNOTSUPP (zoned), what its driver says.
    pub fn open<H: Holder>(fd: i32, writable: bool, holder: &Arc<H>) -> Result<Self> {
        Self::open_device(device_of(fd)?, writable, holder)
    }

    /// The same by its number.
    pub fn open_device<H: Holder>(device: u32, writable: bool, holder: &Arc<H>) -> Result<Self> {
        let mode = ffi::BLK_OPEN_READ | if writable { ffi::BLK_OPEN_WRITE } else { 0 };
        let claim = Arc::into_raw(holder.clone()).cast_mut();
        let drop_holder = |claim: NonNull<c_void>| {
            // SAFETY: `claim` came from `Arc::into_raw` of an `Arc<H>` and is given back once.
            drop(unsafe { Arc::from_raw(claim.as_ptr().cast::<H>().cast_const()) });
        };
        // SAFETY: The holder lives at least as long as the claim, and the operations are static.
        let file = unsafe { bindings::bdev_file_open_by_dev(device, mode, claim.cast(), &Operations::<H>::OPS) };
        // SAFETY: An `Arc` is never null.
        let claim = unsafe { NonNull::new_unchecked(claim.cast::<c_void>()) };
        let file = match from_err_ptr(file).and_then(|file| NonNull::new(file).ok_or(ENODEV)) {
            Ok(file) => file,
            Err(error) => {
                drop_holder(claim);
                return Err(error);
            }
        };
        // SAFETY: The file is an open block device.
        let bdev = unsafe { NonNull::new_unchecked(bindings::file_bdev(file.as_ptr())) };
        // INVARIANT: Just opened and claimed. From here on `drop` gives everything back.
        let lower = Self { file, bdev, writable, _holder: claim, drop_holder };
        // Opening by number does not ask; writes would only be warned of.
        // SAFETY: An open device.
        if writable && unsafe { ffi::stor_bdev_read_only(lower.as_ptr()) } {
            return Err(EROFS);
        }
        if lower.features() & ffi::BLK_FEAT_ZONED != 0 {
            return Err(errno::EOPNOTSUPP.into());
        }
        Ok(lower)
    }

    fn features(&self) -> u32 {
        // SAFETY: An open device has a disk and a queue.
        unsafe { (*(*(*self.bdev.as_ptr()).bd_disk).queue).limits.features }
    }

    /// For what uses it as long as this exists.
    pub fn as_ptr(&self) -> *mut bindings::block_device {
        self.bdev.as_ptr()
    }

    /// Size and logical block size now.
    pub fn geometry(&self) -> Geometry {
        let bdev = self.bdev.as_ptr();
        // SAFETY: An open device has a disk and a queue; the fields are plain integers.
        let (sectors, logical_block) =
            unsafe { ((*bdev).bd_nr_sectors, (*(*(*bdev).bd_disk).queue).limits.logical_block_size) };
        Geometry { size: sectors.saturating_mul(512), logical_block }
    }

    /// The device's number, as the kernel keeps it.
    pub fn device(&self) -> u32 {
        // SAFETY: The device is open; the number does not change.
        unsafe { (*self.bdev.as_ptr()).bd_dev }
    }

    /// Whether it was opened for writing.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Whether its disk was removed.
    pub fn is_gone(&self) -> bool {
        // SAFETY: An open device has a disk; the state is read as one word.
        let state = unsafe { core::ptr::read_volatile(&raw const (*(*self.bdev.as_ptr()).bd_disk).state) };
        state & (1 << bindings::GD_DEAD) != 0
    }

    /// Writes the kernel name, such as `vda1`, into `name`.
    pub fn name(&self, name: &mut [u8]) {
        let bdev = self.bdev.as_ptr();
        // SAFETY: An open device is a registered device, whose kobject has a name that ends with NUL.
        let kernel_name = unsafe { CStr::from_char_ptr((*bdev).bd_device.kobj.name.cast()) };
        let length = name.len().saturating_sub(1);
        for (to, from) in name.iter_mut().take(length).zip(kernel_name.to_bytes()) {
            *to = *from;
        }
    }
}

impl Drop for Lower {
    fn drop(&mut self) {
        // SAFETY: Opened by `bdev_file_open_by_dev`, with this holder; given back once.
        unsafe { bindings::bdev_fput(self.file.as_ptr()) };
        (self.drop_holder)(self._holder);
    }
}

/// Lower devices in an order. More can be added while others look.
pub struct LowerSet {
    slots: KVec<SetOnce<Lower>>,
    length: Atomic<u32>,
}

impl LowerSet {
    /// An empty set with room for so many.
    pub fn with_capacity(capacity: usize) -> Result<Self> {
        let mut slots = KVec::with_capacity(capacity, GFP_KERNEL)?;
        for _ in 0..capacity {
            slots.push(SetOnce::new(), GFP_KERNEL)?;
        }
        Ok(Self { slots, length: Atomic::new(0) })
    }

    /// Adds one at the end; only one task at a time may. E2BIG if there is no room.
    pub fn push(&self, lower: Lower) -> Result {
        let length = self.length.load(Relaxed);
        let slot = self.slots.get(length as usize).ok_or(E2BIG)?;
        slot.populate(lower);
        self.length.store(length.wrapping_add(1), Release);
        Ok(())
    }

    /// By its place.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&Lower> {
        self.slots.get(index)?.as_ref()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.length.load(Acquire) as usize
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &Lower> {
        self.slots.iter().map_while(SetOnce::as_ref)
    }
}

/// The numbers of a device as user space knows them.
pub fn major_minor(device: u32) -> (u32, u32) {
    (device >> bindings::MINORBITS, device & ((1 << bindings::MINORBITS) - 1))
}
