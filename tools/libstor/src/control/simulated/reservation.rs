// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Persistent reservations of simulated devices. A device that has `reservations` tells machines apart by their ids.

use super::{State, MAJOR};
use crate::control::Answer;
use crate::device::Number;
use crate::reservation::{Held, Key, Reservations, Step, Style};
use crate::Uuid;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// Who is registered with a device, and who has reserved it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Registered {
    machines: Vec<(Uuid, Key)>,
    held: Option<(Uuid, Style)>,
}

impl Registered {
    fn key(&self, machine: Uuid) -> Option<Key> {
        self.machines.iter().find(|(other, _)| *other == machine).map(|(_, key)| *key)
    }

    fn remove(&mut self, gone: impl Fn(&Uuid, &Key) -> bool) {
        self.machines.retain(|(machine, key)| !gone(machine, key));
        if self.held.is_some_and(|(holder, _)| self.key(holder).is_none()) {
            self.held = None;
        }
    }

    fn step(&mut self, machine: Uuid, own: Key, step: Step) -> Answer<()> {
        let known = self.key(machine);
        if step == Step::Register {
            return match known {
                None => {
                    self.machines.push((machine, own));
                    Ok(())
                }
                Some(key) if key == own => Ok(()),
                Some(_) => Err(Errno::EBADE),
            };
        }
        if known != Some(own) {
            return Err(Errno::EBADE);
        }
        match step {
            Step::Register => {}
            Step::Unregister => self.remove(|other, _| *other == machine),
            Step::Reserve if self.held.is_some_and(|held| held != (machine, Style::REGISTRANTS)) => {
                return Err(Errno::EBADE)
            }
            Step::Reserve => self.held = Some((machine, Style::REGISTRANTS)),
            Step::Release(_) if self.held.is_some_and(|(holder, _)| holder != machine) => {}
            Step::Release(style) if self.held.is_some_and(|held| held.1 != style) => return Err(Errno::EINVAL),
            Step::Release(_) => self.held = None,
            Step::Preempt(other) => {
                let holder = self.held.and_then(|(holder, _)| self.key(holder));
                if holder == Some(other) {
                    self.held = Some((machine, Style::REGISTRANTS));
                }
                self.remove(|one, key| *key == other && *one != machine);
            }
            Step::PreemptSelf => self.remove(|other, _| *other == machine),
        }
        Ok(())
    }
}

impl State {
    /// Which machine the caller is on.
    pub(super) fn caller(&self) -> Uuid {
        if self.machine.is_nil() {
            Uuid::from_u128(1)
        } else {
            self.machine
        }
    }

    fn registered(&mut self, number: Number) -> Answer<&mut Registered> {
        let device = self.devices.get_mut(number.minor as usize).filter(|_| number.major == MAJOR - 1);
        device.and_then(|device| device.reservations.as_mut()).ok_or(Errno::EOPNOTSUPP)
    }

    pub(super) fn reservations(&mut self, number: Number) -> Answer<Reservations> {
        let found = self.registered(number)?;
        let held = found.held.and_then(|(holder, style)| Some(Held { key: found.key(holder)?, style }));
        Ok(Reservations { keys: found.machines.iter().map(|(_, key)| *key).collect(), held })
    }

    pub(super) fn reserve(&mut self, number: Number, own: Key, step: Step) -> Answer<()> {
        let machine = self.caller();
        self.registered(number)?.step(machine, own, step)
    }

    /// Whether a device fails what the caller reads and writes.
    pub(super) fn conflicts(&self, number: Number) -> bool {
        let device = self.devices.get(number.minor as usize).filter(|_| number.major == MAJOR - 1);
        let found = device.and_then(|device| device.reservations.as_ref());
        found.is_some_and(|found| found.held.is_some() && found.key(self.caller()).is_none())
    }
}
