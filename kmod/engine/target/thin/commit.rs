// SPDX-License-Identifier: GPL-2.0

//! Settling, and the commit: what makes it true that a flush has been done.
//!
//! 1. The young blocks of the volumes that are to be flushed are sealed, their writes waited for, what is blank zeroed, and they are mapped
//!    in the metadata. Those of other volumes may stay young: nobody was promised that they survive.
//! 2. I/O that may still be on its way to blocks that were given up is waited for: after the commit they may be anybody's.
//! 3. The metadata engine commits: the data devices are flushed first, so a mapping is durable only after its data.
//! 4. Blocks that nobody has any more are discarded below, and can be taken again after that.

use super::map::Entry;
use super::pool::{Inner, State};
use super::volume::Volume;
use super::young::Young;
use crate::abi::uapi;
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
        if volume.fresh.is_empty() {
            return Ok(());
        }
        let owner = volume.number.load(Relaxed);
        let mut sealed = core::mem::take(&mut state.sealed);
        // Before they leave the list: a flush that comes now has to see one of both. In which transaction they are mapped shows
        // when they are, as room may have to be made by a commit.
        volume.change_in(u64::MAX);
        self.youngs.seal(owner, &volume.fresh, &mut sealed);
        let settled = self.settle_sealed(state, volume, &mut sealed);
        while let Some(young) = sealed.pop() {
            self.youngs.unseal(owner, &volume.fresh, &young);
        }
        state.sealed = sealed;
        volume.change_in(state.transaction);
        settled
    }

    /// The same of those that were sealed; what was settled is taken out.
    fn settle_sealed(&self, state: &mut State, volume: &Volume, sealed: &mut KVec<Young>) -> Result<(), Status> {
        for young in sealed.iter() {
            self.youngs.quiet(young.id, &self.wait);
            self.blank(young)?;
        }
        sealed.sort_unstable_by_key(|young| core::cmp::Reverse(young.block));
        while let Some(&first) = sealed.last() {
            // The longest run that is one in the volume and in the pool.
            let run = sealed.iter().rev().enumerate().take_while(|(index, young)| {
                let index = *index as u64;
                young.block == first.block.wrapping_add(index) && young.data == first.data.wrapping_add(index)
            });
            let length = run.count() as u64;
            let data = Run { begin: first.data, end: first.data.wrapping_add(length) };
            self.with_room(state, |metadata| metadata.insert(volume.device, VirtualBlock(first.block), data))?;
            let time = state.metadata.as_ref().map_or(0, |metadata| metadata.time());
            for _ in 0..length {
                let Some(young) = sealed.pop() else { break };
                let mapping = Mapping { block: DataBlock(young.data), time };
                self.note(volume, young.block, Entry::Mapped(mapping));
                self.youngs.remove(volume.number.load(Relaxed), young.id);
            }
        }
        Ok(())
    }

    /// Zeroes what was not written of a young block that is sealed.
    fn blank(&self, young: &Young) -> Result<(), Status> {
        let size = self.block_sectors;
        let base = young.data.wrapping_mul(size);
        let zero = |begin: u32, end: u32| {
            let (begin, length) = (u64::from(begin), u64::from(end.saturating_sub(begin)));
            let zeroed = self
                .layout
                .data
                .each(base.wrapping_add(begin), length, |device, sector, sectors| device.zero(sector, sectors));
            zeroed.map_err(status_of)
        };
        for blank in young.cover.blanks(size as u32) {
            zero(blank.start, blank.end)?;
        }
        // Whoever wrote this knows that it failed; what it left there may be anybody's.
        match self.youngs.failed(young.id).map_err(status_of)? {
            Some((begin, end)) => zero(begin, end),
            None => Ok(()),
        }
    }

    /// Forgets a volume's young blocks: they could not be settled.
    pub(super) fn drop_young(&self, state: &mut State, volume: &Volume) {
        let owner = volume.number.load(Relaxed);
        let mut sealed = core::mem::take(&mut state.sealed);
        while !volume.fresh.is_empty() && sealed.capacity() > 0 {
            self.youngs.seal(owner, &volume.fresh, &mut sealed);
            while let Some(young) = sealed.pop() {
                self.youngs.quiet(young.id, &self.wait);
                self.note(volume, young.block, Entry::Unknown);
                self.youngs.remove(owner, young.id);
                if let Some(metadata) = &mut state.metadata {
                    let _ = metadata.give_back(Run { begin: young.data, end: young.data.wrapping_add(1) });
                }
                volume.lost.store(1, Release);
            }
        }
        state.sealed = sealed;
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
        let mut done = crate::block::deferred::DeferredList::new();
        let mut failed = crate::block::deferred::DeferredList::new();
        while let Some(flush) = waiting.pop() {
            let volume = state.volumes.get(flush.owner() as usize).and_then(Option::clone);
            let settled = match volume {
                Some(volume) => self.settle(state, &volume),
                None => Err(Status::IOERR),
            };
            match settled {
                Ok(()) => done.push(flush),
                Err(_) => failed.push(flush),
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
            let lost = volume.is_none_or(|volume| volume.lost.load(Relaxed) != 0);
            let status = match committed {
                Err(status) => status,
                Ok(()) if lost => Status::IOERR,
                Ok(()) => Status::OK,
            };
            flush.end(status);
        }
        failed.end(Status::IOERR);
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
