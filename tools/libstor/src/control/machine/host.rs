// SPDX-License-Identifier: GPL-2.0 OR MIT

//! This machine's devices, and who uses them: `/dev`, sysfs and mountinfo.

use super::{errno, identity, md};
use crate::control::{sys, Answer};
use crate::device::{Access, Content, Device, Host, Number, Plain, Wanted};
use crate::pool::signature;
use crate::replica::array::Array;
use crate::reservation::{Key, Reservations, Step};
use crate::volume::Info;
use crate::{Bytes, Error, Kind, Result, Uuid};
use nix::errno::Errno;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use stor_pure::abi::uapi::STOR_STATE_SUSPENDED;

/// Devices below one that are looked at.
const STACK_MAX: usize = 1000;

/// What works on this machine's devices.
pub trait Local {
    /// The disks of volumes that are suspended: nobody can read them.
    fn suspended(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The disks of these volumes that are suspended.
pub(in crate::control) fn suspended(volumes: &[Info]) -> Vec<String> {
    let suspended = volumes.iter().filter(|volume| volume.state & STOR_STATE_SUSPENDED != 0);
    suspended.map(|volume| format!("stor{}", volume.index)).collect()
}

impl<T: Local> Host for T {
    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn open(&self, path: &Path) -> Result<Device> {
        let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
        let number = self.number(path)?;
        let file =
            OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| unusable(path, &error))?;
        let found =
            sys::block_device(&file).map_err(|errno| unusable(path, &io::Error::from_raw_os_error(errno as i32)))?;
        Ok(Device {
            path: path.into(),
            number,
            size: Bytes(found.size),
            logical_block: Bytes(found.logical.into()),
            optimal: Bytes(found.optimal.into()),
            read_only: found.read_only,
            file: Some(file),
        })
    }

    fn find(&self, number: Number, disk: &str) -> Result<Device> {
        // The kernel writes "!" where a name in /dev has "/".
        let named = Path::new("/dev").join(disk.replace('!', "/"));
        let path = match self.number(&named) {
            Ok(found) if found == number => named,
            _ => format!("/dev/block/{number}").into(),
        };
        let device = self.open(&path)?;
        if device.number != number {
            return Err(Error::new(Kind::NotFound, format!("no node in /dev leads to device {number} ({disk})")));
        }
        Ok(device)
    }

    fn number(&self, path: &Path) -> Result<Number> {
        number(path)
    }

    fn user(&self, device: &Device) -> Option<String> {
        let sysfs = Path::new("/sys/dev/block").join(device.number.to_string());
        let partition = |name: String| {
            let number = fs::read_to_string(sysfs.join(&name).join("dev")).ok()?;
            let user = user_of(&sysfs.join(&name), number.trim())?;
            sysfs.join(&name).join("partition").exists().then(|| format!("its partition {name} is {user}"))
        };
        let number = device.number.to_string();
        user_of(&sysfs, &number).or_else(|| names(&sysfs).into_iter().find_map(partition))
    }

    fn busy(&self, device: &Device) -> bool {
        // Of a block device this claims it for the moment it is open, without O_CREAT.
        let flags = (nix::fcntl::OFlag::O_EXCL | nix::fcntl::OFlag::O_NONBLOCK).bits();
        let claimed = OpenOptions::new().read(true).custom_flags(flags).open(&device.path);
        claimed.is_err_and(|error| errno(&error) == Errno::EBUSY)
    }

    fn boottime(&self) -> u64 {
        use nix::time::{clock_gettime, ClockId};
        clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| Duration::from(time).as_nanos() as u64)
    }

    fn content(&self, device: &Device, access: Access) -> Result<Rc<dyn Content>> {
        match Plain::open(&device.path, access) {
            Ok(content) => Ok(Rc::new(content)),
            Err(error) if errno(&error) == Errno::EBUSY => Err(crate::device::busy(device, self.user(device))),
            Err(error) => Err(unusable(&device.path, &error)),
        }
    }

