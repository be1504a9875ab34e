// SPDX-License-Identifier: GPL-2.0

//! I/O that an engine does by itself, and waits for: metadata, copies, zeros. Whoever ends it is the kernel's own code, so that
//! nothing of the engine is left on a processor when it has been waited for.
//!
//! But for what may be [left behind](Held::all_unless), because a device does not answer and others do: that ends in [`ended`], which may still be
//! returning when its effect is seen. Removing a module waits for tasks and interrupts that are in it.

use super::wait::Wait;
use super::{ffi, status::Status};
use core::ffi::c_void;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::error::{to_result, Error};
use kernel::prelude::*;
use kernel::sync::atomic::{ordering::Acquire, ordering::Full, ordering::Relaxed, Atomic};
use kernel::sync::Arc;
use kernel::types::{ForeignOwnable, Opaque};

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
    /// What has ended before is to be durable.
    Flush(Device),
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

    fn run<'a>(&self, flags: u32, pieces: &mut dyn Iterator<Item = Piece<'a>>) -> Result {
        let mut last: *mut bindings::bio = core::ptr::null_mut();
        let mut pieces = pieces;
        // SAFETY: The memory of the pieces is there for this call, which waits for all of them.
        let add = |piece| unsafe { self.add(&mut last, flags, piece) };
        let mut result = Iterator::try_for_each(&mut pieces, add);
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

    /// Makes a piece a bio that ends after `last`, which is sent off, and becomes it.
    ///
    /// # Safety
    ///
    /// The memory of the piece is there until the bio has ended, and nobody else's unless it is only read.
    unsafe fn add(&self, last: &mut *mut bindings::bio, flags: u32, piece: Piece<'_>) -> Result {
        match piece {
            Piece::Read(device, sector, into) => {
                let op = bindings::req_op_REQ_OP_READ | (flags & !ffi::REQ_FUA);
                // SAFETY: By contract.
                unsafe { self.chain(last, op, device, sector, into.as_mut_ptr(), into.len()) }
            }
            Piece::Write(device, sector, from) => {
                let op = bindings::req_op_REQ_OP_WRITE | flags;
                // SAFETY: By contract.
                unsafe { self.chain(last, op, device, sector, from.as_ptr().cast_mut(), from.len()) }
            }
            // SAFETY: The device is open; it chains its bios to ours as we do.
            Piece::Zero(device, sector, sectors) => to_result(unsafe {
                bindings::__blkdev_issue_zeroout(device.0.as_ptr(), sector, sectors, ffi::GFP_NOIO, last, 0)
            }),
            Piece::Flush(device) => {
                let op = bindings::req_op_REQ_OP_WRITE | ffi::REQ_PREFLUSH;
                // SAFETY: It needs no memory.
                unsafe { self.chain(last, op, device, 0, core::ptr::null_mut(), 0) }
            }
        }
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
            if bytes > 0 {
                bindings::bio_add_virt_nofail(bio, memory.cast(), bytes as u32);
            }
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

/// Memory, and I/O with it that may be left behind.
///
/// # Invariants
///
/// While I/O is under way ([`Ended::is_over`]) nobody has the memory.
pub struct Held<M> {
    bios: Bios,
    ended: Arc<Ended>,
    memory: M,
}

/// Whether I/O has ended.
struct Ended {
    wait: Wait,
    /// How: a `blk_status_t`, or [`UNDER_WAY`].
    status: Atomic<i32>,
}

const UNDER_WAY: i32 = -1;
/// Milliseconds between two looks whether it is still to be waited for.
const PATIENCE: u32 = 100;

impl Ended {
    fn is_over(&self) -> bool {
        self.status.load(Acquire) != UNDER_WAY
    }
}

/// The last bio of some has ended, and with it all of them.
///
/// # Safety
///
/// Called by the kernel for a bio whose private data is an `Arc<Ended>`.
unsafe extern "C" fn ended(bio: *mut bindings::bio) {
    // SAFETY: By contract; both are given back once.
    let (ended, status) = unsafe {
        let ended = Arc::<Ended>::from_foreign((*bio).bi_private);
        let status = i32::from((*bio).bi_status);
        bindings::bio_put(bio);
        (ended, status)
    };
    ended.status.xchg(status, Full);
    ended.wait.wake();
}

impl<M> Held<M> {
    pub fn new(memory: M) -> Result<Self> {
        let ended = Arc::new(Ended { wait: Wait::new()?, status: Atomic::new(0) }, GFP_KERNEL)?;
        // INVARIANT: Nothing is under way.
        Ok(Self { bios: Bios::new()?, ended, memory })
    }

    /// EBUSY if I/O with it was left behind.
    pub fn memory(&mut self) -> Result<&mut M> {
        if self.ended.is_over() {
            Ok(&mut self.memory)
        } else {
            Err(EBUSY)
        }
    }

    /// Does all pieces that `tell` tells of, in any order, and waits for them; what is written is durable then, if it is to be. The first error of
    /// any. Whenever `unless` says so they are waited for no longer: ETIMEDOUT, and the memory is theirs until they have ended.
    pub fn all_unless(
        &mut self,
        durable: bool,
        unless: &dyn Fn() -> bool,
        tell: impl for<'a> FnOnce(&'a mut M, &mut dyn FnMut(Piece<'a>) -> Result) -> Result,
    ) -> Result {
        if !self.ended.is_over() {
            return Err(EBUSY);
        }
        let flags = if durable { ffi::REQ_META | ffi::REQ_FUA } else { 0 };
        let mut last: *mut bindings::bio = core::ptr::null_mut();
        let bios = &self.bios;
        // SAFETY: The memory is ours, and nobody else's until all has ended.
        let told = tell(&mut self.memory, &mut |piece| unsafe { bios.add(&mut last, flags, piece) });
        if last.is_null() {
            return told;
        }
        self.ended.status.store(UNDER_WAY, Relaxed);
        // SAFETY: A bio that was not submitted, which has what it needs to end.
        unsafe {
            (*last).bi_private = self.ended.clone().into_foreign();
            (*last).bi_end_io = Some(ended);
            (*last).bi_opf |= ffi::REQ_SYNC;
            bindings::submit_bio(last);
        }
        while !self.ended.wait.until_for(PATIENCE, || self.ended.is_over()) {
            if unless() {
                return Err(ETIMEDOUT);
            }
        }
        let status = self.ended.status.load(Acquire);
        // SAFETY: Always safe; unknown values give EIO.
        told.and(to_result(unsafe { bindings::blk_status_to_errno(status as u8) }))
    }
}

impl<M> Drop for Held<M> {
    fn drop(&mut self) {
        // The memory goes after this.
        self.ended.wait.until(|| self.ended.is_over());
    }
}

/// How a request ends because of this error.
pub fn status_of(error: Error) -> Status {
    // SAFETY: Always safe; unknown values give BLK_STS_IOERR.
    Status(unsafe { bindings::errno_to_blk_status(error.to_errno()) })
}
