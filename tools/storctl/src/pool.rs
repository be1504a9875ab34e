// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Commands about pools and snapshots: what was typed is handed to libstor, and what it answers to the printer.

use crate::args::{OnOff, Pool, PoolChange, PoolSettings, Snapshot, SnapshotChange};
use crate::print::Printer;
use crate::progress::Shown;
use crate::{connect, settings, Stop};
use libstor::metadata::Progress;
use libstor::pool::{
    Activate, Extend, Import, NewPool, NewSnapshot, PoolChange as Answer, RepairPool, SnapshotChange as Taken,
};
use libstor::{Error, Kind, Result};
use std::ops::ControlFlow;
use std::time::Duration;

pub(crate) fn pool(request: &Pool, printer: &mut Printer<'_>) -> std::result::Result<(), Stop> {
    match request {
        Pool::List => printer.pools(&connect(false)?.pools()?)?,
        Pool::Show { pool, measure } => {
            let measure = measure.map(|seconds| Duration::from_secs(seconds.into()));
            printer.pool(&connect(false)?.show_pool(&pool.pool, measure)?)?;
        }
        Pool::Status { pool, why } => printer.waiting(&connect(false)?.waiting(pool.as_deref())?, *why)?,
        Pool::Check { pool, clear } => {
            let checked = connect(false)?.check_pool(&pool.pool, *clear)?;
            printer.checked(&checked)?;
            if checked.count > 0 {
                let what = format!("pool {} is damaged, see above", pool.pool);
                return Err(Error::new(Kind::Failure, what).into());
            }
        }
        Pool::Repair { pool, backup, progress: no, change } => {
            let progress = Progress::default();
            let shown = Shown::new(&progress, no.no_progress || printer.json, false);
            let repair = RepairPool { pool: pool.pool.clone(), backup: backup.clone() };
            let repaired = connect(change.dry_run)?.repair_pool(&repair, &progress)?;
            drop(shown);
            printer.repaired(&repaired)?;
        }
        Pool::Change(request) => printer.pool_change(&change(request)?)?,
    }
    Ok(())
}

fn pool_settings(settings: &PoolSettings) -> libstor::pool::PoolSettings {
    libstor::pool::PoolSettings {
        policy: settings.policy,
        timeout: settings.timeout,
        low_water: settings.low_water,
        reserve: settings.reserve,
        passdown: settings.passdown.map(|passdown| passdown == OnOff::On),
        zero: settings.zero.map(|zero| zero == OnOff::On),
        commit_interval: settings.commit_interval,
    }
}

fn change(request: &PoolChange) -> Result<Answer> {
    match request {
        PoolChange::Create {
            name,
            devices,
            metadata_device,
            block_size,
            metadata_size,
            uuid,
            settings,
            force,
            inactive,
            if_missing,
            change,
        } => connect(change.dry_run)?.create_pool(&NewPool {
            name: name.clone(),
            uuid: *uuid,
            devices: devices.clone(),
            metadata: metadata_device.clone(),
            data_block: *block_size,
            metadata_size: *metadata_size,
            settings: pool_settings(settings),
            force: *force,
            if_missing: *if_missing,
            inactive: *inactive,
        }),
        PoolChange::Activate { pool, devices, read_only, no_volumes, force, change } => {
            let how = Activate { read_only: *read_only, bare: *no_volumes, force: *force, devices: devices.clone() };
            connect(change.dry_run)?.activate_pool(&pool.pool, &how)
        }
        PoolChange::Deactivate { pool, change } => connect(change.dry_run)?.deactivate_pool(&pool.pool),
        PoolChange::Import { source, name, inactive, change } => connect(change.dry_run)?.import_pool(&Import {
            source: source.clone(),
            name: name.clone(),
            inactive: *inactive,
        }),
        PoolChange::Export { pool, tables: true, .. } => {
            let text = connect(true)?.pool_tables(&pool.pool)?;
            Ok(Answer { changed: false, dry_run: true, pool: None, text })
        }
        PoolChange::Export { pool, change, .. } => connect(change.dry_run)?.export_pool(&pool.pool),
        PoolChange::Set { pool, settings, change } => {
            let settings = pool_settings(settings);
            if settings.is_empty() {
                return Err(Error::new(Kind::Usage, "nothing is to be set").help("see 'storctl pool set --help'"));
            }
            connect(change.dry_run)?.set_pool(&pool.pool, &settings)
        }
        PoolChange::Extend { pool, devices, metadata, force, change } => {
            let extend = Extend { devices: devices.clone(), metadata: *metadata, force: *force };
            connect(change.dry_run)?.extend_pool(&pool.pool, &extend)
        }
        PoolChange::Remove { pool, force, if_exists, change } => {
            connect(change.dry_run)?.remove_pool(&pool.pool, *force, *if_exists)
        }
    }
}

