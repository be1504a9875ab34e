// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The metadata snapshot: a copy of the superblock, whose trees stay as they are, to be read while the pool runs.
//!
//! It keeps the trees of that moment, and the data blocks in them from being given to others. It does not keep the data:
//! a device writes in place to what it shares with nothing but the metadata snapshot.

use super::block::Kind;
use super::error::Error;
use super::mapping::{DeviceDetails, Devices};
use super::pool::Pool;
use super::space::Root;
use super::store::Store;
use super::superblock::Superblock;
use super::tree;
use crate::pure::units::MetadataBlock;
use zerocopy::little_endian::U64;
use zerocopy::FromZeros;

impl<S: Store> Pool<S> {
    /// The metadata snapshot, if there is one.
    pub fn held_root(&self) -> Option<MetadataBlock> {
        Some(MetadataBlock(self.superblock.held_root.get())).filter(|at| at.0 != 0)
    }

    /// Makes a metadata snapshot of all that has been done; commits.
    ///
    /// # Errors
    ///
    /// There is one; or there is no room; or the commit fails.
    pub fn reserve_snapshot(&mut self) -> Result<MetadataBlock, Error> {
        self.usable()?;
        if let Some(at) = self.held_root() {
            return Err(Error::Held(at));
        }
        self.commit()?;
        self.room_to_hold()?;
        let at = self.change(|pool| {
            let at = pool.core.allocate(Kind::Superblock)?;
            let nothing = Self::area(Root::default());
            let copy = Superblock {
                header: FromZeros::new_zeroed(),
                held_root: U64::ZERO,
                data_space: nothing,
                metadata_space: nothing,
                ..pool.superblock
            };
            copy.write(pool.core.own_mut(at, Kind::Superblock)?);
            pool.core.hold(pool.mapping_root())?;
            pool.core.hold(pool.details_root())?;
            pool.superblock.held_root = at.0.into();
            pool.changed = true;
            Ok(at)
        })?;
        self.commit()?;
        Ok(at)
    }

    /// Gives the metadata snapshot up; commits.
    ///
    /// # Errors
    ///
    /// There is none; or it is damaged; or the commit fails.
    pub fn release_snapshot(&mut self) -> Result<(), Error> {
        self.usable()?;
        let at = self.held_root().ok_or(Error::NotHeld)?;
        self.room_to_release()?;
        self.change(|pool| {
            pool.changed = true;
            let frame = pool.core.cache.read(at, Kind::Superblock, |_| Ok(()))?;
            let copy = Superblock::of(pool.core.cache.block(frame));
            tree::drop_tree::<Devices, S>(&mut pool.core, MetadataBlock(copy.mapping_root.get()), 0)?;
            tree::drop_tree::<DeviceDetails, S>(&mut pool.core, MetadataBlock(copy.details_root.get()), 0)?;
            pool.core.release(at)?;
            pool.superblock.held_root = U64::ZERO;
            Ok(())
        })?;
        self.commit()
    }
}
