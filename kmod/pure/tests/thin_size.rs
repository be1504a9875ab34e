// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A pool with as much metadata as its plan asks for can be filled: its data is full before its metadata is.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "thin/memory.rs"]
mod memory;
#[path = "thin/rng.rs"]
mod rng;

use memory::Device;
use rng::Rng;
use stor_pure::pure::thin::error::Error;
use stor_pure::pure::thin::pool::{Options, Pool};
use stor_pure::pure::thin::size::{need, Need, Plan};
use stor_pure::pure::units::VirtualBlock;

const OPTIONS: Options = Options { frames: 256, streams: 1, passdown: false };

/// Writes of so many blocks in a row at random places, as if a program wrote them.
struct Writer {
    pool: Pool<Device>,
    plan: Plan,
    what: String,
}

impl Writer {
    fn must<T>(&mut self, operation: &mut dyn FnMut(&mut Pool<Device>) -> Result<T, Error>) -> Option<T> {
        let mut result = operation(&mut self.pool);
        if matches!(result, Err(Error::CommitFirst)) {
            self.pool.commit().unwrap();
            result = operation(&mut self.pool);
        }
        match result {
            Ok(value) => Some(value),
            Err(Error::DataFull) => None,
            Err(error) => panic!(
                "{}: {error}; {} of {} metadata blocks free, {} of {} data blocks used",
                self.what,
                self.pool.metadata_free(),
                self.pool.metadata_blocks(),
                self.pool.data_used(),
                self.plan.data_blocks,
            ),
        }
    }

    /// Maps blocks anew; whether there were enough.
    fn write(&mut self, id: u64, begin: u64, count: u64) -> bool {
        let mut next = begin;
        while next < begin + count {
            let want = begin + count - next;
            let Some(run) = self.must(&mut |pool| pool.take_data(0, want)) else { return false };
            self.must(&mut |pool| pool.insert(id, VirtualBlock(next), run));
            next += run.len();
        }
        true
    }
}

fn fill(plan: Plan, group: u64, sequential: bool, blocks: u64) {
    let device = Device::new(blocks as usize);
    let mut pool = Pool::format(device, OPTIONS, 128, plan.data_blocks).unwrap();
    pool.commit().unwrap();
    let what =
        format!("{plan:?}, {blocks} blocks, {group} at a time, {}", if sequential { "in order" } else { "anywhere" });
    let mut writer = Writer { pool, plan, what };
    for id in 0..plan.volumes {
        writer.must(&mut |pool| pool.create_thin(id));
    }
    // What the snapshots keep has to fit, too.
    let rounds = plan.snapshots / plan.volumes;
    let size = plan.data_blocks * 1000 / (1000 + rounds * plan.rewritten) / plan.volumes;
    let mut rng = Rng::new(7);
    for id in 0..plan.volumes {
        let mut places: Vec<u64> = (0..size / group).collect();
        for index in (1..places.len()).rev().filter(|_| !sequential) {
            places.swap(index, rng.below(index as u64 + 1) as usize);
        }
        for (count, place) in places.into_iter().enumerate() {
            assert!(writer.write(id, place * group, group), "{}", writer.what);
            if count % 1000 == 999 {
                writer.pool.commit().unwrap();
            }
        }
    }
    for round in 0..rounds {
        let pairs: Vec<_> = (0..plan.volumes).map(|id| (plan.volumes * (1 + round) + id, id)).collect();
        writer.must(&mut |pool| pool.create_snapshots(&pairs));
        for id in 0..plan.volumes {
            for count in 0..size * plan.rewritten / 1000 / group {
                if !writer.write(id, rng.below(size / group) * group, group) {
                    break;
                }
                if count % 1000 == 999 {
                    writer.pool.commit().unwrap();
                }
            }
        }
    }
    writer.pool.commit().unwrap();
    let left = plan.data_blocks - writer.pool.data_used();
    assert!(left <= plan.data_blocks / 10, "{}: {left} data blocks left", writer.what);
}

#[test]
fn a_pool_of_the_planned_size_can_be_filled() {
    for (data_blocks, volumes, snapshots, rewritten) in [(1_000, 1, 0, 0), (16_384, 4, 0, 0), (16_384, 1, 8, 200)] {
        let plan = Plan { data_blocks, volumes, snapshots, rewritten };
        let Need { usual, worst } = need(&plan);
        fill(plan, 16, true, usual);
        fill(plan, 16, false, usual);
        fill(plan, 1, false, worst);
    }
    let plan = Plan { data_blocks: 163_840, volumes: 1, snapshots: 0, rewritten: 0 };
    fill(plan, 16, false, need(&plan).usual);
}
