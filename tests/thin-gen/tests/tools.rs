// SPDX-License-Identifier: GPL-2.0

//! Our answers beside those of the thin-provisioning-tools. `STOR_THIN_TOOLS` names their `pdata_tools`; without it what they
//! would say is not looked at.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use libstor::metadata::{size, Delta, Needed, Planned, Progress};
use libstor::Bytes;
use std::path::Path;
use std::process::Command;
use stor_thin_gen::generate::{generate, Shape};

/// What one of their tools prints; `None` if they are not there.
fn theirs(arguments: &[&str]) -> Option<String> {
    let tools = std::env::var_os("STOR_THIN_TOOLS")?;
    let output = Command::new(tools).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    Some(text)
}

fn ours(path: &Path, from: u64, to: u64, held: bool) -> String {
    let mut xml = Vec::new();
    Delta { path, held, from, to, same: true }.xml(&Progress::default(), &mut xml).unwrap();
    String::from_utf8(xml).unwrap()
}

#[test]
fn thin_delta_says_the_same() {
    let path = std::env::temp_dir().join(format!("stor-thin-delta-{}", std::process::id()));
    for (seed, run, rewritten) in [(1, 1, 100), (2, 8, 20), (3, 64, 300)] {
        let shape = Shape { mappings: 6000, volumes: 2, snapshots: 5, run, rewritten, held: true, seed };
        generate(&path, &shape).unwrap();
        let name = path.to_str().unwrap();
        for (from, to) in [(0, 2), (2, 0), (4, 2), (0, 1), (3, 5)] {
            for held in [false, true] {
                let our = ours(&path, from, to, held);
                assert_eq!(our.contains("<same"), from + to != 1, "{from} {to}");
                let [from, to] = [from, to].map(|id| id.to_string());
                let mut arguments = vec!["thin_delta", "--thin1", &from, "--thin2", &to, name];
                if held {
                    arguments.insert(1, "--metadata-snap");
                }
                if let Some(their) = theirs(&arguments) {
                    // Of a metadata snapshot they do not tell how many data blocks there are.
                    let mut lines = our.lines().zip(their.lines()).skip(usize::from(held));
                    let differs = lines.find(|(our, their)| our != their);
                    assert!(
                        differs.is_none() && our.lines().count() == their.lines().count(),
                        "{arguments:?}: {differs:?}"
                    );
                }
            }
        }
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn what_pools_use_is_what_was_planned() {
    let path = std::env::temp_dir().join(format!("stor-thin-size-{}", std::process::id()));
    for (mappings, volumes, snapshots, run, rewritten) in [
        (100_000, 1, 0, 16, 0),
        (100_000, 1, 10, 16, 50),
        (30_000, 3, 30, 1, 100),
        (3_000, 20, 100, 2, 1000),
        (100, 1, 1, 1, 0),
    ] {
        let shape = Shape { mappings, volumes, snapshots, run, rewritten, held: false, seed: 5 };
        generate(&path, &shape).unwrap();
        let stat = libstor::metadata::stat(&path, false).unwrap();
        let needed = size(&Planned {
            data: Bytes(stat.data_blocks * 65_536),
            block_size: Bytes(65_536),
            volumes,
            snapshots,
            rewritten: rewritten.div_ceil(10),
        })
        .unwrap();
        let used = stat.metadata_used * 4096;
        assert!(used <= needed.worst_size.0, "{shape:?}: {used} used, {needed:?}");
        assert!(needed.usual_size.0 <= needed.worst_size.0, "{needed:?}");
    }
    std::fs::remove_file(path).unwrap();
}

/// thin_metadata_size knows neither snapshots that differ nor full nodes: it plans with 126 mappings a block.
#[test]
fn thin_metadata_size_is_between() {
    for (data, block_size) in [(1u64 << 40, 65_536), (10 << 30, 65_536), (100 << 40, 1 << 20)] {
        let planned =
            Planned { data: Bytes(data), block_size: Bytes(block_size), volumes: 1, snapshots: 0, rewritten: 5 };
        let Needed { usual_size, worst_size, .. } = size(&planned).unwrap();
        let [data, block_size] = [data, block_size].map(|bytes| format!("{bytes}b"));
        let arguments = ["thin_metadata_size", "-b", &block_size, "-s", &data, "-m", "1", "-u", "b", "-n"];
        let Some(their) = theirs(&arguments) else { continue };
        let their: f64 = their.trim().parse().unwrap();
        assert!((usual_size.0 as f64) < their && their < worst_size.0 as f64, "{usual_size:?} {their} {worst_size:?}");
    }
}
