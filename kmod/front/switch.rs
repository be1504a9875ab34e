// SPDX-License-Identifier: GPL-2.0

//! Moving every volume and pool to another engine with I/O running.
//!
//! One after the other, in order of creation, each running again before the next is held: held all at once,
//! a volume that stands on another would wait for it for ever. A pool moves with its volumes, which are held together. For
//! each: everything that needs memory is made
//! first; its I/O is drained and held; the old engine writes the state, the new one reads it; I/O goes on.
//! No request ever crosses engines, and no engine code is on a CPU when a volume is held (docs/adr/0002).
//!
//! If the new engine refuses one, that one goes back to the old engine, and so do those that moved before it.
//! What cannot go back stays where it is: a mixed set is legal, and shown.

use super::edge::{Object, Pool, Version};
use super::registry::{hand_over, hand_over_pool, Entry, State, NO_POOL};
use super::DRAIN_MS;
use crate::abi::uapi;
use kernel::prelude::*;
use kernel::sync::Arc;
use zerocopy::FromZeros;

/// What moves together: a volume of no pool, or a pool, by their places in the state.
#[derive(Clone, Copy)]
enum Unit {
    Volume(usize),
    Pool(usize),
}

/// What became of the volumes, and whether all moved.
pub struct Outcome {
    pub results: KVec<uapi::stor_switch_result>,
    pub result: Result,
}

/// Moves every volume to the engine `version`. ENOENT, and ENOMEM before anything moved.
pub fn switch(state: &mut State, version: Version) -> Result<Outcome> {
    if state.engine(&version).is_none() {
        return Err(ENOENT);
    }
    let mut results = KVec::with_capacity(state.volumes().len(), GFP_KERNEL)?;
    let mut before = KVec::with_capacity(state.volumes().len(), GFP_KERNEL)?;
    for entry in state.volumes() {
        let stayed = uapi::STOR_SWITCH_STAYED;
        let result = uapi::stor_switch_result { uuid: entry.uuid(), outcome: stayed, ..FromZeros::new_zeroed() };
        results.push(result, GFP_KERNEL)?;
        before.push(entry.engine, GFP_KERNEL)?;
    }
    let mut units = KVec::with_capacity(state.volumes().len().saturating_add(state.pools.len()), GFP_KERNEL)?;
    for (index, entry) in state.volumes().iter().enumerate().filter(|(_, entry)| entry.pool == NO_POOL) {
        units.push((entry.sequence, Unit::Volume(index)), GFP_KERNEL)?;
    }
    let mut pools_before = KVec::with_capacity(state.pools.len(), GFP_KERNEL)?;
    for (index, pool) in state.pools.iter().enumerate() {
        units.push((pool.sequence, Unit::Pool(index)), GFP_KERNEL)?;
        pools_before.push(pool.engine, GFP_KERNEL)?;
    }
    units.sort_unstable_by_key(|&(sequence, _)| sequence);
    let mut result = Ok(());
    let mut moved = 0usize;
    for &(_, unit) in units.iter() {
        result = move_unit(state, unit, version, &mut results);
        if result.is_err() {
            break;
        }
        moved = moved.wrapping_add(1);
    }
    if result.is_err() {
        for &(_, unit) in units.iter().take(moved).rev() {
            let engine = match unit {
                Unit::Volume(index) => before.get(index),
                Unit::Pool(index) => pools_before.get(index),
            };
            if let Some(Some(engine)) = engine {
                go_back(state, unit, *engine, &mut results);
            }
        }
    } else {
        state.activate(version);
    }
    Ok(Outcome { results, result })
}

/// Moves what moved back to where it was. Whatever comes of it stands in the rows.
fn go_back(state: &mut State, unit: Unit, engine: Version, rows: &mut [uapi::stor_switch_result]) {
    let back = move_unit(state, unit, engine, rows).is_ok();
    let uuid = match unit {
        Unit::Pool(index) => state.pools.get(index).map(|pool| pool.uuid()),
        Unit::Volume(_) => None,
    };
    for (index, (entry, row)) in state.volumes().iter().zip(rows).enumerate() {
        let of_unit = matches!(unit, Unit::Volume(own) if own == index) || uuid == Some(entry.pool);
        if back && of_unit && row.outcome == uapi::STOR_SWITCH_MOVED {
            row.outcome = uapi::STOR_SWITCH_STAYED;
        }
    }
}

fn move_unit(state: &mut State, unit: Unit, version: Version, rows: &mut [uapi::stor_switch_result]) -> Result {
    match unit {
        Unit::Volume(index) => move_one(state, index, version, rows.get_mut(index).ok_or(ENXIO)?),
        Unit::Pool(index) => move_pool(state, index, version, rows),
    }
}

