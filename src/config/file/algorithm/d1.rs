//! `[algorithm.d1]`: diffu-GRPO (arXiv 2504.12216): GRPO on the tokens' log-probabilities of one forward pass with the
//! whole completion masked.
//!
//! As for every method with a ratio, the policy that sampled is scored under the masks and the dropout of the update that it
//! is compared in, so that a ratio tells what the updates changed; the published program drops out anew in every pass, and
//! its ratios differ from 1 before anything was learnt.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::count;
use crate::config::types::{Fraction, NonNegative, Positive};
use crate::config::{AdvantageKind, Aggregation, ForwardMasks, KlKind, Link, Masks, Recipe, Surrogate};

/// `[algorithm.d1]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct D1Table {
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
    /// Probability of masking a token of the prompt.
    pub p_mask_prompt: Fraction,
}

impl Default for D1Table {
    fn default() -> Self {
        Self {
            num_generations: count(6),
            num_iterations: count(12),
            advantage: AdvantageKind::Centered,
            epsilon: number!(0.5),
            epsilon_high: None,
            kl_beta: number!(0.04),
            kl_estimator: KlKind::K3,
            p_mask_prompt: number!(0.15),
        }
    }
}

impl D1Table {
    /// A clipped ratio a token and a penalty, averaged over all tokens.
    pub fn recipe(&self) -> Recipe {
        Recipe {
            surrogate: Surrogate::Tokens,
            masks: Masks::Forward(ForwardMasks::one_step(self.p_mask_prompt)),
            link: Link::clipped(self.epsilon, self.epsilon_high, self.kl_estimator, self.kl_beta),
            advantage: self.advantage,
            aggregation: Aggregation::Tokens,
            num_generations: self.num_generations,
            num_iterations: self.num_iterations,
        }
    }
}
