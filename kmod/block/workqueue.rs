// SPDX-License-Identifier: GPL-2.0

//! `struct workqueue_struct` with a rescuer: work that cleans memory goes on when memory is short.

use super::ffi;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::prelude::*;
use kernel::time::msecs_to_jiffies;
use kernel::types::Opaque;

/// A queue of its own.
///
/// # Invariants
///
/// Allocated.
pub struct WorkQueue(NonNull<bindings::workqueue_struct>);

// SAFETY: A workqueue is made for concurrent use.
unsafe impl Send for WorkQueue {}
// SAFETY: As above.
unsafe impl Sync for WorkQueue {}

impl WorkQueue {
    pub fn new(name: &CStr) -> Result<Self> {
        // SAFETY: A string that ends with NUL; it is copied.
        let queue = unsafe { ffi::stor_alloc_workqueue(name.as_char_ptr()) };
        // INVARIANT: Just allocated.
        Ok(Self(NonNull::new(queue).ok_or(ENOMEM)?))
    }
}

impl Drop for WorkQueue {
    fn drop(&mut self) {
        // SAFETY: Allocated by the type invariant; no work is queued any more, as each [`Job`] has gone.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}

/// What a job does.
pub trait Run: Send + Sync + 'static {
    /// Runs in a kernel thread; may sleep. After how many milliseconds it is to run again, if at all.
    fn run(&self) -> Option<u32>;
}

/// Work on a [`WorkQueue`] of its own that runs `T::run`, at once or later. Scheduling it while it waits is one run. Dropping it waits for a
/// run to end.
///
/// # Invariants
///
/// `work` lies in its box until it is cancelled in `drop`, and so does the handler.
pub struct Job<T: Run>(KBox<Inner<T>>);

#[repr(C)]
struct Inner<T> {
    work: Opaque<bindings::delayed_work>,
    queue: WorkQueue,
    handler: T,
}

// SAFETY: `work` is used only through functions that lock it, the handler is shared only as `&T` with `T: Sync`.
unsafe impl<T: Run> Send for Job<T> {}
// SAFETY: As above.
unsafe impl<T: Run> Sync for Job<T> {}

impl<T: Run> Job<T> {
    /// Makes an idle job.
    pub fn new(queue: WorkQueue, handler: T) -> Result<Self> {
        let inner = KBox::new(Inner { work: Opaque::uninit(), queue, handler }, GFP_KERNEL)?;
        // SAFETY: The memory is valid and does not move: it is in a box that is never opened.
        unsafe { ffi::stor_init_delayed_work(inner.work.get(), Self::trampoline) };
        Ok(Self(inner))
    }

    /// Asks for a run now, even if one was to come later. Any context.
    pub fn schedule(&self) {
        // SAFETY: Initialised in `new`.
        unsafe {
            let cpu = bindings::wq_misc_consts_WORK_CPU_UNBOUND as i32;
            bindings::mod_delayed_work_on(cpu, self.0.queue.0.as_ptr(), self.0.work.get(), 0);
        }
    }

    /// Takes back what was asked for, and waits for a run to end.
    pub fn stop(&self) {
        // SAFETY: Initialised in `new`.
        unsafe { bindings::cancel_delayed_work_sync(self.0.work.get()) };
    }

    /// # Safety
    ///
    /// Called by the kernel for the work of an `Inner<T>`.
    unsafe extern "C" fn trampoline(work: *mut bindings::work_struct) {
        // SAFETY: `work` is the first field of a `delayed_work`, which is the first of a live `Inner<T>`.
        let inner = unsafe { &*work.cast::<Inner<T>>() };
        let Some(milliseconds) = inner.handler.run() else { return };
        // SAFETY: As above. If it was asked for meanwhile, it runs before.
        unsafe {
            let cpu = bindings::wq_misc_consts_WORK_CPU_UNBOUND as i32;
            let delay = msecs_to_jiffies(milliseconds);
            bindings::queue_delayed_work_on(cpu, inner.queue.0.as_ptr(), inner.work.get(), delay);
        }
    }
}

impl<T: Run> Drop for Job<T> {
    fn drop(&mut self) {
        self.stop();
    }
}
