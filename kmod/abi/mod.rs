// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What crosses a border: the control ABI towards user space, and in the kernel the ABI between front and engine.

#[allow(missing_docs)]
pub mod ctypes;
#[cfg(stor_kernel)]
pub mod engine;
pub mod errno;
#[allow(missing_docs, non_camel_case_types, clippy::indexing_slicing)]
#[rustfmt::skip]
pub mod uapi;
