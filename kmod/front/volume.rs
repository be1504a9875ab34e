// SPDX-License-Identifier: GPL-2.0

//! A volume and its I/O path: the engine maps, this submits, and settles before it ends.

use super::edge::{Mapped, Object};
use super::notice::Notices;
use crate::abi::engine::{Op as RawOp, ORIGIN};
use crate::block::bdev::{Lower, LowerSet};
use crate::block::bio_set::BioSet;
use crate::block::request::{Answer, Ended, Op, Range, Request};
use crate::block::status::Status;
use crate::block::Driver;
use kernel::prelude::*;
use kernel::sync::atomic::{ordering::Full, ordering::Relaxed, ordering::Release, Atomic};
use kernel::sync::{Arc, Completion};
use kernel::task::Task;

/// The devices below a volume, in the order its configuration counts them.
pub type Lowers = Arc<LowerSet>;

/// What requests use.
pub struct Live {
    /// Drives the volume; `None` if it is dead.
    pub object: Option<Object>,
    pub lowers: Lowers,
    /// The device that a volume of a pool is read from where it has nothing of its own; or none.
    pub origin: Lowers,
}

impl Live {
    #[inline]
    fn object(&self) -> Result<&Object, Status> {
        self.object.as_ref().ok_or(Status::IOERR)
    }

    #[inline]
    fn map(&self, range: Range) -> Result<Answer<'_>, Status> {
        Ok(match self.object()?.map(range)? {
            Mapped::At(piece) => Answer::At {
                lower: match piece.lower {
                    ORIGIN => self.origin.get(0),
                    index => self.lowers.get(index as usize),
                }
                .ok_or(Status::IOERR)?,
                index: piece.lower,
                sector: piece.sector,
                sectors: piece.sectors,
                token: piece.token,
            },
            Mapped::Spread(piece) => {
                Answer::Spread { lowers: piece.lower, sector: piece.sector, sectors: piece.sectors, token: piece.token }
            }
            Mapped::Zeros(piece) => Answer::Zeros {
                lower: self.lowers.get(piece.lower as usize).ok_or(Status::IOERR)?,
                index: piece.lower,
                sector: piece.sector,
                sectors: piece.sectors,
                token: piece.token,
            },
            Mapped::Nowhere(sectors) => Answer::Nowhere { sectors },
            Mapped::Deferred => Answer::Deferred,
        })
    }
}

/// What of a volume does not change.
pub struct Volume {
    pub notices: Arc<Notices>,
    pool: BioSet,
    /// Openers, or one of the below.
    opens: Atomic<i32>,
    /// The task that may open it while nobody else may.
    maker: Atomic<u64>,
    /// Done when `opens` is no longer [`NEW`].
    settled: Pin<KBox<Completion>>,
}

/// What becomes of a new disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Everybody may open it.
    Open,
    /// Only this task may, until it [admits](Volume::admit) others. Who opened the disk of somebody who waits for it here would keep its mutex.
    Own,
    /// It goes again.
    Removed,
}

/// Its disk is visible, but making the volume may still fail: openers wait.
const NEW: i32 = -1;
/// It is to go: nobody can open it any more.
const REMOVED: i32 = -2;
/// And so many openers more that are its maker.
const OWN: i32 = i32::MIN;

impl Volume {
    pub fn new(notices: Arc<Notices>) -> Result<Self> {
        let settled = KBox::pin_init(Completion::new(), GFP_KERNEL)?;
        Ok(Self { notices, pool: BioSet::new()?, opens: Atomic::new(NEW), maker: Atomic::new(0), settled })
    }

    /// How many have it open.
    pub fn open_count(&self) -> u32 {
        u32::try_from(self.opens.load(Relaxed)).unwrap_or(0)
    }

    /// Lets openers in, or turns them away.
    pub fn settle(&self, then: Settled) {
        self.maker.store(this_task(), Relaxed);
        let opens = match then {
            Settled::Open => 0,
            Settled::Own => OWN,
            Settled::Removed => REMOVED,
        };
        self.opens.store(opens, Release);
        self.settled.complete_all();
    }

    /// Lets others in than its maker.
    pub fn admit(&self) {
        let mut count = self.opens.load(Relaxed);
        while count < REMOVED {
            match self.opens.cmpxchg(count, count.wrapping_sub(OWN), Full) {
                Ok(_) => return,
                Err(now) => count = now,
            }
        }
    }

    /// Keeps anyone from opening it, for good. EBUSY if it is open.
    pub fn close_door(&self) -> Result {
        self.opens.cmpxchg(0, REMOVED, Full).map(|_| ()).map_err(|_| EBUSY)
    }

    /// Sends a request where the engine says.
    #[inline]
    fn send(&self, request: Request<Self>) -> Result<(), Status> {
        match request.op().0 {
            Op::Read | Op::Write | Op::Discard | Op::WriteZeroes => request.send(&self.pool, Live::map),
            Op::Flush => request.send_flush(&self.pool, |live, range| live.object()?.flush(range)),
            Op::Other => Err(Status::NOTSUPP),
        }
    }
}

/// Who calls.
fn this_task() -> u64 {
    Task::current_raw() as u64
}

impl Driver for Volume {
    type Live = Live;

    #[inline]
    fn queue(&self, request: Request<Self>) -> Result<(), Status> {
        self.send(request).inspect_err(|&status| {
            // blk-mq offers it again when memory is short, and ends it otherwise.
            if status != Status::RESOURCE {
                self.notices.failed(status);
            }
        })
    }

    fn lowers(live: &Live) -> impl Iterator<Item = &Lower> {
        live.lowers.iter()
    }

    #[inline]
    fn leg(live: &Live, index: u32) -> Option<(&Lower, u64)> {
        let index = index as usize;
        Some((live.lowers.get(index)?, live.object.as_ref()?.start(index)?))
    }

    #[inline]
    fn unpin(live: &Live, token: u32, status: Status, failed: u32, range: (u64, u64)) {
        if let Some(object) = &live.object {
            object.unpin(token, status, failed, range);
        }
    }

    fn lost(live: &Live, lower: u32, op: RawOp, status: Status) {
        if let Some(object) = &live.object {
            object.lost(lower, op, status);
        }
    }

    #[inline]
    fn settles(live: &Live) -> bool {
        live.object.as_ref().is_some_and(Object::settles)
    }

    fn settle(live: &Live, range: Range, status: Status, lost: u32) -> Ended {
        match &live.object {
            Some(object) => object.settle(range, status, lost),
            None => Ended::With(status),
        }
    }

    #[inline]
    fn end(&self, request: &Request<Self>, status: Status) {
        if let Some(object) = &request.live().object {
            object.end(status);
        }
        if status != Status::OK {
            self.notices.failed(status);
        }
    }

    fn open(&self) -> Result {
        if self.opens.load(Relaxed) == NEW {
            self.settled.wait_for_completion();
        }
        let mut count = self.opens.load(Relaxed);
        while count >= 0 || count < REMOVED && self.maker.load(Relaxed) == this_task() {
            match self.opens.cmpxchg(count, count.wrapping_add(1), Full) {
                Ok(_) => return Ok(()),
                Err(now) => count = now,
            }
        }
        Err(ENXIO)
    }

    fn release(&self) {
        self.opens.fetch_sub(1, Full);
    }
}
