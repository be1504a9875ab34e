// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Everything that is written besides data, one step after the other.
//!
//! Whoever runs a volume asks for the next step ([`begin`](Keeper::begin)), does it on all members that it names, and says on which it
//! went well ([`done`](Keeper::done)). Then writes that wait may be able to go on: those that ask for a bit, those that wait for
//! [`is_open`](Keeper::is_open), and those on [`hold`](super::acknowledge::Verdict::Hold).
//!
//! Steps in their order:
//! 1. at a start, a flush, since what was read may be in caches only, and the older copy of a record is about to be overwritten; the claim
//!    of an epoch ([`super::record`]), and a record with it;
//! 2. a change of the membership, as soon as a member has failed: one voter at a time, until the record says what is the case. If it is
//!    not decided by [enough](super::quorum) members, the volume stops;
//! 3. pages of the bitmap that somebody waits for, with the header's events counter before the superblocks';
//! 4. superblocks: that there are writes, or which legs are left. After that those that were dropped are needed no longer;
//! 5. one [`Task`] at a time: a leg joins, or is entitled; bits are cleared; superblocks become clean.
//!
//! A step that fails on a member takes no effect: the membership is changed, and the step done again.

use super::acknowledge::Standing;
use super::assemble::{Plan, Recovery};
use super::change::{Member, Move, Moves};
use super::chunk::Words;
use super::intent::{Batch, Intent};
use super::mutant::{breaks, Mutant};
use super::quorum;
use super::record::Record;
use super::set::{Set, TIE_BREAK};
use crate::pure::md::superblock::{feature, Role, Superblock, CLEAN};
use crate::pure::thin::store::Memory;
use core::fmt;

/// Something to be done, on each of some members, at the same time. What is written is durable (FUA) when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write the [record](Keeper::record).
    Record(Set),
    /// Write the superblock, as [described](Keeper::describe).
    Superblock(Set),
    /// Write the pages that are [`writing`](Intent::writing).
    Pages(Set),
    /// Flush; all writes that ended before.
    Flush(Set),
    /// Wait until all writes and flushes that are under way now have ended on all their legs. They need not be answered: one on
    /// hold waits for another step.
    Drain,
}

impl Step {
    /// The members.
    pub fn members(self) -> Set {
        match self {
            Self::Record(set) | Self::Superblock(set) | Self::Pages(set) | Self::Flush(set) => set,
            Self::Drain => Set::NONE,
        }
    }
}

/// Why a volume has stopped: what waits is to be failed, and nothing more can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A record could not be written to enough voters.
    Quorum(Set),
    /// The last entitled leg has failed.
    NoLeg,
    /// No further change can be counted.
    End,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quorum(voters) => write!(
                f,
                "too few of the voters {voters} could be told of a change: bring them back and assemble the volume again"
            ),
            Self::NoLeg => f.write_str("the last leg that has all of the data failed: bring it back and assemble the volume again"),
            Self::End => f.write_str("the membership has been changed as often as it can be: copy the volume to a new one"),
        }
    }
}

/// What is done when nobody waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Nothing.
    Idle,
    /// A leg gets bitmap and superblock and, after a flush, the record; then writes go to it; when those that did not have ended, it is rebuilt.
    Admit(Set, Stage),
    /// A leg that was rebuilt is entitled, after all that was acknowledged without it is durable on it.
    Entitle(Set, Stage),
    /// Bits are cleared.
    Sweep(Stage),
    /// The superblocks are to say that all is in sync.
    Rest(Stage),
}

/// How far a task is: which step is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its first step.
    First,
    /// Its second.
    Second,
    /// Its third.
    Third,
}

