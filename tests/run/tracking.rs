//! Figures and completions of a run that is killed: every step once, in every format, as other programs read them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::*;

const ALL: [&str; 4] = ["--set", "train.report_to=['tensorboard', 'trackio']", "--set", "train.log_completions=true"];

/// Reads a run with the programs that the formats are for, those that are installed, and compares with its metrics.
const READER: &str = "tests/run/tracking.py";

/// The records in an inbox by id: twice the same one is the same.
fn inbox(dir: &Path) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let writers = std::fs::read_dir(dir.join("inbox")).into_iter().flatten().flatten();
    for file in writers.flat_map(|writer| std::fs::read_dir(writer.path()).expect("a folder").flatten()) {
        if file.path().extension().is_some_and(|e| e == "jsonl") {
            for line in std::fs::read_to_string(file.path()).expect("a file").lines() {
                let record: Value = serde_json::from_str(line).expect("JSON");
                let again = found.insert(record["log_id"].to_string(), record.clone());
                assert!(again.is_none_or(|first| first["metrics"] == record["metrics"]), "{record} differs");
            }
        }
    }
    found
}

#[test]
fn a_killed_run_has_every_step_once_in_every_format() {
    let dir = tempfile::tempdir().expect("a folder");
    let (run, trackio) = (dir.path().join("killed"), dir.path().join("trackio"));
    let spg = |more: &[&str]| {
        let mut command = train(&run, &ALL);
        command.env("TRACKIO_DIR", &trackio).args(more);
        command
    };
    for (marker, delay) in [("metrics.jsonl", 30), ("checkpoint-2", 70), ("checkpoint-4", 0)] {
        let resume: &[&str] = if run.exists() { &["--resume"] } else { &[] };
        let mut child = start(spg(resume));
        wait_for(&run.join(marker), &mut child);
        std::thread::sleep(Duration::from_millis(delay));
        child.kill().expect("SIGKILL");
        child.wait().expect("a child");
        let last = [2, 4, 6].into_iter().rfind(|step| run.join(format!("checkpoint-{step}")).is_dir());
        let covered = |record: &Value| record["step"].as_u64() <= last;
        assert!(inbox(&trackio).values().all(covered), "rows beyond checkpoint {last:?} cannot be taken back");
    }
    succeed(spg(&["--resume"]));

    let lines: Vec<Map<String, Value>> = std::fs::read_to_string(run.join("metrics.jsonl"))
        .expect("metrics")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a row"))
        .collect();
    let numbers = |row: &Map<String, Value>| -> String {
        let mut row = row.clone();
        row.shift_remove("step");
        row.values_mut().filter(|value| value.is_null()).for_each(|value| *value = "NaN".into());
        Value::Object(row).to_string()
    };
    let mut expected: Vec<(u64, String)> =
        lines.iter().map(|row| (row["step"].as_u64().expect("a step"), numbers(row))).collect();
    let records = inbox(&trackio);
    let mut shown: Vec<(u64, String)> =
        records.values().map(|r| (r["step"].as_u64().expect("a step"), r["metrics"].to_string())).collect();
    expected.sort();
    shown.sort();
    assert_eq!(shown, expected);
    let runs: Vec<&Value> = records.values().map(|record| &record["run_id"]).collect();
    assert!(runs.iter().all(|run_id| *run_id == runs[0]), "one run, however often it was started");
    let mut kept: Vec<String> = std::fs::read_dir(run.join("completions"))
        .expect("a folder")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    kept.sort();
    let phases = ["completions_00001.parquet", "completions_00003.parquet", "completions_00005.parquet"];
    let evaluations = ["eval_00000.parquet", "eval_00004.parquet", "eval_00006.parquet"];
    let replays = ["replay_00000.json", "replay_00004.json", "replay_00006.json"];
    assert_eq!(kept, [phases, evaluations, replays].concat());

    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut reader = Command::new(python);
    reader.current_dir(env!("CARGO_MANIFEST_DIR")).env("TRACKIO_DIR", &trackio).arg(READER).arg(&run);
    match reader.output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
            eprint!("{text}");
        }
        Err(error) => eprintln!("there is no python to read it with: {error}"),
    }
}
