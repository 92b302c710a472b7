//! The arguments of `spg merge`.

use std::path::PathBuf;

use clap::Args;
use spg::config::MergeRequest;

use super::formats::{PrecisionName, WhichName};

/// Arguments of `spg merge`.
#[derive(Debug, Args)]
pub struct MergeArgs {
    /// A run folder, one of its checkpoints, or a PEFT adapter folder
    #[arg(long, value_name = "DIR")]
    ckpt: PathBuf,
    /// Which checkpoint of a run folder; by default the last, or the best if the run was made with
    /// train.load_best_model_at_end
    #[arg(long, value_enum, value_name = "WHICH")]
    which: Option<WhichName>,
    /// The folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What the weights are rounded to; by default each stays as the base model has it
    #[arg(long, value_enum, value_name = "DTYPE")]
    dtype: Option<PrecisionName>,
    /// Folder or hub id of the base model, instead of the one that the adapter names
    #[arg(long, value_name = "MODEL")]
    base: Option<String>,
}

/// What the help text says after the options.
pub const MERGE_HELP: &str = "\
Writes a plain Hugging Face folder: W + scale * B A for every adapted layer, summed in f32 and rounded once, in files of at
most 5 GB, with the base model's configuration, tokenizer and chat template. It takes the memory of a few rows, whatever the
model's size. The folder can be evaluated, trained further, or given to other programs:

  spg merge --ckpt runs/gsm8k --out gsm8k-merged --dtype bf16
  spg eval  --ckpt gsm8k-merged --config runs/gsm8k/config.toml
  spg train --config gsm8k --set model.name_or_path=gsm8k-merged --output-dir runs/gsm8k-2";

impl MergeArgs {
    /// The request to the library.
    pub fn request(self) -> MergeRequest {
        let Self { ckpt: checkpoint, which, out, dtype, base } = self;
        MergeRequest { checkpoint, which: which.map(Into::into), out, dtype: dtype.map(Into::into), base }
    }
}
