//! `spg grade` from the outside: what it prints, what it writes, and that it agrees with the published evaluation.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::{contains, is_empty, starts_with};
use serde_json::{Value, json};

fn grade(args: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("spg"));
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("RUST_LOG")
        .env("SPG_DEVICE", "cpu")
        .arg("grade")
        .args(args);
    command
}

fn printed(command: &mut Command) -> String {
    String::from_utf8(command.assert().code(0).stderr(is_empty()).get_output().stdout.clone()).unwrap()
}

fn json_lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A temporary folder with one file in it.
fn file(name: &str, content: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    (dir, path)
}

/// Equal, numbers up to 1e-9.
fn agrees(found: &Value, expected: &Value) -> bool {
    match (found.as_f64(), expected.as_f64()) {
        (Some(found), Some(expected)) => (found - expected).abs() <= 1e-9,
        _ => found == expected,
    }
}

/// Real completions with the published verdicts lie beside some checkouts, not in the repository. No row is excepted.
#[test]
fn every_real_completion_gets_the_published_verdict_and_rewards() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/generations");
    if !folder.is_dir() {
        return;
    }
    let summary: Value = serde_json::from_slice(&std::fs::read(folder.join("summary.json")).unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (task, name) in [("gsm8k", "gsm8k"), ("math", "math500"), ("countdown", "countdown"), ("sudoku", "sudoku")] {
        let path = folder.join(format!("{name}.jsonl"));
        let details = dir.path().join(name);
        let (input, output) = (path.to_str().unwrap(), details.to_str().unwrap());
        let report = printed(&mut grade(&["--task", task, input, "--details", output, "--json"]));
        let report: Value = serde_json::from_str(&report).unwrap();

        let expected = &summary[name];
        let correct = expected.get("correct").or_else(|| expected.get("correct_cells")).unwrap();
        assert_eq!((&report["total"]["items"], &report["total"]["correct"]), (&expected["items"], correct), "{name}");
        let percent = (report["total"]["accuracy"].as_f64().unwrap() * 1e4).round() / 100.0;
        assert_eq!(json!(percent), expected["percent"], "{name}");
        assert_eq!(report["files"][0]["correct"], *correct);
        // The exact grader's own count, judged by hand where it differs from the published one.
        let exact = report["total"]["exact"].as_f64().unwrap() * report["total"]["completions"].as_f64().unwrap();
        let judged = match name {
            "gsm8k" => 776,
            "math500" => 144,
            "countdown" => 54,
            _ => 1,
        };
        assert_eq!(exact.round() as i64, judged, "{name}");

        let (found, expected) = (json_lines(&details), json_lines(&path));
        assert_eq!(found.len(), expected.len());
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            for part in ["eval", "train_reward"] {
                let Some(fields) = expected[part].as_object() else {
                    assert_eq!(found[part], expected[part], "{name} row {i}");
                    continue;
                };
                for (key, expected) in fields {
                    assert!(
                        agrees(&found[part][key], expected),
                        "{name} row {i}: {part}.{key}: {found}, not {expected}"
                    );
                }
            }
        }
    }
}

const SUDOKU: &str = r#"{"puzzle": "1200432121433412", "solution": "1234432121433412", "completion": "<answer>1230432121433412</answer>"}
"#;

#[test]
fn a_table_has_a_line_a_file_and_a_total() {
    let (_dir, path) = file("a.jsonl", SUDOKU);
    let path = path.to_str().unwrap();
    let text = printed(&mut grade(&["--task", "sudoku", path, path]));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    for line in &lines[1..3] {
        assert!(line.starts_with(path) && line.ends_with(" 50.00%    0.00%"), "{text}");
    }
    assert!(lines[3].starts_with("total ") && lines[3].ends_with(" 50.00%    0.00%"), "{text}");
}

#[test]
fn json_counts_cells_for_sudoku_and_reads_standard_input() {
    let text = printed(grade(&["--task", "sudoku", "-", "--json"]).write_stdin(SUDOKU));
    let counts = json!({"items": 2, "correct": 1, "accuracy": 0.5, "exact": 0.0, "completions": 1});
    let mut of_file = json!({"file": "-"});
    of_file.as_object_mut().unwrap().extend(counts.as_object().unwrap().clone());
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({"total": counts, "files": [of_file]}));
}

