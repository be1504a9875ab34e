// SPDX-License-Identifier: GPL-2.0

//! The segments of a linear volume, read and checked once.

use super::super::Config;
use crate::pure::linear::{self, Lower, Segment};
use crate::pure::units::Bytes;
use kernel::prelude::*;

/// Segments that [`linear::check`] accepted.
pub(super) struct Table(KVec<Segment>);

impl Table {
    pub(super) fn new(config: &Config<'_>) -> Result<Self> {
        let errno = |error: linear::Error| Error::from(error.errno());
        let parsed = linear::Config::parse(config.bytes).map_err(errno)?;
        let mut segments = KVec::with_capacity(parsed.len(), GFP_KERNEL)?;
        for segment in parsed.segments() {
            segments.push(segment.map_err(errno)?, GFP_KERNEL)?;
        }
        let mut lowers = KVec::with_capacity(config.lowers.len(), GFP_KERNEL)?;
        for lower in config.lowers {
            let logical_block = Bytes(u64::from(lower.logical_block));
            lowers.push(Lower { size: Bytes(lower.size), logical_block }, GFP_KERNEL)?;
        }
        linear::check(&segments, Bytes(config.size), &lowers).map_err(errno)?;
        Ok(Self(segments))
    }

    #[inline]
    pub(super) fn segments(&self) -> &[Segment] {
        &self.0
    }
}
