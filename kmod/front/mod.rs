// SPDX-License-Identifier: GPL-2.0

//! The front, `stor.ko`: owns the control node, the disks and the registry; knows no on-disk format.
//!
//! - [`control`]: `/dev/stor-control`, what each ioctl does to user memory
//! - [`registry`]: engines and volumes, and every change to them
//! - [`pool`]: pools in the registry, and every change to them
//! - [`switch`]: moving volumes from one engine to another with I/O running
//! - [`volume`]: a volume and its I/O path
//! - [`event`], [`notice`]: what happened, for those who watch
//! - [`edge`]: where this module and an engine's meet; the only `unsafe` here
//!
//! # Locks, outermost first
//!
//! 1. [`Front::state`], taken by [`Front::lock`]: every control call that looks at or changes a volume or engine. Held while a queue drains,
//!    which takes at most [`DRAIN_MS`] each. Under it user memory is never touched and memory is never made free by
//!    I/O: that I/O might be on a suspended volume, which only a holder of this lock can resume.
//! 2. a disk's limits lock, then the freeze of its queue ([`crate::block::gendisk::Frozen`]).
//! 3. [`notice::Notice`]'s label, the event ring: leaves, nothing else is taken under them.
//!
//! The I/O path takes none of them.

pub mod control;
pub mod edge;
pub mod event;
mod insert;
#[cfg(CONFIG_KUNIT = "y")]
mod kunit;
pub mod notice;
pub mod pool;
pub mod registry;
pub mod switch;
pub mod volume;

use crate::block::gendisk::DiskOperations;
use crate::block::noio::NoIo;
use core::ops::{Deref, DerefMut};
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::lock::mutex::MutexBackend;
use kernel::sync::lock::Guard;
use kernel::sync::Mutex;
use registry::State;

/// Version of the front.
pub const VERSION: &str = "0.1.0";

/// How long a change waits for a volume's I/O to drain before it gives up, in milliseconds. A change that gave up
/// has changed nothing; the I/O goes on.
pub const DRAIN_MS: u32 = 10_000;

/// The whole of it; there is one.
#[pin_data]
pub struct Front {
    #[pin]
    state: Mutex<State>,
    #[pin]
    pub events: event::Events,
    pub operations: DiskOperations<volume::Volume>,
}

impl Front {
    fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            state <- new_mutex!(State::default(), "stor_state"),
            events <- event::Events::new(),
            operations: DiskOperations::new()?,
        })
    }
}

/// The state, locked.
pub struct Locked<'a> {
    // Unlocked before the scope ends.
    state: Guard<'a, State, MutexBackend>,
    _noio: NoIo,
}

impl Front {
    /// Locks the state.
    pub fn lock(&self) -> Locked<'_> {
        let noio = NoIo::enter();
        Locked { state: self.state.lock(), _noio: noio }
    }
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}
