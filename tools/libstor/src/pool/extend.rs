// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A pool becomes larger while it is in use: by devices that are added, and by what its devices have grown.
//!
//! Segments are added at the ends of the areas, and a label is written for each device that has some, in the order of their
//! places in the areas. The first device's label, which makes new devices members, is last. So after a crash each area is
//! as long as the labels that were written make it; a device of which the first does not know yet is not the pool's. The
//! kernel is told in the end. If it cannot be, it finds out at the next activation.

use super::create::{blank, set_segments, shape, Fresh};
use super::layout::{data_end, data_start, segment};
use super::member;
use super::open::{Open, Opened};
use super::view::PoolChange;
use crate::device::{Access, Device};
use crate::error::Context;
use crate::linear::{exact, Target};
use crate::size::Iec;
use crate::{Bytes, Error, Kind, Result, Stor, Uuid};
use std::path::PathBuf;
use stor_pure::pure::label::copies::{at_end, IN_HEAD};
use stor_pure::pure::label::{self, Label, Segment, LABEL_SIZE, MEMBERS_MAX};
use stor_pure::pure::thin::block::BLOCK_SIZE;
use stor_pure::pure::thin::space::METADATA_MAX;
use zerocopy::IntoBytes;

const MIB: u64 = 1 << 20;

/// What a pool is to get.
#[derive(Clone, Debug, Default)]
pub struct Extend {
    /// Devices to add.
    pub devices: Vec<PathBuf>,
    /// Room for metadata, all of it or so much more, out of what is added.
    pub metadata: Option<Target>,
    /// Whether what the devices hold may be lost.
    pub force: bool,
}

/// Room on a device that nothing lies in yet.
struct Room {
    device: usize,
    start: u64,
    end: u64,
}

impl Stor {
    /// Makes a pool larger.
    pub fn extend_pool(&self, name: &str, extend: &Extend) -> Result<PoolChange> {
        self.try_extend_pool(name, extend).context(|| format!("cannot extend pool {name}"))
    }

    /// Refuses a device that is a volume of this pool, or stands on one: the kernel would, but is asked
    /// only when something has been written.
    pub(crate) fn check_apart(&self, device: &Device, pool: Uuid) -> Result<()> {
        let active = self.system.list()?;
        let mut pending = vec![device.number];
        while let Some(number) = pending.pop() {
            let Some(info) = active.iter().find(|info| info.number == number) else { continue };
            if info.pool == Some(pool) {
                return Err(Error::new(Kind::Usage, format!("{} stands on the pool itself", device.path.display())));
            }
            pending.extend(self.system.status(info.uuid)?.lowers.iter().map(|lower| lower.number));
        }
        Ok(())
    }

    fn try_extend_pool(&self, name: &str, extend: &Extend) -> Result<PoolChange> {
        let mut open = self.open_pool(name, &[], Access::Claim)?;
        if open.status.is_some() {
            open.changeable()?;
        }
        for path in &extend.devices {
            self.check_apart(&self.system.open(path)?, open.uuid)?;
        }
        let fresh = self.fresh(&extend.devices, extend.force)?;
        self.check_found(&fresh)?;
        if open.devices.len() + fresh.len() > MEMBERS_MAX {
            return Err(Error::new(Kind::Usage, format!("a pool has at most {MEMBERS_MAX} devices")));
        }
        let before = open.lengths()?;
        let mut labels: Vec<Label> = open.members.iter().map(|member| (*member.seen.label).clone()).collect();
        let mut members = open.first()?.members().to_vec();
        members.extend(fresh.iter().map(|_| *self.system.uuid().as_bytes()));
        let sectors = open.first()?.data_block_size.get();
        for (index, new) in fresh.iter().enumerate() {
            let index = open.devices.len() + index;
            labels.push(blank(&open.name, open.uuid, sectors, &new.device, &members, index));
        }
        let rooms = open.rooms(&fresh, &mut labels);
        let after = open.take(rooms, &fresh, &mut labels, before, extend.metadata)?;
        let more = |before: u64, after: u64| format!("{} (was {})", Iec(Bytes(after)), Iec(Bytes(before)));
        let what = format!("{} for data, {} for metadata", more(before.1, after.1), more(before.0, after.0));
        if before == after && fresh.is_empty() {
            return open.changed(false, format!("pool {} uses all that its devices have already", open.name));
        }
        if self.dry_run {
            return open.changed(true, format!("pool {} would have {what}", open.name));
        }
        open.mend()?;
        open.relabel(fresh, labels, &members)?;
        let name = open.name.clone();
        if open.status.is_some() {
            open.reload().map_err(|error| Error {
                help: Some(format!(
                    "deactivate and activate it: it takes that in then; {}",
                    error.help.unwrap_or_default()
                )),
                cause: format!("its labels say that it is larger, but the kernel did not take it: {}", error.cause),
                ..error
            })?;
            open.status = Some(self.system.pool_status(open.uuid)?);
        }
        open.changed(true, format!("pool {name} has {what}"))
    }
}

