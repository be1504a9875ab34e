// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What differs between two devices, beside a model of maps; that shared subtrees are not read; and that a metadata snapshot
//! can be read while the pool changes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::expect_used)]

#[path = "thin/memory.rs"]
mod memory;

use memory::Device;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::rc::Rc;
use stor_pure::heap::{self, Heap};
use stor_pure::pure::thin::block::{self, Block, Kind};
use stor_pure::pure::thin::check::{check, check_held};
use stor_pure::pure::thin::crc::{Crc, Portable};
use stor_pure::pure::thin::delta::{Difference, Range};
use stor_pure::pure::thin::error::Error;
use stor_pure::pure::thin::pool::{Options, Pool};
use stor_pure::pure::thin::reader::Reader;
use stor_pure::pure::thin::store::{Failed, Memory, NoMemory, Store};
use stor_pure::pure::units::{MetadataBlock, VirtualBlock};

const OPTIONS: Options = Options { frames: 512, streams: 2, passdown: false };

/// A device that several have, and that counts what is read.
#[derive(Clone)]
struct Shared(Rc<RefCell<(Device, u64)>>);

impl Shared {
    fn new(blocks: usize) -> Self {
        Self(Rc::new(RefCell::new((Device::new(blocks), 0))))
    }

    /// How many blocks have been read since it was asked last.
    fn reads(&self) -> u64 {
        std::mem::take(&mut self.0.borrow_mut().1)
    }
}

impl Memory for Shared {
    type Array<T> = Heap<T>;
    type Frame = Box<Block>;

    fn frame() -> Result<Box<Block>, NoMemory> {
        Ok(heap::frame())
    }
}

impl Crc for Shared {
    fn crc32c(bytes: &[u8]) -> u32 {
        Portable::crc32c(bytes)
    }
}

impl Store for Shared {
    fn metadata_blocks(&self) -> u64 {
        self.0.borrow().0.metadata_blocks()
    }

    fn read(&mut self, at: MetadataBlock, into: &mut Block) -> Result<(), Failed> {
        let (device, reads) = &mut *self.0.borrow_mut();
        *reads += 1;
        device.read(at, into)
    }

    fn write(&mut self, blocks: &mut dyn Iterator<Item = (MetadataBlock, &Block)>) -> Result<(), Failed> {
        self.0.borrow_mut().0.write(blocks)
    }

    fn flush(&mut self) -> Result<(), Failed> {
        Ok(())
    }

    fn flush_data(&mut self) -> Result<(), Failed> {
        Ok(())
    }
}

type Map = BTreeMap<u64, u64>;

/// What differs, block by block.
fn expected(from: &Map, to: &Map, same: bool) -> Vec<(u64, Difference)> {
    let keys: BTreeSet<u64> = from.keys().chain(to.keys()).copied().collect();
    let compare = |key: &u64| match (from.get(key), to.get(key)) {
        (Some(one), Some(other)) if one == other => Difference::Same,
        (Some(_), Some(_)) => Difference::Changed,
        (Some(_), None) => Difference::Removed,
        _ => Difference::Added,
    };
    keys.iter().map(|key| (*key, compare(key))).filter(|(_, found)| same || *found != Difference::Same).collect()
}

fn ranges<S: Store>(reader: &mut Reader<S>, from: u64, to: u64, same: bool) -> Result<Vec<Range>, Error> {
    let mut ranges = Vec::new();
    reader.delta(from, to, same, &mut |range| {
        ranges.push(range);
        ControlFlow::Continue(())
    })?;
    Ok(ranges)
}

/// The same block by block; the ranges must be as long as they can be.
fn blocks(ranges: &[Range]) -> Vec<(u64, Difference)> {
    for pair in ranges.windows(2) {
        let end = pair[0].begin.0 + pair[0].length;
        assert!(
            end < pair[1].begin.0 || (end == pair[1].begin.0 && pair[0].difference != pair[1].difference),
            "{pair:?}"
        );
    }
    ranges.iter().flat_map(|range| (0..range.length).map(|index| (range.begin.0 + index, range.difference))).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Write { device: usize, begin: u64, length: u64 },
    Discard { device: usize, begin: u64, length: u64 },
    Snapshot { origin: usize },
    Commit,
}

