//! The memory estimate of `--dry-run` against what runs of random models take.

use std::path::Path;
use std::process::Command;

use candle_core::{DType, Device};
use serde_json::{Value, json};
use spg::model::{Decoder, Weights};

use super::{fail, spg, succeed};

/// Width, query heads, key heads, layers, MLP width, vocabulary.
struct Size(usize, usize, usize, usize, usize, usize);

/// A folder with a random model of a size, prompts, and a configuration for both ways to train it.
fn folder(Size(d, heads, kv_heads, layers, f, v): Size) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sudoku-tiny");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(source.join(name), dir.path().join(name)).expect("copy");
    }
    let text = std::fs::read_to_string(source.join("config.json")).expect("config");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    let sizes = json!({
        "d_model": d, "n_heads": heads, "n_kv_heads": kv_heads, "n_layers": layers, "mlp_hidden_size": f,
        "vocab_size": v, "embedding_size": v,
    });
    config.as_object_mut().expect("a table").extend(sizes.as_object().expect("a table").clone());
    std::fs::write(dir.path().join("config.json"), config.to_string()).expect("write");
    Decoder::random(dir.path(), 1, DType::F32, &Device::Cpu, Weights::Trainable)
        .and_then(|model| model.save(dir.path()))
        .expect("a model");

    let records: String = (0..12).map(|i| format!("{{\"puzzle\": \"{:016}\"}}\n", 123 * i)).collect();
    std::fs::write(dir.path().join("records.jsonl"), records).expect("write");
    // every second completion is good, so that all have a gradient
    let path = dir.path().display();
    let text = format!(
        r#"
        [run]
        output_dir = "{path}/run"
        [model]
        name_or_path = "{path}"
        [lora]
        r = 16
        [task.custom]
        prompt_template = "{{{{ puzzle }}}}"
        demonstration_template = "{{{{ puzzle }}}}"
        data = {{ train = {{ path = "{path}/records.jsonl" }}, validation_size = 4 }}
        reward_command.command = [
            "sh", "-c", "i=0; while read -r line; do i=$((1 - i)); echo '{{\"reward\": '$i'}}'; done",
        ]
        [rollout]
        max_completion_length = 40
        block_length = 8
        diffusion_steps = 10
        [algorithm.spg]
        num_iterations = 2
        [sft]
        batch_size = 12
        [train]
        max_steps = 2
        save_steps = 2
        prompts_per_step = 4
        learning_rate = 1e-3
        [eval]
        eval_steps = 0
        batch_size = 4
        "#
    );
    std::fs::write(dir.path().join("run.toml"), text).expect("write");
    dir
}

fn run(dir: &Path, command: &str, sets: &[&str], more: &[&str]) -> Command {
    let config = dir.join("run.toml");
    let mut command = spg(&[command, "--config", config.to_str().expect("UTF-8")]);
    command.env("RAYON_NUM_THREADS", "1");
    for set in sets {
        command.args(["--set", set]);
    }
    command.args(more);
    command
}

