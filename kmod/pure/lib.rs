// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The cargo face of `kmod/pure` and `kmod/abi`: the same files the kernel modules compile.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

#[path = "../abi/mod.rs"]
pub mod abi;
pub mod heap;
#[path = "mod.rs"]
pub mod pure;
