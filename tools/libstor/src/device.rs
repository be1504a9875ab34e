// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Block devices: how a user names them, what Stor must know of them, who uses them.

use crate::{size, Bytes, Error, Kind, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

/// A device number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Number {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// An opened block device. It is opened to be named to the kernel, which takes it over for itself: this handle reads
/// and writes nothing and is not exclusive.
#[derive(Debug)]
pub struct Device {
    /// The path it was opened by.
    pub path: PathBuf,
    /// Its device number: two paths may lead to the same device.
    pub number: Number,
    /// Its size.
    pub size: Bytes,
    /// The smallest unit of I/O.
    pub logical_block: Bytes,
    /// Whether it refuses writes.
    pub read_only: bool,
    /// The handle; a simulated device has none.
    pub(crate) file: Option<File>,
}

/// The devices of a system, and its clock.
pub trait Host {
    /// Whether there is anything of this path.
    fn exists(&self, path: &Path) -> bool;
    /// Opens a block device.
    fn open(&self, path: &Path) -> Result<Device>;
    /// Opens a block device that the kernel named by number and disk name.
    fn find(&self, number: Number, disk: &str) -> Result<Device>;
    /// The number of the block device that a path leads to, without opening it.
    fn number(&self, path: &Path) -> Result<Number>;
    /// Who keeps a device for itself, as far as can be seen, such as "mounted on /srv".
    fn user(&self, device: &Device) -> Option<String>;
    /// Whether a device cannot be had exclusively now.
    fn busy(&self, device: &Device) -> bool;
    /// Nanoseconds since boot (`CLOCK_BOOTTIME`).
    fn boottime(&self) -> u64;
}

/// A device or a part of it, as a user writes it: `DEVICE[:START[:LENGTH]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The device.
    pub path: PathBuf,
    /// Where the part begins.
    pub start: Bytes,
    /// How long it is; to the end of the device if not given.
    pub length: Option<Bytes>,
}

impl Part {
    /// Reads a part. Names of devices may hold colons (`/dev/disk/by-path/…-scsi-0:0:0:0`), so whatever `exists` is
    /// taken whole.
    pub fn parse(text: &str, exists: impl Fn(&Path) -> bool) -> Result<Self> {
        let whole = Self { path: text.into(), start: Bytes(0), length: None };
        let Some((rest, last)) = text.rsplit_once(':').filter(|_| !exists(&whole.path)) else {
            return Ok(whole);
        };
        match rest.rsplit_once(':') {
            Some((path, start)) if !exists(Path::new(rest)) => {
                Ok(Self { path: path.into(), start: size::parse(start)?, length: Some(size::parse(last)?) })
            }
            _ => Ok(Self { path: rest.into(), start: size::parse(last)?, length: None }),
        }
    }
}

/// What an error says of a device that is in use.
pub(crate) fn busy(device: &Device, user: Option<String>) -> Error {
    let user = user.map(|user| format!(": {user}")).unwrap_or_default();
    Error::new(Kind::Busy, format!("{} is in use{user}", device.path.display())).help("unmount it or stop what uses it")
}
