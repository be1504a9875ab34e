// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The membership record: which legs are entitled to hold what was acknowledged, and who votes on that.
//!
//! md's superblock cannot tell: a leg that has failed does not know it, events are a counter and no history, and nothing
//! stops each of two legs from being started alone. Every leg and the tie-break have this record besides, in two copies
//! of which the next is written over the older one ([`choose`]): a torn write leaves the other.
//!
//! Epochs count the changes. In one *lineage* they are one line: whoever starts needs a majority, first claims an epoch that nobody
//! else can have used, and only then uses it. An operator who forces a start without a majority begins a new lineage. A record
//! has the lineages that came before its own, and up to which epoch they are its history ([`super::lineage`]).

use super::mutant::{breaks, Mutant};
use super::set::{Set, PLACES, TIE_BREAK};
use crate::pure::md::superblock::Superblock;
use crate::pure::md::{Page, PAGE_SIZE};
use crate::pure::thin::crc::Crc;
use crate::pure::units::Sectors;
use core::fmt;
use core::mem::{offset_of, size_of};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first bytes of a record.
pub const MAGIC: [u8; 8] = *b"StorMemb";
/// The version that this code writes, and the only one that it reads.
pub const VERSION: u32 = 1;
/// Where the two copies are on a tie-break; on a leg, [`record_places`](crate::pure::md::layout::record_places) says.
pub const TIE_BREAK_PLACES: [Sectors; 2] = [Sectors(8), Sectors(16)];
/// Lineages before the last that are kept.
pub const FORKS_MAX: usize = 16;
/// In [`Record::flags`]: this lineage began with a start that was forced.
pub const FORCED: u32 = 1;

/// A lineage that another one began from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Fork {
    /// The older lineage.
    pub lineage: [u8; 16],
    /// Its last epoch that is history of the younger one.
    pub epoch: U64,
    /// The events counter of the leg that the younger one began with.
    pub events: U64,
}

impl Fork {
    /// The [tag](Record::tag) that superblocks had then.
    pub fn tag(&self) -> u32 {
        tag(&self.lineage)
    }
}

fn tag(lineage: &[u8; 16]) -> u32 {
    let [first, second, third, ..] = *lineage;
    u32::from_le_bytes([first, second, third, 0]).max(1)
}

/// A record. What is behind it in its page is zero.
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Record {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// CRC-32C of all of the page that is behind it, as the library function of that name gives it.
    pub checksum: U32,
    /// [`VERSION`].
    pub version: U32,
    /// The array's UUID.
    pub array: [u8; 16],
    /// When the array was made, as its superblock says: mdadm may make another one with this UUID.
    pub made: U64,
    /// The UUID of the leg, or of the tie-break, that has this copy.
    pub device: [u8; 16],
    /// Rises with each write to this member; of its two copies, if both are sound, the one with the larger counts.
    pub sequence: U64,
    /// Rises with each change of the membership.
    pub epoch: U64,
    /// The epoch before.
    pub parent: U64,
    /// The youngest epoch that anybody may have used.
    pub claim: U64,
    /// md's events when this was written.
    pub events: U64,
    /// When this was written, in seconds.
    pub time: U64,
    /// Random; the same until a start is forced.
    pub lineage: [u8; 16],
    /// The machine that wrote this, by its machine id.
    pub writer: [u8; 16],
    /// Places of the table that are legs.
    pub legs: U32,
    /// Legs that have all that was acknowledged.
    pub entitled: U32,
    /// Members that vote.
    pub voters: U32,
    /// [`FORCED`].
    pub flags: U32,
    /// How many lineages there are before this one.
    pub forks: U32,
    /// Places that are to have a leg; besides `legs` those that md had empty when the array was taken over.
    pub slots: U32,
    /// Zero.
    pub reserved: [u8; 80],
    /// UUIDs of the members: a leg's by its slot; behind them, the tie-break's.
    pub member: [[u8; 16]; PLACES],
    /// The lineages before, the oldest first; the rest is zero.
    pub fork: [Fork; FORKS_MAX],
}

impl Default for Record {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

const _: () = assert!(size_of::<Record>() == 1024 && size_of::<Fork>() == 32);
const _: () = assert!(offset_of!(Record, sequence) == 56 && offset_of!(Record, lineage) == 104);
const _: () = assert!(offset_of!(Record, legs) == 136 && offset_of!(Record, member) == 240);
const _: () = assert!(offset_of!(Record, fork) == 512);

/// Why a record is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is none.
    Magic,
    /// It is damaged.
    Checksum,
    /// Written by something newer.
    Version(u32),
    /// It belongs to another array, or to a former one in its place.
    Array,
    /// It was copied here from another leg.
    Device,
    /// It says what cannot be.
    Contents,
    /// Two copies of the same number are not the same.
    Copies,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("there is no membership record"),
            Self::Checksum => f.write_str("the membership record's checksum does not fit its contents"),
            Self::Version(version) => write!(
                f,
                "membership record of version {version} is not known, only {VERSION}: use a newer version of Stor"
            ),
            Self::Array => f.write_str("the membership record is of another array"),
            Self::Device => f.write_str("the membership record is of another leg"),
            Self::Contents => f.write_str("the membership record says what cannot be"),
            Self::Copies => f.write_str("the two copies of the membership record contradict each other"),
        }
    }
}

