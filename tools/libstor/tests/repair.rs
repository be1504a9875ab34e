// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Metadata damaged in each way, and repaired in a copy: the copy is sound, what could be read is there, and what is lost is
//! told exactly. The original is not changed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "metadata/pool.rs"]
mod pool;

use libstor::metadata::{FileStore, Plan, Progress, Repair};
use libstor::{Kind, Result};
use pool::{contents, format, insert, random, sound, Contents, Image};
use std::collections::BTreeMap;
use std::fs;
use stor_pure::pure::thin::block::{self, Block, Kind as BlockKind};
use stor_pure::pure::thin::space::IndexBlock;
use stor_pure::pure::thin::superblock::Superblock;
use stor_pure::pure::units::MetadataBlock;

fn repair(repair: &Repair) -> Result<Plan> {
    libstor::metadata::repair(repair, &Progress::default())
}

/// Three devices of up to 3,000 blocks: an origin, a snapshot that has written since, and one of its own.
fn make(name: &str) -> (Image, Contents) {
    let image = Image::new(name, 2048);
    let mut pool = format(&image, 20_000);
    pool.create_thin(1).unwrap();
    insert(&mut pool, 1, 0, 3000);
    pool.create_snapshots(&[(2, 1)]).unwrap();
    insert(&mut pool, 2, 1000, 5);
    pool.create_thin(7).unwrap();
    insert(&mut pool, 7, 500, 400);
    pool.set_transaction_id(0, 4).unwrap();
    pool.commit().unwrap();
    drop(pool);
    let contents = contents(&image.0);
    (image, contents)
}

fn read(image: &Image, at: u64) -> Block {
    image.bytes()[at as usize * 4096..][..4096].try_into().unwrap()
}

fn write(image: &Image, at: u64, block: &Block) {
    let mut bytes = image.bytes();
    bytes[at as usize * 4096..][..4096].copy_from_slice(block);
    fs::write(&image.0, bytes).unwrap();
}

/// Changes a block, and makes its checksum right again.
fn change(image: &Image, at: u64, kind: BlockKind, change: impl FnOnce(&mut Block)) {
    let mut block = read(image, at);
    block::verify::<FileStore>(&block, kind, MetadataBlock(at)).unwrap();
    change(&mut block);
    block::stamp::<FileStore>(&mut block, kind, MetadataBlock(at));
    write(image, at, &block);
}

fn spoil(image: &Image, at: u64) {
    let mut block = read(image, at);
    block[700] ^= 0x55;
    write(image, at, &block);
}

fn superblock(image: &Image) -> Superblock {
    Superblock::of(&read(image, 0))
}

fn number(block: &Block, offset: usize) -> u64 {
    u64::from_le_bytes(block[offset..offset + 8].try_into().unwrap())
}

/// The root of a device's tree; they stand in the top level's leaf in this order.
fn root(image: &Image, index: usize) -> u64 {
    number(&read(image, superblock(image).mapping_root.get()), 32 + 252 * 8 + index * 8)
}

/// The key and block of a child of an internal node.
fn child(image: &Image, node: u64, index: usize) -> (u64, u64) {
    let block = read(image, node);
    assert_eq!(block[4], 1, "no internal node");
    (number(&block, 32 + index * 8), number(&block, 32 + 252 * 8 + index * 8))
}

/// Repairs it in a copy, which is sound; the plan is the same as what is done.
fn repaired(image: &Image, change: impl Fn(&mut Repair)) -> Result<(Plan, Contents)> {
    let before = image.bytes();
    let copy = Image::new(&format!("{}-copy", image.0.file_name().unwrap().to_str().unwrap()), 2048);
    let mut ask = Repair { input: image.0.clone(), ..Repair::default() };
    change(&mut ask);
    let plan = repair(&ask)?;
    assert!(plan.dry_run && !plan.changed);
    let done = repair(&Repair { output: Some(copy.0.clone()), ..ask })?;
    assert!(done.changed && !done.dry_run);
    let as_planned = Plan { text: plan.text.clone(), changed: false, dry_run: true, ..done.clone() };
    assert_eq!(as_planned, plan);
    assert_eq!(image.bytes(), before, "the original was changed");
    let used = sound(&copy);
    assert!(used <= done.metadata_needed);
    Ok((done, contents(&copy.0)))
}

