//! Runs that keep the best checkpoint, and those that end because there comes no better one.

use std::path::Path;

use super::*;
use crate::config::{Command, Overrides, Resume, from_text, shipped};
use crate::error::USAGE;
use crate::train::retention::Standing;
use crate::train::testing::{Tiny, assert_same, metrics, steps};

const METRIC: &str = "eval/t0.9/reward";

/// Checkpoints and evaluations after every second update, and no more checkpoints than there have to be.
const KEEPING: [&str; 5] = [
    "train.metric_for_best_model=reward",
    "train.save_total_limit=1",
    "train.save_steps=2",
    "eval.eval_steps=2",
    "train.learning_rate=3e-3",
];

/// The steps of the checkpoints, the files of `best/`, and what the last checkpoint notes.
fn left(run: &Path) -> (Vec<usize>, Option<Vec<u8>>, Standing) {
    let run = RunDir::open(run).expect("a run");
    let (saved, best) = (run.saved(), run.best());
    let weights = best.is_dir().then(|| std::fs::read(best.join("adapter_model.safetensors")).expect("weights"));
    let last = saved.last().expect("a checkpoint");
    (saved.clone(), weights, TrainerState::load(&run.checkpoint(*last)).expect("a state").standing)
}

/// The first step with the best figure of a run's metrics.
fn best_step(run: &Path, greater: bool) -> usize {
    let figures = metrics(run).into_iter().filter_map(|row| Some((row["step"].as_u64()?, row.get(METRIC)?.as_f64()?)));
    let better = |a: f64, b: f64| if greater { a > b } else { a < b };
    let best = figures.reduce(|best, next| if better(next.1, best.1) { next } else { best });
    best.expect("evaluations").0 as usize
}

/// Stops a run at some places, goes on, and compares what is left.
fn stop_everywhere(run: &Tiny<'_>, whole: &Path, places: usize) {
    let counting = Stop::at_check(usize::MAX);
    run.run(whole, None, &[], &counting).expect("a whole run");
    let checks = usize::MAX - counting.checks_left();
    for place in (1..=places).map(|i| i * (checks - 1) / places) {
        let dir = whole.with_extension(format!("stopped-{place}"));
        run.run(&dir, None, &[], &Stop::at_check(place)).expect_err("stopped");
        run.succeed(&dir, Some(Resume::Auto), &[]);
        assert_eq!(left(&dir), left(whole), "stopped at check {place} of {checks}");
        assert_same(&dir, whole, &format!("stopped at check {place} of {checks}"));
    }
}

#[test]
fn the_best_and_what_is_deleted_are_the_same_wherever_a_run_was_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    for greater in [true, false] {
        let (whole, direction) =
            (folder.path().join(greater.to_string()), format!("train.greater_is_better={greater}"));
        let changes = [&KEEPING[..], &[direction.as_str()]].concat();
        stop_everywhere(&Tiny { command: Command::Train, changes: &changes }, &whole, 5);
        let (saved, weights, standing) = left(&whole);
        let best = best_step(&whole, greater);
        assert_eq!(standing.best_global_step, Some(best));
        let mut kept = vec![best, 6];
        kept.retain(|&step| step > 0);
        kept.dedup();
        assert_eq!(saved, kept);
        let of_step = |step| std::fs::read(whole.join(format!("checkpoint-{step}/adapter_model.safetensors"))).ok();
        assert_eq!(weights, of_step(best));
    }
}

