// SPDX-License-Identifier: GPL-2.0

//! `struct request`: a live request, and the two ways it goes to lower devices.
//!
//! - whole: one bio, one place below. The clone is embedded in the request; nothing is allocated or counted.
//! - in pieces: merged bios, or places on both sides of a border. Every piece is a clone from the volume's
//!   [`BioSet`]; the request ends when the last one has, each of its bios with the first error of its own pieces.
//!   A piece that is spread is a clone for each device; whether its errors are the request's the engine says in the end.
//!   One bio that is spread whole needs no piece: the first clone is the embedded one, and what pieces count the request has.
//!
//! Both run in the submitting task and complete where the lower device completes. An engine that cannot say where a range is
//! keeps the request, at any point of that; [`retry`] goes on where it was.

use super::bdev::Lower;
use super::bio_set::BioSet;
use super::gendisk::Shared;
use super::plug::Unplugged;
use super::status::Status;
use super::{ffi, Driver};
use crate::abi::engine::{Deferral, SPREAD_MAX};
use core::marker::PhantomData;
use core::mem::{offset_of, MaybeUninit};
use kernel::bindings;
use kernel::sync::atomic::{ordering::Full, ordering::Relaxed, Atomic};

/// What a request carries for us, behind `struct request`.
#[repr(C)]
pub(super) struct Pdu {
    bio: MaybeUninit<bindings::bio>,
    /// Pieces under way, and one for the submitter.
    remaining: Atomic<i32>,
    /// First error of a piece, a `blk_status_t`.
    status: Atomic<i32>,
    /// Lower devices that lack some of it, a bit for each.
    lost: Atomic<u32>,
    /// Of the bio, if it is sent whole, and on which device the embedded clone is.
    token: u32,
    lower: u32,
    /// The devices that it is spread over whole; 0: in pieces.
    lowers: u32,
    /// It goes to several devices, so that one that fails is no error yet.
    spread: bool,
    /// All pieces have ended, and the engine has been asked how it ends.
    settled: bool,
    /// The bio that is being sent in pieces, and the sectors of it that were; null if none is.
    next: *mut bindings::bio,
    done: u64,
    /// What the engine is asked.
    deferral: Deferral,
}

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Read,
    Write,
    Discard,
    WriteZeroes,
    Flush,
    /// Nothing that our disks announce.
    Other,
}

/// A live request.
///
/// # Invariants
///
/// Started and not ended; its queue was made by a `Disk<D>`.
pub struct Request<D: Driver>(*mut bindings::request, PhantomData<D>);

/// What an engine is asked about: a range of a live request, which it may keep.
///
/// # Invariants
///
/// It is filled in, and part of a request that nobody else has.
pub struct Range(*mut Deferral);

impl Range {
    /// For the engine.
    #[inline]
    pub fn into_raw(self) -> *mut Deferral {
        self.0
    }
}

/// Where the beginning of a range is.
pub enum Answer<'a> {
    /// On a lower device, which has a number: so many sectors from that one on. The token, if not 0, is for [`Driver::unpin`].
    At { lower: &'a Lower, index: u32, sector: u64, sectors: u64, token: u32 },
    /// On each lower device with a bit, so many sectors from that one of the disk's [part](Driver::leg) of it on.
    Spread { lowers: u32, sector: u64, sectors: u64, token: u32 },
    /// On a lower device, as above; zeros are to be written there, no more sectors than a bio has room for.
    Zeros { lower: &'a Lower, index: u32, sector: u64, sectors: u64, token: u32 },
    /// So many sectors are nowhere: they read as zeros, and there is nothing to discard.
    Nowhere { sectors: u64 },
    /// The engine has the request.
    Deferred,
}

/// How a request ends whose pieces have ended.
pub enum Ended {
    /// With this status.
    With(Status),
    /// The engine has it.
    Kept,
}

/// The same without a borrow of what live requests use, which is there as long as the request is.
enum Sent {
    At { bdev: *mut bindings::block_device, index: u32, sector: u64, sectors: u64, token: u32 },
    Spread { lowers: u32, sector: u64, sectors: u64, token: u32 },
    Zeros { bdev: *mut bindings::block_device, index: u32, sector: u64, sectors: u64, token: u32 },
    Nowhere { sectors: u64 },
    Deferred,
}

impl Answer<'_> {
    #[inline]
    fn detach(self) -> Sent {
        match self {
            Self::At { lower, index, sector, sectors, token } => {
                Sent::At { bdev: lower.as_ptr(), index, sector, sectors, token }
            }
            Self::Spread { lowers, sector, sectors, token } => Sent::Spread { lowers, sector, sectors, token },
            Self::Zeros { lower, index, sector, sectors, token } => {
                Sent::Zeros { bdev: lower.as_ptr(), index, sector, sectors, token }
            }
            Self::Nowhere { sectors } => Sent::Nowhere { sectors },
            Self::Deferred => Sent::Deferred,
        }
    }
}

