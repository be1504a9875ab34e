// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Metadata in a file or on a block device.

use crate::{Error, Kind, Result};
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;
use stor_pure::pure::thin::block::{Block, BLOCK_SIZE};
use stor_pure::pure::thin::crc::Crc;
use stor_pure::pure::thin::store::{Array, Failed, Memory, NoMemory, Store};
use stor_pure::pure::units::MetadataBlock;

/// An array on the heap.
#[derive(Debug)]
pub struct Heap<T>(Vec<T>);

impl<T> Default for Heap<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Deref for Heap<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for Heap<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T> Array<T> for Heap<T> {
    fn push(&mut self, element: T) -> std::result::Result<(), NoMemory> {
        if self.0.len() == self.0.capacity() {
            self.0.try_reserve(1).map_err(|_| NoMemory)?;
        }
        self.0.push(element);
        Ok(())
    }

    fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    fn truncate(&mut self, length: usize) {
        self.0.truncate(length);
    }
}

/// Metadata in a file or on a block device.
#[derive(Debug)]
pub struct FileStore {
    file: File,
    blocks: u64,
    /// The first error, in the system's words: the engine only knows that there was one.
    error: Option<std::io::Error>,
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
            options.custom_flags(libc_excl());
        }
        let mut file = options.open(path).map_err(|error| refusal(&error))?;
        let metadata = file.metadata().map_err(|error| refusal(&error))?;
        if !metadata.is_file() && !is_device {
            return Err(Error::new(Kind::Usage, "neither a file nor a block device"));
        }
        let bytes = file.seek(SeekFrom::End(0)).map_err(|error| refusal(&error))?;
        Ok(Self { file, blocks: bytes / BLOCK_SIZE as u64, error: None })
    }

    /// The first error that reading or writing had.
    pub fn error(&mut self) -> Option<std::io::Error> {
        self.error.take()
    }

    fn remember<T>(&mut self, result: std::io::Result<T>) -> std::result::Result<T, Failed> {
        result.map_err(|error| {
            self.error.get_or_insert(error);
            Failed
        })
    }
}

/// A block device that is in use elsewhere refuses to be opened with this.
fn libc_excl() -> i32 {
    nix::fcntl::OFlag::O_EXCL.bits()
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
        Ok(Box::new([0; BLOCK_SIZE]))
    }

    fn array<T: Clone>(element: T, length: usize) -> std::result::Result<Heap<T>, NoMemory> {
        let mut array = Vec::new();
        array.try_reserve_exact(length).map_err(|_| NoMemory)?;
        array.resize(length, element);
        Ok(Heap(array))
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
        let result = self.file.read_exact_at(into, at.0 * BLOCK_SIZE as u64);
        self.remember(result)
    }

    fn write(&mut self, blocks: &mut dyn Iterator<Item = (MetadataBlock, &Block)>) -> std::result::Result<(), Failed> {
        for (at, block) in blocks {
            let result = self.file.write_all_at(block, at.0 * BLOCK_SIZE as u64);
            self.remember(result)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> std::result::Result<(), Failed> {
        let result = self.file.sync_data();
        self.remember(result)
    }

    fn flush_data(&mut self) -> std::result::Result<(), Failed> {
        Ok(())
    }
}
