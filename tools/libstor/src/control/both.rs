// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Stor's modules and device-mapper beside each other: each pool is served by one of them, and is asked for there.
//!
//! What is new goes to the first. So a command finds a pool by itself, whichever of the two has it.

use super::machine::host::{self, Local};
use super::pool::{Changed, PoolCreate, PoolDevice, PoolInfo, PoolStatus, PoolTable, Pools, Transaction};
use super::{
    mapper, Answer, Control, Create, Events, Front, Insert, Machine, Mapper, Node, Repair, ReplicaFacts, Switched,
    System, Table, Verified,
};
use crate::engine::Engine;
use crate::volume::{Info, Status};
use crate::{Bytes, Kind, Result, Uuid};

/// Both of them.
struct Both {
    first: Box<dyn System>,
    second: Box<dyn System>,
}

/// How pools of this machine are reached.
///
/// By Stor's modules, or by device-mapper if `fallback` is asked for, or if they are not there and `auto` allows it. Pools that
/// the other one has are found, too.
///
/// # Errors
///
/// What was asked for is not there.
pub fn local(fallback: bool, auto: bool) -> Result<Box<dyn System>> {
    let both = |first, second| -> Box<dyn System> { Box::new(Both { first, second }) };
    match (Machine::open(), fallback) {
        (Ok(machine), true) => Ok(both(Box::new(Mapper::open()?), Box::new(machine))),
        (Ok(machine), false) => Ok(match mapper::in_use().then(Mapper::open) {
            Some(Ok(mapper)) => both(Box::new(machine), Box::new(mapper)),
            _ => Box::new(machine),
        }),
        (Err(_), true) => Ok(Box::new(Mapper::open()?)),
        (Err(error), false) if error.kind == Kind::NoModule && auto => Ok(Box::new(Mapper::open().map_err(|_| error)?)),
        (Err(error), false) => Err(error),
    }
}

/// How replicas of this machine are reached: what md has is found by whoever there is, so for the `fallback` to md nothing else is needed.
///
/// # Errors
///
/// Stor's modules are not there, and nothing else is allowed.
pub fn for_replicas(fallback: bool, auto: bool) -> Result<Box<dyn System>> {
    match Machine::open() {
        Err(error) if error.kind == Kind::NoModule && (fallback || auto) => Ok(Box::new(Mapper::default())),
        _ => local(false, false),
    }
}

/// Whether what is asked for by `fallback`, or allowed by `auto`, is to be done without Stor's modules.
pub fn is_fallback(fallback: bool, auto: bool) -> bool {
    fallback || auto && Machine::open().is_err_and(|error| error.kind == Kind::NoModule)
}

impl Local for Both {
    fn suspended(&self) -> Vec<String> {
        host::suspended(&self.list().unwrap_or_default())
    }
}

impl Both {
    /// Who has a pool; the first, if nobody has.
    fn of_pool(&self, uuid: Uuid) -> &dyn System {
        let has = |pool: PoolInfo| pool.uuid == uuid;
        let second = self.second.pool_list().is_ok_and(|pools| pools.into_iter().any(has));
        if second { &self.second } else { &self.first }.as_ref()
    }

    /// Who has a volume.
    fn of(&self, uuid: Uuid) -> &dyn System {
        let has = |volume: Info| volume.uuid == uuid;
        let second = self.second.list().is_ok_and(|volumes| volumes.into_iter().any(has));
        if second { &self.second } else { &self.first }.as_ref()
    }
}

impl Control for Both {
    fn version(&self) -> Answer<Front> {
        self.first.version()
    }

    fn create(&self, create: &Create<'_>) -> Answer<Node> {
        create.pool.map_or(self.first.as_ref(), |pool| self.of_pool(pool)).create(create)
    }

    fn remove(&self, uuid: Uuid) -> Answer<()> {
        self.of(uuid).remove(uuid)
    }

    fn closes(&self, uuid: Uuid) -> bool {
        self.of(uuid).closes(uuid)
    }

    fn suspend(&self, uuid: Uuid) -> Answer<()> {
        self.of(uuid).suspend(uuid)
    }

    fn resume(&self, uuid: Uuid) -> Answer<()> {
        self.of(uuid).resume(uuid)
    }

    fn reload(&self, uuid: Uuid, table: &Table<'_>, shrink: bool) -> Answer<()> {
        self.of(uuid).reload(uuid, table, shrink)
    }

    fn insert(&self, insert: &Insert<'_>) -> Answer<()> {
        self.of(insert.uuid).insert(insert)
    }

    fn list(&self) -> Answer<Vec<Info>> {
        let mut all = self.first.list()?;
        all.extend(self.second.list().unwrap_or_default());
        Ok(all)
    }

    fn status(&self, uuid: Uuid) -> Answer<Status> {
        self.of(uuid).status(uuid)
    }

    fn set_read_only(&self, uuid: Uuid, read_only: bool) -> Answer<()> {
        self.of(uuid).set_read_only(uuid, read_only)
    }

    fn rename(&self, uuid: Uuid, name: &str) -> Answer<()> {
        self.of(uuid).rename(uuid, name)
    }

    fn replica_status(&self, uuid: Uuid) -> Answer<ReplicaFacts> {
        self.of(uuid).replica_status(uuid)
    }

    fn replica_verify(&self, uuid: Uuid, range: (Bytes, Bytes), repair: Repair) -> Answer<Verified> {
        self.of(uuid).replica_verify(uuid, range, repair)
    }

    fn engine_list(&self) -> Answer<Vec<Engine>> {
        self.first.engine_list()
    }

    fn engine_switch(&self, version: &str) -> (Answer<()>, Vec<Switched>) {
        self.first.engine_switch(version)
    }

    fn events(&self) -> Result<Box<dyn Events + '_>> {
        self.first.events()
    }
}

impl Pools for Both {
    fn pool_create(&self, create: &PoolCreate<'_>) -> Answer<()> {
        self.first.pool_create(create)
    }

    fn pool_remove(&self, uuid: Uuid) -> Answer<()> {
        self.of_pool(uuid).pool_remove(uuid)
    }

    fn pool_reload(&self, uuid: Uuid, table: &PoolTable<'_>) -> Answer<()> {
        self.of_pool(uuid).pool_reload(uuid, table)
    }

    fn pool_list(&self) -> Answer<Vec<PoolInfo>> {
        let mut all = self.first.pool_list()?;
        all.extend(self.second.pool_list().unwrap_or_default());
        Ok(all)
    }

    fn pool_status(&self, uuid: Uuid) -> Answer<PoolStatus> {
        self.of_pool(uuid).pool_status(uuid)
    }

    fn pool_change(&self, uuid: Uuid, transaction: &Transaction<'_>) -> Answer<Changed> {
        self.of_pool(uuid).pool_change(uuid, transaction)
    }

    fn pool_device(&self, uuid: Uuid, device: u64, exclusive: bool) -> Answer<PoolDevice> {
        self.of_pool(uuid).pool_device(uuid, device, exclusive)
    }
}
