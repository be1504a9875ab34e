// SPDX-License-Identifier: GPL-2.0

//! Changes of an input that know nothing of what it means: bits, numbers, ranges, parts of others.

use crate::rng::Rng;

/// Numbers at which something ends.
const EDGES: [u64; 20] = [
    0,
    1,
    2,
    3,
    0x7f,
    0xff,
    0x1ff,
    0xfff,
    0x1000,
    0x3fc0,
    0xffff,
    0xff_ffff,
    0x100_0000,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 32,
    (1 << 40) - 1,
    i64::MAX as u64,
    u64::MAX - 4095,
    u64::MAX,
];

/// Changes an input a few times; it stays at most `most` bytes long.
pub(crate) fn mutate(rng: &mut Rng, input: &mut Vec<u8>, other: &[u8], most: usize) {
    for _ in 0..1 << rng.below(4) {
        once(rng, input, other);
        input.truncate(most);
    }
}

fn once(rng: &mut Rng, input: &mut Vec<u8>, other: &[u8]) {
    let at = rng.below(input.len() + 1);
    let scale = rng.below(7);
    let length = 1 + rng.below(1 << scale);
    let end = (at + length).min(input.len());
    match rng.below(10) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << rng.below(8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = rng.next() as u8;
            }
        }
        2 | 3 => {
            // A number of one of the usual sizes, often where such numbers stand.
            let width = 1 << rng.below(4);
            let at = if rng.below(4) == 0 { at } else { at / width * width };
            let Some(place) = input.get_mut(at..at + width) else { return };
            let mut bytes = [0; 8];
            bytes.iter_mut().zip(place.iter()).for_each(|(to, from)| *to = *from);
            let old = u64::from_le_bytes(bytes);
            let new = match rng.below(3) {
                0 => rng.pick(&EDGES).copied().unwrap_or_default(),
                1 => old.wrapping_add(1 + rng.below(16) as u64),
                _ => old.wrapping_sub(1 + rng.below(16) as u64),
            };
            place.copy_from_slice(new.to_le_bytes().get(..width).unwrap_or_default());
        }
        4 => drop(input.drain(at..end)),
        5 => {
            let new: Vec<u8> = (0..length).map(|_| rng.next() as u8).collect();
            input.splice(at..at, new);
        }
        6 => {
            let byte = if rng.below(2) == 0 { 0 } else { rng.next() as u8 };
            input.get_mut(at..end).unwrap_or_default().fill(byte);
        }
        7 => {
            let part = input.get(at..end).unwrap_or_default().to_vec();
            let to = rng.below(input.len() + 1);
            if rng.below(2) == 0 {
                input.splice(to..to, part);
            } else if let Some(place) = input.get_mut(to..to + part.len()) {
                place.copy_from_slice(&part);
            }
        }
        _ => {
            let from = rng.below(other.len() + 1);
            let part = other.get(from..(from + length).min(other.len())).unwrap_or_default();
            let to = if rng.below(2) == 0 { at } else { end };
            input.splice(at..to, part.iter().copied());
        }
    }
}
