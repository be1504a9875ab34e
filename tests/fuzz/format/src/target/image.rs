// SPDX-License-Identifier: GPL-2.0

//! Whole metadata: which sound image to begin with, how it is damaged, and what is then done with the pool.
//!
//! An image is checked, read as a pool at rest and as its metadata snapshot, opened, given a snapshot, worked on, committed
//! and checked again. If nothing was damaged, whatever was done leaves nothing to be found.

use super::device::Device;
use super::{Bytes, Fast, Target};
use std::ops::ControlFlow;
use std::sync::OnceLock;
use stor_pure::pure::thin::block::{self, Block, Kind};
use stor_pure::pure::thin::check::check;
use stor_pure::pure::thin::data::Run;
use stor_pure::pure::thin::error::Error;
use stor_pure::pure::thin::pool::{Options, Pool};
use stor_pure::pure::thin::reader::Reader;
use stor_pure::pure::thin::space;
use stor_pure::pure::units::{DataBlock, MetadataBlock, VirtualBlock};

pub(super) const TARGET: Target =
    Target { name: "image", about: "whole metadata, and what is done with it", most: 400, seeds, run };

const OPTIONS: Options = Options { frames: 64, streams: 2, passdown: true };
/// The most that is done with one pool.
const STEPS: usize = 24;

/// A sound image.
struct Base {
    blocks: &'static [Block],
    /// The blocks in use, and what each is.
    used: Vec<(u64, Kind)>,
}

fn bases() -> &'static [Base] {
    static BASES: OnceLock<Vec<Base>> = OnceLock::new();
    BASES.get_or_init(|| {
        let devices = [empty(), small(), shared(), large()].into_iter();
        devices
            .map(|made| {
                let device = made.unwrap_or_else(|error| panic!("an image cannot be made: {error}"));
                let blocks: &'static [Block] = Vec::leak(device.into_blocks());
                let kinds = blocks.iter().enumerate();
                let used = kinds.filter_map(|(at, block)| Some((at as u64, block::kind::<Fast>(block)?))).collect();
                Base { blocks, used }
            })
            .collect()
    })
}

fn new(blocks: usize, data_blocks: u64) -> Result<Pool<Device>, Error> {
    let mut pool = Pool::format(Device::new(Vec::leak(vec![[0; 4096]; blocks])), OPTIONS, 128, data_blocks)?;
    pool.commit()?;
    Ok(pool)
}

fn empty() -> Result<Device, Error> {
    Ok(new(64, 1000)?.close())
}

/// Two devices, one a snapshot of the other that has written since.
fn small() -> Result<Device, Error> {
    let mut pool = new(256, 1000)?;
    pool.create_thin(1)?;
    map(&mut pool, 1, 0, 300)?;
    pool.create_snapshots(&[(2, 1)])?;
    map(&mut pool, 2, 10, 5)?;
    pool.commit()?;
    Ok(pool.close())
}

/// Counts of 3 and more, a metadata snapshot that differs from the pool, holes.
fn shared() -> Result<Device, Error> {
    let mut pool = new(256, 20_000)?;
    pool.create_thin(0)?;
    map(&mut pool, 0, 0, 600)?;
    for id in 1..6 {
        pool.create_snapshots(&[(id, 0)])?;
        pool.commit()?;
        map(&mut pool, id, id * 100, 3)?;
        pool.remove(id, VirtualBlock(id * 50), VirtualBlock(id * 50 + 7), 7)?;
        pool.commit()?;
    }
    pool.commit()?;
    pool.set_transaction_id(0, 5)?;
    pool.reserve_snapshot()?;
    map(&mut pool, 0, 590, 30)?;
    pool.delete(3, 10_000)?;
    pool.commit()?;
    Ok(pool.close())
}

