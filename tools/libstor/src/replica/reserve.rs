// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Keeping other machines out: before a replica starts, its members are reserved for this machine, which takes them from who had them if
//! that is asked for; when it stops, they are given back.
//!
//! All members are looked at before any is changed. What was registered is taken back if the start fails, but not what was taken over:
//! there the reservation is what keeps the other machine from writing.

use super::view::{LegView, ReplicaView};
use crate::device::Device;
use crate::error::errno_text;
use crate::reservation::{own, taken, Key, ReservationView, Reservations, Step};
use crate::{Error, Kind, Result, Stor};
use nix::errno::Errno;
use std::path::{Path, PathBuf};

/// Whether others are to be kept out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reserve {
    /// No: but who is kept out himself is told so.
    #[default]
    No,
    /// Yes, if no other machine keeps this one out.
    Free,
    /// Yes, whoever had it.
    TakeOver,
}

/// What is to be done to the members.
pub(super) struct Intent {
    own: Key,
    steps: Vec<(PathBuf, Vec<Step>)>,
    /// Those that have no reservations.
    without: Vec<PathBuf>,
}

/// What was done.
#[derive(Default)]
pub(super) struct Taken {
    /// Where this machine is registered since, and nobody was preempted.
    registered: Vec<PathBuf>,
    /// Whether anything changed.
    pub(super) changed: bool,
    /// What is to be said of it.
    pub(super) text: String,
}

