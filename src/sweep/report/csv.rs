//! `report.csv`: a line a run with all its numbers.

use anyhow::{Context as _, Result};

use super::super::state::State;
use super::figures::{Figures, Outcome};
use super::record::FIGURES;
use super::statistics::rolling;

/// The table. Runs that are not finished have no figures: only what they are and how far.
///
/// # Errors
/// None that is known; the writer's.
pub fn table(figures: &Figures) -> Result<String> {
    let mut header: Vec<String> = vec!["run".into()];
    header.extend(figures.keys.iter().cloned());
    header.extend(["seed", "state", "updates", "seconds", "training_reward"].map(str::to_owned));
    for setting in &figures.settings {
        for figure in FIGURES {
            header.extend(["start", "end", "best"].map(|when| format!("{}/{figure}/{when}", setting.label)));
        }
        let more = ["best_updates", "threshold", "updates_to_threshold", "seconds_to_threshold"];
        header.extend(more.map(|name| format!("{}/{name}", setting.label)));
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(&header)?;
    for record in &figures.records {
        let finished = record.state == State::Finished;
        let mut line = vec![record.name.clone()];
        line.extend(record.values.iter().cloned());
        let rewards: Vec<f64> = record.course.phases.iter().map(|(_, reward)| *reward).collect();
        let training = rolling(&rewards, figures.window).pop().filter(|_| finished);
        line.extend([record.seed.to_string(), record.state.to_string(), record.course.updates.to_string()]);
        line.extend([record.course.seconds.to_string(), number(training)]);
        for setting in &figures.settings {
            let outcome = Outcome::of(record.course.at(&setting.label), setting.threshold).filter(|_| finished);
            let outcome = outcome.as_ref();
            for i in 0..FIGURES.len() {
                let start = outcome.and_then(|o| o.start).map(|start| start[i]);
                line.extend([start, outcome.map(|o| o.end[i]), outcome.map(|o| o.best[i])].map(number));
            }
            let reached = outcome.and_then(|o| o.reached);
            line.push(outcome.map(|o| o.best_step.to_string()).unwrap_or_default());
            line.push(number(setting.threshold));
            line.push(reached.map(|r| r.updates.to_string()).unwrap_or_default());
            line.push(number(reached.map(|r| r.seconds)));
        }
        writer.write_record(&line)?;
    }
    let bytes = writer.into_inner().context("the table cannot be made")?;
    String::from_utf8(bytes).context("the table is no text")
}

fn number(value: Option<f64>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}
