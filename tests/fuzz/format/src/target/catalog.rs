// SPDX-License-Identifier: GPL-2.0

//! A catalog: the pool's transaction id, what is put right, and the two slots, of which the second begins as a copy of the
//! first and is then changed in places.

use super::{Bytes, Fast, Target};
use std::collections::BTreeSet;
use stor_pure::pure::catalog::handshake::{decide, undo, Mend, Stamp};
use stor_pure::pure::catalog::record::{Fixed, Label, DELETING, LABELS_MAX, NO_ORIGIN};
use stor_pure::pure::catalog::write::Writer;
use stor_pure::pure::catalog::{Catalog, Header, Settings, MAGIC, SLOT_MIN};
use stor_pure::pure::thin::crc::Crc;
use zerocopy::{FromBytes, IntoBytes};

pub(super) const TARGET: Target = Target { name: "catalog", about: "both slots of a catalog", most: 3000, seeds, run };

const POOL: [u8; 16] = [0; 16];

fn seeds() -> Vec<Vec<u8>> {
    let fixed =
        |device: u32| Fixed { device: device.into(), size: 512.into(), origin: NO_ORIGIN.into(), ..Fixed::default() };
    let slot = |volumes: &[(u32, &str, &[Label<'_>])]| {
        let mut bytes = vec![0; SLOT_MIN];
        let Ok(mut writer) = Writer::new(&mut bytes) else { return bytes };
        for (device, name, labels) in volumes {
            let flags = if name.is_empty() { DELETING } else { 0 };
            let _ = writer.push(&Fixed { flags: flags.into(), ..fixed(*device) }, name, labels);
        }
        let stamp = Stamp { generation: 1.into(), transaction: 1.into() };
        let length = writer.finish::<Fast>(stamp, &POOL, 0, Settings::default()).unwrap_or(0);
        bytes.truncate(length);
        bytes
    };
    let labels = [Label { key: "app", value: "db" }, Label { key: "b/c", value: "ö" }];
    let slots = [slot(&[]), slot(&[(1, "b", &labels), (2, "", &[]), (7, "a", &[])])];
    let one = |slot: &Vec<u8>| [&[1, 3, slot.len() as u8, (slot.len() >> 8) as u8], &slot[..]].concat();
    // An intent: another generation and transaction.
    let intent = [&[16, 0, 1, 2][..], &[24, 0, 1, 2], &[0, 0, 0]].concat();
    slots.iter().map(one).chain(slots.iter().map(|slot| [one(slot), intent.clone()].concat())).collect()
}

fn fix(slot: &mut [u8], number: u32) {
    if let Ok((header, _)) = Header::mut_from_prefix(slot) {
        (header.magic, header.version, header.slot) = (MAGIC, 1.into(), number.into());
        header.pool = POOL;
    }
    let length = Header::read_from_prefix(slot)
        .map_or(0, |(header, _)| 128 + u64::from(header.records.get()) + 4 * u64::from(header.named.get()));
    let sum = slot.get(12..length as usize).map_or(0, |covered| !Fast::crc32c(covered));
    if let Ok((header, _)) = Header::mut_from_prefix(slot) {
        header.checksum = sum.into();
    }
}

fn run(input: &[u8]) {
    let mut bytes = Bytes(input);
    let (pool, fixed, length) = (u64::from(bytes.byte()), bytes.byte(), bytes.number(2) as usize % 2900);
    let mut slots = [vec![0; 2900], vec![0; 2900]];
    let [first, second] = &mut slots;
    Bytes(bytes.take(length)).fill(first);
    second.copy_from_slice(first);
    while !bytes.is_empty() {
        let (place, count) = (bytes.number(2) as usize, usize::from(bytes.byte()));
        let new = bytes.take(count);
        second.iter_mut().skip(place).zip(new).for_each(|(to, from)| *to = *from);
    }
    for (number, slot) in slots.iter_mut().enumerate() {
        if (fixed >> number) & 1 == 1 {
            fix(slot, number as u32);
        }
        assert!((SLOT_MIN..=64 << 20).contains(&Catalog::length(slot)));
    }
    let read = [0, 1].map(|number| {
        let slot = slots.get(number).map(Vec::as_slice).unwrap_or_default();
        Catalog::of::<Fast>(slot, &POOL, number as u32)
    });
    for catalog in &read {
        match catalog {
            Ok(catalog) => sound(catalog),
            Err(refusal) => drop(refusal.to_string()),
        }
    }
    match decide(pool, read.map(|catalog| catalog.map(|catalog| catalog.stamp()))) {
        Ok(decision) => {
            let [truth, other] = [decision.slot, decision.other()].map(|slot| read.get(slot).copied());
            let Some(Ok(truth)) = truth else { panic!("a slot that cannot be read counts") };
            assert_eq!(truth.stamp().transaction.get(), pool);
            if decision.mend == Some(Mend::RollBack) {
                let Some(Ok(intent)) = other else { panic!("an intent that cannot be read") };
                let known: BTreeSet<u32> = truth.volumes().map(|volume| volume.fixed.device.get()).collect();
                assert!(undo(&truth, &intent).all(|device| !known.contains(&device)));
            }
        }
        Err(mismatch) => drop(mismatch.to_string()),
    }
}

/// What was accepted is without contradiction, and can be written as it is.
fn sound(catalog: &Catalog<'_>) {
    let header = catalog.header();
    let devices: BTreeSet<u32> = catalog.volumes().map(|volume| volume.fixed.device.get()).collect();
    let names: BTreeSet<&str> = catalog.by_name().map(|volume| volume.name).collect();
    assert_eq!((devices.len(), names.len()), (header.volumes.get() as usize, header.named.get() as usize));
    let free = catalog.free_device(header.settings.next_device.get());
    assert!(free.is_some_and(|device| !devices.contains(&device)));
    let mut bytes = vec![0; 8192];
    let Ok(mut writer) = Writer::new(&mut bytes) else { return };
    for volume in catalog.volumes() {
        let labels: Vec<_> = volume.labels().collect();
        assert!(labels.len() == usize::from(volume.fixed.labels.get()) && labels.len() <= LABELS_MAX);
        assert_eq!(volume.name.is_empty(), volume.fixed.is_deleting());
        let _ = volume.policy();
        assert!(volume.name.is_empty() || catalog.find(volume.name).map(|found| found.fixed) == Some(volume.fixed));
        assert_eq!(writer.push(volume.fixed, volume.name, &labels), Ok(()));
    }
    let written = writer.finish::<Fast>(catalog.stamp(), &POOL, header.slot.get(), header.settings);
    let again = Catalog::of::<Fast>(&bytes, &POOL, header.slot.get());
    assert!(written.is_ok() && again.is_ok_and(|again| again.volumes().eq_by_fields(catalog.volumes())));
}

trait Same {
    fn eq_by_fields(self, other: Self) -> bool;
}

impl<'a, I: Iterator<Item = stor_pure::pure::catalog::record::Volume<'a>>> Same for I {
    fn eq_by_fields(self, other: Self) -> bool {
        let fields = |volume: stor_pure::pure::catalog::record::Volume<'a>| {
            (
                volume.fixed.as_bytes(),
                volume.name,
                volume.labels().map(|label| (label.key, label.value)).collect::<Vec<_>>(),
            )
        };
        self.map(fields).eq(other.map(fields))
    }
}
