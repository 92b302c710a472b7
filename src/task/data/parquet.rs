//! Parquet, row by row.

use std::cell::Cell;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Once;

use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
use ::parquet::record::{Field, Row as Fields};
use serde_json::{Map, Value};

use super::{DataError, Result, Row};
use crate::task::Record;

/// Reads all rows. Numbers, truth values, lists and nulls are what they are in JSON, structs and maps are objects;
/// dates, times and decimals are text; bytes are text if they are UTF-8, and else null, as are numbers that are none.
pub fn read(path: &Path) -> Result<Vec<Row>> {
    let file = File::open(path).map_err(|error| DataError::io(path, "read", &error))?;
    let mut rows = Vec::new();
    let result = guarded(|| -> Result<(), ParquetError> {
        for fields in SerializedFileReader::new(file)?.get_row_iter(None)? {
            let record = Record::from(object(&fields?));
            rows.push(Row { place: format!("row {}", rows.len() + 1), record });
        }
        Ok(())
    });
    let damaged = |reason: &str| match rows.len() {
        0 => DataError::file(path, format!("not a parquet file that can be read: {reason}")),
        read => DataError::row(path, format!("row {}", read + 1), format!("the file is damaged: {reason}")),
    };
    match result {
        Ok(Ok(())) => Ok(rows),
        Ok(Err(error)) => Err(damaged(&error.to_string())),
        Err(Panicked) => Err(damaged("it holds what the reader does not expect")),
    }
}

fn object(fields: &Fields) -> Map<String, Value> {
    fields.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect()
}

fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(v) => (*v).into(),
        Field::Byte(v) => (*v).into(),
        Field::Short(v) => (*v).into(),
        Field::Int(v) => (*v).into(),
        Field::Long(v) => (*v).into(),
        Field::UByte(v) => (*v).into(),
        Field::UShort(v) => (*v).into(),
        Field::UInt(v) => (*v).into(),
        Field::ULong(v) => (*v).into(),
        Field::Float16(v) => v.to_f64().into(),
        Field::Float(v) => (*v).into(),
        Field::Double(v) => (*v).into(),
        Field::Str(v) => v.as_str().into(),
        Field::Bytes(v) => std::str::from_utf8(v.data()).ok().into(),
        Field::Group(fields) => Value::Object(object(fields)),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        Field::MapInternal(map) => {
            let name = |key: &Field| match value(key) {
                Value::String(text) => text,
                other => other.to_string(),
            };
            map.entries().iter().map(|(key, field)| (name(key), value(field))).collect()
        }
        text @ (Field::Decimal(_)
        | Field::Date(_)
        | Field::TimeMillis(_)
        | Field::TimeMicros(_)
        | Field::TimestampMillis(_)
        | Field::TimestampMicros(_)) => text.to_string().into(),
    }
}

#[derive(Debug)]
struct Panicked;

/// Runs what may panic: the library does on some damaged files, and on dates that no calendar has.
fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, Panicked> {
    thread_local! {
        static QUIET: Cell<bool> = const { Cell::new(false) };
    }
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                previous(info);
            }
        }));
    });
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    QUIET.set(false);
    result.map_err(|_| Panicked)
}
