// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Target `linear` against a model that a child could check: a volume is a list of (device, sector) pairs.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use stor_pure::abi::uapi::{stor_linear_config, stor_linear_segment, STOR_LINEAR_CONFIG_VERSION};
use stor_pure::pure::errno::{E2BIG, EINVAL, ENOSPC};
use stor_pure::pure::linear::{check, find, Config, Error, Lower, Run, Segment};
use stor_pure::pure::units::{Bytes, Sectors};
use zerocopy::IntoBytes;

fn raw(start: u64, length: u64, lower: u32, lower_start: u64) -> stor_linear_segment {
    stor_linear_segment { start, length, lower_start, lower, reserved: 0 }
}

fn encode(segments: &[stor_linear_segment]) -> Vec<u8> {
    let header =
        stor_linear_config { version: STOR_LINEAR_CONFIG_VERSION, segment_count: segments.len().try_into().unwrap() };
    [header.as_bytes(), segments.as_bytes()].concat()
}

fn parse(bytes: &[u8]) -> Result<Vec<Segment>, Error> {
    Config::parse(bytes)?.segments().collect()
}

fn lower(size: u64, logical_block: u64) -> Lower {
    Lower { size: Bytes(size), logical_block: Bytes(logical_block) }
}

fn verdict(segments: &[stor_linear_segment], size: u64, lowers: &[Lower]) -> Result<(), Error> {
    check(&parse(&encode(segments))?, Bytes(size), lowers)
}

#[test]
fn a_good_table_is_accepted() {
    let lowers = [lower(8192, 512), lower(4096, 512)];
    let table = [raw(0, 4096, 0, 0), raw(4096, 4096, 1, 0), raw(8192, 4096, 0, 4096)];
    assert_eq!(verdict(&table, 12288, &lowers), Ok(()));
}

#[test]
fn each_flaw_has_its_name() {
    let one = [lower(8192, 512)];
    let two = [lower(8192, 512), lower(8192, 4096)];
    let good = raw(0, 4096, 0, 0);
    let cases: &[(&[stor_linear_segment], u64, &[Lower], Error)] = &[
        (&[], 0, &one, Error::Length),
        (&[stor_linear_segment { reserved: 1, ..good }], 4096, &one, Error::Reserved(0)),
        (&[raw(0, 4095, 0, 0)], 4095, &one, Error::Unit(0)),
        (&[raw(0, 512, 0, 1)], 512, &one, Error::Unit(0)),
        (&[raw(0, u64::MAX - 511, 0, 0)], u64::MAX - 511, &one, Error::Unit(0)),
        (&[raw(0, 512, 0, 1 << 63)], 512, &one, Error::Unit(0)),
        (&[raw(512, 512, 0, 0)], 512, &one, Error::Gap(0)),
        (&[good, raw(4608, 512, 0, 4096)], 5120, &one, Error::Gap(1)),
        (&[good, raw(3584, 512, 0, 4096)], 4096, &one, Error::Gap(1)),
        (&[raw(0, 0, 0, 0)], 0, &one, Error::Empty(0)),
        (&[raw(0, 4096, 1, 0)], 4096, &one, Error::NoLower(0)),
        (&[good, raw(4096, 512, 1, 0)], 4608, &two, Error::Alignment(1, Bytes(4096))),
        (&[raw(0, 8704, 0, 0)], 8704, &one, Error::TooSmall(0, Bytes(8192))),
        (&[raw(0, 4096, 0, 4608)], 4096, &one, Error::TooSmall(0, Bytes(8192))),
        (&[good, raw(4096, 4096, 0, 2048)], 8192, &one, Error::Overlap(1)),
        (&[good], 8192, &one, Error::Size(Bytes(4096))),
        (&[good], 4096, &two, Error::Unused(1)),
    ];
    for (segments, size, lowers, error) in cases {
        assert_eq!(verdict(segments, *size, lowers), Err(*error), "{segments:?}");
    }
}

