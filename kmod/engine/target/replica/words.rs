// SPDX-License-Identifier: GPL-2.0

//! The words of the chunks, which the I/O path and the keeper exchange atomically.

use crate::pure::replica::chunk::{Chunk, Words};
use kernel::prelude::*;
use kernel::sync::atomic::{ordering::Full, ordering::Relaxed, Atomic};
use kernel::sync::Arc;

/// The words of a volume.
#[derive(Clone)]
pub(super) struct SharedWords(Arc<KVVec<Atomic<u32>>>);

impl SharedWords {
    pub(super) fn new(chunks: u64) -> Result<Self> {
        let count = usize::try_from(chunks).map_err(|_| E2BIG)?;
        let mut words = KVVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            words.push(Atomic::new(0), GFP_KERNEL)?;
        }
        Ok(Self(Arc::new(words, GFP_KERNEL)?))
    }

    /// Forgets all. No request is live.
    pub(super) fn reset(&self) {
        self.0.iter().for_each(|word| word.store(0, Relaxed));
    }

    /// Chunks whose bits are durable, and those that some leg lacks.
    pub(super) fn count(&self) -> (u64, u64) {
        let words = self.0.iter().map(|word| Chunk(word.load(Relaxed)));
        words.fold((0, 0), |(set, needed): (u64, u64), word| {
            (set.wrapping_add(u64::from(word.is_set())), needed.wrapping_add(u64::from(word.is_needed())))
        })
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        self.0.len().wrapping_mul(size_of::<Atomic<u32>>())
    }
}

impl Words for SharedWords {
    #[inline]
    fn update<R>(&self, chunk: u64, change: impl Fn(Chunk) -> (Chunk, R)) -> Option<R> {
        let word = self.0.get(chunk as usize)?;
        let mut old = word.load(Relaxed);
        loop {
            let (new, result) = change(Chunk(old));
            match word.cmpxchg(old, new.0, Full) {
                Ok(_) => return Some(result),
                Err(now) => old = now,
            }
        }
    }
}
