// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Pools as they are shown: what is told of them, and of what they wait for.

use super::catalog::Catalog;
use super::config;
use super::open::Open;
use super::settings::Policy;
use crate::control::mapper::ENGINE;
use crate::control::pool::PoolFacts;
use crate::error::Context;
use crate::size::bytes;
use crate::volume::{reason, state_words, Wait};
use crate::{Bytes, Result, Uuid};
use nix::errno::Errno;
use serde::Serialize;
use std::path::PathBuf;
use stor_pure::abi::uapi::*;
use stor_pure::pure::label::{self, DATA, METADATA};
use stor_pure::pure::thin::block::BLOCK_SIZE;
use stor_pure::pure::thin::superblock;
use stor_pure::pure::units::MetadataBlock;

/// A device of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceView {
    /// Its path.
    pub path: PathBuf,
    /// Its UUID, which its label has.
    pub uuid: Uuid,
    /// What the pool uses of it.
    #[serde(serialize_with = "bytes")]
    pub size: Bytes,
    /// `metadata`, `data` or `both`.
    pub role: &'static str,
}

/// A pool, as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PoolView {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// Words; none for a pool that is active and just works.
    pub state: Vec<&'static str>,
    /// Who serves it, if it is active: `stor`, or `device-mapper`.
    pub served_by: Option<&'static str>,
    /// Size of a data block.
    #[serde(serialize_with = "bytes")]
    pub data_block_size: Bytes,
    /// Room for data.
    #[serde(serialize_with = "bytes")]
    pub data_size: Bytes,
    /// How much of it is used.
    #[serde(serialize_with = "bytes")]
    pub data_used: Bytes,
    /// Room for metadata.
    #[serde(serialize_with = "bytes")]
    pub metadata_size: Bytes,
    /// How much of it is used.
    #[serde(serialize_with = "bytes")]
    pub metadata_used: Bytes,
    /// The sizes of all volumes together; those of snapshots are not in it.
    #[serde(serialize_with = "bytes")]
    pub virtual_size: Bytes,
    /// Volumes.
    pub volumes: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Its devices that were found.
    pub devices: Vec<DeviceView>,
    /// What is wrong with it.
    pub problem: Option<String>,
}

/// Everything about a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PoolDetail {
    /// What a listing shows.
    #[serde(flatten)]
    pub view: PoolView,
    /// For volumes that have no policy of their own.
    pub policy: Policy,
    /// Seconds that a write waits for room; 0 for as long as it takes.
    pub timeout_s: u32,
    /// Free data below which there is an event.
    #[serde(serialize_with = "bytes")]
    pub low_water: Bytes,
    /// What volumes without a reservation do not get.
    #[serde(serialize_with = "bytes")]
    pub reserve: Bytes,
    /// The reservations of all volumes.
    #[serde(serialize_with = "bytes")]
    pub reserved: Bytes,
    /// Whether what is freed is discarded on the devices.
    pub passdown: bool,
    /// Whether what is not written of a new block is made zeros.
    pub zero: bool,
    /// Milliseconds between commits that nobody asks for.
    pub commit_interval_ms: u32,
    /// The transaction id.
    pub transaction: u64,
    /// Devices whose deletion has not ended.
    pub deleting: u64,
    /// The machine that has it open, by its id.
    pub owner: Option<String>,
    /// What is known of an active pool only.
    pub active: Option<ActiveView>,
    /// How fast it fills, if that was measured.
    pub growth: Option<Growth>,
}

/// What is known of an active pool only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActiveView {
    /// The engine that drives it.
    pub engine: Option<String>,
    /// How many of its volumes are active.
    pub volumes: u32,
    /// Snapshots that can still be taken.
    pub snapshots_left: u64,
    /// Room for metadata that only deletions and commits may use.
    #[serde(serialize_with = "bytes")]
    pub metadata_reserve: Bytes,
    /// Bytes of kernel memory.
    #[serde(serialize_with = "bytes")]
    pub memory: Bytes,
    /// Commits since it was activated.
    pub commits: u64,
    /// Requests that wait for the pool,
    pub waiting: u64,
    /// and what the first waits for.
    pub wait: Option<Wait>,
    /// The error that made it read-only: an errno's name.
    pub last_error: Option<String>,
}

