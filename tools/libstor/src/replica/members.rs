// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Members that come and go while a replica runs. Who joins is written as an empty member first; then the kernel is given a list with it, and
//! the change; and who has left is erased only after the kernel has had it written down that it is none (docs/adr/0013).

use super::config::{Config, Joins};
use super::joint;
use super::leg::{self, Leg};
use super::refuse::refused;
use super::spare::Spare;
use super::tie_break;
use super::view::{is_attached, waits_for, waits_word, ReplicaChange};
use crate::control::replica::{LegFacts, ReplicaFacts};
use crate::control::Table;
use crate::device::{Access, Device};
use crate::error::Context;
use crate::metadata::Progress;
use crate::size::Iec;
use crate::volume::{Info, Lower, Status};
use crate::{Bytes, Error, Kind, Result, Stor, Uuid};
use nix::errno::Errno;
use std::path::Path;
use std::time::Duration;
use stor_pure::abi::uapi::*;
use stor_pure::pure::md::superblock::LEGS_MAX;
use stor_pure::pure::replica::set::TIE_BREAK;

/// How often it is looked whether a leg is in sync.
const LOOK: Duration = Duration::from_millis(200);
/// How long a copy may stand still before somebody has to know.
const PATIENCE: Duration = Duration::from_secs(120);

/// A replica that runs, as it is before something is done to it.
pub(super) struct Before {
    pub(super) info: Info,
    status: Status,
    pub(super) facts: ReplicaFacts,
    /// Legs that can be read.
    pub(super) legs: Vec<Leg>,
}

/// A leg that is to leave.
struct Leaving {
    slot: usize,
    facts: LegFacts,
    /// As users know it.
    name: String,
}

impl Before {
    pub(super) fn lower(&self, leg: &LegFacts) -> Option<&Lower> {
        self.status.lowers.get(leg.lower? as usize)
    }

    /// Legs that may be read, without one of them.
    fn others(&self, slot: usize) -> usize {
        let legs = self.facts.legs.iter().take(TIE_BREAK).enumerate();
        legs.filter(|(other, leg)| *other != slot && leg.state & STOR_LEG_SOURCE != 0).count()
    }

    fn places(&self) -> usize {
        self.facts.legs.iter().take(TIE_BREAK).filter(|leg| !leg.uuid.is_nil()).count()
    }

    fn tie_break(&self) -> Option<&LegFacts> {
        self.facts.legs.get(TIE_BREAK).filter(|leg| !leg.uuid.is_nil())
    }
}

impl Stor {
    /// Makes a device another leg of a replica that runs. What it holds is lost.
    pub fn add_leg(&self, name: &str, device: &Path, force: bool) -> Result<ReplicaChange> {
        let add = || {
            let before = self.before(name)?;
            let text = self.join(&before, device, force, None)?;
            self.changed(&before.info, text)
        };
        add().context(|| format!("cannot add a leg to replica {name}"))
    }

    /// Takes a leg from a replica that runs, which is there or not, and is named by its slot, its device, or its UUID.
    pub fn remove_leg(&self, name: &str, leg: &str) -> Result<ReplicaChange> {
        let remove = || {
            let before = self.before(name)?;
            let leaving = self.leaving(&before, leg)?;
            let (info, text) = self.leave_for_good(before, &leaving)?;
            self.changed(&info, text)
        };
        remove().context(|| format!("cannot remove a leg of replica {name}"))
    }

