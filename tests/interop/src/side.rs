// SPDX-License-Identifier: GPL-2.0

//! What both implementations are asked for, and what is asked at random.

use crate::model::{Model, BLOCKS, PAGE, PAGES};
use crate::rng::Rng;
use std::ops::Range;

pub(crate) type Fault = Box<dyn std::error::Error>;

/// An implementation at work on the pool.
pub(crate) trait Side {
    fn create(&mut self, id: u64) -> Result<(), Fault>;
    fn snapshot(&mut self, id: u64, origin: u64) -> Result<(), Fault>;
    fn delete(&mut self, id: u64) -> Result<(), Fault>;
    fn write(&mut self, id: u64, pages: Range<u64>, stamp: u64) -> Result<(), Fault>;
    fn discard(&mut self, id: u64, blocks: Range<u64>) -> Result<(), Fault>;
    fn set_transaction_id(&mut self, old: u64, new: u64) -> Result<(), Fault>;
    /// The metadata snapshot.
    fn hold(&mut self) -> Result<(), Fault>;
    fn release(&mut self) -> Result<(), Fault>;
    /// Data blocks that are free.
    fn free(&mut self) -> Result<u64, Fault>;
    /// All that was done is durable.
    fn commit(&mut self) -> Result<(), Fault>;
    /// What is read from now on comes from the devices.
    fn forget(&mut self) -> Result<(), Fault> {
        Ok(())
    }
    /// Reads so many bytes from a page on.
    fn read(&mut self, id: u64, page: u64, bytes: &mut [u8]) -> Result<(), Fault>;
    /// Ends; all that was done is durable.
    fn close(self: Box<Self>) -> Result<(), Fault>;
}

/// At most so many volumes.
const VOLUMES: usize = 7;
/// Writes want so many free blocks: one of them, and the commit that follows, never runs out.
const ROOM: u64 = 300;

/// Does something at random, to the pool and to the model.
pub(crate) fn step(side: &mut dyn Side, model: &mut Model, stamp: &mut u64, rng: &mut Rng) -> Result<(), Fault> {
    let count = model.volumes.len();
    let id = model.volumes.keys().nth(rng.below(count.max(1) as u64) as usize).copied();
    let full = side.free()? < ROOM;
    match (rng.below(100), id) {
        (_, None) | (0..=4, _) => {
            let id = rng.below(1 << 24);
            if count < VOLUMES && !model.volumes.contains_key(&id) {
                side.create(id)?;
                model.volumes.insert(id, Default::default());
            }
        }
        (5..=12, Some(origin)) => {
            let id = rng.below(1 << 24);
            if count < VOLUMES && !model.volumes.contains_key(&id) {
                side.snapshot(id, origin)?;
                let volume = model.volumes.get(&origin).cloned().unwrap_or_default();
                model.volumes.insert(id, volume);
            }
        }
        (13..=15, Some(id)) if count > 2 => {
            side.delete(id)?;
            model.volumes.remove(&id);
        }
        (16..=17, _) => {
            side.set_transaction_id(model.transaction_id, model.transaction_id + 1)?;
            model.transaction_id += 1;
        }
        (18..=19, _) if model.held => {
            side.release()?;
            model.held = false;
        }
        (18..=19, _) => {
            side.hold()?;
            model.held = true;
        }
        (20..=24, _) => side.commit()?,
        (action, Some(id)) if full && action < 60 => {
            // Without this a full pool would stay full.
            side.delete(id)?;
            model.volumes.remove(&id);
            if model.held {
                side.release()?;
                model.held = false;
            }
            side.commit()?;
        }
        (25..=39, Some(id)) => {
            let begin = rng.below(BLOCKS);
            let most = if rng.below(4) == 0 { BLOCKS } else { 8 };
            let end = (begin + 1 + rng.below(most)).min(BLOCKS);
            side.discard(id, begin..end)?;
            if let Some(volume) = model.volumes.get_mut(&id) {
                volume.discard(begin..end);
            }
        }
        (action, Some(id)) if !full => {
            // Now and then a long run, most often a page somewhere.
            let begin = rng.below(BLOCKS * PAGES);
            let length = match action {
                95.. => PAGES * (1 + rng.below(200)),
                80.. => PAGES + rng.below(2 * PAGES),
                _ => 1 + rng.below(3),
            };
            let begin = if action >= 80 && rng.below(2) == 0 { begin / PAGES * PAGES } else { begin };
            let pages = begin..(begin + length).min(BLOCKS * PAGES);
            *stamp += 1;
            side.write(id, pages.clone(), *stamp)?;
            if let Some(volume) = model.volumes.get_mut(&id) {
                volume.write(pages, *stamp);
            }
        }
        _ => {}
    }
    Ok(())
}

/// Reads all that is mapped, and some of what is not.
pub(crate) fn verify(side: &mut dyn Side, model: &Model) -> Result<(), Fault> {
    let mut bytes = vec![0xff; PAGE * PAGES as usize];
    side.forget()?;
    for (&id, volume) in &model.volumes {
        for block in 0..BLOCKS {
            if volume.mapped.contains(&block) || block % 31 == 0 {
                side.read(id, block * PAGES, &mut bytes)?;
                volume.compare(block * PAGES, &bytes).map_err(|error| format!("volume {id}: {error}"))?;
            }
        }
    }
    Ok(())
}
