// SPDX-License-Identifier: GPL-2.0

//! The fuzzer proper: one caller, every answer checked against the model.

use crate::check;
use crate::control::{command_size, shown, Control};
use crate::generate::{Call, Descriptors, Generator};
use crate::oracle::{self, Judgement};
use crate::rng::Rng;
use crate::sys::{self, Arena};
use crate::world::{Device, Effect, Number, Volume, World};
use crate::Result;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use stor_pure::abi::uapi::*;
use zerocopy::FromBytes;

/// What to run.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) calls: u64,
    /// One call in so many has nothing wrong in it.
    pub(crate) clean: usize,
    pub(crate) limit: Option<Duration>,
    pub(crate) compat: bool,
    pub(crate) disks: Vec<PathBuf>,
}

/// Calls between two looks at everything.
const ROUND: u64 = 1000;

struct Fuzzer {
    rng: Rng,
    arena: Arena,
    control: Control,
    /// Opened before the first call, and read in every round.
    events: File,
    sequence: Option<u64>,
    generation: u64,
    world: World,
    descriptors: Descriptors,
    _disks: Vec<File>,
    _others: Vec<OwnedFd>,
    /// Nodes of volumes that are held open.
    handles: Vec<([u8; 16], File)>,
    compat: bool,
    /// How many calls of each command ended how.
    answers: BTreeMap<(&'static str, String), u64>,
}

/// Runs a plan; prints what came of it.
pub(crate) fn run(plan: &Plan) -> Result<()> {
    let mut fuzzer = Fuzzer::new(plan)?;
    let started = Instant::now();
    let mut done = 0;
    while done < plan.calls {
        if plan.limit.is_some_and(|limit| started.elapsed() > limit) {
            return Err(format!("only {done} of {} calls in the time that was given", plan.calls).into());
        }
        fuzzer
            .round(ROUND.min(plan.calls - done), plan.clean)
            .map_err(|error| format!("between call {done} and {}, seed {}: {error}", done + ROUND, plan.seed))?;
        done += ROUND;
    }
    fuzzer.clean_up()?;
    let seconds = started.elapsed().as_secs_f64();
    for ((command, answer), count) in &fuzzer.answers {
        println!("{command:14} {answer:16} {count:8}");
    }
    println!(
        "{} calls answered as they should be, in {seconds:.0} s ({:.0} per second)",
        plan.calls,
        plan.calls as f64 / seconds
    );
    Ok(())
}

impl Fuzzer {
    fn new(plan: &Plan) -> Result<Self> {
        let control = Control::open()?;
        let (volumes, generation) = control.list()?;
        if !volumes.is_empty() {
            return Err("there are volumes: this wants to begin with none".into());
        }
        let engines = control.engines()?;
        let active =
            engines.iter().find(|engine| engine.state & STOR_ENGINE_ACTIVE != 0).ok_or("no engine is loaded")?;
        let mut world = World { active: active.version, ..World::default() };
        world.engines = engines.iter().map(|engine| engine.version).collect();
        let mut descriptors = Descriptors::default();
        let mut disks = Vec::new();
        for node in &plan.disks {
            let (device, file) = (Device::of(node)?, File::open(node)?);
            world.disks.push(device);
            descriptors.devices.push((device.number, file.as_raw_fd()));
            disks.push(file);
        }
        let others = others(plan)?;
        descriptors.others = others.iter().map(AsRawFd::as_raw_fd).collect();
        descriptors.others.push(control.0.as_raw_fd());
        Ok(Self {
            rng: Rng::new(plan.seed),
            arena: Arena::new()?,
            events: OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(crate::control::NODE)?,
            sequence: None,
            control,
            generation,
            world,
            descriptors,
            _disks: disks,
            _others: others,
            handles: Vec::new(),
            compat: plan.compat,
            answers: BTreeMap::new(),
        })
    }

    fn round(&mut self, calls: u64, clean: usize) -> Result<()> {
        for number in 0..calls {
            if self.rng.one_in(256) {
                self.handle()?;
            }
            let (rng, world, descriptors) = (&mut self.rng, &self.world, &self.descriptors);
            let call = Generator { rng, world, descriptors }.call(&mut self.arena, clean);
            self.make(&call).map_err(|error| format!("call {number}: {error}"))?;
            if self.world.expected.len() > 500 {
                self.look()?;
            }
        }
        self.look()
    }

