// SPDX-License-Identifier: GPL-2.0

//! What a call must answer, by the rules of `kmod/uapi/stor.h` and the state of the [`World`].
//!
//! Written from the header and apart from `stor_pure`, whose code the kernel runs too. Every rule that a call breaks
//! gives the errors it may answer; the order in which the kernel looks at them is its own. A call that breaks none
//! must succeed.

use crate::control::{command, command_size, header, Uuid};
use crate::sys::{self, Arena};
use crate::world::{Device, Effect, Insertion, Number, Volume, World};
use nix::errno::Errno;
use std::mem::size_of;
use stor_pure::abi::uapi::*;
use zerocopy::{FromBytes, IntoBytes};

/// What must come of a call.
pub(crate) struct Judgement {
    /// One of these; none if it must succeed.
    pub(crate) errors: Vec<Errno>,
    /// What changes when it succeeds.
    pub(crate) effect: Effect,
}

/// A call being judged.
struct Judge<'a> {
    world: &'a World,
    arena: &'a Arena,
    command: u32,
    address: u64,
    errors: Vec<Errno>,
}

/// Judges a call before it is made.
pub(crate) fn judge(world: &World, arena: &Arena, command: u32, address: u64) -> Judgement {
    let mut judge = Judge { world, arena, command, address, errors: Vec::new() };
    let effect = judge.dispatch().unwrap_or(Effect::None);
    Judgement { errors: judge.errors, effect }
}

