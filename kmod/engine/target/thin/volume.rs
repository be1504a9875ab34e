// SPDX-License-Identifier: GPL-2.0

//! A thin volume, and the way of its I/O: what is known of its mappings is answered at once, without a lock that mapped I/O shares;
//! the rest is deferred to the pool's [worker](super::worker).

use super::super::epoch::Epoch;
use super::super::{Config, Flush, Mapped, Target};
use super::map::{Entry, Map, BLOCKS_MAX, LEAF};
use super::pool::{Inner, ThinPool};
use super::young::{Fresh, Read, Under, Write, TOKEN};
use crate::abi::engine::{Piece, ORIGIN, ZEROS_MAX};
use crate::abi::errno;
use crate::abi::uapi::{self, stor_thin_config};
use crate::block::clock;
use crate::block::deferred::Ask;
use crate::block::io::Device;
use crate::block::status::Status;
use kernel::bindings;
use kernel::prelude::*;
use kernel::sync::atomic::{ordering::Acquire, ordering::Full, ordering::Relaxed, ordering::Release, Atomic};
use kernel::sync::Arc;
use zerocopy::FromBytes;

/// Blocks of a reserve when more are asked for.
const LOW: u64 = 16;

/// What the pool and the I/O path have of a volume.
pub(super) struct Volume {
    /// In the metadata.
    pub(super) device: u64,
    /// Its place among the pool's volumes.
    pub(super) number: Atomic<u32>,
    pub(super) map: Map,
    pub(super) epoch: Epoch,
    /// When it last became the origin of a snapshot: what was mapped before is shared.
    pub(super) snapped: Atomic<u32>,
    /// Not 0: writes wait, as a snapshot is taken.
    pub(super) held: Atomic<u32>,
    /// Its young blocks, see [`super::young`].
    pub(super) fresh: Fresh,
    /// Not 0: its reserve runs out.
    pub(super) thirsty: Atomic<u32>,
    /// The transaction in which it last changed.
    pub(super) changed: Atomic<u64>,
    /// The transaction in which it last gave up blocks that I/O may still be on its way to.
    pub(super) retired: Atomic<u64>,
    /// Not 0: something that was written is lost; no flush succeeds any more.
    pub(super) lost: Atomic<u32>,
    /// Not 0: blocks that were written to are lost; the next flush tells of it.
    pub(super) spoiled: Atomic<u32>,
    /// `STOR_POLICY_*`, and the seconds that a write waits for room.
    pub(super) policy: Atomic<u32>,
    pub(super) timeout: Atomic<u32>,
    /// Not 0: there was no room, so that by its policy nothing is written any more.
    pub(super) stopped: Atomic<u32>,
    /// Data blocks of the pool that nobody else gets.
    pub(super) reservation: Atomic<u64>,
    /// What is read where it has no blocks.
    pub(super) origin: Option<Origin>,
}

/// A device that is only read.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    pub(super) device: Device,
    pub(super) sectors: u64,
}

/// A volume's object.
pub struct Thin {
    pool: Arc<ThinPool>,
    volume: Arc<Volume>,
}

/// Reads the configuration. EINVAL, EOPNOTSUPP.
fn parse(config: &Config<'_>, block_sectors: u64) -> Result<stor_thin_config> {
    let thin = stor_thin_config::read_from_bytes(config.bytes).map_err(|_| EINVAL)?;
    if thin.version != uapi::STOR_THIN_CONFIG_VERSION {
        return Err(errno::EOPNOTSUPP.into());
    }
    if thin.policy > uapi::STOR_POLICY_READ_ONLY || thin.reserved != 0 {
        return Err(EINVAL);
    }
    if config.size / 512 > BLOCKS_MAX.saturating_mul(block_sectors) {
        return Err(E2BIG);
    }
    Ok(thin)
}

impl Target for Thin {
    const NAME: &'static str = "thin";

    type Pool = ThinPool;

