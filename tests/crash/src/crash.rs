// SPDX-License-Identifier: GPL-2.0

//! Every state that a crash may leave, and what must be true of it.
//!
//! A device's writes are durable up to its last flush; of those after it any may have come through, in any order, and of a
//! block any of its sectors, except that the superblock fits into one. The states are made from the log: at each place none of
//! the volatile writes, all of them, each of them alone missing or alone there, and random subsets with torn blocks.

use crate::device::{Data, Event, Image};
use crate::rng::Rng;
use crate::target::{options, Committed, Target, DISCARDED, SECTORS};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;
use std::rc::Rc;
use stor_pure::pure::thin::block::Block;
use stor_pure::pure::thin::check::check;
use stor_pure::pure::thin::pool::Pool;
use stor_pure::pure::units::VirtualBlock;

type Fault = Box<dyn std::error::Error>;

/// The devices at some place of the log.
#[derive(Default)]
struct Disk {
    metadata: HashMap<u64, Rc<Block>>,
    data: HashMap<u64, Data>,
    volatile_metadata: Vec<(u64, Rc<Block>)>,
    volatile_data: Vec<(u64, usize, u64)>,
    acknowledged: usize,
    /// Changes with each flush.
    era: usize,
}

impl Disk {
    fn apply(&mut self, event: &Event) {
        match event {
            Event::Metadata(at, block) => self.volatile_metadata.push((*at, block.clone())),
            Event::Data(block, sector, stamp) => self.volatile_data.push((*block, *sector, *stamp)),
            Event::FlushMetadata => {
                self.era += 1;
                self.metadata.extend(self.volatile_metadata.drain(..));
            }
            Event::FlushData => {
                self.era += 1;
                for (block, sector, stamp) in self.volatile_data.drain(..) {
                    put(&mut self.data, block, sector, stamp);
                }
            }
            Event::Acknowledged(transaction) => self.acknowledged = *transaction,
        }
    }
}

fn put(data: &mut HashMap<u64, Data>, block: u64, sector: usize, stamp: u64) {
    if let Some(place) = data.entry(block).or_default().get_mut(sector) {
        *place = stamp;
    }
}

/// Which of the volatile writes came through.
enum Subset<'a> {
    Of(&'a dyn Fn(usize) -> bool),
    Random(&'a mut Rng, u64),
}

/// What was looked at.
#[derive(Default)]
pub(crate) struct Seen {
    states: HashSet<u64>,
}

impl Seen {
    pub(crate) fn len(&self) -> usize {
        self.states.len()
    }
}

/// Looks at the states of a target's log, at most about `most` of them.
pub(crate) fn examine(target: &Target, rng: &mut Rng, seen: &mut Seen, seed: u64, most: usize) -> Result<(), Fault> {
    let devices = target.devices.borrow();
    let mut disk = Disk::default();
    let begin = seen.len();
    // Before the pool was made there is none.
    let mut made = false;
    for (place, event) in devices.log.iter().enumerate() {
        disk.apply(event);
        made |= place > 0 && matches!(event, Event::FlushMetadata) && disk.metadata.contains_key(&0);
        if !made || matches!(event, Event::Acknowledged(_)) || seen.len() - begin > most {
            continue;
        }
        let history: Vec<&Committed> = target.history.iter().map(|(_, committed)| committed).collect();
        let count = disk.volatile_metadata.len() + disk.volatile_data.len();
        let mut look = |subset: Subset<'_>| {
            one(&disk, devices.blocks, &history, subset, seen, seed)
                .map_err(|error| format!("seed {seed}, place {place} of the log: {error}"))
        };
        look(Subset::Of(&|_| false))?;
        look(Subset::Of(&|_| true))?;
        // The last write is the one that is new.
        look(Subset::Of(&|index| index + 1 == count))?;
        for _ in 0..3 {
            let chance = 1 + rng.below(7);
            look(Subset::Random(rng, chance))?;
        }
    }
    Ok(())
}

