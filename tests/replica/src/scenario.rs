// SPDX-License-Identifier: GPL-2.0

//! What md does wrong, each in a test that passes here. Which it is says the name; where md does it, `md-raid1` in its history of
//! failures: an acknowledgement that nobody recorded, a flush error that is only logged, two legs that were started one without
//! the other, and a leg that comes back with writes of its own.

use crate::device::SECTORS;
use crate::rng::Rng;
use crate::schedule::rest;
use crate::volume::Volume;
use crate::world::{find, World};
use stor_pure::pure::replica::assemble::Consent;
use stor_pure::pure::replica::refusal::{Refusal, Who};
use stor_pure::pure::replica::set::{Set, TIE_BREAK};

/// Starts with these.
pub(crate) fn start(world: &mut World, seen: &[usize], consent: Consent) -> Result<Volume, Refusal> {
    for (place, device) in &mut world.devices {
        device.up = seen.contains(place);
    }
    let (plan, found) = world.plan(seen, consent).unwrap_or_else(|fault| panic!("{fault}"));
    let mut volume = Volume::start(&plan?, found, true).unwrap_or_else(|fault| panic!("{fault}"));
    volume.settle(world).unwrap_or_else(|fault| panic!("{fault}"));
    Ok(volume)
}

pub(crate) fn forced(world: &mut World, seen: &[usize], leg: usize) -> Volume {
    let lineage = Volume::new_lineage(world);
    start(world, seen, Consent::Force { leg, lineage }).unwrap_or_else(|refusal| panic!("{refusal}"))
}

/// Everything under way ends well.
pub(crate) fn all(world: &mut World, volume: &mut Volume) {
    while volume.under_way() > 0 {
        volume.complete(world, 0, None).unwrap_or_else(|fault| panic!("{fault}"));
    }
}

pub(crate) fn write(world: &mut World, volume: &mut Volume, sector: usize) -> u32 {
    let begun = volume.write(world, sector, 1).and_then(|begun| volume.settle(world).map(|()| begun));
    assert!(begun.unwrap_or_else(|fault| panic!("{fault}")));
    world.stamp
}

pub(crate) fn durable_write(world: &mut World, volume: &mut Volume, sector: usize) -> u32 {
    let stamp = write(world, volume, sector);
    all(world, volume);
    volume.flush(world).unwrap_or_else(|fault| panic!("{fault}"));
    all(world, volume);
    assert!(volume.is_quiet());
    stamp
}

/// Only what is under way on this leg fails, until none is.
fn fail(world: &mut World, volume: &mut Volume, place: usize) {
    let mut rng = Rng::new(3);
    while let Some(index) = (0..volume.under_way()).find(|index| volume.disk_of(*index) == Some(place)) {
        volume.complete(world, index, Some(&mut rng)).unwrap_or_else(|fault| panic!("{fault}"));
    }
}

pub(crate) fn power_cut(world: &mut World, volume: Volume) {
    volume.crash(world, &mut Rng::new(7), true);
}

pub(crate) fn new(legs: usize, tie_break: bool) -> World {
    World::new(legs, tie_break).unwrap_or_else(|fault| panic!("{fault}"))
}

pub(crate) fn began(world: &mut World, seen: &[usize]) -> Volume {
    let mut volume = start(world, seen, Consent::Safe).unwrap_or_else(|refusal| panic!("{refusal}"));
    all(world, &mut volume);
    volume
}

/// md-raid1 7.1: a second write that comes back with an error from a leg that has been given up is acknowledged before anybody knows
/// durably that the leg is gone.
#[test]
fn a_write_that_one_leg_failed_waits_for_the_record_even_if_the_leg_was_given_up_before() {
    let mut world = new(2, false);
    let mut volume = began(&mut world, &[0, 1]);
    durable_write(&mut world, &mut volume, 0);
    durable_write(&mut world, &mut volume, 1);
    write(&mut world, &mut volume, 0);
    let second = write(&mut world, &mut volume, 1);
    // Leg 1 has both writes. Leg 0 fails one, is given up, and then fails the other.
    while let Some(index) = (0..volume.under_way()).find(|index| volume.disk_of(*index) == Some(1)) {
        volume.complete(&mut world, index, None).unwrap_or_else(|fault| panic!("{fault}"));
    }
    fail(&mut world, &mut volume, 0);
    assert!(!volume.is_acknowledged(&world, 1, second), "acknowledged although both legs would be started as equal");
    all(&mut world, &mut volume);
    assert!(volume.is_acknowledged(&world, 1, second));
    assert_eq!(volume.keeper.record().entitled(), Set::one(1));
    // The one that has failed does not know, and is not believed.
    volume.flush(&mut world).unwrap_or_else(|fault| panic!("{fault}"));
    all(&mut world, &mut volume);
    power_cut(&mut world, volume);
    assert!(matches!(start(&mut world, &[0], Consent::Safe), Err(Refusal::Quorum { .. })));
    let volume = began(&mut world, &[0, 1]);
    assert_eq!(volume.keeper.sources(), Set::one(1));
}

