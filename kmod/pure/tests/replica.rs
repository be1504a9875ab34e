// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Membership records, and who may start with what: the cases that can be written down. The rest is tests/replica's.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]

#[allow(dead_code)] // each test uses some of it
#[path = "md/leg.rs"]
mod leg;

use leg::{leg, uuid};
use proptest::prelude::*;
use stor_pure::pure::md::bitmap::Refusal as BitmapRefusal;
use stor_pure::pure::md::superblock::{feature, Role, Superblock};
use stor_pure::pure::md::{Page, PAGE_SIZE};
use stor_pure::pure::replica::acknowledge::{flush, write, Standing, Verdict};
use stor_pure::pure::replica::assemble::{plan, returning, Bitmap, Consent, Leg, Plan, Recovery};
use stor_pure::pure::replica::chunk::{Begin, Chunk};
use stor_pure::pure::replica::lineage::{order, parted, Order};
use stor_pure::pure::replica::quorum::{decides, starts, step};
use stor_pure::pure::replica::record::{choose, Identity, Position, Record, Refusal as RecordRefusal, FORKS_MAX};
use stor_pure::pure::replica::refusal::Refusal;
use stor_pure::pure::replica::set::{Set, PLACES, TIE_BREAK};
use stor_pure::pure::thin::crc::Portable;

const BITS: Result<Bitmap, BitmapRefusal> = Ok(Bitmap { events_cleared: 10, chunk: 1 << 26, any: true });
const NO_BITS: Result<Bitmap, BitmapRefusal> = Ok(Bitmap { events_cleared: 10, chunk: 1 << 26, any: false });

/// A leg to be found.
#[derive(Clone)]
struct Found {
    superblock: Superblock,
    record: Result<Record, RecordRefusal>,
    bitmap: Result<Bitmap, BitmapRefusal>,
    block_size: u32,
}

/// So many legs, with records, clean.
fn volume(legs: u32, tie_break: bool) -> (Vec<Found>, Record) {
    let mut members = [[0; 16]; PLACES];
    (0..legs).for_each(|number| members[number as usize] = uuid(number));
    if tie_break {
        members[TIE_BREAK] = [0x77; 16];
    }
    let mut record = Record::first(&leg(0, legs), members, [1; 16], 5);
    record.device = [0x77; 16];
    let found = (0..legs).map(|number| {
        let mut superblock = leg(number, legs);
        superblock.set_time(5, record.tag());
        Found { superblock, record: Ok(record.clone()), bitmap: BITS, block_size: 512 }
    });
    (found.collect(), record)
}

fn start(found: &[Found], tie_break: Option<&Record>, consent: Consent) -> Result<Plan, Refusal> {
    let legs: Vec<Leg<'_>> = found.iter().map(as_leg).collect();
    plan(&legs, tie_break, consent)
}

fn as_leg(found: &Found) -> Leg<'_> {
    let record = found.record.as_ref().map_err(|refusal| *refusal);
    Leg { superblock: &found.superblock, record, bitmap: found.bitmap, block_size: found.block_size }
}

fn safe(found: &[Found]) -> Result<Plan, Refusal> {
    start(found, None, Consent::Safe)
}

fn next(record: &mut Record, entitled: &[usize]) {
    record.parent = record.epoch;
    record.epoch += 1;
    record.claim = record.epoch;
    let entitled = entitled.iter().fold(Set::NONE, |set, place| set.with(Set::one(*place)));
    record.entitled = entitled.bits().into();
}

