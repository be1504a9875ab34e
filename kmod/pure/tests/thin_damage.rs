// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the strict checker finds: each kind of damage, in metadata that is sound otherwise. Checksums are made right again,
//! so that it is the contents that are found.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "thin/memory.rs"]
mod memory;

use memory::Device;
use stor_pure::pure::thin::block::{self, Block, Kind};
use stor_pure::pure::thin::check::{check, Finding, Space};
use stor_pure::pure::thin::data::Run;
use stor_pure::pure::thin::error::{Damage, Error};
use stor_pure::pure::thin::pool::{Options, Pool};
use stor_pure::pure::thin::reader::Reader;
use stor_pure::pure::thin::superblock::{Refusal, Superblock, LAST_TIME};
use stor_pure::pure::units::{MetadataBlock, VirtualBlock};

/// Two devices of 300 blocks, one of them a snapshot of the other that has written since.
fn sound() -> Device {
    let options = Options { frames: 128, streams: 1, passdown: false };
    let mut pool = Pool::format(Device::new(256), options, 128, 1000).unwrap();
    pool.commit().unwrap();
    pool.create_thin(1).unwrap();
    insert(&mut pool, 1, 0, 300);
    pool.create_snapshots(&[(2, 1)]).unwrap();
    insert(&mut pool, 2, 10, 5);
    pool.commit().unwrap();
    pool.close()
}

fn insert(pool: &mut Pool<Device>, id: u64, begin: u64, count: u64) {
    let mut done = 0;
    while done < count {
        let run = pool.take_data(0, count - done).unwrap();
        pool.insert(id, VirtualBlock(begin + done), Run { begin: run.begin, end: run.end }).unwrap();
        done += run.len();
    }
}

fn findings(device: &mut Device) -> Vec<Finding> {
    let mut findings = Vec::new();
    check(device, &mut |finding| findings.push(finding)).unwrap();
    findings
}

/// Changes a block, and stamps it.
fn change(device: &mut Device, at: u64, kind: Kind, change: impl FnOnce(&mut Block)) {
    let block = &mut device.blocks[at as usize];
    block::verify::<Device>(block, kind, MetadataBlock(at)).unwrap();
    change(block);
    block::stamp::<Device>(block, kind, MetadataBlock(at));
}

fn superblock(device: &Device) -> Superblock {
    Superblock::of(&device.blocks[0])
}

/// What is found after a change of the superblock's field at `offset`.
fn after(offset: usize, bytes: &[u8]) -> Vec<Finding> {
    let mut device = sound();
    change(&mut device, 0, Kind::Superblock, |block| block[offset..offset + bytes.len()].copy_from_slice(bytes));
    findings(&mut device)
}

fn number(block: &Block, offset: usize) -> u64 {
    u64::from_le_bytes(block[offset..offset + 8].try_into().unwrap())
}

#[test]
fn sound_metadata_has_no_findings() {
    assert_eq!(findings(&mut sound()), []);
}

/// The kernel looks for free blocks only in bitmaps whose index entries say that there are some.
#[test]
fn bitmaps_of_which_nothing_is_used_yet() {
    let options = Options { frames: 128, streams: 1, passdown: false };
    let mut pool = Pool::format(Device::new(40_000), options, 128, 1000).unwrap();
    pool.commit().unwrap();
    assert_eq!(findings(pool.store()), []);
}

/// The leaves that a metadata snapshot and the pool have in common are counted once, and belong to both.
#[test]
fn a_metadata_snapshot_shares_leaves_of_devices() {
    let options = Options { frames: 128, streams: 1, passdown: false };
    let mut pool = Pool::format(Device::new(1024), options, 128, 1000).unwrap();
    for id in 1..400 {
        pool.create_thin(id).unwrap();
    }
    pool.reserve_snapshot().unwrap();
    pool.create_thin(0).unwrap();
    insert(&mut pool, 399, 0, 5);
    pool.commit().unwrap();
    assert_eq!(findings(pool.store()), []);
}

