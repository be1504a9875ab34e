// SPDX-License-Identifier: GPL-2.0 OR MIT

//! From what is on the legs to how the volume starts, or why it does not.
//!
//! The youngest record that has all others as its history says who is entitled; a majority of its voters has to be there,
//! and one of the entitled legs. If they were not stopped cleanly, entitled legs may differ where any of their bitmaps has a bit: then
//! one stays entitled, so that what is read once is what is read ever after. Bits are taken from all legs, those of the ones
//! that are to be rebuilt included: each knows what it was written to.

use super::change::{Change, Moves};
use super::foreign::{judge, Judgement};
use super::lineage::{order, parted, Order};
use super::mutant::{breaks, Mutant};
use super::quorum;
use super::record::{self, Record};
use super::refusal::{Refusal, Side, Who};
use super::set::{Set, LEGS_MAX, TIE_BREAK};
use crate::pure::md::bitmap::{self, Geometry};
use crate::pure::md::layout::record_places;
use crate::pure::md::superblock::{device, feature, Role, Superblock};
use zerocopy::FromZeros;

/// What a leg's bitmap says, if it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bitmap {
    /// See [`bitmap::Header::events_cleared`].
    pub events_cleared: u64,
    /// Bytes of a chunk.
    pub chunk: u32,
    /// Whether there is any bit.
    pub any: bool,
}

/// What was found on a leg.
#[derive(Clone, Copy, Debug)]
pub struct Leg<'a> {
    /// Its superblock, which was accepted.
    pub superblock: &'a Superblock,
    /// Its membership record.
    pub record: Result<&'a Record, record::Refusal>,
    /// Its bitmap, if that [counts](bitmap::Header::counts) for its superblock.
    pub bitmap: Result<Bitmap, bitmap::Refusal>,
    /// Bytes of its blocks.
    pub block_size: u32,
}

/// What the caller takes upon himself, or wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// Nothing.
    Safe,
    /// That the volume starts from what this leg has, and what others have besides is lost.
    Force {
        /// The leg.
        leg: usize,
        /// Random bytes: the new lineage.
        lineage: [u8; 16],
    },
    /// Nothing; but the members are to be others.
    Change(Change),
}

/// How a leg becomes equal to the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recovery {
    /// It is not used, or is equal already.
    #[default]
    None,
    /// By copying the chunks whose bits are set on the source or on it.
    Bits,
    /// By copying everything.
    All,
}

/// What happens to a leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// Its place among the members; `None`: it is none of them any more, or a spare.
    pub place: Option<usize>,
    /// What is to be copied to it.
    pub recovery: Recovery,
    /// Nothing may be written to it before the bits are durable on the entitled legs: what it says of itself is still needed.
    pub late: bool,
    /// Its bits are to be taken over.
    pub bits: bool,
    /// It is an older copy of an entitled leg.
    pub stale: bool,
}

/// How a volume starts.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// What is written first: the youngest record, and the epoch that is claimed.
    pub record: Record,
    /// Which of its members are there and have its history.
    pub present: Set,
    /// Who is to be entitled.
    pub entitled: Set,
    /// The leg that others are rebuilt from.
    pub source: usize,
    /// The highest events counter of all.
    pub events: u64,
    /// The source's.
    pub issued: u64,
    /// What happens to each leg.
    pub legs: [Use; LEGS_MAX],
    /// md has had the array.
    pub foreign: bool,
    /// Places that are to have a leg.
    pub slots: Set,
    /// Members that come and go.
    pub moves: Moves,
}

