// SPDX-License-Identifier: GPL-2.0

//! The worker: does the keeper's steps, sees to it that requests which wait go on or end, and copies what legs lack.

use super::member::{frame, Frame};
use super::state::{Pages, Rebuild, Repair, State};
use super::watch::Watch;
use super::Shared;
use crate::abi::uapi;
use crate::block::clock;
use crate::block::cpu;
use crate::block::deferred::{Deferred, DeferredList};
use crate::block::io::{Device, Held, Piece};
use crate::block::noio::NoIo;
use crate::block::status::Status;
use crate::block::workqueue::{Job, Run};
use crate::engine::{budget, edge};
use crate::pure::md::bitmap::Geometry;
use crate::pure::replica::acknowledge::Verdict;
use crate::pure::replica::chunk::Words;
use crate::pure::replica::intent::Ticket;
use crate::pure::replica::keeper::Step;
use crate::pure::replica::range;
use crate::pure::replica::rebuild::Window;
use crate::pure::replica::set::{Set, TIE_BREAK};
use crate::pure::replica::speed::SILENCE;
use kernel::bindings;
use kernel::prelude::*;
use kernel::sync::atomic::{ordering::Full, ordering::Relaxed};
use kernel::sync::Arc;

/// Sectors that are copied in one piece, and pieces at the same time.
pub(super) const COPY: u64 = 128;
pub(super) const COPIES: usize = 4;
const WINDOW: u64 = COPY.wrapping_mul(COPIES as u64);
/// Nanoseconds.
pub(super) const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
/// How long nobody has to have written until the legs are said to be in sync.
const IDLE: u64 = SECOND;
/// How often bits are looked at that may be cleared: md's default, which is in the bitmap.
const SWEEP: u64 = 5 * SECOND;
/// Milliseconds until a copy is tried again that somebody was in the way of.
const SOON: u32 = 2;
/// How long until it is tried again if no source could be read.
const LATER: u64 = 5 * SECOND;

/// What a replica's worker runs.
pub(super) struct Keep {
    pub(super) shared: Arc<Shared>,
    pub(super) watch: Arc<Job<Watch>>,
}

impl Run for Keep {
    fn run(&self) -> Option<u32> {
        let _noio = NoIo::enter();
        self.shared.work(&self.watch)
    }
}

/// What it writes from. If a leg does not answer and is given up, the desk is left to it, and there is a new one.
pub(super) type Desk = Held<Memory>;

/// What is on a desk.
pub(super) struct Memory {
    page: Frame,
    pages: Pages,
    pub(super) buffers: KVec<KVec<u8>>,
    /// To see what a leg has already.
    pub(super) there: KVec<u8>,
}

impl Memory {
    pub(super) fn new(geometry: &Geometry) -> Result<Self> {
        let bytes = (COPY as usize).wrapping_mul(512);
        let mut buffers = KVec::with_capacity(COPIES, GFP_KERNEL)?;
        for _ in 0..COPIES {
            buffers.push(KVec::from_elem(0, bytes, GFP_KERNEL)?, GFP_KERNEL)?;
        }
        let there = KVec::from_elem(0, bytes, GFP_KERNEL)?;
        Ok(Self { page: frame()?, pages: Pages::new(geometry.pages())?, buffers, there })
    }
}

/// What is left to do when nobody waits.
enum Next {
    /// Now.
    Now,
    /// After so many milliseconds.
    In(u32),
    Nothing,
}

impl Shared {
    /// Reads the members, and does all that has to be done before the first request.
    pub(super) fn load(&self) -> Result {
        let mut desk = self.desk.lock();
        {
            let mut state = self.state.lock();
            self.active.store(0, Relaxed);
            state.start(self)?;
        }
        self.steps(&mut desk);
        let mut state = self.state.lock();
        let stopped = state.keeper.as_ref().is_none_or(|keeper| keeper.stopped().is_some() || !keeper.is_ready());
        if stopped {
            state.keeper = None;
            state.publish(self);
            return Err(EIO);
        }
        Ok(())
    }

