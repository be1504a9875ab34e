// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Whether the legs of a replica are equal: the kernel compares them range by range while the volume is used, and mends them if that is wanted.

use super::leg;
use super::members::Before;
use crate::control::replica::{Repair, Verified};
use crate::device::Access;
use crate::error::Context;
use crate::metadata::Progress;
use crate::size::{bytes, Iec};
use crate::{Bytes, Error, Kind, Result, Stor};
use nix::errno::Errno;
use serde::Serialize;
use std::time::{Duration, Instant};
use stor_pure::abi::uapi::*;
use stor_pure::pure::replica::set::TIE_BREAK;

/// Until it is tried again where somebody writes.
const SOON: Duration = Duration::from_millis(2);
/// How long it waits for a range that somebody writes to.
const PATIENCE: Duration = Duration::from_secs(60);
/// Ranges that are told, and those of which checksums are.
const RANGES_MAX: usize = 1000;
const CHECKSUMS_MAX: usize = 16;
/// A range begins at a multiple of this.
const BLOCK: u64 = 4096;

/// What is to be compared, and what is done about differences.
#[derive(Clone, Debug, Default)]
pub struct Verify {
    /// Where it begins.
    pub start: Bytes,
    /// How much; up to the end if not given.
    pub length: Option<Bytes>,
    /// Make the legs equal.
    pub repair: bool,
    /// From this leg, by its slot, its device or its UUID; if not given, from most of them.
    pub from: Option<String>,
}

/// What a leg has of a range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checksum {
    /// The leg.
    pub slot: u32,
    /// CRC-32C, in hexadecimal digits.
    pub crc32c: String,
}

/// A range in which legs differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where it begins in the volume.
    #[serde(serialize_with = "bytes")]
    pub start: Bytes,
    /// How long it is.
    #[serde(serialize_with = "bytes")]
    pub length: Bytes,
    /// The slots of the legs that have something else than the first leg in sync.
    pub slots: Vec<u32>,
    /// All have the same now.
    pub repaired: bool,
    /// What each leg has, of the first ranges that were not repaired.
    pub checksums: Vec<Checksum>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The replica's name.
    pub replica: String,
    /// The slots of the legs that were compared.
    pub slots: Vec<u32>,
    /// How much was compared.
    #[serde(serialize_with = "bytes")]
    pub compared: Bytes,
    /// In how much of it legs differed.
    #[serde(serialize_with = "bytes")]
    pub different: Bytes,
    /// How much of that was made equal.
    #[serde(serialize_with = "bytes")]
    pub repaired: Bytes,
    /// Where; the first thousand.
    pub ranges: Vec<Difference>,
}

impl Stor {
    /// Compares the legs of a replica that runs.
    pub fn verify_replica(&self, name: &str, how: &Verify, progress: &Progress) -> Result<Comparison> {
        self.try_verify(name, how, progress).context(|| format!("cannot verify replica {name}"))
    }

