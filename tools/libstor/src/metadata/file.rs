// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Metadata in a file or on a block device.

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

/// Metadata in a file or on a block device.
#[derive(Debug)]
pub struct FileStore {
    file: File,
    blocks: u64,
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
        Ok(Self { file, blocks: bytes / BLOCK_SIZE as u64 })
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
        self.file.read_exact_at(into, at.0 * BLOCK_SIZE as u64).map_err(|_| Failed)
    }

    fn write(&mut self, blocks: &mut dyn Iterator<Item = (MetadataBlock, &Block)>) -> std::result::Result<(), Failed> {
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
