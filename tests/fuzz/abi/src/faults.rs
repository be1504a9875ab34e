// SPDX-License-Identifier: GPL-2.0

//! Memory that is not there: every allocation that a call makes fails once, one after the other, by the kernel's fault
//! injection (`/proc/thread-self/fail-nth`). The call answers ENOMEM and has changed nothing, or can do without that
//! memory and has done what it should.

use crate::check;
use crate::control::{Answer, Control, Table, Version};
use crate::Result;
use nix::errno::Errno;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use stor_pure::abi::uapi::*;

const NTH: &str = "/proc/thread-self/fail-nth";
const UUID: [u8; 16] = [3; 16];
const MIB: u64 = 1 << 20;

struct Faults {
    control: Control,
    disk: File,
    /// What joins a volume.
    more: Option<File>,
    engines: Vec<Version>,
}

/// Runs all calls on volumes over `disk`. Allocations that may wait must be set to fail too (`ignore-gfp-wait`).
/// A second disk is for INSERT.
pub(crate) fn run(disk: &Path, more: Option<&Path>) -> Result<()> {
    let control = Control::open()?;
    let engines = control.engines()?.iter().map(|engine| engine.version).collect();
    let faults = Faults { control, disk: File::open(disk)?, more: more.map(File::open).transpose()?, engines };
    let control = &faults.control;
    let nothing = || Ok(());
    let there = || control.create(UUID, "fault", &faults.table(4)).map(drop);
    let gone = || control.volume(STOR_NR_REMOVE, UUID);
    faults.every("create", &nothing, &there, &gone)?;
    faults.every("remove", &there, &gone, &nothing)?;
    there()?;
    faults.every("reload", &nothing, &|| control.reload(UUID, &faults.table(8), 0), &|| {
        control.reload(UUID, &faults.table(4), STOR_RELOAD_SHRINK)
    })?;
    let (suspend, resume) = (|| control.volume(STOR_NR_SUSPEND, UUID), || control.volume(STOR_NR_RESUME, UUID));
    faults.every("suspend", &nothing, &suspend, &resume)?;
    faults.every("resume", &suspend, &resume, &nothing)?;
    faults.every("rename", &nothing, &|| control.rename(UUID, "other"), &|| control.rename(UUID, "fault"))?;
    faults.every("set", &nothing, &|| control.set_read_only(UUID, true), &|| control.set_read_only(UUID, false))?;
    faults.every("list", &nothing, &|| control.list().map(drop), &nothing)?;
    faults.every("status", &nothing, &|| control.status(UUID).map(drop), &nothing)?;
    faults.every("engines", &nothing, &|| control.engines().map(drop), &nothing)?;
    faults.every("version", &nothing, &|| control.version().map(drop), &nothing)?;
    if let [first, .., last] = *faults.engines {
        faults.every("switch", &nothing, &|| control.switch(last), &|| control.switch(first))?;
    }
    gone()?;
    if let Some(more) = &faults.more {
        let insert = || {
            let (below, joined) = (([4; 16], "below"), ([5; 16], "joined"));
            control.insert_behind((UUID, 4 * MIB), below, joined, more)
        };
        let all_gone = || [UUID, [5; 16], [4; 16]].iter().try_for_each(|uuid| control.volume(STOR_NR_REMOVE, *uuid));
        faults.every("insert", &there, &insert, &all_gone)?;
    }
    Ok(())
}

type Step<'a> = &'a dyn Fn() -> Answer<()>;

impl Faults {
    fn table(&self, mib: u64) -> Table {
        Table::whole(self.disk.as_raw_fd(), mib * MIB)
    }

    /// Fails each allocation of `call`, until there are no more; `before` makes what it needs, `after` takes back what
    /// it did.
    fn every(&self, what: &str, before: Step<'_>, call: Step<'_>, after: Step<'_>) -> Result<()> {
        let (mut failed, mut survived) = (0, 0);
        for nth in 1.. {
            before()?;
            let was = self.picture()?;
            fs::write(NTH, nth.to_string())?;
            let answer = call();
            let left = fs::read_to_string(NTH)?;
            fs::write(NTH, "0")?;
            let at = |error: String| format!("{what}, allocation {nth}: {error}");
            check::consistent(&self.control).map_err(|error| at(error.to_string()))?;
            match answer {
                Ok(()) => {
                    after().map_err(|error| at(format!("taking it back: {error}")))?;
                    if left.trim() != "0" {
                        break;
                    }
                    survived += 1;
                }
                Err(Errno::ENOMEM) => {
                    let is = self.picture()?;
                    if is != was {
                        return Err(at(format!("it failed, and changed\n{was}\nto\n{is}")).into());
                    }
                    failed += 1;
                    // What `before` made is there still.
                    call().map_err(|error| at(format!("again, with memory: {error}")))?;
                    after().map_err(|error| at(format!("taking it back: {error}")))?;
                }
                Err(error) => return Err(at(format!("answered {error:?}")).into()),
            }
        }
        println!("{what:8} {failed:3} failures answered ENOMEM, {survived:3} were done without");
        Ok(())
    }

    fn picture(&self) -> Result<String> {
        Ok(format!("{:?}", self.control.list()?))
    }
}
