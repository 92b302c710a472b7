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
mod parts;
mod policy;
mod reinforce;
mod retention;
mod run_dir;
mod sft;
mod start;
mod tally;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tracking_tests;
mod trainer;
mod update;
mod views;
mod whole;

use std::io;

use anyhow::Result;

use crate::config::{RunConfig, RunRequest};
use crate::session::Session;
use crate::signal::Stop;

pub use belongs::Belongs;
pub use card::rows as card_rows;
pub use checkpoint::TrainerState;
pub use completions::Completion;
pub use likelihood::{MicroBatches, Policy, Row, accumulate, score};
pub use reinforce::{Anchors, PolicyUpdate};
pub use retention::{Retention, Standing};
pub use run_dir::RunDir;
pub use tally::Tally;
pub use update::{Prepared, Side, StepLoss, Update};
pub use views::{Viewer, Views};

/// `spg train`: reinforcement learning of adapters or of all weights.
///
/// # Errors
/// [`crate::error::Stopped`] after a signal, else what failed.
pub fn run(request: &RunRequest) -> Result<()> {
    run_until(request, Stop::install)
}

/// As [`run`], with another way to be stopped than by signals.
fn run_until(request: &RunRequest, listen: impl FnOnce() -> io::Result<Stop>) -> Result<()> {
    let config = &request.config;
    let session = policy::open(config)?;
    if request.dry_run {
        return dry_run::report(request, &session);
    }
    announce(config, &session);
    let mut method = reinforce::Reinforce::new(config, &session)?;
    drive::drive(request, trainer::Trainer::new(config, session)?, &mut method, listen)
}

/// `spg sft`: supervised fine-tuning of adapters or of all weights.
///
/// # Errors
/// As [`run`].
pub fn sft(request: &RunRequest) -> Result<()> {
    sft_until(request, Stop::install)
}

/// As [`sft`], with another way to be stopped than by signals.
fn sft_until(request: &RunRequest, listen: impl FnOnce() -> io::Result<Stop>) -> Result<()> {
    let config = &request.config;
    let session = policy::open(config)?;
    if request.dry_run {
        return dry_run::report(request, &session);
    }
    announce(config, &session);
    let mut method = sft::SftMethod::new(config, &session)?;
    drive::drive(request, trainer::Trainer::new(config, session)?, &mut method, listen)
}

fn announce(config: &RunConfig, session: &Session) {
    tracing::info!("{}", session.model_line(config.model()));
    tracing::info!("{}", session.task_line());
    tracing::info!("{}", session.trained_line(config));
    tracing::info!("output {}", config.run().output_dir.display());
    if config.ignores_lora() {
        tracing::warn!("train.trainable = \"all\": there are no adapters, and [lora] is not read");
    }
}
