// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Finding replicas: legs and tie-breaks are looked for on all devices, and put together.

use super::array::Array;
use super::joint::{self, Joint};
use super::leg::{self, Leg};
use super::refuse::explain;
use super::tie_break::{self, TieBreak};
use crate::device::{Access, Device, Host, Number, Wanted};
use crate::pool::scan::Trouble;
use crate::reservation::{reserved, taken, Key};
use crate::{Bytes, Error, Kind, Result, Uuid};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use stor_pure::pure::md::superblock::Refusal;
use stor_pure::pure::replica::assemble::{self, Consent, Plan};
use stor_pure::pure::replica::record::{self, Record};
use stor_pure::pure::replica::set::{Set, TIE_BREAK};

/// A replica of which there is at least one member.
#[derive(Debug)]
pub(crate) struct Group {
    /// The array's UUID.
    pub(crate) uuid: Uuid,
    /// Its legs that were found, by their slots.
    pub(crate) legs: Vec<Leg>,
    /// Its tie-break.
    pub(crate) tie_break: Option<TieBreak>,
    /// Metadata of legs without the rest of them.
    pub(crate) joints: Vec<Joint>,
    /// The array of md that has legs of it now.
    pub(crate) array: Option<Array>,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// The replicas, by name and UUID.
    pub(crate) groups: Vec<Group>,
    /// What cannot be used.
    pub(crate) troubles: Vec<Trouble>,
    /// What cannot be read, because another machine has reserved it, and by which key.
    pub(crate) reserved: Vec<(PathBuf, Key)>,
}

/// What a device is.
enum Seen {
    Nothing,
    Leg(Box<Leg>),
    TieBreak(TieBreak),
    Joint(Joint),
    Trouble(String),
    /// It cannot be read, because another machine has reserved it.
    Reserved(Key),
}

impl Group {
    /// Its name, as its legs have it.
    pub(crate) fn name(&self) -> String {
        let name = self.legs.first().map(|leg| leg::name(&leg.superblock));
        name.or_else(|| self.joint_name()).unwrap_or_else(|| self.uuid.to_string())
    }

    /// Whether this is its name or its UUID.
    pub(crate) fn is(&self, name: &str) -> bool {
        Uuid::try_parse(name).is_ok_and(|uuid| uuid == self.uuid) || self.name() == name
    }

    /// Whether Stor has had it, and not only md.
    pub(crate) fn is_ours(&self) -> bool {
        let is = |leg: &Leg| !matches!(leg.record, Err(record::Refusal::Magic | record::Refusal::Array));
        self.tie_break.is_some() || !self.joints.is_empty() || self.legs.iter().any(is)
    }

    /// Bytes of the volume.
    pub(crate) fn size(&self) -> Bytes {
        self.legs.first().map_or(Bytes(0), Leg::size)
    }

    /// The youngest record of its legs.
    pub(crate) fn youngest(&self) -> Option<&Record> {
        let records = self.legs.iter().filter_map(|leg| leg.record.as_ref().ok());
        records.map(|(record, _)| &**record).max_by_key(|record| record.epoch.get())
    }

    /// Slots that are to have a leg.
    pub(crate) fn slots(&self) -> Set {
        let disks = || self.legs.first().map_or(0, |leg| leg.superblock.raid_disks.get() as usize);
        self.youngest().map(Record::slots).filter(|slots| !slots.is_empty()).unwrap_or_else(|| Set::first(disks()))
    }

    /// Its devices, the tie-break's last.
    pub(crate) fn devices(&self) -> impl Iterator<Item = &Device> {
        self.legs.iter().map(|leg| &leg.device).chain(self.tie_break.iter().map(|tie_break| &tie_break.device))
    }

    /// How it starts.
    ///
    /// # Errors
    ///
    /// Why it does not.
    pub(crate) fn plan(&self, consent: Consent) -> Result<Plan> {
        let legs: Vec<_> = self.legs.iter().map(Leg::facts).collect();
        let tie_break = self.tie_break.as_ref().map(|tie_break| &*tie_break.record);
        assemble::plan(&legs, tie_break, consent).map_err(|refusal| explain(self, refusal))
    }

    fn put_together(&mut self) {
        let number = |device: &Device| (device.number.major, device.number.minor);
        self.legs.sort_by_key(|leg| (leg.slot().unwrap_or(usize::MAX), number(&leg.device)));
        // A device that two paths lead to is one; of a disk and what device-mapper makes of its paths, the latter is meant.
        let mut seen: Vec<Number> = Vec::new();
        self.legs.retain(|leg| {
            let new = !seen.contains(&leg.device.number);
            seen.push(leg.device.number);
            new
        });
        let mapped: Vec<_> = self.legs.iter().filter(|leg| is_mapped(&leg.device)).map(Leg::uuid).collect();
        self.legs.retain(|leg| is_mapped(&leg.device) || !mapped.contains(&leg.uuid()));
        // Of what is named by hand, the rest may be there already.
        let there: Vec<_> = self.legs.iter().map(Leg::uuid).collect();
        self.joints.retain(|joint| !there.contains(&Uuid::from_bytes(joint.record.leg)));
        // One that none of the legs knows was replaced.
        let records = || self.legs.iter().filter_map(|leg| leg.record.as_ref().ok());
        let known = |uuid: &[u8; 16]| records().any(|(record, _)| record.member.get(TIE_BREAK) == Some(uuid));
        let strange = self.tie_break.as_ref().is_some_and(|tie_break| !known(&tie_break.record.device));
        if strange && !self.legs.is_empty() {
            self.tie_break = None;
        }
    }
}

fn is_mapped(device: &Device) -> bool {
    device.path.starts_with("/dev/mapper")
}

