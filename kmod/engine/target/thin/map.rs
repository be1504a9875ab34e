// SPDX-License-Identifier: GPL-2.0

//! What is known of the mappings, in memory: what the I/O path looks at, without a lock.
//!
//! A volume's [`Map`] leads in three steps to the number of a [`Leaf`], which has 512 entries, each one word. All leaves of a pool
//! are in its [`Leaves`], of which there is a limited number: when they run out, the worker takes one that was not looked
//! at lately from its volume, waits for the volume's I/O, and uses it again. Steps are never taken back; they are 4 KiB for each
//! 32 GiB (with blocks of 64 KiB) that were ever looked at.
//!
//! Entries are changed under the pool's state lock, but for holes and blocks that are shared, which a writer may make young without it. A
//! reader that has [entered](super::super::epoch) may use what it saw until it leaves.

use crate::pure::thin::value::{Mapping, LAST_DATA_BLOCK};
use crate::pure::units::DataBlock;
use kernel::prelude::*;
use kernel::sync::atomic::{ordering::Acquire, ordering::Full, ordering::Relaxed, ordering::Release, Atomic};
use kernel::sync::SetOnce;

/// Entries of a leaf.
pub(super) const LEAF: u64 = 512;
const STEP: u64 = 1024;
const TOP: u64 = 256;
/// Blocks that a volume can have.
pub(super) const BLOCKS_MAX: u64 = TOP * STEP * STEP * LEAF;
/// Leaves that are made at once.
const CHUNK: usize = 16;

/// Far enough below 0 for all who try to make a block young at the same time.
const CLOSED: i32 = i32::MIN / 2;

/// What is known of a block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// Nothing: the metadata has to be asked.
    Unknown,
    /// It is mapped nowhere.
    Hole,
    /// It is one of the [young](super::young).
    Young(u32),
    /// Where it is, and since when.
    Mapped(Mapping),
}

/// The last data block that a pool may have, so that no mapping is taken for something else.
pub(super) const LAST_BLOCK: u64 = LAST_DATA_BLOCK - 2;
const UNKNOWN: u64 = u64::MAX;
const HOLE: u64 = u64::MAX - 1;
const YOUNG: u64 = (LAST_DATA_BLOCK - 1) << 24;

impl Entry {
    #[inline]
    fn of(word: u64) -> Self {
        match word {
            UNKNOWN => Self::Unknown,
            HOLE => Self::Hole,
            word if word >= YOUNG => Self::Young((word & 0xff_ffff) as u32),
            word => Self::Mapped(Mapping { block: DataBlock(word >> 24), time: (word & 0xff_ffff) as u32 }),
        }
    }

    fn word(self) -> u64 {
        match self {
            Self::Unknown => UNKNOWN,
            Self::Hole => HOLE,
            Self::Young(id) => YOUNG | u64::from(id),
            Self::Mapped(mapping) => mapping.block.0 << 24 | u64::from(mapping.time),
        }
    }
}

/// 512 entries.
pub(super) struct Leaf {
    entries: KVec<Atomic<u64>>,
    /// The volume, and which of its leaves this is; of one that is in use.
    owner: Atomic<u32>,
    number: Atomic<u64>,
    /// Looked at since the hand came by.
    used: Atomic<i32>,
    /// Entries that are young; such a leaf stays. Below 0 if none may become young.
    young: Atomic<i32>,
}

impl Leaf {
    /// Memory of one.
    pub(super) const BYTES: usize = size_of::<Self>() + LEAF as usize * 8;

    fn new() -> Result<Self> {
        let mut entries = KVec::with_capacity(LEAF as usize, GFP_KERNEL)?;
        for _ in 0..LEAF {
            entries.push(Atomic::new(UNKNOWN), GFP_KERNEL)?;
        }
        Ok(Self {
            entries,
            owner: Atomic::new(u32::MAX),
            number: Atomic::new(0),
            used: Atomic::new(0),
            young: Atomic::new(0),
        })
    }

    /// The entry of a block.
    #[inline]
    pub(super) fn get(&self, block: u64) -> Entry {
        self.entries.get((block % LEAF) as usize).map_or(Entry::Unknown, |word| Entry::of(word.load(Acquire)))
    }

    /// Notes that it is of use.
    #[inline]
    pub(super) fn touch(&self) {
        if self.used.load(Relaxed) == 0 {
            self.used.store(1, Relaxed);
        }
    }

