// SPDX-License-Identifier: GPL-2.0

//! A pool: its parts, and its life. What its volumes' I/O needs of it is in [`Inner`], all else in [`State`], under a lock.

use super::super::{Config, PoolTarget};
use super::fill::Filler;
use super::layout::Layout;
use super::map::{Entry, Leaf, Leaves, Stock, LAST_BLOCK};
use super::store::KernelStore;
use super::volume::Volume;
use super::young::{Young, Youngs, BATCH};
use crate::abi::errno;
use crate::abi::uapi::{self, stor_pool_change, stor_pool_device, stor_pool_facts, stor_pool_item};
use crate::block::deferred::DeferredList;
use crate::block::noio::NoIo;
use crate::block::status::Status;
use crate::block::wait::Wait;
use crate::block::workqueue::{Job, Run, WorkQueue};
use crate::engine::edge::Listener;
use crate::pure::thin::error::Error as Refusal;
use crate::pure::thin::pool::{Options, Pool};
use kernel::prelude::*;
use kernel::sync::atomic::{ordering::Relaxed, ordering::Release, Atomic};
use kernel::sync::{Arc, Mutex, SpinLock};
use kernel::{new_mutex, new_spinlock};

/// Metadata blocks that are kept in memory: 16 MiB.
const FRAMES: usize = 4096;
/// Windows for streams of writes.
const STREAMS: usize = 64;

/// A thin pool.
pub struct ThinPool {
    pub(super) inner: Arc<Inner>,
    pub(super) job: Job<Worker>,
}

/// The pool's worker.
pub(super) struct Worker(Arc<Inner>);

impl Run for Worker {
    fn run(&self) -> Option<u32> {
        let _noio = NoIo::enter();
        self.0.work()
    }
}

/// What I/O looks at.
pub(super) struct Inner {
    pub(super) layout: Arc<Layout>,
    /// Sectors of a data block.
    pub(super) block_sectors: u64,
    pub(super) leaves: Leaves,
    pub(super) youngs: Youngs,
    /// Where what waits for I/O waits.
    pub(super) wait: Wait,
    /// `STOR_POOL_*`.
    pub(super) mode: Atomic<u32>,
    /// Not 0: the worker will not run unless it is asked to.
    pub(super) asleep: Atomic<u32>,
    /// The last transaction that is durable.
    pub(super) committed: Atomic<u64>,
    /// What waits for the worker.
    pub(super) queue: Pin<KBox<SpinLock<DeferredList>>>,
    pub(super) state: Pin<KBox<Mutex<State>>>,
    pub(super) listener: Listener,
    read_only: bool,
}

/// All else.
pub(super) struct State {
    /// The metadata, while the pool is loaded.
    pub(super) metadata: Option<KBox<Pool<KernelStore>>>,
    /// The same while it is not: with its memory, so that loading takes none.
    closed: Option<KBox<Pool<KernelStore>>>,
    /// By their numbers.
    pub(super) volumes: KVec<Option<Arc<Volume>>>,
    pub(super) stock: Stock,
    /// Flushes that wait for a commit.
    pub(super) flushes: DeferredList,
    /// Writes that wait for room.
    pub(super) full: DeferredList,
    /// The number of the transaction that is open.
    pub(super) transaction: u64,
    /// Devices that are being deleted.
    pub(super) deleting: KVec<u64>,
    pub(super) filler: Filler,
    /// For those that are being settled, and their order in the volume.
    pub(super) sealed: KVec<Young>,
    pub(super) order: KVec<(u64, u32)>,
    pub(super) settings: Settings,
    pub(super) commits: u64,
    pub(super) last_error: i32,
    /// Whether an event told of low water, since it was last above.
    pub(super) told_low: bool,
    /// When the next commit in the background is due; 0 if there is nothing to commit.
    pub(super) due: u64,
}

/// What may change while the pool is open.
#[derive(Clone, Copy)]
pub(super) struct Settings {
    pub(super) policy: u32,
    pub(super) timeout: u32,
    pub(super) interval: u32,
    /// Whether what is not written of a new block is made zeros.
    pub(super) zero: bool,
    /// In data blocks.
    pub(super) low_water: u64,
    /// Data blocks that volumes without a reservation do not get.
    pub(super) reserve: u64,
}

