//! Where result files go: a folder a model, `results_<time>.json` and `samples_<task>_<time>.jsonl` in it, as
//! lm-evaluation-harness lays them out.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::Outcome;
use super::harness::Provenance;
use crate::config::{EvalRequest, near_checkpoint};
use crate::files::{check_writable, write_whole};

/// The folder inside a run folder.
const IN_RUN: &str = "eval";

/// A folder for result files, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultsDir(Option<PathBuf>);

impl ResultsDir {
    /// `--output-dir`, else `eval` inside the run folder of the checkpoint, else nowhere (which is logged).
    ///
    /// The folder is made now: one that cannot be is found out before the work, not after it.
    ///
    /// # Errors
    /// If the folder that was asked for cannot be made. One that was not asked for is a warning.
    pub fn choose(request: &EvalRequest) -> Result<Self> {
        if let Some(dir) = &request.output_dir {
            create(dir)?;
            return Ok(Self(Some(dir.clone())));
        }
        let resolved = near_checkpoint(&request.checkpoint).and_then(|config| config.canonicalize().ok());
        let Some(run) = resolved.as_deref().and_then(Path::parent) else {
            tracing::info!("{} is not in a run folder: --output-dir DIR keeps results", request.checkpoint.display());
            return Ok(Self(None));
        };
        let dir = run.join(IN_RUN);
        match create(&dir) {
            Ok(()) => Ok(Self(Some(dir))),
            Err(error) => {
                tracing::warn!("{error:#}: results are only printed; --output-dir DIR keeps them elsewhere");
                Ok(Self(None))
            }
        }
    }

    /// No folder: another process writes.
    pub fn nowhere() -> Self {
        Self(None)
    }

    /// Writes the files of one model; returns the results file. The samples come first, so that a results file says
    /// that everything is there.
    ///
    /// # Errors
    /// Names the file that cannot be written.
    pub fn write(&self, model: &str, provenance: &Provenance<'_>, outcomes: &[Outcome]) -> Result<Option<PathBuf>> {
        let Some(dir) = &self.0 else { return Ok(None) };
        let dir = dir.join(plain(model));
        create(&dir)?;
        let time = provenance.date.file_name();
        for outcome in outcomes {
            let name = plain(&provenance.name(&outcome.evaluation.setting));
            write(&dir.join(format!("samples_{name}_{time}.jsonl")), &provenance.samples(outcome))?;
        }
        let path = dir.join(format!("results_{time}.json"));
        write(&path, &(serde_json::to_string_pretty(&provenance.results(outcomes))? + "\n"))?;
        Ok(Some(path))
    }
}

impl fmt::Display for ResultsDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(dir) => write!(f, "go to {}", dir.display()),
            None => f.write_str("are only printed"),
        }
    }
}

/// Makes the folder, and finds out whether files can be made in it.
fn create(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create the output folder {}", dir.display()))?;
    check_writable(dir).with_context(|| format!("cannot write to the output folder {}", dir.display()))
}

/// Writes a file whole or not at all.
fn write(path: &Path, text: &str) -> Result<()> {
    write_whole(path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// A name as part of a file name on any system.
fn plain(name: &str) -> String {
    let keep = |c: char| if c.is_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let name: String = name.chars().map(keep).collect();
    // `.` and `..` are folders of their own
    if name.trim_matches('.').is_empty() { "model".into() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside_the_folder() {
        assert_eq!(plain("checkpoint-4"), "checkpoint-4");
        assert_eq!(plain("GSAI-ML/LLaDA 8B"), "GSAI-ML_LLaDA_8B");
        assert_eq!([plain(".."), plain("")], ["model", "model"]);
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let taken = dir.path().join("results.json");
        std::fs::create_dir(&taken).expect("a folder in the way");
        let error = write(&taken, "text").expect_err("a folder").to_string();
        assert!(error.contains("cannot write") && error.contains("results.json"), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).expect("folder").count(), 1);
    }
}
