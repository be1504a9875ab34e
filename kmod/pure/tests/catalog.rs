// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The catalog: what is written is read, what cannot be is refused, and whatever a crash leaves of a change mends itself to
//! before or after.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "catalog/world.rs"]
mod world;

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use stor_pure::pure::catalog::handshake::{decide, Decision, Mend, Mismatch, Stamp};
use stor_pure::pure::catalog::record::{Fault, Fixed, Label, DELETING, LABELS_MAX, NO_ORIGIN, SNAPSHOT, UNNAMED};
use stor_pure::pure::catalog::write::Writer;
use stor_pure::pure::catalog::{slot_for, Catalog, Policy, Refusal, Settings, SLOT_MIN, VOLUMES_MAX};
use stor_pure::pure::text::TextError;
use stor_pure::pure::thin::crc::{Crc, Portable};
use world::{Fast, Model, Volume, World, POOL};

fn stamp(generation: u64, transaction: u64) -> Stamp {
    Stamp { generation: generation.into(), transaction: transaction.into() }
}

fn fixed(device: u32) -> Fixed {
    Fixed { device: device.into(), size: (1 << 20).into(), origin: NO_ORIGIN.into(), ..Fixed::default() }
}

/// Three volumes, one of them being deleted.
fn small() -> Vec<u8> {
    let mut slot = vec![0xa5; SLOT_MIN];
    let mut writer = Writer::new(&mut slot).unwrap();
    let labels = [Label { key: "app", value: "db" }, Label { key: "k8s.io/claim", value: "größe ✓" }];
    writer.push(&fixed(1), "zeta", &labels).unwrap();
    writer.push(&Fixed { flags: DELETING.into(), ..fixed(4) }, "", &[]).unwrap();
    let snapshot =
        Fixed { flags: SNAPSHOT.into(), origin: 1.into(), policy: (Policy::Error as u32).into(), ..fixed(9) };
    writer.push(&snapshot, "alpha", &[]).unwrap();
    let settings = Settings { timeout: 60.into(), next_device: 10.into(), ..Settings::default() };
    let length = writer.finish::<Fast>(stamp(5, 3), &POOL, 1, settings).unwrap();
    assert!(slot[length..].iter().all(|&byte| byte == 0));
    assert_eq!(Catalog::length(&slot), SLOT_MIN);
    slot.truncate(length);
    slot
}

fn of(bytes: &[u8]) -> Result<Catalog<'_>, Refusal> {
    Catalog::of::<Fast>(bytes, &POOL, 1)
}

#[test]
fn what_is_written_is_read() {
    let bytes = small();
    let catalog = of(&bytes).unwrap();
    assert_eq!((catalog.stamp(), catalog.header().volumes.get(), catalog.read_only()), (stamp(5, 3), 3, false));
    assert_eq!(catalog.header().settings.timeout.get(), 60);
    let all: Vec<_> = catalog.volumes().map(|volume| (volume.fixed.device.get(), volume.name)).collect();
    assert_eq!(all, [(1, "zeta"), (4, ""), (9, "alpha")]);
    let named: Vec<_> = catalog.by_name().map(|volume| volume.name).collect();
    assert_eq!(named, ["alpha", "zeta"]);
    let labels: Vec<_> = catalog.find("zeta").unwrap().labels().map(|label| (label.key, label.value)).collect();
    assert_eq!(labels, [("app", "db"), ("k8s.io/claim", "größe ✓")]);
    assert_eq!(catalog.find("alpha").unwrap().policy(), Policy::Error);
    assert!(catalog.find("").is_none() && catalog.find("beta").is_none());
    assert_eq!([0, 1, 4, 9, u32::MAX].map(|from| catalog.free_device(from)), [0, 2, 5, 10, 0].map(Some));
    // The rest of the slot may be there or not; both ways of summing say the same.
    let longer = [&bytes[..], &[7; 100]].concat();
    assert!(of(&longer).is_ok() && Catalog::of::<Portable>(&longer, &POOL, 1).is_ok());
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = small();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let want = if bit < 64 { Refusal::Magic } else { Refusal::Checksum };
        assert_eq!(of(&flipped).unwrap_err(), want, "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert!(of(&bytes[..length]).is_err(), "cut to {length}");
    }
}

