// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What can be read of trees that are damaged.
//!
//! A node that is not sound is given up with the range of keys that its parent gives it; all others are kept. An entry whose
//! key is not in its leaf's range cannot be found in the tree, and is given up too. A node that stands twice in a tree is
//! taken the first time: a loop ends.

use super::FileStore;
use std::collections::HashMap;
use stor_pure::pure::thin::block::{self, Block, Kind, BLOCK_SIZE};
use stor_pure::pure::thin::build::Group;
use stor_pure::pure::thin::census::Census;
use stor_pure::pure::thin::data::Run;
use stor_pure::pure::thin::error::{Damage, Error};
use stor_pure::pure::thin::node::{self, Node, Value};
use stor_pure::pure::thin::space::METADATA_MAX;
use stor_pure::pure::thin::store::Store;
use stor_pure::pure::thin::tree::DEPTH_MAX;
use stor_pure::pure::thin::value::Mapping;
use stor_pure::pure::units::MetadataBlock;
use zerocopy::little_endian::U64;

/// Keys of a tree that are lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    pub(super) begin: u64,
    /// The first behind them; `None` if that is the end.
    pub(super) end: Option<u64>,
    /// The block that is damaged.
    pub(super) block: u64,
    pub(super) why: String,
}

/// A leaf in a tree, and the keys that may be in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) at: u64,
    pub(super) begin: u64,
    pub(super) end: Option<u64>,
}

impl Place {
    pub(super) fn has(&self, key: u64) -> bool {
        key >= self.begin && self.end.is_none_or(|end| key < end)
    }
}

/// What is known of a leaf of mappings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// How many devices have it.
    pub(super) uses: u32,
    pub(super) first: u64,
    pub(super) last: u64,
    /// The youngest mapping.
    pub(super) time: u32,
    /// What devices can refer to, once it was written,
    pub(super) group: Option<Group>,
    /// and whether all of it was.
    pub(super) intact: bool,
}

/// Trees to be read.
pub(super) struct Salvage {
    pub(super) store: FileStore,
    pub(super) blocks: u64,
    /// The walk that was last in each block.
    walked: Vec<u32>,
    walk: u32,
    /// Leaves of mappings.
    pub(super) leaves: HashMap<u64, Known>,
    /// How often each data block is mapped; a leaf counts once.
    pub(super) census: Census<FileStore>,
    /// The largest data block that is mapped.
    pub(super) last_data: Option<u64>,
    /// The youngest mapping.
    pub(super) time: u32,
}

/// A tree while it is walked.
struct Walk {
    leaves: Vec<Place>,
    holes: Vec<Hole>,
    /// Of a device.
    is_device: bool,
}

impl Salvage {
    pub(super) fn new(store: FileStore) -> Self {
        let blocks = store.metadata_blocks().min(METADATA_MAX);
        Self {
            store,
            blocks,
            walked: vec![0; blocks as usize],
            walk: 0,
            leaves: HashMap::new(),
            census: Census::default(),
            last_data: None,
            time: 0,
        }
    }

    /// A node of a tree whose leaves have values of type `V`.
    pub(super) fn node<V: Value>(&mut self, at: u64) -> Result<Block, Error> {
        let place = MetadataBlock(at);
        if at >= self.blocks {
            return Err(Error::Damaged(place, Damage::Child(place)));
        }
        let mut bytes: Block = [0; BLOCK_SIZE];
        self.store.read(place, &mut bytes).map_err(|_| Error::Read(place))?;
        block::verify::<FileStore>(&bytes, Kind::Node, place)
            .map_err(|what| Error::Damaged(place, Damage::Frame(Kind::Node, what)))?;
        node::check::<V>(&bytes).map_err(|what| Error::Damaged(place, Damage::Node(what)))?;
        Ok(bytes)
    }