    /// Opens or closes the node of a volume.
    fn handle(&mut self) -> Result<()> {
        if self.handles.len() > 3 || self.rng.one_in(3) {
            let index = self.rng.below(self.handles.len());
            if index < self.handles.len() {
                self.close(index);
            }
            return Ok(());
        }
        let Some(volume) = self.rng.pick(&self.world.volumes) else { return Ok(()) };
        let (uuid, number) = (volume.uuid, volume.number);
        let file = File::open(format!("/dev/stor{}", volume.index))?;
        self.descriptors.devices.push((number, file.as_raw_fd()));
        self.handles.push((uuid, file));
        self.world.volume_mut(&uuid).ok_or("gone")?.handles += 1;
        Ok(())
    }

    fn close(&mut self, index: usize) {
        let (uuid, file) = self.handles.swap_remove(index);
        self.descriptors.devices.retain(|(_, fd)| *fd != file.as_raw_fd());
        if let Some(volume) = self.world.volume_mut(&uuid) {
            volume.handles -= 1;
        }
    }

    /// Makes a call, checks its answer, and notes what it changed.
    fn make(&mut self, call: &Call) -> Result<()> {
        let Judgement { errors, effect } = oracle::judge(&self.world, &self.arena, call.command, call.address);
        let fd = self.control.0.as_raw_fd();
        let answer = match u32::try_from(call.address) {
            Ok(address) if self.compat && self.rng.one_in(8) => sys::ioctl_compat(fd, call.command, address),
            _ => sys::ioctl(fd, call.command, call.address),
        };
        let expected = match answer {
            Ok(()) => errors.is_empty(),
            Err(error) => errors.contains(&error),
        };
        if !expected {
            return Err(
                format!("answered {answer:?}, should be {errors:?} (none: success)\n{}", self.describe(call)).into()
            );
        }
        let key = (name(call.command), answer.map_or_else(|error| format!("{error:?}"), |()| "ok".into()));
        *self.answers.entry(key).or_default() += 1;
        if answer.is_ok() {
            self.succeeded(call, effect).map_err(|error| format!("{error}\n{}", self.describe(call)))?;
        }
        Ok(())
    }

    fn succeeded(&mut self, call: &Call, effect: Effect) -> Result<()> {
        let effect = match effect {
            Effect::Create(mut volume) => {
                let bytes = self.arena.read(call.address, size_of::<stor_create>()).ok_or("no answer")?;
                let created = stor_create::read_from_bytes(&bytes).map_err(|_| "size")?;
                if created.index != volume.index {
                    return Err(format!("index {}, should be {}", created.index, volume.index).into());
                }
                volume.number = (created.major, created.minor);
                Effect::Create(volume)
            }
            Effect::Insert(mut insertion) => {
                let (below, joined) = (insertion.below.index, insertion.joined.index);
                insertion.number(number(below)?, number(joined)?);
                Effect::Insert(insertion)
            }
            effect => effect,
        };
        self.world.apply(effect);
        Ok(oracle::check_answer(&self.world, &self.arena, call.command, call.address)?)
    }

    fn describe(&self, call: &Call) -> String {
        let size = command_size(call.command);
        let argument = self.arena.read(call.address, size.min(512));
        let volumes: Vec<_> = self.world.volumes.iter().map(|volume| format!("{volume:x?}")).collect();
        format!(
            "{} (command {:#x}, address {:#x})\nargument {argument:02x?}\ndescriptors {:?}\nvolumes\n{}",
            name(call.command),
            call.command,
            call.address,
            self.descriptors.devices,
            volumes.join("\n")
        )
    }

    /// Whether the kernel holds what the model does, and has told of every change and of nothing else.
    fn look(&mut self) -> Result<()> {
        check::consistent(&self.control)?;
        let (volumes, generation) = self.control.list()?;
        let right: Vec<_> = self.world.volumes.iter().map(|volume| self.world.info(volume)).collect();
        if format!("{volumes:?}") != format!("{right:?}") {
            return Err(format!("the kernel has {volumes:x?}, should have {right:x?}").into());
        }
        for volume in &self.world.volumes {
            self.stands(volume)?;
        }
        let changed = !self.world.expected.is_empty();
        if !changed && generation != self.generation {
            return Err("the generation changed, but nothing else did".into());
        }
        self.generation = generation;
        for (kind, uuid, value) in std::mem::take(&mut self.world.expected) {
            let event = self.event()?.ok_or("an event is missing")?;
            if (event.type_, event.uuid) != (kind, uuid) || value.is_some_and(|value| value != event.value) {
                return Err(format!("event {event:x?}, should be {kind} of {uuid:02x?}, value {value:?}").into());
            }
        }
        match self.event()? {
            Some(event) => Err(format!("event {event:x?} of a call that failed").into()),
            None => Ok(()),
        }
    }

