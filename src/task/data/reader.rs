//! A file of records, by the ending of its name.

use std::path::Path;

use super::{DataError, Result, csv, jsonl, parquet};
use crate::task::Record;

const KNOWN: &str = ".parquet, .jsonl, .ndjson, .json, .csv or .tsv";

/// A record and where it stands in its file.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// `line 3` in files of lines, `row 3` in others; both count from 1.
    pub place: String,
    /// The record.
    pub record: Record,
}

/// Reads all records of a file: `.parquet`; `.jsonl` and `.ndjson` (an object a line); `.json` (a list of objects,
/// or an object a line); `.csv` and `.tsv` (with a line of column names; a cell that is a JSON list or object is
/// read as such, all others are text, empty ones too). There may be none.
///
/// # Errors
/// Naming the file, and where possible the line or row.
pub fn read(path: &Path) -> Result<Vec<Row>> {
    let content = || std::fs::read(path).map_err(|error| DataError::io(path, "read", &error));
    match extension(path).as_str() {
        "parquet" => parquet::read(path),
        "jsonl" | "ndjson" => jsonl::read_lines(path, &content()?),
        "json" => jsonl::read_json(path, &content()?),
        "csv" => csv::read(path, &content()?, b','),
        "tsv" => csv::read(path, &content()?, b'\t'),
        _ => Err(DataError::Extension { file: path.to_owned(), known: KNOWN }),
    }
}

/// The ending of a file's name in lower case, without the dot.
pub(super) fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase()
}
