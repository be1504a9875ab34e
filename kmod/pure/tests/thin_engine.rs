// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Random operations on the metadata engine beside a model of maps; thin_check, where it is there, is asked too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::expect_used)]

#[path = "thin/memory.rs"]
mod memory;
#[path = "thin/rng.rs"]
mod rng;

use memory::Device;
use rng::Rng;
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use stor_pure::pure::thin::block::BLOCK_SIZE;
use stor_pure::pure::thin::check::check;
use stor_pure::pure::thin::device::{Deletion, Usage};
use stor_pure::pure::thin::error::Error;
use stor_pure::pure::thin::pool::{Options, Pool};
use stor_pure::pure::units::VirtualBlock;

const OPTIONS: Options = Options { frames: 256, streams: 2, passdown: false };

type Model = BTreeMap<u64, BTreeMap<u64, u64>>;

fn compare(pool: &mut Pool<Device>, model: &Model, held: Option<&Model>) {
    for (&id, map) in model {
        let mut found = BTreeMap::new();
        pool.runs(id, VirtualBlock(0), VirtualBlock(u64::MAX), &mut |run| {
            for offset in 0..run.length {
                found.insert(run.begin.0 + offset, run.data.0 + offset);
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(&found, map, "device {id}");
        assert_eq!(pool.details(id).unwrap().mapped_blocks.get(), map.len() as u64);
    }
    let mut users: BTreeMap<u64, u64> = BTreeMap::new();
    for block in model.values().chain(held.into_iter().flat_map(BTreeMap::values)).flat_map(BTreeMap::values) {
        *users.entry(*block).or_default() += 1;
    }
    assert_eq!(pool.data_used(), users.len() as u64);
    for (&id, map) in model {
        let own = map.values().filter(|block| users[block] == 1).count();
        let (mapped, exclusive) = (map.len() as u64, own as u64);
        let usage = Usage { mapped, shared: mapped - exclusive, exclusive };
        assert_eq!(pool.usage(id).unwrap(), usage, "device {id}");
    }
}

/// Our checker and, beside the test because it sleeps for half a second whatever it reads, thin_check.
#[derive(Default)]
struct Checkers {
    asked: u64,
    running: VecDeque<(Child, PathBuf)>,
}

impl Checkers {
    fn ask(&mut self, device: &mut Device, what: &str) {
        let mut findings = String::new();
        check(device, &mut |finding| findings += &format!("{finding}\n")).unwrap();
        assert!(findings.is_empty(), "{what}:\n{findings}");
        let Ok(program) = std::env::var("STOR_THIN_CHECK") else { return };
        // Tests run side by side.
        let thread = std::thread::current();
        let name =
            format!("stor-thin-{}-{}-{}-{what}", std::process::id(), thread.name().unwrap_or_default(), self.asked);
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, device.blocks.concat()).unwrap();
        let child = Command::new(program).arg(&path).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        self.running.push_back((child, path));
        self.asked += 1;
        self.wait(8);
    }

    /// Wait until at most so many are running.
    fn wait(&mut self, most: usize) {
        while self.running.len() > most {
            let (child, path) = self.running.pop_front().unwrap();
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
            std::fs::remove_file(path).unwrap();
        }
    }
}

fn run(seed: u64, steps: u64) {
    let mut rng = Rng::new(seed);
    let mut pool = Pool::format(Device::new(4096), OPTIONS, 128, 20_000).unwrap();
    pool.commit().unwrap();
    let mut checkers = Checkers::default();
    checkers.ask(pool.store(), "format");
    let mut model = Model::new();
    let mut held = None;
    let mut committed = model.clone();
    for step in 0..steps {
        let ids: Vec<u64> = model.keys().copied().collect();
        let pick = |rng: &mut Rng| (!ids.is_empty()).then(|| ids[rng.below(ids.len() as u64) as usize]);
        match rng.below(100) {
            0..=2 if model.len() < 12 => {
                let id = rng.below(40);
                match pool.create_thin(id) {
                    Ok(()) => assert!(model.insert(id, BTreeMap::new()).is_none()),
                    Err(Error::DeviceExists(other)) => assert!(other == id && model.contains_key(&id)),
                    Err(error) => panic!("{error}"),
                }
            }
            3..=5 if model.len() < 12 => {
                let (Some(origin), id) = (pick(&mut rng), rng.below(40)) else { continue };
                match pool.create_snapshots(&[(id, origin)]) {
                    Ok(()) => {
                        let map = model[&origin].clone();
                        assert!(model.insert(id, map).is_none());
                    }
                    Err(Error::DeviceExists(other)) => assert!(other == id && model.contains_key(&id)),
                    Err(error) => panic!("{error}"),
                }
            }
            6..=7 => {
                let Some(id) = pick(&mut rng) else { continue };
                while pool.delete(id, 1 + rng.below(600)).unwrap() == Deletion::Unfinished {
                    if rng.below(3) == 0 {
                        pool.commit().unwrap();
                        checkers.ask(pool.store(), "delete");
                        committed = model.clone();
                        committed.remove(&id);
                    }
                }
                model.remove(&id);
                pool.commit().unwrap();
                committed = model.clone();
            }
            8..=17 => {
                let Some(id) = pick(&mut rng) else { continue };
                let begin = rng.below(6000);
                let most = if rng.below(4) == 0 { 6000 } else { 50 };
                let end = begin + 1 + rng.below(most);
                let (mut removed, mut next) = (0, Some(VirtualBlock(begin)));
                while let Some(begin) = next {
                    let part = pool.remove(id, begin, VirtualBlock(end), 1 + rng.below(700)).unwrap();
                    (removed, next) = (removed + part.blocks, part.next);
                }
                let map = model.get_mut(&id).unwrap();
                let before = map.len();
                map.retain(|key, _| *key < begin || *key >= end);
                assert_eq!(removed, (before - map.len()) as u64);
            }
            18..=85 => {
                let Some(id) = pick(&mut rng) else { continue };
                let run = match pool.take_data(rng.below(2) as usize, 1 + rng.below(64)) {
                    Ok(run) => run,
                    Err(Error::CommitFirst) => {
                        pool.commit().unwrap();
                        committed = model.clone();
                        continue;
                    }
                    Err(Error::DataFull) => continue,
                    Err(error) => panic!("{error}"),
                };
                if rng.below(10) == 0 {
                    pool.give_back(run).unwrap();
                    continue;
                }
                let begin = rng.below(6000);
                pool.insert(id, VirtualBlock(begin), run).unwrap();
                let map = model.get_mut(&id).unwrap();
                for offset in 0..run.len() {
                    map.insert(begin + offset, run.begin + offset);
                }
            }
            86..=87 => {
                if held.is_none() {
                    pool.reserve_snapshot().unwrap();
                    assert!(matches!(pool.reserve_snapshot(), Err(Error::Held(_))));
                    held = Some(model.clone());
                } else {
                    pool.release_snapshot().unwrap();
                    assert_eq!(pool.release_snapshot(), Err(Error::NotHeld));
                    held = None;
                }
                committed = model.clone();
                checkers.ask(pool.store(), "held");
            }
            88..=89 => {
                pool.abort().unwrap();
                model = committed.clone();
            }
            90..=91 => {
                pool = Pool::open(pool.close(), OPTIONS).unwrap();
                model = committed.clone();
            }
            _ => {
                pool.commit().unwrap();
                committed = model.clone();
                if rng.below(8) == 0 {
                    checkers.ask(pool.store(), "commit");
                }
            }
        }
        if step % 50 == 0 {
            compare(&mut pool, &model, held.as_ref());
        }
    }
    pool.commit().unwrap();
    compare(&mut pool, &model, held.as_ref());
    checkers.ask(pool.store(), "end");
    checkers.wait(0);
    let mut pool = Pool::open(pool.close(), OPTIONS).unwrap();
    compare(&mut pool, &model, held.as_ref());
}

#[test]
fn a_model_agrees() {
    for seed in 1..4 {
        run(seed, 2000);
    }
}

/// A metadata device of several bitmaps: what each says is right from the beginning, after growth, and when it is changed
/// again after it has fallen out of the cache.
#[test]
fn many_bitmaps_agree_with_the_counts() {
    let few = Options { frames: 64, ..OPTIONS };
    let mut pool = Pool::format(Device::new(50_000), few, 128, 100_000).unwrap();
    pool.commit().unwrap();
    let mut checkers = Checkers::default();
    checkers.ask(pool.store(), "format");
    pool.create_thin(1).unwrap();
    pool.commit().unwrap();
    let mut rng = Rng::new(42);
    for round in 0..60 {
        for _ in 0..rng.below(300) {
            let run = pool.take_data(0, 1).unwrap();
            pool.insert(1, VirtualBlock(rng.below(1 << 30)), run).unwrap();
        }
        if round % 7 == 3 {
            pool.create_snapshots(&[(100 + round, 1)]).unwrap();
        }
        pool.commit().unwrap();
        if round % 10 == 9 {
            checkers.ask(pool.store(), "inserts");
        }
        if round == 30 {
            pool.store().blocks.resize(70_000, [0; BLOCK_SIZE]);
            pool.grow_metadata().unwrap();
            pool.commit().unwrap();
            checkers.ask(pool.store(), "growth");
        }
    }
    checkers.wait(0);
    let free = pool.metadata_free();
    let pool = Pool::open(pool.close(), few).unwrap();
    assert_eq!(pool.metadata_free(), free);
}
