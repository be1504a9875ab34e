// SPDX-License-Identifier: GPL-2.0

//! What the I/O path knows of the membership, in two words that it reads without a lock. In them legs are numbers of lower
//! devices, not slots.
//!
//! The keeper's worker [publishes](View::publish) them. One thing the I/O path changes itself, at once: a leg that has failed
//! counts no more, for whatever it says it has done it may have lost ([`fail`](View::fail)). The worker hears of it later; until it has, it
//! leaves that as it is.

use crate::pure::replica::acknowledge::Standing;
use crate::pure::replica::set::Set;
use kernel::sync::atomic::{ordering::Acquire, ordering::Full, ordering::Relaxed, ordering::Release, Atomic};

/// In a set: a slot whose leg is not there. No request is ever on it.
pub(super) const NOBODY: u32 = 1 << 16;

const LEG: u64 = 0xffff;
const LEG_OR_NOBODY: u64 = 0x1_ffff;
/// Of the first word.
const FAILING: u32 = 17;
const ENTITLED: u32 = 33;
/// Of the second.
const SOURCES: u32 = 16;
const SLOTS: u32 = 32;
const OPEN: u64 = 1 << 60;
const READY: u64 = 1 << 61;
const STOPPED: u64 = 1 << 62;

/// What is published.
#[derive(Clone, Copy)]
pub(super) struct Facts {
    /// Legs that a write has to be on before it is acknowledged.
    pub(super) needed: u32,
    /// Legs that have failed and are not dropped yet.
    pub(super) failing: u32,
    pub(super) entitled: u32,
    /// Legs that writes go to.
    pub(super) targets: u32,
    /// Legs that may be read.
    pub(super) sources: u32,
    /// All slots: a write that is on them lacks nowhere.
    pub(super) slots: u32,
    pub(super) open: bool,
    pub(super) ready: bool,
    pub(super) stopped: bool,
}

/// The two words, and which legs have failed that the worker does not know of yet.
pub(super) struct View {
    standing: Atomic<u64>,
    targets: Atomic<u64>,
    /// Given up; from bit 16 on: have failed and are the last.
    pending: Atomic<u32>,
}

/// The second word, as it was read.
#[derive(Clone, Copy)]
pub(super) struct Look {
    word: u64,
    failing: u32,
}

impl Look {
    #[inline]
    pub(super) fn targets(self) -> u32 {
        (self.word & LEG) as u32 & !self.failing
    }

    #[inline]
    pub(super) fn sources(self) -> u32 {
        (self.word >> SOURCES & LEG) as u32 & !self.failing
    }

    #[inline]
    pub(super) fn slots(self) -> u32 {
        (self.word >> SLOTS & LEG_OR_NOBODY) as u32
    }

    /// Whether a leg has failed, and is not waited for.
    pub(super) fn has_failed(self, lower: u32) -> bool {
        self.failing & 1_u32.wrapping_shl(lower) != 0
    }

    #[inline]
    pub(super) fn is_open(self) -> bool {
        self.word & OPEN != 0
    }

    #[inline]
    pub(super) fn is_ready(self) -> bool {
        self.word & READY != 0
    }

    #[inline]
    pub(super) fn is_stopped(self) -> bool {
        self.word & STOPPED != 0
    }
}

/// What has become of a leg that has failed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is given up.
    GivenUp,
    /// It is the last that has all data.
    Kept,
}

impl View {
    pub(super) fn new() -> Self {
        Self { standing: Atomic::new(0), targets: Atomic::new(0), pending: Atomic::new(0) }
    }

    #[inline]
    pub(super) fn look(&self) -> Look {
        let failing = (self.standing.load(Relaxed) >> FAILING & LEG) as u32;
        Look { word: self.targets.load(Acquire), failing }
    }

    /// Who counts, and the entitled legs that have not failed; in one piece.
    #[inline]
    pub(super) fn standing(&self) -> (Standing, u32) {
        let word = self.standing.load(Acquire);
        let set = |bits: u64| Set::of(bits as u32).unwrap_or_default();
        let failing = word >> FAILING & LEG;
        (
            Standing { needed: set(word & LEG_OR_NOBODY), failing: set(failing) },
            (word >> ENTITLED & LEG & !failing) as u32,
        )
    }

    /// A leg has failed. Any context.
    pub(super) fn fail(&self, lower: u32) -> Fate {
        let bit = 1_u64.wrapping_shl(lower) & LEG;
        let mut old = self.standing.load(Relaxed);
        let fate = loop {
            let failing = old >> FAILING & LEG;
            if (old >> ENTITLED & LEG) & !failing == bit {
                break Fate::Kept;
            }
            match self.standing.cmpxchg(old, old | bit << FAILING, Full) {
                Ok(_) => break Fate::GivenUp,
                Err(now) => old = now,
            }
        };
        let pending = if fate == Fate::Kept { bit << 16 } else { bit } as u32;
        let mut old = self.pending.load(Relaxed);
        while let Err(now) = self.pending.cmpxchg(old, old | pending, Full) {
            old = now;
        }
        fate
    }

    /// Legs that have failed since the last time: given up, and those that are the last.
    pub(super) fn take(&self) -> (u32, u32) {
        let pending = self.pending.xchg(0, Full);
        (pending & LEG as u32, pending >> 16)
    }

    /// `seen` are all the legs of whose failure the caller knows.
    pub(super) fn publish(&self, facts: Facts, seen: u32) {
        let flag = |on: bool, bit: u64| if on { bit } else { 0 };
        let targets = u64::from(facts.targets)
            | u64::from(facts.sources) << SOURCES
            | u64::from(facts.slots) << SLOTS
            | flag(facts.open, OPEN)
            | flag(facts.ready, READY)
            | flag(facts.stopped, STOPPED);
        let mut old = self.standing.load(Relaxed);
        loop {
            let unknown = old >> FAILING & LEG & !u64::from(seen);
            let new = u64::from(facts.needed)
                | (u64::from(facts.failing) | unknown) << FAILING
                | u64::from(facts.entitled) << ENTITLED;
            match self.standing.cmpxchg(old, new, Full) {
                Ok(_) => break,
                Err(now) => old = now,
            }
        }
        self.targets.store(targets, Release);
    }

    /// Nothing is known: before a start.
    pub(super) fn reset(&self) {
        self.standing.store(0, Relaxed);
        self.targets.store(0, Relaxed);
        self.pending.store(0, Relaxed);
    }
}
