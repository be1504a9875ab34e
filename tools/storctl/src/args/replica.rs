// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What can be typed about replicas.

use super::{Change, NoProgress};
use clap::{Args, Subcommand, ValueEnum};
use libstor::replica::STOR_REPLICA_NEVER;
use libstor::{size, Bytes, Uuid};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum Replica {
    /// List the replicas, those included that are not assembled
    #[command(visible_alias = "ls")]
    List,
    /// Show a replica: its membership, its bitmap, its legs
    Show {
        #[command(flatten)]
        replica: ReplicaName,
    },
    /// Tell in which state the legs of assembled replicas are
    Status {
        /// Name, UUID or node of a replica; all that are assembled if not given
        replica: Option<String>,
    },
    /// Look for legs and tie-breaks of replicas, and tell what each says of itself
    Scan {
        /// Where to look; on all block devices if not given
        #[arg(value_name = "DEVICE")]
        devices: Vec<PathBuf>,
    },
    /// Compare the legs of an assembled replica while it is used; with --repair, make them equal
    ///
    /// Nobody can write to a range while it is compared. Without --from what most legs have is written to the others; with two legs somebody
    /// has to say which. Differences that stay are an error. Where data was discarded, devices that do not say what is read then may differ.
    Verify {
        #[command(flatten)]
        replica: ReplicaName,
        /// Where it begins
        #[arg(long, default_value = "0", value_parser = size::parse)]
        start: Bytes,
        /// How much of it; up to the end if not given
        #[arg(long, value_parser = size::parse)]
        length: Option<Bytes>,
        /// Make the legs equal
        #[arg(long)]
        repair: bool,
        /// What this leg has is wanted: its slot, its device, or its UUID
        #[arg(long, value_name = "LEG", requires = "repair")]
        from: Option<String>,
        #[command(flatten)]
        progress: NoProgress,
    },
    #[command(flatten)]
    Change(ReplicaChange),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReplicaChange {
    /// Make a replica of block devices, and assemble it; what they hold is lost
    ///
    /// The volume has what the first leg has behind its metadata; to the others that is copied, since nobody knows whether they
    /// are equal. A device that holds something (a file system, a partition table, RAID, LVM, a pool) is refused unless --force is
    /// given.
    Create {
        /// Its name: letters, digits and . _ + -, a letter or digit first, at most 32 characters
        name: String,
        /// Its legs, 1 to 16
        #[arg(required = true, value_name = "LEG")]
        legs: Vec<PathBuf>,
        /// Have a device that votes and has no data, of at least 12K: with two legs, either of them starts with it alone
        #[arg(long, value_name = "DEVICE")]
        tie_break: Option<PathBuf>,
        /// Its size, a multiple of 4K; what the smallest leg has if not given
        #[arg(long, value_parser = size::parse)]
        size: Option<Bytes>,
        /// What a bit of the write-intent bitmap stands for, a power of two; 64M or more if not given
        #[arg(long, value_name = "SIZE", value_parser = size::parse)]
        chunk: Option<Bytes>,
        /// Its UUID; a random one if not given
        #[arg(long)]
        uuid: Option<Uuid>,
        /// Copy nothing: the legs are equal already, such as new disks that are all zeros
        #[arg(long)]
        assume_clean: bool,
        /// Lose what the devices hold
        #[arg(long)]
        force: bool,
        /// Do not assemble it
        #[arg(long)]
        inactive: bool,
        /// Succeed if a replica of this name is on these devices already; fail if it differs
        #[arg(long)]
        if_missing: bool,
        /// Reserve the devices for this machine, as with `replica assemble --reserve`
        #[arg(long, conflicts_with = "inactive")]
        reserve: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Start a replica from the legs that are there, or give one that runs those that are there again
    ///
    /// What is on the legs says who has the data. If too few are there to know that, or two have gone on without each other, it is refused,
    /// and both sides are told. With --force it starts from what that leg has: what only others have is lost. With --fallback the kernel's
    /// own md assembles it, for which mdadm is needed; it is refused then as without.
    Assemble {
        #[command(flatten)]
        replica: ReplicaName,
        /// Look for its legs on these devices only
        #[arg(value_name = "DEVICE")]
        devices: Vec<PathBuf>,
        /// Start from what this leg has, whatever others have besides
        #[arg(long, value_name = "LEG")]
        force: Option<PathBuf>,
        /// Refuse writes
        #[arg(long)]
        read_only: bool,
        /// Reserve legs and tie-break for this machine where they have persistent reservations: no other machine can write or read them
        #[arg(long)]
        reserve: bool,
        /// Reserve them even if another machine has done so, which is kept out from then on; if it has, name the devices
        #[arg(long)]
        take_over: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Take a replica from the kernel, or from its md; nothing is lost
    Stop {
        #[command(flatten)]
        replica: ReplicaName,
        #[command(flatten)]
        change: Change,
    },
    /// Take over an array of md (RAID1, metadata 1.2) in place, and assemble it
    ///
    /// Nothing is copied, and md can still assemble it. It is not to run: stop it by 'mdadm --stop' first. It needs a write-intent bitmap, and
    /// all legs that md had. 'replica export' gives it back.
    Import {
        /// Name or UUID of the array, or its legs
        #[arg(required = true, value_name = "NAME|LEG")]
        source: Vec<String>,
        /// Its name from now on; that which it has with md, without the host, if not given
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        change: Change,
    },
    /// Make a replica that is not assembled md's alone
    ///
    /// Stor's membership records are erased, and the tie-break, if there is one. All members have to be there, and all legs in sync.
    /// 'replica import' takes it over again.
    Export {
        #[command(flatten)]
        replica: ReplicaName,
        #[command(flatten)]
        change: Change,
    },
    /// Change what an assembled replica does; it is forgotten when that is stopped
    Set {
        #[command(flatten)]
        replica: ReplicaName,
        /// Read from this leg if possible; none is from any
        #[arg(long, value_name = "LEG")]
        prefer: Option<String>,
        /// How much a rebuild takes in a second at most; 0 is as much as there is
        #[arg(long, value_name = "SIZE", value_parser = size::parse)]
        resync_rate: Option<Bytes>,
        /// Have a rebuild take less while I/O to a leg takes longer than this: such as 20ms; never
        #[arg(long, value_name = "TIME", value_parser = latency)]
        resync_latency: Option<u32>,
        /// Read from this leg only if no other can be read, as from mdadm's write-mostly devices. That is not forgotten
        #[arg(long, value_name = "LEG", conflicts_with = "no_write_mostly")]
        write_mostly: Option<String>,
        /// Read from this leg as from the others
        #[arg(long, value_name = "LEG")]
        no_write_mostly: Option<String>,
        /// A leg whose writes take longer, and ten times as long as the fastest leg's, is slow: such as 100ms or 2s; never
        #[arg(long, value_name = "TIME", value_parser = slow)]
        slow: Option<u32>,
        /// What becomes of a leg that is slow, or does not answer for 30 seconds
        #[arg(long, value_name = "WHAT")]
        on_slow: Option<OnSlow>,
        /// Have this device vote, without data, in the place of the one that does; none: have no such device. That is not forgotten
        #[arg(long, value_name = "DEVICE", conflicts_with_all = ["prefer", "resync_rate", "resync_latency", "write_mostly", "no_write_mostly", "slow", "on_slow"])]
        tie_break: Option<String>,
        /// Lose what the tie-break's device holds
        #[arg(long, requires = "tie_break")]
        force: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Make a volume in use a replica of one leg, without moving its data; then others can join
    ///
    /// It keeps its name, its node and its size, and its I/O goes on. md's metadata are written on a device for them, of 1 MiB or more; what
    /// that holds is lost. The data stay where they are: of a volume of a pool, in that pool under its name with -data behind it. From then on
    /// the pool's snapshots are of that. Devices of a linear volume have to have a UUID, a worldwide id or a serial number.
    Convert {
        /// A linear volume or one of a pool: its name, UUID or node
        volume: String,
        /// Where the metadata are to be
        #[arg(long, value_name = "DEVICE")]
        metadata: PathBuf,
        /// Lose what that device holds
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Make a device another leg of an assembled replica; what it holds is lost
    ///
    /// It gets a copy while the volume is used, and counts as a leg from the beginning: the replica is degraded until the copy is whole.
    AddLeg {
        #[command(flatten)]
        replica: ReplicaName,
        device: PathBuf,
        /// Lose what the device holds
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Take a leg from an assembled replica, whether it is there or not
    ///
    /// What makes it a leg is erased, if it is there; its data are not. The last leg that has all of the data is refused.
    RemoveLeg {
        #[command(flatten)]
        replica: ReplicaName,
        /// Its slot, its device, or its UUID
        leg: String,
        #[command(flatten)]
        change: Change,
    },
    /// Copy everything to a leg of an assembled replica anew
    ///
    /// It leaves and joins again, so it votes only when the copy is whole.
    Resync {
        #[command(flatten)]
        replica: ReplicaName,
        /// Its slot, its device, or its UUID
        leg: String,
        #[command(flatten)]
        change: Change,
    },
    /// Decide whose data is wanted when two sides of a replica have gone on without each other
    ///
    /// It is assembled from what that leg has. What only the others have is lost: without --dry-run there is no way back.
    Resolve {
        #[command(flatten)]
        replica: ReplicaName,
        /// The leg whose data is wanted
        leg: PathBuf,
        #[command(flatten)]
        change: Change,
    },
    /// Put a device in the place of a leg of an assembled replica; what it holds is lost
    ///
    /// A leg that is there stays until the device has a copy of everything, for which this waits. Who ends it meanwhile has both, and may run
    /// `remove-leg` when the copy is whole.
    ReplaceLeg {
        #[command(flatten)]
        replica: ReplicaName,
        /// The slot, the device, or the UUID of who leaves
        leg: String,
        device: PathBuf,
        /// Lose what the device holds
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        change: Change,
    },
}

/// What becomes of a slow leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnSlow {
    /// It is told
    Report,
    /// It counts as failed, as long as another one has all of the data
    Drop,
}

/// Milliseconds, 0 for never.
fn latency(text: &str) -> Result<u32, String> {
    slow(text).map(|limit| if limit == STOR_REPLICA_NEVER { 0 } else { limit })
}

/// Milliseconds.
fn slow(text: &str) -> Result<u32, String> {
    let wrong = || format!("'{text}' is no time: say 100ms, 2s or never");
    if text == "never" {
        return Ok(STOR_REPLICA_NEVER);
    }
    let (number, unit) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1),
        (None, Some(number)) => (number, 1000),
        (None, None) => return Err(wrong()),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    match number.checked_mul(unit) {
        Some(limit @ 1..=3_600_000) => Ok(limit),
        _ => Err("from 1ms to 3600s, or never".into()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct ReplicaName {
    /// Name or UUID of the replica
    pub(crate) replica: String,
}
