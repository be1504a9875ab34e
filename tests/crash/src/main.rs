// SPDX-License-Identifier: GPL-2.0

//! `stor-crash`: crash simulation of the thin metadata engine.
//!
//! A [`target`] does random things to volumes on two [`device`]s with volatile caches; the [`crash`] states that their log
//! allows are opened and checked: by the strict checker, so that nothing is damaged and nothing leaks, and block by block.
#![allow(clippy::indexing_slicing)]

mod crash;
mod device;
mod rng;
mod target;

use clap::Parser;
use rng::Rng;
use std::process::ExitCode;
use stor_pure::pure::thin::mutant::{self, Mutant};

/// Simulates crashes of the thin metadata engine.
#[derive(Parser)]
struct Arguments {
    /// The first seed; each sequence has the next
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many different states to look at
    #[arg(long, default_value_t = 20_000)]
    states: usize,
    /// Steps of a sequence
    #[arg(long, default_value_t = 150)]
    steps: usize,
    /// Break each rule in turn, and fail if that is not noticed
    #[arg(long)]
    mutants: bool,
}

type Fault = Box<dyn std::error::Error>;

fn sequence(seed: u64, steps: usize, seen: &mut crash::Seen, most: usize) -> Result<(), Fault> {
    let mut rng = Rng::new(seed);
    let mut target = target::Target::new(&mut rng)?;
    for step in 0..steps {
        target.step(&mut rng).map_err(|error| format!("seed {seed}, step {step}: {error}"))?;
    }
    crash::examine(&target, &mut rng, seen, seed, most)
}

/// The states that were sound and the sequences they were from; or what was wrong.
fn simulate(arguments: &Arguments) -> Result<(usize, u64), Fault> {
    let mut seen = crash::Seen::default();
    let mut seed = arguments.seed;
    while seen.len() < arguments.states {
        let most = arguments.states - seen.len();
        sequence(seed, arguments.steps, &mut seen, most)?;
        seed += 1;
    }
    Ok((seen.len(), seed - arguments.seed))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut missed = false;
    for mutant in Mutant::ALL.into_iter().filter(|_| arguments.mutants) {
        mutant::choose(Some(mutant));
        match simulate(&arguments) {
            Ok((states, _)) => {
                missed = true;
                eprintln!("stor-crash: {mutant:?} was broken, but {states} states are sound");
            }
            Err(error) => println!("{mutant:?} was broken: {}", error.to_string().lines().next().unwrap_or_default()),
        }
        mutant::choose(None);
    }
    match simulate(&arguments) {
        Ok((states, sequences)) => println!("{states} crash states of {sequences} sequences are sound"),
        Err(error) => {
            eprintln!("stor-crash: {error}");
            return ExitCode::FAILURE;
        }
    }
    if missed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
