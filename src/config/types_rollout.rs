//! The choices of `[rollout]` that save work.

use serde::{Deserialize, Serialize};

use super::types::{Fraction, NonNegative, Positive, Remasking};

/// What later steps of a block take from its first one instead of encoding the whole canvas again: Fast-dLLM's prefix and
/// dual caches (arXiv 2505.22618), and the exact one of block-causal models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheKind {
    /// Nothing: every step encodes the canvas.
    #[default]
    None,
    /// Keys and values of everything before the block.
    Prefix,
    /// Keys and values of everything but the block.
    Dual,
    /// Keys and values of the blocks before it, of a block-causal model: exact.
    Blocks,
}

impl CacheKind {
    /// Whether the completions are those of decoding without it.
    pub fn is_exact(self) -> bool {
        matches!(self, Self::None | Self::Blocks)
    }

    /// The value as it is written in a file.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Prefix => "prefix",
            Self::Dual => "dual",
            Self::Blocks => "blocks",
        }
    }
}

/// The distribution that candidates are ranked by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// The model's own, as LLaDA's sampler.
    #[default]
    Model,
    /// The one that tokens are sampled from, with temperature, `top_p` and `top_k`, as Dream's sampler.
    Sampled,
}

/// How many candidates a step commits: by schedule, or by how sure they are (Fast-dLLM, arXiv 2505.22618; the entropy bound of
/// EB-Sampler, arXiv 2505.24857).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Commit {
    /// An even share, so that the steps are those of `diffusion_steps`.
    #[default]
    Schedule,
    /// Of the masks that are left the share that Dream's time line gives the step, rounded down; the rest at the last.
    Timeline,
    /// Every candidate of at least this probability, and the best one.
    Threshold(Fraction),
    /// The largest `n` of which the least probable candidate has at least `1 - factor / (n + 1)`, and the best one.
    Factor(Positive),
    /// As many as have entropies whose sum without the largest is at most this, in nats, and the best one.
    EntropyBound(NonNegative),
}

impl Commit {
    /// The value's name as it is written in a file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Timeline => "timeline",
            Self::Threshold(_) => "threshold",
            Self::Factor(_) => "factor",
            Self::EntropyBound(_) => "entropy_bound",
        }
    }

    /// Whether a block takes the steps that `diffusion_steps` gives it, whatever the model is sure of.
    pub fn is_planned(self) -> bool {
        matches!(self, Self::Schedule | Self::Timeline)
    }

    /// Whether candidates that are ranked by `remasking` can be committed so: threshold and factor are about the
    /// probabilities that candidates must be ranked by, and a random order leaves no best candidates.
    pub fn suits(self, remasking: Remasking) -> bool {
        match self {
            Self::Schedule | Self::Timeline => true,
            Self::Threshold(_) | Self::Factor(_) => remasking == Remasking::LowConfidence,
            Self::EntropyBound(_) => remasking != Remasking::Random,
        }
    }
}
