// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The kernel's own md: arrays as sysfs shows them, and mdadm to make and to stop one.

use super::host::{names, number};
use crate::device::Number;
use crate::replica::array::{Array, Member};
use crate::{Error, Kind, Result, Uuid};
use nix::errno::Errno;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where disks are.
const BLOCK: &str = "/sys/class/block";
/// md takes no longer names.
const NAME_MAX: usize = 32;

fn read(folder: &Path, file: &str) -> String {
    fs::read_to_string(folder.join(file)).unwrap_or_default().trim().into()
}

/// Whether this disk is an array whose legs begin as those of replicas do: what is on them is not found on the array as well.
pub(super) fn is_of_legs(name: &str) -> bool {
    let folder = Path::new(BLOCK).join(name).join("md");
    // One that does not run may not know its level yet.
    matches!(read(&folder, "level").as_str(), "raid1" | "") && read(&folder, "metadata_version") == "1.2"
}

/// All of them.
pub(super) fn arrays() -> Vec<Array> {
    let is = |name: &String| name.starts_with("md") && is_of_legs(name);
    names(Path::new(BLOCK)).into_iter().filter(is).map(array).collect()
}

fn array(name: String) -> Array {
    let folder = Path::new(BLOCK).join(&name).join("md");
    let legs = names(&folder).into_iter().filter(|entry| entry.starts_with("dev-"));
    let members = legs.filter_map(|entry| member(&folder.join(entry))).collect();
    let node = Path::new("/dev").join(&name);
    let own = number(&node).ok();
    let links = names(Path::new("/dev/md")).into_iter().map(|link| Path::new("/dev/md").join(link));
    let path = links.filter(|link| own.is_some() && number(link).ok() == own).min().unwrap_or(node);
    Array {
        path,
        state: read(&folder, "array_state"),
        action: read(&folder, "sync_action"),
        percent: percent(&read(&folder, "sync_completed")),
        members,
        name,
    }
}

/// How much of what `sync_completed` says is done: `SECTORS / SECTORS`, or a word.
fn percent(completed: &str) -> Option<u64> {
    let (done, all) = completed.split_once(" / ")?;
    let (done, all): (u64, u64) = (done.parse().ok()?, all.parse().ok()?);
    Some(done.saturating_mul(100).checked_div(all)?.min(100))
}

fn member(folder: &Path) -> Option<Member> {
    let dev = read(folder, "block/dev");
    let (major, minor) = dev.split_once(':')?;
    Some(Member {
        number: Number { major: major.parse().ok()?, minor: minor.parse().ok()? },
        slot: read(folder, "slot").parse().ok(),
        words: read(folder, "state").split(',').filter(|word| !word.is_empty()).map(Into::into).collect(),
    })
}

/// There is no mdadm.
pub(in crate::control) fn no_mdadm() -> Error {
    Error::new(Kind::NotFound, "mdadm, by which the kernel's md is asked, is not there")
        .help("install the package mdadm")
}

fn mdadm(arguments: &[&str]) -> Result<()> {
    let output =
        Command::new("mdadm").args(arguments).env("LC_ALL", "C").output().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => no_mdadm(),
            _ => Error::new(Kind::Failure, format!("mdadm cannot be run: {error}")),
        })?;
    if output.status.success() {
        return Ok(());
    }
    // Its first line says why, the others what comes of that.
    let said = String::from_utf8_lossy(&output.stderr);
    let why = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("mdadm failed");
    let why = why.trim_start_matches("mdadm: ").trim_end_matches('.');
    let kind = if ["busy", "in use", "exclusive access"].iter().any(|word| why.contains(word)) {
        Kind::Busy
    } else {
        Kind::Failure
    };
    let error =
        Error::new(kind, format!("mdadm: {why}")).help("see the kernel log; stop what uses it, if anything does");
    Err(if kind == Kind::Busy { error.errno(Errno::EBUSY) } else { error })
}

/// Whether it can be asked for anything.
pub(super) fn ready() -> Result<()> {
    mdadm(&["--version"])?;
    let raid1 = fs::read_to_string("/proc/mdstat").is_ok_and(|text| text.contains("[raid1]"));
    // The kernel loads it when it is wanted, if it can.
    let loaded = raid1 || Command::new("modprobe").arg("raid1").output().is_ok_and(|output| output.status.success());
    match loaded {
        true => Ok(()),
        false => Err(Error::new(Kind::NoModule, "the kernel has no RAID1 of md").help("load it: modprobe raid1")),
    }
}

/// A UUID as mdadm reads it.
fn words(uuid: Uuid) -> String {
    let digits = uuid.simple().to_string();
    let word = |at: usize| digits.get(at..at + 8).unwrap_or_default();
    [0, 8, 16, 24].map(word).join(":")
}

/// The name that an array gets in /dev/md: its own, if mdadm takes it as one.
fn node(name: &str, uuid: Uuid) -> PathBuf {
    let portable = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    // Numbers are names of other nodes to mdadm.
    let number = name.trim_start_matches("md").trim_start_matches("_d").bytes().all(|byte| byte.is_ascii_digit());
    let fits = name.len() < NAME_MAX && name.bytes().all(portable) && !number;
    Path::new("/dev/md").join(if fits { name.into() } else { format!("stor-{}", &words(uuid).replace(':', "")[..8]) })
}

/// Assembles these legs and no others.
pub(super) fn assemble(name: &str, uuid: Uuid, legs: &[PathBuf], read_only: bool) -> Result<()> {
    let (node, uuid) = (node(name, uuid), format!("--uuid={}", words(uuid)));
    let node = node.to_string_lossy();
    let paths: Vec<_> = legs.iter().map(|leg| leg.to_string_lossy()).collect();
    let mut arguments = vec!["--assemble", node.as_ref(), "--run", "--config=none", uuid.as_str()];
    if read_only {
        arguments.push("--readonly");
    }
    arguments.extend(paths.iter().map(AsRef::as_ref));
    mdadm(&arguments)?;
    if !read_only {
        // What has to be rebuilt waits for the first write otherwise. If it is writable already, mdadm calls that an error.
        let _ = mdadm(&["--readwrite", node.as_ref()]);
    }
    Ok(())
}

/// Stops one.
pub(super) fn stop(array: &Array) -> Result<()> {
    let node = Path::new("/dev").join(&array.name);
    mdadm(&["--stop", node.to_string_lossy().as_ref()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mdadm_takes() {
        let uuid = Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0);
        assert_eq!(words(uuid), "12345678:9abcdef0:12345678:9abcdef0");
        for name in ["data", "a.b_c-d", "md1x"] {
            assert_eq!(node(name, uuid), Path::new("/dev/md").join(name));
        }
        for name in ["7", "md0", "md_d1", "a+b"] {
            assert_eq!(node(name, uuid), Path::new("/dev/md/stor-12345678"), "{name}");
        }
    }

    #[test]
    fn how_far_it_is() {
        assert_eq!(percent("512 / 2048"), Some(25));
        assert_eq!((percent("none"), percent("0 / 0")), (None, None));
    }
}
