//! What a run writes down while it lasts: one [`Recorder`], and a sink for every format that was asked for.
//!
//! `metrics.jsonl` leads: a resumed run has exactly the rows that it holds up to the checkpoint, and every sink is
//! brought to them. Rows go to all sinks as they are made; before a checkpoint they are made to last, and after it goes
//! out what nobody can take back.

use std::path::Path;

use anyhow::Result;

use super::completions::{CompletionFolder, CompletionTable};
use super::metrics::{MetricsFile, Row};
use super::replays::Replay;
use super::run_files::metrics_file;
use super::tensorboard::{self, EventFile};
use super::trackio::{self, Trackio};
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
    /// trackio's inbox.
    Trackio(Box<Trackio>),
    /// Files of completions.
    Completions(CompletionFolder),
}

impl Recorder {
    /// Writes nothing: another process does.
    pub fn mute() -> Self {
        Self(Vec::new())
    }

    /// Starts the records of a run in its folder.
    ///
    /// # Errors
    /// Names the file that cannot be written, or is there already.
    pub fn create(config: &RunConfig) -> Result<Self> {
        let run = &config.run().output_dir;
        let metrics = MetricsFile::create(&metrics_file(run))?;
        Self::with(metrics, config, |_, tracker| match tracker {
            Tracker::Tensorboard => Ok(Sink::TensorBoard(EventFile::new(run))),
            Tracker::Trackio => Ok(Sink::Trackio(Trackio::new(config, &trackio::inbox()?)?.into())),
        })
    }

    /// Goes on after the rows of steps up to `step`, which are `rows`; what was written of later ones is removed.
    ///
    /// # Errors
    /// Names the file that cannot be read or written.
    pub fn resume(config: &RunConfig, step: usize, rows: &[Row]) -> Result<Self> {
        let run = &config.run().output_dir;
        let metrics = MetricsFile::resume(&metrics_file(run), step)?;
        // also what is not written any more: it would stand beside other rows of its steps one day
        tensorboard::cut(run, step)?;
        CompletionFolder::of(run).cut(Some(step))?;
        Self::with(metrics, config, |metrics, tracker| match tracker {
            Tracker::Tensorboard => Ok(Sink::TensorBoard(EventFile::resume(run, step, rows)?)),
            Tracker::Trackio => {
                metrics.sync()?;
                Ok(Sink::Trackio(Trackio::resume(config, &trackio::inbox()?, step, rows)?.into()))
            }
        })
    }

    fn with(
        metrics: MetricsFile,
        config: &RunConfig,
        open: impl Fn(&MetricsFile, Tracker) -> Result<Sink>,
    ) -> Result<Self> {
        let others = config.train().report_to.iter().map(|&tracker| open(&metrics, tracker));
        let others: Vec<Sink> = others.collect::<Result<_>>()?;
        let mut sinks = vec![Sink::Metrics(metrics)];
        sinks.extend(others);
        if config.train().log_completions {
            sinks.push(Sink::Completions(CompletionFolder::of(&config.run().output_dir)));
        }
        Ok(Self(sinks))
    }

    /// Removes what a run wrote that never came to a checkpoint.
    pub fn discard(run: &Path) {
        let _ = std::fs::remove_file(metrics_file(run));
        let _ = CompletionFolder::of(run).cut(None);
        tensorboard::discard(run);
        trackio::discard(run);
    }

    /// Writes a row.
    ///
    /// # Errors
    /// Names the file that cannot be written.
    pub fn row(&mut self, row: &Row) -> Result<()> {
        self.0.iter_mut().try_for_each(|sink| match sink {
            Sink::Metrics(file) => Ok(file.append(row)?),
            Sink::TensorBoard(file) => file.append(row),
            Sink::Trackio(trackio) => {
                trackio.append(row);
                Ok(())
            }
            Sink::Completions(_) => Ok(()),
        })
    }

    /// Keeps completions, if that was asked for. To be called before the rows that they are of: where those are, these
    /// are, too.
    ///
    /// # Errors
    /// Names the file that cannot be written.
    pub fn completions(&mut self, table: &CompletionTable) -> Result<()> {
        self.0.iter().try_for_each(|sink| match sink {
            Sink::Completions(folder) => folder.write(table),
            Sink::Metrics(_) | Sink::TensorBoard(_) | Sink::Trackio(_) => Ok(()),
        })
    }

    /// Keeps how completions of a step were denoised, as [`Recorder::completions`] keeps completions.
    ///
    /// # Errors
    /// Names the file that cannot be written.
    pub fn replays(&mut self, step: usize, replays: &[Replay]) -> Result<()> {
        self.0.iter().try_for_each(|sink| match sink {
            Sink::Completions(folder) => folder.write_replays(step, replays),
            Sink::Metrics(_) | Sink::TensorBoard(_) | Sink::Trackio(_) => Ok(()),
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
            Sink::Trackio(_) => Ok(()),
            Sink::Completions(folder) => folder.sync(),
        })
    }

    /// Hands over what cannot be taken back: rows of steps up to `step`, of which there is a checkpoint, on the disk like
    /// everything before it.
    ///
    /// # Errors
    /// Names the file of metrics that cannot be written.
    pub fn covered(&mut self, step: usize) -> Result<()> {
        if self.0.iter().any(|sink| matches!(sink, Sink::Trackio(_))) {
            self.sync()?;
        }
        for sink in &mut self.0 {
            if let Sink::Trackio(trackio) = sink {
                trackio.cover(step);
            }
        }
        Ok(())
    }
}
