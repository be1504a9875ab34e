// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Members that come and go: what somebody wants of the table of members, and in which records it is done.
//!
//! Members are named by their UUIDs, and each leg gets a new one when it is formatted: so a change that was made is not made again, and
//! whoever wants it may say so at every start. It is made at a start, after the claim and before anything is read or written, each record
//! one thing:
//! 1. who leaves loses its vote, which it still has in that, and with it, or later, its name: then nobody knows it any more;
//! 2. who joins gets a name, in a place that nobody has;
//! 3. a tie-break that joins gets its vote; a leg gets bitmap, superblock and record, is copied as a whole, and is entitled and votes
//!    as any other that was away ([`super::keeper`]).
//!
//! A name is given only where nobody votes: the vote of who had the place before would be counted as the new one's.

use super::mutant::{breaks, Mutant};
use super::record::Record;
use super::refusal::Refusal;
use super::set::{Set, LEGS_MAX, TIE_BREAK};

/// What somebody wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Who is to become a member; zeros: nobody. A leg's superblock has this UUID; on a tie-break there need not be anything yet.
    pub joins: [u8; 16],
    /// That is the tie-break that was given, and no leg.
    pub tie_break: bool,
    /// Who is to be a member no longer, whether it is there or not; zeros: nobody.
    pub leaves: [u8; 16],
}

/// A member, and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The place.
    pub place: usize,
    /// Its UUID.
    pub device: [u8; 16],
}

/// What of a change is to be done yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// Who leaves.
    pub leaves: Option<Member>,
    /// Who joins.
    pub joins: Option<Member>,
}

/// What a record does to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// Takes a name from it.
    Forget(Member),
    /// Puts one into it.
    Name(Member),
}

impl Change {
    /// What is to be done of it, if this is the table, and those are there whom `given` knows.
    ///
    /// # Errors
    ///
    /// There is no place for who joins, or it is not there.
    pub fn moves(&self, record: &Record, given: &dyn Fn(&[u8; 16]) -> bool) -> Result<Moves, Refusal> {
        let leaves = record.place(&self.leaves).map(|place| Member { place, device: self.leaves });
        if self.joins == [0; 16] || record.place(&self.joins).is_some() {
            return Ok(Moves { leaves, joins: None });
        }
        if self.joins == self.leaves {
            return Err(Refusal::NotGiven);
        }
        let free = |place: &usize| record.member.get(*place).is_some_and(|member| *member == [0; 16]);
        // While who leaves is there, it is told so under its place.
        let left = leaves.map(|leaves| leaves.place).filter(|_| !given(&self.leaves));
        let place = if self.tie_break {
            Some(TIE_BREAK).filter(|place| free(place) || left == Some(TIE_BREAK)).ok_or(Refusal::Taken)?
        } else if given(&self.joins) {
            let left = left.filter(|place| *place < LEGS_MAX);
            left.or_else(|| (0..LEGS_MAX).find(free)).ok_or(Refusal::Full)?
        } else {
            return Err(Refusal::NotGiven);
        };
        Ok(Moves { leaves, joins: Some(Member { place, device: self.joins }) })
    }
}

impl Moves {
    /// The place of who leaves.
    pub fn leaving(&self) -> Set {
        self.leaves.map_or(Set::NONE, |leaves| Set::one(leaves.place))
    }

    /// The place of who joins.
    pub fn joining(&self) -> Set {
        self.joins.map_or(Set::NONE, |joins| Set::one(joins.place))
    }

    /// What the next record does, which has these voters.
    pub(super) fn next(&self, record: &Record, voters: Set) -> Option<Move> {
        match (self.leaves, self.joins) {
            (Some(leaves), Some(joins)) if leaves.place == joins.place && breaks(Mutant::RenameVoter) => {
                Some(Move::Name(joins))
            }
            (Some(leaves), _) => Some(Move::Forget(leaves)).filter(|_| !voters.has(leaves.place)),
            (None, Some(joins)) => {
                let votes = record.voters().with(voters).has(joins.place);
                Some(Move::Name(joins)).filter(|_| !votes)
            }
            (None, None) => None,
        }
    }

    /// The record that does it is about to be written.
    pub(super) fn begun(&mut self, what: Move) {
        match what {
            Move::Forget(_) => self.leaves = None,
            Move::Name(_) => *self = Self::default(),
        }
    }
}
