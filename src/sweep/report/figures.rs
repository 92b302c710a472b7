//! The figures of a sweep: those of every finished run, and of every point over its seeds.

use super::super::state::State;
use super::record::{Evaluated, FIGURES, Record};
use super::statistics::{Mean, window};
use crate::config::SweepReportOptions;

/// Everything a report says.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// What the keys are called in which the runs differ.
    pub keys: Vec<String>,
    /// All runs.
    pub records: Vec<Record>,
    /// The points with finished runs.
    pub points: Vec<Point>,
    /// The settings of the evaluations.
    pub settings: Vec<Setting>,
    /// Phases over which the training reward is averaged.
    pub window: usize,
    /// Whether the threshold was asked for.
    pub asked: bool,
}

/// The finished runs of one point.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its values.
    pub values: Vec<String>,
    /// The places of its finished runs among all.
    pub runs: Vec<usize>,
}

/// A setting of the evaluations.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Its name.
    pub label: String,
    /// The held-out reward whose updates and seconds are told; none if no point has ever become better.
    pub threshold: Option<f64>,
}

/// The held-out figures of a finished run at a setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// [`FIGURES`] before the first update.
    pub start: Option<[f64; FIGURES.len()]>,
    /// After the last.
    pub end: [f64; FIGURES.len()],
    /// The largest after some update, each by itself.
    pub best: [f64; FIGURES.len()],
    /// Updates before the best reward, the first one.
    pub best_step: usize,
    /// The first evaluation at or above the threshold.
    pub reached: Option<Reached>,
}

/// When a run reached a threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reached {
    /// Updates.
    pub updates: usize,
    /// Seconds of rollouts and updates.
    pub seconds: f64,
}

impl Outcome {
    /// Of the evaluations of a run, if it has any after an update.
    pub fn of(evaluations: &[Evaluated], threshold: Option<f64>) -> Option<Self> {
        let (start, later): (Vec<&Evaluated>, Vec<&Evaluated>) = evaluations.iter().partition(|e| e.step == 0);
        let last = later.last()?;
        let best = std::array::from_fn(|i| later.iter().map(|e| e.figures[i]).fold(f64::NEG_INFINITY, f64::max));
        let best_step = later.iter().find(|e| e.figures[0] >= best[0]).map_or(last.step, |e| e.step);
        let reaches = |e: &&Evaluated| threshold.is_some_and(|threshold| e.figures[0] >= threshold);
        let reached = evaluations.iter().find(reaches).map(|e| Reached { updates: e.step, seconds: e.seconds });
        Some(Self { start: start.last().map(|e| e.figures), end: last.figures, best, best_step, reached })
    }
}

impl Figures {
    /// The figures of the runs; `keys` names their values.
    pub fn of(keys: &[String], records: Vec<Record>, options: SweepReportOptions) -> Self {
        let mut points: Vec<Point> = Vec::new();
        for (i, record) in records.iter().enumerate().filter(|(_, record)| record.state == State::Finished) {
            match points.iter_mut().find(|point| point.values == record.values) {
                Some(point) => point.runs.push(i),
                None => points.push(Point { values: record.values.clone(), runs: vec![i] }),
            }
        }
        let phases = records.iter().map(|record| record.course.phases.len()).max().unwrap_or(0);
        let mut figures = Self {
            keys: keys.to_vec(),
            records,
            points,
            settings: Vec::new(),
            window: options.window.map_or_else(|| window(phases), |window| window.get()),
            asked: options.threshold.is_some(),
        };
        let mut labels: Vec<String> = Vec::new();
        for (label, _) in figures.finished().flat_map(|record| &record.course.settings) {
            if !labels.contains(label) {
                labels.push(label.clone());
            }
        }
        let setting = |label: String| {
            let threshold = options.threshold.or_else(|| figures.common_threshold(&label));
            Setting { label, threshold }
        };
        figures.settings = labels.into_iter().map(setting).collect();
        figures
    }

    /// The finished runs.
    pub fn finished(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(|record| record.state == State::Finished)
    }

    /// The runs of a point.
    pub fn runs_of(&self, point: &Point) -> impl Iterator<Item = &Record> {
        point.runs.iter().filter_map(|&i| self.records.get(i))
    }

    /// What the runs of a point did at a setting.
    pub fn outcomes(&self, point: &Point, setting: &Setting) -> Vec<Outcome> {
        let outcome = |record: &Record| Outcome::of(record.course.at(&setting.label), setting.threshold);
        self.runs_of(point).filter_map(outcome).collect()
    }

    /// What most points can be compared by: the lowest of the points' mean best rewards, of the points that became
    /// better than they were.
    fn common_threshold(&self, label: &str) -> Option<f64> {
        let setting = Setting { label: label.to_owned(), threshold: None };
        let mean = |values: Vec<f64>| Mean::of(&values).map(|mean| mean.mean);
        let best = |point: &Point| {
            let outcomes = self.outcomes(point, &setting);
            let best = mean(outcomes.iter().map(|o| o.best[0]).collect())?;
            let start = mean(outcomes.iter().filter_map(|o| Some(o.start?[0])).collect());
            start.is_none_or(|start| best > start).then_some(best)
        };
        self.points.iter().filter_map(best).min_by(f64::total_cmp)
    }

    /// What a point is called: `learning_rate=1e-3, beta=2`.
    pub fn name(&self, point: &Point) -> String {
        let parts: Vec<String> =
            self.keys.iter().zip(&point.values).map(|(key, value)| format!("{key}={value}")).collect();
        if parts.is_empty() { "as configured".to_owned() } else { parts.join(", ") }
    }
}
