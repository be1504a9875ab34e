// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Members that come and go, as the planner sees them. What becomes of it at any step of the records is tests/replica's.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]

#[allow(dead_code)] // each test uses some of it
#[path = "md/leg.rs"]
mod leg;

use leg::{leg, uuid};
use stor_pure::pure::md::bitmap::Refusal as BitmapRefusal;
use stor_pure::pure::md::superblock::{feature, Role, Superblock};
use stor_pure::pure::replica::assemble::{plan, Bitmap, Consent, Leg, Plan, Recovery};
use stor_pure::pure::replica::change::{Change, Member, Moves};
use stor_pure::pure::replica::record::{Record, Refusal as RecordRefusal};
use stor_pure::pure::replica::refusal::Refusal;
use stor_pure::pure::replica::set::{Set, LEGS_MAX, PLACES, TIE_BREAK};

const TIE: [u8; 16] = [0x77; 16];

#[derive(Clone)]
struct Found {
    superblock: Superblock,
    record: Result<Record, RecordRefusal>,
    bitmap: Result<Bitmap, BitmapRefusal>,
}

/// So many legs, clean, with records, and a tie-break.
fn volume(legs: u32) -> (Vec<Found>, Record) {
    let mut members = [[0; 16]; PLACES];
    (0..legs).for_each(|number| members[number as usize] = uuid(number));
    members[TIE_BREAK] = TIE;
    let mut record = Record::first(&leg(0, legs), members, [1; 16], 5);
    record.device = TIE;
    let found = (0..legs).map(|number| {
        let mut superblock = leg(number, legs);
        superblock.set_time(5, record.tag());
        let bitmap = Ok(Bitmap { events_cleared: 10, chunk: 1 << 26, any: true });
        Found { superblock, record: Ok(record.clone()), bitmap }
    });
    (found.collect(), record)
}

/// A leg that was formatted for the volume: a spare, as md sees it.
fn formatted(number: u32) -> Found {
    let mut superblock = leg(number, number + 1);
    superblock.events = 0.into();
    superblock.role.iter_mut().for_each(|role| *role = Role::Spare.raw().into());
    superblock.feature_map = (feature::BITMAP | feature::RECOVERY | feature::RECOVERY_BITMAP).into();
    superblock.seal().unwrap();
    let bitmap = Ok(Bitmap { events_cleared: 0, chunk: 1 << 26, any: false });
    Found { superblock, record: Err(RecordRefusal::Magic), bitmap }
}

fn start(found: &[Found], tie_break: Option<&Record>, change: Change) -> Result<Plan, Refusal> {
    let legs: Vec<Leg<'_>> = found.iter().map(as_leg).collect();
    plan(&legs, tie_break, Consent::Change(change))
}

fn as_leg(found: &Found) -> Leg<'_> {
    let record = found.record.as_ref().map_err(|refusal| *refusal);
    Leg { superblock: &found.superblock, record, bitmap: found.bitmap, block_size: 512 }
}

fn joins(device: [u8; 16]) -> Change {
    Change { joins: device, ..Change::default() }
}

fn leaves(device: [u8; 16]) -> Change {
    Change { leaves: device, ..Change::default() }
}

