// SPDX-License-Identifier: GPL-2.0

//! Damage of each kind, in metadata that is sound otherwise. Checksums are made right again, unless they are the damage.

use crate::image::{get, put, Image, Step};
use crate::rng::Rng;
use crate::Fault;
use std::path::Path;
use stor_pure::pure::thin::block::{Block, Kind, BLOCK_SIZE};
use stor_pure::pure::thin::node::{is_internal, Node};
use stor_pure::pure::thin::space::{self, BITMAP_ENTRIES};
use zerocopy::little_endian::U64;

/// A way to damage metadata.
#[derive(Debug)]
pub struct Damage {
    /// How it is called.
    pub name: &'static str,
    /// What it does.
    pub what: &'static str,
    /// Whether it is damage at all: what nobody looks at is not.
    pub harmful: bool,
    apply: fn(&mut Image, &mut Rng) -> Result<String, Fault>,
}

const fn damage(
    name: &'static str,
    what: &'static str,
    apply: fn(&mut Image, &mut Rng) -> Result<String, Fault>,
) -> Damage {
    Damage { name, what, harmful: true, apply }
}

/// All of them. Those before `checksum` are found by no thin_check.
pub const ALL: &[Damage] = &[
    damage("allocated-data", "the data space map's total is one too high", |image, _| add(image, 72)),
    damage("allocated-metadata", "the metadata space map's total is one too high", |image, _| add(image, 200)),
    damage("free-data", "a data bitmap's number of free blocks is wrong", |image, _| index(image, DATA, 8)),
    damage("free-metadata", "a metadata bitmap's number of free blocks is wrong", |image, _| index(image, METADATA, 8)),
    damage("hint-data", "a data bitmap's hint hides free blocks", |image, _| index(image, DATA, 12)),
    damage("hint-metadata", "a metadata bitmap's hint hides free blocks", |image, _| index(image, METADATA, 12)),
    damage("needs-check", "a check was asked for", |image, _| set(image, 4, 1)),
    damage("flags", "an unknown flag is set", |image, _| set(image, 4, 0x100)),
    damage("compat", "an unknown compatible feature", |image, _| set(image, 352, 1)),
    damage("compat-ro", "an unknown feature that allows reading", |image, _| set(image, 356, 1)),
    damage("incompat", "an unknown feature that allows nothing", |image, _| set(image, 360, 1)),
    damage("version", "version 9", |image, _| set(image, 40, 9)),
    damage("mapping-time", "a mapping from the future", mapping_time),
    damage("snapshotted-time", "devices that know of no snapshot of theirs", snapshotted_time),
    damage("formatted", "more metadata blocks when it was formatted than there are", |image, _| add(image, 344 + 4)),
    Damage { harmful: false, ..damage("unused", "garbage in a leaf's unused room", unused) },
    damage("checksum", "a leaf's checksum", |image, rng| {
        leaf(image, rng, |image, at| {
            let mut block = image.read(at)?;
            block[100] ^= 1;
            image.write(at, &block)
        })
    }),
    damage("location", "a leaf that was written to the wrong place", |image, rng| {
        leaf(image, rng, |image, at| {
            let mut block = image.read(at)?;
            stor_pure::pure::thin::block::stamp::<libstor::metadata::FileStore>(
                &mut block,
                Kind::Node,
                stor_pure::pure::units::MetadataBlock(at + 1),
            );
            image.write(at, &block)
        })
    }),
    damage("kind", "a bitmap in the place of a leaf", |image, rng| {
        leaf(image, rng, |image, at| image.stamp(at, [0; BLOCK_SIZE], Kind::Bitmap))
    }),
    damage("zeros", "a leaf that is all zeros", |image, rng| {
        leaf(image, rng, |image, at| image.write(at, &[0; BLOCK_SIZE]))
    }),
    damage("order", "two keys of a leaf changed places", |image, rng| {
        change(image, rng, |block| {
            let (one, two) = (get(block, 32), get(block, 40));
            put(block, 32, two.to_le_bytes());
            put(block, 40, one.to_le_bytes());
        })
    }),
    damage("range", "a leaf's last key belongs elsewhere", |image, rng| {
        change(image, rng, |block| {
            let last = Node::<U64>::of(block).len() - 1;
            put(block, 32 + last * 8, (1u64 << 50).to_le_bytes());
        })
    }),
    damage("underfull", "a leaf with 3 entries", |image, rng| {
        change(image, rng, |block| put(block, 16, 3u32.to_le_bytes()))
    }),
    damage("entries", "a leaf with more entries than room", |image, rng| {
        change(image, rng, |block| put(block, 16, 300u32.to_le_bytes()))
    }),
    damage("room", "a leaf with room for 249 entries", |image, rng| {
        change(image, rng, |block| put(block, 20, 249u32.to_le_bytes()))
    }),
    damage("value-size", "a leaf with values of 16 bytes", |image, rng| {
        change(image, rng, |block| put(block, 24, 16u32.to_le_bytes()))
    }),
    damage("child", "a child past the end of the device", |image, rng| child(image, rng, |_, _| 1 << 40)),
    damage("twice", "a child that stands in two places", |image, rng| {
        child(image, rng, |block, index| Node::<U64>::of(block).value(usize::from(index == 0)).map_or(0, |at| at.get()))
    }),
    damage("loop", "a child that is its own parent", |image, rng| child(image, rng, |block, _| get(block, 8))),
    damage("data", "a mapping past the end of the data device", |image, rng| {
        change(image, rng, |block| put(block, value(block, 0), (((1u64 << 39) + 1) << 24).to_le_bytes()))
    }),
    damage("mapped", "a device's number of mapped blocks is one too high", |image, _| {
        details(image, |block| {
            let at = value(block, 0);
            put(block, at, (get(block, at) + 1).to_le_bytes());
        })
    }),
    damage("half", "a device with mappings and without details", |image, _| {
        details(image, |block| {
            let last = Node::<U64>::of(block).len() - 1;
            put(block, 32 + last * 8, 0xff_0000u64.to_le_bytes());
        })
    }),
    damage("leak-data", "a free data block is counted", |image, _| count(image, DATA, 0, 1)),
    damage("leak-metadata", "a free metadata block is counted", |image, _| count(image, METADATA, 0, 1)),
    damage("lost-data", "a data block in use is not counted", |image, _| count(image, DATA, 1, 0)),
    damage("lost-metadata", "a metadata block in use is not counted", |image, _| count(image, METADATA, 1, 0)),
    damage("overflow-data", "a large count of a data block is nowhere", |image, _| count(image, DATA, 1, 3)),
    damage("overflow-metadata", "a large count of a metadata block is nowhere", |image, _| {
        count(image, METADATA, 1, 3)
    }),
    damage("bitmap", "a data bitmap that cannot be read", |image, _| {
        let (_, _, bitmap, _) = find(image, DATA, 1)?;
        image.write(bitmap, &[0xa5; BLOCK_SIZE])?;
        Ok(format!("data bitmap at block {bitmap} is garbage"))
    }),
    damage("held", "a metadata snapshot that is none", |image, _| {
        let at = image.superblock()?.mapping_root.get();
        image.change(0, |block| put(block, 56, at.to_le_bytes()))?;
        Ok(format!("the metadata snapshot is said to be at block {at}"))
    }),
    damage("trailing", "something behind the superblock's fields", |image, _| set(image, 1000, 1)),
    damage("truncated", "more metadata blocks than the device has", |image, _| add(image, 192 + 4)),
];

