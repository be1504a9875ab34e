// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a device holds that should not be overwritten by mistake: asked of libblkid, by its own program.
//!
//! `blkid -p` looks at the device itself, not at a cache, for every kind of contents that libblkid knows. The program is on
//! every system that has util-linux, and always as new as the library; the library itself would bring unsafe code and a C
//! compiler's view of its header into each build. `wipefs` erases what it finds.

use crate::{Error, Kind, Result};
use std::path::Path;
use std::process::Command;

/// A device on which nothing is found.
const NOTHING: i32 = 2;
/// One on which several things are found that exclude each other.
const SEVERAL: i32 = 8;

/// What a device holds, in words, or `None`.
///
/// # Errors
///
/// It cannot be told.
pub(crate) fn probe(path: &Path) -> Result<Option<String>> {
    let help = "install util-linux, or use --force if what it holds can be lost";
    let output = Command::new("blkid").args(["-p", "-o", "export"]).arg(path).env("LC_ALL", "C").output();
    let output = output.map_err(|error| {
        Error::new(Kind::Failure, format!("what {} holds cannot be told: blkid: {error}", path.display())).help(help)
    })?;
    match output.status.code() {
        Some(0) => Ok(Some(words(&String::from_utf8_lossy(&output.stdout)))),
        Some(NOTHING) => Ok(None),
        Some(SEVERAL) => Ok(Some("several things at once (see 'wipefs --no-act')".into())),
        _ => {
            let why = String::from_utf8_lossy(&output.stderr);
            let why = why.lines().next().unwrap_or("blkid failed");
            Err(Error::new(Kind::Failure, format!("what {} holds cannot be told: {why}", path.display())).help(help))
        }
    }
}

/// What blkid's export format says: `KEY=value` lines.
fn words(export: &str) -> String {
    let get = |key: &str| {
        let value = export.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        value.filter(|value| !value.is_empty())
    };
    let label = get("LABEL").map(|label| format!(" '{label}'")).unwrap_or_default();
    match (get("TYPE"), get("PTTYPE"), get("USAGE")) {
        (Some(kind), _, Some("filesystem")) => format!("a file system ({kind}){label}"),
        (Some("swap"), ..) => format!("swap{label}"),
        (Some(kind), _, Some("raid")) => format!("a member of {kind}{label}"),
        (Some(kind), _, Some("crypto")) => format!("encrypted data ({kind}){label}"),
        (Some(kind), ..) => format!("{kind}{label}"),
        (None, Some(table), _) => format!("a partition table ({table})"),
        (None, None, _) => "something that libblkid knows".into(),
    }
}

/// Erases what [`probe`] finds.
///
/// # Errors
///
/// It cannot be erased.
pub(crate) fn wipe(path: &Path) -> Result<()> {
    let output = Command::new("wipefs").args(["--all", "--quiet"]).arg(path).env("LC_ALL", "C").output();
    let failed = |why: &str| {
        Error::new(Kind::Failure, format!("what {} holds cannot be erased: {why}", path.display()))
            .help("erase it by 'wipefs --all'")
    };
    let output = output.map_err(|error| failed(&format!("wipefs: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("wipefs failed")))
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn what_blkid_says_in_words() {
        for (export, said) in [
            ("DEVNAME=/dev/vda\nLABEL=srv\nTYPE=ext4\nUSAGE=filesystem\n", "a file system (ext4) 'srv'"),
            ("DEVNAME=/dev/vda\nPTUUID=1\nPTTYPE=gpt\n", "a partition table (gpt)"),
            ("TYPE=LVM2_member\nUSAGE=raid\n", "a member of LVM2_member"),
            ("TYPE=linux_raid_member\nUSAGE=raid\nLABEL=a:0\n", "a member of linux_raid_member 'a:0'"),
            ("TYPE=crypto_LUKS\nUSAGE=crypto\n", "encrypted data (crypto_LUKS)"),
            ("TYPE=swap\nUSAGE=other\n", "swap"),
            ("MINIMUM_IO_SIZE=512\n", "something that libblkid knows"),
        ] {
            assert_eq!(words(export), said);
        }
    }
}
