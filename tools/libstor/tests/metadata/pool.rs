// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Pools made by the engine, and what is in them.
#![allow(dead_code)] // each test uses some of it

#[path = "../../../../kmod/pure/tests/thin/rng.rs"]
mod rng;

use libstor::metadata::FileStore;
pub(crate) use rng::Rng;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use stor_pure::pure::thin::check::check;
use stor_pure::pure::thin::data::Run;
use stor_pure::pure::thin::error::Error;
use stor_pure::pure::thin::pool::{Options, Pool};
use stor_pure::pure::thin::reader::Reader;
use stor_pure::pure::units::VirtualBlock;

const OPTIONS: Options = Options { frames: 512, streams: 2, passdown: false };

/// A file of so many metadata blocks, all zeros; it is gone at the end.
pub(crate) struct Image(pub(crate) PathBuf);

impl Image {
    pub(crate) fn new(name: &str, blocks: u64) -> Self {
        let path = std::env::temp_dir().join(format!("stor-metadata-{}-{name}", std::process::id()));
        std::fs::File::create(&path).unwrap().set_len(blocks * 4096).unwrap();
        Self(path)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.0).unwrap()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl AsRef<Path> for Image {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

/// Maps blocks of a device, as many as there is room for.
pub(crate) fn insert(pool: &mut Pool<FileStore>, id: u64, begin: u64, count: u64) {
    let mut done = 0;
    while done < count {
        match pool.take_data(0, (count - done).min(1000)) {
            Ok(run) => match pool.insert(id, VirtualBlock(begin + done), run) {
                Ok(_) => done += run.len(),
                Err(Error::CommitFirst) => {
                    pool.give_back(run).unwrap();
                    pool.commit().unwrap();
                }
                Err(error) => panic!("{error}"),
            },
            Err(Error::CommitFirst) => pool.commit().unwrap(),
            Err(Error::DataFull) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

pub(crate) fn format(image: &Image, data_blocks: u64) -> Pool<FileStore> {
    let store = FileStore::open(&image.0, true).unwrap();
    let mut pool = Pool::format(store, OPTIONS, 128, data_blocks).unwrap();
    pool.commit().unwrap();
    pool
}

/// A pool after so many random operations, committed.
pub(crate) fn random(image: &Image, seed: u64, steps: u64) {
    let mut rng = Rng::new(seed);
    let mut pool = format(image, 40_000);
    let mut ids: Vec<u64> = Vec::new();
    for _ in 0..steps {
        let id = (!ids.is_empty()).then(|| ids[rng.below(ids.len() as u64) as usize]);
        match (rng.below(100), id) {
            (0..=3, _) | (_, None) if ids.len() < 12 => {
                let id = rng.below(1 << 24);
                if pool.create_thin(id).is_ok() {
                    ids.push(id);
                }
            }
            (4..=9, Some(origin)) if ids.len() < 12 => {
                let id = rng.below(1 << 24);
                if pool.create_snapshots(&[(id, origin)]).is_ok() {
                    ids.push(id);
                }
            }
            (10..=12, Some(_)) => {
                let transaction = pool.transaction_id();
                pool.set_transaction_id(transaction, transaction + 1).unwrap();
            }
            (13..=22, Some(id)) => {
                let begin = rng.below(8000);
                let length = if rng.below(3) == 0 { 3000 } else { 40 };
                let mut next = Some(VirtualBlock(begin));
                while let Some(begin) = next {
                    next = pool.remove(id, begin, VirtualBlock(begin.0 + length), 500).unwrap().next;
                }
            }
            (23..=30, Some(id)) => insert(&mut pool, id, rng.below(8000), 200 + rng.below(1000)),
            (31..=95, Some(id)) => insert(&mut pool, id, rng.below(8000), 1 + rng.below(30)),
            _ => pool.commit().unwrap(),
        }
    }
    pool.commit().unwrap();
}

/// What is known of a device: transaction, times of creation and last snapshot, mappings as block, data block and time.
pub(crate) type Device = (u64, u32, u32, Vec<(u64, u64, u32)>);

/// All that metadata holds, apart from how it is laid out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) time: u32,
    pub(crate) transaction_id: u64,
    pub(crate) data_block_size: u32,
    pub(crate) data_blocks: u64,
    pub(crate) devices: BTreeMap<u64, Device>,
}

pub(crate) fn contents(path: &Path) -> Contents {
    let mut reader = Reader::open(FileStore::open(path, false).unwrap(), 512, false).unwrap();
    let superblock = *reader.superblock();
    let (mut devices, mut found) = (Vec::new(), BTreeMap::new());
    reader
        .devices(&mut |device| {
            devices.push(device);
            ControlFlow::Continue(())
        })
        .unwrap();
    for device in devices {
        let (mut leaves, mut entries) = (Vec::new(), Vec::new());
        reader.leaves(device.root, &mut |leaf| leaves.push(leaf)).unwrap();
        for leaf in leaves {
            reader.leaf(leaf, &mut |block, mapping| entries.push((block.0, mapping.block.0, mapping.time))).unwrap();
        }
        let details = device.details;
        assert_eq!(details.mapped_blocks.get(), entries.len() as u64);
        let known = (details.transaction_id.get(), details.creation_time.get(), details.snapshotted_time.get());
        found.insert(device.id, (known.0, known.1, known.2, entries));
    }
    Contents {
        time: superblock.time.get(),
        transaction_id: superblock.transaction_id.get(),
        data_block_size: superblock.data_block_size.get(),
        data_blocks: superblock.data_space.root.blocks.get(),
        devices: found,
    }
}

/// Neither the strict checker nor thin_check, if there is one, finds anything. Metadata blocks in use.
pub(crate) fn sound(image: &Image) -> u64 {
    let mut findings = String::new();
    let mut store = FileStore::open(&image.0, false).unwrap();
    let summary = check(&mut store, &mut |finding| findings += &format!("{finding}\n")).unwrap();
    assert!(findings.is_empty(), "{}:\n{findings}", image.0.display());
    if let Some(mut program) = tool("STOR_THIN_CHECK") {
        let output = program.arg(&image.0).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    summary.metadata
}

/// One of the thin-provisioning-tools, if the environment names it.
pub(crate) fn tool(variable: &str) -> Option<Command> {
    std::env::var_os(variable).map(Command::new)
}

/// Data blocks in a row.
pub(crate) fn run(begin: u64, length: u64) -> Run {
    Run { begin, end: begin + length }
}
