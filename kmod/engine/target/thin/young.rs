// SPDX-License-Identifier: GPL-2.0

//! Young blocks: data blocks that a volume writes to and whose mapping is not in the metadata yet.
//!
//! What such a block held before is somebody else's. Which of its sectors were written is remembered
//! ([`Cover`]); the others read as zeros. Before the mapping goes into the metadata (they are *settled*, see
//! [`commit`](super::commit)) the block is sealed, its writes are waited for, and what is blank is zeroed on the device. So a block that is
//! written to as a whole, in however many pieces, is written once.
//!
//! A volume has a reserve of data blocks, from which the submitter of a write to a hole makes a young block by itself. The worker sees to
//! it that the reserve does not run out while the pool has room, and takes it back when that is short.

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
/// Young blocks that a volume can have, and at least as many its neighbours.
pub(super) const MOST: usize = PER_SHARD as usize;

/// Whether two volumes have their young blocks in the same place.
pub(super) fn same_shard(one: u32, other: u32) -> bool {
    one % SHARDS == other % SHARDS
}

/// In a token: the rest is the number of a young block.
pub(super) const TOKEN: u32 = 1 << 31;

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
    pub(super) cover: Cover,
    /// Nothing is to be written to it any more.
    sealed: bool,
    /// The volume's next, and 1.
    next: u32,
}

const FREE: Young = Young { id: 0, owner: u32::MAX, block: 0, data: 0, cover: Cover::NONE, sealed: false, next: 0 };

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
    /// Its reserve: data blocks in a row that are taken and not used.
    begin: Atomic<u64>,
    end: Atomic<u64>,
}

impl Fresh {
    pub(super) const fn new() -> Self {
        Self { list: Atomic::new(0), begin: Atomic::new(0), end: Atomic::new(0) }
    }

    /// Whether there are none.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.list.load(Acquire) == 0
    }
}

/// What came of making one.
pub(super) enum Created {
    /// It was made, and there is so much left of the reserve.
    New { id: u32, left: u64 },
    /// The block has an entry meanwhile.
    Taken,
    /// The reserve is empty.
    Empty,
    /// There are too many young blocks.
    Full,
}

/// What is to be done for an access.
pub(super) enum Access {
    /// So many sectors are at this data block.
    Data(u64, u32),
    /// So many sectors read as zeros.
    Blank(u32),
    /// It is another block by now: look at the mapping again.
    Stale,
    /// It has to wait.
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

    /// Makes one of the next block of a volume's reserve, the first in its list, if `claim` can make it the block's entry.
    pub(super) fn create(&self, owner: u32, of: &Fresh, block: u64, claim: impl FnOnce(u32) -> bool) -> Created {
        let Some(mut shard) = self.shard(owner).map(|shard| shard.lock()) else { return Created::Full };
        let (data, end) = (of.begin.load(Relaxed), of.end.load(Relaxed));
        if data >= end {
            return Created::Empty;
        }
        let Some(local) = shard.free.pop() else { return Created::Full };
        let Some(slot) = shard.slots.get_mut(local as usize) else { return Created::Full };
        let id = slot.id;
        *slot = Young { id, owner, block, data, next: of.list.load(Relaxed), ..FREE };
        if !claim(id) {
            *slot = Young { id, ..FREE };
            let _ = shard.free.push_within_capacity(local);
            return Created::Taken;
        }
        of.list.store(id.wrapping_add(1), Relaxed);
        of.begin.store(data.wrapping_add(1), Relaxed);
        Created::New { id, left: end.wrapping_sub(data).wrapping_sub(1) }
    }

    /// Gives a volume a reserve, if it has none; what it was not given.
    pub(super) fn refill(&self, owner: u32, of: &Fresh, run: Run) -> Option<Run> {
        let Some(_shard) = self.shard(owner).map(|shard| shard.lock()) else { return Some(run) };
        if of.begin.load(Relaxed) < of.end.load(Relaxed) {
            return Some(run);
        }
        of.begin.store(run.begin, Relaxed);
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

    /// Looks at one, if it is this block of this volume.
    fn with<T>(&self, owner: u32, id: u32, block: u64, look: impl FnOnce(&mut Young) -> T) -> Option<T> {
        let mut shard = self.shard(owner)?.lock();
        let slot = shard.slots.get_mut((id % PER_SHARD) as usize)?;
        (slot.id == id && slot.owner == owner && slot.block == block).then(|| look(slot))
    }

    /// The data block of one.
    pub(super) fn data(&self, owner: u32, id: u32, block: u64) -> Option<u64> {
        self.with(owner, id, block, |young| young.data)
    }

    /// Sectors of a block are to be written. If they may, the write is under way, and `wrote` is to be called at its end.
    pub(super) fn write(&self, owner: u32, id: u32, block: u64, begin: u32, end: u32) -> Access {
        let Some(flight) = self.flight(id) else { return Access::Stale };
        let access = self.with(owner, id, block, |young| {
            if young.sealed || !young.cover.add(begin, end) {
                return Access::Wait;
            }
            flight.writers.fetch_add(1, Full);
            Access::Data(young.data, end.wrapping_sub(begin))
        });
        access.unwrap_or(Access::Stale)
    }

    /// Sectors of a block are to be read.
    pub(super) fn read(&self, owner: u32, id: u32, block: u64, begin: u32, end: u32) -> Access {
        let Some(flight) = self.flight(id) else { return Access::Stale };
        let access = self.with(owner, id, block, |young| match young.cover.part(begin, end) {
            Part::Blank(sectors) => Access::Blank(sectors),
            // What is being written is not there yet.
            Part::Written(_) if flight.writers.load(Relaxed) != 0 => Access::Wait,
            Part::Written(sectors) => Access::Data(young.data, sectors),
        });
        access.unwrap_or(Access::Stale)
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

    /// Seals the blocks of a volume, as many as there is room for in `into`, and takes them out of its list.
    pub(super) fn seal(&self, owner: u32, of: &Fresh, into: &mut KVec<Young>) {
        let Some(shard) = self.shard(owner) else { return };
        let mut shard = shard.lock();
        while into.len() < into.capacity() {
            let Some(id) = of.list.load(Relaxed).checked_sub(1) else { break };
            let Some(slot) = shard.slots.get_mut((id % PER_SHARD) as usize) else { break };
            of.list.store(slot.next, Relaxed);
            slot.sealed = true;
            let _ = into.push_within_capacity(*slot);
        }
    }

    /// Puts one back into its volume's list; it can be written to again.
    pub(super) fn unseal(&self, owner: u32, of: &Fresh, young: &Young) {
        self.with(owner, young.id, young.block, |slot| {
            slot.sealed = false;
            slot.next = of.list.load(Relaxed);
            of.list.store(young.id.wrapping_add(1), Relaxed);
        });
    }

    /// One that was sealed is no more.
    pub(super) fn remove(&self, owner: u32, id: u32) {
        if let Some(flight) = self.flight(id) {
            flight.failed.store(0, Relaxed);
            flight.lost.store(0, Relaxed);
        }
        let Some(shard) = self.shard(owner) else { return };
        let mut shard = shard.lock();
        let local = id % PER_SHARD;
        if let Some(slot) = shard.slots.get_mut(local as usize) {
            *slot = Young { id, ..FREE };
        }
        let _ = shard.free.push_within_capacity(local);
    }
}
