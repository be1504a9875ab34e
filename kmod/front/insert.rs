// SPDX-License-Identifier: GPL-2.0

//! A volume goes on as another target, on what it was until then, with I/O running ([`State::insert`]).
//!
//! ```text
//! before: volume (disk, name) ─ thin            after: volume (disk, name) ─ replica
//!                                                        joined ─ linear: lowers …, below
//!                                                                 below ─ thin
//! ```
//!
//! Both disks below are made first, as any disk is, but that nobody else may open them before all is done. Until the volume's I/O is
//! held, `below` answers with errors: what the volume's new object wants to know before it is loaded has to be on other devices. Then
//! `below` gets an object that has read what the volume's has written, and the new one is loaded. If that refuses, `below` is emptied
//! again, and the volume's old object goes on.
//!
//! Each step is a function of its own, because what they have on the stack together is too much for it.

use super::edge::{Object, Pool};
use super::notice::{Claim, Label, Notices};
use super::registry::{hand_over, link, none, open_lowers, pool_limits, Below, Entry, Plan, State, Table, NO_POOL};
use super::volume::{Live, Lowers, Settled};
use super::{pool, Front, DRAIN_MS};
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

/// A volume's next object, and what it stands on.
struct Next {
    object: Object,
    lowers: Lowers,
    claim: Arc<Claim>,
    origin: Lowers,
    limits: QueueLimits,
}

impl State {
    /// All of it is done, or nothing.
    pub fn insert(&mut self, front: &'static Front, insertion: Insertion) -> Result {
        let index = self.check_insertion(&insertion)?;
        self.volumes.reserve(2, GFP_KERNEL)?;
        let sequences = (self.next_sequence(), self.next_sequence(), self.next_sequence());
        let (mut below, moved) = self.below(front, index, &insertion, sequences.0)?;
        let joined = self.joined(front, index, &insertion, &below, sequences.1)?;
        if let Err(error) = self.go_on(index, &insertion, &mut below, moved, &joined) {
            // What stands on the other goes first.
            drop(joined);
            return Err(error);
        }
        let entry = self.volumes.get_mut(index).ok_or(ENXIO)?;
        entry.config = insertion.config;
        (entry.pool, entry.sequence) = (NO_POOL, sequences.2);
        entry.notices().set_label(Label { target: insertion.target, ..entry.label() });
        entry.disk.changed();
        for new in [&below, &joined] {
            new.disk.driver().admit();
            // Nobody could look at it when it appeared.
            new.disk.changed();
            new.emit(uapi::STOR_EVENT_CREATED, new.size);
        }
        entry.emit(uapi::STOR_EVENT_RELOADED, entry.size);
        self.stack(index, below, joined)?;
        self.changed();
        Ok(())
    }

    /// In the order in which they stand on each other.
    #[inline(never)]
    fn stack(&mut self, index: usize, below: Entry, joined: Entry) -> Result {
        let entry = self.volumes.remove(index).map_err(|_| ENXIO)?;
        self.volumes.push(below, GFP_KERNEL)?;
        self.volumes.push(joined, GFP_KERNEL)?;
        self.volumes.push(entry, GFP_KERNEL)?;
        Ok(())
    }

    /// Which volume it is about, if it can be.
    #[inline(never)]
    fn check_insertion(&self, insertion: &Insertion) -> Result<usize> {
        let Insertion { uuid, below, joined, .. } = insertion;
        let index = self.position(uuid)?;
        self.check_name(&below.1)?;
        self.check_name(&joined.1)?;
        let taken = self.is_uuid_taken(&below.0) || self.is_uuid_taken(&joined.0);
        if taken || below.0 == joined.0 || below.1 == joined.1 {
            return Err(EEXIST);
        }
        if self.volumes.len().saturating_add(2) > uapi::STOR_MAX_VOLUMES as usize {
            return Err(E2BIG);
        }
        let entry = self.volumes.get(index).ok_or(ENXIO)?;
        if entry.disk.is_held() {
            return Err(EBUSY);
        }
        if entry.pool != NO_POOL {
            self.check_awake(&entry.lowers)?;
        }
        // What reads its lower devices when it starts would find `below` with nothing yet.
        if !joined.2.starts_with(b"linear\0") {
            return Err(errno::EOPNOTSUPP.into());
        }
        // It would have to be told of the membership; and it is one already.
        if entry.disk.with_live(|live| Ok(live.object.as_ref().ok_or(ENODEV)?.spreads()))? {
            return Err(errno::EOPNOTSUPP.into());
        }
        Ok(index)
    }

