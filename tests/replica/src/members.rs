// SPDX-License-Identifier: GPL-2.0

//! Members that come and go between two lives of a volume: what somebody wants, what he brings for it, and what he takes away when
//! he has been told that it is done.

use crate::rng::Rng;
use crate::volume::Volume;
use crate::world::{is_tie_break, uuid, World};
use crate::Fault;
use stor_pure::pure::replica::assemble::Consent;
use stor_pure::pure::replica::change::Change;
use stor_pure::pure::replica::refusal::Refusal;
use stor_pure::pure::replica::set::TIE_BREAK;

/// Legs that there are at most.
const MOST: u32 = 5;

/// What somebody wants next; `None`: nothing. Disks that he brings for it are seen.
pub(crate) fn want(
    world: &mut World,
    rng: &mut Rng,
    seen: &mut Vec<usize>,
    last: Option<Change>,
) -> Result<Option<Change>, Fault> {
    // What has been done is not done again, and what was not is tried again.
    if let Some(last) = last.filter(|_| rng.below(3) == 0) {
        let joins = world.disk(&last.joins);
        seen.extend(joins.filter(|joins| !seen.contains(joins)));
        return Ok(Some(last));
    }
    if rng.below(2) > 0 {
        return Ok(None);
    }
    let (plan, _) = world.plan(seen, Consent::Safe)?;
    let Ok(record) = plan.map(|plan| plan.record) else { return Ok(None) };
    let legs: Vec<usize> = record.legs().iter().collect();
    let leg = legs[rng.below(legs.len() as u64) as usize];
    let mut change = Change::default();
    let kind = rng.below(8);
    if matches!(kind, 0..=2) {
        change.leaves = record.member[leg];
    }
    if matches!(kind, 3 | 4) || kind == 2 && rng.below(2) == 0 {
        // Perhaps one that has been a member before.
        let strangers: Vec<usize> = world.devices.iter().map(|(disk, _)| *disk).collect();
        let stranger = |disk: &usize| !is_tie_break(*disk) && record.place(&uuid(*disk)).is_none();
        let stranger = strangers.into_iter().find(stranger).filter(|_| rng.below(2) == 0);
        if stranger.is_none() && record.legs().len() >= MOST {
            return Ok(None);
        }
        let disk = stranger.map_or_else(|| world.bring(false), Ok)?;
        change.joins = uuid(disk);
        add(seen, disk);
    }
    if kind >= 5 {
        change.leaves = record.member[TIE_BREAK];
        if kind > 5 || change.leaves == [0; 16] {
            let disk = world.bring(true)?;
            (change.joins, change.tie_break) = (uuid(disk), true);
            // Instead of the old one.
            seen.retain(|other| !is_tie_break(*other) || rng.below(8) == 0);
            add(seen, disk);
        }
    }
    Ok(Some(change))
}

fn add(seen: &mut Vec<usize>, disk: usize) {
    if !seen.contains(&disk) {
        seen.push(disk);
    }
}

/// Whether a change can be refused for this reason where the volume could do without it.
pub(crate) fn may_refuse(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::LastLeg(_) | Refusal::Full | Refusal::Taken | Refusal::NotGiven | Refusal::ForeignChange)
}

/// A volume that was started for a change can be used: so it is done, whatever comes, and who has left may be used for something else.
pub(crate) fn done(world: &mut World, rng: &mut Rng, volume: &Volume, change: &Change) -> Result<(), Fault> {
    let record = volume.keeper.record();
    let is_member = |device: &[u8; 16]| record.place(device).is_some();
    if is_member(&change.leaves) || change.joins != [0; 16] && !is_member(&change.joins) {
        return Err(format!("it was to be changed: {change:?}, but has {:?}", record.member).into());
    }
    let Some(disk) = world.disk(&change.leaves) else { return Ok(()) };
    if volume.uses(disk) {
        return Err(format!("{disk} is removed, but in use").into());
    }
    if rng.below(2) == 0 {
        world.tell(|| format!("{disk} is taken away"));
        world.devices.retain(|(other, _)| *other != disk);
    }
    Ok(())
}
