// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Arrays of the kernel's own md, as sysfs shows them.

use crate::device::Number;
use std::path::PathBuf;

/// A RAID1 array that md has, whose metadata is such as legs of replicas have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Array {
    /// The kernel's name for it, such as `md127`.
    pub name: String,
    /// Its node; that of its name, if it has one.
    pub path: PathBuf,
    /// What md says of it, such as `clean`, `active`, `read-auto`, `inactive`.
    pub state: String,
    /// What it is doing, such as `recover`; `idle` if nothing.
    pub action: String,
    /// How far that is.
    pub percent: Option<u64>,
    /// Its legs.
    pub members: Vec<Member>,
}

/// A leg of such an array.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// The device.
    pub number: Number,
    /// The slot that it has.
    pub slot: Option<u32>,
    /// What md says of it: some of `in_sync`, `spare`, `faulty`, and others.
    pub words: Vec<String>,
}

impl Array {
    /// Whether it runs: one that does not only holds its legs.
    pub fn runs(&self) -> bool {
        !matches!(self.state.as_str(), "" | "inactive" | "clear")
    }

    /// What it has of a device.
    pub fn member(&self, number: Number) -> Option<&Member> {
        self.members.iter().find(|member| member.number == number)
    }
}

impl Member {
    /// In the words that replicas have for it.
    pub fn state(&self) -> &'static str {
        let is = |word| self.words.iter().any(|own| own == word);
        match () {
            () if is("faulty") => "failed",
            () if is("in_sync") => "in-sync",
            () if self.slot.is_some() => "rebuilding",
            () => "behind",
        }
    }
}
