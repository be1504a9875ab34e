// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Power cuts at every step of every command that changes a pool: after each, the pool is as it was or as it was to be, its
//! catalog and its metadata agree, and the same command can be run again.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "pool/cut.rs"]
mod cut;
#[path = "../../../kmod/pure/tests/thin/rng.rs"]
mod rng;

use cut::{copy, devices, reboot, Machine, Power};
use libstor::linear::Target;
use libstor::pool::{
    Activate, Extend, NewClone, NewPool, NewSnapshot, NewThin, Policy, PoolSettings, Rollback, VolumeSettings,
};
use libstor::volume::Resize;
use libstor::{Bytes, Kind, Result, Simulated, Stor};
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;
/// Cuts at each step, each with other sectors lost.
fn seeds() -> u64 {
    std::env::var("STOR_SEEDS").map_or(1, |seeds| seeds.parse().unwrap())
}

const STATE: &str = r#"{"engines":[{"version":"0.1.0","active":true}],
    "devices":[{"path":"/dev/vda","size":16777216},{"path":"/dev/vdb","size":16777216},{"path":"/dev/vdc","size":16777216}]}"#;

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("pool-crash-{}-{name}.json", std::process::id()))
}

fn stor(state: &Path) -> Stor {
    Stor::connect(Box::new(Simulated::open(state).unwrap())).unwrap()
}

fn thin(name: &str) -> NewThin {
    NewThin { name: name.into(), pool: "tank".into(), size: Some(Bytes(8 * MIB)), ..NewThin::default() }
}

fn snapshot(volume: &str, name: &str) -> NewSnapshot {
    NewSnapshot { volumes: vec![volume.into()], name: Some(name.into()), ..NewSnapshot::default() }
}

/// A pool on two devices with two volumes and three snapshots, which have data.
fn pool(state: &Path) {
    let _ = Simulated::create(state, STATE).unwrap();
    let stor = stor(state);
    let devices = vec!["/dev/vda".into(), "/dev/vdb".into()];
    stor.create_pool(&NewPool { name: "tank".into(), devices, ..NewPool::default() }).unwrap();
    stor.create_thin(&thin("one")).unwrap();
    stor.create_thin(&thin("two")).unwrap();
    write(state, 0, 0, 3 * MIB);
    stor.snapshot(&snapshot("one", "old")).unwrap();
    write(state, 0, MIB, MIB);
    stor.snapshot(&snapshot("one", "new")).unwrap();
    write(state, 0, 2 * MIB, 4 * MIB);
    write(state, 1, 0, 5 * MIB);
    stor.snapshot(&snapshot("two", "other")).unwrap();
}

/// Somebody writes to a volume.
fn write(state: &Path, volume: usize, begin: u64, length: u64) {
    let mut kernel: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(state).unwrap()).unwrap();
    kernel["volumes"][volume]["thin"]["wrote"] = serde_json::json!([[begin, length]]);
    std::fs::write(state, kernel.to_string()).unwrap();
    stor(state).volumes().unwrap();
}

/// What a pool has: of each volume its name, UUID, size, whether it is a snapshot, and of what; and the pool's size and policy.
fn model(stor: &Stor) -> Vec<String> {
    let mut model: Vec<String> = stor
        .volumes()
        .unwrap()
        .into_iter()
        .map(|volume| {
            let read_only = volume.state.contains(&"read-only");
            let mapped = volume.mapped.unwrap_or_default();
            format!("{} {} {} {:?} {read_only} {mapped}", volume.name, volume.uuid, volume.size.0, volume.origin)
        })
        .collect();
    let pool = stor.show_pool("tank", None).unwrap();
    model.push(format!("{} {} {}", pool.view.data_size.0, pool.view.metadata_size.0, pool.policy));
    model
}

/// Everything is whole: catalog and metadata have the same volumes, and counts are right.
fn sound(stor: &Stor, what: &str) {
    stor.deactivate_pool("tank").unwrap();
    let checked = stor.check_pool("tank", false).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(checked.findings, Vec::<String>::new(), "{what}");
    stor.activate_pool("tank", &Activate::default()).unwrap();
}

