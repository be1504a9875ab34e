// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How much of its devices a rebuild takes: as long as I/O takes longer there than it may, it waits ever longer between two windows; and
//! all rebuilds of a node share one budget. Times are nanoseconds.

/// What it waits first.
const FIRST: u64 = 2_000_000;
/// What it waits at most: so much of it goes on in any case.
pub const MOST: u64 = 200_000_000;

/// What one rebuild waits between two windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    wait: u64,
}

impl Pace {
    /// I/O has taken so long of late, and may take so long; 0: as long as it likes.
    pub fn adapt(&mut self, latency: u64, limit: u64) {
        self.wait = match (limit, self.wait) {
            (0, _) => 0,
            (limit, 0) if latency > limit => FIRST,
            (limit, wait) if latency > limit => wait.saturating_mul(2).min(MOST),
            // It gets faster more slowly than it got slower, or it would swing.
            (_, wait) => wait.saturating_sub(wait / 4).saturating_sub(FIRST / 2),
        };
    }

    /// From the beginning of a window to that of the next.
    pub fn wait(self) -> u64 {
        self.wait
    }
}

/// Books so many bytes of a budget of `rate` bytes a second, which is booked up to `until`: when they may go, and up to when it is booked then.
/// What was not used is gone.
pub fn book(until: u64, now: u64, bytes: u64, rate: u64) -> (u64, u64) {
    let start = until.max(now);
    // Bytes of a window: the product has room.
    let takes = bytes.saturating_mul(1_000_000_000).checked_div(rate).unwrap_or(0);
    (start, start.saturating_add(takes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_as_long_as_io_takes_too_long() {
        let mut pace = Pace::default();
        pace.adapt(50, 100);
        assert_eq!(pace.wait(), 0);
        let mut before = 0;
        for _ in 0..20 {
            pace.adapt(101, 100);
            assert!(pace.wait() > before || pace.wait() == MOST);
            before = pace.wait();
        }
        assert_eq!(pace.wait(), MOST);
        pace.adapt(100, 100);
        assert!(pace.wait() < MOST && pace.wait() > MOST / 2);
        for _ in 0..60 {
            pace.adapt(99, 100);
        }
        assert_eq!(pace.wait(), 0);
        // Whoever sets no limit any more does not wait.
        pace.adapt(101, 100);
        pace.adapt(101, 0);
        assert_eq!(pace.wait(), 0);
    }

    #[test]
    fn a_budget_is_one_after_the_other() {
        // A megabyte a second: each of 1,000 bytes takes a millisecond.
        let (start, until) = book(0, 5_000_000, 1000, 1_000_000);
        assert_eq!((start, until), (5_000_000, 6_000_000));
        assert_eq!(book(until, 5_000_000, 1000, 1_000_000), (6_000_000, 7_000_000));
        assert_eq!(book(until, 9_000_000, 1000, 1_000_000), (9_000_000, 10_000_000));
        // Without a budget nobody waits.
        assert_eq!(book(0, 7, 1000, 0), (7, 7));
        assert_eq!(book(0, 7, u64::MAX, 1), (7, u64::MAX));
    }
}
