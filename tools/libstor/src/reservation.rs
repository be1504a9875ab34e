// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Persistent reservations of a device: what it says of them, and by which steps it becomes this machine's alone.
//!
//! A machine registers a key with a device; then the device is reserved for those that are registered ([`Style::REGISTRANTS`]): it neither
//! writes nor reads for anybody else. Another machine that preempts a key takes registration and reservation from who had it, at
//! one instant and in the device itself, so that nothing of that machine arrives any more. See `linux/pr.h`, SPC-4 5.13, and
//! NVM Express Base Specification 2.0, 8.19.

use crate::{Error, Kind, Result};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::path::Path;

/// What a machine is registered by; not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key(pub u64);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

impl Key {
    /// The key of a machine, by its id; none if it has no id.
    pub fn of(machine: [u8; 16]) -> Option<Self> {
        let id = u128::from_be_bytes(machine);
        let folded = (id >> 64) as u64 ^ id as u64;
        (id != 0).then_some(Self(folded.max(1)))
    }
}

/// Who may do what (`enum pr_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Style(pub u32);

impl Style {
    /// Only who is registered may write or read.
    pub const REGISTRANTS: Self = Self(4);

    /// In a word.
    pub const fn word(self) -> &'static str {
        match self.0 {
            1 => "write-exclusive",
            2 => "exclusive-access",
            3 => "write-exclusive-registrants",
            4 => "exclusive-access-registrants",
            5 => "write-exclusive-all-registrants",
            6 => "exclusive-access-all-registrants",
            _ => "unknown",
        }
    }

    /// Whether all who are registered hold it.
    const fn is_shared(self) -> bool {
        matches!(self.0, 5 | 6)
    }
}

/// A reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// By whom; any of those who are registered, or zero, if all of them hold it.
    pub key: Key,
    /// Of which type.
    pub style: Style,
}

/// What a device says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservations {
    /// The keys that are registered, one for each path or host.
    pub keys: Vec<Key>,
    /// The reservation, if there is one.
    pub held: Option<Held>,
}

/// One request to a device, with this machine's key beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Register the key.
    Register,
    /// Take it back.
    Unregister,
    /// Reserve the device for those who are registered.
    Reserve,
    /// Give up a reservation.
    Release(Style),
    /// Take registration and reservation from who has this key, and give up what he has under way.
    Preempt(Key),
    /// Take the own registration from oneself, wherever it is.
    PreemptSelf,
}

/// A reservation as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReservationView {
    /// Who holds it; `None` if there are only registrations.
    #[serde(serialize_with = "shown")]
    pub key: Option<Key>,
    /// Its type, such as `exclusive-access-registrants`.
    #[serde(rename = "type")]
    pub style: Option<&'static str>,
    /// Whether this machine holds it.
    pub ours: bool,
    /// Whether this machine is registered.
    pub registered: bool,
}

fn shown<S: Serializer>(key: &Option<Key>, to: S) -> std::result::Result<S::Ok, S::Error> {
    match key {
        Some(key) => to.collect_str(key),
        None => to.serialize_none(),
    }
}

impl Reservations {
    /// Whether this key is registered.
    pub fn has(&self, key: Key) -> bool {
        self.keys.contains(&key)
    }

    /// Whether this key holds the reservation.
    pub fn is_held_by(&self, key: Key) -> bool {
        self.held.is_some_and(|held| if held.style.is_shared() { self.has(key) } else { held.key == key })
    }

    /// The keys of others, that of who holds the reservation first.
    pub fn others(&self, own: Key) -> Vec<Key> {
        let holder = self.held.map(|held| held.key).filter(|key| key.0 != 0);
        let mut others: Vec<Key> = Vec::new();
        for key in holder.into_iter().chain(self.keys.iter().copied()).filter(|key| *key != own) {
            if !others.contains(&key) {
                others.push(key);
            }
        }
        others
    }

    /// Who keeps this key out of the device.
    pub fn shut_to(&self, own: Option<Key>) -> Option<Key> {
        let held = self.held?;
        let inside = own.is_some_and(|own| match held.style.0 {
            1 | 2 => held.key == own,
            _ => self.has(own),
        });
        (!inside).then_some(held.key)
    }

    /// Whether it is reserved for this key alone.
    pub fn is_taken(&self, own: Key) -> bool {
        self.held == Some(Held { key: own, style: Style::REGISTRANTS }) && self.has(own) && self.others(own).is_empty()
    }

    /// By which steps the device becomes that of `own` alone.
    ///
    /// Who holds it is preempted last: by that the reservation changes hands, and no moment is without one. Some targets preempt nobody
    /// for who holds the reservation himself, so it is given up before others are.
    ///
    /// # Errors
    ///
    /// Somebody else is registered, and nothing is to be taken over.
    pub fn plan(&self, own: Key, take_over: bool) -> std::result::Result<Vec<Step>, Key> {
        let others = self.others(own);
        match others.first() {
            Some(other) if !take_over => return Err(*other),
            _ => {}
        }
        if self.is_taken(own) {
            return Ok(Vec::new());
        }
        let mut steps = Vec::new();
        if !self.has(own) {
            steps.push(Step::Register);
        }
        let holder = self.held.filter(|_| !self.is_held_by(own)).filter(|held| !held.style.is_shared());
        match self.held {
            Some(held) if self.is_held_by(own) => steps.push(Step::Release(held.style)),
            // Who registers shares it.
            Some(held) if held.style.is_shared() => steps.push(Step::Release(held.style)),
            _ => {}
        }
        let holder = holder.map(|held| held.key);
        steps.extend(others.into_iter().filter(|key| Some(*key) != holder).map(Step::Preempt));
        steps.push(holder.map_or(Step::Reserve, Step::Preempt));
        Ok(steps)
    }

