// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What cannot be used, or cannot be done: one clear error that says what is wrong, where, and what to do; nothing is changed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "thin/memory.rs"]
mod memory;

use memory::Device;
use stor_pure::pure::thin::block::{self, Kind};
use stor_pure::pure::thin::data::{Run, DISCARDS_MAX};
use stor_pure::pure::thin::device::Deletion;
use stor_pure::pure::thin::error::{Damage, Error};
use stor_pure::pure::thin::pool::{Options, Pool};
use stor_pure::pure::thin::reader::Reader;
use stor_pure::pure::thin::superblock::{Refusal, LAST_TIME};
use stor_pure::pure::thin::value::LAST_DEVICE;
use stor_pure::pure::units::{MetadataBlock, VirtualBlock};

const OPTIONS: Options = Options { frames: 64, streams: 1, passdown: false };

/// Two devices, and a snapshot.
fn sound() -> Device {
    let mut pool = Pool::format(Device::new(128), OPTIONS, 128, 1000).unwrap();
    pool.commit().unwrap();
    pool.create_thin(1).unwrap();
    let run = pool.take_data(0, 50).unwrap();
    pool.insert(1, VirtualBlock(0), run).unwrap();
    pool.create_snapshots(&[(2, 1)]).unwrap();
    pool.commit().unwrap();
    pool.close()
}

/// With other bytes in the superblock, and its checksum right.
fn with(offset: usize, bytes: &[u8]) -> Device {
    let mut device = sound();
    let block = &mut device.blocks[0];
    block[offset..offset + bytes.len()].copy_from_slice(bytes);
    block::stamp::<Device>(block, Kind::Superblock, MetadataBlock(0));
    device
}

fn open(device: Device) -> Result<Pool<Device>, Error> {
    Pool::open(device, OPTIONS)
}

/// An error as a person reads it.
fn says(error: Error, sentence: &str) {
    assert_eq!(error.to_string(), sentence);
}

/// Neither the engine nor a reader takes it.
fn refused(offset: usize, bytes: &[u8], sentence: &str) {
    says(open(with(offset, bytes)).err().unwrap(), sentence);
    says(Reader::open(with(offset, bytes), 64, false).err().unwrap(), sentence);
}

/// Everything that changes something, tried.
fn try_all(pool: &mut Pool<Device>) -> Vec<Error> {
    let results = [
        pool.create_thin(7),
        pool.create_snapshots(&[(7, 1)]),
        pool.take_data(0, 1).map(|_| ()),
        pool.insert(1, VirtualBlock(90), Run { begin: 900, end: 901 }),
        pool.remove(1, VirtualBlock(0), VirtualBlock(9), 9).map(|_| ()),
        pool.delete(1, 1).map(|_| ()),
        pool.reserve_snapshot().map(|_| ()),
        pool.release_snapshot(),
        pool.grow_data(2000),
        pool.grow_metadata(),
        pool.set_transaction_id(0, 1),
    ];
    results.into_iter().map(|result| result.unwrap_err()).collect()
}

#[test]
fn superblocks() {
    refused(40, &[9], "superblock: metadata version 9 is not known, only 2; use a newer version of this program");
    refused(360, &[4], "superblock: unknown features 0x4; use a newer version of this program");
    refused(
        32,
        &[0],
        "superblock: no dm-thin metadata: the magic number is 27021824, not 27022010; \
         name the metadata device of a pool, or repair it",
    );
    refused(
        340,
        &[16],
        "superblock: metadata blocks of 16 sectors are not known, only of 8; repair it, or use what wrote it",
    );
    refused(
        336,
        &[129],
        "superblock: a data block of 129 sectors: must be a multiple of 128 from there to 2097152; \
         choose such a size, or repair it",
    );
    let behind = (LAST_TIME + 1).to_le_bytes();
    refused(
        44,
        &behind,
        "superblock: the snapshot clock is at 16777216, behind its last value 16777215; repair it, or use what wrote it",
    );
    // More data blocks than so many metadata blocks can have bitmaps.
    refused(
        64,
        &u64::MAX.to_le_bytes(),
        "metadata block 0: says 18446744073709551615 data blocks, more than its metadata can describe; \
         check the metadata and repair it",
    );
    let mut device = sound();
    device.blocks[0][100] ^= 1;
    says(
        open(device).err().unwrap(),
        "metadata block 0: no sound superblock: the checksum does not fit the contents; \
         name the metadata device of a pool, or repair it",
    );
    says(
        open(Device::new(20)).err().unwrap(),
        "metadata block 0: no sound superblock: nothing but zeros; name the metadata device of a pool, or repair it",
    );
    says(
        open(Device::new(0)).err().unwrap(),
        "metadata block 0 cannot be read; see to the metadata device, then open the pool again",
    );
}

