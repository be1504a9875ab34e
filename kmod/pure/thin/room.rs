// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How many metadata blocks an operation can need at most, so that it is refused before it begins and not given up half done.
//!
//! An operation copies the nodes that it changes, each once in a transaction, and splits some. A leaf that is shared counts its
//! 252 data blocks once more when it is copied, and these may lie in as many bitmaps and have as many large counts. What bounds
//! that is how many bitmaps and nodes there are. So there are two looks at it: the first takes most trees to be as large as a
//! pool of this size can have them, and costs little; if that is more than there is, the second looks at the trees.
//!
//! Whatever is let in leaves room for its commit, and for a step of a deletion with the commit of that. So deletions, and
//! commits, are always possible; they alone may use this reserve.

use super::blocks::Core;
use super::data::{DataIndex, Overflow};
use super::error::{Damage, Error};
use super::mapping::{DeviceDetails, Devices, Mappings};
use super::node::{self, Node, Value};
use super::pool::{Device, Pool};
use super::space::BITMAP_ENTRIES;
use super::store::Store;
use super::tree::{self, Tree, DEPTH_MAX};
use super::value::Details;
use crate::pure::units::MetadataBlock;
use zerocopy::little_endian::U64;

/// Entries of a leaf of mappings, or of an internal node.
const WIDTH: u64 = <U64 as Value>::MAX as u64;
/// The fewest.
const NARROW: u64 = <U64 as Value>::MIN as u64;

/// How large a tree is at most.
#[derive(Clone, Copy)]
struct Shape {
    levels: u64,
    nodes: u64,
    /// The fewest entries of its leaves, but for the root.
    narrow: u64,
}

impl Shape {
    /// To change the values of so many keys, anywhere.
    fn touch(self, keys: u64) -> u64 {
        self.nodes.min(keys.saturating_mul(self.levels))
    }

    /// To remove so many keys, anywhere: that may touch the neighbours, too.
    fn shrink(self, keys: u64) -> u64 {
        self.touch(keys.saturating_mul(3))
    }

    /// To add or remove so many keys, anywhere.
    fn churn(self, keys: u64) -> u64 {
        let split = self.nodes.saturating_add(keys / self.narrow + self.levels + 1);
        self.shrink(keys).saturating_add(split.min(keys.saturating_mul(self.levels + 1)))
    }
}

/// The trees of a pool.
#[derive(Clone, Copy)]
struct Shapes {
    /// Of devices, and of what is known of them.
    devices: Shape,
    details: Shape,
    /// The mappings of the device in question.
    mappings: Shape,
    /// The data device's index entries and large counts.
    index: Shape,
    large: Shape,
    /// The metadata device's large counts.
    counts: Shape,
}

/// What an operation needs at most.
#[derive(Default)]
struct Need {
    /// Blocks that it takes itself.
    blocks: u64,
    /// Metadata blocks that it counts once more or less.
    counts: u64,
    /// Devices that its commit has to put into their trees.
    devices: u64,
}

/// Leaves in which something is to be inserted, and how many of them are shared.
#[derive(Clone, Copy)]
struct Leaves {
    all: u64,
    shared: u64,
}

fn shape<T: Tree, S: Store>(core: &mut Core<S>, root: MetadataBlock) -> Result<Shape, Error> {
    let (mut at, mut nodes, mut level) = (root, 1u64, 1u64);
    for levels in 1..=DEPTH_MAX as u64 + 1 {
        let block = core.node::<T::Value>(at)?;
        if !node::is_internal(block) {
            return Ok(Shape { levels, nodes, narrow: <T::Value as Value>::MIN as u64 });
        }
        let node = Node::<U64>::of(block);
        // The root's are known; below, each may be full.
        level = level.saturating_mul(if levels == 1 { node.len() as u64 } else { WIDTH });
        nodes = nodes.saturating_add(level);
        at = node.child(0).ok_or(Error::Damaged(at, Damage::Depth))?;
    }
    Err(Error::Damaged(root, Damage::Depth))
}

impl<S: Store> Pool<S> {
    /// Blocks that only deletions and commits may use, but for what a deletion needs in this pool.
    pub fn reserve(&self) -> u64 {
        4096.min(self.metadata_blocks() / 10)
    }

    /// A tree of this pool, as large as it can be.
    fn most(&self) -> Shape {
        // A root with two children, and thirds below, make 171 nodes of three levels, 14,283 of four, 1,199,691 of five. A
        // root may have one child, if the kernel made it so.
        let levels = match self.metadata_blocks() {
            0..=170 => 3,
            171..=14_282 => 4,
            14_283..=1_199_690 => 5,
            _ => 6,
        };
        Shape { levels, nodes: self.metadata_blocks(), narrow: <Details as Value>::MIN as u64 }
    }

