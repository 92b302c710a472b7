//! What a folder that is named as a checkpoint holds.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::checkpoints;
use crate::files::is_there;
use crate::model::ADAPTER_CONFIG;

/// What there is to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    /// Adapters for the base model of the configuration.
    Adapter(PathBuf),
    /// A model of its own.
    Model(PathBuf),
}

impl Checkpoint {
    /// Looks for adapters in a folder, then for a model, then for the last checkpoint of a run.
    ///
    /// # Errors
    /// If there is none of them.
    pub fn find(dir: &Path) -> Result<Self> {
        if !dir.is_dir() {
            bail!("{} is not a folder", dir.display());
        }
        let holds =
            |name: &str| is_there(&dir.join(name)).with_context(|| format!("cannot read {}", dir.join(name).display()));
        if holds(ADAPTER_CONFIG)? {
            return Ok(Self::Adapter(dir.to_owned()));
        }
        if holds("config.json")? {
            return Ok(Self::Model(dir.to_owned()));
        }
        match checkpoints(dir).pop() {
            Some((_, last)) => Self::find(&last),
            None => bail!("{} holds no adapter, no model and no checkpoint", dir.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_folder_stands_for_its_last_checkpoint() {
        let run = tempfile::tempdir().expect("temporary folder");
        assert!(Checkpoint::find(run.path()).expect_err("empty").to_string().contains("no checkpoint"));
        for step in [80, 160] {
            let dir = run.path().join(format!("checkpoint-{step}"));
            std::fs::create_dir(&dir).expect("create");
            std::fs::write(dir.join(ADAPTER_CONFIG), "{}").expect("write");
        }
        let last = run.path().join("checkpoint-160");
        assert_eq!(Checkpoint::find(run.path()).expect("a run"), Checkpoint::Adapter(last.clone()));
        assert_eq!(Checkpoint::find(&last).expect("a checkpoint"), Checkpoint::Adapter(last.clone()));
        std::fs::write(run.path().join("config.json"), "{}").expect("write");
        assert_eq!(Checkpoint::find(run.path()).expect("a model"), Checkpoint::Model(run.path().to_owned()));
    }
}
