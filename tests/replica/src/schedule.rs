// SPDX-License-Identifier: GPL-2.0

//! Schedules: a volume is started again and again, with whatever legs are there, and ends in one way or another.

use crate::check;
use crate::device::Contents;
use crate::members;
use crate::rng::Rng;
use crate::volume::Volume;
use crate::world::{find, is_tie_break, uuid, Found, World};
use crate::Fault;
use stor_pure::pure::replica::assemble::Consent;
use stor_pure::pure::replica::change::Change;
use stor_pure::pure::replica::refusal::Refusal;

/// What came of a schedule.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    pub(crate) starts: u64,
    pub(crate) refusals: u64,
    pub(crate) forced: u64,
    pub(crate) crashes: u64,
    pub(crate) apart: u64,
    /// Changes of the members that were done.
    pub(crate) changes: u64,
}

impl Done {
    pub(crate) fn add(&mut self, other: Self) {
        self.starts += other.starts;
        self.refusals += other.refusals;
        self.forced += other.forced;
        self.crashes += other.crashes;
        self.apart += other.apart;
        self.changes += other.changes;
    }
}

/// How a schedule is played.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) seed: u64,
    /// Flushes do nothing.
    pub(crate) lying: bool,
}

/// Plays a schedule; what it did, in words, if `told`.
pub(crate) fn play(way: Way, told: bool) -> (Result<Done, Fault>, Vec<String>) {
    let mut rng = Rng::new(way.seed);
    let legs = [2, 2, 2, 3, 3, 4][rng.below(6) as usize];
    let tie_break = rng.below(2) == 0;
    let mut world = match World::new(legs, tie_break) {
        Ok(world) => world,
        Err(fault) => return (Err(fault), Vec::new()),
    };
    world.told = told.then(Vec::new);
    world.tell(|| format!("{legs} legs, tie-break: {tie_break}"));
    if way.lying {
        world.devices.iter_mut().for_each(|(_, device)| device.lies = true);
    }
    let result = lives(&mut world, &mut rng);
    (result, world.told.unwrap_or_default())
}

fn lives(world: &mut World, rng: &mut Rng) -> Result<Done, Fault> {
    let mut done = Done::default();
    let mut seen = all_of(world);
    let mut wanted = None;
    let mut copies: Vec<(usize, Contents)> = Vec::new();
    for _ in 0..2 + rng.below(5) {
        // Often those that were not there before.
        let others = rng.below(3) == 0;
        let most = 2 + rng.below(3);
        seen = all_of(world)
            .into_iter()
            .filter(|place| if others { !seen.contains(place) } else { rng.below(most) > 0 })
            .collect();
        let behind = behind(world)?;
        if !behind.is_empty() && rng.below(2) == 0 {
            seen = behind;
        }
        if seen.is_empty() {
            continue;
        }
        let want = members::want(world, rng, &mut seen, wanted)?;
        wanted = want.or(wanted);
        let Some((volume, want)) = start(world, rng, &seen, &mut done, false, want)? else { continue };
        life(world, rng, volume, &mut done, want)?;
        copies.extend(
            world
                .devices
                .iter()
                .filter(|(disk, _)| !is_tie_break(*disk))
                .map(|(place, device)| (*place, device.durable().clone())),
        );
    }
    if rng.below(3) == 0 {
        restore(world, rng, &copies)?;
    }
    let all = all_of(world);
    let (volume, _) = start(world, rng, &all, &mut done, true, None)?.ok_or("it does not start in the end")?;
    last(world, rng, volume)?;
    Ok(done)
}

fn all_of(world: &World) -> Vec<usize> {
    world.devices.iter().map(|(disk, _)| *disk).collect()
}

/// Members that do not know of the youngest record.
fn behind(world: &World) -> Result<Vec<usize>, Fault> {
    let mut epochs = Vec::new();
    for (place, device) in &world.devices {
        epochs.push((*place, find(device.view(), *place)?.record.map_or(0, |(record, _)| record.epoch.get())));
    }
    let newest = epochs.iter().map(|(_, epoch)| *epoch).max().unwrap_or(0);
    Ok(epochs.into_iter().filter(|(_, epoch)| *epoch < newest).map(|(place, _)| place).collect())
}

/// Somebody puts an older copy of a leg in its place, so old that its superblock tells.
fn restore(world: &mut World, rng: &mut Rng, copies: &[(usize, Contents)]) -> Result<(), Fault> {
    let events = |contents: &Contents, place| -> Result<u64, Fault> {
        Ok(find(contents, place)?.superblock.map_or(0, |superblock| superblock.events.get()))
    };
    let mut newest = 0;
    for (place, device) in world.devices.iter().filter(|(disk, _)| !is_tie_break(*disk)) {
        newest = newest.max(events(device.durable(), *place)?);
    }
    let Some((place, contents)) = copies.get(rng.below(copies.len().max(1) as u64) as usize) else { return Ok(()) };
    let all = all_of(world);
    // Others have what it had, and know what it knew.
    let (plan, found) = world.plan(&all, Consent::Safe)?;
    let replaceable = plan.is_ok_and(|plan| {
        let (entitled, epoch) = (plan.record.entitled(), plan.record.epoch);
        let knows = |(other, found): &(usize, Found)| {
            other != place && found.record.as_ref().is_ok_and(|(record, _)| record.epoch == epoch)
        };
        let own = plan.record.place(&uuid(*place)).filter(|_| all.contains(place));
        entitled.len() > 1 && own.is_some_and(|own| entitled.has(own)) && found.iter().any(knows)
    });
    // One of before it had joined has no vote.
    let replaceable = replaceable && find(contents, *place)?.record.is_ok();
    if events(contents, *place)? + 1 < newest && replaceable {
        world.tell(|| format!("{place} is an older copy of itself"));
        let contents = contents.clone();
        world.device(*place).ok_or("no such disk")?.restore(&contents);
    }
    Ok(())
}

