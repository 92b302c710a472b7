//! The work that is timed: what a rollout phase and an optimiser update of `spg train` do, without task and tokenizer.

use std::num::NonZeroUsize;
use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Tensor};

use crate::config::{self, BenchRequest, GradientSum, LoraTable, Positive, Recipe, SpgTable};
use crate::error::Usage;
use crate::model::ops::gpu::{self, Traffic};
use crate::model::ops::products::{Product, sum_of_products};
use crate::model::{Batch, Decoder, Description, Pass, Weight};
use crate::optim::{AdamW, clip};
use crate::profile::{self, Part};
use crate::rng::{Key, Purpose};
use crate::rollout::{Decoding, Prompt, Sampler};
use crate::signal::Stop;
use crate::task::Reward;
use crate::train::{Completion, MicroBatches, PolicyUpdate, Summation};
use crate::world::World;

/// Seed of all that is random here: figures are compared, results are not.
pub const SEED: u64 = 0;
/// Side of the square matrices whose product gives an accelerator's rate: its thousands of tiles keep hundreds of cores
/// at work, and starting it takes no time beside it.
const PEAK_SIDE: usize = 8192;
/// The same on the CPU, whose few cores are busy with less: the products take a tenth of a second together, and would take
/// a minute with 8192.
const PEAK_SIDE_CPU: usize = 1024;
/// Rows of random numbers that these matrices repeat: no product is faster for it, and 8192 times 8192 would take seconds.
const PEAK_ROWS: usize = 16;
/// Times that product is taken; the best one counts.
const PEAK_TRIES: usize = 8;

/// What some work took.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Its time.
    pub seconds: f64,
    /// What it gave an accelerator to do, and what passed between that and the host.
    pub traffic: Traffic,
}

/// The greedy decoding that is asked for.
///
/// # Errors
/// Numbers that are too large, or do not divide evenly.
pub fn decoding(request: &BenchRequest) -> Result<Decoding> {
    let (canvas, block, steps) = (request.gen_length.get(), request.block.get(), request.steps.get());
    for (option, key, number) in [
        ("--batch", "batch_size", request.batch.get()),
        ("--prompt", "max_prompt_length", request.prompt.get()),
        ("--gen", "max_completion_length", canvas),
        ("--steps", "diffusion_steps", steps),
        ("--rank", "r", request.rank.get()),
        ("--train", "max_steps", request.train),
    ] {
        config::check_bound(key, number as u64).map_err(|too_large| Usage(format!("{option} {too_large}")))?;
    }
    let cached = |schedule| Decoding { cache: request.cache, ..schedule };
    Decoding::greedy(canvas, block, steps)
        .map(cached)
        .map_err(|error| Usage(format!("--gen {canvas} --block {block} --steps {steps}: {error}")).into())
}

/// Whether prompt, canvas and its blocks fit a model of these sizes.
///
/// # Errors
/// Says how long they may be, and which blocks and caches the model has.
pub fn check(request: &BenchRequest, decoding: &Decoding, description: &Description) -> Result<()> {
    decoding
        .check(description.shape.sight)
        .map_err(|misfit| Usage(format!("--block {} --cache {}: {misfit}", request.block, request.cache.name())))?;
    let columns = request.prompt.get().saturating_add(request.gen_length.get());
    let positions = description.shape.positions;
    if columns > positions {
        return Err(Usage(format!(
            "--prompt {} and --gen {} exceed the model's {} {positions}",
            request.prompt, request.gen_length, description.names.positions
        ))
        .into());
    }
    Ok(())
}

/// Fresh adapters of the published targets and scale.
///
/// # Errors
/// None in practice.
pub fn adapters(request: &BenchRequest) -> Result<LoraTable> {
    let table = LoraTable::default();
    let scale = table.alpha().get() / table.rank().get() as f64;
    let alpha = Positive::try_from(request.rank.get() as f64 * scale).map_err(anyhow::Error::msg)?;
    Ok(LoraTable { r: Some(request.rank), lora_alpha: Some(alpha), lora_dropout: request.dropout, ..table })
}

/// The best rate of a large product in the model's precision, in GFLOP/s: what linear layers could reach at most.
///
/// # Errors
/// If the device refuses.
pub fn gemm_peak(model: &Decoder) -> Result<f64> {
    let device = model.device();
    let side = if device.is_cpu() { PEAK_SIDE_CPU } else { PEAK_SIDE };
    let mut rng = Key::new(SEED, Purpose::ModelInit).rng();
    let mut random = |dtype: DType| -> Result<Tensor> {
        let values: Vec<f32> = (0..PEAK_ROWS * side).map(|_| rng.uniform_f32() - 0.5).collect();
        let rows = Tensor::from_vec(values, (PEAK_ROWS, side), device)?.to_dtype(dtype)?;
        Ok(rows.repeat((side / PEAK_ROWS, 1))?) // [side, side]
    };
    let (a, b) = (random(model.activations())?, Weight::frozen("peak", random(model.dtype())?)?);
    let mut best = f64::INFINITY;
    for _ in 0..PEAK_TRIES {
        device.synchronize()?;
        let started = Instant::now();
        sum_of_products(None, &[Product::forward(&a, &b)])?;
        device.synchronize()?;
        best = best.min(started.elapsed().as_secs_f64());
    }
    Ok(2.0 * (side as f64).powi(3) / best / 1e9)
}

/// One forward pass over the prompts, so that memory and threads are there.
///
/// # Errors
/// If the maths fails.
pub fn warm_up(model: &Decoder, request: &BenchRequest) -> Result<()> {
    let rows: Vec<Vec<u32>> = (0..request.batch.get()).map(|row| random_ids(model, row, request.prompt)).collect();
    let batch = Batch::left_padded(&rows, model.ids().pad);
    model.hidden(&batch, 0..batch.columns(), Pass::INFERENCE)?;
    Ok(())
}

