// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The devices of a simulated kernel.

use super::{Simulated, SimulatedDevice, MAJOR};
use crate::control::Answer;
use crate::device::{Access, Content, Device, Host, Number, Plain, Wanted};
use crate::replica::array::Array;
use crate::reservation::{Key, Reservations, Step};
use crate::{Bytes, Error, Kind, Result, Uuid};
use nix::errno::Errno;
use std::path::{Path, PathBuf};
use std::rc::Rc;

impl Host for Simulated {
    fn exists(&self, path: &Path) -> bool {
        self.with(|state| Ok(state.number(path).is_some())).unwrap_or(false)
    }

    fn open(&self, path: &Path) -> Result<Device> {
        let number = self.number(path)?;
        let device = self.with(|state| Ok(state.device(number).filter(|_| !state.gone(number))))?;
        device.ok_or_else(|| {
            Error::new(Kind::NotFound, format!("there is no device or medium behind {}", path.display()))
        })
    }

    fn find(&self, number: Number, disk: &str) -> Result<Device> {
        let device = self.with(|state| Ok(state.device(number)))?;
        device.ok_or_else(|| Error::new(Kind::NotFound, format!("no node in /dev leads to device {number} ({disk})")))
    }

    fn number(&self, path: &Path) -> Result<Number> {
        match self.with(|state| Ok(state.number(path)))? {
            Some((number, true)) => Ok(number),
            Some(_) => Err(Error::new(Kind::Unfit, format!("{} is not a block device", path.display()))),
            None => Err(Error::new(Kind::NotFound, format!("{} does not exist", path.display()))
                .help("see 'lsblk' for the devices there are")),
        }
    }

    fn user(&self, device: &Device) -> Option<String> {
        self.with(|state| Ok(state.user(device.number, None))).ok()?
    }

    fn busy(&self, device: &Device) -> bool {
        self.user(device).is_some()
    }

    fn boottime(&self) -> u64 {
        self.with(|state| Ok(state.now)).unwrap_or(0)
    }

    fn content(&self, device: &Device, access: Access) -> Result<Rc<dyn Content>> {
        let path = self.with(|state| {
            if access == Access::Claim && state.user(device.number, None).is_some() {
                return Err(Errno::EBUSY);
            }
            if state.conflicts(device.number) {
                return Err(Errno::EBADE);
            }
            state.backing(device.number)
        });
        let path = path.map_err(|errno| match errno {
            Errno::EOPNOTSUPP => Error::new(Kind::NotFound, "a simulation keeps no data of volumes").errno(errno),
            Errno::EBUSY => crate::device::busy(device, self.user(device)),
            errno => errno.into(),
        })?;
        let content = Plain::open(&path, access);
        Ok(Rc::new(content.map_err(|error| Error::new(Kind::Failure, format!("{}: {error}", path.display())))?))
    }

    fn candidates(&self, wanted: Wanted) -> Vec<PathBuf> {
        let path = |(index, device): (usize, &SimulatedDevice)| {
            let number = Number { major: MAJOR - 1, minor: index as u32 };
            device.block.then(|| (number, device.path.clone()))
        };
        self.with(|state| {
            let devices = state.devices.iter().enumerate().filter_map(path).filter(|(number, _)| !state.gone(*number));
            let joined = |number: Number| {
                state
                    .volumes
                    .iter()
                    .any(|volume| state.first_lower(Number { major: MAJOR, minor: volume.index }) == Some(number))
            };
            let devices = devices.filter(|(number, _)| !joined(*number)).map(|(_, path)| path);
            let volumes = state.volumes.iter().filter(|_| wanted == Wanted::Legs);
            Ok(devices.chain(volumes.map(|volume| format!("/dev/stor{}", volume.index).into())).collect())
        })
        .unwrap_or_default()
    }

    fn identity(&self, device: &Device) -> Option<String> {
        let volume = |state: &mut super::State| {
            let volume = state.volumes.iter().find(|volume| volume.index == device.number.minor);
            Ok(volume.map(|volume| volume.uuid))
        };
        match device.number.major == MAJOR {
            true => Some(crate::replica::joint::of_stor(self.with(volume).ok()??)),
            // Of one without a medium for names, too, as memory.
            false => Some(format!("path-{}", device.path.display())).filter(|name| !name.contains("ram")),
        }
    }

    fn signature(&self, device: &Device) -> Result<Option<String>> {
        let Number { major, minor } = device.number;
        let holds = |state: &mut super::State| {
            let device = state.devices.get(minor as usize).filter(|_| major == MAJOR - 1);
            Ok(device.and_then(|device| device.holds.clone()))
        };
        self.with(holds).map_err(Error::from)
    }

    fn wipe(&self, device: &Device) -> Result<()> {
        let Number { major, minor } = device.number;
        let wipe = |state: &mut super::State| {
            if let Some(device) = state.devices.get_mut(minor as usize).filter(|_| major == MAJOR - 1) {
                device.holds = None;
            }
            Ok(())
        };
        self.with(wipe).map_err(Error::from)
    }

    fn discard(&self, path: &Path, begin: Bytes, end: Bytes) -> Result<()> {
        self.with(|state| state.discard(path, begin.0, end.0)).map_err(Error::from)
    }

    fn lvm(&self, _arguments: &[&str]) -> Result<String> {
        Err(Error::new(Kind::NotFound, "lvm2 cannot be asked: there is none").help("install lvm2"))
    }

    fn arrays(&self) -> Vec<Array> {
        self.with(|state| Ok(state.arrays())).unwrap_or_default()
    }

    fn md_ready(&self) -> Result<()> {
        let missing = self.with(|state| Ok(state.no_mdadm)).map_err(Error::from)?;
        if missing {
            Err(super::super::no_mdadm())
        } else {
            Ok(())
        }
    }

    fn md_assemble(&self, name: &str, uuid: Uuid, legs: &[PathBuf], read_only: bool) -> Result<()> {
        self.with(|state| state.md_assemble(name, uuid, legs, read_only)).map_err(Error::from)
    }

    fn md_stop(&self, array: &Array) -> Result<()> {
        self.with(|state| state.md_stop(&array.name)).map_err(Error::from)
    }

    fn reservations(&self, device: &Device) -> Answer<Reservations> {
        self.with(|state| state.reservations(device.number))
    }

    fn reserve(&self, device: &Device, own: Key, step: Step) -> Answer<()> {
        self.with(|state| state.reserve(device.number, own, step))
    }

    fn machine(&self) -> [u8; 16] {
        self.with(|state| Ok(state.caller())).unwrap_or_default().into_bytes()
    }

    fn hostname(&self) -> String {
        "simulation".into()
    }

    fn time(&self) -> u64 {
        // The year 2026 begins when it boots.
        1_767_225_600 + self.boottime() / 1_000_000_000
    }

    fn uuid(&self) -> Uuid {
        let drawn = self.with(|state| {
            state.uuids += 1;
            Ok(state.uuids)
        });
        Uuid::from_u128(0xf00d_0000_0000_4000_8000_0000_0000_0000 | u128::from(drawn.unwrap_or_default()))
    }
}
