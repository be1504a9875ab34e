// SPDX-License-Identifier: GPL-2.0

//! What a sector says of itself: which volume was written to, where and when. The rest of it follows from that, so nothing
//! else passes for it.

use crate::Fault;

/// Bytes of a sector.
pub(crate) const SECTOR: usize = 512;
const WORDS: u64 = SECTOR as u64 / 8;
/// Generations have so many bits; the volume has the rest.
const GENERATION_BITS: u32 = 40;

/// Who wrote, and when: generations count all writes to all volumes. Zero is a sector that nobody has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp(pub(crate) u64);

impl Stamp {
    pub(crate) const ZEROS: Self = Self(0);

    pub(crate) fn new(volume: u64, generation: u64) -> Self {
        Self(((volume + 1) << GENERATION_BITS) | generation)
    }

    /// Which volume; nobody's sectors have a volume that there is not.
    pub(crate) fn volume(self) -> u64 {
        (self.0 >> GENERATION_BITS).wrapping_sub(1)
    }

    pub(crate) fn generation(self) -> u64 {
        self.0 & ((1 << GENERATION_BITS) - 1)
    }
}

impl std::fmt::Display for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Self::ZEROS {
            f.write_str("zeros")
        } else {
            write!(f, "generation {} of volume {}", self.generation(), self.volume())
        }
    }
}

fn word(stamp: Stamp, sector: u64, at: u64) -> u64 {
    match at {
        0 => stamp.0,
        1 => sector,
        _ => (stamp.0 ^ sector.rotate_left(32) ^ at).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29),
    }
}

/// Fills sectors, the first of which is this one of its volume.
pub(crate) fn fill(bytes: &mut [u8], first: u64, stamp: Stamp) {
    for (sector, bytes) in (first..).zip(bytes.chunks_exact_mut(SECTOR)) {
        for (at, bytes) in (0..WORDS).zip(bytes.chunks_exact_mut(8)) {
            let word = if stamp == Stamp::ZEROS { 0 } else { word(stamp, sector, at) };
            bytes.copy_from_slice(&word.to_le_bytes());
        }
    }
}

/// What one sector says, if it is whole and in its place.
pub(crate) fn stamp(bytes: &[u8], sector: u64) -> Result<Stamp, Fault> {
    let mut words = [0; WORDS as usize];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = bytes.iter().rev().fold(0, |word, &byte| (word << 8) | u64::from(byte));
    }
    if words.iter().all(|&word| word == 0) {
        return Ok(Stamp::ZEROS);
    }
    let (stamp, place) = (Stamp(words[0]), words[1]);
    match (0..WORDS).find(|&at| words[at as usize] != word(stamp, place, at)) {
        None if place == sector => Ok(stamp),
        None => Err(format!("holds what belongs to sector {place}, {stamp}").into()),
        Some(at) => Err(format!("holds what nobody wrote: from byte {} on {:016x}", at * 8, words[at as usize]).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_say_what_they_are() {
        let mut bytes = vec![0xff; SECTOR * 3];
        let written = Stamp::new(0, 7);
        fill(&mut bytes, 40, written);
        for (sector, bytes) in (40..).zip(bytes.chunks(SECTOR)) {
            assert_eq!(stamp(bytes, sector).ok(), Some(written));
            assert!(stamp(bytes, sector + 1).is_err(), "in another place");
            for at in (0..SECTOR).step_by(7) {
                let mut torn = bytes.to_vec();
                torn[at] ^= 1;
                assert!(stamp(&torn, sector).is_err(), "byte {at} is another");
            }
        }
        fill(&mut bytes, 40, Stamp::ZEROS);
        assert_eq!(stamp(&bytes[..SECTOR], 40).ok(), Some(Stamp::ZEROS));
        assert_eq!((written.volume(), written.generation()), (0, 7));
    }
}