impl<D: Driver> Request<D> {
    fn shared(&self) -> &Shared<D> {
        // SAFETY: The queue of a `Disk<D>` carries its `Shared<D>`, which outlives every request.
        unsafe { &*(*(*self.0).q).queuedata.cast::<Shared<D>>() }
    }

    /// What live requests use.
    #[inline]
    pub fn live(&self) -> &D::Live {
        // SAFETY: It is changed only while the queue is frozen, and then no request is live.
        unsafe { &*self.shared().live() }
    }

    /// What it asks for, and the same as a number of `enum req_op`.
    #[inline]
    pub fn op(&self) -> (Op, u32) {
        // SAFETY: A live request, by the type invariant.
        let op = unsafe { (*self.0).cmd_flags } & ffi::REQ_OP_MASK;
        let kind = match op {
            bindings::req_op_REQ_OP_READ => Op::Read,
            bindings::req_op_REQ_OP_WRITE => Op::Write,
            bindings::req_op_REQ_OP_DISCARD => Op::Discard,
            bindings::req_op_REQ_OP_WRITE_ZEROES => Op::WriteZeroes,
            bindings::req_op_REQ_OP_FLUSH => Op::Flush,
            _ => Op::Other,
        };
        (kind, op)
    }

    /// First sector and number of sectors.
    #[inline]
    pub fn range(&self) -> (u64, u64) {
        // SAFETY: A live request, by the type invariant.
        unsafe { ((*self.0).__sector, u64::from((*self.0).__data_len >> 9)) }
    }

    /// Whether it has exactly one bio.
    #[inline]
    pub fn is_single(&self) -> bool {
        // SAFETY: A live request, by the type invariant.
        unsafe { !(*self.0).bio.is_null() && (*self.0).bio == (*self.0).biotail }
    }

    fn pdu(&self) -> *mut Pdu {
        // SAFETY: The tag set was made with room for a `Pdu` behind every request.
        unsafe { self.0.add(1).cast() }
    }

    /// Flags of a clone of a bio of this request.
    ///
    /// # Safety
    ///
    /// `bio` is a bio of this request.
    unsafe fn clone_flags(&self, bio: *mut bindings::bio) -> u32 {
        // SAFETY: A live request, and by contract its bio.
        unsafe { ((*bio).bi_opf & !ffi::REQ_NOT_INHERITED) | ((*self.0).cmd_flags & ffi::REQ_FUA) }
    }

    /// What is discarded reads as anything, on each device as something else: those that something is spread over make zeros of it, and
    /// may give up the space.
    #[inline]
    fn same_everywhere(flags: u32) -> u32 {
        if flags & ffi::REQ_OP_MASK == bindings::req_op_REQ_OP_DISCARD {
            (flags & !ffi::REQ_OP_MASK) | bindings::req_op_REQ_OP_WRITE_ZEROES
        } else {
            flags
        }
    }

    /// Fills in what the engine is asked.
    #[inline]
    fn ask(&self, sector: u64, sectors: u64) -> Range {
        // SAFETY: The pdu belongs to this request, which the engine does not have.
        unsafe {
            let deferral = &raw mut (*self.pdu()).deferral;
            (*deferral).op = (*self.0).cmd_flags & (ffi::REQ_OP_MASK | ffi::REQ_NOUNMAP);
            (*deferral).sector = sector;
            (*deferral).sectors = sectors;
            // INVARIANT: Just filled in.
            Range(deferral)
        }
    }

