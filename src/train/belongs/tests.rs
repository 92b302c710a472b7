//! Runs that go on with something else than they were started with.

use std::path::{Path, PathBuf};

use candle_core::Device;
use serde_json::Value;

use crate::config::{Command, Resume};
use crate::error::{FAILED, USAGE};
use crate::task::Task;
use crate::train::testing::{RL, Tiny, assert_same, metrics};

/// All weights are trained; without a penalty, and with one.
const PLAIN: &[&str] = &["train.trainable=all", "rollout.merge_adapters=false"];
const PAYING: &[&str] =
    &["train.trainable=all", "rollout.merge_adapters=false", "algorithm={espo={num_generations=3, num_iterations=2}}"];

/// A run of one phase, to be gone on with.
fn started(run: &Tiny<'_>, dir: &Path) {
    run.succeed(dir, None, &["train.max_steps=2"]);
}

#[track_caller]
fn refused(run: &Tiny<'_>, dir: &Path, change: &str, key: &str, old: &str, new: &str) {
    let config = || std::fs::read_to_string(dir.join("config.toml")).expect("config.toml");
    let before = (config(), metrics(dir));
    let (code, text) = run.fail(dir, Some(Resume::Auto), &[change]);
    assert_eq!(code, USAGE, "{change}: {text}");
    let line = format!("{key}: {old} in the checkpoint, {new} now");
    assert!(text.contains(&line), "{change}: {line} is not in {text}");
    assert!((config(), metrics(dir)) == before, "{change}: nothing is written");
}

#[test]
fn a_run_went_on_with_another_scale_method_or_task_without_a_word() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("run");
    started(&RL, &dir);
    for (change, key, old, new) in [
        ("lora.lora_alpha=64", "lora.lora_alpha", "16.0", "64.0"),
        (
            "lora.lora_alpha=64",
            "adapter of blocks.0.attn_out (and of 27 other layers)",
            "\"r 16, scale 1\"",
            "\"r 16, scale 4\"",
        ),
        ("lora.target_modules=paper", "lora.target_modules", "\"all-linear\"", "\"paper\""),
        ("lora.r=8", "lora.r", "16", "8"),
        ("model.dtype=bf16", "model.dtype", "\"f32\"", "\"bf16\""),
        ("run.seed=7", "run.seed", "42", "7"),
        ("task.sudoku.data_seed=1", "task.sudoku.data_seed", "0", "1"),
        ("task.sudoku.few_shot=1", "task.sudoku.few_shot", "0", "1"),
        ("train.prompts_per_step=3", "train.prompts_per_step", "2", "3"),
    ] {
        let more = if change.contains("bf16") { &["rollout.merge_adapters=false"][..] } else { &[] };
        let changes = Tiny { command: Command::Train, changes: more };
        refused(&changes, &dir, change, key, old, new);
    }
    // 2 updates are no whole phase of 3, but what has changed is what the user can see
    let three = ["train.max_steps=6", "train.save_steps=3", "eval.eval_steps=3"];
    let changes = Tiny { command: Command::Train, changes: &three };
    refused(&changes, &dir, "algorithm.spg.num_iterations=3", "algorithm.spg.num_iterations", "2", "3");
    let packed = Tiny { command: Command::Train, changes: &["rollout.merge_adapters=false"] };
    refused(&packed, &dir, "model.quantize=q8_0", "model.quantize", "none", "\"q8_0\"");

    // a branch is no way around it
    let from = Some(Resume::From(dir.join("checkpoint-2")));
    let branch = folder.path().join("branch");
    let (code, text) = RL.fail(&branch, from, &["lora.lora_alpha=64"]);
    assert!(code == USAGE && text.contains("--set 'lora.init_from=") && !branch.exists(), "{text}");
}

