// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The kernel's own device-mapper, in place of Stor's modules: a pool of Stor is dm-linear over the segments of its areas, and
//! dm-thin over these.
//!
//! Volumes have the same names as with Stor's modules, in `/dev/mapper`. The metadata is the same, and so are the catalog and its
//! handshake with the transaction id. What dm-thin cannot do is refused or left out: policies and reservations of
//! single volumes, deletion in the background, a check being taken back. A mapped device of ours is known by its UUID:
//! `STOR-POOL-pool`, `-meta`, `-data`, and `STOR-POOL-VOLUME`, both UUIDs without hyphens.
//!
//! That a pool is not open with both at once is seen to by the kernel: whoever has its devices has claimed them.

mod dmsetup;
mod pool;

pub(crate) use pool::tables;

use super::machine::host::Local;
use super::{Answer, Control, Create, Events, Front, Insert, Node, Repair, ReplicaFacts, Switched, Table, Verified};
use crate::device::Number;
use crate::engine::Engine;
use crate::pool::config::Thin;
use crate::volume::{Info, Status};
use crate::{Bytes, Error, Kind, Result, Uuid};
use dmsetup::{list, run, Mapped};
use nix::errno::Errno;
use std::cell::RefCell;
use std::collections::BTreeMap;
use stor_pure::abi::uapi::*;
use stor_pure::pure::thin::value::Details;
use stor_pure::pure::units::SECTOR_SIZE;

/// What is shown where the engine's version is.
pub(crate) const ENGINE: &str = "device-mapper";
/// The UUIDs of our mapped devices begin with this.
pub(super) const PREFIX: &str = "STOR-";

/// This machine's device-mapper.
#[derive(Debug, Default)]
pub struct Mapper {
    /// Devices of pools that were read, until something changes.
    known: RefCell<BTreeMap<Uuid, BTreeMap<u64, Details>>>,
}

impl Local for Mapper {}

impl Mapper {
    /// Sees whether device-mapper and dm-thin are there.
    pub fn open() -> Result<Self> {
        let targets = run(&["targets"], "").map_err(|errno| {
            Error::new(Kind::NoModule, "device-mapper cannot be used: dmsetup fails")
                .help("install dmsetup, and load the module: modprobe dm-thin-pool")
                .errno(errno)
        })?;
        if targets.lines().any(|line| line.starts_with("thin-pool ")) {
            return Ok(Self::default());
        }
        Err(Error::new(Kind::NoModule, "device-mapper has no target thin-pool").help("load it: modprobe dm-thin-pool"))
    }

    /// A volume that is mapped.
    fn volume(&self, uuid: Uuid) -> Answer<Mapped> {
        let end = format!("-{}", uuid.simple());
        list(PREFIX)?.into_iter().find(|one| one.uuid.ends_with(&end)).ok_or(Errno::ENXIO)
    }

    /// What a volume's table says: its size and the device's id.
    fn table(&self, name: &str) -> Answer<(Bytes, u64)> {
        let table = run(&["table", name], "")?;
        let words: Vec<_> = table.split_whitespace().collect();
        match words.as_slice() {
            [_, sectors, "thin", _, id, ..] => {
                let sectors: u64 = sectors.parse().map_err(|_| Errno::EIO)?;
                Ok((Bytes(sectors.saturating_mul(SECTOR_SIZE)), id.parse().map_err(|_| Errno::EIO)?))
            }
            _ => Err(Errno::EIO),
        }
    }

    /// The external origin of a volume.
    fn origin(&self, name: &str) -> Answer<Option<String>> {
        Ok(run(&["table", name], "")?.split_whitespace().nth(5).map(Into::into))
    }

    fn info(&self, one: &Mapped) -> Answer<Info> {
        let (pool, uuid) = ids(&one.uuid).ok_or(Errno::EIO)?;
        let bits = [(STOR_STATE_READ_ONLY, one.read_only), (STOR_STATE_SUSPENDED, one.suspended)];
        Ok(Info {
            name: one.name.clone(),
            uuid,
            target: "thin".into(),
            pool: Some(pool),
            size: self.table(&one.name)?.0,
            index: one.number.minor,
            node: format!("/dev/mapper/{}", one.name),
            number: one.number,
            state: bits.iter().filter(|(_, set)| *set).fold(0, |state, (bit, _)| state | bit),
            engine: Some(ENGINE.into()),
            open_count: one.open,
            lower_count: 1,
        })
    }

    /// Gives a volume another table.
    fn load(&self, one: &Mapped, size: Bytes, device: u64, read_only: bool) -> Answer<()> {
        let (pool, _) = ids(&one.uuid).ok_or(Errno::EIO)?;
        let origin = self.origin(&one.name)?;
        let line = line(size, self.mapped(pool)?.number, device, origin);
        let mut arguments = vec!["load", one.name.as_str()];
        if read_only {
            arguments.push("--readonly");
        }
        run(&arguments, &line)?;
        run(&["resume", &one.name], "").map(drop)
    }
}

