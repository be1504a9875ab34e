// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The C types of the control ABI, alike in the kernel and in user space: text is bytes on both sides.
#![allow(non_camel_case_types)]

pub type c_char = u8;
pub type __u8 = u8;
pub type __u32 = u32;
pub type __s32 = i32;
pub type __u64 = u64;
