// SPDX-License-Identifier: GPL-2.0

//! Requests that fail: each of a sequence's, once or from then on, done or not. The engine says so; after the transaction was
//! aborted, or the pool opened again, all is as the last commit left it, and the target goes on.

use crate::crash::{self, Known, Seen};
use crate::device::{Event, Fail, Image, Logged};
use crate::order;
use crate::rng::Rng;
use crate::sequence::Sequence;
use crate::target::{map_of, options, Target, Volume};
use crate::Fault;
use std::collections::HashMap;
use stor_pure::pure::thin::check::{check, Finding};
use stor_pure::pure::thin::data::Run;
use stor_pure::pure::thin::error::Error;
use stor_pure::pure::thin::pool::Pool;
use stor_pure::pure::thin::reader::Reader;
use stor_pure::pure::units::VirtualBlock;

/// How a request can fail.
const MODES: [(bool, bool); 4] = [(true, false), (true, true), (false, false), (false, true)];

/// Whether it is an error of a device.
fn is_failure(fault: &Fault) -> bool {
    let error = fault.downcast_ref::<Error>();
    matches!(error, Some(Error::Read(_) | Error::Write | Error::Flush | Error::FlushData))
}

/// Plays a sequence in which requests fail.
pub(crate) fn play(sequence: &Sequence, mut fail: Fail) -> Result<Target, Fault> {
    let mut target = Target::new(sequence.seed)?;
    fail.at += target.devices.borrow().requests;
    target.devices.borrow_mut().fail = Some(fail);
    for (step, &seed) in sequence.steps.iter().enumerate() {
        let before = target.devices.borrow().requests;
        let result = target.step(seed);
        let failed = (before..target.devices.borrow().requests).contains(&fail.at);
        match result {
            Err(fault) if is_failure(&fault) => {
                // Half of those who meet an error abort and mark the metadata; the others begin anew.
                recover(&mut target, seed % 2 == 0).map_err(|fault| format!("after step {step}: {fault}"))?;
            }
            Err(fault) => return Err(format!("step {step}: {fault}").into()),
            // Errors of the data device go to the volume's user.
            Ok(()) if failed && !fail.once => target.devices.borrow_mut().fail = None,
            Ok(()) => {}
        }
    }
    Ok(target)
}

/// Everything that changes something, tried; what it says.
fn try_all(pool: &mut Pool<Logged>, id: u64) -> Vec<Result<(), Error>> {
    let some = Run { begin: 0, end: 1 };
    vec![
        pool.create_thin(4711),
        pool.create_snapshots(&[(4711, id)]),
        pool.take_data(0, 1).map(|_| ()),
        pool.insert(id, VirtualBlock(0), some),
        pool.remove(id, VirtualBlock(0), VirtualBlock(1), 1).map(|_| ()),
        pool.delete(id, 1).map(|_| ()),
        pool.reserve_snapshot().map(|_| ()),
        pool.release_snapshot(),
        pool.grow_data(1 << 30),
        pool.grow_metadata(),
        pool.set_transaction_id(pool.transaction_id(), 0),
    ]
}

/// What a target does when a device failed under the engine.
fn recover(target: &mut Target, mark: bool) -> Result<(), Fault> {
    target.unfinished.clear();
    if let Err(error) = target.pool.abort() {
        if !is_failure(&error.into()) {
            return Err(format!("abort: {error}").into());
        }
        // Nothing goes any more, not even reading: what is in memory is of no transaction.
        let id = target.volumes.keys().next().copied().unwrap_or(0);
        let mut results = try_all(&mut target.pool, id);
        results.extend([target.pool.commit(), target.pool.lookup(id, VirtualBlock(0)).map(|_| ())]);
        if results.iter().any(|result| *result != Err(Error::Broken)) {
            return Err(format!("a broken pool: {results:?}").into());
        }
    }
    // The device has been seen to.
    target.devices.borrow_mut().fail = None;
    if mark {
        target.pool.abort()?;
    } else {
        target.pool = Pool::open(Logged(target.devices.clone()), options(target.passdown))?;
    }
    resume(target)?;
    if mark {
        marked(target)?;
    }
    target.account()
}

