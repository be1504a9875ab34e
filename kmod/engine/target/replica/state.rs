// SPDX-License-Identifier: GPL-2.0

//! The state of a replica that runs, behind a mutex: the keeper, and the members. The I/O path never takes it.

use super::super::memory::Kernel;
use super::member::{read_leg, read_tie_break, Found, Frame, Member};
use super::view::{Facts, NOBODY};
use super::words::SharedWords;
use super::Shared;
use crate::abi::{errno, uapi};
use crate::block::clock;
use crate::block::deferred::DeferredList;
use crate::pure::md::bitmap::Header;
use crate::pure::md::superblock::{device, Superblock};
use crate::pure::md::PAGE_SECTORS;
use crate::pure::replica::assemble::{plan_into, Consent, Plan, Recovery};
use crate::pure::replica::change::Change;
use crate::pure::replica::intent::Intent;
use crate::pure::replica::keeper::{Keeper, Step, Stop};
use crate::pure::replica::pace::Pace;
use crate::pure::replica::rebuild::{Cursor, Window};
use crate::pure::replica::record::Identity;
use crate::pure::replica::refusal::Refusal;
use crate::pure::replica::set::{Set, PLACES, TIE_BREAK};
use kernel::prelude::*;
use kernel::sync::atomic::ordering::Relaxed;
use zerocopy::FromBytes;

/// Reads that failed on a leg and are to be written there anew: first sector, how many, the lower devices.
pub(super) type Repair = (u64, u64, u32);

/// Repairs that wait at most: others wait for the next reader.
const REPAIRS: usize = 64;

/// What is done by a worker of a volume.
pub(super) struct State {
    /// While it is loaded.
    pub(super) keeper: Option<KBox<Keeper<SharedWords, Kernel>>>,
    /// By lower devices; one that could not be read has none.
    pub(super) members: KVec<Option<Member>>,
    /// By places; [`NONE`] if it is not there.
    lower_of: [u8; PLACES],
    /// Lower devices with blocks that md has noted as bad: they are not read.
    bad: u32,
    /// Lower devices of whose failure the keeper has been told.
    pub(super) seen: u32,
    /// What waits for bits or for the volume to open.
    pub(super) waiting: DeferredList,
    pub(super) cursor: Cursor,
    pub(super) repairs: KVec<Repair>,
    /// When bits are swept next, and when writes are looked for next; 0 if there is nothing to sweep.
    pub(super) sweep_at: u64,
    pub(super) idle_at: u64,
    /// When the next window may be copied.
    pub(super) copy_at: u64,
    /// What has been told.
    told: Told,
    /// Bytes copied to legs.
    pub(super) copied: u64,
    /// Bytes that were passed over, because there is nothing.
    pub(super) passed: u64,
    /// Of the rebuild that is under way.
    pub(super) rebuild: Rebuild,
}

/// How a rebuild goes.
#[derive(Clone, Copy, Default)]
pub(super) struct Rebuild {
    /// When it began; 0: there is none.
    pub(super) since: u64,
    /// Bytes that had been copied or passed over then.
    pub(super) through: u64,
    /// `STOR_REPLICA_WAITS_*`, and since when.
    pub(super) waits: u32,
    pub(super) waits_since: u64,
    /// What it waits between two windows, and which look at the legs that is from.
    pub(super) pace: Pace,
    pub(super) looked: u64,
}

impl Rebuild {
    /// It does not go on, for this reason.
    pub(super) fn wait(&mut self, why: u32) {
        if self.waits != why {
            (self.waits, self.waits_since) = (why, clock::now());
        }
    }

    pub(super) fn goes_on(&mut self) {
        (self.waits, self.waits_since) = (uapi::STOR_REPLICA_WAITS_NOTHING, 0);
    }
}

/// Of which something changed since there was an event.
#[derive(Clone, Copy, Default)]
struct Told {
    entitled: Set,
    rebuilding: Set,
    stopped: bool,
}

/// In place of a lower device.
const NONE: u8 = u8::MAX;

