//! Whole runs of the binary on the tiny model: what they leave behind, stopping and resuming, what users get wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use serde_json::{Map, Value};

#[path = "run/adapters.rs"]
mod adapters;
#[path = "run/best.rs"]
mod best;
#[path = "run/bits.rs"]
mod bits;
#[path = "run/blocks.rs"]
mod blocks;
#[cfg(target_os = "linux")]
#[path = "run/memory.rs"]
mod memory;
#[path = "run/merge.rs"]
mod merge;
#[path = "run/objectives.rs"]
mod objectives;
#[cfg(unix)]
#[path = "run/stops.rs"]
mod stops;
#[cfg(unix)]
#[path = "run/sweep.rs"]
mod sweep;
#[path = "run/tracking.rs"]
mod tracking;
#[path = "run/watching.rs"]
mod watching;

/// A few seconds of work: 6 updates in 3 phases, a checkpoint after each phase.
const SHORT: [&str; 14] = [
    "--set",
    "train.prompts_per_step=2",
    "--set",
    "algorithm.spg.num_generations=3",
    "--set",
    "algorithm.spg.num_iterations=2",
    "--set",
    "train.save_steps=2",
    "--set",
    "eval.eval_steps=4",
    "--set",
    "eval.limit=4",
    "--set",
    "train.max_steps=6",
];

fn spg(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spg"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("RUST_LOG").env("SPG_DEVICE", "cpu").args(args);
    command
}

fn train(output: &Path, more: &[&str]) -> Command {
    let mut command = spg(&["train", "--config", "configs/sudoku-tiny.toml", "--output-dir"]);
    command.arg(output).args(SHORT).args(more);
    command
}

fn finish(mut command: Command) -> Output {
    command.output().expect("the binary starts")
}

