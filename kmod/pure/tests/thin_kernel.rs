// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Metadata that dm-thin made under random load, in turns with nobody (`SEED-0.gz` of odd seeds) or with our engine: nothing is
//! found in it, and it can be worked on. `tests/vm/thin/030-corpus` makes such images.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "thin/memory.rs"]
mod memory;

use flate2::read::GzDecoder;
use memory::Device;
use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::PathBuf;
use stor_pure::pure::thin::block::BLOCK_SIZE;
use stor_pure::pure::thin::check::{check, check_held};
use stor_pure::pure::thin::device::Deletion;
use stor_pure::pure::thin::error::Error;
use stor_pure::pure::thin::pool::{Options, Pool};
use stor_pure::pure::thin::reader::{self, Reader};
use stor_pure::pure::thin::superblock::Superblock;
use stor_pure::pure::units::VirtualBlock;

const OPTIONS: Options = Options { frames: 256, streams: 1, passdown: false };

fn images() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/kernel");
    let mut paths: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn read(path: &PathBuf) -> Device {
    let mut bytes = Vec::new();
    GzDecoder::new(File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    let mut device = Device::new(0);
    device.blocks = bytes.chunks_exact(BLOCK_SIZE).map(|block| block.try_into().unwrap()).collect();
    device
}

fn sound(device: &mut Device, what: &str) {
    let mut findings = String::new();
    let summary = check(device, &mut |finding| findings += &format!("{finding}\n")).unwrap();
    assert!(findings.is_empty() && summary.devices > 0, "{what}: {summary:?}\n{findings}");
    let held = Superblock::of(&device.blocks[0]).held_root.get() != 0;
    let answer = check_held(device, &mut |finding| findings += &format!("{finding}\n")).map(|_| ());
    assert_eq!(answer, if held { Ok(()) } else { Err(Error::NotHeld) }, "{what}");
    assert!(findings.is_empty(), "{what}:\n{findings}");
}

#[test]
fn nothing_is_found_in_what_the_kernel_made() {
    let images = images();
    assert!(images.len() >= 30, "only {}", images.len());
    for path in images {
        sound(&mut read(&path), &path.display().to_string());
    }
}

#[test]
fn what_the_kernel_made_can_be_worked_on() {
    for path in images() {
        let what = path.display().to_string();
        let mut ids = Vec::new();
        let mut tell = |device: reader::Device| {
            ids.push(device.id);
            ControlFlow::Continue(())
        };
        Reader::open(read(&path), 64, false).unwrap().devices(&mut tell).unwrap();
        let mut pool = Pool::open(read(&path), OPTIONS).unwrap();
        for &id in &ids {
            let begin = VirtualBlock(pool.details(id).unwrap().mapped_blocks.get());
            match pool.take_data(0, 4) {
                Ok(run) => pool.insert(id, begin, run).unwrap(),
                Err(Error::DataFull) => {}
                Err(error) => panic!("{what}: {error}"),
            }
            pool.create_snapshots(&[(1000 + id, id)]).unwrap();
        }
        pool.commit().unwrap();
        sound(pool.store(), &what);
        for &id in &ids {
            while pool.delete(id, 100).unwrap() == Deletion::Unfinished {
                pool.commit().unwrap();
            }
        }
        pool.commit().unwrap();
        sound(pool.store(), &what);
    }
}
