//! Tasks from the outside: data from files and from a seed, splits, rewards with weights, custom tasks, and what users
//! get wrong.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::{Value, json};
use spg::config::{self, Overrides, Split};
use spg::signal::Stop;
use spg::task::{Attempt, Record, Reward, Task};

fn spg(args: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("spg"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("RUST_LOG").env("SPG_DEVICE", "cpu").args(args);
    command
}

#[track_caller]
fn printed(args: &[&str]) -> String {
    String::from_utf8(spg(args).assert().code(0).get_output().stdout.clone()).unwrap()
}

fn write(dir: &Path, name: &str, content: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

/// `spg data show` of a shipped configuration with a tokenizer that ships and other training data, as JSON.
fn show(config: &str, train: &str, more: &[&str]) -> Command {
    let task = config.split('-').next().unwrap();
    let path = format!("task.{task}.data.train.path={train}");
    let size = format!("task.{task}.data.validation_size=1");
    let model = "model.name_or_path=examples/sudoku-tiny";
    let args = ["data", "show", "--config", config, "--set", model, "--set", &path, "--set", &size, "--json"];
    let mut command = spg(&args);
    command.args(more);
    command
}

#[track_caller]
fn shown(command: &mut Command) -> Value {
    serde_json::from_slice(&command.assert().code(0).get_output().stdout).unwrap()
}

/// The task of a configuration that is `table` and what else there must be.
fn task(table: &str) -> Result<Task, String> {
    let text = format!(
        "[run]\noutput_dir = 'x'\n[model]\nname_or_path = 'x'\n[rollout]\nmax_completion_length = 8\nblock_length = 8\n\
         diffusion_steps = 8\n[train]\nmax_steps = 4\nlearning_rate = 1e-3\n{table}"
    );
    let config = config::from_text(Path::new("a.toml"), &text, &Overrides::default(), config::Command::Eval);
    Task::from_config(config.map_err(|e| e.to_string())?.task(), true).map_err(|e| e.to_string())
}

fn reward(task: &Task, record: &Record, completion: &str) -> Reward {
    task.rewards(&[Attempt { record, prompt: "", completion }], &Stop::default()).unwrap().remove(0)
}

fn gsm8k_lines(n: usize) -> String {
    let line = |i| {
        format!("{}\n", json!({"question": format!("what is {i} + {i}?"), "answer": format!("add\n#### {}", 2 * i)}))
    };
    (0..n).map(line).collect()
}

#[test]
fn generated_data_comes_back_from_both_formats_as_the_prompts_of_a_generated_run() {
    let dir = tempfile::tempdir().unwrap();
    let limits = ["--max-number", "15", "--max-target", "60"];
    let files: Vec<PathBuf> = ["jsonl", "csv"]
        .iter()
        .map(|ending| {
            let out = dir.path().join(format!("problems.{ending}"));
            let make = ["data", "countdown", "--count", "40", "--out", out.to_str().unwrap()];
            assert!(printed(&[&make[..], &limits].concat()).starts_with("40 countdown records (train) in "));
            out
        })
        .collect();
    let prompts =
        |value: Value| value["prompts"].as_array().unwrap().iter().map(|p| p["prompt"].clone()).collect::<Vec<_>>();
    let same = ["--count", "39", "--set", "task.countdown.data.test_size=0"];
    let of_files = |config: &str| -> Vec<Vec<Value>> {
        files.iter().map(|file| prompts(shown(show(config, file.to_str().unwrap(), &[]).args(same)))).collect()
    };
    let found = of_files("countdown");
    assert_eq!(found[0].len(), 39);
    assert_eq!(found[0], found[1]);
    let generated = printed(&["data", "show", "--config", "countdown-tiny", "--count", "40", "--json"]);
    let generated: Vec<Value> = prompts(serde_json::from_str(&generated).unwrap());
    let template = "task.countdown.prompt_template={{ numbers | sort | join(' ') }}={{ target }}";
    let tiny = prompts(shown(show("countdown", files[0].to_str().unwrap(), &same).args(["--set", template])));
    // one of the forty was drawn for validation
    assert!(tiny.iter().all(|prompt| generated.contains(prompt)), "{tiny:?}");
}

#[test]
fn made_files_have_distinct_records_and_are_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("p.csv");
    let make = |seed: &str, more: &[&str]| {
        let args = ["data", "sudoku", "--count", "450", "--seed", seed, "--out", out.to_str().unwrap()];
        spg(&[&args[..], more].concat())
    };
    make("1", &[]).assert().code(0);
    let first = std::fs::read_to_string(&out).unwrap();
    assert_eq!(first.lines().count(), 451);
    assert!(first.starts_with("puzzle,solution\n"));
    assert_eq!(first.lines().collect::<HashSet<_>>().len(), 451);
    make("2", &[]).assert().code(1).stderr(contains("p.csv exists already").and(contains("--force")));
    assert_eq!(std::fs::read_to_string(&out).unwrap(), first);
    make("2", &["--force"]).assert().code(0);
    assert_ne!(std::fs::read_to_string(&out).unwrap(), first);
    make("2", &["--force", "--max-empty-cells", "13"]).assert().code(2).stderr(contains("use at most 12"));
    let bad = dir.path().join("p.txt");
    let args = ["data", "countdown", "--count", "4", "--out", bad.to_str().unwrap()];
    spg(&args).assert().code(1).stderr(contains("p.txt").and(contains(".jsonl or .csv")));
    let few = ["--num-numbers", "2", "--max-number", "2"];
    let good = dir.path().join("x.jsonl");
    spg(&[&args[..4], &["--out", good.to_str().unwrap()], &few].concat()).assert().code(0);
    let many = ["data", "countdown", "--count", "400", "--out", bad.to_str().unwrap()];
    spg(&[&many[..], &few].concat()).assert().code(1).stderr(contains("different problems were found"));
}

#[test]
fn a_puzzle_file_trains_sudoku() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("p.csv");
    printed(&["data", "sudoku", "--count", "30", "--out", out.to_str().unwrap()]);
    let task =
        task(&format!("[task.sudoku]\ndata = {{ train.path = {out:?}, validation_size = 5, test_size = 7 }}")).unwrap();
    assert_eq!(Split::ALL.map(|split| task.records(split).unwrap().len()), [18, 5, 7]);
    let record = &task.records(Split::Test).unwrap()[0];
    let answer = format!("<answer>{}</answer>", record.text("solution").unwrap());
    assert_eq!(reward(&task, record, &answer).total, 1.0);
}

