// SPDX-License-Identifier: GPL-2.0

//! The members of a replica, in the order of the lower devices: what is found on them at a start, and where things are written.

use super::super::memory::Kernel;
use super::super::{Config, Lower};
use crate::abi::errno;
use crate::block::io::Device;
use crate::pure::md::bitmap::{self, Geometry, Header};
use crate::pure::md::layout::{bitmap_room, record_places};
use crate::pure::md::superblock::{feature, Superblock, AT};
use crate::pure::md::{Page, PAGE_SECTORS};
use crate::pure::replica::assemble::{Bitmap, Leg};
use crate::pure::replica::record::{self, Identity, Position, Record};
use crate::pure::thin::store::Memory;
use crate::pure::units::Sectors;
use kernel::prelude::*;
use zerocopy::FromBytes;

/// A page of memory.
pub(super) type Frame = <Kernel as Memory>::Frame;

pub(super) fn frame() -> Result<Frame> {
    Kernel::frame().map_err(|_| ENOMEM)
}

/// A member: a leg, or the tie-break.
pub(super) struct Member {
    pub(super) device: Device,
    /// Bytes of its blocks.
    pub(super) block: u32,
    /// A leg's superblock, as it was read or written last; not of a tie-break.
    pub(super) superblock: Option<Frame>,
    /// Where the data and the bitmap begin.
    pub(super) data: u64,
    pub(super) bitmap: u64,
    /// Where the copies of the record are, and which is the youngest.
    records: [u64; 2],
    pub(super) position: Position,
    /// md has noted blocks on it that do not have what others have: it is not read.
    pub(super) bad: bool,
}

impl Member {
    /// Where its next record is written.
    pub(super) fn next(&self) -> (Position, Option<u64>) {
        let next = self.position.next();
        (next, self.records.get(next.slot).copied())
    }
}

/// What was found on a member.
pub(super) struct Found {
    /// Which lower device it is.
    pub(super) lower: usize,
    pub(super) superblock: Option<Frame>,
    data: u64,
    bitmap_at: u64,
    records_at: [u64; 2],
    records: [Frame; 2],
    chosen: core::result::Result<Position, record::Refusal>,
    bitmap: core::result::Result<Bitmap, bitmap::Refusal>,
    pub(super) header: Option<Header>,
    block: u32,
    device: Device,
}

impl Found {
    /// Its record.
    pub(super) fn record(&self) -> core::result::Result<&Record, record::Refusal> {
        let position = self.chosen?;
        let page = self.records.get(position.slot).ok_or(record::Refusal::Magic)?;
        Record::ref_from_prefix(&page[..]).map(|(record, _)| record).map_err(|_| record::Refusal::Magic)
    }

    pub(super) fn superblock(&self) -> Option<&Superblock> {
        Superblock::ref_from_bytes(&self.superblock.as_ref()?[..]).ok()
    }

    /// For the planner.
    pub(super) fn leg(&self) -> Option<Leg<'_>> {
        let superblock = self.superblock()?;
        Some(Leg { superblock, record: self.record(), bitmap: self.bitmap, block_size: self.block })
    }

    /// Its bitmap, if it counts.
    pub(super) fn sound(&self) -> Option<&Header> {
        self.header.as_ref().filter(|_| self.bitmap.is_ok())
    }

    /// Reads a page of its bitmap.
    pub(super) fn read_bitmap(&self, number: usize, into: &mut Page) -> Result {
        self.device.read(page_at(self.bitmap_at, number), into)
    }

    /// The member that it becomes.
    pub(super) fn into_member(self) -> Member {
        let bad = self.superblock().is_some_and(|leg| leg.has(feature::BAD_BLOCKS));
        Member {
            bad,
            device: self.device,
            block: self.block,
            superblock: self.superblock,
            data: self.data,
            bitmap: self.bitmap_at,
            records: self.records_at,
            position: self.chosen.unwrap_or(Position::NONE),
        }
    }
}

/// Where a page of a bitmap is.
pub(super) fn page_at(bitmap: u64, number: usize) -> u64 {
    bitmap.saturating_add((number as u64).saturating_mul(PAGE_SECTORS))
}

