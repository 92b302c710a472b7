//! Small runs of the tiny model, for tests of what happens around them.

use std::path::Path;

use anyhow::Result;
use serde_json::{Map, Value};

use super::{run_until, sft_until};
use crate::config::{Command, DeviceSpec, Overrides, Resume, RunRequest, from_text, shipped};
use crate::error::{STOPPED, Stopped, exit_code, find};
use crate::report::{checkpoint_dir, checkpoints};
use crate::signal::Stop;
use crate::world::World;

/// Three phases of two updates; checkpoints and evaluations after the first, the second and the last update.
const TINY: [&str; 12] = [
    "train.prompts_per_step=2",
    "algorithm.spg.num_generations=3",
    "algorithm.spg.num_iterations=2",
    "train.max_steps=6",
    "train.save_steps=4",
    "train.save_total_limit=9",
    "train.micro_batch_size=2",
    "train.lr_scheduler_type=constant",
    "rollout.batch_size=4",
    "eval.eval_steps=4",
    "eval.limit=2",
    "eval.temperatures=[0.9]",
];

/// A run of the tiny model, with changes of its configuration.
pub struct Tiny<'a> {
    /// The subcommand.
    pub command: Command,
    /// Assignments for all of its starts.
    pub changes: &'a [&'a str],
}

impl Tiny<'_> {
    /// The request for a run in `dir`.
    pub fn request(&self, dir: &Path, resume: Option<Resume>, more: &[&str]) -> RunRequest {
        let name = if self.command == Command::Sft { "sudoku-tiny-sft" } else { "sudoku-tiny" };
        let set = TINY.iter().chain(self.changes).chain(more).map(|a| a.parse().expect("an assignment")).collect();
        let overrides =
            Overrides { set, output_dir: Some(dir.to_owned()), device: Some(DeviceSpec::Cpu), ..Overrides::default() };
        let text = shipped(name).expect("shipped");
        let config = from_text("a.toml".as_ref(), text, &overrides, self.command).expect("a config");
        RunRequest { config, resume, dry_run: false, force: false, memory_gib: None, world: None }
    }

    /// Runs until `stop` asks for an end.
    pub fn run(&self, dir: &Path, resume: Option<Resume>, more: &[&str], stop: &Stop) -> Result<()> {
        self.run_in(&World::solo(), dir, resume, more, stop)
    }

    /// Runs in one process of a world until `stop` asks for an end.
    pub fn run_in(&self, world: &World, dir: &Path, resume: Option<Resume>, more: &[&str], stop: &Stop) -> Result<()> {
        let request = self.request(dir, resume, more);
        let listen = || Ok(stop.clone());
        match self.command {
            Command::Sft => sft_until(&request, world, listen),
            _ => run_until(&request, world, listen),
        }
    }

    /// Runs to the end.
    pub fn succeed(&self, dir: &Path, resume: Option<Resume>, more: &[&str]) {
        self.run(dir, resume, more, &Stop::default()).expect("a whole run");
    }

    /// Runs into an error; its exit code and text.
    #[track_caller]
    pub fn fail(&self, dir: &Path, resume: Option<Resume>, more: &[&str]) -> (u8, String) {
        let error = self.run(dir, resume, more, &Stop::default()).expect_err("a run that fails");
        (exit_code(&error), format!("{error:#}"))
    }

    /// Stops a run at `places` places spread over its checks, goes on, and compares with one that was never stopped.
    pub fn stop_everywhere(&self, places: usize) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let counting = Stop::at_check(usize::MAX);
        self.run(&path("whole"), None, &[], &counting).expect("a whole run");
        let checks = usize::MAX - counting.checks_left();
        assert!(checks > places, "{checks}");
        for place in (0..places).map(|i| i * (checks - 1) / (places - 1)) {
            let dir = path(&format!("stopped-{place}"));
            let error = self.run(&dir, None, &[], &Stop::at_check(place)).expect_err("stopped");
            assert_eq!(exit_code(&error), STOPPED, "{error:#}");
            let named = &find::<Stopped>(&error).expect("says where").checkpoint;
            assert!(named.join("trainer_state.json").is_file(), "{}", named.display());
            self.succeed(&dir, Some(Resume::Auto), &[]);
            assert_same(&dir, &path("whole"), &format!("stopped at check {place} of {checks}"));
        }
    }
}

/// Reinforcement of the tiny model.
pub const RL: Tiny<'_> = Tiny { command: Command::Train, changes: &[] };

/// The metrics without what depends on the clock.
pub fn metrics(run: &Path) -> Vec<Map<String, Value>> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let rows = text.lines().map(|line| serde_json::from_str::<Map<String, Value>>(line).expect("a row"));
    let lasts =
        |name: &str| !name.ends_with("_seconds") && !name.ends_with("_per_second") && !name.starts_with("world/");
    rows.map(|row| row.into_iter().filter(|(name, _)| lasts(name)).collect()).collect()
}

/// The step of every line of metrics, and whether it is an evaluation.
pub fn steps(run: &Path) -> Vec<(u64, bool)> {
    let is_evaluation = |row: &Map<String, Value>| row.keys().any(|name| name.starts_with("eval/"));
    metrics(run).iter().map(|row| (row["step"].as_u64().expect("a step"), is_evaluation(row))).collect()
}

/// Every checkpoint that the whole run has is, to the byte, in the other run; and the metrics are the same.
pub fn assert_same(run: &Path, whole: &Path, what: &str) {
    for (step, dir) in checkpoints(whole) {
        for entry in std::fs::read_dir(&dir).expect("a checkpoint").flatten() {
            if entry.path().extension().is_some_and(|e| e == "safetensors") {
                let other = checkpoint_dir(run, step).join(entry.file_name());
                let bytes =
                    |path: &Path| std::fs::read(path).unwrap_or_else(|e| panic!("{what}: {}: {e}", path.display()));
                assert!(bytes(&entry.path()) == bytes(&other), "{what}: {}", other.display());
            }
        }
    }
    assert_eq!(metrics(run), metrics(whole), "{what}");
}
