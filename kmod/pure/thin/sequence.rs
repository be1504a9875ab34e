// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Leaves of mappings made from mappings in order, between which there may be leaves that exist already and are shared.
//!
//! A shared leaf stays what it is unless a neighbour has too few entries to stand alone: then its entries are copied.

use super::block::{Block, BLOCK_SIZE};
use super::build::Refusal;
use super::bulk::{Level, Output};
use super::census::Census;
use super::data::Run;
use super::node::{Node, Value, LEAF};
use super::store::{Array, Store};
use super::value::Mapping;
use crate::pure::units::{DataBlock, MetadataBlock};
use core::mem;
use zerocopy::little_endian::U64;

/// A leaf that was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaf {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) at: MetadataBlock,
    pub(super) entries: u64,
}

impl Leaf {
    /// Whether it can be in a tree with others.
    fn is_full_enough(&self) -> bool {
        self.entries >= <U64 as Value>::MIN as u64
    }
}

/// What all sequences share.
pub(super) struct Ground<S: Store> {
    pub(super) output: Output<S>,
    pub(super) census: Census<S>,
    /// Entries that were copied from leaves that are only counted, so that nobody knows what they map.
    pub(super) guessed: u64,
}

/// Leaves in order.
pub(super) struct Sequence<S: Store> {
    level: Level<S, U64>,
    /// A leaf that is shared, between what is finished and what is not.
    shared: Option<Leaf>,
    last: Option<u64>,
    pub(super) entries: u64,
    /// Leaves that are finished, to be taken from here.
    pub(super) closed: S::Array<Leaf>,
}

impl<S: Store> Sequence<S> {
    pub(super) fn new() -> Self {
        Self { level: Level::new(), shared: None, last: None, entries: 0, closed: S::Array::default() }
    }

    /// Adds mappings in a row.
    pub(super) fn run(&mut self, ground: &mut Ground<S>, begin: u64, run: Run, time: u32) -> Result<(), Refusal> {
        let last = begin.checked_add(run.len().saturating_sub(1)).ok_or(Refusal::Length)?;
        self.after(begin)?;
        if run.is_empty() {
            return Err(Refusal::Length);
        }
        self.open_shared(ground)?;
        ground.census.add(run)?;
        for offset in 0..run.len() {
            let mapping = Mapping { block: DataBlock(run.begin + offset), time };
            self.push(ground, begin + offset, mapping.pack())?;
        }
        (self.last, self.entries) = (Some(last), self.entries + run.len());
        Ok(())
    }

    fn after(&self, key: u64) -> Result<(), Refusal> {
        match self.last {
            Some(last) if last >= key => Err(Refusal::Order { key, last }),
            _ => Ok(()),
        }
    }

    fn push(&mut self, ground: &mut Ground<S>, key: u64, value: U64) -> Result<(), Refusal> {
        if self.level.now.len() == <U64 as Value>::MAX {
            self.close(ground)?;
        }
        Ok(self.level.now.push(key, value)?)
    }

    /// Finishes what is before the leaf that is being filled, which takes its place.
    fn close(&mut self, ground: &mut Ground<S>) -> Result<(), Refusal> {
        let (first, entries) = (self.level.before.first(), self.level.before.len() as u64);
        let last = self.level.before.keys.last().map_or(0, |key| key.get());
        if let Some(leaf) = self.shared.take() {
            self.closed.push(leaf).map_err(super::error::Error::from)?;
        }
        if let Some((_, at)) = self.level.close(&mut ground.output, LEAF, false)? {
            self.closed.push(Leaf { first, last, at, entries }).map_err(super::error::Error::from)?;
        }
        Ok(())
    }

    /// A shared leaf that cannot have neighbours gets one.
    fn open_shared(&mut self, ground: &mut Ground<S>) -> Result<(), Refusal> {
        match self.shared.filter(|leaf| !leaf.is_full_enough()) {
            Some(leaf) => {
                self.shared = None;
                self.copy(ground, leaf)
            }
            None => Ok(()),
        }
    }

    /// Adds the entries of a leaf.
    fn copy(&mut self, ground: &mut Ground<S>, leaf: Leaf) -> Result<(), Refusal> {
        let mut bytes: Block = [0; BLOCK_SIZE];
        if !ground.output.read(leaf.at, &mut bytes)? {
            ground.guessed = ground.guessed.saturating_add(leaf.entries);
            for key in leaf.first..leaf.first.saturating_add(leaf.entries) {
                self.push(ground, key, U64::ZERO)?;
            }
            return Ok(());
        }
        let node = Node::<U64>::of(&bytes);
        for (key, value) in node.keys.iter().zip(node.values) {
            let block = Mapping::unpack(*value).block.0;
            ground.census.add(Run { begin: block, end: block + 1 })?;
            self.push(ground, key.get(), *value)?;
        }
        Ok(())
    }

    /// Adds a leaf that is shared.
    pub(super) fn refer(&mut self, ground: &mut Ground<S>, leaf: Leaf) -> Result<(), Refusal> {
        self.after(leaf.first)?;
        let alone = self.last.is_none();
        (self.last, self.entries) = (Some(leaf.last), self.entries + leaf.entries);
        self.open_shared(ground)?;
        if !leaf.is_full_enough() {
            if alone {
                self.shared = Some(leaf);
                return Ok(());
            }
            return self.copy(ground, leaf);
        }
        self.level.settle()?;
        if !self.level.now.is_empty() {
            if self.level.now.len() < <U64 as Value>::MIN {
                // There is nothing before it but shared leaves.
                return self.copy(ground, leaf);
            }
            self.close(ground)?;
        }
        self.close(ground)?;
        self.shared = Some(leaf);
        Ok(())
    }

    /// Finishes all leaves. It can then be used again, once they have been taken.
    pub(super) fn finish(&mut self, ground: &mut Ground<S>) -> Result<u64, Refusal> {
        let now = self.level.now.len();
        if now > 0 && now < <U64 as Value>::MIN && self.level.before.is_empty() {
            if let Some(leaf) = self.shared.take() {
                let rest = mem::replace(&mut self.level.now, super::bulk::Entries::new());
                self.copy(ground, leaf)?;
                for (key, value) in rest.keys.iter().zip(rest.values.iter()) {
                    self.push(ground, key.get(), *value)?;
                }
            }
        }
        self.level.settle()?;
        self.close(ground)?;
        self.close(ground)?;
        self.last = None;
        Ok(mem::take(&mut self.entries))
    }
}
