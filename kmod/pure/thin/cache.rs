// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Metadata blocks in memory: verified when they are read, stamped when they are written.
//!
//! The cache has a fixed number of frames. A dirty block may be written at any time, because no block of the last
//! committed transaction is ever changed; only the superblock is written when its owner says so, and is not in here.

use super::block::{self, Block, Kind};
use super::error::{Damage, Error};
use super::store::{Array, Store};
use crate::pure::units::MetadataBlock;

/// The fewest frames that the engine can work with.
pub const FRAMES_MIN: usize = 64;

/// A frame stays what it is for so many other frames that are asked for.
const GRACE: u32 = 48;

/// A block in memory. Good until [`GRACE`] others have been asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame(u32);

#[derive(Clone, Copy)]
struct Slot {
    at: MetadataBlock,
    kind: Kind,
    /// It holds a block.
    used: bool,
    dirty: bool,
    /// Asked for since the hand came by.
    referenced: bool,
    /// Among the frames that were soiled, though it may be clean again, or free.
    listed: bool,
    /// When it was asked for last.
    tick: u32,
}

const FREE: Slot = Slot {
    at: MetadataBlock(0),
    kind: Kind::Node,
    used: false,
    dirty: false,
    referenced: false,
    listed: false,
    tick: 0,
};

impl Slot {
    fn free(&mut self) {
        *self = Self { listed: self.listed, ..FREE };
    }
}

/// Metadata blocks in memory.
pub struct Cache<S: Store> {
    store: S,
    frames: S::Array<S::Frame>,
    slots: S::Array<Slot>,
    /// The frames that were soiled since the last write, each once; as long as there are frames.
    soiled: S::Array<u32>,
    /// How many they are.
    soiled_count: usize,
    /// By the hash of a block's number: its frame and 1, or 0. Twice as long as there are frames, or longer.
    table: S::Array<u32>,
    /// How far a hash is shifted to be an index.
    shift: u32,
    hand: usize,
    tick: u32,
}

impl<S: Store> Cache<S> {
    /// A cache of so many frames over a store.
    ///
    /// # Errors
    ///
    /// There was no memory.
    pub fn new(store: S, frames: usize) -> Result<Self, Error> {
        let count = frames.max(FRAMES_MIN);
        let mut frames = S::Array::<S::Frame>::default();
        for _ in 0..count {
            frames.push(S::frame()?)?;
        }
        let length = (2 * count).next_power_of_two();
        let (slots, soiled, table) = (S::array(FREE, count)?, S::array(0, count)?, S::array(0, length)?);
        let shift = 64 - length.trailing_zeros();
        Ok(Self { store, frames, slots, soiled, soiled_count: 0, table, shift, hand: 0, tick: 0 })
    }

    /// What is below.
    pub fn store(&mut self) -> &mut S {
        &mut self.store
    }

    /// What is below; what was not written is lost.
    pub fn close(self) -> S {
        self.store
    }

    /// The contents of a frame.
    pub fn block(&self, frame: Frame) -> &Block {
        static NONE: Block = [0; block::BLOCK_SIZE];
        self.frames.get(frame.0 as usize).map_or(&NONE, |frame| frame)
    }

    /// The contents of a frame, to be changed.
    pub fn block_mut(&mut self, frame: Frame) -> Option<&mut Block> {
        self.soil(frame);
        self.frames.get_mut(frame.0 as usize).map(|frame| &mut **frame)
    }

    /// The contents of two frames, to be changed; they must differ.
    pub fn two_mut(&mut self, one: Frame, other: Frame) -> Option<(&mut Block, &mut Block)> {
        self.soil(one);
        self.soil(other);
        let (low, high) = (one.0.min(other.0) as usize, one.0.max(other.0) as usize);
        let (front, back) = (high < self.frames.len()).then(|| self.frames.split_at_mut(high))?;
        let (low, high) = (front.get_mut(low)?, back.first_mut()?);
        Some(if one.0 < other.0 { (low, high) } else { (high, low) })
    }

