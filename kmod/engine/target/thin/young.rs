// SPDX-License-Identifier: GPL-2.0

//! Young blocks: data blocks that a volume writes to and whose mapping is not in the metadata yet.
//!
//! What such a block held before is somebody else's. Which of its sectors were written is remembered ([`Cover`]); the others are, for
//! whoever reads the volume, what lies [`Under`] it: if there was a hole, zeros or what the volume's origin has, else the block that it shares with others. Before the
//! mapping goes into the metadata (they are *settled*, see [`commit`](super::commit)) the block is sealed, its writes are waited for, and
//! what was not written is filled in on the device ([`fill`](super::fill)). So a block that is written to as a whole, in however many
//! pieces, is written once, and nothing is copied to be overwritten.
//!
//! A volume has a reserve of data blocks, from which the submitter of a write makes young blocks by itself. The worker sees to it that the
//! reserve does not run out while the pool has room, and takes it back when that is short.

use super::layout::Area;
use super::map::{Entry, Leaf};
use crate::abi::engine::Piece;
use crate::block::wait::Wait;
use crate::pure::thin::cover::{Cover, Part};
use crate::pure::thin::data::Run;
use kernel::new_spinlock;
use kernel::prelude::*;
use kernel::sync::atomic::{ordering::Acquire, ordering::Full, ordering::Relaxed, Atomic};
use kernel::sync::SpinLock;

/// A volume's blocks are all in the shard of its number.
const SHARDS: u32 = 8;
const PER_SHARD: u32 = 1024;
/// Young blocks that are sealed at the same time: what is written to them meanwhile waits.
pub(super) const BATCH: usize = 32;

/// Whether two volumes have their young blocks in the same place.
pub(super) fn same_shard(one: u32, other: u32) -> bool {
    one % SHARDS == other % SHARDS
}

/// The token of a write to young blocks.
pub(super) const TOKEN: u32 = 1 << 31;

/// What is where a young block was not written to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Under {
    /// Zeros, or what the volume's origin has: it was a hole.
    Nothing,
    /// What this block of the pool has, which others have, too.
    Data(u64),
}

impl Under {
    /// What is under a block with this entry, which a volume that has so last become an origin wants to write to; if it has to become young for
    /// that.
    #[inline]
    pub(super) fn of(entry: Entry, snapped: u32) -> Option<Self> {
        match entry {
            Entry::Hole => Some(Self::Nothing),
            Entry::Mapped(mapping) if mapping.time < snapped => Some(Self::Data(mapping.block.0)),
            _ => None,
        }
    }
}

/// A young block.
#[derive(Clone, Copy)]
pub(super) struct Young {
    pub(super) id: u32,
    /// The volume's number.
    owner: u32,
    /// Of the volume.
    pub(super) block: u64,
    /// Of the pool.
    pub(super) data: u64,
    pub(super) under: Under,
    pub(super) cover: Cover,
    /// Nothing is to be written to it any more.
    sealed: bool,
    /// The volume's next, and 1.
    next: u32,
}

const FREE: Young = Young {
    id: 0,
    owner: u32::MAX,
    block: 0,
    data: 0,
    under: Under::Nothing,
    cover: Cover::NONE,
    sealed: false,
    next: 0,
};

struct Shard {
    slots: KVec<Young>,
    free: KVec<u32>,
}

/// Writes to a young block.
struct Flight {
    /// Under way.
    writers: Atomic<i32>,
    /// A range that could not be written, its begin in the upper half and its end in the lower.
    failed: Atomic<u64>,
    /// More than one could not.
    lost: Atomic<i32>,
}

/// What a volume has of young blocks: changed under its shard's lock only.
pub(super) struct Fresh {
    /// The number of the first and 1, or 0.
    list: Atomic<u32>,
    /// The same of those that were taken from the list to be settled. They can still be written to.
    settling: Atomic<u32>,
    /// How many there are, sealed ones included.
    count: Atomic<u64>,
    /// Its reserve: data blocks in a row that are taken and not used.
    begin: Atomic<u64>,
    end: Atomic<u64>,
}

impl Fresh {
    pub(super) const fn new() -> Self {
        Self {
            list: Atomic::new(0),
            settling: Atomic::new(0),
            count: Atomic::new(0),
            begin: Atomic::new(0),
            end: Atomic::new(0),
        }
    }

    /// Whether there are none.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.list.load(Acquire) == 0
    }

    /// Whether some were taken from the list and not sealed.
    pub(super) fn is_settling(&self) -> bool {
        self.settling.load(Relaxed) != 0
    }

    /// The data blocks that it has and that are not in the metadata.
    pub(super) fn taken(&self) -> u64 {
        let reserve = self.end.load(Relaxed).saturating_sub(self.begin.load(Relaxed));
        self.count.load(Relaxed).saturating_add(reserve)
    }
}