    fn prepare(config: &Config<'_>, pool: Option<Arc<ThinPool>>) -> Result<KBox<Self>> {
        let pool = pool.ok_or(EINVAL)?;
        let thin = parse(config, pool.inner.block_sectors)?;
        let volume = Volume {
            device: thin.device,
            number: Atomic::new(u32::MAX),
            map: Map::new()?,
            epoch: Epoch::new()?,
            snapped: Atomic::new(0),
            held: Atomic::new(0),
            fresh: Fresh::new(),
            thirsty: Atomic::new(0),
            changed: Atomic::new(0),
            retired: Atomic::new(0),
            lost: Atomic::new(0),
            spoiled: Atomic::new(0),
            policy: Atomic::new(thin.policy),
            timeout: Atomic::new(thin.timeout),
            stopped: Atomic::new(0),
            reservation: Atomic::new(pool.inner.blocks_of(thin.reservation)),
            origin: config.origin.map(|origin| Origin { device: origin.device, sectors: origin.size / 512 }),
        };
        Ok(KBox::new(Self { pool, volume: Arc::new(volume, GFP_KERNEL)? }, GFP_KERNEL)?)
    }

    fn load(&self) -> Result {
        self.pool.inner.open(&self.volume)
    }

    fn close(&self) -> Result {
        self.pool.inner.shut(&self.volume)
    }

    fn change(&self, config: &Config<'_>) -> Result {
        let thin = parse(config, self.pool.inner.block_sectors)?;
        if thin.device != self.volume.device {
            return Err(EINVAL);
        }
        self.volume.policy.store(thin.policy, Relaxed);
        self.volume.timeout.store(thin.timeout, Relaxed);
        self.volume.reservation.store(self.pool.inner.blocks_of(thin.reservation), Relaxed);
        self.volume.stopped.store(0, Relaxed);
        self.pool.job.schedule();
        Ok(())
    }

    #[inline]
    fn map(&self, ask: Ask) -> Result<Mapped, Status> {
        let read = match ask.op() {
            bindings::req_op_REQ_OP_READ => true,
            bindings::req_op_REQ_OP_WRITE | bindings::req_op_REQ_OP_WRITE_ZEROES => false,
            bindings::req_op_REQ_OP_DISCARD => return self.defer(ask),
            _ => return Err(Status::NOTSUPP),
        };
        let token = self.volume.epoch.enter();
        if !read {
            // Whoever has writes held waits for those who entered before this look.
            let held = self.volume.held.load(Acquire) != 0;
            if held || self.volume.stopped.load(Relaxed) != 0 {
                self.volume.epoch.leave(token, &self.pool.inner.wait);
                return if held { self.defer(ask) } else { Err(Status::NOSPC) };
            }
        }
        let found = match ask.op() {
            bindings::req_op_REQ_OP_WRITE_ZEROES => self.find_zeros(&ask, token),
            _ => self.find((ask.sector(), ask.sectors()), read, token),
        };
        match found {
            Some(Mapped::At(piece)) if piece.token == token => Ok(Mapped::At(piece)),
            Some(Mapped::Zeros(piece)) if piece.token == token => Ok(Mapped::Zeros(piece)),
            Some(other) => {
                self.volume.epoch.leave(token, &self.pool.inner.wait);
                Ok(other)
            }
            None => {
                self.volume.epoch.leave(token, &self.pool.inner.wait);
                self.defer(ask)
            }
        }
    }

    #[inline]
    fn unpin(&self, token: u32, status: Status, _: u32, (sector, sectors): (u64, u64)) {
        let inner = &self.pool.inner;
        if token & TOKEN == 0 {
            return self.volume.epoch.leave(token, &inner.wait);
        }
        let size = inner.block_sectors;
        let mut block = sector.checked_div(size).unwrap_or(0);
        let mut begin = sector.wrapping_sub(block.wrapping_mul(size));
        let mut left = sectors;
        while left > 0 {
            let length = left.min(size.wrapping_sub(begin));
            // What is being written to stays young, and its leaf where it is.
            if let Entry::Young(id) = inner.entry(&self.volume, block) {
                let range = (begin as u32, begin.wrapping_add(length) as u32);
                inner.youngs.wrote(id, (status != Status::OK).then_some(range), &inner.wait);
            }
            left = left.wrapping_sub(length);
            block = block.wrapping_add(1);
            begin = 0;
        }
    }

