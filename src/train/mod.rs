//! Training: reinforcement learning and supervised fine-tuning, over one outer loop with metrics, evaluations and
//! checkpoints.

mod adapters;
mod belongs;
mod best;
mod card;
mod checkpoint;
mod completions;
mod decline;
mod drift;
mod drive;
mod dry_run;
mod last_good;
mod likelihood;
mod lock;
mod memory;
#[cfg(test)]
mod pair_tests;
mod parts;
mod policy;
mod reinforce;
mod retention;
mod run_dir;
mod scale;
mod sft;
mod start;
mod summation;
mod tally;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tracking_tests;
mod trainer;
mod update;
mod views;
mod whole;
#[cfg(test)]
mod world_tests;

use std::io;

use anyhow::Result;

use crate::config::{RunConfig, RunRequest};
use crate::error::Usage;
use crate::session::Session;
use crate::signal::Stop;
use crate::world::World;

pub use belongs::Belongs;
pub use card::rows as card_rows;
pub use checkpoint::TrainerState;
pub use completions::Completion;
pub use likelihood::{MicroBatches, Policy, Row, accumulate, score};
pub use reinforce::{Anchors, PolicyUpdate};
pub use retention::{Retention, Standing};
pub use run_dir::RunDir;
pub use summation::Summation;
pub use tally::Tally;
pub use update::{Portion, Prepared, Side, StepLoss, Update};
pub use views::{Viewer, Views};

/// `spg train`: reinforcement learning of adapters or of all weights.
///
/// # Errors
/// [`crate::error::Stopped`] after a signal, else what failed.
pub fn run(request: &RunRequest, world: &World) -> Result<()> {
    run_until(request, world, Stop::install)
}

/// As [`run`], with another way to be stopped than by signals.
fn run_until(request: &RunRequest, world: &World, listen: impl FnOnce() -> io::Result<Stop>) -> Result<()> {
    let config = &request.config;
    let Some(session) = open(request, world)? else { return Ok(()) };
    announce(config, &session)?;
    let mut method = reinforce::Reinforce::new(config, &session)?;
    drive::drive(request, trainer::Trainer::new(config, session)?, &mut method, listen)
}

/// `spg sft`: supervised fine-tuning of adapters or of all weights.
///
/// # Errors
/// As [`run`].
pub fn sft(request: &RunRequest, world: &World) -> Result<()> {
    sft_until(request, world, Stop::install)
}

/// As [`sft`], with another way to be stopped than by signals.
fn sft_until(request: &RunRequest, world: &World, listen: impl FnOnce() -> io::Result<Stop>) -> Result<()> {
    let config = &request.config;
    let Some(session) = open(request, world)? else { return Ok(()) };
    announce(config, &session)?;
    let mut method = sft::SftMethod::new(config, &session)?;
    drive::drive(request, trainer::Trainer::new(config, session)?, &mut method, listen)
}

/// The session of a run; none if it was only to be looked at.
fn open(request: &RunRequest, world: &World) -> Result<Option<Session>> {
    if request.dry_run && !world.is_solo() {
        return Err(Usage("--dry-run is for one process; --world N says what N would take".into()).into());
    }
    if request.dry_run && request.resume.is_some() {
        return Err(Usage(
            "--dry-run looks at how a run would start, and nothing of --resume: leave one of them out".into(),
        )
        .into());
    }
    if !request.dry_run && world.is_first() {
        start::look_ahead(request)?;
    }
    // the others hear of a refusal before they load for minutes
    world.gather(())?;
    let session = policy::open(&request.config, world)?;
    if request.dry_run {
        return dry_run::report(request, &session).map(|()| None);
    }
    Ok(Some(session))
}

fn announce(config: &RunConfig, session: &Session) -> Result<()> {
    let world = &session.world;
    if !world.is_first() {
        return Ok(());
    }
    tracing::info!("{}", session.model_line(config.model()));
    tracing::info!("{}", session.task_line());
    tracing::info!("{}", session.trained_line(config));
    tracing::info!("output {}", config.run().output_dir.display());
    if !world.is_solo() {
        let (size, (parts, things, _)) = (world.size(), scale::parts(config)?);
        tracing::info!("{size} processes share the {parts} {things} of a step");
        if let Some(idle @ 1..) = size.checked_sub(parts) {
            tracing::warn!("{idle} of {size} processes have nothing to do: there are {parts} {things} a step");
        }
    }
    if config.ignores_lora() {
        tracing::warn!("train.trainable = \"all\": there are no adapters, and [lora] is not read");
    }
    Ok(())
}
