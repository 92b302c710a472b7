//! What the folder of a run says of it.

use std::path::Path;

use anyhow::Result;
use toml::{Table, Value};

use super::super::manifest::{Entry, Manifest};
use super::super::names::short;
use super::super::state::State;
use crate::config::{self, Assignment, Command, Overrides, RESOLVED_FILE};
use crate::report::{Row, metrics_file, read_metrics, setting_and_figure};

/// The held-out figures of the metrics that a report tells; the first one is that of curves and thresholds.
pub const FIGURES: [&str; 3] = ["reward", "accuracy", "solved"];

/// A run.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its folder.
    pub name: String,
    /// Its seed.
    pub seed: u64,
    /// The values of the keys that differ between runs, in their order.
    pub values: Vec<String>,
    /// How far it is.
    pub state: State,
    /// What it did.
    pub course: Course,
}

/// The lines of a run's metrics, as far as a report needs them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Course {
    /// Updates.
    pub updates: usize,
    /// Seconds of rollouts and updates.
    pub seconds: f64,
    /// The last update and the training reward of every phase.
    pub phases: Vec<(usize, f64)>,
    /// The evaluations at every setting, in the order in which the metrics name the settings.
    pub settings: Vec<(String, Vec<Evaluated>)>,
}

/// A held-out evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluated {
    /// Updates before it.
    pub step: usize,
    /// Seconds of rollouts and updates before it.
    pub seconds: f64,
    /// [`FIGURES`]
    pub figures: [f64; FIGURES.len()],
}

impl Course {
    /// The rows of a run, by step.
    pub fn of(rows: &[Row]) -> Self {
        let mut course = Self::default();
        let mut phase = None;
        for row in rows {
            course.evaluated(row);
            let Some(update) = row.number("update_seconds") else { continue };
            course.updates = row.step();
            course.seconds += update;
            // the updates of a phase repeat what is told of its completions
            let reward = row.number("reward").map(|reward| (row.step(), reward));
            match course.phases.last_mut().filter(|_| phase == row.number("iteration")) {
                Some(last) => last.0 = row.step(),
                None => {
                    course.phases.extend(reward);
                    course.seconds += row.number("rollout_seconds").unwrap_or(0.0);
                }
            }
            phase = row.number("iteration");
        }
        course
    }

    fn evaluated(&mut self, row: &Row) {
        let figures = row.iter().filter_map(|(name, _)| setting_and_figure(name));
        for (label, _) in figures.filter(|(_, figure)| *figure == "reward") {
            let figure = |name: &str| row.number(&format!("eval/{label}/{name}"));
            let [Some(reward), Some(accuracy), Some(solved)] = FIGURES.map(figure) else { continue };
            let evaluated = Evaluated { step: row.step(), seconds: self.seconds, figures: [reward, accuracy, solved] };
            match self.settings.iter_mut().find(|(known, _)| known == label) {
                Some((_, all)) => all.push(evaluated),
                None => self.settings.push((label.to_owned(), vec![evaluated])),
            }
        }
    }

    /// The evaluations at a setting.
    pub fn at(&self, label: &str) -> &[Evaluated] {
        self.settings.iter().find(|(known, _)| known == label).map_or(&[], |(_, all)| all)
    }
}

/// The keys in which the runs of a sweep differ, and the runs.
///
/// # Errors
/// Files that cannot be read.
pub fn read(dir: &Path, manifest: &Manifest) -> Result<(Vec<String>, Vec<Record>)> {
    let points = manifest.runs.iter().map(Entry::assignments).collect::<Result<Vec<_>>>()?;
    let mut keys: Vec<Assignment> = Vec::new();
    for assignment in points.iter().flatten() {
        if keys.iter().all(|key| key.path() != assignment.path()) {
            keys.push(assignment.clone());
        }
    }
    let record = |(entry, point): (&Entry, &Vec<Assignment>)| one(dir, entry, point, &keys);
    let records = manifest.runs.iter().zip(&points).map(record).collect::<Result<_>>()?;
    Ok((keys.iter().map(Assignment::key).collect(), records))
}

fn one(dir: &Path, entry: &Entry, point: &[Assignment], keys: &[Assignment]) -> Result<Record> {
    let folder = dir.join(&entry.name);
    let resolved = folder.join(RESOLVED_FILE);
    let mut table = Table::new();
    let mut record = Record {
        name: entry.name.clone(),
        seed: entry.seed,
        values: Vec::new(),
        state: State::New,
        course: Course::default(),
    };
    if resolved.is_file() {
        let config = config::load(&resolved, &Overrides::default(), Command::Train)?;
        record.state = State::of(&folder, &config)?;
        table = config.to_toml()?.parse()?;
        let metrics = metrics_file(&folder);
        if metrics.exists() {
            record.course = Course::of(&read_metrics(&metrics)?);
        }
    }
    // what a point does not say, as those of a call with other axes, is in the run's configuration
    let value = |key: &Assignment| match point.iter().find(|a| a.path() == key.path()) {
        Some(assignment) => short(assignment.value()),
        None => resolved_value(&table, key.path()).unwrap_or_default(),
    };
    record.values = keys.iter().map(value).collect();
    Ok(record)
}

/// The value of a key in a resolved configuration; of a choice such as `algorithm`, the name.
fn resolved_value(table: &Table, path: &[String]) -> Option<String> {
    let (first, rest) = path.split_first()?;
    let value = if first == "*" { table.values().next()? } else { table.get(first)? };
    match value {
        Value::Table(table) if rest.is_empty() => table.keys().next().cloned(),
        Value::Table(table) => resolved_value(table, rest),
        value => rest.is_empty().then(|| short(value)),
    }
}
