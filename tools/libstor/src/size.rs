// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Sizes as people write and read them.

use crate::{Bytes, Error, Kind, Result};
use serde::Serializer;
use std::fmt;

/// Bytes per power of 1024, largest first.
const IEC: [(&str, u64); 6] =
    [("EiB", 1 << 60), ("PiB", 1 << 50), ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Reads a size: a number of bytes, or of a unit. `10G`, `10g`, `10GiB` are 10 × 2³⁰; `10GB` is 10 × 10⁹.
pub fn parse(text: &str) -> Result<Bytes> {
    let refuse = |why: &str| Error::new(Kind::Usage, format!("'{text}' is not a size: {why}")).help(HELP);
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    if number.is_empty() {
        return Err(refuse("it does not begin with a digit"));
    }
    let number: u64 = number.parse().map_err(|_| refuse("it is too large"))?;
    let unit = unit(suffix.trim_start()).ok_or_else(|| refuse("its unit is not known"))?;
    number.checked_mul(unit).map(Bytes).ok_or_else(|| refuse("it is too large"))
}

const HELP: &str =
    "write bytes, or a whole number with K, M, G, T, P or E (powers of 1024) or KB … EB (powers of 1000)";

fn unit(suffix: &str) -> Option<u64> {
    if suffix.is_empty() || suffix.eq_ignore_ascii_case("b") {
        return Some(1);
    }
    let power = "kmgtpe".find(suffix.chars().next()?.to_ascii_lowercase())? as u32 + 1;
    match suffix.get(1..)?.to_ascii_lowercase().as_str() {
        "" | "ib" => 1024u64.checked_pow(power),
        "b" => 1000u64.checked_pow(power),
        _ => None,
    }
}

/// Displays a size with the largest IEC unit it fills: whole if exact, else with one decimal, rounded down.
#[derive(Clone, Copy, Debug)]
pub struct Iec(pub Bytes);

impl fmt::Display for Iec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 .0;
        let text = match IEC.iter().find(|(_, unit)| bytes >= *unit) {
            None => format!("{bytes} B"),
            Some((name, unit)) if bytes % unit == 0 => format!("{} {name}", bytes / unit),
            Some((name, unit)) => {
                let tenths = u128::from(bytes) * 10 / u128::from(*unit);
                format!("{}.{} {name}", tenths / 10, tenths % 10)
            }
        };
        f.pad(&text)
    }
}

/// Serializes a size as its number of bytes.
pub fn bytes<S: Serializer>(size: &Bytes, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_u64(size.0)
}
