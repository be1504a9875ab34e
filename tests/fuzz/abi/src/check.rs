// SPDX-License-Identifier: GPL-2.0

//! What must hold whenever nobody is changing anything: LIST, STATUS, the list of engines, sysfs and `/dev` tell the
//! same, and nothing is half made.

use crate::control::{shown, Control};
use crate::Result;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use stor_pure::abi::uapi::*;
use stor_pure::pure::text;

/// Fails with the first contradiction.
pub(crate) fn consistent(control: &Control) -> Result<()> {
    let (volumes, generation) = control.list()?;
    let listed: BTreeSet<String> = volumes.iter().map(|volume| format!("stor{}", volume.index)).collect();
    for folder in ["/sys/block", "/dev"] {
        same(folder, disks(folder)?, listed.clone())?;
    }
    for volume in &volumes {
        one(control, volume).map_err(|error| format!("volume {}: {error}", shown(&volume.name)))?;
    }
    for engine in control.engines()? {
        let driven = volumes.iter().filter(|volume| volume.engine == engine.version).count();
        same("volumes of an engine", engine.volumes, driven as u32)?;
    }
    same("generation, with nothing changed", control.list()?.1, generation)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, right: T) -> Result<()> {
    if found == right {
        Ok(())
    } else {
        Err(format!("{what}: {found:?}, should be {right:?}").into())
    }
}

/// The names in a folder that a disk of Stor has.
fn disks(folder: &str) -> Result<BTreeSet<String>> {
    let is_disk = |name: &String| {
        name.strip_prefix("stor").is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let names: std::io::Result<Vec<String>> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect();
    Ok(names?.into_iter().filter(is_disk).collect())
}

fn one(control: &Control, volume: &stor_volume_info) -> Result<()> {
    let (status, lowers, config) = control.status(volume.uuid)?;
    same("status", format!("{:?}", status.info), format!("{volume:?}"))?;
    let header = config.first_chunk::<8>().copied().unwrap_or_default();
    let segments = header.last_chunk::<4>().map_or(0, |count| u32::from_le_bytes(*count)) as usize;
    same("length of the configuration", config.len(), 8 + 32 * segments)?;

    let name = format!("stor{}", volume.index);
    let sysfs = |path: &str| -> Result<String> {
        Ok(fs::read_to_string(format!("/sys/block/{name}/{path}"))?.trim_end().into())
    };
    same("sysfs dev", sysfs("dev")?, format!("{}:{}", volume.major, volume.minor))?;
    same("sysfs size", sysfs("size")?, (volume.size / 512).to_string())?;
    same("sysfs ro", sysfs("ro")?, u32::from(volume.state & STOR_STATE_READ_ONLY != 0).to_string())?;
    same("sysfs name", sysfs("stor/name")?, shown(&volume.name))?;
    same("sysfs uuid", sysfs("stor/uuid")?, text::Uuid(&volume.uuid).to_string())?;
    same("sysfs target", sysfs("stor/target")?, shown(&volume.target))?;
    same("sysfs engine", sysfs("stor/engine")?, shown(&volume.engine))?;
    let slaves: Result<BTreeSet<String>> = fs::read_dir(format!("/sys/block/{name}/slaves"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect();
    let below: BTreeSet<String> = lowers.iter().map(|lower| shown(&lower.disk)).collect();
    same("sysfs slaves", slaves?, below)?;
    for lower in &lowers {
        let holder = format!("/sys/dev/block/{}:{}/holders/{name}", lower.major, lower.minor);
        same(&holder, fs::exists(&holder)?, true)?;
    }

    let node = fs::metadata(format!("/dev/{name}"))?;
    same("node is a block device", node.file_type().is_block_device(), true)?;
    same("node", (libc::major(node.rdev()), libc::minor(node.rdev())), (volume.major, volume.minor))
}