#[test]
fn bad_legs_are_refused_and_named() {
    assert_eq!(safe(&[]).err(), Some(Refusal::NoLegs));
    let (found, _) = volume(2, false);
    let with = |change: &dyn Fn(&mut Found)| {
        let mut found = found.clone();
        change(&mut found[1]);
        let refusal = safe(&found).err();
        refusal.map(|refusal| (refusal, refusal.to_string()))
    };
    type Case<'a> = (Refusal, &'a dyn Fn(&mut Found));
    let cases: [Case<'_>; 8] = [
        (Refusal::OtherArray(1), &|leg| leg.superblock.set_uuid[0] ^= 1),
        (Refusal::OtherArray(1), &|leg| leg.superblock.ctime += 1),
        (Refusal::Size { leg: 1, size: leg::SIZE - 8, first: leg::SIZE }, &|leg| leg.superblock.size -= 8),
        (Refusal::BlockSize { leg: 1, size: 4096, first: 512 }, &|leg| leg.block_size = 4096),
        (Refusal::Twice(0, 1), &|leg| leg.superblock.device_uuid = uuid(0)),
        (Refusal::Number(0, 1), &|leg| leg.superblock.dev_number = 0.into()),
        (Refusal::NoBitmap(1), &|leg| leg.superblock.feature_map = 0.into()),
        (Refusal::NoRoom(1), &|leg| {
            leg.superblock.bblog_offset = (leg.superblock.data_offset.get() as i32 - 24).into()
        }),
    ];
    for (refusal, change) in cases {
        let (found, text) = with(change).unwrap();
        assert_eq!(found, refusal);
        assert!(text.contains("leg") && text.contains(": "), "{text}");
    }
    let many: Vec<Found> = (0..17).map(|_| found[0].clone()).collect();
    assert_eq!(safe(&many).err(), Some(Refusal::TooMany(17)));
    assert!(safe(&found).is_ok());
}

#[test]
fn a_clean_volume_starts_with_nothing_to_rebuild() {
    let (found, _) = volume(3, true);
    let plan = start(&found, None, Consent::Safe).unwrap();
    assert_eq!((plan.entitled, plan.source), (Set::first(3), 0));
    assert!(
        plan.legs.iter().all(|leg| leg.recovery == Recovery::None),
        "bits that are left mean nothing after a clean end"
    );
    assert_eq!(plan.record.claim.get(), 3);
}

#[test]
fn after_a_crash_one_leg_stays_entitled() {
    let (mut found, _) = volume(2, false);
    found.iter_mut().for_each(|leg| leg.superblock.resync_offset = 0.into());
    found[1].superblock.events += 1;
    let plan = safe(&found).unwrap();
    assert_eq!((plan.entitled, plan.source), (Set::one(1), 1), "the younger one, not the first");
    assert_eq!((plan.legs[0].recovery, plan.legs[0].bits, plan.legs[1].bits), (Recovery::Bits, true, true));
    // Without bits they are equal; if a bitmap does not count, anything may differ.
    found.iter_mut().for_each(|leg| leg.bitmap = NO_BITS);
    assert_eq!(safe(&found).unwrap().entitled, Set::first(2));
    found[0].bitmap = Err(BitmapRefusal::Stale);
    let plan = safe(&found).unwrap();
    assert_eq!((plan.entitled, plan.legs[0].recovery), (Set::one(1), Recovery::All));
}

#[test]
fn too_few_voters_or_no_source_is_refused() {
    let (found, record) = volume(3, true);
    // Two of four are no majority; three are.
    assert!(matches!(safe(&found[..2]).err(), Some(Refusal::Quorum { epoch: 1, .. })));
    assert!(start(&found[..2], Some(&record), Consent::Safe).is_ok());
    // The tie-break and two legs know that the third has what was acknowledged.
    let mut younger = record.clone();
    next(&mut younger, &[2]);
    let refusal = start(&found[..2], Some(&younger), Consent::Safe).err();
    assert_eq!(refusal, Some(Refusal::NoSource { entitled: Set::one(2), epoch: 2 }));
    assert!(refusal.is_some_and(|refusal| refusal.to_string().contains("legs 2")));
    // Forced, it starts, and the lineage says so.
    let plan = start(&found[..2], Some(&younger), Consent::Force { leg: 1, lineage: [9; 16] }).unwrap();
    let fork = plan.record.forks()[0];
    assert_eq!((plan.record.lineage, fork.lineage, fork.epoch.get()), ([9; 16], [1; 16], 1));
    assert_eq!(plan.record.voters(), plan.present);
    assert!(plan.present.has(TIE_BREAK), "it has no data to lose, so its vote is taken from the others");
    assert_eq!(start(&found, None, Consent::Force { leg: 7, lineage: [9; 16] }).err(), Some(Refusal::NoSuchLeg(7)));
}