    /// Makes a block young that is a hole, or shared; whether it was still what was seen. Without the state lock, by a reader that has
    /// entered, or by the worker.
    pub(super) fn claim(&self, block: u64, seen: Entry, id: u32) -> bool {
        let Some(word) = self.entries.get((block % LEAF) as usize) else { return false };
        let claimed =
            self.young.fetch_add(1, Full) >= 0 && word.cmpxchg(seen.word(), Entry::Young(id).word(), Full).is_ok();
        if !claimed {
            self.young.fetch_sub(1, Full);
        }
        claimed
    }

    /// Lets nothing become young any more, if nothing is; whether that is so. Until it is [put](Stock::put) back.
    pub(super) fn close(&self) -> bool {
        self.young.cmpxchg(0, CLOSED, Full).is_ok()
    }

    /// What is mapped is a hole from now on. What is not mapped stays; whether it is young.
    pub(super) fn clear(&self, block: u64) -> bool {
        let Some(word) = self.entries.get((block % LEAF) as usize) else { return false };
        let mut seen = word.load(Relaxed);
        loop {
            match Entry::of(seen) {
                Entry::Mapped(_) => {}
                other => return matches!(other, Entry::Young(_)),
            }
            // A writer may just make it young.
            match word.cmpxchg(seen, HOLE, Full) {
                Ok(_) => return false,
                Err(now) => seen = now,
            }
        }
    }

    /// What is a hole may be mapped: the metadata has to be asked again.
    pub(super) fn doubt(&self, block: u64) {
        if let Some(word) = self.entries.get((block % LEAF) as usize) {
            let _ = word.cmpxchg(HOLE, UNKNOWN, Full);
        }
    }

    /// Changes the entry of a block that is young or unknown. Under the state lock.
    pub(super) fn set(&self, block: u64, entry: Entry) {
        let Some(word) = self.entries.get((block % LEAF) as usize) else { return };
        let young = |word: u64| i32::from(matches!(Entry::of(word), Entry::Young(_)));
        let old = word.load(Relaxed);
        self.young.fetch_add(young(entry.word()).wrapping_sub(young(old)), Relaxed);
        word.store(entry.word(), Release);
    }
}

/// All leaves of a pool.
pub(super) struct Leaves {
    chunks: KVVec<SetOnce<KVec<Leaf>>>,
}

/// Which leaves are in use; under the state lock.
pub(super) struct Stock {
    made: usize,
    free: KVVec<u32>,
    hand: usize,
}

impl Leaves {
    /// Room for so many.
    pub(super) fn new(most: usize) -> Result<Self> {
        let count = most.div_ceil(CHUNK).max(1);
        let mut chunks = KVVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            chunks.push(SetOnce::new(), GFP_KERNEL)?;
        }
        Ok(Self { chunks })
    }

    /// With some that are made already, so that want of memory cannot leave a pool without any.
    pub(super) fn stock(&self) -> Result<Stock> {
        let free = KVVec::with_capacity(self.chunks.len().saturating_mul(CHUNK), GFP_KERNEL)?;
        let mut stock = Stock { made: 0, free, hand: 0 };
        stock.make(self)?;
        Ok(stock)
    }

    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&Leaf> {
        let index = index as usize;
        self.chunks.get(index / CHUNK)?.as_ref()?.get(index % CHUNK)
    }

    /// Bytes of memory of so many.
    pub(super) fn memory(stock: &Stock) -> usize {
        stock.made.saturating_mul(Leaf::BYTES)
    }
}

impl Stock {
    /// Makes more of them. ENOSPC if there are as many as there may be.
    fn make(&mut self, leaves: &Leaves) -> Result {
        let chunk = leaves.chunks.get(self.made / CHUNK).ok_or(ENOSPC)?;
        let mut new = KVec::with_capacity(CHUNK, GFP_KERNEL)?;
        for _ in 0..CHUNK {
            new.push(Leaf::new()?, GFP_KERNEL)?;
        }
        chunk.populate(new);
        for index in self.made..self.made.wrapping_add(CHUNK) {
            // There is room for all that there can be.
            let _ = self.free.push(index as u32, GFP_KERNEL);
        }
        self.made = self.made.wrapping_add(CHUNK);
        Ok(())
    }

    /// A leaf that is in no map: `Err` names the one that has to be [given up](Self::put) by its volume first.
    pub(super) fn take(&mut self, leaves: &Leaves) -> Result<u32, Victim> {
        if let Some(index) = self.free.pop() {
            return Ok(index);
        }
        if self.make(leaves).is_ok() {
            return self.free.pop().ok_or(Victim::None);
        }
        for _ in 0..self.made.saturating_mul(2) {
            self.hand = if self.hand.wrapping_add(1) >= self.made { 0 } else { self.hand.wrapping_add(1) };
            let Some(leaf) = leaves.get(self.hand as u32) else { continue };
            let owner = leaf.owner.load(Relaxed);
            if owner == u32::MAX || leaf.young.load(Relaxed) != 0 {
                continue;
            }
            if leaf.used.load(Relaxed) != 0 {
                leaf.used.store(0, Relaxed);
                continue;
            }
            return Err(Victim::Leaf { owner, number: leaf.number.load(Relaxed) });
        }
        Err(Victim::None)
    }

