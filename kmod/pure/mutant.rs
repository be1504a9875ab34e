// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The rule that a test has broken, of those that a format's `mutant.rs` lists. Without the feature `mutants` there is none, and
//! nothing is left of the question.

#[cfg(feature = "mutants")]
use core::sync::atomic::{AtomicU8, Ordering};

/// A rule by its number, from 1 on, or none.
pub struct Broken(#[cfg(feature = "mutants")] AtomicU8);

#[cfg(feature = "mutants")]
impl Broken {
    /// No rule is broken.
    pub const fn none() -> Self {
        Self(AtomicU8::new(0))
    }

    /// Breaks a rule from now on, or none.
    pub fn set(&self, rule: Option<u8>) {
        self.0.store(rule.unwrap_or(0), Ordering::Relaxed);
    }

    /// Whether it is this one.
    pub fn is(&self, rule: u8) -> bool {
        self.0.load(Ordering::Relaxed) == rule
    }
}

#[cfg(not(feature = "mutants"))]
impl Broken {
    /// No rule is broken.
    pub const fn none() -> Self {
        Self()
    }

    /// Never.
    #[inline]
    pub const fn is(&self, _: u8) -> bool {
        false
    }
}
