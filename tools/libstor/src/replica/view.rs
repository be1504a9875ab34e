// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Replicas as they are shown.

use super::array::Array;
use super::config::Config;
use super::scan::Group;
use crate::control::replica::{LegFacts, RebuildFacts, ReplicaFacts};
use crate::reservation::ReservationView;
use crate::size::bytes;
use crate::volume::{state_words, Status};
use crate::{Bytes, Uuid};
use serde::Serialize;
use std::path::PathBuf;
use stor_pure::abi::uapi::*;
use stor_pure::pure::md::superblock::device;
use stor_pure::pure::replica::assemble::{Consent, Plan};
use stor_pure::pure::replica::set::{LEGS_MAX, TIE_BREAK};

/// A leg of a replica, or its tie-break.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LegView {
    /// Its slot; none for the tie-break.
    pub slot: Option<u32>,
    /// Its UUID, if anybody has this place.
    pub uuid: Option<Uuid>,
    /// Where it is, if it is there.
    pub device: Option<PathBuf>,
    /// `in-sync`, `rebuilding`, `joining`, `behind` (it will be rebuilt), `unknown`, `failed` or `missing`; of a tie-break `present`.
    pub state: &'static str,
    /// Whether it votes.
    pub votes: bool,
    /// Whether it may be read.
    pub read: bool,
    /// Reads that failed since the replica was assembled.
    pub read_errors: u64,
    /// Writes that failed.
    pub write_errors: u64,
    /// Reads that failed and were written anew from another leg.
    pub repaired: u64,
    /// Its reservation, if it has one; looked at only where one replica is shown.
    pub reservation: Option<ReservationView>,
    /// It is read only if no other can be.
    pub write_mostly: bool,
    /// Its writes take much longer than those of another.
    pub slow: bool,
    /// It has had I/O under way for 30 seconds, none of which has ended.
    pub silent: bool,
    /// Microseconds that a read took of late, on average, if that is known.
    pub read_us: Option<u64>,
    /// Likewise a write.
    pub write_us: Option<u64>,
}

/// How a rebuild goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rebuild {
    /// What it has copied.
    #[serde(serialize_with = "bytes")]
    pub copied: Bytes,
    /// What it has to copy yet.
    #[serde(serialize_with = "bytes")]
    pub left: Bytes,
    /// Bytes a second since it began.
    pub rate: u64,
    /// How many it will take at that rate, if it is above 0.
    pub seconds_left: Option<u64>,
    /// What it waits for: `source` (no leg can be read there), `writes` (somebody writes there), `leg` (one does not answer), `rate`.
    pub waits: Option<&'static str>,
    /// For how many seconds.
    pub waits_seconds: u64,
}

/// What is known of a replica that is assembled only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Running {
    /// Its node.
    pub device: String,
    /// The engine that drives it.
    pub engine: Option<String>,
    /// How often it is open.
    pub open_count: u32,
    /// Why it has stopped: `quorum`, `no-leg`, `end`.
    pub stopped: Option<&'static str>,
    /// The epoch of the membership.
    pub epoch: u64,
    /// Its lineage.
    pub lineage: Uuid,
    /// md's events counter.
    pub events: u64,
    /// What a bit of the bitmap stands for.
    #[serde(serialize_with = "bytes")]
    pub chunk_size: Bytes,
    /// How many bits there are,
    pub chunks: u64,
    /// how many are set,
    pub dirty: u64,
    /// and how many chunks some leg lacks.
    pub needed: u64,
    /// What was copied since it was assembled.
    #[serde(serialize_with = "bytes")]
    pub copied: Bytes,
    /// How far the rebuild is, if there is one.
    pub rebuilt_percent: Option<u64>,
    /// How it goes.
    pub rebuild: Option<Rebuild>,
    /// Requests that wait for the membership or the bitmap.
    pub waiting: u64,
    /// Kernel memory.
    #[serde(serialize_with = "bytes")]
    pub memory: Bytes,
    /// The leg that is read from if possible.
    pub prefer: Option<PathBuf>,
    /// Bytes a second that a rebuild takes at most; 0 for as much as there is.
    pub resync_rate: u64,
    /// Milliseconds: while I/O to a leg takes longer, a rebuild takes less; none: never mind.
    pub resync_latency_ms: Option<u32>,
    /// Milliseconds: a leg whose writes take longer, and ten times as long as the fastest leg's, is slow; none if no leg is.
    pub slow_ms: Option<u32>,
    /// A leg that is slow or silent counts as failed.
    pub drop_slow: bool,
}