    /// Puts a device in the place of a leg. If the leg is there, it leaves when the new one is in sync; until then
    /// `progress` tells how far that is.
    pub fn replace_leg(
        &self,
        name: &str,
        leg: &str,
        device: &Path,
        force: bool,
        progress: &Progress,
    ) -> Result<ReplicaChange> {
        let replace = || {
            let before = self.before(name)?;
            let leaving = self.leaving(&before, leg)?;
            if !is_attached(&leaving.facts) {
                let text = self.join(&before, device, force, Some(&leaving))?;
                return self.changed(&before.info, text);
            }
            let mut text = self.join(&before, device, force, None)?;
            if !self.dry_run {
                self.until_in_sync(&before, device, progress)?;
            }
            let before = self.before(name)?;
            if self.dry_run {
                text += &format!(", and when that is in sync, {} would leave", leaving.name);
                return self.changed(&before.info, text);
            }
            let (info, left) = self.leave_for_good(before, &leaving)?;
            self.changed(&info, format!("{text}, and is in sync; {left}"))
        };
        replace().context(|| format!("cannot replace a leg of replica {name}"))
    }

    /// Copies everything to a leg anew: it leaves, and joins again.
    pub fn resync_leg(&self, name: &str, leg: &str) -> Result<ReplicaChange> {
        let resync = || {
            let before = self.before(name)?;
            let leaving = self.leaving(&before, leg)?;
            let lower = before.lower(&leaving.facts).filter(|lower| !lower.gone);
            let Some(lower) = lower.filter(|_| is_attached(&leaving.facts)) else {
                return Err(Error::new(Kind::Unfit, format!("{} is not there", leaving.name))
                    .help("attach it and assemble the replica; or put another one in its place: replace-leg"));
            };
            if self.dry_run {
                // What cannot be is refused as it would be.
                self.leave(&before, &leaving)?;
                let text = format!("all would be copied to {} anew", leaving.name);
                return self.changed(&before.info, text);
            }
            let path = self.system.find(lower.number, &lower.disk)?.path;
            self.leave(&before, &leaving)?;
            let joined = self.before(name).and_then(|before| self.join(&before, &path, false, None));
            joined.map_err(|error| Error {
                cause: format!("{} has left, and cannot join again: {}", leaving.name, error.cause),
                help: Some(format!("when that is mended: storctl replica add-leg {name} {}", path.display())),
                ..error
            })?;
            self.changed(&before.info, format!("all is copied to {} anew", leaving.name))
        };
        resync().context(|| format!("cannot resync a leg of replica {name}"))
    }

    /// Makes a device the tie-break of a replica that runs, in the place of the one that it has; or takes that away.
    pub fn set_tie_break(&self, name: &str, device: Option<&Path>, force: bool) -> Result<ReplicaChange> {
        let set = || {
            let before = self.before(name)?;
            match device {
                Some(device) => self.join_tie_break(&before, device, force),
                None => self.leave_tie_break(&before),
            }
        };
        set().context(|| format!("cannot change the tie-break of replica {name}"))
    }

    fn changed(&self, info: &Info, text: String) -> Result<ReplicaChange> {
        Ok(ReplicaChange { changed: true, dry_run: self.dry_run, replica: self.view_running(info).ok(), text })
    }

    pub(super) fn before(&self, name: &str) -> Result<Before> {
        let info = self.running(name)?;
        let status = self.system.status(info.uuid)?;
        let facts = self.system.replica_status(info.uuid)?;
        if facts.stop != STOR_REPLICA_RUNS {
            return Err(Error::new(Kind::Failure, "it has stopped")
                .help(format!("see 'storctl replica show {}', stop it and assemble it again", info.name)));
        }
        let mut legs = Vec::new();
        for facts in facts.legs.iter().take(TIE_BREAK).filter(|leg| is_attached(leg)) {
            let Some(lower) = facts.lower.and_then(|lower| status.lowers.get(lower as usize)) else { continue };
            let device = self.system.find(lower.number, &lower.disk)?;
            let content = self.system.content(&device, Access::Look)?;
            if let Ok(leg) = leg::read(device, content.as_ref())? {
                legs.push(leg);
            }
        }
        Ok(Before { info, status, facts, legs })
    }

