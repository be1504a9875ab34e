// SPDX-License-Identifier: GPL-2.0

//! Power cuts, one after the other: load, snapshots and deletions, the cut, what the disks have, what the volumes hold.
//!
//! Only the disks go ([`Pool::cut`]): they lose what was not flushed, and answer errors until the pool is closed. Where the
//! guest goes with them, the program is called again after the boot, and finds what it needs in two files that are outside.

use crate::content;
use crate::device::Node;
use crate::judge::{allowed, Existence};
use crate::load::{Load, Target};
use crate::pool::Pool;
use crate::record::{self, Journal, Record};
use crate::rng::Rng;
use crate::state::{State, Volume};
use crate::Fault;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

/// Volumes at the beginning, and at most.
const FIRST: u64 = 3;
const MOST: usize = 8;
/// Volumes under load at one time, at most.
const TOGETHER: usize = 4;

/// How the pool is tried.
pub(crate) struct Trial {
    pub(crate) pool: Pool,
    pub(crate) seed: u64,
    pub(crate) rounds: u64,
    pub(crate) threads: u64,
    /// Sectors of a volume, and of a block.
    pub(crate) sectors: u64,
    pub(crate) block: u64,
    /// The cut comes within so many milliseconds.
    pub(crate) within: u64,
    /// Writes may find no room.
    pub(crate) tight: bool,
    /// There is one volume, and nothing is made or deleted.
    pub(crate) single: bool,
    /// Disks that lose and get their power one by one.
    pub(crate) apart: u64,
    /// Where the state and the journal are.
    pub(crate) folder: PathBuf,
}

/// What was seen in all rounds.
#[derive(Default)]
pub(crate) struct Seen {
    cuts: u64,
    /// Of single disks, before the others.
    early: u64,
    /// Starts with less than all disks, and such that were refused.
    partial: u64,
    refusals: u64,
    writes: u64,
    flushes: u64,
    discards: u64,
    refused: u64,
    durable: u64,
    snapshots: u64,
    deletions: u64,
    kept: u64,
    lost: u64,
    sectors: u64,
    /// What the check of the pool found that is allowed to it, and how often.
    remarks: BTreeMap<String, u64>,
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} power cuts, {} unflushed sectors kept and {} lost; {} writes, {} flushes, {} discards, {} snapshots, \
             {} deletions; {} sectors read afterwards, {} of them had to be durable: nothing lost, nothing foreign",
            self.cuts,
            self.kept,
            self.lost,
            self.writes,
            self.flushes,
            self.discards,
            self.snapshots,
            self.deletions,
            self.sectors,
            self.durable
        )?;
        if self.early + self.partial + self.refusals != 0 {
            let (early, partial, refusals) = (self.early, self.partial, self.refusals);
            write!(
                f,
                "; {early} disks went before the others, {partial} starts without all of them, {refusals} refused"
            )?;
        }
        if self.refused != 0 {
            write!(f, "; {} writes found no room", self.refused)?;
        }
        self.remarks.iter().try_for_each(|(remark, count)| write!(f, "\n{count} times: {remark}"))
    }
}

impl Trial {
    fn state_file(&self) -> PathBuf {
        self.folder.join("state")
    }

    fn journal_file(&self) -> PathBuf {
        self.folder.join("journal")
    }

    /// All rounds. What an earlier call left is looked at first.
    pub(crate) fn run(&self) -> Result<Seen, Fault> {
        let mut seen = Seen::default();
        let mut state = match State::load(&self.state_file())? {
            Some(state) => self.look(state, &mut seen).map_err(|error| format!("after the boot: {error}"))?,
            None => self.begin()?,
        };
        for round in 0..self.rounds {
            let seed = self.seed.wrapping_mul(1 << 20).wrapping_add(state.generation).wrapping_add(round);
            let mode = self.round(&state, seed, &mut seen).map_err(|error| format!("round {round}: {error}"))?;
            let again = || -> Result<State, Fault> {
                self.pool.close()?;
                let some = self.power(seed, &mut seen)?;
                let state = self.look(state.clone(), &mut seen)?;
                if some {
                    self.pool.power(&[])?;
                    self.pool.whole()?;
                }
                Ok(state)
            };
            state = { again }().map_err(|error| format!("round {round}, power cut {mode}: {error}"))?;
        }
        self.pool.close()?;
        Ok(seen)
    }

