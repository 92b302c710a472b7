//! Adapters of files, in a model: what is loaded, saved again, refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::{Device, Tensor};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::model::{Batch, Pass, Weights, write_safetensors};

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn base() -> Decoder {
    Decoder::load(&fixtures().join("golden/gqa_small"), DType::F32, &Device::Cpu, Weights::Frozen).expect("fixture")
}

/// Rank, scale and numbers of every module that has an adapter.
fn adapters(model: &mut Decoder) -> BTreeMap<String, (usize, f64, Vec<f32>)> {
    let linears = model.linears_mut().filter_map(|linear| Some((linear.path().to_owned(), linear.adapter.clone()?)));
    let of = |adapter: Adapter| {
        let numbers = adapter.b.value().matmul(adapter.a.value()).and_then(|w| w.flatten_all()?.to_vec1());
        (adapter.a.value().dims()[0], adapter.scale, numbers.expect("numbers"))
    };
    linears.map(|(path, adapter)| (path, of(adapter))).collect()
}

/// A folder with the config and tensors of a fixture, the config changed by `change`.
fn changed(name: &str, change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let (dir, source) = (tempfile::tempdir().expect("a folder"), fixtures().join("adapters").join(name));
    let text = std::fs::read_to_string(source.join(ADAPTER_CONFIG)).expect("fixture");
    let mut json = serde_json::from_str(&text).expect("JSON");
    change(&mut json);
    std::fs::write(dir.path().join(ADAPTER_CONFIG), json.to_string()).expect("write");
    std::fs::copy(source.join(ADAPTER_FILE), dir.path().join(ADAPTER_FILE)).expect("copy");
    dir
}

#[track_caller]
fn refused(dir: &Path) -> String {
    format!("{:#}", base().load_adapter(dir).expect_err("refused"))
}

#[test]
fn what_was_loaded_was_saved_with_one_scale_and_without_its_layers() -> Result<()> {
    for name in ["alpha_pattern_regex", "rank_alpha_pattern", "rslora", "layers", "exclude", "regex", "fp16"] {
        let (mut loaded, mut again) = (base(), base());
        loaded.load_adapter(&fixtures().join("adapters").join(name))?;
        let dir = tempfile::tempdir()?;
        loaded.save_adapter(dir.path(), "some/base", None)?;
        again.load_adapter(dir.path())?;
        let found = adapters(&mut again);
        assert_eq!(adapters(&mut loaded), found, "{name}");
        // a module that is named and has no tensors is what PEFT warns about: loading would have refused it
        if name == "layers" {
            let paths: Vec<&String> = found.keys().collect();
            assert_eq!(paths, ["model.transformer.blocks.1.q_proj", "model.transformer.blocks.1.v_proj"]);
        }
    }
    Ok(())
}

#[test]
fn ranks_that_differ_hold_in_merged_weights_and_in_the_estimate() -> Result<()> {
    let mut model = base();
    model.load_adapter(&fixtures().join("adapters/rank_alpha_pattern"))?;
    let batch = Batch::left_padded(&[(20..40).collect::<Vec<u32>>()], 1);
    let logits = |m: &Decoder| -> Result<Vec<f32>> {
        Ok(m.head().logits(&m.hidden(&batch, 0..20, Pass::INFERENCE)?)?.flatten_all()?.to_vec1()?)
    };
    let (apart, together) = (logits(&model)?, logits(&model.merged()?)?);
    assert!(apart.iter().zip(&together).all(|(a, b)| (a - b).abs() < 1e-4));
    let parameters: usize = model.trainable().values().map(|v| v.elem_count()).sum();
    assert_eq!(parameters, 2 * (2 * (64 + 64) + 4 * (64 + 32)), "two layers, rank 2 of q_proj and 4 of v_proj");
    let extent = crate::model::Extent { rows: 1, columns: 20, window: 20 };
    let kept =
        |m: &Decoder| m.training_bytes(extent, crate::config::ActivationCheckpointing::Off, false).map(|b| b.kept);
    let mut uniform = base();
    uniform.load_adapter(&fixtures().join("adapters/list"))?;
    assert_eq!(kept(&uniform)? - kept(&model)?, 2 * 2 * 20 * 4, "two projections a row less in both layers");
    Ok(())
}

#[test]
fn a_rank_that_no_pattern_says_was_called_a_shape() {
    let text = refused(changed("rank_pattern", |json| json["rank_pattern"] = json!({})).path());
    assert!(text.contains("q_proj.lora_A.weight is of rank 2, but r and rank_pattern say 4"), "{text}");
}

