// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The devices of a pool, put together: each is there once, and their segments make whole areas.
//!
//! The first member's label says which devices are the pool's. It is written last when a device is added or grows, so that a
//! crash before leaves the pool as it was: a device that the first does not know is none of the pool's yet, and one that says
//! of itself that it has more than the data device's metadata uses has simply grown. Segments are added behind the end of
//! an area and never moved within it.

use super::{Area, Label, Segment};
use crate::pure::text::Uuid;
use core::fmt;

/// Why labels do not make a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// No label at all, or not that of the first member.
    First,
    /// A device of another pool.
    Pool([u8; 16]),
    /// A member is not among the devices.
    Missing([u8; 16]),
    /// Two devices say that they are the same: one is a copy.
    Twice([u8; 16]),
    /// A device is none of the members.
    Stranger([u8; 16]),
    /// A device says that it is another of the members than the first says.
    Index([u8; 16]),
    /// Data blocks of different sizes.
    DataBlockSize([u8; 16]),
    /// Segments leave out a byte of an area, or have it twice.
    Gap(Area, u64),
    /// A whole area is missing.
    Area(Area),
    /// The catalog does not lie in one piece on the first member.
    Catalog,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("the pool's first device is missing: attach it"),
            Self::Pool(device) => write!(f, "device {} belongs to another pool: leave it out", Uuid(device)),
            Self::Missing(device) => write!(f, "device {} of the pool is missing: attach it", Uuid(device)),
            Self::Twice(device) => write!(f, "device {} is there twice: detach the copy", Uuid(device)),
            Self::Stranger(device) => {
                write!(f, "device {} was never wholly added to the pool: add it again, or wipe it", Uuid(device))
            }
            Self::Index(device) => {
                write!(f, "device {} is not the member that the first device says: restore its label", Uuid(device))
            }
            Self::DataBlockSize(device) => {
                write!(f, "device {} has another data block size than the pool: restore its label", Uuid(device))
            }
            Self::Gap(area, at) => {
                write!(f, "the {area} area has byte {at} not exactly once: restore the devices' labels")
            }
            Self::Area(area) => write!(f, "there is no {area} area: restore the devices' labels"),
            Self::Catalog => f.write_str("the catalog is not in one piece on the first device: restore its label"),
        }
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Catalog => "catalog",
            Self::Metadata => "metadata",
            Self::Data => "data",
        })
    }
}

/// The devices of a pool, all of them, in any order.
#[derive(Clone, Copy, Debug)]
pub struct Pool<'a> {
    labels: &'a [&'a Label],
    first: &'a Label,
}

impl<'a> Pool<'a> {
    /// Puts devices together.
    ///
    /// # Errors
    ///
    /// Why they are not a pool: the first thing that is wrong.
    pub fn of(labels: &'a [&'a Label]) -> Result<Self, Misfit> {
        let first = labels.iter().find(|label| label.index.get() == 0).ok_or(Misfit::First)?;
        for (position, label) in labels.iter().enumerate() {
            if label.pool != first.pool {
                return Err(Misfit::Pool(label.device));
            }
            if labels.iter().skip(position + 1).any(|other| other.device == label.device) {
                return Err(Misfit::Twice(label.device));
            }
            match first.members().iter().position(|member| *member == label.device) {
                None => return Err(Misfit::Stranger(label.device)),
                Some(index) if index != label.index.get() as usize => return Err(Misfit::Index(label.device)),
                Some(_) if label.data_block_size != first.data_block_size => {
                    return Err(Misfit::DataBlockSize(label.device));
                }
                Some(_) => {}
            }
        }
        if let Some(missing) = first.members().iter().find(|uuid| !labels.iter().any(|label| label.device == **uuid)) {
            return Err(Misfit::Missing(*missing));
        }
        let pool = Self { labels, first };
        for area in Area::ALL {
            pool.whole(area)?;
        }
        if pool.segments(Area::Catalog).map(|(device, _)| device.index.get()).ne([0]) {
            return Err(Misfit::Catalog);
        }
        Ok(pool)
    }

    /// The first member's label, which speaks for the pool: its name, owner and list of members.
    pub fn first(&self) -> &'a Label {
        self.first
    }

    /// Whether some member has features because of which the pool may only be read.
    pub fn read_only(&self) -> bool {
        self.labels.iter().any(|label| label.read_only())
    }

    /// The segments of an area in their order, each with its device.
    pub fn segments(&self, area: Area) -> impl Iterator<Item = (&'a Label, Segment)> + 'a {
        let labels = self.labels;
        let mut at = 0;
        core::iter::from_fn(move || {
            let found = all(labels, area).find(|(_, segment)| segment.at.get() == at)?;
            // A label that was accepted has no empty segment, and none with such an end.
            at = at.checked_add(found.1.length.get())?;
            Some(found)
        })
    }

    /// Bytes of an area.
    pub fn length(&self, area: Area) -> u64 {
        self.segments(area).map(|(_, segment)| segment.length.get()).sum()
    }

    /// Whether the segments of an area, in their order, are all that there are.
    fn whole(&self, area: Area) -> Result<(), Misfit> {
        let (count, end) = self.segments(area).fold((0, 0), |(count, _), (_, segment)| {
            (count + 1, segment.at.get().saturating_add(segment.length.get()))
        });
        if count == 0 {
            return Err(Misfit::Area(area));
        }
        if count != all(self.labels, area).count() {
            return Err(Misfit::Gap(area, end));
        }
        Ok(())
    }
}

/// All segments of an area, in no order.
fn all<'a>(labels: &'a [&'a Label], area: Area) -> impl Iterator<Item = (&'a Label, Segment)> + 'a {
    labels
        .iter()
        .flat_map(|label| label.segments().iter().map(move |segment| (*label, *segment)))
        .filter(move |(_, segment)| segment.area.get() == area as u32)
}
