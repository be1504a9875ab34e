// SPDX-License-Identifier: GPL-2.0

//! Calls: right ones, right ones with something wrong in them, and noise.

use crate::control::{command, field, header, linear, Segment, Uuid};
use crate::rng::Rng;
use crate::sys::Arena;
use crate::world::{Number, Volume, World};
use std::mem::{offset_of, size_of};
use std::os::fd::RawFd;
use stor_pure::abi::uapi::*;
use zerocopy::{FromZeros, IntoBytes};

/// A call as the kernel gets it; what it points to is in the arena.
pub(crate) struct Call {
    pub(crate) command: u32,
    pub(crate) address: u64,
}

/// Where a right call has what it points to.
const LOWERS: u64 = Arena::START + 0x2000;
const CONFIG: u64 = Arena::START + 0x4000;
/// A second configuration; each is shorter than the room between the two.
const MORE_CONFIG: u64 = Arena::START + 0x16000;
const ANSWER: u64 = Arena::START + 0x20000;
const MORE_ANSWER: u64 = Arena::START + 0x30000;
const END: u64 = Arena::START + Arena::SIZE;
/// What segments are multiples of.
const UNIT: u64 = 4096;

/// Addresses that lead nowhere, or not far enough.
const BAD_ADDRESSES: &[u64] = &[
    0,
    1,
    4095,
    Arena::START - 1,
    Arena::START - 4096,
    END,
    END - 1,
    END - 8,
    END - 20,
    Arena::READ_ONLY,
    Arena::READ_ONLY + 3,
    Arena::READ_ONLY + Arena::SIZE - 16,
    0x7fff_ffff_f000,
    0x7fff_ffff_eff8,
    0x8000_0000_0000,
    0xffff_8880_0000_0000,
    0xffff_ffff_8100_0000,
    u64::MAX,
    u64::MAX - 7,
    u64::MAX - 4095,
    i64::MAX as u64,
];

const BAD_U64: &[u64] = &[
    0,
    1,
    511,
    512,
    513,
    4095,
    4096,
    4 << 20,
    1 << 32,
    1 << 62,
    i64::MAX as u64,
    i64::MAX as u64 - 511,
    1 << 63,
    u64::MAX - 511,
    u64::MAX - 1,
    u64::MAX,
];

const BAD_U32: &[u32] = &[
    0,
    1,
    2,
    3,
    15,
    16,
    63,
    64,
    65,
    512,
    2047,
    2048,
    4095,
    4096,
    4097,
    65535,
    65536,
    65537,
    1 << 31,
    u32::MAX - 1,
    u32::MAX,
];

/// Texts that are no names, and some that are.
const TEXTS: &[&[u8]] = &[
    b"",
    b"/",
    b".",
    b"..",
    b"../x",
    b"a/b",
    b"-a",
    ".a".as_bytes(),
    b"_a",
    b"+",
    b"a b",
    b"a\n",
    b"a\0b",
    b"\0a",
    b"%s%n",
    b"a:b",
    b"caf\xc3\xa9",
    b"\xff\xff",
    b"a",
    b"Z9._+-",
    b"linear",
    b"linear\0x",
    b"thin",
    b"0.1.0",
    b"0.1.1",
    b"9.9.9",
];

#[derive(Clone, Copy)]
enum Kind {
    U32,
    U64,
    Address,
    Text(usize),
    Uuid,
}
use Kind::{Address, Text, U32, U64};

type Field = (usize, Kind);

macro_rules! fields {
    ($name:ident: $($field:ident $kind:expr),*) => { &[$((offset_of!($name, $field), $kind)),*] };
}

const VERSION: &[Field] = fields!(stor_version: abi_min U32, reserved U32, front Text(32));
const CREATE: &[Field] = fields!(stor_create: uuid Kind::Uuid, name Text(64), target Text(16), size U64, lowers Address,
    config Address, lower_count U32, config_len U32, index U32, reserved U32);
const VOLUME_REF: &[Field] = fields!(stor_volume_ref: uuid Kind::Uuid);
const RELOAD: &[Field] = fields!(stor_reload: uuid Kind::Uuid, size U64, lowers Address, config Address, lower_count U32,
    config_len U32);
const LIST: &[Field] = fields!(stor_list: entries Address, capacity U32, count U32, generation U64);
const STATUS: &[Field] = fields!(stor_status: uuid Kind::Uuid, lowers Address, config Address, lower_capacity U32,
    config_capacity U32, config_len U32, in_flight U32);
