// SPDX-License-Identifier: GPL-2.0

//! Random sequences of snapshots, clones, rollbacks and deletions, with writes and discards in between, beside a model that
//! knows every sector of every volume.

use crate::content::{fill, stamp, Stamp, SECTOR};
use crate::device::{Buffer, Node};
use crate::pool::Pool;
use crate::rng::Rng;
use crate::state::Volume;
use crate::Fault;
use std::collections::BTreeMap;
use std::path::PathBuf;

const MOST: usize = 7;
/// Sectors of the longest write.
const LONGEST: u64 = 1024;

/// A volume, its model, and of which it is a snapshot.
struct Member {
    model: Volume,
    origin: Option<u64>,
}

/// What was done.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) sequences: u64,
    writes: u64,
    discards: u64,
    snapshots: u64,
    clones: u64,
    rollbacks: u64,
    deletions: u64,
    reopened: u64,
    sectors: u64,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} sequences: {} writes, {} discards, {} snapshots, {} clones, {} rollbacks, {} deletions, reopened {} times; \
             all {} sectors read as the model says",
            self.sequences,
            self.writes,
            self.discards,
            self.snapshots,
            self.clones,
            self.rollbacks,
            self.deletions,
            self.reopened,
            self.sectors
        )
    }
}

/// Sequences on one pool.
pub(crate) struct Play<'a> {
    pub(crate) pool: &'a Pool,
    /// Sectors of a volume, and of a block.
    pub(crate) sectors: u64,
    pub(crate) block: u64,
    /// Of a step, at most.
    writes: u64,
    members: BTreeMap<u64, Member>,
    /// Those nodes that were asked for, until they may be others.
    nodes: BTreeMap<u64, PathBuf>,
    next: u64,
    generation: u64,
    pub(crate) counts: Counts,
}

impl<'a> Play<'a> {
    pub(crate) fn new(pool: &'a Pool, sectors: u64, block: u64, writes: u64) -> Self {
        let (members, nodes) = (BTreeMap::new(), BTreeMap::new());
        Self { pool, sectors, block, writes, members, nodes, next: 0, generation: 0, counts: Counts::default() }
    }

    /// A sequence, from an empty open pool to an empty open pool.
    pub(crate) fn sequence(&mut self, mut rng: Rng, steps: u64) -> Result<(), Fault> {
        self.create()?;
        for step in 0..steps {
            self.step(&mut rng).map_err(|error| format!("step {step}: {error}"))?;
        }
        self.verify_all()?;
        self.reopen()?;
        self.verify_all()?;
        // What is left is not touched by what goes.
        while let Some(id) = self.any(&mut rng) {
            self.delete(id)?;
            if let Some(other) = self.any(&mut rng) {
                self.verify(other)?;
            }
        }
        let used = self.pool.used()?;
        if used != 0 {
            return Err(format!("{used} blocks are in use, but there is no volume any more").into());
        }
        self.reopen()?;
        self.counts.sequences += 1;
        Ok(())
    }

    fn any(&self, rng: &mut Rng) -> Option<u64> {
        self.members.keys().nth(rng.below(self.members.len().max(1) as u64) as usize).copied()
    }

    fn step(&mut self, rng: &mut Rng) -> Result<(), Fault> {
        let Some(id) = self.any(rng) else {
            return self.create();
        };
        let room = self.members.len() < MOST;
        match rng.below(100) {
            0..=3 if room => self.create(),
            4..=15 if room => self.snapshot(id, rng.below(2) == 0),
            16..=23 => self.delete(id),
            24..=33 => self.rollback(rng),
            34..=35 => self.reopen(),
            36..=41 => self.verify(id),
            42..=53 => self.discard(id, rng),
            _ => self.write(id, rng),
        }
    }

    fn create(&mut self) -> Result<(), Fault> {
        self.next += 1;
        self.pool.create(self.next, self.sectors)?;
        let stamps = vec![Stamp::ZEROS; self.sectors as usize];
        self.members.insert(self.next, Member { model: Volume { stamps, writable: true }, origin: None });
        Ok(())
    }

    fn snapshot(&mut self, origin: u64, writable: bool) -> Result<(), Fault> {
        self.next += 1;
        self.pool.snapshot(origin, self.next, writable)?;
        let model = Volume { writable, ..self.member(origin)?.model.clone() };
        self.members.insert(self.next, Member { model, origin: Some(origin) });
        *(if writable { &mut self.counts.clones } else { &mut self.counts.snapshots }) += 1;
        Ok(())
    }

    fn delete(&mut self, id: u64) -> Result<(), Fault> {
        self.pool.delete(id)?;
        self.members.remove(&id);
        for member in self.members.values_mut() {
            member.origin = member.origin.filter(|&origin| origin != id);
        }
        self.counts.deletions += 1;
        Ok(())
    }

