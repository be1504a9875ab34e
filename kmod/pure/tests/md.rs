// SPDX-License-Identifier: GPL-2.0 OR MIT

//! md metadata 1.2: what is accepted, what is refused, and that what is written is what is read.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, unreachable_pub)]

#[path = "md/leg.rs"]
mod leg;

use leg::{bytes, leg, DEVICE, SIZE};
use proptest::prelude::*;
use std::collections::BTreeSet;
use stor_pure::pure::md::badblock::{Log, Refusal as LogRefusal, ENTRIES};
use stor_pure::pure::md::bitmap::{self, Geometry, Header, Refusal as BitmapRefusal};
use stor_pure::pure::md::layout::{bitmap_room, fresh, record_places, NoRoom, LEG_MIN};
use stor_pure::pure::md::superblock::{checksum, feature, Extent, Refusal, Role, Superblock, CLEAN};
use stor_pure::pure::md::{Page, PAGE_SIZE};
use stor_pure::pure::units::Sectors;

/// The superblock with some bytes changed, and the checksum put right.
fn changed(at: usize, new: &[u8]) -> Result<(), Refusal> {
    let mut page = bytes(&leg(1, 2));
    page[at..at + new.len()].copy_from_slice(new);
    let roles = u32::from_le_bytes(page[0xdc..0xe0].try_into().unwrap());
    let sum = checksum(&page, roles);
    page[0xd8..0xdc].copy_from_slice(&sum.to_le_bytes());
    Superblock::of(&page, DEVICE).map(|_| ())
}

