// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the kernel is told of a replica, encoded as the control ABI wants it.

use crate::Uuid;
use serde::{Deserialize, Serialize};
use stor_pure::abi::uapi::*;
use stor_pure::pure::replica::assemble::Consent;
use stor_pure::pure::replica::change::Change;
use zerocopy::{FromBytes, IntoBytes};

/// A replica's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The array's UUID.
    pub array: Uuid,
    /// The machine's id.
    pub machine: Uuid,
    /// The last of the lowers is the tie-break.
    pub tie_break: bool,
    /// The lower that the volume starts from, whatever is lost by that, and the new lineage.
    pub force: Option<(u32, Uuid)>,
    /// The lower that is read from if possible.
    pub prefer: Option<u32>,
    /// Bytes a second that a rebuild takes at most, 0 for as much as there is.
    pub resync_rate: u64,
    /// Who is to become a member.
    #[serde(default)]
    pub joins: Option<Joins>,
    /// Who is to be a member no longer: its UUID.
    #[serde(default)]
    pub leaves: Option<Uuid>,
    /// A leg's UUID, and whether it is to be read only if no other can be.
    #[serde(default)]
    pub mostly: Option<(Uuid, bool)>,
    /// When a leg is slow.
    #[serde(default)]
    pub slow: Slow,
    /// Milliseconds: while I/O to a leg takes longer, a rebuild takes less; 0: never mind.
    #[serde(default)]
    pub resync_latency: u32,
}

/// When a leg is slow, and what then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slow {
    /// Milliseconds that a write may take: `STOR_REPLICA_NEVER` as long as it likes, 0 for what the kernel takes by itself.
    pub limit: u32,
    /// It counts as failed.
    pub drop: bool,
}

impl Slow {
    /// Milliseconds that a write may take, if not as long as it likes.
    pub fn milliseconds(self) -> Option<u32> {
        match self.limit {
            0 => Some(STOR_REPLICA_SLOW),
            STOR_REPLICA_NEVER => None,
            limit => Some(limit),
        }
    }
}

/// Who is to become a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Joins {
    /// A leg of this UUID.
    Leg(Uuid),
    /// The tie-break, which gets this UUID.
    TieBreak(Uuid),
}

impl Config {
    /// For the kernel.
    pub fn encode(&self) -> Vec<u8> {
        let Change { joins, tie_break, leaves } = self.change();
        let flags = [
            (STOR_REPLICA_TIE_BREAK, self.tie_break),
            (STOR_REPLICA_FORCE, self.force.is_some()),
            (STOR_REPLICA_JOIN_TIE_BREAK, tie_break),
            (STOR_REPLICA_WRITE_MOSTLY, self.mostly.is_some_and(|(_, on)| on)),
            (STOR_REPLICA_READ_TOO, self.mostly.is_some_and(|(_, on)| !on)),
            (STOR_REPLICA_DROP_SLOW, self.slow.drop),
        ];
        let (source, lineage) = self.force.unwrap_or_default();
        let raw = stor_replica_config {
            version: STOR_REPLICA_CONFIG_VERSION,
            flags: flags.iter().filter(|(_, set)| *set).fold(0, |all, (flag, _)| all | flag),
            array: self.array.into_bytes(),
            lineage: lineage.into_bytes(),
            machine: self.machine.into_bytes(),
            source,
            prefer: self.prefer.unwrap_or(STOR_REPLICA_ANY),
            resync_rate: self.resync_rate,
            joins,
            leaves,
            mostly: self.mostly.unwrap_or_default().0.into_bytes(),
            slow: self.slow.limit,
            resync_latency: self.resync_latency,
        };
        raw.as_bytes().to_vec()
    }

