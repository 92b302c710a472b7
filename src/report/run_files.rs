//! Names inside a run folder, known to whoever writes it and to whoever reads it.

use std::path::{Path, PathBuf};

use super::manifest::MANIFEST_FILE;
use super::which::STATE_FILE;
use crate::config::{BEST, CHECKPOINT};

/// Provenance of a run: version, revision, commit of the base model, seeds, command line.
pub const RUN_FILE: &str = "run.json";

/// Where the metrics of a run are, or will be.
pub fn metrics_file(run: &Path) -> PathBuf {
    run.join("metrics.jsonl")
}

/// The folder of the checkpoint of a step.
pub fn checkpoint_dir(run: &Path, step: usize) -> PathBuf {
    run.join(format!("{CHECKPOINT}{step}"))
}

/// The folder of the weights of the best checkpoint.
pub fn best_dir(run: &Path) -> PathBuf {
    run.join(BEST)
}

/// The step that a folder is named after, if it has the name of a checkpoint.
pub fn checkpoint_step(dir: &Path) -> Option<usize> {
    let digits = dir.file_name()?.to_str()?.strip_prefix(CHECKPOINT)?;
    // neither +9 nor 09, which this program does not write
    digits.parse().ok().filter(|step: &usize| step.to_string() == digits)
}

/// Complete checkpoints by step, the oldest first. (Unfinished ones have other names; what has the name alone is none.)
pub fn checkpoints(run: &Path) -> Vec<(usize, PathBuf)> {
    let entries = std::fs::read_dir(run).into_iter().flatten().flatten();
    let is_checkpoint = |dir: &Path| [STATE_FILE, MANIFEST_FILE].iter().any(|name| dir.join(name).exists());
    let mut found: Vec<(usize, PathBuf)> = entries
        .filter_map(|e| Some((checkpoint_step(&e.path())?, e.path())))
        .filter(|(_, dir)| is_checkpoint(dir))
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_ordered_by_number() {
        let dir = tempfile::tempdir().expect("temporary folder");
        for name in ["checkpoint-100", "checkpoint-20", "checkpoint-3.tmp", "checkpoint-x", "other"] {
            std::fs::create_dir(dir.path().join(name)).expect("create");
            std::fs::write(dir.path().join(name).join(STATE_FILE), "{}").expect("write");
        }
        let steps: Vec<usize> = checkpoints(dir.path()).into_iter().map(|(s, _)| s).collect();
        assert_eq!(steps, [20, 100]);
        assert_eq!(checkpoints(dir.path())[0].1, checkpoint_dir(dir.path(), 20));
    }

    #[test]
    fn a_stray_folder_was_taken_for_the_last_checkpoint() {
        let dir = tempfile::tempdir().expect("temporary folder");
        for name in ["checkpoint-9", "checkpoint-+11", "checkpoint-012", "checkpoint-999999"] {
            std::fs::create_dir(dir.path().join(name)).expect("create");
        }
        for name in ["checkpoint-9", "checkpoint-+11", "checkpoint-012"] {
            std::fs::write(dir.path().join(name).join(STATE_FILE), "{}").expect("write");
        }
        std::fs::write(dir.path().join("checkpoint-10"), "a file").expect("write");
        assert_eq!(checkpoints(dir.path()), [(9, checkpoint_dir(dir.path(), 9))]);
        // one that has lost a file is one
        std::fs::write(dir.path().join("checkpoint-999999").join(MANIFEST_FILE), "{}").expect("write");
        assert_eq!(checkpoints(dir.path()).len(), 2);
    }
}
