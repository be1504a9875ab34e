// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A volume of a pool that goes on as a replica: the pool gets to know it by another name and UUID, as what is below the replica's leg.

use super::activate::uuid;
use super::name;
use super::open::Open;
use super::volume::taken;
use crate::device::Access;
use crate::{Error, Kind, Result, Stor, Uuid};

/// What its name gets.
const SUFFIX: &str = "-data";

/// The volume's record, and what becomes of it.
pub(crate) struct Below<'a> {
    open: Open<'a>,
    device: u32,
    old: (Uuid, String),
    new: (Uuid, String),
}

impl Stor {
    /// A volume of a pool, which is to have the UUID `below`, or has it already since a command was broken off.
    pub(crate) fn below(&self, pool: Uuid, volume: Uuid, below: Uuid) -> Result<Below<'_>> {
        let open = self.open_pool(&pool.to_string(), &[], Access::Claim)?;
        open.changeable()?;
        let own = open.catalog.records.values().find(|record| [volume, below].contains(&uuid(record)));
        let own = own.ok_or_else(|| Error::new(Kind::NotFound, "the volume was removed meanwhile"))?;
        let (old, new) = match own.name.strip_suffix(SUFFIX).filter(|_| uuid(own) == below) {
            Some(old) => (old.to_string(), own.name.clone()),
            None => (own.name.clone(), data_name(&own.name)),
        };
        name::check(&new)?;
        let device = own.device();
        if open.catalog.find(&new).is_some_and(|other| other.device() != device) {
            return Err(taken(&open.name, &new).help("rename one of them first: storctl volume rename"));
        }
        Ok(Below { open, device, old: (volume, old), new: (below, new) })
    }
}

/// What the volume is called that has the data of a replica.
pub(crate) fn data_name(volume: &str) -> String {
    format!("{volume}{SUFFIX}")
}

impl Below<'_> {
    /// How a user names it then.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.open.name, self.new.1)
    }

    /// What the kernel is to call it.
    pub(crate) fn kernel_name(&self) -> String {
        name::kernel(&self.open.name, &self.new.1, self.new.0)
    }

    /// The pool knows it so.
    pub(crate) fn carry_out(&mut self) -> Result<()> {
        self.set(self.new.clone())
    }

    /// The pool knows it as it was.
    pub(crate) fn undo(&mut self) -> Result<()> {
        self.set(self.old.clone())
    }

    fn set(&mut self, (id, name): (Uuid, String)) -> Result<()> {
        let mut next = self.open.catalog.clone();
        if let Some(record) = next.records.get_mut(&self.device) {
            (record.fixed.uuid, record.name) = (id.into_bytes(), name);
        }
        if next == self.open.catalog {
            return Ok(());
        }
        self.open.change_alone(next)
    }
}
