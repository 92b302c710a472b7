//! `spg eval` from the outside, on the tiny model: settings, samples, result files, and `spg grade` on them; and
//! `spg generate`.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::{Value, json};

fn spg(args: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("spg"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("RUST_LOG").env("SPG_DEVICE", "cpu").args(args);
    command
}

/// An evaluation of the model that ships.
fn eval(args: &[&str]) -> Command {
    let mut command = spg(&["eval", "--ckpt", "examples/sudoku-tiny", "--config", "configs/sudoku-tiny.toml"]);
    command.args(args);
    command
}

#[track_caller]
fn printed(command: &mut Command) -> String {
    String::from_utf8(command.assert().code(0).get_output().stdout.clone()).unwrap()
}

#[track_caller]
fn printed_json(command: &mut Command) -> Value {
    serde_json::from_str(&printed(command.arg("--json"))).unwrap()
}

/// The files of a folder by the beginning of their names, which the time follows.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn starting(dir: &Path, beginning: &str) -> PathBuf {
    let name = |p: &PathBuf| p.file_name().unwrap().to_str().unwrap().to_owned();
    let mut found: Vec<PathBuf> = files(dir).into_iter().filter(|p| name(p).starts_with(beginning)).collect();
    assert_eq!(found.len(), 1, "{beginning}: {:?}", files(dir));
    found.remove(0)
}

fn rows(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn sample_files_hold_what_the_evaluation_counted_and_can_be_graded() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    let args = ["--limit", "6", "--samples", "2", "--temperature", "0.9", "--temperature", "0.5", "--output-dir", out];
    let printed = printed_json(&mut eval(&args));
    let folder = dir.path().join("sudoku-tiny");
    assert_eq!(files(&folder).len(), 3, "{:?}", files(&folder));
    let results: Value = serde_json::from_slice(&std::fs::read(starting(&folder, "results_20")).unwrap()).unwrap();
    assert_eq!(printed["models"][0]["file"], json!(starting(&folder, "results_20")));
    for (i, label) in ["t0.9", "t0.5"].into_iter().enumerate() {
        let (figures, name) = (&printed["models"][0]["results"][i], format!("sudoku-{label}"));
        let kept = &results["results"][&name];
        for (a, b) in [
            ("accuracy", "acc"),
            ("solved", "solved"),
            ("exact", "exact"),
            ("reward", "reward"),
            ("accuracy_stderr", "acc_stderr"),
        ] {
            assert_eq!(figures[a], kept[format!("{b},none")], "{a}");
        }
        assert_eq!(figures["pass_at_k"]["pass@2"], kept["pass@2,none"]);
        assert_eq!(figures["pass_at_k"]["pass@1"], figures["solved"]);
        assert_eq!((&figures["decoding_steps"], &figures["num_samples"]), (&json!(10.0), &json!(2)));
        assert_eq!(results["n-samples"][&name]["effective"], 6);

        let path = starting(&folder, &format!("samples_{name}_20"));
        let rows = rows(&path);
        assert_eq!(rows.len(), 6);
        for (doc_id, row) in rows.iter().enumerate() {
            assert_eq!(row["doc_id"], doc_id);
            assert_eq!(
                (&row["target"], &row["arguments"]["gen_args_0"]["arg_0"]),
                (&row["doc"]["solution"], &row["doc"]["puzzle"])
            );
            let resps = row["resps"][0].as_array().unwrap();
            let settings = &row["arguments"]["gen_args_0"]["arg_1"];
            assert_eq!((&settings["top_p"], &settings["ranking_temperature"]), (&json!(1.0), &json!(0.0)));
            assert_eq!((resps.len(), row["filtered_resps"].as_array().unwrap().len()), (2, 2));
        }
        assert!(rows.iter().any(|row| row["resps"][0][0] != row["resps"][0][1]), "samples are drawn apart");

        let graded = spg(&["grade", "--task", "sudoku", path.to_str().unwrap(), "--json"]).assert().code(0);
        let graded: Value = serde_json::from_slice(&graded.get_output().stdout).unwrap();
        assert_eq!((&graded["total"]["completions"], &graded["total"]["accuracy"]), (&json!(12), &figures["accuracy"]));
        let count = |key: &str| {
            rows.iter().flat_map(|r| r["responses"].as_array().unwrap()).map(|r| r[key].as_u64().unwrap()).sum::<u64>()
        };
        assert_eq!((count("out_of"), count("correct")), (96, graded["total"]["correct"].as_u64().unwrap()));
        assert_eq!((&graded["total"]["items"], &graded["total"]["exact"]), (&json!(96), &figures["exact"]));
        let exact = |r: &Value| r["responses"].as_array().unwrap().iter().filter(|r| r["exact"] == true).count();
        assert_eq!(figures["exact"], json!(rows.iter().map(exact).sum::<usize>() as f64 / 12.0));
    }
}

