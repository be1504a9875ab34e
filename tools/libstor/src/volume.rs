// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Volumes: create, list, show, resize, suspend, resume, rename, remove, set.
//!
//! Each operation checks all that can be checked before it asks the kernel, for an answer that names the device or
//! volume at fault; the kernel checks everything again. With [`Stor::dry_run`] it ends there.

use crate::control::{self, Create};
use crate::device::{self, Number, Part};
use crate::error::{errno_text, Context};
use crate::linear::{self, Segment, Table, Target};
use crate::pool::resolve::Meant;
use crate::size::Iec;
use crate::{Bytes, Error, Kind, Result, Stor, Uuid};
use nix::errno::Errno;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;
use stor_pure::abi::uapi::*;
use stor_pure::pure::control as rule;

/// The only kind of volume there is yet.
pub(crate) const LINEAR: &str = "linear";

/// A volume, as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// What kind it is.
    pub target: String,
    /// The pool that it is a volume of: its UUID.
    pub pool: Option<Uuid>,
    /// Its size.
    pub size: Bytes,
    /// N of `/dev/storN`.
    pub index: u32,
    /// Its node.
    pub node: String,
    /// Its device number.
    pub number: Number,
    /// `STOR_STATE_*`
    pub state: u32,
    /// The engine that drives it; none if it is dead.
    pub engine: Option<String>,
    /// How often it is open.
    pub open_count: u32,
    /// How many devices are below it.
    pub lower_count: u32,
}

/// The words for `STOR_STATE_*`; none for a volume that just works.
pub fn state_words(state: u32) -> impl Iterator<Item = &'static str> {
    const WORDS: [(u32, &str); 4] = [
        (STOR_STATE_READ_ONLY, "read-only"),
        (STOR_STATE_SUSPENDED, "suspended"),
        (STOR_STATE_DEAD, "dead"),
        (STOR_STATE_LOWER_GONE, "lower-gone"),
    ];
    WORDS.into_iter().filter(move |(bit, _)| state & bit != 0).map(|(_, word)| word)
}

impl Info {
    /// Its node.
    pub fn path(&self) -> String {
        self.node.clone()
    }
}

/// A volume, as a listing shows it: one of the kernel's, or one of a pool that need not be active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// The name of the pool that it is a volume of.
    pub pool: Option<String>,
    /// Its UUID.
    pub uuid: Uuid,
    /// What kind it is.
    pub target: String,
    /// Its size.
    #[serde(serialize_with = "crate::size::bytes")]
    pub size: Bytes,
    /// Its node, if it is active.
    pub device: Option<String>,
    /// Its device number.
    #[serde(flatten)]
    pub number: OptionalNumber,
    /// Words; none for one that is active and just works.
    pub state: Vec<&'static str>,
    /// The engine that drives it; none if it is dead or not active.
    pub engine: Option<String>,
    /// How often it is open.
    pub open_count: u32,
    /// How many devices are below it.
    pub lower_count: u32,
    /// Whether it is a snapshot.
    pub snapshot: bool,
    /// What it was made of, if that is still there.
    pub origin: Option<String>,
    /// What it maps of its pool, if that is active.
    pub mapped: Option<u64>,
}

/// The number of a device that need not be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OptionalNumber {
    /// Which driver.
    pub major: Option<u32>,
    /// Which of its devices.
    pub minor: Option<u32>,
}

impl From<&Info> for Entry {
    fn from(info: &Info) -> Self {
        Self {
            name: info.name.clone(),
            pool: None,
            uuid: info.uuid,
            target: info.target.clone(),
            size: info.size,
            device: Some(info.path()),
            number: OptionalNumber { major: Some(info.number.major), minor: Some(info.number.minor) },
            state: state_words(info.state).collect(),
            engine: info.engine.clone(),
            open_count: info.open_count,
            lower_count: info.lower_count,
            snapshot: false,
            origin: None,
            mapped: None,
        }
    }
}

