// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Answers about pools and snapshots.

use super::{state, waits, Printer};
use crate::table::{self, Align::*};
use libstor::linear::exact;
use libstor::pool::{Found, PoolChange, PoolDetail, PoolView, Repaired, SnapshotChange, ThinDetail, Waiting};
use libstor::replica::ReplicaChange;
use libstor::size::Iec;
use libstor::volume::{ago, Entry};
use libstor::Bytes;
use serde::Serialize;
use std::io;

/// How much of something, in percent, rounded down.
fn percent(part: Bytes, whole: Bytes) -> String {
    let percent = (u128::from(part.0) * 100).checked_div(u128::from(whole.0));
    percent.map_or("-".into(), |percent| format!("{percent}%"))
}

/// How often one is in the other, with two decimals.
fn times(part: Bytes, whole: Bytes) -> String {
    let hundredths = (u128::from(part.0) * 100).checked_div(u128::from(whole.0)).unwrap_or(0);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

fn on_off(on: bool) -> &'static str {
    if on {
        "on"
    } else {
        "off"
    }
}

fn timeout(seconds: u32) -> String {
    if seconds == 0 {
        "for as long as it takes".into()
    } else {
        format!("for {seconds} s")
    }
}

/// What only a volume of a pool has.
pub(super) fn thin_facts(entry: &Entry, thin: &ThinDetail) -> Vec<(&'static str, String)> {
    let size = |size: Option<u64>| size.map_or("not known: the pool is not active".into(), |size| exact(Bytes(size)));
    let policy = match thin.policy.word() {
        "queue" => format!("queue, {}", timeout(thin.timeout_s)),
        "pool" => "the pool's".into(),
        word => word.into(),
    };
    let mut facts = vec![
        ("pool", entry.pool.clone().unwrap_or("-".into())),
        ("device id", thin.device_id.to_string()),
        ("kind", if entry.snapshot { "snapshot" } else { "volume" }.into()),
        ("origin", entry.origin.clone().unwrap_or("none".into())),
        ("mapped", size(entry.mapped)),
        ("exclusive", size(thin.exclusive)),
        ("shared", size(thin.shared)),
        ("if full", policy),
        ("reserved", Iec(thin.reservation).to_string()),
        ("auto", on_off(thin.auto).into()),
    ];
    facts.extend(thin.labels.get("stor/origin").map(|path| ("unmapped", format!("read from {path}"))));
    let labels = thin.labels.iter().filter(|(key, _)| !key.starts_with("stor/"));
    facts.extend(labels.map(|(key, value)| ("label", format!("{key}={value}"))));
    facts
}

