// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What can be done with the thin devices of a pool: make, snapshot, map, unmap, delete.
//!
//! An operation that is refused has changed nothing. One that fails half done leaves a transaction that can only be
//! aborted; [`Error`] says which: everything about blocks (reading, damage) and [`Error::MetadataFull`] from within.
//! So that the latter does not happen, each operation first makes sure that there is room for the most it can need.

use super::data::Run;
use super::error::{Damage, Error};
use super::mapping::{DeviceDetails, Devices, Mappings};
use super::node::{is_internal, Node, Value};
use super::pool::{Device, Pool};
use super::store::{Array, Store};
use super::superblock::LAST_TIME;
use super::tree::{self, Visits};
use super::value::{Details, Mapping, LAST_DEVICE};
use crate::pure::units::{DataBlock, MetadataBlock, VirtualBlock};
use core::ops::ControlFlow;
use zerocopy::little_endian::U64;

/// Devices that are kept in memory: those that a transaction changed, and others as long as there is room.
pub const DEVICES_MAX: usize = 16_384;

/// Devices that one transaction can change.
pub const CHANGED_MAX: u64 = 8192;

/// Virtual blocks in a row whose data blocks are in a row, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedRun {
    /// The first virtual block.
    pub begin: VirtualBlock,
    /// Its data block.
    pub data: DataBlock,
    /// How many.
    pub length: u64,
    /// They may be another device's too: to be copied before they are written to.
    pub shared: bool,
}

/// What a device has, in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// All that it maps.
    pub mapped: u64,
    /// What other devices, or the metadata snapshot, have too.
    pub shared: u64,
    /// What its deletion would free.
    pub exclusive: u64,
}

/// What [`Pool::remove`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// How many blocks were mapped and are no more.
    pub blocks: u64,
    /// Where there may be more.
    pub next: Option<VirtualBlock>,
}

/// How far a deletion has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// There is more to do, after a commit.
    Unfinished,
    /// The device is gone.
    Done,
}

impl<S: Store> Pool<S> {
    /// Where a device is in the table of those that are known; reads it if it is not.
    fn device(&mut self, id: u64) -> Result<usize, Error> {
        self.readable()?;
        match self.devices.binary_search_by_key(&id, |device| device.id) {
            Ok(index) => Ok(index),
            Err(index) => {
                let (mapping, details) = (self.mapping_root(), self.details_root());
                let root = tree::lookup::<Devices, S>(&mut self.core, mapping, id)?;
                let details = tree::lookup::<DeviceDetails, S>(&mut self.core, details, id)?;
                let (Some(root), Some(details)) = (root, details) else { return Err(Error::NoDevice(id)) };
                let index = if self.devices.len() < DEVICES_MAX { index } else { self.forget_most(id) };
                self.enter(index, Device { id, root: MetadataBlock(root.get()), details, changed: false })?;
                Ok(index)
            }
        }
    }

    fn enter(&mut self, index: usize, device: Device) -> Result<(), Error> {
        self.devices.push(device)?;
        if let Some(behind) = self.devices.get_mut(index..) {
            behind.rotate_right(1);
        }
        Ok(())
    }

    /// Forgets all devices that did not change; where this one is to be entered then.
    fn forget_most(&mut self, id: u64) -> usize {
        let mut kept = 0;
        for index in 0..self.devices.len() {
            if self.devices.get(index).is_some_and(|device| device.changed) {
                self.devices.swap(kept, index);
                kept += 1;
            }
        }
        self.devices.truncate(kept);
        self.devices.partition_point(|device| device.id < id)
    }

    fn forget(&mut self, id: u64) {
        if let Ok(index) = self.devices.binary_search_by_key(&id, |device| device.id) {
            if let Some(behind) = self.devices.get_mut(index..) {
                behind.rotate_left(1);
            }
            self.changed_devices -= self.devices.pop().map_or(0, |device| u64::from(device.changed));
        }
    }

    fn known(&self, index: usize) -> Result<Device, Error> {
        self.devices.get(index).copied().ok_or(Error::Broken)
    }

    /// What is known of a device.
    ///
    /// # Errors
    ///
    /// There is none with this id.
    pub fn details(&mut self, id: u64) -> Result<Details, Error> {
        let index = self.device(id)?;
        Ok(self.known(index)?.details)
    }