/// Whether device-mapper has a pool of ours, as far as sysfs tells.
pub(crate) fn in_use() -> bool {
    let devices = std::fs::read_dir("/sys/class/block").into_iter().flatten().flatten();
    let uuid = |device: std::fs::DirEntry| std::fs::read_to_string(device.path().join("dm/uuid")).unwrap_or_default();
    let mapped = |device: &std::fs::DirEntry| device.file_name().as_encoded_bytes().starts_with(b"dm-");
    devices.filter(mapped).map(uuid).any(|uuid| uuid.starts_with(PREFIX))
}

/// The table of a volume.
fn line(size: Bytes, pool: Number, device: u64, origin: Option<String>) -> String {
    let origin = origin.map(|origin| format!(" {origin}")).unwrap_or_default();
    format!("0 {} thin {pool} {device}{origin}\n", size.0 / SECTOR_SIZE)
}

/// The UUIDs of a volume and its pool in that of a mapped device; `None` for the pool's own parts.
fn ids(uuid: &str) -> Option<(Uuid, Uuid)> {
    let (pool, volume) = uuid.strip_prefix(PREFIX)?.split_once('-')?;
    Some((Uuid::try_parse(pool).ok()?, Uuid::try_parse(volume).ok()?))
}

impl Control for Mapper {
    fn version(&self) -> Answer<Front> {
        let version = ENGINE.into();
        Ok(Front { abi_min: STOR_ABI_VERSION, abi_max: STOR_ABI_VERSION, engine_abi: 0, version })
    }

    fn create(&self, create: &Create<'_>) -> Answer<Node> {
        let pool = create.pool.ok_or(Errno::EOPNOTSUPP)?;
        let thin = Thin::decode(create.table.config).ok_or(Errno::EINVAL)?;
        let uuid = format!("{PREFIX}{}-{}", pool.simple(), create.uuid.simple());
        let origin = create.table.lowers.first().map(|origin| origin.number.to_string());
        let line = line(create.table.size, self.mapped(pool)?.number, thin.device, origin);
        let mut arguments = vec!["create", create.name, "--uuid", &uuid];
        if create.read_only {
            arguments.push("--readonly");
        }
        run(&arguments, &line)?;
        let number = self.volume(create.uuid)?.number;
        Ok(Node { index: number.minor, number })
    }

    fn remove(&self, uuid: Uuid) -> Answer<()> {
        run(&["remove", "--retry", &self.volume(uuid)?.name], "").map(drop)
    }

    fn suspend(&self, uuid: Uuid) -> Answer<()> {
        run(&["suspend", &self.volume(uuid)?.name], "").map(drop)
    }

    fn resume(&self, uuid: Uuid) -> Answer<()> {
        run(&["resume", &self.volume(uuid)?.name], "").map(drop)
    }

    fn reload(&self, uuid: Uuid, table: &Table<'_>, _shrink: bool) -> Answer<()> {
        let one = self.volume(uuid)?;
        let thin = Thin::decode(table.config).ok_or(Errno::EINVAL)?;
        self.load(&one, table.size, thin.device, one.read_only)
    }

    fn insert(&self, _insert: &Insert<'_>) -> Answer<()> {
        Err(Errno::EOPNOTSUPP)
    }

    fn list(&self) -> Answer<Vec<Info>> {
        if !in_use() {
            return Ok(Vec::new());
        }
        list(PREFIX)?.iter().filter(|one| ids(&one.uuid).is_some()).map(|one| self.info(one)).collect()
    }

    fn status(&self, uuid: Uuid) -> Answer<Status> {
        let one = self.volume(uuid)?;
        let (_, device) = self.table(&one.name)?;
        Ok(Status {
            info: self.info(&one)?,
            logical_block: 512,
            physical_block: 4096,
            wait: if one.suspended { STOR_WAIT_SUSPENDED } else { STOR_WAIT_NONE },
            wait_since: 0,
            in_flight: 0,
            errors: 0,
            last_error: 0,
            lowers: Vec::new(),
            config: Thin { device, ..Thin::default() }.encode(),
        })
    }

    fn set_read_only(&self, uuid: Uuid, read_only: bool) -> Answer<()> {
        let one = self.volume(uuid)?;
        if one.open > 0 {
            return Err(Errno::EBUSY);
        }
        let (size, device) = self.table(&one.name)?;
        self.load(&one, size, device, read_only)
    }

    fn rename(&self, uuid: Uuid, name: &str) -> Answer<()> {
        run(&["rename", &self.volume(uuid)?.name, name], "").map(drop)
    }

    fn replica_status(&self, _uuid: Uuid) -> Answer<ReplicaFacts> {
        Err(Errno::EOPNOTSUPP)
    }

    fn replica_verify(&self, _: Uuid, _: (Bytes, Bytes), _: Repair) -> Answer<Verified> {
        Err(Errno::EOPNOTSUPP)
    }

    fn engine_list(&self) -> Answer<Vec<Engine>> {
        let volumes = u32::try_from(self.list()?.len()).unwrap_or(u32::MAX);
        Ok(vec![Engine { version: ENGINE.into(), abi: 0, active: true, volumes }])
    }

    fn engine_switch(&self, _version: &str) -> (Answer<()>, Vec<Switched>) {
        (Err(Errno::EOPNOTSUPP), Vec::new())
    }

    fn events(&self) -> Result<Box<dyn Events + '_>> {
        Err(Error::new(Kind::NoModule, "device-mapper has no such events")
            .help("use 'dmsetup wait', or load Stor's modules"))
    }
}
