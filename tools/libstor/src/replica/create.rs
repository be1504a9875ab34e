// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Making a replica: what is on the devices is looked at, and refused if it is anything; then bitmap, bad-block log and records are
//! written and flushed on all of them, and superblocks last, that of slot 0 after all others.
//!
//! Nobody knows whether new legs are equal. So slot 0 alone is entitled, all bits are set, and the others are rebuilt from it, as
//! mdadm does; unless the caller says that they are equal.

use super::assemble::Assemble;
use super::leg::at;
use super::reserve::Reserve;
use super::scan::{scan, Group};
use super::tie_break;
use super::view::ReplicaChange;
use super::REPLICA;
use crate::device::{Device, Number};
use crate::error::Context;
use crate::linear::exact;
use crate::pool::name;
use crate::size::Iec;
use crate::{Bytes, Error, Kind, Result, Stor, Uuid};
use nix::errno::Errno;
use std::path::PathBuf;
use stor_pure::pure::md::superblock::LEGS_MAX;

/// md has so much room for the name, its host included.
pub(super) const NAME_MAX: usize = 32;

/// A replica to make.
#[derive(Clone, Debug, Default)]
pub struct NewReplica {
    /// Its name.
    pub name: String,
    /// Its UUID; a random one if not given.
    pub uuid: Option<Uuid>,
    /// Its legs, by their slots.
    pub legs: Vec<PathBuf>,
    /// A device that votes and has no data.
    pub tie_break: Option<PathBuf>,
    /// Its size; as much as the smallest leg has if not given.
    pub size: Option<Bytes>,
    /// What a bit of the bitmap stands for.
    pub chunk: Option<Bytes>,
    /// The legs are equal.
    pub assume_clean: bool,
    /// Whether what the devices hold may be lost.
    pub force: bool,
    /// Whether the same replica may be there already.
    pub if_missing: bool,
    /// Whether it is not to be assembled.
    pub inactive: bool,
    /// Whether other machines are kept out.
    pub reserve: Reserve,
}

impl Stor {
    /// Makes a replica of devices, and assembles it. What they hold is lost.
    pub fn create_replica(&self, new: &NewReplica) -> Result<ReplicaChange> {
        self.try_create_replica(new).context(|| format!("cannot create replica {}", new.name))
    }

    fn try_create_replica(&self, new: &NewReplica) -> Result<ReplicaChange> {
        name::check(&new.name)?;
        if new.name.len() > NAME_MAX {
            let cause =
                format!("the name has {} characters, and md's metadata has room for {NAME_MAX}", new.name.len());
            return Err(Error::new(Kind::Usage, cause));
        }
        if new.uuid.is_some_and(|uuid| uuid.is_nil()) {
            return Err(Error::new(Kind::Usage, "the UUID may not be all zero"));
        }
        if new.legs.is_empty() || new.legs.len() > LEGS_MAX as usize {
            return Err(Error::new(Kind::Usage, format!("a replica has 1 to {LEGS_MAX} legs, not {}", new.legs.len())));
        }
        if let Some(change) = self.replica_is_there(new)? {
            return Ok(change);
        }
        let paths: Vec<PathBuf> = new.legs.iter().chain(&new.tie_break).cloned().collect();
        let devices = self.fresh(&paths, new.force)?;
        let uuid = new.uuid.unwrap_or_else(|| self.system.uuid());
        let legs: Vec<&Device> = devices.iter().take(new.legs.len()).map(|fresh| &fresh.device).collect();
        let draft = self.draft(new, uuid, &legs)?;
        if let Some(small) = devices.get(new.legs.len()).filter(|fresh| fresh.device.size.0 < tie_break::SIZE_MIN) {
            let (path, least) = (small.device.path.display(), Iec(Bytes(tie_break::SIZE_MIN)));
            return Err(Error::new(
                Kind::Unfit,
                format!("{path} is too small for a tie-break: it has to have {least}"),
            ));
        }
        let names: Vec<_> = new.legs.iter().map(|path| path.display().to_string()).collect();
        let rebuilt = match (new.legs.len(), new.assume_clean) {
            (1, _) => "",
            (_, true) => ", which are taken to be equal",
            (_, false) => ", of which the first has what the others get",
        };
        let mut what = format!("{} on {}{rebuilt}", Iec(Bytes(at(draft.array.size))), names.join(", "));
        if let Some(path) = &new.tie_break {
            what += &format!("; {} is the tie-break", path.display());
        }
        let intent = self.intend(devices.iter().map(|fresh| &fresh.device), new.reserve)?;
        if self.dry_run {
            what += &intent.as_ref().map(|intent| intent.text("would be reserved")).unwrap_or_default();
            let text = format!("replica {} would be created: {what}", new.name);
            return Ok(ReplicaChange { changed: true, dry_run: true, replica: None, text });
        }
        for fresh in devices.iter().filter(|fresh| fresh.signed) {
            self.system.wipe(&fresh.device)?;
        }
        let devices: Vec<Device> = devices.into_iter().map(|fresh| fresh.device).collect();
        self.write_replica(&draft, &devices, new.legs.len())?;
        drop(devices);
        let mut text = format!("replica {} created: {what}", new.name);
        if new.inactive {
            text += "; not assembled";
        } else {
            let how = Assemble { devices: paths, reserve: new.reserve, ..Assemble::default() };
            self.assemble_replica(&uuid.to_string(), &how).map_err(|error| Error {
                cause: format!("it was made, but cannot be assembled: {}", error.cause),
                context: String::new(),
                ..error
            })?;
            text += &intent.map(|intent| intent.text("reserved")).unwrap_or_default();
        }
        Ok(ReplicaChange { changed: true, dry_run: false, replica: self.view_replica(uuid).ok(), text })
    }