impl Settings {
    fn of(layout: &Layout) -> Self {
        let head = &layout.head;
        let size = u64::from(head.data_block_size);
        Self {
            policy: head.policy,
            timeout: head.timeout,
            interval: if head.commit_interval == 0 { 1000 } else { head.commit_interval },
            zero: head.flags & uapi::STOR_POOL_NO_ZERO == 0,
            low_water: head.low_water.checked_div(size).unwrap_or(0),
            reserve: head.reserve.checked_div(size).unwrap_or(0),
        }
    }
}

/// What a refusal is to user space.
pub(super) fn errno_of(refusal: &Refusal) -> Error {
    match refusal {
        Refusal::Memory => ENOMEM,
        Refusal::Damaged(..) => errno::EUCLEAN.into(),
        Refusal::Refused(_) => errno::EILSEQ.into(),
        Refusal::MetadataFull | Refusal::DataFull | Refusal::Truncated { .. } | Refusal::ClockEnd => ENOSPC,
        Refusal::NeedsCheck | Refusal::ReadOnly => EROFS,
        Refusal::TransactionId(_) => errno::ESTALE.into(),
        Refusal::Held(_) | Refusal::DeviceExists(_) => EEXIST,
        Refusal::NotHeld | Refusal::NoDevice(_) => ENOENT,
        Refusal::DeviceId(_) | Refusal::Range(_) => EINVAL,
        Refusal::Shrink { .. } => ERANGE,
        _ => EIO,
    }
}

/// A pool's metadata that was not read yet. Apart, because it is large while it is made.
#[inline(never)]
fn open_later(layout: &Arc<Layout>, read_only: bool) -> Result<KBox<Pool<KernelStore>>> {
    let mut passdown = layout.head.flags & uapi::STOR_POOL_NO_PASSDOWN == 0;
    layout.data.devices(|device| {
        passdown &= device.has_discard();
        Ok(())
    })?;
    let options = Options { frames: FRAMES, streams: STREAMS, passdown };
    let store = KernelStore::new(layout.clone())?;
    boxed(Pool::closed(store, options, read_only))
}

/// Its frame has what would be too much in another one.
#[inline(never)]
fn boxed(pool: core::result::Result<Pool<KernelStore>, Refusal>) -> Result<KBox<Pool<KernelStore>>> {
    match pool {
        Ok(pool) => Ok(KBox::new(pool, GFP_KERNEL)?),
        Err(refusal) => Err(errno_of(&refusal)),
    }
}

impl PoolTarget for ThinPool {
    const NAME: &'static str = "thin";

    fn prepare(config: &Config<'_>) -> Result<Arc<Self>> {
        let layout = Layout::new(config)?;
        let block_sectors = u64::from(layout.head.data_block_size / 512);
        if block_sectors == 0 {
            return Err(EINVAL);
        }
        let leaves = Leaves::new(crate::engine::memory::map_bytes() / Leaf::BYTES)?;
        let layout = Arc::new(layout, GFP_KERNEL)?;
        let closed = open_later(&layout, config.read_only)?;
        let state = State {
            metadata: None,
            closed: Some(closed),
            volumes: KVec::new(),
            stock: leaves.stock()?,
            flushes: DeferredList::new(),
            full: DeferredList::new(),
            transaction: 1,
            deleting: KVec::new(),
            filler: Filler::new()?,
            sealed: KVec::with_capacity(BATCH, GFP_KERNEL)?,
            order: KVec::with_capacity(BATCH, GFP_KERNEL)?,
            settings: Settings::of(&layout),
            commits: 0,
            last_error: 0,
            told_low: false,
            due: 0,
        };
        let inner = Inner {
            layout,
            block_sectors,
            leaves,
            youngs: Youngs::new()?,
            wait: Wait::new()?,
            mode: Atomic::new(uapi::STOR_POOL_WRITE),
            asleep: Atomic::new(1),
            committed: Atomic::new(0),
            queue: KBox::pin_init(new_spinlock!(DeferredList::new(), "stor_deferred"), GFP_KERNEL)?,
            state: KBox::pin_init(new_mutex!(state, "stor_thin"), GFP_KERNEL)?,
            listener: config.listener,
            read_only: config.read_only,
        };
        let inner = Arc::new(inner, GFP_KERNEL)?;
        let job = Job::new(WorkQueue::new(c"stor_thin")?, Worker(inner.clone()))?;
        Ok(Arc::new(Self { inner, job }, GFP_KERNEL)?)
    }

