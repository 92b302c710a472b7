//! Completions to imitate in supervised fine-tuning.

use minijinja::Value;

use super::template::Template;
use super::{Record, Result, sudoku};
use crate::rng::Rng;

/// What writes the demonstrations of a task: a template, and what it is given beside the fields of a record.
#[derive(Clone, Debug)]
pub enum Demonstrator {
    /// The answer of a lazy Sudoku solver, as `answer`.
    Sudoku(Template, sudoku::LazySolver),
}

impl Demonstrator {
    /// The demonstration of a record.
    ///
    /// # Errors
    /// If the record is not one of the task's, or the template fails on it.
    pub fn write(&self, record: &Record, rng: &mut Rng) -> Result<String> {
        match self {
            Demonstrator::Sudoku(template, solver) => {
                template.render(record, [("answer", Value::from(solver.answer(record, rng)?))])
            }
        }
    }
}