/// How fast a pool fills.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Growth {
    /// How long was measured.
    pub over_ns: u64,
    /// What was used more then.
    #[serde(serialize_with = "bytes")]
    pub grown: Bytes,
    /// When the pool will be full if it goes on like that.
    pub full_in_s: Option<u64>,
}

/// What an operation did to a pool, or in a dry run would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PoolChange {
    /// Whether anything changed.
    pub changed: bool,
    /// Whether it was only tried.
    pub dry_run: bool,
    /// The pool after the change; none if it is gone or would be created.
    pub pool: Option<PoolView>,
    /// What changed, as a sentence.
    pub text: String,
}

/// A device with a label, or with one that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The device.
    pub path: PathBuf,
    /// The pool's name and UUID, if the label can be used.
    pub pool: Option<String>,
    /// The pool's UUID.
    pub pool_uuid: Option<Uuid>,
    /// Which of the pool's devices it is, from 0 on.
    pub index: Option<u32>,
    /// `metadata`, `data` or `both`.
    pub role: Option<&'static str>,
    /// What the pool uses of it.
    pub size: Option<u64>,
    /// Words as those of the pool.
    pub state: Vec<&'static str>,
    /// What is wrong with it, or with its pool.
    pub problem: Option<String>,
}

/// Something that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// `pool` or `volume`.
    pub kind: &'static str,
    /// Its name; `POOL/VOLUME` for a volume of a pool.
    pub name: String,
    /// Who serves it: `stor`, or `device-mapper`.
    pub served_by: &'static str,
    /// What for and since when; `null` if it waits for nothing.
    pub wait: Option<Wait>,
    /// What else keeps it from working.
    pub state: Vec<&'static str>,
    /// The last error that it gave: an errno's name.
    pub last_error: Option<String>,
}

pub(super) fn role(role: u32) -> &'static str {
    match role {
        METADATA => "metadata",
        DATA => "data",
        _ => "both",
    }
}

/// Who serves what this engine drives, or none does: Stor's modules, or device-mapper.
pub(crate) fn served_by(engine: Option<&str>) -> &'static str {
    match engine {
        Some(ENGINE) => ENGINE,
        _ => "stor",
    }
}

/// The words for what a pool's target says.
pub(super) fn facts_words(facts: &PoolFacts) -> Vec<&'static str> {
    let mode = match facts.mode {
        STOR_POOL_WRITE => None,
        STOR_POOL_DATA_FULL => Some("data-full"),
        STOR_POOL_METADATA_FULL => Some("metadata-full"),
        STOR_POOL_FAILED => Some("failed"),
        _ => Some("read-only"),
    };
    let check = (facts.flags & STOR_POOL_NEEDS_CHECK != 0).then_some("needs-check");
    mode.into_iter().chain(check).collect()
}

pub(crate) fn errno_name(errno: i32) -> Option<String> {
    (errno != 0).then(|| format!("{:?}", Errno::from_raw(errno)))
}

pub(super) fn wait_of(facts: &PoolFacts, now: u64) -> Option<Wait> {
    let since = Some(facts.wait_since).filter(|&since| since != 0);
    let reason = reason(facts.wait)?;
    Some(Wait { reason, since_ns: since, for_ns: since.map(|since| now.saturating_sub(since)) })
}

/// Sizes and numbers of volumes and snapshots.
fn count(catalog: &Catalog) -> (Bytes, u64, u64) {
    let named = || catalog.records.values().filter(|record| !record.name.is_empty());
    let volumes = || named().filter(|record| !record.is_snapshot());
    let size = volumes().fold(0u64, |sum, record| sum.saturating_add(record.fixed.size.get()));
    (Bytes(size), volumes().count() as u64, named().filter(|record| record.is_snapshot()).count() as u64)
}

