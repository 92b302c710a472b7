//! Merged folders beside the models whose adapters they were made of.

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::DType;

use super::*;
use crate::model::shards::SHARD_BYTES;
use crate::model::{Batch, Decoder, Pass, Weights, write_safetensors};

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn base() -> PathBuf {
    fixtures().join("golden/gqa_small")
}

/// A folder that a model can be loaded from: the merged weights and the base's sizes.
fn merged(base: &Path, adapter: &Path, dtype: Option<Precision>, shard_bytes: u64) -> Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    Merger::open(base, adapter, dtype, shard_bytes)?.write(dir.path(), |_, _| Ok(()))?;
    std::fs::copy(base.join("config.json"), dir.path().join("config.json"))?;
    Ok(dir)
}

fn load(dir: &Path) -> Result<Decoder> {
    Decoder::load(dir, DType::F32, &Device::Cpu, Weights::Frozen)
}

fn logits(model: &Decoder, ids: &[Vec<u32>], pass: Pass<'_>) -> Result<Vec<f32>> {
    let columns = ids[0].len();
    let hidden = model.hidden(&Batch::left_padded(ids, 1), 0..columns, pass)?;
    Ok(model.head().logits(&hidden)?.flatten_all()?.to_vec1()?)
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The tensors of a folder as f32.
fn numbers(dir: &Path) -> Result<BTreeMap<String, Vec<f32>>> {
    let files = WeightFiles::open(dir)?;
    let of = |name: &str| Ok((name.to_owned(), files.load(name, DType::F32, &Device::Cpu)?.flatten_all()?.to_vec1()?));
    files.names().map(of).collect()
}

/// A copy of the base with one of its files changed.
fn changed(name: &str, change: impl FnOnce(&Path)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(base().join(file), dir.path().join(file)).expect("copy");
    }
    change(&dir.path().join(name));
    dir
}

#[track_caller]
fn refused(base: &Path) -> String {
    let opened = Merger::open(base, &fixtures().join("adapters/list"), None, SHARD_BYTES);
    format!("{:#}", opened.err().expect("refused"))
}

#[test]
fn every_adapter_that_is_read_is_merged_to_the_logits_that_peft_has_with_it() -> Result<()> {
    let index: BTreeMap<String, String> =
        serde_json::from_str(&std::fs::read_to_string(fixtures().join("adapters/index.json"))?)?;
    let (mut equal, mut refused) = (0, 0);
    for (name, expected) in index {
        let adapter = fixtures().join("adapters").join(&name);
        let Ok(dir) = merged(&base(), &adapter, None, SHARD_BYTES) else {
            assert_eq!(expected, "refused", "{name}");
            refused += 1;
            continue;
        };
        assert_eq!(expected, "equal", "{name}");
        let golden = candle_core::safetensors::load(adapter.join("logits.safetensors"), &Device::Cpu)?;
        let ids = golden["input_ids"].to_dtype(DType::U32)?.to_vec2()?;
        let found = logits(&load(dir.path())?, &ids, Pass::BASE)?;
        let distance = furthest(&found, &golden["logits"].flatten_all()?.to_vec1()?);
        assert!(distance < 1e-4, "{name}: {distance}");
        equal += 1;
    }
    assert_eq!((equal, refused), (11, 5));
    Ok(())
}

#[test]
fn a_merged_folder_is_the_model_with_its_adapter_and_shares_what_no_adapter_touches() -> Result<()> {
    let dir = merged(&base(), &base(), None, SHARD_BYTES)?;
    let (mut apart, together) = (load(&base())?, load(dir.path())?);
    apart.load_adapter(&base())?;
    let ids = vec![(10..40).collect::<Vec<u32>>()];
    let with = logits(&apart, &ids, Pass::INFERENCE)?;
    assert!(furthest(&with, &logits(&together, &ids, Pass::BASE)?) < 1e-5);
    assert!(furthest(&with, &logits(&apart, &ids, Pass::BASE)?) > 1e-3, "the adapter does nothing");
    let (before, after) = (numbers(&base())?, numbers(dir.path())?);
    let differ: Vec<&String> = before.keys().filter(|&name| before[name] != after[name]).collect();
    assert_eq!(differ.len(), 2 * 4, "{differ:?}");
    assert!(differ.iter().all(|name| !name.contains("attn_out") && !name.contains("wte")), "{differ:?}");
    Ok(())
}

#[test]
fn small_shards_hold_the_same_numbers_behind_an_index() -> Result<()> {
    let whole = merged(&base(), &base(), None, SHARD_BYTES)?;
    let parts = merged(&base(), &base(), None, 50_000)?;
    let files = std::fs::read_dir(parts.path())?.flatten().map(|entry| entry.path());
    let sizes: Vec<u64> = files
        .filter(|path| path.extension().is_some_and(|ending| ending == "safetensors"))
        .map(|path| path.metadata().map(|m| m.len()))
        .collect::<std::io::Result<_>>()?;
    assert!(sizes.len() > 5 && sizes.iter().all(|&size| size < 50_000 + 4_000), "{sizes:?}");
    assert!(!parts.path().join("model.safetensors").exists());
    assert_eq!(numbers(whole.path())?, numbers(parts.path())?);
    // and shards can be merged into again
    let again = merged(parts.path(), &base(), None, SHARD_BYTES)?;
    let twice = merged(whole.path(), &base(), None, SHARD_BYTES)?;
    assert_eq!(numbers(again.path())?, numbers(twice.path())?);
    Ok(())
}

