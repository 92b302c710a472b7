//! What can go wrong with a task.

use std::fmt;

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
    /// A record lacks a field its task needs.
    #[error("a record has no field `{field}` (its fields: {present})")]
    MissingField {
        /// The field.
        field: String,
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
    /// A template compiled but fails on a record.
    #[error("{key} fails on a record: {reason}")]
    Template {
        /// The key that holds the template.
        key: &'static str,
        /// The template engine's message.
        reason: String,
    },
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}
