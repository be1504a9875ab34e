// SPDX-License-Identifier: GPL-2.0

//! `struct work_struct`: something to be done soon, by a kernel thread.

use super::ffi;
use kernel::bindings;
use kernel::prelude::*;
use kernel::types::Opaque;

/// What a work item does.
pub trait Handler: Sync + 'static {
    /// Runs in a kernel thread; may sleep.
    fn run(&self);
}

/// A work item that runs `T::run`. Scheduling it while it waits is one run. Dropping it waits for a run to end.
///
/// # Invariants
///
/// `data` lives in its box, and `work` beside it, until the work is cancelled in `drop`.
pub struct Work<T: Handler>(KBox<Inner<T>>);

#[repr(C)]
struct Inner<T> {
    work: Opaque<bindings::work_struct>,
    data: T,
}

// SAFETY: `work` is used only through functions that lock it, `data` is shared only as `&T` with `T: Sync`.
unsafe impl<T: Handler + Send> Send for Work<T> {}
// SAFETY: As above.
unsafe impl<T: Handler> Sync for Work<T> {}

impl<T: Handler> Work<T> {
    /// Makes an idle work item.
    pub fn new(data: T) -> Result<Self> {
        let inner = KBox::new(Inner { work: Opaque::uninit(), data }, GFP_KERNEL)?;
        // SAFETY: The memory is valid and does not move: it is in a box that is never opened.
        unsafe { ffi::stor_init_work(inner.work.get(), Self::trampoline) };
        Ok(Self(inner))
    }

    /// What the work item carries.
    pub fn data(&self) -> &T {
        &self.0.data
    }

    /// Asks for a run. Any context.
    pub fn schedule(&self) {
        // SAFETY: The work was initialised in `new`; `system_wq` always exists.
        unsafe {
            bindings::queue_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as i32,
                bindings::system_percpu_wq,
                self.0.work.get(),
            )
        };
    }

    /// # Safety
    ///
    /// Called by the kernel for the work of an `Inner<T>`.
    unsafe extern "C" fn trampoline(work: *mut bindings::work_struct) {
        // SAFETY: `work` is the first field of a live `Inner<T>` by the type invariant.
        let inner = unsafe { &*work.cast::<Inner<T>>() };
        inner.data.run();
    }
}

impl<T: Handler> Drop for Work<T> {
    fn drop(&mut self) {
        // SAFETY: Initialised in `new`. Nobody can schedule it any more: that takes `&self`.
        unsafe { bindings::cancel_work_sync(self.0.work.get()) };
    }
}
