// SPDX-License-Identifier: GPL-2.0

//! Settling, and the commit: what makes it true that a flush has been done.
//!
//! 1. The young blocks of the volumes that are to be flushed are sealed, their writes waited for, what was not written filled in, and they
//!    are mapped in the metadata. Those of other volumes may stay young: nobody was promised that they survive.
//! 2. I/O that may still be on its way to blocks that were given up is waited for: after the commit they may be anybody's.
//! 3. The metadata engine commits: the data devices are flushed first, so a mapping is durable only after its data.
//! 4. Blocks that nobody has any more are discarded below, and can be taken again after that.

use super::fill::{From, Gap};
use super::map::Entry;
use super::pool::{Inner, State};
use super::volume::{Origin, Volume};
use super::young::{Under, Young, BATCH};
use crate::abi::uapi;
use crate::block::deferred::DeferredList;
use crate::block::io::status_of;
use crate::block::status::Status;
use crate::pure::thin::data::Run;
use crate::pure::thin::error::Error as Refusal;
use crate::pure::thin::value::Mapping;
use crate::pure::units::{DataBlock, VirtualBlock};
use kernel::prelude::*;
use kernel::sync::atomic::{ordering::Relaxed, ordering::Release};

impl Inner {
    /// Maps the young blocks that a volume has now in the metadata.
    pub(super) fn settle(&self, state: &mut State, volume: &Volume) -> Result<(), Status> {
        self.settle_up_to(state, volume, usize::MAX)
    }

    /// The same of at most so many, rounded up to a [`BATCH`].
    pub(super) fn settle_up_to(&self, state: &mut State, volume: &Volume, most: usize) -> Result<(), Status> {
        if volume.fresh.is_empty() {
            return Ok(());
        }
        let owner = volume.number.load(Relaxed);
        // Before they leave the list: a flush that comes now has to see one of both. In which transaction they are mapped shows
        // when they are, as room may have to be made by a commit.
        volume.change_in(u64::MAX);
        self.youngs.detach(owner, &volume.fresh);
        let (mut settled, mut done) = (Ok(()), 0);
        while settled.is_ok() && done < most && volume.fresh.is_settling() {
            settled = self.settle_batch(state, volume);
            done = done.saturating_add(BATCH);
            // Whoever needs new blocks meanwhile does not have to wait for the rest.
            self.refill(state);
        }
        self.youngs.attach(owner, &volume.fresh);
        volume.change_in(state.transaction);
        settled
    }

    /// The same of one, if it is young still.
    pub(super) fn settle_one(&self, state: &mut State, volume: &Volume, id: u32) -> Result<(), Status> {
        volume.change_in(u64::MAX);
        let mut sealed = core::mem::take(&mut state.sealed);
        if let Some(young) = self.youngs.seal_this(volume.number.load(Relaxed), &volume.fresh, id) {
            let _ = sealed.push_within_capacity(young);
        }
        let settled = self.settle_sealed(state, volume, sealed);
        volume.change_in(state.transaction);
        settled
    }

    /// The same of the first of those that were taken from their list.
    fn settle_batch(&self, state: &mut State, volume: &Volume) -> Result<(), Status> {
        let mut sealed = core::mem::take(&mut state.sealed);
        self.youngs.seal(volume.number.load(Relaxed), &volume.fresh, &mut sealed);
        self.settle_sealed(state, volume, sealed)
    }

    fn settle_sealed(&self, state: &mut State, volume: &Volume, mut sealed: KVec<Young>) -> Result<(), Status> {
        let owner = volume.number.load(Relaxed);
        for young in sealed.iter() {
            self.youngs.quiet(young.id, &self.wait);
        }
        self.fill_all(state, volume, &mut sealed);
        let mut order = core::mem::take(&mut state.order);
        for (index, young) in sealed.iter().enumerate() {
            let _ = order.push_within_capacity((young.block, index as u32));
        }
        // From the end on.
        order.sort_unstable_by(|one, other| other.cmp(one));
        let settled = self.insert(state, volume, &sealed, &mut order);
        while let Some((_, index)) = order.pop() {
            if let Some(young) = sealed.get(index as usize) {
                self.youngs.unseal(owner, &volume.fresh, young);
            }
        }
        sealed.clear();
        (state.sealed, state.order) = (sealed, order);
        settled
    }