fn one(
    disk: &Disk,
    blocks: u64,
    history: &[&Committed],
    mut subset: Subset<'_>,
    seen: &mut Seen,
    seed: u64,
) -> Result<(), Fault> {
    let mut hash = DefaultHasher::new();
    (seed, disk.era).hash(&mut hash);
    let mut image = Image { durable: &disk.metadata, through: HashMap::new(), blocks };
    for (index, (at, block)) in disk.volatile_metadata.iter().enumerate() {
        let sectors = match &mut subset {
            Subset::Of(through) => u64::from(through(index)) * 0xff,
            Subset::Random(rng, chance) => match rng.below(8) {
                side if side < *chance => 0xff,
                7 if *at != 0 => rng.below(256),
                _ => 0,
            },
        };
        if sectors == 0 {
            continue;
        }
        (index, sectors).hash(&mut hash);
        let mut torn = image.through.get(at).or_else(|| disk.metadata.get(at)).map_or([0; 4096], |old| **old);
        for sector in (0..8).filter(|sector| (sectors >> sector) & 1 == 1) {
            let range = sector * 512..(sector + 1) * 512;
            if let (Some(to), Some(from)) = (torn.get_mut(range.clone()), block.get(range)) {
                to.copy_from_slice(from);
            }
        }
        image.through.insert(*at, Rc::new(torn));
    }
    let mut data = HashMap::new();
    for (index, (block, sector, stamp)) in disk.volatile_data.iter().enumerate() {
        let through = match &mut subset {
            Subset::Of(through) => through(disk.volatile_metadata.len() + index),
            Subset::Random(rng, chance) => rng.below(8) < *chance,
        };
        if through {
            (index, "data").hash(&mut hash);
            data.entry(*block).or_insert_with(|| disk.data.get(block).copied().unwrap_or_default());
            put(&mut data, *block, *sector, *stamp);
        }
    }
    if !seen.states.insert(hash.finish()) {
        return Ok(());
    }
    let read = |block: u64| data.get(&block).or_else(|| disk.data.get(&block)).copied().unwrap_or_default();
    sound(image, &read, history, disk.acknowledged)
}

/// Whether a crash may leave this.
fn sound(
    mut image: Image<'_>,
    read: &dyn Fn(u64) -> Data,
    history: &[&Committed],
    acknowledged: usize,
) -> Result<(), Fault> {
    let mut findings = String::new();
    let summary = check(&mut image, &mut |finding| findings += &format!("{finding}\n"))?;
    if !findings.is_empty() {
        return Err(findings.into());
    }
    let mut pool = Pool::open(image, options(false))?;
    let transaction = pool.transaction_id() as usize;
    if transaction != acknowledged && transaction != acknowledged + 1 {
        return Err(format!("transaction {transaction} came back, {acknowledged} was acknowledged").into());
    }
    let committed = history.get(transaction).ok_or("a transaction that never was")?;
    if summary.devices != committed.volumes.len() as u64 {
        return Err(format!("{} volumes, should be {}", summary.devices, committed.volumes.len()).into());
    }
    let mut later: HashMap<(u64, u64, usize), Vec<u64>> = HashMap::new();
    for &(id, block, sector, stamp) in &committed.since {
        later.entry((id, block, sector)).or_default().push(stamp);
    }
    for (&id, volume) in &committed.volumes {
        let mut found = BTreeMap::new();
        pool.runs(id, VirtualBlock(0), VirtualBlock(u64::MAX), &mut |run| {
            for offset in 0..run.length {
                found.insert(run.begin.0 + offset, run.data.0 + offset);
            }
            ControlFlow::Continue(())
        })?;
        if !found.keys().eq(volume.keys()) {
            return Err(format!("volume {id} maps {:?}, should map {:?}", found.keys(), volume.keys()).into());
        }
        for (block, data) in found {
            let stamps = read(data);
            for sector in 0..SECTORS {
                let stamp = stamps.get(sector).copied().unwrap_or(DISCARDED);
                let was = volume.get(&block).and_then(|data| data.get(sector)).copied();
                let new = later.get(&(id, block, sector)).is_some_and(|stamps| stamps.contains(&stamp));
                if was != Some(stamp) && !new {
                    return Err(format!(
                        "volume {id}, block {block}, sector {sector} (data block {data}): {stamp:x} was read, \
                         {was:x?} was written when transaction {transaction} was made"
                    )
                    .into());
                }
            }
        }
    }
    Ok(())
}
