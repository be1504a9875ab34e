// SPDX-License-Identifier: GPL-2.0

//! Every state that a crash may leave, and what must be true of it.
//!
//! A device's writes are durable up to its last flush; of those after it any may have come through, in any order, and of a
//! block any of its sectors, except that the superblock fits into one. The states are made from the log: at each place none of
//! the volatile writes, all of them, the last alone, and random subsets with torn blocks. Two states are different if the
//! devices' contents are, or what has been acknowledged.

use crate::device::{put, retain, Blocks, Data, Event, Image, Written, SECTORS};
use crate::rng::Rng;
use crate::target::{map_of, maps_of, options, Committed, Target};
use crate::Fault;
use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use stor_pure::pure::thin::check::{check, Finding};
use stor_pure::pure::thin::pool::Pool;
use stor_pure::pure::thin::reader::Reader;

/// What the user of the pool knows: the last commit that was acknowledged, and whether the mark that asks for a check may be
/// there or not.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct Known {
    pub(crate) acknowledged: usize,
    /// The one that was begun.
    pub(crate) pending: Option<usize>,
    pub(crate) marked: bool,
    /// It is about to be the other way round.
    pub(crate) unsure: bool,
}

/// The devices at some place of the log.
#[derive(Default)]
struct Disk {
    metadata: Blocks,
    data: HashMap<u64, Data>,
    volatile_metadata: Vec<(u64, Rc<Written>)>,
    volatile_data: Vec<(u64, usize, u64)>,
    blocks: u64,
    known: Known,
    /// Sums of the hashes of all durable sectors.
    metadata_hash: u64,
    data_hash: u64,
}

/// The part of a sector in the hash of a device.
fn mix(place: u64, content: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (place, content).hash(&mut hasher);
    hasher.finish()
}

fn weigh(at: u64, written: Option<&Rc<Written>>) -> u64 {
    let Some(written) = written else { return 0 };
    (0..).zip(written.hashes).fold(0, |sum, (sector, hash)| sum.wrapping_add(mix(8 * at + sector, hash)))
}

fn weigh_data(block: u64, data: Option<&Data>) -> u64 {
    let Some(data) = data else { return 0 };
    (0..).zip(data).fold(0, |sum, (sector, &stamp)| sum.wrapping_add(mix(SECTORS as u64 * block + sector, stamp)))
}

