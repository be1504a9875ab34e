// SPDX-License-Identifier: GPL-2.0

//! Moving every volume to another engine with I/O running.
//!
//! One volume after the other, in order of creation, each running again before the next is held: held all at once,
//! a volume that stands on another would wait for it for ever. For each: everything that needs memory is made
//! first; its I/O is drained and held; the old engine writes the volume's state, the new one reads it; I/O goes on.
//! No request ever crosses engines, and no engine code is on a CPU when a volume is held (docs/adr/0002).
//!
//! If the new engine refuses a volume, that one goes back to the old engine, and so do those that moved before it.
//! What cannot go back stays where it is: a mixed set is legal, and shown.

use super::edge::Version;
use super::registry::{hand_over, Entry, State};
use super::DRAIN_MS;
use crate::abi::uapi;
use kernel::prelude::*;
use zerocopy::FromZeros;

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
    let mut result = Ok(());
    for (index, row) in results.iter_mut().enumerate() {
        result = move_one(state, index, version, row);
        if result.is_err() {
            break;
        }
    }
    if result.is_err() {
        go_back(state, &before, &mut results);
    } else {
        state.activate(version);
    }
    Ok(Outcome { results, result })
}

/// Moves those that moved back to where they were, last first.
fn go_back(state: &mut State, before: &[Option<Version>], results: &mut [uapi::stor_switch_result]) {
    for (index, (row, engine)) in results.iter_mut().zip(before).enumerate().rev() {
        let (uapi::STOR_SWITCH_MOVED, Some(engine)) = (row.outcome, engine) else { continue };
        let pause = row.pause;
        if move_one(state, index, *engine, row).is_ok() {
            row.outcome = uapi::STOR_SWITCH_STAYED;
            row.pause = pause.max(row.pause);
        }
    }
}

/// Moves one volume, and writes into `row` what became of it.
fn move_one(state: &mut State, index: usize, version: Version, row: &mut uapi::stor_switch_result) -> Result {
    let entry = state.volumes().get(index).ok_or(ENXIO)?;
    if entry.engine == Some(version) {
        row.outcome = uapi::STOR_SWITCH_UNCHANGED;
        return Ok(());
    }
    let prepared = state.engine(&version).ok_or(ENOENT).and_then(|engine| entry.prepare(engine));
    let entry = state.volumes_mut().get_mut(index).ok_or(ENXIO)?;
    let moved = prepared.and_then(|new| {
        let mut frozen = entry.disk.freeze(DRAIN_MS)?;
        let handed = hand_over(&mut frozen.live().object, new);
        if frozen.live().object.is_none() {
            row.outcome = uapi::STOR_SWITCH_DEAD;
        }
        row.pause = frozen.pause();
        drop(frozen);
        // The old object is freed, and its engine let go, only here: I/O runs again.
        handed.map(drop)
    });
    report(entry, version, row, moved)
}

fn report(entry: &mut Entry, version: Version, row: &mut uapi::stor_switch_result, moved: Result) -> Result {
    let Err(error) = moved else {
        row.outcome = uapi::STOR_SWITCH_MOVED;
        entry.set_engine(Some(version));
        entry.emit(uapi::STOR_EVENT_SWITCHED, row.pause);
        return Ok(());
    };
    row.error = error.to_errno();
    let errno = u64::from(row.error.unsigned_abs());
    entry.emit(uapi::STOR_EVENT_SWITCH_FAILED, errno);
    if row.outcome == uapi::STOR_SWITCH_DEAD {
        entry.set_engine(None);
        entry.emit(uapi::STOR_EVENT_DEAD, errno);
    }
    Err(error)
}
