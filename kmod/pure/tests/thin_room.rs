// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A metadata device that is full: at every size, operations of every kind meet it. Each is refused before it begins, or done;
//! what is done can be committed, and what there is can be deleted.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "thin/memory.rs"]
mod memory;
#[path = "thin/rng.rs"]
mod rng;

use memory::Device;
use rng::Rng;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use stor_pure::pure::thin::check::check;
use stor_pure::pure::thin::data::Run;
use stor_pure::pure::thin::device::Deletion;
use stor_pure::pure::thin::error::Error;
use stor_pure::pure::thin::pool::{Options, Pool};
use stor_pure::pure::units::VirtualBlock;

const OPTIONS: Options = Options { frames: 64, streams: 1, passdown: false };

type Model = BTreeMap<u64, BTreeMap<u64, u64>>;

/// How often each kind of operation was done, and refused.
#[derive(Default, Debug)]
struct Met(BTreeMap<&'static str, (u64, u64)>);

struct Full {
    pool: Pool<Device>,
    model: Model,
    held: bool,
    next: u64,
    data: u64,
    seed: u64,
}

impl Full {
    fn fail(&self, what: &str) -> ! {
        panic!("seed {}: {what}", self.seed)
    }

    /// What came of an operation; after a commit, if that is what it takes.
    fn result<T>(
        &mut self,
        met: &mut Met,
        what: &'static str,
        operation: &mut dyn FnMut(&mut Pool<Device>) -> Result<T, Error>,
    ) -> Option<T> {
        let mut result = operation(&mut self.pool);
        if matches!(result, Err(Error::CommitFirst)) {
            self.commit();
            result = operation(&mut self.pool);
        }
        let counts = met.0.entry(what).or_default();
        match result {
            Ok(value) => {
                counts.0 += 1;
                return Some(value);
            }
            // Refused: nothing has begun.
            Err(Error::MetadataFull) => counts.1 += 1,
            Err(error) => self.fail(&format!("{what}: {error}")),
        }
        let id = self.pool.transaction_id();
        if self.pool.set_transaction_id(id, id).is_err() {
            self.fail(&format!("{what} was given up half done"));
        }
        None
    }

    fn commit(&mut self) {
        if let Err(error) = self.pool.commit() {
            self.fail(&format!("commit: {error}"));
        }
    }

    /// A data block that was never used, far from the last.
    fn block(&mut self) -> u64 {
        self.next += 1;
        self.next * 7919 % self.data
    }

    fn step(&mut self, rng: &mut Rng, met: &mut Met) {
        let ids: Vec<u64> = self.model.keys().copied().collect();
        let id = ids.get(rng.below(ids.len().max(1) as u64) as usize).copied();
        let begin = rng.below(3000);
        match (rng.below(100), id) {
            (0..=4, _) | (_, None) => {
                let id = rng.below(1 << 24);
                if self.result(met, "create", &mut |pool| pool.create_thin(id)).is_some() {
                    self.model.insert(id, BTreeMap::new());
                }
            }
            (5..=14, Some(id)) if self.model.len() < 40 => {
                let new = rng.below(1 << 24);
                if self.result(met, "snapshot", &mut |pool| pool.create_snapshots(&[(new, id)])).is_some() {
                    self.model.insert(new, self.model[&id].clone());
                }
            }
            (15..=79, Some(id)) => {
                let count = if rng.below(8) == 0 { 1 + rng.below(200) } else { 1 + rng.below(3) };
                for key in begin..begin + count {
                    let block = self.block();
                    let run = Run { begin: block, end: block + 1 };
                    if self.result(met, "insert", &mut |pool| pool.insert(id, VirtualBlock(key), run)).is_none() {
                        break;
                    }
                    self.model.get_mut(&id).unwrap().insert(key, block);
                }
            }
            (80..=84, Some(id)) => {
                let end = begin + 1 + rng.below(300);
                let mut remove = |pool: &mut Pool<Device>| pool.remove(id, VirtualBlock(begin), VirtualBlock(end), 50);
                if let Some(removed) = self.result(met, "remove", &mut remove) {
                    let end = removed.next.map_or(end, |next| next.0);
                    self.model.get_mut(&id).unwrap().retain(|key, _| *key < begin || *key >= end);
                }
            }
            (85, Some(_)) => {
                let held = self.held;
                let mut hold = |pool: &mut Pool<Device>| match held {
                    true => pool.release_snapshot(),
                    false => pool.reserve_snapshot().map(|_| ()),
                };
                self.held ^= self.result(met, if held { "release" } else { "reserve" }, &mut hold).is_some();
            }
            (86, Some(_)) => {
                let blocks = self.pool.data_blocks() + [20_000, 10_000_000][rng.below(2) as usize];
                self.result(met, "grow data", &mut |pool| pool.grow_data(blocks));
            }
            (87, Some(_)) => {
                self.pool.store().blocks.push([0; 4096]);
                self.result(met, "grow metadata", &mut Pool::grow_metadata);
            }
            (88..=90, Some(id)) => self.delete(id, 1 + rng.below(300)),
            _ => self.commit(),
        }
    }

    /// There is always room for it.
    fn delete(&mut self, id: u64, budget: u64) {
        loop {
            match self.pool.delete(id, budget) {
                Ok(Deletion::Done) => break,
                Ok(Deletion::Unfinished) | Err(Error::CommitFirst) => self.commit(),
                Err(error) => self.fail(&format!("delete: {error}, {} blocks free", self.pool.metadata_free())),
            }
        }
        self.model.remove(&id);
    }

    fn compare(&mut self) {
        for (&id, map) in &self.model {
            let mut found = BTreeMap::new();
            let mut tell = |run: stor_pure::pure::thin::device::MappedRun| {
                found.extend((0..run.length).map(|offset| (run.begin.0 + offset, run.data.0 + offset)));
                ControlFlow::Continue(())
            };
            self.pool.runs(id, VirtualBlock(0), VirtualBlock(u64::MAX), &mut tell).unwrap();
            assert_eq!(&found, map, "seed {}, device {id}", self.seed);
        }
    }

    fn sound(&mut self) {
        self.commit();
        let mut findings = String::new();
        check(self.pool.store(), &mut |finding| findings += &format!("{finding}\n")).unwrap();
        assert!(findings.is_empty(), "seed {}:\n{findings}", self.seed);
    }
}

fn fill(seed: u64, metadata: u64, data: u64, steps: u64, met: &mut Met) {
    let mut pool = match Pool::format(Device::new(metadata as usize), OPTIONS, 128, data) {
        Ok(pool) => pool,
        Err(error) => {
            assert_eq!((error, metadata < 60), (Error::MetadataFull, true));
            return;
        }
    };
    pool.commit().unwrap();
    let mut full = Full { pool, model: Model::new(), held: false, next: 0, data, seed };
    let rng = &mut Rng::new(seed);
    for step in 0..steps {
        full.step(rng, met);
        if step % 100 == 99 {
            full.compare();
        }
    }
    full.compare();
    full.sound();
    // From its fullest on, everything can be deleted, however small the steps.
    while let Some(&id) = full.model.keys().next() {
        full.delete(id, 1 + rng.below(60));
        full.commit();
    }
    if full.held {
        full.pool.release_snapshot().unwrap();
    }
    full.sound();
    assert_eq!(full.pool.data_used(), 0);
}

#[test]
fn every_operation_meets_a_full_device() {
    let count = std::env::var("STOR_ROOM").map_or(1, |count| count.parse().unwrap());
    let mut met = Met::default();
    for round in 0..count {
        for metadata in (40 + round % 13..400).step_by(13) {
            // One bitmap, or seven.
            let data = if metadata % 2 == 0 { 16_000 } else { 110_000 };
            fill(metadata * 1000 + round, metadata, data, 200, &mut met);
        }
    }
    for (what, (done, refused)) in &met.0 {
        let often = ["create", "snapshot", "insert", "grow data"].contains(what);
        assert!(*done > 0 && (*refused > 0 || !often), "{what}: {done} done, {refused} refused");
    }
    println!("{met:?}");
}

/// How much of a device can be used by mappings in order, before they are refused.
fn used(metadata: usize) -> (u64, u64) {
    let mut pool = Pool::format(Device::new(metadata), OPTIONS, 128, metadata as u64 * 252).unwrap();
    pool.create_thin(1).unwrap();
    let mut at = 0;
    loop {
        match pool.insert(1, VirtualBlock(at), Run { begin: at, end: at + 256 }) {
            Ok(()) => at += 256,
            Err(Error::CommitFirst) => pool.commit().unwrap(),
            Err(Error::MetadataFull) => break,
            Err(error) => panic!("{error}"),
        }
    }
    pool.commit().unwrap();
    (pool.metadata_blocks(), pool.metadata_free())
}

#[test]
fn little_is_left_unused() {
    // Beyond the reserve of a tenth: what one operation and its commit can need.
    for (metadata, most) in [(512, 100), (4096, 300)] {
        let (blocks, free) = used(metadata);
        println!("{blocks} blocks, {free} free");
        assert!(free < blocks / 10 + most, "{free} of {blocks} blocks left");
    }
}
