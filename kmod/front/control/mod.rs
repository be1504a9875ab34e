// SPDX-License-Identifier: GPL-2.0

//! `/dev/stor-control`: the ioctls of `kmod/uapi/stor.h`, reading events, and polling for them.
//!
//! This room moves arguments between user memory and the kernel and checks their shape; what they mean is
//! [`super::registry`]'s business. User memory is touched only before and after the state lock is held.

mod below;
mod engine;
mod pool;
mod volume;

use super::edge::front;
use super::Front;
use crate::abi::uapi;
use crate::block::miscdevice::{is_admin, Node};
use crate::pure::control::{check_abi, check_header, check_shape, HeaderError};
use crate::pure::text;
use core::mem::size_of;
use kernel::fs::File;
use kernel::ioctl;
use kernel::prelude::*;
use kernel::sync::atomic::{ordering::Relaxed, Atomic};
use kernel::sync::poll::PollTable;
use kernel::uaccess::{UserPtr, UserSlice};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// An open control node: where its reader of events is.
pub struct Control {
    cursor: Atomic<u64>,
}

/// A type that may cross the border as bytes.
pub trait Plain: FromBytes + IntoBytes + Immutable + KnownLayout {}
impl<T: FromBytes + IntoBytes + Immutable + KnownLayout> Plain for T {}

/// An argument of an ioctl: every one starts with a header.
trait Argument: Plain {
    fn header(&self) -> &uapi::stor_header;
}

macro_rules! arguments {
    ($($name:ident),*) => {
        $(impl Argument for uapi::$name {
            fn header(&self) -> &uapi::stor_header {
                &self.header
            }
        })*
    };
}
arguments!(
    stor_version,
    stor_create,
    stor_volume_ref,
    stor_reload,
    stor_list,
    stor_status,
    stor_set,
    stor_rename,
    stor_engine_list,
    stor_engine_switch,
    stor_pool_create,
    stor_pool_reload,
    stor_pool_list,
    stor_pool_status,
    stor_pool_change,
    stor_pool_device,
    stor_replica_status,
    stor_replica_verify,
    stor_insert
);

impl From<HeaderError> for Error {
    fn from(error: HeaderError) -> Self {
        error.errno().into()
    }
}

/// One call: its command and where its argument lies.
struct Call {
    command: u32,
    argument: UserPtr,
}

impl Call {
    /// Reads the argument. EINVAL if the command carries another size than `T`'s.
    fn read<T: Argument>(&self, into: &mut T) -> Result {
        if ioctl::_IOC_SIZE(self.command) != size_of::<T>() {
            return Err(EINVAL);
        }
        read_plain(self.argument, into)
    }

    /// Reads the argument and checks its header. The ABI comes first: in another one the argument may be of another
    /// size, and whoever speaks it should learn that and nothing else.
    fn check<T: Argument>(&self, flags: u32, into: &mut T) -> Result {
        if ioctl::_IOC_SIZE(self.command) < size_of::<uapi::stor_header>() {
            return Err(EINVAL);
        }
        let mut header = FromZeros::new_zeroed();
        read_plain(self.argument, &mut header)?;
        check_abi(&header)?;
        self.read(into)?;
        Ok(check_header(into.header(), size_of::<T>(), flags)?)
    }

    /// The argument for whoever may know what there is.
    fn user<T: Argument>(&self, flags: u32) -> Result<T> {
        let mut argument = T::new_zeroed();
        self.check(flags, &mut argument)?;
        Ok(argument)
    }

    /// The argument for whoever may change things.
    fn admin<T: Argument>(&self, flags: u32) -> Result<T> {
        if !is_admin() {
            return Err(EPERM);
        }
        self.user(flags)
    }

    /// [`Call::admin`] if it is too large for the stack.
    fn large<T: Argument>(&self, flags: u32) -> Result<KBox<T>> {
        if !is_admin() {
            return Err(EPERM);
        }
        let mut argument = KBox::new(T::new_zeroed(), GFP_KERNEL)?;
        self.check(flags, &mut *argument)?;
        Ok(argument)
    }

    fn write<T: Argument>(&self, argument: &T) -> Result {
        write_plain(self.argument, core::slice::from_ref(argument))
    }
}

fn read_plain<T: Plain>(from: UserPtr, into: &mut T) -> Result {
    UserSlice::new(from, size_of::<T>()).reader().read_slice(into.as_mut_bytes())
}

/// Reads `count` values from an address that an argument gave.
fn read_array<T: Plain + Copy>(from: u64, count: usize) -> Result<KVec<T>> {
    let mut values = KVec::from_elem(T::new_zeroed(), count, GFP_KERNEL)?;
    let bytes = values.as_mut_slice().as_mut_bytes();
    if !bytes.is_empty() {
        UserSlice::new(user(from)?, bytes.len()).reader().read_slice(bytes)?;
    }
    Ok(values)
}

fn read_bytes(from: u64, count: usize) -> Result<KVVec<u8>> {
    let mut bytes = KVVec::from_elem(0, count, GFP_KERNEL)?;
    if count > 0 {
        UserSlice::new(user(from)?, count).reader().read_slice(&mut bytes)?;
    }
    Ok(bytes)
}