#[test]
fn prompts_are_counted_and_long_ones_skipped_or_cut() {
    let dir = tempfile::tempdir().unwrap();
    let long = json!({"question": "why ".repeat(200), "answer": "#### 1"});
    let train = write(dir.path(), "train.jsonl", &format!("{}{long}\n{long}\n", gsm8k_lines(20)));
    let limits = ["--set", "rollout.max_prompt_length=500", "--count", "30"];
    let summary = |more: &[&str]| shown(show("gsm8k", &train, &limits).args(more));
    let skipped = summary(&[]);
    // one record is for validation, and may be one of the long ones
    let long_ones = skipped["skipped"].as_u64().unwrap();
    assert!((1..=2).contains(&long_ones) && skipped["cut"] == 0 && skipped["records"] == 21, "{skipped}");
    let fates = |value: &Value, fate: &str| {
        value["prompts"].as_array().unwrap().iter().filter(|p| p["fate"] == fate).count() as u64
    };
    assert_eq!((fates(&skipped, "skipped"), fates(&skipped, "kept")), (long_ones, 21 - long_ones));
    let cut = summary(&["--set", "rollout.truncate_prompts=true"]);
    assert_eq!((cut["cut"].as_u64(), cut["skipped"].as_u64()), (Some(long_ones), Some(0)));
    let prompt = skipped["prompts"][0]["prompt"].as_str().unwrap();
    assert!(prompt.contains("what is ") && prompt.contains("<reasoning>") && prompt.contains("<answer>"), "{prompt}");
    let text = printed(&["data", "show", "--config", "sudoku-tiny", "--count", "1"]);
    assert!(text.starts_with("--- train 0, 16 tokens\n"), "{text}");
    assert!(text.contains("--- task sudoku, train: 10000 prompts of 16 to 16 tokens"), "{text}");
}

