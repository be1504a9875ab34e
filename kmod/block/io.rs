// SPDX-License-Identifier: GPL-2.0

//! I/O that an engine does by itself, and waits for: metadata, copies, zeros. Whoever ends it is the kernel's own code, so that
//! nothing of the engine is left on a processor when it has been waited for.

use super::{ffi, status::Status};
use core::ffi::c_void;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::error::{to_result, Error};
use kernel::prelude::*;
use kernel::types::Opaque;

/// A device that the front keeps open for as long as the object exists that was made on it.
///
/// # Invariants
///
/// An open block device.
#[derive(Clone, Copy)]
pub struct Device(NonNull<bindings::block_device>);

// SAFETY: A block device may be used from any thread.
unsafe impl Send for Device {}
// SAFETY: As above.
unsafe impl Sync for Device {}

impl Device {
    /// The device of a `LowerInfo`.
    ///
    /// # Safety
    ///
    /// It is open as long as the result is used.
    pub unsafe fn new(bdev: *mut c_void) -> Option<Self> {
        // INVARIANT: By contract.
        NonNull::new(bdev.cast()).map(Self)
    }

    /// For what uses it as long as it is open.
    pub fn as_ptr(&self) -> *mut c_void {
        self.0.as_ptr().cast()
    }

    /// Its sectors now.
    pub fn sectors(&self) -> u64 {
        // SAFETY: By the type invariant.
        unsafe { (*self.0.as_ptr()).bd_nr_sectors }
    }

    /// Whether it can discard.
    pub fn has_discard(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { ffi::stor_bdev_has_discard(self.0.as_ptr()) }
    }

    /// What the kernel has counted for it, if it counts: reads that have ended, with the nanoseconds they took together; writes
    /// likewise; how many are under way.
    pub fn counted(&self) -> ((u64, u64), (u64, u64), u32) {
        let (mut ended, mut time, mut under_way) = ([0; 2], [0; 2], 0);
        // SAFETY: By the type invariant.
        unsafe { ffi::stor_bdev_stat(self.0.as_ptr(), &mut ended, &mut time, &mut under_way) };
        let ([reads, writes], [read_time, write_time]) = (ended, time);
        ((reads, read_time), (writes, write_time), under_way)
    }

    /// Reads. The buffer is of the kernel's linear mapping, as a `KBox` or `KVec` is.
    pub fn read(&self, sector: u64, into: &mut [u8]) -> Result {
        // SAFETY: By the type invariant; the buffer is there for the call.
        to_result(unsafe {
            bindings::bdev_rw_virt(
                self.0.as_ptr(),
                sector,
                into.as_mut_ptr().cast(),
                into.len(),
                bindings::req_op_REQ_OP_READ,
            )
        })
    }

    /// Has the device write its cache out.
    pub fn flush(&self) -> Result {
        // SAFETY: By the type invariant.
        to_result(unsafe { bindings::blkdev_issue_flush(self.0.as_ptr()) })
    }

    /// Makes zeros of sectors. If the device can read as zeros what takes no space, it may do that.
    pub fn zero_out(&self, sector: u64, sectors: u64) -> Result {
        // SAFETY: By the type invariant.
        to_result(unsafe { ffi::stor_zero_out(self.0.as_ptr(), sector, sectors) })
    }

    /// Discards sectors.
    pub fn discard(&self, sector: u64, sectors: u64) -> Result {
        // SAFETY: By the type invariant.
        to_result(unsafe { ffi::stor_discard(self.0.as_ptr(), sector, sectors) })
    }
}

