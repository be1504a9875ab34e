// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Metadata that is built is what it was told to be, sound to the strict checker, and never there in part.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "thin/memory.rs"]
mod memory;

use memory::Device;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use stor_pure::heap::{self, Heap};
use stor_pure::pure::thin::block::{Block, BLOCK_SIZE};
use stor_pure::pure::thin::build::{Builder, Built, Geometry, Group, Refusal};
use stor_pure::pure::thin::check::check;
use stor_pure::pure::thin::crc::{Crc, Portable};
use stor_pure::pure::thin::data::Run;
use stor_pure::pure::thin::pool::{Options, Pool};
use stor_pure::pure::thin::reader::Reader;
use stor_pure::pure::thin::store::{Failed, Memory, NoMemory, Store};
use stor_pure::pure::thin::value::Details;
use stor_pure::pure::units::{MetadataBlock, VirtualBlock};

const GEOMETRY: Geometry = Geometry { time: 5, transaction_id: 9, data_block_size: 128, data_blocks: 100_000 };

fn details(snapshotted: u32) -> Details {
    Details {
        mapped_blocks: 0.into(),
        transaction_id: 3.into(),
        creation_time: 1.into(),
        snapshotted_time: snapshotted.into(),
    }
}

/// A device in memory that can be shared, and whose writes begin to fail.
struct Shared<'a> {
    device: &'a mut Device,
    left: usize,
}

impl Memory for Shared<'_> {
    type Array<T> = Heap<T>;
    type Frame = Box<Block>;

    fn frame() -> Result<Box<Block>, NoMemory> {
        Ok(heap::frame())
    }
}

impl Crc for Shared<'_> {
    fn crc32c(bytes: &[u8]) -> u32 {
        Portable::crc32c(bytes)
    }
}

