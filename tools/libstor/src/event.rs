// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Events: what happens to volumes and engines, as it happens.

use crate::control::Events;
use crate::device::Number;
use crate::error::Context;
use crate::replica::stop_word;
use crate::{Bytes, Result, Stor, Uuid};
use nix::errno::Errno;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::time::Duration;
use stor_pure::abi::uapi::*;

/// In place of a slot.
const TIE_BREAK: u64 = STOR_MAX_LEGS as u64;

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Counts events; a gap is a [`STOR_EVENT_LOST`].
    pub sequence: u64,
    /// Nanoseconds since boot.
    pub time: u64,
    /// `STOR_EVENT_*`
    pub kind: u32,
    /// What it means depends on the kind.
    pub value: u64,
    /// The volume; none for an engine's events.
    pub uuid: Option<Uuid>,
    /// The volume's name, or the engine's version.
    pub name: String,
}

/// What an event's value means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    None,
    /// The volume's size.
    Size(Bytes),
    /// Whether the volume is read-only now.
    ReadOnly(bool),
    /// How long its I/O was held.
    Pause(Duration),
    /// Why.
    Errno(Errno),
    /// The device.
    Lower(Number),
    /// How many errors since the last such event.
    Errors(u64),
    /// How many events were lost.
    Lost(u64),
    /// The mode that a pool is in now.
    Mode(&'static str),
    /// Data that a pool has free.
    Free(Bytes),
    /// A device of a pool, by its id.
    Device(u64),
    /// A leg of a replica, by its slot.
    Slot(u64),
    /// The tie-break of a replica.
    TieBreak,
    /// Why a replica has stopped.
    Stop(&'static str),
    /// A kind that this version does not know.
    Unknown(u64),
}

/// The word for a mode of a pool.
pub const fn mode_word(mode: u64) -> &'static str {
    match mode {
        0 => "write",
        1 => "data-full",
        2 => "metadata-full",
        3 => "read-only",
        4 => "failed",
        _ => "unknown",
    }
}
const _: () = assert!(STOR_POOL_WRITE == 0 && STOR_POOL_DATA_FULL == 1 && STOR_POOL_METADATA_FULL == 2);
const _: () = assert!(STOR_POOL_STUCK == 3 && STOR_POOL_FAILED == 4);

