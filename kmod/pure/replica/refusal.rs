// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Why a replica does not start, with the facts that decided it. Legs are counted from 0 in the order in which they were given.

use super::record::{self, Record};
use super::set::{Set, LEGS_MAX};
use core::fmt;

/// Whose record it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A leg's.
    Leg(u8),
    /// The tie-break's.
    TieBreak,
    /// That of the volume that runs.
    Volume,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leg(leg) => write!(f, "leg {leg}"),
            Self::TieBreak => f.write_str("the tie-break"),
            Self::Volume => f.write_str("the volume"),
        }
    }
}

/// What one of two sides says that cannot both be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// Who says it.
    pub who: Who,
    /// Its epoch.
    pub epoch: u64,
    /// The first bytes of its lineage.
    pub lineage: u32,
    /// Who was entitled.
    pub entitled: Set,
    /// md's events counter.
    pub events: u64,
    /// When its record was written, in seconds.
    pub time: u64,
    /// The machine that wrote it.
    pub writer: [u8; 16],
}

impl Side {
    /// Of the record of a leg.
    pub fn of(who: Who, record: &Record, events: u64) -> Self {
        let [a, b, c, d, ..] = record.lineage;
        Self {
            who,
            epoch: record.epoch.get(),
            lineage: u32::from_be_bytes([a, b, c, d]),
            entitled: record.entitled(),
            events,
            time: record.time.get(),
            writer: record.writer,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (epoch {} of lineage {:08x}, event {}, ", self.who, self.epoch, self.lineage, self.events)?;
        write!(f, "entitled {}, written at {} by {})", self.entitled, self.time, crate::pure::text::Uuid(&self.writer))
    }
}

/// Why it does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No leg was given.
    NoLegs,
    /// More legs than there can be.
    TooMany(usize),
    /// A leg of another array than the first.
    OtherArray(usize),
    /// One leg, or a copy of it, was given twice.
    Twice(usize, usize),
    /// Two legs have the same number, or fill the same slot.
    Number(usize, usize),
    /// A leg for an array of another size than the first's.
    Size {
        /// The leg.
        leg: usize,
        /// Sectors that it says.
        size: u64,
        /// Sectors that the first says.
        first: u64,
    },
    /// A leg with blocks of another size than the first's.
    BlockSize {
        /// The leg.
        leg: usize,
        /// Bytes of its blocks.
        size: u32,
        /// Bytes of the first's.
        first: u32,
    },
    /// A leg without a write-intent bitmap.
    NoBitmap(usize),
    /// A leg that has no room for the membership record.
    NoRoom(usize),
    /// No leg has a record that can be read.
    Record(usize, record::Refusal),
    /// Two members have gone on without each other.
    Apart(Side, Side),
    /// There are too few voters.
    Quorum {
        /// Those that are there.
        present: Set,
        /// Those that there are.
        voters: Set,
        /// The last epoch that those know.
        epoch: u64,
    },
    /// None of the legs that have all that was acknowledged is there.
    NoSource {
        /// Which these would be.
        entitled: Set,
        /// The epoch that says so.
        epoch: u64,
    },
    /// md has had the array since, and members are missing that it may have had, too.
    Foreign(Set),
    /// md has had two legs one without the other.
    ForeignApart(usize, usize),
    /// Slots that md had in use and whose legs are not there.
    Missing(Set),
    /// No leg that is there has all of the data, as far as md knows.
    NoneInSync,
    /// There is no such leg to force a start from.
    NoSuchLeg(usize),
    /// A start is to be forced from a leg that was being rebuilt.
    Unfinished(usize),
    /// A start is to be forced from a leg that is no member any more.
    Stranger(usize),
    /// Who is to leave is the last leg that has all of the data.
    LastLeg(usize),
    /// There is no place for another leg.
    Full,
    /// There is a tie-break already.
    Taken,
    /// Who is to join is not there.
    NotGiven,
    /// The members are to be changed, but md has had the legs.
    ForeignChange,
    /// No further change can be counted.
    End,
}

impl Refusal {
    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::NoLegs | Self::NoSuchLeg(_) => "name legs that there are",
            Self::TooMany(_) => "a replica has at most 16",
            Self::OtherArray(_) => "name the legs of one array",
            Self::Twice(..) => "name each leg once, and no copy of one",
            Self::Number(..) => "leave one of them out, and add it again",
            Self::Size { .. } | Self::BlockSize { .. } => "leave it out, and add a leg of the right kind",
            Self::NoBitmap(_) => "let mdadm add one to it",
            Self::NoRoom(_) => "copy the data to a replica that Stor has made",
            Self::Record(..) => "bring the other legs, or force a start from this one",
            Self::Apart(..) | Self::ForeignApart(..) => {
                "choose whose data is wanted; what only the other one has will be lost"
            }
            Self::Quorum { .. } | Self::NoSource { .. } | Self::Foreign(_) | Self::Missing(_) => {
                "bring the others, or force a start, by which what only they have will be lost"
            }
            Self::NoneInSync => "bring the leg that it was rebuilt from",
            Self::Unfinished(_) => "its data is a mixture; force a start from another one",
            Self::Stranger(_) => "name a leg that is a member",
            Self::LastLeg(_) => "wait until another leg is rebuilt",
            Self::Full => "remove a leg first",
            Self::Taken => "remove that one first",
            Self::NotGiven => "give it, too",
            Self::ForeignChange => "start the volume first",
            Self::End => "copy the volume to a new one",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLegs => f.write_str("there is no leg"),
            Self::TooMany(count) => write!(f, "these are {count} legs"),
            Self::OtherArray(leg) => write!(f, "leg {leg} is of another array than leg 0"),
            Self::Twice(one, other) => write!(f, "legs {one} and {other} are the same"),
            Self::Number(one, other) => write!(f, "legs {one} and {other} claim the same place"),
            Self::Size { leg, size, first } => {
                write!(f, "leg {leg} is for an array of {size} sectors, leg 0 for one of {first}")
            }
            Self::BlockSize { leg, size, first } => {
                write!(f, "leg {leg} has blocks of {size} bytes, leg 0 of {first}")
            }
            Self::NoBitmap(leg) => write!(f, "leg {leg} has no write-intent bitmap"),
            Self::NoRoom(leg) => write!(f, "leg {leg} has no room for the membership record before its data"),
            Self::Record(leg, refusal) => write!(f, "leg {leg}: {refusal}"),
            Self::Apart(one, other) => write!(f, "{one} and {other} have gone on without each other"),
            Self::Quorum { present, voters, epoch } => write!(
                f,
                "too few voters: of members {voters} there are {present}; the others may have gone on since epoch {epoch}"
            ),
            Self::NoSource { entitled, epoch } => {
                write!(f, "since epoch {epoch} all that was acknowledged is on legs {entitled}, none of which is there")
            }
            Self::Foreign(missing) => {
                write!(f, "md has had these legs without Stor, and perhaps also members {missing}, which are not there")
            }
            Self::ForeignApart(one, other) => write!(f, "md has had legs {one} and {other} one without the other"),
            Self::Missing(slots) => write!(f, "md had legs in slots {slots}, which are not there"),
            Self::NoneInSync => f.write_str("no leg that is there has all of the data"),
            Self::NoSuchLeg(leg) => write!(f, "there is no leg {leg}"),
            Self::Unfinished(leg) => write!(f, "leg {leg} was being rebuilt"),
            Self::Stranger(leg) => write!(f, "leg {leg} is no member any more"),
            Self::LastLeg(slot) => write!(f, "the leg in slot {slot} is the last that has all of the data"),
            Self::Full => write!(f, "there are {LEGS_MAX} legs"),
            Self::Taken => f.write_str("there is a tie-break"),
            Self::NotGiven => f.write_str("who is to join is not there"),
            Self::ForeignChange => f.write_str("md has had the legs, so their members cannot be changed now"),
            Self::End => f.write_str("the membership has been changed as often as it can be"),
        }?;
        write!(f, ": {}", self.advice())
    }
}
