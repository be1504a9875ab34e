// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Rules that a test can break, to see that it would notice. Only with the feature `mutants`; nothing that ships has it.

use crate::pure::mutant::Broken;

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

static BROKEN: Broken = Broken::none();

/// Breaks a rule from now on, or none.
#[cfg(feature = "mutants")]
pub fn choose(mutant: Option<Mutant>) {
    BROKEN.set(mutant.map(|mutant| mutant as u8));
}

/// Whether a rule is to be broken.
#[inline]
pub(super) fn breaks(mutant: Mutant) -> bool {
    BROKEN.is(mutant as u8)
}
