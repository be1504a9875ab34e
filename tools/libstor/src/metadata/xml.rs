// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The little of XML that metadata is written in: tags with attributes, read as they come and not kept.

use crate::{Error, Kind, Result};
use std::io::Read;

/// No tag is longer.
const TAG_MAX: usize = 64 << 10;
/// Bytes read at a time.
const BUFFER: usize = 16 * TAG_MAX;

/// Reads tags.
pub(super) struct Xml<R> {
    input: R,
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
    /// Nothing more will come.
    ended: bool,
    line: u64,
}

/// What a tag does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Opens an element,
    Open,
    /// closes it,
    Close,
    /// or both.
    Empty,
}

/// A tag.
#[derive(Clone, Copy)]
pub(super) struct Tag<'a> {
    pub(super) name: &'a [u8],
    pub(super) form: Form,
    /// Where it begins.
    pub(super) line: u64,
    /// What is behind the name, not looked at yet.
    attributes: &'a [u8],
}

/// An error in the input.
pub(super) fn wrong(line: u64, what: impl std::fmt::Display) -> Error {
    Error::new(Kind::Failure, format!("line {line}: {what}"))
}

/// Bytes as they may be printed.
pub(super) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let short: String = text.chars().take(40).flat_map(char::escape_debug).collect();
    short
}

/// Takes bytes from the front for as long as they are like that.
fn take<'a>(rest: &mut &'a [u8], like: impl Fn(u8) -> bool) -> &'a [u8] {
    let length = rest.iter().position(|&byte| !like(byte)).unwrap_or(rest.len());
    let (taken, left) = rest.split_at(length);
    *rest = left;
    taken
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn newlines(bytes: &[u8]) -> u64 {
    // In pieces whose number fits a byte, which processors count many at a time.
    let count = |piece: &[u8]| piece.iter().map(|&byte| u8::from(byte == b'\n')).sum::<u8>();
    bytes.chunks(255).map(|piece| u64::from(count(piece))).sum()
}

impl<R: Read> Xml<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, buffer: vec![0; BUFFER], begin: 0, end: 0, ended: false, line: 1 }
    }

    /// The line that is being read.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Sees to it that a whole tag is in the buffer, if more comes.
    fn fill(&mut self) -> Result<()> {
        if self.end - self.begin >= TAG_MAX || self.ended {
            return Ok(());
        }
        self.buffer.copy_within(self.begin..self.end, 0);
        (self.begin, self.end) = (0, self.end - self.begin);
        while self.end < self.buffer.len() {
            match self.input.read(self.buffer.get_mut(self.end..).unwrap_or_default()) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(count) => self.end += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(wrong(self.line, format_args!("cannot read: {error}"))),
            }
        }
        Ok(())
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.begin..self.end).unwrap_or_default()
    }

    /// Goes on behind what has been looked at.
    fn skip(&mut self, length: usize) {
        self.line += newlines(self.buffer.get(self.begin..self.begin + length).unwrap_or_default());
        self.begin += length;
    }

    /// Goes on behind these bytes, which must come.
    fn skip_behind(&mut self, mark: &[u8]) -> Result<()> {
        let line = self.line;
        loop {
            self.fill()?;
            let rest = self.rest();
            if let Some(found) = rest.windows(mark.len()).position(|window| window == mark) {
                self.skip(found + mark.len());
                return Ok(());
            }
            if self.ended {
                return Err(wrong(line, format_args!("what begins here has no end '{}'", shown(mark))));
            }
            // The mark may begin at the very end.
            let seen = rest.len().saturating_sub(mark.len() - 1);
            self.skip(seen);
        }
    }

    /// The next tag; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Tag<'_>>> {
        loop {
            self.fill()?;
            let mut rest = self.rest();
            let blank = take(&mut rest, is_space).len();
            self.skip(blank);
            let rest = self.rest();
            match rest {
                [] if self.ended => return Ok(None),
                [] => {}
                [b'<', b'!', b'-', b'-', ..] => self.skip_behind(b"-->")?,
                [b'<', b'?', ..] => self.skip_behind(b"?>")?,
                [b'<', ..] if rest.len() >= TAG_MAX || self.ended => return self.tag().map(Some),
                [b'<', ..] => {}
                _ => {
                    let what = shown(rest.split(|&byte| byte == b'<').next().unwrap_or_default());
                    return Err(wrong(self.line, format_args!("text '{what}' where there must be a tag")));
                }
            }
        }
    }

    /// The tag that begins here.
    fn tag(&mut self) -> Result<Tag<'_>> {
        let line = self.line;
        let all = self.buffer.get(self.begin..self.end).unwrap_or_default();
        let end = memchr::memchr(b'>', all.get(..TAG_MAX).unwrap_or(all));
        let Some(end) = end else {
            return Err(wrong(line, "a tag without an end: the input is cut off, or no XML"));
        };
        let (mut rest, mut form) = (all.get(1..end).unwrap_or_default(), Form::Open);
        self.line += newlines(rest);
        self.begin += end + 1;
        if let [b'/', inside @ ..] = rest {
            (form, rest) = (Form::Close, inside);
        } else if let [inside @ .., b'/'] = rest {
            (form, rest) = (Form::Empty, inside);
        }
        let name = take(&mut rest, |byte| !is_space(byte));
        Ok(Tag { name, form, line, attributes: rest })
    }
}