/// Trees of two levels of devices and mappings, three bitmaps of data. Most devices are snapshots: there is little to read.
fn large() -> Result<Device, Error> {
    let mut pool = new(512, 40_000)?;
    pool.create_thin(3)?;
    pool.create_thin(6)?;
    // Every other block, so that leaves are many; from both ends.
    for at in 0..300 {
        map(&mut pool, 3, at * 20, 2)?;
        map(&mut pool, 6, (300 - at) << 30, 1)?;
    }
    let pairs: Vec<(u64, u64)> = (4..134).flat_map(|id| [(id * 3, 3), (id * 3 + 1, 6)]).collect();
    for pairs in pairs.chunks(8) {
        pool.create_snapshots(pairs)?;
        pool.commit()?;
    }
    Ok(pool.close())
}

fn map(pool: &mut Pool<Device>, id: u64, begin: u64, count: u64) -> Result<(), Error> {
    let mut done = 0;
    while done < count {
        let run = pool.take_data(id as usize, count - done)?;
        pool.insert(id, VirtualBlock(begin + done), run)?;
        // What was given up can be used.
        pool.commit()?;
        done += run.len();
    }
    Ok(())
}

fn seeds() -> Vec<Vec<u8>> {
    let count = bases().len() as u8;
    let steps: Vec<u8> = (1..=20).flat_map(|step| [step, step, 2, 3, 4]).collect();
    let damages = (1..=13).map(|damage| vec![2, 0, damage, damage, 1, 1, 1, 0]);
    (0..count).flat_map(|base| [vec![base], [&[base, 0, 0], &steps[..]].concat()]).chain(damages).collect()
}

fn run(input: &[u8]) {
    let mut bytes = Bytes(input);
    let Some(base) = bases().get(usize::from(bytes.byte()) % bases().len()) else { return };
    let unstamped = bytes.byte() & 1 == 1;
    let mut device = Device::new(base.blocks);
    let mut damaged = false;
    for _ in 0..16 {
        let kind = bytes.byte();
        if kind == 0 {
            break;
        }
        damaged = true;
        damage(&mut device, base, kind, &mut bytes, unstamped);
    }
    let sound = findings(&mut device) == 0;
    assert!(sound || damaged, "the checker finds fault with what the engine made");
    read(device.clone(), false);
    read(device.clone(), true);
    let Some(mut device) = work(device, &mut bytes, sound) else { return };
    let found = findings(&mut device);
    assert!(!sound || found == 0, "{}", sentences(&mut device));
    if let Ok(pool) = Pool::open(device, OPTIONS) {
        let _ = pool.metadata_free();
    }
}

fn findings(device: &mut Device) -> u64 {
    let (mut told, mut count) = (0, 0);
    let checked = check(device, &mut |finding| {
        count += 1;
        if told < 20 {
            drop(finding.to_string());
            told += 1;
        }
    });
    match checked {
        Ok(summary) => assert_eq!(summary.findings, count),
        Err(error) => {
            drop(error.to_string());
            count += 1;
        }
    }
    count
}

fn sentences(device: &mut Device) -> String {
    let mut all = String::new();
    let _ = check(device, &mut |finding| all += &format!("{finding}; "));
    all
}

/// A number: most bytes stand for themselves, some for what is large.
fn number(bytes: &mut Bytes<'_>) -> u64 {
    match bytes.byte() {
        0xf0 => u64::MAX,
        0xf1 => (1 << 24) - 1,
        0xf2 => 1 << 24,
        0xf3 => (1 << 40) - 1,
        0xf4 => 0x5555_5555,
        0xf5 => u64::from(u32::MAX),
        0xf6 => 16_320,
        0xf7 => bytes.number(2),
        0xf8 => bytes.number(4),
        0xf9.. => bytes.number(8),
        small => u64::from(small),
    }
}

fn put(block: &mut Block, at: usize, bytes: &[u8]) {
    block.get_mut(at..at + bytes.len()).into_iter().for_each(|place| place.copy_from_slice(bytes));
}

fn get(block: &Block, at: usize) -> u32 {
    block.get(at..at + 4).map_or(0, |bytes| Bytes(bytes).number(4) as u32)
}

