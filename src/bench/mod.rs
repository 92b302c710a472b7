//! `spg bench`: times rollouts and updates of any checkpoint, or of random weights of its sizes, by part, on random prompts
//! and completions.

mod figures;
mod model;
mod work;

pub use figures::{Figures, PassTraffic};

use std::time::Instant;

use anyhow::Result;

use crate::config::BenchRequest;
use crate::model::device;
use crate::model::ops::gpu;
use crate::profile;
use crate::report::{print_json, print_result};
use crate::runtime;
use crate::terminal::{width, wrapped};
use crate::world::World;

/// Opens the model, times what is asked for together with the other processes, and prints the figures: of several
/// processes times and tokens are those of all, the rest is the first one's.
///
/// # Errors
/// A model that cannot be loaded, sizes that do not fit it, or whatever fails on the way.
pub fn run(request: &BenchRequest, world: &World) -> Result<()> {
    let decoding = work::decoding(request)?;
    let mut model = model::open(request, &decoding, &device::open(request.device, world.local_rank())?)?;
    model.attach_lora(&work::adapters(request)?, work::SEED)?;
    let gemm_peak_gflops = work::gemm_peak(&model)?;
    work::warm_up(&model, request)?;

    let work = || -> Result<Timed> {
        let rollout = request.rollout.then(|| work::rollout(&model, request, &decoding, world)).transpose()?;
        Ok(Timed { rollout, updates: work::updates(&model, request, world)? })
    };
    // to be timed by part an accelerator is waited for after every part, which takes time of its own
    let undisturbed = if gpu::is_host(model.device()) { None } else { Some(work()?) };
    profile::start();
    world.restart_times();
    let started = Instant::now();
    let by_part = work()?;
    let seconds = started.elapsed().as_secs_f64();
    let profile = profile::stop().unwrap_or_default();
    let traffic = undisturbed.as_ref().map(|timed| timed.traffic(request.steps.get()));
    let timed = undisturbed.unwrap_or(by_part);
    let figures = Figures {
        rollout_seconds: timed.rollout.as_ref().map(|work| work.seconds),
        generated_tokens: request.batch.get() * request.gen_length.get(),
        train_seconds: timed.updates.iter().map(|work| work.seconds).collect(),
        seconds,
        processes: world.size(),
        together: world.times(),
        profile,
        gemm_peak_gflops,
        peak_memory_mib: runtime::peak_memory_mib(),
        traffic,
    };
    if !world.is_first() {
        return Ok(());
    }
    match request.json {
        true => print_json(&figures.as_json().to_string()),
        false => print_result(&wrapped(&figures.as_text(), width())),
    }
}

/// One time through the work.
struct Timed {
    rollout: Option<work::Measured>,
    updates: Vec<work::Measured>,
}

impl Timed {
    /// What passed between host and accelerator: in a denoising step of `steps`, and in an update.
    fn traffic(&self, steps: usize) -> PassTraffic {
        let step = self.rollout.as_ref().map(|work| work.traffic.over(steps as u64));
        PassTraffic { step, update: self.updates.last().map(|work| work.traffic) }
    }
}