#[test]
fn superblock_fields() {
    assert_eq!(after(4, &[1]), [Finding::NeedsCheck]);
    assert_eq!(after(4, &[2]), [Finding::Flags(2)]);
    assert_eq!(after(352, &[4]), [Finding::Flags(4)]);
    assert_eq!(after(356, &[8]), [Finding::Flags(8)]);
    assert_eq!(after(360, &[1]), [Finding::Block(Error::Refused(Refusal::Features(1)))]);
    assert_eq!(after(40, &[9]), [Finding::Block(Error::Refused(Refusal::Version(9)))]);
    assert_eq!(after(32, &[9]).len(), 1);
    assert_eq!(after(336, &[1]).len(), 1);
    assert_eq!(after(340, &[16]), [Finding::Block(Error::Refused(Refusal::MetadataBlockSize(16)))]);
    assert_eq!(after(344, &[1, 1]), [Finding::Formatted { said: 257, blocks: 256 }]);
    assert_eq!(after(344, &[0, 0]), [Finding::Formatted { said: 0, blocks: 256 }]);
    assert_eq!(after(364, &[1]), [Finding::Trailing]);
}

#[test]
fn totals() {
    for (offset, space) in [(72, Space::Data), (200, Space::Metadata)] {
        let said = number(&sound().blocks[0], offset) + 1;
        assert_eq!(after(offset, &said.to_le_bytes()), [Finding::Allocated { space, said, found: said - 1 }]);
    }
    // More blocks than the device has.
    assert!(matches!(after(192, &300u64.to_le_bytes())[..], [Finding::Block(Error::Truncated { blocks: 300, .. })]));
}

#[test]
fn index_entries() {
    let device = sound();
    // The data device's one entry stands in a leaf with room for 168 keys, the metadata device's in the index block.
    let index = superblock(&device).data_space.root.bitmap_root.get();
    let block = superblock(&device).metadata_space.root.bitmap_root.get();
    for (at, kind, offset, space) in
        [(index, Kind::Node, 32 + 168 * 8, Space::Data), (block, Kind::Index, 16, Space::Metadata)]
    {
        let mut device = sound();
        change(&mut device, at, kind, |block| block[offset + 8] ^= 1);
        assert!(matches!(findings(&mut device)[..], [Finding::Free { space: found, bitmap: 0, .. }] if found == space));
        let mut device = sound();
        change(&mut device, at, kind, |block| {
            block[offset + 12..offset + 16].copy_from_slice(&16_000u32.to_le_bytes())
        });
        assert_eq!(findings(&mut device), [Finding::Hint(space, 0)]);
    }
}

#[test]
fn no_snapshot_at_the_end_of_the_clock() {
    let mut device = sound();
    let last = LAST_TIME.to_le_bytes();
    change(&mut device, 0, Kind::Superblock, |block| block[44..48].copy_from_slice(&last));
    let options = Options { frames: 128, streams: 1, passdown: false };
    let mut pool = Pool::open(device, options).unwrap();
    assert_eq!(pool.create_snapshots(&[(3, 1)]), Err(Error::ClockEnd));
    pool.commit().unwrap();
    assert_eq!((pool.time(), findings(pool.store())), (LAST_TIME, vec![]));
}

/// The root of a device's tree.
fn root(device: &Device, id: usize) -> u64 {
    let top = superblock(device).mapping_root.get();
    number(&device.blocks[top as usize], 32 + 252 * 8 + (id - 1) * 8)
}