/// The same, and nothing is lost, and the plan says so.
fn mended(image: &Image, sound: &Contents) -> Plan {
    let (plan, found) = repaired(image, |_| ()).unwrap();
    assert!(plan.complete, "{plan:?}");
    assert_eq!(&found, sound);
    plan
}

#[test]
fn sound_metadata_stays_what_it_is() {
    let (image, before) = make("sound");
    let plan = mended(&image, &before);
    assert_eq!((plan.findings, &plan.notes[..], plan.details_root.is_some()), (0, &[][..], true));
    for seed in 21..24 {
        let image = Image::new(&format!("sound-{seed}"), 2048);
        random(&image, seed, 200);
        mended(&image, &contents(&image.0));
    }
}

#[test]
fn what_is_only_counted_is_mended_without_loss() {
    let (image, before) = make("counts");
    let bytes = image.bytes();
    let superblock = superblock(&image);
    let (data, metadata) = (superblock.data_space.root, superblock.metadata_space.root);
    let index = read(&image, metadata.bitmap_root.get());
    let bitmap_of_data = number(&read(&image, data.bitmap_root.get()), 32 + 168 * 8);
    let bitmap = IndexBlock::of(&index).entries[0].block.get();
    let again = |what: &str| {
        let plan = mended(&image, &before);
        assert!(plan.findings > 0, "{what}");
        fs::write(&image.0, &bytes).unwrap();
    };
    // Totals, flags and what else is in the superblock.
    let fields =
        [("data used", 72), ("metadata used", 200), ("needs check", 4), ("flags", 352), ("format", 345), ("end", 400)];
    for (what, offset) in fields {
        change(&image, 0, BlockKind::Superblock, |block| block[offset] ^= 1);
        again(what);
    }
    // Space maps: counts too high and too low, hints, and all of them gone.
    for (what, at, kind, offset) in [
        ("index entry of data", data.bitmap_root.get(), BlockKind::Node, 32 + 168 * 8 + 8),
        ("hint of data", data.bitmap_root.get(), BlockKind::Node, 32 + 168 * 8 + 13),
        ("index entry of metadata", metadata.bitmap_root.get(), BlockKind::Index, 16 + 8),
        ("hint of metadata", metadata.bitmap_root.get(), BlockKind::Index, 16 + 13),
        ("data bitmap", bitmap_of_data, BlockKind::Bitmap, 16 + 200),
        ("metadata bitmap", bitmap, BlockKind::Bitmap, 16 + 2),
    ] {
        change(&image, at, kind, |block| block[offset] ^= 0x3c);
        again(what);
        spoil(&image, at);
        again(what);
    }
    for at in [data.overflow_root.get(), metadata.overflow_root.get()] {
        spoil(&image, at);
        again("large counts");
    }
    // More blocks in the space map than the device has.
    change(&image, 0, BlockKind::Superblock, |block| block[194] = 1);
    again("size");
    // What details say of numbers.
    let details = superblock.details_root.get();
    change(&image, details, BlockKind::Node, |block| block[32 + 126 * 8] ^= 1);
    again("mapped blocks");
}

#[test]
fn clocks_are_made_safe() {
    let (image, before) = make("clocks");
    let bytes = image.bytes();
    // A snapshot that the origin does not know of.
    let details = superblock(&image).details_root.get();
    change(&image, details, BlockKind::Node, |block| block[32 + 126 * 8 + 20] = 0);
    mended(&image, &before);
    fs::write(&image.0, &bytes).unwrap();
    // Details that are ahead of the clock.
    change(&image, details, BlockKind::Node, |block| block[32 + 126 * 8 + 20] = 200);
    let (plan, found) = repaired(&image, |_| ()).unwrap();
    assert!(plan.complete);
    assert_eq!(found, before);
    fs::write(&image.0, &bytes).unwrap();
    // A mapping that is.
    let (_, leaf) = child(&image, root(&image, 2), 0);
    change(&image, leaf, BlockKind::Node, |block| block[32 + 252 * 8] = 77);
    let (plan, found) = repaired(&image, |_| ()).unwrap();
    assert!(plan.complete);
    let blocks = |contents: &Contents| -> Vec<_> {
        contents.devices[&7].3.iter().map(|(block, data, _)| (*block, *data)).collect()
    };
    assert_eq!(blocks(&found), blocks(&before));
    assert_eq!(found.devices[&1], before.devices[&1]);
}

