// SPDX-License-Identifier: GPL-2.0

//! Who may call, and which ABI is spoken.

use crate::control::{command, Control, NODE};
use crate::sys;
use crate::Result;
use nix::errno::Errno;
use nix::sched::{unshare, CloneFlags};
use std::fs::{File, OpenOptions};
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use stor_pure::abi::uapi::*;
use zerocopy::IntoBytes;

/// All commands, and the size of their argument.
const COMMANDS: [(u32, usize); 22] = [
    (STOR_NR_VERSION, size_of::<stor_version>()),
    (STOR_NR_CREATE, size_of::<stor_create>()),
    (STOR_NR_REMOVE, size_of::<stor_volume_ref>()),
    (STOR_NR_SUSPEND, size_of::<stor_volume_ref>()),
    (STOR_NR_RESUME, size_of::<stor_volume_ref>()),
    (STOR_NR_RELOAD, size_of::<stor_reload>()),
    (STOR_NR_LIST, size_of::<stor_list>()),
    (STOR_NR_STATUS, size_of::<stor_status>()),
    (STOR_NR_SET, size_of::<stor_set>()),
    (STOR_NR_RENAME, size_of::<stor_rename>()),
    (STOR_NR_ENGINE_LIST, size_of::<stor_engine_list>()),
    (STOR_NR_ENGINE_SWITCH, size_of::<stor_engine_switch>()),
    (STOR_NR_POOL_CREATE, size_of::<stor_pool_create>()),
    (STOR_NR_POOL_REMOVE, size_of::<stor_volume_ref>()),
    (STOR_NR_POOL_RELOAD, size_of::<stor_pool_reload>()),
    (STOR_NR_POOL_LIST, size_of::<stor_pool_list>()),
    (STOR_NR_POOL_STATUS, size_of::<stor_pool_status>()),
    (STOR_NR_POOL_CHANGE, size_of::<stor_pool_change>()),
    (STOR_NR_POOL_DEVICE, size_of::<stor_pool_device>()),
    (STOR_NR_REPLICA_STATUS, size_of::<stor_replica_status>()),
    (STOR_NR_REPLICA_VERIFY, size_of::<stor_replica_verify>()),
    (STOR_NR_INSERT, size_of::<stor_insert>()),
];

/// Calls a command with an argument that is zero but for its header.
fn call(control: &File, nr: u32, abi: u32, size: usize) -> std::result::Result<(), Errno> {
    let mut argument = [0u64; 512];
    let header = stor_header { abi, size: size as u32, flags: 0, reserved: 0 };
    argument.as_mut_bytes().iter_mut().zip(header.as_bytes()).for_each(|(to, from)| *to = *from);
    sys::ioctl(control.as_raw_fd(), command(nr, size), argument.as_mut_ptr() as u64)
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, nr: u32, found: T, right: T) -> Result<()> {
    if found == right {
        Ok(())
    } else {
        Err(format!("{what}, command {nr}: {found:?}, should be {right:?}").into())
    }
}

/// A caller of another ABI is told so, whatever the size of its arguments; it can always ask which is spoken.
pub(crate) fn abi() -> Result<()> {
    let control = Control::open()?;
    for abi in [0, STOR_ABI_VERSION + 1, u32::MAX] {
        for (nr, size) in COMMANDS.into_iter().filter(|(nr, _)| *nr != STOR_NR_VERSION) {
            for size in [size, size + 8, size - 8] {
                equal("another ABI", nr, call(&control.0, nr, abi, size), Err(Errno::EPROTONOSUPPORT))?;
            }
        }
        let mut argument = control.version()?;
        argument.header.abi = abi;
        control.call(STOR_NR_VERSION, &mut argument)?;
        equal("abi of the caller", STOR_NR_VERSION, argument.header.abi, abi)?;
        let range = (argument.abi_min, argument.abi_max);
        equal("what is spoken", STOR_NR_VERSION, range, (STOR_ABI_VERSION, STOR_ABI_VERSION))?;
    }
    for (nr, size) in COMMANDS {
        for size in [size + 8, size - 8, 16, 8, 0] {
            equal("another size", nr, call(&control.0, nr, STOR_ABI_VERSION, size), Err(Errno::EINVAL))?;
        }
    }
    println!("a caller of another ABI is told so");
    Ok(())
}

/// Without CAP_SYS_ADMIN only VERSION and LIST work, on whatever way the node was opened.
pub(crate) fn privileges() -> Result<()> {
    let control = Control::open()?;
    let nobody = 65534;
    let status = Command::new("/proc/self/exe")
        .arg("unprivileged")
        .stdin(Stdio::from(control.0.as_fd().try_clone_to_owned()?))
        .uid(nobody)
        .gid(nobody)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the unprivileged caller: {status}").into())
    }
}

/// The caller that [`privileges`] starts; root opened its standard input.
pub(crate) fn unprivileged() -> Result<()> {
    let given: File = std::io::stdin().as_fd().try_clone_to_owned()?.into();
    refused(&given)?;
    refused(&File::open(NODE)?)?;
    let write = OpenOptions::new().write(true).open(NODE).err().map(|error| error.kind());
    equal("open for writing", 0, write, Some(std::io::ErrorKind::PermissionDenied))?;
    // Root of a user namespace has every capability, but not here.
    let root = match unshare(CloneFlags::CLONE_NEWUSER) {
        Ok(()) => {
            refused(&given)?;
            refused(&File::open(NODE)?)?;
            "and neither does root of a user namespace"
        }
        Err(_) => "(this kernel lets nobody make a user namespace)",
    };
    println!("an unprivileged caller gets VERSION and LIST and nothing else, {root}");
    Ok(())
}

fn refused(control: &File) -> Result<()> {
    for (nr, size) in COMMANDS {
        let allowed = matches!(nr, STOR_NR_VERSION | STOR_NR_LIST | STOR_NR_POOL_LIST);
        let right = if allowed { Ok(()) } else { Err(Errno::EPERM) };
        equal("an unprivileged call", nr, call(control, nr, STOR_ABI_VERSION, size), right)?;
        // It does not even learn what is wrong with its argument.
        if !allowed {
            equal("a wrong unprivileged call", nr, call(control, nr, 9, size - 8), right)?;
            let bad = sys::ioctl(control.as_raw_fd(), command(nr, size), 8);
            equal("an unprivileged call without argument", nr, bad, right)?;
        }
    }
    let list = Control(control.try_clone()?).list()?;
    equal("volumes", STOR_NR_LIST, list.0.len(), 0)
}
