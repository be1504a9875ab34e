// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Streams: what is written in order lies in order, however many write at once.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "thin/memory.rs"]
mod memory;

use memory::Device;
use std::ops::ControlFlow;
use stor_pure::pure::thin::data::WINDOW;
use stor_pure::pure::thin::pool::{Options, Pool};
use stor_pure::pure::units::VirtualBlock;

fn pool(streams: usize, volumes: u64, data: u64) -> Pool<Device> {
    let options = Options { frames: 128, streams, passdown: false };
    let mut pool = Pool::format(Device::new(1024), options, 128, data).unwrap();
    for id in 0..volumes {
        pool.create_thin(id).unwrap();
    }
    pool.commit().unwrap();
    pool
}

/// The lengths of a volume's runs.
fn runs(pool: &mut Pool<Device>, id: u64) -> Vec<u64> {
    let mut runs = Vec::new();
    let mut tell = |run: stor_pure::pure::thin::device::MappedRun| {
        runs.push(run.length);
        ControlFlow::Continue(())
    };
    pool.runs(id, VirtualBlock(0), VirtualBlock(u64::MAX), &mut tell).unwrap();
    runs
}

/// Each volume is written in order, a few blocks at a time, by turns; each by a stream of its own. With commits in between.
fn interleave(pool: &mut Pool<Device>, volumes: u64, blocks: u64, each: u64) {
    for begin in (0..blocks).step_by(each as usize) {
        for id in 0..volumes {
            let mut at = begin;
            while at < begin + each {
                let run = pool.take_data(id as usize, begin + each - at).unwrap();
                pool.insert(id, VirtualBlock(at), run).unwrap();
                at += run.len();
            }
        }
        if begin % 5 == 0 {
            pool.commit().unwrap();
        }
    }
}

#[test]
fn volumes_that_are_written_at_once_stay_in_order() {
    for each in [1, 3, 16] {
        let mut pool = pool(8, 8, 8 * 2048);
        interleave(&mut pool, 8, 1536, each);
        for id in 0..8 {
            let runs = runs(&mut pool, id);
            // A window each, and two may follow each other.
            let (last, others) = runs.split_last().unwrap();
            assert!(others.iter().all(|run| run % WINDOW == 0), "{each} at a time, volume {id}: {runs:?}");
            assert_eq!(others.iter().sum::<u64>() + last, 1536);
        }
    }
}

#[test]
fn one_writer_leaves_one_run() {
    let mut pool = pool(8, 1, 4096);
    interleave(&mut pool, 1, 4000, 7);
    // The last round writes some more than was asked for.
    assert_eq!(runs(&mut pool, 0), [4004]);
}

#[test]
fn more_volumes_than_streams_share_windows() {
    let mut pool = pool(2, 4, 4096);
    interleave(&mut pool, 4, 512, 16);
    for id in 0..4 {
        let runs = runs(&mut pool, id);
        assert!(runs.iter().all(|&run| run >= 16), "{runs:?}");
    }
}

#[test]
fn what_was_set_aside_is_not_lost() {
    // Eight windows of which little is used, and a ninth writer who needs all there is.
    let mut pool = pool(8, 9, 1024);
    for id in 0..8 {
        let run = pool.take_data(id as usize, 1).unwrap();
        pool.insert(id, VirtualBlock(0), run).unwrap();
    }
    let mut at = 0;
    while let Ok(run) = pool.take_data(7, 100) {
        pool.insert(8, VirtualBlock(at), run).unwrap();
        at += run.len();
    }
    assert_eq!((at, pool.data_used()), (1024 - 8, 1024));
}

#[test]
fn a_fragmented_device_gives_what_it_has() {
    let mut pool = pool(2, 2, 1024);
    interleave(&mut pool, 1, 1024, 16);
    for at in (0..1024).step_by(8) {
        pool.remove(0, VirtualBlock(at), VirtualBlock(at + 4), 9).unwrap();
    }
    pool.commit().unwrap();
    let mut at = 0;
    while let Ok(run) = pool.take_data(0, 100) {
        pool.insert(1, VirtualBlock(at), run).unwrap();
        at += run.len();
    }
    let runs = runs(&mut pool, 1);
    assert!(at == 512 && runs.iter().all(|&run| run == 4), "{runs:?}");
}
