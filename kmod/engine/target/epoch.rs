// SPDX-License-Identifier: GPL-2.0

//! What is on its way to the devices of one volume, so that somebody can wait for all of it.
//!
//! Whoever looks at a mapping [`enter`](Epoch::enter)s first and leaves when the I/O has ended. Whoever changes a mapping does so and
//! then [waits](Epoch::wait) for all who may have seen the old one; those who enter later see the new one and are not waited for.
//! Entering takes one fully ordered operation on a cache line of the processor's own.

use crate::block::{cpu, wait::Wait};
use kernel::prelude::*;
use kernel::sync::atomic::{ordering::Full, ordering::Relaxed, Atomic};

/// Those of one processor, by the parity of the period that they entered in.
#[repr(align(64))]
struct Slot([Atomic<i32>; 2]);

/// The I/O of a volume.
pub(super) struct Epoch {
    slots: KVec<Slot>,
    period: Atomic<u32>,
}

impl Epoch {
    pub(super) fn new() -> Result<Self> {
        let count = cpu::count() as usize;
        let mut slots = KVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            slots.push(Slot([Atomic::new(0), Atomic::new(0)]), GFP_KERNEL)?;
        }
        Ok(Self { slots, period: Atomic::new(0) })
    }

    fn counter(&self, token: u32) -> Option<&Atomic<i32>> {
        let place = token.wrapping_sub(1);
        self.slots.get((place >> 1) as usize)?.0.get((place & 1) as usize)
    }

    /// From here on a change is waited out with us. The token is not 0, and below 2^31.
    #[inline]
    pub(super) fn enter(&self) -> u32 {
        let token = (cpu::this() << 1 | (self.period.load(Relaxed) & 1)).wrapping_add(1);
        if let Some(counter) = self.counter(token) {
            counter.fetch_add(1, Full);
        }
        token
    }

    /// The I/O has ended. Any context.
    #[inline]
    pub(super) fn leave(&self, token: u32, wait: &Wait) {
        if let Some(counter) = self.counter(token) {
            counter.fetch_sub(1, Full);
            wait.wake();
        }
    }

    /// Whether nobody is there.
    pub(super) fn is_quiet(&self) -> bool {
        self.slots.iter().flat_map(|slot| slot.0.iter()).all(|count| count.load(Relaxed) == 0)
    }

    /// Waits for all who entered before. One task at a time. May sleep for as long as the devices take.
    pub(super) fn wait(&self, wait: &Wait) {
        // Twice: somebody may have taken the token of a period and entered only after that period was waited for.
        for _ in 0..2 {
            let parity = self.period.fetch_add(1, Full) & 1;
            let none = |slot: &Slot| slot.0.get(parity as usize).is_none_or(|count| count.load(Relaxed) == 0);
            wait.until(|| self.slots.iter().all(none));
        }
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        self.slots.len().wrapping_mul(size_of::<Slot>())
    }
}
