// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The superblock of a leg, at sector 8: what the array is, which leg this is, and in what state the legs were.
//!
//! A leg has a permanent number, the index of its role. The role is the slot that it fills, or that it is spare or faulty.
//! Every leg has the roles of all; after a failure only those that survive know of it, and the failed one still says that
//! all are well. So one superblock alone never tells who has the data (`replica::assemble` does).

use super::{Page, PAGE_SECTORS, PAGE_SIZE};
use crate::pure::units::Sectors;
use core::fmt;
use core::mem::{offset_of, size_of};
use zerocopy::little_endian::{I32, U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `MD_SB_MAGIC`.
pub const MAGIC: u32 = 0xa92b_4efc;
/// Where the superblock of version 1.2 is.
pub const AT: Sectors = Sectors(8);
/// Entries that the table of roles has at most,
pub const ROLES_MAX: usize = 1920;
/// and how many mdadm writes.
pub const ROLES: u32 = 128;
/// Slots that a replica has at most.
pub const LEGS_MAX: u32 = 16;
/// In [`Superblock::resync_offset`]: all of the array is in sync.
pub const CLEAN: u64 = u64::MAX;
/// The fewest sectors of data that the kernel takes.
pub const DATA_MIN: u64 = 10;

/// Bits of [`Superblock::feature_map`].
pub mod feature {
    /// There is a bitmap.
    pub const BITMAP: u32 = 1;
    /// `recovery_offset` counts: above it the leg is not rebuilt yet.
    pub const RECOVERY: u32 = 1 << 1;
    /// The bad-block log is not empty.
    pub const BAD_BLOCKS: u32 = 1 << 3;
    /// The leg is to take the place of another one in the same slot.
    pub const REPLACEMENT: u32 = 1 << 4;
    /// The leg is rebuilt where the bitmap says.
    pub const RECOVERY_BITMAP: u32 = 1 << 7;
    /// Those that are understood.
    pub const KNOWN: u32 = BITMAP | RECOVERY | BAD_BLOCKS | REPLACEMENT | RECOVERY_BITMAP;
}

/// Bits of [`Superblock::devflags`].
pub mod device {
    /// Reads go to other legs where possible.
    pub const WRITE_MOSTLY: u8 = 1;
}

/// What a leg is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It fills a slot.
    Slot(u16),
    /// It is a spare, or there is none of that number.
    Spare,
    /// It has failed.
    Faulty,
}

impl Role {
    const SPARE: u16 = 0xffff;
    const FAULTY: u16 = 0xfffe;

    /// As the table has it; `None` for a journal and what is reserved.
    pub fn of(raw: u16) -> Option<Self> {
        match raw {
            Self::SPARE => Some(Self::Spare),
            Self::FAULTY => Some(Self::Faulty),
            slot if u32::from(slot) < LEGS_MAX => Some(Self::Slot(slot)),
            _ => None,
        }
    }

    /// As the table has it.
    pub fn raw(self) -> u16 {
        match self {
            Self::Slot(slot) => slot,
            Self::Spare => Self::SPARE,
            Self::Faulty => Self::FAULTY,
        }
    }
}

/// `struct mdp_superblock_1`, `include/uapi/linux/raid/md_p.h`, with all the roles that it can have.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Superblock {
    /// [`MAGIC`].
    pub magic: U32,
    /// 1; that it is 1.2 says its place.
    pub major_version: U32,
    /// Of [`feature`].
    pub feature_map: U32,
    /// Zero.
    pub pad0: U32,
    /// The array's.
    pub set_uuid: [u8; 16],
    /// HOST:NAME, with zeros behind it.
    pub set_name: [u8; 32],
    /// When the array was made: 40 bits of seconds, 24 of microseconds.
    pub ctime: U64,
    /// 1.
    pub level: U32,
    /// 0.
    pub layout: U32,
    /// Sectors of each leg that the array uses.
    pub size: U64,
    /// 0.
    pub chunksize: U32,
    /// Slots.
    pub raid_disks: U32,
    /// Where the bitmap is, in sectors from here.
    pub bitmap_offset: I32,
    /// Of a reshape: zero.
    pub reshape: [u8; 28],
    /// Where the data is, in sectors.
    pub data_offset: U64,
    /// Sectors of this leg that the array could use.
    pub data_size: U64,
    /// [`AT`].
    pub super_offset: U64,
    /// With [`feature::RECOVERY`]: below it the leg is rebuilt.
    pub recovery_offset: U64,
    /// The leg's permanent number.
    pub dev_number: U32,
    /// Read errors that were repaired.
    pub cnt_corrected_read: U32,
    /// The leg's own UUID.
    pub device_uuid: [u8; 16],
    /// Of [`device`].
    pub devflags: u8,
    /// Bad blocks are counted in 2 to the power of so many sectors.
    pub bblog_shift: u8,
    /// Sectors of the bad-block log.
    pub bblog_size: U16,
    /// Where it is, in sectors from here; 0: there is none.
    pub bblog_offset: I32,
    /// When this was written, as `ctime`. The kernel writes no microseconds ([`Superblock::tag`]).
    pub utime: U64,
    /// Rises with each update; md takes it back by one when a dirty array becomes clean.
    pub events: U64,
    /// [`CLEAN`], or below it the array is in sync; md writes 0 as long as there are writes.
    pub resync_offset: U64,
    /// [`checksum`].
    pub sb_csum: U32,
    /// Entries of the table of roles.
    pub max_dev: U32,
    /// Of the array, if it says so; older kernels want a zero.
    pub logical_block_size: U32,
    /// Zero.
    pub pad3: [u8; 28],
    /// Of each leg, by its number.
    pub role: [U16; ROLES_MAX],
}