impl Event {
    /// The kind's word.
    pub const fn word(&self) -> &'static str {
        match self.kind {
            STOR_EVENT_LOST => "lost",
            STOR_EVENT_CREATED => "created",
            STOR_EVENT_REMOVED => "removed",
            STOR_EVENT_SUSPENDED => "suspended",
            STOR_EVENT_RESUMED => "resumed",
            STOR_EVENT_RELOADED => "reloaded",
            STOR_EVENT_RENAMED => "renamed",
            STOR_EVENT_READ_ONLY => "read-only",
            STOR_EVENT_ENGINE_ADDED => "engine-added",
            STOR_EVENT_ENGINE_REMOVED => "engine-removed",
            STOR_EVENT_SWITCHED => "switched",
            STOR_EVENT_SWITCH_FAILED => "switch-failed",
            STOR_EVENT_DEAD => "dead",
            STOR_EVENT_LOWER_GONE => "lower-gone",
            STOR_EVENT_IO_ERROR => "io-error",
            STOR_EVENT_POOL_CREATED => "pool-created",
            STOR_EVENT_POOL_REMOVED => "pool-removed",
            STOR_EVENT_POOL_RELOADED => "pool-reloaded",
            STOR_EVENT_POOL_MODE => "pool-mode",
            STOR_EVENT_POOL_LOW_WATER => "pool-low-water",
            STOR_EVENT_POOL_DELETED => "pool-deleted",
            STOR_EVENT_POOL_NO_ROOM => "pool-no-room",
            STOR_EVENT_LEG_FAILED => "leg-failed",
            STOR_EVENT_LEG_JOINED => "leg-joined",
            STOR_EVENT_LEG_ENTITLED => "leg-entitled",
            STOR_EVENT_REPLICA_STOPPED => "replica-stopped",
            STOR_EVENT_LEG_SLOW => "leg-slow",
            STOR_EVENT_LEG_SILENT => "leg-silent",
            _ => "unknown",
        }
    }

    /// What its value means.
    pub fn value(&self) -> Value {
        match self.kind {
            STOR_EVENT_CREATED | STOR_EVENT_RELOADED => Value::Size(Bytes(self.value)),
            STOR_EVENT_READ_ONLY => Value::ReadOnly(self.value != 0),
            STOR_EVENT_SWITCHED => Value::Pause(Duration::from_nanos(self.value)),
            STOR_EVENT_SWITCH_FAILED | STOR_EVENT_DEAD => {
                Value::Errno(Errno::from_raw(i32::try_from(self.value).unwrap_or_default()))
            }
            STOR_EVENT_LOWER_GONE => {
                let [major, minor] = [self.value >> 32, self.value].map(|half| half as u32);
                Value::Lower(Number { major, minor })
            }
            STOR_EVENT_IO_ERROR => Value::Errors(self.value),
            STOR_EVENT_LOST => Value::Lost(self.value),
            STOR_EVENT_POOL_MODE => Value::Mode(mode_word(self.value)),
            STOR_EVENT_POOL_LOW_WATER => Value::Free(Bytes(self.value)),
            STOR_EVENT_POOL_DELETED | STOR_EVENT_POOL_NO_ROOM => Value::Device(self.value),
            STOR_EVENT_LEG_FAILED
            | STOR_EVENT_LEG_JOINED
            | STOR_EVENT_LEG_ENTITLED
            | STOR_EVENT_LEG_SLOW
            | STOR_EVENT_LEG_SILENT => match self.value {
                TIE_BREAK => Value::TieBreak,
                slot => Value::Slot(slot),
            },
            STOR_EVENT_REPLICA_STOPPED => Value::Stop(stop_word(self.value).unwrap_or("unknown")),
            STOR_EVENT_REMOVED
            | STOR_EVENT_POOL_CREATED
            | STOR_EVENT_POOL_REMOVED
            | STOR_EVENT_POOL_RELOADED
            | STOR_EVENT_SUSPENDED
            | STOR_EVENT_RESUMED
            | STOR_EVENT_RENAMED
            | STOR_EVENT_ENGINE_ADDED
            | STOR_EVENT_ENGINE_REMOVED => Value::None,
            _ => Value::Unknown(self.value),
        }
    }

    /// The engine it is about, if it is about one.
    pub fn engine(&self) -> Option<&str> {
        matches!(self.kind, STOR_EVENT_ENGINE_ADDED | STOR_EVENT_ENGINE_REMOVED).then_some(&self.name)
    }

    /// Whether it is about a pool.
    pub const fn is_of_pool(&self) -> bool {
        matches!(self.kind, STOR_EVENT_POOL_CREATED..=STOR_EVENT_POOL_NO_ROOM)
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("sequence", &self.sequence)?;
        map.serialize_entry("time_ns", &self.time)?;
        map.serialize_entry("type", self.word())?;
        if let Some(engine) = self.engine() {
            map.serialize_entry("engine", engine)?;
        } else if let Some(uuid) = &self.uuid {
            map.serialize_entry(if self.is_of_pool() { "pool" } else { "volume" }, &self.name)?;
            map.serialize_entry("uuid", uuid)?;
        }
        match self.value() {
            Value::None => {}
            Value::Size(size) => map.serialize_entry("size", &size.0)?,
            Value::ReadOnly(read_only) => map.serialize_entry("read_only", &read_only)?,
            Value::Pause(pause) => map.serialize_entry("pause_ns", &(pause.as_nanos() as u64))?,
            Value::Errno(errno) => map.serialize_entry("error", &format!("{errno:?}"))?,
            Value::Lower(number) => map.serialize_entry("device", &number.to_string())?,
            Value::Errors(count) => map.serialize_entry("errors", &count)?,
            Value::Lost(count) => map.serialize_entry("lost", &count)?,
            Value::Mode(word) => map.serialize_entry("mode", word)?,
            Value::Free(size) => map.serialize_entry("free", &size.0)?,
            Value::Device(id) => map.serialize_entry("device_id", &id)?,
            Value::Slot(slot) => map.serialize_entry("slot", &slot)?,
            Value::TieBreak => map.serialize_entry("tie_break", &true)?,
            Value::Stop(word) => map.serialize_entry("stopped", word)?,
            Value::Unknown(value) => {
                map.serialize_entry("number", &self.kind)?;
                map.serialize_entry("value", &value)?;
            }
        }
        map.end()
    }
}

impl Stor {
    /// Opens the stream of events that come from now on.
    pub fn events(&self) -> Result<Box<dyn Events + '_>> {
        self.system.events().context(|| "cannot read events".into())
    }
}