#[test]
fn all_forms_of_one_completion_get_the_same_verdict() {
    let text = r#"\n9 * 2\n</reasoning>\n<answer>\n18\n</answer>\n<|eot_id|><|endoftext|>"#;
    let forms = [
        format!(r#"{{"question": "?", "completion": "{text}", "ground_truth": 18.0}}"#),
        format!(r#"{{"generations": [{{"question": "?", "generations": "{text}", "ground_truth": 18}}]}}"#),
        format!(
            "{{\n\"generations\": [{{\"question\": \"?\", \"generations\": \"{text}\", \"ground_truth\": 18}}]\n}}"
        ),
        // the record's own fields: the completion begins where it says it does
        format!(r#"{{"answer": "so\n#### 18", "completion": "<reasoning>{text}"}}"#),
    ];
    for form in forms {
        let (dir, path) = file("a", &form);
        let out = dir.path().join("out.jsonl");
        printed(&mut grade(&["--task", "gsm8k", path.to_str().unwrap(), "--details", out.to_str().unwrap()]));
        let details = json_lines(&out).remove(0);
        assert_eq!(details["row"], 1);
        assert_eq!(details["eval"], json!({"extracted_answer": 18.0, "is_correct": true}), "{form}");
        let reward = &details["train_reward"];
        assert_eq!(
            (&reward["strict_format"], &reward["int"], &reward["correctness"]),
            (&json!(0.5), &json!(0.5), &json!(2.0))
        );
        assert!((reward["xmlcount"].as_f64().unwrap() - 0.487).abs() < 1e-9, "{reward}");
    }
}

#[test]
fn the_exact_verdict_has_a_column_of_its_own() {
    // by the published rules, then by the exact grader
    let rows = [
        (r#""\\boxed{1,000}""#, false, true),
        (r#""<answer>$1000.00</answer>""#, true, true),
        (r#""so it is 1000""#, true, false),
        (r#""<answer>it is 1000</answer>""#, true, false),
    ];
    let row = |text: &str| format!(r#"{{"ground_truth": 1000, "completion": {text}}}"#);
    let (dir, path) = file("a.jsonl", &rows.map(|(text, ..)| row(text)).join("\n"));
    let out = dir.path().join("out.jsonl");
    let args = ["--task", "gsm8k", path.to_str().unwrap(), "--details", out.to_str().unwrap()];
    let table = printed(&mut grade(&args));
    assert!(table.lines().next().unwrap().ends_with("accuracy    exact"), "{table}");
    assert!(table.ends_with("  75.00%   50.00%\n"), "{table}");
    for (details, (text, published, exact)) in json_lines(&out).iter().zip(rows) {
        assert_eq!((&details["eval"]["is_correct"], &details["exact"]), (&published.into(), &exact.into()), "{text}");
    }
    // what is there is not replaced unasked
    grade(&args).assert().code(2).stderr(contains("is there already: --force replaces it"));
    let json: Value = serde_json::from_str(&printed(grade(&args).args(["--json", "--force"]))).unwrap();
    assert_eq!((&json["total"]["exact"], &json["files"][0]["exact"]), (&json!(0.5), &json!(0.5)));
}

#[test]
fn samples_of_several_filters_were_counted_once_for_each() {
    let row = |id: usize, text: &str, filter: &str| {
        json!({"doc_id": id, "doc": {"question": "?", "answer": "so\n#### 3"}, "target": "3", "resps": [[text]],
               "filtered_resps": ["3"], "filter": filter, "exact_match": 1.0})
        .to_string()
    };
    let rows: Vec<String> = ["strict-match", "flexible-extract"]
        .iter()
        .flat_map(|filter| [row(0, r"\boxed{3}", filter), row(1, r"\boxed{4}", filter), row(2, r"\boxed{3}", filter)])
        .collect();
    let (_dir, path) = file("samples.jsonl", &rows.join("\n"));
    let name = path.to_str().unwrap();
    let output = grade(&["--task", "gsm8k", name, "--json"]).assert().code(0);
    let output = output.stderr(contains("3 lines repeat completions under another filter")).get_output().stdout.clone();
    let report: Value = serde_json::from_slice(&output).unwrap();
    assert_eq!((&report["total"]["completions"], &report["total"]["correct"]), (&json!(3), &json!(2)));
}

#[test]
fn prefill_says_what_the_prompt_held() {
    let row = r#"{"ground_truth": 1, "completion": "\n1\n</reasoning>\n<answer>\n1\n</answer>\n"}"#;
    let (dir, path) = file("a.jsonl", row);
    let out = dir.path().join("out.jsonl");
    let strict = |extra: &[&str]| {
        let args = ["--task", "gsm8k", path.to_str().unwrap(), "--details", out.to_str().unwrap(), "--force"];
        printed(&mut grade(&[&args[..], extra].concat()));
        json_lines(&out)[0]["train_reward"]["strict_format"].as_f64().unwrap()
    };
    assert_eq!(strict(&[]), 0.0);
    assert_eq!(strict(&["--prefill", "<reasoning>"]), 0.5);
}

#[test]
fn odd_texts_are_graded_quickly() {
    let rows = [
        r#"{"numbers": [9, 9, 9], "target": 1, "completion": "\\boxed{9**9**9}"}"#.to_owned(),
        r#"{"numbers": [9], "target": 9, "completion": "\\boxed{9}\ud800\u0000"}"#.to_owned(),
        r#"{"numbers": [9], "target": 9, "completion": "\u202e\\boxed{9}\u05d0"}"#.to_owned(),
        format!(
            r#"{{"numbers": [9], "target": 9, "completion": "\\boxed{{{}9{}}}"}}"#,
            "(".repeat(10_000),
            ")".repeat(10_000)
        ),
        format!(r#"{{"numbers": [9], "target": 9, "completion": "\\boxed{{{}}}"}}"#, "9".repeat(1_000_000)),
    ];
    let (dir, path) = file("a.jsonl", &rows.join("\n"));
    let out = dir.path().join("out.jsonl");
    let args = ["--task", "countdown", path.to_str().unwrap(), "--details", out.to_str().unwrap()];
    printed(grade(&args).timeout(std::time::Duration::from_secs(60)));
    let verdicts: Vec<Value> = json_lines(&out).iter().map(|row| row["eval"]["is_correct"].clone()).collect();
    assert_eq!(verdicts, [false, true, true, false, false].map(Value::from));
}

#[test]
fn a_broken_row_names_file_and_line() {
    let (dir, path) = file("a.jsonl", &format!("{SUDOKU}\n{{\"completion\": \"\"}}\n"));
    let out = dir.path().join("out.jsonl");
    let name = path.to_str().unwrap();
    let failed =
        |task: &str| grade(&["--task", task, name, "--details", out.to_str().unwrap()]).assert().code(1).stdout("");
    failed("sudoku").stderr(starts_with(format!("error: {name}: line 3\n")).and(contains("no field `puzzle`")));
    failed("math").stderr(contains(": line 1\n").and(contains("no box in `solution`, no `answer`, no `ground_truth`")));
    assert!(!out.exists());
    std::fs::write(&path, "\n\n\"text\"\n").unwrap();
    failed("gsm8k").stderr(contains("line 3\n").and(contains("not a JSON object")).and(contains(name)));
    std::fs::write(&path, "\n").unwrap();
    failed("gsm8k").stderr(contains("a.jsonl has no completions"));
    grade(&["--task", "math", "no/such.jsonl"]).assert().code(1).stderr(contains("cannot read no/such.jsonl"));
}

#[test]
fn wrong_usage_ends_with_2() {
    grade(&["--task", "chess", "a.jsonl"])
        .assert()
        .code(2)
        .stderr(contains("invalid value 'chess' for '--task <TASK>'"));
    grade(&["--task", "math"]).assert().code(2).stderr(contains("<FILE>"));
    grade(&["a.jsonl"]).assert().code(2).stderr(contains("--task <TASK>"));
    grade(&["--task", "math", "-", "-"]).assert().code(2).stderr(contains("only once"));
    let (_dir, path) = file("a.jsonl", SUDOKU);
    let name = path.to_str().unwrap();
    grade(&["--task", "sudoku", name, "--details", name]).assert().code(2).stderr(contains("would overwrite"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), SUDOKU);
}
