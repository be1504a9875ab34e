// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How much metadata a pool needs.
//!
//! Metadata is for the most part leaves of mapping trees. A pool of `N` data blocks maps at most `N` of them once: that
//! is `N / F` leaves, `F` being how full they are. A snapshot costs nothing until its origin is written to; then each leaf that
//! is written to exists twice. With `V` volumes, of which a share `R` is rewritten between one snapshot and the next, that
//! is the smaller of
//!
//! - all leaves of a volume, `N / V / F`, and
//! - a leaf for each group of blocks that are rewritten together, `N / V * R / G`,
//!
//! for each of the snapshots. To this come the nodes above the leaves, the reference counts, and room for a transaction, which
//! writes what it changes to free blocks. A block that is discarded counts as one that is rewritten. Volumes are taken to be
//! alike in size: for a pool whose snapshots are all of one large volume, plan with one.
//!
//! | | usual | worst |
//! |---|---|---|
//! | `F`, entries of a node | 168 of 252 | 84: what a node must have |
//! | `G`, blocks rewritten together | 16 | 1 |
//! | data blocks with a count of 3 and more | half of what the copies name, in nodes two thirds full | the same, full copies, nodes a third full |

use super::node::Value;
use super::space::{IndexEntry, BITMAP_ENTRIES, METADATA_MAX};
use super::value::Details;
use zerocopy::little_endian::{U32, U64};

/// A pool, as it is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Data blocks.
    pub data_blocks: u64,
    /// Volumes, without snapshots.
    pub volumes: u64,
    /// Snapshots of all volumes together.
    pub snapshots: u64,
    /// Of 1,000 blocks of a volume, those that are rewritten between one snapshot and the next.
    pub rewritten: u64,
}

/// Metadata blocks that a pool needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// When it is full, after writes as they usually are.
    pub usual: u64,
    /// The most that can be needed.
    pub worst: u64,
}

impl Need {
    /// Whether a metadata device can have so many blocks.
    pub const fn fits(blocks: u64) -> bool {
        blocks <= METADATA_MAX
    }
}

/// What is assumed of a pool's use.
#[derive(Clone, Copy)]
struct Use {
    /// A node has so many of the entries that it has room for, in thirds.
    thirds: u64,
    /// Blocks that are rewritten together.
    group: u64,
    /// Entries of a leaf that is copied.
    copied: u64,
}

const USUAL: Use = Use { thirds: 2, group: 16, copied: 168 };
const WORST: Use = Use { thirds: 1, group: 1, copied: 252 };

/// Free blocks that dm-thin keeps, so that a transaction can always be ended: a tenth, at most this many.
const RESERVE_MAX: u64 = 4096;

/// How many metadata blocks a pool needs.
pub fn need(plan: &Plan) -> Need {
    Need { usual: blocks(plan, USUAL), worst: blocks(plan, WORST) }
}

impl Use {
    /// Nodes of one level that hold so many entries.
    fn nodes<V: Value>(self, entries: u64) -> u64 {
        entries.div_ceil(V::MIN as u64 * self.thirds)
    }

    /// All nodes above so many leaves, of trees that are so many.
    fn above(self, leaves: u64, trees: u64) -> u64 {
        let (mut sum, mut level) = (0u64, leaves);
        while level > trees {
            level = self.nodes::<U64>(level);
            sum = sum.saturating_add(level);
        }
        // Each tree has a root, and a way down to its leaves.
        sum.max(if leaves > trees { trees } else { 0 })
    }

    /// A tree with so many entries: its leaves and the nodes above them.
    fn tree<V: Value>(self, entries: u64) -> u64 {
        let leaves = self.nodes::<V>(entries).max(1);
        leaves.saturating_add(self.above(leaves, 1))
    }
}

fn blocks(plan: &Plan, by: Use) -> u64 {
    let (volumes, blocks) = (plan.volumes.max(1), plan.data_blocks);
    let devices = volumes.saturating_add(plan.snapshots);
    // The mappings of the volumes: each has a leaf that is not full.
    let own = by.nodes::<U64>(blocks).saturating_add(volumes);
    let own_above = by.above(own, volumes);

    // What the snapshots keep: a volume's leaves at most, and no more of what is above them than there is.
    let of_one = own.div_ceil(volumes);
    let rewritten = blocks.div_ceil(volumes).saturating_mul(plan.rewritten.min(1000)).div_ceil(1000);
    let groups = rewritten.div_ceil(by.group);
    let copies = plan.snapshots.saturating_mul(groups.min(of_one));
    let above_one = own_above.div_ceil(volumes);
    let copies_above = plan.snapshots.saturating_mul(groups.min(above_one));

    let mappings = own.saturating_add(own_above).saturating_add(copies).saturating_add(copies_above);
    // Data blocks that three leaves and more name: two of them are copies.
    let counted = blocks.min(copies.saturating_mul(by.copied) / 2);
    let bitmaps = blocks.div_ceil(BITMAP_ENTRIES);
    let data = bitmaps + by.tree::<IndexEntry>(bitmaps) + by.tree::<U32>(counted);
    let devices = by.tree::<U64>(devices).saturating_add(by.tree::<Details>(devices));
    let sum = mappings.saturating_add(data).saturating_add(devices);

    // The superblock, a metadata snapshot, the index block; counts, of which one in four does not fit a bitmap.
    let counts = sum.div_ceil(BITMAP_ENTRIES) + by.tree::<U32>(sum / 4) + 3;
    let used = sum.saturating_add(counts);
    used.saturating_add((used / 9 + 1).min(RESERVE_MAX)).saturating_add(TRANSACTION)
}

/// Blocks that a small transaction writes anew.
const TRANSACTION: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { data_blocks: 1 << 24, volumes: 8, snapshots: 64, rewritten: 50 };

    #[test]
    fn more_of_anything_never_needs_less() {
        let Need { usual, worst } = need(&PLAN);
        assert!(usual < worst && Need::fits(worst));
        let more = [
            Plan { data_blocks: 1 << 25, ..PLAN },
            Plan { snapshots: 65, ..PLAN },
            Plan { rewritten: 51, ..PLAN },
            // More volumes for one snapshot each are more devices, but less for each snapshot to keep.
            Plan { volumes: 16, snapshots: 128, ..PLAN },
        ];
        for plan in more {
            let larger = need(&plan);
            assert!(larger.usual > usual && larger.worst >= worst, "{plan:?}: {larger:?}");
        }
    }

    #[test]
    fn without_snapshots_it_is_leaves() {
        let need = need(&Plan { data_blocks: 16_800_000, volumes: 1, snapshots: 0, rewritten: 1000 });
        assert!(need.usual > 100_000 && need.usual < 107_000, "{need:?}");
        assert!(need.worst > 200_000 && need.worst < 210_000, "{need:?}");
    }

    #[test]
    fn no_plan_is_too_large_to_be_computed() {
        for number in [0, 1, 3, 1 << 40, u64::MAX / 2, u64::MAX] {
            for other in [0, 1, 1 << 24, u64::MAX] {
                let plan = Plan { data_blocks: number, volumes: other, snapshots: number, rewritten: other };
                let Need { usual, worst } = need(&plan);
                assert!(usual <= worst, "{plan:?}");
            }
        }
    }
}
