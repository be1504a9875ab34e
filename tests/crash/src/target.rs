// SPDX-License-Identifier: GPL-2.0

//! A thin target in small: what it does with the engine and the devices, and what a reader may find after a crash.

use crate::device::{Data, Devices, Event, Logged};
use crate::rng::Rng;
use crate::Fault;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::rc::Rc;
use stor_pure::pure::thin::error::Error;
use stor_pure::pure::thin::pool::{Options, Pool};
use stor_pure::pure::thin::reader::Reader;
use stor_pure::pure::thin::store::Store;
use stor_pure::pure::units::VirtualBlock;

/// What a discard leaves in a sector. No reader may ever find it.
pub(crate) const DISCARDED: u64 = u64::MAX;

/// With passdown, what is given up is not taken before it was discarded; without, it can be taken after the commit.
pub(crate) fn options(passdown: bool) -> Options {
    Options { frames: 64, streams: 2, passdown }
}

/// A volume as its user sees it: the blocks that are mapped.
pub(crate) type Volume = BTreeMap<u64, Data>;

/// Where the blocks of all volumes are.
pub(crate) type Maps = BTreeMap<u64, BTreeMap<u64, u64>>;

/// The pool as a transaction made it.
#[derive(Clone, Default)]
pub(crate) struct Committed {
    pub(crate) transaction: u64,
    pub(crate) volumes: BTreeMap<u64, Volume>,
    /// What was written to the volumes since, without the next transaction being durable: (volume, block, sector, stamp).
    pub(crate) since: Vec<(u64, u64, usize, u64)>,
    /// What the metadata snapshot has,
    pub(crate) held: Option<Rc<Maps>>,
    /// which may be missing as long as the transaction is not acknowledged.
    pub(crate) held_late: bool,
    pub(crate) data_blocks: u64,
    pub(crate) metadata_blocks: u64,
}

/// How large things are.
pub(crate) struct Shape {
    /// Blocks of a volume.
    pub(crate) volume: u64,
    /// Blocks that are written in a row, at most.
    pub(crate) row: u64,
    pub(crate) data: u64,
    pub(crate) metadata: u64,
}

impl Shape {
    /// Most pools are small, so that all they have is used again and again; some have trees of several levels, and some grow
    /// over the end of a bitmap of the data device, or of the metadata device.
    fn of(seed: u64, rng: &mut Rng) -> Self {
        let small = Self { volume: 24, row: 1, data: 12 + rng.below(90), metadata: 72 + rng.below(160) };
        match seed % 8 {
            7 => Self {
                volume: 1500,
                row: 1 + rng.below(400),
                data: 2000 + rng.below(2000),
                metadata: 200 + rng.below(200),
            },
            3 => Self { data: 16_300 + rng.below(30), ..small },
            5 => Self { metadata: 16_290 + rng.below(40), ..small },
            _ => small,
        }
    }
}

pub(crate) struct Target {
    pub(crate) pool: Pool<Logged>,
    pub(crate) devices: Rc<RefCell<Devices>>,
    pub(crate) volumes: BTreeMap<u64, Volume>,
    /// What each commit made, or would have.
    pub(crate) history: Vec<Committed>,
    /// The last that was acknowledged,
    pub(crate) acknowledged: usize,
    /// and the last that was begun, if it may have come through.
    pub(crate) pending: Option<usize>,
    pub(crate) shape: Shape,
    pub(crate) passdown: bool,
    pub(crate) held: Option<Rc<Maps>>,
    pub(crate) data_blocks: u64,
    pub(crate) stamp: u64,
    pub(crate) next: u64,
    /// Blocks that were written, and are not mapped yet.
    pub(crate) unfinished: Vec<Unfinished>,
    /// What was done, in words.
    pub(crate) told: Vec<String>,
}

pub(crate) struct Unfinished {
    pub(crate) id: u64,
    pub(crate) block: u64,
    pub(crate) data: u64,
    pub(crate) stamps: Vec<(usize, u64)>,
}

/// What a reader finds: where the blocks are.
pub(crate) fn maps_of<S: Store>(reader: &mut Reader<S>) -> Result<Maps, Error> {
    let mut roots = Vec::new();
    reader.devices(&mut |device| {
        roots.push((device.id, device.root));
        ControlFlow::Continue(())
    })?;
    let mut maps = Maps::new();
    for (id, root) in roots {
        let mut leaves = Vec::new();
        reader.leaves(root, &mut |leaf| leaves.push(leaf))?;
        let map = maps.entry(id).or_default();
        for leaf in leaves {
            reader.leaf(leaf, &mut |block, mapping| {
                map.insert(block.0, mapping.block.0);
            })?;
        }
    }
    Ok(maps)
}

