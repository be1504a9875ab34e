// SPDX-License-Identifier: GPL-2.0

//! What dm-log-writes logged of the disk with the metadata, played again: at each flush the metadata is what a disk must
//! have, and strictly checked; between two, so are states with any part of what the later one made durable.
//!
//! The log has, behind a sector that says what it is, for each request a sector with its place, length and flags, and then what
//! was written. A write stands in front of the flush that it was complete before; one that is durable by itself (FUA) where
//! it was complete.

use crate::content::SECTOR;
use crate::image::Image;
use crate::rng::Rng;
use crate::Fault;
use std::fs::File;
use std::os::unix::fs::FileExt;

const MAGIC: u64 = 0x6a_7366_7773_6872;
const VERSION: u64 = 1;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

#[cfg(test)]
#[path = "replay_test.rs"]
mod tests;

/// A log.
pub(crate) struct Log {
    pub(crate) file: File,
}

/// What is looked at, and how.
pub(crate) struct Replay {
    /// The metadata: the first sector of it on the logged disk.
    pub(crate) offset: u64,
    pub(crate) image: Image,
    /// So many states between two flushes.
    pub(crate) between: u64,
    pub(crate) leaks: bool,
    pub(crate) rng: Rng,
    /// What no flush has made durable yet: where in the image, and what.
    waiting: Vec<(usize, Vec<u8>)>,
    changed: bool,
    pub(crate) seen: Seen,
}

/// What was looked at.
#[derive(Default)]
pub(crate) struct Seen {
    requests: u64,
    flushes: u64,
    /// At which the metadata was another than at the one before.
    pub(crate) checked: u64,
    between: u64,
    /// In how many states there were leaks, and how many in one at most.
    leaking: u64,
    leaks: u64,
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} requests, {} flush points, {} with other metadata than the last, {} states between them: all sound",
            self.requests, self.flushes, self.checked, self.between
        )?;
        if self.leaking != 0 {
            write!(f, "; leaks in {} states, at most {}", self.leaking, self.leaks)?;
        }
        Ok(())
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes.iter().skip(at * 8).take(8).rev().fold(0, |number, &byte| (number << 8) | u64::from(byte))
}

impl Replay {
    pub(crate) fn new(offset: u64, sectors: u64, between: u64, leaks: bool, rng: Rng) -> Self {
        let image = Image(vec![0; sectors as usize * SECTOR]);
        Self { offset, image, between, leaks, rng, waiting: Vec::new(), changed: false, seen: Seen::default() }
    }

    /// Plays a whole log.
    pub(crate) fn run(&mut self, log: &Log) -> Result<(), Fault> {
        let mut head = [0; SECTOR];
        log.file.read_exact_at(&mut head, 0)?;
        if (number(&head, 0), number(&head, 1)) != (MAGIC, VERSION) {
            return Err("this is no log of dm-log-writes".into());
        }
        let (entries, unit) = (number(&head, 2), number(&head, 3) & 0xffff_ffff);
        if !(512..=65536).contains(&unit) {
            return Err(format!("the log has sectors of {unit} bytes").into());
        }
        let mut at = unit;
        for entry in 0..entries {
            log.file.read_exact_at(&mut head, at)?;
            let [place, count, flags, _] = [0, 1, 2, 3].map(|field| number(&head, field));
            at += unit;
            let data = if flags & (DISCARD | MARK) == 0 { count * unit } else { 0 };
            if flags & MARK == 0 {
                let found = self.request(log, (place * unit, count * unit), flags, at);
                found.map_err(|error| format!("request {entry} of {entries}: {error}"))?;
            }
            at += data;
        }
        Ok(())
    }

    /// One request: where it went and how much of it, in bytes of the disk, and where its data is.
    fn request(&mut self, log: &Log, (place, length): (u64, u64), flags: u64, data: u64) -> Result<(), Fault> {
        self.seen.requests += 1;
        if flags & FLUSH != 0 {
            self.flush()?;
        }
        // What of it is in the metadata.
        let (begin, end) = (self.offset * SECTOR as u64, self.offset * SECTOR as u64 + self.image.0.len() as u64);
        let (first, last) = (place.max(begin), (place + length).min(end));
        if first >= last {
            return Ok(());
        }
        let mut bytes = vec![0; (last - first) as usize];
        if flags & DISCARD == 0 {
            log.file.read_exact_at(&mut bytes, data + (first - place))?;
        }
        let write = ((first - begin) as usize, bytes);
        if flags & FUA == 0 {
            self.waiting.push(write);
            return Ok(());
        }
        self.apply(&write);
        self.look()
    }

    fn apply(&mut self, (at, bytes): &(usize, Vec<u8>)) {
        self.image.0[*at..*at + bytes.len()].copy_from_slice(bytes);
        self.changed = true;
    }

    fn flush(&mut self) -> Result<(), Fault> {
        self.seen.flushes += 1;
        let waiting = std::mem::take(&mut self.waiting);
        if !waiting.is_empty() && self.image.formatted() {
            for _ in 0..self.between {
                self.part(&waiting)?;
            }
        }
        waiting.iter().for_each(|write| self.apply(write));
        self.look()
    }

    /// A state with a random part of these writes, sector by sector or in larger pieces.
    fn part(&mut self, waiting: &[(usize, Vec<u8>)]) -> Result<(), Fault> {
        let (share, piece) = (1 + self.rng.below(99), SECTOR * [1, 8][self.rng.below(2) as usize]);
        let mut old = Vec::new();
        for (at, bytes) in waiting {
            for (number, bytes) in bytes.chunks(piece).enumerate() {
                if self.rng.below(100) < share {
                    let begin = at + number * piece;
                    let place = &mut self.image.0[begin..begin + bytes.len()];
                    old.push((begin, place.to_vec()));
                    place.copy_from_slice(bytes);
                }
            }
        }
        self.seen.between += 1;
        let found = self.check().map_err(|error| format!("with a part of what was not flushed: {error}"));
        for (begin, bytes) in old.iter().rev() {
            self.image.0[*begin..*begin + bytes.len()].copy_from_slice(bytes);
        }
        Ok(found?)
    }

    fn look(&mut self) -> Result<(), Fault> {
        if !std::mem::take(&mut self.changed) || !self.image.formatted() {
            return Ok(());
        }
        self.seen.checked += 1;
        self.check()
    }

    fn check(&mut self) -> Result<(), Fault> {
        let leaks = self.image.check(self.leaks)?.sound()?;
        self.seen.leaking += u64::from(leaks != 0);
        self.seen.leaks = self.seen.leaks.max(leaks);
        Ok(())
    }
}
