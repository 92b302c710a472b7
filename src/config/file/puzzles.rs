//! `[task.countdown]` and `[task.sudoku]`: puzzles that the program can make itself.

use std::num::NonZeroUsize;

use serde::{Deserialize, Deserializer, Serialize};

use super::count;
use super::data::{DataTable, SourceTable};
use super::reward::{RewardWeights, sum_of, weights_over};
use crate::config::types::*;

/// `[task.countdown]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CountdownTable {
    /// Where the records come from: `numbers` (a list) and `target`. Not used with `generate`.
    #[serde(deserialize_with = "countdown_data")]
    pub data: DataTable,
    /// Make the problems from a seed instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generate: Option<CountdownGenerateTable>,
    /// Numbers of a problem; records of the data with more or fewer are left out.
    pub num_numbers: NonZeroUsize,
    /// Weights of the reward functions.
    #[serde(deserialize_with = "countdown_rewards")]
    pub rewards: RewardWeights,
    /// Jinja template of the prompt with `numbers` and `target`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_template: Option<String>,
    /// Jinja template of a demonstration with `numbers`, `target` and `expression`, for `spg sft`.
    pub demonstration_template: String,
    /// Probability that the expression of a demonstration reaches the target; else it is a random one.
    pub demonstration_solve: Fraction,
}

impl Default for CountdownTable {
    fn default() -> Self {
        let columns = [("numbers".to_owned(), "nums".to_owned())].into();
        let hub = SourceTable::hub("Jiayi-Pan/Countdown-Tasks-3to4", "default", "train");
        Self {
            data: DataTable {
                train: Some(SourceTable { columns, ..hub }),
                validation_size: Some(256),
                test_size: Some(500),
                ..DataTable::default()
            },
            generate: None,
            num_numbers: count(3),
            rewards: sum_of([RewardFunction::Countdown]),
            prompt_template: None,
            demonstration_template: "<answer>{{ expression }}</answer>".into(),
            demonstration_solve: number!(1.0),
        }
    }
}

fn countdown_data<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DataTable, D::Error> {
    DataTable::over(deserializer, CountdownTable::default().data)
}

fn countdown_rewards<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RewardWeights, D::Error> {
    weights_over(deserializer, CountdownTable::default().rewards)
}

/// `[task.countdown.generate]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CountdownGenerateTable {
    /// Seed of the problems (kept apart from the run's seed so that runs with different seeds see the same ones).
    pub data_seed: u64,
    /// Problems to train on.
    pub train_size: NonZeroUsize,
    /// Problems for validation.
    pub validation_size: NonZeroUsize,
    /// Problems for the test.
    pub test_size: NonZeroUsize,
    /// Smallest number of a problem.
    pub min_number: NonZeroUsize,
    /// Largest number of a problem.
    pub max_number: NonZeroUsize,
    /// Largest target; the smallest is 1.
    pub max_target: NonZeroUsize,
}

impl Default for CountdownGenerateTable {
    fn default() -> Self {
        Self {
            data_seed: 0,
            train_size: count(20_000),
            validation_size: count(256),
            test_size: count(256),
            min_number: count(1),
            max_number: count(99),
            max_target: count(100),
        }
    }
}

/// `[task.sudoku]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SudokuTable {
    /// Where the records come from (`puzzle` and `solution`, 16 digits each), instead of being made from a seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<DataTable>,
    /// Seed of the grids' split and of the puzzles (kept apart from the run's seed so that runs with
    /// different seeds see the same held-out set).
    pub data_seed: u64,
    /// Grids (of the 288) used for training.
    pub train_grids: NonZeroUsize,
    /// Grids held out for validation; the others are for the test.
    pub validation_grids: NonZeroUsize,
    /// Puzzles made from every training grid.
    pub puzzles_per_train_grid: NonZeroUsize,
    /// Puzzles made from every held-out grid.
    pub puzzles_per_eval_grid: NonZeroUsize,
    /// Fewest empty cells of a puzzle.
    pub min_empty_cells: NonZeroUsize,
    /// Most empty cells of a puzzle.
    pub max_empty_cells: NonZeroUsize,
    /// Worked examples shown before the puzzle.
    pub few_shot: usize,
    /// Weights of the reward functions.
    #[serde(deserialize_with = "sudoku_rewards")]
    pub rewards: RewardWeights,
    /// Jinja template of the prompt with `puzzle` and `examples` (a list of `puzzle`, `solution`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_template: Option<String>,
    /// Jinja template of a demonstration with `puzzle` and `answer`, for `spg sft`.
    pub demonstration_template: String,
    /// Probability that a demonstration solves the puzzle.
    pub demonstration_solve: Fraction,
    /// Probability that an unsolved demonstration fills an empty cell (rightly) all the same.
    pub demonstration_fill: Fraction,
}

impl Default for SudokuTable {
    fn default() -> Self {
        Self {
            data: None,
            data_seed: 0,
            train_grids: count(200),
            validation_grids: count(44),
            puzzles_per_train_grid: count(50),
            puzzles_per_eval_grid: count(2),
            min_empty_cells: count(8),
            max_empty_cells: count(8),
            few_shot: 0,
            rewards: sum_of([RewardFunction::Sudoku]),
            prompt_template: None,
            demonstration_template: "<answer>{{ answer }}</answer>".into(),
            demonstration_solve: number!(0.3),
            demonstration_fill: number!(0.35),
        }
    }
}

fn sudoku_rewards<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RewardWeights, D::Error> {
    weights_over(deserializer, SudokuTable::default().rewards)
}
