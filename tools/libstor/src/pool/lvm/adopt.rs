// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a volume group is to be when its thin pool is Stor's: planned in LVM's text, where nothing is moved.
//!
//! The extents of the pool's metadata and data become those of one linear volume of the pool's name, behind a head with room
//! for label and catalog. The head is of free extents, or of the spare for repairs, if no other pool may need that. For LVM it
//! is a volume like any other, and there is no thin pool that it could activate.

use super::group::{self, extents, runs, segments, slice, Run};
use super::text::{Item, Section, Value};
use crate::{Bytes, Error, Kind, Result};
use std::collections::BTreeSet;

/// What a head has at least.
const HEAD_MIN: u64 = 2 << 20;
/// Values that name no other volume.
const NO_NAMES: [&str; 8] = ["id", "status", "flags", "tags", "type", "stripes", "creation_host", "allocation_policy"];

/// A plan.
#[derive(Clone, Debug)]
pub(crate) struct Adopted {
    /// What LVM is to have.
    pub(crate) text: Section,
    /// What it had of the pool and its volumes, to be given back.
    pub(crate) kept: Section,
    /// The extents of label and catalog,
    pub(crate) head: Vec<Run>,
    /// of the metadata,
    pub(crate) metadata: Vec<Run>,
    /// and of the data.
    pub(crate) data: Vec<Run>,
    /// Bytes of an extent.
    pub(crate) extent: Bytes,
    /// Sectors of a data block.
    pub(crate) chunk: u64,
    /// What LVM takes the transaction id for.
    pub(crate) transaction: u64,
    /// Whether discards go down to the devices.
    pub(crate) passdown: bool,
    /// Whether writes without room fail.
    pub(crate) error: bool,
}

fn unfit(cause: String, help: &str) -> Error {
    Error::new(Kind::Unfit, cause).help(help)
}

/// Whether a volume is thin, of this pool.
fn is_thin(volume: &Section, pool: &str) -> bool {
    segments(volume)
        .iter()
        .any(|segment| segment.text("type") == Some("thin") && segment.text("thin_pool") == Some(pool))
}

fn kind(volume: &Section) -> Option<&str> {
    segments(volume).first().and_then(|segment| segment.text("type"))
}

/// The names of other volumes that a volume is made of or belongs to.
fn names(section: &Section, names_of: &mut BTreeSet<String>) {
    for item in &section.items {
        match item {
            Item::Value(key, value) if !NO_NAMES.contains(&key.as_str()) => {
                value.texts(&mut |text| {
                    names_of.insert(text.into());
                });
            }
            Item::Value(..) => {}
            Item::Section(section) => names(section, names_of),
        }
    }
}

/// Refuses thin volumes that Stor does not have the like of.
fn check_thin(volume: &Section) -> Result<()> {
    for segment in segments(volume) {
        for (key, what) in [("external_origin", "has an external origin"), ("merge", "is being merged into its origin")]
        {
            if segment.value(key).is_some() {
                return Err(unfit(format!("volume {} {what}", volume.name), "end that in LVM first, or remove it"));
            }
        }
    }
    Ok(())
}

/// The head's extents: free ones, or those of the spare, whose name is told then.
fn head(text: &Section, pool: &str, free: &[Run], extent: Bytes) -> Result<(Vec<Run>, Option<String>)> {
    let count = HEAD_MIN.div_ceil(extent.0);
    if extents(free) >= count {
        return Ok((slice(free, 0, count), None));
    }
    let volumes = group::volumes(text)?;
    let needs_spare =
        |volume: &&&Section| volume.name != pool && matches!(kind(volume), Some("thin-pool" | "cache-pool" | "cache"));
    let spare = volumes.iter().find(|volume| volume.name.ends_with("_pmspare"));
    if let Some(spare) = spare.filter(|_| !volumes.iter().any(|volume| needs_spare(&volume))) {
        let runs = runs(spare)?;
        if extents(&runs) >= count {
            return Ok((runs, Some(spare.name.clone())));
        }
    }
    Err(unfit(
        format!("the volume group has no room for label and catalog: {count} free extents are needed"),
        "add a physical volume by 'vgextend', or remove a volume",
    ))
}

