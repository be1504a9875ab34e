// SPDX-License-Identifier: GPL-2.0

//! `struct wait_queue_head`: waiting until something is so, which may become so in an interrupt.

use super::ffi;
use core::ffi::c_void;
use kernel::bindings;
use kernel::prelude::*;
use kernel::sync::atomic::{ordering::Full, ordering::Relaxed, Atomic};
use kernel::types::Opaque;

/// Where tasks wait. Whoever makes their condition true calls [`wake`](Self::wake) afterwards.
///
/// # Invariants
///
/// Initialised, and does not move: it is in a box that is never opened.
pub struct Wait(KBox<Inner>);

struct Inner {
    head: Opaque<bindings::wait_queue_head>,
    /// How many wait.
    waiting: Atomic<i32>,
}

// SAFETY: A wait queue has a lock of its own.
unsafe impl Send for Wait {}
// SAFETY: As above.
unsafe impl Sync for Wait {}

/// # Safety
///
/// `done` points to an `F` that is there for the call.
unsafe extern "C" fn call<F: Fn() -> bool>(done: *mut c_void) -> bool {
    // SAFETY: By contract.
    unsafe { (*done.cast::<F>())() }
}

impl Wait {
    pub fn new() -> Result<Self> {
        let inner = KBox::new(Inner { head: Opaque::uninit(), waiting: Atomic::new(0) }, GFP_KERNEL)?;
        // SAFETY: Memory that stays where it is.
        unsafe { ffi::stor_init_wait(inner.head.get()) };
        Ok(Self(inner))
    }

    /// Waits until `done` says so. It must not sleep.
    pub fn until<F: Fn() -> bool>(&self, done: F) {
        // The order of this and of what `done` looks at is that of `wake`'s caller and `wake`.
        self.0.waiting.fetch_add(1, Full);
        // SAFETY: Initialised by the type invariant; `done` outlives the call.
        unsafe { ffi::stor_wait(self.0.head.get(), call::<F>, (&raw const done).cast_mut().cast()) };
        self.0.waiting.fetch_sub(1, Full);
    }

    /// The same, but for so many milliseconds at most; whether it is done.
    pub fn until_for<F: Fn() -> bool>(&self, milliseconds: u32, done: F) -> bool {
        self.0.waiting.fetch_add(1, Full);
        let data = (&raw const done).cast_mut().cast();
        // SAFETY: As in `until`.
        let is_done = unsafe { ffi::stor_wait_for(self.0.head.get(), call::<F>, data, milliseconds) };
        self.0.waiting.fetch_sub(1, Full);
        is_done
    }

    /// Has all that wait look again. What they look at was changed by a fully ordered operation before. Any context.
    #[inline]
    pub fn wake(&self) {
        if self.0.waiting.load(Relaxed) != 0 {
            // SAFETY: Initialised by the type invariant.
            unsafe { ffi::stor_wake(self.0.head.get()) };
        }
    }
}
