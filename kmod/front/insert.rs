// SPDX-License-Identifier: GPL-2.0

//! A volume goes on as another target, on what it was until then, with I/O running ([`State::insert`]).
//!
//! ```text
//! before: volume (disk, name) ─ thin            after: volume (disk, name) ─ replica
//!                                                        joined ─ linear: lowers …, below
//!                                                                 below ─ thin
//! ```
//!
//! Both disks below are made first, as any disk is. That of `below` is held until the volume's I/O is, and its object has read what
//! the volume's has written; then it lets I/O through, for `joined` stands on it and the volume's new object may want to read. If that
//! refuses, `below` is emptied again, and the volume's old object goes on.

use super::notice::{Label, Notices};
use super::pool;
use super::edge::Object;
use super::registry::{hand_over, link, none, open_lowers, pool_limits, Below, Entry, Plan, State, Table, NO_POOL};
use super::volume::{Live, Lowers};
use super::{Front, DRAIN_MS};
use crate::abi::{errno, uapi};
use crate::block::bdev::{Lower, LowerSet};
use crate::block::queue_limits::QueueLimits;
use kernel::prelude::*;
use kernel::sync::Arc;

type Name = [u8; uapi::STOR_NAME_LEN as usize];
type Target = [u8; uapi::STOR_TARGET_LEN as usize];

/// What is to be.
pub struct Insertion {
    pub uuid: [u8; 16],
    /// Of the volume that has what this one has.
    pub below: ([u8; 16], Name),
    /// Of the one that stands on its lowers and on that.
    pub joined: ([u8; 16], Name, Target),
    pub table: Table,
    /// What the volume goes on as.
    pub target: Target,
    pub config: KVVec<u8>,
}

/// The one lower device that is a volume's disk.
fn on(device: u32, writable: bool, notices: &Arc<Notices>) -> Result<Lowers> {
    let lowers = LowerSet::with_capacity(1)?;
    lowers.push(Lower::open_device(device, writable, notices)?)?;
    Ok(Arc::new(lowers, GFP_KERNEL)?)
}

