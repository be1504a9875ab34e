// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Two slots and a pool, of which a crash leaves any part of the last write.

use std::collections::{BTreeMap, BTreeSet};
use stor_pure::pure::catalog::handshake::{decide, undo, Mend, Stamp};
use stor_pure::pure::catalog::record::{Fixed, Label, DELETING, NO_ORIGIN};
use stor_pure::pure::catalog::write::Writer;
use stor_pure::pure::catalog::{Catalog, Settings};
use stor_pure::pure::thin::crc::Crc;

pub(crate) const POOL: [u8; 16] = [0x5a; 16];
const SECTOR: usize = 512;
const SLOT: usize = 8192;

/// The processor's instruction: there is much to be summed.
pub(crate) struct Fast;

impl Crc for Fast {
    fn crc32c(bytes: &[u8]) -> u32 {
        !crc32c::crc32c(bytes)
    }
}

/// A volume as the model has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) policy: u32,
    pub(crate) size: u64,
    pub(crate) deleting: bool,
    pub(crate) labels: BTreeMap<String, String>,
}

/// By device id: the name and the rest.
pub(crate) type Model = BTreeMap<u32, (String, Volume)>;

pub(crate) fn encode(model: &Model, stamp: Stamp, slot: u32) -> Vec<u8> {
    let mut bytes = vec![0; SLOT];
    let mut writer = Writer::new(&mut bytes).unwrap();
    for (id, (name, volume)) in model {
        let fixed = Fixed {
            device: (*id).into(),
            size: volume.size.max(512).into(),
            origin: NO_ORIGIN.into(),
            flags: if volume.deleting { DELETING } else { 0 }.into(),
            policy: volume.policy.into(),
            ..Fixed::default()
        };
        let labels: Vec<_> = volume.labels.iter().map(|(key, value)| Label { key, value }).collect();
        writer.push(&fixed, name, &labels).unwrap();
    }
    let length = writer.finish::<Fast>(stamp, &POOL, slot, Settings::default()).unwrap();
    bytes.truncate(length);
    bytes
}

pub(crate) fn decode(catalog: &Catalog<'_>) -> Model {
    let volume = |volume: stor_pure::pure::catalog::record::Volume<'_>| Volume {
        policy: volume.policy() as u32,
        size: volume.fixed.size.get(),
        deleting: volume.fixed.is_deleting(),
        labels: volume.labels().map(|label| (label.key.into(), label.value.into())).collect(),
    };
    let mut model = Model::new();
    for found in catalog.volumes() {
        assert!(model.insert(found.fixed.device.get(), (found.name.into(), volume(found))).is_none());
    }
    model
}

/// What a crash leaves: both slots, the pool's transaction id and devices.
#[derive(Clone)]
pub(crate) struct World {
    slots: [Vec<u8>; 2],
    transaction: u64,
    devices: BTreeSet<u32>,
}

/// One durable step of a change.
#[derive(Clone)]
enum Step {
    /// A slot is written and flushed.
    Slot(usize, Vec<u8>),
    /// A commit of the pool: devices that are made and removed, and whether the transaction id rises.
    Pool(Vec<u32>, Vec<u32>, bool),
}

impl World {
    pub(crate) fn new(model: &Model) -> Self {
        let stamp = Stamp { generation: 1.into(), transaction: 0.into() };
        let mut slots = [vec![0xee; SLOT], vec![0x11; SLOT]];
        for (number, slot) in slots.iter_mut().enumerate() {
            let bytes = encode(model, stamp, number as u32);
            slot[..bytes.len()].copy_from_slice(&bytes);
        }
        Self { slots, transaction: 0, devices: model.keys().copied().collect() }
    }

