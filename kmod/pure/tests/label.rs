// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Labels of a pool's devices: what is refused, what survives torn writes and lost copies, and what makes a pool.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::process::Command;
use stor_pure::pure::label::copies::{at_end, choose, find, order, places, Found, FIRST, IN_HEAD};
use stor_pure::pure::label::members::{Misfit, Pool};
use stor_pure::pure::label::{Area, Bytes, Label, Refusal, Segment, DATA, LABEL_SIZE, METADATA, SIGNPOST};
use stor_pure::pure::text;
use stor_pure::pure::thin::crc::{Crc, Portable};
use zerocopy::{FromZeros, IntoBytes};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 64 * MIB;
const ZEROS: Bytes = [0; LABEL_SIZE];

fn segment(area: Area, start: u64, length: u64, at: u64) -> Segment {
    let area = (area as u32).into();
    Segment { start: start.into(), length: length.into(), at: at.into(), area, reserved: 0.into() }
}

/// The processor's instruction: there is much to be summed.
struct Fast;

impl Crc for Fast {
    fn crc32c(bytes: &[u8]) -> u32 {
        !crc32c::crc32c(bytes)
    }
}

/// Of a pool with one device.
fn label() -> Label {
    let mut label = Label::new_zeroed();
    label.generation = 7.into();
    label.location = FIRST.into();
    label.other = at_end(SIZE).into();
    label.size = SIZE.into();
    (label.pool, label.device) = ([0x11; 16], [0x22; 16]);
    label.role = (METADATA | DATA).into();
    label.members = 1.into();
    label.member[0] = label.device;
    label.data_block_size = 128.into();
    text::to_field("tank", &mut label.name);
    let end = at_end(SIZE);
    let segments = [
        segment(Area::Catalog, MIB, 2 * MIB, 0),
        segment(Area::Metadata, 3 * MIB, 4 * MIB, 0),
        segment(Area::Data, 7 * MIB, end - 7 * MIB, 0),
    ];
    label.segments = 3.into();
    label.segment[..3].copy_from_slice(&segments);
    label
}

fn bytes(label: &Label, at: u64) -> Bytes {
    let mut label = label.clone();
    label.stamp::<Portable>(at).unwrap();
    label.as_bytes().try_into().unwrap()
}

fn of(bytes: &Bytes, at: u64) -> Result<&Label, Refusal> {
    Label::of::<Fast>(bytes, at, SIZE)
}

/// What is said of a label that nobody would write.
fn refused(change: impl FnOnce(&mut Label)) -> Refusal {
    let mut label = label();
    change(&mut label);
    let at = label.location.get();
    // The writer refuses it; the reader does, whoever wrote it.
    let refusal = label.stamp::<Portable>(at).err();
    let mut stamped = bytes(&self::label(), FIRST);
    stamped[12..].copy_from_slice(&label.as_bytes()[12..]);
    stamped[12..16].copy_from_slice(&1u32.to_le_bytes());
    seal(&mut stamped);
    let read = of(&stamped, at).unwrap_err();
    if let Some(refusal) = refusal {
        assert_eq!(refusal, read);
    }
    read
}

/// Makes the checksum right.
fn seal(bytes: &mut Bytes) {
    let sum = !Portable::crc32c(&bytes[12..]);
    bytes[8..12].copy_from_slice(&sum.to_le_bytes());
}

/// A device: what is at its places; all else is zero.
#[derive(Clone)]
struct Device {
    size: u64,
    at: Vec<(u64, Bytes)>,
}

impl Device {
    fn new(size: u64) -> Self {
        Self { size, at: Vec::new() }
    }

    fn read(&self, at: u64) -> Bytes {
        self.at.iter().find(|(place, _)| *place == at).map_or(ZEROS, |(_, bytes)| *bytes)
    }

    fn write(&mut self, at: u64, bytes: Bytes) {
        self.at.retain(|(place, _)| *place != at);
        self.at.push((at, bytes));
    }

    fn with(size: u64, label: &Label) -> Self {
        let mut device = Self::new(size);
        for at in order(label) {
            device.write(at, bytes(label, at));
        }
        device
    }

