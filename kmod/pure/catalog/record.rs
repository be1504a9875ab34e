// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A volume as the catalog has it: fixed fields, its name, its labels, and zeros up to a multiple of 8 bytes.
//!
//! A label is two lengths of a byte each, the key and the value. Keys are in order and there once.

use super::Policy;
use crate::pure::text::{self, TextError};
use crate::pure::thin::value::LAST_DEVICE;
use crate::pure::units::SECTOR_SIZE;
use core::fmt;
use core::mem::{offset_of, size_of};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::FromBytes;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a name, and a zero that is not stored.
pub const NAME_LEN: usize = 64;
/// Bytes of a label's key.
pub const KEY_MAX: usize = 128;
/// Bytes of a label's value.
pub const VALUE_MAX: usize = 255;
/// The labels that a volume can have.
pub const LABELS_MAX: usize = 32;
/// [`Fixed::rank`] of a volume without a name.
pub const UNNAMED: u32 = u32::MAX;
/// [`Fixed::origin`] of a volume that is no snapshot.
pub const NO_ORIGIN: u32 = u32::MAX;

/// In [`Fixed::flags`]: the volume cannot be written to.
pub const READ_ONLY: u32 = 1;
/// In [`Fixed::flags`]: it is listed as a snapshot of its origin, which may be gone.
pub const SNAPSHOT: u32 = 2;
/// In [`Fixed::flags`]: it is active only if it is asked for by name.
pub const MANUAL: u32 = 4;
/// In [`Fixed::flags`]: the pool is deleting the device, or has. The volume has no name any more.
pub const DELETING: u32 = 8;
const FLAGS: u32 = READ_ONLY | SNAPSHOT | MANUAL | DELETING;

/// What every record begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Fixed {
    /// Bytes of the record, with what makes it a multiple of 8.
    pub length: U32,
    /// The device id in dm-thin's metadata.
    pub device: U32,
    /// Bytes of the volume, a multiple of 512.
    pub size: U64,
    /// Bytes of the pool that nobody else gets.
    pub reservation: U64,
    /// Seconds since 1970 when it was made.
    pub created: U64,
    /// The volume's UUID.
    pub uuid: [u8; 16],
    /// Which device it was made of, or [`NO_ORIGIN`].
    pub origin: U32,
    /// [`READ_ONLY`] and others.
    pub flags: U32,
    /// A [`Policy`].
    pub policy: U32,
    /// Seconds that writes wait for room, if that is its own policy; 0 for as long as it takes.
    pub timeout: U32,
    /// Where its name is in the directory, or [`UNNAMED`].
    pub rank: U32,
    /// Bytes of the name.
    pub name: U16,
    /// How many labels there are.
    pub labels: U16,
}

const _: () = assert!(size_of::<Fixed>() == 72 && offset_of!(Fixed, uuid) == 32 && offset_of!(Fixed, rank) == 64);

/// What a record has wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The device id is not larger than the one before, or none at all.
    Order,
    /// The size is no multiple of 512, or 0.
    Size,
    /// Flags or a policy that nobody knows.
    Flags,
    /// An origin that is no device.
    Origin,
    /// The name.
    Name(TextError),
    /// A volume without a name that is not being deleted, or one with a name that is.
    Deleting,
    /// A label with such a key or value cannot be, or there are too many, or one is there twice.
    Label,
    /// Its parts are not as long as it is, or it is not zero behind them.
    Length,
    /// There is no room for it.
    Full,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order => f.write_str("the device id is there twice, out of order, or past the last"),
            Self::Size => f.write_str("the size must be a multiple of 512, and not 0"),
            Self::Flags => f.write_str("unknown flags or policy: use a newer version of Stor"),
            Self::Origin => f.write_str("the origin is no device id"),
            Self::Name(error) => write!(f, "the name {error}"),
            Self::Deleting => f.write_str("a volume has a name unless it is being deleted"),
            Self::Label => write!(
                f,
                "a label needs a key of up to {KEY_MAX} letters, digits and . _ / + -, there once, and a value of up to {VALUE_MAX} \
                 bytes without control characters; {LABELS_MAX} of them at most"
            ),
            Self::Length => f.write_str("its length does not fit what is in it"),
            Self::Full => f.write_str("there is no room for more: remove labels or volumes, or make the catalog larger"),
        }
    }
}

/// A key and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label<'a> {
    /// The key.
    pub key: &'a str,
    /// What it stands for.
    pub value: &'a str,
}

