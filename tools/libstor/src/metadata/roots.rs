// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Looks for the roots of the mapping and details trees in all blocks, when the superblock or a root is lost.
//!
//! Blocks tell their kind by their checksums; what the leaves hold tells the trees apart. Metadata has older versions of its
//! trees lying about, which are sound too. Of all pairs of roots the one is taken that fits best: the same devices in both,
//! with as many mappings as the details say; then the one with the latest times; then what lies last, as blocks are taken
//! one after the other.

use super::salvage::Salvage;
use std::collections::{HashMap, HashSet};
use stor_pure::pure::thin::block::{self, Block, Kind, BLOCK_SIZE};
use stor_pure::pure::thin::node::{self, Node, Value};
use stor_pure::pure::thin::store::Store;
use stor_pure::pure::thin::superblock::Superblock;
use stor_pure::pure::thin::tree::DEPTH_MAX;
use stor_pure::pure::thin::value::{Details, Mapping, LAST_DEVICE};
use stor_pure::pure::units::MetadataBlock;
use zerocopy::little_endian::U64;

/// What a node may belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Details,
    /// Ids of devices, and the roots of their trees.
    Top,
    /// A device's.
    Device,
}

/// What is known of a device's tree.
#[derive(Clone, Copy, Debug, Default)]
struct Below {
    entries: u64,
    time: u32,
    sound: bool,
}

/// A root of one of the trees, with the devices in it.
struct Candidate {
    at: u64,
    /// Each with its mappings; `None` if its tree is damaged.
    devices: Vec<(u64, Option<u64>)>,
    time: u32,
    transaction_id: u64,
}

/// Roots that were found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    pub(super) mapping: Option<u64>,
    pub(super) details: Option<u64>,
    /// A superblock's copy: a metadata snapshot.
    pub(super) copy: Option<Superblock>,
    /// Pairs of roots that would have fitted as well, but for their age.
    pub(super) others: usize,
}

/// Candidates for each root that are tried in pairs.
const CANDIDATES: usize = 200;

struct Search<'a> {
    salvage: &'a mut Salvage,
    /// Sound nodes.
    nodes: HashMap<u64, Family>,
    below: HashMap<u64, Below>,
    copy: Option<Superblock>,
}

/// Finds the roots that are not known.
pub(super) fn find(salvage: &mut Salvage, mapping: Option<u64>, details: Option<u64>) -> Found {
    let mut search = Search { salvage, nodes: HashMap::new(), below: HashMap::new(), copy: None };
    let inner = search.scan();
    search.families();
    let roots = |search: &Search<'_>, family| -> Vec<u64> {
        let all = search.nodes.iter().filter(|(_, found)| **found == family).map(|(at, _)| *at);
        let (below, above): (Vec<_>, Vec<_>) = all.partition(|at| inner.contains(at));
        if above.is_empty() {
            below
        } else {
            above
        }
    };
    let tops = mapping.map_or_else(|| roots(&search, Family::Top), |at| vec![at]);
    let known = details.map_or_else(|| roots(&search, Family::Details), |at| vec![at]);
    let mut tops: Vec<_> = tops.into_iter().map(|at| search.top(at)).collect();
    let mut known: Vec<_> = known.into_iter().map(|at| search.details(at)).collect();
    for candidates in [&mut tops, &mut known] {
        // The best first, if nothing else tells.
        candidates.sort_by_key(|one| std::cmp::Reverse((one.time, one.transaction_id, one.devices.len(), one.at)));
        candidates.truncate(CANDIDATES);
    }
    let copy = search.copy;
    let mut best: Option<(Score, u64, u64)> = None;
    let mut others = 0;
    for top in &tops {
        for details in &known {
            let score = score(top, details);
            others += usize::from(score.misfits == 0);
            if best.as_ref().is_none_or(|(other, ..)| score > *other) {
                best = Some((score, top.at, details.at));
            }
        }
    }
    match best {
        Some((_, top, details)) => {
            Found { mapping: Some(top), details: Some(details), copy, others: others.saturating_sub(1) }
        }
        None => {
            let first = |candidates: &[Candidate]| candidates.first().map(|one| one.at);
            Found { mapping: first(&tops), details: first(&known), copy, others: 0 }
        }
    }
}

