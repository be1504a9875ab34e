// SPDX-License-Identifier: GPL-2.0

//! The metadata engine at work on a disk that keeps such a log, and logs with the flushes left out or moved.

use super::{Log, Replay, DISCARD, FLUSH, FUA, MAGIC, MARK, VERSION};
use crate::content::SECTOR;
use crate::rng::Rng;
use crate::Fault;
use std::fs::File;
use std::io::Write;
use stor_pure::heap::{self, Heap};
use stor_pure::pure::thin::block::{Block, BLOCK_SIZE};
use stor_pure::pure::thin::crc::Crc;
use stor_pure::pure::thin::pool::{Options, Pool};
use stor_pure::pure::thin::store::{Failed, Memory, NoMemory, Store};
use stor_pure::pure::units::{MetadataBlock, VirtualBlock};

const BLOCKS: u64 = 256;
/// The metadata's first sector on the disk.
const OFFSET: u64 = 40;

/// A request: its flags, its first sector, and what was written.
type Request = (u64, u64, Vec<u8>);

struct Disk {
    bytes: Vec<u8>,
    log: Vec<Request>,
}

impl Memory for Disk {
    type Array<T> = Heap<T>;
    type Frame = Box<Block>;

    fn frame() -> Result<Box<Block>, NoMemory> {
        Ok(heap::frame())
    }
}

impl Crc for Disk {
    fn crc32c(bytes: &[u8]) -> u32 {
        !crc32c::crc32c(bytes)
    }
}

impl Store for Disk {
    fn metadata_blocks(&self) -> u64 {
        BLOCKS
    }

    fn read(&mut self, at: MetadataBlock, into: &mut Block) -> Result<(), Failed> {
        let begin = at.0 as usize * BLOCK_SIZE;
        into.copy_from_slice(&self.bytes[begin..begin + BLOCK_SIZE]);
        Ok(())
    }

    fn write(&mut self, blocks: &mut dyn Iterator<Item = (MetadataBlock, &Block)>) -> Result<(), Failed> {
        for (at, block) in blocks {
            let begin = at.0 as usize * BLOCK_SIZE;
            self.bytes[begin..begin + BLOCK_SIZE].copy_from_slice(block);
            self.log.push((0, OFFSET + (begin / SECTOR) as u64, block.to_vec()));
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failed> {
        self.log.push((FLUSH, 0, Vec::new()));
        Ok(())
    }

    fn flush_data(&mut self) -> Result<(), Failed> {
        Ok(())
    }
}

/// What the engine writes in some transactions, and data beside it.
fn requests() -> Result<Vec<Request>, Fault> {
    let disk = Disk { bytes: vec![0; BLOCKS as usize * BLOCK_SIZE], log: Vec::new() };
    let options = Options { frames: 64, streams: 1, passdown: false };
    let mut pool = Pool::format(disk, options, 128, 1000)?;
    pool.commit()?;
    pool.create_thin(1)?;
    for round in 0..40 {
        for at in 0..5 {
            let run = pool.take_data(0, 1)?;
            pool.insert(1, VirtualBlock((round * 31 + at * 7) % 500), run)?;
        }
        if round % 8 == 7 {
            pool.create_snapshots(&[(round, 1)])?;
        }
        pool.commit()?;
    }
    let mut log = std::mem::take(&mut pool.store().log);
    log.insert(0, (0, 0, vec![0xff; SECTOR * 3]));
    log.push((MARK, 0, Vec::new()));
    log.push((DISCARD, OFFSET + BLOCKS * 8, vec![0; SECTOR * 8]));
    Ok(log)
}

/// Plays requests, with so many states between two flushes.
fn play(requests: &[Request], between: u64) -> Result<Replay, Fault> {
    let mut bytes = Vec::new();
    let sector = |words: [u64; 4]| {
        let mut sector = words.map(u64::to_le_bytes).concat();
        sector.resize(SECTOR, 0);
        sector
    };
    bytes.extend(sector([MAGIC, VERSION, requests.len() as u64, SECTOR as u64]));
    for (flags, place, data) in requests {
        bytes.extend(sector([*place, (data.len() / SECTOR) as u64, *flags, 0]));
        if flags & DISCARD == 0 {
            bytes.extend(data);
        }
    }
    let path =
        std::env::temp_dir().join(format!("stor-replay-{}-{:?}", std::process::id(), std::thread::current().id()));
    File::create(&path)?.write_all(&bytes)?;
    let log = Log { file: File::open(&path)? };
    std::fs::remove_file(&path)?;
    let mut replay = Replay::new(OFFSET, BLOCKS * 8, between, false, Rng::new(1));
    replay.run(&log).map(|()| replay)
}

#[test]
fn the_engine_is_sound_at_every_flush_and_between() -> Result<(), Fault> {
    let requests = requests()?;
    let seen = play(&requests, 4)?.seen;
    assert!(seen.checked >= 80, "a flush before each superblock, and one behind: {}", seen.checked);
    assert_eq!(seen.flushes, requests.iter().filter(|(flags, ..)| flags & FLUSH != 0).count() as u64);
    assert!(seen.between >= 4 * 75, "{} states", seen.between);
    Ok(())
}

#[test]
fn a_superblock_that_does_not_wait_is_noticed() -> Result<(), Fault> {
    let requests = requests()?;
    // Without the flush in front of each superblock.
    let flushes: Vec<_> = (0..requests.len()).filter(|&at| requests[at].0 & FLUSH != 0).collect();
    let mut missing = requests.clone();
    for &at in flushes.iter().rev() {
        if missing.get(at + 1).is_some_and(|(_, place, data)| *place == OFFSET && !data.is_empty()) {
            missing.remove(at);
        }
    }
    assert!(missing.len() < requests.len() - 20);
    assert!(play(&missing, 20).is_err());
    // A superblock that is durable at once, before what it refers to.
    let mut early = requests.clone();
    for at in (1..early.len()).rev() {
        if early[at].1 == OFFSET && early[at - 1].0 & FLUSH != 0 {
            early[at].0 = FUA;
            early.swap(at - 1, at);
        }
    }
    assert!(play(&early, 0).is_err());
    Ok(())
}
