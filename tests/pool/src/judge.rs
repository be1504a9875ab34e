// SPDX-License-Identifier: GPL-2.0

//! What may be on the volumes after a power cut: of what was durable, all; of the rest, for each sector, what it held before
//! or what was written since; zeros where nothing was mapped, or a discard was asked for; never what belongs elsewhere.

use crate::content::Stamp;
use crate::record::{Extent, Record};
use crate::state::{State, Volume};
use crate::Fault;
use std::collections::BTreeMap;

/// What a volume may hold.
#[derive(Clone)]
pub(crate) struct Allowed {
    /// What each sector held when the load began.
    base: Vec<Stamp>,
    /// The last generation of each that is durable, or 0,
    durable: Vec<u64>,
    /// and that of the last discard.
    discarded: Vec<u64>,
    /// Under this name it was written to: a snapshot has its origin's.
    writer: u64,
    /// The load's generations are above the first and up to the second.
    began: u64,
    last: u64,
    pub(crate) writable: bool,
    pub(crate) existence: Existence,
}

/// Whether a volume must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existence {
    Sure,
    /// It was about to be made or deleted.
    Open,
    Gone,
}

/// What all volumes may hold after these records, in whose time generations up to a last one were begun.
pub(crate) fn allowed(state: &State, records: &[Record]) -> Result<BTreeMap<u64, Allowed>, Fault> {
    let mut volumes: BTreeMap<u64, Allowed> =
        state.volumes.iter().map(|(&id, volume)| (id, Allowed::new(id, volume, state.generation))).collect();
    // Snapshots that are being made, and of which volume.
    let mut making: BTreeMap<u64, u64> = BTreeMap::new();
    for &record in records {
        match record {
            Record::Durable(extent) => {
                get(&mut volumes, extent.volume)?.raise(extent, |allowed| &mut allowed.durable)?
            }
            Record::Discard(extent) => {
                let snapshots = making.iter().filter(|(_, &origin)| origin == extent.volume).map(|(&id, _)| id);
                for id in snapshots.chain([extent.volume]) {
                    get(&mut volumes, id)?.raise(extent, |allowed| &mut allowed.discarded)?;
                }
            }
            Record::Snapshot { volume, origin, writable } => {
                let mut snapshot = get(&mut volumes, origin)?.clone();
                (snapshot.existence, snapshot.writable) = (Existence::Open, writable);
                volumes.insert(volume, snapshot);
                making.insert(volume, origin);
            }
            Record::Made { volume, generation } => {
                let snapshot = get(&mut volumes, volume)?;
                (snapshot.existence, snapshot.last) = (Existence::Sure, generation);
                making.remove(&volume);
            }
            Record::Delete(volume) => get(&mut volumes, volume)?.existence = Existence::Open,
            Record::Deleted(volume) => get(&mut volumes, volume)?.existence = Existence::Gone,
        }
    }
    Ok(volumes)
}

fn get(volumes: &mut BTreeMap<u64, Allowed>, id: u64) -> Result<&mut Allowed, Fault> {
    volumes.get_mut(&id).ok_or_else(|| format!("the journal tells of volume {id}, which there is not").into())
}

impl Allowed {
    fn new(id: u64, volume: &Volume, began: u64) -> Self {
        let sectors = volume.stamps.len();
        Self {
            base: volume.stamps.clone(),
            durable: vec![0; sectors],
            discarded: vec![0; sectors],
            writer: id,
            began,
            last: u64::MAX,
            writable: volume.writable,
            existence: Existence::Sure,
        }
    }

    fn raise(&mut self, extent: Extent, which: impl Fn(&mut Self) -> &mut Vec<u64>) -> Result<(), Fault> {
        let sectors = extent.first as usize..(extent.first + extent.count) as usize;
        let sectors = which(self).get_mut(sectors).ok_or("the journal tells of a sector that there is not")?;
        for sector in sectors {
            *sector = extent.generation.max(*sector);
        }
        Ok(())
    }

    pub(crate) fn sectors(&self) -> usize {
        self.base.len()
    }

