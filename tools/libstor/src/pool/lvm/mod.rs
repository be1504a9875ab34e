// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A thin pool of LVM becomes Stor's, in place, and LVM's again.
//!
//! Nothing is copied. The extents of the pool's metadata and data become one linear volume of LVM, which begins with a
//! [head](adopt) of few extents more: that has label, catalog, and a [record] of what LVM had. So the pool is one like any other
//! of Stor, on a device that LVM makes; the volume group keeps all else that it has. LVM cannot activate a thin pool that it does
//! not have any more, and Stor has no label when LVM has it back ([`give`]).
//!
//! Either way the order is: what is new is written where LVM has nothing; LVM's [text] is restored, which is one write of its
//! own; what is old is erased. lvm2 is asked by its programs ([`report`]).

mod adopt;
mod export;
mod give;
mod group;
mod import;
mod record;
mod report;
mod text;

#[cfg(test)]
mod tests;

pub use import::Import;

use crate::device::{Access, Content, Host};
use crate::pool::area::{Area, Part};
use crate::{Error, Kind, Result};
use group::Run;
use report::Report;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use text::Section;

/// A file that only we have, and that goes with us.
struct Scratch(PathBuf);

impl Scratch {
    fn new(host: &(impl Host + ?Sized)) -> Self {
        Self(std::env::temp_dir().join(format!("storctl-{}.vg", host.uuid().simple())))
    }

    fn path(&self) -> std::borrow::Cow<'_, str> {
        self.0.to_string_lossy()
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        Error::new(Kind::Failure, format!("{}: {error}", self.0.display())).help("see that TMPDIR can be written to")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may never have been written.
        let _ = fs::remove_file(&self.0);
    }
}

/// The metadata of a volume group.
fn backup(host: &(impl Host + ?Sized), vg: &str) -> Result<Section> {
    let scratch = Scratch::new(host);
    host.lvm(&["vgcfgbackup", "-f", &scratch.path(), vg])?;
    let read = fs::read_to_string(&scratch.0).map_err(|error| scratch.failed(&error))?;
    text::parse(&read)
}

/// Gives a volume group other metadata, in one step.
fn restore(host: &(impl Host + ?Sized), vg: &str, text: &Section) -> Result<()> {
    let scratch = Scratch::new(host);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&scratch.0);
    let written = file.and_then(|mut file| file.write_all(text.to_string().as_bytes()).and_then(|()| file.sync_data()));
    written.map_err(|error| scratch.failed(&error))?;
    host.lvm(&["vgcfgrestore", "--force", "--yes", "-f", &scratch.path(), vg]).map(drop)
}

/// The path of a logical volume.
fn path(vg: &str, lv: &str) -> PathBuf {
    Path::new("/dev/mapper").join(format!("{}-{}", vg.replace('-', "--"), lv.replace('-', "--")))
}

/// Extents of physical volumes as an area, to be read or written where they are.
fn area(host: &(impl Host + ?Sized), text: &Section, report: &Report, runs: &[Run], access: Access) -> Result<Area> {
    let extent = group::extent(text)?.0;
    let (mut opened, mut parts) = (BTreeMap::<&str, (Rc<dyn Content>, u64)>::new(), Vec::new());
    for run in runs {
        if !opened.contains_key(run.pv.as_str()) {
            let (id, begin) = group::physical(text, &run.pv)?;
            let path = report.path(&id);
            let path = path.ok_or_else(|| Error::new(Kind::NotFound, format!("physical volume {id} is missing")))?;
            let device = host.open(Path::new(path))?;
            opened.insert(&run.pv, (host.content(&device, access)?, begin));
        }
        let Some((content, begin)) = opened.get(run.pv.as_str()) else { continue };
        let length = run.count.checked_mul(extent);
        let start = run.start.checked_mul(extent).and_then(|start| start.checked_add(*begin));
        let (Some(start), Some(length)) = (start, length) else {
            return Err(Error::new(Kind::Failure, "LVM's metadata has extents that cannot be"));
        };
        parts.push(Part { content: content.clone(), start, length });
    }
    Ok(Area::new(parts))
}

/// Makes what a head is of hold no label.
fn erase(area: &Area) -> std::io::Result<()> {
    use stor_pure::pure::label::copies::{FIRST, IN_HEAD};
    let zeros = [0; stor_pure::pure::label::LABEL_SIZE];
    for at in [FIRST, IN_HEAD, record::AT, 0] {
        area.write(at, &zeros)?;
    }
    area.flush()
}
