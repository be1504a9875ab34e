// SPDX-License-Identifier: GPL-2.0

//! Each kind of damage is found; nothing else is; and no tool panics on any of it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use libstor::metadata::{check, dump, stat, Delta, Form, Progress};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use stor_thin_gen::damage::{self, ALL};
use stor_thin_gen::generate::{generate, Shape};

/// A folder that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("stor-thin-gen-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn shape(held: bool) -> Shape {
    Shape { mappings: 4000, volumes: 2, snapshots: 4, run: 4, rewritten: 50, held, seed: 7 }
}

fn findings(path: &Path, held: bool) -> Vec<String> {
    check(path, held, &Progress::default()).unwrap().findings
}

/// Everything that reads.
fn read_all(path: &Path) {
    let progress = Progress::default();
    for held in [false, true] {
        let _ = stat(path, held);
        for form in [Form::Xml, Form::Text] {
            let _ = dump(path, held, form, &progress, &mut std::io::sink());
        }
        let _ = check(path, held, &progress);
        for same in [false, true] {
            let delta = Delta { path, held, from: 0, to: 3, same };
            let _ = delta.ranges(&progress, &mut |_| ControlFlow::Continue(()));
        }
    }
}

#[test]
fn what_is_generated_is_sound_and_the_same_each_time() {
    let folder = Folder::new("sound");
    for held in [false, true] {
        let [one, other] = ["one", "other"].map(|name| folder.0.join(name));
        generate(&one, &shape(held)).unwrap();
        generate(&other, &shape(held)).unwrap();
        assert!(fs::read(&one).unwrap() == fs::read(&other).unwrap());
        assert_eq!(findings(&one, false), Vec::<String>::new());
        let checked = check(&one, false, &Progress::default()).unwrap();
        assert!(checked.devices == 6 && checked.mappings > 4000, "{checked:?}");
        assert_eq!(check(&one, true, &Progress::default()).is_ok(), held);
    }
}

#[test]
fn each_damage_is_found() {
    let folder = Folder::new("each");
    let (sound, path) = (folder.0.join("sound"), folder.0.join("damaged"));
    generate(&sound, &shape(false)).unwrap();
    for damage in ALL {
        for seed in 1..4 {
            fs::copy(&sound, &path).unwrap();
            let done = damage::apply(&path, damage, seed).unwrap();
            let found = findings(&path, false);
            assert_eq!(!found.is_empty(), damage.harmful, "{}: {done}: {found:?}", damage.name);
            read_all(&path);
        }
    }
}

/// The same damage, in what a metadata snapshot holds: if it is in its trees, it is found there.
#[test]
fn damage_of_held_trees_is_found_online() {
    let folder = Folder::new("held");
    let (sound, path) = (folder.0.join("sound"), folder.0.join("damaged"));
    // Nothing is written behind the metadata snapshot, so its leaves are those of the devices.
    generate(&sound, &Shape { rewritten: 0, ..shape(true) }).unwrap();
    assert_eq!(findings(&sound, true), Vec::<String>::new());
    for name in ["checksum", "zeros", "order", "range", "underfull", "entries", "data", "mapping-time", "location"] {
        fs::copy(&sound, &path).unwrap();
        let done = damage::apply(&path, damage::Damage::named(name).unwrap(), 1).unwrap();
        assert_ne!(findings(&path, true), Vec::<String>::new(), "{name}: {done}");
    }
    // What belongs to the pool is not the metadata snapshot's.
    for name in ["allocated-data", "free-data", "lost-data", "needs-check"] {
        fs::copy(&sound, &path).unwrap();
        damage::apply(&path, damage::Damage::named(name).unwrap(), 1).unwrap();
        assert_eq!(findings(&path, true), Vec::<String>::new(), "{name}");
    }
}
