// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The write-intent bitmap: a bit for each chunk of the array, set before the chunk is written to, and cleared some time after
//! all legs have what was written.
//!
//! Every leg has a copy: a header of 256 bytes, then the bits, in [pages](super::Page) of 4 KiB. A page is written and made durable as
//! a whole. What the bits say is worth something only if the header is [sound](Header::of) and as young as the superblock.

use super::{Page, PAGE_SIZE};
use core::fmt;
use core::mem::{offset_of, size_of};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, IntoBytes};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `BITMAP_MAGIC`.
pub const MAGIC: u32 = 0x6d74_6962;
/// The version that counts; 3 has the byte order of a machine, 5 is a cluster's, 6 means something else by its bits.
pub const VERSION: u32 = 4;
/// The bits begin at this byte.
pub const HEADER_SIZE: usize = 256;
/// mdadm's chunk for a bitmap on the legs, unless there is too little room.
pub const CHUNK_DEFAULT: u64 = 64 << 20;
/// Seconds between two sweeps.
pub const DAEMON_SLEEP: u32 = 5;
/// In [`Header::state`]: the bits do not count.
pub const STALE: u32 = 1 << 1;
/// In [`Header::state`]: the bitmap could not be written.
pub const WRITE_ERROR: u32 = 1 << 2;
/// The largest [`Header::write_behind`].
const WRITE_BEHIND_MAX: u32 = 16383;

/// `struct bitmap_super_s`, `drivers/md/md-bitmap.h`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: U32,
    /// [`VERSION`].
    pub version: U32,
    /// The array's.
    pub uuid: [u8; 16],
    /// Of the array, when this was written; it is written before the superblock.
    pub events: U64,
    /// The youngest at which all legs were known to be equal but for the chunks whose bits are set.
    pub events_cleared: U64,
    /// Sectors of the array.
    pub sync_size: U64,
    /// [`STALE`], [`WRITE_ERROR`].
    pub state: U32,
    /// Bytes of a chunk.
    pub chunksize: U32,
    /// Seconds between two sweeps.
    pub daemon_sleep: U32,
    /// Writes that may be behind on slow legs.
    pub write_behind: U32,
    /// Sectors that there are for the bitmap.
    pub sectors_reserved: U32,
    /// Of a cluster: 0.
    pub nodes: U32,
    /// Of a cluster: zeros.
    pub cluster_name: [u8; 64],
    /// Zero.
    pub pad: [u8; 120],
}

const _: () = assert!(size_of::<Header>() == HEADER_SIZE && offset_of!(Header, sync_size) == 40);
const _: () = assert!(offset_of!(Header, chunksize) == 52 && offset_of!(Header, cluster_name) == 72);

/// Why a bitmap does not count. Then every chunk may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is none.
    Magic,
    /// Another version.
    Version(u32),
    /// It is another array's.
    Uuid,
    /// It is for an array of so many sectors.
    Size(u64),
    /// A chunk of so many bytes.
    Chunk(u32),
    /// It belongs to a cluster.
    Cluster,
    /// A time or a limit that cannot be.
    Range,
    /// There is no room for so many bits before what follows, or in memory.
    Room,
    /// It says itself that it does not count.
    Stale,
    /// It is older than the array.
    Behind {
        /// Its own.
        events: u64,
        /// The array's.
        array: u64,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("there is no bitmap"),
            Self::Version(version) => write!(f, "bitmap version {version} is not known, only {VERSION}"),
            Self::Uuid => f.write_str("the bitmap is another array's"),
            Self::Size(sectors) => write!(f, "the bitmap is for an array of {sectors} sectors"),
            Self::Chunk(bytes) => write!(f, "the bitmap has chunks of {bytes} bytes"),
            Self::Cluster => f.write_str("the bitmap is a cluster's"),
            Self::Range => f.write_str("the bitmap has a time or a limit that cannot be"),
            Self::Room => f.write_str("the bitmap has more bits than there is room for"),
            Self::Stale => f.write_str("the bitmap says that it does not count"),
            Self::Behind { events, array } => write!(f, "the bitmap is of event {events}, the array of event {array}"),
        }
    }
}

