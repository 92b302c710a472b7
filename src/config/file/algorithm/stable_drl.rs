//! `[algorithm.stable_drl]`: StableDRL: SPG whose completions weigh less the more they moved away from the policy that
//! sampled them, self-normalised over the group. That policy is scored with the dropout of the update, as in [`super::d1`],
//! whose page says why.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::count;
use crate::config::types::*;
use crate::config::{AdvantageKind, Aggregation, ForwardMasks, Link, Masks, Recipe, Surrogate};

/// `[algorithm.stable_drl]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StableDrlTable {
    /// Completions per prompt, g.
    pub num_generations: NonZeroUsize,
    /// Optimiser updates on the same completions, mu.
    pub num_iterations: NonZeroUsize,
    /// Surrogate for negative advantages.
    pub negative_estimator: NegativeEstimator,
    /// Weight of the upper bound in the mixture, omega.
    pub mix_weight: Fraction,
    /// Order of the Rényi bound.
    pub beta: RenyiOrder,
    /// Masking.
    pub forward_type: ForwardType,
    /// Monte-Carlo masks per completion, M.
    pub num_t: NonZeroUsize,
    /// Least fraction of a block (or completion) that is masked.
    pub min_t: Fraction,
    /// Largest fraction of a block (or completion) that is masked.
    pub max_t: Fraction,
    /// Probability of masking a token that would stay clean before the chosen block.
    pub p_mask_prompt: Fraction,
    /// Which masked tokens are scored.
    pub scope: Scope,
    /// The largest likelihood ratio to the old policy that counts in a completion's weight.
    pub weight_cap: Positive,
}

impl Default for StableDrlTable {
    fn default() -> Self {
        Self {
            num_generations: count(6),
            num_iterations: count(4),
            negative_estimator: NegativeEstimator::Mix,
            mix_weight: number!(0.5),
            beta: number!(1.5),
            forward_type: ForwardType::BlockRandom,
            num_t: count(2),
            min_t: number!(0.0),
            max_t: number!(1.0),
            p_mask_prompt: number!(0.15),
            scope: Scope::AllMasked,
            weight_cap: number!(5.0),
        }
    }
}

impl StableDrlTable {
    /// SPG's bounds, masks and loss, times weights over the group.
    pub fn recipe(&self) -> Recipe {
        Recipe {
            surrogate: Surrogate::Sandwich {
                negative_estimator: self.negative_estimator,
                mix_weight: self.mix_weight,
                beta: self.beta,
            },
            masks: Masks::Forward(ForwardMasks {
                forward_type: self.forward_type,
                num_t: self.num_t,
                min_t: self.min_t,
                max_t: self.max_t,
                p_mask_prompt: self.p_mask_prompt,
                scope: self.scope,
            }),
            link: Link::LINEAR,
            advantage: AdvantageKind::Centered,
            aggregation: Aggregation::StableLength { cap: self.weight_cap.get() },
            num_generations: self.num_generations,
            num_iterations: self.num_iterations,
        }
    }
}
