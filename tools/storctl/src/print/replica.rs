// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Answers about replicas.

use super::Printer;
use crate::table::{self, Align::*};
use libstor::linear::exact;
use libstor::replica::{
    waits_for, Comparison, Difference, FoundLeg, LegView, Md, Rebuild, ReplicaChange, ReplicaView, Running,
};
use libstor::reservation::ReservationView;
use libstor::size::Iec;
use libstor::{Bytes, Uuid};
use serde::Serialize;
use std::io;
use std::path::Path;

/// Its state, with how far a rebuild is.
fn state(replica: &ReplicaView) -> String {
    let running = replica.running.as_ref().and_then(|running| running.rebuilt_percent);
    let percent = running.or(replica.md.as_ref().and_then(|md| md.rebuilt_percent));
    let word = |word: &&str| match (*word, percent) {
        ("rebuilding", Some(percent)) => format!("rebuilding {percent}%"),
        (word, _) => word.to_string(),
    };
    if replica.state.is_empty() {
        return "running".into();
    }
    replica.state.iter().map(word).collect::<Vec<_>>().join(",")
}

/// Why it has stopped, and what to do.
fn stopped(word: &str) -> &str {
    match word {
        "quorum" => "too few of those who vote could be told of a change: writes fail, reads go on. Bring them back, and assemble it again",
        "no-leg" => "the last leg that has all of the data failed: bring it back, and assemble it again",
        "end" => "the membership was changed as often as it can be: copy it to a new replica",
        other => other,
    }
}

/// A leg's state, and what else is to be known of it.
fn leg_state(leg: &LegView) -> String {
    let words = [("write-mostly", leg.write_mostly), ("slow", leg.slow), ("silent", leg.silent)];
    let more = words.iter().filter(|(_, is)| *is).map(|(word, _)| *word);
    std::iter::once(leg.state).chain(more).collect::<Vec<_>>().join(",")
}

/// How a rebuild goes.
fn progress(rebuild: &Rebuild) -> String {
    let (copied, left) = (Iec(rebuild.copied), Iec(rebuild.left));
    let mut text = format!("{copied} copied, {left} to go");
    if let Some(seconds) = rebuild.seconds_left {
        text += &format!(", {} a second, {} left", Iec(Bytes(rebuild.rate)), time(seconds));
    }
    if let Some(word) = rebuild.waits.filter(|_| rebuild.waits_seconds >= 10) {
        text += &format!("; it has waited for {}: {}", time(rebuild.waits_seconds), waits_for(word));
    }
    text
}

