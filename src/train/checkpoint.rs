//! Checkpoints: trained weights, optimiser state and counters, written whole or not at all.
//!
//! There is no generator state: every random number is keyed by its place, so the step is all that is needed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::run_dir::RunDir;
use super::trainer::Trainer;
use crate::config::Command;
use crate::model::{WeightFiles, write_safetensors};

const STATE_FILE: &str = "trainer_state.json";
const OPTIMIZER_FILE: &str = "optimizer.safetensors";

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
}

impl TrainerState {
    /// Reads the state of a checkpoint folder.
    ///
    /// # Errors
    /// Names the file.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join(STATE_FILE);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{} is not a checkpoint: cannot read {STATE_FILE}", dir.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
    }
}

/// Writes the checkpoint of `state.global_step` and deletes the oldest ones beyond `keep`.
///
/// Everything goes to a temporary folder that is renamed at the end, so a folder named `checkpoint-<step>` is
/// always complete.
///
/// # Errors
/// Names the folder.
pub fn save(run: &RunDir, trainer: &Trainer, state: &TrainerState, keep: usize) -> Result<PathBuf> {
    let dir = run.checkpoint(state.global_step);
    let temporary = dir.with_extension("tmp");
    write(&temporary, trainer, state)
        .and_then(|()| {
            remove_if_there(&dir)?;
            std::fs::rename(&temporary, &dir)?;
            sync_folder(run.root())
        })
        .with_context(|| format!("cannot write the checkpoint {}", dir.display()))?;
    let all = run.checkpoints();
    for (_, old) in &all[..all.len().saturating_sub(keep)] {
        std::fs::remove_dir_all(old).with_context(|| format!("cannot delete the old checkpoint {}", old.display()))?;
    }
    Ok(dir)
}

fn write(dir: &Path, trainer: &Trainer, state: &TrainerState) -> Result<()> {
    remove_if_there(dir)?;
    std::fs::create_dir(dir)?;
    trainer.save_weights(dir)?;
    let tensors = trainer.optimizer.state_tensors()?;
    write_safetensors(&dir.join(OPTIMIZER_FILE), &tensors, &[])?;
    let path = dir.join(STATE_FILE);
    std::fs::write(&path, serde_json::to_string_pretty(state)? + "\n")?;
    std::fs::File::open(&path)?.sync_all()?;
    sync_folder(dir)
}

/// Makes names in a folder last; folders cannot be opened as files everywhere.
fn sync_folder(dir: &Path) -> Result<()> {
    if cfg!(unix) {
        std::fs::File::open(dir)?.sync_all()?;
    }
    Ok(())
}

fn remove_if_there(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    }
}

/// Puts a checkpoint's weights and optimiser state into a trainer and returns its state.
///
/// # Errors
/// Names what does not fit: another command's or seed's checkpoint, tensors of another model.
pub fn restore(dir: &Path, trainer: &mut Trainer, command: Command, seed: u64) -> Result<TrainerState> {
    let state = TrainerState::load(dir)?;
    ensure!(
        state.command == command.name(),
        "{} was written by spg {}, not spg {}",
        dir.display(),
        state.command,
        command.name()
    );
    if state.seed != seed {
        tracing::warn!("the checkpoint is of seed {}, this run's is {seed}: later draws differ", state.seed);
    }
    trainer.load_weights(dir)?;
    let files = WeightFiles::open_file(&dir.join(OPTIMIZER_FILE))?;
    trainer.load_optimizer(&files, state.global_step)?;
    Ok(state)
}
