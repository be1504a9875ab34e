// SPDX-License-Identifier: GPL-2.0

//! What a target does at random: all that it needs for a step comes from the step's own seed, so that steps can be left out of
//! a sequence without the others becoming something else.

use crate::device::{Purpose, SECTORS};
use crate::rng::Rng;
use crate::target::{map_of, Target, Unfinished, Volume, DISCARDED};
use crate::Fault;
use std::rc::Rc;
use stor_pure::pure::thin::data::Run;
use stor_pure::pure::thin::device::Deletion;
use stor_pure::pure::thin::error::Error;
use stor_pure::pure::units::VirtualBlock;

impl Target {
    pub(crate) fn step(&mut self, seed: u64) -> Result<(), Fault> {
        let rng = &mut Rng::new(seed);
        if rng.below(3) == 0 {
            self.discard_one()?;
        }
        if rng.below(4) == 0 {
            self.finish()?;
        }
        match rng.below(100) {
            0..=57 => self.write(rng),
            58..=69 => self.unmap(rng),
            70..=74 => self.create(rng),
            75..=79 => self.snapshot(rng),
            80..=82 => self.delete(rng),
            83..=84 if self.held.is_none() => self.reserve(),
            83..=84 => self.release(),
            85 => self.grow_data(rng),
            86 => self.grow_metadata(rng),
            _ => {
                self.tell(|| "commit".into());
                self.commit()
            }
        }
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        self.told.push(what());
    }

    fn pick(&self, rng: &mut Rng) -> Option<u64> {
        let index = rng.below(self.volumes.len().max(1) as u64) as usize;
        self.volumes.keys().nth(index).copied()
    }

    fn write(&mut self, rng: &mut Rng) -> Result<(), Fault> {
        let Some(id) = self.pick(rng) else { return Ok(()) };
        let (begin, row) = (rng.below(self.shape.volume), 1 + rng.below(self.shape.row));
        let sectors = [rng.below(3) > 0, rng.below(3) > 0];
        let (stream, fail, finish) = (rng.below(2) as usize, rng.below(20) == 0, rng.below(3) > 0);
        self.tell(|| format!("write to volume {id}, {row} blocks from {begin}"));
        for block in begin..(begin + row).min(self.shape.volume) {
            if !self.write_block(id, block, sectors, stream, fail)? {
                return Ok(());
            }
        }
        if finish {
            self.finish()?;
        }
        Ok(())
    }