impl Open<'_> {
    /// Bytes of metadata and data.
    fn lengths(&self) -> Result<(u64, u64)> {
        let length = |area| self.segments(area).map(|segments| super::config::length(&segments).0);
        Ok((length(label::Area::Metadata)?, length(label::Area::Data)?))
    }

    /// Where there is room, in the order in which labels are written: devices that have grown, new ones, the first.
    fn rooms(&self, fresh: &[Fresh], labels: &mut [Label]) -> Vec<Room> {
        let mut rooms = Vec::new();
        for (index, device) in self.devices.iter().enumerate() {
            let Some(label) = labels.get_mut(index) else { continue };
            let second = label.location.get().max(label.other.get());
            let end = label.segments().iter().filter_map(Segment::end).max().unwrap_or(MIB);
            // What was LVM's has data up to its end.
            let limit = if second == IN_HEAD { device.size.0 / MIB * MIB } else { data_end(device.size) };
            if at_end(device.size.0) > second && limit > end {
                label.size = (device.size.0 / LABEL_SIZE as u64 * LABEL_SIZE as u64).into();
                if second != IN_HEAD {
                    label.location = label.location.get().min(label.other.get()).into();
                    label.other = at_end(device.size.0).into();
                }
                rooms.push(Room { device: index, start: end, end: limit });
            }
        }
        for (index, new) in fresh.iter().enumerate() {
            rooms.push(Room { device: self.devices.len() + index, start: MIB, end: data_end(new.device.size) });
        }
        rooms.sort_by_key(|room| room.device == 0);
        rooms
    }

    /// Gives the rooms to metadata, as much as it is to get, and to data; how long both are then.
    fn take(
        &self,
        rooms: Vec<Room>,
        fresh: &[Fresh],
        labels: &mut [Label],
        before: (u64, u64),
        metadata: Option<Target>,
    ) -> Result<(u64, u64)> {
        let block = self.data_block();
        let (mut meta, mut data) = before;
        let limit = METADATA_MAX * BLOCK_SIZE as u64;
        let wanted = match metadata {
            None => meta,
            Some(Target::To(size)) => size.0,
            Some(Target::By(size)) => meta.saturating_add(size.0),
            Some(Target::Max) => limit,
        };
        if wanted < meta {
            return Err(Error::new(
                Kind::Usage,
                format!("metadata has {}, and does not become smaller", exact(Bytes(meta))),
            ));
        }
        if wanted > limit {
            return Err(Error::new(Kind::Usage, format!("metadata can have {}", exact(Bytes(limit)))));
        }
        let mut missing = (wanted - meta).next_multiple_of(MIB);
        for room in rooms {
            let Some(label) = labels.get_mut(room.device) else { continue };
            let device = self
                .devices
                .get(room.device)
                .or_else(|| fresh.get(room.device - self.devices.len()).map(|new| &new.device));
            let Some(device) = device else { continue };
            let mut segments = label.segments().to_vec();
            let mut start = room.start.next_multiple_of(LABEL_SIZE as u64);
            if missing > 0 {
                let length = (room.end.saturating_sub(start) / MIB * MIB).min(missing);
                if length > 0 {
                    segments.push(segment(label::Area::Metadata, start, length, meta));
                    (start, meta, missing) = (start + length, meta + length, missing - length);
                }
            }
            // If the end of the data is here, it becomes longer in one piece.
            let last = segments.last_mut().filter(|last| {
                last.area.get() == label::Area::Data as u32 && last.at.get().saturating_add(last.length.get()) == data
            });
            if let Some(last) = last {
                let length = room.end.saturating_sub(last.start.get()) / block * block;
                if length > last.length.get() {
                    data += length - last.length.get();
                    last.length = length.into();
                }
            } else {
                let start = data_start(start, Bytes(block), &shape(device));
                let length = room.end.saturating_sub(start) / block * block;
                if length > 0 {
                    segments.push(segment(label::Area::Data, start, length, data));
                    data += length;
                }
            }
            if segments.is_empty() {
                let (path, least) = (device.path.display(), Iec(Bytes(block + 3 * MIB)));
                return Err(Error::new(Kind::Unfit, format!("{path} is too small: it has {}", Iec(device.size)))
                    .help(format!("use one of {least} or more")));
            }
            set_segments(label, &segments)?;
        }
        if missing > 0 && metadata != Some(Target::Max) {
            return Err(Error::new(Kind::Unfit, format!("there is no room for {} of metadata", Iec(Bytes(missing))))
                .help("add a device by --device, or make one of the pool's larger"));
        }
        Ok((meta, data))
    }

    /// Writes the labels that changed, the first last.
    fn relabel(&mut self, fresh: Vec<Fresh>, mut labels: Vec<Label>, members: &[[u8; 16]]) -> Result<()> {
        let (devices, contents) = self.stor.claim(fresh)?;
        let grown = labels.split_off(self.devices.len());
        let added = !grown.is_empty();
        for (index, label) in labels.iter_mut().enumerate().rev() {
            let Some(member) = self.members.get(index) else { continue };
            if index == 0 && added {
                label.members = (members.len() as u32).into();
                label.member.iter_mut().zip(members).for_each(|(to, from)| *to = *from);
            }
            if label.as_bytes() != member.seen.label.as_bytes() {
                label.generation += 1;
            }
        }
        let changed = |open: &Self, index: usize, label: &Label| {
            open.members.get(index).is_some_and(|member| member.seen.label.generation != label.generation)
        };
        let rest = labels.split_off(1);
        for (index, label) in (1..).zip(rest) {
            if changed(self, index, &label) {
                self.write_label(index, label)?;
            }
        }
        let seen = |label: Label| member::Seen { label: Box::new(label), mend: None };
        for ((device, content), label) in devices.into_iter().zip(contents).zip(grown) {
            member::write(&device, content.as_ref(), &label)?;
            // The kernel is to have it for itself; the lock stays.
            drop(content);
            let content = self.stor.system.content(&device, Access::Share)?;
            self.members.push(Opened { seen: seen(label), content });
            self.devices.push(device);
        }
        for label in labels {
            if changed(self, 0, &label) {
                self.write_label(0, label)?;
            }
        }
        Ok(())
    }

    fn write_label(&mut self, index: usize, label: Label) -> Result<()> {
        if let (Some(device), Some(member)) = (self.devices.get(index), self.members.get_mut(index)) {
            member::write(device, member.content.as_ref(), &label)?;
            *member.seen.label = label;
        }
        Ok(())
    }
}
