// SPDX-License-Identifier: GPL-2.0

//! Where the front and an engine meet: calls into engine code, what engines call, and the one [`Front`].
//!
//! # Safety of calling an engine
//!
//! An [`Engine`] is in the registry only between `stor_engine_register` and `stor_engine_unregister`, both of which
//! take the state lock; whoever uses one holds that lock. An [`Object`] holds a reference to its engine's module, so
//! the code behind it stays as long as it does.

use super::event::Event;
use super::notice::{Label, Notices};
use super::volume::Volume;
use super::Front;
use crate::abi::engine::{
    Deferral, EngineOps, ObjectConfig, ObjectOps, Op, Piece, PoolOps, DEFERRED, ENGINE_ABI, NOTHING, SPREAD,
    SPREAD_MAX, ZEROS, ZEROS_MAX,
};
use crate::abi::{engine, errno, uapi};
use crate::block::gendisk::Disk;
use crate::block::miscdevice::MiscDevice;
use crate::block::module::ModuleRef;
use crate::block::request::{self, Ended, Range};
use crate::block::status::Status;
use crate::pure::text;
use core::ffi::{c_int, c_void};
use core::mem::{size_of, MaybeUninit};
use core::ptr::NonNull;
use kernel::bindings;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::sync::atomic::{ordering::Acquire, ordering::Release, Atomic};
use kernel::sync::Arc;

static FRONT: Atomic<*mut Front> = Atomic::new(core::ptr::null_mut());

/// The front, from when the module is loaded until it is unloaded.
pub fn front() -> Option<&'static Front> {
    // SAFETY: Set in `publish` to a pinned box, and cleared when nothing of this module can run any more.
    unsafe { FRONT.load(Acquire).as_ref() }
}

/// Keeps the front and its control node; dropping it takes everything down.
pub struct Published {
    node: Option<MiscDevice<super::control::Control>>,
    front: Pin<KBox<Front>>,
}

/// Makes the front and shows the control node.
pub fn publish() -> Result<Published> {
    let front = KBox::pin_init(Front::new(), GFP_KERNEL)?;
    FRONT.store((&raw const *front).cast_mut(), Release);
    let mut published = Published { node: None, front };
    published.node = Some(MiscDevice::register(c"stor-control", 0o644)?);
    pr_info!("front {}: control ABI {}, engine ABI {}\n", super::VERSION, uapi::STOR_ABI_VERSION, ENGINE_ABI);
    Ok(published)
}

impl Drop for Published {
    fn drop(&mut self) {
        // The module count was zero: the node is closed, no engine is loaded, no volume is open. Volumes that no
        // engine drives may still be there.
        self.node = None;
        let (volumes, pools) = self.front.lock().take_all();
        drop(volumes);
        drop(pools);
        FRONT.store(core::ptr::null_mut(), Release);
    }
}

/// An engine that has registered.
pub struct Engine {
    ops: NonNull<EngineOps>,
}

// SAFETY: An engine's operations may be called from any thread.
unsafe impl Send for Engine {}

/// Text of a version field.
pub type Version = [u8; engine::TEXT];

impl Engine {
    /// Its version.
    pub fn version(&self) -> Version {
        // SAFETY: Registered; see the head of this file.
        unsafe { self.ops.as_ref() }.version
    }

    /// Makes an object; it is not loaded yet. The listener, which is the configuration's, is told by `stor_event` what happens to it.
    pub fn prepare(&self, config: &ObjectConfig, listener: &Arc<Notices>) -> Result<Object> {
        // SAFETY: Registered; see the head of this file.
        let ops = unsafe { self.ops.as_ref() };
        // SAFETY: The module cannot go: it would have to unregister first.
        let module = unsafe { ModuleRef::get(ops.module) }?;
        let mut object = MaybeUninit::<engine::Object>::uninit();
        // SAFETY: The engine's code is loaded; it fills `object` when it answers 0.
        let object = unsafe {
            to_result((ops.prepare)(config, object.as_mut_ptr()))?;
            object.assume_init()
        };
        // SAFETY: The operations live as long as the module, which `module` keeps.
        let table: &'static ObjectOps = unsafe { &*object.ops };
        Ok(Object {
            context: object.context,
            map: table.map,
            end: table.end,
            table,
            starts: NonNull::new(object.starts.cast_mut()),
            loaded: false,
            _module: module,
            _listener: listener.clone(),
        })
    }

