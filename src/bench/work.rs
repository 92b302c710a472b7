//! The work that is timed: what a rollout phase and an optimiser update of `spg train` do, without task and tokenizer.

use std::num::NonZeroUsize;
use std::time::Instant;

use anyhow::Result;
use candle_core::Tensor;

use crate::config::{BenchRequest, LoraTable, Positive, SpgTable};
use crate::error::Usage;
use crate::model::ops::products::{Product, sum_of_products};
use crate::model::{Batch, Llada, Pass};
use crate::optim::{AdamW, AdamWParams, clip};
use crate::profile::{self, Part};
use crate::rng::{Key, Purpose};
use crate::rollout::{Decoding, Prompt, Sampler};
use crate::signal::Stop;
use crate::task::Reward;
use crate::train::{Completion, MicroBatches, PolicyUpdate};

/// Seed of all that is random here: figures are compared, results are not.
pub const SEED: u64 = 0;
/// Side of the square matrices whose product gives the machine's rate.
const PEAK_SIDE: usize = 1024;
/// Times that product is taken; the best one counts.
const PEAK_TRIES: usize = 8;
/// AdamW and clipping as in the published runs.
const ADAM: AdamWParams = AdamWParams { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1 };
const LEARNING_RATE: f64 = 3e-6;
const MAX_GRAD_NORM: f64 = 0.2;

/// The greedy decoding that is asked for.
///
/// # Errors
/// Numbers that do not divide evenly.
pub fn decoding(request: &BenchRequest) -> Result<Decoding> {
    let (canvas, block, steps) = (request.gen_length.get(), request.block.get(), request.steps.get());
    let cached = |schedule| Decoding { cache: request.cache, ..schedule };
    Decoding::greedy(canvas, block, steps)
        .map(cached)
        .map_err(|error| Usage(format!("--gen {canvas} --block {block} --steps {steps}: {error}")).into())
}

/// Gives the model fresh adapters of the published targets and scale, without dropout.
///
/// # Errors
/// If the model has none of the layers.
pub fn attach_adapters(model: &mut Llada, request: &BenchRequest) -> Result<()> {
    let alpha = Positive::try_from(request.rank.get() as f64 / 2.0).map_err(anyhow::Error::msg)?;
    model.attach_lora(&LoraTable { r: Some(request.rank), lora_alpha: Some(alpha), ..LoraTable::default() }, SEED)?;
    model.set_dropout(0.0);
    Ok(())
}

/// The best rate of a large product in the model's precision, in GFLOP/s: what linear layers could reach at most.
///
/// # Errors
/// If the device refuses.
pub fn gemm_peak(model: &Llada) -> Result<f64> {
    let device = model.device();
    let mut rng = Key::new(SEED, Purpose::ModelInit).rng();
    let mut random = || -> Result<Tensor> {
        let values: Vec<f32> = (0..PEAK_SIDE * PEAK_SIDE).map(|_| rng.uniform_f32() - 0.5).collect();
        Ok(Tensor::from_vec(values, (PEAK_SIDE, PEAK_SIDE), device)?)
    };
    let (a, b) = (random()?.to_dtype(model.activations())?, random()?.to_dtype(model.dtype())?);
    let mut best = f64::INFINITY;
    for _ in 0..PEAK_TRIES {
        device.synchronize()?;
        let started = Instant::now();
        sum_of_products(None, &[Product::forward(&a, &b)])?;
        device.synchronize()?;
        best = best.min(started.elapsed().as_secs_f64());
    }
    Ok(2.0 * (PEAK_SIDE as f64).powi(3) / best / 1e9)
}

/// One forward pass over the prompts, so that memory and threads are there.
///
/// # Errors
/// If prompt and canvas exceed the model's length.
pub fn warm_up(model: &Llada, request: &BenchRequest) -> Result<()> {
    let config = model.config();
    let columns = request.prompt.get().saturating_add(request.gen_length.get());
    if columns > config.max_sequence_length {
        return Err(Usage(format!(
            "--prompt {} and --gen {} exceed the model's max_sequence_length {}",
            request.prompt, request.gen_length, config.max_sequence_length
        ))
        .into());
    }
    let rows: Vec<Vec<u32>> = (0..request.batch.get()).map(|row| random_ids(model, row, request.prompt)).collect();
    let batch = Batch::left_padded(&rows, config.eos_token_id);
    model.hidden(&batch, 0..batch.columns(), Pass::INFERENCE)?;
    Ok(())
}

/// Decodes one batch; the time in seconds.
///
/// # Errors
/// Logits that are not finite.
pub fn rollout(model: &Llada, request: &BenchRequest, decoding: &Decoding) -> Result<f64> {
    let key = Key::new(SEED, Purpose::Rollout);
    let prompts: Vec<Prompt> = (0..request.batch.get())
        .map(|row| Prompt { ids: random_ids(model, row, request.prompt), key: key.prompt(row) })
        .collect();
    let started = Instant::now();
    let merged = request.merge_adapters.then(|| model.merged()).transpose()?;
    let model = merged.as_ref().unwrap_or(model);
    let sampler = Sampler { model, decoding, pass: Pass::INFERENCE, stop: &Stop::default() };
    sampler.complete(&prompts, prompts.len(), |_| ())?;
    Ok(started.elapsed().as_secs_f64())
}

/// Updates the adapters on random completions, half of them good, half of them bad; the time of each, in seconds.
///
/// # Errors
/// If the maths fails.
pub fn updates(model: &Llada, request: &BenchRequest) -> Result<Vec<f64>> {
    if request.train == 0 {
        return Ok(Vec::new());
    }
    let completions: Vec<Completion> = (0..request.batch.get()).map(|row| completion(model, request, row)).collect();
    let passes = MicroBatches { size: request.batch, checkpointing: request.activation_checkpointing };
    let update = PolicyUpdate::new(&SpgTable::default().recipe(), request.block, passes, SEED);
    let mut optimizer = AdamW::new(model.trainable(), ADAM)?;
    let mut seconds = Vec::with_capacity(request.train);
    for step in 0..request.train {
        let started = Instant::now();
        let anchors = update.anchors(model, model, &completions, step, &Stop::default())?;
        let (gradients, _) = update.gradients(model, &completions, &anchors, 0, &Stop::default())?;
        profile::measure(Part::Optimiser, model.device(), || -> Result<()> {
            let clip = clip(gradients.by_name(), MAX_GRAD_NORM)?;
            Ok(optimizer.step(gradients.by_name(), LEARNING_RATE, clip.scale)?)
        })?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    Ok(seconds)
}

/// A completion that fills its canvas.
fn completion(model: &Llada, request: &BenchRequest, row: usize) -> Completion {
    Completion {
        prompt: random_ids(model, row, request.prompt).into(),
        canvas: random_ids(model, request.batch.get() + row, request.gen_length),
        len: request.gen_length.get(),
        reward: Reward::default(),
        advantage: if row.is_multiple_of(2) { -0.5 } else { 0.5 },
    }
}

/// Token ids without the two that mean something to the decoder.
fn random_ids(model: &Llada, row: usize, n: NonZeroUsize) -> Vec<u32> {
    let config = model.config();
    let mut rng = Key::new(SEED, Purpose::Record).prompt(row).rng();
    let mut draw = || loop {
        let id = rng.below(config.embedding_size) as u32;
        if id != config.mask_token_id && id != config.eos_token_id {
            return id;
        }
    };
    (0..n.get()).map(|_| draw()).collect()
}