/// md-raid1 7: md logs the error of a leg's flush, and goes on.
#[test]
fn a_leg_that_fails_a_flush_has_failed() {
    let mut world = new(2, false);
    let mut volume = began(&mut world, &[0, 1]);
    durable_write(&mut world, &mut volume, 4);
    let stamp = write(&mut world, &mut volume, 4);
    all(&mut world, &mut volume);
    volume.flush(&mut world).unwrap_or_else(|fault| panic!("{fault}"));
    fail(&mut world, &mut volume, 0);
    assert!(!volume.is_durable(&world, 4, stamp));
    all(&mut world, &mut volume);
    assert!(volume.is_durable(&world, 4, stamp), "leg 1 has it, and leg 0 is gone");
    assert_eq!(volume.keeper.record().entitled(), Set::one(1));
    power_cut(&mut world, volume);
    let mut volume = began(&mut world, &[0, 1]);
    volume.read(&mut world, 4).unwrap_or_else(|fault| panic!("{fault}"));
}

/// A tie-break that does not answer is waited for if the volume would stop without it.
#[test]
fn a_tie_break_is_spared_as_long_as_half_of_the_voters_are_there_without_it() {
    for decided in [true, false] {
        let mut world = new(2, true);
        let mut volume = began(&mut world, &[0, 1, TIE_BREAK]);
        assert!(volume.keeper.spares(TIE_BREAK));
        durable_write(&mut world, &mut volume, 0);
        write(&mut world, &mut volume, 0);
        fail(&mut world, &mut volume, 1);
        assert!(!volume.keeper.spares(TIE_BREAK), "one of three that vote");
        if decided {
            all(&mut world, &mut volume);
            assert!(volume.keeper.spares(TIE_BREAK), "one of two");
            volume.keeper.missed(Set::one(TIE_BREAK));
            volume.settle(&mut world).unwrap_or_else(|fault| panic!("{fault}"));
        } else {
            fail(&mut world, &mut volume, TIE_BREAK);
        }
        all(&mut world, &mut volume);
        assert_eq!(volume.keeper.stopped().is_none(), decided);
        if decided {
            assert_eq!(volume.keeper.record().voters(), Set::one(0));
        }
    }
}

/// md-raid1 10: each of two legs is started alone, then both; md calls them equal.
#[test]
fn two_legs_that_went_on_alone_are_not_started_together() {
    let mut world = new(2, false);
    let mut volume = began(&mut world, &[0, 1]);
    durable_write(&mut world, &mut volume, 0);
    power_cut(&mut world, volume);
    for place in [0, 1] {
        assert!(
            matches!(start(&mut world, &[place], Consent::Safe), Err(Refusal::Quorum { .. })),
            "by no timer either"
        );
        let mut volume = forced(&mut world, &[place], 0);
        all(&mut world, &mut volume);
        durable_write(&mut world, &mut volume, 2 + place);
        power_cut(&mut world, volume);
    }
    let Err(Refusal::Apart(one, other)) = start(&mut world, &[0, 1], Consent::Safe) else {
        panic!("they were started")
    };
    let mut sides = [one.who, other.who].map(|who| matches!(who, Who::Leg(0)));
    sides.sort_unstable();
    assert_eq!(sides, [false, true]);
    assert!(one.lineage != other.lineage && one.epoch > 0 && other.epoch > 0);
    let text = Refusal::Apart(one, other).to_string();
    assert!(text.contains("leg 0 (epoch ") && text.contains("leg 1 (epoch ") && text.contains("choose"), "{text}");
}

