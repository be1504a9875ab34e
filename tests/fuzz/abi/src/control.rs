// SPDX-License-Identifier: GPL-2.0

//! The control ABI called as it is meant to be.

use crate::sys;
use nix::errno::Errno;
use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, RawFd};
use stor_pure::abi::uapi::*;
use stor_pure::pure::text;
use zerocopy::{FromZeros, IntoBytes};

/// The control node.
pub(crate) const NODE: &str = "/dev/stor-control";

pub(crate) type Answer<T> = Result<T, Errno>;
pub(crate) type Uuid = [u8; STOR_UUID_LEN as usize];
pub(crate) type Name = [u8; STOR_NAME_LEN as usize];
pub(crate) type Version = [u8; STOR_VERSION_LEN as usize];

/// The command of a number whose argument has this size.
pub(crate) fn command(nr: u32, size: usize) -> u32 {
    (3 << 30) | ((size as u32) << 16) | (STOR_IOC_MAGIC << 8) | nr
}

/// The size of the argument that a command carries.
pub(crate) fn command_size(command: u32) -> usize {
    ((command >> 16) & 0x3fff) as usize
}

/// The header of an argument of type `T`.
pub(crate) fn header<T>(flags: u32) -> stor_header {
    stor_header { abi: STOR_ABI_VERSION, size: size_of::<T>() as u32, flags, reserved: 0 }
}

/// Text in a field.
pub(crate) fn field<const N: usize>(value: &str) -> [u8; N] {
    let mut field = [0; N];
    text::to_field(value, &mut field);
    field
}

/// Text out of a field.
pub(crate) fn shown(field: &[u8]) -> String {
    String::from_utf8_lossy(field).trim_end_matches('\0').into()
}

/// A segment of target `linear`, in bytes: length, where on which of the lower devices.
pub(crate) type Segment = (u64, u64, u32);

/// The configuration of target `linear`.
pub(crate) fn linear(segments: &[Segment]) -> Vec<u8> {
    let header = stor_linear_config { version: STOR_LINEAR_CONFIG_VERSION, segment_count: segments.len() as u32 };
    let mut bytes = header.as_bytes().to_vec();
    let mut start = 0;
    for &(length, lower_start, lower) in segments {
        bytes.extend(stor_linear_segment { start, length, lower_start, lower, reserved: 0 }.as_bytes());
        start += length;
    }
    bytes
}

/// What stands below a volume.
pub(crate) struct Table {
    pub(crate) size: u64,
    pub(crate) fds: Vec<RawFd>,
    pub(crate) config: Vec<u8>,
}

impl Table {
    /// The first `size` bytes of one device.
    pub(crate) fn whole(fd: RawFd, size: u64) -> Self {
        Self { size, fds: vec![fd], config: linear(&[(size, 0, 0)]) }
    }

    fn lowers(&self) -> Vec<stor_lower> {
        self.fds.iter().map(|&fd| stor_lower { fd, reserved: 0 }).collect()
    }
}

/// The control node, open.
pub(crate) struct Control(pub(crate) File);

