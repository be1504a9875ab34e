// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A kernel that is kept in a file: the control ABI's rules and errnos without a kernel, a device or root.
//!
//! It exists so that everything above [`Control`] is tested, and so that `storctl` can be tried. The rules that the
//! kernel takes from [`stor_pure`] it takes from there too. The file is JSON ([`State`]); every call locks it, so that
//! several processes see one kernel; a call that fails leaves it as it was. What the devices hold is in files of the
//! folder `FILE.devices`; pools are real there: their metadata is read and changed by pure's engine.

mod host;
mod insert;
mod md;
mod pool;
mod replica;
mod reservation;

use super::{Answer, Control, Create, Events, Front, Insert, Node, Repair, ReplicaFacts, Switched, Table, Verified};
use crate::device::{Device, Number};
use crate::engine::Engine;
use crate::event::Event;
use crate::linear::{self, Segment};
use crate::volume::{Info, Lower, Status};
use crate::{Bytes, Error, Kind, Result, Uuid};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use stor_pure::abi::uapi::*;
use stor_pure::pure::{self, text, units};

/// The major number of simulated volumes; that of simulated devices is one less.
const MAJOR: u32 = 252;

/// A simulated kernel.
#[derive(Debug)]
pub struct Simulated {
    path: PathBuf,
}

/// What the file holds. Only `devices` and `engines` need be given; everything else starts as on a fresh boot.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct State {
    /// What `STOR_IOC_VERSION` answers.
    front: Versions,
    /// The caller lacks CAP_SYS_ADMIN.
    unprivileged: bool,
    /// What the call of this name answers instead of doing anything: an errno.
    answers: BTreeMap<String, i32>,
    /// Nanoseconds since boot; every change takes a millisecond.
    now: u64,
    engines: Vec<SimulatedEngine>,
    devices: Vec<SimulatedDevice>,
    volumes: Vec<Volume>,
    pools: Vec<pool::Pool>,
    /// Arrays of md.
    md: Vec<md::Md>,
    /// There is no mdadm.
    no_mdadm: bool,
    /// Devices of pools are not deleted for now.
    no_deletion: bool,
    /// Legs of replicas are not rebuilt for now.
    no_rebuild: bool,
    /// The machine's id.
    machine: Uuid,
    /// UUIDs that were given out.
    uuids: u64,
    /// The folder with what the devices hold.
    #[serde(skip)]
    folder: PathBuf,
    /// Readers of events begin with the first there is, not with the next.
    replay: bool,
    events: Vec<Recorded>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Versions {
    version: String,
    abi_min: u32,
    abi_max: u32,
    engine_abi: u32,
}