impl Disk {
    fn apply(&mut self, event: &Event) {
        match event {
            Event::Metadata(at, written) => self.volatile_metadata.push((*at, written.clone())),
            Event::Data(block, sector, stamp, _) => self.volatile_data.push((*block, *sector, *stamp)),
            Event::FlushMetadata => {
                for (at, written) in self.volatile_metadata.drain(..) {
                    let old = weigh(at, self.metadata.get(&at));
                    self.metadata_hash = self.metadata_hash.wrapping_add(weigh(at, Some(&written))).wrapping_sub(old);
                    self.metadata.insert(at, written);
                }
            }
            Event::FlushData => {
                for (block, sector, stamp) in self.volatile_data.drain(..) {
                    let old = weigh_data(block, self.data.get(&block));
                    put(&mut self.data, block, sector, stamp);
                    let new = weigh_data(block, self.data.get(&block));
                    self.data_hash = self.data_hash.wrapping_add(new).wrapping_sub(old);
                }
            }
            Event::Lost { metadata: true, kept } => retain(&mut self.volatile_metadata, kept),
            Event::Lost { metadata: false, kept } => retain(&mut self.volatile_data, kept),
            Event::Resized(blocks) => self.blocks = *blocks,
            Event::Mark { set, done: false } => self.known.unsure = *set != self.known.marked,
            Event::Mark { set, done: true } => (self.known.marked, self.known.unsure) = (*set, false),
            Event::Pending(index) => self.known.pending = Some(*index),
            Event::Acknowledged(index) => (self.known.acknowledged, self.known.pending) = (*index, None),
        }
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
pub(crate) fn examine(target: &Target, rng: &mut Rng, seen: &mut Seen, most: usize) -> Result<(), Fault> {
    let devices = target.devices.borrow();
    let mut disk = Disk::default();
    // Six at each place, at as many places as there may be.
    let chance = (most as u64).div_ceil(6).max(1);
    let places = devices.log.len() as u64;
    // Before the pool was made there is none.
    let mut made = false;
    for (place, event) in devices.log.iter().enumerate() {
        disk.apply(event);
        made |= matches!(event, Event::FlushMetadata) && disk.metadata.contains_key(&0);
        if !made || matches!(event, Event::Acknowledged(_) | Event::Pending(_)) || rng.below(places) >= chance {
            continue;
        }
        let count = disk.volatile_metadata.len() + disk.volatile_data.len();
        let mut look = |subset: Subset<'_>| {
            one(&disk, &target.history, subset, seen).map_err(|error| format!("place {place} of the log: {error}"))
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

/// A block of which some sectors came through.
fn torn(old: Option<&Rc<Written>>, new: &Rc<Written>, sectors: u64) -> Rc<Written> {
    if sectors == 0xff {
        return new.clone();
    }
    let mut torn = old.map_or(Written { block: [0; 4096], hashes: [0; 8] }, |old| (**old).clone());
    for sector in (0..8).filter(|sector| (sectors >> sector) & 1 == 1) {
        let range = sector * 512..(sector + 1) * 512;
        torn.block[range.clone()].copy_from_slice(&new.block[range]);
        torn.hashes[sector] = new.hashes[sector];
    }
    Rc::new(torn)
}

fn one(disk: &Disk, history: &[Committed], mut subset: Subset<'_>, seen: &mut Seen) -> Result<(), Fault> {
    let mut image = Image { durable: &disk.metadata, through: HashMap::new(), blocks: disk.blocks };
    for (index, (at, written)) in disk.volatile_metadata.iter().enumerate() {
        let sectors = match &mut subset {
            Subset::Of(through) => u64::from(through(index)) * 0xff,
            Subset::Random(rng, chance) => match rng.below(8) {
                side if side < *chance => 0xff,
                7 if *at != 0 => rng.below(256),
                _ => 0,
            },
        };
        if sectors > 0 {
            let new = torn(image.through.get(at).or_else(|| disk.metadata.get(at)), written, sectors);
            image.through.insert(*at, new);
        }
    }
    let mut data: HashMap<u64, Data> = HashMap::new();
    for (index, (block, sector, stamp)) in disk.volatile_data.iter().enumerate() {
        let through = match &mut subset {
            Subset::Of(through) => through(disk.volatile_metadata.len() + index),
            Subset::Random(rng, chance) => rng.below(8) < *chance,
        };
        if through {
            data.entry(*block).or_insert_with(|| disk.data.get(block).copied().unwrap_or_default());
            put(&mut data, *block, *sector, *stamp);
        }
    }
    let mut sums = (disk.metadata_hash, disk.data_hash);
    for (&at, written) in &image.through {
        sums.0 = sums.0.wrapping_add(weigh(at, Some(written))).wrapping_sub(weigh(at, disk.metadata.get(&at)));
    }
    for (&block, contents) in &data {
        let old = weigh_data(block, disk.data.get(&block));
        sums.1 = sums.1.wrapping_add(weigh_data(block, Some(contents))).wrapping_sub(old);
    }
    let mut hash = DefaultHasher::new();
    (sums, disk.known, disk.blocks).hash(&mut hash);
    if !seen.states.insert(hash.finish()) {
        return Ok(());
    }
    let read = |block: u64| data.get(&block).or_else(|| disk.data.get(&block)).copied().unwrap_or_default();
    sound(image, &read, history, disk.known)
}

/// Whether a crash may leave this.
pub(crate) fn sound(
    mut image: Image<'_>,
    read: &dyn Fn(u64) -> Data,
    history: &[Committed],
    known: Known,
) -> Result<(), Fault> {
    let (mut findings, mut marked) = (String::new(), false);
    let summary = check(&mut image, &mut |finding| match finding {
        Finding::NeedsCheck => marked = true,
        finding => findings += &format!("{finding}\n"),
    })?;
    if !findings.is_empty() {
        return Err(findings.into());
    }
    if marked != known.marked && !known.unsure {
        return Err(format!("the mark that asks for a check is {marked}, should be {}", known.marked).into());
    }
    let mut pool = Pool::open(image, options(false))?;
    let transaction = pool.transaction_id();
    let entries = [Some(known.acknowledged), known.pending];
    let mut entries = entries.iter().flatten().filter_map(|&index| history.get(index));
    let Some(committed) = entries.find(|committed| committed.transaction == transaction) else {
        return Err(format!("transaction {transaction} came back, which is not what {known:?} knows").into());
    };
    let sizes = (pool.data_blocks(), pool.metadata_blocks());
    if sizes != (committed.data_blocks, committed.metadata_blocks) {
        return Err(format!("{sizes:?} blocks of data and metadata").into());
    }
    if summary.devices != committed.volumes.len() as u64 {
        return Err(format!("{} volumes, should be {}", summary.devices, committed.volumes.len()).into());
    }
    let mut later: HashMap<(u64, u64, usize), Vec<u64>> = HashMap::new();
    for &(id, block, sector, stamp) in &committed.since {
        later.entry((id, block, sector)).or_default().push(stamp);
    }
    for (&id, volume) in &committed.volumes {
        let found = map_of(&mut pool, id)?;
        if !found.keys().eq(volume.keys()) {
            return Err(format!("volume {id} maps {:?}, should map {:?}", found.keys(), volume.keys()).into());
        }
        for ((block, data), was) in found.into_iter().zip(volume.values()) {
            for (sector, (stamp, was)) in read(data).into_iter().zip(was).enumerate() {
                if stamp == *was || later.get(&(id, block, sector)).is_some_and(|stamps| stamps.contains(&stamp)) {
                    continue;
                }
                return Err(format!(
                    "volume {id}, block {block}, sector {sector} (data block {data}): {stamp:x} was read, \
                     {was:x} was written when transaction {transaction} was made"
                )
                .into());
            }
        }
    }
    let unsure = committed.held_late && known.pending.is_some();
    match (&committed.held, pool.held_root()) {
        (Some(held), Some(_)) => {
            let found = maps_of(&mut Reader::open(pool.close(), 64, true)?)?;
            if found != **held {
                return Err("the metadata snapshot reads otherwise than when it was made".into());
            }
        }
        (None, None) => {}
        (Some(_), None) if unsure => {}
        (wanted, found) => {
            return Err(format!("metadata snapshot {found:?}, wanted: {}", wanted.is_some()).into());
        }
    }
    Ok(())
}
