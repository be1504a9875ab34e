// SPDX-License-Identifier: GPL-2.0

//! Threads that write, flush and discard, on several volumes at once, until the disks are gone.
//!
//! Each sector belongs to one thread, so that its generations are in order; in the first half of a volume threads alternate
//! every few sectors, so that they share blocks. A flush makes durable what any thread had written to that volume before.

use crate::content::{fill, Stamp, SECTOR};
use crate::device::{Buffer, Node};
use crate::record::{Extent, Journal, Record};
use crate::rng::Rng;
use crate::Fault;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::Mutex;

/// Sectors of one thread in the first half; no divisor of a block's.
const SLICE: u64 = 24;
/// Sectors of the longest write: 1 MiB.
const LONGEST: u64 = 2048;

/// A volume under load.
pub(crate) struct Target {
    pub(crate) node: Node,
    /// What has returned, and waits for a flush.
    written: Mutex<Vec<Extent>>,
}

impl Target {
    pub(crate) fn new(node: Node) -> Self {
        Self { node, written: Mutex::default() }
    }
}

/// What was done.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) writes: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) discards: AtomicU64,
    /// Writes for which there was no room.
    pub(crate) refused: AtomicU64,
}

/// The load, as its threads share it.
pub(crate) struct Load<'a> {
    pub(crate) targets: BTreeMap<u64, Target>,
    pub(crate) journal: &'a Journal,
    /// The last one that was given to a write.
    pub(crate) generation: AtomicU64,
    /// The power is cut, or about to be: errors are expected.
    pub(crate) cut: AtomicBool,
    /// The threads are to end.
    pub(crate) over: AtomicBool,
    pub(crate) threads: u64,
    /// Sectors of a block: many discards are of whole ones.
    pub(crate) block: u64,
    /// The pool has too little room for all: a write without it is followed by a discard.
    pub(crate) tight: bool,
    pub(crate) counts: Counts,
}

impl Load<'_> {
    /// What one thread does, until a request fails or it is over.
    ///
    /// # Errors
    ///
    /// One failed before the power was cut.
    pub(crate) fn run(&self, thread: u64, mut rng: Rng) -> Result<(), Fault> {
        let mut buffer = Buffer::new(LONGEST as usize * SECTOR);
        let targets: Vec<_> = self.targets.iter().collect();
        while let Some(&(&volume, target)) = targets.get(rng.below(targets.len() as u64) as usize) {
            if self.over.load(SeqCst) {
                break;
            }
            let done = match rng.below(100) {
                0..=71 => self.write(thread, volume, target, &mut rng, &mut buffer),
                72..=79 => self.durable_write(thread, volume, target, &mut rng, &mut buffer),
                80..=84 => self.discard(thread, volume, target, &mut rng),
                _ => self.flush(volume, target, &mut rng),
            };
            match done {
                Ok(()) => {}
                Err(_) if self.cut.load(SeqCst) => break,
                Err(error) if self.tight && is_full(&error) => {
                    self.counts.refused.fetch_add(1, SeqCst);
                    match self.discard(thread, volume, target, &mut rng) {
                        Err(_) if self.cut.load(SeqCst) => break,
                        done => done?,
                    }
                }
                Err(error) => return Err(format!("volume {volume}, before the power was cut: {error}").into()),
            }
        }
        Ok(())
    }

    /// A new generation of sectors of this thread.
    fn extent(&self, volume: u64, first: u64, count: u64) -> Extent {
        Extent { volume, first, count, generation: self.generation.fetch_add(1, SeqCst) + 1 }
    }

    /// Sectors of this thread: the first, and how many.
    fn place(&self, thread: u64, sectors: u64, rng: &mut Rng) -> (u64, u64) {
        let half = sectors / 2;
        let longest = match rng.below(10) {
            0..=5 => 8,
            6..=8 => 128,
            _ => LONGEST,
        };
        let wanted = 1 + rng.below(longest);
        let (begin, end) = if rng.below(2) == 0 {
            let slices = half / SLICE / self.threads;
            let begin = (rng.below(slices) * self.threads + thread) * SLICE;
            (begin, begin + SLICE)
        } else {
            let zone = half / self.threads;
            (half + thread * zone, half + (thread + 1) * zone)
        };
        let first = begin + rng.below(end - begin);
        (first, wanted.min(end - first))
    }

    fn put(&self, extent: Extent, target: &Target, buffer: &mut Buffer, durable: bool) -> io::Result<()> {
        let bytes = buffer.first(extent.count as usize * SECTOR);
        fill(bytes, extent.first, Stamp::new(extent.volume, extent.generation));
        target.node.write(extent.first, bytes, durable)?;
        self.counts.writes.fetch_add(1, SeqCst);
        Ok(())
    }

    fn write(
        &self,
        thread: u64,
        volume: u64,
        target: &Target,
        rng: &mut Rng,
        buffer: &mut Buffer,
    ) -> Result<(), Fault> {
        let (first, count) = self.place(thread, target.node.sectors, rng);
        let extent = self.extent(volume, first, count);
        self.put(extent, target, buffer, false)?;
        lock(&target.written)?.push(extent);
        Ok(())
    }

    /// One that is durable when it returns.
    fn durable_write(
        &self,
        thread: u64,
        volume: u64,
        target: &Target,
        rng: &mut Rng,
        buffer: &mut Buffer,
    ) -> Result<(), Fault> {
        let (first, count) = self.place(thread, target.node.sectors, rng);
        let extent = self.extent(volume, first, count.min(64));
        self.put(extent, target, buffer, true)?;
        self.counts.flushes.fetch_add(1, SeqCst);
        self.journal.add(&[Record::Durable(extent)])
    }

    /// Of this thread's zone in the second half, where whole blocks are its own.
    fn discard(&self, thread: u64, volume: u64, target: &Target, rng: &mut Rng) -> Result<(), Fault> {
        let half = target.node.sectors / 2;
        let zone = half / self.threads;
        let (begin, end) = (half + thread * zone, half + (thread + 1) * zone);
        let mut first = begin + rng.below(end - begin);
        let mut count = 1 + rng.below(8 * self.block);
        if rng.below(2) == 0 {
            first = first.next_multiple_of(self.block);
            count = count.next_multiple_of(self.block);
        }
        if first >= end {
            return Ok(());
        }
        let extent = self.extent(volume, first, count.min(end - first));
        self.journal.add(&[Record::Discard(extent)])?;
        target.node.discard(extent.first, extent.count)?;
        self.counts.discards.fetch_add(1, SeqCst);
        Ok(())
    }

    fn flush(&self, volume: u64, target: &Target, rng: &mut Rng) -> Result<(), Fault> {
        let written = std::mem::take(&mut *lock(&target.written)?);
        target.node.flush(rng.below(2) == 0).map_err(|error| format!("flush of volume {volume}: {error}"))?;
        self.counts.flushes.fetch_add(1, SeqCst);
        let records: Vec<_> = written.into_iter().map(Record::Durable).collect();
        self.journal.add(&records)
    }
}

/// Whether a request failed because there is no room.
fn is_full(error: &Fault) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.raw_os_error() == Some(libc::ENOSPC))
}

fn lock<T>(mutex: &Mutex<T>) -> Result<std::sync::MutexGuard<'_, T>, Fault> {
    mutex.lock().map_err(|_| "another thread panicked".into())
}
