// SPDX-License-Identifier: GPL-2.0

//! `stor-thin-gen`: makes dm-thin metadata for tests and benches, and damages it.

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use stor_thin_gen::damage::{self, Damage};
use stor_thin_gen::generate::{generate, Shape};
use stor_thin_gen::Fault;

/// Makes dm-thin metadata for tests and benches, and damages it.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a file with metadata
    Generate {
        /// The file
        file: PathBuf,
        #[command(flatten)]
        shape: Shape,
    },
    /// Damage metadata in a file; checksums are made right again
    Damage {
        /// What to damage, as 'list' names it
        kind: String,
        /// The file
        file: PathBuf,
        /// What everything follows from
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// List what can be damaged
    List,
}

fn run() -> Result<(), Fault> {
    match Arguments::parse().command {
        Command::Generate { file, shape } => generate(&file, &shape),
        Command::Damage { kind, file, seed } => {
            let damage = Damage::named(&kind).ok_or_else(|| format!("no damage is called {kind}; see 'list'"))?;
            println!("{}", damage::apply(&file, damage, seed)?);
            Ok(())
        }
        Command::List => {
            for Damage { name, what, .. } in damage::ALL {
                println!("{name:22}  {what}");
            }
            Ok(())
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stor-thin-gen: {error}");
            ExitCode::FAILURE
        }
    }
}