    fn candidates(&self, wanted: Wanted) -> Vec<PathBuf> {
        let folder = Path::new("/sys/class/block");
        let read = |name: &str, file: &str| fs::read_to_string(folder.join(name).join(file)).unwrap_or_default();
        // There may be thousands of disks: no file is read that cannot be there.
        let mapper = |name: &str, file: &str| match name.starts_with("dm-") {
            true => read(name, &format!("dm/{file}")),
            false => String::new(),
        };
        let path = |name: &String| {
            // A mapped device by the name that its maker gave it.
            let label = mapper(name, "name");
            let mapped = Path::new("/dev/mapper").join(label.trim());
            // The kernel writes "!" where a name in /dev has "/".
            match label.is_empty() || !mapped.exists() {
                true => Path::new("/dev").join(name.replace('!', "/")),
                false => mapped,
            }
        };
        let full =
            |name: &String| fs::read_to_string(folder.join(name).join("size")).is_ok_and(|size| size.trim() != "0");
        let of_stor = |name: &String| {
            wanted == Wanted::Pools
                && name.starts_with("stor")
                && folder.join(name).join("stor").exists()
                && read(name, "stor/target").trim() != crate::replica::REPLICA
        };
        let mapped = |name: &str| mapper(name, "uuid").starts_with(crate::control::mapper::PREFIX);
        let ours = |name: &String| of_stor(name) || mapped(name);
        // A device below another is not looked at, but for those of a pool: what is below multipath is the same as what
        // is above, and what is below a linear volume may be one that does not answer. Nor does a suspended one.
        // A leg that md has is a leg all the same.
        let other = |holder: &String| match holder {
            holder if holder.starts_with("stor") => read(holder, "stor/target").trim() == "linear",
            holder if holder.starts_with("md") && wanted == Wanted::Legs => !md::is_of_legs(holder),
            holder => !mapped(holder),
        };
        let below = |name: &String| names(&folder.join(name).join("holders")).iter().any(other);
        let suspended = |name: &String| mapper(name, "suspended").trim() == "1";
        // A volume that is suspended keeps whoever reads it, or what stands on it, waiting.
        let held = self.suspended();
        let waits = |name: &String| {
            let (mut pending, mut seen) = (vec![name.clone()], 0);
            while let Some(name) = pending.pop().filter(|_| !held.is_empty() && seen < STACK_MAX) {
                if held.contains(&name) {
                    return true;
                }
                seen += 1;
                pending.extend(names(&folder.join(name).join("slaves")));
            }
            false
        };
        let disks = names(folder);
        disks
            .iter()
            .filter(|name| !ours(name) && full(name) && !below(name) && !suspended(name) && !waits(name))
            .map(path)
            .filter(|path| path.exists())
            .collect()
    }

    fn identity(&self, device: &Device) -> Option<String> {
        identity::of(&Path::new("/sys/dev/block").join(device.number.to_string()))
    }

    fn signature(&self, device: &Device) -> Result<Option<String>> {
        signature::probe(&device.path)
    }

    fn wipe(&self, device: &Device) -> Result<()> {
        signature::wipe(&device.path)
    }

    fn discard(&self, path: &Path, begin: Bytes, end: Bytes) -> Result<()> {
        let flags = nix::fcntl::OFlag::O_EXCL.bits();
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
        let file = file.map_err(|error| unusable(path, &error))?;
        let done = sys::block_discard(&file, begin.0, end.0.saturating_sub(begin.0));
        done.map_err(|errno| unusable(path, &io::Error::from_raw_os_error(errno as i32)))
    }

    fn reservations(&self, device: &Device) -> Answer<Reservations> {
        let file = device.file.as_ref().ok_or(Errno::EOPNOTSUPP)?;
        // A driver without, a device without, a partition.
        sys::reservations(file).map_err(|errno| match errno {
            Errno::ENOTTY | Errno::EINVAL | Errno::EPERM => Errno::EOPNOTSUPP,
            errno => errno,
        })
    }

