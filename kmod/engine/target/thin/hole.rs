// SPDX-License-Identifier: GPL-2.0

//! Where a volume has nothing: for who would have to read it all to find out.

use super::map::{Entry, LEAF};
use super::pool::Inner;
use super::volume::Volume;
use crate::block::noio::NoIo;
use crate::pure::units::VirtualBlock;
use core::ops::ControlFlow;

impl Inner {
    /// How many sectors from this one on, of so many, are in blocks that the volume does not have; 0 if the metadata cannot tell.
    pub(super) fn hole(&self, volume: &Volume, sector: u64, sectors: u64) -> u64 {
        let size = self.block_sectors;
        let end = sector.saturating_add(sectors).div_ceil(size);
        let Some(begin) = sector.checked_div(size) else { return 0 };
        if volume.origin.is_some_and(|origin| sector < origin.sectors) {
            return 0;
        }
        let _noio = NoIo::enter();
        let mut state = self.state.lock();
        let Some(metadata) = &mut state.metadata else { return 0 };
        let mut first = end;
        let asked = metadata.runs(volume.device, VirtualBlock(begin), VirtualBlock(end), &mut |run| {
            first = run.begin.0;
            ControlFlow::Break(())
        });
        if asked.is_err() {
            return 0;
        }
        // Blocks that are not in the metadata yet are in leaves, which stay as long as the state is locked.
        let mut block = begin;
        while block < first {
            let next = (block / LEAF).wrapping_add(1).wrapping_mul(LEAF).min(first);
            if let Some(leaf) = volume.map.leaf(&self.leaves, block) {
                let young = (block..next).find(|&block| matches!(leaf.get(block), Entry::Young(_)));
                first = young.unwrap_or(first);
            }
            block = next;
        }
        first.wrapping_mul(size).saturating_sub(sector).min(sectors)
    }
}
