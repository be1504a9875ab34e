// SPDX-License-Identifier: GPL-2.0

//! The pool that is tested, behind shell functions: `tests/vm/lib/pool FLAVOUR FUNCTION ARGUMENT…`. What is here is all that
//! the tests know of an implementation, so that each can stand in for the other.

use crate::Fault;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

/// A pool, by way of the program that knows it.
#[derive(Clone)]
pub(crate) struct Pool {
    pub(crate) program: PathBuf,
    pub(crate) flavour: String,
}

/// The name of a volume.
pub(crate) fn name(volume: u64) -> String {
    format!("v{volume}")
}

impl Pool {
    /// Calls a function; what it prints.
    fn call(&self, function: &str, arguments: &[String]) -> Result<String, Fault> {
        let output =
            Command::new("bash").arg(&self.program).arg(&self.flavour).arg(function).args(arguments).output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        Err(format!("{function} {}: {}: {said}", arguments.join(" "), output.status).into())
    }

    /// Opens the pool, and these of its volumes.
    pub(crate) fn open(&self, volumes: &[u64]) -> Result<(), Fault> {
        self.call("pool_open", &volumes.iter().copied().map(name).collect::<Vec<_>>()).map(drop)
    }

    /// Closes the pool and all that is open of it, even if its disks are gone.
    pub(crate) fn close(&self) -> Result<(), Fault> {
        self.call("pool_close", &[]).map(drop)
    }

    /// Looks at what a closed pool has on its disks, and fails if anything is wrong; says what else it found.
    pub(crate) fn check(&self) -> Result<String, Fault> {
        self.call("pool_check", &[])
    }

    /// How many data blocks are in use.
    pub(crate) fn used(&self) -> Result<u64, Fault> {
        Ok(self.call("pool_used", &[])?.parse()?)
    }

    /// Makes a volume of so many sectors, and opens it.
    pub(crate) fn create(&self, volume: u64, sectors: u64) -> Result<(), Fault> {
        self.call("volume_create", &[name(volume), sectors.to_string()]).map(drop)
    }

    /// Opens a volume; fails if there is none of this name.
    pub(crate) fn open_volume(&self, volume: u64) -> Result<(), Fault> {
        self.call("volume_open", &[name(volume)]).map(drop)
    }

    /// Makes a snapshot of an open volume, or a clone, which can be written to, and opens it.
    pub(crate) fn snapshot(&self, origin: u64, volume: u64, writable: bool) -> Result<(), Fault> {
        let function = if writable { "volume_clone" } else { "snapshot_create" };
        self.call(function, &[name(origin), name(volume)]).map(drop)
    }

    /// Makes an open volume what a snapshot of it is.
    pub(crate) fn rollback(&self, volume: u64, snapshot: u64) -> Result<(), Fault> {
        self.call("volume_rollback", &[name(volume), name(snapshot)]).map(drop)
    }

    /// Closes an open volume and deletes it.
    pub(crate) fn delete(&self, volume: u64) -> Result<(), Fault> {
        self.call("volume_delete", &[name(volume)]).map(drop)
    }

    /// The nodes of open volumes, by their numbers.
    pub(crate) fn nodes(&self, volumes: &[u64]) -> Result<BTreeMap<u64, PathBuf>, Fault> {
        let said = self.call("volume_nodes", &volumes.iter().copied().map(name).collect::<Vec<_>>())?;
        let nodes: BTreeMap<_, _> = volumes.iter().copied().zip(said.lines().map(PathBuf::from)).collect();
        if nodes.len() == volumes.len() {
            Ok(nodes)
        } else {
            Err(format!("volume_nodes: {} volumes, but {said:?}", volumes.len()).into())
        }
    }

    /// Cuts the power of all disks, or of some; how many sectors were kept and lost.
    pub(crate) fn cut(&self, mode: &str, seed: u64, some: &[u64]) -> Result<(u64, u64), Fault> {
        let words = [mode.to_owned(), seed.to_string()].into_iter().chain(some.iter().map(u64::to_string));
        let said = self.call("cut", &words.collect::<Vec<_>>())?;
        let mut counts = said.split_whitespace().map(str::parse);
        match (counts.next(), counts.next()) {
            (Some(Ok(kept)), Some(Ok(lost))) => Ok((kept, lost)),
            _ => Err(format!("cut: what does {said:?} mean?").into()),
        }
    }

    /// Gives all disks their power again, or some.
    pub(crate) fn power(&self, some: &[u64]) -> Result<(), Fault> {
        self.call("power", &some.iter().map(u64::to_string).collect::<Vec<_>>()).map(drop)
    }

    /// Whether all disks of an open pool have everything.
    pub(crate) fn is_whole(&self) -> Result<bool, Fault> {
        Ok(self.call("pool_is_whole", &[])? == "true")
    }

    /// Gives an open pool back the disks that were gone when it was opened.
    pub(crate) fn whole(&self) -> Result<(), Fault> {
        self.call("pool_return", &[]).map(drop)
    }
}
