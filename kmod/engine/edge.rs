// SPDX-License-Identifier: GPL-2.0

//! The C side of [`Target`], and registration with the front.

use super::target::{Config, Flush, Lower, Mapped, PoolTarget, Settled, Target, POOLS, TARGETS};
use crate::abi::engine::{
    self, Deferral, EngineOps, Object, ObjectConfig, ObjectOps, Op, Piece, Pool, PoolOps, DEFERRED, ENGINE_ABI,
    NOTHING, SPREAD, TEXT, ZEROS,
};
use crate::abi::errno;
use crate::abi::uapi::{
    stor_pool_change, stor_pool_device, stor_pool_facts, stor_pool_item, stor_replica_facts, stor_replica_verify,
};
use crate::block::deferred::Ask;
use crate::block::io::Device;
use crate::block::module::this_module;
use crate::block::status::Status;
use crate::pure::text;
use core::ffi::{c_int, c_void};
use core::marker::PhantomData;
use core::mem::size_of;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::sync::Arc;

#[allow(improper_ctypes)]
unsafe extern "C" {
    fn stor_engine_register(ops: *const EngineOps) -> c_int;
    fn stor_engine_unregister(ops: *const EngineOps);
    fn stor_event(listener: *mut c_void, kind: u32, value: u64);
    fn stor_hole(bdev: *mut c_void, sector: u64, sectors: u64) -> u64;
}

/// How many sectors of a device from this one on, of so many, are known to be zeros that take no space: of a thin volume, or one that stands on
/// such; of others nothing is known. May sleep.
pub fn hole(device: Device, sector: u64, sectors: u64) -> u64 {
    // SAFETY: A device is open.
    unsafe { stor_hole(device.as_ptr(), sector, sectors) }.min(sectors)
}

/// Who is told what happens to an object or a pool.
#[derive(Clone, Copy)]
pub struct Listener(*mut c_void);

// SAFETY: It is only passed back to the front, which may be called from anywhere.
unsafe impl Send for Listener {}
// SAFETY: As above.
unsafe impl Sync for Listener {}

impl Listener {
    /// Tells of an event, `STOR_EVENT_*`. Process context.
    pub fn tell(&self, kind: u32, value: u64) {
        // SAFETY: It came with an object or a pool that is still there, as it has this.
        unsafe { stor_event(self.0, kind, value) };
    }
}

