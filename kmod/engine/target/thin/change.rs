// SPDX-License-Identifier: GPL-2.0

//! Changes of a pool that user space asks for: each is one transaction, durable or not there at all.
//!
//! A snapshot is of one instant: writes to the origins are held, those under way waited for, what is young is settled; then the
//! metadata engine makes it. Writes go on before the commit: what they change is shared by then, and copied.

use super::pool::{errno_of, Inner, State};
use super::volume::Volume;
use crate::abi::uapi::{self, stor_pool_change, stor_pool_item};
use crate::block::clock;
use crate::block::status::Status;
use crate::pure::thin::error::Error as Refusal;
use kernel::prelude::*;
use kernel::sync::atomic::{ordering::Full, ordering::Relaxed, ordering::Release};
use kernel::sync::Arc;

fn failed(status: Status) -> Error {
    Error::from_errno(status.errno().wrapping_neg())
}

impl Inner {
    pub(super) fn change(&self, change: &mut stor_pool_change, items: &[stor_pool_item]) -> Result {
        let mut state = self.state.lock();
        let state = &mut *state;
        let (old, new) = (change.transaction_old, change.transaction_new);
        let kind = change.change;
        let listed = matches!(
            kind,
            uapi::STOR_POOL_CHANGE_CREATE | uapi::STOR_POOL_CHANGE_SNAPSHOT | uapi::STOR_POOL_CHANGE_DELETE
        );
        if kind > uapi::STOR_POOL_CHANGE_CHECKED || listed == items.is_empty() {
            return Err(EINVAL);
        }
        if kind != uapi::STOR_POOL_CHANGE_SNAPSHOT && items.iter().any(|item| item.origin != 0) {
            return Err(EINVAL);
        }
        (change.held_root, change.pause) = (0, 0);
        if kind == uapi::STOR_POOL_CHANGE_CHECKED {
            return self.checked(state, old);
        }
        if self.mode.load(Relaxed) >= uapi::STOR_POOL_STUCK {
            return Err(EROFS);
        }
        let metadata = state.metadata.as_mut().ok_or(ENODEV)?;
        if metadata.transaction_id() != old {
            return Err(crate::abi::errno::ESTALE.into());
        }
        // What is not of this change becomes durable before it.
        self.commit(state).map_err(failed)?;
        let changed = match kind {
            uapi::STOR_POOL_CHANGE_CREATE => self.create(state, items),
            uapi::STOR_POOL_CHANGE_SNAPSHOT => self.snapshot(state, items, &mut change.pause),
            uapi::STOR_POOL_CHANGE_DELETE => self.delete(state, items),
            uapi::STOR_POOL_CHANGE_HOLD => self.with(state, |metadata| metadata.reserve_snapshot()).map(drop),
            uapi::STOR_POOL_CHANGE_RELEASE => self.with(state, |metadata| metadata.release_snapshot()),
            _ => Ok(()),
        };
        let changed = changed.and_then(|()| {
            if old != new {
                self.with(state, |metadata| metadata.set_transaction_id(old, new))?;
            }
            Ok(())
        });
        changed?;
        self.commit(state).map_err(failed)?;
        if kind == uapi::STOR_POOL_CHANGE_HOLD {
            let held = state.metadata.as_ref().and_then(|metadata| metadata.held_root());
            change.held_root = held.map_or(0, |at| at.0);
        }
        Ok(())
    }

    fn with<T>(
        &self,
        state: &mut State,
        change: impl Fn(&mut crate::pure::thin::pool::Pool<super::store::KernelStore>) -> Result<T, Refusal>,
    ) -> Result<T> {
        change(state.metadata.as_mut().ok_or(ENODEV)?).map_err(|refusal| errno_of(&refusal))
    }

    fn create(&self, state: &mut State, items: &[stor_pool_item]) -> Result {
        for (index, item) in items.iter().enumerate() {
            let Err(error) = self.with(state, |metadata| metadata.create_thin(item.device)) else { continue };
            // Those before it are empty: each goes in one step.
            for made in items.iter().take(index) {
                self.with(state, |metadata| metadata.delete(made.device, 1))?;
            }
            return Err(error);
        }
        Ok(())
    }

    fn delete(&self, state: &mut State, items: &[stor_pool_item]) -> Result {
        if items.iter().any(|item| self.volume_of(state, item.device).is_some()) {
            return Err(EBUSY);
        }
        for item in items {
            if !state.deleting.contains(&item.device) {
                state.deleting.push(item.device, GFP_KERNEL)?;
            }
        }
        Ok(())
    }

    fn snapshot(&self, state: &mut State, items: &[stor_pool_item], pause: &mut u64) -> Result {
        if items.iter().any(|item| state.deleting.contains(&item.origin) || state.deleting.contains(&item.device)) {
            return Err(EBUSY);
        }
        let mut pairs = KVec::with_capacity(items.len(), GFP_KERNEL)?;
        let mut origins: KVec<Arc<Volume>> = KVec::with_capacity(items.len(), GFP_KERNEL)?;
        for item in items {
            pairs.push((item.device, item.origin), GFP_KERNEL)?;
            if let Some(volume) = self.volume_of(state, item.origin) {
                if !origins.iter().any(|origin| Arc::ptr_eq(origin, volume)) {
                    origins.push(volume.clone(), GFP_KERNEL)?;
                }
            }
        }
        // Most of it while writes go on.
        for origin in origins.iter() {
            self.settle(state, origin).map_err(failed)?;
        }
        self.commit(state).map_err(failed)?;
        let since = clock::now();
        for origin in origins.iter() {
            origin.held.store(1, Relaxed);
        }
        let made = self.snapshot_held(state, &pairs, &origins);
        for origin in origins.iter() {
            origin.held.store(0, Release);
        }
        *pause = clock::now().saturating_sub(since);
        made
    }

    /// The part of it for which writes are held.
    fn snapshot_held(&self, state: &mut State, pairs: &[(u64, u64)], origins: &[Arc<Volume>]) -> Result {
        for origin in origins {
            // Before it is looked at who is on the way.
            origin.held.xchg(1, Full);
            origin.epoch.wait(&self.wait);
        }
        for origin in origins {
            self.settle(state, origin).map_err(failed)?;
        }
        self.commit(state).map_err(failed)?;
        self.with(state, |metadata| metadata.create_snapshots(pairs))?;
        let time = state.metadata.as_ref().map_or(0, |metadata| metadata.time());
        for origin in origins {
            origin.snapped.store(time, Release);
            origin.change_in(state.transaction);
        }
        Ok(())
    }

    /// Takes back that the metadata has to be checked.
    fn checked(&self, state: &mut State, transaction: u64) -> Result {
        let metadata = state.metadata.as_mut().ok_or(ENODEV)?;
        if metadata.transaction_id() != transaction {
            return Err(crate::abi::errno::ESTALE.into());
        }
        metadata.set_needs_check(false).map_err(|refusal| errno_of(&refusal))?;
        if state.last_error == 0 && !self.is_read_only() {
            self.set_mode(uapi::STOR_POOL_WRITE);
        }
        Ok(())
    }
}
