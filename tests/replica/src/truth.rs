// SPDX-License-Identifier: GPL-2.0

//! What the user of a volume knows of it: what he wrote, what was acknowledged, what he flushed, what he has read.

use crate::device::SECTORS;
use crate::Fault;

/// A sector: everything that was written to it and may come back, in order.
#[derive(Clone)]
struct Sector {
    stamps: Vec<u32>,
    /// Nothing before this may come back after a crash,
    floor: usize,
    /// nor before this as long as the volume runs.
    acknowledged: usize,
}

/// A volume as its user knows it. A start that was forced makes another one.
#[derive(Clone)]
pub(crate) struct Truth {
    sectors: Vec<Sector>,
}

/// What had been acknowledged when a flush began.
pub(crate) type Mark = Vec<u32>;

impl Truth {
    /// A volume that reads like this, and may read otherwise in no way.
    pub(crate) fn new(data: &[u32; SECTORS]) -> Self {
        Self { sectors: data.iter().map(|stamp| Sector { stamps: vec![*stamp], floor: 0, acknowledged: 0 }).collect() }
    }

    pub(crate) fn begin(&mut self, sector: usize, stamps: &[u32]) {
        for (place, stamp) in self.sectors[sector..].iter_mut().zip(stamps) {
            place.stamps.push(*stamp);
        }
    }

    pub(crate) fn acknowledge(&mut self, sector: usize, stamps: &[u32]) {
        for (place, stamp) in self.sectors[sector..].iter_mut().zip(stamps) {
            let index = place.stamps.iter().rposition(|other| other == stamp).unwrap_or(0);
            place.acknowledged = place.acknowledged.max(index);
        }
    }

    pub(crate) fn mark(&self) -> Mark {
        self.sectors.iter().map(|sector| sector.stamps[sector.acknowledged]).collect()
    }

    /// The oldest that may come back.
    #[cfg(test)]
    pub(crate) fn durable(&self, sector: usize) -> u32 {
        self.sectors[sector].stamps[self.sectors[sector].floor]
    }

    /// A flush is acknowledged that began then.
    pub(crate) fn flushed(&mut self, mark: &Mark) {
        for (sector, stamp) in self.sectors.iter_mut().zip(mark) {
            let index = sector.stamps.iter().rposition(|other| other == stamp).unwrap_or(0);
            sector.floor = sector.floor.max(index);
        }
    }

    /// A flush has failed: what was not durable may be lost.
    pub(crate) fn lost(&mut self) {
        self.sectors.iter_mut().for_each(|sector| sector.acknowledged = sector.floor);
    }

    /// What is read while the volume runs.
    pub(crate) fn read(&self, at: usize, stamp: u32) -> Result<(), Fault> {
        let sector = &self.sectors[at];
        match sector.stamps.iter().rposition(|other| *other == stamp) {
            Some(index) if index >= sector.floor.max(sector.acknowledged) => Ok(()),
            _ => Err(format!(
                "sector {at} reads {stamp}; written were {:?}, acknowledged up to {}",
                sector.stamps, sector.acknowledged
            )
            .into()),
        }
    }

    /// What is read after a start. What came after it is not going to come back; if it is `durable`, what came before it is not either.
    pub(crate) fn start(&mut self, data: &[u32; SECTORS], durable: bool) -> Result<(), Fault> {
        for (at, (sector, stamp)) in self.sectors.iter_mut().zip(data).enumerate() {
            let Some(index) =
                sector.stamps.iter().rposition(|other| other == stamp).filter(|index| *index >= sector.floor)
            else {
                return Err(format!(
                    "sector {at} has {stamp} after a start; written were {:?}, durable from {} on",
                    sector.stamps, sector.floor
                )
                .into());
            };
            sector.stamps.truncate(index + 1);
            sector.acknowledged = index;
            if durable {
                sector.floor = index;
            }
        }
        Ok(())
    }
}
