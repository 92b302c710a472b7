//! Benchmarks of the parts of a step beside the blocks, at the published sizes (LLaDA-8B, canvas 256, two masks).
//!
//! - `masks`: drawing the masks of the 96 completions of an update, prompts of 200 tokens.
//! - `bounds/*`: lower bound, upper bound and their mixture of one completion, with gradients.
//! - `optimiser/clip`, `optimiser/adamw`: clipping and a step over rank-16 adapters of 32 layers of width 512.
//! - `head/sample`: logits, sampling and confidence of 32 rows over 126,464 words, behind one layer of width 512.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use spg::config::{Scope, SpgTable};
use spg::model::Pass;
use spg::model::{Decoder, Weights};
use spg::objective::ScoredTokens;
use spg::objective::bounds::{elbo, eubo, mixture};
use spg::objective::masking::{Canvas, Masking, Round};
use spg::optim::{AdamW, AdamWParams, clip};
use spg::rng::{Key, Purpose};
use spg::rollout::{Decoding, Prompt, Sampler};
use spg::signal::Stop;

const CANVAS: Canvas = Canvas { prompt_length: 200, completion_length: 256, len: 256, begun: 0 };
const FIRST: Round = Round { inner: 0, of: 4 };
const COMPLETIONS: usize = 96;

fn masking() -> Masking {
    Masking::new(&SpgTable::default().recipe().masks, NonZeroUsize::new(32).expect("32"))
}

fn masks(c: &mut Criterion) {
    let (masking, key) = (masking(), Key::new(1, Purpose::Mask));
    let mut group = c.benchmark_group("masks");
    group.throughput(Throughput::Elements(COMPLETIONS as u64));
    group.bench_function("update", |b| {
        b.iter(|| (0..COMPLETIONS).map(|i| masking.draw(black_box(CANVAS), FIRST, key.prompt(i)).len()).sum::<usize>())
    });
    group.finish();
}

fn bounds(c: &mut Criterion) {
    let samples = masking().draw(CANVAS, FIRST, Key::new(1, Purpose::Mask));
    let positions: Vec<Vec<usize>> = samples.iter().map(|s| s.scored(Scope::AllMasked)).collect();
    let mut rng = Key::new(2, Purpose::Record).rng();
    let mut lps = std::iter::repeat_with(|| -4.0 * rng.uniform_f64());
    let tokens = ScoredTokens::from_positions(CANVAS.len, &positions, &mut lps).expect("endless log-probs");
    c.bench_function("bounds/elbo", |b| b.iter(|| elbo(black_box(&tokens))));
    c.bench_function("bounds/eubo", |b| b.iter(|| eubo(black_box(&tokens), 1.5)));
    let (below, above) = (elbo(&tokens), eubo(&tokens, 1.5));
    c.bench_function("bounds/mixture", |b| b.iter(|| mixture(black_box(&below), black_box(&above), 0.5)));
}

fn optimiser(c: &mut Criterion) {
    let mut rng = Key::new(3, Purpose::ModelInit).rng();
    let mut random = |rows: usize, columns: usize| {
        let values: Vec<f32> = (0..rows * columns).map(|_| rng.uniform_f32() - 0.5).collect();
        Tensor::from_vec(values, (rows, columns), &Device::Cpu).expect("sizes that fit")
    };
    let (mut vars, mut gradients) = (BTreeMap::new(), BTreeMap::new());
    for i in 0..32 * 4 {
        for (name, rows, columns) in [("a", 16, 512), ("b", 512, 16)] {
            let name = format!("{i}.{name}");
            vars.insert(name.clone(), Var::from_tensor(&random(rows, columns)).expect("a variable"));
            gradients.insert(name, random(rows, columns));
        }
    }
    let params = AdamWParams { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1 };
    let mut adamw = AdamW::new(vars, params).expect("f32 parameters");
    c.bench_function("optimiser/clip", |b| b.iter(|| clip(black_box(&gradients), 0.2).expect("finite gradients")));
    c.bench_function("optimiser/adamw", |b| b.iter(|| adamw.step(black_box(&gradients), 1e-6, 0.5).expect("a step")));
}

/// The sizes of the tiny model, but for one layer, a width of 512 and LLaDA's vocabulary.
fn wide_head() -> Decoder {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sudoku-tiny/config.json");
    let mut config: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&std::fs::read_to_string(source).expect("the shipped config")).expect("JSON");
    for (key, value) in [
        ("d_model", 512),
        ("n_layers", 1),
        ("mlp_hidden_size", 512),
        ("vocab_size", 126_464),
        ("embedding_size", 126_464),
    ] {
        config.insert(key.into(), value.into());
    }
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("config.json"), serde_json::Value::from(config).to_string()).expect("write");
    let model = Decoder::random(dir.path(), 1, DType::F32, &Device::Cpu, Weights::Trainable).expect("a model");
    assert_eq!(model.dtype(), DType::F32);
    model
}

fn head(c: &mut Criterion) {
    let model = wide_head();
    let decoding = Decoding { temperature: 0.9, ..Decoding::greedy(8, 8, 1).expect("one block") };
    let key = Key::new(1, Purpose::Rollout);
    let prompts: Vec<Prompt> = (0..4).map(|i| Prompt { ids: vec![3, 4, 5], key: key.prompt(i) }).collect();
    let sampler = Sampler { model: &model, decoding: &decoding, pass: Pass::INFERENCE, stop: &Stop::default() };
    c.bench_function("head/sample", |b| b.iter(|| sampler.complete(black_box(&prompts), 4, |_| ()).expect("decode")));
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = masks, bounds, optimiser, head
}
criterion_main!(benches);
