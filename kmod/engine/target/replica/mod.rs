// SPDX-License-Identifier: GPL-2.0

//! Target `replica`: a volume that is on several legs, each with md's metadata. What may be done when is decided by
//! [`crate::pure::replica`]; this is what it does with the devices.
//!
//! - [`view`], [`words`], [`range`]: what the I/O path looks at: who gets what, which chunks may be written to, who writes where
//! - [`state`], [`worker`]: everything else: the keeper, one step after the other; requests that wait; what is copied
//! - [`member`]: what is on the members
//! - [`verify`]: whether the legs are equal
//! - [`watch`]: how fast the legs are
//!
//! # A write
//!
//! It [enters](super::epoch), looks whether the volume is open, takes its range, and begins in its chunk; then the front sends it to all
//! legs. When the last of them has answered, the range is free and the chunk ended; whether it may be acknowledged
//! is decided when all of the request is there ([`Replica::settle`]). Whatever cannot go on is left to the worker, which has it tried again.
//!
//! # Locks, outermost first
//!
//! 1. the desk: what the worker writes from. Only one task works at a time: the worker, `load` and `close`, or who verifies.
//! 2. what is left of desks on legs that do not answer.
//! 3. the state. Not held across I/O.
//!
//! The I/O path takes none.

mod facts;
mod member;
mod range;
mod state;
mod verify;
mod view;
mod watch;
mod words;
mod worker;

use super::epoch::Epoch;
use super::{Config, Flush, Lower, Mapped, NoPool, Settled, Target};
use crate::abi::engine::{Op, Piece, SPREAD_MAX};
use crate::abi::errno;
use crate::abi::uapi::{self, stor_replica_config, stor_replica_facts, stor_replica_verify};
use crate::block::deferred::{Ask, Deferred, DeferredStack};
use crate::block::noio::NoIo;
use crate::block::status::Status;
use crate::block::wait::Wait;
use crate::block::workqueue::{Job, WorkQueue};
use crate::engine::edge::Listener;
use crate::pure::md::bitmap::Geometry;
use crate::pure::replica::acknowledge::{self, Verdict};
use crate::pure::replica::change::Change;
use crate::pure::replica::chunk::{Begin, Chunk, Words};
use crate::pure::replica::range::most;
use crate::pure::replica::set::Set;
use kernel::bindings;
use kernel::prelude::*;
use kernel::sync::atomic::{ordering::Acquire, ordering::Full, ordering::Relaxed, Atomic};
use kernel::sync::{new_mutex, Arc, Mutex};
use range::Ranges;
use state::State;
use view::{Fate, View};
use watch::{Watch, Watched};
use words::SharedWords;
use worker::{Desk, Keep, Memory, MILLISECOND};
use zerocopy::FromBytes;

/// Of a token of a piece that is written: the epoch's token.
const ENTERED: u32 = 0xffff;
/// From which bit on it has the legs. One that is read has none, and the leg's number plus one.
const LEGS: u32 = 16;

/// Those that are keeping a request in [`Replica::settle`]: as soon as it is kept, the worker may end it, and with it what kept the object there.
/// So whoever closes an object waits for them; and the count is in none.
static KEEPING: Atomic<i32> = Atomic::new(0);

/// What of a lower device is counted.
struct Count {
    /// Reads under way.
    reads: Atomic<i32>,
    read_errors: Atomic<u64>,
    write_errors: Atomic<u64>,
    repaired: Atomic<u64>,
}