#[test]
fn a_record_does_not_act_on_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let line = json!({"question": "clear \u{1b}[2J the \u{9b}1m screen\u{202e}\nnow", "answer": "#### 1"});
    let train = write(dir.path(), "train.jsonl", &format!("{line}\n{line}\n{line}\n"));
    let mut command = show("gsm8k", &train, &[]);
    let json = shown(&mut command);
    assert!(json["prompts"][0]["record"]["question"].as_str().unwrap().contains("\u{1b}[2J"));
    let data = ["--set", &format!("task.gsm8k.data.train.path={train}"), "--set", "task.gsm8k.data.validation_size=1"];
    let model =
        ["data", "show", "--config", "gsm8k", "--set", "model.name_or_path=examples/sudoku-tiny", "--count", "1"];
    let text = printed(&[&model[..], &data].concat());
    assert!(text.contains("clear \\u{1b}[2J the \\u{9b}1m screen\\u{202e}\nnow"), "{text}");
}

#[test]
fn validation_is_drawn_and_the_test_comes_last_and_none_is_trained_on() {
    let dir = tempfile::tempdir().unwrap();
    let train = write(dir.path(), "train.jsonl", &gsm8k_lines(50));
    let other = write(dir.path(), "test.jsonl", &gsm8k_lines(60).lines().skip(50).collect::<Vec<_>>().join("\n"));
    let build = |data: &str| task(&format!("[task.gsm8k]\ndata = {{ train.path = {train:?}, {data} }}")).unwrap();
    let questions = |task: &Task| {
        Split::ALL.map(|split| {
            let records = task.records(split).unwrap();
            records.iter().map(|r| r.text("question").unwrap().to_owned()).collect::<Vec<_>>()
        })
    };
    let held_out = questions(&build("validation_size = 10, test_size = 5"));
    assert_eq!(held_out.each_ref().map(Vec::len), [35, 10, 5]);
    assert_eq!(held_out.iter().flatten().collect::<HashSet<_>>().len(), 50);
    assert_eq!(held_out[2][4], "what is 49 + 49?");
    assert_eq!(questions(&build("validation_size = 10, test_size = 5")), held_out);
    assert_ne!(questions(&build("validation_size = 10, test_size = 5, data_seed = 1"))[1], held_out[1]);
    let own = questions(&build(&format!("validation.path = {other:?}, test.path = {other:?}")));
    assert_eq!(own.each_ref().map(Vec::len), [50, 10, 10]);
    let all = task(&format!("[task.gsm8k]\ndata = {{ train.path = {train:?}, validation_size = 50, test_size = 1 }}"));
    assert!(all.unwrap_err().contains("leave none of 50 to train on"));
}

#[test]
fn rewards_are_weighted_and_reported_without_their_weights() {
    let dir = tempfile::tempdir().unwrap();
    let train = write(dir.path(), "train.jsonl", &gsm8k_lines(5));
    let build = |more: &str| {
        let data = format!("data = {{ train.path = {train:?}, validation_size = 1, test_size = 1 }}");
        task(&format!("[task.gsm8k]\n{data}\n{more}"))
    };
    let completion = |task: &Task| {
        let record = task.records(Split::Train).unwrap()[0].clone();
        let number = record.text("answer").unwrap().rsplit(' ').next().unwrap().to_owned();
        let earned = reward(task, &record, &format!("<answer>{number}</answer>"));
        (earned.total, earned.parts.into_iter().map(|(name, value)| (name.into_owned(), value)).collect::<Vec<_>>())
    };
    let (total, parts) = completion(&build("").unwrap());
    assert_eq!(total, 2.5);
    assert_eq!(
        parts.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["xmlcount", "soft_format", "strict_format", "int", "correctness"]
    );
    // one weight changed, one function off, one of another task added
    let (total, parts) = completion(&build("rewards = { correctness = 0.5, int = 0, math_format = 2 }").unwrap());
    assert_eq!(total, 0.5 * 2.0 + 2.0 * 0.75);
    assert!(parts.contains(&("correctness".into(), 2.0)) && !parts.iter().any(|(name, _)| name == "int"), "{parts:?}");
    let unknown = build("rewards = { style = 1 }").unwrap_err();
    assert!(unknown.contains("unknown variant `style`"), "{unknown}");
}

