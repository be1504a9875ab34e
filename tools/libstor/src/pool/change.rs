// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Volumes that are there: renamed, resized, set otherwise, removed. What the kernel can refuse for a volume in use is asked
//! of it before the catalog is changed.

use super::activate::{thin, uuid};
use super::catalog::Record;
use super::name;
use super::open::Open;
use super::resolve::Meant;
use super::settings::{check_room, Policy, VolumeSettings};
use super::volume::{check_size, taken};
use crate::control::Table;
use crate::device::Access;
use crate::error::Context;
use crate::linear::{exact, Target};
use crate::size::Iec;
use crate::volume::{Change, Resize};
use crate::{Bytes, Error, Kind, Result, Stor};
use nix::errno::Errno;
use std::path::Path;
use stor_pure::abi::uapi::*;
use stor_pure::pure::catalog::record::{DELETING, READ_ONLY};
use stor_pure::pure::control as rule;

impl Open<'_> {
    /// Marks records as being deleted: they lose their names, and the pool its devices.
    pub(crate) fn drop_records(&mut self, devices: &[u32]) -> Result<()> {
        let mut next = self.catalog.clone();
        for device in devices {
            if let Some(record) = next.records.get_mut(device) {
                record.set(DELETING, true);
                record.name.clear();
                record.labels.clear();
                record.fixed.reservation = 0.into();
            }
        }
        self.change_alone(next)?;
        if self.status.is_some() {
            self.delete(devices)?;
        }
        Ok(())
    }

    /// Gives the kernel what a record says now.
    fn reload_volume(&self, record: &Record, shrink: bool) -> Result<()> {
        let config = thin(record).encode();
        let table = Table { size: Bytes(record.fixed.size.get()), lowers: &[], config: &config };
        self.stor.system.reload(uuid(record), &table, shrink).map_err(|errno| match errno {
            Errno::EBUSY => Error::new(Kind::Busy, rule::ResizeError::InUse.to_string()).errno(errno),
            errno => self.refused(errno),
        })
    }
}

impl Stor {
    /// Gives a volume another name.
    pub fn rename(&self, name: &str, to: &str) -> Result<Change> {
        let context = || format!("cannot rename volume {name}");
        name::check(to).context(context)?;
        match self.the(name).context(context)? {
            Meant::Plain(_) => self.rename_plain(name, to),
            meant => self.rename_thin(&meant, to).context(context),
        }
    }

    fn rename_thin(&self, meant: &Meant, to: &str) -> Result<Change> {
        let (mut open, id) = self.open_of(meant, Access::Claim)?;
        let (old, device) = open.record(id).map(|record| (record.name.clone(), record.device()))?;
        let what = format!("volume {}/{old}", open.name);
        if old == to {
            return open.volume_changed(id, false, format!("{what} has that name already"));
        }
        if open.catalog.find(to).is_some() {
            return Err(taken(&open.name, to));
        }
        if self.dry_run {
            return open.volume_changed(id, true, format!("{what} would be renamed to {to}"));
        }
        let mut next = open.catalog.clone();
        if let Some(record) = next.records.get_mut(&device) {
            record.name = to.into();
        }
        open.change_alone(next)?;
        if open.info(id)?.is_some() {
            let renamed = self.system.rename(id, &name::kernel(&open.name, to, id));
            renamed.map_err(|errno| Error {
                cause: format!("it is renamed, but the kernel still has the old name: {}", errno.desc().to_lowercase()),
                ..open.refused(errno)
            })?;
        }
        open.volume_changed(id, true, format!("{what} renamed to {to}"))
    }

    /// Changes a volume's size, or adds devices to it, while it is in use.
    pub fn resize(&self, name: &str, resize: &Resize) -> Result<Change> {
        let context = || format!("cannot resize volume {name}");
        match self.the(name).context(context)? {
            Meant::Plain(_) => self.resize_plain(name, resize),
            meant => self.resize_thin(&meant, resize).context(context),
        }
    }

    fn resize_thin(&self, meant: &Meant, resize: &Resize) -> Result<Change> {
        let (mut open, id) = self.open_of(meant, Access::Claim)?;
        if !resize.parts.is_empty() {
            return Err(Error::new(Kind::Usage, "a volume of a pool has no devices of its own")
                .help(format!("add them to the pool: storctl pool extend {} --device DEVICE", open.name)));
        }
        let mut record = open.record(id)?.clone();
        let old = Bytes(record.fixed.size.get());
        let size = match resize.size {
            Some(Target::To(size)) => size,
            Some(Target::By(more)) => {
                old.checked_add(more).ok_or_else(|| Error::new(Kind::Usage, "the size is too large"))?
            }
            _ => return Err(Error::new(Kind::Usage, "a volume of a pool can have any size").help("give one")),
        };
        check_size(size)?;
        let what = format!("volume {}/{}", open.name, record.name);
        if size == old {
            return open.volume_changed(id, false, format!("{what} has {} already", Iec(size)));
        }
        let info = open.info(id)?;
        rule::check_resize(old.0, size.0, resize.shrink, info.as_ref().is_some_and(|info| info.open_count > 0))
            .map_err(|why| {
                let kind = if why == rule::ResizeError::InUse { Kind::Busy } else { Kind::Usage };
                Error::new(kind, format!("from {} to {}: {why}", exact(old), exact(size)))
            })?;
        if self.dry_run {
            let text = format!("{what} would be resized from {} to {}", exact(old), exact(size));
            return open.volume_changed(id, true, text);
        }
        record.fixed.size = size.0.into();
        let mut next = open.catalog.clone();
        next.records.insert(record.device(), record.clone());
        if let Some(info) = info.as_ref().filter(|_| size < old) {
            // Else it would be there again when the volume grows.
            if !record.is(READ_ONLY) {
                self.system.discard(Path::new(&info.path()), size, old)?;
            }
            // A crash from here on leaves a kernel that knows of less than there is.
            open.reload_volume(&record, true)?;
        }
        open.change_alone(next)?;
        if size > old && info.is_some() {
            open.reload_volume(&record, false)?;
        }
        open.volume_changed(id, true, format!("{what} resized from {} to {}", Iec(old), Iec(size)))
    }

