// SPDX-License-Identifier: GPL-2.0

//! `stor-abi-fuzz`: attacks the control ABI (`/dev/stor-control`) of a loaded stor.ko. The scenarios in `tests/vm/abi`
//! run it; `docs/testing.md` says with which counts.
//!
//! - [`calls`]: calls of every wrong kind, one caller, each answer checked by the [`oracle`] against the [`world`]
//! - [`concurrent`], [`worker`]: everything at once from several processes, which are killed now and then
//! - [`events`], [`rules`], [`faults`]: reading events; privileges and ABI numbers; memory that is not there
//! - [`check`]: what must hold whenever nobody is changing anything
//! - [`generate`], [`rng`]: the calls, made from a seed; [`control`], [`sys`]: how they are made
#![deny(unsafe_code)]
// A program for tests: numbers are small, and one that breaks may break loudly.
#![allow(clippy::panic)]

mod calls;
mod check;
mod concurrent;
mod control;
mod events;
mod faults;
mod generate;
mod oracle;
#[path = "../../rng.rs"]
mod rng;
mod rules;
#[allow(unsafe_code)]
mod sys;
mod worker;
mod world;

use clap::{Parser, Subcommand};
use control::{Control, Table};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;
use stor_pure::abi::uapi::{STOR_NR_REMOVE, STOR_NR_VERSION};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Attacks the control ABI of Stor. Only for machines that can be lost.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Wrong calls of every kind, each answer checked
    Calls {
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[arg(long, default_value_t = 20_000)]
        calls: u64,
        /// One call in so many has nothing wrong in it
        #[arg(long, default_value_t = 200)]
        clean: usize,
        /// Fail if it takes longer
        #[arg(long)]
        seconds: Option<u64>,
        /// Disks to put volumes on; their content is lost
        disks: Vec<PathBuf>,
    },
    /// Everything at once, from several processes
    Concurrent {
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[arg(long, default_value_t = 4)]
        processes: usize,
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        /// Kill a process once in so many tenths of a second
        #[arg(long, default_value_t = 0)]
        kill: usize,
        /// A process that did nothing for so many seconds is stuck
        #[arg(long, default_value_t = 50)]
        stall: u64,
        disks: Vec<PathBuf>,
    },
    /// Reading and polling for events
    Events { disk: PathBuf },
    /// Callers of another ABI
    Abi,
    /// Callers without privileges
    Privileges,
    /// Failing allocations; needs a kernel with fault injection
    Faults { disk: PathBuf, more: Option<PathBuf> },
    /// Creates and removes a volume so many times
    Cycles { times: u64, disk: PathBuf },
    /// Has a volume go on behind the first MiB of a device
    Insert { name: String, device: PathBuf },
    /// Checks that LIST, STATUS, sysfs and /dev tell the same
    Check,
    #[command(hide = true)]
    Worker {
        #[arg(long)]
        seed: u64,
        disks: Vec<PathBuf>,
    },
    #[command(hide = true)]
    Unprivileged,
    #[command(hide = true)]
    Compat,
}

fn main() -> ExitCode {
    match run(Arguments::parse().mode) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stor-abi-fuzz: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mode: Mode) -> Result<()> {
    match mode {
        Mode::Calls { seed, calls, clean, seconds, disks } => {
            let compat = match Command::new("/proc/self/exe").arg("compat").status()?.code() {
                Some(0) => true,
                Some(_) => return Err("32-bit calls are answered wrongly".into()),
                None => false,
            };
            println!("seed {seed}{}", if compat { "" } else { ", without 32-bit calls: this kernel has none" });
            calls::run(&calls::Plan { seed, calls, clean, limit: seconds.map(Duration::from_secs), compat, disks })
        }
        Mode::Concurrent { seed, processes, seconds, kill, stall, disks } => {
            println!("seed {seed}");
            let (duration, stall) = (Duration::from_secs(seconds), Duration::from_secs(stall));
            concurrent::run(&concurrent::Plan { seed, processes, duration, kill, stall, disks })
        }
        Mode::Events { disk } => events::run(&disk),
        Mode::Abi => rules::abi(),
        Mode::Privileges => rules::privileges(),
        Mode::Faults { disk, more } => faults::run(&disk, more.as_deref()),
        Mode::Cycles { times, disk } => cycles(times, &disk),
        Mode::Insert { name, device } => insert(&name, &device),
        Mode::Check => check::consistent(&Control::open()?),
        Mode::Worker { seed, disks } => worker::run(seed, &disks),
        Mode::Unprivileged => rules::unprivileged(),
        Mode::Compat => compat(),
    }
}

fn cycles(times: u64, disk: &Path) -> Result<()> {
    let (control, disk) = (Control::open()?, File::open(disk)?);
    for time in 0..times {
        let uuid = [1; 16];
        control.create(uuid, &format!("cycle{time}"), &Table::whole(disk.as_raw_fd(), 1 << 20))?;
        control.volume(STOR_NR_REMOVE, uuid)?;
    }
    println!("created and removed a volume {times} times");
    check::consistent(&control)
}

fn insert(name: &str, device: &Path) -> Result<()> {
    let (control, device) = (Control::open()?, File::open(device)?);
    let volumes = control.list()?.0;
    let volume = volumes.iter().find(|volume| control::shown(&volume.name) == name).ok_or("no such volume")?;
    let new = |number: u8, word: &str| (volume.uuid.map(|byte| byte ^ number), format!("{name}.{word}"));
    let number = volumes.len() as u8;
    let (below, joined) = (new(number, &format!("below{number}")), new(number + 1, &format!("joined{number}")));
    let inserted =
        control.insert_behind((volume.uuid, volume.size), (below.0, &below.1), (joined.0, &joined.1), &device);
    Ok(inserted.map_err(|error| format!("insert answered {error:?}"))?)
}

/// Whether a 32-bit call works here; if not, this dies.
fn compat() -> Result<()> {
    let control = Control::open()?;
    // The header is missing; the answer counts.
    let command = control::command(STOR_NR_VERSION, 16);
    match sys::ioctl_compat(control.0.as_raw_fd(), command, 0) {
        Err(nix::errno::Errno::EINVAL | nix::errno::Errno::EFAULT) => Ok(()),
        answer => Err(format!("a 32-bit call answered {answer:?}").into()),
    }
}
