// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which volume a user means, and the list of all of them.

use super::activate::uuid;
use super::catalog::Record;
use super::name::Name;
use super::open::{fit, Open};
use super::scan::scan;
use crate::device::Access;
use crate::error::Context;
use crate::volume::{Entry, Info, OptionalNumber};
use crate::{Bytes, Error, Kind, Result, Stor, Uuid};
use stor_pure::pure::catalog::record::{NO_ORIGIN, READ_ONLY};

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    /// One that only the kernel has.
    Plain(Info),
    /// One of a pool: the pool's UUID, the volume's, and both names.
    Thin { pool: Uuid, uuid: Uuid, name: String },
}

impl Stor {
    /// Which volume a user means; `None` if there is no such.
    pub(crate) fn meant(&self, name: &str) -> Result<Option<Meant>> {
        let of_kernel = |info: Info| match info.pool {
            Some(pool) => Meant::Thin { pool, uuid: info.uuid, name: info.name },
            None => Meant::Plain(info),
        };
        let (pool, volume) = match Name::parse(name) {
            Name::Path(path) => return Ok(self.find(&path)?.map(of_kernel)),
            Name::Of(pool, volume) => (Some(pool), volume),
            Name::Plain(volume) => (None, volume),
        };
        let known = self.find(&volume)?;
        // What has no pool needs no look at all devices.
        if let (None, Some(info)) = (&pool, known.as_ref().filter(|info| info.pool.is_none())) {
            return Ok(Some(Meant::Plain(info.clone())));
        }
        let wanted = Uuid::try_parse(&volume).ok();
        let found = scan(self.system.as_ref(), &[])?;
        let named = pool.as_ref().and_then(|pool| Uuid::try_parse(pool).ok());
        let (mut matches, mut pools) = (Vec::new(), 0);
        for group in found.pools {
            if pool.as_ref().is_some_and(|pool| group.name() != *pool && Some(group.uuid) != named) {
                continue;
            }
            pools += 1;
            let whole = fit(&group);
            if pool.is_some() {
                whole.clone()?;
            }
            let Some(mut open) = whole.is_ok().then(|| self.lock(group, Access::Read)).transpose()?.flatten() else {
                continue;
            };
            match open.load() {
                Err(error) if pool.is_some() => return Err(error),
                Err(_) => continue,
                Ok(()) => {}
            }
            let is =
                |record: &&Record| !record.name.is_empty() && (record.name == volume || Some(uuid(record)) == wanted);
            for record in open.catalog.records.values().filter(is) {
                let name = format!("{}/{}", open.name, record.name);
                matches.push(Meant::Thin { pool: open.uuid, uuid: uuid(record), name });
            }
        }
        match (pool, matches.len()) {
            (Some(pool), 0) if pools == 0 => Err(super::scan::missing(&pool)),
            (_, 0) => Ok(known.map(of_kernel)),
            (_, 1) => Ok(matches.pop()),
            _ => {
                let names: Vec<_> = matches.iter().map(Meant::name).collect();
                Err(Error::new(Kind::Usage, format!("several pools have a volume {volume}"))
                    .help(format!("name one as POOL/VOLUME: {}", names.join(", "))))
            }
        }
    }

    /// Which volume a user means.
    pub(crate) fn the(&self, name: &str) -> Result<Meant> {
        self.meant(name)?.ok_or_else(|| absent(name))
    }

    /// All volumes: those that only the kernel has in order of creation, then those of the pools by name.
    pub fn volumes(&self) -> Result<Vec<Entry>> {
        let list = || -> Result<Vec<Entry>> {
            let active = self.active_volumes()?;
            let mut entries: Vec<Entry> = active.iter().filter(|info| info.pool.is_none()).map(Entry::from).collect();
            let found = scan(self.system.as_ref(), &[])?;
            for group in found.pools.into_iter().filter(|group| fit(group).is_ok()) {
                let Ok(Some(mut open)) = self.lock(group, Access::Read) else { continue };
                if open.load().is_ok() {
                    entries.extend(open.entries(&active));
                }
            }
            // Of pools whose catalog cannot be read.
            let seen: std::collections::BTreeSet<_> = entries.iter().map(|entry| entry.uuid).collect();
            entries.extend(active.iter().filter(|info| !seen.contains(&info.uuid)).map(Entry::from));
            Ok(entries)
        };
        list().context(|| "cannot list volumes".into())
    }
}

/// There is no such volume.
pub(crate) fn absent(name: &str) -> Error {
    Error::new(Kind::NotFound, format!("there is no volume {name}"))
        .help("see 'storctl volume list' for the volumes there are")
}

impl Meant {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Plain(info) => &info.name,
            Self::Thin { name, .. } => name,
        }
    }
}

impl Open<'_> {
    /// All volumes of the pool, by name.
    pub(crate) fn entries(&self, active: &[Info]) -> Vec<Entry> {
        let by_uuid: std::collections::BTreeMap<_, _> = active.iter().map(|info| (info.uuid, info)).collect();
        let named = self.catalog.records.values().filter(|record| !record.name.is_empty());
        let mut records: Vec<_> = named.collect();
        records.sort_by(|one, other| one.name.cmp(&other.name));
        records.into_iter().map(|record| self.entry(record, by_uuid.get(&uuid(record)).copied())).collect()
    }

    /// A volume of the pool.
    pub(crate) fn entry(&self, record: &Record, active: Option<&Info>) -> Entry {
        let origin = record.fixed.origin.get();
        let origin = self.catalog.records.get(&origin).filter(|known| origin != NO_ORIGIN && !known.name.is_empty());
        let device = self.status.as_ref().and_then(|_| self.device(record.device(), false).ok());
        let mapped = device.map(|device| device.mapped.0);
        let no_room = device.is_some_and(|device| device.no_room).then_some("no-room");
        let (pool, name, origin) =
            (Some(self.name.clone()), record.name.clone(), origin.map(|origin| origin.name.clone()));
        let snapshot = record.is_snapshot();
        match active {
            Some(info) => {
                let mut entry = Entry { name, pool, snapshot, origin, mapped, ..Entry::from(info) };
                entry.state.extend(no_room);
                entry
            }
            None => Entry {
                name,
                pool,
                uuid: uuid(record),
                target: super::activate::THIN.into(),
                size: Bytes(record.fixed.size.get()),
                device: None,
                number: OptionalNumber::default(),
                state: std::iter::once("inactive").chain(record.is(READ_ONLY).then_some("read-only")).collect(),
                engine: None,
                open_count: 0,
                lower_count: 0,
                snapshot,
                origin,
                mapped,
            },
        }
    }

    /// The record of a volume.
    pub(crate) fn record(&self, wanted: Uuid) -> Result<&Record> {
        let found = self.catalog.records.values().find(|record| uuid(record) == wanted && !record.name.is_empty());
        found.ok_or_else(|| Error::new(Kind::NotFound, "the volume was removed meanwhile"))
    }

    /// The volume as the kernel has it, if it is active.
    pub(crate) fn info(&self, wanted: Uuid) -> Result<Option<Info>> {
        Ok(self.stor.system.list()?.into_iter().find(|info| info.uuid == wanted))
    }
}
