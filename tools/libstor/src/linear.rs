// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Tables of target `linear`: planned from devices, encoded for the kernel, changed by a resize.
//!
//! Whether a table is good is decided by [`stor_pure::pure::linear`], the code the engine runs too.

use crate::device::{Device, Host, Number, Part};
use crate::size::{self, Iec};
use crate::{Bytes, Error, Kind, Result};
use serde::{Deserialize, Serialize};
use stor_pure::abi::uapi::*;
use stor_pure::pure::linear as pure;
use zerocopy::IntoBytes;

/// A run of a volume on one of its lower devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Where it begins in the volume.
    #[serde(with = "raw")]
    pub start: Bytes,
    /// How long it is.
    #[serde(with = "raw")]
    pub length: Bytes,
    /// Index of the lower device.
    pub lower: u32,
    /// Where it begins there.
    #[serde(with = "raw")]
    pub lower_start: Bytes,
}

/// Bytes as a number.
pub(crate) mod raw {
    use super::Bytes;
    pub(crate) use crate::size::bytes as serialize;
    use serde::{Deserialize, Deserializer};

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        u64::deserialize(deserializer).map(Bytes)
    }
}

/// A table: devices, and the segments on them.
#[derive(Debug, Default)]
pub struct Table {
    /// The lower devices, each once.
    pub devices: Vec<Device>,
    /// The segments in order.
    pub segments: Vec<Segment>,
}

impl Table {
    /// How long the segments are together, saturating: [`Table::check`] refuses what overflows.
    pub fn size(&self) -> Bytes {
        Bytes(self.segments.iter().fold(0, |sum, segment| sum.saturating_add(segment.length.0)))
    }

    /// What the kernel is given.
    pub fn encode(&self) -> Vec<u8> {
        encode(&self.segments)
    }

    /// The segments with device numbers in place of indices, to compare tables.
    pub fn places(&self) -> Vec<(Bytes, Bytes, Number)> {
        let number = |lower| self.devices.get(lower as usize).map_or(Number::default(), |device| device.number);
        self.segments.iter().map(|s| (s.length, s.lower_start, number(s.lower))).collect()
    }

    /// Appends parts of devices, each device opened once however often and by whatever path it is named.
    pub fn append(&mut self, host: &(impl Host + ?Sized), parts: &[Part]) -> Result<()> {
        let lowers = parts.iter().map(|part| self.lower(host.open(&part.path)?)).collect::<Result<Vec<_>>>()?;
        let block = self.block();
        for (part, lower) in parts.iter().zip(lowers) {
            let size = self.device(lower)?.size;
            let available = size.0.checked_sub(part.start.0).filter(|&rest| rest > 0).ok_or_else(|| {
                let (path, start, size) = (part.path.display(), Iec(part.start), Iec(size));
                Error::new(Kind::Unfit, format!("{path} is too small: it has {size}, the part begins at {start}"))
            })?;
            let whole = Bytes(available - available.checked_rem(block.0).unwrap_or(0));
            let (start, length) = (self.size(), part.length.unwrap_or(whole));
            self.segments.push(Segment { start, length, lower, lower_start: part.start });
        }
        Ok(())
    }

    fn lower(&mut self, device: Device) -> Result<u32> {
        let known = self.devices.iter().position(|known| known.number == device.number);
        let index = known.unwrap_or_else(|| {
            self.devices.push(device);
            self.devices.len() - 1
        });
        u32::try_from(index).map_err(|_| too_many())
    }

    fn device(&self, lower: u32) -> Result<&Device> {
        let device = self.devices.get(lower as usize);
        device.ok_or_else(|| Error::new(Kind::Failure, format!("device {lower} of the volume is not known")))
    }

    /// The largest logical block below: every segment must be a multiple of it.
    fn block(&self) -> Bytes {
        self.devices.iter().map(|device| device.logical_block).max().unwrap_or(Bytes(512))
    }

    /// Cuts segments off the end until `size` is left, and lets go of devices that are not needed any more.
    pub fn cut(&mut self, size: Bytes) {
        self.segments.retain(|segment| segment.start < size);
        if let Some(last) = self.segments.last_mut() {
            last.length.0 = last.length.0.min(size.0 - last.start.0);
        }
        let mut index = 0;
        let mut kept = 0;
        self.devices.retain(|_| {
            let used = self.segments.iter().any(|segment| segment.lower == index);
            if used {
                let moved = self.segments.iter_mut().filter(|segment| segment.lower == index);
                moved.for_each(|segment| segment.lower = kept);
                kept += 1;
            }
            index += 1;
            used
        });
    }

