// SPDX-License-Identifier: GPL-2.0

//! Labels: what is put right, the size of the device, and three labels, of which the first begins as a sound one and each
//! other as a copy of the one before, and which are then changed in places. All are read as copies on one device, and as the labels of devices of one pool.

use super::{Bytes, Fast, Target};
use stor_pure::pure::label::copies::{at_end, choose, find, order, places, FIRST};
use stor_pure::pure::label::members::Pool;
use stor_pure::pure::label::{Area, Bytes as Raw, Label, Segment, DATA, LABEL_SIZE, MAGIC, METADATA};
use stor_pure::pure::text;
use stor_pure::pure::thin::crc::Crc;
use zerocopy::{FromZeros, IntoBytes};

pub(super) const TARGET: Target = Target { name: "label", about: "labels of a pool's devices", most: 1000, seeds, run };

const MIB: u64 = 1 << 20;

/// A sound label, of a pool with two devices.
fn sound() -> Label {
    let mut label = Label::new_zeroed();
    label.generation = 7.into();
    label.size = (64 * MIB).into();
    label.role = (METADATA | DATA).into();
    label.members = 2.into();
    label.member.iter_mut().zip([[0; 16], [1; 16]]).for_each(|(to, from)| *to = from);
    label.segments = 3.into();
    label.data_block_size = 128.into();
    text::to_field("tank", &mut label.name);
    let segments = [segment(Area::Catalog, 1, 2, 0), segment(Area::Metadata, 3, 4, 0), segment(Area::Data, 7, 56, 0)];
    label.segment.iter_mut().zip(segments).for_each(|(to, from)| *to = from);
    label
}

fn segment(area: Area, start: u64, length: u64, at: u64) -> Segment {
    let [start, length, at] = [start, length, at].map(|mib| (mib * MIB).into());
    Segment { start, length, at, area: (area as u32).into(), reserved: 0.into() }
}

fn seeds() -> Vec<Vec<u8>> {
    // The second device: its own UUID, its place, one segment of data behind the first's.
    let data = segment(Area::Data, 1, 4, 56);
    let own: [(u16, &[u8]); 5] = [(64, &[1; 16]), (108, &[2]), (112, &[1]), (120, &[1]), (1280, data.as_bytes())];
    let second: Vec<u8> = own.iter().flat_map(|(place, bytes)| patch(*place, bytes)).collect();
    let younger = patch(16, &[8]);
    let input = |fix: u8, patches: &[u8]| [&[fix, 64, 0, 0, 0, 0], patches].concat();
    vec![input(7, &[]), input(7, &younger), input(7, &second), input(0, &[])]
}

fn patch(place: u16, bytes: &[u8]) -> Vec<u8> {
    [&place.to_le_bytes()[..], &[bytes.len() as u8], bytes].concat()
}

/// Makes a label what its first fields and its checksum want.
fn fix(raw: &mut Raw, at: u64, other: u64) {
    let mut put = |place: usize, bytes: &[u8]| {
        raw.get_mut(place..place + bytes.len()).into_iter().for_each(|to| to.copy_from_slice(bytes));
    };
    put(0, &MAGIC);
    put(12, &1u32.to_le_bytes());
    put(24, &at.to_le_bytes());
    put(32, &other.to_le_bytes());
    let sum = !Fast::crc32c(raw.get(12..).unwrap_or_default());
    raw.get_mut(8..12).into_iter().for_each(|to| to.copy_from_slice(&sum.to_le_bytes()));
}

