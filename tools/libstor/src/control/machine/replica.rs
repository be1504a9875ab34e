// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What this machine's kernel says of a replica.

use super::header;
use crate::control::replica::{LegFacts, Range, RebuildFacts, Repair, ReplicaFacts, Verified};
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
        read_time: raw.read_time,
        write_time: raw.write_time,
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
        rebuild: RebuildFacts {
            time: raw.rebuild_time,
            copied: Bytes(raw.rebuild_copied),
            left: Bytes(raw.rebuild_left),
            waits: raw.waits,
            waits_time: raw.waits_time,
        },
        legs: raw.leg.iter().map(leg).collect(),
    })
}

pub(super) fn verify(control: &File, uuid: Uuid, (start, end): (Bytes, Bytes), repair: Repair) -> Answer<Verified> {
    let mut argument = stor_replica_verify {
        header: header::<stor_replica_verify>(if repair == Repair::No { 0 } else { STOR_VERIFY_REPAIR }),
        uuid: uuid.into_bytes(),
        start: start.0,
        end: end.0,
        source: if let Repair::From(slot) = repair { slot } else { STOR_REPLICA_ANY },
        ..FromZeros::new_zeroed()
    };
    sys::replica_verify(control, &mut argument)?;
    let range = |raw: &stor_replica_range| Range {
        start: Bytes(raw.start),
        length: Bytes(raw.length),
        legs: raw.legs,
        repaired: raw.repaired != 0,
    };
    let ranges = argument.range.iter().take(argument.count as usize).map(range).collect();
    Ok(Verified { position: Bytes(argument.start), ranges })
}
