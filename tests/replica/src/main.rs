// SPDX-License-Identifier: GPL-2.0

//! `stor-replica-crash`: crash simulation of replicas.
//!
//! A [`volume`] is the planners of `pure::replica` and a few disks ([`device`]) with volatile caches. A [`schedule`] starts it with
//! whatever legs are there, writes, flushes and reads, lets requests end in any order or fail and disks go at any time, each at
//! its own, and starts it again from what is left. What its user knows of it ([`truth`]) is compared with what he reads; [`check`] looks at
//! the disks as a start, or md, would find them.
#![allow(clippy::indexing_slicing)]

#[cfg(test)]
#[allow(clippy::panic)]
mod change;
mod check;
mod device;
mod members;
#[path = "../../crash/src/rng.rs"]
mod rng;
#[cfg(test)]
#[allow(clippy::panic)]
mod scenario;
mod schedule;
mod truth;
mod volume;
mod world;

use clap::Parser;
use schedule::{play, Done, Way};
use std::process::ExitCode;
use stor_pure::pure::replica::mutant::{self, Mutant};

/// Simulates crashes of replicas.
#[derive(Parser)]
struct Arguments {
    /// The first seed; each schedule has the next
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many schedules to play
    #[arg(long, default_value_t = 20_000)]
    schedules: u64,
    /// Break each rule in turn, and let disks lie about flushes, and fail if that is not noticed
    #[arg(long)]
    mutants: bool,
    /// Break this rule only, and tell how that fails
    #[arg(long)]
    mutant: Option<usize>,
    /// Say what each schedule does
    #[arg(long)]
    tell: bool,
}

type Fault = Box<dyn std::error::Error>;

/// A schedule that failed.
struct Failure {
    seed: u64,
    what: String,
}

/// Plays schedules one after the other.
fn simulate(arguments: &Arguments, lying: bool) -> Result<Done, Failure> {
    let mut done = Done::default();
    for seed in arguments.seed..arguments.seed.saturating_add(arguments.schedules) {
        let (result, told) = play(Way { seed, lying }, arguments.tell);
        told.iter().for_each(|line| println!("{seed}: {line}"));
        done.add(result.map_err(|fault| Failure { seed, what: fault.to_string() })?);
    }
    Ok(done)
}

/// Breaks every rule; whether all of it was noticed.
fn broken(arguments: &Arguments) -> bool {
    let mut noticed = true;
    let mut tell = |name: &str, result: Result<Done, Failure>| match result {
        Ok(_) => {
            noticed = false;
            eprintln!("stor-replica-crash: {name} was broken, but {} schedules are sound", arguments.schedules);
        }
        Err(Failure { seed, what }) => println!("{name} was broken: seed {seed}: {what}"),
    };
    for rule in Mutant::ALL {
        mutant::choose(Some(rule));
        tell(&format!("{rule:?}"), simulate(arguments, false));
    }
    mutant::choose(None);
    tell("the promise of a flush", simulate(arguments, true));
    noticed
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let noticed = !arguments.mutants || broken(&arguments);
    mutant::choose(arguments.mutant.and_then(|number| Mutant::ALL.get(number).copied()));
    match simulate(&arguments, false) {
        Ok(Done { starts, refusals, forced, crashes, apart, changes }) => {
            println!(
                "{} schedules with {starts} starts, {forced} that were forced, {changes} that changed the members, {refusals} \
                 refused, {apart} of them because legs were apart, and {crashes} crashes are sound",
                arguments.schedules
            );
        }
        Err(Failure { seed, what }) => {
            eprintln!("stor-replica-crash: seed {seed}: {what}");
            play(Way { seed, lying: false }, true).1.iter().for_each(|line| eprintln!("  {line}"));
            return ExitCode::FAILURE;
        }
    }
    if noticed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