const _: () = assert!(size_of::<Superblock>() == PAGE_SIZE && offset_of!(Superblock, role) == 256);
const _: () = assert!(offset_of!(Superblock, ctime) == 0x40 && offset_of!(Superblock, bitmap_offset) == 0x60);
const _: () = assert!(offset_of!(Superblock, data_offset) == 0x80 && offset_of!(Superblock, dev_number) == 0xa0);
const _: () = assert!(offset_of!(Superblock, devflags) == 0xb8 && offset_of!(Superblock, utime) == 0xc0);
const _: () = assert!(offset_of!(Superblock, sb_csum) == 0xd8 && offset_of!(Superblock, pad3) == 0xe4);

/// Why a superblock is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is none.
    Magic,
    /// Another version of the format.
    Version(u32),
    /// More roles than there is room for.
    Roles(u32),
    /// It is damaged.
    Checksum,
    /// It was copied here from elsewhere; where it belongs.
    Offset(u64),
    /// Features that are not known here.
    Features(u32),
    /// What must be zero is not.
    Padding,
    /// An array of another level, or with what RAID1 does not have.
    Level(u32),
    /// A reshape was begun.
    Reshape,
    /// Slots of which there cannot be so many.
    Slots(u32),
    /// No entry of the table of roles is this leg's, or one that there cannot be.
    Role(u32),
    /// Two legs in one slot, neither to replace the other.
    SlotTwice(u16),
    /// The data overlaps the superblock, or is larger than the leg, or smaller than the array.
    Data,
    /// The device is smaller than it was.
    Truncated {
        /// Sectors that the superblock says.
        end: u64,
        /// Sectors that there are.
        device: u64,
    },
    /// The bitmap is where there is no room for one.
    BitmapPlace,
    /// The bad-block log is where there is no room for one, or is too large.
    BadBlockPlace,
    /// The logical block size.
    BlockSize(u32),
}

impl Refusal {
    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Magic => "name a leg of a replica or of an md array with metadata 1.2",
            Self::Version(_) => "only metadata 1.2 can be taken over",
            Self::Checksum | Self::Roles(_) | Self::Role(_) | Self::SlotTwice(_) | Self::Data => {
                "leave this leg out, and add it again"
            }
            Self::Offset(_) => "give the device from its beginning",
            Self::Features(_) | Self::Padding | Self::Level(_) => "only plain RAID1 can be used; leave it to md",
            Self::Reshape => "let md finish the reshape first",
            Self::Slots(_) => "only arrays of 1 to 16 legs can be used",
            Self::Truncated { .. } => "give the device back its size",
            Self::BitmapPlace => "let mdadm remove the bitmap and make a new one",
            Self::BadBlockPlace => "let mdadm remove the bad-block log",
            Self::BlockSize(_) => "only block sizes of 512 to 4096 bytes can be used",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("no md 1.2 superblock"),
            Self::Version(version) => write!(f, "md metadata of version {version} is not known, only 1.2"),
            Self::Roles(count) => write!(f, "the superblock has {count} roles, more than {ROLES_MAX}"),
            Self::Checksum => f.write_str("the superblock's checksum does not fit its contents"),
            Self::Offset(at) => write!(f, "the superblock was written for sector {at}, not {}", AT.0),
            Self::Features(bits) => write!(f, "the array has features {bits:#x}, which cannot be used"),
            Self::Padding => f.write_str("the superblock has something where zeros must be"),
            Self::Level(level) => write!(f, "the array is of level {}, or of a kind that RAID1 is not", *level as i32),
            Self::Reshape => f.write_str("the array is being reshaped"),
            Self::Slots(count) => write!(f, "the array has {count} slots"),
            Self::Role(number) => write!(f, "leg {number} has no role that there can be"),
            Self::SlotTwice(slot) => write!(f, "two legs fill slot {slot}"),
            Self::Data => f.write_str("the superblock says that the data is where it cannot be"),
            Self::Truncated { end, device } => {
                write!(f, "the leg has {end} sectors, the device only {device}")
            }
            Self::BitmapPlace => f.write_str("the bitmap is where it cannot be"),
            Self::BadBlockPlace => f.write_str("the bad-block log is where it cannot be"),
            Self::BlockSize(size) => write!(f, "the array has blocks of {size} bytes"),
        }?;
        write!(f, ": {}", self.advice())
    }
}

