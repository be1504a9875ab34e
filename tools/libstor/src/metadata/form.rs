// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The forms in which metadata is dumped.

use std::io::{Result, Write};
use stor_pure::pure::thin::reader::Device;
use stor_pure::pure::thin::superblock::Superblock;

/// A form in which metadata is dumped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// What [`restore`](super::restore()) and thin_restore read.
    #[default]
    Xml,
    /// For people.
    Text,
}

/// Mappings in a row.
pub(super) struct Row {
    pub(super) begin: u64,
    pub(super) data: u64,
    pub(super) length: u64,
    pub(super) time: u32,
}

impl Form {
    pub(super) fn begin(self, out: &mut dyn Write, superblock: &Superblock) -> Result<()> {
        let (time, transaction) = (superblock.time.get(), superblock.transaction_id.get());
        let (size, blocks) = (superblock.data_block_size.get(), superblock.data_space.root.blocks.get());
        let version = superblock.version.get();
        match self {
            Self::Xml => writeln!(
                out,
                "<superblock uuid=\"\" time=\"{time}\" transaction=\"{transaction}\" version=\"{version}\" \
                 data_block_size=\"{size}\" nr_data_blocks=\"{blocks}\">"
            ),
            Self::Text => {
                writeln!(out, "pool: time {time}, transaction {transaction}, {blocks} data blocks of {} KiB", size / 2)
            }
        }
    }

    pub(super) fn definition(self, out: &mut dyn Write, name: u64) -> Result<()> {
        match self {
            Self::Xml => writeln!(out, "  <def name=\"{name}\">"),
            Self::Text => writeln!(out, "\nshared {name}"),
        }
    }

    pub(super) fn end_definition(self, out: &mut dyn Write) -> Result<()> {
        match self {
            Self::Xml => writeln!(out, "  </def>"),
            Self::Text => Ok(()),
        }
    }

    pub(super) fn device(self, out: &mut dyn Write, device: &Device) -> Result<()> {
        let (id, details) = (device.id, device.details);
        let (mapped, transaction) = (details.mapped_blocks.get(), details.transaction_id.get());
        let (created, snapshotted) = (details.creation_time.get(), details.snapshotted_time.get());
        match self {
            Self::Xml => writeln!(
                out,
                "  <device dev_id=\"{id}\" mapped_blocks=\"{mapped}\" transaction=\"{transaction}\" \
                 creation_time=\"{created}\" snap_time=\"{snapshotted}\">"
            ),
            Self::Text => writeln!(
                out,
                "\ndevice {id}: {mapped} blocks mapped, transaction {transaction}, created at {created}, snapshotted at \
                 {snapshotted}"
            ),
        }
    }

    pub(super) fn end_device(self, out: &mut dyn Write) -> Result<()> {
        match self {
            Self::Xml => writeln!(out, "  </device>"),
            Self::Text => Ok(()),
        }
    }

    pub(super) fn reference(self, out: &mut dyn Write, name: u64) -> Result<()> {
        match self {
            Self::Xml => writeln!(out, "    <ref name=\"{name}\"/>"),
            Self::Text => writeln!(out, "  all of shared {name}"),
        }
    }

    /// `line` is where a line is put together.
    pub(super) fn row(self, out: &mut dyn Write, line: &mut Vec<u8>, row: &Row) -> Result<()> {
        let &Row { begin, data, length, time } = row;
        match self {
            Self::Xml => write_row(out, line, row),
            Self::Text if length == 1 => writeln!(out, "  {begin} -> {data}, time {time}"),
            Self::Text => {
                let (end, data_end) = (begin + (length - 1), data + (length - 1));
                writeln!(out, "  {begin} to {end} -> {data} to {data_end}, time {time}")
            }
        }
    }

    pub(super) fn end(self, out: &mut dyn Write) -> Result<()> {
        match self {
            Self::Xml => writeln!(out, "</superblock>"),
            Self::Text => Ok(()),
        }
    }
}

/// There may be millions of these, for which `writeln!` takes too long.
fn write_row(out: &mut dyn Write, line: &mut Vec<u8>, row: &Row) -> Result<()> {
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