#[track_caller]
fn succeed(command: Command) -> Output {
    let output = finish(command);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Runs a command that must fail with `code`, and returns what it said.
#[track_caller]
fn fail(command: Command, code: i32) -> String {
    let output = finish(command);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

fn adapter(run: &Path, step: usize) -> Vec<u8> {
    std::fs::read(run.join(format!("checkpoint-{step}/adapter_model.safetensors"))).expect("a checkpoint")
}

fn tensors(run: &Path, step: usize) -> BTreeMap<String, Vec<f32>> {
    let path = run.join(format!("checkpoint-{step}/adapter_model.safetensors"));
    let tensors = candle_core::safetensors::load(path, &Device::Cpu).expect("a checkpoint");
    let flat = |t: Tensor| t.flatten_all().and_then(|t| t.to_vec1()).expect("f32");
    tensors.into_iter().map(|(name, t)| (name, flat(t))).collect()
}

/// The metrics without what depends on the clock.
fn metrics(run: &Path) -> Vec<Map<String, Value>> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let rows = text.lines().map(|line| serde_json::from_str::<Map<String, Value>>(line).expect("a row"));
    rows.map(|row| row.into_iter().filter(|(k, _)| !k.ends_with("_seconds") && !k.ends_with("_per_second")).collect())
        .collect()
}

fn wait_for(path: &Path, child: &mut Child) {
    let started = Instant::now();
    while !path.exists() {
        assert!(started.elapsed() < Duration::from_secs(240), "{} never came", path.display());
        assert!(child.try_wait().expect("a child").is_none(), "the run ended before {}", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn start(mut command: Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts")
}

#[test]
fn a_run_that_is_killed_and_resumed_equals_one_that_never_stopped() {
    let dir = tempfile::tempdir().expect("a folder");
    let (whole, killed) = (dir.path().join("whole"), dir.path().join("killed"));
    let output = succeed(train(&whole, &[]));
    assert!(String::from_utf8_lossy(&output.stdout).contains("start"), "the table goes to standard output");

    // before the first checkpoint, and at two odd moments after one
    for (marker, delay) in [("metrics.jsonl", 30), ("checkpoint-2", 70), ("checkpoint-4", 10)] {
        let resume: &[&str] = if killed.exists() { &["--resume"] } else { &[] };
        let mut child = start(train(&killed, resume));
        wait_for(&killed.join(marker), &mut child);
        std::thread::sleep(Duration::from_millis(delay));
        child.kill().expect("SIGKILL");
        child.wait().expect("a child");
    }
    succeed(train(&killed, &["--resume", "auto"]));
    for step in [4, 6] {
        assert_eq!(adapter(&killed, step), adapter(&whole, step), "the adapters of step {step}");
    }
    assert_eq!(metrics(&killed), metrics(&whole));

    // and a run that is complete has nothing left to do
    succeed(train(&killed, &["--resume"]));
    assert_eq!(metrics(&killed), metrics(&whole));
}

#[cfg(unix)]
#[test]
fn a_signal_saves_a_checkpoint_and_the_run_goes_on_from_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let (whole, stopped) = (dir.path().join("whole"), dir.path().join("stopped"));
    succeed(train(&whole, &[]));
    let mut child = start(train(&stopped, &["--set", "train.save_steps=6"]));
    wait_for(&stopped.join("metrics.jsonl"), &mut child);
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill");
    assert!(killed.success());
    assert_eq!(child.wait().expect("a child").code(), Some(75));
    assert!(!stopped.join("checkpoint-6").exists(), "the signal came too late to test anything");
    succeed(train(&stopped, &["--resume", "--set", "train.save_steps=6"]));
    assert_eq!(adapter(&stopped, 6), adapter(&whole, 6));
    assert_eq!(metrics(&stopped), metrics(&whole));
}

/// Two runs with a cache: the guard lets one use it and makes the other decode exactly, like a run without.
#[test]
fn a_cached_run_resumes_to_the_same_bits_and_its_guard_can_undo_the_cache() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name);
    let mut cached = Vec::new();
    for change in [
        "rollout.cache=dual",
        "rollout.early_stop=true",
        "rollout.min_agreement=0",
        "eval.eval_steps=2",
        "train.lr_scheduler_type=constant",
    ] {
        cached.extend(["--set", change]);
    }
    succeed(train(&path("whole"), &cached));
    let start = [&cached[..], &["--max-steps", "2"]].concat();
    succeed(train(&path("resumed"), &start));
    succeed(train(&path("resumed"), &[&cached[..], &["--resume"]].concat()));
    assert_eq!(adapter(&path("resumed"), 6), adapter(&path("whole"), 6));
    assert_eq!(metrics(&path("resumed")), metrics(&path("whole")));
    let row = &metrics(&path("whole"))[1];
    assert_eq!((&row["rollout/exact"], &row["rollout/tokens_per_step"]), (&0.into(), &4.0.into()));
    assert!(row["rollout/agreement"].as_f64().is_some_and(|agreement| (0.0..=1.0).contains(&agreement)), "{row:?}");

    let hasty = ["--set", "rollout.commit={threshold=0}", "--set", "rollout.min_agreement=1", "--max-steps", "2"];
    let output = succeed(train(&path("guarded"), &hasty));
    let warning = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(warning.contains("rollout.min_agreement is 1: decoding this phase exactly"), "{warning}");
    assert_eq!(metrics(&path("guarded"))[1]["rollout/exact"], 1);
    succeed(train(&path("exact"), &["--max-steps", "2"]));
    assert_eq!(adapter(&path("guarded"), 2), adapter(&path("exact"), 2));
}

#[test]
fn quantised_weights_in_bf16_with_checkpointing_learn_and_are_evaluated_as_they_were_trained() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = folder.path().join("run");
    let small = [
        "--set",
        "model.quantize=q8_0",
        "--set",
        "model.dtype=bf16",
        "--set",
        "rollout.merge_adapters=false",
        "--set",
        "train.activation_checkpointing=2",
        "--max-steps",
        "2",
    ];
    succeed(train(&run, &small));
    let rows = metrics(&run);
    let reward = |row: usize| rows[row]["eval/greedy/reward"].as_f64().expect("a reward");
    assert!(reward(0) > 0.5, "quantised to 8 bits the model still solves puzzles: {:?}", rows[0]);
    assert!(rows[2]["grad_norm"].as_f64().is_some_and(|norm| norm > 0.0), "{:?}", rows[2]);
    let output = succeed(spg(&["eval", "--ckpt", &run.display().to_string(), "--limit", "4", "--json"]));
    let results: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let last = rows.last().expect("rows");
    assert_eq!(results["models"][0]["results"][1]["reward"], last["eval/greedy/reward"], "{results}");

    let missing = fail(
        train(
            &folder.path().join("gguf"),
            &["--set", "model.gguf_file=none.gguf", "--set", "rollout.merge_adapters=false"],
        ),
        1,
    );
    assert!(
        missing.contains("\"none.gguf\" is neither in examples/sudoku-tiny nor a file of this machine"),
        "{missing}"
    );
}

