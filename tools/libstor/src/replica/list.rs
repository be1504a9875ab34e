// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What there is: replicas that are assembled, those that are only on devices, and the devices.

use super::array::Array;
use super::fallback::{beyond_md, served};
use super::joint::Joint;
use super::leg::Leg;
use super::scan::{missing, scan, Group};
use super::view::{FoundLeg, ReplicaView};
use super::REPLICA;
use crate::error::Context;
use crate::volume::Info;
use crate::{Error, Kind, Result, Stor, Uuid};
use nix::errno::Errno;
use std::path::PathBuf;
use stor_pure::pure::replica::set::TIE_BREAK;

impl Stor {
    /// The replicas: those that the kernel has and those that are on devices, by name.
    pub fn replicas(&self) -> Result<Vec<ReplicaView>> {
        self.try_replicas(true).context(|| "cannot list replicas".into())
    }

    /// The state of a replica that is assembled, or of all that are.
    pub fn replica_states(&self, name: Option<&str>) -> Result<Vec<ReplicaView>> {
        let Some(name) = name else { return self.try_replicas(false).context(|| "cannot tell the state".into()) };
        let state = || -> Result<_> {
            if self.running_or_none(name)?.is_none() {
                let group = scan(self.system.as_ref(), &[])?.find(name)?;
                if group.array.as_ref().is_some_and(Array::runs) {
                    return Ok(vec![ReplicaView::found(&group)]);
                }
            }
            Ok(vec![self.view_running(&self.running(name)?)?])
        };
        state().context(|| format!("cannot tell the state of replica {name}"))
    }

    /// A replica with everything.
    pub fn show_replica(&self, name: &str) -> Result<ReplicaView> {
        let show = || -> Result<_> {
            let view = match self.running_or_none(name)? {
                Some(info) => self.view_running(&info)?,
                None => ReplicaView::found(&scan(self.system.as_ref(), &[])?.find(name)?),
            };
            Ok(self.with_reservations(view))
        };
        show().context(|| format!("cannot show replica {name}"))
    }

    fn try_replicas(&self, all: bool) -> Result<Vec<ReplicaView>> {
        let mut views = Vec::new();
        for info in self.running_replicas()? {
            match self.view_running(&info) {
                Ok(view) => views.push(view),
                // It was stopped meanwhile.
                Err(error) if error.errno == Some(Errno::ENXIO as i32) => {}
                Err(error) => return Err(error),
            }
        }
        if all || !self.system.arrays().is_empty() {
            let found = scan(self.system.as_ref(), &[])?;
            let known: Vec<Uuid> = views.iter().map(|view| view.uuid).collect();
            let groups = found.groups.iter().filter(|group| !known.contains(&group.uuid));
            let wanted = groups.filter(|group| all || group.array.as_ref().is_some_and(Array::runs));
            views.extend(wanted.map(ReplicaView::found));
        }
        views.sort_by(|one, other| (&one.name, one.uuid).cmp(&(&other.name, other.uuid)));
        Ok(views)
    }

    /// The devices with something of a replica, of these or of all.
    pub fn scan_replicas(&self, devices: &[PathBuf]) -> Result<Vec<FoundLeg>> {
        let look = || -> Result<_> {
            let found = scan(self.system.as_ref(), devices)?;
            let running: Vec<Uuid> = self.running_replicas()?.iter().map(|info| info.uuid).collect();
            let mut rows = Vec::new();
            for group in &found.groups {
                let assembled = running.contains(&group.uuid);
                rows.extend(group.legs.iter().map(|leg| found_leg(group, leg, assembled)));
                rows.extend(found_tie_break(group, assembled));
                rows.extend(group.joints.iter().map(|joint| found_joint(group, joint)));
            }
            rows.extend(found.troubles.into_iter().map(|trouble| FoundLeg {
                path: trouble.path,
                replica: None,
                replica_uuid: None,
                role: None,
                slot: None,
                uuid: None,
                events: None,
                epoch: None,
                lineage: None,
                entitled: None,
                state: Vec::new(),
                problem: Some(trouble.why),
                reservation: None,
            }));
            for row in &mut rows {
                row.reservation = self.reservation_of(&row.path);
            }
            Ok(rows)
        };
        look().context(|| "cannot look for replicas".into())
    }

    /// The replicas that the kernel has.
    pub(super) fn running_replicas(&self) -> Result<Vec<Info>> {
        Ok(self.active_volumes()?.into_iter().filter(|info| info.target == REPLICA).collect())
    }

