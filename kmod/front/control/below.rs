// SPDX-License-Identifier: GPL-2.0

//! What is below a volume or a pool, as user space gives it and as it is told.

use super::{read_array, user, write_plain};
use crate::abi::uapi;
use crate::block::bdev::{major_minor, Lower};
use kernel::prelude::*;
use zerocopy::FromZeros;

/// Reads which devices are below.
pub(super) fn read_fds(lowers: u64, count: u32) -> Result<KVec<i32>> {
    if count > uapi::STOR_MAX_LOWERS {
        return Err(E2BIG);
    }
    let lowers = read_array::<uapi::stor_lower>(lowers, count as usize)?;
    let mut fds = KVec::with_capacity(lowers.len(), GFP_KERNEL)?;
    for lower in &lowers {
        if lower.reserved != 0 {
            return Err(EINVAL);
        }
        fds.push(lower.fd, GFP_KERNEL)?;
    }
    Ok(fds)
}

/// What a status tells: the lower devices, and the configuration.
pub(super) struct Below {
    lowers: KVec<uapi::stor_lower_status>,
    config: KVVec<u8>,
}

impl Below {
    pub(super) fn of<'a>(lowers: impl Iterator<Item = &'a Lower>, config: &[u8]) -> Result<Self> {
        let mut below = Self { lowers: KVec::new(), config: KVVec::new() };
        for lower in lowers {
            let (major, minor) = major_minor(lower.device());
            let mut row = uapi::stor_lower_status {
                major,
                minor,
                state: if lower.is_gone() { uapi::STOR_LOWER_GONE } else { 0 },
                size: lower.geometry().size,
                ..FromZeros::new_zeroed()
            };
            lower.name(&mut row.disk);
            below.lowers.push(row, GFP_KERNEL)?;
        }
        below.config.extend_from_slice(config, GFP_KERNEL)?;
        Ok(below)
    }

    /// Writes each to where the caller has room for it: a pointer, and how many.
    pub(super) fn write(&self, lowers: (u64, u32), config: (u64, u32)) -> Result {
        if self.config.len() <= config.1 as usize {
            write_plain(user(config.0)?, &self.config)?;
        }
        if self.lowers.len() <= lowers.1 as usize {
            write_plain(user(lowers.0)?, &self.lowers)?;
        }
        Ok(())
    }
}
