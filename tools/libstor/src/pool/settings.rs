// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What can be set of a pool and of its volumes.

use super::catalog::Record;
use super::open::Open;
use super::view::PoolChange;
use crate::device::Access;
use crate::error::Context;
use crate::size::Iec;
use crate::{Bytes, Error, Kind, Result, Stor};
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use stor_pure::pure::catalog::record::{KEY_MAX, MANUAL, READ_ONLY, VALUE_MAX};
use stor_pure::pure::catalog::{Policy as Number, Settings, INTERVAL_MAX, NO_PASSDOWN, NO_ZERO};

/// What labels begin with that only Stor itself makes.
pub(crate) const OWN_LABELS: &str = "stor/";

/// What happens to a write that needs room when the pool has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// What the pool says.
    Pool,
    /// It waits, at most for the time-out.
    Queue,
    /// It fails.
    Error,
    /// It fails, and so does every later one until the volume is set writable.
    ReadOnly,
}

impl Policy {
    /// Every policy.
    pub const ALL: [Self; 4] = [Self::Pool, Self::Queue, Self::Error, Self::ReadOnly];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Queue => "queue",
            Self::Error => "error",
            Self::ReadOnly => "read-only",
        }
    }

    pub(crate) const fn number(self) -> u32 {
        self as u32
    }

    pub(crate) fn of(number: u32) -> Self {
        match Number::of(number) {
            Some(Number::Queue) => Self::Queue,
            Some(Number::Error) => Self::Error,
            Some(Number::ReadOnly) => Self::ReadOnly,
            _ => Self::Pool,
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Policy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|policy| policy.word() == text);
        found.ok_or_else(|| {
            Error::new(Kind::Usage, format!("'{text}' is no policy")).help("use queue, error or read-only")
        })
    }
}

/// Changes of a pool's settings.
#[derive(Clone, Debug, Default)]
pub struct PoolSettings {
    /// For volumes that have no policy of their own.
    pub policy: Option<Policy>,
    /// Seconds that a write waits for room; 0 for as long as it takes.
    pub timeout: Option<u32>,
    /// Free data below which there is an event.
    pub low_water: Option<Bytes>,
    /// What volumes without a reservation do not get.
    pub reserve: Option<Bytes>,
    /// Whether what is freed is discarded on the devices.
    pub passdown: Option<bool>,
    /// Whether what is not written of a new block is made zeros.
    pub zero: Option<bool>,
    /// Milliseconds between commits that nobody asks for; 0 for a second.
    pub commit_interval: Option<u32>,
}

/// Changes of a volume's settings.
#[derive(Clone, Debug, Default)]
pub struct VolumeSettings {
    /// Whether it refuses writes.
    pub read_only: Option<bool>,
    /// What happens when the pool is full.
    pub policy: Option<Policy>,
    /// Seconds that a write waits for room.
    pub timeout: Option<u32>,
    /// What of the pool nobody else gets.
    pub reservation: Option<Bytes>,
    /// Whether it is activated with its pool.
    pub auto: Option<bool>,
    /// Labels to set, each `KEY=VALUE`; `KEY=` takes one back.
    pub labels: Vec<String>,
    /// Where the external origin of a volume is now: of [`Stor::set_volume`] only.
    pub origin: Option<PathBuf>,
}

impl PoolSettings {
    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        let Self { policy, timeout, low_water, reserve, passdown, zero, commit_interval } = self;
        let sizes = low_water.is_some() || reserve.is_some();
        let switches = passdown.is_some() || zero.is_some();
        !sizes && !switches && policy.is_none() && timeout.is_none() && commit_interval.is_none()
    }

    /// Changes settings of a pool with data blocks of `block` bytes.
    pub(crate) fn apply(&self, settings: &mut Settings, block: u64) -> Result<()> {
        match self.policy {
            Some(Policy::Pool) => {
                return Err(
                    Error::new(Kind::Usage, "a pool needs a policy of its own").help("use queue, error or read-only")
                );
            }
            Some(policy) => settings.policy = policy.number().into(),
            None => {}
        }
        if let Some(timeout) = self.timeout {
            settings.timeout = timeout.into();
        }
        if let Some(size) = self.low_water {
            settings.low_water = size.0.div_ceil(block).into();
        }
        if let Some(size) = self.reserve {
            settings.reserve = size.0.div_ceil(block).into();
        }
        if let Some(interval) = self.commit_interval {
            if interval > INTERVAL_MAX {
                return Err(Error::new(Kind::Usage, format!("{interval} ms between commits are too long"))
                    .help(format!("use at most {INTERVAL_MAX}")));
            }
            settings.commit_interval = interval.into();
        }
        for (flag, on) in [(NO_PASSDOWN, self.passdown), (NO_ZERO, self.zero)] {
            let flags = settings.flags.get();
            match on {
                Some(true) => settings.flags = (flags & !flag).into(),
                Some(false) => settings.flags = (flags | flag).into(),
                None => {}
            }
        }
        Ok(())
    }
}

