// SPDX-License-Identifier: GPL-2.0 OR MIT

//! CRC-32C (Castagnoli), as metadata blocks are summed with it: the register begins with ones and is not inverted at the end.
//!
//! Processors have an instruction for it, which can only be reached through `unsafe`: whoever runs this code brings its
//! own [`Crc`]. [`Portable`] is for where there is none, and what the others are tested against.

/// A way to compute CRC-32C.
pub trait Crc {
    /// The register after `bytes`, which began as 0xffff_ffff, as it is.
    fn crc32c(bytes: &[u8]) -> u32;
}

/// Eight bytes a step, with tables.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

/// The polynomial 0x1edc6f41, lowest power in the highest bit.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// `TABLES[n][b]` is the register's change by byte `b` followed by `n` zero bytes.
static TABLES: [[u32; 256]; 8] = tables();

#[allow(clippy::indexing_slicing)] // in a constant: out of range does not compile
const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut register = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            register = (register >> 1) ^ (if register & 1 == 1 { POLYNOMIAL } else { 0 });
            bit += 1;
        }
        tables[0][byte] = register;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let shorter = tables[zeros - 1][byte];
            tables[zeros][byte] = (shorter >> 8) ^ tables[0][(shorter & 0xff) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

impl Crc for Portable {
    fn crc32c(bytes: &[u8]) -> u32 {
        let mut steps = bytes.chunks_exact(8);
        let mut register = u32::MAX;
        for step in &mut steps {
            let Ok(step) = <[u8; 8]>::try_from(step) else { continue };
            let step = (u64::from_le_bytes(step) ^ u64::from(register)).to_le_bytes();
            register = 0;
            for (byte, table) in step.iter().zip(TABLES.iter().rev()) {
                register ^= table.get(usize::from(*byte)).copied().unwrap_or_default();
            }
        }
        for byte in steps.remainder() {
            let change = TABLES[0].get(usize::from(*byte ^ register as u8)).copied().unwrap_or_default();
            register = (register >> 8) ^ change;
        }
        register
    }
}