/// `activate POOL`, or `activate --all`.
pub(crate) fn activate(pool: Option<&str>, dry_run: bool, printer: &mut Printer<'_>) -> std::result::Result<(), Stop> {
    let stor = connect(dry_run)?;
    if let Some(pool) = pool {
        printer.pool_change(&stor.activate_pool(pool, &Activate::default())?)?;
        return Ok(());
    }
    // Pools may stand on replicas, and legs may be volumes of pools.
    let (mut replicas, mut pools) = (Vec::new(), Vec::new());
    let answer = loop {
        let (assembled, first) = stor.assemble_all();
        let (activated, second) = stor.activate_all();
        let news = assembled.iter().any(|change| change.changed) || activated.iter().any(|change| change.changed);
        let again = !pools.is_empty() || !replicas.is_empty();
        replicas.extend(assembled);
        pools.extend(activated.into_iter().filter(|change| change.changed || !again));
        if dry_run || !news {
            break first.and(second);
        }
    };
    printer.activated(&replicas, &pools)?;
    Ok(answer?)
}

pub(crate) fn snapshot(request: &Snapshot, printer: &mut Printer<'_>) -> std::result::Result<(), Stop> {
    match request {
        Snapshot::List { volume, pool } => {
            printer.snapshots(&connect(false)?.snapshots(volume.as_deref(), pool.as_deref())?)?;
        }
        Snapshot::Diff { from, to, same } => diff(from, to, *same, printer)?,
        Snapshot::Change(request) => printer.snapshot_change(&change_snapshot(request)?)?,
    }
    Ok(())
}

fn diff(from: &str, to: &str, same: bool, printer: &mut Printer<'_>) -> std::result::Result<(), Stop> {
    let json = printer.json;
    let mut buffer = crate::buffered(printer);
    let mut printer = Printer { out: &mut buffer, json };
    let mut written = Ok(());
    let total = connect(false)?.diff(from, to, same, &mut |range| {
        written = printer.delta_range(&range);
        if written.is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    written?;
    printer.delta_total(&total?)?;
    printer.out.flush()?;
    Ok(())
}

fn change_snapshot(request: &SnapshotChange) -> Result<Taken> {
    match request {
        SnapshotChange::Create { names, group, writable, activate, settings: thin, change } => {
            let (volumes, name) = match (names.as_slice(), group) {
                (volumes, Some(_)) => (volumes.to_vec(), None),
                ([volume, name], None) => (vec![volume.clone()], Some(name.clone())),
                _ => {
                    return Err(Error::new(Kind::Usage, "a snapshot needs a volume and a name")
                        .help("write 'snapshot create VOLUME NAME', or 'snapshot create --group GROUP VOLUME...'"))
                }
            };
            connect(change.dry_run)?.snapshot(&NewSnapshot {
                volumes,
                name,
                group: group.clone(),
                writable: *writable,
                active: *activate,
                settings: settings(thin, None, None),
            })
        }
        SnapshotChange::Remove { names, if_exists, change } => {
            connect(change.dry_run)?.remove_snapshots(names, *if_exists)
        }
    }
}
