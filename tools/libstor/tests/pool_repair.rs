// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Pools whose catalog or metadata is lost, and what a repair makes of them.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use libstor::metadata::Progress;
use libstor::pool::{Activate, NewPool, NewThin, RepairPool};
use libstor::{Bytes, Kind, Simulated, Stor};
use std::fs;
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;
const STATE: &str =
    r#"{"engines":[{"version":"0.1.0","active":true}],"devices":[{"path":"/dev/vda","size":16777216}]}"#;

struct World(PathBuf);

impl World {
    /// A pool that is not active, with two volumes of which one has data.
    fn new(name: &str) -> Self {
        let world = Self(
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("pool-repair-{}-{name}.json", std::process::id())),
        );
        Simulated::create(&world.0, STATE).unwrap();
        let stor = world.stor();
        let devices = vec!["/dev/vda".into()];
        stor.create_pool(&NewPool { name: "tank".into(), devices, ..NewPool::default() }).unwrap();
        for name in ["one", "two"] {
            let new =
                NewThin { name: name.into(), pool: "tank".into(), size: Some(Bytes(8 * MIB)), ..NewThin::default() };
            stor.create_thin(&new).unwrap();
        }
        let mut kernel: serde_json::Value = serde_json::from_str(&fs::read_to_string(&world.0).unwrap()).unwrap();
        kernel["volumes"][1]["thin"]["wrote"] = serde_json::json!([[0, 3 * MIB]]);
        fs::write(&world.0, kernel.to_string()).unwrap();
        stor.deactivate_pool("tank").unwrap();
        world
    }

    fn stor(&self) -> Stor {
        Stor::connect(Box::new(Simulated::open(&self.0).unwrap())).unwrap()
    }

    fn path(&self, end: &str) -> PathBuf {
        PathBuf::from(format!("{}{end}", self.0.display()))
    }

    /// Changes what the device holds.
    fn damage(&self, damage: impl FnOnce(&mut Vec<u8>)) {
        let path = self.path(".devices/0");
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(path, bytes).unwrap();
    }

    fn repair(&self, backup: Option<PathBuf>) -> libstor::Result<libstor::pool::Repaired> {
        self.stor().repair_pool(&RepairPool { pool: "tank".into(), backup }, &Progress::default())
    }

    fn names(&self) -> Vec<String> {
        self.stor().volumes().unwrap().into_iter().map(|volume| volume.name).collect()
    }

    /// It can be used again, and nothing is found.
    fn whole(&self) {
        let checked = self.stor().check_pool("tank", false).unwrap();
        assert_eq!(checked.findings, Vec::<String>::new());
        self.stor().activate_pool("tank", &Activate::default()).unwrap();
        self.stor().deactivate_pool("tank").unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for end in ["", ".backup"] {
            let _ = fs::remove_file(self.path(end));
        }
        let _ = fs::remove_dir_all(self.path(".devices"));
    }
}

/// Where blocks begin that have these bytes at this place.
fn find(bytes: &[u8], at: usize, magic: &[u8]) -> Vec<usize> {
    (0..bytes.len() / 4096).map(|block| block * 4096).filter(|start| bytes[start + at..].starts_with(magic)).collect()
}

#[test]
fn a_whole_pool_is_left_alone() {
    let world = World::new("whole");
    let repaired = world.repair(None).unwrap();
    assert!(!repaired.changed && repaired.findings.is_empty() && repaired.metadata.is_none(), "{repaired:?}");
    world.stor().activate_pool("tank", &Activate::default()).unwrap();
    assert_eq!(world.repair(None).unwrap_err().kind, Kind::Busy);
}

#[test]
fn a_lost_catalog_is_made_of_what_the_metadata_has() {
    let world = World::new("catalog");
    world.damage(|bytes| {
        let slots = find(bytes, 0, b"StorCtlg");
        assert_eq!(slots.len(), 2);
        slots.iter().for_each(|slot| bytes[slot + 20] ^= 1);
    });
    assert!(world.stor().activate_pool("tank", &Activate::default()).is_err());
    let repaired = world.repair(None).unwrap();
    assert!(repaired.changed && repaired.metadata.is_none());
    assert_eq!(repaired.recovered, ["recovered-0", "recovered-1"]);
    world.whole();
    assert_eq!(world.names(), ["recovered-0", "recovered-1"]);
    // As large as what it maps.
    let sizes: Vec<u64> = world.stor().volumes().unwrap().iter().map(|volume| volume.size.0).collect();
    assert_eq!(sizes, [65_536, 3 * MIB]);
}

#[test]
fn a_lost_superblock_is_made_anew_and_the_names_stay() {
    let world = World::new("superblock");
    let magic = 27_022_010u64.to_le_bytes();
    world.damage(|bytes| {
        let superblocks = find(bytes, 32, &magic);
        assert_eq!(superblocks.len(), 1);
        bytes[superblocks[0]..superblocks[0] + 4096].fill(0xff);
    });
    assert!(world.stor().activate_pool("tank", &Activate::default()).is_err());
    // What is damaged is kept, or nothing is done.
    assert_eq!(world.repair(None).unwrap_err().kind, Kind::Usage);
    let backup = world.path(".backup");
    let plan = world.stor().dry_run(true);
    let plan =
        plan.repair_pool(&RepairPool { pool: "tank".into(), backup: Some(backup.clone()) }, &Progress::default());
    assert!(plan.unwrap().metadata.is_some() && !backup.exists());
    let repaired = world.repair(Some(backup.clone())).unwrap();
    assert!(repaired.changed && repaired.metadata.unwrap().changed && repaired.lost.is_empty(), "{}", repaired.text);
    assert!(backup.exists());
    world.whole();
    assert_eq!(world.names(), ["one", "two"]);
    let again = world.repair(Some(backup)).unwrap();
    assert!(!again.changed, "{}", again.text);
}
