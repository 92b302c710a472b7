//! What a run will take in memory at most, phase by phase, before it is started.
//!
//! The formulas are those of [`crate::model`]'s footprint; here they are put together. What always lives: the process
//! (measured), weights, adapters and AdamW's state; of what is trained and that state a copy from the beginning of a
//! phase, unless all weights are trained and a phase is one update; a copy of the base model where all weights are
//! trained and leaving it costs something. Beside that, whichever is the largest of
//!
//! - a rollout: the merged copy, the blocks of `rollout.batch_size` rows, then a chunk of logits;
//! - an evaluation: the same for `eval.batch_size` rows of the longest canvas;
//! - an update: the gradients, and for a micro-batch the blocks with what is kept of them, or that and the head.
//!
//! glibc serves buffers of 32 MiB and more from the system and gives them back at once; smaller ones come from a heap
//! that keeps up to 256 MiB of what is freed (`crate::runtime` says why). A large chunk of logits therefore stands beside
//! what the blocks took before it, although they are done.
//!
//! Weights that are trained themselves are counted once, their gradients and moments as those of adapters would be.

use anyhow::Result;
use candle_core::DType;

use super::policy::{keeps_base, keeps_snapshot};
use super::scale;
use super::summation::Summation;
use crate::config::{ActivationCheckpointing, CacheKind, Command, Masks, RunConfig, Trainable};
use crate::error::Usage;
use crate::model::{Decoder, Extent, Sight, TrainingBytes};
use crate::objective::masking::Masking;
use crate::rollout::Decoding;
use crate::runtime;

const MIB: f64 = 1024.0 * 1024.0;
/// What CUDA takes on a device before the first tensor: its context, the code of kernels, and cuBLAS's workspace (about
/// 0.5 GB and 32 MiB on an H100).
const CUDA_BYTES: usize = 600 << 20;
/// Logits that guidance holds at once: of the prompt, of the masked prompt, and their difference.
const GUIDED: usize = 3;

/// Sizes of a run that its memory depends on.
#[derive(Clone, Debug)]
pub struct Memory<'a> {
    model: &'a Decoder,
    /// Resident bytes without the model.
    process: usize,
    /// Longest training prompt and the canvas.
    columns: usize,
    canvas: usize,
    block: usize,
    /// Columns, window and rows of the largest evaluation.
    evaluation: Extent,
    /// Masked views of a completion, and the columns of one in columns of a completion: two where its past is beside it.
    views: usize,
    halves: usize,
    /// The key that says how many, if there may be fewer.
    views_key: Option<String>,
    rollouts: bool,
    guided: bool,
    merged: bool,
    /// Whether rollouts, and evaluations, need whole rows of logits.
    whole_logits: (bool, bool),
    /// Whether all weights are trained.
    trains_all: bool,
    /// Whether there is a copy of the base model to compare with.
    keeps_base: bool,
    /// Whether there is a copy of the beginning of a phase.
    keeps_snapshot: bool,
    cache: CacheKind,
    checkpointing: ActivationCheckpointing,
    /// Whether the gradient's two parts are looked at, both at once.
    parts: bool,
    /// Gradients that adding up the parts of a step takes at once.
    sums: usize,
    /// The batches as configured.
    micro_batch_size: usize,
    batch_size: usize,
    /// Completions (or demonstrations) of this process in an update: no batch is larger.
    completions: usize,
}

/// The prompts of a run, as far as its memory depends on them.
#[derive(Clone, Copy, Debug)]
pub struct Prompts {
    /// Tokens of the longest one to train on.
    pub longest_train: usize,
    /// Tokens of the longest one of an evaluation.
    pub longest_held_out: usize,
    /// How many an evaluation has.
    pub held_out: usize,
    /// Processes that share them and the training prompts of a step.
    pub processes: usize,
}

