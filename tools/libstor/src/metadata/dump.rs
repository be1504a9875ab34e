// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Metadata as XML, as the thin-provisioning-tools write and read it, or as text.
//!
//! Leaves that several devices share are written once, as definitions that the devices refer to. A run of leaves that always
//! stand together is one definition. To find them, each device's tree is walked three times down to its leaves; a leaf is
//! read once.

use super::form::{Form, Row};
use super::{failure, FileStore, Progress};
use crate::error::Context;
use crate::{Error, Kind, Result};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use stor_pure::pure::thin::reader::{Device, Reader};
use stor_pure::pure::thin::value::Mapping;
use stor_pure::pure::units::{MetadataBlock, VirtualBlock};

/// Spreads the numbers of blocks, of which each is met once for each device that has it. Who made them does not want them to meet.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

type Spreading = BuildHasherDefault<Spread>;

/// Blocks kept in memory: more than a device has nodes above its leaves. A leaf is read once.
const FRAMES: usize = 256;

/// Where a leaf stands in the devices' trees.
#[derive(Default)]
struct Place {
    uses: u32,
    before: Option<MetadataBlock>,
    after: Option<MetadataBlock>,
    /// Not always behind the same leaf.
    begins: bool,
    /// Not always before the same leaf.
    ends: bool,
}

struct Dump<'a> {
    reader: Reader<FileStore>,
    out: &'a mut dyn Write,
    form: Form,
    places: HashMap<MetadataBlock, Place, Spreading>,
    defined: HashSet<MetadataBlock, Spreading>,
    row: Option<Row>,
    /// Where a line is put together.
    line: Vec<u8>,
}

/// Writes metadata that nobody changes, or what its metadata snapshot holds.
///
/// # Errors
///
/// It cannot be opened or read, or is damaged; or what comes of it cannot be written.
pub fn dump(path: &Path, held: bool, form: Form, progress: &Progress, out: &mut dyn Write) -> Result<()> {
    let context = || format!("cannot dump {}", path.display());
    let store = FileStore::open(path, false).context(context)?.report(progress);
    let reader = Reader::open(store, FRAMES, held).map_err(failure).context(context)?;
    let (places, defined) = (HashMap::default(), HashSet::default());
    Dump { reader, out, form, places, defined, row: None, line: Vec::new() }.all().context(context)
}

pub(super) fn unwritten(error: std::io::Error) -> Error {
    Error { errno: error.raw_os_error(), ..Error::new(Kind::Failure, format!("cannot write: {error}")) }
}

impl Dump<'_> {
    fn all(&mut self) -> Result<()> {
        let mut devices = Vec::new();
        let collected = self.reader.devices(&mut |device| {
            devices.push(device);
            ControlFlow::Continue(())
        });
        collected.map_err(failure)?;
        for device in &devices {
            self.place(device)?;
        }
        let superblock = *self.reader.superblock();
        self.form.begin(self.out, &superblock).map_err(unwritten)?;
        for device in &devices {
            self.definitions(device)?;
        }
        for device in &devices {
            self.form.device(self.out, device).map_err(unwritten)?;
            for leaf in self.leaves(device)? {
                match self.places.get(&leaf) {
                    Some(place) if place.uses > 1 => {
                        if self.is_head(leaf) {
                            self.end_row()?;
                            self.form.reference(self.out, leaf.0).map_err(unwritten)?;
                        }
                    }
                    _ => self.mappings(leaf)?,
                }
            }
            self.end_row()?;
            self.form.end_device(self.out).map_err(unwritten)?;
        }
        self.form.end(self.out).map_err(unwritten)?;
        self.out.flush().map_err(unwritten)
    }

    fn leaves(&mut self, device: &Device) -> Result<Vec<MetadataBlock>> {
        let mut leaves = Vec::new();
        self.reader.leaves(device.root, &mut |leaf| leaves.push(leaf)).map_err(failure)?;
        Ok(leaves)
    }

    /// Notes where the leaves of a device stand.
    fn place(&mut self, device: &Device) -> Result<()> {
        let leaves = self.leaves(device)?;
        for (index, leaf) in leaves.iter().enumerate() {
            let before = index.checked_sub(1).and_then(|index| leaves.get(index)).copied();
            let after = leaves.get(index + 1).copied();
            let place = self.places.entry(*leaf).or_default();
            if place.uses == 0 {
                (place.before, place.after) = (before, after);
            }
            place.begins |= place.before != before;
            place.ends |= place.after != after;
            place.uses += 1;
        }
        Ok(())
    }

    /// Whether a shared leaf is the first of its run.
    fn is_head(&self, leaf: MetadataBlock) -> bool {
        let Some(place) = self.places.get(&leaf) else { return true };
        let before = place.before.and_then(|before| self.places.get(&before));
        place.begins || before.is_none_or(|before| before.ends || before.uses != place.uses)
    }

    /// Writes the runs of shared leaves that nobody has written yet.
    fn definitions(&mut self, device: &Device) -> Result<()> {
        let mut open = false;
        let mut written = false;
        for leaf in self.leaves(device)? {
            let shared = self.places.get(&leaf).is_some_and(|place| place.uses > 1);
            if open && (!shared || self.is_head(leaf)) {
                self.end_row()?;
                self.form.end_definition(self.out).map_err(unwritten)?;
                open = false;
            }
            if !shared {
                continue;
            }
            if self.is_head(leaf) {
                // The first device that has it writes it.
                written = self.defined.contains(&leaf);
                if !written {
                    self.form.definition(self.out, leaf.0).map_err(unwritten)?;
                    self.defined.insert(leaf);
                    open = true;
                }
            }
            if !written {
                self.mappings(leaf)?;
            }
        }
        if open {
            self.end_row()?;
            self.form.end_definition(self.out).map_err(unwritten)?;
        }
        Ok(())
    }

    fn mappings(&mut self, leaf: MetadataBlock) -> Result<()> {
        let Self { reader, out, form, row, line, .. } = self;
        let mut result = Ok(());
        let told = reader.leaf(leaf, &mut |block: VirtualBlock, mapping: Mapping| match row {
            Some(row)
                if row.begin + row.length == block.0
                    && row.data + row.length == mapping.block.0
                    && row.time == mapping.time =>
            {
                row.length += 1;
            }
            _ => {
                let new = Row { begin: block.0, data: mapping.block.0, length: 1, time: mapping.time };
                if let (Some(old), true) = (row.replace(new), result.is_ok()) {
                    result = form.row(*out, line, &old);
                }
            }
        });
        told.map_err(failure)?;
        result.map_err(unwritten)
    }

    fn end_row(&mut self) -> Result<()> {
        match self.row.take() {
            Some(row) => self.form.row(self.out, &mut self.line, &row).map_err(unwritten),
            None => Ok(()),
        }
    }
}
