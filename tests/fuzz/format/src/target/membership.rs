// SPDX-License-Identifier: GPL-2.0

//! Membership records: what is put right, and three, of which the first begins as a sound one and each other as a copy of the one
//! before. They are read as the copies of one leg, and as what two legs and a tie-break have, whose volume is to start.

use super::leg::{page, sound as sound_leg};
use super::{Bytes, Fast, Target};
use stor_pure::pure::md::superblock::Superblock;
use stor_pure::pure::md::{Page, PAGE_SIZE};
use stor_pure::pure::replica::assemble::{plan, returning, Bitmap, Consent, Leg};
use stor_pure::pure::replica::change::Change;
use stor_pure::pure::replica::lineage::{order, parted, Order};
use stor_pure::pure::replica::record::{choose, Identity, Position, Record, Refusal};
use stor_pure::pure::replica::set::{Set, PLACES, TIE_BREAK};
use stor_pure::pure::thin::crc::Crc;
use stor_pure::pure::units::Sectors;

pub(super) const TARGET: Target =
    Target { name: "membership", about: "membership records, and starts from them", most: 1200, seeds, run };

fn sound() -> Page {
    let mut members = [[0; 16]; PLACES];
    let uuids = [(0, [8; 16]), (1, [9; 16]), (TIE_BREAK, [10; 16])];
    for (place, uuid) in uuids {
        members.iter_mut().skip(place).take(1).for_each(|member| *member = uuid);
    }
    let mut raw = [0; PAGE_SIZE];
    let record = Record::first(&sound_leg(), members, [3; 16], 1 << 30);
    let _ = record.write::<Fast>([9; 16], Position::NONE.next(), &mut raw);
    raw
}

/// A patch: a place, a length, bytes; a length of 0 ends the patches of one record.
fn seeds() -> Vec<Vec<u8>> {
    let younger = [56, 0, 1, 2, 64, 0, 1, 2, 80, 0, 1, 3];
    let other = [104, 0, 2, 4, 4];
    let fork = [152, 0, 1, 1, 0, 2, 17, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 1];
    vec![
        vec![7, 3],
        [&[7, 3, 0, 0, 0][..], &younger].concat(),
        [&[7, 3, 0, 0, 0][..], &younger, &other].concat(),
        [&[7, 0x13, 0, 0, 0][..], &younger, &other, &fork].concat(),
        vec![0, 3],
    ]
}

fn fix(raw: &mut Page) {
    let sum = !Fast::crc32c(raw.get(12..).unwrap_or_default());
    raw.iter_mut().skip(8).zip(sum.to_le_bytes()).for_each(|(to, from)| *to = from);
}

fn run(input: &[u8]) {
    let mut bytes = Bytes(input);
    let (fixed, facts) = (bytes.byte(), bytes.byte());
    let mut raws = [sound(); 3];
    let [first, second, third] = &mut raws;
    patches(&mut bytes, first);
    *second = *first;
    patches(&mut bytes, second);
    *third = *second;
    patches(&mut bytes, third);
    for (index, raw) in raws.iter_mut().enumerate() {
        if (fixed >> index) & 1 == 1 {
            fix(raw);
        }
    }
    let leg = sound_leg();
    let read = |raw| Record::of::<Fast>(raw, &Identity::of(&leg));
    let [first, second, third] = raws.each_ref().map(read);
    match choose([first, second]) {
        Ok(found) => accepted(found.record),
        Err(refusal) => drop(refusal.to_string()),
    }
    relate(first, second);
    relate(second, third);
    start([first, second, third], facts);
}

pub(super) fn patches(bytes: &mut Bytes<'_>, raw: &mut Page) {
    for _ in 0..8 {
        let (place, count) = (bytes.number(2) as usize % 1100, usize::from(bytes.byte()));
        let new = bytes.take(count);
        raw.iter_mut().skip(place).zip(new).for_each(|(to, from)| *to = *from);
        if count == 0 {
            break;
        }
    }
}

fn accepted(record: &Record) {
    let (legs, entitled, voters) = (record.legs(), record.entitled(), record.voters());
    assert!(legs.covers(entitled) && !entitled.is_empty() && !voters.is_empty() && Set::LEGS.covers(legs));
    assert!(record.claim >= record.epoch && record.parent < record.epoch && record.tag() > 0);
    for place in legs.with(voters).iter() {
        assert_eq!(record.member.get(place).and_then(|uuid| record.place(uuid)), Some(place));
    }
    let mut again = [0xff; PAGE_SIZE];
    let next = Position { slot: 0, sequence: record.sequence.get() };
    assert_eq!(record.write::<Fast>(record.device, next, &mut again), Ok(()));
    let identity = Identity { array: record.array, made: record.made.get(), device: record.device };
    assert!(matches!(Record::of::<Fast>(&again, &identity), Ok(read) if read == record));
    let mut younger = record.clone();
    younger.fork([0xee; 16], 5);
    younger.epoch = (record.claim.get() + 1).into();
    younger.claim = younger.epoch;
    if record.lineage != [0xee; 16] && record.forks().iter().all(|fork| fork.lineage != [0xee; 16]) {
        assert_eq!(younger.write::<Fast>(record.device, next, &mut again), Ok(()));
        assert_eq!(order(record, &younger), Order::Behind);
    }
}

fn relate(one: Result<&Record, Refusal>, other: Result<&Record, Refusal>) {
    let (Ok(one), Ok(other)) = (one, other) else { return };
    let back = match order(one, other) {
        Order::Same => Order::Same,
        Order::Behind => Order::Ahead,
        Order::Ahead => Order::Behind,
        Order::Apart => Order::Apart,
    };
    assert_eq!(order(other, one), back);
    assert_eq!(parted(one, other).is_some(), parted(other, one).is_some());
}

/// Nobody who is not entitled becomes a source.
fn start([first, second, third]: [Result<&Record, Refusal>; 3], facts: u8) {
    let mut legs = [sound_leg(), sound_leg()];
    for (number, leg) in (0..).zip(&mut legs) {
        leg.dev_number = number.into();
        leg.device_uuid = [8 + number as u8; 16];
        let tag = first.map_or(0, Record::tag);
        leg.set_time(1 << 30, if facts & 0x10 == 0 { tag } else { 0 });
        leg.events = u64::from((facts >> (5 + number)) & 1).into();
        let _ = leg.seal();
    }
    let raws = legs.each_ref().map(page);
    let [Ok(zero), Ok(one)] = raws.each_ref().map(|raw| Superblock::of(raw, Sectors(1 << 16))) else { return };
    let bitmap = Ok(Bitmap { events_cleared: 0, chunk: 1 << 20, any: facts & 4 != 0 });
    let leg = |superblock, record| Leg { superblock, record, bitmap, block_size: 512 };
    let legs = [leg(zero, first), leg(one, second)];
    let change = Change { joins: [9; 16], tie_break: false, leaves: [8; 16] };
    let force = Consent::Force { leg: usize::from(facts & 1), lineage: [0xdd; 16] };
    for consent in [Consent::Safe, force, Consent::Change(change)] {
        match plan(&legs, third.ok().filter(|_| facts & 2 != 0), consent) {
            Ok(plan) => {
                assert!(plan.entitled.has(plan.source) && plan.record.legs().covers(plan.entitled));
                assert!(consent != Consent::Safe || plan.foreign || plan.record.entitled().covers(plan.entitled));
            }
            Err(refusal) => drop(refusal.to_string()),
        }
    }
    if let Ok(record) = third {
        for leg in &legs {
            let _ = returning(record, 0, 1 << 20, leg).map_err(|refusal| refusal.to_string());
        }
    }
}
