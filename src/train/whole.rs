//! The newest checkpoint of a run that is whole: a damaged one costs the steps since the one before it, not the run.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::checkpoint;
use super::run_dir::RunDir;
use super::start::same_folder;
use crate::error::{Usage, find};
use crate::report::{Damage, checkpoints};

/// What the checkpoints of a run are worth, from the newest on down to the first that is whole.
pub struct Whole {
    newest: Option<PathBuf>,
    /// The newer ones, and what is wrong with them.
    damaged: Vec<(PathBuf, anyhow::Error)>,
}

impl Whole {
    /// Looks at the checkpoints of a run.
    ///
    /// # Errors
    /// Files that cannot be read, which is no damage.
    pub fn newest(run: &RunDir) -> Result<Self> {
        Self::among(run.checkpoints())
    }

    fn among(checkpoints: Vec<(usize, PathBuf)>) -> Result<Self> {
        let mut damaged = Vec::new();
        for (_, dir) in checkpoints.into_iter().rev() {
            match checkpoint::check(&dir) {
                Ok(()) => return Ok(Self { newest: Some(dir), damaged }),
                Err(error) if find::<Damage>(&error).is_some() => damaged.push((dir, error)),
                Err(error) => return Err(error),
            }
        }
        Ok(Self { newest: None, damaged })
    }

    /// The checkpoint to go on from, which has to be the one that the user has named, if any. What is damaged is kept under
    /// another name, and the log says so. Nothing if the run has no checkpoint.
    ///
    /// # Errors
    /// [`Usage`] if another one is named; if none is whole.
    pub fn take(self, run: &RunDir, named: Option<&Path>) -> Result<Option<PathBuf>> {
        let Self { newest, damaged } = self;
        let Some(newest) = newest else {
            return match damaged.into_iter().next() {
                None => Ok(None),
                Some((_, error)) => Err(error.context(format!(
                    "no checkpoint of {} is whole: start a new run in another folder",
                    run.root().display()
                ))),
            };
        };
        if let Some(path) = named {
            if let Some((_, error)) = damaged.into_iter().find(|(dir, _)| same_folder(dir, path)) {
                return Err(error.context(format!(
                    "the newest whole checkpoint is {}: --resume alone goes on from there",
                    newest.display()
                )));
            }
            if !same_folder(path, &newest) {
                return Err(Usage(format!(
                    "{} is not the last checkpoint of its run ({} is): resume from the last one, or add --output-dir DIR to \
                     branch off into a new folder",
                    path.display(),
                    newest.display()
                ))
                .into());
            }
            return set_aside(run, &newest).map(|()| Some(newest));
        }
        for (_, error) in damaged {
            tracing::warn!("{error:#}");
        }
        set_aside(run, &newest).map(|()| Some(newest))
    }

    /// The error of a checkpoint that was named, with what there is to go on from instead.
    pub fn beside(path: &Path, error: anyhow::Error) -> anyhow::Error {
        let run = path.parent().unwrap_or(Path::new("."));
        match Self::among(checkpoints(run)) {
            Ok(Self { newest: Some(newest), .. }) if find::<Damage>(&error).is_some() => {
                error.context(format!("the newest whole checkpoint beside it is {}", newest.display()))
            }
            _ => error,
        }
    }
}

/// Gives the checkpoints that are newer than the newest whole one other names.
fn set_aside(run: &RunDir, newest: &Path) -> Result<()> {
    for (_, dir) in run.checkpoints().into_iter().rev().take_while(|(_, dir)| dir != newest) {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let free = (1..).map(|n| match n {
            1 => run.root().join(format!("damaged-{name}")),
            _ => run.root().join(format!("damaged-{name}-{n}")),
        });
        let Some(aside) = free.into_iter().find(|path| path.symlink_metadata().is_err()) else {
            bail!("there is no free name for {}", dir.display());
        };
        std::fs::rename(&dir, &aside).with_context(|| format!("cannot rename {}", dir.display()))?;
        tracing::warn!("{} is kept as {}; going on from {}", dir.display(), aside.display(), newest.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
