// SPDX-License-Identifier: GPL-2.0

//! A session: inputs that are kept are changed and run, and what reaches new code is kept, too.

use crate::coverage::{self, Seen};
use crate::mutate::mutate;
use crate::rng::Rng;
use crate::target::Target;
use crate::watch::{self, Cost, Finding};
use crate::{corpus, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Different findings after which a session is over.
const FINDINGS_MAX: usize = 20;

pub(crate) struct Plan {
    pub(crate) seconds: u64,
    pub(crate) seed: u64,
    /// Where the kept inputs are.
    pub(crate) kept: PathBuf,
    /// Where new ones and findings go.
    pub(crate) out: PathBuf,
}

pub(crate) struct Session {
    target: &'static Target,
    seen: Seen,
    inputs: Vec<Vec<u8>>,
    findings: BTreeMap<String, (Vec<u8>, Finding)>,
    runs: u64,
    most: Cost,
}

impl Session {
    fn new(target: &'static Target) -> Self {
        let (inputs, findings) = (Vec::new(), BTreeMap::new());
        Self { target, seen: Seen::new(), inputs, findings, runs: 0, most: Cost::default() }
    }

    /// Runs an input; how much of what it did is new.
    fn run(&mut self, input: &[u8]) -> usize {
        coverage::reset();
        let result = watch::run(self.target.name, self.target.run, input);
        self.runs += 1;
        match result {
            Ok(cost) => {
                let new = self.seen.add();
                self.most.memory = self.most.memory.max(cost.memory);
                self.most.time = self.most.time.max(cost.time);
                new
            }
            Err(finding) => {
                if !self.findings.contains_key(&finding.place) {
                    println!("{}: {}\n  {}", self.target.name, finding.what, corpus::line(input));
                    self.findings.insert(finding.place.clone(), (input.to_vec(), finding));
                }
                0
            }
        }
    }

    fn keep(&mut self, input: Vec<u8>) -> bool {
        let new = self.run(&input) > 0;
        if new {
            self.inputs.push(input);
        }
        new
    }

    /// The inputs without which something that they all reach together is not reached; short ones first.
    fn smallest(&self) -> Vec<Vec<u8>> {
        let mut inputs = self.inputs.clone();
        inputs.sort_by_key(|input| (corpus::line(input).len(), input.clone()));
        let mut session = Self::new(self.target);
        for input in inputs {
            session.keep(input);
        }
        // What only seemed necessary because shorter ones came first.
        let mut inputs = std::mem::take(&mut session.inputs);
        inputs.reverse();
        let mut session = Self::new(self.target);
        for input in inputs {
            session.keep(input);
        }
        session.inputs
    }

    /// The same finding with as little input as a few hundred tries give.
    fn shrink(&self, input: &[u8], place: &str) -> Vec<u8> {
        let fails = |input: &[u8]| matches!(watch::run(self.target.name, self.target.run, input), Err(finding) if finding.place == place);
        let mut small = input.to_vec();
        let mut size = small.len() / 2;
        while size > 0 {
            let mut at = 0;
            while at < small.len() {
                let mut shorter = small.clone();
                shorter.drain(at..(at + size).min(small.len()));
                let mut zeros = small.clone();
                let end = (at + size).min(zeros.len());
                zeros.get_mut(at..end).unwrap_or_default().fill(0);
                if fails(&shorter) {
                    small = shorter;
                } else {
                    if zeros != small && fails(&zeros) {
                        small = zeros;
                    }
                    at += size;
                }
            }
            size /= 2;
        }
        small
    }
}

/// Runs one target; whether nothing was found.
pub(crate) fn session(target: &'static Target, plan: &Plan) -> Result<bool> {
    let mut session = Session::new(target);
    let (kept, grown) = (file(&plan.kept, target), file(&plan.out, target));
    let found = corpus::read(&file(&plan.kept.join("found"), target))?;
    for input in (target.seeds)().into_iter().chain(corpus::read(&kept)?).chain(found) {
        session.keep(input);
    }
    let before = (session.inputs.len(), session.seen.taken());
    for input in corpus::read(&grown)? {
        session.keep(input);
    }
    let mut rng = Rng::new(plan.seed);
    let (began, limit) = (Instant::now(), Duration::from_secs(plan.seconds));
    while began.elapsed() < limit && session.findings.len() < FINDINGS_MAX {
        // What came last is often what is worth most.
        let count = session.inputs.len();
        let back = if rng.below(2) == 0 { count } else { count.min(16) };
        let mut input = session.inputs.get(count - 1 - rng.below(back)).cloned().unwrap_or_default();
        let other = rng.pick(&session.inputs).cloned().unwrap_or_default();
        mutate(&mut rng, &mut input, &other, target.most);
        session.keep(input);
    }
    std::fs::create_dir_all(&plan.out).map_err(|error| format!("{}: {error}", plan.out.display()))?;
    let smallest = session.smallest();
    corpus::write(&grown, &smallest)?;
    println!(
        "{}: {} runs in {} s, seed {}; {} inputs kept, {} now; {} edges, {} now, of {}; at most {} KiB, {} ms; {} findings",
        target.name,
        session.runs,
        began.elapsed().as_secs(),
        plan.seed,
        before.0,
        smallest.len(),
        before.1,
        session.seen.taken(),
        coverage::edges(),
        session.most.memory >> 10,
        session.most.time.as_millis(),
        session.findings.len(),
    );
    for (index, (place, (input, finding))) in session.findings.iter().enumerate() {
        let path = plan.out.join(format!("{}-finding-{index}.hex", target.name));
        corpus::write(&path, &[session.shrink(input, place)])?;
        println!("  {}: {}", path.display(), finding.what);
    }
    Ok(session.findings.is_empty())
}

/// Runs inputs of a target, each once; whether nothing was found.
pub(crate) fn replay(target: &'static Target, inputs: &[Vec<u8>]) -> bool {
    let mut session = Session::new(target);
    // What targets make once, they make here.
    (target.seeds)();
    for input in inputs {
        session.run(input);
    }
    session.findings.is_empty()
}

pub(crate) fn file(folder: &Path, target: &Target) -> PathBuf {
    folder.join(format!("{}.hex", target.name))
}