impl<'a> Memory<'a> {
    /// The sizes of a run with these prompts.
    ///
    /// # Errors
    /// A table that the command needs and the configuration lacks.
    pub fn new(config: &RunConfig, model: &'a Decoder, prompts: Prompts) -> Result<Self> {
        let (rollout, table) = (config.rollout(), config.train());
        let canvas = rollout.max_completion_length.get();
        let settings = config.eval_settings();
        let widest = |of: fn(&crate::config::Setting) -> usize| settings.iter().map(of).max().unwrap_or(0);
        let decodings: Vec<Decoding> =
            settings.iter().map(|setting| Decoding::at(setting, rollout)).collect::<Result<_, _>>()?;
        let mut halves = 1;
        let (views, views_key, completions) = match config.command() {
            Command::Train => {
                let algorithm = config.algorithm()?;
                let recipe = algorithm.recipe();
                let views = Masking::new(&recipe.masks, rollout.block_length).num_samples();
                halves += usize::from(recipe.masks.are_paired());
                let counted = matches!(recipe.masks, Masks::Forward(_) | Masks::Pairs { .. } | Masks::Nodes { .. });
                let key = (counted && views > 1).then(|| format!("algorithm.{}.num_t", algorithm.name()));
                (views, key, table.prompts_per_step.get() * recipe.num_generations.get())
            }
            Command::Sft | Command::Eval => {
                halves += usize::from(model.shape().sight != Sight::Full);
                (1, None, config.sft()?.batch_size.get())
            }
        };
        let (parts, _, of) = scale::parts(config)?;
        let parts = parts.div_ceil(prompts.processes);
        let completions = completions.min(parts * of);
        let held_out = prompts.held_out.div_ceil(prompts.processes);
        let sums = Summation::buffers(table.gradient_sum, parts, prompts.processes);
        Ok(Self {
            model,
            process: 0,
            columns: prompts.longest_train + canvas,
            canvas,
            block: rollout.block_length.get(),
            evaluation: Extent {
                rows: config.eval().batch_size.get().min(held_out * config.eval().num_samples.get()),
                columns: prompts.longest_held_out + widest(|s| s.max_completion_length),
                window: widest(|s| s.block_length),
            },
            views,
            halves,
            views_key,
            rollouts: config.command() == Command::Train,
            guided: rollout.cfg_scale.get() > 0.0,
            merged: rollout.merge_adapters,
            whole_logits: (Decoding::from_table(rollout)?.is_filtered(), decodings.iter().any(Decoding::is_filtered)),
            trains_all: table.trainable == Trainable::All,
            keeps_base: keeps_base(config),
            keeps_snapshot: keeps_snapshot(config),
            cache: rollout.cache,
            checkpointing: table.activation_checkpointing,
            parts: config.command() == Command::Train && table.gradient_parts_steps > 0,
            sums,
            micro_batch_size: table.micro_batch_size.get().min(completions),
            batch_size: rollout.batch_size.get().min(completions),
            completions,
        })
    }

    /// The same in a process that holds `resident` bytes with the model loaded, and nothing else of what is estimated.
    pub fn beside(self, resident: usize) -> Self {
        let model = if self.model.device().is_cpu() { self.model.weight_bytes() + self.adapters() } else { 0 };
        Self { process: resident.saturating_sub(model), ..self }
    }

    /// Bytes of the gradients that an update adds up over the processes.
    pub fn reduction(&self) -> usize {
        4 * self.trained()
    }

    /// Masked views of a completion.
    pub fn views(&self) -> usize {
        self.views
    }

    /// The estimated peak, in bytes.
    ///
    /// # Errors
    /// None that a loaded model has.
    pub fn peak_bytes(&self) -> Result<usize> {
        Ok(self.peak()?.1)
    }

    /// Completions (or demonstrations) of this process in an update.
    pub fn completions(&self) -> usize {
        self.completions
    }

    fn trained(&self) -> usize {
        self.model.trainable().values().map(|v| v.elem_count()).sum()
    }

    /// Adapters: what is trained and no weight of the base model.
    fn adapters(&self) -> usize {
        let base: usize = self.model.params().iter().filter(|p| p.is_trainable()).map(|p| p.value().elem_count()).sum();
        4 * (self.trained() - base)
    }