    /// The replica that the kernel has by this name, UUID or node.
    pub(super) fn running_or_none(&self, name: &str) -> Result<Option<Info>> {
        self.find_in(&self.running_replicas()?, name)
    }

    /// The same; it is an error if there is none.
    pub(super) fn running(&self, name: &str) -> Result<Info> {
        if let Some(info) = self.running_or_none(name)? {
            return Ok(info);
        }
        let group = scan(self.system.as_ref(), &[])?.find(name).map_err(|_| missing(name))?;
        match &group.array {
            Some(array) if array.runs() => {
                let served = served(array, &group.name());
                return Err(Error { cause: format!("{}: {}", served.cause, beyond_md().cause), ..served });
            }
            Some(array) => return Err(served(array, &group.name())),
            None => {}
        }
        if self.fallback {
            return Err(beyond_md());
        }
        Err(not_assembled(&group))
    }

    pub(super) fn view_running(&self, info: &Info) -> Result<ReplicaView> {
        let status = self.system.status(info.uuid)?;
        match self.system.replica_status(info.uuid) {
            Ok(facts) => Ok(ReplicaView::running(&status, Some(&facts))),
            Err(Errno::ENODEV) => Ok(ReplicaView::running(&status, None)),
            Err(errno) => Err(errno.into()),
        }
    }

    /// A replica after it was changed.
    pub(super) fn view_replica(&self, uuid: Uuid) -> Result<ReplicaView> {
        self.show_replica(&uuid.to_string())
    }
}

/// It is only on its devices.
pub(super) fn not_assembled(group: &Group) -> Error {
    let error = Error::new(Kind::NotFound, "it is not assembled");
    error.help(format!("assemble it: storctl replica assemble {}", group.name()))
}

fn found_leg(group: &Group, leg: &Leg, assembled: bool) -> FoundLeg {
    let record = leg.record.as_ref().ok().map(|(record, _)| record);
    // md leaves none.
    let foreign = record.is_some() && leg.superblock.tag() == 0;
    // While it runs, what it says is as old as its last step.
    let md = group.array.as_ref().is_some_and(|array| array.member(leg.device.number).is_some());
    let dirty = !assembled && !md && !leg.superblock.is_clean();
    let words = [("assembled", assembled), ("md", md), ("dirty", dirty), ("foreign", foreign)];
    FoundLeg {
        path: leg.device.path.clone(),
        replica: Some(group.name()),
        replica_uuid: Some(group.uuid),
        role: Some("leg"),
        slot: leg.slot().and_then(|slot| u32::try_from(slot).ok()),
        uuid: Some(leg.uuid()),
        events: Some(leg.superblock.events.get()),
        epoch: record.map(|record| record.epoch.get()),
        lineage: record.map(|record| Uuid::from_bytes(record.lineage)),
        entitled: leg.entitled(),
        state: words.iter().filter(|(_, is)| *is).map(|(word, _)| *word).collect(),
        problem: leg.record.as_ref().err().map(ToString::to_string),
        reservation: None,
    }
}

fn found_joint(group: &Group, joint: &Joint) -> FoundLeg {
    FoundLeg {
        path: joint.device.path.clone(),
        replica: Some(group.name()),
        replica_uuid: Some(group.uuid),
        role: Some("metadata"),
        slot: None,
        uuid: Some(Uuid::from_bytes(joint.record.leg)),
        events: None,
        epoch: None,
        lineage: None,
        entitled: None,
        state: vec!["apart"],
        problem: Some(format!("the data of this leg are on {}", joint.parts())),
        reservation: None,
    }
}

fn found_tie_break(group: &Group, assembled: bool) -> Option<FoundLeg> {
    let tie_break = group.tie_break.as_ref()?;
    let record = &tie_break.record;
    Some(FoundLeg {
        path: tie_break.device.path.clone(),
        replica: Some(group.name()),
        replica_uuid: Some(group.uuid),
        role: Some("tie-break"),
        slot: None,
        uuid: Some(Uuid::from_bytes(record.device)),
        events: None,
        epoch: Some(record.epoch.get()),
        lineage: Some(Uuid::from_bytes(record.lineage)),
        entitled: None,
        state: if assembled { vec!["assembled"] } else { Vec::new() },
        problem: (!record.voters().has(TIE_BREAK)).then(|| "it does not vote".into()),
        reservation: None,
    })
}
