// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Starting a replica from the legs that are there. What is on them says how; it is planned here first, so that whoever asked is told
//! why not, and then by the kernel.

use super::config::Config;
use super::fallback::{beyond_md, served};
use super::leg::Leg;
use super::refuse::{explain, refused};
use super::reserve::Reserve;
use super::scan::{scan, Group, Scan};
use super::view::{ReplicaChange, ReplicaView};
use super::REPLICA;
use crate::control::{Create, Table};
use crate::device::{busy, Device};
use crate::error::Context;
use crate::reservation::taken;
use crate::size::Iec;
use crate::{Error, Kind, Result, Stor, Uuid};
use nix::errno::Errno;
use std::path::{Path, PathBuf};
use stor_pure::pure::replica::assemble::{Consent, Plan, Recovery};
use stor_pure::pure::replica::lineage::{order, Order};
use stor_pure::pure::replica::refusal::Refusal;
use stor_pure::pure::replica::set::{Set, TIE_BREAK};

/// How a replica is assembled.
#[derive(Clone, Debug, Default)]
pub struct Assemble {
    /// Where to look for its legs; everywhere if not given.
    pub devices: Vec<PathBuf>,
    /// The leg that it is started from, whatever others have besides.
    pub force: Option<PathBuf>,
    /// It refuses writes.
    pub read_only: bool,
    /// Whether other machines are kept out.
    pub reserve: Reserve,
}

/// How a replica starts.
struct Start {
    /// The leg and the new lineage, if it is by force.
    force: Option<(u32, Uuid)>,
    plan: Plan,
    /// What is lost by that, in words.
    lost: Option<String>,
}

impl Stor {
    /// Starts a replica, or gives one that runs the legs that are there again.
    pub fn assemble_replica(&self, name: &str, how: &Assemble) -> Result<ReplicaChange> {
        self.try_assemble(name, how).context(|| format!("cannot assemble replica {name}"))
    }

    /// Starts a replica whose members have gone on without each other from what one of them has.
    pub fn resolve_replica(&self, name: &str, leg: &Path) -> Result<ReplicaChange> {
        let resolve = || {
            let group = scan(self.system.as_ref(), &[])?.find(name)?;
            if self.running_or_none(name)?.is_some() || group.plan(Consent::Safe).is_ok() {
                return Err(Error::new(
                    Kind::Unfit,
                    "there is nothing to resolve: nobody has gone on without the others",
                )
                .help(format!("see 'storctl replica show {name}'")));
            }
            self.try_assemble(name, &Assemble { force: Some(leg.to_path_buf()), ..Assemble::default() })
        };
        resolve().context(|| format!("cannot resolve replica {name}"))
    }

    fn try_assemble(&self, name: &str, how: &Assemble) -> Result<ReplicaChange> {
        if self.dry_run || how.reserve != Reserve::TakeOver {
            return self.start_joined(name, how);
        }
        let entered = self.enter(&how.devices)?;
        let answer = self.start_joined(name, how);
        if answer.is_err() {
            self.withdraw(&entered);
        }
        answer
    }

    /// Starts it after legs that are there in parts were put together.
    fn start_joined(&self, name: &str, how: &Assemble) -> Result<ReplicaChange> {
        let found = scan(self.system.as_ref(), &how.devices)?;
        let running = self.running_or_none(name)?.map(|info| info.uuid);
        let is = |group: &&Group| running.map_or_else(|| group.is(name), |uuid| uuid == group.uuid);
        let mut apart = found.groups.iter().filter(is).filter(|group| !group.joints.is_empty());
        let (Some(group), None) = (apart.next().filter(|_| !self.fallback), apart.next()) else {
            return self.start(found, name, how);
        };
        let done = self.put_together(group, how)?;
        if let Some(first) = done.would() {
            let text = format!("{first}, and then replica {name} assembled, if its legs are such as it can start on");
            return Ok(ReplicaChange { changed: true, dry_run: true, replica: None, text });
        }
        let how = Assemble { devices: done.devices.clone(), ..how.clone() };
        match scan(self.system.as_ref(), &how.devices).and_then(|found| self.start(found, name, &how)) {
            Ok(change) => Ok(ReplicaChange { text: change.text + &done.text(), ..change }),
            Err(error) => {
                self.undo_together(&done);
                Err(error)
            }
        }
    }