    fn find<'a>(&self, buffers: &'a mut [Bytes; 3]) -> Result<Found<'a>, Refusal> {
        let read = |at, into: &mut Bytes| {
            *into = self.read(at);
            Ok::<(), ()>(())
        };
        find::<Fast, ()>(buffers, self.size, read).unwrap()
    }

    /// The generation that counts, after whatever is to be mended was.
    fn open(&mut self) -> Result<u64, Refusal> {
        let mut buffers = [ZEROS; 3];
        let found = self.find(&mut buffers)?;
        let (generation, label, mend) = (found.label.generation.get(), found.label.clone(), found.mend);
        if let Some(at) = mend {
            self.write(at, bytes(&label, at));
            let found = self.find(&mut buffers)?;
            assert_eq!((found.label.generation.get(), found.mend), (generation, None));
        }
        Ok(generation)
    }
}

#[test]
fn both_copies_are_read() {
    let label = label();
    let mut buffers = [ZEROS; 3];
    let device = Device::with(SIZE, &label);
    let found = device.find(&mut buffers).unwrap();
    assert_eq!((found.mend, found.label.name().unwrap(), found.label.members()), (None, "tank", &[[0x22; 16]][..]));
    assert_eq!(found.label.segments(), &label.segment[..3]);
    assert!(!found.label.read_only());
    // At its other place, with the other checksum.
    assert_eq!((bytes(&label, FIRST)[..8].to_vec(), at_end(SIZE)), (b"StorPool".to_vec(), 63 * MIB));
    assert_ne!(bytes(&label, FIRST), bytes(&label, 63 * MIB));
}

#[test]
fn every_flipped_bit_is_noticed_in_either_copy() {
    let label = label();
    for at in order(&label) {
        let sound = bytes(&label, at);
        for bit in 0..LABEL_SIZE * 8 {
            let mut flipped = sound;
            flipped[bit / 8] ^= 1 << (bit % 8);
            let want = if bit < 64 { Refusal::Magic } else { Refusal::Checksum };
            assert_eq!(of(&flipped, at).unwrap_err(), want, "bit {bit} of the copy at {at}");
        }
        // The other one is enough, and says that this one is to be mended.
        let other = order(&label).into_iter().find(|other| *other != at).unwrap();
        let kept = bytes(&label, other);
        let found = choose(&[Err(Refusal::Checksum), of(&kept, other)]).unwrap();
        assert_eq!((found.label.generation.get(), found.mend), (7, Some(at)));
    }
}

/// Some sectors of one write are there, the others are not.
fn torn(old: &Bytes, new: &Bytes, sectors: u32) -> Bytes {
    let mut mixed = *old;
    for sector in (0..8).filter(|sector| (sectors >> sector) & 1 == 1) {
        mixed[sector * 512..(sector + 1) * 512].copy_from_slice(&new[sector * 512..(sector + 1) * 512]);
    }
    mixed
}

#[test]
fn torn_writes_leave_the_old_label_or_the_new_one() {
    let old = label();
    let mut new = old.clone();
    new.generation = 8.into();
    text::to_field("a-new-name", &mut new.name);
    new.segment[2].length = (10 * MIB).into();
    new.owner = [0x33; 16];
    let mut device = Device::with(SIZE, &old);
    for at in order(&new) {
        let before = device.read(at);
        let after = bytes(&new, at);
        for sectors in 0..256 {
            let mut crashed = device.clone();
            crashed.write(at, torn(&before, &after, sectors));
            let generation = crashed.open().unwrap();
            assert!(generation == 7 || generation == 8, "sectors {sectors:#b} of the write to {at}");
        }
        device.write(at, after);
        assert_eq!(device.clone().open(), Ok(8));
    }
}

