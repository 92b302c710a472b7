//! What a subcommand was asked to do, once its arguments and its file have been resolved.
//!
//! The command line builds these; the loops read them and know nothing of arguments.

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use super::{
    ActivationCheckpointing, Assignment, Axis, Benchmark, BlockFormat, CacheKind, DeviceSpec, ModelFacts, Positive,
    Precision, ProperFraction, RunConfig, Split, TaskTable,
};

/// `spg train` and `spg sft`.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRequest {
    /// The run.
    pub config: RunConfig,
    /// Go on from a checkpoint instead of starting in a new folder.
    pub resume: Option<Resume>,
    /// Resolve, load, decode one prompt, count parameters; take no step and write nothing.
    pub dry_run: bool,
    /// Start also what is estimated to take more memory than there is.
    pub force: bool,
    /// With a dry run: memory in GiB, for which to say the largest batches.
    pub memory_gib: Option<Positive>,
    /// With a dry run: a number of processes, for which to say what each would take.
    pub world: Option<NonZeroUsize>,
}

/// Where to continue from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resume {
    /// The last checkpoint of the output folder.
    Auto,
    /// This checkpoint folder.
    From(PathBuf),
}

impl FromStr for Resume {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == "auto" { Self::Auto } else { Self::From(text.into()) })
    }
}

/// The checkpoint that a run folder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// That of the best evaluation.
    Best,
    /// That of the last update.
    Last,
}

impl Which {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Best => "best",
            Self::Last => "last",
        }
    }
}

/// `spg eval`.
#[derive(Clone, Debug, PartialEq)]
pub struct EvalRequest {
    /// A run folder, a checkpoint folder or a plain model folder.
    pub checkpoint: PathBuf,
    /// Which checkpoint of a run folder; none: the one that its configuration says.
    pub which: Option<Which>,
    /// The configuration: the one asked for, or the one that lies beside the checkpoint.
    pub config: RunConfig,
    /// Evaluate the base model too and show both side by side.
    pub base: bool,
    /// Where result files go; none: into the run folder, if there is one.
    pub output_dir: Option<PathBuf>,
    /// Print JSON instead of a table.
    pub json: bool,
}

/// `spg generate`.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateRequest {
    /// A run folder, a checkpoint folder or a plain model folder.
    pub checkpoint: PathBuf,
    /// Which checkpoint of a run folder; none: the one that its configuration says.
    pub which: Option<Which>,
    /// The configuration: base model, decoding, seed.
    pub config: RunConfig,
    /// What to complete.
    pub prompts: PromptSource,
    /// What comes before every conversation that has no system message of its own.
    pub system: Option<String>,
    /// Completions of every prompt.
    pub samples: NonZeroUsize,
    /// Use the base model without the checkpoint's adapters.
    pub base: bool,
    /// Draw the canvas while it is filled.
    pub watch: bool,
    /// Print a JSON line a completion instead of text.
    pub json: bool,
}

/// Where prompts come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromptSource {
    /// The command line.
    Text(String),
    /// A file: JSON lines if it is called so, else one prompt. `-` is standard input, JSON lines if it begins with a brace.
    File(PathBuf),
}

/// `spg grade`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GradeRequest {
    /// The task whose graders to use.
    pub task: Benchmark,
    /// Files with completions; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// Where to write a line a completion with its answer, verdict and rewards.
    pub details: Option<PathBuf>,
    /// Replace that file.
    pub force: bool,
    /// What the prompt held of every completion already, for the training rewards; by default it depends on the row.
    pub prefill: Option<String>,
    /// Print JSON instead of a table.
    pub json: bool,
}

/// `spg verify`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyRequest {
    /// The folder with the golden tensors.
    pub dir: PathBuf,
    /// The device to check.
    pub device: DeviceSpec,
    /// Compare the model with this adapter with the logits in the adapter's folder, instead of with golden tensors.
    pub adapter: Option<PathBuf>,
    /// Compare the model kept in this way with itself in f32, instead of with golden tensors.
    pub precision: Option<PrecisionRequest>,
    /// Print JSON instead of a line an item.
    pub json: bool,
}

/// How the weights of a model are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrecisionRequest {
    /// Working precision.
    pub dtype: Precision,
    /// Keep the matrices in blocks of this format.
    pub quantize: Option<BlockFormat>,
    /// Read the weights from this file.
    pub gguf_file: Option<PathBuf>,
}

