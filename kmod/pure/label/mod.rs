// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The label of a device that belongs to a pool: whose it is, and which part of it is what.
//!
//! A label is 4 KiB and stands twice on its device ([`copies`] says where, and which of two counts). It has the pool's
//! members and, in [`Segment`]s, what lies on this device; [`members`] puts the devices of a pool together. Segments are plain
//! slices: dm-linear over them gives dm-thin the metadata and data devices that it wants.
//!
//! Nothing else on Linux takes a label for its own: the magic comes first, nothing is at the device's head but
//! [`SIGNPOST`], and no slice of a device, wherever it begins, shows dm-thin's magic where dm-thin looks for it.

pub mod copies;
pub mod members;

use super::text::{self, TextError};
use super::thin::crc::Crc;
use super::thin::superblock::{self, is_data_block_size};
use core::fmt;
use core::mem::{offset_of, size_of};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, IntoBytes};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a label; its places, segments and the device's size are multiples of this.
pub const LABEL_SIZE: usize = 4096;
/// The first bytes of a label.
pub const MAGIC: [u8; 8] = *b"StorPool";
/// The version that this code writes, and the only one that it reads.
pub const VERSION: u32 = 1;
/// Bytes of a pool's name with at least one zero at its end.
pub const NAME_LEN: usize = 64;
/// The devices that a pool can have.
pub const MEMBERS_MAX: usize = 64;
/// The segments that a device can have.
pub const SEGMENTS_MAX: usize = 88;
/// In [`Label::role`]: metadata is on this device.
pub const METADATA: u32 = 1;
/// In [`Label::role`]: data is on this device.
pub const DATA: u32 = 2;

/// What a device of a pool begins with, followed by zeros up to the label.
///
/// Were these bytes zero, dm-thin would take the device for one that it is to format, if somebody gave it to dm-thin whole.
pub const SIGNPOST: &[u8] = b"This device belongs to a Stor pool. Its label is at byte 4096.\n";

/// 4 KiB, of a label or of anything else.
pub type Bytes = [u8; LABEL_SIZE];

/// What can lie on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Area {
    /// The pool's catalog: two slots of the same length, one after the other.
    Catalog = 1,
    /// dm-thin metadata.
    Metadata = 2,
    /// Data blocks.
    Data = 3,
}

impl Area {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Catalog, Self::Metadata, Self::Data];

    /// By its number on disk.
    pub fn of(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|area| *area as u32 == number)
    }
}

/// A part of an area that lies in one piece on a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Segment {
    /// Its first byte on the device.
    pub start: U64,
    /// Bytes.
    pub length: U64,
    /// Its first byte in the area.
    pub at: U64,
    /// The number of an [`Area`].
    pub area: U32,
    /// Zero.
    pub reserved: U32,
}

const _: () = assert!(size_of::<Segment>() == 32);

impl Segment {
    /// Behind its last byte on the device.
    pub fn end(&self) -> Option<u64> {
        self.start.get().checked_add(self.length.get())
    }
}

/// A label.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Label {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// CRC-32C of all that is behind it, as the library function of that name gives it.
    pub checksum: U32,
    /// [`VERSION`].
    pub version: U32,
    /// Rises with each change of this label.
    pub generation: U64,
    /// Where this copy is.
    pub location: U64,
    /// Where the other copy is.
    pub other: U64,
    /// Bytes of the device that the pool uses; what is behind them is nobody's.
    pub size: U64,
    /// The pool's UUID.
    pub pool: [u8; 16],
    /// The device's own.
    pub device: [u8; 16],
    /// The machine that has the pool open, by its machine id; zeros if none has. Only the first member's counts.
    pub owner: [u8; 16],
    /// Features that whoever does not know them may ignore.
    pub compat: U32,
    /// Features that whoever does not know them must not write.
    pub compat_ro: U32,
    /// Features that whoever does not know them must not open.
    pub incompat: U32,
    /// [`METADATA`], [`DATA`] or both.
    pub role: U32,
    /// Which of the members this is.
    pub index: U32,
    /// How many members there are.
    pub members: U32,
    /// How many segments there are.
    pub segments: U32,
    /// Sectors of a data block, as in the metadata's superblock.
    pub data_block_size: U32,
    /// The pool's name.
    pub name: [u8; NAME_LEN],
    /// Zero.
    pub reserved: [u8; 64],
    /// The UUIDs of the pool's devices, by index; the rest is zero. Only the first member's list counts.
    pub member: [[u8; 16]; MEMBERS_MAX],
    /// By their start; the rest is zero.
    pub segment: [Segment; SEGMENTS_MAX],
}