/// What is left when some blocks of some devices are lost.
fn without(mut contents: Contents, lost: &[(u64, u64, u64)]) -> BTreeMap<u64, Vec<(u64, u64, u32)>> {
    for (device, begin, end) in lost {
        contents.devices.get_mut(device).unwrap().3.retain(|(block, ..)| block < begin || block >= end);
    }
    contents.devices.into_iter().map(|(id, device)| (id, device.3)).collect()
}

fn mappings(contents: Contents) -> BTreeMap<u64, Vec<(u64, u64, u32)>> {
    contents.devices.into_iter().map(|(id, device)| (id, device.3)).collect()
}

#[test]
fn a_damaged_leaf_costs_its_range_and_no_more() {
    type Change = fn(&mut Block);
    let kinds: [(&str, Option<Change>); 8] = [
        ("checksum", None),
        ("order", Some(|block| block[32] = 0xff)),
        ("entries", Some(|block| block[16..20].copy_from_slice(&300u32.to_le_bytes()))),
        ("room", Some(|block| block[20] = 249)),
        ("value size", Some(|block| block[24] = 16)),
        ("flags", Some(|block| block[4] = 3)),
        ("location", Some(|_| ())),
        ("zeros", Some(|_| ())),
    ];
    for (what, damage) in kinds {
        let (image, before) = make(&format!("leaf-{}", what.replace(' ', "-")));
        // The third leaf of device 2, which device 1 has too.
        let (begin, leaf) = child(&image, root(&image, 1), 2);
        let (end, _) = child(&image, root(&image, 1), 3);
        let shared = (0..10).any(|index| child(&image, root(&image, 0), index).1 == leaf);
        assert!(shared);
        match (what, damage) {
            ("location", _) => {
                let mut block = read(&image, leaf);
                block::stamp::<FileStore>(&mut block, BlockKind::Node, MetadataBlock(leaf + 1));
                write(&image, leaf, &block);
            }
            ("zeros", _) => write(&image, leaf, &[0; 4096]),
            (_, Some(damage)) => change(&image, leaf, BlockKind::Node, damage),
            (_, None) => spoil(&image, leaf),
        }
        let (plan, found) = repaired(&image, |_| ()).unwrap();
        assert!(!plan.complete, "{what}");
        assert_eq!(mappings(found), without(before, &[(1, begin, end), (2, begin, end)]), "{what}");
        for (device, lost) in [(0, 1), (1, 1), (2, 0)] {
            assert_eq!(plan.devices[device].lost.len(), lost, "{what}");
        }
        let lost = &plan.devices[1].lost[0];
        assert_eq!((lost.begin, lost.end, lost.block), (begin, Some(end), leaf), "{what}");
        assert_eq!(plan.devices[1].said, Some(3000));
        assert_eq!(plan.devices[1].kept, 3000 - (end - begin));
    }
}

#[test]
fn a_key_in_the_wrong_place_costs_itself() {
    let (image, before) = make("range");
    let (begin, leaf) = child(&image, root(&image, 2), 0);
    let (_, last) =
        (0..3).map(|index| child(&image, root(&image, 2), index)).take_while(|(_, at)| *at != 0).last().unwrap();
    assert_eq!(begin, 500);
    // The last key of the first leaf goes far behind.
    let entries = number(&read(&image, leaf), 16) as u32 as usize;
    let lost = number(&read(&image, leaf), 32 + (entries - 1) * 8);
    change(&image, leaf, BlockKind::Node, |block| block[32 + (entries - 1) * 8 + 3] = 1);
    assert_ne!(leaf, last);
    let (plan, found) = repaired(&image, |_| ()).unwrap();
    assert_eq!(mappings(found), without(before, &[(7, lost, lost + 1)]));
    assert_eq!((plan.devices[2].lost.len(), plan.devices[2].lost[0].begin), (1, lost + (1 << 24)));
}

