//! Runs of the small block-causal model.

use super::*;

fn blocks(output: &Path, more: &[&str]) -> Command {
    let mut command = spg(&["train", "--config", "configs/sudoku-blocks.toml", "--output-dir"]);
    command.arg(output).args(SHORT).args(more);
    command
}

#[test]
fn the_cache_of_finished_blocks_changes_no_bit_of_a_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let adapters = |name: &str, cache: &str| {
        let output = dir.path().join(name);
        succeed(blocks(&output, &["--set", cache]));
        std::fs::read(output.join("checkpoint-6/adapter_model.safetensors")).expect("adapters")
    };
    assert!(adapters("cached", "rollout.cache=blocks") == adapters("plain", "rollout.cache=none"));
    let eval = spg(&["eval", "--ckpt", dir.path().join("cached").to_str().expect("UTF-8"), "--limit", "2"]);
    succeed(eval);
}

#[test]
fn what_does_not_fit_a_block_causal_model_or_needs_one_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = dir.path().join("run");
    let with = |sets: &[&str]| {
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        (fail(blocks(&output, &sets), 2), output.exists())
    };
    let (text, there) = with(&["rollout.block_length=4"]);
    assert!(text.contains("block_length is 4") && text.contains("set block_length = 8") && !there, "{text}");
    let (text, _) = with(&["rollout.cache=dual"]);
    assert!(text.contains("rollout.cache = \"dual\"") && text.contains("use \"blocks\""), "{text}");
    let (text, _) = with(&["model.block_size=4"]);
    assert!(text.contains("model.block_size 4 is not block_size 8 of") && text.contains("config.json"), "{text}");
    let text = fail(blocks(&output, &["--set", "model.mask_token_id=64"]), 1);
    assert!(text.contains("mask_token_id 64 is outside the 64 embeddings"), "{text}");
    let text = fail(train(&output, &["--set", "algorithm.spg.forward_type=every_block"]), 2);
    assert!(text.contains("forward_type = \"every_block\" is for block-causal models"), "{text}");
    let text = fail(train(&output, &["--set", "model.block_size=8"]), 2);
    assert!(text.contains("model.block_size: in models of LLaDA every token sees every other"), "{text}");
}
