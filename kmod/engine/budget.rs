// SPDX-License-Identifier: GPL-2.0

//! What all rebuilds that this engine does may take together: the module's parameter `resync_budget`.

use crate::pure::replica::pace::book;
use core::borrow::Borrow;
use kernel::sync::atomic::{ordering::Full, ordering::Relaxed, Atomic};

/// Bytes a second; 0: as much as there is.
static RATE: Atomic<u64> = Atomic::new(0);
/// Up to when it is booked.
static BOOKED: Atomic<u64> = Atomic::new(0);

/// Takes the parameter when the module is loaded, in MiB a second.
pub fn set(mib: impl Borrow<u32>) {
    RATE.store(u64::from(*mib.borrow()) << 20, Relaxed);
}

/// When so many bytes more may be copied.
pub fn when(now: u64, bytes: u64) -> u64 {
    let rate = RATE.load(Relaxed);
    if rate == 0 {
        return now;
    }
    let mut old = BOOKED.load(Relaxed);
    loop {
        let (start, until) = book(old, now, bytes, rate);
        match BOOKED.cmpxchg(old, until, Full) {
            Ok(_) => return start,
            Err(other) => old = other,
        }
    }
}
