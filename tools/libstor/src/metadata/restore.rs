// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Metadata made of XML, as [`dump`](super::dump()) and the thin-provisioning-tools write it.
//!
//! The input is read once, as it comes (twice if something is written over: what is there is not lost to input that turns
//! out to be bad). A definition's leaves are written when it ends; the devices that refer to it share them.

use super::target::{refused, Target};
use super::xml::{shown, wrong, Form, Tag, Xml};
use super::{FileStore, Progress};
use crate::error::Context;
use crate::{Error, Kind, Result};
use serde::Serialize;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use stor_pure::pure::thin::build::{Builder, Built, Geometry, Group, Refusal};
use stor_pure::pure::thin::data::Run;
use stor_pure::pure::thin::value::Details;

/// What is to be restored, and where to.
#[derive(Clone, Debug, Default)]
pub struct Restore {
    /// The XML; - is what comes on stdin.
    pub input: PathBuf,
    /// A file or device.
    pub output: PathBuf,
    /// Whether what it holds may be lost.
    pub overwrite: bool,
    /// Whether nothing is to be written.
    pub dry_run: bool,
}

/// What was written, or in a dry run would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Whether anything changed.
    pub changed: bool,
    /// Whether it was only tried.
    pub dry_run: bool,
    /// Devices.
    pub devices: u64,
    /// Mappings of all devices.
    pub mappings: u64,
    /// Data blocks in use.
    pub data_blocks: u64,
    /// Metadata blocks in use.
    pub metadata_blocks: u64,
    /// Metadata blocks that there must be at least.
    pub metadata_needed: u64,
    /// Leaves that are shared.
    pub shared_leaves: u64,
    /// The same, as a sentence.
    pub text: String,
}

impl Restored {
    pub(super) fn new(built: &Built, dry_run: bool, output: &Path) -> Self {
        let would = if dry_run { "would be " } else { "" };
        Self {
            changed: !dry_run,
            dry_run,
            devices: built.devices,
            mappings: built.mappings,
            data_blocks: built.data,
            metadata_blocks: built.metadata,
            metadata_needed: built.needed,
            shared_leaves: built.shared,
            text: format!("{} {would}written: {built}", output.display()),
        }
    }
}

/// Restores metadata. A target that holds something is left alone unless told otherwise, and nothing that can be opened is
/// on it before all is written.
///
/// # Errors
///
/// The input cannot be read or is not as it must be, which is told with its line; or the target is in use, holds something,
/// is too small or cannot be written.
pub fn restore(restore: &Restore, progress: &Progress) -> Result<Restored> {
    let Restore { input, output, overwrite, dry_run } = restore;
    let context = || format!("cannot restore {} to {}", input.display(), output.display());
    let run = || -> Result<Restored> {
        let from = Input::open(input, progress)?;
        let target = Target::open(output, *overwrite)?;
        let reads_twice = target.holds && !dry_run;
        progress.expect(from.size.unwrap_or(0) * if reads_twice { 2 } else { 1 });
        if reads_twice {
            if from.size.is_none() {
                return Err(Error::new(Kind::Usage, "what is written over something is read twice")
                    .help("give the XML as a file"));
            }
            let store = FileStore::open(output, false)?;
            read(Input::open(input, progress)?, store, false)?;
        }
        let store = if *dry_run { target.store } else { target.cleared()? };
        let built = read(from, store, !dry_run)?;
        Ok(Restored::new(&built, *dry_run, output))
    };
    run().context(context)
}

/// XML, as it is read.
struct Input<'a> {
    file: File,
    /// `None` if it is no file: then nobody knows.
    size: Option<u64>,
    progress: &'a Progress,
}

impl<'a> Input<'a> {
    fn open(path: &Path, progress: &'a Progress) -> Result<Self> {
        let file = if path == Path::new("-") {
            // As a file, so that it is read without a buffer of its own.
            File::open("/dev/stdin").map_err(|error| Error::new(Kind::Failure, format!("stdin: {error}")))?
        } else {
            File::open(path).map_err(|error| {
                let kind = match error.kind() {
                    std::io::ErrorKind::NotFound => Kind::NotFound,
                    std::io::ErrorKind::PermissionDenied => Kind::Permission,
                    _ => Kind::Failure,
                };
                Error::new(kind, format!("{}: {error}", path.display()))
            })?
        };
        let size = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len());
        Ok(Self { file, size, progress })
    }
}

