// SPDX-License-Identifier: GPL-2.0 OR MIT

//! dm-thin metadata in files and on devices: of any pool, LVM's too.

mod delta;
mod dump;
mod file;
mod form;
mod progress;
mod repair;
mod restore;
mod roots;
mod salvage;
mod size;
mod target;
mod xml;

pub(crate) use delta::ranges;
pub use delta::{Delta, DeltaRange, DeltaTotal};
pub use dump::dump;
pub use file::FileStore;
pub use form::Form;
pub use progress::Progress;
pub use repair::{repair, Kept, Lost, Plan, Repair};
pub use restore::{restore, Restore, Restored};
pub use size::{size, Needed, Planned};

use crate::error::Context;
use crate::{Error, Kind, Result};
use serde::Serialize;
use std::ops::ControlFlow;
use std::path::Path;
use stor_pure::pure::thin;
use stor_pure::pure::thin::block::BLOCK_SIZE;
use stor_pure::pure::thin::cache::FRAMES_MIN;
use stor_pure::pure::thin::check::Summary;
use stor_pure::pure::thin::pool::{Options, Pool};
use stor_pure::pure::thin::reader::Reader;
use stor_pure::pure::units::{MetadataBlock, SECTOR_SIZE};

/// What a check found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Checked {
    /// Each in a sentence; of very many only the first.
    pub findings: Vec<String>,
    /// How many there are.
    pub count: u64,
    /// Devices.
    pub devices: u64,
    /// Mappings, shared ones once.
    pub mappings: u64,
    /// Data blocks in use.
    pub data_blocks: u64,
    /// Metadata blocks in use.
    pub metadata_blocks: u64,
}

/// Findings that are told.
const TOLD: usize = 1000;

/// Checks metadata that nobody is writing; or, of a pool that may be in use, what its metadata snapshot holds.
///
/// # Errors
///
/// It cannot be opened, there is not enough memory, or no metadata snapshot. Damage is no error.
pub fn check(path: &Path, held: bool, progress: &Progress) -> Result<Checked> {
    let context = || format!("cannot check {}", path.display());
    let mut store = FileStore::open(path, false).context(context)?.report(progress);
    if !held {
        expect_all(&mut store, progress);
    }
    let mut checked = Checked::default();
    let with = if held { thin::check::check_held } else { thin::check::check };
    let summary: Summary = with(&mut store, &mut |finding| {
        if checked.findings.len() < TOLD {
            checked.findings.push(finding.to_string());
        }
    })
    .map_err(failure)
    .context(context)?;
    checked.count = summary.findings;
    checked.devices = summary.devices;
    checked.mappings = summary.mappings;
    checked.data_blocks = summary.data;
    checked.metadata_blocks = summary.metadata;
    Ok(checked)
}

/// A thin device in metadata.
#[derive(Clone, Debug, Serialize)]
pub struct Device {
    /// Its id.
    pub id: u64,
    /// Mapped blocks.
    pub mapped_blocks: u64,
    /// The pool's transaction id when it was made.
    pub transaction_id: u64,
    /// The snapshot clock when it was made.
    pub creation_time: u32,
    /// The snapshot clock at its last snapshot.
    pub snapshotted_time: u32,
    /// Data blocks that only it has, which its deletion would free; not known of the devices in a metadata snapshot, or where there is
    /// damage.
    pub exclusive_blocks: Option<u64>,
    /// Data blocks that others have, too.
    pub shared_blocks: Option<u64>,
}

/// What the superblock and the device details say.
#[derive(Clone, Debug, Serialize)]
pub struct Stat {
    /// Belongs to whoever manages the pool.
    pub transaction_id: u64,
    /// The snapshot clock.
    pub time: u32,
    /// Bytes of a data block.
    pub data_block_size: u64,
    /// Data blocks, and how many are in use.
    pub data_blocks: u64,
    /// Data blocks in use.
    pub data_used: u64,
    /// Metadata blocks.
    pub metadata_blocks: u64,
    /// Metadata blocks in use.
    pub metadata_used: u64,
    /// The metadata snapshot's block.
    pub held_root: Option<u64>,
    /// A check was asked for.
    pub needs_check: bool,
    /// The devices.
    pub devices: Vec<Device>,
}

/// The counts, if they can be read.
fn usable(store: FileStore) -> Option<Pool<FileStore>> {
    // The bitmaps of the data device are looked at again and again.
    Pool::open(store, Options { frames: 1024, streams: 1, passdown: false }).ok()
}

/// Tells what is in metadata. What a device shares is found by reading all that it does not.
///
/// # Errors
///
/// It cannot be opened or read, or is damaged.
pub fn stat(path: &Path, held: bool) -> Result<Stat> {
    let context = || format!("cannot read {}", path.display());
    let store = FileStore::open(path, false).context(context)?;
    let mut reader = Reader::open(store, FRAMES_MIN, held).map_err(failure).context(context)?;
    let superblock = *reader.superblock();
    let (data, metadata) = (superblock.data_space.root, superblock.metadata_space.root);
    let mut devices = Vec::new();
    reader
        .devices(&mut |device| {
            devices.push(Device {
                id: device.id,
                mapped_blocks: device.details.mapped_blocks.get(),
                transaction_id: device.details.transaction_id.get(),
                creation_time: device.details.creation_time.get(),
                snapshotted_time: device.details.snapshotted_time.get(),
                exclusive_blocks: None,
                shared_blocks: None,
            });
            ControlFlow::Continue(())
        })
        .map_err(failure)
        .context(context)?;
    // Damage where the mappings are is no reason not to tell the rest: `check` tells of it.
    if let Some(mut pool) = (!held).then(|| FileStore::open(path, false)).transpose().context(context)?.and_then(usable)
    {
        for device in &mut devices {
            let usage = pool.usage(device.id).ok();
            device.exclusive_blocks = usage.map(|usage| usage.exclusive);
            device.shared_blocks = usage.map(|usage| usage.shared);
        }
    }
    Ok(Stat {
        transaction_id: superblock.transaction_id.get(),
        time: superblock.time.get(),
        data_block_size: u64::from(superblock.data_block_size.get()) * SECTOR_SIZE,
        data_blocks: data.blocks.get(),
        data_used: data.allocated.get(),
        metadata_blocks: metadata.blocks.get(),
        metadata_used: metadata.allocated.get(),
        held_root: Some(superblock.held_root.get()).filter(|&at| at != 0),
        needs_check: superblock.needs_check(),
        devices,
    })
}

/// All blocks in use are going to be read, once.
fn expect_all(store: &mut FileStore, progress: &Progress) {
    let mut bytes = [0; BLOCK_SIZE];
    // Whether there is a superblock is told by whoever needs it.
    if let Ok(superblock) = thin::superblock::read(store, MetadataBlock(0), &mut bytes) {
        progress.expect(superblock.metadata_space.root.allocated.get().saturating_mul(BLOCK_SIZE as u64));
    }
}

/// An error of the engine.
pub(crate) fn failure(error: thin::error::Error) -> Error {
    use thin::error::Error as Cause;
    let kind = match error {
        Cause::NoDevice(_) | Cause::NotHeld => Kind::NotFound,
        Cause::DeviceExists(_) | Cause::Held(_) => Kind::Exists,
        Cause::DeviceId(_) => Kind::Usage,
        Cause::Truncated { .. } => Kind::Unfit,
        _ => Kind::Failure,
    };
    Error::new(kind, error.what().to_string()).help(error.advice())
}
