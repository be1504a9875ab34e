// SPDX-License-Identifier: GPL-2.0 OR MIT

//! All replicas that are there, as at boot.

use super::assemble::Assemble;
use super::leg::Leg;
use super::scan::{scan, Group};
use super::view::ReplicaChange;
use super::REPLICA;
use crate::volume::Info;
use crate::{Result, Stor};

impl Stor {
    /// Assembles all replicas that do not run and can be started safely, with a leg missing or not. What is wrong with one does not
    /// keep the others; the first error is told in the end. Arrays that only md has had, or that it has now, are left to it, and if a leg is in a volume, those
    /// that another machine has had: a virtual machine whose disk the volume is.
    pub fn assemble_all(&self) -> (Vec<ReplicaChange>, Result<()>) {
        let known = self.active_volumes();
        let (found, known) = match scan(self.system.as_ref(), &[]).and_then(|found| Ok((found, known?))) {
            Ok(found) => found,
            Err(error) => return (Vec::new(), Err(error)),
        };
        let own = |group: &&Group| group.legs.iter().any(|leg| leg.record.is_ok()) || !group.joints.is_empty();
        let machine = self.system.machine();
        let in_volume = |leg: &Leg| {
            let is = |volume: &&Info| volume.number == leg.device.number;
            known.iter().find(is).is_some_and(|volume| volume.target != REPLICA)
        };
        let mine = |group: &&Group| {
            group.youngest().is_some_and(|record| record.writer == machine) || !group.legs.iter().any(in_volume)
        };
        let idle = |group: &&Group| known.iter().all(|volume| volume.uuid != group.uuid) && group.array.is_none();
        let (mut changes, mut answer) = (Vec::new(), Ok(()));
        for group in found.groups.iter().filter(own).filter(mine).filter(idle) {
            match self.assemble_replica(&group.uuid.to_string(), &Assemble::default()) {
                Ok(change) => changes.push(change),
                Err(error) if answer.is_ok() => answer = Err(error),
                Err(_) => {}
            }
        }
        (changes, answer)
    }
}
