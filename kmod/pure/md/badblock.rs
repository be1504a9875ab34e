// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The bad-block log of a leg: ranges of sectors, counted from the leg's beginning, that could not be written.
//!
//! An entry is a number: the first sector in its upper 54 bits, the length in the lower ten, both shifted right by what the
//! superblock says. The log is kept in the form that it is written in: in order, without overlaps, neighbours joined, ones behind the
//! last. So it needs no memory but its page. What does not fit is refused, and then the leg has failed.

use super::superblock::Extent;
use super::{Page, PAGE_SIZE};
use core::fmt;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, IntoBytes};

/// Entries that a page has room for.
pub const ENTRIES: usize = PAGE_SIZE / 8;
/// Units of the longest entry.
const LENGTH_MAX: u64 = (1 << 10) - 1;
/// Behind the last entry.
const END: u64 = u64::MAX;

/// Why a log cannot be used, or not be added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// An entry without length, out of order, or beyond what there can be; its index.
    Entry(u32),
    /// An entry that does not lie in the leg's data; its index.
    Place(u32),
    /// There is no room for another entry.
    Full,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(index) => write!(f, "entry {index} of the bad-block log cannot be"),
            Self::Place(index) => write!(f, "entry {index} of the bad-block log is not in the leg's data"),
            Self::Full => f.write_str("the bad-block log is full"),
        }
    }
}

/// A log, in the page that it is read into and written from.
#[derive(Debug)]
pub struct Log<'a> {
    entries: &'a mut [U64; ENTRIES],
    count: usize,
    room: usize,
    shift: u8,
}

impl<'a> Log<'a> {
    /// An empty one, for so many sectors of log in units of 2 to the power of `shift` sectors.
    pub fn new(page: &'a mut Page, sectors: u64, shift: u8) -> Option<Self> {
        page.fill(0xff);
        Self::over(page, sectors, shift)
    }

    fn over(page: &'a mut Page, sectors: u64, shift: u8) -> Option<Self> {
        let entries = <[U64; ENTRIES]>::mut_from_bytes(page).ok()?;
        let room = (sectors.saturating_mul(512 / 8)).min(ENTRIES as u64) as usize;
        Some(Self { entries, count: 0, room, shift: shift.min(31) })
    }

    /// What a page says of a leg with this data. What is behind the last entry becomes ones.
    ///
    /// # Errors
    ///
    /// The first entry that cannot be.
    pub fn of(page: &'a mut Page, sectors: u64, shift: u8, data: Extent) -> Result<Self, Refusal> {
        let mut log = Self::over(page, sectors, shift).ok_or(Refusal::Entry(0))?;
        let mut end = 0;
        for (index, raw) in (0..).zip(log.entries.iter().take(log.room)) {
            if raw.get() == END {
                break;
            }
            let bad = log.unpack(*raw).filter(|bad| bad.end > bad.start).ok_or(Refusal::Entry(index))?;
            if bad.start < data.start || bad.end > data.end {
                return Err(Refusal::Place(index));
            }
            if bad.start < end {
                return Err(Refusal::Entry(index));
            }
            end = bad.end;
            log.count += 1;
        }
        let count = log.count;
        log.entries.iter_mut().skip(count).for_each(|raw| *raw = END.into());
        Ok(log)
    }

    fn unpack(&self, raw: U64) -> Option<Extent> {
        let (begin, end) = units(raw);
        Some(Extent { start: begin.checked_mul(1 << self.shift)?, end: end.checked_mul(1 << self.shift)? })
    }

    fn used(&self) -> &[U64] {
        self.entries.get(..self.count).unwrap_or_default()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The ranges, in order.
    pub fn ranges(&self) -> impl Iterator<Item = Extent> + '_ {
        self.used().iter().filter_map(|raw| self.unpack(*raw))
    }

    /// The first bad range that has a sector in common with this one.
    pub fn find(&self, range: Extent) -> Option<Extent> {
        // They are in order, so their ends are, too.
        let first = self.used().partition_point(|raw| self.unpack(*raw).is_some_and(|bad| bad.end <= range.start));
        self.used().get(first).and_then(|raw| self.unpack(*raw)).filter(|bad| bad.overlaps(&range))
    }

    /// Adds a range, and each unit that it has a part of; what it touches becomes one with it.
    ///
    /// # Errors
    ///
    /// There is no room: nothing is changed.
    pub fn add(&mut self, range: Extent) -> Result<(), Refusal> {
        let (begin, end) = (range.start >> self.shift, range.end.div_ceil(1 << self.shift));
        if range.start >= range.end {
            return Ok(());
        }
        if end > u64::MAX >> 10 {
            return Err(Refusal::Full);
        }
        let first = self.used().partition_point(|raw| units(*raw).1 < begin);
        let last = self.used().partition_point(|raw| units(*raw).0 <= end);
        let touched = self.used().get(first..last).unwrap_or_default();
        let begin = touched.first().map_or(begin, |raw| units(*raw).0.min(begin));
        let end = touched.last().map_or(end, |raw| units(*raw).1.max(end));
        self.splice(first, last, [(begin, end), (0, 0)])
    }

    /// Takes a range out that could be written again. A unit that it has only a part of stays.
    ///
    /// # Errors
    ///
    /// A range would become two, and there is no room: nothing is changed.
    pub fn remove(&mut self, range: Extent) -> Result<(), Refusal> {
        let (begin, end) = (range.start.div_ceil(1 << self.shift), range.end >> self.shift);
        if begin >= end {
            return Ok(());
        }
        let first = self.used().partition_point(|raw| units(*raw).1 <= begin);
        let last = self.used().partition_point(|raw| units(*raw).0 < end);
        let touched = self.used().get(first..last).unwrap_or_default();
        let before = touched.first().map_or((0, 0), |raw| (units(*raw).0, begin));
        let behind = touched.last().map_or((0, 0), |raw| (end, units(*raw).1));
        self.splice(first, last, [before, behind])
    }

    /// Puts ranges in the place of some entries.
    fn splice(&mut self, first: usize, last: usize, ranges: [(u64, u64); 2]) -> Result<(), Refusal> {
        let pieces = |(begin, end): (u64, u64)| end.saturating_sub(begin).div_ceil(LENGTH_MAX);
        let wanted = ranges.iter().map(|range| pieces(*range)).fold(0, u64::saturating_add);
        let kept = self.count.saturating_sub(last);
        let place = usize::try_from(wanted).ok().and_then(|wanted| first.checked_add(wanted));
        let place = place.filter(|place| place.saturating_add(kept) <= self.room).ok_or(Refusal::Full)?;
        if last > self.count || first > last {
            return Err(Refusal::Full);
        }
        self.entries.copy_within(last..self.count, place);
        let mut to = first;
        for (mut begin, end) in ranges {
            while begin < end {
                let length = (end - begin).min(LENGTH_MAX);
                if let Some(entry) = self.entries.get_mut(to) {
                    *entry = ((begin << 10) | length).into();
                }
                (begin, to) = (begin + length, to + 1);
            }
        }
        self.count = place + kept;
        let count = self.count;
        self.entries.iter_mut().skip(count).for_each(|raw| *raw = END.into());
        Ok(())
    }

    /// The bytes that are written.
    pub fn bytes(&self) -> &[u8] {
        self.entries.as_bytes()
    }
}

/// An entry: its first unit, and the one behind its last.
fn units(raw: U64) -> (u64, u64) {
    let begin = raw.get() >> 10;
    (begin, begin + (raw.get() & LENGTH_MAX))
}
