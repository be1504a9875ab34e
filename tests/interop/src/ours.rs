// SPDX-License-Identifier: GPL-2.0

//! Stor's metadata engine, with the data path of a thin target in small around it.

use crate::model::{stamped, PAGE, PAGES};
use crate::side::{Fault, Side};
use std::fs::{File, OpenOptions};
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::FileExt;
use std::path::Path;
use stor_pure::heap::{self, Heap};
use stor_pure::pure::thin::block::{Block, BLOCK_SIZE};
use stor_pure::pure::thin::check;
use stor_pure::pure::thin::crc::Crc;
use stor_pure::pure::thin::data::Run;
use stor_pure::pure::thin::device::Deletion;
use stor_pure::pure::thin::error::Error;
use stor_pure::pure::thin::pool::{Options, Pool};
use stor_pure::pure::thin::store::{Failed, Memory, NoMemory, Store};
use stor_pure::pure::units::{MetadataBlock, VirtualBlock};

const OPTIONS: Options = Options { frames: 512, streams: 2, passdown: false };
/// Bytes of a data block.
const DATA_BLOCK: u64 = PAGE as u64 * PAGES;

/// The two devices.
pub(crate) struct Devices {
    metadata: File,
    data: File,
    blocks: u64,
}

impl Devices {
    pub(crate) fn open(metadata: &Path, data: &Path) -> Result<Self, Fault> {
        let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path);
        let metadata = open(metadata).map_err(|error| format!("{}: {error}", metadata.display()))?;
        let data = open(data).map_err(|error| format!("{}: {error}", data.display()))?;
        let blocks = size(&metadata)? / BLOCK_SIZE as u64;
        Ok(Self { metadata, data, blocks })
    }
}

/// Bytes of a file or a block device.
fn size(mut file: &File) -> Result<u64, Fault> {
    use std::io::{Seek, SeekFrom};
    Ok(file.seek(SeekFrom::End(0))?)
}

impl Memory for Devices {
    type Array<T> = Heap<T>;
    type Frame = Box<Block>;

    fn frame() -> Result<Box<Block>, NoMemory> {
        Ok(heap::frame())
    }
}

impl Crc for Devices {
    fn crc32c(bytes: &[u8]) -> u32 {
        !crc32c::crc32c(bytes)
    }
}

impl Store for Devices {
    fn metadata_blocks(&self) -> u64 {
        self.blocks
    }

    fn read(&mut self, at: MetadataBlock, into: &mut Block) -> Result<(), Failed> {
        self.metadata.read_exact_at(into, at.0 * BLOCK_SIZE as u64).map_err(|_| Failed)
    }