#[test]
fn the_micro_batch_changes_nothing_but_rounding_and_the_rollout_batch_nothing_at_all() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = |name: &str, more: &[&str]| {
        let output = dir.path().join(name);
        let args = [&["--max-steps", "2", "--set", "algorithm.spg.num_iterations=1"], more].concat();
        succeed(train(&output, &args));
        (tensors(&output, 2), metrics(&output)[1].clone())
    };
    let (whole, row) = run("whole", &["--set", "train.micro_batch_size=48"]);
    for size in ["1", "3"] {
        let (split, _) =
            run(size, &["--set", &format!("train.micro_batch_size={size}"), "--set", "rollout.batch_size=5"]);
        assert_eq!(split.keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>());
        let differences = split
            .iter()
            .flat_map(|(name, values)| values.iter().zip(&whole[name]).map(|(a, b)| (a - b).abs()).collect::<Vec<_>>());
        let worst = differences.fold(0.0, f32::max);
        assert!(worst < 1e-6, "micro-batches of {size}: {worst}");
    }
    let (again, same) = run("again", &["--set", "train.micro_batch_size=48", "--set", "rollout.batch_size=1"]);
    assert_eq!(again, whole, "same seed, same bits");
    assert_eq!(same, row);
    let (other, _) = run("other", &["--set", "train.micro_batch_size=48", "--seed", "7"]);
    assert_ne!(other, whole);
}

#[test]
fn a_run_leaves_its_config_and_provenance_and_can_be_evaluated() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = dir.path().join("run");
    succeed(train(&run, &["--seed", "3", "--max-steps", "2"]));
    let config = std::fs::read_to_string(run.join("config.toml")).expect("config");
    assert!(config.contains("seed = 3") && config.contains("max_steps = 2"), "{config}");
    let provenance: Value =
        serde_json::from_str(&std::fs::read_to_string(run.join("run.json")).expect("run.json")).expect("JSON");
    assert_eq!(provenance["seeds"]["run"], 3);
    let steps: Vec<u64> = metrics(&run).iter().filter_map(|row| row["step"].as_u64()).collect();
    assert_eq!(steps, [0, 1, 2, 2], "evaluation, two updates, evaluation");

    let path = run.to_str().expect("UTF-8");
    let table = succeed(spg(&["eval", "--ckpt", path, "--base", "--limit", "3"]));
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("base") && table.contains("checkpoint-2") && table.contains("accuracy"), "{table}");
    let json = succeed(spg(&["eval", "--ckpt", path, "--json", "--limit", "3", "--temperature", "0"]));
    let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["models"][0]["results"][0]["items"], 3);
    // the base model by itself gives the figures of the base column
    let base = succeed(spg(&[
        "eval",
        "--ckpt",
        "examples/sudoku-tiny",
        "--config",
        &format!("{path}/config.toml"),
        "--json",
        "--limit",
        "3",
    ]));
    let base: Value = serde_json::from_slice(&base.stdout).expect("JSON");
    let both = succeed(spg(&["eval", "--ckpt", path, "--base", "--json", "--limit", "3"]));
    let both: Value = serde_json::from_slice(&both.stdout).expect("JSON");
    for (a, b) in [(0, 0), (1, 1)] {
        assert_eq!(
            base["models"][0]["results"][a]["accuracy"], both["models"][0]["results"][b]["accuracy"],
            "{base} {both}"
        );
    }
}

#[test]
fn an_output_folder_in_use_or_out_of_reach_is_an_error_and_stays_as_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = dir.path().join("run");
    std::fs::create_dir(&run).expect("create");
    std::fs::write(run.join("notes.txt"), "mine").expect("write");
    let text = fail(train(&run, &[]), 2);
    assert!(text.contains("is in use") && text.contains("--resume") && text.contains("--output-dir"), "{text}");
    assert!(fail(train(&run, &["--resume"]), 2).contains("nothing to resume"));
    assert_eq!(std::fs::read_dir(&run).expect("folder").count(), 1);
    let text = fail(train(&run.join("notes.txt/run"), &[]), 1);
    assert!(text.contains("cannot create the output folder"), "{text}");
}