const _: () = assert!(size_of::<Label>() == LABEL_SIZE && offset_of!(Label, pool) == 48);
const _: () = assert!(offset_of!(Label, compat) == 96 && offset_of!(Label, name) == 128);
const _: () = assert!(offset_of!(Label, member) == 256 && offset_of!(Label, segment) == 1280);
// Where dm-thin looks for its magic there is a multiple of 4,096, and its magic is none.
const _: () = assert!(offset_of!(Label, other) == offset_of!(superblock::Superblock, magic));
const _: () = assert!(superblock::MAGIC % LABEL_SIZE as u64 != 0);

/// Why a label is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is none.
    Magic,
    /// It is damaged.
    Checksum,
    /// Written by something newer.
    Version(u32),
    /// Features that have to be known.
    Features(u32),
    /// It was copied here from elsewhere; where it belongs.
    Location(u64),
    /// The device is smaller than it was.
    Truncated {
        /// What the label says.
        size: u64,
        /// What there is.
        device: u64,
    },
    /// More members or segments than there can be, or this device is none of the members.
    Members,
    /// The pool's name.
    Name(TextError),
    /// A data block size that dm-thin does not have.
    DataBlockSize(u32),
    /// The role is not what the segments say.
    Role(u32),
    /// A segment that is not in the device, overlaps something, or is of an unknown area; its index.
    Segment(u32),
    /// Both copies are sound, but of different pools, devices or contents.
    Conflict,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("no pool label: this device belongs to no pool; name one that does"),
            Self::Checksum => {
                f.write_str("the pool label's checksum does not fit its contents: restore it from its copy")
            }
            Self::Version(version) => {
                write!(f, "pool label version {version} is not known, only {VERSION}: use a newer version of Stor")
            }
            Self::Features(flags) => write!(f, "the pool has unknown features {flags:#x}: use a newer version of Stor"),
            Self::Location(at) => {
                write!(f, "the pool label was written for byte {at} of a device: give the device from its beginning")
            }
            Self::Truncated { size, device } => {
                write!(f, "the pool uses {size} bytes of the device, which has only {device}: give it back its size")
            }
            Self::Members => {
                f.write_str("the pool label has a list of devices that cannot be: restore it from its copy")
            }
            Self::Name(error) => write!(f, "the pool's name {error}: restore the label from its copy"),
            Self::DataBlockSize(sectors) => {
                write!(
                    f,
                    "the pool label has data blocks of {sectors} sectors, which cannot be: restore it from its copy"
                )
            }
            Self::Role(role) => {
                write!(f, "the pool label has role {role:#x}, which its segments do not have: restore it from its copy")
            }
            Self::Segment(index) => {
                write!(f, "segment {index} of the pool label overlaps or leaves the device: restore it from its copy")
            }
            Self::Conflict => f.write_str("the device has labels of two pools: wipe the one that is not wanted"),
        }
    }
}

