// SPDX-License-Identifier: GPL-2.0

//! Compares what the legs have, and mends where they differ. A range that is compared is taken ([`super::range`]), so nobody writes there
//! meanwhile; and what has all data has to be equal there, whatever the bitmap says.

use super::worker::{parts, read_parts, Desk, COPIES, COPY};
use super::Shared;
use crate::abi::errno;
use crate::abi::uapi::{self, stor_replica_range, stor_replica_verify};
use crate::block::io::Piece;
use crate::pure::replica::range::most;
use kernel::prelude::*;
use kernel::sync::atomic::ordering::Relaxed;

/// Sectors that are compared as one.
const BLOCK: u64 = 8;
/// Sectors of a window, and blocks.
const WINDOW: u64 = COPY.wrapping_mul(COPIES as u64);
const BLOCKS: usize = (WINDOW / BLOCK) as usize;
/// Windows that one call compares at most: somebody else may want the state lock.
const WINDOWS: u32 = 16;

/// A window, and what was found in it so far.
struct Window {
    sector: u64,
    sectors: u64,
    /// For each block the lower devices that have something else than the first one had.
    differs: [u16; BLOCKS],
    /// Blocks that all have been made equal.
    mended: u64,
}

impl Shared {
    pub(super) fn verify(&self, ask: &mut stor_replica_verify) -> Result {
        let (end, block) = (ask.end, BLOCK * 512);
        let size = self.size;
        let fits = ask.start <= end && end <= size && ask.start % block == 0 && (end % block == 0 || end == size);
        let repair = ask.header.flags & uapi::STOR_VERIFY_REPAIR != 0;
        let place = Some(ask.source).filter(|source| *source != uapi::STOR_REPLICA_ANY);
        if !fits || place.is_some_and(|place| !repair || place >= uapi::STOR_MAX_LEGS) {
            return Err(EINVAL);
        }
        let from = match place {
            None => None,
            Some(place) => Some(self.state.lock().lower_at(place as usize).ok_or(errno::ENXIO)?),
        };
        (ask.count, ask.repaired) = (0, 0);
        let begin = ask.start;
        for _ in 0..WINDOWS {
            let sector = ask.start / 512;
            let sectors = (end / 512).saturating_sub(sector).min(WINDOW).min(most(sector));
            // A window may differ in as many places as it has blocks.
            if sectors == 0 || ask.count as usize != 0 && ask.count as usize + BLOCKS > ask.range.len() {
                return Ok(());
            }
            // Where none of them has anything they are equal.
            let rest = (end / 512).saturating_sub(sector).min(most(sector));
            let passed = self.hole(sector, rest, self.view.look().sources());
            if passed > sectors {
                ask.start = sector.saturating_add(passed).saturating_mul(512);
                continue;
            }
            let mut window = Window { sector, sectors, differs: [0; BLOCKS], mended: 0 };
            match self.verify_window(&mut window, repair, from) {
                Ok(()) => self.tell_of(&window, ask),
                Err(error) if ask.start == begin => return Err(error),
                // What was found so far is told first.
                Err(_) => return Ok(()),
            }
            ask.start = sector.saturating_add(sectors).saturating_mul(512);
        }
        Ok(())
    }

    fn verify_window(&self, window: &mut Window, repair: bool, from: Option<u32>) -> Result {
        let mut desk = self.desk.lock();
        let look = self.view.look();
        if !look.is_ready() || look.is_stopped() {
            return Err(EIO);
        }
        let sources = look.sources();
        if from.is_some_and(|from| sources & 1_u32.wrapping_shl(from) == 0) {
            return Err(errno::ENXIO.into());
        }
        if !self.ranges.lock(window.sector, window.sectors) {
            return Err(EAGAIN);
        }
        self.clear(&mut desk);
        let compared = self.compare(&mut desk, window, sources, repair, from);
        self.unlock(window.sector, window.sectors);
        compared
    }

    /// Compares the legs of a window, and mends it if that is wanted. What cannot be read on a leg is not compared there.
    fn compare(&self, desk: &mut Desk, window: &mut Window, sources: u32, repair: bool, from: Option<u32>) -> Result {
        let all = |lower: &u32| sources & 1_u32.wrapping_shl(*lower) != 0;
        let mut first = true;
        for one in (0..u32::BITS).filter(all) {
            if !repair && !first {
                return Ok(());
            }
            if self.read_window(desk, window, one).is_err() {
                // A leg that does not answer has it: all begins anew on another desk.
                desk.memory().map_err(|_| EAGAIN)?;
                continue;
            }
            let (mut differs, mut read) = ([0_u16; BLOCKS], 1_u32.wrapping_shl(one));
            for other in (0..u32::BITS).filter(all).filter(|other| *other != one) {
                if self.differing(desk, window, other, &mut differs)? {
                    read |= 1_u32.wrapping_shl(other);
                }
            }
            if first {
                window.differs = differs;
                first = false;
            }
            if differs.iter().all(|lowers| *lowers == 0) {
                return Ok(());
            }
            if repair && from.is_none_or(|from| from == one) {
                // Whoever could not be read agrees with nobody.
                self.mend(desk, window, (read, sources.count_ones()), from.is_some(), &differs);
                desk.memory().map_err(|_| EAGAIN)?;
            }
        }
        if first {
            return Err(EIO);
        }
        Ok(())
    }

