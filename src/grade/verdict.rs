//! The verdict on one completion, with the names that the published evaluation uses.

use num_traits::ToPrimitive as _;
use serde_json::{Value, json};

use super::{PREFILL, Row};
use crate::config::Benchmark;
use crate::task::grading::boxed::Unboxed;
use crate::task::tags::{END_TOKENS, before_any};
use crate::task::{Grade, Reward, TaskError, countdown, gsm8k, math, sudoku};

/// What a completion is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What is right of it.
    pub grade: Grade,
    /// The answer and the verdict as the published evaluation names them.
    pub eval: Value,
    /// The training reward; none where the record has no answer to compare with.
    pub reward: Option<Reward>,
}

impl Verdict {
    /// The line of a details file: the exact grader's verdict, then `eval` and `train_reward`, each with the published
    /// names.
    pub fn details(&self, file: &str, row: usize) -> Value {
        let reward = self.reward.as_ref().map(|reward| Value::from_iter(reward.parts.iter().cloned()));
        json!({ "file": file, "row": row, "exact": self.grade.exact, "eval": self.eval, "train_reward": reward })
    }
}

/// Grades a row as it is, one of the published form to the letter of the published evaluation, and rewards what training would see of it: the text before the first end token, after what
/// the prompt held already (`prefill`, or [`PREFILL`] for a row of the published form).
///
/// # Errors
/// If the record is not one of the task's.
pub fn judge(task: Benchmark, row: &Row, prefill: Option<&str>) -> Result<Verdict, TaskError> {
    let (record, completion) = (&row.record, row.completion.as_str());
    let begun = prefill.unwrap_or(if row.published { PREFILL } else { "" });
    let trained = format!("{begun}{}", before_any(completion, &END_TOKENS).unwrap_or(completion));
    let unboxed = if row.published { Unboxed::WholeText } else { Unboxed::Answer };
    match task {
        Benchmark::Gsm8k => {
            let reference = gsm8k::Reference::from_record(record)?;
            let grade = reference.grade(completion);
            let reward = reference.answer.is_some().then(|| reference.reward(&trained));
            // A number that JSON cannot hold (`inf`) stays text.
            let answer = match gsm8k::extract(completion) {
                Some(number) if !number.is_finite() => json!(number.to_string()),
                answer => json!(answer),
            };
            let eval = json!({ "extracted_answer": answer, "is_correct": grade.solved() });
            Ok(Verdict { grade, eval, reward })
        }
        Benchmark::Math => {
            let reference = math::Reference::from_record(record)?;
            let grade = reference.grade(completion, unboxed);
            let eval = json!({ "extracted_answer": grade.answer, "is_correct": grade.solved() });
            Ok(Verdict { grade, eval, reward: Some(reference.reward(&trained)) })
        }
        Benchmark::Countdown => {
            let reference = countdown::Reference::from_record(record)?;
            let countdown::Attempt { expression, value, correct } = reference.attempt(completion, unboxed);
            let value = value.and_then(|value| match value.is_integer() {
                true => value.to_i64().map(Value::from),
                false => value.to_f64().map(Value::from),
            });
            let eval = json!({ "extracted_answer": expression, "is_correct": correct, "evaluation_result": value });
            let exact = reference.exact(completion);
            let grade = Grade { answer: Some(expression), correct: usize::from(correct), out_of: 1, exact };
            Ok(Verdict { grade, eval, reward: Some(reference.reward(&trained)) })
        }
        Benchmark::Sudoku => {
            let (puzzle, solution) = sudoku::cells(record)?;
            let grade = sudoku::grade(puzzle, solution, completion);
            let eval = json!({
                "extracted_answer": grade.answer.as_deref().unwrap_or_default(),
                "correct_cells": grade.correct,
                "empty_cells": grade.out_of,
            });
            Ok(Verdict { grade, eval, reward: Some(sudoku::reward(puzzle, solution, &trained)) })
        }
    }
}