fn damage(device: &mut Device, base: &Base, how: u8, bytes: &mut Bytes<'_>, unstamped: bool) {
    // One of the kind that this damages, or any.
    let wanted = match how % 14 {
        3 | 4 | 9 => Some(Kind::Node),
        5 => Some(Kind::Superblock),
        6 => Some(Kind::Bitmap),
        7 => Some(Kind::Index),
        _ => None,
    };
    let mut choose = |wanted: Option<Kind>| {
        let fits = |(_, kind): &&(u64, Kind)| wanted.is_none_or(|wanted| wanted == *kind);
        let count = base.used.iter().filter(fits).count();
        base.used.iter().filter(fits).nth(bytes.below(count)).copied()
    };
    let Some((at, kind)) = choose(wanted) else { return };
    let other = if matches!(how % 14, 8 | 12) { choose(None) } else { None };
    if how % 14 == 11 {
        device.blocks = number(bytes).min(base.blocks.len() as u64);
        return;
    }
    let copy = other.and_then(|(from, _)| device.block(from).copied());
    let Some(block) = device.block_mut(at) else { return };
    let mut kind = kind;
    match how % 14 {
        1 => put(block, bytes.number(2) as usize % 4096, &[bytes.byte()]),
        2 => put(block, bytes.below(512) * 8, &number(bytes).to_le_bytes()),
        3 => {
            // A key or a value of a node, wherever its own header says that they are.
            let (max, size) = (get(block, 20) as usize % 512, get(block, 24) as usize % 64);
            let (index, is_key) = (bytes.below(256), bytes.byte() & 1 == 1);
            let place = if is_key { 32 + 8 * index } else { 32 + 8 * max + size * index };
            let value = number(bytes).to_le_bytes();
            put(block, place, value.get(..if is_key { 8 } else { size.min(8) }).unwrap_or_default());
        }
        4 => put(
            block,
            [4, 16, 20, 24].get(bytes.below(4)).copied().unwrap_or(16),
            &(number(bytes) as u32).to_le_bytes(),
        ),
        5 => {
            const FIELDS: [(usize, usize); 20] = [
                (4, 4),
                (32, 8),
                (40, 4),
                (44, 4),
                (48, 8),
                (56, 8),
                (64, 8),
                (72, 8),
                (80, 8),
                (88, 8),
                (192, 8),
                (200, 8),
                (208, 8),
                (216, 8),
                (320, 8),
                (328, 8),
                (336, 4),
                (340, 4),
                (344, 8),
                (360, 4),
            ];
            let (place, size) = FIELDS.get(bytes.below(FIELDS.len())).copied().unwrap_or((4, 4));
            put(block, place, number(bytes).to_le_bytes().get(..size).unwrap_or_default());
        }
        6 => space::set_count(block, bytes.number(2) as u32, bytes.byte() as u32),
        7 => {
            let place = 16 + 16 * bytes.below(255) + [0, 8, 12].get(bytes.below(3)).copied().unwrap_or(0);
            let size = if place % 16 == 0 { 8 } else { 4 };
            put(block, place, number(bytes).to_le_bytes().get(..size).unwrap_or_default());
        }
        8 => {
            if let (Some(copy), Some((_, from))) = (copy, other) {
                (*block, kind) = (copy, from);
            }
        }
        9 => {
            // Every child is the same.
            let (child, count) = (number(bytes), bytes.below(253));
            (0..count).for_each(|index| put(block, 32 + 8 * 252 + 8 * index, &child.to_le_bytes()));
        }
        10 => {
            *block = [bytes.byte(); 4096];
            return;
        }
        12 => {
            // As if it were of another kind.
            kind = other.map_or(kind, |(_, other)| other);
        }
        _ => {
            // Internal nodes that are leaves, and the other way round.
            put(block, 4, &(3 - get(block, 4).min(3)).to_le_bytes());
        }
    }
    if !unstamped {
        block::stamp::<Fast>(block, kind, MetadataBlock(at));
    }
}