/// The state of a volume that runs.
pub struct Keeper<W: Words, M: Memory> {
    /// The bitmap.
    pub intent: Intent<W, M>,
    record: Record,
    /// Members that come and go.
    moves: Moves,
    /// Whom the record that is being written takes from the table: it is told, too.
    told: Option<Member>,
    slots: Set,
    /// Members that the record is written to.
    alive: Set,
    /// Legs that bitmap and superblock are written to.
    attached: Set,
    /// Legs that are to be entitled, whatever the record says yet.
    entitled: Set,
    /// Legs that writes go to, and that are not entitled.
    rebuilding: Set,
    /// Legs that are to join.
    joining: Set,
    /// Legs that lack nothing any more.
    rebuilt: Set,
    /// Members that have failed, and are to be dropped.
    failed: Set,
    /// Legs that a crash may make entitled.
    needed: Set,
    /// Once the superblocks are written, only those that the record names are.
    owed: bool,
    /// What was read may be in the caches of the members only.
    cached: bool,
    claim: bool,
    /// A start is an epoch of its own, even if nothing has changed: a record that was begun before, and of which those who are there
    /// do not know, is then older.
    renew: bool,
    /// A change of the membership is being written; the voters before it.
    change: Option<Set>,
    events: u64,
    /// The last that any superblock may have.
    issued: u64,
    clean: bool,
    superblock: bool,
    open: bool,
    wanted: bool,
    step: Option<Step>,
    task: Task,
    sweep: bool,
    rest: bool,
    stop: Option<Stop>,
    ready: bool,
    restarts: u64,
}

impl<W: Words, M: Memory> Keeper<W, M> {
    /// A volume that starts by a plan.
    ///
    /// `intent` has the bits of all legs that the plan says, all bits if any leg is to be rebuilt as a whole, and if there was no
    /// bitmap that counts, `events_cleared` is behind the plan's events.
    #[inline(never)]
    pub fn new(plan: &Plan, intent: Intent<W, M>) -> Self {
        let joining = plan.legs.iter().filter(|leg| leg.recovery != Recovery::None).filter_map(|leg| leg.place);
        let joining = joining.fold(Set::NONE, |set, place| set.with(Set::one(place))).without(plan.entitled);
        let mut keeper = Self {
            intent,
            record: plan.record.clone(),
            moves: plan.moves,
            told: None,
            slots: plan.slots,
            alive: plan.present,
            attached: plan.entitled,
            entitled: plan.entitled,
            rebuilding: Set::NONE,
            joining,
            rebuilt: Set::NONE,
            failed: Set::NONE,
            needed: plan.record.entitled().with(plan.entitled),
            owed: true,
            cached: !breaks(Mutant::Uncached),
            claim: true,
            renew: !breaks(Mutant::NoEpoch),
            change: None,
            events: plan.events.saturating_add(1),
            issued: plan.issued,
            clean: true,
            superblock: true,
            open: false,
            wanted: false,
            step: None,
            task: Task::Idle,
            sweep: false,
            rest: false,
            stop: None,
            ready: false,
            restarts: 0,
        };
        keeper.intent.set_events(keeper.events);
        keeper
    }

    /// The record that is, or is being, written.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The UUID under which the record is written to a member. One that has been removed is told once, when the table has it no longer.
    pub fn device(&self, place: usize) -> [u8; 16] {
        let told = self.told.filter(|told| told.place == place).map(|told| told.device);
        told.or_else(|| self.record.member.get(place).copied()).unwrap_or_default()
    }

    /// Places that are to have a leg.
    pub fn slots(&self) -> Set {
        self.slots
    }

    /// The legs that a write must be on before it is acknowledged, and those whose word does not count.
    pub fn standing(&self) -> Standing {
        Standing { needed: self.needed, failing: self.failed }
    }

    /// The legs that writes and flushes go to.
    pub fn targets(&self) -> Set {
        self.entitled.with(self.rebuilding).without(self.failed)
    }

    /// The legs that may be read.
    pub fn sources(&self) -> Set {
        if self.stop == Some(Stop::NoLeg) {
            return Set::NONE;
        }
        self.entitled.and(self.record.entitled()).without(self.failed)
    }

    /// Whether a member gets any of the steps.
    pub fn is_attached(&self, place: usize) -> bool {
        self.alive.with(self.attached).has(place)
    }

    /// Whether there are enough of those who vote without a member, also for the step under way.
    pub fn spares(&self, place: usize) -> bool {
        let rest = self.alive.without(self.failed).without(Set::one(place));
        let voters = self.record.voters();
        let decided = |voters| quorum::decides(voters, rest) && (!self.claim || quorum::starts(voters, rest));
        decided(voters) && self.change.is_none_or(decided)
    }

    /// Whether a write that these legs have needs no rebuild: no slot's leg lacks it.
    pub fn is_complete(&self, done: Set) -> bool {
        done.covers(self.slots)
    }

    /// Whether a slot's leg is missing.
    pub fn is_degraded(&self) -> bool {
        !self.entitled.with(self.rebuilding).covers(self.slots)
    }

