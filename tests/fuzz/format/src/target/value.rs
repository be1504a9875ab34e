// SPDX-License-Identifier: GPL-2.0

//! A mapping and a device's details: 8 and 24 bytes.

use super::{Bytes, Target};
use stor_pure::pure::thin::superblock::LAST_TIME;
use stor_pure::pure::thin::value::{Details, Mapping, LAST_DATA_BLOCK};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

pub(super) const TARGET: Target =
    Target { name: "value", about: "mappings and device details", most: 32, seeds: || vec![vec![1, 0, 0, 5]], run };

fn run(input: &[u8]) {
    let mut bytes = Bytes(input);
    let packed = bytes.number(8).into();
    let mapping = Mapping::unpack(packed);
    assert!(mapping.block.0 <= LAST_DATA_BLOCK && mapping.time <= LAST_TIME);
    assert_eq!(mapping.pack(), packed);
    let mut raw = [0; 24];
    bytes.fill(&mut raw);
    let details = Details::read_from_bytes(&raw).unwrap_or_else(|_| Details::new_zeroed());
    assert_eq!(details.as_bytes(), raw);
    assert_eq!(details.shares(mapping), details.snapshotted_time.get() > mapping.time);
}
