// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Legs whose metadata are on a device of their own, as a volume has one that became a replica: they are put together from their
//! parts before a replica is assembled, and taken apart after it was stopped (docs/adr/0015).
//!
//! The join record on the metadata names the parts ([`stor_pure::pure::replica::join`]). What is put together is a linear volume, which
//! begins with that record, too: there it only says that the volume is such a one.

use super::assemble::Assemble;
use super::leg::{at, name_of, page};
use super::scan::Group;
use crate::control::{Create, Table};
use crate::device::{busy, Access, Content, Device, Host, Number, Wanted};
use crate::linear::{encode, Segment};
use crate::pool::area::Area;
use crate::pool::member::failed;
use crate::volume::{Info, LINEAR};
use crate::{Bytes, Error, Kind, Result, Stor, Uuid};
use nix::errno::Errno;
use std::path::PathBuf;
use stor_pure::pure::md::PAGE_SIZE;
use stor_pure::pure::replica::join::{Join, Part};

/// The metadata of a leg, without the rest of it.
#[derive(Debug)]
pub(crate) struct Joint {
    /// Where they are.
    pub(crate) device: Device,
    /// What the rest is.
    pub(crate) record: Box<Join>,
}

/// What was put together, to be taken apart again if it was in vain.
pub(super) struct PutTogether {
    /// Where the replica is looked for: in the place of metadata, what they have become part of.
    pub(super) devices: Vec<PathBuf>,
    made: Vec<Number>,
    /// What would be put together if this were not only tried.
    would: Vec<String>,
    /// Why a leg could not be put together.
    refused: Option<Error>,
}

impl Joint {
    /// The array's UUID.
    pub(crate) fn array(&self) -> Uuid {
        Uuid::from_bytes(self.record.array)
    }

    /// The replica's name.
    pub(crate) fn name(&self) -> String {
        name_of(&self.record.name, &self.record.array)
    }

    /// What the rest of the leg is on.
    pub(crate) fn parts(&self) -> String {
        let mut parts: Vec<_> = self.record.parts().iter().map(Part::identity).collect();
        parts.dedup();
        parts.join(", ")
    }
}

/// The join record that a device begins with, if there is a sound one.
///
/// # Errors
///
/// The device cannot be read.
pub(crate) fn read(device: &Device, content: &dyn Content) -> Result<Option<Box<Join>>> {
    if device.size.0 < PAGE_SIZE as u64 {
        return Ok(None);
    }
    let first = page(content, 0, PAGE_SIZE).map_err(|error| failed(device, "read", &error))?;
    Ok(Join::of::<Area>(&first).ok().map(|record| Box::new(record.clone())))
}

/// Whether a device is all that a record tells of, and not only the metadata.
pub(crate) fn is_whole(device: &Device, record: &Join) -> bool {
    device.size.0 >= at(record.sectors())
}

/// The join record of a device that is put together.
pub(super) fn whole(host: &(impl Host + ?Sized), device: &Device) -> Result<Option<Box<Join>>> {
    let content = host.content(device, Access::Look)?;
    Ok(read(device, content.as_ref())?.filter(|record| is_whole(device, record)))
}

/// Writes a join record.
pub(super) fn write(device: &Device, content: &dyn Content, record: &Join) -> Result<()> {
    let mut page = [0; PAGE_SIZE];
    record.write::<Area>(&mut page).map_err(|why| Error::new(Kind::Failure, why.to_string()))?;
    let written = content.write(0, &page).and_then(|()| content.flush());
    written.map_err(|error| failed(device, "written", &error))
}

/// What the volume is called that a leg is put together as.
pub(super) fn joined_name(replica: &str, leg: Uuid) -> String {
    let leg = leg.simple().to_string();
    format!("{replica}-leg-{}", leg.get(..8).unwrap_or_default())
}

/// The identity of a volume of Stor.
pub(crate) fn of_stor(volume: Uuid) -> String {
    format!("stor-{volume}")
}