#[test]
fn a_truncated_device() {
    let short = || {
        let mut device = sound();
        device.blocks.truncate(100);
        device
    };
    let sentence = "superblock: the metadata has 128 blocks, but the device only 100; give the device back its size";
    says(open(short()).err().unwrap(), sentence);
    says(Reader::open(short(), 64, false).err().unwrap(), sentence);
    // One that is cut off while the pool is open cannot grow.
    let mut pool = open(sound()).unwrap();
    pool.store().blocks.truncate(100);
    says(pool.grow_metadata().unwrap_err(), sentence);
}

#[test]
fn features_that_allow_reading_only() {
    for (offset, bit) in [(4, 2), (356, 8)] {
        let mut pool = open(with(offset, &[bit])).unwrap();
        assert_eq!(pool.lookup(1, VirtualBlock(3)).unwrap().unwrap().length, 1);
        let errors = try_all(&mut pool);
        assert!(errors.iter().all(|error| *error == Error::Refused(Refusal::ReadOnly(bit.into()))), "{errors:?}");
        says(
            errors[0],
            &format!(
                "superblock: unknown features {bit:#x}, with which it must not be changed; \
                 use a newer version of this program, or only read"
            ),
        );
        assert_eq!(pool.set_needs_check(true), Err(Error::Refused(Refusal::ReadOnly(bit.into()))));
        assert_eq!(pool.close().blocks, with(offset, &[bit]).blocks);
        Reader::open(with(offset, &[bit]), 64, false).unwrap();
    }
    // These may be ignored.
    open(with(352, &[1])).unwrap().create_thin(7).unwrap();
}

#[test]
fn a_pool_open_for_reading_only() {
    let mut pool = Pool::open_read_only(sound(), OPTIONS).unwrap();
    assert_eq!(pool.lookup(1, VirtualBlock(3)).unwrap().unwrap().length, 1);
    let errors = try_all(&mut pool);
    assert!(errors.iter().all(|error| *error == Error::ReadOnly), "{errors:?}");
    says(errors[0], "the pool is open for reading only; open it for writing");
    assert_eq!(pool.set_needs_check(true), Err(Error::ReadOnly));
    pool.commit().unwrap();
    pool.abort().unwrap();
    assert_eq!(pool.close().blocks, sound().blocks);
}

#[test]
fn metadata_that_needs_a_check() {
    let mut pool = open(sound()).unwrap();
    pool.set_needs_check(true).unwrap();
    let mut pool = open(pool.close()).unwrap();
    assert!(pool.needs_check());
    let errors = try_all(&mut pool);
    assert!(errors.iter().all(|error| *error == Error::NeedsCheck), "{errors:?}");
    says(
        errors[0],
        "superblock: the metadata has to be checked before it is changed; \
         check it, repair it if need be, and clear the mark",
    );
    // It is read as ever, and a commit has nothing to do.
    assert_eq!(pool.lookup(2, VirtualBlock(3)).unwrap().unwrap().length, 1);
    pool.commit().unwrap();
    let mut devices = 0;
    let mut reader = Reader::open(pool.close(), 64, false).unwrap();
    let mut count = |_| {
        devices += 1;
        std::ops::ControlFlow::Continue(())
    };
    reader.devices(&mut count).unwrap();
    assert_eq!(devices, 2);
    let mut pool = open(with(4, &[1])).unwrap();
    pool.set_needs_check(false).unwrap();
    pool.create_thin(7).unwrap();
    // Not in the middle of a transaction.
    assert_eq!(pool.set_needs_check(true), Err(Error::CommitFirst));
    pool.commit().unwrap();
    assert!(!open(pool.close()).unwrap().needs_check());
}

