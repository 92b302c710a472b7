//! What can go wrong with a task.

use std::fmt;

use serde_json::Value;

use super::command::CommandError;
use super::data::DataError;

/// A mistake in the configuration of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key to change, such as `task.sudoku.few_shot`.
    pub key: &'static str,
    /// What is wrong with its value.
    pub message: String,
}

impl Problem {
    pub(super) fn new(key: &'static str, message: impl Into<String>) -> Self {
        Self { key, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// An error of a task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// The configuration cannot work; all its problems are listed.
    #[error("{}", lines(.0))]
    Config(Vec<Problem>),
    /// The data cannot be loaded.
    #[error(transparent)]
    Data(Box<DataError>),
    /// The reward command failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A record of the data is not one of the task's.
    #[error("{place}: {reason}")]
    Record {
        /// The file and the place in it.
        place: String,
        /// What is wrong with it.
        reason: Box<TaskError>,
    },
    /// A split without records.
    #[error("task.{task} has no {split} records: {}", no_records_hint(.task, .split))]
    NoRecords {
        /// The task.
        task: String,
        /// The split.
        split: &'static str,
    },
    /// A record lacks a field its task needs.
    #[error("a record has no field `{field}` (its fields: {present})")]
    MissingField {
        /// The field.
        field: String,
        /// The fields there are, separated by commas.
        present: String,
    },
    /// A record of MATH has nothing to compare with.
    #[error("a record has no answer: {solution}, no `answer`, no `ground_truth` (its fields: {present})")]
    NoAnswer {
        /// What is wrong with its solution.
        solution: &'static str,
        /// The fields there are, separated by commas.
        present: String,
    },
    /// A field of a record has the wrong type.
    #[error("field `{field}` of a record is not a string but {found}")]
    NotText {
        /// The field.
        field: String,
        /// The value there is, as JSON.
        found: String,
    },
    /// A field of a record holds something the task cannot use.
    #[error("field `{field}` of a record is not {expected} but {found}")]
    BadField {
        /// The field.
        field: String,
        /// What it should hold.
        expected: &'static str,
        /// The value there is, as JSON, its beginning if it is long.
        found: String,
    },
    /// A record that nothing can be shown for in supervised fine-tuning.
    #[error("there is no demonstration for a record: {reason}")]
    NoDemonstration {
        /// Why not.
        reason: String,
    },
    /// A template compiled but fails on a record.
    #[error("{key} fails on a record: {reason}")]
    Template {
        /// The key that holds the template.
        key: &'static str,
        /// The template engine's message.
        reason: String,
    },
}

impl From<DataError> for TaskError {
    fn from(error: DataError) -> Self {
        Self::Data(Box::new(error))
    }
}

impl TaskError {
    /// A value that is not what a field should hold.
    pub(crate) fn bad_field(field: &str, expected: &'static str, found: &Value) -> Self {
        const LONGEST: usize = 80;
        let found = found.to_string();
        let found = match found.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}...", &found[..end]),
            None => found,
        };
        Self::BadField { field: field.into(), expected, found }
    }
}

fn no_records_hint(task: &str, split: &str) -> String {
    let data = format!("task.{task}.data");
    match split {
        "train" => format!("name some with {data}.train"),
        _ => format!("name some with {data}.{split}, or keep some of the training records by {data}.{split}_size"),
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}
