// SPDX-License-Identifier: GPL-2.0

//! What must be true of the disks at any time, whoever reads them next: Stor, or the kernel's md, which looks at one leg's
//! bitmap only.

use crate::device::{Contents, Place, SECTORS};
use crate::volume::Volume;
use crate::world::{find, geometry, uuid, World};
use crate::Fault;
use stor_pure::pure::md::bitmap;

/// Entitled legs are equal wherever any of them has no bit; and everywhere, if any of them says that all is in sync. Of what is
/// durable: the power may go now.
pub(crate) fn entitled(world: &World, volume: &Volume) -> Result<(), Fault> {
    let (entitled, lineage) = (volume.keeper.record().entitled(), volume.keeper.record().lineage);
    let mut legs: Vec<(usize, &Contents)> = Vec::new();
    let record = volume.keeper.record();
    let has = |disk: usize| record.place(&uuid(disk)).is_some_and(|place| entitled.has(place));
    let known = |tag: u32| tag == 0 || record.tag() == tag || record.forks().iter().any(|fork| fork.tag() == tag);
    for (place, device) in world.devices.iter().filter(|(disk, _)| has(*disk)) {
        let found = find(device.durable(), *place)?;
        // One that is not there may be another volume's by now; or was about to be, and nobody takes it for entitled.
        let own = found.superblock.is_none_or(|superblock| known(superblock.tag()));
        if own && found.record.is_ok_and(|(record, _)| record.lineage == lineage) {
            legs.push((*place, device.durable()));
        }
    }
    let geometry = geometry()?;
    for (place, contents) in &legs {
        let found = find(contents, *place)?;
        let clean = found.superblock.is_some_and(|superblock| superblock.is_clean());
        for chunk in 0..geometry.chunks() {
            let set = found.bitmap.is_err() || bitmap::is_set(contents.page(Place::Bitmap), geometry.place(chunk));
            if set && !clean {
                continue;
            }
            let (begin, end) = geometry.sectors_of(chunk);
            let range = begin as usize..end as usize;
            for (other, others) in &legs {
                if contents.data[range.clone()] != others.data[range.clone()] {
                    let why = if clean { "is clean" } else { "has no bit" };
                    return Err(format!("leg {place} {why} for chunk {chunk}, but leg {other} differs").into());
                }
            }
        }
    }
    Ok(())
}

/// At rest: all legs are equal, in sync and clean, and no bit is set.
pub(crate) fn at_rest(world: &World, volume: &Volume) -> Result<(), Fault> {
    let mut first: Option<[u32; SECTORS]> = None;
    let record = volume.keeper.record();
    let entitled = record.entitled();
    let lost = world.lost(record);
    if entitled != record.slots().without(lost) {
        return Err(format!("at rest only legs {entitled} are entitled").into());
    }
    let has = |disk: usize| record.place(&uuid(disk)).is_some_and(|place| entitled.has(place));
    for (place, device) in world.devices.iter().filter(|(disk, _)| has(*disk)) {
        let data = device.durable().data;
        if *first.get_or_insert(data) != data {
            return Err(format!("leg {place} differs at rest: {data:?}, {first:?}").into());
        }
        let found = find(device.durable(), *place)?;
        let sound = found.superblock.is_some_and(|superblock| superblock.is_clean() && superblock.in_sync());
        if !sound || found.bitmap.is_ok_and(|bitmap| bitmap.any) && lost.is_empty() {
            return Err(format!("leg {place} is not clean at rest").into());
        }
    }
    Ok(())
}
