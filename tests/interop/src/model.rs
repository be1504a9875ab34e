// SPDX-License-Identifier: GPL-2.0

//! What the volumes hold, whoever wrote it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Bytes of a page: what is written at least.
pub(crate) const PAGE: usize = 4096;
/// Pages of a data block.
pub(crate) const PAGES: u64 = 16;
/// Blocks of a volume.
pub(crate) const BLOCKS: u64 = 1024;

/// A volume: which blocks are mapped, and the stamps of the pages that do not hold zeros.
#[derive(Clone, Default)]
pub(crate) struct Volume {
    pub(crate) mapped: BTreeSet<u64>,
    pages: BTreeMap<u64, u64>,
}

impl Volume {
    pub(crate) fn write(&mut self, pages: Range<u64>, stamp: u64) {
        for page in pages {
            self.mapped.insert(page / PAGES);
            self.pages.insert(page, stamp);
        }
    }

    pub(crate) fn discard(&mut self, blocks: Range<u64>) {
        self.mapped.retain(|block| !blocks.contains(block));
        self.pages.retain(|page, _| !blocks.contains(&(page / PAGES)));
    }

    /// Whether `bytes` is what the pages from `first` on hold.
    pub(crate) fn compare(&self, first: u64, bytes: &[u8]) -> Result<(), String> {
        for (page, found) in (first..).zip(bytes.chunks_exact(PAGE)) {
            let stamp = self.pages.get(&page).copied().unwrap_or(0);
            if found != stamped(1, stamp) {
                let found: Vec<_> = found.iter().take(8).collect();
                return Err(format!("page {page} begins with {found:x?}, should hold {stamp:x} throughout"));
            }
        }
        Ok(())
    }
}

/// Pages with this stamp.
pub(crate) fn stamped(pages: u64, stamp: u64) -> Vec<u8> {
    stamp.to_le_bytes().repeat(PAGE / 8 * pages as usize)
}

/// The pool.
#[derive(Clone, Default)]
pub(crate) struct Model {
    pub(crate) volumes: BTreeMap<u64, Volume>,
    pub(crate) transaction_id: u64,
    pub(crate) held: bool,
}