    /// Makes a pool; it is not loaded yet. The listener as of an object.
    pub fn prepare_pool(&self, config: &ObjectConfig, listener: &Arc<Notices>) -> Result<Pool> {
        // SAFETY: Registered; see the head of this file.
        let ops = unsafe { self.ops.as_ref() };
        // SAFETY: The module cannot go: it would have to unregister first.
        let module = unsafe { ModuleRef::get(ops.module) }?;
        let mut pool = MaybeUninit::<engine::Pool>::uninit();
        // SAFETY: The engine's code is loaded; it fills `pool` when it answers 0. The listener lives as long as the pool.
        let pool = unsafe {
            to_result((ops.prepare_pool)(config, pool.as_mut_ptr()))?;
            pool.assume_init()
        };
        // SAFETY: The operations live as long as the module, which `module` keeps.
        let table: &'static PoolOps = unsafe { &*pool.ops };
        Ok(Pool {
            context: pool.context,
            table,
            data: pool.data,
            block_size: pool.block_size,
            loaded: Atomic::new(0),
            _module: module,
            _listener: listener.clone(),
        })
    }
}

/// An object of an engine. Dropping it closes and frees it.
///
/// # Invariants
///
/// `context` belongs to `table`, whose module `_module` keeps loaded; `loaded` is whether `load` came after `close`.
pub struct Object {
    context: *mut c_void,
    map: unsafe extern "C" fn(*mut c_void, *mut Deferral, *mut Piece) -> u32,
    end: Option<unsafe extern "C" fn(*mut c_void, u32)>,
    table: &'static ObjectOps,
    /// Of an object that spreads: [`SPREAD_MAX`] sectors.
    starts: Option<NonNull<u64>>,
    loaded: bool,
    _module: ModuleRef,
    _listener: Arc<Notices>,
}

// SAFETY: The ABI lets an object be used from any thread.
unsafe impl Send for Object {}
// SAFETY: `map` and others, which take `&self`, may be called concurrently by the ABI.
unsafe impl Sync for Object {}

impl Object {
    /// Reads its state; no request may be live.
    pub fn load(&mut self) -> Result {
        // SAFETY: By the type invariant.
        to_result(unsafe { (self.table.load)(self.context) })?;
        self.loaded = true;
        Ok(())
    }

    /// Writes its state; no request may be live.
    pub fn close(&mut self) -> Result {
        self.loaded = false;
        // SAFETY: By the type invariant.
        to_result(unsafe { (self.table.close)(self.context) })
    }

    /// Where the beginning of a range lies. The answer covers at least one sector.
    #[inline]
    pub fn map(&self, range: Range) -> Result<Mapped, Status> {
        let mut piece = Piece::default();
        // SAFETY: By the type invariant; the engine is loaded with requests live. The range is a live request's.
        match unsafe { (self.map)(self.context, range.into_raw(), &mut piece) } {
            0 if piece.sectors > 0 => Ok(Mapped::At(piece)),
            NOTHING if piece.sectors > 0 => Ok(Mapped::Nowhere(piece.sectors)),
            SPREAD if piece.sectors > 0 && piece.lower != 0 => Ok(Mapped::Spread(piece)),
            ZEROS if piece.sectors > 0 => Ok(Mapped::Zeros(Piece { sectors: piece.sectors.min(ZEROS_MAX), ..piece })),
            DEFERRED => Ok(Mapped::Deferred),
            0 | NOTHING | SPREAD | ZEROS => Err(Status::IOERR),
            status => Err(Status::from_engine(status)),
        }
    }

    /// Which lower devices are to be flushed; `None` if the engine keeps the request.
    pub fn flush(&self, range: Range) -> Result<Option<u64>, Status> {
        let Some(flush) = self.table.flush else { return Ok(Some(u64::MAX)) };
        let mut lowers = 0;
        // SAFETY: As in `map`.
        match unsafe { flush(self.context, range.into_raw(), &mut lowers) } {
            0 => Ok(Some(lowers)),
            DEFERRED => Ok(None),
            status => Err(Status::from_engine(status)),
        }
    }

    /// Whether it writes to several devices at the same time.
    pub fn spreads(&self) -> bool {
        self.starts.is_some()
    }

