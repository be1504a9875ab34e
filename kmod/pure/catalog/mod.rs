// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The catalog of a pool: what dm-thin's metadata does not know of its volumes, above all their names.
//!
//! dm-thin knows devices by number, and neither their sizes nor what to do when the pool is full. That stands here, in two
//! slots of one area of the pool's first device. A slot is a [`Header`], the volumes' [`record`]s in the order of their
//! device ids, and their names' directory, with one checksum over all. [`handshake`] says which slot counts and how
//! catalog and pool change together.
//!
//! [`Catalog`] is a slot that was read: checked as a whole when it is opened, so that what is read from it later needs no
//! further look. [`write`] makes one.

pub mod handshake;
pub mod record;
pub mod write;

use super::thin::crc::Crc;
use super::thin::value::LAST_DEVICE;
use core::fmt;
use core::mem::{offset_of, size_of};
use record::{Record, Volume, UNNAMED};
use zerocopy::little_endian::{U32, U64};
use zerocopy::FromBytes;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first bytes of a slot.
pub const MAGIC: [u8; 8] = *b"StorCtlg";
/// The version that this code writes, and the only one that it reads.
pub const VERSION: u32 = 1;
/// The volumes that a pool can have, snapshots and those that are being deleted included.
pub const VOLUMES_MAX: usize = 65_536;
/// The longest slot of which something is used: room for all volumes, with 900 bytes of names and labels each.
pub const SLOT_MAX: usize = 64 << 20;
/// The shortest slot that is of any use.
pub const SLOT_MIN: usize = 4096;

/// What happens to writes that need a new block when the pool has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Policy {
    /// As the pool says. In the pool's own settings, [`Policy::Queue`].
    Pool = 0,
    /// They wait until there is room, at most for the time-out.
    Queue = 1,
    /// They fail at once.
    Error = 2,
    /// The volume becomes read-only.
    ReadOnly = 3,
}

impl Policy {
    /// By its number on disk.
    pub fn of(number: u32) -> Option<Self> {
        [Self::Pool, Self::Queue, Self::Error, Self::ReadOnly].into_iter().find(|policy| *policy as u32 == number)
    }
}

/// The pool's own settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Settings {
    /// For volumes that have none of their own: a [`Policy`].
    pub policy: U32,
    /// Seconds that writes wait for room; 0 for as long as it takes.
    pub timeout: U32,
    /// Free data blocks below which the pool raises an event.
    pub low_water: U64,
    /// Data blocks that the pool gives to no volume without a reservation.
    pub reserve: U64,
    /// [`NO_PASSDOWN`], [`NO_ZERO`].
    pub flags: U32,
    /// Where the search for a free device id begins.
    pub next_device: U32,
    /// Milliseconds between commits that nobody asks for, at most [`INTERVAL_MAX`]; 0 for a second.
    pub commit_interval: U32,
}

/// An hour: the longest that what nobody flushes may stay in memory alone.
pub const INTERVAL_MAX: u32 = 3_600_000;

/// In [`Settings::flags`]: what is discarded is given back to the pool, and not discarded on its devices.
pub const NO_PASSDOWN: u32 = 1;

/// In [`Settings::flags`]: sectors of a new block that were not written hold what was there before, which may be another volume's.
pub const NO_ZERO: u32 = 2;

/// What a slot begins with.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// CRC-32C of what is behind it, up to the directory's end, as the library function of that name gives it.
    pub checksum: U32,
    /// [`VERSION`].
    pub version: U32,
    /// Which slot, and when.
    pub stamp: handshake::Stamp,
    /// The pool's UUID.
    pub pool: [u8; 16],
    /// 0 or 1.
    pub slot: U32,
    /// How many records there are.
    pub volumes: U32,
    /// How many of them have a name.
    pub named: U32,
    /// Bytes of the records; the directory is behind them.
    pub records: U32,
    /// Features that whoever does not know them may ignore.
    pub compat: U32,
    /// Features that whoever does not know them must not write.
    pub compat_ro: U32,
    /// Features that whoever does not know them must not open.
    pub incompat: U32,
    /// Zero.
    pub reserved: U32,
    /// The pool's settings.
    pub settings: Settings,
    /// Zero.
    pub rest: [u8; 12],
}

const _: () = assert!(size_of::<Header>() == 128 && offset_of!(Header, stamp) == 16);
const _: () = assert!(offset_of!(Header, slot) == 48 && offset_of!(Header, settings) == 80);

/// An entry of the directory, which is in the order of the names.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Entry {
    /// Where the record is, from the first one on.
    pub offset: U32,
}

