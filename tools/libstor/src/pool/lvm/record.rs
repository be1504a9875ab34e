// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is kept of LVM on an adopted device, behind the first copy of the label: the sections of the pool and its volumes, to be
//! given back.

use super::text::{parse, Section};
use crate::pool::area::Area;
use crate::{Error, Kind, Result};
use stor_pure::pure::label::copies::{FIRST, IN_HEAD};
use stor_pure::pure::label::LABEL_SIZE;
use stor_pure::pure::thin::crc::Crc;

/// Where it is.
pub(crate) const AT: u64 = FIRST + LABEL_SIZE as u64;
/// Bytes that it can have.
const ROOM: usize = (IN_HEAD - AT) as usize;
const MAGIC: [u8; 8] = *b"StorLVM2";
const VERSION: u32 = 1;
/// Magic, checksum, version, length of the text, the pool's UUID.
const HEADER: usize = 8 + 4 + 4 + 8 + 16;
/// The checksum is over what is behind it.
const SUMMED: usize = 12;

/// Its bytes.
///
/// # Errors
///
/// There is no room for it.
pub(crate) fn encode(kept: &Section, pool: &[u8; 16]) -> Result<Vec<u8>> {
    let text = kept.to_string();
    if text.len() > ROOM - HEADER {
        return Err(Error::new(Kind::Unfit, "LVM's metadata of the pool is too long to be kept")
            .help("remove snapshots in LVM first"));
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend([0; 4]);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(pool);
    bytes.extend(text.as_bytes());
    let sum = !Area::crc32c(bytes.get(SUMMED..).unwrap_or_default());
    bytes.iter_mut().skip(MAGIC.len()).zip(sum.to_le_bytes()).for_each(|(to, from)| *to = from);
    Ok(bytes)
}

/// What [`encode`] wrote; `None` if there is none of this pool, or it is damaged.
pub(crate) fn decode(bytes: &[u8], pool: &[u8; 16]) -> Option<Section> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let length = u64::from_le_bytes(bytes.get(16..24)?.try_into().ok()?);
    let end = HEADER.checked_add(usize::try_from(length).ok()?)?;
    let whole = bytes.get(SUMMED..end)?;
    let sound = bytes.starts_with(&MAGIC) && number(12)? == VERSION && bytes.get(24..HEADER)? == pool;
    if !sound || number(8)? != !Area::crc32c(whole) {
        return None;
    }
    parse(std::str::from_utf8(bytes.get(HEADER..end)?).ok()?).ok()
}

/// Reads it from a device; `None` if there is none.
///
/// # Errors
///
/// The device cannot be read.
pub(crate) fn read(device: &dyn crate::device::Content, pool: &[u8; 16]) -> std::io::Result<Option<Section>> {
    let mut bytes = vec![0; ROOM];
    device.read(AT, &mut bytes)?;
    Ok(decode(&bytes, pool))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_or_refused() {
        let kept = parse("pool = \"p\"\np {\n\tid = \"x\"\n}\n").unwrap();
        let mut bytes = encode(&kept, &[7; 16]).unwrap();
        bytes.resize(ROOM, 0);
        assert_eq!(decode(&bytes, &[7; 16]), Some(kept));
        assert_eq!(decode(&bytes, &[8; 16]), None);
        assert_eq!(decode(&bytes[..20], &[7; 16]), None);
        for at in 0..HEADER + 8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert_eq!(decode(&damaged, &[7; 16]), None, "byte {at}");
        }
        let mut large = Section::new("");
        large.set("x", "y".repeat(ROOM).as_str().into());
        assert_eq!(encode(&large, &[7; 16]).unwrap_err().kind, Kind::Unfit);
    }
}