fn step() -> impl Strategy<Value = Step> {
    let place = || (any::<usize>(), 0..5000u64, prop_oneof![4 => 1..40u64, 1 => 1..3000u64]);
    prop_oneof![
        8 => place().prop_map(|(device, begin, length)| Step::Write { device, begin, length }),
        2 => place().prop_map(|(device, begin, length)| Step::Discard { device, begin, length }),
        2 => any::<usize>().prop_map(|origin| Step::Snapshot { origin }),
        1 => Just(Step::Commit),
    ]
}

fn write(pool: &mut Pool<Shared>, id: u64, begin: u64, length: u64, map: &mut Map) {
    let mut done = 0;
    while done < length {
        match pool.take_data(0, length - done) {
            Ok(run) => {
                pool.insert(id, VirtualBlock(begin + done), run).unwrap();
                for index in 0..run.len() {
                    map.insert(begin + done + index, run.begin + index);
                }
                done += run.len();
            }
            Err(Error::CommitFirst) => pool.commit().unwrap(),
            Err(error) => panic!("{error}"),
        }
    }
}

fn apply(pool: &mut Pool<Shared>, maps: &mut Vec<Map>, step: &Step) {
    match *step {
        Step::Write { device, begin, length } => {
            let id = device % maps.len();
            write(pool, id as u64, begin, length, &mut maps[id]);
        }
        Step::Discard { device, begin, length } => {
            let id = device % maps.len();
            let end = VirtualBlock(begin + length);
            let mut next = Some(VirtualBlock(begin));
            while let Some(begin) = next {
                next = pool.remove(id as u64, begin, end, 10_000).unwrap().next;
            }
            maps[id].retain(|key, _| *key < begin || *key >= begin + length);
        }
        Step::Snapshot { origin } if maps.len() < 8 => {
            let origin = origin % maps.len();
            pool.create_snapshots(&[(maps.len() as u64, origin as u64)]).unwrap();
            maps.push(maps[origin].clone());
        }
        Step::Snapshot { .. } => {}
        Step::Commit => pool.commit().unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn delta_is_what_the_maps_say(steps in prop::collection::vec(step(), 1..60)) {
        let device = Shared::new(4096);
        let mut pool = Pool::format(device.clone(), OPTIONS, 128, 120_000).unwrap();
        let mut maps = vec![Map::new(); 2];
        pool.create_thin(0).unwrap();
        pool.create_thin(1).unwrap();
        for step in &steps {
            apply(&mut pool, &mut maps, step);
        }
        pool.commit().unwrap();
        let mut reader = Reader::open(device, 64, false).unwrap();
        for from in 0..maps.len() {
            for to in 0..maps.len() {
                for same in [false, true] {
                    let found = ranges(&mut reader, from as u64, to as u64, same).unwrap();
                    prop_assert_eq!(blocks(&found), expected(&maps[from], &maps[to], same), "{} {}", from, to);
                }
            }
        }
    }

    /// What a metadata snapshot holds stays as it was, and sound, whatever the pool does.
    #[test]
    fn held_trees_can_be_read_while_the_pool_changes(
        before in prop::collection::vec(step(), 1..30),
        after in prop::collection::vec(step(), 1..40),
    ) {
        let device = Shared::new(4096);
        let mut pool = Pool::format(device.clone(), OPTIONS, 128, 200_000).unwrap();
        let mut maps = vec![Map::new(); 2];
        pool.create_thin(0).unwrap();
        pool.create_thin(1).unwrap();
        for step in &before {
            apply(&mut pool, &mut maps, step);
        }
        pool.commit().unwrap();
        prop_assert_eq!(check_held(&mut device.clone(), &mut |_| ()), Err(Error::NotHeld));
        pool.reserve_snapshot().unwrap();
        let held = maps.clone();
        // Opened now, and read as the pool goes on.
        let mut reader = Reader::open(device.clone(), 64, true).unwrap();
        for step in &after {
            apply(&mut pool, &mut maps, step);
            pool.commit().unwrap();
            let mut findings = Vec::new();
            let summary = check_held(&mut device.clone(), &mut |finding| findings.push(finding)).unwrap();
            prop_assert_eq!(findings, vec![]);
            prop_assert_eq!(summary.devices, held.len() as u64);
            let found = ranges(&mut reader, 0, 1, false).unwrap();
            prop_assert_eq!(blocks(&found), expected(&held[0], &held[1], false));
        }
        let mut findings = Vec::new();
        check(&mut device.clone(), &mut |finding| findings.push(finding)).unwrap();
        prop_assert_eq!(findings, vec![]);
    }
}

/// A volume of 60,000 blocks, written in no order, and its snapshot.
fn large(device: &Shared) -> (Pool<Shared>, Map) {
    let mut pool = Pool::format(device.clone(), OPTIONS, 128, 500_000).unwrap();
    let mut map = Map::new();
    pool.create_thin(0).unwrap();
    for index in 0..6_000 {
        write(&mut pool, 0, index * 7_919 % 6_000 * 10, 10, &mut map);
    }
    pool.create_snapshots(&[(1, 0)]).unwrap();
    pool.commit().unwrap();
    (pool, map)
}

/// The cost follows the difference: of about 400 leaves few are read.
#[test]
fn what_is_shared_is_not_read() {
    let device = Shared::new(16_384);
    let (mut pool, mut map) = large(&device);
    let mut reader = Reader::open(device.clone(), 64, false).unwrap();
    device.reads();
    assert_eq!(ranges(&mut reader, 0, 1, false), Ok(vec![]));
    assert!(device.reads() <= 2, "the tree of devices is enough");
    for change in 1..6 {
        write(&mut pool, 0, change * 9_000, 3, &mut map);
        if change == 3 {
            // Whole leaves go, and their neighbours are filled up from others.
            pool.remove(0, VirtualBlock(30_000), VirtualBlock(32_000), 10_000).unwrap();
        }
        pool.commit().unwrap();
        let mut reader = Reader::open(device.clone(), 64, false).unwrap();
        device.reads();
        let found = ranges(&mut reader, 1, 0, false).unwrap();
        let reads = device.reads();
        let most = 20 + 20 * change + if change >= 3 { 60 } else { 0 };
        assert!(found.len() as u64 >= change && reads < most, "{} ranges, {reads} blocks read", found.len());
    }
}

#[test]
fn it_stops_when_told() {
    let device = Shared::new(16_384);
    let (mut pool, _) = large(&device);
    pool.create_thin(2).unwrap();
    pool.commit().unwrap();
    let mut reader = Reader::open(device.clone(), 64, false).unwrap();
    device.reads();
    let mut told = 0;
    reader
        .delta(2, 0, false, &mut |_| {
            told += 1;
            ControlFlow::Break(())
        })
        .unwrap();
    assert_eq!(told, 1);
    // All of it is one range: that shows at its end only. With what is the same there are others before.
    assert_eq!(ranges(&mut reader, 0, 99, false), Err(Error::NoDevice(99)));
}

/// Whatever a node is replaced by: an answer or an error, in the end.
#[test]
fn any_node_of_garbage() {
    let device = Shared::new(4096);
    let mut pool = Pool::format(device.clone(), OPTIONS, 128, 20_000).unwrap();
    let mut map = Map::new();
    pool.create_thin(0).unwrap();
    for index in 0..600 {
        write(&mut pool, 0, index * 7 % 600 * 4, 3, &mut map);
    }
    pool.create_snapshots(&[(1, 0)]).unwrap();
    write(&mut pool, 1, 500, 900, &mut map);
    pool.commit().unwrap();
    let sound = ranges(&mut Reader::open(device.clone(), 64, false).unwrap(), 0, 1, true).unwrap();
    let blocks: Vec<Block> = device.0.borrow().0.blocks.clone();
    let nodes: Vec<usize> =
        (0..blocks.len()).filter(|&at| block::kind::<Shared>(&blocks[at]) == Some(Kind::Node)).collect();
    let (mut wrong, mut harmless) = (0, 0);
    for &at in &nodes {
        // Another node in its place; a key that is too large; no entries; a child that is its parent.
        for way in 0..4 {
            let mut new = blocks[if way == 0 { nodes[(at * 7) % nodes.len()] } else { at }];
            match way {
                1 => new[32 + 6] = 1,
                2 => new[16..20].fill(0),
                3 => new[32 + 252 * 8..][..8].copy_from_slice(&(at as u64).to_le_bytes()),
                _ => {}
            }
            block::stamp::<Shared>(&mut new, Kind::Node, MetadataBlock(at as u64));
            device.0.borrow_mut().0.blocks[at] = new;
            let found = Reader::open(device.clone(), 64, false).and_then(|mut reader| ranges(&mut reader, 0, 1, true));
            match found {
                Ok(found) if found == sound => harmless += 1,
                _ => wrong += 1,
            }
            device.0.borrow_mut().0.blocks[at] = blocks[at];
        }
    }
    assert!(wrong > 20 && harmless > 0, "{wrong} {harmless}");
}
