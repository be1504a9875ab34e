// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Power cuts at every step of making a replica, on new disks and on those of an older one: what was made starts with one source for
//! all, or it is refused; and it can be made again.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "pool/cut.rs"]
mod cut;
#[path = "../../../kmod/pure/tests/thin/rng.rs"]
mod rng;

use cut::{copy, devices, reboot, Machine, Power};
use libstor::pool::{NewPool, NewThin};
use libstor::replica::{Assemble, Convert, NewReplica};
use libstor::{Bytes, Kind, Simulated, Stor, Uuid};
use std::path::{Path, PathBuf};

const STATE: &str = r#"{"engines":[{"version":"0.1.0","active":true}],"devices":[{"path":"/dev/vda","size":4194304},
    {"path":"/dev/vdb","size":4194304},{"path":"/dev/vdc","size":4194304},{"path":"/dev/vdd","size":1048576}]}"#;

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("replica-crash-{}-{name}.json", std::process::id()))
}

fn stor(state: &Path) -> Stor {
    Stor::connect(Box::new(Simulated::open(state).unwrap())).unwrap()
}

fn new(uuid: u128) -> NewReplica {
    NewReplica {
        name: "data".into(),
        uuid: Some(Uuid::from_u128(uuid)),
        legs: ["/dev/vda", "/dev/vdb", "/dev/vdc"].map(PathBuf::from).to_vec(),
        tie_break: Some("/dev/vdd".into()),
        force: true,
        ..NewReplica::default()
    }
}

/// The new replica in what a cut has left; whether it starts.
fn starts(stor: &Stor, what: &str) -> bool {
    let all = stor.replicas().unwrap_or_else(|error| panic!("{what}: {error}"));
    let Some(found) = all.iter().find(|replica| replica.uuid == Uuid::from_u128(2)) else { return false };
    match stor.assemble_replica(&found.uuid.to_string(), &Assemble::default()) {
        Ok(change) => {
            let view = change.replica.unwrap();
            let synced = view.legs.iter().filter(|leg| leg.state == "in-sync").count();
            // The source is the one whose superblock was written last: without it nothing starts.
            assert!(view.legs.iter().all(|leg| leg.slot != Some(0) || leg.state == "in-sync"), "{what}: {view:#?}");
            assert!(synced > 0, "{what}: {view:#?}");
            stor.stop_replica(&found.uuid.to_string()).unwrap();
            true
        }
        Err(error) => {
            assert!(matches!(error.kind, Kind::Failure | Kind::NotFound), "{what}: {error}");
            false
        }
    }
}

fn cut_at_every_step(name: &str, before: impl Fn(&Stor)) {
    let (base, state) = (scratch(&format!("{name}-base")), scratch(name));
    Simulated::create(&base, STATE).unwrap();
    before(&stor(&base));
    reboot(&base);
    let mut started = 0;
    for step in 1.. {
        copy(&base, &state);
        let what = format!("{name}, cut at step {step}");
        let power = Power::new(step, step);
        let machine = Machine { kernel: Simulated::open(&state).unwrap(), power: power.clone() };
        let done = Stor::connect(Box::new(machine)).unwrap().create_replica(&new(2));
        let steps = power.borrow().steps;
        if !power.borrow().off {
            done.unwrap();
            println!("{name}: {steps} steps, {started} cuts after which it starts");
            break;
        }
        reboot(&state);
        started += u32::from(starts(&stor(&state), &what));
        let again = stor(&state).create_replica(&new(2)).unwrap_or_else(|error| panic!("{what}, again: {error}"));
        assert!(again.replica.unwrap().state.is_empty(), "{what}");
    }
    assert!(started > 0, "{name}");
    for path in [&base, &state] {
        let _ = (std::fs::remove_file(path), std::fs::remove_dir_all(devices(path)));
    }
}

#[test]
fn a_replica_is_made_whole_or_not() {
    cut_at_every_step("new", |_| {});
}

#[test]
fn a_replica_is_made_of_the_disks_of_another() {
    cut_at_every_step("old", |stor| {
        stor.create_replica(&new(1)).unwrap();
        stor.stop_replica("data").unwrap();
    });
}

/// Cuts the power at every step of something that is done to a replica which is not assembled, and calls `after` with what that left.
fn cut_of_a_replica(
    name: &str,
    before: impl Fn(&Stor),
    how: impl Fn(Stor) -> Stor,
    act: impl Fn(&Stor) -> libstor::Result<()>,
    after: impl Fn(&Path, &str),
) {
    cut_from(STATE, name, before, how, act, after);
}

fn cut_from(
    devices_there: &str,
    name: &str,
    before: impl Fn(&Stor),
    how: impl Fn(Stor) -> Stor,
    act: impl Fn(&Stor) -> libstor::Result<()>,
    after: impl Fn(&Path, &str),
) {
    let (base, state) = (scratch(&format!("{name}-base")), scratch(name));
    Simulated::create(&base, devices_there).unwrap();
    before(&stor(&base));
    reboot(&base);
    for step in 1.. {
        copy(&base, &state);
        let power = Power::new(step, step);
        let machine = Machine { kernel: Simulated::open(&state).unwrap(), power: power.clone() };
        let done = act(&how(Stor::connect(Box::new(machine)).unwrap()));
        if !power.borrow().off {
            done.unwrap();
            println!("{name}: {} steps", power.borrow().steps);
            assert!(step > 10, "{name}");
            break;
        }
        reboot(&state);
        after(&state, &format!("{name}, cut at step {step}"));
    }
    for path in [&base, &state] {
        let _ = (std::fs::remove_file(path), std::fs::remove_dir_all(devices(path)));
    }
}

fn made(stor: &Stor) {
    stor.create_replica(&new(2)).unwrap();
    stor.stop_replica("data").unwrap();
}