/// Where a bit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which page.
    pub page: usize,
    /// Which byte of it.
    pub byte: usize,
    /// Which bit of that.
    pub mask: u8,
}

/// How an array is divided into chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Sectors of the array; not 0.
    size: u64,
    /// A chunk has 2 to the power of so many sectors.
    shift: u32,
}

impl Geometry {
    /// Of an array of `size` sectors in chunks of `chunk` bytes.
    ///
    /// # Errors
    ///
    /// The chunk is no power of two from 512 to 2^31, or there are more chunks than can be counted.
    pub fn new(size: u64, chunk: u32) -> Result<Self, Refusal> {
        let geometry = Self { size, shift: chunk.trailing_zeros().saturating_sub(9) };
        if !chunk.is_power_of_two() || chunk < 512 || size == 0 {
            return Err(Refusal::Chunk(chunk));
        }
        if geometry.chunks() > u64::from(u32::MAX) {
            return Err(Refusal::Room);
        }
        Ok(geometry)
    }

    /// The smallest chunk from mdadm's default on with which the bitmap fits into so many sectors.
    ///
    /// # Errors
    ///
    /// No chunk is large enough.
    pub fn choose(size: u64, sectors: u64) -> Result<Self, Refusal> {
        let mut chunk = CHUNK_DEFAULT as u32;
        loop {
            match Self::new(size, chunk) {
                Ok(geometry) if geometry.sectors() <= sectors => return Ok(geometry),
                Ok(_) | Err(Refusal::Room) => chunk = chunk.checked_mul(2).ok_or(Refusal::Room)?,
                Err(refusal) => return Err(refusal),
            }
        }
    }

    /// Sectors of the array.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Sectors of a chunk.
    pub fn chunk_sectors(&self) -> u64 {
        1 << self.shift
    }

    /// Bytes of a chunk.
    pub fn chunk_bytes(&self) -> u32 {
        512 << self.shift
    }

    /// How many chunks there are.
    pub fn chunks(&self) -> u64 {
        self.size.div_ceil(self.chunk_sectors())
    }

    /// The chunk that a sector is in.
    pub fn chunk_of(&self, sector: u64) -> u64 {
        sector >> self.shift
    }

    /// The sectors of a chunk: the first, and the one behind the last.
    pub fn sectors_of(&self, chunk: u64) -> (u64, u64) {
        let start = chunk.saturating_mul(self.chunk_sectors()).min(self.size);
        (start, start.saturating_add(self.chunk_sectors()).min(self.size))
    }

    /// Bytes of header and bits.
    pub fn bytes(&self) -> u64 {
        HEADER_SIZE as u64 + self.chunks().div_ceil(8)
    }

    /// Sectors that they need.
    pub fn sectors(&self) -> u64 {
        self.bytes().div_ceil(512)
    }

    /// Pages that they need.
    pub fn pages(&self) -> usize {
        self.bytes().div_ceil(PAGE_SIZE as u64) as usize
    }

    /// Bytes of a page that are written, if the leg's blocks have so many: the last page may be shorter.
    pub fn page_bytes(&self, page: usize, block: usize) -> usize {
        let rest = self.bytes().saturating_sub((page as u64).saturating_mul(PAGE_SIZE as u64));
        let block = block.clamp(512, PAGE_SIZE) as u64;
        (rest.div_ceil(block) * block).min(PAGE_SIZE as u64) as usize
    }

    /// Where a chunk's bit is.
    pub fn place(&self, chunk: u64) -> Place {
        let byte = HEADER_SIZE as u64 + chunk / 8;
        Place {
            page: (byte / PAGE_SIZE as u64) as usize,
            byte: (byte % PAGE_SIZE as u64) as usize,
            mask: 1 << (chunk % 8),
        }
    }

    /// The chunks whose bits are in a page: the first, and the one behind the last.
    pub fn chunks_of(&self, page: usize) -> (u64, u64) {
        let bits = (page as u64).saturating_mul(8 * PAGE_SIZE as u64);
        let header = 8 * HEADER_SIZE as u64;
        let start = bits.saturating_sub(header).min(self.chunks());
        (start, bits.saturating_add(8 * PAGE_SIZE as u64).saturating_sub(header).min(self.chunks()))
    }
}

