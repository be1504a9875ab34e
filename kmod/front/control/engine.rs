// SPDX-License-Identifier: GPL-2.0

//! The ioctls of engines.

use super::{check_text, write_array, Call};
use crate::abi::engine::ENGINE_ABI;
use crate::abi::uapi;
use crate::front::{switch as switching, Front};
use kernel::prelude::*;
use zerocopy::FromZeros;

pub(super) fn list(front: &'static Front, call: &Call) -> Result {
    let mut argument = call.admin::<uapi::stor_engine_list>(0)?;
    let mut rows = KVec::new();
    for row in front.lock().engine_rows() {
        let info = uapi::stor_engine_info {
            version: row.version,
            abi: ENGINE_ABI,
            state: if row.active { uapi::STOR_ENGINE_ACTIVE } else { 0 },
            volumes: row.volumes,
            reserved: 0,
        };
        rows.push(info, GFP_KERNEL)?;
    }
    argument.count = rows.len() as u32;
    write_array(argument.entries, argument.capacity, &rows)?;
    call.write(&argument)
}

pub(super) fn switch(front: &'static Front, call: &Call) -> Result {
    let mut argument = call.admin::<uapi::stor_engine_switch>(0)?;
    check_text(&argument.version)?;
    // What came of it must have a place to go before anything is moved: a call that answers EFAULT has changed nothing.
    let mut blank = KVec::new();
    for _ in front.lock().volumes() {
        blank.push(<uapi::stor_switch_result as FromZeros>::new_zeroed(), GFP_KERNEL)?;
    }
    write_array(argument.results, argument.capacity, &blank)?;
    call.write(&argument)?;
    let outcome = switching::switch(&mut front.lock(), argument.version)?;
    argument.count = outcome.results.len() as u32;
    write_array(argument.results, argument.capacity, &outcome.results)?;
    call.write(&argument)?;
    outcome.result
}
