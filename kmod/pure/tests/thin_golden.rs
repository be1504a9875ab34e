// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Metadata that thin_restore 1.1.0 made of `data/example.xml`: byte for byte what is expected, sound, and usable.
//!
//! `data/example.blocks` has its blocks: for each its number, how many bytes are not zero at its end, and these; the
//! two numbers as u64, little-endian. The device has 256 blocks.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "thin/memory.rs"]
mod memory;

use memory::Device;
use std::ops::ControlFlow;
use stor_pure::pure::thin::block::{self, Kind};
use stor_pure::pure::thin::check::check;
use stor_pure::pure::thin::data::Run;
use stor_pure::pure::thin::device::MappedRun;
use stor_pure::pure::thin::node::Node;
use stor_pure::pure::thin::pool::{Options, Pool};
use stor_pure::pure::thin::reader::Reader;
use stor_pure::pure::thin::space;
use stor_pure::pure::thin::superblock::Superblock;
use stor_pure::pure::thin::value::{Details, Mapping};
use stor_pure::pure::units::{DataBlock, MetadataBlock, VirtualBlock};
use zerocopy::little_endian::U64;

const OPTIONS: Options = Options { frames: 128, streams: 1, passdown: false };

fn golden() -> Device {
    let mut bytes = &include_bytes!("data/example.blocks")[..];
    let mut device = Device::new(256);
    let mut take = |count: usize| {
        let (taken, rest) = bytes.split_at(count.min(bytes.len()));
        bytes = rest;
        taken.to_vec()
    };
    loop {
        let number = take(8);
        if number.is_empty() {
            return device;
        }
        let number = u64::from_le_bytes(number.try_into().unwrap()) as usize;
        let length = u64::from_le_bytes(take(8).try_into().unwrap()) as usize;
        device.blocks[number][..length].copy_from_slice(&take(length));
    }
}

#[test]
fn frames() {
    let device = golden();
    use Kind::*;
    let kinds = [Superblock, Node, Node, Node, Node, Bitmap, Node, Node, Bitmap, Node, Index];
    for (at, kind) in kinds.into_iter().enumerate() {
        let block = &device.blocks[at];
        assert_eq!(block::verify::<Device>(block, kind, MetadataBlock(at as u64)), Ok(()), "block {at}");
        assert_eq!(block::kind::<Device>(block), Some(kind), "block {at}");
    }
    let sums: Vec<u32> = (0..11).map(|at| block::header(&device.blocks[at]).checksum.get()).collect();
    assert_eq!((sums[0], sums[5], sums[10]), (0xd231_bf2e, 0xfc68_932d, 0x5a70_dce4));
}

#[test]
fn structures() {
    let device = golden();
    let superblock = Superblock::of(&device.blocks[0]);
    assert_eq!(superblock.check(), Ok(()));
    assert_eq!((superblock.time.get(), superblock.transaction_id.get(), superblock.held_root.get()), (1, 3, 0));
    let data = superblock.data_space.root;
    assert_eq!(
        (data.blocks.get(), data.allocated.get(), data.bitmap_root.get(), data.overflow_root.get()),
        (1024, 3, 7, 6)
    );
    let metadata = superblock.metadata_space.root;
    assert_eq!((metadata.blocks.get(), metadata.allocated.get(), metadata.bitmap_root.get()), (256, 11, 10));
    assert_eq!((superblock.mapping_root.get(), superblock.details_root.get()), (4, 3));

    let leaf = Node::<U64>::of(&device.blocks[1]);
    let keys: Vec<u64> = leaf.keys.iter().map(|key| key.get()).collect();
    assert_eq!(keys, [0, 1, 7]);
    let mapping = Mapping { block: DataBlock(5), time: 1 };
    assert_eq!(leaf.find(7).map(Mapping::unpack), Some(mapping));
    assert_eq!(mapping.pack(), leaf.values[2]);
    let details = Node::<Details>::of(&device.blocks[3]).find(2).unwrap();
    assert_eq!((details.mapped_blocks.get(), details.transaction_id.get(), details.creation_time.get()), (2, 2, 1));
    assert!(details.shares(Mapping { block: DataBlock(0), time: 0 }) && !details.shares(mapping));

    let counts: Vec<u32> = (0..7).map(|entry| space::count(&device.blocks[5], entry)).collect();
    assert_eq!(counts, [2, 2, 0, 0, 0, 1, 0]);
    assert_eq!(space::find_free(&device.blocks[8], 0, 256), Some(11));
    assert_eq!((0..16_320).filter(|&entry| space::count(&device.blocks[8], entry) > 0).count(), 11);
}

#[test]
fn it_is_read_and_used() {
    let mut reader = Reader::open(golden(), 64, false).unwrap();
    let (mut devices, mut runs) = (Vec::new(), Vec::new());
    reader
        .devices(&mut |device| {
            devices.push(device);
            ControlFlow::Continue(())
        })
        .unwrap();
    let mut leaves = Vec::new();
    reader.leaves(devices[0].root, &mut |leaf| leaves.push(leaf)).unwrap();
    assert_eq!(leaves, [MetadataBlock(1)]);
    reader.leaf(leaves[0], &mut |block, mapping| runs.push((block.0, mapping.block.0, mapping.time))).unwrap();
    assert_eq!(runs, [(0, 0, 0), (1, 1, 0), (7, 5, 1)]);

    let mut findings = Vec::new();
    check(&mut golden(), &mut |finding| findings.push(finding)).unwrap();
    assert_eq!(findings, []);

    // Device 1 shares block 0, and has block 7 to itself.
    let mut pool = Pool::open(golden(), OPTIONS).unwrap();
    let found =
        |begin, data, shared| Some(MappedRun { begin: VirtualBlock(begin), data: DataBlock(data), length: 1, shared });
    assert_eq!(pool.lookup(1, VirtualBlock(0)), Ok(found(0, 0, true)));
    assert_eq!(pool.lookup(1, VirtualBlock(7)), Ok(found(7, 5, false)));
    assert_eq!(pool.lookup(1, VirtualBlock(2)), Ok(None));
    assert_eq!((pool.exclusive(1), pool.exclusive(2)), (Ok(1), Ok(0)));
    let Run { begin, .. } = pool.take_data(0, 1).unwrap();
    pool.insert(1, VirtualBlock(0), Run { begin, end: begin + 1 }).unwrap();
    assert_eq!(pool.lookup(1, VirtualBlock(0)), Ok(found(0, begin, false)));
    assert_eq!(pool.lookup(2, VirtualBlock(0)), Ok(found(0, 0, true)));
    pool.commit().unwrap();
    check(pool.store(), &mut |finding| findings.push(finding)).unwrap();
    assert_eq!(findings, []);
}