    /// The leg that a user names.
    fn leaving(&self, before: &Before, name: &str) -> Result<Leaving> {
        let uuid = Uuid::try_parse(name).ok();
        let slot = name.parse::<usize>().ok();
        let number = if name.starts_with(['/', '.']) { self.system.number(Path::new(name)).ok() } else { None };
        let is = |place: usize, leg: &LegFacts| {
            let here = before.lower(leg).map(|lower| lower.number);
            !leg.uuid.is_nil() && (Some(place) == slot || Some(leg.uuid) == uuid || here.is_some() && here == number)
        };
        let mut legs = before.facts.legs.iter().take(TIE_BREAK).enumerate();
        let Some((slot, facts)) = legs.find(|(place, leg)| is(*place, leg)) else {
            return Err(Error::new(Kind::NotFound, format!("{name} is none of its legs")).help(format!(
                "name one by its slot, its device or its UUID: see 'storctl replica show {}'",
                before.info.name
            )));
        };
        let name = match before.lower(facts) {
            Some(lower) => format!("slot {slot} (/dev/{})", lower.disk.replace('!', "/")),
            None => format!("the missing leg of slot {slot}"),
        };
        Ok(Leaving { slot, facts: *facts, name })
    }

    /// What is known of a leg that a user names.
    pub(super) fn leg_facts(&self, before: &Before, name: &str) -> Result<LegFacts> {
        Ok(self.leaving(before, name)?.facts)
    }

    /// The slot of a leg that a user names.
    pub(super) fn member(&self, before: &Before, name: &str) -> Result<u32> {
        Ok(u32::try_from(self.leaving(before, name)?.slot).unwrap_or(u32::MAX))
    }

    /// A device joins; if another leg is gone for good, in its place. What was done, or would be.
    fn join(&self, before: &Before, path: &Path, force: bool, instead: Option<&Leaving>) -> Result<String> {
        let name = &before.info.name;
        if instead.is_none() && before.places() >= LEGS_MAX as usize {
            return Err(Error::new(Kind::Usage, format!("it has {LEGS_MAX} legs, and cannot have more"))
                .help("put it in the place of another one: replace-leg"));
        }
        let fresh = self.fresh(std::slice::from_ref(&path.to_path_buf()), force)?;
        let uuid = self.system.uuid();
        let Some(new) = fresh.into_iter().next() else { return Err(Errno::ENODEV.into()) };
        let join = joint::whole(self.system.as_ref(), &new.device)?;
        let spare = Spare::new(&before.legs, &new.device, uuid, join)?;
        let shown = path.display();
        let place = instead.map_or(String::new(), |leaving| format!(" in the place of {}", leaving.name));
        if self.dry_run {
            return Ok(format!("{shown} would become a leg of replica {name}{place}"));
        }
        let reserved = self.take_like(before.legs.iter().map(|leg| &leg.device), &new.device)?;
        let join = || -> Result<()> {
            if new.signed {
                self.system.wipe(&new.device)?;
            }
            self.write_spare(&new.device, &spare)?;
            drop(new);
            let (mut lowers, tie_break, config) = self.reopen(&before.status)?;
            if let Some(lower) = instead.and_then(|leaving| before.lower(&leaving.facts)) {
                lowers.retain(|device| device.number != lower.number);
            }
            lowers.push(self.system.open(path)?);
            lowers.extend(tie_break);
            let leaves = instead.map(|leaving| leaving.facts.uuid);
            self.reload_with(before, &lowers, Config { joins: Some(Joins::Leg(uuid)), leaves, ..config })
        };
        join().inspect_err(|_| self.give_back(&reserved))?;
        Ok(format!("{shown} is a leg of replica {name} now{place}{}", reserved.text))
    }

    /// A leg leaves, and is taken apart if it is one of several parts.
    fn leave_for_good(&self, before: Before, leaving: &Leaving) -> Result<(Info, String)> {
        let left = self.leave(&before, leaving)?;
        let lower = before.lower(&leaving.facts).filter(|lower| !lower.gone && !self.dry_run).map(|lower| lower.number);
        let info = before.info.clone();
        // It has the legs open.
        drop(before);
        let apart = self.taken_apart(lower.as_slice(), true);
        Ok((info, left + &apart))
    }