    fn start(&self, mut found: Scan, name: &str, how: &Assemble) -> Result<ReplicaChange> {
        if let Some((path, key)) = found.reserved.first().filter(|_| !how.devices.is_empty()) {
            return Err(taken(path, *key));
        }
        let troubles = std::mem::take(&mut found.troubles);
        let group = match self.running_or_none(name)? {
            Some(info) => found.find(&info.uuid.to_string()).map_err(|error| strange(error, name, how))?,
            None => named(found, name, how)?,
        };
        let named: Vec<_> =
            how.devices.iter().map(|path| Ok((path, self.system.number(path)?))).collect::<Result<_>>()?;
        for (path, number) in named {
            if let Some(trouble) = troubles.iter().find(|trouble| trouble.path == *path) {
                return Err(Error::new(Kind::Unfit, format!("{}: {}", path.display(), trouble.why)));
            }
            if group.devices().all(|device| device.number != number) {
                let cause = format!("{} is no member of replica {}", path.display(), group.name());
                return Err(Error::new(Kind::Unfit, cause).help("see 'storctl replica scan'"));
            }
        }
        let volumes = self.active_volumes()?;
        match volumes.iter().find(|volume| volume.uuid == group.uuid) {
            Some(info) if self.fallback => {
                return Err(Error::new(Kind::Exists, format!("Stor serves it: {}", info.path()))
                    .help(format!("stop it first: storctl replica stop {}", info.name)))
            }
            Some(info) if how.force.is_some() => {
                return Err(Error::new(Kind::Exists, "it is assembled already")
                    .help(format!("a start can be forced only after 'storctl replica stop {}'", info.name)))
            }
            Some(info) => return self.rejoin(info, group, how),
            None => {}
        }
        let name = group.name();
        if let Some(array) = &group.array {
            if !self.fallback || !array.runs() || how.force.is_some() {
                return Err(served(array, &name));
            }
            let text = format!("replica {name} is assembled already: {}, by md", array.path.display());
            let replica = Some(ReplicaView::found(&group));
            return Ok(ReplicaChange { changed: false, dry_run: self.dry_run, replica, text });
        }
        if self.fallback {
            if how.force.is_some() {
                let why = format!("a start by force has to be kept by the replica: {}", beyond_md().cause);
                return Err(Error::new(Kind::Unfit, why).help("leave out --fallback, or --force"));
            }
            if group.youngest().is_none() {
                return Err(Error::new(Kind::Unfit, "it is md's own, and Stor has never had it")
                    .help("assemble it with mdadm: mdadm --assemble --scan"));
            }
        }
        if volumes.iter().any(|volume| volume.name == name) {
            return Err(Error::new(Kind::Exists, format!("the kernel has a volume {name} that is another one"))
                .help("rename that: storctl volume rename")
                .errno(Errno::EEXIST));
        }
        if let Some((cause, help)) = group.legs.iter().find_map(Leg::misfit) {
            return Err(Error::new(Kind::Unfit, cause).help(help));
        }
        let Start { force, plan, lost } = self.decide(&group, how)?;
        let what = format!("{}{}", legs(&group, &plan), lost.map(|lost| format!("; {lost}")).unwrap_or_default());
        let (group, force) = members(group, &plan, force);
        for device in group.devices() {
            if self.system.busy(device) {
                return Err(busy(device, self.system.user(device)).errno(Errno::EBUSY));
            }
            if device.read_only {
                let cause = format!("{} is read-only, and a start has to be written down on it", device.path.display());
                return Err(Error::new(Kind::Unfit, cause).help("make it writable, or name the other devices only"));
            }
        }
        let intent = self.intend(group.devices(), how.reserve)?;
        if self.dry_run {
            if self.fallback {
                self.system.md_ready()?;
            }
            let by = if self.fallback { "by md, " } else { "" };
            let reserved = intent.map(|intent| intent.text("would be reserved")).unwrap_or_default();
            let text = format!("replica {name} would be assembled {by}{what}{reserved}");
            return Ok(ReplicaChange { changed: true, dry_run: true, replica: None, text });
        }
        let (uuid, size) = (group.uuid, group.size());
        if self.fallback {
            let reserved = self.carry_out(intent.as_ref())?;
            let array = self.assemble_by_md(&group, how.read_only).inspect_err(|_| self.give_back(&reserved))?;
            let (path, md) = (array.path.display(), &array.name);
            let text = format!("replica {name} assembled by md ({md}): {path}, {}, {what}{}", Iec(size), reserved.text);
            return Ok(ReplicaChange { changed: true, dry_run: false, replica: self.view_replica(uuid).ok(), text });
        }
        let config = Config {
            array: uuid,
            machine: Uuid::from_bytes(self.system.machine()),
            tie_break: group.tie_break.is_some(),
            force,
            ..Config::default()
        };
        let reserved = self.carry_out(intent.as_ref())?;
        let lowers: Vec<Device> = lowers(group);
        let config = config.encode();
        let table = Table { size, lowers: &lowers, config: &config };
        let create = Create { uuid, name: &name, target: REPLICA, read_only: how.read_only, table, pool: None };
        let node = self.system.create(&create).inspect_err(|_| self.give_back(&reserved));
        let node = node.map_err(|errno| match errno {
            Errno::EOPNOTSUPP if how.read_only => Error::new(
                Kind::Unfit,
                "the engine does not start a replica that refuses writes, or has no target replica",
            )
            .help("leave out --read-only")
            .errno(errno),
            errno => refused(errno),
        })?;
        let text = format!("replica {name} assembled: /dev/stor{}, {}, {what}{}", node.index, Iec(size), reserved.text);
        Ok(ReplicaChange { changed: true, dry_run: false, replica: self.view_replica(uuid).ok(), text })
    }

