// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `STOR_IOC_INSERT` of a simulated kernel.

use super::{errno, State, Volume, MAJOR};
use crate::control::{Answer, Insert, Table};
use crate::device::Number;
use crate::Uuid;
use nix::errno::Errno;
use stor_pure::abi::uapi::*;
use stor_pure::pure::text;

impl State {
    pub(super) fn insert(&mut self, insert: &Insert<'_>) -> Answer<()> {
        for name in [insert.below.1, insert.joined.1] {
            text::check(name.as_bytes(), STOR_NAME_LEN as usize).map_err(|error| errno(error.errno()))?;
        }
        let volume = self.volume(insert.uuid)?.clone();
        let new = [insert.below, insert.joined];
        let taken =
            |(uuid, name): &(Uuid, &str)| !self.is_free(*uuid) || self.volumes.iter().any(|other| other.name == *name);
        if insert.below.0 == insert.joined.0 || insert.below.1 == insert.joined.1 || new.iter().any(taken) {
            return Err(Errno::EEXIST);
        }
        if volume.replica.is_some() || insert.joined_target != "linear" || insert.target != crate::replica::REPLICA {
            return Err(Errno::EOPNOTSUPP);
        }
        if volume.suspended.is_some() {
            return Err(Errno::EBUSY);
        }
        let size = volume.size();
        let index = self.free_index()?;
        let (uuid, name) = (insert.below.0, insert.below.1.into());
        self.volumes.push(Volume { uuid, name, index, open_count: 0, ..volume.clone() });
        // What the volume had is below now.
        let own = self.volume(insert.uuid)?;
        (own.lowers, own.segments, own.thin) = (Vec::new(), Vec::new(), None);
        let below = self.device(Number { major: MAJOR, minor: index }).ok_or(Errno::ENXIO)?;
        let reopened = insert.table.lowers.iter().map(|lower| self.device(lower.number).ok_or(Errno::EBADF));
        let mut lowers = reopened.collect::<Answer<Vec<_>>>()?;
        lowers.push(below);
        let table = Table { size: insert.table.size, lowers: &lowers, config: insert.table.config };
        let (lowers, segments) = self.table(&table, volume.read_only, None)?;
        let index = self.free_index()?;
        let (uuid, name) = (insert.joined.0, insert.joined.1.into());
        let joined = Volume { uuid, name, index, lowers, segments, thin: None, open_count: 0, ..volume.clone() };
        self.volumes.push(joined);
        let joined = self.device(Number { major: MAJOR, minor: index }).ok_or(Errno::ENXIO)?;
        let table = Table { size, lowers: std::slice::from_ref(&joined), config: insert.config };
        let (lowers, replica, events) = self.replica(&table, None)?;
        // In the order in which they stand on each other.
        let at = self.volumes.iter().position(|other| other.uuid == volume.uuid).ok_or(Errno::ENXIO)?;
        self.volumes.remove(at);
        self.volumes.push(Volume { lowers, segments: Vec::new(), thin: None, replica: Some(replica), ..volume });
        for (uuid, kind) in [
            (insert.below.0, STOR_EVENT_CREATED),
            (insert.joined.0, STOR_EVENT_CREATED),
            (insert.uuid, STOR_EVENT_RELOADED),
        ] {
            let volume = self.volume(uuid)?.clone();
            self.event(kind, volume.size().0, &volume);
        }
        let volume = self.volume(insert.uuid)?.clone();
        events.into_iter().for_each(|(kind, value)| self.event(kind, value, &volume));
        Ok(())
    }

    /// The lowest number that no disk has.
    pub(super) fn free_index(&self) -> Answer<u32> {
        let taken = |index: &u32| self.volumes.iter().any(|volume| volume.index == *index);
        (0..STOR_MAX_VOLUMES).find(|index| !taken(index)).ok_or(Errno::E2BIG)
    }

    /// The volumes in which legs are looked for: of those that are put together, what is read is on their first device.
    pub(super) fn first_lower(&self, number: Number) -> Option<Number> {
        let volume = self.volumes.iter().find(|volume| number.major == MAJOR && volume.index == number.minor)?;
        let linear = volume.thin.is_none() && volume.replica.is_none();
        volume.lowers.first().copied().filter(|_| linear && volume.lowers.len() > 1)
    }
}
