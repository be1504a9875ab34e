// SPDX-License-Identifier: GPL-2.0

//! `stor-interop`: Stor's metadata engine and the kernel's dm-thin work on one pool in turn.
//!
//! Each does random things to the volumes, reads them back as the [`model`] says they are, and leaves the pool to the
//! other. In between thin_check and the strict checker look at the metadata, and must find nothing.

mod model;
mod ours;
#[path = "../../crash/src/rng.rs"]
mod rng;
mod side;
mod theirs;

use clap::Parser;
use model::Model;
use ours::{Devices, Ours};
use rng::Rng;
use side::{step, verify, Fault, Side};
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use theirs::{run, Theirs};

/// Works on one pool with Stor's engine and with dm-thin in turn. What the devices hold is lost.
#[derive(Parser)]
struct Arguments {
    /// A device-mapper linear device, which is grown now and then
    #[arg(long)]
    metadata: String,
    /// A device-mapper linear device, which is grown now and then
    #[arg(long)]
    data: String,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How often the implementations take turns
    #[arg(long, default_value_t = 50)]
    turns: u64,
    /// Steps of a turn
    #[arg(long, default_value_t = 60)]
    steps: u64,
    /// Copies of the metadata as dm-thin left it go here
    #[arg(long)]
    keep: Option<PathBuf>,
}

struct Pool {
    metadata: PathBuf,
    data: PathBuf,
}

impl Pool {
    fn devices(&self) -> Result<Devices, Fault> {
        Devices::open(&self.metadata, &self.data)
    }

    /// Both checkers find nothing.
    fn check(&self) -> Result<(), Fault> {
        run("thin_check", &[&self.metadata.display().to_string()])?;
        let findings = ours::findings(self.devices()?)?;
        if findings.is_empty() {
            return Ok(());
        }
        Err(format!("the strict checker found: {}", findings.join("; ")).into())
    }

    fn turn_of_theirs(&self, model: &mut Model, stamp: &mut u64, rng: &mut Rng, steps: u64) -> Result<(), Fault> {
        let ids: Vec<_> = model.volumes.keys().copied().collect();
        let mut side = Box::new(Theirs::open(&self.metadata, &self.data, rng.below(2) == 0, &ids)?);
        verify(&mut *side, model)?;
        for _ in 0..steps {
            step(&mut *side, model, stamp, rng)?;
        }
        verify(&mut *side, model)?;
        side.close()
    }

    fn turn_of_ours(&self, model: &mut Model, stamp: &mut u64, rng: &mut Rng, steps: u64) -> Result<(), Fault> {
        let mut side = Box::new(Ours::open(self.devices()?)?);
        verify(&mut *side, model)?;
        for _ in 0..steps {
            step(&mut *side, model, stamp, rng)?;
        }
        let ids: Vec<_> = model.volumes.keys().copied().collect();
        if rng.below(2) == 0 {
            side.abandon(&ids)?;
        }
        verify(&mut *side, model)?;
        for (&id, volume) in &model.volumes {
            if !side.mapped(id)?.iter().eq(&volume.mapped) {
                return Err(format!("volume {id} has other blocks mapped than were written").into());
            }
        }
        if side.transaction_id() != model.transaction_id {
            return Err(format!("the transaction id is {}", side.transaction_id()).into());
        }
        side.close()
    }
}

/// Makes a device-mapper linear device larger, if there is more behind it.
fn grow(name: &str, sectors: u64) -> Result<(), Fault> {
    let table = run("dmsetup", &["table", name])?;
    let words: Vec<_> = table.split_whitespace().collect();
    let [_, length, "linear", below, offset] = words.as_slice() else {
        return Err(format!("{name} is no linear device").into());
    };
    let most: u64 = std::fs::read_to_string(format!("/sys/dev/block/{below}/size"))?.trim().parse()?;
    let length = (length.parse::<u64>()? + sectors).min(most - offset.parse::<u64>()?);
    run("dmsetup", &["load", name, "--table", &format!("0 {length} linear {below} {offset}")])?;
    run("dmsetup", &["suspend", name])?;
    run("dmsetup", &["resume", name]).map(drop)
}

fn work(arguments: &Arguments) -> Result<(), Fault> {
    let mut rng = Rng::new(arguments.seed);
    let node = |name: &str| PathBuf::from("/dev/mapper").join(name);
    let pool = Pool { metadata: node(&arguments.metadata), data: node(&arguments.data) };
    let (mut model, mut stamp) = (Model::default(), 0);
    // Who begins makes the metadata: dm-thin if it finds zeros.
    let theirs_first = arguments.seed % 2;
    if theirs_first == 0 {
        ours::format(pool.devices()?)?;
    }
    for turn in 0..arguments.turns {
        let theirs = (turn + theirs_first) % 2 == 1;
        let context = |error| format!("seed {}, turn {turn}: {error}", arguments.seed);
        let act = if theirs { Pool::turn_of_theirs } else { Pool::turn_of_ours };
        act(&pool, &mut model, &mut stamp, &mut rng, arguments.steps).map_err(context)?;
        pool.check().map_err(context)?;
        if let Some(folder) = arguments.keep.as_ref().filter(|_| theirs) {
            let copy = folder.join(format!("{}-{turn}", arguments.seed));
            std::io::copy(&mut File::open(&pool.metadata)?, &mut File::create(copy)?)?;
        }
        if rng.below(4) == 0 {
            grow(&arguments.metadata, 2048)?;
        }
        if rng.below(4) == 0 {
            grow(&arguments.data, 64 * model::PAGES * 8)?;
        }
    }
    println!("{} turns on one pool, {} writes, nothing found", arguments.turns, stamp);
    Ok(())
}

fn main() -> ExitCode {
    match work(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stor-interop: {error}");
            ExitCode::FAILURE
        }
    }
}
