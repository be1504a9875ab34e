// SPDX-License-Identifier: GPL-2.0

//! Where the areas of a pool are: its configuration (`struct stor_pool_config`), read and checked, and what follows from it for
//! each block. Segments are only added, so that I/O may look at them while the pool grows.

use super::super::{Config, Lower};
use crate::abi::errno;
use crate::abi::uapi::{self, stor_linear_segment, stor_pool_config};
use crate::block::io::Device;
use core::mem::size_of;
use kernel::prelude::*;
use kernel::sync::atomic::{ordering::Acquire, ordering::Relaxed, ordering::Release, Atomic};
use kernel::sync::SetOnce;
use zerocopy::FromBytes;

/// A part of an area, in sectors.
#[derive(Clone, Copy)]
pub(super) struct Segment {
    start: u64,
    end: u64,
    below: u64,
    pub(super) lower: u32,
    pub(super) device: Device,
}

/// Where a sector of an area is, and for how long that goes on.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) lower: u32,
    pub(super) device: Device,
    pub(super) sector: u64,
    pub(super) sectors: u64,
}

/// The segments of an area, one after the other.
pub(super) struct Area {
    segments: KVec<SetOnce<Segment>>,
    count: Atomic<u32>,
}

/// Segments that can be added while the pool is open.
const GROWTH: usize = 256;

impl Area {
    fn new(segments: &[Segment]) -> Result<Self> {
        let room = segments.len().saturating_add(GROWTH);
        let mut slots = KVec::with_capacity(room, GFP_KERNEL)?;
        for _ in 0..room {
            slots.push(SetOnce::new(), GFP_KERNEL)?;
        }
        let area = Self { segments: slots, count: Atomic::new(0) };
        for segment in segments {
            area.push(*segment)?;
        }
        Ok(area)
    }

    fn push(&self, segment: Segment) -> Result {
        let count = self.count.load(Relaxed);
        self.segments.get(count as usize).ok_or(E2BIG)?.populate(segment);
        self.count.store(count.wrapping_add(1), Release);
        Ok(())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().take(self.count.load(Acquire) as usize).filter_map(SetOnce::as_ref)
    }

    /// Sectors.
    pub(super) fn sectors(&self) -> u64 {
        self.iter().last().map_or(0, |segment| segment.end)
    }

    /// Where a sector is.
    #[inline]
    pub(super) fn find(&self, sector: u64) -> Option<Place> {
        for slot in self.segments.iter() {
            let segment = slot.as_ref()?;
            if sector < segment.end {
                return Some(Place {
                    lower: segment.lower,
                    device: segment.device,
                    sector: segment.below.wrapping_add(sector.wrapping_sub(segment.start)),
                    sectors: segment.end.wrapping_sub(sector),
                });
            }
        }
        None
    }

    /// Calls `with` with the places of a range, in order.
    pub(super) fn each(
        &self,
        mut sector: u64,
        mut sectors: u64,
        mut with: impl FnMut(Device, u64, u64) -> Result,
    ) -> Result {
        while sectors > 0 {
            let place = self.find(sector).ok_or(EIO)?;
            let length = place.sectors.min(sectors);
            with(place.device, place.sector, length)?;
            sector = sector.wrapping_add(length);
            sectors = sectors.wrapping_sub(length);
        }
        Ok(())
    }

    /// Calls `with` with each device once.
    pub(super) fn devices(&self, mut with: impl FnMut(Device) -> Result) -> Result {
        for (index, segment) in self.iter().enumerate() {
            if !self.iter().take(index).any(|other| other.lower == segment.lower) {
                with(segment.device)?;
            }
        }
        Ok(())
    }

    /// A bit for each device.
    pub(super) fn mask(&self) -> u64 {
        self.iter().fold(0, |mask, segment| mask | 1 << (segment.lower % 64))
    }

    /// Becomes what `to` is, which must begin as this is. Checked by `extends`.
    pub(super) fn extend(&self, to: &Self) -> Result {
        let had = self.sectors();
        for segment in to.iter().filter(|segment| segment.end > had) {
            let skipped = had.saturating_sub(segment.start);
            self.push(Segment {
                start: segment.start.wrapping_add(skipped),
                below: segment.below.wrapping_add(skipped),
                ..*segment
            })?;
        }
        Ok(())
    }

