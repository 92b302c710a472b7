//! What runs write beside their metrics: the same rows, each once, wherever they are stopped.

use std::path::Path;

use serde_json::Value;

use super::testing::Tiny;
use crate::config::{Command, Resume};
use crate::report::{events, read_metrics};
use crate::signal::Stop;

const WITH_EVENTS: &str = "train.report_to=['tensorboard']";

/// The numbers of all metrics, by step and name; `null` is NaN, and NaN is no number to compare.
fn rows(run: &Path) -> Vec<(u64, Vec<(String, String)>)> {
    let rows = read_metrics(&run.join("metrics.jsonl")).expect("metrics");
    let number = |value: &Value| value.as_f64().map(|number| number as f32).unwrap_or(f32::NAN).to_string();
    let numbers = |row: &crate::report::Row| {
        let values = row.iter().filter(|(name, value)| *name != "step" && (value.is_number() || value.is_null()));
        values.map(|(name, value)| (name.to_owned(), number(value))).collect()
    };
    rows.iter().map(|row| (row.step() as u64, numbers(row))).collect()
}

/// The same of all events.
fn shown(run: &Path) -> Vec<(u64, Vec<(String, String)>)> {
    let numbers = |values: Vec<(String, f32)>| values.into_iter().map(|(name, x)| (name, x.to_string())).collect();
    events(run).into_iter().flatten().map(|(step, values)| (step, numbers(values))).collect()
}

#[test]
fn events_are_the_lines_of_metrics_wherever_a_run_was_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    for (command, changes) in [(Command::Train, &[WITH_EVENTS][..]), (Command::Sft, &[WITH_EVENTS, "sft.batch_size=4"])]
    {
        let run = Tiny { command, changes };
        let counting = Stop::at_check(usize::MAX);
        run.run(&folder.path().join(format!("{command:?}")), None, &[], &counting).expect("a whole run");
        let checks = usize::MAX - counting.checks_left();
        for place in (0..5).map(|i| i * (checks - 1) / 4) {
            let dir = folder.path().join(format!("{command:?}-{place}"));
            run.run(&dir, None, &[], &Stop::at_check(place)).expect_err("stopped");
            run.succeed(&dir, Some(Resume::Auto), &[]);
            let steps: Vec<u64> = shown(&dir).iter().map(|(step, _)| *step).collect();
            assert_eq!(steps, [0, 1, 2, 3, 4, 4, 5, 6, 6], "{command:?} stopped at check {place} of {checks}");
            assert_eq!(shown(&dir), rows(&dir), "{command:?} stopped at check {place} of {checks}");
        }
    }
}

/// A run that is killed has lines beyond its last checkpoint, and events beyond its lines.
#[test]
fn what_a_killed_run_wrote_too_much_is_cut_and_what_it_lacks_is_added() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("run");
    let run = Tiny { command: Command::Train, changes: &[WITH_EVENTS] };
    run.succeed(&dir, None, &[]);
    std::fs::remove_dir_all(dir.join("checkpoint-6")).expect("never written");
    run.succeed(&dir, Some(Resume::Auto), &[]);
    assert_eq!(events(&dir).len(), 2, "each start has a file");
    assert_eq!(shown(&dir), rows(&dir));

    // not asked for, later steps go all the same; asked for again, what is missing comes
    std::fs::remove_dir_all(dir.join("checkpoint-6")).expect("never written");
    run.succeed(&dir, Some(Resume::Auto), &["train.report_to=[]"]);
    assert_eq!(shown(&dir).last().map(|(step, _)| *step), Some(4));
    run.succeed(&dir, Some(Resume::Auto), &[]);
    assert_eq!(shown(&dir), rows(&dir));
    let before = events(&dir);
    run.succeed(&dir, Some(Resume::Auto), &[]);
    assert_eq!(events(&dir).len(), before.len(), "a finished run owes nothing");

    // and one that never came to a checkpoint begins again
    for step in [4, 6] {
        std::fs::remove_dir_all(dir.join(format!("checkpoint-{step}"))).expect("never written");
    }
    run.succeed(&dir, Some(Resume::Auto), &[]);
    assert_eq!((events(&dir).len(), shown(&dir)), (1, rows(&dir)));
}

#[test]
fn a_run_has_no_events_unless_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("run");
    super::testing::RL.succeed(&dir, None, &["train.max_steps=2"]);
    assert!(!dir.join("tensorboard").exists());
}