fn run(input: &[u8]) {
    let mut bytes = Bytes(input);
    let (fixed, mib) = (bytes.byte(), bytes.number(2));
    let device = mib * MIB + u64::from(fixed >> 4) * 512;
    let mut raws = [[0; LABEL_SIZE]; 3];
    let [first, second, third] = &mut raws;
    first.copy_from_slice(sound().as_bytes());
    patches(&mut bytes, first);
    *second = *first;
    patches(&mut bytes, second);
    *third = *second;
    patches(&mut bytes, third);

    // One device with three copies.
    let mut copies = raws;
    for (index, (raw, at)) in copies.iter_mut().zip(places(device)).enumerate() {
        let other = if at == FIRST { at_end(device) } else { FIRST };
        if (fixed >> index) & 1 == 1 {
            fix(raw, at, other);
        }
    }
    let mut buffers = [[0; LABEL_SIZE]; 3];
    let read = |at, into: &mut Raw| {
        let found = places(device).into_iter().position(|place| place == at).and_then(|index| copies.get(index));
        *into = found.copied().unwrap_or([0; LABEL_SIZE]);
        Ok::<(), ()>(())
    };
    if let Ok(found) = find::<Fast, ()>(&mut buffers, device, read) {
        match found {
            Ok(found) => {
                accepted(found.label, device);
                mended(found.label, found.mend, device);
            }
            Err(refusal) => drop(refusal.to_string()),
        }
    }

    // Three devices of one pool.
    for raw in &mut raws {
        if fixed & 8 == 0 {
            fix(raw, FIRST, at_end(device));
        }
    }
    let labels: Vec<&Label> = raws.iter().filter_map(|raw| Label::of::<Fast>(raw, FIRST, device).ok()).collect();
    labels.iter().for_each(|label| accepted(label, device));
    for count in 0..=labels.len() {
        match Pool::of(labels.get(..count).unwrap_or_default()) {
            Ok(pool) => whole(&pool),
            Err(misfit) => drop(misfit.to_string()),
        }
    }
}

fn patches(bytes: &mut Bytes<'_>, raw: &mut Raw) {
    for _ in 0..8 {
        let (place, count) = (bytes.number(2) as usize % LABEL_SIZE, usize::from(bytes.byte()));
        let new = bytes.take(count);
        raw.iter_mut().skip(place).zip(new).for_each(|(to, from)| *to = *from);
        if count == 0 {
            break;
        }
    }
}

fn accepted(label: &Label, device: u64) {
    let places = [label.location.get(), label.other.get()];
    assert!(places.contains(&FIRST) && label.size.get() <= device);
    assert!(label.name().is_ok() && label.members().contains(&label.device) && !label.segments().is_empty());
    let _ = label.read_only();
    let mut end = LABEL_SIZE as u64;
    for segment in label.segments() {
        let (start, behind) = (segment.start.get(), segment.start.get() + segment.length.get());
        assert!(start >= end && behind > start && behind <= label.size.get());
        assert!(places.iter().all(|&at| at >= behind || at + LABEL_SIZE as u64 <= start));
        assert!(segment.at.get().checked_add(segment.length.get()).is_some());
        end = behind;
    }
}

/// A copy can be made of what counts, and then nothing is to be mended.
fn mended(label: &Label, mend: Option<u64>, device: u64) {
    let (mut one, mut other) = (label.clone(), label.clone());
    let [first, second] = order(label);
    assert!(one.stamp::<Fast>(first).is_ok() && other.stamp::<Fast>(second).is_ok());
    assert!(mend.is_none_or(|at| at == label.other.get()));
    let raw = |label: &Label| <Raw>::try_from(label.as_bytes()).unwrap_or([0; LABEL_SIZE]);
    let (one, other) = (raw(&one), raw(&other));
    let copies = [Label::of::<Fast>(&one, first, device), Label::of::<Fast>(&other, second, device)];
    assert!(matches!(choose(&copies), Ok(found) if found.mend.is_none()));
}

fn whole(pool: &Pool<'_>) {
    let _ = pool.read_only();
    for area in Area::ALL {
        let mut at = 0;
        for (device, segment) in pool.segments(area) {
            assert!(segment.at.get() == at && device.segments().contains(&segment));
            at += segment.length.get();
        }
        assert!(at > 0 && pool.length(area) == at);
    }
    assert_eq!(pool.first().index.get(), 0);
}
