// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Where on a device what lies: planned once, when a pool is made or gets a device. After that the labels say it.
//!
//! A device begins with a MiB for the label and ends with one for its copy. In between the first member has the catalog,
//! the metadata, and then, aligned, data; the others have data. With metadata on a device of its own, that is the first
//! member, and has the catalog too.

use crate::linear::exact;
use crate::size::Iec;
use crate::{Bytes, Error, Kind, Result};
use stor_pure::pure::catalog;
use stor_pure::pure::label::copies::{at_end, DEVICE_MIN};
use stor_pure::pure::label::{Area, Segment};
use stor_pure::pure::thin::block::BLOCK_SIZE;
use stor_pure::pure::thin::size::{need, Plan};
use stor_pure::pure::thin::space::METADATA_MAX;
use stor_pure::pure::thin::superblock::{is_data_block_size, DATA_BLOCK_MAX, DATA_BLOCK_UNIT};
use stor_pure::pure::units::SECTOR_SIZE;

const MIB: u64 = 1 << 20;
/// The least room for metadata, which dm-thin wants too.
const METADATA_LEAST: u64 = 2 * MIB;
/// Data blocks that a pool has at most, unless other ones are asked for: more than that makes metadata large.
const BLOCKS_USUAL: u64 = 1 << 25;
/// What metadata is planned for, of all that a pool may be used for.
const VOLUMES: u64 = 16;
const SNAPSHOTS: u64 = 8;
/// Of 1,000 blocks of a volume, those that are rewritten between one snapshot and the next.
const REWRITTEN: u64 = 50;

/// What has to be known of a device.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// Its path, for errors.
    pub(crate) path: String,
    /// Its size.
    pub(crate) size: Bytes,
    /// What requests are best a multiple of; 0 if it does not say.
    pub(crate) optimal: Bytes,
}

/// What is asked of a pool.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    /// A data block.
    pub(crate) data_block: Option<Bytes>,
    /// Room for metadata.
    pub(crate) metadata: Option<Bytes>,
    /// Whether the first device has no data.
    pub(crate) apart: bool,
}

/// A plan.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// The segments of each device.
    pub(crate) devices: Vec<Vec<Segment>>,
    /// A data block.
    pub(crate) data_block: Bytes,
    /// Room for metadata,
    pub(crate) metadata: Bytes,
    /// and for data.
    pub(crate) data: Bytes,
}

/// A segment of a label.
pub(crate) fn segment(area: Area, start: u64, length: u64, at: u64) -> Segment {
    let area = (area as u32).into();
    Segment { start: start.into(), length: length.into(), at: at.into(), area, reserved: 0.into() }
}

/// What a data block may be.
///
/// # Errors
///
/// Not that.
fn check_data_block(size: Bytes) -> Result<()> {
    let sectors = size.sectors().and_then(|sectors| u32::try_from(sectors.0).ok());
    if sectors.is_some_and(is_data_block_size) {
        return Ok(());
    }
    let [least, most] = [DATA_BLOCK_UNIT, DATA_BLOCK_MAX].map(|sectors| Iec(Bytes(u64::from(sectors) * SECTOR_SIZE)));
    Err(Error::new(Kind::Usage, format!("data blocks cannot have {}", exact(size)))
        .help(format!("choose a multiple of {least}, at most {most}")))
}

/// Where data ends on a device: its last MiB is the label's.
pub(crate) fn data_end(size: Bytes) -> u64 {
    at_end(size.0)
}

/// Where data begins on a device, at `from` or behind: at a multiple of a data block and of what requests are best a
/// multiple of, if that does not waste more than a little.
pub(crate) fn data_start(from: u64, data_block: Bytes, device: &Shape) -> u64 {
    let optimal = if device.optimal.0 % BLOCK_SIZE as u64 == 0 { device.optimal.0 } else { 0 };
    let whole = optimal.max(1).checked_mul(data_block.0 / gcd(data_block.0, optimal.max(1)));
    let candidates = [whole, Some(data_block.0), Some(optimal.max(MIB)), Some(MIB)];
    let start = |unit: u64| from.checked_next_multiple_of(unit);
    let little = |start: &u64| *start - from <= MIB.max(device.size.0 / 64);
    candidates.into_iter().flatten().filter_map(start).find(little).unwrap_or(from)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 {
        a.max(1)
    } else {
        gcd(b, a % b)
    }
}