    /// The sector at which its part of a lower device begins.
    #[inline]
    pub fn start(&self, lower: usize) -> Option<u64> {
        let starts = self.starts.filter(|_| lower < SPREAD_MAX)?;
        // SAFETY: By the ABI there are so many, which change only while no request is live.
        Some(unsafe { starts.add(lower).read() })
    }

    /// A piece with a token has ended; `failed` are the lower devices that failed it, if it was spread.
    #[inline]
    pub fn unpin(&self, token: u32, status: Status, failed: u32, (sector, sectors): (u64, u64)) {
        // SAFETY: By the type invariant.
        unsafe { (self.table.unpin)(self.context, token, status.raw(), failed, sector, sectors) };
    }

    /// A lower device has failed its part of what was spread, or a flush.
    pub fn lost(&self, lower: u32, op: Op, status: Status) {
        if let Some(lost) = self.table.lost {
            // SAFETY: By the type invariant.
            unsafe { lost(self.context, lower, op, status.raw()) };
        }
    }

    /// Whether it judges how its requests end.
    #[inline]
    pub fn settles(&self) -> bool {
        self.table.settle.is_some()
    }

    /// How a request ends.
    pub fn settle(&self, range: Range, status: Status, lost: u32) -> Ended {
        let Some(settle) = self.table.settle else { return Ended::With(status) };
        // SAFETY: As in `map`.
        match unsafe { settle(self.context, range.into_raw(), status.raw(), lost) } {
            DEFERRED => Ended::Kept,
            status => Ended::With(Status::from_engine(status)),
        }
    }

    /// Says how a replica is.
    pub fn facts(&self, facts: &mut uapi::stor_replica_facts) -> Result {
        let Some(ask) = self.table.facts else { return Err(errno::EOPNOTSUPP.into()) };
        // SAFETY: By the type invariant.
        to_result(unsafe { ask(self.context, facts) })
    }

    /// Compares the legs of a replica.
    pub fn verify(&self, ask: &mut uapi::stor_replica_verify) -> Result {
        let Some(verify) = self.table.verify else { return Err(errno::EOPNOTSUPP.into()) };
        // SAFETY: By the type invariant.
        to_result(unsafe { verify(self.context, ask) })
    }

    /// How many of these sectors, from the first on, are known to be zeros that take no space.
    pub fn hole(&self, sector: u64, sectors: u64) -> u64 {
        // SAFETY: By the type invariant.
        self.table.hole.map_or(0, |hole| unsafe { hole(self.context, sector, sectors) })
    }

    /// Takes a new size and configuration while requests are live; whether it could.
    pub fn change(&self, config: &ObjectConfig) -> Result<bool> {
        let Some(change) = self.table.change else { return Ok(false) };
        // SAFETY: By the type invariant.
        match unsafe { change(self.context, config) } {
            code if code == -errno::EOPNOTSUPP.0 => Ok(false),
            code => to_result(code).map(|()| true),
        }
    }

    /// Settles a request.
    #[inline]
    pub fn end(&self, status: Status) {
        if let Some(end) = self.end {
            // SAFETY: By the type invariant.
            unsafe { end(self.context, status.raw()) };
        }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        if self.loaded && self.close().is_err() {
            pr_err!("an engine could not write the state of an object that goes away\n");
        }
        // SAFETY: By the type invariant; the object is not used again.
        unsafe { (self.table.free)(self.context) };
    }
}

/// What an engine answers when it is asked where a range is.
pub enum Mapped {
    At(Piece),
    /// On several.
    Spread(Piece),
    /// To which zeros are to be written.
    Zeros(Piece),
    /// So many sectors are nowhere.
    Nowhere(u64),
    /// It keeps the request.
    Deferred,
}

/// A pool of an engine. Dropping it closes and frees it; its volumes' objects are gone then.
///
/// # Invariants
///
/// As of an [`Object`].
pub struct Pool {
    context: *mut c_void,
    table: &'static PoolOps,
    /// The lower devices that data is on, a bit for each.
    pub data: u64,
    /// Bytes of a data block.
    pub block_size: u32,
    /// 1 if `load` came after `close`.
    loaded: Atomic<i32>,
    _module: ModuleRef,
    _listener: Arc<Notices>,
}

// SAFETY: The ABI lets a pool be used from any thread.
unsafe impl Send for Pool {}
// SAFETY: Its functions may be called concurrently by the ABI.
unsafe impl Sync for Pool {}

impl Pool {
    /// For the configuration of its volumes.
    pub fn context(&self) -> *mut c_void {
        self.context
    }