/// What lies on a leg: sectors from `start` up to before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first.
    pub start: u64,
    /// Behind the last.
    pub end: u64,
}

impl Extent {
    /// So many sectors from there; `None` if there cannot be.
    pub fn new(start: u64, sectors: u64) -> Option<Self> {
        Some(Self { start, end: start.checked_add(sectors)? })
    }

    /// Whether it has a sector in common with another one.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// The sum of a superblock whose table has so many roles: of all its words, the checksum taken as 0, with what is beyond 32 bits
/// added once.
pub fn checksum(bytes: &Page, roles: u32) -> u32 {
    let length = (roles as usize).min(ROLES_MAX) * size_of::<U16>() + offset_of!(Superblock, role);
    let own = offset_of!(Superblock, sb_csum) / 4;
    let covered = bytes.get(..length).unwrap_or_default();
    let mut sum = 0_u64;
    for (index, word) in covered.chunks(4).enumerate() {
        // What is left of half a word is a number of two bytes.
        let number = word.iter().rev().fold(0, |number, &byte| (number << 8) | u64::from(byte));
        sum += if index == own { 0 } else { number };
    }
    (sum as u32).wrapping_add((sum >> 32) as u32)
}

impl Superblock {
    /// The superblock that was read from sector 8 of a device of so many sectors.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, or that cannot be used.
    pub fn of(bytes: &Page, device: Sectors) -> Result<&Self, Refusal> {
        let leg = Self::ref_from_bytes(bytes).map_err(|_| Refusal::Magic)?;
        if leg.magic.get() != MAGIC {
            return Err(Refusal::Magic);
        }
        if leg.major_version.get() != 1 {
            return Err(Refusal::Version(leg.major_version.get()));
        }
        if leg.max_dev.get() as usize > ROLES_MAX {
            return Err(Refusal::Roles(leg.max_dev.get()));
        }
        if leg.sb_csum.get() != checksum(bytes, leg.max_dev.get()) {
            return Err(Refusal::Checksum);
        }
        leg.check()?;
        let end = leg.data().ok_or(Refusal::Data)?.end.max(leg.bad_block_log().map_or(0, |log| log.end));
        if end > device.0 {
            return Err(Refusal::Truncated { end, device: device.0 });
        }
        Ok(leg)
    }

    /// Makes it ready to be written.
    ///
    /// # Errors
    ///
    /// It says what cannot be; it is not to be written.
    pub fn seal(&mut self) -> Result<(), Refusal> {
        (self.magic, self.major_version, self.super_offset) = (MAGIC.into(), 1.into(), AT.0.into());
        self.check()?;
        let bytes = Page::ref_from_bytes(self.as_bytes()).map_err(|_| Refusal::Data)?;
        self.sb_csum = checksum(bytes, self.max_dev.get()).into();
        Ok(())
    }

    /// Whether it has this feature.
    pub fn has(&self, feature: u32) -> bool {
        self.feature_map.get() & feature != 0
    }

    /// The table of roles.
    pub fn roles(&self) -> &[U16] {
        self.role.get(..self.max_dev.get() as usize).unwrap_or_default()
    }

    /// What it says of the leg with this number; no entry is a spare.
    pub fn role_of(&self, number: u32) -> Role {
        self.roles().get(number as usize).and_then(|raw| Role::of(raw.get())).unwrap_or(Role::Spare)
    }

    /// What it says of its own leg.
    pub fn role(&self) -> Role {
        self.role_of(self.dev_number.get())
    }

    /// Whether its leg fills a slot and has all data, as far as it knows.
    pub fn in_sync(&self) -> bool {
        matches!(self.role(), Role::Slot(_)) && !self.has(feature::RECOVERY | feature::REPLACEMENT)
    }

    /// Whether it was written with no write under way.
    pub fn is_clean(&self) -> bool {
        self.resync_offset.get() == CLEAN
    }

    /// The data.
    pub fn data(&self) -> Option<Extent> {
        Extent::new(self.data_offset.get(), self.data_size.get())
    }

