// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Damaged metadata, made sound in a copy: all that can still be read is kept, and what is lost is told.
//!
//! The mappings and details that can be read are all there is to keep: counts, sizes and clocks are made anew from them. A
//! plan is what a repair does, with nothing written.

use super::restore::Restored;
use super::roots;
use super::salvage::{Hole, Place, Salvage};
use super::target::{refused, Target};
use super::{check, failure, FileStore, Progress};
use crate::error::Context;
use crate::{Error, Kind, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use stor_pure::heap::{self, Heap};
use stor_pure::pure::thin;
use stor_pure::pure::thin::block::Block;
use stor_pure::pure::thin::build::{Builder, Built, Geometry};
use stor_pure::pure::thin::crc::Crc;
use stor_pure::pure::thin::data::Run;
use stor_pure::pure::thin::error::Error as Cause;
use stor_pure::pure::thin::node::Node;
use stor_pure::pure::thin::space::METADATA_MAX;
use stor_pure::pure::thin::store::{Failed, Memory, NoMemory, Store};
use stor_pure::pure::thin::superblock::{self, is_data_block_size, Refusal, Superblock, LAST_TIME};
use stor_pure::pure::thin::value::{Details, Mapping, LAST_DATA_BLOCK, LAST_DEVICE};
use stor_pure::pure::units::{MetadataBlock, SECTOR_SIZE};
use zerocopy::little_endian::U64;

/// What is to be repaired, and where to.
#[derive(Clone, Debug, Default)]
pub struct Repair {
    /// The damaged metadata. It is read and not changed.
    pub input: PathBuf,
    /// A file or device for the copy.
    pub output: Option<PathBuf>,
    /// Whether what that holds may be lost.
    pub overwrite: bool,
    /// Whether nothing is to be written.
    pub dry_run: bool,
    /// Bytes of a data block, if the superblock is lost.
    pub data_block_size: Option<u64>,
    /// Data blocks, if the superblock is lost.
    pub data_blocks: Option<u64>,
    /// The transaction id, if the superblock is lost.
    pub transaction_id: Option<u64>,
}

/// Virtual blocks whose mappings are lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// The first.
    pub begin: u64,
    /// The first behind them; `None` if all from there on are lost.
    pub end: Option<u64>,
    /// The metadata block that is damaged.
    pub block: u64,
    /// How.
    pub why: String,
}

/// What is kept of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Its id.
    pub id: u64,
    /// Mapped blocks that are kept.
    pub kept: u64,
    /// Mapped blocks that it had, if that is known.
    pub said: Option<u64>,
    /// Where mappings are lost.
    pub lost: Vec<Lost>,
}

/// What a repair does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Whether a copy was made.
    pub changed: bool,
    /// Whether it was only planned.
    pub dry_run: bool,
    /// Whether no mapping and no device is lost.
    pub complete: bool,
    /// What 'metadata check' finds in the original.
    pub findings: u64,
    /// What had to be looked for or made up.
    pub notes: Vec<String>,
    /// Root of the mapping tree.
    pub mapping_root: u64,
    /// Root of the details tree; `None` if it is lost.
    pub details_root: Option<u64>,
    /// The devices that are kept.
    pub devices: Vec<Kept>,
    /// Ids of devices that are lost: known by their details, without mappings.
    pub lost_devices: Vec<u64>,
    /// Ranges of device ids in which devices are lost that are not known.
    pub lost_ids: Vec<Lost>,
    /// Metadata blocks that the copy has to have at least.
    pub metadata_needed: u64,
    /// What was done, as a sentence.
    pub text: String,
}

/// A device that is there, of any size, that keeps nothing.
struct Nowhere;

impl Memory for Nowhere {
    type Array<T> = Heap<T>;
    type Frame = Box<Block>;

    fn frame() -> std::result::Result<Box<Block>, NoMemory> {
        Ok(heap::frame())
    }
}

impl Crc for Nowhere {
    fn crc32c(bytes: &[u8]) -> u32 {
        FileStore::crc32c(bytes)
    }
}

