// SPDX-License-Identifier: GPL-2.0

//! The engine, `stor_engine_<version>.ko`: the targets. See [`crate::abi::engine`] for what it owes the front.
//!
//! - [`target`]: the trait of a target and the table of them; a new one is a folder and a line there
//! - [`memory`]: how much of it pools may use; [`budget`]: what rebuilds may take together
//! - [`edge`]: the C side of the trait, and registration; the only `unsafe` here

pub mod budget;
pub mod edge;
#[cfg(stor_test)]
pub mod fault;
pub mod memory;
pub mod target;
