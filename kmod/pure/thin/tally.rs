// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Counts of data blocks for the checker: a byte each, with a mark, and a table of the few that do not fit.

use super::space::{self, OVERFLOW};
use super::store::{Memory, NoMemory};

/// The byte's bit for the mark; the others are the count,
const MARK: u8 = 0x80;
/// or this, if it stands in the table.
const LARGE: u8 = 0x7f;

/// Counts that begin with 0.
pub(super) struct Tally<S: Memory> {
    small: S::Array<u8>,
    /// By the hash of a block: the block and 1, or 0, and its count. At most half of it is used; the length is a power of 2.
    large: S::Array<(u64, u32)>,
    used: usize,
}

impl<S: Memory> Tally<S> {
    /// So many counts.
    pub(super) fn new(blocks: usize) -> Result<Self, NoMemory> {
        Ok(Self { small: S::array(0, blocks)?, large: S::Array::default(), used: 0 })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.small.len()
    }

    /// Counts a block, and sets its mark if that is said; false if it has no count.
    #[inline]
    pub(super) fn add(&mut self, block: u64, mark: bool) -> Result<bool, NoMemory> {
        let Some(place) = usize::try_from(block).ok().and_then(|block| self.small.get_mut(block)) else {
            return Ok(false);
        };
        if mark {
            *place |= MARK;
        }
        if *place & LARGE < LARGE - 1 {
            *place += 1;
        } else {
            self.add_large(block)?;
        }
        Ok(true)
    }

    #[cold]
    fn add_large(&mut self, block: u64) -> Result<(), NoMemory> {
        if 2 * (self.used + 1) > self.large.len() {
            let old = core::mem::take(&mut self.large);
            self.large = S::array((0, 0), (2 * old.len()).max(64))?;
            for &(key, count) in old.iter().filter(|(key, _)| *key != 0) {
                if let Some(place) = self.slot(key - 1) {
                    *place = (key, count);
                }
            }
        }
        let first = match self.slot(block) {
            Some((0, _)) => true,
            Some((_, count)) => {
                *count = count.saturating_add(1);
                return Ok(());
            }
            None => return Err(NoMemory),
        };
        if let Some(place) = self.slot(block).filter(|_| first) {
            *place = (block + 1, u32::from(LARGE));
            self.used += 1;
        }
        if let Some(place) = self.small.get_mut(block as usize) {
            *place |= LARGE;
        }
        Ok(())
    }

    /// Where a block stands in the table, or would.
    fn slot(&mut self, block: u64) -> Option<&mut (u64, u32)> {
        let index = self.index(block)?;
        self.large.get_mut(index)
    }