/// A device below a volume, as the kernel sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lower {
    /// Its kernel name.
    pub disk: String,
    /// Its device number.
    #[serde(flatten)]
    pub number: Number,
    /// Its size.
    #[serde(serialize_with = "crate::size::bytes")]
    pub size: Bytes,
    /// Whether it was removed.
    pub gone: bool,
}

/// What `STOR_IOC_STATUS` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What a listing shows.
    pub info: Info,
    /// The smallest unit of I/O.
    pub logical_block: u32,
    /// The unit it is best done in.
    pub physical_block: u32,
    /// `STOR_WAIT_*`
    pub wait: u32,
    /// Since when, in nanoseconds since boot; 0 if not known.
    pub wait_since: u64,
    /// Requests with lower devices.
    pub in_flight: u32,
    /// Requests that ended with an error.
    pub errors: u64,
    /// The last of these errors, or 0.
    pub last_error: i32,
    /// The devices below.
    pub lowers: Vec<Lower>,
    /// The target's configuration.
    pub config: Vec<u8>,
}

/// Everything about a volume, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Detail {
    /// What a listing shows.
    #[serde(flatten)]
    pub entry: Entry,
    /// The smallest unit of I/O, if it is active.
    pub logical_block_size: Option<u32>,
    /// The unit it is best done in, if it is active.
    pub physical_block_size: Option<u32>,
    /// What its I/O waits for, if it does.
    pub wait: Option<Wait>,
    /// Requests with lower devices.
    pub in_flight: u32,
    /// Requests that ended with an error.
    pub errors: u64,
    /// The last of these errors: an errno's name.
    pub last_error: Option<String>,
    /// The devices below.
    pub lowers: Vec<Lower>,
    /// Where the volume lies on them.
    pub segments: Vec<Segment>,
    /// What only a volume of a pool has.
    pub thin: Option<crate::pool::ThinDetail>,
}

/// What a volume's I/O waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wait {
    /// What for.
    #[serde(rename = "for")]
    pub reason: &'static str,
    /// Since when, in nanoseconds since boot, if known.
    pub since_ns: Option<u64>,
    /// How long that is.
    pub for_ns: Option<u64>,
}

impl Wait {
    pub(crate) fn new(status: &Status, now: u64) -> Option<Self> {
        let reason = reason(status.wait)?;
        let since = Some(status.wait_since).filter(|&since| since != 0);
        Some(Self { reason, since_ns: since, for_ns: since.map(|since| now.saturating_sub(since)) })
    }
}

/// The word for `STOR_WAIT_*`.
pub(crate) fn reason(wait: u32) -> Option<&'static str> {
    Some(match wait {
        STOR_WAIT_NONE => return None,
        STOR_WAIT_SUSPENDED => "resume",
        STOR_WAIT_LOWER => "lower",
        STOR_WAIT_METADATA => "metadata",
        STOR_WAIT_COMMIT => "commit",
        STOR_WAIT_DATA_FULL => "data-room",
        STOR_WAIT_METADATA_FULL => "metadata-room",
        _ => "unknown",
    })
}

/// A volume to create.
#[derive(Clone, Debug, Default)]
pub struct New {
    /// Its name.
    pub name: String,
    /// Its UUID; a random one if not given.
    pub uuid: Option<Uuid>,
    /// What it is made of, each as [`Part::parse`] reads it.
    pub parts: Vec<String>,
    /// Its size; all that the parts have if not given.
    pub size: Option<Bytes>,
    /// Whether it refuses writes.
    pub read_only: bool,
    /// Whether the same volume may be there already.
    pub if_missing: bool,
}

/// A change of a volume's size or devices.
#[derive(Clone, Debug, Default)]
pub struct Resize {
    /// The size.
    pub size: Option<Target>,
    /// Devices to add.
    pub parts: Vec<String>,
    /// Whether it may become smaller.
    pub shrink: bool,
}