/// Runs a command with the power cut at each of its steps; how many there were.
fn cut_at_every_step(name: &str, command: &dyn Fn(&Stor) -> Result<()>) -> u64 {
    let (base, state) = (scratch(&format!("{name}-base")), scratch(name));
    pool(&base);
    copy(&base, &state);
    let before = model(&stor(&state));
    command(&stor(&state)).unwrap_or_else(|error| panic!("{name}: {error}"));
    // Deletions go on in the background, and are forgotten by the next command.
    let after = model(&stor(&state));
    sound(&stor(&state), name);
    let (mut cuts, mut step) = (0, 0);
    loop {
        step += 1;
        for seed in 0..seeds() {
            copy(&base, &state);
            let what = format!("{name}, cut at step {step}, seed {seed}");
            let power = Power::new(step, step * 1000 + seed);
            let machine = Machine { kernel: Simulated::open(&state).unwrap(), power: power.clone() };
            let done = command(&Stor::connect(Box::new(machine)).unwrap());
            if !power.borrow().off {
                done.unwrap();
                println!("{name}: {cuts} cuts");
                for path in [&base, &state] {
                    std::fs::remove_file(path).unwrap();
                    std::fs::remove_dir_all(devices(path)).unwrap();
                }
                return cuts;
            }
            cuts += 1;
            reboot(&state);
            let stor = stor(&state);
            stor.activate_pool("tank", &Activate::default()).unwrap_or_else(|error| panic!("{what}: {error}"));
            let now = model(&stor);
            assert!(now == before || now == after, "{what}:\n{now:#?}\nbefore {before:#?}\nafter {after:#?}");
            sound(&stor, &what);
            assert_eq!(model(&stor), now, "{what}");
            // What was not done can be done; what was done is refused, or done again.
            match command(&stor) {
                Ok(()) => {}
                Err(error) if now == after && matches!(error.kind, Kind::Exists | Kind::NotFound | Kind::Usage) => {}
                Err(error) => panic!("{what}, again: {error}"),
            }
            sound(&stor, &what);
        }
    }
}

#[test]
fn volumes_are_made_whole_or_not() {
    let settings = VolumeSettings { labels: vec!["owner=me".into()], ..VolumeSettings::default() };
    let cuts = cut_at_every_step("create", &|stor| {
        stor.create_thin(&NewThin { settings: settings.clone(), ..thin("three") }).map(drop)
    });
    // The intent, its flush, the pool, the copy, its flush, activation; each with a cut.
    assert!(cuts >= 6 * seeds(), "{cuts}");
    cut_at_every_step("clone", &|stor| {
        stor.clone_volume(&NewClone { of: "old".into(), name: "copy".into(), ..NewClone::default() }).map(drop)
    });
}

#[test]
fn snapshots_are_taken_and_removed_whole_or_not() {
    cut_at_every_step("snapshot", &|stor| stor.snapshot(&snapshot("one", "third")).map(drop));
    let both = || vec!["one".into(), "tank/two".into()];
    cut_at_every_step("group", &|stor| {
        stor.snapshot(&NewSnapshot { volumes: both(), group: Some("night".into()), ..NewSnapshot::default() }).map(drop)
    });
    cut_at_every_step("snapshot-remove", &|stor| stor.remove_snapshots(&["old".into(), "new".into()], false).map(drop));
}

#[test]
fn volumes_are_changed_whole_or_not() {
    cut_at_every_step("rename", &|stor| stor.rename("one", "first").map(drop));
    cut_at_every_step("resize", &|stor| {
        stor.resize("one", &Resize { size: Some(Target::To(Bytes(64 * MIB))), ..Resize::default() }).map(drop)
    });
    cut_at_every_step("set", &|stor| {
        let settings = VolumeSettings { policy: Some(Policy::Error), ..VolumeSettings::default() };
        stor.set_volume("one", &settings).map(drop)
    });
    cut_at_every_step("remove", &|stor| stor.remove("one", false).map(drop));
}

