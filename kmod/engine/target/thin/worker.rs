// SPDX-License-Identifier: GPL-2.0

//! The worker: reads mappings into memory, sees to it that writes have blocks, discards, commits, deletes devices.
//!
//! Whatever it has made possible it has the front try again: how a request goes to the devices is written once, in
//! [`volume`](super::volume).

use super::map::{Entry, Leaf, Victim, LEAF};
use super::pool::{Inner, State};
use super::volume::Volume;
use crate::abi::uapi;
use crate::block::clock;
use crate::block::cpu;
use crate::block::deferred::{Deferred, DeferredList};
use crate::block::io::status_of;
use crate::block::status::Status;
use crate::pure::thin::device::Deletion;
use crate::pure::thin::value::Mapping;
use crate::pure::units::{DataBlock, VirtualBlock};
use core::ops::ControlFlow;
use kernel::bindings;
use kernel::prelude::*;
use kernel::sync::atomic::{ordering::Full, ordering::Relaxed};
use kernel::sync::Arc;

/// Blocks that a step of a deletion or a discard gives up.
const STEP: u64 = 1024;
/// Nanoseconds.
const MILLISECOND: u64 = 1_000_000;
/// Milliseconds between looks at whether writes have waited for room for long enough.
const LOOK: u32 = 1000;

impl Inner {
    /// One run of the worker; when the next is due.
    pub(super) fn work(&self) -> Option<u32> {
        let mut first = true;
        loop {
            let mut todo = self.queue.lock().take();
            if todo.is_empty() && !first {
                break;
            }
            let mut again = DeferredList::new();
            let mut state = self.state.lock();
            if first {
                self.expire(&mut state, &mut again);
            }
            while let Some(deferred) = todo.pop() {
                self.serve(&mut state, deferred, &mut again);
            }
            self.refill(&mut state);
            if !state.flushes.is_empty() {
                self.group_commit(&mut state);
            }
            drop(state);
            // Not under the lock: the devices may make us wait.
            again.retry();
            first = false;
            cpu::give_way();
        }
        self.background()
    }

    /// What is done when nobody waits for it; when there is more to do.
    fn background(&self) -> Option<u32> {
        let mut state = self.state.lock();
        let state = &mut *state;
        // Whoever makes a young block after this look has us run.
        self.asleep.xchg(1, Full);
        let dirty = !state.metadata.as_ref()?.is_clean()
            || state.volumes.iter().flatten().any(|volume| !volume.fresh.is_empty());
        let now = clock::now();
        if !dirty {
            state.due = 0;
        } else if state.due == 0 {
            state.due = now.saturating_add(u64::from(state.settings.interval).saturating_mul(MILLISECOND));
        } else if state.due <= now {
            self.commit_all(state);
            state.due = 0;
        }
        if !state.deleting.is_empty() {
            self.delete_step(state);
        }
        self.tell_low(state);
        let mut next = match state.due {
            0 => None,
            due => Some((due.saturating_sub(now) / MILLISECOND) as u32),
        };
        if !state.full.is_empty() {
            next = Some(next.unwrap_or(LOOK).min(LOOK));
        }
        if !state.deleting.is_empty() {
            next = Some(0);
        }
        self.asleep.store(u32::from(next.is_none()), Relaxed);
        next
    }

    /// Settles what all volumes have.
    pub(super) fn settle_all(&self, state: &mut State) {
        for number in 0..state.volumes.len() {
            if let Some(volume) = state.volumes.get(number).and_then(Option::clone) {
                // What cannot be settled stays young; a flush tells of it.
                let _ = self.settle(state, &volume);
            }
        }
    }

    /// Commits what all volumes have.
    pub(super) fn commit_all(&self, state: &mut State) {
        self.settle_all(state);
        let _ = self.commit(state);
    }

    /// Sees to it that a request can go on, or ends it.
    pub(super) fn serve(&self, state: &mut State, deferred: Deferred, again: &mut DeferredList) {
        let Some(volume) = state.volumes.get(deferred.owner() as usize).and_then(Option::clone) else { return };
        let stopped = volume.stopped.load(Relaxed) != 0;
        let served = match deferred.op() {
            bindings::req_op_REQ_OP_WRITE | bindings::req_op_REQ_OP_DISCARD | bindings::req_op_REQ_OP_WRITE_ZEROES
                if stopped =>
            {
                Err(Status::NOSPC)
            }
            bindings::req_op_REQ_OP_FLUSH => return state.flushes.push(deferred),
            bindings::req_op_REQ_OP_READ => self.ready_to_read(state, &volume, &deferred),
            bindings::req_op_REQ_OP_WRITE => match self.blocks(&deferred) {
                Some(blocks) => self.ready_to_write(state, &volume, blocks),
                None => Err(Status::IOERR),
            },
            bindings::req_op_REQ_OP_WRITE_ZEROES => self.ready_to_zero(state, &volume, &deferred),
            bindings::req_op_REQ_OP_DISCARD => {
                return match self.discarded(state, &volume, &deferred) {
                    Ok(()) => deferred.end(Status::OK),
                    Err(status) => deferred.end(status),
                };
            }
            _ => Err(Status::NOTSUPP),
        };
        match served {
            Ok(()) => again.push(deferred),
            Err(status) => self.cannot_go_on(state, &volume, deferred, status),
        }
    }