    fn slot(&self, number: usize) -> Result<Catalog<'_>, stor_pure::pure::catalog::Refusal> {
        Catalog::of::<Fast>(&self.slots[number], &POOL, number as u32)
    }

    fn decide(&self) -> stor_pure::pure::catalog::handshake::Decision {
        decide(self.transaction, [0, 1].map(|number| self.slot(number).map(|catalog| catalog.stamp()))).unwrap()
    }

    pub(crate) fn model(&self) -> Model {
        decode(&self.slot(self.decide().slot).unwrap())
    }

    fn done(&self, step: &Step) -> Self {
        let mut world = self.clone();
        match step {
            Step::Slot(number, bytes) => world.slots[*number][..bytes.len()].copy_from_slice(bytes),
            Step::Pool(made, removed, rises) => {
                world.devices.extend(made);
                world.devices.retain(|device| !removed.contains(device));
                world.transaction += u64::from(*rises);
            }
        }
        world
    }

    /// What a crash in the middle of a step can leave: some sectors of a slot; a commit is done or not.
    fn torn(&self, step: &Step, all: bool) -> Vec<Self> {
        let Step::Slot(number, bytes) = step else { return vec![self.clone(), self.done(step)] };
        let sectors = bytes.len().div_ceil(SECTOR);
        assert!(sectors <= 6);
        // Every subset, or every prefix and suffix.
        let every = (1u64 << sectors) - 1;
        let masks: Vec<u64> = if all {
            (0..=every).collect()
        } else {
            (0..=sectors).flat_map(|n| [(1 << n) - 1, every & !((1 << n) - 1)]).collect()
        };
        let tear = |mask: u64| {
            let mut world = self.clone();
            for sector in (0..sectors).filter(|sector| (mask >> sector) & 1 == 1) {
                let range = sector * SECTOR..((sector + 1) * SECTOR).min(bytes.len());
                world.slots[*number][range.clone()].copy_from_slice(&bytes[range]);
            }
            world
        };
        masks.into_iter().map(tear).collect()
    }

    /// What is to be done before anything is changed.
    fn mending(&self) -> Vec<Step> {
        let decision = self.decide();
        let truth = self.slot(decision.slot).unwrap();
        let copy = |number: usize| Step::Slot(number, encode(&decode(&truth), truth.stamp(), number as u32));
        match decision.mend {
            None => Vec::new(),
            Some(Mend::Copy) => vec![copy(decision.other())],
            Some(Mend::RollBack) => {
                let intent = self.slot(decision.other()).unwrap();
                let left = undo(&truth, &intent).filter(|device| self.devices.contains(device));
                let mut steps: Vec<Step> = left.map(|device| Step::Pool(vec![], vec![device], false)).collect();
                steps.push(copy(decision.other()));
                steps
            }
        }
    }

    /// Mends, and crashes at every point of that; what it comes to.
    fn mended(&self, crash: bool, count: &mut usize) -> Self {
        let mut world = self.clone();
        for step in self.mending() {
            if crash {
                for crashed in world.torn(&step, false) {
                    *count += 1;
                    assert_eq!(crashed.mended(false, count).model(), world.model());
                }
            }
            world = world.done(&step);
        }
        assert_eq!(world.decide().mend, None);
        world
    }

    /// Changes the catalog to `next`; devices that are new are made in the pool, and `removed` ones removed. Crashes on the
    /// way wherever that can be; how often.
    pub(crate) fn change(&mut self, next: &Model, removed: &BTreeSet<u32>, at_once: bool) -> usize {
        let (before, decision) = (self.model(), self.decide());
        assert_eq!(decision.mend, None);
        let stamp = self.slot(decision.slot).unwrap().stamp();
        let made: Vec<u32> = next.keys().filter(|id| !before.contains_key(id)).copied().collect();
        let mut steps = Vec::new();
        if *next != before {
            let stamp = if made.is_empty() { stamp.alone() } else { stamp.intent() }.unwrap();
            let slot = |number: usize| Step::Slot(number, encode(next, stamp, number as u32));
            steps.push(slot(decision.other()));
            if at_once && !made.is_empty() {
                steps.push(Step::Pool(made, vec![], true));
            } else if !made.is_empty() {
                steps.extend(made.into_iter().map(|device| Step::Pool(vec![device], vec![], false)));
                steps.push(Step::Pool(vec![], vec![], true));
            }
            steps.push(slot(decision.slot));
        }
        steps.extend(removed.iter().map(|device| Step::Pool(vec![], vec![*device], false)));
        let mut count = 0;
        for step in steps {
            for crashed in self.torn(&step, true) {
                count += 1;
                let mended = crashed.mended(true, &mut count);
                let model = mended.model();
                assert!(model == before || model == *next, "neither before nor after");
                mended.sound();
            }
            *self = self.done(&step);
        }
        self.sound();
        assert_eq!(self.decide().mend, None);
        count
    }

    /// Names are there once; the pool has every device that is not being deleted, and none that the catalog has not.
    fn sound(&self) {
        let model = self.model();
        let names: Vec<&String> = model.values().map(|(name, _)| name).filter(|name| !name.is_empty()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        assert!(self.devices.iter().all(|device| model.contains_key(device)), "a device without a record");
        let here = |(id, (_, volume)): (&u32, &(String, Volume))| volume.deleting || self.devices.contains(id);
        assert!(model.iter().all(here), "a volume without its device");
    }
}
