// SPDX-License-Identifier: GPL-2.0

//! What counts blocks: a bitmap, an index block or a root, and an entry of it.

use super::{Bytes, Target};
use stor_pure::pure::thin::space::{
    count, find_free, place, set_count, set_counts, word, IndexBlock, Root, BITMAP_ENTRIES, OVERFLOW,
};
use zerocopy::{FromBytes, IntoBytes};

pub(super) const TARGET: Target =
    Target { name: "space", about: "bitmaps, index blocks and roots of space maps", most: 4112, seeds, run };

fn seeds() -> Vec<Vec<u8>> {
    vec![
        [&[0; 13][..], &[0; 16], &[0x05, 0x08, 0xff]].concat(),
        [&[0, 0, 0, 0, 0xff, 0xff][..], &[0; 7], &[0; 16], &[0xaa; 100]].concat(),
        [&[0, 32, 0, 0, 0xc0, 0x3f][..], &[0; 7], &[0; 16], &[0xff; 64]].concat(),
        vec![1, 0, 0, 0, 0, 0, 0, 9, 9, 9],
    ]
}

fn run(input: &[u8]) {
    let mut bytes = Bytes(input);
    let index_block = bytes.byte() & 1 == 1;
    let (begin, end, number) = (bytes.number(2) as u32, bytes.number(2) as u32, bytes.number(8));
    let mut block = bytes.block();
    let (bitmap, entry) = place(number);
    assert!(u64::from(entry) < BITMAP_ENTRIES && bitmap * BITMAP_ENTRIES + u64::from(entry) == number);
    if index_block {
        let index = IndexBlock::of(&block);
        assert_eq!(index.as_bytes(), block);
        let root = Root::read_from_prefix(&block).map(|(root, _)| root).unwrap_or_default();
        assert_eq!(Some(root.as_bytes()), block.get(..32));
        return;
    }
    // Entry by entry, it is the same as many at a time.
    let end = end.min(BITMAP_ENTRIES as u32);
    let first = (begin..end).find(|&entry| count(&block, entry) == 0);
    assert_eq!(find_free(&block, begin, end), first);
    let all: Vec<u32> = (0..BITMAP_ENTRIES as u32).map(|entry| count(&block, entry)).collect();
    let used = (0..BITMAP_ENTRIES as u32).step_by(32).map(|first| word(&block, first));
    let used: u32 = used.map(|word| ((word | (word >> 1)) & 0x5555_5555_5555_5555).count_ones()).sum();
    assert_eq!(used as usize, all.iter().filter(|&&count| count > 0).count());
    let mut again = block;
    again.iter_mut().skip(16).for_each(|byte| *byte = 0x99);
    set_counts(&mut again, 0, &all);
    assert_eq!(again, block);
    let before = block;
    let new = number as u32 % 5;
    set_count(&mut block, begin, new);
    if u64::from(begin) < BITMAP_ENTRIES {
        assert_eq!(count(&block, begin), new.min(OVERFLOW));
        set_count(&mut block, begin, count(&before, begin));
    }
    assert_eq!(block, before);
}