/// What is said when bytes at an offset are others, and the checksum is right.
fn refused(offset: usize, change: &[u8]) -> Refusal {
    let mut bytes = small();
    bytes[offset..offset + change.len()].copy_from_slice(change);
    let sum = !Fast::crc32c(&bytes[12..]);
    bytes[8..12].copy_from_slice(&sum.to_le_bytes());
    of(&bytes).unwrap_err()
}

#[test]
fn what_cannot_be_is_refused() {
    assert_eq!(refused(12, &[9]), Refusal::Version(9));
    assert_eq!(refused(72, &[2]), Refusal::Features(2));
    assert_eq!(refused(32, &[0; 16]), Refusal::Pool([0; 16]));
    assert_eq!(refused(48, &[0]), Refusal::Slot(0));
    assert_eq!(Catalog::of::<Fast>(&small(), &POOL, 0).unwrap_err(), Refusal::Slot(1));
    assert_eq!(refused(52, &[2]), Refusal::Length);
    assert_eq!(refused(52, &u32::MAX.to_le_bytes()), Refusal::Length);
    // Lengths that do not fit: damage, whatever the checksum says.
    assert_eq!(refused(56, &u32::MAX.to_le_bytes()), Refusal::Checksum);
    assert_eq!(refused(60, &u32::MAX.to_le_bytes()), Refusal::Checksum);
    assert_eq!(refused(80, &[4]), Refusal::Settings);
    assert_eq!(refused(104, &[4]), Refusal::Settings);
    assert_eq!(refused(111, &[1]), Refusal::Settings);
    // The records begin at 128; the first is 72 bytes, its name, two labels: 112 bytes.
    let record = |offset: usize, change: &[u8]| match refused(128 + offset, change) {
        Refusal::Record(1, fault) => fault,
        other => panic!("{other}"),
    };
    assert_eq!(refused(128, &[0]), Refusal::Length);
    assert_eq!(record(8, &[1]), Fault::Size);
    assert_eq!(record(8, &[0; 8]), Fault::Size);
    assert_eq!(record(48, &(1u32 << 24).to_le_bytes()), Fault::Origin);
    assert_eq!(record(52, &[16]), Fault::Flags);
    assert_eq!(record(56, &[4]), Fault::Flags);
    assert_eq!(record(52, &[8]), Fault::Deleting);
    assert_eq!(record(64, &UNNAMED.to_le_bytes()), Fault::Deleting);
    assert_eq!(record(68, &[0]), Fault::Deleting);
    assert_eq!(record(68, &[255]), Fault::Length);
    assert_eq!(record(70, &[1]), Fault::Length);
    assert_eq!(record(70, &[3]), Fault::Label);
    assert_eq!(record(70, &[33]), Fault::Label);
    assert_eq!(record(72, b"-"), Fault::Name(TextError::First));
    assert_eq!(record(76, &[200]), Fault::Label);
    assert_eq!(record(78, b" "), Fault::Label);
    assert_eq!(record(78, b"z"), Fault::Label);
    assert_eq!(record(81, b"\x07"), Fault::Label);
    assert_eq!(record(81, b"\xff"), Fault::Label);
    assert_eq!(refused(128 + 64, &[0]), Refusal::Directory);
    // Two of one device, and of one name; the directory is the last eight bytes.
    assert_eq!(refused(128 + 4, &[4]), Refusal::Record(4, Fault::Order));
    assert_eq!(refused(128 + 7, &[1]), Refusal::Record(1 | (1 << 24), Fault::Order));
    let end = small().len();
    assert_eq!(refused(end - 4, &[1]), Refusal::Directory);
    assert_eq!(refused(end - 4, &u32::MAX.to_le_bytes()), Refusal::Directory);
}

