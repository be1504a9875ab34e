// SPDX-License-Identifier: GPL-2.0

//! A pool with one volume of short runs at random places, made in a random order, as a file system that has been in use for
//! years would leave it: leaves are between half full and full.

use crate::device::Device;
use crate::Fault;
use std::path::Path;
use stor_pure::pure::thin::block::BLOCK_SIZE;
use stor_pure::pure::thin::pool::{Options, Pool};
use stor_pure::pure::units::VirtualBlock;

/// The volume.
pub(crate) const VOLUME: u64 = 1;
/// Places for runs.
const PLACES_BITS: u32 = 21;
/// Virtual blocks of a place. The last one of each is never in its run.
const PLACE: u64 = 16;
/// What the pool could map.
const DATA_BLOCKS: u64 = 1 << 25;
/// Inserts of a transaction.
const TRANSACTION: u64 = 1000;

/// The place that a number stands for: each has its own, and neighbours' are far apart.
fn place(number: u64) -> u64 {
    let mask = (1 << PLACES_BITS) - 1;
    let mut x = number & mask;
    for multiplier in [0x2c1b_3c6d, 0x297a_2d39, 0x85eb_ca6b] {
        x = (x ^ (x >> 11)).wrapping_mul(multiplier) & mask;
        x ^= x >> 7;
    }
    x
}

/// A virtual block that is mapped, another for each number; the numbers are below those of the runs.
pub(crate) fn mapped(number: u64) -> VirtualBlock {
    VirtualBlock(place(number) * PLACE)
}

/// A virtual block that is not mapped, another for each number below 2^21.
pub(crate) fn unmapped(number: u64) -> VirtualBlock {
    // From the other end, so that as many have neighbours that are mapped as have none.
    VirtualBlock(place(!number) * PLACE + PLACE - 1)
}

/// Blocks of the run at a place.
fn length(place: u64) -> u64 {
    1 + place.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (PLACE - 1)
}

/// How many runs map so many blocks.
pub(crate) fn runs(mappings: u64) -> u64 {
    let (mut number, mut sum) = (0, 0);
    while sum < mappings {
        sum += length(place(number));
        number += 1;
    }
    number
}

/// Makes the metadata of a pool that maps so many blocks, and writes it to a file.
pub(crate) fn make(image: &Path, blocks: u64, mappings: u64) -> Result<(), Fault> {
    let device = Device::new(vec![0; blocks as usize * BLOCK_SIZE]);
    // Room for all of it: nothing is read twice.
    let options = Options { frames: blocks as usize, streams: 1, passdown: false };
    let mut pool = Pool::format(device, options, 128, DATA_BLOCKS).map_err(crate::said)?;
    pool.create_thin(VOLUME).map_err(crate::said)?;
    pool.commit().map_err(crate::said)?;
    for number in 0..runs(mappings) {
        let place = place(number);
        let (mut begin, end) = (place * PLACE, place * PLACE + length(place));
        while begin < end {
            let run = pool.take_data(0, end - begin).map_err(crate::said)?;
            pool.insert(VOLUME, VirtualBlock(begin), run).map_err(crate::said)?;
            begin += run.len();
        }
        if number % TRANSACTION == 0 {
            pool.commit().map_err(crate::said)?;
        }
    }
    pool.commit().map_err(crate::said)?;
    Ok(std::fs::write(image, pool.close().bytes)?)
}