#[test]
fn demonstrations_are_right_by_the_tasks_own_rules() {
    let dir = tempfile::tempdir().unwrap();
    let gsm8k = write(dir.path(), "g.jsonl", &gsm8k_lines(4));
    let problem = json!({"problem": "1/2?", "solution": "It is $\\boxed{\\frac12}$."}).to_string();
    let math = write(dir.path(), "m.jsonl", &format!("{problem}\n{problem}\n{problem}\n"));
    let data = |file: &str| format!("data = {{ train.path = {file:?}, validation_size = 1, test_size = 1 }}");
    for (table, full) in [
        (format!("[task.gsm8k]\n{}", data(&gsm8k)), 3.0),
        (format!("[task.math]\n{}", data(&math)), 3.0),
        ("[task.countdown]\ngenerate = { train_size = 20 }".to_owned(), 1.0),
    ] {
        let task = task(&table).unwrap();
        let mut rng = spg::rng::Key::new(0, spg::rng::Purpose::Demonstration).rng();
        for record in task.records(Split::Train).unwrap() {
            let text = task.demonstration(record, &mut rng).unwrap();
            let earned = reward(&task, record, &text);
            assert!(earned.total >= full, "{text}: {earned:?}");
            assert!(task.grade(record, &text, &earned).unwrap().solved(), "{text}");
        }
    }
}

#[test]
fn what_is_wrong_with_data_is_said_with_file_and_place() {
    let dir = tempfile::tempdir().unwrap();
    let fails = |config: &str, train: &str, more: &[&str], code: i32| {
        let output = show(config, train, more).assert().code(code).stdout("").get_output().stderr.clone();
        String::from_utf8(output).unwrap()
    };
    let broken = write(dir.path(), "broken.jsonl", &format!("{}{{\"question\": \n", gsm8k_lines(2)));
    let text = fails("gsm8k", &broken, &[], 1);
    assert!(text.contains("broken.jsonl, line 3: not JSON"), "{text}");
    let wordy = write(
        dir.path(),
        "wordy.jsonl",
        &format!("{}{}\n", gsm8k_lines(2), json!({"question": "?", "answer": "many"})),
    );
    let text = fails("gsm8k", &wordy, &[], 1);
    assert!(
        text.contains("wordy.jsonl, line 3: field `answer` of a record is not text that ends in a number"),
        "{text}"
    );
    let csv = write(dir.path(), "data.csv", "q,answer\nwhat?,1\nwhy?,2\nwho?,3\n");
    let text = fails("gsm8k", &csv, &[], 1);
    assert!(text.contains("data.csv, line 2: a record has no field `question` (its fields: q, answer)"), "{text}");
    let text = fails("gsm8k", &csv, &["--set", "task.gsm8k.data.train.columns.question=prompt"], 1);
    assert!(text.contains("no column `prompt`") && text.contains("q, answer"), "{text}");
    assert_eq!(shown(&mut show("gsm8k", &csv, &["--set", "task.gsm8k.data.train.columns.question=q"]))["records"], 2);
    let text = fails("gsm8k", "no/such.jsonl", &[], 1);
    assert!(text.contains("cannot read no/such.jsonl"), "{text}");
    let text = fails("gsm8k", "data.txt", &[], 1);
    assert!(text.contains("data.txt") && text.contains(".parquet"), "{text}");
    let text = fails("gsm8k", &csv, &["--set", "task.gsm8k.data.train.dataset=openai/gsm8k"], 2);
    assert!(text.contains("task.gsm8k.data.train names both a `path` and the dataset"), "{text}");
    let renamed = "task.gsm8k.data.train.columns.question=q";
    let text = fails("gsm8k", &csv, &["--set", renamed, "--set", "task.gsm8k.prompt_template={{ questoin }}"], 2);
    assert!(text.contains("task.gsm8k.prompt_template: the template uses `questoin`"), "{text}");
}