    /// Sends a request, or goes on with sending it, where `map` says that the beginning of a range is.
    #[inline]
    pub fn send<F>(self, pool: &BioSet, map: F) -> Result<(), Status>
    where
        F: for<'a> Fn(&'a D::Live, Range) -> Result<Answer<'a>, Status>,
    {
        // SAFETY: The pdu belongs to this request.
        if unsafe { !(*self.pdu()).next.is_null() } {
            self.send_pieces(pool, None, map);
            return Ok(());
        }
        if !self.is_single() {
            self.begin();
            self.send_pieces(pool, None, map);
            return Ok(());
        }
        let (sector, sectors) = self.range();
        let sent = map(self.live(), self.ask(sector, sectors))?.detach();
        match sent {
            Sent::Deferred => Ok(()),
            Sent::At { bdev, index, sector, sectors: found, token } if found >= sectors => {
                self.send_whole(bdev, index, sector, token)
            }
            Sent::Spread { lowers, sector, sectors: found, token } if found >= sectors => {
                self.spread_whole(pool, lowers, sector, token);
                Ok(())
            }
            sent => {
                self.begin();
                self.send_pieces(pool, Some(sent), map);
                Ok(())
            }
        }
    }

    /// Sends a request with one bio to one place below.
    #[inline]
    fn send_whole(self, bdev: *mut bindings::block_device, index: u32, sector: u64, token: u32) -> Result<(), Status> {
        // SAFETY: The request is live and has a bio; the embedded one is unused, as each request is sent once; the
        // lower device outlives the request, as it is part of what live requests use.
        unsafe {
            let bio = (*self.0).bio;
            let clone = (&raw mut (*self.pdu()).bio).cast::<bindings::bio>();
            if bindings::bio_init_clone(bdev, clone, bio, ffi::GFP_NOIO) != 0 {
                self.unpin(token, Status::RESOURCE, 0, self.range());
                return Err(Status::RESOURCE);
            }
            ((*self.pdu()).token, (*self.pdu()).lower) = (token, index);
            (*clone).bi_opf = self.clone_flags(bio);
            (*clone).bi_iter.bi_sector = sector;
            (*clone).bi_end_io = Some(whole_end_io::<D>);
            // The request may have ended when this returns.
            bindings::submit_bio_noacct(clone);
        }
        Ok(())
    }

    /// Sends a request with one bio to several lower devices. Those that do not get it have failed it.
    #[inline]
    fn spread_whole(self, pool: &BioSet, lowers: u32, below: u64, token: u32) {
        let pdu = self.pdu();
        // SAFETY: The pdu belongs to this request, nothing of which is under way.
        let bio = unsafe {
            (*pdu).remaining.store(lowers.count_ones() as i32, Relaxed);
            (*pdu).status.store(0, Relaxed);
            (*pdu).lost.store(!lowers, Relaxed);
            ((*pdu).spread, (*pdu).lowers, (*pdu).token) = (true, lowers, token);
            (*self.0).bio
        };
        let (mut left, mut embedded) = (lowers, true);
        // With the last of them the request may end.
        while left != 0 {
            let index = left.trailing_zeros();
            left &= left.wrapping_sub(1);
            let first = core::mem::replace(&mut embedded, false);
            // SAFETY: The request has not ended, as one part of it is not sent.
            match unsafe { self.whole_part(pool, bio, index, below, first) } {
                // SAFETY: A new clone.
                Ok(clone) => unsafe { bindings::submit_bio_noacct(clone) },
                Err(status) => {
                    self.miss(index, status);
                    Request::<D>(self.0, PhantomData).leave_whole();
                }
            }
        }
    }

    /// A clone of the whole bio for a lower device, the embedded one or one of the pool.
    ///
    /// # Safety
    ///
    /// `bio` is the one bio of this request, and the embedded clone unused if it is to be that.
    #[inline]
    unsafe fn whole_part(
        &self,
        pool: &BioSet,
        bio: *mut bindings::bio,
        index: u32,
        below: u64,
        embedded: bool,
    ) -> Result<*mut bindings::bio, Status> {
        let (lower, start) = D::leg(self.live(), index).ok_or(Status::IOERR)?;
        // SAFETY: By contract; the lower device outlives the request.
        unsafe {
            let clone = if embedded {
                let clone = (&raw mut (*self.pdu()).bio).cast::<bindings::bio>();
                if bindings::bio_init_clone(lower.as_ptr(), clone, bio, ffi::GFP_NOIO) != 0 {
                    return Err(Status::RESOURCE);
                }
                (*self.pdu()).lower = index;
                (*clone).bi_end_io = Some(embedded_end_io::<D>);
                clone
            } else {
                let clone = pool.clone_bio(lower.as_ptr(), bio, self.0)?.as_ptr();
                (*BioSet::front(clone)).lower = index;
                (*clone).bi_end_io = Some(other_end_io::<D>);
                clone
            };
            (*clone).bi_opf = Self::same_everywhere(self.clone_flags(bio));
            (*clone).bi_iter.bi_sector = start.wrapping_add(below);
            Ok(clone)
        }
    }

    /// One part less of a request that is spread whole; after the last the engine is asked.
    #[inline]
    fn leave_whole(self) {
        // SAFETY: The pdu belongs to this request, which cannot end before its count is zero.
        let pdu = unsafe { &*self.pdu() };
        if pdu.remaining.fetch_sub(1, Full) != 1 {
            return;
        }
        let (status, failed) = (Status(pdu.status.load(Relaxed) as u8), pdu.lost.load(Relaxed) & pdu.lowers);
        self.unpin(pdu.token, status, failed, self.range());
        self.judge(status);
    }

    /// Sends what is left of a request as pieces.
    fn send_pieces<F>(self, pool: &BioSet, mut first: Option<Sent>, map: F)
    where
        F: for<'a> Fn(&'a D::Live, Range) -> Result<Answer<'a>, Status>,
    {
        let mut plug = MaybeUninit::<bindings::blk_plug>::uninit();
        // SAFETY: The plug is on this stack until it is finished below.
        unsafe { bindings::blk_start_plug(plug.as_mut_ptr()) };
        let complete = loop {
            let pdu = self.pdu();
            // SAFETY: The pdu belongs to this request, which cannot end before `settle` below, nor can its bios.
            let (bio, done) = unsafe { ((*pdu).next, (*pdu).done) };
            if bio.is_null() {
                break true;
            }
            // SAFETY: A bio of the live request.
            let (sector, size) = unsafe { ((*bio).bi_iter.bi_sector, u64::from((*bio).bi_iter.bi_size >> 9)) };
            let left = size.saturating_sub(done);
            if left == 0 {
                // SAFETY: As above.
                unsafe { ((*pdu).next, (*pdu).done) = ((*bio).bi_next, 0) };
                continue;
            }
            let sector = sector.wrapping_add(done);
            let sent = match first.take() {
                Some(sent) => Ok(sent),
                None => map(self.live(), self.ask(sector, left)).map(Answer::detach),
            };
            let sent = match sent {
                // Somebody else may have the request already.
                Ok(Sent::Deferred) => break false,
                Ok(Sent::At { bdev, index, sector: below, sectors, token }) => {
                    let length = sectors.min(left);
                    // SAFETY: A bio of the live request, and a range inside it.
                    unsafe { self.send_piece(pool, bio, bdev, &Part { index, below, done, length, sector, token }) }
                }
                Ok(Sent::Spread { lowers, sector: below, sectors, token }) => {
                    let length = sectors.min(left);
                    // SAFETY: As above.
                    unsafe {
                        self.send_spread(pool, bio, lowers, Part { index: 0, below, done, length, sector, token })
                    };
                    Ok(length)
                }
                Ok(Sent::Zeros { bdev, index, sector: below, sectors, token }) => {
                    let length = sectors.min(left);
                    // SAFETY: As above.
                    unsafe { self.send_zeros(pool, bio, bdev, &Part { index, below, done, length, sector, token }) }
                }
                Ok(Sent::Nowhere { sectors }) => {
                    let length = sectors.min(left);
                    // SAFETY: As above.
                    unsafe { self.zero(bio, done, length) };
                    Ok(length)
                }
                Err(status) => Err(status),
            };
            let sent = match sent {
                Ok(length) if length > 0 => length,
                other => {
                    // SAFETY: A bio of the live request.
                    unsafe {
                        self.lack(u32::MAX);
                        self.fail(bio, other.err().unwrap_or(Status::IOERR));
                    }
                    left
                }
            };
            // SAFETY: As above.
            unsafe { (*pdu).done = done.wrapping_add(sent) };
        };
        // SAFETY: Started above.
        unsafe { bindings::blk_finish_plug(plug.as_mut_ptr()) };
        if complete {
            self.settle();
        }
    }

    /// Fills a part of a bio that is being read with zeros.
    ///
    /// # Safety
    ///
    /// `bio` is a bio of this request, and the range, in sectors, lies inside it.
    unsafe fn zero(&self, bio: *mut bindings::bio, offset: u64, sectors: u64) {
        if self.op().0 == Op::Read {
            // SAFETY: By contract; a bio is smaller than 4 GiB.
            unsafe { ffi::stor_zero_bio(bio, (offset << 9) as u32, (sectors << 9) as u32) };
        }
    }

    /// Sends a flush, as `flush` says: to the lower devices whose bits it sets, unless the engine has kept it.
    pub fn send_flush<F>(self, pool: &BioSet, flush: F) -> Result<(), Status>
    where
        F: for<'a> FnOnce(&'a D::Live, Range) -> Result<Option<u64>, Status>,
    {
        let Some(mask) = flush(self.live(), self.ask(0, 0))? else { return Ok(()) };
        self.begin();
        let spread = D::settles(self.live());
        // SAFETY: The pdu belongs to this request, and nothing is under way.
        unsafe { (*self.pdu()).spread = spread };
        if spread {
            self.lack(!(mask as u32));
        }
        for (index, lower) in D::lowers(self.live()).enumerate().take(64) {
            if mask & (1 << index) == 0 {
                continue;
            }
            let opf = bindings::req_op_REQ_OP_WRITE | ffi::REQ_PREFLUSH;
            // SAFETY: The lower device outlives the request.
            match unsafe { pool.empty_bio(lower.as_ptr(), opf, self.0) } {
                // SAFETY: A new bio, with its `Front` filled.
                Ok(bio) => unsafe {
                    (*BioSet::front(bio.as_ptr())).lower = index as u32;
                    self.launch(bio.as_ptr(), piece_end_io::<D>);
                },
                Err(status) => self.miss(index as u32, status),
            }
        }
        self.settle();
        Ok(())
    }

    #[inline]
    fn unpin(&self, token: u32, status: Status, failed: u32, range: (u64, u64)) {
        if token != 0 {
            D::unpin(self.live(), token, status, failed, range);
        }
    }

    /// These lower devices lack some of it.
    fn lack(&self, lowers: u32) {
        // SAFETY: The pdu belongs to this request.
        let lost = unsafe { &(*self.pdu()).lost };
        let mut old = lost.load(Relaxed);
        while let Err(now) = lost.cmpxchg(old, old | lowers, Full) {
            old = now;
        }
    }

    /// A lower device has failed a part that is spread, or a flush.
    #[cold]
    fn miss(&self, lower: u32, status: Status) {
        self.lack(1_u32.wrapping_shl(lower));
        // SAFETY: The pdu belongs to this request.
        unsafe {
            (*self.pdu()).status.store(i32::from(status.0), Relaxed);
            if (*self.pdu()).spread {
                D::lost(self.live(), lower, (*self.0).cmd_flags & ffi::REQ_OP_MASK, status);
            }
        }
    }

    fn begin(&self) {
        let pdu = self.pdu();
        // SAFETY: The pdu belongs to this request, which is live; nobody else uses it before the first piece is sent.
        unsafe {
            (*pdu).remaining.store(1, Relaxed);
            (*pdu).status.store(0, Relaxed);
            (*pdu).lost.store(0, Relaxed);
            (*pdu).spread = false;
            (*pdu).next = (*self.0).bio;
            (*pdu).done = 0;
        }
    }

    /// # Safety
    ///
    /// `bio` is a bio of this request, and the part lies inside it.
    unsafe fn send_piece(
        &self,
        pool: &BioSet,
        bio: *mut bindings::bio,
        bdev: *mut bindings::block_device,
        part: &Part,
    ) -> Result<u64, Status> {
        // SAFETY: By contract.
        match unsafe { self.part(pool, bio, bdev, part) } {
            // SAFETY: The clone is ours until it is launched.
            Ok(clone) => unsafe { self.launch(clone, piece_end_io::<D>) },
            Err(status) => {
                self.unpin(part.token, status, 0, (part.sector, part.length));
                return Err(status);
            }
        }
        Ok(part.length)
    }

    /// Writes zeros in place of a part of a bio.
    ///
    /// # Safety
    ///
    /// As of [`send_piece`](Self::send_piece).
    #[cold]
    unsafe fn send_zeros(
        &self,
        pool: &BioSet,
        bio: *mut bindings::bio,
        bdev: *mut bindings::block_device,
        part: &Part,
    ) -> Result<u64, Status> {
        // SAFETY: By contract.
        match unsafe { self.part(pool, bio, bdev, part) } {
            // SAFETY: The clone stands for what is written, and ends with it. The submitter's count keeps the request.
            Ok(clone) => unsafe {
                (*self.pdu()).remaining.add(1, Relaxed);
                (*clone).bi_end_io = Some(piece_end_io::<D>);
                ffi::stor_write_zeros(clone, part.below, part.length);
            },
            Err(status) => {
                self.unpin(part.token, status, 0, (part.sector, part.length));
                return Err(status);
            }
        }
        Ok(part.length)
    }

    /// Sends a part of a bio to each of some lower devices. Those that do not get it have failed it.
    ///
    /// # Safety
    ///
    /// As of [`send_piece`](Self::send_piece).
    unsafe fn send_spread(&self, pool: &BioSet, bio: *mut bindings::bio, lowers: u32, mut part: Part) {
        let below = part.below;
        let mut leader: *mut bindings::bio = core::ptr::null_mut();
        let mut failed = 0;
        // SAFETY: The pdu belongs to this request, which cannot end meanwhile.
        unsafe { (*self.pdu()).spread = true };
        self.lack(!lowers);
        for index in (0..SPREAD_MAX as u32).filter(|index| lowers & (1 << index) != 0) {
            let clone = D::leg(self.live(), index).ok_or(Status::IOERR).and_then(|(lower, start)| {
                (part.index, part.below) = (index, start.wrapping_add(below));
                // SAFETY: By contract.
                unsafe { self.part(pool, bio, lower.as_ptr(), &part) }
            });
            match clone {
                // SAFETY: The clone is ours until it is launched, and its leader there until the count of it is given up below.
                Ok(clone) => unsafe {
                    (*clone).bi_opf = Self::same_everywhere((*clone).bi_opf);
                    if leader.is_null() {
                        leader = clone;
                    }
                    (*BioSet::front(clone)).leader = leader;
                    (*BioSet::front(leader)).left.add(1, Relaxed);
                    self.launch(clone, spread_end_io::<D>);
                },
                Err(status) => {
                    failed |= 1 << index;
                    self.miss(index, status);
                }
            }
        }
        if leader.is_null() {
            return self.unpin(part.token, Status::IOERR, failed, (part.sector, part.length));
        }
        // SAFETY: As above.
        unsafe { self.leave(leader, failed) };
    }

    /// One part less of those that are spread; with the last the engine is told.
    ///
    /// # Safety
    ///
    /// `leader` leads parts of this request, and the caller has one of its counts.
    unsafe fn leave(&self, leader: *mut bindings::bio, failed: u32) {
        // SAFETY: By contract; it is given back with its last count.
        unsafe {
            let front = BioSet::front(leader);
            let all = &(*front).failed;
            let mut old = all.load(Relaxed);
            while failed & !old != 0 {
                match all.cmpxchg(old, old | failed, Full) {
                    Ok(_) => break,
                    Err(now) => old = now,
                }
            }
            if (*front).left.fetch_sub(1, Full) != 1 {
                return;
            }
            let failed = all.load(Relaxed);
            let status = if failed == 0 { Status::OK } else { Status::IOERR };
            self.unpin((*front).token, status, failed, ((*front).sector, (*front).sectors));
            bindings::bio_put(leader);
        }
    }

    /// A clone of a part of a bio.
    ///
    /// # Safety
    ///
    /// `bio` is a bio of this request, and the part lies inside it; the lower device outlives the request.
    unsafe fn part(
        &self,
        pool: &BioSet,
        bio: *mut bindings::bio,
        bdev: *mut bindings::block_device,
        part: &Part,
    ) -> Result<*mut bindings::bio, Status> {
        // SAFETY: By contract; the clone is ours.
        unsafe {
            let clone = pool.clone_bio(bdev, bio, self.0)?.as_ptr();
            let front = BioSet::front(clone);
            ((*front).token, (*front).sector, (*front).sectors) = (part.token, part.sector, part.length);
            (*front).lower = part.index;
            bindings::bio_trim(clone, part.done, part.length);
            (*clone).bi_iter.bi_sector = part.below;
            (*clone).bi_opf = self.clone_flags(bio);
            Ok(clone)
        }
    }

    /// # Safety
    ///
    /// `bio` is a new bio of a [`BioSet`], made for this request.
    unsafe fn launch(&self, bio: *mut bindings::bio, end: unsafe extern "C" fn(*mut bindings::bio)) {
        // SAFETY: The pdu belongs to this request, which the submitter's count keeps from ending; `bio` by contract.
        unsafe {
            (*self.pdu()).remaining.add(1, Relaxed);
            (*bio).bi_end_io = Some(end);
            bindings::submit_bio_noacct(bio);
        }
    }

    /// Notes an error of a bio, or of the request if there is none.
    ///
    /// # Safety
    ///
    /// `bio` is null or a bio of this request.
    unsafe fn fail(&self, bio: *mut bindings::bio, status: Status) {
        // SAFETY: The pdu belongs to this request; `bio` by contract. Several pieces may write a status at once,
        // and any of them will do.
        unsafe {
            (*self.pdu()).status.store(i32::from(status.0), Relaxed);
            if !bio.is_null() {
                core::ptr::write_volatile(&raw mut (*bio).bi_status, status.0);
            }
        }
    }

    /// Gives up one count; the last one ends the request.
    fn settle(self) {
        // SAFETY: The pdu belongs to this request, which cannot end before its count is zero.
        let pdu = unsafe { &*self.pdu() };
        if pdu.remaining.fetch_sub(1, Full) != 1 {
            return;
        }
        let status = Status(pdu.status.load(Relaxed) as u8);
        if (pdu.spread || status != Status::OK) && D::settles(self.live()) {
            return self.judge(status);
        }
        self.finish(status);
    }

    /// Asks the engine how the request ends.
    fn judge(self, status: Status) {
        let (sector, sectors) = self.range();
        // SAFETY: The pdu belongs to this request, nothing of which is under way.
        let lost = unsafe {
            (*self.pdu()).settled = true;
            (*self.pdu()).lost.load(Relaxed)
        };
        // If it is kept, somebody else may have ended it already.
        if let Ended::With(status) = D::settle(self.live(), self.ask(sector, sectors), status, lost) {
            self.finish(status);
        }
    }

    /// Ends a request whose pieces have ended.
    fn finish(self, status: Status) {
        // SAFETY: The pdu belongs to this request.
        if status == Status::OK || unsafe { (*self.pdu()).spread } || self.is_single() {
            return self.end(status);
        }
        self.shared().driver.end(&self, status);
        // SAFETY: The request is ours to end; every bio goes with its own status, in order.
        unsafe {
            while let Some(bio) = (*self.0).bio.as_ref() {
                let (own, bytes) = (bio.bi_status, bio.bi_iter.bi_size);
                if !bindings::blk_update_request(self.0, own, bytes) {
                    break;
                }
            }
            bindings::__blk_mq_end_request(self.0, status.0);
        }
    }

    /// Ends the request, after the driver has settled it.
    #[inline]
    fn end(self, status: Status) {
        self.shared().driver.end(&self, status);
        // SAFETY: The request is ours to end, and is not used again.
        unsafe { bindings::blk_mq_end_request(self.0, status.0) };
    }
}