    fn hole(&self, sector: u64, sectors: u64) -> u64 {
        self.pool.inner.hole(&self.volume, sector, sectors)
    }

    fn flush(&self, ask: Ask) -> Result<Flush, Status> {
        let (volume, inner) = (&self.volume, &self.pool.inner);
        if volume.lost.load(Relaxed) != 0 {
            return Err(Status::IOERR);
        }
        let spoiled = volume.spoiled.load(Relaxed) != 0;
        if !spoiled && volume.fresh.is_empty() && volume.changed.load(Acquire) <= inner.committed.load(Acquire) {
            return Ok(Flush::Lowers(inner.layout.data.mask()));
        }
        self.defer(ask)?;
        Ok(Flush::Deferred)
    }
}

impl Thin {
    /// Gives a request to the worker.
    #[cold]
    fn defer(&self, ask: Ask) -> Result<Mapped, Status> {
        if self.pool.inner.mode.load(Relaxed) == uapi::STOR_POOL_FAILED {
            return Err(Status::IOERR);
        }
        self.pool.inner.queue.lock().push(ask.keep(self.volume.number.load(Relaxed), clock::now()));
        self.pool.job.schedule();
        Ok(Mapped::Deferred)
    }

    /// Where the beginning of a range is, if that is known and nothing has to happen before it is read, or written to. A piece
    /// with another token than ours, and what is nowhere, need ours no more.
    #[inline]
    fn find(&self, (sector, sectors): (u64, u64), read: bool, token: u32) -> Option<Mapped> {
        let inner: &Inner = &self.pool.inner;
        let size = inner.block_sectors;
        let block = sector.checked_div(size)?;
        let offset = sector.wrapping_sub(block.wrapping_mul(size));
        let end = sector.wrapping_add(sectors);
        let leaf = self.volume.map.leaf(&inner.leaves, block)?;
        leaf.touch();
        // How many blocks the range and the leaf have from this one on.
        let last = end.wrapping_sub(1).checked_div(size)?;
        let most = last.wrapping_sub(block).min((LEAF - 1).wrapping_sub(block % LEAF)).wrapping_add(1);
        let entry = leaf.get(block);
        let snapped = if read { 0 } else { self.volume.snapped.load(Acquire) };
        let young = matches!(entry, Entry::Young(_)) || Under::of(entry, snapped).is_some();
        if !read && young {
            return self.write_young(&Write {
                leaf,
                block,
                begin: offset,
                sectors: end.wrapping_sub(sector),
                most,
                snapped,
            });
        }
        match entry {
            Entry::Unknown => None,
            Entry::Hole => {
                let blocks = (1..most).take_while(|&more| leaf.get(block.wrapping_add(more)) == Entry::Hole).count();
                let sectors = (blocks as u64).wrapping_add(1).wrapping_mul(size).wrapping_sub(offset);
                Some(self.nowhere(sector, sectors, token))
            }
            Entry::Young(id) => {
                // A block has less than 2^32 sectors.
                let end = size.min(offset.saturating_add(sectors));
                let owner = self.volume.number.load(Relaxed);
                match inner.youngs.read(owner, id, block, offset as u32, end as u32) {
                    Read::Data(data, sectors) => {
                        let place = inner.layout.data.find(data.wrapping_mul(size).wrapping_add(offset))?;
                        let sectors = u64::from(sectors).min(place.sectors);
                        Some(Mapped::At(Piece { sector: place.sector, sectors, lower: place.lower, token }))
                    }
                    Read::Blank(sectors) => Some(self.nowhere(sector, u64::from(sectors), token)),
                    Read::Wait => None,
                }
            }
            Entry::Mapped(first) => {
                let mut blocks = 1;
                while blocks < most {
                    match leaf.get(block.wrapping_add(blocks)) {
                        Entry::Mapped(next)
                            if next.block.0 == first.block.0.wrapping_add(blocks) && next.time >= snapped => {}
                        _ => break,
                    }
                    blocks = blocks.wrapping_add(1);
                }
                let below = first.block.0.wrapping_mul(size).wrapping_add(offset);
                let place = inner.layout.data.find(below)?;
                let sectors = blocks.wrapping_mul(size).wrapping_sub(offset).min(place.sectors);
                Some(Mapped::At(Piece { sector: place.sector, sectors, lower: place.lower, token }))
            }
        }
    }

