// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A simulated machine whose power is cut: at one of the steps that change something. Of what was not flushed then, each
//! sector is there or not.

use super::rng::Rng;
use libstor::control::pool::{Changed, PoolCreate, PoolDevice, PoolInfo, PoolStatus, PoolTable, Pools, Transaction};
use libstor::control::{
    Answer, Control, Create, Events, Front, Insert, Node, Repair, ReplicaFacts, Switched, Table, Verified,
};
use libstor::device::{Access, Content, Device, Host, Number, Wanted};
use libstor::engine::Engine;
use libstor::replica::array::Array;
use libstor::volume::{Info, Status};
use libstor::{Bytes, Result, Simulated, Uuid};
use nix::errno::Errno;
use serde_json::Value;
use std::cell::RefCell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

const SECTOR: usize = 512;

/// The machine's power.
pub(crate) struct Power {
    /// Steps until it is cut.
    left: u64,
    /// It has been cut.
    pub(crate) off: bool,
    /// Steps that were done.
    pub(crate) steps: u64,
    rng: Rng,
    /// What was written and not flushed: where it is, and what was there.
    dirty: Vec<(Rc<dyn Content>, u64, Vec<u8>)>,
}

impl Power {
    pub(crate) fn new(left: u64, seed: u64) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self { left, off: false, steps: 0, rng: Rng::new(seed), dirty: Vec::new() }))
    }

    /// A step that changes something; whether it is the last.
    fn step(&mut self) -> bool {
        self.steps += 1;
        self.left = self.left.saturating_sub(1);
        self.left == 0
    }

    fn cut(&mut self) {
        self.off = true;
        // The youngest first, so that the oldest contents come back in the end.
        while let Some((content, at, old)) = self.dirty.pop() {
            for (index, sector) in old.chunks(SECTOR).enumerate() {
                if self.rng.below(2) == 0 {
                    content.write(at + (index * SECTOR) as u64, sector).unwrap();
                }
            }
        }
    }
}

/// A machine.
pub(crate) struct Machine {
    pub(crate) kernel: Simulated,
    pub(crate) power: Rc<RefCell<Power>>,
}

/// A device's contents on such a machine.
struct Cut {
    inner: Rc<dyn Content>,
    power: Rc<RefCell<Power>>,
}

fn dark() -> io::Error {
    io::Error::from_raw_os_error(Errno::EIO as i32)
}

impl Content for Cut {
    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        if self.power.borrow().off {
            return Err(dark());
        }
        self.inner.read(at, into)
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut power = self.power.borrow_mut();
        if power.off {
            return Err(dark());
        }
        // Whole sectors, as a device has them.
        let begin = at / SECTOR as u64 * SECTOR as u64;
        let end = (at + bytes.len() as u64).next_multiple_of(SECTOR as u64);
        let mut old = vec![0; (end - begin) as usize];
        self.inner.read(begin, &mut old)?;
        power.dirty.push((self.inner.clone(), begin, old));
        self.inner.write(at, bytes)?;
        if power.step() {
            power.cut();
            return Err(dark());
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut power = self.power.borrow_mut();
        if power.off {
            return Err(dark());
        }
        // Cut in a flush: nobody knows what it has done.
        if power.step() {
            power.cut();
            return Err(dark());
        }
        // Flushes go to one device; whoever needs another flushed says so.
        let inner = Rc::as_ptr(&self.inner).cast::<()>();
        power.dirty.retain(|(content, ..)| Rc::as_ptr(content).cast::<()>() != inner);
        Ok(())
    }
}

impl Machine {
    /// A call that changes something: done, not done, or done and not told.
    fn change<T>(&self, call: impl FnOnce() -> Answer<T>) -> Answer<T> {
        if self.power.borrow().off {
            return Err(Errno::EIO);
        }
        if !self.power.borrow_mut().step() {
            return call();
        }
        if self.power.borrow_mut().rng.below(2) == 0 {
            let _ = call();
        }
        self.power.borrow_mut().cut();
        Err(Errno::EIO)
    }

    fn look<T>(&self, call: impl FnOnce() -> Answer<T>) -> Answer<T> {
        if self.power.borrow().off {
            return Err(Errno::EIO);
        }
        call()
    }
}

impl Control for Machine {
    fn version(&self) -> Answer<Front> {
        self.kernel.version()
    }
    fn create(&self, create: &Create<'_>) -> Answer<Node> {
        self.change(|| self.kernel.create(create))
    }
    fn remove(&self, uuid: Uuid) -> Answer<()> {
        self.change(|| self.kernel.remove(uuid))
    }
    fn suspend(&self, uuid: Uuid) -> Answer<()> {
        self.change(|| self.kernel.suspend(uuid))
    }
    fn resume(&self, uuid: Uuid) -> Answer<()> {
        self.change(|| self.kernel.resume(uuid))
    }
    fn reload(&self, uuid: Uuid, table: &Table<'_>, shrink: bool) -> Answer<()> {
        self.change(|| self.kernel.reload(uuid, table, shrink))
    }
    fn insert(&self, insert: &Insert<'_>) -> Answer<()> {
        self.change(|| self.kernel.insert(insert))
    }
    fn list(&self) -> Answer<Vec<Info>> {
        self.look(|| self.kernel.list())
    }
    fn status(&self, uuid: Uuid) -> Answer<Status> {
        self.look(|| self.kernel.status(uuid))
    }
    fn set_read_only(&self, uuid: Uuid, read_only: bool) -> Answer<()> {
        self.change(|| self.kernel.set_read_only(uuid, read_only))
    }
    fn rename(&self, uuid: Uuid, name: &str) -> Answer<()> {
        self.change(|| self.kernel.rename(uuid, name))
    }
    fn replica_status(&self, uuid: Uuid) -> Answer<ReplicaFacts> {
        self.look(|| self.kernel.replica_status(uuid))
    }
    fn replica_verify(&self, uuid: Uuid, range: (Bytes, Bytes), repair: Repair) -> Answer<Verified> {
        self.look(|| self.kernel.replica_verify(uuid, range, repair))
    }
    fn engine_list(&self) -> Answer<Vec<Engine>> {
        self.look(|| self.kernel.engine_list())
    }
    fn engine_switch(&self, version: &str) -> (Answer<()>, Vec<Switched>) {
        self.kernel.engine_switch(version)
    }
    fn events(&self) -> Result<Box<dyn Events + '_>> {
        self.kernel.events()
    }
}

