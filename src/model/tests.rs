//! The model as a whole: invariants, finite differences through every kind of trainable weight, files.

mod checkpointing;
mod device;
mod families;
mod mixture;
mod order;
mod places;

use std::path::PathBuf;

use anyhow::Result;
use candle_core::{DType, Device, Tensor, Var};

use super::*;
use crate::config::{ActivationCheckpointing, BlockFormat, LoraTable, TargetModules, TargetPreset};
use crate::rng::{Key, Purpose};

/// A golden model, or one that is made for want of it.
fn golden(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden").join(name);
    if folder.is_dir() { folder } else { testing::folder_of(name).expect("a folder") }
}

fn base(name: &str) -> Result<Decoder> {
    Decoder::load(&golden(name), DType::F32, &Device::Cpu, Weights::Frozen)
}

fn lora_table(dropout: f64) -> LoraTable {
    LoraTable {
        r: std::num::NonZeroUsize::new(3),
        lora_alpha: 3.0.try_into().ok(),
        lora_dropout: dropout.try_into().expect("in range"),
        target_modules: Some(TargetModules::Preset(TargetPreset::AllLinear)),
        ..LoraTable::default()
    }
}

/// Adapters on all linears with both matrices random, so that every gradient is alive.
fn adapted(name: &str, dropout: f64) -> Result<Decoder> {
    let mut model = base(name)?;
    model.attach_lora(&lora_table(dropout), 5)?;
    for (i, (_, var)) in model.trainable().iter().enumerate() {
        let noise = super::ops::testing::random(100 + i, var.shape())?;
        var.set(&(noise * 0.2)?)?;
    }
    Ok(model)
}

fn rows(lengths: &[usize]) -> Vec<Vec<u32>> {
    let mut rng = Key::new(3, Purpose::Record).rng();
    lengths.iter().map(|&n| (0..n).map(|_| rng.below(120) as u32).collect()).collect()
}

fn values(x: &Tensor) -> Result<Vec<f32>> {
    Ok(x.flatten_all()?.to_vec1()?)
}

#[test]
fn a_batch_of_left_padded_rows_has_the_bits_of_each_row_alone() -> Result<()> {
    let model = adapted("gqa_small", 0.0)?;
    let rows = rows(&[12, 7, 9]);
    let batch = Batch::left_padded(&rows, 1);
    let together = model.hidden(&batch, 8..12, Pass::INFERENCE)?.reshape((3, 4, ()))?;
    for (i, row) in rows.iter().enumerate() {
        let single = Batch::left_padded(&[row], 1);
        let n = row.len();
        let alone = model.hidden(&single, n - 4..n, Pass::INFERENCE)?;
        assert_eq!(values(&alone)?, values(&together.get(i)?)?, "row {i}");
    }
    Ok(())
}

#[test]
fn a_window_has_the_bits_of_the_full_pass() -> Result<()> {
    let model = adapted("mha_small", 0.0)?;
    let batch = Batch::left_padded(&rows(&[11, 8]), 1);
    let full = model.hidden(&batch, 0..11, Pass::INFERENCE)?.reshape((2, 11, ()))?;
    let window = model.hidden(&batch, 4..9, Pass::INFERENCE)?.reshape((2, 5, ()))?;
    assert_eq!(values(&full.narrow(1, 4, 5)?)?, values(&window)?);
    Ok(())
}

#[test]
fn a_single_row_of_logits_has_the_bits_of_many() -> Result<()> {
    let model = base("gqa_small")?;
    let x = model.hidden(&Batch::left_padded(&rows(&[6]), 1), 0..6, Pass::BASE)?;
    let all = model.head().logits(&x)?;
    for i in 0..6 {
        assert_eq!(values(&model.head().logits(&x.narrow(0, i, 1)?)?)?, values(&all.get(i)?)?);
    }
    Ok(())
}

