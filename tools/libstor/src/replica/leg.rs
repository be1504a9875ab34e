// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is read of a leg: its superblock, its membership record, and what its bitmap says.

use crate::device::{Content, Device};
use crate::pool::area::Area;
use crate::pool::member::failed;
use crate::{Bytes, Result, Uuid};
use std::io;
use stor_pure::pure::md::bitmap::{self, Geometry, Header};
use stor_pure::pure::md::layout::{bitmap_room, record_places};
use stor_pure::pure::md::superblock::{Refusal, Role, Superblock, AT};
use stor_pure::pure::md::{Page, PAGE_SIZE};
use stor_pure::pure::replica::assemble::{self, Bitmap};
use stor_pure::pure::replica::record::{self, choose, Identity, Position, Record};
use stor_pure::pure::replica::set::TIE_BREAK;
use stor_pure::pure::text;
use stor_pure::pure::units::{Sectors, SECTOR_SIZE};

/// A leg that was read.
#[derive(Debug)]
pub(crate) struct Leg {
    /// Where it is.
    pub(crate) device: Device,
    /// Its superblock.
    pub(crate) superblock: Box<Superblock>,
    /// Its record, and where that is.
    pub(crate) record: std::result::Result<(Box<Record>, Position), record::Refusal>,
    /// What its bitmap says, if that counts.
    pub(crate) bitmap: std::result::Result<Bitmap, bitmap::Refusal>,
    /// The bitmap's header, if there is a bitmap.
    pub(crate) header: Option<(Header, Geometry)>,
}

/// Where a sector begins.
pub(crate) fn at(sector: u64) -> u64 {
    sector.saturating_mul(SECTOR_SIZE)
}

/// Reads a page, or as much of it as is wanted; the rest is zero.
pub(crate) fn page(content: &dyn Content, at: u64, length: usize) -> io::Result<Page> {
    let mut page = [0; PAGE_SIZE];
    content.read(at, page.get_mut(..length).unwrap_or_default())?;
    Ok(page)
}

/// Calls `each` with the pages of a leg's bitmap, until it says that it has seen enough.
pub(crate) fn pages(
    content: &dyn Content,
    superblock: &Superblock,
    geometry: &Geometry,
    mut each: impl FnMut(usize, &Page) -> bool,
) -> io::Result<()> {
    let Some(start) = superblock.bitmap() else { return Ok(()) };
    for number in 0..geometry.pages() {
        let place = at(start).saturating_add((number as u64).saturating_mul(PAGE_SIZE as u64));
        if each(number, &page(content, place, geometry.page_bytes(number, 512))?) {
            return Ok(());
        }
    }
    Ok(())
}

/// Reads what a device has of a leg.
///
/// # Errors
///
/// The device cannot be read. That it is no leg, or none that can be used, is an answer.
pub(crate) fn read(device: Device, content: &dyn Content) -> Result<std::result::Result<Leg, (Device, Refusal)>> {
    if device.size.0 < at(AT.0) + PAGE_SIZE as u64 {
        return Ok(Err((device, Refusal::Magic)));
    }
    let first = page(content, at(AT.0), PAGE_SIZE).map_err(|error| failed(&device, "read", &error))?;
    let superblock = match Superblock::of(&first, Sectors(device.size.0 / SECTOR_SIZE)) {
        Ok(superblock) => Box::new(superblock.clone()),
        Err(refusal) => return Ok(Err((device, refusal))),
    };
    let read = || -> io::Result<_> {
        let (bitmap, header) = read_bitmap(content, &superblock)?;
        let geometry = header.as_ref().map(|(_, geometry)| geometry);
        Ok((bitmap, header, read_record(content, &superblock, geometry)?))
    };
    let (bitmap, header, record) = read().map_err(|error| failed(&device, "read", &error))?;
    Ok(Ok(Leg { device, superblock, record, bitmap, header }))
}

type ReadBitmap = (std::result::Result<Bitmap, bitmap::Refusal>, Option<(Header, Geometry)>);

