// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is known of a chunk while the volume runs: one word, so that the I/O path needs no lock.
//!
//! Every function makes a new word of an old one; whoever has the words exchanges them atomically, and tries again if somebody was
//! faster. A bit is cleared in three steps that a write can undo at any time before the last: no write for two sweeps; a
//! flush of all legs; then the bit goes from the page.

use super::mutant::{breaks, Mutant};

/// The word of a chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chunk(pub u32);

/// Whether a write may go to the legs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// It may; it is counted until [`Chunk::end`].
    Go,
    /// The bit has to be made durable first.
    Ask,
    /// As many writes are under way as can be counted.
    Full,
}

impl Chunk {
    /// Writes under way.
    const COUNT: u32 = 0xffff;
    /// Sweeps that it has to go through until its bit may be cleared.
    const AGE: u32 = 3 << 16;
    const YOUNG: u32 = 2 << 16;
    const SWEEP: u32 = 1 << 16;
    /// Its bit is durable on the legs.
    const SET: u32 = 1 << 20;
    /// Its bit is about to be cleared.
    const CLEARING: u32 = 1 << 21;
    /// Some leg lacks some of it.
    const NEEDED: u32 = 1 << 22;

    /// A write begins.
    #[must_use]
    pub fn begin(self) -> (Self, Begin) {
        if self.0 & Self::SET == 0 && !breaks(Mutant::BitAfterData) {
            return (self, Begin::Ask);
        }
        if self.0 & Self::COUNT == Self::COUNT {
            return (self, Begin::Full);
        }
        (Self((self.0 & !Self::CLEARING) + 1), Begin::Go)
    }

    /// A write has ended on every leg that it went to; whether every slot's leg has it.
    #[must_use]
    pub fn end(self, complete: bool) -> Self {
        let count = (self.0 & Self::COUNT).saturating_sub(1);
        let needed = if complete || breaks(Mutant::ClearDegraded) { 0 } else { Self::NEEDED };
        Self((self.0 & !(Self::COUNT | Self::AGE)) | count | needed | Self::YOUNG)
    }

    /// A write waits for its bit.
    #[must_use]
    pub fn wanted(self) -> Self {
        Self((self.0 & !(Self::CLEARING | Self::AGE)) | Self::YOUNG)
    }

    /// Its bit is durable.
    #[must_use]
    pub fn grant(self) -> Self {
        Self((self.0 & !(Self::CLEARING | Self::AGE)) | Self::SET | Self::YOUNG)
    }

    /// Its bit was found set on some leg: legs may differ. It need not be durable on all.
    #[must_use]
    pub fn found(self) -> Self {
        Self(self.wanted().0 | Self::NEEDED)
    }

    /// A leg comes that may lack what was written while its bit was set.
    #[must_use]
    pub fn differ(self) -> Self {
        if self.is_set() {
            Self((self.0 & !Self::CLEARING) | Self::NEEDED)
        } else {
            self
        }
    }

    /// All legs have it, as far as nobody writes.
    #[must_use]
    pub fn equal(self) -> Self {
        Self((self.0 & !(Self::NEEDED | Self::AGE)) | Self::YOUNG)
    }

    /// A sweep comes by; whether the bit may be cleared after a flush.
    #[must_use]
    pub fn sweep(self) -> (Self, bool) {
        if !self.is_set() || self.0 & (Self::COUNT | Self::NEEDED) != 0 {
            return (self, false);
        }
        let age = (self.0 & Self::AGE).saturating_sub(Self::SWEEP);
        let clearing = if age == 0 { Self::CLEARING } else { 0 };
        (Self((self.0 & !Self::AGE) | age | clearing), age == 0)
    }

    /// The flush has been; whether the bit is to be cleared in its page, because nobody has begun to write.
    #[must_use]
    pub fn clear(self) -> (Self, bool) {
        if self.0 & Self::CLEARING == 0 || self.0 & (Self::COUNT | Self::NEEDED) != 0 {
            return (Self(self.0 & !Self::CLEARING), false);
        }
        (Self(0), true)
    }

    /// Whether its bit is durable.
    pub fn is_set(self) -> bool {
        self.0 & Self::SET != 0
    }

    /// Whether some leg may lack some of it.
    pub fn is_needed(self) -> bool {
        self.0 & Self::NEEDED != 0
    }

    /// Writes under way.
    pub fn writes(self) -> u32 {
        self.0 & Self::COUNT
    }
}

/// The words of all chunks. In the kernel they are atomic.
pub trait Words {
    /// Changes a chunk's word in one step; `None` if there is no such chunk.
    ///
    /// `change` may be called several times.
    fn update<R>(&self, chunk: u64, change: impl Fn(Chunk) -> (Chunk, R)) -> Option<R>;
}
