// SPDX-License-Identifier: GPL-2.0

//! Safe wrappers over what Stor uses of the kernel's C: one C structure per file, under its C name.
//!
//! All `unsafe` of the modules is in this folder and at the two module edges (`front/edge.rs`, `engine/edge.rs`).
//! Rules that the types here enforce, so that callers need not know them:
//!
//! - a [`request::Request`] is live, and whoever holds it must end it or hand it to lower devices, once;
//! - what requests use ([`Driver::Live`]) is reached through a live request, and changed only through a
//!   [`gendisk::Frozen`] queue;
//! - dropping a wrapper undoes what made it, in an order that the types' nesting gives.
//!
//! Differences between kernel versions live here: in [`errno`], [`module`], [`miscdevice`] and `shim.c`, so far
//! without a line that is chosen by version.

pub mod bdev;
pub mod bio_set;
pub mod clock;
pub mod cpu;
pub mod crc;
pub mod deferred;
pub mod errno;
pub mod ffi;
pub mod gendisk;
pub mod io;
pub mod miscdevice;
pub mod module;
pub mod noio;
mod plug;
pub mod queue_limits;
pub mod request;
pub mod status;
pub mod tag_set;
pub mod wait;
pub mod work;
pub mod workqueue;

use crate::abi::engine::Op;

/// A driver of disks: what the block layer calls.
pub trait Driver: Sized + Send + Sync + 'static {
    /// What live requests use. It changes only while the disk's queue is frozen.
    type Live: Send + Sync;

    /// Takes a live request. An error ends it with that status.
    fn queue(&self, request: request::Request<Self>) -> Result<(), status::Status>;

    /// The devices below, in the order that the bits of a flush count them.
    fn lowers(live: &Self::Live) -> impl Iterator<Item = &bdev::Lower>;

    /// A lower device that something is spread over, and where the disk's part of it begins.
    fn leg(live: &Self::Live, index: u32) -> Option<(&bdev::Lower, u64)>;

    /// A piece that was answered with a token has ended; it was these sectors (first, count) of the disk. If it was spread,
    /// `failed` are the devices that failed it. Any context.
    fn unpin(live: &Self::Live, token: u32, status: status::Status, failed: u32, range: (u64, u64));

    /// A lower device has failed its part of what was spread, or a flush. Any context.
    fn lost(live: &Self::Live, lower: u32, op: Op, status: status::Status);

    /// Whether [`settle`](Self::settle) is to be asked.
    fn settles(live: &Self::Live) -> bool;

    /// How a request ends whose pieces have ended, and that was spread, was a flush, or has failed with this status; `lost` are the
    /// lower devices that lack some of it. Any context.
    fn settle(live: &Self::Live, range: request::Range, status: status::Status, lost: u32) -> request::Ended;

    /// Settles a request that lower devices are done with, just before it ends. Any context.
    fn end(&self, request: &request::Request<Self>, status: status::Status);

    /// The node is opened; refuse if the disk is going away.
    fn open(&self) -> kernel::error::Result;

    /// The node is closed.
    fn release(&self);
}
