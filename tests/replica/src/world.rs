// SPDX-License-Identifier: GPL-2.0

//! The disks of a volume, and what a start finds on them.

use crate::device::{Contents, Device, Place, Write, SECTORS};
use crate::truth::Truth;
use crate::Fault;
use std::collections::HashMap;
use stor_pure::heap::{self, Heap};
use stor_pure::pure::md::bitmap::{Geometry, Header};
use stor_pure::pure::md::create::Array;
use stor_pure::pure::md::layout::{bitmap_room, fresh};
use stor_pure::pure::md::superblock::{feature, Role, Superblock};
use stor_pure::pure::md::{Page, PAGE_SIZE};
use stor_pure::pure::replica::assemble::{self, Bitmap, Consent, Leg, Plan};
use stor_pure::pure::replica::change::Change;
use stor_pure::pure::replica::record::{self, Identity, Position, Record};
use stor_pure::pure::replica::refusal::Refusal;
use stor_pure::pure::replica::set::{Set, PLACES, TIE_BREAK};
use stor_pure::pure::thin::block::Block;
use stor_pure::pure::thin::crc::Crc;
use stor_pure::pure::thin::store::{Memory, NoMemory};
use stor_pure::pure::units::Sectors;
use zerocopy::IntoBytes;

/// Sectors of a leg's disk.
pub(crate) const DISK: Sectors = Sectors(1 << 13);
/// Bytes of a chunk: two sectors.
pub(crate) const CHUNK: u32 = 1024;
pub(crate) const ARRAY: [u8; 16] = *b"array of the sim";
pub(crate) const MADE: u64 = 1_790_000_000;

/// Memory, and the processor's instruction.
pub(crate) struct Host;

impl Memory for Host {
    type Array<T> = Heap<T>;
    type Frame = Box<Block>;

    fn frame() -> Result<Self::Frame, NoMemory> {
        Ok(heap::frame())
    }
}

impl Crc for Host {
    fn crc32c(bytes: &[u8]) -> u32 {
        !crc32c::crc32c(bytes)
    }
}

/// Whether this disk is a tie-break. Disks are numbered; those of a new volume as their places are, later ones go on from these.
pub(crate) fn is_tie_break(disk: usize) -> bool {
    disk == TIE_BREAK || disk >= LATER_TIE_BREAKS
}

/// Legs, and tie-breaks, that come later.
pub(crate) const LATER_LEGS: usize = TIE_BREAK + 1;
pub(crate) const LATER_TIE_BREAKS: usize = 60;

pub(crate) fn uuid(place: usize) -> [u8; 16] {
    let mut uuid = *b"leg 00 of a sim.";
    uuid[4] += (place / 10) as u8;
    uuid[5] += (place % 10) as u8;
    uuid
}

pub(crate) fn lineage(number: u32) -> [u8; 16] {
    let mut lineage = *b"    lineage     ";
    // Their first bytes are the tag, which is not to be the same for two.
    lineage[..4].copy_from_slice(&(number + 1).to_le_bytes());
    lineage
}

/// What was read from a disk.
pub(crate) struct Found {
    pub(crate) superblock: Option<Box<Superblock>>,
    pub(crate) record: Result<(Record, Position), record::Refusal>,
    pub(crate) bitmap: Result<Bitmap, stor_pure::pure::md::bitmap::Refusal>,
    pub(crate) bits: Box<Page>,
    pub(crate) header: Option<Header>,
}