#[test]
fn a_place_is_one_that_nobody_has() {
    let (_, record) = volume(3);
    let moves = |change: Change, given: &[[u8; 16]]| change.moves(&record, &|device| given.contains(device));
    let at = |place, device| Some(Member { place, device });
    let new = uuid(9);
    assert_eq!(moves(Change::default(), &[]), Ok(Moves::default()));
    assert_eq!(moves(joins(new), &[new]), Ok(Moves { leaves: None, joins: at(3, new) }));
    assert_eq!(moves(joins(new), &[]), Err(Refusal::NotGiven));
    // Done already, or said of somebody who never was a member.
    assert_eq!(moves(joins(uuid(1)), &[]), Ok(Moves::default()));
    assert_eq!(moves(leaves(uuid(7)), &[]), Ok(Moves::default()));
    // Whose place it gets, unless he is there and has to be told.
    let both = Change { leaves: uuid(1), ..joins(new) };
    assert_eq!(moves(both, &[new]), Ok(Moves { leaves: at(1, uuid(1)), joins: at(1, new) }));
    assert_eq!(moves(both, &[new, uuid(1)]), Ok(Moves { leaves: at(1, uuid(1)), joins: at(3, new) }));
    let left_before = Change { leaves: uuid(7), ..joins(new) };
    assert_eq!(moves(left_before, &[new]), Ok(Moves { leaves: None, joins: at(3, new) }));
    assert_eq!(moves(Change { leaves: new, ..joins(new) }, &[new]), Err(Refusal::NotGiven), "both at once");
    // A tie-break.
    let tie = |leaves| Change { joins: new, tie_break: true, leaves };
    assert_eq!(moves(tie([0; 16]), &[]), Err(Refusal::Taken));
    assert_eq!(moves(tie(uuid(1)), &[]), Err(Refusal::Taken));
    assert_eq!(moves(tie(TIE), &[]), Ok(Moves { leaves: at(TIE_BREAK, TIE), joins: at(TIE_BREAK, new) }));
    assert_eq!(moves(tie(TIE), &[TIE]), Err(Refusal::Taken), "there is one place for a tie-break");
    // Who leaves is not the tie-break: its place is none for a leg.
    let odd = Change { leaves: TIE, ..joins(new) };
    assert_eq!(moves(odd, &[new]), Ok(Moves { leaves: at(TIE_BREAK, TIE), joins: at(3, new) }));
    let (_, record) = volume(LEGS_MAX as u32);
    assert_eq!(joins([8; 16]).moves(&record, &|_| true), Err(Refusal::Full));
    assert_eq!(Change { leaves: uuid(4), ..joins([8; 16]) }.moves(&record, &|_| true).err(), Some(Refusal::Full));
}

#[test]
fn a_leg_that_joins_is_copied_as_a_whole_whatever_its_bitmap_says() {
    let (mut found, record) = volume(2);
    found.push(formatted(2));
    let plan = start(&found, Some(&record), joins(uuid(2))).unwrap();
    assert_eq!((plan.slots, plan.entitled, plan.present.has(2)), (Set::first(3), Set::first(2), false));
    let new = plan.legs[2];
    assert_eq!((new.place, new.recovery, new.late, new.bits), (Some(2), Recovery::All, true, false));
    assert_eq!(plan.record.member[2], [0; 16], "it gets its name in a record of its own");
    // Nobody has wanted it: it is none of the legs.
    let plan = start(&found, Some(&record), Change::default()).unwrap();
    assert_eq!((plan.slots, plan.legs[2].place), (Set::first(2), None));
    // It has its name and nothing else yet: the power went then.
    let mut named = record.clone();
    (named.epoch, named.claim, named.parent) = (2.into(), 3.into(), 1.into());
    (named.legs, named.slots) = (7.into(), 7.into());
    named.member[2] = uuid(2);
    found[0].record = Ok(named.clone());
    found[1].record = Ok(named);
    let plan = start(&found, None, joins(uuid(2))).unwrap();
    assert_eq!((plan.moves, plan.slots), (Moves::default(), Set::first(3)));
    assert_eq!((plan.legs[2].place, plan.legs[2].recovery), (Some(2), Recovery::All));
}