/// A part of a bio: `length` sectors behind the first `done`, which are at `sector` of the volume, go to `below` on the lower device of
/// that number.
struct Part {
    index: u32,
    below: u64,
    done: u64,
    length: u64,
    sector: u64,
    token: u32,
}

/// The request that a deferral is part of.
///
/// # Safety
///
/// `deferral` came from a live request of a `Disk<D>`, which whoever has kept it gives back.
unsafe fn back<D: Driver>(deferral: *mut Deferral) -> Request<D> {
    // SAFETY: By contract; the pdu lies right behind its request.
    let request = unsafe { deferral.byte_sub(offset_of!(Pdu, deferral)).cast::<bindings::request>().sub(1) };
    // INVARIANT: Live by contract.
    Request(request, PhantomData)
}

/// Asks the driver again for a request that an engine has kept.
///
/// # Safety
///
/// As of a deferral that is given back.
pub unsafe fn retry<D: Driver>(deferral: *mut Deferral) {
    // SAFETY: By contract.
    let request = unsafe { back::<D>(deferral) };
    let again = Request::<D>(request.0, PhantomData);
    // SAFETY: The pdu belongs to the request, nothing of which is under way if it is settled; its bios are live.
    unsafe {
        let pdu = request.pdu();
        if (*pdu).settled {
            (*pdu).settled = false;
            (*pdu).next = core::ptr::null_mut();
            let mut bio = (*request.0).bio;
            while !bio.is_null() {
                (*bio).bi_status = 0;
                bio = (*bio).bi_next;
            }
        }
    }
    // SAFETY: The queue's data outlives the request; a new borrow, because the request is given away.
    let shared = unsafe { &*(*(*request.0).q).queuedata.cast::<Shared<D>>() };
    if let Err(status) = shared.driver.queue(request) {
        again.end(status);
    }
}