impl Label {
    /// The label that was read from byte `at` of a device of `device` bytes. Whether it may be written to tells
    /// [`read_only`](Self::read_only).
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn of<C: Crc>(bytes: &Bytes, at: u64, device: u64) -> Result<&Self, Refusal> {
        let label = Self::ref_from_bytes(bytes).map_err(|_| Refusal::Magic)?;
        if label.magic != MAGIC {
            return Err(Refusal::Magic);
        }
        if label.checksum.get() != sum::<C>(bytes) {
            return Err(Refusal::Checksum);
        }
        if label.version.get() != VERSION {
            return Err(Refusal::Version(label.version.get()));
        }
        if label.incompat.get() != 0 {
            return Err(Refusal::Features(label.incompat.get()));
        }
        if label.location.get() != at {
            return Err(Refusal::Location(label.location.get()));
        }
        label.check()?;
        if label.size.get() > device {
            return Err(Refusal::Truncated { size: label.size.get(), device });
        }
        Ok(label)
    }

    /// Puts the checksum over a label that is to be written to byte `at`, one of the two where it stands.
    ///
    /// # Errors
    ///
    /// It says what cannot be, or stands elsewhere; it is not to be written.
    pub fn stamp<C: Crc>(&mut self, at: u64) -> Result<(), Refusal> {
        if at == self.other.get() {
            (self.location, self.other) = (self.other, self.location);
        }
        if at != self.location.get() {
            return Err(Refusal::Location(self.location.get()));
        }
        self.check()?;
        (self.magic, self.version) = (MAGIC, VERSION.into());
        self.checksum = sum::<C>(self.as_bytes()).into();
        Ok(())
    }

    /// Whether what it describes may be read only, because it has features that are not known.
    pub fn read_only(&self) -> bool {
        self.compat_ro.get() != 0
    }

    /// The pool's name.
    ///
    /// # Errors
    ///
    /// What is wrong with it; nothing is, in a label that was accepted.
    pub fn name(&self) -> Result<&str, TextError> {
        text::from_field(&self.name)
    }

    /// The UUIDs of the pool's devices.
    pub fn members(&self) -> &[[u8; 16]] {
        self.member.get(..self.members.get() as usize).unwrap_or_default()
    }

    /// What lies on this device.
    pub fn segments(&self) -> &[Segment] {
        self.segment.get(..self.segments.get() as usize).unwrap_or_default()
    }

    /// Whether it describes what can be.
    fn check(&self) -> Result<(), Refusal> {
        self.name().map_err(Refusal::Name)?;
        if !is_data_block_size(self.data_block_size.get()) {
            return Err(Refusal::DataBlockSize(self.data_block_size.get()));
        }
        let (count, index) = (self.members.get() as usize, self.index.get() as usize);
        if count > MEMBERS_MAX || self.members().get(index) != Some(&self.device) {
            return Err(Refusal::Members);
        }
        if self.segments.get() as usize > SEGMENTS_MAX {
            return Err(Refusal::Segment(self.segments.get()));
        }
        let places = [self.location.get(), self.other.get()];
        let (mut role, mut end) = (0, LABEL_SIZE as u64);
        for (index, segment) in self.segments().iter().enumerate() {
            let refusal = Refusal::Segment(index as u32);
            let (start, behind) = (segment.start.get(), segment.end().ok_or(refusal)?);
            let whole = [start, segment.length.get(), segment.at.get()].iter().all(|n| n % LABEL_SIZE as u64 == 0);
            let clear = |at: &u64| *at >= behind || at.saturating_add(LABEL_SIZE as u64) <= start;
            if !whole || start < end || behind == start || behind > self.size.get() || !places.iter().all(clear) {
                return Err(refusal);
            }
            segment.at.get().checked_add(segment.length.get()).ok_or(refusal)?;
            end = behind;
            role |= match Area::of(segment.area.get()).ok_or(refusal)? {
                Area::Catalog => 0,
                Area::Metadata => METADATA,
                Area::Data => DATA,
            };
        }
        if role != self.role.get() || role == 0 {
            return Err(Refusal::Role(self.role.get()));
        }
        copies::check(self)
    }
}

/// The checksum of a label with these bytes.
fn sum<C: Crc>(bytes: &[u8]) -> u32 {
    !C::crc32c(bytes.get(offset_of!(Label, version)..).unwrap_or_default())
}