    /// Reads its state.
    pub fn load(&self) -> Result {
        // SAFETY: By the type invariant.
        to_result(unsafe { (self.table.load)(self.context) })?;
        self.loaded.store(1, Release);
        Ok(())
    }

    /// Writes its state; no request of a volume of it may be live.
    pub fn close(&self) -> Result {
        self.loaded.store(0, Release);
        // SAFETY: By the type invariant.
        to_result(unsafe { (self.table.close)(self.context) })
    }

    /// Writes most of its state, with requests of its volumes live.
    pub fn settle(&self) {
        // SAFETY: By the type invariant.
        unsafe { (self.table.settle)(self.context) };
    }

    /// Takes more lower devices, and another configuration.
    pub fn reload(&self, config: &ObjectConfig) -> Result {
        // SAFETY: By the type invariant.
        to_result(unsafe { (self.table.reload)(self.context, config) })
    }

    /// Does what the call asks for.
    pub fn change(&self, change: &mut uapi::stor_pool_change, items: &[uapi::stor_pool_item]) -> Result {
        // SAFETY: By the type invariant.
        to_result(unsafe { (self.table.change)(self.context, change, items.as_ptr(), items.len()) })
    }

    /// How it is.
    pub fn facts(&self, facts: &mut uapi::stor_pool_facts) -> Result {
        // SAFETY: By the type invariant.
        to_result(unsafe { (self.table.facts)(self.context, facts) })
    }

    /// What a device has.
    pub fn device(&self, device: &mut uapi::stor_pool_device) -> Result {
        // SAFETY: By the type invariant.
        to_result(unsafe { (self.table.device)(self.context, device) })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.loaded.load(Acquire) != 0 && self.close().is_err() {
            pr_err!("an engine could not write the state of a pool that goes away\n");
        }
        // SAFETY: By the type invariant; the pool is not used again.
        unsafe { (self.table.free)(self.context) };
    }
}

/// Called by an engine that gives back a request that it has kept: it is to be asked again.
///
/// # Safety
///
/// `deferral` was given to the engine by `map` or `flush`, and is given back once.
#[no_mangle]
pub unsafe extern "C" fn stor_request_retry(deferral: *mut Deferral) {
    // SAFETY: By contract; every request that an engine is asked about is a volume's.
    unsafe { request::retry::<Volume>(deferral) };
}

/// Called by an engine that gives back a request that it has kept: what it was asked about is done, or has failed.
///
/// # Safety
///
/// As of [`stor_request_retry`].
#[no_mangle]
pub unsafe extern "C" fn stor_request_end(deferral: *mut Deferral, status: u32) {
    // SAFETY: By contract; every request that an engine is asked about is a volume's.
    unsafe { request::end::<Volume>(deferral, Status::from_engine(status)) };
}

/// Called by an engine when something happened to an object or a pool. Process context.
///
/// # Safety
///
/// `listener` was given with an object or a pool that is still there.
#[no_mangle]
pub unsafe extern "C" fn stor_event(listener: *mut c_void, kind: u32, value: u64) {
    // SAFETY: By contract.
    if let Some(notices) = unsafe { listener.cast::<Notices>().as_ref() } {
        notices.emit(kind, value);
    }
}

/// Called by an engine that wants to know how many sectors from this one on, of so many, are known to be zeros that take no space: 0 where
/// the device is none of ours, or its I/O is held. Process context.
///
/// # Safety
///
/// `bdev` is a lower device of an object that is still there.
#[no_mangle]
pub unsafe extern "C" fn stor_hole(bdev: *mut bindings::block_device, sector: u64, sectors: u64) -> u64 {
    let Some(front) = front() else { return 0 };
    // SAFETY: By contract it is open.
    let Some(volume) = (unsafe { front.operations.pin(bdev) }) else { return 0 };
    volume.live().object.as_ref().map_or(0, |object| object.hole(sector, sectors))
}