fn names(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn failed(path: &Path, errno: Errno) -> Error {
    let path = path.display();
    let error = match errno {
        Errno::EBADE => Error::new(
            Kind::Busy,
            format!("{path} refuses the reservation: another machine has taken it meanwhile, or this one is registered by another key"),
        )
        .help("see 'storctl replica scan', and run it again"),
        errno => Error::new(Kind::Failure, format!("{path} cannot be reserved: {}", errno_text(errno)))
            .help("see the kernel log for the device's errors"),
    };
    error.errno(errno)
}

impl Intent {
    /// What is to be said of it.
    pub(super) fn text(&self, verb: &str) -> String {
        let mut text = format!("; {verb} for this machine, by key {}", self.own);
        if !self.without.is_empty() {
            let has = if self.without.len() == 1 { "has" } else { "have" };
            text += &format!("; {} {has} no reservations, and keeps nobody out", names(&self.without));
        }
        text
    }
}

impl Stor {
    /// What a device says of reservations; `None` if it has none.
    fn reservations(&self, device: &Device) -> Result<Option<Reservations>> {
        match self.system.reservations(device) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::EOPNOTSUPP) => Ok(None),
            Err(errno) => {
                let cause =
                    format!("the reservations of {} cannot be read: {}", device.path.display(), errno_text(errno));
                Err(Error::new(Kind::Failure, cause).help("see the kernel log for the device's errors").errno(errno))
            }
        }
    }

    /// Refuses a device that another machine keeps this one out of.
    pub(crate) fn admitted(&self, device: &Device) -> Result<()> {
        let Ok(found) = self.system.reservations(device) else { return Ok(()) };
        found.shut_to(Key::of(self.system.machine())).map_or(Ok(()), |other| Err(taken(&device.path, other)))
    }

    /// Registers this machine with those of these devices that another one has reserved: otherwise they cannot even be read.
    pub(super) fn enter(&self, devices: &[PathBuf]) -> Result<Vec<PathBuf>> {
        let own = own(self.system.machine())?;
        let mut entered = Vec::new();
        for path in devices {
            let enter = || -> Result<bool> {
                let device = self.system.open(path)?;
                let Some(found) = self.reservations(&device)? else { return Ok(false) };
                if found.shut_to(Some(own)).is_none() || found.has(own) {
                    return Ok(false);
                }
                self.system.reserve(&device, own, Step::Register).map_err(|errno| failed(path, errno))?;
                Ok(true)
            };
            match enter() {
                Ok(true) => entered.push(path.clone()),
                Ok(false) => {}
                Err(error) => {
                    self.withdraw(&entered);
                    return Err(error);
                }
            }
        }
        Ok(entered)
    }

    /// Takes back registrations by which nothing was reserved. That it fails is no matter: a registration alone keeps nobody out.
    pub(super) fn withdraw(&self, entered: &[PathBuf]) {
        let Ok(own) = own(self.system.machine()) else { return };
        for path in entered {
            let Ok(device) = self.system.open(path) else { continue };
            if self.system.reservations(&device).is_ok_and(|found| !found.is_held_by(own)) {
                let _ = self.vacate(&device);
            }
        }
    }

    /// What it takes to reserve these devices.
    ///
    /// # Errors
    ///
    /// Another machine has one of them, and nothing is to be taken over; or none of them has reservations.
    pub(super) fn intend<'a>(&self, devices: impl Iterator<Item = &'a Device>, how: Reserve) -> Result<Option<Intent>> {
        if how == Reserve::No {
            for device in devices {
                self.admitted(device)?;
            }
            return Ok(None);
        }
        let mut intent = Intent { own: own(self.system.machine())?, steps: Vec::new(), without: Vec::new() };
        for device in devices {
            let Some(found) = self.reservations(device)? else {
                intent.without.push(device.path.clone());
                continue;
            };
            let steps = found.plan(intent.own, how == Reserve::TakeOver);
            intent.steps.push((device.path.clone(), steps.map_err(|other| taken(&device.path, other))?));
        }
        if intent.steps.is_empty() {
            let cause = format!("no leg has persistent reservations: {}", names(&intent.without));
            return Err(Error::new(Kind::Unfit, cause).help(
                "leave out --reserve, and keep other machines out by other means, such as by switching them off",
            ));
        }
        Ok(Some(intent))
    }

    /// Does it.
    ///
    /// # Errors
    ///
    /// A device refuses. What was registered is taken back.
    pub(super) fn carry_out(&self, intent: Option<&Intent>) -> Result<Taken> {
        let mut done = Taken::default();
        let Some(intent) = intent else { return Ok(done) };
        for (path, steps) in &intent.steps {
            if let Err(error) = self.steps(path, steps, intent.own, &mut done) {
                self.give_back(&done);
                return Err(error);
            }
        }
        done.text = intent.text("reserved");
        Ok(done)
    }

    fn steps(&self, path: &Path, steps: &[Step], own: Key, done: &mut Taken) -> Result<()> {
        if steps.is_empty() {
            return Ok(());
        }
        let device = self.system.open(path)?;
        let preempts = steps.iter().any(|step| matches!(step, Step::Preempt(_)));
        for step in steps {
            self.system.reserve(&device, own, *step).map_err(|errno| failed(path, errno))?;
            done.changed = true;
            if *step == Step::Register && !preempts {
                done.registered.push(path.to_path_buf());
            }
        }
        match self.reservations(&device)? {
            Some(found) if found.is_taken(own) => Ok(()),
            _ => Err(failed(path, Errno::EBADE)),
        }
    }

    /// Takes back what was registered, but for what was taken over.
    pub(super) fn give_back(&self, done: &Taken) {
        for path in &done.registered {
            if let Ok(device) = self.system.open(path) {
                let _ = self.vacate(&device);
            }
        }
    }

    /// Gives up this machine's reservation and registration; whether there was any.
    pub(super) fn vacate(&self, device: &Device) -> Result<bool> {
        let Some(own) = Key::of(self.system.machine()) else { return Ok(false) };
        let look = || self.reservations(device).map(Option::unwrap_or_default);
        let found = look()?;
        for step in found.farewell(own) {
            // Whether it worked is looked at.
            let _ = self.system.reserve(device, own, step);
        }
        if found.has(own) && look()?.has(own) {
            self.system.reserve(device, own, Step::Unregister).map_err(|errno| {
                let cause =
                    format!("the reservation of {} cannot be given up: {}", device.path.display(), errno_text(errno));
                Error::new(Kind::Failure, cause).errno(errno)
            })?;
        }
        Ok(found.has(own))
    }

    /// The same of devices that a replica has had; what is to be said of it.
    pub(super) fn vacated<'a>(&self, devices: impl Iterator<Item = &'a Device>) -> String {
        let (mut released, mut text) = (false, String::new());
        for device in devices {
            match self.vacate(device) {
                Ok(was) => released |= was,
                Err(error) => text += &format!("; {}", error.cause),
            }
        }
        if released {
            text.insert_str(0, "; its reservations are given up");
        }
        text
    }

    /// How a device is reserved that joins these: as they are.
    pub(super) fn like<'a>(&self, used: impl IntoIterator<Item = &'a Device>) -> Reserve {
        let own = Key::of(self.system.machine());
        let ours = |device: &Device| {
            let found = self.system.reservations(device);
            found.is_ok_and(|found| own.is_some_and(|own| found.is_held_by(own)))
        };
        if used.into_iter().any(ours) {
            Reserve::Free
        } else {
            Reserve::No
        }
    }

    /// Reserves a device that joins these, if they are reserved; one that has no reservations is only told of.
    pub(super) fn take_like<'a>(&self, used: impl IntoIterator<Item = &'a Device>, new: &Device) -> Result<Taken> {
        let reserve = self.like(used);
        if reserve == Reserve::Free && self.reservations(new)?.is_none() {
            let text = format!("; {} has no reservations, and keeps nobody out", new.path.display());
            return Ok(Taken { text, ..Taken::default() });
        }
        let intent = self.intend(std::iter::once(new), reserve)?;
        Ok(Taken { text: String::new(), ..self.carry_out(intent.as_ref())? })
    }

    /// A device's reservation, if it can be told.
    pub(super) fn reservation_of(&self, path: &Path) -> Option<ReservationView> {
        let device = self.system.open(path).ok()?;
        self.system.reservations(&device).ok()?.view(Key::of(self.system.machine()))
    }

    /// Adds the reservations of its members to a replica that is shown.
    pub(super) fn with_reservations(&self, mut view: ReplicaView) -> ReplicaView {
        let tell = |leg: &mut LegView| leg.reservation = leg.device.as_ref().and_then(|path| self.reservation_of(path));
        view.legs.iter_mut().chain(&mut view.tie_break).for_each(tell);
        view
    }
}