#[test]
fn what_cannot_be_is_not_written() {
    let mut slot = vec![0; SLOT_MIN];
    let mut writer = Writer::new(&mut slot).unwrap();
    let long = "a".repeat(64);
    assert_eq!(writer.push(&fixed(1), &long, &[]), Err(Fault::Name(TextError::TooLong)));
    assert_eq!(writer.push(&fixed(1), "a/b", &[]), Err(Fault::Name(TextError::Character)));
    assert_eq!(writer.push(&fixed(1), "", &[]), Err(Fault::Deleting));
    assert_eq!(writer.push(&Fixed { flags: DELETING.into(), ..fixed(1) }, "a", &[]), Err(Fault::Deleting));
    assert_eq!(writer.push(&fixed(1 << 24), "a", &[]), Err(Fault::Order));
    assert_eq!(writer.push(&Fixed { size: 100.into(), ..fixed(1) }, "a", &[]), Err(Fault::Size));
    for (key, value) in
        [("", "x"), (".x", "x"), ("a b", "x"), ("a", "x\ny"), (&"k".repeat(129), ""), ("a", &"v".repeat(256))]
    {
        assert_eq!(writer.push(&fixed(1), "a", &[Label { key, value }]), Err(Fault::Label), "{key}={value}");
    }
    let twice = [Label { key: "b", value: "" }; 2];
    assert_eq!(writer.push(&fixed(1), "a", &twice), Err(Fault::Label));
    let keys: Vec<String> = (0..=LABELS_MAX).map(|n| format!("k{n:02}")).collect();
    let many: Vec<_> = keys.iter().map(|key| Label { key, value: "" }).collect();
    assert_eq!(writer.push(&fixed(1), "a", &many), Err(Fault::Label));
    writer.push(&fixed(1), "a", &many[1..]).unwrap();
    assert_eq!(writer.push(&fixed(1), "b", &[]), Err(Fault::Order));
    writer.push(&fixed(2), "a", &[]).unwrap();
    // The name was another's all along.
    assert_eq!(writer.finish::<Fast>(stamp(1, 1), &POOL, 0, Settings::default()), Err(Refusal::Directory));
    assert!(Writer::new(&mut [0; 127]).is_err());
    let writer = Writer::new(&mut slot).unwrap();
    assert_eq!(writer.finish::<Fast>(stamp(1, 1), &POOL, 2, Settings::default()), Err(Refusal::Slot(2)));
    let writer = Writer::new(&mut slot).unwrap();
    let settings = Settings { policy: 4.into(), ..Settings::default() };
    assert_eq!(writer.finish::<Fast>(stamp(1, 1), &POOL, 0, settings), Err(Refusal::Settings));
}

#[test]
fn a_slot_can_be_filled_to_its_last_byte_and_no_further() {
    for length in [128, 136, 4096, 4100, 5000] {
        let mut slot = vec![0; length];
        let mut writer = Writer::new(&mut slot).unwrap();
        let mut count = 0;
        while writer.push(&fixed(count), &format!("v{count:05}"), &[]).is_ok() {
            count += 1;
        }
        let used = writer.finish::<Fast>(stamp(1, 1), &POOL, 1, Settings::default()).unwrap();
        assert_eq!(used, 128 + count as usize * 84);
        assert!(length / 8 * 8 - used < 84);
        assert_eq!(of(&slot).unwrap().volumes().count(), count as usize);
    }
}

#[test]
fn as_many_volumes_as_there_can_be() {
    let name = |device: u32| format!("volume-{:0>56x}", device.reverse_bits());
    let mut slot = vec![0; slot_for(VOLUMES_MAX, 63)];
    let mut writer = Writer::new(&mut slot).unwrap();
    for device in 0..VOLUMES_MAX as u32 {
        writer.push(&fixed(device), &name(device), &[]).unwrap();
    }
    assert_eq!(writer.push(&fixed(VOLUMES_MAX as u32), "one-more", &[]), Err(Fault::Full));
    let used = writer.finish::<Fast>(stamp(1, 1), &POOL, 1, Settings::default()).unwrap();
    assert!(used <= slot.len() && Catalog::length(&slot) == used);
    let catalog = of(&slot[..used]).unwrap();
    for device in [0, 1, 65_535] {
        assert_eq!(catalog.find(&name(device)).unwrap().fixed.device.get(), device);
    }
    assert_eq!(catalog.free_device(0), Some(VOLUMES_MAX as u32));
}

