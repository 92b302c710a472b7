//! Values that do not fit each other, and what is said of them.

use super::tests::{MINIMAL, refused, resolve};
use super::*;

#[test]
fn problems_between_keys_are_listed_at_once_with_their_places() {
    let error = refused(
        &["rollout.block_length=7", "train.max_steps=6", "algorithm.spg.min_t=0.9", "algorithm.spg.max_t=0.5"],
        Command::Train,
    );
    assert!(error.starts_with("a.toml: 3 problems\n  - "), "{error}");
    for part in [
        "rollout.block_length = 7 does not divide rollout.max_completion_length = 40: use 5 or 8 \
         (--set rollout.block_length=7, line 8)",
        "algorithm.spg.min_t = 0.9 is above algorithm.spg.max_t = 0.5",
        "train.max_steps = 6 is not a multiple of algorithm.spg.num_iterations = 4, \
         the updates between two rollout phases: use 4 or 8 (--set train.max_steps=6)",
    ] {
        assert!(error.contains(part), "{part}\nnot in\n{error}");
    }
}

#[test]
fn each_misfit_is_refused() {
    use Command::{Eval, Sft, Train};
    let cases: &[(&[&str], Command, &str)] = &[
        (&["rollout.diffusion_steps=21"], Eval, "= 21 is not a multiple of the 5 blocks"),
        (&["rollout.diffusion_steps=3"], Eval, "use 5"),
        (&["rollout.diffusion_steps=80"], Eval, "more than one step a token"),
        (&["rollout.temperature=0"], Train, "decodes the same completion"),
        (&["rollout.cache_refresh_steps=2"], Eval, "there is nothing to refresh"),
        (&["rollout.cache=dual", "rollout.cache_refresh_steps=4"], Eval, "a block takes 4 steps at most"),
        (
            &["rollout.cache=prefix", "rollout.cache_refresh_steps=8", "rollout.commit={threshold=0.9}"],
            Eval,
            "a block takes 8 steps at most",
        ),
        (&["rollout.cache=dual", "rollout.diffusion_steps=5"], Eval, "with one step a block"),
        (
            &["rollout.commit={factor=1}", "rollout.remasking=margin"],
            Eval,
            "rollout.commit = \"factor\" with rollout.remasking \"margin\"",
        ),
        (
            &["rollout.commit={entropy_bound=1}", "eval.remasking=['margin', 'random']"],
            Eval,
            "with eval.remasking \"random\"",
        ),
        (
            &["rollout.drift_check=97", "rollout.cache=dual"],
            Train,
            "rollout.drift_check = 97 is more than the 96 completions",
        ),
        (&["train.adam_epsilon=1e-300"], Train, "train.adam_epsilon = 1e-300 is 0 in 32-bit floats"),
        (&["train.save_steps=6"], Train, "train.save_steps = 6 is not a multiple"),
        (&["eval.eval_steps=6"], Train, "eval.eval_steps = 6 is not a multiple"),
        (&["eval.temperatures=[]"], Eval, "eval.temperatures is empty"),
        (&["eval.temperatures=[0.5, 0.5]"], Eval, "lists 0.5 twice"),
        (&["eval.remasking=[]"], Eval, "eval.remasking is empty: give at least one, such as [\"low_confidence\"]"),
        (&["eval.order=['canvas', 'canvas']"], Eval, "eval.order lists \"canvas\" twice"),
        (&["eval.num_samples=4"], Eval, "decodes the same completion 4 times"),
        (
            &["eval.num_samples=4", "eval.temperatures=[1, 0]", "eval.remasking=['random', 'margin']"],
            Train,
            "\"margin\"",
        ),
        (
            &["eval.block_length=[16, 8]"],
            Eval,
            "eval.block_length = 16 does not divide rollout.max_completion_length = 40: use 10 or 20",
        ),
        (
            &["eval.max_completion_length=[42]"],
            Eval,
            "rollout.block_length = 8 does not divide eval.max_completion_length = 42: use 6 or 14",
        ),
        (
            &["eval.max_completion_length=[43]", "eval.block_length=[8, 20]"],
            Eval,
            "(rollout.max_completion_length = 40 / rollout.diffusion_steps = 20 tokens a step): use 42 or 44",
        ),
        (
            &["eval.block_length=[1]"],
            Eval,
            "eval.block_length = 1 makes 40 blocks of rollout.max_completion_length = 40, over which its 20 denoising \
             steps (the rollout's pace) cannot be shared out evenly: use 2",
        ),
        (&["algorithm.spg.num_generations=1"], Train, "no advantage"),
        (&["algorithm.spg.forward_type=all"], Train, "num_t = 2 with algorithm.spg.forward_type = \"all\""),
        (&["algorithm.spg.scope=block", "algorithm.spg.forward_type=random"], Train, "needs a chosen block"),
        (
            &["algorithm={d1={num_iterations=4, epsilon=1}}"],
            Train,
            "algorithm.d1.epsilon = 1: a ratio is never below 0",
        ),
        (&["algorithm={wd1={num_iterations=4, num_generations=1}}"], Train, "algorithm.wd1.num_generations = 1"),
        (&["algorithm={coupled_grpo={min_t=0}}"], Train, "algorithm.coupled_grpo.min_t = 0: a set at ratio 0"),
        (&["algorithm={coupled_grpo={max_t=1}}"], Train, "algorithm.coupled_grpo.max_t = 1: a complement at ratio 0"),
        (&["algorithm={coupled_grpo={min_t=0.7, max_t=0.3}}"], Train, "coupled_grpo.min_t = 0.7 is above"),
        (&["algorithm={espo={num_iterations=4, num_t=3}}"], Train, "has its complement beside it; use 2 or 4"),
        (
            &["algorithm={espo={num_iterations=4}}", "rollout.early_stop=true"],
            Train,
            "rollout.early_stop = true with algorithm.espo: that scores the whole canvas",
        ),
        (&["algorithm={gdpo={num_t=4}}"], Train, "algorithm.gdpo.num_t = 4: the rule has 2 or 3 nodes"),
        (&["algorithm={stable_drl={num_iterations=1}}"], Train, "use 2 or more, or [algorithm.spg]"),
        (&["algorithm={stable_drl={forward_type='all'}}"], Train, "num_t = 2 with algorithm.stable_drl.forward_type"),
        (&["task.sudoku.min_empty_cells=9"], Train, "min_empty_cells = 9 is above"),
        (&["task.sudoku.max_empty_cells=13"], Train, "use at most 12"),
        (&["task.sudoku.train_grids=244"], Train, "use at most 287 together"),
        (&["eval.split=test"], Train, "on validation records"),
        (
            &["task.sudoku.data={train.path='x', validation_size=1}", "task.sudoku.min_empty_cells=6"],
            Train,
            "other keys say how to make them",
        ),
        (&["task.sudoku.few_shot=200"], Train, "few_shot = 200 needs more than task.sudoku.train_grids = 200"),
        (&["model.random_init=true"], Train, "is for `spg sft`"),
        (&["model.random_init=true"], Sft, "adapters on random weights"),
        (&["train.trainable=all", "lora.init_from=x"], Sft, "no adapters to start from"),
        (&["train.trainable=all", "lora.init_from=x"], Train, "no adapters to start from"),
        (&["train.trainable=all", "rollout.merge_adapters=true"], Train, "no adapters to merge"),
        (&["run.output_dir="], Train, "run.output_dir is empty"),
        (&["model.name_or_path= "], Train, "model.name_or_path is empty"),
        (&["model.quantize=q4k", "model.gguf_file=x"], Train, "formats of their own; remove one"),
        (&["model.quantize=q8_0", "rollout.merge_adapters=true"], Train, "nothing can be added to quantised weights"),
        (&["model.gguf_file=x", "train.trainable=all"], Sft, "set train.trainable = \"adapters\""),
        (&["model.quantize=q8_0", "train.trainable=all"], Train, "quantised weights cannot be trained"),
    ];
    for (changes, command, expected) in cases {
        let error = refused(changes, *command);
        assert!(error.contains(expected), "{changes:?}: {error}");
        assert!(!error.contains("problems"), "{changes:?} brings more than one: {error}");
    }
    let error = resolve(&MINIMAL.replace("[algorithm.spg]", ""), &[], Train).unwrap_err();
    assert!(error.contains("add [algorithm.spg]"), "{error}");
    let error = resolve(&MINIMAL.replace("[sft]\nbatch_size = 4", ""), &[], Sft).unwrap_err();
    assert!(error.contains("needs an [sft] table"), "{error}");
    // What only another subcommand minds is none.
    resolve(MINIMAL, &["train.max_steps=6", "rollout.temperature=0"], Sft).unwrap();
    resolve(MINIMAL, &["model.random_init=true", "train.trainable=all"], Sft).unwrap();
    resolve(MINIMAL, &["eval.eval_steps=0"], Train).unwrap();
    resolve(MINIMAL, &["rollout.drift_check=97", "rollout.cache=dual"], Sft).unwrap();
    // The rules' steps are not the schedule's.
    let rule = ["rollout.cache=dual", "rollout.cache_refresh_steps=7", "rollout.commit={threshold=0.9}"];
    resolve(MINIMAL, &rule, Train).unwrap();
    // No blocks, nothing for them to divide; and drawn places make greedy completions differ.
    resolve(MINIMAL, &["eval.max_completion_length=[42]", "eval.order=['canvas']"], Eval).unwrap();
    resolve(MINIMAL, &["eval.num_samples=4", "eval.remasking=['random']"], Eval).unwrap();
}

