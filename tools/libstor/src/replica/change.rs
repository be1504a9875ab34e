// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Stopping a replica, and changing what it runs with.

use super::refuse::refused;
use super::rejoin::config;
use super::view::ReplicaChange;
use crate::control::Table;
use crate::error::Context;
use crate::size::Iec;
use crate::volume::open;
use crate::{Bytes, Error, Kind, Result, Stor};
use nix::errno::Errno;
use std::path::Path;

impl Stor {
    /// Takes a replica from the kernel; nothing is lost.
    pub fn stop_replica(&self, name: &str) -> Result<ReplicaChange> {
        self.try_stop(name).context(|| format!("cannot stop replica {name}"))
    }

    fn try_stop(&self, name: &str) -> Result<ReplicaChange> {
        let info = self.running(name)?;
        if info.open_count > 0 {
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
        let text = format!("replica {} stopped{}", info.name, self.vacated(devices.iter()));
        Ok(ReplicaChange { changed: true, dry_run: false, replica: self.view_replica(info.uuid).ok(), text })
    }

    /// Changes from which leg a replica reads if possible (`none`: from any), and how much a rebuild takes.
    pub fn set_replica(&self, name: &str, prefer: Option<&str>, resync_rate: Option<Bytes>) -> Result<ReplicaChange> {
        self.try_set_replica(name, prefer, resync_rate).context(|| format!("cannot change replica {name}"))
    }

    fn try_set_replica(&self, name: &str, prefer: Option<&str>, rate: Option<Bytes>) -> Result<ReplicaChange> {
        let info = self.running(name)?;
        let status = self.system.status(info.uuid)?;
        let old = config(&status)?;
        let mut config = old.clone();
        let mut said = Vec::new();
        match prefer {
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
        if let Some(rate) = rate {
            config.resync_rate = rate.0;
            said.push(match rate.0 {
                0 => "rebuilds as fast as it can".into(),
                _ => format!("rebuilds with at most {} a second", Iec(rate)),
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
