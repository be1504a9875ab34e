// SPDX-License-Identifier: GPL-2.0

//! Members that come and go, step by step: after a power cut at any of them the change was made, or was not, and the volume has all of it.

use crate::check;
use crate::rng::Rng;
use crate::scenario::{all, began, durable_write, new, power_cut, start};
use crate::schedule::rest;
use crate::volume::Volume;
use crate::world::{find, is_tie_break, uuid, World};
use stor_pure::pure::md::superblock::{Role, Superblock};
use stor_pure::pure::replica::assemble::Consent;
use stor_pure::pure::replica::change::Change;
use stor_pure::pure::replica::refusal::Refusal;
use stor_pure::pure::replica::set::{Set, TIE_BREAK};

fn seen(world: &World) -> Vec<usize> {
    world.devices.iter().map(|(disk, _)| *disk).collect()
}

fn bring(world: &mut World, tie_break: bool) -> usize {
    world.bring(tie_break).unwrap_or_else(|fault| panic!("{fault}"))
}

fn joins(disk: usize) -> Change {
    Change { joins: uuid(disk), tie_break: is_tie_break(disk), ..Change::default() }
}

fn leaves(disk: usize) -> Change {
    Change { leaves: uuid(disk), ..Change::default() }
}

/// Starts it with a change, and lets it come to rest.
fn changed(world: &mut World, change: Change, seen: &[usize]) -> Volume {
    let volume = start(world, seen, Consent::Change(change)).unwrap_or_else(|refusal| panic!("{refusal}"));
    at_rest(world, volume)
}

fn at_rest(world: &mut World, mut volume: Volume) -> Volume {
    all(world, &mut volume);
    rest(world, &mut Rng::new(1), &mut volume).unwrap_or_else(|fault| panic!("{fault}"));
    check::entitled(world, &volume).unwrap_or_else(|fault| panic!("{fault}"));
    check::at_rest(world, &volume).unwrap_or_else(|fault| panic!("{fault}"));
    volume
}

fn superblock(world: &mut World, disk: usize) -> Superblock {
    let found = world.device(disk).map(|device| find(device.durable(), disk));
    let found = found.and_then(Result::ok).and_then(|found| found.superblock);
    *found.unwrap_or_else(|| panic!("no superblock"))
}

fn take_away(world: &mut World, disk: usize) {
    world.devices.retain(|(other, _)| *other != disk);
}

#[test]
fn from_one_leg_to_three_and_back_to_one() {
    let mut world = new(1, false);
    let mut volume = began(&mut world, &[0]);
    let stamp = durable_write(&mut world, &mut volume, 3);
    power_cut(&mut world, volume);
    let second = bring(&mut world, false);
    // What somebody wants may be said again at every start.
    for _ in 0..2 {
        let volume = changed(&mut world, joins(second), &[0, second]);
        assert_eq!((volume.keeper.record().legs(), volume.keeper.record().voters()), (Set::first(2), Set::first(2)));
        power_cut(&mut world, volume);
    }
    let third = bring(&mut world, false);
    let volume = changed(&mut world, joins(third), &[0, second, third]);
    power_cut(&mut world, volume);
    for disk in [0, second, third] {
        let leg = superblock(&mut world, disk);
        assert_eq!((leg.raid_disks.get(), leg.in_sync(), leg.is_clean()), (3, true, true), "as md sees it");
        assert_eq!(world.device(disk).map(|device| device.durable().data[3]), Some(stamp));
    }
    for disk in [0, third] {
        let others: Vec<usize> = seen(&world);
        let volume = changed(&mut world, leaves(disk), &others);
        assert!(volume.keeper.record().place(&uuid(disk)).is_none());
        power_cut(&mut world, volume);
        // It knows that it is a member no longer, and cannot be the one that is started from.
        let alone = world.plan(&[disk], Consent::Safe).unwrap_or_else(|fault| panic!("{fault}")).0;
        assert!(matches!(alone, Err(Refusal::Quorum { .. })), "{alone:?}");
        let forced = Consent::Force { leg: 0, lineage: [9; 16] };
        let forced = world.plan(&[disk], forced).unwrap_or_else(|fault| panic!("{fault}")).0;
        assert_eq!(forced.err(), Some(Refusal::Stranger(0)));
        take_away(&mut world, disk);
    }
    let leg = superblock(&mut world, second);
    assert_eq!((leg.raid_disks.get(), leg.role()), (2, Role::Slot(1)), "its slot stays");
    let volume = began(&mut world, &[second]);
    assert_eq!(volume.keeper.record().voters(), Set::one(1));
    power_cut(&mut world, volume);
    let last = world.plan(&[second], Consent::Change(leaves(second))).unwrap_or_else(|fault| panic!("{fault}")).0;
    assert_eq!(last.err(), Some(Refusal::LastLeg(1)));
    // The free slot is used again.
    let new = bring(&mut world, false);
    let volume = changed(&mut world, joins(new), &[second, new]);
    assert_eq!(volume.keeper.record().place(&uuid(new)), Some(0));
}

