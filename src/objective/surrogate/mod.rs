//! From the log-probabilities of hidden tokens to the likelihoods that an objective works with.
//!
//! The current policy, the one that sampled and the reference go through the same function of the same masks.

mod sandwich;
mod sequence;
mod tokens;

use super::ScoredTokens;
use super::terms::Terms;
use crate::config::Surrogate;

/// The terms of a completion; its advantage chooses the bound, if there is a choice.
pub fn terms(surrogate: &Surrogate, scored: &ScoredTokens, advantage: f64) -> Terms {
    match *surrogate {
        Surrogate::Tokens => tokens::terms(scored),
        Surrogate::Sequence => sequence::terms(scored),
        Surrogate::Sandwich { negative_estimator, mix_weight, beta } => {
            sandwich::terms(scored, sandwich::upper_weight(negative_estimator, mix_weight.get(), advantage), beta.get())
        }
    }
}

/// Whether a completion's terms have a gradient at all.
pub fn moves(surrogate: &Surrogate, advantage: f64) -> bool {
    match *surrogate {
        Surrogate::Tokens | Surrogate::Sequence => advantage != 0.0,
        Surrogate::Sandwich { negative_estimator, mix_weight, .. } => {
            advantage != 0.0 && sandwich::upper_weight(negative_estimator, mix_weight.get(), advantage).is_some()
        }
    }
}