impl Store for Shared<'_> {
    fn metadata_blocks(&self) -> u64 {
        self.device.metadata_blocks()
    }

    fn read(&mut self, at: MetadataBlock, into: &mut Block) -> Result<(), Failed> {
        self.device.read(at, into)
    }

    fn write(&mut self, blocks: &mut dyn Iterator<Item = (MetadataBlock, &Block)>) -> Result<(), Failed> {
        for block in blocks {
            self.left = self.left.checked_sub(1).ok_or(Failed)?;
            self.device.write(&mut [block].into_iter())?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failed> {
        self.left = self.left.checked_sub(1).ok_or(Failed)?;
        Ok(())
    }

    fn flush_data(&mut self) -> Result<(), Failed> {
        Ok(())
    }
}

/// What a group or device is made of.
#[derive(Clone, Debug)]
enum Part {
    /// So many mappings in a row, behind a gap.
    Run(u64, u64),
    /// One of the groups before.
    Refer(usize),
}

#[derive(Clone, Debug)]
struct Plan {
    /// Groups lie one behind the other, so that any of them in order can be referred to.
    groups: Vec<Vec<u64>>,
    devices: Vec<Vec<Part>>,
}

/// The blocks and data blocks of each device.
type Model = BTreeMap<u64, Vec<(u64, u64)>>;

const FAR: u64 = 1 << 20;

/// Tells a builder a plan; what each device is to map.
fn tell<S: Store>(builder: &mut Builder<S>, plan: &Plan) -> Result<Model, Refusal> {
    let mut model = BTreeMap::new();
    let mut data = 0;
    let mut take = |length: u64| {
        let run = Run { begin: data % 90_000, end: data % 90_000 + length };
        data += length + 1;
        run
    };
    let mut groups: Vec<(Group, Vec<(u64, u64)>)> = Vec::new();
    for (index, runs) in plan.groups.iter().enumerate() {
        let (mut next, mut entries) = ((index as u64 + 1) * FAR, Vec::new());
        for length in runs {
            let run = take(*length);
            builder.group_run(next, run, 0)?;
            entries.extend((0..*length).map(|offset| (next + offset, run.begin + offset)));
            next += length + 1;
        }
        groups.push((builder.end_group()?, entries));
    }
    for (id, parts) in plan.devices.iter().enumerate() {
        let (mut next, mut entries, mut least) = (0, Vec::new(), 0);
        for part in parts {
            match part {
                Part::Run(gap, length) => {
                    let run = take(*length);
                    next += gap;
                    builder.run(next, run, 0)?;
                    entries.extend((0..*length).map(|offset| (next + offset, run.begin + offset)));
                    next += length;
                }
                Part::Refer(index) => {
                    let Some((group, shared)) = groups.get(*index).filter(|_| *index >= least) else { continue };
                    least = index + 1;
                    builder.refer(*group)?;
                    entries.extend(shared);
                    next = (*index as u64 + 1) * FAR + FAR / 2;
                }
            }
        }
        assert_eq!(builder.end_device(id as u64 * 3, details(5))?, entries.len() as u64);
        model.insert(id as u64 * 3, entries);
    }
    Ok(model)
}

fn contents(device: &mut Device) -> Model {
    let store = Shared { device, left: 0 };
    let mut reader = Reader::open(store, 64, false).unwrap();
    let (mut devices, mut found) = (Vec::new(), BTreeMap::new());
    reader
        .devices(&mut |device| {
            devices.push(device);
            ControlFlow::Continue(())
        })
        .unwrap();
    for device in devices {
        let (mut leaves, mut entries) = (Vec::new(), Vec::new());
        reader.leaves(device.root, &mut |leaf| leaves.push(leaf)).unwrap();
        for leaf in leaves {
            reader.leaf(leaf, &mut |block, mapping| entries.push((block.0, mapping.block.0))).unwrap();
        }
        assert_eq!(device.details.mapped_blocks.get(), entries.len() as u64);
        assert_eq!(device.details.transaction_id.get(), 3);
        found.insert(device.id, entries);
    }
    found
}

fn sound(device: &mut Device) {
    let mut findings = String::new();
    check(device, &mut |finding| findings += &format!("{finding}\n")).unwrap();
    assert!(findings.is_empty(), "{findings}");
    // The engine opens it and goes on.
    let shared = Shared { device, left: usize::MAX };
    let mut pool = Pool::open(shared, Options { frames: 128, streams: 1, passdown: false }).unwrap();
    assert_eq!((pool.time(), pool.transaction_id(), pool.data_blocks()), (5, 9, 100_000));
    pool.create_thin(1).unwrap();
    let run = pool.take_data(0, 3).unwrap();
    pool.insert(1, VirtualBlock(7), run).unwrap();
    pool.commit().unwrap();
    pool.close();
    check(device, &mut |finding| findings += &format!("{finding}\n")).unwrap();
    assert!(findings.is_empty(), "{findings}");
}

fn build(device: &mut Device, plan: &Plan, left: usize) -> Result<(Built, Model), Refusal> {
    let mut builder = Builder::new(Shared { device, left }, GEOMETRY, true)?;
    let model = tell(&mut builder, plan)?;
    Ok((builder.commit()?, model))
}

#[test]
fn every_number_of_mappings_around_a_full_node() {
    let counts =
        [0, 1, 83, 84, 85, 168, 251, 252, 253, 335, 336, 337, 504, 505, 588, 756, 757, 252 * 252, 252 * 252 + 1];
    for count in counts {
        let parts = if count == 0 { vec![] } else { vec![Part::Run(0, count)] };
        let plan = Plan { groups: vec![], devices: vec![parts, vec![]] };
        let mut device = Device::new(2048);
        let (built, model) = build(&mut device, &plan, usize::MAX).unwrap();
        assert_eq!((built.devices, built.mappings, built.data, built.shared), (2, count, count, 0));
        assert_eq!(contents(&mut device), model, "{count}");
        sound(&mut device);
    }
}

#[test]
fn devices_that_are_the_same_share_their_root() {
    // Two levels of nodes above the leaves.
    let plan = Plan { groups: vec![vec![70_000]], devices: vec![vec![Part::Refer(0)]; 60] };
    let mut device = Device::new(2048);
    let (built, model) = build(&mut device, &plan, usize::MAX).unwrap();
    assert_eq!(contents(&mut device), model);
    assert_eq!((built.shared, built.mappings, built.data), (0, 60 * 70_000, 70_000));
    let one = Plan { devices: plan.devices[..1].to_vec(), ..plan };
    let (alone, _) = build(&mut Device::new(2048), &one, usize::MAX).unwrap();
    assert_eq!(built.metadata, alone.metadata);
    sound(&mut device);
}

#[test]
fn what_is_needed_is_exact() {
    let plan = Plan {
        groups: vec![vec![300], vec![20], vec![1000]],
        devices: vec![vec![Part::Run(5, 500), Part::Refer(0), Part::Refer(1), Part::Refer(2)]; 4],
    };
    let (built, model) = build(&mut Device::new(4096), &plan, usize::MAX).unwrap();
    let mut enough = Device::new(built.needed as usize);
    build(&mut enough, &plan, usize::MAX).unwrap();
    assert_eq!(contents(&mut enough), model);
    let mut short = Device::new(built.needed as usize - 1);
    let refusal = build(&mut short, &plan, usize::MAX).map(|_| ());
    assert_eq!(refusal, Err(Refusal::Small { needed: built.needed, blocks: built.needed - 1 }));
    assert_eq!(short.blocks[0], [0; BLOCK_SIZE]);
    // It is told when next to nothing is there, too; what is copied from leaves that are not there is allowed for.
    match build(&mut Device::new(1), &plan, usize::MAX) {
        Err(Refusal::Small { needed, blocks: 1 }) => assert!((built.needed..built.needed + 12).contains(&needed)),
        other => panic!("{other:?}"),
    }
    // And if nothing is to be written.
    let mut device = Device::new(4096);
    let mut builder = Builder::new(Shared { device: &mut device, left: 0 }, GEOMETRY, false).unwrap();
    tell(&mut builder, &plan).unwrap();
    let dry = builder.commit().unwrap();
    assert_eq!((dry.mappings, dry.metadata), (built.mappings, built.metadata));
}

#[test]
fn nothing_can_be_opened_after_a_failure() {
    let plan = Plan { groups: vec![vec![2000]], devices: vec![vec![Part::Run(5, 500), Part::Refer(0)]; 3] };
    let mut left = 0;
    loop {
        let mut device = Device::new(2048);
        match build(&mut device, &plan, left) {
            Ok(_) => break sound(&mut device),
            Err(_) => {
                // The superblock is written, flushed: only that flush can fail with it there.
                let opens = Reader::open(Shared { device: &mut device, left: 0 }, 64, false).is_ok();
                assert!(!opens || contents(&mut device).len() == 3, "after {left} requests");
                left += 1;
            }
        }
    }
    assert!(left > 30);
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |tell: &dyn Fn(&mut Builder<Device>) -> Result<(), Refusal>| {
        let mut builder = Builder::new(Device::new(64), GEOMETRY, true).unwrap();
        tell(&mut builder).unwrap_err().to_string()
    };
    let run = Run { begin: 0, end: 10 };
    let cases = [
        (refused(&|b| b.run(5, run, 0).and_then(|()| b.run(14, run, 0))), "block 14 comes after block 14"),
        (refused(&|b| b.run(u64::MAX, run, 0)), "a run of no blocks, or of more"),
        (refused(&|b| b.run(0, Run { begin: 5, end: 5 }, 0)), "a run of no blocks"),
        (refused(&|b| b.run(0, Run { begin: 99_999, end: 100_001 }, 0)), "data block 100000: the pool has 100000"),
        (refused(&|b| b.run(0, run, 6)), "time 6 is ahead of the pool's, which is 5"),
        (refused(&|b| b.end_device(1 << 24, details(0)).map(drop)), "16777216 is no device id"),
        (refused(&|b| b.end_device(1, details(6)).map(drop)), "time 6 is ahead"),
        (
            refused(&|b| {
                b.end_device(2, details(0))?;
                b.end_device(1, details(0))?;
                b.end_device(2, details(0)).map(drop)
            }),
            "there is a thin device 2 already",
        ),
    ];
    for (message, begin) in cases {
        assert!(message.starts_with(begin), "{message}");
    }
    for geometry in [
        Geometry { data_blocks: 0, ..GEOMETRY },
        Geometry { data_blocks: u64::MAX, ..GEOMETRY },
        Geometry { data_block_size: 100, ..GEOMETRY },
        Geometry { time: 1 << 24, ..GEOMETRY },
    ] {
        assert!(Builder::new(Device::new(64), geometry, true).is_err(), "{geometry:?}");
    }
}

#[test]
fn a_block_that_is_mapped_very_often() {
    let mut device = Device::new(2048);
    let mut builder = Builder::new(Shared { device: &mut device, left: usize::MAX }, GEOMETRY, true).unwrap();
    for time in 0..700 {
        builder.run(time * 2, Run { begin: 16_319, end: 16_321 - u64::from(time % 2 == 0) }, 0).unwrap();
    }
    builder.end_device(3, details(5)).unwrap();
    let built = builder.commit().unwrap();
    assert_eq!((built.mappings, built.data), (1050, 2));
    sound(&mut device);
}

fn plans() -> impl Strategy<Value = Plan> {
    let group = prop::collection::vec(prop_oneof![1..90u64, 1..700u64], 0..4);
    let part = prop_oneof![
        (0..5u64, 1..90u64).prop_map(|(gap, length)| Part::Run(gap, length)),
        (0..5u64, 1..600u64).prop_map(|(gap, length)| Part::Run(gap, length)),
        (0..8usize).prop_map(Part::Refer),
        (0..8usize).prop_map(Part::Refer),
    ];
    let device = prop::collection::vec(part, 0..10);
    (prop::collection::vec(group, 0..8), prop::collection::vec(device, 0..6))
        .prop_map(|(groups, devices)| Plan { groups, devices })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_groups_and_devices(plan in plans()) {
        let mut device = Device::new(2048);
        let (built, model) = build(&mut device, &plan, usize::MAX).unwrap();
        prop_assert_eq!(contents(&mut device), model);
        // Told to nothing, it would be the same.
        let mut other = Device::new(2048);
        let mut builder = Builder::new(Shared { device: &mut other, left: 0 }, GEOMETRY, false).unwrap();
        tell(&mut builder, &plan).unwrap();
        let dry = builder.commit().unwrap();
        prop_assert_eq!((dry.devices, dry.mappings, dry.shared), (built.devices, built.mappings, built.shared));
        prop_assert!(dry.needed >= built.needed);
        sound(&mut device);
    }
}