    /// Changes what a volume allows, and what becomes of it.
    pub fn set_volume(&self, name: &str, settings: &VolumeSettings) -> Result<Change> {
        let context = || format!("cannot change volume {name}");
        match (self.the(name).context(context)?, settings.read_only) {
            (Meant::Plain(_), _) if settings.is_of_a_pool() => {
                Err(Error::new(Kind::Usage, "it is not a volume of a pool, and has no such settings")).context(context)
            }
            (Meant::Plain(_), Some(read_only)) => self.set_read_only_plain(name, read_only),
            (meant, _) => self.set_thin(&meant, settings).context(context),
        }
    }

    fn set_thin(&self, meant: &Meant, settings: &VolumeSettings) -> Result<Change> {
        let (mut open, id) = self.open_of(meant, Access::Claim)?;
        let old = open.record(id)?.clone();
        let mut record = old.clone();
        settings.apply(&mut record)?;
        let info = open.info(id)?;
        if let Some(path) = &settings.origin {
            if old.external().is_none() {
                return Err(Error::new(Kind::Usage, "it has no origin outside of the pool"));
            }
            let device = self.new_external(path)?;
            open.check_external(&device)?;
            record.set_external(&device)?;
            if info.is_some() {
                return Err(
                    Error::new(Kind::Busy, "it is active, and keeps its origin").help("deactivate the volume first")
                );
            }
        }
        let mut next = open.catalog.clone();
        next.records.insert(record.device(), record.clone());
        check_room(&open, &next)?;
        // A volume that became read-only because the pool was full is set writable again, though it was never set otherwise.
        let in_kernel = info.as_ref().map(|info| info.state & STOR_STATE_READ_ONLY != 0);
        let may_have_become = |policy: u32| match Policy::of(policy) {
            Policy::Pool => Policy::of(open.catalog.settings.policy.get()) == Policy::ReadOnly,
            policy => policy == Policy::ReadOnly,
        };
        let may_be = in_kernel.is_some() && may_have_become(record.fixed.policy.get());
        let kernel_differs =
            settings.read_only.is_some_and(|wanted| in_kernel.is_some_and(|is| is != wanted) || (!wanted && may_be));
        let what = format!("volume {}/{}", open.name, record.name);
        if next == open.catalog && !kernel_differs {
            return open.volume_changed(id, false, format!("{what} is set so already"));
        }
        if self.dry_run {
            return open.volume_changed(id, true, format!("{what} would be changed"));
        }
        if let Some(read_only) = settings.read_only.filter(|_| info.is_some()) {
            self.system.set_read_only(id, read_only).map_err(|errno| match (errno, &info) {
                (Errno::EBUSY, Some(info)) => self.not_closed(info, errno),
                (errno, _) => open.refused(errno),
            })?;
        }
        if next != open.catalog {
            open.change_alone(next)?;
        }
        if info.is_some() && thin(&old) != thin(&record) {
            open.reload_volume(&record, false)?;
        }
        open.volume_changed(id, true, format!("{what} changed"))
    }

    /// Removes a volume: one without a pool keeps what its devices hold; one of a pool loses what it has.
    pub fn remove(&self, name: &str, if_exists: bool) -> Result<Change> {
        let context = || format!("cannot remove volume {name}");
        let meant = match self.meant(name) {
            Err(error) if if_exists && error.kind == Kind::NotFound => None,
            meant => meant.context(context)?,
        };
        match meant {
            None if if_exists => {
                let text = format!("there is no volume {name}");
                Ok(Change { changed: false, dry_run: self.dry_run, volume: None, text })
            }
            None => Err(super::resolve::absent(name)).context(context),
            Some(Meant::Plain(_)) => self.remove_plain(name, if_exists),
            Some(meant) => self.remove_thin(&meant).context(context),
        }
    }

    fn remove_thin(&self, meant: &Meant) -> Result<Change> {
        let (mut open, id) = self.open_of(meant, Access::Claim)?;
        let record = open.record(id)?.clone();
        let what = format!("volume {}/{}", open.name, record.name);
        let info = open.info(id)?;
        open.closed(info.as_ref())?;
        if open.status.is_some() {
            open.changeable()?;
        }
        if self.dry_run {
            return open.volume_changed(id, true, format!("{what} would be removed with what it holds"));
        }
        if let Some(info) = &info {
            self.system.remove(id).map_err(|errno| self.not_closed(info, errno))?;
        }
        open.drop_records(&[record.device()])?;
        Ok(Change { changed: true, dry_run: false, volume: None, text: format!("{what} removed") })
    }
}
