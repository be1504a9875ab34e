// SPDX-License-Identifier: GPL-2.0

//! Errno of the control ABI as the kernel crate's error. Its own constants differ between kernel versions, and
//! lack some of ours.

use crate::abi::errno::Errno;
use kernel::error::Error;

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Error::from_errno(-errno.0)
    }
}