impl VolumeSettings {
    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.read_only.is_none() && !self.is_of_a_pool()
    }

    /// Whether something is to be changed that only a volume of a pool has.
    pub fn is_of_a_pool(&self) -> bool {
        let Self { read_only: _, policy, timeout, reservation, auto, labels, origin } = self;
        let numbers = policy.is_some() || timeout.is_some() || reservation.is_some();
        numbers || auto.is_some() || !labels.is_empty() || origin.is_some()
    }

    /// Changes a record.
    pub(crate) fn apply(&self, record: &mut Record) -> Result<()> {
        if let Some(read_only) = self.read_only {
            record.set(READ_ONLY, read_only);
        }
        if let Some(policy) = self.policy {
            record.fixed.policy = policy.number().into();
        }
        if let Some(timeout) = self.timeout {
            if Policy::of(record.fixed.policy.get()) != Policy::Queue {
                return Err(Error::new(Kind::Usage, "a time-out is of use with policy queue only")
                    .help("give --policy queue, too"));
            }
            record.fixed.timeout = timeout.into();
        }
        if let Some(size) = self.reservation {
            record.fixed.reservation = size.0.into();
        }
        if let Some(auto) = self.auto {
            record.set(MANUAL, !auto);
        }
        for label in &self.labels {
            let (key, value) = label.split_once('=').ok_or_else(|| {
                Error::new(Kind::Usage, format!("'{label}' is no label"))
                    .help("write KEY=VALUE, or KEY= to take it back")
            })?;
            check_label(key, value)?;
            if value.is_empty() {
                record.labels.remove(key);
            } else {
                record.labels.insert(key.into(), value.into());
            }
        }
        Ok(())
    }
}

fn check_label(key: &str, value: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/' | '+' | '-');
    let first = key.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !first || key.len() > KEY_MAX || !key.chars().all(allowed) {
        return Err(Error::new(Kind::Usage, format!("'{key}' is no key of a label"))
            .help(format!("use 1 to {KEY_MAX} letters, digits and . _ / + -, a letter or digit first")));
    }
    if key.starts_with(OWN_LABELS) {
        return Err(Error::new(Kind::Usage, format!("labels that begin with {OWN_LABELS} are Stor's own")));
    }
    if value.len() > VALUE_MAX || value.chars().any(char::is_control) {
        return Err(Error::new(Kind::Usage, format!("the value of label {key} cannot be"))
            .help(format!("use up to {VALUE_MAX} bytes without control characters")));
    }
    Ok(())
}

/// Refuses to reserve more than there is.
pub(crate) fn check_room(open: &Open<'_>, next: &super::catalog::Catalog) -> Result<()> {
    let block = open.data_block();
    let data = open.segments(stor_pure::pure::label::Area::Data).map(|data| super::config::length(&data).0)?;
    let reserved = next.records.values().filter(|record| !record.fixed.is_deleting());
    let reserved = reserved.fold(0u64, |sum, record| sum.saturating_add(record.fixed.reservation.get()));
    let all = reserved.saturating_add(next.settings.reserve.get().saturating_mul(block));
    if all > data {
        let (all, data) = (Iec(Bytes(all)), Iec(Bytes(data)));
        return Err(Error::new(Kind::Unfit, format!("{all} would be reserved, and the pool has {data}"))
            .help("reserve less, or extend the pool"));
    }
    if next.settings.low_water.get().saturating_mul(block) > data {
        return Err(Error::new(Kind::Usage, "the low-water mark is above the size of the pool"));
    }
    Ok(())
}

impl Stor {
    /// Changes settings of a pool.
    pub fn set_pool(&self, name: &str, settings: &PoolSettings) -> Result<PoolChange> {
        let set = || -> Result<PoolChange> {
            let mut open = self.open_pool(name, &[], Access::Claim)?;
            let mut next = open.catalog.clone();
            settings.apply(&mut next.settings, open.data_block())?;
            check_room(&open, &next)?;
            if next == open.catalog {
                return open.changed(false, format!("pool {} is set so already", open.name));
            }
            if self.dry_run {
                return open.changed(true, format!("pool {} would be changed", open.name));
            }
            open.change_alone(next)?;
            if open.status.is_some() {
                open.reload()?;
            }
            open.changed(true, format!("pool {} changed", open.name))
        };
        set().context(|| format!("cannot change pool {name}"))
    }
}
