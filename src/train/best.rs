//! `best/` of a run folder: the weights of the best checkpoint with its card, a plain PEFT or model folder.
//!
//! Its files are those of the checkpoint under a second name where the file system has hard links, and copies elsewhere;
//! the optimiser's state, which only a resumed run needs, is not among them. The folder is filled under another name, and
//! is there before any older checkpoint goes; between the old one and the new one there is an instant without either, in
//! which `trainer_state.json` of the last checkpoint says which one is meant.

use std::path::Path;

use anyhow::{Context, Result};

use super::checkpoint::{OPTIMIZER_FILE, TrainerState};
use super::retention::Retention;
use super::run_dir::RunDir;
use crate::files::{NewFolder, duplicate, remove_folder};
use crate::report::{MANIFEST_FILE, seal};

/// Makes `best/` what it should be: of the best evaluation's step, and not there where that is step 0. As long as no
/// evaluation is known, what is there stays.
///
/// # Errors
/// Names the folder.
pub fn keep(run: &RunDir, retention: &Retention) -> Result<()> {
    let Some(best) = retention.best() else { return Ok(()) };
    let dir = run.best();
    if best.step == 0 {
        return remove_folder(&dir).with_context(|| format!("cannot delete {}", dir.display()));
    }
    if dir.is_dir() && TrainerState::load(&dir).is_ok_and(|state| state.global_step == best.step) {
        return Ok(());
    }
    put(&run.checkpoint(best.step), &dir, best.step).with_context(|| format!("cannot write {}", dir.display()))
}

fn put(checkpoint: &Path, dir: &Path, step: usize) -> Result<()> {
    let new = NewFolder::replacing(dir)?;
    duplicate(checkpoint, new.path(), &[OPTIMIZER_FILE, MANIFEST_FILE])?;
    seal(new.path(), step)?;
    Ok(new.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Command, Overrides, from_text, shipped};
    use crate::report::{Row, checkpoint_dir};
    use crate::train::lock::LOCK_FILE;

    const FILES: [&str; 2] = ["adapter_model.safetensors", "additional_chat_templates/x.jinja"];

    fn retention(values: &[f64]) -> Retention {
        let set = ["train.metric_for_best_model=greedy/reward"].map(|set| set.parse().expect("an assignment"));
        let overrides = Overrides { set: set.to_vec(), ..Overrides::default() };
        let text = shipped("sudoku-tiny").expect("shipped");
        let config = from_text("a.toml".as_ref(), text, &overrides, Command::Train).expect("a config");
        let mut retention = Retention::new(&config);
        for (step, &value) in values.iter().enumerate() {
            retention.observe(Row::new(step).set("eval/greedy/reward", value));
        }
        retention
    }

    fn run_with(dir: &Path, steps: usize) -> RunDir {
        let (run, _lock) = RunDir::create(dir).expect("a run");
        for step in 1..=steps {
            let checkpoint = checkpoint_dir(dir, step);
            std::fs::create_dir_all(checkpoint.join("additional_chat_templates")).expect("create");
            for file in FILES.iter().chain(&[OPTIMIZER_FILE]) {
                std::fs::write(checkpoint.join(file), format!("{file} of {step}")).expect("write");
            }
            let state = format!(r#"{{"command":"train","global_step":{step},"seed":1,"revision":"x"}}"#);
            std::fs::write(checkpoint.join("trainer_state.json"), state).expect("write");
        }
        run
    }

    #[test]
    fn best_is_the_whole_best_checkpoint_without_what_only_a_resumed_run_needs() {
        let dir = tempfile::tempdir().expect("a folder");
        let run = run_with(&dir.path().join("run"), 3);
        let holds = |step: usize| {
            for file in FILES {
                let text = std::fs::read_to_string(run.best().join(file)).expect("a file");
                assert_eq!(text, format!("{file} of {step}"));
            }
            assert!(!run.best().join(OPTIMIZER_FILE).exists());
        };
        keep(&run, &retention(&[0.1])).expect("nothing to keep");
        assert!(!run.best().exists());
        keep(&run, &retention(&[0.1, 0.2])).expect("kept");
        holds(1);
        keep(&run, &retention(&[0.1, 0.2, 0.3])).expect("kept");
        holds(2);
        // killed in the instant between the two
        std::fs::remove_dir_all(run.best()).expect("remove");
        keep(&run, &retention(&[0.1, 0.2, 0.3])).expect("kept");
        holds(2);
        // and it outlives its checkpoint
        std::fs::remove_dir_all(run.checkpoint(2)).expect("remove");
        keep(&run, &retention(&[0.1, 0.2, 0.3])).expect("there already");
        holds(2);
        keep(&run, &retention(&[])).expect("nothing is known");
        holds(2);
        keep(&run, &retention(&[0.9, 0.2, 0.3])).expect("gone");
        let names: Vec<_> = std::fs::read_dir(run.root()).expect("a folder").flatten().map(|e| e.file_name()).collect();
        assert!(
            names.iter().all(|name| name == LOCK_FILE || name.to_string_lossy().starts_with("checkpoint-")),
            "{names:?}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn the_weights_take_no_room_twice_and_a_renewed_file_of_the_checkpoint_is_not_that_of_best() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().expect("a folder");
        let run = run_with(&dir.path().join("run"), 1);
        keep(&run, &retention(&[0.1, 0.2])).expect("kept");
        let (file, twin) = (run.checkpoint(1).join(FILES[0]), run.best().join(FILES[0]));
        let inode = |path: &Path| path.metadata().expect("a file").ino();
        assert_eq!(inode(&file), inode(&twin));
        crate::files::write_whole(&file, b"new").expect("write");
        assert_eq!(std::fs::read_to_string(&twin).expect("a file"), format!("{} of 1", FILES[0]));
    }
}
