// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is written on the members of a new replica, and the writing.

use super::create::{NewReplica, NAME_MAX};
use super::leg::at;
use super::{spare, tie_break};
use crate::device::{Access, Content, Device};
use crate::linear::exact;
use crate::pool::area::Area;
use crate::pool::member::failed;
use crate::size::Iec;
use crate::{Bytes, Error, Kind, Result, Stor, Uuid};
use std::rc::Rc;
use stor_pure::pure::md::bitmap::{put, Geometry, Header};
use stor_pure::pure::md::create::Array;
use stor_pure::pure::md::layout::{ahead, fresh, record_places, Layout};
use stor_pure::pure::md::superblock::{feature, Superblock, AT};
use stor_pure::pure::md::{Page, PAGE_SECTORS, PAGE_SIZE};
use stor_pure::pure::replica::record::{Position, Record};
use stor_pure::pure::replica::set::{Set, PLACES, TIE_BREAK};
use stor_pure::pure::units::{Sectors, SECTOR_SIZE};
use zerocopy::IntoBytes;

/// The first two copies of a record.
pub(crate) const POSITIONS: [Position; 2] = [Position { slot: 0, sequence: 1 }, Position { slot: 1, sequence: 2 }];
/// What is written.
pub(super) struct Draft {
    pub(super) array: Array,
    geometry: Geometry,
    layouts: Vec<Layout>,
    equal: bool,
}

impl Stor {
    /// What is to be written on these legs, if it can be.
    pub(super) fn draft(&self, new: &NewReplica, uuid: Uuid, legs: &[&Device]) -> Result<Draft> {
        let unfit = |cause| Error::new(Kind::Unfit, cause);
        let block = legs.first().map_or(Bytes(SECTOR_SIZE), |leg| leg.logical_block);
        let mut layouts = Vec::new();
        for leg in legs {
            if leg.logical_block != block {
                let cause = format!(
                    "{} has blocks of {}, the first leg of {}",
                    leg.path.display(),
                    Iec(leg.logical_block),
                    Iec(block)
                );
                return Err(unfit(cause).help("use legs with blocks of the same size"));
            }
            let layout = fresh(Sectors(leg.size.0 / SECTOR_SIZE));
            layouts.push(layout.map_err(|why| unfit(format!("{}: {why}", leg.path.display())))?);
        }
        let least = |length: fn(&Layout) -> u64| layouts.iter().map(length).min().unwrap_or(0);
        let room = least(|layout| layout.data.end.saturating_sub(layout.data.start));
        let room = room - room % PAGE_SECTORS;
        let size = match new.size {
            None => room,
            Some(size) if size.0 == 0 || size.0 % PAGE_SIZE as u64 != 0 => {
                return Err(Error::new(Kind::Usage, "the size has to be a multiple of 4 KiB, and not 0"));
            }
            Some(size) if size.0 > at(room) => {
                let (most, asked) = (exact(Bytes(at(room))), exact(size));
                return Err(unfit(format!("the smallest leg has {most}, asked for is {asked}")));
            }
            Some(size) => size.0 / SECTOR_SIZE,
        };
        let bitmap = least(|layout| layout.bitmap.end.saturating_sub(layout.bitmap.start));
        let geometry = match new.chunk {
            None => Geometry::choose(size, bitmap).map_err(|why| unfit(why.to_string()))?,
            Some(chunk) => {
                let odd = || Error::new(Kind::Usage, "the chunk has to be a power of two, from 512 bytes to 2 GiB");
                let bytes = u32::try_from(chunk.0).map_err(|_| odd())?;
                let geometry = Geometry::new(size, bytes).ok().filter(|geometry| geometry.sectors() <= bitmap);
                if !bytes.is_power_of_two() || bytes < 512 {
                    return Err(odd());
                }
                geometry.ok_or_else(|| {
                    unfit(format!(
                        "with chunks of {} the bitmap does not fit into its {}",
                        Iec(chunk),
                        Iec(Bytes(at(bitmap)))
                    ))
                    .help("use larger chunks")
                })?
            }
        };
        // There are at most 16.
        let array = self.array(&new.name, uuid, size, legs.len() as u32, block);
        Ok(Draft { array, geometry, layouts, equal: new.assume_clean || legs.len() == 1 })
    }

    /// What is to be written before data that are there already, on a device for that.
    pub(super) fn draft_ahead(
        &self,
        name: &str,
        uuid: Uuid,
        metadata: &Device,
        size: Bytes,
        block: Bytes,
    ) -> Result<Draft> {
        let unfit = |why: &dyn std::fmt::Display| {
            Error::new(Kind::Unfit, format!("{}: {why}", metadata.path.display())).help("use a device of 1 MiB or more")
        };
        let size = size.0 / SECTOR_SIZE;
        let layout = ahead(Sectors(metadata.size.0 / SECTOR_SIZE), Sectors(size)).map_err(|why| unfit(&why))?;
        let room = layout.bitmap.end.saturating_sub(layout.bitmap.start);
        let geometry = Geometry::choose(size, room).map_err(|why| unfit(&why))?;
        let array = self.array(name, uuid, size, 1, block);
        Ok(Draft { array, geometry, layouts: vec![layout], equal: true })
    }

    fn array(&self, name: &str, uuid: Uuid, size: u64, legs: u32, block: Bytes) -> Array {
        // Blocks have at most 4 KiB.
        let (time, block_size) = (self.system.time(), block.0 as u32);
        let mut array = Array { uuid: uuid.into_bytes(), name: [0; NAME_MAX], time, size, legs, block_size };
        let full = format!("{}:{name}", self.system.hostname());
        let full = if full.len() < NAME_MAX { full } else { name.into() };
        array.name.iter_mut().zip(full.bytes()).for_each(|(to, from)| *to = from);
        array
    }

