// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The two copies of a label: where they are, which one counts, and in which order they are written.
//!
//! The first is at byte 4,096. Behind GPT's header and LVM's sectors, no signature of anything but bcache and md 1.2 is looked
//! for there, and both overwrite the head of a device when they are made. The second is where the last whole MiB of the device
//! begins: what overwrites the head does not reach it, and backup GPT, md 0.90 and 1.0, DRBD and firmware RAID, which write
//! the last sectors of a device, do not either. A device whose end belongs to data, because it was LVM's, has the second at
//! the end of its first MiB.
//!
//! One copy is written, then the device flushed, then the other. So a crash spoils one at most, and leaves the other, old or
//! new: of two sound ones the younger counts. A copy that is missing, or older, is mended before the next change: else that
//! change could spoil the only one.

use super::{Bytes, Label, Refusal, LABEL_SIZE};
use crate::pure::thin::crc::Crc;
use core::mem::offset_of;
use zerocopy::IntoBytes;

/// Where the first copy is.
pub const FIRST: u64 = LABEL_SIZE as u64;
/// Where the second is on a device whose end belongs to something else.
pub const IN_HEAD: u64 = MIB - LABEL_SIZE as u64;
/// The smallest device that can have a label.
pub const DEVICE_MIN: u64 = 4 * MIB;

const MIB: u64 = 1 << 20;

/// Where the second copy is on a device of `device` bytes, if its end is the pool's.
pub const fn at_end(device: u64) -> u64 {
    (device / MIB * MIB).saturating_sub(MIB)
}

/// Where to look for labels on a device of `device` bytes.
///
/// A device that has grown since has its second copy elsewhere; the first says where.
pub const fn places(device: u64) -> [u64; 3] {
    [FIRST, at_end(device), IN_HEAD]
}

/// Whether a label's two places are such.
pub(super) fn check(label: &Label) -> Result<(), Refusal> {
    let (location, other) = (label.location.get(), label.other.get());
    let second = location.max(other);
    let known = location.min(other) == FIRST && (second == IN_HEAD || second % MIB == 0 && second >= MIB);
    let inside = second.checked_add(LABEL_SIZE as u64).is_some_and(|end| end <= label.size.get());
    if known && inside {
        Ok(())
    } else {
        Err(Refusal::Location(if known { second } else { FIRST }))
    }
}

/// The label of a device.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The copy that counts.
    pub label: &'a Label,
    /// Where the other copy is missing, damaged or older. The label is to be [stamped](Label::stamp) for this place and
    /// written there before it is changed.
    pub mend: Option<u64>,
}

/// Which of the labels counts that were read from the [`places`] of a device, or from where the first said.
///
/// # Errors
///
/// None can be used: why the first one that is any cannot; or there are two, of different pools.
pub fn choose<'a>(read: &[Result<&'a Label, Refusal>]) -> Result<Found<'a>, Refusal> {
    let sound = || read.iter().filter_map(|copy| copy.ok());
    // What stands at the first place decides whose the device is: elsewhere there may be what a former pool has left.
    let first = sound().find(|label| label.location.get() == FIRST);
    let identity = |label: &Label| (label.pool, label.device);
    let ours = |label: &&Label| first.is_none_or(|first| identity(first) == identity(label));
    let Some(label) = sound().filter(ours).max_by_key(|label| label.generation.get()) else {
        // What tells most: that there is a label, and best what is wrong with one that is whole.
        let rank = |refusal: &Refusal| match refusal {
            Refusal::Magic => 2,
            Refusal::Checksum => 1,
            _ => 0,
        };
        return Err(read.iter().filter_map(|copy| copy.err()).min_by_key(rank).unwrap_or(Refusal::Magic));
    };
    if sound().filter(ours).any(|other| identity(other) != identity(label)) {
        return Err(Refusal::Conflict);
    }
    let same = |other: &&Label| other.generation == label.generation && other.location == label.other;
    let copy = sound().filter(ours).find(same);
    if copy.is_some_and(|copy| !is_copy(copy, label)) {
        return Err(Refusal::Conflict);
    }
    Ok(Found { label, mend: copy.is_none().then(|| label.other.get()) })
}

/// Whether two labels of the same generation say the same.
fn is_copy(one: &Label, other: &Label) -> bool {
    let behind = offset_of!(Label, size);
    one.location == other.other && one.as_bytes().get(behind..) == other.as_bytes().get(behind..)
}

/// Reads the copies of the label of a device of `device` bytes: calls `read` for each place, and [`choose`]s.
///
/// # Errors
///
/// What `read` says; or why no copy can be used.
pub fn find<C: Crc, E>(
    buffers: &mut [Bytes; 3],
    device: u64,
    mut read: impl FnMut(u64, &mut Bytes) -> Result<(), E>,
) -> Result<Result<Found<'_>, Refusal>, E> {
    let mut places = places(device);
    for index in 0..places.len() {
        let (Some(&at), Some(buffer)) = (places.get(index), buffers.get_mut(index)) else { continue };
        if at.checked_add(LABEL_SIZE as u64).is_none_or(|end| end > device) {
            buffer.fill(0);
            continue;
        }
        read(at, buffer)?;
        // The device may have grown: the first says where its copy is.
        let other = Label::of::<C>(buffer, at, device).ok().map(|label| label.other.get());
        if let (Some(other), 0, [_, end, head]) = (other, index, &mut places) {
            if other != *head {
                *end = other;
            }
        }
    }
    let [first, end, head] = &*buffers;
    let [at_first, at_end, at_head] = places;
    Ok(choose(&[
        Label::of::<C>(first, at_first, device),
        Label::of::<C>(end, at_end, device),
        Label::of::<C>(head, at_head, device),
    ]))
}

/// In which order the copies of a changed label are written, each followed by a flush: the second place before the first.
///
/// If the second copy moves, because the device has grown, it is where readers look for it before the first says so.
pub fn order(label: &Label) -> [u64; 2] {
    let (location, other) = (label.location.get(), label.other.get());
    [location.max(other), location.min(other)]
}