/// Plans how the volume of these legs starts.
///
/// # Errors
///
/// Nobody can know who has the data, or the legs are not of one volume.
#[inline]
pub fn plan(legs: &[Leg<'_>], tie_break: Option<&Record>, consent: Consent) -> Result<Plan, Refusal> {
    let mut plan = Plan::default();
    plan_into(legs, tie_break, consent, &mut plan)?;
    Ok(plan)
}

/// As [`plan`], for those who have a small stack.
///
/// # Errors
///
/// As of [`plan`]; then there is no plan.
pub fn plan_into(
    legs: &[Leg<'_>],
    tie_break: Option<&Record>,
    consent: Consent,
    plan: &mut Plan,
) -> Result<(), Refusal> {
    identify(legs)?;
    let facts = Facts { legs, tie_break, consent };
    let known = match facts.base()? {
        None => facts.imported(None, plan)?,
        Some(base) if facts.is_foreign() => facts.imported(Some(base), plan)?,
        Some(base) => facts.own(base, plan)?,
    };
    facts.finish(known, plan)
}

/// Whether these are legs of one array, each once.
fn identify(legs: &[Leg<'_>]) -> Result<(), Refusal> {
    let first = legs.first().ok_or(Refusal::NoLegs)?;
    if legs.len() > LEGS_MAX {
        return Err(Refusal::TooMany(legs.len()));
    }
    for (index, leg) in legs.iter().enumerate() {
        let (own, of) = (leg.superblock, first.superblock);
        // Nor has a leg that was away, or is about to join, the slots that there are.
        if (own.set_uuid, own.ctime) != (of.set_uuid, of.ctime) {
            return Err(Refusal::OtherArray(index));
        }
        if own.size != of.size {
            return Err(Refusal::Size { leg: index, size: own.size.get(), first: of.size.get() });
        }
        if leg.block_size != first.block_size {
            return Err(Refusal::BlockSize { leg: index, size: leg.block_size, first: first.block_size });
        }
        if own.bitmap().is_none() {
            return Err(Refusal::NoBitmap(index));
        }
        let geometry = leg.bitmap.ok().and_then(|bitmap| Geometry::new(own.size.get(), bitmap.chunk).ok());
        if record_places(own, geometry.as_ref()).is_err() {
            return Err(Refusal::NoRoom(index));
        }
        for (other, earlier) in legs.iter().enumerate().take(index) {
            if own.device_uuid == earlier.superblock.device_uuid {
                return Err(Refusal::Twice(other, index));
            }
            if own.dev_number == earlier.superblock.dev_number {
                return Err(Refusal::Number(other, index));
            }
        }
    }
    Ok(())
}

/// What is known when it is known who has the data.
struct Known {
    sources: Set,
    clean: bool,
    present: Set,
    foreign: bool,
    moves: Moves,
    slots: Set,
}

struct Facts<'a> {
    legs: &'a [Leg<'a>],
    tie_break: Option<&'a Record>,
    consent: Consent,
}

impl<'a> Facts<'a> {
    fn forced(&self) -> Option<usize> {
        match self.consent {
            Consent::Safe | Consent::Change(_) => None,
            Consent::Force { leg, .. } => Some(leg),
        }
    }

    fn leg(&self, index: usize) -> Result<&Leg<'a>, Refusal> {
        self.legs.get(index).ok_or(Refusal::NoSuchLeg(index))
    }

    /// All records, with the leg, or `None` for the tie-break.
    fn records(&self) -> impl Iterator<Item = (Option<usize>, &'a Record)> + '_ {
        let legs = self.legs.iter().enumerate().filter_map(|(index, leg)| Some((Some(index), leg.record.ok()?)));
        legs.chain(self.tie_break.map(|record| (None, record)))
    }

    /// The tie-break's record, if it is the one that this record knows, and none that was there before.
    fn tie_break_of(&self, base: &Record) -> Option<&'a Record> {
        let known = base.member.get(TIE_BREAK).filter(|member| **member != [0; 16]);
        self.tie_break.filter(|own| known == Some(&own.device) || known.is_some() && breaks(Mutant::AnyTieBreak))
    }

    fn side(&self, leg: Option<usize>, record: &Record) -> Side {
        let events =
            leg.and_then(|leg| self.legs.get(leg)).map_or(record.events.get(), |leg| leg.superblock.events.get());
        Side::of(leg.map_or(Who::TieBreak, |leg| Who::Leg(leg as u8)), record, events)
    }

    /// The record that has all others as its history; the one that is forced; `None` if there never was any.
    fn base(&self) -> Result<Option<&'a Record>, Refusal> {
        if let Some(leg) = self.forced() {
            return match self.leg(leg)?.record {
                Ok(record) => Ok(Some(record)),
                Err(_) => Ok(None),
            };
        }
        let Some((leg, base)) = self.records().max_by_key(|(_, record)| record.epoch.get()) else {
            let damaged = |(index, leg): (usize, &Leg<'_>)| match leg.record {
                // What is left of an array that was there before says nothing of this one.
                Err(record::Refusal::Magic | record::Refusal::Array) | Ok(_) => None,
                Err(refusal) => Some(Refusal::Record(index, refusal)),
            };
            return self.legs.iter().enumerate().find_map(damaged).map_or(Ok(None), Err);
        };
        for (other, record) in self.records() {
            if !matches!(order(record, base), Order::Same | Order::Behind) {
                return Err(Refusal::Apart(self.side(leg, base), self.side(other, record)));
            }
        }
        Ok(Some(base))
    }

    /// Whether md has written superblocks since: it leaves no tag. One that nobody here knows is of a lineage that was given up, which a leg
    /// was about to join.
    fn is_foreign(&self) -> bool {
        self.legs.iter().any(|leg| {
            let member = leg.record.is_ok_and(|record| record.place(&leg.superblock.device_uuid).is_some());
            member && leg.superblock.tag() == 0
        })
    }

    /// The epoch after all that anybody may have used.
    fn claim(&self, base: &Record) -> Result<u64, Refusal> {
        let highest = self.records().map(|(_, record)| record.claim.get()).chain([base.claim.get()]).max().unwrap_or(0);
        let claim = if breaks(Mutant::NoClaim) { base.epoch.get() } else { highest };
        claim.checked_add(1).filter(|claim| *claim < u64::MAX / 4).ok_or(Refusal::End)
    }

    fn events(&self) -> u64 {
        self.legs.iter().map(|leg| leg.superblock.events.get()).max().unwrap_or(0)
    }

    /// Of the members of a record those that are there and have the history of `base`.
    fn present(&self, record: &Record, base: &Record) -> Set {
        let history = |record: &Record| matches!(order(record, base), Order::Same | Order::Behind);
        let legs = self.legs.iter().filter(|leg| leg.record.is_ok_and(history));
        let places =
            legs.filter_map(|leg| record.place(&leg.superblock.device_uuid)).filter(|place| *place < TIE_BREAK);
        // It has no data that could be lost: who forces a start takes its vote from the others.
        let follows = |own: &&Record| self.forced().is_some() || history(own);
        let tie_break = self.tie_break_of(record).filter(follows).map(|_| TIE_BREAK);
        places.chain(tie_break).fold(Set::NONE, |set, place| set.with(Set::one(place)))
    }

    /// What is to be done to the table of members.
    fn moves(&self, base: &Record) -> Result<Moves, Refusal> {
        let Consent::Change(change) = &self.consent else { return Ok(Moves::default()) };
        let leg = |device: &[u8; 16]| self.legs.iter().any(|leg| leg.superblock.device_uuid == *device);
        let tie_break = |device: &[u8; 16]| self.tie_break_of(base).is_some_and(|own| own.device == *device);
        change.moves(base, &|device| leg(device) || tie_break(device))
    }

    /// A start from what Stor itself has written: record, and places.
    fn own(&self, base: &Record, plan: &mut Plan) -> Result<Known, Refusal> {
        let uses = &mut plan.legs;
        let moves = self.moves(base)?;
        for (place, leg) in uses.iter_mut().zip(self.legs) {
            let device = &leg.superblock.device_uuid;
            place.place = base.place(device).filter(|place| *place < TIE_BREAK);
            place.late = !leg.record.is_ok_and(|record| matches!(order(record, base), Order::Same | Order::Behind));
            if let Some(joins) = moves.joins.filter(|joins| joins.device == *device && joins.place < TIE_BREAK) {
                (place.place, place.late) = (Some(joins.place), true);
            }
        }
        let present = self.present(base, base);
        let forced = self.forced();
        if forced.is_none() && !quorum::starts(base.voters(), present) {
            let voters = base.voters();
            return Err(Refusal::Quorum { present: present.and(voters), voters, epoch: base.epoch.get() });
        }
        // Somebody who did not know of the youngest record has claimed an epoch after it: then that record was never decided, and what he
        // has decided instead is known to a majority of his voters only.
        let passed = self.records().find(|(_, record)| {
            let epoch = base.epoch.get();
            let later = record.lineage == base.lineage && record.epoch.get() < epoch && record.claim.get() > epoch;
            later && forced.is_none() && !quorum::starts(record.voters(), self.present(record, base))
        });
        if let Some((_, record)) = passed {
            let (voters, present) = (record.voters(), self.present(record, base));
            return Err(Refusal::Quorum { present: present.and(voters), voters, epoch: record.epoch.get() });
        }
        let mut sources = self.fresh(base, present, uses);
        if breaks(Mutant::AllAreSources) {
            sources = present.and(Set::LEGS);
        }
        if let Some(index) = forced {
            let leg = self.leg(index)?;
            let place = Set::one(uses.get(index).and_then(|leg| leg.place).ok_or(Refusal::Stranger(index))?);
            if !sources.covers(place) {
                // It has been left behind; that is what is wanted.
                if leg.superblock.has(feature::RECOVERY) {
                    return Err(Refusal::Unfinished(index));
                }
                sources = place;
            }
        }
        if sources.is_empty() {
            return Err(Refusal::NoSource { entitled: base.entitled(), epoch: base.epoch.get() });
        }
        let clean = self.are_clean(sources, uses);
        // What an older copy lacks no bitmap knows.
        let stale = base.entitled().and(present).without(sources);
        uses.iter_mut().filter(|own| own.place.is_some_and(|place| stale.has(place))).for_each(|own| own.stale = true);
        let slots = base.slots().without(moves.leaving()).with(moves.joining().and(Set::LEGS));
        plan.record.clone_from(base);
        Ok(Known { sources, clean, present, foreign: false, moves, slots })
    }

    /// A start from what md has written: record, and places.
    fn imported(&self, base: Option<&Record>, plan: &mut Plan) -> Result<Known, Refusal> {
        let forced = self.forced();
        if let Consent::Change(_) = self.consent {
            return Err(Refusal::ForeignChange);
        }
        if let (Some(base), None) = (base, forced) {
            let there = self.legs.iter().filter_map(|leg| base.place(&leg.superblock.device_uuid));
            let there = there.fold(Set::NONE, |set, place| set.with(Set::one(place)));
            let missing = base.entitled().without(there);
            if !missing.is_empty() {
                return Err(Refusal::Foreign(missing));
            }
        }
        let Judgement { freshest, sound, clean } = judge(self.legs, forced)?;
        let fresh = self.leg(freshest)?.superblock;
        let Plan { record, legs: uses, .. } = plan;
        match base {
            Some(base) => record.clone_from(base),
            None => record.zero(),
        }
        let (mut taken, mut sources) = (Set::NONE, Set::NONE);
        for (index, (place, leg)) in uses.iter_mut().zip(self.legs).enumerate() {
            // A leg that was lost still says which slot it had; somebody else may have that now.
            let own = match (fresh.role_of(leg.superblock.dev_number.get()), leg.superblock.role()) {
                (Role::Slot(slot), _) | (Role::Faulty | Role::Spare, Role::Slot(slot)) => usize::from(slot),
                _ => continue,
            };
            let replacement = leg.superblock.has(feature::REPLACEMENT);
            let Some(member) = record.member.get_mut(own).filter(|_| !taken.has(own) && !replacement) else {
                if sound.has(index) {
                    let other = uses.iter().take(index).position(|other| other.place == Some(own)).unwrap_or(freshest);
                    return Err(Refusal::Number(other, index));
                }
                continue;
            };
            *member = leg.superblock.device_uuid;
            taken = taken.with(Set::one(own));
            (place.place, place.late) = (Some(own), !sound.has(index));
            if sound.has(index) {
                sources = sources.with(Set::one(own));
            }
        }
        let tie_break = base.and_then(|base| self.tie_break_of(base)).map_or(Set::NONE, |_| Set::one(TIE_BREAK));
        (record.array, record.made) = (fresh.set_uuid, fresh.ctime);
        let legs = record.member.iter().take(LEGS_MAX).enumerate().filter(|(_, member)| **member != [0; 16]);
        record.legs = legs.fold(Set::NONE, |set, (place, _)| set.with(Set::one(place))).bits().into();
        let slots = Set::first(fresh.raid_disks.get() as usize).with(record.legs());
        record.slots = slots.bits().into();
        record.voters = sources.with(tie_break).bits().into();
        record.entitled = sources.bits().into();
        if base.is_none() {
            // There is no other source of random bytes: the first lineage is the array itself.
            let mut lineage = fresh.set_uuid;
            lineage.iter_mut().zip(fresh.ctime.get().to_le_bytes()).for_each(|(to, from)| *to ^= from);
            record.lineage = if lineage == [0; 16] { [1; 16] } else { lineage };
            (record.epoch, record.claim) = (1.into(), 1.into());
        }
        let present = sources.with(tie_break);
        Ok(Known { sources, clean, present, foreign: true, moves: Moves::default(), slots })
    }

    /// Of the entitled legs those that are up to date. Superblocks are written to all at the same time, and never behind a record, so
    /// one that is behind by more than one event is not what it was: somebody has put an older copy in its place.
    fn fresh(&self, base: &Record, present: Set, uses: &[Use; LEGS_MAX]) -> Set {
        let events = |leg: &Leg<'_>| leg.superblock.events.get();
        // One that was about to join another lineage has that one's superblock, and its bitmap.
        let own = |leg: &Leg<'_>| is_of(base, leg.superblock.tag());
        let entitled = || self.sources(base.entitled().and(present), uses).filter(|(_, leg)| own(leg));
        let newest = entitled().map(|(_, leg)| events(leg)).max().unwrap_or(0).max(base.events.get());
        let fresh = entitled().filter(|(_, leg)| events(leg).saturating_add(1) >= newest);
        fresh.fold(Set::NONE, |set, (place, _)| set.with(Set::one(place)))
    }

    /// Whether these were stopped with nothing under way, all at the same time.
    fn are_clean(&self, sources: Set, uses: &[Use; LEGS_MAX]) -> bool {
        let mut events = None;
        self.sources(sources, uses).all(|(_, leg)| {
            let own = leg.superblock.events;
            leg.superblock.is_clean() && *events.get_or_insert(own) == own
        })
    }

    fn sources<'b>(&'b self, sources: Set, uses: &'b [Use; LEGS_MAX]) -> impl Iterator<Item = (usize, &'b Leg<'a>)> {
        let place = move |index: usize| uses.get(index).and_then(|leg| leg.place).filter(|place| sources.has(*place));
        self.legs.iter().enumerate().filter_map(move |(index, leg)| Some((place(index)?, leg)))
    }

    /// What is rebuilt from where, once it is known who has the data.
    fn finish(&self, known: Known, plan: &mut Plan) -> Result<(), Refusal> {
        let Known { sources, clean, present, foreign, moves, slots } = known;
        let Plan { record, legs: uses, .. } = plan;
        let leaving = moves.leaving();
        // They all have what was acknowledged. The younger superblock may know of more; the slot never decides but in the end.
        let rank = |place: usize, leg: &Leg<'_>| {
            let known = leg.record.map_or(0, |record| record.epoch.get());
            let mostly = leg.superblock.devflags & device::WRITE_MOSTLY != 0;
            (
                !leaving.has(place),
                known,
                leg.superblock.events.get(),
                !leg.superblock.has(feature::BAD_BLOCKS),
                !mostly,
                core::cmp::Reverse(place),
            )
        };
        let found = *uses;
        let best = self.sources(sources, &found).max_by_key(|(place, leg)| rank(*place, leg));
        let (mut source, _) = best.ok_or(Refusal::NoneInSync)?;
        let source_leg = best.map(|(_, leg)| leg);

        // The bits of the sources together; `None` if one of them cannot say.
        let mut bits = source_leg.and_then(|leg| leg.bitmap.ok());
        for (_, leg) in self.sources(sources, &found) {
            bits = match (bits, leg.bitmap) {
                (Some(all), Ok(own)) if own.chunk == all.chunk => Some(Bitmap {
                    events_cleared: all.events_cleared.max(own.events_cleared),
                    any: all.any || own.any,
                    ..all
                }),
                _ => None,
            };
        }
        let differ = !clean && bits.is_none_or(|bits| bits.any);
        if leaving.has(source) {
            let other = present.and(Set::LEGS).without(leaving).lowest().filter(|_| breaks(Mutant::RemoveLast));
            source = other.ok_or(Refusal::LastLeg(source))?;
        }
        let mut entitled = sources.without(leaving);
        if differ && !breaks(Mutant::EqualAfterCrash) || entitled.is_empty() {
            entitled = Set::one(source);
        }
        for (leg, own) in self.legs.iter().zip(uses.iter_mut()) {
            let Some(place) = own.place else { continue };
            if moves.joining().has(place) {
                own.recovery = if breaks(Mutant::TrustNewLeg) { Recovery::Bits } else { Recovery::All };
                continue;
            }
            own.bits = bits.is_some() && leg.bitmap.is_ok();
            if entitled.with(leaving).has(place) {
                own.recovery = Recovery::None;
                continue;
            }
            let known = bits.filter(|bits| leg.bitmap.is_ok_and(|own| own.chunk == bits.chunk));
            let covered = known.is_some_and(|bits| {
                let cleared = bits.events_cleared;
                if sources.has(place) || breaks(Mutant::TrustBitmap) {
                    return true;
                }
                // Whose superblock was written for another lineage, that one's events say nothing here.
                let tag = leg.superblock.tag();
                let line = if foreign || !own.late { Some(&*record) } else { leg.record.ok() };
                let counts = foreign && tag == 0 || line.is_some_and(|line| is_of(line, tag));
                if own.stale || !counts {
                    return false;
                }
                if foreign || !own.late {
                    return leg.superblock.events.get() >= cleared;
                }
                // It went on alone: its own bits have to go back as far as where the two parted.
                let since = source_leg.and_then(|source| parted(source.record.ok()?, leg.record.ok()?));
                let own = leg.bitmap.map_or(u64::MAX, |own| own.events_cleared);
                since.is_some_and(|since| since >= cleared && since >= own)
            });
            own.recovery = if covered { Recovery::Bits } else { Recovery::All };
        }
        if breaks(Mutant::OneBitmap) {
            uses.iter_mut().for_each(|own| own.bits &= own.place == Some(source));
        }
        let claim = self.claim(record)?;
        record.claim = claim.into();
        if let Consent::Force { lineage, .. } = self.consent {
            let events = source_leg.map_or(0, |leg| leg.superblock.events.get());
            record.fork(lineage, events);
            record.events = events.into();
            record.parent = record.epoch;
            (record.epoch, record.claim) = (claim.into(), (claim + 1).into());
            (record.entitled, record.voters) = (entitled.bits().into(), present.bits().into());
        }
        (plan.present, plan.entitled, plan.source) = (present, entitled, source);
        plan.events = self.events();
        plan.issued = source_leg.map_or(0, |leg| leg.superblock.events.get());
        (plan.foreign, plan.slots, plan.moves) = (foreign, slots, moves);
        Ok(())
    }
}