    fn soil(&mut self, frame: Frame) {
        if let Some(slot) = self.slots.get_mut(frame.0 as usize) {
            slot.dirty = true;
            if !slot.listed {
                slot.listed = true;
                if let Some(place) = self.soiled.get_mut(self.soiled_count) {
                    *place = frame.0;
                    self.soiled_count += 1;
                }
            }
        }
    }

    /// A block, which `check` must accept when it is read in.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is not what it should be.
    #[inline]
    pub fn read(
        &mut self,
        at: MetadataBlock,
        kind: Kind,
        check: fn(&Block) -> Result<(), Damage>,
    ) -> Result<Frame, Error> {
        let tick = self.tick.wrapping_add(1);
        match self.slot(at) {
            Some((frame, slot)) if slot.kind == kind => {
                (slot.referenced, slot.tick) = (true, tick);
                self.tick = tick;
                Ok(frame)
            }
            Some(_) => Err(Error::Damaged(at, Damage::Kind(kind))),
            None => self.read_in(at, kind, check),
        }
    }

    #[cold]
    fn read_in(
        &mut self,
        at: MetadataBlock,
        kind: Kind,
        check: fn(&Block) -> Result<(), Damage>,
    ) -> Result<Frame, Error> {
        if at.0 >= self.store.metadata_blocks() {
            return Err(Error::Damaged(at, Damage::Child(at)));
        }
        let frame = self.room()?;
        let Some(block) = self.frames.get_mut(frame.0 as usize) else { return Err(Error::Memory) };
        self.store.read(at, block).map_err(|_| Error::Read(at))?;
        block::verify::<S>(block, kind, at).map_err(|what| Error::Damaged(at, Damage::Frame(kind, what)))?;
        check(block).map_err(|damage| Error::Damaged(at, damage))?;
        self.enter(frame, at, kind, false);
        Ok(frame)
    }

    /// A block that is not read, because it is new: all zeros.
    ///
    /// # Errors
    ///
    /// Others had to be written to make room, and could not.
    pub fn create(&mut self, at: MetadataBlock, kind: Kind) -> Result<Frame, Error> {
        self.forget(at);
        let frame = self.room()?;
        if let Some(block) = self.frames.get_mut(frame.0 as usize) {
            block.fill(0);
        }
        self.enter(frame, at, kind, true);
        Ok(frame)
    }

    /// A new block with the contents of another.
    ///
    /// # Errors
    ///
    /// Others had to be written to make room, and could not.
    pub fn duplicate(&mut self, original: Frame, at: MetadataBlock) -> Result<Frame, Error> {
        let kind = self.slots.get(original.0 as usize).map_or(Kind::Node, |slot| slot.kind);
        self.forget(at);
        let frame = self.room()?;
        self.enter(frame, at, kind, true);
        if let Some((from, to)) = self.two_clean(original, frame) {
            to.copy_from_slice(from);
        }
        Ok(frame)
    }

    fn two_clean(&mut self, from: Frame, to: Frame) -> Option<(&Block, &mut Block)> {
        let (from, to) = (from.0 as usize, to.0 as usize);
        if from < to {
            let (front, back) = (to < self.frames.len()).then(|| self.frames.split_at_mut(to))?;
            Some((front.get(from)?, back.first_mut()?))
        } else {
            let (front, back) = (from < self.frames.len()).then(|| self.frames.split_at_mut(from))?;
            Some((back.first()?, front.get_mut(to)?))
        }
    }

    /// Drops a block, without writing it: nothing refers to it any more, or it is to be read again.
    pub fn forget(&mut self, at: MetadataBlock) {
        let Some(frame) = self.leave(at) else { return };
        if let Some(slot) = self.slots.get_mut(frame.0 as usize) {
            slot.free();
        }
    }

    /// Whether a block is in memory.
    pub fn has(&self, at: MetadataBlock) -> bool {
        self.position(at).is_some()
    }

    /// Drops every block, without writing any.
    pub fn clear(&mut self) {
        self.slots.fill(FREE);
        self.table.fill(0);
        self.soiled_count = 0;
    }

