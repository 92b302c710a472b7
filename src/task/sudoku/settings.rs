//! The templates of `[task.sudoku]`.

use minijinja::{Value, context};

use crate::config::SudokuTable;
use crate::task::Problem;
use crate::task::template::Template;

const DEFAULT_PROMPT: &str = include_str!("prompt.jinja");

/// The template of the prompt: the table's or the built-in one.
///
/// # Errors
/// If it cannot be used.
pub fn prompt_template(table: &SudokuTable) -> Result<Template, Problem> {
    let source = table.prompt_template.as_deref().unwrap_or(DEFAULT_PROMPT);
    let example = context! { puzzle => "1234341221434320", solution => "1234341221434321" };
    let examples: Vec<Value> = vec![example; table.few_shot];
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