#[test]
fn a_rollback_is_one_step() {
    cut_at_every_step("rollback", &|stor| {
        stor.rollback(&Rollback { snapshot: "old".into(), ..Rollback::default() }).map(drop)
    });
    cut_at_every_step("rollback-discard", &|stor| {
        let how = Rollback { snapshot: "old".into(), discard_current: true, ..Rollback::default() };
        stor.rollback(&how).map(drop)
    });
}

#[test]
fn a_pool_grows_whole_or_not() {
    cut_at_every_step("pool-set", &|stor| {
        let settings = PoolSettings { policy: Some(Policy::Error), ..PoolSettings::default() };
        stor.set_pool("tank", &settings).map(drop)
    });
    cut_at_every_step("extend", &|stor| {
        let metadata = Some(Target::By(Bytes(2 * MIB)));
        // A device of which a crash has left half is not used without being asked.
        let force = true;
        let busy =
            stor.pools()?.iter().any(|pool| pool.devices.iter().any(|device| device.path == Path::new("/dev/vdc")));
        let devices = if busy { Vec::new() } else { vec!["/dev/vdc".into()] };
        let metadata = if busy { None } else { metadata };
        stor.extend_pool("tank", &Extend { devices, metadata, force }).map(drop)
    });
}

#[test]
fn a_pool_is_made_whole_or_not() {
    let state = scratch("pool");
    let new = |force| {
        let devices = vec!["/dev/vda".into(), "/dev/vdb".into()];
        NewPool { name: "tank".into(), devices, force, inactive: true, ..NewPool::default() }
    };
    let mut made = 0;
    for step in 1.. {
        for seed in 0..seeds() {
            Simulated::create(&state, STATE).unwrap();
            let power = Power::new(step, step * 1000 + seed);
            let machine = Machine { kernel: Simulated::open(&state).unwrap(), power: power.clone() };
            let done = Stor::connect(Box::new(machine)).unwrap().create_pool(&new(false));
            if !power.borrow().off {
                done.unwrap();
                assert!(step > 15 && made > 0, "{step} steps, {made} pools");
                return;
            }
            reboot(&state);
            let stor = stor(&state);
            let what = format!("cut at step {step}, seed {seed}");
            let pools = stor.pools().unwrap();
            let whole = pools.iter().find(|pool| pool.problem.is_none());
            if whole.is_some() {
                made += 1;
            } else {
                assert!(pools.iter().all(|pool| pool.state == ["incomplete"]), "{what}: {pools:?}");
                stor.create_pool(&new(true)).unwrap_or_else(|error| panic!("{what}: {error}"));
            }
            stor.activate_pool("tank", &Activate::default()).unwrap_or_else(|error| panic!("{what}: {error}"));
            sound(&stor, &what);
            assert_eq!(stor.pools().unwrap().len(), 1, "{what}");
        }
    }
}

#[test]
fn activation_and_its_end_leave_a_pool_that_can_be_activated() {
    cut_at_every_step("deactivate", &|stor| {
        stor.deactivate_pool("tank")?;
        stor.activate_pool("tank", &Activate::default()).map(drop)
    });
}

#[test]
fn a_pool_is_removed_whole_or_not() {
    let (base, state) = (scratch("removed-base"), scratch("removed"));
    pool(&base);
    for step in 1.. {
        for seed in 0..seeds() {
            copy(&base, &state);
            let power = Power::new(step, step * 1000 + seed);
            let machine = Machine { kernel: Simulated::open(&state).unwrap(), power: power.clone() };
            let done = Stor::connect(Box::new(machine)).unwrap().remove_pool("tank", true, false);
            if !power.borrow().off {
                done.unwrap();
                assert!(stor(&state).pools().unwrap().is_empty());
                return;
            }
            reboot(&state);
            let stor = stor(&state);
            match stor.pools().unwrap().as_slice() {
                [] => {}
                [pool] if pool.state == ["incomplete"] => {}
                [_] => {
                    stor.activate_pool("tank", &Activate::default()).unwrap();
                    sound(&stor, &format!("step {step}"));
                }
                pools => panic!("{pools:?}"),
            }
        }
    }
}