#[test]
fn clocks() {
    // The first mapping of device 2's own leaf, made at time 1.
    let mut device = sound();
    let leaf = number(&device.blocks[root(&device, 2) as usize], 32 + 252 * 8);
    change(&mut device, leaf, Kind::Node, |block| block[32 + 252 * 8] = 9);
    let found = findings(&mut device);
    assert!(found.contains(&Finding::MappingTime(MetadataBlock(leaf), 9)), "{found:?}");

    // A snapshot that the origin does not know of: writes would go through to it.
    let mut device = sound();
    let details = superblock(&device).details_root.get();
    change(&mut device, details, Kind::Node, |block| block[32 + 126 * 8 + 20] = 0);
    let found = findings(&mut device);
    assert!(found.iter().any(|finding| matches!(finding, Finding::Unguarded { device: 1, .. })), "{found:?}");
    assert!(found.iter().any(|finding| matches!(finding, Finding::UnguardedBlock(_))), "{found:?}");

    let mut device = sound();
    change(&mut device, details, Kind::Node, |block| block[32 + 126 * 8 + 20] = 5);
    assert_eq!(findings(&mut device), [Finding::DeviceTime(1)]);
}

/// Every mapping of a device: its data block, and when it was mapped.
fn mappings(device: &Device, id: usize) -> Vec<(u64, u32)> {
    let blocks = device.blocks.clone();
    let mut reader = Reader::open(Device { blocks }, 64, false).unwrap();
    let (mut leaves, mut found) = (Vec::new(), Vec::new());
    reader.leaves(MetadataBlock(root(device, id)), &mut |leaf| leaves.push(leaf)).unwrap();
    for leaf in leaves {
        reader.leaf(leaf, &mut |_, mapping| found.push((mapping.block.0, mapping.time))).unwrap();
    }
    found
}

/// For each data block that devices share, each of them must know of a snapshot since it was mapped: looked at one by one, and by
/// the checker.
#[test]
fn whoever_shares_knows_of_it() {
    let options = Options { frames: 128, streams: 1, passdown: false };
    let mut pool = Pool::open(sound(), options).unwrap();
    insert(&mut pool, 1, 20, 3);
    pool.create_snapshots(&[(3, 1)]).unwrap();
    insert(&mut pool, 3, 200, 9);
    pool.create_snapshots(&[(4, 3), (5, 2)]).unwrap();
    insert(&mut pool, 5, 400, 2);
    insert(&mut pool, 4, 10, 1);
    pool.commit().unwrap();
    let device = pool.close();
    assert_eq!(findings(&mut Device { blocks: device.blocks.clone() }), []);
    let details = superblock(&device).details_root.get();
    let all: Vec<Vec<(u64, u32)>> = (1..=5).map(|id| mappings(&device, id)).collect();
    let mut users = std::collections::HashMap::new();
    for (block, _) in all.iter().flatten() {
        *users.entry(*block).or_insert(0) += 1;
    }
    let mut guarded = 0;
    // Each device's time from none to that of the last snapshot: 4^5 ways.
    for way in 0..1024u32 {
        let times: Vec<u32> = (0..5).map(|id| (way >> (2 * id)) & 3).collect();
        let sound = all.iter().zip(&times).all(|(mappings, &snapshotted)| {
            mappings.iter().all(|(block, time)| users[block] < 2 || snapshotted > *time)
        });
        let mut device = Device { blocks: device.blocks.clone() };
        change(&mut device, details, Kind::Node, |block| {
            for (id, time) in times.iter().enumerate() {
                block[32 + 126 * 8 + 24 * id + 20] = *time as u8;
            }
        });
        let found = findings(&mut device);
        assert_eq!(found.is_empty(), sound, "{times:?}: {found:?}");
        let kind = |finding: &Finding| matches!(finding, Finding::Unguarded { .. } | Finding::UnguardedBlock(_));
        assert!(found.iter().all(kind), "{times:?}: {found:?}");
        guarded += u32::from(sound);
    }
    assert!(guarded > 0 && guarded < 1024, "{guarded}");
}