/// Moves one volume, and writes into `row` what became of it.
fn move_one(state: &mut State, index: usize, version: Version, row: &mut uapi::stor_switch_result) -> Result {
    let entry = state.volumes().get(index).ok_or(ENXIO)?;
    if entry.engine == Some(version) {
        row.outcome = uapi::STOR_SWITCH_UNCHANGED;
        return Ok(());
    }
    let prepared = state.engine(&version).ok_or(ENOENT).and_then(|engine| entry.prepare(engine, None));
    let entry = state.volumes_mut().get_mut(index).ok_or(ENXIO)?;
    let mut dead = false;
    let moved = prepared.and_then(|new| {
        let mut frozen = entry.disk.freeze(DRAIN_MS)?;
        let handed = hand_over(&mut frozen.live().object, new);
        dead = frozen.live().object.is_none();
        row.pause = row.pause.max(frozen.pause());
        drop(frozen);
        // The old object is freed, and its engine let go, only here: I/O runs again.
        handed.map(drop)
    });
    report(entry, version, row, moved, dead)
}

/// Moves a pool and its volumes.
fn move_pool(state: &mut State, index: usize, version: Version, rows: &mut [uapi::stor_switch_result]) -> Result {
    let pool = state.pools.get(index).ok_or(ENXIO)?;
    let uuid = pool.uuid();
    if pool.engine == Some(version) {
        let rows = state.volumes().iter().zip(rows).filter(|(entry, _)| entry.pool == uuid);
        rows.for_each(|(_, row)| row.outcome = uapi::STOR_SWITCH_UNCHANGED);
        return Ok(());
    }
    let engine = state.engine(&version).ok_or(ENOENT)?;
    state.check_awake(&pool.lowers)?;
    let mut new = KVec::new();
    let prepared = pool.prepare(engine).and_then(|made| {
        for entry in state.volumes().iter().filter(|entry| entry.pool == uuid) {
            new.push(Some(entry.prepare(engine, Some(&made))?), GFP_KERNEL)?;
        }
        Ok(made)
    });
    let (volumes, pools) = state.volumes_and_pools_mut();
    let pool = pools.get_mut(index).ok_or(ENXIO)?;
    let mut dead = KVec::with_capacity(new.len(), GFP_KERNEL)?;
    let moved = match prepared {
        Err(error) => {
            // The objects before their pool.
            drop(new);
            Err(error)
        }
        Ok(made) => {
            let mut made = Some(made);
            let result = swap_pool(volumes, uuid, &mut pool.object, &mut made, &mut new, rows, &mut dead);
            drop(new);
            drop(made);
            result
        }
    };
    if moved.is_ok() {
        pool.set_engine(Some(version));
    } else if pool.object.is_none() {
        pool.set_engine(None);
    }
    let mut result = moved;
    let mut dead = dead.iter();
    for (entry, row) in volumes.iter_mut().zip(rows).filter(|(entry, _)| entry.pool == uuid) {
        result = report(entry, version, row, moved, dead.next().copied().unwrap_or(false)).and(result);
    }
    result
}

/// The part of moving a pool for which its volumes are held.
fn swap_pool(
    volumes: &[Entry],
    uuid: [u8; 16],
    pool: &mut Option<Arc<Pool>>,
    new_pool: &mut Option<Arc<Pool>>,
    new: &mut [Option<Object>],
    rows: &mut [uapi::stor_switch_result],
    dead: &mut KVec<bool>,
) -> Result {
    let mut starting = KVec::with_capacity(new.len(), GFP_KERNEL)?;
    let mut frozen = KVec::with_capacity(new.len(), GFP_KERNEL)?;
    let mut places = KVec::with_capacity(new.len(), GFP_KERNEL)?;
    if let Some(pool) = pool {
        pool.settle();
    }
    for entry in volumes.iter().filter(|entry| entry.pool == uuid) {
        starting.push(entry.disk.start_freeze()?, GFP_KERNEL)?;
    }
    while let Some(start) = starting.pop() {
        frozen.push(start.wait(DRAIN_MS)?, GFP_KERNEL)?;
    }
    frozen.reverse();
    for held in frozen.iter_mut() {
        places.push(&mut held.live().object, GFP_KERNEL)?;
    }
    let result = hand_over_pool(pool, new_pool, &mut places, new);
    drop(places);
    for held in frozen.iter_mut() {
        let gone = held.live().object.is_none();
        let _ = dead.push_within_capacity(gone);
    }
    let rows = volumes.iter().zip(rows).filter(|(entry, _)| entry.pool == uuid);
    for ((_, row), held) in rows.zip(frozen.iter()) {
        row.pause = row.pause.max(held.pause());
    }
    result
}

fn report(
    entry: &mut Entry,
    version: Version,
    row: &mut uapi::stor_switch_result,
    moved: Result,
    dead: bool,
) -> Result {
    let Err(error) = moved else {
        row.outcome = uapi::STOR_SWITCH_MOVED;
        entry.set_engine(Some(version));
        entry.emit(uapi::STOR_EVENT_SWITCHED, row.pause);
        return Ok(());
    };
    row.error = error.to_errno();
    let errno = u64::from(row.error.unsigned_abs());
    entry.emit(uapi::STOR_EVENT_SWITCH_FAILED, errno);
    if dead {
        row.outcome = uapi::STOR_SWITCH_DEAD;
        entry.set_engine(None);
        entry.emit(uapi::STOR_EVENT_DEAD, errno);
    }
    Err(error)
}