/// Whether a bit of a page is set.
pub fn is_set(page: &Page, place: Place) -> bool {
    page.get(place.byte).is_some_and(|byte| byte & place.mask != 0)
}

/// Whether a bit of any chunk is set in page `number` of a bitmap. Behind the last chunk there may be bits that mean nothing: mdadm
/// fills the last page up with ones.
pub fn any_set(geometry: &Geometry, number: usize, page: &Page) -> bool {
    let (begin, end) = geometry.chunks_of(number);
    let (Some(last), true) = (end.checked_sub(1), begin < end) else { return false };
    let (first, last) = (geometry.place(begin).byte, geometry.place(last).byte);
    let full = if end % 8 == 0 { last + 1 } else { last };
    let some = page.get(first..full).is_some_and(|bytes| bytes.iter().any(|&byte| byte != 0));
    some || full == last && page.get(last).is_some_and(|byte| byte & ((1 << (end % 8)) - 1) != 0)
}

/// Sets or clears a bit of a page.
pub fn put(page: &mut Page, place: Place, set: bool) {
    if let Some(byte) = page.get_mut(place.byte) {
        *byte = if set { *byte | place.mask } else { *byte & !place.mask };
    }
}

impl Header {
    /// Of a new bitmap.
    pub fn new(uuid: [u8; 16], geometry: &Geometry, events: u64, sectors: u32) -> Self {
        Self {
            magic: MAGIC.into(),
            version: VERSION.into(),
            uuid,
            events: events.into(),
            events_cleared: events.into(),
            sync_size: geometry.size.into(),
            state: 0.into(),
            chunksize: geometry.chunk_bytes().into(),
            daemon_sleep: DAEMON_SLEEP.into(),
            write_behind: 0.into(),
            sectors_reserved: sectors.into(),
            nodes: 0.into(),
            cluster_name: [0; 64],
            pad: [0; 120],
        }
    }

    /// The header in a bitmap's first page.
    ///
    /// The array has `size` sectors; for the bitmap there are `room` sectors.
    ///
    /// # Errors
    ///
    /// Why the bitmap does not count.
    pub fn of<'a>(page: &'a Page, uuid: &[u8; 16], size: u64, room: u64) -> Result<(&'a Self, Geometry), Refusal> {
        let (header, _) = Self::ref_from_prefix(page).map_err(|_| Refusal::Magic)?;
        if header.magic.get() != MAGIC {
            return Err(Refusal::Magic);
        }
        if header.version.get() != VERSION {
            return Err(Refusal::Version(header.version.get()));
        }
        if header.uuid != *uuid {
            return Err(Refusal::Uuid);
        }
        if header.nodes.get() != 0 {
            return Err(Refusal::Cluster);
        }
        if header.sync_size.get() != size {
            return Err(Refusal::Size(header.sync_size.get()));
        }
        if header.daemon_sleep.get() == 0 || header.write_behind.get() > WRITE_BEHIND_MAX {
            return Err(Refusal::Range);
        }
        let geometry = Geometry::new(size, header.chunksize.get())?;
        if geometry.sectors() > room {
            return Err(Refusal::Room);
        }
        Ok((header, geometry))
    }

    /// Whether the bits say which chunks may differ between legs whose array has come to event `array`.
    ///
    /// # Errors
    ///
    /// Why not: any chunk may.
    pub fn counts(&self, array: u64) -> Result<(), Refusal> {
        if self.state.get() != 0 {
            return Err(Refusal::Stale);
        }
        // It is written first, so it is never behind unless somebody did not write it at all. md steps back by one.
        if self.events.get() < array {
            return Err(Refusal::Behind { events: self.events.get(), array });
        }
        Ok(())
    }

    /// Puts it at the head of the first page.
    pub fn write(&self, page: &mut Page) {
        let _ = self.write_to_prefix(page); // a page is longer
    }
}