#[test]
fn a_leg_that_is_gone_is_replaced_in_its_slot() {
    let mut world = new(2, true);
    let mut volume = began(&mut world, &[0, 1, TIE_BREAK]);
    durable_write(&mut world, &mut volume, 0);
    power_cut(&mut world, volume);
    let new = bring(&mut world, false);
    let change = Change { leaves: uuid(0), ..joins(new) };
    let volume = changed(&mut world, change, &[1, TIE_BREAK, new]);
    let record = volume.keeper.record();
    assert_eq!((record.place(&uuid(new)), record.place(&uuid(0))), (Some(0), None));
    assert_eq!(record.voters(), Set::first(2).with(Set::one(TIE_BREAK)));
    power_cut(&mut world, volume);
    // The old one comes back: it is nobody's leg, and does not vote.
    let plan = world.plan(&[0, TIE_BREAK], Consent::Safe).unwrap_or_else(|fault| panic!("{fault}")).0;
    assert!(matches!(plan, Err(Refusal::Quorum { present, .. }) if present == Set::one(TIE_BREAK)), "{plan:?}");
    let volume = began(&mut world, &[0, 1, TIE_BREAK, new]);
    assert!(!volume.uses(0) && volume.keeper.entitled() == Set::first(2));
}

/// Whoever made the change is gone at any step of it; the power is cut. With those that were there the volume starts, and does
/// so again when the change is wanted anew.
#[test]
fn a_power_cut_at_any_step_of_a_change() {
    type Case = (usize, bool, fn(&mut World) -> (Change, Vec<usize>));
    let cases: [Case; 7] = [
        (1, false, |world| {
            let new = bring(world, false);
            (joins(new), vec![0, new])
        }),
        (2, false, |_| (leaves(0), vec![0, 1])),
        (3, false, |_| (leaves(1), vec![0, 1, 2])),
        (2, true, |world| {
            let new = bring(world, false);
            (Change { leaves: uuid(1), ..joins(new) }, vec![0, TIE_BREAK, new])
        }),
        (2, false, |world| {
            let new = bring(world, true);
            (joins(new), vec![0, 1, new])
        }),
        (2, true, |_| (leaves(TIE_BREAK), vec![0, 1, TIE_BREAK])),
        (2, true, |world| {
            let new = bring(world, true);
            (Change { leaves: uuid(TIE_BREAK), ..joins(new) }, vec![0, 1, new])
        }),
    ];
    for (case, (legs, tie_break, prepare)) in cases.into_iter().enumerate() {
        let (mut made, mut not_made, mut over) = (0, 0, false);
        for (steps, seed) in (0..400).flat_map(|steps| [(steps, 1), (steps, 2)]) {
            if over {
                break;
            }
            let mut world = new(legs, tie_break);
            let before = seen(&world);
            let mut volume = began(&mut world, &before);
            durable_write(&mut world, &mut volume, 5);
            power_cut(&mut world, volume);
            let (change, given) = prepare(&mut world);
            let volume = start(&mut world, &given, Consent::Change(change));
            let mut volume = volume.unwrap_or_else(|refusal| panic!("{refusal}"));
            let mut rng = Rng::new(seed);
            for _ in 0..steps {
                if volume.under_way() == 0 {
                    volume.rebuild(&mut world).unwrap_or_else(|fault| panic!("{fault}"));
                }
                over = volume.under_way() == 0 && volume.keeper.rebuilding().is_empty();
                let index = rng.below(volume.under_way().max(1) as u64) as usize;
                volume.complete(&mut world, index, None).unwrap_or_else(|fault| panic!("{fault}"));
            }
            volume.crash(&mut world, &mut rng, true);
            let told = format!("case {case}, after {steps} requests");
            let (plan, _) = world.plan(&given, Consent::Safe).unwrap_or_else(|fault| panic!("{told}: {fault}"));
            let record = plan.unwrap_or_else(|refusal| panic!("{told}: {refusal}")).record;
            let is_member = |device: &[u8; 16]| record.place(device).is_some();
            let is_made = !is_member(&change.leaves) && (change.joins == [0; 16] || is_member(&change.joins));
            (made, not_made) = if is_made { (made + 1, not_made) } else { (made, not_made + 1) };
            // Or all that there are: who left is asked, too.
            let with = if seed == 1 { given } else { seen(&world) };
            let volume = changed(&mut world, change, &with);
            let record = volume.keeper.record();
            assert!(record.place(&change.leaves).is_none() && record.voters() != Set::NONE, "{told}");
        }
        assert!(over && made > 2 && not_made > 2, "case {case}: {made} made, {not_made} not");
    }
}