#[test]
fn the_second_copy_moves_when_the_device_has_grown() {
    for old in [label(), Label { other: IN_HEAD.into(), ..label() }] {
        let mut device = Device::with(SIZE, &old);
        device.size = 100 * MIB;
        assert_eq!(device.clone().open(), Ok(7), "the first says where the second is");
        let new = Label { generation: 8.into(), other: at_end(device.size).into(), size: device.size.into(), ..old };
        for at in order(&new) {
            let (before, after) = (device.read(at), bytes(&new, at));
            for sectors in 0..256 {
                let mut crashed = device.clone();
                crashed.write(at, torn(&before, &after, sectors));
                let generation = crashed.open().unwrap();
                assert!(generation == 7 || generation == 8, "sectors {sectors:#b} of the write to {at}");
            }
            device.write(at, after);
        }
        assert_eq!(device.open(), Ok(8));
        device.write(FIRST, ZEROS);
        assert_eq!(device.open(), Ok(8), "found where the device ends now");
    }
}

#[test]
fn what_a_former_pool_has_left_does_not_count() {
    let left = Label { pool: [9; 16], device: [8; 16], generation: 1000.into(), ..label() };
    let left = Label {
        member: {
            let mut member = left.member;
            member[0] = [8; 16];
            member
        },
        ..left
    };
    let mut device = Device::with(SIZE, &Label { other: IN_HEAD.into(), ..label() });
    device.write(at_end(SIZE), bytes(&left, at_end(SIZE)));
    assert_eq!(device.open(), Ok(7));
    // Without the first there is nothing to tell them apart by.
    device.write(FIRST, ZEROS);
    assert_eq!(device.open(), Err(Refusal::Conflict));
    // Two that differ and say that they are the same.
    let other = Label { owner: [1; 16], ..label() };
    let (one, other) = (bytes(&label(), FIRST), bytes(&other, at_end(SIZE)));
    assert_eq!(choose(&[of(&one, FIRST), of(&other, at_end(SIZE))]).unwrap_err(), Refusal::Conflict);
}

#[test]
fn what_tells_most_is_said_when_there_is_no_label() {
    assert_eq!(choose(&[]).unwrap_err(), Refusal::Magic);
    let refusals = [Err(Refusal::Checksum), Err(Refusal::Magic), Err(Refusal::Features(4))];
    assert_eq!(choose(&refusals).unwrap_err(), Refusal::Features(4));
    assert_eq!(choose(&refusals[..2]).unwrap_err(), Refusal::Checksum);
    assert_eq!(Device::new(SIZE).open(), Err(Refusal::Magic));
    // Too small for one place or all.
    for size in [0, 4096, 8191, MIB, 2 * MIB - 1] {
        assert_eq!(Device::new(size).open(), Err(Refusal::Magic));
    }
    let mut shrunk = Device::with(SIZE, &label());
    shrunk.size = 32 * MIB;
    assert_eq!(shrunk.open(), Err(Refusal::Truncated { size: SIZE, device: 32 * MIB }));
}

