//! What a log says of a session at its start, a line each: model, task, and what is trained.

use std::collections::BTreeSet;

use indicatif::HumanCount;

use super::Session;
use crate::config::{ModelTable, RunConfig, Split};

impl Session {
    /// Family, name and commit of the model, its size, how it is kept and where.
    pub fn model_line(&self, model: &ModelTable) -> String {
        let name = match &self.model_commit {
            Some(commit) => format!("{} (commit {commit})", model.name_or_path),
            None => self.model_dir.display().to_string(),
        };
        let blocks = match (&self.gguf_file, model.quantize) {
            (Some(file), _) => format!(", matrices of {}", file.display()),
            (None, Some(format)) => format!(", matrices in {}", format.name()),
            (None, None) => String::new(),
        };
        format!(
            "model {name}: {}, {} parameters in {}{blocks} on {}",
            self.model.family(),
            HumanCount(self.model.parameter_count() as u64),
            self.model.dtype().as_str(),
            self.device_name()
        )
    }

    /// The task and its records, split by split.
    pub fn task_line(&self) -> String {
        let count = |split: Split| Some((self.task.records(split).ok()?.len(), split.name()));
        let splits = Split::ALL.into_iter().filter_map(count);
        let splits: Vec<String> = splits.map(|(n, name)| format!("{} {name}", HumanCount(n as u64))).collect();
        format!("task {}: records {}", self.task.name(), splits.join(", "))
    }

    /// What is trained: which adapters, or all weights.
    pub fn trained_line(&self, config: &RunConfig) -> String {
        let numbers: usize = self.model.trainable().values().map(|var| var.elem_count()).sum();
        let numbers = HumanCount(numbers as u64);
        let adapters = self.model.adapters();
        let Some(lora) = config.lora().filter(|_| !adapters.is_empty()) else {
            return format!("training all {numbers} parameters");
        };
        let leaves: BTreeSet<&str> = adapters.iter().filter_map(|(name, ..)| name.rsplit('.').next()).collect();
        let ranks: BTreeSet<usize> = adapters.iter().map(|(_, rank, _)| *rank).collect();
        let ranks: Vec<String> = ranks.iter().map(usize::to_string).collect();
        let from = lora.init_from.as_ref().map(|from| format!(", begun from {}", from.display())).unwrap_or_default();
        format!(
            "training adapters of rank {} on {} modules ({}): {numbers} parameters{from}",
            ranks.join(", "),
            adapters.len(),
            leaves.into_iter().collect::<Vec<_>>().join(", ")
        )
    }
}
