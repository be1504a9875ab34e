// SPDX-License-Identifier: GPL-2.0

//! A replica target in small: what it does with the planners and the disks. Requests to the disks are under way until somebody
//! completes them, in any order; whoever has the volume may be gone at any time between.

use crate::device::{Place, Write, SECTORS};
use crate::rng::Rng;
use crate::truth::Mark;
use crate::world::{geometry, is_tie_break, leg_of, lineage, uuid, Found, Host, World, ARRAY};
use crate::Fault;
use std::cell::Cell;
use std::collections::HashMap;
use stor_pure::pure::md::bitmap::Header;
use stor_pure::pure::md::superblock::Superblock;
use stor_pure::pure::md::PAGE_SIZE;
use stor_pure::pure::replica::acknowledge::{self, Verdict};
use stor_pure::pure::replica::assemble::{returning, Plan, Recovery};
use stor_pure::pure::replica::chunk::{Begin, Chunk, Words};
use stor_pure::pure::replica::intent::{Intent, Ticket};
use stor_pure::pure::replica::keeper::{Keeper, Step};
use stor_pure::pure::replica::rebuild::{Cursor, Window};
use stor_pure::pure::replica::record::Position;
use stor_pure::pure::replica::set::{Set, TIE_BREAK};
use zerocopy::IntoBytes;

pub(crate) struct Cells(Vec<Cell<Chunk>>);

impl Words for Cells {
    fn update<R>(&self, chunk: u64, change: impl Fn(Chunk) -> (Chunk, R)) -> Option<R> {
        let cell = self.0.get(chunk as usize)?;
        let (word, result) = change(cell.get());
        cell.set(word);
        Some(result)
    }
}

/// Whose a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Write(u64),
    Flush(u64),
    Step,
    Window,
}

/// A request that is under way on a disk.
struct Request {
    place: usize,
    owner: Owner,
    what: What,
}

enum What {
    Write(Write, bool),
    Flush,
}

/// A write of the volume's user.
struct UserWrite {
    sector: usize,
    stamps: Vec<u32>,
    targets: Set,
    done: Set,
    failed: Set,
    /// Not sent yet: it waits for its bits (the ticket), or for the volume to open.
    parked: Option<u64>,
    /// A leg has failed it that is not given up.
    refused: bool,
    /// Its user has got an answer.
    answered: bool,
}

struct UserFlush {
    mark: Mark,
    targets: Set,
    done: Set,
    failed: Set,
    refused: bool,
    answered: bool,
}

/// A step under way.
struct Doing {
    step: Step,
    waiting: Set,
    ok: Set,
    /// Writes and flushes that have to end, if it is [`Step::Drain`].
    drain: Vec<u64>,
}

struct Copying {
    window: Window,
    waiting: Set,
    ok: Set,
    targets: Set,
}

/// A volume that runs.
pub(crate) struct Volume {
    pub(crate) keeper: Keeper<Cells, Host>,
    /// The disks in their places.
    disks: HashMap<usize, usize>,
    superblocks: HashMap<usize, Box<Superblock>>,
    positions: HashMap<usize, Position>,
    requests: Vec<Request>,
    writes: HashMap<u64, UserWrite>,
    flushes: HashMap<u64, UserFlush>,
    next: u64,
    doing: Option<Doing>,
    copying: Option<Copying>,
    cursor: Cursor,
    started: bool,
    settled: bool,
    failures: u64,
}

