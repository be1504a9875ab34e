// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Import: an array that md has made becomes a replica, in place. That is what a start of such legs does; here it is asked for by name,
//! and refused of what is a replica already.

use super::assemble::Assemble;
use super::create::NAME_MAX;
use super::fallback::beyond_md;
use super::leg::Leg;
use super::refuse::explain;
use super::scan::{scan, Group};
use super::view::ReplicaChange;
use crate::error::Context;
use crate::pool::name;
use crate::{Error, Kind, Result, Stor};
use nix::errno::Errno;
use std::path::PathBuf;
use stor_pure::pure::replica::assemble::Consent;
use stor_pure::pure::replica::refusal::Refusal;

/// An array to take over.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// Its name or UUID; or its legs.
    pub source: Vec<String>,
    /// Its name from now on; that which it has if not given.
    pub name: Option<String>,
}

impl Stor {
    /// Makes an array of md a replica, and assembles it.
    pub fn import_replica(&self, import: &Import) -> Result<ReplicaChange> {
        self.try_import_replica(import).context(|| format!("cannot import {}", import.source.join(" ")))
    }

    fn try_import_replica(&self, import: &Import) -> Result<ReplicaChange> {
        if self.fallback {
            return Err(beyond_md().help("leave out --fallback; md can have it as it is"));
        }
        let is_path = |text: &String| text.starts_with(['/', '.']);
        let devices: Vec<PathBuf> = match import.source.as_slice() {
            [name] if !is_path(name) => Vec::new(),
            legs => match legs.iter().find(|leg| !is_path(leg)) {
                Some(odd) => {
                    return Err(Error::new(Kind::Usage, format!("{odd} is no path of a leg"))
                        .help("give one name or UUID, or the legs"))
                }
                None => legs.iter().map(PathBuf::from).collect(),
            },
        };
        let group = self.source(import, &devices)?;
        if let Some(array) = &group.array {
            return Err(Error::new(Kind::Busy, format!("md runs it ({})", array.name))
                .help(format!("stop it first: mdadm --stop {}", array.path.display()))
                .errno(Errno::EBUSY));
        }
        if group.youngest().is_some() {
            return Err(Error::new(Kind::Exists, "it is a replica already")
                .help(format!("assemble it: storctl replica assemble {}", group.name())));
        }
        if let Some((cause, help)) = group.legs.iter().find_map(Leg::misfit) {
            return Err(Error::new(Kind::Unfit, cause).help(help));
        }
        group.plan(Consent::Safe)?;
        let how = Assemble { devices, ..Assemble::default() };
        let uuid = group.uuid.to_string();
        let name = match import.name.clone().filter(|name| *name != group.name()) {
            Some(name) => {
                self.nameable(&name)?;
                if !self.dry_run {
                    self.rename_legs(&group, &name)?;
                }
                name
            }
            None => group.name(),
        };
        let change = self.assemble_replica(&uuid, &how).map_err(|error| Error { context: String::new(), ..error })?;
        let (old, said) = (group.name(), &change.text);
        let rest = said.strip_prefix(&format!("replica {old} ")).or(said.strip_prefix(&format!("replica {name} ")));
        let text = format!("replica {name} {}", rest.unwrap_or(said).replacen("assembled", "imported", 1));
        Ok(ReplicaChange { text, ..change })
    }

    /// The array that is meant.
    fn source(&self, import: &Import, devices: &[PathBuf]) -> Result<Group> {
        let mut found = scan(self.system.as_ref(), devices)?;
        let group = match (devices.is_empty(), found.groups.len()) {
            (true, _) => found.find(import.source.first().map_or("", String::as_str))?,
            (false, 1) => found.groups.remove(0),
            (false, 0) => {
                return Err(Error::new(Kind::NotFound, "none of these devices is a leg of an array")
                    .help("see 'storctl replica scan'"))
            }
            (false, _) => {
                return Err(Error::new(Kind::Usage, "these devices are of several arrays")
                    .help("name the legs of one: see 'storctl replica scan'"))
            }
        };
        match group.legs.is_empty() {
            true => Err(explain(&group, Refusal::NoLegs)),
            false => Ok(group),
        }
    }

    /// Whether a replica can get this name.
    fn nameable(&self, name: &str) -> Result<()> {
        name::check(name)?;
        if name.len() > NAME_MAX {
            let cause = format!("the name has {} characters, and md's metadata has room for {NAME_MAX}", name.len());
            return Err(Error::new(Kind::Usage, cause));
        }
        let taken = scan(self.system.as_ref(), &[])?.groups.iter().any(|group| group.name() == name);
        if taken || self.active_volumes()?.iter().any(|volume| volume.name == name) {
            return Err(Error::new(Kind::Exists, format!("there is a replica or a volume {name} already"))
                .help("choose another name")
                .errno(Errno::EEXIST));
        }
        Ok(())
    }

    /// Writes another name on all legs. md does not compare them, so it does not matter if only some have it.
    fn rename_legs(&self, group: &Group, name: &str) -> Result<()> {
        let full = format!("{}:{name}", self.system.hostname());
        let full = if full.len() < NAME_MAX { full } else { name.into() };
        for leg in &group.legs {
            let mut superblock = leg.superblock.clone();
            superblock.set_name = [0; NAME_MAX];
            superblock.set_name.iter_mut().zip(full.bytes()).for_each(|(to, from)| *to = from);
            superblock.seal().map_err(|why| Error::new(Kind::Failure, why.to_string()))?;
            self.write_superblock(leg, &superblock)?;
        }
        Ok(())
    }
}