/// A tie-break that another one has replaced still has a record of the replica.
#[test]
fn a_tie_break_that_was_replaced_does_not_vote() {
    let (found, record) = volume(2, true);
    assert!(start(&found[..1], Some(&record), Consent::Safe).is_ok());
    let old = Record { device: [0x78; 16], ..record.clone() };
    let refusal = start(&found[..1], Some(&old), Consent::Safe).err();
    assert!(matches!(refusal, Some(Refusal::Quorum { present, .. }) if present == Set::one(0)), "{refusal:?}");
    assert!(!start(&found, Some(&old), Consent::Safe).unwrap().present.has(TIE_BREAK), "the legs do without it");
    let forced = Consent::Force { leg: 0, lineage: [9; 16] };
    assert!(!start(&found, Some(&old), forced).unwrap().present.has(TIE_BREAK));
    // md has had the legs: its vote is not taken over either.
    let mut by_md = found;
    by_md.iter_mut().for_each(|leg| leg.superblock.set_time(6, 0));
    assert!(start(&by_md, Some(&record), Consent::Safe).unwrap().record.voters().has(TIE_BREAK));
    assert!(!start(&by_md, Some(&old), Consent::Safe).unwrap().record.voters().has(TIE_BREAK));
}

/// Leg 0 has a record that was begun and never decided; legs 1 and 2 and the tie-break have gone on without knowing of it.
#[test]
fn a_record_that_was_passed_over_decides_nothing() {
    let (mut found, record) = volume(3, true);
    let mut begun = record.clone();
    next(&mut begun, &[0, 1]);
    begun.voters = Set::first(2).with(Set::one(TIE_BREAK)).bits().into();
    found[0].record = Ok(begun.clone());
    assert!(safe(&found[..2]).is_ok(), "as far as legs 0 and 1 know, it may have been decided");
    let mut claimed = record.clone();
    claimed.claim = (begun.epoch.get() + 1).into();
    found[1].record = Ok(claimed.clone());
    assert!(matches!(safe(&found[..2]).err(), Some(Refusal::Quorum { voters, .. }) if voters == record.voters()));
    // A majority of all four would know of what was decided instead.
    found[2].record = Ok(claimed);
    assert!(safe(&found).is_ok());
}

#[test]
fn what_was_forced_and_what_went_on_are_apart() {
    let (mut found, record) = volume(2, false);
    let mut forced = record.clone();
    forced.fork([2; 16], 17);
    next(&mut forced, &[0]);
    found[0].record = Ok(forced.clone());
    assert!(safe(&found).is_ok(), "the other has not gone on, so it is history");
    let mut on = record.clone();
    next(&mut on, &[1]);
    found[1].record = Ok(on.clone());
    let Err(Refusal::Apart(one, other)) = safe(&found) else { panic!("they are apart") };
    assert_eq!((one.epoch, other.epoch), (2, 2));
    assert_eq!((order(&forced, &on), parted(&forced, &on)), (Order::Apart, Some(17)));
    // By bits, since both have all bits since they parted; not otherwise.
    let choose = |found: &[Found]| start(found, None, Consent::Force { leg: 0, lineage: [3; 16] }).unwrap();
    assert_eq!((choose(&found).legs[1].recovery, choose(&found).legs[1].late), (Recovery::Bits, true));
    found[1].bitmap = Ok(Bitmap { events_cleared: 18, chunk: 1 << 26, any: true });
    assert_eq!(choose(&found).legs[1].recovery, Recovery::All);
    // A leg that comes back to a volume that runs is no different.
    assert!(matches!(returning(&forced, 10, 1 << 26, &as_leg(&found[1])), Err(Refusal::Apart(..))));
}