/// Whether a superblock with this tag was written for this lineage, or one before it.
fn is_of(record: &Record, tag: u32) -> bool {
    record.tag() == tag || record.forks().iter().any(|fork| fork.tag() == tag)
}

/// How a leg becomes equal to a volume that runs, and that it is to come back to.
///
/// `record` is the volume's, `events_cleared` and `chunk` are its bitmap's. The leg's own bits are to be taken over if it says
/// [`Recovery::Bits`].
///
/// # Errors
///
/// It is none of the volume's legs, or has gone on without it.
pub fn returning(record: &Record, events_cleared: u64, chunk: u32, leg: &Leg<'_>) -> Result<Recovery, Refusal> {
    let superblock = leg.superblock;
    let member = record.place(&superblock.device_uuid).is_some_and(|place| place < TIE_BREAK);
    if superblock.set_uuid != record.array || superblock.ctime != record.made || !member {
        return Err(Refusal::OtherArray(0));
    }
    let Ok(own) = leg.record else { return Ok(Recovery::All) };
    match order(own, record) {
        Order::Same | Order::Behind => {}
        Order::Ahead | Order::Apart => {
            let events = superblock.events.get();
            return Err(Refusal::Apart(
                Side::of(Who::Volume, record, record.events.get()),
                Side::of(Who::Leg(0), own, events),
            ));
        }
    }
    let known = leg.bitmap.is_ok_and(|bitmap| bitmap.chunk == chunk) && is_of(record, superblock.tag());
    let little = superblock.events.get() >= events_cleared || breaks(Mutant::TrustBitmap);
    Ok(if known && little { Recovery::Bits } else { Recovery::All })
}
