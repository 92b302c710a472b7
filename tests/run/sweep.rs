//! Sweeps: which runs are made, skipped, gone on with and left alone, and what is said of those that fail.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use super::{SHORT, adapter, fail, metrics, spg, start, succeed, train, wait_for};

/// Two points with one seed, of a few seconds each.
const GRID: [&str; 4] = ["--grid", "train.learning_rate=1e-3,3e-3", "--seeds", "7"];
const NAMES: [&str; 2] = ["learning_rate=1e-3,seed=7", "learning_rate=3e-3,seed=7"];

fn sweep(dir: &Path, more: &[&str]) -> Command {
    let mut command = spg(&["sweep", "--config", "configs/sudoku-tiny.toml", "--output-dir"]);
    command.arg(dir).args(SHORT).args(more).env_remove("RAYON_NUM_THREADS");
    command
}

fn said(command: Command) -> (String, String) {
    let output = succeed(command);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn list(dir: &Path) -> Vec<String> {
    let (table, _) = said(sweep(dir, &[&GRID[..], &["--list"]].concat()));
    table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn interrupt(child: &Child) {
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(status.success());
}

#[test]
fn a_sweep_skips_what_is_finished_and_goes_on_with_what_is_broken_to_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("sweep");
    let run = |i: usize| -> PathBuf { dir.join(NAMES[i]) };
    assert_eq!(list(&dir), [format!("{} 1 not begun", NAMES[0]), format!("{} 2 not begun", NAMES[1])]);
    assert!(!dir.exists(), "a list writes nothing");

    said(sweep(&dir, &[&GRID[..], &["--only", "2"]].concat()));
    assert_eq!(list(&dir), [format!("{} 1 not begun", NAMES[0]), format!("{} 2 finished", NAMES[1])]);
    let page = std::fs::read_to_string(dir.join("report.md")).expect("a report");
    assert!(page.contains("1 of 2 runs are finished") && page.contains("seed=7: not begun"), "{page}");

    let mut child = start(sweep(&dir, &GRID));
    wait_for(&run(0).join("checkpoint-2"), &mut child);
    // while one sweep is at it, another one leaves it alone
    let (_, log) = said(sweep(&dir, &[&GRID[..], &["--only", "1"]].concat()));
    assert!(log.contains("learning_rate=1e-3,seed=7: another process is at it"), "{log}");
    interrupt(&child);
    assert_eq!(child.wait().expect("a child").code(), Some(75));
    assert!(!run(0).join("checkpoint-6").exists(), "the signal came too late to test anything");

    let (table, log) = said(sweep(&dir, &[&GRID[..], &["--jobs", "2"]].concat()));
    assert!(log.contains("learning_rate=1e-3,seed=7: goes on after update"), "{log}");
    assert!(log.contains("learning_rate=3e-3,seed=7: finished already"), "{log}");
    assert!(table.contains("learning_rate") && table.contains("reward best"), "{table}");
    let whole = folder.path().join("whole");
    succeed(train(&whole, &["--set", "train.learning_rate=1e-3", "--seed", "7"]));
    assert_eq!(adapter(&run(0), 6), adapter(&whole, 6));
    assert_eq!(metrics(&run(0)), metrics(&whole));

    let before = std::fs::read(run(0).join("run.json")).expect("run.json");
    let (again, _) = said(sweep(&dir, &GRID));
    assert_eq!(again.lines().count(), table.lines().count());
    assert_eq!(std::fs::read(run(0).join("run.json")).expect("run.json"), before, "nothing was started");
    let page = std::fs::read(dir.join("report.md")).expect("a report");
    for name in ["report.md", "report.csv", "training-reward.svg", "held-out-greedy.svg", "held-out-t0.9.svg"] {
        std::fs::remove_file(dir.join(name)).expect("a file of the report");
    }
    said(spg(&["sweep", "--report", dir.to_str().expect("UTF-8")]));
    assert_eq!(std::fs::read(dir.join("report.md")).expect("a report"), page);
    assert!(dir.join("held-out-greedy.svg").exists() && dir.join("report.csv").exists());

    let text = fail(sweep(&dir, &[&GRID[..], &["--set", "train.weight_decay=0.5"]].concat()), 2);
    assert!(text.contains(&format!("{}: train.weight_decay 0.0 -> 0.5", NAMES[0])), "{text}");
}

#[test]
fn a_second_ctrl_c_ended_the_sweep_and_left_its_run_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("sweep");
    // a first evaluation of a minute and more, in which the run would need some seconds to stop
    let long = ["--set", "eval.limit=0", "--set", "eval.num_samples=40", "--set", "eval.temperatures=[0.9]"];
    let mut child = start(sweep(&dir, &[&long[..], &["--seeds", "7"]].concat()));
    wait_for(&dir.join("seed=7/metrics.jsonl"), &mut child);
    interrupt(&child);
    interrupt(&child);
    let code = child.wait().expect("a child").code();
    // two signals can become one before they are delivered
    assert!(code == Some(130) || code == Some(75), "{code:?}");
    let log = std::fs::OpenOptions::new().append(true).open(dir.join("seed=7.log")).expect("a log");
    let asked = Instant::now();
    while log.try_lock().is_err() {
        assert!(asked.elapsed() < Duration::from_secs(10), "the run goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_run_that_fails_is_named_with_its_last_words_and_the_others_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("sweep");
    let grid = "model.name_or_path=examples/none,examples/sudoku-tiny";
    let text = fail(sweep(&dir, &["--grid", grid, "--set", "train.max_steps=2"]), 1);
    assert!(text.contains("1 of 2 runs failed\n  name_or_path=examples_none~"), "{text}");
    assert!(text.contains(": exit code 1; ") && text.contains(".log ends with\n      error: "), "{text}");
    let page = std::fs::read_to_string(dir.join("report.md")).expect("a report");
    assert!(page.contains("1 of 2 runs are finished"), "{page}");
}

#[test]
fn what_cannot_run_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("sweep");
    let text = fail(sweep(&dir, &["--grid", "train.learning_rate=1e-3,-1", "--grid", "lora.r=4,0"]), 2);
    assert!(
        text.contains("nothing was started") && text.contains("- train.learning_rate=-1 lora.r=4: --grid "),
        "{text}"
    );
    assert!(text.contains("- train.learning_rate=0.001 lora.r=0: --grid lora.r=0: "), "{text}");
    // a point with two mistakes has both told
    let both = text.split("- train.learning_rate=-1 lora.r=0: ").nth(1).expect("the point");
    assert!(both.contains("--grid train.learning_rate=-1: ") && both.contains("--grid lora.r=0: "), "{text}");
    let text = fail(sweep(&dir, &[&GRID[..], &["--only", "3"]].concat()), 2);
    assert!(text.contains("--only 3: the runs are 1 to 2"), "{text}");
    assert!(!dir.exists());
    std::fs::create_dir(&dir).expect("create");
    std::fs::write(dir.join("notes.txt"), "mine").expect("write");
    assert!(fail(sweep(&dir, &GRID), 2).contains("is in use and no sweep: it holds \"notes.txt\""));
    assert!(fail(spg(&["sweep", "--report", dir.to_str().expect("UTF-8")]), 2).contains("holds no sweep.json"));
    assert_eq!(std::fs::read_dir(&dir).expect("folder").count(), 1);
}

#[test]
fn a_run_that_was_stopped_early_is_finished() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("sweep");
    let early = [
        "--seeds",
        "7",
        "--set",
        "train.early_stopping_patience=1",
        "--set",
        "train.early_stopping_threshold=1e6",
        "--set",
        "eval.eval_steps=2",
    ];
    let (table, _) = said(sweep(&dir, &early));
    assert!(table.contains("reward best"), "{table}");
    assert!(dir.join("seed=7/checkpoint-2").is_dir() && !dir.join("seed=7/checkpoint-4").exists());
    let (list, _) = said(sweep(&dir, &[&early[..], &["--list"]].concat()));
    assert!(list.contains("finished"), "{list}");
    let (_, log) = said(sweep(&dir, &early));
    assert!(log.contains("seed=7: finished already"), "{log}");
}