impl Read for Input<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(into)?;
        self.progress.add(count as u64);
        Ok(count)
    }
}

/// Where in the document.
enum Place {
    Before,
    Pool,
    /// In a definition of this name.
    Definition(Box<[u8]>),
    /// In a device, with what it says of itself, and its line.
    Device {
        id: u64,
        details: Details,
        line: u64,
    },
    Behind,
}

/// Reads a document into a store.
fn read(input: impl Read, store: FileStore, write: bool) -> Result<Built> {
    let mut xml = Xml::new(input);
    let mut place = Place::Before;
    let mut builder = None;
    let mut store = Some(store);
    let mut groups = HashMap::new();
    // A mapping or reference that was opened and not closed yet.
    let mut open: Option<&'static str> = None;
    while let Some(tag) = xml.next()? {
        let line = tag.line;
        let refused = |refusal: Refusal| at_line(line, refusal);
        if let Some(name) = open.take() {
            if tag.form != Form::Close || tag.name != name.as_bytes() {
                return Err(wrong(line, format_args!("<{}> in <{name}>, which holds nothing", shown(tag.name))));
            }
            continue;
        }
        let Some(builder) = builder.as_mut() else {
            let (Place::Before, Some(store)) = (&place, store.take()) else { return Err(unexpected(&tag)) };
            let geometry = superblock(&tag)?;
            builder = Some(Builder::new(store, geometry, write).map_err(refused)?);
            place = if tag.form == Form::Empty { Place::Behind } else { Place::Pool };
            continue;
        };
        place = match (place, tag.name, tag.form) {
            (place @ (Place::Definition(_) | Place::Device { .. }), name, Form::Open | Form::Empty) => {
                let kind = content(&tag, name, &place, builder, &groups)?;
                open = Some(kind).filter(|_| tag.form == Form::Open);
                place
            }
            (Place::Pool, b"def", form @ (Form::Open | Form::Empty)) => {
                let name: Box<[u8]> = name(&tag)?.into();
                if groups.contains_key(&name) {
                    return Err(wrong(
                        line,
                        format_args!("there is a <def> named {} already: rename it", shown(&name)),
                    ));
                }
                if form == Form::Open {
                    Place::Definition(name)
                } else {
                    groups.insert(name, builder.end_group().map_err(refused)?);
                    Place::Pool
                }
            }
            (Place::Definition(name), b"def", Form::Close) => {
                groups.insert(name, builder.end_group().map_err(refused)?);
                Place::Pool
            }
            (Place::Pool, b"device", form @ (Form::Open | Form::Empty)) => {
                let (id, details) = device(&tag)?;
                builder.check_device(id, &details).map_err(refused)?;
                if form == Form::Open {
                    Place::Device { id, details, line }
                } else {
                    end_device(builder, id, details, line)?;
                    Place::Pool
                }
            }
            (Place::Device { id, details, line }, b"device", Form::Close) => {
                end_device(builder, id, details, line)?;
                Place::Pool
            }
            (Place::Pool, b"superblock", Form::Close) => Place::Behind,
            _ => return Err(unexpected(&tag)),
        };
    }
    let line = xml.line();
    match (place, builder) {
        (Place::Behind, Some(builder)) => builder.commit().map_err(super::target::refused),
        (Place::Before, _) | (_, None) => Err(wrong(line, "no <superblock>: this is no metadata in XML")),
        _ => Err(wrong(line, "the input ends before </superblock>: it is cut off; take a whole dump")),
    }
}

/// What was refused, with its line, and what to do.
fn at_line(line: u64, refusal: Refusal) -> Error {
    let help = match refusal {
        Refusal::Order { .. } => "sort the mappings by block, and let none overlap",
        Refusal::Data { .. } => "correct it, or nr_data_blocks of <superblock>",
        Refusal::Time { .. } => "correct it, or the time of <superblock>",
        Refusal::Length => "correct length",
        _ => {
            let error = refused(refusal);
            return Error { kind: Kind::Failure, cause: format!("line {line}: {}", error.cause), ..error };
        }
    };
    wrong(line, refusal).help(help)
}