impl Pools for Machine {
    fn pool_create(&self, create: &PoolCreate<'_>) -> Answer<()> {
        self.change(|| self.kernel.pool_create(create))
    }
    fn pool_remove(&self, uuid: Uuid) -> Answer<()> {
        self.change(|| self.kernel.pool_remove(uuid))
    }
    fn pool_reload(&self, uuid: Uuid, table: &PoolTable<'_>) -> Answer<()> {
        self.change(|| self.kernel.pool_reload(uuid, table))
    }
    fn pool_list(&self) -> Answer<Vec<PoolInfo>> {
        self.look(|| self.kernel.pool_list())
    }
    fn pool_status(&self, uuid: Uuid) -> Answer<PoolStatus> {
        self.look(|| self.kernel.pool_status(uuid))
    }
    fn pool_change(&self, uuid: Uuid, transaction: &Transaction<'_>) -> Answer<Changed> {
        self.change(|| self.kernel.pool_change(uuid, transaction))
    }
    fn pool_device(&self, uuid: Uuid, device: u64, exclusive: bool) -> Answer<PoolDevice> {
        self.look(|| self.kernel.pool_device(uuid, device, exclusive))
    }
}

impl Host for Machine {
    fn exists(&self, path: &Path) -> bool {
        self.kernel.exists(path)
    }
    fn open(&self, path: &Path) -> Result<Device> {
        self.kernel.open(path)
    }
    fn find(&self, number: Number, disk: &str) -> Result<Device> {
        self.kernel.find(number, disk)
    }
    fn number(&self, path: &Path) -> Result<Number> {
        self.kernel.number(path)
    }
    fn user(&self, device: &Device) -> Option<String> {
        self.kernel.user(device)
    }
    fn busy(&self, device: &Device) -> bool {
        self.kernel.busy(device)
    }
    fn boottime(&self) -> u64 {
        self.kernel.boottime()
    }
    fn content(&self, device: &Device, access: Access) -> Result<Rc<dyn Content>> {
        let inner = self.kernel.content(device, access)?;
        Ok(Rc::new(Cut { inner, power: self.power.clone() }))
    }
    fn candidates(&self, wanted: Wanted) -> Vec<PathBuf> {
        self.kernel.candidates(wanted)
    }
    fn identity(&self, device: &Device) -> Option<String> {
        self.kernel.identity(device)
    }
    fn signature(&self, device: &Device) -> Result<Option<String>> {
        self.kernel.signature(device)
    }
    fn wipe(&self, device: &Device) -> Result<()> {
        self.kernel.wipe(device)
    }
    fn discard(&self, path: &Path, begin: Bytes, end: Bytes) -> Result<()> {
        self.look(|| Ok(self.kernel.discard(path, begin, end)))?
    }
    fn lvm(&self, arguments: &[&str]) -> Result<String> {
        self.kernel.lvm(arguments)
    }
    fn arrays(&self) -> Vec<Array> {
        self.kernel.arrays()
    }
    fn md_ready(&self) -> Result<()> {
        self.kernel.md_ready()
    }
    fn md_assemble(&self, name: &str, uuid: Uuid, legs: &[PathBuf], read_only: bool) -> Result<()> {
        self.look(|| Ok(()))?;
        self.kernel.md_assemble(name, uuid, legs, read_only)
    }
    fn md_stop(&self, array: &Array) -> Result<()> {
        self.look(|| Ok(()))?;
        self.kernel.md_stop(array)
    }
    fn machine(&self) -> [u8; 16] {
        self.kernel.machine()
    }
    fn hostname(&self) -> String {
        self.kernel.hostname()
    }
    fn time(&self) -> u64 {
        self.kernel.time()
    }
    fn uuid(&self) -> Uuid {
        self.kernel.uuid()
    }
}

/// The folder with what the devices of a simulated kernel hold.
pub(crate) fn devices(state: &Path) -> PathBuf {
    let mut name = state.as_os_str().to_owned();
    name.push(".devices");
    name.into()
}

/// Copies a kernel and what its devices hold; holes stay holes.
pub(crate) fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(devices(to));
    fs::copy(from, to).unwrap();
    fs::create_dir_all(devices(to)).unwrap();
    for entry in fs::read_dir(devices(from)).into_iter().flatten() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), devices(to).join(entry.file_name())).unwrap();
    }
}

/// What is left of a kernel after a reboot: the devices.
pub(crate) fn reboot(state: &Path) {
    let mut kernel: Value = serde_json::from_str(&fs::read_to_string(state).unwrap()).unwrap();
    for gone in ["pools", "volumes", "events", "md"] {
        kernel[gone] = Value::Array(Vec::new());
    }
    fs::write(state, kernel.to_string()).unwrap();
}
