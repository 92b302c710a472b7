//! What a template is given: the fields of a record, worked examples, and whatever a task adds.
//!
//! A null may be asked about (`{% if q is none %}`) but not become text: the model would be asked about the word "None".
//! The formatter sees what is printed (see [`holds_null`]), but not `{{ "Q: " ~ q }}`, `{{ q | upper }}` or `{{ rows |
//! join }}`, where the engine has made text of the null before. So a record with nulls is rendered twice, the second time
//! with objects in their place that write the same word and remember that they were asked for it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use minijinja::Value;
use minijinja::value::{Object, ObjectRepr, Serde, ValueKind};
use serde_json::Value as Json;

use crate::task::Record;

/// Something that a template is given beside the fields of its record.
pub enum Given<'a> {
    /// A value that holds no null.
    Value(Value),
    /// A list of records.
    Records(Vec<&'a Record>),
}

impl<T: Into<Value>> From<T> for Given<'_> {
    fn from(value: T) -> Self {
        Self::Value(value.into())
    }
}

/// The null that became text first.
#[derive(Clone, Debug)]
pub struct Printed<'a> {
    /// The record that holds it.
    pub record: &'a Record,
    /// Its field, or the part of one, such as `choices[2]`.
    pub field: String,
}

/// The variables of a template.
pub struct Context<'a, 'b> {
    /// The record whose fields they are.
    pub record: &'a Record,
    /// What else there is, by name; it wins.
    pub more: &'b [(&'static str, Given<'a>)],
}

impl<'a> Context<'a, '_> {
    /// The variables as they are.
    pub fn plain(&self) -> Value {
        self.build(&|_, _, value| plain(value))
    }

    /// Whether there is a null in any of the records.
    pub fn has_null(&self) -> bool {
        self.records().any(|record| record.fields().values().any(is_null_within))
    }

    /// The variables with a trace in place of every null, and the traces, which must be asked afterwards.
    pub fn traced(&self) -> (Value, Traces) {
        let traces = Traces::default();
        let values = self.build(&|record, name, value| traced(value, record, name.to_owned(), &traces));
        (values, traces)
    }

    /// The null that a traced rendering made text of first.
    pub fn printed(&self, traces: &Traces) -> Option<Printed<'a>> {
        let (at, field) = traces.first.get()?;
        Some(Printed { record: self.records().nth(*at)?, field: field.clone() })
    }

    /// The first worked example without a field.
    pub fn example_without(&self, field: &str) -> Option<&'a Record> {
        self.records().skip(1).find(|record| !record.fields().contains_key(field))
    }

    fn records(&self) -> impl Iterator<Item = &'a Record> {
        let more = self.more.iter().flat_map(|(_, given)| match given {
            Given::Records(records) => records.as_slice(),
            Given::Value(_) => &[],
        });
        std::iter::once(self.record).chain(more.copied())
    }

    /// The variables, a field's value made by a function of its record's place among all, its name and itself.
    fn build(&self, value: &dyn Fn(usize, &str, &Json) -> Value) -> Value {
        let pairs = |at: usize, record: &'a Record| {
            let pair = move |(name, field): (&'a String, &Json)| (name.clone(), value(at, name, field));
            record.fields().iter().map(pair)
        };
        let mut all: Vec<(String, Value)> = pairs(0, self.record).collect();
        let mut passed = 1;
        for (name, given) in self.more {
            let value = match given {
                Given::Value(value) => value.clone(),
                Given::Records(records) => {
                    let first = passed;
                    passed += records.len();
                    let list = records.iter().enumerate();
                    list.map(|(i, record)| Value::from_pairs(pairs(first + i, record))).collect()
                }
            };
            all.push(((*name).to_owned(), value));
        }
        Value::from_pairs(all)
    }
}

/// Whether a value that is to be printed is a null or shows one.
pub fn holds_null(value: &Value) -> bool {
    match value.kind() {
        ValueKind::None => true,
        ValueKind::Seq => value.try_iter().is_ok_and(|mut items| items.any(|item| holds_null(&item))),
        ValueKind::Map => value
            .try_iter()
            .is_ok_and(|mut names| names.any(|name| value.get_item(&name).is_ok_and(|item| holds_null(&item)))),
        _ => false,
    }
}

/// What a traced rendering found out.
#[derive(Clone, Debug, Default)]
pub struct Traces {
    /// The record, counted from the template's own, and the field.
    first: Arc<OnceLock<(usize, String)>>,
}

/// What stands for a null: it writes what a null writes, and remembers that.
struct Trace {
    record: usize,
    field: String,
    traces: Traces,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = self.traces.first.set((self.record, self.field.clone()));
        f.write_str("None")
    }
}

impl Object for Trace {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        false
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The test `is none`, for which a trace is one.
pub fn is_none(value: &Value) -> bool {
    value.is_none() || value.downcast_object_ref::<Trace>().is_some()
}

fn plain(value: &Json) -> Value {
    Value::from(Serde(value))
}

fn is_null_within(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::Array(items) => items.iter().any(is_null_within),
        Json::Object(fields) => fields.values().any(is_null_within),
        _ => false,
    }
}

fn traced(value: &Json, record: usize, field: String, traces: &Traces) -> Value {
    match value {
        Json::Null => Value::from_object(Trace { record, field, traces: traces.clone() }),
        Json::Array(items) => {
            let item = |(i, item)| traced(item, record, format!("{field}[{i}]"), traces);
            items.iter().enumerate().map(item).collect()
        }
        Json::Object(fields) => {
            let entry = |(name, item): (&String, &Json)| {
                (name.clone(), traced(item, record, format!("{field}.{name}"), traces))
            };
            Value::from_pairs(fields.iter().map(entry))
        }
        other => plain(other),
    }
}
