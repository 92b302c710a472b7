//! Merging from folders as people have them: what comes out, what is refused, what is left behind.

use candle_core::{DType, Device};
use serde_json::json;

use super::*;
use crate::config::Precision;
use crate::error::{INTERRUPTED, USAGE, exit_code};
use crate::model::{Decoder, Pass, WeightFiles, Weights, weights_digest};
use crate::rng::{Key, Purpose};
use crate::rollout::{Decoding, Prompt, Sampler};

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden/gqa_small")
}

/// A folder for a test: `run/checkpoint-4` with the golden adapter, and the golden model as `base`.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a folder"));
        for (dir, files) in [
            ("run/checkpoint-4", ["adapter_config.json", "adapter_model.safetensors"]),
            ("base", ["config.json", "model.safetensors"]),
        ] {
            std::fs::create_dir_all(place.path(dir)).expect("create");
            for file in files {
                std::fs::copy(golden().join(file), place.path(dir).join(file)).expect("copy");
            }
        }
        let state = r#"{"command": "train", "global_step": 4, "seed": 1, "revision": "abc"}"#;
        std::fs::write(place.path("run/checkpoint-4/trainer_state.json"), state).expect("write");
        place.edit_adapter("base_model_name_or_path", place.path("base").to_str().expect("UTF-8").into());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn edit_adapter(&self, key: &str, value: serde_json::Value) {
        let path = self.path("run/checkpoint-4/adapter_config.json");
        let mut json: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&path).expect("read")).expect("JSON");
        json[key] = value;
        std::fs::write(path, json.to_string()).expect("write");
    }

    /// Notes what the checkpoint belongs to: a configuration with this `[model]`, and weights with this digest.
    fn note(&self, model: serde_json::Value, digest: &str) {
        let state = json!({
            "command": "train", "global_step": 4, "seed": 1, "revision": "abc",
            "belongs": {
                "base_model": "base", "base_config": "", "base_weights": digest, "tokenizer": "", "train_records": "",
                "adapters": {}, "config": { "model": model },
            },
        });
        std::fs::write(self.path("run/checkpoint-4/trainer_state.json"), state.to_string()).expect("write");
    }

    fn request(&self) -> MergeRequest {
        MergeRequest { checkpoint: self.path("run"), which: None, out: self.path("out"), dtype: None, base: None }
    }

    fn merge(&self, request: &MergeRequest) -> Result<()> {
        run_until(request, SHARD_BYTES, |_| Ok(Stop::default()))
    }

    #[track_caller]
    fn refused(&self, request: &MergeRequest) -> (u8, String) {
        let before = self.names();
        let error = self.merge(request).expect_err("refused");
        assert_eq!(self.names(), before, "something is left behind");
        (exit_code(&error), format!("{error:#}"))
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).expect("a folder").flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn load(dir: &Path) -> Decoder {
    Decoder::load(dir, DType::F32, &Device::Cpu, Weights::Frozen).expect("a model")
}

fn greedy(model: &Decoder, pass: Pass<'_>) -> Vec<Vec<u32>> {
    let decoding = Decoding::greedy(16, 8, 8).expect("a schedule");
    let sampler = Sampler { model, decoding: &decoding, pass, stop: &Stop::default() };
    let prompts: Vec<Prompt> = (0..4)
        .map(|i| Prompt { ids: (10 + i..30 + 2 * i).collect(), key: Key::new(0, Purpose::EvalRollout) })
        .collect();
    let decoded = sampler.complete(&prompts, 4, |_| ()).expect("decoded");
    decoded.into_iter().map(|decoded| decoded.canvas).collect()
}

#[test]
fn a_merged_folder_decodes_as_the_base_with_its_adapter() {
    let place = Place::new();
    std::fs::write(place.path("base/generation_config.json"), "{}").expect("write");
    place.merge(&place.request()).expect("merged");
    let (mut apart, together) = (load(&golden()), load(&place.path("out")));
    apart.load_adapter(&golden()).expect("fits");
    let with = greedy(&apart, Pass::INFERENCE);
    assert_eq!(with, greedy(&together, Pass::BASE));
    assert_ne!(with, greedy(&apart, Pass::BASE), "the adapter changes nothing");
    assert!(place.path("out/generation_config.json").is_file());
    let card = std::fs::read_to_string(place.path("out/README.md")).expect("a card");
    assert!(card.contains("library_name: transformers\n") && card.contains("with adapters merged"), "{card}");
    assert_eq!(place.names(), ["base", "out", "run"]);
}

#[test]
fn the_dtype_is_written_down_and_shards_have_an_index() {
    let place = Place::new();
    let request = MergeRequest { dtype: Some(Precision::Bf16), out: place.path("a/b"), ..place.request() };
    run_until(&request, 100_000, |_| Ok(Stop::default())).expect("merged");
    let read = |name: &str| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(place.path(name)).expect("read")).expect("JSON")
    };
    assert_eq!(read("a/b/config.json")["torch_dtype"], "bfloat16");
    let map = &read("a/b/model.safetensors.index.json")["weight_map"];
    assert_eq!(map.as_object().map(|map| map.len()), Some(21));
    let files = WeightFiles::open(&place.path("a/b")).expect("shards");
    assert_eq!(files.stored("model.transformer.wte.weight"), Some(safetensors::Dtype::BF16));
}