fn unexpected(tag: &Tag<'_>) -> Error {
    let slash = if tag.form == Form::Close { "/" } else { "" };
    let what = format!("<{slash}{}> is not known, or not here: see thin_dump's manual", shown(tag.name));
    wrong(tag.line, what)
}

fn name<'a>(tag: &Tag<'a>) -> Result<&'a [u8]> {
    tag.numbers([], &["name"])?;
    tag.text("name")?.ok_or_else(|| wrong(tag.line, format_args!("<{}> has no name", shown(tag.name))))
}

fn superblock(tag: &Tag<'_>) -> Result<Geometry> {
    if tag.name != b"superblock" || tag.form == Form::Close {
        let what = format!("<{}> instead of <superblock>: this is no metadata in XML", shown(tag.name));
        return Err(wrong(tag.line, what));
    }
    let ignored = ["uuid", "flags", "version", "metadata_snap"];
    let [time, transaction_id, size, data_blocks] =
        tag.numbers(["time", "transaction", "data_block_size", "nr_data_blocks"], &ignored)?;
    if let Some(version) = tag.text("version")?.filter(|version| *version != b"2") {
        let what = format!("version {} is not known, only 2", shown(version));
        return Err(wrong(tag.line, what));
    }
    let fits = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(Geometry { time: fits(time), transaction_id, data_block_size: fits(size), data_blocks })
}

fn device(tag: &Tag<'_>) -> Result<(u64, Details)> {
    let [id, mapped, transaction_id, created, snapshotted] =
        tag.numbers(["dev_id", "mapped_blocks", "transaction", "creation_time", "snap_time"], &[])?;
    let time = |time: u64| u32::try_from(time).unwrap_or(u32::MAX).into();
    let details = Details {
        mapped_blocks: mapped.into(),
        transaction_id: transaction_id.into(),
        creation_time: time(created),
        snapshotted_time: time(snapshotted),
    };
    Ok((id, details))
}

fn end_device(builder: &mut Builder<FileStore>, id: u64, details: Details, line: u64) -> Result<()> {
    let found = builder.end_device(id, details).map_err(|refusal| at_line(line, refusal))?;
    let said = details.mapped_blocks.get();
    if found != said {
        let what = format!("device {id} says that {said} blocks are mapped, but has {found}: something is missing");
        return Err(wrong(line, what).help(format!("if that is all there is, write mapped_blocks=\"{found}\"")));
    }
    Ok(())
}

/// Takes what a definition or a device holds.
fn content(
    tag: &Tag<'_>,
    name: &[u8],
    place: &Place,
    builder: &mut Builder<FileStore>,
    groups: &HashMap<Box<[u8]>, Group>,
) -> Result<&'static str> {
    let is_device = matches!(place, Place::Device { .. });
    let (kind, begin, data, length, time) = match name {
        b"single_mapping" => {
            let [begin, data, time] = tag.numbers(["origin_block", "data_block", "time"], &[])?;
            ("single_mapping", begin, data, 1, time)
        }
        b"range_mapping" => {
            let [begin, data, length, time] = tag.numbers(["origin_begin", "data_begin", "length", "time"], &[])?;
            ("range_mapping", begin, data, length, time)
        }
        b"ref" => {
            let name = self::name(tag)?;
            let Some(group) = groups.get(name) else {
                let what = format!("there is no <def> named {} before this: add it", shown(name));
                return Err(wrong(tag.line, what));
            };
            let added = if is_device { builder.refer(*group) } else { builder.group_refer(*group) };
            added.map_err(|refusal| at_line(tag.line, refusal))?;
            return Ok("ref");
        }
        _ => return Err(unexpected(tag)),
    };
    let run = Run { begin: data, end: data.saturating_add(length) };
    let time = u32::try_from(time).unwrap_or(u32::MAX);
    let added = if is_device { builder.run(begin, run, time) } else { builder.group_run(begin, run, time) };
    added.map_err(|refusal| at_line(tag.line, refusal))?;
    Ok(kind)
}
