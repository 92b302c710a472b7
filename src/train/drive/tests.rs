//! Runs that are stopped or break: what is left of them, and what comes of going on.

use std::path::PathBuf;

use super::*;
use crate::config::{Command, Resume};
use crate::error::{FAILED, USAGE};
use crate::report::checkpoints;
use crate::train::testing::{RL, Tiny, assert_same, steps};
use crate::world::World;

#[test]
fn a_stop_was_obeyed_only_after_a_phase_and_an_evaluation_and_now_at_any_place_without_changing_a_bit() {
    RL.stop_everywhere(11);
}

/// All weights, in the middle of a phase: they have a copy of its beginning. The penalty is for leaving the base model,
/// not the checkpoint that the run goes on from.
#[test]
fn all_weights_go_on_to_the_same_bytes_wherever_they_were_stopped() {
    let changes = [
        "train.trainable=all",
        "rollout.merge_adapters=false",
        "algorithm={d1={num_generations=3, num_iterations=2, kl_beta=0.5}}",
    ];
    Tiny { command: Command::Train, changes: &changes }.stop_everywhere(9);
}

#[test]
fn a_stopped_fine_tuning_goes_on_to_the_same_bytes() {
    let changes = ["model.random_init=false", "train.trainable=adapters", "sft.batch_size=4"];
    Tiny { command: Command::Sft, changes: &changes }.stop_everywhere(5);
    Tiny { command: Command::Sft, changes: &["sft.batch_size=4"] }.stop_everywhere(5);
}

/// The evaluation of a step came before its checkpoint, so that whatever happened to it took the updates along.
#[test]
fn an_evaluation_that_was_left_lost_the_updates_before_it_and_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, dir) = (folder.path().join("whole"), folder.path().join("run"));
    let counting = Stop::at_check(usize::MAX);
    RL.run(&whole, None, &[], &counting).expect("a whole run");
    let last = usize::MAX - counting.checks_left() - 1;
    assert_eq!(
        steps(&whole),
        [(0, true), (1, false), (2, false), (3, false), (4, false), (4, true), (5, false), (6, false), (6, true)]
    );

    // in the last denoising step of the last evaluation
    let error = RL.run(&dir, None, &[], &Stop::at_check(last)).expect_err("stopped");
    assert!(error.to_string().contains("stopped after step 6"), "{error:#}");
    assert!(dir.join("checkpoint-6").is_dir());
    assert_eq!(steps(&dir).last(), Some(&(6, false)), "its line is missing");
    RL.succeed(&dir, Some(Resume::Auto), &[]);
    assert_same(&dir, &whole, "the last evaluation");

    // in the first one there is nothing but the place to start from
    let first = folder.path().join("first");
    let error = RL.run(&first, None, &[], &Stop::at_check(0)).expect_err("stopped");
    assert!(error.to_string().contains("stopped after step 0"), "{error:#}");
    assert_eq!((steps(&first), first.join("checkpoint-0").is_dir()), (vec![], true));

    // and a run that is complete has nothing left to do
    let text = || std::fs::read_to_string(dir.join("metrics.jsonl")).expect("metrics");
    let before = text();
    RL.succeed(&dir, Some(Resume::Auto), &[]);
    assert_eq!(text(), before);
}

/// Weights of 1e20 are finite, and nothing can be done with them.
#[test]
fn a_checkpoint_of_broken_weights_replaced_the_good_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let (dir, next) = (folder.path().join("run"), folder.path().join("next"));
    let breaks = ["algorithm.spg.num_iterations=1", "train.save_steps=1", "train.save_total_limit=1"];
    let run = Tiny { command: Command::Train, changes: &breaks };
    run.succeed(&dir, None, &["train.max_steps=2"]);
    let good = std::fs::read(dir.join("checkpoint-2/adapter_model.safetensors")).expect("weights");

    let (code, text) = run.fail(&dir, Some(Resume::Auto), &["train.learning_rate=1e20"]);
    assert_eq!(code, FAILED, "{text}");
    for part in ["the last good state, of step 2", "last-good", "lower train.learning_rate (1e20)", "--resume"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let of = |name: &str| std::fs::read(dir.join(name).join("adapter_model.safetensors")).expect("weights");
    assert!(of("checkpoint-2") == good && of("last-good") == good);
    assert_eq!(checkpoints(&dir).len(), 1, "no checkpoint of what broke");

    let from = Some(Resume::From(dir.join("last-good")));
    run.succeed(&next, from, &["train.learning_rate=1e-4"]);
    assert!(next.join("checkpoint-6").is_dir());
    let (code, text) = run.fail(&dir, Some(Resume::From(dir.join("last-good"))), &[]);
    assert!(code == USAGE && text.contains("--output-dir DIR"), "{text}");
}

