//! What a run writes down while it lasts: one [`Recorder`], and a sink for every format that was asked for.
//!
//! `metrics.jsonl` leads: a resumed run has exactly the rows that it holds up to the checkpoint, and every sink is
//! brought to them. Rows go to all sinks as they are made; before a checkpoint they are made to last.

use std::path::Path;

use anyhow::Result;

use super::metrics::{MetricsFile, Row};
use super::run_files::metrics_file;
use super::tensorboard::{self, EventFile};
use crate::config::{RunConfig, Tracker};

/// The open files of a run.
#[derive(Debug)]
pub struct Recorder(Vec<Sink>);

/// One format.
#[derive(Debug)]
enum Sink {
    /// `metrics.jsonl`; always there, and the first.
    Metrics(MetricsFile),
    /// TensorBoard's event files.
    TensorBoard(EventFile),
}

impl Recorder {
    /// Starts the records of a run in its folder.
    ///
    /// # Errors
    /// Names the file that cannot be written, or is there already.
    pub fn create(config: &RunConfig) -> Result<Self> {
        let run = &config.run().output_dir;
        let metrics = Sink::Metrics(MetricsFile::create(&metrics_file(run))?);
        Self::with(metrics, config, |tracker| match tracker {
            Tracker::Tensorboard => Ok(Sink::TensorBoard(EventFile::new(run))),
        })
    }

    /// Goes on after the rows of steps up to `step`, which are `rows`; what was written of later ones is removed.
    ///
    /// # Errors
    /// Names the file that cannot be read or written.
    pub fn resume(config: &RunConfig, step: usize, rows: &[Row]) -> Result<Self> {
        let run = &config.run().output_dir;
        let metrics = Sink::Metrics(MetricsFile::resume(&metrics_file(run), step)?);
        // also what is not written any more: it would stand beside other rows of its steps one day
        tensorboard::cut(run, step)?;
        Self::with(metrics, config, |tracker| match tracker {
            Tracker::Tensorboard => Ok(Sink::TensorBoard(EventFile::resume(run, step, rows)?)),
        })
    }

    fn with(metrics: Sink, config: &RunConfig, open: impl Fn(Tracker) -> Result<Sink>) -> Result<Self> {
        let others = config.train().report_to.iter().map(|&tracker| open(tracker));
        Ok(Self(std::iter::once(Ok(metrics)).chain(others).collect::<Result<_>>()?))
    }

    /// Removes what a run wrote that never came to a checkpoint.
    pub fn discard(run: &Path) {
        let _ = std::fs::remove_file(metrics_file(run));
        tensorboard::discard(run);
    }

    /// Writes a row.
    ///
    /// # Errors
    /// Names the file that cannot be written.
    pub fn row(&mut self, row: &Row) -> Result<()> {
        self.0.iter_mut().try_for_each(|sink| match sink {
            Sink::Metrics(file) => Ok(file.append(row)?),
            Sink::TensorBoard(file) => file.append(row),
        })
    }

    /// Waits until everything is on the disk; to be called before a checkpoint that builds on it.
    ///
    /// # Errors
    /// Names the file that cannot be written.
    pub fn sync(&self) -> Result<()> {
        self.0.iter().try_for_each(|sink| match sink {
            Sink::Metrics(file) => Ok(file.sync()?),
            Sink::TensorBoard(file) => file.sync(),
        })
    }
}
