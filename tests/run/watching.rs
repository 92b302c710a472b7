//! What a run says while it lasts: what it is at its start, what its model writes, and nothing where nothing is asked for.

use super::*;

/// The log of a run, without the times.
fn log(command: Command) -> Vec<String> {
    let text = String::from_utf8(succeed(command).stderr).expect("UTF-8");
    text.lines().map(|line| line.split_once("INFO ").map_or(line, |(_, message)| message).to_owned()).collect()
}

#[test]
fn a_run_says_what_it_is_and_shows_what_its_model_writes() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = dir.path().join("run");
    let look = ["--set", "train.log_completions_steps=4", "--set", "train.num_completions_to_print=2"];
    let lines = log(train(&run, &look));
    let start = |text: &str| {
        let found = lines.iter().position(|line| line.starts_with(text));
        found.unwrap_or_else(|| panic!("no line {text}: {lines:#?}"))
    };
    let model = start("model examples/sudoku-tiny: LLaDA, 869,504 parameters in f32 on cpu");
    let adapters = "training adapters of rank 16 on 28 modules (attn_out, ff_out, ff_proj, k_proj, q_proj, up_proj, v_proj): \
                    163,840 parameters";
    let output = format!("output {}", run.display());
    let rest = ["task sudoku: records ", adapters, output.as_str()];
    assert_eq!(rest.map(start), [model + 1, model + 2, model + 3], "{lines:#?}");
    assert!(lines[model + 1].ends_with(": records 10,000 train, 88 validation, 88 test"), "{lines:#?}");

    let shown: Vec<usize> = (0..lines.len()).filter(|&i| lines[i].starts_with("completions for update")).collect();
    assert_eq!(shown.len(), 1, "in the second of three phases: {lines:#?}");
    let table = &lines[shown[0]..][..5];
    assert_eq!(table[0], "completions for update 3: 2 of 3 for one prompt");
    assert!(table[1].starts_with("prompt: ") && !table[1].contains("mask"), "{table:#?}");
    assert_eq!(table[2].split_whitespace().collect::<Vec<_>>(), ["sudoku", "reward", "advantage", "completion"]);
    let figures = |line: &str| -> Vec<f64> { line.split_whitespace().map_while(|cell| cell.parse().ok()).collect() };
    let (best, worst) = (figures(&table[3]), figures(&table[4]));
    assert!(best[1] > worst[1] && best[2] > 0.0 && worst[2] < 0.0, "{table:#?}");
}

#[test]
fn a_quiet_run_says_nothing_but_its_result() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = succeed(train(&dir.path().join("run"), &["-q", "--set", "train.log_completions_steps=1"]));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(String::from_utf8_lossy(&output.stdout).contains("accuracy"));
}