/// Reads a disk as a start does.
pub(crate) fn find(contents: &Contents, place: usize) -> Result<Found, Fault> {
    let mut identity = Identity { array: ARRAY, made: MADE, device: uuid(place) };
    let bits = Box::new(*contents.page(Place::Bitmap));
    let mut found = Found {
        superblock: None,
        record: Err(record::Refusal::Magic),
        bitmap: Err(stor_pure::pure::md::bitmap::Refusal::Magic),
        bits,
        header: None,
    };
    if !is_tie_break(place) {
        let superblock = Superblock::of(contents.page(Place::Superblock), DISK)
            .map_err(|refusal| format!("leg {place} cannot be read: {refusal}"))?;
        identity = Identity::of(superblock);
        let size = superblock.size.get();
        let read = Header::of(&found.bits, &superblock.set_uuid, size, bitmap_room(superblock));
        found.header = read.ok().map(|(header, _)| *header);
        found.bitmap = read.and_then(|(header, geometry)| {
            header.counts(superblock.events.get())?;
            let any = stor_pure::pure::md::bitmap::any_set(&geometry, 0, &found.bits);
            Ok(Bitmap { events_cleared: header.events_cleared.get(), chunk: header.chunksize.get(), any })
        });
        found.superblock = Some(Box::new(superblock.clone()));
    }
    let copies = [0, 1].map(|slot| Record::of::<Host>(contents.page(Place::Record(slot)), &identity));
    found.record = record::choose(copies).map(|found| (found.record.clone(), found.position()));
    Ok(found)
}

/// A plan, or why there is none, and what was found on each disk.
pub(crate) type Planned = (Result<Plan, Refusal>, Vec<(usize, Found)>);

/// All disks, and what the users of their volume know.
pub(crate) struct World {
    /// Legs and tie-breaks, with their numbers.
    pub(crate) devices: Vec<(usize, Device)>,
    /// By lineage: what a start that was forced makes is another volume.
    pub(crate) truths: HashMap<[u8; 16], Truth>,
    pub(crate) stamp: u32,
    pub(crate) forced: u32,
    /// Disks that have come later.
    pub(crate) later: usize,
    /// What was done, in words, if anybody wants to know.
    pub(crate) told: Option<Vec<String>>,
}

impl World {
    /// A new volume.
    pub(crate) fn new(legs: usize, tie_break: bool) -> Result<Self, Fault> {
        let array =
            Array { uuid: ARRAY, name: [0; 32], time: MADE, size: SECTORS as u64, legs: legs as u32, block_size: 512 };
        let layout = fresh(DISK).map_err(|error| error.to_string())?;
        let geometry = geometry()?;
        let mut members = [[0; 16]; PLACES];
        let places: Vec<usize> = (0..legs).chain(tie_break.then_some(TIE_BREAK)).collect();
        places.iter().for_each(|place| members[*place] = uuid(*place));
        let mut devices = Vec::new();
        for place in places {
            let mut device = Device::new();
            let mut put = |place, page: Page| device.write(&Write::Page { place, page: Box::new(page) }, true);
            let mut superblock =
                array.leg(place as u32, uuid(place), &layout, false).map_err(|error| error.to_string())?;
            superblock.events = 1.into();
            let record = Record::first(&superblock, members, lineage(0), MADE);
            superblock.set_time(MADE, record.tag());
            let mut page = [0; PAGE_SIZE];
            record
                .write::<Host>(uuid(place), Position { slot: 1, sequence: 1 }, &mut page)
                .map_err(|error| error.to_string())?;
            put(Place::Record(1), page);
            if place != TIE_BREAK {
                superblock.seal().map_err(|error| error.to_string())?;
                put(Place::Superblock, superblock.as_bytes().try_into()?);
                let mut page = [0; PAGE_SIZE];
                Header::new(ARRAY, &geometry, 1, 8).write(&mut page);
                put(Place::Bitmap, page);
            }
            devices.push((place, device));
        }
        let truths = HashMap::from([(lineage(0), Truth::new(&[0; SECTORS]))]);
        Ok(Self { devices, truths, stamp: 0, forced: 0, later: 0, told: None })
    }

