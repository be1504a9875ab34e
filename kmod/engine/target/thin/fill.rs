// SPDX-License-Identifier: GPL-2.0

//! Filling: sectors of data blocks are made zeros, or copies of others, as many as the devices take at the same time.

use super::layout::Area;
use crate::block::io::{Bios, Device, Piece};
use kernel::prelude::*;

/// Sectors that are copied in one piece.
const COPY: u64 = 128;
/// Copies under way at the same time: 1 MiB of memory.
const COPIES: usize = 16;
/// Pieces under way at the same time.
const PIECES: usize = 64;

/// Sectors that are to be filled.
pub(super) struct Gap {
    /// The first.
    pub(super) to: u64,
    pub(super) sectors: u64,
    pub(super) from: From,
}

/// What a gap is filled with.
#[derive(Clone, Copy)]
pub(super) enum From {
    Zeros,
    /// What is from this sector of the pool's data on.
    Data(u64),
    /// What is from this sector of a device on.
    Device(Device, u64),
}

/// A part of a gap that is on one device, and so is what it is a copy of.
struct Step {
    to: (Device, u64),
    from: Option<(Device, u64)>,
    sectors: u64,
}

/// Memory for it, made ahead.
pub(super) struct Filler {
    bios: Bios,
    buffers: KVec<KVec<u8>>,
    steps: KVec<Step>,
}

impl Filler {
    pub(super) fn new() -> Result<Self> {
        let mut buffers = KVec::with_capacity(COPIES, GFP_KERNEL)?;
        for _ in 0..COPIES {
            buffers.push(KVec::from_elem(0, (COPY * 512) as usize, GFP_KERNEL)?, GFP_KERNEL)?;
        }
        Ok(Self { bios: Bios::new()?, buffers, steps: KVec::with_capacity(PIECES, GFP_KERNEL)? })
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        self.buffers.iter().map(|buffer| buffer.len()).sum()
    }

    /// Fills all gaps, and waits for it. The first error of any; which were filled is not known then.
    pub(super) fn fill(&mut self, area: &Area, gaps: impl Iterator<Item = Gap>) -> Result {
        self.steps.clear();
        let mut copies = 0;
        for mut gap in gaps {
            while gap.sectors > 0 {
                let place = area.find(gap.to).ok_or(EIO)?;
                let mut step =
                    Step { to: (place.device, place.sector), from: None, sectors: gap.sectors.min(place.sectors) };
                match &mut gap.from {
                    From::Zeros => {}
                    From::Data(from) => {
                        let place = area.find(*from).ok_or(EIO)?;
                        step.from = Some((place.device, place.sector));
                        step.sectors = step.sectors.min(place.sectors).min(COPY);
                        *from = from.wrapping_add(step.sectors);
                    }
                    From::Device(device, from) => {
                        step.from = Some((*device, *from));
                        step.sectors = step.sectors.min(COPY);
                        *from = from.wrapping_add(step.sectors);
                    }
                }
                let copied = step.from.is_some();
                if copied && copies == COPIES {
                    self.run()?;
                    copies = 0;
                }
                copies = copies.wrapping_add(usize::from(copied));
                gap.to = gap.to.wrapping_add(step.sectors);
                gap.sectors = gap.sectors.wrapping_sub(step.sectors);
                if let Err(refused) = self.steps.push_within_capacity(step) {
                    self.run()?;
                    copies = usize::from(copied);
                    self.steps.push_within_capacity(refused.0)?;
                }
            }
        }
        self.run()
    }

    /// Does the steps that there are.
    fn run(&mut self) -> Result {
        let Self { bios, buffers, steps } = self;
        let copied = steps.iter().filter_map(|step| Some((step.from?, step.sectors)));
        let read = bios.all(&mut buffers.iter_mut().zip(copied).filter_map(|(buffer, ((device, sector), sectors))| {
            buffer.get_mut(..(sectors as usize).wrapping_mul(512)).map(|into| Piece::Read(device, sector, into))
        }));
        let mut buffers = buffers.iter();
        let written = read.and_then(|()| {
            bios.all(&mut steps.iter().filter_map(|step| {
                let (device, sector) = step.to;
                match step.from {
                    None => Some(Piece::Zero(device, sector, step.sectors)),
                    Some(_) => {
                        let bytes = buffers.next()?.get(..(step.sectors as usize).wrapping_mul(512))?;
                        Some(Piece::Write(device, sector, bytes))
                    }
                }
            }))
        });
        steps.clear();
        written
    }
}