/// The table of a leg that is put together: its metadata, and what is behind them.
pub(super) fn segments(start: u64, parts: impl IntoIterator<Item = (u32, u64, u64)>) -> Vec<Segment> {
    let mut segments = vec![Segment { start: Bytes(0), length: Bytes(at(start)), lower: 0, lower_start: Bytes(0) }];
    let mut end = at(start);
    for (lower, start, length) in parts {
        segments.push(Segment { start: Bytes(end), length: Bytes(at(length)), lower, lower_start: Bytes(at(start)) });
        end = end.saturating_add(at(length));
    }
    segments
}

impl Stor {
    /// Puts the legs of a replica together that were found in parts. What is missing is left out, if it has another leg.
    pub(super) fn put_together(&self, group: &Group, how: &Assemble) -> Result<PutTogether> {
        let mut done = PutTogether { devices: how.devices.clone(), made: Vec::new(), would: Vec::new(), refused: None };
        let volumes = self.active_volumes()?;
        for joint in &group.joints {
            match self.put_one(joint, &volumes, &mut done) {
                Ok(()) => {}
                Err(error) => done.refused = done.refused.or(Some(error)),
            }
        }
        match done.refused.take() {
            Some(error) if group.legs.is_empty() && done.made.is_empty() => Err(error),
            refused => Ok(PutTogether { refused, ..done }),
        }
    }

    fn put_one(&self, joint: &Joint, volumes: &[Info], done: &mut PutTogether) -> Result<()> {
        let record = &joint.record;
        let uuid = Uuid::from_bytes(record.joined);
        let node = match volumes.iter().find(|volume| volume.uuid == uuid) {
            Some(volume) => volume.path(),
            None => match self.make_joined(joint, uuid)? {
                Some(info) => {
                    done.made.push(info.number);
                    info.path()
                }
                None => {
                    done.would.push(joint.device.path.display().to_string());
                    return Ok(());
                }
            },
        };
        let is = |path: &PathBuf| self.system.number(path).is_ok_and(|number| number == joint.device.number);
        let named = done.devices.iter().position(is);
        if let Some(place) = named.and_then(|place| done.devices.get_mut(place)) {
            *place = node.into();
        }
        Ok(())
    }

    /// Makes the volume; not in a dry run.
    fn make_joined(&self, joint: &Joint, uuid: Uuid) -> Result<Option<Info>> {
        let record = &joint.record;
        let shown = joint.device.path.display();
        let mut lowers = vec![self.system.open(&joint.device.path)?];
        let mut parts = Vec::new();
        for part in record.parts() {
            let device = self.identified(part.identity()).map_err(|error| {
                let cause = format!("{shown} has the metadata of a leg whose data are elsewhere: {}", error.cause);
                Error { cause, ..error }
            })?;
            let end = part.start.get().saturating_add(part.length.get());
            if device.size.0 < at(end) {
                let cause = format!("{} has become smaller than the data of a leg on it", device.path.display());
                return Err(Error::new(Kind::Unfit, cause));
            }
            let known = lowers.iter().position(|lower| lower.number == device.number);
            let index = known.unwrap_or(lowers.len());
            if known.is_none() {
                lowers.push(device);
            }
            parts.push((u32::try_from(index).unwrap_or(u32::MAX), part.start.get(), part.length.get()));
        }
        if let Some(device) = lowers.iter().find(|device| self.system.busy(device)) {
            return Err(busy(device, self.system.user(device)).errno(Errno::EBUSY));
        }
        if self.dry_run {
            return Ok(None);
        }
        let config = encode(&segments(record.start.get(), parts));
        let name = joined_name(&joint.name(), Uuid::from_bytes(record.leg));
        let table = Table { size: Bytes(at(record.sectors())), lowers: &lowers, config: &config };
        let create = Create { uuid, name: &name, target: LINEAR, read_only: false, table, pool: None };
        self.system.create(&create).map_err(|errno| {
            let cause = format!("the leg on {shown} cannot be put together: {}", crate::error::errno_text(errno));
            Error { cause, ..Error::from(errno) }
        })?;
        self.existing(&uuid.to_string()).map(Some)
    }