/// Reads a leg. `None`: it cannot be read; it is as if it were not there.
///
/// # Errors
///
/// EILSEQ it is none, EUCLEAN it is damaged, EPROTO it has what is not known; ENOMEM.
pub(super) fn read_leg(lower: usize, on: &Lower) -> Result<Option<Found>> {
    let mut page = frame()?;
    if on.device.read(AT.0, &mut page[..]).is_err() {
        return Ok(None);
    }
    let leg = Superblock::of(&page, Sectors(on.size / 512)).map_err(|refusal| errno_of(&refusal))?;
    let Some(data) = leg.data() else { return Err(errno::EUCLEAN.into()) };
    let mut header_page = frame()?;
    let (mut header, mut bitmap) = (None, Err(bitmap::Refusal::Magic));
    let bitmap_at = leg.bitmap().unwrap_or(0);
    if bitmap_at != 0 && on.device.read(bitmap_at, &mut header_page[..]).is_ok() {
        let found = Header::of(&header_page, &leg.set_uuid, leg.size.get(), bitmap_room(leg));
        bitmap = found.map(|(found, geometry)| (*found, geometry)).and_then(|(found, geometry)| {
            header = Some(found);
            found.counts(leg.events.get())?;
            let any = any(on.device, bitmap_at, &geometry, &mut header_page)?;
            Ok(Bitmap { events_cleared: found.events_cleared.get(), chunk: geometry.chunk_bytes(), any })
        });
    }
    let geometry = header.and_then(|header| Geometry::new(leg.size.get(), header.chunksize.get()).ok());
    let places = record_places(leg, geometry.as_ref()).map_err(|_| Error::from(errno::EPROTO))?;
    let identity = Identity::of(leg);
    let data = data.start;
    let found = read_records(on, places.map(|place| place.0), &identity)?;
    Ok(found.map(|(records, chosen)| Found {
        lower,
        superblock: Some(page),
        data,
        bitmap_at,
        records_at: places.map(|place| place.0),
        records,
        chosen,
        bitmap,
        header,
        block: on.logical_block,
        device: on.device,
    }))
}

/// Reads a tie-break, whose UUID the legs know.
pub(super) fn read_tie_break(lower: usize, on: &Lower, identity: &Identity) -> Result<Option<Found>> {
    let places = record::TIE_BREAK_PLACES.map(|place| place.0);
    let found = read_records(on, places, identity)?;
    Ok(found.map(|(records, chosen)| Found {
        lower,
        superblock: None,
        data: 0,
        bitmap_at: 0,
        records_at: places,
        records,
        chosen,
        bitmap: Err(bitmap::Refusal::Magic),
        header: None,
        block: on.logical_block,
        device: on.device,
    }))
}

type Records = ([Frame; 2], core::result::Result<Position, record::Refusal>);

fn read_records(on: &Lower, places: [u64; 2], identity: &Identity) -> Result<Option<Records>> {
    let mut pages = [frame()?, frame()?];
    for (page, place) in pages.iter_mut().zip(places) {
        if on.device.read(place, &mut page[..]).is_err() {
            return Ok(None);
        }
    }
    let [first, second] = &pages;
    let copies = [first, second].map(|page| Record::of::<Kernel>(page, identity));
    let chosen = record::choose(copies).map(|found| found.position());
    Ok(Some((pages, chosen)))
}

/// Whether any bit is set.
fn any(device: Device, at: u64, geometry: &Geometry, page: &mut Frame) -> core::result::Result<bool, bitmap::Refusal> {
    for number in 0..geometry.pages() {
        device.read(page_at(at, number), &mut page[..]).map_err(|_| bitmap::Refusal::Stale)?;
        if bitmap::any_set(geometry, number, page) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn errno_of(refusal: &crate::pure::md::superblock::Refusal) -> Error {
    use crate::pure::md::superblock::Refusal;
    match refusal {
        Refusal::Magic => errno::EILSEQ,
        Refusal::Checksum => errno::EUCLEAN,
        Refusal::Truncated { .. } => errno::ENOSPC,
        _ => errno::EPROTO,
    }
    .into()
}

/// How the array is divided, from what the leg with the highest events counter says.
///
/// # Errors
///
/// EILSEQ no device is a leg, EPROTO no leg has a bitmap; what reading a leg gives.
pub(super) fn geometry(config: &Config<'_>, legs: usize) -> Result<Geometry> {
    let mut best: Option<(u64, Geometry)> = None;
    let mut any = false;
    for (lower, on) in config.lowers.iter().enumerate().take(legs) {
        let Some(found) = read_leg(lower, on)? else { continue };
        let Some(leg) = found.superblock() else { continue };
        any = true;
        let of = |header: &Header| Geometry::new(leg.size.get(), header.chunksize.get()).ok();
        let events = leg.events.get();
        if let Some(geometry) = found.header.as_ref().and_then(of) {
            if best.is_none_or(|(other, _)| events > other) {
                best = Some((events, geometry));
            }
        }
    }
    match best {
        Some((_, geometry)) => Ok(geometry),
        None if any => Err(errno::EPROTO.into()),
        None => Err(errno::EILSEQ.into()),
    }
}
