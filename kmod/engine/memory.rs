// SPDX-License-Identifier: GPL-2.0

//! How much memory may be used: what the module's parameters say.

use core::borrow::Borrow;
use kernel::sync::atomic::{ordering::Relaxed, Atomic};

/// MiB: the least and the most.
const MAP: core::ops::RangeInclusive<u32> = 4..=65536;

static MAP_MIB: Atomic<u32> = Atomic::new(128);

/// Takes the parameters when the module is loaded (7.2 hands out references to them, 7.3 values); what is out of range
/// becomes the nearest that is not.
pub fn set(map_mib: impl Borrow<u32>) {
    MAP_MIB.store((*map_mib.borrow()).clamp(*MAP.start(), *MAP.end()), Relaxed);
}

/// Bytes of mappings that a pool keeps in memory.
pub fn map_bytes() -> usize {
    (MAP_MIB.load(Relaxed) as usize) << 20
}
