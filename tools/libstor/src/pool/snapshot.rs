// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Snapshots: of one volume or of many at one instant, listed, removed, and returned to.

use super::activate::uuid;
use super::catalog::Record;
use super::open::Open;
use super::resolve::{absent, Directory, Meant};
use super::settings::VolumeSettings;
use crate::control::pool::Item;
use crate::device::Access;
use crate::error::Context;
use crate::volume::{Change, Entry};
use crate::{Bytes, Error, Kind, Result, Stor, Uuid};
use serde::Serialize;
use stor_pure::abi::uapi::*;
use stor_pure::pure::catalog::record::{DELETING, MANUAL, NAME_LEN, NO_ORIGIN, READ_ONLY, SNAPSHOT};

/// The label of what was taken together: the group's name.
pub const GROUP: &str = "group";

/// Snapshots to take.
#[derive(Clone, Debug, Default)]
pub struct NewSnapshot {
    /// Of which volumes.
    pub volumes: Vec<String>,
    /// The name, if it is of one volume alone.
    pub name: Option<String>,
    /// Of many: each is named `VOLUME-GROUP`.
    pub group: Option<String>,
    /// Whether they can be written to.
    pub writable: bool,
    /// Whether they are activated, now and with their pool.
    pub active: bool,
    /// Their settings.
    pub settings: VolumeSettings,
}

/// What became of snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnapshotChange {
    /// Whether anything changed.
    pub changed: bool,
    /// Whether it was only tried.
    pub dry_run: bool,
    /// The snapshots that were taken.
    pub snapshots: Vec<Entry>,
    /// How long writes to their origins were held.
    pub pause_ns: Option<u64>,
    /// What changed, as a sentence.
    pub text: String,
}

/// What to return to.
#[derive(Clone, Debug, Default)]
pub struct Rollback {
    /// The snapshot.
    pub snapshot: String,
    /// The name for what the volume has now; made of the others if not given.
    pub keep_as: Option<String>,
    /// Whether what the volume has now may be lost.
    pub discard_current: bool,
}

impl Stor {
    /// Takes snapshots, all at one instant, of volumes that may be in use.
    pub fn snapshot(&self, new: &NewSnapshot) -> Result<SnapshotChange> {
        self.try_snapshot(new).context(|| match (new.volumes.as_slice(), &new.group) {
            ([volume], None) => format!("cannot take a snapshot of volume {volume}"),
            _ => "cannot take the snapshots".into(),
        })
    }

    fn try_snapshot(&self, new: &NewSnapshot) -> Result<SnapshotChange> {
        let (mut pool, mut directory) = (None, Directory::new(self)?);
        let mut origins: Vec<Uuid> = Vec::new();
        for volume in &new.volumes {
            let Meant::Thin { pool: of, uuid, .. } = directory.the(volume)? else {
                return Err(Error::new(Kind::Usage, format!("volume {volume} is not one of a pool")));
            };
            if *pool.get_or_insert(of) != of {
                return Err(Error::new(Kind::Usage, format!("volume {volume} is of another pool than the first"))
                    .help("take snapshots of one pool at a time"));
            }
            if origins.contains(&uuid) {
                return Err(Error::new(Kind::Usage, format!("volume {volume} is named twice")));
            }
            origins.push(uuid);
        }
        let pool = pool.ok_or_else(|| Error::new(Kind::Usage, "no volume is named"))?;
        let mut open = self.open_pool(&pool.to_string(), &[], Access::Claim)?;
        open.changeable()?;
        if open.active()?.facts.snapshots_left < 1 {
            return Err(
                Error::new(Kind::Unfit, "the pool can take no more snapshots").help("copy its volumes to a new pool")
            );
        }
        let mut next = open.catalog.clone();
        let (mut records, mut items) = (Vec::new(), Vec::new());
        for origin in origins {
            let origin = open.record(origin)?;
            let name = match (&new.name, &new.group) {
                (_, Some(group)) => format!("{}-{group}", origin.name),
                (Some(name), None) => name.clone(),
                (None, None) => return Err(Error::new(Kind::Usage, "the snapshot needs a name")),
            };
            let mut record = open.new_record(&mut next, &name, Bytes(origin.fixed.size.get()), None)?;
            record.fixed.origin = origin.fixed.device;
            record.external_of(origin);
            record.set(SNAPSHOT, true);
            record.set(READ_ONLY, !new.writable);
            record.set(MANUAL, !new.active);
            if let Some(group) = &new.group {
                record.labels.insert(GROUP.into(), group.clone());
            }
            new.settings.apply(&mut record)?;
            items.push(Item { device: record.device().into(), origin: origin.device().into() });
            next.records.insert(record.device(), record.clone());
            records.push(record);
        }
        let names: Vec<_> = records.iter().map(|record| format!("{}/{}", open.name, record.name)).collect();
        let what = match names.as_slice() {
            [name] => format!("snapshot {name}"),
            names => format!("snapshots {}", names.join(", ")),
        };
        if self.dry_run {
            let text = format!("{what} would be taken");
            return Ok(SnapshotChange { changed: true, dry_run: true, snapshots: Vec::new(), pause_ns: None, text });
        }
        let changed = open.change(next, STOR_POOL_CHANGE_SNAPSHOT, &items)?;
        if new.active {
            for record in &records {
                open.activate_new(record, false)?;
            }
        }
        let active = self.system.list()?;
        let entry = |record: &Record| open.entry(record, active.iter().find(|info| info.uuid == uuid(record)));
        let pause = u64::try_from(changed.pause.as_nanos()).unwrap_or(u64::MAX);
        let text = format!("{what} taken; writes were held for {}.{:03} ms", pause / 1_000_000, pause / 1000 % 1000);
        let snapshots = records.iter().map(entry).collect();
        Ok(SnapshotChange { changed: true, dry_run: false, snapshots, pause_ns: Some(pause), text })
    }

