// SPDX-License-Identifier: GPL-2.0

//! A superblock of md: whether its checksum is put right, the size of the device, and places of a sound one that are changed.

use super::{Bytes, Target};
use stor_pure::pure::md::create::Array;
use stor_pure::pure::md::layout::{bitmap_room, fresh, record_places};
use stor_pure::pure::md::superblock::{checksum, Role, Superblock, LEGS_MAX, ROLES_MAX};
use stor_pure::pure::md::{Page, PAGE_SIZE};
use stor_pure::pure::units::Sectors;
use zerocopy::{FromZeros, IntoBytes};

pub(super) const TARGET: Target =
    Target { name: "leg", about: "md superblock of a replica's leg", most: 1000, seeds, run };

/// Sectors of the device, if the input does not say otherwise.
const DEVICE: u64 = 1 << 16;

/// A sound one.
pub(super) fn sound() -> Superblock {
    let array = Array { uuid: [7; 16], name: [0; 32], time: 1 << 30, size: 1 << 15, legs: 2, block_size: 512 };
    let mut leg = fresh(Sectors(DEVICE))
        .and_then(|layout| array.leg(1, [9; 16], &layout, false))
        .unwrap_or_else(|_| Superblock::new_zeroed());
    let _ = leg.seal();
    leg
}

pub(super) fn page(leg: &Superblock) -> Page {
    Page::try_from(leg.as_bytes()).unwrap_or([0; PAGE_SIZE])
}

/// Changes a page: a place, how many bytes, the bytes; as often as there is something left.
pub(super) fn patch(bytes: &mut Bytes<'_>, page: &mut Page) {
    while !bytes.is_empty() {
        let (place, count) = (bytes.number(2) as usize % PAGE_SIZE, usize::from(bytes.byte()));
        let new = bytes.take(count);
        page.iter_mut().skip(place).zip(new).for_each(|(to, from)| *to = *from);
    }
}

fn seeds() -> Vec<Vec<u8>> {
    vec![
        vec![1, 0, 0],
        vec![0, 0, 0],
        // A leg that is rebuilt, a failed one, a bad-block log elsewhere.
        vec![1, 0, 0, 8, 0, 1, 0x8b],
        vec![1, 0, 0, 0, 1, 2, 0xfe, 0xff],
        vec![1, 0, 0, 0xbc, 0, 4, 0x80, 0, 0, 0],
        vec![1, 0, 0, 0xdc, 0, 4, 0x80, 7, 0, 0],
    ]
}

fn run(input: &[u8]) {
    let mut bytes = Bytes(input);
    let (fixed, device) = (bytes.byte(), bytes.number(2));
    let device = if device == 0 { DEVICE } else { device * 16 };
    let mut raw = page(&sound());
    patch(&mut bytes, &mut raw);
    if fixed & 1 == 1 {
        let roles = raw.get(0xdc..0xe0).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
        let sum = checksum(&raw, roles).to_le_bytes();
        raw.iter_mut().skip(0xd8).zip(sum).for_each(|(to, from)| *to = from);
    }
    let leg = match Superblock::of(&raw, Sectors(device)) {
        Ok(leg) => leg,
        Err(refusal) => return drop(refusal.to_string()),
    };
    accepted(leg, device);
    // What was accepted can be written, and is read as the same.
    let mut again = leg.clone();
    assert_eq!(again.seal(), Ok(()));
    let again = page(&again);
    let covered = 256 + 2 * leg.max_dev.get() as usize;
    assert_eq!(again.get(..covered), raw.get(..covered));
    assert!(Superblock::of(&again, Sectors(device)).is_ok());
}

fn accepted(leg: &Superblock, device: u64) {
    assert!(leg.roles().len() <= ROLES_MAX && (1..=LEGS_MAX).contains(&leg.raid_disks.get()));
    assert!(leg.data().is_some_and(|data| data.start >= 16 && data.end <= device));
    assert!(leg.size.get() > 0 && leg.size.get() <= leg.data_size.get());
    for number in 0..leg.max_dev.get() {
        assert!(!matches!(leg.role_of(number), Role::Slot(slot) if u32::from(slot) >= leg.raid_disks.get()));
    }
    assert!(leg.bitmap().is_none_or(|at| at >= 16) && leg.bad_block_log().is_none_or(|log| log.start >= 16));
    let _ = (leg.role(), leg.in_sync(), leg.is_clean(), leg.tag(), bitmap_room(leg));
    if let Ok([first, second]) = record_places(leg, None) {
        assert!(first.0 + 8 == second.0 && second.0 + 8 == leg.data_offset.get() && first.0 >= 80);
    }
}