/// Compares what there is with what was committed, and goes on from there.
fn resume(target: &mut Target) -> Result<(), Fault> {
    let transaction = target.pool.transaction_id();
    let pending = |index: &usize| target.history.get(*index).is_some_and(|c| c.transaction == transaction);
    let index = target.pending.filter(pending).unwrap_or(target.acknowledged);
    let mut committed = target.history.get(index).cloned().unwrap_or_default();
    {
        let devices = target.devices.borrow();
        let image = Image { durable: &devices.metadata, through: HashMap::new(), blocks: devices.blocks };
        // Of what a transaction with a metadata snapshot makes the first half may be all.
        let known = Known { acknowledged: index, pending: committed.held_late.then_some(index), ..Known::default() };
        crash::sound(image, &|block| devices.read_data(block), &target.history, known)?;
    }
    if target.pool.held_root().is_none() {
        committed.held = None;
    }
    committed.held_late = false;
    target.held.clone_from(&committed.held);
    // Opening it has made it durable.
    target.pending = Some(target.history.len());
    target.history.push(committed);
    target.acknowledge();
    let ids: Vec<u64> = target.history.get(target.acknowledged).map_or(vec![], |c| c.volumes.keys().copied().collect());
    target.volumes.clear();
    for id in ids {
        let map = map_of(&mut target.pool, id)?;
        let devices = target.devices.borrow();
        let volume: Volume = map.into_iter().map(|(block, data)| (block, devices.read_data(data))).collect();
        target.volumes.insert(id, volume);
    }
    target.data_blocks = target.pool.data_blocks();
    Ok(())
}

/// The mark that asks for a check: durable; with it nothing can be changed, and all be read; it can be taken off.
fn marked(target: &mut Target) -> Result<(), Fault> {
    let log = |target: &Target, set, done| target.devices.borrow_mut().log.push(Event::Mark { set, done });
    log(target, true, false);
    target.pool.set_needs_check(true)?;
    log(target, true, true);
    let mut store = Logged(target.devices.clone());
    target.pool = Pool::open(store.clone(), options(target.passdown))?;
    let id = target.volumes.keys().next().copied().unwrap_or(0);
    let results = try_all(&mut target.pool, id);
    if let Some(result) = results.iter().find(|result| **result != Err(Error::NeedsCheck)) {
        return Err(format!("with the mark: {result:?} of {results:?}").into());
    }
    let mut findings = Vec::new();
    check(&mut store, &mut |finding| findings.push(finding))?;
    if findings != [Finding::NeedsCheck] {
        return Err(format!("with the mark: {findings:?}").into());
    }
    Reader::open(store, 64, false)?;
    log(target, false, false);
    target.pool.set_needs_check(false)?;
    log(target, false, true);
    Ok(())
}

/// Plays a sequence once for each of its requests and each way it can fail, or if that would be too often for some of them;
/// how often that was.
pub(crate) fn survey(sequence: &Sequence, most: u64, seen: &mut Seen) -> Result<u64, Fault> {
    let mut rng = Rng::new(sequence.seed);
    let end = {
        let target = sequence.play()?;
        let devices = target.devices.borrow();
        devices.requests
    };
    let all = end * MODES.len() as u64;
    let mut count = 0;
    for number in 0..all {
        if rng.below(all) >= most {
            continue;
        }
        let (once, done) = MODES[(number % 4) as usize];
        one(sequence, Fail { at: number / 4, once, done }, &mut rng, seen)?;
        count += 1;
    }
    Ok(count)
}

fn one(sequence: &Sequence, fail: Fail, rng: &mut Rng, seen: &mut Seen) -> Result<(), Fault> {
    let result = play(sequence, fail).and_then(|target| {
        order::check(&target)?;
        crash::examine(&target, rng, seen, 30)
    });
    Ok(result.map_err(|fault| format!("{fail:?}: {fault}"))?)
}