    /// By which steps `own` is registered no longer; a second look tells whether the last was needed.
    pub fn farewell(&self, own: Key) -> Vec<Step> {
        if !self.has(own) {
            return Vec::new();
        }
        // Of a shared one nobody but the last is rid of it.
        let held = self.held.filter(|held| !held.style.is_shared() && held.key == own);
        // Not by registering zero: over NVMe some kernels take that for a key like any other.
        held.map(|held| Step::Release(held.style)).into_iter().chain([Step::PreemptSelf]).collect()
    }

    /// As it is shown; `None` if there is nothing to show.
    pub fn view(&self, own: Option<Key>) -> Option<ReservationView> {
        if self.held.is_none() && self.keys.is_empty() {
            return None;
        }
        Some(ReservationView {
            key: self.held.map(|held| held.key),
            style: self.held.map(|held| held.style.word()),
            ours: own.is_some_and(|own| self.is_held_by(own)),
            registered: own.is_some_and(|own| self.has(own)),
        })
    }
}

/// Who has a device, in words.
pub(crate) fn reserved(other: Key) -> String {
    format!("reserved by key {other}, of another machine")
}

/// The device is another machine's.
pub(crate) fn taken(path: &Path, other: Key) -> Error {
    Error::new(Kind::Busy, format!("{} is {}", path.display(), reserved(other)))
        .help("stop the replica there; if that cannot be, take it over, by which that machine is kept out: storctl replica assemble REPLICA LEG... --take-over")
}

/// This machine has no key.
///
/// # Errors
///
/// That.
pub(crate) fn own(machine: [u8; 16]) -> Result<Key> {
    Key::of(machine).ok_or_else(|| {
        Error::new(Kind::Failure, "this machine has no id, by which others could tell its reservations")
            .help("make one: systemd-machine-id-setup")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Key = Key(1);
    const B: Key = Key(2);
    const C: Key = Key(3);

    fn found(keys: &[Key], held: Option<(Key, u32)>) -> Reservations {
        let held = held.map(|(key, style)| Held { key, style: Style(style) });
        Reservations { keys: keys.to_vec(), held }
    }

    #[test]
    fn keys_are_those_of_machines() {
        assert_eq!(Key::of([0; 16]), None);
        assert_eq!(Key::of(1u128.to_be_bytes()), Some(Key(1)));
        // Halves that are equal cancel each other out.
        assert_eq!(Key::of([7; 16]), Some(Key(1)));
        assert_eq!(A.to_string(), "0x0000000000000001");
    }

    #[test]
    fn what_is_free_is_taken() {
        for take_over in [false, true] {
            assert_eq!(found(&[], None).plan(A, take_over), Ok(vec![Step::Register, Step::Reserve]));
            assert_eq!(found(&[A], None).plan(A, take_over), Ok(vec![Step::Reserve]));
            assert_eq!(found(&[A, A], Some((A, 4))).plan(A, take_over), Ok(vec![]));
            let odd = found(&[A], Some((A, 1))).plan(A, take_over);
            assert_eq!(odd, Ok(vec![Step::Release(Style(1)), Step::Reserve]));
        }
    }

    #[test]
    fn others_are_refused_or_preempted() {
        let held = found(&[A, C], Some((A, 4)));
        assert_eq!(held.plan(B, false), Err(A));
        assert_eq!(held.plan(B, true), Ok(vec![Step::Register, Step::Preempt(C), Step::Preempt(A)]));
        let registered = found(&[A], None);
        assert_eq!(registered.plan(B, false), Err(A));
        assert_eq!(registered.plan(B, true), Ok(vec![Step::Register, Step::Preempt(A), Step::Reserve]));
        let intruder = found(&[A, B], Some((B, 4)));
        assert_eq!(intruder.plan(B, false), Err(A));
        let steps = vec![Step::Release(Style::REGISTRANTS), Step::Preempt(A), Step::Reserve];
        assert_eq!(intruder.plan(B, true), Ok(steps));
        let shared = found(&[A], Some((Key(0), 6)));
        assert_eq!(shared.plan(B, false), Err(A));
        let steps = vec![Step::Register, Step::Release(Style(6)), Step::Preempt(A), Step::Reserve];
        assert_eq!(shared.plan(B, true), Ok(steps));
    }

    #[test]
    fn who_leaves_gives_up_what_is_his() {
        assert_eq!(found(&[A], Some((A, 4))).farewell(B), vec![]);
        assert_eq!(found(&[A, B], Some((A, 4))).farewell(B), vec![Step::PreemptSelf]);
        let own = vec![Step::Release(Style::REGISTRANTS), Step::PreemptSelf];
        assert_eq!(found(&[B], Some((B, 4))).farewell(B), own);
    }

    #[test]
    fn who_is_kept_out() {
        assert_eq!(found(&[A], None).shut_to(Some(B)), None);
        assert_eq!(found(&[A, B], Some((A, 4))).shut_to(Some(B)), None);
        assert_eq!(found(&[A, B], Some((A, 2))).shut_to(Some(B)), Some(A));
        assert_eq!(found(&[A], Some((A, 4))).shut_to(Some(B)), Some(A));
        assert_eq!(found(&[A], Some((A, 4))).shut_to(None), Some(A));
    }

    #[test]
    fn only_what_is_there_is_shown() {
        assert_eq!(found(&[], None).view(Some(A)), None);
        let view = found(&[A], Some((A, 4))).view(Some(A)).map(|view| (view.ours, view.registered, view.style));
        assert_eq!(view, Some((true, true, Some("exclusive-access-registrants"))));
        let view = found(&[A], None).view(Some(B)).map(|view| (view.key, view.ours, view.registered));
        assert_eq!(view, Some((None, false, false)));
    }
}
