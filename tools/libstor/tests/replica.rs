// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Replicas on simulated devices: what is written on new legs, what a start makes of them, and what damage does. `STOR_MDADM` names
//! mdadm, which then has to read new legs, too.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use libstor::replica::{Assemble, NewReplica, ReplicaView};
use libstor::{Bytes, Kind, Simulated, Stor, Uuid};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use stor_pure::pure::md::badblock::Log;
use stor_pure::pure::md::bitmap::{is_set, Header};
use stor_pure::pure::md::layout::{bitmap_room, record_places};
use stor_pure::pure::md::superblock::{feature, Superblock};
use stor_pure::pure::md::{Page, PAGE_SIZE};
use stor_pure::pure::replica::assemble::{plan, Bitmap, Consent, Leg, Recovery};
use stor_pure::pure::replica::record::{choose, Identity, Record};
use stor_pure::pure::replica::set::{Set, TIE_BREAK};
use stor_pure::pure::thin::crc::Portable;
use stor_pure::pure::units::Sectors;
use zerocopy::IntoBytes;

const MIB: u64 = 1 << 20;

struct World(PathBuf);

impl World {
    /// Devices /dev/d0, /dev/d1 … of these sizes.
    fn new(name: &str, sizes: &[u64]) -> Self {
        let devices = sizes.iter().enumerate();
        let devices = devices.map(|(index, size)| format!(r#"{{"path":"/dev/d{index}","size":{size}}}"#));
        let devices = devices.collect::<Vec<_>>().join(",");
        let state = format!(r#"{{"engines":[{{"version":"0.1.0","active":true}}],"devices":[{devices}]}}"#);
        let file = format!("replica-{}-{name}.json", std::process::id());
        let world = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(file));
        Simulated::create(&world.0, &state).unwrap();
        world
    }

    fn stor(&self) -> Stor {
        Stor::connect(Box::new(Simulated::open(&self.0).unwrap())).unwrap()
    }

    fn device(&self, index: usize) -> PathBuf {
        PathBuf::from(format!("{}.devices/{index}", self.0.display()))
    }

    fn bytes(&self, index: usize) -> Vec<u8> {
        fs::read(self.device(index)).unwrap_or_default()
    }

    fn change(&self, index: usize, change: impl FnOnce(&mut [u8])) {
        let mut bytes = self.bytes(index);
        change(&mut bytes);
        fs::write(self.device(index), bytes).unwrap();
    }

    fn create(&self, legs: usize, more: impl FnOnce(&mut NewReplica)) -> libstor::Result<ReplicaView> {
        let legs = (0..legs).map(|index| format!("/dev/d{index}").into()).collect();
        let mut new = NewReplica { name: "data".into(), legs, ..NewReplica::default() };
        more(&mut new);
        self.stor().create_replica(&new).map(|change| change.replica.unwrap())
    }

    fn assemble(&self, devices: &[usize], force: Option<usize>) -> libstor::Result<ReplicaView> {
        let path = |index: &usize| PathBuf::from(format!("/dev/d{index}"));
        let devices = devices.iter().map(path).collect();
        let how = Assemble { devices, force: force.as_ref().map(path), ..Assemble::default() };
        self.stor().assemble_replica("data", &how).map(|change| change.replica.unwrap())
    }

    fn stop(&self) {
        self.stor().stop_replica("data").unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        let _ = fs::remove_dir_all(format!("{}.devices", self.0.display()));
    }
}

fn page(bytes: &[u8], sector: u64) -> Page {
    let at = sector as usize * 512;
    bytes[at..at + PAGE_SIZE].try_into().unwrap()
}

fn states(view: &ReplicaView) -> Vec<&'static str> {
    view.legs.iter().map(|leg| leg.state).collect()
}

/// What there is on a leg, read by pure alone.
fn read(bytes: &[u8]) -> (Superblock, Record, Bitmap) {
    let first = page(bytes, 8);
    let superblock = Superblock::of(&first, Sectors(bytes.len() as u64 / 512)).unwrap().clone();
    let bits = page(bytes, superblock.bitmap().unwrap());
    let (header, geometry) =
        Header::of(&bits, &superblock.set_uuid, superblock.size.get(), bitmap_room(&superblock)).unwrap();
    header.counts(superblock.events.get()).unwrap();
    let count = (0..geometry.chunks()).filter(|chunk| is_set(&bits, geometry.place(*chunk))).count() as u64;
    assert!(count == 0 || count == geometry.chunks());
    let bitmap = Bitmap { events_cleared: header.events_cleared.get(), chunk: header.chunksize.get(), any: count > 0 };
    let mut log = page(bytes, superblock.bad_block_log().unwrap().start);
    assert!(Log::of(&mut log, 8, superblock.bblog_shift, superblock.data().unwrap()).unwrap().is_empty());
    let places = record_places(&superblock, Some(&geometry)).unwrap();
    let pages = places.map(|place| page(bytes, place.0));
    let whose = Identity::of(&superblock);
    let found = choose(pages.each_ref().map(|page| Record::of::<Portable>(page, &whose))).unwrap();
    // A torn write of the next record leaves the other copy.
    assert!(pages.iter().all(|page| Record::of::<Portable>(page, &whose).is_ok()));
    let record = found.record.clone();
    (superblock, record, bitmap)
}

fn new_legs(name: &str, equal: bool) {
    let world = World::new(name, &[64 * MIB, 48 * MIB, 96 * MIB, MIB]);
    let view = world.create(3, |new| {
        (new.inactive, new.assume_clean, new.tie_break) = (true, equal, Some("/dev/d3".into()));
    });
    assert_eq!(states(&view.unwrap()), if equal { ["in-sync"; 3] } else { ["in-sync", "behind", "behind"] });
    let found: Vec<_> = (0..3).map(|index| read(&world.bytes(index))).collect();
    for (number, (superblock, record, bitmap)) in found.iter().enumerate() {
        assert_eq!(superblock.size.get(), 47 * MIB / 512);
        assert_eq!(&superblock.set_name[..16], b"simulation:data\0");
        assert_eq!(superblock.in_sync(), equal || number == 0);
        assert_eq!(superblock.has(feature::RECOVERY_BITMAP), !equal && number > 0);
        assert_eq!(bitmap.any, !equal);
        assert_eq!(record.entitled(), if equal { Set::first(3) } else { Set::one(0) });
        assert_eq!(record.voters(), Set::first(3).with(Set::one(TIE_BREAK)));
        assert_eq!(superblock.tag(), record.tag());
    }
    let legs = found.iter().map(|(superblock, record, bitmap)| Leg {
        superblock,
        record: Ok(record),
        bitmap: Ok(*bitmap),
        block_size: 512,
    });
    let legs: Vec<Leg<'_>> = legs.collect();
    let plan = plan(&legs, None, Consent::Safe).unwrap();
    assert_eq!((plan.source, plan.foreign), (0, false));
    assert_eq!(plan.entitled, if equal { Set::first(3) } else { Set::one(0) });
    let recovery: Vec<_> = plan.legs.iter().take(3).map(|leg| leg.recovery).collect();
    let rebuilt = if equal { Recovery::None } else { Recovery::Bits };
    assert_eq!(recovery, [Recovery::None, rebuilt, rebuilt]);
    let tie_break = world.bytes(3);
    assert!(tie_break.starts_with(b"This device is the tie-break of a Stor replica."));
    let Some(program) = std::env::var_os("STOR_MDADM") else {
        eprintln!("skipped: STOR_MDADM does not name mdadm");
        return;
    };
    for index in 0..3 {
        let output = Command::new(&program).arg("--examine").arg(world.device(index)).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let role = format!("Device Role : Active device {index}");
        for line in
            ["Name : simulation:data", "Raid Level : raid1", "Raid Devices : 3", "- correct", "State : clean", &role]
        {
            assert!(text.contains(line), "no {line:?} in {text}");
        }
    }
}

#[test]
fn new_legs_are_rebuilt_from_the_first() {
    new_legs("new", false);
}

#[test]
fn new_legs_may_be_said_to_be_equal() {
    new_legs("equal", true);
}

#[test]
fn legs_of_all_sizes() {
    // The smallest; the first with more room for the bitmap; the first with the most room; one that ends within a block.
    for (number, size) in [2 * MIB, 2 * MIB + 512, 8 << 30, (8 << 30) + 512, 200 << 30, 3 << 40].into_iter().enumerate()
    {
        let world = World::new(&format!("size-{number}"), &[size, size]);
        let view = world.create(2, |_| {}).unwrap();
        assert_eq!(states(&view), ["in-sync"; 2], "{size}");
        assert!(view.size.0 % 4096 == 0 && view.size.0 >= (size - size / 512).saturating_sub(2 * MIB), "{size}");
        let running = view.running.unwrap();
        assert_eq!((running.dirty, running.needed, running.stopped), (0, 0, None));
        world.stop();
        assert_eq!(states(&world.assemble(&[], None).unwrap()), ["in-sync"; 2]);
    }
    let world = World::new("small", &[2 * MIB - 512, 2 * MIB]);
    assert_eq!(world.create(2, |_| {}).unwrap_err().kind, Kind::Unfit);
}

#[test]
fn sixteen_legs() {
    let world = World::new("sixteen", &[4 * MIB; 17]);
    let view = world.create(16, |new| new.tie_break = Some("/dev/d16".into())).unwrap();
    assert_eq!(states(&view), ["in-sync"; 16]);
    world.stop();
    // Nine of seventeen are a majority.
    assert_eq!(world.assemble(&[0, 1, 2, 3, 4, 5, 6, 7], None).unwrap_err().kind, Kind::Failure);
    let view = world.assemble(&[0, 1, 2, 3, 4, 5, 6, 7, 16], None).unwrap();
    assert_eq!(view.legs.iter().filter(|leg| leg.state == "in-sync").count(), 8);
}

#[test]
fn what_is_refused_changes_nothing() {
    let world = World::new("refused", &[64 * MIB, 64 * MIB, MIB]);
    let before: Vec<_> = (0..3).map(|index| world.bytes(index)).collect();
    let huge = |new: &mut NewReplica| new.size = Some(Bytes(1 << 40));
    assert_eq!(world.create(2, huge).unwrap_err().kind, Kind::Unfit);
    assert_eq!(world.create(2, |new| new.chunk = Some(Bytes(512))).unwrap_err().kind, Kind::Unfit);
    assert_eq!(world.create(2, |new| new.chunk = Some(Bytes(1 << 40))).unwrap_err().kind, Kind::Usage);
    assert_eq!(world.create(3, |_| {}).unwrap_err().kind, Kind::Unfit);
    for (index, before) in before.iter().enumerate() {
        assert!(world.bytes(index).iter().all(|byte| *byte == 0), "device {index}, {} bytes before", before.len());
    }
    world.create(2, |_| {}).unwrap();
    world.stop();
    let before: Vec<_> = (0..2).map(|index| world.bytes(index)).collect();
    assert_eq!(world.assemble(&[1], None).unwrap_err().kind, Kind::Failure);
    assert_eq!(world.assemble(&[0, 2], None).unwrap_err().kind, Kind::Unfit);
    assert_eq!(world.create(2, |new| new.name = "more".into()).unwrap_err().kind, Kind::Exists);
    assert!((0..2).all(|index| world.bytes(index) == before[index]));
}

#[test]
fn what_is_damaged_is_left_out_or_told() {
    let world = World::new("damaged", &[4 * MIB; 3]);
    world.create(3, |_| {}).unwrap();
    world.stop();
    let places = {
        let bytes = world.bytes(2);
        record_places(&read(&bytes).0, None).unwrap()
    };
    // One copy of the record: nobody cares.
    world.change(2, |bytes| bytes[places[0].0 as usize * 512 + 100] ^= 1);
    assert_eq!(states(&world.assemble(&[], None).unwrap()), ["in-sync"; 3]);
    world.stop();
    // Both: it says nothing any more, and is rebuilt.
    world.change(2, |bytes| places.iter().for_each(|place| bytes[place.0 as usize * 512 + 100] ^= 1));
    let legs = world.stor().scan_replicas(&[]).unwrap();
    assert!(legs[2].problem.as_ref().unwrap().contains("checksum"), "{:?}", legs[2]);
    assert_eq!(states(&world.assemble(&[], None).unwrap()), ["in-sync"; 3]);
    world.stop();
    // Its superblock: it is none of the legs.
    world.change(2, |bytes| bytes[4096 + 0x50] ^= 1);
    let legs = world.stor().scan_replicas(&[]).unwrap();
    assert!(legs.last().unwrap().problem.as_ref().unwrap().contains("checksum"), "{legs:?}");
    assert_eq!(states(&world.assemble(&[], None).unwrap()), ["in-sync", "in-sync", "missing"]);
    world.stop();
    // Its bitmap: it gets everything.
    world.change(1, |bytes| bytes[8192] ^= 1);
    assert_eq!(states(&world.assemble(&[], None).unwrap()), ["in-sync", "in-sync", "missing"]);
}

#[test]
fn every_flipped_bit_of_a_legs_metadata_is_survived() {
    let world = World::new("flipped", &[2 * MIB; 2]);
    world.create(2, |new| new.tie_break = None).unwrap();
    world.stop();
    let sound = [world.bytes(0), world.bytes(1)];
    let places = record_places(&read(&sound[0]).0, None).unwrap().map(|place| place.0 as usize * 512);
    let bytes = (4096..4096 + 512).step_by(7).chain((8192..8192 + 320).step_by(7));
    let bytes = bytes.chain((places[0]..places[0] + 1024).step_by(31)).chain((places[1]..places[1] + 1024).step_by(31));
    for (number, at) in bytes.enumerate() {
        world.change(0, |bytes| bytes[at] ^= 1 << (number % 8));
        // It starts, or there is a reason that can be told; either way there is no panic.
        match world.assemble(&[], None) {
            Ok(view) => {
                assert!(states(&view).contains(&"in-sync"), "byte {at}: {view:?}");
                world.stop();
            }
            Err(error) => assert!(error.help.is_some() || error.cause.contains(": "), "byte {at}: {error}"),
        }
        (0..2).for_each(|index| fs::write(world.device(index), &sound[index]).unwrap());
    }
}

#[test]
fn a_copy_of_a_leg_is_told_apart() {
    let world = World::new("copy", &[2 * MIB; 3]);
    world.create(2, |_| {}).unwrap();
    world.stop();
    fs::write(world.device(2), world.bytes(1)).unwrap();
    let error = world.assemble(&[], None).unwrap_err();
    assert!(error.cause.contains("/dev/d1 and /dev/d2 are the same leg"), "{error}");
    assert_eq!(states(&world.assemble(&[0, 2], None).unwrap()), ["in-sync"; 2]);
}

#[test]
fn an_old_tie_break_has_no_vote() {
    let world = World::new("tie-break", &[2 * MIB, 2 * MIB, MIB]);
    world.create(2, |new| new.tie_break = Some("/dev/d2".into())).unwrap();
    world.stop();
    let old = world.bytes(2);
    let uuid = Some(Uuid::from_u128(7));
    // Another array of that name: the tie-break of the first is none of its.
    world.create(2, |new| (new.force, new.uuid, new.inactive) = (true, uuid, true)).unwrap();
    fs::write(world.device(2), old).unwrap();
    assert_eq!(world.assemble(&[0, 2], None).unwrap_err().kind, Kind::Unfit);
    assert_eq!(world.assemble(&[0], None).unwrap_err().kind, Kind::Failure);
    assert_eq!(states(&world.assemble(&[], None).unwrap()), ["in-sync"; 2]);
}

/// Makes a leg one that md has made: without records and without Stor's mark.
fn as_of_md(world: &World, index: usize, change: impl FnOnce(&mut Superblock)) {
    world.change(index, |bytes| {
        let mut superblock = read(bytes).0;
        for place in record_places(&superblock, None).unwrap() {
            bytes[place.0 as usize * 512..][..PAGE_SIZE].fill(0);
        }
        superblock.set_time(1_790_000_000, 0);
        change(&mut superblock);
        superblock.seal().unwrap();
        bytes[4096..][..PAGE_SIZE].copy_from_slice(superblock.as_bytes());
    });
}

#[test]
fn legs_of_md_are_taken_over() {
    let world = World::new("md", &[4 * MIB; 3]);
    world.create(2, |new| (new.inactive, new.assume_clean) = (true, true)).unwrap();
    (0..2).for_each(|index| as_of_md(&world, index, |_| {}));
    // One that is missing may have gone on alone.
    let error = world.assemble(&[1], None).unwrap_err();
    assert!(error.cause.contains("md had legs in slots 0"), "{error}");
    let how = Assemble::default();
    let change = world.stor().assemble_replica("data", &how).unwrap();
    assert!(change.text.contains("md has had them last"), "{}", change.text);
    assert_eq!(states(&change.replica.unwrap()), ["in-sync"; 2]);
    world.stop();
    assert!(!world.stor().assemble_replica("data", &how).unwrap().text.contains("md has had them"));
    world.stop();
    // md has them again, and forgets the bitmap.
    as_of_md(&world, 0, |superblock| superblock.feature_map = 0.into());
    let error = world.assemble(&[], None).unwrap_err();
    assert!(error.cause.contains("/dev/d0 has no write-intent bitmap"), "{error}");
}

#[test]
fn a_leg_that_went_on_alone_does_not_come_back_by_itself() {
    let world = World::new("alone", &[4 * MIB; 3]);
    world.create(3, |_| {}).unwrap();
    world.stop();
    world.assemble(&[2], Some(2)).unwrap();
    world.stop();
    world.assemble(&[0, 1], None).unwrap();
    let error = world.assemble(&[], None).unwrap_err();
    assert!(error.cause.contains("/dev/d2 has gone on without the replica"), "{error}");
    assert_eq!(states(&world.stor().show_replica("data").unwrap()), ["in-sync", "in-sync", "missing"]);
    world.stop();
    // What is chosen goes on, the other is rebuilt.
    assert!(world.assemble(&[], None).unwrap_err().cause.contains("have gone on without each other"));
    assert_eq!(states(&world.assemble(&[], Some(0)).unwrap()), ["in-sync"; 3]);
    world.stop();
    assert_eq!(world.assemble(&[], Some(0)).unwrap_err().kind, Kind::Usage);
}
