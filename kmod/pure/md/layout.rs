// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Where things lie on a leg.
//!
//! A new leg is laid out as mdadm does it: superblock, bitmap, bad-block log, a gap that md leaves alone, data from a whole MiB
//! on. The gap's last sixteen sectors have the two copies of the membership record (docs/format.md). A leg that mdadm has
//! made has such a gap, too, if nothing reaches into it.

use super::bitmap::{Geometry, Refusal as BitmapRefusal};
use super::superblock::{Extent, Superblock, AT};
use super::PAGE_SECTORS;
use crate::pure::units::Sectors;
use core::fmt;

const MIB: u64 = 2048;
/// mdadm puts nothing behind this sector that a superblock does not name: the last is a bad-block log that it adds later.
const RESERVED: u64 = AT.0 + 80 + PAGE_SECTORS;
/// Sectors before the data that belong to the membership record: its two copies, and as much before them.
pub const RECORD_ROOM: u64 = 32;
/// The smallest leg: a MiB for what is before the data, a MiB of data.
pub const LEG_MIN: Sectors = Sectors(2 * MIB);

/// Where things are to be on a new leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The bitmap.
    pub bitmap: Extent,
    /// The bad-block log.
    pub bad_blocks: Extent,
    /// All that the array can use.
    pub data: Extent,
}

/// Why a leg has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// The device is too small; how many sectors it has.
    Device(u64),
    /// The device is too small for what is before the data; how many sectors it has.
    Ahead(u64),
    /// Something lies where the membership record would have to be.
    Gap,
    /// The bitmap.
    Bitmap(BitmapRefusal),
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(sectors) => {
                write!(f, "a leg of {sectors} sectors is too small: it has to have at least {}", LEG_MIN.0)
            }
            Self::Ahead(sectors) => {
                write!(f, "a device of {sectors} sectors is too small for the metadata: it has to have at least {MIB}")
            }
            Self::Gap => f.write_str(
                "there is no room for the membership record before the data: copy the data to a leg that Stor has made",
            ),
            Self::Bitmap(refusal) => refusal.fmt(f),
        }
    }
}

/// Lays out a device of so many sectors.
///
/// # Errors
///
/// It is too small.
pub fn fresh(device: Sectors) -> Result<Layout, NoRoom> {
    let no_room = NoRoom::Device(device.0);
    if device < LEG_MIN {
        return Err(no_room);
    }
    let (bitmap, bad_blocks) = tables(device.0).ok_or(no_room)?;
    // Room to move the data by in a reshape, as mdadm leaves it.
    let headroom = (device.0 / 1024).min(128 * MIB);
    let start = bad_blocks.end.saturating_add(headroom).div_ceil(MIB) * MIB;
    let data = Extent { start, end: device.0 };
    if start >= device.0 {
        return Err(no_room);
    }
    Ok(Layout { bitmap, bad_blocks, data })
}

/// Lays out a leg whose data are there already, behind the first of its parts: a device with so many sectors, which has the rest.
///
/// # Errors
///
/// That device is too small.
pub fn ahead(metadata: Sectors, data: Sectors) -> Result<Layout, NoRoom> {
    let no_room = NoRoom::Ahead(metadata.0);
    let start = metadata.0 / MIB * MIB;
    let end = start.checked_add(data.0).ok_or(no_room)?;
    let (bitmap, bad_blocks) = tables(end).ok_or(no_room)?;
    if bad_blocks.end.saturating_add(RECORD_ROOM) > start {
        return Err(no_room);
    }
    Ok(Layout { bitmap, bad_blocks, data: Extent { start, end } })
}

/// Bitmap and bad-block log of a leg of so many sectors.
fn tables(leg: u64) -> Option<(Extent, Extent)> {
    const GIB: u64 = 1024 * MIB;
    let space = match leg {
        sectors if sectors >= 200 * GIB => 256,
        sectors if sectors > 8 * GIB => 128,
        _ => PAGE_SECTORS,
    };
    let bitmap = Extent::new(AT.0 + PAGE_SECTORS, space)?;
    Some((bitmap, Extent::new(bitmap.end, PAGE_SECTORS)?))
}

/// The sectors of a leg that its bitmap can have: up to what comes next.
pub fn bitmap_room(leg: &Superblock) -> u64 {
    let Some(at) = leg.bitmap() else { return 0 };
    let data = leg.data().map(|data| data.start);
    let log = leg.bad_block_log().map(|log| log.start);
    let next = [data, log].into_iter().flatten().filter(|&next| next > at).min();
    // Behind the data it may be as long as it likes; the device's end is found by reading.
    next.map_or(u64::MAX, |next| next - at)
}

/// Where the two copies of the membership record are.
///
/// # Errors
///
/// Something else is there.
pub fn record_places(leg: &Superblock, bitmap: Option<&Geometry>) -> Result<[Sectors; 2], NoRoom> {
    let start = leg.data_offset.get();
    let gap = start.checked_sub(RECORD_ROOM).filter(|&gap| gap >= RESERVED).ok_or(NoRoom::Gap)?;
    let ours = Extent { start: gap, end: start };
    let sectors = bitmap.map_or(PAGE_SECTORS, Geometry::sectors);
    let bitmap = leg.bitmap().and_then(|at| Extent::new(at, sectors));
    if [bitmap, leg.bad_block_log()].into_iter().flatten().any(|other| other.overlaps(&ours)) {
        return Err(NoRoom::Gap);
    }
    Ok([Sectors(start - 2 * PAGE_SECTORS), Sectors(start - PAGE_SECTORS)])
}