    /// Writes what is dirty.
    ///
    /// # Errors
    ///
    /// One of them could not be written.
    pub fn write(&mut self) -> Result<(), Error> {
        let Self { store, frames, slots, soiled, soiled_count, .. } = self;
        let soiled = soiled.get(..*soiled_count).unwrap_or_default();
        let dirty = |index: u32| slots.get(index as usize).filter(|slot| slot.dirty);
        for &index in soiled {
            if let (Some(slot), Some(frame)) = (dirty(index), frames.get_mut(index as usize)) {
                block::stamp::<S>(frame, slot.kind, slot.at);
            }
        }
        let mut blocks = soiled.iter().filter_map(|&index| Some((dirty(index)?.at, &**frames.get(index as usize)?)));
        store.write(&mut blocks).map_err(|_| Error::Write)?;
        for &index in soiled {
            if let Some(slot) = slots.get_mut(index as usize) {
                (slot.dirty, slot.listed) = (false, false);
            }
        }
        *soiled_count = 0;
        Ok(())
    }

    /// A frame to be filled, which holds nothing.
    fn room(&mut self) -> Result<Frame, Error> {
        let count = self.slots.len();
        // One round for those not asked for lately, one for the others, and after the dirty ones are written another.
        for round in 0..4 * count {
            if round == 2 * count {
                self.write()?;
            }
            let index = self.hand;
            self.hand = if index + 1 == count { 0 } else { index + 1 };
            let Some(slot) = self.slots.get_mut(index) else { continue };
            if slot.used {
                if slot.dirty || self.tick.wrapping_sub(slot.tick) < GRACE {
                    continue;
                }
                if slot.referenced {
                    slot.referenced = false;
                    continue;
                }
                let at = slot.at;
                self.leave(at);
                if let Some(slot) = self.slots.get_mut(index) {
                    slot.free();
                }
            }
            return Ok(Frame(index as u32));
        }
        Err(Error::Memory)
    }

    fn enter(&mut self, frame: Frame, at: MetadataBlock, kind: Kind, dirty: bool) {
        self.tick = self.tick.wrapping_add(1);
        if let Some(slot) = self.slots.get_mut(frame.0 as usize) {
            *slot = Slot { at, kind, used: true, dirty: false, referenced: true, listed: slot.listed, tick: self.tick };
        }
        if dirty {
            self.soil(frame);
        }
        let mut index = self.home(at);
        while let Some(entry) = self.table.get_mut(index) {
            if *entry == 0 {
                *entry = frame.0 + 1;
                return;
            }
            index = self.next(index);
        }
    }

    /// Takes a block out of the table, and moves up those that stand behind it only because of it; the frame that it was in.
    fn leave(&mut self, at: MetadataBlock) -> Option<Frame> {
        let (mut gap, frame) = self.position(at)?;
        let mut index = gap;
        loop {
            index = self.next(index);
            let entry = self.table.get(index).copied().unwrap_or(0);
            let Some(slot) = entry.checked_sub(1).and_then(|frame| self.slots.get(frame as usize)) else { break };
            let (home, mask) = (self.home(slot.at), self.table.len() - 1);
            // Whether its home is not between the gap and where it stands.
            if index.wrapping_sub(home) & mask >= index.wrapping_sub(gap) & mask {
                if let Some(place) = self.table.get_mut(gap) {
                    *place = entry;
                }
                gap = index;
            }
        }
        if let Some(place) = self.table.get_mut(gap) {
            *place = 0;
        }
        Some(frame)
    }

    fn home(&self, at: MetadataBlock) -> usize {
        (at.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    fn next(&self, index: usize) -> usize {
        (index + 1) & (self.table.len() - 1)
    }

    /// Where a block is in the table, and the frame that it is in.
    fn position(&self, at: MetadataBlock) -> Option<(usize, Frame)> {
        let mut index = self.home(at);
        loop {
            let frame = self.table.get(index)?.checked_sub(1)?;
            if self.slots.get(frame as usize)?.at == at {
                return Some((index, Frame(frame)));
            }
            index = self.next(index);
        }
    }

    fn slot(&mut self, at: MetadataBlock) -> Option<(Frame, &mut Slot)> {
        let (_, frame) = self.position(at)?;
        Some((frame, self.slots.get_mut(frame.0 as usize)?))
    }
}