/// What the I/O path and the worker have in common.
struct Shared {
    lowers: KVec<Lower>,
    /// How many of them are legs; the tie-break is behind them.
    legs: usize,
    array: [u8; 16],
    machine: [u8; 16],
    /// A start that is forced: the lower device, and the new lineage.
    source: Option<usize>,
    lineage: [u8; 16],
    /// Who is to become a member, and who none any more.
    change: Change,
    /// Where reads go if that is possible.
    prefer: u32,
    /// A leg that is read only if no other can be from now on, or so no longer.
    mostly: Option<([u8; 16], bool)>,
    /// Legs that are read only if no other can be.
    write_mostly: Atomic<u32>,
    /// Nanoseconds: which legs are slow; 0: none. Whether such a leg counts as failed.
    slow: u64,
    drop_slow: bool,
    /// Nanoseconds: how long I/O to legs may take while one is rebuilt; 0: as long as it likes.
    resync_latency: u64,
    /// Bytes a second.
    resync_rate: u64,
    geometry: Geometry,
    /// Bytes.
    size: u64,
    words: SharedWords,
    ranges: Ranges,
    view: View,
    epoch: Epoch,
    wait: Wait,
    starts: [Atomic<u64>; SPREAD_MAX],
    counts: KVec<Count>,
    /// Not 0: somebody has written since it was looked at last.
    active: Atomic<u32>,
    /// Not 0: somebody looks how fast the legs are.
    watching: Atomic<u32>,
    /// How often the last leg that has all data has failed a flush.
    spoiled: Atomic<u32>,
    /// What waits for the worker; for ranges; for legs that have failed to be dropped.
    queue: DeferredStack,
    busy: DeferredStack,
    held: DeferredStack,
    listener: Listener,
    desk: Pin<KBox<Mutex<Desk>>>,
    /// Desks of which legs that do not answer still have something.
    left: Pin<KBox<Mutex<KVec<Desk>>>>,
    state: Pin<KBox<Mutex<State>>>,
    watched: Pin<KBox<Mutex<Watched>>>,
}

/// A replica.
pub struct Replica {
    shared: Arc<Shared>,
    job: Job<Keep>,
    watch: Arc<Job<Watch>>,
}

/// Reads the configuration. EINVAL, E2BIG, EOPNOTSUPP.
fn parse(config: &Config<'_>) -> Result<stor_replica_config> {
    let head = stor_replica_config::read_from_bytes(config.bytes).map_err(|_| EINVAL)?;
    if head.version != uapi::STOR_REPLICA_CONFIG_VERSION || config.read_only {
        return Err(errno::EOPNOTSUPP.into());
    }
    let mark = head.flags & (uapi::STOR_REPLICA_WRITE_MOSTLY | uapi::STOR_REPLICA_READ_TOO);
    let known = uapi::STOR_REPLICA_TIE_BREAK
        | uapi::STOR_REPLICA_FORCE
        | uapi::STOR_REPLICA_JOIN_TIE_BREAK
        | uapi::STOR_REPLICA_DROP_SLOW
        | mark;
    let count = config.lowers.len() as u32;
    let tie_break = u32::from(head.flags & uapi::STOR_REPLICA_TIE_BREAK != 0);
    let force = head.flags & uapi::STOR_REPLICA_FORCE != 0;
    let legs = count.checked_sub(tie_break).filter(|&legs| legs > 0).ok_or(EINVAL)?;
    if legs > uapi::STOR_MAX_LEGS {
        return Err(E2BIG);
    }
    let changes = head.joins != [0; 16] || head.leaves != [0; 16];
    let joins = head.flags & uapi::STOR_REPLICA_JOIN_TIE_BREAK != 0;
    let sane = head.flags & !known == 0
        && !(force && changes)
        && (head.joins == [0; 16] || head.joins != head.leaves)
        && mark.count_ones() == u32::from(head.mostly != [0; 16])
        && (!joins || tie_break != 0 && head.joins != [0; 16])
        && (head.prefer < legs || head.prefer == uapi::STOR_REPLICA_ANY)
        && force == (head.lineage != [0; 16])
        && if force { head.source < legs } else { head.source == 0 };
    if sane {
        Ok(head)
    } else {
        Err(EINVAL)
    }
}

