// SPDX-License-Identifier: GPL-2.0

//! A leg's disk, or the tie-break's: what it holds, what is in its volatile cache, and what can go wrong.

use crate::rng::Rng;
use std::collections::VecDeque;
use stor_pure::pure::md::{Page, PAGE_SIZE};

/// Sectors of data.
pub(crate) const SECTORS: usize = 24;

/// What a page of metadata is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Superblock,
    Bitmap,
    /// The first or the second copy.
    Record(usize),
}

impl Place {
    fn index(self) -> usize {
        match self {
            Self::Superblock => 0,
            Self::Bitmap => 1,
            Self::Record(slot) => 2 + slot,
        }
    }
}

/// What a disk holds. A sector of data is the stamp of whoever wrote it.
#[derive(Clone)]
pub(crate) struct Contents {
    pages: [Box<Page>; 4],
    pub(crate) data: [u32; SECTORS],
}

impl Contents {
    pub(crate) fn page(&self, place: Place) -> &Page {
        &self.pages[place.index()]
    }
}

/// Something that is written.
#[derive(Clone)]
pub(crate) enum Write {
    Data { sector: usize, stamps: Vec<u32> },
    Page { place: Place, page: Box<Page> },
}

/// Half a write that did not come through is not whole sectors of the old and of the new.
fn apply(contents: &mut Contents, write: &Write, through: &mut dyn FnMut() -> bool) {
    match write {
        Write::Data { sector, stamps } => {
            for (to, stamp) in contents.data[*sector..].iter_mut().zip(stamps) {
                if through() {
                    *to = *stamp;
                }
            }
        }
        Write::Page { place, page } => {
            for (to, from) in contents.pages[place.index()].chunks_mut(512).zip(page.chunks(512)) {
                if through() {
                    to.copy_from_slice(from);
                }
            }
        }
    }
}

/// A disk.
pub(crate) struct Device {
    durable: Contents,
    /// As it is read.
    view: Contents,
    cache: VecDeque<Write>,
    /// It says that it has flushed, and has not.
    pub(crate) lies: bool,
    /// It answers.
    pub(crate) up: bool,
}

impl Device {
    pub(crate) fn new() -> Self {
        let pages = [(); 4].map(|()| Box::new([0; PAGE_SIZE]));
        let empty = Contents { pages, data: [0; SECTORS] };
        Self { durable: empty.clone(), view: empty, cache: VecDeque::new(), lies: false, up: true }
    }

    pub(crate) fn view(&self) -> &Contents {
        &self.view
    }

    pub(crate) fn durable(&self) -> &Contents {
        &self.durable
    }

    /// A write comes through.
    pub(crate) fn write(&mut self, write: &Write, durable: bool) {
        apply(&mut self.view, write, &mut || true);
        if durable && !self.lies {
            // Only this one; what is in the cache may come later, but never over it.
            apply(&mut self.durable, write, &mut || true);
            self.forget(write);
        } else {
            self.cache.push_back(write.clone());
        }
    }

    /// What the cache has of a place that was written through is old.
    fn forget(&mut self, write: &Write) {
        match write {
            Write::Page { place, .. } => {
                self.cache.retain(|other| !matches!(other, Write::Page { place: same, .. } if same == place));
            }
            Write::Data { sector, stamps } => {
                let durable = *sector..*sector + stamps.len();
                for other in &mut self.cache {
                    if let Write::Data { sector, stamps } = other {
                        for (at, stamp) in (*sector..).zip(stamps) {
                            if durable.contains(&at) {
                                *stamp = self.durable.data[at];
                            }
                        }
                    }
                }
            }
        }
    }

    /// Whether nothing can get lost any more.
    pub(crate) fn is_settled(&self) -> bool {
        self.cache.is_empty()
    }

    pub(crate) fn flush(&mut self) {
        if !self.lies {
            for write in self.cache.drain(..) {
                apply(&mut self.durable, &write, &mut || true);
            }
        }
    }

    /// An older copy is put in its place.
    pub(crate) fn restore(&mut self, contents: &Contents) {
        self.cache.clear();
        (self.durable, self.view) = (contents.clone(), contents.clone());
    }

    /// The power goes: of what is in the cache any part comes through, whole or in part; of writes that are under way, too.
    pub(crate) fn cut(&mut self, rng: &mut Rng, under_way: &[Write]) {
        let chance = rng.below(5);
        for write in self.cache.drain(..).chain(under_way.iter().cloned()) {
            let whole = rng.below(4) < chance;
            let torn = rng.below(4) == 0;
            apply(&mut self.durable, &write, &mut || if torn { rng.below(2) == 0 } else { whole });
            // A record has to survive even this: a sector that is neither old nor new.
            if let (Write::Page { place: Place::Record(slot), .. }, true) = (&write, rng.below(4) == 0) {
                let sector = 512 * rng.below(2) as usize;
                self.durable.pages[Place::Record(*slot).index()][sector..sector + 512].fill(0xee);
            }
        }
        self.view = self.durable.clone();
    }

    /// Who sent writes that are under way is gone: each may have been done.
    pub(crate) fn abandon(&mut self, rng: &mut Rng, under_way: &[Write]) {
        for write in under_way {
            match rng.below(3) {
                0 => {}
                1 => self.write(write, false),
                _ => self.write(write, true),
            }
        }
    }
}
