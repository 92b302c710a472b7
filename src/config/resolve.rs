//! The run as it will happen: every default filled in, everything checked, nothing to be changed.

use super::check::check;
use super::grid;
use super::{
    AlgorithmTable, BestModel, ConfigError, ConfigFile, EvalTable, LoraTable, ModelTable, Problem, RolloutTable,
    RunTable, Setting, SftTable, TaskTable, TrainTable, Trainable,
};

/// The subcommand a configuration is resolved for: it decides what must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `spg train`
    Train,
    /// `spg sft`
    Sft,
    /// `spg eval`
    Eval,
}

impl Command {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Sft => "sft",
            Self::Eval => "eval",
        }
    }
}

/// A checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct RunConfig {
    command: Command,
    file: ConfigFile,
    ignores_lora: bool,
}

impl RunConfig {
    /// Checks `file` for `command`.
    ///
    /// # Errors
    /// All problems at once.
    pub fn new(file: ConfigFile, command: Command) -> Result<Self, Vec<Problem>> {
        let problems = check(&file, command);
        if !problems.is_empty() {
            return Err(problems);
        }
        let ignores_lora = file.lora.is_some() && file.train.trainable == Trainable::All;
        Ok(Self { command, file: file.resolved(), ignores_lora })
    }

    /// Optimiser updates between two points at which a run can be cut: those on one set of completions, or one of
    /// supervised fine-tuning.
    pub fn updates_per_phase(&self) -> usize {
        match (self.command, &self.file.algorithm) {
            (Command::Train, Some(algorithm)) => algorithm.recipe().num_iterations.get(),
            _ => 1,
        }
    }

    /// The file with every default filled in.
    pub(super) fn file(&self) -> &ConfigFile {
        &self.file
    }

    /// What the run was resolved for.
    pub fn command(&self) -> Command {
        self.command
    }

    /// `[run]`
    pub fn run(&self) -> &RunTable {
        &self.file.run
    }

    /// `[model]`
    pub fn model(&self) -> &ModelTable {
        &self.file.model
    }

    /// `[lora]`; none where all weights are trained.
    pub fn lora(&self) -> Option<&LoraTable> {
        self.file.lora.as_ref()
    }

    /// Whether there was a `[lora]` table, which is not read, as all weights are trained.
    pub fn ignores_lora(&self) -> bool {
        self.ignores_lora
    }

    /// `[task.<name>]`
    pub fn task(&self) -> &TaskTable {
        &self.file.task
    }

    /// `[rollout]`
    pub fn rollout(&self) -> &RolloutTable {
        &self.file.rollout
    }

    /// `[train]`
    pub fn train(&self) -> &TrainTable {
        &self.file.train
    }

    /// `[eval]`
    pub fn eval(&self) -> &EvalTable {
        &self.file.eval
    }

    /// `[algorithm.<name>]`
    ///
    /// # Errors
    /// If the file has none; never after resolving for [`Command::Train`].
    pub fn algorithm(&self) -> Result<&AlgorithmTable, ConfigError> {
        self.file.algorithm.as_ref().ok_or(self.missing("algorithm"))
    }

    /// `[sft]`
    ///
    /// # Errors
    /// If the file has none; never after resolving for [`Command::Sft`].
    pub fn sft(&self) -> Result<&SftTable, ConfigError> {
        self.file.sft.as_ref().ok_or(self.missing("sft"))
    }

    fn missing(&self, table: &'static str) -> ConfigError {
        ConfigError::MissingTable { table, command: self.command.name() }
    }

    /// How checkpoints are compared; none where nobody asks for the best.
    pub fn best_model(&self) -> Option<BestModel> {
        let train = self.train();
        let (metric, greater_is_better) = train.metric_for_best_model.clone().zip(train.greater_is_better)?;
        Some(BestModel { metric, greater_is_better })
    }

    /// The settings of an evaluation, in the order in which they are decoded.
    pub fn eval_settings(&self) -> Vec<Setting> {
        grid::settings(self.eval(), self.rollout())
    }

    /// The whole configuration as a file that loads back to this very run, defaults written out.
    /// Optional keys without a value are left out.
    ///
    /// # Errors
    /// If a path is not UTF-8 (it cannot have come from a file).
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(&self.file)
    }
}
