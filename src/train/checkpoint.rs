//! Checkpoints: trained weights, optimiser state, counters and what they belong to, written whole or not at all.
//!
//! There is no generator state: every random number is keyed by its place, so the step is all that is needed.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::belongs::Belongs;
use super::card;
use super::retention::Standing;
use super::run_dir::RunDir;
use super::trainer::Trainer;
use crate::config::RunConfig;
use crate::error::Usage;
use crate::files::{NewFolder, remove_folder};
use crate::model::{WeightFiles, write_safetensors};
use crate::report::{CARD_FILE, Damage, STATE_FILE, checkpoint_step, rewrite, seal, verify};
use crate::runtime;

/// What only a resumed run needs.
pub const OPTIMIZER_FILE: &str = "optimizer.safetensors";

/// `trainer_state.json`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainerState {
    /// `train` or `sft`.
    pub command: String,
    /// Optimiser updates done.
    pub global_step: usize,
    /// Seed of the run.
    pub seed: u64,
    /// Revision of the program that wrote it.
    pub revision: String,
    /// What the checkpoint belongs to; nothing in those of before this was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub belongs: Option<Belongs>,
    /// The evaluations up to it, compared; nothing where nobody asks for the best.
    #[serde(flatten)]
    pub standing: Standing,
}

impl TrainerState {
    /// The state of a run after `step` updates.
    pub fn new(config: &RunConfig, belongs: &Belongs, step: usize, standing: Standing) -> Self {
        Self {
            command: config.command().name().into(),
            global_step: step,
            seed: config.run().seed,
            revision: runtime::REVISION.into(),
            belongs: Some(belongs.clone()),
            standing,
        }
    }

    /// Reads the state of a checkpoint folder.
    ///
    /// # Errors
    /// Names the file.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join(STATE_FILE);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{} is not a checkpoint: cannot read {STATE_FILE}", dir.display()))?;
        serde_json::from_str(&text).map_err(|error| Damage { path, what: error.to_string() }.into())
    }

    fn text(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Whether the checkpoint is one of this subcommand.
    ///
    /// # Errors
    /// [`Usage`]
    pub fn check_command(&self, dir: &Path, config: &RunConfig) -> Result<(), Usage> {
        let command = config.command().name();
        match self.command == command {
            true => Ok(()),
            false => Err(Usage(format!("{} was written by spg {}, not spg {command}", dir.display(), self.command))),
        }
    }

    /// Whether this is a place where a run of `config` stops: no phase is cut in two.
    ///
    /// # Errors
    /// Says what does not fit.
    pub fn check_step(&self, dir: &Path, config: &RunConfig) -> Result<()> {
        let (step, shown) = (self.global_step, dir.display());
        let phase = config.updates_per_phase();
        ensure!(
            step.is_multiple_of(phase),
            "{shown} is of step {step}, which is in the middle of a phase of {phase} updates \
             (num_iterations of its algorithm): go on from another checkpoint"
        );
        Ok(())
    }
}

/// Whether a checkpoint is what was written, and of the step that it is named after, before anything of it is used.
///
/// # Errors
/// [`Damage`]; files that cannot be read.
pub fn check(dir: &Path) -> Result<()> {
    verify(dir)?;
    let state = TrainerState::load(dir)?;
    match checkpoint_step(dir).filter(|&named| named != state.global_step) {
        None => Ok(()),
        Some(named) => Err(Damage {
            path: dir.to_owned(),
            what: format!(
                "it is named after step {named}, but its {STATE_FILE} says global_step {}: it was renamed or put together \
                 from two",
                state.global_step
            ),
        }
        .into()),
    }
}

/// Deletes the checkpoints of these steps.
///
/// # Errors
/// Names the folder.
pub fn prune(run: &RunDir, steps: &[usize]) -> Result<()> {
    for old in steps.iter().map(|&step| run.checkpoint(step)) {
        remove_folder(&old).with_context(|| format!("cannot delete the old checkpoint {}", old.display()))?;
    }
    Ok(())
}

/// Writes a checkpoint folder.
///
/// Everything goes to a temporary folder that is flushed and renamed at the end, so a folder of that name is always
/// complete.
///
/// # Errors
/// Names the folder.
pub fn write_folder(run: &RunDir, dir: &Path, trainer: &Trainer, state: &TrainerState) -> Result<()> {
    let write = || -> Result<()> {
        let new = NewFolder::replacing(dir)?;
        write(run, new.path(), trainer, state)?;
        seal(new.path(), state.global_step)?;
        Ok(new.finish()?)
    };
    write().with_context(|| format!("cannot write the checkpoint {}", dir.display()))
}

/// Writes the card and the state of a checkpoint again, for figures that were taken after it.
///
/// # Errors
/// Names the file.
pub fn renew(run: &RunDir, dir: &Path, trainer: &Trainer, state: &TrainerState) -> Result<()> {
    for (name, text) in texts(run, trainer, state)? {
        rewrite(dir, name, &text)?;
    }
    Ok(())
}

/// Notes in a checkpoint how the evaluations compare by now.
///
/// # Errors
/// Names the file.
pub fn note(dir: &Path, standing: Standing) -> Result<()> {
    let state = TrainerState::load(dir)?;
    if state.standing == standing {
        return Ok(());
    }
    rewrite(dir, STATE_FILE, &TrainerState { standing, ..state }.text()?)
}

/// The files of a checkpoint that are texts of its own.
fn texts(run: &RunDir, trainer: &Trainer, state: &TrainerState) -> Result<[(&'static str, String); 2]> {
    Ok([(CARD_FILE, card::text(run, trainer, state)), (STATE_FILE, state.text()?)])
}

fn write(run: &RunDir, dir: &Path, trainer: &Trainer, state: &TrainerState) -> Result<()> {
    trainer.save_weights(dir)?;
    let tensors = trainer.optimizer.state_tensors()?;
    write_safetensors(&dir.join(OPTIMIZER_FILE), &tensors, &[])?;
    for (name, text) in texts(run, trainer, state)? {
        std::fs::write(dir.join(name), text)?;
    }
    Ok(())
}

/// Puts a checkpoint's weights and optimiser state into a trainer.
///
/// # Errors
/// Names what does not fit: tensors of another model, numbers that are not finite.
pub fn restore(dir: &Path, trainer: &mut Trainer, state: &TrainerState) -> Result<()> {
    trainer.load_weights(dir)?;
    let files = WeightFiles::open_file(&dir.join(OPTIMIZER_FILE))?;
    trainer.load_optimizer(&files, state.global_step).with_context(|| format!("cannot go on from {}", dir.display()))
}
