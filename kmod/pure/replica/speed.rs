// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How fast legs are, from what the kernel counts for each block device: so nothing of it is on the way of an I/O. A leg is *slow* if
//! writes take longer than allowed and [`TIMES`] as long as on the fastest leg, look after look; and *silent* if it has had
//! I/O under way for [`SILENCE`] of which none has ended.

/// How many times as long.
pub const TIMES: u64 = 10;
/// Nanoseconds.
pub const SILENCE: u64 = 30_000_000_000;
/// Looks in a row after which a leg is called something else.
const LOOKS: u32 = 3;
/// Of fewer no average is taken.
const FEW: u64 = 4;

/// I/Os that have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// How many.
    pub count: u64,
    /// Nanoseconds that they took together.
    pub time: u64,
}

/// What the kernel has counted for a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Reads.
    pub reads: Ended,
    /// Writes.
    pub writes: Ended,
    /// I/Os under way.
    pub under_way: u32,
}

/// How long I/Os take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Average {
    /// What had ended when it was taken.
    base: Ended,
    /// Nanoseconds; 0: unknown.
    time: u64,
}

impl Average {
    /// Takes in what has ended; whether that is enough for a new one.
    fn take(&mut self, ended: Ended) -> bool {
        let count = ended.count.saturating_sub(self.base.count);
        if count < FEW {
            return false;
        }
        self.time = ended.time.saturating_sub(self.base.time).checked_div(count).unwrap_or(0).max(1);
        self.base = ended;
        true
    }
}

/// What is known of a leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Speed {
    read: Average,
    write: Average,
    /// I/Os that had ended at the last look.
    ended: u64,
    /// A new average of writes has been taken in this look.
    fresh: bool,
    /// Looks in a row in which it was otherwise than it is called.
    looks: u32,
    slow: bool,
    /// When nothing had come back first, though something was under way; 0: that is not so.
    since: u64,
    silent: bool,
}

/// What legs have become, a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Became {
    /// Slow.
    pub slow: u32,
    /// Silent.
    pub silent: u32,
}

impl Speed {
    /// Nanoseconds that a read took of late, on average; 0: unknown.
    pub fn read(&self) -> u64 {
        self.read.time
    }

    /// Nanoseconds that a write took of late, on average; 0: unknown.
    pub fn write(&self) -> u64 {
        self.write.time
    }

    /// Whether writes take too long.
    pub fn is_slow(&self) -> bool {
        self.slow
    }

    /// Whether nothing comes back.
    pub fn is_silent(&self) -> bool {
        self.silent
    }

    /// Takes in what was counted up to now.
    fn take(&mut self, counted: &Counted, now: u64) {
        self.read.take(counted.reads);
        self.fresh = self.write.take(counted.writes);
        let ended = counted.reads.count.wrapping_add(counted.writes.count);
        if counted.under_way == 0 || ended != self.ended {
            (self.since, self.silent) = (0, false);
        } else if self.since == 0 {
            self.since = now.max(1);
        }
        self.ended = ended;
    }
}