#[test]
fn numbers_are_rounded_once_after_the_sum() -> Result<()> {
    let exact = numbers(merged(&base(), &base(), None, SHARD_BYTES)?.path())?;
    for (dtype, round) in [
        (Precision::Bf16, (|x| bf16::from_f32(x).to_f32()) as fn(f32) -> f32),
        (Precision::F16, |x| f16::from_f32(x).to_f32()),
    ] {
        let merger = Merger::open(&base(), &base(), Some(dtype), SHARD_BYTES)?;
        assert_eq!((merger.dtype(), merger.adapted(), merger.tensors()), (dtype, 8, 21));
        let found = numbers(merged(&base(), &base(), Some(dtype), SHARD_BYTES)?.path())?;
        for (name, numbers) in &exact {
            let expected: Vec<f32> = numbers.iter().map(|&x| round(x)).collect();
            assert_eq!(expected, found[name], "{name} in {dtype:?}");
        }
    }
    Ok(())
}

#[test]
fn a_base_of_16_bits_stays_one_and_is_summed_in_32() -> Result<()> {
    let half = merged(&base(), &base(), Some(Precision::Bf16), SHARD_BYTES)?;
    let (kept, wide) = (
        merged(half.path(), &base(), None, SHARD_BYTES)?,
        merged(half.path(), &base(), Some(Precision::F32), SHARD_BYTES)?,
    );
    assert_eq!(WeightFiles::open(kept.path())?.stored("model.transformer.blocks.0.q_proj.weight"), Some(Dtype::BF16));
    let (kept, wide) = (numbers(kept.path())?, numbers(wide.path())?);
    for (name, numbers) in &wide {
        let rounded: Vec<f32> = numbers.iter().map(|&x| bf16::from_f32(x).to_f32()).collect();
        assert_eq!(rounded, kept[name], "{name}");
    }
    Ok(())
}

#[test]
fn blocks_are_refused_with_the_way_out() -> Result<()> {
    let edit = |key: &'static str| {
        move |path: &Path| {
            let mut json: Value = serde_json::from_str(&std::fs::read_to_string(path).expect("read")).expect("JSON");
            json[key] = serde_json::json!({ "quant_method": "bitsandbytes" });
            std::fs::write(path, json.to_string()).expect("write");
        }
    };
    let text = refused(changed("config.json", edit("quantization_config")).path());
    assert!(text.contains("quantization_config") && text.contains("--base"), "{text}");
    let text = refused(
        changed("model.safetensors", |path| std::fs::rename(path, path.with_extension("gguf")).expect("rename")).path(),
    );
    assert!(text.contains("GGUF") && text.contains("--base"), "{text}");
    let text = refused(changed("model.safetensors", |path| std::fs::remove_file(path).expect("remove")).path());
    assert!(text.contains("has neither model.safetensors nor"), "{text}");
    let name = "model.transformer.wte.weight";
    let other = changed("model.safetensors", |path| {
        let mut tensors: BTreeMap<_, _> =
            candle_core::safetensors::load(path, &Device::Cpu).expect("fixture").into_iter().collect();
        let wide = tensors[name].to_dtype(DType::F64).expect("f64");
        tensors.insert(name.into(), wide);
        write_safetensors(path, &tensors, &[]).expect("write");
    });
    let text = refused(other.path());
    assert!(text.contains(name) && text.contains("F64") && text.contains("convert"), "{text}");
    Ok(())
}

#[test]
fn numbers_that_do_not_fit_are_refused_by_name() -> Result<()> {
    let name = "model.transformer.blocks.1.q_proj.weight";
    let with = |value: f64| {
        changed("model.safetensors", |path| {
            let mut tensors: BTreeMap<_, _> =
                candle_core::safetensors::load(path, &Device::Cpu).expect("fixture").into_iter().collect();
            let full = (tensors[name].ones_like().expect("ones") * value).expect("full");
            tensors.insert(name.into(), full);
            write_safetensors(path, &tensors, &[]).expect("write");
        })
    };
    let text =
        |value, dtype| format!("{:#}", merged(with(value).path(), &base(), dtype, SHARD_BYTES).expect_err("none"));
    let said = text(1e6, Some(Precision::F16));
    assert!(said.contains(name) && said.contains("--dtype bf16"), "{said}");
    assert!(merged(with(1e6).path(), &base(), Some(Precision::Bf16), SHARD_BYTES).is_ok());
    let said = text(f64::INFINITY, None);
    assert!(said.contains(name) && said.contains("infinite"), "{said}");
    Ok(())
}

#[test]
fn whoever_watches_can_end_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let merger = Merger::open(&base(), &base(), None, SHARD_BYTES)?;
    let mut seen = Vec::new();
    let error = merger.write(dir.path(), |done, file| {
        seen.push((done, file.to_owned()));
        if done == 3 { bail!("enough") } else { Ok(()) }
    });
    assert_eq!(format!("{:#}", error.expect_err("ended")), "cannot write model.safetensors: enough");
    assert_eq!(seen.last(), Some(&(3, "model.safetensors".to_owned())));
    Ok(())
}