#[test]
fn who_leaves_votes_once_more_and_is_no_source() {
    let (mut found, _) = volume(2);
    let plan = start(&found, None, leaves(uuid(0)));
    assert!(matches!(plan, Ok(ref plan) if plan.present == Set::first(2)), "{plan:?}");
    let plan = plan.unwrap();
    assert_eq!((plan.entitled, plan.source, plan.slots), (Set::one(1), 1, Set::one(1)));
    assert_eq!((plan.legs[0].place, plan.legs[0].recovery), (Some(0), Recovery::None));
    assert_eq!(plan.record.entitled(), Set::first(2), "until the record says so");
    let without = start(&found[1..], None, leaves(uuid(0)));
    assert!(matches!(without, Err(Refusal::Quorum { .. })), "without the one that leaves there is no majority");
    // After a crash the one that stays is the one that counts, younger or not; its bits say what the other may have besides.
    found.iter_mut().for_each(|leg| leg.superblock.resync_offset = 0.into());
    found[0].superblock.events += 1;
    let plan = start(&found, None, leaves(uuid(0))).unwrap();
    assert_eq!((plan.entitled, plan.source, plan.legs[0].bits), (Set::one(1), 1, true));
}

#[test]
fn the_last_leg_that_has_all_data_stays() {
    let (mut found, record) = volume(2);
    let mut younger = record.clone();
    (younger.epoch, younger.claim, younger.parent) = (2.into(), 3.into(), 1.into());
    younger.entitled = 1.into();
    found[0].record = Ok(younger);
    assert_eq!(start(&found, Some(&record), leaves(uuid(0))).err(), Some(Refusal::LastLeg(0)));
    assert!(start(&found, Some(&record), leaves(uuid(1))).is_ok());
    let replaced = Change { leaves: uuid(0), ..joins(uuid(2)) };
    found.push(formatted(2));
    assert_eq!(start(&found, Some(&record), replaced).err(), Some(Refusal::LastLeg(0)));
}

#[test]
fn the_members_of_what_md_has_had_are_not_changed() {
    let (mut found, record) = volume(2);
    found.iter_mut().for_each(|leg| leg.superblock.set_time(6, 0));
    assert_eq!(start(&found, Some(&record), leaves(uuid(0))).err(), Some(Refusal::ForeignChange));
}

/// md's array has a slot whose leg is gone; a leg that is added fills it, and until then the volume is degraded.
#[test]
fn an_empty_slot_of_md_stays_one() {
    let (mut found, _) = volume(3);
    for leg in &mut found {
        leg.superblock.set_time(6, 0);
        leg.superblock.role[1] = Role::Faulty.raw().into();
        leg.record = Err(RecordRefusal::Magic);
    }
    found.remove(1);
    let legs: Vec<Leg<'_>> = found.iter().map(as_leg).collect();
    let taken = plan(&legs, None, Consent::Safe).unwrap();
    assert_eq!((taken.slots, taken.record.legs()), (Set::first(3), Set::of(5).unwrap()));
    assert_eq!(taken.record.slots(), Set::first(3));
    for leg in &mut found {
        leg.superblock.set_time(6, taken.record.tag());
        leg.record = Ok(taken.record.clone());
    }
    found.push(formatted(3));
    let own = start(&found, None, joins(uuid(3))).unwrap();
    assert_eq!((own.slots, own.legs[2].place), (Set::first(3), Some(1)));
}

/// Somebody has claimed an epoch without knowing of the youngest record: what counts then are members, not places, which others have now.
#[test]
fn a_place_that_another_one_has_now_is_no_voter_of_before() {
    let (mut found, record) = volume(3);
    let mut renamed = record.clone();
    (renamed.epoch, renamed.claim, renamed.parent) = (3.into(), 4.into(), 2.into());
    renamed.member[1] = uuid(5);
    (renamed.voters, renamed.entitled) = (5.into(), 5.into());
    let mut passed = record.clone();
    passed.claim = 5.into();
    found[0].record = Ok(renamed.clone());
    found[2].record = Ok(passed);
    let new = Found { superblock: leg(5, 6), record: Ok(renamed), ..formatted(5) };
    found[1] = new;
    found[1].superblock.set_time(5, record.tag());
    let refusal = start(&found, None, Change::default()).err();
    let expected = Set::of(5).unwrap();
    assert!(matches!(refusal, Some(Refusal::Quorum { present, .. }) if present == expected), "{refusal:?}");
}