/// Looks at all legs: what each of them has counted, if it is used. `limit`, in nanoseconds, is how long a write may take; 0: as long as it likes.
pub fn look(legs: &mut [Speed], counted: impl Fn(usize) -> Option<Counted>, limit: u64, now: u64) -> Became {
    let mut became = Became::default();
    // The fastest two: a leg is compared with others.
    let (mut first, mut second) = ((u64::MAX, usize::MAX), u64::MAX);
    for (number, leg) in legs.iter_mut().enumerate() {
        let Some(counted) = counted(number) else {
            *leg = Speed::default();
            continue;
        };
        leg.take(&counted, now);
        match leg.write() {
            0 => {}
            write if write < first.0 => (first, second) = ((write, number), first.0),
            write => second = second.min(write),
        }
    }
    for (number, leg) in legs.iter_mut().enumerate() {
        let bit = 1_u32.checked_shl(number as u32).unwrap_or(0);
        if leg.since != 0 && !leg.silent && now.saturating_sub(leg.since) >= SILENCE {
            leg.silent = true;
            became.silent |= bit;
        }
        if !leg.fresh {
            continue;
        }
        let fastest = if first.1 == number { second } else { first.0 };
        let slow = limit != 0 && leg.write() > limit && fastest.saturating_mul(TIMES) < leg.write();
        leg.looks = if slow == leg.slow { 0 } else { leg.looks.saturating_add(1) };
        if leg.looks >= LOOKS {
            (leg.slow, leg.looks) = (slow, 0);
            if slow {
                became.slow |= bit;
            }
        }
    }
    became
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Legs that have had so many more writes, which took so long each.
    fn step(legs: &mut [Speed], counted: &mut [Counted], writes: &[(u64, u64)], now: u64) -> Became {
        for (counted, (count, each)) in counted.iter_mut().zip(writes) {
            counted.writes.count += count;
            counted.writes.time += count * each;
        }
        look(legs, |leg| counted.get(leg).copied(), 100 * MS, now)
    }

    #[test]
    fn a_leg_is_slow_that_takes_long_look_after_look() {
        let (mut legs, mut counted) = ([Speed::default(); 3], [Counted::default(); 3]);
        let (fast, slow) = ((10, MS), (10, 200 * MS));
        for now in 1..3 {
            assert_eq!(step(&mut legs, &mut counted, &[fast, slow, fast], now), Became::default());
        }
        // A look without writes tells nothing.
        assert_eq!(step(&mut legs, &mut counted, &[(0, 0); 3], 3), Became::default());
        assert_eq!(step(&mut legs, &mut counted, &[fast, slow, fast], 4), Became { slow: 2, silent: 0 });
        assert_eq!((legs[0].write(), legs[1].write(), legs[1].is_slow()), (MS, 200 * MS, true));
        // It is told once, and may recover.
        for now in 5..7 {
            assert_eq!(step(&mut legs, &mut counted, &[fast, fast, fast], now), Became::default());
            assert!(legs[1].is_slow());
        }
        step(&mut legs, &mut counted, &[fast, fast, fast], 8);
        assert!(!legs[1].is_slow());
    }

    #[test]
    fn none_is_slow_if_all_are_or_there_is_no_other() {
        let (mut legs, mut counted) = ([Speed::default(); 2], [Counted::default(); 2]);
        for now in 1..9 {
            assert_eq!(step(&mut legs, &mut counted, &[(9, 300 * MS), (9, 200 * MS)], now), Became::default());
        }
        let (mut legs, mut counted) = ([Speed::default(); 1], [Counted::default(); 1]);
        for now in 1..9 {
            assert_eq!(step(&mut legs, &mut counted, &[(9, 300 * MS)], now), Became::default());
        }
        // Nor if no limit is wanted, or it is below it.
        let (mut legs, mut counted) = ([Speed::default(); 2], [Counted::default(); 2]);
        for now in 1..9 {
            assert_eq!(step(&mut legs, &mut counted, &[(9, 90 * MS), (9, MS)], now), Became::default());
        }
    }

    #[test]
    fn a_leg_is_silent_if_nothing_comes_back() {
        let (mut legs, mut counted) = ([Speed::default(); 2], [Counted::default(); 2]);
        counted[1].under_way = 1;
        assert_eq!(step(&mut legs, &mut counted, &[(9, MS), (0, 0)], 1), Became::default());
        assert_eq!(step(&mut legs, &mut counted, &[(9, MS), (0, 0)], SILENCE), Became::default());
        assert_eq!(step(&mut legs, &mut counted, &[(9, MS), (0, 0)], SILENCE + 1), Became { slow: 0, silent: 2 });
        assert_eq!(step(&mut legs, &mut counted, &[(9, MS), (0, 0)], 2 * SILENCE), Became::default());
        assert!(legs[1].is_silent());
        step(&mut legs, &mut counted, &[(9, MS), (1, MS)], 2 * SILENCE + 1);
        assert!(!legs[1].is_silent());
        // Whoever is not used any more is forgotten.
        look(&mut legs, |_| None, 1, 1);
        assert_eq!(legs, [Speed::default(); 2]);
    }
}
