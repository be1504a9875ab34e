// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How many voters it takes.
//!
//! To start, more than half of them have to be there, and to take the claim of an epoch; to change the membership of a volume that runs, half of them have to
//! have the new record. The sum is more than all, so whoever starts meets somebody who knows of the last change. Two starts
//! meet each other as well. Two changes need not: both are made by whoever has started last, since legs that were taken away from
//! somebody no longer take his writes.
//!
//! So of two legs the one that survives a failure under way drops the other, and its vote, and goes on; after that it is the
//! only voter and may start alone. The other one never may.

use super::mutant::{breaks, Mutant};
use super::set::Set;

/// Whether a volume with these voters may start with those that are there.
pub fn starts(voters: Set, present: Set) -> bool {
    let there = 2 * voters.and(present).len();
    if breaks(Mutant::LoneStart) {
        return there > 0;
    }
    there > voters.len() || breaks(Mutant::HalfStart) && there == voters.len()
}

/// Whether a change is decided with a record on those.
pub fn decides(voters: Set, written: Set) -> bool {
    let has = voters.and(written);
    !has.is_empty() && 2 * has.len() >= voters.len()
}

/// The voters after the next change, on the way to those who should vote.
///
/// One comes or goes at a time: then any majority of the old voters and any of the new ones have a member in common, and a
/// change that was begun and not finished cannot lead to two volumes.
pub fn step(now: Set, wanted: Set) -> Set {
    if breaks(Mutant::ManyVotersAtOnce) && !wanted.is_empty() {
        return wanted;
    }
    if let Some(leaving) = now.without(wanted).lowest() {
        let rest = now.without(Set::one(leaving));
        if !rest.is_empty() {
            return rest;
        }
    }
    match wanted.without(now).lowest() {
        Some(joining) => now.with(Set::one(joining)),
        None => now,
    }
}
