// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Repairing a pool that is not active: its metadata first, then a catalog that fits it.
//!
//! Metadata is repaired from a copy, which is kept: the damaged metadata is copied to a file, that is repaired into another
//! file and checked, and only then is the result written over what was there, its superblock last. The catalog is
//! made to have the devices that there are: those that it does not know get names, those that are gone are left out.

use super::area::Area;
use super::catalog::{Catalog, Record};
use super::check::devices;
use super::open::Open;
use crate::device::Access;
use crate::error::Context;
use crate::metadata::{failure, Checked, Plan, Progress, Repair};
use crate::{Error, Kind, Result, Stor};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use stor_pure::pure::catalog::record::{Fixed, DELETING, MANUAL, NO_ORIGIN};
use stor_pure::pure::label;
use stor_pure::pure::thin::block::BLOCK_SIZE;
use stor_pure::pure::thin::cache::FRAMES_MIN;
use stor_pure::pure::thin::pool::{Options, Pool as Engine};
use stor_pure::pure::thin::superblock;
use stor_pure::pure::thin::value::Details;
use stor_pure::pure::units::{MetadataBlock, VirtualBlock};

/// What is copied at once.
const PIECE: usize = 1 << 20;

/// What is to be repaired, and how.
#[derive(Clone, Debug, Default)]
pub struct RepairPool {
    /// The pool.
    pub pool: String,
    /// A file, which is not there yet, for the damaged metadata.
    pub backup: Option<PathBuf>,
}

/// What a repair did, or in a dry run would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Repaired {
    /// Whether anything changed.
    pub changed: bool,
    /// Whether it was only tried.
    pub dry_run: bool,
    /// What is wrong with the metadata, each in a sentence; of very many the first.
    pub findings: Vec<String>,
    /// What the repair of the metadata keeps and loses; none if there is nothing wrong with it.
    pub metadata: Option<Plan>,
    /// Volumes that are not there any more.
    pub lost: Vec<String>,
    /// Names of volumes that the catalog did not know.
    pub recovered: Vec<String>,
    /// The same, as a sentence.
    pub text: String,
}

impl Stor {
    /// Repairs a pool that is not active.
    pub fn repair_pool(&self, repair: &RepairPool, progress: &Progress) -> Result<Repaired> {
        self.try_repair_pool(repair, progress).context(|| format!("cannot repair pool {}", repair.pool))
    }

    fn try_repair_pool(&self, repair: &RepairPool, progress: &Progress) -> Result<Repaired> {
        let mut open = self.lock_pool(&repair.pool, &[], Access::Claim)?;
        if open.status.is_some() {
            return Err(Error::new(Kind::Busy, "it is active")
                .help(format!("deactivate it: storctl pool deactivate {}", open.name)));
        }
        let mut repaired = Repaired { dry_run: self.dry_run, ..Repaired::default() };
        let checked = open.check_metadata();
        let sound = checked.as_ref().is_ok_and(|checked| checked.count == 0);
        repaired.findings = match checked {
            Ok(checked) => checked.findings,
            Err(error) => vec![error.cause],
        };
        if !sound {
            let plan = open.repair_metadata(repair, progress)?;
            repaired.changed |= plan.changed || self.dry_run;
            repaired.metadata = Some(plan);
        }
        if sound || !self.dry_run {
            open.repair_catalog(&mut repaired)?;
        }
        repaired.text = text(&open, &repaired);
        Ok(repaired)
    }
}

fn text(open: &Open<'_>, repaired: &Repaired) -> String {
    let would = if repaired.dry_run { "would be " } else { "" };
    match (repaired.changed, &repaired.metadata) {
        (false, _) => format!("pool {}: nothing is to be repaired", open.name),
        (true, None) => format!("pool {}: the catalog {would}repaired", open.name),
        (true, Some(plan)) if plan.complete => format!("pool {} {would}repaired; no mapping is lost", open.name),
        (true, Some(_)) => format!("pool {} {would}repaired, without what is lost", open.name),
    }
}

/// A file next to the backup, that goes away again.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may not have been made.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Scratch {
    fn beside(backup: &Path) -> Self {
        let mut name = backup.as_os_str().to_owned();
        name.push(".repaired");
        Self(name.into())
    }
}

fn file_failed(path: &Path, error: &std::io::Error) -> Error {
    Error::new(Kind::Failure, format!("{}: {error}", path.display()))
}

/// Makes a file that is not there yet.
fn make(path: &Path, size: u64) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
    let file = file.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Error::new(Kind::Exists, format!("{} is there already", path.display()))
            .help("name a file that is not there yet"),
        _ => file_failed(path, &error),
    })?;
    file.set_len(size).map_err(|error| file_failed(path, &error))?;
    Ok(file)
}

/// Calls `copy` with each piece of so many bytes, from `begin` on: where it is, and memory for it.
fn pieces(begin: u64, size: u64, mut copy: impl FnMut(u64, &mut [u8]) -> std::io::Result<()>) -> std::io::Result<()> {
    let (mut at, mut piece) = (begin, vec![0; PIECE]);
    while at < size {
        let length = usize::try_from(size - at).unwrap_or(PIECE).min(PIECE);
        copy(at, piece.get_mut(..length).unwrap_or_default())?;
        at += length as u64;
    }
    Ok(())
}

