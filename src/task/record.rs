//! One example of a task: named JSON values.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Result, TaskError};

/// One example of a task, with its fields in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Record(Map<String, Value>);

impl Record {
    /// The string in a field.
    ///
    /// # Errors
    /// If the field is missing or holds something else.
    pub fn text(&self, field: &str) -> Result<&str> {
        match self.value(field)? {
            Value::String(text) => Ok(text),
            other => Err(TaskError::NotText { field: field.into(), found: other.to_string() }),
        }
    }

    /// The string in a field that may be missing or null.
    ///
    /// # Errors
    /// If the field holds something else.
    pub fn optional_text(&self, field: &str) -> Result<Option<&str>> {
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.text(field).map(Some),
        }
    }

    /// What a field holds.
    ///
    /// # Errors
    /// If the field is missing.
    pub fn value(&self, field: &str) -> Result<&Value> {
        self.0.get(field).ok_or_else(|| TaskError::MissingField {
            field: field.into(),
            present: self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        })
    }

    /// All fields.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.0
    }
}

impl From<Map<String, Value>> for Record {
    fn from(fields: Map<String, Value>) -> Self {
        Self(fields)
    }
}

impl<const N: usize> From<[(&str, String); N]> for Record {
    fn from(fields: [(&str, String); N]) -> Self {
        Self(fields.into_iter().map(|(name, text)| (name.to_owned(), Value::String(text))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_field_lists_those_there_are() {
        let record = Record::from([("puzzle", "0".to_owned()), ("solution", "1".to_owned())]);
        assert_eq!(record.text("solution"), Ok("1"));
        let message = record.text("answer").unwrap_err().to_string();
        assert_eq!(message, "a record has no field `answer` (its fields: puzzle, solution)");
    }

    #[test]
    fn a_number_is_not_taken_for_text() {
        let record: Record = serde_json::from_str(r#"{"target": 24}"#).unwrap();
        assert_eq!(record.text("target").unwrap_err().to_string(), "field `target` of a record is not a string but 24");
        assert_eq!(serde_json::to_string(&record).unwrap(), r#"{"target":24}"#);
    }
}
