//! The configuration file, table by table, exactly as a user writes it.
//!
//! Every table refuses unknown keys. Leaf names are TRL's and the reference's where those exist.
//! What needs more than one key to be checked is checked in `resolve`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::types::*;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// Where the run writes and which seed it uses.
    pub run: RunTable,
    /// The base model.
    pub model: ModelTable,
    /// The adapters.
    #[serde(default)]
    pub lora: LoraTable,
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

/// `[model]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelTable {
    /// A folder in Hugging Face layout, or a hub id such as `GSAI-ML/LLaDA-8B-Instruct`.
    pub name_or_path: String,
    /// Revision of a hub model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Working precision.
    #[serde(default)]
    pub dtype: Precision,
    /// `auto`, `cpu`, `cuda`, `cuda:N` or `metal`.
    #[serde(default = "default_device")]
    pub device: String,
    /// Start from random weights instead of the folder's (`spg sft` only): the folder then needs
    /// only `config.json` and the tokenizer files.
    #[serde(default)]
    pub random_init: bool,
}

/// `[lora]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraTable {
    /// Rank.
    pub r: NonZeroUsize,
    /// The update is scaled by `lora_alpha / r`.
    pub lora_alpha: Positive,
    /// Dropout on the adapter's input while training.
    pub lora_dropout: ProperFraction,
    /// Preset or list of layer names.
    pub target_modules: TargetModules,
    /// A PEFT adapter folder to start from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_from: Option<PathBuf>,
}

/// `[task.<name>]`: exactly one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskTable {
    /// 4x4 Sudoku, generated from a seed.
    Sudoku(SudokuTable),
}

/// `[task.sudoku]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SudokuTable {
    /// Seed of the grids' split and of the puzzles (kept apart from the run's seed so that runs with
    /// different seeds see the same held-out set).
    pub data_seed: u64,
    /// Grids (of the 288) used for training; the others are held out.
    pub train_grids: NonZeroUsize,
    /// Puzzles made from every training grid.
    pub puzzles_per_train_grid: NonZeroUsize,
    /// Puzzles made from every held-out grid.
    pub puzzles_per_eval_grid: NonZeroUsize,
    /// Fewest empty cells of a puzzle.
    pub min_empty_cells: NonZeroUsize,
    /// Most empty cells of a puzzle.
    pub max_empty_cells: NonZeroUsize,
    /// Worked examples shown before the puzzle.
    pub few_shot: usize,
    /// Jinja template of the prompt with `puzzle` and `examples` (a list of `puzzle`, `solution`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_template: Option<String>,
    /// Jinja template of a demonstration with `puzzle` and `answer`, for `spg sft`.
    pub demonstration_template: String,
    /// Probability that a demonstration solves the puzzle.
    pub demonstration_solve: Fraction,
    /// Probability that an unsolved demonstration fills an empty cell (rightly) all the same.
    pub demonstration_fill: Fraction,
}

/// `[rollout]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutTable {
    /// Length of the completion canvas in tokens.
    pub max_completion_length: NonZeroUsize,
    /// Tokens in a block; divides the canvas.
    pub block_length: NonZeroUsize,
    /// Denoising steps for the whole canvas; a multiple of the number of blocks.
    pub diffusion_steps: NonZeroUsize,
    /// Sampling temperature; 0 is greedy.
    #[serde(default = "default_temperature")]
    pub temperature: NonNegative,
    /// Which candidates are committed.
    #[serde(default)]
    pub remasking: Remasking,
    /// Classifier-free guidance; 0 is off.
    #[serde(default = "default_cfg_scale")]
    pub cfg_scale: NonNegative,
    /// Longest prompt in tokens.
    #[serde(default = "default_max_prompt_length")]
    pub max_prompt_length: NonZeroUsize,
    /// Keep the last tokens of a longer prompt instead of skipping it.
    #[serde(default)]
    pub truncate_prompts: bool,
    /// Completions decoded together.
    #[serde(default = "default_rollout_batch")]
    pub batch_size: NonZeroUsize,
}

/// `[algorithm.<name>]`: exactly one algorithm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlgorithmTable {
    /// Sandwiched Policy Gradient.
    Spg(SpgTable),
}

