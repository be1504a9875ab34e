// SPDX-License-Identifier: GPL-2.0

//! One of several processes that do everything at once. It does not know what the others do, so that of each call
//! only the set of errors is known that it may answer.

use crate::control::{field, linear, shown, Answer, Control, Table, Uuid};
use crate::events::Reader;
use crate::generate::{Descriptors, Generator};
use crate::rng::Rng;
use crate::sys::{self, Arena};
use crate::world::World;
use crate::Result;
use nix::errno::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use stor_pure::abi::uapi::*;

/// Names and UUIDs that the workers fight for.
const POOL: usize = 12;
const MIB: u64 = 1 << 20;

struct Worker {
    rng: Rng,
    control: Control,
    disks: Vec<File>,
    reader: Reader,
    arena: Arena,
}

/// Works until it is killed; prints a byte for each thing done.
pub(crate) fn run(seed: u64, disks: &[PathBuf]) -> Result<()> {
    let disks = disks.iter().map(File::open).collect::<io::Result<_>>()?;
    let (control, reader, arena) = (Control::open()?, Reader::open()?, Arena::new()?);
    sys::scribble();
    let mut worker = Worker { rng: Rng::new(seed), control, disks, reader, arena };
    loop {
        worker.step()?;
        // When nobody reads any more, the run is over.
        if io::stdout().write_all(b".").and_then(|()| io::stdout().flush()).is_err() {
            return Ok(());
        }
    }
}

impl Worker {
    fn step(&mut self) -> Result<()> {
        use Errno::*;
        let (uuid, name) = (self.uuid(), self.name());
        match self.rng.below(17) {
            0..=2 => self.create(),
            3 => may("remove", self.control.volume(STOR_NR_REMOVE, uuid), &[ENXIO, EBUSY]),
            4 => self.remove_listed(),
            5 => may("rename", self.control.rename(uuid, &name), &[ENXIO, EEXIST]),
            6 => {
                let read_only = self.rng.one_in(2);
                may("set", self.control.set_read_only(uuid, read_only), &[ENXIO, EBUSY, EROFS])
            }
            7 => self.reload(uuid),
            8 => {
                may("suspend", self.control.volume(STOR_NR_SUSPEND, uuid), &[ENXIO, EALREADY, ETIMEDOUT])?;
                thread::sleep(Duration::from_millis(self.rng.below(20) as u64));
                may("resume", self.control.volume(STOR_NR_RESUME, uuid), &[ENXIO, EALREADY])
            }
            9 => may("list", self.control.list().map(drop), &[]),
            10 => may("status", self.control.status(uuid).map(drop), &[ENXIO]),
            11 => self.switch(),
            12 => self.reader.read_some(self.rng.below(30) as i32),
            13 | 14 => self.node(),
            15 => self.insert(),
            _ => {
                self.garbage();
                Ok(())
            }
        }
    }

    fn uuid(&mut self) -> Uuid {
        [self.rng.below(POOL) as u8 + 1; 16]
    }

    fn name(&mut self) -> String {
        format!("pool{}", self.rng.below(POOL))
    }

    /// A disk, or the node of some volume.
    fn lower(&mut self) -> Option<File> {
        if self.rng.one_in(3) {
            File::open(format!("/dev/stor{}", self.rng.below(POOL))).ok()
        } else {
            self.rng.pick(&self.disks)?.try_clone().ok()
        }
    }

    /// One device or two, and as much of them as is wanted.
    fn table(&mut self) -> (Vec<File>, Table) {
        let lowers: Vec<File> = (0..=self.rng.below(2)).filter_map(|_| self.lower()).collect();
        let segments: Vec<_> =
            (0u32..).zip(&lowers).map(|(index, _)| ((1 + self.rng.below(8) as u64) * MIB, 0, index)).collect();
        let table = Table {
            size: segments.iter().map(|segment| segment.0).sum(),
            fds: lowers.iter().map(AsRawFd::as_raw_fd).collect(),
            config: linear(&segments),
        };
        (lowers, table)
    }

    fn create(&mut self) -> Result<()> {
        use Errno::*;
        let (uuid, name) = (self.uuid(), self.name());
        let (_open, table) = self.table();
        let created = self.control.create(uuid, &name, &table);
        if let Ok(created) = &created {
            // Whoever removed it meanwhile, a node of that number is a volume or nothing.
            match File::open(format!("/dev/stor{}", created.index)) {
                Ok(_) => {}
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(format!("open a new node: {error}").into()),
            }
        }
        may("create", created.map(drop), &[EEXIST, EBUSY, ENXIO, EROFS, ENOSPC, EINVAL])
    }

