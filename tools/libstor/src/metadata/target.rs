// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What metadata is written to: nothing that is in use, and nothing that holds something, unless that is asked for.

use super::{failure, FileStore};
use crate::{Error, Kind, Result};
use std::path::{Path, PathBuf};
use stor_pure::pure::thin::block::{self, Block, BLOCK_SIZE};
use stor_pure::pure::thin::build::Refusal;
use stor_pure::pure::thin::store::Store;
use stor_pure::pure::units::MetadataBlock;

/// A file or device that is not in use.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) store: FileStore,
    /// Its first block is not all zeros.
    pub(super) holds: bool,
}

impl Target {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// It is not there, or is in use, or cannot be read; or it holds something, and `overwrite` is not given.
    pub(super) fn open(path: &Path, overwrite: bool) -> Result<Self> {
        if let Some(device) = loop_over(path) {
            let what = format!("the target is in use: {} is a loop device over it", device.display());
            return Err(Error::new(Kind::Busy, what).help("detach it with losetup -d, or write to the device"));
        }
        let mut store = FileStore::open(path, true).map_err(|error| match error.kind {
            Kind::NotFound => {
                error.help("a file can be made of the size of the metadata device, such as by truncate --size=64M FILE")
            }
            Kind::Busy => Error { help: Some("deactivate the pool, or unmount what uses it, first".into()), ..error },
            _ => error,
        })?;
        if store.metadata_blocks() == 0 {
            return Err(Error::new(Kind::Unfit, "the target is of less than one block of 4 KiB")
                .help("give it the size of the metadata device, such as by truncate --size=64M FILE"));
        }
        let mut first: Block = [0; BLOCK_SIZE];
        let read = store.read(MetadataBlock(0), &mut first);
        if read.is_err() && !overwrite {
            return Err(Error::new(Kind::Failure, "the target's first block cannot be read"));
        }
        let holds = read.is_err() || first.iter().any(|&byte| byte != 0);
        if holds && !overwrite {
            let what = match block::kind::<FileStore>(&first) {
                Some(block::Kind::Superblock) => "the target holds metadata already",
                _ => "the target holds something already",
            };
            return Err(
                Error::new(Kind::Exists, what).help("give another, or --overwrite if what it holds can be lost")
            );
        }
        Ok(Self { store, holds })
    }

    /// The store, with nothing in it that can be opened, even after a crash.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub(super) fn cleared(mut self) -> Result<FileStore> {
        if self.holds {
            let zeros: Block = [0; BLOCK_SIZE];
            let written = self.store.write(&mut [(MetadataBlock(0), &zeros)].into_iter());
            written
                .and_then(|()| self.store.flush())
                .map_err(|_| Error::new(Kind::Failure, "the target's first block cannot be written"))?;
        }
        Ok(self.store)
    }
}

/// The loop device that a file is behind, if there is one.
fn loop_over(path: &Path) -> Option<PathBuf> {
    let path = std::fs::canonicalize(path).ok()?;
    let disks = std::fs::read_dir("/sys/block").ok()?;
    let names = disks.filter_map(|disk| disk.ok().map(|disk| disk.file_name()));
    let mut loops = names.filter(|name| {
        let backing = Path::new("/sys/block").join(name).join("loop/backing_file");
        std::fs::read_to_string(backing).is_ok_and(|backing| Path::new(backing.trim_end()) == path)
    });
    loops.next().map(|name| Path::new("/dev").join(name))
}

/// What could not be built, as an error.
pub(super) fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::Engine(error) => failure(error),
        Refusal::Small { needed, .. } => {
            Error::new(Kind::Unfit, refusal.to_string()).help(format!("give it {} KiB or more", needed * 4))
        }
        Refusal::Large { .. } => Error::new(Kind::Unfit, refusal.to_string()),
        _ => Error::new(Kind::Failure, refusal.to_string()),
    }
}
