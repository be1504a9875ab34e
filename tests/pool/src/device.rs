// SPDX-License-Identifier: GPL-2.0

//! A volume's node, read and written past the page cache.

use crate::content::SECTOR;
use crate::Fault;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Bytes that are read at a time.
pub(crate) const CHUNK: usize = 1 << 20;
const PAGE: usize = 4096;

nix::ioctl_write_ptr_bad!(blkdiscard, nix::request_code_none!(0x12, 119), [u64; 2]);

/// Memory as direct I/O wants it.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    begin: usize,
}

impl Buffer {
    pub(crate) fn new(length: usize) -> Self {
        let bytes = vec![0; length + PAGE];
        let begin = bytes.as_ptr().align_offset(PAGE);
        Self { bytes, begin }
    }

    /// The first so many bytes.
    pub(crate) fn first(&mut self, length: usize) -> &mut [u8] {
        &mut self.bytes[self.begin..self.begin + length]
    }
}

/// An open node.
pub(crate) struct Node {
    plain: File,
    /// Each write through it is durable when it returns.
    durable: File,
    /// How many sectors there are.
    pub(crate) sectors: u64,
}

impl Node {
    /// Opens one; for reading only if it allows nothing else.
    pub(crate) fn open(path: &Path) -> Result<Self, Fault> {
        let open = |write, flags| {
            let mut options = OpenOptions::new();
            options.read(true).write(write).custom_flags(libc::O_DIRECT | flags).open(path)
        };
        let fault = |error: io::Error| format!("{}: {error}", path.display());
        let (mut plain, write) = match open(true, 0) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EROFS | libc::EPERM)) => {
                (open(false, 0).map_err(fault)?, false)
            }
            other => (other.map_err(fault)?, true),
        };
        let sectors = plain.seek(SeekFrom::End(0))? / SECTOR as u64;
        Ok(Self { plain, durable: open(write, libc::O_DSYNC)?, sectors })
    }

    pub(crate) fn read(&self, sector: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.plain.read_exact_at(bytes, sector * SECTOR as u64)
    }

    pub(crate) fn write(&self, sector: u64, bytes: &[u8], durable: bool) -> io::Result<()> {
        let file = if durable { &self.durable } else { &self.plain };
        file.write_all_at(bytes, sector * SECTOR as u64)
    }

    /// All writes that have returned are durable.
    pub(crate) fn flush(&self, data_only: bool) -> io::Result<()> {
        if data_only {
            self.plain.sync_data()
        } else {
            self.plain.sync_all()
        }
    }

    pub(crate) fn discard(&self, sector: u64, count: u64) -> io::Result<()> {
        let range = [sector * SECTOR as u64, count * SECTOR as u64];
        // SAFETY: BLKDISCARD reads two numbers, and no memory of this process is what is discarded.
        unsafe { blkdiscard(self.plain.as_raw_fd(), &range) }?;
        Ok(())
    }

    /// Reads all of it, and has `look` see each sector.
    pub(crate) fn all(&self, mut look: impl FnMut(u64, &[u8]) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut buffer = Buffer::new(CHUNK);
        let mut sector = 0;
        while sector < self.sectors {
            let count = (self.sectors - sector).min((CHUNK / SECTOR) as u64);
            let bytes = buffer.first(count as usize * SECTOR);
            self.read(sector, bytes)?;
            for bytes in bytes.chunks_exact(SECTOR) {
                look(sector, bytes).map_err(|error| format!("sector {sector} {error}"))?;
                sector += 1;
            }
        }
        Ok(())
    }
}
