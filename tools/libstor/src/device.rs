// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Block devices: how a user names them, what Stor must know of them, who uses them.

use crate::control::Answer;
use crate::replica::array::Array;
use crate::reservation::{Key, Reservations, Step};
use crate::{size, Bytes, Error, Kind, Result, Uuid};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

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
    /// What requests are best a multiple of; 0 if it does not say.
    pub optimal: Bytes,
    /// Whether it refuses writes.
    pub read_only: bool,
    /// The handle; a simulated device has none.
    pub(crate) file: Option<File>,
}

/// What is looked for. In a volume of Stor its user has what he wants: no device of a pool is looked for in one, but in replicas, which are
/// to those who use them what disks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A device of a pool.
    Pools,
    /// A leg or a tie-break of a replica.
    Legs,
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
    /// Opens what a device holds, to read or write it.
    fn content(&self, device: &Device, access: Access) -> Result<Rc<dyn Content>>;
    /// The paths of all block devices in which such a thing is looked for.
    fn candidates(&self, wanted: Wanted) -> Vec<PathBuf>;
    /// What stays the same of a device when its number and its node change, in one word; `None` if nothing does.
    fn identity(&self, device: &Device) -> Option<String>;
    /// What a device holds that is known (a file system, a partition table, RAID, LVM ...), in words; `None` if nothing.
    fn signature(&self, device: &Device) -> Result<Option<String>>;
    /// Erases all signatures that [`signature`](Self::signature) finds.
    fn wipe(&self, device: &Device) -> Result<()>;
    /// Discards what a device that nobody has open holds from one byte on up to another.
    fn discard(&self, path: &Path, begin: Bytes, end: Bytes) -> Result<()>;
    /// What a device says of persistent reservations.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if it has none.
    fn reservations(&self, _device: &Device) -> Answer<Reservations> {
        Err(Errno::EOPNOTSUPP)
    }
    /// Does one step of a reservation, with this machine's key.
    ///
    /// # Errors
    ///
    /// `EBADE` if that is not for this machine to do, because of others' reservations.
    fn reserve(&self, _device: &Device, _own: Key, _step: Step) -> Answer<()> {
        Err(Errno::EOPNOTSUPP)
    }
    /// Runs a command of lvm2, such as `lvs`; what it prints.
    ///
    /// # Errors
    ///
    /// There is no lvm2, or what it says why not.
    fn lvm(&self, arguments: &[&str]) -> Result<String>;
    /// The RAID1 arrays that the kernel's own md has, with metadata as legs of replicas have it.
    fn arrays(&self) -> Vec<Array>;
    /// Whether md can be asked for anything.
    ///
    /// # Errors
    ///
    /// There is no mdadm, or the kernel has no RAID1.
    fn md_ready(&self) -> Result<()>;
    /// Has md assemble exactly these legs of the array with this UUID, under this name.
    ///
    /// # Errors
    ///
    /// What mdadm says why not.
    fn md_assemble(&self, name: &str, uuid: Uuid, legs: &[PathBuf], read_only: bool) -> Result<()>;
    /// Takes an array from md.
    ///
    /// # Errors
    ///
    /// What mdadm says why not.
    fn md_stop(&self, array: &Array) -> Result<()>;
    /// The machine's id.
    fn machine(&self) -> [u8; 16];
    /// The machine's name.
    fn hostname(&self) -> String;
    /// Seconds since 1970.
    fn time(&self) -> u64;
    /// A UUID that nothing has.
    fn uuid(&self) -> Uuid;
}

/// How what a device holds is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To be looked at, beside anybody.
    Look,
    /// To be read, while no command changes it.
    Read,
    /// To be written, beside the kernel that may have the device, but beside no other command.
    Share,
    /// To be written by nobody else: not by another command, and not by a kernel either.
    Claim,
}

/// What a device holds.
pub trait Content {
    /// Reads.
    ///
    /// # Errors
    ///
    /// The device could not, or there is less.
    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()>;

    /// Writes. What was written may be lost in a crash, or not, each sector for itself, until a flush has returned.
    ///
    /// # Errors
    ///
    /// The device could not; some of it may have been written.
    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was written durable.
    ///
    /// # Errors
    ///
    /// The device could not.
    fn flush(&self) -> io::Result<()>;
}

/// What a file or block device holds.
#[derive(Debug)]
pub(crate) enum Plain {
    /// Without a lock.
    Free(File),
    /// With a lock that other commands respect, and udev.
    Locked(Flock<File>),
}

impl Plain {
    /// Opens it. Commands that change a pool lock its first device (flock); udev waits for that lock, too.
    pub(crate) fn open(path: &Path, access: Access) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(matches!(access, Access::Share | Access::Claim));
        let is_device = std::fs::metadata(path)?.file_type().is_block_device();
        if is_device {
            let claim = if access == Access::Claim { nix::fcntl::OFlag::O_EXCL } else { nix::fcntl::OFlag::empty() };
            options.custom_flags((claim | nix::fcntl::OFlag::O_NONBLOCK).bits());
        }
        let file = options.open(path)?;
        if is_device {
            // A kernel may have written past the page cache since somebody read it.
            nix::fcntl::posix_fadvise(&file, 0, 0, nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        }
        let lock = match access {
            Access::Look => return Ok(Self::Free(file)),
            Access::Read => FlockArg::LockShared,
            Access::Share | Access::Claim => FlockArg::LockExclusive,
        };
        Ok(Self::Locked(Flock::lock(file, lock).map_err(|(_, errno)| errno)?))
    }

    fn file(&self) -> &File {
        match self {
            Self::Free(file) => file,
            Self::Locked(file) => file,
        }
    }
}

impl Content for Plain {
    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.file().read_exact_at(into, at)
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file().write_all_at(bytes, at)
    }

    fn flush(&self) -> io::Result<()> {
        // A file is a simulated device, which is as durable as the simulation.
        if self.file().metadata()?.is_file() {
            return Ok(());
        }
        self.file().sync_data()
    }
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
