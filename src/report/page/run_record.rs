//! What the folder of a run says of it, as far as a report needs it. Of many files of completions it reads a few.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;
use toml::Table;

use super::kept::{self, Kept};
use super::spread;
use crate::config::RESOLVED_FILE;
use crate::error::Usage;
use crate::files::read_optional;
use crate::report::completions::CompletionFolder;
use crate::report::{Origin, RUN_FILE, Replay, Row, metrics_file, read_metrics};

/// A run.
#[derive(Clone, Debug, Default)]
pub struct RunRecord {
    /// What it is called here.
    pub name: String,
    /// Its configuration as it was resolved.
    pub config: Table,
    /// The text of that file.
    pub config_text: String,
    /// Who made it: the content of `run.json`, or null.
    pub provenance: Value,
    /// The lines of its metrics.
    pub rows: Vec<Row>,
    /// Completions that it was trained on, of some of its phases, by their first update.
    pub rollouts: Steps<Kept>,
    /// Completions of some of its evaluations.
    pub evaluations: Steps<Kept>,
    /// How some of these were denoised.
    pub replays: Steps<Replay>,
}

/// What was kept of some steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Steps<T> {
    /// Steps and what was kept of them, the earliest first.
    pub shown: Vec<(usize, Vec<T>)>,
    /// How many steps there are.
    pub all: usize,
}

impl<T> Default for Steps<T> {
    fn default() -> Self {
        Self { shown: Vec::new(), all: 0 }
    }
}

/// How many steps of a run a report shows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Phases whose completions are looked at.
    pub rollouts: usize,
    /// Evaluations whose completions are.
    pub evaluations: usize,
    /// Evaluations whose replays are.
    pub replays: usize,
}

impl Limits {
    /// For a report of so many runs.
    pub fn of(runs: usize) -> Self {
        match runs {
            1 => Self { rollouts: 6, evaluations: 12, replays: 8 },
            2..=8 => Self { rollouts: 2, evaluations: 6, replays: 2 },
            _ => Self { rollouts: 1, evaluations: 2, replays: 1 },
        }
    }
}

impl RunRecord {
    /// Reads the folder of a run, which is called `name`.
    ///
    /// # Errors
    /// [`Usage`] for a folder that is none; files that cannot be read or are damaged, by name.
    pub fn read(dir: &Path, name: String, limits: Limits) -> Result<Self> {
        let file = dir.join(RESOLVED_FILE);
        let none = || {
            Usage(format!(
                "{} is no run folder: it holds no {RESOLVED_FILE}, as spg train and spg sft write",
                dir.display()
            ))
        };
        let text = |path: &Path| -> Result<Option<String>> {
            let bytes = read_optional(path).with_context(|| format!("cannot read {}", path.display()))?;
            bytes.map(|b| String::from_utf8(b).with_context(|| format!("{} is no text", path.display()))).transpose()
        };
        let config_text = text(&file)?.ok_or_else(none)?;
        let config = config_text.parse().with_context(|| format!("{} is damaged", file.display()))?;
        let run_file = dir.join(RUN_FILE);
        let provenance = match text(&run_file)? {
            Some(text) => serde_json::from_str(&text).with_context(|| format!("{} is damaged", run_file.display()))?,
            None => Value::Null,
        };
        let metrics = metrics_file(dir);
        let rows = if metrics.exists() { read_metrics(&metrics)? } else { Vec::new() };
        let folder = CompletionFolder::of(dir);
        Ok(Self {
            name,
            config,
            config_text,
            provenance,
            rows,
            rollouts: steps(folder.tables(Origin::Rollout), limits.rollouts, kept::read)?,
            evaluations: steps(folder.tables(Origin::Evaluation), limits.evaluations, kept::read)?,
            replays: steps(folder.replays(), limits.replays, kept::read_replays)?,
        })
    }

    /// `train` or `sft`; none where nothing says so.
    pub fn command(&self) -> Option<&str> {
        self.provenance.get("command")?.as_str()
    }

    /// The value of a key of the configuration, such as `train.max_steps`.
    pub fn key(&self, path: &str) -> Option<&toml::Value> {
        let (tables, last) = path.rsplit_once('.').map_or((None, path), |(tables, last)| (Some(tables), last));
        let table = tables.iter().flat_map(|t| t.split('.')).try_fold(&self.config, |t, key| t.get(key)?.as_table())?;
        table.get(last)
    }

    /// The name of the one table inside another, such as the task's inside `task`.
    pub fn choice(&self, table: &str) -> Option<&str> {
        self.config.get(table)?.as_table()?.keys().next().map(String::as_str)
    }

    /// Updates made, as the metrics have them.
    pub fn step(&self) -> usize {
        self.rows.last().map_or(0, Row::step)
    }
}

fn steps<T>(
    files: Vec<(usize, std::path::PathBuf)>,
    most: usize,
    read: impl Fn(&Path) -> Result<Vec<T>>,
) -> Result<Steps<T>> {
    let chosen = spread(files.len(), most).into_iter().map(|i| &files[i]);
    let shown = chosen.map(|(step, path)| Ok((*step, read(path)?))).collect::<Result<_>>()?;
    Ok(Steps { shown, all: files.len() })
}
