// SPDX-License-Identifier: GPL-2.0

//! The only unsafe code of the fuzzer: raw ioctls, and memory for them to point at.

use nix::errno::Errno;
use nix::sys::memfd::{memfd_create, MFdFlags};
use nix::sys::mman::{mmap, MapFlags, ProtFlags};
use std::num::NonZeroUsize;
use std::os::fd::RawFd;

/// Calls ioctl(2). `address` leads into an [`Arena`], to a value that the command fits, or to no memory at all.
pub(crate) fn ioctl(fd: RawFd, command: u32, address: u64) -> Result<(), Errno> {
    // SAFETY: the kernel writes behind `address`, which is no memory that Rust has another idea of.
    Errno::result(unsafe { libc::ioctl(fd, command.into(), address) }).map(drop)
}

/// [`ioctl`] as a 32-bit program calls it. It kills the process if the kernel runs no such programs.
#[cfg(target_arch = "x86_64")]
pub(crate) fn ioctl_compat(fd: RawFd, command: u32, address: u32) -> Result<(), Errno> {
    const IOCTL: i32 = 54;
    let mut answer = IOCTL;
    // SAFETY: as for `ioctl`. The entry clears the registers that are named; rbx, which cannot be, is put back.
    unsafe {
        std::arch::asm!(
            "xchg {fd}, rbx", "int 0x80", "xchg {fd}, rbx",
            fd = inout(reg) i64::from(fd) => _, inout("eax") answer, in("ecx") command, in("edx") address,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    if answer < 0 {
        Err(Errno::from_raw(answer.wrapping_neg()))
    } else {
        Ok(())
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn ioctl_compat(fd: RawFd, command: u32, address: u32) -> Result<(), Errno> {
    ioctl(fd, command, address.into())
}

/// What the kernel finds behind a file descriptor.
pub(crate) struct Node {
    pub(crate) mode: u32,
    /// Major and minor, of a device.
    pub(crate) number: (u32, u32),
}

/// The node behind a file descriptor, unless it is closed or opened with O_PATH.
pub(crate) fn node(fd: RawFd) -> Option<Node> {
    // SAFETY: F_GETFL takes no argument.
    let flags = Errno::result(unsafe { libc::fcntl(fd, libc::F_GETFL) }).ok()?;
    if flags & libc::O_PATH != 0 {
        return None;
    }
    // SAFETY: zero is a value of this plain struct.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills the struct.
    Errno::result(unsafe { libc::fstat(fd, &mut stat) }).ok()?;
    Some(Node { mode: stat.st_mode, number: (libc::major(stat.st_rdev), libc::minor(stat.st_rdev)) })
}

/// Memory at a known place, seen twice: at [`Arena::START`] it can be written, at [`Arena::READ_ONLY`] it cannot.
/// Nothing else lies within gigabytes, so whatever an address is turned into, it leads here or nowhere.
pub(crate) struct Arena(());

impl Arena {
    pub(crate) const SIZE: u64 = 256 << 10;
    pub(crate) const START: u64 = 0x6000_0000;
    pub(crate) const READ_ONLY: u64 = Self::START + (1 << 20);

    pub(crate) fn new() -> nix::Result<Self> {
        let memory = memfd_create(c"arena", MFdFlags::empty())?;
        nix::unistd::ftruncate(&memory, Self::SIZE as i64)?;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED_NOREPLACE;
        let read_write = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        for (start, protection) in [(Self::START, read_write), (Self::READ_ONLY, ProtFlags::PROT_READ)] {
            let (start, size) = (NonZeroUsize::new(start as usize), NonZeroUsize::new(Self::SIZE as usize));
            let size = size.ok_or(Errno::EINVAL)?;
            // SAFETY: NOREPLACE: nothing of this program was there.
            unsafe { mmap(start, size, protection, flags, &memory, 0) }?;
        }
        Ok(Self(()))
    }

    fn is_inside(start: u64, address: u64, length: usize) -> bool {
        address >= start && address.checked_add(length as u64).is_some_and(|end| end <= start + Self::SIZE)
    }

    pub(crate) fn can_write(address: u64, length: usize) -> bool {
        Self::is_inside(Self::START, address, length)
    }

    pub(crate) fn can_read(address: u64, length: usize) -> bool {
        Self::can_write(address, length) || Self::is_inside(Self::READ_ONLY, address, length)
    }

    /// What lies at an address, if all of it is there.
    pub(crate) fn read(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        // SAFETY: all of it is mapped; nobody has a reference to it, and the kernel is not at work.
        Self::can_read(address, length).then(|| unsafe {
            std::ptr::copy_nonoverlapping(address as *const u8, bytes.as_mut_ptr(), length);
            bytes
        })
    }

    /// Puts `bytes` at an address, as much of them as the arena has room for.
    pub(crate) fn write(&mut self, address: u64, bytes: &[u8]) {
        let room = (Self::START + Self::SIZE).saturating_sub(address);
        let length = bytes.len().min(room as usize);
        if Self::can_write(address, length) {
            // SAFETY: as in `read`, and it can be written.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, length) }
        }
    }
}

/// Starts a thread that changes bytes of the arena all the time, so that the kernel finds something else there each
/// time it looks. What lies in the arena is then of no use to the program itself.
pub(crate) fn scribble() {
    std::thread::spawn(|| {
        let mut rng = crate::rng::Rng::new(0);
        loop {
            for _ in 0..64 {
                let address = Arena::START + rng.below(0x6000) as u64;
                // SAFETY: the arena is mapped for good, and races in it are the purpose.
                unsafe { std::ptr::write_volatile(address as *mut u8, rng.next() as u8) };
            }
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
    });
}

/// read(2) to the beginning of the address space.
pub(crate) fn read_to_nowhere(fd: RawFd, size: usize) -> isize {
    // SAFETY: nothing can be there.
    unsafe { libc::read(fd, std::ptr::without_provenance_mut(8), size) }
}

/// What a read(2) that waits answers when a signal comes, after a fifth of a second.
pub(crate) fn interrupted_read(fd: RawFd, size: usize) -> Errno {
    extern "C" fn nothing(_: libc::c_int) {}
    let mut bytes = vec![0u8; size];
    // SAFETY: the handler does nothing; the structs are plain, and zero but for what is set; `bytes` has `size` bytes.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut());
        let soon = libc::timeval { tv_sec: 0, tv_usec: 200_000 };
        let timer = libc::itimerval { it_interval: libc::timeval { tv_sec: 0, tv_usec: 0 }, it_value: soon };
        libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut());
        Errno::result(libc::read(fd, bytes.as_mut_ptr().cast(), size)).err().unwrap_or(Errno::UnknownErrno)
    }
}
