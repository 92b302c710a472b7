//! Reports of run folders made by hand, with figures computed by hand.

use std::path::{Path, PathBuf};

use super::super::folder::Folder;
use super::super::plan::{Run, plan};
use super::super::testing::request;
use super::*;
use crate::config::{self, RESOLVED_FILE};

/// `(updates, greedy reward)`
type Evaluations<'a> = &'a [(usize, f64)];

fn sweep(dir: &Path, grid: &[&str], seeds: &[u64]) -> Vec<Run> {
    let request = request(dir, grid, &["train.max_steps=4", "algorithm.spg.num_iterations=2"], seeds);
    let text = config::shipped("sudoku-tiny").expect("shipped");
    let runs = plan(&request, text).expect("a plan");
    Folder::open(&request, text, &runs).expect("a folder");
    runs
}

/// A run folder with phases of two updates, of 10 s for completions and 1 s an update.
fn fill(dir: &Path, run: &Run, rewards: &[f64], evaluations: Evaluations<'_>, checkpoint: usize) {
    let folder = dir.join(&run.name);
    let last = folder.join(format!("checkpoint-{checkpoint}"));
    std::fs::create_dir_all(&last).expect("create");
    std::fs::write(last.join("trainer_state.json"), format!("{{\"global_step\":{checkpoint}}}")).expect("write");
    std::fs::write(folder.join(RESOLVED_FILE), run.config.to_toml().expect("TOML")).expect("write");
    let mut lines = String::new();
    for step in 0..=2 * rewards.len() {
        if step > 0 {
            let (phase, reward) = (step.div_ceil(2), rewards[(step - 1) / 2]);
            lines += &format!(
                "{{\"step\":{step},\"iteration\":{phase},\"reward\":{reward},\"rollout_seconds\":10,\"update_seconds\":1}}\n"
            );
        }
        for (_, reward) in evaluations.iter().filter(|(at, _)| *at == step) {
            let half = reward / 2.0;
            lines += &format!(
                "{{\"step\":{step},\"eval/greedy/reward\":{reward},\"eval/greedy/accuracy\":{half},\"eval/greedy/solved\":0.25}}\n"
            );
        }
    }
    std::fs::write(folder.join("metrics.jsonl"), lines).expect("write");
}

fn text(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(name)).expect("a file of the report")
}

/// Two points: one with two finished runs and a broken one, one with a finished run.
fn example() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("sweep");
    let runs = sweep(&dir, &["train.learning_rate=1e-3,2e-3"], &[1, 2, 3]);
    fill(&dir, &runs[0], &[0.1, 0.3], &[(0, 0.2), (2, 0.6), (4, 0.4)], 4);
    fill(&dir, &runs[1], &[0.3, 0.5], &[(0, 0.2), (2, 0.3), (4, 0.8)], 4);
    fill(&dir, &runs[2], &[0.9], &[(0, 0.2), (2, 0.9)], 2);
    fill(&dir, &runs[3], &[0.2, 0.2], &[(0, 0.2), (2, 0.9), (4, 1.0)], 4);
    (folder, dir)
}

#[test]
fn the_figures_are_those_of_the_finished_runs() {
    let (_folder, dir) = example();
    write(&dir, SweepReportOptions::default()).expect("a report");
    let page = text(&dir, PAGE);
    // best rewards 0.6 and 0.8: the lowest mean is 0.7, which the first run never reaches and the second at its end;
    // two phases take 2 * (10 + 2 * 1) s
    let line = "| 1e-3 | 2 | 0.200 ± 0.000 | 0.600 ± 0.283 | 0.700 ± 0.141 | 0.100 ± 0.000 | 0.300 ± 0.141 | 0.350 ± 0.071 \
                | 4 (1 of 2) | 24.0 (1 of 2) | 24.0 ± 0.0 |";
    assert!(page.contains(line), "{page}");
    let line = "| 2e-3 | 1 | 0.200 | 1.000 | 1.000 | 0.100 | 0.500 | 0.500 | 2 | 12.0 | 24.0 |";
    assert!(page.contains(line), "{page}");
    assert!(page.contains("| updates to 0.700 | seconds to 0.700 |"), "{page}");
    assert!(
        page.contains("The threshold, a reward of 0.700, is the lowest of the points' mean best rewards"),
        "{page}"
    );
    assert!(page.contains("3 of 6 runs are finished"), "{page}");
    assert!(
        page.contains("- learning\\_rate=1e-3,seed=3: at 2 of 4\n- learning\\_rate=2e-3,seed=2: not begun"),
        "{page}"
    );
    for picture in ["held-out-greedy.svg", "training-reward.svg"] {
        assert!(page.contains(&format!("]({picture})")) && text(&dir, picture).ends_with("</svg>\n"), "{page}");
    }
    assert!(
        page.contains("```\nspg sweep --config sudoku-tiny --grid train.learning_rate=0.001,0.002 --seeds 1,2,3 "),
        "{page}"
    );

    let table = text(&dir, TABLE);
    let mut reader = ::csv::Reader::from_reader(table.as_bytes());
    let header = reader.headers().expect("a header").clone();
    let rows: Vec<::csv::StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
    let cell = |row: usize, name: &str| {
        let column = header.iter().position(|h| h == name).unwrap_or_else(|| panic!("{name} is not in {header:?}"));
        rows[row][column].to_owned()
    };
    assert_eq!(rows.len(), 6);
    let of = |row: usize| {
        ["learning_rate", "seed", "state", "updates", "seconds", "greedy/reward/best", "greedy/best_updates"]
            .map(|n| cell(row, n))
    };
    assert_eq!(of(0), ["1e-3", "1", "finished", "4", "24", "0.6", "2"]);
    assert_eq!(of(1), ["1e-3", "2", "finished", "4", "24", "0.8", "4"]);
    assert_eq!(of(2), ["1e-3", "3", "at 2 of 4", "2", "12", "", ""]);
    assert_eq!(of(4), ["2e-3", "2", "not begun", "0", "0", "", ""]);
    assert_eq!([cell(0, "greedy/updates_to_threshold"), cell(1, "greedy/updates_to_threshold")], ["", "4"]);
    assert_eq!(cell(3, "greedy/seconds_to_threshold"), "12");
    assert_eq!(cell(0, "training_reward"), "0.3", "the square root of two phases is one");
}

