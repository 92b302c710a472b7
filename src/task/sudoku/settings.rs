//! The checks of `[task.sudoku]` that need more than one key, and its templates.

use minijinja::{Value, context};

use super::grid::all_grids;
use crate::config::SudokuTable;
use crate::task::Problem;
use crate::task::template::Template;

/// Fewer clues never leave a single solution.
const FEWEST_CLUES: usize = 4;

const DEFAULT_PROMPT: &str = include_str!("prompt.jinja");

/// What is wrong with the numbers of the table.
pub fn problems(table: &SudokuTable) -> Vec<Problem> {
    let mut problems = Vec::new();
    if table.data.is_some() {
        return problems;
    }
    let mut check = |ok: bool, key, message: String| {
        if !ok {
            problems.push(Problem::new(key, message));
        }
    };
    let (grids, train) = (all_grids().len(), table.train_grids.get());
    let held_out = grids.saturating_sub(train);
    let (fewest, most) = (table.min_empty_cells.get(), table.max_empty_cells.get());
    check(
        train + 1 < grids,
        "task.sudoku.train_grids",
        format!("{train} of the {grids} grids leave too few to hold out: use at most {}", grids - 2),
    );
    check(
        table.validation_grids.get() < held_out || held_out < 2,
        "task.sudoku.validation_grids",
        format!(
            "{} of the {held_out} grids that are not for training leave none for the test: use at most {}",
            table.validation_grids,
            held_out.saturating_sub(1)
        ),
    );
    check(
        most <= 16 - FEWEST_CLUES,
        "task.sudoku.max_empty_cells",
        format!(
            "a puzzle with one solution needs {FEWEST_CLUES} of its 16 cells: use at most {}, not {most}",
            16 - FEWEST_CLUES
        ),
    );
    check(
        fewest <= most,
        "task.sudoku.min_empty_cells",
        format!("{fewest} is more than task.sudoku.max_empty_cells = {most}"),
    );
    check(
        table.few_shot < train,
        "task.sudoku.few_shot",
        format!(
            "{} examples of training grids other than the puzzle's own need more than task.sudoku.train_grids = {train}",
            table.few_shot
        ),
    );
    problems
}

/// The template of the prompt: the table's or the built-in one.
///
/// # Errors
/// If it cannot be used.
pub fn prompt_template(table: &SudokuTable) -> Result<Template, Problem> {
    let source = table.prompt_template.as_deref().unwrap_or(DEFAULT_PROMPT);
    let example = context! { puzzle => "1234341221434320", solution => "1234341221434321" };
    // No more than there are grids, whatever the table says: `problems` reports a larger number.
    let examples: Vec<Value> = vec![example; table.few_shot.min(all_grids().len())];
    let sample = context! { puzzle => "1234341221434320", examples => examples };
    Template::compile("task.sudoku.prompt_template", source, &sample, &["puzzle"])
}

/// The template of a demonstration.
///
/// # Errors
/// If it cannot be used.
pub fn demonstration_template(table: &SudokuTable) -> Result<Template, Problem> {
    let sample = context! { puzzle => "1234341221434320", answer => "1234341221434321" };
    Template::compile("task.sudoku.demonstration_template", &table.demonstration_template, &sample, &["answer"])
}
