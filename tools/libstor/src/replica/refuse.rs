// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Why a replica does not start, with the names of its devices, and what to do.

use super::scan::Group;
use crate::{Error, Kind};
use nix::errno::Errno;
use stor_pure::pure::replica::refusal::{Refusal, Side, Who};
use stor_pure::pure::replica::set::Set;

/// A leg of the group, by its place in the list.
fn path(group: &Group, leg: usize) -> String {
    group.legs.get(leg).map_or_else(|| format!("leg {leg}"), |leg| leg.device.path.display().to_string())
}

/// What one of two sides says.
fn side(group: &Group, side: &Side) -> String {
    let Side { who, epoch, lineage, entitled, events, time, writer } = side;
    let who = match who {
        Who::Leg(leg) => path(group, usize::from(*leg)),
        Who::TieBreak => "the tie-break".into(),
        Who::Volume => "the replica that runs".into(),
    };
    let writer = uuid::Uuid::from_bytes(*writer).simple();
    let facts = format!("epoch {epoch} of lineage {lineage:08x}, event {events}, in sync {entitled}");
    format!("{who} ({facts}, written {} by machine {writer})", date(*time))
}

/// A point in time as people read it, in UTC.
pub(super) fn date(seconds: u64) -> String {
    // Days since 0000-03-01 in eras of 400 years, as Howard Hinnant's civil_from_days counts them.
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

/// Slots and the tie-break, in words.
fn members(set: Set) -> String {
    match set.len() {
        0 => "none".into(),
        _ => set.to_string(),
    }
}

/// A planner's refusal as an error.
pub(super) fn explain(group: &Group, refusal: Refusal) -> Error {
    let path = |leg| path(group, leg);
    let force = |leg: &str| format!("storctl replica assemble {} --force {leg}", group.name());
    let plain = || {
        let text = refusal.to_string();
        text.strip_suffix(&format!(": {}", refusal.advice())).unwrap_or(&text).to_string()
    };
    let (kind, cause, help) = match refusal {
        Refusal::NoLegs => {
            (Kind::NotFound, "none of its legs is there".into(), "attach one; a tie-break has no data".into())
        }
        Refusal::Stranger(leg) => {
            (Kind::Unfit, format!("{} is no member any more", path(leg)), refusal.advice().into())
        }
        Refusal::LastLeg(_) | Refusal::Full | Refusal::Taken | Refusal::NotGiven | Refusal::ForeignChange => {
            (Kind::Unfit, plain(), refusal.advice().into())
        }
        Refusal::TooMany(_) | Refusal::End => (Kind::Unfit, plain(), refusal.advice().into()),
        Refusal::OtherArray(leg) => (
            Kind::Usage,
            format!("{} and {} are of two arrays with the same UUID", path(leg), path(0)),
            "name the devices of one of them".into(),
        ),
        Refusal::Twice(one, other) => (
            Kind::Usage,
            format!("{} and {} are the same leg, or one is a copy of the other", path(one), path(other)),
            "name the devices, without the copy".into(),
        ),
        Refusal::Number(one, other) => (
            Kind::Unfit,
            format!("{} and {} claim the same place", path(one), path(other)),
            "name the devices, without one of them".into(),
        ),
        Refusal::Size { leg, size, first } => (
            Kind::Unfit,
            format!("{} is for a replica of {size} sectors, {} for one of {first}", path(leg), path(0)),
            "name the devices, without that one".into(),
        ),
        Refusal::BlockSize { leg, size, first } => (
            Kind::Unfit,
            format!("{} has blocks of {size} bytes, {} of {first}", path(leg), path(0)),
            "name the devices, without that one".into(),
        ),
        Refusal::NoBitmap(leg) => {
            (Kind::Unfit, format!("{} has no write-intent bitmap", path(leg)), refusal.advice().into())
        }
        Refusal::NoRoom(leg) => (
            Kind::Unfit,
            format!("{} has no room for the membership record before its data", path(leg)),
            refusal.advice().into(),
        ),
        Refusal::Record(leg, why) => {
            (Kind::Failure, format!("{}: {why}", path(leg)), "attach the other legs, or see 'storctl replica scan'".into())
        }
        Refusal::Apart(one, other) => (
            Kind::Failure,
            format!("{} and {} have gone on without each other", side(group, &one), side(group, &other)),
            format!("choose whose data is wanted: {}; what only the other one has is lost by that", force("DEVICE")),
        ),
        Refusal::Quorum { present, voters, epoch } => (
            Kind::Failure,
            format!(
                "those who vote are {} (by slot), of which {} there: no majority, and the others may have gone on since epoch {epoch}",
                members(voters),
                match present.len() {
                    0 => "none is".into(),
                    1 => format!("only {present} is"),
                    _ => format!("only {present} are"),
                }
            ),
            format!("attach the others; if they are gone for good: {}, by which what only they have is lost", force("DEVICE")),
        ),
        Refusal::NoSource { entitled, epoch } => (
            Kind::Failure,
            format!(
                "since epoch {epoch} all that was acknowledged is on the legs in slots {}, none of which is there",
                members(entitled)
            ),
            format!("attach one of them; if they are gone for good: {}, by which what only they have is lost", force("DEVICE")),
        ),
        Refusal::Foreign(missing) => (
            Kind::Failure,
            format!(
                "md has had these legs without Stor, and perhaps also those in slots {}, which are not there",
                members(missing)
            ),
            format!("attach these; if they are gone for good: {}, by which what only they have is lost", force("DEVICE")),
        ),
        Refusal::ForeignApart(one, other) => (
            Kind::Failure,
            format!("md has had {} and {} one without the other", path(one), path(other)),
            format!("choose whose data is wanted: {}; what only the other one has is lost by that", force("DEVICE")),
        ),
        Refusal::Missing(slots) => (
            Kind::Failure,
            format!("md had legs in slots {}, which are not there", members(slots)),
            format!("attach them; if they are gone for good: {}, by which what only they have is lost", force("DEVICE")),
        ),
        Refusal::NoneInSync | Refusal::NoSuchLeg(_) => (Kind::Failure, plain(), refusal.advice().into()),
        Refusal::Unfinished(leg) => (
            Kind::Failure,
            format!("{} was being rebuilt: what it has is a mixture", path(leg)),
            "force the start from another leg".into(),
        ),
    };
    Error::new(kind, cause).help(help)
}

/// What the kernel's refusal of a replica means, after what can be planned here was planned.
pub(super) fn refused(errno: Errno) -> Error {
    let error =
        match errno {
            Errno::EEXIST => Error::new(Kind::Exists, "a volume of this name or UUID is in the kernel")
                .help("see 'storctl volume list'"),
            Errno::EBUSY => Error::new(Kind::Busy, "a leg is in use").help("stop what uses it"),
            Errno::EROFS => Error::new(Kind::Unfit, "a leg is read-only").help("make it writable"),
            Errno::EOPNOTSUPP => Error::new(Kind::Unfit, "the engine has no target replica, or a leg is zoned")
                .help("load an engine that has it"),
            Errno::ELOOP => Error::new(Kind::Usage, "a leg stands on the replica itself"),
            Errno::E2BIG => Error::new(Kind::Usage, "there are too many volumes or devices"),
            Errno::ENOTBLK | Errno::EBADF => Error::new(Kind::Unfit, "a leg is no block device any more"),
            Errno::ESTALE | Errno::ENODATA => {
                Error::new(Kind::Failure, "the kernel found something else on the legs than was found here")
                    .help("run it again; see 'storctl replica scan', and the kernel log for the reason")
            }
            Errno::EILSEQ | Errno::EUCLEAN => Error::new(Kind::Failure, "the metadata of a leg is damaged, or is none")
                .help("see 'storctl replica scan', and name the other devices only"),
            Errno::EPROTO => Error::new(Kind::Unfit, "a leg has what the engine does not know, or no bitmap")
                .help("use a newer engine"),
            Errno::ENOSPC => Error::new(Kind::Unfit, "a leg is smaller than the replica"),
            errno => return errno.into(),
        };
    error.errno(errno)
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates() {
        assert_eq!(super::date(0), "1970-01-01 00:00 UTC");
        assert_eq!(super::date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(super::date(1_790_000_000), "2026-09-21 14:13 UTC");
    }
}