#[test]
fn a_null_or_a_missing_field_is_told_with_file_line_and_field_wherever_it_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let lines = "{\"q\": \"1\"}\n{\"v\": \"2\"}\n{\"q\": null}\n";
    let train = write(dir.path(), "train.jsonl", lines);
    let held_out = write(dir.path(), "held_out.jsonl", "{\"q\": \"4\"}\n");
    let task = |templates: &str| {
        let data = format!("data = {{ train.path = {train:?}, validation.path = {held_out:?}, test_size = 0 }}");
        task(&format!("[task.custom]\n{templates}\n{data}\nrewards = {{ int = 1 }}")).unwrap()
    };
    let mut rng = spg::rng::Key::new(0, spg::rng::Purpose::Demonstration).rng();
    for key in ["prompt_template", "demonstration_template"] {
        let other = if key == "prompt_template" { "" } else { "prompt_template = '{{ q | default(1) }}'\n" };
        let task = task(&format!("{other}{key} = 'q: {{{{ q }}}}'"));
        let mut texts = task.records(Split::Train).unwrap().iter().map(|record| {
            let text = if other.is_empty() { task.prompt(record) } else { task.demonstration(record, &mut rng) };
            text.map_err(|error| error.to_string())
        });
        assert_eq!(texts.next().unwrap().as_deref(), Ok("q: 1"));
        let missing =
            format!("{train}, line 2: task.custom.{key} asks for `q`, which this record lacks (its fields: v)");
        let null = format!("{train}, line 3: task.custom.{key} prints the field `q`, which is null");
        for expected in [missing, null] {
            let message = texts.next().unwrap().unwrap_err();
            assert!(message.starts_with(&expected), "{message}");
        }
    }
    let csv = write(dir.path(), "train.csv", "question,answer,hint\nwhat?,1,\nwhy?,2,\"\"\n");
    let template =
        ["--set", "task.gsm8k.prompt_template={{ question }}{{ hint }}.", "--set", "task.gsm8k.data.data_seed=1"];
    let prompts = shown(&mut show("gsm8k", &csv, &template));
    assert!(prompts["prompts"][0]["prompt"].as_str().unwrap().contains("?."), "{prompts}");
    let jsonl = write(
        dir.path(),
        "hints.jsonl",
        "{\"question\": \"?\", \"answer\": \"1\", \"hint\": null}\n".repeat(3).as_str(),
    );
    let output = show("gsm8k", &jsonl, &template).assert().code(1).stdout("").get_output().stderr.clone();
    let text = String::from_utf8(output).unwrap();
    assert!(text.contains("hints.jsonl, line ") && text.contains("prints the field `hint`, which is null"), "{text}");
}

#[test]
fn without_network_the_files_to_fetch_are_named() {
    let home = tempfile::tempdir().unwrap();
    let mut command = spg(&["data", "show", "--config", "gsm8k", "--set", "model.name_or_path=examples/sudoku-tiny"]);
    command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", home.path()).env_remove("HF_HUB_CACHE");
    command.assert().code(1).stderr(
        contains("\nerror: cannot get the dataset openai/gsm8k (main, split train): ")
            .and(contains("has nothing of openai/gsm8k"))
            .and(contains("download main/train/*.parquet of its revision refs/convert/parquet"))
            .and(contains("task.gsm8k.data.train.path")),
    );
}