const _: () = assert!(size_of::<Entry>() == 4);

/// Why a slot is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing was ever written there.
    Magic,
    /// It is damaged, or was being written when the machine stopped.
    Checksum,
    /// Written by something newer.
    Version(u32),
    /// Features that have to be known.
    Features(u32),
    /// It is another pool's.
    Pool([u8; 16]),
    /// It belongs into the other slot.
    Slot(u32),
    /// Longer than the slot, or more volumes than there can be.
    Length,
    /// The pool's settings are none that can be.
    Settings,
    /// A record says what cannot be: the device id, if it is known, and what.
    Record(u32, record::Fault),
    /// Names are missing from the directory, or two volumes have the same.
    Directory,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("there is no catalog"),
            Self::Checksum => f.write_str("the catalog's checksum does not fit its contents"),
            Self::Version(version) => {
                write!(f, "catalog version {version} is not known, only {VERSION}: use a newer version of Stor")
            }
            Self::Features(flags) => {
                write!(f, "the catalog has unknown features {flags:#x}: use a newer version of Stor")
            }
            Self::Pool(pool) => write!(f, "the catalog is that of pool {}", super::text::Uuid(pool)),
            Self::Slot(slot) => write!(f, "the catalog was written for slot {slot}"),
            Self::Length => f.write_str("the catalog says that it is longer than there is room for"),
            Self::Settings => f.write_str("the catalog's settings of the pool cannot be"),
            Self::Record(device, fault) => write!(f, "the catalog's entry for device {device}: {fault}"),
            Self::Directory => f.write_str("the catalog's names are not in order, or one is there twice"),
        }
    }
}

/// A slot that was read, and is sound.
#[derive(Clone, Copy, Debug)]
pub struct Catalog<'a> {
    header: &'a Header,
    records: &'a [u8],
    directory: &'a [Entry],
}

impl<'a> Catalog<'a> {
    /// How long the catalog in a slot is that begins with these bytes, so that no more has to be read; at least
    /// [`SLOT_MIN`]. Nothing has been checked yet.
    pub fn length(bytes: &[u8]) -> usize {
        let length = Header::read_from_prefix(bytes).ok().and_then(|(header, _)| length(&header));
        length.filter(|length| *length <= SLOT_MAX).unwrap_or(0).max(SLOT_MIN)
    }

