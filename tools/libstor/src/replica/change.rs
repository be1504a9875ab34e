// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Stopping a replica, and changing what it runs with.

use super::list::not_assembled;
use super::refuse::refused;
use super::rejoin::config;
use super::scan::scan;
use super::view::ReplicaChange;
use crate::control::Table;
use crate::error::Context;
use crate::size::Iec;
use crate::volume::open;
use crate::{Bytes, Error, Kind, Result, Stor};
use nix::errno::Errno;
use std::path::Path;
use stor_pure::abi::uapi::STOR_LEG_WRITE_MOSTLY;

/// What an assembled replica is to do; what is none stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The leg that is read from if possible; `none`: any.
    pub prefer: Option<String>,
    /// A leg, and whether it is to be read only if no other can be. That stays on the leg.
    pub write_mostly: Option<(String, bool)>,
    /// Bytes a second that a rebuild takes at most, 0 for as much as there is.
    pub resync_rate: Option<Bytes>,
    /// Milliseconds: while I/O to a leg takes longer, a rebuild takes less; 0: never mind.
    pub resync_latency: Option<u32>,
    /// Milliseconds that a write to a leg may take before that is slow; `STOR_REPLICA_NEVER`: as long as it likes.
    pub slow: Option<u32>,
    /// A leg that is slow or silent counts as failed.
    pub drop_slow: Option<bool>,
}

impl Stor {
    /// Takes a replica from the kernel; nothing is lost.
    pub fn stop_replica(&self, name: &str) -> Result<ReplicaChange> {
        self.try_stop(name).context(|| format!("cannot stop replica {name}"))
    }

    fn try_stop(&self, name: &str) -> Result<ReplicaChange> {
        if self.running_or_none(name)?.is_none() {
            let group = scan(self.system.as_ref(), &[])?.find(name)?;
            if let Some(array) = &group.array {
                return self.stop_md(&group, array);
            }
            return Err(not_assembled(&group));
        }
        let info = self.running(name)?;
        if self.stays_open(&info) {
            return Err(self.not_closed(&info, Errno::EBUSY));
        }
        if self.dry_run {
            let text = format!("replica {} would be stopped", info.name);
            return Ok(ReplicaChange { changed: true, dry_run: true, replica: self.view_running(&info).ok(), text });
        }
        let status = self.system.status(info.uuid)?;
        self.system.remove(info.uuid).map_err(|errno| if errno == Errno::EBUSY { open() } else { errno.into() })?;
        let lowers = status.lowers.iter().filter(|lower| !lower.gone);
        let devices: Vec<_> = lowers.filter_map(|lower| self.system.find(lower.number, &lower.disk).ok()).collect();
        let mut text = format!("replica {} stopped{}", info.name, self.vacated(devices.iter()));
        let legs: Vec<_> = devices.iter().map(|device| device.number).collect();
        drop(devices);
        text += &self.taken_apart(&legs, false);
        Ok(ReplicaChange { changed: true, dry_run: false, replica: self.view_replica(info.uuid).ok(), text })
    }

    /// Changes what an assembled replica does.
    pub fn set_replica(&self, name: &str, settings: &Settings) -> Result<ReplicaChange> {
        self.try_set_replica(name, settings).context(|| format!("cannot change replica {name}"))
    }

    fn try_set_replica(&self, name: &str, settings: &Settings) -> Result<ReplicaChange> {
        let info = self.running(name)?;
        let status = self.system.status(info.uuid)?;
        let old = config(&status)?;
        let mut config = old.clone();
        let mut said = Vec::new();
        match settings.prefer.as_deref() {
            None => {}
            Some("none") => {
                config.prefer = None;
                said.push("reads from any leg".to_string());
            }
            Some(leg) => {
                let number = self.system.number(Path::new(leg))?;
                let legs = status.lowers.len().saturating_sub(usize::from(config.tie_break));
                let index = status.lowers.iter().take(legs).position(|lower| lower.number == number);
                let none = || Error::new(Kind::Unfit, format!("{leg} is none of its legs"));
                let index = index.ok_or_else(|| none().help(format!("see 'storctl replica show {}'", info.name)))?;
                config.prefer = u32::try_from(index).ok();
                said.push(format!("reads from {leg} if possible"));
            }
        }
        if let Some((leg, on)) = &settings.write_mostly {
            let before = self.before(&info.name)?;
            let facts = self.leg_facts(&before, leg)?;
            if (facts.state & STOR_LEG_WRITE_MOSTLY != 0) != *on {
                config.mostly = Some((facts.uuid, *on));
            }
            said.push(match on {
                true => format!("reads from {leg} only if no other leg can be read"),
                false => format!("reads from {leg} as from the others"),
            });
        }
        if settings.slow.is_some() || settings.drop_slow.is_some() {
            config.slow.limit = settings.slow.unwrap_or(config.slow.limit);
            config.slow.drop = settings.drop_slow.unwrap_or(config.slow.drop);
            let then = if config.slow.drop { "gives up" } else { "reports" };
            said.push(match config.slow.milliseconds() {
                Some(limit) => format!("{then} a leg whose writes take over {limit} ms"),
                None => format!("calls no leg slow, and {then} one that does not answer"),
            });
        }
        if let Some(rate) = settings.resync_rate {
            config.resync_rate = rate.0;
            said.push(match rate.0 {
                0 => "rebuilds as fast as it can".into(),
                _ => format!("rebuilds with at most {} a second", Iec(rate)),
            });
        }
        if let Some(limit) = settings.resync_latency {
            config.resync_latency = limit;
            said.push(match limit {
                0 => "rebuilds however long I/O takes meanwhile".into(),
                _ => format!("rebuilds more slowly while I/O to a leg takes over {limit} ms"),
            });
        }
        let said = said.join(", ");
        if config == old {
            let text = format!("replica {} {said} already", info.name);
            let replica = self.view_running(&info).ok();
            return Ok(ReplicaChange { changed: false, dry_run: self.dry_run, replica, text });
        }
        if self.dry_run {
            let text = format!("replica {} would be changed: it {said}", info.name);
            return Ok(ReplicaChange { changed: true, dry_run: true, replica: self.view_running(&info).ok(), text });
        }
        let (mut lowers, tie_break, kept) = self.reopen(&status)?;
        if lowers.len() + usize::from(tie_break.is_some()) < status.lowers.len() {
            // The numbers of the others have changed; the leg that is preferred is there.
            let preferred =
                config.prefer.and_then(|prefer| status.lowers.get(prefer as usize)).map(|lower| lower.number);
            config.prefer =
                lowers.iter().position(|leg| Some(leg.number) == preferred).and_then(|at| u32::try_from(at).ok());
        }
        config.tie_break = kept.tie_break;
        lowers.extend(tie_break);
        let config = config.encode();
        let table = Table { size: info.size, lowers: &lowers, config: &config };
        self.system.reload(info.uuid, &table, false).map_err(refused)?;
        let text = format!("replica {} {said}", info.name);
        Ok(ReplicaChange { changed: true, dry_run: false, replica: self.view_running(&info).ok(), text })
    }
}