    /// Legs to be rebuilt now.
    pub fn rebuilding(&self) -> Set {
        match self.task {
            // One that joins has writes under way that do not go to it; one that is about to be entitled lacks nothing.
            Task::Admit(..) | Task::Entitle(..) => Set::NONE,
            _ => self.rebuilding.without(self.failed).without(self.rebuilt),
        }
    }

    /// How often a rebuild has had to begin anew, for [`Cursor::next`](super::rebuild::Cursor::next).
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Whether writes may go to the legs, as far as it is not for their bits. If not, [`want`](Self::want).
    pub fn is_open(&self) -> bool {
        self.open || breaks(Mutant::DirtyAfterData) && self.ready && self.wanted && self.task == Task::Idle
    }

    /// Whether it may be read: before the record says who is entitled, another start could choose another leg.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Who writes records, and when, in seconds.
    pub fn set_writer(&mut self, machine: [u8; 16], time: u64) {
        (self.record.writer, self.record.time) = (machine, time.into());
    }

    /// What is being done while nobody waits.
    pub fn task(&self) -> Task {
        self.task
    }

    /// Why it has stopped.
    pub fn stopped(&self) -> Option<Stop> {
        self.stop
    }

    /// A write wants to go to the legs.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// Nobody has written for a while.
    pub fn idle(&mut self) {
        self.rest = self.open;
    }

    /// It is time for a sweep over the bits.
    pub fn sweep(&mut self) {
        self.sweep = true;
    }

    /// All that was needed has been copied to these legs.
    pub fn rebuilt(&mut self, legs: Set) {
        self.rebuilt = self.rebuilt.with(legs.and(self.rebuilding));
    }

    /// A leg comes while the volume runs. The bits that it lacks, and its own, are in the bitmap already.
    pub fn join(&mut self, place: usize) {
        self.joining = self.joining.with(Set::one(place).without(self.attached).and(self.slots));
    }

    /// Members have failed a request; those that are given up. The last leg that has all data is not: its errors go to whoever
    /// asked, at once, and nobody knows what it has of what was written. If it was a flush, it may have lost what
    /// other requests that are under way have done, which therefore have failed with it.
    pub fn fail(&mut self, members: Set) -> Set {
        let left = self.entitled.without(self.failed);
        let kept = if members.covers(left) { left.lowest().map_or(Set::NONE, Set::one) } else { Set::NONE };
        let given_up = members.without(kept).and(self.alive.with(self.attached));
        self.failed = self.failed.with(given_up);
        if !kept.is_empty() {
            self.doubt();
        }
        given_up
    }

    /// The last leg that has all data has failed a request. So others are equal to it no longer where there are bits, and none
    /// of these may go.
    pub fn doubt(&mut self) {
        self.intent.differ();
        self.rebuilt = Set::NONE;
        self.restarts = self.restarts.saturating_add(1);
        if let Task::Entitle(..) | Task::Sweep(_) | Task::Rest(_) = self.task {
            self.task = Task::Idle;
            self.open |= !self.clean && !self.superblock;
        }
    }

    /// Legs that wait for their turn to join.
    pub fn joining(&self) -> Set {
        match self.task {
            Task::Admit(legs, _) => self.joining.with(legs),
            _ => self.joining,
        }
    }

    /// The legs that are entitled, or are to be.
    pub fn entitled(&self) -> Set {
        self.entitled
    }

    /// A step has failed on members, and goes on for others. It is told at once: what such a leg says from now on does not count.
    pub fn missed(&mut self, members: Set) {
        self.failed = self.failed.with(members);
    }

    /// The next step; `None`: there is nothing to be done, or a step is under way.
    pub fn begin(&mut self) -> Option<Step> {
        if self.step.is_some() || self.stop.is_some() {
            return None;
        }
        self.drop_failed();
        self.step = self.decide();
        if let Some(Step::Record(_)) = self.step {
            self.record.events = self.issued.into();
        }
        self.step
    }

    /// Superblocks have to be written, with the next events counter. So those of entitled legs are never apart by more than one.
    fn update(&mut self) {
        self.superblock = true;
        if self.events == self.issued {
            self.events = self.events.saturating_add(1);
            self.intent.set_events(self.events);
        }
    }

