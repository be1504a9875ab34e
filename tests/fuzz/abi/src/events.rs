// SPDX-License-Identifier: GPL-2.0

//! Events: every reader sees all of them in order, or is told how many it lost; read and poll as the header says.

use crate::control::{Control, Table, NODE};
use crate::Result;
use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;
use stor_pure::abi::uapi::*;
use zerocopy::FromBytes;

/// Events that the kernel keeps for a reader that is behind.
const KEPT: u64 = 1024;
const SIZE: usize = size_of::<stor_event>();

/// A reader of events that checks their numbers.
pub(crate) struct Reader {
    file: File,
    /// Number of the next event, once one was seen.
    next: Option<u64>,
    pub(crate) lost: u64,
}

impl Reader {
    /// One that does not wait.
    pub(crate) fn open() -> std::io::Result<Self> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(NODE)?;
        Ok(Self { file, next: None, lost: 0 })
    }

    /// Whether poll says that there is something to read.
    pub(crate) fn is_ready(&self, milliseconds: i32) -> Result<bool> {
        let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(milliseconds).map_err(|_| "timeout")?;
        match poll(&mut fds, timeout) {
            Ok(count) => Ok(count > 0),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads once, with room for so many bytes.
    pub(crate) fn read(&mut self, room: usize) -> std::result::Result<Vec<stor_event>, Errno> {
        let mut bytes = vec![0; room];
        match self.file.read(&mut bytes) {
            Ok(length) if length > 0 && length % SIZE == 0 => {
                let events = bytes.get(..length).unwrap_or_default().chunks_exact(SIZE);
                Ok(events.filter_map(|bytes| stor_event::read_from_bytes(bytes).ok()).collect())
            }
            Ok(_) => Err(Errno::EPROTO),
            Err(error) => Err(Errno::from_raw(error.raw_os_error().unwrap_or(0))),
        }
    }

    /// Checks that events follow one another, and those before them.
    pub(crate) fn follow(&mut self, events: &[stor_event]) -> Result<()> {
        for event in events {
            let next = self.next.unwrap_or(event.sequence);
            if event.type_ == STOR_EVENT_LOST {
                // It has the number of the oldest that is left, and is not counted itself.
                let right = next + event.value == event.sequence || self.next.is_none();
                if event.value == 0 || !right {
                    return Err(format!("{event:?} where number {next} is due").into());
                }
                self.lost += event.value;
                self.next = Some(event.sequence);
            } else if event.sequence == next {
                self.next = Some(next + 1);
            } else {
                return Err(format!("{event:?} where number {next} is due").into());
            }
        }
        Ok(())
    }

    /// Waits a little, and reads what there is.
    pub(crate) fn read_some(&mut self, milliseconds: i32) -> Result<()> {
        if self.is_ready(milliseconds)? {
            let events = self.read(8 * SIZE)?;
            self.follow(&events)?;
        }
        Ok(())
    }

    /// Reads everything.
    fn drain(&mut self) -> Result<Vec<stor_event>> {
        let mut all = Vec::new();
        loop {
            match self.read(100 * SIZE) {
                Ok(events) => {
                    self.follow(&events)?;
                    all.extend(events);
                }
                Err(Errno::EAGAIN) => return Ok(all),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

const UUID: [u8; 16] = [7; 16];

/// Makes so many events.
fn rename(control: &Control, times: u64) -> Result<()> {
    for time in 0..times {
        control.rename(UUID, &format!("name{time}-{times}"))?;
    }
    Ok(())
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, found: T, right: T) -> Result<()> {
    if found == right {
        Ok(())
    } else {
        Err(format!("{what}: {found:?}, should be {right:?}").into())
    }
}

/// Runs all checks on a volume over the first MiB of `disk`.
pub(crate) fn run(disk: &Path) -> Result<()> {
    let (control, disk) = (Control::open()?, File::open(disk)?);
    let (mut early, mut slow) = (Reader::open()?, Reader::open()?);
    equal("poll before anything happened", early.is_ready(0)?, false)?;
    equal("read before anything happened", early.read(SIZE).err(), Some(Errno::EAGAIN))?;

    control.create(UUID, "name", &Table::whole(disk.as_raw_fd(), 1 << 20))?;
    equal("poll after create", early.is_ready(0)?, true)?;
    equal("read with no room", early.read(SIZE - 1).err(), Some(Errno::EINVAL))?;
    equal("read into nothing", early.read(0).err(), Some(Errno::EINVAL))?;
    let bad = nix::errno::Errno::result(crate::sys::read_to_nowhere(early.file.as_raw_fd(), SIZE));
    equal("read to a bad address", bad.err(), Some(Errno::EFAULT))?;
    let created = early.drain()?;
    equal("events of create", created.len(), 1)?;
    let first = created.first().ok_or("none")?;
    equal("create", (first.type_, first.uuid, first.value), (STOR_EVENT_CREATED, UUID, 1 << 20))?;

    // Whole events only, the oldest first; what did not fit is still there.
    rename(&control, 5)?;
    let three = early.read(3 * SIZE + SIZE / 2)?;
    equal("events that fit", three.len(), 3)?;
    early.follow(&three)?;
    equal("events that did not fit", early.drain()?.len(), 2)?;

    // A reader sees what comes after it was opened.
    let mut late = Reader::open()?;
    equal("poll of a new reader", late.is_ready(0)?, false)?;

    // Exactly as many as are kept: nothing is lost. One more: one is lost.
    rename(&control, KEPT)?;
    let kept = late.drain()?;
    equal("events kept", (kept.len() as u64, late.lost), (KEPT, 0))?;
    rename(&control, KEPT + 1)?;
    let kept = late.drain()?;
    equal("events and the word of the loss", kept.len() as u64, KEPT + 1)?;
    let word = kept.first().ok_or("none")?;
    equal("the loss", (word.type_, word.value, late.lost), (STOR_EVENT_LOST, 1, 1))?;

    // A third reader stood still all the while; the one before it lost as much, and both end at the same event.
    slow.drain()?;
    equal("lost by the reader that stood still", slow.lost, 1 + 5 + KEPT + KEPT + 1 - KEPT)?;
    early.drain()?;
    equal("lost by the early reader", early.lost, KEPT + 1)?;
    equal("where all readers are", (early.next, slow.next), (late.next, late.next))?;

    waiting(&control)?;

    control.volume(STOR_NR_REMOVE, UUID)?;
    let types: Vec<u32> = late.drain()?.iter().map(|event| event.type_).collect();
    equal("the last event", types.last(), Some(&STOR_EVENT_REMOVED))?;
    println!("events are told in order, to every reader, and losses too");
    Ok(())
}

/// Readers that wait: woken by an event, one in read and one in poll; and by a signal.
fn waiting(control: &Control) -> Result<()> {
    let (mut reader, poller) = (File::open(NODE)?, Reader::open()?);
    thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut bytes = [0; 4 * SIZE];
            reader.read(&mut bytes)
        });
        let polling = scope.spawn(|| poller.is_ready(20_000).map_err(|error| error.to_string()));
        thread::sleep(Duration::from_millis(300));
        equal("a reader waits", reading.is_finished() || polling.is_finished(), false)?;
        rename(control, 1)?;
        equal("bytes for the reader", reading.join().map_err(|_| "panic")??, SIZE)?;
        equal("poll", polling.join().map_err(|_| "panic")??, true)
    })?;
    equal("read that a signal ends", crate::sys::interrupted_read(reader.as_raw_fd(), SIZE), Errno::EINTR)
}
