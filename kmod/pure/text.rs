// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Names, versions and UUIDs as they cross the control ABI: fixed fields, NUL-padded, a small alphabet.
//!
//! The alphabet is safe in a file name, a udev rule, a shell word and a device-mapper name.

use super::errno::{Errno, EINVAL};
use core::fmt;

/// Why a text field is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextError {
    /// No character at all.
    Empty,
    /// Longer than the field allows, or the field has no NUL.
    TooLong,
    /// A byte behind the NUL is not zero.
    Padding,
    /// The first character is not a letter or digit.
    First,
    /// A character is not in the alphabet.
    Character,
}

impl TextError {
    /// The errno the kernel answers with.
    pub const fn errno(self) -> Errno {
        EINVAL
    }
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "is empty",
            Self::TooLong => "is too long",
            Self::Padding => "has bytes behind its end",
            Self::First => "must start with a letter or digit",
            Self::Character => "may hold only letters, digits and . _ + -",
        })
    }
}

/// Checks a name or version: `[A-Za-z0-9][A-Za-z0-9._+-]*`, shorter than `field` bytes.
pub fn check(text: &[u8], field: usize) -> Result<(), TextError> {
    let first = text.first().ok_or(TextError::Empty)?;
    if text.len() >= field {
        return Err(TextError::TooLong);
    }
    if !first.is_ascii_alphanumeric() {
        return Err(TextError::First);
    }
    let allowed = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'+' | b'-');
    if !text.iter().all(allowed) {
        return Err(TextError::Character);
    }
    Ok(())
}

/// The text of a fixed field, checked: everything up to the NUL, with nothing but zeros behind it.
pub fn from_field(field: &[u8]) -> Result<&str, TextError> {
    let end = field.iter().position(|&c| c == 0).ok_or(TextError::TooLong)?;
    let (text, padding) = field.split_at(end);
    if padding.iter().any(|&c| c != 0) {
        return Err(TextError::Padding);
    }
    check(text, field.len())?;
    core::str::from_utf8(text).map_err(|_| TextError::Character)
}

/// Writes `text` into a fixed field, cut to leave room for the NUL; the rest becomes zero.
pub fn to_field(text: &str, field: &mut [u8]) {
    let room = field.len().saturating_sub(1);
    let length = text.len().min(room);
    for (index, to) in field.iter_mut().enumerate() {
        *to = match text.as_bytes().get(index) {
            Some(&c) if index < length => c,
            _ => 0,
        };
    }
}

/// Displays a UUID in the 8-4-4-4-12 form of RFC 9562.
pub struct Uuid<'a>(pub &'a [u8; 16]);

impl fmt::Display for Uuid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}
