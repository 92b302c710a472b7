//! The folder of a sweep: what may be in it, and what it says of itself.
//!
//! ```text
//! sweep.json   what the sweep is        NAME/      the run folders
//! base.toml    the configuration's text NAME.log   what the runs said
//! report.md, report.csv, *.svg          the comparison
//! ```
//!
//! Several processes may work on one sweep, a run each. What they write of the whole is written under a lock.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::manifest::{Manifest, SWEEP_FILE};
use super::plan::{self, Base, Run};
use super::state::State;
use crate::config::{self, Command, Overrides, RESOLVED_FILE, SweepRequest};
use crate::error::Usage;
use crate::files::{is_unfinished, read_optional, write_whole};

/// The configuration as it was written. (A `config.toml` would make the folder look like that of a run.)
const BASE_FILE: &str = "base.toml";

/// The folder of a sweep, which says what the sweep is.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Whether the runs of `plan` can be made in the folder, beside what is there. Writes nothing.
    ///
    /// # Errors
    /// [`Usage`] for a folder in other use, and for runs in it that are not what this sweep would make.
    pub fn look(request: &SweepRequest, text: &str, plan: &[Run]) -> Result<()> {
        Self::merged(request, text, plan).map(drop)
    }

    /// As [`Folder::look`]; then makes the folder, and writes down what the sweep is.
    ///
    /// # Errors
    /// As [`Folder::look`], and what cannot be written.
    pub fn open(request: &SweepRequest, text: &str, plan: &[Run]) -> Result<Self> {
        let dir = &request.dir;
        Self::look(request, text, plan)?;
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create the output folder {}", dir.display()))?;
        let _lock = lock(dir);
        let manifest = Self::merged(request, text, plan)?;
        let base = dir.join(BASE_FILE);
        let fail = |action: &str| format!("cannot {action} {}", base.display());
        if read_optional(&base).with_context(|| fail("read"))?.as_deref() != Some(text.as_bytes()) {
            write_whole(&base, text.as_bytes()).with_context(|| fail("write"))?;
        }
        if Manifest::load(dir)?.as_ref() != Some(&manifest) {
            manifest.save(dir)?;
        }
        Ok(Self(dir.clone()))
    }

    /// The sweep as it will be: what is there, and what is asked for now.
    fn merged(request: &SweepRequest, text: &str, plan: &[Run]) -> Result<Manifest> {
        let dir = &request.dir;
        let old = Manifest::load(dir)?;
        if old.is_none() {
            check_free(dir)?;
        }
        let mut manifest = old.unwrap_or_default();
        let base = Base::of(request, text);
        let mut runs = Vec::new();
        for entry in manifest.runs.iter().filter(|old| plan.iter().all(|new| new.name != old.name)) {
            let run = base.run(&entry.assignments()?, Some(entry.seed));
            runs.push(run.with_context(|| Usage(format!("{}, a run of this sweep, is refused now", entry.name)))?);
        }
        manifest.add(request, plan)?;
        runs.extend(plan.iter().cloned());
        plan::check_apart(&runs)?;
        check_alike(dir, &runs)?;
        Ok(manifest)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// The configuration that all runs begin with.
    pub fn base(&self) -> PathBuf {
        self.0.join(BASE_FILE)
    }

    /// Where what a run says goes.
    pub fn log(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.log"))
    }
}

/// Refuses a folder that holds something else than the beginning of a sweep.
fn check_free(dir: &Path) -> Result<(), Usage> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    // another process may be about to write these
    let own = |name: &str| [SWEEP_FILE, BASE_FILE].contains(&name) || is_unfinished(name);
    let foreign = entries.into_iter().find(|entry| !entry.file_name().to_str().is_some_and(own));
    match foreign {
        None => Ok(()),
        Some(entry) => Err(Usage(format!(
            "the folder {} is in use and no sweep: it holds {:?} but no {SWEEP_FILE}; choose another with --output-dir",
            dir.display(),
            entry.file_name()
        ))),
    }
}

/// Refuses to go on with runs that were begun with another configuration.
fn check_alike(dir: &Path, runs: &[Run]) -> Result<()> {
    let mut different = Vec::new();
    for run in runs {
        let folder = dir.join(&run.name);
        if State::of(&folder, &run.config)? == State::New {
            continue;
        }
        let then = config::load(&folder.join(RESOLVED_FILE), &Overrides::default(), Command::Train)?;
        let changes = run.config.changes_since(&then.to_json()?)?;
        let all = changes.refused.iter().chain(&changes.allowed).filter(|change| change.key != "run.output_dir");
        let all: Vec<String> = all.map(ToString::to_string).collect();
        if !all.is_empty() {
            different.push(format!("\n  {}: {}", run.name, all.join(", ")));
        }
    }
    if different.is_empty() {
        return Ok(());
    }
    Err(Usage(format!(
        "{} holds runs of another configuration (theirs -> the one asked for now): ask for theirs, or choose another \
         --output-dir{}",
        dir.display(),
        different.concat()
    ))
    .into())
}