impl Judge<'_> {
    fn breaks(&mut self, error: Errno) {
        self.errors.push(error);
    }

    fn require(&mut self, holds: bool, error: Errno) {
        if !holds {
            self.breaks(error);
        }
    }

    /// `None` if it is known already that the call fails.
    fn dispatch(&mut self) -> Option<Effect> {
        if self.command & !0x3fff_00ff != command(0, 0) {
            self.breaks(Errno::ENOTTY);
            return None;
        }
        match self.command & 0xff {
            STOR_NR_VERSION => self.version(),
            STOR_NR_CREATE => self.create(),
            nr @ (STOR_NR_REMOVE | STOR_NR_SUSPEND | STOR_NR_RESUME) => self.volume_ref(nr),
            STOR_NR_RELOAD => self.reload(),
            STOR_NR_LIST => self.list(),
            STOR_NR_STATUS => self.status(),
            STOR_NR_SET => self.set(),
            STOR_NR_RENAME => self.rename(),
            STOR_NR_ENGINE_LIST => self.engine_list(),
            STOR_NR_ENGINE_SWITCH => self.engine_switch(),
            STOR_NR_POOL_CREATE => self.no_pool::<stor_pool_create>(STOR_POOL_READ_ONLY),
            STOR_NR_POOL_REMOVE => self.no_pool::<stor_volume_ref>(0),
            STOR_NR_POOL_RELOAD => self.no_pool::<stor_pool_reload>(0),
            STOR_NR_POOL_LIST => self.pool_list(),
            STOR_NR_POOL_STATUS => self.no_pool::<stor_pool_status>(0),
            STOR_NR_POOL_CHANGE => self.no_pool::<stor_pool_change>(0),
            STOR_NR_POOL_DEVICE => self.no_pool::<stor_pool_device>(STOR_POOL_DEVICE_EXCLUSIVE),
            STOR_NR_REPLICA_STATUS => {
                // No volume is a replica; one that is dead may be noticed first.
                self.breaks(Errno::ENODEV);
                self.no_pool::<stor_replica_status>(0)
            }
            STOR_NR_REPLICA_VERIFY => {
                self.breaks(Errno::ENODEV);
                self.no_pool::<stor_replica_verify>(STOR_VERIFY_REPAIR)
            }
            STOR_NR_INSERT => self.insert(),
            _ => {
                self.breaks(Errno::ENOTTY);
                None
            }
        }
    }

    /// The argument, its header checked against the flags that the command knows.
    fn argument<T: FromBytes>(&mut self, flags: u32) -> Option<T> {
        let size_fits = command_size(self.command) == size_of::<T>();
        self.require(size_fits, Errno::EINVAL);
        let Some(found) = self.value::<stor_header>(self.address) else {
            self.breaks(Errno::EFAULT);
            return None;
        };
        let right = header::<T>(0);
        self.require(found.abi == right.abi || self.command & 0xff == STOR_NR_VERSION, Errno::EPROTONOSUPPORT);
        self.require((found.size, found.flags & !flags, found.reserved) == (right.size, 0, 0), Errno::EINVAL);
        let value = self.value::<T>(self.address);
        self.require(value.is_some(), Errno::EFAULT);
        value.filter(|_| size_fits)
    }

    fn value<T: FromBytes>(&self, address: u64) -> Option<T> {
        T::read_from_bytes(&self.arena.read(address, size_of::<T>())?).ok()
    }

    /// The kernel writes its answer over the argument.
    fn answered<T>(&mut self) {
        self.writes::<T>(self.address, 1);
    }

    /// The kernel writes so many of `T`.
    fn writes<T>(&mut self, address: u64, count: usize) {
        self.require(count == 0 || Arena::can_write(address, count * size_of::<T>()), Errno::EFAULT);
    }

    /// `[A-Za-z0-9][A-Za-z0-9._+-]*`, then at least one NUL and nothing else.
    fn text(&mut self, field: &[u8]) {
        let end = field.iter().position(|&byte| byte == 0);
        let (text, rest) = field.split_at(end.unwrap_or(field.len()));
        let first = text.first().is_some_and(u8::is_ascii_alphanumeric);
        let all = text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(byte));
        self.require(end.is_some() && first && all && rest.iter().all(|&byte| byte == 0), Errno::EINVAL);
    }

    /// The volume, which must be there.
    fn find(&mut self, uuid: &Uuid) -> Option<Volume> {
        let volume = self.world.volume(uuid).cloned();
        self.require(volume.is_some(), Errno::ENXIO);
        volume
    }

    /// A call for a pool: the world has none, and no metadata of which one could be made, so it fails. Whatever of it is wrong
    /// may be noticed first.
    fn no_pool<T: FromBytes>(&mut self, flags: u32) -> Option<Effect> {
        self.argument::<T>(flags);
        let errors =
            [Errno::ENXIO, Errno::EINVAL, Errno::EFAULT, Errno::E2BIG, Errno::EBADF, Errno::ENOTBLK, Errno::EBUSY];
        self.errors.extend(errors);
        self.errors.extend([
            Errno::EEXIST,
            Errno::EOPNOTSUPP,
            Errno::EROFS,
            Errno::ENOSPC,
            Errno::EILSEQ,
            Errno::EUCLEAN,
        ]);
        None
    }

    fn pool_list(&mut self) -> Option<Effect> {
        // There is none that could be written.
        self.argument::<stor_pool_list>(0)?;
        self.answered::<stor_pool_list>();
        Some(Effect::None)
    }

    fn version(&mut self) -> Option<Effect> {
        let argument = self.argument::<stor_version>(0)?;
        self.require(argument.reserved == 0, Errno::EINVAL);
        self.answered::<stor_version>();
        Some(Effect::None)
    }

    fn create(&mut self) -> Option<Effect> {
        let argument = self.argument::<stor_create>(STOR_CREATE_READ_ONLY)?;
        self.text(&argument.name);
        self.text(&argument.target);
        self.target(&argument.target);
        self.require(argument.uuid != [0; 16] && argument.reserved == 0, Errno::EINVAL);
        // The world has no pools.
        self.require(argument.pool == [0; 16], Errno::ENXIO);
        self.free(&argument.uuid, &argument.name);
        self.answered::<stor_create>();
        let mut volume = Volume {
            engine: self.world.active,
            size: argument.size,
            index: self.world.next_indices().next().unwrap_or(0),
            read_only: argument.header.flags & STOR_CREATE_READ_ONLY != 0,
            ..Volume::new(argument.uuid, argument.name)
        };
        self.table(&mut volume, None, (argument.lowers, argument.lower_count), (argument.config, argument.config_len))?;
        Some(Effect::Create(volume))
    }

    /// The world has no other targets.
    fn target(&mut self, field: &[u8]) {
        self.require(field.starts_with(b"linear\0"), Errno::EOPNOTSUPP);
    }

    /// A new volume can be called so.
    fn free(&mut self, uuid: &Uuid, name: &[u8]) {
        self.require(self.world.volume(uuid).is_none(), Errno::EEXIST);
        self.require(!self.taken(name), Errno::EEXIST);
    }

    fn taken(&self, name: &[u8]) -> bool {
        self.world.volumes.iter().any(|volume| volume.name == name)
    }

    /// Checks what is to stand below `volume`, and puts it there. `old` is what it is now, when it is there already.
    fn table(
        &mut self,
        volume: &mut Volume,
        old: Option<&Volume>,
        lowers: (u64, u32),
        config: (u64, u32),
    ) -> Option<()> {
        self.size(volume.size);
        self.require(lowers.1 <= STOR_MAX_LOWERS && config.1 <= STOR_MAX_CONFIG, Errno::E2BIG);
        self.require(lowers.1 > 0, Errno::EINVAL);
        if lowers.1 > STOR_MAX_LOWERS || config.1 > STOR_MAX_CONFIG {
            return None;
        }
        let (fds, config) = (self.fds(lowers), self.config(config));
        let (fds, config) = (fds?, config?);
        let devices = self.lowers(&fds, volume, old)?;
        let block = self.world.block(&volume.lowers);
        let changes = old.is_some_and(|old| self.world.block(&old.lowers) != block && self.world.open_count(old) > 0);
        self.require(!changes, Errno::EBUSY);
        self.linear(&config, volume.size, &devices, block.into());
        volume.config = config;
        volume.writable = !volume.read_only;
        Some(())
    }

    fn size(&mut self, size: u64) {
        self.require(size > 0 && size % 512 == 0 && i64::try_from(size).is_ok(), Errno::EINVAL);
    }

    /// Descriptors of lower devices, from a pointer and how many.
    fn fds(&mut self, lowers: (u64, u32)) -> Option<Vec<i32>> {
        let bytes = self.arena.read(lowers.0, lowers.1 as usize * size_of::<stor_lower>());
        self.require(bytes.is_some(), Errno::EFAULT);
        let mut fds = Vec::new();
        for bytes in bytes?.chunks_exact(size_of::<stor_lower>()) {
            let lower = stor_lower::read_from_bytes(bytes).ok()?;
            self.require(lower.reserved == 0, Errno::EINVAL);
            fds.push(lower.fd);
        }
        Some(fds)
    }

    /// A configuration, from a pointer and its length.
    fn config(&mut self, config: (u64, u32)) -> Option<Vec<u8>> {
        let bytes = if config.1 == 0 { Some(Vec::new()) } else { self.arena.read(config.0, config.1 as usize) };
        self.require(bytes.is_some(), Errno::EFAULT);
        bytes
    }

    /// Puts devices below `volume`; `None` unless all of them are some.
    fn lowers(&mut self, fds: &[i32], volume: &mut Volume, old: Option<&Volume>) -> Option<Vec<Device>> {
        let mut devices = Vec::new();
        for &fd in fds {
            if let Some(device) = self.lower(fd, volume, old) {
                self.require(!volume.lowers.contains(&device.number), Errno::EINVAL);
                volume.lowers.push(device.number);
                devices.push(device);
            }
        }
        (devices.len() == fds.len()).then_some(devices)
    }

    /// The block device behind `fd`, to be put below `volume`.
    fn lower(&mut self, fd: i32, volume: &Volume, old: Option<&Volume>) -> Option<Device> {
        let Some(node) = sys::node(fd) else {
            self.breaks(Errno::EBADF);
            return None;
        };
        if node.mode & libc::S_IFMT != libc::S_IFBLK {
            self.breaks(Errno::ENOTBLK);
            return None;
        }
        let Some(device) = self.world.device(node.number) else {
            self.breaks(Errno::EBUSY); // a disk of the guest itself, mounted
            return None;
        };
        let holder = self.world.holder(device.number).map(|holder| holder.uuid);
        self.require(holder.is_none_or(|holder| holder == volume.uuid), Errno::EBUSY);
        self.require(volume.read_only || !device.read_only, Errno::EROFS);
        self.require(!device.zoned, Errno::EOPNOTSUPP);
        let own: Option<Number> = old.map(|old| old.number);
        let on_itself = own.is_some_and(|own| self.world.below(device.number, &|volume| volume.number == own));
        self.require(!on_itself, Errno::ELOOP);
        Some(device)
    }

    /// The rules of `struct stor_linear_config`.
    fn linear(&mut self, config: &[u8], size: u64, devices: &[Device], block: u64) {
        let Ok((header, segments)) = stor_linear_config::read_from_prefix(config) else {
            return self.breaks(Errno::EINVAL);
        };
        let counted = header.segment_count as usize * size_of::<stor_linear_segment>();
        self.require(header.version == STOR_LINEAR_CONFIG_VERSION && header.segment_count > 0, Errno::EINVAL);
        self.require(counted == segments.len(), Errno::EINVAL);
        let mut end = 0u128;
        // Per device: what is used of it, as start and end.
        let mut used = vec![Vec::new(); devices.len()];
        for bytes in segments.chunks_exact(size_of::<stor_linear_segment>()) {
            let Ok(segment) = stor_linear_segment::read_from_bytes(bytes) else { return };
            let aligned = |value: u64| value % block == 0;
            let from = u128::from(segment.lower_start);
            let to = from + u128::from(segment.length);
            self.require(u128::from(segment.start) == end && segment.length > 0, Errno::EINVAL);
            end += u128::from(segment.length);
            self.require(aligned(segment.length) && aligned(segment.lower_start), Errno::EINVAL);
            self.require(segment.reserved == 0 && to.max(end) <= i64::MAX as u128, Errno::EINVAL);
            let index = segment.lower as usize;
            let (Some(device), Some(others)) = (devices.get(index), used.get_mut(index)) else {
                self.breaks(Errno::EINVAL);
                continue;
            };
            let overlaps = others.iter().any(|&(start, end)| from < end && start < to);
            others.push((from, to));
            self.require(to <= u128::from(device.size), Errno::ENOSPC);
            self.require(!overlaps, Errno::EINVAL);
        }
        self.require(end == u128::from(size) && used.iter().all(|used| !used.is_empty()), Errno::EINVAL);
    }

    fn volume_ref(&mut self, nr: u32) -> Option<Effect> {
        let uuid = self.argument::<stor_volume_ref>(0)?.uuid;
        let volume = self.find(&uuid)?;
        match nr {
            STOR_NR_REMOVE => {
                self.require(self.world.open_count(&volume) == 0, Errno::EBUSY);
                Some(Effect::Remove(uuid))
            }
            STOR_NR_SUSPEND => {
                self.require(!volume.suspended, Errno::EALREADY);
                Some(Effect::Suspend(uuid))
            }
            _ => {
                self.require(volume.suspended, Errno::EALREADY);
                Some(Effect::Resume(uuid))
            }
        }
    }

    fn reload(&mut self) -> Option<Effect> {
        let argument = self.argument::<stor_reload>(STOR_RELOAD_SHRINK)?;
        let old = self.world.volume(&argument.uuid).cloned();
        self.require(old.is_some(), Errno::ENXIO);
        // Not there: what is below it is judged as if it were new, as that may be looked at first.
        let mut volume = old.clone().unwrap_or(Volume::new(argument.uuid, [0; 64]));
        volume.lowers.clear();
        if let Some(old) = &old {
            let smaller = argument.size < old.size;
            self.require(!smaller || argument.header.flags & STOR_RELOAD_SHRINK != 0, Errno::ERANGE);
            self.require(!smaller || self.world.open_count(old) == 0, Errno::EBUSY);
        }
        volume.size = argument.size;
        let (lowers, config) = ((argument.lowers, argument.lower_count), (argument.config, argument.config_len));
        self.table(&mut volume, old.as_ref(), lowers, config)?;
        Some(Effect::Reload(volume))
    }

    fn insert(&mut self) -> Option<Effect> {
        let argument = self.argument::<stor_insert>(0)?;
        for name in [&argument.below_name, &argument.joined_name] {
            self.text(name);
        }
        for target in [&argument.joined_target, &argument.target] {
            self.text(target);
            self.target(target);
        }
        let uuids = argument.below_uuid != [0; 16] && argument.joined_uuid != [0; 16];
        self.require(uuids && argument.reserved == 0, Errno::EINVAL);
        self.size(argument.joined_size);
        self.require(argument.lower_count > 0, Errno::EINVAL);
        let lengths = [argument.joined_config_len, argument.config_len];
        let too_much =
            argument.lower_count >= STOR_MAX_LOWERS || lengths.iter().any(|&length| length > STOR_MAX_CONFIG);
        self.require(!too_much, Errno::E2BIG);
        // Neither can be the volume's: that is there.
        self.free(&argument.below_uuid, &argument.below_name);
        self.free(&argument.joined_uuid, &argument.joined_name);
        let differ = argument.below_uuid != argument.joined_uuid && argument.below_name != argument.joined_name;
        self.require(differ, Errno::EEXIST);
        // Not there: the rest is judged as if it were new, as that may be looked at first.
        let old = self.find(&argument.uuid).unwrap_or(Volume::new(argument.uuid, [0; 64]));
        self.require(!old.suspended, Errno::EBUSY);
        if too_much {
            return None;
        }
        let fds = self.fds((argument.lowers, argument.lower_count));
        let joined_config = self.config((argument.joined_config, argument.joined_config_len));
        let config = self.config((argument.config, argument.config_len));
        let (fds, joined_config, config) = (fds?, joined_config?, config?);

        let mut indices = self.world.next_indices();
        let (below_index, joined_index) = (indices.next().unwrap_or(0), indices.next().unwrap_or(0));
        let below = Volume {
            uuid: argument.below_uuid,
            name: argument.below_name,
            index: below_index,
            number: (0, 0),
            handles: 0,
            ..old.clone()
        };
        let mut joined = Volume {
            engine: old.engine,
            size: argument.joined_size,
            index: joined_index,
            read_only: old.read_only,
            writable: !old.read_only,
            ..Volume::new(argument.joined_uuid, argument.joined_name)
        };
        let mut devices = self.lowers(&fds, &mut joined, Some(&old))?;
        let had = self.world.block(&old.lowers);
        let block = self.world.block(&joined.lowers).max(had);
        self.require(block == had || self.world.open_count(&old) == 0, Errno::EBUSY);
        let device = |size, block| Device { number: (0, 0), size, block, read_only: old.read_only, zoned: false };
        devices.push(device(old.size, had));
        self.linear(&joined_config, joined.size, &devices, block.into());
        self.linear(&config, old.size, &[device(joined.size, block)], block.into());
        joined.config = joined_config;
        let volume = Volume { lowers: Vec::new(), writable: !old.read_only, config, ..old };
        Some(Effect::Insert(Box::new(Insertion { below, joined, volume })))
    }

    fn list(&mut self) -> Option<Effect> {
        let argument = self.argument::<stor_list>(0)?;
        let count = self.world.volumes.len().min(argument.capacity as usize);
        self.writes::<stor_volume_info>(argument.entries, count);
        self.answered::<stor_list>();
        Some(Effect::None)
    }

    fn status(&mut self) -> Option<Effect> {
        let argument = self.argument::<stor_status>(0)?;
        let volume = self.find(&argument.uuid)?;
        if volume.config.len() <= argument.config_capacity as usize {
            self.writes::<u8>(argument.config, volume.config.len());
        }
        if volume.lowers.len() <= argument.lower_capacity as usize {
            self.writes::<stor_lower_status>(argument.lowers, volume.lowers.len());
        }
        self.answered::<stor_status>();
        Some(Effect::None)
    }

    fn set(&mut self) -> Option<Effect> {
        let argument = self.argument::<stor_set>(0)?;
        self.require(argument.mask & !STOR_SET_READ_ONLY == 0, Errno::EINVAL);
        self.require(argument.value & !argument.mask == 0, Errno::EINVAL);
        let volume = self.find(&argument.uuid)?;
        let read_only = argument.value & STOR_SET_READ_ONLY != 0;
        if argument.mask & STOR_SET_READ_ONLY == 0 || read_only == volume.read_only {
            return Some(Effect::None);
        }
        self.require(!read_only || self.world.open_count(&volume) == 0, Errno::EBUSY);
        self.require(read_only || volume.writable, Errno::EROFS);
        Some(Effect::ReadOnly(volume.uuid, read_only))
    }

    fn rename(&mut self) -> Option<Effect> {
        let argument = self.argument::<stor_rename>(0)?;
        self.text(&argument.name);
        self.require(!self.taken(&argument.name), Errno::EEXIST);
        self.find(&argument.uuid)?;
        Some(Effect::Rename(argument.uuid, argument.name))
    }

    fn engine_list(&mut self) -> Option<Effect> {
        let argument = self.argument::<stor_engine_list>(0)?;
        let count = self.world.engines.len().min(argument.capacity as usize);
        self.writes::<stor_engine_info>(argument.entries, count);
        self.answered::<stor_engine_list>();
        Some(Effect::None)
    }

    fn engine_switch(&mut self) -> Option<Effect> {
        let argument = self.argument::<stor_engine_switch>(0)?;
        self.text(&argument.version);
        self.require(self.world.engines.contains(&argument.version), Errno::ENOENT);
        let count = self.world.volumes.len().min(argument.capacity as usize);
        self.writes::<stor_switch_result>(argument.results, count);
        self.answered::<stor_engine_switch>();
        Some(Effect::Switch(argument.version))
    }
}