    /// Whether a replica of this name is there already: as an answer, or as an error.
    fn replica_is_there(&self, new: &NewReplica) -> Result<Option<ReplicaChange>> {
        let mut numbers = Vec::new();
        for path in new.legs.iter().chain(&new.tie_break) {
            numbers.push(self.system.number(path)?);
        }
        let mut found = scan(self.system.as_ref(), &[])?;
        if new.force && !new.if_missing {
            // What is lost is not in the way.
            found.groups.retain(|group| group.legs.iter().any(|leg| !numbers.contains(&leg.device.number)));
        }
        let volumes = self.active_volumes()?;
        let exists = |cause: String| Error::new(Kind::Exists, cause).errno(Errno::EEXIST);
        let Some(group) = found.groups.iter().find(|group| group.name() == new.name) else {
            if let Some(group) = found.groups.iter().find(|group| Some(group.uuid) == new.uuid) {
                return Err(exists(format!("its UUID is that of replica {}", group.name())));
            }
            return match volumes.iter().find(|volume| volume.name == new.name || Some(volume.uuid) == new.uuid) {
                Some(volume) if volume.target == REPLICA => {
                    Err(exists(format!("replica {} is assembled, whose legs are not found", volume.name)))
                }
                Some(volume) => Err(exists(format!("its name or UUID is that of volume {}", volume.name))),
                None => Ok(None),
            };
        };
        if !new.if_missing {
            return Err(exists("a replica of this name exists".into())
                .help("choose another name, or use --if-missing if the same replica may be there already"));
        }
        if let Some(difference) = difference(new, group, &numbers) {
            return Err(exists(format!("a replica of this name exists and differs: {difference}"))
                .help("see 'storctl replica scan', or choose another name"));
        }
        let uuid = group.uuid;
        let mut changed = false;
        let how = Assemble { reserve: new.reserve, ..Assemble::default() };
        if !new.inactive && !self.dry_run && !volumes.iter().any(|volume| volume.uuid == uuid) {
            changed = self.assemble_replica(&uuid.to_string(), &how)?.changed;
        }
        let text = format!("replica {} exists already", new.name);
        Ok(Some(ReplicaChange { changed, dry_run: self.dry_run, replica: self.view_replica(uuid).ok(), text }))
    }
}

/// How a replica that is there is not the one that is to be made.
fn difference(new: &NewReplica, group: &Group, numbers: &[Number]) -> Option<String> {
    let is: Vec<_> = group.devices().map(|device| device.number).collect();
    if is != numbers || group.slots().len() as usize != new.legs.len() {
        let is: Vec<_> = group.devices().map(|device| device.path.display().to_string()).collect();
        return Some(format!("it has {} legs; found are {}", group.slots().len(), is.join(", ")));
    }
    if new.uuid.is_some_and(|uuid| uuid != group.uuid) {
        return Some(format!("its UUID is {}", group.uuid));
    }
    new.size.filter(|size| *size != group.size()).map(|_| format!("its size is {}", exact(group.size())))
}