    /// Whether a volume stands on what it should, in the way it should.
    fn stands(&self, volume: &Volume) -> Result<()> {
        let (_, lowers, config) = self.control.status(volume.uuid)?;
        let lowers: Vec<Number> = lowers.iter().map(|lower| (lower.major, lower.minor)).collect();
        if (&lowers, &config) == (&volume.lowers, &volume.config) {
            return Ok(());
        }
        Err(format!("{volume:x?} stands on {lowers:?} with {config:02x?}").into())
    }

    fn event(&mut self) -> Result<Option<stor_event>> {
        let mut bytes = [0; size_of::<stor_event>()];
        match self.events.read(&mut bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let event = stor_event::read_from_bytes(&bytes).map_err(|_| "size")?;
        if self.sequence.is_some_and(|last| event.sequence != last + 1) {
            return Err(format!("event {event:x?} follows number {:?}", self.sequence).into());
        }
        self.sequence = Some(event.sequence);
        Ok(Some(event))
    }

    fn clean_up(&mut self) -> Result<()> {
        while !self.handles.is_empty() {
            self.close(0);
        }
        remove_all(&self.control)
    }
}

/// The device number of `/dev/storN`.
fn number(index: u32) -> Result<Number> {
    let rdev = fs::metadata(format!("/dev/stor{index}"))?.rdev();
    Ok((libc::major(rdev), libc::minor(rdev)))
}

/// Resumes and removes every volume, whatever stands on whatever.
pub(crate) fn remove_all(control: &Control) -> Result<()> {
    loop {
        let volumes = control.list()?.0;
        if volumes.is_empty() {
            return check::consistent(control);
        }
        for volume in volumes.iter().filter(|volume| volume.state & STOR_STATE_SUSPENDED != 0) {
            control.volume(STOR_NR_RESUME, volume.uuid)?;
        }
        let removed = volumes.iter().filter(|volume| control.volume(STOR_NR_REMOVE, volume.uuid).is_ok()).count();
        if removed == 0 {
            let names: Vec<String> = volumes.iter().map(|volume| shown(&volume.name)).collect();
            return Err(format!("cannot remove {names:?}").into());
        }
    }
}

/// Descriptors of everything that is no block device, and of a disk that cannot be used through them.
fn others(plan: &Plan) -> Result<Vec<OwnedFd>> {
    let mut others: Vec<OwnedFd> = Vec::new();
    for path in ["/dev/null", "/dev/zero", "/proc/self/exe", "/proc/self/mounts", "/"] {
        others.push(File::open(path)?.into());
    }
    let (a, b) = UnixStream::pair()?;
    others.extend([a.into(), b.into()]);
    others.push(nix::unistd::pipe()?.0);
    if let Some(disk) = plan.disks.first() {
        others.push(OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(disk)?.into());
    }
    Ok(others)
}

fn name(command: u32) -> &'static str {
    match command & 0xff {
        _ if (command >> 8) & 0xff != STOR_IOC_MAGIC => "no command",
        STOR_NR_VERSION => "VERSION",
        STOR_NR_CREATE => "CREATE",
        STOR_NR_REMOVE => "REMOVE",
        STOR_NR_SUSPEND => "SUSPEND",
        STOR_NR_RESUME => "RESUME",
        STOR_NR_RELOAD => "RELOAD",
        STOR_NR_LIST => "LIST",
        STOR_NR_STATUS => "STATUS",
        STOR_NR_SET => "SET",
        STOR_NR_RENAME => "RENAME",
        STOR_NR_ENGINE_LIST => "ENGINE_LIST",
        STOR_NR_ENGINE_SWITCH => "ENGINE_SWITCH",
        STOR_NR_POOL_CREATE => "POOL_CREATE",
        STOR_NR_POOL_REMOVE => "POOL_REMOVE",
        STOR_NR_POOL_RELOAD => "POOL_RELOAD",
        STOR_NR_POOL_LIST => "POOL_LIST",
        STOR_NR_POOL_STATUS => "POOL_STATUS",
        STOR_NR_POOL_CHANGE => "POOL_CHANGE",
        STOR_NR_POOL_DEVICE => "POOL_DEVICE",
        STOR_NR_REPLICA_STATUS => "REPLICA_STATUS",
        STOR_NR_REPLICA_VERIFY => "REPLICA_VERIFY",
        STOR_NR_INSERT => "INSERT",
        _ => "no command",
    }
}
