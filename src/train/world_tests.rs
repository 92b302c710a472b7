//! Runs of several processes: the same tokens, and with a fixed tree the same bits, whatever their number.

use std::path::Path;

use super::testing::{RL, Tiny, assert_same, metrics};
use crate::config::{Command, Resume};
use crate::error::{FAILED, PeerFailed, STOPPED, USAGE, exit_code, find};
use crate::report::checkpoint_dir;
use crate::signal::Stop;
use crate::world::in_threads;

const TREE: &str = "train.gradient_sum=tree";
/// Four prompts a phase, so that shares differ in size.
const PROMPTS: &str = "train.prompts_per_step=4";

/// Runs in `size` processes; the exit codes of their errors, 0 where there is none.
fn run(
    tiny: &Tiny<'_>,
    size: usize,
    dir: &Path,
    resume: Option<Resume>,
    stop: impl Fn(usize) -> Stop + Sync,
) -> Vec<u8> {
    in_threads(size, |world| {
        let ended = tiny.run_in(&world, dir, resume.clone(), &[], &stop(world.rank()));
        match crate::error::conclude(&world, ended) {
            Ok(()) => 0,
            Err((error, _)) => exit_code(&error),
        }
    })
}

fn whole(tiny: &Tiny<'_>, size: usize, dir: &Path) {
    assert_eq!(run(tiny, size, dir, None, |_| Stop::default()), vec![0; size]);
}

#[test]
fn the_number_of_processes_changed_the_weights() {
    let folder = tempfile::tempdir().expect("a folder");
    let kinds: [(Command, &[&str]); 3] = [
        (Command::Train, &[TREE, PROMPTS]),
        (
            Command::Train,
            &[TREE, PROMPTS, "rollout.cache=dual", "rollout.drift_check=3", "train.gradient_parts_steps=2"],
        ),
        (Command::Sft, &[TREE, "sft.batch_size=7"]),
    ];
    for (kind, (command, changes)) in kinds.into_iter().enumerate() {
        let tiny = Tiny { command, changes };
        let path = |size: usize| folder.path().join(format!("{kind}-{size}"));
        whole(&tiny, 1, &path(1));
        for size in [2, 3, 5] {
            whole(&tiny, size, &path(size));
            assert_same(&path(size), &path(1), &format!("{changes:?} in {size} processes"));
        }
    }
}

#[test]
fn without_the_tree_the_tokens_are_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let tiny = Tiny { command: Command::Train, changes: &[PROMPTS] };
    let path = |size: usize| folder.path().join(size.to_string());
    [1, 2, 3].into_iter().for_each(|size| whole(&tiny, size, &path(size)));
    for size in [2, 3] {
        for (row, alone) in metrics(&path(size)).iter().zip(metrics(&path(1))) {
            for name in ["reward", "completions/mean_length", "scored_tokens", "eval/t0.9/reward"] {
                assert_eq!(row.get(name), alone.get(name), "{name}, {size} processes");
            }
            for name in ["loss", "grad_norm"] {
                let number = |row: &serde_json::Map<_, serde_json::Value>| row.get(name).and_then(|x| x.as_f64());
                let (a, b) = (number(row).unwrap_or(0.0), number(&alone).unwrap_or(0.0));
                assert!((a - b).abs() < 1e-4 * b.abs().max(1e-3), "{name}, {size} processes: {a} {b}");
            }
        }
    }
}

#[test]
fn a_signal_to_one_process_stops_all_at_the_same_update_and_another_number_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    for (command, changes) in [(Command::Train, &[TREE, PROMPTS][..]), (Command::Sft, &[TREE, "sft.batch_size=7"])] {
        let tiny = Tiny { command, changes };
        let path = |name: &str| folder.path().join(format!("{command:?}-{name}"));
        whole(&tiny, 1, &path("whole"));
        for place in [0, 5, 11, 17] {
            let dir = path(&format!("stopped-{place}"));
            let one = |rank| if rank == 1 { Stop::at_check(place) } else { Stop::default() };
            let codes = run(&tiny, 3, &dir, None, one);
            assert_eq!(codes, [STOPPED; 3], "{place}");
            assert_eq!(run(&tiny, 2, &dir, Some(Resume::Auto), |_| Stop::default()), [0, 0]);
            assert_same(&dir, &path("whole"), &format!("stopped at check {place} of process 1"));
        }
    }
}

/// Exit code, failed peer and words of each of three processes, of which the last has changes of its own.
fn fail(tiny: &Tiny<'_>, dir: &Path, changes: &[&str]) -> Vec<(u8, Option<usize>, String)> {
    in_threads(3, |world| {
        let changes = if world.rank() == 2 { changes } else { &[] };
        let ended = tiny.run_in(&world, dir, None, changes, &Stop::default());
        let (error, text) = crate::error::conclude(&world, ended).expect_err("a failure");
        (exit_code(&error), find::<PeerFailed>(&error).map(|peer| peer.rank), text)
    })
}

#[test]
fn processes_that_are_not_of_the_same_run_do_not_begin() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("run");
    let told = fail(&RL, &dir, &["train.learning_rate=0.5"]);
    assert_eq!(told[0], (FAILED, Some(2), "error: process 2 failed".to_owned()));
    assert_eq!(told[1], (FAILED, Some(2), String::new()));
    let (code, _, text) = &told[2];
    assert!(text.starts_with("process 2: error: train.learning_rate is 0.5 here and "), "{text}");
    assert_eq!((*code, dir.exists()), (USAGE, false));
}

#[test]
fn a_failure_of_one_process_is_told_to_all_and_nothing_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("run");
    let told = std::thread::scope(|scope| {
        // where the second checkpoint is to be, there is suddenly something else
        let spoils = || {
            let started = std::time::Instant::now();
            while !dir.join("metrics.jsonl").is_file() {
                assert!(started.elapsed().as_secs() < 120, "the run does not begin");
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            std::fs::write(dir.join("checkpoint-4"), "a file").expect("written");
        };
        scope.spawn(spoils);
        fail(&RL, &dir, &[])
    });
    let (code, peer, text) = &told[0];
    assert!(*code == FAILED && peer.is_none(), "{text}");
    assert!(text.starts_with("process 0: error: ") && text.contains("checkpoint-4"), "{text}");
    for other in &told[1..] {
        assert_eq!(other, &(FAILED, Some(0), String::new()));
    }
    std::fs::remove_file(dir.join("checkpoint-4")).expect("removed");
    assert_eq!(run(&RL, 2, &dir, Some(Resume::Auto), |_| Stop::default()), [0, 0]);
    assert!(checkpoint_dir(&dir, 6).is_dir());
}
