// SPDX-License-Identifier: GPL-2.0

//! The order of writes, asserted on the log itself, whatever a crash makes of it:
//!
//! - O1: no block of metadata that a superblock refers to is written as long as a crash may lead to that superblock; no data
//!   block either, unless in place, by the one volume that has it;
//! - O2: data is durable before a superblock refers to it for the first time;
//! - O3: what a superblock refers to is durable before the superblock is written, and the superblock before it is acknowledged;
//! - O4: what a transaction gave up is neither used again nor discarded before that transaction is durable;
//! - O5: of block 0 only the superblock's bytes change.

use crate::device::{retain, Event, Image, Purpose, Written};
use crate::target::{maps_of, options, Target};
use crate::Fault;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use stor_pure::pure::thin::pool::Pool;
use stor_pure::pure::thin::reader::Reader;
use stor_pure::pure::thin::superblock::Superblock;
use stor_pure::pure::units::{DataBlock, MetadataBlock};

/// What a superblock refers to.
struct Referred {
    metadata: Vec<bool>,
    data: Vec<bool>,
    /// Who has a data block: volumes, and their blocks.
    owners: HashMap<u64, Vec<(u64, u64)>>,
}

impl Referred {
    fn metadata(&self, at: u64) -> bool {
        self.metadata.get(at as usize).is_some_and(|&used| used)
    }

    fn data(&self, at: u64) -> bool {
        self.data.get(at as usize).is_some_and(|&used| used)
    }
}

struct Watch {
    /// The metadata device as its user sees it.
    view: HashMap<u64, Rc<Written>>,
    blocks: u64,
    volatile: Vec<(u64, Rc<Written>)>,
    volatile_data: Vec<u64>,
    /// What a crash may lead to: the durable superblock, and those written since. None before the pool was made.
    possible: Vec<Option<Referred>>,
}

/// Asserts the order of all that a target did.
pub(crate) fn check(target: &Target) -> Result<(), Fault> {
    let mut watch = Watch {
        view: HashMap::new(),
        blocks: 0,
        volatile: Vec::new(),
        volatile_data: Vec::new(),
        possible: vec![None],
    };
    for (place, event) in target.devices.borrow().log.iter().enumerate() {
        watch.event(event).map_err(|error| format!("place {place} of the log: {error}"))?;
    }
    Ok(())
}

impl Watch {
    fn event(&mut self, event: &Event) -> Result<(), Fault> {
        match event {
            Event::Metadata(0, written) => return self.superblock(written),
            Event::Metadata(at, written) => {
                if self.possible.iter().flatten().any(|referred| referred.metadata(*at)) {
                    return Err(format!("O1: metadata block {at} is written, and a crash may lead back to it").into());
                }
                self.view.insert(*at, written.clone());
                self.volatile.push((*at, written.clone()));
            }
            Event::Data(at, _, _, why) => {
                for referred in self.possible.iter().flatten().filter(|referred| referred.data(*at)) {
                    let owners = referred.owners.get(at).map_or(&[][..], Vec::as_slice);
                    match why {
                        Purpose::InPlace(id, block) if owners == [(*id, *block)] => {}
                        Purpose::InPlace(..) => {
                            return Err(
                                format!("O1: data block {at} is written by {why:?}, but had by {owners:?}").into()
                            )
                        }
                        why => return Err(format!("O4: {why:?} of data block {at}, which {owners:?} had").into()),
                    }
                }
                self.volatile_data.push(*at);
            }
            Event::FlushData => self.volatile_data.clear(),
            Event::FlushMetadata => {
                self.volatile.clear();
                let durable = self.possible.pop().flatten();
                self.possible = vec![durable];
            }
            Event::Lost { metadata: false, kept } => retain(&mut self.volatile_data, kept),
            Event::Lost { metadata: true, kept } => self.lose(kept),
            Event::Resized(blocks) => self.blocks = *blocks,
            Event::Acknowledged(transaction) if self.possible.len() > 1 => {
                return Err(format!("O3: {transaction} is acknowledged before its superblock is durable").into())
            }
            Event::Pending(_) | Event::Acknowledged(_) | Event::Mark { .. } => {}
        }
        Ok(())
    }

    fn superblock(&mut self, written: &Rc<Written>) -> Result<(), Fault> {
        if let Some((at, _)) = self.volatile.iter().find(|(at, _)| *at != 0) {
            return Err(format!("O3: the superblock is written while metadata block {at} is not durable").into());
        }
        let (_, rest) = written.block.split_at(size_of::<Superblock>());
        if rest.iter().any(|&byte| byte != 0) {
            return Err("O5: block 0 is written behind the superblock".into());
        }
        self.view.insert(0, written.clone());
        self.volatile.push((0, written.clone()));
        let new = self.refer()?;
        let dirty: HashSet<u64> = self.volatile_data.iter().copied().collect();
        if let Some(durable) = self.possible.first().and_then(Option::as_ref) {
            if let Some(at) = dirty.iter().find(|&&at| new.data(at) && !durable.data(at)) {
                return Err(format!("O2: a superblock refers to data block {at}, which is not durable").into());
            }
        }
        self.possible.push(Some(new));
        Ok(())
    }

    /// What the superblock that was just written refers to.
    fn refer(&self) -> Result<Referred, Fault> {
        let image = || Image { durable: &self.view, through: HashMap::new(), blocks: self.blocks };
        let mut pool = Pool::open(image(), options(false))?;
        let metadata = (0..self.blocks).map(|at| pool.metadata_count(MetadataBlock(at)) > 0).collect();
        let data = (0..pool.data_blocks()).map(|at| Ok(pool.data_count(DataBlock(at))? > 0));
        let data = data.collect::<Result<_, Fault>>()?;
        let mut owners: HashMap<u64, Vec<(u64, u64)>> = HashMap::new();
        for (id, map) in maps_of(&mut Reader::open(image(), 64, false)?)? {
            for (block, at) in map {
                owners.entry(at).or_default().push((id, block));
            }
        }
        Ok(Referred { metadata, data, owners })
    }

    /// A flush failed: of the volatile superblocks those that are lost cannot come back.
    fn lose(&mut self, kept: &[bool]) {
        let superblocks = self.volatile.iter().zip(kept).filter(|((at, _), _)| *at == 0).map(|(_, &kept)| kept);
        let mut superblocks = superblocks.collect::<Vec<_>>().into_iter();
        let mut first = true;
        self.possible.retain(|_| std::mem::take(&mut first) || superblocks.next().unwrap_or(true));
        retain(&mut self.volatile, kept);
        // What was lost reads as it did before; nobody looks at more than the superblock, which is written again.
    }
}