#[test]
fn what_cannot_be_is_refused() {
    assert_eq!(refused(|label| label.incompat = 4.into()), Refusal::Features(4));
    assert_eq!(refused(|label| label.name[0] = b'-'), Refusal::Name(text::TextError::First));
    assert_eq!(refused(|label| label.name = [b'a'; 64]), Refusal::Name(text::TextError::TooLong));
    assert_eq!(refused(|label| label.data_block_size = 64.into()), Refusal::DataBlockSize(64));
    assert_eq!(refused(|label| label.members = 65.into()), Refusal::Members);
    assert_eq!(refused(|label| label.members = 0.into()), Refusal::Members);
    assert_eq!(refused(|label| label.index = 1.into()), Refusal::Members);
    assert_eq!(refused(|label| label.member[0] = [0; 16]), Refusal::Members);
    assert_eq!(refused(|label| label.role = DATA.into()), Refusal::Role(DATA));
    assert_eq!(refused(|label| label.segments = 89.into()), Refusal::Segment(89));
    assert_eq!(refused(|label| label.segments = u32::MAX.into()), Refusal::Segment(u32::MAX));
    assert_eq!(refused(|label| label.segments = 0.into()), Refusal::Role(METADATA | DATA));
    assert_eq!(refused(|label| label.segment[1].start = MIB.into()), Refusal::Segment(1));
    assert_eq!(refused(|label| label.segment[1].start = (3 * MIB - 4096).into()), Refusal::Segment(1));
    assert_eq!(refused(|label| label.segment[1].length = 0.into()), Refusal::Segment(1));
    assert_eq!(refused(|label| label.segment[1].length = 4097.into()), Refusal::Segment(1));
    assert_eq!(refused(|label| label.segment[1].at = 512.into()), Refusal::Segment(1));
    assert_eq!(refused(|label| label.segment[1].area = 4.into()), Refusal::Segment(1));
    assert_eq!(refused(|label| label.segment[1].area = 0.into()), Refusal::Segment(1));
    assert_eq!(refused(|label| label.segment[2].length = SIZE.into()), Refusal::Segment(2));
    assert_eq!(refused(|label| label.segment[2].length = (u64::MAX - 4095).into()), Refusal::Segment(2));
    assert_eq!(refused(|label| label.segment[2].at = (u64::MAX - 4095).into()), Refusal::Segment(2));
    // Into a label's place: the head, the first copy, the second.
    assert_eq!(refused(|label| label.segment[0].start = 0.into()), Refusal::Segment(0));
    assert_eq!(refused(|label| label.segment[0].start = 4096.into()), Refusal::Segment(0));
    assert_eq!(refused(|label| label.segment[2].length = (57 * MIB).into()), Refusal::Segment(2));
    // Places that are none.
    assert!(matches!(refused(|label| label.other = 8192.into()), Refusal::Location(_)));
    assert!(matches!(refused(|label| label.other = FIRST.into()), Refusal::Location(_)));
    assert!(matches!(refused(|label| label.other = (64 * MIB).into()), Refusal::Location(_)));
    assert!(matches!(refused(|label| label.other = (u64::MAX - 4095).into()), Refusal::Location(_)));
    let mut sound = bytes(&label(), FIRST);
    assert_eq!(of(&sound, 2 * MIB).unwrap_err(), Refusal::Location(FIRST));
    sound[12] = 2;
    seal(&mut sound);
    assert_eq!(of(&sound, FIRST).unwrap_err(), Refusal::Version(2));
    // To be ignored, and to be only read.
    for (compat, compat_ro, read_only) in [(1, 0, false), (0, 1, true)] {
        let label = Label { compat: compat.into(), compat_ro: compat_ro.into(), ..label() };
        assert_eq!(of(&bytes(&label, FIRST), FIRST).unwrap().read_only(), read_only);
    }
}

/// Metadata on a device of its own, data on two others.
fn three() -> [Label; 3] {
    let uuids = [[1; 16], [2; 16], [3; 16]];
    [0, 1, 2].map(|index| {
        let mut label = label();
        label.device = uuids[index];
        label.index = (index as u32).into();
        label.members = 3.into();
        label.member[..3].copy_from_slice(&uuids);
        let (role, segments) = match index {
            0 => (METADATA, vec![segment(Area::Catalog, MIB, MIB, 0), segment(Area::Metadata, 2 * MIB, 8 * MIB, 0)]),
            // Not in the order of the area: the device's own first piece came last.
            1 => (DATA, vec![segment(Area::Data, MIB, 4 * MIB, 26 * MIB), segment(Area::Data, 8 * MIB, 16 * MIB, 0)]),
            _ => (DATA, vec![segment(Area::Data, MIB, 10 * MIB, 16 * MIB)]),
        };
        label.role = role.into();
        label.segments = (segments.len() as u32).into();
        label.segment = [Segment::default(); 88];
        label.segment[..segments.len()].copy_from_slice(&segments);
        label
    })
}

fn misfit(change: impl FnOnce(&mut Vec<Label>)) -> Misfit {
    let mut labels = three().to_vec();
    change(&mut labels);
    let labels: Vec<&Label> = labels.iter().collect();
    Pool::of(&labels).unwrap_err()
}

#[test]
fn devices_make_a_pool() {
    let [a, b, c] = three();
    for label in [&a, &b, &c] {
        of(&bytes(label, FIRST), FIRST).unwrap();
    }
    for order in [[&a, &b, &c], [&c, &b, &a], [&b, &a, &c]] {
        let pool = Pool::of(&order).unwrap();
        let data: Vec<_> = pool.segments(Area::Data).map(|(on, s)| (on.index.get(), s.start.get() / MIB)).collect();
        assert_eq!(data, [(1, 8), (2, 1), (1, 1)]);
        assert_eq!(Area::ALL.map(|area| pool.length(area)), [MIB, 8 * MIB, 30 * MIB]);
        assert_eq!((pool.first().device, pool.read_only()), ([1; 16], false));
    }
}