    /// Whether what this has is at the same place in `to`, and there is room for what is more. ERANGE, E2BIG.
    pub(super) fn extends(&self, to: &Self) -> Result {
        let mut sector = 0;
        while sector < self.sectors() {
            let (Some(old), Some(new)) = (self.find(sector), to.find(sector)) else { return Err(ERANGE) };
            if (old.lower, old.sector) != (new.lower, new.sector) {
                return Err(ERANGE);
            }
            sector = sector.wrapping_add(old.sectors.min(new.sectors));
        }
        let more = to.iter().filter(|segment| segment.end > self.sectors()).count();
        match self.iter().count().saturating_add(more) <= self.segments.len() {
            true => Ok(()),
            false => Err(E2BIG),
        }
    }
}

/// A configuration.
pub(super) struct Layout {
    pub(super) head: stor_pool_config,
    pub(super) metadata: Area,
    pub(super) data: Area,
}

/// Sectors of a metadata block.
pub(super) const METADATA_SECTORS: u64 = 8;

impl Layout {
    /// Reads a configuration. EINVAL, ENOSPC if a segment ends behind its device, EOPNOTSUPP for a version that is not known.
    pub(super) fn new(config: &Config<'_>) -> Result<Self> {
        let (head, rest) = stor_pool_config::read_from_prefix(config.bytes).map_err(|_| EINVAL)?;
        if head.version != uapi::STOR_POOL_CONFIG_VERSION {
            return Err(errno::EOPNOTSUPP.into());
        }
        let known = head.flags & !(uapi::STOR_POOL_NO_PASSDOWN | uapi::STOR_POOL_NO_ZERO) == 0
            && (uapi::STOR_POLICY_QUEUE..=uapi::STOR_POLICY_READ_ONLY).contains(&head.policy)
            && head.data_block_size % 512 == 0
            && head.metadata_segments > 0
            && head.data_segments > 0;
        let count = (head.metadata_segments as usize).saturating_add(head.data_segments as usize);
        if !known || Some(rest.len()) != count.checked_mul(size_of::<stor_linear_segment>()) {
            return Err(EINVAL);
        }
        let mut segments = rest.chunks_exact(size_of::<stor_linear_segment>());
        let metadata = area(&mut segments, head.metadata_segments, config.lowers, METADATA_SECTORS)?;
        let data = area(&mut segments, head.data_segments, config.lowers, 1)?;
        Ok(Self { head, metadata, data })
    }
}

/// Reads the segments of an area, which are multiples of so many sectors.
fn area<'a>(bytes: &mut impl Iterator<Item = &'a [u8]>, count: u32, lowers: &[Lower], unit: u64) -> Result<Area> {
    let mut segments = KVec::with_capacity(count as usize, GFP_KERNEL)?;
    let mut next = 0;
    for bytes in bytes.take(count as usize) {
        let segment = stor_linear_segment::read_from_bytes(bytes).map_err(|_| EINVAL)?;
        let lower = lowers.get(segment.lower as usize).ok_or(EINVAL)?;
        let grain = u64::from(lower.logical_block).max(unit.saturating_mul(512));
        let whole = [segment.start, segment.length, segment.lower_start].iter().all(|value| value % grain == 0);
        if !whole || segment.length == 0 || segment.reserved != 0 || segment.start != next {
            return Err(EINVAL);
        }
        next = segment.start.checked_add(segment.length).filter(|&end| i64::try_from(end).is_ok()).ok_or(EINVAL)?;
        let below = segment.lower_start.checked_add(segment.length).ok_or(EINVAL)?;
        if below > lower.size {
            return Err(ENOSPC);
        }
        let segment = Segment {
            start: segment.start / 512,
            end: next / 512,
            below: segment.lower_start / 512,
            lower: segment.lower,
            device: lower.device,
        };
        segments.push(segment, GFP_KERNEL)?;
    }
    Area::new(&segments)
}
