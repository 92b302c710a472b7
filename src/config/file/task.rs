//! `[task.<name>]`: data, prompts, rewards and demonstrations.

use serde::{Deserialize, Deserializer, Serialize};

use super::data::{DataTable, SourceTable};
use super::reward::{RewardCommandTable, RewardWeights, sum_of, weights_over};
use super::{CountdownTable, SudokuTable};
use crate::config::types::*;

/// `[task.<name>]`: exactly one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskTable {
    /// Word problems whose answer is a number.
    Gsm8k(Gsm8kTable),
    /// Competition problems whose answer is a LaTeX text.
    Math(MathTable),
    /// Reach a target with some numbers.
    Countdown(CountdownTable),
    /// 4x4 Sudoku.
    Sudoku(SudokuTable),
    /// Whatever the configuration says.
    Custom(CustomTable),
}

impl TaskTable {
    /// The seed that the records were made or split with.
    pub fn data_seed(&self) -> u64 {
        match self {
            Self::Gsm8k(table) => table.data.data_seed,
            Self::Math(table) => table.data.data_seed,
            Self::Custom(table) => table.data.data_seed,
            Self::Countdown(table) => table.generate.as_ref().map_or(table.data.data_seed, |made| made.data_seed),
            Self::Sudoku(table) => table.data.as_ref().map_or(table.data_seed, |data| data.data_seed),
        }
    }
}

/// `[task.gsm8k]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gsm8kTable {
    /// Where the records come from: `question`, and `answer` with `#### N` at its end.
    #[serde(deserialize_with = "gsm8k_data")]
    pub data: DataTable,
    /// Weights of the reward functions.
    #[serde(deserialize_with = "gsm8k_rewards")]
    pub rewards: RewardWeights,
    /// Jinja template of the prompt with the fields of a record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_template: Option<String>,
    /// Jinja template of a demonstration with the fields of a record, `reasoning` and `final_answer`, for `spg sft`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demonstration_template: Option<String>,
}

impl Default for Gsm8kTable {
    fn default() -> Self {
        use RewardFunction::*;
        Self {
            data: DataTable {
                train: Some(SourceTable::hub("openai/gsm8k", "main", "train")),
                test: Some(SourceTable::hub("openai/gsm8k", "main", "test")),
                validation_size: Some(256),
                ..DataTable::default()
            },
            rewards: sum_of([Xmlcount, SoftFormat, StrictFormat, Int, Correctness]),
            prompt_template: None,
            demonstration_template: None,
        }
    }
}

fn gsm8k_data<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DataTable, D::Error> {
    DataTable::over(deserializer, Gsm8kTable::default().data)
}

fn gsm8k_rewards<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RewardWeights, D::Error> {
    weights_over(deserializer, Gsm8kTable::default().rewards)
}

/// `[task.math]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MathTable {
    /// Where the records come from: `problem`, `solution` with the answer in its last box, and `answer` if there is one.
    #[serde(deserialize_with = "math_data")]
    pub data: DataTable,
    /// Weights of the reward functions.
    #[serde(deserialize_with = "math_rewards")]
    pub rewards: RewardWeights,
    /// Jinja template of the prompt with the fields of a record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_template: Option<String>,
    /// Jinja template of a demonstration with the fields of a record and `final_answer`, for `spg sft`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demonstration_template: Option<String>,
}

impl Default for MathTable {
    fn default() -> Self {
        Self {
            data: DataTable {
                train: Some(SourceTable::hub("ankner/math-500", "default", "train")),
                test: Some(SourceTable::hub("HuggingFaceH4/MATH-500", "default", "test")),
                validation_size: Some(256),
                ..DataTable::default()
            },
            rewards: sum_of([RewardFunction::MathCorrectness, RewardFunction::MathFormat]),
            prompt_template: None,
            demonstration_template: None,
        }
    }
}

fn math_data<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DataTable, D::Error> {
    DataTable::over(deserializer, MathTable::default().data)
}

fn math_rewards<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RewardWeights, D::Error> {
    weights_over(deserializer, MathTable::default().rewards)
}

/// `[task.custom]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomTable {
    /// Where the records come from.
    pub data: DataTable,
    /// Jinja template of the prompt with the fields of a record and `examples` (a list of training records).
    pub prompt_template: String,
    /// Training records shown as examples, if the template shows them.
    #[serde(default)]
    pub few_shot: usize,
    /// Jinja template of a demonstration with the fields of a record, for `spg sft`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demonstration_template: Option<String>,
    /// Weights of built-in reward functions.
    #[serde(default)]
    pub rewards: RewardWeights,
    /// A program that rewards completions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward_command: Option<RewardCommandTable>,
    /// The benchmark by whose rules evaluation decides what is right; without it, the training reward decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grader: Option<Benchmark>,
    /// Least training reward of a completion that counts as right, where there is no `grader`.
    #[serde(default = "default_solved_reward")]
    pub solved_reward: RewardValue,
}

fn default_solved_reward() -> RewardValue {
    number!(1.0)
}
