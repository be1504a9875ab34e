// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Activation: the kernel is given a pool and its volumes; and it lets go of them.
//!
//! The first device's label says which machine has the pool open. It is set before the kernel gets the pool, and cleared
//! after it let go: so a second machine on the same disks sees that there is a first.

use super::catalog::Record;
use super::config::Thin;
use super::member;
use super::name;
use super::open::{fit, refused, Open};
use super::scan::scan;
use super::view::{served_by, PoolChange};
use crate::control::mapper::ENGINE;
use crate::control::pool::{PoolCreate, PoolTable};
use crate::control::{Create, Table};
use crate::device::{busy, Access};
use crate::error::Context;
use crate::volume::Info;
use crate::{Bytes, Error, Kind, Result, Stor, Uuid};
use nix::errno::Errno;
use std::path::PathBuf;
use stor_pure::pure::catalog::record::{MANUAL, READ_ONLY};

/// The kind of pool, and of its volumes.
pub(crate) const THIN: &str = "thin";

/// How a pool is activated.
#[derive(Clone, Debug, Default)]
pub struct Activate {
    /// Nothing in it is to be changed.
    pub read_only: bool,
    /// Its volumes are left inactive.
    pub bare: bool,
    /// Whatever other machine has it open does not have it any more.
    pub force: bool,
    /// Where to look for its devices; everywhere if not given.
    pub devices: Vec<PathBuf>,
}

impl Stor {
    /// Gives the kernel a pool and those of its volumes that are active with it.
    pub fn activate_pool(&self, name: &str, how: &Activate) -> Result<PoolChange> {
        self.try_activate_pool(name, how).context(|| format!("cannot activate pool {name}"))
    }

    fn try_activate_pool(&self, name: &str, how: &Activate) -> Result<PoolChange> {
        let mut open = self.open_pool(name, &how.devices, Access::Share)?;
        let was_active = open.status.is_some();
        open.check_server()?;
        if !was_active {
            open.check_owner(how)?;
            if let Some(device) = open.devices.iter().find(|device| self.system.busy(device)) {
                return Err(busy(device, self.system.user(device)).errno(Errno::EBUSY));
            }
        }
        if self.dry_run {
            let text = if was_active { "is active already" } else { "would be activated" };
            return open.changed(!was_active, format!("pool {} {text}", open.name));
        }
        if !was_active {
            open.give(how)?;
        }
        let writable = open.status.as_ref().is_some_and(|status| status.facts.flags == 0);
        if writable {
            open.mend()?;
            open.go_on_deleting()?;
        }
        let (mut volumes, mut failure) = (0, None);
        if !how.bare {
            let known = self.system.list()?;
            let auto = |record: &&Record| !record.name.is_empty() && !record.is(MANUAL);
            for record in open.catalog.records.values().filter(auto) {
                if known.iter().any(|volume| volume.uuid == uuid(record)) {
                    continue;
                }
                match open.activate(record) {
                    Ok(()) => volumes += 1,
                    Err(error) if failure.is_none() => failure = Some((record.name.clone(), error)),
                    Err(_) => {}
                }
            }
        }
        if let Some((volume, error)) = failure {
            let cause = format!("volume {volume} cannot be activated: {}", error.cause);
            return Err(Error { cause, context: String::new(), ..error });
        }
        let text = match (was_active, volumes) {
            (true, 0) => format!("pool {} is active already{}", open.name, open.server()),
            (true, _) => format!("pool {}: {volumes} more volumes activated", open.name),
            (false, _) => format!("pool {} activated, with {volumes} volumes{}", open.name, open.server()),
        };
        open.changed(!was_active || volumes > 0, text)
    }

    /// Activates all pools that are whole. What is wrong with one does not keep the others; the first error is told in the end.
    pub fn activate_all(&self) -> (Vec<PoolChange>, Result<()>) {
        let found = match scan(self.system.as_ref(), &[]) {
            Ok(found) => found,
            Err(error) => return (Vec::new(), Err(error)),
        };
        let (mut changes, mut answer) = (Vec::new(), Ok(()));
        for group in found.pools {
            let context = || format!("cannot activate pool {}", group.name());
            let activated = fit(&group)
                .context(context)
                .and_then(|()| self.activate_pool(&group.uuid.to_string(), &Activate::default()));
            match activated {
                Ok(change) => changes.push(change),
                Err(error) if answer.is_ok() => answer = Err(Error { context: context(), ..error }),
                Err(_) => {}
            }
        }
        (changes, answer)
    }

