//! Benchmarks of the training path on the tiny Sudoku model: what a user waits for.
//!
//! - `rollout/forward`: one denoising step of 48 completions (hidden states of one block).
//! - `rollout/head`: logits, sampling and confidence of that block's rows, by decoding one block of one step.
//! - `update/gradients`: forward and backward of 24 completions with two masks each, rank-16 adapters on all linears.
//! - `objective/<name>/updates`: the gradients of two updates on 12 completions, with all that the method asks for before
//!   them; `objective/<name>/passes`: the forward and backward passes alone that these take, on rows that are ready. What
//!   the objective itself costs is their ratio, printed below them: of the best of alternating runs, since it is small.
//! - `dropout/<model>`: how many times as long as without dropout an update takes with it, of the best of alternating runs
//!   and of their medians; of the tiny model, and of a random one of 8 layers of width 512. Also in processor time (on Unix),
//!   which is what to look at on one thread of a busy machine.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device};
use criterion::{Criterion, criterion_group};
use spg::config::{ActivationCheckpointing, AlgorithmTable, LoraTable, Recipe, TargetModules, TargetPreset};
use spg::model::{Batch, Decoder, Gradients, Pass, Weights};
use spg::rng::{Key, Purpose};
use spg::rollout::{Decoding, Prompt, Sampler};
use spg::signal::Stop;
use spg::task::Reward;
use spg::train::{Completion, MicroBatches, Policy, PolicyUpdate, Row, Viewer, accumulate, score};

const PROMPT: usize = 16;
const CANVAS: usize = 40;
/// Pairs of runs whose best ones are compared.
const ALTERNATIONS: usize = 20;

fn model() -> Decoder {
    adapted(tiny(), LoraTable::default())
}

fn tiny() -> Decoder {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sudoku-tiny");
    Decoder::load(&dir, DType::F32, &Device::Cpu, Weights::Frozen).expect("the shipped model")
}

/// The tiny model's vocabulary and heads in 8 layers of width 512.
fn middling() -> Decoder {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sudoku-tiny/config.json");
    let mut config: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(source).expect("the shipped config")).expect("JSON");
    for (key, value) in [("d_model", 512), ("n_layers", 8), ("mlp_hidden_size", 1536)] {
        config[key] = value.into();
    }
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("config.json"), config.to_string()).expect("write");
    Decoder::random(dir.path(), 1, DType::F32, &Device::Cpu, Weights::Frozen).expect("a model")
}

/// With adapters of rank 16 on all linears.
fn adapted(mut model: Decoder, table: LoraTable) -> Decoder {
    let table = LoraTable {
        r: NonZeroUsize::new(16),
        target_modules: Some(TargetModules::Preset(TargetPreset::AllLinear)),
        ..table
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
    let rows = masked(48, model.ids().mask);
    c.bench_function("update/gradients", |b| b.iter(|| gradients(&model, black_box(&rows))));
}

/// Rows whose completions are masked from some block on.
fn masked(count: usize, mask: u32) -> Vec<Row> {
    let row = |i| {
        let clean = ids(i, PROMPT + CANVAS);
        let scored: Vec<usize> = (PROMPT + 8 * (i % 5)..PROMPT + CANVAS).collect();
        let mut ids = clean.clone();
        scored.iter().for_each(|&at| ids[at] = mask);
        let targets = scored.iter().map(|&at| clean[at]).collect();
        Row { ids, past: None, prompt: PROMPT, scored, targets, dropout: Key::new(1, Purpose::Dropout).prompt(i) }
    };
    (0..count).map(row).collect()
}

fn gradients(model: &Decoder, rows: &[Row]) -> Gradients {
    let mut gradients = Gradients::new();
    let even = |lps: &[f32]| Ok(vec![-1.0 / lps.len() as f64; lps.len()]);
    accumulate(model, rows, ActivationCheckpointing::Off, &mut gradients, even).expect("update");
    gradients
}

fn dropout(_: &mut Criterion) {
    compare_dropout("dropout/tiny", tiny, 48);
    compare_dropout("dropout/middling", middling, 12);
}

fn compare_dropout(name: &str, load: fn() -> Decoder, count: usize) {
    if !is_wanted(name) {
        return;
    }
    let with = |p: &str| adapted(load(), toml::from_str(&format!("lora_dropout = {p}")).expect("a probability"));
    let (with, without) = (with("0.05"), with("0.0"));
    let rows = masked(count, with.ids().mask);
    let (mut longer, mut shorter) = ([const { Vec::new() }; 2], [const { Vec::new() }; 2]);
    for _ in 0..ALTERNATIONS {
        for (model, taken) in [(&with, &mut longer), (&without, &mut shorter)] {
            let (wall, processor) = (Instant::now(), processor_seconds());
            drop(black_box(gradients(model, &rows)));
            taken[0].push(wall.elapsed().as_secs_f64());
            taken[1].push(processor_seconds() - processor);
        }
    }
    for (kind, (mut with, mut without)) in ["wall", "processor"].into_iter().zip(longer.into_iter().zip(shorter)) {
        [&mut with, &mut without].into_iter().for_each(|seconds| seconds.sort_by(f64::total_cmp));
        let (best, median) = (with[0] / without[0], with[ALTERNATIONS / 2] / without[ALTERNATIONS / 2]);
        println!(
            "{name}: {kind} time {best:.3} times that without ({:.1} ms), of medians {median:.3}",
            1e3 * without[0]
        );
    }
    println!();
}

/// What the threads of this process have worked, which other processes do not change much.
#[cfg(unix)]
fn processor_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a `timespec`, which the call fills.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

#[cfg(not(unix))]
fn processor_seconds() -> f64 {
    f64::NAN
}

/// Whether the command line asks for this: criterion keeps its filter to itself.
fn is_wanted(name: &str) -> bool {
    let mut filters = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    filters.peek().is_none() || filters.any(|filter| name.contains(&filter))
}

/// Two updates a phase on two groups of six completions, which end anywhere and earn anything.
struct Phase {
    model: Decoder,
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
        let views = |inner, c| viewer.views(&self.model, &self.completions[c], c, 0, inner);
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
        [0, 1].map(|inner| gradients(&self.model, &rows[inner]))
    }
}

fn number(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).expect("above 0")
}

fn objectives(c: &mut Criterion) {
    for name in AlgorithmTable::NAMES.iter().filter(|name| is_wanted(&format!("objective/{name}"))) {
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
    targets = rollout, update, dropout, objectives
}

/// Like the program, with its memory and on its pool.
fn main() {
    spg::runtime::prepare();
    spg::runtime::on_pool(benches);
    Criterion::default().configure_from_args().final_summary();
}
