// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is written on a device that is to become a leg of a replica that there is: to md and to Stor it is a spare without data, until the
//! kernel makes it a leg. And what is erased of one that is a leg no longer.

use super::leg::{at, Leg};
use super::{joint, tie_break};
use crate::device::{Access, Content, Device};
use crate::pool::member::{self, failed};
use crate::size::Iec;
use crate::{Bytes, Error, Kind, Result, Stor, Uuid};
use stor_pure::pure::md::bitmap::{Geometry, Header};
use stor_pure::pure::md::create::Array;
use stor_pure::pure::md::layout::{ahead, fresh, record_places, Layout};
use stor_pure::pure::md::superblock::{feature, Role, Superblock, AT, ROLES};
use stor_pure::pure::md::PAGE_SIZE;
use stor_pure::pure::replica::join::Join;
use stor_pure::pure::units::{Sectors, SECTOR_SIZE};
use zerocopy::IntoBytes;

/// A leg that is to be written.
pub(super) struct Spare {
    superblock: Box<Superblock>,
    layout: Layout,
    geometry: Geometry,
    /// If it is one of several parts.
    join: Option<Box<Join>>,
}

impl Spare {
    /// A leg of the replica that these are legs of.
    ///
    /// # Errors
    ///
    /// The device is too small, or has other blocks; or no number is free.
    pub(super) fn new(legs: &[Leg], device: &Device, uuid: Uuid, mut join: Option<Box<Join>>) -> Result<Self> {
        let unfit = |cause: String| Error::new(Kind::Unfit, cause);
        let newest = legs.iter().filter(|leg| leg.header.is_some()).max_by_key(|leg| leg.superblock.events.get());
        let Some((leg, (_, geometry))) = newest.and_then(|leg| Some((leg, leg.header?))) else {
            return Err(unfit("none of its legs can be read".into()).help("see 'storctl replica scan'"));
        };
        let (path, old) = (device.path.display(), &leg.superblock);
        if device.logical_block != leg.device.logical_block {
            let (own, other) = (Iec(device.logical_block), Iec(leg.device.logical_block));
            return Err(unfit(format!("{path} has blocks of {own}, the replica of {other}"))
                .help("use a device with blocks of the same size"));
        }
        let sectors = device.size.0 / SECTOR_SIZE;
        let layout = match &mut join {
            None => fresh(Sectors(sectors)),
            Some(join) => {
                (join.leg, join.array, join.name) = (uuid.into_bytes(), old.set_uuid, old.set_name);
                let start = join.start.get();
                ahead(Sectors(start), Sectors(sectors.saturating_sub(start)))
            }
        };
        let layout = layout.map_err(|why| unfit(format!("{path}: {why}")))?;
        let room = layout.data.end.saturating_sub(layout.data.start);
        if room < old.size.get() {
            let (has, wants) = (Iec(Bytes(at(room))), Iec(Bytes(at(old.size.get()))));
            return Err(
                unfit(format!("{path} has room for {has}, and the replica has {wants}")).help("use a larger device")
            );
        }
        if layout.bitmap.end.saturating_sub(layout.bitmap.start) < geometry.sectors() {
            return Err(unfit(format!("{path} has no room for the replica's bitmap")).help("use a larger device"));
        }
        let array = Array {
            uuid: old.set_uuid,
            name: old.set_name,
            time: old.ctime.get(),
            size: old.size.get(),
            legs: old.raid_disks.get(),
            block_size: u32::try_from(device.logical_block.0).unwrap_or(u32::MAX),
        };
        let number = free_number(legs).ok_or_else(|| unfit("md has no number left for another leg".into()))?;
        let new = array.leg(number, uuid.into_bytes(), &layout, false);
        let mut superblock = Box::new(new.map_err(|why| unfit(format!("{path}: {why}")))?);
        superblock.ctime = old.ctime;
        superblock.feature_map = (feature::BITMAP | feature::RECOVERY | feature::RECOVERY_BITMAP).into();
        superblock.role.iter_mut().for_each(|role| *role = Role::Spare.raw().into());
        superblock.seal().map_err(|why| Error::new(Kind::Failure, why.to_string()))?;
        Ok(Self { superblock, layout, geometry, join })
    }
}

/// The first number that no leg has or has had.
fn free_number(legs: &[Leg]) -> Option<u32> {
    let used = |number: u32| {
        legs.iter().any(|leg| {
            let superblock = &leg.superblock;
            let known = superblock.max_dev.get() > number;
            let role = superblock.role.get(number as usize).map_or(Role::Spare.raw(), |role| role.get());
            superblock.dev_number.get() == number || known && role != Role::Spare.raw()
        })
    };
    (0..ROLES).find(|number| !used(*number))
}