    /// How it starts, and what is lost by that.
    fn decide(&self, group: &Group, how: &Assemble) -> Result<Start> {
        let Some(path) = &how.force else {
            return Ok(Start { force: None, plan: group.plan(Consent::Safe)?, lost: None });
        };
        let leg = self.forced(group, path)?;
        if group.plan(Consent::Safe).is_ok() {
            return Err(Error::new(Kind::Usage, "it can be assembled without --force")
                .help("leave out --force; if other legs are not to count, name only the devices that are"));
        }
        // Superblocks have its first bytes, so these are to be the ones of the UUID that always change.
        let mut lineage = self.system.uuid().into_bytes();
        lineage.reverse();
        let plan = group.plan(Consent::Force { leg, lineage })?;
        let index = u32::try_from(leg).unwrap_or(u32::MAX);
        let force = Some((index, Uuid::from_bytes(lineage)));
        Ok(Start { force, plan, lost: Some(lost(group, leg)) })
    }

    /// Which leg a start is forced from.
    fn forced(&self, group: &Group, path: &Path) -> Result<usize> {
        let number = self.system.number(path)?;
        if group.tie_break.as_ref().is_some_and(|tie_break| tie_break.device.number == number) {
            return Err(Error::new(Kind::Usage, format!("{} is the tie-break, which has no data", path.display()))
                .help("force the start from a leg"));
        }
        let leg = group.legs.iter().position(|leg| leg.device.number == number);
        leg.ok_or_else(|| {
            Error::new(Kind::Unfit, format!("{} is no leg of replica {}", path.display(), group.name()))
                .help("see 'storctl replica scan'")
        })
    }
}

/// The group of this name; that there is only a tie-break is told.
fn named(found: Scan, name: &str, how: &Assemble) -> Result<Group> {
    let group = found.find(name).map_err(|error| strange(error, name, how))?;
    if group.legs.is_empty() {
        return Err(explain(&group, Refusal::NoLegs));
    }
    Ok(group)
}

