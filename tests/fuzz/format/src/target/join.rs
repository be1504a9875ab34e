// SPDX-License-Identifier: GPL-2.0

//! Join records: a sound one with patches; read, and if it is accepted, written again.

use super::membership::patches;
use super::{Bytes, Fast, Target};
use stor_pure::pure::md::{Page, PAGE_SIZE};
use stor_pure::pure::replica::join::{Join, Part, PARTS_MAX};
use stor_pure::pure::thin::crc::Crc;

pub(super) const TARGET: Target =
    Target { name: "join", about: "records that say where the rest of a leg is", most: 400, seeds, run };

fn sound() -> Page {
    let (mut name, mut raw) = ([0; 32], [0; PAGE_SIZE]);
    name.iter_mut().zip(*b"host:data").for_each(|(to, from)| *to = from);
    let mut join = Join::new([1; 16], [2; 16], name, 2048);
    (join.joined, join.below) = ([3; 16], [4; 16]);
    for part in [Part::new("serial-a", 0, 8192), Part::new("wwid-b", 64, 8)].into_iter().flatten() {
        join.push(part);
    }
    let _ = join.write::<Fast>(&mut raw);
    raw
}

fn seeds() -> Vec<Vec<u8>> {
    vec![
        vec![1],
        vec![1, 88, 0, 1, 1],
        vec![1, 128, 0, 16, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        vec![0, 9, 0, 1, 1],
    ]
}

fn run(input: &[u8]) {
    let mut bytes = Bytes(input);
    let fixed = bytes.byte();
    let mut raw = sound();
    patches(&mut bytes, &mut raw);
    if fixed & 1 == 1 {
        let sum = !Fast::crc32c(raw.get(12..).unwrap_or_default());
        raw.iter_mut().skip(8).zip(sum.to_le_bytes()).for_each(|(to, from)| *to = from);
    }
    match Join::of::<Fast>(&raw) {
        Ok(join) => accepted(join),
        Err(refusal) => drop(refusal.to_string()),
    }
}

fn accepted(join: &Join) {
    let parts = join.parts();
    assert!(!parts.is_empty() && parts.len() <= PARTS_MAX && join.start.get() >= 8);
    let length: u128 = parts.iter().map(|part| u128::from(part.length.get())).sum();
    assert_eq!(u128::from(join.sectors()), length + u128::from(join.start.get()));
    for part in parts {
        assert_eq!(Part::new(part.identity(), part.start.get(), part.length.get()), Some(*part));
    }
    let mut again = [0xff; PAGE_SIZE];
    assert_eq!(join.write::<Fast>(&mut again), Ok(()));
    assert!(matches!(Join::of::<Fast>(&again), Ok(read) if read == join));
}