impl Volume {
    /// Begins by a plan.
    pub(crate) fn start(plan: &Plan, found: Vec<(usize, Found)>, settled: bool) -> Result<Self, Fault> {
        let geometry = geometry()?;
        let words = Cells(vec![Cell::default(); geometry.chunks() as usize]);
        let legs: Vec<&(usize, Found)> = found.iter().filter(|(_, found)| leg_of(found).is_some()).collect();
        let places = plan.legs.iter().map(|leg| leg.place);
        let source = places.clone().zip(&legs).find(|(place, _)| *place == Some(plan.source)).map(|(_, leg)| &leg.1);
        let sound = source.is_some_and(|found| found.bitmap.is_ok());
        let header = source.and_then(|found| found.header).filter(|_| sound);
        // Without bits that count, no leg that comes can have missed little.
        let header = header.unwrap_or_else(|| Header::new(ARRAY, &geometry, plan.events + 1, 8));
        let mut intent = Intent::new(geometry, words, header).map_err(|_| "no memory")?;
        for (leg, (_, found)) in plan.legs.iter().zip(&legs) {
            if leg.bits {
                intent.unite(0, &found.bits);
            }
            if leg.recovery == Recovery::All {
                intent.find_all();
            }
        }
        let keeper = Keeper::new(plan, intent);
        let (mut superblocks, mut positions) = (HashMap::new(), HashMap::new());
        let mut disks: HashMap<usize, usize> =
            places.zip(&legs).filter_map(|(place, leg)| Some((place?, leg.0))).collect();
        disks.extend(found.iter().find(|(disk, _)| is_tie_break(*disk)).map(|(disk, _)| (TIE_BREAK, *disk)));
        for (disk, found) in found {
            let Some(place) = disks.iter().find(|(_, own)| **own == disk).map(|(place, _)| *place) else { continue };
            positions.insert(place, found.record.map_or(Position::NONE, |(_, position)| position));
            superblocks.extend(found.superblock.map(|superblock| (place, superblock)));
        }
        Ok(Self {
            keeper,
            disks,
            superblocks,
            positions,
            requests: Vec::new(),
            writes: HashMap::new(),
            flushes: HashMap::new(),
            next: 0,
            doing: None,
            copying: None,
            cursor: Cursor::default(),
            started: false,
            settled,
            failures: 0,
        })
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.requests.is_empty() && self.writes.is_empty() && self.flushes.is_empty() && self.doing.is_none()
    }

    pub(crate) fn under_way(&self) -> usize {
        self.requests.len()
    }

    /// For whoever has to find out why it does not go on.
    pub(crate) fn state(&self) -> String {
        let doing = self.doing.as_ref().map(|doing| (doing.step, doing.waiting, doing.drain.len()));
        let counts = (self.requests.len(), self.writes.len(), self.flushes.len(), self.copying.is_some());
        let keeper = &self.keeper;
        format!("{counts:?}, {doing:?}, {:?}, {:?}, open {}", keeper.task(), keeper.rebuilding(), keeper.is_open())
    }

    /// Whether the user has been told that it was written.
    #[cfg(test)]
    pub(crate) fn is_acknowledged(&self, world: &World, sector: usize, stamp: u32) -> bool {
        world.truths.get(&self.keeper.record().lineage).is_some_and(|truth| truth.mark()[sector] == stamp)
    }

    /// Whether the user has been told that it is durable.
    #[cfg(test)]
    pub(crate) fn is_durable(&self, world: &World, sector: usize, stamp: u32) -> bool {
        world.truths.get(&self.keeper.record().lineage).is_some_and(|truth| truth.durable(sector) == stamp)
    }