#[test]
fn a_configuration_that_is_no_table_is_refused() {
    let good = encode(&[raw(0, 512, 0, 0)]);
    for length in 0..good.len() {
        assert!(Config::parse(&good[..length]).is_err(), "{length} bytes");
    }
    assert!(matches!(Config::parse(&[good.as_slice(), &[0]].concat()), Err(Error::Length)));
    let mut newer = good.clone();
    newer[0] = 2;
    assert!(matches!(Config::parse(&newer), Err(Error::Version(2))));
    let mut more = good;
    more[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
    assert!(matches!(Config::parse(&more), Err(Error::Length)));
}

#[test]
fn errors_become_the_errnos_of_the_abi() {
    assert_eq!(Error::TooSmall(0, Bytes(0)).errno(), ENOSPC);
    assert_eq!(Error::TooMany.errno(), E2BIG);
    assert_eq!(Error::Gap(0).errno(), EINVAL);
}

#[test]
fn every_error_is_a_sentence_of_its_own() {
    let block = Bytes(4096);
    let errors = [
        Error::Length,
        Error::Version(9),
        Error::Reserved(1),
        Error::Unit(1),
        Error::Gap(1),
        Error::Empty(1),
        Error::NoLower(1),
        Error::Alignment(1, block),
        Error::TooSmall(1, block),
        Error::Overlap(1),
        Error::Size(block),
        Error::TooMany,
        Error::Unused(1),
    ];
    let texts: std::collections::BTreeSet<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), errors.len());
    assert!(texts.iter().all(|text| !text.is_empty() && !text.ends_with('.')));
}

/// Tables that are often good and sometimes wrong in one way: (length, lower, lower_start) in sectors.
fn tables() -> impl Strategy<Value = (Vec<(u64, u32, u64)>, Vec<u64>)> {
    let segment = (0u64..6, 0u32..3, 0u64..24);
    (prop::collection::vec(segment, 1..6), prop::collection::vec(8u64..32, 1..3))
}

/// The model: each sector's place, or `None` if the table is no table.
fn model(segments: &[(u64, u32, u64)], devices: &[u64]) -> Option<Vec<(u32, u64)>> {
    let places: Vec<(u32, u64)> = segments
        .iter()
        .flat_map(|&(length, lower, start)| (start..start + length).map(move |sector| (lower, sector)))
        .collect();
    let exists = |&(lower, sector): &(u32, u64)| devices.get(lower as usize).is_some_and(|&size| sector < size);
    let once = places.iter().collect::<std::collections::BTreeSet<_>>().len() == places.len();
    let used = (0..devices.len()).all(|lower| segments.iter().any(|segment| segment.1 as usize == lower));
    let lengths = segments.iter().all(|segment| segment.0 > 0);
    (places.iter().all(exists) && once && used && lengths).then_some(places)
}

proptest! {
    #[test]
    fn check_and_find_agree_with_the_model((segments, devices) in tables()) {
        let mut start = 0;
        let mut table = Vec::new();
        for &(length, lower, lower_start) in &segments {
            table.push(raw(start * 512, length * 512, lower, lower_start * 512));
            start += length;
        }
        let lowers: Vec<_> = devices.iter().map(|&size| lower(size * 512, 512)).collect();
        let parsed = parse(&encode(&table)).unwrap();
        let places = model(&segments, &devices);
        prop_assert_eq!(check(&parsed, Bytes(start * 512), &lowers).is_ok(), places.is_some());
        let Some(places) = places else { return Ok(()) };
        for (sector, &(lower, place)) in places.iter().enumerate() {
            let run = find(&parsed, sector as u64).unwrap();
            prop_assert_eq!((run.lower, run.sector), (lower, place));
            // All that the run promises lies where it says.
            for ahead in 0..run.length {
                prop_assert_eq!(places[sector + ahead as usize], (lower, place + ahead));
            }
        }
        prop_assert_eq!(find(&parsed, start), None);
        prop_assert_eq!(find(&parsed, u64::MAX), None);
    }

    #[test]
    fn garbage_is_refused_and_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..256), count in 0u32..8) {
        let _ = parse(&bytes);
        let header = stor_linear_config { version: STOR_LINEAR_CONFIG_VERSION, segment_count: count };
        if let Ok(segments) = parse(&[header.as_bytes(), &bytes].concat()) {
            let _ = check(&segments, Bytes(u64::MAX), &[lower(u64::MAX, 512)]);
            for sector in [0, 1, u64::MAX] {
                let _ = find(&segments, sector);
            }
        }
    }
}

#[test]
fn one_segment_is_found_without_a_search() {
    let segment = Segment { start: Sectors(0), end: Sectors(8), lower_start: Sectors(100), lower: 3 };
    assert_eq!(find(&[segment], 7), Some(Run { lower: 3, sector: 107, length: 1 }));
    assert_eq!(find(&[segment], 8), None);
    assert_eq!(find(&[], 0), None);
}
