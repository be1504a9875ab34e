// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Replicas of a simulated kernel. What is on their legs is real: each call plans and runs the planners that the kernel runs, and does
//! their steps on the devices. Only data is never copied, for nobody writes any.

use super::{Simulated, State, Volume};
use crate::control::replica::{LegFacts, Range, Repair, ReplicaFacts, Verified};
use crate::control::{Answer, Table};
use crate::device::{Number, Plain};
use crate::pool::area::Area;
use crate::replica::config::{Config, Joins};
use crate::replica::leg::{self, at, Leg};
use crate::replica::tie_break::{self, TieBreak};
use crate::{Bytes, Uuid};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use stor_pure::abi::uapi::*;
use stor_pure::pure::md::bitmap::{Geometry, Header};
use stor_pure::pure::md::superblock::Superblock;
use stor_pure::pure::replica::assemble::{plan, returning, Plan, Recovery, Use};
use stor_pure::pure::replica::change::Moves;
use stor_pure::pure::replica::record::{Position, Record};
use stor_pure::pure::replica::refusal::Refusal;
use stor_pure::pure::replica::set::{Set, LEGS_MAX, TIE_BREAK};

mod run;
use run::Run;

/// A replica.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Replica {
    #[serde(with = "crate::linear::raw")]
    pub(super) size: Bytes,
    pub(super) config: Config,
    facts: ReplicaFacts,
    /// Where legs differ.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    differs: Vec<Range>,
}

/// The members that a table names, in its order.
struct Members {
    legs: Vec<Leg>,
    tie_break: Option<Voter>,
}

/// The tie-break.
struct Voter {
    number: Number,
    uuid: [u8; 16],
    record: Option<Box<Record>>,
    position: Position,
}

/// The lowers, the replica, and events with their values.
type Started = (Vec<Number>, Replica, Vec<(u32, u64)>);

/// What the kernel says of a refusal of the planners.
fn why(refusal: Refusal) -> Errno {
    match refusal {
        Refusal::Quorum { .. } | Refusal::NoSource { .. } | Refusal::NoneInSync | Refusal::Foreign(_) => Errno::ENODATA,
        Refusal::Apart(..) => Errno::ESTALE,
        Refusal::Record(..) => Errno::EUCLEAN,
        Refusal::NoLegs => Errno::EILSEQ,
        _ => Errno::EINVAL,
    }
}

impl Members {
    /// The lower that a member of this UUID is.
    fn lower(&self, uuid: &[u8; 16]) -> Option<u32> {
        let leg = self.legs.iter().position(|leg| leg.superblock.device_uuid == *uuid);
        let tie_break = self.tie_break.as_ref().filter(|own| own.uuid == *uuid).map(|_| self.legs.len());
        leg.or(tie_break).and_then(|index| u32::try_from(index).ok())
    }
}

impl State {
    /// What a device has, to be read and written.
    pub(super) fn open_lower(&self, number: Number) -> Answer<Plain> {
        if self.conflicts(number) {
            return Err(Errno::EIO);
        }
        let file = OpenOptions::new().read(true).write(true).open(self.backing(number)?);
        Ok(Plain::Free(file.map_err(|_| Errno::EIO)?))
    }

    fn members(&self, lowers: &[Number], config: &Config) -> Answer<Members> {
        let mut members = Members { legs: Vec::new(), tie_break: None };
        for (index, number) in lowers.iter().enumerate() {
            let device = self.device(*number).ok_or(Errno::EBADF)?;
            let content = self.open_lower(*number)?;
            if config.tie_break && index + 1 == lowers.len() {
                let found = tie_break::read(device, &content).map_err(|_| Errno::EIO)?;
                members.tie_break = Some(match (found, config.joins) {
                    // It has no record before it joins.
                    (None, Some(Joins::TieBreak(uuid))) => {
                        Voter { number: *number, uuid: uuid.into_bytes(), record: None, position: Position::NONE }
                    }
                    (found, _) => {
                        let TieBreak { record, position, .. } =
                            found.ok_or(Errno::EILSEQ)?.map_err(|_| Errno::EUCLEAN)?;
                        Voter { number: *number, uuid: record.device, record: Some(record), position }
                    }
                });
            } else {
                members.legs.push(leg::read(device, &content).map_err(|_| Errno::EIO)?.map_err(|_| Errno::EILSEQ)?);
            }
        }
        Ok(members)
    }