/// Reads everything that can be reached.
fn read(device: Device, held: bool) {
    let mut reader = match Reader::open(device, OPTIONS.frames, held) {
        Ok(reader) => reader,
        Err(error) => return drop(error.to_string()),
    };
    let mut devices = Vec::new();
    let told = reader.devices(&mut |device| {
        devices.push(device);
        ControlFlow::Continue(())
    });
    told.err().map(|error| error.to_string());
    for device in devices {
        let mut leaves = Vec::new();
        let told = reader.leaves(device.root, &mut |leaf| leaves.push(leaf));
        told.err().map(|error| error.to_string());
        let mut mappings = 0;
        for leaf in leaves {
            let told = reader.leaf(leaf, &mut |_, _| mappings += 1);
            told.err().map(|error| error.to_string());
        }
        let _ = mappings;
    }
}

/// Opens a pool, makes a snapshot and whatever else the input says; the device afterwards.
fn work(device: Device, bytes: &mut Bytes<'_>, sound: bool) -> Option<Device> {
    let mut pool = match Pool::open(device, OPTIONS) {
        Ok(pool) => pool,
        Err(error) => {
            assert!(!sound, "sound metadata is not opened: {error}");
            return None;
        }
    };
    let first = (0..900).find(|&id| pool.details(id).is_ok());
    if let Some(origin) = first {
        let new = (0..2000).find(|&id| matches!(pool.details(id), Err(Error::NoDevice(_))));
        let made = new.map_or(Ok(()), |new| pool.create_snapshots(&[(new, origin)]));
        let done = made.and_then(|()| pool.commit());
        survives(done, sound);
    }
    for _ in 0..STEPS {
        if bytes.is_empty() {
            break;
        }
        let done = step(&mut pool, bytes);
        let broken = matches!(done, Err(Error::Broken));
        survives(done, sound);
        if broken && pool.abort().is_err() {
            break;
        }
    }
    survives(pool.commit(), sound);
    Some(pool.close())
}

/// Sound metadata has no damage, whatever is done.
fn survives(done: Result<(), Error>, sound: bool) {
    if let Err(error) = done {
        let sentence = error.to_string();
        assert!(!sound || !matches!(error, Error::Damaged(..) | Error::Read(_)), "{sentence}");
    }
}

fn step(pool: &mut Pool<Device>, bytes: &mut Bytes<'_>) -> Result<(), Error> {
    let (what, id) = (bytes.byte(), number(bytes));
    let begin = VirtualBlock(number(bytes));
    match what % 21 {
        0 => pool.commit(),
        1 => pool.create_thin(id),
        2 => {
            let pairs = [(begin.0, id), (begin.0.wrapping_add(1), id), (bytes.number(1), bytes.number(1))];
            pool.create_snapshots(pairs.get(..1 + bytes.below(3)).unwrap_or_default())
        }
        3 => pool.lookup(id, begin).map(|_| ()),
        4 => {
            let mut left = 500;
            pool.runs(id, begin, VirtualBlock(u64::MAX), &mut |_| {
                left -= 1;
                if left == 0 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
        }
        5..=7 => {
            let run = pool.take_data(bytes.below(3), number(bytes).clamp(1, 600))?;
            if begin.0.checked_add(run.len()).is_none() {
                return pool.give_back(run);
            }
            pool.insert(id, begin, run)
        }
        8 => {
            let run = pool.take_data(bytes.below(3), number(bytes).max(1))?;
            pool.give_back(run)
        }
        9 | 10 => {
            let end = VirtualBlock(number(bytes));
            pool.remove(id, begin, end, number(bytes)).map(|_| ())
        }
        11 => pool.delete(id, number(bytes)).map(|_| ()),
        12 => pool.exclusive(id).map(|_| ()),
        13 => pool.reserve_snapshot().map(|_| ()),
        14 => pool.release_snapshot(),
        15 => pool.abort(),
        16 => pool.set_transaction_id(pool.transaction_id(), id),
        17 => {
            let more = pool.data_blocks().saturating_add(id % 40_000);
            pool.grow_data(more)
        }
        18 => pool.data_count(DataBlock(id % pool.data_blocks().max(1))).map(|_| ()),
        19 => {
            pool.commit()?;
            pool.set_needs_check(id & 1 == 1)?;
            pool.set_needs_check(false)
        }
        _ => {
            while let Some(Run { begin, end }) = pool.next_discard() {
                pool.give_back(Run { begin, end })?;
            }
            pool.grow_metadata()
        }
    }
}