/// Decodes one batch, every process its share.
///
/// # Errors
/// Logits that are not finite.
pub fn rollout(model: &Decoder, request: &BenchRequest, decoding: &Decoding, world: &World) -> Result<Measured> {
    let key = Key::new(SEED, Purpose::Rollout);
    let prompts: Vec<Prompt> = world
        .share(request.batch.get())
        .map(|row| Prompt { ids: random_ids(model, row, request.prompt), key: key.prompt(row) })
        .collect();
    measured(model, world, || {
        let model = model.for_sampling(request.merge_adapters)?;
        let sampler = Sampler { model: &model, decoding, pass: Pass::INFERENCE, stop: &Stop::default() };
        let decoded = sampler.complete(&prompts, prompts.len(), |_| ())?;
        world.join(decoded.into_iter().map(|completion| completion.canvas).collect()).map(drop)
    })
}

/// Updates the adapters on random completions, half of them good, half of them bad, as the published run does.
///
/// # Errors
/// If the maths fails.
pub fn updates(model: &Decoder, request: &BenchRequest, world: &World) -> Result<Vec<Measured>> {
    if request.train == 0 {
        return Ok(Vec::new());
    }
    let completions: Vec<Completion> = (0..request.batch.get()).map(|row| completion(model, request, row)).collect();
    let passes = MicroBatches { size: request.batch, checkpointing: request.activation_checkpointing };
    // each is its own group, so that processes can share them evenly
    let recipe = Recipe { num_generations: NonZeroUsize::MIN, ..SpgTable::default().recipe() };
    let summation = Summation::new(world, GradientSum::Running);
    let update = PolicyUpdate::new(&recipe, request.block, passes, SEED).summed_by(summation);
    let published = config::published()?;
    let table = published.train();
    let mut optimizer = AdamW::new(model.trainable(), table.into())?;
    let mut one = |step| {
        let anchors = update.anchors(model, model, &completions, step, &Stop::default())?;
        let (gradients, _) = update.gradients(model, &completions, &anchors, 0, &Stop::default())?;
        profile::measure(Part::Optimiser, model.device(), || {
            let clip = clip(gradients.by_name(), table.max_grad_norm.get())?;
            Ok(optimizer.step(gradients.by_name(), table.learning_rate.get(), clip.scale)?)
        })
    };
    (0..request.train).map(|step| measured(model, world, || one(step))).collect()
}

/// Runs `work` until the model's device is done with it, from when all processes are there until the last one is done.
fn measured(model: &Decoder, world: &World, work: impl FnOnce() -> Result<()>) -> Result<Measured> {
    world.gather(())?;
    let (started, before) = (Instant::now(), gpu::traffic());
    work()?;
    model.device().synchronize()?;
    world.gather(())?;
    Ok(Measured { seconds: started.elapsed().as_secs_f64(), traffic: gpu::traffic().since(before) })
}

/// A completion that fills its canvas.
fn completion(model: &Decoder, request: &BenchRequest, row: usize) -> Completion {
    Completion {
        prompt: random_ids(model, row, request.prompt).into(),
        canvas: random_ids(model, request.batch.get() + row, request.gen_length),
        len: request.gen_length.get(),
        reward: Reward::default(),
        advantage: if row.is_multiple_of(2) { -0.5 } else { 0.5 },
    }
}

/// Token ids without those that mean something to the decoder.
fn random_ids(model: &Decoder, row: usize, n: NonZeroUsize) -> Vec<u32> {
    let (vocabulary, ids) = (model.shape().vocabulary, model.ids());
    let mut rng = Key::new(SEED, Purpose::Record).prompt(row).rng();
    let mut draw = || loop {
        let id = rng.below(vocabulary) as u32;
        if id != ids.mask && !ids.is_end(id) {
            return id;
        }
    };
    (0..n.get()).map(|_| draw()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ActivationCheckpointing, BenchModel, CacheKind, DeviceSpec, Precision, PublishedShape};

    fn request() -> BenchRequest {
        let count = |n| NonZeroUsize::new(n).unwrap();
        BenchRequest {
            model: BenchModel::Shape(PublishedShape::Llada8b),
            batch: count(2),
            prompt: count(64),
            gen_length: count(64),
            steps: count(32),
            block: count(32),
            cache: CacheKind::None,
            rank: count(4),
            dropout: 0.25.try_into().unwrap(),
            dtype: Precision::F32,
            quantize: None,
            merge_adapters: false,
            device: DeviceSpec::Cpu,
            rollout: true,
            train: 1,
            activation_checkpointing: ActivationCheckpointing::Off,
            json: false,
        }
    }

    #[test]
    fn adapters_drop_what_the_request_says() {
        let table = adapters(&request()).unwrap();
        assert_eq!((table.rank().get(), table.alpha().get(), table.lora_dropout.get()), (4, 2.0, 0.25));
    }

    #[test]
    fn the_longest_sequence_is_the_models() {
        let description = Description::from(PublishedShape::Llada8b);
        let of = |prompt| BenchRequest { prompt: NonZeroUsize::new(prompt).unwrap(), ..request() };
        let checked = |request: BenchRequest| check(&request, &decoding(&request).unwrap(), &description);
        assert!(checked(of(description.shape.positions - 64)).is_ok());
        for prompt in [description.shape.positions - 63, 1 << 20] {
            let text = checked(of(prompt)).expect_err("too long").to_string();
            assert!(text.contains("max_sequence_length 4096"), "{text}");
        }
        let text = decoding(&of(usize::MAX)).expect_err("out of bounds").to_string();
        assert!(text.contains("--prompt") && text.contains("is too large"), "{text}");
    }
}