    /// Writes it; the members' UUIDs by their places.
    pub(super) fn write_replica(&self, draft: &Draft, devices: &[Device], legs: usize) -> Result<[[u8; 16]; PLACES]> {
        let mut contents: Vec<Rc<dyn Content>> = Vec::new();
        for device in devices {
            contents.push(self.system.content(device, Access::Claim)?);
        }
        for (device, content) in devices.iter().zip(&contents) {
            spare::clear(device, content.as_ref())?;
        }
        let mut members = [[0; 16]; PLACES];
        let places = (0..legs).chain((devices.len() > legs).then_some(TIE_BREAK));
        for place in places {
            if let Some(member) = members.get_mut(place) {
                *member = self.system.uuid().into_bytes();
            }
        }
        // Superblocks have its first bytes, so these are to be the ones of the UUID that always change.
        let mut lineage = self.system.uuid().into_bytes();
        lineage.reverse();
        let mut superblocks = Vec::new();
        for (number, layout) in (0..).zip(&draft.layouts) {
            superblocks.push(draft.superblock(number, layout, &members, lineage)?);
        }
        let Some((first, _)) = superblocks.first() else { return Ok(members) };
        let record = draft.record(first, members, lineage, self.system.machine());
        for ((device, content), (superblock, layout)) in devices.iter().zip(&contents).zip(&superblocks) {
            draft.write_leg(device, content.as_ref(), superblock, layout, &record)?;
        }
        if let (Some(device), Some(content)) = (devices.get(legs), contents.get(legs)) {
            let uuid = members.get(TIE_BREAK).copied().unwrap_or_default();
            tie_break::write(device, content.as_ref(), &record, uuid)?;
        }
        for ((device, content), (superblock, _)) in devices.iter().zip(&contents).zip(&superblocks).rev() {
            let written = content.write(at(AT.0), superblock.as_bytes()).and_then(|()| content.flush());
            written.map_err(|error| failed(device, "written", &error))?;
        }
        Ok(members)
    }
}

impl Draft {
    /// The array's name, as its superblocks have it.
    pub(super) fn name(&self) -> [u8; NAME_MAX] {
        self.array.name
    }

    /// Where the data of its first leg begin, in sectors.
    pub(super) fn start(&self) -> u64 {
        self.layouts.first().map_or(0, |layout| layout.data.start)
    }

    fn superblock(
        &self,
        number: u32,
        layout: &Layout,
        members: &[[u8; 16]; PLACES],
        lineage: [u8; 16],
    ) -> Result<(Box<Superblock>, Layout)> {
        let odd = |why: &dyn std::fmt::Display| Error::new(Kind::Failure, why.to_string());
        let uuid = members.get(number as usize).copied().unwrap_or_default();
        let mut leg = Box::new(self.array.leg(number, uuid, layout, false).map_err(|why| odd(&why))?);
        leg.events = 1.into();
        let record = Record::first(&leg, *members, lineage, self.array.time);
        leg.set_time(self.array.time, record.tag());
        if number > 0 && !self.equal {
            leg.feature_map = (feature::BITMAP | feature::RECOVERY | feature::RECOVERY_BITMAP).into();
        }
        leg.seal().map_err(|why| odd(&why))?;
        Ok((leg, *layout))
    }

    fn record(&self, first: &Superblock, members: [[u8; 16]; PLACES], lineage: [u8; 16], writer: [u8; 16]) -> Record {
        let mut record = Record::first(first, members, lineage, self.array.time);
        record.writer = writer;
        if !self.equal {
            record.entitled = Set::one(0).bits().into();
        }
        record
    }

    /// All of a leg but its superblock.
    fn write_leg(
        &self,
        device: &Device,
        content: &dyn Content,
        superblock: &Superblock,
        layout: &Layout,
        record: &Record,
    ) -> Result<()> {
        let odd = |why: &dyn std::fmt::Display| Error::new(Kind::Failure, why.to_string());
        let put_at = |at: u64, page: &Page| content.write(at, page).map_err(|error| failed(device, "written", &error));
        let room = u32::try_from(layout.bitmap.end.saturating_sub(layout.bitmap.start)).unwrap_or(u32::MAX);
        let header = Header::new(self.array.uuid, &self.geometry, 1, room);
        for number in 0..self.geometry.pages() {
            let mut page = [0; PAGE_SIZE];
            let (begin, end) = self.geometry.chunks_of(number);
            (begin..end).for_each(|chunk| put(&mut page, self.geometry.place(chunk), !self.equal));
            if number == 0 {
                header.write(&mut page);
            }
            put_at(at(layout.bitmap.start).saturating_add((number * PAGE_SIZE) as u64), &page)?;
        }
        put_at(at(layout.bad_blocks.start), &[0xff; PAGE_SIZE])?;
        let places = record_places(superblock, Some(&self.geometry)).map_err(|why| odd(&why))?;
        for (place, position) in places.into_iter().zip(POSITIONS) {
            let mut page = [0; PAGE_SIZE];
            record.write::<Area>(superblock.device_uuid, position, &mut page).map_err(|why| odd(&why))?;
            put_at(at(place.0), &page)?;
        }
        content.flush().map_err(|error| failed(device, "written", &error))
    }
}