impl Printer<'_> {
    pub(crate) fn pools(&mut self, pools: &[PoolView]) -> io::Result<()> {
        #[derive(Serialize)]
        struct Pools<'a> {
            pools: &'a [PoolView],
        }
        if self.json {
            return self.document(Pools { pools });
        }
        let heads = [
            ("NAME", Left),
            ("STATE", Left),
            ("BY", Left),
            ("SIZE", Right),
            ("USED", Right),
            ("DATA", Right),
            ("METADATA", Right),
            ("VOLUMES", Right),
            ("SNAPSHOTS", Right),
            ("DEVICES", Left),
        ];
        let row = |pool: &PoolView| {
            let devices: Vec<_> = pool.devices.iter().map(|device| device.path.display().to_string()).collect();
            [
                pool.name.clone(),
                state(&pool.state),
                pool.served_by.unwrap_or("-").into(),
                Iec(pool.data_size).to_string(),
                Iec(pool.data_used).to_string(),
                percent(pool.data_used, pool.data_size),
                percent(pool.metadata_used, pool.metadata_size),
                pool.volumes.to_string(),
                pool.snapshots.to_string(),
                devices.join(","),
            ]
        };
        table::write(self.out, heads, &pools.iter().map(row).collect::<Vec<_>>())?;
        for pool in pools {
            if let Some(problem) = &pool.problem {
                writeln!(self.out, "pool {}: {problem}", pool.name)?;
            }
        }
        Ok(())
    }

    pub(crate) fn pool(&mut self, pool: &PoolDetail) -> io::Result<()> {
        #[derive(Serialize)]
        struct Pool<'a> {
            pool: &'a PoolDetail,
        }
        if self.json {
            return self.document(Pool { pool });
        }
        let view = &pool.view;
        let used = |used: Bytes, size: Bytes| format!("{} of {} ({})", Iec(used), Iec(size), percent(used, size));
        let policy = match pool.policy.word() {
            "queue" => format!("queue, {}", timeout(pool.timeout_s)),
            word => word.into(),
        };
        let commit = format!(
            "{} of volumes in {}: {} times",
            Iec(view.virtual_size),
            Iec(view.data_size),
            times(view.virtual_size, view.data_size)
        );
        let mut facts = vec![
            ("name", view.name.clone()),
            ("uuid", view.uuid.to_string()),
            ("state", state(&view.state)),
            ("served by", view.served_by.unwrap_or("nobody").into()),
            ("data", used(view.data_used, view.data_size)),
            ("metadata", used(view.metadata_used, view.metadata_size)),
            ("data block", Iec(view.data_block_size).to_string()),
            ("volumes", format!("{}, and {} snapshots", view.volumes, view.snapshots)),
            ("committed", commit),
            ("if full", policy),
            ("low water", if pool.low_water.0 == 0 { "none".into() } else { Iec(pool.low_water).to_string() }),
            ("reserve", Iec(pool.reserve).to_string()),
            ("reserved", Iec(pool.reserved).to_string()),
            ("passdown", on_off(pool.passdown).into()),
            ("zero", on_off(pool.zero).into()),
            ("commit", format!("at least every {} ms", pool.commit_interval_ms)),
            ("transaction", pool.transaction.to_string()),
            ("deleting", pool.deleting.to_string()),
            ("open on", pool.owner.clone().unwrap_or("no machine".into())),
        ];
        if let Some(active) = &pool.active {
            let dead = "none: all I/O fails until 'storctl engine switch'";
            facts.extend([
                ("engine", active.engine.clone().unwrap_or(dead.into())),
                ("active", format!("{} volumes", active.volumes)),
                ("snapshots", format!("{} more can be taken", active.snapshots_left)),
                ("memory", Iec(active.memory).to_string()),
                ("commits", active.commits.to_string()),
                ("waiting", format!("{} requests", active.waiting)),
                ("waits for", active.wait.as_ref().map_or("nothing".into(), waits)),
            ]);
            facts.extend(active.last_error.clone().map(|error| ("last error", error)));
        }
        if let Some(growth) = &pool.growth {
            let rate = format!("{} in {}", Iec(growth.grown), ago(growth.over_ns));
            let full = growth.full_in_s.map(|seconds| ago(seconds.saturating_mul(1_000_000_000)));
            facts.push(("grows", rate));
            facts.push(("full in", full.unwrap_or("never, at this rate".into())));
        }
        facts.extend(view.problem.clone().map(|problem| ("problem", problem)));
        for (name, value) in facts {
            writeln!(self.out, "{name:11}  {value}")?;
        }
        writeln!(self.out)?;
        let row = |(index, device): (usize, &libstor::pool::DeviceView)| {
            [index.to_string(), device.path.display().to_string(), Iec(device.size).to_string(), device.role.into()]
        };
        let heads = [("INDEX", Right), ("DEVICE", Left), ("SIZE", Right), ("ROLE", Left)];
        table::write(self.out, heads, &view.devices.iter().enumerate().map(row).collect::<Vec<_>>())
    }

    pub(crate) fn pool_change(&mut self, change: &PoolChange) -> io::Result<()> {
        if self.json {
            return self.document(change);
        }
        writeln!(self.out, "{}", change.text)
    }

    pub(crate) fn activated(&mut self, replicas: &[ReplicaChange], pools: &[PoolChange]) -> io::Result<()> {
        #[derive(Serialize)]
        struct Changes<'a> {
            replicas: &'a [ReplicaChange],
            pools: &'a [PoolChange],
        }
        if self.json {
            return self.document(Changes { replicas, pools });
        }
        let texts = replicas.iter().map(|change| &change.text).chain(pools.iter().map(|change| &change.text));
        texts.into_iter().try_for_each(|text| writeln!(self.out, "{text}"))
    }

    pub(crate) fn repaired(&mut self, repaired: &Repaired) -> io::Result<()> {
        if self.json {
            return self.document(repaired);
        }
        for finding in &repaired.findings {
            writeln!(self.out, "{finding}")?;
        }
        if let Some(plan) = &repaired.metadata {
            self.plan(plan)?;
        }
        for name in &repaired.lost {
            writeln!(self.out, "volume {name}: lost: the metadata does not have it")?;
        }
        for name in &repaired.recovered {
            writeln!(self.out, "volume {name}: recovered; the catalog did not know it")?;
        }
        writeln!(self.out, "{}", repaired.text)
    }

    pub(crate) fn waiting(&mut self, all: &[Waiting], why: bool) -> io::Result<()> {
        #[derive(Serialize)]
        struct Status<'a> {
            status: &'a [Waiting],
        }
        if self.json {
            return self.document(Status { status: all });
        }
        if !why {
            let row = |one: &Waiting| [one.kind.to_string(), one.name.clone(), one.served_by.into(), state(&one.state)];
            let heads = [("KIND", Left), ("NAME", Left), ("BY", Left), ("STATE", Left)];
            return table::write(self.out, heads, &all.iter().map(row).collect::<Vec<_>>());
        }
        let row = |one: &Waiting| {
            [
                one.kind.to_string(),
                one.name.clone(),
                one.served_by.into(),
                state(&one.state),
                one.wait.as_ref().map_or("nothing".into(), waits),
                one.last_error.clone().unwrap_or("-".into()),
            ]
        };
        let heads =
            [("KIND", Left), ("NAME", Left), ("BY", Left), ("STATE", Left), ("WAITS FOR", Left), ("LAST ERROR", Left)];
        table::write(self.out, heads, &all.iter().map(row).collect::<Vec<_>>())
    }

    pub(crate) fn found(&mut self, found: &[Found]) -> io::Result<()> {
        #[derive(Serialize)]
        struct Devices<'a> {
            devices: &'a [Found],
        }
        if self.json {
            return self.document(Devices { devices: found });
        }
        let row = |one: &Found| {
            [
                one.path.display().to_string(),
                one.pool.clone().unwrap_or("-".into()),
                one.index.map_or("-".into(), |index| index.to_string()),
                one.role.unwrap_or("-").into(),
                one.size.map_or("-".into(), |size| Iec(Bytes(size)).to_string()),
                if one.state.is_empty() { "active".into() } else { one.state.join(",") },
                one.problem.clone().unwrap_or("-".into()),
            ]
        };
        let heads = [
            ("DEVICE", Left),
            ("POOL", Left),
            ("INDEX", Right),
            ("ROLE", Left),
            ("SIZE", Right),
            ("STATE", Left),
            ("PROBLEM", Left),
        ];
        table::write(self.out, heads, &found.iter().map(row).collect::<Vec<_>>())
    }

    pub(crate) fn snapshots(&mut self, snapshots: &[Entry]) -> io::Result<()> {
        #[derive(Serialize)]
        struct Snapshots<'a> {
            snapshots: &'a [Entry],
        }
        if self.json {
            return self.document(Snapshots { snapshots });
        }
        let row = |one: &Entry| {
            [
                one.name.clone(),
                one.pool.clone().unwrap_or("-".into()),
                one.origin.clone().unwrap_or("-".into()),
                Iec(one.size).to_string(),
                one.mapped.map_or("-".into(), |mapped| Iec(Bytes(mapped)).to_string()),
                state(&one.state),
                one.device.clone().unwrap_or("-".into()),
            ]
        };
        let heads = [
            ("NAME", Left),
            ("POOL", Left),
            ("OF", Left),
            ("SIZE", Right),
            ("MAPPED", Right),
            ("STATE", Left),
            ("DEVICE", Left),
        ];
        table::write(self.out, heads, &snapshots.iter().map(row).collect::<Vec<_>>())
    }

    pub(crate) fn snapshot_change(&mut self, change: &SnapshotChange) -> io::Result<()> {
        if self.json {
            return self.document(change);
        }
        writeln!(self.out, "{}", change.text)
    }
}