#[test]
fn fresh_adapters_change_nothing_and_the_base_stays_reachable() -> Result<()> {
    let (plain, mut model) = (base("gqa_small")?, base("gqa_small")?);
    model.attach_lora(&lora_table(0.1), 1)?;
    let batch = Batch::left_padded(&rows(&[9, 9]), 1);
    let expected = values(&plain.hidden(&batch, 0..9, Pass::BASE)?)?;
    assert_eq!(values(&model.hidden(&batch, 0..9, Pass::INFERENCE)?)?, expected);
    let moved = adapted("gqa_small", 0.0)?;
    assert_eq!(values(&moved.hidden(&batch, 0..9, Pass::BASE)?)?, expected);
    assert_ne!(values(&moved.hidden(&batch, 0..9, Pass::INFERENCE)?)?, expected);
    Ok(())
}

/// `sum_n w_n lp_n` over some rows of a batch, the quantity whose gradient is checked.
struct Probe {
    batch: Batch,
    window: std::ops::Range<usize>,
    places: Vec<u32>,
    targets: Vec<u32>,
    weights: Vec<f32>,
    keys: Vec<Key>,
}

impl Probe {
    fn new() -> Self {
        Self {
            batch: Batch::left_padded(&rows(&[9, 6]), 1),
            window: 4..9,
            places: vec![0, 2, 3, 6, 9],
            targets: vec![3, 99, 5, 17, 60],
            weights: vec![1.0, -0.5, 0.3, 2.0, -1.0],
            keys: (0..2).map(|i| Key::new(9, Purpose::Dropout).sample(i)).collect(),
        }
    }

    fn pass(&self) -> Pass<'_> {
        Pass { adapters: true, dropout: Some(&self.keys) }
    }

    fn scored(&self, model: &Decoder, x: &Tensor) -> Result<Scored> {
        let places = Tensor::from_slice(&self.places, self.places.len(), &Device::Cpu)?;
        Ok(model.head().score(&x.index_select(&places, 0)?, &self.targets)?)
    }

    fn value(&self, model: &Decoder) -> Result<f64> {
        let x = model.hidden(&self.batch, self.window.clone(), self.pass())?;
        let scored = self.scored(model, &x)?;
        Ok(scored.log_probs.iter().zip(&self.weights).map(|(lp, w)| *lp as f64 * *w as f64).sum())
    }

    fn gradients(&self, model: &Decoder, checkpointing: ActivationCheckpointing) -> Result<Gradients> {
        let (x, tape) = model.hidden_with_tape(&self.batch, self.window.clone(), self.pass(), checkpointing)?;
        let mut gradients = Gradients::new();
        let rows = model.head().backward(&self.scored(model, &x)?, &self.weights, &mut gradients)?;
        let places = Tensor::from_slice(&self.places, self.places.len(), &Device::Cpu)?;
        let dx = x.zeros_like()?.index_add(&places, &rows, 0)?;
        model.backward(tape, &self.batch, self.pass(), dx, &mut gradients)?;
        Ok(gradients)
    }
}

impl Probe {
    /// The places alone, as a window.
    fn picked(&self) -> Window {
        let width = self.window.len();
        Window::of(self.places.iter().map(|&i| (i as usize / width, self.window.start + i as usize % width)).collect())
    }

    /// As [`Probe::gradients`], of a pass that is asked for nothing but the places.
    fn gradients_of_places(&self, model: &Decoder, checkpointing: ActivationCheckpointing) -> Result<Gradients> {
        let (x, tape) = model.hidden_with_tape(&self.batch, self.picked(), self.pass(), checkpointing)?;
        let mut gradients = Gradients::new();
        let scored = model.head().score(&x, &self.targets)?;
        let dx = model.head().backward(&scored, &self.weights, &mut gradients)?;
        model.backward(tape, &self.batch, self.pass(), dx, &mut gradients)?;
        Ok(gradients)
    }
}