impl State {
    /// All of it is done, or nothing.
    pub fn insert(&mut self, front: &'static Front, insertion: Insertion) -> Result {
        let Insertion { uuid, below, joined, table, target, config } = insertion;
        let index = self.position(&uuid)?;
        self.check_name(&below.1)?;
        self.check_name(&joined.1)?;
        let taken = self.is_uuid_taken(&below.0) || self.is_uuid_taken(&joined.0);
        if taken || below.0 == joined.0 || below.1 == joined.1 {
            return Err(EEXIST);
        }
        if self.volumes.len().saturating_add(2) > uapi::STOR_MAX_VOLUMES as usize {
            return Err(E2BIG);
        }
        self.volumes.reserve(2, GFP_KERNEL)?;
        let (below_sequence, joined_sequence, sequence) =
            (self.next_sequence(), self.next_sequence(), self.next_sequence());
        let entry = self.volumes.get(index).ok_or(ENXIO)?;
        let (size, read_only) = (entry.size, entry.read_only);
        let version = entry.engine.ok_or(ENODEV)?;
        let engine = self.engine(&version).ok_or(ENODEV)?;
        if entry.disk.is_held() {
            return Err(EBUSY);
        }
        // It would have to be told of the membership; and it is one already.
        if entry.disk.with_live(|live| Ok(live.object.as_ref().ok_or(ENODEV)?.spreads()))? {
            return Err(errno::EOPNOTSUPP.into());
        }
        let pool = match entry.pool {
            NO_POOL => None,
            uuid => Some(self.find_pool(&uuid)?),
        };
        let pool = pool.map(pool::Entry::object).transpose()?.map(|pool| &**pool);
        let label = |name, target| Label { name, engine: version, target };

        // What it was.
        let notices = Notices::new(below.0, label(below.1, entry.notices().target()))?;
        let mut old_config = KVVec::new();
        old_config.extend_from_slice(&entry.config, GFP_KERNEL)?;
        let (lowers, origin) = (entry.lowers.clone(), entry.origin.clone());
        let limits = match pool {
            None => QueueLimits::stack(lowers.iter()),
            Some(pool) => pool_limits(pool, &lowers, &origin),
        };
        let plan = Plan { notices: &notices, size, config: &old_config, read_only };
        let moved = plan.prepare(engine, &entry.below(), pool)?;
        let below_index = self.free_index(u32::MAX);
        let live = Live { object: None, lowers: lowers.clone(), origin: origin.clone() };
        // Nobody's I/O goes through before there is an object.
        let disk = plan.show(front, below_index, &limits, live, |disk| disk.hold(DRAIN_MS))?;
        let mut below = Entry {
            disk,
            index: below_index,
            size,
            read_only,
            config: old_config,
            lowers,
            origin,
            engine: Some(version),
            suspended_since: 0,
            pool: entry.pool,
            sequence: below_sequence,
            block_sizes: limits.block_sizes(),
        };

        // What joins it to others.
        let notices = Notices::new(joined.0, label(joined.1, joined.2))?;
        let lowers = open_lowers(&table.fds, !read_only, &notices, table.fds.len().saturating_add(1))?;
        self.check_loop(entry, &lowers)?;
        lowers.push(Lower::open_device(below.disk.device(), !read_only, &notices)?)?;
        let limits = QueueLimits::stack(lowers.iter());
        let plan = Plan { notices: &notices, size: table.size, config: &table.config, read_only };
        let origin = none()?;
        let under = Below { lowers: &lowers, origin: &origin };
        let mut object = plan.prepare(engine, &under, None)?;
        object.load()?;
        let joined_index = self.free_index(below_index);
        let live = Live { object: Some(object), lowers: lowers.clone(), origin: origin.clone() };
        let disk = plan.show(front, joined_index, &limits, live, |disk| link(disk, &under))?;
        let joined = Entry {
            disk,
            index: joined_index,
            size: table.size,
            read_only,
            config: table.config,
            lowers,
            origin,
            engine: Some(version),
            suspended_since: 0,
            pool: NO_POOL,
            sequence: joined_sequence,
            block_sizes: limits.block_sizes(),
        };

        // What it goes on as.
        let lowers = on(joined.disk.device(), !read_only, entry.notices())?;
        let limits = QueueLimits::stack(lowers.iter());
        if entry.disk.driver().open_count() > 0 && limits.block_sizes().0 != entry.block_sizes.0 {
            return Err(EBUSY);
        }
        let origin = none()?;
        let under = Below { lowers: &lowers, origin: &origin };
        let plan = Plan { notices: entry.notices(), size, config: &config, read_only };
        let new = plan.prepare_as(engine, &target, &under, None)?;
        let limits = if new.spreads() { limits.spread() } else { limits };

        let entry = self.volumes.get_mut(index).ok_or(ENXIO)?;
        let old_links = entry.disk.links();
        let under_below = Below { lowers: &below.lowers, origin: &below.origin };
        let swapped = link(&mut below.disk, &under_below)
            .and_then(|()| link(&mut entry.disk, &under))
            .and_then(|()| swap(entry, &mut below, (moved, new), (&lowers, &origin), &limits));
        if let Err(error) = swapped {
            let new_links = entry.disk.links();
            entry.disk.unlink(old_links, new_links);
            if !entry.disk.with_live(|live| Ok(live.object.is_some()))? {
                entry.set_engine(None);
            }
            // What stands on the other goes first.
            joined.disk.driver().settle(false);
            drop(joined);
            return Err(error);
        }
        entry.disk.unlink(0, old_links);
        (entry.lowers, entry.origin, entry.config) = (lowers, origin, config);
        (entry.pool, entry.sequence, entry.block_sizes) = (NO_POOL, sequence, limits.block_sizes());
        entry.notices().set_label(Label { target, ..entry.label() });
        entry.disk.changed();
        below.emit(uapi::STOR_EVENT_CREATED, below.size);
        joined.emit(uapi::STOR_EVENT_CREATED, joined.size);
        entry.emit(uapi::STOR_EVENT_RELOADED, size);
        // In the order in which they stand on each other.
        let entry = self.volumes.remove(index).map_err(|_| ENXIO)?;
        for entry in [below, joined, entry] {
            self.volumes.push(entry, GFP_KERNEL)?;
        }
        self.changed();
        Ok(())
    }
}

/// Moves what a volume was to `below`, and puts `new` in its place. If anything is refused, the volume is what it was; if even that cannot be read
/// again, it is empty.
fn swap(
    entry: &mut Entry,
    below: &mut Entry,
    (moved, new): (Object, Object),
    (lowers, origin): (&Lowers, &Lowers),
    limits: &QueueLimits,
) -> Result {
    let update = entry.disk.start_limits();
    let mut frozen = entry.disk.freeze(DRAIN_MS)?;
    let live = frozen.live();
    let old = hand_over(&mut live.object, moved)?.ok_or(ENODEV)?;
    // It has what the volume had; and the volume's new object may want to read it.
    below.disk.freeze(DRAIN_MS)?.live().object = live.object.take();
    below.disk.release()?;
    let mut new = new;
    let loaded = new.load().and_then(|()| update.commit(&frozen, limits));
    let live = frozen.live();
    if let Err(error) = loaded {
        drop(new);
        live.object = below.disk.freeze(DRAIN_MS)?.live().object.take();
        let _ = hand_over(&mut live.object, old);
        return Err(error);
    }
    *live = Live { object: Some(new), lowers: lowers.clone(), origin: origin.clone() };
    drop(old);
    Ok(())
}
