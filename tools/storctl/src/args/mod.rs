// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What can be typed. Help, completions and man pages are made from this.

mod pool;
mod replica;

pub(crate) use pool::{Pool, PoolChange, PoolSettings, Snapshot, SnapshotChange, ThinSettings};
pub(crate) use replica::{OnSlow, Replica, ReplicaChange};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use libstor::linear::Target;
use libstor::{size, Bytes, Uuid};
use std::path::PathBuf;

/// Control Stor's block volumes
#[derive(Debug, Parser)]
#[command(name = "storctl", version, arg_required_else_help = true, subcommand_required = true, max_term_width = 100)]
#[command(after_help = crate::exit_codes())]
pub(crate) struct Command {
    /// Print JSON, also for errors (on stderr); see docs/json.md
    #[arg(long, global = true, display_order = 101)]
    pub(crate) json: bool,
    /// Work with the kernel's own device-mapper (dm-thin) and md in place of Stor's modules; for pools, volumes and snapshots in them, and
    /// replicas.
    /// With STOR_FALLBACK=auto in the environment that is done where Stor's modules are not loaded
    #[arg(long, global = true, display_order = 102)]
    pub(crate) fallback: bool,
    #[command(subcommand)]
    pub(crate) noun: Noun,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Noun {
    /// Create, look at, change and remove volumes
    #[command(subcommand, arg_required_else_help = true)]
    Volume(Volume),
    /// Create, look at, grow, check and remove thin pools
    #[command(subcommand, arg_required_else_help = true)]
    Pool(Pool),
    /// Take, list and remove snapshots of volumes of pools
    #[command(subcommand, arg_required_else_help = true)]
    Snapshot(Snapshot),
    /// Create, assemble, look at and stop replicas: volumes on several legs, each with all of the data
    #[command(subcommand, arg_required_else_help = true)]
    Replica(Replica),
    /// Look for devices of pools; for legs of replicas see 'replica scan'
    Scan {
        /// Where to look; on all block devices if not given
        #[arg(value_name = "DEVICE")]
        devices: Vec<PathBuf>,
        /// Print what udev's rules want to know of this one device: whose it is, and if that is a pool, whether it is whole
        #[arg(long, value_name = "DEVICE", conflicts_with = "devices")]
        udev: Option<PathBuf>,
    },
    /// Assemble replicas and activate pools, or a pool as 'pool activate' does
    Activate {
        /// Every replica that can be started safely, and every pool that is whole, with its volumes; what a boot calls
        #[arg(long, required_unless_present = "pool")]
        all: bool,
        /// Name or UUID of a pool
        #[arg(conflicts_with = "all")]
        pool: Option<String>,
        #[command(flatten)]
        change: Change,
    },
    /// List the loaded engines, or switch to another with I/O running
    #[command(subcommand, arg_required_else_help = true)]
    Engine(Engine),
    /// Look at, make and mend dm-thin metadata in files or on devices, of any pool, LVM's too
    #[command(subcommand, arg_required_else_help = true)]
    Metadata(Metadata),
    /// Print what happens to volumes and engines, as it happens
    Events(Events),
    /// Print the versions of storctl, the loaded module and their ABI
    Version,
    /// Find out why Stor does not work here, and what to do
    Doctor(Doctor),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the man pages into a folder
    #[command(hide = true)]
    Man {
        /// The folder
        folder: PathBuf,
    },
}

/// Given to whatever changes something.
#[derive(Debug, Args)]
pub(crate) struct Change {
    /// Check everything that can be checked and say what would be done, but do nothing
    #[arg(long, display_order = 100)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Volume {
    /// List the volumes; those of pools are listed even if they are not active
    #[command(visible_alias = "ls")]
    List,
    /// Show a volume: what it waits for and since when, its devices, its segments
    Show {
        #[command(flatten)]
        volume: Name,
    },
    #[command(flatten)]
    Change(VolumeChange),
}

#[derive(Debug, Subcommand)]
pub(crate) enum VolumeChange {
    /// Make a volume in a pool, or from block devices
    ///
    /// 'volume create NAME --pool POOL --size SIZE' makes one in a pool, which takes of the pool what is written to it.
    ///
    /// A volume from devices holds what the devices hold, one after the other: nothing is written to them. After a reboot, or
    /// after 'volume remove', the same command brings the same volume back with its data.
    Create {
        /// Its name: letters, digits and . _ + -, a letter or digit first, at most 63 characters
        name: String,
        /// What it is made of: devices, or parts of them from START on, LENGTH long
        #[arg(required_unless_present = "pool", conflicts_with = "pool", value_name = "DEVICE[:START[:LENGTH]]")]
        devices: Vec<String>,
        /// Make it in this pool
        #[arg(long)]
        pool: Option<String>,
        /// In a pool: read from this device where the volume has nothing of its own. It is never written to, and can be shared; use
        /// a path that stays, such as in /dev/disk/by-id
        #[arg(long, requires = "pool", value_name = "DEVICE")]
        origin: Option<PathBuf>,
        /// Its size, such as 10G (powers of 1024) or 10GB (powers of 1000); all that the devices have if not given
        #[arg(long, value_parser = size::parse)]
        size: Option<Bytes>,
        /// Its UUID; a random one if not given
        #[arg(long)]
        uuid: Option<Uuid>,
        /// Refuse writes
        #[arg(long)]
        read_only: bool,
        #[command(flatten)]
        settings: ThinSettings,
        /// In a pool: do not activate it
        #[arg(long, requires = "pool")]
        inactive: bool,
        /// Succeed if the same volume is there already; fail if it differs
        #[arg(long)]
        if_missing: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Make a volume of a pool that has what another, or a snapshot, has now; they share it until one is written to
    Clone {
        #[command(flatten)]
        volume: Name,
        /// Its name
        name: String,
        #[command(flatten)]
        settings: ThinSettings,
        /// Do not activate it
        #[arg(long)]
        inactive: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Return a volume to what a snapshot has
    ///
    /// The volume must not be open. What it has now is kept as a snapshot; the snapshot that it is returned to stays as it is.
    Rollback {
        /// Name or UUID of the snapshot
        snapshot: String,
        /// The name for what the volume has now; VOLUME-before-SNAPSHOT if not given
        #[arg(long, value_name = "NAME", conflicts_with = "discard_current")]
        keep_as: Option<String>,
        /// Lose what the volume has now
        #[arg(long)]
        discard_current: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Give a volume of a pool to the kernel
    Activate {
        #[command(flatten)]
        volume: Name,
        #[command(flatten)]
        change: Change,
    },
    /// Take a volume of a pool from the kernel; nothing is lost
    Deactivate {
        #[command(flatten)]
        volume: Name,
        #[command(flatten)]
        change: Change,
    },
    /// Change a volume's size or add devices to it, while it is in use
    Resize {
        #[command(flatten)]
        volume: Name,
        /// The new size, such as 20G; +5G is that much more, max is as much as the last device has
        #[arg(required_unless_present = "devices")]
        size: Option<Target>,
        /// Add a device or a part of it (may be given more than once); without SIZE all of it
        #[arg(long = "device", value_name = "DEVICE[:START[:LENGTH]]")]
        devices: Vec<String>,
        /// Allow a smaller size: what lies behind it is cut off
        #[arg(long)]
        shrink: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Hold a volume's I/O, once what is under way is finished
    Suspend {
        #[command(flatten)]
        volume: Name,
        #[command(flatten)]
        change: Change,
    },
    /// Let a suspended volume's I/O go on
    Resume {
        #[command(flatten)]
        volume: Name,
        #[command(flatten)]
        change: Change,
    },
    /// Give a volume another name
    Rename {
        #[command(flatten)]
        volume: Name,
        /// The new name
        to: String,
        #[command(flatten)]
        change: Change,
    },
    /// Remove a volume: one of a pool loses what it holds; what devices hold stays
    #[command(visible_alias = "rm")]
    Remove {
        #[command(flatten)]
        volume: Name,
        /// Succeed if there is no such volume
        #[arg(long)]
        if_exists: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Change what a volume allows
    Set {
        #[command(flatten)]
        volume: Name,
        /// Whether it refuses writes
        #[arg(long)]
        read_only: Option<OnOff>,
        /// In a pool: whether it is activated with the pool
        #[arg(long)]
        auto: Option<OnOff>,
        /// In a pool: where the device is now that the volume was created with as --origin
        #[arg(long, value_name = "DEVICE")]
        origin: Option<PathBuf>,
        #[command(flatten)]
        settings: ThinSettings,
        #[command(flatten)]
        change: Change,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Name {
    /// Name, POOL/VOLUME, UUID or node (/dev/storN) of the volume
    pub(crate) volume: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnOff {
    /// Yes
    On,
    /// No
    Off,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Engine {
    /// List the loaded engines, in order of their loading
    #[command(visible_alias = "ls")]
    List,
    /// Move every volume to another engine with I/O running
    ///
    /// Each volume's I/O is held for a moment, which is printed. If the engine refuses a volume, all go back.
    Switch {
        /// The engine's version, as 'engine list' shows it
        version: String,
        #[command(flatten)]
        change: Change,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Metadata {
    /// Check metadata that nobody is writing; whatever is wrong is told, and nothing is changed
    ///
    /// Finds what thin_check finds, and what it does not: wrong totals, hints that hide free blocks, flags and versions that
    /// are not known, clocks by which one device would write to what another reads. Exit code 1 if anything is found.
    ///
    /// Of a metadata snapshot the trees are checked; reference counts belong to the pool, and change while it is in use.
    Check {
        #[command(flatten)]
        metadata: MetadataFile,
        #[command(flatten)]
        held: Held,
        #[command(flatten)]
        progress: NoProgress,
    },
    /// Write metadata as XML, which 'metadata restore' and thin_restore read, or as text
    Dump {
        #[command(flatten)]
        metadata: MetadataFile,
        #[command(flatten)]
        held: Held,
        #[command(flatten)]
        progress: NoProgress,
        /// How to write it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Print what differs between two thin devices, in bytes
    ///
    /// A range is 'changed' if both devices map it, to different data; 'added' if only B does, 'removed' if only A does. What
    /// neither maps is not printed. What the devices share is not read, so a snapshot is compared with its origin in a time that
    /// depends on what differs.
    Delta {
        #[command(flatten)]
        metadata: MetadataFile,
        /// The id of the device to start from
        #[arg(value_name = "A")]
        from: u64,
        /// The id of the device to end at
        #[arg(value_name = "B")]
        to: u64,
        #[command(flatten)]
        held: Held,
        /// Print also what does not differ; all of both devices is read
        #[arg(long)]
        same: bool,
        /// Print XML as thin_delta does, in blocks; without --same the 'same' elements are left out
        #[arg(long)]
        xml: bool,
        #[command(flatten)]
        progress: NoProgress,
    },
    /// Make metadata of XML, as 'metadata dump' and thin_dump write it
    ///
    /// What several devices share in the XML (def and ref) they share in the metadata. The target becomes metadata when all is
    /// written and not before: what fails leaves nothing behind that could be taken for metadata. Its size is the metadata's.
    Restore {
        /// The XML; - is stdin
        #[arg(long, short, value_name = "XML")]
        input: PathBuf,
        /// The file or block device to make the metadata on, which is there and as large as the metadata is to be
        #[arg(long, short, value_name = "METADATA")]
        output: PathBuf,
        /// Write over what the target holds; nothing of it is left
        #[arg(long)]
        overwrite: bool,
        #[command(flatten)]
        progress: NoProgress,
        #[command(flatten)]
        change: Change,
    },
    /// Mend damaged metadata in a copy, or say what would be kept and what is lost
    ///
    /// The damaged metadata is read and never changed. All mappings that can be read are kept; reference counts, totals and
    /// clocks are made anew. If the superblock or a root is lost, the trees are looked for in all blocks. What is lost is told
    /// in ranges of blocks, each with the metadata block that is damaged. The copy is checked when it is made.
    Repair {
        /// The damaged metadata, in a file or on a block device
        #[arg(long, short, value_name = "METADATA")]
        input: PathBuf,
        /// The file or block device for the copy, which is there
        #[arg(long, short, value_name = "COPY", required_unless_present = "plan")]
        output: Option<PathBuf>,
        /// Say what would be kept and what is lost, and write nothing
        #[arg(long, conflicts_with = "output")]
        plan: bool,
        /// Write over what COPY holds; nothing of it is left
        #[arg(long)]
        overwrite: bool,
        /// If the superblock is lost: the size of a data block, such as 64k
        #[arg(long, value_name = "SIZE", value_parser = size::parse)]
        data_block_size: Option<Bytes>,
        /// If the superblock is lost: how many data blocks the pool has
        #[arg(long, value_name = "BLOCKS")]
        data_blocks: Option<u64>,
        /// If the superblock is lost: the pool's transaction id
        #[arg(long, value_name = "ID")]
        transaction_id: Option<u64>,
        #[command(flatten)]
        progress: NoProgress,
        #[command(flatten)]
        change: Change,
    },
    /// Show what the superblock says, and the devices
    Stat {
        #[command(flatten)]
        metadata: MetadataFile,
        #[command(flatten)]
        held: Held,
    },
    /// Tell how much metadata a pool needs
    ///
    /// For N data blocks in leaves of F mappings that is N / F metadata blocks. Each snapshot keeps, of N / VOLUMES blocks of
    /// which PERCENT are rewritten in groups of G, one leaf for each group, but no more than there are. To this come the nodes
    /// above, reference counts, and room for a transaction. Usual: F is 168, G is 16; worst: F is 84, G is 1. See docs/format.md.
    Size {
        /// Size of the data device, such as 10T
        #[arg(value_name = "DATA", value_parser = size::parse)]
        data: Bytes,
        /// Size of a data block: a multiple of 64K, at most 1G
        #[arg(long, value_name = "SIZE", default_value = "64K", value_parser = size::parse)]
        block_size: Bytes,
        /// Volumes, snapshots not counted; they are taken to be alike in size
        #[arg(long, value_name = "COUNT", default_value_t = 1)]
        volumes: u64,
        /// Snapshots of all volumes together
        #[arg(long, value_name = "COUNT", default_value_t = 0)]
        snapshots: u64,
        /// How much of a volume is rewritten, or discarded, between one snapshot and the next
        #[arg(long, value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u64).range(..=100))]
        rewritten: u64,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Held {
    /// Of the metadata snapshot; this can be read while the pool is in use
    #[arg(long)]
    pub(crate) held: bool,
}

#[derive(Debug, Args)]
pub(crate) struct NoProgress {
    /// Do not show on a terminal how far it has come
    #[arg(long, display_order = 100)]
    pub(crate) no_progress: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For programs
    #[default]
    Xml,
    /// For people
    Text,
}

#[derive(Debug, Args)]
pub(crate) struct MetadataFile {
    /// A file or block device with the metadata
    #[arg(value_name = "METADATA")]
    pub(crate) path: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Go on until interrupted, not only up to the first event
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Give up (exit code 10) when no event comes for so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Look at the system below this folder
    #[arg(long, hide = true, default_value = "/", value_name = "FOLDER")]
    pub(crate) root: PathBuf,
}
