// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Target `linear`: a volume made of segments of lower devices, one after the other.
//!
//! Input is the configuration of the control ABI (`struct stor_linear_config` in `kmod/uapi/stor.h`), which
//! [`Config::parse`] reads and [`check`] verifies against the devices. Output is [`find`]: where a sector lives,
//! and how far that holds.

use super::errno::{Errno, E2BIG, EINVAL, ENOSPC};
use super::units::{Bytes, Sectors, SECTOR_SIZE};
use crate::abi::uapi::{stor_linear_config, stor_linear_segment, STOR_LINEAR_CONFIG_VERSION};
use core::fmt;
use core::mem::size_of;
use zerocopy::FromBytes;

/// A run of the volume and where it lies below.
///
/// # Invariants
///
/// Once [`check`] accepted a table: sorted by `start`, without gap or overlap, no end overflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First sector in the volume.
    pub start: Sectors,
    /// First sector in the volume behind the segment.
    pub end: Sectors,
    /// First sector on the lower device.
    pub lower_start: Sectors,
    /// Which of the volume's lower devices.
    pub lower: u32,
}

/// Where a range of the volume lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Which of the volume's lower devices.
    pub lower: u32,
    /// First sector there.
    pub sector: u64,
    /// Sectors up to the end of the segment.
    pub length: u64,
}

/// What a table must know of a lower device.
#[derive(Clone, Copy, Debug)]
pub struct Lower {
    /// Size of the device.
    pub size: Bytes,
    /// Its logical block size.
    pub logical_block: Bytes,
}

/// Why a configuration is refused. Numbers are the segment's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Shorter or longer than its segments, or none.
    Length,
    /// Written by something newer.
    Version(u32),
    /// A reserved field is not zero.
    Reserved(u32),
    /// Not a multiple of 512, or past what the kernel can address.
    Unit(u32),
    /// Does not begin where the one before it ends.
    Gap(u32),
    /// Has no length.
    Empty(u32),
    /// Names a lower device that was not given.
    NoLower(u32),
    /// Not a multiple of the largest logical block below.
    Alignment(u32, Bytes),
    /// Ends behind its lower device.
    TooSmall(u32, Bytes),
    /// Shares sectors of a lower device with an earlier one.
    Overlap(u32),
    /// The segments do not add up to the volume's size.
    Size(Bytes),
    /// More segments than the caller has room for.
    TooMany,
    /// A lower device that no segment uses.
    Unused(u32),
}

impl Error {
    /// The errno the kernel answers with.
    pub const fn errno(self) -> Errno {
        match self {
            Self::TooSmall(..) => ENOSPC,
            Self::TooMany => E2BIG,
            _ => EINVAL,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("the configuration's length does not fit its segments"),
            Self::Version(v) => write!(f, "configuration version {v} is not known, only {STOR_LINEAR_CONFIG_VERSION}"),
            Self::Reserved(i) => write!(f, "segment {i}: a reserved field is not zero"),
            Self::Unit(i) => write!(f, "segment {i}: start and length must be multiples of 512 bytes below 8 EiB"),
            Self::Gap(i) => write!(f, "segment {i} does not begin where the one before it ends"),
            Self::Empty(i) => write!(f, "segment {i} has no length"),
            Self::NoLower(i) => write!(f, "segment {i} names a device that was not given"),
            Self::Alignment(i, b) => write!(f, "segment {i} is not a multiple of the logical block, {} bytes", b.0),
            Self::TooSmall(i, b) => write!(f, "segment {i} ends behind its device, which has {} bytes", b.0),
            Self::Overlap(i) => write!(f, "segment {i} overlaps an earlier one on the same device"),
            Self::Size(b) => write!(f, "the segments add up to {} bytes, not to the volume's size", b.0),
            Self::TooMany => f.write_str("too many segments"),
            Self::Unused(l) => write!(f, "device {l} is used by no segment"),
        }
    }
}

/// A configuration as it crossed the control ABI.
pub struct Config<'a> {
    segments: &'a [u8],
}