    fn reload(&mut self, uuid: Uuid) -> Result<()> {
        use Errno::*;
        let (_open, table) = self.table();
        let flags = self.rng.below(2) as u32 * STOR_RELOAD_SHRINK;
        let errors = &[ENXIO, ERANGE, EBUSY, ELOOP, EROFS, ENOSPC, EINVAL, ETIMEDOUT];
        may("reload", self.control.reload(uuid, &table, flags), errors)
    }

    /// Puts a volume behind the first MiB of something else: it has the same data there.
    fn insert(&mut self) -> Result<()> {
        use Errno::*;
        let volumes = self.control.list()?.0;
        let (Some(volume), Some(lower)) = (self.rng.pick(&volumes), self.lower()) else { return Ok(()) };
        let (below, joined) = ((self.uuid(), self.name()), (self.uuid(), self.name()));
        let inserted =
            self.control.insert_behind((volume.uuid, volume.size), (below.0, &below.1), (joined.0, &joined.1), &lower);
        may("insert", inserted, &[ENXIO, EEXIST, EBUSY, ELOOP, EROFS, ENOSPC, EINVAL, ETIMEDOUT])
    }

    fn remove_listed(&mut self) -> Result<()> {
        let volumes = self.control.list()?.0;
        let Some(volume) = self.rng.pick(&volumes) else { return Ok(()) };
        may("remove", self.control.volume(STOR_NR_REMOVE, volume.uuid), &[Errno::ENXIO, Errno::EBUSY])
    }

    fn switch(&mut self) -> Result<()> {
        let engines = self.control.engines()?;
        let version = self.rng.pick(&engines).map_or_else(|| field("none"), |engine| engine.version);
        may("switch", self.control.switch(version), &[Errno::ENOENT, Errno::ETIMEDOUT])
    }

    /// Opens a node, reads, writes, closes it.
    fn node(&mut self) -> Result<()> {
        let path = format!("/dev/stor{}", self.rng.below(POOL));
        let file = match OpenOptions::new().read(true).write(self.rng.one_in(2)).custom_flags(libc::O_EXCL).open(&path)
        {
            Ok(file) => file,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EACCES | libc::EROFS)) => {
                return Ok(())
            }
            Err(error) => return Err(format!("open {path}: {error}").into()),
        };
        let mut block = [0; 8192];
        let offset = self.rng.below(4) as u64 * 4096;
        let done = file.read_at(&mut block, offset).and_then(|_| match file.write_at(&block, offset) {
            Ok(_) => file.sync_data(),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EBADF | libc::EPERM)) => Ok(()),
            Err(error) => Err(error),
        });
        match done {
            // It is smaller; or it was to be inserted, which failed, so that it is gone and has no size any more.
            Err(_) if (&file).seek(SeekFrom::End(0))? <= offset => Ok(()),
            done => done.map_err(|error| format!("read and write {path}: {error}").into()),
        }
    }

    /// Calls with something wrong in them, in memory that changes during the call.
    fn garbage(&mut self) {
        let descriptors = Descriptors {
            devices: self.disks.iter().map(|disk| ((0, 0), disk.as_raw_fd())).collect(),
            others: vec![self.control.0.as_raw_fd()],
        };
        for _ in 0..20 {
            let (rng, world) = (&mut self.rng, &World::default());
            let call = Generator { rng, world, descriptors: &descriptors }.call(&mut self.arena, 1 << 20);
            let _ = sys::ioctl(self.control.0.as_raw_fd(), call.command, call.address);
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENXIO | libc::ENODEV))
}

fn may(what: &str, answer: Answer<()>, errors: &[Errno]) -> Result<()> {
    match answer {
        Err(error) if !errors.contains(&error) => Err(format!("{what} answered {error:?}").into()),
        _ => Ok(()),
    }
}

/// What there is, for a report.
pub(crate) fn picture(control: &Control) -> String {
    match control.list() {
        Ok((volumes, _)) => {
            let line = |v: &stor_volume_info| format!("{}: state {}, open {}", shown(&v.name), v.state, v.open_count);
            volumes.iter().map(line).collect::<Vec<_>>().join("\n")
        }
        Err(error) => format!("no list: {error}"),
    }
}
