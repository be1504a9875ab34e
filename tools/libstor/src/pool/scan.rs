// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Finding pools: labels are looked for on all devices, and put together.

use super::member::{self, Seen};
use crate::device::{Access, Device, Host, Wanted};
use crate::{Error, Kind, Result, Uuid};
use std::path::{Path, PathBuf};
use stor_pure::pure::label::members::{Misfit, Pool};
use stor_pure::pure::label::{Label, Refusal};

/// A device with a label.
#[derive(Debug)]
pub(crate) struct Member {
    /// The device.
    pub(crate) device: Device,
    /// Its label.
    pub(crate) seen: Seen,
}

/// A pool of which there is at least one device.
#[derive(Debug)]
pub(crate) struct Group {
    /// Its UUID.
    pub(crate) uuid: Uuid,
    /// The devices that were found, by their index.
    pub(crate) members: Vec<Member>,
    /// Why they do not make the pool.
    pub(crate) misfit: Option<Misfit>,
}

/// A device whose label or other metadata cannot be used.
#[derive(Debug)]
pub(crate) struct Trouble {
    /// Its path.
    pub(crate) path: PathBuf,
    /// Why.
    pub(crate) why: String,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// The pools, by name and UUID.
    pub(crate) pools: Vec<Group>,
    /// Devices with labels that cannot be used, or that cannot be read.
    pub(crate) troubles: Vec<Trouble>,
}

impl Group {
    /// The pool's name, as its first device says, or any other if that is missing.
    pub(crate) fn name(&self) -> String {
        let first = self.members.first().and_then(|member| member.seen.label.name().ok());
        first.unwrap_or("?").to_string()
    }

    /// The labels.
    pub(crate) fn labels(&self) -> Vec<&Label> {
        self.members.iter().map(|member| &*member.seen.label).collect()
    }

    fn put_together(&mut self) {
        // A device that a path leads to twice, or one below a multipath device, is the same one.
        self.members.sort_by_key(|member| {
            (member.seen.label.index.get(), member.device.number.major, member.device.number.minor)
        });
        self.members.dedup_by_key(|member| member.device.number);
        // Of a disk and what device-mapper makes of its paths (multipath), the latter is meant.
        let is_mapped = |member: &Member| member.device.path.starts_with("/dev/mapper") || is_dm(&member.device.path);
        let mapped: Vec<[u8; 16]> =
            self.members.iter().filter(|member| is_mapped(member)).map(|member| member.seen.label.device).collect();
        self.members.retain(|member| is_mapped(member) || !mapped.contains(&member.seen.label.device));
        // What was never wholly added is none of the pool's.
        if let Some(first) = self.members.first().filter(|first| first.seen.label.index.get() == 0) {
            let known = first.seen.label.members().to_vec();
            self.members.retain(|member| known.contains(&member.seen.label.device));
        }
        self.misfit = Pool::of(&self.labels()).err();
    }
}

/// Whether a path is that of a mapped device.
fn is_dm(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("dm-"))
}

/// Looks for pools on these devices, or on all that there are.
///
/// # Errors
///
/// A device that was named is not there or cannot be read; of all that there are such a one is only told of.
pub(crate) fn scan(host: &(impl Host + ?Sized), devices: &[PathBuf]) -> Result<Scan> {
    let all = devices.is_empty();
    let paths = if all { host.candidates(Wanted::Pools) } else { devices.to_vec() };
    let mut scan = Scan::default();
    for path in paths {
        match look(host, &path) {
            Ok((_, Err(Refusal::Magic))) => {}
            Ok((_, Err(refusal))) => scan.troubles.push(Trouble { path, why: refusal.to_string() }),
            Ok((device, Ok(seen))) => {
                let uuid = Uuid::from_bytes(seen.label.pool);
                let member = Member { device, seen };
                match scan.pools.iter_mut().find(|group| group.uuid == uuid) {
                    Some(group) => group.members.push(member),
                    None => scan.pools.push(Group { uuid, members: vec![member], misfit: None }),
                }
            }
            // Without a medium, or gone meanwhile, or another user's.
            Err(error) if all && matches!(error.kind, Kind::NotFound | Kind::Permission) => {}
            Err(error) if all => scan.troubles.push(Trouble { path, why: error.cause }),
            Err(error) => return Err(error),
        }
    }
    scan.pools.iter_mut().for_each(Group::put_together);
    scan.pools.sort_by_key(|group| (group.name(), group.uuid));
    Ok(scan)
}

fn look(host: &(impl Host + ?Sized), path: &Path) -> Result<(Device, std::result::Result<Seen, Refusal>)> {
    let device = host.open(path)?;
    let content = host.content(&device, Access::Look)?;
    let seen = member::read(&device, content.as_ref())?;
    Ok((device, seen))
}

impl Scan {
    /// The pool that a user names by its name or UUID.
    ///
    /// # Errors
    ///
    /// There is none, or several have this name.
    pub(crate) fn find(mut self, name: &str) -> Result<Group> {
        let uuid = Uuid::try_parse(name).ok();
        let is = |group: &Group| Some(group.uuid) == uuid || group.name() == name;
        let uuids: Vec<_> = self.pools.iter().filter(|group| is(group)).map(|group| group.uuid.to_string()).collect();
        if uuids.len() > 1 {
            return Err(Error::new(Kind::Usage, format!("several pools have the name {name}"))
                .help(format!("name one by its UUID: {}", uuids.join(", "))));
        }
        match self.pools.iter().position(is) {
            Some(index) => Ok(self.pools.swap_remove(index)),
            None => Err(missing(name)),
        }
    }
}

/// There is no such pool.
pub(crate) fn missing(name: &str) -> Error {
    Error::new(Kind::NotFound, format!("there is no pool {name}")).help("see 'storctl scan' for the pools there are")
}
