// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The tie-break: a small device without data, which votes. It begins with a sentence; behind that are the two copies of the
//! membership record (docs/format.md).

use super::leg::{chosen, page};
use crate::device::{Content, Device};
use crate::pool::area::Area;
use crate::pool::member::failed;
use crate::{Error, Kind, Result, Uuid};
use stor_pure::pure::md::{Page, PAGE_SIZE};
use stor_pure::pure::replica::record::{Identity, Position, Record, Refusal, MAGIC, TIE_BREAK_PLACES};
use stor_pure::pure::replica::set::TIE_BREAK;
use stor_pure::pure::units::SECTOR_SIZE;
use zerocopy::FromBytes;

/// Where the two copies are.
pub(crate) const PLACES: [u64; 2] = [TIE_BREAK_PLACES[0].0 * SECTOR_SIZE, TIE_BREAK_PLACES[1].0 * SECTOR_SIZE];
/// The smallest.
pub(crate) const SIZE_MIN: u64 = 12288;
/// What it begins with.
const SIGNPOST: &[u8] =
    b"This device is the tie-break of a Stor replica. It holds no data, only a vote: see 'storctl replica scan'. \
Zeros over its first 12 KiB make it none; never do that while the replica lacks a leg.\n";

/// A tie-break that was read.
#[derive(Debug)]
pub(crate) struct TieBreak {
    /// Where it is.
    pub(crate) device: Device,
    /// What it says.
    pub(crate) record: Box<Record>,
    /// Where its record is.
    pub(crate) position: Position,
}

impl TieBreak {
    /// The UUID of the array that it is of.
    pub(crate) fn array(&self) -> Uuid {
        Uuid::from_bytes(self.record.array)
    }
}

/// Reads what a device has of a tie-break; `None` if that is nothing.
///
/// # Errors
///
/// The device cannot be read.
pub(crate) fn read(device: Device, content: &dyn Content) -> Result<Option<std::result::Result<TieBreak, Refusal>>> {
    if device.size.0 < SIZE_MIN {
        return Ok(None);
    }
    let read = |at| page(content, at, PAGE_SIZE).map_err(|error| failed(&device, "read", &error));
    let [first, second] = PLACES;
    let pages = [read(first)?, read(second)?];
    Ok(find(&pages).map(|found| found.map(|(record, position)| TieBreak { device, record, position })))
}

type Found = std::result::Result<(Box<Record>, Position), Refusal>;

/// Whose it is it says itself; of two copies the one that is sound is asked.
fn find(pages: &[Page; 2]) -> Option<Found> {
    let mut answer = None;
    for page in pages {
        let Ok((record, _)) = Record::ref_from_prefix(page) else { continue };
        if record.magic != MAGIC {
            continue;
        }
        let whose = Identity { array: record.array, made: record.made.get(), device: record.device };
        let sound = Record::of::<Area>(page, &whose);
        let found = sound.and_then(|_| chosen(pages, &whose)).and_then(|(record, position)| {
            let place = record.place(&record.device);
            if place.is_none_or(|place| place == TIE_BREAK) {
                Ok((record, position))
            } else {
                Err(Refusal::Contents)
            }
        });
        match found {
            Ok(found) => return Some(Ok(found)),
            Err(refusal) => answer = answer.or(Some(Err(refusal))),
        }
    }
    answer
}

/// Makes a device the tie-break of the array that this record is of; `device` is its UUID.
///
/// # Errors
///
/// It cannot be written.
pub(crate) fn write(device: &Device, content: &dyn Content, record: &Record, uuid: [u8; 16]) -> Result<()> {
    write_blank(device, content)?;
    for (at, position) in PLACES.into_iter().zip(super::draft::POSITIONS) {
        let mut page = [0; PAGE_SIZE];
        record.write::<Area>(uuid, position, &mut page).map_err(|why| Error::new(Kind::Failure, why.to_string()))?;
        put(device, content, at, &page)?;
    }
    Ok(())
}

/// Makes a device one without records, which the kernel makes the tie-break.
///
/// # Errors
///
/// It cannot be written.
pub(crate) fn write_blank(device: &Device, content: &dyn Content) -> Result<()> {
    let mut head = [0; PAGE_SIZE];
    head.iter_mut().zip(SIGNPOST).for_each(|(to, from)| *to = *from);
    put(device, content, 0, &head)?;
    PLACES.into_iter().try_for_each(|at| put(device, content, at, &[0; PAGE_SIZE]))
}

fn put(device: &Device, content: &dyn Content, at: u64, page: &Page) -> Result<()> {
    let written = content.write(at, page).and_then(|()| content.flush());
    written.map_err(|error| failed(device, "written", &error))
}

const _: () = assert!(SIGNPOST.len() < PAGE_SIZE);
