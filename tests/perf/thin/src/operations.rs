// SPDX-License-Identifier: GPL-2.0

//! What is counted.
#![allow(clippy::indexing_slicing)]

use crate::device::{self, Device, PORTABLE};
use crate::pool::{mapped, runs, unmapped, VOLUME};
use crate::{said, Fault};
use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::Ordering;
use stor_pure::pure::thin::block::{self, Block, Kind, BLOCK_SIZE};
use stor_pure::pure::thin::device::Deletion;
use stor_pure::pure::thin::error::Error;
use stor_pure::pure::thin::pool::{Options, Pool};
use stor_pure::pure::units::{MetadataBlock, VirtualBlock};

/// Inserts of a transaction, and transactions that are counted.
const TRANSACTION: u64 = 1000;
const TRANSACTIONS: u64 = 4;
/// Lookups that are counted.
const LOOKUPS: u64 = 4000;
/// Mappings that one step of a deletion gives up.
const STEP: u64 = 1000;
/// Snapshots of snapshots, each of which has something of its own.
const DEEP: std::ops::Range<u64> = 4..260;

/// callgrind counts from here (`--zero-before`) …
#[no_mangle]
#[inline(never)]
extern "C" fn stor_count_begin() {
    black_box(0);
}

/// … to here (`--dump-before`).
#[no_mangle]
#[inline(never)]
extern "C" fn stor_count_end() {
    black_box(1);
}

/// Counts what `operation` does `times` times.
fn count(what: &str, times: u64, operation: impl FnOnce() -> Result<(), Error>) -> Result<(), Fault> {
    stor_count_begin();
    let done = operation();
    stor_count_end();
    println!("{what}\t{times}");
    Ok(done.map_err(said)?)
}

fn open(image: &Path, frames: Option<usize>) -> Result<Pool<Device>, Fault> {
    let bytes = std::fs::read(image)?;
    // Room for all of it, unless told otherwise.
    let frames = frames.unwrap_or(bytes.len() / BLOCK_SIZE);
    Ok(Pool::open(Device::new(bytes), Options { frames, streams: 1, passdown: false }).map_err(said)?)
}

fn lookup(pool: &mut Pool<Device>, block: VirtualBlock) -> Result<(), Error> {
    lookup_in(pool, VOLUME, block)
}

fn lookup_in(pool: &mut Pool<Device>, device: u64, block: VirtualBlock) -> Result<(), Error> {
    black_box(pool.lookup(device, block)?);
    Ok(())
}

fn insert(pool: &mut Pool<Device>, block: VirtualBlock) -> Result<(), Error> {
    let run = pool.take_data(0, 1)?;
    pool.insert(VOLUME, block, run)
}

/// As a file system does it: a commit after each so many.
fn insert_all(pool: &mut Pool<Device>, blocks: &[VirtualBlock]) -> Result<(), Error> {
    for transaction in blocks.chunks(TRANSACTION as usize) {
        for &block in transaction {
            insert(pool, block)?;
        }
        pool.commit()?;
    }
    Ok(())
}

/// Virtual blocks that are not mapped, no block twice.
struct Unmapped(u64);

impl Unmapped {
    fn some(&mut self, count: u64) -> Vec<VirtualBlock> {
        let first = self.0;
        self.0 += count;
        (first..self.0).map(unmapped).collect()
    }

    /// What leads to them is in memory.
    fn warm(&mut self, pool: &mut Pool<Device>, count: u64) -> Result<Vec<VirtualBlock>, Error> {
        let blocks = self.some(count);
        blocks.iter().try_for_each(|&block| lookup(pool, block))?;
        Ok(blocks)
    }
}

