//! Programs that give rewards, from the outside: `examples/reward-command` with its own records; whose programs are run,
//! what they get, what they may print and answer, and that none stays behind.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use predicates::prelude::*;
use predicates::str::contains;
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

/// A program that answers every request, after it has done `first`.
fn answering(first: &str) -> String {
    format!("{first}; while read -r line; do echo '{{\"reward\": 1}}'; done")
}

/// The example's configuration with a shell script for its program.
fn config(script: &str) -> String {
    let text = std::fs::read_to_string(example("config.toml")).unwrap();
    let own = "command = [\"python3\", \"examples/reward-command/reward.py\"]";
    assert!(text.contains(own));
    text.replace(own, &format!("command = [\"sh\", \"-c\", {script:?}]"))
}

fn write(path: PathBuf, text: &str) -> String {
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// Gives a folder the model of `examples/sudoku-tiny`.
fn make_model(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sudoku-tiny");
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        std::fs::copy(from.join(name), dir.join(name)).unwrap();
    }
}

fn dry_run(dir: &Path, script: &str) -> assert_cmd::Command {
    let path = write(dir.join("own.toml"), &config(script));
    let out = dir.join("out");
    super::spg(&["train", "--config", &path, "--dry-run", "--output-dir", out.to_str().unwrap()])
}

#[test]
fn a_program_that_only_a_checkpoint_names_is_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let (run, mark) = (dir.path().join("run"), dir.path().join("mark"));
    let checkpoint = run.join("checkpoint-4");
    make_model(&checkpoint);
    make_model(&dir.path().join("run/model"));
    let file = write(run.join("config.toml"), &config(&answering(&format!("touch '{}'", mark.display()))));
    let eval = |ckpt: &Path, more: &[&str]| {
        super::spg(&[&["eval", "--limit", "2", "--ckpt", ckpt.to_str().unwrap()], more].concat())
    };
    for ckpt in [&run, &checkpoint] {
        let shown = format!("\n  \"sh\" \"-c\" \"touch '{}'; while read", mark.display());
        let ways = contains("--allow-reward-command").and(contains(format!("--config {file}\n")));
        eval(ckpt, &[]).assert().code(2).stdout("").stderr(contains(shown).and(ways));
    }
    // Above a folder that is no checkpoint, nothing is looked for.
    let plain = eval(&run.join("model"), &["--allow-reward-command"]).assert();
    plain.code(2).stderr(contains("neither a run folder nor one of its checkpoints").and(contains("--config FILE")));
    assert!(!mark.exists() && !run.join("eval").exists());

    let started = || contains("starting the reward command [\"sh\", \"-c\", \"touch ");
    for more in [&["--allow-reward-command"][..], &["--config", &file]] {
        eval(&checkpoint, more).assert().code(0).stdout(contains("checkpoint-4")).stderr(started());
        std::fs::remove_file(&mark).unwrap();
    }
    let own =
        "task.custom.reward_command.command=['sh', '-c', 'while read -r l; do echo \"{\\\"reward\\\": 0}\"; done']";
    eval(&checkpoint, &["--set", own]).assert().code(0);
    assert!(!mark.exists());
}

#[cfg(unix)]
#[test]
fn a_program_sees_no_token_that_it_is_not_given() {
    let dir = tempfile::tempdir().unwrap();
    let seen = |set: &[&str]| {
        let path = dir.path().join("seen");
        let mut command = dry_run(dir.path(), &answering(&format!("env > '{}'", path.display())));
        command.args(set).env("HF_TOKEN", "hf_secret").env("AWS_SECRET_ACCESS_KEY", "aws_secret");
        command.env("WANDB_API_KEY", "wandb_secret").env("REWARD_MODEL", "small").env("LC_TIME", "C").assert().code(0);
        std::fs::read_to_string(path).unwrap()
    };
    let clean = seen(&[]);
    assert!(!clean.contains("secret") && !clean.contains("REWARD_MODEL"), "{clean}");
    assert!(clean.contains("PATH=") && clean.contains("HOME=") && clean.contains("LC_TIME=C"), "{clean}");
    let given = seen(&["--set", "task.custom.reward_command.env=['REWARD_*', 'WANDB_API_KEY']"]);
    assert!(given.contains("REWARD_MODEL=small") && given.contains("wandb_secret"), "{given}");
    assert!(!given.contains("hf_secret") && !given.contains("aws_secret"), "{given}");

    let mut unset = dry_run(dir.path(), &answering(":"));
    unset.args(["--set", "task.custom.reward_command.env=['NOT_SET_ANYWHERE']"]);
    unset.assert().code(0).stderr(contains("env lists NOT_SET_ANYWHERE, which is not set"));
    let mut value = dry_run(dir.path(), &answering(":"));
    value.args(["--set", "task.custom.reward_command.env=['A=b']"]);
    value.assert().code(2).stderr(contains("\"A=b\" is not the name of a variable"));
}

