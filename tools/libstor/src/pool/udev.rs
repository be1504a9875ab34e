// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What udev asks of a disk that has appeared: whether it is a pool's, and whether the pool is whole now.

use super::scan::scan;
use crate::control::System;
use crate::error::Context;
use crate::{Mapper, Result};
use std::path::Path;

/// Properties of a device for udev: `STOR_POOL`, `STOR_POOL_UUID`, `STOR_POOL_INDEX` (which of its devices this is) and
/// `STOR_POOL_COMPLETE` (1 if all are there and fit, else 0). None for a device without a label that can be used.
///
/// Needs no module. `system` is the simulated one, if any.
///
/// # Errors
///
/// The device cannot be read.
pub fn properties(system: Option<&dyn System>, path: &Path) -> Result<Vec<(&'static str, String)>> {
    let here = Mapper::default();
    let host = system.unwrap_or(&here);
    let context = || format!("cannot tell whether {} is a pool's", path.display());
    let mut own = scan(host, &[path.to_path_buf()]).context(context)?;
    let Some(mut group) = own.pools.pop() else { return Ok(Vec::new()) };
    let Some(member) = group.members.pop() else { return Ok(Vec::new()) };
    let all = scan(host, &[]).context(context)?;
    let whole = all.pools.iter().any(|pool| pool.uuid == group.uuid && pool.misfit.is_none());
    Ok(vec![
        ("STOR_POOL", member.seen.label.name().unwrap_or_default().into()),
        ("STOR_POOL_UUID", group.uuid.to_string()),
        ("STOR_POOL_INDEX", member.seen.label.index.get().to_string()),
        ("STOR_POOL_COMPLETE", u32::from(whole).to_string()),
    ])
}
