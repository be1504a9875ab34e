// SPDX-License-Identifier: GPL-2.0 OR MIT

//! An area of a pool: parts of devices, one behind the other. That of the metadata is what pure's engine works on.

use crate::device::Content;
use std::io;
use std::rc::Rc;
use stor_pure::heap::{self, Heap};
use stor_pure::pure::thin::block::{Block, BLOCK_SIZE};
use stor_pure::pure::thin::crc::Crc;
use stor_pure::pure::thin::store::{Failed, Memory, NoMemory, Store};
use stor_pure::pure::units::MetadataBlock;

/// A part of an area.
#[derive(Clone)]
pub struct Part {
    /// Where it is.
    pub content: Rc<dyn Content>,
    /// From which byte on.
    pub start: u64,
    /// How many bytes.
    pub length: u64,
}

/// An area.
#[derive(Clone, Default)]
pub struct Area {
    parts: Vec<Part>,
}

impl Area {
    /// Of these parts, in this order.
    pub fn new(parts: Vec<Part>) -> Self {
        Self { parts }
    }

    /// Bytes of it.
    pub fn length(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(part.length))
    }

    /// Calls `each` with the pieces of a range of the area: a part, where in it, and which bytes of the range.
    fn pieces(
        &self,
        at: u64,
        length: usize,
        mut each: impl FnMut(&Part, u64, std::ops::Range<usize>) -> io::Result<()>,
    ) -> io::Result<()> {
        let (mut begin, mut done) = (0u64, 0usize);
        for part in &self.parts {
            let end = begin.saturating_add(part.length);
            let from = at.saturating_add(done as u64);
            if done < length && from >= begin && from < end {
                let room = usize::try_from(end - from).unwrap_or(usize::MAX).min(length - done);
                each(part, part.start.saturating_add(from - begin), done..done + room)?;
                done += room;
            }
            begin = end;
        }
        if done < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Reads.
    ///
    /// # Errors
    ///
    /// A device could not, or there is less.
    pub fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.pieces(at, into.len(), |part, place, range| {
            let piece = into.get_mut(range).unwrap_or_default();
            part.content.read(place, piece)
        })
    }

    /// Writes.
    ///
    /// # Errors
    ///
    /// A device could not, or there is less.
    pub fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.pieces(at, bytes.len(), |part, place, range| {
            part.content.write(place, bytes.get(range).unwrap_or_default())
        })
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    ///
    /// A device could not.
    pub fn flush(&self) -> io::Result<()> {
        self.parts.iter().try_for_each(|part| part.content.flush())
    }
}

impl Content for Area {
    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        Self::read(self, at, into)
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        Self::write(self, at, bytes)
    }

    fn flush(&self) -> io::Result<()> {
        Self::flush(self)
    }
}

impl Memory for Area {
    type Array<T> = Heap<T>;
    type Frame = Box<Block>;

    fn frame() -> Result<Box<Block>, NoMemory> {
        Ok(heap::frame())
    }

    fn array<T: Clone>(element: T, length: usize) -> Result<Heap<T>, NoMemory> {
        Heap::filled(element, length)
    }
}

impl Crc for Area {
    fn crc32c(bytes: &[u8]) -> u32 {
        // The library inverts the register at the end.
        !crc32c::crc32c(bytes)
    }
}

impl Store for Area {
    fn metadata_blocks(&self) -> u64 {
        self.length() / BLOCK_SIZE as u64
    }

    fn read(&mut self, at: MetadataBlock, into: &mut Block) -> Result<(), Failed> {
        Self::read(self, at.0.saturating_mul(BLOCK_SIZE as u64), into).map_err(|_| Failed)
    }

    fn write(&mut self, blocks: &mut dyn Iterator<Item = (MetadataBlock, &Block)>) -> Result<(), Failed> {
        for (at, block) in blocks {
            Self::write(self, at.0.saturating_mul(BLOCK_SIZE as u64), block).map_err(|_| Failed)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failed> {
        Self::flush(self).map_err(|_| Failed)
    }

    /// Whoever works on an area has no data of its own that would be referred to.
    fn flush_data(&mut self) -> Result<(), Failed> {
        Ok(())
    }
}
