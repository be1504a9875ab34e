// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Making a catalog, in memory that the caller has: volumes in the order of their device ids, then the directory.
//!
//! The directory is collected at the end of the memory, because how many records there will be is not known, and moved
//! behind the records in the end.

use super::handshake::Stamp;
use super::record::{check_name, Fault, Fixed, Label, Record, LABELS_MAX, UNNAMED};
use super::{Entry, Header, Refusal, Settings, MAGIC, SLOT_MAX, VERSION, VOLUMES_MAX};
use crate::pure::thin::crc::Crc;
use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// A catalog that is being made.
#[derive(Debug)]
pub struct Writer<'a> {
    /// The slot, as long as the device has it.
    bytes: &'a mut [u8],
    /// Bytes of records.
    records: usize,
    volumes: u32,
    named: u32,
    last: Option<u32>,
}

impl<'a> Writer<'a> {
    /// Begins, in the memory of a slot.
    ///
    /// # Errors
    ///
    /// It has no room for anything.
    pub fn new(slot: &'a mut [u8]) -> Result<Self, Fault> {
        let length = slot.len().min(SLOT_MAX) / 8 * 8;
        let bytes = slot.get_mut(..length).filter(|bytes| bytes.len() >= size_of::<Header>()).ok_or(Fault::Full)?;
        bytes.fill(0);
        Ok(Self { bytes, records: 0, volumes: 0, named: 0, last: None })
    }

    /// Adds a volume. Of `fixed`, what follows from the rest is filled in: lengths, number of labels, rank.
    ///
    /// # Errors
    ///
    /// It cannot be, or there is no room for it; nothing is added. Whether its name is another volume's shows in the end.
    pub fn push(&mut self, fixed: &Fixed, name: &str, labels: &[Label<'_>]) -> Result<(), Fault> {
        let device = fixed.device.get();
        if self.last.is_some_and(|last| last >= device) {
            return Err(Fault::Order);
        }
        fixed.check()?;
        check_name(fixed, name.as_bytes())?;
        let mut length = size_of::<Fixed>() + name.len();
        for (index, label) in labels.iter().enumerate() {
            label.check()?;
            let before = index.checked_sub(1).and_then(|before| labels.get(before));
            if index >= LABELS_MAX || before.is_some_and(|before| before.key >= label.key) {
                return Err(Fault::Label);
            }
            length += 2 + label.key.len() + label.value.len();
        }
        let length = length.next_multiple_of(8);
        let begin = size_of::<Header>() + self.records;
        let entries = (self.named as usize + usize::from(!name.is_empty())) * size_of::<Entry>();
        let room = self.bytes.len().saturating_sub(begin + entries);
        if length > room || self.volumes as usize >= VOLUMES_MAX {
            return Err(Fault::Full);
        }
        let fixed = Fixed {
            length: (length as u32).into(),
            rank: if name.is_empty() { UNNAMED } else { 0 }.into(),
            name: (name.len() as u16).into(),
            labels: (labels.len() as u16).into(),
            ..*fixed
        };
        let into = self.bytes.get_mut(begin..begin + length).ok_or(Fault::Full)?;
        let mut into = put(put(into, fixed.as_bytes()), name.as_bytes());
        for label in labels {
            // Their lengths were looked at.
            into = put(into, &[label.key.len() as u8, label.value.len() as u8]);
            into = put(put(into, label.key.as_bytes()), label.value.as_bytes());
        }
        if !name.is_empty() {
            let end = self.bytes.len() - entries;
            if let Some(place) = self.bytes.get_mut(end..end + size_of::<Entry>()) {
                put(place, &(self.records as u32).to_le_bytes());
            }
            self.named += 1;
        }
        self.records += length;
        self.volumes += 1;
        self.last = Some(device);
        Ok(())
    }

    /// Sorts the names and puts header and checksum to it; how many bytes of the slot are to be written.
    ///
    /// # Errors
    ///
    /// Two volumes have the same name, or the settings cannot be; what is in the memory is no catalog.
    pub fn finish<C: Crc>(
        self,
        stamp: Stamp,
        pool: &[u8; 16],
        slot: u32,
        settings: Settings,
    ) -> Result<usize, Refusal> {
        settings.check()?;
        if slot > 1 {
            return Err(Refusal::Slot(slot));
        }
        let mut header = Header::new_zeroed();
        (header.magic, header.version) = (MAGIC, VERSION.into());
        (header.stamp, header.pool, header.slot, header.settings) = (stamp, *pool, slot.into(), settings);
        (header.volumes, header.named) = (self.volumes.into(), self.named.into());
        header.records = (self.records as u32).into();
        let size = self.named as usize * size_of::<Entry>();
        let behind = self.bytes.len() - size;
        let (_, rest) = self.bytes.split_at_mut(size_of::<Header>());
        let (records, rest) = rest.split_at_mut(self.records);
        let (_, directory) = rest.split_at_mut(rest.len() - size);
        sort(records, <[Entry]>::mut_from_bytes(directory).map_err(|_| Refusal::Length)?)?;
        let begin = size_of::<Header>() + self.records;
        self.bytes.copy_within(behind.., begin);
        let length = begin + size;
        if let Some(left) = self.bytes.get_mut(length.max(behind)..) {
            left.fill(0);
        }
        let _ = header.write_to_prefix(self.bytes); // it has room for that
        let covered = self.bytes.get(offset_of!(Header, version)..length).unwrap_or_default();
        header.checksum = (!C::crc32c(covered)).into();
        let _ = header.write_to_prefix(self.bytes);
        Ok(length)
    }
}

/// Sorts the directory, and tells each record its place in it.
fn sort(records: &mut [u8], directory: &mut [Entry]) -> Result<(), Refusal> {
    let all = &*records;
    let name = |entry: &Entry| {
        let record = all.get(entry.offset.get() as usize..).and_then(Record::split);
        record.map_or(&b""[..], |(record, _)| record.name())
    };
    directory.sort_unstable_by(|one, other| name(one).cmp(name(other)));
    if !directory.is_sorted_by(|one, other| name(one) < name(other)) {
        return Err(Refusal::Directory);
    }
    for (rank, entry) in directory.iter().enumerate() {
        let record = records.get_mut(entry.offset.get() as usize..);
        if let Some((fixed, _)) = record.and_then(|record| Fixed::mut_from_prefix(record).ok()) {
            fixed.rank = (rank as u32).into();
        }
    }
    Ok(())
}

/// Writes to the beginning of what is left; what is left then.
fn put<'a>(into: &'a mut [u8], bytes: &[u8]) -> &'a mut [u8] {
    let (place, rest) = into.split_at_mut(bytes.len().min(into.len()));
    if let Some(bytes) = bytes.get(..place.len()) {
        place.copy_from_slice(bytes);
    }
    rest
}