    fn drop_failed(&mut self) {
        if self.failed.is_empty() {
            return;
        }
        let failed = self.failed;
        for set in [&mut self.alive, &mut self.attached, &mut self.entitled, &mut self.rebuilding] {
            *set = set.without(failed);
        }
        (self.joining, self.rebuilt) = (self.joining.without(failed), self.rebuilt.without(failed));
        match self.task {
            Task::Admit(legs, stage) if !legs.and(failed).is_empty() => {
                self.task = Task::Idle;
                if stage != Stage::Third {
                    // The others try again.
                    self.joining = self.joining.with(legs.without(failed));
                    self.attached = self.attached.without(legs);
                }
            }
            Task::Entitle(legs, _) if !legs.and(failed).is_empty() => self.task = Task::Idle,
            _ => {}
        }
        if matches!(self.task, Task::Sweep(_) | Task::Rest(_)) {
            self.task = Task::Idle;
            // What has been flushed has been so on other legs.
            self.wanted |= !self.open;
        }
        self.failed = Set::NONE;
        self.owed = true;
        self.update();
    }

    fn decide(&mut self) -> Option<Step> {
        if self.cached {
            return Some(Step::Flush(self.alive.with(self.attached)));
        }
        if self.claim {
            return Some(Step::Record(self.alive));
        }
        if self.attached.is_empty() || self.entitled.is_empty() {
            self.stop = Some(Stop::NoLeg);
            return None;
        }
        if let Some(step) = self.changed() {
            return Some(step);
        }
        if self.stop.is_some() {
            return None;
        }
        self.ready = true;
        self.urgent().or_else(|| self.work())
    }

    /// What somebody waits for.
    fn urgent(&mut self) -> Option<Step> {
        if self.wanted && self.clean && !self.superblock && self.task == Task::Idle {
            self.clean = false;
            self.update();
        }
        if self.intent.is_urgent() {
            self.intent.begin(Batch::Urgent);
            return Some(Step::Pages(self.attached));
        }
        if self.superblock {
            self.issued = self.events;
            return Some(Step::Superblock(self.attached));
        }
        None
    }

    /// A change of the membership, if the record does not say what is the case.
    fn changed(&mut self) -> Option<Step> {
        let voters = self.record.voters();
        let wanted = voters.with(self.entitled).with(Set::one(TIE_BREAK)).and(self.alive);
        let next = quorum::step(voters, wanted.without(self.moves.leaving()));
        let table = self.moves.next(&self.record, next);
        if self.entitled == self.record.entitled() && next == voters && !self.renew && table.is_none() {
            return None;
        }
        let epoch = self.record.claim.get();
        let Some(claim) = epoch.checked_add(1).filter(|claim| *claim < u64::MAX / 4) else {
            self.stop = Some(Stop::End);
            return None;
        };
        let epoch = epoch.max(self.record.epoch.get().saturating_add(1));
        self.record.parent = self.record.epoch;
        (self.record.epoch, self.record.claim) = (epoch.into(), claim.max(epoch + 1).into());
        (self.record.entitled, self.record.voters) = (self.entitled.bits().into(), next.bits().into());
        if let Some(table) = table {
            self.move_on(table);
        }
        self.needed = self.needed.with(self.entitled);
        self.change = Some(voters);
        Some(Step::Record(self.alive))
    }

    /// The record that is about to be written changes the table.
    fn move_on(&mut self, table: Move) {
        self.moves.begun(table);
        match table {
            Move::Forget(member) => {
                self.record.forget(member.place);
                self.told = Some(member);
            }
            Move::Name(member) => {
                self.record.name(member.place, member.device);
                if breaks(Mutant::RenameVoter) && member.place == TIE_BREAK {
                    self.record.voters = self.record.voters().with(Set::one(TIE_BREAK)).bits().into();
                }
                // A leg gets bitmap and superblock first.
                self.alive = self.alive.with(Set::one(member.place).and(Set::one(TIE_BREAK)));
            }
        }
    }