/// Everything but what depends on the clock, on the folder and on the batch size itself.
fn timeless(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.retain(|key, _| {
                let names = ["tokens_per_second", "tokens_per_second,none", "date", "total_evaluation_time_seconds"];
                !names.contains(&key.as_str()) && !["batch_size", "file"].contains(&key.as_str())
            });
            fields.values_mut().for_each(|v| *v = timeless(v.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|v| *v = timeless(v.take())),
        _ => {}
    }
    value
}

#[test]
fn an_evaluation_does_not_depend_on_the_batch_size() {
    let dir = tempfile::tempdir().unwrap();
    // prompts of unequal lengths: one that grows with the empty cells of the puzzle's upper half
    let template = "task.sudoku.prompt_template={% for c in puzzle %}{% if c == '0' and loop.index < 9 %}ab{% endif %}\
                    {% endfor %}{{ puzzle }}";
    let run = |size: &str| {
        let out = dir.path().join(size);
        let args = ["--limit", "7", "--samples", "2", "--temperature", "0.9", "--set", template, "--batch-size", size];
        let printed = printed_json(eval(&args).arg("--output-dir").arg(&out));
        let folder = out.join("sudoku-tiny");
        let results: Value = serde_json::from_slice(&std::fs::read(starting(&folder, "results_")).unwrap()).unwrap();
        (timeless(printed), timeless(results), std::fs::read(starting(&folder, "samples_")).unwrap())
    };
    let one = run("1");
    let lengths = |samples: &[u8]| -> Vec<usize> {
        let text = String::from_utf8(samples.to_vec()).unwrap();
        let row = |line| serde_json::from_str::<Value>(line).unwrap();
        text.lines().map(|line| row(line)["arguments"]["gen_args_0"]["arg_0"].as_str().unwrap().len()).collect()
    };
    let lengths = lengths(&one.2);
    assert!(lengths.iter().any(|&n| n != lengths[0]), "{lengths:?}");
    for size in ["3", "14"] {
        assert_eq!(run(size), one, "batches of {size}");
    }
}

#[test]
fn settings_multiply_and_the_table_shows_what_varies() {
    let args = ["--limit", "3", "--block-length", "8", "--block-length", "20", "--order", "block", "--order", "canvas"];
    let table = printed(&mut eval(&[&args[..], &["--temperature", "0"]].concat()));
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(lines[0].contains("order") && lines[0].contains("block") && !lines[0].contains("remasking"), "{table}");
    assert!(lines[3].contains("canvas") && lines.iter().all(|l| l.chars().count() < 110), "{table}");

    let args = ["--limit", "3", "--temperature", "0", "--max-completion-length", "40", "--max-completion-length", "80"];
    let remasking = ["low_confidence", "margin", "neg_entropy", "random"];
    let flags: Vec<&str> = remasking.iter().flat_map(|&r| ["--remasking", r]).collect();
    let json = printed_json(&mut eval(&[&args[..], &flags].concat()));
    let results = json["models"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), 8);
    for (i, figures) in results.iter().enumerate() {
        let canvas = [40, 80][i % 2];
        assert_eq!(figures["label"], format!("greedy-{}-c{canvas}", remasking[i / 2]));
        // four tokens a step on every canvas
        assert_eq!(figures["decoding_steps"], canvas as f64 / 4.0);
        assert!(figures["effective_tokens"].as_f64().unwrap() <= canvas as f64);
    }
    // the rollout's own setting is untouched by what stands beside it
    let alone = printed_json(&mut eval(&["--limit", "3", "--temperature", "0"]));
    let (alone, first) = (&alone["models"][0]["results"][0], &results[0]);
    assert_eq!((&alone["label"], &alone["reward"]), (&json!("greedy"), &first["reward"]));
}

