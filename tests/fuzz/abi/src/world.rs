// SPDX-License-Identifier: GPL-2.0

//! What the kernel should hold: the model that every answer is checked against.

use crate::control::{field, Name, Uuid, Version};
use crate::Result;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use stor_pure::abi::uapi::*;

/// Major and minor.
pub(crate) type Number = (u32, u32);

/// A block device that volumes can stand on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Device {
    pub(crate) number: Number,
    pub(crate) size: u64,
    /// Logical block size.
    pub(crate) block: u32,
    pub(crate) read_only: bool,
    pub(crate) zoned: bool,
}

impl Device {
    /// A disk as sysfs shows it.
    pub(crate) fn of(node: &Path) -> Result<Self> {
        let rdev = fs::metadata(node).map_err(|error| format!("{}: {error}", node.display()))?.rdev();
        let number = (libc::major(rdev), libc::minor(rdev));
        let attribute = |name: &str| -> Result<String> {
            let path = format!("/sys/dev/block/{}:{}/{name}", number.0, number.1);
            Ok(fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?.trim().into())
        };
        Ok(Self {
            number,
            size: attribute("size")?.parse::<u64>()? * 512,
            block: attribute("queue/logical_block_size")?.parse()?,
            read_only: attribute("ro")? != "0",
            zoned: attribute("queue/zoned")? != "none",
        })
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Volume {
    pub(crate) uuid: Uuid,
    pub(crate) name: Name,
    pub(crate) engine: Version,
    pub(crate) size: u64,
    pub(crate) index: u32,
    pub(crate) number: Number,
    pub(crate) read_only: bool,
    pub(crate) suspended: bool,
    pub(crate) lowers: Vec<Number>,
    /// Whether the lower devices were opened for writing.
    pub(crate) writable: bool,
    pub(crate) config: Vec<u8>,
    /// Handles that this program has on its node.
    pub(crate) handles: u32,
}

impl Volume {
    /// One that stands on nothing yet.
    pub(crate) fn new(uuid: Uuid, name: Name) -> Self {
        Self {
            uuid,
            name,
            engine: [0; 32],
            size: 0,
            index: 0,
            number: (0, 0),
            read_only: false,
            suspended: false,
            lowers: Vec::new(),
            writable: false,
            config: Vec::new(),
            handles: 0,
        }
    }
}

/// What INSERT makes, and the volume as it is to be. The numbers of the two new ones are not known before it is made.
#[derive(Debug)]
pub(crate) struct Insertion {
    pub(crate) below: Volume,
    pub(crate) joined: Volume,
    pub(crate) volume: Volume,
}

impl Insertion {
    /// The two disks have these numbers, and what stands on them knows it.
    pub(crate) fn number(&mut self, below: Number, joined: Number) {
        self.below.number = below;
        self.joined.number = joined;
        self.joined.lowers.push(below);
        self.volume.lowers = vec![joined];
    }
}

/// What a call changes if it succeeds.
#[derive(Debug)]
pub(crate) enum Effect {
    None,
    Create(Volume),
    Remove(Uuid),
    Suspend(Uuid),
    Resume(Uuid),
    /// The volume as it is to be.
    Reload(Volume),
    Rename(Uuid, Name),
    ReadOnly(Uuid, bool),
    Switch(Version),
    Insert(Box<Insertion>),
}

/// An event that must come: type, volume, and value where it is known.
pub(crate) type Expected = (u32, Uuid, Option<u64>);

#[derive(Default)]
pub(crate) struct World {
    pub(crate) disks: Vec<Device>,
    /// In order of creation.
    pub(crate) volumes: Vec<Volume>,
    pub(crate) engines: Vec<Version>,
    pub(crate) active: Version,
    /// Events that have not been read yet.
    pub(crate) expected: Vec<Expected>,
}

impl World {
    pub(crate) fn volume(&self, uuid: &Uuid) -> Option<&Volume> {
        self.volumes.iter().find(|volume| volume.uuid == *uuid)
    }

    pub(crate) fn volume_mut(&mut self, uuid: &Uuid) -> Option<&mut Volume> {
        self.volumes.iter_mut().find(|volume| volume.uuid == *uuid)
    }

    fn volume_at(&self, number: Number) -> Option<&Volume> {
        self.volumes.iter().find(|volume| volume.number == number)
    }

    /// A disk or a volume.
    pub(crate) fn device(&self, number: Number) -> Option<Device> {
        let disk = self.disks.iter().find(|disk| disk.number == number).copied();
        disk.or_else(|| {
            let volume = self.volume_at(number)?;
            let (size, read_only) = (volume.size, volume.read_only);
            Some(Device { number, size, block: self.block(&volume.lowers), read_only, zoned: false })
        })
    }

    /// The logical block size of a volume that stands on these.
    pub(crate) fn block(&self, lowers: &[Number]) -> u32 {
        lowers.iter().filter_map(|&lower| self.device(lower)).map(|device| device.block).max().unwrap_or(512)
    }

    /// The volume that stands on a device.
    pub(crate) fn holder(&self, number: Number) -> Option<&Volume> {
        self.volumes.iter().find(|volume| volume.lowers.contains(&number))
    }

    pub(crate) fn open_count(&self, volume: &Volume) -> u32 {
        volume.handles + u32::from(self.holder(volume.number).is_some())
    }

    /// Whether a device is, or stands on, one of which `is_it` is true.
    pub(crate) fn below(&self, number: Number, is_it: &dyn Fn(&Volume) -> bool) -> bool {
        self.volume_at(number)
            .is_some_and(|volume| is_it(volume) || volume.lowers.iter().any(|&lower| self.below(lower, is_it)))
    }

    /// The numbers that the next disks get.
    pub(crate) fn next_indices(&self) -> impl Iterator<Item = u32> + '_ {
        (0..).filter(|index| !self.volumes.iter().any(|volume| volume.index == *index))
    }

    /// A volume as the kernel should list it.
    pub(crate) fn info(&self, volume: &Volume) -> stor_volume_info {
        let flag = |set: bool, bit: u32| if set { bit } else { 0 };
        stor_volume_info {
            uuid: volume.uuid,
            name: volume.name,
            target: field("linear"),
            engine: volume.engine,
            pool: [0; 16],
            size: volume.size,
            index: volume.index,
            major: volume.number.0,
            minor: volume.number.1,
            state: flag(volume.read_only, STOR_STATE_READ_ONLY) | flag(volume.suspended, STOR_STATE_SUSPENDED),
            open_count: self.open_count(volume),
            lower_count: volume.lowers.len() as u32,
        }
    }

    /// A call has succeeded.
    pub(crate) fn apply(&mut self, effect: Effect) {
        let (kind, uuid, value) = match effect {
            Effect::None => return,
            Effect::Create(volume) => {
                let (uuid, size) = (volume.uuid, volume.size);
                self.volumes.push(volume);
                (STOR_EVENT_CREATED, uuid, Some(size))
            }
            Effect::Remove(uuid) => {
                self.volumes.retain(|volume| volume.uuid != uuid);
                (STOR_EVENT_REMOVED, uuid, None)
            }
            Effect::Suspend(uuid) => {
                self.change(&uuid, |volume| volume.suspended = true);
                (STOR_EVENT_SUSPENDED, uuid, None)
            }
            Effect::Resume(uuid) => {
                self.change(&uuid, |volume| volume.suspended = false);
                (STOR_EVENT_RESUMED, uuid, None)
            }
            Effect::Reload(new) => {
                let (uuid, size) = (new.uuid, new.size);
                self.change(&uuid, |volume| *volume = new);
                (STOR_EVENT_RELOADED, uuid, Some(size))
            }
            Effect::Rename(uuid, name) => {
                self.change(&uuid, |volume| volume.name = name);
                (STOR_EVENT_RENAMED, uuid, None)
            }
            Effect::ReadOnly(uuid, read_only) => {
                self.change(&uuid, |volume| volume.read_only = read_only);
                (STOR_EVENT_READ_ONLY, uuid, Some(u64::from(read_only)))
            }
            Effect::Switch(version) => {
                self.active = version;
                for volume in self.volumes.iter_mut().filter(|volume| volume.engine != version) {
                    volume.engine = version;
                    self.expected.push((STOR_EVENT_SWITCHED, volume.uuid, None));
                }
                return;
            }
            Effect::Insert(insertion) => {
                let Insertion { below, joined, volume } = *insertion;
                let event = |kind, volume: &Volume| (kind, volume.uuid, Some(volume.size));
                self.expected.push(event(STOR_EVENT_CREATED, &below));
                self.expected.push(event(STOR_EVENT_CREATED, &joined));
                self.expected.push(event(STOR_EVENT_RELOADED, &volume));
                self.volumes.retain(|other| other.uuid != volume.uuid);
                self.volumes.extend([below, joined, volume]);
                return;
            }
        };
        self.expected.push((kind, uuid, value));
    }

    fn change(&mut self, uuid: &Uuid, change: impl FnOnce(&mut Volume)) {
        if let Some(volume) = self.volume_mut(uuid) {
            change(volume);
        }
    }
}