#[test]
fn a_superblock_has_the_bytes_of_the_format() {
    let page = bytes(&leg(1, 2));
    let at = |at: usize| u64::from_le_bytes(page[at..at + 8].try_into().unwrap());
    assert_eq!(page[..12], [0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(&page[0x10..0x29], b"0123456789abcdefnode1:vol");
    assert_eq!((at(0x48), at(0x50), at(0x58)), (1, SIZE, 2 << 32));
    assert_eq!((at(0x80), at(0x88), at(0x90)), (2048, DEVICE.0 - 2048, 8));
    assert_eq!((at(0x60) as u32, at(0xa0) as u32, at(0xc8), at(0xd0)), (8, 1, 17, CLEAN));
    assert_eq!((page[0xba], page[0xbc], at(0xd8) >> 32), (8, 16, 128));
    assert_eq!(page[0x100..0x108], [0, 0, 1, 0, 0xff, 0xff, 0xff, 0xff]);
}

/// The sum, written down a second time: as the format page tells it.
#[test]
fn the_checksum_folds_once() {
    for roles in [0, 1, 2, 127, 128, 1920] {
        let page: Page = std::array::from_fn(|index| (index * 7 + 0x91) as u8 | 0xc0);
        let end = 256 + 2 * roles as usize;
        let mut sum: u64 =
            page[..end / 4 * 4].chunks(4).map(|w| u64::from(u32::from_le_bytes(w.try_into().unwrap()))).sum();
        sum -= u64::from(u32::from_le_bytes(page[0xd8..0xdc].try_into().unwrap()));
        if end % 4 == 2 {
            sum += u64::from(u16::from_le_bytes(page[end - 2..end].try_into().unwrap()));
        }
        assert_eq!(checksum(&page, roles), ((sum & 0xffff_ffff) + (sum >> 32)) as u32);
    }
}

#[test]
fn what_was_written_is_read() {
    let written = leg(1, 2);
    let page = bytes(&written);
    let read = Superblock::of(&page, DEVICE).unwrap();
    assert_eq!(bytes(read), page);
    assert_eq!((read.role(), read.role_of(0), read.role_of(2)), (Role::Slot(1), Role::Slot(0), Role::Spare));
    assert_eq!(read.role_of(4711), Role::Spare);
    assert!(read.in_sync() && read.is_clean() && read.tag() == 0);
    assert_eq!((read.bitmap(), read.bad_block_log()), (Some(16), Some(Extent { start: 24, end: 32 })));
    let mut tagged = written.clone();
    tagged.set_time(u64::MAX, 0xabcdef);
    assert_eq!((tagged.tag(), tagged.utime.get() & 0xff_ffff_ffff), (0xabcdef, 0xff_ffff_ffff));
}

#[test]
fn every_flipped_bit_is_noticed_or_not_covered() {
    let page = bytes(&leg(0, 2));
    for bit in 0..8 * PAGE_SIZE {
        let mut flipped = page;
        flipped[bit / 8] ^= 1 << (bit % 8);
        let covered = bit / 8 < 256 + 2 * 128;
        assert_eq!(Superblock::of(&flipped, DEVICE).is_err(), covered, "bit {bit}");
    }
}

#[test]
fn what_is_not_plain_raid1_is_refused() {
    assert_eq!(changed(0, &[]), Ok(()));
    let cases: &[(usize, &[u8], Refusal)] = &[
        (0, &[0], Refusal::Magic),
        (4, &[0], Refusal::Version(0)),
        (4, &[2], Refusal::Version(2)),
        (0xdc, &[0x81, 7], Refusal::Roles(1921)),
        (0x90, &[0], Refusal::Offset(0)),
        (8, &[1 | (1 << 2)], Refusal::Features(1 << 2)),
        (8, &[1 | (1 << 5)], Refusal::Features(1 << 5)),
        (8, &[1 | (1 << 6)], Refusal::Features(1 << 6)),
        (8, &[1, 1], Refusal::Features(1 << 8)),
        (8, &[1, 2], Refusal::Features(1 << 9)),
        (8, &[1, 4], Refusal::Features(1 << 10)),
        (8, &[1, 0, 0, 0x80], Refusal::Features(1 << 31)),
        (12, &[1], Refusal::Padding),
        (0xe4, &[1], Refusal::Padding),
        (0xff, &[1], Refusal::Padding),
        (0x48, &[0], Refusal::Level(0)),
        (0x48, &[5], Refusal::Level(5)),
        (0x48, &[0xff, 0xff, 0xff, 0xff], Refusal::Level(u32::MAX)),
        (0x4c, &[2], Refusal::Level(1)),
        (0x59, &[2], Refusal::Level(1)),
        (0x64, &[1], Refusal::Reshape),
        (0x68, &[1], Refusal::Reshape),
        (0x7c, &[1], Refusal::Reshape),
        (0x5c, &[0], Refusal::Slots(0)),
        (0x5c, &[17], Refusal::Slots(17)),
        (0xa0, &[128], Refusal::Role(128)),
        (0x100, &[2, 0], Refusal::Role(0)),
        (0x104, &[0xfd, 0xff], Refusal::Role(2)),
        (0x104, &[0, 0xff], Refusal::Role(2)),
        (0x104, &[0, 0, 0, 0], Refusal::SlotTwice(0)),
        (0x50, &[0; 8], Refusal::Data),
        (0x50, &[0xff; 8], Refusal::Data),
        (0x80, &[15, 0], Refusal::Data),
        (0x80, &[0xff; 8], Refusal::Data),
        (0x88, &[9, 0, 0, 0, 0, 0, 0, 0], Refusal::Data),
        (0x80, &[1, 8], Refusal::Truncated { end: DEVICE.0 + 1, device: DEVICE.0 }),
        (0x60, &[0], Refusal::BitmapPlace),
        (0x60, &[0xf8, 0xff, 0xff, 0xff], Refusal::BitmapPlace),
        (0x60, &[0, 8], Refusal::BitmapPlace),
        (0x60, &[0, 0, 0, 0x80], Refusal::BitmapPlace),
        (0xba, &[9], Refusal::BadBlockPlace),
        (0xb9, &[32], Refusal::BadBlockPlace),
        (0xbc, &[7], Refusal::BadBlockPlace),
        (0xbc, &[0xf8, 0xff, 0xff, 0xff], Refusal::BadBlockPlace),
        (0xbc, &[8], Refusal::BadBlockPlace),
        (0xe0, &[0, 3], Refusal::BlockSize(768)),
        (0xe0, &[0, 32], Refusal::BlockSize(8192)),
    ];
    for (at, new, refusal) in cases {
        assert_eq!(changed(*at, new), Err(*refusal), "{at:#x} {new:x?}");
        assert!(refusal.to_string().contains(": "), "{refusal}");
    }
    // Without room for a log there cannot be bad blocks in it.
    let mut none = leg(0, 2);
    none.bblog_offset = 0.into();
    assert_eq!(none.seal(), Ok(()));
    none.feature_map = (feature::BITMAP | feature::BAD_BLOCKS).into();
    assert_eq!(none.seal(), Err(Refusal::BadBlockPlace));
    // A failed leg, and one that is not rebuilt yet, can be read.
    assert_eq!(changed(0x102, &[0xfe, 0xff]), Ok(()));
    assert_eq!(changed(8, &[0x83]), Ok(()));
}

#[test]
fn a_bitmap_is_for_its_array() {
    let room = 8;
    let geometry = Geometry::new(SIZE, 64 << 10).unwrap();
    assert_eq!((geometry.chunks(), geometry.chunk_sectors(), geometry.pages()), (320, 128, 1));
    let uuid = [7; 16];
    let mut page = [0; PAGE_SIZE];
    Header::new(uuid, &geometry, 3, 8).write(&mut page);
    let (header, read) = Header::of(&page, &uuid, SIZE, room).unwrap();
    assert_eq!((read, header.events_cleared.get()), (geometry, 3));
    assert_eq!((header.counts(3), header.counts(2)), (Ok(()), Ok(())), "md goes back by one");
    assert_eq!(header.counts(4), Err(BitmapRefusal::Behind { events: 3, array: 4 }));
    let refused = |at: usize, new: &[u8]| {
        let mut page = page;
        page[at..at + new.len()].copy_from_slice(new);
        Header::of(&page, &uuid, SIZE, room).map(|_| ()).err()
    };
    assert_eq!(refused(0, b"bitM"), Some(BitmapRefusal::Magic));
    for version in [0, 3, 5, 6] {
        assert_eq!(refused(4, &[version]), Some(BitmapRefusal::Version(u32::from(version))));
    }
    assert_eq!(refused(8, &[0]), Some(BitmapRefusal::Uuid));
    assert_eq!(refused(40, &[1]), Some(BitmapRefusal::Size(SIZE + 1)));
    assert_eq!(refused(52, &[0, 0, 3]), Some(BitmapRefusal::Chunk(3 << 16)));
    assert_eq!(refused(52, &[0, 1, 0]), Some(BitmapRefusal::Chunk(256)));
    assert_eq!(refused(52, &[0; 4]), Some(BitmapRefusal::Chunk(0)));
    assert_eq!(refused(52, &[0, 2, 0]), Some(BitmapRefusal::Room), "40,960 bits and a header are more than 4 KiB");
    assert_eq!(refused(56, &[0]), Some(BitmapRefusal::Range));
    assert_eq!(refused(60, &[0, 0x40]), Some(BitmapRefusal::Range));
    assert_eq!(refused(68, &[2]), Some(BitmapRefusal::Cluster));
    for state in [bitmap::STALE, bitmap::WRITE_ERROR, 1 << 15] {
        let mut page = page;
        page[48..52].copy_from_slice(&state.to_le_bytes());
        let (header, _) = Header::of(&page, &uuid, SIZE, room).unwrap();
        assert_eq!(header.counts(3), Err(BitmapRefusal::Stale));
    }
}

#[test]
fn a_chunk_is_as_large_as_the_room_wants() {
    const GIB: u64 = 1 << 21;
    let choose = |size, sectors| Geometry::choose(size, sectors).map(|geometry| geometry.chunk_bytes() >> 20);
    assert_eq!(choose(1, 8), Ok(64));
    assert_eq!(choose(8 * GIB, 8), Ok(64));
    // 8 sectors have 30,720 bits: 1,920 GiB in chunks of 64 MiB.
    assert_eq!((choose(1920 * GIB, 8), choose(1920 * GIB + 1, 8)), (Ok(64), Ok(128)));
    assert_eq!(choose(u64::MAX, 8), Err(BitmapRefusal::Room));
    assert_eq!(Geometry::new(u64::MAX, 512), Err(BitmapRefusal::Room));
    assert_eq!(Geometry::new(0, 512), Err(BitmapRefusal::Chunk(512)));
}

proptest! {
    #[test]
    fn every_chunk_has_a_bit_of_its_own(size in 1_u64..1 << 20, shift in 9_u32..13, sector in any::<u64>()) {
        let geometry = Geometry::new(size, 1 << shift).unwrap();
        let mut pages = vec![[0; PAGE_SIZE]; geometry.pages()];
        let chunk = geometry.chunk_of(sector % size);
        let place = geometry.place(chunk);
        prop_assert!(place.page < pages.len() && (place.page > 0 || place.byte >= 256));
        bitmap::put(&mut pages[place.page], place, true);
        let set: u32 = pages.iter().flatten().map(|byte| byte.count_ones()).sum();
        prop_assert!(set == 1 && bitmap::is_set(&pages[place.page], place));
        let (begin, end) = geometry.chunks_of(place.page);
        prop_assert!((begin..end).contains(&chunk));
        let (start, behind) = geometry.sectors_of(chunk);
        prop_assert!(start <= sector % size && sector % size < behind && behind <= size);
        let all: u64 = (0..geometry.pages()).map(|page| geometry.chunks_of(page)).map(|(begin, end)| end - begin).sum();
        prop_assert_eq!(all, geometry.chunks());
        let bytes: usize = (0..geometry.pages()).map(|page| geometry.page_bytes(page, 512)).sum();
        prop_assert_eq!(bytes as u64, geometry.sectors() * 512);
        bitmap::put(&mut pages[place.page], place, false);
        prop_assert!(!bitmap::is_set(&pages[place.page], place));
    }

    #[test]
    fn bits_behind_the_last_chunk_mean_nothing(size in 1_u64..1 << 18, shift in 9_u32..12, bit in any::<u32>()) {
        let geometry = Geometry::new(size, 1 << shift).unwrap();
        let number = geometry.pages() - 1;
        let (begin, end) = geometry.chunks_of(number);
        let mut page = [0xff; PAGE_SIZE];
        (begin..end).for_each(|chunk| bitmap::put(&mut page, geometry.place(chunk), false));
        prop_assert!(!bitmap::any_set(&geometry, number, &page), "the header's bytes, and what mdadm leaves");
        prop_assert!(!bitmap::any_set(&geometry, number + 1, &[0xff; PAGE_SIZE]), "there is no such page");
        for chunk in [begin, end.saturating_sub(1), begin + u64::from(bit) % (end - begin).max(1)] {
            if chunk < end {
                bitmap::put(&mut page, geometry.place(chunk), true);
                prop_assert!(bitmap::any_set(&geometry, number, &page));
                bitmap::put(&mut page, geometry.place(chunk), false);
            }
        }
    }

    /// Beside a set of units.
    #[test]
    fn a_bad_block_log_is_a_set(
        shift in 0_u8..4,
        steps in prop::collection::vec((any::<bool>(), 0_u64..4000, 1_u64..3000), 1..60),
    ) {
        let (mut page, mut again) = ([0; PAGE_SIZE], [0; PAGE_SIZE]);
        let mut log = Log::new(&mut page, 8, shift).unwrap();
        let mut model = BTreeSet::new();
        let unit = 1 << shift;
        for (bad, start, length) in steps {
            let range = Extent { start, end: start + length };
            if bad {
                prop_assert_eq!(log.add(range), Ok(()));
                model.extend(start / unit..(start + length).div_ceil(unit));
            } else {
                prop_assert_eq!(log.remove(range), Ok(()));
                let whole = start.div_ceil(unit)..(start + length) / unit;
                model.retain(|sector| !whole.contains(sector));
            }
            let ranges: Vec<Extent> = log.ranges().collect();
            let units: Vec<u64> = ranges.iter().flat_map(|range| range.start / unit..range.end / unit).collect();
            prop_assert!(units.iter().eq(&model), "{:?}", ranges);
            let sector = start + length / 2;
            let found = log.find(Extent { start: sector, end: sector + 1 });
            prop_assert_eq!(found.is_some(), model.contains(&(sector / unit)));
            again.copy_from_slice(log.bytes());
            let read = Log::of(&mut again, 8, shift, Extent { start: 0, end: 8000 }).unwrap();
            prop_assert!(read.ranges().eq(ranges));
        }
    }
}

#[test]
fn a_full_bad_block_log_changes_nothing() {
    let mut page = [0; PAGE_SIZE];
    let mut log = Log::new(&mut page, 8, 0).unwrap();
    let one = |sector| Extent { start: sector, end: sector + 1 };
    for index in 0..ENTRIES as u64 {
        assert_eq!(log.add(one(3 * index)), Ok(()));
    }
    let before: Vec<Extent> = log.ranges().collect();
    assert_eq!((log.len(), log.add(one(7000))), (ENTRIES, Err(LogRefusal::Full)));
    assert_eq!(log.add(Extent { start: 5000, end: u64::MAX }), Err(LogRefusal::Full));
    assert!(log.ranges().eq(before.iter().copied()));
    // What lies between two of them makes them one; then there is room again.
    assert_eq!(log.add(Extent { start: 0, end: 7 }), Ok(()));
    assert_eq!((log.len(), log.add(one(7000)), log.remove(one(2))), (ENTRIES - 2, Ok(()), Ok(())));
    assert_eq!((log.len(), log.remove(one(5))), (ENTRIES, Err(LogRefusal::Full)));
    let mut page = [0; PAGE_SIZE];
    let mut none = Log::new(&mut page, 0, 0).unwrap();
    assert_eq!((none.add(one(3)), none.is_empty()), (Err(LogRefusal::Full), true));
}

#[test]
fn a_bad_block_log_that_cannot_be_is_refused() {
    let data = Extent { start: 2048, end: 1 << 20 };
    let read = |entries: &[u64], shift| {
        let mut page = [0xff; PAGE_SIZE];
        for (place, entry) in page.chunks_mut(8).zip(entries) {
            place.copy_from_slice(&entry.to_le_bytes());
        }
        Log::of(&mut page, 8, shift, data).map(|log| log.len())
    };
    assert_eq!(
        read(&[(2048 << 10) | 8, (2056 << 10) | 1, (3000 << 10) | 1023], 0),
        Ok(3),
        "of the leg, not of the data"
    );
    assert_eq!(read(&[(256 << 10) | 1], 3), Ok(1));
    assert_eq!(read(&[2048 << 10], 0), Err(LogRefusal::Entry(0)));
    assert_eq!(read(&[(2048 << 10) | 8, (2055 << 10) | 8], 0), Err(LogRefusal::Entry(1)));
    assert_eq!(read(&[(2047 << 10) | 8], 0), Err(LogRefusal::Place(0)));
    assert_eq!(read(&[(((1 << 20) - 1) << 10) | 2], 0), Err(LogRefusal::Place(0)));
    assert_eq!(read(&[u64::MAX - 1], 31), Err(LogRefusal::Entry(0)));
    assert_eq!(read(&[0], 0), Err(LogRefusal::Entry(0)), "a log of zeros was never written");
}

#[test]
fn a_new_leg_is_laid_out_as_mdadm_does() {
    const GIB: u64 = 1 << 21;
    // Sizes of the bitmap's room, and offsets of the data, that mdadm chooses.
    for (device, bitmap, data) in [
        (LEG_MIN.0, 8, 2048),
        (GIB, 8, 4096),
        (8 * GIB, 8, 18432),
        (8 * GIB + 1, 128, 18432),
        (200 * GIB, 256, 264_192),
        (4096 * GIB, 256, 264_192),
    ] {
        let layout = fresh(Sectors(device)).unwrap();
        assert_eq!((layout.bitmap.start, layout.bitmap.end - layout.bitmap.start), (16, bitmap), "{device}");
        assert_eq!(layout.bad_blocks.start, layout.bitmap.end);
        assert_eq!((layout.data.start, layout.data.end), (data, device));
    }
    assert_eq!(fresh(Sectors(LEG_MIN.0 - 1)), Err(NoRoom::Device(LEG_MIN.0 - 1)));
    let leg = leg(0, 2);
    assert_eq!((bitmap_room(&leg), record_places(&leg, None)), (8, Ok([Sectors(2032), Sectors(2040)])));
}

#[test]
fn a_membership_record_overwrites_nothing() {
    let sound = leg(0, 2);
    let mut tight = sound.clone();
    tight.data_offset = 127.into();
    assert_eq!(record_places(&tight, None), Err(NoRoom::Gap), "mdadm may put a log at sector 88");
    tight.data_offset = 128.into();
    assert_eq!(record_places(&tight, None), Ok([Sectors(112), Sectors(120)]));
    let mut log = sound.clone();
    log.bblog_offset = (2040 - 8).into();
    assert_eq!((log.seal(), record_places(&log, None)), (Ok(()), Err(NoRoom::Gap)), "where mdadm puts it in need");
    let mut long = sound;
    long.bblog_offset = 0.into();
    let bits = |chunks| Geometry::new(chunks, 512).unwrap();
    assert_eq!(record_places(&long, Some(&bits((2000 * 512 - 256) * 8))).map(|[first, _]| first.0), Ok(2032));
    assert_eq!(record_places(&long, Some(&bits((2001 * 512 - 256) * 8))), Err(NoRoom::Gap));
}