    /// Writes what there is to write, so that the next start finds legs that are in sync.
    pub(super) fn close(&self) {
        let mut desk = self.desk.lock();
        if let Some(keeper) = &mut self.state.lock().keeper {
            keeper.idle();
        }
        self.steps(&mut desk);
        {
            let mut state = self.state.lock();
            state.keeper = None;
            state.members.clear();
            state.publish(self);
        }
        // What is left of I/O that nobody waited for has to end before the devices go.
        drop(core::mem::take(&mut *self.left.lock()));
    }

    /// Whether nobody waits for a leg any more.
    pub(super) fn has_failed(&self, lower: u32) -> bool {
        self.view.look().has_failed(lower)
    }

    /// Sees to it that the desk can be used: if a leg still has it, it gets to keep it. Afterwards the pages are those that are to be written.
    pub(super) fn clear(&self, desk: &mut Desk) {
        if desk.memory().is_ok() {
            return;
        }
        let mut left = self.left.lock();
        left.retain(|desk| desk.memory().is_err());
        loop {
            let new = left
                .reserve(1, GFP_KERNEL)
                .map_err(Error::from)
                .and_then(|()| Memory::new(&self.geometry))
                .and_then(Desk::new);
            if let Ok(new) = new {
                let _ = left.push(core::mem::replace(desk, new), GFP_KERNEL);
                break;
            }
            // There is no memory just now.
            self.wait.until_for(100, || false);
        }
        if let (Ok(memory), Some(keeper)) = (desk.memory(), &self.state.lock().keeper) {
            memory.pages.copy(keeper.intent.writing());
        }
    }

    /// All steps that there are now.
    fn steps(&self, desk: &mut Desk) {
        loop {
            self.clear(desk);
            let step = {
                let mut state = self.state.lock();
                state.hear(self);
                desk.memory().ok().and_then(|memory| state.begin(self, &mut memory.pages))
            };
            let Some(step) = step else { return };
            let ok = self.execute(step, desk);
            self.state.lock().done(self, ok);
        }
    }

    /// One run of the worker; when the next is due.
    pub(super) fn work(&self, watch: &Job<Watch>) -> Option<u32> {
        let mut desk = self.desk.lock();
        loop {
            self.clear(&mut desk);
            let (mut again, mut over) = (DeferredList::new(), DeferredList::new());
            let step = {
                let mut state = self.state.lock();
                state.hear(self);
                self.serve(&mut state, &mut again, &mut over);
                desk.memory().ok().and_then(|memory| state.begin(self, &mut memory.pages))
            };
            // Not under the lock: the devices may make us wait.
            over.end(Status::IOERR);
            again.retry();
            self.answer();
            if let Some(step) = step {
                // A leg may not answer.
                self.watch(watch);
                let ok = self.execute(step, &mut desk);
                self.state.lock().done(self, ok);
                self.answer();
                continue;
            }
            if !self.queue.is_empty() || !self.busy.is_empty() {
                cpu::give_way();
                continue;
            }
            match self.copy(&mut desk, watch) {
                Next::Now => cpu::give_way(),
                Next::In(milliseconds) => return Some(self.due().map_or(milliseconds, |due| due.min(milliseconds))),
                Next::Nothing => match self.due() {
                    Some(0) => {}
                    due => return due,
                },
            }
        }
    }

