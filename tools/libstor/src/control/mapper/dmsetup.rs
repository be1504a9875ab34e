// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The program `dmsetup`: run, and what it prints, read.
//!
//! The program and not the ioctls behind it: it waits for udev as other programs of device-mapper expect it, and needs no
//! unsafe code here.

use crate::control::Answer;
use crate::device::Number;
use nix::errno::Errno;
use std::io::Write;
use std::process::{Command, Stdio};

/// What the texts of errno mean that dmsetup prints: it tells no numbers.
const TEXTS: [(&str, Errno); 10] = [
    ("Device or resource busy", Errno::EBUSY),
    ("File exists", Errno::EEXIST),
    ("No such device or address", Errno::ENXIO),
    ("No such device", Errno::ENODEV),
    ("No such file or directory", Errno::ENOENT),
    ("No data available", Errno::ENOENT),
    ("Invalid argument", Errno::EINVAL),
    ("No space left on device", Errno::ENOSPC),
    ("Read-only file system", Errno::EROFS),
    ("Permission denied", Errno::EPERM),
];

/// Runs dmsetup with something on its stdin; what it prints.
pub(super) fn run(arguments: &[&str], input: &str) -> Answer<String> {
    let mut command = Command::new("dmsetup");
    command.args(arguments).env("LC_ALL", "C");
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|_| Errno::ENODEV)?;
    if let Some(mut stdin) = child.stdin.take() {
        // If it does not read it, it says why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|_| Errno::EIO)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(TEXTS.iter().find(|(text, _)| said.contains(text)).map_or(Errno::EIO, |(_, errno)| *errno))
}

/// A mapped device of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    pub(super) name: String,
    pub(super) uuid: String,
    pub(super) number: Number,
    pub(super) open: u32,
    pub(super) suspended: bool,
    pub(super) read_only: bool,
}

/// Mapped devices whose UUIDs begin with this, in order of their minor numbers.
pub(super) fn list(prefix: &str) -> Answer<Vec<Mapped>> {
    let fields = "name,uuid,major,minor,open,attr";
    let printed = run(&["info", "-c", "--noheadings", "--separator", "|", "-o", fields], "")?;
    let mut all: Vec<_> = printed.lines().filter_map(mapped).filter(|one| one.uuid.starts_with(prefix)).collect();
    all.sort_by_key(|one| one.number.minor);
    Ok(all)
}

fn mapped(line: &str) -> Option<Mapped> {
    let fields: Vec<_> = line.trim().split('|').collect();
    let [name, uuid, major, minor, open, attr] = fields.as_slice() else { return None };
    Some(Mapped {
        name: (*name).into(),
        uuid: (*uuid).into(),
        number: Number { major: major.parse().ok()?, minor: minor.parse().ok()? },
        open: open.parse().ok()?,
        suspended: attr.contains('s'),
        read_only: attr.ends_with('r'),
    })
}

/// What a thin pool says of itself, behind its start, its length and the name of its target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PoolLine {
    pub(super) failed: bool,
    pub(super) transaction: u64,
    /// Used and all, in blocks.
    pub(super) metadata: (u64, u64),
    pub(super) data: (u64, u64),
    pub(super) held_root: u64,
    pub(super) read_only: bool,
    pub(super) out_of_data: bool,
    pub(super) needs_check: bool,
}

/// Reads the status line of a thin pool.
pub(super) fn pool_line(line: &str) -> Option<PoolLine> {
    let mut words = line.split_whitespace().skip_while(|word| *word != "thin-pool").skip(1);
    let first = words.next()?;
    if matches!(first, "Fail" | "Error") {
        return Some(PoolLine { failed: true, ..PoolLine::default() });
    }
    let pair = |word: &str| {
        let (used, all) = word.split_once('/')?;
        Some((used.parse().ok()?, all.parse().ok()?))
    };
    let (transaction, metadata, data) = (first.parse().ok()?, pair(words.next()?)?, pair(words.next()?)?);
    let held_root = words.next()?.parse().unwrap_or(0);
    let rest: Vec<_> = words.collect();
    Some(PoolLine {
        failed: false,
        transaction,
        metadata,
        data,
        held_root,
        read_only: rest.first() == Some(&"ro"),
        out_of_data: rest.first() == Some(&"out_of_data_space"),
        needs_check: rest.contains(&"needs_check"),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_dmsetup_prints_is_read() {
        let line = "tank-data|STOR-1-2|254|3|1|L--w";
        let one = mapped(line).unwrap();
        assert_eq!((one.name.as_str(), one.number.minor, one.open), ("tank-data", 3, 1));
        assert!(!one.suspended && !one.read_only);
        let one = mapped("a|b|254|3|0|L-sr").unwrap();
        assert!(one.suspended && one.read_only);
        assert_eq!(mapped("No devices found"), None);
    }

    #[test]
    fn states_of_a_thin_pool() {
        let line = "0 20971520 thin-pool 3 141/4161600 170/163840 - rw discard_passdown queue_if_no_space - 1024 ";
        let want = PoolLine { transaction: 3, metadata: (141, 4_161_600), data: (170, 163_840), ..PoolLine::default() };
        assert_eq!(pool_line(line), Some(want.clone()));
        let full = line.replace(" rw ", " out_of_data_space ").replace(" - 1024", " needs_check 1024");
        assert_eq!(pool_line(&full), Some(PoolLine { out_of_data: true, needs_check: true, ..want.clone() }));
        let held = line.replace(" - rw ", " 17 ro ");
        assert_eq!(pool_line(&held), Some(PoolLine { held_root: 17, read_only: true, ..want }));
        assert!(pool_line("0 20971520 thin-pool Fail").unwrap().failed);
        assert_eq!(pool_line("0 8 linear 8:0 0"), None);
    }
}
