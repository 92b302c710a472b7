//! What a run writes down while it lasts: one [`Recorder`], and a sink for every format that was asked for.
//!
//! `metrics.jsonl` leads: a resumed run has exactly the rows that it holds up to the checkpoint, and every sink is
//! brought to them. Rows go to all sinks as they are made; before a checkpoint they are made to last.

use std::path::Path;

use anyhow::Result;

use super::metrics::{MetricsFile, Row};
use super::run_files::metrics_file;

/// The open files of a run.
#[derive(Debug)]
pub struct Recorder(Vec<Sink>);

/// One format.
#[derive(Debug)]
enum Sink {
    /// `metrics.jsonl`; always there, and the first.
    Metrics(MetricsFile),
}

impl Recorder {
    /// Starts the records of a run that begins in the folder `run`.
    ///
    /// # Errors
    /// Names the file that cannot be written, or is there already.
    pub fn create(run: &Path) -> Result<Self> {
        Ok(Self(vec![Sink::Metrics(MetricsFile::create(&metrics_file(run))?)]))
    }

    /// Goes on after the rows of steps up to `step`; what was written of later ones is removed.
    ///
    /// # Errors
    /// Names the file that cannot be read or written.
    pub fn resume(run: &Path, step: usize) -> Result<Self> {
        Ok(Self(vec![Sink::Metrics(MetricsFile::resume(&metrics_file(run), step)?)]))
    }

    /// Removes what a run wrote that never came to a checkpoint.
    pub fn discard(run: &Path) {
        let _ = std::fs::remove_file(metrics_file(run));
    }

    /// Writes a row.
    ///
    /// # Errors
    /// Names the file that cannot be written.
    pub fn row(&mut self, row: &Row) -> Result<()> {
        self.0.iter_mut().try_for_each(|sink| match sink {
            Sink::Metrics(file) => Ok(file.append(row)?),
        })
    }

    /// Waits until everything is on the disk; to be called before a checkpoint that builds on it.
    ///
    /// # Errors
    /// Names the file that cannot be written.
    pub fn sync(&self) -> Result<()> {
        self.0.iter().try_for_each(|sink| match sink {
            Sink::Metrics(file) => Ok(file.sync()?),
        })
    }
}
