//! `metrics.jsonl`: one flat JSON object a line, with the optimiser update it belongs to under `step`.
//!
//! A line is written whole or, if the machine fails, torn at the end of the file; steps never go down.
//! So the lines up to a checkpoint are a prefix, and a resumed run goes on by cutting the file there.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One line: `step` and named numbers or words, in the order in which they were set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row(Map<String, Value>);

/// Setting and figure of the name that a held-out evaluation's figure has in a row: `eval/<setting>/<figure>`.
pub fn setting_and_figure(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("eval/")?.rsplit_once('/')
}

impl Row {
    /// A row that holds only its step.
    pub fn new(step: usize) -> Self {
        Self(Map::from_iter([("step".to_owned(), step.into())]))
    }

    /// Sets a value. Numbers that are not finite become `null`, as JSON has none.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) -> &mut Self {
        let value = value.into();
        debug_assert!(!value.is_object() && !value.is_array(), "{name}: rows are flat");
        self.0.insert(name.to_owned(), value);
        self
    }

    /// The optimiser update the row belongs to.
    pub fn step(&self) -> usize {
        self.0.get("step").and_then(Value::as_u64).unwrap_or(0) as usize
    }

    /// A number of the row.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.0.get(name)?.as_f64()
    }

    /// Whether the row holds the figures of a held-out evaluation.
    pub fn is_evaluation(&self) -> bool {
        self.0.keys().any(|name| name.starts_with("eval/"))
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The row that a line of a file is.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let row: Map<String, Value> = serde_json::from_slice(line).ok()?;
        row.get("step")?.as_u64()?;
        Some(Self(row))
    }
}

/// What can go wrong with a metrics file.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line before the last one is not a row.
    #[error("{}:{line}: not a line of metrics (a JSON object with a `step`): repair or remove the file", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

/// A metrics file open for appending.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    file: File,
}

impl MetricsFile {
    /// Starts a new file; one that exists is an error.
    ///
    /// # Errors
    /// [`MetricsError::Io`]
    pub fn create(path: &Path) -> Result<Self, MetricsError> {
        let open = OpenOptions::new().append(true).create_new(true).open(path);
        let file = open.map_err(io_error("create", path))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Goes on after the rows of steps up to `step`: all later ones are removed, as is a torn last line.
    /// A file that is missing is started anew, with a warning: the run itself does not depend on it.
    ///
    /// # Errors
    /// [`MetricsError`]
    pub fn resume(path: &Path, step: usize) -> Result<Self, MetricsError> {
        if !path.exists() {
            tracing::warn!("{} is gone: starting a new one at step {step}", path.display());
            return Self::create(path);
        }
        let (rows, end) = scan(path, Some(step))?;
        let file = OpenOptions::new().append(true).open(path).map_err(io_error("open", path))?;
        file.set_len(end).map_err(io_error("shorten", path))?;
        let last = rows.last().map_or(0, Row::step);
        if last < step {
            tracing::warn!("{} ends at step {last}, the checkpoint is of step {step}", path.display());
        }
        Ok(Self { path: path.to_owned(), file })
    }

    /// Appends one row with one write, so that a reader sees whole lines.
    ///
    /// # Errors
    /// [`MetricsError::Io`]
    pub fn append(&mut self, row: &Row) -> Result<(), MetricsError> {
        let mut line = Value::Object(row.0.clone()).to_string();
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(io_error("write to", &self.path))
    }

    /// Waits until all rows are on the disk; to be called before a checkpoint that builds on them.
    ///
    /// # Errors
    /// [`MetricsError::Io`]
    pub fn sync(&self) -> Result<(), MetricsError> {
        self.file.sync_data().map_err(io_error("write to", &self.path))
    }
}

/// All rows of a file; a torn last line is left out.
///
/// # Errors
/// [`MetricsError`]
pub fn read_metrics(path: &Path) -> Result<Vec<Row>, MetricsError> {
    scan(path, None).map(|(rows, _)| rows)
}

/// The rows of steps up to `last` and the offset at which they end.
fn scan(path: &Path, last: Option<usize>) -> Result<(Vec<Row>, u64), MetricsError> {
    let bytes = std::fs::read(path).map_err(io_error("read", path))?;
    let mut rows = Vec::new();
    let mut end = 0;
    for (i, line) in bytes.split_inclusive(|&b| b == b'\n').enumerate() {
        let whole = line.ends_with(b"\n");
        // After a failure of the machine the tail may also be zeros with or without a line break.
        let at_end = end + line.len() == bytes.len();
        match Row::parse(line) {
            Some(row) if whole && last.is_none_or(|last| row.step() <= last) => rows.push(row),
            Some(_) => break,
            None if at_end => break,
            None => return Err(MetricsError::Line { path: path.to_owned(), line: i + 1 }),
        }
        end += line.len();
    }
    Ok((rows, end as u64))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MetricsError {
    move |source| MetricsError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: usize) -> Row {
        let mut row = Row::new(step);
        row.set("reward", step as f64 / 8.0).set("phase", "train");
        row
    }

    fn file_with(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn rows_are_flat_lines_in_the_order_set_and_read_back() {
        let (_dir, path) = file_with("");
        std::fs::remove_file(&path).unwrap();
        let mut file = MetricsFile::create(&path).unwrap();
        file.append(&row(1)).unwrap();
        file.append(Row::new(2).set("loss", f64::NAN)).unwrap();
        file.sync().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"step\":1,\"reward\":0.125,\"phase\":\"train\"}\n{\"step\":2,\"loss\":null}\n");
        let rows = read_metrics(&path).unwrap();
        assert_eq!(rows[0], row(1));
        assert_eq!((rows[0].number("reward"), rows[1].number("loss")), (Some(0.125), None));
        assert!(MetricsFile::create(&path).is_err(), "a file that exists is not overwritten");
    }

    #[test]
    fn resuming_cuts_later_steps_and_a_torn_line() {
        let lines: Vec<String> = (1..=4).map(|s| format!("{{\"step\":{s},\"loss\":0.5}}\n")).collect();
        for torn in ["", "{\"step\":5,\"lo", "{\"step\":5,\"loss\":0.5}", "\0\0\0"] {
            let (_dir, path) = file_with(&(lines.concat() + torn));
            let mut file = MetricsFile::resume(&path, 2).unwrap();
            file.append(Row::new(3).set("loss", 0.25)).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text, lines[..2].concat() + "{\"step\":3,\"loss\":0.25}\n");

            let (_dir, path) = file_with(&(lines.concat() + torn));
            MetricsFile::resume(&path, 9).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), lines.concat(), "after {torn:?}");
        }
    }

    #[test]
    fn several_rows_of_one_step_stay_together() {
        let (_dir, path) = file_with("{\"step\":2,\"loss\":1}\n{\"step\":2,\"eval\":1}\n{\"step\":3}\n");
        MetricsFile::resume(&path, 2).unwrap();
        assert_eq!(read_metrics(&path).unwrap().len(), 2);
    }

    #[test]
    fn a_broken_line_in_the_middle_is_named() {
        let (_dir, path) = file_with("{\"step\":1}\nnonsense\n{\"step\":2}\n");
        let error = MetricsFile::resume(&path, 2).unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl:2:"), "{error}");
    }

    #[test]
    fn a_missing_file_is_started_anew() {
        let (_dir, path) = file_with("");
        std::fs::remove_file(&path).unwrap();
        MetricsFile::resume(&path, 2).unwrap().append(&row(3)).unwrap();
        assert_eq!(read_metrics(&path).unwrap().len(), 1);
    }
}
