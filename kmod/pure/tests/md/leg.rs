// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Legs of an array of 20 MiB to be tested with, each on a device of 24 MiB.

use stor_pure::pure::md::create::Array;
use stor_pure::pure::md::layout::fresh;
use stor_pure::pure::md::superblock::Superblock;
use stor_pure::pure::md::Page;
use stor_pure::pure::units::Sectors;
use zerocopy::IntoBytes;

pub const DEVICE: Sectors = Sectors(48 << 10);
pub const SIZE: u64 = 40 << 10;

pub fn array(legs: u32) -> Array {
    let mut name = [0; 32];
    name[..9].copy_from_slice(b"node1:vol");
    Array { uuid: *b"0123456789abcdef", name, time: 1_790_000_000, size: SIZE, legs, block_size: 512 }
}

pub fn uuid(number: u32) -> [u8; 16] {
    let mut uuid = [0x5a; 16];
    uuid[0] = number as u8;
    uuid
}

pub fn leg(number: u32, legs: u32) -> Superblock {
    let mut leg = array(legs).leg(number, uuid(number), &fresh(DEVICE).unwrap(), false).unwrap();
    leg.events = 17.into();
    leg.seal().unwrap();
    leg
}

pub fn bytes(leg: &Superblock) -> Page {
    leg.as_bytes().try_into().unwrap()
}
