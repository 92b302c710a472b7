//! Grading at evaluation: which rules decide whether a completion is right.

use super::{Grade, Record, Result, Reward, countdown, gsm8k, math, sudoku, tags};
use crate::config::Benchmark;
use crate::task::grading::boxed::Unboxed;

/// The grader of a task.
#[derive(Clone, Copy, Debug)]
pub enum Grader {
    /// The rules of a benchmark's published evaluation.
    Benchmark(Benchmark),
    /// Right is what earns at least so much in training.
    Reward(f64),
}

impl Grader {
    /// Checks that the grader can read a record.
    ///
    /// # Errors
    /// Names the field that is missing or wrong.
    pub fn check(self, record: &Record) -> Result<()> {
        self.grade(record, "", &Reward::default()).map(drop)
    }

    /// The grade of a completion as decoded, special tokens included, that earned `reward` in training.
    ///
    /// # Errors
    /// A record that is not one of the benchmark's.
    pub fn grade(self, record: &Record, completion: &str, reward: &Reward) -> Result<Grade> {
        Ok(match self {
            Grader::Benchmark(Benchmark::Gsm8k) => gsm8k::Reference::from_record(record)?.grade(completion),
            Grader::Benchmark(Benchmark::Math) => {
                math::Reference::from_record(record)?.grade(completion, Unboxed::Answer)
            }
            Grader::Benchmark(Benchmark::Countdown) => countdown::Reference::from_record(record)?.grade(completion),
            Grader::Benchmark(Benchmark::Sudoku) => {
                let (puzzle, solution) = sudoku::cells(record)?;
                sudoku::grade(puzzle, solution, completion)
            }
            Grader::Reward(least) => {
                let end = tags::before_any(completion, &tags::END_TOKENS).unwrap_or(completion);
                let answer = tags::last_answer(end).unwrap_or(end).trim().to_owned();
                let right = reward.total >= least;
                Grade { answer: Some(answer), correct: usize::from(right), out_of: 1, exact: right }
            }
        })
    }
}
