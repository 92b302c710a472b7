//! Training: SPG and supervised fine-tuning, over one outer loop with metrics, evaluations and checkpoints.

mod adapters;
mod checkpoint;
mod completions;
mod drift;
mod drive;
mod dry_run;
mod likelihood;
mod memory;
mod run_dir;
mod sft;
mod spg;
mod trainer;

use anyhow::Result;

use crate::config::{RunConfig, RunRequest, Trainable};
use crate::model::Weights;
use crate::session::{Origin, Session};

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
    let config = &request.config;
    let mut session = Session::open(config, Origin::Checkpoint(Weights::Frozen))?;
    adapters::attach(config, &mut session)?;
    if request.dry_run {
        return dry_run::report(request, &session);
    }
    announce(config, &session);
    let mut method = spg::SpgMethod::new(config, &session)?;
    drive::drive(request, trainer::Trainer::new(config, session)?, &mut method)
}

/// `spg sft`: supervised fine-tuning of adapters or of all weights.
///
/// # Errors
/// As [`run`].
pub fn sft(request: &RunRequest) -> Result<()> {
    let config = &request.config;
    let origin = match (config.model().random_init, config.sft()?.trainable) {
        (true, _) => Origin::Random(config.run().seed),
        (false, Trainable::All) => Origin::Checkpoint(Weights::Trainable),
        (false, Trainable::Adapters) => Origin::Checkpoint(Weights::Frozen),
    };
    let mut session = Session::open(config, origin)?;
    if config.sft()?.trainable == Trainable::Adapters {
        adapters::attach(config, &mut session)?;
    }
    if request.dry_run {
        return dry_run::report(request, &session);
    }
    announce(config, &session);
    let mut method = sft::SftMethod::new(config, &session)?;
    drive::drive(request, trainer::Trainer::new(config, session)?, &mut method)
}

fn announce(config: &RunConfig, session: &Session) {
    tracing::info!("{}; output {}", session.summary(), config.run().output_dir.display());
}
