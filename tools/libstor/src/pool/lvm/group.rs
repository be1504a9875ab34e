// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A volume group in LVM's text: its physical volumes, and which of their extents a logical volume has.

use super::text::{Section, Value};
use crate::{Bytes, Error, Kind, Result};
use stor_pure::pure::units::SECTOR_SIZE;

/// What makes an LVM id of 32 characters readable.
const GROUPS: [usize; 7] = [6, 4, 4, 4, 4, 4, 6];

/// Extents of a physical volume, one behind the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// What the text calls the physical volume.
    pub(crate) pv: String,
    /// The first.
    pub(crate) start: u64,
    /// How many.
    pub(crate) count: u64,
}

/// How many extents these are.
pub(crate) fn extents(runs: &[Run]) -> u64 {
    runs.iter().fold(0, |sum, run| sum.saturating_add(run.count))
}

/// Some of the extents, as if they were numbered from 0 on; fewer if there are not so many.
pub(crate) fn slice(runs: &[Run], from: u64, count: u64) -> Vec<Run> {
    let (mut begin, mut out) = (0u64, Vec::new());
    let end = from.saturating_add(count);
    for run in runs {
        let behind = begin.saturating_add(run.count);
        let (first, last) = (from.max(begin), end.min(behind));
        if first < last {
            out.push(Run { pv: run.pv.clone(), start: run.start.saturating_add(first - begin), count: last - first });
        }
        begin = behind;
    }
    out
}

/// An id as the text has it, of 32 characters.
pub(crate) fn id(plain: &str) -> String {
    let (mut rest, mut parts) = (plain, Vec::new());
    for length in GROUPS {
        let (part, behind) = rest.split_at_checked(length).unwrap_or((rest, ""));
        parts.push(part);
        rest = behind;
    }
    parts.join("-")
}

fn damaged(what: &str) -> Error {
    Error::new(Kind::Failure, format!("LVM's metadata has {what}"))
}

/// The section of the only volume group in a text.
pub(crate) fn group(text: &Section) -> Result<&Section> {
    text.sections()
        .find(|section| section.section("physical_volumes").is_some())
        .ok_or_else(|| damaged("no volume group"))
}

/// The same, to be changed.
pub(crate) fn volumes_mut(text: &mut Section) -> Result<&mut Section> {
    let name = group(text)?.name.clone();
    let group = text.section_mut(&name).ok_or_else(|| damaged("no volume group"))?;
    if group.section("logical_volumes").is_none() {
        group.push(Section::new("logical_volumes"));
    }
    group.section_mut("logical_volumes").ok_or_else(|| damaged("no logical volumes"))
}

/// The logical volumes.
pub(crate) fn volumes(text: &Section) -> Result<Vec<&Section>> {
    Ok(group(text)?.section("logical_volumes").map(|all| all.sections().collect()).unwrap_or_default())
}

/// The logical volume of this name.
pub(crate) fn volume<'a>(text: &'a Section, name: &str) -> Result<Option<&'a Section>> {
    Ok(volumes(text)?.into_iter().find(|volume| volume.name == name))
}

/// Bytes of an extent.
pub(crate) fn extent(text: &Section) -> Result<Bytes> {
    let sectors = group(text)?.number("extent_size").filter(|size| *size > 0);
    let size = sectors.and_then(|sectors| sectors.checked_mul(SECTOR_SIZE));
    size.map(Bytes).ok_or_else(|| damaged("no size of extents"))
}

/// The id of a physical volume, and the byte where its extents begin.
pub(crate) fn physical(text: &Section, pv: &str) -> Result<(String, u64)> {
    let found = group(text)?.section("physical_volumes").and_then(|all| all.section(pv));
    let read =
        found.and_then(|pv| Some((pv.text("id")?.to_string(), pv.number("pe_start")?.checked_mul(SECTOR_SIZE)?)));
    read.ok_or_else(|| damaged("a volume on a physical volume that is not there"))
}

/// The segments of a logical volume, in order.
pub(crate) fn segments(volume: &Section) -> Vec<&Section> {
    let mut segments: Vec<_> = volume.sections().filter(|section| section.name.starts_with("segment")).collect();
    segments.sort_by_key(|segment| segment.number("start_extent"));
    segments
}

/// The extents of a logical volume that is a list of them and nothing else.
///
/// # Errors
///
/// It is something else, such as RAID.
pub(crate) fn runs(volume: &Section) -> Result<Vec<Run>> {
    let mut runs = Vec::new();
    let mut next = 0;
    for segment in segments(volume) {
        let kind = segment.text("type").unwrap_or("?");
        let plain = kind == "striped" && segment.number("stripe_count") == Some(1);
        if !plain {
            let kind = if kind == "striped" { "striped over several devices" } else { kind };
            return Err(Error::new(Kind::Unfit, format!("{} is {kind}, not linear", volume.name))
                .help("make it linear by 'lvconvert' or 'pvmove' first"));
        }
        let (count, start) = (segment.number("extent_count"), segment.number("start_extent"));
        let (Some(count), Some(Value::List(list))) = (count.filter(|_| start == Some(next)), segment.value("stripes"))
        else {
            return Err(damaged("a segment that cannot be"));
        };
        let [Value::Text(pv), Value::Number(at)] = list.as_slice() else {
            return Err(damaged("a segment that cannot be"));
        };
        let at = at.parse().map_err(|_| damaged("a segment that cannot be"))?;
        runs.push(Run { pv: pv.clone(), start: at, count });
        next += count;
    }
    Ok(runs)
}

/// Gives a logical volume these extents, and no others.
pub(crate) fn set_runs(volume: &mut Section, runs: &[Run]) {
    while let Some(name) = segments(volume).first().map(|segment| segment.name.clone()) {
        volume.take(&name);
    }
    volume.set("segment_count", (runs.len() as u64).into());
    let mut next = 0;
    for (index, run) in runs.iter().enumerate() {
        let mut segment = Section::new(&format!("segment{}", index + 1));
        segment.set("start_extent", next.into());
        segment.set("extent_count", run.count.into());
        segment.set("type", "striped".into());
        segment.set("stripe_count", 1.into());
        segment.set("stripes", Value::List(vec![run.pv.as_str().into(), run.start.into()]));
        volume.push(segment);
        next += run.count;
    }
}

/// A logical volume without segments.
pub(crate) fn blank(name: &str, id: &str, status: &[&str]) -> Section {
    let mut volume = Section::new(name);
    volume.set("id", id.into());
    volume.set("status", Value::words(status));
    volume.set("flags", Value::List(Vec::new()));
    volume
}
