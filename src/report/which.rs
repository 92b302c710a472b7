//! What a folder that is named as a checkpoint holds.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use toml::Table;

use super::{best_dir, checkpoint_dir, checkpoints, verify};
use crate::config::{RESOLVED_FILE, Which};
use crate::error::Usage;
use crate::files::{is_there, read_optional};
use crate::model::ADAPTER_CONFIG;

/// The file that makes a folder a checkpoint.
pub const STATE_FILE: &str = "trainer_state.json";

/// What there is to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    /// Adapters for the base model of the configuration.
    Adapter(PathBuf),
    /// A model of its own.
    Model(PathBuf),
}

/// The part of [`STATE_FILE`] that says which checkpoint is the best.
#[derive(Deserialize)]
struct State {
    global_step: usize,
    best_global_step: Option<usize>,
}

impl Checkpoint {
    /// Looks for adapters in a folder, then for a model, then for the checkpoint of a run that is asked for: its last one,
    /// or the best where nothing is asked for and the run was told `load_best_model_at_end`. The log says which it is.
    ///
    /// # Errors
    /// If there is none of them, or it is [damaged](super::Damage); [`Usage`] for `which` of a folder that is no run, and
    /// for a best one that is none.
    pub fn find(dir: &Path, which: Option<Which>) -> Result<Self> {
        let found = Self::named(dir, which)?;
        let (Self::Adapter(folder) | Self::Model(folder)) = &found;
        verify(folder).context("take another checkpoint")?;
        Ok(found)
    }

    fn named(dir: &Path, which: Option<Which>) -> Result<Self> {
        if !dir.is_dir() {
            bail!("{} is not a folder", dir.display());
        }
        if let Some(found) = Self::in_folder(dir)? {
            return match which {
                None => Ok(found),
                Some(which) => Err(Usage(format!(
                    "--which {}: {} is no run folder, whose checkpoints there are to choose from; leave it out",
                    which.name(),
                    dir.display()
                ))
                .into()),
            };
        }
        let Some((step, last)) = checkpoints(dir).pop() else {
            // the best weights may be all that was kept of a run
            let best = best_dir(dir);
            match (which, is_there(&best).with_context(|| format!("cannot read {}", best.display()))?) {
                (Some(Which::Best), true) => return Self::chosen(&best, "the best weights of the run"),
                (_, true) => bail!("{} holds no checkpoint, but its best weights: take --which best", dir.display()),
                (_, false) => bail!("{} holds no adapter, no model and no checkpoint", dir.display()),
            }
        };
        let which = match which {
            Some(which) => which,
            None => Which::of_run(dir)?,
        };
        if which == Which::Last {
            return Self::chosen(&last, &format!("the last checkpoint of the run, of step {step}"));
        }
        let (best, step) = best_of(dir, &last)?;
        Self::chosen(&best, &format!("the best weights of the run, of step {step}"))
    }

    fn in_folder(dir: &Path) -> Result<Option<Self>> {
        let holds =
            |name: &str| is_there(&dir.join(name)).with_context(|| format!("cannot read {}", dir.join(name).display()));
        if holds(ADAPTER_CONFIG)? {
            return Ok(Some(Self::Adapter(dir.to_owned())));
        }
        Ok(holds("config.json")?.then(|| Self::Model(dir.to_owned())))
    }

    fn chosen(dir: &Path, what: &str) -> Result<Self> {
        let Some(found) = Self::in_folder(dir)? else { bail!("{} holds no adapter and no model", dir.display()) };
        tracing::info!("{}: {what}", dir.display());
        Ok(found)
    }
}

impl Which {
    /// What a run folder stands for.
    fn of_run(dir: &Path) -> Result<Self> {
        let path = dir.join(RESOLVED_FILE);
        let unclear =
            || format!("{} does not say what the run stands for: add --which best or --which last", path.display());
        let Some(text) = read_optional(&path).with_context(unclear)? else { return Ok(Self::Last) };
        let table: Table = String::from_utf8(text).with_context(unclear)?.parse().with_context(unclear)?;
        let best = table.get("train").and_then(|train| train.get("load_best_model_at_end")?.as_bool());
        Ok(if best == Some(true) { Self::Best } else { Self::Last })
    }
}

