//! Runs whose adapters are put into their base model.

use super::*;

/// The greedy completions in the result files of an evaluation.
fn completions(dir: &Path) -> Vec<Value> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).expect("results").flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "jsonl") {
                let text = std::fs::read_to_string(path).expect("samples");
                let row = |line: &str| serde_json::from_str::<Value>(line).expect("a row")["resps"].clone();
                found.extend(text.lines().map(row));
            }
        }
    }
    found
}

#[test]
fn a_merged_run_decodes_as_its_last_checkpoint_and_can_be_trained_further() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let (run, merged) = (path("run"), path("merged"));
    let fast = ["--set", "train.learning_rate=3e-3", "--set", "rollout.merge_adapters=false"];
    succeed(train(run.as_ref(), &fast));
    let output = succeed(spg(&["merge", "--ckpt", &run, "--out", &merged]));
    assert!(output.stdout.is_empty());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("examples/sudoku-tiny with the adapters of") && said.contains("checkpoint-6"), "{said}");
    for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        assert!(Path::new(&merged).join(file).is_file(), "{file}");
    }

    // the cards know the figures that were taken after the checkpoint was written
    let accuracy = metrics(run.as_ref()).last().expect("metrics")["eval/t0.9/accuracy"].as_f64().expect("a figure");
    let figure = format!("| `t0.9` | 6 | 4 | {:.1} %", 100.0 * accuracy);
    for (folder, library) in [("run/checkpoint-6", "peft"), ("merged", "transformers")] {
        let card = std::fs::read_to_string(dir.path().join(folder).join("README.md")).expect("a card");
        let head = format!("---\nbase_model: examples/sudoku-tiny\nlibrary_name: {library}\n");
        for part in [&head, &figure, "| `t0.9` | 0 | 4 |", "| updates | 6 of 6 |", "[algorithm.spg]\n"] {
            assert!(card.contains(part), "{part:?} is not in:\n{card}");
        }
    }

    let config = path("run/config.toml");
    let eval = |ckpt: &str, out: &str, more: &[&str]| {
        let set = ["eval", "--ckpt", ckpt, "--output-dir", out, "--limit", "8", "--temperature", "0"];
        succeed(spg(&[&set[..], more].concat()));
        completions(Path::new(out))
    };
    let trained = eval(&run, &path("of-run"), &[]);
    assert_eq!(trained.len(), 8);
    assert_eq!(trained, eval(&merged, &path("of-merged"), &["--config", &config]));
    let base = eval("examples/sudoku-tiny", &path("of-base"), &["--config", &config]);
    assert_ne!(trained, base, "the adapters change nothing");

    let model = format!("model.name_or_path={merged}");
    succeed(train(path("again").as_ref(), &["--set", &model, "--max-steps", "2"]));

    // and what is there stays
    let text = fail(spg(&["merge", "--ckpt", &run, "--out", &merged]), 2);
    assert!(text.contains("merged is there already"), "{text}");
}

#[test]
fn a_run_of_all_weights_has_nothing_to_merge() {
    let dir = tempfile::tempdir().expect("a folder");
    let (run, out) = (dir.path().join("run"), dir.path().join("out"));
    succeed(train(
        &run,
        &["--set", "train.trainable=all", "--set", "rollout.merge_adapters=false", "--max-steps", "2"],
    ));
    let [run, out] = [&run, &out].map(|path| path.to_str().expect("UTF-8"));
    let text = fail(spg(&["merge", "--ckpt", run, "--out", out]), 2);
    assert!(text.contains("checkpoint-2 is a whole model") && text.contains("train.trainable = \"all\""), "{text}");
    assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 1);
    fail(spg(&["merge", "--ckpt", run, "--out", out, "--dtype", "q8_0"]), 2);
}
