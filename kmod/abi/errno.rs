// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Error numbers of the control ABI, as positive values (`include/uapi/asm-generic/errno*.h`).

macro_rules! errnos {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        $($(#[$doc])* pub const $name: Errno = Errno($value);)*
    };
}

/// A positive errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

errnos! {
    /// Nothing of that name.
    ENOENT = 2;
    /// The caller lacks the capability.
    EPERM = 1;
    /// A signal came while waiting.
    EINTR = 4;
    /// I/O error.
    EIO = 5;
    /// No volume has this UUID.
    ENXIO = 6;
    /// Too many or too large.
    E2BIG = 7;
    /// The file descriptor is not open.
    EBADF = 9;
    /// Would block.
    EAGAIN = 11;
    /// No memory.
    ENOMEM = 12;
    /// A pointer leads nowhere.
    EFAULT = 14;
    /// Not a block device.
    ENOTBLK = 15;
    /// In use.
    EBUSY = 16;
    /// Already there.
    EEXIST = 17;
    /// No engine.
    ENODEV = 19;
    /// A value is not allowed.
    EINVAL = 22;
    /// No such command.
    ENOTTY = 25;
    /// Does not fit on the device.
    ENOSPC = 28;
    /// Read-only.
    EROFS = 30;
    /// Out of the allowed range.
    ERANGE = 34;
    /// A volume would stand on itself.
    ELOOP = 40;
    /// Nobody who is there can know.
    ENODATA = 61;
    /// Features that are not known.
    EPROTO = 71;
    /// Not what it should be: another kind of data.
    EILSEQ = 84;
    /// The ABI version is not spoken.
    EPROTONOSUPPORT = 93;
    /// Target or device kind is not supported.
    EOPNOTSUPP = 95;
    /// What the caller knows is out of date.
    ESTALE = 116;
    /// The metadata is damaged.
    EUCLEAN = 117;
    /// I/O did not drain in time.
    ETIMEDOUT = 110;
    /// The volume is in that state already.
    EALREADY = 114;
}