/// Called by an engine's module when it is loaded. Errors: EPROTONOSUPPORT, EEXIST, EINVAL.
///
/// # Safety
///
/// `ops` points to operations that stay until `stor_engine_unregister`.
#[no_mangle]
pub unsafe extern "C" fn stor_engine_register(ops: *const EngineOps) -> c_int {
    // SAFETY: By contract.
    match unsafe { register(ops) } {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// # Safety
///
/// `ops` points to operations that stay until `stor_engine_unregister`.
unsafe fn register(ops: *const EngineOps) -> Result {
    let pointer = NonNull::new(ops.cast_mut()).ok_or(EINVAL)?;
    // SAFETY: `abi` and `size` come first in every version of the table; the rest is looked at only if they fit.
    let (abi, size) = unsafe { ((*ops).abi, (*ops).size) };
    if abi != ENGINE_ABI || size as usize != size_of::<EngineOps>() {
        pr_err!(
            "engine refused: it speaks engine ABI {abi}, this front speaks {ENGINE_ABI}; load the stor.ko that came \
             with it\n"
        );
        return Err(errno::EPROTONOSUPPORT.into());
    }
    let engine = Engine { ops: pointer };
    let version = engine.version();
    let name = text::from_field(&version).map_err(|_| EINVAL)?;
    let front = front().ok_or(ENODEV)?;
    front.lock().add_engine(engine)?;
    pr_info!("engine {name} registered\n");
    tell(front, uapi::STOR_EVENT_ENGINE_ADDED, &version);
    Ok(())
}

/// Called by an engine's module when it is unloaded: no object of it is left, as each held a reference.
///
/// # Safety
///
/// `ops` was registered.
#[no_mangle]
pub unsafe extern "C" fn stor_engine_unregister(ops: *const EngineOps) {
    let (Some(front), Some(pointer)) = (front(), NonNull::new(ops.cast_mut())) else { return };
    let Some(engine) = front.lock().remove_engine(|engine| engine.ops == pointer) else { return };
    let version = engine.version();
    // The front ends requests and the engine never does, so nothing of the engine can be on a CPU now; yet an
    // engine's own callbacks may still be returning in a preempted task, and only this waits for them.
    crate::block::ffi::stor_synchronize_rcu_tasks();
    pr_info!("engine {} unregistered\n", text::from_field(&version).unwrap_or("?"));
    tell(front, uapi::STOR_EVENT_ENGINE_REMOVED, &version);
}

fn tell(front: &Front, kind: u32, version: &Version) {
    front.events.emit(&Event { kind, uuid: [0; 16], name: version, value: 0 });
}

#[allow(improper_ctypes)]
unsafe extern "C" {
    static mut stor_disk_groups: [*const bindings::attribute_group; 2];
}

/// Makes a volume's disk visible, with its attributes.
pub fn show_disk(disk: &mut Disk<Volume>, sectors: u64) -> Result {
    // SAFETY: The list is a static of this module, and ends with null.
    unsafe { disk.add(sectors, (&raw mut stor_disk_groups).cast()) }
}

/// Called by the attributes of `edge_c.c`; writes a line into `page`, which has a page of room.
///
/// # Safety
///
/// `shared` is the private data of a disk that [`show_disk`] made visible; `page` has PAGE_SIZE bytes.
#[no_mangle]
pub unsafe extern "C" fn stor_disk_show(shared: *mut c_void, what: u32, page: *mut u8) -> isize {
    // SAFETY: By contract; attributes are gone before the disk is.
    let volume: &Volume = unsafe { Disk::<Volume>::driver_of(shared) };
    let Label { name, engine, target } = volume.notices.label();
    let mut line = Line { bytes: [0; 96], length: 0 };
    let written = match what {
        0 => line.field(&name),
        1 => core::fmt::Write::write_fmt(&mut line, format_args!("{}", text::Uuid(&volume.notices.uuid()))),
        2 => line.field(&target),
        _ => line.field(&engine),
    };
    if written.is_err() || line.field(b"\n").is_err() {
        return EINVAL.to_errno() as isize;
    }
    // SAFETY: A line is shorter than a page.
    unsafe { core::ptr::copy_nonoverlapping(line.bytes.as_ptr(), page, line.length) };
    line.length as isize
}

/// A line of text being put together.
struct Line {
    bytes: [u8; 96],
    length: usize,
}

impl Line {
    /// Adds a field up to its NUL.
    fn field(&mut self, field: &[u8]) -> core::fmt::Result {
        for &byte in field.iter().take_while(|&&byte| byte != 0) {
            *self.bytes.get_mut(self.length).ok_or(core::fmt::Error)? = byte;
            self.length = self.length.wrapping_add(1);
        }
        Ok(())
    }
}

impl core::fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.field(text.as_bytes())
    }
}