impl Shared {
    fn new(config: &Config<'_>) -> Result<Self> {
        let head = parse(config)?;
        let tie_break = usize::from(head.flags & uapi::STOR_REPLICA_TIE_BREAK != 0);
        let legs = config.lowers.len().saturating_sub(tie_break);
        let geometry = member::geometry(config, legs)?;
        if config.size / 512 > geometry.size() {
            return Err(ENOSPC);
        }
        let mut counts = KVec::with_capacity(config.lowers.len(), GFP_KERNEL)?;
        for _ in config.lowers {
            let (read_errors, write_errors, repaired) = (Atomic::new(0), Atomic::new(0), Atomic::new(0));
            counts.push(Count { reads: Atomic::new(0), read_errors, write_errors, repaired }, GFP_KERNEL)?;
        }
        let mut lowers = KVec::new();
        lowers.extend_from_slice(config.lowers, GFP_KERNEL)?;
        let desk = Desk::new(Memory::new(&geometry)?)?;
        Ok(Self {
            lowers,
            legs,
            array: head.array,
            machine: head.machine,
            source: (head.flags & uapi::STOR_REPLICA_FORCE != 0).then_some(head.source as usize),
            lineage: head.lineage,
            change: Change {
                joins: head.joins,
                tie_break: head.flags & uapi::STOR_REPLICA_JOIN_TIE_BREAK != 0,
                leaves: head.leaves,
            },
            prefer: head.prefer,
            mostly: (head.mostly != [0; 16])
                .then_some((head.mostly, head.flags & uapi::STOR_REPLICA_WRITE_MOSTLY != 0)),
            write_mostly: Atomic::new(0),
            slow: match head.slow {
                0 => u64::from(uapi::STOR_REPLICA_SLOW).wrapping_mul(MILLISECOND),
                uapi::STOR_REPLICA_NEVER => 0,
                slow => u64::from(slow).wrapping_mul(MILLISECOND),
            },
            resync_latency: u64::from(head.resync_latency).wrapping_mul(MILLISECOND),
            drop_slow: head.flags & uapi::STOR_REPLICA_DROP_SLOW != 0,
            resync_rate: head.resync_rate,
            words: SharedWords::new(geometry.chunks())?,
            geometry,
            size: config.size,
            ranges: Ranges::new()?,
            view: View::new(),
            epoch: Epoch::new()?,
            wait: Wait::new()?,
            starts: [const { Atomic::new(0) }; SPREAD_MAX],
            counts,
            active: Atomic::new(0),
            watching: Atomic::new(0),
            spoiled: Atomic::new(0),
            queue: DeferredStack::default(),
            busy: DeferredStack::default(),
            held: DeferredStack::default(),
            listener: config.listener,
            desk: KBox::pin_init(new_mutex!(desk, "stor_replica_desk"), GFP_KERNEL)?,
            left: KBox::pin_init(new_mutex!(KVec::new(), "stor_replica_left"), GFP_KERNEL)?,
            state: KBox::pin_init(new_mutex!(State::new()?, "stor_replica"), GFP_KERNEL)?,
            watched: KBox::pin_init(new_mutex!(Watched::new()?, "stor_replica_watch"), GFP_KERNEL)?,
        })
    }

    fn set_start(&self, lower: usize, sector: u64) {
        if let Some(start) = self.starts.get(lower) {
            start.store(sector, Relaxed);
        }
    }

    #[inline]
    fn count(&self, lower: u32) -> Option<&Count> {
        self.counts.get(lower as usize)
    }

    /// A leg has failed. Any context.
    fn fail(&self, lower: u32) -> Fate {
        self.view.fail(lower)
    }

    /// What is to become of a request that these lower devices have all of.
    fn verdict(&self, op: Op, done: u32, spoiled: u32) -> Verdict {
        let (standing, sound) = self.view.standing();
        // An error of the last leg that has all data is the user's, and what a flush that failed was for may be lost.
        if sound & !done != 0 || spoiled != self.spoiled.load(Relaxed) {
            return Verdict::Fail;
        }
        let done = Set::of(done).unwrap_or_default();
        let failed = Set::ALL.without(done);
        match op {
            bindings::req_op_REQ_OP_FLUSH => acknowledge::flush(standing, done, failed),
            _ => acknowledge::write(standing, done, failed),
        }
    }

    /// The leg that is to be read: the one that is preferred, or that has least to do; of those the one whose turn it is by the place.
    #[inline]
    fn choose(&self, sources: u32, sector: u64) -> Option<u32> {
        if self.prefer < u32::BITS && sources & (1 << self.prefer) != 0 {
            return Some(self.prefer);
        }
        let mostly = self.write_mostly.load(Relaxed);
        let sources = if sources & !mostly != 0 { sources & !mostly } else { sources };
        if sources.is_power_of_two() {
            return Some(sources.trailing_zeros());
        }
        let legs = self.legs as u32;
        let turn = ((sector >> 11) as u32).checked_rem(legs)?;
        let mut best = None;
        for step in 0..legs {
            let lower = turn.wrapping_add(step).checked_rem(legs)?;
            if sources & (1 << lower) == 0 {
                continue;
            }
            let reads = self.count(lower)?.reads.load(Relaxed);
            if best.is_none_or(|(least, _)| reads < least) {
                best = Some((reads, lower));
            }
        }
        best.map(|(_, lower)| lower)
    }
}

/// Whether a leg may have no command for it, although it said so before.
fn is_optional(op: Op) -> bool {
    op == bindings::req_op_REQ_OP_DISCARD || op == bindings::req_op_REQ_OP_WRITE_ZEROES
}

