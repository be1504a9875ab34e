// SPDX-License-Identifier: GPL-2.0

//! What the metadata engine needs of the kernel: memory, a checksum, and the pool's devices.

use super::super::memory::{Kernel, KernelArray};
use super::layout::{Layout, METADATA_SECTORS};
use crate::block::crc::crc32c;
use crate::block::io::{Bios, Piece};
use crate::pure::thin::block::{Block, BLOCK_SIZE};
use crate::pure::thin::crc::Crc;
use crate::pure::thin::store::{Failed, Memory, NoMemory, Store};
use crate::pure::units::MetadataBlock;
use kernel::prelude::*;
use kernel::sync::Arc;

/// The devices of a pool.
pub(super) struct KernelStore {
    layout: Arc<Layout>,
    bios: Bios,
}

impl KernelStore {
    pub(super) fn new(layout: Arc<Layout>) -> Result<Self> {
        Ok(Self { layout, bios: Bios::new()? })
    }
}

impl Memory for KernelStore {
    type Array<T> = KernelArray<T>;
    type Frame = KBox<Block>;

    fn frame() -> Result<KBox<Block>, NoMemory> {
        Kernel::frame()
    }

    fn array<T: Clone>(element: T, length: usize) -> Result<KernelArray<T>, NoMemory> {
        Kernel::array(element, length)
    }
}

impl Crc for KernelStore {
    fn crc32c(bytes: &[u8]) -> u32 {
        crc32c(bytes)
    }
}

impl Store for KernelStore {
    fn metadata_blocks(&self) -> u64 {
        self.layout.metadata.sectors() / METADATA_SECTORS
    }

    fn read(&mut self, at: MetadataBlock, into: &mut Block) -> Result<(), Failed> {
        let place = at.0.checked_mul(METADATA_SECTORS).and_then(|sector| self.layout.metadata.find(sector));
        place.ok_or(Failed)?.read(into).map_err(|_| Failed)
    }

    fn write(&mut self, blocks: &mut dyn Iterator<Item = (MetadataBlock, &Block)>) -> Result<(), Failed> {
        let area = &self.layout.metadata;
        let mut whole = true;
        let mut pieces = blocks.filter_map(|(at, block)| {
            let place = at.0.checked_mul(METADATA_SECTORS).and_then(|sector| area.find(sector));
            whole &= place.is_some();
            place.map(|place| Piece::Write(place.device, place.sector, block.as_slice()))
        });
        let written = self.bios.all_metadata(&mut pieces);
        match whole {
            true => written.map_err(|_| Failed),
            false => Err(Failed),
        }
    }

    fn flush(&mut self) -> Result<(), Failed> {
        self.layout.metadata.devices(|device| device.flush()).map_err(|_| Failed)
    }

    fn flush_data(&mut self) -> Result<(), Failed> {
        self.layout.data.devices(|device| device.flush()).map_err(|_| Failed)
    }
}

const _: () = assert!(BLOCK_SIZE as u64 == METADATA_SECTORS * 512);

impl super::layout::Place {
    /// Reads what is there.
    fn read(&self, into: &mut Block) -> Result {
        self.device.read(self.sector, into)
    }
}
