// SPDX-License-Identifier: GPL-2.0

//! `struct bio_set`: clones for requests that need more than the one embedded in them, with a reserve that
//! guarantees progress when memory is short.

use super::ffi;
use super::status::Status;
use core::mem::{align_of, size_of};
use core::ptr::NonNull;
use kernel::bindings;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::sync::atomic::Atomic;
use kernel::types::Opaque;

/// Bios kept in reserve. One is enough for progress; more keep a starved system moving.
const RESERVE: u32 = 16;

/// What stands in front of a clone: the request it belongs to and the bio it is a part of (null for a flush), and what the
/// engine is to be told of it. Clones of a part that is spread have one of them as their leader; it is there until all have ended.
#[repr(C)]
pub(super) struct Front {
    pub(super) request: *mut bindings::request,
    pub(super) parent: *mut bindings::bio,
    pub(super) sector: u64,
    pub(super) sectors: u64,
    pub(super) token: u32,
    /// Which lower device.
    pub(super) lower: u32,
    pub(super) leader: *mut bindings::bio,
    /// Of a leader: those that have not ended, and one for the submitter; the devices that have failed.
    pub(super) left: Atomic<i32>,
    pub(super) failed: Atomic<u32>,
}

const FRONT_PAD: usize = size_of::<Front>().next_multiple_of(align_of::<bindings::bio>());

/// A pool of bios.
///
/// # Invariants
///
/// Initialised, and does not move: it is in a box that is never opened.
pub struct BioSet(KBox<Opaque<bindings::bio_set>>);

// SAFETY: A bio_set is made for concurrent use.
unsafe impl Send for BioSet {}
// SAFETY: As above.
unsafe impl Sync for BioSet {}

impl BioSet {
    /// Makes a pool with its reserve. It has a rescuer: when several clones of one request wait in
    /// `current->bio_list`, an allocation that finds the pool empty sends them off instead of waiting for itself.
    pub fn new() -> Result<Self> {
        let set = KBox::new(Opaque::<bindings::bio_set>::zeroed(), GFP_KERNEL)?;
        let flags = bindings::BIOSET_NEED_RESCUER as i32;
        // SAFETY: Zeroed memory that stays where it is.
        to_result(unsafe { bindings::bioset_init(set.get(), RESERVE, FRONT_PAD as u32, flags) })?;
        // INVARIANT: Just initialised.
        Ok(Self(set))
    }

    /// Clones `parent` for `bdev`, without data of its own. May sleep, never fails for want of memory.
    ///
    /// # Safety
    ///
    /// `bdev` and `parent` are live, and outlive the clone.
    pub(super) unsafe fn clone_bio(
        &self,
        bdev: *mut bindings::block_device,
        parent: *mut bindings::bio,
        request: *mut bindings::request,
    ) -> Result<NonNull<bindings::bio>, Status> {
        // SAFETY: By contract; the set is initialised by the type invariant.
        let bio = unsafe { bindings::bio_alloc_clone(bdev, parent, ffi::GFP_NOIO, self.0.get()) };
        Self::fill(bio, parent, request)
    }

    /// An empty bio for `bdev`.
    ///
    /// # Safety
    ///
    /// `bdev` is live, and outlives the bio.
    pub(super) unsafe fn empty_bio(
        &self,
        bdev: *mut bindings::block_device,
        opf: u32,
        request: *mut bindings::request,
    ) -> Result<NonNull<bindings::bio>, Status> {
        // SAFETY: By contract; the set is initialised by the type invariant.
        let bio = unsafe { bindings::bio_alloc_bioset(bdev, 0, opf, ffi::GFP_NOIO, self.0.get()) };
        Self::fill(bio, core::ptr::null_mut(), request)
    }

    fn fill(
        bio: *mut bindings::bio,
        parent: *mut bindings::bio,
        request: *mut bindings::request,
    ) -> Result<NonNull<bindings::bio>, Status> {
        let bio = NonNull::new(bio).ok_or(Status::RESOURCE)?;
        // SAFETY: The set was made with FRONT_PAD bytes before every bio, aligned like a bio.
        unsafe {
            Self::front(bio.as_ptr()).write(Front {
                request,
                parent,
                sector: 0,
                sectors: 0,
                token: 0,
                lower: 0,
                leader: core::ptr::null_mut(),
                left: Atomic::new(1),
                failed: Atomic::new(0),
            })
        };
        Ok(bio)
    }

    /// What stands in front of a bio of such a set.
    ///
    /// # Safety
    ///
    /// `bio` came from a [`BioSet`].
    pub(super) unsafe fn front(bio: *mut bindings::bio) -> *mut Front {
        // SAFETY: By contract there are FRONT_PAD bytes before it.
        unsafe { bio.cast::<u8>().sub(FRONT_PAD).cast() }
    }
}

impl Drop for BioSet {
    fn drop(&mut self) {
        // SAFETY: Initialised by the type invariant; all bios are back, as the disk that used them is gone.
        unsafe { bindings::bioset_exit(self.0.get()) };
    }
}