#[derive(PartialEq, Eq)]
struct Score {
    /// Devices that are not in both, or have other numbers of mappings.
    misfits: usize,
    time: u32,
    transaction_id: u64,
    fits: usize,
    places: (u64, u64),
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let rank = |score: &Self| {
            let Self { misfits, time, transaction_id, fits, places } = score;
            (std::cmp::Reverse(*misfits), *time, *transaction_id, *fits, *places)
        };
        rank(self).cmp(&rank(other))
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

fn score(top: &Candidate, details: &Candidate) -> Score {
    let said: HashMap<u64, Option<u64>> = details.devices.iter().copied().collect();
    let fits = top.devices.iter().filter(|(id, found)| found.is_some() && said.get(id) == Some(found)).count();
    let ids: HashSet<u64> = top.devices.iter().chain(&details.devices).map(|(id, _)| *id).collect();
    Score {
        misfits: ids.len() - fits,
        time: top.time.max(details.time),
        transaction_id: details.transaction_id,
        fits,
        places: (top.at, details.at),
    }
}

impl Search<'_> {
    /// Reads all blocks; the children of internal nodes.
    fn scan(&mut self) -> HashSet<u64> {
        let mut inner = HashSet::new();
        let mut bytes: Block = [0; BLOCK_SIZE];
        for at in 1..self.salvage.blocks {
            if self.salvage.store.read(MetadataBlock(at), &mut bytes).is_err() {
                continue;
            }
            let kind = block::kind::<super::FileStore>(&bytes);
            if block::header(&bytes).location.get() != at {
                continue;
            }
            match kind {
                Some(Kind::Superblock) => {
                    let copy = Superblock::of(&bytes);
                    let newer = |other: &Superblock| other.time.get() < copy.time.get();
                    if copy.check().is_ok() && self.copy.as_ref().is_none_or(newer) {
                        self.copy = Some(copy);
                    }
                }
                // An internal node may be of either tree; it is one of a device's until its leaves are known.
                Some(Kind::Node) if !node::is_internal(&bytes) && node::check::<Details>(&bytes).is_ok() => {
                    self.nodes.insert(at, Family::Details);
                }
                Some(Kind::Node) if node::check::<U64>(&bytes).is_ok() => {
                    if node::is_internal(&bytes) {
                        inner.extend(Node::<U64>::of(&bytes).values.iter().map(|child| child.get()));
                    }
                    self.nodes.insert(at, Family::Device);
                }
                _ => {}
            }
        }
        inner
    }

    /// Tells the nodes of the top level, and those above leaves of details, from those of devices.
    fn families(&mut self) {
        let all: Vec<u64> = self.nodes.keys().copied().collect();
        let mut leaves = HashMap::new();
        for at in &all {
            if let Some(family) = self.family_of_leaf(*at) {
                leaves.insert(*at, family);
            }
        }
        for at in all {
            let mut leaf = at;
            for _ in 0..DEPTH_MAX {
                if leaves.contains_key(&leaf) {
                    break;
                }
                let Ok(bytes) = self.salvage.node::<U64>(leaf) else { break };
                let Some(child) = Node::<U64>::of(&bytes).child(0) else { break };
                leaf = child.0;
            }
            if let Some(family) = leaves.get(&leaf) {
                self.nodes.insert(at, *family);
            }
        }
    }

    fn family_of_leaf(&mut self, at: u64) -> Option<Family> {
        if self.nodes.get(&at) == Some(&Family::Details) {
            return Some(Family::Details);
        }
        let bytes = self.salvage.node::<U64>(at).ok()?;
        if node::is_internal(&bytes) {
            return None;
        }
        let node = Node::<U64>::of(&bytes);
        let roots = node.values.iter().all(|root| {
            // Of a tree of mappings, or of one that is damaged.
            root.get() > 0 && root.get() < self.salvage.blocks && self.nodes.get(&root.get()) != Some(&Family::Details)
        });
        let some = node.is_empty() || node.values.iter().any(|root| self.nodes.contains_key(&root.get()));
        let ids = node.keys.last().is_none_or(|key| key.get() <= LAST_DEVICE);
        Some(if roots && some && ids { Family::Top } else { Family::Device })
    }

    fn top(&mut self, at: u64) -> Candidate {
        let (entries, _) = self.salvage.entries::<U64>(at);
        let mut candidate = Candidate { at, devices: Vec::new(), time: 0, transaction_id: 0 };
        for (id, root) in entries {
            let below = self.below(root.get(), 0);
            candidate.time = candidate.time.max(below.time);
            candidate.devices.push((id, Some(below.entries).filter(|_| below.sound)));
        }
        candidate
    }

    fn details(&mut self, at: u64) -> Candidate {
        let (entries, _) = self.salvage.entries::<Details>(at);
        let mut candidate = Candidate { at, devices: Vec::new(), time: 0, transaction_id: 0 };
        for (id, details) in entries {
            let time = details.creation_time.get().max(details.snapshotted_time.get());
            candidate.time = candidate.time.max(time);
            candidate.transaction_id = candidate.transaction_id.max(details.transaction_id.get());
            candidate.devices.push((id, Some(details.mapped_blocks.get())));
        }
        candidate
    }

    /// Counts what is in a device's tree.
    fn below(&mut self, at: u64, depth: usize) -> Below {
        if let Some(below) = self.below.get(&at) {
            return *below;
        }
        // So that a loop ends.
        self.below.insert(at, Below::default());
        let mut sum = Below { entries: 0, time: 0, sound: depth <= DEPTH_MAX };
        match self.salvage.node::<U64>(at) {
            Ok(bytes) if depth <= DEPTH_MAX => {
                let node = Node::<U64>::of(&bytes);
                if node::is_internal(&bytes) {
                    for child in node.values {
                        let below = self.below(child.get(), depth + 1);
                        sum.entries = sum.entries.saturating_add(below.entries);
                        sum.time = sum.time.max(below.time);
                        sum.sound &= below.sound;
                    }
                } else {
                    sum.entries = node.len() as u64;
                    let times = node.values.iter().map(|value| Mapping::unpack(*value).time);
                    sum.time = times.max().unwrap_or(0);
                    sum.sound &= node.len() <= <U64 as Value>::MAX;
                }
            }
            _ => sum.sound = false,
        }
        self.below.insert(at, sum);
        sum
    }
}