fn read_bitmap(content: &dyn Content, superblock: &Superblock) -> io::Result<ReadBitmap> {
    let Some(start) = superblock.bitmap() else { return Ok((Err(bitmap::Refusal::Magic), None)) };
    let first = page(content, at(start), PAGE_SIZE)?;
    let room = bitmap_room(superblock);
    let (header, geometry) = match Header::of(&first, &superblock.set_uuid, superblock.size.get(), room) {
        Ok((header, geometry)) => (*header, geometry),
        Err(refusal) => return Ok((Err(refusal), None)),
    };
    if let Err(refusal) = header.counts(superblock.events.get()) {
        return Ok((Err(refusal), Some((header, geometry))));
    }
    let mut any = false;
    pages(content, superblock, &geometry, |number, page| {
        any = bitmap::any_set(&geometry, number, page);
        any
    })?;
    let bitmap = Bitmap { events_cleared: header.events_cleared.get(), chunk: header.chunksize.get(), any };
    Ok((Ok(bitmap), Some((header, geometry))))
}

type ReadRecord = std::result::Result<(Box<Record>, Position), record::Refusal>;

fn read_record(content: &dyn Content, superblock: &Superblock, bitmap: Option<&Geometry>) -> io::Result<ReadRecord> {
    let Ok([first, second]) = record_places(superblock, bitmap) else { return Ok(Err(record::Refusal::Magic)) };
    let pages = [page(content, at(first.0), PAGE_SIZE)?, page(content, at(second.0), PAGE_SIZE)?];
    Ok(chosen(&pages, &Identity::of(superblock)))
}

/// The record of two copies that counts.
pub(crate) fn chosen(pages: &[Page; 2], whose: &Identity) -> ReadRecord {
    let found = choose(pages.each_ref().map(|page| Record::of::<Area>(page, whose)))?;
    Ok((Box::new(found.record.clone()), found.position()))
}

/// The name of an array without its host; its UUID, if the name is none that a volume can have.
pub(crate) fn name(superblock: &Superblock) -> String {
    name_of(&superblock.set_name, &superblock.set_uuid)
}

/// The same of the fields that have them.
pub(crate) fn name_of(set_name: &[u8], set_uuid: &[u8; 16]) -> String {
    let end = set_name.iter().position(|&byte| byte == 0).unwrap_or(set_name.len());
    let full = String::from_utf8_lossy(set_name.get(..end).unwrap_or_default()).into_owned();
    let name = full.split_once(':').map_or(full.as_str(), |(_, name)| name);
    if text::check(name.as_bytes(), set_name.len() + 1).is_ok() {
        name.into()
    } else {
        Uuid::from_bytes(*set_uuid).to_string()
    }
}

impl Leg {
    /// As the planner takes it.
    pub(crate) fn facts(&self) -> assemble::Leg<'_> {
        assemble::Leg {
            superblock: &self.superblock,
            record: self.record.as_ref().map(|(record, _)| &**record).map_err(|refusal| *refusal),
            bitmap: self.bitmap,
            block_size: u32::try_from(self.device.logical_block.0).unwrap_or(u32::MAX),
        }
    }

    /// Why it cannot be used, though its superblock can: one that Stor has made has room for all of it.
    pub(crate) fn misfit(&self) -> Option<(String, &'static str)> {
        let path = self.device.path.display();
        if self.superblock.bitmap().is_none() {
            return Some((format!("{path} has no write-intent bitmap"), "add one: mdadm --grow --bitmap=internal"));
        }
        let geometry = self.header.as_ref().map(|(_, geometry)| geometry);
        let no_room = record_places(&self.superblock, geometry).is_err();
        let help = "copy the data to a replica that Stor has made";
        no_room.then(|| (format!("{path} has no room for the membership record before its data"), help))
    }

    /// The array's UUID.
    pub(crate) fn array(&self) -> Uuid {
        Uuid::from_bytes(self.superblock.set_uuid)
    }

    /// The leg's own UUID.
    pub(crate) fn uuid(&self) -> Uuid {
        Uuid::from_bytes(self.superblock.device_uuid)
    }

    /// The slot that it has: by its record, or else as md sees it.
    pub(crate) fn slot(&self) -> Option<usize> {
        let recorded = self.record.as_ref().ok().and_then(|(record, _)| record.place(&self.superblock.device_uuid));
        recorded.filter(|place| *place < TIE_BREAK).or(match self.superblock.role() {
            Role::Slot(slot) => Some(slot.into()),
            Role::Spare | Role::Faulty => None,
        })
    }

    /// Whether it has all that was acknowledged, as far as it knows; `None` if it has no record that says so.
    pub(crate) fn entitled(&self) -> Option<bool> {
        let (record, _) = self.record.as_ref().ok()?;
        Some(record.place(&self.superblock.device_uuid).is_some_and(|place| record.entitled().has(place)))
    }

    /// Bytes of the array.
    pub(crate) fn size(&self) -> Bytes {
        Bytes(at(self.superblock.size.get()))
    }
}