#[test]
fn devices() {
    let mut pool = open(sound()).unwrap();
    says(pool.create_thin(1).unwrap_err(), "there is a thin device 1 already; choose another id, or delete it first");
    says(
        pool.create_thin(LAST_DEVICE + 1).unwrap_err(),
        "16777216 is no device id: they end at 16777215; choose a smaller one",
    );
    assert_eq!(pool.create_snapshots(&[(u64::MAX, 1)]), Err(Error::DeviceId(u64::MAX)));
    assert_eq!(pool.create_snapshots(&[(5, 1), (5, 1)]), Err(Error::DeviceExists(5)));
    says(pool.create_snapshots(&[(5, 9)]).unwrap_err(), "there is no thin device 9; name one that there is");
    assert_eq!(pool.delete(9, 1), Err(Error::NoDevice(9)));
    assert_eq!(pool.lookup(9, VirtualBlock(0)), Err(Error::NoDevice(9)));
    let run = pool.take_data(0, 2).unwrap();
    says(
        pool.insert(1, VirtualBlock(u64::MAX), run).unwrap_err(),
        "there is no virtual block 18446744073709551615; stay before it",
    );
    pool.give_back(run).unwrap();
    // The last ones that there can be.
    pool.create_thin(LAST_DEVICE).unwrap();
    let run = pool.take_data(0, 1).unwrap();
    pool.insert(LAST_DEVICE, VirtualBlock(u64::MAX - 1), run).unwrap();
    assert_eq!(pool.lookup(LAST_DEVICE, VirtualBlock(u64::MAX - 1)).unwrap().unwrap().data.0, run.begin);
    assert_eq!(pool.delete(LAST_DEVICE, 10), Ok(Deletion::Done));
    assert_eq!(pool.set_transaction_id(5, 6), Err(Error::TransactionId(0)));
    assert_eq!(pool.release_snapshot(), Err(Error::NotHeld));
    assert_eq!(pool.grow_data(999), Err(Error::Shrink { now: 1000, wanted: 999 }));
    // Nothing of that was left.
    assert_eq!(pool.abort(), Ok(()));
    assert_eq!(pool.close().blocks, sound().blocks);
}

#[test]
fn the_clock_at_its_end() {
    let mut pool = open(with(44, &LAST_TIME.to_le_bytes())).unwrap();
    says(
        pool.create_snapshots(&[(3, 1)]).unwrap_err(),
        "16777215 snapshots have been taken in this pool: it cannot take more; copy its volumes to a new one",
    );
    pool.commit().unwrap();
    assert_eq!(pool.time(), LAST_TIME);
}

#[test]
fn a_pool_is_as_large_as_its_metadata_allows() {
    assert_eq!(Pool::format(Device::new(5), OPTIONS, 128, 10).err(), Some(Error::MetadataFull));
    assert_eq!(Pool::format(Device::new(64), OPTIONS, 128, 1 << 30).err(), Some(Error::MetadataFull));
    let size = Error::Refused(Refusal::DataBlockSize(64));
    assert_eq!(Pool::format(Device::new(64), OPTIONS, 64, 10).err(), Some(size));
    let mut pool = open(sound()).unwrap();
    assert_eq!(pool.grow_data(1 << 30), Err(Error::MetadataFull));
    assert!(matches!(pool.grow_data(u64::MAX), Err(Error::Shrink { .. })));
    pool.grow_data(1001).unwrap();
    pool.commit().unwrap();
}

