// SPDX-License-Identifier: GPL-2.0

//! Processors.

use super::ffi;

/// The processor that this runs on, or ran on a moment ago.
#[inline]
pub fn this() -> u32 {
    ffi::stor_this_cpu()
}

/// How many numbers of processors there can be.
pub fn count() -> u32 {
    ffi::stor_cpu_ids()
}

/// Lets others run, if they wait for this processor.
pub fn give_way() {
    ffi::stor_cond_resched();
}