#[test]
fn a_custom_task_needs_no_rust() {
    let dir = tempfile::tempdir().unwrap();
    let lines: String = (0..9)
        .map(|i| format!("{}\n", json!({"text": format!("item {i}"), "numbers": [i, 2], "target": i + 2})))
        .collect();
    let train = write(dir.path(), "train.jsonl", &lines);
    let build = |more: &str| {
        let data = format!("data = {{ train.path = {train:?}, validation_size = 2, test_size = 1 }}");
        task(&format!(
            "[task.custom]\nprompt_template = \"{{% for e in examples %}}{{{{ e.text }}}};{{% endfor %}}{{{{ text.upper() }}}}\"\n{data}\n{more}"
        ))
    };
    let task = build("few_shot = 2\ndemonstration_template = '<answer>{{ numbers[0] }}+2</answer>'\nrewards = { countdown = 1.5 }\ngrader = 'countdown'").unwrap();
    let record = task.records(Split::Validation).unwrap()[0].clone();
    let prompt = task.prompt(&record).unwrap();
    assert!(prompt.matches("item ").count() == 2 && prompt.contains("ITEM "), "{prompt}");
    let text = task.demonstration(&record, &mut spg::rng::Key::new(0, spg::rng::Purpose::Demonstration).rng()).unwrap();
    let earned = reward(&task, &record, &text);
    assert_eq!(earned.total, 1.5);
    assert!(task.grade(&record, &text, &earned).unwrap().solved());
    // by its reward
    let by_reward = build("rewards = { countdown = 1.0 }\nsolved_reward = 0.1").unwrap();
    let earned = reward(&by_reward, &record, "<answer>5</answer>");
    let grade = by_reward.grade(&record, "<answer>5</answer><|endoftext|>6", &earned).unwrap();
    assert!(grade.solved() && grade.answer.as_deref() == Some("5"), "{grade:?}");
    let message = |more: &str| build(more).unwrap_err();
    assert!(message("").contains("task.custom has no reward"));
    assert!(message("rewards = { sudoku = 1 }").contains("train.jsonl, line 1: a record has no field `puzzle`"));
    assert!(message("rewards = { int = 1 }\ngrader = 'math'").contains("line 1: a record has no answer"));
    let none = build("rewards = { int = 1 }").unwrap();
    let mut rng = spg::rng::Key::new(0, spg::rng::Purpose::Demonstration).rng();
    assert!(
        none.demonstration(&record, &mut rng).unwrap_err().to_string().contains("task.custom.demonstration_template")
    );
}

#[test]
fn a_command_rewards_a_run_and_one_that_does_not_start_ends_it_before_it_begins() {
    let dir = tempfile::tempdir().unwrap();
    let run = |out: &str, more: &[&str]| {
        let out = dir.path().join(out);
        let args = ["train", "--config", "examples/reward-command/config.toml", "--output-dir", out.to_str().unwrap()];
        (spg(&[&args[..], more].concat()), out)
    };
    let (mut command, out) = run("none", &["--set", "task.custom.reward_command.command=['no-such-program']"]);
    command.assert().code(1).stderr(contains("cannot start `no-such-program`").and(contains("reward_command.command")));
    assert!(!out.exists());
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        return;
    }
    let (mut command, out) = run("run", &[]);
    command.assert().code(0);
    let metrics = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let rows: Vec<Value> = metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let updates: Vec<&Value> = rows.iter().filter(|row| row.get("reward").is_some()).collect();
    assert_eq!(updates.len(), 4);
    for row in updates {
        assert_eq!(row["reward"], row["rewards/command/mean"]);
        assert!(row["rewards/command/letters/mean"].is_f64() && row["rewards/command/exact/mean"].is_f64(), "{row}");
    }
}

#[test]
fn training_never_sees_the_test() {
    let args = ["train", "--config", "sudoku-tiny", "--set", "eval.split=test", "--output-dir", "runs/never"];
    spg(&args)
        .assert()
        .code(2)
        .stderr(contains("eval.split = \"test\" under `spg train`").and(contains("--split test")));
    let tested =
        ["eval", "--ckpt", "examples/sudoku-tiny", "--config", "sudoku-tiny", "--limit", "2", "--split", "test"];
    spg(&tested).assert().code(0).stdout(contains("sudoku-tiny"));
}
