// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Tables planned from devices, against a model: a volume is a list of (device, block) pairs.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use libstor::device::{Host, Part};
use libstor::linear::{decode, encode, Segment, Table, Target};
use libstor::{Bytes, Kind, Simulated};
use proptest::prelude::*;
use std::path::{Path, PathBuf};

const BLOCK: u64 = 4096;

/// Two devices of 16 and 8 blocks of 4 KiB, and one of 4 and a half with sectors of 512 bytes.
fn host() -> Simulated {
    let file = scratch();
    let state = r#"{"devices":[{"path":"/a","size":65536,"logical_block":4096},
        {"path":"/b","size":32768,"logical_block":4096},{"path":"/c","size":18432},{"path":"/d:1","size":4096}]}"#;
    Simulated::create(&file, state).unwrap()
}

fn scratch() -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("linear-{}-{}.json", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn table(parts: &[&str]) -> libstor::Result<Table> {
    let host = host();
    let parts = parts.iter().map(|part| Part::parse(part, |path| host.exists(path))).collect::<Result<Vec<_>, _>>()?;
    let mut table = Table::default();
    table.append(&host, &parts)?;
    Ok(table)
}

/// The model of a table.
fn blocks(table: &Table) -> Vec<(PathBuf, u64)> {
    let segment = |segment: &Segment| {
        let path = table.devices[segment.lower as usize].path.clone();
        let first = segment.lower_start.0 / BLOCK;
        (first..first + segment.length.0 / BLOCK).map(move |block| (path.clone(), block)).collect::<Vec<_>>()
    };
    table.segments.iter().flat_map(segment).collect()
}

#[test]
fn parts_are_read() {
    let part = |text: &str, exists: &'static [&'static str]| {
        let part = Part::parse(text, |path| exists.iter().any(|known| path == Path::new(known)))?;
        Ok::<_, libstor::Error>((part.path.display().to_string(), part.start.0, part.length.map(|length| length.0)))
    };
    assert_eq!(part("/dev/a", &[]), Ok(("/dev/a".into(), 0, None)));
    assert_eq!(part("/dev/a:1M", &[]), Ok(("/dev/a".into(), 1 << 20, None)));
    assert_eq!(part("/dev/a:0:1G", &[]), Ok(("/dev/a".into(), 0, Some(1 << 30))));
    let path = "/dev/disk/by-path/usb-0:2:1.0-scsi-0:0:0:0";
    assert_eq!(part(path, &["/dev/disk/by-path/usb-0:2:1.0-scsi-0:0:0:0"]), Ok((path.into(), 0, None)));
    let behind = format!("{path}:1M");
    assert_eq!(part(&behind, &["/dev/disk/by-path/usb-0:2:1.0-scsi-0:0:0:0"]), Ok((path.into(), 1 << 20, None)));
    assert_eq!(part("/dev/a:x", &[]).unwrap_err().kind, Kind::Usage);
    assert_eq!(part("/dev/a:1:x", &[]).unwrap_err().kind, Kind::Usage);
}

#[test]
fn a_device_is_opened_once_and_used_to_its_last_whole_block() {
    let table = table(&["/c", "/a:16k:8k", "/c:4k:4k", "/d:1"]).unwrap();
    assert_eq!(table.devices.len(), 3);
    // Half a block of /c is left over, because /a has blocks of 4 KiB.
    assert_eq!(
        table.segments.iter().map(|s| (s.lower, s.length.0)).collect::<Vec<_>>(),
        [(0, 16384), (1, 8192), (0, 4096), (2, 4096)]
    );
    assert_eq!(table.size(), Bytes(32768));
}

#[test]
fn what_the_devices_cannot_carry_is_said_by_name() {
    for (parts, kind, text) in [
        (&["/a:0:65k"][..], Kind::Unfit, "/a: start and length must be multiples of the logical block, 4096 bytes"),
        (&["/a:0:68k"], Kind::Unfit, "/a is too small: it has 64 KiB (65536 bytes)"),
        (&["/a:64k"], Kind::Unfit, "/a is too small: it has 64 KiB, the part begins at 64 KiB"),
        (&["/c:1"], Kind::Unfit, "/c: start and length must be multiples of 512 bytes, below 8 EiB"),
        (&["/a", "/a:4k:4k"], Kind::Usage, "/a: two parts of it overlap"),
        (&["/a:0:0"], Kind::Usage, "/a: a part without length"),
        (&["/a:0:16383P"], Kind::Unfit, "/a: start and length must be multiples of 512 bytes, below 8 EiB"),
        (&["/z"], Kind::NotFound, "/z does not exist"),
    ] {
        let error = table(parts).and_then(|table| table.check()).unwrap_err();
        assert_eq!((error.kind, error.cause.as_str()), (kind, text), "{parts:?}");
    }
    let many: Vec<_> = (0..2048).map(|i| format!("/a:{}:512", i * 512)).collect();
    let error = table(&many.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(error.unwrap_err().cause.contains("too small"));
}

#[test]
fn growing_stops_at_the_end_of_the_device_or_at_the_next_part_on_it() {
    let mut whole = table(&["/b", "/a:16k:4k"]).unwrap();
    whole.grow(None).unwrap();
    assert_eq!(whole.size(), Bytes(32768 + 49152));
    let mut between = table(&["/a:32k", "/a:0:4k"]).unwrap();
    between.grow(None).unwrap();
    assert_eq!(between.size(), Bytes(65536));
    between.check().unwrap();
    let error = between.grow(Some(Bytes(65536 + 4096))).unwrap_err();
    assert_eq!(
        (error.kind, error.cause.as_str()),
        (Kind::Unfit, "/a is too small: with it the volume can have 64 KiB")
    );
}

#[test]
fn sizes_of_a_resize_are_read() {
    assert_eq!("1G".parse(), Ok(Target::To(Bytes(1 << 30))));
    assert_eq!("+1G".parse(), Ok(Target::By(Bytes(1 << 30))));
    assert_eq!("max".parse(), Ok(Target::Max));
    assert!("-1G".parse::<Target>().is_err());
}

proptest! {
    // Each case boots a simulated kernel.
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn cutting_keeps_what_is_before_the_cut(
        lengths in prop::collection::vec((0usize..2, 1u64..4), 1..4),
        at in 1u64..12,
    ) {
        // Parts one after the other on each device, so that they do not overlap.
        let mut next = [0; 2];
        let parts: Vec<_> = lengths.iter().map(|&(device, length)| {
            let start = next[device];
            next[device] += length;
            format!("{}:{}:{}", ["/a", "/b"][device], start * BLOCK, length * BLOCK)
        }).collect();
        let host = host();
        let parts: Vec<_> = parts.iter().map(|part| Part::parse(part, |path| host.exists(path)).unwrap()).collect();
        let mut table = Table::default();
        table.append(&host, &parts).unwrap();
        prop_assume!(next[0] <= 16 && next[1] <= 8);
        table.check().unwrap();
        let before = blocks(&table);
        prop_assert_eq!(before.len() as u64 * BLOCK, table.size().0);
        table.cut(Bytes(at * BLOCK));
        prop_assert!(table.check().is_ok());
        let kept = before.len().min(at as usize);
        prop_assert_eq!(blocks(&table), &before[..kept]);
        prop_assert_eq!(decode(&encode(&table.segments)).unwrap(), table.segments);
    }
}