/// What an operation did, or in a dry run would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Whether anything changed.
    pub changed: bool,
    /// Whether it was only tried.
    pub dry_run: bool,
    /// The volume after the change; none if it is gone or would be created.
    pub volume: Option<Entry>,
    /// What changed, as a sentence.
    pub text: String,
}

impl Stor {
    /// The kernel's volumes, in order of creation.
    pub(crate) fn active_volumes(&self) -> Result<Vec<Info>> {
        self.system.list().context(|| "cannot list volumes".into())
    }

    /// The kernel's volume that a user names by name, UUID, or path of its node; `None` if there is no such volume.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Info>> {
        self.find_in(&self.active_volumes()?, name)
    }

    /// The same, of those that were listed before.
    pub(crate) fn find_in(&self, volumes: &[Info], name: &str) -> Result<Option<Info>> {
        if name.starts_with(['/', '.']) {
            let path = Path::new(name);
            if !self.system.exists(path) {
                return Ok(None);
            }
            let number = self.system.number(path)?;
            return Ok(volumes.iter().find(|volume| volume.number == number).cloned());
        }
        let named = volumes.iter().find(|volume| volume.name == name);
        let uuid = Uuid::try_parse(name).ok();
        Ok(named.or_else(|| volumes.iter().find(|volume| Some(volume.uuid) == uuid)).cloned())
    }

    pub(crate) fn existing(&self, name: &str) -> Result<Info> {
        let help = "see 'storctl volume list' for the volumes there are";
        let missing = || Error::new(Kind::NotFound, format!("there is no volume {name}")).help(help);
        self.find(name)?.ok_or_else(missing)
    }

    /// Everything about a volume of the kernel.
    pub(crate) fn show_active(&self, name: &str) -> Result<Detail> {
        let show = || -> Result<Detail> {
            let status = self.system.status(self.existing(name)?.uuid)?;
            let wait = Wait::new(&status, self.system.boottime());
            let segments = self.segments(&status)?;
            Ok(Detail {
                logical_block_size: Some(status.logical_block),
                physical_block_size: Some(status.physical_block),
                wait,
                in_flight: status.in_flight,
                errors: status.errors,
                last_error: Some(status.last_error)
                    .filter(|&errno| errno != 0)
                    .map(|errno| format!("{:?}", Errno::from_raw(errno))),
                lowers: status.lowers,
                segments,
                thin: None,
                entry: Entry::from(&status.info),
            })
        };
        show().context(|| format!("cannot show volume {name}"))
    }

    fn segments(&self, status: &Status) -> Result<Vec<Segment>> {
        if status.info.target != LINEAR {
            return Ok(Vec::new());
        }
        let odd =
            |error| Error::new(Kind::Failure, format!("the kernel's configuration of it cannot be read: {error}"));
        linear::decode(&status.config).map_err(odd)
    }

    /// Creates a linear volume. Nothing is written to the devices: what they hold is what the volume holds.
    pub fn create(&self, new: &New) -> Result<Change> {
        self.try_create(new).context(|| format!("cannot create volume {}", new.name))
    }

    fn try_create(&self, new: &New) -> Result<Change> {
        crate::pool::name::check(&new.name)?;
        if new.uuid.is_some_and(|uuid| uuid.is_nil()) {
            return Err(Error::new(Kind::Usage, "the UUID may not be all zero"));
        }
        let mut table = Table::default();
        table.append(self.system.as_ref(), &self.parts(&new.parts)?)?;
        if let Some(size) = new.size {
            fit(&mut table, size)?;
        }
        table.check()?;
        if let Some(device) = table.devices.iter().find(|device| device.read_only && !new.read_only) {
            let cause = format!("{} is read-only", device.path.display());
            return Err(Error::new(Kind::Unfit, cause).help("make a read-only volume by --read-only"));
        }
        if let Some(change) = self.taken(new, &table)? {
            return Ok(change);
        }
        let (size, devices) = (table.size(), names(&table));
        if self.dry_run {
            if self.engines()?.is_empty() {
                return Err(Errno::ENODEV.into());
            }
            self.check_free(&table.devices)?;
            let text = format!("volume {} would be created: {} on {devices}", new.name, linear::exact(size));
            return Ok(Change { changed: true, dry_run: true, volume: None, text });
        }
        let config = table.encode();
        let create = Create {
            uuid: new.uuid.unwrap_or_else(|| self.system.uuid()),
            name: &new.name,
            target: LINEAR,
            read_only: new.read_only,
            table: control::Table { size, lowers: &table.devices, config: &config },
            pool: None,
        };
        match self.system.create(&create) {
            Ok(_) => {
                let volume = self.existing(&create.uuid.to_string())?;
                let text = format!("volume {} created: {}, {} on {devices}", new.name, volume.path(), Iec(size));
                Ok(Change { changed: true, dry_run: false, volume: Some((&volume).into()), text })
            }
            // Someone may have been faster: see whether it is what we were to make.
            Err(errno @ (Errno::EEXIST | Errno::EBUSY)) => {
                self.taken(new, &table)?.ok_or_else(|| self.refused(errno, &table))
            }
            Err(errno) => Err(self.refused(errno, &table)),
        }
    }

    fn parts(&self, parts: &[String]) -> Result<Vec<Part>> {
        parts.iter().map(|part| Part::parse(part, |path| self.system.exists(path))).collect()
    }

    /// Whether the volume to create is there already, as an answer or, if it differs, an error.
    fn taken(&self, new: &New, table: &Table) -> Result<Option<Change>> {
        let volumes = self.active_volumes()?;
        let exists = |cause| Error::new(Kind::Exists, cause).errno(Errno::EEXIST);
        let Some(volume) = volumes.iter().find(|volume| volume.name == new.name) else {
            return match volumes.iter().find(|volume| Some(volume.uuid) == new.uuid) {
                Some(other) => Err(exists(format!("its UUID {} is that of volume {}", other.uuid, other.name))),
                None => Ok(None),
            };
        };
        if !new.if_missing {
            let help = "choose another name, or use --if-missing if the same volume may be there already";
            return Err(exists("a volume of this name exists".into()).help(help));
        }
        if let Some(difference) = self.difference(volume, new, table)? {
            return Err(exists(format!("a volume of this name exists and differs: {difference}"))
                .help("change it by 'storctl volume resize' or 'set', or remove it first"));
        }
        let text = format!("volume {} exists already: {}", new.name, volume.path());
        Ok(Some(Change { changed: false, dry_run: self.dry_run, volume: Some(volume.into()), text }))
    }

    fn difference(&self, volume: &Info, new: &New, table: &Table) -> Result<Option<String>> {
        let status = self.system.status(volume.uuid)?;
        let words = |read_only| if read_only { "read-only" } else { "writable" };
        let read_only = volume.state & STOR_STATE_READ_ONLY != 0;
        let differs = |what: &str, is: &dyn std::fmt::Display, asked: &dyn std::fmt::Display| {
            Ok(Some(format!("{what} is {is}, asked for is {asked}")))
        };
        match new.uuid {
            Some(uuid) if uuid != volume.uuid => return differs("its UUID", &volume.uuid, &uuid),
            _ if volume.target != LINEAR => return differs("its target", &volume.target, &LINEAR),
            _ if volume.size != table.size() => {
                return differs("its size", &linear::exact(volume.size), &linear::exact(table.size()))
            }
            _ if read_only != new.read_only => return differs("it", &words(read_only), &words(new.read_only)),
            _ => {}
        }
        let number = |lower: u32| status.lowers.get(lower as usize).map_or(Number::default(), |lower| lower.number);
        let places =
            self.segments(&status)?.iter().map(|s| (s.length, s.lower_start, number(s.lower))).collect::<Vec<_>>();
        if places == table.places() {
            return Ok(None);
        }
        let disks: Vec<_> = status.lowers.iter().map(|lower| lower.disk.as_str()).collect();
        Ok(Some(format!("it lies elsewhere, on {}", disks.join(", "))))
    }

    fn check_free(&self, devices: &[device::Device]) -> Result<()> {
        match devices.iter().find(|device| self.system.busy(device)) {
            Some(device) => Err(device::busy(device, self.system.user(device))),
            None => Ok(()),
        }
    }

    /// What the kernel's refusal of a table means.
    fn refused(&self, errno: Errno, table: &Table) -> Error {
        let error = match errno {
            Errno::EBUSY => {
                let user = |device| self.system.user(device).map(|user| (device, user));
                match table.devices.iter().find_map(user) {
                    Some((device, user)) => device::busy(device, Some(user)),
                    None => match table.devices.iter().find(|device| self.system.busy(device)) {
                        Some(device) => device::busy(device, None),
                        None => Error::new(Kind::Busy, format!("{} is in use", names(table))),
                    },
                }
            }
            Errno::EEXIST => Error::new(Kind::Exists, "the name or UUID was taken meanwhile").help("run it again"),
            Errno::ENOSPC => Error::new(Kind::Unfit, "a device became too small meanwhile"),
            Errno::ENOTBLK | Errno::EBADF => Error::new(Kind::Unfit, "a device is not a block device"),
            Errno::EOPNOTSUPP => Error::new(Kind::Unfit, "a device is zoned, or the engine has no target linear"),
            Errno::ELOOP => Error::new(Kind::Usage, "the volume would stand on itself"),
            Errno::EROFS => {
                Error::new(Kind::Unfit, "a device is read-only").help("make a read-only volume by --read-only")
            }
            Errno::E2BIG => {
                Error::new(Kind::Failure, format!("there are too many volumes ({STOR_MAX_VOLUMES}) or devices"))
            }
            Errno::EINVAL => Error::new(Kind::Failure, format!("the kernel refused it: {}", errno_text(errno)))
                .help("see the kernel log for the reason"),
            errno => return errno.into(),
        };
        error.errno(errno)
    }

    /// Changes a volume's size, or adds devices to it, while it is in use.
    pub(crate) fn resize_plain(&self, name: &str, resize: &Resize) -> Result<Change> {
        self.try_resize(name, resize).context(|| format!("cannot resize volume {name}"))
    }

    fn try_resize(&self, name: &str, resize: &Resize) -> Result<Change> {
        let volume = self.existing(name)?;
        let status = self.system.status(volume.uuid)?;
        if volume.target != LINEAR {
            return Err(Error::new(Kind::Usage, format!("a volume of target {} cannot be resized", volume.target)));
        }
        let mut table = Table { devices: Vec::new(), segments: self.segments(&status)? };
        for lower in &status.lowers {
            if lower.gone {
                return Err(Error::new(Kind::NotFound, format!("its device {} was removed", lower.disk)));
            }
            table.devices.push(self.system.find(lower.number, &lower.disk)?);
        }
        let (old, before) = (table.size(), table.places());
        table.append(self.system.as_ref(), &self.parts(&resize.parts)?)?;
        let goal = match resize.size {
            None | Some(Target::Max) => None,
            Some(Target::To(size)) => Some(size),
            Some(Target::By(more)) => {
                Some(old.checked_add(more).ok_or_else(|| Error::new(Kind::Usage, "the size is too large"))?)
            }
        };
        match goal {
            Some(Bytes(0)) => return Err(Error::new(Kind::Usage, "the size may not be 0")),
            Some(size) if resize.parts.is_empty() && size > old => table.grow(Some(size))?,
            Some(size) if resize.parts.is_empty() => table.cut(size),
            Some(size) => fit(&mut table, size)?,
            None if resize.size == Some(Target::Max) => table.grow(None)?,
            None => {}
        }
        table.check()?;
        let size = table.size();
        rule::check_resize(old.0, size.0, resize.shrink, volume.open_count > 0).map_err(|why| {
            let kind = if why == rule::ResizeError::InUse { Kind::Busy } else { Kind::Usage };
            Error::new(kind, format!("from {} to {}: {why}", linear::exact(old), linear::exact(size)))
        })?;
        if table.places() == before {
            let text = format!("volume {} has {} already", volume.name, Iec(size));
            return Ok(Change { changed: false, dry_run: self.dry_run, volume: Some((&volume).into()), text });
        }
        let devices = names(&table);
        if self.dry_run {
            let added = table.devices.get(status.lowers.len()..).unwrap_or_default();
            self.check_free(added)?;
            let text = format!(
                "volume {} would be resized from {} to {} on {devices}",
                volume.name,
                linear::exact(old),
                linear::exact(size)
            );
            return Ok(Change { changed: true, dry_run: true, volume: Some((&volume).into()), text });
        }
        let config = table.encode();
        let request = control::Table { size, lowers: &table.devices, config: &config };
        self.system.reload(volume.uuid, &request, resize.shrink).map_err(|errno| match errno {
            Errno::EBUSY if size < old && self.is_open(volume.uuid) => {
                Error::new(Kind::Busy, rule::ResizeError::InUse.to_string()).errno(errno)
            }
            errno => self.refused(errno, &table),
        })?;
        let text = format!("volume {} resized from {} to {} on {devices}", volume.name, Iec(old), Iec(size));
        self.done(volume.uuid, text)
    }

    fn is_open(&self, uuid: Uuid) -> bool {
        self.system.status(uuid).is_ok_and(|status| status.info.open_count > 0)
    }

    /// Holds a volume's I/O, once what is under way is finished.
    pub fn suspend(&self, name: &str) -> Result<Change> {
        let already = || Error::new(Kind::Exists, "it is suspended already").errno(Errno::EALREADY);
        let check = |volume: &Info| refuse_if(volume.state & STOR_STATE_SUSPENDED != 0, already);
        self.act(name, "suspend", "suspended", check, |volume| {
            self.system
                .suspend(volume.uuid)
                .map_err(|errno| if errno == Errno::EALREADY { already() } else { errno.into() })
        })
    }

    /// Lets a suspended volume's I/O go on.
    pub fn resume(&self, name: &str) -> Result<Change> {
        let not = || Error::new(Kind::Exists, "it is not suspended").errno(Errno::EALREADY);
        let check = |volume: &Info| refuse_if(volume.state & STOR_STATE_SUSPENDED == 0, not);
        self.act(name, "resume", "resumed", check, |volume| {
            self.system.resume(volume.uuid).map_err(|errno| if errno == Errno::EALREADY { not() } else { errno.into() })
        })
    }

    /// Makes a volume read-only or writable.
    pub(crate) fn set_read_only_plain(&self, name: &str, read_only: bool) -> Result<Change> {
        let done = if read_only { "made read-only" } else { "made writable" };
        self.act(
            name,
            "change",
            done,
            |_| Ok(()),
            |volume| {
                self.system.set_read_only(volume.uuid, read_only).map_err(|errno| match errno {
                    Errno::EBUSY => open(),
                    Errno::EROFS => Error::new(Kind::Unfit, "a device below it is read-only").errno(errno),
                    errno => errno.into(),
                })
            },
        )
    }

    /// Gives a volume another name.
    pub(crate) fn rename_plain(&self, name: &str, to: &str) -> Result<Change> {
        self.try_rename(name, to).context(|| format!("cannot rename volume {name}"))
    }

    fn try_rename(&self, name: &str, to: &str) -> Result<Change> {
        crate::pool::name::check(to)?;
        let taken = || Error::new(Kind::Exists, format!("a volume of name {to} exists")).errno(Errno::EEXIST);
        let volume = self.existing(name)?;
        if volume.name == to {
            let text = format!("volume {to} has that name already");
            return Ok(Change { changed: false, dry_run: self.dry_run, volume: Some((&volume).into()), text });
        }
        if self.active_volumes()?.iter().any(|other| other.name == to) {
            return Err(taken());
        }
        self.act(
            name,
            "rename",
            &format!("renamed to {to}"),
            |_| Ok(()),
            |volume| {
                self.system
                    .rename(volume.uuid, to)
                    .map_err(|errno| if errno == Errno::EEXIST { taken() } else { errno.into() })
            },
        )
    }

    /// Whether a volume is open, and stays so.
    pub(crate) fn stays_open(&self, volume: &Info) -> bool {
        volume.open_count > 0 && !self.system.closes(volume.uuid)
    }

    /// Removes a volume; what its devices hold stays.
    pub(crate) fn remove_plain(&self, name: &str, if_exists: bool) -> Result<Change> {
        if if_exists && self.find(name)?.is_none() {
            let text = format!("there is no volume {name}");
            return Ok(Change { changed: false, dry_run: self.dry_run, volume: None, text });
        }
        self.act(
            name,
            "remove",
            "removed",
            |volume| refuse_if(self.stays_open(volume), open),
            |volume| {
                self.system
                    .remove(volume.uuid)
                    .map_err(|errno| if errno == Errno::EBUSY { open() } else { errno.into() })
            },
        )
    }

    /// Does something to a volume that is there and passes a check, or says that it would be done.
    fn act(
        &self,
        name: &str,
        verb: &str,
        done: &str,
        check: impl FnOnce(&Info) -> Result<()>,
        act: impl FnOnce(&Info) -> Result<()>,
    ) -> Result<Change> {
        let context = || format!("cannot {verb} volume {name}");
        let meant = self.the(name).context(context)?;
        let volume = match &meant {
            Meant::Plain(info) => Some(info.clone()),
            Meant::Thin { uuid, .. } => self.active_volumes()?.into_iter().find(|info| info.uuid == *uuid),
        };
        let inactive = || {
            Error::new(Kind::NotFound, "it is not active").help(format!("activate it: storctl volume activate {name}"))
        };
        let volume = volume.ok_or_else(inactive).context(context)?;
        check(&volume).context(context)?;
        if self.dry_run {
            let text = format!("volume {} would be {done}", meant.name());
            return Ok(Change { changed: true, dry_run: true, volume: Some((&volume).into()), text });
        }
        act(&volume).context(context)?;
        self.done(volume.uuid, format!("volume {} {done}", meant.name()))
    }

    fn done(&self, uuid: Uuid, text: String) -> Result<Change> {
        let volume = self.active_volumes()?.iter().find(|volume| volume.uuid == uuid).map(Entry::from);
        Ok(Change { changed: true, dry_run: false, volume, text })
    }
}