/// A replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplicaView {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// Its size.
    #[serde(serialize_with = "bytes")]
    pub size: Bytes,
    /// Words; none for one that is assembled and has all of its legs.
    pub state: Vec<&'static str>,
    /// Its legs, one for each slot.
    pub legs: Vec<LegView>,
    /// Its tie-break.
    pub tie_break: Option<LegView>,
    /// Why it cannot be assembled.
    pub problem: Option<String>,
    /// What is known of one that is assembled.
    pub running: Option<Running>,
    /// Who serves it, if anybody does: `stor` or `md`.
    pub served_by: Option<&'static str>,
    /// What is known of one that md has.
    pub md: Option<Md>,
}

/// What is known of a replica that the kernel's own md has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Md {
    /// The kernel's name for the array.
    pub name: String,
    /// Its node.
    pub device: PathBuf,
    /// What md says of it; `inactive` if it only holds the legs.
    pub state: String,
    /// What it is doing, such as `recover`.
    pub action: String,
    /// How far that is.
    pub rebuilt_percent: Option<u64>,
}

/// A device with something of a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundLeg {
    /// Its path.
    pub path: PathBuf,
    /// The replica's name.
    pub replica: Option<String>,
    /// The replica's UUID.
    pub replica_uuid: Option<Uuid>,
    /// `leg` or `tie-break`.
    pub role: Option<&'static str>,
    /// A leg's slot.
    pub slot: Option<u32>,
    /// Its own UUID.
    pub uuid: Option<Uuid>,
    /// A leg's events counter.
    pub events: Option<u64>,
    /// The epoch of its record.
    pub epoch: Option<u64>,
    /// The lineage of its record.
    pub lineage: Option<Uuid>,
    /// Whether it has all that was acknowledged, as far as it knows.
    pub entitled: Option<bool>,
    /// Some of `assembled`, `md` (md has it now), `dirty` (writes were under way), `foreign` (md has had it since).
    pub state: Vec<&'static str>,
    /// Why it cannot be used.
    pub problem: Option<String>,
    /// Its reservation, if it has one.
    pub reservation: Option<ReservationView>,
}

/// What an operation did, or in a dry run would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplicaChange {
    /// Whether anything changed.
    pub changed: bool,
    /// Whether it was only tried.
    pub dry_run: bool,
    /// The replica afterwards.
    pub replica: Option<ReplicaView>,
    /// What changed, as a sentence.
    pub text: String,
}

/// The word for `STOR_REPLICA_*`.
pub(crate) const fn stop_word(stop: u64) -> Option<&'static str> {
    match stop {
        0 => None,
        1 => Some("quorum"),
        2 => Some("no-leg"),
        3 => Some("end"),
        _ => Some("unknown"),
    }
}
const _: () = assert!(STOR_REPLICA_RUNS == 0 && STOR_REPLICA_STOP_QUORUM == 1 && STOR_REPLICA_STOP_NO_LEG == 2);
const _: () = assert!(STOR_REPLICA_STOP_END == 3);

/// The path of a disk by the kernel's name for it.
fn path(disk: &str) -> PathBuf {
    PathBuf::from("/dev").join(disk.replace('!', "/"))
}

/// Whether a member is there and takes part.
pub(super) fn is_attached(leg: &LegFacts) -> bool {
    leg.lower.is_some() && leg.state & STOR_LEG_FAILED == 0
}

fn leg_view(slot: Option<u32>, facts: &LegFacts, status: &Status) -> LegView {
    let has = |bit| facts.state & bit != 0;
    let lower = facts.lower.and_then(|lower| status.lowers.get(lower as usize));
    let state = match lower {
        _ if has(STOR_LEG_FAILED) => "failed",
        None => "missing",
        Some(_) if slot.is_none() => "present",
        Some(_) if has(STOR_LEG_ENTITLED) => "in-sync",
        Some(_) if has(STOR_LEG_REBUILDING) => "rebuilding",
        Some(_) if has(STOR_LEG_JOINING) => "joining",
        Some(_) => "behind",
    };
    LegView {
        slot,
        uuid: Some(facts.uuid).filter(|uuid| !uuid.is_nil()),
        device: lower.map(|lower| path(&lower.disk)),
        state,
        votes: has(STOR_LEG_VOTER),
        read: has(STOR_LEG_SOURCE),
        read_errors: facts.read_errors,
        write_errors: facts.write_errors,
        repaired: facts.repaired,
        reservation: None,
        write_mostly: has(STOR_LEG_WRITE_MOSTLY),
        slow: has(STOR_LEG_SLOW),
        silent: has(STOR_LEG_SILENT),
        read_us: microseconds(facts.read_time),
        write_us: microseconds(facts.write_time),
    }
}