    /// How many requests have failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failures
    }

    /// Whether a record is on some members, and on others not yet.
    pub(crate) fn is_deciding(&self) -> bool {
        let record = self.doing.as_ref().filter(|doing| matches!(doing.step, Step::Record(_)));
        record.is_some_and(|doing| !doing.ok.is_empty() && !doing.waiting.is_empty())
    }

    /// The disk of a request.
    pub(crate) fn disk_of(&self, index: usize) -> Option<usize> {
        self.requests.get(index).and_then(|request| self.disk(request.place))
    }

    /// The disk in a place.
    fn disk(&self, place: usize) -> Option<usize> {
        self.disks.get(&place).copied()
    }

    /// Whether a step may be for this disk, or requests are under way on it.
    pub(crate) fn uses(&self, disk: usize) -> bool {
        let attached = self.disks.iter().any(|(place, own)| *own == disk && self.keeper.is_attached(*place));
        attached || (0..self.requests.len()).any(|index| self.disk_of(index) == Some(disk))
    }

    /// Whether it can be used: what it was to do first is done.
    pub(crate) fn is_started(&self) -> bool {
        self.started && self.keeper.stopped().is_none()
    }

    /// A user writes; whether anybody else writes there already.
    pub(crate) fn write(&mut self, world: &mut World, sector: usize, count: usize) -> Result<bool, Fault> {
        if self.is_locked(sector, count) || self.keeper.stopped().is_some() || !self.started {
            return Ok(false);
        }
        let stamps: Vec<u32> = (0..count).map(|index| world.stamp + 1 + index as u32).collect();
        world.stamp += count as u32;
        world.tell(|| format!("write {stamps:?} to sectors from {sector}"));
        self.truth(world)?.begin(sector, &stamps);
        let write = UserWrite {
            sector,
            stamps,
            targets: Set::NONE,
            done: Set::NONE,
            failed: Set::NONE,
            parked: Some(0),
            refused: false,
            answered: false,
        };
        self.next += 1;
        self.writes.insert(self.next, write);
        self.go(self.next)?;
        Ok(true)
    }

    fn is_locked(&self, sector: usize, count: usize) -> bool {
        let overlaps = |start: usize, length: usize| start < sector + count && sector < start + length;
        let copied = self
            .copying
            .as_ref()
            .is_some_and(|copying| overlaps(copying.window.start as usize, copying.window.sectors as usize));
        copied || self.writes.values().any(|write| overlaps(write.sector, write.stamps.len()))
    }

    fn truth<'a>(&self, world: &'a mut World) -> Result<&'a mut crate::truth::Truth, Fault> {
        let lineage = self.keeper.record().lineage;
        Ok(world.truths.get_mut(&lineage).ok_or("a lineage that nobody began")?)
    }

    /// Sends a write to the legs, if it may go.
    fn go(&mut self, id: u64) -> Result<(), Fault> {
        let Some(write) = self.writes.get_mut(&id) else { return Ok(()) };
        let Some(ticket) = write.parked else { return Ok(()) };
        if !self.keeper.is_open() {
            self.keeper.want();
            return Ok(());
        }
        let first = write.sector as u64 / 2;
        let last = (write.sector + write.stamps.len() - 1) as u64 / 2;
        if ticket > 0 {
            match self.keeper.intent.ticket(ticket) {
                Ticket::Waiting => return Ok(()),
                Ticket::Served => (first..=last).for_each(|chunk| self.keeper.intent.grant(chunk)),
                Ticket::Stale => {}
            }
        }
        let mut begun = Vec::new();
        for chunk in first..=last {
            match self.keeper.intent.words().update(chunk, Chunk::begin).ok_or("no such chunk")? {
                Begin::Go => begun.push(chunk),
                Begin::Ask => {
                    for chunk in begun {
                        self.keeper.intent.words().update(chunk, |word| (word.end(true), ()));
                    }
                    write.parked = (first..=last).map(|chunk| self.keeper.intent.want(chunk)).max();
                    return Ok(());
                }
                Begin::Full => return Err("a few writes are too many".into()),
            }
        }
        (write.parked, write.targets) = (None, self.keeper.targets());
        for place in write.targets.iter() {
            let what = What::Write(Write::Data { sector: write.sector, stamps: write.stamps.clone() }, false);
            self.requests.push(Request { place, owner: Owner::Write(id), what });
        }
        Ok(())
    }

    /// A user flushes.
    pub(crate) fn flush(&mut self, world: &mut World) -> Result<(), Fault> {
        if self.keeper.stopped().is_some() || !self.started {
            return Ok(());
        }
        world.tell(|| "flush".into());
        let mark = self.truth(world)?.mark();
        let targets = self.keeper.targets();
        self.next += 1;
        for place in targets.iter() {
            self.requests.push(Request { place, owner: Owner::Flush(self.next), what: What::Flush });
        }
        let flush = UserFlush { mark, targets, done: Set::NONE, failed: Set::NONE, refused: false, answered: false };
        self.flushes.insert(self.next, flush);
        Ok(())
    }

    /// A user reads: what nobody is writing to reads the same on every leg.
    pub(crate) fn read(&mut self, world: &mut World, sector: usize) -> Result<(), Fault> {
        if !self.started || self.is_locked(sector, 1) {
            return Ok(());
        }
        for place in self.keeper.sources().iter() {
            let disk = self.disk(place).ok_or("no disk")?;
            let Some(device) = world.device(disk).filter(|device| device.up) else { continue };
            let stamp = device.view().data[sector];
            self.truth(world)?.read(sector, stamp).map_err(|error| format!("leg {place}: {error}"))?;
        }
        Ok(())
    }

    /// One of the requests that are under way ends. `fail`: with an error, if that can be.
    pub(crate) fn complete(&mut self, world: &mut World, index: usize, fail: Option<&mut Rng>) -> Result<(), Fault> {
        if index >= self.requests.len() {
            return Ok(());
        }
        let request = self.requests.swap_remove(index);
        let disk = self.disk(request.place).ok_or("no disk")?;
        let device = world.device(disk).ok_or("no such disk")?;
        let mut ok = device.up;
        if let Some(rng) = fail {
            ok = false;
            // An error tells nothing of whether it was done.
            if let (What::Write(write, _), 0, true) = (&request.what, rng.below(2), device.up) {
                device.write(write, false);
            }
            // After a flush that failed, what it was for may be lost.
            if let (What::Flush, 0) = (&request.what, rng.below(2)) {
                device.cut(rng, &[]);
            }
        } else if ok {
            match &request.what {
                What::Write(write, durable) => device.write(write, *durable),
                What::Flush => device.flush(),
            }
        }
        self.failures += u64::from(!ok);
        if !ok {
            let (place, owner) = (request.place, request.owner);
            world.tell(|| format!("{owner:?} fails on {place}"));
        }
        self.ended(world, request.place, request.owner, ok)
    }

    /// All that is under way on disks that are gone fails at the same time.
    pub(crate) fn lose(&mut self, world: &mut World) -> Result<(), Fault> {
        let gone = |place| {
            world.devices.iter().any(|(own, device)| Some(*own) == self.disks.get(&place).copied() && !device.up)
        };
        let (lost, left) =
            std::mem::take(&mut self.requests).into_iter().partition::<Vec<_>, _>(|request| gone(request.place));
        self.requests = left;
        for request in lost {
            self.failures += 1;
            self.note(request.place, request.owner, false);
        }
        self.settle(world)
    }

    fn ended(&mut self, world: &mut World, place: usize, owner: Owner, ok: bool) -> Result<(), Fault> {
        self.note(place, owner, ok);
        self.settle(world)
    }

    fn note(&mut self, place: usize, owner: Owner, ok: bool) {
        let one = Set::one(place);
        let refused =
            !ok && owner != Owner::Step && !self.keeper.fail(one).covers(one) && self.keeper.sources().has(place);
        if refused && matches!(owner, Owner::Flush(_)) {
            // It may have lost what other requests that are under way have done already.
            self.flushes.values_mut().for_each(|flush| flush.refused = true);
            self.writes.values_mut().filter(|write| write.parked.is_none()).for_each(|write| write.refused = true);
        }
        match owner {
            Owner::Write(id) => {
                if let Some(write) = self.writes.get_mut(&id) {
                    let set = if ok { &mut write.done } else { &mut write.failed };
                    (*set, write.refused) = (set.with(one), write.refused || refused);
                }
            }
            Owner::Flush(id) => {
                if let Some(flush) = self.flushes.get_mut(&id) {
                    let set = if ok { &mut flush.done } else { &mut flush.failed };
                    (*set, flush.refused) = (set.with(one), flush.refused || refused);
                }
            }
            Owner::Step => {
                if !ok {
                    self.keeper.missed(one);
                }
                if let Some(doing) = &mut self.doing {
                    doing.waiting = doing.waiting.without(one);
                    if ok {
                        doing.ok = doing.ok.with(one);
                        if matches!(doing.step, Step::Record(_)) {
                            let position = self.positions.entry(place).or_insert(Position::NONE);
                            *position = position.next();
                        }
                    }
                }
            }
            Owner::Window => {
                if let Some(copying) = &mut self.copying {
                    copying.waiting = copying.waiting.without(one);
                    if ok {
                        copying.ok = copying.ok.with(one);
                    }
                }
            }
        }
    }

    /// Everything that can go on goes on.
    pub(crate) fn settle(&mut self, world: &mut World) -> Result<(), Fault> {
        loop {
            let mut changed = self.answer(world)?;
            changed |= self.step(world)?;
            if !self.started && self.keeper.is_ready() && self.keeper.stopped().is_none() {
                self.begin(world)?;
                changed = true;
            }
            let mut parked: Vec<u64> =
                self.writes.iter().filter(|(_, write)| write.parked.is_some()).map(|(id, _)| *id).collect();
            parked.sort_unstable();
            for id in parked {
                self.go(id)?;
                changed |= self.writes.get(&id).is_some_and(|write| write.parked.is_none());
            }
            if !changed {
                return Ok(());
            }
        }
    }

    /// The volume can be read for the first time.
    fn begin(&mut self, world: &mut World) -> Result<(), Fault> {
        self.started = true;
        let source = self.keeper.sources().lowest().ok_or("a start without a source")?;
        let data =
            self.disk(source).and_then(|disk| world.device(disk)).map_or([0; SECTORS], |device| device.view().data);
        let record = self.keeper.record();
        let (epoch, lineage, sources) = (record.epoch.get(), record.lineage, self.keeper.sources());
        world.tell(|| format!("started: epoch {epoch}, entitled {sources}"));
        let settled = self.settled;
        match world.truths.get_mut(&lineage) {
            Some(truth) => truth.start(&data, settled)?,
            None => drop(world.truths.insert(lineage, crate::truth::Truth::new(&data))),
        }
        Ok(())
    }

    /// Answers users whose requests are done; frees what has ended on all legs.
    fn answer(&mut self, world: &mut World) -> Result<bool, Fault> {
        let mut changed = false;
        let stopped = self.keeper.stopped().is_some();
        let lineage = self.keeper.record().lineage;
        let standing = self.keeper.standing();
        let mut ids: Vec<u64> = self.writes.keys().chain(self.flushes.keys()).copied().collect();
        ids.sort_unstable();
        for id in ids {
            if let Some(write) = self.writes.get_mut(&id).filter(|write| write.parked.is_none()) {
                let verdict = match acknowledge::write(standing, write.done, write.failed) {
                    _ if write.refused => Verdict::Fail,
                    verdict => verdict,
                };
                if !write.answered && verdict == Verdict::Acknowledge {
                    world.truths.get_mut(&lineage).ok_or("no truth")?.acknowledge(write.sector, &write.stamps);
                }
                let given_up = verdict == Verdict::Hold && stopped;
                if !write.answered && (given_up || matches!(verdict, Verdict::Acknowledge | Verdict::Fail)) {
                    (write.answered, changed) = (true, true);
                }
                if write.answered && write.done.with(write.failed).covers(write.targets) {
                    let complete = self.keeper.is_complete(write.done);
                    for chunk in write.sector as u64 / 2..=(write.sector + write.stamps.len() - 1) as u64 / 2 {
                        self.keeper.intent.words().update(chunk, |word| (word.end(complete), ()));
                    }
                    self.writes.remove(&id);
                    changed = true;
                }
            } else if let Some(flush) = self.flushes.get_mut(&id) {
                let verdict = match acknowledge::flush(standing, flush.done, flush.failed) {
                    _ if flush.refused => Verdict::Fail,
                    verdict => verdict,
                };
                if !flush.answered && verdict == Verdict::Fail {
                    world.truths.get_mut(&lineage).ok_or("no truth")?.lost();
                }
                if !flush.answered && verdict == Verdict::Acknowledge {
                    world.truths.get_mut(&lineage).ok_or("no truth")?.flushed(&flush.mark);
                }
                let given_up = verdict == Verdict::Hold && stopped;
                if !flush.answered && (given_up || matches!(verdict, Verdict::Acknowledge | Verdict::Fail)) {
                    (flush.answered, changed) = (true, true);
                }
                if flush.answered && flush.done.with(flush.failed).covers(flush.targets) {
                    self.flushes.remove(&id);
                    changed = true;
                }
            } else if stopped && self.writes.remove(&id).is_some() {
                changed = true;
            }
        }
        Ok(changed)
    }

    /// Ends a step whose requests have ended, and begins the next.
    fn step(&mut self, world: &mut World) -> Result<bool, Fault> {
        let mut changed = false;
        if let Some(doing) = &mut self.doing {
            // On all legs; what is on hold waits for a step after this one.
            let requests = &self.requests;
            let on_legs = |id| {
                requests.iter().any(|other| matches!(other.owner, Owner::Write(own) | Owner::Flush(own) if own == id))
            };
            doing.drain.retain(|id| on_legs(*id));
            if doing.waiting.is_empty() && doing.drain.is_empty() {
                let ok = doing.ok;
                self.doing = None;
                self.keeper.done(ok);
                changed = true;
            }
        }
        if self.doing.is_some() {
            return Ok(changed);
        }
        let Some(step) = self.keeper.begin() else { return Ok(changed) };
        world.tell(|| format!("step {step:?}"));
        let members = step.members();
        let mut drain = Vec::new();
        if step == Step::Drain {
            drain = self.writes.iter().filter(|(_, write)| write.parked.is_none()).map(|(id, _)| *id).collect();
            drain.extend(self.flushes.keys());
        }
        self.doing = Some(Doing { step, waiting: members, ok: Set::NONE, drain });
        for place in members.iter() {
            for what in self.requests_of(step, place)? {
                self.requests.push(Request { place, owner: Owner::Step, what });
            }
        }
        Ok(true)
    }

    fn requests_of(&mut self, step: Step, place: usize) -> Result<Vec<What>, Fault> {
        let page = |place, page| What::Write(Write::Page { place, page }, true);
        Ok(match step {
            Step::Record(_) => {
                let mut bytes = Box::new([0; PAGE_SIZE]);
                let record = self.keeper.record();
                let device = self.keeper.device(place);
                let to = self.positions.get(&place).copied().unwrap_or(Position::NONE).next();
                record.write::<Host>(device, to, &mut bytes).map_err(|refusal| format!("{refusal}: {record:?}"))?;
                vec![page(Place::Record(to.slot), bytes)]
            }
            Step::Superblock(_) => {
                let numbers: HashMap<usize, u32> =
                    self.superblocks.iter().map(|(place, leg)| (*place, leg.dev_number.get())).collect();
                let leg = self.superblocks.get_mut(&place).ok_or("no superblock")?;
                self.keeper.describe(leg, place, &|place| numbers.get(&place).copied(), 1_790_000_001);
                leg.seal().map_err(|refusal| refusal.to_string())?;
                vec![page(Place::Superblock, Box::new(leg.as_bytes().try_into()?))]
            }
            Step::Pages(_) => {
                self.keeper.intent.writing().map(|(_, bytes)| page(Place::Bitmap, Box::new(*bytes))).collect()
            }
            Step::Flush(_) => vec![What::Flush],
            Step::Drain => Vec::new(),
        })
    }

    /// Copies the next window to legs that are being rebuilt.
    pub(crate) fn rebuild(&mut self, world: &mut World) -> Result<(), Fault> {
        if let Some(copying) = &self.copying {
            if copying.waiting.is_empty() {
                let (window, ok, targets) = (copying.window, copying.ok, copying.targets);
                self.copying = None;
                if ok == targets && targets == self.keeper.rebuilding() {
                    let complete = !self.keeper.is_degraded();
                    self.cursor.done(&self.keeper.intent, self.keeper.restarts(), window, complete);
                }
            }
            return Ok(());
        }
        let targets = self.keeper.rebuilding();
        if targets.is_empty() || self.keeper.stopped().is_some() || !self.started {
            return Ok(());
        }
        let Some(window) = self.cursor.next(&self.keeper.intent, self.keeper.restarts(), 1) else {
            world.tell(|| format!("{targets} are rebuilt"));
            self.keeper.rebuilt(targets);
            return self.settle(world);
        };
        let sector = window.start as usize;
        let count = window.sectors as usize;
        let Some(source) = self.keeper.sources().lowest().filter(|_| !self.is_locked(sector, count)) else {
            return Ok(());
        };
        let Some(device) = self.disk(source).and_then(|disk| world.device(disk)).filter(|device| device.up) else {
            self.keeper.fail(Set::one(source));
            return self.settle(world);
        };
        let stamps = device.view().data[sector..sector + count].to_vec();
        self.copying = Some(Copying { window, waiting: targets, ok: Set::NONE, targets });
        for place in targets.iter() {
            let what = What::Write(Write::Data { sector, stamps: stamps.clone() }, false);
            self.requests.push(Request { place, owner: Owner::Window, what });
        }
        Ok(())
    }

    /// A leg is there again; whether it may join.
    pub(crate) fn rejoin(&mut self, world: &mut World, disk: usize, found: Found) -> Result<bool, Fault> {
        let place = self.keeper.record().place(&uuid(disk));
        let Some(place) = place.filter(|place| *place != TIE_BREAK) else { return Ok(false) };
        if self.keeper.targets().has(place) || self.uses(disk) || !self.is_started() {
            return Ok(false);
        }
        let Some(leg) = leg_of(&found) else { return Ok(false) };
        let header = *self.keeper.intent.header();
        let recovery = match returning(self.keeper.record(), header.events_cleared.get(), header.chunksize.get(), &leg)
        {
            Ok(recovery) => recovery,
            Err(refusal) => {
                world.tell(|| format!("leg {place} may not come back: {refusal}"));
                return Ok(false);
            }
        };
        world.tell(|| format!("leg {place} comes back: {recovery:?}"));
        match recovery {
            Recovery::None => return Ok(false),
            Recovery::Bits => self.keeper.intent.unite(0, &found.bits),
            Recovery::All => self.keeper.intent.find_all(),
        }
        self.disks.insert(place, disk);
        self.positions.insert(place, found.record.map_or(Position::NONE, |(_, position)| position));
        self.superblocks.extend(found.superblock.map(|superblock| (place, superblock)));
        self.keeper.join(place);
        self.settle(world)?;
        Ok(true)
    }

    /// Whoever had the volume is gone. `cut`: the disks' power, too; otherwise they keep what they have.
    pub(crate) fn crash(mut self, world: &mut World, rng: &mut Rng, cut: bool) {
        for index in 0..world.devices.len() {
            self.stop(world, rng, index, cut);
        }
    }

    /// A disk is gone from the volume, with or without its power.
    pub(crate) fn stop(&mut self, world: &mut World, rng: &mut Rng, index: usize, cut: bool) {
        let Some((disk, device)) = world.devices.get_mut(index) else { return };
        if !device.up {
            return;
        }
        let mut under_way: Vec<Write> = Vec::new();
        for request in self.requests.iter().filter(|request| self.disk(request.place) == Some(*disk)) {
            if let What::Write(write, _) = &request.what {
                under_way.push(write.clone());
            }
        }
        if cut {
            device.cut(rng, &under_way);
        } else {
            device.abandon(rng, &under_way);
        }
        device.up = false;
    }

    /// A new lineage's bytes.
    pub(crate) fn new_lineage(world: &mut World) -> [u8; 16] {
        world.forced += 1;
        lineage(world.forced)
    }
}