impl Open<'_> {
    fn check_metadata(&self) -> Result<Checked> {
        let mut block = [0; BLOCK_SIZE];
        let mut area = self.area(label::Area::Metadata)?;
        // Of what is no metadata, or another pool's, no more is to be found out.
        superblock::read(&mut area, MetadataBlock(0), &mut block).map_err(failure)?;
        Ok(super::check::check_area(area, false)?.0)
    }

    fn repair_metadata(&mut self, repair: &RepairPool, progress: &Progress) -> Result<Plan> {
        let area = self.area(label::Area::Metadata)?;
        let size = area.length();
        let data = super::config::length(&self.segments(label::Area::Data)?).0;
        let transaction = self.slots.youngest()?.map(|catalog| catalog.stamp.transaction.get());
        let backup = repair.backup.as_ref().ok_or_else(|| {
            Error::new(Kind::Usage, "its metadata is damaged, and has to be kept in a file before it is repaired")
                .help(format!("give --backup FILE; the file gets at most {} bytes", size))
        })?;
        let kept = make(backup, size)?;
        let broken = |error: std::io::Error| file_failed(backup, &error);
        pieces(0, size, |at, piece| {
            area.read(at, piece)?;
            // What is zero stays a hole.
            if piece.iter().any(|&byte| byte != 0) {
                kept.write_all_at(piece, at)?;
            }
            Ok(())
        })
        .and_then(|()| kept.sync_all())
        .map_err(broken)?;
        let scratch = Scratch::beside(backup);
        let output = make(&scratch.0, size)?;
        let plan = crate::metadata::repair(
            &Repair {
                input: backup.clone(),
                output: (!self.stor.dry_run).then(|| scratch.0.clone()),
                overwrite: false,
                dry_run: self.stor.dry_run,
                data_block_size: Some(self.data_block()),
                data_blocks: Some(data / self.data_block()),
                transaction_id: transaction,
            },
            progress,
        );
        if self.stor.dry_run || plan.is_err() {
            // The copy of what is unchanged is of no use.
            let _ = std::fs::remove_file(backup);
            return plan;
        }
        let write = || -> std::io::Result<()> {
            // A crash leaves no metadata, or the repaired; never some of both.
            area.write(0, &[0; BLOCK_SIZE])?;
            area.flush()?;
            pieces(BLOCK_SIZE as u64, size, |at, piece| {
                output.read_exact_at(piece, at)?;
                area.write(at, piece)
            })?;
            area.flush()?;
            let mut superblock = [0; BLOCK_SIZE];
            output.read_exact_at(&mut superblock, 0)?;
            area.write(0, &superblock)?;
            area.flush()
        };
        write().map_err(|error| {
            Error::new(Kind::Failure, format!("the metadata cannot be written: {error}")).help(format!(
                "the damaged metadata is in {}: see to the device, and repair it from there",
                backup.display()
            ))
        })?;
        plan
    }

    /// Makes the catalog have the devices that there are.
    fn repair_catalog(&mut self, repaired: &mut Repaired) -> Result<()> {
        if self.load().is_ok() {
            let known = devices(self.area(label::Area::Metadata)?, false)?;
            if self.fitting(&self.catalog.clone(), &known, &mut Repaired::default())? == self.catalog {
                return Ok(());
            }
        }
        let mut bytes = [0; BLOCK_SIZE];
        let superblock = superblock::read(&mut self.area(label::Area::Metadata)?, MetadataBlock(0), &mut bytes);
        let transaction = superblock.map_err(failure)?.transaction_id;
        let old = self.slots.youngest()?.unwrap_or_default();
        let known = devices(self.area(label::Area::Metadata)?, false)?;
        let mut next = self.fitting(&old, &known, repaired)?;
        next.stamp.transaction = transaction;
        next.stamp.generation = old.stamp.generation.get().saturating_add(1).into();
        repaired.changed = true;
        if self.stor.dry_run {
            return Ok(());
        }
        self.slots.create(&next)?;
        self.catalog = next;
        Ok(())
    }

    /// A catalog with the devices that there are.
    fn fitting(&self, old: &Catalog, known: &BTreeMap<u64, Details>, repaired: &mut Repaired) -> Result<Catalog> {
        let mut next = old.clone();
        next.records.retain(|id, record| {
            let there = known.contains_key(&u64::from(*id));
            if !there && !record.name.is_empty() {
                repaired.lost.push(record.name.clone());
            }
            there || record.is(DELETING)
        });
        let unknown: Vec<u32> = known.keys().filter_map(|id| u32::try_from(*id).ok()).collect();
        for id in unknown.into_iter().filter(|id| !old.records.contains_key(id)) {
            let names = std::iter::once(format!("recovered-{id}"));
            let mut names = names.chain((2u32..).map(|number| format!("recovered-{id}-{number}")));
            let name = names.find(|name| next.find(name).is_none()).unwrap_or_default();
            let fixed = Fixed {
                device: id.into(),
                size: self.least_size(id)?.into(),
                created: self.stor.system.time().into(),
                uuid: *self.stor.system.uuid().as_bytes(),
                origin: NO_ORIGIN.into(),
                flags: MANUAL.into(),
                ..Fixed::default()
            };
            repaired.recovered.push(name.clone());
            next.records.insert(id, Record { fixed, name, labels: BTreeMap::new() });
        }
        Ok(next)
    }

    /// The size that a device must have had at least: up to its last mapping.
    fn least_size(&self, id: u32) -> Result<u64> {
        let options = Options { frames: FRAMES_MIN, streams: 1, passdown: false };
        let area: Area = self.area(label::Area::Metadata)?;
        let mut engine = Engine::open_read_only(area, options).map_err(failure)?;
        let mut end = 1u64;
        let told = engine.runs(id.into(), VirtualBlock(0), VirtualBlock(u64::MAX), &mut |run| {
            end = end.max(run.begin.0.saturating_add(run.length));
            ControlFlow::Continue(())
        });
        told.map_err(failure)?;
        Ok(end.saturating_mul(self.data_block()).min(i64::MAX as u64 / 4096 * 4096))
    }
}
