// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What differs between two volumes or snapshots of a pool, which may be in use.

use crate::device::Access;
use crate::error::Context;
use crate::metadata::{failure, ranges, DeltaRange, DeltaTotal};
use crate::{Error, Kind, Result, Stor};
use std::ops::ControlFlow;
use stor_pure::pure::label;
use stor_pure::pure::thin::cache::FRAMES_MIN;
use stor_pure::pure::thin::reader::Reader;

impl Stor {
    /// Tells what differs between two volumes or snapshots of one pool, in order, until told to stop. What both share is not
    /// read.
    pub fn diff(
        &self,
        from: &str,
        to: &str,
        same: bool,
        tell: &mut dyn FnMut(DeltaRange) -> ControlFlow<()>,
    ) -> Result<DeltaTotal> {
        let mut diff = || -> Result<DeltaTotal> {
            let (one, other) = (self.the(from)?, self.the(to)?);
            let (open, first) = self.open_of(&one, Access::Read)?;
            let pool = open.uuid;
            let first = open.record(first)?.device();
            drop(open);
            let (mut open, second) = self.open_of(&other, Access::Read)?;
            if open.uuid != pool {
                return Err(Error::new(Kind::Usage, "they are of two pools, and share nothing"));
            }
            let second = open.record(second)?.device();
            let mut read = |area, held| {
                let mut reader = Reader::open(area, FRAMES_MIN, held).map_err(failure)?;
                ranges(&mut reader, first.into(), second.into(), same, tell)
            };
            if open.status.is_some() {
                open.held(|area| read(area, true))
            } else {
                read(open.area(label::Area::Metadata)?, false)
            }
        };
        diff().context(|| format!("cannot compare {from} and {to}"))
    }
}
