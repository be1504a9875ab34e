// SPDX-License-Identifier: GPL-2.0 OR MIT

//! All replicas that are there, as at boot.

use super::assemble::Assemble;
use super::scan::{scan, Group};
use super::view::ReplicaChange;
use crate::{Result, Stor};

impl Stor {
    /// Assembles all replicas that do not run and can be started safely, with a leg missing or not. What is wrong with one does not
    /// keep the others; the first error is told in the end. Arrays that only md has had are left to it.
    pub fn assemble_all(&self) -> (Vec<ReplicaChange>, Result<()>) {
        let known = self.active_volumes();
        let (found, known) = match scan(self.system.as_ref(), &[]).and_then(|found| Ok((found, known?))) {
            Ok(found) => found,
            Err(error) => return (Vec::new(), Err(error)),
        };
        let own = |group: &&Group| group.legs.iter().any(|leg| leg.record.is_ok());
        let idle = |group: &&Group| known.iter().all(|volume| volume.uuid != group.uuid);
        let (mut changes, mut answer) = (Vec::new(), Ok(()));
        for group in found.groups.iter().filter(own).filter(idle) {
            match self.assemble_replica(&group.uuid.to_string(), &Assemble::default()) {
                Ok(change) => changes.push(change),
                Err(error) if answer.is_ok() => answer = Err(error),
                Err(_) => {}
            }
        }
        (changes, answer)
    }
}
