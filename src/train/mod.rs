//! Training: SPG and supervised fine-tuning, over one outer loop with metrics, evaluations and checkpoints.

mod belongs;
mod checkpoint;
mod completions;
mod decline;
mod drift;
mod drive;
mod dry_run;
mod last_good;
mod likelihood;
mod memory;
mod run_dir;
mod sft;
mod spg;
mod start;
#[cfg(test)]
mod testing;
mod trainer;

use std::io;

use anyhow::Result;

use crate::config::{RunConfig, RunRequest, Trainable};
use crate::error::Usage;
use crate::model::Weights;
use crate::session::{Origin, Session};
use crate::signal::Stop;

pub use belongs::Belongs;
pub use checkpoint::TrainerState;
pub use completions::Completion;
pub use likelihood::{MicroBatches, Row, accumulate};
pub use run_dir::RunDir;
pub use spg::SpgUpdate;

/// `spg train`: reinforcement learning of the adapters.
///
/// # Errors
/// [`crate::error::Stopped`] after a signal, else what failed.
pub fn run(request: &RunRequest) -> Result<()> {
    run_until(request, Stop::install)
}

/// As [`run`], with another way to be stopped than by signals.
fn run_until(request: &RunRequest, listen: impl FnOnce() -> io::Result<Stop>) -> Result<()> {
    let config = &request.config;
    let mut session = Session::open(config, Origin::Checkpoint(Weights::Frozen))?;
    attach_adapters(config, &mut session)?;
    if request.dry_run {
        return dry_run::report(request, &session);
    }
    let mut method = spg::SpgMethod::new(config, &session)?;
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
    let origin = match (config.model().random_init, config.sft()?.trainable) {
        (true, _) => Origin::Random(config.run().seed),
        (false, Trainable::All) => Origin::Checkpoint(Weights::Trainable),
        (false, Trainable::Adapters) => Origin::Checkpoint(Weights::Frozen),
    };
    let mut session = Session::open(config, origin)?;
    if config.sft()?.trainable == Trainable::Adapters {
        attach_adapters(config, &mut session)?;
    }
    if request.dry_run {
        return dry_run::report(request, &session);
    }
    let mut method = sft::SftMethod::new(config, &session)?;
    drive::drive(request, trainer::Trainer::new(config, session)?, &mut method, listen)
}

/// Fresh adapters, or those of `lora.init_from`, which bring their own targets.
fn attach_adapters(config: &RunConfig, session: &mut Session) -> Result<()> {
    let lora = config.lora();
    let Some(dir) = &lora.init_from else {
        return session.model.attach_lora(lora, config.run().seed);
    };
    let found = session.model.load_adapter(dir)?;
    if (found.r, found.lora_alpha) != (lora.r.get(), lora.lora_alpha.get()) {
        return Err(Usage(format!(
            "the adapter {} has rank {} and alpha {}, the configuration says lora.r = {} and lora.lora_alpha = {}: \
             make them equal",
            dir.display(),
            found.r,
            found.lora_alpha,
            lora.r,
            lora.lora_alpha.get()
        ))
        .into());
    }
    session.model.set_dropout(lora.lora_dropout.get());
    Ok(())
}
