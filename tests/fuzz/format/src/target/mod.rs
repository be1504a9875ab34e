// SPDX-License-Identifier: GPL-2.0

//! What can be damaged, and who reads it. Every input is one: what is missing at its end is zero.
//!
//! A target asserts what must hold of whatever a reader accepted, and nothing of what it refused.

mod badblock;
mod bitmap;
mod catalog;
mod device;
mod image;
mod join;
mod label;
mod leg;
mod membership;
mod node;
mod space;
mod superblock;
mod value;

use stor_pure::pure::thin::block::{Block, BLOCK_SIZE};
use stor_pure::pure::thin::crc::Crc;

/// Something that can be damaged.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// The longest input.
    pub(crate) most: usize,
    /// Whole structures to begin with.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
    pub(crate) run: fn(&[u8]),
}

/// All of them.
pub(crate) const TARGETS: &[Target] = &[
    superblock::TARGET,
    node::TARGET,
    value::TARGET,
    space::TARGET,
    label::TARGET,
    catalog::TARGET,
    leg::TARGET,
    bitmap::TARGET,
    badblock::TARGET,
    membership::TARGET,
    join::TARGET,
    image::TARGET,
];

/// The processor's instruction.
pub(crate) struct Fast;

impl Crc for Fast {
    fn crc32c(bytes: &[u8]) -> u32 {
        // The library inverts the register at the end.
        !crc32c::crc32c(bytes)
    }
}

/// Numbers out of an input; zeros behind its end.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A number of so many bytes.
    pub(crate) fn number(&mut self, bytes: usize) -> u64 {
        self.take(bytes).iter().rev().fold(0, |number, &byte| (number << 8) | u64::from(byte))
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.number(1) as u8
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (if end <= 256 { self.number(1) } else { self.number(2) }) as usize % end.max(1)
    }

    /// As much of what follows as fits.
    pub(crate) fn fill(&mut self, into: &mut [u8]) {
        let bytes = self.take(into.len());
        into.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    }

    pub(crate) fn block(&mut self) -> Block {
        let mut block = [0; BLOCK_SIZE];
        self.fill(&mut block);
        block
    }
}
