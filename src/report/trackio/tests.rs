//! What stands in the inbox, however often a run begins again.

use super::*;
use crate::config::{Command, Overrides, from_text, shipped};

fn config(run: &Path) -> RunConfig {
    let overrides = Overrides { output_dir: Some(run.to_owned()), ..Overrides::default() };
    let text = shipped("sudoku-tiny").expect("shipped");
    from_text("a.toml".as_ref(), text, &overrides, Command::Train).expect("a config")
}

fn row(step: usize) -> Row {
    let mut row = Row::new(step);
    row.set("reward", step as f64 / 8.0).set("phase", "train").set("loss", f64::NAN);
    row
}

/// The records of all files, folder after folder, and the names of the files.
fn records(inbox: &Path) -> (Vec<Value>, Vec<String>) {
    let sorted = |dir: &Path| {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(dir).expect("a folder").flatten().map(|e| e.path()).collect();
        paths.sort();
        paths
    };
    let files: Vec<PathBuf> = sorted(inbox).iter().flat_map(|writer| sorted(writer)).collect();
    let text: String = files.iter().map(|path| std::fs::read_to_string(path).expect("a file")).collect();
    let records = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let name = |path: &PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
    (records, files.iter().map(name).collect())
}

fn steps(inbox: &Path) -> Vec<u64> {
    let mut steps: Vec<u64> = records(inbox).0.iter().map(|r| r["step"].as_u64().expect("a step")).collect();
    steps.sort_unstable();
    steps
}

#[test]
fn only_what_a_checkpoint_covers_is_handed_over_and_each_row_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let (run, inbox) = (dir.path().join("first"), dir.path().join("inbox"));
    std::fs::create_dir(&run).expect("a folder");
    let config = config(&run);
    let mut trackio = Trackio::new(&config, &inbox).expect("begun");
    [0, 1, 2, 3].map(row).iter().for_each(|row| trackio.append(row));
    assert_eq!(records(&inbox).0.len(), 0, "there is no checkpoint");
    trackio.cover(2);
    trackio.cover(2);
    trackio.append(&row(4));
    let (first, files) = records(&inbox);
    assert_eq!((steps(&inbox), files), (vec![0, 1, 2], vec!["00000000.jsonl".to_owned()]));
    assert_eq!(first[1]["metrics"], json!({ "reward": 0.125, "phase": "train", "loss": "NaN" }));
    let keys: Vec<&String> = first[0].as_object().expect("an object").keys().collect();
    let expected = ["v", "kind", "project", "run", "run_id", "metrics", "step", "timestamp", "config", "log_id"];
    assert_eq!(keys, expected);
    assert_eq!(
        (&first[0]["project"], &first[0]["run"], &first[0]["kind"]),
        (&"spg".into(), &"first".into(), &"metric".into())
    );
    assert!(first[0]["config"]["train"]["max_steps"].is_u64() && first[1]["config"].is_null());
    let stamp = first[0]["timestamp"].as_str().expect("a time");
    assert!(chrono::DateTime::parse_from_rfc3339(stamp).is_ok() && stamp.ends_with("+00:00"), "{stamp}");

    // killed: steps 3 and 4 were not covered, and come again; a second row of step 2 was covered and is owed
    drop(trackio);
    let mut trackio = Trackio::resume(&config, &inbox, 2, &[0, 1, 2, 2].map(row)).expect("resumed");
    assert_eq!(steps(&inbox), [0, 1, 2, 2]);
    [3, 4].map(row).iter().for_each(|row| trackio.append(row));
    trackio.cover(4);
    assert_eq!(steps(&inbox), [0, 1, 2, 2, 3, 4]);
    let (all, mut files) = records(&inbox);
    files.sort();
    assert_eq!(files, ["00000000.jsonl", "00000000.jsonl", "00000001.jsonl"], "a new start numbers in its own folder");
    assert!(all.iter().all(|record| record["run_id"] == first[0]["run_id"]));

    // from an older checkpoint nothing comes twice
    let mut trackio = Trackio::resume(&config, &inbox, 2, &[0, 1, 2, 2].map(row)).expect("resumed");
    [3, 4, 5].map(row).iter().for_each(|row| trackio.append(row));
    trackio.cover(5);
    assert_eq!(steps(&inbox), [0, 1, 2, 2, 3, 4, 5]);
}

#[test]
fn rows_whose_hand_over_was_not_noted_come_again_with_the_ids_they_had() {
    let dir = tempfile::tempdir().expect("a folder");
    let (run, inbox) = (dir.path().join("run"), dir.path().join("inbox"));
    std::fs::create_dir(&run).expect("a folder");
    let config = config(&run);
    let rows = [0, 1, 1].map(row);
    let mut trackio = Trackio::new(&config, &inbox).expect("begun");
    let noted = std::fs::read(run.join("trackio.json")).expect("a state");
    rows.iter().for_each(|row| trackio.append(row));
    trackio.cover(1);
    std::fs::write(run.join("trackio.json"), noted).expect("written");
    drop(Trackio::resume(&config, &inbox, 1, &rows).expect("resumed"));
    let ids = |records: &[Value]| -> Vec<String> { records.iter().map(|r| r["log_id"].to_string()).collect() };
    let ids = ids(&records(&inbox).0);
    assert_eq!(ids[..3], ids[3..]);
    let distinct: std::collections::HashSet<&String> = ids.iter().collect();
    assert_eq!(distinct.len(), 3);
    // another run of the same name is another run
    std::fs::remove_file(run.join("trackio.json")).expect("gone");
    drop(Trackio::resume(&config, &inbox, 1, &rows).expect("resumed"));
    let runs: std::collections::HashSet<String> = records(&inbox).0.iter().map(|r| r["run_id"].to_string()).collect();
    assert_eq!((runs.len(), steps(&inbox).len()), (2, 9));
}

#[test]
fn an_inbox_that_went_away_is_made_again_and_one_that_cannot_be_written_ends_no_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let (run, inbox) = (dir.path().join("run"), dir.path().join("inbox"));
    std::fs::create_dir(&run).expect("a folder");
    let config = config(&run);
    let mut trackio = Trackio::new(&config, &inbox).expect("begun");
    std::fs::remove_dir_all(&inbox).expect("gone");
    trackio.append(&row(0));
    trackio.cover(0);
    assert_eq!(steps(&inbox), [0]);
    // a file in its place
    std::fs::remove_dir_all(&inbox).expect("gone");
    std::fs::write(&inbox, "mine").expect("written");
    trackio.append(&row(1));
    trackio.cover(1);
    std::fs::remove_file(&inbox).expect("gone");
    trackio.append(&row(2));
    trackio.cover(2);
    assert_eq!(steps(&inbox), [1, 2], "what was owed comes with the next checkpoint");
    std::fs::remove_dir_all(&inbox).expect("gone");
    std::fs::write(&inbox, "mine").expect("written");
    let error = format!("{:#}", Trackio::new(&config, &inbox).expect_err("no folder"));
    assert!(error.contains("inbox") && error.contains("TRACKIO_DIR"), "{error}");
}