impl Store for Nowhere {
    fn metadata_blocks(&self) -> u64 {
        METADATA_MAX
    }

    fn read(&mut self, _: MetadataBlock, _: &mut Block) -> std::result::Result<(), Failed> {
        Err(Failed)
    }

    fn write(&mut self, _: &mut dyn Iterator<Item = (MetadataBlock, &Block)>) -> std::result::Result<(), Failed> {
        Ok(())
    }

    fn flush(&mut self) -> std::result::Result<(), Failed> {
        Ok(())
    }

    fn flush_data(&mut self) -> std::result::Result<(), Failed> {
        Ok(())
    }
}

/// Plans a repair, or makes a repaired copy. The copy is checked.
///
/// # Errors
///
/// There is no metadata to be found, or not enough is known of it; or the copy cannot be written, as in
/// [`restore`](super::restore()).
pub fn repair(repair: &Repair, progress: &Progress) -> Result<Plan> {
    let context = || format!("cannot repair {}", repair.input.display());
    let run = || -> Result<Plan> {
        let (mut job, mut plan) = Job::find(repair, progress)?;
        let built = job.look(&mut plan)?;
        plan.findings = check(&repair.input, false, progress)?.count;
        plan.metadata_needed = built.needed;
        plan.complete = plan.lost_devices.is_empty()
            && plan.lost_ids.is_empty()
            && plan.devices.iter().all(|device| device.lost.is_empty());
        plan.dry_run = repair.output.is_none() || repair.dry_run;
        plan.text = format!("{} can be repaired in a copy: {built}", repair.input.display());
        let Some(output) = &repair.output else { return Ok(plan) };
        if same(&repair.input, output) {
            return Err(Error::new(Kind::Usage, "nothing is repaired in place")
                .help("give another file or device for the copy"));
        }
        let target = Target::open(output, repair.overwrite)?;
        if target.store.metadata_blocks() < built.needed {
            let what = format!(
                "{} has {} metadata blocks, and {} are needed",
                output.display(),
                target.store.metadata_blocks(),
                built.needed
            );
            return Err(Error::new(Kind::Unfit, what).help(format!("give it {} KiB or more", built.needed * 4)));
        }
        plan.text = Restored::new(&built, true, output).text;
        if repair.dry_run {
            return Ok(plan);
        }
        let builder = Builder::new(target.cleared()?, job.geometry, true).map_err(refused)?;
        let built = job.build(builder, &mut Vec::new())?;
        let checked = check(output, false, progress)?;
        if let Some(finding) = checked.findings.first() {
            let what = format!("the copy is not sound: {finding}");
            return Err(Error::new(Kind::Failure, what).help("this is a mistake of storctl: please report it"));
        }
        plan.text = Restored::new(&built, false, output).text;
        plan.changed = true;
        Ok(plan)
    };
    run().context(context)
}

fn same(one: &Path, other: &Path) -> bool {
    let path = |path| std::fs::canonicalize(path).ok();
    path(one).is_some_and(|one| path(other) == Some(one))
}

/// A device that is kept.
struct Device {
    id: u64,
    root: u64,
    details: Details,
}

/// A repair.
struct Job {
    salvage: Salvage,
    geometry: Geometry,
    /// Whether the superblock, and so the number of data blocks, is known.
    known: bool,
    devices: Vec<Device>,
}