    /// The rotary tables for the longest rows.
    fn tables(&self) -> usize {
        self.model.table_bytes(self.columns.max(self.evaluation.columns))
    }

    /// AdamW's two moments, and f32 copies of what is trained in less.
    fn optimizer(&self) -> usize {
        let vars = self.model.trainable();
        let rounded = vars.values().filter(|v| v.dtype() != DType::F32).map(|v| v.elem_count());
        4 * (2 * self.trained() + rounded.sum::<usize>())
    }

    /// The copy of what is trained and the optimiser's state at the beginning of a phase, which is kept in main memory.
    fn snapshot(&self) -> usize {
        if !(self.keeps_snapshot && self.model.device().is_cpu()) {
            return 0;
        }
        let vars = self.model.trainable();
        let trained: usize = vars.values().map(|v| v.elem_count() * v.dtype().size_in_bytes()).sum();
        trained + self.optimizer()
    }

    fn reference(&self) -> usize {
        if self.keeps_base { self.model.weight_bytes() } else { 0 }
    }

    /// Sums of gradients; of a pass in f16 those of a micro-batch stand beside them.
    fn gradients(&self) -> usize {
        let scaled = self.model.activations() == DType::F16;
        4 * self.trained() * (self.sums + usize::from(self.parts) + usize::from(scaled))
    }

    /// What a device takes for itself.
    fn context(&self) -> usize {
        if self.model.device().is_cuda() { CUDA_BYTES } else { 0 }
    }

    /// What lives all the time.
    fn always(&self) -> usize {
        let model = self.model.weight_bytes() + self.tables() + self.adapters() + self.reference();
        // of a device's memory the process takes none
        let host = if self.model.device().is_cpu() { self.process } else { 0 };
        host + self.context() + model + self.optimizer() + self.snapshot()
    }

    fn merged(&self) -> usize {
        self.model.sampling_bytes(self.merged)
    }

    /// Blocks, with the keys and values that are kept, and logits of decoding a batch: one runs after the other.
    fn decoding(&self, extent: Extent, whole_logits: bool) -> Result<(usize, usize)> {
        let rows = if self.guided { 2 * extent.rows } else { extent.rows };
        let chunks = if self.guided { GUIDED } else { 1 };
        let kept = match self.cache {
            CacheKind::None => 0,
            CacheKind::Prefix => extent.columns - extent.window,
            CacheKind::Dual | CacheKind::Blocks => extent.columns,
        };
        let rows_of_logits = extent.rows * extent.window;
        let logits = match whole_logits {
            true => self.model.whole_logits_bytes(rows_of_logits)?,
            false => self.model.logits_bytes(rows_of_logits)?,
        };
        let logits = chunks * logits;
        Ok((self.model.forward_bytes(Extent { rows, ..extent }) + self.model.cache_bytes(rows, kept), logits))
    }

    fn rollout(&self, rows: usize) -> Result<(usize, usize)> {
        self.decoding(Extent { rows, columns: self.columns, window: self.block }, self.whole_logits.0)
    }

    fn evaluating(&self) -> Result<(usize, usize)> {
        self.decoding(self.evaluation, self.whole_logits.1)
    }

    fn update(&self, micro_batch: usize) -> Result<TrainingBytes> {
        let columns = self.halves * self.columns;
        let extent = Extent { rows: micro_batch * self.views, columns, window: self.canvas };
        Ok(self.model.training_bytes(extent, self.checkpointing, micro_batch < self.completions)?)
    }

    fn rollout_peak(&self, rows: usize) -> Result<usize> {
        Ok(self.always() + self.merged() + self.decoding_peak(self.rollout(rows)?))
    }

    fn evaluation_peak(&self) -> Result<usize> {
        Ok(self.always() + self.merged() + self.decoding_peak(self.evaluating()?))
    }

    fn decoding_peak(&self, (blocks, logits): (usize, usize)) -> usize {
        self.one_after_the_other(blocks, logits, logits / if self.guided { GUIDED } else { 1 })
    }

