// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Removing a pool: its labels are erased, that of the first device first. Data and metadata are left as they are.

use super::member;
use super::open::Open;
use super::view::PoolChange;
use crate::device::Access;
use crate::error::Context;
use crate::{Error, Kind, Result, Stor};
use nix::errno::Errno;

/// Names that an error tells; of more it tells how many there are.
const TOLD: usize = 5;

impl Stor {
    /// Removes a pool: its devices are free then. With volumes in it that is refused, unless `force` is given.
    pub fn remove_pool(&self, name: &str, force: bool, if_exists: bool) -> Result<PoolChange> {
        self.try_remove_pool(name, force, if_exists).context(|| format!("cannot remove pool {name}"))
    }

    fn try_remove_pool(&self, name: &str, force: bool, if_exists: bool) -> Result<PoolChange> {
        let mut open = match self.lock_pool(name, &[], Access::Claim) {
            Err(error) if if_exists && error.cause == super::scan::missing(name).cause => {
                let text = format!("there is no pool {name}");
                return Ok(PoolChange { changed: false, dry_run: self.dry_run, pool: None, text });
            }
            open => open?,
        };
        if !force {
            open.load()?;
            open.empty()?;
        }
        let (uuid, active) = (open.uuid.to_string(), open.status.is_some());
        let (name, view) = (open.name.clone(), open.view());
        if !active && open.first()?.owner != [0; 16] && open.first()?.owner != self.system.machine() && !force {
            return Err(
                Error::new(Kind::Busy, "another machine has it open").help("deactivate it there, or use --force")
            );
        }
        if self.dry_run {
            let text = format!("pool {name} would be removed");
            return Ok(PoolChange { changed: true, dry_run: true, pool: Some(view), text });
        }
        if active {
            drop(open);
            self.deactivate_pool(&uuid).map_err(|error| Error { context: String::new(), ..error })?;
            open = self.lock_pool(&uuid, &[], Access::Claim)?;
        }
        for (device, member) in open.devices.iter().zip(&open.members) {
            member::forget(device, member.content.as_ref(), &member.seen.label)?;
        }
        Ok(PoolChange { changed: true, dry_run: false, pool: None, text: format!("pool {name} removed") })
    }
}

impl Open<'_> {
    /// Refuses a pool with volumes, and names them.
    fn empty(&self) -> Result<()> {
        let names: Vec<&str> =
            self.catalog.records.values().map(|record| record.name.as_str()).filter(|name| !name.is_empty()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let mut told = names.get(..TOLD.min(names.len())).unwrap_or_default().join(", ");
        if names.len() > TOLD {
            told += &format!(" and {} more", names.len() - TOLD);
        }
        Err(Error::new(Kind::Busy, format!("it has volumes: {told}"))
            .help("remove them first, or use --force if all that they hold can be lost")
            .errno(Errno::EBUSY))
    }
}
