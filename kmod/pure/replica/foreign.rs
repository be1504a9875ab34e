// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Who has the data, where md has had the array: when it is taken over, and after the stock kernel's md has run it.
//!
//! md asks the leg with the highest events counter and nobody else. Here the legs are asked about each other: one that the
//! freshest has lost must not itself have lost the freshest, for then each has run without the other. And all legs that the
//! freshest had are to be there, since one that is missing may have run alone later on.

use super::assemble::Leg;
use super::refusal::Refusal;
use super::set::{Set, LEGS_MAX};
use crate::pure::md::superblock::{Role, Superblock};

/// What the legs say of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The leg whose superblock counts.
    pub freshest: usize,
    /// Legs that have all of the data, by their place in the list.
    pub sound: Set,
    /// They were stopped with nothing under way.
    pub clean: bool,
}

/// Whether this leg fills a slot in the eyes of another one.
fn counts_in(eyes: &Superblock, leg: &Superblock) -> bool {
    matches!(eyes.role_of(leg.dev_number.get()), Role::Slot(_))
}

/// Judges legs that md has written last.
///
/// # Errors
///
/// Nobody can know who has the data. With `forced` only the leg of that number counts, and what it lacks is not asked for.
pub fn judge(legs: &[Leg<'_>], forced: Option<usize>) -> Result<Judgement, Refusal> {
    let active = |index: &usize| {
        legs.get(*index).is_some_and(|leg| matches!(leg.superblock.role(), Role::Slot(_)))
            && forced.is_none_or(|leg| leg == *index)
    };
    let indices = || (0..legs.len().min(LEGS_MAX)).filter(active);
    // Of those that have the same counter one that has all data; never by its place alone.
    let rank = |leg: &Superblock| {
        (leg.events.get(), leg.in_sync(), !leg.has(crate::pure::md::superblock::feature::BAD_BLOCKS))
    };
    let freshest = indices()
        .filter_map(|index| Some((index, legs.get(index)?.superblock)))
        .max_by_key(|(index, leg)| (rank(leg), core::cmp::Reverse(*index)));
    let (freshest, fresh) = freshest.ok_or(Refusal::NoneInSync)?;
    let (mut sound, mut clean) = (Set::NONE, true);
    let mut there = Set::NONE;
    for index in indices() {
        let Some(leg) = legs.get(index).map(|leg| leg.superblock) else { continue };
        let (events, newest) = (leg.events.get(), fresh.events.get());
        let in_time = events.saturating_add(1) >= newest;
        if counts_in(fresh, leg) && in_time {
            // One that is behind by one may not have heard of what the freshest knows.
            if events == newest && !counts_in(leg, fresh) {
                return Err(Refusal::ForeignApart(freshest, index));
            }
            if let Role::Slot(slot) = fresh.role_of(leg.dev_number.get()) {
                there = there.with(Set::one(usize::from(slot)));
            }
            if leg.in_sync() {
                sound = sound.with(Set::one(index));
                clean &= leg.is_clean() && events == newest;
            }
        } else if !counts_in(leg, fresh) {
            return Err(Refusal::ForeignApart(freshest, index));
        }
    }
    if forced.is_none() {
        let roles = fresh.roles().iter().filter_map(|raw| Role::of(raw.get()));
        let had = roles.fold(Set::NONE, |set, role| match role {
            Role::Slot(slot) => set.with(Set::one(usize::from(slot))),
            Role::Spare | Role::Faulty => set,
        });
        let missing = had.without(there);
        if !missing.is_empty() {
            return Err(Refusal::Missing(missing));
        }
    }
    if sound.is_empty() {
        return Err(Refusal::NoneInSync);
    }
    Ok(Judgement { freshest, sound, clean })
}
