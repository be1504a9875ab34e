// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which of two records is the other's history.
//!
//! In one lineage that is the one with the smaller epoch. A lineage that was forced has the older ones as its history up
//! to the epochs at which they were left. If either has something that is not the other's history, both have been written to since
//! they parted, and nobody can know which is wanted: they are apart.

use super::mutant::{breaks, Mutant};
use super::record::Record;

/// How one record is to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It is the same.
    Same,
    /// It is the other one's history.
    Behind,
    /// The other one is its history.
    Ahead,
    /// Neither is the other's history.
    Apart,
}

/// The last epoch of a lineage that a record or its history has, and the events counter then.
fn last(of: &Record, lineage: &[u8; 16]) -> Option<(u64, u64)> {
    if of.lineage == *lineage {
        return Some((of.epoch.get(), of.events.get()));
    }
    let fork = of.forks().iter().rev().find(|fork| fork.lineage == *lineage)?;
    Some((fork.epoch.get(), fork.events.get()))
}

/// How `one` is to `other`.
pub fn order(one: &Record, other: &Record) -> Order {
    if breaks(Mutant::NoLineage) {
        return match one.epoch.get().cmp(&other.epoch.get()) {
            core::cmp::Ordering::Less => Order::Behind,
            core::cmp::Ordering::Equal => Order::Same,
            core::cmp::Ordering::Greater => Order::Ahead,
        };
    }
    let has = |of: &Record, what: &Record| last(of, &what.lineage).is_some_and(|(epoch, _)| what.epoch.get() <= epoch);
    match (has(other, one), has(one, other)) {
        (true, true) if one.agrees(other) => Order::Same,
        (true, false) => Order::Behind,
        (false, true) => Order::Ahead,
        (true, true) | (false, false) => Order::Apart,
    }
}

/// The events counter when two records' histories parted: the smaller, if they count differently. `None` if they never were one.
pub fn parted(one: &Record, other: &Record) -> Option<u64> {
    let lineages = one.forks().iter().map(|fork| &fork.lineage).chain([&one.lineage]);
    let common = lineages.rev().find_map(|lineage| Some((last(one, lineage)?, last(other, lineage)?)));
    common.map(|((_, one), (_, other))| one.min(other))
}
