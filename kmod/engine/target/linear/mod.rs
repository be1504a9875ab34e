// SPDX-License-Identifier: GPL-2.0

//! Target `linear`: one or more segments of lower devices, one after the other.
//!
//! It has no state on disk, so `load` and `close` have nothing to do. What it refuses, and why, is in
//! [`crate::pure::linear`]. Configuration: `struct stor_linear_config` in `kmod/uapi/stor.h`.

mod table;

use super::{Config, Mapped, NoPool, Target};
use crate::abi::engine::Piece;
use crate::block::deferred::Ask;
use crate::block::io::Device;
use crate::block::status::Status;
use crate::engine::edge;
use crate::pure::linear::find;
use kernel::prelude::*;
use kernel::sync::Arc;
use table::Table;

/// A linear volume.
pub struct Linear {
    table: Table,
    lowers: KVec<Device>,
}

impl Target for Linear {
    const NAME: &'static str = "linear";

    type Pool = NoPool;

    fn prepare(config: &Config<'_>, _: Option<Arc<NoPool>>) -> Result<KBox<Self>> {
        let mut lowers = KVec::with_capacity(config.lowers.len(), GFP_KERNEL)?;
        for lower in config.lowers {
            lowers.push(lower.device, GFP_KERNEL)?;
        }
        Ok(KBox::new(Self { table: Table::new(config)?, lowers }, GFP_KERNEL)?)
    }

    #[inline]
    fn map(&self, ask: Ask) -> Result<Mapped, Status> {
        let run = find(self.table.segments(), ask.sector()).ok_or(Status::IOERR)?;
        Ok(Mapped::At(Piece { sector: run.sector, sectors: run.length, lower: run.lower, token: 0 }))
    }

    fn hole(&self, sector: u64, sectors: u64) -> u64 {
        let mut hole: u64 = 0;
        while let Some(run) = find(self.table.segments(), sector.wrapping_add(hole)).filter(|_| hole < sectors) {
            let Some(&device) = self.lowers.get(run.lower as usize) else { break };
            let part = edge::hole(device, run.sector, run.length.min(sectors.wrapping_sub(hole)));
            hole = hole.wrapping_add(part);
            if part < run.length {
                break;
            }
        }
        hole
    }
}
