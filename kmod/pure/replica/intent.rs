// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The write-intent bitmap of a volume that runs: the words of its chunks, and the pages as they are to be on all legs.
//!
//! The I/O path touches the words only. A write whose bit is not set waits with a ticket; whoever writes the pages takes all that
//! wait in one go. Pages are written for two reasons: bits that writes wait for ([`Batch::Urgent`]), and bits that are not needed
//! any more. The latter are cleared in the pages only after a flush, and on the legs only after the header has the events counter
//! from which on the bits count.

use super::chunk::{Chunk, Words};
use crate::pure::md::bitmap::{self, Geometry, Header, HEADER_SIZE};
use crate::pure::md::Page;
use crate::pure::thin::store::{Array, Memory, NoMemory};
use zerocopy::IntoBytes;

/// Which pages are being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// Those with bits, or a header, that somebody waits for.
    Urgent,
    /// The first, whose header says from when on the bits count.
    Header,
    /// Those with bits that were cleared.
    Cleared,
}

/// What has become of bits that were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticket {
    /// They are not durable yet.
    Waiting,
    /// They are durable: [`grant`](Intent::grant) them, and begin again.
    Served,
    /// They were, but bits have been cleared since: [`want`](Intent::want) them again.
    Stale,
}

/// Whether a page is to be written.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    urgent: bool,
    cleared: bool,
    writing: bool,
}

/// The bitmap.
pub struct Intent<W: Words, M: Memory> {
    geometry: Geometry,
    words: W,
    header: Header,
    pages: M::Array<M::Frame>,
    states: M::Array<State>,
    /// The ticket of whoever asks now, and the last that has been served.
    ticket: u64,
    served: u64,
    /// The ticket that the batch under way will have served.
    serving: u64,
    /// Tickets up to this one are stale.
    stale: u64,
}

impl<W: Words, M: Memory> Intent<W, M> {
    /// A bitmap without any bit, with words that are all zero.
    ///
    /// # Errors
    ///
    /// There was no memory.
    pub fn new(geometry: Geometry, words: W, header: Header) -> Result<Self, NoMemory> {
        let (mut pages, mut states) = (M::Array::default(), M::Array::default());
        for _ in 0..geometry.pages() {
            pages.push(M::frame()?)?;
            states.push(State::default())?;
        }
        let mut intent = Self { geometry, words, header, pages, states, ticket: 1, served: 0, serving: 0, stale: 0 };
        intent.head();
        Ok(intent)
    }

