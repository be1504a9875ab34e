// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Sizes as people write and read them.
#![allow(missing_docs, clippy::unwrap_used)]

use libstor::size::{parse, Iec};
use libstor::{Bytes, Kind};
use proptest::prelude::*;

#[test]
fn sizes_are_read() {
    let cases: [(&str, u64); 17] = [
        ("0", 0),
        ("512", 512),
        ("512b", 512),
        ("4k", 4096),
        ("4K", 4096),
        ("4KiB", 4096),
        ("4 KiB", 4096),
        ("4kb", 4000),
        ("10G", 10 << 30),
        ("10GiB", 10 << 30),
        ("10gib", 10 << 30),
        ("10GB", 10_000_000_000),
        ("1T", 1 << 40),
        ("1P", 1 << 50),
        ("15E", 15 << 60),
        ("18446744073709551615", u64::MAX),
        ("18EB", 18_000_000_000_000_000_000),
    ];
    for (text, bytes) in cases {
        assert_eq!(parse(text), Ok(Bytes(bytes)), "{text}");
    }
}

#[test]
fn what_is_no_size_is_refused_with_a_reason() {
    let cases = [
        ("", "does not begin with a digit"),
        ("-1", "does not begin with a digit"),
        ("+1", "does not begin with a digit"),
        ("G", "does not begin with a digit"),
        ("1.5G", "unit is not known"),
        ("1x", "unit is not known"),
        ("1Ki", "unit is not known"),
        ("1KK", "unit is not known"),
        ("1€", "unit is not known"),
        ("10 G x", "unit is not known"),
        ("16E", "too large"),
        ("19EB", "too large"),
        ("18446744073709551616", "too large"),
    ];
    for (text, reason) in cases {
        let error = parse(text).unwrap_err();
        assert_eq!(error.kind, Kind::Usage, "{text}");
        assert!(error.to_string().contains(reason), "{text}: {error}");
    }
}

#[test]
fn sizes_are_shown_in_the_largest_unit_they_fill() {
    let cases = [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        ((1 << 30) - 1, "1023.9 MiB"),
        (10 << 30, "10 GiB"),
        (10_000_000_000, "9.3 GiB"),
        (u64::MAX, "15.9 EiB"),
    ];
    for (bytes, text) in cases {
        assert_eq!(Iec(Bytes(bytes)).to_string(), text);
    }
    assert_eq!(format!("{:>8}|", Iec(Bytes(1024))), "   1 KiB|");
}

#[test]
fn durations_are_shown_in_two_units() {
    let cases = [(0, "0 ms"), (999_999_999, "999 ms"), (1_250_000_000, "1.2 s"), (59_999_999_999, "59.9 s")];
    let longer =
        [(60_000_000_000, "1 min 0 s"), (3_599_000_000_000, "59 min 59 s"), (90_061_000_000_000, "25 h 1 min")];
    for (nanoseconds, text) in cases.into_iter().chain(longer) {
        assert_eq!(libstor::volume::ago(nanoseconds), text);
    }
}

proptest! {
    #[test]
    fn whole_sizes_survive_being_shown_and_read(number in 1u64..1024, power in 0u32..6) {
        let size = Bytes(number << (10 * power));
        prop_assert_eq!(parse(&Iec(size).to_string()), Ok(size));
    }

    #[test]
    fn a_size_is_never_shown_larger_than_it_is(bytes: u64) {
        let text = Iec(Bytes(bytes)).to_string();
        let (number, unit) = text.split_once(' ').unwrap();
        let whole = number.split('.').next().unwrap();
        let shown = parse(&[whole, unit].concat()).unwrap();
        prop_assert!(shown.0 <= bytes);
    }

    #[test]
    fn nothing_that_can_be_typed_panics(text in "\\PC{0,12}") {
        let _ = parse(&text);
    }
}