    /// A disk that is to be a leg, formatted for it, or a tie-break.
    pub(crate) fn bring(&mut self, tie_break: bool) -> Result<usize, Fault> {
        let number = LATER_LEGS + self.later;
        self.later += 1;
        let mut device = Device::new();
        if tie_break {
            let disk = LATER_TIE_BREAKS + self.later;
            self.devices.push((disk, device));
            return Ok(disk);
        }
        let array = Array { uuid: ARRAY, name: [0; 32], time: MADE, size: SECTORS as u64, legs: 1, block_size: 512 };
        let layout = fresh(DISK).map_err(|error| error.to_string())?;
        let mut leg = array.leg(number as u32, uuid(number), &layout, false).map_err(|error| error.to_string())?;
        leg.feature_map = (feature::BITMAP | feature::RECOVERY | feature::RECOVERY_BITMAP).into();
        leg.role.iter_mut().for_each(|role| *role = Role::Spare.raw().into());
        leg.seal().map_err(|error| error.to_string())?;
        let mut put = |place, page: Page| device.write(&Write::Page { place, page: Box::new(page) }, true);
        let mut page = [0; PAGE_SIZE];
        Header::new(ARRAY, &geometry()?, 0, 8).write(&mut page);
        put(Place::Bitmap, page);
        put(Place::Superblock, leg.as_bytes().try_into()?);
        self.devices.push((number, device));
        Ok(number)
    }

    /// Places of a record whose legs have been taken away for good. That is so only where the side that did not have them was chosen.
    pub(crate) fn lost(&self, record: &Record) -> Set {
        let gone = |place: &usize| self.disk(&record.member[*place]).is_none() && self.forced > 0;
        record.slots().iter().filter(gone).fold(Set::NONE, |set, place| set.with(Set::one(place)))
    }

    /// The disk with this UUID.
    pub(crate) fn disk(&self, device: &[u8; 16]) -> Option<usize> {
        self.devices.iter().map(|(disk, _)| *disk).find(|disk| uuid(*disk) == *device)
    }

    pub(crate) fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(told) = &mut self.told {
            told.push(what());
        }
    }

    pub(crate) fn device(&mut self, place: usize) -> Option<&mut Device> {
        self.devices.iter_mut().find(|(own, _)| *own == place).map(|(_, device)| device)
    }

    /// Finds what is on those that are seen, and plans a start.
    pub(crate) fn plan(&self, seen: &[usize], consent: Consent) -> Result<Planned, Fault> {
        let mut found = Vec::new();
        for (place, device) in self.devices.iter().filter(|(place, _)| seen.contains(place)) {
            found.push((*place, find(device.view(), *place)?));
        }
        let legs: Vec<Leg<'_>> = found.iter().filter_map(|(_, found)| leg_of(found)).collect();
        // Whoever starts gives one tie-break: the one that is to join, or the one that the youngest record has; or an old one.
        let youngest = legs.iter().filter_map(|leg| leg.record.ok()).max_by_key(|record| record.epoch.get());
        let forced = match consent {
            Consent::Force { leg, .. } => legs.get(leg).and_then(|leg| leg.record.ok()),
            _ => None,
        };
        let named = forced.or(youngest).map_or([0; 16], |record| record.member[TIE_BREAK]);
        let wanted = match consent {
            Consent::Change(Change { tie_break: true, joins, .. }) => joins,
            _ => named,
        };
        let tie_breaks = || found.iter().filter(|(disk, _)| is_tie_break(*disk)).map(|(disk, _)| *disk);
        let given = tie_breaks().find(|disk| uuid(*disk) == wanted).or_else(|| tie_breaks().next());
        let record =
            found.iter().find(|(disk, _)| Some(*disk) == given).and_then(|(_, found)| found.record.as_ref().ok());
        let plan = assemble::plan(&legs, record.map(|(record, _)| record), consent);
        found.retain(|(disk, _)| !is_tie_break(*disk) || Some(*disk) == given);
        Ok((plan, found))
    }
}

/// As the planner takes it.
pub(crate) fn leg_of(found: &Found) -> Option<Leg<'_>> {
    let record = found.record.as_ref().map(|(record, _)| record).map_err(|refusal| *refusal);
    Some(Leg { superblock: found.superblock.as_deref()?, record, bitmap: found.bitmap, block_size: 512 })
}

pub(crate) fn geometry() -> Result<Geometry, Fault> {
    Ok(Geometry::new(SECTORS as u64, CHUNK).map_err(|refusal| refusal.to_string())?)
}