fn microseconds(nanoseconds: u64) -> Option<u64> {
    (nanoseconds != 0).then(|| nanoseconds.div_ceil(1000))
}

/// The word for `STOR_REPLICA_WAITS_*`.
pub(super) const fn waits_word(waits: u32) -> Option<&'static str> {
    match waits {
        STOR_REPLICA_WAITS_NOTHING => None,
        STOR_REPLICA_WAITS_SOURCE => Some("source"),
        STOR_REPLICA_WAITS_WRITES => Some("writes"),
        STOR_REPLICA_WAITS_LEG => Some("leg"),
        STOR_REPLICA_WAITS_RATE => Some("rate"),
        _ => Some("unknown"),
    }
}

/// What a rebuild waits for, as a sentence.
pub fn waits_for(word: &str) -> &str {
    match word {
        "source" => "no leg can be read there; it is tried again every 5 seconds",
        "writes" => "somebody writes there all the time",
        "leg" => "a leg does not answer",
        "rate" => "it has taken what it may for now",
        other => other,
    }
}

impl Rebuild {
    fn of(facts: &RebuildFacts) -> Option<Self> {
        const SECOND: u128 = 1_000_000_000;
        if facts.time == 0 {
            return None;
        }
        let rate = u128::from(facts.copied.0) * SECOND / u128::from(facts.time);
        let seconds = u128::from(facts.left.0).checked_div(rate);
        Some(Self {
            copied: facts.copied,
            left: facts.left,
            rate: u64::try_from(rate).unwrap_or(u64::MAX),
            seconds_left: seconds.map(|seconds| u64::try_from(seconds).unwrap_or(u64::MAX)),
            waits: waits_word(facts.waits),
            waits_seconds: facts.waits_time / 1_000_000_000,
        })
    }
}

impl ReplicaView {
    /// One that the kernel has; nothing is known of one that is dead.
    pub(super) fn running(status: &Status, facts: Option<&ReplicaFacts>) -> Self {
        let info = &status.info;
        let config = Config::decode(&status.config).unwrap_or_default();
        let mut state: Vec<_> = state_words(info.state).collect();
        let (name, uuid, size) = (info.name.clone(), info.uuid, info.size);
        let Some(facts) = facts else {
            return Self {
                name,
                uuid,
                size,
                state,
                legs: Vec::new(),
                tie_break: None,
                problem: None,
                running: None,
                served_by: Some("stor"),
                md: None,
            };
        };
        let slots = (0..).zip(&facts.legs).take(LEGS_MAX).filter(|(slot, _)| facts.slots & (1 << slot) != 0);
        let legs: Vec<_> = slots.map(|(slot, leg)| leg_view(Some(slot), leg, status)).collect();
        let tie_break = facts.legs.get(TIE_BREAK).filter(|leg| !leg.uuid.is_nil());
        let tie_break = tie_break.map(|leg| leg_view(None, leg, status));
        let rebuilding = legs.iter().any(|leg| matches!(leg.state, "rebuilding" | "joining"));
        let words = [
            ("stopped", facts.stop != 0),
            ("degraded", legs.iter().any(|leg| leg.state != "in-sync")),
            ("rebuilding", rebuilding),
            ("slow-leg", legs.iter().any(|leg| leg.slow || leg.silent)),
            ("no-tie-break", tie_break.as_ref().is_some_and(|leg| leg.state != "present")),
        ];
        state.extend(words.iter().filter(|(_, is)| *is).map(|(word, _)| word));
        let percent = u128::from(facts.position.0) * 100;
        let percent = percent.checked_div(u128::from(size.0)).unwrap_or(0).min(100);
        let running = Running {
            device: info.path(),
            engine: info.engine.clone(),
            open_count: info.open_count,
            stopped: stop_word(facts.stop.into()),
            epoch: facts.epoch,
            lineage: facts.lineage,
            events: facts.events,
            chunk_size: facts.chunk_size,
            chunks: facts.chunks,
            dirty: facts.dirty,
            needed: facts.needed,
            copied: facts.copied,
            rebuilt_percent: rebuilding.then(|| u64::try_from(percent).unwrap_or(100)),
            rebuild: Rebuild::of(&facts.rebuild).filter(|_| rebuilding),
            waiting: facts.waiting,
            memory: facts.memory,
            prefer: config.prefer.and_then(|lower| status.lowers.get(lower as usize)).map(|lower| path(&lower.disk)),
            resync_rate: config.resync_rate,
            resync_latency_ms: (config.resync_latency != 0).then_some(config.resync_latency),
            slow_ms: config.slow.milliseconds(),
            drop_slow: config.slow.drop,
        };
        let (running, served_by) = (Some(running), Some("stor"));
        Self { name, uuid, size, state, legs, tie_break, problem: None, running, served_by, md: None }
    }