const SET: &[Field] = fields!(stor_set: uuid Kind::Uuid, mask U32, value U32);
const RENAME: &[Field] = fields!(stor_rename: uuid Kind::Uuid, name Text(64));
const ENGINE_LIST: &[Field] = fields!(stor_engine_list: entries Address, capacity U32, count U32);
const ENGINE_SWITCH: &[Field] = fields!(stor_engine_switch: version Text(32), results Address, capacity U32, count U32);
const INSERT: &[Field] = fields!(stor_insert: uuid Kind::Uuid, below_uuid Kind::Uuid, joined_uuid Kind::Uuid,
    below_name Text(64), joined_name Text(64), joined_target Text(16), target Text(16), joined_size U64, lowers Address,
    joined_config Address, config Address, lower_count U32, joined_config_len U32, config_len U32, reserved U32);
const HEADER: &[Field] = fields!(stor_header: abi U32, size U32, flags U32, reserved U32);
const SEGMENT: &[Field] = fields!(stor_linear_segment: start U64, length U64, lower_start U64, lower U32, reserved U32);

fn fields(nr: u32) -> &'static [Field] {
    match nr {
        STOR_NR_CREATE => CREATE,
        STOR_NR_REMOVE | STOR_NR_SUSPEND | STOR_NR_RESUME => VOLUME_REF,
        STOR_NR_RELOAD => RELOAD,
        STOR_NR_LIST => LIST,
        STOR_NR_STATUS => STATUS,
        STOR_NR_SET => SET,
        STOR_NR_RENAME => RENAME,
        STOR_NR_ENGINE_LIST => ENGINE_LIST,
        STOR_NR_ENGINE_SWITCH => ENGINE_SWITCH,
        STOR_NR_INSERT => INSERT,
        _ => VERSION,
    }
}

/// Descriptors that a call can name.
#[derive(Default)]
pub(crate) struct Descriptors {
    /// Disks and open volumes.
    pub(crate) devices: Vec<(Number, RawFd)>,
    /// Whatever is no block device.
    pub(crate) others: Vec<RawFd>,
}

impl Descriptors {
    fn of(&self, number: Number) -> RawFd {
        self.devices.iter().find(|(other, _)| *other == number).map_or(-1, |&(_, fd)| fd)
    }
}

/// A call being put together.
struct Draft {
    command: u32,
    address: u64,
    argument: Vec<u8>,
    lowers: Vec<stor_lower>,
    config: Vec<u8>,
    /// The other configuration of INSERT.
    more_config: Vec<u8>,
}

/// With so many volumes there are no more insertions: each is two volumes more, on top of each other.
const MANY: usize = 24;

/// Makes calls.
pub(crate) struct Generator<'a> {
    pub(crate) rng: &'a mut Rng,
    pub(crate) world: &'a World,
    pub(crate) descriptors: &'a Descriptors,
}

