// SPDX-License-Identifier: GPL-2.0

//! `crc32c` of `include/linux/crc32c.h`.

use super::ffi;

/// The register after these bytes, which began as ones; it is not inverted.
pub fn crc32c(bytes: &[u8]) -> u32 {
    // SAFETY: The bytes are there for the call.
    unsafe { ffi::crc32c(u32::MAX, bytes.as_ptr().cast(), bytes.len()) }
}