impl<'a> Tag<'a> {
    /// Takes the first of these attributes; `None` if there is none.
    fn attribute(&self, rest: &mut &'a [u8]) -> Result<Option<(&'a [u8], &'a [u8])>> {
        take(rest, is_space);
        if rest.is_empty() {
            return Ok(None);
        }
        let key = take(rest, |byte| !is_space(byte) && byte != b'=');
        let broken = || {
            let what = format!("attribute {} of <{}> has no value in quotes", shown(key), shown(self.name));
            wrong(self.line, what).help("if the value contains >, write &gt;")
        };
        take(rest, is_space);
        let [b'=', behind @ ..] = *rest else { return Err(broken()) };
        *rest = behind;
        take(rest, is_space);
        let [quote @ (b'"' | b'\''), behind @ ..] = *rest else { return Err(broken()) };
        *rest = behind;
        let value = take(rest, |byte| byte != *quote);
        let [_, behind @ ..] = *rest else { return Err(broken()) };
        *rest = behind;
        Ok(Some((key, value)))
    }

    /// The value of one.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a [u8]>> {
        let mut rest = self.attributes;
        while let Some((key, value)) = self.attribute(&mut rest)? {
            if key == name.as_bytes() {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// The numbers that these attributes are; beside them there may be only those to be ignored.
    ///
    /// # Errors
    ///
    /// One is missing, or there is one more, or one is no number.
    pub(super) fn numbers<const N: usize>(&self, names: [&str; N], ignored: &[&str]) -> Result<[u64; N]> {
        let mut numbers = [None; N];
        let mut rest = self.attributes;
        // They mostly come in this order, and are written in this way.
        for (name, place) in names.iter().zip(&mut numbers) {
            let Some((number, behind)) = plain(rest, name) else { break };
            (*place, rest) = (Some(number), behind);
        }
        while let Some((key, value)) = self.attribute(&mut rest)? {
            let place = names.iter().position(|name| name.as_bytes() == key);
            let Some(place) = place.and_then(|place| numbers.get_mut(place)) else {
                if ignored.iter().any(|name| name.as_bytes() == key) {
                    continue;
                }
                let (key, name) = (shown(key), shown(self.name));
                return Err(wrong(self.line, format_args!("attribute {key} of <{name}> is not known: remove it")));
            };
            if place.is_some() {
                return Err(wrong(self.line, format_args!("attribute {} is there twice: remove one", shown(key))));
            }
            let parsed = number(value);
            if parsed.is_none() {
                let (key, value) = (shown(key), shown(value));
                return Err(wrong(
                    self.line,
                    format_args!("{key}=\"{value}\" is no number: must be 0 to {}", u64::MAX),
                ));
            }
            *place = parsed;
        }
        let mut all = [0; N];
        for ((place, number), name) in all.iter_mut().zip(numbers).zip(names) {
            *place = number.ok_or_else(|| {
                wrong(self.line, format_args!("<{}> has no attribute {name}: add it", shown(self.name)))
            })?;
        }
        Ok(all)
    }
}

/// The number in ` name="number"`, and what is behind it.
fn plain<'a>(rest: &'a [u8], name: &str) -> Option<(u64, &'a [u8])> {
    let [b' ', rest @ ..] = rest else { return None };
    let [b'=', b'"', rest @ ..] = rest.strip_prefix(name.as_bytes())? else { return None };
    let length = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, [b'"', rest @ ..]) = rest.split_at(length) else { return None };
    Some((number(digits)?, rest))
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    if digits.len() < 19 && digits.iter().all(u8::is_ascii_digit) {
        // It cannot be too large.
        return Some(digits.iter().fold(0, |number, byte| number * 10 + u64::from(byte & 0xf)));
    }
    digits.iter().try_fold(0u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then(|| number.checked_mul(10)?.checked_add(u64::from(digit))).flatten()
    })
}
