// SPDX-License-Identifier: GPL-2.0

//! Operations of the thin metadata engine, to be counted in instructions and bytes. tests/perf/thin.py puts it together.
//!
//! `run` does each operation many times between two calls at which callgrind begins a count and ends it, and prints a line for
//! each: what, and how often.

mod device;
mod operations;
mod pool;

use std::path::Path;
use std::process::ExitCode;
use stor_pure::pure::thin::error::Error;

const USAGE: &str = "\
stor-thin-bench make IMAGE MAPPINGS BLOCKS   the metadata of a pool that maps so much, on a device with so many blocks
stor-thin-bench run IMAGE MAPPINGS CRC       each operation; CRC is hardware or tables
stor-thin-bench memory IMAGE FRAMES          work with so many blocks of it cached, and the bytes that the engine had";

type Fault = Box<dyn std::error::Error>;

fn said(error: Error) -> String {
    error.to_string()
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match command(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stor-thin-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn command(words: &[&str]) -> Result<(), Fault> {
    match *words {
        ["make", image, mappings, blocks] => pool::make(Path::new(image), blocks.parse()?, mappings.parse()?),
        ["run", image, mappings, crc @ ("hardware" | "tables")] => {
            operations::run(Path::new(image), mappings.parse()?, crc == "tables")
        }
        ["memory", image, frames] => operations::memory(Path::new(image), frames.parse()?),
        _ => Err(USAGE.into()),
    }
}