#[test]
fn resuming_from_an_older_checkpoint_needs_a_folder_of_its_own() {
    let dir = tempfile::tempdir().expect("a folder");
    let (run, branch) = (dir.path().join("run"), dir.path().join("branch"));
    succeed(train(&run, &[]));
    let old = run.join("checkpoint-4");
    let old = old.to_str().expect("UTF-8");
    assert!(fail(train(&run, &["--resume", old]), 2).contains("is not the last checkpoint"));
    succeed(train(&branch, &["--resume", old]));
    assert_eq!(adapter(&branch, 6), adapter(&run, 6));
    let missing = fail(train(&dir.path().join("x"), &["--resume", "/no/such/checkpoint-2"]), 2);
    assert!(missing.contains("there is no checkpoint folder /no/such/checkpoint-2"), "{missing}");
    let whole = fail(train(&dir.path().join("x"), &["--resume", run.to_str().expect("UTF-8")]), 2);
    assert!(whole.contains("is a run, not a checkpoint: name one of its checkpoint folders"), "{whole}");
    // nothing is loaded for that
    assert!(!missing.contains("INFO model") && !whole.contains("INFO model"), "{missing} {whole}");
    // a folder that holds a configuration of the user's own is no run
    let mine = dir.path().join("mine");
    std::fs::create_dir(&mine).expect("create");
    std::fs::write(mine.join("config.toml"), "# mine").expect("write");
    let foreign = fail(train(&mine, &["--resume"]), 2);
    assert!(foreign.contains("neither run.json nor a checkpoint"), "{foreign}");
    assert_eq!(std::fs::read_to_string(mine.join("config.toml")).expect("kept"), "# mine");
    for (set, said) in [
        ("task.sudoku.rewards.correctness=1", "task.sudoku.rewards: a record has no field `ground_truth`"),
        ("task.sudoku.rewards.sudoku=0", "task.sudoku.rewards: every weight is 0"),
        ("model.end_token_ids=[63]", "63 is the id of the mask and one that ends a completion"),
    ] {
        let output = fail(train(&dir.path().join("x"), &["--set", set]), if set.contains("end_token") { 1 } else { 2 });
        assert!(output.contains(said) && !dir.path().join("x").exists(), "{set}: {output}");
    }
    let looked = fail(train(&run, &["--resume", "--dry-run"]), 2);
    assert!(looked.contains("nothing of --resume"), "{looked}");
}

#[test]
fn a_dry_run_shows_everything_and_writes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = dir.path().join("run");
    let output = succeed(train(&run, &["--dry-run"]));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in ["trainable", "prompt ", "completion ", "max_steps = 6", "held out", "estimated peak"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(!run.exists());
    // what stops a run at its start stops a dry run: it looked at the training canvas alone
    let wide = ["--set", "eval.max_completion_length=[40,400]"];
    let of_run = fail(train(&run, &wide), 1);
    assert!(of_run.contains("max_completion_length 400 exceed"), "{of_run}");
    assert!(fail(train(&run, &[&wide[..], &["--dry-run"]].concat()), 1).contains("max_completion_length 400 exceed"));
}

#[test]
fn supervised_fine_tuning_makes_a_model_or_an_adapter_and_resumes_to_the_same_bytes() {
    let dir = tempfile::tempdir().expect("a folder");
    let sft = |name: &str, more: &[&str]| {
        let mut command = spg(&["sft", "--config", "configs/sudoku-tiny-sft.toml", "--output-dir"]);
        command.arg(dir.path().join(name)).args(["--set", "sft.batch_size=6", "--set", "eval.limit=2"]);
        command
            .args(["--set", "train.save_steps=2", "--set", "train.save_total_limit=9", "--max-steps", "4"])
            .args(more);
        command
    };
    succeed(sft("whole", &[]));
    let whole = dir.path().join("whole");
    let losses: Vec<f64> = metrics(&whole).iter().filter_map(|r| r.get("loss")?.as_f64()).collect();
    assert!(losses.len() == 4 && losses[3] < losses[0], "{losses:?}");
    let model = |run: &Path| std::fs::read(run.join("checkpoint-4/model.safetensors")).expect("a model");

    let from = whole.join("checkpoint-2");
    succeed(sft("branch", &["--resume", from.to_str().expect("UTF-8")]));
    assert_eq!(model(&dir.path().join("branch")), model(&whole));
    let folder = whole.join("checkpoint-4");
    let folder = folder.to_str().expect("UTF-8");
    succeed(spg(&["eval", "--ckpt", folder, "--limit", "2"]));

    let adapters = ["--set", "model.random_init=false", "--set", "train.trainable=adapters"];
    succeed(sft("adapters", &adapters));
    assert!(dir.path().join("adapters/checkpoint-4/adapter_model.safetensors").is_file());
}

/// A copy of the tiny model with one file changed.
fn broken_model(change: impl Fn(&Path)) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sudoku-tiny");
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        std::fs::copy(source.join(name), dir.path().join(name)).expect("copy");
    }
    change(dir.path());
    let path = dir.path().to_owned();
    (dir, path)
}

fn edit(dir: &Path, file: &str, from: &str, to: &str) {
    let path = dir.join(file);
    let text = std::fs::read_to_string(&path).expect("text");
    assert!(text.contains(from), "{from} is not in {file}");
    std::fs::write(path, text.replace(from, to)).expect("write");
}

