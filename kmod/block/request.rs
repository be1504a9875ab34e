// SPDX-License-Identifier: GPL-2.0

//! `struct request`: a live request, and the two ways it goes to lower devices.
//!
//! - whole: one bio, one place below. The clone is embedded in the request; nothing is allocated or counted.
//! - in pieces: merged bios, or places on both sides of a border. Every piece is a clone from the volume's
//!   [`BioSet`]; the request ends when the last one has, each of its bios with the first error of its own pieces.
//!
//! Both run in the submitting task and complete where the lower device completes.

use super::bdev::Lower;
use super::bio_set::BioSet;
use super::gendisk::Shared;
use super::status::Status;
use super::{ffi, Driver};
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use kernel::bindings;
use kernel::sync::atomic::{ordering::Relaxed, Atomic};

/// What a request carries for us, behind `struct request`.
#[repr(C)]
pub(super) struct Pdu {
    bio: MaybeUninit<bindings::bio>,
    /// Pieces under way, and one for the submitter.
    remaining: Atomic<i32>,
    /// First error of a piece, a `blk_status_t`.
    status: Atomic<i32>,
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

/// Where a piece of a request goes.
pub struct Place<'a> {
    pub lower: &'a Lower,
    pub sector: u64,
    pub sectors: u64,
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
        unsafe { &*self.shared().live.get() }
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

    /// Sends a request with one bio to one place below. Whoever is asked for a device sees what live requests use.
    #[inline]
    pub fn submit_whole<F>(self, lower: F, sector: u64) -> Result<(), Status>
    where
        F: FnOnce(&D::Live) -> Option<&Lower>,
    {
        let lower = lower(self.live()).ok_or(Status::IOERR)?;
        // SAFETY: The request is live and has a bio; the embedded one is unused, as each request is sent once; the
        // lower device outlives the request, as it is part of what live requests use.
        unsafe {
            let bio = (*self.0).bio;
            let clone = (&raw mut (*self.pdu()).bio).cast::<bindings::bio>();
            if bindings::bio_init_clone(lower.as_ptr(), clone, bio, ffi::GFP_NOIO) != 0 {
                return Err(Status::RESOURCE);
            }
            (*clone).bi_opf = self.clone_flags(bio);
            (*clone).bi_iter.bi_sector = sector;
            (*clone).bi_end_io = Some(whole_end_io::<D>);
            // The request may have ended when this returns.
            bindings::submit_bio_noacct(clone);
        }
        Ok(())
    }

    /// Sends a request as pieces. `place` says where the beginning of a range (sector, sectors) goes.
    pub fn submit_pieces<F>(self, pool: &BioSet, place: F)
    where
        F: for<'a> Fn(&'a D::Live, u64, u64) -> Result<Place<'a>, Status>,
    {
        self.begin();
        let mut plug = MaybeUninit::<bindings::blk_plug>::uninit();
        // SAFETY: The plug is on this stack until it is finished below.
        unsafe { bindings::blk_start_plug(plug.as_mut_ptr()) };
        // SAFETY: A live request, by the type invariant; it cannot end before `settle` below.
        let mut bio = unsafe { (*self.0).bio };
        while !bio.is_null() {
            // SAFETY: A bio of the live request.
            let (mut sector, mut left) = unsafe { ((*bio).bi_iter.bi_sector, u64::from((*bio).bi_iter.bi_size >> 9)) };
            let mut done = 0;
            while left > 0 {
                let sent = place(self.live(), sector, left).and_then(|to| {
                    let length = to.sectors.min(left);
                    // SAFETY: A bio of the live request, and a range inside it.
                    unsafe { self.submit_piece(pool, bio, &to, done, length) }?;
                    Ok(length)
                });
                match sent {
                    Ok(length) if length > 0 => {
                        sector = sector.wrapping_add(length);
                        done = done.wrapping_add(length);
                        left = left.wrapping_sub(length);
                    }
                    other => {
                        // SAFETY: A bio of the live request.
                        unsafe { self.fail(bio, other.err().unwrap_or(Status::IOERR)) };
                        break;
                    }
                }
            }
            // SAFETY: A bio of the live request.
            bio = unsafe { (*bio).bi_next };
        }
        // SAFETY: Started above.
        unsafe { bindings::blk_finish_plug(plug.as_mut_ptr()) };
        self.settle();
    }

    /// Asks all these devices to write their caches out.
    pub fn submit_flush<F>(self, pool: &BioSet, lowers: F)
    where
        F: FnOnce(&D::Live) -> &[Lower],
    {
        self.begin();
        for lower in lowers(self.live()) {
            let opf = bindings::req_op_REQ_OP_WRITE | ffi::REQ_PREFLUSH;
            // SAFETY: The lower device outlives the request.
            match unsafe { pool.empty_bio(lower.as_ptr(), opf, self.0) } {
                // SAFETY: A new bio, with its `Front` filled.
                Ok(bio) => unsafe { self.launch(bio.as_ptr()) },
                // SAFETY: A flush has no bio of its own.
                Err(status) => unsafe { self.fail(core::ptr::null_mut(), status) },
            }
        }
        self.settle();
    }

    fn begin(&self) {
        // SAFETY: The pdu belongs to this request; nobody else uses it before the first piece is sent.
        let pdu = unsafe { &*self.pdu() };
        pdu.remaining.store(1, Relaxed);
        pdu.status.store(0, Relaxed);
    }

    /// # Safety
    ///
    /// `bio` is a bio of this request, and the range lies inside it.
    unsafe fn submit_piece(
        &self,
        pool: &BioSet,
        bio: *mut bindings::bio,
        to: &Place<'_>,
        offset: u64,
        sectors: u64,
    ) -> Result<(), Status> {
        // SAFETY: By contract; the lower device and the bio outlive the request.
        let clone = unsafe { pool.clone_bio(to.lower.as_ptr(), bio, self.0) }?.as_ptr();
        // SAFETY: The clone is ours until it is launched.
        unsafe {
            bindings::bio_trim(clone, offset, sectors);
            (*clone).bi_iter.bi_sector = to.sector;
            (*clone).bi_opf = self.clone_flags(bio);
            self.launch(clone);
        }
        Ok(())
    }

    /// # Safety
    ///
    /// `bio` is a new bio of a [`BioSet`], made for this request.
    unsafe fn launch(&self, bio: *mut bindings::bio) {
        // SAFETY: The pdu belongs to this request, which the submitter's count keeps from ending; `bio` by contract.
        unsafe {
            (*self.pdu()).remaining.add(1, Relaxed);
            (*bio).bi_end_io = Some(piece_end_io::<D>);
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
        if pdu.remaining.fetch_sub(1, kernel::sync::atomic::ordering::Full) != 1 {
            return;
        }
        let status = Status(pdu.status.load(Relaxed) as u8);
        if status == Status::OK {
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
    // SAFETY: The queue's data outlives the request; a new borrow, because the request is given away.
    let shared = unsafe { &*(*(*rq).q).queuedata.cast::<Shared<D>>() };
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
        Request::<D>(bio.cast::<bindings::request>().sub(1), PhantomData).end(status);
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
            request.fail((*front).parent, status);
        }
        bindings::bio_put(bio);
        request.settle();
    }
}