#[test]
fn a_leg_that_missed_more_than_the_bitmap_knows_is_copied_whole() {
    let (mut found, record) = volume(2, false);
    let mut younger = record.clone();
    next(&mut younger, &[0]);
    found[0].record = Ok(younger.clone());
    for (events, recovery) in [(10, Recovery::Bits), (9, Recovery::All)] {
        found[1].superblock.events = events.into();
        let plan = safe(&found).unwrap();
        assert_eq!((plan.entitled, plan.legs[1].recovery), (Set::one(0), recovery));
        assert_eq!(returning(&younger, 10, 1 << 26, &as_leg(&found[1])), Ok(recovery));
    }
    assert_eq!(returning(&younger, 10, 1 << 20, &as_leg(&found[1])), Ok(Recovery::All), "bits of other chunks");
}

#[test]
fn an_older_copy_of_an_entitled_leg_is_no_source() {
    let (mut found, _) = volume(2, false);
    found[0].superblock.events -= 2;
    let plan = safe(&found).unwrap();
    assert_eq!((plan.entitled, plan.legs[0].recovery), (Set::one(1), Recovery::All));
}

#[test]
fn a_leg_that_was_about_to_join_a_lineage_that_was_given_up_is_copied_whole() {
    for entitled in [&[0, 1][..], &[0, 1, 2]] {
        let (mut found, mut record) = volume(3, false);
        next(&mut record, entitled);
        found.iter_mut().for_each(|leg| leg.record = Ok(record.clone()));
        // Its superblock was written before its record, and whoever forced that start has been overruled.
        found[2].superblock.set_time(5, 0x42);
        found[2].superblock.events += 7;
        // What md would have made of it is not asked: an older copy, by its events.
        found[1].superblock.events -= 2;
        let plan = safe(&found).unwrap();
        assert!(!plan.foreign);
        assert_eq!((plan.entitled, plan.legs[2].recovery), (Set::one(0), Recovery::All));
    }
}

/// What md left: its legs have no tag and no record.
fn by_md(found: &mut [Found]) {
    for leg in found {
        leg.superblock.set_time(6, 0);
        leg.record = Err(RecordRefusal::Magic);
    }
}

#[test]
fn an_array_of_md_is_taken_over_if_all_of_its_legs_are_there() {
    let (mut found, _) = volume(2, false);
    by_md(&mut found);
    let plan = safe(&found).unwrap();
    assert_eq!((plan.entitled, plan.record.voters(), plan.foreign), (Set::first(2), Set::first(2), true));
    assert_eq!(safe(&found[..1]).err(), Some(Refusal::Missing(Set::one(1))));
    // Leg 1 failed and is stale: it is history if leg 0 says so, and leg 0 may start without it.
    found[0].superblock.events += 5;
    found[0].superblock.role[1] = Role::Faulty.raw().into();
    let plan = safe(&found).unwrap();
    assert_eq!((plan.entitled, plan.legs[1].recovery), (Set::one(0), Recovery::Bits));
    assert!(safe(&found[..1]).is_ok());
    assert_eq!(safe(&found[1..]).err(), Some(Refusal::Missing(Set::one(0))), "the one that failed does not know it");
    // Each lost the other: whatever the counters say.
    found[1].superblock.role[0] = Role::Faulty.raw().into();
    for events in [22, 21, 30, 17] {
        found[1].superblock.events = events.into();
        assert!(matches!(safe(&found).err(), Some(Refusal::ForeignApart(..))), "{events}");
    }
    let plan = start(&found, None, Consent::Force { leg: 1, lineage: [4; 16] }).unwrap();
    assert_eq!((plan.entitled, plan.source), (Set::one(1), 1));
    // One that was being rebuilt alone is nothing to start from.
    found[1].superblock.feature_map = (feature::BITMAP | feature::RECOVERY).into();
    assert_eq!(safe(&found[1..]).err(), Some(Refusal::NoneInSync));
}

#[test]
fn an_array_that_md_has_had_in_between_needs_all_that_were_entitled() {
    let (mut found, _) = volume(3, false);
    found[0].superblock.set_time(6, 0);
    found[1].superblock.set_time(6, 0);
    assert_eq!(safe(&found[..2]).err(), Some(Refusal::Foreign(Set::one(2))));
    let plan = safe(&found).unwrap();
    assert!(plan.foreign && plan.record.lineage == [1; 16] && plan.entitled == Set::first(3));
}

