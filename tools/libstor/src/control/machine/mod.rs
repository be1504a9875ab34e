// SPDX-License-Identifier: GPL-2.0 OR MIT

//! This machine: ioctls on `/dev/stor-control`, devices in `/dev`, their users in sysfs and mountinfo.

pub(super) mod host;
mod identity;
mod md;
mod pool;
mod replica;

pub(super) use md::no_mdadm;

use super::{
    sys, Answer, Control, Create, Events, Front, Insert, Node, Repair, ReplicaFacts, Switched, Table, Verified,
};
use crate::device::{Device, Number};
use crate::engine::Engine;
use crate::event::Event;
use crate::volume::{Info, Lower, Status};
use crate::{Bytes, Error, Kind, Result, Uuid};
use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::time::{Duration, Instant};
use stor_pure::abi::uapi::*;
use stor_pure::pure::text;
use zerocopy::{FromZeros, IntoBytes};

const CONTROL: &str = "/dev/stor-control";

/// Room that a listing is first tried with; more is asked for when the kernel says that there is more.
const ROOM: usize = 64;

/// This machine's kernel.
#[derive(Debug)]
pub struct Machine {
    control: File,
}

impl Machine {
    /// Opens the control device.
    pub fn open() -> Result<Self> {
        open_control(0).map(|control| Self { control })
    }
}

impl host::Local for Machine {
    fn suspended(&self) -> Vec<String> {
        host::suspended(&self.list().unwrap_or_default())
    }
}

fn open_control(flags: i32) -> Result<File> {
    let refuse = |kind, cause: &str, help: &str| Error::new(kind, format!("{CONTROL} {cause}")).help(help);
    let file =
        OpenOptions::new().read(true).custom_flags(flags).open(CONTROL).map_err(|error| match errno(&error) {
            Errno::ENOENT | Errno::ENXIO | Errno::ENODEV => refuse(
                Kind::NoModule,
                "is not there, so the stor module is not loaded",
                "load it: modprobe stor; 'storctl doctor' tells what is wrong",
            ),
            errno @ (Errno::EACCES | Errno::EPERM) => {
                refuse(Kind::Permission, "may not be opened by this user", "run as root").errno(errno)
            }
            errno => Error::from(errno),
        })?;
    match file.metadata() {
        Ok(meta) if meta.file_type().is_char_device() => Ok(file),
        _ => Err(refuse(Kind::NoModule, "is not a device", "remove it and load the module: modprobe stor")),
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32))
}

/// A header for an argument of type `T`.
fn header<T>(flags: u32) -> stor_header {
    // No argument comes near 4 GiB.
    stor_header { abi: STOR_ABI_VERSION, size: size_of::<T>() as u32, flags, reserved: 0 }
}

fn field<const N: usize>(value: &str) -> [u8; N] {
    let mut field = [0; N];
    text::to_field(value, &mut field);
    field
}

/// The text of a field; the kernel's own names may hold what Stor's may not.
fn string(field: &[u8]) -> String {
    let end = field.iter().position(|&c| c == 0).unwrap_or(field.len());
    String::from_utf8_lossy(field.get(..end).unwrap_or_default()).into_owned()
}

fn reference(uuid: Uuid) -> stor_volume_ref {
    stor_volume_ref { header: header::<stor_volume_ref>(0), uuid: uuid.into_bytes() }
}

fn descriptors(lowers: &[Device]) -> Vec<stor_lower> {
    // A device without a handle is a simulated one, and the kernel refuses it: EBADF.
    let fd = |device: &Device| device.file.as_ref().map_or(-1, |file| file.as_raw_fd());
    lowers.iter().map(|device| stor_lower { fd: fd(device), reserved: 0 }).collect()
}

fn lower(raw: &stor_lower_status) -> Lower {
    Lower {
        disk: string(&raw.disk),
        number: Number { major: raw.major, minor: raw.minor },
        size: Bytes(raw.size),
        gone: raw.state & STOR_LOWER_GONE != 0,
    }
}

fn info(raw: &stor_volume_info) -> Info {
    Info {
        name: string(&raw.name),
        uuid: Uuid::from_bytes(raw.uuid),
        target: string(&raw.target),
        engine: Some(string(&raw.engine)).filter(|engine| !engine.is_empty()),
        pool: Some(Uuid::from_bytes(raw.pool)).filter(|pool| !pool.is_nil()),
        size: Bytes(raw.size),
        index: raw.index,
        node: format!("/dev/stor{}", raw.index),
        number: Number { major: raw.major, minor: raw.minor },
        state: raw.state,
        open_count: raw.open_count,
        lower_count: raw.lower_count,
    }
}

