//! `[algorithm.coupled_grpo]`: coupled GRPO (DiffuCoder, arXiv 2506.20639): every token is scored with everything masked, and
//! under a random set or its complement.
//!
//! The policy that sampled is scored with the dropout of the update, as in [`super::d1`], whose page says why.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::count;
use crate::config::types::{Fraction, NonNegative, Positive};
use crate::config::{AdvantageKind, Aggregation, KlKind, Link, Masks, Recipe, Surrogate};

/// `[algorithm.coupled_grpo]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CoupledGrpoTable {
    /// Completions per prompt, g.
    pub num_generations: NonZeroUsize,
    /// Optimiser updates on the same completions, mu.
    pub num_iterations: NonZeroUsize,
    /// From rewards to advantages.
    pub advantage: AdvantageKind,
    /// How far a ratio may fall below 1 before it is clipped, and rise above if nothing else is said.
    pub epsilon: Positive,
    /// How far a ratio may rise above 1 before it is clipped.
    pub epsilon_high: Option<Positive>,
    /// Weight of the penalty for leaving the reference; 0 turns it off.
    pub kl_beta: NonNegative,
    /// How the distance to the reference is estimated.
    pub kl_estimator: KlKind,
    /// Least ratio of the random set.
    pub min_t: Fraction,
    /// Largest ratio of the random set.
    pub max_t: Fraction,
}

impl Default for CoupledGrpoTable {
    fn default() -> Self {
        Self {
            num_generations: count(10),
            num_iterations: count(2),
            advantage: AdvantageKind::LeaveOneOut,
            epsilon: number!(0.5),
            epsilon_high: None,
            kl_beta: number!(0.01),
            kl_estimator: KlKind::K3,
            min_t: number!(0.2),
            max_t: number!(0.8),
        }
    }
}

impl CoupledGrpoTable {
    /// A clipped ratio a token and a penalty, averaged over all tokens.
    pub fn recipe(&self) -> Recipe {
        Recipe {
            surrogate: Surrogate::Tokens,
            masks: Masks::Halves { min_t: self.min_t, max_t: self.max_t },
            link: Link::clipped(self.epsilon, self.epsilon_high, self.kl_estimator, self.kl_beta),
            advantage: self.advantage,
            aggregation: Aggregation::Tokens,
            num_generations: self.num_generations,
            num_iterations: self.num_iterations,
        }
    }
}