    /// When something is to be looked at again; 0: now.
    fn due(&self) -> Option<u32> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let keeper = state.keeper.as_mut().filter(|keeper| keeper.stopped().is_none())?;
        let now = clock::now();
        let mut next = u64::MAX;
        if keeper.is_open() {
            // What is under way is waited for before the legs are said to be in sync, and it may be for a leg that does not answer.
            if state.idle_at == 0 || self.active.xchg(0, Full) != 0 || !self.epoch.is_quiet() {
                state.idle_at = now.saturating_add(IDLE);
            } else if state.idle_at <= now {
                state.idle_at = 0;
                keeper.idle();
                return Some(0);
            }
            next = next.min(state.idle_at);
        } else {
            state.idle_at = 0;
        }
        if keeper.is_degraded() {
            state.sweep_at = 0;
        } else if state.sweep_at == 0 && keeper.is_open() {
            state.sweep_at = now.saturating_add(SWEEP);
        } else if state.sweep_at != 0 && state.sweep_at <= now {
            // Once there is no bit any more, there is nothing to look for until somebody writes.
            let (set, _) = self.words.count();
            state.sweep_at = if set == 0 { 0 } else { now.saturating_add(SWEEP) };
            if set != 0 {
                keeper.sweep();
                return Some(0);
            }
        }
        if state.sweep_at != 0 {
            next = next.min(state.sweep_at);
        }
        (next != u64::MAX).then(|| milliseconds(next.saturating_sub(now)))
    }

    /// Sees to requests that wait: they go on, end, or wait longer.
    fn serve(&self, state: &mut State, again: &mut DeferredList, over: &mut DeferredList) {
        again.append(self.busy.take());
        let mut todo = state.waiting.take();
        let mut new = self.queue.take();
        while let Some(deferred) = new.pop() {
            if deferred.op() == bindings::req_op_REQ_OP_READ && deferred.owner() != 0 {
                state.repair((deferred.sector(), deferred.sectors(), deferred.owner()));
            }
            todo.push(deferred);
        }
        while let Some(deferred) = todo.pop() {
            self.serve_one(state, deferred, again, over);
        }
    }

    fn serve_one(&self, state: &mut State, mut deferred: Deferred, again: &mut DeferredList, over: &mut DeferredList) {
        let Some(keeper) = &mut state.keeper else { return over.push(deferred) };
        let stopped = keeper.stopped().is_some();
        if !keeper.is_ready() && !stopped {
            return state.waiting.push(deferred);
        }
        match deferred.op() {
            bindings::req_op_REQ_OP_READ => return again.push(deferred),
            _ if stopped => return over.push(deferred),
            bindings::req_op_REQ_OP_FLUSH => return again.push(deferred),
            _ => {}
        }
        if !keeper.is_open() {
            keeper.want();
            return state.waiting.push(deferred);
        }
        let chunk = self.geometry.chunk_of(deferred.sector());
        if self.words.update(chunk, |word| (word, word.is_set())) == Some(true) {
            return again.push(deferred);
        }
        match (deferred.since(), keeper.intent.ticket(deferred.since())) {
            (0, _) | (_, Ticket::Stale) => deferred.set_since(keeper.intent.want(chunk)),
            (_, Ticket::Waiting) => {}
            (_, Ticket::Served) => {
                keeper.intent.grant(chunk);
                return again.push(deferred);
            }
        }
        state.waiting.push(deferred);
    }

    /// Answers requests that were on hold, as far as that can be done now.
    fn answer(&self) {
        let mut held = self.held.take();
        let stopped = self.view.look().is_stopped();
        while let Some(deferred) = held.pop() {
            match self.verdict(deferred.op(), deferred.since() as u32, deferred.owner()) {
                Verdict::Acknowledge => deferred.end(Status::OK),
                Verdict::Fail => deferred.end(Status::IOERR),
                Verdict::Wait | Verdict::Hold if stopped => deferred.end(Status::IOERR),
                Verdict::Wait | Verdict::Hold => self.held.push(deferred),
            }
        }
    }

    /// Does a step on its members; those on which it went well.
    fn execute(&self, step: Step, desk: &mut Desk) -> Set {
        if step == Step::Drain {
            self.epoch.wait(&self.wait);
            return Set::NONE;
        }
        let mut ok = Set::NONE;
        for place in step.members().iter() {
            match self.execute_on(step, place, desk) {
                Ok(()) => ok = ok.with(Set::one(place)),
                Err(_) => self.state.lock().missed(self, place),
            }
            self.clear(desk);
        }
        ok
    }

    fn execute_on(&self, step: Step, place: usize, desk: &mut Desk) -> Result {
        let (lower, device, block, bitmap) = {
            let mut state = self.state.lock();
            let (lower, member) = state.member_at(place).ok_or(EIO)?;
            (lower, member.device, member.block as usize, member.bitmap)
        };
        let begun = clock::now();
        let unless = || self.has_failed(lower) || self.is_silent_vote(place, begun);
        match step {
            Step::Drain => Ok(()),
            Step::Flush(_) => desk.all_unless(true, &unless, |_, tell| tell(Piece::Flush(device))),
            Step::Record(_) | Step::Superblock(_) => {
                let at = self.state.lock().write(step, place, &mut desk.memory()?.page)?;
                desk.all_unless(true, &unless, |memory, tell| {
                    tell(Piece::Write(at.device, at.sector, &memory.page[..]))
                })?;
                if let Step::Record(_) = step {
                    self.state.lock().recorded(place);
                }
                Ok(())
            }
            Step::Pages(_) => desk.all_unless(true, &unless, |memory, tell| {
                memory.pages.iter().try_for_each(|(number, frame)| {
                    let bytes = frame.get(..self.geometry.page_bytes(number, block)).ok_or(EIO)?;
                    tell(Piece::Write(device, super::member::page_at(bitmap, number), bytes))
                })
            }),
        }
    }

    /// Whether what was begun at that time is on a tie-break that is waited for no longer. Nobody else watches it, as it has nothing else to do.
    fn is_silent_vote(&self, place: usize, begun: u64) -> bool {
        place == TIE_BREAK
            && self.drop_slow
            && clock::now().saturating_sub(begun) >= SILENCE
            && self.state.lock().keeper.as_ref().is_some_and(|keeper| keeper.spares(place))
    }

    /// Copies something, if anything is to be copied.
    fn copy(&self, desk: &mut Desk, watch: &Job<Watch>) -> Next {
        let repair = self.state.lock().repairs.pop();
        if let Some(repair) = repair {
            self.repair(desk, repair);
            return Next::Now;
        }
        let (chunk, restarts, legs, targets) = {
            let mut state = self.state.lock();
            let through = state.through();
            let State { keeper: Some(keeper), cursor, sweep_at, copy_at, rebuild, .. } = &mut *state else {
                return Next::Nothing;
            };
            let legs = keeper.rebuilding();
            if legs.is_empty() || keeper.stopped().is_some() {
                *rebuild = Rebuild::default();
                return Next::Nothing;
            }
            let now = clock::now();
            if rebuild.since == 0 {
                *rebuild = Rebuild { since: now, through, ..Rebuild::default() };
                self.watch(watch);
            }
            if now < *copy_at {
                return Next::In(milliseconds(copy_at.saturating_sub(now)));
            }
            let restarts = keeper.restarts();
            match cursor.next(&keeper.intent, restarts, u64::MAX) {
                Some(chunk) => (chunk, restarts, legs, state.lowers(legs)),
                None => {
                    keeper.rebuilt(legs);
                    *rebuild = Rebuild::default();
                    // The bits that it had need not stay until somebody writes.
                    *sweep_at = now.saturating_add(SWEEP);
                    return Next::Now;
                }
            }
        };
        let passed = self.pass(chunk, targets);
        if passed > 0 {
            let mut state = self.state.lock();
            state.advance(restarts, legs, chunk.first(passed));
            state.passed = state.passed.wrapping_add(passed.wrapping_mul(512));
            state.rebuild.goes_on();
            return Next::Now;
        }
        let window = chunk.first(WINDOW);
        let Window { start, sectors, .. } = window;
        if sectors > range::most(start) || !self.ranges.lock(start, sectors) {
            self.state.lock().rebuild.wait(uapi::STOR_REPLICA_WAITS_WRITES);
            return Next::In(SOON);
        }
        self.state.lock().rebuild.wait(uapi::STOR_REPLICA_WAITS_LEG);
        let begin = clock::now();
        let outcome = self.copy_range(desk, (start, sectors), targets, 0);
        self.unlock(start, sectors);
        let (latency, looked) = self.watched.lock().slowest(targets | self.view.look().sources());
        let mut state = self.state.lock();
        let State { copy_at, rebuild, .. } = &mut *state;
        let bytes = sectors.wrapping_mul(512);
        match outcome {
            Ok(_) => rebuild.goes_on(),
            Err(_) => rebuild.wait(uapi::STOR_REPLICA_WAITS_SOURCE),
        }
        if looked != rebuild.looked {
            rebuild.looked = looked;
            rebuild.pace.adapt(latency, self.resync_latency);
        }
        // Whoever wakes the worker meanwhile does not hasten it.
        *copy_at = match outcome {
            Ok(_) => {
                let rate = bytes.saturating_mul(SECOND).checked_div(self.resync_rate).unwrap_or(0);
                let own = begin.saturating_add(rate.max(rebuild.pace.wait()));
                own.max(budget::when(begin, bytes))
            }
            Err(_) => begin.saturating_add(LATER),
        };
        if outcome.is_ok_and(|whole| whole) && state.advance(restarts, legs, window) {
            state.copied = state.copied.wrapping_add(bytes);
        }
        Next::Now
    }

    /// How much of a window, from its beginning, is nowhere, neither on a leg that has all data nor on those that are rebuilt: nothing is to be
    /// copied. 0 if that is no more than what is copied in one go.
    fn pass(&self, window: Window, targets: u32) -> u64 {
        // Without a source nobody knows what is there. With several, what one of them has the others have, too.
        let sources = self.view.look().sources() & !targets;
        let Some(source) = self.choose(sources, window.start) else { return 0 };
        let legs = targets | 1_u32.wrapping_shl(source);
        let start = window.start;
        let sectors = self.hole(start, window.sectors.min(range::most(start)), legs);
        if sectors <= WINDOW || !self.ranges.lock(start, sectors) {
            return 0;
        }
        // Somebody may have written there since.
        let sectors_now = self.hole(start, sectors, legs);
        self.unlock(start, sectors);
        sectors_now
    }

    /// How many sectors from this one on, of so many, read as zeros on each of these legs, and take no space there. In whole blocks of 4 KiB, but for
    /// the last.
    pub(super) fn hole(&self, sector: u64, sectors: u64, legs: u32) -> u64 {
        let on = |lower: u32, sectors: u64| match self.place(lower, sector) {
            Some((device, at)) if sectors > 0 => edge::hole(device, at, sectors),
            _ => 0,
        };
        let all = (0..u32::BITS).filter(|lower| legs & 1_u32.wrapping_shl(*lower) != 0);
        let hole = all.fold(if legs == 0 { 0 } else { sectors }, |hole, lower| on(lower, hole));
        if hole == sectors {
            hole
        } else {
            hole.wrapping_sub(hole % 8)
        }
    }

    /// Gives back a range. Who has waited for it goes on, whenever the next copy is due.
    pub(super) fn unlock(&self, sector: u64, sectors: u64) {
        self.ranges.unlock(sector, sectors);
        self.busy.take().retry();
    }

    /// Writes anew what legs could not read.
    fn repair(&self, desk: &mut Desk, (sector, sectors, lowers): Repair) {
        let (mut sector, mut left) = (sector, sectors);
        while left > 0 {
            let length = left.min(COPY.wrapping_mul(COPIES as u64)).min(range::most(sector));
            // Whoever writes there now mends it, too.
            if self.ranges.lock(sector, length) {
                let targets = lowers & self.view.look().targets();
                let copied = self.copy_range(desk, (sector, length), targets, lowers);
                self.unlock(sector, length);
                if copied.is_ok_and(|whole| whole) {
                    let repaired = (0..u32::BITS).filter(|lower| targets & (1 << lower) != 0);
                    repaired.filter_map(|lower| self.count(lower)).for_each(|count| count.repaired.add(1, Relaxed));
                }
            }
            (sector, left) = (sector.wrapping_add(length), left.wrapping_sub(length));
        }
    }

    /// Copies a range that is taken to some legs, from one that is none of `avoid`; whether all of it is on them. What fails on a leg is its
    /// failure.
    ///
    /// # Errors
    ///
    /// No source could be read.
    fn copy_range(&self, desk: &mut Desk, (sector, sectors): (u64, u64), targets: u32, avoid: u32) -> Result<bool> {
        let mut sources = self.view.look().sources() & !avoid & !targets;
        let mut read = Err(EIO);
        while let (true, Some(lower)) = (read.is_err(), self.choose(sources, sector)) {
            sources &= !1_u32.wrapping_shl(lower);
            let (device, at) = self.place(lower, sector).ok_or(EIO)?;
            self.clear(desk);
            read = read_parts(desk, device, at, sectors, &|| self.has_failed(lower));
            if let (Err(_), Some(count)) = (&read, self.count(lower)) {
                count.read_errors.add(1, Relaxed);
            }
        }
        read?;
        let mut whole = true;
        for lower in (0..u32::BITS).filter(|lower| targets & (1 << lower) != 0) {
            let (device, at) = self.place(lower, sector).ok_or(EIO)?;
            if let Err(error) = write_parts(desk, device, at, sectors, &|| self.has_failed(lower)) {
                if let Some(count) = self.count(lower) {
                    count.write_errors.add(1, Relaxed);
                }
                whole = false;
                self.fail(lower);
                // It still has what others were to get.
                if error == ETIMEDOUT {
                    break;
                }
            }
        }
        Ok(whole)
    }

    /// The device with this number, and where the volume's sector is on it.
    pub(super) fn place(&self, lower: u32, sector: u64) -> Option<(Device, u64)> {
        let start = self.starts.get(lower as usize)?.load(Relaxed);
        Some((self.lowers.get(lower as usize)?.device, start.wrapping_add(sector)))
    }
}