    /// Maps blocks that are filled, by their place in the volume; those that are mapped are taken out of `order`.
    fn insert(
        &self,
        state: &mut State,
        volume: &Volume,
        sealed: &[Young],
        order: &mut KVec<(u64, u32)>,
    ) -> Result<(), Status> {
        let at = |place: &(u64, u32)| sealed.get(place.1 as usize).copied();
        while let Some(first) = order.last().and_then(at) {
            // The longest run that is one in the volume and in the pool.
            let mut length = 0;
            for young in order.iter().rev().filter_map(at) {
                if young.block != first.block.wrapping_add(length) || young.data != first.data.wrapping_add(length) {
                    break;
                }
                length = length.wrapping_add(1);
            }
            let data = Run { begin: first.data, end: first.data.wrapping_add(length) };
            self.with_room(state, |metadata| metadata.insert(volume.device, VirtualBlock(first.block), data))?;
            // Who shares a block that it has no more may be reading it still.
            volume.retired.store(state.transaction, Relaxed);
            let time = state.metadata.as_ref().map_or(0, |metadata| metadata.time());
            for _ in 0..length {
                let Some(young) = order.pop().as_ref().and_then(at) else { break };
                self.note(volume, young.block, Entry::Mapped(Mapping { block: DataBlock(young.data), time }));
                self.youngs.remove(volume.number.load(Relaxed), &volume.fresh, young.id);
            }
        }
        Ok(())
    }

    /// Fills what was not written of blocks that are sealed. Those that cannot be filled are lost, and the volume's next flush tells of it.
    fn fill_all(&self, state: &mut State, volume: &Volume, sealed: &mut KVec<Young>) {
        if self.fill_some(state, volume.origin, sealed).is_ok() {
            return;
        }
        sealed.retain(|young| {
            let filled = self.fill_some(state, volume.origin, core::slice::from_ref(young)).is_ok();
            if !filled {
                volume.spoiled.store(1, Release);
                self.drop_one(state, volume, young);
            }
            filled
        });
    }

    fn fill_some(&self, state: &mut State, origin: Option<Origin>, sealed: &[Young]) -> Result {
        let size = self.block_sectors;
        let zero = state.settings.zero;
        let mut lost = Ok(());
        let gaps = sealed.iter().flat_map(|young| {
            // Whoever wrote this knows that it failed; what it left there may be anybody's.
            let failed = self.youngs.failed(young.id);
            if let Err(error) = failed {
                lost = Err(error);
            }
            let failed = failed.ok().flatten().map(|(begin, end)| begin..end);
            let blanks = core::iter::Iterator::chain(young.cover.blanks(size as u32), failed);
            let left = !zero && origin.is_none() && matches!(young.under, Under::Nothing);
            blanks.filter(move |_| !left).flat_map(move |blank| {
                let (begin, end) = (u64::from(blank.start), u64::from(blank.end));
                let sector = young.block.wrapping_mul(size).wrapping_add(begin);
                let (first, length) = match (young.under, origin) {
                    (Under::Data(data), _) => (From::Data(data.wrapping_mul(size).wrapping_add(begin)), u64::MAX),
                    (Under::Nothing, None) => (From::Zeros, u64::MAX),
                    (Under::Nothing, Some(origin)) => {
                        (From::Device(origin.device, sector), origin.sectors.saturating_sub(sector))
                    }
                };
                // Behind the end of the origin there are zeros.
                let middle = begin.saturating_add(length).min(end);
                [(begin, middle, first), (middle, end, From::Zeros)].map(|(begin, end, from)| Gap {
                    to: young.data.wrapping_mul(size).wrapping_add(begin),
                    sectors: end.saturating_sub(begin),
                    from,
                })
            })
        });
        state.filler.fill(&self.layout.data, gaps)?;
        lost
    }

