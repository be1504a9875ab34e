// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What crosses the control ABI: headers, names, sizes, units.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use stor_pure::abi::uapi::{stor_header, STOR_ABI_VERSION};
use stor_pure::pure::control::{check_header, check_resize, check_shape, HeaderError, ResizeError};
use stor_pure::pure::errno::{EBUSY, EINVAL, EPROTONOSUPPORT, ERANGE};
use stor_pure::pure::text::{check, from_field, to_field, TextError, Uuid};
use stor_pure::pure::units::{Bytes, Sectors};

const HEADER: stor_header = stor_header { abi: STOR_ABI_VERSION, size: 64, flags: 0, reserved: 0 };

#[test]
fn a_header_is_exact() {
    assert_eq!(check_header(&HEADER, 64, 0), Ok(()));
    assert_eq!(check_header(&stor_header { flags: 1, ..HEADER }, 64, 3), Ok(()));
    let newer = stor_header { abi: STOR_ABI_VERSION + 1, ..HEADER };
    assert_eq!(check_header(&newer, 64, 0), Err(HeaderError::Abi(STOR_ABI_VERSION + 1)));
    assert_eq!(check_shape(&newer, 64, 0), Ok(()), "VERSION answers every ABI");
    for size in [0, 63, 65, u32::MAX] {
        assert_eq!(check_header(&stor_header { size, ..HEADER }, 64, 0), Err(HeaderError::Size(size)));
    }
    assert_eq!(check_header(&stor_header { flags: 6, ..HEADER }, 64, 2), Err(HeaderError::Flags(4)));
    assert_eq!(check_header(&stor_header { reserved: 1, ..HEADER }, 64, 0), Err(HeaderError::Reserved));
    assert_eq!(check_header(&HEADER, usize::MAX, 0), Err(HeaderError::Size(64)));
    assert_eq!(HeaderError::Abi(2).errno(), EPROTONOSUPPORT);
    assert_eq!(HeaderError::Reserved.errno(), EINVAL);
}

#[test]
fn a_volume_shrinks_only_when_asked_to_and_closed() {
    for open in [false, true] {
        for shrink in [false, true] {
            assert_eq!(check_resize(8, 8, shrink, open), Ok(()));
            assert_eq!(check_resize(8, 9, shrink, open), Ok(()));
        }
        assert_eq!(check_resize(8, 7, false, open), Err(ResizeError::Shrink));
    }
    assert_eq!(check_resize(8, 7, true, true), Err(ResizeError::InUse));
    assert_eq!(check_resize(8, 7, true, false), Ok(()));
    assert_eq!((ResizeError::Shrink.errno(), ResizeError::InUse.errno()), (ERANGE, EBUSY));
}

#[test]
fn names_have_an_alphabet() {
    for name in ["a", "0", "data", "vm-1.disk_2+x", &"a".repeat(63)] {
        assert_eq!(check(name.as_bytes(), 64), Ok(()), "{name}");
    }
    for (name, why) in [
        ("", TextError::Empty),
        (&"a".repeat(64), TextError::TooLong),
        (".", TextError::First),
        ("..", TextError::First),
        ("-x", TextError::First),
        ("a/b", TextError::Character),
        ("a b", TextError::Character),
        ("ä", TextError::First),
        ("aä", TextError::Character),
        ("a\0", TextError::Character),
        ("a\n", TextError::Character),
    ] {
        assert_eq!(check(name.as_bytes(), 64), Err(why), "{name:?}");
    }
}

#[test]
fn a_field_is_its_text_and_zeros() {
    assert_eq!(from_field(b"ab\0\0"), Ok("ab"));
    assert_eq!(from_field(b"abc\0"), Ok("abc"));
    assert_eq!(from_field(b"abcd"), Err(TextError::TooLong));
    assert_eq!(from_field(b"ab\0x"), Err(TextError::Padding));
    assert_eq!(from_field(b"\0\0"), Err(TextError::Empty));
    assert_eq!(from_field(b""), Err(TextError::TooLong));
    let mut field = [0xff; 4];
    to_field("abcdef", &mut field);
    assert_eq!(&field, b"abc\0");
    to_field("", &mut field);
    assert_eq!(field, [0; 4]);
}

proptest! {
    #[test]
    fn a_name_survives_its_field(name in "[A-Za-z0-9][A-Za-z0-9._+-]{0,62}") {
        let mut field = [0xff; 64];
        to_field(&name, &mut field);
        prop_assert_eq!(from_field(&field), Ok(name.as_str()));
    }

    #[test]
    fn what_a_field_gives_is_a_name(field in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(name) = from_field(&field) {
            prop_assert_eq!(check(name.as_bytes(), field.len()), Ok(()));
            let mut again = vec![0xff; field.len()];
            to_field(name, &mut again);
            prop_assert_eq!(again, field);
        }
    }

    #[test]
    fn sectors_and_bytes_agree(value: u64) {
        prop_assert_eq!(Bytes(value).sectors().is_some(), value % 512 == 0);
        if let Some(sectors) = Bytes(value).sectors() {
            prop_assert_eq!(sectors.bytes(), Some(Bytes(value)));
        }
        prop_assert_eq!(Sectors(value).bytes().is_some(), u128::from(value) * 512 <= u64::MAX.into());
    }
}

#[test]
fn uuids_look_as_they_do_everywhere() {
    let uuid = [0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x12, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x14, 0x17, 0x40, 0x00];
    assert_eq!(Uuid(&uuid).to_string(), "123e4567-e89b-12d3-a456-426614174000");
}

#[test]
fn nothing_is_a_multiple_of_nothing() {
    assert!(Bytes(4096).is_multiple_of(Bytes(512)));
    assert!(!Bytes(4097).is_multiple_of(Bytes(512)));
    assert!(!Bytes(0).is_multiple_of(Bytes(0)));
    assert_eq!(Bytes(u64::MAX).checked_add(Bytes(1)), None);
    assert_eq!(Bytes(1).checked_add(Bytes(1)), Some(Bytes(2)));
}
