// SPDX-License-Identifier: GPL-2.0

//! A bad-block log: sectors, units, changes that are made, and the entries.

use super::{Bytes, Target};
use stor_pure::pure::md::badblock::Log;
use stor_pure::pure::md::superblock::Extent;
use stor_pure::pure::md::PAGE_SIZE;

pub(super) const TARGET: Target = Target { name: "badblock", about: "bad-block log of a leg", most: 4200, seeds, run };

fn seeds() -> Vec<Vec<u8>> {
    let entry = |sector: u64, length: u64| ((sector << 10) | length).to_le_bytes();
    let log = |shift: u8, entries: &[[u8; 8]]| {
        [&[8, shift, 1], &[0x10, 0x27, 0, 0, 40][..], &entries.concat(), &[0xff; 8]].concat()
    };
    vec![
        log(0, &[entry(2048, 8), entry(2056, 1), entry(9000, 1023)]),
        log(3, &[entry(300, 1)]),
        log(0, &[]),
        log(0, &[entry(9, 0), entry(8, 8)]),
    ]
}

fn run(input: &[u8]) {
    let mut bytes = Bytes(input);
    let (sectors, shift, changes) = (bytes.number(1), bytes.byte(), bytes.byte() % 8);
    let changes: Vec<(u64, u64)> = (0..changes).map(|_| (bytes.number(4), bytes.number(1))).collect();
    let mut page = [0xff; PAGE_SIZE];
    bytes.fill(&mut page);
    let data = Extent { start: 64, end: u64::MAX / 2 };
    let mut log = match Log::of(&mut page, sectors, shift, data) {
        Ok(log) => log,
        Err(refusal) => return drop(refusal.to_string()),
    };
    sound(&log, sectors);
    for (start, length) in changes {
        let range = Extent { start, end: start + length };
        let before: Vec<Extent> = log.ranges().collect();
        let bad = length & 1 == 1;
        let result = if bad { log.add(range) } else { log.remove(range) };
        sound(&log, sectors);
        match result {
            Ok(()) if bad => assert!(log.find(range).is_some()),
            Ok(()) => {}
            Err(refusal) => {
                drop(refusal.to_string());
                assert!(log.ranges().eq(before));
            }
        }
    }
}

fn sound(log: &Log<'_>, sectors: u64) {
    assert!(log.len() as u64 <= sectors * 64 && log.len() <= 512);
    let mut end = 0;
    for range in log.ranges() {
        assert!(range.start >= end && range.end > range.start);
        assert_eq!(log.find(range), Some(range));
        end = range.end;
    }
    assert_eq!(log.ranges().count(), log.len());
    assert!(log.bytes().chunks(8).skip(log.len()).all(|entry| entry == [0xff; 8]));
}