    /// Takes a pool and its volumes from the kernel. Nothing is lost.
    pub fn deactivate_pool(&self, name: &str) -> Result<PoolChange> {
        self.try_deactivate_pool(name).context(|| format!("cannot deactivate pool {name}"))
    }

    fn try_deactivate_pool(&self, name: &str) -> Result<PoolChange> {
        let wanted = Uuid::try_parse(name).ok();
        let pools = self.system.pool_list()?;
        let Some(pool) = pools.into_iter().find(|pool| pool.name == name || Some(pool.uuid) == wanted) else {
            let group = scan(self.system.as_ref(), &[])?.find(name)?;
            let text = format!("pool {} is not active", group.name());
            let pool = self.view_pool(&group.uuid.to_string()).ok();
            return Ok(PoolChange { changed: false, dry_run: self.dry_run, pool, text });
        };
        let volumes = self.volumes_of(pool.uuid)?;
        let opened: Vec<_> = volumes.iter().filter(|volume| self.stays_open(volume)).collect();
        if let Some(first) = opened.first() {
            let names: Vec<_> = opened.iter().map(|volume| volume.name.as_str()).collect();
            let user = self.user_of(first).map(|user| format!(" ({} is {user})", first.name)).unwrap_or_default();
            return Err(Error::new(Kind::Busy, format!("in use: {}{user}", names.join(", ")))
                .help("unmount or close what uses them first")
                .errno(Errno::EBUSY));
        }
        if self.dry_run {
            let text = format!("pool {} and its {} volumes would be deactivated", pool.name, volumes.len());
            return Ok(PoolChange { changed: true, dry_run: true, pool: self.view_pool(name).ok(), text });
        }
        for volume in &volumes {
            self.system.remove(volume.uuid).map_err(|errno| self.not_closed(volume, errno))?;
        }
        self.system.pool_remove(pool.uuid).map_err(|errno| refused(&pool.name, errno))?;
        // If its devices are gone there is no label to write; whoever attaches them again can do without.
        if let Ok(mut open) = self.lock_pool(&pool.uuid.to_string(), &[], Access::Claim) {
            open.set_owner([0; 16])?;
        }
        let server = if served_by(pool.engine.as_deref()) == ENGINE { " (device-mapper)" } else { "" };
        let text = format!("pool {} deactivated{server}", pool.name);
        Ok(PoolChange { changed: true, dry_run: false, pool: self.view_pool(&pool.uuid.to_string()).ok(), text })
    }

    /// The volumes of a pool that the kernel has.
    pub(crate) fn volumes_of(&self, pool: Uuid) -> Result<Vec<Info>> {
        Ok(self.system.list()?.into_iter().filter(|volume| volume.pool == Some(pool)).collect())
    }

    /// Who uses a volume.
    pub(crate) fn user_of(&self, volume: &Info) -> Option<String> {
        let device = self.system.open(std::path::Path::new(&volume.path())).ok()?;
        self.system.user(&device)
    }

    /// Why a volume cannot be taken from the kernel.
    pub(crate) fn not_closed(&self, volume: &Info, errno: Errno) -> Error {
        if errno != Errno::EBUSY {
            return errno.into();
        }
        let user = self.user_of(volume).map(|user| format!(": {user}")).unwrap_or_default();
        Error::new(Kind::Busy, format!("{} is open{user}", volume.path()))
            .help("unmount or close it first")
            .errno(errno)
    }
}

/// The UUID of a volume.
pub(crate) fn uuid(record: &Record) -> Uuid {
    Uuid::from_bytes(record.fixed.uuid)
}

/// What the kernel is told of a volume.
pub(crate) fn thin(record: &Record) -> Thin {
    Thin {
        device: record.device().into(),
        policy: record.fixed.policy.get(),
        timeout: record.fixed.timeout.get(),
        reservation: record.fixed.reservation.get(),
    }
}

