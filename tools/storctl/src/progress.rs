// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How far a command has come, on one line of a terminal.

use libstor::metadata::Progress;
use libstor::size::Iec;
use libstor::Bytes;
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

fn line(read: Bytes, total: Option<Bytes>) -> String {
    match total {
        Some(total) => {
            // More may be read than was thought.
            let total = Bytes(total.0.max(read.0));
            let percent = u128::from(read.0) * 100 / u128::from(total.0.max(1));
            format!("{} of {} read ({percent} %)", Iec(read), Iec(total))
        }
        None => format!("{} read", Iec(read)),
    }
}

#[cfg(test)]
mod tests {
    use super::{line, Bytes};

    #[test]
    fn what_is_shown() {
        assert_eq!(line(Bytes(5 << 20), None), "5 MiB read");
        assert_eq!(line(Bytes(50 << 20), Some(Bytes(200 << 20))), "50 MiB of 200 MiB read (25 %)");
        assert_eq!(line(Bytes(300), Some(Bytes(200))), "300 B of 300 B read (100 %)");
    }
}