/// What an engine has kept a request for has ended: the range that it was asked about is done, or the request has failed.
///
/// # Safety
///
/// As of a deferral that is given back.
pub unsafe fn end<D: Driver>(deferral: *mut Deferral, status: Status) {
    // SAFETY: By contract.
    let request = unsafe { back::<D>(deferral) };
    let pdu = request.pdu();
    // SAFETY: The pdu belongs to the request.
    if unsafe { (*pdu).settled } {
        return request.finish(status);
    }
    // SAFETY: As above.
    if unsafe { (*pdu).next.is_null() } {
        return request.end(status);
    }
    if status == Status::OK {
        // What was asked for is done, and the rest goes on.
        // SAFETY: The pdu belongs to the request.
        unsafe { (*pdu).done = (*pdu).done.wrapping_add((*pdu).deferral.sectors) };
        // SAFETY: By contract.
        return unsafe { retry::<D>(deferral) };
    }
    // Part of it is under way: the rest fails.
    loop {
        // SAFETY: A bio of the live request, which cannot end before `settle`.
        unsafe {
            let bio = (*pdu).next;
            if bio.is_null() {
                break;
            }
            request.lack(u32::MAX);
            request.fail(bio, status);
            (*pdu).next = (*bio).bi_next;
        }
    }
    request.settle();
}

