// SPDX-License-Identifier: GPL-2.0

//! Who writes where, in bits that [`crate::pure::replica::range`] gives to ranges. Nothing else is held by whoever waits for one.

use crate::pure::replica::range::{words, WORDS};
use kernel::prelude::*;
use kernel::sync::atomic::{ordering::Full, ordering::Relaxed, Atomic};

/// The ranges that are taken.
pub(super) struct Ranges(KVec<Atomic<u64>>);

impl Ranges {
    pub(super) fn new() -> Result<Self> {
        let mut words = KVec::with_capacity(WORDS as usize, GFP_KERNEL)?;
        for _ in 0..WORDS {
            words.push(Atomic::new(0), GFP_KERNEL)?;
        }
        Ok(Self(words))
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