    /// The one device with this identity.
    fn identified(&self, identity: &str) -> Result<Device> {
        let open = |path: PathBuf| self.system.open(&path).ok();
        let candidates = self.system.candidates(Wanted::Legs).into_iter().filter_map(open);
        let is = |device: &Device| self.system.identity(device).as_deref() == Some(identity);
        let mut found: Vec<Device> = candidates.filter(is).collect();
        match (found.pop(), found.last()) {
            (Some(device), None) => Ok(device),
            (Some(one), Some(other)) => {
                let (one, other) = (one.path.display(), other.path.display());
                Err(Error::new(Kind::Unfit, format!("{one} and {other} both call themselves {identity}"))
                    .help("take the one away that is not meant"))
            }
            (None, _) => Err(Error::new(Kind::NotFound, format!("{identity} is not there"))
                .help("attach it; if it is a volume of a pool, activate the pool first")),
        }
    }

    /// Takes apart what was put together in vain.
    pub(super) fn undo_together(&self, done: &PutTogether) {
        for number in &done.made {
            // What counts is why it was in vain.
            let _ = self.take_apart(*number, false);
        }
    }

    /// Takes a leg apart that a replica has had: it is no volume any more, nor is what its data had been in, if that was linear.
    /// What is to be said of it. `for_good`: it is not to be put together again.
    pub(super) fn take_apart(&self, leg: Number, for_good: bool) -> Result<String> {
        let volumes = self.active_volumes()?;
        let is_leg = |volume: &&Info| volume.number == leg && volume.target == LINEAR;
        let Some(info) = volumes.iter().find(is_leg) else { return Ok(String::new()) };
        let device = self.system.open(info.path().as_ref())?;
        let record = whole(self.system.as_ref(), &device)?;
        let Some(record) = record.filter(|record| Uuid::from_bytes(record.joined) == info.uuid) else {
            return Ok(String::new());
        };
        if for_good {
            let content = self.system.content(&device, Access::Claim)?;
            let erased = content.write(0, &[0; PAGE_SIZE]).and_then(|()| content.flush());
            erased.map_err(|error| failed(&device, "written", &error))?;
        }
        drop(device);
        self.system.remove(info.uuid).map_err(|errno| self.not_closed(info, errno))?;
        let below = Uuid::from_bytes(record.below);
        if let Some(below) = volumes.iter().find(|volume| volume.uuid == below && volume.target == LINEAR) {
            self.system.remove(below.uuid).map_err(|errno| self.not_closed(below, errno))?;
        }
        Ok(format!("; {} is taken apart", info.name))
    }

    /// The same of several; what cannot be done is said, too.
    pub(super) fn taken_apart(&self, legs: &[Number], for_good: bool) -> String {
        let say = |leg: &Number| match self.take_apart(*leg, for_good) {
            Ok(text) => text,
            Err(error) => format!("; {}", error.cause),
        };
        legs.iter().map(say).collect()
    }
}

impl PutTogether {
    /// What would be done first, if this is a dry run: how the replica starts is known only then.
    pub(super) fn would(&self) -> Option<String> {
        (!self.would.is_empty()).then(|| format!("what begins on {} would be put together", self.would.join(", ")))
    }

    /// What is to be said of it.
    pub(super) fn text(&self) -> String {
        self.refused.as_ref().map_or(String::new(), |error| format!("; {}", error.cause))
    }
}

impl Group {
    /// The name that its parts have for it.
    pub(super) fn joint_name(&self) -> Option<String> {
        self.joints.first().map(Joint::name)
    }
}
