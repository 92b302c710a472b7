//! Every block of a completion in one pass over the masked and the clean tokens, beside block by block.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use super::likelihood::{Policy, Row, accumulate, score};
use crate::config::{ActivationCheckpointing, LoraTable, ModelFacts, TargetModules, TargetPreset};
use crate::model::ops::gpu::host::as_device;
use crate::model::testing::folder_of;
use crate::model::{Decoder, Description, Gradients, Sight, Weights};
use crate::rng::{Key, Purpose};

const BLOCK: usize = 4;

/// Blocks from the beginning of a row, and from the answer on; the former of a mixture of experts, too.
fn models(dropout: f64) -> Result<[Decoder; 3]> {
    let golden = |name| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden").join(name);
    let load = |(dir, block_size): (PathBuf, _)| -> Result<Decoder> {
        let description = Description::read_with(&dir, &ModelFacts { block_size, ..ModelFacts::default() })?;
        let mut model = Decoder::load_described(description, &dir, DType::F32, &Device::Cpu, Weights::Frozen)?;
        let table = LoraTable {
            r: NonZeroUsize::new(3),
            lora_dropout: dropout.try_into().expect("in range"),
            target_modules: Some(TargetModules::Preset(TargetPreset::AllLinear)),
            ..LoraTable::default()
        };
        model.attach_lora(&table, 5)?;
        for (i, (_, var)) in model.trainable().iter().enumerate() {
            let mut rng = Key::new(i as u64, Purpose::AdapterInit).rng();
            let noise: Vec<f32> = (0..var.elem_count()).map(|_| 0.2 * rng.normal() as f32).collect();
            var.set(&Tensor::from_vec(noise, var.shape(), &Device::Cpu)?)?;
        }
        Ok(model)
    };
    let four = NonZeroUsize::new(BLOCK);
    let made = folder_of("llada2-of-all")?;
    Ok([load((golden("sdar"), None))?, load((golden("a2d_qwen3"), four))?, load((made, four))?])
}

/// A clean row, and the same with some tokens of every block of the answer masked.
fn masked(model: &Decoder, seed: u64, prompt: usize, answer: usize) -> Row {
    let mut rng = Key::new(seed, Purpose::Record).rng();
    let clean: Vec<u32> = (0..prompt + answer).map(|_| 2 + rng.below(120) as u32).collect();
    let scored: Vec<usize> = (prompt..prompt + answer).filter(|_| rng.bernoulli(0.6)).collect();
    let mut ids = clean.clone();
    scored.iter().for_each(|&i| ids[i] = model.ids().mask);
    Row {
        ids,
        prompt,
        targets: scored.iter().map(|&i| clean[i]).collect(),
        scored,
        past: Some(clean),
        dropout: Key::new(seed, Purpose::Dropout),
    }
}

/// The rows that predict one block each: its tokens masked as in the pair, clean before it.
fn block_by_block(model: &Decoder, row: &Row) -> Vec<Row> {
    let Sight::Blocks(blocks) = model.shape().sight else { panic!("a block-causal model") };
    let block_of = |i: usize| (i + blocks.lead(row.prompt)) / blocks.length;
    let past = row.past.as_ref().expect("a pair");
    let of_block = |block: usize| {
        let here: Vec<usize> = (0..row.scored.len()).filter(|&k| block_of(row.scored[k]) == block).collect();
        let ids = (0..past.len()).map(|i| if block_of(i) < block { past[i] } else { row.ids[i] });
        Row {
            ids: ids.collect(),
            scored: here.iter().map(|&k| row.scored[k]).collect(),
            targets: here.iter().map(|&k| row.targets[k]).collect(),
            past: None,
            ..row.clone()
        }
    };
    (0..=block_of(past.len() - 1)).map(of_block).filter(|row| !row.scored.is_empty()).collect()
}

/// Log-probabilities, and the gradients of their sum with growing weights.
fn gradients(model: &Decoder, rows: &[Row], checkpointing: ActivationCheckpointing) -> Result<(Vec<f32>, Gradients)> {
    let (mut gradients, mut found) = (Gradients::new(), Vec::new());
    accumulate(model, rows, checkpointing, &mut gradients, |lps| {
        found = lps.to_vec();
        Ok(rows.iter().flat_map(|row| row.scored.iter().map(|&i| 0.1 * (1.0 + i as f64))).collect())
    })?;
    Ok((found, gradients))
}

#[test]
fn one_pass_over_both_halves_is_block_by_block() -> Result<()> {
    for model in models(0.0)? {
        // of three lengths, so that two are padded; prompts that end within a block and at its edge
        let rows = [masked(&model, 1, 6, 11), masked(&model, 2, 8, 12), masked(&model, 3, 3, 7)];
        let (lps, together) = gradients(&model, &rows, ActivationCheckpointing::Off)?;
        let (mut expected, mut apart) = (Vec::new(), Gradients::new());
        for row in &rows {
            for part in block_by_block(&model, row) {
                let (lps, gradients) = gradients(&model, &[part], ActivationCheckpointing::Off)?;
                expected.extend(lps);
                gradients.by_name().iter().try_for_each(|(name, g)| apart.add(name, g.copy()?))?;
            }
        }
        assert_eq!(lps.len(), expected.len());
        let worst = lps.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-5, "log-probabilities are off by {worst}");
        assert_eq!(score(&model, &rows, Policy::Current)?, lps);
        let size = |x: &Tensor| -> Result<f32> { Ok(x.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt()) };
        for (name, gradient) in apart.by_name() {
            let off = size(&(gradient - &together.by_name()[name])?)? / size(gradient)?;
            // experts multiply what attention has rounded
            let tolerance = if model.shape().experts.is_some() { 1e-4 } else { 1e-5 };
            assert!(off < tolerance, "{name} is off by {off}");
        }
        let (_, again) = gradients(&model, &rows, ActivationCheckpointing::Every(NonZeroUsize::MIN))?;
        let (_, there) = as_device(|| gradients(&model, &rows, ActivationCheckpointing::Off))?;
        for (name, gradient) in together.by_name() {
            assert_eq!(size(&(gradient - &again.by_name()[name])?)?, 0.0, "{name}");
            let off = size(&(gradient - &there.by_name()[name])?)? / size(gradient)?;
            assert!(off < 1e-4, "{name} is off by {off} on a device");
        }
    }
    Ok(())
}

/// Dropout is drawn by the place in a row: neither padding nor the rows beside it move it, and the halves share none.
#[test]
fn a_pair_does_not_depend_on_its_batch_under_dropout() -> Result<()> {
    for model in models(0.3)? {
        let rows = [masked(&model, 1, 6, 11), masked(&model, 2, 3, 7)];
        let (together, _) = gradients(&model, &rows, ActivationCheckpointing::Off)?;
        let mut alone = Vec::new();
        for row in &rows {
            alone.extend(gradients(&model, std::slice::from_ref(row), ActivationCheckpointing::Off)?.0);
        }
        assert_eq!(together, alone);
    }
    Ok(())
}
