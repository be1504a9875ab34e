// SPDX-License-Identifier: GPL-2.0

//! Two devices with volatile caches, which can fail, and a log of all that is done to them.

use std::cell::RefCell;
use std::collections::hash_map::DefaultHasher;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use stor_pure::heap::{self, Heap};
use stor_pure::pure::thin::block::{Block, BLOCK_SIZE};
use stor_pure::pure::thin::crc::Crc;
use stor_pure::pure::thin::store::{Failed, Memory, NoMemory, Store};
use stor_pure::pure::units::MetadataBlock;

/// Sectors of a data block.
pub(crate) const SECTORS: usize = 2;
/// Contents of a data block: sectors, each with a stamp that says who wrote it.
pub(crate) type Data = [u64; SECTORS];

/// A metadata block that was written.
#[derive(Clone)]
pub(crate) struct Written {
    pub(crate) block: Block,
    /// Of each sector.
    pub(crate) hashes: [u64; 8],
}

impl Written {
    fn new(block: &Block) -> Self {
        let mut hashes = [0; 8];
        for (hash, sector) in hashes.iter_mut().zip(block.chunks(512)) {
            let mut hasher = DefaultHasher::new();
            sector.hash(&mut hasher);
            *hash = hasher.finish();
        }
        Self { block: *block, hashes }
    }
}

/// Metadata blocks by their places.
pub(crate) type Blocks = HashMap<u64, Rc<Written>>;

/// Why a data block is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It was taken, and is to be mapped.
    Fill,
    /// This volume has it at this block.
    InPlace(u64, u64),
    /// Nobody has it.
    Discard,
}

/// What was done.
#[derive(Clone)]
pub(crate) enum Event {
    /// A metadata block was written.
    Metadata(u64, Rc<Written>),
    /// The metadata device was flushed.
    FlushMetadata,
    /// A sector of a data block was written, or discarded.
    Data(u64, usize, u64, Purpose),
    /// The data device was flushed.
    FlushData,
    /// A flush failed, and of what was not durable the metadata device, or the data device, has only this left.
    Lost { metadata: bool, kept: Vec<bool> },
    /// The metadata device has another size.
    Resized(u64),
    /// The mark that asks for a check is about to be set or cleared, or has been.
    Mark { set: bool, done: bool },
    /// A commit begins.
    Pending(usize),
    /// The caller was told that it was done, or that all is as after an earlier one.
    Acknowledged(usize),
}

/// Which requests fail, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fail {
    /// The first that does.
    pub(crate) at: u64,
    /// It is the only one.
    pub(crate) once: bool,
    /// A write that fails was done, and a flush that fails lost nothing.
    pub(crate) done: bool,
}

/// The log, and what the devices hold as their users see it.
pub(crate) struct Devices {
    pub(crate) log: Vec<Event>,
    pub(crate) metadata: Blocks,
    pub(crate) data: HashMap<u64, Data>,
    /// Blocks of the metadata device.
    pub(crate) blocks: u64,
    /// Requests there have been.
    pub(crate) requests: u64,
    pub(crate) fail: Option<Fail>,
    durable_metadata: Blocks,
    durable_data: HashMap<u64, Data>,
    volatile_metadata: Vec<(u64, Rc<Written>)>,
    volatile_data: Vec<(u64, usize, u64)>,
}

pub(crate) fn put(data: &mut HashMap<u64, Data>, block: u64, sector: usize, stamp: u64) {
    if let Some(place) = data.entry(block).or_default().get_mut(sector) {
        *place = stamp;
    }
}

impl Devices {
    pub(crate) fn new(blocks: u64) -> Self {
        Self {
            log: vec![Event::Resized(blocks)],
            metadata: HashMap::new(),
            data: HashMap::new(),
            blocks,
            requests: 0,
            fail: None,
            durable_metadata: HashMap::new(),
            durable_data: HashMap::new(),
            volatile_metadata: Vec::new(),
            volatile_data: Vec::new(),
        }
    }

    pub(crate) fn grow(&mut self, blocks: u64) {
        self.blocks += blocks;
        self.log.push(Event::Resized(self.blocks));
    }

    /// Whether a request fails; if so, whether it was done nevertheless.
    fn request(&mut self) -> Result<(), bool> {
        let number = self.requests;
        self.requests += 1;
        match self.fail {
            Some(fail) if number == fail.at || (number > fail.at && !fail.once) => Err(fail.done),
            _ => Ok(()),
        }
    }

    pub(crate) fn write_data(&mut self, at: u64, sector: usize, stamp: u64, why: Purpose) -> Result<(), Failed> {
        let result = self.request();
        if result != Err(false) {
            put(&mut self.data, at, sector, stamp);
            self.volatile_data.push((at, sector, stamp));
            self.log.push(Event::Data(at, sector, stamp, why));
        }
        result.map_err(|_| Failed)
    }

    pub(crate) fn read_data(&self, block: u64) -> Data {
        self.data.get(&block).copied().unwrap_or_default()
    }

