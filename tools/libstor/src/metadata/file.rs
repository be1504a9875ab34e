// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Metadata in a file or on a block device.

use super::Progress;
use crate::{Error, Kind, Result};
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;
use stor_pure::heap::{self, Heap};
use stor_pure::pure::thin::block::{Block, BLOCK_SIZE};
use stor_pure::pure::thin::crc::Crc;
use stor_pure::pure::thin::store::{Failed, Memory, NoMemory, Store};
use stor_pure::pure::units::MetadataBlock;

/// Blocks that are read at once when one is read after the other,
const WINDOW: usize = 64;
/// with no more than so many left out in between.
const GAP: u64 = 8;

/// Metadata in a file or on a block device.
#[derive(Debug)]
pub struct FileStore {
    file: File,
    blocks: u64,
    /// Blocks that have been read ahead, from `ahead` on.
    window: Vec<u8>,
    ahead: u64,
    /// Behind the block that was asked for last.
    next: u64,
    progress: Progress,
}

impl FileStore {
    /// Opens what is there. A device that is in use is not opened for writing.
    ///
    /// # Errors
    ///
    /// It is not there, is no file or block device, or may not be opened.
    pub fn open(path: &Path, write: bool) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(write);
        let is_device = std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_block_device());
        if write && is_device {
            options.custom_flags(nix::fcntl::OFlag::O_EXCL.bits());
        }
        let mut file = options.open(path).map_err(|error| refusal(&error))?;
        let metadata = file.metadata().map_err(|error| refusal(&error))?;
        if !metadata.is_file() && !is_device {
            return Err(Error::new(Kind::Usage, "neither a file nor a block device"));
        }
        let bytes = file.seek(SeekFrom::End(0)).map_err(|error| refusal(&error))?;
        if is_device {
            // A pool that is in use writes past the page cache, which may still have what somebody read earlier.
            nix::fcntl::posix_fadvise(&file, 0, 0, nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED)
                .map_err(Error::from)?;
        }
        let blocks = bytes / BLOCK_SIZE as u64;
        Ok(Self { file, blocks, window: Vec::new(), ahead: 0, next: 0, progress: Progress::default() })
    }

    /// Counts what is read.
    pub(super) fn report(self, progress: &Progress) -> Self {
        Self { progress: progress.clone(), ..self }
    }

    /// A block that has been read ahead.
    fn known(&self, at: u64) -> Option<&[u8]> {
        let begin = usize::try_from(at.checked_sub(self.ahead)?).ok()?.checked_mul(BLOCK_SIZE)?;
        self.window.get(begin..begin.checked_add(BLOCK_SIZE)?)
    }

    /// Reads the blocks from `at` on into the window.
    fn read_ahead(&mut self, at: u64) -> std::io::Result<()> {
        let blocks = usize::try_from(self.blocks.saturating_sub(at)).unwrap_or(WINDOW).min(WINDOW);
        self.window.resize(blocks * BLOCK_SIZE, 0);
        self.ahead = at;
        let read = self.file.read_exact_at(&mut self.window, at * BLOCK_SIZE as u64);
        if read.is_err() {
            self.window.clear();
        }
        read
    }
}

fn refusal(error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::new(Kind::NotFound, "there is no such file or device"),
        std::io::ErrorKind::PermissionDenied => {
            Error::new(Kind::Permission, "not allowed to this user").help("run as root")
        }
        std::io::ErrorKind::ResourceBusy => {
            Error::new(Kind::Busy, "in use").help("deactivate the pool first, or use its metadata snapshot")
        }
        _ => Error::new(Kind::Failure, error.to_string()),
    }
}

impl Memory for FileStore {
    type Array<T> = Heap<T>;
    type Frame = Box<Block>;

    fn frame() -> std::result::Result<Box<Block>, NoMemory> {
        Ok(heap::frame())
    }

    fn array<T: Clone>(element: T, length: usize) -> std::result::Result<Heap<T>, NoMemory> {
        Heap::filled(element, length)
    }
}

impl Crc for FileStore {
    fn crc32c(bytes: &[u8]) -> u32 {
        // The library inverts the register at the end.
        !crc32c::crc32c(bytes)
    }
}

impl Store for FileStore {
    fn metadata_blocks(&self) -> u64 {
        self.blocks
    }

    fn read(&mut self, at: MetadataBlock, into: &mut Block) -> std::result::Result<(), Failed> {
        self.progress.add(BLOCK_SIZE as u64);
        let in_order = at.0.checked_sub(self.next).is_some_and(|gap| gap < GAP);
        self.next = at.0 + 1;
        // If a block behind this one cannot be read, this one may be.
        if self.known(at.0).is_none() && in_order && self.read_ahead(at.0).is_err() {
            self.next = 0;
        }
        if let Some(known) = self.known(at.0) {
            into.copy_from_slice(known);
            return Ok(());
        }
        self.file.read_exact_at(into, at.0 * BLOCK_SIZE as u64).map_err(|_| Failed)
    }

    fn write(&mut self, blocks: &mut dyn Iterator<Item = (MetadataBlock, &Block)>) -> std::result::Result<(), Failed> {
        self.window.clear();
        for (at, block) in blocks {
            self.file.write_all_at(block, at.0 * BLOCK_SIZE as u64).map_err(|_| Failed)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> std::result::Result<(), Failed> {
        self.file.sync_data().map_err(|_| Failed)
    }

    fn flush_data(&mut self) -> std::result::Result<(), Failed> {
        Ok(())
    }
}
