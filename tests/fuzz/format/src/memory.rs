// SPDX-License-Identifier: GPL-2.0

//! The heap, counted: no run may hold more than 64 MiB, and none is given much more.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a run may hold at one time.
pub(crate) const CAP: usize = 64 << 20;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);
/// What was held when the run began.
static BEFORE: AtomicUsize = AtomicUsize::new(0);
/// More than this is refused; there is no limit between runs.
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// The system's allocator, counted.
pub(crate) struct Counted;

// SAFETY: all is done by the system's allocator, with the layouts that it is given; to refuse is allowed.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !take(size) {
            return std::ptr::null_mut();
        }
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, size) }
    }
}

fn take(size: usize) -> bool {
    let held = HELD.load(Ordering::Relaxed).saturating_add(size);
    MOST.fetch_max(held, Ordering::Relaxed);
    if held > LIMIT.load(Ordering::Relaxed) {
        return false;
    }
    HELD.fetch_add(size, Ordering::Relaxed);
    true
}

/// Begins a run.
pub(crate) fn begin() {
    let held = HELD.load(Ordering::Relaxed);
    BEFORE.store(held, Ordering::Relaxed);
    MOST.store(held, Ordering::Relaxed);
    // What asks for more is told that there is none, so that a run does not harm the machine; it has failed already.
    LIMIT.store(held.saturating_add(2 * CAP), Ordering::Relaxed);
}

/// Ends a run: the most that was asked for at one time.
pub(crate) fn end() -> usize {
    LIMIT.store(usize::MAX, Ordering::Relaxed);
    MOST.load(Ordering::Relaxed).saturating_sub(BEFORE.load(Ordering::Relaxed))
}
