// SPDX-License-Identifier: GPL-2.0

//! `struct miscdevice`: the control node. (The kernel crate's own wrapper has no `read` and no `poll`, and in 7.2
//! it does not keep the module loaded while the node is open.)

use super::module::this_module;
use core::marker::PhantomData;
use kernel::bindings;
use kernel::error::to_result;
use kernel::fs::File;
use kernel::prelude::*;
use kernel::sync::poll::PollTable;
use kernel::types::Opaque;
use kernel::uaccess::{UserPtr, UserSlice};

/// What can be done with an open node. One value per open.
pub trait Node: Sync + Sized + 'static {
    /// The node is opened.
    fn open() -> Result<KBox<Self>>;

    /// `ioctl(2)`: the command and the address of its argument.
    fn ioctl(&self, command: u32, argument: UserPtr) -> Result<isize>;

    /// `read(2)`.
    fn read(&self, buffer: UserSlice, nonblocking: bool) -> Result<usize>;

    /// `poll(2)`: whether something can be read; registers for news of it.
    fn poll(&self, file: &File, table: PollTable<'_>) -> bool;
}

/// Whether the caller may change things (CAP_SYS_ADMIN).
pub fn is_admin() -> bool {
    // SAFETY: Always safe to call.
    unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as i32) }
}

/// A registered node. Dropping it removes the node: no one may have it open, which the module count ensures.
///
/// # Invariants
///
/// `misc` is registered; both boxes are never opened.
pub struct MiscDevice<N: Node> {
    misc: KBox<Opaque<bindings::miscdevice>>,
    _operations: KBox<bindings::file_operations>,
    _node: PhantomData<N>,
}

// SAFETY: The registration may be given up by any thread.
unsafe impl<N: Node> Send for MiscDevice<N> {}
// SAFETY: It has no methods.
unsafe impl<N: Node> Sync for MiscDevice<N> {}

impl<N: Node> MiscDevice<N> {
    /// Makes `/dev/NAME` with `mode`; it works when this returns.
    pub fn register(name: &'static CStr, mode: u16) -> Result<Self> {
        let operations = bindings::file_operations {
            owner: this_module(),
            open: Some(open::<N>),
            release: Some(release::<N>),
            read: Some(read::<N>),
            poll: Some(poll::<N>),
            unlocked_ioctl: Some(ioctl::<N>),
            compat_ioctl: bindings::compat_ptr_ioctl,
            llseek: Some(bindings::noop_llseek),
            ..pin_init::zeroed()
        };
        let operations = KBox::new(operations, GFP_KERNEL)?;
        let misc = bindings::miscdevice {
            minor: bindings::MISC_DYNAMIC_MINOR as i32,
            name: name.as_char_ptr(),
            fops: &*operations,
            mode,
            ..pin_init::zeroed()
        };
        let misc = KBox::new(Opaque::new(misc), GFP_KERNEL)?;
        // SAFETY: Filled, and stays where it is until `drop`.
        to_result(unsafe { bindings::misc_register(misc.get()) })?;
        // INVARIANT: Just registered.
        Ok(Self { misc, _operations: operations, _node: PhantomData })
    }
}

impl<N: Node> Drop for MiscDevice<N> {
    fn drop(&mut self) {
        // SAFETY: Registered by the type invariant.
        unsafe { bindings::misc_deregister(self.misc.get()) };
    }
}

/// # Safety
///
/// `file` was opened by `open::<N>` and is not yet released.
unsafe fn node<'a, N: Node>(file: *mut bindings::file) -> &'a N {
    // SAFETY: By contract its private data is the box that `open` gave away.
    unsafe { &*(*file).private_data.cast::<N>() }
}

/// # Safety
///
/// Called by the kernel for a file of a `MiscDevice<N>`.
unsafe extern "C" fn open<N: Node>(_: *mut bindings::inode, file: *mut bindings::file) -> i32 {
    match N::open() {
        Ok(node) => {
            // SAFETY: The file is being opened; its private data is ours.
            unsafe { (*file).private_data = KBox::into_raw(node).cast() };
            0
        }
        Err(error) => error.to_errno(),
    }
}

/// # Safety
///
/// Called by the kernel for a file of a `MiscDevice<N>`.
unsafe extern "C" fn release<N: Node>(_: *mut bindings::inode, file: *mut bindings::file) -> i32 {
    // SAFETY: Given away by `open`, and taken back once.
    drop(unsafe { KBox::<N>::from_raw((*file).private_data.cast()) });
    0
}

/// # Safety
///
/// Called by the kernel for a file of a `MiscDevice<N>`.
unsafe extern "C" fn ioctl<N: Node>(file: *mut bindings::file, command: u32, argument: usize) -> isize {
    // SAFETY: The file is open for the duration of the call.
    match unsafe { node::<N>(file) }.ioctl(command, UserPtr::from_addr(argument)) {
        Ok(value) => value,
        Err(error) => error.to_errno() as isize,
    }
}

/// # Safety
///
/// Called by the kernel for a file of a `MiscDevice<N>`.
unsafe extern "C" fn read<N: Node>(
    file: *mut bindings::file,
    buffer: *mut kernel::ffi::c_char,
    length: usize,
    _: *mut bindings::loff_t,
) -> isize {
    // SAFETY: The file is open for the duration of the call.
    let (node, flags) = unsafe { (node::<N>(file), (*file).f_flags) };
    let buffer = UserSlice::new(UserPtr::from_addr(buffer as usize), length);
    match node.read(buffer, flags & bindings::O_NONBLOCK != 0) {
        Ok(length) => length as isize,
        Err(error) => error.to_errno() as isize,
    }
}

/// # Safety
///
/// Called by the kernel for a file of a `MiscDevice<N>`.
unsafe extern "C" fn poll<N: Node>(file: *mut bindings::file, table: *mut bindings::poll_table) -> bindings::__poll_t {
    // SAFETY: The file is open and the table valid for the duration of the call.
    let (node, file, table) = unsafe { (node::<N>(file), File::from_raw_file(file), PollTable::from_raw(table)) };
    if node.poll(file, table) {
        (bindings::POLLIN | bindings::POLLRDNORM) as bindings::__poll_t
    } else {
        0
    }
}