    /// The entries of a small tree, in order, and what is lost.
    pub(super) fn entries<V: Value>(&mut self, root: u64) -> (Vec<(u64, V)>, Vec<Hole>) {
        let Walk { leaves, mut holes, .. } = self.walk::<V>(root, false);
        let mut entries = Vec::new();
        for place in leaves {
            let Ok(bytes) = self.node::<V>(place.at) else { continue };
            let node = Node::<V>::of(&bytes);
            for (key, value) in node.keys.iter().zip(node.values) {
                if place.has(key.get()) {
                    entries.push((key.get(), *value));
                } else {
                    holes.push(elsewhere(key.get(), place.at));
                }
            }
        }
        (entries, holes)
    }

    /// The leaves of a device's tree, in order, and what is lost. What is found in them is remembered.
    pub(super) fn device(&mut self, root: u64) -> (Vec<Place>, Vec<Hole>) {
        let Walk { leaves, holes, .. } = self.walk::<U64>(root, true);
        (leaves, holes)
    }

    fn walk<V: Value>(&mut self, root: u64, is_device: bool) -> Walk {
        self.walk += 1;
        let mut walk = Walk { leaves: Vec::new(), holes: Vec::new(), is_device };
        self.below::<V>(&mut walk, Place { at: root, begin: 0, end: None }, 0);
        walk
    }

    fn below<V: Value>(&mut self, walk: &mut Walk, place: Place, depth: usize) {
        let lost = |why: String| Hole { begin: place.begin, end: place.end, block: place.at, why };
        match self.walked.get_mut(place.at as usize) {
            Some(last) if *last == self.walk => {
                return walk.holes.push(lost("stands in two places of one tree".into()));
            }
            Some(last) => *last = self.walk,
            None => {}
        }
        if walk.is_device && self.leaves.contains_key(&place.at) {
            return walk.leaves.push(place);
        }
        if depth > DEPTH_MAX {
            return walk.holes.push(lost("deeper than a tree can be".into()));
        }
        let bytes = match self.node::<V>(place.at) {
            Ok(bytes) => bytes,
            Err(error) => return walk.holes.push(lost(why(error))),
        };
        if !node::is_internal(&bytes) {
            if walk.is_device {
                self.remember(place.at, &bytes);
            }
            return walk.leaves.push(place);
        }
        let node = Node::<U64>::of(&bytes);
        for (index, (key, child)) in node.keys.iter().zip(node.values).enumerate() {
            let end = match (node.key(index + 1), place.end) {
                (Some(next), Some(end)) => Some(next.min(end)),
                (next, end) => next.or(end),
            };
            let child = Place { at: child.get(), begin: key.get().max(place.begin), end };
            if end.is_some_and(|end| end <= child.begin) {
                walk.holes.push(elsewhere(key.get(), place.at));
            } else {
                self.below::<V>(walk, child, depth + 1);
            }
        }
    }

    fn remember(&mut self, at: u64, bytes: &Block) {
        let node = Node::<U64>::of(bytes);
        let mut known = Known {
            uses: 0,
            first: node.key(0).unwrap_or(u64::MAX),
            last: node.keys.last().map_or(0, |key| key.get()),
            time: 0,
            group: None,
            intact: true,
        };
        for value in node.values {
            let mapping = Mapping::unpack(*value);
            known.time = known.time.max(mapping.time);
            self.last_data = self.last_data.max(Some(mapping.block.0));
            // Of a damaged block it may be any; that would take much memory.
            if mapping.block.0 < 1 << 32 {
                let _ = self.census.add(Run { begin: mapping.block.0, end: mapping.block.0 + 1 });
            }
        }
        self.time = self.time.max(known.time);
        self.leaves.insert(at, known);
    }
}

fn elsewhere(key: u64, block: u64) -> Hole {
    let why = "a key that belongs elsewhere in the tree".into();
    Hole { begin: key, end: key.checked_add(1), block, why }
}

/// An error without the block that it names.
fn why(error: Error) -> String {
    match error {
        Error::Damaged(at, Damage::Child(child)) if at == child => "past the end of the metadata device".into(),
        Error::Damaged(_, damage) => damage.to_string(),
        Error::Read(_) => "cannot be read".into(),
        other => other.to_string(),
    }
}
