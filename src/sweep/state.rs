//! How far a run is, by what is in its folder.

use std::fmt;
use std::path::Path;

use anyhow::Result;

use crate::config::{RESOLVED_FILE, RunConfig};
use crate::error::Usage;
use crate::report::read_metrics;
use crate::train::{Retention, RunDir};

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has not begun.
    New,
    /// It has a folder to go on in.
    Begun {
        /// The step of its last checkpoint.
        step: usize,
        /// The step to reach.
        total: usize,
    },
    /// It has its last checkpoint and the evaluation of it, or was stopped early.
    Finished,
}

impl State {
    /// Of the run `config` in this folder.
    ///
    /// # Errors
    /// [`Usage`] for a folder that holds something else; metrics that cannot be read.
    pub fn of(dir: &Path, config: &RunConfig) -> Result<Self> {
        if !dir.join(RESOLVED_FILE).is_file() {
            // a run that another process begins just now is in no folder yet, or in one that counts as free
            if dir.is_file() || RunDir::require_free(dir).is_err() {
                return Err(Usage(format!(
                    "{} is in the way: it holds no {RESOLVED_FILE}, so it is no run; move it, or choose another \
                     --output-dir",
                    dir.display()
                ))
                .into());
            }
            return Ok(Self::New);
        }
        let run = RunDir::open(dir)?;
        let step = run.checkpoints().last().map_or(0, |(step, _)| *step);
        let total = config.train().max_steps.get();
        let stops_early = config.train().early_stopping_patience.is_some();
        if step < total && !stops_early {
            return Ok(Self::Begun { step, total });
        }
        let mut rows = if run.metrics().exists() { read_metrics(&run.metrics())? } else { Vec::new() };
        rows.retain(|row| row.step() <= step);
        let is_over = match step >= total {
            true => rows.iter().any(|row| row.step() == step && row.is_evaluation()),
            false => Retention::of(config, &rows, &run.saved()).verdict().is_some(),
        };
        Ok(if is_over { Self::Finished } else { Self::Begun { step, total } })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("not begun"),
            Self::Begun { step, total } => write!(f, "at {step} of {total}"),
            Self::Finished => f.write_str("finished"),
        }
    }
}
