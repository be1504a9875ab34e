// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The two slots of a catalog on their device: read, decided upon, mended, and changed together with the pool.
//!
//! The order of things is that of [`handshake`](stor_pure::pure::catalog::handshake); here it is done.

use super::area::Area;
use super::catalog::Catalog;
use crate::{Error, Kind, Result};
use std::io;
use stor_pure::pure::catalog::handshake::{decide, undo, Decision, Mend, Mismatch, Stamp};
use stor_pure::pure::catalog::{Catalog as Read, Refusal, SLOT_MAX, SLOT_MIN};

/// The slots of a pool.
pub(crate) struct Slots {
    area: Area,
    pool: [u8; 16],
    room: u64,
    /// Which one counts.
    now: usize,
}

/// What is to be done before something is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mending {
    /// Devices that a change, which was not carried out, may have left.
    pub(crate) undo: Vec<u32>,
}

/// Where the catalog has a change to be told of to the pool.
fn failed(what: &str, error: &io::Error) -> Error {
    Error::new(Kind::Failure, format!("the catalog cannot be {what}: {error}"))
        .help("see the kernel log for the device's errors")
}

impl Slots {
    /// In the area of the catalog.
    pub(crate) fn new(area: Area, pool: [u8; 16]) -> Self {
        let room = (area.length() / 2 / SLOT_MIN as u64 * SLOT_MIN as u64).min(SLOT_MAX as u64);
        Self { area, pool, room, now: 0 }
    }

    fn place(&self, slot: usize) -> u64 {
        // Each slot has half of the area, whatever of it is used.
        self.area.length() / 2 * slot as u64
    }

    fn read(&self, slot: usize) -> Result<Vec<u8>> {
        let mut head = vec![0; SLOT_MIN];
        let read = |at, into: &mut [u8]| self.area.read(at, into).map_err(|error| failed("read", &error));
        read(self.place(slot), &mut head)?;
        let length = (Read::length(&head) as u64).min(self.room);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(SLOT_MIN)];
        read(self.place(slot), &mut bytes)?;
        Ok(bytes)
    }

    /// Reads what counts for a pool with this transaction id, and what is to be mended.
    ///
    /// # Errors
    ///
    /// The slots cannot be read; or neither counts.
    pub(crate) fn load(&mut self, transaction: u64) -> Result<(Catalog, Option<Mending>)> {
        let bytes = [self.read(0)?, self.read(1)?];
        let [first, second] = &bytes;
        let read = [Read::of::<Area>(first, &self.pool, 0), Read::of::<Area>(second, &self.pool, 1)];
        let stamps = [read[0], read[1]].map(|slot| slot.map(|slot| slot.stamp()));
        let Decision { slot, mend } = decide(transaction, stamps).map_err(|mismatch| out_of_step(&mismatch))?;
        let (truth, other) = if slot == 0 { (read[0], read[1]) } else { (read[1], read[0]) };
        let truth = truth.map_err(|refusal| Error::new(Kind::Failure, refusal.to_string()))?;
        if truth.read_only() {
            let what = Refusal::Features(truth.header().compat_ro.get());
            return Err(Error::new(Kind::Unfit, what.to_string()));
        }
        self.now = slot;
        let mending = mend.map(|mend| Mending {
            undo: match (mend, other) {
                (Mend::RollBack, Ok(intent)) => undo(&truth, &intent).collect(),
                _ => Vec::new(),
            },
        });
        Ok((Catalog::of(&truth), mending))
    }

    /// The youngest sound catalog, whether it counts or not: for a repair.
    ///
    /// # Errors
    ///
    /// The slots cannot be read.
    pub(crate) fn youngest(&mut self) -> Result<Option<Catalog>> {
        let bytes = [self.read(0)?, self.read(1)?];
        let sound = bytes.iter().zip(0..).filter_map(|(bytes, slot)| {
            let read = Read::of::<Area>(bytes, &self.pool, slot).ok()?;
            Some((slot as usize, Catalog::of(&read)))
        });
        let youngest =
            sound.max_by_key(|(_, catalog)| (catalog.stamp.transaction.get(), catalog.stamp.generation.get()));
        Ok(youngest.map(|(slot, catalog)| {
            self.now = slot;
            catalog
        }))
    }

    fn write(&self, slot: usize, catalog: &Catalog) -> Result<()> {
        let room = usize::try_from(self.room).unwrap_or(0);
        let bytes = catalog.encode(&self.pool, slot as u32, room)?;
        let written = self.area.write(self.place(slot), &bytes).and_then(|()| self.area.flush());
        written.map_err(|error| failed("written", &error))
    }

    /// Writes both slots, when there is no pool yet.
    ///
    /// # Errors
    ///
    /// They cannot be written.
    pub(crate) fn create(&mut self, catalog: &Catalog) -> Result<()> {
        self.write(0, catalog)?;
        self.write(1, catalog)
    }

    /// Makes the slot that does not count a copy.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub(crate) fn copy(&self, catalog: &Catalog) -> Result<()> {
        self.write(1 - self.now, catalog)
    }

    /// Writes a catalog that is to count with what the pool does next, or for itself, by its stamp.
    ///
    /// # Errors
    ///
    /// It cannot be written, or is none that can be.
    pub(crate) fn intend(&self, next: &Catalog) -> Result<()> {
        self.write(1 - self.now, next)
    }

    /// From now on what was intended counts; the other slot becomes a copy.
    ///
    /// # Errors
    ///
    /// It cannot be written: one copy is left.
    pub(crate) fn carried_out(&mut self, next: &Catalog) -> Result<()> {
        self.now = 1 - self.now;
        self.copy(next)
    }
}

/// The stamp of the next change.
pub(crate) fn next(stamp: Stamp, with_pool: bool) -> Result<Stamp> {
    let next = if with_pool { stamp.intent() } else { stamp.alone() };
    next.map_err(|mismatch| Error::new(Kind::Failure, mismatch.to_string()))
}

fn out_of_step(mismatch: &Mismatch) -> Error {
    let text = mismatch.to_string();
    match text.split_once(": run ").or(text.split_once("; run ")) {
        Some((cause, help)) => Error::new(Kind::Failure, cause).help(format!("run {}", help.replace('`', "'"))),
        None => Error::new(Kind::Failure, text),
    }
}
