//! What is optimised, as pure functions on the CPU in f64.
//!
//! An objective is a recipe ([`crate::config::Recipe`]) of small pieces, one file each: rewards become
//! [`advantage`]s, [`masking`] hides part of every completion, a [`surrogate`] turns the log-probs of the hidden tokens
//! into likelihoods ([`terms`]; SPG's are made of [`bounds`]), a [`link`] turns these into losses, [`weights`] says what
//! each completion counts in its step, and [`loss`] puts them together. A method is a preset of pieces
//! (`config/file/algorithm`), and another method is another preset. [`sft`] is the objective of supervised fine-tuning
//! on demonstrations.
//!
//! No tensor and no model appears here. The model reads positions and writes log-probs, an objective reads
//! log-probs ([`ScoredTokens`]) and writes the loss and `d loss / d lp` ([`LpGradient`]), the model carries
//! that gradient on to the weights.
//!
//! # Normalisation
//! Every loss is divided by a total over the *whole* optimiser step, given by the caller, so that the
//! losses and gradients of any partition of the step add up to the same numbers.

pub mod advantage;
pub mod bounds;
pub mod link;
pub mod loss;
pub mod masking;
pub mod sft;
pub mod surrogate;
pub mod terms;
pub mod weights;

mod scored;
#[cfg(test)]
mod testing;

pub use scored::{LpGradient, ScoredToken, ScoredTokens};
