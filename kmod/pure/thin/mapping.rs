// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The trees of a pool's devices: which there are, what they map, and what is known of them.

use super::blocks::Core;
use super::data::Run;
use super::error::{Damage, Error};
use super::node::Node;
use super::store::Store;
use super::tree::Tree;
use super::value::{Details, Mapping};
use crate::pure::units::MetadataBlock;
use zerocopy::little_endian::U64;

/// Device ids, and the roots of the devices' trees.
#[derive(Clone, Copy, Debug)]
pub struct Devices;

impl Tree for Devices {
    type Value = U64;

    fn hold<S: Store>(core: &mut Core<S>, leaf: MetadataBlock) -> Result<(), Error> {
        for index in 0..Node::<U64>::of(core.node::<U64>(leaf)?).len() {
            let root = Node::<U64>::of(core.node::<U64>(leaf)?).child(index);
            core.hold(root.ok_or(Error::Damaged(leaf, Damage::Depth))?)?;
        }
        Ok(())
    }

    fn release<S: Store>(core: &mut Core<S>, leaf: MetadataBlock, from: usize, to: usize) -> Result<(), Error> {
        for index in from..to {
            let root = Node::<U64>::of(core.node::<U64>(leaf)?).child(index);
            super::tree::drop_tree::<Mappings, S>(core, root.ok_or(Error::Damaged(leaf, Damage::Depth))?, 0)?;
        }
        Ok(())
    }

    /// A device's new root has taken over what the old one had ([`Core::shadow`]).
    fn replace<S: Store>(_: &mut Core<S>, _: MetadataBlock, _: usize, _: U64) -> Result<(), Error> {
        Ok(())
    }
}

/// Device ids, and what is known of the devices.
#[derive(Clone, Copy, Debug)]
pub struct DeviceDetails;

impl Tree for DeviceDetails {
    type Value = Details;
}

/// The virtual blocks of one device, and where they are.
#[derive(Clone, Copy, Debug)]
pub struct Mappings;

/// Counts a run of data blocks.
type Count<'a, S> = &'a mut dyn FnMut(&mut Core<S>, Run) -> Result<(), Error>;

/// Runs that are collected before they are counted.
const BATCH: usize = 32;

impl Mappings {
    /// Calls `count` with the runs of data blocks that some entries of a leaf name.
    pub(super) fn runs<S: Store>(
        core: &mut Core<S>,
        leaf: MetadataBlock,
        from: usize,
        to: usize,
        count: Count<'_, S>,
    ) -> Result<(), Error> {
        let mut next = from;
        while next < to {
            let mut batch = [Run::default(); BATCH];
            let mut runs = 0;
            let node = Node::<U64>::of(core.node::<U64>(leaf)?);
            for value in node.values.get(next..to).unwrap_or_default() {
                let block = Mapping::unpack(*value).block.0;
                match batch.get_mut(..runs).and_then(|batch| batch.last_mut()).filter(|last| last.end == block) {
                    Some(last) => last.end += 1,
                    None => {
                        let Some(place) = batch.get_mut(runs) else { break };
                        *place = Run { begin: block, end: block + 1 };
                        runs += 1;
                    }
                }
                next += 1;
            }
            if runs == 0 {
                return Err(Error::Damaged(leaf, Damage::Depth));
            }
            for run in batch.get(..runs).unwrap_or_default() {
                count(core, *run)?;
            }
        }
        Ok(())
    }
}

impl Tree for Mappings {
    type Value = U64;

    fn hold<S: Store>(core: &mut Core<S>, leaf: MetadataBlock) -> Result<(), Error> {
        let entries = Node::<U64>::of(core.node::<U64>(leaf)?).len();
        Self::runs(core, leaf, 0, entries, &mut Core::hold_data)
    }

    fn release<S: Store>(core: &mut Core<S>, leaf: MetadataBlock, from: usize, to: usize) -> Result<(), Error> {
        Self::runs(core, leaf, from, to, &mut Core::release_data)
    }

    /// The same block, mapped at another time, is not given up.
    fn replace<S: Store>(core: &mut Core<S>, leaf: MetadataBlock, index: usize, value: U64) -> Result<(), Error> {
        let old = Node::<U64>::of(core.node::<U64>(leaf)?).value(index);
        match old.map(Mapping::unpack) {
            Some(old) if old.block == Mapping::unpack(value).block => Ok(()),
            _ => Self::release(core, leaf, index, index + 1),
        }
    }
}
