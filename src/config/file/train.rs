//! `[train]`, `[sft]` and `[eval]`: the loops.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::count;
use crate::config::types::*;

/// `[train]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainTable {
    /// What is trained.
    #[serde(default)]
    pub trainable: Trainable,
    /// Optimiser updates of the run.
    pub max_steps: NonZeroUsize,
    /// Prompts per rollout phase (`spg train`).
    #[serde(default = "default_prompts")]
    pub prompts_per_step: NonZeroUsize,
    /// Completions (or demonstrations) whose gradient is computed at once; the result does not depend on it.
    #[serde(default = "default_micro_batch")]
    pub micro_batch_size: NonZeroUsize,
    /// Which activations are kept for the backward pass; the result does not depend on it.
    #[serde(default)]
    pub activation_checkpointing: ActivationCheckpointing,
    /// Peak learning rate.
    pub learning_rate: Positive,
    /// Schedule after the warm-up.
    #[serde(default)]
    pub lr_scheduler_type: LrSchedulerType,
    /// Part of the run over which the rate rises linearly from zero.
    #[serde(default = "default_warmup_ratio")]
    pub warmup_ratio: Fraction,
    /// AdamW's first decay.
    #[serde(default = "default_beta1")]
    pub adam_beta1: ProperFraction,
    /// AdamW's second decay.
    #[serde(default = "default_beta2")]
    pub adam_beta2: ProperFraction,
    /// AdamW's epsilon.
    #[serde(default = "default_epsilon")]
    pub adam_epsilon: Positive,
    /// Decoupled weight decay.
    #[serde(default = "default_weight_decay")]
    pub weight_decay: NonNegative,
    /// Largest global gradient norm; 0 turns clipping off.
    #[serde(default = "default_max_grad_norm")]
    pub max_grad_norm: NonNegative,
    /// Updates between checkpoints.
    #[serde(default = "default_save_steps")]
    pub save_steps: NonZeroUsize,
    /// Checkpoints kept; the oldest are deleted.
    #[serde(default = "default_save_limit")]
    pub save_total_limit: NonZeroUsize,
    /// The held-out figure by which checkpoints are compared.
    pub metric_for_best_model: Option<String>,
    /// Whether more of it is better.
    pub greater_is_better: Option<bool>,
    /// Whether the run folder stands for its best checkpoint, not for its last.
    #[serde(default)]
    pub load_best_model_at_end: bool,
    /// Evaluations in a row without an improvement after which the run ends.
    pub early_stopping_patience: Option<NonZeroUsize>,
    /// What an evaluation must be better by than the best one, to be an improvement.
    #[serde(default = "default_threshold")]
    pub early_stopping_threshold: NonNegative,
    /// In which order the gradients of a step are added up.
    #[serde(default)]
    pub gradient_sum: GradientSum,
    /// Updates between two looks at the parts of the gradient (`spg train`); 0: none.
    #[serde(default)]
    pub gradient_parts_steps: usize,
    /// Formats in which the figures are written beside `metrics.jsonl`.
    #[serde(default)]
    pub report_to: BTreeSet<Tracker>,
    /// The project that the run belongs to in trackio.
    #[serde(default = "default_project")]
    pub project: String,
    /// Whether completions are kept in the run folder.
    #[serde(default)]
    pub log_completions: bool,
    /// Updates between two looks at a few completions in the log (`spg train`); 0: none.
    #[serde(default)]
    pub log_completions_steps: usize,
    /// So many completions the log shows then.
    #[serde(default = "default_completions_to_print")]
    pub num_completions_to_print: NonZeroUsize,
}

/// In which order the gradients of a step are added up: it decides their last bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GradientSum {
    /// One after the other in full micro-batches, then over the processes.
    #[default]
    Running,
    /// Along a fixed tree over the step's prompts, whoever has them: the same bits for any number of processes.
    Tree,
}

/// A format that other programs show figures from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tracker {
    /// TensorBoard's event files, in the run folder.
    Tensorboard,
    /// The inbox of trackio on this machine.
    Trackio,
}

fn default_prompts() -> NonZeroUsize {
    count(16)
}

fn default_micro_batch() -> NonZeroUsize {
    count(8)
}

fn default_warmup_ratio() -> Fraction {
    number!(1e-4)
}

fn default_beta1() -> ProperFraction {
    number!(0.9)
}

fn default_beta2() -> ProperFraction {
    number!(0.99)
}

fn default_epsilon() -> Positive {
    number!(1e-8)
}

fn default_weight_decay() -> NonNegative {
    number!(0.1)
}

fn default_max_grad_norm() -> NonNegative {
    number!(0.2)
}

fn default_save_steps() -> NonZeroUsize {
    count(100)
}

fn default_completions_to_print() -> NonZeroUsize {
    count(4)
}

fn default_threshold() -> NonNegative {
    number!(0.0)
}

fn default_project() -> String {
    "spg".to_owned()
}

fn default_save_limit() -> NonZeroUsize {
    count(3)
}

/// `[sft]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SftTable {
    /// Demonstrations per optimiser update.
    pub batch_size: NonZeroUsize,
}

/// `[eval]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvalTable {
    /// Updates between evaluations; 0 evaluates only at the start and at the end.
    pub eval_steps: usize,
    /// The records that are decoded: `validation` while training, `test` for final figures (`spg eval` only).
    pub split: Split,
    /// Temperatures at which they are decoded.
    pub temperatures: Vec<NonNegative>,
    /// Lengths of the completion canvas in tokens; none: the rollout's.
    pub max_completion_length: Option<Vec<NonZeroUsize>>,
    /// Block lengths in tokens; none: the rollout's.
    pub block_length: Option<Vec<NonZeroUsize>>,
    /// Which candidates are committed; none: the rollout's.
    pub remasking: Option<Vec<Remasking>>,
    /// In which order the canvas is filled.
    pub order: Vec<Order>,
    /// Completions of every record, for pass@k.
    pub num_samples: NonZeroUsize,
    /// Completions decoded together.
    pub batch_size: NonZeroUsize,
    /// Only the first records of the split; 0 takes all.
    pub limit: usize,
    /// Seed of sampled evaluations (kept apart from the run's seed so that runs are compared on the same draws).
    pub seed: u64,
}

impl Default for EvalTable {
    fn default() -> Self {
        Self {
            eval_steps: 100,
            split: Split::Validation,
            temperatures: vec![number!(0.0)],
            max_completion_length: None,
            block_length: None,
            remasking: None,
            order: vec![Order::Block],
            num_samples: count(1),
            batch_size: count(48),
            limit: 0,
            seed: 0,
        }
    }
}
