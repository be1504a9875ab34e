// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which sectors of a new data block were written to.
//!
//! What a new block held before is somebody else's: a sector is not to be read before it is written, and all that are not
//! have to be zeros before the block is mapped on the device. Blocks are filled from one place on, as a rule, or written to
//! once: so a few ranges are remembered, and what would be one more has to wait until the block is filled up.

use core::ops::Range;

/// How many ranges apart from each other are remembered.
pub const RANGES: usize = 4;

/// Sectors of a block, from 0 on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cover {
    /// In order, apart from each other; behind the last all are empty.
    ranges: [(u32, u32); RANGES],
}

/// What is known of the beginning of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// So many sectors were written.
    Written(u32),
    /// So many were not.
    Blank(u32),
}

impl Cover {
    /// Nothing was written.
    pub const NONE: Self = Self { ranges: [(0, 0); RANGES] };

    fn live(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.ranges.iter().copied().take_while(|(begin, end)| begin < end)
    }

    /// Adds a range that is being written; whether there was room to remember it. If not, nothing is changed.
    pub fn add(&mut self, begin: u32, end: u32) -> bool {
        if begin >= end {
            return true;
        }
        let (mut begin, mut end) = (begin, end);
        let (mut new, mut count) = ([(0, 0); RANGES], 0);
        let mut put = |range, count: &mut usize| match new.get_mut(*count) {
            Some(place) => {
                *place = range;
                *count += 1;
                true
            }
            None => false,
        };
        let mut entered = false;
        for (from, to) in self.live() {
            if to < begin {
                if !put((from, to), &mut count) {
                    return false;
                }
            } else if from <= end {
                (begin, end) = (begin.min(from), end.max(to));
            } else {
                if !entered && !put((begin, end), &mut count) {
                    return false;
                }
                entered = true;
                if !put((from, to), &mut count) {
                    return false;
                }
            }
        }
        if !entered && !put((begin, end), &mut count) {
            return false;
        }
        self.ranges = new;
        true
    }

    /// What is known of the beginning of a range that is not empty.
    pub fn part(&self, begin: u32, end: u32) -> Part {
        for (from, to) in self.live() {
            if begin < from {
                return Part::Blank(from.min(end).saturating_sub(begin));
            }
            if begin < to {
                return Part::Written(to.min(end).saturating_sub(begin));
            }
        }
        Part::Blank(end.saturating_sub(begin))
    }

    /// The ranges of a block of so many sectors that were not written.
    pub fn blanks(&self, sectors: u32) -> impl Iterator<Item = Range<u32>> + '_ {
        let ends = self.live().chain([(sectors, sectors)]);
        ends.scan(0, |next, (begin, end)| {
            let blank = *next..begin;
            *next = end;
            Some(blank)
        })
        .filter(|blank| !blank.is_empty())
    }
}
