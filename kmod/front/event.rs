// SPDX-License-Identifier: GPL-2.0

//! Events: a ring that keeps the last [`KEPT`], which every reader walks at its own pace.

use crate::abi::uapi;
use crate::block::clock;
use kernel::fs::File;
use kernel::prelude::*;
use kernel::sync::poll::{PollCondVar, PollTable};
use kernel::sync::Mutex;
use kernel::{new_mutex, new_poll_condvar};
use zerocopy::FromZeros;

/// Events kept for readers that are behind.
pub const KEPT: usize = 1024;

/// The ring, and whoever waits for it.
#[pin_data]
pub struct Events {
    #[pin]
    ring: Mutex<Ring>,
    #[pin]
    arrived: PollCondVar,
}

struct Ring {
    slots: KVVec<uapi::stor_event>,
    /// Sequence number of the next event.
    next: u64,
}

impl Ring {
    fn slot(sequence: u64) -> usize {
        (sequence % KEPT as u64) as usize
    }

    fn oldest(&self) -> u64 {
        self.next.saturating_sub(KEPT as u64)
    }
}

/// What happened.
pub struct Event<'a> {
    /// `STOR_EVENT_*`.
    pub kind: u32,
    pub uuid: [u8; 16],
    /// Name of the volume, or version of the engine; NUL-padded.
    pub name: &'a [u8],
    pub value: u64,
}

impl Events {
    pub fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            ring <- new_mutex!(
                Ring {
                    slots: KVVec::from_elem(uapi::stor_event::new_zeroed(), KEPT, GFP_KERNEL)?,
                    next: 0,
                },
                "stor_events"
            ),
            arrived <- new_poll_condvar!("stor_events_arrived"),
        })
    }

    /// Tells everyone. May sleep.
    pub fn emit(&self, event: &Event<'_>) {
        let mut record = uapi::stor_event {
            time: clock::now(),
            value: event.value,
            type_: event.kind,
            uuid: event.uuid,
            ..uapi::stor_event::new_zeroed()
        };
        let room = record.name.len().saturating_sub(1);
        for (to, from) in record.name.iter_mut().take(room).zip(event.name) {
            *to = *from;
        }
        let mut ring = self.ring.lock();
        record.sequence = ring.next;
        let index = Ring::slot(ring.next);
        if let Some(slot) = ring.slots.get_mut(index) {
            *slot = record;
        }
        ring.next = ring.next.wrapping_add(1);
        drop(ring);
        self.arrived.notify_all();
    }

    /// Where a new reader starts: at what comes next.
    pub fn next(&self) -> u64 {
        self.ring.lock().next
    }

    /// The event at `cursor`, and the cursor behind it; waits for one unless `nonblocking`.
    ///
    /// Errors: EAGAIN, ERESTARTSYS.
    pub fn read(&self, cursor: u64, nonblocking: bool) -> Result<(uapi::stor_event, u64)> {
        let mut ring = self.ring.lock();
        while cursor >= ring.next {
            if nonblocking {
                return Err(EAGAIN);
            }
            if self.arrived.wait_interruptible(&mut ring) {
                return Err(ERESTARTSYS);
            }
        }
        let oldest = ring.oldest();
        if cursor < oldest {
            let lost = uapi::stor_event {
                sequence: oldest,
                time: clock::now(),
                value: oldest.wrapping_sub(cursor),
                type_: uapi::STOR_EVENT_LOST,
                ..uapi::stor_event::new_zeroed()
            };
            return Ok((lost, oldest));
        }
        let event = ring.slots.get(Ring::slot(cursor)).ok_or(EIO)?;
        Ok((*event, cursor.wrapping_add(1)))
    }

    /// Whether there is something at `cursor`; registers for news.
    pub fn poll(&self, cursor: u64, file: &File, table: PollTable<'_>) -> bool {
        table.register_wait(file, &self.arrived);
        self.next() > cursor
    }
}