/// The base model is what a kept reference is a copy of: another one would change the penalty of all that comes.
#[test]
fn a_run_of_all_weights_goes_on_as_one_and_against_the_same_reference() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("run");
    let (all, adapters) = ("train.trainable=all", "train.trainable=adapters");
    let run = |kl| Tiny { command: Command::Train, changes: [PLAIN, PAYING][usize::from(kl)] };
    for kl in [false, true] {
        started(&run(kl), &dir);
        let others = [adapters, "lora.r=8", "lora.lora_alpha=4"];
        let (code, text) = run(kl).fail(&dir, Some(Resume::Auto), &others);
        let refusal = "train.trainable: \"all\" in the checkpoint, \"adapters\" now\nset them back";
        assert!(code == USAGE && text.contains(refusal), "{text}");
        assert!(text.contains("--set 'model.name_or_path="), "its checkpoint is a model: {text}");

        // the same shapes and other weights
        let model = copy_of_the_model(folder.path().join(format!("model-{kl}")));
        std::fs::copy(dir.join("checkpoint-2/model.safetensors"), model.join("model.safetensors")).expect("copy");
        let named = format!("model.name_or_path={}", model.display());
        if kl {
            let (code, text) = run(kl).fail(&dir, Some(Resume::Auto), &[&named]);
            assert!(code == USAGE && text.contains("weights of the base model: \""), "{text}");
        } else {
            run(kl).succeed(&dir, Some(Resume::Auto), &[&named, "train.max_steps=4"]);
        }
        std::fs::remove_dir_all(&dir).expect("remove");
    }
    started(&RL, &dir);
    let (_, text) = RL.fail(&dir, Some(Resume::Auto), &[all, "rollout.merge_adapters=false"]);
    assert!(text.contains("train.trainable: \"adapters\" in the checkpoint, \"all\" now\nset them back"), "{text}");
    assert!(text.contains("--set 'lora.init_from="), "its checkpoint is an adapter: {text}");
}

#[test]
fn what_may_change_is_taken_and_leaves_a_trace() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("run");
    started(&RL, &dir);
    RL.succeed(&dir, Some(Resume::Auto), &["train.learning_rate=1e-5", "train.max_steps=4", "eval.limit=3"]);
    let text = std::fs::read_to_string(dir.join("run.json")).expect("run.json");
    let run: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(run["changed"]["train.learning_rate"], serde_json::json!([3e-4, 1e-5]), "{text}");
    assert_eq!(run["changed"]["train.max_steps"], serde_json::json!([2, 4]));
    assert_eq!((&run["resumed_from_step"], &run["history"][0]["resumed_from_step"]), (&2.into(), &Value::Null));
    assert_eq!(run["history"].as_array().map(Vec::len), Some(1));
}

/// A copy of the tiny model.
fn copy_of_the_model(dir: PathBuf) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sudoku-tiny");
    std::fs::create_dir(&dir).expect("create");
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        std::fs::copy(source.join(name), dir.join(name)).expect("copy");
    }
    dir
}

#[test]
fn a_base_model_of_equal_shape_took_the_place_of_the_right_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let (dir, whole) = (folder.path().join("run"), folder.path().join("whole"));
    for run in [&dir, &whole] {
        started(&RL, run);
    }
    RL.succeed(&whole, Some(Resume::Auto), &[]);
    let model = copy_of_the_model(folder.path().join("model"));
    let named = format!("model.name_or_path={}", model.display());
    let said = |key: &str, change: &dyn Fn()| {
        change();
        let (code, text) = RL.fail(&dir, Some(Resume::Auto), &[&named]);
        let line = format!("{key} of the base model: \"");
        assert!(code == USAGE && text.contains(&line) && text.contains("of examples/sudoku-tiny"), "{line} {text}");
        std::fs::remove_dir_all(&model).expect("remove");
        copy_of_the_model(model.clone());
    };
    said("weights", &|| {
        let path = model.join("model.safetensors");
        let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).expect("weights");
        let name = "model.transformer.blocks.0.q_proj.weight";
        let negated = tensors[name].neg().expect("maths");
        tensors.insert(name.into(), negated);
        candle_core::safetensors::save(&tensors, &path).expect("write");
    });
    let edit = |file: &str, from: &str, to: &str| {
        let path = model.join(file);
        let text = std::fs::read_to_string(&path).expect("text");
        assert!(text.contains(from), "{from} is not in {file}");
        std::fs::write(path, text.replacen(from, to, 1)).expect("write");
    };
    said("config.json", &|| edit("config.json", "\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": 1e-04"));
    said("tokenizer", &|| edit("tokenizer.json", "{", "{ "));
    // the same model elsewhere is the same model
    RL.succeed(&dir, Some(Resume::Auto), &[&named]);
    assert_same(&dir, &whole, "a model that was moved");
}

#[test]
fn other_training_records_came_in_by_the_same_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let (dir, data) = (folder.path().join("run"), folder.path().join("train.jsonl"));
    let config = RL.request(&dir, None, &[]).config;
    let task = Task::from_config(config.task(), false).expect("a task");
    let records = task.records(crate::config::Split::Train).expect("records");
    let lines: Vec<String> = records[..20].iter().map(|r| serde_json::to_string(r).expect("JSON") + "\n").collect();
    std::fs::write(&data, lines.concat()).expect("write");
    let table = |path: &Path| format!("task.sudoku.data={{train={{path='{}'}},validation_size=4}}", path.display());
    let here = [table(&data)];
    let changes = [here[0].as_str()];
    let run = Tiny { command: Command::Train, changes: &changes };
    started(&run, &dir);
    let mut swapped = lines.clone();
    swapped.swap(3, 11);
    std::fs::write(&data, swapped.concat()).expect("write");
    let (code, text) = run.fail(&dir, Some(Resume::Auto), &[]);
    assert!(code == USAGE && text.contains("training records: \""), "{text}");
    let moved = folder.path().join("moved.jsonl");
    std::fs::write(&moved, lines.concat()).expect("write");
    RL.succeed(&dir, Some(Resume::Auto), &[&table(&moved)]);
}

