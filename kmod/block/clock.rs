// SPDX-License-Identifier: GPL-2.0

//! The clock of everything Stor reports: `CLOCK_BOOTTIME`.

use super::ffi;

/// Nanoseconds since boot, suspended time included.
pub fn now() -> u64 {
    ffi::stor_boottime_ns()
}

/// A time that the block layer noted, which it does on `CLOCK_MONOTONIC`.
pub(super) fn from_monotonic(time: u64) -> u64 {
    // SAFETY: Can be called anywhere.
    let age = unsafe { kernel::bindings::ktime_get() }.unsigned_abs().saturating_sub(time);
    now().saturating_sub(age)
}

/// Seconds since 1970.
pub fn date() -> u64 {
    // SAFETY: Can be called anywhere.
    unsafe { kernel::bindings::ktime_get_real_seconds() }.unsigned_abs()
}