impl Open<'_> {
    /// The pool as a listing shows it.
    pub(crate) fn view(&self) -> PoolView {
        let mut view = self.outline();
        let (size, volumes, snapshots) = count(&self.catalog);
        (view.virtual_size, view.volumes, view.snapshots) = (size, volumes, snapshots);
        view
    }

    /// The pool without what only its catalog knows.
    pub(super) fn outline(&self) -> PoolView {
        let length = |area| self.segments(area).map(|segments| config::length(&segments)).unwrap_or_default();
        let mut view = blank(self.name.clone(), self.uuid);
        view.data_block_size = Bytes(self.data_block());
        (view.data_size, view.metadata_size) = (length(label::Area::Data), length(label::Area::Metadata));
        view.devices = self
            .devices
            .iter()
            .zip(&self.members)
            .map(|(device, member)| device_view(device.path.clone(), &member.seen.label))
            .collect();
        let alive = self.status.as_ref().filter(|status| status.info.engine.is_some());
        match (alive, &self.status) {
            (Some(status), _) => {
                let facts = &status.facts;
                view.state = facts_words(facts);
                (view.data_used, view.metadata_used) = (facts.data_used, facts.metadata_used);
                (view.data_size, view.metadata_size) = (facts.data_size, facts.metadata_size);
            }
            (None, Some(_)) => {}
            (None, None) => view.state.push("inactive"),
        }
        view.served_by = self.status.as_ref().map(|status| served_by(status.info.engine.as_deref()));
        if let Some(status) = &self.status {
            let words = state_words(status.info.state).filter(|word| !view.state.contains(word));
            view.state = words.chain(view.state.iter().copied()).collect();
        }
        if alive.is_none() {
            match self.used() {
                Ok((data, metadata, needs_check)) => {
                    (view.data_used, view.metadata_used) = (data, metadata);
                    view.state.extend(needs_check.then_some("needs-check"));
                }
                Err(error) => view.problem = Some(error.to_string()),
            }
        }
        view
    }

    /// What the superblock says is used of data and metadata, and whether a check was asked for.
    fn used(&self) -> Result<(Bytes, Bytes, bool)> {
        let mut block = [0; BLOCK_SIZE];
        let superblock = superblock::read(&mut self.area(label::Area::Metadata)?, MetadataBlock(0), &mut block);
        let superblock =
            superblock.map_err(crate::metadata::failure).context(|| "the metadata cannot be used".into())?;
        let data = superblock.data_space.root.allocated.get().saturating_mul(self.data_block());
        let metadata = superblock.metadata_space.root.allocated.get().saturating_mul(BLOCK_SIZE as u64);
        Ok((Bytes(data), Bytes(metadata), superblock.needs_check()))
    }

    /// What an operation on this pool answers.
    pub(crate) fn changed(&self, changed: bool, text: String) -> Result<PoolChange> {
        Ok(PoolChange { changed, dry_run: self.stor.dry_run, pool: Some(self.view()), text })
    }
}

pub(super) fn blank(name: String, uuid: Uuid) -> PoolView {
    PoolView {
        name,
        uuid,
        state: Vec::new(),
        served_by: None,
        data_block_size: Bytes(0),
        data_size: Bytes(0),
        data_used: Bytes(0),
        metadata_size: Bytes(0),
        metadata_used: Bytes(0),
        virtual_size: Bytes(0),
        volumes: 0,
        snapshots: 0,
        devices: Vec::new(),
        problem: None,
    }
}

pub(super) fn device_view(path: PathBuf, label: &label::Label) -> DeviceView {
    DeviceView {
        path,
        uuid: Uuid::from_bytes(label.device),
        size: Bytes(label.size.get()),
        role: role(label.role.get()),
    }
}