#[test]
fn a_full_data_device() {
    let mut pool = Pool::format(Device::new(128), OPTIONS, 128, 100).unwrap();
    pool.create_thin(1).unwrap();
    assert_eq!(pool.take_data(0, 1), Err(Error::CommitFirst), "what was added can be used after the commit");
    pool.commit().unwrap();
    let mut at = 0;
    while let Ok(run) = pool.take_data(0, 7) {
        pool.insert(1, VirtualBlock(at), run).unwrap();
        at += run.len();
    }
    assert_eq!(at, 100);
    says(pool.take_data(0, 1).unwrap_err(), "the data device is full; extend it, or discard what is not needed");
    pool.commit().unwrap();
    // What is given up can be had after one commit, not before.
    pool.remove(1, VirtualBlock(10), VirtualBlock(20), 100).unwrap();
    says(pool.take_data(0, 1).unwrap_err(), "there is no room before a commit; commit and try again");
    pool.commit().unwrap();
    assert_eq!(pool.take_data(0, 100).unwrap(), Run { begin: 10, end: 20 });
    assert_eq!(pool.take_data(0, 1), Err(Error::DataFull));
}

#[test]
fn discards_that_wait_are_bounded() {
    let options = Options { passdown: true, ..OPTIONS };
    let count = DISCARDS_MAX as u64;
    let mut pool = Pool::format(Device::new(1024), options, 128, 3 * count).unwrap();
    pool.create_thin(1).unwrap();
    pool.commit().unwrap();
    let mut at = 0;
    while let Ok(run) = pool.take_data(0, 64) {
        pool.insert(1, VirtualBlock(at), run).unwrap();
        at += run.len();
    }
    assert_eq!(at, 3 * count);
    pool.commit().unwrap();
    // Every second block, each a run of its own.
    let mut next = (0..3 * count / 2).map(|index| 2 * index);
    let mut remove = |pool: &mut Pool<Device>| {
        next.by_ref().find_map(|at| pool.remove(1, VirtualBlock(at), VirtualBlock(at + 1), 9).err())
    };
    assert_eq!(remove(&mut pool), Some(Error::CommitFirst));
    assert_eq!(pool.data_used(), 2 * count);
    pool.commit().unwrap();
    let error = remove(&mut pool).unwrap();
    says(error, "there is no room before what was given up is discarded; discard that and try again");
    assert_eq!(pool.take_data(0, 1), Err(Error::DiscardFirst), "nothing is free that does not wait");
    // A write that replaces what was there goes on, and its block is not discarded.
    let run = pool.next_discard().unwrap();
    pool.discarded(run).unwrap();
    let taken = pool.take_data(0, 1).unwrap();
    assert_eq!(taken, run);
    pool.insert(1, VirtualBlock(1), taken).unwrap();
    assert_eq!(pool.not_discarded(), 0);
    while let Some(run) = pool.next_discard() {
        pool.discarded(run).unwrap();
    }
    assert_eq!(remove(&mut pool), None);
    assert_eq!(pool.not_discarded(), 0);
}

#[test]
fn errors_say_what_is_wrong_and_what_to_do() {
    let at = MetadataBlock(5);
    let damage =
        [Damage::Key(3), Damage::Child(at), Damage::NotOwn, Damage::Depth, Damage::Unreferenced(2), Damage::Count(1)];
    for error in damage.into_iter().map(|damage| Error::Damaged(at, damage)).chain([Error::Read(at), Error::Broken]) {
        let sentence = error.to_string();
        let (what, advice) = sentence.split_once("; ").unwrap();
        assert!(!advice.is_empty() && !sentence.ends_with('.'), "{sentence}");
        assert!(what.starts_with("metadata block 5") || error == Error::Broken, "{sentence}");
    }
}
