// SPDX-License-Identifier: GPL-2.0 OR MIT

//! LVM's metadata as text, which `vgcfgbackup` writes and `vgcfgrestore` reads: sections in sections, and in them values by name.
//!
//! What is not understood is kept as it is and in its order; comments are not kept.

use crate::{Error, Kind, Result};
use std::fmt;

/// Sections that are in one another at most.
const DEPTH_MAX: usize = 16;

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// A number, as it is written.
    Number(String),
    /// A string.
    Text(String),
    /// Several of them.
    List(Vec<Value>),
}

/// A part of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// A value.
    Value(String, Value),
    /// A section.
    Section(Section),
}

/// A section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Section {
    /// Its name; that of the whole text is empty.
    pub(crate) name: String,
    /// What is in it.
    pub(crate) items: Vec<Item>,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number.to_string())
    }
}

impl Value {
    /// Of strings.
    pub(crate) fn words(words: &[&str]) -> Self {
        Self::List(words.iter().map(|word| Self::from(*word)).collect())
    }

    /// Calls `each` for each string in it.
    pub(crate) fn texts(&self, each: &mut dyn FnMut(&str)) {
        match self {
            Self::Text(text) => each(text),
            Self::List(list) => list.iter().for_each(|value| value.texts(each)),
            Self::Number(_) => {}
        }
    }
}