    fn load(&self) -> Result {
        let _noio = NoIo::enter();
        let inner = &self.inner;
        let Some(mut metadata) = inner.state.lock().closed.take() else { return Err(EBUSY) };
        let mode = match inner.load(&mut metadata) {
            Ok(mode) => mode,
            Err(error) => {
                inner.state.lock().closed = Some(metadata);
                return Err(error);
            }
        };
        let mut state = inner.state.lock();
        inner.mode.store(mode, Relaxed);
        state.metadata = Some(metadata);
        Ok(())
    }

    fn close(&self) -> Result {
        let _noio = NoIo::enter();
        self.job.stop();
        let inner = &self.inner;
        let mut state = inner.state.lock();
        let result = inner.finish(&mut state);
        state.closed = state.metadata.take();
        result
    }

    fn settle(&self) {
        let _noio = NoIo::enter();
        let mut state = self.inner.state.lock();
        // Twice: what is written to meanwhile is little.
        for _ in 0..2 {
            self.inner.commit_all(&mut state);
        }
    }

    fn reload(&self, config: &Config<'_>) -> Result {
        let _noio = NoIo::enter();
        let new = Layout::new(config)?;
        let inner = &self.inner;
        if new.head.data_block_size != inner.layout.head.data_block_size {
            return Err(EINVAL);
        }
        inner.layout.metadata.extends(&new.metadata)?;
        inner.layout.data.extends(&new.data)?;
        {
            let mut state = inner.state.lock();
            let state = &mut *state;
            inner.layout.metadata.extend(&new.metadata)?;
            inner.layout.data.extend(&new.data)?;
            state.settings = Settings::of(&new);
            let metadata = state.metadata.as_mut().ok_or(ENODEV)?;
            if inner.mode.load(Relaxed) < uapi::STOR_POOL_STUCK {
                inner.grow(metadata).map_err(|refusal| errno_of(&refusal))?;
                inner.commit(state).map_err(|status| kernel::error::Error::from_errno(-status.errno()))?;
                inner.set_mode(uapi::STOR_POOL_WRITE);
            }
        }
        self.job.schedule();
        Ok(())
    }

    fn change(&self, change: &mut stor_pool_change, items: &[stor_pool_item]) -> Result {
        let _noio = NoIo::enter();
        let changed = self.inner.change(change, items);
        self.job.schedule();
        changed
    }

    fn facts(&self, facts: &mut stor_pool_facts) -> Result {
        let _noio = NoIo::enter();
        self.inner.facts(facts)
    }

    fn device(&self, device: &mut stor_pool_device) -> Result {
        let _noio = NoIo::enter();
        self.inner.device(device)
    }

    fn geometry(&self) -> (u64, u32) {
        (self.inner.layout.data.mask(), self.inner.layout.head.data_block_size)
    }
}

impl Inner {
    /// Whether it was opened for reading only.
    pub(super) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Data blocks that so many bytes take.
    pub(super) fn blocks_of(&self, bytes: u64) -> u64 {
        bytes.div_ceil(u64::from(self.layout.head.data_block_size))
    }

    /// Data blocks that the devices have room for.
    fn data_blocks(&self) -> u64 {
        self.layout.data.sectors().checked_div(self.block_sectors).unwrap_or(0).min(LAST_BLOCK)
    }

    /// Reads the metadata; the mode that the pool begins with.
    fn load(&self, metadata: &mut Pool<KernelStore>) -> Result<u32> {
        metadata.abort().map_err(|refusal| self.refuse(&refusal))?;
        if u64::from(metadata.data_block_size()) != self.block_sectors {
            return Err(errno::EILSEQ.into());
        }
        if self.data_blocks() < metadata.data_blocks() {
            return Err(ENOSPC);
        }
        if self.read_only || metadata.needs_check() {
            return Ok(uapi::STOR_POOL_STUCK);
        }
        let grown = self.grow(metadata).and_then(|()| metadata.commit());
        grown.map_err(|refusal| self.refuse(&refusal))?;
        Ok(uapi::STOR_POOL_WRITE)
    }