#[test]
fn what_is_evaluated_beside_a_setting_changes_none_of_its_draws() {
    let responses = |args: &[&str], setting: &str| -> Vec<Value> {
        let dir = tempfile::tempdir().unwrap();
        printed(eval(&["--limit", "4"]).args(args).arg("--output-dir").arg(dir.path()));
        let path = starting(&dir.path().join("sudoku-tiny"), &format!("samples_sudoku-{setting}_"));
        rows(&path).into_iter().map(|mut row| row["resps"][0].take()).collect()
    };
    let one = responses(&["--temperature", "0.9"], "t0.9");
    let three = responses(&["--temperature", "0.9", "--samples", "3"], "t0.9");
    let first = |all: &[Value]| all.iter().map(|r| json!([r[0]])).collect::<Vec<_>>();
    assert_eq!(first(&three), one);
    let beside = ["--temperature", "0.9", "--temperature", "0.5", "--order", "canvas", "--order", "block"];
    assert_eq!(responses(&beside, "t0.9-block"), one);
    // the place of a temperature in its list is part of the key
    assert_ne!(responses(&["--temperature", "0.5", "--temperature", "0.9"], "t0.9"), one);
}

#[test]
fn what_cannot_be_decoded_is_refused_with_all_its_numbers() {
    eval(&["--block-length", "16", "--max-completion-length", "42"]).assert().code(2).stderr(
        contains("eval.max_completion_length = 42 takes no whole number of steps").and(contains("use 40 or 44")),
    );
    eval(&["--block-length", "16", "--samples", "3"]).assert().code(2).stderr(
        contains("2 problems")
            .and(contains("eval.block_length = 16 does not divide rollout.max_completion_length = 40"))
            .and(contains("(--block-length 16"))
            .and(contains("decodes the same completion 3 times"))
            .and(contains("--samples 3")),
    );
    eval(&["--remasking", "most"]).assert().code(2).stderr(contains("low_confidence, random, margin, neg_entropy"));
    eval(&["--batch-size", "0"]).assert().code(2).stderr(contains("--batch-size 0: "));
}

#[test]
fn results_go_into_the_run_folder_or_where_they_are_asked_to_or_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    // a run folder with a model for a checkpoint
    let (run, checkpoint) = (dir.path().join("run"), dir.path().join("run/checkpoint-4"));
    std::fs::create_dir_all(&checkpoint).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::copy(root.join("configs/sudoku-tiny.toml"), run.join("config.toml")).unwrap();
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        std::fs::copy(root.join("examples/sudoku-tiny").join(name), checkpoint.join(name)).unwrap();
    }
    let state = r#"{"command": "train", "global_step": 4, "seed": 1, "revision": "abc"}"#;
    std::fs::write(checkpoint.join("trainer_state.json"), state).unwrap();
    let few = ["--limit", "2", "--temperature", "0"];
    let of = |ckpt: &Path, more: &[&str]| {
        let mut command = spg(&["eval", "--ckpt", ckpt.to_str().unwrap()]);
        command.args(few).args(more);
        command
    };
    printed(&mut of(&run, &["--base"]));
    for model in ["base", "checkpoint-4"] {
        let folder = run.join("eval").join(model);
        assert_eq!(files(&folder).len(), 2);
        let results: Value = serde_json::from_slice(&std::fs::read(starting(&folder, "results_")).unwrap()).unwrap();
        let name = if model == "base" { "examples/sudoku-tiny" } else { "checkpoint-4" };
        assert!(results["model_name"].as_str().unwrap().ends_with(name), "{}", results["model_name"]);
        assert_eq!(results["config"]["ckpt"].is_null(), model == "base");
    }
    printed(&mut of(&checkpoint, &[]));
    assert_eq!(files(&run.join("eval/checkpoint-4")).len(), 4, "later results stand beside earlier ones");

    let other = dir.path().join("other");
    printed(&mut of(&checkpoint, &["--output-dir", other.to_str().unwrap()]));
    assert_eq!((files(&other).len(), files(&run.join("eval/checkpoint-4")).len()), (1, 4));

    let taken = dir.path().join("taken");
    std::fs::write(&taken, "mine").unwrap();
    let refused = of(&checkpoint, &["--output-dir", taken.to_str().unwrap()]).assert().code(1);
    refused.stdout("").stderr(contains("cannot create the output folder").and(contains("taken")));

    eval(&few).assert().code(0).stderr(contains("--output-dir DIR keeps results"));
}