/// What is to be done to sectors of a device, from this one on. Memory is of the kernel's linear mapping, whole and aligned to the
/// device's blocks.
pub enum Piece<'a> {
    Read(Device, u64, &'a mut [u8]),
    Write(Device, u64, &'a [u8]),
    /// So many sectors are to read as zeros.
    Zero(Device, u64, u64),
}

/// Bios for pieces that are under way at the same time, with a reserve of some.
///
/// # Invariants
///
/// Initialised, and does not move: it is in a box that is never opened.
pub struct Bios(KBox<Opaque<bindings::bio_set>>);

// SAFETY: A bio_set is made for concurrent use.
unsafe impl Send for Bios {}
// SAFETY: As above.
unsafe impl Sync for Bios {}

impl Bios {
    pub fn new() -> Result<Self> {
        let set = KBox::new(Opaque::<bindings::bio_set>::zeroed(), GFP_KERNEL)?;
        let flags = bindings::BIOSET_NEED_BVECS as i32;
        // SAFETY: Zeroed memory that stays where it is.
        to_result(unsafe { bindings::bioset_init(set.get(), 16, 0, flags) })?;
        // INVARIANT: Just initialised.
        Ok(Self(set))
    }

    /// Does all pieces, in any order, and waits for them. The first error of any.
    pub fn all<'a>(&self, pieces: &mut dyn Iterator<Item = Piece<'a>>) -> Result {
        self.run(0, pieces)
    }

    /// The same of pieces that are metadata.
    pub fn all_metadata<'a>(&self, pieces: &mut dyn Iterator<Item = Piece<'a>>) -> Result {
        self.run(ffi::REQ_META, pieces)
    }

    /// The same, and what was written is durable.
    pub fn all_durable<'a>(&self, pieces: &mut dyn Iterator<Item = Piece<'a>>) -> Result {
        self.run(ffi::REQ_META | ffi::REQ_FUA, pieces)
    }

    fn run<'a>(&self, flags: u32, pieces: &mut dyn Iterator<Item = Piece<'a>>) -> Result {
        // Each ends after the one before it.
        let mut last: *mut bindings::bio = core::ptr::null_mut();
        let mut result = Ok(());
        for piece in pieces {
            let chained = match piece {
                Piece::Read(device, sector, into) => {
                    let op = bindings::req_op_REQ_OP_READ | (flags & !ffi::REQ_FUA);
                    // SAFETY: The memory is there for this call, and nobody else's.
                    unsafe { self.chain(&mut last, op, device, sector, into.as_mut_ptr(), into.len()) }
                }
                Piece::Write(device, sector, from) => {
                    let op = bindings::req_op_REQ_OP_WRITE | flags;
                    // SAFETY: The memory is there for this call, and only read.
                    unsafe { self.chain(&mut last, op, device, sector, from.as_ptr().cast_mut(), from.len()) }
                }
                // SAFETY: The device is open; it chains its bios to ours as we do.
                Piece::Zero(device, sector, sectors) => to_result(unsafe {
                    bindings::__blkdev_issue_zeroout(device.0.as_ptr(), sector, sectors, ffi::GFP_NOIO, &mut last, 0)
                }),
            };
            if chained.is_err() {
                result = chained;
                break;
            }
        }
        if !last.is_null() {
            // SAFETY: A bio that was not submitted; it is given back once.
            unsafe {
                let waited = to_result(bindings::submit_bio_wait(last));
                bindings::bio_put(last);
                result = result.and(waited);
            }
        }
        result
    }

    /// Makes a bio that ends after `last`, which is sent off, and becomes it.
    ///
    /// # Safety
    ///
    /// The memory is there until the bio has ended, and nobody else's unless it is only read.
    unsafe fn chain(
        &self,
        last: &mut *mut bindings::bio,
        op: u32,
        device: Device,
        sector: u64,
        memory: *mut u8,
        bytes: usize,
    ) -> Result {
        // SAFETY: The set is initialised and the device open; the rest is this function's contract.
        unsafe {
            let bio = bindings::bio_alloc_bioset(device.0.as_ptr(), 1, op, ffi::GFP_NOIO, self.0.get());
            if bio.is_null() {
                return Err(ENOMEM);
            }
            (*bio).bi_iter.bi_sector = sector;
            bindings::bio_add_virt_nofail(bio, memory.cast(), bytes as u32);
            if !last.is_null() {
                bindings::bio_chain(*last, bio);
                bindings::submit_bio(*last);
            }
            *last = bio;
        }
        Ok(())
    }
}

impl Drop for Bios {
    fn drop(&mut self) {
        // SAFETY: Initialised by the type invariant; all bios are back.
        unsafe { bindings::bioset_exit(self.0.get()) };
    }
}

/// How a request ends because of this error.
pub fn status_of(error: Error) -> Status {
    // SAFETY: Always safe; unknown values give BLK_STS_IOERR.
    Status(unsafe { bindings::errno_to_blk_status(error.to_errno()) })
}
