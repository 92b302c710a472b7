//! What a command works with: model, tokenizer and task, opened from the configuration and checked together.

mod summary;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Error, Result, bail, ensure};
use candle_core::{DType, Device, DeviceLocation};
use rayon::prelude::*;

use crate::config::{Command, RunConfig, Split, TaskTable};
use crate::error::Usage;
use crate::model::source::ModelDir;
use crate::model::{Blocks, Decoder, Description, Sight, Weights, device, source};
use crate::rollout::Decoding;
use crate::signal::Stop;
use crate::task::{Attempt, Record, Task, TaskError};
use crate::text::{Prompt, PromptEncoder, TooLong};
use crate::world::World;

/// The key that says how long the canvases of training are.
pub const CANVAS_KEY: &str = "rollout.max_completion_length";
/// So many prompts take long enough to encode that the log says so.
const MANY: usize = 50_000;

/// Everything that is loaded once.
pub struct Session {
    /// The model, without adapters.
    pub model: Decoder,
    /// Tokenizer and chat template.
    pub encoder: PromptEncoder,
    /// Records, prompts, rewards, grades.
    pub task: Task,
    /// The folder the model came from.
    pub model_dir: PathBuf,
    /// The commit on the hub that the folder holds; none for a folder of the user's.
    pub model_commit: Option<String>,
    /// The file its weights came from, if they are not those of the folder.
    pub gguf_file: Option<PathBuf>,
    /// The processes that work on the same.
    pub world: World,
}

/// Where a model's weights come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The checkpoint's own.
    Checkpoint(Weights),
    /// Random numbers of this seed; all of them are trained.
    Random(u64),
}

/// Model and tokenizer, without a task.
pub struct Loaded {
    /// The model, without adapters.
    pub model: Decoder,
    /// Tokenizer and chat template.
    pub encoder: PromptEncoder,
    /// The folder the model came from.
    pub dir: ModelDir,
}

impl Loaded {
    /// Opens the frozen model that `config` names, or that of `dir`, which holds its own weights.
    ///
    /// # Errors
    /// Names the file or key that is wrong.
    pub fn open(config: &RunConfig, dir: Option<&Path>) -> Result<Self> {
        let (dir, gguf) = match dir {
            Some(dir) => (ModelDir { path: dir.to_owned(), commit: None }, None),
            None => folder(config)?,
        };
        Self::open_with(config, dir, gguf.as_deref(), Origin::Checkpoint(Weights::Frozen), 0)
    }

    /// `place` is this process's among those of its machine.
    fn open_with(config: &RunConfig, dir: ModelDir, gguf: Option<&Path>, origin: Origin, place: usize) -> Result<Self> {
        let table = config.model();
        let device: Device = device::open(table.device, place)?;
        let too_long = if config.rollout().truncate_prompts { TooLong::Truncate } else { TooLong::Skip };
        let encoder = PromptEncoder::load(&dir.path, config.rollout().max_prompt_length, too_long)?
            .with_variables(table.chat_template_kwargs.clone());
        let dtype = device::dtype(table.dtype);
        let blocks = gguf.map(Blocks::Gguf).or(table.quantize.map(Blocks::Pack));
        let path = &dir.path;
        let load = |described: Description| match (origin, blocks) {
            (Origin::Random(seed), _) => {
                Decoder::random_sized(described, seed, DType::F32, &device, Weights::Trainable)
            }
            (Origin::Checkpoint(_), Some(blocks)) => {
                Decoder::load_quantised_described(described, path, dtype, &device, blocks)
            }
            (Origin::Checkpoint(weights), None) => Decoder::load_described(described, path, dtype, &device, weights),
        };
        let model = Description::read_with(path, &table.facts())
            .and_then(load)
            .with_context(|| format!("cannot load the model {}", table.name_or_path))?;
        for (id, name) in model.ids().named() {
            encoder.tokenizer().require_id(id, name)?;
        }
        fits(config, model.shape().sight)?;
        Ok(Self { model, encoder, dir })
    }
}

/// Whether completions of a model that sees so much can be decoded and masked as a configuration says.
///
/// # Errors
/// Names the key that does not fit.
fn fits(config: &RunConfig, sight: Sight) -> Result<()> {
    Decoding::from_table(config.rollout())?.check(sight).map_err(|misfit| Usage(misfit.to_string()))?;
    for setting in config.eval_settings() {
        Decoding::at(&setting, config.rollout())?.check(sight).map_err(|misfit| Usage(misfit.to_string()))?;
    }
    let paired = config.algorithm().is_ok_and(|algorithm| algorithm.recipe().masks.are_paired());
    if paired && sight == Sight::Full {
        let text =
            "forward_type = \"every_block\" is for block-causal models: this one sees everything, use \"block_random\"";
        return Err(Usage(text.into()).into());
    }
    Ok(())
}

/// The folder of the model that a configuration names, and the file of its weights if they are not there.
fn folder(config: &RunConfig) -> Result<(ModelDir, Option<PathBuf>)> {
    let model = config.model();
    let (name, revision) = (&model.name_or_path, model.revision.as_deref());
    let Some(file) = &model.gguf_file else { return Ok((source::resolve(name, revision)?, None)) };
    let dir = source::resolve_tokenizer(name, revision)?;
    let file = source::resolve_gguf(file, name, &dir)?;
    Ok((dir, Some(file)))
}