impl Default for Versions {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            abi_min: STOR_ABI_VERSION,
            abi_max: STOR_ABI_VERSION,
            engine_abi: 1,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SimulatedEngine {
    version: String,
    #[serde(default)]
    active: bool,
    /// Volumes that it refuses to take, and why: errnos.
    #[serde(default)]
    refuses: BTreeMap<String, i32>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SimulatedDevice {
    path: PathBuf,
    size: u64,
    #[serde(default = "sector")]
    logical_block: u64,
    #[serde(default)]
    optimal: u64,
    #[serde(default)]
    read_only: bool,
    /// What libblkid finds on it.
    #[serde(default)]
    holds: Option<String>,
    /// Who keeps it for himself, such as "mounted on /srv".
    #[serde(default)]
    busy: Option<String>,
    /// Whether the kernel has lost it.
    #[serde(default)]
    gone: bool,
    #[serde(default)]
    zoned: bool,
    /// Whether it is a block device at all.
    #[serde(default = "yes")]
    block: bool,
    /// Who has reserved it, if it has reservations.
    #[serde(default)]
    reservations: Option<reservation::Registered>,
}

fn sector() -> u64 {
    units::SECTOR_SIZE
}

fn yes() -> bool {
    true
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Volume {
    name: String,
    uuid: Uuid,
    index: u32,
    /// None if it is dead.
    engine: Option<String>,
    read_only: bool,
    /// Since when.
    suspended: Option<u64>,
    open_count: u32,
    lowers: Vec<Number>,
    segments: Vec<Segment>,
    /// If it is a volume of a pool.
    #[serde(default)]
    thin: Option<pool::Thin>,
    /// If it is a replica.
    #[serde(default)]
    replica: Option<replica::Replica>,
}

impl Volume {
    fn size(&self) -> Bytes {
        let replica = self.replica.as_ref().map(|replica| replica.size);
        self.thin.as_ref().map(|thin| thin.size).or(replica).unwrap_or_else(|| size(&self.segments))
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Recorded {
    sequence: u64,
    time: u64,
    kind: u32,
    value: u64,
    uuid: Uuid,
    name: String,
}

impl Simulated {
    /// Opens the kernel that is kept in `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let simulated = Self { path: path.into() };
        simulated.with(|state| Ok(state.volumes.len())).map_err(Error::from)?;
        Ok(simulated)
    }

    /// Runs `call` on the state, and keeps what it made of it if it succeeds.
    fn with<T>(&self, call: impl FnOnce(&mut State) -> Answer<T>) -> Answer<T> {
        // Only a file that is no state can fail here; the operator of a simulation wants to see why.
        let broken = |error: &dyn std::fmt::Display| {
            eprintln!("simulation {}: {error}", self.path.display());
            Errno::EIO
        };
        let file = OpenOptions::new().read(true).write(true).open(&self.path).map_err(|error| broken(&error))?;
        let mut file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| broken(&error))?;
        let mut old = String::new();
        file.read_to_string(&mut old).map_err(|error| broken(&error))?;
        let mut state: State = serde_json::from_str(&old).map_err(|error| broken(&error))?;
        state.folder = folder(&self.path);
        state.settle();
        state.settle_replicas();
        let answer = call(&mut state)?;
        let new = serde_json::to_string_pretty(&state).map_err(|error| broken(&error))?;
        if new != old {
            file.rewind().and_then(|()| file.set_len(0)).map_err(|error| broken(&error))?;
            file.write_all(new.as_bytes()).map_err(|error| broken(&error))?;
        }
        Ok(answer)
    }

    /// [`Simulated::with`] for a call of the control ABI that needs CAP_SYS_ADMIN.
    fn call<T>(&self, name: &str, call: impl FnOnce(&mut State) -> Answer<T>) -> Answer<T> {
        self.with(|state| {
            if state.unprivileged {
                return Err(Errno::EPERM);
            }
            match state.answers.get(name) {
                Some(&errno) => Err(Errno::from_raw(errno)),
                None => call(state),
            }
        })
    }
}

/// Where what the devices of a kernel hold is.
fn folder(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".devices");
    name.into()
}

/// What the kernel answers to a refusal of the shared rules.
fn errno(errno: pure::errno::Errno) -> Errno {
    Errno::from_raw(errno.0)
}

impl State {
    fn volume(&mut self, uuid: Uuid) -> Answer<&mut Volume> {
        self.volumes.iter_mut().find(|volume| volume.uuid == uuid).ok_or(Errno::ENXIO)
    }

    fn event(&mut self, kind: u32, value: u64, volume: &Volume) {
        self.now += 1_000_000;
        let sequence = self.events.last().map_or(1, |event| event.sequence + 1);
        let Volume { uuid, name, .. } = volume.clone();
        self.events.push(Recorded { sequence, time: self.now, kind, value, uuid, name });
    }

    /// Whether a name is free, and a UUID.
    fn is_free(&self, uuid: Uuid) -> bool {
        self.volumes.iter().all(|other| other.uuid != uuid) && self.pools.iter().all(|other| other.uuid != uuid)
    }

    /// A device or volume of a number, as a device.
    fn device(&self, number: Number) -> Option<Device> {
        let index = number.minor as usize;
        if number.major == MAJOR {
            let volume = self.volumes.iter().find(|volume| volume.index == number.minor)?;
            let path = format!("/dev/stor{}", volume.index).into();
            let logical_block = Bytes(self.logical_block(volume));
            let (size, optimal, read_only) = (volume.size(), Bytes(0), volume.read_only);
            return Some(Device { path, number, size, logical_block, optimal, read_only, file: None });
        }
        let device = self.devices.get(index).filter(|_| number.major == MAJOR - 1)?;
        let SimulatedDevice { path, size, logical_block, optimal, read_only, .. } = device;
        let (path, read_only) = (path.clone(), *read_only);
        let [size, logical_block, optimal] = [*size, *logical_block, *optimal].map(Bytes);
        Some(Device { path, number, size, logical_block, optimal, read_only, file: None })
    }

    fn logical_block(&self, volume: &Volume) -> u64 {
        let pool = volume.thin.as_ref().and_then(|thin| self.pools.iter().find(|pool| pool.uuid == thin.pool));
        let lowers = pool.map_or(&volume.lowers, |pool| &pool.lowers);
        let blocks = lowers.iter().filter_map(|&lower| self.device(lower));
        blocks.map(|device| device.logical_block.0).max().unwrap_or(units::SECTOR_SIZE)
    }

    fn number(&self, path: &Path) -> Option<(Number, bool)> {
        if let Some(index) = self.devices.iter().position(|device| device.path == path) {
            let block = self.devices.get(index).is_some_and(|device| device.block);
            return Some((Number { major: MAJOR - 1, minor: index as u32 }, block));
        }
        let volume = self.volumes.iter().find(|volume| Path::new(&format!("/dev/stor{}", volume.index)) == path)?;
        Some((Number { major: MAJOR, minor: volume.index }, true))
    }

    fn gone(&self, number: Number) -> bool {
        number.major == MAJOR - 1 && self.devices.get(number.minor as usize).is_some_and(|device| device.gone)
    }

    /// Who has a device for himself, other than `but`.
    fn user(&self, number: Number, but: Option<Uuid>) -> Option<String> {
        let above = self.volumes.iter().find(|volume| Some(volume.uuid) != but && volume.lowers.contains(&number));
        if let Some(volume) = above {
            return Some(format!("held by stor{}", volume.index));
        }
        if let Some(pool) = self.pools.iter().find(|pool| Some(pool.uuid) != but && pool.lowers.contains(&number)) {
            return Some(format!("held by pool {}", pool.name));
        }
        if let Some(array) = self.md.iter().find(|array| array.has(number)) {
            return Some(format!("held by {}", array.name()));
        }
        if number.major == MAJOR {
            let volume = self.volumes.iter().find(|volume| volume.index == number.minor)?;
            return (volume.open_count > 0).then(|| "mounted".into());
        }
        self.devices.get(number.minor as usize)?.busy.clone()
    }

    /// Whether `number` is the volume or stands on it.
    fn stands_on(&self, number: Number, index: u32) -> bool {
        let volume = self.volumes.iter().find(|volume| number.major == MAJOR && volume.index == number.minor);
        volume.is_some_and(|v| v.index == index || v.lowers.iter().any(|&lower| self.stands_on(lower, index)))
    }

    /// Checks a table as the kernel does, and gives what it is made of.
    fn table(&self, table: &Table<'_>, read_only: bool, of: Option<&Volume>) -> Answer<(Vec<Number>, Vec<Segment>)> {
        if table.lowers.len() > STOR_MAX_LOWERS as usize || table.config.len() > STOR_MAX_CONFIG as usize {
            return Err(Errno::E2BIG);
        }
        let config = pure::linear::Config::parse(table.config).map_err(|error| errno(error.errno()))?;
        let segments = config.segments().collect::<std::result::Result<Vec<_>, _>>();
        let segments = segments.map_err(|error| errno(error.errno()))?;
        let mut lowers = Vec::new();
        for lower in table.lowers {
            let device = self.usable(lower, read_only, of)?;
            lowers.push(pure::linear::Lower { size: device.size, logical_block: device.logical_block });
        }
        pure::linear::check(&segments, table.size, &lowers).map_err(|error| errno(error.errno()))?;
        let segments = linear::decode(table.config).map_err(|error| errno(error.errno()))?;
        Ok((table.lowers.iter().map(|lower| lower.number).collect(), segments))
    }

    /// Whether a device can be below a volume.
    fn usable(&self, lower: &Device, read_only: bool, of: Option<&Volume>) -> Answer<Device> {
        let device = self.device(lower.number).ok_or(Errno::EBADF)?;
        if of.is_some_and(|volume| self.stands_on(device.number, volume.index)) {
            return Err(Errno::ELOOP);
        }
        if self.gone(device.number) {
            return Err(Errno::ENODEV);
        }
        if self.user(device.number, of.map(|volume| volume.uuid)).is_some() {
            return Err(Errno::EBUSY);
        }
        if device.number.major != MAJOR && self.devices.get(device.number.minor as usize).is_some_and(|d| d.zoned) {
            return Err(Errno::EOPNOTSUPP);
        }
        if device.read_only && !read_only {
            return Err(Errno::EROFS);
        }
        Ok(device)
    }

    fn info(&self, volume: &Volume) -> Info {
        let bits = [
            (STOR_STATE_READ_ONLY, volume.read_only),
            (STOR_STATE_SUSPENDED, volume.suspended.is_some()),
            (STOR_STATE_DEAD, volume.engine.is_none()),
            (STOR_STATE_LOWER_GONE, volume.lowers.iter().any(|&lower| self.gone(lower))),
        ];
        // A volume above holds the one below open.
        let number = Number { major: MAJOR, minor: volume.index };
        let above = self.volumes.iter().filter(|other| other.lowers.contains(&number)).count() as u32;
        Info {
            name: volume.name.clone(),
            uuid: volume.uuid,
            target: match (&volume.thin, &volume.replica) {
                (Some(_), _) => "thin",
                (None, Some(_)) => "replica",
                (None, None) => "linear",
            }
            .into(),
            pool: volume.thin.as_ref().map(|thin| thin.pool),
            size: volume.size(),
            index: volume.index,
            node: format!("/dev/stor{}", volume.index),
            number,
            state: bits.iter().filter(|(_, set)| *set).fold(0, |state, (bit, _)| state | bit),
            engine: volume.engine.clone(),
            open_count: volume.open_count + above,
            lower_count: volume.lowers.len() as u32,
        }
    }

    fn refusal(&self, engine: &str, volume: &str) -> Option<Errno> {
        let engine = self.engines.iter().find(|known| known.version == engine)?;
        engine.refuses.get(volume).map(|&errno| Errno::from_raw(errno))
    }

    /// The switch of the ABI: one after the other, all back if one is refused.
    fn switch(&mut self, version: &str) -> (Answer<()>, Vec<Switched>) {
        if !self.engines.iter().any(|engine| engine.version == version) {
            return (Err(Errno::ENOENT), Vec::new());
        }
        let mut volumes = self.volumes.clone();
        let before: Vec<_> = volumes.iter().map(|volume| volume.engine.clone()).collect();
        let mut results: Vec<_> = volumes
            .iter()
            .map(|volume| Switched {
                uuid: volume.uuid,
                outcome: STOR_SWITCH_STAYED,
                error: None,
                pause: Duration::ZERO,
            })
            .collect();
        let mut answer = Ok(());
        for (index, (volume, result)) in volumes.iter_mut().zip(&mut results).enumerate() {
            if volume.engine.as_deref() == Some(version) {
                result.outcome = STOR_SWITCH_UNCHANGED;
                continue;
            }
            result.pause = Duration::from_micros(8_000 + 1_500 * index as u64);
            let Some(why) = self.refusal(version, &volume.name) else {
                (volume.engine, result.outcome) = (Some(version.into()), STOR_SWITCH_MOVED);
                continue;
            };
            result.error = Some(why);
            answer = Err(why);
            let old = volume.engine.take();
            volume.engine = old.filter(|old| self.refusal(old, &volume.name).is_none());
            result.outcome = if volume.engine.is_some() { STOR_SWITCH_STAYED } else { STOR_SWITCH_DEAD };
            break;
        }
        if answer.is_err() {
            for ((volume, result), before) in volumes.iter_mut().zip(&mut results).zip(before) {
                if result.outcome == STOR_SWITCH_MOVED {
                    volume.engine = before.filter(|old| self.refusal(old, &volume.name).is_none());
                    result.outcome = if volume.engine.is_some() { STOR_SWITCH_STAYED } else { STOR_SWITCH_DEAD };
                }
            }
        } else {
            self.engines.iter_mut().for_each(|engine| engine.active = engine.version == version);
            self.pools.iter_mut().for_each(|pool| pool.engine = Some(version.into()));
        }
        for (volume, result) in volumes.iter().zip(&results) {
            let why = result.error.unwrap_or(Errno::EIO) as u64;
            match result.outcome {
                STOR_SWITCH_MOVED => self.event(STOR_EVENT_SWITCHED, result.pause.as_nanos() as u64, volume),
                STOR_SWITCH_DEAD => self.event(STOR_EVENT_DEAD, why, volume),
                STOR_SWITCH_STAYED if result.error.is_some() => self.event(STOR_EVENT_SWITCH_FAILED, why, volume),
                _ => {}
            }
        }
        self.volumes = volumes;
        (answer, results)
    }
}

fn size(segments: &[Segment]) -> Bytes {
    segments.last().map_or(Bytes(0), |last| Bytes(last.start.0 + last.length.0))
}

impl Control for Simulated {
    fn version(&self) -> Answer<Front> {
        self.with(|state| {
            if let Some(&errno) = state.answers.get("version") {
                return Err(Errno::from_raw(errno));
            }
            let Versions { version, abi_min, abi_max, engine_abi } = &state.front;
            Ok(Front { version: version.clone(), abi_min: *abi_min, abi_max: *abi_max, engine_abi: *engine_abi })
        })
    }

    fn create(&self, create: &Create<'_>) -> Answer<Node> {
        self.call("create", |state| {
            text::check(create.name.as_bytes(), STOR_NAME_LEN as usize).map_err(|error| errno(error.errno()))?;
            if create.uuid.is_nil() || create.table.size.0 == 0 {
                return Err(Errno::EINVAL);
            }
            if !matches!((create.target, create.pool), ("linear" | "replica", None) | ("thin", Some(_))) {
                return Err(Errno::EOPNOTSUPP);
            }
            let active = state.engines.iter().find(|engine| engine.active).ok_or(Errno::ENODEV)?;
            let engine = Some(active.version.clone());
            if state.volumes.iter().any(|other| other.name == create.name) || !state.is_free(create.uuid) {
                return Err(Errno::EEXIST);
            }
            if state.volumes.len() >= STOR_MAX_VOLUMES as usize {
                return Err(Errno::E2BIG);
            }
            let (mut replica, mut began) = (None, Vec::new());
            let (lowers, segments, thin) = match create.pool {
                None if create.target == crate::replica::REPLICA => {
                    let (lowers, started, events) = state.replica(&create.table, None)?;
                    (replica, began) = (Some(started), events);
                    (lowers, Vec::new(), None)
                }
                None => state
                    .table(&create.table, create.read_only, None)
                    .map(|(lowers, segments)| (lowers, segments, None))?,
                Some(pool) => {
                    let origin = create.table.lowers.iter().map(|lower| lower.number).collect();
                    (origin, Vec::new(), Some(state.thin(pool, &create.table, None)?))
                }
            };
            let volume = Volume {
                name: create.name.into(),
                uuid: create.uuid,
                index: state.free_index()?,
                engine,
                read_only: create.read_only,
                suspended: None,
                open_count: 0,
                lowers,
                segments,
                thin,
                replica,
            };
            if let Some(why) = volume.engine.as_ref().and_then(|engine| state.refusal(engine, &volume.name)) {
                return Err(why);
            }
            state.event(STOR_EVENT_CREATED, create.table.size.0, &volume);
            began.into_iter().for_each(|(kind, value)| state.event(kind, value, &volume));
            let number = Number { major: MAJOR, minor: volume.index };
            let node = Node { index: volume.index, number };
            state.volumes.push(volume);
            Ok(node)
        })
    }

    fn remove(&self, uuid: Uuid) -> Answer<()> {
        self.call("remove", |state| {
            let volume = state.volume(uuid)?.clone();
            if state.info(&volume).open_count > 0 {
                return Err(Errno::EBUSY);
            }
            state.volumes.retain(|other| other.uuid != uuid);
            state.event(STOR_EVENT_REMOVED, 0, &volume);
            Ok(())
        })
    }

    fn suspend(&self, uuid: Uuid) -> Answer<()> {
        self.call("suspend", |state| {
            let now = state.now;
            let volume = state.volume(uuid)?;
            if volume.suspended.is_some() {
                return Err(Errno::EALREADY);
            }
            volume.suspended = Some(now);
            let volume = volume.clone();
            state.event(STOR_EVENT_SUSPENDED, 0, &volume);
            Ok(())
        })
    }

    fn resume(&self, uuid: Uuid) -> Answer<()> {
        self.call("resume", |state| {
            let volume = state.volume(uuid)?;
            volume.suspended.take().ok_or(Errno::EALREADY)?;
            let volume = volume.clone();
            state.event(STOR_EVENT_RESUMED, 0, &volume);
            Ok(())
        })
    }

    fn reload(&self, uuid: Uuid, table: &Table<'_>, shrink: bool) -> Answer<()> {
        self.call("reload", |state| {
            let volume = state.volume(uuid)?.clone();
            let (mut replica, mut changes) = (None, Vec::new());
            let (lowers, segments, thin) = match &volume.thin {
                None if volume.replica.is_some() => {
                    let (lowers, went_on, events) = state.replica(table, Some(&volume))?;
                    (replica, changes) = (Some(went_on), events);
                    (lowers, Vec::new(), None)
                }
                None => state
                    .table(table, volume.read_only, Some(&volume))
                    .map(|(lowers, segments)| (lowers, segments, None))?,
                Some(thin) => (volume.lowers.clone(), Vec::new(), Some(state.thin(thin.pool, table, Some(&volume))?)),
            };
            let open = state.info(&volume).open_count > 0;
            pure::control::check_resize(volume.size().0, table.size.0, shrink, open)
                .map_err(|error| errno(error.errno()))?;
            let volume = Volume { lowers, segments, thin, replica, ..volume };
            *state.volume(uuid)? = volume.clone();
            state.event(STOR_EVENT_RELOADED, table.size.0, &volume);
            changes.into_iter().for_each(|(kind, value)| state.event(kind, value, &volume));
            Ok(())
        })
    }

    fn insert(&self, insert: &Insert<'_>) -> Answer<()> {
        self.call("insert", |state| state.insert(insert))
    }

    fn list(&self) -> Answer<Vec<Info>> {
        self.with(|state| Ok(state.volumes.iter().map(|volume| state.info(volume)).collect()))
    }

    fn status(&self, uuid: Uuid) -> Answer<Status> {
        self.call("status", |state| {
            let volume = state.volume(uuid)?.clone();
            let lower = |&number: &Number| {
                let device = state.device(number)?;
                let disk = device.path.file_name()?.to_string_lossy().into_owned();
                Some(Lower { disk, number, size: device.size, gone: state.gone(number) })
            };
            let logical_block = state.logical_block(&volume) as u32;
            let stuck = volume.thin.as_ref().and_then(|thin| thin.stuck);
            let (wait, wait_since) = match (volume.suspended, stuck) {
                (Some(since), _) => (STOR_WAIT_SUSPENDED, since),
                (None, Some(since)) => (STOR_WAIT_DATA_FULL, since),
                (None, None) => (STOR_WAIT_NONE, 0),
            };
            Ok(Status {
                logical_block,
                physical_block: logical_block.max(4096),
                wait,
                wait_since,
                in_flight: 0,
                errors: 0,
                last_error: 0,
                lowers: volume.lowers.iter().filter_map(lower).collect(),
                config: match (&volume.thin, &volume.replica) {
                    (Some(thin), _) => thin.config.encode(),
                    (None, Some(replica)) => replica.config.encode(),
                    (None, None) => linear::encode(&volume.segments),
                },
                info: state.info(&volume),
            })
        })
    }

    fn set_read_only(&self, uuid: Uuid, read_only: bool) -> Answer<()> {
        self.call("set", |state| {
            let volume = state.volume(uuid)?.clone();
            let below = volume.lowers.iter().filter_map(|&lower| state.device(lower));
            if !read_only && below.into_iter().any(|device| device.read_only) {
                return Err(Errno::EROFS);
            }
            if read_only != volume.read_only && state.info(&volume).open_count > 0 {
                return Err(Errno::EBUSY);
            }
            state.volume(uuid)?.read_only = read_only;
            state.event(STOR_EVENT_READ_ONLY, read_only.into(), &volume);
            Ok(())
        })
    }

    fn rename(&self, uuid: Uuid, name: &str) -> Answer<()> {
        self.call("rename", |state| {
            text::check(name.as_bytes(), STOR_NAME_LEN as usize).map_err(|error| errno(error.errno()))?;
            if state.pools.iter().any(|pool| pool.uuid == uuid) {
                return state.rename_pool(uuid, name);
            }
            if state.volumes.iter().any(|other| other.name == name && other.uuid != uuid) {
                return Err(Errno::EEXIST);
            }
            let volume = state.volume(uuid)?;
            volume.name = name.into();
            let volume = volume.clone();
            state.event(STOR_EVENT_RENAMED, 0, &volume);
            Ok(())
        })
    }

    fn replica_verify(&self, uuid: Uuid, range: (Bytes, Bytes), repair: Repair) -> Answer<Verified> {
        self.verify(uuid, range, repair)
    }

    fn replica_status(&self, uuid: Uuid) -> Answer<ReplicaFacts> {
        self.replica_facts(uuid)
    }

    fn engine_list(&self) -> Answer<Vec<Engine>> {
        self.call("engine_list", |state| {
            let drives = |engine: &SimulatedEngine| {
                let driven = state.volumes.iter().filter(|volume| volume.engine.as_ref() == Some(&engine.version));
                driven.count() as u32
            };
            let engine = |engine: &SimulatedEngine| Engine {
                version: engine.version.clone(),
                abi: state.front.engine_abi,
                active: engine.active,
                volumes: drives(engine),
            };
            Ok(state.engines.iter().map(engine).collect())
        })
    }

    fn engine_switch(&self, version: &str) -> (Answer<()>, Vec<Switched>) {
        // What a switch that fails did to the volumes stays, so it is no failure of the call here.
        match self.call("engine_switch", |state| Ok(state.switch(version))) {
            Ok(switched) => switched,
            Err(errno) => (Err(errno), Vec::new()),
        }
    }

    fn events(&self) -> Result<Box<dyn Events + '_>> {
        let last =
            |state: &mut State| Ok(state.events.last().filter(|_| !state.replay).map_or(0, |event| event.sequence));
        Ok(Box::new(Stream { simulated: self, last: self.with(last)? }))
    }
}

struct Stream<'a> {
    simulated: &'a Simulated,
    last: u64,
}

