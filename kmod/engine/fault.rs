// SPDX-License-Identifier: GPL-2.0

//! Faults for tests of switching engines. Only in engines whose version has the word `test` in it; never shipped.
//!
//! Module parameter `fail` is a sum of:
//!
//! | bit | what fails |
//! |---|---|
//! | 1 | `prepare` |
//! | 2 | `load`, each time |
//! | 4 | `load`, but for the first time of each object: a failed switch cannot go back |
//! | 8 | `close` |
//! | 256 times N | the `load` that is the Nth, counted from 1 |
//!
//! Every such engine also warns if it is asked to map or settle while none of its objects is loaded: that would be
//! a request that outlived its engine.

use core::borrow::Borrow;
use kernel::prelude::*;
use kernel::sync::atomic::{ordering::Relaxed, Atomic};

static FAIL: Atomic<u32> = Atomic::new(0);
static ABI: Atomic<u32> = Atomic::new(0);
static LOADS: Atomic<u32> = Atomic::new(0);
static PREPARED: Atomic<u32> = Atomic::new(0);
/// Objects that are loaded now.
static LOADED: Atomic<i32> = Atomic::new(0);

/// Takes over the module's parameters. 7.2 hands out references to them, 7.3 values.
pub fn set(fail: impl Borrow<u32>, abi: impl Borrow<u32>) {
    FAIL.store(*fail.borrow(), Relaxed);
    ABI.store(*abi.borrow(), Relaxed);
}

fn fails(bit: u32) -> Result {
    match FAIL.load(Relaxed) & bit {
        0 => Ok(()),
        _ => Err(EIO),
    }
}

/// The engine ABI number to announce, if not the real one.
pub(super) fn abi() -> Option<u32> {
    Some(ABI.load(Relaxed)).filter(|&abi| abi != 0)
}

pub(super) fn prepare() -> Result {
    PREPARED.add(1u32, Relaxed);
    fails(1)
}

pub(super) fn load() -> Result {
    fails(2)?;
    let before = LOADS.fetch_add(1u32, Relaxed);
    if FAIL.load(Relaxed) >> 8 == before.wrapping_add(1) {
        return Err(EIO);
    }
    // Objects are loaded one after the other, so the first loads are as many as there were objects made.
    if before >= PREPARED.load(Relaxed) {
        fails(4)?;
    }
    LOADED.add(1i32, Relaxed);
    Ok(())
}

pub(super) fn close() -> Result {
    LOADED.fetch_sub(1, Relaxed);
    fails(8)
}

/// Called whenever a request comes in or is settled.
pub(super) fn called() {
    kernel::warn_on!(LOADED.load(Relaxed) <= 0);
}

/// What the front calls at the end of each request of a target that asks for it.
///
/// # Safety
///
/// None is needed: nothing is done with the arguments.
pub(super) unsafe extern "C" fn end(_: *mut core::ffi::c_void, _: u32) {
    called();
}