pub(crate) fn refuse_if(refuse: bool, error: impl FnOnce() -> Error) -> Result<()> {
    if refuse {
        return Err(error());
    }
    Ok(())
}

pub(crate) fn open() -> Error {
    Error::new(Kind::Busy, "it is open").help("unmount or close it first").errno(Errno::EBUSY)
}

/// Cuts a table to a size that needs all of its devices.
fn fit(table: &mut Table, size: Bytes) -> Result<()> {
    let most = table.size();
    if size.0 == 0 {
        return Err(Error::new(Kind::Usage, "the size may not be 0"));
    }
    if size > most {
        let cause = format!(
            "the devices are too small: they have {}, asked for is {}",
            linear::exact(most),
            linear::exact(size)
        );
        return Err(Error::new(Kind::Unfit, cause));
    }
    if table.segments.last().is_some_and(|last| last.start >= size) {
        return Err(Error::new(Kind::Usage, format!("{} do not need all of these devices", linear::exact(size)))
            .help("leave out the last one"));
    }
    table.cut(size);
    Ok(())
}

fn names(table: &Table) -> String {
    let names: Vec<_> = table.devices.iter().map(|device| device.path.display().to_string()).collect();
    names.join(", ")
}

/// A duration as people read it.
pub fn ago(nanoseconds: u64) -> String {
    let time = Duration::from_nanos(nanoseconds);
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        seconds @ 1..60 => format!("{seconds}.{} s", time.subsec_millis() / 100),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}
