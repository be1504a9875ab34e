// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the kernel is told of a pool and of a volume in it, encoded as the control ABI wants it.

use crate::linear::Segment;
use crate::Bytes;
use serde::{Deserialize, Serialize};
use stor_pure::abi::uapi::*;
use zerocopy::{FromBytes, IntoBytes};

/// A pool's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// `STOR_POOL_NO_PASSDOWN`, `STOR_POOL_NO_ZERO`
    pub flags: u32,
    /// What the metadata is made of.
    pub metadata: Vec<Segment>,
    /// What the data is made of.
    pub data: Vec<Segment>,
    /// Bytes of a data block.
    pub data_block_size: u32,
    /// `STOR_POLICY_*`, for volumes without one.
    pub policy: u32,
    /// Seconds that a write waits for room.
    pub timeout: u32,
    /// Milliseconds between commits in the background; 0 is the kernel's own.
    pub commit_interval: u32,
    /// Bytes of free data below which there is an event.
    pub low_water: u64,
    /// Bytes that volumes without a reservation do not get.
    pub reserve: u64,
}

/// The configuration of a volume in a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thin {
    /// The id in the pool's metadata.
    pub device: u64,
    /// `STOR_POLICY_*`
    pub policy: u32,
    /// Seconds that a write waits for room, if the policy is its own.
    pub timeout: u32,
    /// Bytes of the pool that nobody else gets.
    pub reservation: u64,
}

/// Bytes of a list of segments.
pub fn length(segments: &[Segment]) -> Bytes {
    Bytes(segments.iter().fold(0, |sum, segment| sum.saturating_add(segment.length.0)))
}

impl Config {
    /// For the kernel.
    pub fn encode(&self) -> Vec<u8> {
        // More segments than a u32 counts do not fit any memory; the kernel refuses long before.
        let count = |segments: &[Segment]| u32::try_from(segments.len()).unwrap_or(u32::MAX);
        let header = stor_pool_config {
            version: STOR_POOL_CONFIG_VERSION,
            flags: self.flags,
            metadata_segments: count(&self.metadata),
            data_segments: count(&self.data),
            data_block_size: self.data_block_size,
            policy: self.policy,
            timeout: self.timeout,
            commit_interval: self.commit_interval,
            low_water: self.low_water,
            reserve: self.reserve,
        };
        let mut bytes = header.as_bytes().to_vec();
        for segment in self.metadata.iter().chain(&self.data) {
            let raw = stor_linear_segment {
                start: segment.start.0,
                length: segment.length.0,
                lower_start: segment.lower_start.0,
                lower: segment.lower,
                reserved: 0,
            };
            bytes.extend_from_slice(raw.as_bytes());
        }
        bytes
    }

    /// What the kernel says; `None` if it cannot be understood.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, mut rest) = stor_pool_config::read_from_prefix(bytes).ok()?;
        if header.version != STOR_POOL_CONFIG_VERSION {
            return None;
        }
        let mut segments = |count: u32| -> Option<Vec<Segment>> {
            let mut list = Vec::new();
            for _ in 0..count {
                let (raw, behind) = stor_linear_segment::read_from_prefix(rest).ok()?;
                rest = behind;
                list.push(Segment {
                    start: Bytes(raw.start),
                    length: Bytes(raw.length),
                    lower: raw.lower,
                    lower_start: Bytes(raw.lower_start),
                });
            }
            Some(list)
        };
        let (metadata, data) = (segments(header.metadata_segments)?, segments(header.data_segments)?);
        rest.is_empty().then_some(Self {
            flags: header.flags,
            metadata,
            data,
            data_block_size: header.data_block_size,
            policy: header.policy,
            timeout: header.timeout,
            commit_interval: header.commit_interval,
            low_water: header.low_water,
            reserve: header.reserve,
        })
    }
}

impl Thin {
    /// For the kernel.
    pub fn encode(&self) -> Vec<u8> {
        let raw = stor_thin_config {
            version: STOR_THIN_CONFIG_VERSION,
            policy: self.policy,
            device: self.device,
            reservation: self.reservation,
            timeout: self.timeout,
            reserved: 0,
        };
        raw.as_bytes().to_vec()
    }

    /// What the kernel says; `None` if it cannot be understood.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let raw = stor_thin_config::read_from_bytes(bytes).ok()?;
        let stor_thin_config { version, policy, device, reservation, timeout, .. } = raw;
        (version == STOR_THIN_CONFIG_VERSION).then_some(Self { device, policy, timeout, reservation })
    }
}