#[test]
fn an_update_to_infinity_left_infinite_weights_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    for (i, (changes, advice)) in [
        (["train.learning_rate=1e300", "train.weight_decay=0"], "lower train.learning_rate (1e300)"),
        (["train.learning_rate=1e-3", "train.weight_decay=1e300"], "lower train.weight_decay (1e300)"),
    ]
    .into_iter()
    .enumerate()
    {
        let dir = folder.path().join(format!("run-{i}"));
        let (_, text) = RL.fail(&dir, None, &changes);
        assert!(text.contains(advice) && text.contains("infinite or not a number"), "{text}");
        let weights =
            candle_core::safetensors::load(dir.join("last-good/adapter_model.safetensors"), &candle_core::Device::Cpu);
        for (name, tensor) in weights.expect("weights") {
            assert!(crate::optim::is_finite(&tensor).expect("numbers"), "{name}");
        }
        assert!(checkpoints(&dir).is_empty());
    }
}

/// All weights have no copy, and need none where the update was refused.
#[test]
fn fine_tuning_of_all_weights_keeps_the_last_good_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("run");
    let changes = ["sft.batch_size=4", "train.save_steps=1", "train.save_total_limit=1", "train.warmup_ratio=0"];
    let run = Tiny { command: Command::Sft, changes: &changes };
    let (_, text) = run.fail(&dir, None, &["train.learning_rate=1e39"]);
    assert!(
        text.contains("the last good state, of step 0") && dir.join("last-good/model.safetensors").is_file(),
        "{text}"
    );
    run.succeed(&folder.path().join("next"), Some(Resume::From(dir.join("last-good"))), &[]);

    let dir = folder.path().join("other");
    run.succeed(&dir, None, &["train.max_steps=2"]);
    let (_, text) = run.fail(&dir, Some(Resume::Auto), &["train.learning_rate=1e25"]);
    let kept: Vec<PathBuf> = checkpoints(&dir).into_iter().map(|(_, dir)| dir).collect();
    // the model decodes with weights of 1e22, and only their gradients say that they are lost
    assert_eq!(kept, [dir.join("checkpoint-2"), dir.join("checkpoint-3")]);
    assert!(text.contains("of step 2") && text.contains("checkpoint-2: lower train.learning_rate (1e25)"), "{text}");
}

#[test]
fn an_error_in_the_middle_of_a_run_lost_the_updates_since_the_last_checkpoint() {
    struct Failing(usize, crate::train::reinforce::Reinforce);
    impl Method for Failing {
        fn phase(&mut self, trainer: &mut Trainer, step: usize, stop: &Stop) -> Result<Phase> {
            let phase = self.1.phase(trainer, step, stop)?;
            // after the updates: the phase is dropped as a whole
            anyhow::ensure!(step < self.0, "the disk is on fire");
            Ok(phase)
        }
        fn longest_prompt(&self) -> usize {
            1
        }

        fn headline(&self, row: &Row) -> String {
            self.1.headline(row)
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, dir) = (folder.path().join("whole"), folder.path().join("run"));
    RL.succeed(&whole, None, &[]);
    let request = RL.request(&dir, None, &[]);
    let session = crate::train::policy::open(&request.config, &World::solo()).expect("a session");
    let method = crate::train::reinforce::Reinforce::new(&request.config, &session).expect("a method");
    let trainer = Trainer::new(&request.config, session).expect("a trainer");
    let error = drive(&request, trainer, &mut Failing(2, method), || Ok(Stop::default())).expect_err("fails");
    let text = format!("{error:#}");
    assert!(text.contains("checkpoint-2 holds everything up to it") && text.contains("on fire"), "{text}");
    RL.succeed(&dir, Some(Resume::Auto), &[]);
    assert_same(&dir, &whole, "after a failure");
}

#[test]
fn weights_that_differ_between_processes_are_named_by_the_first_that_differs() {
    let digests = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
    assert_eq!(super::Diverged::check(&digests("aaa"), 4), Ok(()));
    assert_eq!(super::Diverged::check(&digests("aab"), 4), Err(super::Diverged { rank: 2, step: 4 }));
    assert_eq!(super::Diverged::check(&digests("abb"), 8), Err(super::Diverged { rank: 1, step: 8 }));
}