impl Damage {
    /// The one with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|damage| damage.name == name)
    }
}

/// Damages the metadata in a file; says what was done.
///
/// # Errors
///
/// The metadata has no place for it, or cannot be read or written.
pub fn apply(path: &Path, damage: &Damage, seed: u64) -> Result<String, Fault> {
    (damage.apply)(&mut Image::open(path)?, &mut Rng::new(seed))
}

const DATA: bool = true;
const METADATA: bool = false;

/// Where a value of a node stands.
fn value(block: &Block, index: usize) -> usize {
    let [room, size] = [20, 24].map(|offset| get(block, offset) as u32 as usize);
    32 + room * 8 + index * size
}

/// Adds one to a number in the superblock.
fn add(image: &mut Image, offset: usize) -> Result<String, Fault> {
    image.change(0, |block| put(block, offset, (get(block, offset) + 1).to_le_bytes()))?;
    Ok(format!("superblock: the number at byte {offset} is one higher"))
}

/// Sets a number of four bytes in the superblock.
fn set(image: &mut Image, offset: usize, value: u32) -> Result<String, Fault> {
    image.change(0, |block| put(block, offset, value.to_le_bytes()))?;
    Ok(format!("superblock: the number at byte {offset} is {value}"))
}

/// The way down to a leaf of some device that has more than one.
fn way(image: &mut Image, rng: &mut Rng) -> Result<Vec<Step>, Fault> {
    let top = image.superblock()?.mapping_root.get();
    let devices = Node::<U64>::of(&image.read(top)?).len();
    let first = rng.below(devices as u64) as usize;
    for index in 0..devices {
        let root = image.device_root((first + index) % devices)?;
        let steps = image.descend(root, rng)?;
        if steps.len() > 1 {
            return Ok(steps);
        }
    }
    Err("no device has more than a leaf: make more mappings".into())
}