/// Keeps other processes from writing about the whole sweep, for as long as the file is open. None: this file system
/// has no locks for folders.
pub fn lock(dir: &Path) -> Option<File> {
    let locked = File::open(dir).and_then(|file| file.lock().map(|()| file));
    locked.inspect_err(|error| tracing::debug!("{} cannot be locked: {error}", dir.display())).ok()
}

#[cfg(test)]
mod tests {
    use super::super::testing::request;
    use super::*;

    const LR: &str = "train.learning_rate=1e-3,2e-3";

    fn open(request: &SweepRequest) -> Result<Folder, String> {
        let text = config::shipped("sudoku-tiny").expect("shipped");
        let plan = plan::plan(request, text).map_err(|error| error.to_string())?;
        Folder::open(request, text, &plan).map_err(|error| format!("{error:#}"))
    }

    /// A run that has begun in the folder.
    fn begin(request: &SweepRequest, number: usize) {
        let plan = plan::plan(request, config::shipped("sudoku-tiny").expect("shipped")).expect("a plan");
        let run = &plan[number];
        let folder = request.dir.join(&run.name);
        std::fs::create_dir(&folder).expect("create");
        std::fs::write(folder.join(RESOLVED_FILE), run.config.to_toml().expect("TOML")).expect("write");
    }

    #[test]
    fn a_sweep_is_extended_but_not_changed_under_the_runs_there_are() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().join("sweep");
        let first = request(&root, &[LR], &[], &[1]);
        open(&first).expect("a new folder");
        begin(&first, 0);
        open(&request(&root, &["train.learning_rate=4e-3"], &[], &[1, 2])).expect("more points and seeds");
        let manifest = Manifest::load(&root).expect("readable").expect("there");
        let names: Vec<&str> = manifest.runs.iter().map(|run| run.name.as_str()).collect();
        assert_eq!(names.len(), 4);
        assert_eq!(names[..3], ["learning_rate=1e-3,seed=1", "learning_rate=2e-3,seed=1", "learning_rate=4e-3,seed=1"]);
        assert_eq!(manifest.commands.len(), 2);
        assert_eq!(
            manifest.commands[0],
            format!(
                "spg sweep --config sudoku-tiny --grid train.learning_rate=0.001,0.002 --seeds 1 --output-dir {}",
                root.display()
            )
        );

        let before = std::fs::read(root.join(SWEEP_FILE)).expect("the file");
        for grid in [LR, "train.learning_rate=9e-3"] {
            let text = open(&request(&root, &[grid], &["train.max_steps=60"], &[1])).unwrap_err();
            assert!(text.contains("\n  learning_rate=1e-3,seed=1: train.max_steps 120 -> 60"), "{text}");
        }
        let text =
            open(&request(&root, &["train.learning_rate=1e-3", "train.max_steps=120,60"], &[], &[1])).unwrap_err();
        assert!(text.contains("one and the same run"), "{text}");
        assert_eq!(std::fs::read(root.join(SWEEP_FILE)).expect("the file"), before);
        // what says the same in other words is the same
        open(&request(&root, &[LR], &["train.max_steps=120"], &[1])).expect("the runs agree");
        // and so do runs that say themselves what is changed for the others
        let other = request(&root, &["rollout.temperature=0.5"], &["train.learning_rate=7e-3"], &[1]);
        open(&other).expect("their learning rate is their own");
    }

    #[test]
    fn folders_in_other_use_stay_as_they_are() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("notes.txt"), "mine").expect("write");
        let text = open(&request(dir.path(), &[LR], &[], &[1])).unwrap_err();
        assert!(text.contains("is in use and no sweep: it holds \"notes.txt\""), "{text}");
        assert_eq!(std::fs::read_dir(dir.path()).expect("folder").count(), 1);

        let root = dir.path().join("sweep");
        std::fs::create_dir_all(root.join("learning_rate=2e-3,seed=1")).expect("create");
        std::fs::write(root.join(SWEEP_FILE), serde_json::to_string(&Manifest::default()).expect("JSON"))
            .expect("write");
        std::fs::write(root.join("learning_rate=2e-3,seed=1/notes.txt"), "mine").expect("write");
        let text = open(&request(&root, &[LR], &[], &[1])).unwrap_err();
        assert!(text.contains("learning_rate=2e-3,seed=1 is in the way"), "{text}");

        let damaged = r#"{"config":"x","set":[],"commands":[],"runs":[{"name":"../x","seed":1,"point":[]}]}"#;
        std::fs::write(root.join(SWEEP_FILE), damaged).expect("write");
        let text = open(&request(&root, &[LR], &[], &[1])).unwrap_err();
        assert!(text.contains("sweep.json is damaged") && text.contains("not the name of a folder"), "{text}");
    }
}