/// `spg data show`.
#[derive(Clone, Debug, PartialEq)]
pub struct ShowDataRequest {
    /// The configuration whose prompts to show.
    pub config: RunConfig,
    /// Which of its records.
    pub split: Split,
    /// How many prompts to print; all are counted.
    pub count: usize,
    /// Print the ids of their tokens, too.
    pub ids: bool,
    /// Print JSON instead of text.
    pub json: bool,
}

/// `spg data sudoku` and `spg data countdown`.
#[derive(Clone, Debug, PartialEq)]
pub struct MakeDataRequest {
    /// The task that makes the records.
    pub task: TaskTable,
    /// Which of its records.
    pub split: Split,
    /// How many of them.
    pub count: NonZeroUsize,
    /// The file.
    pub out: PathBuf,
    /// Replace a file that exists.
    pub force: bool,
}

/// What `spg bench` times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BenchModel {
    /// A model folder or a hub id, and what the user says of it.
    Checkpoint(String, ModelFacts),
    /// The sizes in the `config.json` of one, with random weights.
    Random(String, ModelFacts),
    /// The sizes of a published model, with random weights.
    Shape(PublishedShape),
}

/// A published model whose sizes are known without its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishedShape {
    /// LLaDA-8B, Base and Instruct.
    Llada8b,
    /// Qwen3-0.6B made bidirectional (Tiny-A2D).
    A2d06b,
    /// LLaDA-MoE-7B-A1B, Base and Instruct.
    LladaMoe7b,
    /// LLaDA2.0-mini.
    Llada2Mini,
}

/// `spg bench`.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchRequest {
    /// The model.
    pub model: BenchModel,
    /// Completions decoded together, and completions of an update.
    pub batch: NonZeroUsize,
    /// Tokens of a prompt.
    pub prompt: NonZeroUsize,
    /// Tokens of a completion.
    pub gen_length: NonZeroUsize,
    /// Denoising steps of a completion.
    pub steps: NonZeroUsize,
    /// Tokens of a block.
    pub block: NonZeroUsize,
    /// What later steps of a block reuse of its first one.
    pub cache: CacheKind,
    /// Rank of the adapters.
    pub rank: NonZeroUsize,
    /// Dropout on the adapters' inputs in updates.
    pub dropout: ProperFraction,
    /// Working precision.
    pub dtype: Precision,
    /// Keep the matrices in blocks of this format.
    pub quantize: Option<BlockFormat>,
    /// Decode with merged adapters.
    pub merge_adapters: bool,
    /// The device.
    pub device: DeviceSpec,
    /// Time a rollout.
    pub rollout: bool,
    /// Updates to time.
    pub train: usize,
    /// Which activations an update keeps for its backward pass.
    pub activation_checkpointing: ActivationCheckpointing,
    /// Print JSON instead of text.
    pub json: bool,
}

/// `spg merge`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeRequest {
    /// A run folder, a checkpoint folder or a PEFT folder.
    pub checkpoint: PathBuf,
    /// Which checkpoint of a run folder; none: the one that its configuration says.
    pub which: Option<Which>,
    /// The folder to write.
    pub out: PathBuf,
    /// What the weights are rounded to; none: each stays as the base has it stored.
    pub dtype: Option<Precision>,
    /// Folder or hub id of the base model; none: the one that the adapter names.
    pub base: Option<String>,
}

/// `spg report`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportRequest {
    /// Run folders, or folders of runs.
    pub dirs: Vec<PathBuf>,
    /// The file to write; none: `report.html` in the folder, if it is one.
    pub out: Option<PathBuf>,
}

/// `spg sweep`.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepRequest {
    /// The configuration that all runs begin with: a file, or the name of a shipped one.
    pub config: PathBuf,
    /// What all runs change in it.
    pub set: Vec<Assignment>,
    /// What the points change in it; the last axis varies fastest.
    pub axes: Vec<Axis>,
    /// The seeds of every point; none: the configuration's.
    pub seeds: Vec<u64>,
    /// The folder of the run folders and the report.
    pub dir: PathBuf,
    /// What to do with the runs.
    pub action: SweepAction,
    /// What the report shows.
    pub report: SweepReportOptions,
}

/// What `spg sweep` does with its runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweepAction {
    /// Number them, with how far they are.
    List,
    /// Make them, so many at once.
    Run {
        /// Only this one of the list, from 1.
        only: Option<usize>,
        /// Processes at once.
        jobs: NonZeroUsize,
    },
}

/// What the report of a sweep shows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SweepReportOptions {
    /// The held-out reward whose updates and seconds are told; none: computed from the runs.
    pub threshold: Option<f64>,
    /// Phases over which the training reward is averaged; none: computed from their number.
    pub window: Option<NonZeroUsize>,
}
