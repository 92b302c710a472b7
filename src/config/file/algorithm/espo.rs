//! `[algorithm.espo]`: ESPO (arXiv 2512.03759): one ratio a sequence, of its ELBO over the whole canvas.
//!
//! The policy that sampled is scored with the dropout of the update, as in [`super::d1`], whose page says why.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::count;
use crate::config::types::{NonNegative, Positive};
use crate::config::{AdvantageKind, Aggregation, KlKind, Link, Masks, Recipe, Surrogate};

/// `[algorithm.espo]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EspoTable {
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
    /// Masks per completion, M: random sets and their complements.
    pub num_t: NonZeroUsize,
}

impl Default for EspoTable {
    fn default() -> Self {
        Self {
            num_generations: count(6),
            num_iterations: count(8),
            advantage: AdvantageKind::Centered,
            epsilon: number!(0.2),
            epsilon_high: None,
            kl_beta: number!(1e-3),
            kl_estimator: KlKind::K2,
            num_t: count(2),
        }
    }
}

impl EspoTable {
    /// A clipped ratio a sequence and a quadratic penalty, averaged over completions.
    pub fn recipe(&self) -> Recipe {
        Recipe {
            surrogate: Surrogate::Sequence,
            masks: Masks::Pairs { num_t: self.num_t },
            link: Link::clipped(self.epsilon, self.epsilon_high, self.kl_estimator, self.kl_beta),
            advantage: self.advantage,
            aggregation: Aggregation::Completions,
            num_generations: self.num_generations,
            num_iterations: self.num_iterations,
        }
    }
}
