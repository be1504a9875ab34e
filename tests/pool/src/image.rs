// SPDX-License-Identifier: GPL-2.0

//! A pool's metadata in memory, and what the strict checker says of it.

use crate::Fault;
use stor_pure::heap::{self, Heap};
use stor_pure::pure::thin::block::{Block, BLOCK_SIZE};
use stor_pure::pure::thin::check::{self, Finding};
use stor_pure::pure::thin::crc::Crc;
use stor_pure::pure::thin::store::{Failed, Memory, NoMemory, Store};
use stor_pure::pure::units::MetadataBlock;

/// The metadata device's bytes.
pub(crate) struct Image(pub(crate) Vec<u8>);

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Blocks that are in use by nobody, or by fewer than are counted.
    pub(crate) leaks: u64,
    /// All else, and leaks where they are not allowed.
    pub(crate) wrong: Vec<String>,
}

impl Findings {
    /// Fails if anything is wrong.
    pub(crate) fn sound(self) -> Result<u64, Fault> {
        if self.wrong.is_empty() {
            return Ok(self.leaks);
        }
        let said = self.wrong.iter().take(5).map(String::as_str).collect::<Vec<_>>().join("; ");
        Err(format!("the strict checker found {} things: {said}", self.wrong.len()).into())
    }
}

impl Image {
    /// Whether there is a pool at all.
    pub(crate) fn formatted(&self) -> bool {
        self.0.iter().take(BLOCK_SIZE).any(|&byte| byte != 0)
    }

    /// Asks the strict checker. Leaks are counted where they are allowed, and wrong where not.
    pub(crate) fn check(&mut self, leaks_allowed: bool) -> Result<Findings, Fault> {
        let mut findings = Findings::default();
        check::check(self, &mut |finding| {
            if leaks_allowed && matches!(finding, Finding::Count { said, found, .. } if said > found) {
                findings.leaks += 1;
            } else {
                findings.wrong.push(finding.to_string());
            }
        })?;
        Ok(findings)
    }
}

impl Memory for Image {
    type Array<T> = Heap<T>;
    type Frame = Box<Block>;

    fn frame() -> Result<Box<Block>, NoMemory> {
        Ok(heap::frame())
    }
}

impl Crc for Image {
    fn crc32c(bytes: &[u8]) -> u32 {
        !crc32c::crc32c(bytes)
    }
}

impl Store for Image {
    fn metadata_blocks(&self) -> u64 {
        (self.0.len() / BLOCK_SIZE) as u64
    }

    fn read(&mut self, at: MetadataBlock, into: &mut Block) -> Result<(), Failed> {
        let begin = usize::try_from(at.0).ok().and_then(|at| at.checked_mul(BLOCK_SIZE)).ok_or(Failed)?;
        into.copy_from_slice(self.0.get(begin..begin + BLOCK_SIZE).ok_or(Failed)?);
        Ok(())
    }

    fn write(&mut self, _: &mut dyn Iterator<Item = (MetadataBlock, &Block)>) -> Result<(), Failed> {
        Err(Failed)
    }

    fn flush(&mut self) -> Result<(), Failed> {
        Err(Failed)
    }

    fn flush_data(&mut self) -> Result<(), Failed> {
        Err(Failed)
    }
}
