//! The run folder: resolved config, provenance, metrics, checkpoints.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::lock::{LOCK_FILE, RunLock};
use crate::config::{Change, Changes, LAST_GOOD, RESOLVED_FILE, RunConfig};
use crate::error::Usage;
use crate::files::{is_unfinished, remove_unfinished, sync_folder, write_whole};
use crate::report::{RUN_FILE, best_dir, checkpoint_dir, checkpoints, metrics_file};
use crate::runtime;

/// A run folder.
#[derive(Clone, Debug)]
pub struct RunDir(PathBuf);

/// Whether a folder holds nothing that anybody could miss: a run that was killed while it began leaves such a one.
fn is_free(root: &Path) -> bool {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let is_ours = |name: &str| name == LOCK_FILE || is_unfinished(name);
    entries.into_iter().all(|entry| is_ours(&entry.file_name().to_string_lossy()))
}

impl RunDir {
    /// Starts a new folder, and locks it.
    ///
    /// # Errors
    /// A folder that holds something already (with the ways on), that another process has, or that cannot be written.
    pub fn create(root: &Path) -> Result<(Self, RunLock)> {
        Self::require_free(root)?;
        std::fs::create_dir_all(root).with_context(|| format!("cannot create the output folder {}", root.display()))?;
        let lock = RunLock::take(root)?;
        // another process may have had it in between
        Self::require_free(root)?;
        remove_unfinished(root).with_context(|| format!("cannot clear the output folder {}", root.display()))?;
        Ok((Self(root.to_owned()), lock))
    }

    /// Whether a new run can have the folder.
    ///
    /// # Errors
    /// [`Usage`] with the ways on, if it holds something already.
    pub fn require_free(root: &Path) -> Result<(), Usage> {
        if root.exists() && !root.is_dir() {
            return Err(Usage(format!(
                "the output folder {} is a file: choose another with --output-dir DIR",
                root.display()
            )));
        }
        if !is_free(root) {
            return Err(Usage(format!(
                "the output folder {} is in use: go on with it by --resume, or choose another with --output-dir DIR",
                root.display()
            )));
        }
        Ok(())
    }

    /// Opens the folder of an earlier run, to be looked at.
    ///
    /// # Errors
    /// A folder that is none.
    pub fn open(root: &Path) -> Result<Self> {
        if root.join(RESOLVED_FILE).is_file() {
            return Ok(Self(root.to_owned()));
        }
        Err(Usage(format!(
            "nothing to resume: {} holds no {RESOLVED_FILE}; leave out --resume to start a new run",
            root.display()
        ))
        .into())
    }

    /// Whether the folder is a run's, to be gone on with, and nobody else's that holds a configuration: beside it stands where
    /// it came from, or a checkpoint. (A run of `config` that was killed in between has left its configuration alone.)
    ///
    /// # Errors
    /// [`Usage`]
    pub fn require_run(root: &Path, config: &RunConfig) -> Result<()> {
        let run = Self::open(root)?;
        let text = std::fs::read_to_string(root.join(RESOLVED_FILE)).unwrap_or_default();
        if root.join(RUN_FILE).is_file() || !run.checkpoints().is_empty() || text == config.to_toml()? {
            return Ok(());
        }
        Err(Usage(format!(
            "nothing to resume: {} holds a {RESOLVED_FILE}, but neither {RUN_FILE} nor a checkpoint, so that it is no run's: \
             choose another folder with --output-dir DIR",
            root.display()
        ))
        .into())
    }

    /// The folder of a run that another process writes to; it may be on another machine.
    pub fn of_another(root: &Path) -> Self {
        Self(root.to_owned())
    }