/// Erases what a pool or another replica has left where it would be taken for theirs.
pub(super) fn clear(device: &Device, content: &dyn Content) -> Result<()> {
    member::clear(device, content, false)?;
    let zeros = content.write(at(AT.0), &[0; PAGE_SIZE]).and_then(|()| content.flush());
    zeros.map_err(|error| failed(device, "written", &error))
}

impl Stor {
    /// Writes a leg that is to join; the superblock last.
    pub(super) fn write_spare(&self, device: &Device, spare: &Spare) -> Result<()> {
        let content = self.system.content(device, Access::Claim)?;
        clear(device, content.as_ref())?;
        let Spare { superblock, layout, geometry, join } = spare;
        let zeros = [0; PAGE_SIZE];
        let places =
            record_places(superblock, Some(geometry)).map_err(|why| Error::new(Kind::Unfit, why.to_string()))?;
        let room = u32::try_from(layout.bitmap.end.saturating_sub(layout.bitmap.start)).unwrap_or(u32::MAX);
        let write = || {
            for number in 0..geometry.pages() {
                let mut page = zeros;
                if number == 0 {
                    Header::new(superblock.set_uuid, geometry, 0, room).write(&mut page);
                }
                content.write(at(layout.bitmap.start).saturating_add((number * PAGE_SIZE) as u64), &page)?;
            }
            content.write(at(layout.bad_blocks.start), &[0xff; PAGE_SIZE])?;
            for place in places {
                content.write(at(place.0), &zeros)?;
            }
            content.flush()?;
            content.write(at(AT.0), superblock.as_bytes())?;
            content.flush()
        };
        write().map_err(|error| failed(device, "written", &error))?;
        join.as_ref().map_or(Ok(()), |join| joint::write(device, content.as_ref(), join))
    }

    /// Makes a device one that is to become the tie-break: empty.
    pub(super) fn write_spare_tie_break(&self, device: &Device) -> Result<()> {
        let content = self.system.content(device, Access::Claim)?;
        clear(device, content.as_ref())?;
        tie_break::write_blank(device, content.as_ref())
    }

    /// Erases what makes a device a leg; its data stay where they are.
    pub(super) fn erase_leg(&self, leg: &Leg) -> Result<()> {
        let geometry = leg.header.as_ref().map(|(_, geometry)| geometry);
        let places = record_places(&leg.superblock, geometry).map_or(Vec::new(), |places| places.to_vec());
        self.erase(&leg.device, [AT].into_iter().chain(places).map(|place| at(place.0)))
    }

    /// Erases the membership record of a leg, which is md's alone then: the older copy first, so that none counts that never did.
    pub(super) fn erase_record(&self, leg: &Leg) -> Result<()> {
        let geometry = leg.header.as_ref().map(|(_, geometry)| geometry);
        let Ok([first, second]) = record_places(&leg.superblock, geometry) else { return Ok(()) };
        let younger = leg.record.as_ref().map_or(0, |(_, position)| position.slot);
        let places = if younger == 0 { [second, first] } else { [first, second] };
        self.erase(&leg.device, places.into_iter().map(|place| at(place.0)))
    }

    /// Writes the superblock of a leg, which has to be sealed.
    pub(super) fn write_superblock(&self, leg: &Leg, superblock: &Superblock) -> Result<()> {
        let content = self.system.content(&leg.device, Access::Claim)?;
        let written = content.write(at(AT.0), superblock.as_bytes()).and_then(|()| content.flush());
        written.map_err(|error| failed(&leg.device, "written", &error))
    }

    /// Erases what makes a device a tie-break.
    pub(super) fn erase_tie_break(&self, device: &Device) -> Result<()> {
        self.erase(device, [0].into_iter().chain(tie_break::PLACES))
    }

    /// Of each page its first sector goes first, so that what is left of one is not taken for something damaged.
    fn erase(&self, device: &Device, mut places: impl Iterator<Item = u64>) -> Result<()> {
        let content = self.system.content(device, Access::Claim)?;
        let erased = places.try_for_each(|place| {
            content.write(place, &[0; SECTOR_SIZE as usize]).and_then(|()| content.flush())?;
            content.write(place, &[0; PAGE_SIZE]).and_then(|()| content.flush())
        });
        erased.map_err(|error| failed(device, "written", &error))
    }
}
