// SPDX-License-Identifier: GPL-2.0

//! Several workers at once, watched: none may stand still, and when all have been killed nothing is half made.

use crate::calls::remove_all;
use crate::check;
use crate::control::Control;
use crate::rng::Rng;
use crate::worker::picture;
use crate::Result;
use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use stor_pure::abi::uapi::*;

/// What to run.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) processes: usize,
    pub(crate) duration: Duration,
    /// How often a worker is killed, once in so many ticks; 0 is never.
    pub(crate) kill: usize,
    /// A worker that has done nothing for so long is stuck.
    pub(crate) stall: Duration,
    pub(crate) disks: Vec<PathBuf>,
}

const TICK: Duration = Duration::from_millis(100);

/// How many things a worker has done, and when it did the last one.
type Progress = Arc<Mutex<(u64, Instant)>>;

struct Worker {
    process: Child,
    progress: Progress,
}

impl Worker {
    fn start(plan: &Plan, seed: u64) -> Result<Self> {
        let mut process = Command::new("/proc/self/exe")
            .args(["worker", "--seed", &seed.to_string()])
            .args(&plan.disks)
            .stdout(Stdio::piped())
            .spawn()?;
        let progress = Arc::new(Mutex::new((0, Instant::now())));
        let (mut pipe, seen) = (process.stdout.take().ok_or("no pipe")?, progress.clone());
        thread::spawn(move || {
            let mut bytes = [0; 256];
            while let Ok(count @ 1..) = pipe.read(&mut bytes) {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                *seen = (seen.0 + count as u64, Instant::now());
            }
        });
        Ok(Self { process, progress })
    }

    fn progress(&self) -> (u64, Instant) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails if it has ended or stands still.
    fn watch(&mut self, stall: Duration) -> Result<()> {
        if let Some(status) = self.process.try_wait()? {
            return Err(format!("a worker ended: {status}").into());
        }
        if self.progress().1.elapsed() < stall {
            return Ok(());
        }
        Err(format!("a worker stands still:\n{}", stack(self.process.id())).into())
    }

    /// Waits for the end of a worker that has been killed; it ends when its call does.
    fn ended(&mut self, stall: Duration, janitor: &mut Janitor) -> Result<()> {
        let end = Instant::now() + stall;
        while self.process.try_wait()?.is_none() {
            if Instant::now() > end {
                return Err(format!("a killed worker does not end:\n{}", stack(self.process.id())).into());
            }
            janitor.sweep()?;
            thread::sleep(TICK);
        }
        Ok(())
    }
}

fn stack(pid: u32) -> String {
    ["wchan", "stack"].map(|file| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()).join("\n")
}

/// Resumes what a killed worker has left suspended.
struct Janitor {
    control: Control,
    /// Volumes that were suspended when it last came, and since when.
    suspended: HashMap<[u8; 16], u64>,
    last: Instant,
}

impl Janitor {
    fn sweep(&mut self) -> Result<()> {
        if self.last.elapsed() < Duration::from_secs(1) {
            return Ok(());
        }
        self.last = Instant::now();
        let mut suspended = HashMap::new();
        for volume in self.control.list()?.0.iter().filter(|volume| volume.state & STOR_STATE_SUSPENDED != 0) {
            // It may be gone, or running, by now.
            let Ok((status, ..)) = self.control.status(volume.uuid) else { continue };
            if self.suspended.get(&volume.uuid) == Some(&status.wait_since) {
                let _ = self.control.volume(STOR_NR_RESUME, volume.uuid);
            }
            suspended.insert(volume.uuid, status.wait_since);
        }
        self.suspended = suspended;
        Ok(())
    }
}

/// Runs a plan; prints what came of it.
pub(crate) fn run(plan: &Plan) -> Result<()> {
    let control = Control::open()?;
    let mut janitor = Janitor { control: Control::open()?, suspended: HashMap::new(), last: Instant::now() };
    let mut rng = Rng::new(plan.seed);
    let mut workers = Vec::new();
    for _ in 0..plan.processes {
        workers.push(Worker::start(plan, rng.next())?);
    }
    let result = work(plan, &mut rng, &mut workers, &mut janitor);
    for worker in &mut workers {
        worker.process.kill()?;
    }
    let ended = workers.iter_mut().try_for_each(|worker| worker.ended(plan.stall, &mut janitor));
    let (steps, killed) =
        result.and_then(|steps| ended.map(|()| steps)).map_err(|error| format!("{error}\n{}", picture(&control)))?;
    check::consistent(&control)?;
    let left = control.list()?.0.len();
    remove_all(&control)?;
    println!("{} workers did {steps} things, {killed} were killed, {left} volumes were left", plan.processes);
    Ok(())
}

/// How much was done, and how many workers were killed.
fn work(plan: &Plan, rng: &mut Rng, workers: &mut [Worker], janitor: &mut Janitor) -> Result<(u64, u32)> {
    let (mut steps, mut killed) = (0, 0);
    let end = Instant::now() + plan.duration;
    while Instant::now() < end {
        thread::sleep(TICK);
        janitor.sweep()?;
        workers.iter_mut().try_for_each(|worker| worker.watch(plan.stall))?;
        if plan.kill > 0 && rng.one_in(plan.kill) {
            let index = rng.below(workers.len());
            let Some(worker) = workers.get_mut(index) else { continue };
            worker.process.kill()?;
            worker.ended(plan.stall, janitor)?;
            steps += worker.progress().0;
            killed += 1;
            *worker = Worker::start(plan, rng.next())?;
        }
    }
    Ok((steps + workers.iter().map(|worker| worker.progress().0).sum::<u64>(), killed))
}
