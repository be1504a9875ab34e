// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Rules that a test can break, to see that it would notice. Only with the feature `mutants`; nothing that ships has it.

use crate::pure::mutant::Broken;

/// A rule that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mutant {
    /// A write that one leg lacks is acknowledged before the record that drops the leg is durable.
    AcknowledgeEarly = 1,
    /// A leg that failed a flush is taken to have done it.
    FlushErrors,
    /// Data is written before the bit of its chunk is durable.
    BitAfterData,
    /// Data is written before the superblocks say that there are writes.
    DirtyAfterData,
    /// A bit is cleared before what was written is durable on all legs.
    ClearUnflushed,
    /// Bits are cleared although a leg is missing.
    ClearDegraded,
    /// The superblocks say that all is in sync before it is durable.
    CleanUnflushed,
    /// Only the source's bitmap is looked at.
    OneBitmap,
    /// A voter alone may start.
    LoneStart,
    /// Half of the voters may start.
    HalfStart,
    /// Several voters come and go in one change.
    ManyVotersAtOnce,
    /// A start does not claim its epoch before it uses it.
    NoClaim,
    /// A claim is on half of the voters.
    ClaimOnHalf,
    /// A start that changes nothing has no epoch of its own.
    NoEpoch,
    /// Records are compared by their epochs only.
    NoLineage,
    /// Every leg that is there is a source, whatever the record says.
    AllAreSources,
    /// After a crash all legs that were entitled stay so, although they may differ.
    EqualAfterCrash,
    /// A leg that was rebuilt is entitled while older writes to it are under way, or not durable.
    EntitleEarly,
    /// A record is written over the only one.
    OneSlot,
    /// A leg that missed more than the bitmap knows is rebuilt by the bitmap.
    TrustBitmap,
    /// A tie-break votes for the one that took its place.
    AnyTieBreak,
    /// A member gets the place of another one together with its vote.
    RenameVoter,
    /// A leg that is new is rebuilt by its bitmap.
    TrustNewLeg,
    /// The last leg that has all data may be removed.
    RemoveLast,
    /// A leg that was removed is still missing.
    KeepSlot,
    /// A leg that joins gets the record before its superblock.
    RecordFirst,
    /// What a start has read need not be durable before it relies on it.
    Uncached,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::AcknowledgeEarly,
        Self::FlushErrors,
        Self::BitAfterData,
        Self::DirtyAfterData,
        Self::ClearUnflushed,
        Self::ClearDegraded,
        Self::CleanUnflushed,
        Self::OneBitmap,
        Self::LoneStart,
        Self::HalfStart,
        Self::ManyVotersAtOnce,
        Self::NoClaim,
        Self::ClaimOnHalf,
        Self::NoEpoch,
        Self::NoLineage,
        Self::AllAreSources,
        Self::EqualAfterCrash,
        Self::EntitleEarly,
        Self::OneSlot,
        Self::TrustBitmap,
        Self::AnyTieBreak,
        Self::RenameVoter,
        Self::TrustNewLeg,
        Self::RemoveLast,
        Self::KeepSlot,
        Self::RecordFirst,
        Self::Uncached,
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