#[test]
fn tensors_that_the_config_leaves_out_were_applied() {
    for (key, value) in [
        ("target_modules", json!(["q_proj"])),
        ("exclude_modules", json!(["v_proj"])),
        ("layers_to_transform", json!([0])),
    ] {
        let text = refused(changed("list", |json| json[key] = value).path());
        assert!(
            text.contains("there are tensors of model.transformer.blocks.") && text.contains("target_modules"),
            "{text}"
        );
    }
    let text = refused(changed("list", |json| json["target_modules"] = json!(["o_proj"])).path());
    assert!(text.contains("names no linear layer"), "{text}");
    // and the other way round: tensors that the config promises
    let text = refused(changed("list", |json| json["target_modules"] = json!(["q_proj", "v_proj", "k_proj"])).path());
    assert!(text.contains("missing (4)") && text.contains("k_proj.lora_A"), "{text}");
}

#[test]
fn unknown_tensors_came_without_the_key_that_explains_them() -> Result<()> {
    for (tensor, key) in [
        ("base_model.model.model.transformer.ff_out.lora_A.weight", "target_modules also names the head"),
        ("base_model.model.model.transformer.wte.lora_embedding_A", "embedding"),
        ("base_model.model.model.transformer.blocks.0.q_proj.lora_B.bias", "lora_bias"),
        ("base_model.model.model.transformer.blocks.0.q_proj.lora_magnitude_vector", "use_dora"),
        ("base_model.model.model.transformer.blocks.0.q_proj.lora_A.default.weight", "unknown (1)"),
    ] {
        let dir = changed("list", |_| ());
        let path = dir.path().join(ADAPTER_FILE);
        let mut tensors: BTreeMap<_, _> = candle_core::safetensors::load(&path, &Device::Cpu)?.into_iter().collect();
        tensors.insert(tensor.into(), Tensor::zeros(1, DType::F32, &Device::Cpu)?);
        write_safetensors(&path, &tensors, &[])?;
        let text = refused(dir.path());
        assert!(text.contains(key) && text.contains(tensor), "{text}");
    }
    Ok(())
}

#[test]
fn a_pickled_adapter_was_called_an_incomplete_file() -> Result<()> {
    let dir = changed("list", |_| ());
    let path = dir.path().join(ADAPTER_FILE);
    std::fs::rename(&path, dir.path().join("adapter_model.bin"))?;
    let text = refused(dir.path());
    assert!(text.contains("adapter_model.bin") && text.contains("save_pretrained"), "{text}");
    std::fs::remove_file(dir.path().join("adapter_model.bin"))?;
    assert!(refused(dir.path()).contains("has no adapter_model.safetensors"));
    for (text, expected) in
        [("", "is not JSON"), ("[]", "it is not an object"), ("{\"peft_type\": NaN}", "is not JSON")]
    {
        std::fs::write(dir.path().join(ADAPTER_CONFIG), text)?;
        let said = refused(dir.path());
        assert!(said.contains("adapter_config.json") && said.contains(expected), "{said}");
    }
    Ok(())
}

#[test]
fn an_adapter_that_is_refused_leaves_the_model_as_it_was() -> Result<()> {
    let mut model = base();
    model.load_adapter(&fixtures().join("adapters/list"))?;
    let before = adapters(&mut model);
    model.load_adapter(changed("rank_pattern", |json| json["rank_pattern"] = json!({})).path()).expect_err("a rank");
    assert_eq!(before, adapters(&mut model));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn scales_survive_saving_and_loading(
        alphas in proptest::collection::btree_map(0usize..7, (1u32..100_000, 0u32..5), 0..5),
        ranks in proptest::collection::btree_map(0usize..7, 1usize..6, 0..5),
        use_rslora: bool,
    ) {
        let leaves = ["q_proj", "k_proj", "v_proj", "attn_out", "ff_proj", "up_proj", r"blocks\.\d+\.ff_out"];
        let alphas = alphas.iter().map(|(&i, &(n, digits))| (leaves[i].to_owned(), json!(n as f64 / 10f64.powi(digits as i32))));
        let ranks = ranks.iter().map(|(&i, &r)| (leaves[i].to_owned(), json!(r)));
        let json = json!({
            "peft_type": "LORA", "r": 3, "lora_alpha": 0.7, "target_modules": "all-linear", "use_rslora": use_rslora,
            "alpha_pattern": Value::Object(alphas.collect()), "rank_pattern": Value::Object(ranks.collect()),
        });
        let config = AdapterConfig::read(json.as_object().expect("an object")).expect("good");
        let text = serde_json::to_string(&config.to_json(0.0, "base", None)).expect("text");
        let json: Value = serde_json::from_str(&text).expect("JSON");
        let again = AdapterConfig::read(json.as_object().expect("an object")).expect("good");
        for leaf in ["q_proj", "k_proj", "v_proj", "attn_out", "ff_proj", "up_proj", "ff_out"] {
            let path = format!("model.transformer.blocks.1.{leaf}");
            prop_assert_eq!(config.shape(&path).expect("cheap"), again.shape(&path).expect("cheap"));
        }
    }
}
