// SPDX-License-Identifier: GPL-2.0

//! A superblock: a byte that says whether its checksum is put right, a location, and the block.

use super::{Bytes, Fast, Target};
use stor_pure::pure::thin::block::{self, Kind};
use stor_pure::pure::thin::superblock::{Superblock, DATA_BLOCK_MAX, LAST_TIME, MAGIC, VERSION};
use stor_pure::pure::units::MetadataBlock;
use zerocopy::{FromZeros, IntoBytes};

pub(super) const TARGET: Target =
    Target { name: "superblock", about: "block 0 of metadata, and its copy", most: 4098, seeds, run };

fn seeds() -> Vec<Vec<u8>> {
    let mut superblock = Superblock::new_zeroed();
    superblock.magic = MAGIC.into();
    superblock.version = VERSION.into();
    superblock.data_block_size = 128.into();
    superblock.metadata_block_size = 8.into();
    vec![[&[1, 0], superblock.as_bytes()].concat()]
}

fn run(input: &[u8]) {
    let mut bytes = Bytes(input);
    let (stamped, at) = (bytes.byte(), MetadataBlock(u64::from(bytes.byte())));
    let mut block = bytes.block();
    let kind = Kind::ALL.get(usize::from(stamped >> 4) % 4).copied().unwrap_or(Kind::Superblock);
    if stamped & 1 == 1 {
        block::stamp::<Fast>(&mut block, kind, at);
    }
    let verified = block::verify::<Fast>(&block, Kind::Superblock, at);
    verified.err().map(|frame| frame.to_string());
    assert!(stamped & 1 == 0 || block::kind::<Fast>(&block) == Some(kind));
    let superblock = Superblock::of(&block);
    match superblock.check() {
        Ok(()) => {
            assert!(superblock.time.get() <= LAST_TIME && superblock.incompat_flags.get() == 0);
            assert!((128..=DATA_BLOCK_MAX).contains(&superblock.data_block_size.get()));
        }
        Err(refusal) => drop(refusal.to_string()),
    }
    let _ = superblock.needs_check();
    let mut again = [0xff; 4096];
    superblock.write(&mut again);
    assert_eq!(again.get(..364), block.get(..364));
    assert!(again.iter().skip(364).all(|&byte| byte == 0));
}