/// Whose records are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The array's UUID.
    pub array: [u8; 16],
    /// When it was made.
    pub made: u64,
    /// The UUID of the leg, or of the tie-break.
    pub device: [u8; 16],
}

impl Identity {
    /// A leg's.
    pub fn of(leg: &Superblock) -> Self {
        Self { array: leg.set_uuid, made: leg.ctime.get(), device: leg.device_uuid }
    }
}

impl Record {
    /// The first record of a new array: everybody is entitled and votes.
    ///
    /// `members` are UUIDs of the legs by their slots, and behind them that of the tie-break; zeros are nobody. `lineage` is random.
    pub fn first(leg: &Superblock, members: [[u8; 16]; PLACES], lineage: [u8; 16], time: u64) -> Self {
        let mut record = Self::new_zeroed();
        let all = (0..PLACES).filter(|place| members.get(*place).is_some_and(|member| *member != [0; 16]));
        let all = all.fold(Set::NONE, |set, place| set.with(Set::one(place)));
        let legs = all.and(Set::LEGS).bits();
        (record.array, record.made, record.member) = (leg.set_uuid, leg.ctime, members);
        (record.sequence, record.epoch, record.claim) = (1.into(), 1.into(), 2.into());
        (record.events, record.time, record.lineage) = (leg.events, time.into(), lineage);
        (record.legs, record.entitled, record.voters) = (legs.into(), legs.into(), all.bits().into());
        record.slots = record.legs;
        record
    }

    /// The record in a page.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn of<'a, C: Crc>(page: &'a Page, whose: &Identity) -> Result<&'a Self, Refusal> {
        let (record, rest) = Self::ref_from_prefix(page).map_err(|_| Refusal::Magic)?;
        if record.magic != MAGIC {
            return Err(Refusal::Magic);
        }
        if record.checksum.get() != sum::<C>(page) {
            return Err(Refusal::Checksum);
        }
        if record.version.get() != VERSION {
            return Err(Refusal::Version(record.version.get()));
        }
        if record.array != whose.array || record.made.get() != whose.made {
            return Err(Refusal::Array);
        }
        if record.device != whose.device {
            return Err(Refusal::Device);
        }
        if rest.iter().any(|&byte| byte != 0) || record.reserved != [0; 80] {
            return Err(Refusal::Contents);
        }
        record.check()?;
        Ok(record)
    }

    /// Puts it into a page, ready to be written for a member to the [next](Position::next) position.
    ///
    /// # Errors
    ///
    /// It says what cannot be; it is not to be written.
    pub fn write<C: Crc>(&self, device: [u8; 16], to: Position, page: &mut Page) -> Result<(), Refusal> {
        self.check()?;
        *page = [0; PAGE_SIZE];
        let (record, _) = Self::mut_from_prefix(page).map_err(|_| Refusal::Contents)?;
        record.clone_from(self);
        (record.magic, record.version, record.device) = (MAGIC, VERSION.into(), device);
        record.sequence = to.sequence.into();
        let sum = sum::<C>(page);
        page.iter_mut().skip(offset_of!(Self, checksum)).zip(sum.to_le_bytes()).for_each(|(to, from)| *to = from);
        Ok(())
    }

    /// Places that are legs.
    pub fn legs(&self) -> Set {
        Set::of(self.legs.get()).unwrap_or_default()
    }

    /// Places that are to have a leg.
    pub fn slots(&self) -> Set {
        Set::of(self.slots.get()).unwrap_or_default().with(self.legs())
    }

    /// Gives a place, which nobody has, to this member. It has no vote.
    pub(super) fn name(&mut self, place: usize, device: [u8; 16]) {
        self.forget(place);
        if let Some(member) = self.member.get_mut(place) {
            *member = device;
        }
        let leg = Set::one(place).and(Set::LEGS);
        (self.slots, self.legs) = (self.slots().with(leg).bits().into(), self.legs().with(leg).bits().into());
    }

    /// Takes a member from the table.
    pub(super) fn forget(&mut self, place: usize) {
        let without = |set: Set| U32::from(set.without(Set::one(place)).bits());
        if !breaks(Mutant::KeepSlot) {
            self.slots = without(self.slots());
        }
        (self.legs, self.entitled, self.voters) =
            (without(self.legs()), without(self.entitled()), without(self.voters()));
        if let Some(member) = self.member.get_mut(place) {
            *member = [0; 16];
        }
    }

    /// Legs that have all that was acknowledged.
    pub fn entitled(&self) -> Set {
        Set::of(self.entitled.get()).unwrap_or_default()
    }

    /// Members that vote.
    pub fn voters(&self) -> Set {
        Set::of(self.voters.get()).unwrap_or_default()
    }

    /// The place of the member with this UUID.
    pub fn place(&self, device: &[u8; 16]) -> Option<usize> {
        self.member.iter().position(|member| member == device && *member != [0; 16])
    }

    /// The lineages before this one, the oldest first.
    pub fn forks(&self) -> &[Fork] {
        self.fork.get(..self.forks.get() as usize).unwrap_or_default()
    }

    /// What a superblock has in its [tag](Superblock::tag) as long as nobody but Stor has written it: not 0.
    pub fn tag(&self) -> u32 {
        tag(&self.lineage)
    }

    /// Whether two say the same of the members.
    pub fn agrees(&self, other: &Self) -> bool {
        let facts = |record: &Self| (record.legs, record.slots, record.entitled, record.voters, record.parent);
        facts(self) == facts(other) && self.member == other.member && self.forks() == other.forks()
    }

    /// Begins a new lineage, of which the old one is history up to now.
    pub fn fork(&mut self, lineage: [u8; 16], events: u64) {
        let fork = Fork { lineage: self.lineage, epoch: self.epoch, events: events.into() };
        if self.forks().len() == FORKS_MAX {
            // Who has nothing younger than the oldest is taken for a stranger from now on, which is safe.
            self.fork.rotate_left(1);
            self.forks = (FORKS_MAX as u32 - 1).into();
        }
        if let Some(place) = self.fork.get_mut(self.forks.get() as usize) {
            *place = fork;
            self.forks += 1;
        }
        (self.lineage, self.flags) = (lineage, FORCED.into());
    }

    /// Whether it describes what can be.
    fn check(&self) -> Result<(), Refusal> {
        let sets = [self.legs, self.slots, self.entitled, self.voters].map(|set| Set::of(set.get()));
        let [Some(legs), Some(slots), Some(entitled), Some(voters)] = sets else { return Err(Refusal::Contents) };
        let named = |place: usize| self.member.get(place).is_some_and(|member| *member != [0; 16]);
        let members = (0..PLACES).filter(|place| named(*place)).fold(Set::NONE, |set, place| set.with(Set::one(place)));
        let twice = members.iter().any(|place| self.member.get(place).and_then(|uuid| self.place(uuid)) != Some(place));
        let sane = legs == members.without(Set::one(TIE_BREAK))
            && Set::LEGS.covers(slots)
            && legs.covers(entitled)
            && members.covers(voters)
            && !entitled.is_empty()
            && !voters.is_empty()
            && !twice
            && self.parent < self.epoch
            && self.claim >= self.epoch
            && self.claim.get() < u64::MAX / 2
            && self.lineage != [0; 16]
            && self.flags.get() & !FORCED == 0;
        let forks = self.forks.get() as usize;
        let mut last = 0;
        let ordered = forks <= FORKS_MAX
            && self.forks().iter().all(|fork| {
                let younger = fork.epoch.get() >= last && fork.epoch < self.epoch && fork.lineage != self.lineage;
                last = fork.epoch.get();
                younger && fork.lineage != [0; 16]
            })
            && self.fork.iter().skip(forks).all(|fork| *fork == Fork::default());
        if sane && ordered {
            Ok(())
        } else {
            Err(Refusal::Contents)
        }
    }
}