    /// Snapshots of a volume, of all volumes of a pool, or all.
    pub fn snapshots(&self, of: Option<&str>, pool: Option<&str>) -> Result<Vec<Entry>> {
        let list = || -> Result<Vec<Entry>> {
            let volume = of.map(|of| self.the(of)).transpose()?;
            if let Some(meant) = &volume {
                let (open, id) = self.open_of(meant, Access::Read)?;
                let device = open.record(id)?.fixed.device;
                let active = self.system.list()?;
                let is =
                    |record: &&Record| record.is_snapshot() && record.fixed.origin == device && !record.name.is_empty();
                let entry = |record: &Record| open.entry(record, active.iter().find(|info| info.uuid == uuid(record)));
                return Ok(open.catalog.records.values().filter(is).map(entry).collect());
            }
            if let Some(pool) = pool {
                let open = self.open_pool(pool, &[], Access::Read)?;
                let entries = open.entries(&self.system.list()?);
                return Ok(entries.into_iter().filter(|entry| entry.snapshot).collect());
            }
            Ok(self.volumes()?.into_iter().filter(|entry| entry.snapshot).collect())
        };
        list().context(|| "cannot list snapshots".into())
    }

    /// Removes snapshots; those of one pool go in one change.
    pub fn remove_snapshots(&self, names: &[String], if_exists: bool) -> Result<SnapshotChange> {
        let remove = || -> Result<SnapshotChange> {
            let mut pools: Vec<(Uuid, Vec<Uuid>)> = Vec::new();
            let mut directory = Directory::new(self)?;
            for name in names {
                let meant = match directory.meant(name) {
                    Err(error) if if_exists && error.kind == Kind::NotFound => None,
                    meant => meant?,
                };
                match meant {
                    Some(Meant::Thin { pool, uuid, .. }) => match pools.iter_mut().find(|(known, _)| *known == pool) {
                        Some((_, uuids)) => uuids.push(uuid),
                        None => pools.push((pool, vec![uuid])),
                    },
                    Some(Meant::Plain(_)) => {
                        return Err(Error::new(Kind::Usage, format!("volume {name} is no snapshot")))
                    }
                    None if if_exists => {}
                    None => return Err(absent(name)),
                }
            }
            let mut removed = Vec::new();
            for (pool, uuids) in pools {
                let mut open = self.open_pool(&pool.to_string(), &[], Access::Claim)?;
                self.remove_of(&mut open, &uuids, &mut removed)?;
            }
            let would = if self.dry_run { "would be " } else { "" };
            let text = match removed.as_slice() {
                [] => "there are no such snapshots".into(),
                [one] => format!("snapshot {one} {would}removed"),
                many => format!("{} snapshots {would}removed", many.len()),
            };
            let changed = !removed.is_empty();
            Ok(SnapshotChange { changed, dry_run: self.dry_run, snapshots: Vec::new(), pause_ns: None, text })
        };
        remove().context(|| match names {
            [name] => format!("cannot remove snapshot {name}"),
            _ => "cannot remove the snapshots".into(),
        })
    }

    fn remove_of(&self, open: &mut Open<'_>, uuids: &[Uuid], removed: &mut Vec<String>) -> Result<()> {
        if open.status.is_some() {
            open.changeable()?;
        }
        let active = self.volumes_of(open.uuid)?;
        let mut devices = Vec::new();
        for id in uuids {
            let record = open.record(*id)?;
            if !record.is_snapshot() {
                return Err(Error::new(Kind::Usage, format!("volume {}/{} is no snapshot", open.name, record.name))
                    .help("remove a volume by 'storctl volume remove'"));
            }
            let info = active.iter().find(|info| info.uuid == *id);
            open.closed(info).map_err(|error| Error {
                cause: format!("snapshot {}/{}: {}", open.name, record.name, error.cause),
                ..error
            })?;
            devices.push(record.device());
            removed.push(format!("{}/{}", open.name, record.name));
        }
        if self.dry_run {
            return Ok(());
        }
        for info in active.iter().filter(|info| uuids.contains(&info.uuid)) {
            self.system.remove(info.uuid).map_err(|errno| self.not_closed(info, errno))?;
        }
        open.drop_records(&devices)
    }