/// `[algorithm.spg]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpgTable {
    /// Completions per prompt, g.
    pub num_generations: NonZeroUsize,
    /// Optimiser updates on the same completions, mu.
    pub num_iterations: NonZeroUsize,
    /// Surrogate for negative advantages.
    pub negative_estimator: NegativeEstimator,
    /// Weight of the upper bound in the mixture, omega.
    pub mix_weight: Fraction,
    /// Order of the Rényi bound.
    pub beta: RenyiOrder,
    /// Masking.
    pub forward_type: ForwardType,
    /// Monte-Carlo masks per completion, M.
    pub num_t: NonZeroUsize,
    /// Least fraction of a block (or completion) that is masked.
    pub min_t: Fraction,
    /// Largest fraction of a block (or completion) that is masked.
    pub max_t: Fraction,
    /// Probability of masking a token that would stay clean before the chosen block.
    pub p_mask_prompt: Fraction,
    /// Which masked tokens are scored.
    pub scope: Scope,
}

/// `[sft]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SftTable {
    /// What is trained.
    #[serde(default)]
    pub trainable: Trainable,
    /// Demonstrations per optimiser update.
    pub batch_size: NonZeroUsize,
}

/// `[train]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainTable {
    /// Optimiser updates of the run.
    pub max_steps: NonZeroUsize,
    /// Prompts per rollout phase (`spg train`).
    #[serde(default = "default_prompts")]
    pub prompts_per_step: NonZeroUsize,
    /// Completions (or demonstrations) whose gradient is computed at once; the result does not depend on it.
    #[serde(default = "default_micro_batch")]
    pub micro_batch_size: NonZeroUsize,
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
}

/// `[eval]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvalTable {
    /// Updates between evaluations; 0 evaluates only at the start and at the end.
    pub eval_steps: usize,
    /// Temperatures at which the held-out set is decoded.
    pub temperatures: Vec<NonNegative>,
    /// Completions decoded together.
    pub batch_size: NonZeroUsize,
    /// Only the first records of the held-out set; 0 takes all.
    pub limit: usize,
    /// Seed of sampled evaluations (kept apart from the run's seed so that runs are compared on the same draws).
    pub seed: u64,
}

/// The default of a count. Zero is written nowhere below.
pub(super) const fn count(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).expect("a default count above zero")
}

macro_rules! number {
    ($value:expr) => {
        $value.try_into().expect("a default within its range")
    };
}

fn default_seed() -> u64 {
    42
}
fn default_device() -> String {
    "auto".into()
}
fn default_temperature() -> NonNegative {
    number!(0.9)
}
fn default_cfg_scale() -> NonNegative {
    number!(0.0)
}
fn default_max_prompt_length() -> NonZeroUsize {
    count(200)
}
fn default_rollout_batch() -> NonZeroUsize {
    count(48)
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
fn default_save_limit() -> NonZeroUsize {
    count(3)
}

impl Default for LoraTable {
    fn default() -> Self {
        Self {
            r: count(128),
            lora_alpha: number!(64.0),
            lora_dropout: number!(0.05),
            target_modules: TargetModules::Preset(TargetPreset::Paper),
            init_from: None,
        }
    }
}

impl Default for SudokuTable {
    fn default() -> Self {
        Self {
            data_seed: 0,
            train_grids: count(200),
            puzzles_per_train_grid: count(50),
            puzzles_per_eval_grid: count(1),
            min_empty_cells: count(8),
            max_empty_cells: count(8),
            few_shot: 0,
            prompt_template: None,
            demonstration_template: "<answer>{{ answer }}</answer>".into(),
            demonstration_solve: number!(0.3),
            demonstration_fill: number!(0.35),
        }
    }
}

impl Default for SpgTable {
    fn default() -> Self {
        Self {
            num_generations: count(6),
            num_iterations: count(4),
            negative_estimator: NegativeEstimator::Mix,
            mix_weight: number!(0.5),
            beta: number!(1.5),
            forward_type: ForwardType::BlockRandom,
            num_t: count(2),
            min_t: number!(0.0),
            max_t: number!(1.0),
            p_mask_prompt: number!(0.15),
            scope: Scope::AllMasked,
        }
    }
}

impl Default for EvalTable {
    fn default() -> Self {
        Self { eval_steps: 100, temperatures: vec![number!(0.0)], batch_size: count(48), limit: 0, seed: 0 }
    }
}
