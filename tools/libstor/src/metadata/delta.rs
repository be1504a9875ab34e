// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What differs between two thin devices: in bytes, or as XML as thin_delta writes it.

use super::dump::unwritten;
use super::{failure, FileStore, Progress};
use crate::error::Context;
use crate::size::bytes;
use crate::{Bytes, Result};
use serde::Serialize;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use stor_pure::pure::thin::cache::FRAMES_MIN;
use stor_pure::pure::thin::delta::{Difference, Range};
use stor_pure::pure::thin::reader::Reader;
use stor_pure::pure::thin::store::Store;
use stor_pure::pure::units::SECTOR_SIZE;

/// Which devices of which metadata are compared.
#[derive(Clone, Debug)]
pub struct Delta<'a> {
    /// The metadata.
    pub path: &'a Path,
    /// Take the devices as the metadata snapshot has them.
    pub held: bool,
    /// The device to start from.
    pub from: u64,
    /// The device to end at.
    pub to: u64,
    /// Tell also what does not differ.
    pub same: bool,
}

/// A range of the devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DeltaRange {
    /// `changed`, `added`, `removed` or `same`.
    pub what: &'static str,
    /// Where it begins.
    #[serde(serialize_with = "bytes")]
    pub begin: Bytes,
    /// How long it is.
    #[serde(serialize_with = "bytes")]
    pub length: Bytes,
}

/// All ranges together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DeltaTotal {
    /// Bytes that are mapped in both devices, to different data blocks.
    #[serde(serialize_with = "bytes")]
    pub changed: Bytes,
    /// Bytes that only the second device maps.
    #[serde(serialize_with = "bytes")]
    pub added: Bytes,
    /// Bytes that only the first device maps.
    #[serde(serialize_with = "bytes")]
    pub removed: Bytes,
    /// Bytes that do not differ, if they were asked for.
    pub same: Option<u64>,
    /// How many ranges there were.
    pub ranges: u64,
}

fn word(difference: Difference) -> &'static str {
    match difference {
        Difference::Changed => "changed",
        Difference::Added => "added",
        Difference::Removed => "removed",
        Difference::Same => "same",
    }
}

/// As thin_delta calls it.
fn element(difference: Difference) -> &'static str {
    match difference {
        Difference::Changed => "different",
        Difference::Added => "right_only",
        Difference::Removed => "left_only",
        Difference::Same => "same",
    }
}

/// Tells what differs between two devices, in order, until told to stop.
pub(crate) fn ranges<S: Store>(
    reader: &mut Reader<S>,
    from: u64,
    to: u64,
    same: bool,
    tell: &mut dyn FnMut(DeltaRange) -> ControlFlow<()>,
) -> Result<DeltaTotal> {
    let size = u64::from(reader.superblock().data_block_size.get()) * SECTOR_SIZE;
    let mut sums = [0u64; 4];
    let mut ranges = 0;
    let told = reader.delta(from, to, same, &mut |range: Range| {
        let length = range.length.saturating_mul(size);
        if let Some(sum) = sums.get_mut(range.difference as usize) {
            *sum = sum.saturating_add(length);
        }
        ranges += 1;
        tell(DeltaRange {
            what: word(range.difference),
            begin: Bytes(range.begin.0.saturating_mul(size)),
            length: Bytes(length),
        })
    });
    told.map_err(failure)?;
    let [changed, added, removed, sames] = sums;
    Ok(DeltaTotal {
        changed: Bytes(changed),
        added: Bytes(added),
        removed: Bytes(removed),
        same: same.then_some(sames),
        ranges,
    })
}

impl Delta<'_> {
    fn context(&self) -> String {
        format!("cannot compare devices {} and {} in {}", self.from, self.to, self.path.display())
    }

    fn open(&self, progress: &Progress) -> Result<Reader<FileStore>> {
        let store = FileStore::open(self.path, false)?.report(progress);
        Reader::open(store, FRAMES_MIN, self.held).map_err(failure)
    }

    /// Tells the ranges as they are found, in order, until told to stop.
    ///
    /// # Errors
    ///
    /// The metadata cannot be opened or read, or is damaged; or has no such device.
    pub fn ranges(
        &self,
        progress: &Progress,
        tell: &mut dyn FnMut(DeltaRange) -> ControlFlow<()>,
    ) -> Result<DeltaTotal> {
        let context = || self.context();
        let mut reader = self.open(progress).context(context)?;
        ranges(&mut reader, self.from, self.to, self.same, tell).context(context)
    }

    /// Writes the ranges as thin_delta does, in blocks.
    ///
    /// # Errors
    ///
    /// The metadata cannot be opened or read, or is damaged; or has no such device; or the ranges cannot be written.
    pub fn xml(&self, progress: &Progress, out: &mut dyn Write) -> Result<()> {
        self.write_xml(progress, out).context(|| self.context())
    }

    fn write_xml(&self, progress: &Progress, out: &mut dyn Write) -> Result<()> {
        let mut reader = self.open(progress)?;
        let superblock = *reader.superblock();
        let mut written = writeln!(
            out,
            "<superblock uuid=\"\" time=\"{}\" transaction=\"{}\" data_block_size=\"{}\" nr_data_blocks=\"{}\">\n  <diff left=\"{}\" right=\"{}\">",
            superblock.time.get(),
            superblock.transaction_id.get(),
            superblock.data_block_size.get(),
            superblock.data_space.root.blocks.get(),
            self.from,
            self.to,
        );
        let told = reader.delta(self.from, self.to, self.same, &mut |range: Range| {
            if written.is_ok() {
                let name = element(range.difference);
                written = writeln!(out, "    <{name} begin=\"{}\" length=\"{}\"/>", range.begin.0, range.length);
            }
            if written.is_ok() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        told.map_err(failure)?;
        written.and_then(|()| writeln!(out, "  </diff>\n</superblock>")).and_then(|()| out.flush()).map_err(unwritten)
    }
}