/// Starts a volume with what is seen, if it may start.
fn start(
    world: &mut World,
    rng: &mut Rng,
    seen: &[usize],
    done: &mut Done,
    must: bool,
    want: Option<Change>,
) -> Result<Option<(Volume, Option<Change>)>, Fault> {
    for (place, device) in &mut world.devices {
        device.up = seen.contains(place);
    }
    world.tell(|| format!("a start with {seen:?}"));
    if let Some(change) = want {
        world.tell(|| format!("to be changed: {change:?}"));
        let (plan, found) = world.plan(seen, Consent::Change(change))?;
        match plan {
            Ok(plan) => {
                done.starts += 1;
                return Ok(Some((begin(world, &plan, found)?, want)));
            }
            Err(refusal) if members::may_refuse(&refusal) => world.tell(|| refusal.to_string()),
            Err(_) => {}
        }
    }
    let (plan, found) = world.plan(seen, Consent::Safe)?;
    let whole = seen.len() == world.devices.len();
    let refusal = match plan {
        Ok(plan) => {
            done.starts += 1;
            return Ok(Some((begin(world, &plan, found)?, None)));
        }
        Err(refusal) => refusal,
    };
    world.tell(|| refusal.to_string());
    done.refusals += 1;
    // A leg that was about to join, when somebody chose another side, has a superblock of a lineage that nobody knows any more.
    let apart = matches!(refusal, Refusal::Apart(..) | Refusal::ForeignApart(..) | Refusal::NoneInSync);
    done.apart += u64::from(apart);
    if whole && !(apart && world.forced > 0) {
        return Err(format!("with all members it does not start: {refusal}").into());
    }
    if !must && rng.below(6) > 0 {
        return Ok(None);
    }
    // Somebody chooses.
    let legs: Vec<usize> = found.iter().map(|(disk, _)| *disk).filter(|disk| !is_tie_break(*disk)).collect();
    let first = rng.below(legs.len().max(1) as u64) as usize;
    for leg in (0..legs.len()).map(|turn| (first + turn) % legs.len()) {
        let lineage = Volume::new_lineage(world);
        world.tell(|| format!("forced from {}", legs[leg]));
        let (plan, found) = world.plan(seen, Consent::Force { leg, lineage })?;
        match plan {
            Ok(plan) => {
                done.forced += 1;
                // What he chooses is what he sees, and not what the disks may fall back to.
                world.devices.iter_mut().filter(|(_, device)| device.up).for_each(|(_, device)| device.flush());
                if must {
                    // What he does not want any more he takes away.
                    world.devices.retain(|(disk, _)| plan.record.place(&uuid(*disk)).is_some());
                }
                return Ok(Some((begin(world, &plan, found)?, None)));
            }
            Err(Refusal::Unfinished(_) | Refusal::NoneInSync | Refusal::Stranger(_)) => {}
            Err(refusal) => return Err(format!("a forced start is refused: {refusal}").into()),
        }
    }
    Ok(None)
}

fn begin(
    world: &mut World,
    plan: &stor_pure::pure::replica::assemble::Plan,
    found: Vec<(usize, Found)>,
) -> Result<Volume, Fault> {
    let settled = world.devices.iter().filter(|(_, device)| device.up).all(|(_, device)| device.is_settled());
    world.tell(|| {
        format!(
            "entitled {}, present {}, source {}, {:?}",
            plan.entitled,
            plan.present,
            plan.source,
            plan.legs.map(|leg| leg.recovery)
        )
    });
    let mut volume = Volume::start(plan, found, settled)?;
    volume.settle(world)?;
    Ok(volume)
}