    /// Takes in what the devices have more than the metadata says.
    fn grow(&self, metadata: &mut Pool<KernelStore>) -> Result<(), Refusal> {
        metadata.grow_metadata()?;
        if self.data_blocks() > metadata.data_blocks() {
            metadata.grow_data(self.data_blocks())?;
        }
        Ok(())
    }

    /// Says why a pool cannot be opened; what it is to user space.
    fn refuse(&self, refusal: &Refusal) -> Error {
        pr_err!("thin pool cannot be opened: {}\n", core::format_args!("{refusal}"));
        errno_of(refusal)
    }

    /// Notes a mode, and tells of it.
    pub(super) fn set_mode(&self, mode: u32) {
        if self.mode.load(Relaxed) != mode {
            self.mode.store(mode, Relaxed);
            self.listener.tell(uapi::STOR_EVENT_POOL_MODE, u64::from(mode));
        }
    }

    /// The open transaction has become durable.
    pub(super) fn settled(&self, state: &mut State) {
        self.committed.store(state.transaction, Release);
        state.transaction = state.transaction.wrapping_add(1);
        state.commits = state.commits.wrapping_add(1);
    }

    /// A volume is opened. ENOENT, EBUSY.
    pub(super) fn open(&self, volume: &Arc<Volume>) -> Result {
        let _noio = NoIo::enter();
        let mut state = self.state.lock();
        let state = &mut *state;
        let metadata = state.metadata.as_mut().ok_or(ENODEV)?;
        let details = metadata.details(volume.device).map_err(|refusal| errno_of(&refusal))?;
        if state.deleting.contains(&volume.device) || self.volume_of(state, volume.device).is_some() {
            return Err(EBUSY);
        }
        let number = match state.volumes.iter().position(Option::is_none) {
            Some(number) => number,
            None => {
                state.volumes.push(None, GFP_KERNEL)?;
                state.volumes.len().wrapping_sub(1)
            }
        };
        let place = state.volumes.get_mut(number).ok_or(ENOMEM)?;
        volume.snapped.store(details.snapshotted_time.get(), Relaxed);
        volume.number.store(number as u32, Relaxed);
        volume.lost.store(0, Relaxed);
        volume.spoiled.store(0, Relaxed);
        volume.stopped.store(0, Relaxed);
        *place = Some(volume.clone());
        Ok(())
    }

    /// A volume is closed; no request of it is live.
    pub(super) fn shut(&self, volume: &Arc<Volume>) -> Result {
        let _noio = NoIo::enter();
        let mut state = self.state.lock();
        let state = &mut *state;
        let number = volume.number.load(Relaxed);
        let result = match self.settle(state, volume).and_then(|()| self.commit(state)) {
            Ok(()) => Ok(()),
            Err(status) => Err(kernel::error::Error::from_errno(-status.errno())),
        };
        self.take_reserve(state, volume);
        self.drop_young(state, volume);
        volume.map.clear(|index| state.stock.put(&self.leaves, index));
        if let Some(place) = state.volumes.get_mut(number as usize) {
            *place = None;
        }
        volume.number.store(u32::MAX, Relaxed);
        result
    }