    /// A leaf that no reader can see any more is empty again.
    pub(super) fn put(&mut self, leaves: &Leaves, index: u32) {
        let Some(leaf) = leaves.get(index) else { return };
        for word in leaf.entries.iter() {
            word.store(UNKNOWN, Relaxed);
        }
        leaf.young.store(0, Relaxed);
        leaf.used.store(0, Relaxed);
        leaf.owner.store(u32::MAX, Relaxed);
        let _ = self.free.push(index, GFP_KERNEL);
    }
}

/// What has to go before there is a leaf.
pub(super) enum Victim {
    /// This leaf of this volume.
    Leaf { owner: u32, number: u64 },
    /// There is none that could.
    None,
}

type Steps = KVec<SetOnce<KVec<Atomic<u32>>>>;

/// Where the leaves of one volume are.
pub(super) struct Map {
    top: KVec<SetOnce<Steps>>,
}

impl Map {
    pub(super) fn new() -> Result<Self> {
        let mut top = KVec::with_capacity(TOP as usize, GFP_KERNEL)?;
        for _ in 0..TOP {
            top.push(SetOnce::new(), GFP_KERNEL)?;
        }
        Ok(Self { top })
    }

    fn place(&self, number: u64) -> Option<&Atomic<u32>> {
        let steps = self.top.get((number / (STEP * STEP)) as usize)?.as_ref()?;
        steps.get((number / STEP % STEP) as usize)?.as_ref()?.get((number % STEP) as usize)
    }

    /// The leaf that has a block, if it is known.
    #[inline]
    pub(super) fn leaf<'a>(&self, leaves: &'a Leaves, block: u64) -> Option<&'a Leaf> {
        leaves.get(self.place(block / LEAF)?.load(Acquire).checked_sub(1)?)
    }

    /// Makes a leaf be the one that has these blocks.
    pub(super) fn enter(&self, leaves: &Leaves, owner: u32, number: u64, index: u32) -> Result {
        let steps = self.top.get((number / (STEP * STEP)) as usize).ok_or(EINVAL)?;
        if steps.as_ref().is_none() {
            let mut new = KVec::with_capacity(STEP as usize, GFP_KERNEL)?;
            for _ in 0..STEP {
                new.push(SetOnce::new(), GFP_KERNEL)?;
            }
            steps.populate(new);
        }
        let step = steps.as_ref().and_then(|steps| steps.get((number / STEP % STEP) as usize)).ok_or(EINVAL)?;
        if step.as_ref().is_none() {
            let mut new = KVec::with_capacity(STEP as usize, GFP_KERNEL)?;
            for _ in 0..STEP {
                new.push(Atomic::new(0), GFP_KERNEL)?;
            }
            step.populate(new);
        }
        let leaf = leaves.get(index).ok_or(EINVAL)?;
        leaf.owner.store(owner, Relaxed);
        leaf.number.store(number, Relaxed);
        leaf.used.store(1, Relaxed);
        self.place(number).ok_or(EINVAL)?.store(index.wrapping_add(1), Release);
        Ok(())
    }

    /// Takes a leaf out; readers that entered before may still see it.
    pub(super) fn leave(&self, number: u64) -> Option<u32> {
        let place = self.place(number)?;
        let index = place.load(Relaxed).checked_sub(1)?;
        place.store(0, Release);
        Some(index)
    }

    /// Takes all leaves out, and tells which they were.
    pub(super) fn clear(&self, mut tell: impl FnMut(u32)) {
        for steps in self.top.iter().filter_map(SetOnce::as_ref) {
            for step in steps.iter().filter_map(SetOnce::as_ref) {
                for place in step.iter() {
                    if let Some(index) = place.xchg(0, Release).checked_sub(1) {
                        tell(index);
                    }
                }
            }
        }
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        let mut bytes = self.top.len().saturating_mul(size_of::<SetOnce<Steps>>());
        for steps in self.top.iter().filter_map(SetOnce::as_ref) {
            bytes = bytes.saturating_add(steps.len().saturating_mul(size_of::<SetOnce<KVec<Atomic<u32>>>>()));
            bytes = bytes.saturating_add(steps.iter().filter_map(SetOnce::as_ref).count().saturating_mul(4096));
        }
        bytes
    }
}