impl Control {
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self(File::open(NODE)?))
    }

    /// Calls command `nr`. What `argument` points to is as long as it says.
    pub(crate) fn call<T>(&self, nr: u32, argument: &mut T) -> Answer<()> {
        sys::ioctl(self.0.as_raw_fd(), command(nr, size_of::<T>()), &raw mut *argument as u64)
    }

    pub(crate) fn version(&self) -> Answer<stor_version> {
        let mut argument = stor_version { header: header::<stor_version>(0), ..FromZeros::new_zeroed() };
        self.call(STOR_NR_VERSION, &mut argument).map(|()| argument)
    }

    pub(crate) fn create(&self, uuid: Uuid, name: &str, table: &Table) -> Answer<stor_create> {
        let lowers = table.lowers();
        let mut argument = stor_create {
            header: header::<stor_create>(0),
            uuid,
            name: field(name),
            target: field("linear"),
            size: table.size,
            lowers: lowers.as_ptr() as u64,
            config: table.config.as_ptr() as u64,
            lower_count: lowers.len() as u32,
            config_len: table.config.len() as u32,
            ..FromZeros::new_zeroed()
        };
        self.call(STOR_NR_CREATE, &mut argument).map(|()| argument)
    }

    pub(crate) fn reload(&self, uuid: Uuid, table: &Table, flags: u32) -> Answer<()> {
        let lowers = table.lowers();
        let mut argument = stor_reload {
            header: header::<stor_reload>(flags),
            uuid,
            size: table.size,
            lowers: lowers.as_ptr() as u64,
            config: table.config.as_ptr() as u64,
            lower_count: lowers.len() as u32,
            config_len: table.config.len() as u32,
        };
        self.call(STOR_NR_RELOAD, &mut argument)
    }

    /// The volume goes on, as `config` says, on `joined`, which stands on what `table` says and on `below`. Of both: UUID and name.
    pub(crate) fn insert(
        &self,
        uuid: Uuid,
        below: (Uuid, &str),
        joined: (Uuid, &str),
        table: &Table,
        config: &[u8],
    ) -> Answer<()> {
        let lowers = table.lowers();
        let mut argument = stor_insert {
            header: header::<stor_insert>(0),
            uuid,
            below_uuid: below.0,
            joined_uuid: joined.0,
            below_name: field(below.1),
            joined_name: field(joined.1),
            joined_target: field("linear"),
            target: field("linear"),
            joined_size: table.size,
            lowers: lowers.as_ptr() as u64,
            joined_config: table.config.as_ptr() as u64,
            config: config.as_ptr() as u64,
            lower_count: lowers.len() as u32,
            joined_config_len: table.config.len() as u32,
            config_len: config.len() as u32,
            reserved: 0,
        };
        self.call(STOR_NR_INSERT, &mut argument)
    }

    /// [`Control::insert`]: the volume's data comes to be behind the first MiB of a device.
    pub(crate) fn insert_behind(
        &self,
        (volume, size): (Uuid, u64),
        below: (Uuid, &str),
        joined: (Uuid, &str),
        device: &File,
    ) -> Answer<()> {
        const MIB: u64 = 1 << 20;
        let table =
            Table { size: MIB + size, fds: vec![device.as_raw_fd()], config: linear(&[(MIB, 0, 0), (size, 0, 1)]) };
        self.insert(volume, below, joined, &table, &linear(&[(size, MIB, 0)]))
    }

    /// REMOVE, SUSPEND or RESUME.
    pub(crate) fn volume(&self, nr: u32, uuid: Uuid) -> Answer<()> {
        self.call(nr, &mut stor_volume_ref { header: header::<stor_volume_ref>(0), uuid })
    }

    pub(crate) fn set_read_only(&self, uuid: Uuid, read_only: bool) -> Answer<()> {
        let (mask, value) = (STOR_SET_READ_ONLY, u32::from(read_only));
        self.call(STOR_NR_SET, &mut stor_set { header: header::<stor_set>(0), uuid, mask, value })
    }

    pub(crate) fn rename(&self, uuid: Uuid, name: &str) -> Answer<()> {
        let name = field(name);
        self.call(STOR_NR_RENAME, &mut stor_rename { header: header::<stor_rename>(0), uuid, name })
    }

    /// The volumes, and the generation.
    pub(crate) fn list(&self) -> Answer<(Vec<stor_volume_info>, u64)> {
        let mut entries = vec![stor_volume_info::new_zeroed(); STOR_MAX_VOLUMES as usize];
        let mut argument = stor_list {
            header: header::<stor_list>(0),
            entries: entries.as_mut_ptr() as u64,
            capacity: STOR_MAX_VOLUMES,
            ..FromZeros::new_zeroed()
        };
        self.call(STOR_NR_LIST, &mut argument)?;
        entries.truncate(argument.count as usize);
        Ok((entries, argument.generation))
    }

    /// A volume, its lower devices, and its configuration.
    pub(crate) fn status(&self, uuid: Uuid) -> Answer<(stor_status, Vec<stor_lower_status>, Vec<u8>)> {
        let mut lowers = vec![stor_lower_status::new_zeroed(); STOR_MAX_LOWERS as usize];
        let mut config = vec![0u8; STOR_MAX_CONFIG as usize];
        let mut argument = stor_status {
            header: header::<stor_status>(0),
            uuid,
            lowers: lowers.as_mut_ptr() as u64,
            config: config.as_mut_ptr() as u64,
            lower_capacity: STOR_MAX_LOWERS,
            config_capacity: STOR_MAX_CONFIG,
            ..FromZeros::new_zeroed()
        };
        self.call(STOR_NR_STATUS, &mut argument)?;
        lowers.truncate(argument.info.lower_count as usize);
        config.truncate(argument.config_len as usize);
        Ok((argument, lowers, config))
    }

    pub(crate) fn engines(&self) -> Answer<Vec<stor_engine_info>> {
        let mut entries = vec![stor_engine_info::new_zeroed(); 64];
        let mut argument = stor_engine_list {
            header: header::<stor_engine_list>(0),
            entries: entries.as_mut_ptr() as u64,
            capacity: 64,
            count: 0,
        };
        self.call(STOR_NR_ENGINE_LIST, &mut argument)?;
        entries.truncate(argument.count as usize);
        Ok(entries)
    }

    pub(crate) fn switch(&self, version: Version) -> Answer<()> {
        let mut argument =
            stor_engine_switch { header: header::<stor_engine_switch>(0), version, ..FromZeros::new_zeroed() };
        self.call(STOR_NR_ENGINE_SWITCH, &mut argument)
    }
}
