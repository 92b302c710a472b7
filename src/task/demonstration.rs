//! Completions to imitate in supervised fine-tuning.

use super::template::Template;
use super::{Record, Result, TaskError, countdown, gsm8k, math, sudoku};
use crate::rng::Rng;

/// What writes the demonstrations of a task: a template, and what it is given beside the fields of a record.
#[derive(Clone, Debug)]
pub enum Demonstrator {
    /// None: the task has no demonstrations.
    None,
    /// Nothing more.
    Fields(Template),
    /// The worked answer of GSM8K, as `reasoning` and `final_answer`.
    Gsm8k(Template),
    /// The answer of MATH, as `final_answer`.
    Math(Template),
    /// The answer of a lazy Sudoku solver, as `answer`.
    Sudoku(Template, sudoku::LazySolver),
    /// A solution of Countdown's or a random expression, as `expression`.
    Countdown(Template, countdown::LazySolver),
}

impl Demonstrator {
    /// The demonstration of a record.
    ///
    /// # Errors
    /// If the record is not one of the task's, or the template fails on it.
    pub fn write(&self, record: &Record, rng: &mut Rng) -> Result<String> {
        match self {
            Demonstrator::None => Err(TaskError::NoDemonstration {
                reason: "the task has no task.custom.demonstration_template: add one".into(),
            }),
            Demonstrator::Fields(template) => template.render(record, &[]),
            Demonstrator::Gsm8k(template) => {
                let (reasoning, final_answer) = gsm8k::worked(record)?;
                template.render(record, &[("reasoning", reasoning.into()), ("final_answer", final_answer.into())])
            }
            Demonstrator::Math(template) => {
                let answer = math::Reference::from_record(record)?.boxed;
                template.render(record, &[("final_answer", answer.into())])
            }
            Demonstrator::Sudoku(template, solver) => {
                template.render(record, &[("answer", solver.answer(record, rng)?.into())])
            }
            Demonstrator::Countdown(template, solver) => {
                template.render(record, &[("expression", solver.expression(record, rng)?.into())])
            }
        }
    }

    /// Whether the demonstration of a record is always the same.
    pub fn is_fixed(&self) -> bool {
        !matches!(self, Demonstrator::Sudoku(..) | Demonstrator::Countdown(..))
    }
}