    /// Starts a replica, or lets one that runs go on with another table.
    pub(super) fn replica(&mut self, table: &Table<'_>, of: Option<&Volume>) -> Answer<Started> {
        let config = Config::decode(table.config).ok_or(Errno::EINVAL)?;
        let most = STOR_MAX_LEGS as usize + usize::from(config.tie_break);
        if table.lowers.is_empty() || table.lowers.len() > most {
            return Err(Errno::E2BIG);
        }
        let old: &[Number] = of.map_or(&[], |volume| &volume.lowers);
        let lowers: Vec<Number> = table.lowers.iter().map(|lower| lower.number).collect();
        let twice =
            lowers.iter().enumerate().any(|(index, lower)| lowers.iter().take(index).any(|other| other == lower));
        if twice {
            return Err(Errno::EINVAL);
        }
        for lower in table.lowers.iter().filter(|lower| !old.contains(&lower.number)) {
            // A start is written down, even that of a volume that refuses writes.
            self.usable(lower, false, of)?;
        }
        let members = self.members(&lowers, &config)?;
        let first = members.legs.first().ok_or(Errno::EINVAL)?;
        if first.array() != config.array || first.size() != table.size {
            return Err(Errno::EINVAL);
        }
        // A reload is a stop and a start, which is left out unless that is what changes the members.
        let running = of.and_then(|volume| volume.replica.as_ref());
        let running = running.filter(|_| config.joins.is_none() && config.leaves.is_none());
        let used = |leg: &LegFacts| leg.lower.is_none() || leg.state & STOR_LEG_FAILED == 0;
        if let Some(running) = running.filter(|running| lowers == old && running.facts.legs.iter().all(used)) {
            return Ok((lowers, Replica { config, ..running.clone() }, Vec::new()));
        }
        let (plan, failing) = match running {
            None => {
                let legs: Vec<_> = members.legs.iter().map(Leg::facts).collect();
                let tie_break = members.tie_break.as_ref().and_then(|own| own.record.as_deref());
                (plan(&legs, tie_break, config.consent()).map_err(why)?, Set::NONE)
            }
            Some(running) => self.going_on(running, &members)?,
        };
        let (facts, events) = self.run(&members, &plan, running, failing, &config)?;
        let differs = running.map_or(Vec::new(), |running| running.differs.clone());
        Ok((lowers, Replica { size: table.size, config, facts, differs }, events))
    }

