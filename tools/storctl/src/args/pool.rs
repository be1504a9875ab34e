// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What can be typed about pools and snapshots.

use super::{Change, NoProgress, OnOff};
use clap::{Args, Subcommand};
use libstor::linear::Target;
use libstor::pool::Policy;
use libstor::{size, Bytes, Uuid};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum Pool {
    /// List the pools, those included that are not active or not whole
    #[command(visible_alias = "ls")]
    List,
    /// Show a pool: what is used, by how much it is over-committed, its settings and devices
    Show {
        #[command(flatten)]
        pool: PoolName,
        /// Measure for so many seconds how fast it fills, and tell when it will be full
        #[arg(long, value_name = "SECONDS")]
        measure: Option<u32>,
    },
    /// Tell in which state pools and their volumes are
    Status {
        /// Name or UUID of a pool; all active ones if not given
        pool: Option<String>,
        /// Tell for each of them what it waits for, and since when
        #[arg(long)]
        why: bool,
    },
    /// Check a pool's metadata, and whether its catalog has the same volumes
    ///
    /// Of an active pool a metadata snapshot is checked, which is taken for that; reference counts can be checked when it is
    /// not active only. Exit code 1 if anything is found.
    Check {
        #[command(flatten)]
        pool: PoolName,
        /// If nothing is found, take back that the metadata has to be checked, so that the pool can be changed
        #[arg(long)]
        clear: bool,
    },
    /// Repair a pool that is not active: its metadata, and a catalog that does not fit it
    ///
    /// Damaged metadata is copied to FILE, repaired from there, checked, and written over what was there. Volumes that the
    /// catalog does not know get names like recovered-7, and the size up to their last mapping; they are not activated with the
    /// pool. With --dry-run nothing but FILE is written, and that is removed again.
    Repair {
        #[command(flatten)]
        pool: PoolName,
        /// Where damaged metadata is kept: a file that is not there yet, as large as the metadata at most
        #[arg(long, value_name = "FILE")]
        backup: Option<PathBuf>,
        #[command(flatten)]
        progress: NoProgress,
        #[command(flatten)]
        change: Change,
    },
    #[command(flatten)]
    Change(PoolChange),
}

