//! `[algorithm.wd1]`: weighted log-likelihood (arXiv 2507.08838): no ratio; good completions are raised and bad ones lowered
//! by softmax weights over their group.
//!
//! The sum over a group is averaged over the groups of a step, so that more prompts do not mean larger steps.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::count;
use crate::config::types::{Fraction, Positive};
use crate::config::{AdvantageKind, Aggregation, ForwardMasks, Link, Masks, Recipe, Surrogate};

/// `[algorithm.wd1]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wd1Table {
    /// Completions per prompt, g.
    pub num_generations: NonZeroUsize,
    /// Optimiser updates on the same completions, mu.
    pub num_iterations: NonZeroUsize,
    /// From rewards to advantages.
    pub advantage: AdvantageKind,
    /// Sharpness of the softmax over the group.
    pub psi: Positive,
    /// Probability of masking a token of the prompt.
    pub p_mask_prompt: Fraction,
}

impl Default for Wd1Table {
    fn default() -> Self {
        Self {
            num_generations: count(6),
            num_iterations: count(8),
            advantage: AdvantageKind::Centered,
            psi: number!(1.0),
            p_mask_prompt: number!(0.15),
        }
    }
}

impl Wd1Table {
    /// Sums of log-probabilities under one full mask, weighed over the group.
    pub fn recipe(&self) -> Recipe {
        Recipe {
            surrogate: Surrogate::Sequence,
            masks: Masks::Forward(ForwardMasks::one_step(self.p_mask_prompt)),
            link: Link::LINEAR,
            advantage: self.advantage,
            aggregation: Aggregation::GroupSoftmax { psi: self.psi.get() },
            num_generations: self.num_generations,
            num_iterations: self.num_iterations,
        }
    }
}