impl State {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            keeper: None,
            members: KVec::new(),
            lower_of: [NONE; PLACES],
            bad: 0,
            seen: 0,
            waiting: DeferredList::new(),
            cursor: Cursor::default(),
            repairs: KVec::with_capacity(REPAIRS, GFP_KERNEL)?,
            sweep_at: 0,
            idle_at: 0,
            copy_at: 0,
            told: Told::default(),
            copied: 0,
            passed: 0,
            rebuild: Rebuild::default(),
        })
    }

    /// A window is done on the legs that were being rebuilt; whether they still are.
    pub(super) fn advance(&mut self, restarts: u64, legs: Set, window: Window) -> bool {
        let Some(keeper) = self.keeper.as_ref().filter(|keeper| keeper.rebuilding() == legs) else { return false };
        self.cursor.done(&keeper.intent, restarts, window, !keeper.is_degraded());
        true
    }

    /// How much the rebuild has been through, in bytes.
    pub(super) fn through(&self) -> u64 {
        self.copied.wrapping_add(self.passed)
    }

    /// The member in a place, and its lower device.
    pub(super) fn member_at(&mut self, place: usize) -> Option<(u32, &mut Member)> {
        let lower = *self.lower_of.get(place)?;
        Some((u32::from(lower), self.members.get_mut(usize::from(lower))?.as_mut()?))
    }

    /// The lower device in a place.
    pub(super) fn lower_at(&self, place: usize) -> Option<u32> {
        self.lower_of.get(place).filter(|lower| **lower != NONE).map(|lower| u32::from(*lower))
    }

    /// The place of a lower device.
    pub(super) fn place_of(&self, lower: u32) -> Option<usize> {
        self.lower_of.iter().position(|own| u32::from(*own) == lower)
    }

    /// As the I/O path has it.
    pub(super) fn lowers(&self, legs: Set) -> u32 {
        let bit = |place| match self.lower_at(place) {
            Some(lower) => 1_u32.wrapping_shl(lower),
            None => NOBODY,
        };
        legs.and(Set::LEGS).iter().fold(0, |lowers, place| lowers | bit(place))
    }

    /// The places of lower devices.
    pub(super) fn places(&self, lowers: u32) -> Set {
        let here = |place: &usize| self.lower_at(*place).is_some_and(|lower| lowers & 1_u32.wrapping_shl(lower) != 0);
        (0..PLACES).filter(here).fold(Set::NONE, |set, place| set.with(Set::one(place)))
    }

    /// Tells the I/O path, and whoever listens to events.
    pub(super) fn publish(&mut self, shared: &Shared) {
        let Some(keeper) = &self.keeper else { return shared.view.reset() };
        let standing = keeper.standing();
        let there = |set: Set| self.lowers(set) & !NOBODY;
        let slots = keeper.slots();
        let facts = Facts {
            needed: self.lowers(standing.needed),
            failing: there(standing.failing),
            entitled: there(keeper.entitled()),
            targets: there(keeper.targets()),
            sources: there(keeper.sources()) & !self.bad,
            slots: self.lowers(slots),
            open: keeper.is_open(),
            ready: keeper.is_ready(),
            stopped: keeper.stopped().is_some(),
        };
        shared.view.publish(facts, self.seen);
        self.tell(shared);
    }

    fn tell(&mut self, shared: &Shared) {
        let Some(keeper) = &self.keeper else { return };
        let now = Told {
            entitled: keeper.sources(),
            rebuilding: keeper.targets().without(keeper.sources()),
            stopped: keeper.stopped().is_some(),
        };
        let old = core::mem::replace(&mut self.told, now);
        let each = |legs: Set, kind: u32| legs.iter().for_each(|place| shared.listener.tell(kind, place as u64));
        if keeper.is_ready() {
            let had = old.entitled.with(old.rebuilding);
            each(had.without(now.entitled.with(now.rebuilding)), uapi::STOR_EVENT_LEG_FAILED);
            each(now.rebuilding.without(had), uapi::STOR_EVENT_LEG_JOINED);
            each(now.entitled.without(old.entitled).and(old.rebuilding), uapi::STOR_EVENT_LEG_ENTITLED);
        }
        if now.stopped && !old.stopped {
            shared.listener.tell(uapi::STOR_EVENT_REPLICA_STOPPED, u64::from(stop_of(keeper.stopped())));
        }
    }

    /// Hears of the legs that the I/O path has given up.
    pub(super) fn hear(&mut self, shared: &Shared) {
        let (failed, kept) = shared.view.take();
        self.seen |= failed;
        let failed = self.places(failed);
        if let Some(keeper) = &mut self.keeper {
            if !failed.is_empty() {
                keeper.missed(failed);
            }
            if kept != 0 {
                keeper.doubt();
            }
        }
        if !failed.is_empty() {
            self.publish(shared);
        }
    }

    /// A step has failed on a member.
    pub(super) fn missed(&mut self, shared: &Shared, place: usize) {
        let one = Set::one(place);
        self.seen |= self.lowers(one) & !NOBODY;
        if let Some(keeper) = &mut self.keeper {
            keeper.missed(one);
        }
        if place == TIE_BREAK {
            shared.listener.tell(uapi::STOR_EVENT_LEG_FAILED, place as u64);
        }
        self.publish(shared);
    }

    /// Begins the next step. What is written in it is in `pages`, if it is of the bitmap: their numbers, and how many bytes there are.
    pub(super) fn begin(&mut self, shared: &Shared, pages: &mut Pages) -> Option<Step> {
        let keeper = self.keeper.as_mut()?;
        keeper.set_writer(shared.machine, clock::date());
        let step = keeper.begin();
        if let Some(Step::Pages(_)) = step {
            pages.copy(keeper.intent.writing());
        }
        self.publish(shared);
        step
    }

    /// A step has been done on these.
    pub(super) fn done(&mut self, shared: &Shared, ok: Set) {
        if let Some(keeper) = &mut self.keeper {
            keeper.done(ok);
        }
        self.publish(shared);
    }

    /// Notes that sectors are to be written to legs that could not read them.
    pub(super) fn repair(&mut self, repair: Repair) {
        let _ = self.repairs.push_within_capacity(repair);
    }

    /// Puts the record, or the superblock, of a member into a page; where it is to be written.
    pub(super) fn write(&mut self, step: Step, place: usize, into: &mut Frame) -> Result<Place> {
        let keeper = self.keeper.as_ref().ok_or(EIO)?;
        let numbers = self.numbers();
        let lower = usize::from(*self.lower_of.get(place).ok_or(EIO)?);
        let member = self.members.get_mut(lower).and_then(Option::as_mut).ok_or(EIO)?;
        let device = member.device;
        match step {
            Step::Record(_) => {
                let (next, sector) = member.next();
                keeper.record().write::<Kernel>(keeper.device(place), next, into).map_err(|_| EIO)?;
                Ok(Place { device, sector: sector.ok_or(EIO)? })
            }
            _ => {
                let page = member.superblock.as_mut().ok_or(EIO)?;
                let leg = Superblock::mut_from_bytes(&mut page[..]).map_err(|_| EIO)?;
                keeper.describe(leg, place, &|place| numbers.get(place).copied().flatten(), clock::date());
                leg.seal().map_err(|_| EIO)?;
                into.copy_from_slice(&page[..]);
                Ok(Place { device, sector: crate::pure::md::superblock::AT.0 })
            }
        }
    }

    /// The permanent numbers of the legs by their places.
    fn numbers(&self) -> [Option<u32>; PLACES] {
        let mut numbers = [None; PLACES];
        for (number, lower) in numbers.iter_mut().zip(self.lower_of) {
            let member = self.members.get(usize::from(lower)).and_then(Option::as_ref);
            let page = member.and_then(|member| member.superblock.as_ref());
            *number = page.and_then(|page| Some(Superblock::ref_from_bytes(&page[..]).ok()?.dev_number.get()));
        }
        numbers
    }

    /// A record has been written to a member.
    pub(super) fn recorded(&mut self, place: usize) {
        if let Some((_, member)) = self.member_at(place) {
            member.position = member.position.next();
        }
    }

    /// Reads the members, and plans how the volume starts. The steps of the start are to be done next.
    #[inline(never)]
    pub(super) fn start(&mut self, shared: &Shared) -> Result {
        let mut found = KVec::new();
        let legs = shared.lowers.iter().enumerate().take(shared.legs);
        for (lower, on) in legs {
            match read_leg(lower, on)? {
                Some(leg) => found.push(leg, GFP_KERNEL)?,
                None => pr_warn!("a leg (lower device {lower}) cannot be read: as if it were not there\n"),
            }
        }
        let tie_break = self.tie_break(shared, &found)?;
        let plan = make_plan(shared, &found, tie_break.as_ref())?;
        let intent = make_intent(shared, &plan, &found)?;
        self.take_over(shared, &plan, found, tie_break)?;
        if self.lowers(plan.entitled) & !NOBODY & !self.bad == 0 {
            pr_warn!(
                "replica refused: md has noted bad blocks on each leg that has the data: have md mend them first\n"
            );
            return Err(errno::EPROTO.into());
        }
        self.keeper = Some(make_keeper(&plan, intent)?);
        self.cursor = Cursor::default();
        (self.seen, self.copied, self.passed, self.sweep_at, self.idle_at, self.copy_at) = (0, 0, 0, 0, 0, 0);
        self.told = Told::default();
        self.rebuild = Rebuild::default();
        self.mark(shared);
        self.publish(shared);
        Ok(())
    }

    /// Marks a leg as one that is read only if no other can be, or as one that is read, too, if that is wanted; tells the I/O path which are.
    fn mark(&mut self, shared: &Shared) {
        let mut mostly = 0;
        for (lower, member) in self.members.iter_mut().enumerate() {
            let page = member.as_mut().and_then(|member| member.superblock.as_mut());
            let Some(Ok(leg)) = page.map(|page| Superblock::mut_from_bytes(&mut page[..])) else { continue };
            if let (Some((uuid, on)), Some(keeper)) = (shared.mostly, &mut self.keeper) {
                if uuid == leg.device_uuid && on != (leg.devflags & device::WRITE_MOSTLY != 0) {
                    leg.devflags ^= device::WRITE_MOSTLY;
                    // It is written with the next superblock.
                    keeper.want();
                }
            }
            if leg.devflags & device::WRITE_MOSTLY != 0 {
                mostly |= 1_u32.wrapping_shl(lower as u32);
            }
        }
        shared.write_mostly.store(mostly, Relaxed);
    }

    fn tie_break(&self, shared: &Shared, found: &[Found]) -> Result<Option<Found>> {
        let Some(on) = shared.lowers.get(shared.legs) else { return Ok(None) };
        let youngest = found.iter().filter_map(|leg| leg.record().ok()).max_by_key(|record| record.epoch.get());
        let Some(record) = youngest else { return Ok(None) };
        let Change { joins, tie_break, .. } = shared.change;
        // One that joins has whatever it had before.
        let device = if tie_break { joins } else { record.member.get(TIE_BREAK).copied().unwrap_or_default() };
        read_tie_break(shared.legs, on, &Identity { array: record.array, made: record.made.get(), device })
    }

    #[inline(never)]
    fn take_over(&mut self, shared: &Shared, plan: &Plan, found: KVec<Found>, tie_break: Option<Found>) -> Result {
        let mut members = KVec::with_capacity(shared.lowers.len(), GFP_KERNEL)?;
        for _ in shared.lowers.iter() {
            members.push(None, GFP_KERNEL)?;
        }
        let (mut lower_of, mut bad) = ([NONE; PLACES], 0);
        let places = plan.legs.iter().map(|leg| leg.place);
        let tie_break = tie_break.into_iter().map(|found| (found, Some(TIE_BREAK)));
        for (found, place) in core::iter::Iterator::chain(found.into_iter().zip(places), tie_break) {
            let lower = found.lower;
            if let Some(own) = place.and_then(|place| lower_of.get_mut(place)) {
                *own = lower as u8;
            }
            let member = found.into_member();
            shared.set_start(lower, member.data);
            bad |= u32::from(member.bad).wrapping_shl(lower as u32);
            if let Some(own) = members.get_mut(lower) {
                *own = Some(member);
            }
        }
        (self.members, self.lower_of, self.bad) = (members, lower_of, bad);
        Ok(())
    }
}

