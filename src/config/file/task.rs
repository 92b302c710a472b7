//! `[task.<name>]`: data, prompts and demonstrations.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::count;
use crate::config::types::*;

/// `[task.<name>]`: exactly one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskTable {
    /// 4x4 Sudoku, generated from a seed.
    Sudoku(SudokuTable),
}

/// `[task.sudoku]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SudokuTable {
    /// Seed of the grids' split and of the puzzles (kept apart from the run's seed so that runs with
    /// different seeds see the same held-out set).
    pub data_seed: u64,
    /// Grids (of the 288) used for training; the others are held out.
    pub train_grids: NonZeroUsize,
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
            data_seed: 0,
            train_grids: count(200),
            puzzles_per_train_grid: count(50),
            puzzles_per_eval_grid: count(1),
            min_empty_cells: count(8),
            max_empty_cells: count(8),
            few_shot: 0,
            prompt_template: None,
            demonstration_template: "<answer>{{ answer }}</answer>".into(),
            demonstration_solve: number!(0.3),
            demonstration_fill: number!(0.35),
        }
    }
}