    /// The catalog in a slot of a pool, of which `bytes` are all, or as much as [`length`](Self::length) said.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn of<C: Crc>(bytes: &'a [u8], pool: &[u8; 16], slot: u32) -> Result<Self, Refusal> {
        let (header, behind) = Header::ref_from_prefix(bytes).map_err(|_| Refusal::Magic)?;
        if header.magic != MAGIC {
            return Err(Refusal::Magic);
        }
        let length = length(header).filter(|length| *length <= SLOT_MAX).ok_or(Refusal::Checksum)?;
        // A checksum covers the lengths, too: what does not fit is damage.
        let covered = bytes.get(offset_of!(Header, version)..length).ok_or(Refusal::Checksum)?;
        if header.checksum.get() != !C::crc32c(covered) {
            return Err(Refusal::Checksum);
        }
        if header.version.get() != VERSION {
            return Err(Refusal::Version(header.version.get()));
        }
        if header.incompat.get() != 0 {
            return Err(Refusal::Features(header.incompat.get()));
        }
        if header.pool != *pool {
            return Err(Refusal::Pool(header.pool));
        }
        if header.slot.get() != slot || slot > 1 {
            return Err(Refusal::Slot(header.slot.get()));
        }
        if header.volumes.get() as usize > VOLUMES_MAX || header.named.get() > header.volumes.get() {
            return Err(Refusal::Length);
        }
        header.settings.check()?;
        let records = behind.get(..header.records.get() as usize).ok_or(Refusal::Length)?;
        let directory = behind.get(header.records.get() as usize..).ok_or(Refusal::Length)?;
        let (directory, _) = <[Entry]>::ref_from_prefix_with_elems(directory, header.named.get() as usize)
            .map_err(|_| Refusal::Length)?;
        let catalog = Self { header, records, directory };
        catalog.check()?;
        Ok(catalog)
    }

    /// Whether records and directory are what the header says: every byte of them belongs to one volume, device ids
    /// and names are there once.
    fn check(&self) -> Result<(), Refusal> {
        let (mut rest, mut offset) = (self.records, 0);
        let (mut volumes, mut named, mut last) = (0, 0, None);
        while !rest.is_empty() {
            let (record, behind) = Record::split(rest).ok_or(Refusal::Length)?;
            let device = record.fixed.device.get();
            record.check().map_err(|fault| Refusal::Record(device, fault))?;
            if last.replace(device).is_some_and(|last| last >= device) {
                return Err(Refusal::Record(device, record::Fault::Order));
            }
            // Each name's place in the directory is its own, because what stands there is its own record.
            if record.fixed.rank.get() != UNNAMED {
                let entry = self.directory.get(record.fixed.rank.get() as usize).ok_or(Refusal::Directory)?;
                if entry.offset.get() != offset {
                    return Err(Refusal::Directory);
                }
                named += 1;
            }
            volumes += 1;
            // Records are shorter than a slot.
            offset += (rest.len() - behind.len()) as u32;
            rest = behind;
        }
        if volumes != self.header.volumes.get() {
            return Err(Refusal::Length);
        }
        let mut names = self.directory.iter().map(|entry| self.at(entry).map(|record| record.name()));
        if named != self.header.named.get() || !names.by_ref().is_sorted_by(|a, b| a < b) {
            return Err(Refusal::Directory);
        }
        Ok(())
    }

    fn at(&self, entry: &Entry) -> Option<Record<'a>> {
        Some(Record::split(self.records.get(entry.offset.get() as usize..)?)?.0)
    }

    /// The header.
    pub fn header(&self) -> &'a Header {
        self.header
    }

    /// Which change of the catalog this is.
    pub fn stamp(&self) -> handshake::Stamp {
        self.header.stamp
    }

    /// Whether it has features because of which it may only be read.
    pub fn read_only(&self) -> bool {
        self.header.compat_ro.get() != 0
    }

    /// The volumes in the order of their device ids, those that are being deleted included.
    pub fn volumes(&self) -> impl Iterator<Item = Volume<'a>> + 'a {
        let mut rest = self.records;
        core::iter::from_fn(move || {
            let (record, behind) = Record::split(rest)?;
            rest = behind;
            Some(record.volume())
        })
    }

    /// The volumes that have a name, in the order of names.
    pub fn by_name(self) -> impl Iterator<Item = Volume<'a>> + 'a {
        self.directory.iter().filter_map(move |entry| self.at(entry).map(|record| record.volume()))
    }

    /// The volume with a name.
    pub fn find(&self, name: &str) -> Option<Volume<'a>> {
        let place = |entry: &Entry| self.at(entry).map(|record| record.name()).cmp(&Some(name.as_bytes()));
        let index = self.directory.binary_search_by(place).ok()?;
        self.directory.get(index).and_then(|entry| self.at(entry)).map(|record| record.volume())
    }

    /// The smallest device id from `from` on, or before if there is none, that no volume has.
    pub fn free_device(&self, from: u32) -> Option<u32> {
        let from = if u64::from(from) > LAST_DEVICE { 0 } else { from };
        let gap = |from: u32| {
            let taken = self.volumes().map(|volume| volume.fixed.device.get()).skip_while(|device| *device < from);
            taken.fold(from, |free, device| if device == free { free.saturating_add(1) } else { free })
        };
        Some(gap(from)).filter(|id| u64::from(*id) <= LAST_DEVICE).or(Some(gap(0)).filter(|id| *id < from))
    }
}

impl Settings {
    /// Whether they can be.
    fn check(&self) -> Result<(), Refusal> {
        let known = Policy::of(self.policy.get()).is_some() && self.flags.get() & !(NO_PASSDOWN | NO_ZERO) == 0;
        let known = known && self.commit_interval.get() <= INTERVAL_MAX;
        if known && u64::from(self.next_device.get()) <= LAST_DEVICE {
            Ok(())
        } else {
            Err(Refusal::Settings)
        }
    }
}

/// Bytes of the catalog with this header.
fn length(header: &Header) -> Option<usize> {
    let directory = (header.named.get() as usize).checked_mul(size_of::<Entry>())?;
    size_of::<Header>().checked_add(header.records.get() as usize)?.checked_add(directory)
}

/// Bytes of a slot that has room for so many volumes with names and labels of so many bytes each.
pub const fn slot_for(volumes: usize, text: usize) -> usize {
    let record = (size_of::<record::Fixed>() + text).div_ceil(8) * 8 + size_of::<Entry>();
    (size_of::<Header>() + volumes * record).div_ceil(UNIT) * UNIT
}

/// Areas are made of such blocks.
const UNIT: usize = super::label::LABEL_SIZE;
