// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A replica: a volume that is on several legs, each with md's metadata and all of the data.
//!
//! One notion carries all of it: a leg is **entitled**, or it is not. Entitled legs have everything that was acknowledged, and are
//! equal but for writes under way. Which they are is written down durably, in a [`record`] on the members, before anything is
//! acknowledged that another leg lacks. A leg that is there and not entitled gets all new writes and is rebuilt where the
//! write-intent bitmap says, whatever it missed and for whatever reason; then it is entitled. After a crash entitled legs
//! may differ where bits are set, so one of them stays entitled and the others are rebuilt from it.
//!
//! Nothing here does I/O. What decides at a start:
//! - [`record`], [`lineage`], [`quorum`]: what was written down, what is history of what, how many must agree
//! - [`assemble`]: from the facts of the legs that are there to a plan, or to a reason why nobody can know; [`foreign`]: the same
//!   where md has run the array
//! - [`change`]: members that come and go
//! - [`join`]: a leg whose metadata are on a device of their own
//!
//! and what decides while it runs:
//! - [`acknowledge`]: whether a write or a flush may be acknowledged; [`chunk`]: one word for each chunk, for the I/O path
//! - [`intent`]: the bitmap in memory, and which of its pages are to be written
//! - [`keeper`]: everything that is written besides data, one step after the other
//! - [`range`]: which writes have to wait for each other
//! - [`rebuild`]: what is to be copied to legs that are not entitled
//! - [`speed`]: which legs are slow, or silent; [`pace`]: how much of them a rebuild takes

pub mod acknowledge;
pub mod assemble;
pub mod change;
pub mod chunk;
pub mod foreign;
pub mod intent;
pub mod join;
pub mod keeper;
pub mod lineage;
pub mod mutant;
pub mod pace;
pub mod quorum;
pub mod range;
pub mod rebuild;
pub mod record;
pub mod refusal;
pub mod set;
pub mod speed;
