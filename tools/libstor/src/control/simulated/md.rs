// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The md of a simulated kernel: it takes the legs that it is given, and rebuilds those that say so at once, for nobody writes any data.

use super::State;
use crate::control::Answer;
use crate::device::{Content, Number};
use crate::replica::array::{Array, Member};
use crate::replica::leg::{self, at};
use crate::Uuid;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use stor_pure::pure::md::superblock::{feature, AT};
use zerocopy::IntoBytes;

/// An array.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Md {
    index: u32,
    path: PathBuf,
    legs: Vec<Number>,
    #[serde(default)]
    read_only: bool,
    /// Who has it open, such as "mounted on /srv".
    #[serde(default)]
    busy: Option<String>,
}

impl Md {
    pub(super) fn name(&self) -> String {
        format!("md{}", self.index)
    }

    pub(super) fn has(&self, number: Number) -> bool {
        self.legs.contains(&number)
    }
}

impl State {
    pub(super) fn arrays(&mut self) -> Vec<Array> {
        let mut arrays = Vec::new();
        for md in self.md.clone() {
            let mut members = Vec::new();
            for number in &md.legs {
                let content = self.open_lower(*number).ok();
                let found =
                    self.device(*number).zip(content).and_then(|(device, content)| leg::read(device, &content).ok());
                let Some(Ok(leg)) = found else { continue };
                let in_sync = leg.superblock.in_sync();
                members.push(Member {
                    number: *number,
                    slot: leg.slot().and_then(|slot| u32::try_from(slot).ok()),
                    words: vec![if in_sync { "in_sync" } else { "spare" }.into()],
                });
            }
            let rebuilt = members.iter().all(|member| member.state() == "in-sync");
            arrays.push(Array {
                name: md.name(),
                path: md.path.clone(),
                state: if md.read_only { "readonly" } else { "clean" }.into(),
                action: if rebuilt { "idle" } else { "recover" }.into(),
                percent: if rebuilt { None } else { Some(0) },
                members,
            });
        }
        arrays
    }

    pub(super) fn md_assemble(&mut self, name: &str, _: Uuid, legs: &[PathBuf], read_only: bool) -> Answer<()> {
        let mut numbers = Vec::new();
        for path in legs {
            let (number, _) = self.number(path).ok_or(Errno::ENOENT)?;
            if self.user(number, None).is_some() {
                return Err(Errno::EBUSY);
            }
            numbers.push(number);
        }
        for number in numbers.iter().filter(|_| !read_only && !self.no_rebuild) {
            let device = self.device(*number).ok_or(Errno::ENODEV)?;
            let content = self.open_lower(*number)?;
            let found = leg::read(device, &content).map_err(|_| Errno::EIO)?;
            let mut superblock = found.map_err(|_| Errno::EINVAL)?.superblock;
            let rebuilt = superblock.feature_map.get() & !(feature::RECOVERY | feature::RECOVERY_BITMAP);
            superblock.feature_map = rebuilt.into();
            superblock.seal().map_err(|_| Errno::EIO)?;
            content.write(at(AT.0), superblock.as_bytes()).map_err(|_| Errno::EIO)?;
        }
        let used: Vec<u32> = self.md.iter().map(|md| md.index).collect();
        let index = (0..=127).rev().find(|index| !used.contains(index)).ok_or(Errno::ENOSPC)?;
        self.md.push(Md { index, path: Path::new("/dev/md").join(name), legs: numbers, read_only, busy: None });
        Ok(())
    }

    pub(super) fn md_stop(&mut self, name: &str) -> Answer<()> {
        let at = self.md.iter().position(|md| md.name() == name).ok_or(Errno::ENXIO)?;
        if self.md.get(at).is_some_and(|md| md.busy.is_some()) {
            return Err(Errno::EBUSY);
        }
        self.md.remove(at);
        Ok(())
    }
}