impl Events for Stream<'_> {
    fn next(&mut self, timeout: Option<Duration>) -> Answer<Option<Event>> {
        let begun = Instant::now();
        loop {
            let next = self.simulated.with(|state| {
                let next = state.events.iter().find(|event| event.sequence > self.last);
                Ok(next.map(|event| Event {
                    sequence: event.sequence,
                    time: event.time,
                    kind: event.kind,
                    value: event.value,
                    uuid: Some(event.uuid).filter(|uuid| !uuid.is_nil()),
                    name: event.name.clone(),
                }))
            })?;
            if let Some(event) = next {
                self.last = event.sequence;
                return Ok(Some(event));
            }
            if timeout.is_some_and(|timeout| begun.elapsed() >= timeout) {
                return Ok(None);
            }
            // A file cannot be waited for without more machinery than a simulation deserves.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Makes the file of a fresh kernel, for tests and trials.
impl Simulated {
    /// Writes `state` (JSON, see the module) to `path` and opens it.
    pub fn create(path: &Path, state: &str) -> Result<Self> {
        let io = |error: std::io::Error| Error::new(Kind::Failure, format!("{}: {error}", path.display()));
        let _ = std::fs::remove_dir_all(folder(path)); // there may be none
        let mut file = File::create(path).map_err(io)?;
        file.write_all(state.as_bytes()).map_err(io)?;
        Self::open(path)
    }
}
