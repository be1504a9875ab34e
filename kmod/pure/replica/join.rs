// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The join record: what is to be behind a leg's metadata, if that is on a device of its own.
//!
//! A volume that becomes a replica without moving its data has them on devices of which not a byte is free. Its first leg is
//! made of two or more parts, one after the other: a device with md's metadata, up to where the data begin, and what the data have
//! been on before. This record, at the very beginning of the first part, tells how to put them together again. It is never changed; it
//! has nothing that md or a membership record has, so it says nothing about who has the data.

use crate::pure::md::{Page, PAGE_SECTORS, PAGE_SIZE};
use crate::pure::thin::crc::Crc;
use core::fmt;
use core::mem::{offset_of, size_of};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, IntoBytes};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first bytes of a record.
pub const MAGIC: [u8; 8] = *b"StorJoin";
/// The version that this code writes, and the only one that it reads.
pub const VERSION: u32 = 1;
/// Parts behind the metadata that there can be.
pub const PARTS_MAX: usize = 24;
/// Bytes of a device's identity, with a zero behind it.
pub const IDENTITY_LEN: usize = 136;

/// A part behind the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Part {
    /// Where it begins on its device, in sectors.
    pub start: U64,
    /// How long it is, in sectors.
    pub length: U64,
    /// Which device: what stays the same when its number and its node change. With zeros behind it.
    pub identity: [u8; IDENTITY_LEN],
}

/// A record: one page.
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Join {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// CRC-32C of all that is behind it, as the library function of that name gives it.
    pub checksum: U32,
    /// [`VERSION`].
    pub version: U32,
    /// The array's UUID.
    pub array: [u8; 16],
    /// The leg's.
    pub leg: [u8; 16],
    /// That of the volume that the parts are joined as.
    pub joined: [u8; 16],
    /// That of the volume that the data had been in, while the module still has it.
    pub below: [u8; 16],
    /// Sectors of the first part: where the data begin.
    pub start: U64,
    /// How many parts are behind it.
    pub parts: U32,
    /// Zero.
    pub reserved: U32,
    /// The array's name, as its superblocks have it.
    pub name: [u8; 32],
    /// The parts; the rest is zero.
    pub part: [Part; PARTS_MAX],
    /// Zero.
    pub rest: [u8; 320],
}

const _: () = assert!(size_of::<Part>() == 152 && size_of::<Join>() == PAGE_SIZE);
const _: () = assert!(offset_of!(Join, start) == 80 && offset_of!(Join, part) == 128);

/// Why a record is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is none.
    Magic,
    /// It is damaged.
    Checksum,
    /// Written by something newer.
    Version(u32),
    /// It says what cannot be.
    Contents,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("there is no join record"),
            Self::Checksum => f.write_str("the join record's checksum does not fit its contents"),
            Self::Version(version) => {
                write!(f, "join record of version {version} is not known, only {VERSION}: use a newer version of Stor")
            }
            Self::Contents => f.write_str("the join record says what cannot be"),
        }
    }
}

impl Part {
    /// A part of a device; `None` if its identity is none that can be kept.
    pub fn new(identity: &str, start: u64, length: u64) -> Option<Self> {
        let mut field = [0; IDENTITY_LEN];
        let sane =
            !identity.is_empty() && identity.len() < IDENTITY_LEN && identity.bytes().all(|c| c.is_ascii_graphic());
        field.iter_mut().zip(identity.bytes()).for_each(|(to, from)| *to = from);
        sane.then_some(Self { start: start.into(), length: length.into(), identity: field })
    }

    /// Which device.
    pub fn identity(&self) -> &str {
        let end = self.identity.iter().position(|&byte| byte == 0).unwrap_or(IDENTITY_LEN);
        core::str::from_utf8(self.identity.get(..end).unwrap_or_default()).unwrap_or_default()
    }

    fn is_sane(&self) -> bool {
        let own = Self::new(self.identity(), self.start.get(), self.length.get());
        own == Some(*self) && self.length.get() != 0 && self.start.get().checked_add(self.length.get()).is_some()
    }
}

impl Join {
    /// A record without parts.
    // Only tools make any. It takes too much stack for the kernel, where this way it is not compiled.
    #[inline]
    pub fn new(array: [u8; 16], leg: [u8; 16], name: [u8; 32], start: u64) -> Self {
        // In its place: two of them are too much for a kernel's stack.
        let mut join = Self::new_zeroed();
        (join.array, join.leg, join.name, join.start) = (array, leg, name, start.into());
        join
    }

    /// Puts a part behind those that are there; whether there is room.
    pub fn push(&mut self, part: Part) -> bool {
        let Some(place) = self.part.get_mut(self.parts.get() as usize) else { return false };
        *place = part;
        self.parts += 1;
        true
    }

    /// The parts behind the metadata, in order.
    pub fn parts(&self) -> &[Part] {
        self.part.get(..self.parts.get() as usize).unwrap_or_default()
    }

    /// Sectors of all of it.
    pub fn sectors(&self) -> u64 {
        self.parts().iter().fold(self.start.get(), |sum, part| sum.saturating_add(part.length.get()))
    }

    /// The record at the beginning of a device.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn of<C: Crc>(page: &Page) -> Result<&Self, Refusal> {
        let record = Self::ref_from_bytes(page).map_err(|_| Refusal::Magic)?;
        if record.magic != MAGIC {
            return Err(Refusal::Magic);
        }
        if record.checksum.get() != sum::<C>(page) {
            return Err(Refusal::Checksum);
        }
        if record.version.get() != VERSION {
            return Err(Refusal::Version(record.version.get()));
        }
        record.check()?;
        Ok(record)
    }

    /// Puts it into a page.
    ///
    /// # Errors
    ///
    /// It says what cannot be; it is not to be written.
    pub fn write<C: Crc>(&self, page: &mut Page) -> Result<(), Refusal> {
        self.check()?;
        let record = Self::mut_from_bytes(page).map_err(|_| Refusal::Contents)?;
        record.clone_from(self);
        (record.magic, record.version) = (MAGIC, VERSION.into());
        let sum = sum::<C>(page);
        page.iter_mut().skip(offset_of!(Self, checksum)).zip(sum.to_le_bytes()).for_each(|(to, from)| *to = from);
        Ok(())
    }

    fn check(&self) -> Result<(), Refusal> {
        let uuids = [self.array, self.leg, self.joined, self.below];
        let blank = self.part.iter().skip(self.parts().len()).all(|part| part.as_bytes().iter().all(|&byte| byte == 0));
        let sane = uuids.iter().all(|uuid| *uuid != [0; 16])
            && self.joined != self.below
            && self.reserved.get() == 0
            && self.rest.iter().all(|&byte| byte == 0)
            && self.start.get() >= PAGE_SECTORS
            && !self.parts().is_empty()
            && self.parts().iter().all(Part::is_sane)
            && self.sectors() < u64::MAX / 512
            && blank;
        if sane {
            Ok(())
        } else {
            Err(Refusal::Contents)
        }
    }
}

fn sum<C: Crc>(page: &Page) -> u32 {
    let behind = offset_of!(Join, checksum).saturating_add(size_of::<U32>());
    !C::crc32c(page.get(behind..).unwrap_or_default())
}
