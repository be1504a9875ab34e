// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Sets of members: legs by their slots, and the tie-break.

use core::fmt;

/// Legs that a replica has at most.
pub const LEGS_MAX: usize = 16;
/// The place of the tie-break: a member that votes and has no data.
pub const TIE_BREAK: usize = LEGS_MAX;
/// Places that there are.
pub const PLACES: usize = LEGS_MAX + 1;

/// Some of the members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Set(u32);

impl Set {
    /// None.
    pub const NONE: Self = Self(0);
    /// All that there can be.
    pub const ALL: Self = Self((1 << PLACES) - 1);
    /// All legs that there can be.
    pub const LEGS: Self = Self((1 << LEGS_MAX) - 1);

    /// One; none if there is no such place.
    pub const fn one(place: usize) -> Self {
        if place < PLACES {
            Self(1 << place)
        } else {
            Self::NONE
        }
    }

    /// The first `count` legs.
    pub const fn first(count: usize) -> Self {
        Self(((1_u64 << if count < LEGS_MAX { count } else { LEGS_MAX }) - 1) as u32)
    }

    /// As a record has it; `None` if it has places that there are not.
    pub const fn of(bits: u32) -> Option<Self> {
        if bits & !Self::ALL.0 == 0 {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// As a record has it.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Those that are in one or in the other.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether all of the other are in it.
    pub const fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Whether it is there.
    pub const fn has(self, place: usize) -> bool {
        place < PLACES && self.0 & (1 << place) != 0
    }

    /// The places, in order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        core::iter::from_fn(move || {
            let place = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            (place < PLACES).then_some(place)
        })
    }

    /// The first place.
    pub fn lowest(self) -> Option<usize> {
        self.iter().next()
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        for (index, place) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            match place {
                TIE_BREAK => write!(f, "{comma}tie-break")?,
                place => write!(f, "{comma}{place}")?,
            }
        }
        Ok(())
    }
}
