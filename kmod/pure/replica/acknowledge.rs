// SPDX-License-Identifier: GPL-2.0 OR MIT

//! When a write or a flush may be acknowledged: when every leg has it that a crash may make entitled.
//!
//! A leg that failed is entitled until the record without it is durable on the members and the superblocks on the legs; until
//! then the write waits. It makes no difference why the leg failed, or whether it had been given up before the write came back
//! from it: md acknowledges such a write at once, and a crash then may copy the older leg over the only good one. A failed
//! flush is a failed leg, too.

use super::mutant::{breaks, Mutant};
use super::set::Set;

/// What is to be done with a write or a flush whose legs have answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Some that are needed have not answered.
    Wait,
    /// It is done.
    Acknowledge,
    /// It is done when the legs that failed are not needed any more: ask again when the [standing](super::keeper::Keeper::standing) has changed.
    Hold,
    /// No leg that is needed has it.
    Fail,
}

/// Who counts, as the keeper has it at this moment; to be read in one piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Legs that a crash may make entitled.
    pub needed: Set,
    /// Legs that have failed something and are not dropped yet. What such a leg says it has done it may have lost since.
    pub failing: Set,
}

/// The verdict on a write that some legs have, and some have failed.
pub fn write(standing: Standing, done: Set, failed: Set) -> Verdict {
    let needed = standing.needed;
    let has = done.without(standing.failing);
    if has.covers(needed) {
        return Verdict::Acknowledge;
    }
    if !done.with(failed).covers(needed) {
        return Verdict::Wait;
    }
    if has.and(needed).is_empty() {
        return Verdict::Fail;
    }
    if breaks(Mutant::AcknowledgeEarly) {
        return Verdict::Acknowledge;
    }
    Verdict::Hold
}

/// The verdict on a flush.
pub fn flush(standing: Standing, done: Set, failed: Set) -> Verdict {
    if breaks(Mutant::FlushErrors) {
        return write(Standing { failing: Set::NONE, ..standing }, done.with(failed), Set::NONE);
    }
    write(standing, done, failed)
}