    /// The blocks of a request, and the sectors from which to which it needs each.
    fn blocks(&self, deferred: &Deferred) -> Option<(u64, u64)> {
        let first = deferred.sector().checked_div(self.block_sectors)?;
        let last = deferred.sector().checked_add(deferred.sectors())?.checked_sub(1)?;
        Some((first, last.checked_div(self.block_sectors)?))
    }

    fn ready_to_read(&self, state: &mut State, volume: &Arc<Volume>, deferred: &Deferred) -> Result<(), Status> {
        let (block, _) = self.blocks(deferred).ok_or(Status::IOERR)?;
        match self.entry(volume, block) {
            Entry::Unknown => self.fill(state, volume, block),
            // It is being written to.
            Entry::Young(id) => {
                self.youngs.quiet(id, &self.wait);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whatever a write needs of all its blocks.
    fn ready_to_write(&self, state: &mut State, volume: &Arc<Volume>, (first, last): (u64, u64)) -> Result<(), Status> {
        let mut block = first;
        while block <= last {
            let mut entry = self.entry(volume, block);
            if entry == Entry::Unknown {
                self.fill(state, volume, block)?;
                entry = self.entry(volume, block);
            }
            let done = match entry {
                Entry::Unknown => return Err(Status::IOERR),
                // It was written to in too many places; of others that shows when it is their turn.
                Entry::Young(id) if block == first => {
                    self.settle_one(state, volume, id)?;
                    1
                }
                Entry::Young(_) => 1,
                _ => self.make_young(state, volume, block, last.wrapping_sub(block).wrapping_add(1))?,
            };
            block = block.wrapping_add(done);
        }
        Ok(())
    }

    /// Gives up the blocks with which a range begins that is to be zeros; or whatever a write needs of the first, or of all if none is to be
    /// given up.
    fn ready_to_zero(&self, state: &mut State, volume: &Arc<Volume>, deferred: &Deferred) -> Result<(), Status> {
        let (first, last) = self.blocks(deferred).ok_or(Status::IOERR)?;
        if !volume.gives_up(deferred.keeps_space()) {
            return self.ready_to_write(state, volume, (first, last));
        }
        if self.entry(volume, first) == Entry::Unknown {
            self.fill(state, volume, first)?;
        }
        let (begin, end) = self.whole_blocks(deferred);
        match self.entry(volume, first) {
            Entry::Hole => Ok(()),
            _ if begin == first && begin < end => self.unmap(state, volume, begin, end),
            _ => self.ready_to_write(state, volume, (first, first)),
        }
    }

    /// The blocks that are in a range whole: from which on, and up to which.
    fn whole_blocks(&self, deferred: &Deferred) -> (u64, u64) {
        let end = deferred.sector().wrapping_add(deferred.sectors());
        (deferred.sector().div_ceil(self.block_sectors), end.checked_div(self.block_sectors).unwrap_or(0))
    }

    /// Reads the mappings around a block into memory, as far as they are not.
    fn fill(&self, state: &mut State, volume: &Volume, block: u64) -> Result<(), Status> {
        if let Some(leaf) = volume.map.leaf(&self.leaves, block) {
            return self.read_in(state, volume, leaf, block / LEAF);
        }
        let number = block / LEAF;
        let index = self.free_leaf(state)?;
        let Some(leaf) = self.leaves.get(index) else { return Err(Status::IOERR) };
        let entered = self.read_in(state, volume, leaf, number).and_then(|()| {
            let owner = volume.number.load(Relaxed);
            volume.map.enter(&self.leaves, owner, number, index).map_err(status_of)
        });
        if entered.is_err() {
            state.stock.put(&self.leaves, index);
        }
        entered
    }

    /// A leaf that is in no map.
    fn free_leaf(&self, state: &mut State) -> Result<u32, Status> {
        let mut settled = false;
        loop {
            let (owner, number) = match state.stock.take(&self.leaves) {
                Ok(index) => return Ok(index),
                Err(Victim::Leaf { owner, number }) => (owner, number),
                Err(Victim::None) if settled => return Err(Status::RESOURCE),
                // All have young blocks.
                Err(Victim::None) => {
                    self.settle_all(state);
                    settled = true;
                    continue;
                }
            };
            let Some(victim) = state.volumes.get(owner as usize).and_then(Option::clone) else {
                return Err(Status::IOERR);
            };
            let begin = number.wrapping_mul(LEAF);
            if !victim.map.leaf(&self.leaves, begin).is_some_and(Leaf::close) {
                continue;
            }
            if let Some(index) = victim.map.leave(number) {
                victim.epoch.wait(&self.wait);
                state.stock.put(&self.leaves, index);
            }
        }
    }

    /// Fills in what a leaf does not know. What is mapped first: a reader may look at it already.
    fn read_in(&self, state: &mut State, volume: &Volume, leaf: &Leaf, number: u64) -> Result<(), Status> {
        let begin = number.wrapping_mul(LEAF);
        let end = begin.wrapping_add(LEAF);
        let Some(metadata) = &mut state.metadata else { return Err(Status::IOERR) };
        let time = metadata.time();
        let learn = |block: u64, entry: Entry| {
            if leaf.get(block) == Entry::Unknown {
                leaf.set(block, entry);
            }
        };
        let read = metadata.runs(volume.device, VirtualBlock(begin), VirtualBlock(end), &mut |run| {
            // Of what is shared it matters only that it is older than the last snapshot.
            let time = if run.shared { 0 } else { time };
            for more in 0..run.length {
                let mapping = Mapping { block: DataBlock(run.data.0.wrapping_add(more)), time };
                learn(run.begin.0.wrapping_add(more), Entry::Mapped(mapping));
            }
            ControlFlow::Continue(())
        });
        if let Err(refusal) = read {
            pr_err!("thin pool: device {}: {}\n", volume.device, core::format_args!("{refusal}"));
            return Err(Status::IOERR);
        }
        for block in begin..end {
            learn(block, Entry::Hole);
        }
        Ok(())
    }

    /// Gives up whole blocks of a range that is discarded.
    fn discarded(&self, state: &mut State, volume: &Arc<Volume>, deferred: &Deferred) -> Result<(), Status> {
        let (begin, end) = self.whole_blocks(deferred);
        // What the pool cannot give up it keeps: that is no error of a discard.
        if begin >= end || self.mode.load(Relaxed) >= uapi::STOR_POOL_STUCK {
            return Ok(());
        }
        self.unmap(state, volume, begin, end)
    }

    /// Gives up blocks.
    fn unmap(&self, state: &mut State, volume: &Arc<Volume>, begin: u64, end: u64) -> Result<(), Status> {
        self.settle(state, volume)?;
        let unmapped = self.unmap_blocks(state, volume, begin, end);
        if unmapped.is_err() {
            // The metadata has some that the map calls holes.
            for block in begin..end {
                if let Some(leaf) = volume.map.leaf(&self.leaves, block) {
                    leaf.doubt(block);
                }
            }
        }
        unmapped
    }

    fn unmap_blocks(&self, state: &mut State, volume: &Arc<Volume>, begin: u64, end: u64) -> Result<(), Status> {
        if self.forget_range(volume, begin, end) {
            // What a writer made young meanwhile may still be a copy of what is given up. What it makes now is not.
            self.settle(state, volume)?;
            self.forget_range(volume, begin, end);
        }
        let mut next = Some(VirtualBlock(begin));
        while let Some(block) = next {
            volume.retired.store(state.transaction, Relaxed);
            volume.change_in(state.transaction);
            let removed =
                self.with_room(state, |metadata| metadata.remove(volume.device, block, VirtualBlock(end), STEP));
            // The transaction may be another than before: room may have been made by a commit.
            volume.retired.store(state.transaction, Relaxed);
            volume.change_in(state.transaction);
            next = removed?.next;
        }
        Ok(())
    }

    /// Makes holes of what is known of a range; whether something of it is young, and so stays.
    fn forget_range(&self, volume: &Volume, begin: u64, end: u64) -> bool {
        let (mut block, mut young) = (begin, false);
        while block < end {
            // To the end of the leaf.
            let stop = end.min((block / LEAF).wrapping_add(1).wrapping_mul(LEAF));
            if let Some(leaf) = volume.map.leaf(&self.leaves, block) {
                for block in block..stop {
                    young |= leaf.clear(block);
                }
                cpu::give_way();
            }
            block = stop;
        }
        young
    }

    /// A step of the first deletion.
    fn delete_step(&self, state: &mut State) {
        let Some(&device) = state.deleting.first() else { return };
        let step = self.with_room(state, |metadata| match metadata.delete(device, STEP) {
            Err(crate::pure::thin::error::Error::NoDevice(_)) => Ok(Deletion::Done),
            other => other,
        });
        match step {
            Ok(Deletion::Unfinished) => {
                let _ = self.commit(state);
            }
            Ok(Deletion::Done) => {
                if self.commit(state).is_ok() {
                    let _ = state.deleting.remove(0);
                    self.listener.tell(uapi::STOR_EVENT_POOL_DELETED, device);
                }
            }
            // Not now: whoever wants it gone asks again.
            Err(_) => drop(state.deleting.remove(0)),
        }
    }
}
