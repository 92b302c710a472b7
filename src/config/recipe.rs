//! An objective as a recipe: which pieces, with which numbers. Plain data; the pieces themselves are in
//! [`crate::objective`], each method's table and defaults in `file/algorithm`.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::types::{ForwardType, Fraction, NegativeEstimator, NonNegative, Positive, RenyiOrder, Scope};

/// What `spg train` does with the completions of a phase.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// From log-probabilities to the likelihoods that are raised or lowered.
    pub surrogate: Surrogate,
    /// What is hidden for that.
    pub masks: Masks,
    /// From likelihoods to a loss.
    pub link: Link,
    /// From rewards to advantages.
    pub advantage: AdvantageKind,
    /// How completions are weighed against each other.
    pub aggregation: Aggregation,
    /// Completions per prompt, g.
    pub num_generations: NonZeroUsize,
    /// Optimiser updates on the same completions, mu.
    pub num_iterations: NonZeroUsize,
}

impl Recipe {
    /// Whether the upper bound of bad completions says nothing that the lower one does not: of one mask both have the same
    /// gradient, whatever their order and mixture.
    pub fn has_one_bound(&self) -> bool {
        let is_bounded_above = matches!(
            self.surrogate,
            Surrogate::Sandwich { negative_estimator: NegativeEstimator::Mix | NegativeEstimator::Eubo, .. }
        );
        let has_one_mask = matches!(&self.masks, Masks::Forward(masks) if masks.num_t.get() == 1);
        is_bounded_above && has_one_mask
    }
}

/// A likelihood, made from the log-probabilities of the tokens that masks hide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Surrogate {
    /// One a token: the weighted sum over the masks that hide it.
    Tokens,
    /// One a completion: the weighted sum over masks and their tokens.
    Sequence,
    /// One a completion, per token: a lower bound for good ones, for bad ones what the estimator says.
    Sandwich {
        /// For negative advantages.
        negative_estimator: NegativeEstimator,
        /// Weight of the upper bound in the mixture, omega.
        mix_weight: Fraction,
        /// Order of the upper bound.
        beta: RenyiOrder,
    },
}

/// How completions are masked, and with what weights the masks enter the surrogate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Masks {
    /// The forward process of SPG; one that hides everything is the one-step estimate of d1. Weights are 1.
    Forward(ForwardMasks),
    /// A ratio that rises over the updates of a phase, evenly from a random one to 1 (UniGRPO). Weight 1.
    Rising,
    /// Everything, a random set and its complement: half of the first, half of the others over their ratio.
    Halves {
        /// Least ratio of the set.
        min_t: Fraction,
        /// Largest ratio of the set.
        max_t: Fraction,
    },
    /// Sets of a uniform size `l` of all `L` places with their complements (ESPO), weights `(L + 1) / l` and
    /// `(L + 1) / (L - l)`, averaged.
    Pairs {
        /// Sets and complements together, even.
        num_t: NonZeroUsize,
    },
    /// The nodes of a Gauss-Legendre rule on (0, 1) as ratios, weights over nodes (GDPO).
    Nodes {
        /// How many nodes: 2 or 3.
        num_t: NonZeroUsize,
    },
}

impl Masks {
    /// Whether a view of a completion has its past beside it.
    pub fn are_paired(&self) -> bool {
        matches!(self, Self::Forward(ForwardMasks { forward_type: ForwardType::EveryBlock, .. }))
    }
}

/// SPG's forward process (arXiv 2510.09541, "block-wise masking"); [`crate::objective::masking`] draws it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ForwardMasks {
    /// What is masked.
    pub forward_type: ForwardType,
    /// Masks per completion, M.
    pub num_t: NonZeroUsize,
    /// Least fraction that is masked.
    pub min_t: Fraction,
    /// Largest fraction that is masked.
    pub max_t: Fraction,
    /// Probability of masking a token that would stay clean before the chosen block.
    pub p_mask_prompt: Fraction,
    /// Which masked tokens are scored.
    pub scope: Scope,
}

impl ForwardMasks {
    /// Every token of the completion, and those of the prompt with a probability: the one-step estimate.
    pub(super) fn one_step(p_mask_prompt: Fraction) -> Self {
        Self {
            forward_type: ForwardType::All,
            num_t: NonZeroUsize::MIN,
            min_t: Fraction::ZERO,
            max_t: Fraction::ONE,
            p_mask_prompt,
            scope: Scope::AllMasked,
        }
    }
}

/// How a likelihood becomes a loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// The ratio to the policy that sampled, clipped; none: the likelihood itself.
    pub ratio: Option<Clip>,
    /// What is paid for leaving the reference policy.
    pub kl: Option<Kl>,
}

impl Link {
    /// `-A` times the likelihood.
    pub const LINEAR: Self = Self { ratio: None, kl: None };

    /// A clipped ratio, and the penalty unless its weight is 0. Groups that agree pay none: with nothing to learn from them, they
    /// are not run through the model.
    pub(super) fn clipped(low: Positive, high: Option<Positive>, kl: KlKind, weight: NonNegative) -> Self {
        let kl = (weight.get() > 0.0).then_some(Kl { kind: kl, weight: weight.get() });
        Self { ratio: Some(Clip { low: low.get(), high: high.unwrap_or(low).get() }), kl }
    }
}

/// A ratio counts as if within `[1 - low, 1 + high]` where leaving would pay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip {
    /// How far below 1.
    pub low: f64,
    /// How far above 1.
    pub high: f64,
}

/// A penalty on the distance to the reference policy: the base model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kl {
    /// How the distance is estimated.
    pub kind: KlKind,
    /// Its weight, above 0.
    pub weight: f64,
}

/// An estimate of the KL divergence from one log-probability (Schulman's names).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlKind {
    /// `(new - ref)^2 / 2`; of a sequence, divided by its tokens.
    K2,
    /// `exp(ref - new) - (ref - new) - 1`; of a sequence, with both divided by its tokens.
    K3,
}

/// How rewards of a group become advantages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdvantageKind {
    /// Reward minus the group's mean.
    Centered,
    /// That over the group's standard deviation.
    Normalized,
    /// Reward minus the mean of the others.
    LeaveOneOut,
}

/// How the losses of completions are put together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aggregation {
    /// By length: `sum_c len_c x_c / sum_c len_c`.
    Length,
    /// As [`Aggregation::Length`], each times a weight without gradient: the group size times the softmax over the group
    /// of `min(bound - bound_old, ln cap)` (StableDRL).
    StableLength {
        /// The largest likelihood ratio that counts.
        cap: f64,
    },
    /// Mean over all tokens up to the EOS.
    Tokens,
    /// Mean over a completion's terms, then over completions.
    Completions,
    /// `softmax(psi A) - softmax(-psi A)` over the group instead of the advantage; summed over the group, averaged over
    /// groups (WD1).
    GroupSoftmax {
        /// How sharp.
        psi: f64,
    },
}
