// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Export: a replica that is not assembled becomes md's alone.
//!
//! Legs are md's legs all the time; what goes are the membership records, and the tie-break. As long as there is a record, a start asks
//! the records who votes, and a leg whose record is gone has no vote: two legs of which one is erased could not start. So first the tag goes
//! from all superblocks, by which each tells that nobody but Stor has written to it. From then on it is an array that md has
//! had, for Stor too, whatever records there are: all of its legs have to be there, and are asked about each other
//! ([`stor_pure::pure::replica::foreign`]). Then the tie-break goes, which has no vote in that, and the records, leg by leg. Power
//! that is cut at any point leaves legs that md assembles, and that Stor starts if all of them are there; `export` goes on from there.

use super::assemble::slots;
use super::fallback::served;
use super::leg::Leg;
use super::scan::{scan, Group};
use super::view::{ReplicaChange, ReplicaView};
use crate::device::busy;
use crate::error::Context;
use crate::{Error, Kind, Result, Stor};
use nix::errno::Errno;
use stor_pure::pure::replica::assemble::{Consent, Recovery};
use stor_pure::pure::replica::record::Refusal;
use stor_pure::pure::replica::set::{Set, TIE_BREAK};

/// Whether there is nothing of Stor on it.
fn is_erased(leg: &Leg) -> bool {
    matches!(leg.record, Err(Refusal::Magic | Refusal::Array)) && leg.superblock.tag() == 0
}

impl Group {
    /// Refuses one of which a member is missing, or a leg lacks data.
    fn whole(&self) -> Result<()> {
        let name = self.name();
        let unfit = |cause: String, help: String| Err(Error::new(Kind::Unfit, cause).help(help));
        if let Some((cause, help)) = self.legs.iter().find_map(Leg::misfit) {
            return unfit(cause, help.into());
        }
        let plan = self.plan(Consent::Safe)?;
        let there = plan.legs.iter().zip(&self.legs).filter_map(|(own, _)| own.place);
        let there = there.fold(Set::NONE, |set, place| set.with(Set::one(place)));
        let missing = plan.slots.without(there);
        if !missing.is_empty() {
            let help =
                format!("attach it, or assemble the replica and let it leave: storctl replica remove-leg {name}");
            return unfit(format!("{} missing", slots(missing)), help);
        }
        let named =
            self.youngest().and_then(|record| record.member.get(TIE_BREAK)).is_some_and(|uuid| *uuid != [0; 16]);
        let begun = self.legs.iter().all(|leg| leg.superblock.tag() == 0);
        // Where an export has begun, it may have been erased already.
        if named && self.tie_break.is_none() && !begun {
            let help = format!(
                "attach it, or assemble the replica and do without: storctl replica set {name} --tie-break none"
            );
            return unfit("the tie-break is missing".into(), help);
        }
        let behind = plan.legs.iter().filter(|own| own.recovery != Recovery::None).filter_map(|own| own.place);
        let behind = behind.fold(Set::NONE, |set, place| set.with(Set::one(place)));
        if !behind.with(there.without(plan.entitled)).is_empty() {
            let behind = behind.with(there.without(plan.entitled));
            let help = format!("assemble it, and wait until 'storctl replica status {name}' says that all are in sync");
            return unfit(format!("{} not in sync", slots(behind)), help);
        }
        Ok(())
    }
}

impl Stor {
    /// Gives a replica that is not assembled to md: Stor's records are erased.
    pub fn export_replica(&self, name: &str) -> Result<ReplicaChange> {
        self.try_export_replica(name).context(|| format!("cannot export replica {name}"))
    }

    fn try_export_replica(&self, name: &str) -> Result<ReplicaChange> {
        if let Some(info) = self.running_or_none(name)? {
            return Err(Error::new(Kind::Busy, "it is assembled")
                .help(format!("stop it first: storctl replica stop {}", info.name))
                .errno(Errno::EBUSY));
        }
        let group = scan(self.system.as_ref(), &[])?.find(name)?;
        let name = group.name();
        if let Some(array) = &group.array {
            return Err(served(array, &name));
        }
        let done = |changed, dry_run, text| {
            let replica = scan(self.system.as_ref(), &[]).and_then(|found| found.find(&group.uuid.to_string()));
            Ok(ReplicaChange { changed, dry_run, replica: replica.ok().map(|group| ReplicaView::found(&group)), text })
        };
        if !group.legs.is_empty() && group.legs.iter().all(is_erased) && group.tie_break.is_none() {
            return done(false, self.dry_run, format!("replica {name} is md's alone already"));
        }
        group.whole()?;
        for device in group.devices() {
            if self.system.busy(device) {
                return Err(busy(device, self.system.user(device)).errno(Errno::EBUSY));
            }
            if device.read_only {
                let cause = format!("{} is read-only", device.path.display());
                return Err(Error::new(Kind::Unfit, cause).help("make it writable"));
            }
        }
        let legs: Vec<_> = group.legs.iter().map(|leg| leg.device.path.display().to_string()).collect();
        let legs = legs.join(" ");
        let tie_break = group.tie_break.as_ref().map(|tie_break| tie_break.device.path.display());
        if self.dry_run {
            let more = tie_break.map(|path| format!("; the tie-break {path} would be erased")).unwrap_or_default();
            return done(true, true, format!("replica {name} would be given to md{more}"));
        }
        for leg in &group.legs {
            let mut superblock = leg.superblock.clone();
            superblock.set_time(self.system.time(), 0);
            superblock.seal().map_err(|why| Error::new(Kind::Failure, why.to_string()))?;
            self.write_superblock(leg, &superblock)?;
        }
        if let Some(tie_break) = &group.tie_break {
            self.erase_tie_break(&tie_break.device)?;
        }
        for leg in &group.legs {
            self.erase_record(leg)?;
        }
        let more = tie_break.map(|path| format!("; the tie-break {path} is erased")).unwrap_or_default();
        done(
            true,
            false,
            format!("replica {name} given to md{more}; assemble it: mdadm --assemble /dev/md/{name} {legs}"),
        )
    }
}