#[derive(Debug, Subcommand)]
pub(crate) enum PoolChange {
    /// Make a pool of block devices, and activate it; what they hold is lost
    ///
    /// A device that holds something (a file system, a partition table, RAID, LVM, another pool) is refused unless --force
    /// is given.
    Create {
        /// Its name: letters, digits and . _ + -, a letter or digit first, at most 63 characters
        name: String,
        /// Its devices
        #[arg(required = true, value_name = "DEVICE")]
        devices: Vec<PathBuf>,
        /// Have the metadata on a device of its own
        #[arg(long, value_name = "DEVICE")]
        metadata_device: Option<PathBuf>,
        /// Size of a data block: a multiple of 64K, at most 1G; 64K if not given, more in pools of more than 2T
        #[arg(long, value_name = "SIZE", value_parser = size::parse)]
        block_size: Option<Bytes>,
        /// Room for metadata; planned for 16 volumes with 8 snapshots if not given
        #[arg(long, value_name = "SIZE", value_parser = size::parse)]
        metadata_size: Option<Bytes>,
        /// Its UUID; a random one if not given
        #[arg(long)]
        uuid: Option<Uuid>,
        #[command(flatten)]
        settings: PoolSettings,
        /// Lose what the devices hold
        #[arg(long)]
        force: bool,
        /// Do not activate it
        #[arg(long)]
        inactive: bool,
        /// Succeed if a pool of this name is on these devices already; fail if it differs
        #[arg(long)]
        if_missing: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Give a pool and its volumes to the kernel
    Activate {
        #[command(flatten)]
        pool: PoolName,
        /// Look for it on these devices only (may be given more than once)
        #[arg(long = "device", value_name = "DEVICE")]
        devices: Vec<PathBuf>,
        /// Change nothing in it
        #[arg(long)]
        read_only: bool,
        /// Leave its volumes inactive
        #[arg(long)]
        no_volumes: bool,
        /// Even if another machine has it open: only if that is gone for good
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Take a pool and its volumes from the kernel; nothing is lost
    Deactivate {
        #[command(flatten)]
        pool: PoolName,
        #[command(flatten)]
        change: Change,
    },
    /// Take over a thin pool of LVM with its volumes, in place
    ///
    /// Nothing is copied. The pool is not to be active with LVM, which has a linear volume of the same name afterwards, and no
    /// thin pool that it could activate. 'pool export' gives it back.
    Import {
        /// The thin pool
        #[arg(value_name = "VG/POOL")]
        source: String,
        /// Its name with Stor; that which it has with LVM if not given
        #[arg(long)]
        name: Option<String>,
        /// Do not activate it
        #[arg(long)]
        inactive: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Give a pool that is not active back to LVM, or print the tables for dmsetup
    ///
    /// LVM gets back what 'pool import' took over, with the volumes that there are now. What it cannot have is refused: sizes
    /// that are no multiple of its extents, devices that it never had, names that it keeps for itself. Labels, reservations
    /// and policies of volumes are lost.
    Export {
        #[command(flatten)]
        pool: PoolName,
        /// Only print how dmsetup would make this pool and its volumes; of any pool, which stays with Stor
        #[arg(long)]
        tables: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Change a pool's settings
    Set {
        #[command(flatten)]
        pool: PoolName,
        #[command(flatten)]
        settings: PoolSettings,
        #[command(flatten)]
        change: Change,
    },
    /// Make a pool larger while it is in use: by what its devices have grown, and by devices that are added
    Extend {
        #[command(flatten)]
        pool: PoolName,
        /// Add a device (may be given more than once); what it holds is lost
        #[arg(long = "device", value_name = "DEVICE")]
        devices: Vec<PathBuf>,
        /// Room for metadata, such as 2G; +1G is that much more, max is as much as can be used
        #[arg(long, value_name = "SIZE")]
        metadata: Option<Target>,
        /// Lose what the devices hold
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Remove a pool; its devices are free then
    #[command(visible_alias = "rm")]
    Remove {
        #[command(flatten)]
        pool: PoolName,
        /// Even if there are volumes in it
        #[arg(long)]
        force: bool,
        /// Succeed if there is no such pool
        #[arg(long)]
        if_exists: bool,
        #[command(flatten)]
        change: Change,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PoolName {
    /// Name or UUID of the pool
    pub(crate) pool: String,
}

#[derive(Debug, Args)]
pub(crate) struct PoolSettings {
    /// What happens to writes that need room when there is none, of volumes without a policy: queue (they wait), error
    /// (they fail) or read-only (they and all later ones fail)
    #[arg(long, value_name = "POLICY")]
    pub(crate) policy: Option<Policy>,
    /// How long they wait; 0 is for as long as it takes
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u32>,
    /// Raise an event when less than this is free; 0 is never
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub(crate) low_water: Option<Bytes>,
    /// Keep so much for volumes with a reservation
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub(crate) reserve: Option<Bytes>,
    /// Whether what is freed is discarded on the devices
    #[arg(long)]
    pub(crate) passdown: Option<OnOff>,
    /// Whether what is not written of a new block is made zeros. Off saves these writes, and shows whoever reads a volume what
    /// others had there
    #[arg(long)]
    pub(crate) zero: Option<OnOff>,
    /// How long what nobody flushes may stay in memory alone; 0 is for a second
    #[arg(long, value_name = "MILLISECONDS")]
    pub(crate) commit_interval: Option<u32>,
}

/// Settings of a volume or snapshot in a pool.
#[derive(Debug, Args)]
pub(crate) struct ThinSettings {
    /// In a pool: what happens to writes that need room when there is none: queue, error, read-only, or pool (as the pool says)
    #[arg(long, value_name = "POLICY")]
    pub(crate) policy: Option<Policy>,
    /// In a pool: how long they wait with policy queue; 0 is for as long as it takes
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u32>,
    /// In a pool: keep so much of it for this volume alone
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub(crate) reservation: Option<Bytes>,
    /// In a pool: a label; KEY= takes it back (may be given more than once)
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Snapshot {
    /// List snapshots
    #[command(visible_alias = "ls")]
    List {
        /// Those of this volume only
        volume: Option<String>,
        /// Those of this pool only
        #[arg(long, value_name = "POOL", conflicts_with = "volume")]
        pool: Option<String>,
    },
    /// Print what differs between two volumes or snapshots of a pool, in bytes
    ///
    /// A range is 'changed' if both map it, to different data; 'added' if only B does, 'removed' if only A does. What they share
    /// is not read, so a snapshot is compared with its volume in a time that depends on what differs.
    Diff {
        /// The one to start from, such as the older snapshot
        #[arg(value_name = "A")]
        from: String,
        /// The one to end at
        #[arg(value_name = "B")]
        to: String,
        /// Print also what does not differ; all of both is read
        #[arg(long)]
        same: bool,
    },
    #[command(flatten)]
    Change(SnapshotChange),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotChange {
    /// Take a snapshot of a volume, or of many at one instant, whether in use or not
    ///
    /// 'snapshot create VOLUME NAME' takes one; 'snapshot create --group GROUP VOLUME...' takes one of each volume, named
    /// VOLUME-GROUP, all in one transaction. A snapshot is read-only, and becomes active when 'volume activate' is called for it,
    /// unless something else is asked for.
    Create {
        /// The volume and the snapshot's name; with --group the volumes
        #[arg(required = true, value_name = "VOLUME")]
        names: Vec<String>,
        /// Take snapshots of all the volumes at one instant, each named VOLUME-GROUP
        #[arg(long, value_name = "GROUP")]
        group: Option<String>,
        /// Allow writes to it
        #[arg(long)]
        writable: bool,
        /// Activate it, now and with its pool
        #[arg(long)]
        activate: bool,
        #[command(flatten)]
        settings: ThinSettings,
        #[command(flatten)]
        change: Change,
    },
    /// Remove snapshots; what only they have is freed in the background
    #[command(visible_alias = "rm")]
    Remove {
        /// Names or UUIDs of snapshots
        #[arg(required = true, value_name = "SNAPSHOT")]
        names: Vec<String>,
        /// Succeed if there are none
        #[arg(long)]
        if_exists: bool,
        #[command(flatten)]
        change: Change,
    },
}