impl Target for Replica {
    const NAME: &'static str = "replica";

    type Pool = NoPool;

    const SETTLES: bool = true;

    fn prepare(config: &Config<'_>, _: Option<Arc<NoPool>>) -> Result<KBox<Self>> {
        // A token of the epoch has to have room in ours.
        if crate::block::cpu::count() > ENTERED / 2 {
            return Err(E2BIG);
        }
        let shared = Arc::new(Shared::new(config)?, GFP_KERNEL)?;
        let watch = Job::new(WorkQueue::new(c"stor_watch")?, Watch(shared.clone()))?;
        let watch = Arc::new(watch, GFP_KERNEL)?;
        let job = Job::new(WorkQueue::new(c"stor_replica")?, Keep { shared: shared.clone(), watch: watch.clone() })?;
        Ok(KBox::new(Self { shared, job, watch }, GFP_KERNEL)?)
    }

    fn load(&self) -> Result {
        let _noio = NoIo::enter();
        self.shared.load()?;
        self.job.schedule();
        Ok(())
    }

    fn close(&self) -> Result {
        let _noio = NoIo::enter();
        while KEEPING.load(Acquire) != 0 {
            crate::block::cpu::give_way();
        }
        self.job.stop();
        self.watch.stop();
        self.shared.watching.store(0, Relaxed);
        self.shared.close();
        Ok(())
    }

    fn starts(&self) -> Option<&[Atomic<u64>; SPREAD_MAX]> {
        Some(&self.shared.starts)
    }

    #[inline]
    fn map(&self, ask: Ask) -> Result<Mapped, Status> {
        match ask.op() {
            bindings::req_op_REQ_OP_READ => self.read(ask),
            bindings::req_op_REQ_OP_WRITE | bindings::req_op_REQ_OP_DISCARD | bindings::req_op_REQ_OP_WRITE_ZEROES => {
                self.write(ask)
            }
            _ => Err(Status::NOTSUPP),
        }
    }

    #[inline]
    fn unpin(&self, token: u32, status: Status, failed: u32, (sector, sectors): (u64, u64)) {
        let shared = &self.shared;
        let legs = token >> LEGS;
        if legs == 0 {
            if let Some(count) = shared.count(token.wrapping_sub(1)) {
                count.reads.add(-1, Relaxed);
                if status != Status::OK {
                    count.read_errors.add(1, Relaxed);
                }
            }
            return;
        }
        let slots = shared.view.look().slots();
        let complete = slots & !(legs & !failed) == 0;
        shared.words.update(shared.geometry.chunk_of(sector), |word| (word.end(complete), ()));
        shared.ranges.unlock(sector, sectors);
        shared.epoch.leave(token & ENTERED, &shared.wait);
        if !shared.busy.is_empty() {
            self.job.schedule();
        }
    }

    fn lost(&self, lower: u32, op: Op, status: Status) {
        let shared = &self.shared;
        if lower as usize >= shared.legs || is_optional(op) && status == Status::NOTSUPP {
            return;
        }
        if let Some(count) = shared.count(lower) {
            count.write_errors.add(1, Relaxed);
        }
        if shared.fail(lower) == Fate::Kept && op == bindings::req_op_REQ_OP_FLUSH {
            shared.spoiled.fetch_add(1, Full);
        }
        self.job.schedule();
    }

    fn flush(&self, ask: Ask) -> Result<Flush, Status> {
        let shared = &self.shared;
        let token = shared.epoch.enter();
        let look = shared.view.look();
        let targets = look.targets();
        if !look.is_ready() || look.is_stopped() || targets == 0 {
            shared.epoch.leave(token, &shared.wait);
            return match self.defer(ask, look)? {
                Mapped::Deferred => Ok(Flush::Deferred),
                _ => Err(Status::IOERR),
            };
        }
        ask.leave(token, u64::from(shared.spoiled.load(Relaxed)));
        Ok(Flush::Lowers(u64::from(targets)))
    }