impl Job {
    /// Finds the trees.
    fn find(repair: &Repair, progress: &Progress) -> Result<(Self, Plan)> {
        let mut salvage = Salvage::new(FileStore::open(&repair.input, false)?.report(progress));
        let mut plan = Plan::default();
        let mut bytes: Block = [0; thin::block::BLOCK_SIZE];
        let superblock = match superblock::read(&mut salvage.store, MetadataBlock(0), &mut bytes) {
            Ok(superblock) => Some(superblock),
            Err(error @ Cause::Refused(Refusal::Version(_) | Refusal::Features(_) | Refusal::MetadataBlockSize(_))) => {
                return Err(failure(error).help("repair it with what knows this"));
            }
            Err(error) => {
                plan.notes.push(format!("the superblock is lost ({error}): the trees were looked for in all blocks"));
                None
            }
        };
        let root = |root: Option<u64>, at: &str, notes: &mut Vec<String>, error: Option<Cause>| match error {
            Some(error) => {
                notes
                    .push(format!("the root of the {at} tree is lost ({error}): another was looked for in all blocks"));
                None
            }
            None => root,
        };
        let (mut mapping, mut details) = (None, None);
        if let Some(superblock) = &superblock {
            if superblock.held_root.get() != 0 {
                plan.notes.push("the metadata snapshot is given up".into());
            }
            let at = superblock.mapping_root.get();
            let error = salvage.node::<U64>(at).err();
            mapping = root(Some(at), "mapping", &mut plan.notes, error);
            let at = superblock.details_root.get();
            let error = salvage.node::<Details>(at).err();
            details = root(Some(at), "details", &mut plan.notes, error);
        }
        let mut copy = None;
        if mapping.is_none() || details.is_none() {
            let found = roots::find(&mut salvage, mapping, details);
            (mapping, details, copy) = (found.mapping, found.details, found.copy);
            if found.others > 0 {
                let what = format!("{} older pairs of roots are there too, and were not used", found.others);
                plan.notes.push(what);
            }
        }
        let Some(mapping) = mapping else {
            let cause = Error::new(Kind::Failure, "there is no mapping tree in any block: nothing can be repaired");
            return Err(cause.help("see that this is the metadata device"));
        };
        (plan.mapping_root, plan.details_root) = (mapping, details);
        if details.is_none() {
            plan.notes.push("no details are left: they are made up".into());
        }
        let known = superblock.is_some();
        let base = superblock.or(copy);
        let geometry = Self::geometry(repair, base.as_ref(), known)?;
        Ok((Self { salvage, geometry, known, devices: Vec::new() }, plan))
    }

    /// What is known of the pool: what the superblock says, or else a copy of it, or else whoever asks.
    fn geometry(repair: &Repair, superblock: Option<&Superblock>, known: bool) -> Result<Geometry> {
        let given = |given: Option<u64>| given.filter(|_| !known);
        let said = superblock.map(|superblock| superblock.data_block_size.get());
        // What is no number of sectors is no size of a data block either.
        let sectors = |bytes: u64| u32::try_from(bytes / SECTOR_SIZE).ok().filter(|_| bytes % SECTOR_SIZE == 0);
        let asked = given(repair.data_block_size).map(|bytes| sectors(bytes).unwrap_or(0));
        let Some(data_block_size) = asked.or(said) else {
            return Err(Error::new(Kind::Usage, "the superblock is lost, and with it the size of a data block")
                .help("give it with --data-block-size"));
        };
        if !is_data_block_size(data_block_size) {
            return Err(failure(Cause::Refused(Refusal::DataBlockSize(data_block_size))));
        }
        let blocks = superblock.filter(|_| known).map(|superblock| superblock.data_space.root.blocks.get());
        let transaction = superblock.map(|superblock| superblock.transaction_id.get());
        Ok(Geometry {
            time: superblock.map_or(0, |superblock| superblock.time.get()),
            transaction_id: given(repair.transaction_id).or(transaction.filter(|_| known)).unwrap_or(0),
            data_block_size,
            data_blocks: given(repair.data_blocks).or(blocks).unwrap_or(0),
        })
    }