    /// Where the bitmap begins, if there is one.
    pub fn bitmap(&self) -> Option<u64> {
        if !self.has(feature::BITMAP) {
            return None;
        }
        AT.0.checked_add_signed(i64::from(self.bitmap_offset.get()))
    }

    /// The bad-block log, if there is room for one.
    pub fn bad_block_log(&self) -> Option<Extent> {
        match self.bblog_offset.get() {
            0 => None,
            offset => Extent::new(AT.0.checked_add_signed(i64::from(offset))?, u64::from(self.bblog_size.get())),
        }
    }

    /// What Stor has put where md has nothing but zeros: md's kernel code writes whole seconds, so the tag is gone as soon
    /// as md has had the leg. mdadm and md read the seconds only.
    pub fn tag(&self) -> u32 {
        (self.utime.get() >> 40) as u32
    }

    /// Sets the time of the update, in seconds, and the tag.
    pub fn set_time(&mut self, seconds: u64, tag: u32) {
        self.utime = ((seconds & ((1 << 40) - 1)) | (u64::from(tag) << 40)).into();
    }

    /// Whether it describes what can be.
    fn check(&self) -> Result<(), Refusal> {
        if self.super_offset.get() != AT.0 {
            return Err(Refusal::Offset(self.super_offset.get()));
        }
        let unknown = self.feature_map.get() & !feature::KNOWN;
        if unknown != 0 {
            return Err(Refusal::Features(unknown));
        }
        if self.pad0.get() != 0 || self.pad3 != [0; 28] {
            return Err(Refusal::Padding);
        }
        if self.level.get() != 1 || self.layout.get() != 0 || self.chunksize.get() != 0 {
            return Err(Refusal::Level(self.level.get()));
        }
        if self.reshape != [0; 28] {
            return Err(Refusal::Reshape);
        }
        match self.logical_block_size.get() {
            0 | 512 | 1024 | 2048 | 4096 => {}
            size => return Err(Refusal::BlockSize(size)),
        }
        self.check_roles()?;
        self.check_places()
    }

    fn check_roles(&self) -> Result<(), Refusal> {
        let slots = self.raid_disks.get();
        if slots == 0 || slots > LEGS_MAX {
            return Err(Refusal::Slots(slots));
        }
        if self.max_dev.get() as usize > ROLES_MAX {
            return Err(Refusal::Roles(self.max_dev.get()));
        }
        if self.dev_number.get() >= self.max_dev.get() {
            return Err(Refusal::Role(self.dev_number.get()));
        }
        let mut filled = [0_u8; LEGS_MAX as usize];
        for (number, raw) in (0..).zip(self.roles()) {
            let Role::Slot(slot) = Role::of(raw.get()).ok_or(Refusal::Role(number))? else { continue };
            let place = filled.get_mut(usize::from(slot)).filter(|_| u32::from(slot) < slots);
            let count = place.ok_or(Refusal::Role(number))?;
            *count = count.saturating_add(1);
            // One may be there to replace the other; which one, its own superblock says.
            if *count > 2 {
                return Err(Refusal::SlotTwice(slot));
            }
        }
        Ok(())
    }

    fn check_places(&self) -> Result<(), Refusal> {
        let own = Extent { start: AT.0, end: AT.0 + PAGE_SECTORS };
        let data = self.data().ok_or(Refusal::Data)?;
        let size = self.size.get();
        if self.data_size.get() < DATA_MIN || size == 0 || size > self.data_size.get() || data.start < own.end {
            return Err(Refusal::Data);
        }
        let mut bitmap = None;
        if self.has(feature::BITMAP) {
            let at = self.bitmap().ok_or(Refusal::BitmapPlace)?;
            // How long it is its own header says; that has to be looked at, too.
            let begin = Extent::new(at, PAGE_SECTORS).ok_or(Refusal::BitmapPlace)?;
            if begin.overlaps(&own) || begin.overlaps(&data) || at < own.end {
                return Err(Refusal::BitmapPlace);
            }
            bitmap = Some(begin);
        }
        if self.bblog_offset.get() == 0 {
            return if self.has(feature::BAD_BLOCKS) { Err(Refusal::BadBlockPlace) } else { Ok(()) };
        }
        let log = self.bad_block_log().ok_or(Refusal::BadBlockPlace)?;
        let small = u64::from(self.bblog_size.get()) <= PAGE_SECTORS && self.bblog_shift < 32;
        let clear = !log.overlaps(&own) && !log.overlaps(&data) && !bitmap.is_some_and(|bitmap| log.overlaps(&bitmap));
        if small && clear && log.start >= own.end {
            Ok(())
        } else {
            Err(Refusal::BadBlockPlace)
        }
    }
}
