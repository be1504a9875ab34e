// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How often each data block is mapped, counted while metadata is built.
//!
//! One page for each bitmap that there will be, made when the first of its blocks is mapped: a byte for each block, four
//! once one of them is mapped 255 times.

use super::block::{Block, Header};
use super::data::Run;
use super::error::Error;
use super::space::{self, BITMAP_ENTRIES, OVERFLOW};
use super::store::{Array, Memory};
use core::mem::size_of;

/// The counts of the blocks of one bitmap.
struct Page<S: Memory> {
    small: S::Array<u8>,
    /// Instead, if there are any.
    large: S::Array<u32>,
}

/// The counts of all data blocks.
pub struct Census<S: Memory> {
    /// As many as were needed yet.
    pages: S::Array<Page<S>>,
}

impl<S: Memory> Page<S> {
    const fn length() -> usize {
        BITMAP_ENTRIES as usize
    }

    /// One more for some blocks in a row.
    fn add(&mut self, begin: usize, end: usize) -> Result<(), Error> {
        if self.large.is_empty() {
            if self.small.is_empty() {
                self.small = S::array(0, Self::length())?;
            }
            let counts = self.small.get_mut(begin..end).unwrap_or_default();
            if counts.iter().all(|&count| count < u8::MAX) {
                counts.iter_mut().for_each(|count| *count = count.saturating_add(1));
                return Ok(());
            }
            self.large = S::array(0, Self::length())?;
            for (large, small) in self.large.iter_mut().zip(self.small.iter()) {
                *large = u32::from(*small);
            }
            self.small = S::Array::default();
        }
        for count in self.large.get_mut(begin..end).unwrap_or_default() {
            *count = count.saturating_add(1);
        }
        Ok(())
    }

    fn get(&self, entry: usize) -> u32 {
        let small = self.small.get(entry).copied().map(u32::from);
        small.or_else(|| self.large.get(entry).copied()).unwrap_or(0)
    }
}

impl<S: Memory> Default for Census<S> {
    /// Nothing is mapped.
    fn default() -> Self {
        Self { pages: S::Array::default() }
    }
}

impl<S: Memory> Census<S> {
    /// One more for each block of a run.
    ///
    /// # Errors
    ///
    /// There was no memory.
    pub fn add(&mut self, run: Run) -> Result<(), Error> {
        let mut begin = run.begin;
        while begin < run.end {
            let (number, entry) = space::place(begin);
            while self.pages.len() as u64 <= number {
                self.pages.push(Page { small: S::Array::default(), large: S::Array::default() })?;
            }
            let length = (run.end - begin).min(BITMAP_ENTRIES - u64::from(entry));
            if let Some(page) = self.pages.get_mut(number as usize) {
                page.add(entry as usize, entry as usize + length as usize)?;
            }
            begin += length;
        }
        Ok(())
    }

    /// One less for a block.
    pub fn remove(&mut self, block: u64) {
        let (number, entry) = space::place(block);
        let Some(page) = self.pages.get_mut(number as usize) else { return };
        if let Some(count) = page.small.get_mut(entry as usize) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = page.large.get_mut(entry as usize) {
            *count = count.saturating_sub(1);
        }
    }

    /// How often a block is mapped.
    pub fn count(&self, block: u64) -> u32 {
        let (number, entry) = space::place(block);
        self.pages.get(number as usize).map_or(0, |page| page.get(entry as usize))
    }

    /// Tells the counts that do not fit a bitmap, of the blocks of one, in order.
    ///
    /// # Errors
    ///
    /// Those of `tell`.
    pub fn large(&self, bitmap: u64, tell: &mut dyn FnMut(u64, u32) -> Result<(), Error>) -> Result<(), Error> {
        let Some(page) = self.pages.get(bitmap as usize) else { return Ok(()) };
        for entry in 0..page.small.len().max(page.large.len()) {
            let count = page.get(entry);
            if count >= OVERFLOW {
                tell(bitmap * BITMAP_ENTRIES + entry as u64, count)?;
            }
        }
        Ok(())
    }

    /// Fills a bitmap that is all zeros.
    pub fn fill(&self, bitmap: u64, block: &mut Block) -> Filled {
        match self.pages.get(bitmap as usize) {
            Some(page) if page.large.is_empty() => fill(block, page.small.iter().map(|&count| u32::from(count))),
            Some(page) => fill(block, page.large.iter().copied()),
            None => fill(block, core::iter::empty()),
        }
    }
}

/// What an index entry says of a bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filled {
    /// Counts that are 0.
    pub free: u32,
    /// The first of them.
    pub first_free: u32,
}

/// Puts counts into a bitmap that is all zeros. What is behind them is free.
pub fn fill(block: &mut Block, mut counts: impl Iterator<Item = u32>) -> Filled {
    let (mut used, mut first_free, mut entry) = (0, None, 0);
    for byte in block.iter_mut().skip(size_of::<Header>()) {
        let before = entry;
        for (shift, count) in [0, 2, 4, 6].into_iter().zip(&mut counts) {
            let count = count.min(OVERFLOW);
            *byte |= ((((count & 1) << 1) | (count >> 1)) << shift) as u8;
            used += u32::from(count != 0);
            if count == 0 && first_free.is_none() {
                first_free = Some(entry);
            }
            entry += 1;
        }
        if entry == before {
            break;
        }
    }
    Filled { free: BITMAP_ENTRIES as u32 - used, first_free: first_free.unwrap_or(entry) }
}
