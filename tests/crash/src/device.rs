// SPDX-License-Identifier: GPL-2.0

//! Two devices with volatile caches, and a log of all that is done to them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use stor_pure::heap::{self, Heap};
use stor_pure::pure::thin::block::{Block, BLOCK_SIZE};
use stor_pure::pure::thin::crc::Crc;
use stor_pure::pure::thin::store::{Failed, Memory, NoMemory, Store};
use stor_pure::pure::units::MetadataBlock;

/// Contents of a data block: two sectors, each with a stamp that says who wrote it.
pub(crate) type Data = [u64; 2];

/// What was done.
#[derive(Clone)]
pub(crate) enum Event {
    /// A metadata block was written.
    Metadata(u64, Rc<Block>),
    /// The metadata device was flushed.
    FlushMetadata,
    /// A sector of a data block was written, or discarded.
    Data(u64, usize, u64),
    /// The data device was flushed.
    FlushData,
    /// The caller was told that a step was done.
    Acknowledged(usize),
}

/// The log, and what the devices hold as their users see it.
pub(crate) struct Devices {
    pub(crate) log: Vec<Event>,
    pub(crate) metadata: HashMap<u64, Rc<Block>>,
    pub(crate) data: HashMap<u64, Data>,
    pub(crate) blocks: u64,
    /// The request that fails, counted down.
    pub(crate) fail: Option<u64>,
}

impl Devices {
    pub(crate) fn new(blocks: u64) -> Self {
        Self { log: Vec::new(), metadata: HashMap::new(), data: HashMap::new(), blocks, fail: None }
    }

    fn request(&mut self) -> Result<(), Failed> {
        match &mut self.fail {
            Some(0) => Err(Failed),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(crate) fn write_data(&mut self, block: u64, sector: usize, stamp: u64) {
        if let Some(place) = self.data.entry(block).or_default().get_mut(sector) {
            *place = stamp;
        }
        self.log.push(Event::Data(block, sector, stamp));
    }

    pub(crate) fn read_data(&self, block: u64) -> Data {
        self.data.get(&block).copied().unwrap_or_default()
    }
}

macro_rules! surroundings {
    ($type:ty) => {
        impl Memory for $type {
            type Array<T> = Heap<T>;
            type Frame = Box<Block>;

            fn frame() -> Result<Box<Block>, NoMemory> {
                Ok(heap::frame())
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
        devices.request()?;
        *into = devices.metadata.get(&at.0).map_or([0; BLOCK_SIZE], |block| **block);
        Ok(())
    }

    fn write(&mut self, blocks: &mut dyn Iterator<Item = (MetadataBlock, &Block)>) -> Result<(), Failed> {
        let mut devices = self.0.borrow_mut();
        for (at, block) in blocks {
            devices.request()?;
            let block = Rc::new(*block);
            devices.metadata.insert(at.0, block.clone());
            devices.log.push(Event::Metadata(at.0, block));
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failed> {
        let mut devices = self.0.borrow_mut();
        devices.request()?;
        devices.log.push(Event::FlushMetadata);
        Ok(())
    }

    fn flush_data(&mut self) -> Result<(), Failed> {
        let mut devices = self.0.borrow_mut();
        devices.request()?;
        devices.log.push(Event::FlushData);
        Ok(())
    }
}

/// A metadata device after a crash: what was durable, and what came through of the rest.
pub(crate) struct Image<'a> {
    pub(crate) durable: &'a HashMap<u64, Rc<Block>>,
    pub(crate) through: HashMap<u64, Rc<Block>>,
    pub(crate) blocks: u64,
}

surroundings!(Image<'_>);

impl Store for Image<'_> {
    fn metadata_blocks(&self) -> u64 {
        self.blocks
    }

    fn read(&mut self, at: MetadataBlock, into: &mut Block) -> Result<(), Failed> {
        match self.through.get(&at.0).or_else(|| self.durable.get(&at.0)) {
            Some(block) => into.copy_from_slice(&block[..]),
            None => into.fill(0),
        }
        Ok(())
    }

    fn write(&mut self, blocks: &mut dyn Iterator<Item = (MetadataBlock, &Block)>) -> Result<(), Failed> {
        for (at, block) in blocks {
            self.through.insert(at.0, Rc::new(*block));
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failed> {
        Ok(())
    }

    fn flush_data(&mut self) -> Result<(), Failed> {
        Ok(())
    }
}
