// SPDX-License-Identifier: GPL-2.0

//! The clock of everything Stor reports: `CLOCK_BOOTTIME`.

use super::ffi;

/// Nanoseconds since boot, suspended time included.
pub fn now() -> u64 {
    ffi::stor_boottime_ns()
}
