// SPDX-License-Identifier: GPL-2.0

//! Targets: what a volume can be. [`linear`] is the one to copy for a new one.

pub mod linear;

use super::edge::{table_of, Prepare};
use crate::abi::engine::{LowerInfo, MapRequest, Piece};
use crate::block::status::Status;
use kernel::prelude::*;

/// What an object is to be made of.
pub struct Config<'a> {
    /// Size of the volume in bytes.
    pub size: u64,
    /// The devices below it.
    pub lowers: &'a [LowerInfo],
    /// The target's configuration, as it came from user space.
    pub bytes: &'a [u8],
}

/// A kind of volume. One value drives one volume.
///
/// The order of calls is `prepare`, then `load`, then `map` and `end` as often as there is I/O, then `close`, after
/// which it may be loaded again or dropped. `load` and `close` run with the volume's I/O held, and must not
/// allocate memory in a way that waits for I/O.
pub trait Target: Sized + Send + Sync + 'static {
    /// Its name in the control ABI.
    const NAME: &'static str;

    /// Makes an object; checks everything that user space can get wrong.
    fn prepare(config: &Config<'_>) -> Result<KBox<Self>>;

    /// Reads its state from the devices.
    fn load(&self) -> Result {
        Ok(())
    }

    /// Writes its state to the devices.
    fn close(&self) -> Result {
        Ok(())
    }

    /// Where the beginning of a range lies. Must not sleep.
    fn map(&self, request: &MapRequest) -> Result<Piece, Status>;
}

/// The targets, by name.
pub static TARGETS: &[(&str, Prepare)] = &[table_of::<linear::Linear>()];