    /// Gives the disks their power again: so many that the pool starts, in any order; whether that may not be all.
    fn power(&self, seed: u64, seen: &mut Seen) -> Result<bool, Fault> {
        if self.apart == 0 {
            return self.pool.power(&[]).map(|()| false);
        }
        let mut rng = Rng::new(!seed);
        let mut gone: Vec<u64> = (0..self.apart).collect();
        for _ in 0..=rng.below(self.apart) {
            self.pool.power(&[gone.swap_remove(rng.below(gone.len() as u64) as usize)])?;
        }
        while let Err(error) = self.pool.check() {
            // It has to say why.
            if gone.is_empty() || !error.to_string().contains("storctl: cannot assemble") {
                return Err(error);
            }
            seen.refusals += 1;
            self.pool.power(&[gone.swap_remove(rng.below(gone.len() as u64) as usize)])?;
        }
        seen.partial += u64::from(!gone.is_empty());
        Ok(true)
    }

    /// Makes the volumes.
    fn begin(&self) -> Result<State, Fault> {
        let mut state = State::default();
        self.pool.open(&[])?;
        for _ in 0..if self.single { 1 } else { FIRST } {
            let id = state.number();
            self.pool.create(id, self.sectors)?;
            let stamps = vec![content::Stamp::ZEROS; self.sectors as usize];
            state.volumes.insert(id, Volume { stamps, writable: true });
        }
        state.save(&self.state_file())?;
        Ok(state)
    }

    /// Load until the power is cut, on an open pool; says how it was cut.
    fn round(&self, state: &State, seed: u64, seen: &mut Seen) -> Result<String, Fault> {
        let mut rng = Rng::new(seed);
        let journal = Journal::create(&self.journal_file())?;
        let mut ids: Vec<_> = state.volumes.iter().filter(|(_, volume)| volume.writable).map(|(&id, _)| id).collect();
        while ids.len() > TOGETHER {
            ids.swap_remove(rng.below(ids.len() as u64) as usize);
        }
        let mut targets = BTreeMap::new();
        for (id, node) in self.pool.nodes(&ids)? {
            targets.insert(id, Target::new(Node::open(&node)?));
        }
        let load = Load {
            targets,
            journal: &journal,
            generation: state.generation.into(),
            cut: false.into(),
            over: false.into(),
            threads: self.threads,
            block: self.block,
            tight: self.tight,
            counts: Default::default(),
        };
        let mode = match rng.below(10) {
            0..=6 => "random",
            7..=8 => "none",
            _ => "all",
        };
        let (load, mut keeper) = (&load, Rng::new(rng.next()));
        let (kept, lost) = thread::scope(|scope| -> Result<(u64, u64), Fault> {
            let mut threads = Vec::new();
            for thread in 0..self.threads {
                let rng = Rng::new(rng.next());
                threads.push(scope.spawn(move || load.run(thread, rng)));
            }
            if !self.single {
                threads.push(scope.spawn(move || self.keep(state, load, &mut keeper)));
            }
            let counts = self.cut(mode, &mut rng, load, seen);
            // Without a cut, no request fails.
            load.over.store(counts.is_err(), SeqCst);
            for thread in threads {
                thread.join().map_err(|_| "a thread of the load panicked")??;
            }
            counts
        })?;
        seen.cuts += 1;
        seen.kept += kept;
        seen.lost += lost;
        seen.writes += load.counts.writes.load(SeqCst);
        seen.flushes += load.counts.flushes.load(SeqCst);
        seen.discards += load.counts.discards.load(SeqCst);
        seen.refused += load.counts.refused.load(SeqCst);
        Ok(format!("{mode} ({kept} sectors kept, {lost} lost)"))
    }

    /// Cuts the power, of some disks before the others; how many sectors these kept and lost.
    fn cut(&self, mode: &str, rng: &mut Rng, load: &Load<'_>, seen: &mut Seen) -> Result<(u64, u64), Fault> {
        let end = self.within / 4 + rng.below(self.within);
        let mut early: Vec<_> = (1..self.apart).map(|_| rng.below(2 * end)).filter(|&at| at < end).collect();
        early.sort_unstable();
        let (mut disks, mut now): (Vec<u64>, u64) = ((0..self.apart).collect(), 0);
        for (number, at) in early.into_iter().enumerate() {
            thread::sleep(Duration::from_millis(at - now));
            // One disk may go without an error, if all had everything; what a second one takes nobody can know.
            load.cut.store(number > 0 || !self.pool.is_whole()?, SeqCst);
            let disk = disks.swap_remove(rng.below(disks.len() as u64) as usize);
            let (kept, lost) = self.pool.cut(mode, rng.next() >> 32, &[disk])?;
            (now, seen.early, seen.kept, seen.lost) = (at, seen.early + 1, seen.kept + kept, seen.lost + lost);
        }
        thread::sleep(Duration::from_millis(end - now));
        load.cut.store(true, SeqCst);
        self.pool.cut(mode, rng.next() >> 32, &[])
    }

