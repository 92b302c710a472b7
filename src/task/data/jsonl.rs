//! JSON lines, and JSON lists of objects.

use std::path::Path;

use serde_json::Value;

use super::{DataError, Result, Row, json, table};
use crate::task::Record;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Reads one object a line; blank lines are skipped. A table in a single object is refused.
pub fn read_lines(path: &Path, content: &[u8]) -> Result<Vec<Row>> {
    let content = content.strip_prefix(BOM).unwrap_or(content);
    let mut rows = Vec::new();
    for (i, line) in content.split(|&byte| byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let place = format!("line {}", i + 1);
        match json::parse_line(line).and_then(record) {
            Ok(record) => rows.push(Row { place, record }),
            Err(reason) => return Err(DataError::row(path, place, reason)),
        }
    }
    match rows.as_slice() {
        [only] => match table::in_one_object(only.record.fields()) {
            Some(reason) => Err(DataError::file(path, reason)),
            None => Ok(rows),
        },
        _ => Ok(rows),
    }
}

/// Reads a list of objects, or one object a line.
pub fn read_json(path: &Path, content: &[u8]) -> Result<Vec<Row>> {
    let content = content.strip_prefix(BOM).unwrap_or(content);
    let whole = || {
        let text = std::str::from_utf8(content).map_err(|e| format!("not UTF-8 after byte {}", e.valid_up_to()))?;
        json::parse(text).map_err(|error| json::reason(&error))
    };
    if content.trim_ascii_start().first() != Some(&b'[') {
        return read_lines(path, content).map_err(|error| match whole() {
            Ok(Value::Object(fields)) => {
                let other = || "one object, not a list of objects or one object a line".into();
                DataError::file(path, table::in_one_object(&fields).unwrap_or_else(other))
            }
            _ => error,
        });
    }
    let list = match whole() {
        Ok(Value::Array(list)) => list,
        Ok(_) => Vec::new(),
        Err(reason) => return Err(DataError::file(path, reason)),
    };
    let row = |(i, value)| {
        let place = format!("row {}", i + 1);
        match record(value) {
            Ok(record) => Ok(Row { place, record }),
            Err(reason) => Err(DataError::row(path, place, reason)),
        }
    };
    list.into_iter().enumerate().map(row).collect()
}

fn record(value: Value) -> Result<Record, String> {
    match value {
        Value::Object(fields) => Ok(Record::from(fields)),
        _ => Err("not a JSON object".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(content: &[u8]) -> Result<Vec<(String, String)>, String> {
        shown(read_lines(Path::new("data/train.jsonl"), content))
    }

    fn json(content: &str) -> Result<Vec<(String, String)>, String> {
        shown(read_json(Path::new("train.json"), content.as_bytes()))
    }

    fn shown(rows: Result<Vec<Row>>) -> Result<Vec<(String, String)>, String> {
        let text = |record: &Record| serde_json::to_string(record).unwrap();
        rows.map(|rows| rows.iter().map(|row| (row.place.clone(), text(&row.record))).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn blank_lines_are_skipped_but_counted() {
        let rows = lines(b"\xef\xbb\xbf{\"a\": 1}\r\n\n  \r\n{\"b\": NaN}").unwrap();
        let expected = [("line 1", r#"{"a":1}"#), ("line 4", r#"{"b":null}"#)];
        assert_eq!(rows, expected.map(|(place, text)| (place.to_owned(), text.to_owned())));
        assert_eq!(lines(b""), Ok(vec![]));
    }

    #[test]
    fn of_two_values_of_a_key_none_wins() {
        let error = lines(b"{\"q\": 1}\n{\"q\": 1, \"q\": 2}").unwrap_err();
        assert_eq!(error, "data/train.jsonl, line 2: an object has the key `q` twice at column 12");
        let error = json("[{\"q\": 1, \"q\": 2}]").unwrap_err();
        assert_eq!(error, "train.json: an object has the key `q` twice at line 1 column 13");
        let error = lines(b"{\"q\": 1}\n{\"q\": 1e400}").unwrap_err();
        assert_eq!(error, "data/train.jsonl, line 2: not JSON: number out of range at column 11");
    }

    #[test]
    fn a_broken_line_is_named_with_its_file() {
        let error = lines(b"{}\n\n{\"a\": }").unwrap_err();
        assert_eq!(error, "data/train.jsonl, line 3: not JSON: expected value at column 7");
        assert_eq!(lines(b"{}\n3").unwrap_err(), "data/train.jsonl, line 2: not a JSON object");
        assert_eq!(lines(b"{\"\xff\": 1}").unwrap_err(), "data/train.jsonl, line 1: not UTF-8 after byte 2");
    }

    #[test]
    fn lists_and_lines_are_told_apart() {
        let rows = json("\u{feff} [{\"a\": 1},\n {\"a\": 2}]").unwrap();
        assert_eq!(rows.iter().map(|(place, _)| place.as_str()).collect::<Vec<_>>(), ["row 1", "row 2"]);
        assert_eq!(json("{\"a\": 1}\n{\"a\": 2}").unwrap()[1].0, "line 2");
        assert_eq!(json("[{}, 3]").unwrap_err(), "train.json, row 2: not a JSON object");
        let error = json("[{},").unwrap_err();
        assert_eq!(error, "train.json: not JSON: EOF while parsing a value at line 1 column 4");
        let error = json("{\n\"data\": []}").unwrap_err();
        assert_eq!(error, "train.json: one object, not a list of objects or one object a line");
        let advice =
            "one object that holds a whole table, as pandas' to_json() writes it: write it with orient=\"records\"";
        for table in [r#"{"q":{"0":"a","1":"b"}}"#, "{\n\"q\":{\"0\":\"a\"},\n\"v\":{\"0\":null}\n}"] {
            assert_eq!(json(table).unwrap_err(), format!("train.json: {advice}"));
        }
        assert!(json("{\n").unwrap_err().starts_with("train.json, line 1: not JSON"));
    }
}