/// A volume runs, and is gone.
fn life(
    world: &mut World,
    rng: &mut Rng,
    mut volume: Volume,
    done: &mut Done,
    mut want: Option<Change>,
) -> Result<(), Fault> {
    let faulty = rng.below(2) == 0;
    // Some disks are much slower than others.
    let slow = world.devices[rng.below(world.devices.len() as u64) as usize].0;
    let mut left = 20 + rng.below(200);
    while left > 0 {
        left -= 1;
        if let Some(change) = want.take_if(|_| volume.is_started()) {
            members::done(world, rng, &volume, &change)?;
            done.changes += 1;
        }
        let failures = volume.failures();
        act(world, rng, &mut volume, faulty, slow)?;
        // The moment after a failure is the most dangerous one.
        if volume.failures() > failures && rng.below(3) == 0 {
            left = left.min(rng.below(8));
        }
        // So is the one in which some members have a new record, and others do not.
        if volume.is_deciding() && rng.below(6) == 0 {
            break;
        }
        if rng.below(16) == 0 {
            check::entitled(world, &volume)?;
        }
        if volume.keeper.stopped().is_some() && rng.below(8) == 0 {
            break;
        }
    }
    check::entitled(world, &volume)?;
    if rng.below(4) == 0 {
        world.tell(|| "an orderly end".into());
        rest(world, rng, &mut volume)?;
        check::entitled(world, &volume)?;
    }
    let cut = rng.below(3) > 0;
    world.tell(|| if cut { "the power goes".into() } else { "the host is gone".into() });
    done.crashes += 1;
    volume.crash(world, rng, cut);
    Ok(())
}

fn act(world: &mut World, rng: &mut Rng, volume: &mut Volume, faulty: bool, slow: usize) -> Result<(), Fault> {
    match rng.below(100) {
        0..=49 => {
            let index = rng.below(volume.under_way().max(1) as u64) as usize;
            if volume.disk_of(index) == Some(slow) && rng.below(4) > 0 {
                return Ok(());
            }
            let fail = faulty && rng.below(60) == 0;
            volume.complete(world, index, fail.then_some(rng))
        }
        50..=69 => {
            let sector = rng.below(crate::device::SECTORS as u64 - 3) as usize;
            // Some places are written to more often than others.
            let sector = if rng.below(2) == 0 { sector % 4 } else { sector };
            volume.write(world, sector, 1 + rng.below(3) as usize).map(|_| ())?;
            volume.settle(world)
        }
        70..=75 => {
            volume.flush(world)?;
            volume.settle(world)
        }
        76..=81 => volume.read(world, rng.below(crate::device::SECTORS as u64) as usize),
        82..=90 => volume.rebuild(world),
        91..=95 => {
            volume.keeper.sweep();
            volume.settle(world)
        }
        96 => {
            volume.keeper.idle();
            volume.settle(world)
        }
        97 if faulty && rng.below(3) == 0 => {
            let cut = rng.below(2) == 0;
            for _ in 0..1 + rng.below(3) {
                let index = rng.below(world.devices.len() as u64) as usize;
                let place = world.devices[index].0;
                world.tell(|| format!("{place} is gone"));
                volume.stop(world, rng, index, cut);
            }
            if rng.below(2) == 0 {
                return volume.lose(world);
            }
            Ok(())
        }
        98 | 99 => back(world, rng, volume),
        _ => Ok(()),
    }
}

/// A disk comes back while the volume runs.
fn back(world: &mut World, rng: &mut Rng, volume: &mut Volume) -> Result<(), Fault> {
    let index = rng.below(world.devices.len() as u64) as usize;
    let (place, device) = &mut world.devices[index];
    let place = *place;
    // A disk that forgets its cache and goes on as if nothing had been is none that anybody could use.
    if volume.uses(place) {
        return Ok(());
    }
    device.up = true;
    if is_tie_break(place) {
        return Ok(());
    }
    let found = find(device.view(), place)?;
    volume.rejoin(world, place, found)?;
    Ok(())
}

/// All that is under way ends, nobody writes any more, and the superblocks become clean.
pub(crate) fn rest(world: &mut World, rng: &mut Rng, volume: &mut Volume) -> Result<(), Fault> {
    for turn in 0..4000 {
        let index = rng.below(volume.under_way().max(1) as u64) as usize;
        volume.complete(world, index, None)?;
        volume.rebuild(world)?;
        if turn % 50 == 49 {
            volume.keeper.sweep();
        }
        if turn % 50 == 25 {
            volume.keeper.idle();
        }
        volume.settle(world)?;
        let calm = volume.is_quiet() && volume.keeper.rebuilding().is_empty() && !volume.keeper.is_open();
        if volume.keeper.stopped().is_some() || calm && turn > 1000 {
            return Ok(());
        }
    }
    Err(format!("it does not come to rest: {}", volume.state()).into())
}

/// With all legs everything becomes equal, and stays so.
fn last(world: &mut World, rng: &mut Rng, mut volume: Volume) -> Result<(), Fault> {
    world.tell(|| "the end".into());
    rest(world, rng, &mut volume)?;
    check::entitled(world, &volume)?;
    check::at_rest(world, &volume)?;
    for sector in 0..crate::device::SECTORS {
        volume.read(world, sector)?;
    }
    volume.crash(world, rng, true);
    let (plan, _) = world.plan(&all_of(world), Consent::Safe)?;
    let plan = plan.map_err(|refusal| format!("after an orderly end it is refused: {refusal}"))?;
    if plan.entitled != plan.record.slots().without(world.lost(&plan.record)) {
        return Err(format!("after an orderly end only legs {} are entitled", plan.entitled).into());
    }
    Ok(())
}
