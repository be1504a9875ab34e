// SPDX-License-Identifier: GPL-2.0

//! Room: who gets the data blocks that are free, and what becomes of those who get none.
//!
//! A block is free, in the reserve of a volume, young, or mapped. Of what is free, each volume that is active has been promised as much as
//! its reservation lacks; what the pool has in reserve is for volumes with a reservation only. Promises are kept in this order: who asks gets
//! what is left when everybody else has been thought of; reserves are taken back before anybody is refused.

use super::map::Entry;
use super::pool::{Inner, State};
use super::volume::Volume;
use super::young::{same_shard, Created, Under, BATCH};
use crate::abi::uapi;
use crate::block::clock;
use crate::block::deferred::{Deferred, DeferredList};
use crate::block::status::Status;
use crate::pure::thin::data::Run;
use kernel::prelude::*;
use kernel::sync::atomic::{ordering::Acquire, ordering::Relaxed};
use kernel::sync::Arc;

/// Data blocks of a volume's reserve: 4 MiB of the smallest.
const RESERVE: u64 = 64;
/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;

impl Inner {
    /// Gives a volume young blocks for up to so many that it needs some for; how many were looked at.
    pub(super) fn make_young(
        &self,
        state: &mut State,
        volume: &Arc<Volume>,
        block: u64,
        want: u64,
    ) -> Result<u64, Status> {
        let owner = volume.number.load(Relaxed);
        let mut made = 0;
        while made < want {
            let place = block.wrapping_add(made);
            let Some(leaf) = volume.map.leaf(&self.leaves, place) else { break };
            let seen = leaf.get(place);
            let under = match Under::of(seen, volume.snapped.load(Acquire)) {
                Some(under) => under,
                None if seen == Entry::Unknown => break,
                None => {
                    made = made.wrapping_add(1);
                    continue;
                }
            };
            match self.youngs.create(owner, &volume.fresh, leaf, place, seen, under) {
                Created::New(_) => made = made.wrapping_add(1),
                Created::Taken => {}
                // Some become mapped.
                Created::Full if made == 0 => self.settle_shard(state, owner)?,
                Created::Full => break,
                Created::Empty => {
                    let run = self.take(state, volume, want.wrapping_sub(made))?;
                    if let Some(rest) = self.youngs.refill(owner, &volume.fresh, run) {
                        self.with_room(state, |metadata| metadata.give_back(rest))?;
                    }
                }
            }
        }
        volume.change_in(state.transaction);
        volume.thirsty.store(1, Relaxed);
        Ok(made.max(1))
    }

    /// Settles some young blocks of each volume that has its where this one has.
    fn settle_shard(&self, state: &mut State, owner: u32) -> Result<(), Status> {
        for number in 0..state.volumes.len() {
            if same_shard(number as u32, owner) {
                if let Some(volume) = state.volumes.get(number).and_then(Option::clone) {
                    self.settle_up_to(state, &volume, BATCH)?;
                }
            }
        }
        Ok(())
    }

    /// Gives those volumes more in reserve that have nearly used up theirs, as long as there is plenty.
    pub(super) fn refill(&self, state: &mut State) {
        for number in 0..state.volumes.len() {
            let Some(volume) = state.volumes.get(number).and_then(Option::as_ref) else { continue };
            if volume.thirsty.load(Relaxed) == 0 {
                continue;
            }
            volume.thirsty.store(0, Relaxed);
            let volume = volume.clone();
            let plenty = RESERVE.saturating_mul(2).saturating_mul(state.volumes.len() as u64);
            if self.spare(state, &volume) < plenty || self.mode.load(Relaxed) != uapi::STOR_POOL_WRITE {
                continue;
            }
            let Some(metadata) = &mut state.metadata else { return };
            let Ok(run) = metadata.take_data(number, RESERVE) else { continue };
            if let Some(rest) = self.youngs.refill(number as u32, &volume.fresh, run) {
                let _ = metadata.give_back(rest);
            }
        }
    }

    /// Takes data blocks in a row for a volume, those that others have in reserve included if there are none without.
    fn take(&self, state: &mut State, volume: &Volume, want: u64) -> Result<Run, Status> {
        let taken = self.take_spare(state, volume, want);
        if !matches!(taken, Err(Status::NOSPC)) {
            return taken;
        }
        for number in 0..state.volumes.len() {
            if let Some(volume) = state.volumes.get(number).and_then(Option::clone) {
                self.take_reserve(state, &volume);
            }
        }
        let taken = self.take_spare(state, volume, want);
        if taken.is_ok() {
            self.set_mode(uapi::STOR_POOL_WRITE);
        }
        taken
    }