    /// All trees as large as they can be, but for those of large counts: these are small as a rule, and would be most of it.
    fn most_shapes(&mut self) -> Result<Shapes, Error> {
        let most = self.most();
        let bitmaps = self.data_blocks().div_ceil(BITMAP_ENTRIES);
        let index = Shape { nodes: most.nodes.min(bitmaps / 56 + bitmaps / 4704 + most.levels), ..most };
        let (large, counts) = (self.core.data.overflow_root, self.overflow_root);
        let large = shape::<Overflow, S>(&mut self.core, large)?;
        let counts = shape::<Overflow, S>(&mut self.core, counts)?;
        Ok(Shapes { devices: most, details: most, mappings: most, index, large, counts })
    }

    /// The others as they are, too.
    fn shapes(&mut self, most: &Shapes, mappings: Option<MetadataBlock>) -> Result<Shapes, Error> {
        let (devices, details, index) = (self.mapping_root(), self.details_root(), self.core.data.index_root);
        let core = &mut self.core;
        Ok(Shapes {
            devices: shape::<Devices, S>(core, devices)?,
            details: shape::<DeviceDetails, S>(core, details)?,
            mappings: mappings.map_or(Ok(most.mappings), |root| shape::<Mappings, S>(core, root))?,
            index: shape::<DataIndex, S>(core, index)?,
            ..*most
        })
    }

    /// To count so many data blocks once less, each somewhere else.
    fn for_less(&self, shapes: &Shapes, changes: u64) -> u64 {
        let bitmaps = changes.min(self.data_blocks().div_ceil(BITMAP_ENTRIES));
        bitmaps + shapes.index.touch(bitmaps) + shapes.large.shrink(changes)
    }

    /// To count data blocks in so many places, so many of which may have or get large counts.
    fn for_data(&self, shapes: &Shapes, places: u64, large: u64) -> u64 {
        let bitmaps = places.min(self.data_blocks().div_ceil(BITMAP_ENTRIES));
        bitmaps + shapes.index.touch(bitmaps) + shapes.large.churn(large.min(self.data_blocks()))
    }

    /// What a commit of an operation writes, and of those before it that are not committed.
    fn for_commit(&self, shapes: &Shapes, need: &Need, (counts, changed): (u64, u64)) -> u64 {
        let counts = counts.saturating_add(need.counts).min(self.metadata_blocks());
        1 + self.index.len() as u64 + shapes.counts.churn(counts) + shapes.details.touch(changed + need.devices)
    }

    /// A step of a deletion that gives up so many mappings: the left edge of the mappings is cut off between two leaves.
    fn for_delete(&self, shapes: &Shapes, mappings: u64) -> Need {
        let edge = 1 + 3 * shapes.mappings.levels.saturating_sub(2);
        let known = 3 * shapes.devices.levels;
        Need {
            blocks: known + 3 * shapes.details.levels + edge + self.for_less(shapes, mappings),
            counts: WIDTH * (known + edge),
            devices: 1,
        }
    }

    /// To unmap so many blocks: both edges of what is cut out, and their neighbours.
    fn for_remove(&self, shapes: &Shapes, mappings: u64) -> Need {
        let leaves = 6.min(shapes.mappings.nodes);
        let changes = mappings.saturating_add(leaves * WIDTH);
        let edge = (6 * shapes.mappings.levels).min(shapes.mappings.nodes);
        Need {
            blocks: shapes.devices.levels + edge + self.for_data(shapes, changes, changes),
            counts: WIDTH * (shapes.devices.levels + edge),
            devices: 1,
        }
    }

    /// To map so many blocks in a row.
    fn for_insert(&self, shapes: &Shapes, length: u64, leaves: Leaves) -> Need {
        let above = shapes.mappings.levels.saturating_sub(1).saturating_mul(leaves.all / NARROW + 2);
        // Each leaf may be split, and what is above them.
        let new = leaves.all + length / NARROW + 1;
        let new = new + new / NARROW + shapes.mappings.levels + 1;
        let held = leaves.shared.saturating_mul(WIDTH);
        let changes = held.saturating_add(length);
        let data = self.for_data(shapes, changes.saturating_add(length / BITMAP_ENTRIES + 2), changes);
        let counts = WIDTH.saturating_mul(shapes.devices.levels + above);
        Need { blocks: shapes.devices.levels + leaves.all + above + new + data, counts, devices: 1 }
    }

    /// Whether there is room, in trees of these shapes.
    fn fits(&self, shapes: &Shapes, need: &Need, may_use_reserve: bool) -> Result<(), Error> {
        // The device that will be deleted is another.
        let others = Shapes { mappings: self.most(), ..*shapes };
        let step = self.for_delete(&others, WIDTH);
        let total = |pending| {
            let kept = self.reserve().max(step.blocks + self.for_commit(shapes, &step, pending));
            let kept = if may_use_reserve { 0 } else { kept };
            need.blocks.saturating_add(kept).saturating_add(self.for_commit(shapes, need, pending))
        };
        if self.metadata_free() >= total((self.core.space.overflows, self.changed_devices)) {
            return Ok(());
        }
        // A commit gives back what the transaction replaced.
        let after = self.metadata_blocks().saturating_sub(self.core.space.allocated);
        if self.changed && after >= total((0, 0)) {
            return Err(Error::CommitFirst);
        }
        Err(Error::MetadataFull)
    }

