//! `[rollout]`: how completions are decoded.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::count;
use crate::config::types::*;
use crate::config::types_rollout::*;

/// `[rollout]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutTable {
    /// Length of the completion canvas in tokens.
    pub max_completion_length: NonZeroUsize,
    /// Tokens in a block; divides the canvas.
    pub block_length: NonZeroUsize,
    /// Denoising steps for the whole canvas; a multiple of the number of blocks.
    pub diffusion_steps: NonZeroUsize,
    /// Sampling temperature; 0 is greedy.
    #[serde(default = "default_temperature")]
    pub temperature: NonNegative,
    /// Sample from the smallest set of tokens that has this probability; 1: from all.
    #[serde(default = "default_top_p")]
    pub top_p: Fraction,
    /// Sample from so many of the most likely tokens at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<NonZeroUsize>,
    /// Which candidates are committed.
    #[serde(default)]
    pub remasking: Remasking,
    /// The distribution that candidates are ranked by.
    #[serde(default)]
    pub confidence: Confidence,
    /// Above 0, the order of candidates is drawn: the surer ones are likelier to come first.
    #[serde(default = "default_ranking_temperature")]
    pub ranking_temperature: NonNegative,
    /// Classifier-free guidance; 0 is off.
    #[serde(default = "default_cfg_scale")]
    pub cfg_scale: NonNegative,
    /// Longest prompt in tokens.
    #[serde(default = "default_max_prompt_length")]
    pub max_prompt_length: NonZeroUsize,
    /// Keep the last tokens of a longer prompt instead of skipping it.
    #[serde(default)]
    pub truncate_prompts: bool,
    /// Completions decoded together.
    #[serde(default = "default_rollout_batch")]
    pub batch_size: NonZeroUsize,
    /// Add the adapters to a copy of the weights before decoding: faster, for the memory of that copy. Needs f32.
    #[serde(default)]
    pub merge_adapters: bool,
    /// What later steps of a block reuse of its first one; an approximation.
    #[serde(default)]
    pub cache: CacheKind,
    /// Steps of a block between two passes over the whole canvas; 0: one such pass a block.
    #[serde(default)]
    pub cache_refresh_steps: usize,
    /// How many candidates a step commits.
    #[serde(default)]
    pub commit: Commit,
    /// Stop decoding a completion after the block in which it ends.
    #[serde(default)]
    pub early_stop: bool,
    /// Completions of a phase that are compared with the exact decoding, if they are decoded another way.
    #[serde(default = "default_drift_check")]
    pub drift_check: usize,
    /// The least agreement with which such a phase is kept; else it is decoded exactly.
    #[serde(default = "default_min_agreement")]
    pub min_agreement: Fraction,
}

fn default_temperature() -> NonNegative {
    number!(0.9)
}

fn default_top_p() -> Fraction {
    number!(1.0)
}

fn default_ranking_temperature() -> NonNegative {
    number!(0.0)
}

fn default_cfg_scale() -> NonNegative {
    number!(0.0)
}

fn default_max_prompt_length() -> NonZeroUsize {
    count(200)
}

fn default_rollout_batch() -> NonZeroUsize {
    count(48)
}

fn default_drift_check() -> usize {
    4
}

fn default_min_agreement() -> Fraction {
    number!(0.9)
}