/// Changes `trainer_state.json`.
fn edit_state(checkpoint: &Path, change: impl FnOnce(&mut Value)) {
    let path = checkpoint.join("trainer_state.json");
    let mut state = serde_json::from_str(&std::fs::read_to_string(&path).expect("state")).expect("JSON");
    change(&mut state);
    crate::report::rewrite(checkpoint, "trainer_state.json", &state.to_string()).expect("written");
}

#[test]
fn a_step_that_is_not_the_folders_cut_the_metrics_and_trained_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("run");
    started(&RL, &dir);
    let before = metrics(&dir);
    for step in [0, 1, 3, 41] {
        edit_state(&dir.join("checkpoint-2"), |state| state["global_step"] = step.into());
        let (code, text) = RL.fail(&dir, Some(Resume::Auto), &[]);
        assert!(code == FAILED && text.contains(&format!("says global_step {step}")), "{text}");
        assert_eq!(metrics(&dir), before);
    }
    // under a name that tells nothing it must at least be between two phases
    let other = folder.path().join("copy");
    std::fs::rename(dir.join("checkpoint-2"), &other).expect("rename");
    edit_state(&other, |state| state["global_step"] = 3.into());
    let (_, text) = RL.fail(&folder.path().join("new"), Some(Resume::From(other.clone())), &[]);
    assert!(text.contains("in the middle of a phase of 2 updates"), "{text}");
    edit_state(&other, |state| state["global_step"] = 2.into());
    std::fs::rename(&other, dir.join("checkpoint-20")).expect("rename");
    let (_, text) = RL.fail(&dir, Some(Resume::Auto), &[]);
    assert!(text.contains("checkpoint-20 is damaged: it is named after step 20"), "{text}");
}

#[test]
fn a_checkpoint_without_a_record_is_judged_by_what_lies_beside_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("run");
    started(&RL, &dir);
    edit_state(&dir.join("checkpoint-2"), |state| drop(state.as_object_mut().expect("a table").remove("belongs")));
    refused(&RL, &dir, "lora.lora_alpha=64", "adapter of blocks.0.attn_out", "\"r 16, scale 1\"", "\"r 16, scale 4\"");
    refused(&RL, &dir, "task.sudoku.data_seed=1", "task.sudoku.data_seed", "0", "1");
    refused(&RL, &dir, "run.seed=1", "run.seed", "42", "1");
    RL.succeed(&dir, Some(Resume::Auto), &[]);
}

#[test]
fn a_checkpoint_of_numbers_that_are_none_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("run");
    started(&RL, &dir);
    // as another program may have written them
    std::fs::remove_file(dir.join("checkpoint-2/manifest.json")).expect("remove");
    for (file, key) in [("optimizer", "exp_avg_sq of"), ("adapter_model", "lora_B.weight in")] {
        let path = dir.join("checkpoint-2").join(format!("{file}.safetensors"));
        let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).expect("tensors");
        let name = tensors.keys().find(|n| n.ends_with(key.split(' ').next().unwrap_or(key))).expect("a name").clone();
        let broken = (&tensors[&name] * f64::NAN).expect("maths");
        tensors.insert(name, broken);
        candle_core::safetensors::save(&tensors, &path).expect("write");
        let (_, text) = RL.fail(&dir, Some(Resume::Auto), &[]);
        assert!(text.contains(key) && text.contains("infinite or not a number"), "{text}");
    }
}