    /// Makes a snapshot or deletes a volume, if at all, at some moment of the load.
    fn keep(&self, state: &State, load: &Load<'_>, rng: &mut Rng) -> Result<(), Fault> {
        thread::sleep(Duration::from_millis(rng.below(self.within / 2 + 1)));
        let idle: Vec<_> = state.volumes.keys().copied().filter(|id| !load.targets.contains_key(id)).collect();
        let all: Vec<_> = state.volumes.keys().copied().collect();
        let done = if all.len() < MOST && rng.below(3) != 0 {
            let (origin, volume) = (all[rng.below(all.len() as u64) as usize], state.next + 1);
            let writable = rng.below(2) == 0;
            load.journal.add(&[Record::Snapshot { volume, origin, writable }])?;
            self.pool
                .snapshot(origin, volume, writable)
                .and_then(|()| load.journal.add(&[Record::Made { volume, generation: load.generation.load(SeqCst) }]))
        } else if !idle.is_empty() && (all.len() == MOST || rng.below(3) == 0) {
            let volume = idle[rng.below(idle.len() as u64) as usize];
            load.journal.add(&[Record::Delete(volume)])?;
            self.pool.delete(volume).and_then(|()| load.journal.add(&[Record::Deleted(volume)]))
        } else {
            Ok(())
        };
        match done {
            Err(_) if load.cut.load(SeqCst) => Ok(()),
            other => other,
        }
    }

    /// Opens the pool after a power cut and compares it with what was recorded; what there is from now on.
    fn look(&self, state: State, seen: &mut Seen) -> Result<State, Fault> {
        let remark = self.pool.check()?;
        if !remark.is_empty() {
            *seen.remarks.entry(remark).or_default() += 1;
        }
        let records = if self.journal_file().exists() { record::read(&self.journal_file())? } else { Vec::new() };
        seen.durable += count(&records, |record| matches!(record, Record::Durable(_)));
        seen.snapshots += count(&records, |record| matches!(record, Record::Made { .. }));
        seen.deletions += count(&records, |record| matches!(record, Record::Deleted(_)));
        let volumes = allowed(&state, &records)?;
        let of = |existence| {
            let volumes = volumes.iter().filter(move |(_, volume)| volume.existence == existence);
            volumes.map(|(&id, _)| id).collect::<Vec<u64>>()
        };
        self.pool.open(&of(Existence::Sure))?;
        for id in of(Existence::Gone) {
            if self.pool.open_volume(id).is_ok() {
                return Err(format!("volume {id} is there again, but had been deleted").into());
            }
        }
        let mut there = of(Existence::Sure);
        there.extend(of(Existence::Open).into_iter().filter(|&id| self.pool.open_volume(id).is_ok()));
        let nodes = self.pool.nodes(&there)?;
        let mut new = State { volumes: BTreeMap::new(), ..state };
        for (&id, volume) in &volumes {
            new.next = new.next.max(id);
            let Some(node) = nodes.get(&id) else {
                continue;
            };
            let node = Node::open(node)?;
            if node.sectors != volume.sectors() as u64 {
                return Err(format!("volume {id} has {} sectors", node.sectors).into());
            }
            let mut stamps = Vec::with_capacity(volume.sectors());
            let read = node.all(|sector, bytes| {
                let stamp = content::stamp(bytes, sector)?;
                volume.judge(sector, stamp)?;
                new.generation = new.generation.max(stamp.generation());
                stamps.push(stamp);
                Ok(())
            });
            read.map_err(|error| format!("volume {id}: {error}"))?;
            seen.sectors += stamps.len() as u64;
            new.volumes.insert(id, Volume { stamps, writable: volume.writable });
        }
        // Those that were lost are not given again.
        new.generation += 1 << 20;
        new.save(&self.state_file())?;
        Ok(new)
    }
}

fn count(records: &[Record], wanted: impl Fn(&Record) -> bool) -> u64 {
    records.iter().filter(|record| wanted(record)).count() as u64
}
