// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Answers as text for people, or as JSON for programs (docs/json.md).

mod pool;
mod replica;

use crate::table::{self, Align::*};
use libstor::doctor::{Finding, Report};
use libstor::engine::{Engine, Switch};
use libstor::event::{Event, Value};
use libstor::linear::exact;
use libstor::metadata::{Checked, DeltaRange, DeltaTotal, Lost, Needed, Plan, Restored, Stat};
use libstor::size::Iec;
use libstor::volume::{ago, Change, Detail, Entry, Wait};
use libstor::{Bytes, Error, Version};
use serde::Serialize;
use std::io::{self, Write};
use std::time::Duration;

/// The version of the JSON output. It rises when a field goes away or changes its meaning, not when one is added.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Document<T> {
    schema: u32,
    #[serde(flatten)]
    body: T,
}

/// Prints to `out` in the form that was asked for.
pub(crate) struct Printer<'a> {
    pub(crate) out: &'a mut dyn Write,
    pub(crate) json: bool,
}

impl Printer<'_> {
    fn document(&mut self, body: impl Serialize) -> io::Result<()> {
        json(self.out, body)
    }

    pub(crate) fn checked(&mut self, checked: &Checked) -> io::Result<()> {
        if self.json {
            return self.document(checked);
        }
        for finding in &checked.findings {
            writeln!(self.out, "{finding}")?;
        }
        if checked.count > checked.findings.len() as u64 {
            writeln!(self.out, "and {} more", checked.count - checked.findings.len() as u64)?;
        }
        writeln!(
            self.out,
            "{} devices, {} mappings, {} data blocks and {} metadata blocks in use: {}",
            checked.devices,
            checked.mappings,
            checked.data_blocks,
            checked.metadata_blocks,
            if checked.count == 0 { "sound" } else { "damaged" }
        )
    }

    pub(crate) fn stat(&mut self, stat: &Stat) -> io::Result<()> {
        if self.json {
            return self.document(stat);
        }
        let yes = |yes| if yes { "yes" } else { "no" };
        let facts = [
            ("transaction", stat.transaction_id.to_string()),
            ("time", stat.time.to_string()),
            ("data block", Iec(Bytes(stat.data_block_size)).to_string()),
            ("data", format!("{} of {} blocks in use", stat.data_used, stat.data_blocks)),
            ("metadata", format!("{} of {} blocks in use", stat.metadata_used, stat.metadata_blocks)),
            ("snapshot", stat.held_root.map_or("none".into(), |at| format!("at block {at}"))),
            ("needs check", yes(stat.needs_check).into()),
        ];
        for (name, value) in facts {
            writeln!(self.out, "{name:11}  {value}")?;
        }
        writeln!(self.out)?;
        let row = |device: &libstor::metadata::Device| {
            [
                device.id.to_string(),
                device.mapped_blocks.to_string(),
                Iec(Bytes(device.mapped_blocks.saturating_mul(stat.data_block_size))).to_string(),
                device
                    .exclusive_blocks
                    .map_or("-".into(), |blocks| Iec(Bytes(blocks.saturating_mul(stat.data_block_size))).to_string()),
                device.transaction_id.to_string(),
                device.creation_time.to_string(),
                device.snapshotted_time.to_string(),
            ]
        };
        let heads = [
            ("DEVICE", Right),
            ("BLOCKS", Right),
            ("MAPPED", Right),
            ("EXCLUSIVE", Right),
            ("TRANSACTION", Right),
            ("CREATED", Right),
            ("SNAPSHOTTED", Right),
        ];
        table::write(self.out, heads, &stat.devices.iter().map(row).collect::<Vec<_>>())
    }

    pub(crate) fn delta_range(&mut self, range: &DeltaRange) -> io::Result<()> {
        if self.json {
            return self.document(range);
        }
        writeln!(self.out, "{:7}  {:>20}  {:>20}", range.what, range.begin.0, range.length.0)
    }

    /// Behind the last range: without it there are some missing.
    pub(crate) fn delta_total(&mut self, total: &DeltaTotal) -> io::Result<()> {
        #[derive(Serialize)]
        struct Total<'a> {
            total: &'a DeltaTotal,
        }
        if self.json {
            return self.document(Total { total });
        }
        let DeltaTotal { changed, added, removed, same, ranges } = total;
        write!(
            self.out,
            "{ranges} ranges: {} changed, {} added, {} removed",
            Iec(*changed),
            Iec(*added),
            Iec(*removed)
        )?;
        if let Some(same) = same {
            write!(self.out, ", {} the same", Iec(Bytes(*same)))?;
        }
        writeln!(self.out)
    }

    pub(crate) fn needed(&mut self, needed: &Needed) -> io::Result<()> {
        if self.json {
            return self.document(needed);
        }
        let facts = [
            ("data blocks", format!("{} of {}", needed.data_blocks, Iec(needed.data_block_size))),
            ("usual", exact(needed.usual_size)),
            ("worst", exact(needed.worst_size)),
        ];
        for (name, value) in facts {
            writeln!(self.out, "{name:11}  {value}")?;
        }
        if !needed.fits {
            let limit = Iec(needed.limit_size);
            writeln!(self.out, "The worst is more than metadata can have ({limit}): use larger data blocks.")?;
        }
        Ok(())
    }

    pub(crate) fn restored(&mut self, restored: &Restored) -> io::Result<()> {
        if self.json {
            return self.document(restored);
        }
        writeln!(self.out, "{}", restored.text)
    }

    pub(crate) fn plan(&mut self, plan: &Plan) -> io::Result<()> {
        if self.json {
            return self.document(plan);
        }
        for note in &plan.notes {
            writeln!(self.out, "{note}")?;
        }
        let range = |Lost { begin, end, .. }: &Lost| match end {
            Some(end) if *end == begin + 1 => format!("{begin}"),
            Some(end) => format!("{begin} to {}", end - 1),
            None => format!("from {begin} on"),
        };
        for lost in &plan.lost_ids {
            writeln!(self.out, "devices {}: lost: metadata block {}: {}", range(lost), lost.block, lost.why)?;
        }
        for id in &plan.lost_devices {
            writeln!(self.out, "device {id}: lost: it has details, but no mappings are to be found")?;
        }
        for device in &plan.devices {
            for lost in &device.lost {
                let (id, range, Lost { block, why, .. }) = (device.id, range(lost), lost);
                writeln!(self.out, "device {id}: blocks {range} lost: metadata block {block}: {why}")?;
            }
        }
        let row = |device: &libstor::metadata::Kept| {
            let lost = device.said.map_or("?".into(), |said| said.saturating_sub(device.kept).to_string());
            [device.id.to_string(), device.kept.to_string(), lost]
        };
        table::write(
            self.out,
            [("DEVICE", Right), ("KEPT", Right), ("LOST", Right)],
            &plan.devices.iter().map(row).collect::<Vec<_>>(),
        )?;
        let found = match (plan.findings, plan.complete) {
            (0, true) => "nothing is damaged".into(),
            (findings, true) => format!("{findings} findings, no mapping is lost"),
            (findings, false) => format!("{findings} findings, and what is told above is lost"),
        };
        writeln!(self.out, "{found}")?;
        writeln!(self.out, "{}", plan.text)
    }

    pub(crate) fn volumes(&mut self, volumes: &[Entry]) -> io::Result<()> {
        #[derive(Serialize)]
        struct Volumes<'a> {
            volumes: &'a [Entry],
        }
        if self.json {
            return self.document(Volumes { volumes });
        }
        let heads = [
            ("NAME", Left),
            ("DEVICE", Left),
            ("POOL", Left),
            ("SIZE", Right),
            ("MAPPED", Right),
            ("TARGET", Left),
            ("ENGINE", Left),
            ("STATE", Left),
            ("OPEN", Right),
        ];
        let dash = |text: &Option<String>| text.clone().unwrap_or("-".into());
        let row = |volume: &Entry| {
            [
                volume.name.clone(),
                dash(&volume.device),
                dash(&volume.pool),
                Iec(volume.size).to_string(),
                dash(&volume.mapped.map(|mapped| Iec(Bytes(mapped)).to_string())),
                if volume.snapshot { "snapshot".into() } else { volume.target.clone() },
                dash(&volume.engine),
                state(&volume.state),
                volume.open_count.to_string(),
            ]
        };
        table::write(self.out, heads, &volumes.iter().map(row).collect::<Vec<_>>())
    }

    pub(crate) fn detail(&mut self, detail: &Detail) -> io::Result<()> {
        #[derive(Serialize)]
        struct Volume<'a> {
            volume: &'a Detail,
        }
        if self.json {
            return self.document(Volume { volume: detail });
        }
        let Detail { entry, .. } = detail;
        let errors = match &detail.last_error {
            Some(last) => format!("{}, the last {last}", detail.errors),
            None => detail.errors.to_string(),
        };
        let inactive = entry.device.is_none();
        let device = match (&entry.device, entry.number.major, entry.number.minor) {
            (Some(device), Some(major), Some(minor)) => format!("{device} ({major}:{minor})"),
            _ => "none".into(),
        };
        let dead = if inactive { "none" } else { "none: all I/O fails until 'storctl engine switch'" };
        let blocks = detail.logical_block_size.zip(detail.physical_block_size);
        let mut facts = vec![
            ("name", entry.name.clone()),
            ("uuid", entry.uuid.to_string()),
            ("device", device),
            ("size", exact(entry.size)),
            ("target", entry.target.clone()),
            ("engine", entry.engine.clone().unwrap_or(dead.into())),
            ("state", state(&entry.state)),
            ("waits for", detail.wait.as_ref().map_or("nothing".into(), waits)),
            ("open", entry.open_count.to_string()),
            ("in flight", detail.in_flight.to_string()),
            ("errors", errors),
            (
                "block size",
                blocks.map_or("-".into(), |(logical, physical)| format!("{logical} logical, {physical} physical")),
            ),
        ];
        if let Some(thin) = &detail.thin {
            facts.extend(pool::thin_facts(entry, thin));
        }
        for (name, value) in facts {
            writeln!(self.out, "{name:10}  {value}")?;
        }
        if detail.thin.is_some() || entry.target == "replica" {
            return Ok(());
        }
        writeln!(self.out)?;
        let row = |(index, segment): (usize, &libstor::linear::Segment)| {
            let lower = detail.lowers.get(segment.lower as usize);
            let gone = if lower.is_some_and(|lower| lower.gone) { "gone" } else { "ok" };
            [
                index.to_string(),
                Iec(segment.start).to_string(),
                Iec(segment.length).to_string(),
                lower.map_or("?".into(), |lower| format!("{} ({})", lower.disk, lower.number)),
                Iec(segment.lower_start).to_string(),
                lower.map_or("?".into(), |lower| Iec(lower.size).to_string()),
                gone.into(),
            ]
        };
        let heads = [
            ("SEGMENT", Right),
            ("START", Right),
            ("LENGTH", Right),
            ("ON", Left),
            ("FROM", Right),
            ("OF", Right),
            ("STATE", Left),
        ];
        table::write(self.out, heads, &detail.segments.iter().enumerate().map(row).collect::<Vec<_>>())
    }

    pub(crate) fn change(&mut self, change: &Change) -> io::Result<()> {
        if self.json {
            return self.document(change);
        }
        writeln!(self.out, "{}", change.text)
    }

    pub(crate) fn engines(&mut self, engines: &[Engine]) -> io::Result<()> {
        #[derive(Serialize)]
        struct Engines<'a> {
            engines: &'a [Engine],
        }
        if self.json {
            return self.document(Engines { engines });
        }
        let row = |engine: &Engine| {
            let active = if engine.active { "active" } else { "-" };
            [engine.version.clone(), engine.abi.to_string(), active.into(), engine.volumes.to_string()]
        };
        let heads = [("VERSION", Left), ("ABI", Right), ("STATE", Left), ("VOLUMES", Right)];
        table::write(self.out, heads, &engines.iter().map(row).collect::<Vec<_>>())
    }

    pub(crate) fn switch(&mut self, switch: &Switch, dry_run: bool) -> io::Result<()> {
        #[derive(Serialize)]
        struct Dry<'a> {
            dry_run: bool,
            #[serde(flatten)]
            switch: &'a Switch,
        }
        if self.json {
            return self.document(Dry { dry_run, switch });
        }
        let row = |result: &libstor::engine::Move| {
            let error = result.error.map(|error| format!("{error:?}"));
            let pause = if result.pause.is_zero() { "-".into() } else { milliseconds(result.pause) };
            [result.volume.clone(), result.outcome.word().into(), pause, error.unwrap_or("-".into())]
        };
        let outcome = if dry_run { "WOULD BE" } else { "OUTCOME" };
        let heads = [("VOLUME", Left), (outcome, Left), ("PAUSE", Right), ("ERROR", Left)];
        table::write(self.out, heads, &switch.results.iter().map(row).collect::<Vec<_>>())?;
        match (switch.median, switch.max) {
            (Some(median), Some(max)) if !dry_run => {
                let [median, max] = [median, max].map(|pause| milliseconds(Duration::from_nanos(pause)));
                writeln!(self.out, "pause: median {median}, max {max}")
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn version(&mut self, version: &Version) -> io::Result<()> {
        if self.json {
            return self.document(version);
        }
        writeln!(self.out, "storctl  {} (control ABI {})", version.storctl, version.abi)?;
        match &version.module {
            Some(libstor::Module { version, abi_min, abi_max, engine_abi }) => {
                writeln!(self.out, "module   {version} (control ABI {abi_min} to {abi_max}, engine ABI {engine_abi})")
            }
            None => writeln!(self.out, "module   not loaded"),
        }
    }

    pub(crate) fn report(&mut self, report: &Report) -> io::Result<()> {
        if self.json {
            return self.document(report);
        }
        for Finding { check, status, message, help } in &report.findings {
            writeln!(self.out, "{:7}  {check:11}  {message}", status.word())?;
            if let Some(help) = help {
                writeln!(self.out, "{:20}  {help}", "")?;
            }
        }
        Ok(())
    }

    /// Prints an event at once, so that a reader sees it when it comes.
    pub(crate) fn event(&mut self, event: &Event) -> io::Result<()> {
        if self.json {
            self.document(event)?;
            return self.out.flush();
        }
        let subject = if event.name.is_empty() { "-" } else { &event.name };
        let value = match event.value() {
            Value::None => String::new(),
            Value::Size(size) => Iec(size).to_string(),
            Value::ReadOnly(true) => "on".into(),
            Value::ReadOnly(false) => "off".into(),
            Value::Pause(pause) => format!("pause {}", milliseconds(pause)),
            Value::Errno(errno) => format!("{errno:?}"),
            Value::Lower(number) => format!("device {number}"),
            Value::Errors(count) => format!("{count} errors"),
            Value::Lost(count) => format!("{count} events"),
            Value::Mode(word) => word.into(),
            Value::Free(size) => format!("{} free", Iec(size)),
            Value::Device(id) => format!("device {id}"),
            Value::Slot(slot) => format!("slot {slot}"),
            Value::TieBreak => "tie-break".into(),
            Value::Stop(word) => word.into(),
            Value::Unknown(value) => format!("type {} value {value}", event.kind),
        };
        let time = Duration::from_nanos(event.time);
        let line =
            format!("[{:5}.{:06}]  {:14}  {subject}  {value}", time.as_secs(), time.subsec_micros(), event.word());
        writeln!(self.out, "{}", line.trim_end())?;
        self.out.flush()
    }
}

/// Prints an error on `out`, in one line.
pub(crate) fn error(out: &mut dyn Write, as_json: bool, error: &Error) -> io::Result<()> {
    #[derive(Serialize)]
    struct Body<'a> {
        error: Fields<'a>,
    }
    #[derive(Serialize)]
    struct Fields<'a> {
        kind: libstor::Kind,
        code: u8,
        message: String,
        context: &'a str,
        cause: &'a str,
        help: Option<&'a str>,
        errno: Option<String>,
    }
    if !as_json {
        // One line, whatever is in a name that was typed; and nothing that a terminal would obey.
        let line = error.to_string().chars().fold(String::new(), |mut line, c| {
            if c.is_control() {
                line.extend(c.escape_default());
            } else {
                line.push(c);
            }
            line
        });
        return writeln!(out, "storctl: {line}");
    }
    let fields = Fields {
        kind: error.kind,
        code: error.kind.code(),
        message: error.to_string(),
        context: &error.context,
        cause: &error.cause,
        help: error.help.as_deref(),
        errno: error.errno_name(),
    };
    json(out, Body { error: fields })
}

pub(crate) fn json(out: &mut dyn Write, body: impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &Document { schema: SCHEMA, body })?;
    writeln!(out)
}

fn state(words: &[&str]) -> String {
    if words.is_empty() {
        "ok".into()
    } else {
        words.join(",")
    }
}

fn waits(wait: &Wait) -> String {
    let reason = match wait.reason {
        "resume" => "a resume ('storctl volume resume')",
        "lower" => "its devices",
        "metadata" => "the pool's metadata",
        "commit" => "a commit of the pool",
        "data-room" => "room for data ('storctl pool extend')",
        "metadata-room" => "room for metadata ('storctl pool extend --metadata')",
        other => other,
    };
    match wait.for_ns {
        Some(time) => format!("{reason}, for {} so far", ago(time)),
        None => reason.into(),
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{}.{:03} ms", time.as_millis(), time.subsec_micros() % 1000)
}
