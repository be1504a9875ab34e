// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is to be copied to legs that are not entitled: chunk by chunk, each in windows.
//!
//! A window is a write of what is there already. It takes its range as any write does, so that writes to it wait, reads the source,
//! writes to all legs that are being rebuilt, and gives the range back. So it needs no other rule, and is never overtaken.
//! How far it has come is in the bitmap: what was copied need not be copied again after a crash.

use super::chunk::Words;
use super::intent::Intent;
use crate::pure::thin::store::Memory;

/// Sectors to be copied in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first.
    pub start: u64,
    /// How many.
    pub sectors: u64,
    /// The chunk they are in.
    pub chunk: u64,
    /// With it the chunk is done.
    pub last: bool,
}

impl Window {
    /// The first of its sectors, so many or all.
    pub fn first(self, sectors: u64) -> Self {
        let sectors = sectors.min(self.sectors);
        Self { sectors, last: self.last && sectors == self.sectors, ..self }
    }
}

/// How far a rebuild has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    chunk: u64,
    /// Sectors of the chunk that are done.
    within: u64,
    restarts: u64,
}

impl Cursor {
    /// The next window of at most so many sectors; `None`: all is done.
    ///
    /// From the beginning, if there were [`restarts`](super::keeper::Keeper::restarts): another leg has come, or the source has failed a
    /// request, so that what it has is to be copied again.
    pub fn next<W: Words, M: Memory>(&mut self, intent: &Intent<W, M>, restarts: u64, most: u64) -> Option<Window> {
        if restarts != self.restarts {
            *self = Self { restarts, ..Self::default() };
        }
        let chunk = intent.next_needed(self.chunk)?;
        if chunk != self.chunk {
            (self.chunk, self.within) = (chunk, 0);
        }
        let (begin, end) = intent.geometry().sectors_of(chunk);
        let start = begin.saturating_add(self.within).min(end);
        let sectors = most.max(1).min(end - start);
        Some(Window { start, sectors, chunk, last: start + sectors == end })
    }

    /// The sector where it is.
    pub fn position<W: Words, M: Memory>(&self, intent: &Intent<W, M>) -> u64 {
        intent.geometry().sectors_of(self.chunk).0.saturating_add(self.within)
    }

    /// A window is on all legs that are being rebuilt. Whether its chunk is needed no longer, `complete` says: no leg is missing.
    /// It counts for nothing if there was a restart meanwhile.
    pub fn done<W: Words, M: Memory>(&mut self, intent: &Intent<W, M>, restarts: u64, window: Window, complete: bool) {
        if self.chunk != window.chunk || restarts != self.restarts {
            return;
        }
        if !window.last {
            self.within = self.within.saturating_add(window.sectors);
            return;
        }
        if complete {
            intent.copied(window.chunk);
        }
        (self.chunk, self.within) = (window.chunk.saturating_add(1), 0);
    }
}