#[test]
fn the_split_is_chosen_and_training_never_sees_the_test() {
    let ids = |split: &str| {
        let dir = tempfile::tempdir().unwrap();
        let args = ["--limit", "3", "--temperature", "0", "--split", split, "--output-dir"];
        let json = printed_json(eval(&args).arg(dir.path()));
        assert_eq!(json["split"], split);
        let rows = rows(&starting(&dir.path().join("sudoku-tiny"), "samples_"));
        rows.iter().map(|row| row["doc"]["puzzle"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (train, validation, test) = (ids("train"), ids("validation"), ids("test"));
    assert!(train != validation && validation != test && test != train);
    spg(&["train", "--config", "configs/sudoku-tiny.toml", "--set", "eval.split=test"])
        .assert()
        .code(2)
        .stderr(contains("spg eval --split test"));
}

/// `spg generate` on the model that ships.
fn generate(args: &[&str]) -> Command {
    const SHORT: [&str; 6] = ["--max-completion-length", "32", "--block-length", "8", "--diffusion-steps", "8"];
    let mut command = spg(&["generate", "--ckpt", "examples/sudoku-tiny"]);
    command.args(SHORT).args(args);
    command
}

#[test]
fn the_example_of_the_help_text_was_refused() {
    let help = printed(&mut spg(&["generate", "--help"]));
    let example = help.lines().find_map(|line| line.trim().strip_prefix("spg generate --ckpt examples/sudoku-tiny "));
    let options: Vec<&str> = example.expect("an example of what ships").split(' ').collect();
    let text = printed(spg(&["generate", "--ckpt", "examples/sudoku-tiny"]).args(options));
    assert!(text.contains("</answer>"), "{text}");
}

#[test]
fn more_samples_than_any_memory_holds_are_a_usage_error() {
    let samples = ["generate", "--ckpt", "examples/sudoku-tiny", "--prompt", "0", "--samples", "4000000000"];
    spg(&samples).assert().code(2).stderr(contains("--samples 4000000000 is too large: at most 65536"));
    let count = ["data", "countdown", "--count", "9223372036854775807", "--out", "/tmp/none.jsonl"];
    spg(&count).assert().code(2).stderr(contains("--count 9223372036854775807 is too large"));
}

const PUZZLE: &str = " 0204032001400 2";

#[test]
fn prompts_are_completed_alone_as_in_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("prompts.jsonl");
    let line = |prompt: &str| serde_json::json!({ "prompt": prompt }).to_string();
    std::fs::write(&file, [line("1234"), line(PUZZLE)].join("\n")).unwrap();
    let file = file.to_str().unwrap();
    let lines = |args: &[&str]| -> Vec<serde_json::Value> {
        printed(&mut generate(args)).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let together = lines(&["--file", file, "--samples", "2", "--temperature", "0.9", "--json"]);
    assert_eq!(together.len(), 4);
    assert_eq!((&together[2]["prompt"], &together[2]["sample"]), (&1.into(), &0.into()));
    assert_eq!(together[2]["messages"][0]["content"], PUZZLE);
    let apart = lines(&["--file", file, "--temperature", "0.9", "--json", "--set", "rollout.batch_size=1"]);
    assert_eq!(together[0]["completion"], apart[0]["completion"]);
    assert_eq!(together[2]["completion"], apart[1]["completion"]);
    assert_ne!(together[0]["completion"], together[1]["completion"]);
    // text of one completion is nothing but that
    let alone = printed(&mut generate(&["--prompt", "1234", "--temperature", "0.9"]));
    assert_eq!(alone.trim_end_matches('\n'), together[0]["completion"].as_str().unwrap().trim_end_matches('\n'));
}

#[test]
fn standard_input_is_a_prompt() {
    let greedy = |command: &mut Command| printed(command.args(["--temperature", "0"]));
    let named = greedy(&mut generate(&["--prompt", PUZZLE]));
    assert_eq!(greedy(generate(&["--file", "-"]).write_stdin(PUZZLE)), named);
    let line = serde_json::json!({ "prompt": PUZZLE }).to_string();
    assert_eq!(greedy(generate(&["--file", "-"]).write_stdin(line)), named);
}

#[test]
fn what_cannot_be_completed_is_refused() {
    let fails = |args: &[&str], code: i32, text: &str| {
        generate(args).assert().code(code).stderr(predicates::str::contains(text));
    };
    fails(&["--prompt", "1", "--system", "be brief"], 1, "no chat template");
    fails(&["--prompt", "1", "--watch"], 2, "terminal");
    fails(&["--prompt", "1", "--set", "rollout.blocks=7"], 2, "blocks");
    fails(&["--prompt", "1111111111", "--set", "rollout.max_prompt_length=4"], 1, "rollout.max_prompt_length");
    fails(&["--file", "no/such.jsonl"], 1, "no/such.jsonl");
    fails(&[], 2, "--prompt");
}
