// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which volume a user means, and the list of all of them.

use super::activate::uuid;
use super::catalog::Record;
use super::name::Name;
use super::open::{fit, Open};
use super::scan::{scan, Group};
use crate::device::Access;
use crate::error::Context;
use crate::volume::{Entry, Info, OptionalNumber};
use crate::{Bytes, Error, Kind, Result, Stor, Uuid};
use std::collections::BTreeMap;
use stor_pure::pure::catalog::record::{NO_ORIGIN, READ_ONLY};

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    /// One that only the kernel has.
    Plain(Info),
    /// One of a pool: the pool's UUID, the volume's, and both names.
    Thin { pool: Uuid, uuid: Uuid, name: String },
}

/// Which volumes there are, for as many names as are to be looked up: devices are looked at once, and not at all if that is not needed.
pub(crate) struct Directory<'a> {
    stor: &'a Stor,
    active: Vec<Info>,
    pools: Option<Vec<PoolNames>>,
}

/// A pool's volumes by name.
struct PoolNames {
    name: String,
    uuid: Uuid,
    volumes: std::result::Result<BTreeMap<String, Uuid>, Unread>,
}

/// Why a pool's volumes are not known.
enum Unread {
    /// It cannot be used, which concerns those who name it.
    Unfit(Error),
    /// Its devices cannot be read, so nobody knows what is in it.
    Failed(Error),
    /// Somebody is changing it.
    Changing,
}

impl<'a> Directory<'a> {
    pub(crate) fn new(stor: &'a Stor) -> Result<Self> {
        Ok(Self { stor, active: stor.active_volumes()?, pools: None })
    }

    /// The pools; those of an earlier look if there was one.
    fn pools(&mut self) -> Result<&[PoolNames]> {
        if self.pools.is_none() {
            let found = scan(self.stor.system.as_ref(), &[])?;
            self.pools = Some(found.pools.into_iter().map(|group| PoolNames::read(self.stor, group)).collect());
        }
        Ok(self.pools.as_deref().unwrap_or_default())
    }

    /// Which volume a user means; `None` if there is no such.
    pub(crate) fn meant(&mut self, name: &str) -> Result<Option<Meant>> {
        let of_kernel = |info: Info| match info.pool {
            Some(pool) => Meant::Thin { pool, uuid: info.uuid, name: info.name },
            None => Meant::Plain(info),
        };
        let (pool, volume) = match Name::parse(name) {
            Name::Path(path) => return Ok(self.stor.find_in(&self.active, &path)?.map(of_kernel)),
            Name::Of(pool, volume) => (Some(pool), volume),
            Name::Plain(volume) => (None, volume),
        };
        let known = self.stor.find_in(&self.active, &volume)?;
        // What has no pool needs no look at all devices.
        if let (None, Some(info)) = (&pool, known.as_ref().filter(|info| info.pool.is_none())) {
            return Ok(Some(Meant::Plain(info.clone())));
        }
        let wanted = Uuid::try_parse(&volume).ok();
        let named = pool.as_ref().and_then(|pool| Uuid::try_parse(pool).ok());
        let (mut matches, mut pools) = (Vec::new(), 0);
        for one in self.pools()? {
            if pool.as_ref().is_some_and(|pool| one.name != *pool && Some(one.uuid) != named) {
                continue;
            }
            pools += 1;
            let volumes = match &one.volumes {
                Ok(volumes) => volumes,
                Err(Unread::Failed(error)) => return Err(error.clone()),
                Err(Unread::Unfit(error)) if pool.is_some() => return Err(error.clone()),
                Err(_) => continue,
            };
            let found = match (volumes.get_key_value(&volume), wanted) {
                (None, Some(_)) => volumes.iter().find(|(_, uuid)| Some(**uuid) == wanted),
                (found, _) => found,
            };
            matches.extend(found.map(|(volume, uuid)| Meant::Thin {
                pool: one.uuid,
                uuid: *uuid,
                name: format!("{}/{volume}", one.name),
            }));
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
    pub(crate) fn the(&mut self, name: &str) -> Result<Meant> {
        self.meant(name)?.ok_or_else(|| absent(name))
    }
}

impl PoolNames {
    fn read(stor: &Stor, group: Group) -> Self {
        let (name, uuid) = (group.name(), group.uuid);
        let volumes = fit(&group).map_err(Unread::Unfit).and_then(|()| {
            let mut open = stor.lock(group, Access::Read).map_err(Unread::Failed)?.ok_or(Unread::Changing)?;
            open.load().map_err(Unread::Unfit)?;
            let named = open.catalog.records.values().filter(|record| !record.name.is_empty());
            Ok(named.map(|record| (record.name.clone(), self::uuid(record))).collect())
        });
        Self { name, uuid, volumes }
    }
}

impl Stor {
    /// Which volume a user means; `None` if there is no such.
    pub(crate) fn meant(&self, name: &str) -> Result<Option<Meant>> {
        Directory::new(self)?.meant(name)
    }

    /// Which volume a user means.
    pub(crate) fn the(&self, name: &str) -> Result<Meant> {
        Directory::new(self)?.the(name)
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
        let by_uuid: BTreeMap<_, _> = active.iter().map(|info| (info.uuid, info)).collect();
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