    /// Writes sectors of a block; whether there was room.
    fn write_block(
        &mut self,
        id: u64,
        block: u64,
        sectors: [bool; SECTORS],
        stream: usize,
        fail: bool,
    ) -> Result<bool, Fault> {
        if self.unfinished.iter().any(|other| (other.id, other.block) == (id, block)) {
            self.finish()?;
        }
        let found = self.pool.lookup(id, VirtualBlock(block))?;
        let wanted = sectors.iter().enumerate().filter(|(_, &wanted)| wanted).map(|(sector, _)| sector);
        if let Some(run) = found.filter(|run| !run.shared) {
            for sector in wanted {
                self.stamp += 1;
                let why = Purpose::InPlace(id, block);
                let result = self.devices.borrow_mut().write_data(run.data.0, sector, self.stamp, why);
                self.written(id, block, &[(sector, self.stamp)]);
                if result.is_err() {
                    // Whether it was written nobody knows but the device.
                    let now = self.devices.borrow().read_data(run.data.0);
                    self.volumes.entry(id).or_default().insert(block, now);
                }
            }
            return Ok(true);
        }
        let run = match self.pool.take_data(stream, 1) {
            Ok(run) => run,
            Err(Error::CommitFirst) => {
                self.commit()?;
                return Ok(false);
            }
            Err(Error::DataFull | Error::DiscardFirst) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        // Copied, or zeros: all of it, but what is about to be written.
        let mut contents = found.map_or([0; SECTORS], |found| self.devices.borrow().read_data(found.data.0));
        let mut stamps = Vec::new();
        for sector in wanted {
            self.stamp += 1;
            stamps.push((sector, self.stamp));
            if let Some(place) = contents.get_mut(sector) {
                *place = self.stamp;
            }
        }
        let mut failed = fail;
        for (sector, stamp) in contents.into_iter().enumerate() {
            failed |= self.devices.borrow_mut().write_data(run.begin, sector, stamp, Purpose::Fill).is_err();
        }
        if failed {
            self.pool.give_back(run)?;
        } else {
            self.unfinished.push(Unfinished { id, block, data: run.begin, stamps });
        }
        Ok(true)
    }

    /// Maps what was written.
    fn finish(&mut self) -> Result<(), Fault> {
        for Unfinished { id, block, data, stamps } in std::mem::take(&mut self.unfinished) {
            match self.pool.insert(id, VirtualBlock(block), Run { begin: data, end: data + 1 }) {
                Ok(()) => self.written_anew(id, block, data, &stamps),
                Err(Error::MetadataFull | Error::CommitFirst) => {
                    self.pool.give_back(Run { begin: data, end: data + 1 })?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn written_anew(&mut self, id: u64, block: u64, data: u64, stamps: &[(usize, u64)]) {
        let contents = self.devices.borrow().read_data(data);
        self.volumes.entry(id).or_default().insert(block, contents);
        self.written(id, block, stamps);
    }

    /// Discards one of the runs that were given up.
    fn discard_one(&mut self) -> Result<(), Fault> {
        let Some(run) = self.pool.next_discard() else { return Ok(()) };
        self.tell(|| format!("discard data blocks {} to {}", run.begin, run.end - 1));
        for block in run.begin..run.end {
            for sector in 0..SECTORS {
                // One that fails is as good: nobody reads the block.
                let _ = self.devices.borrow_mut().write_data(block, sector, DISCARDED, Purpose::Discard);
            }
        }
        Ok(self.pool.discarded(run)?)
    }

    fn unmap(&mut self, rng: &mut Rng) -> Result<(), Fault> {
        let Some(id) = self.pick(rng) else { return Ok(()) };
        let begin = rng.below(self.shape.volume);
        let end = begin + 1 + rng.below(6 * self.shape.row);
        self.tell(|| format!("unmap volume {id}, blocks {begin} to {}", end - 1));
        self.finish()?;
        match self.pool.remove(id, VirtualBlock(begin), VirtualBlock(end), 1 + rng.below(300)) {
            Err(Error::CommitFirst) => self.commit(),
            Err(Error::MetadataFull | Error::DiscardFirst) => Ok(()),
            result => {
                let end = result?.next.map_or(end, |next| next.0);
                self.volumes.entry(id).or_default().retain(|block, _| *block < begin || *block >= end);
                Ok(())
            }
        }
    }

    fn create(&mut self, rng: &mut Rng) -> Result<(), Fault> {
        if self.volumes.len() > 6 {
            return Ok(());
        }
        let id = rng.below(100);
        self.tell(|| format!("create volume {id}"));
        match self.pool.create_thin(id) {
            Ok(()) => {
                self.volumes.insert(id, Volume::new());
                self.commit()
            }
            Err(Error::DeviceExists(_) | Error::MetadataFull | Error::CommitFirst) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn snapshot(&mut self, rng: &mut Rng) -> Result<(), Fault> {
        let Some(origin) = self.pick(rng).filter(|_| self.volumes.len() < 7) else { return Ok(()) };
        let mut pairs = vec![(100 + self.next, origin)];
        self.next += 1;
        if let Some(other) = self.pick(rng).filter(|_| rng.below(2) == 0) {
            pairs.push((100 + self.next, other));
            self.next += 1;
        }
        self.tell(|| format!("snapshots (new, origin): {pairs:?}"));
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

    fn delete(&mut self, rng: &mut Rng) -> Result<(), Fault> {
        let Some(id) = self.pick(rng) else { return Ok(()) };
        self.tell(|| format!("delete volume {id}"));
        self.finish()?;
        let mut waited = 0;
        loop {
            match self.pool.delete(id, 1 + rng.below(10 * self.shape.row)) {
                Ok(Deletion::Done) => break,
                Ok(Deletion::Unfinished) => waited = 0,
                Err(Error::CommitFirst | Error::DiscardFirst) if waited < 2 => {
                    waited += 1;
                    while self.pool.next_discard().map(|run| self.pool.discarded(run)).transpose()?.is_some() {}
                }
                // There is always room for it.
                Err(error) => return Err(error.into()),
            }
            let left = map_of(&mut self.pool, id)?;
            self.volumes.entry(id).or_default().retain(|block, _| left.contains_key(block));
            self.commit()?;
        }
        self.volumes.remove(&id);
        self.commit()
    }

    fn reserve(&mut self) -> Result<(), Fault> {
        self.tell(|| "reserve the metadata snapshot".into());
        self.finish()?;
        let maps = Rc::new(self.maps()?);
        self.before_commit()?;
        // It commits before it, and after it.
        if let Some(committed) = self.current() {
            (committed.held, committed.held_late) = (Some(maps.clone()), true);
        }
        match self.pool.reserve_snapshot() {
            Ok(_) => self.held = Some(maps),
            Err(Error::MetadataFull) => {
                if let Some(committed) = self.current() {
                    (committed.held, committed.held_late) = (None, false);
                }
            }
            Err(error) => return Err(error.into()),
        }
        self.after_commit()
    }

    fn release(&mut self) -> Result<(), Fault> {
        self.tell(|| "release the metadata snapshot".into());
        let held = self.held.take();
        self.before_commit()?;
        match self.pool.release_snapshot() {
            Ok(()) => {}
            Err(Error::MetadataFull | Error::CommitFirst) => {
                self.held.clone_from(&held);
                if let Some(committed) = self.current() {
                    committed.held.clone_from(&held);
                }
                self.pool.commit()?;
            }
            Err(error) => return Err(error.into()),
        }
        self.after_commit()
    }

    fn grow_data(&mut self, rng: &mut Rng) -> Result<(), Fault> {
        let blocks = self.data_blocks + 1 + rng.below(20);
        self.tell(|| format!("grow to {blocks} data blocks"));
        match self.pool.grow_data(blocks) {
            Ok(()) => {
                self.data_blocks = blocks;
                self.commit()
            }
            Err(Error::MetadataFull | Error::CommitFirst) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn grow_metadata(&mut self, rng: &mut Rng) -> Result<(), Fault> {
        self.devices.borrow_mut().grow(1 + rng.below(16));
        self.tell(|| "grow the metadata device".into());
        match self.pool.grow_metadata() {
            Ok(()) => self.commit(),
            Err(Error::MetadataFull) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