impl Section {
    /// An empty one.
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.into(), items: Vec::new() }
    }

    /// The sections in it.
    pub(crate) fn sections(&self) -> impl Iterator<Item = &Section> {
        self.items.iter().filter_map(|item| match item {
            Item::Section(section) => Some(section),
            Item::Value(..) => None,
        })
    }

    /// The section of this name in it.
    pub(crate) fn section(&self, name: &str) -> Option<&Section> {
        self.sections().find(|section| section.name == name)
    }

    /// The same, to be changed.
    pub(crate) fn section_mut(&mut self, name: &str) -> Option<&mut Section> {
        self.items.iter_mut().find_map(|item| match item {
            Item::Section(section) if section.name == name => Some(section),
            _ => None,
        })
    }

    /// Takes out a section.
    pub(crate) fn take(&mut self, name: &str) -> Option<Section> {
        let is = |item: &Item| matches!(item, Item::Section(section) if section.name == name);
        let at = self.items.iter().position(is)?;
        match self.items.remove(at) {
            Item::Section(section) => Some(section),
            Item::Value(..) => None,
        }
    }

    /// Adds a section.
    pub(crate) fn push(&mut self, section: Section) {
        self.items.push(Item::Section(section));
    }

    /// The value of this name.
    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        self.items.iter().find_map(|item| match item {
            Item::Value(key, value) if key == name => Some(value),
            _ => None,
        })
    }

    /// The string of this name.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.value(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number of this name.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        match self.value(name)? {
            Value::Number(number) => number.parse().ok(),
            _ => None,
        }
    }

    /// The strings of this name.
    pub(crate) fn words(&self, name: &str) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(value) = self.value(name) {
            value.texts(&mut |text| words.push(text.into()));
        }
        words
    }

    /// Sets a value, where it is already, or before the first section.
    pub(crate) fn set(&mut self, name: &str, value: Value) {
        let is = |item: &&mut Item| matches!(item, Item::Value(key, _) if key == name);
        if let Some(Item::Value(_, old)) = self.items.iter_mut().find(is) {
            *old = value;
            return;
        }
        let at = self.items.iter().position(|item| matches!(item, Item::Section(_))).unwrap_or(self.items.len());
        self.items.insert(at, Item::Value(name.into(), value));
    }

    /// Takes a value back.
    pub(crate) fn unset(&mut self, name: &str) {
        self.items.retain(|item| !matches!(item, Item::Value(key, _) if key == name));
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let indent = "\t".repeat(depth);
        for item in &self.items {
            match item {
                Item::Value(name, value) => writeln!(f, "{indent}{name} = {value}")?,
                Item::Section(section) => {
                    writeln!(f, "{indent}{} {{", section.name)?;
                    section.write(f, depth + 1)?;
                    writeln!(f, "{indent}}}")?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => f.write_str(number),
            Self::Text(text) => write!(f, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
            Self::List(list) => {
                f.write_str("[")?;
                for (index, value) in list.iter().enumerate() {
                    write!(f, "{}{value}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

/// Reads such a text.
///
/// # Errors
///
/// In which line it cannot be understood.
pub(crate) fn parse(text: &str) -> Result<Section> {
    let mut reader = Reader { rest: text, all: text };
    let section = reader.section(String::new(), 0)?;
    Ok(section)
}

struct Reader<'a> {
    rest: &'a str,
    all: &'a str,
}

impl<'a> Reader<'a> {
    fn wrong(&self) -> Error {
        let read = self.all.len() - self.rest.len();
        let line = self.all.get(..read).unwrap_or_default().lines().count().max(1);
        Error::new(Kind::Failure, format!("line {line} of LVM's metadata cannot be understood"))
    }

    fn skip(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('#') {
                return;
            }
            self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
        }
    }

    fn eat(&mut self, wanted: char) -> bool {
        self.skip();
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn word(&mut self) -> &'a str {
        self.skip();
        let end = |c: char| c.is_whitespace() || matches!(c, '=' | '{' | '}' | '[' | ']' | ',' | '#' | '"');
        let (word, rest) = self.rest.split_at(self.rest.find(end).unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    fn section(&mut self, name: String, depth: usize) -> Result<Section> {
        let mut items = Vec::new();
        loop {
            if depth > 0 && self.eat('}') {
                break;
            }
            let name = self.word().to_string();
            if name.is_empty() {
                if depth == 0 && self.rest.is_empty() {
                    break;
                }
                return Err(self.wrong());
            }
            if self.eat('=') {
                items.push(Item::Value(name, self.value(depth)?));
            } else if depth < DEPTH_MAX && self.eat('{') {
                items.push(Item::Section(self.section(name, depth + 1)?));
            } else {
                return Err(self.wrong());
            }
        }
        Ok(Section { name, items })
    }

    fn value(&mut self, depth: usize) -> Result<Value> {
        if self.eat('[') {
            let mut list = Vec::new();
            while !self.eat(']') {
                if depth > DEPTH_MAX {
                    return Err(self.wrong());
                }
                list.push(self.value(depth + 1)?);
                if !self.eat(',') && !self.rest.trim_start().starts_with(']') {
                    return Err(self.wrong());
                }
            }
            return Ok(Value::List(list));
        }
        if self.eat('"') {
            let (mut text, mut escaped) = (String::new(), false);
            for (at, c) in self.rest.char_indices() {
                match c {
                    '\\' if !escaped => escaped = true,
                    '"' if !escaped => {
                        self.rest = self.rest.get(at + 1..).unwrap_or_default();
                        return Ok(Value::Text(text));
                    }
                    c => {
                        text.push(c);
                        escaped = false;
                    }
                }
            }
            return Err(self.wrong());
        }
        let word = self.word();
        if word.is_empty() {
            return Err(self.wrong());
        }
        Ok(Value::Number(word.into()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_written_the_same() {
        let text = "# made by\ncontents = \"Text \\\"x\\\\\"\nversion = 1 # one\nvg {\n\tid = \"a-b\"\n\tflags = []\n\
                    \tstripes = [\n\t\t\"pv0\", 0\n\t]\n\tempty {\n\t}\n}\n";
        let read = parse(text).unwrap();
        assert_eq!(read.text("contents"), Some("Text \"x\\"));
        assert_eq!(read.number("version"), Some(1));
        let vg = read.section("vg").unwrap();
        assert_eq!(vg.words("stripes"), ["pv0"]);
        assert!(vg.section("empty").is_some() && vg.words("flags").is_empty());
        assert_eq!(parse(&read.to_string()).unwrap(), read);
    }

    #[test]
    fn values_are_set_before_sections() {
        let mut read = parse("a = 1\nb {\n}\n").unwrap();
        read.set("c", "x".into());
        read.set("a", 2.into());
        assert_eq!(read.to_string(), "a = 2\nc = \"x\"\nb {\n}\n");
        read.unset("a");
        assert!(read.take("b").is_some() && read.take("b").is_none());
        assert_eq!(read.to_string(), "c = \"x\"\n");
    }

    #[test]
    fn what_cannot_be_understood_is_told() {
        for bad in ["a", "a = ", "a {", "}", "a = [1 2]", "a = \"x", "= 1", "a = [", "a b = 1"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let deep = "a {\n".repeat(1000);
        assert!(parse(&deep).is_err());
        let deep = format!("a = {}", "[".repeat(100_000));
        assert!(parse(&deep).is_err());
        assert!(parse("a = 1\nb = 2\nc\n").unwrap_err().cause.starts_with("line 3 "));
    }
}
