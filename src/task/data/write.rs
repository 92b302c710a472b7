//! Records into files: JSON lines and CSV.

use std::path::Path;

use serde_json::Value;

use super::{DataError, Result, csv, reader::extension};
use crate::files::write_whole;
use crate::task::Record;

/// Writes records as `.jsonl` or `.csv`, whole or not at all; [`super::read`] gives them back. A CSV file has a column
/// for every field that some record has, and knows neither numbers nor nulls: they come back as
/// text, a null as empty text.
///
/// # Errors
/// Another ending, a file that exists unless it may be replaced, text that a CSV file would give back as a JSON list
/// or object, and what the system refuses.
pub fn write(path: &Path, records: &[Record], replace: bool) -> Result<()> {
    let content = match extension(path).as_str() {
        "jsonl" => json_lines(path, records)?,
        "csv" => csv_table(path, records)?,
        _ => return Err(DataError::Extension { file: path.to_owned(), known: ".jsonl or .csv" }),
    };
    if !replace && path.symlink_metadata().is_ok() {
        return Err(DataError::Exists(path.to_owned()));
    }
    write_whole(path, &content).map_err(|error| DataError::io(path, "write", &error))
}

fn json_lines(path: &Path, records: &[Record]) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    for record in records {
        serde_json::to_writer(&mut content, record).map_err(|error| DataError::file(path, error.to_string()))?;
        content.push(b'\n');
    }
    Ok(content)
}

fn csv_table(path: &Path, records: &[Record]) -> Result<Vec<u8>> {
    let mut names: Vec<&String> = Vec::new();
    for record in records {
        let new: Vec<&String> = record.fields().keys().filter(|name| !names.contains(name)).collect();
        names.extend(new);
    }
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    let failed = |error: ::csv::Error| DataError::file(path, error.to_string());
    if !names.is_empty() {
        writer.write_record(&names).map_err(failed)?;
    }
    for (i, record) in records.iter().enumerate() {
        let cells = names.iter().map(|&name| match record.fields().get(name) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => match csv::cell(text) {
                Ok(Value::String(_)) => Ok(text.clone()),
                _ => {
                    let reason = format!("field `{name}` is text that CSV would give back as JSON: write .jsonl");
                    Err(DataError::row(path, format!("row {}", i + 1), reason))
                }
            },
            Some(other) => Ok(other.to_string()),
        });
        let cells = cells.collect::<Result<Vec<String>>>()?;
        if !cells.is_empty() {
            writer.write_record(&cells).map_err(failed)?;
        }
    }
    writer.into_inner().map_err(|error| DataError::file(path, error.to_string()))
}