/// Why it has stopped, for user space.
pub(super) fn stop_of(stop: Option<Stop>) -> u32 {
    match stop {
        None => uapi::STOR_REPLICA_RUNS,
        Some(Stop::Quorum(_)) => uapi::STOR_REPLICA_STOP_QUORUM,
        Some(Stop::NoLeg) => uapi::STOR_REPLICA_STOP_NO_LEG,
        Some(Stop::End) => uapi::STOR_REPLICA_STOP_END,
    }
}

#[inline(never)]
fn make_plan(shared: &Shared, found: &[Found], tie_break: Option<&Found>) -> Result<KBox<Plan>> {
    let mut legs = KVec::with_capacity(found.len(), GFP_KERNEL)?;
    for leg in found.iter().filter_map(Found::leg) {
        if leg.superblock.set_uuid != shared.array {
            return Err(EINVAL);
        }
        legs.push(leg, GFP_KERNEL)?;
    }
    // Who forced a start once has done so: from then on the lineage is a lineage as any other.
    let begun = found.iter().filter_map(|leg| leg.record().ok()).any(|record| record.lineage == shared.lineage);
    let consent = match shared.source.filter(|_| !begun) {
        None if shared.change == Change::default() => Consent::Safe,
        None => Consent::Change(shared.change),
        Some(lower) => {
            let leg = found.iter().position(|leg| leg.lower == lower).ok_or(EINVAL)?;
            Consent::Force { leg, lineage: shared.lineage }
        }
    };
    let record = tie_break.and_then(|found| found.record().ok());
    let mut plan = KBox::new(Plan::default(), GFP_KERNEL)?;
    plan_into(&legs, record, consent, &mut plan).map_err(|refusal| {
        pr_warn!("replica refused: {}\n", core::format_args!("{refusal}"));
        errno_of(&refusal)
    })?;
    Ok(plan)
}

