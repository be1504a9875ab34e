// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Commands about replicas: what was typed is handed to libstor, and what it answers to the printer.

use crate::args::{OnSlow, Replica, ReplicaChange};
use crate::print::Printer;
use crate::progress::Shown;
use crate::{connect_replicas as connect, Stop};
use libstor::metadata::Progress;
use libstor::replica::{Assemble, Convert, Import, NewReplica, ReplicaChange as Answer, Reserve, Settings, Verify};
use libstor::size::Iec;
use libstor::{Bytes, Error, Kind, Result};
use std::path::Path;

pub(crate) fn replica(request: &Replica, printer: &mut Printer<'_>) -> std::result::Result<(), Stop> {
    match request {
        Replica::List => printer.replicas(&connect(false)?.replicas()?)?,
        Replica::Show { replica } => printer.replica(&connect(false)?.show_replica(&replica.replica)?)?,
        Replica::Status { replica } => {
            printer.replica_states(&connect(false)?.replica_states(replica.as_deref())?)?;
        }
        Replica::Scan { devices } => printer.found_legs(&connect(false)?.scan_replicas(devices)?)?,
        Replica::Verify { replica, start, length, repair, from, progress: no } => {
            let how = Verify { start: *start, length: *length, repair: *repair, from: from.clone() };
            let progress = Progress::default();
            let shown = Shown::new(&progress, no.no_progress || printer.json, false);
            let found = connect(false)?.verify_replica(&replica.replica, &how, &progress)?;
            drop(shown);
            printer.comparison(&found)?;
            if found.repaired < found.different {
                let left = Bytes(found.different.0 - found.repaired.0);
                let help = match (*repair, found.slots.len()) {
                    (true, _) => "say whose data is wanted: --repair --from LEG",
                    (false, 2) => "make them equal: --repair --from LEG",
                    (false, _) => "make them equal: --repair",
                };
                let what = format!("the legs of replica {} differ in {}, see above", found.replica, Iec(left));
                return Err(Error::new(Kind::Failure, what).help(help).into());
            }
        }
        Replica::Change(request) => printer.replica_change(&change(request)?)?,
    }
    Ok(())
}

fn change(request: &ReplicaChange) -> Result<Answer> {
    match request {
        ReplicaChange::Create {
            name,
            legs,
            tie_break,
            size,
            chunk,
            uuid,
            assume_clean,
            force,
            inactive,
            if_missing,
            reserve,
            change,
        } => connect(change.dry_run)?.create_replica(&NewReplica {
            name: name.clone(),
            uuid: *uuid,
            legs: legs.clone(),
            tie_break: tie_break.clone(),
            size: *size,
            chunk: *chunk,
            assume_clean: *assume_clean,
            force: *force,
            if_missing: *if_missing,
            inactive: *inactive,
            reserve: if *reserve { Reserve::Free } else { Reserve::No },
        }),
        ReplicaChange::Assemble { replica, devices, force, read_only, reserve, take_over, change } => {
            let reserve = match (*reserve, *take_over) {
                (_, true) => Reserve::TakeOver,
                (true, false) => Reserve::Free,
                (false, false) => Reserve::No,
            };
            let (devices, force) = (devices.clone(), force.clone());
            let how = Assemble { devices, force, read_only: *read_only, reserve };
            connect(change.dry_run)?.assemble_replica(&replica.replica, &how)
        }
        ReplicaChange::Stop { replica, change } => connect(change.dry_run)?.stop_replica(&replica.replica),
        ReplicaChange::Import { source, name, change } => {
            connect(change.dry_run)?.import_replica(&Import { source: source.clone(), name: name.clone() })
        }
        ReplicaChange::Export { replica, change } => connect(change.dry_run)?.export_replica(&replica.replica),
        ReplicaChange::Set { replica, tie_break: Some(device), force, change, .. } => {
            let device = Some(Path::new(device)).filter(|device| *device != Path::new("none"));
            connect(change.dry_run)?.set_tie_break(&replica.replica, device, *force)
        }
        ReplicaChange::Set {
            replica,
            prefer,
            resync_rate,
            resync_latency,
            write_mostly,
            no_write_mostly,
            slow,
            on_slow,
            change,
            ..
        } => {
            let marked = write_mostly.clone().map(|leg| (leg, true));
            let settings = Settings {
                prefer: prefer.clone(),
                write_mostly: marked.or(no_write_mostly.clone().map(|leg| (leg, false))),
                resync_rate: *resync_rate,
                resync_latency: *resync_latency,
                slow: *slow,
                drop_slow: on_slow.map(|what| what == OnSlow::Drop),
            };
            if settings == Settings::default() {
                return Err(Error::new(Kind::Usage, "nothing is to be set").help("see 'storctl replica set --help'"));
            }
            connect(change.dry_run)?.set_replica(&replica.replica, &settings)
        }
        ReplicaChange::Convert { volume, metadata, force, change } => {
            let how = Convert { metadata: metadata.clone(), force: *force };
            connect(change.dry_run)?.convert(volume, &how)
        }
        ReplicaChange::AddLeg { replica, device, force, change } => {
            connect(change.dry_run)?.add_leg(&replica.replica, device, *force)
        }
        ReplicaChange::RemoveLeg { replica, leg, change } => connect(change.dry_run)?.remove_leg(&replica.replica, leg),
        ReplicaChange::Resync { replica, leg, change } => connect(change.dry_run)?.resync_leg(&replica.replica, leg),
        ReplicaChange::Resolve { replica, leg, change } => {
            connect(change.dry_run)?.resolve_replica(&replica.replica, leg)
        }
        ReplicaChange::ReplaceLeg { replica, leg, device, force, change } => {
            let progress = Progress::default();
            let _shown = Shown::new(&progress, false, false);
            connect(change.dry_run)?.replace_leg(&replica.replica, leg, device, *force, &progress)
        }
    }
}