fn leaf(
    image: &mut Image,
    rng: &mut Rng,
    harm: impl FnOnce(&mut Image, u64) -> Result<(), Fault>,
) -> Result<String, Fault> {
    let at = way(image, rng)?.last().map_or(0, |step| step.at);
    harm(image, at)?;
    Ok(format!("leaf at block {at}"))
}

/// Changes a leaf.
fn change(image: &mut Image, rng: &mut Rng, harm: impl FnOnce(&mut Block)) -> Result<String, Fault> {
    leaf(image, rng, |image, at| image.change(at, harm))
}

/// Replaces a child in the node above a leaf.
fn child(image: &mut Image, rng: &mut Rng, new: fn(&Block, usize) -> u64) -> Result<String, Fault> {
    let steps = way(image, rng)?;
    let Step { at, index } = steps[steps.len() - 2];
    let to = new(&image.read(at)?, index);
    image.change(at, |block| put(block, value(block, index), to.to_le_bytes()))?;
    Ok(format!("child {index} of block {at} is block {to}"))
}

fn mapping_time(image: &mut Image, rng: &mut Rng) -> Result<String, Fault> {
    let time = image.superblock()?.time.get() + 1;
    change(image, rng, |block| put(block, value(block, 0), [time as u8, (time >> 8) as u8, (time >> 16) as u8]))
}

/// The details of the first devices.
fn details(image: &mut Image, harm: impl FnOnce(&mut Block)) -> Result<String, Fault> {
    let mut at = image.superblock()?.details_root.get();
    loop {
        let block = image.read(at)?;
        if !is_internal(&block) {
            break;
        }
        at = get(&block, value(&block, 0));
    }
    image.change(at, harm)?;
    Ok(format!("device details at block {at}"))
}

fn snapshotted_time(image: &mut Image, _: &mut Rng) -> Result<String, Fault> {
    if image.superblock()?.time.get() == 0 {
        return Err("there is no snapshot".into());
    }
    details(image, |block| {
        for index in 0..Node::<U64>::of(block).len() {
            put(block, value(block, index) + 20, [0; 4]);
        }
    })
}

fn unused(image: &mut Image, rng: &mut Rng) -> Result<String, Fault> {
    change(image, rng, |block| {
        let entries = Node::<U64>::of(block).len();
        let room = get(block, 20) as u32 as usize;
        for index in entries..room {
            put(block, 32 + index * 8, 0xdead_beef_dead_beefu64.to_le_bytes());
            put(block, value(block, index), 0xdead_beef_dead_beefu64.to_le_bytes());
        }
        put(block, BLOCK_SIZE - 8, [0xa5; 8]);
    })
}

/// Finds a block with a count: where its index entry is (block and offset), its bitmap, and its number there.
fn find(image: &mut Image, data: bool, count: u32) -> Result<(u64, usize, u64, u32), Fault> {
    let superblock = image.superblock()?;
    let area = if data { superblock.data_space } else { superblock.metadata_space };
    let (blocks, mut at) = (area.root.blocks.get(), area.root.bitmap_root.get());
    let mut block = image.read(at)?;
    while data && is_internal(&block) {
        at = get(&block, value(&block, 0));
        block = image.read(at)?;
    }
    let entries = if data { Node::<U64>::of(&block).len() } else { blocks.div_ceil(BITMAP_ENTRIES) as usize };
    for index in 0..entries {
        let offset = if data { value(&block, index) } else { 16 + 16 * index };
        let bitmap = get(&block, offset);
        let counts = image.read(bitmap)?;
        let end = (blocks - index as u64 * BITMAP_ENTRIES).min(BITMAP_ENTRIES) as u32;
        // Not the superblock, which everything would be found out by.
        if let Some(number) = (u32::from(index == 0)..end).find(|&number| space::count(&counts, number) == count) {
            return Ok((at, offset, bitmap, number));
        }
    }
    Err(format!("no block has a count of {count}").into())
}

/// Changes the number at an offset of the index entry of a bitmap with free blocks.
fn index(image: &mut Image, data: bool, offset: usize) -> Result<String, Fault> {
    let (at, entry, bitmap, number) = find(image, data, 0)?;
    image.change(at, |block| {
        let old = get(block, entry + offset) as u32;
        let new = if offset == 12 { number + 1 } else { old ^ 1 };
        put(block, entry + offset, new.to_le_bytes());
    })?;
    Ok(format!("index entry of bitmap {bitmap} in block {at}"))
}

/// Gives a block another count.
fn count(image: &mut Image, data: bool, old: u32, new: u32) -> Result<String, Fault> {
    let (_, _, bitmap, number) = find(image, data, old)?;
    image.change(bitmap, |block| space::set_count(block, number, new))?;
    Ok(format!("count {number} of bitmap {bitmap} is {new} and not {old}"))
}