/// Compares the gradient of every trainable tensor with central differences along a random direction.
fn check_directions(model: &Decoder) -> Result<()> {
    let probe = Probe::new();
    let gradients = probe.gradients(model, ActivationCheckpointing::Off)?;
    let trainable = model.trainable();
    assert_eq!(gradients.by_name().keys().collect::<Vec<_>>(), trainable.keys().collect::<Vec<_>>());
    for (i, (name, var)) in trainable.iter().enumerate() {
        let gradient = &gradients.by_name()[name];
        let norm = gradient.sqr()?.sum_all()?.to_scalar::<f32>()? as f64;
        assert!(norm.is_finite() && norm > 0.0, "{name} has no gradient");
        let noise = super::ops::testing::random(500 + i, var.shape())?;
        let size = noise.sqr()?.sum_all()?.to_scalar::<f32>()? as f64;
        let direction = ((noise / size.sqrt())? + (gradient / norm.sqrt())?)?; // two unit vectors
        let expected = difference(model, &probe, var, &direction)?;
        let got = (gradient * &direction)?.sum_all()?.to_scalar::<f32>()? as f64;
        let tolerance = 5e-3 * (got.abs() + expected.abs()) + 2e-3;
        assert!((got - expected).abs() < tolerance, "{name}: {got} is not {expected}");
    }
    Ok(())
}

fn difference(model: &Decoder, probe: &Probe, var: &Var, direction: &Tensor) -> Result<f64> {
    let (at, h) = (var.as_tensor().copy()?, 3e-3);
    var.set(&(&at + (direction * h)?)?)?;
    let up = probe.value(model)?;
    var.set(&(&at - (direction * h)?)?)?;
    let down = probe.value(model)?;
    var.set(&at)?;
    Ok((up - down) / (2.0 * h))
}

#[test]
fn adapter_gradients_match_finite_differences() -> Result<()> {
    check_directions(&adapted("gqa_small", 0.0)?)?;
    check_directions(&adapted("mha_small", 0.0)?)
}

#[test]
fn adapter_gradients_match_finite_differences_under_dropout() -> Result<()> {
    check_directions(&adapted("gqa_small", 0.3)?)
}

#[test]
fn gradients_of_all_weights_match_finite_differences() -> Result<()> {
    check_directions(&Decoder::load(&golden("gqa_small"), DType::F32, &Device::Cpu, Weights::Trainable)?)
}

/// Adapters as in [`adapted`] on weights in bf16.
fn adapted_in_bf16(name: &str) -> Result<Decoder> {
    let (mut model, exact) =
        (Decoder::load(&golden(name), DType::BF16, &Device::Cpu, Weights::Frozen)?, adapted(name, 0.0)?);
    model.attach_lora(&lora_table(0.0), 5)?;
    for (name, var) in model.trainable() {
        var.set(exact.trainable()[&name].as_tensor())?;
    }
    Ok(model)
}

#[test]
fn weights_in_bf16_change_numbers_by_their_rounding_only() -> Result<()> {
    for name in ["gqa_small", "mha_small"] {
        let (exact, rounded) = (adapted(name, 0.0)?, adapted_in_bf16(name)?);
        assert_eq!((rounded.dtype(), rounded.activations()), (DType::BF16, DType::F32));
        let probe = Probe::new();
        let (expected, found) = (
            probe.gradients(&exact, ActivationCheckpointing::Off)?,
            probe.gradients(&rounded, ActivationCheckpointing::Off)?,
        );
        for (name, gradient) in expected.by_name() {
            let size = |x: &Tensor| -> Result<f32> { Ok(x.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt()) };
            let off = size(&(gradient - &found.by_name()[name])?)? / size(gradient)?;
            assert!(off > 0.0 && off < 0.1, "{name} is off by {off}");
        }
    }
    Ok(())
}