fn volume() -> impl Strategy<Value = Volume> {
    let key = "[a-z0-9][a-z./_-]{0,6}";
    let labels = prop::collection::btree_map(key, "[ -~äö→]{0,12}", 0..4);
    (0..4u32, 1..1000u64, any::<bool>(), labels).prop_map(|(policy, sectors, deleting, labels)| Volume {
        policy,
        size: sectors * 512,
        deleting,
        labels,
    })
}

proptest! {
    #[test]
    fn any_volumes_are_read_as_written(
        volumes in prop::collection::btree_map(0..500u32, volume(), 0..40),
        names in prop::collection::btree_set("[a-zA-Z0-9][a-zA-Z0-9._+-]{0,8}", 40),
    ) {
        let mut names: Vec<String> = names.into_iter().collect();
        names.reverse();
        let model: Model = volumes.into_iter().zip(names).map(|((id, volume), name)| {
            (id, (if volume.deleting { String::new() } else { name }, volume))
        }).collect();
        let bytes = world::encode(&model, stamp(1, 2), 0);
        let catalog = Catalog::of::<Fast>(&bytes, &POOL, 0).unwrap();
        prop_assert_eq!(world::decode(&catalog), model.clone());
        let want: BTreeMap<&str, u32> =
            model.iter().filter(|(_, (name, _))| !name.is_empty()).map(|(id, (name, _))| (name.as_str(), *id)).collect();
        let found: Vec<(&str, u32)> = catalog.by_name().map(|volume| (volume.name, volume.fixed.device.get())).collect();
        prop_assert_eq!(found, want.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 128..600), flips in prop::collection::vec((0..600usize, any::<u8>()), 0..8)) {
        let _ = of(&bytes);
        let sound = small();
        for (at, byte) in flips {
            if let Some(place) = bytes.get_mut(at).filter(|_| at >= 128) { *place = byte; }
        }
        bytes[..128].copy_from_slice(&sound[..128]);
        bytes.resize(sound.len(), 0);
        let sum = !Fast::crc32c(&bytes[12..]);
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
        if let Ok(catalog) = of(&bytes) {
            let ids: BTreeSet<u32> = catalog.volumes().map(|volume| volume.fixed.device.get()).collect();
            prop_assert_eq!(ids.len(), 3);
        }
    }
}