impl<'a> Label<'a> {
    /// Whether it can be one.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let key = self.key.as_bytes();
        let allowed = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'/' | b'+' | b'-');
        let first = key.first().is_some_and(u8::is_ascii_alphanumeric);
        let value = self.value.len() <= VALUE_MAX && !self.value.chars().any(char::is_control);
        if first && key.len() <= KEY_MAX && key.iter().all(allowed) && value {
            Ok(())
        } else {
            Err(Fault::Label)
        }
    }

    /// The first label of what is behind a name, and the rest.
    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let ([key, value], rest) = bytes.split_first_chunk()?;
        let (key, rest) = rest.split_at_checked(usize::from(*key))?;
        let (value, rest) = rest.split_at_checked(usize::from(*value))?;
        Some((Self { key: core::str::from_utf8(key).ok()?, value: core::str::from_utf8(value).ok()? }, rest))
    }
}

/// A record of which nothing but its length is known yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) fixed: &'a Fixed,
    rest: &'a [u8],
}

impl<'a> Record<'a> {
    /// The first record, and what is behind it.
    pub(super) fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (fixed, _) = Fixed::ref_from_prefix(bytes).ok()?;
        let (record, behind) = bytes.split_at_checked(fixed.length.get() as usize)?;
        let rest = record.get(size_of::<Fixed>()..)?;
        Some((Self { fixed, rest }, behind))
    }

    pub(super) fn name(&self) -> &'a [u8] {
        self.rest.get(..usize::from(self.fixed.name.get())).unwrap_or_default()
    }

    fn behind_name(&self) -> &'a [u8] {
        self.rest.get(usize::from(self.fixed.name.get())..).unwrap_or_default()
    }

    pub(super) fn check(&self) -> Result<(), Fault> {
        self.fixed.check()?;
        let name = self.rest.get(..usize::from(self.fixed.name.get())).ok_or(Fault::Length)?;
        check_name(self.fixed, name)?;
        if (self.fixed.rank.get() == UNNAMED) != name.is_empty() {
            return Err(Fault::Deleting);
        }
        let (mut rest, mut last) = (self.behind_name(), None);
        if usize::from(self.fixed.labels.get()) > LABELS_MAX {
            return Err(Fault::Label);
        }
        for _ in 0..self.fixed.labels.get() {
            let (label, behind) = Label::split(rest).ok_or(Fault::Label)?;
            label.check()?;
            if last.replace(label.key).is_some_and(|last| last >= label.key) {
                return Err(Fault::Label);
            }
            rest = behind;
        }
        let whole = self.fixed.length.get() % 8 == 0;
        if !whole || rest.len() >= 8 || rest.iter().any(|&byte| byte != 0) {
            return Err(Fault::Length);
        }
        Ok(())
    }

    /// The volume, of a record that was checked.
    pub(super) fn volume(&self) -> Volume<'a> {
        Volume {
            fixed: self.fixed,
            name: core::str::from_utf8(self.name()).unwrap_or_default(),
            labels: self.behind_name(),
        }
    }
}

impl Fixed {
    /// Whether its fields can be, for themselves.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if u64::from(self.device.get()) > LAST_DEVICE {
            return Err(Fault::Order);
        }
        if self.size.get() == 0 || self.size.get() % SECTOR_SIZE != 0 {
            return Err(Fault::Size);
        }
        if self.flags.get() & !FLAGS != 0 || Policy::of(self.policy.get()).is_none() {
            return Err(Fault::Flags);
        }
        if self.origin.get() != NO_ORIGIN && u64::from(self.origin.get()) > LAST_DEVICE {
            return Err(Fault::Origin);
        }
        Ok(())
    }

    /// Whether the pool is deleting the device.
    pub fn is_deleting(&self) -> bool {
        self.flags.get() & DELETING != 0
    }
}

/// Whether a volume may have this name: it has one, unless it is being deleted.
pub(super) fn check_name(fixed: &Fixed, name: &[u8]) -> Result<(), Fault> {
    if fixed.is_deleting() != name.is_empty() {
        return Err(Fault::Deleting);
    }
    if name.is_empty() {
        return Ok(());
    }
    text::check(name, NAME_LEN).map_err(Fault::Name)
}

/// A volume in a catalog.
#[derive(Clone, Copy, Debug)]
pub struct Volume<'a> {
    /// Its fields.
    pub fixed: &'a Fixed,
    /// Its name; empty while it is being deleted.
    pub name: &'a str,
    labels: &'a [u8],
}

impl<'a> Volume<'a> {
    /// What happens when the pool is full.
    pub fn policy(&self) -> Policy {
        Policy::of(self.fixed.policy.get()).unwrap_or(Policy::Pool)
    }

    /// Its labels, in the order of their keys.
    pub fn labels(&self) -> impl Iterator<Item = Label<'a>> + 'a {
        let mut rest = self.labels;
        (0..self.fixed.labels.get()).map_while(move |_| {
            let (label, behind) = Label::split(rest)?;
            rest = behind;
            Some(label)
        })
    }
}
