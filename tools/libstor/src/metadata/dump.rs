// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Metadata as XML, as the thin-provisioning-tools write and read it.
//!
//! Leaves that several devices share are written once, as definitions that the devices refer to. A run of leaves that always
//! stand together is one definition. To find them, each device's tree is walked three times down to its leaves; a leaf is
//! read once.

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

/// Mappings in a row.
struct Row {
    begin: u64,
    data: u64,
    length: u64,
    time: u32,
}

struct Dump<'a> {
    reader: Reader<FileStore>,
    out: &'a mut dyn Write,
    places: HashMap<MetadataBlock, Place, Spreading>,
    defined: HashSet<MetadataBlock, Spreading>,
    row: Option<Row>,
    /// Where a line is put together.
    line: Vec<u8>,
}

/// Writes metadata that nobody changes, or what its metadata snapshot holds, as XML.
///
/// # Errors
///
/// It cannot be opened or read, or is damaged; or it cannot be written.
pub fn dump(path: &Path, held: bool, progress: &Progress, out: &mut dyn Write) -> Result<()> {
    let context = || format!("cannot dump {}", path.display());
    let store = FileStore::open(path, false).context(context)?.report(progress);
    let reader = Reader::open(store, FRAMES, held).map_err(failure).context(context)?;
    let (places, defined) = (HashMap::default(), HashSet::default());
    Dump { reader, out, places, defined, row: None, line: Vec::new() }.all().context(context)
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
        self.line(format_args!(
            "<superblock uuid=\"\" time=\"{}\" transaction=\"{}\" version=\"{}\" data_block_size=\"{}\" nr_data_blocks=\"{}\">",
            superblock.time.get(),
            superblock.transaction_id.get(),
            superblock.version.get(),
            superblock.data_block_size.get(),
            superblock.data_space.root.blocks.get(),
        ))?;
        for device in &devices {
            self.definitions(device)?;
        }
        for device in &devices {
            let details = device.details;
            self.line(format_args!(
                "  <device dev_id=\"{}\" mapped_blocks=\"{}\" transaction=\"{}\" creation_time=\"{}\" snap_time=\"{}\">",
                device.id,
                details.mapped_blocks.get(),
                details.transaction_id.get(),
                details.creation_time.get(),
                details.snapshotted_time.get(),
            ))?;
            for leaf in self.leaves(device)? {
                match self.places.get(&leaf) {
                    Some(place) if place.uses > 1 => {
                        if self.is_head(leaf) {
                            self.end_row()?;
                            self.line(format_args!("    <ref name=\"{}\"/>", leaf.0))?;
                        }
                    }
                    _ => self.mappings(leaf)?,
                }
            }
            self.end_row()?;
            self.line(format_args!("  </device>"))?;
        }
        self.line(format_args!("</superblock>"))?;
        self.out.flush().map_err(unwritten)
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) -> Result<()> {
        writeln!(self.out, "{line}").map_err(unwritten)
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
                self.line(format_args!("  </def>"))?;
                open = false;
            }
            if !shared {
                continue;
            }
            if self.is_head(leaf) {
                // The first device that has it writes it.
                written = self.defined.contains(&leaf);
                if !written {
                    self.line(format_args!("  <def name=\"{}\">", leaf.0))?;
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
            self.line(format_args!("  </def>"))?;
        }
        Ok(())
    }

    fn mappings(&mut self, leaf: MetadataBlock) -> Result<()> {
        let Self { reader, out, row, line, .. } = self;
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
                    result = write_row(*out, line, &old);
                }
            }
        });
        told.map_err(failure)?;
        result.map_err(unwritten)
    }

    fn end_row(&mut self) -> Result<()> {
        match self.row.take() {
            Some(row) => write_row(self.out, &mut self.line, &row).map_err(unwritten),
            None => Ok(()),
        }
    }
}

/// There may be millions of these, for which `writeln!` takes too long.
fn write_row(out: &mut dyn Write, line: &mut Vec<u8>, row: &Row) -> std::io::Result<()> {
    let &Row { begin, data, length, time } = row;
    line.clear();
    if length == 1 {
        put(line, b"    <single_mapping origin_block=\"", begin);
        put(line, b"\" data_block=\"", data);
    } else {
        put(line, b"    <range_mapping origin_begin=\"", begin);
        put(line, b"\" data_begin=\"", data);
        put(line, b"\" length=\"", length);
    }
    put(line, b"\" time=\"", time.into());
    line.extend_from_slice(b"\"/>\n");
    out.write_all(line)
}

/// Puts a text and a number behind it.
fn put(line: &mut Vec<u8>, text: &[u8], mut number: u64) {
    line.extend_from_slice(text);
    let begin = line.len();
    loop {
        line.push(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    if let Some(digits) = line.get_mut(begin..) {
        digits.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::{write_row, Row};

    #[test]
    fn rows() {
        let mut out = Vec::new();
        for row in [
            Row { begin: 0, data: 10, length: 1, time: 0 },
            Row { begin: u64::MAX, data: 1_234_567_890, length: 100, time: 16_777_215 },
        ] {
            assert!(write_row(&mut out, &mut Vec::new(), &row).is_ok());
        }
        assert_eq!(
            String::from_utf8_lossy(&out),
            "    <single_mapping origin_block=\"0\" data_block=\"10\" time=\"0\"/>\n    \
             <range_mapping origin_begin=\"18446744073709551615\" data_begin=\"1234567890\" length=\"100\" \
             time=\"16777215\"/>\n"
        );
    }
}