    /// Forgets a young block that is sealed and quiet.
    fn drop_one(&self, state: &mut State, volume: &Volume, young: &Young) {
        self.note(volume, young.block, Entry::Unknown);
        self.youngs.remove(volume.number.load(Relaxed), &volume.fresh, young.id);
        if let Some(metadata) = &mut state.metadata {
            let _ = metadata.give_back(Run { begin: young.data, end: young.data.wrapping_add(1) });
        }
    }

    /// Forgets a volume's young blocks: they could not be settled.
    pub(super) fn drop_young(&self, state: &mut State, volume: &Volume) {
        let owner = volume.number.load(Relaxed);
        // Those that were being settled, too: a write to them has to find them when it ends.
        self.youngs.attach(owner, &volume.fresh);
        self.youngs.detach(owner, &volume.fresh);
        while let Some(young) = self.youngs.seal_one(owner, &volume.fresh) {
            self.youngs.quiet(young.id, &self.wait);
            self.drop_one(state, volume, &young);
            volume.lost.store(1, Release);
        }
    }

    /// Takes back the reserve of a volume.
    pub(super) fn take_reserve(&self, state: &mut State, volume: &Volume) {
        if let (Some(run), Some(metadata)) =
            (self.youngs.drain(volume.number.load(Relaxed), &volume.fresh), &mut state.metadata)
        {
            let _ = metadata.give_back(run);
        }
    }

    /// Makes what the metadata has durable; does nothing if that is so.
    pub(super) fn commit(&self, state: &mut State) -> Result<(), Status> {
        let transaction = state.transaction;
        for volume in state.volumes.iter().flatten() {
            if volume.retired.load(Relaxed) == transaction {
                volume.epoch.wait(&self.wait);
            }
        }
        let Some(metadata) = &mut state.metadata else { return Err(Status::IOERR) };
        if self.mode.load(Relaxed) >= uapi::STOR_POOL_STUCK {
            return Ok(());
        }
        if metadata.is_clean() {
            return Ok(());
        }
        if let Err(refusal) = metadata.commit() {
            return Err(self.give_up(state, &refusal));
        }
        self.settled(state);
        self.discard(state)
    }

    /// Discards below what the last commit has freed.
    fn discard(&self, state: &mut State) -> Result<(), Status> {
        let Some(metadata) = &mut state.metadata else { return Ok(()) };
        while let Some(run) = metadata.next_discard() {
            let size = self.block_sectors;
            let (sector, sectors) = (run.begin.wrapping_mul(size), run.len().wrapping_mul(size));
            // A device that cannot keeps the contents of blocks that nobody can read.
            let _ = self.layout.data.each(sector, sectors, |device, sector, sectors| device.discard(sector, sectors));
            if let Err(refusal) = metadata.discarded(run) {
                return Err(self.give_up(state, &refusal));
            }
        }
        Ok(())
    }

    /// Commits for those who wait for it: the volumes' young blocks are settled before.
    pub(super) fn group_commit(&self, state: &mut State) {
        let mut waiting = state.flushes.take();
        let mut done = DeferredList::new();
        while let Some(flush) = waiting.pop() {
            let Some(volume) = state.volumes.get(flush.owner() as usize).and_then(Option::clone) else { continue };
            match self.settle(state, &volume) {
                Ok(()) => done.push(flush),
                Err(status) => self.cannot_go_on(state, &volume, flush, status),
            }
        }
        let clean = state.metadata.as_ref().is_some_and(|metadata| metadata.is_clean());
        let committed = match done.is_empty() {
            true => Ok(()),
            // There is nothing to commit, so nothing that flushes the data by the way.
            false if clean || self.mode.load(Relaxed) >= uapi::STOR_POOL_STUCK => {
                self.layout.data.devices(|device| device.flush()).map_err(status_of)
            }
            false => self.commit(state),
        };
        while let Some(flush) = done.pop() {
            let volume = state.volumes.get(flush.owner() as usize).and_then(Option::as_ref);
            let lost =
                volume.is_none_or(|volume| volume.lost.load(Relaxed) != 0 || volume.spoiled.xchg(0, Relaxed) != 0);
            let status = match committed {
                Err(status) => status,
                Ok(()) if lost => Status::IOERR,
                Ok(()) => Status::OK,
            };
            flush.end(status);
        }
    }

