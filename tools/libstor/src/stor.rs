// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The connection to a system: opened, versions agreed.

use crate::control::Front;
use crate::{Error, Kind, Result, System};
use nix::errno::Errno;
use serde::Serialize;
use stor_pure::abi::uapi::STOR_ABI_VERSION;

/// Stor on a system. Its operations are in [`crate::volume`], [`crate::engine`] and [`crate::event`].
pub struct Stor {
    pub(crate) system: Box<dyn System>,
    pub(crate) dry_run: bool,
    pub(crate) fallback: bool,
}

/// The versions on both sides of the control ABI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Version {
    /// Of this library and `storctl`.
    pub storctl: &'static str,
    /// The control ABI it speaks.
    pub abi: u32,
    /// The module's, if it is loaded.
    pub module: Option<Module>,
}

/// The versions of the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Module {
    /// Of `stor.ko`.
    pub version: String,
    /// The lowest control ABI it speaks.
    pub abi_min: u32,
    /// The highest.
    pub abi_max: u32,
    /// The ABI it speaks with engines.
    pub engine_abi: u32,
}

impl Stor {
    /// Connects to a system, if both sides speak a common control ABI.
    pub fn connect(system: Box<dyn System>) -> Result<Self> {
        agree(&ask(system.as_ref())?)?;
        Ok(Self { system, dry_run: false, fallback: false })
    }

    /// From now on check everything that can be checked and say what would be done, but change nothing.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// From now on replicas are assembled by the kernel's own md.
    pub fn fallback(mut self, fallback: bool) -> Self {
        self.fallback = fallback;
        self
    }
}

impl Version {
    /// Both sides' versions, whether they agree or not.
    pub fn of(system: &dyn System) -> Result<Self> {
        let Front { abi_min, abi_max, engine_abi, version } = ask(system)?;
        Ok(Self { module: Some(Module { version, abi_min, abi_max, engine_abi }), ..Self::default() })
    }
}

impl Default for Version {
    fn default() -> Self {
        Self { storctl: env!("CARGO_PKG_VERSION"), abi: STOR_ABI_VERSION, module: None }
    }
}

fn ask(system: &dyn System) -> Result<Front> {
    system.version().map_err(|errno| match errno {
        // The one call that every module answers: what does not is no relative of ours.
        Errno::ENOTTY | Errno::EINVAL | Errno::EPROTONOSUPPORT => {
            Error::new(Kind::Abi, "the loaded stor module does not tell its version as this storctl asks for it")
                .help("install modules and storctl of the same release")
                .errno(errno)
        }
        errno => errno.into(),
    })
}

fn agree(front: &Front) -> Result<()> {
    let Front { abi_min, abi_max, version, .. } = front;
    let (older, update) = match STOR_ABI_VERSION {
        ours if ours > *abi_max => ("older", "update the modules"),
        ours if ours < *abi_min => ("newer", "update storctl"),
        _ => return Ok(()),
    };
    let speaks = if abi_min == abi_max { format!("{abi_min}") } else { format!("{abi_min} to {abi_max}") };
    let cause = format!(
        "the loaded stor module {version} is {older} than this storctl: it speaks control ABI {speaks}, storctl \
         {STOR_ABI_VERSION}"
    );
    Err(Error::new(Kind::Abi, cause).help(update))
}
