// SPDX-License-Identifier: GPL-2.0

//! The kernel's dm-thin, by dmsetup.

use crate::model::{stamped, BLOCKS, PAGE, PAGES};
use crate::side::{Fault, Side};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// 512-byte sectors of a page.
const SECTORS: u64 = PAGE as u64 / 512;
const POOL: &str = "interop";

/// dm-thin at work.
pub(crate) struct Theirs {
    /// The volumes' nodes, open.
    nodes: BTreeMap<u64, File>,
}

/// Runs a program; what it prints.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<String, Fault> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{program} {}: {}: {}{said}", arguments.join(" "), output.status, why).into())
}

fn message(text: &str) -> Result<(), Fault> {
    run("dmsetup", &["message", POOL, "0", text]).map(drop)
}

fn volume(id: u64) -> String {
    format!("{POOL}-{id}")
}

fn node(name: &str) -> PathBuf {
    Path::new("/dev/mapper").join(name)
}

impl Theirs {
    /// Activates the pool, with all that its devices hold, and these volumes.
    pub(crate) fn open(metadata: &Path, data: &Path, passdown: bool, volumes: &[u64]) -> Result<Self, Fault> {
        let data = data.display().to_string();
        let sectors: u64 = run("blockdev", &["--getsz", &data])?.trim().parse()?;
        let features = if passdown { "0" } else { "1 no_discard_passdown" };
        let (sectors, block) = (sectors / (SECTORS * PAGES) * SECTORS * PAGES, SECTORS * PAGES);
        let table = format!("0 {sectors} thin-pool {} {data} {block} 0 {features}", metadata.display());
        run("dmsetup", &["create", POOL, "--table", &table])?;
        let mut theirs = Self { nodes: BTreeMap::new() };
        for &id in volumes {
            theirs.activate(id)?;
        }
        Ok(theirs)
    }

    fn activate(&mut self, id: u64) -> Result<(), Fault> {
        let (name, sectors) = (volume(id), BLOCKS * PAGES * SECTORS);
        let table = format!("0 {sectors} thin {} {id}", node(POOL).display());
        run("dmsetup", &["create", &name, "--table", &table])?;
        let node = OpenOptions::new().read(true).write(true).open(node(&name))?;
        self.nodes.insert(id, node);
        Ok(())
    }

    fn deactivate(&mut self, id: u64) -> Result<(), Fault> {
        // The last one that closes it has the pages written.
        self.node(id)?.sync_all()?;
        self.nodes.remove(&id);
        run("dmsetup", &["remove", &volume(id)]).map(drop)
    }

    fn node(&self, id: u64) -> Result<&File, Fault> {
        Ok(self.nodes.get(&id).ok_or_else(|| format!("volume {id} is not active"))?)
    }
}

impl Side for Theirs {
    fn create(&mut self, id: u64) -> Result<(), Fault> {
        message(&format!("create_thin {id}"))?;
        self.activate(id)
    }

    fn snapshot(&mut self, id: u64, origin: u64) -> Result<(), Fault> {
        // Suspending it writes what its page cache has only if it is frozen; it holds no file system.
        self.node(origin)?.sync_all()?;
        run("dmsetup", &["suspend", &volume(origin)])?;
        let taken = message(&format!("create_snap {id} {origin}"));
        run("dmsetup", &["resume", &volume(origin)])?;
        taken?;
        self.activate(id)
    }

    fn delete(&mut self, id: u64) -> Result<(), Fault> {
        self.deactivate(id)?;
        message(&format!("delete {id}"))
    }

    fn write(&mut self, id: u64, pages: Range<u64>, stamp: u64) -> Result<(), Fault> {
        let bytes = stamped(pages.end - pages.start, stamp);
        let node = self.node(id)?;
        node.write_all_at(&bytes, pages.start * PAGE as u64)?;
        // A discard does not wait for the pages that are still to be written.
        Ok(node.sync_data()?)
    }

    fn discard(&mut self, id: u64, blocks: Range<u64>) -> Result<(), Fault> {
        let block = PAGE as u64 * PAGES;
        let (offset, length) = ((blocks.start * block).to_string(), ((blocks.end - blocks.start) * block).to_string());
        let node = node(&volume(id)).display().to_string();
        run("blkdiscard", &["--force", "--offset", &offset, "--length", &length, &node]).map(drop)
    }

    fn set_transaction_id(&mut self, old: u64, new: u64) -> Result<(), Fault> {
        message(&format!("set_transaction_id {old} {new}"))
    }

    fn hold(&mut self) -> Result<(), Fault> {
        message("reserve_metadata_snap")
    }

    fn release(&mut self) -> Result<(), Fault> {
        message("release_metadata_snap")
    }

    fn free(&mut self) -> Result<u64, Fault> {
        // 0 LENGTH thin-pool TRANSACTION USED/TOTAL USED/TOTAL …
        let status = run("dmsetup", &["status", POOL])?;
        let (used, total) =
            status.split_whitespace().nth(5).and_then(|data| data.split_once('/')).ok_or(status.as_str())?;
        Ok(total.parse::<u64>()? - used.parse::<u64>()?)
    }

    fn commit(&mut self) -> Result<(), Fault> {
        // With --noflush it would not commit.
        run("dmsetup", &["status", POOL]).map(drop)
    }

    fn forget(&mut self) -> Result<(), Fault> {
        for &id in self.nodes.keys() {
            run("blockdev", &["--flushbufs", &node(&volume(id)).display().to_string()])?;
        }
        Ok(())
    }

    fn read(&mut self, id: u64, page: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        Ok(self.node(id)?.read_exact_at(bytes, page * PAGE as u64)?)
    }

    fn close(mut self: Box<Self>) -> Result<(), Fault> {
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.deactivate(id)?;
        }
        let status = run("dmsetup", &["status", POOL])?;
        if !status.contains(" rw ") || status.contains(" needs_check ") {
            return Err(format!("dm-thin gave up: {status}").into());
        }
        run("dmsetup", &["remove", POOL]).map(drop)
    }
}