    /// The next step of what nobody waits for.
    fn work(&mut self) -> Option<Step> {
        if self.task == Task::Idle {
            self.task = self.choose();
            // Whoever joins gets pages and superblock before the record: what they said of it is needed until the bits are durable, and
            // what its record said until they are.
            if let Some(step) = self.urgent() {
                return Some(step);
            }
        }
        let legs = self.attached;
        match self.task {
            Task::Idle => None,
            Task::Admit(_, Stage::Second) => Some(Step::Record(self.alive)),
            Task::Admit(_, Stage::First) => Some(Step::Flush(legs)),
            Task::Admit(..) | Task::Entitle(_, Stage::First) | Task::Rest(Stage::First) => Some(Step::Drain),
            Task::Entitle(..) | Task::Rest(_) | Task::Sweep(Stage::First) => Some(Step::Flush(legs)),
            Task::Sweep(Stage::Second) => {
                self.intent.begin(Batch::Header);
                Some(Step::Pages(legs))
            }
            Task::Sweep(Stage::Third) => {
                // With the header the first page has been written already.
                self.intent.begin(Batch::Cleared);
                if self.intent.writing().next().is_none() {
                    self.task = Task::Idle;
                    return None;
                }
                Some(Step::Pages(legs))
            }
        }
    }

    fn choose(&mut self) -> Task {
        if !self.joining.is_empty() {
            let legs = core::mem::take(&mut self.joining);
            // The bits are durable on the others. From now on it gets everything, all pages and its superblock first.
            self.attached = self.attached.with(legs);
            if breaks(Mutant::RecordFirst) {
                self.alive = self.alive.with(legs);
            }
            self.intent.confirm();
            self.intent.differ();
            self.restarts = self.restarts.saturating_add(1);
            self.intent.urge_all();
            self.update();
            return Task::Admit(legs, Stage::First);
        }
        if !self.rebuilt.is_empty() {
            let legs = core::mem::take(&mut self.rebuilt);
            if breaks(Mutant::EntitleEarly) {
                self.entitle(legs);
                return Task::Idle;
            }
            // From now on nothing is acknowledged without it; what has been is drained.
            self.needed = self.needed.with(legs);
            return Task::Entitle(legs, Stage::First);
        }
        if self.sweep {
            self.intent.confirm();
        }
        if core::mem::take(&mut self.sweep)
            && (!self.is_degraded() || breaks(Mutant::ClearDegraded))
            && self.intent.sweep()
        {
            if breaks(Mutant::ClearUnflushed) {
                self.intent.clear();
                return Task::Sweep(Stage::Second);
            }
            return Task::Sweep(Stage::First);
        }
        if core::mem::take(&mut self.rest) && self.open {
            self.open = false;
            return Task::Rest(Stage::First);
        }
        Task::Idle
    }

    fn entitle(&mut self, legs: Set) {
        (self.entitled, self.rebuilding) = (self.entitled.with(legs), self.rebuilding.without(legs));
        self.owed = true;
        self.update();
    }

    /// A step has been done; the members on which it went well.
    pub fn done(&mut self, ok: Set) {
        let Some(step) = self.step.take() else { return };
        let missed = step.members().without(ok);
        self.failed = self.failed.with(missed);
        match step {
            Step::Record(members) => self.recorded(members.and(ok), missed.is_empty()),
            Step::Pages(_) => {
                self.intent.end(missed.is_empty());
                if let (Task::Sweep(stage), true) = (self.task, missed.is_empty()) {
                    self.task = match stage {
                        _ if self.intent.is_urgent() => self.task,
                        Stage::Second => Task::Sweep(Stage::Third),
                        Stage::Third => Task::Idle,
                        Stage::First => self.task,
                    };
                }
            }
            Step::Superblock(_) if missed.is_empty() => {
                self.superblock = false;
                if core::mem::take(&mut self.owed) {
                    self.needed = self.record.entitled();
                    if let Task::Entitle(legs, _) = self.task {
                        self.needed = self.needed.with(legs);
                    }
                    if self.entitled.covers(self.slots) && self.failed.is_empty() {
                        self.intent.equal();
                    }
                }
                if !self.clean {
                    (self.open, self.wanted) = (!matches!(self.task, Task::Rest(_)), false);
                }
            }
            Step::Superblock(_) => {}
            Step::Flush(_) if missed.is_empty() => self.flushed(),
            Step::Flush(_) => {}
            Step::Drain => self.drained(),
        }
        // Without any leg there is nobody to be told.
        if self.entitled.without(self.failed).is_empty() {
            self.stop = Some(Stop::NoLeg);
        }
    }