    /// Where zeros are to be written, if a range begins there that is to be zeros. Whole blocks the worker gives up; where there is
    /// none, nothing is to be done.
    #[cold]
    fn find_zeros(&self, ask: &Ask, token: u32) -> Option<Mapped> {
        let (sector, size) = (ask.sector(), self.pool.inner.block_sectors);
        let mut sectors = ask.sectors().min(ZEROS_MAX);
        if self.volume.gives_up(ask.keeps_space()) {
            let block = sector.checked_div(size)?;
            let rest = size.wrapping_sub(sector.wrapping_sub(block.wrapping_mul(size)));
            if self.volume.map.leaf(&self.pool.inner.leaves, block)?.get(block) == Entry::Hole {
                return Some(Mapped::Nowhere(rest));
            }
            if rest == size && ask.sectors() >= size {
                return None;
            }
            sectors = sectors.min(rest);
        }
        match self.find((sector, sectors), false, token)? {
            Mapped::At(piece) => Some(Mapped::Zeros(piece)),
            other => Some(other),
        }
    }

    /// What sectors have for which there is no block: zeros, or what the origin has.
    #[inline]
    fn nowhere(&self, sector: u64, sectors: u64, token: u32) -> Mapped {
        match self.volume.origin.map(|origin| origin.sectors.saturating_sub(sector).min(sectors)) {
            None | Some(0) => Mapped::Nowhere(sectors),
            Some(sectors) => Mapped::At(Piece { sector, sectors, lower: ORIGIN, token }),
        }
    }

    /// Where a write goes that begins in a young block, or in one that has to become young.
    fn write_young(&self, write: &Write<'_>) -> Option<Mapped> {
        let (volume, inner): (&Volume, &Inner) = (&self.volume, &self.pool.inner);
        if inner.mode.load(Relaxed) != uapi::STOR_POOL_WRITE && !matches!(write.leaf.get(write.block), Entry::Young(_))
        {
            return None;
        }
        let owner = volume.number.load(Relaxed);
        let written = inner.youngs.write(owner, &volume.fresh, write, &inner.layout.data, inner.block_sectors)?;
        if written.made {
            if written.left <= LOW && volume.thirsty.cmpxchg(0, 1, Relaxed).is_ok() {
                self.pool.job.schedule();
            }
            // The worker looks for young blocks after it has said that it goes to sleep.
            if inner.asleep.cmpxchg(1, 0, Full).is_ok() {
                self.pool.job.schedule();
            }
        }
        Some(Mapped::At(written.piece))
    }
}

impl Volume {
    /// Something of it changes in this transaction.
    pub(super) fn change_in(&self, transaction: u64) {
        self.changed.store(transaction, Release);
    }

    /// Whether blocks are given up that are to be zeros: whoever asks may want to have them, or something else might be read in their place.
    pub(super) fn gives_up(&self, keeps_space: bool) -> bool {
        !keeps_space && self.origin.is_none()
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        size_of::<Self>().wrapping_add(self.map.memory()).wrapping_add(self.epoch.memory())
    }
}