    fn index(&self, block: u64) -> Option<usize> {
        let mask = self.large.len().checked_sub(1)?;
        let mut index = (block.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & mask;
        loop {
            match self.large.get(index)? {
                (0, _) => return Some(index),
                (key, _) if *key == block + 1 => return Some(index),
                _ => index = (index + 1) & mask,
            }
        }
    }

    /// A block's count.
    pub(super) fn get(&self, block: u64) -> u32 {
        match self.small.get(block as usize).map_or(0, |place| place & LARGE) {
            LARGE => self.index(block).and_then(|index| self.large.get(index)).map_or(0, |(_, count)| *count),
            count => u32::from(count),
        }
    }

    /// Whether a block is marked.
    pub(super) fn is_marked(&self, block: u64) -> bool {
        self.small.get(block as usize).is_some_and(|place| place & MARK != 0)
    }

    /// Marks a block.
    pub(super) fn mark(&mut self, block: u64) {
        if let Some(place) = self.small.get_mut(block as usize) {
            *place |= MARK;
        }
    }

    /// Clears all marks.
    pub(super) fn clear_marks(&mut self) {
        for place in self.small.iter_mut() {
            *place &= LARGE;
        }
    }

    /// The first block from `begin` on that is marked and has a count of 2 or more.
    pub(super) fn next_marked(&self, begin: usize) -> Option<usize> {
        let places = self.small.get(begin..)?;
        places.iter().position(|&place| place > MARK + 1).map(|index| begin + index)
    }

    /// How many counts are not 0.
    pub(super) fn counted(&self) -> u64 {
        self.small.iter().filter(|&&place| place & LARGE != 0).count() as u64
    }

    /// The counts of 32 blocks as a bitmap has them; `None` if one of them is 3 or more, or marked, or there are fewer.
    #[inline]
    pub(super) fn word(&self, begin: u64) -> Option<u64> {
        let begin = usize::try_from(begin).ok()?;
        let counts: &[u8; 32] = self.small.get(begin..begin.checked_add(32)?)?.try_into().ok()?;
        pairs(counts)
    }
}

/// Counts of 32 blocks as a bitmap has them; `None` if one of them is 3 or more.
#[inline]
pub(super) fn pairs(counts: &[u8; 32]) -> Option<u64> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (mut word, mut large) = (0, 0);
    for (index, eight) in counts.chunks_exact(8).enumerate() {
        let eight = u64::from_le_bytes(eight.try_into().unwrap_or_default());
        // A byte each: more than 3, or 3.
        large |= (eight & (0xfc * ONES)) | (eight & (eight >> 1) & ONES);
        // The pair's lower bit is the count's higher one. Then the pairs move together: two, four, eight of them.
        let swapped = ((eight >> 1) & ONES) | ((eight & ONES) << 1);
        let two = (swapped | (swapped >> 6)) & 0x000f_000f_000f_000f;
        let four = (two | (two >> 12)) & 0x0000_00ff_0000_00ff;
        word |= ((four | (four >> 24)) & 0xffff) << (16 * index);
    }
    (large == 0).then_some(word)
}

const _: () = assert!(space::BITMAP_ENTRIES % 32 == 0 && OVERFLOW == 3);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::{self, Heap};
    use crate::pure::thin::block::Block;
    use alloc::boxed::Box;

    struct Plain;

    impl Memory for Plain {
        type Array<T> = Heap<T>;
        type Frame = Box<Block>;

        fn frame() -> Result<Box<Block>, NoMemory> {
            Ok(heap::frame())
        }
    }

    #[test]
    fn counts_of_any_size() {
        let Ok(mut tally) = Tally::<Plain>::new(1000) else { return };
        for block in 0..1000 {
            for _ in 0..block {
                assert_eq!(tally.add(block, block % 3 == 0), Ok(true));
            }
        }
        assert_eq!(tally.add(1000, false), Ok(false));
        for block in 0..1000 {
            assert_eq!((tally.get(block), tally.is_marked(block)), (block as u32, block % 3 == 0 && block > 0));
        }
        assert_eq!((tally.counted(), tally.next_marked(0), tally.next_marked(4)), (999, Some(3), Some(6)));
        tally.clear_marks();
        assert_eq!((tally.next_marked(0), tally.get(999)), (None, 999));
    }

    #[test]
    fn words_of_a_bitmap() {
        let Ok(mut tally) = Tally::<Plain>::new(96) else { return };
        for block in 0..32 {
            for _ in 0..block % 3 {
                assert_eq!(tally.add(block, false), Ok(true));
            }
        }
        let mut bitmap: Block = [0; crate::pure::thin::block::BLOCK_SIZE];
        for block in 0..32 {
            space::set_count(&mut bitmap, block, block % 3);
        }
        let want = bitmap.get(16..24).and_then(|word| word.try_into().ok()).map(u64::from_le_bytes);
        assert!(want.is_some() && tally.word(0) == want);
        assert_eq!((tally.word(32), tally.word(65)), (Some(0), None));
        tally.mark(40);
        assert_eq!(tally.word(32), None);
        for _ in 0..3 {
            assert_eq!(tally.add(70, false), Ok(true));
        }
        assert_eq!(tally.word(64), None);
    }
}