    /// How a replica that runs goes on: those that it had are there without a start, others join, and some have failed.
    fn going_on(&self, running: &Replica, members: &Members) -> Answer<(Plan, Set)> {
        let facts = |uuid: Uuid| running.facts.legs.iter().find(|leg| leg.uuid == uuid);
        let attached =
            |uuid: Uuid| facts(uuid).is_some_and(|leg| leg.lower.is_some() && leg.state & STOR_LEG_FAILED == 0);
        let used = || members.legs.iter().filter(|leg| attached(leg.uuid()));
        let youngest = used().filter_map(|leg| Some((leg, &leg.record.as_ref().ok()?.0)));
        let (source, record) = youngest.max_by_key(|(_, record)| record.epoch.get()).ok_or(Errno::EIO)?;
        let mut record = (**record).clone();
        let mut plan = Plan {
            present: Set::NONE,
            entitled: Set::NONE,
            source: source.slot().ok_or(Errno::EIO)?,
            events: used().map(|leg| leg.superblock.events.get()).max().unwrap_or(0),
            issued: source.superblock.events.get(),
            legs: [Use::default(); LEGS_MAX],
            foreign: false,
            slots: record.slots(),
            moves: Moves::default(),
            record: record.clone(),
        };
        let mut failing = Set::NONE;
        let header = source.header.map(|(header, _)| header).ok_or(Errno::EIO)?;
        for (own, leg) in plan.legs.iter_mut().zip(&members.legs) {
            let place = record.place(&leg.superblock.device_uuid).filter(|place| *place < TIE_BREAK);
            let place = place.ok_or(Errno::ESTALE)?;
            let (one, gone) = (Set::one(place), self.gone(leg.device.number));
            (own.place, own.bits) = (Some(place), leg.bitmap.is_ok());
            if attached(leg.uuid()) {
                plan.present = plan.present.with(one);
                failing = failing.with(if gone { one } else { Set::NONE });
                if record.entitled().has(place) {
                    plan.entitled = plan.entitled.with(one);
                } else {
                    own.recovery = Recovery::Bits;
                }
            } else if !gone {
                let (cleared, chunk) = (header.events_cleared.get(), header.chunksize.get());
                own.recovery = returning(&record, cleared, chunk, &leg.facts()).map_err(why)?;
            }
        }
        if let Some(own) = &members.tie_break {
            plan.present = plan.present.with(Set::one(TIE_BREAK));
            if self.gone(own.number) {
                failing = failing.with(Set::one(TIE_BREAK));
            }
        }
        record.claim += 1;
        plan.record = record;
        Ok((plan, failing))
    }

    fn run(
        &self,
        members: &Members,
        plan: &Plan,
        old: Option<&Replica>,
        failing: Set,
        config: &Config,
    ) -> Answer<(ReplicaFacts, Vec<(u32, u64)>)> {
        let source = members.legs.iter().zip(&plan.legs).find(|(_, own)| own.place == Some(plan.source));
        let (source, _) = source.ok_or(Errno::EIO)?;
        let sound = source.header.filter(|_| source.bitmap.is_ok());
        let (header, geometry) = match sound {
            Some(found) => found,
            None => new_bitmap(&source.superblock, plan)?,
        };
        let mut run = Run::new(plan, header, geometry, failing, old.is_some())?;
        for (own, leg) in plan.legs.iter().zip(&members.legs) {
            if let Some(place) = own.place {
                let content = self.open_lower(leg.device.number)?;
                run.add_leg(place, leg, content, own)?;
            }
        }
        if let Some(own) = &members.tie_break {
            run.add_tie_break(own.position, self.open_lower(own.number)?);
        }
        run.writer(config.machine.into_bytes(), self.seconds());
        run.start();
        run.go(self.no_rebuild)?;
        let mut facts = run.facts();
        let before = old.map(|old| &old.facts);
        for leg in &mut facts.legs {
            leg.lower = members.lower(leg.uuid.as_bytes());
            if leg.lower.is_some() && !run.has(leg.uuid) {
                leg.state |= STOR_LEG_FAILED;
            }
        }
        let events = changes(before, &facts);
        Ok((facts, events))
    }

    /// What goes on by itself: legs that are gone fail, a rebuild that was held goes on.
    pub(super) fn settle_replicas(&mut self) {
        for volume in self.volumes.clone() {
            let Some(replica) = &volume.replica else { continue };
            let leg = |index: usize| replica.facts.legs.iter().find(|leg| leg.lower == u32::try_from(index).ok());
            let fails = volume.lowers.iter().enumerate().any(|(index, lower)| {
                self.gone(*lower) && leg(index).is_some_and(|leg| leg.state & STOR_LEG_FAILED == 0)
            });
            let held = replica.facts.legs.iter().any(|leg| leg.state & STOR_LEG_REBUILDING != 0);
            if replica.facts.stop != STOR_REPLICA_RUNS || !fails && (!held || self.no_rebuild) {
                continue;
            }
            let went = self.members(&volume.lowers, &replica.config).and_then(|members| {
                let (plan, failing) = self.going_on(replica, &members)?;
                self.run(&members, &plan, Some(replica), failing, &replica.config)
            });
            let Ok((facts, events)) = went else { continue };
            for (kind, value) in events {
                self.event(kind, value, &volume);
            }
            if let Some(Volume { replica: Some(replica), .. }) =
                self.volumes.iter_mut().find(|other| other.uuid == volume.uuid)
            {
                replica.facts = facts;
            }
        }
    }