    fn reserve(&self, device: &Device, own: Key, step: Step) -> Answer<()> {
        sys::reserve(device.file.as_ref().ok_or(Errno::EOPNOTSUPP)?, own, step)
    }

    fn lvm(&self, arguments: &[&str]) -> Result<String> {
        let output = std::process::Command::new("lvm")
            .args(arguments)
            .env("LC_ALL", "C")
            .env("LVM_SUPPRESS_FD_WARNINGS", "1")
            .output()
            .map_err(|error| {
                Error::new(Kind::NotFound, format!("lvm2 cannot be asked: {error}")).help("install lvm2")
            })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        // The last line that is no warning says why.
        let said = String::from_utf8_lossy(&output.stderr);
        let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("WARNING"));
        let why = lines.next_back().unwrap_or("it failed").trim_end_matches('.').to_string();
        Err(Error::new(Kind::Failure, format!("lvm {}: {why}", arguments.first().unwrap_or(&""))))
    }

    fn arrays(&self) -> Vec<Array> {
        md::arrays()
    }

    fn md_ready(&self) -> Result<()> {
        md::ready()
    }

    fn md_assemble(&self, name: &str, uuid: Uuid, legs: &[PathBuf], read_only: bool) -> Result<()> {
        md::assemble(name, uuid, legs, read_only)
    }

    fn md_stop(&self, array: &Array) -> Result<()> {
        md::stop(array)
    }

    fn machine(&self) -> [u8; 16] {
        let id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
        Uuid::try_parse(id.trim()).unwrap_or_default().into_bytes()
    }

    fn hostname(&self) -> String {
        fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().into()
    }

    fn time(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
    }

    fn uuid(&self) -> Uuid {
        Uuid::new_v4()
    }
}

/// The number of the block device that a path leads to.
pub(super) fn number(path: &Path) -> Result<Number> {
    let meta = fs::metadata(path).map_err(|error| unusable(path, &error))?;
    if !meta.file_type().is_block_device() {
        return Err(Error::new(Kind::Unfit, format!("{} is not a block device", path.display())));
    }
    let (major, minor) = (nix::sys::stat::major(meta.rdev()), nix::sys::stat::minor(meta.rdev()));
    // The kernel's dev_t has 12 and 20 bits.
    Ok(Number { major: major as u32, minor: minor as u32 })
}

/// Who uses a device, going by its folder in sysfs and its number.
fn user_of(sysfs: &Path, number: &str) -> Option<String> {
    let holders = names(&sysfs.join("holders"));
    if !holders.is_empty() {
        return Some(format!("held by {}", holders.join(", ")));
    }
    // The third field is the device's number, the fifth where it is mounted: proc(5).
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounted = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(2);
        (fields.next()? == number).then_some(fields.nth(1)?)
    });
    if let Some(place) = mounted {
        return Some(format!("mounted on {place}"));
    }
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let mut paths = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    let is_it = |path| self::number(Path::new(path)).is_ok_and(|found| found.to_string() == number);
    paths.any(is_it).then(|| "used as swap".into())
}

/// The names in a folder, sorted; none if it cannot be read.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Why a device cannot be used.
fn unusable(path: &Path, error: &io::Error) -> Error {
    let path = path.display();
    let errno = errno(error);
    let error = match errno {
        Errno::ENOENT | Errno::ENOTDIR => {
            Error::new(Kind::NotFound, format!("{path} does not exist")).help("see 'lsblk' for the devices there are")
        }
        Errno::ENXIO | Errno::ENODEV | Errno::ENOMEDIUM => {
            Error::new(Kind::NotFound, format!("there is no device or medium behind {path}"))
        }
        Errno::EACCES | Errno::EPERM => {
            Error::new(Kind::Permission, format!("{path} may not be opened by this user")).help("run as root")
        }
        _ => Error::new(Kind::Failure, format!("{path}: {}", crate::error::errno_text(errno))),
    };
    error.errno(errno)
}