/// Seconds as people say them.
fn time(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

/// Microseconds, or milliseconds.
fn latency(microseconds: Option<u64>) -> String {
    match microseconds {
        None => "-".into(),
        Some(us @ 0..10_000) => format!("{us} µs"),
        Some(us) => format!("{} ms", us / 1000),
    }
}

/// Its node.
fn device(replica: &ReplicaView) -> String {
    let running = replica.running.as_ref().map(|running| running.device.clone());
    let md = || replica.md.as_ref().filter(|_| replica.served_by.is_some()).map(|md| md.device.display().to_string());
    running.or_else(md).unwrap_or("-".into())
}

/// Who serves it.
fn by(replica: &ReplicaView) -> Option<String> {
    match (replica.served_by, &replica.md) {
        (Some(by), Some(md)) => Some(format!("{by} ({})", md.name)),
        (by, _) => by.map(Into::into),
    }
}

fn md_facts(md: &Md) -> Vec<(&'static str, String)> {
    vec![("device", md.device.display().to_string()), ("md says", format!("{}, {}", md.state, md.action))]
}

fn slot(leg: &LegView) -> String {
    leg.slot.map_or("tie-break".into(), |slot| slot.to_string())
}

fn path(path: Option<&Path>) -> String {
    path.map_or("-".into(), |path| path.display().to_string())
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.into()
}

fn dash(value: Option<impl ToString>) -> String {
    value.map_or("-".into(), |value| value.to_string())
}

/// Enough of a lineage to tell it from others.
fn short(lineage: Uuid) -> String {
    lineage.simple().to_string().chars().take(8).collect()
}

fn members(replica: &ReplicaView) -> impl Iterator<Item = &LegView> {
    replica.legs.iter().chain(&replica.tie_break)
}

fn running_facts(replica: &ReplicaView, running: &Running) -> Vec<(&'static str, String)> {
    let mut rate = match running.resync_rate {
        0 => "as fast as it can".into(),
        rate => format!("at most {} a second", Iec(Bytes(rate))),
    };
    rate +=
        &running.resync_latency_ms.map(|limit| format!(", less while I/O takes over {limit} ms")).unwrap_or_default();
    let chunk = Iec(running.chunk_size);
    let mut facts = vec![
        ("device", running.device.clone()),
        ("engine", running.engine.clone().unwrap_or("none: all I/O fails until 'storctl engine switch'".into())),
        ("open", running.open_count.to_string()),
        ("epoch", format!("{} of lineage {}", running.epoch, short(running.lineage))),
        ("events", running.events.to_string()),
        (
            "bitmap",
            format!("{} of {} chunks of {chunk} dirty, {} needed", running.dirty, running.chunks, running.needed),
        ),
        ("copied", Iec(running.copied).to_string()),
        ("rebuild", rate),
        (
            "slow legs",
            match (running.slow_ms, running.drop_slow) {
                (None, false) => "none is called slow".into(),
                (None, true) => "none is called slow; one that does not answer is given up".into(),
                (Some(limit), drop) => {
                    format!("writes over {limit} ms: {}", if drop { "given up" } else { "reported" })
                }
            },
        ),
        (
            "reads from",
            running.prefer.as_ref().map_or("any leg".into(), |leg| format!("{} if possible", leg.display())),
        ),
        ("waiting", format!("{} requests", running.waiting)),
        ("memory", Iec(running.memory).to_string()),
    ];
    facts.extend(running.rebuild.as_ref().map(|rebuild| ("progress", progress(rebuild))));
    facts.extend(running.stopped.map(|word| ("stopped", stopped(word).into())));
    facts.extend(replica.problem.clone().map(|problem| ("problem", problem)));
    facts
}

impl Printer<'_> {
    pub(crate) fn replicas(&mut self, replicas: &[ReplicaView]) -> io::Result<()> {
        if self.json {
            return self.replica_list(replicas);
        }
        let heads = [
            ("NAME", Left),
            ("DEVICE", Left),
            ("BY", Left),
            ("SIZE", Right),
            ("STATE", Left),
            ("IN SYNC", Left),
            ("LEGS", Left),
        ];
        let row = |replica: &ReplicaView| {
            let synced = replica.legs.iter().filter(|leg| leg.state == "in-sync").count();
            let devices: Vec<_> = replica.legs.iter().map(|leg| path(leg.device.as_deref())).collect();
            [
                replica.name.clone(),
                device(replica),
                by(replica).unwrap_or("-".into()),
                Iec(replica.size).to_string(),
                state(replica),
                format!("{synced} of {}", replica.legs.len()),
                devices.join(","),
            ]
        };
        table::write(self.out, heads, &replicas.iter().map(row).collect::<Vec<_>>())?;
        for replica in replicas {
            if let Some(problem) = &replica.problem {
                writeln!(self.out, "replica {}: {problem}", replica.name)?;
            }
        }
        Ok(())
    }

    fn replica_list(&mut self, replicas: &[ReplicaView]) -> io::Result<()> {
        #[derive(Serialize)]
        struct Replicas<'a> {
            replicas: &'a [ReplicaView],
        }
        self.document(Replicas { replicas })
    }

    pub(crate) fn replica(&mut self, replica: &ReplicaView) -> io::Result<()> {
        #[derive(Serialize)]
        struct Replica<'a> {
            replica: &'a ReplicaView,
        }
        if self.json {
            return self.document(Replica { replica });
        }
        let mut facts = vec![
            ("name", replica.name.clone()),
            ("uuid", replica.uuid.to_string()),
            ("size", exact(replica.size)),
            ("state", state(replica)),
            ("served by", by(replica).unwrap_or("nobody".into())),
        ];
        match &replica.running {
            Some(running) => facts.extend(running_facts(replica, running)),
            None => {
                facts.extend(
                    replica.md.as_ref().filter(|_| replica.served_by.is_some()).map(md_facts).into_iter().flatten(),
                );
                facts.extend(replica.problem.clone().map(|problem| ("problem", problem)));
            }
        }
        for (name, value) in facts {
            writeln!(self.out, "{name:10}  {value}")?;
        }
        writeln!(self.out)?;
        let heads =
            [("SLOT", Left), ("DEVICE", Left), ("STATE", Left), ("VOTES", Left), ("READ", Left), ("UUID", Left)];
        let row = |leg: &LegView| {
            [
                slot(leg),
                path(leg.device.as_deref()),
                leg_state(leg),
                yes(leg.votes),
                if leg.slot.is_some() { yes(leg.read) } else { "-".into() },
                dash(leg.uuid),
            ]
        };
        table::write(self.out, heads, &members(replica).map(row).collect::<Vec<_>>())?;
        let reserved = members(replica).filter_map(|leg| Some((leg.device.as_deref()?, leg.reservation.as_ref()?)));
        self.reservations(reserved)
    }

    /// A line for each device that has a reservation, or somebody registered.
    fn reservations<'a>(&mut self, devices: impl Iterator<Item = (&'a Path, &'a ReservationView)>) -> io::Result<()> {
        for (path, found) in devices {
            let who = if found.ours { "this machine" } else { "another machine" };
            let text = match (found.key, found.style) {
                (Some(key), Some(style)) => format!("is reserved by {who}, key {key}: {style}"),
                _ => "is not reserved, but keys are registered".into(),
            };
            writeln!(self.out, "{} {text}", path.display())?;
        }
        Ok(())
    }

    pub(crate) fn replica_states(&mut self, replicas: &[ReplicaView]) -> io::Result<()> {
        if self.json {
            return self.replica_list(replicas);
        }
        let heads = [
            ("REPLICA", Left),
            ("STATE", Left),
            ("SLOT", Left),
            ("DEVICE", Left),
            ("LEG", Left),
            ("READ ERRORS", Right),
            ("WRITE ERRORS", Right),
            ("REPAIRED", Right),
            ("READ TIME", Right),
            ("WRITE TIME", Right),
        ];
        let row = |replica: &ReplicaView, leg: &LegView| {
            [
                replica.name.clone(),
                state(replica),
                slot(leg),
                path(leg.device.as_deref()),
                leg_state(leg),
                leg.read_errors.to_string(),
                leg.write_errors.to_string(),
                leg.repaired.to_string(),
                latency(leg.read_us),
                latency(leg.write_us),
            ]
        };
        let rows = replicas.iter().flat_map(|replica| members(replica).map(move |leg| row(replica, leg)));
        table::write(self.out, heads, &rows.collect::<Vec<_>>())?;
        for replica in replicas {
            if let Some(rebuild) = replica.running.as_ref().and_then(|running| running.rebuild.as_ref()) {
                writeln!(self.out, "replica {}: {}", replica.name, progress(rebuild))?;
            }
            if let Some(by) = by(replica).filter(|_| replica.md.is_some()) {
                writeln!(self.out, "replica {} is served by {by}", replica.name)?;
            }
            if let Some(word) = replica.running.as_ref().and_then(|running| running.stopped) {
                writeln!(self.out, "replica {} has stopped: {}", replica.name, stopped(word))?;
            }
        }
        Ok(())
    }

    pub(crate) fn comparison(&mut self, found: &Comparison) -> io::Result<()> {
        if self.json {
            return self.document(found);
        }
        let list = |slots: &[u32]| slots.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let heads = [("START", Right), ("LENGTH", Right), ("DIFFER", Left), ("REPAIRED", Left), ("CRC32C", Left)];
        let row = |range: &Difference| {
            let sums: Vec<_> = range.checksums.iter().map(|sum| format!("{}:{}", sum.slot, sum.crc32c)).collect();
            [
                range.start.0.to_string(),
                range.length.0.to_string(),
                list(&range.slots),
                yes(range.repaired),
                if sums.is_empty() { "-".into() } else { sums.join(" ") },
            ]
        };
        if !found.ranges.is_empty() {
            table::write(self.out, heads, &found.ranges.iter().map(row).collect::<Vec<_>>())?;
        }
        let (compared, slots) = (Iec(found.compared), list(&found.slots));
        match found.different.0 {
            0 => writeln!(self.out, "replica {}: {compared} compared on slots {slots}, all equal", found.replica),
            _ => writeln!(
                self.out,
                "replica {}: {compared} compared on slots {slots}, {} different, {} of it repaired",
                found.replica,
                Iec(found.different),
                Iec(found.repaired)
            ),
        }
    }

    pub(crate) fn found_legs(&mut self, found: &[FoundLeg]) -> io::Result<()> {
        #[derive(Serialize)]
        struct Devices<'a> {
            devices: &'a [FoundLeg],
        }
        if self.json {
            return self.document(Devices { devices: found });
        }
        let heads = [
            ("DEVICE", Left),
            ("REPLICA", Left),
            ("SLOT", Left),
            ("IN SYNC", Left),
            ("EVENTS", Right),
            ("EPOCH", Right),
            ("LINEAGE", Left),
            ("STATE", Left),
            ("PROBLEM", Left),
        ];
        let row = |one: &FoundLeg| {
            [
                one.path.display().to_string(),
                dash(one.replica.as_ref()),
                if one.role == Some("tie-break") { "tie-break".into() } else { dash(one.slot) },
                one.entitled.map_or("-".into(), yes),
                dash(one.events),
                dash(one.epoch),
                one.lineage.map_or("-".into(), short),
                if one.state.is_empty() { "-".into() } else { one.state.join(",") },
                dash(one.problem.as_ref()),
            ]
        };
        table::write(self.out, heads, &found.iter().map(row).collect::<Vec<_>>())?;
        let known = found.iter().filter(|one| one.replica.is_some());
        self.reservations(known.filter_map(|one| Some((one.path.as_path(), one.reservation.as_ref()?))))
    }

    pub(crate) fn replica_change(&mut self, change: &ReplicaChange) -> io::Result<()> {
        if self.json {
            return self.document(change);
        }
        writeln!(self.out, "{}", change.text)
    }
}
