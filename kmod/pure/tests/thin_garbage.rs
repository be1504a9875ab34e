// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Blocks whose checksums are right and whose contents are not: whatever they say, nothing panics, overflows or goes round for
//! ever. Everything public is tried on them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "thin/memory.rs"]
mod memory;
#[path = "thin/rng.rs"]
mod rng;

use memory::Device;
use rng::Rng;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use stor_pure::pure::thin::block::{self, Block, Kind};
use stor_pure::pure::thin::check::check;
use stor_pure::pure::thin::data::Run;
use stor_pure::pure::thin::error::Error;
use stor_pure::pure::thin::pool::{Options, Pool};
use stor_pure::pure::thin::reader::Reader;
use stor_pure::pure::units::{DataBlock, MetadataBlock, VirtualBlock};

const OPTIONS: Options = Options { frames: 64, streams: 2, passdown: true };

/// All kinds of blocks: trees of three levels, large counts of data and of metadata, a metadata snapshot.
fn sound() -> Device {
    let mut pool = Pool::format(Device::new(400), OPTIONS, 128, 40_000).unwrap();
    pool.commit().unwrap();
    pool.create_thin(1).unwrap();
    for begin in (0..9000).step_by(60) {
        let run = pool.take_data(0, 60).unwrap();
        pool.insert(1, VirtualBlock(begin), run).unwrap();
    }
    pool.create_snapshots(&[(2, 1), (3, 1), (4, 1), (5, 1)]).unwrap();
    pool.commit().unwrap();
    for id in 1..5 {
        // Each its own leaves, of the same data blocks.
        let run = pool.take_data(1, 1).unwrap();
        pool.insert(id, VirtualBlock(100), run).unwrap();
        pool.commit().unwrap();
    }
    pool.reserve_snapshot().unwrap();
    let run = pool.take_data(1, 5).unwrap();
    pool.insert(3, VirtualBlock(20_000), run).unwrap();
    pool.commit().unwrap();
    pool.close()
}

/// A number that is likely to be the wrong one.
fn number(rng: &mut Rng, blocks: u64) -> u64 {
    match rng.below(8) {
        0 => u64::MAX,
        1 => 0,
        2 => u64::MAX - rng.below(3),
        3 => 1 << rng.below(64),
        4 => (rng.below(50_000) << 24) | rng.below(4),
        5 => rng.next(),
        _ => rng.below(blocks),
    }
}

fn set(block: &mut Block, offset: usize, value: u64, bytes: usize) {
    if let Some(place) = block.get_mut(offset..offset + bytes) {
        place.copy_from_slice(&value.to_le_bytes()[..bytes]);
    }
}

/// Spoils a block, but not its checksum.
fn spoil(rng: &mut Rng, device: &mut Device, used: &[(u64, Kind)]) {
    let (at, kind) = used[rng.below(used.len() as u64) as usize];
    let others = device.blocks.len() as u64;
    let other = device.blocks[used[rng.below(used.len() as u64) as usize].0 as usize];
    let block = &mut device.blocks[at as usize];
    match kind {
        Kind::Superblock => {
            // Roots, sizes, counts; what it takes to be refused is tested elsewhere.
            let offset = [44, 48, 56, 64, 72, 80, 88, 192, 200, 208, 216, 320, 328][rng.below(13) as usize];
            let value = number(rng, others);
            set(block, offset, value, if offset == 44 { 3 } else { 8 });
        }
        Kind::Node => match rng.below(8) {
            0 => set(block, 16, rng.below(400), 4),
            1 => set(block, 4, 1 + rng.below(2), 4),
            2 => *block = other,
            _ => {
                let entries = u64::from(block[16]) + 256 * u64::from(block[17]);
                let room = usize::from(block[20]) + 256 * usize::from(block[21]);
                let size = usize::from(block[24]);
                let same = rng.below(4) == 0;
                let value = number(rng, others);
                for _ in 0..1 + rng.below(3) {
                    let index = rng.below(entries.max(1)) as usize;
                    let what = number(rng, others);
                    if rng.below(4) == 0 {
                        set(block, 32 + 8 * index, what, 8);
                    } else {
                        set(block, 32 + 8 * room + size * index, what, size.min(8));
                    }
                }
                if same {
                    // Every child the same, perhaps itself: a tree that has no end.
                    let value = if rng.below(2) == 0 { at } else { value };
                    for index in 0..entries as usize {
                        set(block, 32 + 8 * room + size * index, value, size.min(8));
                    }
                }
            }
        },
        Kind::Bitmap | Kind::Index => {
            for _ in 0..1 + rng.below(40) {
                let offset = 16 + rng.below(4073) as usize;
                let offset = if kind == Kind::Index { 16 + 4 * rng.below(8) as usize } else { offset };
                let value = number(rng, others);
                set(block, offset, value, 4);
            }
        }
    }
    block::stamp::<Device>(block, kind, MetadataBlock(at));
}