#[test]
fn every_flipped_bit_of_a_record_is_noticed_and_a_torn_one_leaves_the_other() {
    let (found, record) = volume(3, true);
    let identity = Identity::of(&found[1].superblock);
    let [mut old, mut new] = [[0; PAGE_SIZE]; 2];
    let first = Position::NONE.next();
    record.write::<Portable>(uuid(1), first, &mut old).unwrap();
    let mut younger = record.clone();
    younger.fork([2; 16], 3);
    next(&mut younger, &[1]);
    younger.write::<Portable>(uuid(1), first.next(), &mut new).unwrap();
    fn read<'a>(page: &'a Page, whose: &Identity) -> Result<&'a Record, RecordRefusal> {
        Record::of::<Portable>(page, whose)
    }
    assert_eq!(read(&new, &identity).map(|record| (record.epoch.get(), record.sequence.get())), Ok((2, 2)));
    // All of the record, and some of the zeros behind it.
    for bit in (0..8 * 1024).chain((8 * 1024..8 * PAGE_SIZE).step_by(61)) {
        let mut flipped = new;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&flipped, &identity).is_err(), "bit {bit}");
    }
    // Written over the older copy, in any part.
    for sectors in 0..256_u32 {
        let mut torn: Page = [0; PAGE_SIZE];
        for (sector, (to, from)) in torn.chunks_mut(512).zip(new.chunks(512)).enumerate() {
            if (sectors >> sector) & 1 == 1 {
                to.copy_from_slice(from);
            }
        }
        let found = choose([read(&old, &identity), read(&torn, &identity)]).unwrap();
        let whole = sectors & 3 == 3;
        assert_eq!((found.slot, found.record.epoch.get()), if whole { (1, 2) } else { (0, 1) });
        assert_eq!(found.position().next().slot, 1 - found.slot);
    }
    let other = Identity { made: identity.made + 1, ..identity };
    assert_eq!(
        Record::of::<Portable>(&new, &other).err(),
        Some(RecordRefusal::Array),
        "an array made anew in its place"
    );
    let other = Identity { device: uuid(2), ..identity };
    assert_eq!(Record::of::<Portable>(&new, &other).err(), Some(RecordRefusal::Device));
}

#[test]
fn lineages_are_history_up_to_where_they_were_left() {
    let (_, mut record) = volume(2, false);
    let mut all = vec![record.clone()];
    for fork in 0..FORKS_MAX as u8 + 3 {
        record.fork([fork + 2; 16], u64::from(fork));
        next(&mut record, &[0]);
        all.push(record.clone());
        assert!(record.write::<Portable>(uuid(0), Position::NONE, &mut [0; PAGE_SIZE]).is_ok());
    }
    for (index, older) in all.iter().enumerate() {
        let known = all.len() - index <= FORKS_MAX + 1;
        let expected = if index + 1 == all.len() { Order::Same } else { Order::Behind };
        // Who comes from before what is kept is a stranger.
        assert_eq!(order(older, &record), if known { expected } else { Order::Apart }, "{index}");
    }
}