#[test]
fn devices_that_make_no_pool_are_named() {
    assert_eq!(misfit(Vec::clear), Misfit::First);
    assert_eq!(misfit(|labels| labels.retain(|label| label.index.get() != 0)), Misfit::First);
    assert_eq!(misfit(|labels| labels.truncate(2)), Misfit::Missing([3; 16]));
    assert_eq!(misfit(|labels| labels[1].pool = [5; 16]), Misfit::Pool([2; 16]));
    assert_eq!(misfit(|labels| labels.push(labels[1].clone())), Misfit::Twice([2; 16]));
    assert_eq!(misfit(|labels| labels[2].device = [7; 16]), Misfit::Stranger([7; 16]));
    assert_eq!(misfit(|labels| labels[2].index = 1.into()), Misfit::Index([3; 16]));
    assert_eq!(misfit(|labels| labels[2].data_block_size = 256.into()), Misfit::DataBlockSize([3; 16]));
    assert_eq!(misfit(|labels| labels[2].segment[0].at = (17 * MIB).into()), Misfit::Gap(Area::Data, 16 * MIB));
    assert_eq!(misfit(|labels| labels[2].segment[0].at = 0.into()), Misfit::Gap(Area::Data, 16 * MIB));
    assert_eq!(misfit(|labels| labels[0].segments = 1.into()), Misfit::Area(Area::Metadata));
    assert_eq!(misfit(|labels| labels[0].segment[1].area = 1.into()), Misfit::Gap(Area::Catalog, MIB));
    let split = |labels: &mut Vec<Label>| {
        labels[0].segment[2] = segment(Area::Catalog, 20 * MIB, MIB, MIB);
        labels[0].segments = 3.into();
    };
    assert_eq!(misfit(split), Misfit::Catalog);
}

#[test]
fn a_device_that_is_being_added_is_not_yet_the_pools() {
    let [mut a, b, c] = three();
    a.members = 2.into();
    a.member[2] = [0; 16];
    assert_eq!(Pool::of(&[&a, &b, &c]).unwrap_err(), Misfit::Stranger([3; 16]));
    // One that has grown already is: the pool's metadata tells how much of the area is in use.
    let mut grown = b.clone();
    grown.segment[0] = segment(Area::Data, 30 * MIB, 4 * MIB, 16 * MIB);
    grown.segment.swap(0, 1);
    assert_eq!(Pool::of(&[&a, &grown]).unwrap().length(Area::Data), 20 * MIB);
}

#[test]
fn nothing_else_takes_a_label_for_its_own() {
    assert!(SIGNPOST.len() < 440 && SIGNPOST.is_ascii());
    let mut image = vec![0; SIZE as usize];
    image[..SIGNPOST.len()].copy_from_slice(SIGNPOST);
    let label = label();
    for at in order(&label) {
        image[at as usize..at as usize + LABEL_SIZE].copy_from_slice(&bytes(&label, at));
    }
    // dm-thin's magic is at byte 32 of a metadata device; a device of zeros would be formatted.
    for at in places(SIZE).into_iter().chain([0]) {
        assert_ne!(image[at as usize + 32..at as usize + 40], 27_022_010u64.to_le_bytes(), "at {at}");
    }
    assert_ne!(image[..4096], ZEROS);
    let path = std::env::temp_dir().join(format!("stor-label-{}", std::process::id()));
    std::fs::write(&path, &image).unwrap();
    let probed = Command::new("blkid").args(["-p", "-o", "full"]).arg(&path).output();
    std::fs::remove_file(&path).unwrap();
    match probed {
        // 2: nothing was found.
        Ok(probed) => {
            assert_eq!((probed.status.code(), String::from_utf8(probed.stdout)), (Some(2), Ok(String::new())))
        }
        Err(error) => eprintln!("not probed: blkid cannot be run: {error}"),
    }
}
