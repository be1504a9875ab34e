// SPDX-License-Identifier: GPL-2.0

//! Sequences of steps, and the shortest of those that fail alike.

use crate::crash::{self, Seen};
use crate::order;
use crate::rng::Rng;
use crate::target::Target;
use crate::Fault;

/// What a target does: each step has a seed of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sequence {
    pub(crate) seed: u64,
    pub(crate) steps: Vec<u64>,
}

impl Sequence {
    /// So many steps, made from a seed.
    pub(crate) fn of(seed: u64, steps: usize) -> Self {
        let mut rng = Rng::new(seed.wrapping_add(1 << 32));
        Self { seed, steps: (0..steps).map(|_| rng.next()).collect() }
    }

    /// Does it, on devices that never fail.
    pub(crate) fn play(&self) -> Result<Target, Fault> {
        let mut target = Target::new(self.seed)?;
        for (step, &seed) in self.steps.iter().enumerate() {
            target.step(seed).map_err(|fault| format!("step {step}: {fault}"))?;
        }
        Ok(target)
    }

    /// Does it, asserts the order of what was written, and looks at about `most` states that a crash may have left.
    pub(crate) fn check(&self, seen: &mut Seen, most: usize) -> Result<(), Fault> {
        let target = self.play()?;
        order::check(&target)?;
        crash::examine(&target, &mut Rng::new(self.seed), seen, most)
    }

    /// What its steps do, in words, as far as it comes.
    pub(crate) fn told(&self) -> Vec<String> {
        let Ok(mut target) = Target::new(self.seed) else { return Vec::new() };
        let _ = self.steps.iter().try_for_each(|&seed| target.step(seed));
        target.told
    }

    /// The shortest that still fails, found by leaving out ever smaller parts; `tries` says how often at most it is tried.
    pub(crate) fn shrink(&self, mut tries: u64, fails: &dyn Fn(&Self) -> bool) -> Self {
        let mut best = self.clone();
        let mut part = best.steps.len().div_ceil(2);
        while part > 0 && tries > 0 {
            let mut begin = 0;
            let mut shorter = false;
            while begin < best.steps.len() && tries > 0 {
                let mut candidate = best.clone();
                candidate.steps.drain(begin..(begin + part).min(best.steps.len()));
                tries -= 1;
                if fails(&candidate) {
                    best = candidate;
                    shorter = true;
                } else {
                    begin += part;
                }
            }
            if !(shorter && part == 1) {
                part /= 2;
            }
        }
        best
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use stor_pure::pure::thin::mutant::{choose, Mutant};

    #[test]
    fn a_sequence_that_fails_becomes_short_and_is_the_same_each_time() {
        let fails = |sequence: &Sequence| sequence.play().and_then(|target| order::check(&target)).is_err();
        choose(Some(Mutant::DiscardOrder));
        let failing = (1..20).map(|seed| Sequence::of(seed, 150)).find(fails);
        let shrink = |sequence: &Sequence| sequence.shrink(400, &fails);
        let short = failing.as_ref().map(shrink);
        let again = failing.as_ref().map(shrink);
        let told = short.as_ref().map(Sequence::told);
        let fewer = short.iter().flat_map(|short| {
            (0..short.steps.len()).map(|step| {
                let mut fewer = short.clone();
                fewer.steps.remove(step);
                fewer
            })
        });
        let minimal = !fewer.into_iter().any(|fewer| fails(&fewer));
        choose(None);
        assert!(failing.is_some() && short == again && minimal, "{told:?}");
        let steps = short.map_or(0, |short| short.steps.len());
        assert!((2..15).contains(&steps), "{told:?}");
        assert!(failing.is_some_and(|sequence| !fails(&sequence)));
    }
}