    /// What the kernel says; `None` if it cannot be understood.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let raw = stor_replica_config::read_from_bytes(bytes).ok()?;
        let marks = STOR_REPLICA_WRITE_MOSTLY | STOR_REPLICA_READ_TOO;
        let known =
            STOR_REPLICA_TIE_BREAK | STOR_REPLICA_FORCE | STOR_REPLICA_JOIN_TIE_BREAK | STOR_REPLICA_DROP_SLOW | marks;
        if raw.version != STOR_REPLICA_CONFIG_VERSION || raw.flags & !known != 0 {
            return None;
        }
        let (forced, lineage) = (raw.flags & STOR_REPLICA_FORCE != 0, Uuid::from_bytes(raw.lineage));
        if forced == lineage.is_nil() || !forced && raw.source != 0 {
            return None;
        }
        let some = |uuid| Some(Uuid::from_bytes(uuid)).filter(|uuid| !uuid.is_nil());
        let (joins, leaves) = (some(raw.joins), some(raw.leaves));
        let is_tie_break = raw.flags & STOR_REPLICA_JOIN_TIE_BREAK != 0;
        let changes = joins.is_some() || leaves.is_some();
        let mostly = some(raw.mostly);
        if (raw.flags & marks).count_ones() != u32::from(mostly.is_some()) {
            return None;
        }
        if forced && changes || joins.is_some() && joins == leaves || is_tie_break && joins.is_none() {
            return None;
        }
        Some(Self {
            array: Uuid::from_bytes(raw.array),
            machine: Uuid::from_bytes(raw.machine),
            tie_break: raw.flags & STOR_REPLICA_TIE_BREAK != 0,
            force: forced.then_some((raw.source, lineage)),
            prefer: Some(raw.prefer).filter(|&prefer| prefer != STOR_REPLICA_ANY),
            resync_rate: raw.resync_rate,
            joins: joins.map(if is_tie_break { Joins::TieBreak } else { Joins::Leg }),
            leaves,
            mostly: mostly.map(|uuid| (uuid, raw.flags & STOR_REPLICA_WRITE_MOSTLY != 0)),
            slow: Slow { limit: raw.slow, drop: raw.flags & STOR_REPLICA_DROP_SLOW != 0 },
            resync_latency: raw.resync_latency,
        })
    }

    /// As the planner takes it.
    pub(crate) fn consent(&self) -> Consent {
        match (self.force, self.change()) {
            (Some((leg, lineage)), _) => Consent::Force { leg: leg as usize, lineage: lineage.into_bytes() },
            (None, change) if change == Change::default() => Consent::Safe,
            (None, change) => Consent::Change(change),
        }
    }

    fn change(&self) -> Change {
        let (joins, tie_break) = match self.joins {
            None => (Uuid::nil(), false),
            Some(Joins::Leg(uuid)) => (uuid, false),
            Some(Joins::TieBreak(uuid)) => (uuid, true),
        };
        Change { joins: joins.into_bytes(), tie_break, leaves: self.leaves.unwrap_or_default().into_bytes() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let plain = Config { array: Uuid::from_u128(1), machine: Uuid::from_u128(2), ..Config::default() };
        let all = Config {
            tie_break: true,
            force: Some((1, Uuid::from_u128(3))),
            prefer: Some(0),
            resync_rate: 7,
            mostly: Some((Uuid::from_u128(6), true)),
            slow: Slow { limit: 8, drop: true },
            resync_latency: 9,
            ..plain.clone()
        };
        let read = Config { mostly: Some((Uuid::from_u128(6), false)), ..plain.clone() };
        let joins =
            Config { joins: Some(Joins::Leg(Uuid::from_u128(4))), leaves: Some(Uuid::from_u128(5)), ..plain.clone() };
        let tie_break = Config { tie_break: true, joins: Some(Joins::TieBreak(Uuid::from_u128(4))), ..plain.clone() };
        for config in [plain, all, read, joins, tie_break] {
            assert_eq!(Config::decode(&config.encode()), Some(config));
        }
        assert_eq!(Config::decode(&[]), None);
        let odd = Config { force: Some((1, Uuid::nil())), ..Config::default() };
        assert_eq!(Config::decode(&odd.encode()), None);
    }
}
