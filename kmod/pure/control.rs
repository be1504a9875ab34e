// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What every argument of the control ABI must satisfy (`kmod/uapi/stor.h`), for the module and its simulator alike.

use super::errno::{Errno, EINVAL, EPROTONOSUPPORT, ERANGE};
use crate::abi::uapi;
use core::fmt;

/// Why an argument's header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// The caller speaks another ABI version.
    Abi(u32),
    /// The header's size is not that of the argument.
    Size(u32),
    /// A flag this command does not know.
    Flags(u32),
    /// The reserved field is not zero.
    Reserved,
}

impl HeaderError {
    /// The errno the kernel answers with.
    pub const fn errno(self) -> Errno {
        match self {
            Self::Abi(_) => EPROTONOSUPPORT,
            Self::Size(_) | Self::Flags(_) | Self::Reserved => EINVAL,
        }
    }
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Abi(abi) => write!(f, "abi {abi} is not spoken here, only {}", uapi::STOR_ABI_VERSION),
            Self::Size(size) => write!(f, "size {size} is not that of the argument"),
            Self::Flags(flags) => write!(f, "flags {flags:#x} are not known"),
            Self::Reserved => f.write_str("a reserved field is not zero"),
        }
    }
}

/// Checks that a header speaks our ABI.
pub fn check_abi(header: &uapi::stor_header) -> Result<(), HeaderError> {
    match header.abi {
        uapi::STOR_ABI_VERSION => Ok(()),
        other => Err(HeaderError::Abi(other)),
    }
}

/// Checks a header against the size of its argument and the flags the command knows.
pub fn check_header(header: &uapi::stor_header, size: usize, known_flags: u32) -> Result<(), HeaderError> {
    check_abi(header)?;
    check_shape(header, size, known_flags)
}

/// [`check_header`] for `STOR_IOC_VERSION`, which answers every ABI version.
pub fn check_shape(header: &uapi::stor_header, size: usize, known_flags: u32) -> Result<(), HeaderError> {
    if u32::try_from(size) != Ok(header.size) {
        return Err(HeaderError::Size(header.size));
    }
    let unknown = header.flags & !known_flags;
    if unknown != 0 {
        return Err(HeaderError::Flags(unknown));
    }
    if header.reserved != 0 {
        return Err(HeaderError::Reserved);
    }
    Ok(())
}

/// Whether a volume may take a new size: growing always; shrinking only when asked for, and never while open.
pub fn check_resize(old: u64, new: u64, shrink: bool, open: bool) -> Result<(), ResizeError> {
    if new >= old {
        Ok(())
    } else if !shrink {
        Err(ResizeError::Shrink)
    } else if open {
        Err(ResizeError::InUse)
    } else {
        Ok(())
    }
}

/// Why a new size is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResizeError {
    /// Smaller, and that was not asked for.
    Shrink,
    /// Smaller, and the volume is open.
    InUse,
}

impl ResizeError {
    /// The errno the kernel answers with.
    pub const fn errno(self) -> Errno {
        match self {
            Self::Shrink => ERANGE,
            Self::InUse => super::errno::EBUSY,
        }
    }
}

impl fmt::Display for ResizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shrink => "the new size is smaller, which cuts off data; ask for it by --shrink",
            Self::InUse => "the volume is open; unmount or close it before making it smaller",
        })
    }
}
