// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is remembered of a new block, beside a model that knows each sector.

#![allow(clippy::indexing_slicing)]

#[path = "thin/rng.rs"]
mod rng;

use rng::Rng;
use stor_pure::pure::thin::cover::{Cover, Part};

const SECTORS: u32 = 64;

fn check(cover: &Cover, model: &[bool]) {
    for begin in 0..SECTORS {
        for end in begin + 1..=SECTORS {
            let written = model[begin as usize];
            let same =
                model[begin as usize..end as usize].iter().take_while(|&&sector| sector == written).count() as u32;
            let part = if written { Part::Written(same) } else { Part::Blank(same) };
            assert_eq!(cover.part(begin, end), part, "{cover:?} {begin}..{end}");
        }
    }
    let mut blank = vec![true; SECTORS as usize];
    for range in cover.blanks(SECTORS) {
        assert!(!range.is_empty());
        for sector in range {
            assert!(!model[sector as usize]);
            blank[sector as usize] = false;
        }
    }
    assert!(blank.iter().zip(model).all(|(not_blank, written)| not_blank == written));
}

#[test]
fn knows_what_was_written() {
    let mut rng = Rng::new(7);
    let mut refused = 0;
    for _ in 0..300 {
        let (mut cover, mut model) = (Cover::NONE, vec![false; SECTORS as usize]);
        for _ in 0..8 {
            let begin = rng.below(u64::from(SECTORS)) as u32;
            let end = begin + rng.below(u64::from((SECTORS - begin).min(12)) + 1) as u32;
            let mut after = model.clone();
            after[begin as usize..end as usize].fill(true);
            let ranges = after.chunk_by(|one, other| one == other).filter(|run| run[0]).count();
            let before = cover;
            if cover.add(begin, end) {
                model = after;
                assert!(ranges <= 4);
            } else {
                refused += 1;
                assert!(ranges > 4, "{before:?} + {begin}..{end}");
                assert_eq!(cover, before);
            }
            check(&cover, &model);
        }
    }
    assert!(refused > 20, "only {refused} did not fit");
}

#[test]
fn whole_block_has_no_blanks() {
    let mut cover = Cover::NONE;
    assert!(cover.add(0, 32) && cover.add(32, SECTORS));
    assert_eq!(cover.blanks(SECTORS).count(), 0);
    assert_eq!((Cover::NONE.blanks(SECTORS).count(), Cover::NONE.blanks(SECTORS).next()), (1, Some(0..SECTORS)));
}
