// SPDX-License-Identifier: GPL-2.0

//! What was begun and what was acknowledged, in the order in which it happened: a file outside of the guest's disks, a line
//! for each. A line is in the file before what it says is relied on.

use crate::Fault;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;

/// Sectors of a volume that were written or discarded, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) volume: u64,
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) generation: u64,
}

/// A line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// A write is durable.
    Durable(Extent),
    /// A discard is about to be asked for.
    Discard(Extent),
    /// A snapshot is about to be asked for, or a clone, which is written to.
    Snapshot { volume: u64, origin: u64, writable: bool },
    /// It was made when so many generations had begun.
    Made { volume: u64, generation: u64 },
    /// A volume is about to be deleted,
    Delete(u64),
    /// and was.
    Deleted(u64),
}

impl Record {
    fn line(&self, text: &mut String) {
        let _ = match *self {
            Self::Durable(Extent { volume, first, count, generation }) => {
                writeln!(text, "durable {volume} {first} {count} {generation}")
            }
            Self::Discard(Extent { volume, first, count, generation }) => {
                writeln!(text, "discard {volume} {first} {count} {generation}")
            }
            Self::Snapshot { volume, origin, writable } => {
                writeln!(text, "snapshot {volume} {origin} {}", u8::from(writable))
            }
            Self::Made { volume, generation } => writeln!(text, "made {volume} {generation}"),
            Self::Delete(volume) => writeln!(text, "delete {volume}"),
            Self::Deleted(volume) => writeln!(text, "deleted {volume}"),
        };
    }

    fn parse(line: &str) -> Option<Self> {
        let (kind, rest) = line.split_once(' ')?;
        let numbers: Vec<u64> = rest.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
        Some(match (kind, numbers.as_slice()) {
            ("durable", &[volume, first, count, generation]) => {
                Self::Durable(Extent { volume, first, count, generation })
            }
            ("discard", &[volume, first, count, generation]) => {
                Self::Discard(Extent { volume, first, count, generation })
            }
            ("snapshot", &[volume, origin, writable]) => Self::Snapshot { volume, origin, writable: writable != 0 },
            ("made", &[volume, generation]) => Self::Made { volume, generation },
            ("delete", &[volume]) => Self::Delete(volume),
            ("deleted", &[volume]) => Self::Deleted(volume),
            _ => return None,
        })
    }
}

/// The file.
pub(crate) struct Journal(Mutex<File>);

impl Journal {
    /// Begins it anew.
    pub(crate) fn create(path: &Path) -> Result<Self, Fault> {
        let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(Mutex::new(file)))
    }

    /// Adds records, all at once.
    pub(crate) fn add(&self, records: &[Record]) -> Result<(), Fault> {
        let mut text = String::new();
        for record in records {
            record.line(&mut text);
        }
        let mut file = self.0.lock().map_err(|_| "a thread that wrote to the journal panicked")?;
        Ok(file.write_all(text.as_bytes())?)
    }
}

/// What a file says. A last line that is not complete was not relied on.
pub(crate) fn read(path: &Path) -> Result<Vec<Record>, Fault> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |line: &str| Record::parse(line).ok_or_else(|| format!("{}: what is {line:?}?", path.display()).into());
    whole.lines().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_they_were() {
        let extent = Extent { volume: 1, first: 20, count: 3, generation: 40 };
        let records = [
            Record::Durable(extent),
            Record::Discard(extent),
            Record::Snapshot { volume: 2, origin: 1, writable: true },
            Record::Made { volume: 2, generation: 41 },
            Record::Delete(2),
            Record::Deleted(2),
        ];
        let mut text = String::new();
        for record in &records {
            record.line(&mut text);
        }
        let parsed: Vec<_> = text.lines().map(Record::parse).collect();
        assert_eq!(parsed, records.map(Some));
        assert_eq!(Record::parse("durable 1 2 3"), None);
    }
}
