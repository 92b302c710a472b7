//! The records of a task, split by name.

use minijinja::Value;
use minijinja::value::Serde;

use super::{Record, Result, TaskError};
use crate::config::Split;

/// Records to learn from, to watch a run on, and to report on. No record stands in two of them.
#[derive(Clone, Debug, Default)]
pub struct Splits {
    /// What a run learns from.
    pub train: Vec<Record>,
    /// What checkpoints are compared on.
    pub validation: Vec<Record>,
    /// What final figures are taken on.
    pub test: Vec<Record>,
}

impl Splits {
    /// The records of a split of the task called `task`.
    ///
    /// # Errors
    /// If there are none.
    pub fn get(&self, split: Split, task: &str) -> Result<&[Record]> {
        let records = match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        };
        if records.is_empty() {
            return Err(TaskError::NoRecords { task: task.into(), split: split.name() });
        }
        Ok(records)
    }

    /// The fields of the first training record, for templates to be tried with.
    pub fn sample(&self) -> Value {
        let fields = self.train.first().into_iter().flat_map(Record::fields);
        Value::from_pairs(fields.map(|(name, value)| (name.clone(), Value::from(Serde(value)))))
    }
}
