//! What runs write beside their metrics: the same rows, each once, wherever they are stopped.

use std::path::Path;

use serde_json::Value;

use super::testing::Tiny;
use crate::config::{Command, Resume};
use crate::report::{completion_files, completion_rows, events, read_metrics};
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

/// The values of a column.
fn column(rows: &[Vec<(String, String)>], name: &str) -> Vec<String> {
    rows.iter().flatten().filter(|(column, _)| column == name).map(|(_, value)| value.clone()).collect()
}

#[test]
fn completions_are_kept_once_a_phase_and_are_those_that_were_rewarded() {
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, dir) = (folder.path().join("whole"), folder.path().join("run"));
    let run = Tiny { command: Command::Train, changes: &["train.log_completions=true"] };
    let counting = Stop::at_check(usize::MAX);
    run.run(&whole, None, &[], &counting).expect("a whole run");
    let evaluations = ["eval_00000.parquet", "eval_00004.parquet", "eval_00006.parquet"];
    let phases = ["completions_00001.parquet", "completions_00003.parquet", "completions_00005.parquet"];
    let replays = ["replay_00000.json", "replay_00004.json", "replay_00006.json"];
    assert_eq!(completion_files(&whole), [phases, evaluations, replays].concat());

    let file = |run: &Path, name: &str| completion_rows(&run.join("completions").join(name));
    for (name, metrics) in phases.iter().zip([1, 3, 5]) {
        let rows = file(&whole, name);
        let names: Vec<&str> = rows[0].iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["step", "prompt", "completion", "sudoku", "reward", "advantage"]);
        assert!(column(&rows, "step") == vec![metrics.to_string(); 6] && rows.len() == 6, "{rows:?}");
        let mean =
            |name: &str| column(&rows, name).iter().map(|x| x.parse::<f64>().expect("a number")).sum::<f64>() / 6.0;
        let logged = read_metrics(&whole.join("metrics.jsonl")).expect("metrics");
        let logged = logged.iter().find(|row| row.step() == metrics && !row.is_evaluation()).expect("a row");
        assert!((mean("sudoku") - logged.number("reward").expect("a reward")).abs() < 1e-12);
        assert!(mean("advantage").abs() < 1e-12);
        let texts = column(&rows, "completion");
        assert!(texts.iter().all(|text| !text.is_empty() && !text.contains("<|")), "{texts:?}");
        let prompts = column(&rows, "prompt");
        assert!(prompts[0] == prompts[2] && prompts[2] != prompts[3] && !prompts[3].is_empty(), "{prompts:?}");
    }
    let rows = file(&whole, evaluations[2]);
    assert_eq!((column(&rows, "setting"), rows.len()), (vec!["t0.9".to_owned(); 2], 2));
    let sum = |name: &str| column(&rows, name).iter().map(|x| x.parse::<f64>().expect("a number")).sum::<f64>();
    let logged = read_metrics(&whole.join("metrics.jsonl")).expect("metrics");
    let accuracy = logged.last().and_then(|row| row.number("eval/t0.9/accuracy")).expect("a figure");
    assert!((sum("correct") / sum("out_of") - accuracy).abs() < 1e-12);

    // wherever a run is stopped, it has the same files in the end
    let checks = usize::MAX - counting.checks_left();
    for place in [checks / 3, checks - 1] {
        let dir = folder.path().join(format!("stopped-{place}"));
        run.run(&dir, None, &[], &Stop::at_check(place)).expect_err("stopped");
        let report = std::fs::read_to_string(dir.join("report.html")).expect("a report of what there is");
        // at the last check all updates are made, and an evaluation is not
        assert_eq!(report.contains("not finished"), place < checks - 1, "{place} of {checks}");
        assert!(report.contains("replay-data"), "{place} of {checks}");
        run.succeed(&dir, Some(Resume::Auto), &[]);
        assert_eq!(completion_files(&dir), completion_files(&whole));
        let bytes = |run: &Path, name: &String| std::fs::read(run.join("completions").join(name)).expect("a file");
        assert!(
            completion_files(&dir).iter().all(|name| bytes(&dir, name) == bytes(&whole, name)),
            "{place} of {checks}"
        );
    }

    // a killed run has files beyond its checkpoint, which are none of the run that goes on
    run.succeed(&dir, None, &[]);
    for step in [4, 6] {
        std::fs::remove_dir_all(dir.join(format!("checkpoint-{step}"))).expect("never written");
    }
    run.succeed(&dir, Some(Resume::Auto), &["train.log_completions=false"]);
    assert_eq!(completion_files(&dir), [""; 0]);
}

#[test]
fn fine_tuning_keeps_what_is_written_at_evaluations() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("run");
    let run = Tiny { command: Command::Sft, changes: &["train.log_completions=true", "sft.batch_size=4"] };
    run.succeed(&dir, None, &[]);
    let steps = ["00000", "00004", "00006"];
    let names = [steps.map(|n| format!("eval_{n}.parquet")), steps.map(|n| format!("replay_{n}.json"))];
    assert_eq!(completion_files(&dir), names.concat());
}