#[test]
fn an_early_stop_is_an_end_that_more_patience_undoes() {
    let folder = tempfile::tempdir().expect("a folder");
    let (early, whole) = (folder.path().join("early"), folder.path().join("whole"));
    // nothing is improved by so much
    let changes = [&KEEPING[..], &["train.early_stopping_patience=2", "train.early_stopping_threshold=1e6"]].concat();
    let run = Tiny { command: Command::Train, changes: &changes };
    stop_everywhere(&run, &early, 3);
    assert_eq!(steps(&early).last(), Some(&(4, true)));
    assert_eq!(left(&early).2.early_stopping_patience_counter, Some(2));

    let before = metrics(&early);
    run.succeed(&early, Some(Resume::Auto), &[]);
    assert_eq!(metrics(&early), before, "nothing to do");

    let patient = "train.early_stopping_patience=3";
    run.succeed(&early, Some(Resume::Auto), &[patient]);
    run.succeed(&whole, None, &[patient]);
    assert_eq!(left(&early), left(&whole));
    assert_same(&early, &whole, "with more patience");
    assert_eq!(steps(&early).last(), Some(&(6, true)));
}

#[test]
fn fine_tuning_of_all_weights_keeps_a_whole_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("run");
    let run = Tiny { command: Command::Sft, changes: &["sft.batch_size=4", KEEPING[1], KEEPING[2], KEEPING[3]] };
    // of two figures one has become better, whichever it is
    run.succeed(&dir, None, &["train.metric_for_best_model=mean_length"]);
    let found = RunDir::open(&dir).expect("a run");
    if !found.best().exists() {
        run.succeed(
            &dir.with_extension("other"),
            None,
            &["train.metric_for_best_model=mean_length", "train.greater_is_better=false"],
        );
    }
    let dir = if found.best().exists() { dir } else { dir.with_extension("other") };
    for file in ["model.safetensors", "config.json", "tokenizer.json", "README.md", "trainer_state.json"] {
        assert!(dir.join("best").join(file).is_file(), "{file}");
    }
    assert!(!dir.join("best/optimizer.safetensors").exists());
}

#[test]
fn without_its_metrics_a_run_goes_by_what_its_checkpoint_notes() {
    let folder = tempfile::tempdir().expect("a folder");
    let (dir, whole) = (folder.path().join("run"), folder.path().join("whole"));
    let run = Tiny { command: Command::Train, changes: &KEEPING };
    run.succeed(&whole, None, &[]);
    run.succeed(&dir, None, &["train.max_steps=4"]);
    std::fs::remove_file(dir.join("metrics.jsonl")).expect("remove");
    run.succeed(&dir, Some(Resume::Auto), &[]);
    assert_eq!(left(&dir), left(&whole));

    // another figure is judged anew, and has the checkpoints that there are
    run.succeed(&dir, Some(Resume::Auto), &["train.greater_is_better=false", "train.max_steps=8"]);
    let (saved, _, standing) = left(&dir);
    assert!(standing.best_global_step.is_some_and(|step| saved.contains(&step)), "{standing:?} {saved:?}");

    let (code, text) =
        run.fail(&folder.path().join("next"), Some(Resume::From(dir.join("best"))), &["train.max_steps=8"]);
    let step = standing.best_global_step.unwrap_or_default();
    assert!(code == USAGE && text.contains(&format!("go on from checkpoint-{step} of its run")), "{text}");
}

#[test]
fn every_figure_that_can_be_named_is_one_of_the_metrics() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("run");
    let samples = ["eval.num_samples=2"];
    Tiny { command: Command::Train, changes: &samples }.succeed(&dir, None, &["train.max_steps=2"]);
    let set = ["train.metric_for_best_model=none", "eval.temperatures=[0.9]", samples[0]];
    let set = set.iter().map(|set| set.parse().expect("an assignment")).collect();
    let text = shipped("sudoku-tiny").expect("shipped");
    let refused =
        from_text("a.toml".as_ref(), text, &Overrides { set, ..Overrides::default() }, Command::Train).unwrap_err();
    let refused = refused.to_string();
    let names = refused.split_once("there are ").and_then(|(_, names)| names.lines().next()).expect("a list");
    let names: Vec<&str> = names.split([',', ' ']).filter(|name| name.starts_with("eval/")).collect();
    assert!(names.len() == 9 && names.contains(&"eval/t0.9/pass@2"), "{refused}");
    let row = &metrics(&dir)[0];
    assert!(names.iter().all(|name| row.contains_key(*name)), "{names:?} {row:?}");
}
