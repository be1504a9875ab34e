// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How far a command has come, to be looked at by another thread.

use crate::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// Counts what has been read, of metadata or of XML. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    read: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// How much has been read.
    pub fn read(&self) -> Bytes {
        Bytes(self.0.read.load(Ordering::Relaxed))
    }

    /// How much will have been read in the end, about; `None` if that is not known.
    pub fn total(&self) -> Option<Bytes> {
        Some(Bytes(self.0.total.load(Ordering::Relaxed))).filter(|total| total.0 > 0)
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.0.read.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn expect(&self, bytes: u64) {
        self.0.total.store(bytes, Ordering::Relaxed);
    }
}
