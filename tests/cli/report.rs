//! `spg report`, and the report that a run leaves.

use std::path::Path;

use predicates::prelude::*;
use predicates::str::contains;

use super::spg;

/// A run of two updates that keeps its completions.
fn run(command: &str, config: &str, dir: &Path) {
    let output = dir.to_str().unwrap();
    let set = ["--set", "eval.limit=4", "--set", "train.log_completions=true"];
    spg(&[&[command, "--config", config, "--max-steps", "2", "--output-dir", output][..], &set].concat())
        .assert()
        .success();
}

#[test]
fn runs_leave_a_report_and_the_command_writes_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (train, sft) = (folder.path().join("train"), folder.path().join("sft"));
    for (config, dir) in [("sudoku-tiny", &train), ("sudoku-tiny-sft", &sft)] {
        run(if config.ends_with("sft") { "sft" } else { "train" }, config, dir);
        let file = dir.join("report.html");
        let left = std::fs::read_to_string(&file).unwrap();
        assert!(left.len() < 2_000_000, "{}", left.len());
        for part in ["id=\"replay-data\"", "Held-out accuracy", "Most changed between steps 0 and 2", "2 updates"] {
            assert!(left.contains(part), "{config}: {part}");
        }
        spg(&["report", dir.to_str().unwrap()]).assert().success().stdout(contains("report.html (1 run)"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), left);
    }
    let both = folder.path().join("both.html");
    spg(&["report", train.to_str().unwrap(), sft.to_str().unwrap(), "--out", both.to_str().unwrap()])
        .assert()
        .success();
    let both = std::fs::read_to_string(both).unwrap();
    assert!(both.contains("2 runs compared") && both.contains("What differs") && both.contains("Training reward"));
}

#[test]
fn a_report_of_nothing_says_what_is_wrong_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    spg(&["report", dir]).assert().code(2).stdout("").stderr(contains("is no run folder").and(contains("config.toml")));
    spg(&["report"]).assert().code(2).stderr(contains("<RUN>"));
    std::fs::write(folder.path().join("config.toml"), "").unwrap();
    std::fs::write(folder.path().join("metrics.jsonl"), "{\"step\":1}\n{}\n{\"step\":2}\n").unwrap();
    spg(&["report", dir]).assert().code(1).stdout("").stderr(contains("metrics.jsonl:2: not a line of metrics"));
    assert!(!folder.path().join("report.html").exists());
    std::fs::write(folder.path().join("metrics.jsonl"), "{\"step\":1}\n").unwrap();
    spg(&["report", dir]).assert().success();
    let nowhere = folder.path().join("no/report.html");
    spg(&["report", dir, "--out", nowhere.to_str().unwrap()]).assert().code(1).stderr(contains("cannot write"));
}
