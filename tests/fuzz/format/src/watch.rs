// SPDX-License-Identifier: GPL-2.0

//! What a run may do: it may not panic, take more than its time of the processor, or hold more than its memory.

use crate::{corpus, memory};
use nix::time::{clock_gettime, ClockId};
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

/// The processor's time that a run may take; most take a thousandth of that. The machine's other work does not count.
const LIMIT: Duration = Duration::from_secs(5);

/// The run that is under way.
struct Run {
    target: &'static str,
    input: Vec<u8>,
    began: Duration,
}

static NOW: Mutex<Option<Run>> = Mutex::new(None);

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
    static PANIC: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

/// What a run did wrong.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// Where, to tell findings apart.
    pub(crate) place: String,
    pub(crate) what: String,
}

/// What a run took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) time: Duration,
    pub(crate) memory: usize,
}

fn processor() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

fn now() -> std::sync::MutexGuard<'static, Option<Run>> {
    NOW.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Watches runs from now on; one that hangs ends the program, and what it ran is saved in `folder`.
pub(crate) fn start(folder: PathBuf) {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(String::new, |at| format!("{}:{}", at.file(), at.line()));
        if RUNNING.get() {
            PANIC.with(|panic| *panic.borrow_mut() = Some((place, info.to_string())));
        } else {
            eprintln!("{info}");
        }
    }));
    std::thread::spawn(move || loop {
        std::thread::sleep(Duration::from_millis(500));
        let late = now().as_ref().filter(|run| processor().saturating_sub(run.began) > LIMIT).map(|run| {
            let path = folder.join(format!("{}-hang.hex", run.target));
            (run.target, corpus::line(&run.input), path)
        });
        if let Some((target, line, path)) = late {
            let _ = std::fs::write(&path, &line); // it is printed, too
            println!("{target}: hangs, more than {LIMIT:?} of the processor: {}\n  {line}", path.display());
            std::process::exit(1);
        }
    });
}

/// Runs an input.
pub(crate) fn run(target: &'static str, run: impl FnOnce(&[u8]), input: &[u8]) -> Result<Cost, Finding> {
    let began = processor();
    *now() = Some(Run { target, input: input.to_vec(), began });
    RUNNING.set(true);
    memory::begin();
    let result = panic::catch_unwind(AssertUnwindSafe(|| run(input)));
    let cost = Cost { memory: memory::end(), time: processor().saturating_sub(began) };
    RUNNING.set(false);
    *now() = None;
    if result.is_err() {
        let panic = PANIC.with(|panic| panic.borrow_mut().take());
        let (place, what) = panic.unwrap_or_else(|| ("unknown".into(), "a panic".into()));
        return Err(Finding { place, what });
    }
    if cost.memory > memory::CAP {
        let what = format!("asks for {} MiB, more than {} MiB", cost.memory >> 20, memory::CAP >> 20);
        return Err(Finding { place: "memory".into(), what });
    }
    Ok(cost)
}
