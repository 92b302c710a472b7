//! Benchmarks of the training path on the tiny Sudoku model: what a user waits for.
//!
//! - `rollout/forward`: one denoising step of 48 completions (hidden states of one block).
//! - `rollout/head`: logits, sampling and confidence of that block's rows, by decoding one block of one step.
//! - `update/gradients`: forward and backward of 24 completions with two masks each, rank-16 adapters on all linears.
//! - `objective/<name>/updates`: the gradients of two updates on 12 completions, with all that the method asks for before
//!   them; `objective/<name>/passes`: the forward and backward passes alone that these take, on rows that are ready. What
//!   the objective itself costs is their ratio, printed below them: of the best of alternating runs, since it is small.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device};
use criterion::{Criterion, criterion_group, criterion_main};
use spg::config::{ActivationCheckpointing, AlgorithmTable, LoraTable, Recipe, TargetModules, TargetPreset};
use spg::model::{Batch, Gradients, Llada, Pass, Weights};
use spg::rng::{Key, Purpose};
use spg::rollout::{Decoding, Prompt, Sampler};
use spg::signal::Stop;
use spg::task::Reward;
use spg::train::{Completion, MicroBatches, Policy, PolicyUpdate, Row, Viewer, accumulate, score};

const PROMPT: usize = 16;
const CANVAS: usize = 40;
/// Pairs of runs whose best ones are compared.
const ALTERNATIONS: usize = 20;

fn model() -> Llada {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sudoku-tiny");
    let mut model = Llada::load(&dir, DType::F32, &Device::Cpu, Weights::Frozen).expect("the shipped model");
    let table = LoraTable {
        r: NonZeroUsize::new(16),
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

/// Two updates a phase on two groups of six completions, which end anywhere and earn anything.
struct Phase {
    model: Llada,
    recipe: Recipe,
    completions: Vec<Completion>,
    micro_batches: MicroBatches,
}

impl Phase {
    fn new(name: &str) -> Self {
        let table: AlgorithmTable = toml::from_str(&format!("[{name}]")).expect("defaults");
        let recipe = Recipe { num_generations: number(6), num_iterations: number(2), ..table.recipe() };
        let completion = |c: usize| Completion {
            prompt: ids(c / 6, PROMPT).into(),
            canvas: ids(100 + c, CANVAS),
            len: CANVAS - c % 6,
            reward: Reward::default(),
            advantage: [0.5, -0.3, 0.1, -0.4, 0.3, -0.2][c % 6],
        };
        let micro_batches = MicroBatches { size: number(12), checkpointing: ActivationCheckpointing::Off };
        Self { model: model(), recipe, completions: (0..12).map(completion).collect(), micro_batches }
    }

    fn updates(&self) -> Vec<Gradients> {
        let Self { model, recipe, completions, micro_batches } = self;
        let update = PolicyUpdate::new(recipe, number(8), *micro_batches, 1);
        let anchors = update.anchors(model, model, completions, 0, &Stop::default()).expect("anchors");
        let gradients = |inner| update.gradients(model, completions, &anchors, inner, &Stop::default());
        (0..2).map(|inner| gradients(inner).expect("gradients").0).collect()
    }

    /// The rows of both updates.
    fn rows(&self) -> [Vec<Row>; 2] {
        let viewer = Viewer::new(&self.recipe, number(8), 1);
        let views = |inner, c| viewer.views(self.model.config().mask_token_id, &self.completions[c], c, 0, inner);
        [0, 1].map(|inner| (0..12).flat_map(|c| views(inner, c).rows).collect())
    }

    fn passes(&self, rows: &[Vec<Row>; 2]) -> [Gradients; 2] {
        let link = self.recipe.link;
        let weighs = matches!(self.recipe.aggregation, spg::config::Aggregation::StableLength { .. });
        let forward = |rows: &[Row], policy| drop(black_box(score(&self.model, rows, policy).expect("forward")));
        if link.kl.is_some() {
            rows.iter().for_each(|rows| forward(rows, Policy::Reference));
        }
        // the first update starts at the policy that sampled
        if link.ratio.is_some() || weighs {
            forward(&rows[1], Policy::Current);
        }
        if weighs {
            forward(&rows[1], Policy::Current);
        }
        [0, 1].map(|inner| {
            let mut gradients = Gradients::new();
            let even = |lps: &[f32]| Ok(vec![-1.0 / lps.len() as f64; lps.len()]);
            let checkpointing = self.micro_batches.checkpointing;
            accumulate(&self.model, &rows[inner], checkpointing, &mut gradients, even).expect("gradients");
            gradients
        })
    }
}

fn number(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).expect("above 0")
}

fn objectives(c: &mut Criterion) {
    for name in AlgorithmTable::NAMES {
        let phase = Phase::new(name);
        let rows = phase.rows();
        let mut group = c.benchmark_group(format!("objective/{name}"));
        group.bench_function("updates", |b| b.iter(|| phase.updates()));
        group.bench_function("passes", |b| b.iter(|| phase.passes(black_box(&rows))));
        group.finish();
        let (mut updates, mut passes) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..ALTERNATIONS {
            updates = updates.min(seconds(|| phase.updates()));
            passes = passes.min(seconds(|| phase.passes(black_box(&rows))));
        }
        println!("objective/{name}: updates / passes = {:.3}\n", updates / passes);
    }
}

fn seconds<T>(work: impl Fn() -> T) -> f64 {
    let started = Instant::now();
    drop(black_box(work()));
    started.elapsed().as_secs_f64()
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = rollout, update, objectives
}
criterion_main!(benches);