/// What came of making one.
pub(super) enum Created {
    New(u32),
    /// The block has another entry meanwhile.
    Taken,
    /// The reserve is empty.
    Empty,
    /// There are too many young blocks.
    Full,
}

/// Sectors of a volume that are to be written: from this one of this block on.
pub(super) struct Write<'a> {
    pub(super) leaf: &'a Leaf,
    pub(super) block: u64,
    pub(super) begin: u64,
    pub(super) sectors: u64,
    /// Blocks that the leaf has from this one on.
    pub(super) most: u64,
    /// Of the volume.
    pub(super) snapped: u32,
}

/// Where a write may go; it is under way, and [`Youngs::wrote`] is to be called at its end.
pub(super) struct Written {
    pub(super) piece: Piece,
    /// Whether new blocks were made for it.
    pub(super) made: bool,
    /// Blocks that are left of the reserve.
    pub(super) left: u64,
}

/// Where the beginning of a range is that is to be read.
pub(super) enum Read {
    /// So many sectors are in this data block.
    Data(u64, u32),
    /// So many read as zeros.
    Blank(u32),
    /// They are being written, or it is another block by now.
    Wait,
}

/// The young blocks of a pool.
pub(super) struct Youngs {
    shards: KVec<Pin<KBox<SpinLock<Shard>>>>,
    flights: KVec<Flight>,
}

impl Youngs {
    pub(super) fn new() -> Result<Self> {
        let mut shards = KVec::with_capacity(SHARDS as usize, GFP_KERNEL)?;
        let mut flights = KVec::with_capacity((SHARDS * PER_SHARD) as usize, GFP_KERNEL)?;
        for shard in 0..SHARDS {
            let mut slots = KVec::with_capacity(PER_SHARD as usize, GFP_KERNEL)?;
            let mut free = KVec::with_capacity(PER_SHARD as usize, GFP_KERNEL)?;
            for local in 0..PER_SHARD {
                let id = shard.wrapping_mul(PER_SHARD).wrapping_add(local);
                slots.push(Young { id, ..FREE }, GFP_KERNEL)?;
                free.push(PER_SHARD.wrapping_sub(local).wrapping_sub(1), GFP_KERNEL)?;
                let flight = Flight { writers: Atomic::new(0), failed: Atomic::new(0), lost: Atomic::new(0) };
                flights.push(flight, GFP_KERNEL)?;
            }
            let shard = KBox::pin_init(new_spinlock!(Shard { slots, free }, "stor_young"), GFP_KERNEL)?;
            shards.push(shard, GFP_KERNEL)?;
        }
        Ok(Self { shards, flights })
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        let one = size_of::<Young>().wrapping_add(size_of::<Flight>()).wrapping_add(4);
        self.flights.len().wrapping_mul(one)
    }

    fn shard(&self, owner: u32) -> Option<&SpinLock<Shard>> {
        self.shards.get((owner % SHARDS) as usize).map(|shard| &**shard)
    }

    fn flight(&self, id: u32) -> Option<&Flight> {
        self.flights.get(id as usize)
    }

    /// Makes one of the next block of a volume's reserve, the first in its list, if the block's entry is still what was seen.
    pub(super) fn create(&self, owner: u32, of: &Fresh, leaf: &Leaf, block: u64, seen: Entry, under: Under) -> Created {
        match self.shard(owner) {
            Some(shard) => shard.lock().create(owner, of, leaf, block, seen, under),
            None => Created::Full,
        }
    }

    /// Gives a volume a reserve, if it has none, or this comes right behind; what it was not given.
    pub(super) fn refill(&self, owner: u32, of: &Fresh, run: Run) -> Option<Run> {
        let Some(_shard) = self.shard(owner).map(|shard| shard.lock()) else { return Some(run) };
        let (begin, end) = (of.begin.load(Relaxed), of.end.load(Relaxed));
        if begin >= end {
            of.begin.store(run.begin, Relaxed);
        } else if end != run.begin {
            return Some(run);
        }
        of.end.store(run.end, Relaxed);
        None
    }

    /// Takes a volume's reserve.
    pub(super) fn drain(&self, owner: u32, of: &Fresh) -> Option<Run> {
        let _shard = self.shard(owner)?.lock();
        let run = Run { begin: of.begin.load(Relaxed), end: of.end.load(Relaxed) };
        of.end.store(run.begin, Relaxed);
        (!run.is_empty()).then_some(run)
    }

