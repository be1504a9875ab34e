// SPDX-License-Identifier: GPL-2.0 OR MIT

//! External origins: devices outside of the pool that a volume is read from where it has no blocks of its own. They are never
//! written to, and may be those of many volumes. The catalog has them as labels: a path, and the size that the device had, by
//! which another one at that path shows.

use super::catalog::Record;
use super::open::Open;
use super::settings::OWN_LABELS;
use crate::device::Device;
use crate::linear::exact;
use crate::{Bytes, Error, Kind, Result, Stor};
use nix::errno::Errno;
use std::path::Path;
use stor_pure::pure::catalog::record::VALUE_MAX;

fn key(what: &str) -> String {
    format!("{OWN_LABELS}{what}")
}

impl Record {
    /// Where its external origin is, and how large, if it has one.
    pub(crate) fn external(&self) -> Option<(&Path, Bytes)> {
        let path = self.labels.get(&key("origin"))?;
        let size = self.labels.get(&key("origin-size")).and_then(|size| size.parse().ok());
        Some((Path::new(path), Bytes(size.unwrap_or(0))))
    }

    /// Gives it an external origin.
    pub(crate) fn set_external(&mut self, device: &Device) -> Result<()> {
        let path = device.path.to_str().filter(|path| path.starts_with('/') && path.len() <= VALUE_MAX);
        let path = path.filter(|path| !path.contains(char::is_control)).ok_or_else(|| {
            Error::new(Kind::Usage, format!("{} cannot be noted as an origin", device.path.display())).help(format!(
                "use an absolute path of up to {VALUE_MAX} bytes, one that stays, such as in /dev/disk/by-id"
            ))
        })?;
        self.labels.insert(key("origin"), path.into());
        self.labels.insert(key("origin-size"), device.size.0.to_string());
        Ok(())
    }

    /// Gives it that of another, from which it is made.
    pub(crate) fn external_of(&mut self, other: &Self) {
        for key in [key("origin"), key("origin-size")] {
            match other.labels.get(&key) {
                Some(value) => drop(self.labels.insert(key, value.clone())),
                None => drop(self.labels.remove(&key)),
            }
        }
    }
}

impl Stor {
    /// Opens what is to become an external origin.
    pub(crate) fn new_external(&self, path: &Path) -> Result<Device> {
        let device = self.system.open(path)?;
        if device.size.0 == 0 {
            return Err(Error::new(Kind::Unfit, format!("{} has no size", path.display())));
        }
        Ok(device)
    }
}

impl Open<'_> {
    /// Refuses a device of the pool's own, or that stands on the pool.
    pub(crate) fn check_external(&self, device: &Device) -> Result<()> {
        match self.devices.iter().any(|member| member.number == device.number) {
            true => Err(Error::new(Kind::Usage, format!("{} is a device of the pool itself", device.path.display()))),
            false => self.stor.check_apart(device, self.uuid),
        }
    }

    /// Opens the external origin of a volume, if it has one.
    pub(crate) fn open_external(&self, record: &Record) -> Result<Option<Device>> {
        let Some((path, size)) = record.external() else { return Ok(None) };
        let help = format!("say where it is: storctl volume set {}/{} --origin DEVICE", self.name, record.name);
        let what = |error: Error| {
            Error { cause: format!("its origin, {}: {}", path.display(), error.cause), ..error }.help(help.clone())
        };
        let device = self.stor.system.open(path).map_err(what)?;
        if device.size != size {
            let cause = format!("its origin, {}, has {}, and had {}", path.display(), exact(device.size), exact(size));
            return Err(Error::new(Kind::Unfit, cause).help(help));
        }
        Ok(Some(device))
    }

    /// What the kernel says of a volume with an external origin that it refuses; `None` if that has nothing to do with it.
    pub(crate) fn refused_external(&self, record: &Record, errno: Errno) -> Option<Error> {
        let (path, _) = record.external()?;
        let path = path.display();
        Some(
            match errno {
                Errno::ELOOP => Error::new(Kind::Usage, format!("its origin, {path}, stands on this pool")),
                Errno::EBUSY => {
                    Error::new(Kind::Busy, format!("it is active under another name, or its origin, {path}, is in use"))
                        .help("an origin may be in use by volumes of pools only")
                }
                _ => return None,
            }
            .errno(errno),
        )
    }
}
