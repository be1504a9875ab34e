// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Names: how a user names a volume of a pool, and what the kernel is told.
//!
//! A user writes `POOL/VOLUME`, or `VOLUME` where only one pool has it. The kernel has one namespace for all volumes, and no
//! slash in it: there a volume is `POOL-VOLUME`, with each hyphen in either name doubled, as device-mapper names of
//! LVM are, so that no two volumes come to the same. What is too long for the kernel has its UUID for a name there.

use crate::{Error, Kind, Result, Uuid};
use nix::errno::Errno;
use stor_pure::abi::uapi::STOR_NAME_LEN;
use stor_pure::pure::text;

/// What the kernel calls a volume of a pool.
pub(crate) fn kernel(pool: &str, volume: &str, uuid: Uuid) -> String {
    let name = format!("{}-{}", pool.replace('-', "--"), volume.replace('-', "--"));
    if name.len() < STOR_NAME_LEN as usize {
        name
    } else {
        uuid.to_string()
    }
}

/// What a user calls a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// A node, or a link to one.
    Path(String),
    /// A volume of a pool.
    Of(String, String),
    /// A name or a UUID.
    Plain(String),
}

impl Name {
    /// Reads it. What begins with a slash or a dot is a path; another slash is between pool and volume.
    pub(crate) fn parse(text: &str) -> Self {
        match text.split_once('/') {
            Some(_) if text.starts_with(['/', '.']) => Self::Path(text.into()),
            Some((pool, volume)) => Self::Of(pool.into(), volume.into()),
            None => Self::Plain(text.into()),
        }
    }
}

/// Whether a pool, a volume or a snapshot may have this name.
///
/// # Errors
///
/// Why it may not.
pub(crate) fn check(name: &str) -> Result<()> {
    text::check(name.as_bytes(), STOR_NAME_LEN as usize).map_err(|why| {
        Error::new(Kind::Usage, format!("the name '{name}' {why}"))
            .help(format!("use 1 to {} letters, digits and . _ + -, a letter or digit first", STOR_NAME_LEN - 1))
            .errno(Errno::EINVAL)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_volumes_have_one_name_in_the_kernel() {
        let names = ["a", "b", "a-b", "a--b", "b-a", "a-", "b--", "a-b-a"];
        let mut seen = std::collections::BTreeMap::new();
        for pool in names {
            for volume in names {
                let name = kernel(pool, volume, Uuid::from_u128(1));
                assert_eq!(seen.insert(name.clone(), (pool, volume)), None, "{name}");
            }
        }
        assert_eq!(kernel("tank", "data", Uuid::nil()), "tank-data");
        let long = "x".repeat(40);
        assert_eq!(kernel(&long, &long, Uuid::from_u128(7)), "00000000-0000-0000-0000-000000000007");
    }

    #[test]
    fn a_path_is_no_volume_of_a_pool() {
        assert_eq!(Name::parse("/dev/stor0"), Name::Path("/dev/stor0".into()));
        assert_eq!(Name::parse("./x"), Name::Path("./x".into()));
        assert_eq!(Name::parse("tank/data"), Name::Of("tank".into(), "data".into()));
        assert_eq!(Name::parse("data"), Name::Plain("data".into()));
    }
}