#[test]
fn a_slot_counts_only_at_the_pools_transaction() {
    let sound = |generation, transaction| Ok(stamp(generation, transaction));
    let counts = |slot, mend| Ok(Decision { slot, mend });
    let bad = Err(Refusal::Checksum);
    let none = Err(Refusal::Magic);
    for (pool, slots, want) in [
        (7, [sound(3, 7), sound(3, 7)], counts(0, None)),
        // A change of the catalog alone, before and after its copy.
        (7, [sound(3, 7), sound(4, 7)], counts(1, Some(Mend::Copy))),
        (7, [sound(4, 7), sound(3, 7)], counts(0, Some(Mend::Copy))),
        // An intent that was not carried out, and one that was.
        (7, [sound(3, 7), sound(4, 8)], counts(0, Some(Mend::RollBack))),
        (7, [sound(4, 8), sound(3, 7)], counts(1, Some(Mend::RollBack))),
        (8, [sound(3, 7), sound(4, 8)], counts(1, Some(Mend::Copy))),
        // One slot is lost.
        (7, [sound(3, 7), bad], counts(0, Some(Mend::Copy))),
        (7, [none, sound(3, 7)], counts(1, Some(Mend::Copy))),
        (7, [bad, sound(4, 8)], Err(Mismatch::IntentOnly { pool: 7, other: Refusal::Checksum })),
        (7, [bad, none], Err(Mismatch::Damaged(Refusal::Checksum))),
        (7, [none, bad], Err(Mismatch::Damaged(Refusal::Checksum))),
        (7, [none, none], Err(Mismatch::Damaged(Refusal::Magic))),
        // Something else was here.
        (9, [sound(3, 7), sound(4, 8)], Err(Mismatch::Behind { pool: 9, catalog: 8 })),
        (9, [sound(3, 7), bad], Err(Mismatch::Behind { pool: 9, catalog: 7 })),
        (6, [sound(3, 7), sound(4, 8)], Err(Mismatch::Ahead { pool: 6, catalog: 7 })),
        (5, [sound(3, 7), bad], Err(Mismatch::Ahead { pool: 5, catalog: 7 })),
        (7, [sound(3, 7), sound(4, 9)], Err(Mismatch::Ahead { pool: 7, catalog: 9 })),
        (7, [sound(3, 6), sound(4, 8)], Err(Mismatch::Ahead { pool: 7, catalog: 8 })),
        (u64::MAX, [sound(3, u64::MAX), bad], counts(0, Some(Mend::Copy))),
    ] {
        assert_eq!(decide(pool, slots), want, "pool at {pool}, {slots:?}");
    }
    assert_eq!(stamp(3, u64::MAX).intent(), Err(Mismatch::End));
    assert_eq!(stamp(u64::MAX, 3).alone(), Err(Mismatch::End));
    assert_eq!(stamp(3, 7).intent(), Ok(stamp(4, 8)));
}

/// Changes, and a crash at every point of each, torn in every way that is worth a try.
#[test]
fn a_crash_leaves_what_was_or_what_will_be() {
    for at_once in [true, false] {
        let filler = |id: u32| Volume {
            size: 512,
            labels: BTreeMap::from([("filler".into(), format!("{id:0200}"))]),
            ..Volume::default()
        };
        // So that a slot has some sectors.
        let mut world = World::new(&(100..103).map(|id| (id, (format!("filler-{id}"), filler(id)))).collect());
        let mut crashes = 0;
        let a = Volume { size: 1 << 20, ..Volume::default() };
        let b = Volume { policy: 2, ..a.clone() };
        for step in 0..12 {
            let (mut next, mut devices) = (world.model(), BTreeSet::new());
            match step {
                // Made: one, and three at one instant.
                0 | 4 => drop(next.insert(step, (format!("one-{step}"), a.clone()))),
                1 | 5 => {
                    for id in [10, 11, 12] {
                        next.insert(id + step, (format!("group-{id}-{step}"), b.clone()));
                    }
                }
                // Renamed, two exchange their names; a label.
                2 => {
                    let (x, y) = (next[&11].0.clone(), next[&12].0.clone());
                    next.get_mut(&11).unwrap().0 = y;
                    next.get_mut(&12).unwrap().0 = x;
                }
                3 => drop(next.get_mut(&0).unwrap().1.labels.insert("app".into(), "x".repeat(200))),
                // Deleted: marked, removed from the pool, forgotten.
                6 | 9 => {
                    for id in if step == 6 { [0, 13] } else { [4, 16] } {
                        let volume = next.get_mut(&id).unwrap();
                        volume.0.clear();
                        volume.1.deleting = true;
                    }
                }
                7 | 10 => devices = next.iter().filter(|(_, (_, volume))| volume.deleting).map(|(id, _)| *id).collect(),
                8 | 11 => next.retain(|_, (_, volume)| !volume.deleting),
                _ => unreachable!(),
            }
            crashes += world.change(&next, &devices, at_once);
            assert_eq!(world.model(), next);
        }
        assert!(crashes > 2_000, "{crashes} crashes are too few");
        println!("{crashes} crashes");
    }
}
