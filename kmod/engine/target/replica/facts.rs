// SPDX-License-Identifier: GPL-2.0

//! What a replica says of itself.

use super::state::stop_of;
use super::Shared;
use crate::abi::uapi::{self, stor_replica_facts};
use crate::block::clock;
use kernel::sync::atomic::ordering::Relaxed;
use zerocopy::FromZeros;

impl Shared {
    pub(super) fn facts(&self, facts: &mut stor_replica_facts) {
        *facts = FromZeros::new_zeroed();
        let (set, needed) = self.words.count();
        facts.chunk_size = u64::from(self.geometry.chunk_bytes());
        facts.chunks = self.geometry.chunks();
        (facts.dirty, facts.needed) = (set, needed);
        facts.memory = self.memory();
        let watched = self.watched.lock();
        let state = self.state.lock();
        let now = clock::now();
        let rebuild = state.rebuild;
        if rebuild.since != 0 {
            facts.rebuild_time = now.saturating_sub(rebuild.since).max(1);
            facts.rebuild_copied = state.through().saturating_sub(rebuild.through);
            facts.waits = match rebuild.waits {
                uapi::STOR_REPLICA_WAITS_NOTHING if now < state.copy_at => uapi::STOR_REPLICA_WAITS_RATE,
                waits => waits,
            };
            facts.waits_time = if rebuild.waits_since == 0 { 0 } else { now.saturating_sub(rebuild.waits_since) };
        }
        facts.waiting = state.waiting.len();
        facts.copied = state.copied;
        let Some(keeper) = &state.keeper else { return };
        let record = keeper.record();
        facts.stop = stop_of(keeper.stopped());
        facts.slots = keeper.slots().bits();
        (facts.epoch, facts.lineage, facts.events) = (record.epoch.get(), record.lineage, record.events.get());
        facts.position = state.cursor.position(&keeper.intent).saturating_mul(512);
        if rebuild.since != 0 {
            // Of the last chunk, and of one that is copied now, there may be less.
            facts.rebuild_left = needed.saturating_mul(facts.chunk_size).min(self.size);
        }
        let mostly = self.write_mostly.load(Relaxed);
        let (sources, targets) = (self.view.look().sources(), keeper.targets());
        for (place, leg) in facts.leg.iter_mut().enumerate() {
            leg.lower = state.lower_at(place).unwrap_or(uapi::STOR_REPLICA_ANY);
            leg.uuid = record.member.get(place).copied().unwrap_or_default();
            let flag = |on: bool, bit: u32| if on { bit } else { 0 };
            let here = leg.lower != uapi::STOR_REPLICA_ANY;
            let attached = keeper.is_attached(place);
            leg.state = flag(keeper.entitled().has(place) && record.entitled().has(place), uapi::STOR_LEG_ENTITLED)
                | flag(targets.without(keeper.entitled()).has(place), uapi::STOR_LEG_REBUILDING)
                | flag(here && !attached && !keeper.joining().has(place), uapi::STOR_LEG_FAILED)
                | flag(keeper.joining().has(place), uapi::STOR_LEG_JOINING)
                | flag(record.voters().has(place), uapi::STOR_LEG_VOTER)
                | flag(here && sources & 1_u32.wrapping_shl(leg.lower) != 0, uapi::STOR_LEG_SOURCE);
            if let Some(speed) = watched.leg(leg.lower) {
                (leg.read_time, leg.write_time) = (speed.read(), speed.write());
                leg.state |= flag(speed.is_slow(), uapi::STOR_LEG_SLOW)
                    | flag(speed.is_silent(), uapi::STOR_LEG_SILENT)
                    | flag(mostly & 1_u32.wrapping_shl(leg.lower) != 0, uapi::STOR_LEG_WRITE_MOSTLY);
            }
            if let Some(count) = self.counts.get(leg.lower as usize) {
                leg.read_errors = count.read_errors.load(Relaxed);
                leg.write_errors = count.write_errors.load(Relaxed);
                leg.repaired = count.repaired.load(Relaxed);
            }
        }
    }

    /// Bytes of memory.
    fn memory(&self) -> u64 {
        let pages = self.geometry.pages().saturating_mul(2 * 4096);
        let words = self.words.memory().saturating_add(self.epoch.memory());
        size_of::<Self>().saturating_add(pages).saturating_add(words).saturating_add(1024 * 8) as u64
    }
}
