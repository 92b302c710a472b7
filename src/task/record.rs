//! One example of a task: named JSON values, and where they were read.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Result, TaskError};

/// One example of a task, with its fields in the order in which they were given. Records are equal if their fields are,
/// wherever they come from.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Record {
    fields: Map<String, Value>,
    #[serde(skip)]
    place: Option<Arc<str>>,
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.fields == other.fields
    }
}

impl Record {
    /// The record with the file and the place in it that it was read from, such as `data/train.jsonl, line 3`.
    pub fn read_at(self, place: &str) -> Self {
        Self { place: Some(place.into()), ..self }
    }

    /// Where the record was read, if it was: errors about it begin with that.
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }

    /// An error about this record that says where the record stands.
    pub(super) fn located(&self, error: TaskError) -> TaskError {
        match &self.place {
            Some(place) if error.is_of_a_record() => {
                TaskError::Record { place: place.to_string(), reason: Box::new(error) }
            }
            _ => error,
        }
    }

    /// The string in a field.
    ///
    /// # Errors
    /// If the field is missing or holds something else.
    pub fn text(&self, field: &str) -> Result<&str> {
        match self.value(field)? {
            Value::String(text) => Ok(text),
            other => Err(TaskError::not_text(field, other)),
        }
    }

    /// The string in a field that may be missing, null, or empty: to a CSV file that is all the same.
    ///
    /// # Errors
    /// If the field holds something else.
    pub fn optional_text(&self, field: &str) -> Result<Option<&str>> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(_) => self.text(field).map(Some),
        }
    }

    /// The string in a field, or a number with its digits, as data sets write answers: `5` is "5" and `0.50` is "0.5". The
    /// field may be missing or null. An integer has all of its digits.
    ///
    /// # Errors
    /// If the field holds something else.
    pub fn optional_answer(&self, field: &str) -> Result<Option<Cow<'_, str>>> {
        match self.fields.get(field) {
            Some(Value::Number(number)) => Ok(Some(digits(number).into())),
            _ => Ok(self.optional_text(field)?.map(Cow::Borrowed)),
        }
    }

    /// What a field holds.
    ///
    /// # Errors
    /// If the field is missing.
    pub fn value(&self, field: &str) -> Result<&Value> {
        self.fields
            .get(field)
            .ok_or_else(|| TaskError::MissingField { field: field.into(), present: self.field_names() })
    }

    /// The names of the fields, separated by commas, for messages.
    pub(super) fn field_names(&self) -> String {
        self.fields.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    /// All fields.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }
}

/// A number without an exponent, and without decimals where it has none: `18.0` is "18".
pub(super) fn digits(number: &serde_json::Number) -> String {
    match number.as_f64().filter(|_| number.is_f64()) {
        Some(number) => number.to_string(),
        None => number.to_string(),
    }
}

impl From<Map<String, Value>> for Record {
    fn from(fields: Map<String, Value>) -> Self {
        Self { fields, place: None }
    }
}

impl<const N: usize> From<[(&str, String); N]> for Record {
    fn from(fields: [(&str, String); N]) -> Self {
        Self::from(Map::from_iter(fields.into_iter().map(|(name, text)| (name.to_owned(), Value::String(text)))))
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
    fn an_error_says_where_its_record_stands_and_only_once() {
        let missing = |record: &Record| record.located(record.text("answer").unwrap_err());
        let made = Record::from([("q", "?".to_owned())]);
        assert_eq!(missing(&made).to_string(), "a record has no field `answer` (its fields: q)");
        let read = made.clone().read_at("data/train.jsonl, line 3");
        let error = missing(&read);
        assert_eq!(error.to_string(), "data/train.jsonl, line 3: a record has no field `answer` (its fields: q)");
        assert_eq!(read.located(error.clone()), error);
        assert_eq!(made, read);
        assert_eq!(serde_json::to_string(&read).unwrap(), r#"{"q":"?"}"#);
    }

    #[test]
    fn an_empty_cell_is_no_answer() {
        let record: Record = serde_json::from_str(r#"{"answer": "", "ground_truth": null, "solution": "x"}"#).unwrap();
        for field in ["answer", "ground_truth", "none"] {
            assert_eq!(record.optional_text(field), Ok(None));
        }
        assert_eq!(record.optional_text("solution"), Ok(Some("x")));
    }

    #[test]
    fn the_integer_answer_of_a_record_was_refused() {
        let record: Record = serde_json::from_str(
            r#"{"a": 5, "b": -3, "c": 0.50, "d": 18.0, "e": 9007199254740993, "f": 18446744073709551615, "g": "x", "h": null,
                "i": true, "j": 1e3}"#,
        )
        .unwrap();
        let answer = |field| record.optional_answer(field).map(|answer| answer.map(|answer| answer.into_owned()));
        let written =
            [("a", "5"), ("b", "-3"), ("c", "0.5"), ("d", "18"), ("e", "9007199254740993"), ("g", "x"), ("j", "1000")];
        for (field, text) in written.into_iter().chain([("f", "18446744073709551615")]) {
            assert_eq!(answer(field), Ok(Some(text.to_owned())), "{field}");
        }
        assert_eq!((answer("h"), answer("missing")), (Ok(None), Ok(None)));
        assert!(answer("i").unwrap_err().to_string().contains("is not a string but true"));
    }

    #[test]
    fn a_number_is_not_taken_for_text() {
        let record: Record = serde_json::from_str(r#"{"target": 24}"#).unwrap();
        assert_eq!(record.text("target").unwrap_err().to_string(), "field `target` of a record is not a string but 24");
        assert_eq!(serde_json::to_string(&record).unwrap(), r#"{"target":24}"#);
    }
}