#[test]
fn thresholds_and_windows_are_those_that_are_asked_for() {
    let (_folder, dir) = example();
    let options = SweepReportOptions { threshold: Some(0.2), window: std::num::NonZeroUsize::new(2) };
    let summary = write(&dir, options).expect("a report");
    assert!(summary.contains("updates to 0.200") && summary.ends_with("report.md"), "{summary}");
    let page = text(&dir, PAGE);
    assert!(page.contains("| 0 ± 0 | 0.0 ± 0.0 |") && page.contains("was asked for"), "{page}");
    let line = "\n\"learning_rate=1e-3,seed=1\",1e-3,1,finished,4,24,0.2,";
    assert!(text(&dir, TABLE).contains(line), "the mean of 0.1 and 0.3");
    assert!(text(&dir, "training-reward.svg").contains("mean of the last 2 phases"));
    write(&dir, SweepReportOptions { threshold: Some(7.0), ..options }).expect("a report");
    assert!(text(&dir, PAGE).contains("| - | - | 24.0 ± 0.0 |"), "nobody reaches it");
}

#[test]
fn a_point_that_never_became_better_sets_no_threshold() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("sweep");
    let runs = sweep(&dir, &["train.learning_rate=1e-3,2e-3"], &[1]);
    fill(&dir, &runs[0], &[0.1, 0.1], &[(0, 0.5), (4, 0.5)], 4);
    write(&dir, SweepReportOptions::default()).expect("a report");
    assert!(text(&dir, PAGE).contains("There is no threshold"), "{}", text(&dir, PAGE));
    fill(&dir, &runs[1], &[0.1, 0.1], &[(0, 0.5), (4, 0.75)], 4);
    write(&dir, SweepReportOptions::default()).expect("a report");
    assert!(text(&dir, PAGE).contains("a reward of 0.750"), "{}", text(&dir, PAGE));
}

#[test]
fn a_sweep_without_a_finished_run_has_a_report_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("sweep");
    sweep(&dir, &["model.name_or_path='a|b <i>&`','x'"], &[1]);
    let summary = write(&dir, SweepReportOptions::default()).expect("a report");
    assert!(summary.starts_with("no run is finished"), "{summary}");
    let page = text(&dir, PAGE);
    assert!(page.contains("0 of 2 runs are finished") && !page.contains("NaN"), "{page}");
    assert!(text(&dir, "training-reward.svg").contains("no finished run"));
}

#[test]
fn values_are_not_markup() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("sweep");
    let runs = sweep(&dir, &["model.name_or_path='a|b <i>&*`'"], &[1]);
    fill(&dir, &runs[0], &[0.1, 0.2], &[(0, 0.5), (4, 0.75)], 4);
    write(&dir, SweepReportOptions::default()).expect("a report");
    assert!(text(&dir, PAGE).contains("| a\\|b &lt;i>&amp;\\*\\` | 1 |"), "{}", text(&dir, PAGE));
    assert!(text(&dir, "held-out-greedy.svg").contains("name_or_path=a|b &lt;i&gt;&amp;*`"));
}

#[test]
fn points_of_calls_with_other_axes_stand_in_one_table() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("sweep");
    let first = sweep(&dir, &["train.learning_rate=1e-3"], &[1]);
    let second = sweep(&dir, &["algorithm=spg,{spg={num_t=1, num_iterations=2}}"], &[1]);
    for run in first.iter().chain(&second) {
        fill(&dir, run, &[0.1, 0.2], &[(0, 0.5), (4, 0.75)], 4);
    }
    write(&dir, SweepReportOptions::default()).expect("a report");
    let table = text(&dir, TABLE);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("run,learning_rate,algorithm,seed,"), "{table}");
    assert!(lines[1].starts_with("\"learning_rate=1e-3,seed=1\",1e-3,spg,1,finished,"), "{table}");
    assert!(lines[2].starts_with("\"algorithm=spg,seed=1\",3e-4,spg,1,finished,"), "{table}");
}

#[test]
fn a_folder_that_is_no_sweep_has_no_report() {
    let dir = tempfile::tempdir().expect("a folder");
    let error = write(dir.path(), SweepReportOptions::default()).expect_err("no sweep");
    assert!(error.is::<Usage>() && error.to_string().contains("holds no sweep.json"), "{error:#}");
    assert_eq!(std::fs::read_dir(dir.path()).expect("folder").count(), 0);
}
