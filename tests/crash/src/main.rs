// SPDX-License-Identifier: GPL-2.0

//! `stor-crash`: crash simulation of the thin metadata engine.
//!
//! A [`target`] does random [steps](step) with volumes on two [`device`]s with volatile caches. The [`order`] of what it wrote is
//! asserted; the [`crash`] states that its log allows are opened and checked: by the strict checker, so that nothing is damaged
//! and nothing leaks, and block by block. Then requests fail, each in turn ([`fault`]). A [`sequence`] that fails is made
//! as short as it can be.
#![allow(clippy::indexing_slicing)]

mod crash;
mod device;
mod fault;
mod order;
mod rng;
mod sequence;
mod step;
mod target;

use clap::Parser;
use sequence::Sequence;
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
    /// How often a sequence with a request that fails is played; a hundredth of the states if not given
    #[arg(long)]
    faults: Option<u64>,
    /// Steps of a sequence
    #[arg(long, default_value_t = 150)]
    steps: usize,
    /// States of a sequence, at most
    #[arg(long, default_value_t = 1000)]
    each: usize,
    /// Break each rule in turn, and fail if that is not noticed
    #[arg(long)]
    mutants: bool,
}

type Fault = Box<dyn std::error::Error>;

/// What was played and looked at.
#[derive(Default)]
struct Done {
    states: usize,
    sequences: u64,
    faults: u64,
}

/// A sequence that failed.
struct Failure {
    sequence: Sequence,
    /// With requests that fail.
    faults: bool,
    what: String,
}

/// Steps of a sequence whose requests fail.
const FAULTY: usize = 40;

impl Failure {
    fn fails(&self, sequence: &Sequence) -> bool {
        let seen = &mut crash::Seen::default();
        if self.faults {
            fault::survey(sequence, u64::MAX, seen).is_err()
        } else {
            sequence.check(seen, usize::MAX).is_err()
        }
    }

    /// The same, with as few steps as possible.
    fn shrink(mut self) -> Self {
        let tries = if self.faults { 60 } else { 400 };
        self.sequence = self.sequence.shrink(tries, &|sequence| self.fails(sequence));
        self
    }
}

/// Plays sequences until there were enough states and failing requests.
fn simulate(arguments: &Arguments) -> Result<Done, Failure> {
    let mut seen = crash::Seen::default();
    let wanted = arguments.faults.unwrap_or(arguments.states as u64 / 100);
    let mut done = Done::default();
    while seen.len() < arguments.states || done.faults < wanted {
        let seed = arguments.seed + done.sequences;
        let most = arguments.each.min(arguments.states.saturating_sub(seen.len()));
        if most > 0 {
            let sequence = Sequence::of(seed, arguments.steps);
            let result = sequence.check(&mut seen, most);
            result.map_err(|fault| Failure { sequence, faults: false, what: fault.to_string() })?;
        }
        // In a sample every tenth request or so of many sequences; in many, all of them.
        let most = wanted.saturating_sub(done.faults).min((wanted / 8).max(30));
        if most > 0 {
            let sequence = Sequence::of(seed, arguments.steps.min(FAULTY));
            let result = fault::survey(&sequence, most, &mut seen);
            done.faults += result.map_err(|fault| Failure { sequence, faults: true, what: fault.to_string() })?;
        }
        done.sequences += 1;
    }
    done.states = seen.len();
    Ok(done)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut missed = false;
    for mutant in Mutant::ALL.into_iter().filter(|_| arguments.mutants) {
        mutant::choose(Some(mutant));
        match simulate(&arguments) {
            Ok(done) => {
                missed = true;
                eprintln!("stor-crash: {mutant:?} was broken, but {} states are sound", done.states);
            }
            Err(failure) => {
                let what = failure.what.lines().next().unwrap_or_default();
                println!("{mutant:?} was broken: seed {}: {what}", failure.sequence.seed);
            }
        }
        mutant::choose(None);
    }
    match simulate(&arguments) {
        Ok(Done { states, sequences, faults }) => {
            println!("{states} crash states of {sequences} sequences, and {faults} runs with a request that fails, are sound");
        }
        Err(failure) => {
            let Failure { sequence, faults, what } = failure.shrink();
            eprintln!("stor-crash: seed {}: {what}", sequence.seed);
            let with = if faults { ", with a request that fails," } else { "" };
            eprintln!("The shortest sequence that fails{with} has {} steps:", sequence.steps.len());
            for step in sequence.told() {
                eprintln!("  {step}");
            }
            return ExitCode::FAILURE;
        }
    }
    if missed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