#[test]
fn a_batch_in_bf16_has_the_bits_of_each_row_alone() -> Result<()> {
    let model = adapted_in_bf16("gqa_small")?;
    let rows = rows(&[12, 7, 9]);
    let together = model.hidden(&Batch::left_padded(&rows, 1), 8..12, Pass::INFERENCE)?;
    let logits = model.head().logits(&together)?.reshape((3, 4, ()))?;
    for (i, row) in rows.iter().enumerate() {
        let alone = model.hidden(&Batch::left_padded(&[row], 1), row.len() - 4..row.len(), Pass::INFERENCE)?;
        assert_eq!(values(&model.head().logits(&alone)?)?, values(&logits.get(i)?)?, "row {i}");
    }
    Ok(())
}

/// Adapters as in [`adapted`] on weights in blocks.
fn adapted_on_blocks(name: &str, dtype: DType) -> Result<Decoder> {
    let mut model = Decoder::load_quantised(&golden(name), dtype, &Device::Cpu, Blocks::Pack(BlockFormat::Q8_0))?;
    model.attach_lora(&lora_table(0.0), 5)?;
    let exact = adapted(name, 0.0)?;
    for (name, var) in model.trainable() {
        var.set(exact.trainable()[&name].as_tensor())?;
    }
    Ok(model)
}

#[test]
fn adapter_gradients_on_quantised_weights_match_finite_differences() -> Result<()> {
    check_directions(&adapted_on_blocks("gqa_small", DType::F32)?)
}

#[test]
fn quantised_weights_are_close_and_rows_independent_in_both_precisions() -> Result<()> {
    let rows = rows(&[12, 7, 9]);
    let hidden = |model: &Decoder, rows: &[Vec<u32>]| -> Result<Tensor> {
        let batch = Batch::left_padded(rows, 1);
        Ok(model.head().logits(&model.hidden(&batch, batch.columns() - 4..batch.columns(), Pass::INFERENCE)?)?)
    };
    let exact = hidden(&adapted("gqa_small", 0.0)?, &rows)?;
    for dtype in [DType::F32, DType::BF16] {
        let model = adapted_on_blocks("gqa_small", dtype)?;
        let together = hidden(&model, &rows)?;
        let size = |x: &Tensor| -> Result<f32> { Ok(x.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt()) };
        let off = size(&(&together - &exact)?)? / size(&exact)?;
        assert!(off > 0.0 && off < 0.1, "{dtype:?}: {off}");
        for (i, row) in rows.iter().enumerate() {
            let alone = hidden(&model, std::slice::from_ref(row))?;
            assert_eq!(values(&alone)?, values(&together.narrow(0, 4 * i, 4)?)?, "{dtype:?}, row {i}");
        }
    }
    Ok(())
}

#[test]
fn quantised_weights_take_less_and_count_the_same() -> Result<()> {
    let (plain, packed) = (base("gqa_small")?, adapted_on_blocks("gqa_small", DType::F32)?);
    assert_eq!(plain.parameter_count(), packed.parameter_count());
    let bytes = |model: &Decoder| model.matrices().into_iter().map(Weight::bytes).sum::<usize>();
    assert_eq!(bytes(&packed) * 32 * 4, bytes(&plain) * 34, "34 bytes for 32 numbers");
    let merged = packed.merged()?;
    assert_eq!(merged.trainable().len(), packed.trainable().len(), "nothing is merged into blocks");
    let error = packed.save(tempfile::tempdir()?.path()).expect_err("blocks are no numbers").to_string();
    assert!(error.contains("is quantised"), "{error}");
    Ok(())
}

#[test]
fn rows_that_do_not_divide_into_blocks_are_refused() -> Result<()> {
    for (format, way_out) in [(BlockFormat::Q6K, "256: use model.quantize = \"q8_0\""), (BlockFormat::Q4K, "q8_0")] {
        let load = Decoder::load_quantised(&golden("gqa_small"), DType::F32, &Device::Cpu, Blocks::Pack(format));
        let text = load.expect_err("64 numbers a row").to_string();
        assert!(text.contains("have 64 numbers") && text.contains(way_out), "{text}");
    }
    Ok(())
}