/// Plans it: the pool of this name, whose linear volume is to have this id, with these extents free.
///
/// # Errors
///
/// What of it Stor cannot take over.
pub(crate) fn adopt(text: &Section, pool: &str, id: &str, free: &[Run]) -> Result<Adopted> {
    let extent = group::extent(text)?;
    if extent.0 % 4096 != 0 {
        return Err(unfit(
            format!("extents of {} bytes are no multiple of 4096", extent.0),
            "use a volume group with larger ones",
        ));
    }
    let volumes = group::volumes(text)?;
    let section = group::volume(text, pool)?;
    let section = section.ok_or_else(|| Error::new(Kind::NotFound, format!("there is no logical volume {pool}")))?;
    let found = segments(section);
    let [segment] = found.as_slice() else {
        return Err(unfit(format!("{pool} is no thin pool"), "name one: see 'lvs'"));
    };
    let (Some("thin-pool"), Some(metadata), Some(data)) =
        (segment.text("type"), segment.text("metadata"), segment.text("pool"))
    else {
        return Err(unfit(format!("{pool} is no thin pool"), "name one: see 'lvs'"));
    };
    if segment.sections().next().is_some() {
        return Err(unfit(
            "LVM has not told the pool yet of all its volumes".into(),
            "activate it once, and deactivate it: lvchange -ay, lvchange -an",
        ));
    }
    let part = |name: &str| -> Result<Vec<Run>> {
        let part = group::volume(text, name)?
            .ok_or_else(|| Error::new(Kind::Failure, format!("there is no volume {name}")))?;
        runs(part)
    };
    let (metadata_runs, data_runs) = (part(metadata)?, part(data)?);
    let (head, spare) = head(text, pool, free, extent)?;
    let mut ours: Vec<String> = vec![pool.into(), metadata.into(), data.into()];
    for thin in volumes.iter().filter(|volume| is_thin(volume, pool)) {
        check_thin(thin)?;
        ours.push(thin.name.clone());
    }
    for other in volumes.iter().filter(|volume| !ours.contains(&volume.name)) {
        let mut named = BTreeSet::new();
        names(other, &mut named);
        if let Some(name) = ours.iter().find(|name| named.contains(*name)) {
            return Err(unfit(format!("volume {} uses {name}, which would be Stor's", other.name), "remove it first"));
        }
    }
    let (chunk, transaction) =
        (segment.number("chunk_size").unwrap_or(0), segment.number("transaction_id").unwrap_or(0));
    let passdown = segment.text("discards").is_none_or(|word| word == "passdown");
    let error = segment.number("error_when_full").is_some_and(|on| on != 0);
    let tags = section.words("tags");

    let mut kept = Section::new("");
    kept.set("version", 1.into());
    kept.set("pool", pool.into());
    if let Some(spare) = &spare {
        kept.set("spare", spare.as_str().into());
    }
    let mut next = text.clone();
    let all = group::volumes_mut(&mut next)?;
    for name in ours.iter().chain(&spare) {
        all.take(name).into_iter().for_each(|section| kept.push(section));
    }
    let mut volume = group::blank(pool, id, &["READ", "WRITE", "VISIBLE"]);
    if !tags.is_empty() {
        volume.set("tags", Value::words(&tags.iter().map(String::as_str).collect::<Vec<_>>()));
    }
    let runs: Vec<Run> = head.iter().chain(&metadata_runs).chain(&data_runs).cloned().collect();
    group::set_runs(&mut volume, &runs);
    all.push(volume);
    Ok(Adopted {
        text: next,
        kept,
        head,
        metadata: metadata_runs,
        data: data_runs,
        extent,
        chunk,
        transaction,
        passdown,
        error,
    })
}