/// Where the blocks of a volume are.
pub(crate) fn map_of<S: Store>(pool: &mut Pool<S>, id: u64) -> Result<BTreeMap<u64, u64>, Error> {
    let mut map = BTreeMap::new();
    pool.runs(id, VirtualBlock(0), VirtualBlock(u64::MAX), &mut |run| {
        map.extend((0..run.length).map(|offset| (run.begin.0 + offset, run.data.0 + offset)));
        ControlFlow::Continue(())
    })?;
    Ok(map)
}

impl Target {
    pub(crate) fn new(seed: u64) -> Result<Self, Error> {
        let mut rng = Rng::new(seed);
        let shape = Shape::of(seed, &mut rng);
        let devices = Rc::new(RefCell::new(Devices::new(shape.metadata)));
        let passdown = rng.below(2) == 0;
        let mut pool = Pool::format(Logged(devices.clone()), options(passdown), 128, shape.data)?;
        pool.commit()?;
        let first = Committed { data_blocks: shape.data, metadata_blocks: shape.metadata, ..Committed::default() };
        Ok(Self {
            pool,
            devices,
            volumes: BTreeMap::new(),
            history: vec![first],
            acknowledged: 0,
            pending: None,
            data_blocks: shape.data,
            shape,
            passdown,
            held: None,
            stamp: 1,
            next: 0,
            unfinished: Vec::new(),
            told: Vec::new(),
        })
    }

    /// Where the blocks of all volumes are.
    pub(crate) fn maps(&mut self) -> Result<Maps, Error> {
        let ids: Vec<u64> = self.volumes.keys().copied().collect();
        ids.into_iter().map(|id| Ok((id, map_of(&mut self.pool, id)?))).collect()
    }

    /// A flush, or a message: durable when it returns.
    pub(crate) fn commit(&mut self) -> Result<(), Fault> {
        self.before_commit()?;
        self.pool.commit()?;
        self.after_commit()
    }

    pub(crate) fn before_commit(&mut self) -> Result<(), Fault> {
        let id = self.pool.transaction_id();
        self.pool.set_transaction_id(id, id + 1)?;
        // From here on a crash may lead to the next transaction, which has all that was done.
        let committed = Committed {
            transaction: id + 1,
            volumes: self.volumes.clone(),
            since: Vec::new(),
            held: self.held.clone(),
            held_late: false,
            data_blocks: self.data_blocks,
            metadata_blocks: self.pool.metadata_blocks(),
        };
        self.pending = Some(self.history.len());
        self.devices.borrow_mut().log.push(Event::Pending(self.history.len()));
        self.history.push(committed);
        Ok(())
    }

    pub(crate) fn after_commit(&mut self) -> Result<(), Fault> {
        self.acknowledge();
        self.account()
    }

    /// What is pending is durable.
    pub(crate) fn acknowledge(&mut self) {
        self.acknowledged = self.pending.take().unwrap_or(self.acknowledged);
        self.devices.borrow_mut().log.push(Event::Acknowledged(self.acknowledged));
    }

    /// What the commit that is pending, or else the last one, made.
    pub(crate) fn current(&mut self) -> Option<&mut Committed> {
        self.history.get_mut(self.pending.unwrap_or(self.acknowledged))
    }

    /// What is in use is what volumes and the metadata snapshot have; and that reads as it always did.
    pub(crate) fn account(&mut self) -> Result<(), Fault> {
        let mut used = BTreeSet::new();
        if let Some(held) = self.held.clone() {
            let found = maps_of(&mut Reader::open(Logged(self.devices.clone()), 64, true)?)?;
            if found != *held {
                return Err("the metadata snapshot reads otherwise than when it was made".into());
            }
            used.extend(held.values().flat_map(BTreeMap::values).copied());
        }
        used.extend(self.maps()?.values().flat_map(BTreeMap::values));
        if used.len() as u64 != self.pool.data_used() {
            return Err(format!("{} data blocks in use, {} counted", used.len(), self.pool.data_used()).into());
        }
        Ok(())
    }

    /// What the user of a volume wrote is there.
    pub(crate) fn written(&mut self, id: u64, block: u64, stamps: &[(usize, u64)]) {
        for &(sector, stamp) in stamps {
            let place = self.volumes.entry(id).or_default().entry(block).or_default();
            if let Some(place) = place.get_mut(sector) {
                *place = stamp;
            }
            if let Some(committed) = self.current() {
                committed.since.push((id, block, sector, stamp));
            }
        }
    }
}
