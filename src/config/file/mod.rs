//! The configuration file, table by table, exactly as a user writes it.
//!
//! Every table refuses unknown keys. Leaf names are TRL's and the reference's where those exist.
//! Ranges of single values are part of their types (`types`); what needs more than one key is checked in `check`.

/// The default of a bounded number; a test constructs every one of them.
macro_rules! number {
    ($value:expr) => {
        $value.try_into().expect("a default within its range")
    };
}

mod algorithm;
mod data;
mod model;
mod puzzles;
mod reward;
mod rollout;
mod task;
mod train;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::best::BestModel;
use super::types::Trainable;

#[cfg(test)]
pub(crate) use algorithm::guide;
pub use algorithm::*;
pub use data::*;
pub use model::*;
pub use puzzles::*;
pub use reward::{LARGEST_REWARD, RewardCommandTable, RewardWeights, VariableName};
pub use rollout::*;
pub use task::*;
pub use train::*;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// Where the run writes and which seed it uses.
    pub run: RunTable,
    /// The base model.
    pub model: ModelTable,
    /// The adapters; not read where all weights are trained.
    pub lora: Option<LoraTable>,
    /// The task, one table named after it.
    pub task: TaskTable,
    /// How completions are decoded.
    pub rollout: RolloutTable,
    /// The reinforcement-learning algorithm; required by `spg train`.
    pub algorithm: Option<AlgorithmTable>,
    /// Supervised fine-tuning; required by `spg sft`.
    pub sft: Option<SftTable>,
    /// Optimisation and checkpoints.
    pub train: TrainTable,
    /// Held-out evaluation.
    #[serde(default)]
    pub eval: EvalTable,
}

impl ConfigFile {
    /// The file with everything written out that `[lora]` decides (nothing, where all weights are trained), and with what
    /// checkpoints are compared by.
    pub(in crate::config) fn resolved(mut self) -> Self {
        if let Ok(Some(best)) = BestModel::of(&self) {
            self.train.metric_for_best_model = Some(best.metric);
            self.train.greater_is_better = Some(best.greater_is_better);
        }
        let lora = match self.train.trainable {
            Trainable::Adapters => Some(self.lora.unwrap_or_default().resolved()),
            Trainable::All => None,
        };
        Self { lora, ..self }
    }
}

/// `[run]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunTable {
    /// Folder for the resolved config, metrics and checkpoints.
    pub output_dir: PathBuf,
    /// Seed of every random number of the run.
    #[serde(default = "default_seed")]
    pub seed: u64,
}

/// The default of a count. Zero is written nowhere.
const fn count(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).expect("a default count above zero")
}

fn default_seed() -> u64 {
    42
}