    /// The pool that a volume is of.
    fn pool_of(&self, entry: &Entry) -> Result<Option<&Pool>> {
        let pool = match entry.pool {
            NO_POOL => None,
            uuid => Some(self.find_pool(&uuid)?),
        };
        Ok(pool.map(pool::Entry::object).transpose()?.map(|pool| &**pool))
    }

    /// A volume that is what this one is, and its object, which is not there yet.
    #[inline(never)]
    fn below(
        &self,
        front: &'static Front,
        index: usize,
        insertion: &Insertion,
        sequence: u64,
    ) -> Result<(Entry, Object)> {
        let entry = self.volumes.get(index).ok_or(ENXIO)?;
        let version = entry.engine.ok_or(ENODEV)?;
        let engine = self.engine(&version).ok_or(ENODEV)?;
        let pool = self.pool_of(entry)?;
        let (uuid, name) = insertion.below;
        let notices = Notices::new(uuid, Label { name, ..entry.label() })?;
        let mut config = KVVec::new();
        config.extend_from_slice(&entry.config, GFP_KERNEL)?;
        let limits = match pool {
            None => QueueLimits::stack(entry.lowers.iter()),
            Some(pool) => pool_limits(pool, &entry.lowers, &entry.origin),
        };
        let plan = Plan { notices: &notices, size: entry.size, config: &config, read_only: entry.read_only };
        let object = plan.prepare(engine, &entry.below(), pool)?;
        let number = self.free_index(u32::MAX);
        let live = Live { object: None, lowers: entry.lowers.clone(), origin: entry.origin.clone() };
        let disk = plan.show(front, number, &limits, live, None, Settled::Own)?;
        let below = Entry {
            disk,
            index: number,
            size: entry.size,
            read_only: entry.read_only,
            config,
            lowers: entry.lowers.clone(),
            // It is told what becomes of them when the volume no longer stands on them.
            claim: entry.claim.clone(),
            origin: entry.origin.clone(),
            engine: entry.engine,
            suspended_since: 0,
            pool: entry.pool,
            sequence,
            block_sizes: limits.block_sizes(),
        };
        Ok((below, object))
    }

    /// The volume that joins that one to others.
    #[inline(never)]
    fn joined(
        &self,
        front: &'static Front,
        index: usize,
        insertion: &Insertion,
        below: &Entry,
        sequence: u64,
    ) -> Result<Entry> {
        let entry = self.volumes.get(index).ok_or(ENXIO)?;
        let version = entry.engine.ok_or(ENODEV)?;
        let engine = self.engine(&version).ok_or(ENODEV)?;
        let (uuid, name, target) = insertion.joined;
        let (table, read_only) = (&insertion.table, entry.read_only);
        let notices = Notices::new(uuid, Label { name, target, ..entry.label() })?;
        let claim = Claim::new(&notices)?;
        let lowers = open_lowers(&table.fds, !read_only, &claim, table.fds.len().saturating_add(1))?;
        self.check_loop(entry, &lowers)?;
        lowers.push(Lower::open_device(below.disk.device(), !read_only, &claim)?)?;
        let (limits, origin) = (QueueLimits::stack(lowers.iter()), none()?);
        let under = Below { lowers: &lowers, origin: &origin };
        let plan = Plan { notices: &notices, size: table.size, config: &table.config, read_only };
        let mut object = plan.prepare(engine, &under, None)?;
        object.load()?;
        let number = self.free_index(below.index);
        let live = Live { object: Some(object), lowers: lowers.clone(), origin: origin.clone() };
        let disk = plan.show(front, number, &limits, live, Some(&under), Settled::Own)?;
        let mut config = KVVec::new();
        config.extend_from_slice(&table.config, GFP_KERNEL)?;
        Ok(Entry {
            disk,
            index: number,
            size: table.size,
            read_only,
            config,
            lowers,
            claim,
            origin,
            engine: entry.engine,
            suspended_since: 0,
            pool: NO_POOL,
            sequence,
            block_sizes: limits.block_sizes(),
        })
    }