    fn write(&mut self, at: u64, block: &Block) -> Result<(), Failed> {
        let result = self.request();
        if result != Err(false) {
            let written = Rc::new(Written::new(block));
            self.metadata.insert(at, written.clone());
            self.volatile_metadata.push((at, written.clone()));
            self.log.push(Event::Metadata(at, written));
        }
        result.map_err(|_| Failed)
    }

    fn flush_metadata(&mut self) -> Result<(), Failed> {
        let result = self.request();
        match result {
            Ok(()) => {
                self.durable_metadata.extend(self.volatile_metadata.drain(..));
                self.log.push(Event::FlushMetadata);
            }
            Err(true) => {}
            Err(false) => {
                let kept: Vec<bool> = (0..self.volatile_metadata.len()).map(|index| index % 2 == 1).collect();
                retain(&mut self.volatile_metadata, &kept);
                self.metadata = self.durable_metadata.clone();
                self.metadata.extend(self.volatile_metadata.iter().cloned());
                self.log.push(Event::Lost { metadata: true, kept });
            }
        }
        result.map_err(|_| Failed)
    }

    fn flush_data(&mut self) -> Result<(), Failed> {
        let result = self.request();
        match result {
            Ok(()) => {
                for (block, sector, stamp) in self.volatile_data.drain(..) {
                    put(&mut self.durable_data, block, sector, stamp);
                }
                self.log.push(Event::FlushData);
            }
            Err(true) => {}
            Err(false) => {
                let kept: Vec<bool> = (0..self.volatile_data.len()).map(|index| index % 2 == 1).collect();
                retain(&mut self.volatile_data, &kept);
                self.data = self.durable_data.clone();
                for &(block, sector, stamp) in &self.volatile_data {
                    put(&mut self.data, block, sector, stamp);
                }
                self.log.push(Event::Lost { metadata: false, kept });
            }
        }
        result.map_err(|_| Failed)
    }
}

/// Drops what is not kept.
pub(crate) fn retain<T>(writes: &mut Vec<T>, kept: &[bool]) {
    let mut kept = kept.iter();
    writes.retain(|_| kept.next().copied().unwrap_or(true));
}

macro_rules! surroundings {
    ($type:ty) => {
        impl Memory for $type {
            type Array<T> = Heap<T>;
            type Frame = Box<Block>;

            fn frame() -> Result<Box<Block>, NoMemory> {
                Ok(heap::frame())
            }

            fn array<T: Clone>(element: T, length: usize) -> Result<Heap<T>, NoMemory> {
                Heap::filled(element, length)
            }
        }

        impl Crc for $type {
            fn crc32c(bytes: &[u8]) -> u32 {
                !crc32c::crc32c(bytes)
            }
        }
    };
}

/// The metadata device as the engine has it.
#[derive(Clone)]
pub(crate) struct Logged(pub(crate) Rc<RefCell<Devices>>);

surroundings!(Logged);

impl Store for Logged {
    fn metadata_blocks(&self) -> u64 {
        self.0.borrow().blocks
    }

    fn read(&mut self, at: MetadataBlock, into: &mut Block) -> Result<(), Failed> {
        let mut devices = self.0.borrow_mut();
        devices.request().map_err(|_| Failed)?;
        *into = devices.metadata.get(&at.0).map_or([0; BLOCK_SIZE], |written| written.block);
        Ok(())
    }

    fn write(&mut self, blocks: &mut dyn Iterator<Item = (MetadataBlock, &Block)>) -> Result<(), Failed> {
        let mut devices = self.0.borrow_mut();
        for (at, block) in blocks {
            devices.write(at.0, block)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failed> {
        self.0.borrow_mut().flush_metadata()
    }

    fn flush_data(&mut self) -> Result<(), Failed> {
        self.0.borrow_mut().flush_data()
    }
}

/// A metadata device after a crash: what was durable, and what came through of the rest.
pub(crate) struct Image<'a> {
    pub(crate) durable: &'a Blocks,
    pub(crate) through: Blocks,
    pub(crate) blocks: u64,
}

surroundings!(Image<'_>);

impl Store for Image<'_> {
    fn metadata_blocks(&self) -> u64 {
        self.blocks
    }

    fn read(&mut self, at: MetadataBlock, into: &mut Block) -> Result<(), Failed> {
        match self.through.get(&at.0).or_else(|| self.durable.get(&at.0)) {
            Some(written) => into.copy_from_slice(&written.block[..]),
            None => into.fill(0),
        }
        Ok(())
    }

    fn write(&mut self, _: &mut dyn Iterator<Item = (MetadataBlock, &Block)>) -> Result<(), Failed> {
        // Whoever looks at a crash changes nothing.
        Err(Failed)
    }

    fn flush(&mut self) -> Result<(), Failed> {
        Ok(())
    }

    fn flush_data(&mut self) -> Result<(), Failed> {
        Ok(())
    }
}
