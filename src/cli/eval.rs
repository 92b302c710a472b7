//! The arguments of `spg eval`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use spg::config::{self, Command, EvalOverrides, EvalRequest, Order, Overrides, Remasking, Split};
use spg::error::Usage;

use super::SetArgs;
use super::data::SplitName;
use super::formats::WhichName;

/// Arguments of `spg eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// A run folder, one of its checkpoints, or a plain model folder
    #[arg(long, value_name = "DIR")]
    ckpt: PathBuf,
    /// Which checkpoint of a run folder; by default the last, or the best if the run was made with
    /// train.load_best_model_at_end
    #[arg(long, value_enum, value_name = "WHICH")]
    which: Option<WhichName>,
    /// Configuration file; by default the one in the run folder. A plain model folder has none, so it needs this
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Run the reward command that the configuration in the run folder names: a program, on this machine, as you. One
    /// that --config or --set names needs no leave
    #[arg(long)]
    allow_reward_command: bool,
    #[command(flatten)]
    set: SetArgs,
    /// Evaluate the base model too and show both side by side
    #[arg(long)]
    base: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Folder for result files, instead of eval/ in the run folder of the checkpoint
    #[arg(long, short, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// The records to decode, instead of eval.split; take final figures on test, once
    #[arg(long, value_enum, value_name = "SPLIT")]
    split: Option<SplitName>,
    /// Only the first N records of the split, instead of eval.limit; 0 takes all
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Completions decoded together, instead of eval.batch_size; changes speed and memory, not the result
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Completions of every record, instead of eval.num_samples; above 1 the figures include pass@1 to pass@N
    #[arg(long, value_name = "N")]
    samples: Option<usize>,
    /// Sampling temperature, instead of eval.temperatures; 0 is greedy; may be repeated
    #[arg(long, value_name = "T", help_heading = SETTINGS)]
    temperature: Vec<f64>,
    /// Length of the completion canvas, tokens; may be repeated
    #[arg(long, value_name = "N", help_heading = SETTINGS)]
    max_completion_length: Vec<usize>,
    /// Tokens in a block; may be repeated
    #[arg(long, value_name = "N", help_heading = SETTINGS)]
    block_length: Vec<usize>,
    /// Which candidates a step commits; may be repeated
    #[arg(long, value_enum, value_name = "RULE", help_heading = SETTINGS)]
    remasking: Vec<RemaskingName>,
    /// Block after block, or the whole canvas as one block; may be repeated
    #[arg(long, value_enum, value_name = "ORDER", help_heading = SETTINGS)]
    order: Vec<OrderName>,
}

const SETTINGS: &str = "Settings to compare";

/// What the help text says after the options.
pub const EVAL_HELP: &str = "\
Every combination of the settings is decoded; those that are not given are those of [eval], or of [rollout]. The tokens a
denoising step commits are the rollout's at every setting. Results are written as lm-evaluation-harness writes them:
DIR/<model>/results_<time>.json and samples_<task>-<setting>_<time>.jsonl, which `spg grade` reads.";

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum RemaskingName {
    LowConfidence,
    Random,
    Margin,
    NegEntropy,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OrderName {
    Block,
    Canvas,
}

impl EvalArgs {
    /// The request to the library.
    ///
    /// # Errors
    /// A checkpoint without a configuration, or a configuration that is refused.
    pub fn request(self) -> anyhow::Result<EvalRequest> {
        let eval = EvalOverrides {
            split: self.split.map(Split::from),
            limit: self.limit,
            batch_size: self.batch_size,
            num_samples: self.samples,
            temperatures: self.temperature,
            max_completion_length: self.max_completion_length,
            block_length: self.block_length,
            remasking: self.remasking.into_iter().map(Remasking::from).collect(),
            order: self.order.into_iter().map(Order::from).collect(),
        };
        let overrides = Overrides { eval, ..self.set.overrides() };
        let config = match &self.config {
            Some(named) => config::load(named, &overrides, Command::Eval)?,
            None => {
                let found = config::near_checkpoint(&self.ckpt).ok_or_else(|| no_config(&self.ckpt))?;
                config::load_found(&found, &overrides, Command::Eval, self.allow_reward_command)?
            }
        };
        let which = self.which.map(Into::into);
        let Self { ckpt: checkpoint, base, output_dir, json, .. } = self;
        Ok(EvalRequest { config, checkpoint, which, base, output_dir, json })
    }
}

fn no_config(ckpt: &Path) -> Usage {
    Usage(format!(
        "{} is neither a run folder nor one of its checkpoints (there is no {} in it, nor above it if it is called \
         {}N): add --config FILE",
        ckpt.display(),
        config::RESOLVED_FILE,
        config::CHECKPOINT
    ))
}

impl From<RemaskingName> for Remasking {
    fn from(name: RemaskingName) -> Self {
        match name {
            RemaskingName::LowConfidence => Self::LowConfidence,
            RemaskingName::Random => Self::Random,
            RemaskingName::Margin => Self::Margin,
            RemaskingName::NegEntropy => Self::NegEntropy,
        }
    }
}

impl From<OrderName> for Order {
    fn from(name: OrderName) -> Self {
        match name {
            OrderName::Block => Self::Block,
            OrderName::Canvas => Self::Canvas,
        }
    }
}
