// SPDX-License-Identifier: GPL-2.0

//! `stor-pool-test`: tries pools of thin volumes, whoever implements them ([`pool`]).
//!
//! `cuts` keeps the disks busy, cuts their power, and says whether everything that was durable is there ([`cuts`], [`judge`]).
//! `sequences` plays snapshots, clones, rollbacks and deletions beside a model ([`sequence`]). `replay` looks at the metadata
//! at every flush that dm-log-writes logged ([`replay`]), `check` at that of a closed pool.
#![allow(clippy::indexing_slicing)]

mod content;
mod cuts;
#[allow(unsafe_code)]
mod device;
mod image;
mod judge;
mod load;
mod pool;
mod record;
mod replay;
#[path = "../../crash/src/rng.rs"]
mod rng;
mod sequence;
mod state;

use clap::{Args, Parser, Subcommand};
use cuts::Trial;
use image::Image;
use pool::Pool;
use replay::{Log, Replay};
use rng::Rng;
use sequence::Play;
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Tries pools of thin volumes: under load when the power goes, and with snapshots of all kinds.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

/// The pool, and what its volumes are like.
#[derive(Args)]
struct PoolArguments {
    /// Which pool: tests/vm/lib/pool-FLAVOUR.sh knows how
    #[arg(long)]
    flavour: String,
    /// The program that calls its functions
    #[arg(long, default_value = "/stor/tests/vm/lib/pool")]
    program: PathBuf,
    /// Sectors of a volume
    #[arg(long, default_value_t = 32768)]
    sectors: u64,
    /// Sectors of a data block
    #[arg(long, default_value_t = 128)]
    block: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Subcommand)]
enum What {
    /// Cuts the power of a pool's disks under load, again and again
    Cuts {
        #[command(flatten)]
        pool: PoolArguments,
        /// How often; 0 only looks at what an earlier call left
        #[arg(long, default_value_t = 10)]
        rounds: u64,
        /// Threads of the load
        #[arg(long, default_value_t = 3)]
        threads: u64,
        /// The cut comes after about so many milliseconds at most
        #[arg(long, default_value_t = 1500)]
        within: u64,
        /// The pool has too little room: writes may be refused for that
        #[arg(long)]
        tight: bool,
        /// One volume, of which no snapshots are made: of what knows nothing else
        #[arg(long)]
        single: bool,
        /// So many disks, the first ones, may lose their power before the others, each at its own time, and have it again one after the
        /// other: the pool starts without those that are gone, or says why not
        #[arg(long, default_value_t = 0)]
        apart: u64,
        /// For what has to survive the cut of the guest
        #[arg(long, default_value = "/tmp")]
        folder: PathBuf,
    },
    /// Plays random sequences of snapshots on a pool without volumes
    Sequences {
        #[command(flatten)]
        pool: PoolArguments,
        /// How many
        #[arg(long, default_value_t = 10)]
        count: u64,
        /// Steps of each
        #[arg(long, default_value_t = 60)]
        steps: u64,
        /// Writes of a step, at most
        #[arg(long, default_value_t = 12)]
        writes: u64,
    },
    /// Checks metadata at every flush point of a log of dm-log-writes
    Replay {
        log: PathBuf,
        /// Where the metadata is on the logged disk: its first sector
        #[arg(long, default_value_t = 0)]
        offset: u64,
        /// and how many it has
        #[arg(long)]
        sectors: u64,
        /// So many states between two flush points
        #[arg(long, default_value_t = 0)]
        between: u64,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Blocks that nobody uses are counted, and not wrong
        #[arg(long)]
        leaks: bool,
        /// Fail if there were fewer flush points with new metadata
        #[arg(long, default_value_t = 1)]
        least: u64,
    },
    /// Checks the metadata of a closed pool
    Check {
        metadata: PathBuf,
        /// Blocks that nobody uses are counted, and not wrong
        #[arg(long)]
        leaks: bool,
    },
}

impl PoolArguments {
    fn pool(&self) -> Pool {
        Pool { program: self.program.clone(), flavour: self.flavour.clone() }
    }
}

fn work(what: What) -> Result<(), Fault> {
    match what {
        What::Cuts { pool, rounds, threads, within, tight, single, apart, folder } => {
            let (seed, sectors, block) = (pool.seed, pool.sectors, pool.block);
            let pool = pool.pool();
            let trial = Trial { pool, seed, rounds, threads, sectors, block, within, tight, single, apart, folder };
            println!("{}", trial.run().map_err(|error| format!("seed {seed}, {error}"))?);
        }
        What::Sequences { pool: arguments, count, steps, writes } => {
            let pool = arguments.pool();
            pool.open(&[])?;
            let mut play = Play::new(&pool, arguments.sectors, arguments.block, writes);
            for seed in arguments.seed..arguments.seed + count {
                play.sequence(Rng::new(seed), steps).map_err(|error| format!("sequence of seed {seed}, {error}"))?;
                eprintln!("seed {seed}: {}", play.counts);
            }
            pool.close()?;
            println!("{}", play.counts);
        }
        What::Replay { log, offset, sectors, between, seed, leaks, least } => {
            let log = Log { file: File::open(&log).map_err(|error| format!("{}: {error}", log.display()))? };
            let mut replay = Replay::new(offset, sectors, between, leaks, Rng::new(seed));
            replay.run(&log)?;
            println!("{}", replay.seen);
            if replay.seen.checked < least {
                return Err(format!("only {} flush points, {least} are wanted", replay.seen.checked).into());
            }
        }
        What::Check { metadata, leaks } => {
            let bytes = std::fs::read(&metadata).map_err(|error| format!("{}: {error}", metadata.display()))?;
            let leaks = Image(bytes).check(leaks)?.sound()?;
            if leaks != 0 {
                println!("leaks");
            }
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    match work(Arguments::parse().what) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stor-pool-test: {error}");
            ExitCode::FAILURE
        }
    }
}
