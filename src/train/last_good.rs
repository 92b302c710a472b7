//! What is left of a run whose numbers are no numbers any more, and how to go on from it.

use std::path::PathBuf;

use anyhow::Result;

use super::checkpoint::{self, TrainerState};
use super::run_dir::RunDir;
use super::trainer::Trainer;
use crate::config::{Precision, RunConfig};
use crate::error::find;
use crate::optim::OptimError;
use crate::rollout::LogitsNotFinite;

/// A state that was written, and the step it is of.
type Kept = (usize, PathBuf);

/// Whether a run failed because of numbers that are infinite or not a number.
pub fn is_numeric(error: &anyhow::Error) -> bool {
    find::<LogitsNotFinite>(error).is_some() || find::<OptimError>(error).is_some_and(OptimError::is_numeric)
}

/// Whether what would have broken the weights was not done to them.
pub fn was_refused(error: &anyhow::Error) -> bool {
    matches!(find::<OptimError>(error), Some(OptimError::NonFiniteStep { .. }))
}

/// Writes the last good state to a folder of its own, which no later checkpoint replaces.
///
/// Good is a state that gave gradients: that of the beginning of the last phase, of which there is a copy. Of all weights
/// of a model there is none if a phase is one update; they are good if only the next update was refused. Nothing is written of weights
/// that may be broken: there is a checkpoint that is older, which is kept until a later one has given gradients.
///
/// # Errors
/// If it cannot be written.
pub fn keep(
    run: &RunDir,
    trainer: &mut Trainer,
    state: impl FnOnce(usize) -> TrainerState,
    error: &anyhow::Error,
) -> Result<Option<Kept>> {
    let step = match trainer.rewind()? {
        Some(step) => step,
        None if was_refused(error) => trainer.step(),
        None => return Ok(None),
    };
    let dir = run.last_good();
    checkpoint::write_folder(run, &dir, trainer, &state(step))?;
    Ok(Some((step, dir)))
}

/// The error with what is left and what to change.
pub fn explain(
    error: anyhow::Error,
    kept: Result<Option<Kept>>,
    step: usize,
    config: &RunConfig,
    run: &RunDir,
) -> anyhow::Error {
    // what broke here began with the checkpoint of this step, if there is one
    let before = || run.checkpoints().into_iter().rfind(|(saved, _)| *saved < step);
    let from = match kept {
        Ok(Some(kept)) => Some(kept),
        Ok(None) => before(),
        Err(failure) => {
            tracing::error!("the last good state could not be kept: {failure:#}");
            before()
        }
    };
    let advice = advice(&error, config);
    error.context(match from {
        Some((good, dir)) => format!(
            "the numbers broke after step {step}; the last good state, of step {good}, is {dir}: {advice}, and go on from \
             it with --resume {dir} --output-dir NEW",
            dir = dir.display()
        ),
        None => format!("the numbers broke after step {step}, before there was a good checkpoint: {advice}, and start again"),
    })
}

/// What most likely did it.
fn advice(error: &anyhow::Error, config: &RunConfig) -> String {
    let train = config.train();
    let (rate, decay) = (train.learning_rate.get(), train.weight_decay.get());
    // more than all of a weight would go in every update
    let mut advice = match rate < 1.0 && rate * decay > 1.0 {
        true => format!("lower train.weight_decay ({decay:e})"),
        false => format!("lower train.learning_rate ({rate:e})"),
    };
    let of_gradient = matches!(find::<OptimError>(error), Some(OptimError::NonFinite { .. }));
    if of_gradient && train.max_grad_norm.get() == 0.0 {
        advice += ", set train.max_grad_norm";
    }
    if train.adam_epsilon.get() < 1e-12 {
        advice += &format!(", raise train.adam_epsilon ({:e})", train.adam_epsilon.get());
    }
    if config.model().dtype == Precision::F16 {
        advice += ", use model.dtype = \"bf16\", which does not overflow";
    }
    advice
}
