// SPDX-License-Identifier: GPL-2.0

//! Metadata as a pool makes it that is used: volumes that are filled in no order, snapshots of them all, and writes in between.

use crate::rng::Rng;
use crate::Fault;
use clap::Args;
use libstor::metadata::FileStore;
use std::fs::File;
use std::path::Path;
use stor_pure::pure::thin::error::Error;
use stor_pure::pure::thin::pool::{Options, Pool};
use stor_pure::pure::thin::size::{need, Plan};
use stor_pure::pure::thin::space::METADATA_MAX;
use stor_pure::pure::units::VirtualBlock;

/// What is made.
#[derive(Args, Clone, Debug)]
pub struct Shape {
    /// Mappings of all volumes together
    #[arg(long, default_value_t = 10_000)]
    pub mappings: u64,
    /// Volumes; they have the ids from 0 on
    #[arg(long, default_value_t = 2)]
    pub volumes: u64,
    /// Snapshots of all volumes together; their ids come behind the volumes'
    #[arg(long, default_value_t = 4)]
    pub snapshots: u64,
    /// Blocks in a row on both sides, on average: the less, the more fragmented
    #[arg(long, default_value_t = 8)]
    pub run: u64,
    /// Of 1,000 blocks of a volume, those that are rewritten between one snapshot and the next
    #[arg(long, default_value_t = 20)]
    pub rewritten: u64,
    /// Keep a metadata snapshot, taken before the last writes
    #[arg(long)]
    pub held: bool,
    /// What everything follows from
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Operations of a transaction.
const BATCH: u64 = 50_000;

struct Maker<'a> {
    pool: Pool<FileStore>,
    shape: &'a Shape,
    rng: Rng,
    /// Operations since the last commit.
    done: u64,
}

/// Makes a file with metadata.
///
/// # Errors
///
/// It cannot be written.
pub fn generate(path: &Path, shape: &Shape) -> Result<(), Fault> {
    let volumes = shape.volumes.max(1);
    let rounds = shape.snapshots.div_ceil(volumes);
    // Room for what is rewritten, and for what is given up in a transaction.
    let rewritten = shape.mappings.saturating_mul(shape.rewritten).div_ceil(1000);
    let data_blocks = shape.mappings + (rounds + 2) * (rewritten + volumes * shape.run) + shape.mappings / 8 + 1000;
    let plan = Plan { data_blocks, volumes, snapshots: shape.snapshots, rewritten: shape.rewritten };
    // A transaction of many operations needs more than is planned for, and the engine wants room for the most that each can need.
    let blocks = (need(&plan).worst * 3 / 2 + data_blocks / 32 + 256).min(METADATA_MAX);
    File::create(path)?.set_len(blocks * 4096)?;
    let frames = usize::try_from(blocks)?.min(1 << 16);
    let options = Options { frames, streams: 4, passdown: false };
    let pool = Pool::format(FileStore::open(path, true)?, options, 128, data_blocks)?;
    let mut maker = Maker { pool, shape, rng: Rng::new(shape.seed), done: 0 };
    for id in 0..volumes {
        maker.pool.create_thin(id)?;
    }
    maker.fill(volumes)?;
    let mut snapshot = 0;
    for round in 0..=rounds {
        if round == rounds && shape.held {
            maker.pool.reserve_snapshot()?;
        }
        for id in 0..volumes {
            maker.rewrite(id, rewritten / volumes)?;
        }
        let pairs: Vec<(u64, u64)> = (snapshot..shape.snapshots)
            .take(volumes as usize)
            .map(|index| (volumes + index, index % volumes))
            .collect();
        if !pairs.is_empty() {
            maker.pool.create_snapshots(&pairs)?;
            snapshot += pairs.len() as u64;
        }
        maker.pool.commit()?;
    }
    Ok(())
}

/// Virtual blocks for each run: with room for one that is longer than the average.
const SPREAD: u64 = 2;

impl Maker<'_> {
    /// Runs that a volume has room for.
    fn slots(&self) -> u64 {
        (self.shape.mappings / self.shape.volumes.max(1)).div_ceil(self.shape.run.max(1)).max(1)
    }

    /// A run of the average length, so or so.
    fn length(&mut self) -> u64 {
        1 + self.rng.below(2 * self.shape.run.max(1) - 1)
    }

    /// Fills the volumes in turns, each in an order that looks like none.
    fn fill(&mut self, volumes: u64) -> Result<(), Fault> {
        let slots = self.slots();
        // Without a common divisor every slot is met once.
        let mut stride = slots * 5 / 8 + 1;
        while divisor(stride, slots) != 1 {
            stride += 1;
        }
        let mut left = vec![self.shape.mappings / volumes; volumes as usize];
        let mut slot = self.rng.below(slots);
        for round in 0..slots {
            for (id, left) in left.iter_mut().enumerate() {
                let rest = if round + 1 == slots { *left } else { self.length() };
                let length = rest.min(*left).min(SPREAD * self.shape.run.max(1));
                self.write(id as u64, slot * SPREAD * self.shape.run.max(1), length)?;
                *left -= length;
            }
            slot = (slot + stride) % slots;
        }
        self.pool.commit()?;
        Ok(())
    }

    /// Writes so many blocks anew, in some places of a volume: three in four of them in the first tenth of it.
    fn rewrite(&mut self, id: u64, mut left: u64) -> Result<(), Fault> {
        let slots = self.slots();
        while left > 0 {
            let among = if self.rng.below(4) > 0 { slots.div_ceil(10) } else { slots };
            let slot = self.rng.below(among);
            let length = self.length().min(left);
            self.write(id, slot * SPREAD * self.shape.run.max(1), length)?;
            left -= length;
        }
        Ok(())
    }

    fn write(&mut self, id: u64, begin: u64, length: u64) -> Result<(), Fault> {
        let mut at = begin;
        while at < begin + length {
            match self.pool.take_data((id % 4) as usize, begin + length - at) {
                Ok(run) => {
                    // A transaction may have used up what is free; what it gave up is free after it.
                    match self.pool.insert(id, VirtualBlock(at), run) {
                        Err(Error::CommitFirst) => {
                            self.pool.commit()?;
                            self.pool.insert(id, VirtualBlock(at), run)?;
                        }
                        result => result?,
                    }
                    at += run.len();
                }
                Err(Error::CommitFirst) => self.pool.commit()?,
                Err(error) => return Err(error.into()),
            }
            self.done += 1;
            if self.done % BATCH == 0 {
                self.pool.commit()?;
            }
        }
        Ok(())
    }
}

fn divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
