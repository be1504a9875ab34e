// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What this machine's kernel says of a replica.

use super::header;
use crate::control::replica::{LegFacts, ReplicaFacts};
use crate::control::{sys, Answer};
use crate::{Bytes, Uuid};
use std::fs::File;
use stor_pure::abi::uapi::*;
use zerocopy::FromZeros;

fn leg(raw: &stor_replica_leg) -> LegFacts {
    LegFacts {
        uuid: Uuid::from_bytes(raw.uuid),
        state: raw.state,
        lower: Some(raw.lower).filter(|&lower| lower != STOR_REPLICA_ANY),
        read_errors: raw.read_errors,
        write_errors: raw.write_errors,
        repaired: raw.repaired,
    }
}

pub(super) fn status(control: &File, uuid: Uuid) -> Answer<ReplicaFacts> {
    let mut argument = stor_replica_status {
        header: header::<stor_replica_status>(0),
        uuid: uuid.into_bytes(),
        ..FromZeros::new_zeroed()
    };
    sys::replica_status(control, &mut argument)?;
    let raw = &argument.facts;
    Ok(ReplicaFacts {
        stop: raw.stop,
        slots: raw.slots,
        epoch: raw.epoch,
        lineage: Uuid::from_bytes(raw.lineage),
        events: raw.events,
        chunk_size: Bytes(raw.chunk_size),
        chunks: raw.chunks,
        dirty: raw.dirty,
        needed: raw.needed,
        copied: Bytes(raw.copied),
        position: Bytes(raw.position),
        waiting: raw.waiting,
        memory: Bytes(raw.memory),
        legs: raw.leg.iter().map(leg).collect(),
    })
}
