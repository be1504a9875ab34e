// SPDX-License-Identifier: GPL-2.0

//! stor.ko: the front of Stor. See [`front`] for what it owns and [`abi::engine`] for what stands behind it.

// Nothing here is published; `pure`, which is, is checked by cargo.
#![allow(missing_docs)]

use kernel::prelude::*;

pub mod abi;
pub mod block;
pub mod front;
pub mod pure;

module! {
    type: Stor,
    name: "stor",
    authors: ["The Stor authors"],
    description: "Stor: block volumes with replaceable engines",
    license: "GPL",
}

struct Stor {
    _front: front::edge::Published,
}

impl kernel::Module for Stor {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self { _front: front::edge::publish()? })
    }
}
