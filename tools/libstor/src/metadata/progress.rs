// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How far a command has come, to be looked at by another thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// Counts metadata blocks that have been read. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    read: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Blocks that have been read.
    pub fn read(&self) -> u64 {
        self.0.read.load(Ordering::Relaxed)
    }

    /// Blocks that will be read in the end, about; `None` if that is not known.
    pub fn total(&self) -> Option<u64> {
        Some(self.0.total.load(Ordering::Relaxed)).filter(|&total| total > 0)
    }

    pub(super) fn add(&self, blocks: u64) {
        self.0.read.fetch_add(blocks, Ordering::Relaxed);
    }

    pub(super) fn expect(&self, blocks: u64) {
        self.0.total.store(blocks, Ordering::Relaxed);
    }
}