    /// Whether a sector may hold this, and why not.
    pub(crate) fn judge(&self, sector: u64, found: Stamp) -> Result<(), Fault> {
        let at = sector as usize;
        let (base, durable, discarded) = (self.base[at], self.durable[at], self.discarded[at]);
        let generation = found.generation();
        let new = found.volume() == self.writer && generation > self.began;
        if new && generation >= durable && generation <= self.last {
            return Ok(());
        }
        if found == base && durable == 0 {
            return Ok(());
        }
        if found == Stamp::ZEROS && discarded > durable {
            return Ok(());
        }
        let must = if durable != 0 { format!("{durable} was durable") } else { format!("it held {base} before") };
        let why = match () {
            () if new && generation > self.last => "is younger than the snapshot",
            () if new || found == base || found == Stamp::ZEROS => "is older than it may be",
            () => "is another's",
        };
        Err(format!("holds {found}, which {why}: {must}").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Stamp = Stamp((3 << 40) | 5);

    fn extent(first: u64, generation: u64) -> Extent {
        Extent { volume: 1, first, count: 1, generation }
    }

    fn after(records: &[Record]) -> BTreeMap<u64, Allowed> {
        let stamps = vec![OLD, OLD, OLD, Stamp::ZEROS];
        let mut state = State { generation: 10, ..State::default() };
        state.volumes.insert(1, Volume { stamps, writable: true });
        allowed(&state, records).unwrap_or_default()
    }

    fn fits(volumes: &BTreeMap<u64, Allowed>, volume: u64, sector: u64, found: Stamp) -> bool {
        volumes[&volume].judge(sector, found).is_ok()
    }

    #[test]
    fn what_was_durable_is_there() {
        let volumes = after(&[Record::Durable(extent(0, 12)), Record::Durable(extent(0, 11))]);
        for (found, right) in
            [(OLD, false), (Stamp::ZEROS, false), (Stamp::new(1, 11), false), (Stamp::new(1, 12), true)]
        {
            assert_eq!(fits(&volumes, 1, 0, found), right, "{found}");
        }
        assert!(fits(&volumes, 1, 0, Stamp::new(1, 13)), "written later, not flushed");
        assert!(!fits(&volumes, 1, 0, Stamp::new(2, 13)), "another volume's");
    }

    #[test]
    fn what_was_not_is_old_or_new() {
        let volumes = after(&[]);
        assert!(fits(&volumes, 1, 1, OLD) && fits(&volumes, 1, 1, Stamp::new(1, 11)));
        assert!(!fits(&volumes, 1, 1, Stamp::ZEROS), "it was mapped");
        assert!(!fits(&volumes, 1, 1, Stamp::new(1, 9)), "lost in an earlier power cut");
        assert!(fits(&volumes, 1, 3, Stamp::ZEROS) && !fits(&volumes, 1, 3, OLD));
    }

    #[test]
    fn a_discard_may_have_happened() {
        let discard = Record::Discard(extent(1, 12));
        assert!(fits(&after(&[discard]), 1, 1, Stamp::ZEROS) && fits(&after(&[discard]), 1, 1, OLD));
        let volumes = after(&[discard, Record::Durable(extent(1, 13))]);
        assert!(!fits(&volumes, 1, 1, Stamp::ZEROS), "written and flushed after it");
    }

    #[test]
    fn a_snapshot_is_of_one_moment() {
        let begun = [
            Record::Durable(extent(0, 11)),
            Record::Snapshot { volume: 2, origin: 1, writable: false },
            Record::Durable(extent(1, 12)),
            Record::Discard(extent(2, 13)),
        ];
        let volumes = after(&begun);
        assert_eq!(volumes[&2].existence, Existence::Open);
        assert!(fits(&volumes, 2, 0, Stamp::new(1, 11)) && !fits(&volumes, 2, 0, OLD));
        assert!(fits(&volumes, 2, 1, OLD), "durable in the origin only after it had begun");
        assert!(fits(&volumes, 2, 2, Stamp::ZEROS));

        let made = Record::Made { volume: 2, generation: 14 };
        let volumes = after(&[&begun[..], &[made, Record::Discard(extent(0, 15))]].concat());
        assert_eq!(volumes[&2].existence, Existence::Sure);
        assert!(fits(&volumes, 2, 1, Stamp::new(1, 14)) && !fits(&volumes, 2, 1, Stamp::new(1, 15)));
        assert!(!fits(&volumes, 2, 0, Stamp::ZEROS) && fits(&volumes, 1, 0, Stamp::ZEROS));

        let volumes = after(&[&begun[..], &[made, Record::Delete(1), Record::Deleted(1), Record::Delete(2)]].concat());
        assert_eq!([1, 2].map(|id| volumes[&id].existence), [Existence::Gone, Existence::Open]);
    }
}
