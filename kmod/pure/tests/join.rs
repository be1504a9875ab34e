// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The join record of a leg whose metadata are on a device of their own.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use stor_pure::pure::md::layout::{ahead, NoRoom};
use stor_pure::pure::md::PAGE_SIZE;
use stor_pure::pure::replica::join::{Join, Part, Refusal, IDENTITY_LEN, PARTS_MAX};
use stor_pure::pure::thin::crc::Portable;
use stor_pure::pure::units::Sectors;

fn join() -> Join {
    let mut join = Join::new([1; 16], [2; 16], *b"host:data\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 2048);
    (join.joined, join.below) = ([3; 16], [4; 16]);
    assert!(join.push(Part::new("serial-a", 0, 8192).unwrap()));
    assert!(join.push(Part::new("wwid-b", 64, 8).unwrap()));
    join
}

#[test]
fn what_is_written_is_read() {
    let mut page = [0; PAGE_SIZE];
    let join = join();
    join.write::<Portable>(&mut page).unwrap();
    let read = Join::of::<Portable>(&page).unwrap();
    assert_eq!((read.parts(), read.sectors(), read.name), (join.parts(), 2048 + 8200, join.name));
    assert_eq!(read.parts().iter().map(Part::identity).collect::<Vec<_>>(), ["serial-a", "wwid-b"]);
    for at in 0..PAGE_SIZE {
        let mut page = page;
        page[at] ^= 1;
        assert!(Join::of::<Portable>(&page).is_err(), "{at}");
    }
}

#[test]
fn what_cannot_be_is_neither_written_nor_read() {
    let broken: [fn(&mut Join); 9] = [
        |join| join.parts = 0.into(),
        |join| join.parts = 25.into(),
        |join| join.part[0].length = 0.into(),
        |join| join.part[0].start = u64::MAX.into(),
        |join| join.part[1].identity[2] = b' ',
        |join| join.part[7].identity[0] = b'x',
        |join| join.joined = join.below,
        |join| join.leg = [0; 16],
        |join| join.start = 7.into(),
    ];
    for (number, spoil) in broken.into_iter().enumerate() {
        let (mut join, mut page) = (join(), [0; PAGE_SIZE]);
        spoil(&mut join);
        assert_eq!(join.write::<Portable>(&mut page), Err(Refusal::Contents), "{number}");
    }
    assert_eq!(Part::new("", 0, 8), None);
    assert_eq!(Part::new(&"x".repeat(IDENTITY_LEN), 0, 8), None);
    let (mut join, part) = (join(), Part::new("x", 0, 8).unwrap());
    assert_eq!((2..PARTS_MAX).filter(|_| join.push(part)).count(), PARTS_MAX - 2);
    assert!(!join.push(part));
}

#[test]
fn the_data_begin_at_the_last_whole_mib_of_the_metadata() {
    let layout = ahead(Sectors(3 * 2048 + 100), Sectors(1 << 31)).unwrap();
    assert_eq!((layout.data.start, layout.data.end), (3 * 2048, 3 * 2048 + (1 << 31)));
    assert!(layout.bad_blocks.end + 32 <= 2048);
    assert_eq!(ahead(Sectors(2047), Sectors(2048)), Err(NoRoom::Ahead(2047)));
    assert!(ahead(Sectors(2048), Sectors(u64::MAX)).is_err());
}
