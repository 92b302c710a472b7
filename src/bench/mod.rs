//! `spg bench`: times rollouts and updates of any checkpoint, or of random weights of its sizes, by part, on random prompts
//! and completions.

mod figures;
mod model;
mod work;

pub use figures::Figures;

use std::time::Instant;

use anyhow::Result;

use crate::config::BenchRequest;
use crate::model::device;
use crate::profile;
use crate::report::{print_json, print_result};
use crate::runtime;
use crate::terminal::{width, wrapped};

/// Opens the model, times what is asked for, and prints the figures.
///
/// # Errors
/// A model that cannot be loaded, sizes that do not fit it, or whatever fails on the way.
pub fn run(request: &BenchRequest) -> Result<()> {
    let decoding = work::decoding(request)?;
    let mut model = model::open(request, &device::open(request.device)?)?;
    model.attach_lora(&work::adapters(request)?, work::SEED)?;
    let gemm_peak_gflops = work::gemm_peak(&model)?;
    work::warm_up(&model, request)?;

    profile::start();
    let started = Instant::now();
    let rollout_seconds = request.rollout.then(|| work::rollout(&model, request, &decoding)).transpose()?;
    let train_seconds = work::updates(&model, request)?;
    let seconds = started.elapsed().as_secs_f64();
    let profile = profile::stop().unwrap_or_default();
    let figures = Figures {
        rollout_seconds,
        generated_tokens: request.batch.get() * request.gen_length.get(),
        train_seconds,
        seconds,
        profile,
        gemm_peak_gflops,
        peak_memory_mib: runtime::peak_memory_mib(),
    };
    match request.json {
        true => print_json(&figures.as_json().to_string()),
        false => print_result(&wrapped(&figures.as_text(), width())),
    }
}