    /// Blocks, then the head with buffers of `chunk` bytes: in the same memory, unless the allocator keeps the one from
    /// the other.
    fn one_after_the_other(&self, blocks: usize, head: usize, chunk: usize) -> usize {
        if self.model.device().is_cpu() && runtime::is_mapped(chunk) {
            head + blocks.min(runtime::KEPT_BYTES)
        } else {
            blocks.max(head)
        }
    }

    fn update_peak(&self, micro_batch: usize) -> Result<usize> {
        let update = self.update(micro_batch)?;
        let TrainingBytes { blocks, kept, head, chunk } = update;
        let freed = blocks.saturating_sub(kept);
        Ok(self.always() + self.gradients() + kept + self.one_after_the_other(freed, head, chunk))
    }

    /// The estimate, a line a part, the peak at the end.
    ///
    /// # Errors
    /// None that a loaded model has.
    pub fn lines(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut part = |name: &str, bytes: usize, what: String| {
            lines.push(format!("memory       {name:20} {:>9.1} MiB  {what}", bytes as f64 / MIB));
        };
        let model = self.model;
        let place = if model.device().is_cpu() { "" } else { "; host memory, not counted below" };
        part("process", self.process, format!("program, runtime, tokenizer, data{place}"));
        if self.context() > 0 {
            part("device", self.context(), "CUDA's context, kernels and workspaces".into());
        }
        let packed = model.matrices().into_iter().any(|w| w.is_quantised());
        let kept = if packed { "in blocks".to_owned() } else { format!("{:?}", model.dtype()) };
        part("weights", model.weight_bytes() + self.tables(), format!("{kept}, and rotary tables"));
        if !self.trains_all {
            part("adapters", self.adapters(), format!("F32, {} parameters", self.adapters() / 4));
        }
        if self.reference() > 0 {
            part("reference", self.reference(), "a copy of the weights that the run begins with".into());
        }
        let copies = if self.optimizer() > 2 * 4 * self.trained() { ", and copies of the weights" } else { "" };
        part("moments", self.optimizer(), format!("AdamW's two{copies}, F32"));
        if self.snapshot() > 0 {
            let what = if self.trains_all { "weights" } else { "adapters" };
            part("snapshot", self.snapshot(), format!("{what} and moments at the beginning of a phase"));
        }
        let evaluation = self.evaluation;
        if self.merged() > 0 {
            let name = if self.merged { "merged copy" } else { "adapters' copy" };
            part(name, self.merged(), "while decoding".into());
        }
        if self.rollouts {
            let (blocks, logits) = self.rollout(self.batch_size)?;
            part("rollout", blocks, format!("{} rows of {} tokens", self.batch_size, self.columns));
            part("rollout head", logits, "a chunk of logits".into());
        }
        let (blocks, logits) = self.evaluating()?;
        part("evaluation", blocks, format!("{} rows of {} tokens", evaluation.rows, evaluation.columns));
        part("evaluation head", logits, "a chunk of logits".into());
        let TrainingBytes { blocks, kept, head, .. } = self.update(self.micro_batch_size)?;
        let rows = self.micro_batch_size * self.views;
        let of = if self.parts { ", of both parts" } else { "" };
        let sums =
            if self.sums > 1 { format!(", {} at once while they are added up", self.sums) } else { String::new() };
        part("gradients", self.gradients(), format!("F32{of}{sums}"));
        part(
            "update",
            blocks,
            format!(
                "micro-batch of {rows} rows of {} tokens, activation_checkpointing = {}",
                self.columns, self.checkpointing
            ),
        );
        part("update head", head, format!("probabilities of a chunk, slopes; beside {:.1} MiB", kept as f64 / MIB));
        let (phase, peak) = self.peak()?;
        part("estimated peak", peak, format!("in {phase}"));
        Ok(lines)
    }