/// A record with its prompt, encoded.
#[derive(Clone, Debug)]
pub struct Example {
    /// The record.
    pub record: Record,
    /// The user's turn that asks for its answer.
    pub text: Arc<str>,
    /// Prompt token ids.
    pub prompt: Arc<[u32]>,
}

impl Example {
    /// A completion of this example, to be rewarded.
    pub fn attempt<'a>(&'a self, completion: &'a str) -> Attempt<'a> {
        Attempt { record: &self.record, prompt: &self.text, completion }
    }
}

/// The task of a table, with its data.
///
/// # Errors
/// [`Usage`] for what is wrong with the table; data that cannot be had.
pub fn open_task(table: &TaskTable, with_test: bool) -> Result<Task> {
    Task::from_config(table, with_test).map_err(|error| match error {
        TaskError::Config(_) => Usage(error.to_string()).into(),
        error => Error::from(error),
    })
}

/// Whether there is the model that a run began with.
///
/// # Errors
/// [`Usage`]
pub fn require_base(config: &RunConfig) -> Result<(), Usage> {
    if config.model().random_init {
        let why = "the run began with random weights (model.random_init), which nobody kept";
        return Err(Usage(format!("--base: {why}; step 0 of its metrics.jsonl has their figures")));
    }
    Ok(())
}

/// Tokens of the longest prompt.
pub fn longest_prompt(examples: &[Example]) -> usize {
    examples.iter().map(|example| example.prompt.len()).max().unwrap_or(0)
}

impl Session {
    /// Opens what `config` names.
    ///
    /// # Errors
    /// Names the file or key that is wrong.
    pub fn open(config: &RunConfig, origin: Origin, world: &World) -> Result<Self> {
        let (dir, gguf) = folder(config)?;
        Self::open_with(config, dir, gguf.as_deref(), origin, world)
    }

    /// As [`Session::open`], with the model of another folder, which holds its own weights.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub fn open_dir(config: &RunConfig, model_dir: PathBuf, origin: Origin, world: &World) -> Result<Self> {
        Self::open_with(config, ModelDir { path: model_dir, commit: None }, None, origin, world)
    }

    fn open_with(
        config: &RunConfig,
        dir: ModelDir,
        gguf: Option<&Path>,
        origin: Origin,
        world: &World,
    ) -> Result<Self> {
        // before the model, which takes longer to be refused
        let task = open_task(config.task(), config.eval().split == Split::Test)?;
        let key = format!("task.{}.rewards", task.name());
        let rewarded = task.check_rewards().map_err(|error| Usage(format!("{key}: {error}")))?;
        if config.command() == Command::Train && !rewarded {
            return Err(Usage(format!("{key}: every weight is 0, so that no completion is better than another")).into());
        }
        task.start_rewards(&Stop::default())?;
        let Loaded { model, encoder, dir } = Loaded::open_with(config, dir, gguf, origin, world.local_rank())?;
        let ModelDir { path: model_dir, commit: model_commit } = dir;
        let (gguf_file, world) = (gguf.map(Path::to_owned), world.clone());
        Ok(Self { model, encoder, task, model_dir, model_commit, gguf_file, world })
    }

    /// The device as a configuration names it.
    pub fn device_name(&self) -> String {
        match self.model.device().location() {
            DeviceLocation::Cpu => "cpu".into(),
            DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
            DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
        }
    }

    /// Encodes the prompts of records; those that are too long are left out, with a warning that counts them. Every
    /// process encodes its share.
    ///
    /// # Errors
    /// If none is left, or one leaves no room for a canvas of so many tokens, which is named by its key.
    pub fn examples(&self, records: &[Record], (key, canvas): (&str, usize)) -> Result<Vec<Example>> {
        if records.len() >= MANY {
            tracing::info!("encoding {} prompts", records.len());
        }
        let encode = |record: &Record| -> Result<_> { Ok(self.encoder.encode(&self.task.prompt(record)?)?) };
        let share = &records[self.world.share(records.len())];
        let encoded: Vec<Prompt> = share.par_iter().map(encode).collect::<Result<_>>()?;
        let encoded = self.world.join(encoded)?;
        let (mut examples, mut skipped, mut truncated) = (Vec::with_capacity(records.len()), 0usize, 0usize);
        for (record, prompt) in records.iter().zip(encoded) {
            truncated += usize::from(matches!(prompt, Prompt::Truncated { .. }));
            match prompt.ids() {
                Some(ids) => {
                    let text = self.task.prompt(record)?.into();
                    examples.push(Example { record: record.clone(), text, prompt: ids.into() });
                }
                None => skipped += 1,
            }
        }
        let is_told = self.world.is_first();
        if skipped > 0 && is_told {
            tracing::warn!("{skipped} of {} prompts are longer than rollout.max_prompt_length: skipped", records.len());
        }
        if truncated > 0 && is_told {
            tracing::warn!("{truncated} of {} prompts are longer than rollout.max_prompt_length: cut", records.len());
        }
        let Some(longest) = examples.iter().map(|e| e.prompt.len()).max() else {
            bail!("no prompt of task {} fits rollout.max_prompt_length: raise it", self.task.name())
        };
        let room = self.model.shape().positions;
        ensure!(
            longest + canvas <= room,
            "a prompt of {longest} tokens and {key} {canvas} exceed the model's {} {room}: lower \
             rollout.max_prompt_length or {key}",
            self.model.positions_key()
        );
        Ok(examples)
    }
}
