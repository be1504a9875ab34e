// SPDX-License-Identifier: GPL-2.0

//! What the I/O path and lower devices have to say about a volume: noted at once, in any context, and told by a
//! kernel thread.

use super::edge::front;
use super::event::Event;
use crate::abi::uapi;
use crate::block::bdev::Holder;
use crate::block::status::Status;
use crate::block::work::{Handler, Work};
use kernel::prelude::*;
use kernel::sync::atomic::{ordering::Relaxed, Atomic};
use kernel::sync::{Arc, Mutex};

/// What a volume is called, what it is and who drives it, for attributes and events.
#[derive(Clone, Copy)]
pub struct Label {
    /// NUL-padded.
    pub name: [u8; uapi::STOR_NAME_LEN as usize],
    /// Version of the engine, NUL-padded; empty if dead.
    pub engine: [u8; uapi::STOR_VERSION_LEN as usize],
    /// NUL-padded.
    pub target: [u8; uapi::STOR_TARGET_LEN as usize],
}

/// The notes of one volume, or of a pool, of whose lower devices it is also the holder.
pub struct Notice {
    pub uuid: [u8; 16],
    label: Pin<KBox<Mutex<Label>>>,
    errors: Atomic<u64>,
    last_error: Atomic<i32>,
    told_errors: Atomic<u64>,
    /// Number of a lower device that was removed and has not been told, plus one; 0 for none.
    gone: Atomic<u64>,
}

/// The notes, and the work item that tells them.
pub struct Notices(Work<Notice>);

impl Notices {
    pub fn new(uuid: [u8; 16], label: Label) -> Result<Arc<Self>> {
        let notice = Notice {
            uuid,
            label: KBox::pin_init(kernel::new_mutex!(label, "stor_label"), GFP_KERNEL)?,
            errors: Atomic::new(0),
            last_error: Atomic::new(0),
            told_errors: Atomic::new(0),
            gone: Atomic::new(0),
        };
        Ok(Arc::new(Self(Work::new(notice)?), GFP_KERNEL)?)
    }

    pub fn label(&self) -> Label {
        *self.0.data().label.lock()
    }

    pub fn set_label(&self, label: Label) {
        *self.0.data().label.lock() = label;
    }

    pub fn uuid(&self) -> [u8; 16] {
        self.0.data().uuid
    }

    pub fn target(&self) -> [u8; uapi::STOR_TARGET_LEN as usize] {
        self.label().target
    }

    /// A request failed. Any context.
    pub fn failed(&self, status: Status) {
        let notice = self.0.data();
        notice.errors.add(1, Relaxed);
        notice.last_error.store(status.errno(), Relaxed);
        self.0.schedule();
    }

    /// Requests that failed so far, and the errno of the last one.
    pub fn errors(&self) -> (u64, i32) {
        let notice = self.0.data();
        (notice.errors.load(Relaxed), notice.last_error.load(Relaxed))
    }

    /// Tells everyone something about this volume.
    pub fn emit(&self, kind: u32, value: u64) {
        self.0.data().emit(kind, value);
    }
}

/// The holder of a volume's lower devices. They may become another volume's, and so does it.
pub struct Claim(Pin<KBox<Mutex<Arc<Notices>>>>);

impl Claim {
    pub fn new(notices: &Arc<Notices>) -> Result<Arc<Self>> {
        let notices = KBox::pin_init(kernel::new_mutex!(notices.clone(), "stor_claim"), GFP_KERNEL)?;
        Ok(Arc::new(Self(notices), GFP_KERNEL)?)
    }

    /// From now on this volume is told.
    pub fn give(&self, notices: &Arc<Notices>) {
        let old = core::mem::replace(&mut *self.0.lock(), notices.clone());
        drop(old);
    }
}

impl Holder for Claim {
    fn gone(&self, device: u32) {
        self.0.lock().gone(device);
    }
}

impl Notice {
    fn emit(&self, kind: u32, value: u64) {
        let name = self.label.lock().name;
        if let Some(front) = front() {
            front.events.emit(&Event { kind, uuid: self.uuid, name: &name, value });
        }
    }
}

impl Holder for Notices {
    fn gone(&self, device: u32) {
        self.0.data().gone.store(u64::from(device).wrapping_add(1), Relaxed);
        self.0.schedule();
    }
}

impl Handler for Notice {
    fn run(&self) {
        let gone = self.gone.xchg(0, Relaxed);
        if let Some(device) = gone.checked_sub(1) {
            let (major, minor) = crate::block::bdev::major_minor(device as u32);
            let name = self.label.lock().name;
            let name = crate::pure::text::from_field(&name).unwrap_or("?");
            pr_warn!("volume {name}: lower device {major}:{minor} was removed\n");
            self.emit(uapi::STOR_EVENT_LOWER_GONE, u64::from(major) << 32 | u64::from(minor));
        }
        let errors = self.errors.load(Relaxed);
        let new = errors.wrapping_sub(self.told_errors.xchg(errors, Relaxed));
        if new > 0 {
            self.emit(uapi::STOR_EVENT_IO_ERROR, new);
        }
    }
}