proptest! {
    /// Whoever starts meets somebody who knows of the last change, and of any that was begun.
    #[test]
    fn quorums_meet(voters in 1_u32..1 << PLACES, wanted in 0_u32..1 << PLACES, one in any::<u32>(), other in any::<u32>()) {
        let set = |bits: u32| Set::of(bits & Set::ALL.bits()).unwrap();
        let (voters, wanted, one, other) = (set(voters), set(wanted), set(one), set(other));
        if starts(voters, one) {
            prop_assert!(!starts(voters, other) || !one.and(other).and(voters).is_empty());
            prop_assert!(!decides(voters, other) || !one.and(other).and(voters).is_empty());
        }
        let after = step(voters, wanted);
        prop_assert!(!after.is_empty() && after.without(voters).with(voters.without(after)).len() <= 1);
        if starts(voters, one) && starts(after, other) {
            prop_assert!(!one.and(other).is_empty());
        }
    }

    /// A word of a chunk, beside its rules: a bit is cleared only after two sweeps and a flush without a write, and when nothing is needed.
    #[test]
    fn a_bit_outlives_its_writes(events in prop::collection::vec(0_u8..6, 1..60)) {
        let (mut chunk, mut writes, mut swept, mut needed) = (Chunk::default(), 0_u32, 0, false);
        for event in events {
            match event {
                0 => match chunk.begin() {
                    (new, Begin::Go) => (chunk, writes) = (new, writes + 1),
                    (_, begin) => prop_assert!(begin == Begin::Ask && !chunk.is_set()),
                },
                1 if writes > 0 => (chunk, writes, swept) = (chunk.end(true), writes - 1, 0),
                2 if writes > 0 => (chunk, writes, swept, needed) = (chunk.end(false), writes - 1, 0, true),
                3 => {
                    let (new, clearing) = chunk.sweep();
                    (chunk, swept) = (new, swept + 1);
                    prop_assert!(!clearing || writes == 0 && !needed && swept >= 2);
                }
                4 => {
                    let (new, cleared) = chunk.clear();
                    prop_assert!(!cleared || writes == 0 && !needed && swept >= 2);
                    chunk = new;
                }
                _ => (chunk, swept) = (chunk.grant(), 0),
            }
            prop_assert!(chunk.writes() == writes && (writes == 0 || chunk.is_set()));
        }
    }
}

#[test]
fn an_acknowledgement_needs_every_leg_that_a_crash_may_bring_back() {
    let [none, first, second, both] = [0, 1, 2, 3].map(|bits| Set::of(bits).unwrap());
    let standing = |needed, failing| Standing { needed, failing };
    for verdict in [write, flush] {
        assert_eq!(verdict(standing(both, none), first, none), Verdict::Wait);
        assert_eq!(verdict(standing(both, none), both, none), Verdict::Acknowledge);
        assert_eq!(verdict(standing(both, second), first, second), Verdict::Hold);
        assert_eq!(verdict(standing(both, second), both, none), Verdict::Hold, "it may have lost it since");
        assert_eq!(verdict(standing(first, none), first, second), Verdict::Acknowledge);
        assert_eq!(verdict(standing(first, none), second, first), Verdict::Fail);
        assert_eq!(verdict(standing(both, none), none, both), Verdict::Fail);
    }
}

#[test]
fn ranges_share_bits_if_they_overlap_and_near_ones_do_not() {
    use stor_pure::pure::replica::range::{most, words, WORDS};
    let meet = |a: (u64, u64), b: (u64, u64)| {
        words(a.0, a.1).any(|(at, bits)| words(b.0, b.1).any(|(other, own)| at == other && bits & own != 0))
    };
    let part = most(0);
    let mut seed = 1_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for _ in 0..20_000 {
        let base = random(1 << 20) * part;
        let mut range = || {
            let start = base + random(2048);
            (start, (1 + random(2048)).min(most(start)))
        };
        let (a, b) = (range(), range());
        let overlap = a.0 < b.0 + b.1 && b.0 < a.0 + a.1;
        let units = a.0 / 8 <= (b.0 + b.1 - 1) / 8 && b.0 / 8 <= (a.0 + a.1 - 1) / 8;
        assert!(!overlap || meet(a, b), "{a:?} {b:?}");
        assert_eq!(meet(a, b), units, "{a:?} {b:?}");
        // No range takes a bit twice, or it would wait for itself.
        let mut taken = vec![0_u64; WORDS as usize];
        for (at, bits) in words(a.0, a.1) {
            assert_eq!(taken[at] & bits, 0);
            taken[at] |= bits;
        }
    }
    assert_eq!(words(part - 8, most(part - 8)).count(), 1);
    assert_eq!(words(0, part).map(|(_, bits)| bits.count_ones()).sum::<u32>(), 65_536);
}
