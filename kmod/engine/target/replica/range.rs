// SPDX-License-Identifier: GPL-2.0

//! Who writes where: writes that overlap go one after the other, or legs would differ in which came last.
//!
//! A bit stands for 4 KiB of the volume, and many pieces of the volume share one: so two writes may wait for each other that do not
//! overlap, which costs them a moment. Nothing else is held by whoever waits.

use kernel::prelude::*;
use kernel::sync::atomic::{ordering::Full, ordering::Relaxed, Atomic};

/// Bits of a word.
const BITS: u64 = 64;
/// Words.
const WORDS: u64 = 1024;
/// Sectors of a bit.
const UNIT: u64 = 8;
/// Sectors in which no two pieces share a bit: a range lies in one such part.
const PART: u64 = WORDS * BITS * UNIT;

/// The ranges that are taken.
pub(super) struct Ranges(KVec<Atomic<u64>>);

/// The words of a range, each with its bits.
fn words(sector: u64, sectors: u64) -> impl Iterator<Item = (usize, u64)> {
    let (first, last) = (sector / UNIT, sector.saturating_add(sectors.max(1)).wrapping_sub(1) / UNIT);
    (first / BITS..=last / BITS).map(move |word| {
        let begin = if word == first / BITS { first % BITS } else { 0 };
        let end = if word == last / BITS { last % BITS } else { BITS - 1 };
        let bits = (u64::MAX << begin) & (u64::MAX >> ((BITS - 1) - end));
        // Parts begin at different places, so that volumes that are written to at round distances do not meet.
        let shift = (word / WORDS).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
        ((word.wrapping_add(shift) % WORDS) as usize, bits)
    })
}

impl Ranges {
    pub(super) fn new() -> Result<Self> {
        let mut words = KVec::with_capacity(WORDS as usize, GFP_KERNEL)?;
        for _ in 0..WORDS {
            words.push(Atomic::new(0), GFP_KERNEL)?;
        }
        Ok(Self(words))
    }

    /// How many sectors from this one on are in one part.
    #[inline]
    pub(super) fn most(sector: u64) -> u64 {
        PART.wrapping_sub(sector % PART)
    }

    /// Takes a range, which is in one part; whether it could: somebody may have some of it.
    #[inline]
    pub(super) fn lock(&self, sector: u64, sectors: u64) -> bool {
        for (taken, (word, bits)) in words(sector, sectors).enumerate() {
            if !self.take(word, bits) {
                for (word, bits) in words(sector, sectors).take(taken) {
                    self.give(word, bits);
                }
                return false;
            }
        }
        true
    }

    /// Gives it back.
    #[inline]
    pub(super) fn unlock(&self, sector: u64, sectors: u64) {
        for (word, bits) in words(sector, sectors) {
            self.give(word, bits);
        }
    }

    /// Whether nobody has any of it.
    pub(super) fn is_free(&self, sector: u64, sectors: u64) -> bool {
        words(sector, sectors).all(|(word, bits)| self.0.get(word).is_some_and(|word| word.load(Relaxed) & bits == 0))
    }

    #[inline]
    fn take(&self, word: usize, bits: u64) -> bool {
        let Some(word) = self.0.get(word) else { return false };
        let mut old = word.load(Relaxed);
        while old & bits == 0 {
            match word.cmpxchg(old, old | bits, Full) {
                Ok(_) => return true,
                Err(now) => old = now,
            }
        }
        false
    }

    #[inline]
    fn give(&self, word: usize, bits: u64) {
        let Some(word) = self.0.get(word) else { return };
        let mut old = word.load(Relaxed);
        while let Err(now) = word.cmpxchg(old, old & !bits, Full) {
            old = now;
        }
    }
}
