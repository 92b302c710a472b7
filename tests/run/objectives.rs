//! Runs of every objective: what they report, and that stopping changes none.

use std::collections::BTreeSet;

use super::*;

/// The methods with what they report beside the loss: clipped ratios, a distance to the reference.
const METHODS: [(&str, bool, bool); 8] = [
    ("spg", false, false),
    ("d1", true, true),
    ("wd1", false, false),
    ("unigrpo", true, true),
    ("coupled_grpo", true, true),
    ("espo", true, true),
    ("stable_drl", true, false),
    ("gdpo", true, true),
];

/// Two phases of two updates, on eight completions.
fn short(method: &str, output: &Path, more: &[&str]) -> Command {
    let mut command = spg(&["train", "--config", "configs/sudoku-tiny.toml", "--output-dir"]);
    command.arg(output);
    let algorithm = format!("algorithm={{{method}={{num_generations=4, num_iterations=2}}}}");
    let sets = [
        algorithm.as_str(),
        "train.prompts_per_step=2",
        "train.max_steps=4",
        "train.save_steps=2",
        "train.learning_rate=1e-2",
        "lora.lora_dropout=0.05",
        "eval.eval_steps=4",
        "eval.limit=2",
    ];
    sets.iter().for_each(|set| {
        command.args(["--set", set]);
    });
    command.args(more);
    command
}

#[test]
fn every_objective_trains_and_reports_its_figures() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut seen = BTreeSet::new();
    for (method, clips, pays) in METHODS {
        let run = dir.path().join(method);
        succeed(short(method, &run, &[]));
        let rows: Vec<_> = metrics(&run).into_iter().filter(|row| row.contains_key("loss")).collect();
        assert_eq!(rows.len(), 4, "{method}");
        seen.extend(rows.iter().flat_map(|row| row.keys().cloned()));
        for row in &rows {
            assert!(row["loss"].is_number() && row["grad_norm"].is_number(), "{method}: {row:?}");
            let distinct = row["completions/distinct"].as_f64().expect("a number");
            assert!((1.0..=4.0).contains(&distinct), "{method}: {row:?}");
            // some seeds earn the same everywhere
            if row["scored_tokens"].as_u64() > Some(0) {
                let entropy = row["entropy"].as_f64().expect("a number");
                assert!(entropy > 0.0 && entropy < 64f64.ln(), "{method}: {row:?}");
            }
            assert_eq!(row.contains_key("clip_ratio/high_mean"), clips, "{method}: {row:?}");
            assert_eq!(row.contains_key("kl"), pays, "{method}: {row:?}");
        }
        assert!(rows.iter().any(|row| row["grad_norm"].as_f64() > Some(0.0)), "{method} learns");
        if pays {
            assert_eq!(rows[0]["kl"].as_f64(), Some(0.0), "{method}: fresh adapters change nothing");
            assert!(rows[3]["kl"].as_f64() > Some(0.0), "{method}: {:?}", rows[3]);
        }
        let config = std::fs::read_to_string(run.join("config.toml")).expect("the resolved file");
        assert!(config.contains(&format!("[algorithm.{method}]")), "{config}");
    }
    let page = std::fs::read_to_string("configs/README.md").expect("the page of the keys");
    let (_, page) = page.split_once("Every update reports").expect("the list of the figures");
    let (page, _) = page.split_once("\n## ").expect("a next section");
    let names = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" | ")).map(|(names, _)| names);
    let names: Vec<&str> = names.flat_map(|names| names.trim_end_matches('`').split("`, `")).collect();
    assert!(names.len() > 10 && names.iter().all(|name| seen.contains(*name)), "{names:?} are not all of {seen:?}");
}

#[test]
fn an_objective_with_old_and_reference_policies_resumes_to_the_same_bits() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = dir.path().join("run");
    succeed(short("d1", &run, &[]));
    let (expected, figures) = (adapter(&run, 4), metrics(&run));
    std::fs::remove_dir_all(run.join("checkpoint-4")).expect("a checkpoint");
    succeed(short("d1", &run, &["--resume"]));
    assert_eq!(adapter(&run, 4), expected);
    assert_eq!(metrics(&run), figures);
}

