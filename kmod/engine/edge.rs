// SPDX-License-Identifier: GPL-2.0

//! The C side of [`Target`], and registration with the front.

use super::target::{Config, Target, TARGETS};
use crate::abi::engine::{EngineOps, MapRequest, Object, ObjectConfig, ObjectOps, Piece, ENGINE_ABI, TEXT};
use crate::abi::errno;
use crate::block::module::this_module;
use crate::pure::text;
use core::ffi::{c_int, c_void};
use core::marker::PhantomData;
use core::mem::size_of;
use kernel::error::to_result;
use kernel::prelude::*;

#[allow(improper_ctypes)]
unsafe extern "C" {
    fn stor_engine_register(ops: *const EngineOps) -> c_int;
    fn stor_engine_unregister(ops: *const EngineOps);
}

/// Makes an object of one target.
pub type Prepare = fn(&Config<'_>) -> Result<Object>;

/// A target's line in the table.
pub const fn table_of<T: Target>() -> (&'static str, Prepare) {
    (T::NAME, prepare::<T>)
}

fn prepare<T: Target>(config: &Config<'_>) -> Result<Object> {
    let target = T::prepare(config)?;
    Ok(Object { context: KBox::into_raw(target).cast(), ops: &Vtable::<T>::OPS })
}

struct Vtable<T>(PhantomData<T>);

impl<T: Target> Vtable<T> {
    const OPS: ObjectOps =
        ObjectOps { load: Self::load, close: Self::close, free: Self::free, map: Self::map, end: Self::END };

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
    unsafe extern "C" fn map(context: *mut c_void, request: *const MapRequest, piece: *mut Piece) -> u32 {
        #[cfg(stor_test)]
        super::fault::called();
        // SAFETY: By the ABI.
        let (target, request) = unsafe { (Self::target(context), &*request) };
        match target.map(request) {
            Ok(run) => {
                // SAFETY: By the ABI.
                unsafe { piece.write(run) };
                0
            }
            Err(status) => status.raw(),
        }
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
/// What `config` points to is valid.
unsafe fn prepare_named(config: &ObjectConfig) -> Result<Object> {
    #[cfg(stor_test)]
    super::fault::prepare()?;
    let name = text::from_field(&config.target).map_err(|_| EINVAL)?;
    let (_, prepare) = TARGETS.iter().find(|(target, _)| *target == name).ok_or(errno::EOPNOTSUPP)?;
    // SAFETY: By contract; an empty list may come with any pointer.
    let (lowers, bytes) =
        unsafe { (slice(config.lowers, config.lower_count), slice(config.config, config.config_len)) };
    prepare(&Config { size: config.size, lowers, bytes })
}

/// # Safety
///
/// `data` points to `count` values, unless that is 0.
unsafe fn slice<'a, T>(data: *const T, count: u32) -> &'a [T] {
    if count == 0 || data.is_null() {
        return &[];
    }
    // SAFETY: By contract.
    unsafe { core::slice::from_raw_parts(data, count as usize) }
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
