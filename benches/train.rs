//! Benchmarks of the training path on the tiny Sudoku model: what a user waits for.
//!
//! - `rollout/forward`: one denoising step of 48 completions (hidden states of one block).
//! - `rollout/head`: logits, sampling and confidence of that block's rows, by decoding one block of one step.
//! - `update/gradients`: forward and backward of 24 completions with two masks each, rank-16 adapters on all linears.

use std::hint::black_box;
use std::path::Path;

use candle_core::{DType, Device};
use criterion::{Criterion, criterion_group, criterion_main};
use spg::config::{ActivationCheckpointing, LoraTable, TargetModules, TargetPreset};
use spg::model::{Batch, Gradients, Llada, Pass, Weights};
use spg::rng::{Key, Purpose};
use spg::rollout::{Decoding, Prompt, Sampler};
use spg::signal::Stop;
use spg::train::{Row, accumulate};

const PROMPT: usize = 16;
const CANVAS: usize = 40;

fn model() -> Llada {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sudoku-tiny");
    let mut model = Llada::load(&dir, DType::F32, &Device::Cpu, Weights::Frozen).expect("the shipped model");
    let table = LoraTable {
        r: std::num::NonZeroUsize::new(16),
        target_modules: Some(TargetModules::Preset(TargetPreset::AllLinear)),
        ..LoraTable::default()
    };
    model.attach_lora(&table, 1).expect("adapters");
    model
}

fn ids(row: usize, n: usize) -> Vec<u32> {
    let mut rng = Key::new(row as u64, Purpose::Record).rng();
    (0..n).map(|_| 3 + rng.below(60) as u32).collect()
}

fn rollout(c: &mut Criterion) {
    let model = model();
    let rows: Vec<Vec<u32>> = (0..48).map(|i| ids(i, PROMPT + CANVAS)).collect();
    let batch = Batch::left_padded(&rows, 1);
    c.bench_function("rollout/forward", |b| {
        b.iter(|| model.hidden(black_box(&batch), PROMPT..PROMPT + 8, Pass::INFERENCE).expect("forward"))
    });
    let decoding = Decoding { temperature: 0.9, ..Decoding::greedy(8, 8, 1).expect("one block") };
    let prompts: Vec<Prompt> =
        (0..48).map(|i| Prompt { ids: ids(i, PROMPT), key: Key::new(1, Purpose::Rollout).prompt(i) }).collect();
    let sampler = Sampler { model: &model, decoding: &decoding, pass: Pass::INFERENCE, stop: &Stop::default() };
    c.bench_function("rollout/head", |b| b.iter(|| sampler.complete(black_box(&prompts), 48, |_| ()).expect("decode")));
}

fn update(c: &mut Criterion) {
    let model = model();
    let mask = model.config().mask_token_id;
    let rows: Vec<Row> = (0..48)
        .map(|i| {
            let clean = ids(i, PROMPT + CANVAS);
            let scored: Vec<usize> = (PROMPT + 8 * (i % 5)..PROMPT + CANVAS).collect();
            let mut ids = clean.clone();
            scored.iter().for_each(|&at| ids[at] = mask);
            let targets = scored.iter().map(|&at| clean[at]).collect();
            Row { ids, scored, targets, dropout: Key::new(1, Purpose::Dropout).prompt(i) }
        })
        .collect();
    c.bench_function("update/gradients", |b| {
        b.iter(|| {
            let mut gradients = Gradients::new();
            let even = |lps: &[f32]| Ok(vec![-1.0 / lps.len() as f64; lps.len()]);
            accumulate(&model, black_box(&rows), ActivationCheckpointing::Off, &mut gradients, even).expect("update");
            gradients
        })
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = rollout, update
}
criterion_main!(benches);