/// The checksum of a record with this page.
fn sum<C: Crc>(page: &[u8]) -> u32 {
    !C::crc32c(page.get(offset_of!(Record, version)..).unwrap_or_default())
}

/// The copy that counts.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// What it says.
    pub record: &'a Record,
    /// Which copy it is: 0 or 1.
    pub slot: usize,
}

/// Where a member's youngest record is. Each member goes on from its own, since it may have missed some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Which copy: 0 or 1.
    pub slot: usize,
    /// Its number.
    pub sequence: u64,
}

impl Position {
    /// Of a member that has no record.
    pub const NONE: Self = Self { slot: 1, sequence: 0 };

    /// Where the next one is written: over the older one.
    #[must_use]
    pub fn next(self) -> Self {
        let slot = if breaks(Mutant::OneSlot) { 0 } else { 1 - self.slot.min(1) };
        Self { slot, sequence: self.sequence.saturating_add(1) }
    }
}

impl Found<'_> {
    /// Where it is.
    pub fn position(&self) -> Position {
        Position { slot: self.slot, sequence: self.record.sequence.get() }
    }
}

/// Which of the two copies counts: the younger of those that are sound.
///
/// # Errors
///
/// Neither does: why the first one that is any does not.
pub fn choose(copies: [Result<&Record, Refusal>; 2]) -> Result<Found<'_>, Refusal> {
    let found = |record, slot| Ok(Found { record, slot });
    match copies {
        [Ok(first), Ok(second)] if first.sequence == second.sequence && first != second => Err(Refusal::Copies),
        [Ok(first), Ok(second)] if second.sequence.get() > first.sequence.get() => found(second, 1),
        [Ok(first), _] => found(first, 0),
        [Err(_), Ok(second)] => found(second, 1),
        [Err(Refusal::Magic | Refusal::Array), Err(why)] | [Err(why), Err(_)] => Err(why),
    }
}