    fn write(&mut self, blocks: &mut dyn Iterator<Item = (MetadataBlock, &Block)>) -> Result<(), Failed> {
        for (at, block) in blocks {
            self.metadata.write_all_at(block, at.0 * BLOCK_SIZE as u64).map_err(|_| Failed)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failed> {
        self.metadata.sync_data().map_err(|_| Failed)
    }

    fn flush_data(&mut self) -> Result<(), Failed> {
        self.data.sync_data().map_err(|_| Failed)
    }
}

/// Stor at work.
pub(crate) struct Ours {
    pool: Pool<Devices>,
    stream: usize,
}

/// Makes the metadata of an empty pool.
pub(crate) fn format(devices: Devices) -> Result<(), Fault> {
    let blocks = size(&devices.data)? / DATA_BLOCK;
    Pool::format(devices, OPTIONS, (DATA_BLOCK / 512) as u32, blocks)?.commit()?;
    Ok(())
}

/// What the strict checker finds.
pub(crate) fn findings(mut devices: Devices) -> Result<Vec<String>, Fault> {
    let mut findings = Vec::new();
    check::check(&mut devices, &mut |finding| findings.push(finding.to_string()))?;
    Ok(findings)
}

impl Ours {
    /// Opens the pool, and takes what its devices have grown by.
    pub(crate) fn open(devices: Devices) -> Result<Self, Fault> {
        let (metadata, data) = (devices.blocks, size(&devices.data)? / DATA_BLOCK);
        let mut pool = Pool::open(devices, OPTIONS)?;
        if pool.metadata_blocks() < metadata {
            pool.grow_metadata()?;
            pool.commit()?;
        }
        if pool.data_blocks() < data {
            pool.grow_data(data)?;
            pool.commit()?;
        }
        Ok(Self { pool, stream: 0 })
    }

    /// Changes that are not committed, and given up.
    pub(crate) fn abandon(&mut self, ids: &[u64]) -> Result<(), Fault> {
        self.pool.commit()?;
        for (new, &id) in (1..).zip(ids) {
            self.pool.remove(id, VirtualBlock(0), VirtualBlock(40), 1000)?;
            if !ids.contains(&new) {
                self.pool.create_snapshots(&[(new, id)])?;
            }
        }
        Ok(self.pool.abort()?)
    }

    fn write_block(&mut self, id: u64, block: u64, pages: Range<u64>, stamp: u64) -> Result<(), Fault> {
        let found = self.pool.lookup(id, VirtualBlock(block))?;
        let (data, new) = match found.filter(|run| !run.shared) {
            Some(run) => (run.data.0, None),
            None => {
                self.stream = 1 - self.stream;
                let run = match self.pool.take_data(self.stream, 1) {
                    Err(Error::CommitFirst) => {
                        self.pool.commit()?;
                        self.pool.take_data(self.stream, 1)?
                    }
                    result => result?,
                };
                let mut old = vec![0; DATA_BLOCK as usize];
                if let Some(found) = found {
                    self.pool.store().data.read_exact_at(&mut old, found.data.0 * DATA_BLOCK)?;
                }
                self.pool.store().data.write_all_at(&old, run.begin * DATA_BLOCK)?;
                (run.begin, Some(run))
            }
        };
        let bytes = stamped(pages.end - pages.start, stamp);
        self.pool.store().data.write_all_at(&bytes, data * DATA_BLOCK + pages.start * PAGE as u64)?;
        if let Some(run) = new {
            self.insert(id, block, run)?;
        }
        Ok(())
    }

    fn insert(&mut self, id: u64, block: u64, run: Run) -> Result<(), Fault> {
        if self.pool.insert(id, VirtualBlock(block), run) == Err(Error::CommitFirst) {
            self.pool.commit()?;
            self.pool.insert(id, VirtualBlock(block), run)?;
        }
        Ok(())
    }

    /// The blocks that are mapped.
    pub(crate) fn mapped(&mut self, id: u64) -> Result<Vec<u64>, Fault> {
        let mut blocks = Vec::new();
        self.pool.runs(id, VirtualBlock(0), VirtualBlock(u64::MAX), &mut |run| {
            blocks.extend(run.begin.0..run.begin.0 + run.length);
            ControlFlow::Continue(())
        })?;
        Ok(blocks)
    }

    pub(crate) fn transaction_id(&self) -> u64 {
        self.pool.transaction_id()
    }
}

impl Side for Ours {
    fn create(&mut self, id: u64) -> Result<(), Fault> {
        self.pool.create_thin(id)?;
        self.commit()
    }

    fn snapshot(&mut self, id: u64, origin: u64) -> Result<(), Fault> {
        self.pool.create_snapshots(&[(id, origin)])?;
        self.commit()
    }

    fn delete(&mut self, id: u64) -> Result<(), Fault> {
        while self.pool.delete(id, 100)? == Deletion::Unfinished {
            self.pool.commit()?;
        }
        self.commit()
    }

    fn write(&mut self, id: u64, pages: Range<u64>, stamp: u64) -> Result<(), Fault> {
        let mut begin = pages.start;
        while begin < pages.end {
            let block = begin / PAGES;
            let end = pages.end.min((block + 1) * PAGES);
            self.write_block(id, block, begin % PAGES..end - block * PAGES, stamp)?;
            begin = end;
        }
        Ok(())
    }

    fn discard(&mut self, id: u64, blocks: Range<u64>) -> Result<(), Fault> {
        let mut begin = VirtualBlock(blocks.start);
        loop {
            match self.pool.remove(id, begin, VirtualBlock(blocks.end), 100) {
                Err(Error::CommitFirst) => self.pool.commit()?,
                removed => match removed?.next {
                    Some(next) => begin = next,
                    None => return Ok(()),
                },
            }
        }
    }

    fn set_transaction_id(&mut self, old: u64, new: u64) -> Result<(), Fault> {
        self.pool.set_transaction_id(old, new)?;
        self.commit()
    }

    fn hold(&mut self) -> Result<(), Fault> {
        self.pool.reserve_snapshot()?;
        Ok(())
    }

    fn release(&mut self) -> Result<(), Fault> {
        Ok(self.pool.release_snapshot()?)
    }

    fn free(&mut self) -> Result<u64, Fault> {
        Ok(self.pool.data_blocks() - self.pool.data_used())
    }

    fn commit(&mut self) -> Result<(), Fault> {
        Ok(self.pool.commit()?)
    }

    fn read(&mut self, id: u64, page: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        match self.pool.lookup(id, VirtualBlock(page / PAGES))? {
            Some(run) => self.pool.store().data.read_exact_at(bytes, run.data.0 * DATA_BLOCK)?,
            None => bytes.fill(0),
        }
        Ok(())
    }

    fn close(mut self: Box<Self>) -> Result<(), Fault> {
        self.commit()
    }
}