/// It starts, and all of its legs become equal.
fn whole(state: &Path, what: &str) {
    let stor = stor(state);
    let change = stor.assemble_replica("data", &Assemble::default()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let view = change.replica.unwrap();
    assert!(view.legs.iter().all(|leg| leg.state == "in-sync"), "{what}: {view:#?}");
    stor.stop_replica("data").unwrap();
}

#[test]
fn an_export_leaves_what_starts() {
    let export = |stor: &Stor| stor.export_replica("data").map(drop);
    cut_of_a_replica(
        "export",
        made,
        |stor| stor,
        export,
        |state, what| {
            let again = state.with_extension("again");
            copy(state, &again);
            whole(state, what);
            stor(&again).export_replica("data").unwrap_or_else(|error| panic!("{what}, again: {error}"));
            let found = stor(&again).scan_replicas(&[]).unwrap();
            let left: Vec<_> = found.iter().filter(|one| one.epoch.is_some()).collect();
            assert!(found.len() == 3 && left.is_empty(), "{what}: {found:#?}");
            whole(&again, what);
            let _ = (std::fs::remove_file(&again), std::fs::remove_dir_all(devices(&again)));
        },
    );
}

/// The same, with a state in which legs are not rebuilt: two of them lack everything.
fn unfinished(stor: &Stor) {
    stor.create_replica(&NewReplica { inactive: true, ..new(2) }).unwrap();
}

#[test]
fn a_hand_over_to_md_leaves_what_starts() {
    for (name, before) in [("whole", made as fn(&Stor)), ("unfinished", unfinished)] {
        let by_md = |stor: &Stor| stor.assemble_replica("data", &Assemble::default()).map(drop);
        let fallback = |stor: Stor| stor.fallback(true);
        cut_of_a_replica(&format!("fallback-{name}"), before, fallback, by_md, |state, what| {
            let again = state.with_extension("again");
            copy(state, &again);
            whole(state, what);
            let by_md = stor(&again).fallback(true);
            let change = by_md.assemble_replica("data", &Assemble::default());
            let view = change.unwrap_or_else(|error| panic!("{what}: {error}")).replica.unwrap();
            assert_eq!(view.served_by, Some("md"), "{what}");
            assert!(view.legs.iter().all(|leg| leg.state == "in-sync"), "{what}: {view:#?}");
            by_md.stop_replica("data").unwrap();
            whole(&again, what);
            let _ = (std::fs::remove_file(&again), std::fs::remove_dir_all(devices(&again)));
        });
    }
}

/// A pool, and room for the metadata of a leg.
const POOL: &str = r#"{"engines":[{"version":"0.1.0","active":true}],"devices":[{"path":"/dev/vda","size":16777216},
    {"path":"/dev/vdb","size":2097152}]}"#;

/// `tank/srv` as a volume of the pool or as a replica, whichever it is; and that nothing else has its UUID.
fn srv(stor: &Stor, what: &str) -> &'static str {
    // A replica without its volume is refused until the pool is there.
    let _ = stor.assemble_all();
    stor.activate_all().1.unwrap_or_else(|error| panic!("{what}: {error}"));
    stor.assemble_all().1.unwrap_or_else(|error| panic!("{what}: {error}"));
    let volumes = stor.volumes().unwrap();
    let own: Vec<_> = volumes.iter().filter(|volume| volume.uuid == Uuid::from_u128(7)).collect();
    assert_eq!(own.len(), 1, "{what}: {volumes:#?}");
    assert!(own[0].device.is_some() && own[0].size == Bytes(4 << 20), "{what}: {volumes:#?}");
    match own[0].target.as_str() {
        "thin" => {
            assert_eq!((volumes.len(), own[0].name.as_str()), (1, "srv"), "{what}: {volumes:#?}");
            "volume"
        }
        "replica" => {
            assert_eq!((volumes.len(), own[0].name.as_str()), (3, "tank-srv"), "{what}: {volumes:#?}");
            assert!(volumes.iter().any(|volume| volume.name == "srv-data" && volume.target == "thin"), "{what}");
            "replica"
        }
        other => panic!("{what}: {other}"),
    }
}

#[test]
fn a_volume_becomes_a_replica_or_stays_what_it_is() {
    let make = |stor: &Stor| {
        let devices = vec!["/dev/vda".into()];
        stor.create_pool(&NewPool { name: "tank".into(), devices, ..NewPool::default() }).unwrap();
        let (uuid, size) = (Some(Uuid::from_u128(7)), Some(Bytes(4 << 20)));
        stor.create_thin(&NewThin { name: "srv".into(), pool: "tank".into(), uuid, size, ..NewThin::default() })
            .unwrap();
    };
    let how = Convert { metadata: "/dev/vdb".into(), force: false };
    let convert = |stor: &Stor| {
        let _ = stor.activate_all();
        stor.convert("tank/srv", &how).map(drop)
    };
    let seen = std::cell::RefCell::new(std::collections::BTreeMap::<_, u32>::new());
    cut_from(
        POOL,
        "convert",
        make,
        |stor| stor,
        convert,
        |state, what| {
            let stor = stor(state);
            let is = srv(&stor, what);
            *seen.borrow_mut().entry(is).or_default() += 1;
            if is == "volume" {
                // What a cut has left is gone on with, or written over.
                let how = Convert { metadata: "/dev/vdb".into(), force: true };
                stor.convert("tank/srv", &how).unwrap_or_else(|error| panic!("{what}, again: {error}"));
            }
            assert_eq!(srv(&stor, what), "replica", "{what}, again");
        },
    );
    println!("convert: {seen:?}");
    assert!(seen.borrow().len() == 2, "{seen:?}");
}
