//! What is optimised, as pure functions on the CPU in f64.
//!
//! Sandwiched Policy Gradient (arXiv 2510.09541) in four steps, one file each: rewards become
//! [`advantage`]s, [`masking`] hides part of every completion, the [`bounds`] turn the log-probs of the
//! hidden tokens into lower and upper estimates of the completion's likelihood, and [`spg`] weighs them
//! into a loss. [`sft`] is the objective of supervised fine-tuning on demonstrations.
//!
//! No tensor and no model appears here. The model reads positions and writes log-probs, an objective reads
//! log-probs ([`ScoredTokens`]) and writes the loss and `d loss / d lp` ([`LpGradient`]), the model carries
//! that gradient on to the weights. Another objective is another file that reads and writes the same two types.
//!
//! # Normalisation
//! Every loss is divided by a total over the *whole* optimiser step, given by the caller, so that the
//! losses and gradients of any partition of the step add up to the same numbers.

pub mod advantage;
pub mod bounds;
pub mod masking;
pub mod sft;
pub mod spg;

mod scored;
#[cfg(test)]
mod testing;

pub use scored::{LpGradient, ScoredToken, ScoredTokens};