/// Room for metadata of a pool with so many data blocks.
fn metadata_for(data_blocks: u64, size: u64) -> u64 {
    let plan = Plan { data_blocks, volumes: VOLUMES, snapshots: SNAPSHOTS, rewritten: REWRITTEN };
    let bare = need(&Plan { snapshots: 0, ..plan }).worst;
    let blocks = need(&plan).usual.max(bare);
    let bytes = blocks.saturating_add(blocks / 4).min(METADATA_MAX).saturating_mul(BLOCK_SIZE as u64);
    // A small pool is not to be all metadata; it can be extended.
    bytes.min(size / 8).max(METADATA_LEAST).next_multiple_of(MIB)
}

/// Room for the catalog: two slots, each with room for some 9,000 volumes for each GiB of the pool.
fn catalog_for(size: u64) -> u64 {
    let most = catalog::slot_for(catalog::VOLUMES_MAX, 48) as u64;
    (size / 1024).clamp(MIB / 8, most.min(catalog::SLOT_MAX as u64)).next_multiple_of(MIB / 2).saturating_mul(2)
}

/// Plans a pool on devices.
///
/// # Errors
///
/// A device is too small, or what is asked for cannot be.
pub(crate) fn plan(devices: &[Shape], wanted: &Wanted) -> Result<Layout> {
    let room = |device: &Shape| data_end(device.size).saturating_sub(MIB);
    let data_devices = devices.get(usize::from(wanted.apart)..).unwrap_or_default();
    let all = data_devices.iter().fold(0u64, |sum, device| sum.saturating_add(room(device)));
    let data_block = match wanted.data_block {
        Some(size) => size,
        None => {
            let mut block = u64::from(DATA_BLOCK_UNIT) * SECTOR_SIZE;
            while all / block > BLOCKS_USUAL && block < u64::from(DATA_BLOCK_MAX) * SECTOR_SIZE {
                block *= 2;
            }
            Bytes(block)
        }
    };
    check_data_block(data_block)?;
    let first = devices.first().ok_or_else(|| Error::new(Kind::Usage, "a pool needs a device"))?;
    let catalog = catalog_for(all.min(first.size.0.saturating_mul(4)));
    let metadata = match wanted.metadata {
        Some(size) if size.0 < METADATA_LEAST || size.0 > METADATA_MAX * BLOCK_SIZE as u64 => {
            let [least, most] = [METADATA_LEAST, METADATA_MAX * BLOCK_SIZE as u64].map(|size| Iec(Bytes(size)));
            return Err(Error::new(Kind::Usage, format!("metadata cannot have {}", exact(size)))
                .help(format!("give it {least} to {most}")));
        }
        Some(size) => size.0.next_multiple_of(MIB),
        // A device of its own is all for metadata, as far as that can be used.
        None if wanted.apart => {
            let rest = room(first).saturating_sub(catalog) / MIB * MIB;
            rest.min(METADATA_MAX * BLOCK_SIZE as u64 / MIB * MIB)
        }
        None => metadata_for(all / data_block.0, all),
    };
    let small = |device: &Shape, least: u64| {
        let (path, size) = (&device.path, Iec(device.size));
        let (least, block) = (Iec(Bytes(least.next_multiple_of(MIB).max(DEVICE_MIN))), Iec(data_block));
        Error::new(
            Kind::Unfit,
            format!("{path} is too small: it has {size}, needed is {least} with data blocks of {block}"),
        )
    };
    let (mut at, mut plans) = (0u64, Vec::new());
    for (index, device) in devices.iter().enumerate() {
        let (mut segments, mut next) = (Vec::new(), MIB);
        let end = data_end(device.size);
        if index == 0 {
            segments.push(segment(Area::Catalog, next, catalog, 0));
            segments.push(segment(Area::Metadata, next.saturating_add(catalog), metadata, 0));
            next = next.saturating_add(catalog).saturating_add(metadata);
        }
        if index > 0 || !wanted.apart {
            let start = data_start(next, data_block, device);
            let length = end.saturating_sub(start) / data_block.0 * data_block.0;
            if length == 0 {
                return Err(small(device, start.saturating_add(data_block.0).saturating_add(2 * MIB)));
            }
            segments.push(segment(Area::Data, start, length, at));
            at = at.saturating_add(length);
        } else if next > end || metadata < METADATA_LEAST {
            return Err(small(device, MIB + catalog + metadata.max(METADATA_LEAST) + 2 * MIB));
        }
        plans.push(segments);
    }
    let [metadata, data] = [metadata, at].map(Bytes);
    Ok(Layout { devices: plans, data_block, metadata, data })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn shape(size: u64, optimal: u64) -> Shape {
        Shape { path: "/dev/x".into(), size: Bytes(size), optimal: Bytes(optimal) }
    }

    /// Segments of one device, with gaps and in order, all within what is the pool's.
    fn sound(layout: &Layout, devices: &[Shape]) {
        for (segments, device) in layout.devices.iter().zip(devices) {
            let mut end = MIB;
            for segment in segments {
                assert!(segment.start.get() >= end && segment.length.get() > 0);
                assert_eq!(segment.start.get() % 4096 + segment.length.get() % 4096, 0);
                end = segment.end().unwrap();
            }
            assert!(end <= data_end(device.size), "{end} {device:?}");
        }
    }

    #[test]
    fn devices_of_all_sizes_have_a_layout() {
        for size in [16 * MIB, 64 * MIB, GIB, 10 * GIB, 4096 * GIB + 12_345, 1 << 50] {
            for (optimal, block) in [(0, None), (0, Some(192 << 10)), (3 << 20, Some(1 << 20)), (512, None)] {
                let devices = [shape(size, optimal), shape(size / 2, optimal)];
                let wanted = Wanted { data_block: block.map(Bytes), ..Wanted::default() };
                let layout = plan(&devices, &wanted).unwrap();
                sound(&layout, &devices);
                let used = layout.data.0 + layout.metadata.0;
                assert!(size < GIB || used > (size + size / 2) / 100 * 96, "{size}: {layout:?}");
                assert_eq!(layout.data.0 % layout.data_block.0, 0);
                assert!(block.is_some() || layout.data.0 / layout.data_block.0 <= BLOCKS_USUAL);
                let start = layout.devices[0][2].start.get();
                assert!(size < GIB || start % layout.data_block.0 == 0, "{start} {size} {block:?}");
                assert!(size < GIB || optimal < 4096 || start % optimal == 0, "{start} {size} {optimal}");
            }
        }
    }

    #[test]
    fn metadata_has_headroom() {
        let layout = plan(&[shape(1024 * GIB, 0)], &Wanted::default()).unwrap();
        let bare = Plan { data_blocks: layout.data.0 / layout.data_block.0, volumes: 1, snapshots: 0, rewritten: 0 };
        assert!(layout.metadata.0 > need(&bare).worst * 4096, "{layout:?}");
        assert!(layout.metadata.0 < 3 * GIB, "{layout:?}");
    }

    #[test]
    fn metadata_on_a_device_of_its_own() {
        let devices = [shape(GIB, 0), shape(100 * GIB, 0)];
        let layout = plan(&devices, &Wanted { apart: true, ..Wanted::default() }).unwrap();
        sound(&layout, &devices);
        assert_eq!(layout.devices[0].len(), 2);
        assert_eq!(layout.devices[1].len(), 1);
        assert!(layout.metadata.0 > GIB / 10 * 9);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refuse = |size: u64, wanted: Wanted| plan(&[shape(size, 0)], &wanted).unwrap_err();
        assert_eq!(refuse(3 * MIB, Wanted::default()).kind, Kind::Unfit);
        let large = Wanted { data_block: Some(Bytes(GIB)), ..Wanted::default() };
        assert!(
            refuse(GIB, large).cause.contains("needed is 1.0 GiB with data blocks of 1 GiB"),
            "{}",
            refuse(GIB, large)
        );
        for block in [0, 512, 65_535, 65_536 + 4096, 2 * GIB, u64::MAX] {
            let wanted = Wanted { data_block: Some(Bytes(block)), ..Wanted::default() };
            assert_eq!(refuse(GIB, wanted).kind, Kind::Usage);
        }
        for metadata in [0, MIB, 17 * GIB, u64::MAX] {
            let wanted = Wanted { metadata: Some(Bytes(metadata)), ..Wanted::default() };
            assert_eq!(refuse(100 * GIB, wanted).kind, Kind::Usage);
        }
        let all = Wanted { metadata: Some(Bytes(GIB)), ..Wanted::default() };
        assert_eq!(refuse(GIB, all).kind, Kind::Unfit);
    }
}