    /// How the volume is divided.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The words, for the I/O path.
    pub fn words(&self) -> &W {
        &self.words
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Puts the header into its page.
    fn head(&mut self) {
        if let Some(page) = self.pages.first_mut() {
            page.iter_mut().zip(self.header.as_bytes()).for_each(|(to, from)| *to = *from);
        }
    }

    fn urge(&mut self, page: usize) {
        if let Some(state) = self.states.get_mut(page) {
            state.urgent = true;
        }
    }

    /// Takes over the bits of a page of some leg. The volume does not run yet, or the leg is about to join it.
    pub fn unite(&mut self, number: usize, page: &Page) {
        let (begin, end) = self.geometry.chunks_of(number);
        for chunk in begin..end {
            if bitmap::is_set(page, self.geometry.place(chunk)) {
                self.find(chunk);
            }
        }
    }

    /// Takes every chunk for one in which legs may differ.
    pub fn find_all(&mut self) {
        (0..self.geometry.chunks()).for_each(|chunk| self.find(chunk));
    }

    fn find(&mut self, chunk: u64) {
        let place = self.geometry.place(chunk);
        if let Some(page) = self.pages.get_mut(place.page) {
            bitmap::put(page, place, true);
        }
        self.urge(place.page);
        self.words.update(chunk, |word| (word.found(), ()));
    }

    /// No page is urgent, and none is being written: all bits of the pages are durable.
    pub(super) fn confirm(&mut self) {
        for chunk in 0..self.geometry.chunks() {
            if self.is_set(chunk) {
                self.words.update(chunk, |word| (if word.is_set() { word } else { word.grant() }, ()));
            }
        }
    }

    /// What was written so far may be lacking on a leg.
    pub fn differ(&mut self) {
        for chunk in 0..self.geometry.chunks() {
            self.words.update(chunk, |word| (word.differ(), ()));
        }
    }

    /// All legs have all of it: no chunk is needed any more.
    pub(super) fn equal(&mut self) {
        for chunk in 0..self.geometry.chunks() {
            self.words.update(chunk, |word| (if word.is_needed() { word.equal() } else { word }, ()));
        }
    }

    /// A write waits for this chunk's bit: its ticket.
    pub fn want(&mut self, chunk: u64) -> u64 {
        let place = self.geometry.place(chunk);
        if let Some(page) = self.pages.get_mut(place.page) {
            bitmap::put(page, place, true);
        }
        self.urge(place.page);
        // If it is set already, it is not to be cleared now.
        self.words.update(chunk, |word| (word.wanted(), ()));
        self.ticket
    }

    /// What has become of the bits that were asked for with this ticket.
    pub fn ticket(&self, ticket: u64) -> Ticket {
        match ticket {
            ticket if ticket > self.served => Ticket::Waiting,
            ticket if ticket > self.stale => Ticket::Served,
            _ => Ticket::Stale,
        }
    }

    /// A chunk's bit is durable: writes may go.
    pub fn grant(&self, chunk: u64) {
        self.words.update(chunk, |word| (word.grant(), ()));
    }

    /// Sets the events counter, which is written before the superblocks'.
    pub fn set_events(&mut self, events: u64) {
        self.header.events = events.into();
        self.head();
        self.urge(0);
    }

    /// All legs are equal but for bits that are set: from now on, that is from this event on, legs need not be rebuilt as a whole.
    pub fn set_cleared(&mut self, events: u64) {
        self.header.events_cleared = events.into();
        self.head();
    }

    /// All pages are to be written: a leg comes.
    pub fn urge_all(&mut self) {
        (0..self.states.len()).for_each(|page| self.urge(page));
    }

    /// Whether somebody waits for a page.
    pub fn is_urgent(&self) -> bool {
        self.states.iter().any(|state| state.urgent)
    }

    /// A sweep: whether any bit may be cleared after a flush.
    pub fn sweep(&mut self) -> bool {
        let sweep = |chunk| self.words.update(chunk, Chunk::sweep) == Some(true);
        (0..self.geometry.chunks()).filter(|chunk| sweep(*chunk)).count() > 0
    }

    /// The flush after a sweep has been: clears the bits in the pages; whether there were any.
    pub fn clear(&mut self) -> bool {
        let mut any = false;
        for chunk in 0..self.geometry.chunks() {
            if self.words.update(chunk, Chunk::clear) != Some(true) {
                continue;
            }
            let place = self.geometry.place(chunk);
            if let (Some(page), Some(state)) = (self.pages.get_mut(place.page), self.states.get_mut(place.page)) {
                bitmap::put(page, place, false);
                (state.cleared, any) = (true, true);
            }
        }
        if any {
            self.stale = self.served;
        }
        any
    }

    /// Begins to write pages; [`writing`](Self::writing) tells which.
    pub fn begin(&mut self, batch: Batch) {
        if batch == Batch::Urgent {
            (self.serving, self.ticket) = (self.ticket, self.ticket.saturating_add(1));
        }
        for (page, state) in self.states.iter_mut().enumerate() {
            state.writing = match batch {
                Batch::Urgent => state.urgent,
                Batch::Header => page == 0,
                Batch::Cleared => state.cleared,
            };
            if state.writing {
                // What changes while it is being written is for the next time.
                (state.urgent, state.cleared) = (state.urgent && batch != Batch::Urgent, false);
            }
        }
    }

    /// The pages that are being written, with their numbers. Whoever writes them copies them: bits are set meanwhile.
    pub fn writing(&self) -> impl Iterator<Item = (usize, &Page)> {
        let pages = self.pages.iter().zip(self.states.iter()).enumerate();
        pages.filter(|(_, (_, state))| state.writing).map(|(number, (page, _))| (number, &**page))
    }

    /// They are durable on all legs, or are to be written again.
    pub fn end(&mut self, durable: bool) {
        if durable {
            self.served = self.served.max(self.serving);
        }
        for state in self.states.iter_mut() {
            state.urgent |= state.writing && !durable;
            state.writing = false;
        }
    }

    /// Whether a bit is set in its page.
    pub fn is_set(&self, chunk: u64) -> bool {
        let place = self.geometry.place(chunk);
        self.pages.get(place.page).is_some_and(|page| bitmap::is_set(page, place))
    }

    /// The first chunk from there on that some leg may lack.
    pub fn next_needed(&self, from: u64) -> Option<u64> {
        let needed = |chunk: u64| self.words.update(chunk, |word| (word, word.is_needed())) == Some(true);
        (from..self.geometry.chunks()).find(|chunk| needed(*chunk))
    }

    /// All legs have this chunk.
    pub fn copied(&self, chunk: u64) {
        self.words.update(chunk, |word| (word.equal(), ()));
    }
}

const _: () = assert!(HEADER_SIZE == size_of::<Header>());
