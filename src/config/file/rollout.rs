//! `[rollout]`: how completions are decoded.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::count;
use crate::config::types::*;

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
    /// Which candidates are committed.
    #[serde(default)]
    pub remasking: Remasking,
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
}

fn default_temperature() -> NonNegative {
    number!(0.9)
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
