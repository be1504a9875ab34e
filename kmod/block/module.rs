// SPDX-License-Identifier: GPL-2.0

//! `struct module`: keeping an engine's code loaded while an object of it exists.

use super::ffi;
use core::ffi::c_void;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::prelude::*;

/// This module, for `owner` fields.
pub fn this_module() -> *mut bindings::module {
    // SAFETY: Has no preconditions.
    unsafe { ffi::stor_this_module() }
}

/// A reference to a module that keeps it from being unloaded.
pub struct ModuleRef(NonNull<bindings::module>);

// SAFETY: A module's reference count is atomic.
unsafe impl Send for ModuleRef {}
// SAFETY: As above.
unsafe impl Sync for ModuleRef {}

impl ModuleRef {
    /// Takes a reference, unless the module is on its way out.
    ///
    /// # Safety
    ///
    /// `module` is null or points to a module that cannot be freed during the call.
    pub unsafe fn get(module: *mut c_void) -> Result<Self> {
        let module = NonNull::new(module.cast::<bindings::module>()).ok_or(EINVAL)?;
        // SAFETY: By this function's contract.
        if unsafe { bindings::try_module_get(module.as_ptr()) } {
            Ok(Self(module))
        } else {
            Err(ENODEV)
        }
    }
}

impl Drop for ModuleRef {
    fn drop(&mut self) {
        // SAFETY: The reference was taken in `get`.
        unsafe { bindings::module_put(self.0.as_ptr()) };
    }
}
