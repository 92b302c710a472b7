//! Adapters of others through the binary: runs that start from them, and numbers that are compared with theirs.

use super::*;

const GQA: &str = "tests/fixtures/golden/gqa_small";

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn config_of(dir: &Path) -> Map<String, Value> {
    let text = std::fs::read_to_string(dir.join("adapter_config.json")).expect("an adapter");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn a_run_from_an_adapter_trained_on_and_saved_another_scale_than_its_own() {
    let dir = tempfile::tempdir().expect("a folder");
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    let two = ["--set", "train.max_steps=2", "--set", "eval.limit=1"];
    succeed(train(&first, &two));
    let adapter = first.join("checkpoint-2");
    let mut config = config_of(&adapter);
    config["alpha_pattern"] = serde_json::json!({ r".*\.0\.q_proj": 4.5 });
    config["base_model_name_or_path"] = "some/other-base".into();
    std::fs::write(adapter.join("adapter_config.json"), Value::from(config).to_string()).expect("write");
    // what was changed is not what was sealed
    std::fs::remove_file(adapter.join("manifest.json")).expect("removed");

    // a run folder stands for its last checkpoint
    let from = format!("lora.init_from={}", first.display());
    let start_at = |run: &Path, more: &[&str]| train(run, &[&two[..], &["--set", &from], more].concat());
    let with = |more: &[&str]| start_at(&second, more);
    let text = fail(with(&["--set", "lora.r=8", "--set", "lora.lora_alpha=3"]), 2);
    for part in ["has rank 16", "lora.r = 8", "has alpha 16", "lora.lora_alpha = 3", "checkpoint-2"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    assert!(!second.exists());
    let text = stderr(&succeed(with(&[])));
    assert_eq!(text.matches("some/other-base").count(), 1, "{text}");
    assert!(text.contains("WARN") && text.contains("this model is \"examples/sudoku-tiny\""), "{text}");
    let saved = config_of(&second.join("checkpoint-2"));
    assert_eq!(saved["alpha_pattern"], serde_json::json!({ r".*\.0\.q_proj": 4.5 }));
    let resolved = std::fs::read_to_string(second.join("config.toml")).expect("config.toml");
    assert!(!resolved.contains("target_modules"), "the adapter decides:\n{resolved}");
    succeed(spg(&["eval", "--ckpt", second.to_str().expect("UTF-8"), "--limit", "1"]));

    std::fs::remove_dir_all(&adapter).expect("remove");
    let text = fail(start_at(&dir.path().join("third"), &[]), 1);
    assert!(text.contains("lora.init_from") && text.contains("holds no adapter, no model and no checkpoint"), "{text}");
}

#[test]
fn verify_compares_an_adapter_with_the_logits_beside_it() {
    let of = |dir: &Path| spg(&["verify", GQA, "--device", "cpu", "--adapter", dir.to_str().expect("UTF-8")]);
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/adapters");
    let output = succeed(of(&fixtures.join("rank_alpha_pattern")));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("ok    adapter.logits"), "{output:?}");
    let text = fail(of(&fixtures.join("pissa")), 1);
    assert!(text.contains("init_lora_weights") && text.contains("path_initial_model_for_weight_conversion"), "{text}");

    let dir = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(fixtures.join("list")).expect("fixture").flatten() {
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).expect("copy");
    }
    edit(dir.path(), "adapter_config.json", "\"lora_alpha\": 8", "\"lora_alpha\": 8.5");
    let output = finish(of(dir.path()));
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("FAIL  adapter.logits"), "{output:?}");
    std::fs::remove_file(dir.path().join("logits.safetensors")).expect("remove");
    assert!(fail(of(dir.path()), 1).contains("has no logits.safetensors"));
    fail(spg(&["verify", GQA, "--adapter", GQA, "--dtype", "bf16"]), 2);
}