/// # Safety
///
/// Called by blk-mq for a queue of a `Disk<D>`.
pub(super) unsafe extern "C" fn queue_rq<D: Driver>(
    _: *mut bindings::blk_mq_hw_ctx,
    data: *const bindings::blk_mq_queue_data,
) -> bindings::blk_status_t {
    // SAFETY: blk-mq hands over a request that was not started.
    let rq = unsafe { (*data).rq };
    // SAFETY: As above.
    unsafe { bindings::blk_mq_start_request(rq) };
    // INVARIANT: Just started.
    let request = Request::<D>(rq, PhantomData);
    // SAFETY: The pdu belongs to this request.
    unsafe {
        let pdu = request.pdu();
        (*pdu).next = core::ptr::null_mut();
        (*pdu).deferral.owner = 0;
        ((*pdu).spread, (*pdu).settled) = (false, false);
    }
    // SAFETY: The queue's data outlives the request; a new borrow, because the request is given away.
    let shared = unsafe { &*(*(*rq).q).queuedata.cast::<Shared<D>>() };
    let _unplugged = Unplugged::enter();
    match shared.driver.queue(request) {
        Ok(()) => Status::OK.0,
        Err(status) => status.0,
    }
}

/// # Safety
///
/// `bio` is the one embedded in a live request of a `Disk<D>`.
unsafe extern "C" fn whole_end_io<D: Driver>(bio: *mut bindings::bio) {
    // SAFETY: The bio is the first field of the pdu, which lies right behind its request. It is not used again.
    unsafe {
        let status = Status((*bio).bi_status);
        bindings::bio_uninit(bio);
        let request = Request::<D>(bio.cast::<bindings::request>().sub(1), PhantomData);
        let (token, lower) = ((*request.pdu()).token, (*request.pdu()).lower);
        request.unpin(token, status, 0, request.range());
        if status != Status::OK && D::settles(request.live()) {
            (*request.pdu()).lost.store(1_u32.wrapping_shl(lower), Relaxed);
            return request.judge(status);
        }
        request.end(status);
    }
}

