//! The user's turn that asks for a record's answer.

use super::template::{EXAMPLES, Given, Template};
use super::{Record, Result};

/// A prompt template with its worked examples.
#[derive(Clone, Debug)]
pub struct PromptWriter {
    template: Template,
    few_shot: usize,
    /// The field that a record must not share with an example.
    told_apart_by: &'static str,
}

impl PromptWriter {
    /// A template that is given the fields of a record.
    pub fn new(template: Template) -> Self {
        Self { template, few_shot: 0, told_apart_by: "" }
    }

    /// With `examples`: the first `few_shot` training records that differ from the record in the field `told_apart_by`
    /// (in any field, if it is empty). Those that come first should differ from each other there too.
    pub fn with_examples(self, few_shot: usize, told_apart_by: &'static str) -> Self {
        Self { few_shot, told_apart_by, ..self }
    }

    /// The prompt of a record.
    ///
    /// # Errors
    /// If the template fails on it, or on an example.
    pub fn write(&self, record: &Record, train: &[Record]) -> Result<String> {
        let differs = |other: &&Record| match self.told_apart_by {
            "" => *other != record,
            field => other.value(field).ok() != record.value(field).ok(),
        };
        let examples = train.iter().filter(differs).take(self.few_shot).collect();
        self.template.render(record, &[(EXAMPLES, Given::Records(examples))])
    }
}