    /// Where sectors that are to be written may go: as far as the blocks are young, or become so, and lie in a row on a device of `area`,
    /// whose blocks have `size` sectors. If they cannot at all, it has to wait.
    pub(super) fn write(&self, owner: u32, of: &Fresh, write: &Write<'_>, area: &Area, size: u64) -> Option<Written> {
        let mut shard = self.shard(owner)?.lock();
        let (mut piece, mut made, mut first, mut done) = (None, false, 0_u64, 0_u64);
        let mut sectors = write.sectors;
        for index in 0..write.most {
            let block = write.block.wrapping_add(index);
            let entry = write.leaf.get(block);
            let id = match (entry, Under::of(entry, write.snapped)) {
                (Entry::Young(id), _) => id,
                (_, Some(under)) => {
                    // Behind the others it would not be in their row.
                    if index != 0 && of.begin.load(Relaxed) != first.wrapping_add(index) {
                        break;
                    }
                    let Created::New(id) = shard.create(owner, of, write.leaf, block, entry, under) else { break };
                    made = true;
                    id
                }
                _ => break,
            };
            let (Some(flight), Some(young)) = (self.flight(id), shard.young(owner, id, block)) else { break };
            if young.sealed || (index != 0 && young.data != first.wrapping_add(index)) {
                break;
            }
            let begin = if index == 0 { write.begin } else { 0 };
            if index == 0 {
                first = young.data;
                let place = area.find(first.wrapping_mul(size).wrapping_add(begin))?;
                sectors = sectors.min(place.sectors);
                piece = Some(Piece { sector: place.sector, sectors: 0, lower: place.lower, token: TOKEN });
            }
            let end = size.min(begin.saturating_add(sectors.wrapping_sub(done)));
            // A block has less than 2^32 sectors.
            if !young.cover.add(begin as u32, end as u32) {
                break;
            }
            flight.writers.fetch_add(1, Full);
            done = done.wrapping_add(end.wrapping_sub(begin));
            if done >= sectors {
                break;
            }
        }
        let left = of.end.load(Relaxed).saturating_sub(of.begin.load(Relaxed));
        piece.filter(|_| done != 0).map(|piece| Written { piece: Piece { sectors: done, ..piece }, made, left })
    }

    /// Sectors of a young block are to be read.
    pub(super) fn read(&self, owner: u32, id: u32, block: u64, begin: u32, end: u32) -> Read {
        let (Some(flight), Some(shard)) = (self.flight(id), self.shard(owner)) else { return Read::Wait };
        let mut shard = shard.lock();
        let Some(young) = shard.young(owner, id, block) else { return Read::Wait };
        match (young.cover.part(begin, end), young.under) {
            (Part::Blank(sectors), Under::Nothing) => Read::Blank(sectors),
            (Part::Blank(sectors), Under::Data(data)) => Read::Data(data, sectors),
            // What is being written is not there yet.
            (Part::Written(_), _) if flight.writers.load(Relaxed) != 0 => Read::Wait,
            (Part::Written(sectors), _) => Read::Data(young.data, sectors),
        }
    }

    /// A write to sectors of a block has ended. Any context.
    pub(super) fn wrote(&self, id: u32, failed: Option<(u32, u32)>, wait: &Wait) {
        let Some(flight) = self.flight(id) else { return };
        if let Some((begin, end)) = failed {
            let range = u64::from(begin) << 32 | u64::from(end);
            match flight.failed.cmpxchg(0, range, Full) {
                Ok(_) => {}
                Err(other) if other == range => {}
                Err(_) => flight.lost.store(1, Relaxed),
            }
        }
        flight.writers.fetch_sub(1, Full);
        wait.wake();
    }

    /// Waits until nothing is being written to a block.
    pub(super) fn quiet(&self, id: u32, wait: &Wait) {
        if let Some(flight) = self.flight(id) {
            wait.until(|| flight.writers.load(Relaxed) == 0);
        }
    }

    /// The sectors of a block that could not be written, if any; `Err` if it is not known which.
    pub(super) fn failed(&self, id: u32) -> Result<Option<(u32, u32)>> {
        let Some(flight) = self.flight(id) else { return Ok(None) };
        if flight.lost.load(Relaxed) != 0 {
            return Err(EIO);
        }
        let range = flight.failed.load(Relaxed);
        Ok((range != 0).then_some(((range >> 32) as u32, range as u32)))
    }

    /// Takes the list of a volume, to be settled.
    pub(super) fn detach(&self, owner: u32, of: &Fresh) {
        let _shard = self.shard(owner).map(|shard| shard.lock());
        if of.settling.load(Relaxed) == 0 {
            of.settling.store(of.list.xchg(0, Relaxed), Relaxed);
        }
    }