    fn try_verify(&self, name: &str, how: &Verify, progress: &Progress) -> Result<Comparison> {
        let before = self.before(name)?;
        let size = before.info.size.0;
        let end = how.length.map_or(size, |length| how.start.0.saturating_add(length.0));
        let whole = |at: u64| at % BLOCK == 0 || at == size;
        if how.start.0 >= size || end > size || end == how.start.0 || !whole(how.start.0) || !whole(end) {
            let cause = format!("start and length have to be multiples of 4 KiB within its {}", Iec(before.info.size));
            return Err(Error::new(Kind::Usage, cause));
        }
        let from = how.from.as_ref().map(|leg| self.member(&before, leg)).transpose()?;
        let legs = (0..).zip(before.facts.legs.iter().take(TIE_BREAK));
        let slots: Vec<u32> = legs.filter(|(_, leg)| leg.state & STOR_LEG_SOURCE != 0).map(|(slot, _)| slot).collect();
        if let Some(slot) = from.filter(|from| !slots.contains(from)) {
            return Err(
                Error::new(Kind::Unfit, format!("the leg of slot {slot} is not in sync")).help("name one that is")
            );
        }
        if slots.len() < 2 {
            return Err(Error::new(Kind::Unfit, "only one leg is in sync: there is nothing to compare it with")
                .help(format!("see 'storctl replica status {}'", before.info.name)));
        }
        let repair = match from {
            _ if !how.repair => Repair::No,
            None => Repair::Majority,
            Some(slot) => Repair::From(slot),
        };
        let mut found = Comparison {
            replica: before.info.name.clone(),
            slots,
            compared: Bytes(0),
            different: Bytes(0),
            repaired: Bytes(0),
            ranges: Vec::new(),
        };
        progress.expect(end - how.start.0);
        let mut position = how.start.0;
        let mut since = Instant::now();
        while position < end {
            match self.system.replica_verify(before.info.uuid, (Bytes(position), Bytes(end)), repair) {
                Ok(verified) => {
                    progress.add(verified.position.0.saturating_sub(position));
                    position = verified.position.0;
                    found.add(verified);
                    since = Instant::now();
                }
                Err(Errno::EAGAIN) if since.elapsed() < PATIENCE => std::thread::sleep(SOON),
                Err(Errno::EAGAIN) => {
                    let what = format!("somebody has written at byte {position} for {} seconds", PATIENCE.as_secs());
                    let help = format!("go on when there is less to do: --start {position}");
                    return Err(Error::new(Kind::Busy, what).help(help));
                }
                Err(Errno::ENXIO) => {
                    return Err(Error::new(Kind::Failure, "a leg is not in sync any more").errno(Errno::ENXIO))
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        found.compared = Bytes(end - how.start.0);
        self.checksums(&before, &mut found)?;
        Ok(found)
    }

    /// What the legs have of the first ranges that are not equal.
    fn checksums(&self, before: &Before, found: &mut Comparison) -> Result<()> {
        let left = found.ranges.iter_mut().filter(|range| !range.repaired).take(CHECKSUMS_MAX);
        for range in left {
            for &slot in &found.slots {
                let Some(lower) = before.facts.legs.get(slot as usize).and_then(|leg| before.lower(leg)) else {
                    continue;
                };
                let Some(leg) = before.legs.iter().find(|leg| leg.device.number == lower.number) else { continue };
                let content = self.system.content(&leg.device, Access::Look)?;
                let begin = leg::at(leg.superblock.data_offset.get());
                let (mut crc, mut done, mut buffer) = (0, 0, vec![0; 1 << 20]);
                while done < range.length.0 {
                    let part = (range.length.0 - done).min(buffer.len() as u64);
                    let Some(into) = buffer.get_mut(..part as usize) else { break };
                    if content.read(begin + range.start.0 + done, into).is_err() {
                        break;
                    }
                    crc = crc32c::crc32c_append(crc, into);
                    done += part;
                }
                if done == range.length.0 {
                    range.checksums.push(Checksum { slot, crc32c: format!("{crc:08x}") });
                }
            }
        }
        Ok(())
    }
}

impl Comparison {
    fn add(&mut self, verified: Verified) {
        for range in verified.ranges {
            let Bytes(length) = range.length;
            self.different.0 += length;
            self.repaired.0 += if range.repaired { length } else { 0 };
            let slots: Vec<u32> = (0..STOR_MAX_LEGS).filter(|slot| range.legs & (1 << slot) != 0).collect();
            if let Some(last) = self.ranges.last_mut() {
                let follows = last.start.0 + last.length.0 == range.start.0;
                if follows && last.slots == slots && last.repaired == range.repaired {
                    last.length.0 += length;
                    continue;
                }
            }
            if self.ranges.len() < RANGES_MAX {
                let (start, length, repaired) = (range.start, range.length, range.repaired);
                self.ranges.push(Difference { start, length, slots, repaired, checksums: Vec::new() });
            }
        }
    }
}