fn read(device: Device) -> Result<(), Error> {
    for held in [false, true] {
        let Ok(mut reader) = Reader::open(Device { blocks: device.blocks.clone() }, 64, held) else { continue };
        let mut roots = Vec::new();
        let _ = reader.devices(&mut |device| {
            roots.push(device.root);
            if roots.len() < 20 {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        for root in roots {
            let mut leaves = Vec::new();
            let _ = reader.leaves(root, &mut |leaf| leaves.push(leaf));
            for leaf in leaves.into_iter().take(100) {
                let _ = reader.leaf(leaf, &mut |_, _| ());
            }
        }
    }
    Ok(())
}

/// Everything that can be done with a pool. After an error that stands in the way it is begun anew.
fn use_pool(rng: &mut Rng, device: Device) {
    let Ok(mut pool) = Pool::open(device, OPTIONS) else { return };
    for _ in 0..12 {
        let id = 1 + rng.below(6);
        let at = VirtualBlock([0, 100, 8900, 20_000, u64::MAX - 1, rng.below(9000)][rng.below(6) as usize]);
        let end = VirtualBlock([at.0.saturating_add(1 + rng.below(600)), u64::MAX][rng.below(2) as usize]);
        let _ = match rng.below(16) {
            0 => pool.create_thin(rng.below(9)),
            1 => pool.create_snapshots(&[(7 + rng.below(3), id), (10, id)]),
            2..=4 => pool.take_data(rng.below(3) as usize, 1 + rng.below(300)).and_then(|run| pool.insert(id, at, run)),
            5 | 6 => pool.remove(id, at, end, [1, 300, u64::MAX][rng.below(3) as usize]).map(|_| ()),
            7 | 8 => pool.delete(id, [1, 300, u64::MAX][rng.below(3) as usize]).map(|_| ()),
            9 => pool.reserve_snapshot().map(|_| ()),
            10 => pool.release_snapshot(),
            11 => pool.grow_data(40_000 + rng.below(40_000)),
            12 => {
                pool.store().blocks.extend([[0; 4096]; 3]);
                pool.grow_metadata()
            }
            13 => pool.set_transaction_id(pool.transaction_id(), rng.next()),
            14 => pool.runs(id, VirtualBlock(0), VirtualBlock(u64::MAX), &mut |_| ControlFlow::Continue(())),
            _ => pool.commit(),
        };
        let _ = pool.lookup(id, at);
        let _ = pool.exclusive(id);
        let _ = pool.data_count(DataBlock(rng.below(50_000)));
        if let Some(run) = pool.next_discard() {
            let _ = pool.discarded(run);
        }
        let _ = pool.give_back(Run { begin: rng.below(100), end: rng.below(100) });
        if pool.set_transaction_id(pool.transaction_id(), 5) == Err(Error::Broken) && pool.abort().is_err() {
            return;
        }
    }
    let _ = pool.commit();
}

/// What is being tried, for whoever waits for it.
static SEED: AtomicU64 = AtomicU64::new(0);

#[test]
fn contents_that_are_not_what_they_should_be() {
    let device = sound();
    let mut findings = Vec::new();
    check(&mut Device { blocks: device.blocks.clone() }, &mut |finding| findings.push(finding)).unwrap();
    assert_eq!(findings, []);
    let used: Vec<(u64, Kind)> =
        (0..).zip(&device.blocks).filter_map(|(at, b)| Some((at, block::kind::<Device>(b)?))).collect();
    assert!(Kind::ALL.iter().all(|kind| used.iter().any(|(_, other)| other == kind)));
    // A walk that has no end would not be noticed by what it returns.
    std::thread::spawn(|| loop {
        let seed = SEED.load(Ordering::Relaxed);
        std::thread::sleep(std::time::Duration::from_secs(300));
        if seed == SEED.load(Ordering::Relaxed) {
            eprintln!("seed {seed} does not come to an end");
            std::process::abort();
        }
    });
    let count = std::env::var("STOR_GARBAGE").map_or(200, |count| count.parse().unwrap());
    for seed in 1..=count {
        SEED.store(seed, Ordering::Relaxed);
        let rng = &mut Rng::new(seed);
        let mut spoiled = Device { blocks: device.blocks.clone() };
        for _ in 0..1 + rng.below(4) {
            spoil(rng, &mut spoiled, &used);
        }
        check(&mut spoiled, &mut |_| ()).unwrap();
        read(Device { blocks: spoiled.blocks.clone() }).unwrap();
        use_pool(rng, spoiled);
    }
}
