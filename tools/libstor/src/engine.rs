// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Engines: which are loaded, and the live switch from one to another.

use crate::error::Context;
use crate::{Error, Kind, Result, Stor, Uuid};
use nix::errno::Errno;
use serde::{Serialize, Serializer};
use std::time::Duration;
use stor_pure::abi::uapi::*;
use stor_pure::pure::text;

/// A loaded engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Engine {
    /// Its version, which is also in its module's name.
    pub version: String,
    /// The ABI it speaks with the front.
    pub abi: u32,
    /// Whether new volumes start on it.
    pub active: bool,
    /// How many volumes it drives.
    pub volumes: u32,
}

/// What became of a volume in a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It runs on the new engine.
    Moved,
    /// It was not touched, or came back to the old engine.
    Stayed,
    /// Neither engine took it: its I/O fails until a switch revives it.
    Dead,
    /// It ran on the new engine before.
    Unchanged,
}

impl Outcome {
    fn from_raw(outcome: u32) -> Self {
        match outcome {
            STOR_SWITCH_MOVED => Self::Moved,
            STOR_SWITCH_DEAD => Self::Dead,
            STOR_SWITCH_UNCHANGED => Self::Unchanged,
            _ => Self::Stayed,
        }
    }

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Stayed => "stayed",
            Self::Dead => "dead",
            Self::Unchanged => "unchanged",
        }
    }
}

/// A volume's part in a switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Move {
    /// The volume's name.
    pub volume: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// What became of it; of a dry run, what would.
    pub outcome: Outcome,
    /// Why it did not move: an errno's name.
    #[serde(serialize_with = "errno_name")]
    pub error: Option<Errno>,
    /// How long its I/O was held.
    #[serde(rename = "pause_ns", serialize_with = "nanoseconds")]
    pub pause: Duration,
}

fn errno_name<S: Serializer>(errno: &Option<Errno>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    errno.map(|errno| format!("{errno:?}")).serialize(serializer)
}

fn nanoseconds<S: Serializer>(time: &Duration, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// What a switch did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Switch {
    /// The engine that was switched to.
    pub engine: String,
    /// Each volume, in order of creation.
    pub results: Vec<Move>,
    /// The pauses' median over the volumes that moved, if any did.
    #[serde(rename = "pause_median_ns")]
    pub median: Option<u64>,
    /// The longest of them.
    #[serde(rename = "pause_max_ns")]
    pub max: Option<u64>,
}

impl Switch {
    fn new(engine: &str, results: Vec<Move>) -> Self {
        let moved = results.iter().filter(|result| result.outcome == Outcome::Moved && !result.pause.is_zero());
        let mut pauses: Vec<u64> = moved.map(|result| result.pause.as_nanos() as u64).collect();
        pauses.sort_unstable();
        let lower = pauses.get(pauses.len().saturating_sub(1) / 2).copied();
        let upper = pauses.get(pauses.len() / 2).copied();
        let median = lower.zip(upper).map(|(lower, upper)| lower.midpoint(upper));
        Self { engine: engine.into(), results, median, max: pauses.last().copied() }
    }
}

impl Stor {
    /// The engines that are loaded, in order of their loading.
    pub fn engines(&self) -> Result<Vec<Engine>> {
        self.system.engine_list().context(|| "cannot list engines".into())
    }

    /// Moves every volume to another engine with I/O running. What became of each volume is told even if it fails.
    pub fn switch(&self, version: &str) -> (Switch, Result<()>) {
        let (results, answer) = match self.try_switch(version) {
            Ok((results, answer)) => (results, answer),
            Err(error) => (Vec::new(), Err(error)),
        };
        (Switch::new(version, results), answer.context(|| format!("cannot switch to engine {version}")))
    }

    fn try_switch(&self, version: &str) -> Result<(Vec<Move>, Result<()>)> {
        text::check(version.as_bytes(), STOR_VERSION_LEN as usize)
            .map_err(|why| Error::new(Kind::Usage, format!("'{version}' is not a version: it {why}")))?;
        let volumes = self.system.list()?;
        let engines = self.system.engine_list()?;
        if !engines.iter().any(|engine| engine.version == version) {
            return Err(unknown(version, &engines));
        }
        if self.dry_run {
            let would = |volume: &crate::volume::Info| Move {
                volume: volume.name.clone(),
                uuid: volume.uuid,
                outcome: if volume.engine.as_deref() == Some(version) { Outcome::Unchanged } else { Outcome::Moved },
                error: None,
                pause: Duration::ZERO,
            };
            let results = volumes.iter().map(would).collect();
            return Ok((results, Ok(())));
        }
        let (answer, results) = self.system.engine_switch(version);
        let results: Vec<Move> = results
            .into_iter()
            .map(|result| Move {
                // A volume made since the listing has no name here yet; its UUID names it too.
                volume: volumes
                    .iter()
                    .find(|v| v.uuid == result.uuid)
                    .map_or(result.uuid.to_string(), |v| v.name.clone()),
                uuid: result.uuid,
                outcome: Outcome::from_raw(result.outcome),
                error: result.error,
                pause: result.pause,
            })
            .collect();
        let answer = answer.map_err(|errno| match errno {
            Errno::ENOENT => unknown(version, &engines),
            Errno::EPERM | Errno::EPROTONOSUPPORT | Errno::ENOTTY | Errno::EINTR | Errno::ENOMEM => errno.into(),
            errno => refused(errno, &results),
        });
        Ok((results, answer))
    }
}

fn unknown(version: &str, engines: &[Engine]) -> Error {
    let loaded: Vec<_> = engines.iter().map(|engine| engine.version.as_str()).collect();
    let loaded = if loaded.is_empty() { "none is".into() } else { format!("loaded: {}", loaded.join(", ")) };
    Error::new(Kind::NotFound, format!("engine {version} is not loaded ({loaded})"))
        .help(format!("load it: modprobe stor_engine_{}", version.replace(['.', '-', '+'], "_")))
}

fn refused(errno: Errno, results: &[Move]) -> Error {
    let volume = results.iter().find(|result| result.error.is_some());
    let volume = volume.map(|result| format!(" by volume {}", result.volume)).unwrap_or_default();
    let dead = results.iter().any(|result| result.outcome == Outcome::Dead);
    let (kind, cause) = match errno {
        Errno::ETIMEDOUT => (Kind::Timeout, "a lower device did not finish its I/O in time".to_string()),
        errno => (Kind::Failure, format!("it was refused{volume}: {}", crate::error::errno_text(errno))),
    };
    let help = if dead {
        "a volume is dead and its I/O fails: switch to an engine that takes it"
    } else {
        "all volumes are back on the engines they had; see the kernel log for the reason"
    };
    Error::new(kind, cause).help(help).errno(errno)
}