#[test]
fn mappings_past_the_end_of_the_data_device() {
    let (image, before) = make("past");
    let (_, leaf) = child(&image, root(&image, 0), 0);
    // The first ten entries of a leaf that two devices have.
    change(&image, leaf, BlockKind::Node, |block| {
        for entry in 0..10 {
            block[32 + 252 * 8 + entry * 8 + 6] = 1;
        }
    });
    let (plan, found) = repaired(&image, |_| ()).unwrap();
    assert_eq!(mappings(found), without(before, &[(1, 0, 10), (2, 0, 10)]));
    for device in &plan.devices[..2] {
        assert_eq!(device.lost.len(), 1);
        assert_eq!((device.lost[0].begin, device.lost[0].end), (0, Some(10)));
    }
}

#[test]
fn a_damaged_inner_node_costs_its_range() {
    let image = Image::new("inner", 16_384);
    let mut pool = format(&image, 200_000);
    pool.create_thin(3).unwrap();
    insert(&mut pool, 3, 10, 100_000);
    pool.commit().unwrap();
    drop(pool);
    let before = contents(&image.0);
    let (begin, inner) = child(&image, root(&image, 0), 1);
    assert_eq!(read(&image, inner)[4], 1);
    spoil(&image, inner);
    let (plan, found) = repaired(&image, |_| ()).unwrap();
    let lost = &plan.devices[0].lost[0];
    assert_eq!((lost.begin, lost.block), (begin, inner));
    assert_eq!(mappings(found), without(before, &[(3, begin, lost.end.unwrap_or(u64::MAX))]));
}

#[test]
fn loops_and_nodes_in_two_places_end() {
    let (image, before) = make("loop");
    let top = root(&image, 0);
    let (begin, _) = child(&image, top, 1);
    let (end, _) = child(&image, top, 2);
    // The second child of device 1's root is the root itself.
    change(&image, top, BlockKind::Node, |block| {
        block[32 + 252 * 8 + 8..32 + 252 * 8 + 16].copy_from_slice(&top.to_le_bytes());
    });
    let (plan, found) = repaired(&image, |_| ()).unwrap();
    assert_eq!(mappings(found), without(before, &[(1, begin, end)]));
    assert!(plan.devices[0].lost[0].why.contains("two places"), "{plan:?}");
    // Or the first child.
    let (_, first) = child(&image, top, 0);
    change(&image, top, BlockKind::Node, |block| {
        block[32 + 252 * 8 + 8..32 + 252 * 8 + 16].copy_from_slice(&first.to_le_bytes());
    });
    let (plan, _) = repaired(&image, |_| ()).unwrap();
    assert!(plan.devices[0].lost[0].why.contains("two places"), "{plan:?}");
}

#[test]
fn without_a_superblock() {
    let (image, before) = make("superblock");
    write(&image, 0, &[0; 4096]);
    let refused = repair(&Repair { input: image.0.clone(), ..Repair::default() }).unwrap_err();
    assert_eq!((refused.kind, refused.help.as_deref()), (Kind::Usage, Some("give it with --data-block-size")));
    let odd = Repair { input: image.0.clone(), data_block_size: Some(65537), ..Repair::default() };
    assert!(repair(&odd).unwrap_err().cause.contains("a data block of 0 sectors"));
    let all = |ask: &mut Repair| {
        (ask.data_block_size, ask.data_blocks, ask.transaction_id) = (Some(65536), Some(20_000), Some(4));
    };
    let (plan, found) = repaired(&image, all).unwrap();
    assert!(plan.complete, "{plan:?}");
    assert_eq!(found, before);
    // As much as can be told from the trees.
    let (plan, found) = repaired(&image, |ask| ask.data_block_size = Some(65536)).unwrap();
    assert!(plan.complete && plan.notes.len() >= 3, "{plan:?}");
    let last = before.devices.values().flat_map(|device| &device.3).map(|(_, data, _)| data + 1).max().unwrap();
    assert_eq!((found.data_blocks, found.time), (last, before.time));
    assert_eq!(found.devices, before.devices);
    // A metadata snapshot knows the size of a data block.
    let (image, before) = make("held");
    let store = FileStore::open(&image.0, true).unwrap();
    let options = stor_pure::pure::thin::pool::Options { frames: 128, streams: 1, passdown: false };
    stor_pure::pure::thin::pool::Pool::open(store, options).unwrap().reserve_snapshot().unwrap();
    let (plan, found) = repaired(&image, |_| ()).unwrap();
    assert_eq!((plan.complete, &plan.notes[..]), (true, &["the metadata snapshot is given up".to_string()][..]));
    assert_eq!(found, before);
    spoil(&image, 0);
    let (_, found) = repaired(&image, |ask| (ask.data_blocks, ask.transaction_id) = (Some(20_000), Some(4))).unwrap();
    assert_eq!(found, before);
}