    /// The most memory that is held at once, in bytes, and in which phase.
    fn peak(&self) -> Result<(&'static str, usize)> {
        let update = ("an update", self.update_peak(self.micro_batch_size)?);
        let evaluation = ("an evaluation", self.evaluation_peak()?);
        let rollout = if self.rollouts { ("a rollout", self.rollout_peak(self.batch_size)?) } else { update };
        Ok([rollout, evaluation, update].into_iter().max_by_key(|&(_, peak)| peak).unwrap_or(update))
    }

    /// Whether the run fits into so many bytes.
    ///
    /// # Errors
    /// [`Usage`] with what would fit, if it does not.
    pub fn check(&self, bytes: usize) -> Result<()> {
        let (phase, peak) = self.peak()?;
        if peak <= bytes {
            return Ok(());
        }
        let gib = |bytes: usize| bytes as f64 / (1024.0 * MIB);
        // what is said of it is right to a tenth
        let lines = self.fitting((gib(bytes) * 10.0).floor() / 10.0)?;
        let lines: Vec<&str> = lines.iter().map(|line| line.trim_start_matches("fits").trim_start()).collect();
        Err(Usage(format!(
            "the run would take about {:.1} GiB, in {phase}, and there are {:.1}:\n  {}\nor start it anyway with --force",
            gib(peak),
            gib(bytes),
            lines.join("\n  ")
        ))
        .into())
    }

    /// The largest batches that stay within `gib`, a line each; where not even one row does, what to change.
    ///
    /// # Errors
    /// None that a loaded model has.
    pub fn fitting(&self, gib: f64) -> Result<Vec<String>> {
        let limit = (gib * 1024.0 * MIB) as usize;
        let most = |peak: &dyn Fn(usize) -> Result<usize>| -> Result<usize> {
            let (mut fits, mut too_many) = (0, self.completions + 1);
            while too_many - fits > 1 {
                let middle = fits.midpoint(too_many);
                if peak(middle)? <= limit { fits = middle } else { too_many = middle }
            }
            Ok(fits)
        };
        let line = |key: &str, n: usize, one: usize, advice: &str| match n {
            0 => format!(
                "fits         not even {key} = 1 into {gib} GiB: it takes {:.1} MiB; {advice}",
                one as f64 / MIB
            ),
            n if n == self.completions => format!("fits         {key} = {n} fits into {gib} GiB: all there are"),
            n => format!("fits         {key} = {n} is the largest for {gib} GiB"),
        };
        let mut lines = Vec::new();
        let micro = most(&|n| self.update_peak(n))?;
        lines.push(line("train.micro_batch_size", micro, self.update_peak(1)?, &self.advice()));
        if self.rollouts {
            let rows = most(&|n| self.rollout_peak(n))?;
            let advice = if self.merged { "set rollout.merge_adapters = false, or " } else { "" };
            let advice = format!("{advice}lower rollout.max_completion_length or {}", self.smaller());
            lines.push(line("rollout.batch_size", rows, self.rollout_peak(1)?, &advice));
        }
        if self.evaluation_peak()? > limit {
            let (key, peak) = ("eval.batch_size", self.evaluation_peak()? as f64 / MIB);
            lines.push(format!("fits         not {key} = {}: it takes {peak:.1} MiB; lower it", self.evaluation.rows));
        }
        Ok(lines)
    }

    /// What makes an update of one completion smaller.
    fn advice(&self) -> String {
        let checkpointing = match self.checkpointing {
            ActivationCheckpointing::Every(n) if n.get() == 1 => "",
            _ => "set train.activation_checkpointing = \"every-layer\", or ",
        };
        let smaller = self.smaller();
        match &self.views_key {
            Some(key) => format!("{checkpointing}lower rollout.max_completion_length, {key} or {smaller}"),
            None => format!("{checkpointing}lower rollout.max_completion_length or {smaller}"),
        }
    }

    /// What makes that smaller which is trained.
    fn smaller(&self) -> &'static str {
        if self.trains_all { "set train.trainable = \"adapters\"" } else { "lora.r" }
    }
}

#[cfg(test)]
mod tests;
