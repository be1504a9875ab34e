// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How the catalog and the pool change together, though they are written one after the other.
//!
//! dm-thin's superblock has a transaction id that dm-thin itself does not use; it changes in the commit that changes the
//! devices. With the pool at N, a change that makes or removes devices is:
//! 1. **intent**: the catalog as it will be is written for N + 1, over the slot that does not count, and flushed;
//! 2. the devices are made in the pool, and its id goes from N to N + 1 in the same commit. Where each message is a
//!    commit of its own, as in the kernel's dm-thin, the id goes last;
//! 3. **copy**: the catalog is written to the other slot, too, and flushed. From here on, one slot may be lost.
//!
//! Whoever opens the pool compares ([`decide`]). A pool at N has the old catalog: the intent was not carried out, and devices
//! that only it has are to be removed ([`undo`]). A pool at N + 1 has the new one. [`Decision::mend`] then brings the
//! other slot into line, which is step 3 again.
//!
//! A change of the catalog alone (a name, a label, a policy) is one write with the same id and the next generation, and the
//! copy. A device is deleted in two changes: first the volume loses its name and is [`DELETING`](super::record::DELETING), and only
//! then is the device removed from the pool, in as many commits as that takes; when it is gone the record goes, in a
//! change of the catalog alone. So no pool lacks a device that a catalog to which it may fall back names.

use super::{Catalog, Refusal};
use core::fmt;
use zerocopy::little_endian::U64;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Which change of the catalog a slot has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Stamp {
    /// Rises with each change that is written; copies of one have the same.
    pub generation: U64,
    /// The pool's transaction id with which it counts.
    pub transaction: U64,
}

impl Stamp {
    /// Of a change that the pool takes part in.
    ///
    /// # Errors
    ///
    /// There are no numbers left.
    pub fn intent(self) -> Result<Self, Mismatch> {
        let transaction = self.transaction.get().checked_add(1).ok_or(Mismatch::End)?;
        Ok(Self { transaction: transaction.into(), ..self.alone()? })
    }

    /// Of a change of the catalog alone.
    ///
    /// # Errors
    ///
    /// There are no numbers left.
    pub fn alone(self) -> Result<Self, Mismatch> {
        let generation = self.generation.get().checked_add(1).ok_or(Mismatch::End)?;
        Ok(Self { generation: generation.into(), ..self })
    }
}

/// Which slot counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// 0 or 1.
    pub slot: usize,
    /// What the other slot is, if it is not a copy. Until it is one, nothing may be changed.
    pub mend: Option<Mend>,
}

impl Decision {
    /// The slot that the next change is written to.
    pub fn other(&self) -> usize {
        1 - self.slot
    }
}

/// What the slot that does not count is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mend {
    /// A change that the pool did not carry out: what it may have left is to be [undone](undo) in the pool, without a
    /// change of its transaction id; then the slot is to be overwritten with the one that counts.
    RollBack,
    /// Older, damaged or empty: it is to be overwritten with the one that counts.
    Copy,
}

/// Why no slot counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// Neither slot is sound; what is wrong with the first that is any.
    Damaged(Refusal),
    /// The only sound slot is of a change that the pool did not carry out.
    IntentOnly {
        /// The pool's transaction id.
        pool: u64,
        /// What is wrong with the other.
        other: Refusal,
    },
    /// The pool has gone on without the catalog.
    Behind {
        /// The pool's transaction id.
        pool: u64,
        /// The youngest catalog's.
        catalog: u64,
    },
    /// The pool is older than the catalog.
    Ahead {
        /// The pool's transaction id.
        pool: u64,
        /// The oldest catalog's.
        catalog: u64,
    },
    /// No further change can be numbered.
    End,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(refusal) => {
                write!(f, "neither copy of the catalog can be used ({refusal}): run `storctl pool repair`")
            }
            Self::IntentOnly { pool, other } => write!(
                f,
                "the catalog for transaction {pool} cannot be used ({other}), and the other is of a change that was not \
                 carried out: run `storctl pool repair`"
            ),
            Self::Behind { pool, catalog } => write!(
                f,
                "the pool is at transaction {pool}, the catalog at {catalog}: something else has changed the pool; run \
                 `storctl pool repair` to take over its devices as they are"
            ),
            Self::Ahead { pool, catalog } => write!(
                f,
                "the pool is at transaction {pool}, the catalog at {catalog}: the pool's metadata is older; restore the \
                 metadata that belongs to it, or run `storctl pool repair`"
            ),
            Self::End => f.write_str("the catalog has been changed as often as it can be: copy the volumes to a new pool"),
        }
    }
}

/// Which of two slots counts for a pool at this transaction id.
///
/// # Errors
///
/// None does.
pub fn decide(pool: u64, slots: [Result<Stamp, Refusal>; 2]) -> Result<Decision, Mismatch> {
    let [first, second] = slots;
    let (one, other) = match slots {
        [Err(first), Err(second)] => {
            return Err(Mismatch::Damaged(if first == Refusal::Magic { second } else { first }));
        }
        [Ok(one), Err(other)] => return alone(pool, 0, one, other),
        [Err(other), Ok(one)] => return alone(pool, 1, one, other),
        [Ok(one), Ok(other)] => (one, other),
    };
    let counts = |stamp: &Stamp| stamp.transaction.get() == pool;
    let slot = match (counts(&one), counts(&other)) {
        (true, true) => usize::from(other.generation.get() > one.generation.get()),
        (true, false) => 0,
        (false, true) => 1,
        (false, false) => {
            let (low, high) = (
                one.transaction.get().min(other.transaction.get()),
                one.transaction.get().max(other.transaction.get()),
            );
            return Err(if high < pool {
                Mismatch::Behind { pool, catalog: high }
            } else {
                Mismatch::Ahead { pool, catalog: if low > pool { low } else { high } }
            });
        }
    };
    let (truth, rest) = if slot == 0 { (first, second) } else { (second, first) };
    let Ok(rest) = rest else { return Ok(Decision { slot, mend: Some(Mend::Copy) }) };
    let catalog = rest.transaction.get();
    let mend = if truth == Ok(rest) {
        None
    } else if catalog <= pool {
        Some(Mend::Copy)
    } else if catalog == pool.saturating_add(1) {
        Some(Mend::RollBack)
    } else {
        return Err(Mismatch::Ahead { pool, catalog });
    };
    Ok(Decision { slot, mend })
}

/// With only one sound slot.
fn alone(pool: u64, slot: usize, stamp: Stamp, other: Refusal) -> Result<Decision, Mismatch> {
    let catalog = stamp.transaction.get();
    if catalog == pool {
        return Ok(Decision { slot, mend: Some(Mend::Copy) });
    }
    Err(if catalog < pool {
        Mismatch::Behind { pool, catalog }
    } else if pool.checked_add(1) == Some(catalog) {
        Mismatch::IntentOnly { pool, other }
    } else {
        Mismatch::Ahead { pool, catalog }
    })
}

/// The devices that only the intent has, in order: where they are in the pool they are to be removed.
pub fn undo<'a>(truth: &Catalog<'a>, intent: &Catalog<'a>) -> impl Iterator<Item = u32> + 'a {
    let mut known = truth.volumes().map(|volume| volume.fixed.device.get()).peekable();
    intent.volumes().map(|volume| volume.fixed.device.get()).filter(move |device| {
        while known.next_if(|known| known < device).is_some() {}
        known.peek() != Some(device)
    })
}