    /// The volume goes on as what it is to be, or as what it is.
    fn go_on(
        &mut self,
        index: usize,
        insertion: &Insertion,
        below: &mut Entry,
        moved: Object,
        joined: &Entry,
    ) -> Result {
        let next = self.next(index, insertion, joined)?;
        exchange(self.volumes.get_mut(index).ok_or(ENXIO)?, below, moved, next)
    }

    /// What the volume goes on as.
    #[inline(never)]
    fn next(&self, index: usize, insertion: &Insertion, joined: &Entry) -> Result<Next> {
        let entry = self.volumes.get(index).ok_or(ENXIO)?;
        let version = entry.engine.ok_or(ENODEV)?;
        let engine = self.engine(&version).ok_or(ENODEV)?;
        let lowers = LowerSet::with_capacity(1)?;
        // Not the one that it has: that is to be `below`'s.
        let claim = Claim::new(entry.notices())?;
        lowers.push(Lower::open_device(joined.disk.device(), !entry.read_only, &claim)?)?;
        let (lowers, origin) = (Arc::new(lowers, GFP_KERNEL)?, none()?);
        let limits = QueueLimits::stack(lowers.iter());
        if entry.disk.driver().open_count() > 0 && limits.block_sizes().0 != entry.block_sizes.0 {
            return Err(EBUSY);
        }
        let (size, config, read_only) = (entry.size, &*insertion.config, entry.read_only);
        let plan = Plan { notices: entry.notices(), size, config, read_only };
        let object = plan.prepare_as(engine, &insertion.target, &Below { lowers: &lowers, origin: &origin }, None)?;
        let limits = if object.spreads() { limits.spread() } else { limits };
        Ok(Next { object, lowers, claim, origin, limits })
    }
}

/// Gives a volume its next object, and what it was to `below`; or leaves it as it is.
#[inline(never)]
fn exchange(entry: &mut Entry, below: &mut Entry, moved: Object, next: Next) -> Result {
    let (lowers, origin, sizes) = (next.lowers.clone(), next.origin.clone(), next.limits.block_sizes());
    let claim = next.claim.clone();
    let old_links = entry.disk.links();
    let under_below = Below { lowers: &below.lowers, origin: &below.origin };
    let swapped = link(&mut below.disk, &under_below)
        .and_then(|()| link(&mut entry.disk, &Below { lowers: &lowers, origin: &origin }))
        .and_then(|()| swap(entry, below, moved, next));
    if let Err(error) = swapped {
        let new_links = entry.disk.links();
        entry.disk.unlink(old_links, new_links);
        if !entry.disk.with_live(|live| Ok(live.object.is_some()))? {
            entry.set_engine(None);
        }
        return Err(error);
    }
    entry.disk.unlink(0, old_links);
    below.claim.give(below.notices());
    entry.claim = claim;
    (entry.lowers, entry.origin, entry.block_sizes) = (lowers, origin, sizes);
    Ok(())
}

/// Moves what a volume was to `below`, and puts `next` in its place. If anything is refused, the volume is what it was; if even that
/// cannot be read again, it is empty.
#[inline(never)]
fn swap(entry: &mut Entry, below: &mut Entry, moved: Object, next: Next) -> Result {
    let Next { mut object, lowers, origin, limits, .. } = next;
    let update = entry.disk.start_limits();
    let mut frozen = entry.disk.freeze(DRAIN_MS)?;
    let live = frozen.live();
    let old = hand_over(&mut live.object, moved)?.ok_or(ENODEV)?;
    // It has what the volume had; and the volume's new object may want to read it.
    let given = give(below, live);
    let loaded = given.and_then(|()| object.load()).and_then(|()| update.commit(&frozen, &limits));
    let live = frozen.live();
    if let Err(error) = loaded {
        drop(object);
        live.object = below.disk.freeze(DRAIN_MS)?.live().object.take();
        let _ = hand_over(&mut live.object, old);
        return Err(error);
    }
    *live = Live { object: Some(object), lowers, origin };
    drop(old);
    Ok(())
}

/// Gives a volume's object to `below`.
fn give(below: &mut Entry, live: &mut Live) -> Result {
    below.disk.freeze(DRAIN_MS)?.live().object = live.object.take();
    Ok(())
}
