// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which bits a range of sectors takes, so that writes that overlap go one after the other: legs would differ in which came last.
//!
//! A bit stands for 4 KiB, and many places of the volume share one: so two writes may wait for each other that do not overlap, which
//! costs them a moment.

/// Bits of a word.
pub const BITS: u64 = 64;
/// Words.
pub const WORDS: u64 = 1024;
/// Sectors of a bit.
const UNIT: u64 = 8;
/// Sectors in which no two places share a bit: a range lies in one such part.
const PART: u64 = WORDS * BITS * UNIT;

/// How many sectors from this one on are in one part.
pub fn most(sector: u64) -> u64 {
    PART - sector % PART
}

/// The words of a range that is in one part, each with its bits.
pub fn words(sector: u64, sectors: u64) -> impl Iterator<Item = (usize, u64)> {
    let (first, last) = (sector / UNIT, sector.saturating_add(sectors.max(1)).saturating_sub(1) / UNIT);
    (first / BITS..=last / BITS).map(move |word| {
        let begin = if word == first / BITS { first % BITS } else { 0 };
        let end = if word == last / BITS { last % BITS } else { BITS - 1 };
        let bits = (u64::MAX << begin) & (u64::MAX >> (BITS - 1 - end));
        // Parts begin at different places, so that volumes that are written to at round distances do not meet.
        let shift = (word / WORDS).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
        (((word + shift) % WORDS) as usize, bits)
    })
}