impl<'a> Config<'a> {
    /// Reads the header and checks that the segments it announces are there, no more and no less.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (header, segments) = stor_linear_config::read_from_prefix(bytes).map_err(|_| Error::Length)?;
        if header.version != STOR_LINEAR_CONFIG_VERSION {
            return Err(Error::Version(header.version));
        }
        let count = usize::try_from(header.segment_count).ok().filter(|&n| n > 0).ok_or(Error::Length)?;
        if count.checked_mul(size_of::<stor_linear_segment>()) != Some(segments.len()) {
            return Err(Error::Length);
        }
        Ok(Self { segments })
    }

    /// How many segments there are.
    pub fn len(&self) -> usize {
        self.segments.len() / size_of::<stor_linear_segment>()
    }

    /// Never: [`Config::parse`] refuses a table without segments.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The segments in order, or why one cannot be read.
    pub fn segments(&self) -> impl Iterator<Item = Result<Segment, Error>> + 'a {
        let chunks = self.segments.chunks_exact(size_of::<stor_linear_segment>());
        chunks.zip(0u32..).map(|(bytes, index)| segment(bytes, index))
    }
}

fn segment(bytes: &[u8], index: u32) -> Result<Segment, Error> {
    let raw = stor_linear_segment::read_from_bytes(bytes).map_err(|_| Error::Length)?;
    if raw.reserved != 0 {
        return Err(Error::Reserved(index));
    }
    let (start, length, lower_start) = (Bytes(raw.start), Bytes(raw.length), Bytes(raw.lower_start));
    // The kernel counts bytes of a device in an i64 (`loff_t`).
    let addressable = |from: Bytes| {
        let end = from.checked_add(length).filter(|end| i64::try_from(end.0).is_ok());
        end.and_then(Bytes::sectors).ok_or(Error::Unit(index))
    };
    addressable(lower_start)?;
    Ok(Segment {
        start: start.sectors().ok_or(Error::Unit(index))?,
        end: addressable(start)?,
        lower_start: lower_start.sectors().ok_or(Error::Unit(index))?,
        lower: raw.lower,
    })
}

/// Checks a table against the volume's size and the devices below it.
pub fn check(segments: &[Segment], size: Bytes, lowers: &[Lower]) -> Result<(), Error> {
    let block = lowers.iter().map(|lower| lower.logical_block).max().unwrap_or(Bytes(SECTOR_SIZE));
    let mut next = Sectors(0);
    for (segment, index) in segments.iter().zip(0u32..) {
        if segment.start != next {
            return Err(Error::Gap(index));
        }
        next = segment.end;
        let length = segment.end.0.checked_sub(segment.start.0).filter(|&length| length > 0);
        let length = length.ok_or(Error::Empty(index))?;
        let lower = usize::try_from(segment.lower).ok().and_then(|i| lowers.get(i)).ok_or(Error::NoLower(index))?;
        let from = segment.lower_start.bytes().ok_or(Error::Unit(index))?;
        let bytes = Sectors(length).bytes().ok_or(Error::Unit(index))?;
        if !from.is_multiple_of(block) || !bytes.is_multiple_of(block) {
            return Err(Error::Alignment(index, block));
        }
        if from.checked_add(bytes).is_none_or(|end| end > lower.size) {
            return Err(Error::TooSmall(index, lower.size));
        }
        let earlier = segments.iter().take_while(|other| other.start < segment.start);
        if earlier.into_iter().any(|other| overlap(other, segment)) {
            return Err(Error::Overlap(index));
        }
    }
    if next.bytes() != Some(size) {
        return Err(Error::Size(next.bytes().unwrap_or(Bytes(u64::MAX))));
    }
    match (0u32..).zip(lowers).find(|(index, _)| !segments.iter().any(|s| s.lower == *index)) {
        Some((index, _)) => Err(Error::Unused(index)),
        None => Ok(()),
    }
}

fn overlap(a: &Segment, b: &Segment) -> bool {
    let lower_end = |s: &Segment| s.lower_start.0.saturating_add(s.end.0.saturating_sub(s.start.0));
    a.lower == b.lower && a.lower_start.0 < lower_end(b) && b.lower_start.0 < lower_end(a)
}

/// Where `sector` of the volume lies, or `None` behind its end. This is the hot path: `segments` was [`check`]ed.
#[inline]
pub fn find(segments: &[Segment], sector: u64) -> Option<Run> {
    let mut rest = segments;
    // One comparison for one segment; a binary search for many.
    while rest.len() > 1 {
        let (left, right) = rest.split_at(rest.len() / 2);
        rest = match right.first() {
            Some(first) if first.start.0 <= sector => right,
            _ => left,
        };
    }
    let segment = rest.first()?;
    let inside = sector.wrapping_sub(segment.start.0);
    if sector >= segment.end.0 || sector < segment.start.0 {
        return None;
    }
    Some(Run {
        lower: segment.lower,
        sector: segment.lower_start.0.wrapping_add(inside),
        length: segment.end.0.wrapping_sub(sector),
    })
}
