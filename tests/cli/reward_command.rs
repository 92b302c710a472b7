//! `examples/reward-command`: its program on the other end of the protocol, with its own records.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use spg::signal::Stop;
use spg::task::Record;
use spg::task::command::{Request, RewardCommand};

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/reward-command").join(file)
}

fn words() -> Vec<Record> {
    let text = std::fs::read_to_string(example("words.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn python_is_there() -> bool {
    let run = Command::new("python3").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

#[test]
fn the_words_are_distinct_and_in_the_tiny_models_alphabet() {
    let records = words();
    let mut words: Vec<&str> = records.iter().map(|record| record.text("word").unwrap()).collect();
    assert!(words.iter().all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase())));
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), 40);
}

#[test]
fn the_example_scores_every_word() {
    if !python_is_there() {
        return;
    }
    let program = example("reward.py").display().to_string();
    let command = RewardCommand::new(vec!["python3".into(), program], Duration::from_secs(60));
    command.check(&Stop::default()).unwrap();
    let records = words();
    let backwards: Vec<String> =
        records.iter().map(|record| record.text("word").unwrap().chars().rev().collect()).collect();
    let score = |completions: &[String]| {
        let requests: Vec<_> = records
            .iter()
            .zip(completions)
            .map(|(record, completion)| Request { prompt: "write it backwards", completion, record })
            .collect();
        command.score(&requests, &Stop::default()).unwrap()
    };
    for answer in score(&backwards) {
        assert_eq!(answer.reward, 2.0);
        assert_eq!(answer.parts, [("letters".to_owned(), 1.0), ("exact".to_owned(), 1.0)]);
    }
    let doubled: Vec<String> = backwards.iter().map(|word| word.repeat(2)).collect();
    for answer in score(&doubled) {
        assert_eq!(answer.reward, 0.5);
    }
    for answer in score(&vec!["\u{1f600}\n\0".to_owned(); records.len()]) {
        assert_eq!(answer.reward, 0.0);
    }
}