    /// Makes the last segment longer, so that the whole is `size` long, or as long as its device allows.
    pub fn grow(&mut self, size: Option<Bytes>) -> Result<()> {
        let block = self.block();
        let last = *self.segments.last().ok_or_else(|| Error::new(Kind::Failure, "the volume has no segment"))?;
        let behind = self.segments.iter().filter(|s| s.lower == last.lower && s.lower_start > last.lower_start);
        let device = self.device(last.lower)?;
        let limit = behind.map(|segment| segment.lower_start.0).min().unwrap_or(device.size.0);
        let room = limit.saturating_sub(last.lower_start.0);
        let room = room - room.checked_rem(block.0).unwrap_or(0);
        let length = size.map_or(room, |size| size.0.saturating_sub(last.start.0));
        if length > room {
            let (most, path) = (Iec(Bytes(last.start.0.saturating_add(room))), device.path.display());
            return Err(Error::new(Kind::Unfit, format!("{path} is too small: with it the volume can have {most}"))
                .help("add a device by --device"));
        }
        if let Some(last) = self.segments.last_mut() {
            last.length.0 = length.max(last.length.0);
        }
        Ok(())
    }

    /// Checks the table as the kernel will.
    pub fn check(&self) -> Result<()> {
        if self.devices.len() > STOR_MAX_LOWERS as usize {
            return Err(too_many());
        }
        let config = self.encode();
        if config.len() > STOR_MAX_CONFIG as usize {
            return Err(too_many());
        }
        let lower = |device: &Device| pure::Lower { size: device.size, logical_block: device.logical_block };
        let lowers: Vec<_> = self.devices.iter().map(lower).collect();
        let parsed = pure::Config::parse(&config)
            .and_then(|config| config.segments().collect::<std::result::Result<Vec<_>, _>>());
        parsed.and_then(|segments| pure::check(&segments, self.size(), &lowers)).map_err(|error| self.explain(error))
    }

    /// Says a refusal with the names of devices.
    fn explain(&self, error: pure::Error) -> Error {
        let part = |index: u32| {
            let segment = self.segments.get(index as usize);
            let device = segment.and_then(|segment| self.devices.get(segment.lower as usize));
            device.map_or("a device".into(), |device| device.path.display().to_string())
        };
        let (kind, cause) = match error {
            pure::Error::TooSmall(index, size) => {
                (Kind::Unfit, format!("{} is too small: it has {}", part(index), exact(size)))
            }
            pure::Error::Alignment(index, block) => (
                Kind::Unfit,
                format!("{}: start and length must be multiples of the logical block, {} bytes", part(index), block.0),
            ),
            pure::Error::Unit(index) => {
                (Kind::Unfit, format!("{}: start and length must be multiples of 512 bytes, below 8 EiB", part(index)))
            }
            pure::Error::Empty(index) => (Kind::Usage, format!("{}: a part without length", part(index))),
            pure::Error::Overlap(index) => (Kind::Usage, format!("{}: two parts of it overlap", part(index))),
            error => (Kind::Failure, error.to_string()),
        };
        Error::new(kind, cause)
    }
}

/// A size for people who must see it to the byte.
pub fn exact(size: Bytes) -> String {
    let iec = Iec(size).to_string();
    if size.0 < 1024 {
        iec
    } else {
        format!("{iec} ({} bytes)", size.0)
    }
}

fn too_many() -> Error {
    let most = (STOR_MAX_CONFIG as usize - size_of::<stor_linear_config>()) / size_of::<stor_linear_segment>();
    Error::new(Kind::Usage, format!("a volume has at most {STOR_MAX_LOWERS} devices and {most} parts of them"))
}

/// Encodes segments for the kernel.
pub fn encode(segments: &[Segment]) -> Vec<u8> {
    // More segments than a u32 counts do not fit any memory; `check` refuses long before.
    let segment_count = u32::try_from(segments.len()).unwrap_or(u32::MAX);
    let header = stor_linear_config { version: STOR_LINEAR_CONFIG_VERSION, segment_count };
    let mut config = header.as_bytes().to_vec();
    for segment in segments {
        let raw = stor_linear_segment {
            start: segment.start.0,
            length: segment.length.0,
            lower_start: segment.lower_start.0,
            lower: segment.lower,
            reserved: 0,
        };
        config.extend_from_slice(raw.as_bytes());
    }
    config
}

/// Decodes what the kernel says a volume runs with.
pub fn decode(config: &[u8]) -> std::result::Result<Vec<Segment>, pure::Error> {
    pure::Config::parse(config)?
        .segments()
        .map(|segment| {
            let segment = segment?;
            let bytes = |sectors: stor_pure::pure::units::Sectors| sectors.bytes().ok_or(pure::Error::Length);
            let (start, end) = (bytes(segment.start)?, bytes(segment.end)?);
            let length = Bytes(end.0.checked_sub(start.0).ok_or(pure::Error::Length)?);
            Ok(Segment { start, length, lower: segment.lower, lower_start: bytes(segment.lower_start)? })
        })
        .collect()
}

/// A size asked of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// This size.
    To(Bytes),
    /// So much more.
    By(Bytes),
    /// As much as the last device has.
    Max,
}

impl std::str::FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.strip_prefix('+') {
            Some(more) => size::parse(more).map(Self::By),
            None if text == "max" => Ok(Self::Max),
            None => size::parse(text).map(Self::To),
        }
    }
}