#[test]
fn of_random_pools_the_last_commit_is_found() {
    for seed in 31..37 {
        let image = Image::new(&format!("found-{seed}"), 2048);
        random(&image, seed, 300);
        let before = contents(&image.0);
        write(&image, 0, &[0; 4096]);
        let (plan, found) = repaired(&image, |ask| {
            (ask.data_block_size, ask.data_blocks) = (Some(65536), Some(40_000));
            ask.transaction_id = Some(before.transaction_id);
        })
        .unwrap();
        assert!(plan.complete, "seed {seed}: {plan:?}");
        assert_eq!(found, before, "seed {seed}");
    }
}

#[test]
fn lost_roots_are_looked_for() {
    let (image, before) = make("roots");
    let bytes = image.bytes();
    let Superblock { mapping_root, details_root, .. } = superblock(&image);
    // Details are made up: the mappings are all there, and guarded.
    spoil(&image, details_root.get());
    let (plan, found) = repaired(&image, |_| ()).unwrap();
    assert!(plan.complete, "{plan:?}");
    assert_eq!(mappings(found), without(before, &[]));
    fs::write(&image.0, &bytes).unwrap();
    // The top level is lost: an earlier one may know most of the devices.
    spoil(&image, mapping_root.get());
    if let Ok((plan, _)) = repaired(&image, |_| ()) {
        assert_ne!(plan.mapping_root, mapping_root.get());
    }
}

#[test]
fn devices_without_mappings_are_told() {
    let (image, before) = make("half");
    let details = superblock(&image).details_root.get();
    // Device 7 has other details: its own are made up, and of 9 there are no mappings.
    change(&image, details, BlockKind::Node, |block| block[32 + 2 * 8] = 9);
    let (plan, found) = repaired(&image, |_| ()).unwrap();
    assert_eq!((&plan.lost_devices[..], plan.complete), (&[9][..], false));
    assert_eq!(mappings(found), without(before, &[]));
}

#[test]
fn what_is_refused() {
    let (image, _) = make("refused");
    let ask = |input: &Image, output: Option<&Image>| {
        let output = output.map(|image| image.0.clone());
        repair(&Repair { input: input.0.clone(), output, overwrite: true, ..Repair::default() }).unwrap_err()
    };
    let before = image.bytes();
    assert_eq!(ask(&image, Some(&image)).cause, "nothing is repaired in place");
    assert_eq!(image.bytes(), before);
    let small = Image::new("refused-small", 5);
    assert_eq!(ask(&image, Some(&small)).kind, Kind::Unfit);
    change(&image, 0, BlockKind::Superblock, |block| block[40] = 9);
    assert!(ask(&image, None).cause.contains("version 9 is not known"));
    let nothing = Image::new("nothing", 64);
    let refused = ask(&nothing, None);
    assert!(refused.cause.starts_with("there is no mapping tree in any block"), "{refused}");
}

#[test]
fn any_block_of_garbage() {
    let (image, before) = make("garbage");
    let bytes = image.bytes();
    let used = (0..2048).filter(|at| bytes[at * 4096..][..4096].iter().any(|&byte| byte != 0));
    for at in used {
        for fill in [0, 0x5a] {
            let mut spoiled = bytes.clone();
            spoiled[at * 4096..][..4096].fill(fill);
            fs::write(&image.0, &spoiled).unwrap();
            let ask = Repair { input: image.0.clone(), data_block_size: Some(65536), ..Repair::default() };
            let Ok(plan) = repair(&ask) else { continue };
            // Nothing is found that was not there.
            for device in plan.devices {
                let had = before.devices.get(&device.id).map_or(0, |device| device.3.len() as u64);
                assert!(device.kept <= had, "block {at}: device {} of {had} blocks", device.id);
            }
        }
    }
}