/// Makes an object of one target, in the pool with this context.
///
/// # Safety
///
/// The context is null or of a pool of this engine that is there.
pub type Prepare = unsafe fn(&Config<'_>, *mut c_void) -> Result<Object>;

/// Makes a pool of one kind.
pub type PreparePool = fn(&Config<'_>) -> Result<Pool>;

/// A target's line in the table.
pub const fn table_of<T: Target>() -> (&'static str, Prepare) {
    (T::NAME, prepare::<T>)
}

/// A kind of pool's line in the table.
pub const fn pool_of<P: PoolTarget>() -> (&'static str, PreparePool) {
    (P::NAME, prepare_pool::<P>)
}

/// What a pool's context points to. The name comes first, whatever `P` is.
#[repr(C)]
struct Held<P> {
    name: &'static str,
    pool: Arc<P>,
}

/// # Safety
///
/// As of [`Prepare`].
unsafe fn prepare<T: Target>(config: &Config<'_>, pool: *mut c_void) -> Result<Object> {
    let pool = if pool.is_null() {
        None
    } else {
        // SAFETY: By contract it is a `Held` of some kind; of which one the name says.
        unsafe {
            if *pool.cast::<&'static str>() != <T::Pool as PoolTarget>::NAME {
                return Err(EINVAL);
            }
            Some((*pool.cast::<Held<T::Pool>>()).pool.clone())
        }
    };
    let target = T::prepare(config, pool)?;
    let starts = target.starts().map_or(core::ptr::null(), |starts| starts.as_ptr().cast());
    Ok(Object { context: KBox::into_raw(target).cast(), ops: &Vtable::<T>::OPS, starts })
}

fn prepare_pool<P: PoolTarget>(config: &Config<'_>) -> Result<Pool> {
    let pool = P::prepare(config)?;
    let (data, block_size) = pool.geometry();
    let held = KBox::new(Held { name: P::NAME, pool }, GFP_KERNEL)?;
    Ok(Pool { context: KBox::into_raw(held).cast(), ops: &PoolVtable::<P>::OPS, data, block_size, reserved: 0 })
}

struct PoolVtable<P>(PhantomData<P>);

impl<P: PoolTarget> PoolVtable<P> {
    const OPS: PoolOps = PoolOps {
        load: Self::load,
        close: Self::close,
        settle: Self::settle,
        free: Self::free,
        reload: Self::reload,
        change: Self::change,
        facts: Self::facts,
        device: Self::device,
    };

    /// # Safety
    ///
    /// `context` came from [`prepare_pool`] of this kind and was not freed.
    unsafe fn pool<'a>(context: *mut c_void) -> &'a P {
        // SAFETY: By contract.
        unsafe { &(*context.cast::<Held<P>>()).pool }
    }

    /// # Safety
    ///
    /// As the ABI says of `load`.
    unsafe extern "C" fn load(context: *mut c_void) -> c_int {
        // SAFETY: By the ABI.
        code(unsafe { Self::pool(context) }.load())
    }

    /// # Safety
    ///
    /// As the ABI says of `close`.
    unsafe extern "C" fn close(context: *mut c_void) -> c_int {
        // SAFETY: By the ABI.
        code(unsafe { Self::pool(context) }.close())
    }

    /// # Safety
    ///
    /// As the ABI says of `settle`.
    unsafe extern "C" fn settle(context: *mut c_void) {
        // SAFETY: By the ABI.
        unsafe { Self::pool(context) }.settle();
    }

    /// # Safety
    ///
    /// As the ABI says of `free`.
    unsafe extern "C" fn free(context: *mut c_void) {
        // SAFETY: By the ABI; it is freed once.
        drop(unsafe { KBox::from_raw(context.cast::<Held<P>>()) });
    }

    /// # Safety
    ///
    /// As the ABI says of `reload`.
    unsafe extern "C" fn reload(context: *mut c_void, config: *const ObjectConfig) -> c_int {
        // SAFETY: By the ABI.
        code(unsafe { with_config(&*config, |config| Self::pool(context).reload(config)) })
    }

    /// # Safety
    ///
    /// As the ABI says of `change`.
    unsafe extern "C" fn change(
        context: *mut c_void,
        change: *mut stor_pool_change,
        items: *const stor_pool_item,
        count: usize,
    ) -> c_int {
        // SAFETY: By the ABI.
        code(unsafe { Self::pool(context).change(&mut *change, slice(items, count)) })
    }

    /// # Safety
    ///
    /// As the ABI says of `facts`.
    unsafe extern "C" fn facts(context: *mut c_void, facts: *mut stor_pool_facts) -> c_int {
        // SAFETY: By the ABI.
        code(unsafe { Self::pool(context).facts(&mut *facts) })
    }

    /// # Safety
    ///
    /// As the ABI says of `device`.
    unsafe extern "C" fn device(context: *mut c_void, device: *mut stor_pool_device) -> c_int {
        // SAFETY: By the ABI.
        code(unsafe { Self::pool(context).device(&mut *device) })
    }
}

fn code(result: Result) -> c_int {
    result.map_or_else(|error| error.to_errno(), |()| 0)
}

struct Vtable<T>(PhantomData<T>);

impl<T: Target> Vtable<T> {
    const OPS: ObjectOps = ObjectOps {
        load: Self::load,
        close: Self::close,
        free: Self::free,
        map: Self::map,
        unpin: Self::unpin,
        flush: Some(Self::flush),
        change: Some(Self::change),
        lost: if T::SETTLES { Some(Self::lost) } else { None },
        settle: if T::SETTLES { Some(Self::settle) } else { None },
        facts: Some(Self::facts),
        verify: Some(Self::verify),
        hole: Some(Self::hole),
        end: Self::END,
    };

    #[cfg(not(stor_test))]
    const END: Option<unsafe extern "C" fn(*mut c_void, u32)> = None;
    #[cfg(stor_test)]
    const END: Option<unsafe extern "C" fn(*mut c_void, u32)> = Some(super::fault::end);

    /// # Safety
    ///
    /// `context` came from [`prepare`] of this target and was not freed.
    unsafe fn target<'a>(context: *mut c_void) -> &'a T {
        // SAFETY: By contract.
        unsafe { &*context.cast::<T>() }
    }

    /// # Safety
    ///
    /// As the ABI says of `load`.
    unsafe extern "C" fn load(context: *mut c_void) -> c_int {
        #[cfg(stor_test)]
        if let Err(error) = super::fault::load() {
            return error.to_errno();
        }
        // SAFETY: By the ABI.
        unsafe { Self::target(context) }.load().map_or_else(|error| error.to_errno(), |()| 0)
    }

    /// # Safety
    ///
    /// As the ABI says of `close`.
    unsafe extern "C" fn close(context: *mut c_void) -> c_int {
        #[cfg(stor_test)]
        if let Err(error) = super::fault::close() {
            return error.to_errno();
        }
        // SAFETY: By the ABI.
        unsafe { Self::target(context) }.close().map_or_else(|error| error.to_errno(), |()| 0)
    }

    /// # Safety
    ///
    /// As the ABI says of `free`.
    unsafe extern "C" fn free(context: *mut c_void) {
        // SAFETY: By the ABI; it is freed once.
        drop(unsafe { KBox::from_raw(context.cast::<T>()) });
    }

    /// # Safety
    ///
    /// As the ABI says of `map`.
    unsafe extern "C" fn map(context: *mut c_void, range: *mut Deferral, piece: *mut Piece) -> u32 {
        #[cfg(stor_test)]
        super::fault::called();
        // SAFETY: By the ABI.
        let (target, Some(ask)) = (unsafe { Self::target(context) }, (unsafe { Ask::new(range) })) else {
            return Status::IOERR.raw();
        };
        match target.map(ask) {
            Ok(Mapped::At(run)) => {
                // SAFETY: By the ABI.
                unsafe { piece.write(run) };
                0
            }
            Ok(Mapped::Spread(run)) => {
                // SAFETY: By the ABI.
                unsafe { piece.write(run) };
                SPREAD
            }
            Ok(Mapped::Zeros(run)) => {
                // SAFETY: By the ABI.
                unsafe { piece.write(run) };
                ZEROS
            }
            Ok(Mapped::Nowhere(sectors)) => {
                // SAFETY: By the ABI.
                unsafe { piece.write(Piece { sectors, ..Piece::default() }) };
                NOTHING
            }
            Ok(Mapped::Deferred) => DEFERRED,
            Err(status) => status.raw(),
        }
    }

    /// # Safety
    ///
    /// As the ABI says of `unpin`.
    unsafe extern "C" fn unpin(context: *mut c_void, token: u32, status: u32, failed: u32, sector: u64, sectors: u64) {
        // SAFETY: By the ABI.
        unsafe { Self::target(context) }.unpin(token, Status::from_engine(status), failed, (sector, sectors));
    }

    /// # Safety
    ///
    /// As the ABI says of `lost`.
    unsafe extern "C" fn lost(context: *mut c_void, lower: u32, op: Op, status: u32) {
        // SAFETY: By the ABI.
        unsafe { Self::target(context) }.lost(lower, op, Status::from_engine(status));
    }

    /// # Safety
    ///
    /// As the ABI says of `settle`.
    unsafe extern "C" fn settle(context: *mut c_void, range: *mut Deferral, status: u32, lost: u32) -> u32 {
        // SAFETY: By the ABI.
        let (target, Some(ask)) = (unsafe { Self::target(context) }, (unsafe { Ask::new(range) })) else {
            return Status::IOERR.raw();
        };
        match target.settle(ask, Status::from_engine(status), lost) {
            Settled::With(status) => status.raw(),
            Settled::Kept => DEFERRED,
        }
    }

    /// # Safety
    ///
    /// As the ABI says of `facts`.
    unsafe extern "C" fn facts(context: *mut c_void, facts: *mut stor_replica_facts) -> c_int {
        // SAFETY: By the ABI.
        code(unsafe { Self::target(context).facts(&mut *facts) })
    }

    /// # Safety
    ///
    /// As the ABI says of `verify`.
    unsafe extern "C" fn verify(context: *mut c_void, ask: *mut stor_replica_verify) -> c_int {
        // SAFETY: By the ABI.
        code(unsafe { Self::target(context).verify(&mut *ask) })
    }

    /// # Safety
    ///
    /// As the ABI says of `hole`.
    unsafe extern "C" fn hole(context: *mut c_void, sector: u64, sectors: u64) -> u64 {
        // SAFETY: By the ABI.
        unsafe { Self::target(context) }.hole(sector, sectors)
    }

    /// # Safety
    ///
    /// As the ABI says of `flush`.
    unsafe extern "C" fn flush(context: *mut c_void, range: *mut Deferral, lowers: *mut u64) -> u32 {
        // SAFETY: By the ABI.
        let (target, Some(ask)) = (unsafe { Self::target(context) }, (unsafe { Ask::new(range) })) else {
            return Status::IOERR.raw();
        };
        match target.flush(ask) {
            Ok(Flush::Lowers(mask)) => {
                // SAFETY: By the ABI.
                unsafe { lowers.write(mask) };
                0
            }
            Ok(Flush::Deferred) => DEFERRED,
            Err(status) => status.raw(),
        }
    }

    /// # Safety
    ///
    /// As the ABI says of `change`.
    unsafe extern "C" fn change(context: *mut c_void, config: *const ObjectConfig) -> c_int {
        // SAFETY: By the ABI.
        code(unsafe { with_config(&*config, |config| Self::target(context).change(config)) })
    }
}

/// # Safety
///
/// As the ABI says of `prepare`.
unsafe extern "C" fn prepare_any(config: *const ObjectConfig, object: *mut Object) -> c_int {
    // SAFETY: By the ABI: the configuration and what it points to are valid, as is the place for the object.
    unsafe {
        match prepare_named(&*config) {
            Ok(made) => {
                object.write(made);
                0
            }
            Err(error) => error.to_errno(),
        }
    }
}

/// # Safety
///
/// As the ABI says of `prepare_pool`.
unsafe extern "C" fn prepare_any_pool(config: *const ObjectConfig, pool: *mut Pool) -> c_int {
    // SAFETY: By the ABI: the configuration and what it points to are valid, as is the place for the pool.
    unsafe {
        let named = target_name(&*config).and_then(|name| {
            let (_, prepare) = POOLS.iter().find(|(pool, _)| *pool == name).ok_or(errno::EOPNOTSUPP)?;
            with_config(&*config, prepare)
        });
        match named {
            Ok(made) => {
                pool.write(made);
                0
            }
            Err(error) => error.to_errno(),
        }
    }
}

fn target_name(config: &ObjectConfig) -> Result<&str> {
    text::from_field(&config.target).map_err(|_| EINVAL)
}

/// # Safety
///
/// What `config` points to is valid.
unsafe fn prepare_named(config: &ObjectConfig) -> Result<Object> {
    #[cfg(stor_test)]
    super::fault::prepare()?;
    let name = target_name(config)?;
    let (_, prepare) = TARGETS.iter().find(|(target, _)| *target == name).ok_or(errno::EOPNOTSUPP)?;
    // SAFETY: By contract; the pool is one of this engine, as a volume and its pool are always on the same.
    unsafe { with_config(config, |made| prepare(made, config.pool)) }
}

/// Tells `with` what an object is to be made of.
///
/// # Safety
///
/// What `config` points to is valid, and its devices stay open as long as the object.
unsafe fn with_config<T>(config: &ObjectConfig, with: impl FnOnce(&Config<'_>) -> Result<T>) -> Result<T> {
    // SAFETY: By contract; an empty list may come with any pointer.
    let (infos, bytes) = unsafe {
        (slice(config.lowers, config.lower_count as usize), slice(config.config, config.config_len as usize))
    };
    let mut lowers = KVec::with_capacity(infos.len(), GFP_KERNEL)?;
    let lower = |&engine::LowerInfo { size, bdev, logical_block, read_only }: &engine::LowerInfo| {
        // SAFETY: By contract.
        let device = unsafe { Device::new(bdev) }.ok_or(EINVAL)?;
        Ok::<_, Error>(Lower { size, logical_block, device, read_only: read_only != 0 })
    };
    for info in infos {
        lowers.push(lower(info)?, GFP_KERNEL)?;
    }
    // SAFETY: By contract: null, or valid.
    let origin = unsafe { config.origin.as_ref() }.map(lower).transpose()?;
    let (size, read_only, listener) = (config.size, config.read_only != 0, Listener(config.listener));
    with(&Config { size, lowers: &lowers, bytes, read_only, origin, listener })
}

/// # Safety
///
/// `data` points to `count` values, unless that is 0.
unsafe fn slice<'a, T>(data: *const T, count: usize) -> &'a [T] {
    if count == 0 || data.is_null() {
        return &[];
    }
    // SAFETY: By contract.
    unsafe { core::slice::from_raw_parts(data, count) }
}

/// Registration with the front; dropping it takes it back.
pub struct Registration(KBox<EngineOps>);

// SAFETY: The front only reads the operations.
unsafe impl Send for Registration {}
// SAFETY: As above.
unsafe impl Sync for Registration {}

impl Registration {
    /// Registers the targets of this module under a version.
    pub fn new(version: &str) -> Result<Self> {
        let mut field = [0; TEXT];
        text::to_field(version, &mut field);
        let abi = ENGINE_ABI;
        #[cfg(stor_test)]
        let abi = super::fault::abi().unwrap_or(abi);
        let ops = EngineOps {
            abi,
            size: size_of::<EngineOps>() as u32,
            version: field,
            module: this_module().cast(),
            prepare: prepare_any,
            prepare_pool: prepare_any_pool,
        };
        let ops = KBox::new(ops, GFP_KERNEL)?;
        // SAFETY: The operations stay in their box until they are unregistered.
        to_result(unsafe { stor_engine_register(&*ops) })?;
        Ok(Self(ops))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: Registered in `new`.
        unsafe { stor_engine_unregister(&*self.0) };
    }
}