    fn read_window(&self, desk: &mut Desk, window: &Window, lower: u32) -> Result {
        let (device, at) = self.place(lower, window.sector).ok_or(EIO)?;
        let read = read_parts(desk, device, at, window.sectors, &|| self.has_failed(lower));
        if let (Err(_), Some(count)) = (&read, self.count(lower)) {
            count.read_errors.add(1, Relaxed);
        }
        read
    }

    /// Which blocks of a window another leg has otherwise than the buffers; whether all of it could be read.
    fn differing(&self, desk: &mut Desk, window: &Window, lower: u32, differs: &mut [u16; BLOCKS]) -> Result<bool> {
        let (device, at) = self.place(lower, window.sector).ok_or(EIO)?;
        let bit = 1_u16.checked_shl(lower).ok_or(EIO)?;
        let mut differs = differs.iter_mut();
        for (number, (at, sectors)) in parts(at, window.sectors).enumerate() {
            let bytes = (sectors as usize).wrapping_mul(512);
            let read = desk.all_unless(false, &|| self.has_failed(lower), |memory, tell| {
                tell(Piece::Read(device, at, memory.there.get_mut(..bytes).ok_or(EIO)?))
            });
            let memory = desk.memory().map_err(|_| EAGAIN)?;
            let own = memory.buffers.get(number).and_then(|buffer| buffer.get(..bytes)).ok_or(EIO)?;
            let other = memory.there.get(..bytes).ok_or(EIO)?;
            if read.is_err() {
                if let Some(count) = self.count(lower) {
                    count.read_errors.add(1, Relaxed);
                }
                return Ok(false);
            }
            let size = (BLOCK as usize).wrapping_mul(512);
            for ((own, other), differs) in own.chunks(size).zip(other.chunks(size)).zip(&mut differs) {
                if own != other {
                    *differs |= bit;
                }
            }
        }
        Ok(true)
    }

    /// Writes those blocks of the buffers that are to be everywhere: because somebody says so, or most of the `legs` have them so, of which
    /// those in `read` could be read.
    fn mend(
        &self,
        desk: &mut Desk,
        window: &mut Window,
        (read, legs): (u32, u32),
        wanted: bool,
        differs: &[u16; BLOCKS],
    ) {
        for (number, lowers) in differs.iter().enumerate() {
            let majority = (read & !u32::from(*lowers)).count_ones() * 2 > legs;
            let bit = 1_u64.wrapping_shl(number as u32);
            if *lowers == 0 || !wanted && !majority || window.mended & bit != 0 {
                continue;
            }
            window.mended |= bit;
            for lower in (0..u16::BITS).filter(|lower| lowers & (1 << lower) != 0) {
                if self.write_block(desk, window, number, lower).is_err() {
                    window.mended &= !bit;
                    self.fail(lower);
                    // It still has what the others were to get.
                    if desk.memory().is_err() {
                        return;
                    }
                } else if let Some(count) = self.count(lower) {
                    count.repaired.add(1, Relaxed);
                }
            }
        }
    }

    fn write_block(&self, desk: &mut Desk, window: &Window, number: usize, lower: u32) -> Result {
        let begin = (number as u64).wrapping_mul(BLOCK);
        let sectors = window.sectors.saturating_sub(begin).min(BLOCK);
        let at = ((begin % COPY) as usize).wrapping_mul(512);
        let (device, sector) = self.place(lower, window.sector.wrapping_add(begin)).ok_or(EIO)?;
        desk.all_unless(false, &|| self.has_failed(lower), |memory, tell| {
            let buffer = memory.buffers.get((begin / COPY) as usize).ok_or(EIO)?;
            let from = buffer.get(at..at.wrapping_add((sectors as usize).wrapping_mul(512))).ok_or(EIO)?;
            tell(Piece::Write(device, sector, from))
        })
    }

    /// Adds the ranges of a window that differ, with the slots of the legs, to what is told.
    fn tell_of(&self, window: &Window, ask: &mut stor_replica_verify) {
        let state = self.state.lock();
        for (number, lowers) in window.differs.iter().enumerate().filter(|(_, lowers)| **lowers != 0) {
            let begin = (number as u64).wrapping_mul(BLOCK);
            let start = window.sector.wrapping_add(begin).wrapping_mul(512);
            let length = window.sectors.saturating_sub(begin).min(BLOCK).wrapping_mul(512);
            let repaired = u32::from(window.mended & 1_u64.wrapping_shl(number as u32) != 0);
            ask.repaired = ask.repaired.wrapping_add(if repaired != 0 { length } else { 0 });
            let legs = state.places(u32::from(*lowers)).bits();
            let last = (ask.count as usize).checked_sub(1).and_then(|last| ask.range.get_mut(last));
            match last {
                Some(last)
                    if last.start.wrapping_add(last.length) == start
                        && (last.legs, last.repaired) == (legs, repaired) =>
                {
                    last.length = last.length.wrapping_add(length);
                }
                _ => {
                    if let Some(new) = ask.range.get_mut(ask.count as usize) {
                        *new = stor_replica_range { start, length, legs, repaired };
                        ask.count = ask.count.wrapping_add(1);
                    }
                }
            }
        }
    }
}