/// There is no such replica, or not on the devices that were named.
fn strange(error: Error, name: &str, how: &Assemble) -> Error {
    match error.kind {
        Kind::NotFound if !how.devices.is_empty() => {
            Error { cause: format!("none of these devices is a leg of a replica {name}"), ..error }
        }
        _ => error,
    }
}

/// The group without those who are no members any more, or none yet, and the leg that a start is forced from by its new index.
fn members(mut group: Group, plan: &Plan, force: Option<(u32, Uuid)>) -> (Group, Option<(u32, Uuid)>) {
    let is = |index: usize| plan.legs.get(index).is_some_and(|leg| leg.place.is_some());
    let before = |index: u32| (0..index as usize).filter(|index| is(*index)).count();
    let force = force.map(|(index, lineage)| (u32::try_from(before(index)).unwrap_or(index), lineage));
    let mut index = 0..;
    group.legs.retain(|_| index.next().is_some_and(is));
    (group, force)
}

/// What the kernel gets.
fn lowers(group: Group) -> Vec<Device> {
    let legs = group.legs.into_iter().map(|leg| leg.device);
    legs.chain(group.tie_break.map(|tie_break| tie_break.device)).collect()
}

/// On what it starts, in words.
fn legs(group: &Group, plan: &Plan) -> String {
    let there = plan.legs.iter().zip(&group.legs).filter_map(|(leg, _)| leg.place);
    let there = there.fold(Set::NONE, |set, place| set.with(Set::one(place)));
    let mut text = format!("on {} of {} legs", there.len(), plan.slots.len());
    let missing = plan.slots.without(there);
    if !missing.is_empty() {
        text += &format!("; {} missing", slots(missing));
    }
    let rebuilt = plan.legs.iter().filter(|leg| leg.place.is_some() && leg.recovery != Recovery::None);
    let count = rebuilt.clone().count();
    if count > 0 {
        let places = rebuilt.filter_map(|leg| leg.place).fold(Set::NONE, |set, place| set.with(Set::one(place)));
        text += &format!("; {} to be rebuilt from slot {}", slots(places), plan.source);
    }
    if plan.foreign {
        text += "; md has had them last";
    }
    text
}

/// Slots in words, with their verb.
pub(super) fn slots(set: Set) -> String {
    if set.len() == 1 {
        format!("slot {set} is")
    } else {
        format!("slots {set} are")
    }
}

/// What is lost if a start is forced from this leg.
fn lost(group: &Group, leg: usize) -> String {
    let Some(forced) = group.legs.get(leg) else { return String::new() };
    let own = forced.record.as_ref().ok().map(|(record, _)| record);
    let behind = |other: &Leg| match (own, &other.record) {
        (Some(own), Ok((record, _))) => matches!(order(record, own), Order::Same | Order::Behind),
        _ => other.superblock.events.get() <= forced.superblock.events.get(),
    };
    let others = group.legs.iter().filter(|other| other.uuid() != forced.uuid() && !behind(other));
    let mut names: Vec<_> = others.map(|other| other.device.path.display().to_string()).collect();
    let there = |uuid: &[u8; 16]| group.legs.iter().any(|leg| leg.superblock.device_uuid == *uuid);
    let members = own.map(|own| own.member.iter().take(TIE_BREAK).enumerate()).into_iter().flatten();
    let missing = members.filter(|(_, uuid)| **uuid != [0; 16] && !there(uuid));
    let missing = missing.fold(Set::NONE, |set, (slot, _)| set.with(Set::one(slot)));
    match missing.len() {
        0 => {}
        1 => names.push(format!("the missing leg of slot {missing}")),
        _ => names.push(format!("the missing legs of slots {missing}")),
    }
    match names.len() {
        0 => "started by force".into(),
        _ => format!(
            "started by force from {}: what only {} had is lost",
            forced.device.path.display(),
            names.join(", ")
        ),
    }
}
