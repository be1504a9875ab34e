// SPDX-License-Identifier: GPL-2.0

//! Requests that an engine has deferred: each is given back to the front once, and lists of them need no memory.

use super::ffi::{REQ_NOUNMAP, REQ_OP_MASK as OP};
use super::status::Status;
use crate::abi::engine::{Deferral, Op};
use core::ptr::NonNull;
use kernel::sync::atomic::{ordering::Full, ordering::Relaxed, Atomic};

unsafe extern "C" {
    fn stor_request_retry(deferral: *mut Deferral);
    fn stor_request_end(deferral: *mut Deferral, status: u32);
}

/// A range that the front asks for: the engine may answer, or [keep](Self::keep) the request.
pub struct Ask(NonNull<Deferral>);

impl Ask {
    /// What the front passes to `map` or `flush`.
    ///
    /// # Safety
    ///
    /// As the engine ABI says of a [`Deferral`].
    pub unsafe fn new(deferral: *mut Deferral) -> Option<Self> {
        NonNull::new(deferral).map(Self)
    }

    fn get(&self) -> &Deferral {
        // SAFETY: It stays where it is until the request is given back.
        unsafe { self.0.as_ref() }
    }

    /// `REQ_OP_*`.
    #[inline]
    pub fn op(&self) -> Op {
        self.get().op & OP
    }

    /// Of what is to be zeros: space must not be given up for it.
    pub fn keeps_space(&self) -> bool {
        self.get().op & REQ_NOUNMAP != 0
    }

    /// First sector in the volume.
    #[inline]
    pub fn sector(&self) -> u64 {
        self.get().sector
    }

    /// How many sectors.
    #[inline]
    pub fn sectors(&self) -> u64 {
        self.get().sectors
    }

    /// What was left there when the same request was asked about before, or 0.
    #[inline]
    pub fn owner(&self) -> u32 {
        self.get().owner
    }

    /// What was left there with it.
    #[inline]
    pub fn since(&self) -> u64 {
        self.get().since
    }

    /// Leaves something there for when the request comes again.
    #[inline]
    pub fn leave(&self, owner: u32, since: u64) {
        // SAFETY: It is ours until the front is answered.
        unsafe { ((*self.0.as_ptr()).owner, (*self.0.as_ptr()).since) = (owner, since) };
    }

    /// Keeps the request; the front must be answered with `DEFERRED`.
    pub fn keep(self, owner: u32, since: u64) -> Deferred {
        // SAFETY: From here on it is the engine's.
        unsafe { (*self.0.as_ptr()).owner = owner };
        // SAFETY: As above.
        unsafe { (*self.0.as_ptr()).since = since };
        Deferred(self.0)
    }
}

/// A deferred request. Dropping it ends it with an I/O error.
///
/// # Invariants
///
/// It is the engine's, and in no list.
pub struct Deferred(NonNull<Deferral>);

// SAFETY: A deferred request may be given back from any thread.
unsafe impl Send for Deferred {}

impl Deferred {
    fn get(&self) -> &Deferral {
        // SAFETY: By the type invariant.
        unsafe { self.0.as_ref() }
    }

    /// `REQ_OP_*`.
    pub fn op(&self) -> Op {
        self.get().op & OP
    }

    /// Of what is to be zeros: space must not be given up for it.
    pub fn keeps_space(&self) -> bool {
        self.get().op & REQ_NOUNMAP != 0
    }

    /// First sector in the volume.
    pub fn sector(&self) -> u64 {
        self.get().sector
    }

    /// How many sectors.
    pub fn sectors(&self) -> u64 {
        self.get().sectors
    }

    /// What was said when it was kept.
    pub fn owner(&self) -> u32 {
        self.get().owner
    }

    /// When it was kept.
    pub fn since(&self) -> u64 {
        self.get().since
    }

    /// Changes what was said when it was kept.
    pub fn set_since(&mut self, since: u64) {
        // SAFETY: By the type invariant.
        unsafe { (*self.0.as_ptr()).since = since };
    }

    fn into_raw(self) -> *mut Deferral {
        let raw = self.0.as_ptr();
        core::mem::forget(self);
        raw
    }

    /// Has the front ask again. May sleep; the request may be deferred again, or be over, when this returns.
    pub fn retry(self) {
        // SAFETY: By the type invariant; it is not used again.
        unsafe { stor_request_retry(self.into_raw()) };
    }