/// # Safety
///
/// `bio` came from a [`BioSet`] for a live request of a `Disk<D>`.
unsafe extern "C" fn piece_end_io<D: Driver>(bio: *mut bindings::bio) {
    // SAFETY: By contract there is a `Front` before the bio; its request lives until `settle`.
    unsafe {
        let front = BioSet::front(bio);
        let request = Request::<D>((*front).request, PhantomData);
        let status = Status((*bio).bi_status);
        if status != Status::OK {
            request.miss((*front).lower, status);
            request.fail((*front).parent, status);
        }
        request.unpin((*front).token, status, 0, ((*front).sector, (*front).sectors));
        bindings::bio_put(bio);
        request.settle();
    }
}

/// # Safety
///
/// `bio` is the one embedded in a live request of a `Disk<D>` that is spread whole.
unsafe extern "C" fn embedded_end_io<D: Driver>(bio: *mut bindings::bio) {
    // SAFETY: The bio is the first field of the pdu, which lies right behind its request. It is not used again.
    unsafe {
        let status = Status((*bio).bi_status);
        bindings::bio_uninit(bio);
        let request = Request::<D>(bio.cast::<bindings::request>().sub(1), PhantomData);
        if status != Status::OK {
            request.miss((*request.pdu()).lower, status);
        }
        request.leave_whole();
    }
}