impl Open<'_> {
    /// Refuses a pool that Stor's modules have, if device-mapper was asked to have it.
    fn check_server(&self) -> Result<()> {
        let server = self.status.as_ref().map(|status| served_by(status.info.engine.as_deref()));
        if server == Some("stor") && self.stor.system.version()?.version == ENGINE {
            return Err(Error::new(Kind::Busy, "Stor's modules have it active")
                .help(format!("deactivate it first: storctl pool deactivate {}", self.name))
                .errno(Errno::EBUSY));
        }
        Ok(())
    }

    /// Who has the pool, in brackets, if that is not Stor's modules.
    fn server(&self) -> &'static str {
        let server = self.status.as_ref().map(|status| served_by(status.info.engine.as_deref()));
        if server == Some(ENGINE) {
            " (device-mapper)"
        } else {
            ""
        }
    }

    /// Refuses a pool that another machine has open.
    fn check_owner(&self, how: &Activate) -> Result<()> {
        let (owner, ours) = (self.first()?.owner, self.stor.system.machine());
        if owner == [0; 16] || owner == ours || how.force || how.read_only {
            return Ok(());
        }
        let owner = Uuid::from_bytes(owner).simple();
        Err(Error::new(Kind::Busy, format!("the machine with the id {owner} has it open"))
            .help("deactivate it there; if that machine is gone for good, use --force"))
    }

    /// Says in the first label who has the pool open.
    fn set_owner(&mut self, owner: [u8; 16]) -> Result<()> {
        let (Some(device), Some(member)) = (self.devices.first(), self.members.first_mut()) else { return Ok(()) };
        if member.seen.label.owner == owner || member.seen.label.read_only() {
            return Ok(());
        }
        member::mend(device, member.content.as_ref(), &mut member.seen)?;
        let mut label = member.seen.label.clone();
        label.generation += 1;
        label.owner = owner;
        member::write(device, member.content.as_ref(), &label)?;
        member.seen.label = label;
        Ok(())
    }

    /// Gives the pool to the kernel.
    fn give(&mut self, how: &Activate) -> Result<()> {
        let labels_only = self.members.iter().any(|member| member.seen.label.read_only());
        let read_only = how.read_only || labels_only;
        if !read_only {
            self.set_owner(self.stor.system.machine())?;
        }
        let config = self.config()?.encode();
        let (name, uuid) = (self.name.clone(), self.uuid);
        let table = PoolTable { lowers: &self.devices, config: &config };
        let create = PoolCreate { uuid, name: &name, target: THIN, read_only, table };
        if let Err(errno) = self.stor.system.pool_create(&create) {
            if !read_only {
                // What counts is why the kernel refused it.
                let _ = self.set_owner([0; 16]);
            }
            return Err(match errno {
                Errno::EEXIST => {
                    Error::new(Kind::Exists, format!("another pool of the name {name} is active")).errno(errno)
                }
                Errno::ENOSPC => Error::new(Kind::Unfit, "a device has become smaller").errno(errno),
                Errno::EROFS => Error::new(Kind::Unfit, "a device is read-only")
                    .help("activate the pool with --read-only")
                    .errno(errno),
                errno => self.refused(errno),
            });
        }
        self.status = Some(self.stor.system.pool_status(uuid)?);
        self.load()
    }

    /// Gives a volume to the kernel.
    pub(crate) fn activate(&self, record: &Record) -> Result<()> {
        let name = name::kernel(&self.name, &record.name, uuid(record));
        let config = thin(record).encode();
        let external = self.open_external(record)?;
        let create = Create {
            uuid: uuid(record),
            name: &name,
            target: THIN,
            read_only: record.is(READ_ONLY),
            table: Table { size: Bytes(record.fixed.size.get()), lowers: external.as_slice(), config: &config },
            pool: Some(self.uuid),
        };
        match self.stor.system.create(&create) {
            Ok(_) => Ok(()),
            Err(errno) => Err(match errno {
                Errno::EEXIST => Error::new(Kind::Exists, format!("a volume of the name {name} exists in the kernel"))
                    .help("rename that, or this")
                    .errno(errno),
                errno if self.refused_external(record, errno).is_some() => {
                    self.refused_external(record, errno).unwrap_or_else(|| self.refused(errno))
                }
                Errno::EBUSY => {
                    Error::new(Kind::Busy, "it is being deleted, or active under another name").errno(errno)
                }
                errno => self.refused(errno),
            }),
        }
    }
}
