//! What can go wrong with a task.

use std::fmt;

use serde_json::Value;

use super::command::CommandError;
use super::data::DataError;
use crate::config::LARGEST_REWARD;

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
        /// The value there is, as JSON, its beginning if it is long.
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
    /// The weighted sum of a completion's rewards is too large to take means and gradients of.
    #[error(
        "the rewards of a completion add up to {total}, and the largest sum is {LARGEST_REWARD:e} (below zero as \
         above): lower the weights, task.<name>.rewards and task.custom.reward_command.weight"
    )]
    TooLarge {
        /// The sum, as it is shown.
        total: String,
    },
    /// A record that nothing can be shown for in supervised fine-tuning.
    #[error("there is no demonstration for a record: {reason}")]
    NoDemonstration {
        /// Why not.
        reason: String,
    },
    /// A template asks for a field that a record does not have.
    #[error(
        "{key} asks for `{field}`, which this record lacks (its fields: {present}): add it to the data, or let the \
         template ask whether it `is defined`"
    )]
    NotInRecord {
        /// The key that holds the template.
        key: &'static str,
        /// The field, or the part of one, as the template writes it.
        field: String,
        /// The fields there are, separated by commas.
        present: String,
    },
    /// A template prints a field that is null.
    #[error(
        "{key} prints the field `{field}`, which is null (nothing, or a number that is none): fill it, leave the \
         record out, or let the template say what stands for it, as `{{{{ {field} or \"...\" }}}}` does"
    )]
    PrintsNull {
        /// The key that holds the template.
        key: &'static str,
        /// The field, or the part of one, such as `choices[2]`.
        field: String,
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
    /// Whether the error is about a record, and does not say yet where that stands.
    pub(super) fn is_of_a_record(&self) -> bool {
        match self {
            Self::MissingField { .. }
            | Self::NoAnswer { .. }
            | Self::NotText { .. }
            | Self::BadField { .. }
            | Self::NoDemonstration { .. }
            | Self::NotInRecord { .. }
            | Self::PrintsNull { .. }
            | Self::Template { .. } => true,
            Self::Config(_)
            | Self::Data(_)
            | Self::Command(_)
            | Self::Record { .. }
            | Self::NoRecords { .. }
            | Self::TooLarge { .. } => false,
        }
    }

    /// A value that is not what a field should hold.
    pub(crate) fn bad_field(field: &str, expected: &'static str, found: &Value) -> Self {
        Self::BadField { field: field.into(), expected, found: beginning(found) }
    }

    /// A value that should be text.
    pub(super) fn not_text(field: &str, found: &Value) -> Self {
        Self::NotText { field: field.into(), found: beginning(found) }
    }
}

/// A value as JSON, its beginning if it is long.
fn beginning(value: &Value) -> String {
    const LONGEST: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
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