/// Updates of all weights under a penalty, several a phase; the reference is the base model, wherever the run goes on.
#[test]
fn all_weights_resume_to_the_same_bits_and_leave_a_model() {
    let dir = tempfile::tempdir().expect("a folder");
    let (whole, killed) = (dir.path().join("whole"), dir.path().join("killed"));
    let sets = ["train.trainable=all", "rollout.merge_adapters=false", "train.learning_rate=1e-3"];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let run = |output: &Path, more: &[&str]| short("d1", output, &[&sets, more].concat());
    let log = succeed(run(&whole, &[])).stderr;
    assert!(String::from_utf8_lossy(&log).contains("[lora] is not read"));
    let rows = metrics(&whole);
    let kl = |step: usize| rows[step]["kl"].as_f64().expect("a number");
    assert!(kl(1) == 0.0 && kl(2) > 0.0, "the policy leaves the base model: {rows:?}");

    let mut child = start(run(&killed, &[]));
    wait_for(&killed.join("checkpoint-2"), &mut child);
    child.kill().expect("SIGKILL");
    child.wait().expect("a child");
    std::fs::remove_dir_all(killed.join("checkpoint-4")).ok();
    succeed(run(&killed, &["--resume"]));
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let bytes = |run: &Path| std::fs::read(run.join("checkpoint-4").join(file)).expect("a checkpoint");
        assert!(bytes(&whole) == bytes(&killed), "{file}");
    }
    assert_eq!(metrics(&killed), rows);
    let before = std::fs::read(killed.join("run.json")).expect("run.json");
    let text = fail(run(&killed, &["--resume", "--set", "train.trainable=adapters", "--set", "train.max_steps=8"]), 2);
    assert!(text.contains("train.trainable: \"all\" in the checkpoint, \"adapters\" now"), "{text}");
    assert!(std::fs::read(killed.join("run.json")).expect("run.json") == before, "nothing is written");

    let model = whole.join("checkpoint-4");
    let path = model.to_str().expect("UTF-8");
    let output = succeed(spg(&["eval", "--ckpt", path, "--limit", "2", "--json"]));
    let results: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let last = rows.last().expect("rows");
    assert_eq!(results["models"][0]["results"][1]["reward"], last["eval/greedy/reward"], "{results}");
    // a base model for others, adapters among them
    let based = format!("model.name_or_path={path}");
    for trainable in ["train.trainable=all", "train.trainable=adapters"] {
        let next = dir.path().join(trainable);
        succeed(run(&next, &["--set", &based, "--set", trainable, "--set", "train.max_steps=2"]));
        assert_eq!(metrics(&next)[0]["eval/greedy/reward"], last["eval/greedy/reward"], "{trainable}");
    }
}

#[test]
fn looking_at_the_parts_of_the_gradient_changes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let (plain, looked) = (dir.path().join("plain"), dir.path().join("looked"));
    succeed(short("spg", &plain, &[]));
    succeed(short("spg", &looked, &["--set", "train.gradient_parts_steps=3"]));
    assert_eq!(adapter(&looked, 4), adapter(&plain, 4));
    let parts = ["grad_norm/positive", "grad_norm/negative", "grad_cosine"];
    let rows = |run: &Path| -> Vec<_> { metrics(run).into_iter().filter(|row| row.contains_key("loss")).collect() };
    let has: Vec<bool> = rows(&looked).iter().map(|row| parts.iter().all(|part| row.contains_key(*part))).collect();
    assert_eq!(has, [false, false, true, false]);
    let row = &rows(&looked)[2];
    let [positive, negative, cosine] = parts.map(|part| row[part].as_f64().expect("a number"));
    let whole = row["grad_norm"].as_f64().expect("a number").powi(2);
    let sum = positive.powi(2) + negative.powi(2) + 2.0 * positive * negative * cosine;
    assert!((sum - whole).abs() < 1e-4 * whole, "{row:?}");
    assert!(rows(&plain).iter().all(|row| !row.contains_key(parts[0])));
}