#[test]
fn dropout_depends_on_the_key_alone() -> Result<()> {
    let model = adapted("gqa_small", 0.4)?;
    let rows = rows(&[9, 6]);
    let keys: Vec<Key> = (0..2).map(|i| Key::new(9, Purpose::Dropout).sample(i)).collect();
    let run = |rows: &[Vec<u32>], keys: &[Key]| -> Result<Vec<f32>> {
        let batch = Batch::left_padded(rows, 1);
        let t = batch.columns();
        values(&model.hidden(&batch, t - 3..t, Pass { adapters: true, dropout: Some(keys) })?)
    };
    let together = run(&rows, &keys)?;
    let second = run(&rows[1..], &keys[1..])?;
    assert_eq!(together[together.len() / 2..], second, "neither the batch nor the padding changes a mask");
    assert_ne!(second, run(&rows[1..], &keys[..1])?);
    Ok(())
}

#[test]
fn adapters_survive_a_round_trip_and_keep_pefts_names() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let model = adapted("gqa_small", 0.05)?;
    model.save_adapter(dir.path(), "some/base", Some("c0ffee"))?;
    let mut loaded = base("gqa_small")?;
    let config = loaded.load_adapter(dir.path())?;
    assert_eq!((config.r, config.lora_alpha, config.lora_dropout), (3, 3.0, 0.05));
    assert_eq!(config.base_model_name_or_path.as_deref(), Some("some/base"));
    assert_eq!(config.revision.as_deref(), Some("c0ffee"));
    for (name, var) in model.trainable() {
        assert_eq!(values(var.as_tensor())?, values(loaded.trainable()[&name].as_tensor())?);
    }
    let mut from_peft = base("gqa_small")?;
    from_peft.load_adapter(&golden("gqa_small"))?;
    assert!(from_peft.trainable().contains_key("base_model.model.model.transformer.blocks.1.up_proj.lora_B.weight"));
    assert_eq!(from_peft.trainable().len(), 2 * 4 * 2);
    Ok(())
}

#[test]
fn weights_survive_a_round_trip() -> Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::copy(golden("gqa_small").join("config.json"), dir.path().join("config.json"))?;
    let model = Decoder::random(dir.path(), 4, DType::F32, &Device::Cpu, Weights::Trainable)?;
    model.save(dir.path())?;
    let loaded = Decoder::load(dir.path(), DType::F32, &Device::Cpu, Weights::Frozen)?;
    for (a, b) in model.params().iter().zip(loaded.params()) {
        assert_eq!(values(a.value())?, values(b.value())?, "{}", a.name());
    }
    // in bf16 matrices may lie in another order in memory, which is not to be seen in the file
    Decoder::load(dir.path(), DType::BF16, &Device::Cpu, Weights::Frozen)?.save(dir.path())?;
    let rounded = Decoder::load(dir.path(), DType::F32, &Device::Cpu, Weights::Frozen)?;
    for (a, b) in model.matrices().iter().zip(rounded.matrices()) {
        let (a_numbers, b) = (a.numbers()?.expect("dense").to_dtype(DType::BF16)?, b.numbers()?.expect("dense"));
        assert_eq!(values(&a_numbers.to_dtype(DType::F32)?)?, values(&b)?, "{}", a.name());
    }
    Ok(())
}

