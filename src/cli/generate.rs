//! The arguments of `spg generate`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use spg::config::{self, Assignment, Command, GenerateRequest, Overrides, PromptSource};
use spg::error::Usage;
use spg::model::{ADAPTER_CONFIG, AdapterConfig};

use super::SetArgs;
use super::formats::WhichName;

/// Arguments of `spg generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// A run folder, one of its checkpoints, or a plain model folder
    #[arg(long, value_name = "DIR")]
    ckpt: PathBuf,
    /// Which checkpoint of a run folder; by default the last, or the best if the run was made with
    /// train.load_best_model_at_end
    #[arg(long, value_enum, value_name = "WHICH")]
    which: Option<WhichName>,
    /// Configuration file; by default the one in the run folder, else the defaults
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    set: SetArgs,
    /// What to complete
    #[arg(long, short, value_name = "TEXT", required_unless_present = "file", conflicts_with = "file")]
    prompt: Option<String>,
    /// A file to complete: .jsonl has a prompt or a conversation a line, {"prompt": ..} or {"messages": [{"role": ..,
    /// "content": ..}, ..]}; any other is one prompt; - is standard input
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// System message of conversations that have none
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Completions of every prompt
    #[arg(long, value_name = "N", default_value = "1")]
    samples: NonZeroUsize,
    /// Sampling temperature, instead of rollout.temperature; 0 is greedy
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,
    /// Length of the completion canvas in tokens, instead of rollout.max_completion_length
    #[arg(long, value_name = "N")]
    max_completion_length: Option<usize>,
    /// Tokens in a block, instead of rollout.block_length
    #[arg(long, value_name = "N")]
    block_length: Option<usize>,
    /// Denoising steps of a completion, instead of rollout.diffusion_steps
    #[arg(long, value_name = "N")]
    diffusion_steps: Option<usize>,
    /// Seed, instead of run.seed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
    /// Use the base model, without the checkpoint
    #[arg(long)]
    base: bool,
    /// Draw the canvas on the terminal while it is denoised, one completion after the other
    #[arg(long)]
    watch: bool,
    /// Print a JSON line a completion
    #[arg(long)]
    json: bool,
}

/// What the help text says after the options.
pub const GENERATE_HELP: &str = "\
Every key of [rollout] can be set, such as --set rollout.cache=dual or --set rollout.cfg_scale=1.5.

Examples:
  spg generate --ckpt runs/gsm8k --prompt 'What is 7 times 8?' --watch
  spg generate --ckpt examples/sudoku-tiny --prompt 0204032001400102 --max-completion-length 40 --diffusion-steps 40 --block-length 40";

/// The model that a folder without a configuration is about: the one its adapter was made for, else itself.
fn base_model(ckpt: &Path) -> anyhow::Result<String> {
    if !ckpt.join(ADAPTER_CONFIG).is_file() {
        return Ok(ckpt.display().to_string());
    }
    AdapterConfig::load(ckpt)?.base_model_name_or_path.filter(|name| !name.is_empty()).ok_or_else(|| {
        let text = format!("{} names no base model: add --set model.name_or_path=MODEL", ckpt.display());
        Usage(text).into()
    })
}

impl GenerateArgs {
    /// The request to the library.
    ///
    /// # Errors
    /// A configuration that is refused.
    pub fn request(self) -> anyhow::Result<GenerateRequest> {
        let mut overrides = Overrides { seed: self.seed, ..self.set.overrides() };
        let flags = [
            ("temperature", self.temperature.map(|t| format!("{t:?}"))),
            ("max_completion_length", self.max_completion_length.map(|n| n.to_string())),
            ("block_length", self.block_length.map(|n| n.to_string())),
            ("diffusion_steps", self.diffusion_steps.map(|n| n.to_string())),
        ];
        for (key, value) in flags.into_iter().filter_map(|(key, value)| Some((key, value?))) {
            let assignment: Assignment = format!("rollout.{key}={value}").parse().map_err(anyhow::Error::msg)?;
            overrides.set.push(assignment);
        }
        // no program that a configuration names is run, so one that was found needs no leave
        let found = self.config.or_else(|| config::near_checkpoint(&self.ckpt));
        let config = match found {
            Some(file) => config::load(&file, &overrides, Command::Eval)?,
            None => config::for_model(&base_model(&self.ckpt)?, &overrides)?,
        };
        let prompts = match (self.prompt, self.file) {
            (Some(text), _) => PromptSource::Text(text),
            (None, file) => PromptSource::File(file.unwrap_or_else(|| "-".into())),
        };
        config::check_bound("num_samples", self.samples.get() as u64)
            .map_err(|too_large| Usage(format!("--samples {too_large}")))?;
        let which = self.which.map(Into::into);
        let Self { ckpt: checkpoint, system, samples, base, watch, json, .. } = self;
        Ok(GenerateRequest { checkpoint, which, config, prompts, system, samples, base, watch, json })
    }
}
