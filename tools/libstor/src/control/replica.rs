// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What `STOR_IOC_REPLICA_STATUS` answers, 1:1 apart from types.

use crate::{Bytes, Uuid};
use serde::{Deserialize, Serialize};

/// What is known of a leg, or of the tie-break, of a replica that runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegFacts {
    /// Its UUID; nil if nobody has this place.
    pub uuid: Uuid,
    /// `STOR_LEG_*`
    pub state: u32,
    /// Which of the lowers it is, if it is there.
    pub lower: Option<u32>,
    /// Reads that failed since the volume started.
    pub read_errors: u64,
    /// Writes that failed.
    pub write_errors: u64,
    /// Reads that failed and were written anew from another leg.
    pub repaired: u64,
    /// Nanoseconds that a read took of late, on average; 0: unknown.
    #[serde(default)]
    pub read_time: u64,
    /// Likewise a write.
    #[serde(default)]
    pub write_time: u64,
}

/// How a rebuild goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuildFacts {
    /// Nanoseconds since it began; 0: there is none.
    pub time: u64,
    /// What it has copied.
    #[serde(with = "crate::linear::raw")]
    pub copied: Bytes,
    /// What it has to copy yet.
    #[serde(with = "crate::linear::raw")]
    pub left: Bytes,
    /// `STOR_REPLICA_WAITS_*`
    pub waits: u32,
    /// Nanoseconds that it has waited.
    pub waits_time: u64,
}

/// A range of a replica in which legs differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// Where it begins.
    #[serde(with = "crate::linear::raw")]
    pub start: Bytes,
    /// How long it is.
    #[serde(with = "crate::linear::raw")]
    pub length: Bytes,
    /// Slots that have something else than the first leg that was read, a bit for each.
    pub legs: u32,
    /// All have the same now.
    #[serde(default)]
    pub repaired: bool,
}

/// What is done where legs differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Nothing.
    No,
    /// All get what most of them have.
    Majority,
    /// All get what the leg in this slot has.
    From(u32),
}

/// What `STOR_IOC_REPLICA_VERIFY` answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Up to there it is compared.
    pub position: Bytes,
    /// Where legs differ.
    pub ranges: Vec<Range>,
}

/// What a replica says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaFacts {
    /// `STOR_REPLICA_RUNS`, or why it has stopped.
    pub stop: u32,
    /// Slots of the array that are to have a leg, a bit for each.
    pub slots: u32,
    /// The epoch of the membership.
    pub epoch: u64,
    /// Its lineage.
    pub lineage: Uuid,
    /// md's events counter.
    pub events: u64,
    /// What a bit of the bitmap stands for.
    #[serde(with = "crate::linear::raw")]
    pub chunk_size: Bytes,
    /// How many bits there are,
    pub chunks: u64,
    /// and how many of them are set.
    pub dirty: u64,
    /// Chunks that some leg lacks.
    pub needed: u64,
    /// What was copied to legs since the volume started.
    #[serde(with = "crate::linear::raw")]
    pub copied: Bytes,
    /// Where the rebuild is.
    #[serde(with = "crate::linear::raw")]
    pub position: Bytes,
    /// Requests that wait for the membership or the bitmap.
    pub waiting: u64,
    /// Kernel memory.
    #[serde(with = "crate::linear::raw")]
    pub memory: Bytes,
    /// The rebuild that is under way.
    #[serde(default)]
    pub rebuild: RebuildFacts,
    /// The legs by their slots; behind the last slot that there can be, the tie-break.
    pub legs: Vec<LegFacts>,
}