#[test]
fn files_that_do_not_fit_are_reported_by_tensor() -> Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::copy(golden("gqa_small").join("config.json"), dir.path().join("config.json"))?;
    let tensors = candle_core::safetensors::load(golden("gqa_small").join("model.safetensors"), &Device::Cpu)?;
    let mut tensors: std::collections::BTreeMap<String, Tensor> = tensors.into_iter().collect();
    tensors.remove("model.transformer.blocks.1.ff_out.weight");
    tensors.insert("model.transformer.ln_f.weight".into(), Tensor::zeros(63, DType::F32, &Device::Cpu)?);
    tensors.insert("model.transformer.wpe.weight".into(), Tensor::zeros(1, DType::F32, &Device::Cpu)?);
    write_safetensors(&dir.path().join("model.safetensors"), &tensors, &[])?;
    let load = || Decoder::load(dir.path(), DType::F32, &Device::Cpu, Weights::Frozen);
    let text = load().expect_err("does not fit").to_string();
    for part in
        ["missing (1): model.transformer.blocks.1.ff_out", "unknown (1): model.transformer.wpe", "[63] instead of [64]"]
    {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    let whole = std::fs::read(golden("gqa_small").join("model.safetensors"))?;
    std::fs::write(dir.path().join("model.safetensors"), &whole[..whole.len() / 2])?;
    let text = load().expect_err("truncated").to_string();
    assert!(text.contains("model.safetensors cannot be read as safetensors"), "{text}");
    Ok(())
}

#[test]
fn a_sharded_checkpoint_is_read_through_its_index() -> Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::copy(golden("gqa_small").join("config.json"), dir.path().join("config.json"))?;
    let tensors = candle_core::safetensors::load(golden("gqa_small").join("model.safetensors"), &Device::Cpu)?;
    let mut shards = [std::collections::BTreeMap::new(), std::collections::BTreeMap::new()];
    let mut map = serde_json::Map::new();
    for (i, (name, tensor)) in tensors.into_iter().enumerate() {
        map.insert(name.clone(), format!("part-{}.safetensors", i % 2).into());
        shards[i % 2].insert(name, tensor);
    }
    for (i, shard) in shards.iter().enumerate() {
        write_safetensors(&dir.path().join(format!("part-{i}.safetensors")), shard, &[])?;
    }
    let index = serde_json::json!({ "weight_map": map });
    std::fs::write(dir.path().join("model.safetensors.index.json"), index.to_string())?;
    let sharded = Decoder::load(dir.path(), DType::F32, &Device::Cpu, Weights::Frozen)?;
    for (a, b) in sharded.params().iter().zip(base("gqa_small")?.params()) {
        assert_eq!(values(a.value())?, values(b.value())?, "{}", a.name());
    }
    std::fs::remove_file(dir.path().join("part-1.safetensors"))?;
    let text = Decoder::load(dir.path(), DType::F32, &Device::Cpu, Weights::Frozen).expect_err("a shard is gone");
    assert!(text.to_string().contains("part-1.safetensors"), "{text}");
    Ok(())
}

#[test]
fn merged_adapters_give_the_same_numbers_without_a_layer_more() -> Result<()> {
    let model = adapted("gqa_small", 0.0)?;
    let merged = model.merged()?;
    assert!(merged.trainable().is_empty() && !model.trainable().is_empty());
    let batch = Batch::left_padded(&rows(&[9, 6]), 1);
    let logits =
        |m: &Decoder| -> Result<Vec<f32>> { values(&m.head().logits(&m.hidden(&batch, 4..9, Pass::INFERENCE)?)?) };
    let (apart, together) = (logits(&model)?, logits(&merged)?);
    let worst = apart.iter().zip(&together).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-4, "{worst}");
    Ok(())
}

#[test]
fn a_target_that_matches_nothing_is_an_error() -> Result<()> {
    let mut table = lora_table(0.0);
    table.target_modules = Some(TargetModules::Names(vec!["q_proj".into(), "o_proj".into()]));
    let text = base("gqa_small")?.attach_lora(&table, 1).expect_err("no o_proj").to_string();
    assert!(text.contains("\"o_proj\" matches no linear layer") && text.contains("attn_out"), "{text}");
    Ok(())
}