    /// Seconds since 1970.
    pub(super) fn seconds(&self) -> u64 {
        // The year 2026 begins when it boots.
        1_767_225_600 + self.now / 1_000_000_000
    }
}

/// The bitmap of a replica that has none which counts.
fn new_bitmap(superblock: &Superblock, plan: &Plan) -> Answer<(Header, Geometry)> {
    let geometry = Geometry::choose(superblock.size.get(), 8).map_err(|_| Errno::EINVAL)?;
    // Without bits that count, no leg that comes can have missed little.
    Ok((Header::new(superblock.set_uuid, &geometry, plan.events + 1, 8), geometry))
}

/// The events that lead from one state to the other.
fn changes(old: Option<&ReplicaFacts>, new: &ReplicaFacts) -> Vec<(u32, u64)> {
    let mut events = Vec::new();
    for (slot, leg) in (0..).zip(&new.legs) {
        let was = old.and_then(|old| old.legs.iter().find(|old| old.uuid == leg.uuid)).map_or(0, |leg| leg.state);
        let came = |bit| leg.state & bit != 0 && was & bit == 0;
        if came(STOR_LEG_FAILED) {
            events.push((STOR_EVENT_LEG_FAILED, slot));
        }
        if came(STOR_LEG_REBUILDING) || old.is_some() && came(STOR_LEG_ENTITLED) && was & STOR_LEG_REBUILDING == 0 {
            events.push((STOR_EVENT_LEG_JOINED, slot));
        }
        if old.is_some() && came(STOR_LEG_ENTITLED) {
            events.push((STOR_EVENT_LEG_ENTITLED, slot));
        }
    }
    if new.stop != STOR_REPLICA_RUNS && old.is_none_or(|old| old.stop == STOR_REPLICA_RUNS) {
        events.push((STOR_EVENT_REPLICA_STOPPED, new.stop.into()));
    }
    events
}

impl Simulated {
    pub(super) fn replica_facts(&self, uuid: Uuid) -> Answer<ReplicaFacts> {
        self.call("replica_status", |state| {
            let volume = state.volume(uuid)?;
            if volume.engine.is_none() {
                return Err(Errno::ENODEV);
            }
            volume.replica.as_ref().map(|replica| replica.facts.clone()).ok_or(Errno::EOPNOTSUPP)
        })
    }
}

impl Simulated {
    /// Nothing is compared: where legs differ is said by the state.
    pub(super) fn verify(&self, uuid: Uuid, (start, end): (Bytes, Bytes), repair: Repair) -> Answer<Verified> {
        self.call("replica_verify", |state| {
            let replica = state.volume(uuid)?.replica.as_mut().ok_or(Errno::EOPNOTSUPP)?;
            let sources = replica.facts.legs.iter().filter(|leg| leg.state & STOR_LEG_SOURCE != 0).count();
            let within = |range: &Range| start.0 <= range.start.0 && range.start.0 + range.length.0 <= end.0;
            let majority = |range: &Range| 2 * (sources - range.legs.count_ones() as usize) > sources;
            let mut ranges: Vec<Range> = replica.differs.iter().copied().filter(within).collect();
            for range in &mut ranges {
                range.repaired = match repair {
                    Repair::No => false,
                    Repair::Majority => majority(range),
                    Repair::From(_) => true,
                };
            }
            replica.differs.retain(|range| !ranges.iter().any(|own| own.repaired && own.start == range.start));
            Ok(Verified { position: end, ranges })
        })
    }
}

/// Facts of a member before it is known what it does.
fn member(uuid: [u8; 16]) -> LegFacts {
    LegFacts { uuid: Uuid::from_bytes(uuid), ..LegFacts::default() }
}
