// SPDX-License-Identifier: GPL-2.0

//! A thin target in small: what it does with the engine and the devices, and what a reader may find after a crash.

use crate::device::{Data, Devices, Event, Logged};
use crate::rng::Rng;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use stor_pure::pure::thin::data::Run;
use stor_pure::pure::thin::device::Deletion;
use stor_pure::pure::thin::error::Error;
use stor_pure::pure::thin::pool::{Options, Pool};
use stor_pure::pure::units::VirtualBlock;

/// A volume's blocks.
const BLOCKS: u64 = 24;
/// Sectors of a data block.
pub(crate) const SECTORS: usize = 2;
/// What a discard leaves in a sector. No reader may ever find it.
pub(crate) const DISCARDED: u64 = u64::MAX;

/// With passdown, what is given up is not taken before it was discarded; without, it can be taken after the commit.
pub(crate) fn options(passdown: bool) -> Options {
    Options { frames: 64, streams: 2, passdown }
}

/// A volume as its user sees it: the blocks that are mapped.
pub(crate) type Volume = BTreeMap<u64, Data>;

/// The pool as a transaction made it.
#[derive(Clone, Default)]
pub(crate) struct Committed {
    pub(crate) volumes: BTreeMap<u64, Volume>,
    /// What was written to the volumes since, without the next transaction being durable: (volume, block, sector, stamp).
    pub(crate) since: Vec<(u64, u64, usize, u64)>,
}

pub(crate) struct Target {
    pub(crate) pool: Pool<Logged>,
    pub(crate) devices: Rc<RefCell<Devices>>,
    volumes: BTreeMap<u64, Volume>,
    /// For each acknowledged commit: where in the log, and what it made.
    pub(crate) history: Vec<(usize, Committed)>,
    stamp: u64,
    next: u64,
    /// Blocks that were written, and are not mapped yet.
    unfinished: Vec<Unfinished>,
}

struct Unfinished {
    id: u64,
    block: u64,
    data: u64,
    stamps: Vec<(usize, u64)>,
}

impl Target {
    /// A pool that is small, so that all it has is used again and again.
    pub(crate) fn new(rng: &mut Rng) -> Result<Self, Error> {
        let devices = Rc::new(RefCell::new(Devices::new(48 + rng.below(180))));
        let mut pool = Pool::format(Logged(devices.clone()), options(rng.below(2) == 0), 128, 12 + rng.below(90))?;
        pool.commit()?;
        Ok(Self {
            pool,
            devices,
            volumes: BTreeMap::new(),
            history: vec![(0, Committed::default())],
            stamp: 1,
            next: 0,
            unfinished: Vec::new(),
        })
    }

    /// Does something at random.
    pub(crate) fn step(&mut self, rng: &mut Rng) -> Result<(), Error> {
        if rng.below(3) == 0 {
            self.discard_one()?;
        }
        if rng.below(4) == 0 {
            self.finish()?;
        }
        match rng.below(100) {
            0..=59 => self.write(rng),
            60..=71 => self.discard(rng),
            72..=76 => self.create(rng),
            77..=81 => self.snapshot(rng),
            82..=83 => self.delete(rng),
            84..=85 => match self.pool.held_root() {
                None => {
                    self.before_commit()?;
                    self.pool.reserve_snapshot()?;
                    self.after_commit()
                }
                Some(_) => {
                    self.before_commit()?;
                    self.pool.release_snapshot()?;
                    self.after_commit()
                }
            },
            _ => self.commit(),
        }
    }

    fn pick(&self, rng: &mut Rng) -> Option<u64> {
        let index = rng.below(self.volumes.len().max(1) as u64) as usize;
        self.volumes.keys().nth(index).copied()
    }

    fn write(&mut self, rng: &mut Rng) -> Result<(), Error> {
        let Some(id) = self.pick(rng) else { return Ok(()) };
        let block = rng.below(BLOCKS);
        let sectors = [rng.below(3) > 0, rng.below(3) > 0];
        if self.unfinished.iter().any(|other| (other.id, other.block) == (id, block)) {
            self.finish()?;
        }
        let found = self.pool.lookup(id, VirtualBlock(block))?;
        let in_place = found.filter(|run| !run.shared).map(|run| run.data.0);
        let data = match in_place {
            Some(data) => data,
            None => {
                let run = match self.pool.take_data(rng.below(2) as usize, 1) {
                    Ok(run) => run,
                    Err(Error::CommitFirst) => return self.commit(),
                    Err(Error::DataFull) => return Ok(()),
                    Err(error) => return Err(error),
                };
                // Copied, or zeros: all of it, but what is about to be written.
                let old = found.map_or([0; SECTORS], |found| self.devices.borrow().read_data(found.data.0));
                for (sector, stamp) in old.into_iter().enumerate() {
                    self.devices.borrow_mut().write_data(run.begin, sector, stamp);
                }
                if rng.below(20) == 0 {
                    // The copy failed.
                    self.pool.give_back(run)?;
                    return Ok(());
                }
                run.begin
            }
        };
        let mut stamps = Vec::new();
        for (sector, _) in sectors.iter().enumerate().filter(|(_, &wanted)| wanted) {
            self.stamp += 1;
            self.devices.borrow_mut().write_data(data, sector, self.stamp);
            stamps.push((sector, self.stamp));
        }
        if in_place.is_some() {
            self.written(id, block, &stamps);
        } else {
            self.unfinished.push(Unfinished { id, block, data, stamps });
            if rng.below(3) > 0 {
                self.finish()?;
            }
        }
        Ok(())
    }

