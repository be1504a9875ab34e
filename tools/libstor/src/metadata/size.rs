// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How much metadata a pool needs, in bytes.

use crate::error::Context;
use crate::size::{bytes, Iec};
use crate::{Bytes, Error, Kind, Result};
use serde::Serialize;
use stor_pure::pure::thin::block::BLOCK_SIZE;
use stor_pure::pure::thin::size::{need, Need, Plan};
use stor_pure::pure::thin::space::METADATA_MAX;
use stor_pure::pure::thin::superblock::{is_data_block_size, DATA_BLOCK_MAX, DATA_BLOCK_UNIT};
use stor_pure::pure::units::SECTOR_SIZE;

/// A pool, as it is planned.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    /// The data device.
    pub data: Bytes,
    /// A data block.
    pub block_size: Bytes,
    /// Volumes, without snapshots.
    pub volumes: u64,
    /// Snapshots of all volumes together.
    pub snapshots: u64,
    /// Percent of a volume that are rewritten between one snapshot and the next.
    pub rewritten: u64,
}

/// What a metadata device needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Needed {
    /// Data blocks.
    pub data_blocks: u64,
    /// Size of a data block.
    #[serde(serialize_with = "bytes")]
    pub data_block_size: Bytes,
    /// After writes as they usually are.
    #[serde(serialize_with = "bytes")]
    pub usual_size: Bytes,
    /// The most that can be needed.
    #[serde(serialize_with = "bytes")]
    pub worst_size: Bytes,
    /// The most that a metadata device can have.
    #[serde(serialize_with = "bytes")]
    pub limit_size: Bytes,
    /// Whether that is enough in the worst case.
    pub fits: bool,
}

/// How much metadata a pool needs.
///
/// # Errors
///
/// No pool has such data blocks, or so many of them.
pub fn size(planned: &Planned) -> Result<Needed> {
    compute(planned).context(|| "cannot plan metadata".to_string())
}

fn compute(planned: &Planned) -> Result<Needed> {
    let Planned { data, block_size, volumes, snapshots, rewritten } = *planned;
    let sectors = block_size.sectors().and_then(|sectors| u32::try_from(sectors.0).ok());
    if !sectors.is_some_and(is_data_block_size) {
        let [least, most] = [DATA_BLOCK_UNIT, DATA_BLOCK_MAX].map(|sectors| Bytes(u64::from(sectors) * SECTOR_SIZE));
        return Err(Error::new(Kind::Usage, format!("data blocks cannot have {}", Iec(block_size))).help(format!(
            "choose a multiple of {}, at most {}",
            Iec(least),
            Iec(most)
        )));
    }
    if data.0 < block_size.0 {
        return Err(Error::new(Kind::Usage, "there is no data block").help("give a size of at least one"));
    }
    let data_blocks = data.0 / block_size.0;
    let Need { usual, worst } =
        need(&Plan { data_blocks, volumes, snapshots, rewritten: rewritten.saturating_mul(10) });
    let size = |blocks: u64| Bytes(blocks.saturating_mul(BLOCK_SIZE as u64));
    Ok(Needed {
        data_blocks,
        data_block_size: block_size,
        usual_size: size(usual),
        worst_size: size(worst),
        limit_size: size(METADATA_MAX),
        fits: Need::fits(worst),
    })
}