    /// The volume that a device is, if it is open.
    pub(super) fn volume_of<'a>(&self, state: &'a State, device: u64) -> Option<&'a Arc<Volume>> {
        state.volumes.iter().flatten().find(|volume| volume.device == device)
    }

    /// Leaves nothing undone: the pool is closed.
    fn finish(&self, state: &mut State) -> Result {
        self.queue.lock().take().end(Status::IOERR);
        state.full.take().end(Status::IOERR);
        let result = self.commit(state);
        state.flushes.take().end(Status::IOERR);
        result.map_err(|status| kernel::error::Error::from_errno(-status.errno()))
    }

    fn facts(&self, facts: &mut stor_pool_facts) -> Result {
        let state = self.state.lock();
        let metadata = state.metadata.as_ref().ok_or(ENODEV)?;
        let block = u64::from(self.layout.head.data_block_size);
        let full = match self.mode.load(Relaxed) {
            uapi::STOR_POOL_METADATA_FULL => uapi::STOR_WAIT_METADATA_FULL,
            _ => uapi::STOR_WAIT_DATA_FULL,
        };
        let queue = self.queue.lock();
        let waits = [
            (uapi::STOR_WAIT_METADATA, queue.since()),
            (uapi::STOR_WAIT_COMMIT, state.flushes.since()),
            (full, state.full.since()),
        ];
        let first = waits.into_iter().filter_map(|(wait, since)| Some((since?, wait))).min();
        let waiting = queue.len().wrapping_add(state.flushes.len()).wrapping_add(state.full.len());
        drop(queue);
        let volumes: usize = state.volumes.iter().flatten().map(|volume| volume.memory()).sum();
        let memory = Leaves::memory(&state.stock)
            .wrapping_add(self.youngs.memory())
            .wrapping_add(volumes)
            .wrapping_add(state.filler.memory())
            .wrapping_add(FRAMES * 4096)
            .wrapping_add((metadata.metadata_blocks() as usize).wrapping_mul(4));
        *facts = stor_pool_facts {
            mode: self.mode.load(Relaxed),
            flags: (if metadata.needs_check() { uapi::STOR_POOL_NEEDS_CHECK } else { 0 })
                | (if self.read_only { uapi::STOR_POOL_OPENED_READ_ONLY } else { 0 }),
            data_size: metadata.data_blocks().wrapping_mul(block),
            data_used: metadata.data_used().wrapping_mul(block),
            metadata_size: metadata.metadata_blocks().wrapping_mul(4096),
            metadata_used: metadata.metadata_blocks().wrapping_sub(metadata.metadata_free()).wrapping_mul(4096),
            metadata_reserve: metadata.reserve().wrapping_mul(4096),
            transaction: metadata.transaction_id(),
            held_root: metadata.held_root().map_or(0, |at| at.0),
            snapshots_left: metadata.snapshots_left(),
            deleting: state.deleting.len() as u64,
            waiting,
            wait_since: first.map_or(0, |(since, _)| since),
            memory: memory as u64,
            commits: state.commits,
            wait: first.map_or(uapi::STOR_WAIT_NONE, |(_, wait)| wait),
            last_error: state.last_error,
        };
        Ok(())
    }

    fn device(&self, device: &mut stor_pool_device) -> Result {
        let mut state = self.state.lock();
        let state = &mut *state;
        let block = u64::from(self.layout.head.data_block_size);
        device.state = 0;
        if let Some(volume) = self.volume_of(state, device.device).cloned() {
            if volume.stopped.load(Relaxed) != 0 {
                device.state = uapi::STOR_POOL_DEVICE_NO_ROOM;
            }
            // What is young counts, too.
            let _ = self.settle(state, &volume);
        }
        let metadata = state.metadata.as_mut().ok_or(ENODEV)?;
        let details = metadata.details(device.device).map_err(|refusal| errno_of(&refusal))?;
        device.mapped = details.mapped_blocks.get().wrapping_mul(block);
        device.exclusive = 0;
        if device.header.flags & uapi::STOR_POOL_DEVICE_EXCLUSIVE != 0 {
            let blocks = metadata.exclusive(device.device).map_err(|refusal| errno_of(&refusal))?;
            device.exclusive = blocks.wrapping_mul(block);
        }
        device.transaction = details.transaction_id.get();
        device.created = details.creation_time.get();
        device.snapshotted = details.snapshotted_time.get();
        Ok(())
    }

    /// The entry of a block, if its leaf is in memory.
    pub(super) fn entry(&self, volume: &Volume, block: u64) -> Entry {
        volume.map.leaf(&self.leaves, block).map_or(Entry::Unknown, |leaf| leaf.get(block))
    }

    /// Notes the entry of a block, if its leaf is in memory.
    pub(super) fn note(&self, volume: &Volume, block: u64, entry: Entry) {
        if let Some(leaf) = volume.map.leaf(&self.leaves, block) {
            leaf.set(block, entry);
        }
    }
}
