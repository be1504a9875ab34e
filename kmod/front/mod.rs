// SPDX-License-Identifier: GPL-2.0

//! The front, `stor.ko`: owns the control node, the disks and the registry; knows no on-disk format.
//!
//! - [`control`]: `/dev/stor-control`, what each ioctl does to user memory
//! - [`registry`]: engines and volumes, and every change to them
//! - [`switch`]: moving volumes from one engine to another with I/O running
//! - [`volume`]: a volume and its I/O path
//! - [`event`], [`notice`]: what happened, for those who watch
//! - [`edge`]: where this module and an engine's meet; the only `unsafe` here
//!
//! # Locks, outermost first
//!
//! 1. [`Front::state`]: every control call that looks at or changes a volume or engine. Held while a queue drains,
//!    which takes at most [`DRAIN_MS`] each. User memory is never touched under it: it might lie on a frozen disk.
//! 2. a disk's limits lock, then the freeze of its queue ([`crate::block::gendisk::Frozen`]).
//! 3. [`notice::Notice`]'s label, the event ring: leaves, nothing else is taken under them.
//!
//! The I/O path takes none of them.

pub mod control;
pub mod edge;
pub mod event;
pub mod notice;
pub mod registry;
pub mod switch;
pub mod volume;

use crate::block::gendisk::DiskOperations;
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::Mutex;

/// Version of the front.
pub const VERSION: &str = "0.1.0";

/// How long a change waits for a volume's I/O to drain before it gives up, in milliseconds. A change that gave up
/// has changed nothing; the I/O goes on.
pub const DRAIN_MS: u32 = 10_000;

/// The whole of it; there is one.
#[pin_data]
pub struct Front {
    #[pin]
    pub state: Mutex<registry::State>,
    #[pin]
    pub events: event::Events,
    pub operations: DiskOperations<volume::Volume>,
}

impl Front {
    fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            state <- new_mutex!(registry::State::new(), "stor_state"),
            events <- event::Events::new(),
            operations: DiskOperations::new()?,
        })
    }
}