fn write_plain<T: Plain>(to: UserPtr, values: &[T]) -> Result {
    let bytes = values.as_bytes();
    if bytes.is_empty() {
        return Ok(());
    }
    UserSlice::new(to, bytes.len()).writer().write_slice(bytes)
}

/// Writes values to an address that an argument gave, no more than there is room for.
fn write_array<T: Plain>(to: u64, room: u32, values: &[T]) -> Result {
    let fitting = values.get(..room as usize).unwrap_or(values);
    if fitting.is_empty() {
        return Ok(());
    }
    write_plain(user(to)?, fitting)
}

fn user(address: u64) -> Result<UserPtr> {
    Ok(UserPtr::from_addr(usize::try_from(address).map_err(|_| EFAULT)?))
}

/// Whether a field holds a name.
fn check_text(field: &[u8]) -> Result {
    text::from_field(field).map(|_| ()).map_err(|error| error.errno().into())
}

fn version(_: &'static Front, call: &Call) -> Result {
    let mut argument = uapi::stor_version::new_zeroed();
    call.read(&mut argument)?;
    check_shape(&argument.header, size_of::<uapi::stor_version>(), 0)?;
    if argument.reserved != 0 {
        return Err(EINVAL);
    }
    argument.abi_min = uapi::STOR_ABI_VERSION;
    argument.abi_max = uapi::STOR_ABI_VERSION;
    argument.engine_abi = crate::abi::engine::ENGINE_ABI;
    text::to_field(super::VERSION, &mut argument.front);
    call.write(&argument)
}

/// What does a command.
type Run = fn(&'static Front, &Call) -> Result;

fn dispatch(front: &'static Front, call: &Call) -> Result {
    if ioctl::_IOC_TYPE(call.command) != uapi::STOR_IOC_MAGIC
        || ioctl::_IOC_DIR(call.command) != kernel::uapi::_IOC_READ | kernel::uapi::_IOC_WRITE
    {
        return Err(ENOTTY);
    }
    // Called by its address: no stack is spent on the arguments of the others.
    let run: Run = match ioctl::_IOC_NR(call.command) {
        uapi::STOR_NR_VERSION => version,
        uapi::STOR_NR_CREATE => volume::create,
        uapi::STOR_NR_REMOVE => volume::remove,
        uapi::STOR_NR_SUSPEND => volume::suspend,
        uapi::STOR_NR_RESUME => volume::resume,
        uapi::STOR_NR_RELOAD => volume::reload,
        uapi::STOR_NR_LIST => volume::list,
        uapi::STOR_NR_STATUS => volume::status,
        uapi::STOR_NR_SET => volume::set,
        uapi::STOR_NR_RENAME => volume::rename,
        uapi::STOR_NR_ENGINE_LIST => engine::list,
        uapi::STOR_NR_ENGINE_SWITCH => engine::switch,
        uapi::STOR_NR_POOL_CREATE => pool::create,
        uapi::STOR_NR_POOL_REMOVE => pool::remove,
        uapi::STOR_NR_POOL_RELOAD => pool::reload,
        uapi::STOR_NR_POOL_LIST => pool::list,
        uapi::STOR_NR_POOL_STATUS => pool::status,
        uapi::STOR_NR_POOL_CHANGE => pool::change,
        uapi::STOR_NR_POOL_DEVICE => pool::device,
        uapi::STOR_NR_REPLICA_STATUS => volume::replica_status,
        uapi::STOR_NR_REPLICA_VERIFY => volume::replica_verify,
        uapi::STOR_NR_INSERT => volume::insert,
        _ => return Err(ENOTTY),
    };
    run(front, call)
}

impl Node for Control {
    fn open() -> Result<KBox<Self>> {
        let front = front().ok_or(ENODEV)?;
        Ok(KBox::new(Self { cursor: Atomic::new(front.events.next()) }, GFP_KERNEL)?)
    }

    fn ioctl(&self, command: u32, argument: UserPtr) -> Result<isize> {
        dispatch(front().ok_or(ENODEV)?, &Call { command, argument })?;
        Ok(0)
    }

    fn read(&self, buffer: UserSlice, nonblocking: bool) -> Result<usize> {
        let front = front().ok_or(ENODEV)?;
        let mut writer = buffer.writer();
        let room = writer.len() / size_of::<uapi::stor_event>();
        if room == 0 {
            return Err(EINVAL);
        }
        // Two readers of one open node share its cursor, and may see an event twice but never lose one.
        let mut written = 0usize;
        for _ in 0..room {
            let read = front.events.read(self.cursor.load(Relaxed), nonblocking || written > 0);
            let (event, cursor) = match read {
                Ok(next) => next,
                Err(_) if written > 0 => break,
                Err(error) => return Err(error),
            };
            match writer.write_slice(event.as_bytes()) {
                Ok(()) => {}
                Err(_) if written > 0 => break,
                Err(error) => return Err(error),
            }
            self.cursor.store(cursor, Relaxed);
            written = written.wrapping_add(size_of::<uapi::stor_event>());
        }
        Ok(written)
    }

    fn poll(&self, file: &File, table: PollTable<'_>) -> bool {
        front().is_some_and(|front| front.events.poll(self.cursor.load(Relaxed), file, table))
    }
}