/// Nanoseconds in milliseconds, of which there is at least one.
fn milliseconds(nanoseconds: u64) -> u32 {
    u32::try_from(nanoseconds / MILLISECOND).unwrap_or(u32::MAX).saturating_add(1)
}

/// A range in pieces of a buffer's length.
pub(super) fn parts(sector: u64, sectors: u64) -> impl Iterator<Item = (u64, u64)> {
    let count = sectors.div_ceil(COPY);
    (0..count).map(move |number| {
        let begin = number.wrapping_mul(COPY);
        (sector.wrapping_add(begin), sectors.wrapping_sub(begin).min(COPY))
    })
}

/// Reads into the buffers.
pub(super) fn read_parts(
    desk: &mut Desk,
    device: Device,
    sector: u64,
    sectors: u64,
    unless: &dyn Fn() -> bool,
) -> Result {
    desk.all_unless(false, unless, |memory, tell| {
        memory.buffers.iter_mut().zip(parts(sector, sectors)).try_for_each(|(buffer, (at, sectors))| {
            let into = buffer.get_mut(..(sectors as usize).wrapping_mul(512)).ok_or(EIO)?;
            tell(Piece::Read(device, at, into))
        })
    })
}

/// Writes what the buffers have. Zeros are not written where there are zeros already, and elsewhere the leg may give up the space, so that
/// a thin leg stays thin.
fn write_parts(desk: &mut Desk, device: Device, sector: u64, sectors: u64, unless: &dyn Fn() -> bool) -> Result {
    let bytes = |sectors: u64| (sectors as usize).wrapping_mul(512);
    let zeros = |bytes: &[u8]| bytes.iter().all(|&byte| byte == 0);
    let mut needed = [true; COPIES];
    for (number, (at, sectors)) in parts(sector, sectors).enumerate() {
        let (memory, size) = (desk.memory()?, bytes(sectors));
        let (Some(buffer), Some(needed)) = (memory.buffers.get(number), needed.get_mut(number)) else {
            return Err(EIO);
        };
        if !zeros(buffer.get(..size).ok_or(EIO)?) {
            continue;
        }
        let read = desk.all_unless(false, unless, |memory, tell| {
            tell(Piece::Read(device, at, memory.there.get_mut(..size).ok_or(EIO)?))
        });
        *needed = match read {
            Ok(()) => !zeros(desk.memory()?.there.get(..size).ok_or(EIO)?),
            Err(error) if error == ETIMEDOUT => return Err(error),
            // What cannot be read is written to.
            Err(_) => true,
        };
        if *needed {
            match desk.all_unless(false, unless, |_, tell| tell(Piece::Zero(device, at, sectors))) {
                Err(error) if error == ETIMEDOUT => return Err(error),
                // Without a command for that they are written.
                zeroed => *needed = zeroed.is_err(),
            }
        }
    }
    desk.all_unless(false, unless, |memory, tell| {
        let all = memory.buffers.iter().zip(parts(sector, sectors)).zip(needed);
        all.filter(|(_, needed)| *needed).try_for_each(|((buffer, (at, sectors)), _)| {
            tell(Piece::Write(device, at, buffer.get(..bytes(sectors)).ok_or(EIO)?))
        })
    })
}
