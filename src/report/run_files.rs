//! Names inside a run folder, known to whoever writes it and to whoever reads it.

use std::path::{Path, PathBuf};

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
    dir.file_name()?.to_str()?.strip_prefix(CHECKPOINT)?.parse().ok()
}

/// Complete checkpoints by step, the oldest first. (Unfinished ones have other names.)
pub fn checkpoints(run: &Path) -> Vec<(usize, PathBuf)> {
    let entries = std::fs::read_dir(run).into_iter().flatten().flatten();
    let mut found: Vec<(usize, PathBuf)> =
        entries.filter_map(|e| Some((checkpoint_step(&e.path())?, e.path()))).collect();
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
        }
        let steps: Vec<usize> = checkpoints(dir.path()).into_iter().map(|(s, _)| s).collect();
        assert_eq!(steps, [20, 100]);
        assert_eq!(checkpoints(dir.path())[0].1, checkpoint_dir(dir.path(), 20));
    }
}