/// # Safety
///
/// `bio` came from a [`BioSet`] for a live request of a `Disk<D>` that is spread whole.
unsafe extern "C" fn other_end_io<D: Driver>(bio: *mut bindings::bio) {
    // SAFETY: By contract there is a `Front` before the bio; its request has not ended.
    unsafe {
        let front = BioSet::front(bio);
        let (request, lower) = (Request::<D>((*front).request, PhantomData), (*front).lower);
        let status = Status((*bio).bi_status);
        bindings::bio_put(bio);
        if status != Status::OK {
            request.miss(lower, status);
        }
        request.leave_whole();
    }
}

/// # Safety
///
/// As of [`piece_end_io`]; the bio has a leader.
unsafe extern "C" fn spread_end_io<D: Driver>(bio: *mut bindings::bio) {
    // SAFETY: By contract there is a `Front` before the bio, whose leader is there until its last count is given up; its request lives
    // until `settle`.
    unsafe {
        let front = BioSet::front(bio);
        let (leader, lower) = ((*front).leader, (*front).lower);
        let request = Request::<D>((*front).request, PhantomData);
        let status = Status((*bio).bi_status);
        if status != Status::OK {
            request.miss(lower, status);
        }
        if bio != leader {
            bindings::bio_put(bio);
        }
        request.leave(leader, if status == Status::OK { 0 } else { 1_u32.wrapping_shl(lower) });
        request.settle();
    }
}
