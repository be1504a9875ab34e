// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a volume group is to be when LVM gets its thin pool back: planned in LVM's text, the other way round than [`adopt`].
//!
//! What LVM had of the pool and of volumes that are still there is taken from what was kept; extents, sizes, names, ids
//! and the transaction id are as they are now. Volumes that Stor made are new to LVM.
//!
//! [`adopt`]: super::adopt

use super::group::{self, extents, segments, slice, Run};
use super::text::Section;
use crate::size::Iec;
use crate::{Bytes, Error, Kind, Result, Uuid};
use std::ops::Range;

/// Parts of names that LVM keeps for itself, and what its names may not begin with.
const RESERVED: [&str; 18] = [
    "_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_imeta", "_iorig", "_mimage", "_mlog", "_pmspare", "_rimage",
    "_rmeta", "_tdata", "_tmeta", "_vdata", "_vorigin", "_wcorig", "_vpool",
];
const RESERVED_FIRST: [&str; 2] = ["snapshot", "pvmove"];

/// A volume that LVM is to have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Thin {
    pub(crate) name: String,
    pub(crate) uuid: Uuid,
    pub(crate) device: u32,
    pub(crate) size: Bytes,
    /// The transaction id when the device was made.
    pub(crate) transaction: u64,
    /// The name of what it is a snapshot of.
    pub(crate) origin: Option<String>,
    pub(crate) read_only: bool,
    pub(crate) manual: bool,
    /// Seconds since 1970.
    pub(crate) created: u64,
}

/// A pool that LVM is to get.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool {
    /// The id of the volume that it is on.
    pub(crate) id: String,
    /// Which bytes of that volume are metadata, in order,
    pub(crate) metadata: Vec<Range<u64>>,
    /// and which are data.
    pub(crate) data: Vec<Range<u64>>,
    pub(crate) transaction: u64,
    pub(crate) thins: Vec<Thin>,
}

/// A plan.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    /// What LVM is to have.
    pub(crate) text: Section,
    /// The extents of label and catalog.
    pub(crate) head: Vec<Run>,
}

fn unfit(cause: String, help: &str) -> Error {
    Error::new(Kind::Unfit, format!("LVM cannot have it: {cause}")).help(help)
}

/// The UUID that stands for an id of LVM. An id that was made of a UUID gives it back.
pub(crate) fn uuid(id: &str) -> Uuid {
    let plain = id.replace('-', "");
    let hex = plain.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c));
    if let Some(uuid) = Uuid::try_parse(&plain).ok().filter(|uuid| hex && !uuid.is_nil()) {
        return uuid;
    }
    // FNV-1a: the same id always gives the same, and two ids do not by accident.
    let hash = plain.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    });
    uuid::Builder::from_custom_bytes(hash.to_be_bytes()).into_uuid()
}

/// Whether LVM may have a volume of this name.
fn check_name(name: &str) -> Result<()> {
    let reserved =
        RESERVED.iter().any(|part| name.contains(part)) || RESERVED_FIRST.iter().any(|part| name.starts_with(part));
    if reserved {
        return Err(unfit(
            format!("it keeps names like {name} for itself"),
            "rename that volume: storctl volume rename",
        ));
    }
    Ok(())
}

/// The extents of an area: it has to be of whole ones, but for the end of the last, which nothing else may have.
fn area(what: &str, area: &[Range<u64>], others: &[Range<u64>], runs: &[Run], extent: u64) -> Result<Vec<Run>> {
    let mut out = Vec::new();
    for (index, range) in area.iter().enumerate() {
        let last = index + 1 == area.len();
        let end = range.end.next_multiple_of(extent);
        let shared = others.iter().any(|other| other.start < end && range.end < other.end);
        let pieces = slice(runs, range.start / extent, (end - range.start) / extent);
        let whole = range.start % extent == 0 && extents(&pieces).checked_mul(extent) == Some(end - range.start);
        if !whole || (end != range.end && (!last || shared)) {
            return Err(unfit(
                format!("the {what} is not of whole extents of {}", Iec(Bytes(extent))),
                "it can stay with Stor; what 'storctl pool extend' has added cannot be taken back",
            ));
        }
        out.extend(pieces);
    }
    Ok(out)
}