fn errno_of(refusal: &Refusal) -> Error {
    match refusal {
        Refusal::Quorum { .. }
        | Refusal::NoSource { .. }
        | Refusal::NoneInSync
        | Refusal::Foreign(_)
        | Refusal::Missing(_)
        | Refusal::Unfinished(_)
        | Refusal::LastLeg(_) => errno::ENODATA,
        Refusal::Apart(..) | Refusal::ForeignApart(..) => errno::ESTALE,
        Refusal::Record(..) => errno::EUCLEAN,
        Refusal::NoLegs => errno::EILSEQ,
        _ => errno::EINVAL,
    }
    .into()
}

/// The bitmap: the bits of all legs that the plan says.
#[inline(never)]
fn make_intent(shared: &Shared, plan: &Plan, found: &[Found]) -> Result<KBox<Intent<SharedWords, Kernel>>> {
    shared.words.reset();
    let source = found.iter().zip(plan.legs.iter()).find(|(_, leg)| leg.place == Some(plan.source));
    let sound =
        source.and_then(|(found, _)| found.sound()).filter(|h| h.chunksize.get() == shared.geometry.chunk_bytes());
    let room = (shared.geometry.pages() as u64).saturating_mul(PAGE_SECTORS) as u32;
    // Without bits that count, no leg that comes can have missed little.
    let header = match sound {
        Some(header) => *header,
        None => Header::new(shared.array, &shared.geometry, plan.events.saturating_add(1), room),
    };
    let intent = Intent::new(shared.geometry, shared.words.clone(), header).map_err(|_| ENOMEM)?;
    let mut intent = KBox::new(intent, GFP_KERNEL)?;
    let mut page = super::member::frame()?;
    for (found, leg) in found.iter().zip(plan.legs.iter()) {
        let mut all = leg.recovery == Recovery::All;
        if leg.bits {
            for number in 0..shared.geometry.pages() {
                match found.read_bitmap(number, &mut page) {
                    Ok(()) => intent.unite(number, &page),
                    Err(_) => all = true,
                }
            }
        }
        if all {
            intent.find_all();
        }
    }
    Ok(intent)
}