    /// Finds out what is left of the devices, and what comes of that.
    fn look(&mut self, plan: &mut Plan) -> Result<Built> {
        let (roots, holes) = self.salvage.entries::<U64>(plan.mapping_root);
        plan.lost_ids.extend(holes.into_iter().map(Lost::from));
        let (details, holes) = match plan.details_root {
            Some(at) => self.salvage.entries::<Details>(at),
            None => (Vec::new(), Vec::new()),
        };
        for Hole { block, why, .. } in holes {
            plan.notes.push(format!("metadata block {block}: {why}: details of devices are lost, and made up"));
        }
        let mut details: BTreeMap<u64, Details> = details.into_iter().collect();
        let given = details.values().map(|details| details.transaction_id.get()).max();
        for (id, root) in roots {
            if id > LAST_DEVICE {
                plan.lost_ids.push(Lost { begin: id, end: None, block: plan.mapping_root, why: "no device id".into() });
                continue;
            }
            let (places, holes) = self.salvage.device(root.get());
            for place in &places {
                if let Some(known) = self.salvage.leaves.get_mut(&place.at) {
                    known.uses += 1;
                }
            }
            let lost = holes.into_iter().map(Lost::from).collect();
            let known = details.remove(&id);
            if known.is_none() {
                plan.notes.push(format!("device {id}: its details are lost, and made up"));
            }
            plan.devices.push(Kept { id, kept: 0, said: known.map(|details| details.mapped_blocks.get()), lost });
            let nothing = Details {
                mapped_blocks: 0.into(),
                transaction_id: self.geometry.transaction_id.into(),
                creation_time: 0.into(),
                snapshotted_time: 0.into(),
            };
            self.devices.push(Device { id, root: root.get(), details: known.unwrap_or(nothing) });
        }
        plan.lost_devices.extend(details.into_keys());
        self.settle(given, plan);
        self.guard(plan);
        let mut kept = Vec::new();
        let builder = Builder::new(Nowhere, self.geometry, false).map_err(refused)?;
        let built = self.build(builder, &mut kept)?;
        for (device, (count, lost)) in plan.devices.iter_mut().zip(kept) {
            device.kept = count;
            device.lost.extend(lost);
            device.lost.sort_by_key(|lost| lost.begin);
        }
        Ok(built)
    }

    /// Makes up what the superblock would say.
    fn settle(&mut self, transaction: Option<u64>, plan: &mut Plan) {
        let geometry = &mut self.geometry;
        if !self.known {
            let times = self
                .devices
                .iter()
                .map(|Device { details, .. }| details.creation_time.get().max(details.snapshotted_time.get()));
            geometry.time = geometry.time.max(self.salvage.time).max(times.max().unwrap_or(0)).min(LAST_TIME);
            if geometry.transaction_id == 0 {
                geometry.transaction_id = transaction.unwrap_or(0);
                plan.notes.push(format!(
                    "the transaction id is taken to be {}, the last that a device has: --transaction-id gives another",
                    geometry.transaction_id
                ));
            }
        }
        if geometry.data_blocks == 0 || geometry.data_blocks > LAST_DATA_BLOCK + 1 {
            geometry.data_blocks = self.salvage.last_data.map_or(1, |last| last + 1);
            plan.notes.push(format!(
                "the pool is taken to have {} data blocks, up to the last one mapped: it grows when it is opened, or \
                 --data-blocks gives another number",
                geometry.data_blocks
            ));
        }
        let clock = geometry.time;
        for Device { id, details, .. } in &mut self.devices {
            for time in [&mut details.creation_time, &mut details.snapshotted_time] {
                if time.get() > clock {
                    plan.notes.push(format!("device {id}: a time ahead of the snapshot clock is set to it"));
                    *time = clock.into();
                }
            }
        }
    }

