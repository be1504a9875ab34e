// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a keeper's steps are on devices: where the record, the superblock and the pages of the bitmap are, and their writing.

use super::leg::{at, Leg};
use super::tie_break::PLACES;
use crate::device::Content;
use crate::pool::area::Area;
use nix::errno::Errno;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use stor_pure::pure::md::bitmap::Geometry;
use stor_pure::pure::md::layout::record_places;
use stor_pure::pure::md::superblock::{Superblock, AT};
use stor_pure::pure::md::PAGE_SIZE;
use stor_pure::pure::replica::assemble::{Recovery, Use};
use stor_pure::pure::replica::chunk::{Chunk, Words};
use stor_pure::pure::replica::intent::Intent;
use stor_pure::pure::replica::keeper::{Keeper, Step};
use stor_pure::pure::replica::record::Position;
use stor_pure::pure::replica::set::{Set, TIE_BREAK};
use zerocopy::IntoBytes;

/// The words of a bitmap.
pub(crate) struct Cells(Vec<Cell<Chunk>>);

impl Cells {
    /// For so many chunks.
    pub(crate) fn new(chunks: usize) -> Self {
        Self(vec![Cell::default(); chunks])
    }
}

impl Words for Cells {
    fn update<R>(&self, chunk: u64, change: impl Fn(Chunk) -> (Chunk, R)) -> Option<R> {
        let cell = self.0.get(usize::try_from(chunk).ok()?)?;
        let (word, result) = change(cell.get());
        cell.set(word);
        Some(result)
    }
}

/// A leg, or the tie-break, that steps are done on.
struct Member {
    content: Rc<dyn Content>,
    superblock: Option<Box<Superblock>>,
    places: [u64; 2],
    position: Position,
}

/// All of them, by their places.
#[derive(Default)]
pub(crate) struct Members {
    members: BTreeMap<usize, Member>,
    /// When it is now, in seconds.
    pub(crate) seconds: u64,
}

fn odd() -> io::Error {
    io::Error::from_raw_os_error(Errno::EIO as i32)
}

impl Members {
    /// A leg; its bits are taken over.
    ///
    /// # Errors
    ///
    /// It cannot be read, or has no room for the record.
    pub(crate) fn add_leg(
        &mut self,
        place: usize,
        found: &Leg,
        content: Rc<dyn Content>,
        own: &Use,
        intent: &mut Intent<Cells, Area>,
    ) -> io::Result<()> {
        let geometry: Geometry = *intent.geometry();
        if own.bits {
            super::leg::pages(content.as_ref(), &found.superblock, &geometry, |number, page| {
                intent.unite(number, page);
                false
            })?;
        }
        if own.recovery == Recovery::All {
            intent.find_all();
        }
        let places = record_places(&found.superblock, Some(&geometry)).map_err(|_| odd())?;
        let position = found.record.as_ref().map_or(Position::NONE, |(_, position)| *position);
        let superblock = Some(found.superblock.clone());
        self.members.insert(place, Member { content, superblock, places: places.map(|place| at(place.0)), position });
        Ok(())
    }

    pub(crate) fn add_tie_break(&mut self, position: Position, content: Rc<dyn Content>) {
        self.members.insert(TIE_BREAK, Member { content, superblock: None, places: PLACES, position });
    }

    /// Does a step on one of them. What is written is durable then.
    ///
    /// # Errors
    ///
    /// The device could not.
    pub(crate) fn perform(&mut self, keeper: &Keeper<Cells, Area>, step: Step, place: usize) -> io::Result<()> {
        let numbers: BTreeMap<usize, u32> = self
            .members
            .iter()
            .filter_map(|(place, member)| Some((*place, member.superblock.as_ref()?.dev_number.get())))
            .collect();
        let seconds = self.seconds;
        let member = self.members.get_mut(&place).ok_or_else(odd)?;
        match step {
            Step::Record(_) => {
                let record = keeper.record();
                let uuid = keeper.device(place);
                let next = member.position.next();
                let mut page = [0; PAGE_SIZE];
                record.write::<Area>(uuid, next, &mut page).map_err(|_| odd())?;
                let [first, second] = member.places;
                member.content.write(if next.slot == 0 { first } else { second }, &page)?;
                member.position = next;
            }
            Step::Superblock(_) => {
                let superblock = member.superblock.as_mut().ok_or_else(odd)?;
                keeper.describe(superblock, place, &|place| numbers.get(&place).copied(), seconds);
                superblock.seal().map_err(|_| odd())?;
                member.content.write(at(AT.0), superblock.as_bytes())?;
            }
            Step::Pages(_) => {
                let start = member.superblock.as_ref().and_then(|superblock| superblock.bitmap()).ok_or_else(odd)?;
                for (number, page) in keeper.intent.writing() {
                    let bytes = page.get(..keeper.intent.geometry().page_bytes(number, 512)).unwrap_or_default();
                    member.content.write(at(start) + (number * PAGE_SIZE) as u64, bytes)?;
                }
            }
            Step::Flush(_) => {}
            Step::Drain => return Ok(()),
        }
        member.content.flush()
    }

    /// Writes superblocks as md does: without the tag that tells that nobody but Stor has written them.
    ///
    /// # Errors
    ///
    /// A device could not be written.
    pub(super) fn untag(&mut self, places: Set) -> io::Result<()> {
        let seconds = self.seconds;
        for (_, member) in self.members.iter_mut().filter(|(place, _)| places.has(**place)) {
            let Some(superblock) = member.superblock.as_mut() else { continue };
            superblock.set_time(seconds, 0);
            superblock.seal().map_err(|_| odd())?;
            member.content.write(at(AT.0), superblock.as_bytes())?;
            member.content.flush()?;
        }
        Ok(())
    }
}
