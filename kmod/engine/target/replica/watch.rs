// SPDX-License-Identifier: GPL-2.0

//! Looks every second at what the kernel has counted for the legs' devices, as long as there is something under way: which are slow, which say
//! nothing any more ([`crate::pure::replica::speed`]). It has a thread of its own: the worker may be the one that waits for such a leg.

use super::view::Fate;
use super::Shared;
use crate::abi::uapi;
use crate::block::clock;
use crate::block::workqueue::{Job, Run};
use crate::pure::replica::speed::{look, Counted, Ended, Speed};
use kernel::prelude::*;
use kernel::sync::atomic::ordering::{Acquire, Full, Relaxed, Release};
use kernel::sync::Arc;

/// Milliseconds between two looks.
const PERIOD: u32 = 1000;
const LEGS: usize = uapi::STOR_MAX_LEGS as usize;

/// Who looks.
pub(super) struct Watch(pub(super) Arc<Shared>);

impl Run for Watch {
    fn run(&self) -> Option<u32> {
        self.0.look_at_legs().then_some(PERIOD)
    }
}

/// What is known of the legs, by their lower devices.
pub(super) struct Watched {
    legs: KVec<Speed>,
    /// When they were looked at last.
    at: u64,
}

impl Watched {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { legs: KVec::from_elem(Speed::default(), LEGS, GFP_KERNEL)?, at: 0 })
    }

    /// How long I/O to these legs has taken of late, reads or writes, whichever takes longest; and when that was looked at.
    pub(super) fn slowest(&self, legs: u32) -> (u64, u64) {
        let used = self.legs.iter().enumerate().filter(|(leg, _)| legs & 1_u32.wrapping_shl(*leg as u32) != 0);
        (used.map(|(_, leg)| leg.read().max(leg.write())).max().unwrap_or(0), self.at)
    }

    /// Of a leg.
    pub(super) fn leg(&self, lower: u32) -> Option<&Speed> {
        self.legs.get(lower as usize)
    }
}

impl Shared {
    /// Has somebody look from now on, if nobody does. As it costs little, whoever begins something may ask for it.
    pub(super) fn watch(&self, watch: &Job<Watch>) {
        if self.watching.load(Relaxed) == 0 && self.watching.xchg(1, Full) == 0 {
            watch.schedule();
        }
    }

    /// One look; whether there is to be another.
    fn look_at_legs(&self) -> bool {
        let now = clock::now();
        let view = self.view.look();
        let used = view.targets() | view.sources();
        let mut under_way = 0_u32;
        let became = {
            let mut watched = self.watched.lock();
            // Whoever wakes us before it is time does not hasten anything.
            if now.saturating_sub(watched.at) < u64::from(PERIOD / 2).wrapping_mul(super::worker::MILLISECOND) {
                return true;
            }
            watched.at = now;
            let counted = |leg: usize| {
                let is_used = leg < self.legs && used & 1_u32.wrapping_shl(leg as u32) != 0;
                let (reads, writes, under_way) = self.lowers.get(leg).filter(|_| is_used)?.device.counted();
                let ended = |(count, time)| Ended { count, time };
                Some(Counted { reads: ended(reads), writes: ended(writes), under_way })
            };
            let mut all = [None; LEGS];
            for (leg, own) in all.iter_mut().enumerate() {
                *own = counted(leg);
                under_way = under_way.saturating_add(own.map_or(0, |counted| counted.under_way));
            }
            look(&mut watched.legs, |leg| all.get(leg).copied().flatten(), self.slow, now)
        };
        for leg in 0..self.legs as u32 {
            let bit = 1_u32.wrapping_shl(leg);
            for (legs, event) in
                [(became.slow, uapi::STOR_EVENT_LEG_SLOW), (became.silent, uapi::STOR_EVENT_LEG_SILENT)]
            {
                if legs & bit == 0 {
                    continue;
                }
                if let Some(place) = self.state.lock().place_of(leg) {
                    self.listener.tell(event, place as u64);
                }
                // The last one that has all data is not given up because it is slow: the worker hears of it within a second.
                if self.drop_slow && view.sources().count_ones() > 1 && self.fail(leg) == Fate::Kept {
                    pr_warn!("replica: leg of lower device {leg} does not keep up, and is the last\n");
                }
            }
        }
        // Who begins something after this has us look again.
        self.watching.store(0, Release);
        let again = under_way != 0 || self.active.load(Acquire) != 0 || self.state.lock().rebuild.since != 0;
        if again {
            self.watching.store(1, Relaxed);
        }
        again
    }
}
