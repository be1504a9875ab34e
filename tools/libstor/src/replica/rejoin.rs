// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Legs that come back to a replica that runs: the kernel gets a longer list of lowers.

use super::assemble::Assemble;
use super::config::Config;
use super::leg::Leg;
use super::refuse::refused;
use super::reserve::Reserve;
use super::scan::Group;
use super::view::{is_attached, ReplicaChange};
use crate::control::replica::ReplicaFacts;
use crate::control::Table;
use crate::device::{busy, Device};
use crate::volume::{Info, Status};
use crate::{Error, Kind, Result, Stor};
use nix::errno::Errno;
use stor_pure::pure::replica::assemble::returning;
use stor_pure::pure::replica::refusal::Refusal;

impl Stor {
    /// Gives a replica that runs those members that are there and that it does not use. Who is no member any more is refused only if
    /// somebody has `named` it.
    pub(super) fn rejoin(&self, info: &Info, mut group: Group, how: &Assemble) -> Result<ReplicaChange> {
        let named = !how.devices.is_empty();
        let status = self.system.status(info.uuid)?;
        let facts = self.system.replica_status(info.uuid)?;
        group.legs.retain(|leg| named || facts.legs.iter().any(|member| member.uuid == leg.uuid()));
        let known = |device: &Device| status.lowers.iter().any(|lower| lower.number == device.number);
        // What it has by another path, too, such as a volume that is exported to this machine itself, is the one that it has.
        let held: Vec<_> = group.legs.iter().filter(|leg| known(&leg.device)).map(Leg::uuid).collect();
        group.legs.retain(|leg| known(&leg.device) || !held.contains(&leg.uuid()));
        let uses = |uuid| facts.legs.iter().any(|leg| leg.uuid == uuid && is_attached(leg));
        let legs: Vec<&Leg> = group.legs.iter().filter(|leg| !uses(leg.uuid())).collect();
        let tie_break = group.tie_break.as_ref();
        let tie_break = tie_break.filter(|own| !uses(crate::Uuid::from_bytes(own.record.device)));
        let used = || group.devices().filter(|device| known(device));
        if legs.is_empty() && tie_break.is_none() {
            let intent = self.intend(used(), how.reserve)?;
            let reserved = self.carry_out(intent.as_ref().filter(|_| !self.dry_run))?;
            let text = format!("replica {} is assembled already: {}{}", info.name, info.path(), reserved.text);
            let replica = self.view_running(info).ok();
            return Ok(ReplicaChange { changed: reserved.changed, dry_run: self.dry_run, replica, text });
        }
        for (index, leg) in legs.iter().enumerate() {
            if let Some(other) = legs.iter().take(index).find(|other| other.uuid() == leg.uuid()) {
                let (one, two) = (other.device.path.display(), leg.device.path.display());
                return Err(Error::new(
                    Kind::Usage,
                    format!("{one} and {two} are the same leg, or one is a copy of the other"),
                )
                .help("name the devices, without the copy"));
            }
            fits(&group, &facts, leg)?;
        }
        let new = legs.iter().map(|leg| &leg.device).chain(tie_break.map(|own| &own.device));
        let new: Vec<&Device> = new.filter(|device| !known(device)).collect();
        if let Some(device) = new.iter().find(|device| self.system.busy(device)) {
            return Err(busy(device, self.system.user(device)).errno(Errno::EBUSY));
        }
        let reserve = if how.reserve == Reserve::No { self.like(used()) } else { how.reserve };
        let intent = self.intend(group.devices(), reserve)?;
        let mut names: Vec<_> = legs.iter().map(|leg| leg.device.path.display().to_string()).collect();
        names.extend(tie_break.map(|own| format!("the tie-break {}", own.device.path.display())));
        let names = names.join(", ");
        if self.dry_run {
            let text = format!("replica {} would get back {names}", info.name);
            return Ok(ReplicaChange { changed: true, dry_run: true, replica: self.view_running(info).ok(), text });
        }
        let reserved = self.carry_out(intent.as_ref())?;
        let (mut lowers, own, mut config) = self.reopen(&status)?;
        for leg in legs.iter().filter(|leg| !known(&leg.device)) {
            lowers.push(self.system.open(&leg.device.path)?);
        }
        let own = match tie_break {
            Some(back) => Some(self.system.open(&back.device.path)?),
            None => own,
        };
        config.tie_break = own.is_some();
        lowers.extend(own);
        let config = config.encode();
        let table = Table { size: status.info.size, lowers: &lowers, config: &config };
        let reloaded = self.system.reload(info.uuid, &table, false).inspect_err(|_| self.give_back(&reserved));
        reloaded.map_err(refused)?;
        let text = format!("replica {} gets back {names}{}", info.name, reserved.text);
        Ok(ReplicaChange { changed: true, dry_run: false, replica: self.view_running(info).ok(), text })
    }

    /// What a replica runs with: its legs, its tie-break, its configuration. What is gone cannot be named to the kernel, and is left out.
    pub(super) fn reopen(&self, status: &Status) -> Result<(Vec<Device>, Option<Device>, Config)> {
        let mut config = config(status)?;
        let last = status.lowers.len().saturating_sub(1);
        let (mut legs, mut tie_break, prefer) = (Vec::new(), None, config.prefer.take());
        for (index, lower) in status.lowers.iter().enumerate().filter(|(_, lower)| !lower.gone) {
            let device = self.system.find(lower.number, &lower.disk)?;
            if config.tie_break && index == last {
                tie_break = Some(device);
                continue;
            }
            if prefer == u32::try_from(index).ok() {
                config.prefer = u32::try_from(legs.len()).ok();
            }
            legs.push(device);
        }
        config.tie_break = tie_break.is_some();
        Ok((legs, tie_break, config))
    }
}

/// What it runs with, without what was only for its start.
pub(super) fn config(status: &Status) -> Result<Config> {
    let odd = || Error::new(Kind::Failure, "the kernel's configuration of it cannot be read");
    Ok(Config {
        force: None,
        joins: None,
        leaves: None,
        mostly: None,
        ..Config::decode(&status.config).ok_or_else(odd)?
    })
}

/// Whether a leg may come back, by what the legs that are in use say.
fn fits(group: &Group, facts: &ReplicaFacts, leg: &Leg) -> Result<()> {
    let used = group.legs.iter().filter(|other| {
        let uuid = other.uuid();
        facts.legs.iter().any(|leg| leg.uuid == uuid && is_attached(leg))
    });
    let records = used.filter_map(|other| Some((other.record.as_ref().ok()?, other.header?)));
    // Who names only the leg that comes back leaves the decision to the kernel.
    let Some(((record, _), (header, _))) = records.max_by_key(|((record, _), _)| record.epoch.get()) else {
        return Ok(());
    };
    let path = leg.device.path.display();
    let help = "leave it out; to have what is on it, stop the replica and force a start from it, by which what the others have is lost";
    match returning(record, header.events_cleared.get(), header.chunksize.get(), &leg.facts()) {
        Ok(_) => Ok(()),
        Err(Refusal::Apart(one, other)) => Err(Error::new(
            Kind::Failure,
            format!(
                "{path} has gone on without the replica: it is at epoch {} of lineage {:08x}, the replica at epoch {} of lineage {:08x}",
                other.epoch, other.lineage, one.epoch, one.lineage
            ),
        )
        .help(help)),
        Err(_) => Err(Error::new(Kind::Unfit, format!("{path} is none of its members any more")).help("leave it out")),
    }
}
