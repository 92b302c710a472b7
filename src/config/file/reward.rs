//! `[task.<name>.rewards]` and `[task.custom.reward_command]`: what a completion earns in training.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::config::types::*;

/// `[task.<name>.rewards]`: weights of built-in reward functions.
pub type RewardWeights = BTreeMap<RewardFunction, Weight>;

/// The weights of the file over those of the task, so that one of them can be changed alone.
pub(super) fn weights_over<'de, D: Deserializer<'de>>(
    deserializer: D,
    mut defaults: RewardWeights,
) -> Result<RewardWeights, D::Error> {
    defaults.extend(RewardWeights::deserialize(deserializer)?);
    Ok(defaults)
}

/// These functions, each with weight 1.
pub(super) fn sum_of<const N: usize>(functions: [RewardFunction; N]) -> RewardWeights {
    functions.into_iter().map(|function| (function, number!(1.0))).collect()
}

/// `[task.custom.reward_command]`: a program that rewards completions, one JSON object a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardCommandTable {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Longest time for one answer.
    #[serde(default = "default_time_limit")]
    pub time_limit_seconds: Positive,
    /// Weight of its reward beside those of built-in functions.
    #[serde(default = "default_weight")]
    pub weight: Weight,
}

fn default_time_limit() -> Positive {
    number!(10.0)
}

fn default_weight() -> Weight {
    number!(1.0)
}