/// A thin volume as LVM has it.
fn thin(thin: &Thin, pool: &str, kept: &Section, extent: u64) -> Result<Section> {
    check_name(&thin.name)?;
    if thin.size.0 % extent != 0 || thin.size.0 == 0 {
        let cause = format!("volume {} has {} bytes, and extents have {}", thin.name, thin.size.0, Iec(Bytes(extent)));
        return Err(unfit(cause, "resize it to a multiple of that"));
    }
    let known = kept.sections().find(|section| section.text("id").is_some_and(|id| uuid(id) == thin.uuid));
    let mut status = vec!["READ"];
    status.extend((!thin.read_only).then_some("WRITE"));
    status.push("VISIBLE");
    let mut volume = match known {
        Some(known) => Section { name: thin.name.clone(), ..known.clone() },
        None => {
            let mut volume = group::blank(&thin.name, &group::id(&thin.uuid.simple().to_string()), &[]);
            volume.set("creation_time", thin.created.into());
            volume.set("creation_host", "stor".into());
            volume
        }
    };
    volume.set("status", super::text::Value::words(&status));
    let mut flags = volume.words("flags");
    flags.retain(|flag| flag != "ACTIVATION_SKIP");
    flags.extend(thin.manual.then(|| "ACTIVATION_SKIP".into()));
    volume.set("flags", super::text::Value::words(&flags.iter().map(String::as_str).collect::<Vec<_>>()));
    let old = segments(&volume).first().map(|segment| (*segment).clone());
    while let Some(name) = segments(&volume).first().map(|segment| segment.name.clone()) {
        volume.take(&name);
    }
    let mut segment = old.unwrap_or_else(|| Section::new("segment1"));
    segment.set("start_extent", 0.into());
    segment.set("extent_count", (thin.size.0 / extent).into());
    segment.set("type", "thin".into());
    segment.set("thin_pool", pool.into());
    segment.set("transaction_id", thin.transaction.into());
    segment.set("device_id", u64::from(thin.device).into());
    segment.unset("origin");
    if let Some(origin) = &thin.origin {
        segment.set("origin", origin.as_str().into());
    }
    volume.set("segment_count", 1.into());
    volume.push(segment);
    Ok(volume)
}

/// Plans it, from the text as it is now and what was kept.
///
/// # Errors
///
/// The first thing of it that LVM cannot have.
pub(crate) fn give(text: &Section, kept: &Section, pool: &Pool) -> Result<Given> {
    let extent = group::extent(text)?.0;
    let volume = group::volumes(text)?.into_iter().find(|volume| volume.text("id") == Some(&pool.id));
    let volume =
        volume.ok_or_else(|| unfit("it is on no volume of this volume group".into(), "export it where it is"))?;
    let (name, runs) = (volume.name.clone(), group::runs(volume)?);
    let metadata = area("metadata", &pool.metadata, &pool.data, &runs, extent)?;
    let data = area("data", &pool.data, &pool.metadata, &runs, extent)?;
    let first = pool.metadata.iter().chain(&pool.data).map(|range| range.start).min().unwrap_or(0);
    let head = slice(&runs, 0, first / extent);

    let lacks = || Error::new(Kind::Failure, "what was kept of LVM's metadata is not whole");
    let pool_name = kept.text("pool").ok_or_else(lacks)?;
    let section = kept.section(pool_name).ok_or_else(lacks)?;
    let segment = segments(section).first().copied().ok_or_else(lacks)?;
    let (Some(metadata_name), Some(data_name)) = (segment.text("metadata"), segment.text("pool")) else {
        return Err(lacks());
    };
    let mut next = text.clone();
    let all = group::volumes_mut(&mut next)?;
    all.take(&name);
    let add = |all: &mut Section, volume: Section| {
        if all.section(&volume.name).is_some() {
            let cause = format!("the volume group has another volume {}", volume.name);
            return Err(unfit(cause, "rename one of the two"));
        }
        all.push(volume);
        Ok(())
    };
    for (part, runs) in [(metadata_name, &metadata), (data_name, &data)] {
        let mut part = kept.section(part).ok_or_else(lacks)?.clone();
        group::set_runs(&mut part, runs);
        add(all, part)?;
    }
    let mut section = section.clone();
    let segment_name = segment.name.clone();
    let segment = section.section_mut(&segment_name).ok_or_else(lacks)?;
    segment.set("extent_count", extents(&data).into());
    segment.set("transaction_id", pool.transaction.into());
    add(all, section)?;
    for one in &pool.thins {
        add(all, thin(one, pool_name, kept, extent)?)?;
    }
    if let Some(spare) = kept.text("spare").and_then(|name| kept.section(name)) {
        if !all.sections().any(|volume| volume.name.ends_with("_pmspare")) && !head.is_empty() {
            let mut spare = spare.clone();
            group::set_runs(&mut spare, &head);
            add(all, spare)?;
        }
    }
    Ok(Given { text: next, head })
}
