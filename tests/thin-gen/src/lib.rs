// SPDX-License-Identifier: GPL-2.0

//! Makes dm-thin metadata for tests and benches ([`generate`]), and damages it ([`damage`]). Everything follows from a seed.
#![allow(clippy::indexing_slicing)]

pub mod damage;
pub mod generate;
pub mod image;
pub mod rng;

/// What can go wrong here: files, and metadata that is not as it was made.
pub type Fault = Box<dyn std::error::Error>;