    /// A leg leaves. What was done, or would be.
    fn leave(&self, before: &Before, leaving: &Leaving) -> Result<String> {
        let name = &before.info.name;
        if before.others(leaving.slot) == 0 {
            return Err(Error::new(Kind::Unfit, format!("{} is the last leg that has all of the data", leaving.name))
                .help("wait until another one is in sync, or add one"));
        }
        if self.dry_run {
            return Ok(format!("{} would be no leg of replica {name} any more", leaving.name));
        }
        let (legs, tie_break, config) = self.reopen(&before.status)?;
        let count = legs.len();
        let lower = before.lower(&leaving.facts).filter(|lower| !lower.gone);
        let mut lowers = legs;
        lowers.extend(tie_break);
        let leaves = Some(leaving.facts.uuid);
        self.reload_with(before, &lowers, Config { leaves, ..config.clone() })?;
        let mut text = format!("{} is no leg of replica {name} any more", leaving.name);
        if let Some(lower) = lower {
            let at = lowers.iter().take(count).position(|device| device.number == lower.number);
            let prefer = config.prefer.and_then(|prefer| match at {
                Some(at) if prefer as usize == at => None,
                Some(at) if prefer as usize > at => Some(prefer - 1),
                _ => Some(prefer),
            });
            let device = self.system.find(lower.number, &lower.disk)?;
            lowers.retain(|device| device.number != lower.number);
            self.reload_with(before, &lowers, Config { prefer, ..config })?;
            drop(lowers);
            let erased =
                before.legs.iter().find(|leg| leg.device.number == device.number).map(|leg| self.erase_leg(leg));
            match erased {
                Some(Ok(())) => text += "; its metadata is erased",
                Some(Err(error)) => text += &format!("; its metadata could not be erased ({})", error.cause),
                None => text += "; its metadata could not be read, and is not erased",
            }
            text += &self.vacated(std::iter::once(&device));
        }
        let left = before.places() - 1;
        if left == 1 && before.tie_break().is_some() {
            text += &format!(
                "; with one leg the tie-break is only in the way: storctl replica set {name} --tie-break none"
            );
        }
        Ok(text)
    }

    fn join_tie_break(&self, before: &Before, path: &Path, force: bool) -> Result<ReplicaChange> {
        let (name, shown) = (&before.info.name, path.display());
        let number = self.system.number(path)?;
        let old = before.tie_break();
        if old.is_some_and(|old| is_attached(old) && before.lower(old).is_some_and(|lower| lower.number == number)) {
            let text = format!("{shown} is the tie-break of replica {name} already");
            let replica = self.view_running(&before.info).ok();
            return Ok(ReplicaChange { changed: false, dry_run: self.dry_run, replica, text });
        }
        let fresh = self.fresh(std::slice::from_ref(&path.to_path_buf()), force)?;
        let Some(new) = fresh.into_iter().next() else { return Err(Errno::ENODEV.into()) };
        if new.device.size.0 < tie_break::SIZE_MIN {
            let least = Iec(Bytes(tie_break::SIZE_MIN));
            return Err(Error::new(
                Kind::Unfit,
                format!("{shown} is too small for a tie-break: it has to have {least}"),
            ));
        }
        if self.dry_run {
            return self.changed(&before.info, format!("{shown} would become the tie-break of replica {name}"));
        }
        let reserved = self.take_like(before.legs.iter().map(|leg| &leg.device), &new.device)?;
        let join = || -> Result<_> {
            if new.signed {
                self.system.wipe(&new.device)?;
            }
            self.write_spare_tie_break(&new.device)?;
            drop(new);
            let uuid = self.system.uuid();
            let (mut lowers, used, config) = self.reopen(&before.status)?;
            lowers.push(self.system.open(path)?);
            let leaves = old.map(|old| old.uuid);
            let config = Config { tie_break: true, joins: Some(Joins::TieBreak(uuid)), leaves, ..config };
            self.reload_with(before, &lowers, config)?;
            Ok(used)
        };
        let used = join().inspect_err(|_| self.give_back(&reserved))?;
        let mut text = format!("{shown} is the tie-break of replica {name} now{}", reserved.text);
        if let Some(used) = used {
            text += &self.erased(&used);
        }
        self.changed(&before.info, text)
    }