    fn written(&mut self, id: u64, block: u64, stamps: &[(usize, u64)]) {
        let place = self.volumes.entry(id).or_default().entry(block).or_default();
        for &(sector, stamp) in stamps {
            if let Some(place) = place.get_mut(sector) {
                *place = stamp;
            }
            if let Some((_, committed)) = self.history.last_mut() {
                committed.since.push((id, block, sector, stamp));
            }
        }
    }

    /// Maps what was written.
    fn finish(&mut self) -> Result<(), Error> {
        for Unfinished { id, block, data, stamps } in std::mem::take(&mut self.unfinished) {
            match self.pool.insert(id, VirtualBlock(block), Run { begin: data, end: data + 1 }) {
                Ok(()) => self.written(id, block, &stamps),
                Err(Error::MetadataFull | Error::CommitFirst) => {
                    self.pool.give_back(Run { begin: data, end: data + 1 })?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Discards one of the runs that were given up.
    fn discard_one(&mut self) -> Result<(), Error> {
        let Some(run) = self.pool.next_discard() else { return Ok(()) };
        for block in run.begin..run.end {
            for sector in 0..SECTORS {
                self.devices.borrow_mut().write_data(block, sector, DISCARDED);
            }
        }
        self.pool.give_back(run)
    }

    fn discard(&mut self, rng: &mut Rng) -> Result<(), Error> {
        let Some(id) = self.pick(rng) else { return Ok(()) };
        self.finish()?;
        let begin = rng.below(BLOCKS);
        let end = begin + 1 + rng.below(6);
        match self.pool.remove(id, VirtualBlock(begin), VirtualBlock(end), 100) {
            Err(Error::CommitFirst) => self.commit(),
            Err(Error::MetadataFull) => Ok(()),
            result => {
                let end = result?.next.map_or(end, |next| next.0);
                self.volumes.entry(id).or_default().retain(|block, _| *block < begin || *block >= end);
                Ok(())
            }
        }
    }

    fn create(&mut self, rng: &mut Rng) -> Result<(), Error> {
        if self.volumes.len() > 6 {
            return Ok(());
        }
        let id = rng.below(100);
        match self.pool.create_thin(id) {
            Ok(()) => {
                self.volumes.insert(id, Volume::new());
                self.commit()
            }
            Err(Error::DeviceExists(_) | Error::MetadataFull | Error::CommitFirst) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn snapshot(&mut self, rng: &mut Rng) -> Result<(), Error> {
        let Some(origin) = self.pick(rng).filter(|_| self.volumes.len() < 7) else { return Ok(()) };
        let mut pairs = vec![(100 + self.next, origin)];
        self.next += 1;
        if let Some(other) = self.pick(rng).filter(|_| rng.below(2) == 0) {
            pairs.push((100 + self.next, other));
            self.next += 1;
        }
        self.finish()?;
        match self.pool.create_snapshots(&pairs) {
            Err(Error::MetadataFull | Error::CommitFirst) => return Ok(()),
            result => result?,
        }
        for (new, origin) in pairs {
            let volume = self.volumes.get(&origin).cloned().unwrap_or_default();
            self.volumes.insert(new, volume);
        }
        self.commit()
    }

    fn delete(&mut self, rng: &mut Rng) -> Result<(), Error> {
        let Some(id) = self.pick(rng) else { return Ok(()) };
        self.finish()?;
        loop {
            match self.pool.delete(id, 1 + rng.below(10)) {
                Ok(Deletion::Done) => break,
                Err(Error::MetadataFull | Error::CommitFirst) => return self.commit(),
                Ok(Deletion::Unfinished) => {}
                Err(error) => return Err(error),
            }
            let left = self.mapped(id)?;
            self.volumes.entry(id).or_default().retain(|block, _| left.contains(block));
            self.commit()?;
        }
        self.volumes.remove(&id);
        self.commit()
    }

    fn mapped(&mut self, id: u64) -> Result<Vec<u64>, Error> {
        let mut blocks = Vec::new();
        self.pool.runs(id, VirtualBlock(0), VirtualBlock(u64::MAX), &mut |run| {
            blocks.extend(run.begin.0..run.begin.0 + run.length);
            std::ops::ControlFlow::Continue(())
        })?;
        Ok(blocks)
    }

    /// A flush, or a message: durable when it returns.
    fn commit(&mut self) -> Result<(), Error> {
        self.before_commit()?;
        self.pool.commit()?;
        self.after_commit()
    }

    fn before_commit(&mut self) -> Result<(), Error> {
        let id = self.pool.transaction_id();
        self.pool.set_transaction_id(id, id + 1)?;
        // From here on a crash may lead to the next transaction, which has all that was done.
        self.history.push((usize::MAX, Committed { volumes: self.volumes.clone(), since: Vec::new() }));
        Ok(())
    }

    fn after_commit(&mut self) -> Result<(), Error> {
        let transaction = self.history.len() - 1;
        let mut devices = self.devices.borrow_mut();
        devices.log.push(Event::Acknowledged(transaction));
        let place = devices.log.len();
        drop(devices);
        if let Some((acknowledged, _)) = self.history.last_mut() {
            *acknowledged = place;
        }
        Ok(())
    }
}
