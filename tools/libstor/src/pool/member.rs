// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A device of a pool: its label read, written, mended and erased.

use super::area::Area;
use crate::device::{Content, Device};
use crate::{Error, Kind, Result};
use std::io;
use stor_pure::pure::label::copies::{find, order, places, FIRST, IN_HEAD};
use stor_pure::pure::label::{Label, Refusal, LABEL_SIZE, SIGNPOST};
use zerocopy::IntoBytes;

/// A label that was read.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The one that counts.
    pub(crate) label: Box<Label>,
    /// Where its copy is missing.
    pub(crate) mend: Option<u64>,
}

/// An error of a device, with its path.
pub(crate) fn failed(device: &Device, what: &str, error: &io::Error) -> Error {
    Error::new(Kind::Failure, format!("{} cannot be {what}: {error}", device.path.display()))
        .help("see the kernel log for the device's errors")
}

/// Reads the label of a device.
///
/// # Errors
///
/// The device cannot be read. That there is no label, or none that can be used, is an answer.
pub(crate) fn read(device: &Device, content: &dyn Content) -> Result<std::result::Result<Seen, Refusal>> {
    let mut buffers = [[0; LABEL_SIZE]; 3];
    let found = find::<Area, io::Error>(&mut buffers, device.size.0, |at, into| content.read(at, into));
    let found = found.map_err(|error| failed(device, "read", &error))?;
    Ok(found.map(|found| Seen { label: Box::new(found.label.clone()), mend: found.mend }))
}

/// Writes a label, which is to have a new generation: both copies, one after the other.
///
/// # Errors
///
/// The device cannot be written, or the label says what cannot be; the old label counts, or the new one.
pub(crate) fn write(device: &Device, content: &dyn Content, label: &Label) -> Result<()> {
    for at in order(label) {
        write_copy(device, content, label, at)?;
    }
    Ok(())
}

/// Writes the copy that is missing.
///
/// # Errors
///
/// The same.
pub(crate) fn mend(device: &Device, content: &dyn Content, seen: &mut Seen) -> Result<()> {
    if let Some(at) = seen.mend {
        write_copy(device, content, &seen.label, at)?;
        seen.mend = None;
    }
    Ok(())
}

fn write_copy(device: &Device, content: &dyn Content, label: &Label, at: u64) -> Result<()> {
    let mut copy = label.clone();
    copy.stamp::<Area>(at).map_err(|refusal| Error::new(Kind::Failure, refusal.to_string()))?;
    let written = content.write(at, copy.as_bytes()).and_then(|()| content.flush());
    written.map_err(|error| failed(device, "written", &error))
}

/// Makes a device one that has no label and begins with the sentence that it is a pool's, or with zeros.
///
/// # Errors
///
/// It cannot be written.
pub(crate) fn clear(device: &Device, content: &dyn Content, ours: bool) -> Result<()> {
    erase(device, content, ours, &places(device.size.0))
}

/// The same of a device with this label: what is where others have their copy may be data.
///
/// # Errors
///
/// It cannot be written.
pub(crate) fn forget(device: &Device, content: &dyn Content, label: &Label) -> Result<()> {
    let in_head = label.location.get().max(label.other.get()) == IN_HEAD;
    let places = if in_head { [FIRST, IN_HEAD].to_vec() } else { places(device.size.0).to_vec() };
    erase(device, content, false, &places)
}

fn erase(device: &Device, content: &dyn Content, ours: bool, places: &[u64]) -> Result<()> {
    let mut head = [0; LABEL_SIZE];
    if ours {
        head.iter_mut().zip(SIGNPOST).for_each(|(to, from)| *to = *from);
    }
    let zeros = [0; LABEL_SIZE];
    let fits = |at: &u64| at.checked_add(LABEL_SIZE as u64).is_some_and(|end| end <= device.size.0);
    let write = || {
        // The first copy goes before the others, so that a crash does not leave one that speaks for itself.
        for at in places.iter().filter(|at| fits(at)) {
            content.write(*at, &zeros)?;
            content.flush()?;
        }
        content.write(0, &head)?;
        content.flush()
    };
    write().map_err(|error| failed(device, "written", &error))
}