    /// What was asked for is done, or has failed.
    pub fn end(self, status: Status) {
        // SAFETY: By the type invariant; it is not used again.
        unsafe { stor_request_end(self.into_raw(), status.raw()) };
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; it is not used again.
        unsafe { stor_request_end(self.0.as_ptr(), Status::IOERR.raw()) };
    }
}

/// Deferred requests that anybody may leave there in any context, and somebody takes.
pub struct DeferredStack(Atomic<*mut Deferral>);

impl Default for DeferredStack {
    fn default() -> Self {
        Self(Atomic::new(core::ptr::null_mut()))
    }
}

impl DeferredStack {
    pub fn is_empty(&self) -> bool {
        self.0.load(Relaxed).is_null()
    }

    /// Adds one. What comes after it in the program is done after it.
    pub fn push(&self, deferred: Deferred) {
        let new = deferred.into_raw();
        let mut old = self.0.load(Relaxed);
        loop {
            // SAFETY: It is ours until it is in the stack.
            unsafe { (*new).next = old };
            match self.0.cmpxchg(old, new, Full) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }

    /// Takes all, in the order in which they came.
    pub fn take(&self) -> DeferredList {
        let mut next = self.0.xchg(core::ptr::null_mut(), Full);
        let mut list = DeferredList::new();
        while let Some(first) = NonNull::new(next) {
            // SAFETY: What was in the stack is the engine's, and now nobody else's.
            next = unsafe { (*first.as_ptr()).next };
            // INVARIANT: As above.
            list.push_front(Deferred(first));
        }
        list
    }
}

impl Drop for DeferredStack {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// A list of deferred requests, first in, first out.
///
/// # Invariants
///
/// `last` is the end of the list that begins with `first`; all in it are the engine's, and in no other list.
#[derive(Default)]
pub struct DeferredList {
    first: Option<NonNull<Deferral>>,
    last: Option<NonNull<Deferral>>,
    length: u64,
}

// SAFETY: As of what is in it.
unsafe impl Send for DeferredList {}

impl DeferredList {
    pub const fn new() -> Self {
        Self { first: None, last: None, length: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// When the first one was kept.
    pub fn since(&self) -> Option<u64> {
        // SAFETY: By the type invariant.
        self.first.map(|first| unsafe { first.as_ref() }.since)
    }

    /// Adds one at the end.
    pub fn push(&mut self, deferred: Deferred) {
        let Some(new) = NonNull::new(deferred.into_raw()) else { return };
        // SAFETY: By the type invariants.
        unsafe {
            (*new.as_ptr()).next = core::ptr::null_mut();
            match self.last {
                Some(last) => (*last.as_ptr()).next = new.as_ptr(),
                None => self.first = Some(new),
            }
        }
        self.last = Some(new);
        self.length = self.length.wrapping_add(1);
    }

    /// Adds one at the beginning.
    pub fn push_front(&mut self, deferred: Deferred) {
        let Some(new) = NonNull::new(deferred.into_raw()) else { return };
        // SAFETY: By the type invariants.
        unsafe { (*new.as_ptr()).next = self.first.map_or(core::ptr::null_mut(), NonNull::as_ptr) };
        self.first = Some(new);
        self.last = self.last.or(Some(new));
        self.length = self.length.wrapping_add(1);
    }

    /// Takes the first.
    pub fn pop(&mut self) -> Option<Deferred> {
        let first = self.first?;
        // SAFETY: By the type invariant.
        self.first = NonNull::new(unsafe { first.as_ref() }.next);
        if self.first.is_none() {
            self.last = None;
        }
        self.length = self.length.wrapping_sub(1);
        // INVARIANT: Just taken out of its list.
        Some(Deferred(first))
    }

    /// Takes all.
    pub fn take(&mut self) -> Self {
        core::mem::take(self)
    }

    /// Adds those of another list at the end.
    pub fn append(&mut self, mut other: Self) {
        while let Some(deferred) = other.pop() {
            self.push(deferred);
        }
    }

    /// Has the front ask again for each.
    pub fn retry(mut self) {
        while let Some(deferred) = self.pop() {
            deferred.retry();
        }
    }

    /// Ends each.
    pub fn end(mut self, status: Status) {
        while let Some(deferred) = self.pop() {
            deferred.end(status);
        }
    }
}

impl Drop for DeferredList {
    fn drop(&mut self) {
        while let Some(deferred) = self.pop() {
            drop(deferred);
        }
    }
}