#[test]
fn a_signal_leaves_nothing_behind() {
    let place = Place::new();
    for checks in [0, 1, 20] {
        let mut unfinished = None;
        let error = run_until(&place.request(), SHARD_BYTES, |path| {
            assert!(path.is_dir());
            unfinished = Some(path);
            Ok(Stop::at_check(checks))
        });
        let error = error.expect_err("stopped");
        assert_eq!(exit_code(&error), INTERRUPTED, "{error:#}");
        assert!(error.to_string().ends_with("out was not written"), "{error:#}");
        assert!(!unfinished.expect("a folder").exists());
        assert_eq!(place.names(), ["base", "run"]);
    }
}

#[test]
fn what_is_there_is_left_alone() {
    let place = Place::new();
    std::fs::create_dir(place.path("out")).expect("create");
    let (code, text) = place.refused(&place.request());
    assert!(code == USAGE && text.contains("out is there already") && text.contains("--out DIR"), "{text}");
    assert_eq!(std::fs::read_dir(place.path("out")).expect("a folder").count(), 0);
}

#[test]
fn a_checkpoint_that_is_a_model_needs_no_merging() {
    let place = Place::new();
    for request in [
        MergeRequest { checkpoint: place.path("base"), ..place.request() },
        MergeRequest { checkpoint: place.path("base"), base: Some("base".into()), ..place.request() },
    ] {
        let (code, text) = place.refused(&request);
        assert!(code == USAGE && text.contains("base is a whole model") && text.contains("as it is"), "{text}");
    }
    let (_, text) = place.refused(&MergeRequest { checkpoint: place.0.path().to_owned(), ..place.request() });
    assert!(text.contains("holds no adapter, no model and no checkpoint"), "{text}");
}

#[test]
fn an_adapter_that_names_no_model_asks_for_one() {
    let place = Place::new();
    place.edit_adapter("base_model_name_or_path", "".into());
    let (code, text) = place.refused(&place.request());
    assert!(code == USAGE && text.contains("base_model_name_or_path") && text.contains("--base MODEL"), "{text}");
    place.edit_adapter("base_model_name_or_path", "./nowhere/at all".into());
    let (code, text) = place.refused(&place.request());
    assert!(code == 1 && text.contains("./nowhere/at all") && text.contains("--base MODEL"), "{text}");
    let base = Some(place.path("base").display().to_string());
    place.merge(&MergeRequest { base, ..place.request() }).expect("merged");
    let (code, text) =
        place.refused(&MergeRequest { base: Some("x/y.gguf".into()), out: place.path("o"), ..place.request() });
    assert!(code == USAGE && text.contains("is a GGUF file"), "{text}");
}

#[test]
fn adapters_of_weights_in_blocks_are_merged_only_if_the_base_is_named() {
    for (key, value) in [("quantize", "q8_0"), ("gguf_file", "model.gguf")] {
        let place = Place::new();
        place.note(json!({ "name_or_path": "some/model", key: value }), "of the blocks");
        let (code, text) = place.refused(&place.request());
        assert!(code == USAGE && text.contains(&format!("model.{key} = {value:?}")), "{text}");
        assert!(text.contains("--base MODEL"), "{text}");
        let base = Some(place.path("base").display().to_string());
        place.merge(&MergeRequest { base, ..place.request() }).expect("merged");
    }
}

#[test]
fn other_weights_than_those_that_were_trained_on_are_not_merged_unless_asked_for() {
    let place = Place::new();
    place.note(json!({}), "another");
    let (code, text) = place.refused(&place.request());
    assert!(code == USAGE && text.contains("are not those that the adapters were trained on"), "{text}");
    let base = Some(place.path("base").display().to_string());
    place.merge(&MergeRequest { base, ..place.request() }).expect("merged");
    std::fs::remove_dir_all(place.path("out")).expect("remove");
    place.note(json!({}), &weights_digest(&place.path("base"), None).expect("a digest"));
    place.merge(&place.request()).expect("merged");
}

#[test]
fn the_state_of_another_trainer_was_called_damaged() {
    let place = Place::new();
    let path = place.path("run/checkpoint-4/trainer_state.json");
    std::fs::write(&path, r#"{"epoch": 1.0, "global_step": 4, "log_history": []}"#).expect("write");
    place.merge(&place.request()).expect("merged");
    std::fs::remove_dir_all(place.path("out")).expect("remove");
    std::fs::write(&path, r#"{"global_step": 4"#).expect("write");
    let (code, text) = place.refused(&place.request());
    assert!(code == 1 && text.contains("trainer_state.json is not JSON"), "{text}");
}

#[test]
fn what_adapters_cannot_be_read_for_is_what_they_cannot_be_merged_for() {
    let place = Place::new();
    place.edit_adapter("use_dora", true.into());
    let (code, text) = place.refused(&place.request());
    assert!(code == 1 && text.contains("use_dora = true is DoRA"), "{text}");
    let place = Place::new();
    place.edit_adapter("r", 5.into());
    let (_, text) = place.refused(&place.request());
    assert!(text.contains("r and rank_pattern say 5"), "{text}");
}

#[test]
fn a_base_that_breaks_on_the_way_leaves_nothing_behind() {
    let place = Place::new();
    // what cannot be read is found when files are copied
    std::fs::create_dir(place.path("base/chat_template.jinja")).expect("create");
    let (code, text) = place.refused(&place.request());
    assert!(code == 1 && text.contains("out was not written") && text.contains("chat_template.jinja"), "{text}");
}