    fn take_spare(&self, state: &mut State, volume: &Volume, want: u64) -> Result<Run, Status> {
        let mut want = want;
        if self.promises(state) {
            let spare = self.spare(state, volume);
            if spare == 0 {
                return Err(Status::NOSPC);
            }
            want = want.min(spare);
        }
        let stream = volume.number.load(Relaxed) as usize;
        self.with_room(state, |metadata| metadata.take_data(stream, want))
    }

    /// Whether anything is kept for anybody.
    fn promises(&self, state: &State) -> bool {
        state.settings.reserve != 0
            || state.volumes.iter().flatten().any(|volume| volume.reservation.load(Relaxed) != 0)
    }

    /// Data blocks that a volume can still have: what is free, but for what has been promised to others.
    fn spare(&self, state: &mut State, volume: &Volume) -> u64 {
        let State { metadata: Some(metadata), volumes, settings, .. } = state else { return 0 };
        let taken: u64 = volumes.iter().flatten().map(|other| other.fresh.taken()).sum();
        let free = metadata.data_blocks().saturating_sub(metadata.data_used()).saturating_sub(taken);
        let mut promised = match volume.reservation.load(Relaxed) {
            0 => settings.reserve,
            _ => 0,
        };
        for other in volumes.iter().flatten().filter(|other| other.device != volume.device) {
            let reservation = other.reservation.load(Relaxed);
            if reservation != 0 {
                // Of what cannot be read nothing is known: it is thought to have nothing yet.
                let mapped = metadata.details(other.device).map_or(0, |details| details.mapped_blocks.get());
                let lacks = reservation.saturating_sub(mapped).saturating_sub(other.fresh.taken());
                promised = promised.saturating_add(lacks);
            }
        }
        free.saturating_sub(promised)
    }

    /// What a volume is to do if there is no room, and for how many seconds.
    fn policy(&self, state: &State, volume: &Volume) -> (u32, u32) {
        match volume.policy.load(Relaxed) {
            uapi::STOR_POLICY_POOL => (state.settings.policy, state.settings.timeout),
            own => (own, volume.timeout.load(Relaxed)),
        }
    }

    /// Ends a request that cannot go on; if that is for want of room, as the volume's policy has it.
    pub(super) fn cannot_go_on(&self, state: &mut State, volume: &Volume, request: Deferred, status: Status) {
        if status == Status::NOSPC {
            match self.policy(state, volume).0 {
                uapi::STOR_POLICY_QUEUE => return state.full.push(request),
                uapi::STOR_POLICY_READ_ONLY if volume.stopped.xchg(1, Relaxed) == 0 => {
                    self.listener.tell(uapi::STOR_EVENT_POOL_NO_ROOM, volume.device);
                }
                _ => {}
            }
        }
        request.end(status);
    }

    /// Tries again what waits for room, and ends what has waited for too long.
    pub(super) fn expire(&self, state: &mut State, again: &mut DeferredList) {
        let mut waiting = state.full.take();
        let now = clock::now();
        while let Some(request) = waiting.pop() {
            let volume = state.volumes.get(request.owner() as usize).and_then(Option::as_ref);
            let (policy, timeout) = volume.map_or((0, 0), |volume| self.policy(state, volume));
            let late = timeout != 0 && now.saturating_sub(request.since()) > u64::from(timeout).saturating_mul(SECOND);
            if policy == uapi::STOR_POLICY_QUEUE && !late {
                self.serve(state, request, again);
            } else {
                request.end(Status::NOSPC);
            }
        }
        let room = state
            .metadata
            .as_ref()
            .is_some_and(|pool| pool.data_used() < pool.data_blocks() && pool.metadata_free() > pool.reserve());
        if state.full.is_empty() && room && self.mode.load(Relaxed) < uapi::STOR_POOL_STUCK {
            self.set_mode(uapi::STOR_POOL_WRITE);
        }
    }

    /// Tells once when free space falls below the mark.
    pub(super) fn tell_low(&self, state: &mut State) {
        let Some(metadata) = &state.metadata else { return };
        let free = metadata.data_blocks().saturating_sub(metadata.data_used());
        let low = free < state.settings.low_water;
        if low && !state.told_low {
            let bytes = free.wrapping_mul(u64::from(self.layout.head.data_block_size));
            self.listener.tell(uapi::STOR_EVENT_POOL_LOW_WATER, bytes);
        }
        state.told_low = low;
    }
}