    /// One that is only on its devices, or that md has.
    pub(super) fn found(group: &Group) -> Self {
        let view = Self::inactive(group);
        match &group.array {
            Some(array) => view.by_md(group, array),
            None => view,
        }
    }

    fn inactive(group: &Group) -> Self {
        let plan = group.plan(Consent::Safe);
        let planned = |plan: &Plan, index: usize| {
            let place = plan.legs.get(index).and_then(|leg| leg.place);
            place.is_some_and(|place| plan.entitled.has(place))
        };
        let leg = |slot: u32| {
            let record = group.youngest();
            let member = record.and_then(|record| record.member.get(slot as usize));
            let index = group.legs.iter().position(|leg| match member {
                Some(member) => *member == leg.superblock.device_uuid,
                None => leg.slot() == Some(slot as usize),
            });
            let leg = index.and_then(|index| Some((index, group.legs.get(index)?)));
            let entitled = leg.map(|(index, _)| match &plan {
                Ok(plan) => Some(planned(plan, index)),
                Err(_) => None,
            });
            let own = leg.map(|(_, leg)| leg.uuid()).or(member.map(|uuid| Uuid::from_bytes(*uuid)));
            LegView {
                slot: Some(slot),
                uuid: own.filter(|uuid| !uuid.is_nil()),
                device: leg.map(|(_, leg)| leg.device.path.clone()),
                state: match entitled {
                    Some(Some(true)) => "in-sync",
                    Some(Some(false)) => "behind",
                    Some(None) => "unknown",
                    None => "missing",
                },
                votes: record.is_some_and(|record| record.voters().has(slot as usize)),
                read: false,
                read_errors: 0,
                write_errors: 0,
                repaired: 0,
                reservation: None,
                write_mostly: leg.is_some_and(|(_, leg)| leg.superblock.devflags & device::WRITE_MOSTLY != 0),
                slow: false,
                silent: false,
                read_us: None,
                write_us: None,
            }
        };
        let tie_break = group.tie_break.as_ref().map(|tie_break| LegView {
            slot: None,
            uuid: Some(Uuid::from_bytes(tie_break.record.device)),
            device: Some(tie_break.device.path.clone()),
            state: "present",
            votes: tie_break.record.voters().has(TIE_BREAK),
            read: false,
            read_errors: 0,
            write_errors: 0,
            repaired: 0,
            reservation: None,
            write_mostly: false,
            slow: false,
            silent: false,
            read_us: None,
            write_us: None,
        });
        Self {
            name: group.name(),
            uuid: group.uuid,
            size: group.size(),
            state: vec!["inactive"],
            legs: group.slots().iter().filter_map(|slot| u32::try_from(slot).ok()).map(leg).collect(),
            tie_break,
            problem: plan.err().map(|error| error.cause),
            running: None,
            served_by: None,
            md: None,
        }
    }

    /// One that md has: what is on its legs is what md says.
    fn by_md(mut self, group: &Group, array: &Array) -> Self {
        self.md = Some(Md::of(array));
        if !array.runs() {
            self.problem = Some(format!("md holds its legs ({}, which does not run)", array.name));
            return self;
        }
        (self.served_by, self.problem) = (Some("md"), None);
        for leg in &mut self.legs {
            let own = group.legs.iter().find(|own| leg.device.as_ref() == Some(&own.device.path));
            let member = own.and_then(|own| array.member(own.device.number));
            leg.state = match (leg.state, member) {
                (_, Some(member)) => member.state(),
                ("missing", None) => "missing",
                (_, None) => "behind",
            };
            leg.read = leg.state == "in-sync";
        }
        let words = [
            ("degraded", self.legs.iter().any(|leg| leg.state != "in-sync")),
            ("rebuilding", self.legs.iter().any(|leg| leg.state == "rebuilding")),
            ("read-only", array.state == "readonly"),
        ];
        self.state = words.iter().filter(|(_, is)| *is).map(|(word, _)| *word).collect();
        self
    }
}
