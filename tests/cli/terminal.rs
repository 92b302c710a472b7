//! What reaches the terminal: nothing that it would obey, colours and bars only where it can draw them, lines that fit.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::FromRawFd as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::ptr::null_mut;

use predicates::prelude::*;
use predicates::str::contains;

use super::spg;

/// What the program writes to a terminal of so many columns.
fn on_terminal(columns: u16, term: &str, args: &[&str]) -> String {
    let size = libc::winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let (mut terminal, mut end) = (0, 0);
    // SAFETY: two valid places for descriptors, a valid size, and no name and no settings; the two new descriptors are
    // owned by nobody else.
    let (mut terminal, end) = unsafe {
        assert_eq!(
            libc::openpty(&mut terminal, &mut end, null_mut(), null_mut(), std::ptr::from_ref(&size).cast_mut()),
            0
        );
        (File::from_raw_fd(terminal), File::from_raw_fd(end))
    };
    let mut child = Command::new(assert_cmd::cargo::cargo_bin!("spg"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("TERM", term)
        .env_remove("COLUMNS")
        .env_remove("NO_COLOR")
        .env_remove("RUST_LOG")
        .env("SPG_DEVICE", "cpu")
        .args(args)
        .stdin(Stdio::null())
        .stdout(end.try_clone().unwrap())
        .stderr(end)
        .spawn()
        .unwrap();
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    // the last reading fails once nobody has the other end any more
    while let Ok(n @ 1..) = terminal.read(&mut part) {
        bytes.extend_from_slice(&part[..n]);
    }
    assert!(child.wait().unwrap().success(), "{}", String::from_utf8_lossy(&bytes));
    String::from_utf8(bytes).unwrap()
}

/// A configuration for the tiny model with one record, and its folder.
fn custom(question: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let record = serde_json::json!({ "q": question, "ground_truth": "5" });
    std::fs::write(dir.path().join("data.jsonl"), format!("{record}\n{record}\n{record}\n")).unwrap();
    let data = dir.path().join("data.jsonl").display().to_string();
    let text = format!(
        "[run]\noutput_dir = 'x'\n[model]\nname_or_path = 'examples/sudoku-tiny'\n[rollout]\nmax_completion_length = 8\n\
         block_length = 8\ndiffusion_steps = 8\n[train]\nmax_steps = 4\nlearning_rate = 1e-3\n[task.custom]\n\
         prompt_template = '{{{{ q }}}}'\ngrader = 'gsm8k'\n[task.custom.rewards]\n[task.custom.data]\nvalidation_size = 1\n\
         [task.custom.data.train]\npath = '{data}'\n"
    );
    let path = dir.path().join("config.toml");
    std::fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    (dir, path)
}

#[test]
fn data_show_drove_the_terminal_with_what_stood_in_a_record() {
    let (_dir, config) = custom("\u{1b}[2Ja\u{9b}1m\rb\nc");
    spg(&["data", "show", "--config", &config, "--count", "1"])
        .assert()
        .code(0)
        .stdout(contains("\\u{1b}[2Ja\\u{9b}1m\\rb\nc\n").and(contains("\u{1b}").not()).and(contains("\u{9b}").not()));
    let assert = spg(&["data", "show", "--config", &config, "--count", "1", "--json"]).assert().code(0);
    let json = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    assert!(!json.contains('\u{9b}'), "{json}");
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["prompts"][0]["record"]["q"], "\u{1b}[2Ja\u{9b}1m\rb\nc");
}

#[test]
fn an_error_drove_the_terminal_with_what_it_quoted() {
    spg(&["data", "show", "--config", "no\u{1b}[2Jsuch.toml"])
        .assert()
        .failure()
        .stderr(contains("\\u{1b}[2J").and(contains("\u{1b}").not()));
}

#[test]
fn data_show_had_no_ids() {
    let (_dir, config) = custom("12");
    let args = ["data", "show", "--config", &config, "--count", "1"];
    let ids = |args: &[&str]| {
        let assert = spg(args).assert().code(0);
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    };
    assert!(!ids(&args).contains("ids"));
    let tokenizer =
        spg::text::Tokenizer::load(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sudoku-tiny").as_path());
    let expected = tokenizer.unwrap().encode("12").unwrap();
    assert!(ids(&[&args[..], &["--ids"]].concat()).contains(&format!("12\nids {expected:?}\n")));
    let json: serde_json::Value = serde_json::from_str(&ids(&[&args[..], &["--ids", "--json"]].concat())).unwrap();
    assert_eq!(json["prompts"][0]["ids"], serde_json::json!(expected));
}

#[test]
fn a_model_without_a_chat_template_was_not_told_of() {
    let (_dir, config) = custom("12");
    let said = "examples/sudoku-tiny has no chat template";
    spg(&["data", "show", "--config", &config]).assert().code(0).stderr(contains(said).count(1));
}

#[test]
fn a_dumb_terminal_got_colours_and_bars() {
    let args = ["data", "show", "--config", "sudoku-tiny", "--count", "1"];
    let text = on_terminal(80, "dumb", &args);
    assert!(text.contains("--- task sudoku") && !text.contains('\u{1b}'), "{text:?}");
    let text = on_terminal(80, "xterm", &args);
    assert!(text.contains("--- task sudoku") && text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn tables_did_not_fit_sixty_columns() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("completions-with-a-rather-long-name.jsonl");
    std::fs::write(&path, "{\"completion\": \"<answer>5</answer>\", \"answer\": \"#### 5\"}\n").unwrap();
    let path = path.display().to_string();
    let args = ["grade", "--task", "gsm8k", &path, &path];
    let widest = |text: &str| text.lines().map(|line| line.trim_end().chars().count()).max();
    let whole = on_terminal(200, "xterm", &args);
    assert!(whole.contains("file") && widest(&whole) > Some(80) && whole.contains(&path), "{whole}");
    let narrow = on_terminal(60, "xterm", &args);
    assert!(widest(&narrow) <= Some(60) && narrow.contains("100.00%"), "{narrow}");
    let shown = on_terminal(60, "dumb", &["-q", "data", "show", "--config", "sudoku-tiny", "--count", "0"]);
    assert!(shown.starts_with("--- task sudoku") && widest(&shown) <= Some(60), "{shown}");
    assert!(shown.contains("rollout.max_prompt_length = 200"), "{shown}");
}

#[test]
fn frames_of_a_backtrace_stood_in_the_causes_of_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    std::fs::write(&path, b"GGUF and nothing more").unwrap();
    spg(&["verify", "examples/sudoku-tiny", "--gguf-file", path.to_str().unwrap()])
        .env("RUST_BACKTRACE", "1")
        .assert()
        .code(1)
        .stderr(contains("cannot be read as GGUF").and(contains("0: ").not()));
}

#[test]
fn data_out_took_the_users_file_for_its_own_temporary_one() {
    let dir = tempfile::tempdir().unwrap();
    let (out, mine) = (dir.path().join("x.jsonl"), dir.path().join("x.jsonl.tmp"));
    std::fs::write(&mine, "mine").unwrap();
    let args = ["data", "sudoku", "--count", "5", "--out", out.to_str().unwrap()];
    spg(&args).assert().code(0);
    assert_eq!(std::fs::read_to_string(&mine).unwrap(), "mine");
    let written = std::fs::read(&out).unwrap();
    spg(&args).assert().code(1).stderr(contains("--force"));
    assert_eq!(std::fs::read(&out).unwrap(), written);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}