fn number_after(text: &str, name: &str) -> f64 {
    let rest = text.split(name).nth(1).unwrap_or_else(|| panic!("{name} is not in {text}"));
    rest.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

fn dry_run(dir: &Path, command: &str, sets: &[&str], more: &[&str]) -> String {
    let output = succeed(run(dir, command, sets, &[&["--dry-run"], more].concat()));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs of which one has to take what was estimated.
const TRIES: usize = 5;

#[track_caller]
fn check(size: Size, command: &str, sets: &[&str]) {
    let dir = folder(size);
    let text = dry_run(dir.path(), command, sets, &[]);
    let estimate = number_after(&text, "estimated peak");
    let peak = |i: usize| {
        let output = format!("{}/run-{i}", dir.path().display());
        let output = succeed(run(dir.path(), command, sets, &["--output-dir", &output]));
        number_after(&String::from_utf8_lossy(&output.stderr), "Peak memory")
    };
    // where threads' small buffers come to lie between large ones varies, and with it what the heap can use again
    let (mut measured, mut closest) = (Vec::new(), f64::INFINITY);
    while closest >= 0.15 && measured.len() < TRIES {
        measured.push(peak(measured.len()));
        closest = measured.iter().map(|measured| (estimate / measured - 1.0).abs()).fold(closest, f64::min);
    }
    println!("{command} {sets:?}: estimated {estimate} MiB, measured {measured:?} MiB");
    assert!(closest < 0.15, "{estimate} is none of {measured:?}, {command} {sets:?}:\n{text}");
}

/// Deep and narrow with few words, everything kept: the activations decide.
#[test]
fn the_estimate_is_right_where_activations_decide() {
    check(Size(256, 4, 4, 6, 768, 64), "train", &["train.micro_batch_size=24"]);
}

/// Deeper, grouped keys, every third layer kept.
#[test]
fn the_estimate_is_right_with_checkpointing() {
    let sets = ["train.micro_batch_size=24", "train.activation_checkpointing=3", "lora.target_modules=all-linear"];
    check(Size(256, 8, 2, 12, 512, 1000), "train", &sets);
}

/// Shallow and wide with many words: the chunks of logits decide.
#[test]
fn the_estimate_is_right_where_the_head_decides() {
    let sets = ["train.micro_batch_size=6", "train.activation_checkpointing=every-layer"];
    check(Size(384, 6, 6, 3, 768, 30_000), "train", &sets);
}

/// All weights are trained: gradients and moments decide.
#[test]
fn the_estimate_is_right_for_all_weights() {
    check(Size(320, 5, 5, 8, 960, 64), "sft", &["train.trainable=all", "train.micro_batch_size=4"]);
}

/// The same with several updates a phase, which a copy of its beginning costs, and a reference, which costs another.
#[test]
fn the_estimate_is_right_for_all_weights_and_their_copies() {
    let algorithm = "algorithm={d1={num_iterations=2}}";
    check(Size(320, 5, 5, 8, 960, 64), "train", &["train.trainable=all", algorithm, "train.micro_batch_size=4"]);
}

#[test]
fn the_largest_batches_for_a_memory_are_named() {
    let dir = folder(Size(128, 4, 4, 2, 256, 64));
    let fits = |gib: &str, sets: &[&str]| dry_run(dir.path(), "train", sets, &["--memory-gib", gib]);
    let all = fits("4", &[]);
    assert!(all.contains("train.micro_batch_size = 24 fits") && all.contains("rollout.batch_size = 24 fits"), "{all}");

    let peak = |n: usize| {
        let text = dry_run(dir.path(), "train", &[&format!("train.micro_batch_size={n}")], &[]);
        number_after(&text, "estimated peak")
    };
    let between = (peak(12) + peak(13)) / 2.0 / 1024.0;
    let some = fits(&between.to_string(), &[]);
    let n = number_after(&some, "fits         train.micro_batch_size =");
    // the process is measured anew in every run, within about one completion's activations
    assert!((9.0..=15.0).contains(&n) && some.contains("is the largest"), "{some}");

    let none = fits("0.01", &[]);
    for part in ["not even train.micro_batch_size = 1", "activation_checkpointing = \"every-layer\"", "lora.r"] {
        assert!(none.contains(part), "{part} is not in {none}");
    }
    let none = fits("0.01", &["train.activation_checkpointing=1"]);
    assert!(none.contains("not even rollout.batch_size = 1") && !none.contains("set train.activation"), "{none}");

    let without = fail(run(dir.path(), "train", &[], &["--memory-gib", "4"]), 2);
    assert!(without.contains("--dry-run"), "{without}");
    let negative = fail(run(dir.path(), "train", &[], &["--dry-run", "--memory-gib=-4"]), 2);
    assert!(negative.contains("above 0"), "{negative}");
    assert!(!dir.path().join("run").exists());
}