    fn recorded(&mut self, ok: Set, all: bool) {
        let voters = self.record.voters();
        let change = self.change.take();
        if let Some(told) = self.told.take() {
            self.alive = self.alive.without(Set::one(told.place));
        }
        let before = change.unwrap_or(voters);
        // The youngest record may have been begun by somebody who could not decide it. The claim, which has it besides, decides it: on as
        // many as a start needs, who are still there.
        let claimed = !core::mem::take(&mut self.claim) || quorum::starts(voters, ok) || breaks(Mutant::ClaimOnHalf);
        if !claimed || !quorum::decides(before, ok) || !quorum::decides(voters, ok) {
            self.stop = Some(Stop::Quorum(before));
            return;
        }
        self.renew &= change.is_none();
        if let (Task::Admit(legs, Stage::Second), true) = (self.task, all) {
            // Writes go to it from now on.
            self.rebuilding = self.rebuilding.with(legs);
            self.task = Task::Admit(legs, Stage::Third);
        }
    }

    fn flushed(&mut self) {
        if core::mem::take(&mut self.cached) {
            return;
        }
        match self.task {
            Task::Admit(legs, _) => {
                // A record before its superblock would make it one that somebody else has written.
                self.alive = self.alive.with(legs);
                self.task = Task::Admit(legs, Stage::Second);
            }
            Task::Entitle(legs, _) => {
                self.task = Task::Idle;
                self.entitle(legs);
            }
            Task::Sweep(_) => {
                self.task = if self.intent.clear() { Task::Sweep(Stage::Second) } else { Task::Idle };
                // While a leg is being rebuilt it counts from when the others were equal to it for the last time.
                if self.entitled.covers(self.slots) && self.rebuilding.is_empty() {
                    self.intent.set_cleared(self.events);
                }
            }
            Task::Rest(_) => {
                (self.task, self.clean) = (Task::Idle, true);
                self.update();
            }
            Task::Idle => {}
        }
    }

    fn drained(&mut self) {
        match self.task {
            Task::Admit(..) => self.task = Task::Idle,
            Task::Entitle(legs, _) => self.task = Task::Entitle(legs, Stage::Second),
            Task::Rest(_) if breaks(Mutant::CleanUnflushed) => {
                (self.task, self.clean) = (Task::Idle, true);
                self.update();
            }
            Task::Rest(_) => self.task = Task::Rest(Stage::Second),
            Task::Idle | Task::Sweep(_) => {}
        }
    }

    /// Makes a leg's superblock, as it was read, what is to be written. It is to be [sealed](Superblock::seal).
    ///
    /// `numbers` tells the permanent numbers of the legs by their places, `seconds` the time.
    pub fn describe(&self, leg: &mut Superblock, place: usize, numbers: &dyn Fn(usize) -> Option<u32>, seconds: u64) {
        leg.events = self.events.into();
        leg.resync_offset = if self.clean { CLEAN } else { 0 }.into();
        leg.set_time(seconds, self.record.tag());
        let mut features =
            leg.feature_map.get() & !(feature::RECOVERY | feature::RECOVERY_BITMAP | feature::REPLACEMENT);
        features |= feature::BITMAP;
        leg.recovery_offset = 0.into();
        if !self.entitled.has(place) {
            features |= feature::RECOVERY | feature::RECOVERY_BITMAP;
        }
        leg.feature_map = features.into();
        if let Some(last) = self.slots.iter().last() {
            leg.raid_disks = (last as u32 + 1).into();
        }
        let attached = self.attached.without(self.failed);
        let count = leg.max_dev.get() as usize;
        let numbered = attached.iter().filter_map(numbers).map(|number| number as usize + 1);
        let wanted = numbered.max().unwrap_or(0).min(leg.role.len()).max(count);
        for raw in leg.role.iter_mut().take(wanted).skip(count) {
            *raw = Role::Spare.raw().into();
        }
        leg.max_dev = (wanted as u32).into();
        let count = wanted;
        for raw in leg.role.iter_mut().take(count) {
            // Whoever is not there has failed; a number that nobody has stays free.
            if matches!(Role::of(raw.get()), Some(Role::Slot(_))) {
                *raw = Role::Faulty.raw().into();
            }
        }
        for place in attached.iter() {
            let number = numbers(place).filter(|number| (*number as usize) < count);
            if let Some(raw) = number.and_then(|number| leg.role.get_mut(number as usize)) {
                *raw = Role::Slot(place as u16).raw().into();
            }
        }
    }
}