/// Calls with room for `room` entries, and again while there turn out to be more: the call says how many there are.
fn listed<T: FromZeros + Clone>(mut room: usize, mut call: impl FnMut(&mut [T]) -> Answer<u32>) -> Answer<Vec<T>> {
    loop {
        let mut entries = vec![T::new_zeroed(); room];
        let count = call(&mut entries)? as usize;
        if count <= room {
            entries.truncate(count);
            return Ok(entries);
        }
        room = count;
    }
}

/// Tries for a second until it is so.
fn soon(mut is: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(1);
    loop {
        if is() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Control for Machine {
    fn version(&self) -> Answer<Front> {
        let mut argument = stor_version { header: header::<stor_version>(0), ..FromZeros::new_zeroed() };
        sys::version(&self.control, &mut argument)?;
        let stor_version { abi_min, abi_max, engine_abi, front, .. } = argument;
        Ok(Front { abi_min, abi_max, engine_abi, version: string(&front) })
    }

    fn create(&self, create: &Create<'_>) -> Answer<Node> {
        let flags = if create.read_only { STOR_CREATE_READ_ONLY } else { 0 };
        let mut argument = stor_create {
            header: header::<stor_create>(flags),
            uuid: create.uuid.into_bytes(),
            name: field(create.name),
            target: field(create.target),
            size: create.table.size.0,
            pool: create.pool.unwrap_or_default().into_bytes(),
            ..FromZeros::new_zeroed()
        };
        sys::create(&self.control, &mut argument, &descriptors(create.table.lowers), create.table.config)?;
        Ok(Node { index: argument.index, number: Number { major: argument.major, minor: argument.minor } })
    }

    fn remove(&self, uuid: Uuid) -> Answer<()> {
        let mut removed = Err(Errno::EBUSY);
        soon(|| {
            removed = sys::remove(&self.control, &mut reference(uuid));
            removed != Err(Errno::EBUSY)
        });
        removed
    }

    fn closes(&self, uuid: Uuid) -> bool {
        soon(|| !self.status(uuid).is_ok_and(|status| status.info.open_count > 0))
    }

    fn suspend(&self, uuid: Uuid) -> Answer<()> {
        sys::suspend(&self.control, &mut reference(uuid))
    }

    fn resume(&self, uuid: Uuid) -> Answer<()> {
        sys::resume(&self.control, &mut reference(uuid))
    }

    fn reload(&self, uuid: Uuid, table: &Table<'_>, shrink: bool) -> Answer<()> {
        let flags = if shrink { STOR_RELOAD_SHRINK } else { 0 };
        let mut argument = stor_reload {
            header: header::<stor_reload>(flags),
            uuid: uuid.into_bytes(),
            size: table.size.0,
            ..FromZeros::new_zeroed()
        };
        sys::reload(&self.control, &mut argument, &descriptors(table.lowers), table.config)
    }

    fn insert(&self, insert: &Insert<'_>) -> Answer<()> {
        let mut argument = stor_insert {
            header: header::<stor_insert>(0),
            uuid: insert.uuid.into_bytes(),
            below_uuid: insert.below.0.into_bytes(),
            below_name: field(insert.below.1),
            joined_uuid: insert.joined.0.into_bytes(),
            joined_name: field(insert.joined.1),
            joined_target: field(insert.joined_target),
            joined_size: insert.table.size.0,
            target: field(insert.target),
            ..FromZeros::new_zeroed()
        };
        let Table { lowers, config, .. } = insert.table;
        sys::insert(&self.control, &mut argument, &descriptors(lowers), config, insert.config)
    }

    fn list(&self) -> Answer<Vec<Info>> {
        let entries = listed(ROOM, |entries: &mut [stor_volume_info]| {
            let mut argument = stor_list { header: header::<stor_list>(0), ..FromZeros::new_zeroed() };
            sys::list(&self.control, &mut argument, entries)?;
            Ok(argument.count)
        })?;
        Ok(entries.iter().map(info).collect())
    }

    fn status(&self, uuid: Uuid) -> Answer<Status> {
        // The ABI bounds both, so there is always room.
        let mut lowers = vec![stor_lower_status::new_zeroed(); STOR_MAX_LOWERS as usize];
        let mut config = vec![0; STOR_MAX_CONFIG as usize];
        let mut raw =
            stor_status { header: header::<stor_status>(0), uuid: uuid.into_bytes(), ..FromZeros::new_zeroed() };
        sys::status(&self.control, &mut raw, &mut lowers, &mut config)?;
        lowers.truncate(raw.info.lower_count as usize);
        config.truncate(raw.config_len as usize);
        Ok(Status {
            info: info(&raw.info),
            logical_block: raw.logical_block_size,
            physical_block: raw.physical_block_size,
            wait: raw.wait,
            wait_since: raw.wait_since,
            in_flight: raw.in_flight,
            errors: raw.errors,
            last_error: raw.last_error,
            lowers: lowers.iter().map(lower).collect(),
            config,
        })
    }

    fn set_read_only(&self, uuid: Uuid, read_only: bool) -> Answer<()> {
        let value = if read_only { STOR_SET_READ_ONLY } else { 0 };
        let mut argument =
            stor_set { header: header::<stor_set>(0), uuid: uuid.into_bytes(), mask: STOR_SET_READ_ONLY, value };
        sys::set(&self.control, &mut argument)
    }

    fn rename(&self, uuid: Uuid, name: &str) -> Answer<()> {
        let mut argument = stor_rename { header: header::<stor_rename>(0), uuid: uuid.into_bytes(), name: field(name) };
        sys::rename(&self.control, &mut argument)
    }

    fn replica_status(&self, uuid: Uuid) -> Answer<ReplicaFacts> {
        replica::status(&self.control, uuid)
    }

    fn replica_verify(&self, uuid: Uuid, range: (Bytes, Bytes), repair: Repair) -> Answer<Verified> {
        replica::verify(&self.control, uuid, range, repair)
    }

    fn engine_list(&self) -> Answer<Vec<Engine>> {
        let entries = listed(ROOM, |entries: &mut [stor_engine_info]| {
            let mut argument = stor_engine_list { header: header::<stor_engine_list>(0), ..FromZeros::new_zeroed() };
            sys::engine_list(&self.control, &mut argument, entries)?;
            Ok(argument.count)
        })?;
        let engine = |raw: &stor_engine_info| Engine {
            version: string(&raw.version),
            abi: raw.abi,
            active: raw.state & STOR_ENGINE_ACTIVE != 0,
            volumes: raw.volumes,
        };
        Ok(entries.iter().map(engine).collect())
    }

    fn engine_switch(&self, version: &str) -> (Answer<()>, Vec<Switched>) {
        // It cannot be asked again with more room, so there is room for all that can be.
        let mut results = vec![stor_switch_result::new_zeroed(); STOR_MAX_VOLUMES as usize];
        let mut argument = stor_engine_switch {
            header: header::<stor_engine_switch>(0),
            version: field(version),
            ..FromZeros::new_zeroed()
        };
        let answer = sys::engine_switch(&self.control, &mut argument, &mut results);
        results.truncate(argument.count as usize);
        let switched = |raw: &stor_switch_result| Switched {
            uuid: Uuid::from_bytes(raw.uuid),
            outcome: raw.outcome,
            error: Some(raw.error.saturating_neg()).filter(|&error| error != 0).map(Errno::from_raw),
            pause: Duration::from_nanos(raw.pause),
        };
        (answer, results.iter().map(switched).collect())
    }

    fn events(&self) -> Result<Box<dyn Events + '_>> {
        // A file of its own: what was listed before is then older than every event.
        Ok(Box::new(Stream { file: open_control(nix::fcntl::OFlag::O_NONBLOCK.bits())? }))
    }
}

struct Stream {
    file: File,
}

impl Events for Stream {
    fn next(&mut self, timeout: Option<Duration>) -> Answer<Option<Event>> {
        // A limit that poll cannot count is as good as none.
        let limit = timeout.map_or(PollTimeout::NONE, |limit| PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX));
        let mut raw = stor_event::new_zeroed();
        loop {
            if poll(&mut [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)], limit)? == 0 {
                return Ok(None);
            }
            match self.file.read(raw.as_mut_bytes()) {
                Ok(length) if length == size_of::<stor_event>() => break,
                Ok(_) => return Err(Errno::EIO),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(errno(&error)),
            }
        }
        Ok(Some(Event {
            sequence: raw.sequence,
            time: raw.time,
            kind: raw.type_,
            value: raw.value,
            uuid: Some(Uuid::from_bytes(raw.uuid)).filter(|uuid| !uuid.is_nil()),
            name: string(&raw.name),
        }))
    }
}
