// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What udev asks of a disk that has appeared: whether it is a pool's, and whether the pool is whole now; or whether it is a replica's.

use crate::control::System;
use crate::error::Context;
use crate::{pool, replica, Mapper, Result};
use std::path::Path;

/// A property of a device for udev.
pub type Property = (&'static str, String);

/// Properties of a device: `STOR_POOL`, `STOR_POOL_UUID`, `STOR_POOL_INDEX` (which of its devices this is) and `STOR_POOL_COMPLETE` (1 if
/// all are there and fit, else 0); or `STOR_REPLICA` and `STOR_REPLICA_UUID`. None for a device that has nothing of Stor, which the legs of an array that only md
/// has had have not either.
///
/// Needs no module. `system` is the simulated one, if any.
///
/// # Errors
///
/// The device cannot be read.
pub fn properties(system: Option<&dyn System>, path: &Path) -> Result<Vec<Property>> {
    let here = Mapper::default();
    let host = system.unwrap_or(&here);
    let context = || format!("cannot tell whether {} is a pool's or a replica's", path.display());
    match of_pool(host, path).context(context)? {
        found if found.is_empty() => of_replica(host, path).context(context),
        found => Ok(found),
    }
}

fn of_pool(host: &dyn System, path: &Path) -> Result<Vec<Property>> {
    let mut own = pool::scan::scan(host, &[path.to_path_buf()])?;
    let Some(mut group) = own.pools.pop() else { return Ok(Vec::new()) };
    let Some(member) = group.members.pop() else { return Ok(Vec::new()) };
    let all = pool::scan::scan(host, &[])?;
    let whole = all.pools.iter().any(|pool| pool.uuid == group.uuid && pool.misfit.is_none());
    Ok(vec![
        ("STOR_POOL", member.seen.label.name().unwrap_or_default().into()),
        ("STOR_POOL_UUID", group.uuid.to_string()),
        ("STOR_POOL_INDEX", member.seen.label.index.get().to_string()),
        ("STOR_POOL_COMPLETE", u32::from(whole).to_string()),
    ])
}

fn of_replica(host: &dyn System, path: &Path) -> Result<Vec<Property>> {
    let own = replica::scan::scan(host, &[path.to_path_buf()])?;
    let ours = own.groups.into_iter().find(replica::scan::Group::is_ours);
    let found = |group: replica::scan::Group| {
        vec![("STOR_REPLICA", group.name()), ("STOR_REPLICA_UUID", group.uuid.to_string())]
    };
    Ok(ours.map(found).unwrap_or_default())
}
