//! What graders share: finding and comparing answers. Pure functions that take any text, in time linear in its
//! length.
//!
//! They follow the published evaluation of d1 and SPG, whose rules are regular expressions and Python's own parsers.
//! [`exact`] and [`declared`] are for a second, stricter verdict beside theirs.
//! One thing is narrower on purpose: digits are ASCII digits here, where Python's `\d` knows those of all scripts.

pub mod arithmetic;
pub mod boxed;
pub(crate) mod clean;
pub mod declared;
pub mod exact;
pub mod latex;
pub mod number;

#[cfg(test)]
mod tests;