#[test]
fn each_misfit_of_the_other_tasks_is_refused() {
    let refused = |task: &str, changes: &[&str]| {
        let text = MINIMAL.replace("[task.sudoku]", task);
        resolve(&text, changes, Command::Train).expect_err("accepted")
    };
    let custom = "[task.custom]\nprompt_template = '{{ x }}'\nrewards.int = 1\n\
                  data = { train.path = 'x', validation_size = 1 }";
    let hub = "task.gsm8k.data.train={dataset='a/b'";
    let cases: &[(&str, &[&str], &str)] = &[
        ("[task.gsm8k]", &[&format!("{hub}}}")], "does not say which part of a/b to take"),
        ("[task.gsm8k]", &[&format!("{hub}, split='x', files=['y']}}")], "`files` are taken instead"),
        ("[task.gsm8k]", &[&format!("{hub}, split='x', path='y'}}")], "names both a `path` and the dataset a/b"),
        ("[task.gsm8k]", &["task.gsm8k.data.train={dataset='ab', split='x'}"], "is not an id of the hub"),
        ("[task.gsm8k]", &["task.gsm8k.data.train={split='x', path='y'}"], "belong to a `dataset`"),
        ("[task.gsm8k]", &["task.gsm8k.data.train={}"], "names neither a `path` nor a `dataset`"),
        ("[task.gsm8k]", &["task.gsm8k.data.validation_size=0"], "there are no validation records"),
        ("[task.math]", &["task.math.data={validation.path='x', validation_size=3}"], "remove one of them"),
        ("[task.countdown.generate]", &["task.countdown.data.test_size=1"], "either loaded or made"),
        ("[task.countdown.generate]", &["task.countdown.num_numbers=6"], "made of 2 to 5 numbers"),
        ("[task.countdown.generate]", &["task.countdown.generate.min_number=100"], "min_number = 100 is above"),
        ("[task.countdown.generate]", &["task.countdown.generate.max_number=20000"], "use at most 10000"),
        (custom, &["task.custom.rewards.int=0"], "task.custom has no reward"),
        (custom, &["task.custom.reward_command.command=[]"], "command is empty"),
        (custom, &["task.custom.data={validation_size=1}"], "task.custom.data.train is missing"),
    ];
    for (task, changes, expected) in cases {
        let error = refused(task, changes);
        assert!(error.contains(expected), "{changes:?}: {error}");
        assert!(!error.contains(" problems\n"), "{changes:?} brings more than one: {error}");
    }
    // a source of one's own replaces the default size, and a size the default source
    let text = MINIMAL.replace("[task.sudoku]", "[task.gsm8k]");
    let changes = ["task.gsm8k.data={validation.path='v', test_size=5}"];
    let TaskTable::Gsm8k(task) = resolve(&text, &changes, Command::Train).unwrap().task().clone() else {
        unreachable!("the text says gsm8k")
    };
    assert_eq!((task.data.validation_size, task.data.test_size), (None, Some(5)));
    assert!(task.data.test.is_none() && task.data.train.is_some_and(|train| train.dataset.is_some()));
}