    /// Of a volume to one of its snapshots, if there is any.
    fn rollback(&mut self, rng: &mut Rng) -> Result<(), Fault> {
        let back: Vec<_> = self
            .members
            .iter()
            .filter(|(_, member)| !member.model.writable)
            .filter_map(|(&snapshot, member)| Some((member.origin?, snapshot)))
            .filter(|(origin, _)| self.members.get(origin).is_some_and(|origin| origin.model.writable))
            .collect();
        let Some(&(id, snapshot)) = back.get(rng.below(back.len().max(1) as u64) as usize) else {
            return Ok(());
        };
        self.nodes.clear();
        self.pool.rollback(id, snapshot)?;
        let stamps = self.member(snapshot)?.model.stamps.clone();
        self.member(id)?.model.stamps = stamps;
        self.counts.rollbacks += 1;
        self.verify(id)
    }

    fn member(&mut self, id: u64) -> Result<&mut Member, Fault> {
        self.members.get_mut(&id).ok_or_else(|| format!("there is no volume {id}").into())
    }

    fn node(&mut self, id: u64) -> Result<Node, Fault> {
        if !self.nodes.contains_key(&id) {
            self.nodes = self.pool.nodes(&self.members.keys().copied().collect::<Vec<_>>())?;
        }
        Node::open(self.nodes.get(&id).ok_or("no such volume")?)
    }

    /// Some writes, here and there.
    fn write(&mut self, id: u64, rng: &mut Rng) -> Result<(), Fault> {
        if !self.member(id)?.model.writable {
            return Ok(());
        }
        let node = self.node(id)?;
        let mut buffer = Buffer::new(LONGEST as usize * SECTOR);
        for _ in 0..1 + rng.below(self.writes) {
            let longest = [8, 130, LONGEST][rng.below(3) as usize];
            let first = rng.below(self.sectors);
            let count = (1 + rng.below(longest)).min(self.sectors - first);
            self.generation += 1;
            let stamp = Stamp::new(id, self.generation);
            let bytes = buffer.first(count as usize * SECTOR);
            fill(bytes, first, stamp);
            node.write(first, bytes, rng.below(4) == 0)?;
            self.set(id, first, count, stamp)?;
            self.counts.writes += 1;
        }
        if rng.below(3) == 0 {
            node.flush(rng.below(2) == 0)?;
        }
        Ok(())
    }

    fn set(&mut self, id: u64, first: u64, count: u64, stamp: Stamp) -> Result<(), Fault> {
        let sectors = first as usize..(first + count) as usize;
        let stamps = self.member(id)?.model.stamps.get_mut(sectors).ok_or("a sector that there is not")?;
        stamps.fill(stamp);
        Ok(())
    }

    /// Whole blocks hold zeros afterwards; the sectors of others zeros or what they held.
    fn discard(&mut self, id: u64, rng: &mut Rng) -> Result<(), Fault> {
        if !self.member(id)?.model.writable {
            return Ok(());
        }
        let mut first = rng.below(self.sectors);
        let mut end = (first + 1 + rng.below(10 * self.block)).min(self.sectors);
        if rng.below(2) == 0 {
            first = first / self.block * self.block;
            end = end.next_multiple_of(self.block).min(self.sectors);
        }
        let node = self.node(id)?;
        node.discard(first, end - first)?;
        self.counts.discards += 1;
        let whole = first.next_multiple_of(self.block)..end / self.block * self.block;
        let mut buffer = Buffer::new(SECTOR);
        for sector in first..end {
            if whole.contains(&sector) {
                self.set(id, sector, 1, Stamp::ZEROS)?;
                continue;
            }
            let bytes = buffer.first(SECTOR);
            node.read(sector, bytes)?;
            if stamp(bytes, sector).map_err(|error| format!("volume {id}: sector {sector} {error}"))? == Stamp::ZEROS {
                self.set(id, sector, 1, Stamp::ZEROS)?;
            }
        }
        Ok(())
    }

    fn verify_all(&mut self) -> Result<(), Fault> {
        self.members.keys().copied().collect::<Vec<_>>().into_iter().try_for_each(|id| self.verify(id))
    }

    fn verify(&mut self, id: u64) -> Result<(), Fault> {
        let node = self.node(id)?;
        let model = &self.members.get(&id).ok_or("no such volume")?.model;
        if node.sectors != model.stamps.len() as u64 {
            return Err(format!("volume {id} has {} sectors", node.sectors).into());
        }
        node.all(|sector, bytes| match (stamp(bytes, sector)?, model.stamps[sector as usize]) {
            (found, right) if found == right => Ok(()),
            (found, right) => Err(format!("holds {found}, should hold {right}").into()),
        })
        .map_err(|error| format!("volume {id}: {error}"))?;
        self.counts.sectors += node.sectors;
        Ok(())
    }

    /// Closes the pool, looks at what it has on its disks, and opens all of it.
    fn reopen(&mut self) -> Result<(), Fault> {
        self.nodes.clear();
        self.pool.close()?;
        let remark = self.pool.check()?;
        if !remark.is_empty() {
            return Err(format!("the check after a clean close: {remark}").into());
        }
        self.counts.reopened += 1;
        self.pool.open(&self.members.keys().copied().collect::<Vec<_>>())
    }
}
