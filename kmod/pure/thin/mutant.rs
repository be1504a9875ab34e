// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Rules that a test can break, to see that it would notice. Only with the feature `mutants`; nothing that ships has it.

/// A rule that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mutant {
    /// The superblock is written before what it refers to is durable.
    CommitOrder = 1,
    /// Metadata blocks that the last transaction needs are taken.
    ReuseMetadata,
    /// Data blocks that the last transaction needs are taken.
    ReuseData,
    /// What is pinned is taken.
    Pin,
    /// A device writes to what it shares with its youngest snapshot.
    Share,
    /// What is given up is discarded before the transaction is durable.
    DiscardOrder,
    /// What is read when a pool is opened is not made durable.
    Reopen,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::CommitOrder,
        Self::ReuseMetadata,
        Self::ReuseData,
        Self::Pin,
        Self::Share,
        Self::DiscardOrder,
        Self::Reopen,
    ];
}

#[cfg(feature = "mutants")]
mod chosen {
    use core::sync::atomic::{AtomicU8, Ordering};

    static CHOSEN: AtomicU8 = AtomicU8::new(0);

    /// Breaks a rule from now on, or none.
    pub fn choose(mutant: Option<super::Mutant>) {
        CHOSEN.store(mutant.map_or(0, |mutant| mutant as u8), Ordering::Relaxed);
    }

    pub(in crate::pure::thin) fn breaks(mutant: super::Mutant) -> bool {
        CHOSEN.load(Ordering::Relaxed) == mutant as u8
    }
}

#[cfg(feature = "mutants")]
pub use chosen::choose;

#[cfg(feature = "mutants")]
pub(super) use chosen::breaks;

/// Whether a rule is to be broken.
#[cfg(not(feature = "mutants"))]
pub(super) const fn breaks(_: Mutant) -> bool {
    false
}
