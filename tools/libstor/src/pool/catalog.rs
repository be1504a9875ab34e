// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A pool's catalog in memory, to be changed and written anew.

use super::area::Area;
use crate::{Error, Kind, Result};
use std::collections::BTreeMap;
use stor_pure::pure::catalog::handshake::Stamp;
use stor_pure::pure::catalog::record::{Fixed, Label, SNAPSHOT};
use stor_pure::pure::catalog::write::Writer;
use stor_pure::pure::catalog::{self as pure, Refusal, Settings};

/// A volume, snapshot, or what is being deleted of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Fields of fixed size.
    pub(crate) fixed: Fixed,
    /// Its name; empty while it is being deleted.
    pub(crate) name: String,
    /// Its labels.
    pub(crate) labels: BTreeMap<String, String>,
}

/// A catalog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Catalog {
    /// Which change it is.
    pub(crate) stamp: Stamp,
    /// The pool's settings.
    pub(crate) settings: Settings,
    /// What it has, by device id.
    pub(crate) records: BTreeMap<u32, Record>,
}

impl Record {
    /// Whether one of these flags is set.
    pub(crate) fn is(&self, flag: u32) -> bool {
        self.fixed.flags.get() & flag != 0
    }

    /// Sets flags, or takes them back.
    pub(crate) fn set(&mut self, flag: u32, on: bool) {
        let flags = self.fixed.flags.get();
        self.fixed.flags = if on { flags | flag } else { flags & !flag }.into();
    }

    /// Whether it is listed as a snapshot.
    pub(crate) fn is_snapshot(&self) -> bool {
        self.is(SNAPSHOT)
    }

    /// The device id.
    pub(crate) fn device(&self) -> u32 {
        self.fixed.device.get()
    }
}

impl Catalog {
    /// What was read.
    pub(crate) fn of(read: &pure::Catalog<'_>) -> Self {
        let record = |volume: pure::record::Volume<'_>| Record {
            fixed: *volume.fixed,
            name: volume.name.into(),
            labels: volume.labels().map(|label| (label.key.into(), label.value.into())).collect(),
        };
        Self {
            stamp: read.stamp(),
            settings: read.header().settings,
            records: read.volumes().map(|volume| (volume.fixed.device.get(), record(volume))).collect(),
        }
    }

    /// Its bytes, for one of the slots.
    ///
    /// # Errors
    ///
    /// Something in it cannot be, or there is no room for it.
    pub(crate) fn encode(&self, pool: &[u8; 16], slot: u32, room: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; room];
        let mut writer = Writer::new(&mut bytes).map_err(|fault| Error::new(Kind::Unfit, fault.to_string()))?;
        for record in self.records.values() {
            let labels: Vec<_> = record.labels.iter().map(|(key, value)| Label { key, value }).collect();
            let pushed = writer.push(&record.fixed, &record.name, &labels);
            pushed.map_err(|fault| match fault {
                pure::record::Fault::Full => {
                    Error::new(Kind::Unfit, "the catalog is full").help("remove labels or volumes")
                }
                fault => Error::new(Kind::Usage, format!("volume {}: {fault}", record.name)),
            })?;
        }
        let length = writer.finish::<Area>(self.stamp, pool, slot, self.settings);
        let length = length.map_err(|refusal| match refusal {
            Refusal::Directory => Error::new(Kind::Exists, "two volumes would have the same name"),
            refusal => Error::new(Kind::Failure, refusal.to_string()),
        })?;
        bytes.truncate(length);
        Ok(bytes)
    }

    /// What has this name.
    pub(crate) fn find(&self, name: &str) -> Option<&Record> {
        self.records.values().find(|record| record.name == name && !name.is_empty())
    }

    /// Device ids that no volume has, `count` of them; the search goes on behind them the next time.
    ///
    /// # Errors
    ///
    /// There are not so many.
    pub(crate) fn free_devices(&mut self, count: usize) -> Result<Vec<u32>> {
        const LAST: u32 = stor_pure::pure::thin::value::LAST_DEVICE as u32;
        let begin = self.settings.next_device.get();
        let ids = (begin..=LAST).chain(0..begin).filter(|id| !self.records.contains_key(id)).take(count);
        let ids: Vec<u32> = ids.collect();
        if ids.len() < count {
            return Err(Error::new(Kind::Unfit, "the pool has no device id left").help("remove volumes or snapshots"));
        }
        if let Some(last) = ids.last() {
            self.settings.next_device = if *last < LAST { last + 1 } else { 0 }.into();
        }
        Ok(ids)
    }
}