#[test]
fn devices() {
    let details = superblock(&sound()).details_root.get();
    let mut device = sound();
    change(&mut device, details, Kind::Node, |block| block[32 + 126 * 8] ^= 1);
    assert_eq!(findings(&mut device), [Finding::Mapped { device: 1, said: 301, found: 300 }]);
    // Another id: neither has both.
    let mut device = sound();
    change(&mut device, details, Kind::Node, |block| block[32 + 8] = 7);
    let found = findings(&mut device);
    assert!(found.contains(&Finding::Half(2)) && found.contains(&Finding::Half(7)), "{found:?}");
}

#[test]
fn counts() {
    for space in [Space::Data, Space::Metadata] {
        let device = sound();
        let number_of = |entry: usize| (16 + entry / 4, entry as u64);
        let (byte, number_of) = match space {
            Space::Data => number_of(290),
            Space::Metadata => number_of(2),
        };
        let at = match space {
            Space::Data => {
                let index = superblock(&device).data_space.root.bitmap_root.get();
                number(&device.blocks[index as usize], 32 + 168 * 8)
            }
            Space::Metadata => {
                let index = superblock(&device).metadata_space.root.bitmap_root.get();
                number(&device.blocks[index as usize], 16)
            }
        };
        // That block has a count of 1; the pair 0b01 is a count of 2, and 0b11 one that stands in the tree.
        for (pair, said) in [(0b01, Some(2)), (0b00, Some(0)), (0b11, None)] {
            let mut device = sound();
            change(&mut device, at, Kind::Bitmap, |block| block[byte] = (block[byte] & !0x30) | (pair << 4));
            let found = findings(&mut device);
            let as_it_should = |finding: &Finding| match (finding, said) {
                (Finding::Count { space: whose, block, said, .. }, Some(count)) => {
                    (*whose, *block, *said) == (space, number_of, count)
                }
                (Finding::Block(Error::Damaged(_, Damage::Overflow(block))), None) => *block == number_of,
                _ => false,
            };
            assert!(found.iter().any(as_it_should), "{space:?}, {pair:#b}: {found:?}");
        }
    }
}

#[test]
fn nodes() {
    let device = sound();
    let leaf = number(&device.blocks[root(&device, 2) as usize], 32 + 252 * 8);
    type Change = fn(&mut Block);
    let changes: [(&str, Change); 5] = [
        ("order", |block| block[32] = 5),
        ("range", |block| block[32 + 100 * 8 + 7] = 1),
        ("entries", |block| block[16..20].copy_from_slice(&300u32.to_le_bytes())),
        ("room", |block| block[20] = 249),
        ("value size", |block| block[24] = 16),
    ];
    for (what, damage) in changes {
        let mut device = sound();
        change(&mut device, leaf, Kind::Node, damage);
        assert_ne!(findings(&mut device), [], "{what}");
    }
    // Too few entries, of which the counts know nothing either.
    let mut device = sound();
    change(&mut device, leaf, Kind::Node, |block| block[16..20].copy_from_slice(&20u32.to_le_bytes()));
    assert!(findings(&mut device).contains(&Finding::Underfull(MetadataBlock(leaf), 20)));
}

#[test]
fn any_block_of_garbage() {
    let blocks = sound().blocks.len() as u64;
    let used: Vec<u64> = (0..blocks).filter(|&at| sound().blocks[at as usize].iter().any(|&byte| byte != 0)).collect();
    for at in used {
        for fill in [0, 0xff, 0x5a] {
            let mut device = sound();
            let old = device.blocks[at as usize];
            device.blocks[at as usize] = [fill; 4096];
            // Blocks that only an earlier transaction used are nobody's.
            let first = findings(&mut device);
            let options = Options { frames: 128, streams: 1, passdown: false };
            if first.is_empty() {
                device.blocks[at as usize] = old;
                continue;
            }
            // Whatever is opened, nothing panics.
            if let Ok(mut pool) = Pool::open(device, options) {
                let _ = pool.create_snapshots(&[(3, 1)]);
                let _ = pool.remove(2, VirtualBlock(0), VirtualBlock(400), 400);
                let _ = pool.commit();
            }
        }
    }
}
