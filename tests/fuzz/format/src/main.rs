// SPDX-License-Identifier: GPL-2.0

//! `stor-format-fuzz`: damages what Stor reads from a disk, and watches the readers. `ci/fuzz` builds and runs it.
//!
//! A [`target`] takes any bytes as the description of a structure on a disk, whole or damaged, and reads it in every way
//! that Stor does. It may answer with an error; it may not panic (an overflow is one), loop, or take more than
//! 64 MiB ([`watch`], [`memory`]). Inputs are changed ([`mutate`]), and those that reach code that none before them
//! has reached are kept ([`run`], [`coverage`]). Targets put the checksums right, so that it is the contents that are read.
//!
//! The kept inputs are in `corpus/`, and those that have once done harm in `corpus/found/`; `cargo test` runs each once.
#![deny(unsafe_code)]
// A program for tests: numbers are small, and one that breaks may break loudly.
#![allow(clippy::panic)]

mod corpus;
#[allow(unsafe_code)]
mod coverage;
#[allow(unsafe_code)]
mod memory;
mod mutate;
#[allow(dead_code)] // each fuzzer uses some of it
#[path = "../../rng.rs"]
mod rng;
mod run;
mod target;
mod watch;

use run::Plan;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use target::{Target, TARGETS};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[global_allocator]
static HEAP: memory::Counted = memory::Counted;

const USAGE: &str = "usage:
  stor-format-fuzz run SECONDS SEED CORPUS OUT [TARGET…]
      for so long each, from the inputs in the folder CORPUS; new ones and findings go to OUT, and those there are used
  stor-format-fuzz replay TARGET FILE
      runs the inputs in a file
  stor-format-fuzz list
      tells the targets";

fn main() -> ExitCode {
    // No crate for this: it would be built, with counters, for nothing else.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match act(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("stor-format-fuzz: {error}");
            ExitCode::FAILURE
        }
    }
}

fn find(name: &str) -> Result<&'static Target> {
    TARGETS.iter().find(|target| target.name == name).ok_or_else(|| format!("there is no target {name}").into())
}

fn act(arguments: &[&str]) -> Result<bool> {
    match arguments {
        ["run", seconds, seed, kept, out, targets @ ..] => {
            if coverage::edges() == 0 {
                return Err("built without counters: use ci/fuzz".into());
            }
            let named: Result<Vec<_>> = targets.iter().map(|name| find(name)).collect();
            let targets = if targets.is_empty() { TARGETS.iter().collect() } else { named? };
            let out = PathBuf::from(out);
            std::fs::create_dir_all(&out)?;
            watch::start(out.clone());
            let plan = Plan { seconds: seconds.parse()?, seed: seed.parse()?, kept: kept.into(), out };
            let mut passed = 0;
            for target in &targets {
                passed += usize::from(run::session(target, &plan)?);
            }
            println!("{passed} passed, {} failed, 0 skipped", targets.len() - passed);
            Ok(passed == targets.len())
        }
        ["replay", target, file] => {
            watch::start(std::env::temp_dir());
            Ok(run::replay(find(target)?, &corpus::read(Path::new(file))?))
        }
        ["list"] => {
            TARGETS.iter().for_each(|target| println!("{:<12} {}", target.name, target.about));
            Ok(true)
        }
        _ => Err(USAGE.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test for all of them: they share one heap, which is counted.
    #[test]
    fn kept_inputs_do_no_harm() {
        watch::start(std::env::temp_dir());
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        let mut failed = Vec::new();
        for target in TARGETS {
            let kept = corpus::read(&run::file(&folder, target)).unwrap_or_default();
            assert!(!kept.is_empty(), "{}: no inputs are kept", target.name);
            let found = corpus::read(&run::file(&folder.join("found"), target)).unwrap_or_default();
            let inputs: Vec<_> = (target.seeds)().into_iter().chain(kept).chain(found).collect();
            if !run::replay(target, &inputs) {
                failed.push(target.name);
            }
        }
        assert!(failed.is_empty(), "{failed:?}");
    }

    #[test]
    fn a_corpus_is_read_as_it_was_written() {
        let path = std::env::temp_dir().join(format!("stor-corpus-{}", std::process::id()));
        let inputs = vec![vec![], vec![1], vec![0xab, 0, 3], vec![7, 0, 0]];
        corpus::write(&path, &inputs).unwrap_or_default();
        let read = corpus::read(&path).unwrap_or_default();
        std::fs::remove_file(&path).unwrap_or_default();
        assert_eq!(read, [vec![], vec![1], vec![7], vec![0xab, 0, 3]]);
    }
}
