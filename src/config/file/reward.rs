//! `[task.<name>.rewards]` and `[task.custom.reward_command]`: what a completion earns in training.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::config::types::*;

/// The largest reward of a completion, above or below zero: its square, summed over a run, and the gradients that it
/// scales are numbers in f32.
pub const LARGEST_REWARD: f64 = 1e9;

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
    /// Variables of the environment that it gets beside the few that every program gets.
    #[serde(default)]
    pub env: Vec<VariableName>,
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

/// The name of a variable of the environment, or the beginning of several names and a `*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VariableName(String);

impl VariableName {
    /// The name as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a name, or the names that begin as a pattern with a `*` says, include this one.
    pub fn covers(pattern: &str, name: &str) -> bool {
        // Windows does not tell cases apart.
        let same = |a: &str, b: &str| if cfg!(windows) { a.eq_ignore_ascii_case(b) } else { a == b };
        match pattern.strip_suffix('*') {
            Some(beginning) => name.get(..beginning.len()).is_some_and(|start| same(start, beginning)),
            None => same(pattern, name),
        }
    }
}

impl TryFrom<String> for VariableName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let plain = name.strip_suffix('*').unwrap_or(&name);
        if name.is_empty() || plain.contains(['=', '*', '\0']) || plain.contains(char::is_whitespace) {
            return Err(format!(
                "{name:?} is not the name of a variable: expected one such as \"HF_HOME\", or the beginning of several \
                 with a * at its end, such as \"OPENAI_*\" (values are not written here)"
            ));
        }
        Ok(Self(name))
    }
}

impl From<VariableName> for String {
    fn from(name: VariableName) -> Self {
        name.0
    }
}
