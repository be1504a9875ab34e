// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The kernel's own md in place of Stor's modules.
//!
//! md asks no record and no tie-break who has the data: it takes the legs that it is given. So whether a replica starts is planned as
//! always, and refused as always; and before md gets the legs, the start is written down on all members, by the same [`Keeper`] as in
//! the kernel: an epoch is claimed of a majority, the records say who is entitled, and the superblocks say the same to md. A leg that
//! is to be rebuilt is a leg that is to be rebuilt then, by all bits that anybody has, and md does it. One that is not there is known to be
//! behind, whoever it meets later, the tie-break included.
//!
//! Last of all the tag goes from the superblocks, by which each leg tells that nobody but Stor has written to it. So it is known on
//! every leg that md has had it before md has it: also on one that fails when md writes for the first time. Power that is cut in
//! between leaves a replica that has been started, and stopped; or one that md has had, and has written nothing to. What md writes is
//! found at the next start by Stor, as it is for any array of md ([`stor_pure::pure::replica::foreign`]).

use super::array::Array;
use super::scan::Group;
use super::steps::{Cells, Members};
use super::view::{Md, ReplicaChange};
use crate::device::Access;
use crate::pool::member::failed;
use crate::volume::open;
use crate::{Error, Kind, Result, Stor};
use nix::errno::Errno;
use std::path::PathBuf;
use stor_pure::pure::replica::assemble::Consent;
use stor_pure::pure::replica::intent::Intent;
use stor_pure::pure::replica::keeper::Keeper;

/// What only Stor's modules can do.
pub(super) fn beyond_md() -> Error {
    Error::new(Kind::Unfit, "md cannot do that: it needs Stor's modules")
}

/// md has it.
pub(super) fn served(array: &Array, name: &str) -> Error {
    let cause = match array.runs() {
        true => format!("it is served by md ({})", array.name),
        false => format!("md holds its legs ({}, which does not run)", array.name),
    };
    Error::new(Kind::Busy, cause).help(format!("stop it first: storctl replica stop {name}")).errno(Errno::EBUSY)
}

impl Stor {
    /// Writes down that md has the replica from now on; the devices that it is to get.
    fn hand_over(&self, group: &Group) -> Result<Vec<PathBuf>> {
        let host = self.system.as_ref();
        let plan = group.plan(Consent::Safe)?;
        let legs = || group.legs.iter().zip(&plan.legs).filter_map(|(leg, own)| Some((leg, own, own.place?)));
        let source = legs().find(|(.., place)| *place == plan.source).map(|(leg, ..)| leg);
        let sound = source.and_then(|leg| leg.header.filter(|_| leg.bitmap.is_ok()));
        let Some((header, geometry)) = sound else {
            return Err(Error::new(
                Kind::Unfit,
                "the write-intent bitmap does not count, and md would not make a new one",
            )
            .help("assemble it once with Stor's modules"));
        };
        let broken = |what: &str| Error::new(Kind::Failure, what.to_string()).help("see 'storctl replica scan'");
        let chunks = usize::try_from(geometry.chunks()).map_err(|_| broken("the bitmap is too large"))?;
        let words = Cells::new(chunks);
        let mut intent =
            Intent::new(geometry, words, header).map_err(|_| broken("there is no memory for the bitmap"))?;
        let mut members = Members::default();
        members.seconds = host.time();
        for (leg, own, place) in legs() {
            let content = host.content(&leg.device, Access::Claim)?;
            let added = members.add_leg(place, leg, content, own, &mut intent);
            added.map_err(|error| failed(&leg.device, "read", &error))?;
        }
        if let Some(tie_break) = &group.tie_break {
            members.add_tie_break(tie_break.position, host.content(&tie_break.device, Access::Claim)?);
        }
        let device = |place| {
            let leg = legs().find(|(.., own)| *own == place).map(|(leg, ..)| &leg.device);
            leg.or(group.tie_break.as_ref().map(|tie_break| &tie_break.device))
        };
        let mut keeper = Keeper::new(&plan, intent);
        keeper.set_writer(host.machine(), members.seconds);
        while let Some(step) = keeper.begin() {
            for place in step.members().iter() {
                members.perform(&keeper, step, place).map_err(|error| match device(place) {
                    Some(device) => failed(device, "written", &error),
                    None => broken("a member is not there"),
                })?;
            }
            keeper.done(step.members());
        }
        if let Some(stop) = keeper.stopped() {
            return Err(broken(&stop.to_string()));
        }
        let given = keeper.targets();
        members.untag(given).map_err(|error| broken(&format!("a superblock could not be written: {error}")))?;
        Ok(legs().filter(|(.., place)| given.has(*place)).map(|(leg, ..)| leg.device.path.clone()).collect())
    }

    /// Has md assemble what was planned.
    pub(super) fn assemble_by_md(&self, group: &Group, read_only: bool) -> Result<Array> {
        let host = self.system.as_ref();
        host.md_ready()?;
        let legs = self.hand_over(group)?;
        let mut numbers = Vec::new();
        for leg in &legs {
            numbers.push(host.number(leg)?);
        }
        host.md_assemble(&group.name(), group.uuid, &legs, read_only)?;
        let has = |array: &Array| numbers.iter().any(|number| array.member(*number).is_some());
        let found = host.arrays().into_iter().find(has);
        let whole = |array: &Array| array.runs() && numbers.iter().all(|number| array.member(*number).is_some());
        match found {
            Some(array) if whole(&array) => Ok(array),
            Some(array) => {
                let count = numbers.iter().filter(|number| array.member(**number).is_some()).count();
                // It is not what was wanted, whether it can be stopped or not.
                let _ = host.md_stop(&array);
                Err(Error::new(Kind::Failure, format!("md took {count} of {} legs", legs.len()))
                    .help("see the kernel log for the reason"))
            }
            None => Err(Error::new(Kind::Failure, "mdadm has assembled nothing").help("see the kernel log")),
        }
    }

    /// Takes a replica from md.
    pub(super) fn stop_md(&self, group: &Group, array: &Array) -> Result<ReplicaChange> {
        let (name, md) = (group.name(), &array.name);
        if self.dry_run {
            let text = format!("replica {name} would be stopped: md would give it up ({md})");
            return Ok(ReplicaChange {
                changed: true,
                dry_run: true,
                replica: self.view_replica(group.uuid).ok(),
                text,
            });
        }
        self.system.md_stop(array).map_err(|error| match error.errno {
            Some(errno) if errno == Errno::EBUSY as i32 => open(),
            _ => error,
        })?;
        let reserved = self.vacated(group.devices());
        let text = format!("replica {name} stopped: md has given it up ({md}){reserved}");
        Ok(ReplicaChange { changed: true, dry_run: false, replica: self.view_replica(group.uuid).ok(), text })
    }
}

impl Md {
    /// As it is shown.
    pub(super) fn of(array: &Array) -> Self {
        Self {
            name: array.name.clone(),
            device: array.path.clone(),
            state: array.state.clone(),
            action: array.action.clone(),
            rebuilt_percent: array.percent,
        }
    }
}