    fn leave_tie_break(&self, before: &Before) -> Result<ReplicaChange> {
        let name = &before.info.name;
        let Some(old) = before.tie_break() else {
            let text = format!("replica {name} has no tie-break anyway");
            let replica = self.view_running(&before.info).ok();
            return Ok(ReplicaChange { changed: false, dry_run: self.dry_run, replica, text });
        };
        if self.dry_run {
            return self.changed(&before.info, format!("replica {name} would have no tie-break any more"));
        }
        let leaves = Some(old.uuid);
        let (mut lowers, used, config) = self.reopen(&before.status)?;
        let mut text = format!("replica {name} has no tie-break any more");
        match used {
            None => self.reload_with(before, &lowers, Config { leaves, ..config })?,
            Some(used) => {
                let legs = lowers.len();
                lowers.push(used);
                self.reload_with(before, &lowers, Config { leaves, ..config.clone() })?;
                let used = lowers.split_off(legs);
                self.reload_with(before, &lowers, Config { tie_break: false, ..config })?;
                for device in &used {
                    text += &self.erased(device);
                }
            }
        }
        self.changed(&before.info, text)
    }

    /// Erases a tie-break that is none any more; what is to be said of it.
    fn erased(&self, device: &Device) -> String {
        let erased = match self.erase_tie_break(device) {
            Ok(()) => format!("; {} is erased", device.path.display()),
            Err(error) => format!("; {} could not be erased ({})", device.path.display(), error.cause),
        };
        erased + &self.vacated(std::iter::once(device))
    }

    fn reload_with(&self, before: &Before, lowers: &[Device], config: Config) -> Result<()> {
        let config = config.encode();
        let table = Table { size: before.info.size, lowers, config: &config };
        self.system.reload(before.info.uuid, &table, false).map_err(refused)
    }

    /// Waits until a leg that has joined is in sync.
    fn until_in_sync(&self, before: &Before, path: &Path, progress: &Progress) -> Result<()> {
        let number = self.system.number(path)?;
        progress.expect(before.info.size.0);
        loop {
            let status = self.system.status(before.info.uuid)?;
            let facts = self.system.replica_status(before.info.uuid)?;
            let is = |leg: &&LegFacts| {
                leg.lower
                    .and_then(|lower| status.lowers.get(lower as usize))
                    .is_some_and(|lower| lower.number == number)
            };
            let leg = facts.legs.iter().find(is).filter(|leg| is_attached(leg));
            let Some(leg) = leg.filter(|_| facts.stop == STOR_REPLICA_RUNS) else {
                return Err(Error::new(Kind::Failure, format!("{} has failed before it was in sync", path.display()))
                    .help("the old leg is still one; see 'storctl replica status'"));
            };
            if leg.state & STOR_LEG_SOURCE != 0 {
                return Ok(());
            }
            let (waits, time) = (facts.rebuild.waits, Duration::from_nanos(facts.rebuild.waits_time));
            if time >= PATIENCE && waits != STOR_REPLICA_WAITS_RATE {
                let why = waits_word(waits).unwrap_or_default();
                let what = format!(
                    "the copy on {} has not gone on for {} s: {}",
                    path.display(),
                    time.as_secs(),
                    waits_for(why)
                );
                return Err(Error::new(Kind::Timeout, what).help(
                    "both are legs; when the new one is in sync, take the old one away: storctl replica remove-leg",
                ));
            }
            progress.add(facts.position.0.saturating_sub(progress.read().0));
            std::thread::sleep(LOOK);
        }
    }
}