#[cfg(unix)]
#[test]
fn no_program_outlives_the_trainer() {
    let running = |pid: &str| {
        let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        let asked = Command::new("kill").args(["-0", pid.trim()]).stderr(Stdio::null()).status().unwrap();
        asked.success() && !state.contains(") Z ")
    };
    let wait_until = |what: &str, holds: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < Duration::from_secs(120), "{what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    for signals in [&["-KILL"][..], &["-INT", "-INT"]] {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        // Deaf and busy, with a child that is, too.
        let script = format!(
            "trap '' HUP INT TERM; cd '{}'; sleep 1000 & echo $! > child; echo $$ > program; read -r line; touch asked; \
             while :; do sleep 1; done",
            dir.path().display()
        );
        let file =
            write(path("own.toml"), &config(&script).replace("time_limit_seconds = 10", "time_limit_seconds = 1000"));
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("spg"));
        command.current_dir(env!("CARGO_MANIFEST_DIR")).env("SPG_DEVICE", "cpu").args([
            "train",
            "--config",
            &file,
            "--output-dir",
        ]);
        command.arg(path("out")).stdout(Stdio::null()).stderr(Stdio::null());
        let mut trainer = command.spawn().unwrap();
        wait_until("the program is asked", &|| path("asked").exists());
        let pids = ["program", "child"].map(|name| std::fs::read_to_string(path(name)).unwrap());
        assert!(pids.iter().all(|pid| running(pid)));
        for signal in signals {
            // The first Ctrl-C may be all it takes.
            let _ = Command::new("kill").arg(signal).arg(trainer.id().to_string()).stderr(Stdio::null()).status();
            std::thread::sleep(Duration::from_millis(300));
        }
        assert!(!trainer.wait().unwrap().success());
        wait_until("program and child are gone", &|| !pids.iter().any(|pid| running(pid)));
    }
}

#[cfg(unix)]
#[test]
fn a_flood_of_messages_does_not_fill_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let flood = "yes 'a message that nobody needs' | head -n 300000 >&2; printf '\\033[2J\\n' >&2";
    let output = dry_run(dir.path(), &answering(flood)).assert().code(0).get_output().clone();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.len() < 100_000, "{}", log.len());
    assert!(log.contains("a message that nobody needs") && log.contains("299801 more lines"), "{log}");
    assert!(!log.contains('\x1b'), "{log:?}");
}

#[cfg(unix)]
#[test]
fn a_reward_without_bounds_is_refused_and_not_averaged() {
    let dir = tempfile::tempdir().unwrap();
    for (answer, reason) in [
        ("{\"reward\": 1e308}", "`reward` is 1e308, and the largest is 1e9"),
        ("{\"reward\": NaN}", "it is not JSON"),
        ("{\"reward\": 1, \"parts\": {\"a\": 1, \"a\": 2}}", "part `a` is there twice"),
    ] {
        let script = format!("while read -r line; do echo '{answer}'; done");
        dry_run(dir.path(), &script).assert().code(1).stderr(contains(reason).and(contains("request 1 of the batch")));
    }
    let script = "while read -r line; do echo '{\"reward\": 1e9}'; done";
    let weight = ["--set", "task.custom.reward_command.weight=10"];
    dry_run(dir.path(), script).args(weight).assert().code(1).stderr(contains("add up to 1e10"));
    let weight = ["--set", "task.custom.reward_command.weight=1e308"];
    dry_run(dir.path(), script).args(weight).assert().code(2).stderr(contains("expected a number from -1e6 to 1e6"));
}