#[cfg(CONFIG_KUNIT = "y")]
#[kunit_tests(stor_hand_over)]
mod tests {
    use super::*;
    use crate::front::registry::hand_over;

    /// What an object of the fake engine does: which calls fail, and what was called.
    struct Fake {
        fail_load: u32,
        fail_close: bool,
        loads: Atomic<i32>,
        freed: Atomic<i32>,
    }

    unsafe extern "C" fn load(context: *mut c_void) -> c_int {
        // SAFETY: The context of a fake object.
        let fake = unsafe { &*context.cast::<Fake>() };
        let count = fake.loads.fetch_add(1, Acquire);
        if fake.fail_load & (1 << count) != 0 {
            EIO.to_errno()
        } else {
            0
        }
    }

    unsafe extern "C" fn close(context: *mut c_void) -> c_int {
        // SAFETY: The context of a fake object.
        if unsafe { &*context.cast::<Fake>() }.fail_close {
            EIO.to_errno()
        } else {
            0
        }
    }

    unsafe extern "C" fn free(context: *mut c_void) {
        // SAFETY: The context of a fake object.
        unsafe { &*context.cast::<Fake>() }.freed.fetch_add(1, Acquire);
    }

    unsafe extern "C" fn map(_: *mut c_void, _: *mut Deferral, _: *mut Piece) -> u32 {
        0
    }

    unsafe extern "C" fn unpin(_: *mut c_void, _: u32, _: u32, _: u32, _: u64, _: u64) {}

    static OPS: ObjectOps = ObjectOps {
        load,
        close,
        free,
        map,
        unpin,
        flush: None,
        change: None,
        lost: None,
        settle: None,
        facts: None,
        verify: None,
        hole: None,
        end: None,
    };

    fn fake(fail_load: u32, fail_close: bool) -> Result<KBox<Fake>> {
        Ok(KBox::new(Fake { fail_load, fail_close, loads: Atomic::new(0), freed: Atomic::new(0) }, GFP_KERNEL)?)
    }

    fn object(fake: &Fake) -> Result<Object> {
        // SAFETY: This module is running.
        let module = unsafe { ModuleRef::get(crate::block::module::this_module().cast()) }?;
        let context = (&raw const *fake).cast_mut().cast();
        let (name, engine) = ([0; uapi::STOR_NAME_LEN as usize], [0; uapi::STOR_VERSION_LEN as usize]);
        let label = Label { name, engine, target: [0; uapi::STOR_TARGET_LEN as usize] };
        let listener = Notices::new([0; 16], label)?;
        Ok(Object {
            context,
            map: OPS.map,
            end: None,
            table: &OPS,
            starts: None,
            loaded: false,
            _module: module,
            _listener: listener,
        })
    }

    fn freed(fake: &Fake) -> i32 {
        fake.freed.load(Acquire)
    }

    #[test]
    fn new_takes_over() -> Result {
        let (old, new) = (fake(0, false)?, fake(0, false)?);
        let mut place = Some(object(&old)?);
        let given_back = hand_over(&mut place, object(&new)?)?;
        assert!(given_back.is_some() && freed(&old) == 0);
        drop(given_back);
        assert!(place.is_some() && freed(&old) == 1 && freed(&new) == 0);
        Ok(())
    }

    #[test]
    fn refused_load_goes_back() -> Result {
        let (old, new) = (fake(0, false)?, fake(1, false)?);
        let mut place = Some(object(&old)?);
        assert!(hand_over(&mut place, object(&new)?).is_err());
        assert!(place.is_some() && freed(&new) == 1 && freed(&old) == 0);
        Ok(())
    }

    #[test]
    fn refused_close_goes_on() -> Result {
        let (old, new) = (fake(0, true)?, fake(0, false)?);
        let mut place = Some(object(&old)?);
        assert!(hand_over(&mut place, object(&new)?).is_err());
        assert!(place.is_some() && freed(&new) == 1 && freed(&old) == 0);
        Ok(())
    }

    #[test]
    fn nothing_left_is_dead_until_revived() -> Result {
        let (old, new, third) = (fake(1, false)?, fake(1, false)?, fake(0, false)?);
        let mut place = Some(object(&old)?);
        assert!(hand_over(&mut place, object(&new)?).is_err());
        assert!(place.is_none() && freed(&new) == 1 && freed(&old) == 1);
        assert!(hand_over(&mut place, object(&third)?)?.is_none());
        assert!(place.is_some());
        Ok(())
    }
}