    /// Sees to it that no device writes through to what it shares.
    fn guard(&mut self, plan: &mut Plan) {
        let clock = self.geometry.time;
        for index in 0..self.devices.len() {
            let Some((id, root, before)) =
                self.devices.get(index).map(|device| (device.id, device.root, device.details.snapshotted_time.get()))
            else {
                continue;
            };
            let mut after = before;
            for place in self.salvage.device(root).0 {
                let Some(known) = self.salvage.leaves.get(&place.at).copied() else { continue };
                let time = known.time.min(clock);
                if time < after {
                    continue;
                }
                if known.uses > 1 {
                    after = time + 1;
                    continue;
                }
                let Ok(bytes) = self.salvage.node::<U64>(place.at) else { continue };
                for value in Node::<U64>::of(&bytes).values {
                    let Mapping { block, time } = Mapping::unpack(*value);
                    if time.min(clock) >= after && self.salvage.census.count(block.0) > 1 {
                        after = time.min(clock) + 1;
                    }
                }
            }
            after = after.min(LAST_TIME);
            if after > before {
                if let Some(device) = self.devices.get_mut(index) {
                    device.details.snapshotted_time = after.into();
                }
                self.geometry.time = self.geometry.time.max(after);
                plan.notes.push(format!(
                    "device {id}: its last snapshot is said to be at {after} instead of {before}, so that it does not write \
                     to what it shares"
                ));
            }
        }
    }

    /// Builds what is kept; for each device how many mappings these are, and what is lost beside whole nodes.
    fn build<S: Store>(&mut self, mut builder: Builder<S>, kept: &mut Vec<(u64, Vec<Lost>)>) -> Result<Built> {
        for known in self.salvage.leaves.values_mut() {
            known.group = None;
        }
        for index in 0..self.devices.len() {
            let Some((id, root, details)) =
                self.devices.get(index).map(|device| (device.id, device.root, device.details))
            else {
                continue;
            };
            let mut lost = Vec::new();
            for place in self.salvage.device(root).0 {
                self.leaf(&mut builder, place, &mut lost)?;
            }
            let count = builder.end_device(id, details).map_err(refused)?;
            kept.push((count, lost));
        }
        builder.commit().map_err(refused)
    }

    fn leaf<S: Store>(&mut self, builder: &mut Builder<S>, place: Place, lost: &mut Vec<Lost>) -> Result<()> {
        let Some(known) = self.salvage.leaves.get(&place.at).copied() else { return Ok(()) };
        let all = known.first > known.last || (place.has(known.first) && place.has(known.last));
        let shared = known.uses > 1 && all;
        if let Some(group) = known.group.filter(|_| shared) {
            builder.refer(group).map_err(refused)?;
            // What it lacks is told for each device.
            if known.intact {
                return Ok(());
            }
        }
        let mut intact = true;
        let bytes = self.salvage.node::<U64>(place.at).map_err(failure)?;
        let Geometry { data_blocks, time: clock, .. } = self.geometry;
        let node = Node::<U64>::of(&bytes);
        for (key, value) in node.keys.iter().zip(node.values) {
            let (key, Mapping { block, time }) = (key.get(), Mapping::unpack(*value));
            let why = if !place.has(key) {
                "a key that belongs elsewhere in the tree"
            } else if block.0 >= data_blocks {
                "mapped to data blocks that the pool does not have"
            } else {
                if known.group.is_none() || !shared {
                    let run = Run { begin: block.0, end: block.0 + 1 };
                    let time = time.min(clock);
                    let added = if shared { builder.group_run(key, run, time) } else { builder.run(key, run, time) };
                    added.map_err(refused)?;
                }
                continue;
            };
            intact = false;
            add(lost, Lost { begin: key, end: key.checked_add(1), block: place.at, why: why.into() });
        }
        if shared && known.group.is_none() {
            let group = builder.end_group().map_err(refused)?;
            if let Some(known) = self.salvage.leaves.get_mut(&place.at) {
                (known.group, known.intact) = (Some(group), intact);
            }
            builder.refer(group).map_err(refused)?;
        }
        Ok(())
    }
}

impl From<Hole> for Lost {
    fn from(hole: Hole) -> Self {
        Self { begin: hole.begin, end: hole.end, block: hole.block, why: hole.why }
    }
}

/// Adds what is lost, in one with what is lost before it for the same reason.
fn add(all: &mut Vec<Lost>, lost: Lost) {
    match all.last_mut() {
        Some(last) if last.end == Some(lost.begin) && last.block == lost.block && last.why == lost.why => {
            last.end = lost.end;
        }
        _ => all.push(lost),
    }
}