    fn settle(&self, ask: Ask, status: Status, lost: u32) -> Settled {
        let shared = &self.shared;
        let (owner, since, done) = (ask.owner(), ask.since(), !lost & ENTERED);
        let spoiled = match ask.op() {
            bindings::req_op_REQ_OP_READ => {
                let avoid = owner | lost;
                if shared.view.look().sources() & !avoid == 0 {
                    return Settled::With(status);
                }
                return self.settle_later(&shared.queue, ask.keep(avoid, 0));
            }
            bindings::req_op_REQ_OP_FLUSH => {
                shared.epoch.leave(owner, &shared.wait);
                since as u32
            }
            // Legs may differ there now, which the chunk's bit says; whoever wants zeros writes them.
            op if is_optional(op) && status == Status::NOTSUPP => return Settled::With(status),
            _ => owner.wrapping_sub(1),
        };
        match shared.verdict(ask.op(), done, spoiled) {
            Verdict::Acknowledge => Settled::With(Status::OK),
            Verdict::Fail => Settled::With(if status == Status::OK { Status::IOERR } else { status }),
            Verdict::Wait | Verdict::Hold => self.settle_later(&shared.held, ask.keep(spoiled, u64::from(done))),
        }
    }

    fn facts(&self, facts: &mut stor_replica_facts) -> Result {
        self.shared.facts(facts);
        Ok(())
    }

    fn verify(&self, ask: &mut stor_replica_verify) -> Result {
        let _noio = NoIo::enter();
        let verified = self.shared.verify(ask);
        self.job.schedule();
        verified
    }
}

impl Replica {
    #[inline]
    fn read(&self, ask: Ask) -> Result<Mapped, Status> {
        let shared = &self.shared;
        let look = shared.view.look();
        if !look.is_ready() {
            return self.defer(ask, look);
        }
        let (sector, sectors) = (ask.sector(), ask.sectors());
        let lower = shared.choose(look.sources() & !ask.owner(), sector).ok_or(Status::IOERR)?;
        let start = shared.starts.get(lower as usize).ok_or(Status::IOERR)?.load(Relaxed);
        shared.count(lower).ok_or(Status::IOERR)?.reads.add(1, Relaxed);
        let token = lower.wrapping_add(1);
        Ok(Mapped::At(Piece { sector: start.wrapping_add(sector), sectors, lower, token }))
    }

    #[inline]
    fn write(&self, ask: Ask) -> Result<Mapped, Status> {
        let shared = &self.shared;
        let token = shared.epoch.enter();
        // Whoever changes this waits for those who entered before.
        let look = shared.view.look();
        let targets = look.targets();
        if !look.is_open() || targets == 0 {
            shared.epoch.leave(token, &shared.wait);
            return self.defer(ask, look);
        }
        let sector = ask.sector();
        let chunk = shared.geometry.chunk_of(sector);
        let (_, end) = shared.geometry.sectors_of(chunk);
        let sectors = ask.sectors().min(end.saturating_sub(sector)).min(most(sector));
        if !shared.ranges.lock(sector, sectors) {
            shared.epoch.leave(token, &shared.wait);
            return Ok(self.queue_up(ask, sectors));
        }
        if shared.words.update(chunk, Chunk::begin) != Some(Begin::Go) {
            shared.ranges.unlock(sector, sectors);
            shared.epoch.leave(token, &shared.wait);
            return self.defer(ask, look);
        }
        if shared.active.load(Relaxed) == 0 {
            shared.active.store(1, Relaxed);
            shared.watch(&self.watch);
        }
        ask.leave(shared.spoiled.load(Relaxed).wrapping_add(1), 0);
        Ok(Mapped::Spread(Piece { sector, sectors, lower: targets, token: targets << LEGS | token }))
    }

    /// Leaves a request that has ended to the worker.
    #[cold]
    fn settle_later(&self, to: &DeferredStack, deferred: Deferred) -> Settled {
        KEEPING.fetch_add(1, Full);
        to.push(deferred);
        self.job.schedule();
        KEEPING.fetch_sub(1, Full);
        Settled::Kept
    }

    /// Leaves a request to the worker.
    #[cold]
    fn defer(&self, ask: Ask, look: view::Look) -> Result<Mapped, Status> {
        if look.is_stopped() {
            return Err(Status::IOERR);
        }
        let owner = if ask.op() == bindings::req_op_REQ_OP_READ { ask.owner() } else { 0 };
        self.shared.queue.push(ask.keep(owner, 0));
        self.job.schedule();
        Ok(Mapped::Deferred)
    }

    /// Leaves it until somebody gives back a range.
    #[cold]
    fn queue_up(&self, ask: Ask, sectors: u64) -> Mapped {
        let sector = ask.sector();
        self.shared.busy.push(ask.keep(0, 0));
        // Who had it may have given it back before he could see us.
        if self.shared.ranges.is_free(sector, sectors) {
            self.job.schedule();
        }
        Mapped::Deferred
    }
}