#[test]
fn what_is_wrong_with_a_model_or_task_is_named() {
    let output = tempfile::tempdir().expect("a folder");
    let output = output.path().join("run");
    let with_model = |change: fn(&Path)| {
        let (_dir, path) = broken_model(change);
        let text = fail(train(&output, &["--set", &format!("model.name_or_path={}", path.display())]), 1);
        assert!(!output.exists(), "nothing is written: {text}");
        text
    };
    let text = with_model(|dir| {
        let file = std::fs::OpenOptions::new().write(true).open(dir.join("model.safetensors")).expect("open");
        file.set_len(100_000).expect("truncate");
    });
    assert!(text.contains("model.safetensors cannot be read as safetensors"), "{text}");
    let text = with_model(|dir| edit(dir, "config.json", "\"mlp_hidden_size\": 384", "\"mlp_hidden_size\": 380"));
    assert!(text.contains("mis-shaped") && text.contains("ff_proj") && text.contains("[384, 128]"), "{text}");
    let text = with_model(|dir| {
        // a token that this file names would be added
        edit(dir, "tokenizer_config.json", "\"mask_token\": \"<|mdm_mask|>\",", "");
        let path = dir.join("tokenizer.json");
        let mut json: Value = serde_json::from_str(&std::fs::read_to_string(&path).expect("text")).expect("JSON");
        let added = json["added_tokens"].as_array_mut().expect("a list");
        added.retain(|token| token["id"] != 63);
        json["model"]["vocab"].as_object_mut().expect("a vocabulary").retain(|_, id| *id != 63);
        std::fs::write(path, json.to_string()).expect("write");
    });
    assert!(text.contains("tokenizer.json has no token 63") && text.contains("mask_token_id"), "{text}");
    let text = with_model(|dir| edit(dir, "config.json", "\"weight_tying\": false", "\"weight_tying\": true"));
    assert!(text.contains("weight_tying is true"), "{text}");
    let text = with_model(|dir| std::fs::remove_file(dir.join("tokenizer.json")).expect("remove"));
    assert!(text.contains("tokenizer.json"), "{text}");

    let with = |set: &str, code| fail(train(&output, &["--set", set]), code);
    assert!(with("model.name_or_path=no/such/place/here", 1).contains("neither a folder nor a hub id"));
    assert!(with("lora.target_modules=['q_proj', 'o_proj']", 2).contains("\"o_proj\" matches no linear layer"));
    assert!(with("rollout.max_prompt_length=8", 1).contains("no prompt of task sudoku fits"));
    let text = with("rollout.max_completion_length=400", 2);
    assert!(text.contains("multiple"), "{text}");
    let sets = ["--set", "rollout.max_completion_length=400", "--set", "rollout.diffusion_steps=50"];
    let text = fail(train(&output, &sets), 1);
    assert!(text.contains("max_sequence_length 256"), "{text}");
    assert!(with("task.sudoku.train_grids=288", 2).contains("train_grids"));
    assert!(!output.exists());
}

#[test]
fn verify_holds_on_the_golden_models_and_notices_damage() {
    for name in ["gqa_small", "mha_small"] {
        let output = succeed(spg(&["verify", &format!("tests/fixtures/golden/{name}"), "--device", "cpu"]));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.lines().count() > 40 && !text.contains("FAIL"), "{text}");
        // advantages, loss and gradients of d1, wd1, unigrpo, coupled_grpo and espo
        assert_eq!(text.lines().filter(|l| l.starts_with("ok") && l.contains("algorithms.")).count(), 15, "{text}");
    }
    for name in ["a2d_qwen3", "dream", "sdar"] {
        let output = succeed(spg(&["verify", &format!("tests/fixtures/golden/{name}"), "--device", "cpu"]));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // logits, four decodes, three items of four losses, two of four updates
        assert_eq!(text.lines().filter(|l| l.starts_with("ok")).count(), 1 + 4 + 12 + 8, "{text}");
        assert!(!text.contains("FAIL"), "{text}");
    }
    let dir = tempfile::tempdir().expect("a folder");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden/gqa_small");
    for entry in std::fs::read_dir(source).expect("fixtures").flatten() {
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).expect("copy");
    }
    edit(dir.path(), "config.json", "\"rope_theta\": 500000.0", "\"rope_theta\": 10000.0");
    let path = dir.path().to_str().expect("UTF-8");
    let output = finish(spg(&["verify", path]));
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("FAIL  logits"));
    assert!(fail(spg(&["verify", "/no/such/folder"]), 1).contains("is not a folder with golden tensors"));
}