    /// Returns a volume, which is not open, to what a snapshot has. What it has now is kept as a snapshot, unless that is
    /// not wanted. Both happen in one transaction.
    pub fn rollback(&self, how: &Rollback) -> Result<Change> {
        self.try_rollback(how).context(|| format!("cannot roll back to snapshot {}", how.snapshot))
    }

    fn try_rollback(&self, how: &Rollback) -> Result<Change> {
        let (mut open, id) = self.open_of(&self.the(&how.snapshot)?, Access::Claim)?;
        open.changeable()?;
        let snapshot = open.record(id)?.clone();
        if !snapshot.is_snapshot() {
            return Err(Error::new(Kind::Usage, "it is a volume, not a snapshot"));
        }
        let origin = snapshot.fixed.origin.get();
        let gone = || {
            Error::new(Kind::NotFound, "the volume that it was taken of is gone")
                .help(format!("make one of it: storctl volume clone {} NAME", how.snapshot))
        };
        let old = open.catalog.records.get(&origin).filter(|old| origin != NO_ORIGIN && !old.name.is_empty());
        let old = old.ok_or_else(gone)?.clone();
        let volume = uuid(&old);
        let info = open.info(volume)?;
        open.closed(info.as_ref())
            .map_err(|error| Error { cause: format!("volume {}/{}: {}", open.name, old.name, error.cause), ..error })?;
        let mut next = open.catalog.clone();
        let kept = match (how.discard_current, &how.keep_as) {
            (true, _) => None,
            (false, Some(name)) => Some(name.clone()),
            (false, None) => Some(unused(&open, &old.name, &snapshot.name)),
        };
        // The volume's name and UUID go to a new device, and the old device gets others.
        let parked = kept.clone().unwrap_or_else(|| unused(&open, &old.name, &snapshot.name));
        let mut aside = open.new_record(&mut next, &parked, Bytes(old.fixed.size.get()), None)?;
        let new_device = aside.fixed.device;
        aside.fixed.device = old.fixed.device;
        aside.fixed.created = old.fixed.created;
        aside.fixed.origin = new_device;
        (aside.fixed.policy, aside.fixed.timeout) = (old.fixed.policy, old.fixed.timeout);
        aside.external_of(&old);
        aside.set(SNAPSHOT | READ_ONLY | MANUAL, true);
        if kept.is_none() {
            aside.set(SNAPSHOT | READ_ONLY | MANUAL, false);
            aside.set(DELETING, true);
            aside.name.clear();
        }
        let mut fresh = old.clone();
        (fresh.fixed.device, fresh.fixed.size) = (new_device, snapshot.fixed.size);
        fresh.fixed.created = self.system.time().into();
        fresh.external_of(&snapshot);
        for record in next.records.values_mut().filter(|record| record.fixed.origin == old.fixed.device) {
            record.fixed.origin = new_device;
        }
        next.records.insert(aside.device(), aside);
        next.records.insert(fresh.device(), fresh.clone());
        let what = format!("volume {}/{}", open.name, old.name);
        let rest = match &kept {
            Some(name) => format!("what it had is snapshot {name}"),
            None => "what it had is deleted".into(),
        };
        if self.dry_run {
            let rest = rest.replacen(" is ", " would be ", 1);
            return open.volume_changed(volume, true, format!("{what} would be as snapshot {}; {rest}", snapshot.name));
        }
        if let Some(info) = &info {
            self.system.remove(volume).map_err(|errno| self.not_closed(info, errno))?;
        }
        let item = Item { device: fresh.device().into(), origin: snapshot.device().into() };
        let changed = open.change(next, STOR_POOL_CHANGE_SNAPSHOT, &[item]);
        if let Err(error) = changed {
            if info.is_some() {
                // It is as it was, and should be where it was.
                let _ = open.activate(&old);
            }
            return Err(error);
        }
        if info.is_some() {
            open.activate(&fresh)?;
        }
        if kept.is_none() {
            open.delete(&[old.device()])?;
        }
        open.volume_changed(volume, true, format!("{what} is as snapshot {}; {rest}", snapshot.name))
    }
}

/// A name for what a volume had before it was returned to a snapshot.
fn unused(open: &Open<'_>, volume: &str, snapshot: &str) -> String {
    let whole = format!("{volume}-before-{snapshot}");
    // Names are ASCII, and there is room for a number.
    let base: String = whole.chars().take(NAME_LEN - 8).collect();
    let numbered = (2u32..).map(|number| format!("{base}-{number}"));
    let free = std::iter::once(base.clone()).chain(numbered).find(|name| open.catalog.find(name).is_none());
    free.unwrap_or(base)
}