/// The folder of a run's best weights, and their step: `best/`, or, in the instant in which a run replaces it, the checkpoint
/// that the last one names.
fn best_of(run: &Path, last: &Path) -> Result<(PathBuf, usize)> {
    let dir = best_dir(run);
    if let Some(state) = State::read(&dir)? {
        return Ok((dir, state.global_step));
    }
    let none = |why: &str| Usage(format!("{} has no best checkpoint: {why}; take --which last", run.display()));
    match State::read(last)?.and_then(|state| state.best_global_step) {
        Some(0) => Err(none("no update has made the model better than it was before the first one").into()),
        Some(step) if checkpoint_dir(run, step).is_dir() => Ok((checkpoint_dir(run, step), step)),
        Some(step) => Err(none(&format!("that of step {step} is gone")).into()),
        None => Err(none("train.metric_for_best_model was not set").into()),
    }
}

impl State {
    fn read(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(STATE_FILE);
        let text = read_optional(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let state = text.map(|text| serde_json::from_slice(&text)).transpose();
        state.with_context(|| format!("{} is damaged", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(dir: &Path, name: &str, text: &str) {
        std::fs::create_dir_all(dir).expect("create");
        std::fs::write(dir.join(name), text).expect("write");
    }

    /// Adapters of a step, by the time of which another one was best.
    fn checkpoint(dir: &Path, step: usize, best: &str) {
        put(dir, ADAPTER_CONFIG, "{}");
        put(dir, STATE_FILE, &format!(r#"{{"global_step": {step}{best}}}"#));
    }

    fn refused(dir: &Path, which: Option<Which>) -> String {
        Checkpoint::find(dir, which).expect_err("nothing to take").to_string()
    }

    #[test]
    fn a_run_folder_stands_for_its_last_checkpoint() {
        let run = tempfile::tempdir().expect("temporary folder");
        assert!(refused(run.path(), None).contains("no checkpoint"));
        for step in [80, 160] {
            checkpoint(&checkpoint_dir(run.path(), step), step, "");
        }
        let last = run.path().join("checkpoint-160");
        for which in [None, Some(Which::Last)] {
            assert_eq!(Checkpoint::find(run.path(), which).expect("a run"), Checkpoint::Adapter(last.clone()));
        }
        assert_eq!(Checkpoint::find(&last, None).expect("a checkpoint"), Checkpoint::Adapter(last.clone()));
        let text = refused(&last, Some(Which::Last));
        assert!(text.contains("--which last") && text.contains("is no run folder"), "{text}");
        std::fs::write(run.path().join("config.json"), "{}").expect("write");
        assert_eq!(Checkpoint::find(run.path(), None).expect("a model"), Checkpoint::Model(run.path().to_owned()));
    }

    #[test]
    fn a_run_that_was_told_to_load_its_best_stands_for_that() {
        let run = tempfile::tempdir().expect("temporary folder");
        let run = run.path();
        let adapter = |name: &str| Checkpoint::Adapter(run.join(name));
        checkpoint(&run.join("checkpoint-80"), 80, "");
        checkpoint(&run.join("checkpoint-160"), 160, r#", "best_global_step": 80"#);
        let find = |which| Checkpoint::find(run, which).expect("a run");
        assert_eq!(find(Some(Which::Best)), adapter("checkpoint-80"), "while best/ is replaced");
        checkpoint(&run.join("best"), 80, "");
        assert_eq!((find(None), find(Some(Which::Best))), (adapter("checkpoint-160"), adapter("best")));
        put(run, RESOLVED_FILE, "[train]\nload_best_model_at_end = true");
        assert_eq!((find(None), find(Some(Which::Last))), (adapter("best"), adapter("checkpoint-160")));
        put(run, RESOLVED_FILE, "[train");
        assert!(refused(run, None).contains("add --which best or --which last"));

        std::fs::remove_dir_all(run.join("checkpoint-80")).expect("remove");
        std::fs::remove_dir_all(run.join("checkpoint-160")).expect("remove");
        assert_eq!(find(Some(Which::Best)), adapter("best"));
        assert!(refused(run, None).contains("take --which best"));
    }

    #[test]
    fn a_best_that_is_none_says_why() {
        let run = tempfile::tempdir().expect("temporary folder");
        for (best, why) in [
            ("", "train.metric_for_best_model was not set"),
            (r#", "best_global_step": 0"#, "no update has made the model better"),
            (r#", "best_global_step": 40"#, "that of step 40 is gone"),
        ] {
            checkpoint(&run.path().join("checkpoint-80"), 80, best);
            let text = refused(run.path(), Some(Which::Best));
            assert!(text.contains(why) && text.contains("take --which last"), "{text}");
        }
    }
}