/// md-raid1 11 B: a leg that was written to alone is taken back by the other's bitmap, and keeps what it wrote alone.
#[test]
fn a_leg_that_comes_back_loses_what_it_wrote_alone() {
    let mut world = new(2, false);
    let mut volume = began(&mut world, &[0, 1]);
    durable_write(&mut world, &mut volume, 0);
    rest(&mut world, &mut Rng::new(1), &mut volume).unwrap_or_else(|fault| panic!("{fault}"));
    power_cut(&mut world, volume);
    for place in [1, 0] {
        let mut volume = forced(&mut world, &[place], 0);
        all(&mut world, &mut volume);
        // Each in chunks of its own.
        for sector in [4, 6, 8] {
            durable_write(&mut world, &mut volume, sector + 8 * place);
        }
        power_cut(&mut world, volume);
    }
    let mut volume = forced(&mut world, &[0, 1], 0);
    rest(&mut world, &mut Rng::new(1), &mut volume).unwrap_or_else(|fault| panic!("{fault}"));
    let data = [0, 1].map(|place| world.device(place).map_or([0; SECTORS], |device| device.view().data));
    assert_eq!(data[0], data[1]);
    assert!(data[0][4] > 0 && data[0][12] == 0, "{:?}", data[0]);
    assert_eq!(volume.keeper.record().entitled(), Set::first(2));
}

/// md-raid1 11 C: the survivor dies, and the one that failed before is all that comes back.
#[test]
fn a_leg_that_has_failed_is_not_started_alone_whatever_it_believes() {
    for tie_break in [false, true] {
        let mut world = new(2, tie_break);
        let seen: Vec<usize> = [0, 1].into_iter().chain(tie_break.then_some(TIE_BREAK)).collect();
        let mut volume = began(&mut world, &seen);
        durable_write(&mut world, &mut volume, 0);
        write(&mut world, &mut volume, 0);
        fail(&mut world, &mut volume, 1);
        all(&mut world, &mut volume);
        durable_write(&mut world, &mut volume, 0);
        power_cut(&mut world, volume);
        // It says of itself that all is well, and stock md would take it.
        let found = world.device(1).map(|device| find(device.view(), 1));
        let found = found.and_then(Result::ok).and_then(|found| found.superblock);
        assert!(found.is_some_and(|leg| leg.in_sync()));
        let refusal = start(&mut world, &seen[1..], Consent::Safe).err();
        assert!(matches!(refusal, Some(Refusal::Quorum { .. } | Refusal::NoSource { .. })), "{refusal:?}");
        // The survivor may start without it.
        let alone: Vec<usize> = seen.iter().copied().filter(|place| *place != 1).collect();
        assert!(start(&mut world, &alone, Consent::Safe).is_ok());
    }
}

/// md-raid1 11 E: md copies from the lowest slot.
#[test]
fn the_source_is_who_has_the_data_and_not_the_lowest_slot() {
    let mut world = new(3, false);
    let mut volume = began(&mut world, &[0, 1, 2]);
    durable_write(&mut world, &mut volume, 0);
    write(&mut world, &mut volume, 0);
    fail(&mut world, &mut volume, 0);
    all(&mut world, &mut volume);
    let stamp = durable_write(&mut world, &mut volume, 0);
    power_cut(&mut world, volume);
    let mut volume = began(&mut world, &[0, 1, 2]);
    assert!(!volume.keeper.sources().has(0));
    rest(&mut world, &mut Rng::new(1), &mut volume).unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!(volume.keeper.record().entitled(), Set::first(3));
    assert_eq!(world.device(0).map(|device| device.view().data[0]), Some(stamp));
}

/// Three legs, all lost but one at the same time: it cannot know that the other two do not go on elsewhere.
#[test]
fn without_a_majority_nothing_is_acknowledged() {
    let mut world = new(3, false);
    let mut volume = began(&mut world, &[0, 1, 2]);
    durable_write(&mut world, &mut volume, 0);
    let stamp = write(&mut world, &mut volume, 0);
    for index in [1, 2] {
        volume.stop(&mut world, &mut Rng::new(1), index, false);
    }
    all(&mut world, &mut volume);
    assert!(volume.keeper.stopped().is_some_and(|stop| stop.to_string().contains("voters")));
    assert!(!volume.is_acknowledged(&world, 0, stamp));
}

/// A schedule is the same each time: what it says can be played again.
#[test]
fn a_schedule_can_be_played_again() {
    use crate::schedule::{play, Way};
    let way = Way { seed: 4711, lying: false };
    let (first, second) = (play(way, true), play(way, true));
    assert!(first.0.is_ok() && first.1.len() > 20 && first.1 == second.1);
}

/// The control: disks that lie about flushes are noticed.
#[test]
fn lying_disks_are_noticed() {
    use crate::schedule::{play, Way};
    assert!((1..40).any(|seed| play(Way { seed, lying: true }, false).0.is_err()));
}