impl Generator<'_> {
    /// The next call, put into the arena. One in `clean` has nothing wrong in it, as far as the world allows.
    pub(crate) fn call(&mut self, arena: &mut Arena, clean: usize) -> Call {
        let mut draft = if self.rng.one_in(8) { self.noise() } else { self.right() };
        if !self.rng.one_in(clean) {
            for _ in 0..=self.rng.below(3) {
                self.spoil(&mut draft);
            }
        }
        arena.write(LOWERS, draft.lowers.as_bytes());
        arena.write(CONFIG, &draft.config);
        arena.write(MORE_CONFIG, &draft.more_config);
        arena.write(draft.address, &draft.argument);
        if !Arena::can_write(draft.address, 1) {
            arena.write(draft.address.wrapping_sub(Arena::READ_ONLY - Arena::START), &draft.argument);
        }
        Call { command: draft.command, address: draft.address }
    }

    fn noise(&mut self) -> Draft {
        let mut argument = vec![0; self.rng.below(512)];
        self.rng.fill(&mut argument);
        let (nr, size) = (self.rng.below(24) as u32, self.rng.below(512));
        let command = if self.rng.one_in(4) { self.rng.next() as u32 } else { command(nr, size) };
        let (lowers, config, more_config) = (Vec::new(), Vec::new(), Vec::new());
        Draft { command, address: self.place(), argument, lowers, config, more_config }
    }

    fn place(&mut self) -> u64 {
        Arena::START + 8 * self.rng.below(256) as u64
    }

    /// A call as it should be.
    fn right(&mut self) -> Draft {
        let nr = match self.rng.below(13) as u32 {
            12 if self.world.volumes.len() < MANY => STOR_NR_INSERT,
            nr => nr,
        };
        // With nothing left to stand on, something has to go.
        let takes = matches!(nr, STOR_NR_CREATE | STOR_NR_INSERT);
        let nr = if takes && self.all_free().is_empty() && !self.rng.one_in(4) { STOR_NR_REMOVE } else { nr };
        let volume = self.volume(nr).cloned();
        let uuid = volume.as_ref().map_or_else(|| self.uuid(), |volume| volume.uuid);
        let (mut lowers, mut config, mut more_config) = (Vec::new(), Vec::new(), Vec::new());
        let argument = match nr {
            STOR_NR_CREATE => {
                let numbers = self.free();
                let (size, bytes) = self.layout(&numbers);
                (lowers, config) = (self.lowers(&numbers), bytes);
                let argument = stor_create {
                    header: header::<stor_create>(u32::from(self.rng.one_in(8))),
                    uuid: self.uuid(),
                    name: field(&format!("v{:x}", self.rng.next())),
                    target: field("linear"),
                    size,
                    lowers: LOWERS,
                    config: CONFIG,
                    lower_count: lowers.len() as u32,
                    config_len: config.len() as u32,
                    ..FromZeros::new_zeroed()
                };
                argument.as_bytes().to_vec()
            }
            STOR_NR_REMOVE | STOR_NR_SUSPEND | STOR_NR_RESUME => {
                stor_volume_ref { header: header::<stor_volume_ref>(0), uuid }.as_bytes().to_vec()
            }
            STOR_NR_RELOAD => {
                let numbers = self.reloaded(volume.as_ref());
                let (size, bytes) = self.layout(&numbers);
                (lowers, config) = (self.lowers(&numbers), bytes);
                let shrink = volume.is_some_and(|volume| size < volume.size);
                let argument = stor_reload {
                    header: header::<stor_reload>(u32::from(shrink)),
                    uuid,
                    size,
                    lowers: LOWERS,
                    config: CONFIG,
                    lower_count: lowers.len() as u32,
                    config_len: config.len() as u32,
                };
                argument.as_bytes().to_vec()
            }
            STOR_NR_LIST => {
                let header = header::<stor_list>(0);
                let capacity = self.rng.below(20) as u32;
                stor_list { header, entries: ANSWER, capacity, count: 0, generation: 0 }.as_bytes().to_vec()
            }
            STOR_NR_STATUS => {
                let argument = stor_status {
                    header: header::<stor_status>(0),
                    uuid,
                    lowers: ANSWER,
                    config: MORE_ANSWER,
                    lower_capacity: self.rng.below(4) as u32,
                    config_capacity: self.rng.below(256) as u32,
                    ..FromZeros::new_zeroed()
                };
                argument.as_bytes().to_vec()
            }
            STOR_NR_SET => {
                let (mask, value) = (STOR_SET_READ_ONLY, self.rng.below(2) as u32);
                stor_set { header: header::<stor_set>(0), uuid, mask, value }.as_bytes().to_vec()
            }
            STOR_NR_RENAME => {
                let name = field(&format!("r{:x}", self.rng.next()));
                stor_rename { header: header::<stor_rename>(0), uuid, name }.as_bytes().to_vec()
            }
            STOR_NR_ENGINE_LIST => {
                let (header, capacity) = (header::<stor_engine_list>(0), self.rng.below(4) as u32);
                stor_engine_list { header, entries: ANSWER, capacity, count: 0 }.as_bytes().to_vec()
            }
            STOR_NR_ENGINE_SWITCH => {
                let version = self.rng.choose(&self.world.engines);
                let (header, capacity) = (header::<stor_engine_switch>(0), self.rng.below(20) as u32);
                let argument = stor_engine_switch { header, version, results: ANSWER, capacity, count: 0 };
                argument.as_bytes().to_vec()
            }
            STOR_NR_INSERT => {
                let mut numbers = self.free();
                // It takes what others could have.
                numbers.truncate(1 + self.rng.below(4) / 3);
                let size = volume.map_or(0, |volume| volume.size);
                let (joined_size, bytes) = self.joined(&numbers, size);
                (lowers, config, more_config) = (self.lowers(&numbers), bytes, self.within(joined_size, size));
                let argument = stor_insert {
                    header: header::<stor_insert>(0),
                    uuid,
                    below_uuid: self.uuid(),
                    joined_uuid: self.uuid(),
                    below_name: field(&format!("b{:x}", self.rng.next())),
                    joined_name: field(&format!("j{:x}", self.rng.next())),
                    joined_target: field("linear"),
                    target: field("linear"),
                    joined_size,
                    lowers: LOWERS,
                    joined_config: CONFIG,
                    config: MORE_CONFIG,
                    lower_count: lowers.len() as u32,
                    joined_config_len: config.len() as u32,
                    config_len: more_config.len() as u32,
                    reserved: 0,
                };
                argument.as_bytes().to_vec()
            }
            _ => {
                let argument = stor_version { header: header::<stor_version>(0), ..FromZeros::new_zeroed() };
                argument.as_bytes().to_vec()
            }
        };
        Draft { command: command(nr, argument.len()), address: self.place(), argument, lowers, config, more_config }
    }

    fn uuid(&mut self) -> Uuid {
        let mut uuid = [0; 16];
        self.rng.fill(&mut uuid);
        uuid
    }

    /// A volume; mostly one of which the call can come to be.
    fn volume(&mut self, nr: u32) -> Option<&Volume> {
        let (rng, world) = (&mut *self.rng, self.world);
        let fits = |volume: &&Volume| match nr {
            STOR_NR_REMOVE => world.open_count(volume) == 0,
            STOR_NR_INSERT => !volume.suspended,
            _ => true,
        };
        let fitting: Vec<&Volume> = world.volumes.iter().filter(fits).collect();
        if rng.one_in(4) || fitting.is_empty() {
            return rng.pick(&world.volumes);
        }
        rng.pick(&fitting).copied()
    }

    /// One to three devices, free ones if there are any.
    fn free(&mut self) -> Vec<Number> {
        let mut numbers = self.all_free();
        let keep = 1 + self.rng.below(3);
        while numbers.len() > keep {
            numbers.swap_remove(self.rng.below(numbers.len()));
        }
        if numbers.is_empty() {
            numbers.extend(self.rng.pick(&self.descriptors.devices).map(|(number, _)| *number));
        }
        numbers
    }

    fn all_free(&self) -> Vec<Number> {
        let good = |number: &Number| {
            let device = self.world.device(*number);
            self.world.holder(*number).is_none() && device.is_some_and(|device| !device.zoned && !device.read_only)
        };
        let mut numbers: Vec<Number> =
            self.descriptors.devices.iter().map(|(number, _)| *number).filter(good).collect();
        numbers.dedup();
        numbers
    }

    /// What a volume could stand on after a reload: what it stands on, perhaps one more.
    fn reloaded(&mut self, volume: Option<&Volume>) -> Vec<Number> {
        let mut numbers = volume.map_or_else(Vec::new, |volume| volume.lowers.clone());
        if self.rng.one_in(4) || numbers.is_empty() {
            let more = self.free();
            numbers.extend(more.first().filter(|number| !numbers.contains(number)));
        }
        numbers
    }

    fn lowers(&self, numbers: &[Number]) -> Vec<stor_lower> {
        numbers.iter().map(|&number| stor_lower { fd: self.descriptors.of(number), reserved: 0 }).collect()
    }

    /// A volume over all of these, in up to four segments of each: its size and its configuration.
    fn layout(&mut self, numbers: &[Number]) -> (u64, Vec<u8>) {
        let segments = self.segments(numbers);
        self.shuffled(segments)
    }

    fn segments(&mut self, numbers: &[Number]) -> Vec<Segment> {
        let mut segments: Vec<Segment> = Vec::new();
        for (index, &number) in numbers.iter().enumerate() {
            let room = self.world.device(number).map_or(0, |device| device.size / UNIT);
            let count = 1 + self.rng.below(4) as u64;
            for part in 0..count {
                let (from, to) = (room * part / count, room * (part + 1) / count);
                let length = 1 + self.rng.below((to - from).saturating_sub(1) as usize) as u64;
                segments.push((length * UNIT, from * UNIT, index as u32));
            }
        }
        segments
    }

    /// A volume over some of all of these, and over all of another one of this size.
    fn joined(&mut self, numbers: &[Number], size: u64) -> (u64, Vec<u8>) {
        let mut segments = self.segments(numbers);
        segments.extend(self.pieces(size, 0).into_iter().map(|(length, at, _)| (length, at, numbers.len() as u32)));
        self.shuffled(segments)
    }

    /// A volume of this size somewhere on a device of another one.
    fn within(&mut self, device: u64, size: u64) -> Vec<u8> {
        let slack = device.saturating_sub(size) / UNIT;
        let pieces = self.pieces(size, slack);
        self.shuffled(pieces).1
    }

    /// Up to three pieces of so many bytes in all, with gaps of so many units in all at most.
    fn pieces(&mut self, size: u64, slack: u64) -> Vec<Segment> {
        let (count, mut at, mut left, mut slack) = (self.rng.below(3), 0, size, slack);
        let mut pieces = Vec::new();
        for _ in 0..count {
            let length = UNIT * (1 + self.rng.below((left / UNIT) as usize) as u64);
            if length >= left {
                break;
            }
            let gap = self.rng.below(slack as usize + 1) as u64;
            pieces.push((length, at + gap * UNIT, 0));
            (at, left, slack) = (at + gap * UNIT + length, left - length, slack - gap);
        }
        pieces.push((left, at, 0));
        pieces
    }

    /// Puts segments into any order: the size of all, and the configuration.
    fn shuffled(&mut self, mut segments: Vec<Segment>) -> (u64, Vec<u8>) {
        for index in 0..segments.len() {
            let other = self.rng.below(segments.len());
            segments.swap(index, other);
        }
        (segments.iter().map(|segment| segment.0).sum(), linear(&segments))
    }

    /// Makes one thing wrong, or different.
    fn spoil(&mut self, draft: &mut Draft) {
        let nr = draft.command & 0xff;
        match self.rng.below(12) {
            0 => draft.command ^= 1 << self.rng.below(32),
            1 => draft.command = command(self.rng.below(24) as u32, draft.argument.len()),
            2 => {
                // Short or long, and the header says so too, as a caller with another idea of the struct has it.
                let size = (draft.argument.len() + self.rng.below(33)).saturating_sub(16);
                draft.command = command(nr, size);
                if self.rng.one_in(2) {
                    put(&mut draft.argument, offset_of!(stor_header, size), (size as u32).as_bytes());
                }
            }
            3 => draft.address = self.bad_address(),
            4 => draft.address = draft.address.wrapping_add(1 + self.rng.below(7) as u64),
            5 => self.spoil_field(&mut draft.argument, 0, HEADER),
            6 | 7 => self.spoil_field(&mut draft.argument, 0, fields(nr)),
            8 => {
                let at = self.rng.below(draft.argument.len());
                let bit = 1 << self.rng.below(8);
                draft.argument.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bit);
            }
            9 => self.spoil_lowers(draft),
            10 => self.spoil_config(draft),
            _ => {
                // Another volume's name or UUID, or that of the other new one.
                let called = |(_, kind): &&Field| matches!(kind, Text(64) | Kind::Uuid);
                let places: Vec<Field> = fields(nr).iter().filter(called).copied().collect();
                let (offset, kind) = self.rng.pick(&places).copied().unwrap_or((size_of::<stor_header>(), Kind::Uuid));
                if nr == STOR_NR_INSERT && self.rng.one_in(3) {
                    self.same(&mut draft.argument);
                } else if let Some(other) = self.rng.pick(&self.world.volumes) {
                    let bytes = if matches!(kind, Kind::Uuid) { &other.uuid[..] } else { &other.name };
                    put(&mut draft.argument, offset, bytes);
                }
            }
        }
    }

    /// Gives the two that are inserted the same name or UUID, or one of them the volume's UUID.
    fn same(&mut self, argument: &mut [u8]) {
        let (from, to, size) = match self.rng.below(3) {
            0 => (offset_of!(stor_insert, below_name), offset_of!(stor_insert, joined_name), 64),
            1 => (offset_of!(stor_insert, below_uuid), offset_of!(stor_insert, joined_uuid), 16),
            _ => (offset_of!(stor_insert, uuid), offset_of!(stor_insert, below_uuid), 16),
        };
        let bytes: Vec<u8> = argument.iter().skip(from).take(size).copied().collect();
        put(argument, to, &bytes);
    }

    fn bad_address(&mut self) -> u64 {
        if self.rng.one_in(16) {
            self.rng.next()
        } else {
            self.rng.choose(BAD_ADDRESSES)
        }
    }

    fn spoil_field(&mut self, bytes: &mut [u8], base: usize, fields: &[Field]) {
        let Some(&(offset, kind)) = self.rng.pick(fields) else { return };
        let value: Vec<u8> = match kind {
            U32 => self.rng.choose(BAD_U32).as_bytes().into(),
            U64 => self.rng.choose(BAD_U64).as_bytes().into(),
            Address => self.bad_address().as_bytes().into(),
            Text(size) => self.text(size),
            Kind::Uuid => if self.rng.one_in(2) { [0; 16] } else { self.uuid() }.into(),
        };
        put(bytes, base + offset, &value);
    }

    fn text(&mut self, size: usize) -> Vec<u8> {
        let mut text = match self.rng.below(4) {
            0 => vec![b'a'; size - self.rng.below(3)],
            _ => self.rng.pick(TEXTS).map_or_else(Vec::new, |text| text.to_vec()),
        };
        text.resize(size, 0);
        if self.rng.one_in(8) {
            let at = self.rng.below(size);
            put(&mut text, at, &[self.rng.next() as u8]);
        }
        text
    }

    fn spoil_lowers(&mut self, draft: &mut Draft) {
        let any = |rng: &mut Rng, descriptors: &Descriptors| match rng.below(4) {
            0 => rng.choose(&[-1, i32::MIN, i32::MAX, 1000, -100]),
            1 => rng.pick(&descriptors.devices).map_or(-1, |(_, fd)| *fd),
            _ => rng.choose(&descriptors.others),
        };
        let fd = any(self.rng, self.descriptors);
        let at = self.rng.below(draft.lowers.len());
        match (self.rng.below(4), draft.lowers.get_mut(at)) {
            (0, Some(lower)) => lower.reserved = self.rng.choose(BAD_U32),
            (1, Some(lower)) => {
                let copy = *lower;
                draft.lowers.push(copy);
            }
            (_, Some(lower)) => lower.fd = fd,
            (_, None) => draft.lowers.push(stor_lower { fd, reserved: 0 }),
        }
        let count = draft.lowers.len() as u32;
        match draft.command & 0xff {
            STOR_NR_CREATE => put(&mut draft.argument, offset_of!(stor_create, lower_count), count.as_bytes()),
            STOR_NR_RELOAD => put(&mut draft.argument, offset_of!(stor_reload, lower_count), count.as_bytes()),
            STOR_NR_INSERT => put(&mut draft.argument, offset_of!(stor_insert, lower_count), count.as_bytes()),
            _ => {}
        }
    }

    fn spoil_config(&mut self, draft: &mut Draft) {
        let nr = draft.command & 0xff;
        let (config, offset) = match nr {
            STOR_NR_INSERT if self.rng.one_in(2) => (&mut draft.more_config, offset_of!(stor_insert, config_len)),
            STOR_NR_INSERT => (&mut draft.config, offset_of!(stor_insert, joined_config_len)),
            STOR_NR_RELOAD => (&mut draft.config, offset_of!(stor_reload, config_len)),
            _ => (&mut draft.config, offset_of!(stor_create, config_len)),
        };
        self.spoil_bytes(config);
        let length = config.len() as u32;
        if matches!(nr, STOR_NR_CREATE | STOR_NR_RELOAD | STOR_NR_INSERT) {
            put(&mut draft.argument, offset, length.as_bytes());
        }
    }

    fn spoil_bytes(&mut self, config: &mut Vec<u8>) {
        const HEAD: usize = size_of::<stor_linear_config>();
        let count = config.len().saturating_sub(HEAD) / size_of::<stor_linear_segment>();
        match self.rng.below(8) {
            0 => put(config, 0, self.rng.choose(BAD_U32).as_bytes()),
            1 => put(config, 4, self.rng.choose(BAD_U32).as_bytes()),
            2 => config.truncate(self.rng.below(config.len())),
            3 => config.resize(self.rng.below(70_000), 0),
            4 => {
                // One segment takes another's place: gap, overlap or reuse.
                let (from, to) = (self.rng.below(count), self.rng.below(count));
                let start = HEAD + from * size_of::<stor_linear_segment>();
                let segment = config.get(start..start + size_of::<stor_linear_segment>()).map(<[u8]>::to_vec);
                put(config, HEAD + to * size_of::<stor_linear_segment>(), &segment.unwrap_or_default());
            }
            _ => {
                let base = HEAD + self.rng.below(count) * size_of::<stor_linear_segment>();
                self.spoil_field(config, base, SEGMENT);
            }
        }
    }
}

/// Overwrites bytes from `offset` on, as far as there are any.
fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    bytes.iter_mut().skip(offset).zip(value).for_each(|(to, from)| *to = *from);
}
