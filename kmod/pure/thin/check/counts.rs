// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The space maps: what they say of each block, beside the references that the walk of the trees met.

use super::{range, Checker, Collect, Finding, Known, Space, Walk};
use crate::pure::thin::block::{Block, Kind};
use crate::pure::thin::blocks::Bits;
use crate::pure::thin::error::{Damage, Error};
use crate::pure::thin::node::Node;
use crate::pure::thin::space::{self, IndexBlock, IndexEntry, Root, BITMAP_ENTRIES, INDEX_ENTRIES, OVERFLOW};
use crate::pure::thin::store::{Array, Store};
use crate::pure::thin::superblock::Superblock;
use crate::pure::thin::tally;
use crate::pure::units::MetadataBlock;
use zerocopy::little_endian::U32;

impl<S: Store> Checker<'_, S> {
    /// Compares both space maps with what was met, when all else has been walked.
    pub(super) fn space_maps(&mut self) -> Result<(), Error> {
        let data = self.bitmaps_of_data()?;
        let metadata = self.bitmaps_of_metadata()?;
        let Superblock { data_space, metadata_space, .. } = self.superblock;
        self.counts(Space::Data, &data_space.root, &data)?;
        self.counts(Space::Metadata, &metadata_space.root, &metadata)
    }

    /// Where the bitmaps of the data device are.
    fn bitmaps_of_data(&mut self) -> Result<S::Array<(u64, IndexEntry)>, Error> {
        let mut entries = Collect::<S, IndexEntry> { entries: S::Array::default() };
        let root = self.superblock.data_space.root.bitmap_root.get();
        self.walk(&mut entries, MetadataBlock(root), (0, None), 0)?;
        Ok(entries.entries)
    }

    /// Where the bitmaps of the metadata device are.
    fn bitmaps_of_metadata(&mut self) -> Result<S::Array<(u64, IndexEntry)>, Error> {
        let mut entries = S::Array::default();
        let root = self.superblock.metadata_space.root;
        let at = MetadataBlock(root.bitmap_root.get());
        self.refer(at);
        let read = self.read(0, at, Kind::Index);
        if self.found(read)?.is_none() {
            return Ok(entries);
        }
        let Some(index) = self.frames.first().map(|frame| IndexBlock::of(frame)) else { return Ok(entries) };
        let bitmaps = root.blocks.get().div_ceil(BITMAP_ENTRIES) as usize;
        for (number, entry) in index.entries.iter().enumerate().take(INDEX_ENTRIES) {
            if number < bitmaps {
                entries.push((number as u64, *entry))?;
            } else if *entry != IndexEntry::default() {
                self.find(Finding::Bitmaps(Space::Metadata, number as u64));
            }
        }
        Ok(entries)
    }

    /// Compares the counts on the device with what was met.
    fn counts(&mut self, space: Space, root: &Root, entries: &[(u64, IndexEntry)]) -> Result<(), Error> {
        // What describes the metadata device refers to blocks of it, so that has to be met first.
        for (_, entry) in entries {
            self.refer(MetadataBlock(entry.block.get()));
        }
        let large = MetadataBlock(root.overflow_root.get());
        let mut listed = Bits::new(0)?;
        match space {
            Space::Data => {
                self.data.clear_marks();
                self.walk(&mut Large, large, (0, None), 0)?;
            }
            // Its own nodes are counted while it is walked.
            Space::Metadata => {
                let mut overflow = Collect::<S, U32> { entries: S::Array::default() };
                self.walk(&mut overflow, large, (0, None), 0)?;
                listed.grow(root.blocks.get())?;
                for &(block, count) in overflow.entries.iter() {
                    self.large(space, block, count.get());
                    listed.set(block, true);
                }
            }
        }
        self.compare(space, root, entries, &listed)
    }

    /// How often a block has been met.
    fn met(&self, space: Space, block: u64) -> u32 {
        match space {
            Space::Data => self.data.get(block),
            Space::Metadata => self.metadata.get(block as usize).copied().unwrap_or(0),
        }
    }

    /// The references met to 32 metadata blocks as a bitmap has them; `None` if one has 3 or more, or there are fewer.
    fn metadata_word(&self, begin: u64) -> Option<u64> {
        let begin = usize::try_from(begin).ok()?;
        let met: &[u32; 32] = self.metadata.get(begin..begin.checked_add(32)?)?.try_into().ok()?;
        tally::pairs(&met.map(|count| count.min(OVERFLOW) as u8))
    }

    /// Looks at a count that stands in the tree.
    fn large(&mut self, space: Space, block: u64, said: u32) {
        let blocks = match space {
            Space::Data => self.data.len(),
            Space::Metadata => self.metadata.len(),
        };
        if block >= blocks as u64 || said < OVERFLOW {
            self.find(Finding::NeedlessOverflow(space, block));
        }
        let found = self.met(space, block);
        if block < blocks as u64 && found != said {
            self.find(Finding::Count { space, block, said, found });
        }
    }

    fn compare(
        &mut self,
        space: Space,
        root: &Root,
        entries: &[(u64, IndexEntry)],
        listed: &Bits<S>,
    ) -> Result<(), Error> {
        let (mut allocated, mut want) = (0, 0);
        for &(bitmap, entry) in entries {
            if bitmap != want {
                self.find(Finding::Bitmaps(space, want));
            }
            want = bitmap.saturating_add(1);
            let at = MetadataBlock(entry.block.get());
            let read = self.read(0, at, Kind::Bitmap);
            if self.found(read)?.is_none() {
                continue;
            }
            let begin = bitmap.saturating_mul(BITMAP_ENTRIES);
            let mut bits = Counted { space, root: *root, begin, free: 0, allocated: 0, hidden: false, past: false };
            for word in 0..BITMAP_ENTRIES as u32 / 32 {
                self.compare_word(&mut bits, 32 * word, entry.none_free_before.get(), listed);
            }
            allocated += bits.allocated;
            if bits.free != entry.free.get() {
                self.find(Finding::Free { space, bitmap, said: entry.free.get(), found: bits.free });
            }
            if bits.hidden {
                self.find(Finding::Hint(space, bitmap));
            }
            if bits.past {
                self.find(Finding::PastEnd(space, bitmap));
            }
        }
        if want != root.blocks.get().div_ceil(BITMAP_ENTRIES) {
            self.find(Finding::Bitmaps(space, want));
        }
        if allocated != root.allocated.get() {
            self.find(Finding::Allocated { space, said: root.allocated.get(), found: allocated });
        }
        match space {
            Space::Data => self.summary.data = allocated,
            Space::Metadata => self.summary.metadata = allocated,
        }
        Ok(())
    }

    /// Compares 32 counts of the bitmap that was read with what was met.
    fn compare_word(&mut self, bits: &mut Counted, first: u32, none_before: u32, listed: &Bits<S>) {
        let Some(bitmap) = self.frames.first() else { return };
        // Most are as they should be: then they are so all at once.
        let stored = space::word(bitmap, first);
        let met = match bits.space {
            Space::Data => self.data.word(bits.begin.saturating_add(first.into())),
            Space::Metadata => self.metadata_word(bits.begin.saturating_add(first.into())),
        };
        if met == Some(stored) {
            let used = (stored | (stored >> 1)) & 0x5555_5555_5555_5555;
            let free = 32 - used.count_ones();
            bits.free += free;
            bits.allocated += u64::from(32 - free);
            bits.hidden |= free > 0 && first + (!used & 0x5555_5555_5555_5555).trailing_zeros() / 2 < none_before;
            return;
        }
        for index in first..first + 32 {
            let block = bits.begin.saturating_add(index.into());
            let said = self.frames.first().map_or(0, |frame| space::count(frame, index));
            bits.free += u32::from(said == 0);
            if block >= bits.root.blocks.get() {
                bits.past |= said != 0;
                continue;
            }
            bits.hidden |= said == 0 && index < none_before;
            bits.allocated += u64::from(said != 0);
            let listed = match bits.space {
                Space::Data => self.data.is_marked(block),
                Space::Metadata => listed.get(block),
            };
            let found = self.met(bits.space, block);
            if said == OVERFLOW {
                // How large it is has been looked at in the tree.
                if !listed {
                    let root = MetadataBlock(bits.root.overflow_root.get());
                    self.find(Finding::Block(Error::Damaged(root, Damage::Overflow(block))));
                }
                continue;
            }
            if listed {
                self.find(Finding::NeedlessOverflow(bits.space, block));
            }
            if found != said {
                self.find(Finding::Count { space: bits.space, block, said, found });
            }
        }
    }
}

/// A bitmap, and what has been seen of it.
struct Counted {
    space: Space,
    root: Root,
    /// The first of its blocks.
    begin: u64,
    free: u32,
    allocated: u64,
    /// A free block stands where the hint says that none does.
    hidden: bool,
    /// A block past the end of the device has a count.
    past: bool,
}

/// Looks at the large counts of data blocks.
struct Large;

impl<S: Store> Walk<S> for Large {
    type Value = U32;

    fn leaf(&mut self, checker: &mut Checker<'_, S>, _: MetadataBlock, block: &Block) -> Result<Known, Error> {
        let node = Node::<U32>::of(block);
        for (key, count) in node.keys.iter().zip(node.values) {
            checker.large(Space::Data, key.get(), count.get());
            checker.data.mark(key.get());
        }
        Ok(range(&node))
    }
}