    /// As [`RunDir::open`], to go on with the run.
    ///
    /// # Errors
    /// Also a folder that another process works on.
    pub fn take(root: &Path, config: &RunConfig) -> Result<(Self, RunLock)> {
        Self::require_run(root, config)?;
        let run = Self::open(root)?;
        let lock = RunLock::take(root)?;
        remove_unfinished(root).with_context(|| format!("cannot clear the run folder {}", root.display()))?;
        Ok((run, lock))
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// Where metrics go.
    pub fn metrics(&self) -> PathBuf {
        metrics_file(&self.0)
    }

    /// Writes the resolved config and the provenance, to which that of earlier starts is a history; `model_commit` is the
    /// base model's on the hub.
    ///
    /// # Errors
    /// Names the file that cannot be written.
    pub fn describe(
        &self,
        config: &RunConfig,
        model_commit: Option<&str>,
        resumed_from: Option<usize>,
        changes: &Changes,
    ) -> Result<()> {
        let changed = |c: &Change| (c.key.clone(), json!([c.old, c.new]));
        let provenance = json!({
            "command": config.command().name(),
            "arguments": std::env::args().collect::<Vec<_>>(),
            "version": env!("CARGO_PKG_VERSION"),
            "revision": runtime::REVISION,
            "model_commit": model_commit,
            "seeds": { "run": config.run().seed, "data": config.task().data_seed(), "eval": config.eval().seed },
            "resumed_from_step": resumed_from,
            "changed": changes.allowed.iter().map(changed).collect::<Map<_, _>>(),
            "history": self.history(),
        });
        self.write(RESOLVED_FILE, &config.to_toml()?)?;
        self.write(RUN_FILE, &(serde_json::to_string_pretty(&provenance)? + "\n"))
    }

    /// What earlier starts left, the oldest first.
    fn history(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.0.join(RUN_FILE)).unwrap_or_default();
        let Ok(Value::Object(mut last)) = serde_json::from_str(&text) else { return Vec::new() };
        let mut all = match last.remove("history") {
            Some(Value::Array(all)) => all,
            _ => Vec::new(),
        };
        all.push(last.into());
        all
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.0.join(name);
        write_whole(&path, text.as_bytes())
            .and_then(|()| sync_folder(&self.0))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// The folder of the checkpoint of a step.
    pub fn checkpoint(&self, step: usize) -> PathBuf {
        checkpoint_dir(&self.0, step)
    }

    /// The folder of the best weights.
    pub fn best(&self) -> PathBuf {
        best_dir(&self.0)
    }

    /// The folder of the state that is kept apart when a run breaks its weights.
    pub fn last_good(&self) -> PathBuf {
        self.0.join(LAST_GOOD)
    }

    /// The steps of complete checkpoints, the oldest first.
    pub fn saved(&self) -> Vec<usize> {
        self.checkpoints().into_iter().map(|(step, _)| step).collect()
    }

    /// Complete checkpoints by step, the oldest first.
    pub fn checkpoints(&self) -> Vec<(usize, PathBuf)> {
        checkpoints(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_use_names_the_ways_on() {
        let dir = tempfile::tempdir().expect("temporary folder");
        RunDir::create(dir.path()).expect("an empty folder is fine");
        std::fs::write(dir.path().join("notes.txt"), "mine").expect("write");
        let text = RunDir::create(dir.path()).expect_err("in use").to_string();
        assert!(text.contains("--resume") && text.contains("--output-dir"), "{text}");
        assert!(RunDir::open(dir.path()).expect_err("no run").to_string().contains("nothing to resume"));
    }

    #[test]
    fn a_run_killed_while_it_began_left_a_folder_that_neither_started_nor_resumed() {
        let dir = tempfile::tempdir().expect("temporary folder");
        std::fs::write(dir.path().join(LOCK_FILE), "").expect("write");
        std::fs::write(dir.path().join(".spg-1-0.tmp"), "[run]").expect("write");
        std::fs::create_dir(dir.path().join(".checkpoint-4.spg-1-0.tmp")).expect("create");
        let (_run, lock) = RunDir::create(dir.path()).expect("it holds nothing");
        let names: Vec<_> = std::fs::read_dir(dir.path()).expect("read").flatten().map(|e| e.file_name()).collect();
        assert_eq!(names, [LOCK_FILE]);
        assert!(RunDir::create(dir.path()).expect_err("taken").to_string().contains("works on the run folder"));
        drop(lock);
    }

    #[test]
    fn the_commit_of_the_base_model_is_recorded() {
        use crate::config::{Command, Overrides, from_text, shipped};
        let dir = tempfile::tempdir().expect("temporary folder");
        let text = shipped("sudoku-tiny").expect("shipped");
        let config = from_text("a.toml".as_ref(), text, &Overrides::default(), Command::Train).expect("a config");
        let (run, _lock) = RunDir::create(dir.path()).expect("folder");
        let recorded = |commit| -> Value {
            run.describe(&config, commit, None, &Changes::default()).expect("written");
            let text = std::fs::read_to_string(dir.path().join(RUN_FILE)).expect("run.json");
            serde_json::from_str(&text).expect("JSON")
        };
        assert_eq!(recorded(Some("c0ffee"))["model_commit"], "c0ffee");
        let again = recorded(None);
        assert_eq!((&again["model_commit"], &again["history"][0]["model_commit"]), (&Value::Null, &json!("c0ffee")));
    }
}
