// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How far a command has come, on one line of a terminal.

use libstor::metadata::Progress;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{channel, RecvTimeoutError, Sender};
use std::thread::{spawn, JoinHandle};
use std::time::Duration;

/// How often the line is written. What takes less shows none.
const INTERVAL: Duration = Duration::from_millis(250);

/// Shows how far a command has come until it is dropped.
pub(crate) struct Shown(Option<(Sender<()>, JoinHandle<()>)>);

impl Shown {
    /// Shows it on stderr, if that is a terminal and nothing else is to be written there. `streams` says that the command
    /// prints as it goes: then that must not be the terminal.
    pub(crate) fn new(progress: &Progress, quiet: bool, streams: bool) -> Self {
        if quiet || !io::stderr().is_terminal() || (streams && io::stdout().is_terminal()) {
            return Self(None);
        }
        let (end, ended) = channel();
        let progress = progress.clone();
        let thread = spawn(move || {
            let mut shown = false;
            while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                write(&line(progress.read(), progress.total()));
                shown = true;
            }
            if shown {
                write("");
            }
        });
        Self(Some((end, thread)))
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.0.take() {
            drop(end);
            let _ = thread.join(); // it does not panic, and there is nothing to be done if it did
        }
    }
}

/// Replaces what is on the line.
fn write(text: &str) {
    // Whether it can be seen does not matter to the command.
    let _ = write!(io::stderr(), "\r\x1b[K{text}");
}

fn line(read: u64, total: Option<u64>) -> String {
    match total {
        // More may be read than was thought.
        Some(total) => format!("{read} of {} metadata blocks read ({} %)", total.max(read), percent(read, total)),
        None => format!("{read} metadata blocks read"),
    }
}

fn percent(read: u64, total: u64) -> u128 {
    u128::from(read) * 100 / u128::from(total.max(read).max(1))
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn what_is_shown() {
        assert_eq!(line(5, None), "5 metadata blocks read");
        assert_eq!(line(50, Some(200)), "50 of 200 metadata blocks read (25 %)");
        assert_eq!(line(300, Some(200)), "300 of 300 metadata blocks read (100 %)");
    }
}