fn look(host: &(impl Host + ?Sized), path: &Path) -> Result<Seen> {
    read(host, path).or_else(|error| {
        let found = host.open(path).ok().and_then(|device| host.reservations(&device).ok());
        let other = found.and_then(|found| found.shut_to(Key::of(host.machine())));
        other.map(Seen::Reserved).ok_or(error)
    })
}

fn read(host: &(impl Host + ?Sized), path: &Path) -> Result<Seen> {
    let device = host.open(path)?;
    let content = host.content(&device, Access::Look)?;
    if let Some(record) = joint::read(&device, content.as_ref())?.filter(|record| !joint::is_whole(&device, record)) {
        return Ok(Seen::Joint(Joint { device, record }));
    }
    match leg::read(device, content.as_ref())? {
        Ok(leg) => Ok(Seen::Leg(Box::new(leg))),
        Err((device, Refusal::Magic)) => Ok(match tie_break::read(device, content.as_ref())? {
            None => Seen::Nothing,
            Some(Ok(tie_break)) => Seen::TieBreak(tie_break),
            Some(Err(refusal)) => Seen::Trouble(refusal.to_string()),
        }),
        Err((_, refusal)) => Ok(Seen::Trouble(refusal.to_string())),
    }
}

/// Looks for replicas on these devices, or on all that there are.
///
/// # Errors
///
/// A device that was named is not there or cannot be read; of all that there are such a one is only told of.
pub(crate) fn scan(host: &(impl Host + ?Sized), devices: &[PathBuf]) -> Result<Scan> {
    let all = devices.is_empty();
    let paths = if all { host.candidates(Wanted::Legs) } else { devices.to_vec() };
    let mut scan = Scan::default();
    let mut groups: BTreeMap<Uuid, Group> = BTreeMap::new();
    for path in paths {
        match look(host, &path) {
            Ok(Seen::Nothing) => {}
            Ok(Seen::Trouble(why)) => scan.troubles.push(Trouble { path, why }),
            Ok(Seen::Reserved(key)) => {
                scan.troubles.push(Trouble { path: path.clone(), why: reserved(key) });
                scan.reserved.push((path, key));
            }
            Ok(Seen::Leg(leg)) => group(&mut groups, leg.array()).legs.push(*leg),
            Ok(Seen::TieBreak(tie_break)) => {
                let group = group(&mut groups, tie_break.array());
                let known = group.tie_break.as_ref().map(|known| known.record.epoch);
                // Of two, which cannot be unless one is a copy, the younger.
                if known.is_none_or(|known| known < tie_break.record.epoch) {
                    group.tie_break = Some(tie_break);
                }
            }
            Ok(Seen::Joint(joint)) => group(&mut groups, joint.array()).joints.push(joint),
            // Without a medium, or gone meanwhile, or another user's.
            Err(error) if all && matches!(error.kind, Kind::NotFound | Kind::Permission) => {}
            Err(error) if all => scan.troubles.push(Trouble { path, why: error.cause }),
            Err(error) => return Err(error),
        }
    }
    scan.groups = groups.into_values().collect();
    scan.groups.iter_mut().for_each(Group::put_together);
    let arrays = host.arrays();
    for group in &mut scan.groups {
        let has = |array: &&Array| group.legs.iter().any(|leg| array.member(leg.device.number).is_some());
        group.array = arrays.iter().find(has).cloned();
    }
    scan.groups.sort_by_key(|group| (group.name(), group.uuid));
    Ok(scan)
}

fn group(groups: &mut BTreeMap<Uuid, Group>, uuid: Uuid) -> &mut Group {
    groups.entry(uuid).or_insert_with(|| Group {
        uuid,
        legs: Vec::new(),
        tie_break: None,
        joints: Vec::new(),
        array: None,
    })
}

/// What a device holds of a replica, in words.
pub(crate) fn holds(host: &(impl Host + ?Sized), path: &Path) -> Result<Option<String>> {
    Ok(match look(host, path)? {
        Seen::Nothing => None,
        Seen::Leg(leg) => Some(format!("a leg of replica {} ({})", leg::name(&leg.superblock), leg.array())),
        Seen::Joint(joint) => Some(format!("the metadata of a leg of replica {} ({})", joint.name(), joint.array())),
        Seen::TieBreak(tie_break) => Some(format!("the tie-break of replica {}", tie_break.array())),
        Seen::Reserved(key) => return Err(taken(path, key)),
        Seen::Trouble(why) => Some(format!("a member of an md array or a replica that cannot be used ({why})")),
    })
}

impl Scan {
    /// The replica that a user names by its name or UUID.
    ///
    /// # Errors
    ///
    /// There is none, or several have this name.
    pub(crate) fn find(mut self, name: &str) -> Result<Group> {
        let is = |group: &Group| group.is(name);
        let uuids: Vec<_> = self.groups.iter().filter(|group| is(group)).map(|group| group.uuid.to_string()).collect();
        if uuids.len() > 1 {
            return Err(Error::new(Kind::Usage, format!("several replicas have the name {name}"))
                .help(format!("name one by its UUID: {}", uuids.join(", "))));
        }
        match self.groups.iter().position(is) {
            Some(index) => Ok(self.groups.swap_remove(index)),
            None => Err(match self.reserved.first() {
                None => missing(name),
                Some((path, key)) => Error {
                    cause: format!(
                        "there is no replica {name} on what can be read, and {} is {}",
                        path.display(),
                        reserved(*key)
                    ),
                    ..taken(path, *key)
                },
            }),
        }
    }
}

/// There is no such replica.
pub(crate) fn missing(name: &str) -> Error {
    Error::new(Kind::NotFound, format!("there is no replica {name}"))
        .help("see 'storctl replica scan' for the legs there are")
}
