// SPDX-License-Identifier: GPL-2.0

//! Which code ran: the counters that LLVM puts on every edge when it is asked to (`ci/fuzz` does).
//!
//! Without them the same program runs inputs, but cannot tell which are worth keeping.

use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering};

static START: AtomicUsize = AtomicUsize::new(0);
static STOP: AtomicUsize = AtomicUsize::new(0);

/// Called once by each instrumented object file before `main`, with all counters of the program.
#[no_mangle]
#[allow(unreachable_pub)] // by the linker
pub extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, stop: *mut u8) {
    START.store(start as usize, Ordering::Relaxed);
    STOP.store(stop as usize, Ordering::Relaxed);
}

fn counters() -> &'static mut [u8] {
    let (start, stop) = (START.load(Ordering::Relaxed), STOP.load(Ordering::Relaxed));
    if start == 0 {
        return &mut [];
    }
    // SAFETY: `__sanitizer_cov_8bit_counters_init` is called with the bounds of a section of this program that holds bytes
    // and nothing else, and is there for as long as the program. What writes to it besides is instrumented code of this
    // thread: the slice is not kept while any of it runs that is to be counted. The watching thread counts, too; a byte
    // that it changes meanwhile is one edge more or less of this program's own.
    unsafe { slice::from_raw_parts_mut(start as *mut u8, stop.saturating_sub(start)) }
}

/// How many edges there are; 0 if nobody counts.
pub(crate) fn edges() -> usize {
    counters().len()
}

/// Begins a run.
pub(crate) fn reset() {
    counters().fill(0);
}

/// What is known to be reachable: for each edge one bit for each magnitude of how often it was taken in one run.
#[derive(Clone, Default)]
pub(crate) struct Seen(Vec<u8>);

impl Seen {
    pub(crate) fn new() -> Self {
        Self(vec![0; edges()])
    }

    /// Adds what the last run did; how much of that is new.
    pub(crate) fn add(&mut self) -> usize {
        let mut new = 0;
        for (counts, seen) in counters().chunks(8).zip(self.0.chunks_mut(8)) {
            if counts.iter().all(|&count| count == 0) {
                continue;
            }
            for (count, seen) in counts.iter().zip(seen) {
                let bit = magnitude(*count);
                if *seen & bit != bit {
                    *seen |= bit;
                    new += 1;
                }
            }
        }
        new
    }

    /// How many edges were taken at all.
    pub(crate) fn taken(&self) -> usize {
        self.0.iter().filter(|&&seen| seen != 0).count()
    }
}

/// One bit: never (none), once, twice, three times, from 4, 8, 16, 32 and 128 times on.
fn magnitude(count: u8) -> u8 {
    match count {
        0 => 0,
        1 => 1,
        2 => 2,
        3 => 4,
        4..=7 => 8,
        8..=15 => 16,
        16..=31 => 32,
        32..=127 => 64,
        _ => 128,
    }
}
