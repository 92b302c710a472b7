//! The curves of a sweep: the held-out reward at every setting, and the training reward.

use std::collections::BTreeMap;

use super::figures::{Figures, Setting};
use super::record::Record;
use super::statistics::{Mean, rolling};
use crate::report::{self, Chart, Curve};

/// The picture of the training reward.
pub const TRAINING: &str = "training-reward.svg";

/// The picture of the held-out reward at a setting.
pub fn held_out(setting: &Setting) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    format!("held-out-{}.svg", setting.label.replace(|c| !plain(c), "_"))
}

/// Names and texts of all pictures.
pub fn files(figures: &Figures) -> Vec<(String, String)> {
    let held_out = figures.settings.iter().map(|setting| {
        let course = |record: &Record| -> Vec<(usize, f64)> {
            record.course.at(&setting.label).iter().map(|e| (e.step, e.figures[0])).collect()
        };
        let title = format!("Held-out reward, {}", setting.label);
        (held_out(setting), chart(figures, title, &course, true).svg())
    });
    let training = |record: &Record| -> Vec<(usize, f64)> {
        let (steps, rewards): (Vec<usize>, Vec<f64>) = record.course.phases.iter().copied().unzip();
        steps.into_iter().zip(rolling(&rewards, figures.window)).collect()
    };
    let title = format!("Training reward, mean of the last {}", phases(figures.window));
    let training = (TRAINING.to_owned(), chart(figures, title, &training, false).svg());
    held_out.chain([training]).collect()
}

/// `8 phases`
pub fn phases(window: usize) -> String {
    if window == 1 { "phase".to_owned() } else { format!("{window} phases") }
}

/// A curve for each point: at every step that its finished runs have, mean and spread over them.
fn chart(figures: &Figures, title: String, course: &dyn Fn(&Record) -> Vec<(usize, f64)>, dotted: bool) -> Chart {
    let curve = |point| {
        let mut steps: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for (step, value) in figures.runs_of(point).flat_map(course) {
            steps.entry(step).or_default().push(value);
        }
        let at = |(step, values): (usize, Vec<f64>)| {
            let Mean { mean, spread } = Mean::of(&values)?;
            Some(report::Point { x: step as f64, y: mean, spread })
        };
        Curve { name: figures.name(point), points: steps.into_iter().filter_map(at).collect(), dotted }
    };
    let curves = figures.points.iter().map(curve).collect();
    Chart { title, x_label: "updates".into(), y_label: "reward".into(), curves }
}