    /// Before a device's tree is changed: its place in the tree of devices becomes this transaction's own, so that whoever
    /// else has that tree keeps the device's old root.
    fn begin_change(&mut self, index: usize) -> Result<Device, Error> {
        let device = self.known(index)?;
        if !device.changed {
            let root = self.mapping_root();
            let (root, _) = tree::insert::<Devices, S>(&mut self.core, root, device.id, device.root.0.into())?;
            self.superblock.mapping_root = root.0.into();
            if let Some(device) = self.devices.get_mut(index) {
                device.changed = true;
                self.changed_devices += 1;
            }
            self.changed = true;
        }
        self.known(index)
    }

    /// Whether so many more devices can be changed before a commit.
    fn may_change(&self, more: usize) -> Result<(), Error> {
        match self.changed_devices.saturating_add(more as u64) {
            changed if changed <= CHANGED_MAX => Ok(()),
            _ => Err(Error::CommitFirst),
        }
    }

    fn update(&mut self, index: usize, root: MetadataBlock, details: Details) {
        if let Some(device) = self.devices.get_mut(index) {
            (device.root, device.details) = (root, details);
        }
    }

    fn must_be_free(&mut self, id: u64) -> Result<(), Error> {
        if id > LAST_DEVICE {
            return Err(Error::DeviceId(id));
        }
        match self.device(id) {
            Ok(_) => Err(Error::DeviceExists(id)),
            Err(Error::NoDevice(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes a device that maps nothing.
    ///
    /// # Errors
    ///
    /// There is one with this id, or it is none; or there is no room.
    pub fn create_thin(&mut self, id: u64) -> Result<(), Error> {
        self.usable()?;
        self.must_be_free(id)?;
        self.room_to_create()?;
        self.change(|pool| {
            let root = tree::create::<Mappings, S>(&mut pool.core)?;
            let time = pool.superblock.time;
            let details = Details {
                mapped_blocks: 0.into(),
                transaction_id: pool.superblock.transaction_id,
                creation_time: time,
                snapshotted_time: time,
            };
            pool.add(id, root, details)
        })
    }

    fn add(&mut self, id: u64, root: MetadataBlock, details: Details) -> Result<(), Error> {
        let (mapping, known) = (self.mapping_root(), self.details_root());
        let (mapping, _) = tree::insert::<Devices, S>(&mut self.core, mapping, id, root.0.into())?;
        let (known, _) = tree::insert::<DeviceDetails, S>(&mut self.core, known, id, details)?;
        self.superblock.mapping_root = mapping.0.into();
        self.superblock.details_root = known.0.into();
        self.changed = true;
        Ok(())
    }

    /// Makes devices that map what others map, all at one instant; each pair is the new id and the origin's. What was
    /// written to an origin before is in its snapshot if it has been mapped.
    ///
    /// # Errors
    ///
    /// A new id is taken, or an origin is not there; or there is no room, or the clock has come to its end.
    pub fn create_snapshots(&mut self, pairs: &[(u64, u64)]) -> Result<(), Error> {
        self.usable()?;
        if pairs.is_empty() {
            return Ok(());
        }
        self.may_change(pairs.len())?;
        for (position, &(new, origin)) in pairs.iter().enumerate() {
            self.must_be_free(new)?;
            self.device(origin)?;
            if pairs.get(..position).unwrap_or_default().iter().any(|&(other, _)| other == new) {
                return Err(Error::DeviceExists(new));
            }
        }
        let time = self.time() + 1;
        if time > LAST_TIME {
            return Err(Error::ClockEnd);
        }
        self.room_to_snapshot(pairs.len() as u64)?;
        self.change(|pool| {
            pool.superblock.time = time.into();
            for &(new, origin) in pairs {
                let index = pool.device(origin)?;
                let old = pool.begin_change(index)?;
                pool.core.hold(old.root)?;
                pool.update(index, old.root, Details { snapshotted_time: time.into(), ..old.details });
                let details = Details {
                    mapped_blocks: old.details.mapped_blocks,
                    transaction_id: pool.superblock.transaction_id,
                    creation_time: time.into(),
                    snapshotted_time: time.into(),
                };
                pool.add(new, old.root, details)?;
            }
            Ok(())
        })
    }

    /// Where a virtual block is.
    ///
    /// # Errors
    ///
    /// There is no such device; or metadata cannot be read or is damaged.
    pub fn lookup(&mut self, id: u64, block: VirtualBlock) -> Result<Option<MappedRun>, Error> {
        let index = self.device(id)?;
        let device = self.known(index)?;
        let found = tree::lookup::<Mappings, S>(&mut self.core, device.root, block.0)?.map(Mapping::unpack);
        Ok(found.map(|mapping| MappedRun {
            begin: block,
            data: mapping.block,
            length: 1,
            shared: device.details.shares(mapping),
        }))
    }

    /// Tells the runs that are mapped from `begin` on and before `end`, in order, until told to stop.
    ///
    /// # Errors
    ///
    /// There is no such device; or metadata cannot be read or is damaged.
    pub fn runs(
        &mut self,
        id: u64,
        begin: VirtualBlock,
        end: VirtualBlock,
        tell: &mut dyn FnMut(MappedRun) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let index = self.device(id)?;
        let device = self.known(index)?;
        let (mut key, mut last) = (begin.0, None::<MappedRun>);
        while key < end.0 {
            let leaf = tree::leaf::<Mappings, S>(&mut self.core, device.root, key)?;
            let node = Node::<U64>::of(self.core.node::<U64>(leaf.at)?);
            let from = node.lower_bound(key);
            for (key, value) in node.keys.iter().zip(node.values).skip(from) {
                if key.get() >= end.0 {
                    break;
                }
                let mapping = Mapping::unpack(*value);
                let shared = device.details.shares(mapping);
                match &mut last {
                    Some(run)
                        if run.begin.0.checked_add(run.length) == Some(key.get())
                            && run.data.0 + run.length == mapping.block.0
                            && run.shared == shared =>
                    {
                        run.length += 1;
                    }
                    _ => {
                        let run = MappedRun { begin: VirtualBlock(key.get()), data: mapping.block, length: 1, shared };
                        if last.replace(run).is_some_and(|run| tell(run).is_break()) {
                            return Ok(());
                        }
                    }
                }
            }
            match leaf.upper {
                Some(upper) => key = upper,
                None => break,
            }
        }
        if let Some(run) = last {
            let _ = tell(run);
        }
        Ok(())
    }

    /// Maps virtual blocks in a row to data blocks in a row, which were taken. What they were mapped to is given up.
    ///
    /// # Errors
    ///
    /// There is no such device; or there is no room.
    pub fn insert(&mut self, id: u64, begin: VirtualBlock, run: Run) -> Result<(), Error> {
        self.usable()?;
        begin.0.checked_add(run.len()).ok_or(Error::Range(u64::MAX))?;
        let index = self.device(id)?;
        let device = self.known(index)?;
        self.may_change(1)?;
        self.room_to_insert(&device, begin.0, run.len())?;
        self.change(|pool| {
            let device = pool.begin_change(index)?;
            let time = pool.time();
            pool.core.hold_data(run)?;
            pool.core.data.unpin(run)?;
            let value = |key| Mapping { block: DataBlock(run.begin + (key - begin.0)), time }.pack();
            let (root, new) = tree::insert_run::<Mappings, S>(&mut pool.core, device.root, begin.0, run.len(), &value)?;
            let mapped = device.details.mapped_blocks.get().checked_add(new);
            let mapped = mapped.ok_or(Error::Damaged(pool.details_root(), Damage::Count(id)))?;
            pool.update(index, root, Details { mapped_blocks: mapped.into(), ..device.details });
            Ok(())
        })
    }

    /// Unmaps virtual blocks, at most about `budget` of them; how many they were, and where to go on if there are more.
    ///
    /// # Errors
    ///
    /// There is no such device; or there is no room to unmap even one.
    pub fn remove(&mut self, id: u64, begin: VirtualBlock, end: VirtualBlock, budget: u64) -> Result<Removed, Error> {
        self.usable()?;
        let index = self.device(id)?;
        let device = self.known(index)?;
        self.may_change(1)?;
        let mut budget = budget.clamp(1, self.core.data.discards_left()?);
        // As much as there is room for.
        while let Err(error) = self.room_to_remove(device.root, budget) {
            if budget == 1 {
                return Err(error);
            }
            budget /= 2;
        }
        let Some(last) = tree::nth::<Mappings, S>(&mut self.core, device.root, begin.0, end.0, budget)? else {
            return Ok(Removed { blocks: 0, next: None });
        };
        let stop = last.saturating_add(1).min(end.0);
        let blocks = self.change(|pool| {
            let device = pool.begin_change(index)?;
            let (root, removed) = tree::remove::<Mappings, S>(&mut pool.core, device.root, begin.0, stop)?;
            let mapped = device.details.mapped_blocks.get().saturating_sub(removed);
            pool.update(index, root, Details { mapped_blocks: mapped.into(), ..device.details });
            Ok(removed)
        })?;
        Ok(Removed { blocks, next: (stop < end.0).then_some(VirtualBlock(stop)) })
    }

    /// Deletes a device, or part of it if giving up all its own mappings at once would be more than `budget` of them: then
    /// the device is still there, and maps less. Whole subtrees that it shares cost nothing.
    ///
    /// # Errors
    ///
    /// There is no such device; or there is no room to begin.
    pub fn delete(&mut self, id: u64, budget: u64) -> Result<Deletion, Error> {
        self.usable()?;
        let index = self.device(id)?;
        let device = self.known(index)?;
        self.may_change(1)?;
        // What is given up at once ends with a leaf.
        let leaf = <U64 as Value>::MAX as u64;
        let left = self.core.data.discards_left()?.checked_sub(leaf).filter(|&left| left > 0);
        let mut budget = budget.clamp(1, left.ok_or_else(|| self.core.data.discards_full())?);
        while let Err(error) = self.room_to_delete(device.root, budget.saturating_add(leaf)) {
            if budget == 1 {
                return Err(error);
            }
            budget /= 2;
        }
        let device = self.change(|pool| pool.begin_change(index))?;
        if let Some(stop) = tree::own_part::<Mappings, S>(&mut self.core, device.root, budget)? {
            self.change(|pool| {
                let (root, removed) = tree::remove::<Mappings, S>(&mut pool.core, device.root, 0, stop)?;
                let mapped = device.details.mapped_blocks.get().saturating_sub(removed);
                pool.update(index, root, Details { mapped_blocks: mapped.into(), ..device.details });
                Ok(())
            })?;
            return Ok(Deletion::Unfinished);
        }
        self.change(|pool| {
            // The tree of devices must have the root that is to be given up.
            pool.put_devices()?;
            let (mapping, details) = (pool.mapping_root(), pool.details_root());
            let (mapping, _) = tree::remove::<Devices, S>(&mut pool.core, mapping, id, id.saturating_add(1))?;
            let (details, _) = tree::remove::<DeviceDetails, S>(&mut pool.core, details, id, id.saturating_add(1))?;
            pool.superblock.mapping_root = mapping.0.into();
            pool.superblock.details_root = details.0.into();
            pool.forget(id);
            pool.changed = true;
            Ok(Deletion::Done)
        })
    }

    /// What a device has of the pool: exact, at the cost of [`exclusive`](Self::exclusive).
    ///
    /// # Errors
    ///
    /// There is no such device; or metadata cannot be read or is damaged.
    pub fn usage(&mut self, id: u64) -> Result<Usage, Error> {
        let mapped = self.details(id)?.mapped_blocks.get();
        let exclusive = self.exclusive(id)?;
        let shared = mapped.checked_sub(exclusive);
        let shared = shared.ok_or(Error::Damaged(self.details_root(), Damage::Count(id)))?;
        Ok(Usage { mapped, shared, exclusive })
    }

    /// How many of a device's data blocks nothing else refers to: what its deletion would free.
    ///
    /// Costs a look at each leaf to which only this device refers; subtrees that it shares are passed over, unread. A
    /// snapshot that was just made costs nothing.
    ///
    /// # Errors
    ///
    /// There is no such device; or metadata cannot be read or is damaged.
    pub fn exclusive(&mut self, id: u64) -> Result<u64, Error> {
        let index = self.device(id)?;
        let device = self.known(index)?;
        // A metadata snapshot shares the tree of devices, and by it the devices' trees.
        let mapping = self.mapping_root();
        if tree::is_shared::<Devices, S>(&mut self.core, mapping, id)? {
            return Ok(0);
        }
        let mut visits = Visits::of(self.metadata_blocks());
        self.exclusive_below(device.root, 0, &mut visits)
    }

    fn exclusive_below(&mut self, at: MetadataBlock, depth: usize, visits: &mut Visits) -> Result<u64, Error> {
        visits.come(at, depth)?;
        if self.core.count(at)? > 1 {
            return Ok(0);
        }
        let block = self.core.node::<U64>(at)?;
        let (internal, entries) = (is_internal(block), Node::<U64>::of(block).len());
        let mut sum = 0;
        if !internal {
            Mappings::runs(&mut self.core, at, 0, entries, &mut |core, run| {
                sum += core.single_data(run)?;
                Ok(())
            })?;
            return Ok(sum);
        }
        for index in 0..entries {
            let Some(child) = Node::<U64>::of(self.core.node::<U64>(at)?).child(index) else { break };
            sum += self.exclusive_below(child, depth + 1, visits)?;
        }
        Ok(sum)
    }
}