    /// Seals the first of those that were taken, as many as there is room for in `into`.
    pub(super) fn seal(&self, owner: u32, of: &Fresh, into: &mut KVec<Young>) {
        let Some(mut shard) = self.shard(owner).map(|shard| shard.lock()) else { return };
        while into.len() < into.capacity() {
            let Some(young) = shard.seal(of) else { break };
            let _ = into.push_within_capacity(young);
        }
    }

    /// The same of one.
    pub(super) fn seal_one(&self, owner: u32, of: &Fresh) -> Option<Young> {
        self.shard(owner)?.lock().seal(of)
    }

    /// Seals this one, and takes it out of its volume's list.
    pub(super) fn seal_this(&self, owner: u32, of: &Fresh, id: u32) -> Option<Young> {
        let mut shard = self.shard(owner)?.lock();
        let mut before = None;
        let mut at = of.list.load(Relaxed).checked_sub(1)?;
        while at != id {
            before = Some(at);
            at = shard.slots.get((at % PER_SHARD) as usize)?.next.checked_sub(1)?;
        }
        let slot = shard.slots.get_mut((id % PER_SHARD) as usize)?;
        slot.sealed = true;
        let young = *slot;
        match before {
            None => of.list.store(young.next, Relaxed),
            Some(before) => shard.slots.get_mut((before % PER_SHARD) as usize)?.next = young.next,
        }
        Some(young)
    }

    /// Gives a volume back what was taken of its list and not sealed.
    pub(super) fn attach(&self, owner: u32, of: &Fresh) {
        let Some(mut shard) = self.shard(owner).map(|shard| shard.lock()) else { return };
        while let Some(id) = of.settling.load(Relaxed).checked_sub(1) {
            let Some(slot) = shard.slots.get_mut((id % PER_SHARD) as usize) else { break };
            of.settling.store(slot.next, Relaxed);
            slot.next = of.list.load(Relaxed);
            of.list.store(id.wrapping_add(1), Relaxed);
        }
    }

    /// Puts one back into its volume's list; it can be written to again.
    pub(super) fn unseal(&self, owner: u32, of: &Fresh, young: &Young) {
        let Some(mut shard) = self.shard(owner).map(|shard| shard.lock()) else { return };
        if let Some(slot) = shard.young(owner, young.id, young.block) {
            slot.sealed = false;
            slot.next = of.list.load(Relaxed);
            of.list.store(young.id.wrapping_add(1), Relaxed);
        }
    }

    /// One that was sealed is no more.
    pub(super) fn remove(&self, owner: u32, of: &Fresh, id: u32) {
        if let Some(flight) = self.flight(id) {
            flight.failed.store(0, Relaxed);
            flight.lost.store(0, Relaxed);
        }
        let Some(shard) = self.shard(owner) else { return };
        let mut shard = shard.lock();
        shard.free(id);
        of.count.store(of.count.load(Relaxed).saturating_sub(1), Relaxed);
    }
}

impl Shard {
    /// One, if it is this block of this volume.
    fn young(&mut self, owner: u32, id: u32, block: u64) -> Option<&mut Young> {
        let young = self.slots.get_mut((id % PER_SHARD) as usize)?;
        (young.id == id && young.owner == owner && young.block == block).then_some(young)
    }

    fn create(&mut self, owner: u32, of: &Fresh, leaf: &Leaf, block: u64, seen: Entry, under: Under) -> Created {
        let (data, end) = (of.begin.load(Relaxed), of.end.load(Relaxed));
        if data >= end {
            return Created::Empty;
        }
        let Some(local) = self.free.pop() else { return Created::Full };
        let Some(slot) = self.slots.get_mut(local as usize) else { return Created::Full };
        let id = slot.id;
        *slot = Young { id, owner, block, data, under, next: of.list.load(Relaxed), ..FREE };
        if !leaf.claim(block, seen, id) {
            self.free(id);
            return Created::Taken;
        }
        of.list.store(id.wrapping_add(1), Relaxed);
        of.begin.store(data.wrapping_add(1), Relaxed);
        of.count.store(of.count.load(Relaxed).saturating_add(1), Relaxed);
        Created::New(id)
    }

    /// Seals the first of those that were taken.
    fn seal(&mut self, of: &Fresh) -> Option<Young> {
        let id = of.settling.load(Relaxed).checked_sub(1)?;
        let slot = self.slots.get_mut((id % PER_SHARD) as usize)?;
        of.settling.store(slot.next, Relaxed);
        slot.sealed = true;
        Some(*slot)
    }

    fn free(&mut self, id: u32) {
        let local = id % PER_SHARD;
        if let Some(slot) = self.slots.get_mut(local as usize) {
            *slot = Young { id, ..FREE };
        }
        let _ = self.free.push_within_capacity(local);
    }
}