    /// Does something to the metadata, with a commit before if there is room only after that.
    pub(super) fn with_room<T>(
        &self,
        state: &mut State,
        change: impl Fn(&mut crate::pure::thin::pool::Pool<super::store::KernelStore>) -> Result<T, Refusal>,
    ) -> Result<T, Status> {
        for attempt in 0..3 {
            if self.mode.load(Relaxed) >= uapi::STOR_POOL_STUCK {
                return Err(Status::IOERR);
            }
            let Some(metadata) = &mut state.metadata else { return Err(Status::IOERR) };
            match change(metadata) {
                Ok(done) => return Ok(done),
                Err(Refusal::CommitFirst | Refusal::DiscardFirst) if attempt < 2 => self.commit(state)?,
                Err(Refusal::DataFull | Refusal::CommitFirst | Refusal::DiscardFirst) => {
                    self.set_mode(uapi::STOR_POOL_DATA_FULL);
                    return Err(Status::NOSPC);
                }
                Err(Refusal::MetadataFull) if attempt == 0 => self.commit(state)?,
                Err(Refusal::MetadataFull) => {
                    self.set_mode(uapi::STOR_POOL_METADATA_FULL);
                    return Err(Status::NOSPC);
                }
                Err(refusal) => return Err(self.give_up(state, &refusal)),
            }
        }
        Err(Status::IOERR)
    }

    /// The transaction cannot go on: the pool becomes what the last commit left, and read-only, durably if that can be.
    pub(super) fn give_up(&self, state: &mut State, refusal: &Refusal) -> Status {
        pr_err!("thin pool is read-only from now on: {}\n", core::format_args!("{refusal}"));
        state.last_error = super::pool::errno_of(refusal).to_errno().wrapping_neg();
        let mut mode = uapi::STOR_POOL_STUCK;
        if let Some(metadata) = &mut state.metadata {
            if metadata.abort().and_then(|()| metadata.set_needs_check(true)).is_err() {
                mode = uapi::STOR_POOL_FAILED;
            }
        }
        self.set_mode(mode);
        let committed = self.committed.load(Relaxed);
        for number in 0..state.volumes.len() {
            let Some(volume) = state.volumes.get(number).and_then(Option::clone) else { continue };
            if volume.changed.load(Relaxed) > committed {
                volume.lost.store(1, Release);
            }
            self.forget(state, &volume);
            if let Some(metadata) = &mut state.metadata {
                if let Ok(details) = metadata.details(volume.device) {
                    volume.snapped.store(details.snapshotted_time.get(), Release);
                }
            }
        }
        Status::IOERR
    }

    /// Forgets what is known of a volume's mappings.
    fn forget(&self, state: &mut State, volume: &Volume) {
        // The pool is read-only: from here on nobody makes young blocks.
        volume.epoch.wait(&self.wait);
        self.take_reserve(state, volume);
        self.drop_young(state, volume);
        let mut gone = KVVec::new();
        volume.map.clear(|index| {
            // What there is no memory for is lost to the pool until it is closed.
            let _ = gone.push(index, GFP_KERNEL);
        });
        volume.epoch.wait(&self.wait);
        for &index in gone.iter() {
            state.stock.put(&self.leaves, index);
        }
    }
}