#[inline(never)]
fn make_keeper(plan: &Plan, intent: KBox<Intent<SharedWords, Kernel>>) -> Result<KBox<Keeper<SharedWords, Kernel>>> {
    Ok(KBox::new(Keeper::new(plan, KBox::into_inner(intent)), GFP_KERNEL)?)
}

/// Where something is written.
pub(super) struct Place {
    pub(super) device: crate::block::io::Device,
    pub(super) sector: u64,
}

/// Copies of pages of the bitmap: bits are set while they are written.
pub(super) struct Pages {
    frames: KVVec<Frame>,
    numbers: KVVec<usize>,
}

impl Pages {
    pub(super) fn new(count: usize) -> Result<Self> {
        let mut frames = KVVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            frames.push(super::member::frame()?, GFP_KERNEL)?;
        }
        Ok(Self { frames, numbers: KVVec::with_capacity(count, GFP_KERNEL)? })
    }

    pub(super) fn copy<'a>(&mut self, pages: impl Iterator<Item = (usize, &'a crate::pure::md::Page)>) {
        self.numbers.clear();
        for ((number, page), frame) in pages.zip(self.frames.iter_mut()) {
            frame.copy_from_slice(page);
            let _ = self.numbers.push_within_capacity(number);
        }
    }

    /// The pages, with their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Frame)> {
        self.numbers.iter().copied().zip(self.frames.iter())
    }
}