/// Whether no two of these ranges, given by address and length, overlap.
fn apart(ranges: &[(u64, usize)]) -> bool {
    let mut ranges: Vec<_> = ranges.iter().filter(|range| range.1 > 0).collect();
    ranges.sort_unstable();
    ranges.iter().zip(ranges.iter().skip(1)).all(|(a, b)| a.0.saturating_add(a.1 as u64) <= b.0)
}

/// Checks what a call wrote when it succeeded. What was written over by a later part of the answer is not looked at.
pub(crate) fn check_answer(world: &World, arena: &Arena, command: u32, address: u64) -> Result<(), String> {
    let value = |size: usize| arena.read(address, size).ok_or("the argument is gone");
    let equal = |what: &str, found: &[u8], right: &[u8]| {
        let differs = || format!("{what}: found {found:02x?}, should be {right:02x?}");
        if found == right {
            Ok(())
        } else {
            Err(differs())
        }
    };
    match command & 0xff {
        STOR_NR_LIST => {
            let bytes = value(size_of::<stor_list>())?;
            let list = stor_list::read_from_bytes(&bytes).map_err(|_| "size")?;
            equal("count", list.count.as_bytes(), (world.volumes.len() as u32).as_bytes())?;
            let fitting = world.volumes.iter().take(list.capacity as usize);
            let right: Vec<_> = fitting.map(|volume| world.info(volume)).collect();
            if !apart(&[(address, bytes.len()), (list.entries, right.as_bytes().len())]) {
                return Ok(());
            }
            let found = arena.read(list.entries, right.as_bytes().len()).unwrap_or_default();
            equal("entries", &found, right.as_bytes())
        }
        STOR_NR_STATUS => {
            let bytes = value(size_of::<stor_status>())?;
            let status = stor_status::read_from_bytes(&bytes).map_err(|_| "size")?;
            let volume = world.volume(&status.uuid).ok_or("status of a volume that is not there")?;
            equal("info", status.info.as_bytes(), world.info(volume).as_bytes())?;
            equal("config_len", status.config_len.as_bytes(), (volume.config.len() as u32).as_bytes())?;
            equal("logical_block_size", status.logical_block_size.as_bytes(), world.block(&volume.lowers).as_bytes())?;
            let wait = if volume.suspended { STOR_WAIT_SUSPENDED } else { STOR_WAIT_NONE };
            let waits = (status.wait, status.wait_since != 0, status.errors, status.last_error);
            if waits != (wait, volume.suspended, 0, 0) {
                return Err(format!("wait, since, errors, last error: {waits:?}"));
            }
            let size = volume.lowers.len() * size_of::<stor_lower_status>();
            if !apart(&[(address, bytes.len()), (status.config, volume.config.len()), (status.lowers, size)]) {
                return Ok(());
            }
            if volume.config.len() <= status.config_capacity as usize {
                let found = arena.read(status.config, volume.config.len()).unwrap_or_default();
                equal("config", &found, &volume.config)?;
            }
            if volume.lowers.len() <= status.lower_capacity as usize {
                let found = arena.read(status.lowers, size).unwrap_or_default();
                for (bytes, &number) in found.chunks_exact(size_of::<stor_lower_status>()).zip(&volume.lowers) {
                    let lower = stor_lower_status::read_from_bytes(bytes).map_err(|_| "size")?;
                    let right = world.device(number).map_or(0, |device| device.size);
                    equal("lower", [lower.major, lower.minor].as_bytes(), [number.0, number.1].as_bytes())?;
                    equal("lower size", lower.size.as_bytes(), right.as_bytes())?;
                }
            }
            Ok(())
        }
        STOR_NR_ENGINE_LIST => {
            let bytes = value(size_of::<stor_engine_list>())?;
            let list = stor_engine_list::read_from_bytes(&bytes).map_err(|_| "size")?;
            equal("count", list.count.as_bytes(), (world.engines.len() as u32).as_bytes())?;
            let right: Vec<_> = world.engines.iter().take(list.capacity as usize).collect();
            let size = right.len() * size_of::<stor_engine_info>();
            if !apart(&[(address, bytes.len()), (list.entries, size)]) {
                return Ok(());
            }
            let found = arena.read(list.entries, size).unwrap_or_default();
            for (bytes, version) in found.chunks_exact(size_of::<stor_engine_info>()).zip(right) {
                let engine = stor_engine_info::read_from_bytes(bytes).map_err(|_| "size")?;
                let volumes = world.volumes.iter().filter(|volume| volume.engine == *version).count() as u32;
                let active = if world.active == *version { STOR_ENGINE_ACTIVE } else { 0 };
                equal("version", &engine.version, version)?;
                equal("state, volumes", [engine.state, engine.volumes].as_bytes(), [active, volumes].as_bytes())?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