/// Does each operation often enough, and says how often.
pub(crate) fn run(image: &Path, mappings: u64, portable: bool) -> Result<(), Fault> {
    PORTABLE.store(portable, Ordering::Relaxed);
    let mut pool = open(image, None)?;
    let mut free = Unmapped(0);

    let lookups = LOOKUPS.min(runs(mappings));
    let looked: Vec<_> = (0..lookups).map(mapped).collect();
    for what in ["lookup, cold", "lookup"] {
        count(what, lookups, || looked.iter().try_for_each(|&block| lookup(&mut pool, block)))?;
    }

    let blocks = free.some(TRANSACTION);
    count("insert, cold", TRANSACTION, || insert_all(&mut pool, &blocks))?;
    let blocks = free.warm(&mut pool, TRANSACTION * TRANSACTIONS).map_err(said)?;
    count("insert", TRANSACTION * TRANSACTIONS, || insert_all(&mut pool, &blocks))?;

    let blocks = free.warm(&mut pool, TRANSACTION).map_err(said)?;
    count("insert alone", TRANSACTION, || blocks.iter().try_for_each(|&block| insert(&mut pool, block)))?;
    count("commit of 1,000 inserts", 1, || pool.commit())?;
    count("commit of nothing", 1, || pool.commit())?;
    for block in free.warm(&mut pool, 1).map_err(said)? {
        insert(&mut pool, block).map_err(said)?;
    }
    count("commit of 1 insert", 1, || pool.commit())?;

    // The first one reads nodes that nobody asked for yet.
    pool.create_snapshots(&[(2, VOLUME)]).and_then(|()| pool.commit()).map_err(said)?;
    count("snapshot", 1, || pool.create_snapshots(&[(3, VOLUME)]))?;
    count("commit of a snapshot", 1, || pool.commit())?;
    let blocks = free.warm(&mut pool, 2).map_err(said)?;
    insert_all(&mut pool, &blocks[..1]).map_err(said)?;
    count("insert into a shared leaf", 1, || insert(&mut pool, blocks[1]))?;
    pool.commit().map_err(said)?;

    for copy in DEEP {
        let run = pool.create_snapshots(&[(copy, copy - 1)]).and_then(|()| pool.take_data(0, 1)).map_err(said)?;
        pool.insert(copy, unmapped(copy), run).and_then(|()| pool.commit()).map_err(said)?;
    }
    for (what, device) in [("lookup, 259 devices", VOLUME), ("lookup, 256 snapshots deep", DEEP.end - 1)] {
        let mut all = || looked.iter().try_for_each(|&block| lookup_in(&mut pool, device, block));
        all().map_err(said)?;
        count(what, lookups, all)?;
    }

    for copy in 2..DEEP.end {
        while pool.delete(copy, STEP).map_err(said)? == Deletion::Unfinished {
            pool.commit().map_err(said)?;
        }
        pool.commit().map_err(said)?;
    }
    pool.delete(VOLUME, STEP).and_then(|_| pool.commit()).map_err(said)?;
    count("step of a deletion", STEP, || pool.delete(VOLUME, STEP).map(drop))?;
    count("commit of that step", 1, || pool.commit())?;

    let mut block: Block = [7; BLOCK_SIZE];
    count("checksum of a block", 1, || {
        block::stamp::<Device>(black_box(&mut block), Kind::Node, MetadataBlock(1));
        Ok(())
    })
}

/// Opens it, works with it, and says how much memory that took.
pub(crate) fn memory(image: &Path, frames: usize) -> Result<(), Fault> {
    let mut pool = open(image, Some(frames))?;
    println!("metadata blocks\t{}", pool.metadata_blocks());
    println!("frames\t{frames}");
    println!("opened\t{}", device::now());
    pool.runs(VOLUME, VirtualBlock(0), VirtualBlock(u64::MAX), &mut |_| ControlFlow::Continue(())).map_err(said)?;
    let mut free = Unmapped(0);
    for number in 0..TRANSACTIONS {
        let blocks = free.some(TRANSACTION);
        insert_all(&mut pool, &blocks).map_err(said)?;
        pool.create_snapshots(&[(2 + number, VOLUME)]).map_err(said)?;
    }
    println!("peak\t{}", device::peak());
    Ok(())
}