    /// Looks once, and if need be, twice.
    fn room(
        &mut self,
        mappings: Option<MetadataBlock>,
        may_use_reserve: bool,
        need: &dyn Fn(&Self, &Shapes) -> Need,
    ) -> Result<(), Error> {
        let shapes = self.most_shapes()?;
        if self.fits(&shapes, &need(self, &shapes), may_use_reserve).is_ok() {
            return Ok(());
        }
        let shapes = self.shapes(&shapes, mappings)?;
        self.fits(&shapes, &need(self, &shapes), may_use_reserve)
    }

    /// Whether a device can be made.
    ///
    /// # Errors
    ///
    /// There is no room; [`Error::CommitFirst`] if there may be when what was given up can be used. So it is for all that follow.
    pub(super) fn room_to_create(&mut self) -> Result<(), Error> {
        self.room(None, false, &|_, shapes| Need {
            blocks: 1 + shapes.devices.churn(1) + shapes.details.churn(1),
            counts: WIDTH * shapes.devices.levels,
            devices: 0,
        })
    }

    /// Whether so many snapshots can be taken.
    pub(super) fn room_to_snapshot(&mut self, count: u64) -> Result<(), Error> {
        self.room(None, false, &|_, shapes| {
            let devices = shapes.devices.churn(2 * count);
            Need {
                blocks: devices + shapes.details.churn(2 * count),
                counts: devices.saturating_mul(WIDTH),
                devices: count,
            }
        })
    }

    /// Whether so many blocks can be mapped in a row.
    pub(super) fn room_to_insert(&mut self, device: &Device, begin: u64, length: u64) -> Result<(), Error> {
        let all = length / NARROW + 2;
        let shapes = self.most_shapes()?;
        if self.fits(&shapes, &self.for_insert(&shapes, length, Leaves { all, shared: all }), false).is_ok() {
            return Ok(());
        }
        let shapes = self.shapes(&shapes, Some(device.root))?;
        let leaves = self.leaves(device, begin, length)?;
        self.fits(&shapes, &self.for_insert(&shapes, length, leaves), false)
    }

    /// The leaves to which so many keys in a row belong.
    fn leaves(&mut self, device: &Device, begin: u64, length: u64) -> Result<Leaves, Error> {
        let (mut key, end) = (begin, begin.saturating_add(length));
        let mut leaves = Leaves { all: 0, shared: 0 };
        let (root, devices) = (device.root, self.mapping_root());
        // Whoever else has the tree of devices has all that is below.
        let above = !device.changed && tree::is_shared::<Devices, S>(&mut self.core, devices, device.id)?;
        while key < end {
            let leaf = tree::leaf::<Mappings, S>(&mut self.core, root, key)?;
            leaves.all += 1;
            leaves.shared += u64::from(above || tree::is_shared::<Mappings, S>(&mut self.core, root, key)?);
            match leaf.upper {
                Some(upper) => key = upper,
                None => break,
            }
        }
        Ok(leaves)
    }

    /// Whether so many blocks of a device can be unmapped.
    pub(super) fn room_to_remove(&mut self, root: MetadataBlock, mappings: u64) -> Result<(), Error> {
        self.room(Some(root), true, &|pool, shapes| pool.for_remove(shapes, mappings))
    }

    /// Whether a deletion can give up so many mappings at once.
    pub(super) fn room_to_delete(&mut self, root: MetadataBlock, mappings: u64) -> Result<(), Error> {
        self.room(Some(root), true, &|pool, shapes| pool.for_delete(shapes, mappings))
    }

    /// Whether a metadata snapshot can be made, now that all is committed.
    pub(super) fn room_to_hold(&mut self) -> Result<(), Error> {
        self.room(None, false, &|_, _| Need { blocks: 1, counts: 2, devices: 0 })
    }

    /// Whether the metadata snapshot can be given up, whatever only it has.
    pub(super) fn room_to_release(&mut self) -> Result<(), Error> {
        self.room(None, true, &|pool, shapes| Need {
            blocks: pool.for_less(shapes, u64::MAX),
            counts: u64::MAX,
            devices: 0,
        })
    }

    /// Blocks that a growth of the metadata device by so many bitmaps needs, with its commit.
    pub(super) fn for_growth(&mut self, bitmaps: u64) -> Result<u64, Error> {
        let shapes = self.most_shapes()?;
        let pending = (self.core.space.overflows, self.changed_devices);
        Ok(2 * bitmaps + self.for_commit(&shapes, &Need::default(), pending))
    }

    /// Whether so many bitmaps of the data device can be added.
    pub(super) fn room_to_grow(&mut self, bitmaps: u64) -> Result<(), Error> {
        self.room(None, false, &|_, shapes| Need {
            blocks: bitmaps.saturating_add(shapes.index.churn(bitmaps)),
            counts: 0,
            devices: 0,
        })
    }
}
