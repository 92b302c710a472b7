//! The records of a task, split by name.

use minijinja::Value;
use minijinja::value::Serde;
use serde_json::Map;

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

    /// The fields that any record has, for templates to be tried with: each with the first value that is not null.
    pub fn sample(&self) -> Value {
        let mut fields = Map::new();
        for (name, value) in self.train.iter().chain(&self.validation).chain(&self.test).flat_map(Record::fields) {
            match fields.get_mut(name) {
                None => drop(fields.insert(name.clone(), value.clone())),
                Some(sample) if sample.is_null() => sample.clone_from(value),
                Some(_) => {}
            }
        }
        Value::from_pairs(fields.iter().map(|(name, value)| (name.clone(), Value::from(Serde(value)))))
    }
}
