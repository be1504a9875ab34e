// SPDX-License-Identifier: GPL-2.0

//! `blk_status_t`: how a request ended.

use kernel::bindings;

/// A status of `include/linux/blk_types.h`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Status(pub(super) bindings::blk_status_t);

impl Status {
    pub const OK: Self = Self(0);
    pub const NOTSUPP: Self = Self(1);
    pub const NOSPC: Self = Self(3);
    pub const RESOURCE: Self = Self(9);
    pub const IOERR: Self = Self(10);

    /// The status an engine answered with; what does not fit is an I/O error.
    pub fn from_engine(raw: u32) -> Self {
        u8::try_from(raw).map_or(Self::IOERR, Self)
    }

    /// For an engine.
    pub fn raw(self) -> u32 {
        u32::from(self.0)
    }

    /// As a positive errno.
    pub fn errno(self) -> i32 {
        // SAFETY: Always safe; unknown values give EIO.
        unsafe { -bindings::blk_status_to_errno(self.0) }
    }
}
