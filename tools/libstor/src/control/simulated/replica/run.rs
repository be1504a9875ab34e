// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The steps of a replica's keeper, done on simulated devices until nothing is left to be done.

use super::{at, member, Area};
use crate::control::replica::{RebuildFacts, ReplicaFacts};
use crate::control::Answer;
use crate::device::Plain;
use crate::replica::leg::Leg;
use crate::replica::steps::{Cells, Members};
use crate::{Bytes, Uuid};
use nix::errno::Errno;
use std::rc::Rc;
use stor_pure::abi::uapi::*;
use stor_pure::pure::md::bitmap::{Geometry, Header};
use stor_pure::pure::md::PAGE_SIZE;
use stor_pure::pure::replica::assemble::{Plan, Use};
use stor_pure::pure::replica::intent::Intent;
use stor_pure::pure::replica::keeper::{Keeper, Step, Stop};
use stor_pure::pure::replica::rebuild::Cursor;
use stor_pure::pure::replica::record::Position;
use stor_pure::pure::replica::set::Set;

/// Sweeps until a bit that nobody needs is cleared.
const SWEEPS: usize = 4;

/// A replica that runs.
pub(super) struct Run {
    keeper: Option<Keeper<Cells, Area>>,
    intent: Option<Intent<Cells, Area>>,
    plan: Plan,
    members: Members,
    failing: Set,
    /// It runs already: who fails now was there when it started.
    resumed: bool,
    copied: u64,
    writer: [u8; 16],
}

impl Run {
    pub(super) fn new(plan: &Plan, header: Header, geometry: Geometry, failing: Set, resumed: bool) -> Answer<Self> {
        let chunks = usize::try_from(geometry.chunks()).map_err(|_| Errno::ENOMEM)?;
        let words = Cells::new(chunks);
        let intent = Intent::new(geometry, words, header).map_err(|_| Errno::ENOMEM)?;
        Ok(Self {
            keeper: None,
            intent: Some(intent),
            plan: plan.clone(),
            members: Members::default(),
            failing,
            resumed,
            copied: 0,
            writer: [0; 16],
        })
    }

    /// A leg: its bits are taken over.
    pub(super) fn add_leg(&mut self, place: usize, found: &Leg, content: Plain, own: &Use) -> Answer<()> {
        let intent = self.intent.as_mut().ok_or(Errno::EIO)?;
        self.members.add_leg(place, found, Rc::new(content), own, intent).map_err(|_| Errno::EIO)
    }

    pub(super) fn add_tie_break(&mut self, position: Position, content: Plain) {
        self.members.add_tie_break(position, Rc::new(content));
    }

    /// Who writes, and when.
    pub(super) fn writer(&mut self, machine: [u8; 16], seconds: u64) {
        (self.writer, self.members.seconds) = (machine, seconds);
    }

    pub(super) fn start(&mut self) {
        if let Some(intent) = self.intent.take() {
            let mut keeper = Keeper::new(&self.plan, intent);
            keeper.set_writer(self.writer, self.members.seconds);
            self.keeper = Some(keeper);
        }
    }

    /// Does all there is to be done; without the rebuild, if that is held.
    pub(super) fn go(&mut self, held: bool) -> Answer<()> {
        let mut keeper = self.keeper.take().ok_or(Errno::EIO)?;
        let mut sweeps = 0;
        let mut cursor = Cursor::default();
        loop {
            self.steps(&mut keeper)?;
            let targets = keeper.rebuilding();
            if keeper.stopped().is_some() {
                break;
            }
            if !targets.is_empty() && !held {
                while let Some(window) = cursor.next(&keeper.intent, keeper.restarts(), u64::MAX) {
                    self.copied += window.sectors;
                    cursor.done(&keeper.intent, keeper.restarts(), window, !keeper.is_degraded());
                }
                keeper.rebuilt(targets);
                continue;
            }
            if sweeps == SWEEPS {
                break;
            }
            sweeps += 1;
            keeper.sweep();
        }
        let stopped = matches!(keeper.stopped(), Some(Stop::Quorum(_))) && !self.resumed;
        self.keeper = Some(keeper);
        // A start that too few were told of is none.
        if stopped {
            Err(Errno::EIO)
        } else {
            Ok(())
        }
    }

    fn steps(&mut self, keeper: &mut Keeper<Cells, Area>) -> Answer<()> {
        while let Some(step) = keeper.begin() {
            let started = matches!(step, Step::Record(_)) && self.resumed;
            let mut ok = Set::NONE;
            for place in step.members().iter() {
                let failing = self.failing.has(place);
                if !failing && self.members.perform(keeper, step, place).is_ok() || failing && self.resumed {
                    ok = ok.with(Set::one(place));
                }
            }
            keeper.done(ok);
            if started {
                // It has been claimed before: now they fail.
                self.resumed = false;
                keeper.fail(self.failing);
            }
        }
        Ok(())
    }

    /// Whether a member of this UUID takes part.
    pub(super) fn has(&self, uuid: Uuid) -> bool {
        let keeper = self.keeper.as_ref();
        keeper.is_some_and(|keeper| {
            let place = keeper.record().place(uuid.as_bytes());
            place.is_some_and(|place| keeper.is_attached(place))
        })
    }

    /// What the kernel says of it.
    pub(super) fn facts(&self) -> ReplicaFacts {
        let Some(keeper) = &self.keeper else { return ReplicaFacts::default() };
        let (record, intent) = (keeper.record(), &keeper.intent);
        let geometry = intent.geometry();
        let chunk = u64::from(geometry.chunk_bytes());
        let needed = std::iter::successors(intent.next_needed(0), |chunk| intent.next_needed(chunk + 1));
        let first = intent.next_needed(0);
        let legs = record.member.iter().enumerate().map(|(place, uuid)| {
            let bits = [
                (STOR_LEG_ENTITLED, keeper.targets().has(place) && record.entitled().has(place)),
                (STOR_LEG_REBUILDING, keeper.targets().has(place) && !record.entitled().has(place)),
                (STOR_LEG_VOTER, record.voters().has(place)),
                (STOR_LEG_SOURCE, keeper.sources().has(place)),
            ];
            let mut leg = member(*uuid);
            leg.state = bits.iter().filter(|(_, set)| *set).fold(0, |all, (bit, _)| all | bit);
            leg
        });
        ReplicaFacts {
            stop: match keeper.stopped() {
                None => STOR_REPLICA_RUNS,
                Some(Stop::Quorum(_)) => STOR_REPLICA_STOP_QUORUM,
                Some(Stop::NoLeg) => STOR_REPLICA_STOP_NO_LEG,
                Some(Stop::End) => STOR_REPLICA_STOP_END,
            },
            slots: keeper.slots().bits(),
            epoch: record.epoch.get(),
            lineage: Uuid::from_bytes(record.lineage),
            events: intent.header().events.get(),
            chunk_size: Bytes(chunk),
            chunks: geometry.chunks(),
            dirty: (0..geometry.chunks()).filter(|chunk| intent.is_set(*chunk)).count() as u64,
            needed: needed.count() as u64,
            copied: Bytes(at(self.copied)),
            position: Bytes(first.map_or(0, |first| at(geometry.sectors_of(first).0))),
            waiting: 0,
            memory: Bytes((geometry.pages() * PAGE_SIZE) as u64),
            rebuild: RebuildFacts::default(),
            legs: legs.collect(),
        }
    }
}
